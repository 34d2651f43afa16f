//! Which of a broker's servers an attempt goes to: they are tried in turn. Pure state.
//!
//! In one *round*, each server is tried once, without waiting in between. The network itself counts as one server.

use std::time::Duration;

use crate::error::{Error, ErrorKind};

#[derive(Debug)]
pub(super) struct Servers {
    count: usize,
    current: usize,
    /// Why the servers of this round have failed.
    failed: Vec<Error>,
}

impl Servers {
    pub(super) fn new(count: usize) -> Self {
        Self {
            count: count.max(1),
            current: 0,
            failed: Vec::new(),
        }
    }

    /// Returns the number of the server to connect to.
    pub(super) fn current(&self) -> usize {
        self.current
    }

    pub(super) fn begin_round(&mut self) {
        self.failed.clear();
    }

    /// Returns the time for the next server of this round, of the time that is left: each of the others must
    /// be able to get as much.
    pub(super) fn share(&self, left: Duration) -> Duration {
        let untried = self.count - self.failed.len().min(self.count - 1);
        left / u32::try_from(untried).unwrap_or(u32::MAX)
    }

    /// Notes that the connection to the server was lost: the next round begins with the next one.
    pub(super) fn lost(&mut self) {
        self.advance();
    }

    /// Notes that the server cannot be used. Returns whether another one is to be tried in this round.
    pub(super) fn failed(&mut self, error: &Error) -> bool {
        self.advance();
        if self.count == 1 {
            return false;
        }
        self.failed.push(error.clone());
        self.failed.len() < self.count
    }

    /// Returns why the round has failed, whose last error is this one.
    pub(super) fn verdict(&self, last: Error) -> Error {
        let refusal = |kind: &ErrorKind| {
            matches!(
                kind,
                ErrorKind::NotAuthorized
                    | ErrorKind::SubscriptionRefused
                    | ErrorKind::SharedSubscription
            )
        };
        match self.failed.as_slice() {
            [] | [_] => last,
            failed => {
                let kind = failed.iter().map(Error::kind).find(refusal);
                let reasons: Vec<String> = failed.iter().map(ToString::to_string).collect();
                Error::with_source(
                    kind.unwrap_or(last.kind()),
                    format!(
                        "none of the {} servers can be used: {}",
                        failed.len(),
                        reasons.join("; ")
                    ),
                    last,
                )
            }
        }
    }

    fn advance(&mut self) {
        self.current = (self.current + 1) % self.count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn error(kind: ErrorKind, words: &str) -> Error {
        Error::new(kind, words)
    }

    #[test]
    fn a_round_tries_each_server_once_and_shares_its_time() {
        let mut servers = Servers::new(3);
        for first in [0, 0, 0] {
            servers.begin_round();
            assert_eq!(servers.current(), first);
            assert_eq!(servers.share(9 * SECOND), 3 * SECOND);
            let refused = error(ErrorKind::ConnectionRefused, "refused");
            assert!(servers.failed(&refused));
            assert_eq!(servers.share(9 * SECOND), 9 * SECOND / 2);
            assert!(servers.failed(&refused));
            assert_eq!(servers.share(9 * SECOND), 9 * SECOND);
            assert_eq!(servers.current(), (first + 2) % 3);
            assert!(!servers.failed(&refused));
        }
    }

    #[test]
    fn after_a_lost_connection_the_next_server_is_the_first() {
        let mut servers = Servers::new(2);
        servers.lost();
        servers.begin_round();
        assert_eq!(servers.current(), 1);
        assert!(servers.failed(&error(ErrorKind::TimedOut, "away")));
        assert_eq!(servers.current(), 0);
    }

    #[test]
    fn one_server_has_all_the_time_and_its_own_error() {
        let mut servers = Servers::new(1);
        servers.begin_round();
        assert_eq!(servers.share(9 * SECOND), 9 * SECOND);
        let away = error(ErrorKind::TimedOut, "away");
        assert!(!servers.failed(&away));
        assert_eq!(servers.verdict(away).to_string(), "away");
        assert_eq!(servers.current(), 0);
    }

    #[test]
    fn the_verdict_names_every_reason_and_a_refusal_decides() {
        let mut servers = Servers::new(2);
        servers.begin_round();
        servers.failed(&error(ErrorKind::NotAuthorized, "b1 refuses"));
        let last = error(ErrorKind::ConnectionRefused, "b2 is down");
        assert!(!servers.failed(&last));
        let verdict = servers.verdict(last);
        assert_eq!(verdict.kind(), ErrorKind::NotAuthorized);
        let text = verdict.to_string();
        assert!(text.contains("none of the 2 servers"), "{text}");
        assert!(text.contains("b1 refuses; b2 is down"), "{text}");
    }
}
