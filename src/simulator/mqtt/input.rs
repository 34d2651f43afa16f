//! The receiving half of a connection.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Disconnection,
    line::Line,
    packet::{Packet, Packets},
};

/// The longest single read: some systems reject longer timeouts.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest read whose timeout systems keep to a few milliseconds.
const READ_EXACTLY: Duration = Duration::from_millis(50);
/// How long a refused client may take to close its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns how long a read may take for this much time that is left: less, since systems wait up to an
/// eighth longer than asked.
fn timeout(left: Duration) -> Duration {
    if left < READ_EXACTLY {
        return left;
    }
    (left - left / 8).min(READ_TIMEOUT)
}

/// Reads packets from a connection.
pub(super) struct Input {
    pub(super) line: Arc<Line>,
    packets: Packets,
    chunk: Vec<u8>,
}

impl Input {
    pub(super) fn new(line: &Arc<Line>) -> Self {
        Self {
            line: Arc::clone(line),
            packets: Packets::default(),
            chunk: vec![0; 16 * 1024],
        }
    }

    /// Returns the next packet, or why the connection must end.
    pub(super) fn next(&mut self, deadline: Instant) -> Result<Packet, Disconnection> {
        loop {
            match self.packets.next() {
                Ok(Some(packet)) => return Ok(packet),
                Ok(None) => {}
                Err(malformed) => {
                    log::debug!("closing a connection: {}", malformed.0);
                    return Err(Disconnection::Mistake(malformed.0.to_owned()));
                }
            }
            let length = self.read(deadline)?;
            self.packets.push(&self.chunk[..length]);
        }
    }

    fn read(&mut self, deadline: Instant) -> Result<usize, Disconnection> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Disconnection::Silent);
            }
            let limited = self.line.set_read_timeout(timeout(left));
            match limited.and_then(|()| self.line.read(&mut self.chunk)) {
                Ok(0) => return Err(Disconnection::Closed),
                Ok(length) => return Ok(length),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut => {}
                    // Only TLS says so.
                    io::ErrorKind::InvalidData => {
                        return Err(Disconnection::Tls(error.to_string()));
                    }
                    _ => return Err(Disconnection::Closed),
                },
            }
        }
    }

    /// Sends a last packet, then closes.
    pub(super) fn close_with(&mut self, packet: &[u8]) {
        let _ = self.line.write_all(packet);
        self.close();
    }

    /// Ends the output, then reads until the client closes: closing with unread input would reset the
    /// connection, and the reset could overtake the last packets.
    pub(super) fn close(&mut self) {
        self.line.finish();
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        while self.read(deadline).is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_ends_in_time_although_systems_wait_an_eighth_longer() {
        for millis in [0, 1, 49, 50, 51, 1_000, 1_500, 3_000, 67_000, 3_600_000] {
            let left = Duration::from_millis(millis);
            let timeout = timeout(left);
            let late = timeout + timeout / 8;
            assert!(
                late <= left || left < READ_EXACTLY,
                "{timeout:?} of {left:?}"
            );
            assert!(
                timeout >= left.min(READ_TIMEOUT) / 2,
                "{timeout:?} of {left:?}"
            );
        }
    }
}
