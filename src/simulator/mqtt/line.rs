//! A connection, with or without TLS, that one thread reads and another writes.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use crate::simulator::security::Security;
#[cfg(feature = "tls")]
use crate::simulator::tls::Secured;

pub(super) struct Line {
    stream: TcpStream,
    #[cfg(feature = "tls")]
    tls: Option<Secured>,
}

impl Line {
    pub(super) fn new(stream: TcpStream, security: &Security) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        match security {
            Security::Plain => Ok(Self {
                stream,
                #[cfg(feature = "tls")]
                tls: None,
            }),
            #[cfg(feature = "tls")]
            Security::Tls(authority) => Ok(Self {
                stream,
                tls: Some(authority.secure()?),
            }),
        }
    }

    pub(super) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(timeout))
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.read(&self.stream, buffer);
        }
        (&self.stream).read(buffer)
    }

    pub(super) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.write_all(&self.stream, bytes);
        }
        (&self.stream).write_all(bytes)
    }

    /// Ends the output; the client still may write.
    pub(super) fn finish(&self) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let _ = tls.finish(&self.stream);
        }
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends both directions.
    pub(super) fn cut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
