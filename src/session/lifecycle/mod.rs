//! The life of a client's connection as pure state: an input and the time go in, actions come out.
//!
//! It reads no clock and holds no channel, socket or thread. The session's thread feeds it through
//! [`handle`](Lifecycle::handle) and [`handle_deadline`](Lifecycle::handle_deadline), and executes
//! what [`poll`](Lifecycle::poll) returns.

mod action;
mod closing;
mod input;
mod proving;
mod servers;
mod settings;
mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::reasons;
use crate::{
    clock::Moment,
    config::Options,
    error::Error,
    message::{CallbackFailed, DisconnectCause},
    mqtt::Attempt,
    recovery::{Customs, Mandate, Outages, Plan},
    wire::End,
};
pub(super) use action::{Action, Outgoing};
pub(super) use closing::LATE_REPORTS;
pub(super) use input::{Input, Left, Question, Waiter};
use servers::Servers;
use settings::Settings;
use state::{Ended, Setback, State};

/// How long the MQTT client may take to notice that its connection has ended.
const NOTICE: Duration = Duration::from_secs(10);

/// How long an attempt waits to be told why the server has refused the login.
const REASON: Duration = Duration::from_secs(3);

/// The most lookups at a time. A lookup cannot be cancelled, so abandoned ones add up.
const MAX_LOOKUPS: usize = 4;

#[derive(Debug)]
pub(super) struct Lifecycle {
    settings: Settings,
    servers: Servers,
    /// When the attempts in progress must have ended.
    round_until: Option<Instant>,
    state: State,
    plan: Plan,
    outages: Outages,
    mandate: Mandate,
    connecting: Vec<Waiter>,
    closing: Vec<Waiter>,
    last_attempt: Attempt,
    last_question: Question,
    /// The time limit of the last `close`.
    close_time: Duration,
    lookups: usize,
    is_shut_down: bool,
    actions: VecDeque<Action>,
}

impl Lifecycle {
    pub(super) fn new(options: &Options) -> Self {
        let settings = Settings::new(options);
        Self {
            close_time: settings.close_time(0),
            servers: Servers::new(settings.servers),
            round_until: None,
            settings,
            state: State::Idle,
            plan: Plan::new(options.reconnect_delay, options.refused_retry),
            outages: Outages::new(Customs {
                limits_by_closing: options.network.limits_by_closing() && options.broker.is_none(),
                replaces_clients: options.network.replaces_clients() || options.broker.is_some(),
            }),
            mandate: Mandate::Once,
            connecting: Vec::new(),
            closing: Vec::new(),
            last_attempt: Attempt(0),
            last_question: Question(0),
            lookups: 0,
            is_shut_down: false,
            actions: VecDeque::new(),
        }
    }

    /// Returns the next action. Call it after every input until it returns `None`.
    pub(super) fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns when [`handle_deadline`](Self::handle_deadline) is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.state.deadline()
    }

    /// Returns the number of the broker's server that the client connects to.
    pub(super) fn server(&self) -> usize {
        self.servers.current()
    }

    /// Returns what happens to a downlink that `send` accepts now.
    pub(super) fn outgoing(&self) -> Outgoing {
        match &self.state {
            State::Up {
                attempt,
                ended: None,
                ..
            }
            | State::Closing { attempt, .. }
            | State::Settling { attempt, .. } => Outgoing::Written(*attempt),
            State::Up { .. } => Outgoing::Held,
            State::Idle => Outgoing::Refused,
            _ => Outgoing::Kept,
        }
    }

    /// Returns the connection whose accepted downlinks are being written before it closes.
    pub(super) fn draining(&self) -> Option<Attempt> {
        match self.state {
            State::Closing { attempt, .. } | State::Settling { attempt, .. } => Some(attempt),
            _ => None,
        }
    }

    /// Returns whether only late reports are missing before the client closes.
    pub(super) fn is_settling(&self) -> bool {
        matches!(self.state, State::Settling { .. })
    }

    /// Returns whether the last handle was dropped and everything has ended.
    pub(super) fn is_ended(&self) -> bool {
        self.is_shut_down && matches!(self.state, State::Idle)
    }

    /// Notes that a message was written.
    pub(super) fn written(&mut self, now: Instant) {
        self.outages.written(now);
    }

    /// Handles an input. Inputs about an attempt that is over change nothing.
    pub(super) fn handle(&mut self, input: Input, now: Moment) {
        if input
            .attempt()
            .is_some_and(|attempt| self.state.attempt() != Some(attempt))
        {
            return;
        }
        match input {
            Input::Connect(waiter) => self.on_connect(waiter, now),
            Input::Close(waiter) => {
                self.closing.push(waiter);
                self.on_close(now);
            }
            Input::Shutdown => {
                self.is_shut_down = true;
                self.on_close(now);
            }
            Input::LookedUp(attempt, result) => self.on_looked_up(attempt, result, now),
            Input::Accepted(_) => self.on_accepted(),
            Input::Entered(_) => self.on_entered(),
            Input::Granted(_) => self.on_granted(now),
            Input::Unprovable(_) => self.on_unprovable(now),
            Input::Marker { is_shared, .. } => self.on_marker(is_shared, now),
            Input::Failed(attempt, error) => self.on_failed(attempt, error, now),
            Input::Refused(attempt, error) => self.on_refused(attempt, error, now),
            Input::Explained(_, reason) => self.on_explained(reason, now),
            Input::Ended(attempt, end) => self.on_ended(attempt, end, now),
            Input::Over(attempt) => self.on_over(attempt, now),
            Input::Unfinished { messages, .. } => self.on_unfinished(messages),
            Input::Drained { attempt, left } => self.on_drained(attempt, left, now),
            Input::Asked(question) => self.on_asked(question, now),
            Input::Answered(question, answer) => self.on_answered(question, answer, now),
            Input::NotAsked(question) => self.on_not_asked(question, now),
        }
    }

    /// Handles the deadline of [`next_deadline`](Self::next_deadline). Does nothing before it.
    pub(super) fn handle_deadline(&mut self, now: Moment) {
        if self
            .next_deadline()
            .is_none_or(|deadline| now.instant < deadline)
        {
            return;
        }
        let timeout = self.settings.connect_timeout;
        match self.take_state() {
            State::WaitingToLookUp { .. } | State::LookingUp { .. } => {
                self.attempt_failed(reasons::lookup_timed_out(timeout), now);
            }
            State::Dialing {
                attempt, server, ..
            } => {
                self.act(Action::Abandon(attempt));
                self.attempt_failed(reasons::dial_timed_out(&server, timeout), now);
            }
            State::Entering {
                attempt, server, ..
            } => {
                self.act(Action::Abandon(attempt));
                self.attempt_failed(reasons::enter_timed_out(&server), now);
            }
            State::Inquiring { error, .. } => self.refused(error, now),
            State::Subscribing {
                attempt, server, ..
            } => {
                self.act(Action::Abandon(attempt));
                self.attempt_failed(reasons::subscribe_timed_out(&server, timeout), now);
            }
            state @ State::Proving { .. } => self.on_unproved(state, now),
            // Waiting longer for the MQTT client gains nothing.
            State::Up {
                attempt,
                server,
                ended,
            } => {
                self.connection_lost(attempt, &server, ended.map(|ended| ended.end), now);
            }
            State::Asking {
                setback, planned, ..
            } => {
                log::warn!(
                    "the retry callback took longer than {timeout:?}; continuing without it"
                );
                self.retry_or_stop(setback, planned, now);
            }
            State::BackingOff { .. } => self.start_attempt(now),
            State::Closing { attempt, .. } => {
                self.act(Action::Linger(attempt));
                self.enter_idle(None, now);
            }
            State::Settling {
                attempt, leave_by, ..
            } => self.start_leaving(attempt, leave_by, now),
            State::Leaving { attempt, .. } => {
                self.act(Action::Release(attempt));
                self.enter_idle(None, now);
            }
            State::Idle => {}
        }
    }

    fn on_connect(&mut self, waiter: Waiter, now: Moment) {
        match self.state {
            State::Up { ended: None, .. } => self.act(Action::AnswerConnect(waiter, Ok(()))),
            State::Idle => {
                self.connecting.push(waiter);
                self.start_connecting(now);
            }
            State::BackingOff { .. } => {
                self.connecting.push(waiter);
                self.start_attempt(now);
            }
            _ => self.connecting.push(waiter),
        }
    }

    fn on_looked_up(&mut self, attempt: Attempt, result: Result<Arc<str>, Error>, now: Moment) {
        self.lookups -= 1;
        match self.take_state() {
            State::LookingUp {
                attempt: current,
                deadline,
            } if current == attempt => match result {
                Ok(server) => {
                    self.state = State::Dialing {
                        attempt,
                        server,
                        deadline,
                    };
                    self.act(Action::Dial { attempt, deadline });
                }
                Err(error) => self.attempt_failed(error, now),
            },
            State::WaitingToLookUp { attempt, deadline } => self.start_lookup(attempt, deadline),
            state => self.state = state,
        }
    }

    fn on_accepted(&mut self) {
        match self.take_state() {
            State::Dialing {
                attempt,
                server,
                deadline,
            } => {
                self.state = State::Entering {
                    attempt,
                    server,
                    deadline,
                    ended: None,
                };
                self.act(Action::Enter(attempt));
            }
            state => self.state = state,
        }
    }

    fn on_entered(&mut self) {
        match self.take_state() {
            State::Entering {
                attempt,
                server,
                deadline,
                ended,
            } => {
                self.state = State::Subscribing {
                    attempt,
                    server,
                    deadline,
                    ended,
                };
                self.act(Action::Subscribe(attempt));
            }
            state => self.state = state,
        }
    }

    fn on_granted(&mut self, now: Moment) {
        match self.take_state() {
            State::Subscribing {
                attempt,
                server,
                deadline,
                ended,
            } => match self.settings.proves_sharing {
                true => self.start_proving(attempt, server, deadline, ended, now),
                false => self.enter_up(attempt, server, ended, now),
            },
            state => self.state = state,
        }
    }

    fn enter_up(&mut self, attempt: Attempt, server: Arc<str>, ended: Option<End>, now: Moment) {
        let notice_by = now.instant + NOTICE;
        self.state = State::Up {
            attempt,
            server,
            ended: ended.map(|end| Ended { end, notice_by }),
        };
        self.mandate = match self.settings.reconnect {
            true => Mandate::Reconnect,
            false => Mandate::Once,
        };
        let gap = self.outages.connected(now);
        self.act(Action::ReportConnected(attempt, gap));
        self.answer_connects(&Ok(()));
    }

    fn on_failed(&mut self, attempt: Attempt, error: Error, now: Moment) {
        match self.state {
            State::Dialing { .. }
            | State::Entering { .. }
            // After the connection has ended, subscriptions fail too; the end is the reason.
            | State::Subscribing { ended: None, .. } => {
                self.act(Action::Abandon(attempt));
                self.refused(error, now);
            }
            _ => {}
        }
    }

    fn on_refused(&mut self, attempt: Attempt, error: Error, now: Moment) {
        match self.state {
            State::Dialing { deadline, .. } if now.instant < deadline => {
                self.act(Action::Abandon(attempt));
                let deadline = deadline.min(now.instant + REASON);
                self.state = State::Inquiring {
                    attempt,
                    error,
                    deadline,
                };
                self.act(Action::Inquire { attempt, deadline });
            }
            _ => self.on_failed(attempt, error, now),
        }
    }

    fn on_explained(&mut self, reason: Option<Error>, now: Moment) {
        match self.take_state() {
            State::Inquiring { error, .. } => self.refused(reason.unwrap_or(error), now),
            state => self.state = state,
        }
    }

    /// Ends an attempt that the server has seen.
    fn refused(&mut self, error: Error, now: Moment) {
        if self.outages.failed(error.kind()) {
            self.act(Action::RestorePace);
        }
        self.attempt_failed(error, now);
    }

    fn on_ended(&mut self, attempt: Attempt, end: End, now: Moment) {
        match &mut self.state {
            State::Entering { ended, .. }
            | State::Subscribing { ended, .. }
            | State::Proving { ended, .. } => *ended = Some(end),
            State::Up { ended, .. } => {
                let notice_by = now.instant + NOTICE;
                *ended = Some(Ended { end, notice_by });
            }
            State::Closing { leave_by, .. } | State::Settling { leave_by, .. } => {
                let leave_by = *leave_by;
                self.start_leaving(attempt, leave_by, now);
            }
            _ => {}
        }
    }

    fn on_over(&mut self, attempt: Attempt, now: Moment) {
        match self.take_state() {
            State::Subscribing { server, ended, .. } => {
                self.act(Action::Release(attempt));
                self.attempt_failed(
                    reasons::unsubscribed(
                        &server,
                        ended.as_ref(),
                        self.settings.client_id.as_deref(),
                    ),
                    now,
                );
            }
            State::Proving { server, ended, .. } => {
                self.on_ended_proving(attempt, &server, ended.as_ref(), now);
            }
            State::Up { server, ended, .. } => {
                self.connection_lost(attempt, &server, ended.map(|ended| ended.end), now);
            }
            State::Closing { .. } | State::Settling { .. } | State::Leaving { .. } => {
                self.act(Action::Release(attempt));
                self.enter_idle(None, now);
            }
            state => self.state = state,
        }
    }

    fn on_asked(&mut self, asked: Question, now: Moment) {
        match &mut self.state {
            State::Asking {
                question, deadline, ..
            } if *question == asked => *deadline = now.instant + self.settings.connect_timeout,
            _ => {}
        }
    }

    fn on_answered(
        &mut self,
        question: Question,
        answer: Result<Option<Duration>, CallbackFailed>,
        now: Moment,
    ) {
        match self.take_state() {
            State::Asking {
                question: current,
                setback,
                planned,
                ..
            } if current == question => {
                let delay = match answer {
                    Ok(delay) => delay.filter(|delay| self.mandate.allows(*delay, now.instant)),
                    Err(failed) => {
                        self.act(Action::ReportCallback(failed));
                        planned
                    }
                };
                self.retry_or_stop(setback, delay, now);
            }
            state => self.state = state,
        }
    }

    fn on_not_asked(&mut self, question: Question, now: Moment) {
        match self.take_state() {
            State::Asking {
                question: current,
                setback,
                planned,
                ..
            } if current == question => self.retry_or_stop(setback, planned, now),
            state => self.state = state,
        }
    }

    fn start_connecting(&mut self, now: Moment) {
        self.mandate = Mandate::of(self.settings.connect_retry, now.instant);
        self.start_attempt(now);
    }

    fn start_attempt(&mut self, now: Moment) {
        self.servers.begin_round();
        let until = now.instant + self.settings.connect_timeout;
        self.round_until = Some(until);
        self.try_server(until, now);
    }

    fn try_server(&mut self, until: Instant, now: Moment) {
        self.outages.attempt();
        let attempt = Attempt(self.last_attempt.0 + 1);
        self.last_attempt = attempt;
        self.act(Action::Begin);
        let time = self
            .servers
            .share(until.saturating_duration_since(now.instant));
        self.start_lookup(attempt, now.instant + time);
    }

    fn start_lookup(&mut self, attempt: Attempt, deadline: Instant) {
        if self.lookups >= MAX_LOOKUPS {
            self.state = State::WaitingToLookUp { attempt, deadline };
            return;
        }
        self.lookups += 1;
        self.state = State::LookingUp { attempt, deadline };
        self.act(Action::LookUp(attempt));
    }

    fn attempt_failed(&mut self, error: Error, now: Moment) {
        log::debug!("attempt {} failed: {error}", self.outages.attempts());
        let has_more = self.servers.failed(&error);
        match self.round_until.filter(|until| now.instant < *until) {
            Some(until) if has_more => {
                self.report(Setback::Failed(error), Some(Duration::ZERO));
                self.try_server(until, now);
            }
            _ => {
                let error = self.servers.verdict(error);
                self.consider(Setback::Failed(error), now);
            }
        }
    }

    fn connection_lost(&mut self, attempt: Attempt, server: &str, end: Option<End>, now: Moment) {
        let seen = end.as_ref().and_then(reasons::seen_cause);
        let heard = end.as_ref().and_then(End::heard);
        let loss = self.outages.lost(now, heard, seen);
        let client_id = self.settings.client_id.as_deref();
        let error = reasons::lost(server, end.as_ref(), &loss, client_id);
        log::debug!("{error}");
        self.servers.lost();
        self.act(Action::Interrupt {
            attempt,
            rate_limited: loss.cause == DisconnectCause::RateLimit,
            silence: loss.silence,
        });
        self.act(Action::Abandon(attempt));
        if loss.was_stable {
            self.plan.reset();
        }
        self.consider(Setback::Lost(error, loss), now);
    }

    /// Plans what comes next, and asks the retry callback about it.
    fn consider(&mut self, setback: Setback, now: Moment) {
        let attempts = match setback {
            Setback::Failed(_) => self.outages.attempts(),
            Setback::Lost(..) => 0,
        };
        let error = setback.error().clone();
        let planned = self.plan.delay(&error, self.mandate, now.instant);
        if !setback.is_lost() && self.mandate == Mandate::Reconnect {
            // Calls of `connect` during an outage ask for one attempt.
            self.answer_connects(&Err(error.clone()));
        }
        if self.mandate == Mandate::Once {
            return self.retry_or_stop(setback, planned, now);
        }
        let question = Question(self.last_question.0 + 1);
        self.last_question = question;
        self.state = State::Asking {
            question,
            setback,
            planned,
            deadline: now.instant + self.settings.connect_timeout,
        };
        self.act(Action::Ask {
            question,
            error,
            attempts,
            delay: planned,
        });
    }

    fn retry_or_stop(&mut self, setback: Setback, delay: Option<Duration>, now: Moment) {
        let was_connected = setback.is_lost() || self.mandate == Mandate::Reconnect;
        let error = self.report(setback, delay);
        match delay {
            // A call of `connect` during an outage starts an attempt immediately.
            Some(_) if was_connected && !self.connecting.is_empty() => self.start_attempt(now),
            Some(delay) => {
                let until = now.instant + delay;
                self.state = State::BackingOff { until };
            }
            None if was_connected => {
                self.answer_connects(&Err(error.clone()));
                self.enter_idle(Some(error), now);
            }
            None => {
                self.state = State::Idle;
                self.forget(&error);
                self.act(Action::ReportIdle);
                self.answer_connects(&Err(error));
            }
        }
    }

    fn report(&mut self, setback: Setback, retry_in: Option<Duration>) -> Error {
        match setback {
            Setback::Failed(error) => {
                self.act(Action::ReportFailed {
                    error: error.clone(),
                    attempts: self.outages.attempts(),
                    retry_in,
                    outage: self.outages.cause(),
                });
                error
            }
            Setback::Lost(error, loss) => {
                self.act(Action::ReportLost {
                    error: error.clone(),
                    cause: loss.cause,
                    connected_for: loss.connected_for,
                    retry_in,
                });
                error
            }
        }
    }

    /// Reports that the client is closed, and connects again if `connect` was called meanwhile.
    fn enter_idle(&mut self, error: Option<Error>, now: Moment) {
        self.state = State::Idle;
        self.forget(&error.clone().unwrap_or_else(reasons::closed_before_written));
        self.act(Action::ReportClosed {
            error,
            last: self.last_attempt,
        });
        self.answer_closes();
        if !self.connecting.is_empty() {
            self.start_connecting(now);
        }
    }

    /// Discards what waits, and the history of connections and retries.
    fn forget(&mut self, reason: &Error) {
        self.mandate = Mandate::Once;
        self.plan.reset();
        self.outages.closed();
        self.act(Action::Discard(reason.clone()));
    }

    fn answer_connects(&mut self, answer: &Result<(), Error>) {
        for waiter in std::mem::take(&mut self.connecting) {
            self.act(Action::AnswerConnect(waiter, answer.clone()));
        }
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Idle)
    }
}
