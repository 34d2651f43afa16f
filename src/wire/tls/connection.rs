//! TLS over one non-blocking socket.

use std::{
    fmt,
    io::{self, Read, Write},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use rustls::{ClientConnection, ProtocolVersion};

use super::{
    certificate::{Certificate, Clock},
    failure::Failure,
    identity::Presenter,
    trust,
    verifier::Verifier,
};
use crate::{
    error::Error,
    wire::probe::{Dated, Security},
};

pub(crate) struct Tls {
    connection: ClientConnection,
    host: String,
    trust: Arc<trust::Inner>,
    verifier: Arc<Verifier>,
    presenter: Arc<Presenter>,
    /// Whether the handshake was completed.
    up: bool,
    /// A failure to report after the bytes before it have been read.
    failed: Option<io::Error>,
}

impl Tls {
    pub(super) fn new(
        connection: ClientConnection,
        host: String,
        trust: Arc<trust::Inner>,
        verifier: Arc<Verifier>,
        presenter: Arc<Presenter>,
    ) -> Self {
        Self {
            connection,
            host,
            trust,
            verifier,
            presenter,
            up: false,
            failed: None,
        }
    }

    /// Continues the handshake as far as the socket allows. Returns whether it is complete.
    pub(crate) fn handshake<S: Read + Write>(&mut self, socket: &mut S) -> io::Result<bool> {
        loop {
            match self.flush(socket) {
                Ok(()) => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(cause) => return Err(cause),
            }
            if !self.connection.is_handshaking() {
                self.up = true;
                return Ok(true);
            }
            match self.receive(socket) {
                Ok(true) => {}
                // The last bytes may have completed it.
                Ok(false) if self.connection.is_handshaking() => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(false) => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(cause) => return Err(cause),
            }
        }
    }

    /// Reads what the server sent; 0 bytes at the end of the stream, with or without a close_notify.
    pub(crate) fn read<S: Read + Write>(
        &mut self,
        socket: &mut S,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                Ok(count) => return Ok(count),
                // Many servers end without a close_notify.
                Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                Err(cause) => return Err(cause),
            }
            if let Some(cause) = self.failed.take() {
                return Err(cause);
            }
            if let Err(cause) = self.receive(socket) {
                if cause.kind() == io::ErrorKind::WouldBlock {
                    return Err(cause);
                }
                self.failed = Some(cause);
            }
        }
    }

    /// Accepts some of the bytes and sends what it can; `WouldBlock` if it accepts none because earlier
    /// ones are not sent yet.
    pub(crate) fn write<S: Read + Write>(
        &mut self,
        socket: &mut S,
        bytes: &[u8],
    ) -> io::Result<usize> {
        // A nearly full buffer would accept a few bytes each time, and make a record of them.
        self.flush(socket)?;
        let count = self.connection.writer().write(bytes)?;
        match self.flush(socket) {
            Err(cause) if cause.kind() != io::ErrorKind::WouldBlock => Err(cause),
            _ => Ok(count),
        }
    }

    /// Sends what was accepted; `WouldBlock` if some of it is left.
    pub(crate) fn flush<S: Read + Write>(&mut self, socket: &mut S) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.send(socket) {
                Ok(()) => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Err(cause),
                Err(cause) => return Err(self.last_words(socket).unwrap_or(cause)),
            }
        }
        Ok(())
    }

    pub(crate) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Announces that nothing more will be written; `flush` sends it.
    pub(crate) fn close_notify(&mut self) {
        self.connection.send_close_notify();
    }

    /// Returns what was agreed on in the handshake.
    pub(crate) fn security(&self) -> Security {
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        };
        let own = self.connection.peer_certificates().and_then(<[_]>::first);
        let certificate = own.and_then(|der| Certificate::parse(der));
        let moment = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        Security {
            version,
            certificate: certificate.map(|certificate| Dated {
                subject: certificate.subject.to_string(),
                issuer: certificate.issuer.to_string(),
                not_before: moment(certificate.not_before),
                not_after: moment(certificate.not_after),
            }),
        }
    }

    /// Returns whether the server asked for a client certificate and received none.
    pub(crate) fn lacks_client_certificate(&self) -> bool {
        self.presenter.was_asked() && self.trust.identity.is_none()
    }

    /// Turns the cause of a failure into an error that names `server`.
    pub(crate) fn explain(&self, server: &dyn fmt::Display, cause: &io::Error) -> Error {
        Failure {
            server,
            host: &self.host,
            authorities: &self.trust.authorities,
            identity: self.trust.identity.as_ref(),
            asked: self.presenter.was_asked(),
            up: self.up,
            chain: &self.verifier.refused(),
            clock: Clock::read(),
        }
        .explain(cause)
    }

    /// Reads records from the socket; `false` at the end of the stream.
    fn receive<S: Read + Write>(&mut self, socket: &mut S) -> io::Result<bool> {
        let count = loop {
            match self.connection.read_tls(socket) {
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if let Err(cause) = self.connection.process_new_packets() {
            // Sends the alert that tells the server why, if possible.
            while self.connection.wants_write() && self.send(socket).is_ok() {}
            return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
        }
        Ok(count > 0)
    }

    fn send<S: Write>(&mut self, socket: &mut S) -> io::Result<()> {
        match self.connection.write_tls(socket) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => Ok(()),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(cause) => Err(cause),
        }
    }

    /// Reads on after a failed write: the server may have sent an alert before it closed, which says
    /// more.
    fn last_words<S: Read + Write>(&mut self, socket: &mut S) -> Option<io::Error> {
        loop {
            match self.receive(socket) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(cause)
                    if cause
                        .get_ref()
                        .is_some_and(|cause| cause.is::<rustls::Error>()) =>
                {
                    return Some(cause);
                }
                Err(_) => return None,
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("host", &self.host)
            .field("up", &self.up)
            .finish_non_exhaustive()
    }
}
