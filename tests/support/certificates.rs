//! Certificates created at run time: an authority, and valid and invalid servers.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    SignatureAlgorithm,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Still valid.
const VALID: (i32, i32) = (-1, 30);

/// Expired yesterday.
const ENDED: (i32, i32) = (-30, -1);

/// Valid from tomorrow on.
const FUTURE: (i32, i32) = (1, 30);

/// A set of certificates, in memory and as PEM files in a temporary folder that is removed with it.
#[derive(Debug)]
pub struct Certificates {
    /// The authority that clients trust.
    pub authority: Authority,
    /// For `localhost` and `127.0.0.1`.
    pub server: Identity,
    /// Like `server`, but expired yesterday.
    pub expired: Identity,
    /// For `other.example` only.
    pub wrong_host: Identity,
    /// An authority that nobody trusts.
    pub foreign_authority: Authority,
    /// Like `server`, but signed by `foreign_authority`.
    pub foreign: Identity,
    /// The certificate of a client.
    pub client: Identity,
    folder: TempDir,
}

impl Certificates {
    /// Creates all of them; takes a few milliseconds.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path();
        let authority = Authority::new(path, "authority");
        let foreign_authority = Authority::new(path, "foreign-authority");
        Self {
            server: authority.server(path, "server"),
            expired: authority.expired_server(path, "expired"),
            wrong_host: authority.server_named(path, "wrong-host", "other.example"),
            foreign: foreign_authority.server(path, "foreign"),
            client: authority.client(path, "client"),
            authority,
            foreign_authority,
            folder,
        }
    }

    /// Returns the folder with the PEM files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Creates a server certificate for `localhost` and `127.0.0.1` that no authority signed. With
    /// `ca` it is like the output of `openssl req -x509`: it is marked as an authority.
    pub fn self_signed(&self, name: &str, ca: bool) -> Identity {
        self.self_signed_by(name, ca, Request::server("localhost"))
    }

    /// Does the same for one host name.
    pub fn self_signed_named(&self, name: &str, ca: bool, host: &str) -> Identity {
        self.self_signed_by(name, ca, Request::server(host))
    }

    /// Does the same, but the certificate expired yesterday.
    pub fn expired_self_signed(&self, name: &str, ca: bool) -> Identity {
        self.self_signed_by(name, ca, Request::server("localhost").valid(ENDED))
    }

    fn self_signed_by(&self, name: &str, ca: bool, mut request: Request) -> Identity {
        request.params.key_usages.clear();
        request.params.extended_key_usages.clear();
        if ca {
            request.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        request.make(self.folder(), name, None).0
    }
}

/// The kind of a certificate's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Ed25519,
    P256,
    P384,
}

impl KeyKind {
    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::Ed25519 => &PKCS_ED25519,
            Self::P256 => &PKCS_ECDSA_P256_SHA256,
            Self::P384 => &PKCS_ECDSA_P384_SHA384,
        }
    }
}

/// Signs certificates.
#[derive(Debug)]
pub struct Authority {
    identity: Identity,
    /// `None` if only the certificate was kept.
    issuer: Option<Issuer<'static, KeyPair>>,
}

impl Authority {
    /// Creates a root whose files are `NAME.pem` and `NAME.key`.
    pub fn new(folder: &Path, name: &str) -> Self {
        Self::make(folder, name, Request::new(name, Purpose::Authority), None)
    }

    /// Does the same, but the root expired yesterday.
    pub fn expired(folder: &Path, name: &str) -> Self {
        let request = Request::new(name, Purpose::Authority).valid(ENDED);
        Self::make(folder, name, request, None)
    }

    /// Returns an authority from `tests/fixtures/tls`; these can no longer sign.
    pub fn fixture(name: &str) -> Self {
        let file = fixture(name).with_extension("pem");
        let certificate = fs::read(&file).expect("the file is there");
        Self {
            identity: Identity {
                chain: chain(&certificate),
                certificate_pem: certificate,
                key_pem: Vec::new(),
                certificate_file: file,
                key_file: PathBuf::new(),
                valid: None,
            },
            issuer: None,
        }
    }

    /// Creates an authority that this one signs.
    pub fn intermediate(&self, folder: &Path, name: &str) -> Self {
        let request = Request::new(name, Purpose::Authority);
        Self::make(folder, name, request, Some(self))
    }

    fn make(folder: &Path, name: &str, request: Request, issuer: Option<&Authority>) -> Self {
        let (identity, issuer) = request.make(folder, name, issuer);
        Self {
            identity,
            issuer: Some(issuer),
        }
    }

    /// Creates a server certificate for `localhost` and `127.0.0.1`.
    pub fn server(&self, folder: &Path, name: &str) -> Identity {
        self.server_named(folder, name, "localhost")
    }

    /// Creates a server certificate for one host name; the address is included only with
    /// `localhost`.
    pub fn server_named(&self, folder: &Path, name: &str, host: &str) -> Identity {
        self.sign(folder, name, Request::server(host))
    }

    /// Creates a server certificate with these alternative names, host names and addresses; its
    /// common name is `localhost`.
    pub fn server_for(&self, folder: &Path, name: &str, names: &[&str]) -> Identity {
        self.sign(folder, name, Request::server("localhost").names(names))
    }

    /// Does the same as [`server`](Self::server), with a key of this kind.
    pub fn server_with(&self, folder: &Path, name: &str, key: KeyKind) -> Identity {
        self.sign(folder, name, Request::server("localhost").key(key))
    }

    /// Does the same as [`server`](Self::server), but the certificate expired yesterday.
    pub fn expired_server(&self, folder: &Path, name: &str) -> Identity {
        self.sign(folder, name, Request::server("localhost").valid(ENDED))
    }

    /// Does the same as [`server`](Self::server), but the certificate is valid from tomorrow on.
    pub fn future_server(&self, folder: &Path, name: &str) -> Identity {
        self.sign(folder, name, Request::server("localhost").valid(FUTURE))
    }

    /// Creates a client certificate.
    pub fn client(&self, folder: &Path, name: &str) -> Identity {
        self.sign(folder, name, Request::new(name, Purpose::Client))
    }

    /// Creates a client certificate with a key of this kind.
    pub fn client_with(&self, folder: &Path, name: &str, key: KeyKind) -> Identity {
        self.sign(folder, name, Request::new(name, Purpose::Client).key(key))
    }

    /// Creates a client certificate that expired yesterday.
    pub fn expired_client(&self, folder: &Path, name: &str) -> Identity {
        let request = Request::new(name, Purpose::Client).valid(ENDED);
        self.sign(folder, name, request)
    }

    fn sign(&self, folder: &Path, name: &str, request: Request) -> Identity {
        request.make(folder, name, Some(self)).0
    }

    /// Returns the root certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        self.identity.certificate()
    }

    /// Returns the root certificate as PEM.
    pub fn certificate_pem(&self) -> Vec<u8> {
        self.identity.certificate_pem()
    }

    /// Returns the root certificate as a PEM file.
    pub fn certificate_file(&self) -> &Path {
        self.identity.certificate_file()
    }

    /// Returns the last day of the root certificate.
    pub fn last_day(&self) -> String {
        self.identity.last_day()
    }
}

/// A certificate, optionally with its chain to the root, and its key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    certificate_pem: Vec<u8>,
    key_pem: Vec<u8>,
    certificate_file: PathBuf,
    key_file: PathBuf,
    /// The first and the last moment of validity, if known.
    valid: Option<(SystemTime, SystemTime)>,
}

impl Identity {
    fn new(
        folder: &Path,
        name: &str,
        certificate_pem: Vec<u8>,
        key_pem: Vec<u8>,
        valid: Option<(SystemTime, SystemTime)>,
    ) -> Self {
        let identity = Self {
            chain: chain(&certificate_pem),
            valid,
            certificate_file: folder.join(name).with_extension("pem"),
            key_file: folder.join(name).with_extension("key"),
            certificate_pem,
            key_pem,
        };
        fs::write(identity.certificate_file(), &identity.certificate_pem)
            .and_then(|()| fs::write(identity.key_file(), &identity.key_pem))
            .expect("the folder of the certificates is writable");
        identity
    }

    /// Returns a certificate and a key from `tests/fixtures/tls`.
    pub fn fixture(certificate: &str, key: &str) -> Self {
        let certificate_file = fixture(certificate).with_extension("pem");
        let key_file = fixture(key).with_extension("key");
        let certificate_pem = fs::read(&certificate_file).expect("the file is there");
        Self {
            chain: chain(&certificate_pem),
            certificate_pem,
            key_pem: fs::read(&key_file).expect("the file is there"),
            certificate_file,
            key_file,
            valid: None,
        }
    }

    /// Returns the same identity with the certificates of `authorities` added, in files of this
    /// name.
    pub fn followed_by(&self, folder: &Path, name: &str, authorities: &[&Authority]) -> Self {
        let mut pem = self.certificate_pem();
        for authority in authorities {
            pem.extend(authority.certificate_pem());
        }
        Self::new(folder, name, pem, self.key_pem(), self.valid)
    }

    /// Returns the first day of validity, such as `2026-01-31`.
    pub fn first_day(&self) -> String {
        date(self.valid.expect("made here").0)
    }

    /// Returns the last day of validity.
    pub fn last_day(&self) -> String {
        date(self.valid.expect("made here").1)
    }

    /// Returns the certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// Returns the certificate and those that are sent with it.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    /// Returns the private key.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(&self.key_pem).expect("the key is PEM")
    }

    /// Returns the certificate as PEM, and those that are sent with it.
    pub fn certificate_pem(&self) -> Vec<u8> {
        self.certificate_pem.clone()
    }

    /// Returns the private key as PEM; a key created here is unencrypted PKCS #8.
    pub fn key_pem(&self) -> Vec<u8> {
        self.key_pem.clone()
    }

    /// Returns the certificate as a PEM file.
    pub fn certificate_file(&self) -> &Path {
        &self.certificate_file
    }

    /// Returns the private key as a PEM file.
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Authority,
    Server,
    Client,
}

struct Request {
    params: CertificateParams,
    key: KeyKind,
    valid: (i32, i32),
}

impl Request {
    fn new(common_name: &str, purpose: Purpose) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        match purpose {
            Purpose::Authority => {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            }
            Purpose::Server | Purpose::Client => {
                params.is_ca = IsCa::ExplicitNoCa;
                params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
                params.extended_key_usages = vec![match purpose {
                    Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
                    _ => ExtendedKeyUsagePurpose::ServerAuth,
                }];
            }
        }
        Self {
            params,
            key: KeyKind::P256,
            valid: VALID,
        }
    }

    fn server(host: &str) -> Self {
        let request = Self::new(host, Purpose::Server);
        match host {
            "localhost" => request.names(&["localhost", "127.0.0.1"]),
            _ => request.names(&[host]),
        }
    }

    /// Sets the alternative names: host names and addresses.
    fn names(mut self, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names).expect("names and addresses");
        self.params.subject_alt_names = params.subject_alt_names;
        self
    }

    fn key(mut self, key: KeyKind) -> Self {
        self.key = key;
        self
    }

    /// Sets the first and the last day, counted from today.
    fn valid(mut self, valid: (i32, i32)) -> Self {
        self.valid = valid;
        self
    }

    /// Creates the certificate, signed by `issuer`, or self-signed without one.
    fn make(
        mut self,
        folder: &Path,
        name: &str,
        issuer: Option<&Authority>,
    ) -> (Identity, Issuer<'static, KeyPair>) {
        let valid = (day(self.valid.0), day(self.valid.1));
        self.params.not_before = valid.0.into();
        self.params.not_after = valid.1.into();
        self.params.use_authority_key_identifier_extension = issuer.is_some();
        let key = KeyPair::generate_for(self.key.algorithm()).expect("a key can be made");
        let certificate = match issuer {
            None => self.params.self_signed(&key),
            Some(authority) => {
                let issuer = authority.issuer.as_ref().expect("it has its key");
                self.params.signed_by(&key, issuer)
            }
        };
        let certificate = certificate.expect("a certificate can be made");
        let identity = Identity::new(
            folder,
            name,
            certificate.pem().into_bytes(),
            key_pem(&key),
            Some(valid),
        );
        (identity, Issuer::new(self.params, key))
    }
}

fn day(day: i32) -> SystemTime {
    let now = SystemTime::now();
    match day {
        ..0 => now - DAY * day.unsigned_abs(),
        0.. => now + DAY * day.unsigned_abs(),
    }
}

fn key_pem(key: &KeyPair) -> Vec<u8> {
    // PKCS #8 version 2, as ring writes it: the seed of 32 bytes and then the public key. OpenSSL
    // reads only version 1.
    const SEED: std::ops::Range<usize> = 16..48;
    const VERSION_1: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    if key.algorithm() != &PKCS_ED25519 {
        return key.serialize_pem().into_bytes();
    }
    let der = [VERSION_1, &key.serialized_der()[SEED]].concat();
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n").into_bytes()
}

fn date(time: SystemTime) -> String {
    let mut text = humantime::format_rfc3339_seconds(time).to_string();
    text.truncate("2026-01-31".len());
    text
}

fn chain(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    let chain: Result<_, _> = CertificateDer::pem_slice_iter(pem).collect();
    chain.expect("the certificates are PEM")
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tls")
        .join(name)
}
