//! The server's end of TLS, for a thread that reads and others that write.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls::{ServerConfig, ServerConnection, crypto::ring};

use super::support::certificates::Identity;

/// Returns a configuration for TLS 1.2 and 1.3 that accepts every client.
pub fn server_config(identity: &Identity) -> Arc<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has ciphers for them")
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.key());
    Arc::new(config.expect("the key is that of the certificate"))
}

#[derive(Clone)]
pub struct TlsStream {
    connection: Arc<Mutex<ServerConnection>>,
    socket: Arc<TcpStream>,
}

impl TlsStream {
    /// Returns once the TLS handshake is complete.
    pub fn accept(config: &Arc<ServerConfig>, socket: TcpStream) -> io::Result<Self> {
        let mut connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        connection.complete_io(&mut &socket)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            socket: Arc::new(socket),
        })
    }

    fn connection(&self) -> MutexGuard<'_, ServerConnection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection().reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            // Other threads may write meanwhile.
            let mut sealed = [0; 4096];
            let length = (&*self.socket).read(&mut sealed)?;
            let mut connection = self.connection();
            // A read of 0 bytes is the end, which rustls must see as well.
            let mut sealed = &sealed[..length];
            loop {
                connection.read_tls(&mut sealed)?;
                connection.process_new_packets().map_err(io::Error::other)?;
                if sealed.is_empty() {
                    break;
                }
            }
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut connection = self.connection();
        let written = connection.writer().write(bytes)?;
        while connection.wants_write() {
            connection.write_tls(&mut &*self.socket)?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
