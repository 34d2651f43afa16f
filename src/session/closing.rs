//! How a client closes: what is still open, and what is left behind.

use std::time::{Duration, Instant};

use super::{
    Farewell, Session,
    lifecycle::{Input, Left, Waiter},
};
use crate::{
    error::{Error, ErrorKind},
    message::MessageIds,
    mqtt::{Attempt, Outcome},
};

/// What a client leaves behind when it closes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LeftBehind {
    /// Downlinks that the server may not have processed.
    uncertain: u64,
    /// Downlinks that were not written.
    pub(super) unsent: u64,
    /// How the client left its connection; `None` if there was none.
    leaving: Option<Leaving>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// The connection ended first.
    Ended,
    /// The time was up.
    TimeUp,
}

impl LeftBehind {
    fn is_empty(&self) -> bool {
        self.uncertain == 0 && self.unsent == 0
    }
}

impl Session {
    /// Takes everything that was accepted, to be written before the client closes. Returns how much is
    /// open.
    pub(super) fn drain(&mut self, attempt: Attempt) -> Input {
        self.status.set_connected(false);
        self.sending.take_accepted(Instant::now());
        let transport = self.connections.transport(attempt);
        let unfinished = transport.map_or(0, |transport| transport.unfinished());
        let messages = unfinished + self.sending.waiting();
        Input::Unfinished { attempt, messages }
    }

    /// Settles the messages in flight before a connection is left. Returns the number of downlinks that
    /// were not written.
    pub(super) fn settle_in_flight(&mut self, attempt: Attempt, stays_open: bool) -> u64 {
        let Some(transport) = self.connections.transport(attempt) else {
            return 0;
        };
        let now = Instant::now();
        let mut failed = 0;
        for outcome in transport.take_in_flight(stays_open) {
            match &outcome {
                Outcome::PublishFailed(ids, _) => failed += ids.len(),
                _ => self.lifecycle.written(now),
            }
            self.sending.observe_outcome(outcome, now);
        }
        self.report_sending();
        failed
    }

    /// Returns the messages of a connection that the server may not have processed.
    pub(super) fn take_unfinished(&mut self, attempt: Attempt) -> Vec<MessageIds> {
        let transport = self.connections.transport(attempt);
        transport.map_or_else(Vec::new, |transport| transport.take_unfinished())
    }

    /// Notes what is left behind on a connection that the client closes.
    pub(super) fn leave(&mut self, attempt: Attempt, ended: bool) {
        let unsent = self.settle_in_flight(attempt, !ended);
        let unfinished = self.take_unfinished(attempt);
        let error = written_before_closing(ended);
        let uncertain = self.sending.left(&unfinished, &error, Instant::now());
        self.status.tally().uncertain(uncertain);
        if let Some(left) = &mut self.left_behind {
            left.unsent += unsent;
            left.uncertain += uncertain;
            left.leaving = Some(match ended {
                true => Leaving::Ended,
                false => Leaving::TimeUp,
            });
        }
    }

    /// Returns [`Input::Drained`] if the client is closing and everything is written.
    pub(super) fn drained(&mut self) -> Option<Input> {
        let attempt = self.lifecycle.draining()?;
        let transport = self.connections.transport(attempt)?;
        if transport.is_flushing() || !self.sending.is_drained(transport) {
            return None;
        }
        let left = if transport.unfinished() > 0 {
            // Without an answer, the end of the connection or the deadline follows.
            transport.answers().then_some(Left::Unprocessed)?
        } else if self.sending.awaits_report() {
            (!self.lifecycle.is_settling()).then_some(Left::Unreported)?
        } else {
            Left::Nothing
        };
        Some(Input::Drained { attempt, left })
    }

    /// Answers calls of `close`.
    pub(super) fn answer_closes(&mut self, waiters: Vec<Waiter>, within: Duration) {
        self.receiving.resume();
        let left = self.left_behind.take().filter(|left| !left.is_empty());
        let answer = Farewell {
            end: self.status.last_end(),
            within,
            result: left.map_or(Ok(()), |left| Err(left_behind(left, within))),
        };
        for waiter in waiters {
            self.waiters.answer_close(waiter, answer.clone());
        }
    }
}

/// Explains why a downlink is uncertain after `close`.
fn written_before_closing(ended: bool) -> Error {
    let why = if ended {
        "the connection ended before the server had processed it"
    } else {
        "close() gave up before the server had processed it"
    };
    Error::new(
        ErrorKind::Unconfirmed,
        format!(
            "the downlink was written just before the client closed, and {why}; it may be lost"
        ),
    )
}

/// Explains what `close` leaves behind.
fn left_behind(left: LeftBehind, within: Duration) -> Error {
    let LeftBehind {
        uncertain,
        unsent,
        leaving,
    } = left;
    let what = [
        (unsent, "not written"),
        (
            uncertain,
            "uncertain: written, but not known to be processed by the server",
        ),
    ]
    .into_iter()
    .filter(|(downlinks, _)| *downlinks > 0)
    .map(|(downlinks, how)| match downlinks {
        1 => format!("1 downlink is {how}"),
        _ => format!("{downlinks} downlinks are {how}"),
    });
    let what = what.collect::<Vec<_>>().join(", and ");
    let why = match leaving {
        None => "the client was not connected when it was closed".to_owned(),
        Some(Leaving::Ended) => "the connection ended while the client was closing".to_owned(),
        Some(Leaving::TimeUp) => format!("closing was not complete within {within:?}"),
    };
    let advice = match leaving {
        Some(Leaving::TimeUp) => {
            "set a longer close_timeout, or wait for the deliveries before you call close()"
        }
        _ => "wait for the deliveries before you call close()",
    };
    let kind = match (uncertain, leaving) {
        (0, None) => ErrorKind::NotConnected,
        (0, Some(Leaving::Ended)) => ErrorKind::ConnectionLost,
        (0, Some(Leaving::TimeUp)) => ErrorKind::TimedOut,
        _ => ErrorKind::Unconfirmed,
    };
    Error::new(kind, format!("{why}: {what}; {advice}"))
}
