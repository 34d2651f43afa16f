//! How a client closes: it writes everything, waits until the server has processed it, and leaves.

use std::time::{Duration, Instant};

use super::{Action, Left, Lifecycle, State, reasons};
use crate::{clock::Moment, mqtt::Attempt};

/// The share of the close timeout that is spent waiting for the server; the rest is for the callbacks.
const CLOSE_SHARE: f64 = 0.9;

/// How long the server may take to close its side when it has processed everything.
const LEAVE: Duration = Duration::from_millis(4500);

/// How long the network's reports may come after the server has processed every downlink.
pub(in crate::session) const LATE_REPORTS: Duration = Duration::from_millis(200);

impl Lifecycle {
    pub(super) fn on_close(&mut self, now: Moment) {
        self.answer_connects(&Err(reasons::closed_while_connecting()));
        if !self.is_closing() {
            self.close_time = self.settings.close_time(0);
        }
        match self.take_state() {
            State::Idle => {
                self.act(Action::Discard(reasons::closed_before_written()));
                self.answer_closes();
            }
            State::Asking { setback, .. } => {
                self.report(setback, None);
                self.enter_idle(None, now);
            }
            State::Dialing { attempt, .. }
            | State::Entering { attempt, .. }
            | State::Subscribing { attempt, .. }
            | State::Proving { attempt, .. } => {
                self.act(Action::Abandon(attempt));
                self.enter_idle(None, now);
            }
            State::WaitingToLookUp { .. }
            | State::LookingUp { .. }
            | State::Inquiring { .. }
            | State::BackingOff { .. } => self.enter_idle(None, now),
            State::Up { attempt, ended, .. } => {
                let leave_by = self.leave_by(now.instant);
                self.act(Action::Drain(attempt));
                match ended {
                    None => {
                        self.state = State::Closing {
                            attempt,
                            since: now.instant,
                            leave_by,
                        };
                    }
                    Some(_) => self.start_leaving(attempt, leave_by, now),
                }
            }
            closing @ (State::Closing { .. } | State::Settling { .. } | State::Leaving { .. }) => {
                self.state = closing;
            }
        }
    }

    fn is_closing(&self) -> bool {
        matches!(
            self.state,
            State::Closing { .. } | State::Settling { .. } | State::Leaving { .. }
        )
    }

    /// Returns when a `close` that began then stops waiting for the server.
    fn leave_by(&self, since: Instant) -> Instant {
        since + self.close_time.mul_f64(CLOSE_SHARE)
    }

    pub(super) fn on_unfinished(&mut self, messages: usize) {
        if let State::Closing { since, .. } = self.state {
            self.close_time = self.settings.close_time(messages);
            let until = self.leave_by(since);
            if let State::Closing { leave_by, .. } = &mut self.state {
                *leave_by = until;
            }
        }
    }

    pub(super) fn on_drained(&mut self, attempt: Attempt, left: Left, now: Moment) {
        let (State::Closing { leave_by, .. } | State::Settling { leave_by, .. }) = self.state
        else {
            return;
        };
        match left {
            Left::Unprocessed => {
                // `send` was called again while the client was closing.
                if self.is_settling() {
                    self.state = State::Closing {
                        attempt,
                        since: now.instant,
                        leave_by,
                    };
                }
                self.act(Action::Flush(attempt));
            }
            Left::Unreported if !self.is_settling() => {
                self.state = State::Settling {
                    attempt,
                    deadline: leave_by.min(now.instant + LATE_REPORTS),
                    leave_by,
                };
            }
            Left::Unreported => {}
            Left::Nothing => self.start_leaving(attempt, leave_by, now),
        }
    }

    pub(super) fn start_leaving(&mut self, attempt: Attempt, leave_by: Instant, now: Moment) {
        self.state = State::Leaving {
            attempt,
            deadline: leave_by.min(now.instant + LEAVE),
        };
        self.act(Action::Finish(attempt));
    }

    pub(super) fn answer_closes(&mut self) {
        if !self.closing.is_empty() {
            let waiters = std::mem::take(&mut self.closing);
            self.act(Action::AnswerClose {
                waiters,
                within: self.close_time,
            });
        }
    }
}
