//! The certificates of the network, and its side of TLS.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::sync::lock;

const LOOPBACK: [&str; 3] = ["127.0.0.1", "::1", "localhost"];

/// An authority of its own, and a server with a certificate from it.
pub(crate) struct Authority {
    pem: String,
    config: Arc<ServerConfig>,
}

impl Authority {
    /// Creates both with new keys, the server for the loopback and these names and addresses.
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> io::Result<Self> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::default();
        // A client that has the certificate of an earlier run does not know this one, instead of finding
        // its signature wrong.
        let name = format!("authority of simulated network {:08x}", fastrand::u32(..));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = params.self_signed(&key).map_err(io::Error::other)?;
        let issuer = Issuer::new(params, key);
        let config = server(&issuer, names).map_err(io::Error::other)?;
        Ok(Self {
            pem: authority.pem(),
            config: Arc::new(config),
        })
    }

    /// Returns the authority's certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Begins TLS on a new connection that one thread reads and writes.
    pub(super) fn accept<S: Read + Write>(
        &self,
        mut socket: S,
    ) -> io::Result<StreamOwned<ServerConnection, S>> {
        let mut connection =
            ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(connection, socket))
    }

    /// Begins TLS on a new connection that is read and written by two threads.
    pub(super) fn secure(&self) -> io::Result<Secured> {
        let mut connection =
            ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        connection.set_buffer_limit(None);
        Ok(Secured {
            state: Mutex::new(State {
                connection,
                plain: Vec::new(),
                has_ended: false,
            }),
            sending: Mutex::new(()),
        })
    }
}

/// Creates a server for the loopback and these names.
fn server(
    issuer: &Issuer<'_, KeyPair>,
    names: impl IntoIterator<Item = String>,
) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let key = KeyPair::generate()?;
    let mut all = LOOPBACK.map(str::to_owned).to_vec();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    let mut params = CertificateParams::new(all)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, issuer)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(config)
}

/// TLS on a connection that one thread reads while another writes.
pub(super) struct Secured {
    state: Mutex<State>,
    /// Held from the encryption of bytes until they are written, so that records stay in order.
    sending: Mutex<()>,
}

struct State {
    connection: ServerConnection,
    /// What was decrypted and not read yet.
    plain: Vec<u8>,
    /// Whether the client has said that nothing more comes.
    has_ended: bool,
}

impl State {
    fn decrypt(&mut self, mut bytes: &[u8]) -> Result<(), rustls::Error> {
        while !bytes.is_empty() && !self.has_ended {
            let general = |error: io::Error| rustls::Error::General(error.to_string());
            self.connection.read_tls(&mut bytes).map_err(general)?;
            self.connection.process_new_packets()?;
            // It is an error if there is no more to read yet.
            self.has_ended = self
                .connection
                .reader()
                .read_to_end(&mut self.plain)
                .is_ok();
        }
        Ok(())
    }

    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let length = buffer.len().min(self.plain.len());
        buffer[..length].copy_from_slice(&self.plain[..length]);
        self.plain.drain(..length);
        length
    }
}

impl Secured {
    /// Reads once from the stream, and returns what that decrypts to.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if that is nothing yet, and
    /// [`InvalidData`](io::ErrorKind::InvalidData) if it is not TLS, or the client refuses to go on.
    pub(super) fn read(&self, mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = lock(&self.state);
        if state.plain.is_empty() && !state.has_ended {
            drop(state);
            let mut bytes = [0; 16 * 1024];
            let length = stream.read(&mut bytes)?;
            if length == 0 {
                return Ok(0);
            }
            state = lock(&self.state);
            let decrypted = state.decrypt(&bytes[..length]);
            if state.connection.wants_write() {
                drop(state);
                self.send(stream, |_| Ok(()))?;
                state = lock(&self.state);
            }
            decrypted.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        match state.take(buffer) {
            0 if !state.has_ended => Err(io::ErrorKind::WouldBlock.into()),
            length => Ok(length),
        }
    }

    pub(super) fn write_all(&self, stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
        self.send(stream, |connection| connection.writer().write_all(bytes))
    }

    /// Tells the client that nothing more comes.
    pub(super) fn finish(&self, stream: &TcpStream) -> io::Result<()> {
        self.send(stream, |connection| {
            connection.send_close_notify();
            Ok(())
        })
    }

    fn send(
        &self,
        mut stream: &TcpStream,
        encrypt: impl FnOnce(&mut ServerConnection) -> io::Result<()>,
    ) -> io::Result<()> {
        let _sending = lock(&self.sending);
        let mut state = lock(&self.state);
        encrypt(&mut state.connection)?;
        let mut bytes = Vec::new();
        while state.connection.wants_write() {
            state.connection.write_tls(&mut bytes)?;
        }
        drop(state);
        stream.write_all(&bytes)
    }
}
