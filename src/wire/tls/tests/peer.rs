//! Certificates, and a server in the form of a socket: it has read whatever is written to it.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    path::PathBuf,
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use crate::{
    config::{Certificates, Pem},
    error::Error,
    wire::tls::{Tls, Trust},
};

pub(super) const SERVER: &str = "mqtts://localhost:8883";
pub(super) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
const GREETING: &[u8] = b"hello";

pub(super) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tls")
        .join(name)
}

pub(super) fn fixture_chain(name: &str) -> Vec<CertificateDer<'static>> {
    let chain = CertificateDer::pem_file_iter(fixture(name)).unwrap();
    chain.map(Result::unwrap).collect()
}

pub(super) fn fixture_key(name: &str) -> KeyPair {
    KeyPair::from_pem(&std::fs::read_to_string(fixture(name)).unwrap()).unwrap()
}

/// Signs certificates.
pub(super) struct Authority {
    pub(super) certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    pub(super) fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (parameters, key) = Self::parts(name, change);
        let certificate = parameters.self_signed(&key).unwrap();
        let issuer = Issuer::new(parameters, key);
        Self {
            certificate,
            issuer,
        }
    }

    pub(super) fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (parameters, key) = Self::parts(name, change);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let issuer = Issuer::new(parameters, key);
        Self {
            certificate,
            issuer,
        }
    }

    fn parts(
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateParams, KeyPair) {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut parameters);
        (parameters, KeyPair::generate().unwrap())
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// Returns a server that presents the certificate of this authority as its own.
    pub(super) fn as_server(&self) -> Server {
        Server {
            chain: vec![self.der()],
            key: self.issuer.key().serialize_der(),
            versions: VERSIONS.to_vec(),
            clients: None,
        }
    }

    /// Signs a certificate for these names.
    pub(super) fn sign(&self, names: &[&str]) -> Server {
        self.sign_with(names, KeyPair::generate().unwrap(), |_| {})
    }

    pub(super) fn sign_with(
        &self,
        names: &[&str],
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Server {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        change(&mut parameters);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Server {
            chain: vec![certificate.der().clone()],
            key: key.serialize_der(),
            versions: VERSIONS.to_vec(),
            clients: None,
        }
    }

    /// Returns a trust in only this authority.
    pub(super) fn trust(&self) -> Trust {
        trust(&[self.certificate.pem()])
    }
}

pub(super) fn certificates(pems: &[String]) -> Certificates {
    Certificates::new(Some(Pem::Bytes(pems.concat().into_bytes())), None, None)
}

pub(super) fn trust(pems: &[String]) -> Trust {
    Trust::read(&certificates(pems)).unwrap()
}

pub(super) fn trust_fixture(name: &str) -> Trust {
    let ca = Some(Pem::File(fixture(name)));
    Trust::read(&Certificates::new(ca, None, None)).unwrap()
}

/// What a server presents and requires.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: Vec<u8>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    /// The authority whose clients it accepts; without one, it asks for no certificate.
    pub(super) clients: Option<CertificateDer<'static>>,
}

/// Presents any certificate, even one that rustls cannot parse.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl Server {
    pub(super) fn of_fixtures(chain: &str, key: &str) -> Self {
        Self {
            chain: fixture_chain(chain),
            key: fixture_key(key).serialize_der(),
            versions: VERSIONS.to_vec(),
            clients: None,
        }
    }

    pub(super) fn version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    pub(super) fn start(&self) -> Peer {
        let provider = Arc::new(ring::default_provider());
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let shown = Shown(Arc::new(CertifiedKey::new(self.chain.clone(), key)));
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .unwrap();
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = Arc::new(builder.with_cert_resolver(Arc::new(shown)));
        Peer {
            connection: ServerConnection::new(config).unwrap(),
            received: Vec::new(),
            line: VecDeque::new(),
            step: usize::MAX,
            every_second_call_blocks: false,
            calls: 0,
            ended: false,
            greeted: false,
            failed: false,
        }
    }
}

/// The socket to a server that sends a greeting.
pub(super) struct Peer {
    pub(super) connection: ServerConnection,
    /// What the client sent, in the clear.
    pub(super) received: Vec<u8>,
    /// What the client has not read yet.
    pub(super) line: VecDeque<u8>,
    /// The number of bytes that pass in one call.
    pub(super) step: usize,
    pub(super) every_second_call_blocks: bool,
    calls: usize,
    /// The server sends nothing more.
    pub(super) ended: bool,
    greeted: bool,
    failed: bool,
}

impl Peer {
    fn may_block(&mut self) -> io::Result<()> {
        self.calls += 1;
        if self.every_second_call_blocks && self.calls % 2 == 1 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    }

    /// Answers what it has received.
    pub(super) fn work(&mut self) {
        if self.failed {
            return;
        }
        self.failed = self.connection.process_new_packets().is_err();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = self.connection.reader().read(&mut buffer) {
            self.received.extend(&buffer[..count]);
        }
        if !self.failed && !self.connection.is_handshaking() && !self.greeted {
            self.greeted = true;
            self.connection.writer().write_all(GREETING).unwrap();
        }
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.line).unwrap();
        }
        self.ended |= self.failed;
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.may_block()?;
        if self.line.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(self.step);
        self.line.read(&mut buffer[..count])
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.may_block()?;
        let count = bytes.len().min(self.step);
        let mut rest = &bytes[..count];
        while !rest.is_empty() && !self.failed {
            self.connection.read_tls(&mut rest)?;
            self.work();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Performs the handshake, in as many steps as the socket needs.
pub(super) fn shake_hands<S: Read + Write>(tls: &mut Tls, socket: &mut S) -> io::Result<()> {
    for _ in 0..100_000 {
        if tls.handshake(socket)? {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Reads until the server's greeting has arrived.
pub(super) fn await_greeting<S: Read + Write>(tls: &mut Tls, socket: &mut S) -> io::Result<()> {
    let mut text = Vec::<u8>::new();
    for _ in 0..100_000 {
        let mut buffer = [0; 3];
        match tls.read(socket, &mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => text.extend(&buffer[..count]),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
            Err(cause) => return Err(cause),
        }
        if text == GREETING {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Performs the handshake and reads the greeting, which shows that the server accepted the client.
pub(super) fn connect_to(trust: &Trust, host: &str, server: &Server) -> Result<(), Error> {
    let mut peer = server.start();
    let mut tls = trust.start(host)?;
    shake_hands(&mut tls, &mut peer)
        .and_then(|()| await_greeting(&mut tls, &mut peer))
        .map_err(|cause| tls.explain(&SERVER, &cause))
}

/// Does the same with TLS 1.2 and 1.3.
#[track_caller]
pub(super) fn connects(trust: &Trust, host: &str, server: &Server) {
    for version in VERSIONS {
        let server = server.clone().version(version);
        if let Err(error) = connect_to(trust, host, &server) {
            panic!("{version:?}: {error:?}");
        }
    }
}

/// Fails with TLS 1.2 and 1.3, with this kind and these words.
#[track_caller]
pub(super) fn fails(
    trust: &Trust,
    host: &str,
    server: &Server,
    kind: crate::ErrorKind,
    words: &[&str],
) -> Error {
    let [first, second] = VERSIONS.map(|version| {
        let server = server.clone().version(version);
        connect_to(trust, host, &server).expect_err("it should have failed")
    });
    says(&first, kind, words);
    says(&second, kind, words);
    second
}

#[track_caller]
pub(super) fn says(error: &Error, kind: crate::ErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}
