//! Which address of a server to try next, and what it means when none answers. Pure state: the caller
//! opens the sockets.

use std::{
    fmt, io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::shortage::EXHAUSTED;
use crate::error::{Error, ErrorKind};

/// The delay before the next address is tried in parallel (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// The addresses of one server, tried in turn until one answers.
#[derive(Debug)]
pub(super) struct Race {
    /// Not tried yet, in order.
    waiting: std::vec::IntoIter<SocketAddr>,
    /// Tried, and no answer yet.
    running: Vec<SocketAddr>,
    failed: Vec<(SocketAddr, io::Error)>,
    /// When the next one starts, unless one fails earlier.
    next_start: Instant,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Start(SocketAddr),
    /// Wait for an answer, only until this time if there is another address to try.
    Wait(Option<Instant>),
    /// Every address has failed.
    Failed,
}

impl Race {
    /// Starts with `addresses` in the resolver's order of preference.
    pub(super) fn new(addresses: Vec<SocketAddr>, now: Instant) -> Self {
        Self {
            waiting: alternate(addresses).into_iter(),
            running: Vec::new(),
            failed: Vec::new(),
            next_start: now,
        }
    }

    /// Returns what to do now.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        let is_due = self.running.is_empty() || now >= self.next_start;
        let due = if is_due { self.waiting.next() } else { None };
        if let Some(address) = due {
            self.running.push(address);
            self.next_start = now + STAGGER;
            return Next::Start(address);
        }
        if self.running.is_empty() {
            return Next::Failed;
        }
        let another = !self.waiting.as_slice().is_empty();
        Next::Wait(another.then_some(self.next_start))
    }

    /// Notes that an address has failed. The next one starts at once.
    pub(super) fn failed(&mut self, address: SocketAddr, cause: io::Error, now: Instant) {
        self.running.retain(|running| *running != address);
        self.failed.push((address, cause));
        self.next_start = now;
    }

    /// Notes that the addresses without an answer have run out of time.
    pub(super) fn time_out(&mut self, now: Instant) {
        for address in std::mem::take(&mut self.running) {
            self.failed(address, io::ErrorKind::TimedOut.into(), now);
        }
    }

    /// Explains why `server` cannot be reached, with each address that was tried and its cause.
    pub(super) fn error(self, server: &dyn fmt::Display) -> Error {
        let kind = |cause: &io::Error| ErrorKind::of_io(cause).unwrap_or(ErrorKind::Unreachable);
        let telling = self.failed.iter().map(|(_, cause)| kind(cause));
        let Some(kind) = telling.max_by_key(|kind| weight(*kind)) else {
            return Error::new(
                ErrorKind::UnknownHost,
                format!("cannot reach {server}: its name has no address; check the address"),
            );
        };
        let untried = self.waiting.as_slice().len();
        let mut causes: Vec<String> = self
            .failed
            .iter()
            .map(|(address, cause)| format!("{address}: {}", describe(cause)))
            .collect();
        if untried > 0 {
            causes.push(format!("{untried} more addresses were not tried"));
        }
        let context = format!(
            "cannot reach {server}: {} ({})",
            advice(kind),
            causes.join("; ")
        );
        match self.failed.into_iter().next_back() {
            Some((_, cause)) => Error::with_source(kind, context, cause),
            None => Error::new(kind, context),
        }
    }
}

/// Alternates IPv6 and IPv4, beginning with the family that the resolver prefers (RFC 8305, section 4).
fn alternate(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = Vec::with_capacity(addresses.len());
    addresses.retain(|address| {
        let is_new = !seen.contains(address);
        seen.push(*address);
        is_new
    });
    let begins_with_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == begins_with_v6);
    let mut in_turn = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return in_turn;
        }
        in_turn.extend(pair.into_iter().flatten());
    }
}

/// Ranks failures by what they reveal: a server that refuses reveals more than a machine without IPv6.
fn weight(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::ResourcesExhausted => 5,
        ErrorKind::PermissionDenied => 4,
        ErrorKind::ConnectionRefused => 3,
        ErrorKind::TimedOut => 2,
        ErrorKind::ConnectionLost => 1,
        _ => 0,
    }
}

pub(super) fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ConnectionRefused => {
            "nothing listens there; is the server up and the port right?"
        }
        ErrorKind::TimedOut => "no answer; is there a firewall in between?",
        ErrorKind::PermissionDenied => "this process is not allowed to open the connection",
        ErrorKind::ResourcesExhausted => EXHAUSTED,
        ErrorKind::ConnectionLost => "the connection was reset",
        _ => "there is no route to the server; is the network up?",
    }
}

pub(super) fn describe(cause: &io::Error) -> String {
    let words = match cause.kind() {
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        io::ErrorKind::HostUnreachable => "host unreachable",
        // At the deadline, or when the system gives up, which is later.
        io::ErrorKind::TimedOut => "no answer",
        _ => return cause.to_string(),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| address(text)).collect()
    }

    fn refused() -> io::Error {
        io::Error::from_raw_os_error(111)
    }

    #[test]
    fn both_families_take_turns_and_each_address_comes_once() {
        let found = addresses(&[
            "[::1]:1",
            "[::2]:1",
            "[::1]:1",
            "[::3]:1",
            "1.1.1.1:1",
            "2.2.2.2:1",
        ]);
        assert_eq!(
            alternate(found),
            addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"])
        );
        let found = addresses(&["1.1.1.1:1", "[::1]:1"]);
        assert_eq!(alternate(found.clone()), found);
    }

    #[test]
    fn the_next_address_starts_when_one_fails_or_after_a_quarter_of_a_second() {
        let start = Instant::now();
        let all = addresses(&["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"]);
        let mut race = Race::new(all.clone(), start);
        assert_eq!(race.next(start), Next::Start(all[0]));
        assert_eq!(race.next(start), Next::Wait(Some(start + STAGGER)));
        race.failed(all[0], refused(), start);
        assert_eq!(race.next(start), Next::Start(all[1]));
        let later = start + STAGGER;
        assert_eq!(race.next(later), Next::Start(all[2]));
        assert_eq!(race.next(later), Next::Wait(None));
        race.failed(all[1], refused(), later);
        assert_eq!(race.next(later), Next::Wait(None));
        race.failed(all[2], refused(), later);
        assert_eq!(race.next(later), Next::Failed);
    }

    #[test]
    fn an_error_names_each_address_and_its_cause() {
        let start = Instant::now();
        let all = addresses(&["[2001:db8::1]:8883", "1.1.1.1:8883", "2.2.2.2:8883"]);
        let mut race = Race::new(all.clone(), start);
        while let Next::Start(_) = race.next(start + STAGGER) {
            race.next_start = start;
        }
        race.failed(all[0], io::Error::from_raw_os_error(101), start);
        race.failed(all[1], refused(), start);
        race.time_out(start);
        let error = race.error(&"mqtts://host:8883");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let text = error.to_string();
        for words in [
            "mqtts://host:8883",
            "[2001:db8::1]:8883: network unreachable",
            "1.1.1.1:8883: refused",
            "2.2.2.2:8883: no answer)",
        ] {
            assert!(text.contains(words), "{words:?} is missing in: {text}");
        }
    }

    #[test]
    fn a_name_without_an_address_is_an_unknown_host() {
        let mut race = Race::new(Vec::new(), Instant::now());
        assert_eq!(race.next(Instant::now()), Next::Failed);
        assert_eq!(race.error(&"host").kind(), ErrorKind::UnknownHost);
    }
}
