//! TLS in front of a server without TLS.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ALL_VERSIONS, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
};

use super::certificates::{Authority, Identity};
use super::proxy::{Connection, Proxy, lock};

const HANDSHAKE: Duration = Duration::from_secs(10);
const FAREWELL: Duration = Duration::from_secs(1);

/// Accepts TLS 1.2 and 1.3 from clients and passes the plain bytes to a server. Dropping it ends
/// every connection.
#[derive(Debug)]
pub struct TlsFront {
    proxy: Proxy,
}

/// The settings of a [`TlsFront`] before it starts.
#[derive(Clone, Debug)]
pub struct TlsFrontBuilder<'a> {
    identity: &'a Identity,
    clients: Option<&'a Authority>,
    versions: &'a [&'static SupportedProtocolVersion],
    host: IpAddr,
}

impl<'a> TlsFrontBuilder<'a> {
    /// Accepts only clients with a certificate from `clients`.
    pub fn known_clients(mut self, clients: &'a Authority) -> Self {
        self.clients = Some(clients);
        self
    }

    /// Supports only these versions of TLS.
    pub fn versions(mut self, versions: &'a [&'static SupportedProtocolVersion]) -> Self {
        self.versions = versions;
        self
    }

    /// Listens on this address of the machine instead of 127.0.0.1.
    pub fn at(mut self, host: impl Into<IpAddr>) -> Self {
        self.host = host.into();
        self
    }

    /// Listens on a free port of the loopback.
    pub fn start(self, upstream: SocketAddr) -> io::Result<TlsFront> {
        let config = Arc::new(self.config().map_err(io::Error::other)?);
        let proxy = Proxy::start("tls-front", self.host, upstream, move |connection| {
            if let Ok((tls, early)) = handshake(&config, &connection.client) {
                Tunnel::new(tls, connection).run(&early);
            }
        })?;
        Ok(TlsFront { proxy })
    }

    fn config(&self) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions)?;
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.certificate().clone())?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                let verifier = verifier.build().map_err(|error| {
                    rustls::Error::General(format!("the clients' authority: {error}"))
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = provider
            .key_provider
            .load_private_key(self.identity.key())?;
        // `with_single_cert` would reject certificates that a server can have.
        let certified = CertifiedKey::new(self.identity.chain(), key);
        Ok(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
    }
}

impl TlsFront {
    /// Returns a builder with the certificate of `identity`, for TLS 1.2 and 1.3 and every client.
    pub fn builder(identity: &Identity) -> TlsFrontBuilder<'_> {
        TlsFrontBuilder {
            identity,
            clients: None,
            versions: ALL_VERSIONS,
            host: Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// Listens on a free port of the loopback with the certificate of `identity`.
    pub fn start(identity: &Identity, upstream: SocketAddr) -> io::Result<Self> {
        Self::builder(identity).start(upstream)
    }

    /// Does the same, but accepts only clients with a certificate from `clients`.
    pub fn start_for_known_clients(
        identity: &Identity,
        clients: &Authority,
        upstream: SocketAddr,
    ) -> io::Result<Self> {
        Self::builder(identity)
            .known_clients(clients)
            .start(upstream)
    }

    /// Returns the address for clients.
    pub fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// Returns the port of [`address`](Self::address).
    pub fn port(&self) -> u16 {
        self.address().port()
    }
}

/// Appends the plain bytes in `ciphertext` to `plain`; returns `false` once the client has sent
/// all.
fn decrypt(
    tls: &mut ServerConnection,
    mut ciphertext: &[u8],
    plain: &mut Vec<u8>,
) -> Result<bool, rustls::Error> {
    loop {
        // Returns an error if there is no more to read yet, and no error at the end.
        let open = tls.reader().read_to_end(plain).is_err();
        if !open || ciphertext.is_empty() {
            return Ok(open);
        }
        tls.read_tls(&mut ciphertext)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        tls.process_new_packets()?;
    }
}

fn outgoing(tls: &mut ServerConnection) -> Vec<u8> {
    let mut ciphertext = Vec::new();
    while tls.wants_write() && tls.write_tls(&mut ciphertext).is_ok() {}
    ciphertext
}

/// Returns the connection after its handshake, and the plain bytes that arrived with the end of it.
fn handshake(
    config: &Arc<ServerConfig>,
    mut client: &TcpStream,
) -> io::Result<(ServerConnection, Vec<u8>)> {
    let mut buffer = [0; 16 * 1024];
    let mut early = Vec::new();
    let mut tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    tls.set_buffer_limit(None);
    client.set_read_timeout(Some(HANDSHAKE))?;
    while tls.is_handshaking() {
        let length = client.read(&mut buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let result = decrypt(&mut tls, &buffer[..length], &mut early);
        client.write_all(&outgoing(&mut tls))?;
        if let Err(error) = result {
            // Closing with unread bytes would send a reset, which can overtake the alert.
            client.shutdown(Shutdown::Write)?;
            client.set_read_timeout(Some(FAREWELL))?;
            while client.read(&mut buffer)? > 0 {}
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
    client.set_read_timeout(None)?;
    Ok((tls, early))
}

/// One connection after its handshake.
struct Tunnel<'a> {
    tls: Mutex<ServerConnection>,
    /// Held from the creation of a record until it is sent, so that records stay in order.
    sending: Mutex<()>,
    connection: &'a Connection,
}

impl<'a> Tunnel<'a> {
    fn new(tls: ServerConnection, connection: &'a Connection) -> Self {
        Self {
            tls: Mutex::new(tls),
            sending: Mutex::new(()),
            connection,
        }
    }

    fn run(&self, early: &[u8]) {
        thread::scope(|scope| {
            scope.spawn(|| {
                if self.to_server(early).is_err() {
                    self.connection.cut();
                }
            });
            if self.to_client().is_err() {
                self.connection.cut();
            }
        });
    }

    /// Passes bytes on until the client has sent all, and then the end to the server.
    fn to_server(&self, early: &[u8]) -> io::Result<()> {
        let (mut client, mut server) = (&self.connection.client, &self.connection.server);
        let mut ciphertext = [0; 16 * 1024];
        let mut length = 0;
        let mut plain = early.to_vec();
        // The bytes that arrived with the end of the handshake may have been all.
        while decrypt(&mut lock(&self.tls), &ciphertext[..length], &mut plain)
            .map_err(io::Error::other)?
        {
            self.send(|_| Ok(()))?;
            // Continues even if the server is gone: unread bytes would cause a reset.
            let _ = server.write_all(&std::mem::take(&mut plain));
            length = client.read(&mut ciphertext)?;
            if length == 0 {
                break;
            }
        }
        let _ = server.write_all(&plain);
        let _ = server.shutdown(Shutdown::Write);
        while client.read(&mut ciphertext)? > 0 {}
        Ok(())
    }

    /// Passes bytes on until the server has sent all, and then the end to the client.
    fn to_client(&self) -> io::Result<()> {
        let mut server = &self.connection.server;
        let mut plain = [0; 16 * 1024];
        loop {
            let length = server.read(&mut plain)?;
            if length == 0 {
                self.send(|tls| {
                    tls.send_close_notify();
                    Ok(())
                })?;
                return self.connection.client.shutdown(Shutdown::Write);
            }
            self.send(|tls| tls.writer().write_all(&plain[..length]))?;
        }
    }

    fn send(
        &self,
        encrypt: impl FnOnce(&mut ServerConnection) -> io::Result<()>,
    ) -> io::Result<()> {
        let _sending = lock(&self.sending);
        let mut tls = lock(&self.tls);
        encrypt(&mut tls)?;
        let ciphertext = outgoing(&mut tls);
        drop(tls);
        (&self.connection.client).write_all(&ciphertext)
    }
}
