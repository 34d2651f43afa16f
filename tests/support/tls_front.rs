//! TLS in front of a server that speaks plain TCP.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::ssl::{
    HandshakeError, SslAcceptor, SslAcceptorBuilder, SslMethod, SslStream, SslVerifyMode,
};

use super::certificates::{Authority, Identity};
use super::proxy::{Connection, Proxy, lock};

const HANDSHAKE: Duration = Duration::from_secs(10);
const FAREWELL: Duration = Duration::from_secs(1);

/// Takes TLS 1.2 and 1.3 from clients and passes the plain bytes to a server. Dropping it ends
/// every connection.
#[derive(Debug)]
pub struct TlsFront {
    proxy: Proxy,
}

impl TlsFront {
    /// Listens on a free port of the loopback with the certificate of `identity`.
    pub fn start(identity: &Identity, upstream: SocketAddr) -> io::Result<Self> {
        Self::serve(acceptor(identity)?, upstream)
    }

    /// The same, and only clients with a certificate from `clients` get in.
    pub fn start_for_known_clients(
        identity: &Identity,
        clients: &Authority,
        upstream: SocketAddr,
    ) -> io::Result<Self> {
        let mut acceptor = acceptor(identity)?;
        acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        acceptor.add_client_ca(clients.certificate())?;
        acceptor
            .cert_store_mut()
            .add_cert(clients.certificate().clone())?;
        Self::serve(acceptor, upstream)
    }

    fn serve(acceptor: SslAcceptorBuilder, upstream: SocketAddr) -> io::Result<Self> {
        let acceptor = acceptor.build();
        let proxy = Proxy::start(
            "tls-front",
            Ipv4Addr::LOCALHOST,
            upstream,
            move |connection| {
                if let Ok(tls) = handshake(&acceptor, &connection.client) {
                    Tunnel::new(tls, connection).run();
                }
            },
        )?;
        Ok(Self { proxy })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// The port of [`address`](Self::address).
    pub fn port(&self) -> u16 {
        self.address().port()
    }
}

fn acceptor(identity: &Identity) -> Result<SslAcceptorBuilder, ErrorStack> {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    acceptor.set_certificate(identity.certificate())?;
    acceptor.set_private_key(identity.key())?;
    // Without one, OpenSSL refuses clients that resume a session they showed a certificate in.
    acceptor.set_session_id_context(b"tls-front")?;
    Ok(acceptor)
}

/// What stands in for the socket, so that no lock is held while a socket is waited for.
#[derive(Debug, Default)]
struct Ciphertext {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
}

impl Read for Ciphertext {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.incoming.read(buffer)
    }
}

impl Write for Ciphertext {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn handshake(acceptor: &SslAcceptor, mut client: &TcpStream) -> io::Result<SslStream<Ciphertext>> {
    let mut buffer = [0; 16 * 1024];
    client.set_read_timeout(Some(HANDSHAKE))?;
    let mut attempt = acceptor.accept(Ciphertext::default());
    loop {
        match attempt {
            Ok(mut tls) => {
                client.write_all(&std::mem::take(&mut tls.get_mut().outgoing))?;
                client.set_read_timeout(None)?;
                return Ok(tls);
            }
            Err(HandshakeError::WouldBlock(mut half)) => {
                client.write_all(&std::mem::take(&mut half.get_mut().outgoing))?;
                match client.read(&mut buffer)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    length => half.get_mut().incoming.extend(&buffer[..length]),
                }
                attempt = half.handshake();
            }
            Err(HandshakeError::Failure(mut half)) => {
                client.write_all(&std::mem::take(&mut half.get_mut().outgoing))?;
                // Closing with unread bytes would be a reset, which can overtake the alert.
                client.shutdown(Shutdown::Write)?;
                client.set_read_timeout(Some(FAREWELL))?;
                while client.read(&mut buffer)? > 0 {}
                return Err(io::ErrorKind::InvalidData.into());
            }
            Err(HandshakeError::SetupFailure(error)) => return Err(error.into()),
        }
    }
}

/// One connection after its handshake.
struct Tunnel<'a> {
    tls: Mutex<SslStream<Ciphertext>>,
    /// Held from the making of a record to its sending, so that records leave in their order.
    sending: Mutex<()>,
    connection: &'a Connection,
}

impl<'a> Tunnel<'a> {
    fn new(tls: SslStream<Ciphertext>, connection: &'a Connection) -> Self {
        Self {
            tls: Mutex::new(tls),
            sending: Mutex::new(()),
            connection,
        }
    }

    fn run(&self) {
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = self.to_server();
                self.connection.cut();
            });
            let _ = self.to_client();
            self.connection.cut();
        });
    }

    fn to_server(&self) -> io::Result<()> {
        let (mut client, mut server) = (&self.connection.client, &self.connection.server);
        let mut ciphertext = [0; 16 * 1024];
        // What came with the last message of the handshake is in the stream already.
        let mut length = 0;
        loop {
            let (plain, going_on) = self.decrypt(&ciphertext[..length]);
            server.write_all(&plain)?;
            if !going_on {
                return Ok(());
            }
            length = client.read(&mut ciphertext)?;
            if length == 0 {
                return Ok(());
            }
        }
    }

    /// The plain bytes, and whether more can follow.
    fn decrypt(&self, ciphertext: &[u8]) -> (Vec<u8>, bool) {
        let mut plain = Vec::new();
        let mut tls = lock(&self.tls);
        tls.get_mut().incoming.extend(ciphertext);
        let end = tls.read_to_end(&mut plain);
        let answers = !tls.get_ref().outgoing.is_empty();
        drop(tls);
        let sent = !answers || self.send(|_| Ok(())).is_ok();
        let waiting = matches!(end, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        (plain, waiting && sent)
    }

    fn to_client(&self) -> io::Result<()> {
        let mut server = &self.connection.server;
        let mut plain = [0; 16 * 1024];
        loop {
            match server.read(&mut plain)? {
                0 => {
                    return self.send(|tls| tls.shutdown().map(drop).map_err(io::Error::other));
                }
                length => self.send(|tls| tls.write_all(&plain[..length]))?,
            }
        }
    }

    fn send(
        &self,
        encrypt: impl FnOnce(&mut SslStream<Ciphertext>) -> io::Result<()>,
    ) -> io::Result<()> {
        let _sending = lock(&self.sending);
        let mut tls = lock(&self.tls);
        encrypt(&mut tls)?;
        let ciphertext = std::mem::take(&mut tls.get_mut().outgoing);
        drop(tls);
        (&self.connection.client).write_all(&ciphertext)
    }
}
