//! The proof that a broker shares: it has granted the subscriptions of a group, and must deliver a message that is
//! shared.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Action, Lifecycle, Setback, State, reasons};
use crate::{clock::Moment, mqtt::Attempt, wire::End};

/// How long the marker may take.
const MARKER: Duration = Duration::from_secs(2);

impl Lifecycle {
    pub(super) fn start_proving(
        &mut self,
        attempt: Attempt,
        server: Arc<str>,
        deadline: Instant,
        ended: Option<End>,
        now: Moment,
    ) {
        let until = now.instant + MARKER;
        self.state = State::Proving {
            attempt,
            server,
            until: until.min(deadline),
            is_whole: until <= deadline,
            is_published: false,
            ended,
        };
        self.act(Action::Prove(attempt));
    }

    /// The marker could not be published or subscribed to.
    pub(super) fn on_unprovable(&mut self, now: Moment) {
        match self.take_state() {
            State::Proving {
                attempt,
                server,
                ended,
                ..
            } => self.enter_up(attempt, server, ended, now),
            state => self.state = state,
        }
    }

    pub(super) fn on_marker(&mut self, is_shared: bool, now: Moment) {
        match self.take_state() {
            State::Proving {
                attempt,
                server,
                ended,
                ..
            } if is_shared => self.enter_up(attempt, server, ended, now),
            mut state => {
                if let State::Proving { is_published, .. } = &mut state {
                    *is_published = true;
                }
                self.state = state;
            }
        }
    }

    /// The connection has ended, as some brokers do when a client publishes where it may not. The next one goes to
    /// the same server, without a proof.
    pub(super) fn on_ended_proving(
        &mut self,
        attempt: Attempt,
        server: &str,
        ended: Option<&End>,
        now: Moment,
    ) {
        self.act(Action::Release(attempt));
        self.act(Action::GiveUpProof);
        let error = reasons::unproved(server, ended);
        match self.round_until.filter(|until| now.instant < *until) {
            Some(until) => {
                self.report(Setback::Failed(error), Some(Duration::ZERO));
                self.try_server(until, now);
            }
            None => self.attempt_failed(error, now),
        }
    }

    /// The marker of the group has not come back in time.
    pub(super) fn on_unproved(&mut self, state: State, now: Moment) {
        let State::Proving {
            attempt,
            server,
            is_whole,
            is_published,
            ended,
            ..
        } = state
        else {
            return;
        };
        if is_whole && !is_published {
            self.act(Action::GiveUpProof);
            return self.enter_up(attempt, server, ended, now);
        }
        self.act(Action::Abandon(attempt));
        match is_whole {
            true => self.refused(reasons::does_not_share(&server), now),
            false => {
                let timeout = self.settings.connect_timeout;
                self.attempt_failed(reasons::proof_timed_out(&server, timeout), now);
            }
        }
    }
}
