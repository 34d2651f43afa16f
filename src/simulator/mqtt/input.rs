//! The receiving half of a connection.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use super::packet::{Packet, Packets};

/// The longest single read: some systems reject longer timeouts.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a refused client may take to close its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads packets from a stream.
pub(super) struct Input {
    pub(super) stream: Arc<TcpStream>,
    packets: Packets,
    chunk: Vec<u8>,
}

impl Input {
    pub(super) fn new(stream: &Arc<TcpStream>) -> Self {
        Self {
            stream: Arc::clone(stream),
            packets: Packets::default(),
            chunk: vec![0; 16 * 1024],
        }
    }

    /// Returns the next packet, or `None` when the connection must end.
    pub(super) fn next(&mut self, deadline: Instant) -> Option<Packet> {
        loop {
            match self.packets.next() {
                Ok(Some(packet)) => return Some(packet),
                Ok(None) => {}
                Err(malformed) => {
                    log::debug!("closing a connection: {}", malformed.0);
                    return None;
                }
            }
            let length = self.read(deadline)?;
            self.packets.push(&self.chunk[..length]);
        }
    }

    fn read(&mut self, deadline: Instant) -> Option<usize> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let left = left.min(READ_TIMEOUT);
            self.stream.set_read_timeout(Some(left)).ok()?;
            match self.stream.as_ref().read(&mut self.chunk) {
                Ok(0) => return None,
                Ok(length) => return Some(length),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut => {}
                    _ => return None,
                },
            }
        }
    }

    /// Sends a last packet, then reads until the client closes: closing with unread input would
    /// reset the connection, and the reset could overtake the packet.
    pub(super) fn close_with(&mut self, packet: &[u8]) {
        let _ = self.stream.as_ref().write_all(packet);
        let _ = self.stream.shutdown(Shutdown::Write);
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        while self.read(deadline).is_some() {}
    }
}
