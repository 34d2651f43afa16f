//! Admits one client on the loopback: the client that knows a random token. Strangers are
//! disconnected at their first wrong byte and do no harm.

use std::{
    collections::VecDeque,
    io::{self, Read},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use mio::net::{TcpListener, TcpStream};

use super::packet;
use crate::wire::{line::uninterrupted, waiter::Waiter};

/// The keep-alive of the client behind the relay, in seconds: the relay pings the server in its place.
const CLIENT_KEEP_ALIVE: u16 = u16::MAX;

/// How many connections may present the token at a time; others wait in the system's queue.
const MAX_CANDIDATES: usize = 64;

/// How long each of them has while others wait; then the oldest is dropped.
const TURN: Duration = Duration::from_millis(20);

/// How many connections are accepted before anything else is checked.
const BURST: usize = 64;

/// The length of the token in bytes; it is sent in hex digits.
const TOKEN: usize = 16;

/// A loopback port and the client id that is admitted there.
#[derive(Debug)]
pub(in crate::wire) struct Door {
    listener: TcpListener,
    token: String,
    /// The CONNECT packet of the client that knows the token.
    expected: Vec<u8>,
    candidates: VecDeque<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    stream: TcpStream,
    since: Instant,
    bytes: Vec<u8>,
}

/// Who is at the door.
#[derive(Debug)]
pub(in crate::wire) enum Look {
    Client(TcpStream),
    /// Look again when a socket is ready, and at this time at the latest, because more may wait.
    Nobody(Option<Instant>),
}

/// What is known about a candidate so far.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Incomplete,
    Wrong,
    Right,
}

impl Door {
    /// Opens a free port.
    pub(in crate::wire) fn open(waiter: &Waiter, token: usize) -> io::Result<Self> {
        let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        waiter.watch_reading(&mut listener, token)?;
        let mut secret = [0; TOKEN];
        getrandom::getrandom(&mut secret).map_err(|cause| io::Error::other(cause.to_string()))?;
        let token = hex::encode(secret);
        Ok(Self {
            listener,
            expected: packet::anonymous(&token, CLIENT_KEEP_ALIVE),
            token,
            candidates: VecDeque::new(),
        })
    }

    pub(in crate::wire) fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    pub(in crate::wire) fn token(&self) -> &str {
        &self.token
    }

    /// Admits the client if it is there.
    pub(in crate::wire) fn look(&mut self, waiter: &Waiter, token: usize) -> io::Result<Look> {
        if let Some(client) = self.examine() {
            return Ok(Look::Client(client));
        }
        let now = Instant::now();
        for _ in 0..BURST {
            if self.candidates.len() == MAX_CANDIDATES {
                let over = self.candidates[0].since + TURN;
                if now < over {
                    return Ok(Look::Nobody(Some(over)));
                }
                self.candidates.pop_front();
            }
            match uninterrupted(|| self.listener.accept()) {
                Ok((mut stream, _)) => {
                    waiter.watch(&mut stream, token)?;
                    let mut candidate = Candidate {
                        stream,
                        since: now,
                        bytes: Vec::new(),
                    };
                    match candidate.examine(&self.expected) {
                        Verdict::Incomplete => self.candidates.push_back(candidate),
                        Verdict::Wrong => {}
                        Verdict::Right => return Ok(Look::Client(candidate.stream)),
                    }
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Look::Nobody(None));
                }
                // This connection has already gone.
                Err(cause) if cause.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(Look::Nobody(Some(now)))
    }

    fn examine(&mut self) -> Option<TcpStream> {
        let expected = &self.expected;
        let mut right = None;
        let mut index = 0;
        while index < self.candidates.len() {
            match self.candidates[index].examine(expected) {
                Verdict::Incomplete => index += 1,
                Verdict::Wrong => drop(self.candidates.remove(index)),
                Verdict::Right => {
                    right = self.candidates.remove(index);
                    break;
                }
            }
        }
        right.map(|candidate| candidate.stream)
    }
}

impl Candidate {
    /// Reads what has arrived.
    fn examine(&mut self, expected: &[u8]) -> Verdict {
        loop {
            let mut buffer = [0; 128];
            // Not a byte beyond the packet.
            let wanted = (expected.len() - self.bytes.len()).min(buffer.len());
            match uninterrupted(|| self.stream.read(&mut buffer[..wanted])) {
                Ok(0) => return Verdict::Wrong,
                Ok(length) => self.bytes.extend(&buffer[..length]),
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    return Verdict::Incomplete;
                }
                Err(_) => return Verdict::Wrong,
            }
            match judge(&self.bytes, expected) {
                Verdict::Incomplete => {}
                verdict => return verdict,
            }
        }
    }
}

/// Compares a CONNECT packet. What precedes the token is not secret; the token is compared as a whole
/// and in constant time.
fn judge(bytes: &[u8], expected: &[u8]) -> Verdict {
    let open = expected.len() - 2 * TOKEN;
    let seen = bytes.len().min(open);
    if bytes[..seen] != expected[..seen] {
        return Verdict::Wrong;
    }
    if bytes.len() < expected.len() {
        return Verdict::Incomplete;
    }
    let differences = bytes
        .iter()
        .zip(expected)
        .fold(0, |differences, (one, other)| differences | (one ^ other));
    if differences == 0 {
        Verdict::Right
    } else {
        Verdict::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whoever_knows_the_whole_token_is_right() {
        let expected = packet::anonymous(&"0123456789abcdef".repeat(2), CLIENT_KEEP_ALIVE);
        assert_eq!(judge(&expected, &expected), Verdict::Right);
        for length in 0..expected.len() {
            assert_eq!(judge(&expected[..length], &expected), Verdict::Incomplete);
            let mut wrong = expected.clone();
            wrong[length] ^= 1;
            assert_eq!(judge(&wrong, &expected), Verdict::Wrong);
            let is_secret = length >= expected.len() - 2 * TOKEN;
            let early = judge(&wrong[..=length], &expected) == Verdict::Wrong;
            assert_eq!(early, !is_secret || length + 1 == expected.len());
        }
    }
}
