//! How a client closes: what is still open, and what is left behind.

use std::time::{Duration, Instant};

use super::{
    Farewell, Session,
    lifecycle::{Input, Left, Waiter},
    reasons,
};
use crate::{
    error::Error,
    message::{Closed, Event, MessageIds},
    mqtt::{Attempt, Outcome},
};

/// What a client leaves behind when it closes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LeftBehind {
    /// Downlinks that the server may not have processed.
    pub(super) uncertain: u64,
    /// Downlinks that were not written.
    pub(super) unsent: u64,
    /// How the client left its connection; `None` if there was none.
    pub(super) leaving: Option<Leaving>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
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
        let unfinished = transport.map_or(0, |transport| {
            transport.unfinished() + transport.unacknowledged()
        });
        let messages = unfinished + self.sending.asked() + self.sending.waiting();
        Input::Unfinished { attempt, messages }
    }

    /// Settles the messages in flight before a connection is left. Returns the number of downlinks that
    /// were not written.
    pub(super) fn settle_in_flight(&mut self, attempt: Attempt, stays_open: bool) -> u64 {
        let Some(transport) = self.connections.transport(attempt) else {
            return 0;
        };
        for outcome in transport.take_unacknowledged() {
            if let Outcome::Acknowledged(number, result) = outcome {
                self.publishing.answer(number, result);
            }
        }
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
        let mut unfinished = self.take_unfinished(attempt);
        unfinished.extend(self.sending.leave_courier(Instant::now()));
        let error = reasons::written_before_closing(ended);
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
        if transport.is_flushing() || !self.sending.is_drained() {
            return None;
        }
        let is_finished = transport.in_flight() == 0 && transport.unacknowledged() == 0;
        // Acknowledgements may stand behind messages that wait to be handled, until a flush lets them pass.
        let may_flush = is_finished || transport.awaits_acknowledgements();
        let left = if transport.unfinished() > 0 && may_flush {
            // Without an answer, the end of the connection or the deadline follows.
            transport.answers().then_some(Left::Unprocessed)?
        } else if !is_finished {
            return None;
        } else if self.sending.awaits_report() {
            (!self.lifecycle.is_settling()).then_some(Left::Unreported)?
        } else {
            Left::Nothing
        };
        Some(Input::Drained { attempt, left })
    }

    /// Fails everything that was accepted.
    pub(super) fn discard(&mut self, error: &Error) {
        self.status.tally().disconnected(Duration::ZERO);
        let now = Instant::now();
        // It may run although the connection has ended.
        let mut uncertain = 0;
        if let Some(asked) = self.sending.leave_courier(now) {
            let why = reasons::written_before_closing(true);
            uncertain = self.sending.left(&[asked], &why, now);
            self.status.tally().uncertain(uncertain);
        }
        let unsent = self.sending.discard(error, now);
        if let Some(left) = &mut self.left_behind {
            left.unsent += unsent;
            left.uncertain += uncertain;
        }
        self.report_sending();
    }

    pub(super) fn report_closed(&mut self, error: Option<Error>, last: Attempt) {
        self.receiving.closed(last);
        self.receiving.resume();
        self.stop_filling();
        let number = self.status.next_end();
        self.receiving
            .report(Event::Closed(Closed { error, number }));
        self.status.ended(number);
    }

    /// Answers calls of `close`.
    pub(super) fn answer_closes(&mut self, waiters: Vec<Waiter>, within: Duration) {
        self.receiving.resume();
        // A client that never was connected may fetch too.
        self.stop_filling();
        let left = self.left_behind.take().filter(|left| !left.is_empty());
        let answer = Farewell {
            end: self.status.last_end(),
            within,
            result: left.map_or(Ok(()), |left| Err(reasons::left_behind(left, within))),
        };
        for waiter in waiters {
            self.waiters.answer_close(waiter, answer.clone());
        }
    }
}
