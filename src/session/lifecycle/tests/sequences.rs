//! Random sequences of inputs and times, watched for what must always hold.

use std::{
    collections::{HashMap, HashSet},
    mem::Discriminant,
};

use super::*;
use crate::{
    config::ConnectRetry, message::CallbackFailed, seeds::for_seeds, session::lifecycle::Outgoing,
};

const CONNECT: Duration = Duration::from_secs(3);
const CLOSE: Duration = Duration::from_secs(4);
const LONGEST_CLOSE: Duration = Duration::from_secs(30);
const SHORTEST: Duration = Duration::from_millis(500);

/// What a lookup, a wire or an MQTT client may be late by, and so may everything that waits for it.
const LATE: Duration = Duration::from_secs(15);

/// What the thread around the machine and the network around the client would know.
struct World {
    lifecycle: Lifecycle,
    now: Moment,
    random: fastrand::Rng,
    retry: ConnectRetry,
    /// The servers of a broker of one's own; 0 for the network.
    servers: usize,
    waiters: u64,
    /// Since when each of them waits.
    connects: HashMap<Waiter, Instant>,
    closes: HashMap<Waiter, Instant>,
    /// Lookups that have not ended.
    lookups: Vec<Attempt>,
    /// The attempt that began last.
    last: Attempt,
    /// The connection that was dialed and not given up.
    in_use: Option<Attempt>,
    is_open: bool,
    /// Whether the client was closed since it was open last.
    is_closed: bool,
    /// When the next attempt may begin, by what was reported.
    not_before: Option<Instant>,
    /// Calls of `connect` that may begin an attempt at once.
    free_attempts: usize,
    /// What the connection in use says next if all goes well, or as it often goes.
    expected: Option<fn(Attempt) -> Input>,
    /// The longest that `close` may take.
    patience: Duration,
    /// Whether the server has processed everything that was written.
    is_processed: bool,
    /// Whether the connection in use has ended.
    has_ended: bool,
    /// Whether it has ended after `close` was called.
    has_ended_closing: bool,
    question: Option<Question>,
    /// The refused attempt that waits for the reason.
    inquiring: Option<Attempt>,
    /// The retry callback has chosen the delay.
    is_answered: bool,
    seen: HashSet<Discriminant<Action>>,
}

impl World {
    fn new(mut random: fastrand::Rng, retry: ConnectRetry, reconnect: bool) -> Self {
        let servers = random.usize(0..4);
        let builder = match servers {
            0 => builder(),
            _ => broker(&["mqtt://b1", "b2", "b3"][..servers]),
        };
        let (builder, patience) = match random.bool() {
            true => (builder.close_timeout(CLOSE), CLOSE),
            false => (builder, LONGEST_CLOSE),
        };
        let lifecycle = machine(
            builder
                .connect_timeout(CONNECT)
                .reconnect_delay(SHORTEST, 200 * SECOND)
                .refused_retry(Some(SECOND), Some(SECOND))
                .connect_retry(retry)
                .reconnect(reconnect),
        );
        Self {
            lifecycle,
            now: now(),
            random,
            retry,
            servers,
            waiters: 0,
            connects: HashMap::new(),
            closes: HashMap::new(),
            lookups: Vec::new(),
            last: Attempt(0),
            in_use: None,
            is_open: false,
            is_closed: false,
            not_before: None,
            free_attempts: 0,
            expected: None,
            patience,
            is_processed: false,
            has_ended: false,
            has_ended_closing: false,
            question: None,
            inquiring: None,
            is_answered: false,
            seen: HashSet::new(),
        }
    }

    fn step(&mut self) {
        match self.random.u32(0..20) {
            0 | 1 => self.connect(),
            2 => self.close(),
            3 => self.stale_signal(),
            4 | 5 => {
                let time = Duration::from_millis(self.random.u64(0..3_000));
                self.pass(time);
            }
            6..=8 => self.expire(),
            9 => self.strange_signal(),
            _ => self.likely_signal(),
        }
    }

    fn connect(&mut self) {
        self.waiters += 1;
        let waiter = Waiter(self.waiters);
        self.connects.insert(waiter, self.now.instant);
        self.free_attempts += 1;
        self.feed(Input::Connect(waiter));
    }

    fn close(&mut self) {
        self.waiters += 1;
        let waiter = Waiter(self.waiters);
        self.closes.insert(waiter, self.now.instant);
        self.feed(Input::Close(waiter));
        assert!(
            self.connects.is_empty(),
            "close left a connect without an answer"
        );
    }

    /// Lets time pass, but not a deadline.
    fn pass(&mut self, time: Duration) {
        let left = self.lifecycle.next_deadline().map_or(time, |deadline| {
            deadline.saturating_duration_since(self.now.instant)
        });
        self.now = self.now.after(time.min(left));
        self.lifecycle.handle_deadline(self.now);
        self.work();
    }

    /// Lets time pass until something is due, and maybe a moment longer.
    fn expire(&mut self) {
        if let Some(deadline) = self.lifecycle.next_deadline() {
            let time = deadline.saturating_duration_since(self.now.instant);
            let late = Duration::from_millis(self.random.u64(0..20));
            self.now = self.now.after(time + late);
            self.lifecycle.handle_deadline(self.now);
            self.work();
        }
    }

    /// What may well happen next.
    fn likely_signal(&mut self) {
        if let Some(question) = self.question {
            return self.answer(question);
        }
        if !self.lookups.is_empty() && (self.in_use.is_none() || self.random.u32(0..4) == 0) {
            let attempt = self
                .lookups
                .swap_remove(self.random.usize(0..self.lookups.len()));
            let found = match self.random.u32(0..5) {
                0 => Err(error(ErrorKind::UnknownHost)),
                _ => Ok("server".into()),
            };
            return self.feed(Input::LookedUp(attempt, found));
        }
        if let Some(attempt) = self.inquiring.take() {
            let reason = self.random.bool().then(|| error(ErrorKind::NotAuthorized));
            return self.feed(Input::Explained(attempt, reason));
        }
        let Some(attempt) = self.in_use else { return };
        let input = match self.expected {
            Some(expected) if self.random.u32(0..4) > 0 => expected(attempt),
            _ => self.signal(attempt),
        };
        self.feed(input);
    }

    fn answer(&mut self, question: Question) {
        if self.random.u32(0..4) == 0 {
            return self.feed(Input::Asked(question));
        }
        let delay = Duration::from_millis(self.random.u64(0..300_000));
        self.is_answered = true;
        let input = match self.random.u32(0..6) {
            0 => Input::NotAsked(question),
            1 => Input::Answered(question, Ok(None)),
            2 => Input::Answered(
                question,
                Err(CallbackFailed {
                    callback: "retry",
                    message: "no".to_owned(),
                    panicked: true,
                    worker: None,
                }),
            ),
            _ => Input::Answered(question, Ok(Some(delay))),
        };
        self.feed(input);
    }

    /// A signal of a connection, in its state or not.
    fn signal(&mut self, attempt: Attempt) -> Input {
        let left = [Left::Unprocessed, Left::Unreported, Left::Nothing];
        match self.random.u32(0..17) {
            15 => Input::Unprovable(attempt),
            16 => Input::Marker {
                attempt,
                is_shared: self.random.bool(),
            },
            0 | 1 => Input::Accepted(attempt),
            2 | 3 => Input::Entered(attempt),
            4..=7 => Input::Granted(attempt),
            8 => Input::Failed(attempt, error(ErrorKind::ConnectionRefused)),
            9 => Input::Ended(attempt, closed_by_server()),
            10 => Input::Over(attempt),
            13 => Input::Refused(attempt, error(ErrorKind::NotAuthorized)),
            14 => Input::Explained(
                attempt,
                self.random
                    .bool()
                    .then(|| error(ErrorKind::ServerUnavailable)),
            ),
            11 => Input::Unfinished {
                attempt,
                messages: self.random.usize(0..2_000),
            },
            _ => Input::Drained {
                attempt,
                left: left[self.random.usize(0..3)],
            },
        }
    }

    /// A signal of an attempt that is history, or an answer to an old question.
    fn stale_signal(&mut self) {
        let attempt = Attempt(self.random.u64(0..=self.last.0));
        if Some(attempt) == self.in_use || attempt == self.last {
            return;
        }
        let input = match self.random.u32(0..8) {
            0 => Input::NotAsked(Question(0)),
            2 => Input::Asked(Question(0)),
            1 => Input::Answered(Question(0), Ok(Some(SECOND))),
            _ => self.signal(attempt),
        };
        let before = format!("{:?}", self.lifecycle);
        let what = format!("{input:?}");
        self.lifecycle.handle(input, self.now);
        assert_eq!(format!("{:?}", self.lifecycle), before, "{what} is history");
    }

    /// A signal of the attempt under way that may make no sense now.
    fn strange_signal(&mut self) {
        let input = self.signal(self.last);
        self.feed(input);
    }

    fn feed(&mut self, input: Input) {
        match &input {
            Input::Drained { attempt, left } if Some(*attempt) == self.in_use => {
                self.is_processed = *left != Left::Unprocessed;
            }
            Input::Ended(attempt, _) | Input::Over(attempt) => {
                self.has_ended |= Some(*attempt) == self.in_use;
                self.has_ended_closing |= Some(*attempt) == self.in_use;
            }
            _ => {}
        }
        self.lifecycle.handle(input, self.now);
        self.work();
    }

    /// Does what the machine says, and checks that it may say so.
    fn work(&mut self) {
        while let Some(action) = self.lifecycle.poll() {
            self.seen.insert(std::mem::discriminant(&action));
            self.check(&action);
            self.expect(&action);
        }
        match self.lifecycle.outgoing() {
            Outgoing::Written(attempt) => {
                assert!(
                    !self.is_closed,
                    "something is written after the client was closed"
                );
                assert_eq!(Some(attempt), self.in_use, "something is written nowhere");
            }
            Outgoing::Held | Outgoing::Kept | Outgoing::Refused => {}
        }
        self.check_waiters();
    }

    fn check(&mut self, action: &Action) {
        match action {
            Action::Begin => self.begin(),
            Action::LookUp(attempt) => {
                assert!(*attempt >= self.last, "an old attempt looks up");
                self.last = *attempt;
                self.lookups.push(*attempt);
                assert!(self.lookups.len() <= 4, "{} lookups", self.lookups.len());
            }
            Action::Dial { attempt, deadline } => {
                assert_eq!(self.in_use, None, "two connections are in use");
                assert!(*deadline <= self.now.instant + CONNECT);
                self.last = *attempt;
                self.in_use = Some(*attempt);
                (self.is_processed, self.has_ended) = (false, false);
            }
            Action::Inquire { attempt, deadline } => {
                assert_eq!((*attempt, self.in_use), (self.last, None));
                let longest = self.now.instant + CONNECT.min(3 * SECOND);
                assert!(*deadline > self.now.instant && *deadline <= longest);
                self.inquiring = Some(*attempt);
            }
            Action::Enter(attempt) | Action::Subscribe(attempt) => self.is_in_use(*attempt),
            Action::Prove(attempt) => {
                self.is_in_use(*attempt);
                assert!(self.servers > 0, "the network proves something");
            }
            Action::GiveUpProof => assert!(self.servers > 0, "the network proves something"),
            Action::ReportConnected(attempt, _) => {
                self.is_in_use(*attempt);
                assert!(!self.is_open, "open twice");
                (self.is_open, self.is_closed) = (true, false);
                self.not_before = None;
            }
            Action::Interrupt { attempt, .. } => {
                self.is_in_use(*attempt);
                assert!(self.is_open, "lost what was not open");
                self.is_open = false;
            }
            Action::Drain(attempt) => {
                assert!(self.is_open, "closes what was not open");
                self.is_in_use(*attempt);
                self.is_open = false;
                (self.is_processed, self.has_ended_closing) = (false, false);
            }
            Action::Flush(attempt) => self.is_in_use(*attempt),
            Action::Finish(attempt) => {
                self.is_in_use(*attempt);
                assert!(
                    self.is_processed || self.has_ended,
                    "leaves before the server has processed everything"
                );
            }
            Action::Linger(attempt) => {
                self.is_in_use(*attempt);
                assert!(!self.has_ended_closing, "waits for a server that has gone");
                self.in_use = None;
            }
            Action::Abandon(attempt) | Action::Release(attempt) => {
                self.is_in_use(*attempt);
                self.in_use = None;
            }
            Action::Ask { question, .. } => {
                self.question = Some(*question);
                self.is_answered = false;
            }
            Action::ReportFailed { retry_in, .. } | Action::ReportLost { retry_in, .. } => {
                self.question = None;
                self.plan(*retry_in);
            }
            Action::ReportCallback(_) | Action::Discard(_) | Action::RestorePace => {}
            Action::ReportClosed { .. } => {
                assert_eq!(self.in_use, None, "closed with a connection in use");
                (self.is_open, self.is_closed) = (false, true);
                self.not_before = None;
            }
            Action::ReportIdle => {
                assert_eq!(self.in_use, None, "idle with a connection in use");
                self.not_before = None;
            }
            Action::AnswerConnect(waiter, answer) => {
                let since = self.connects.remove(waiter);
                assert!(since.is_some(), "a connect is answered twice");
                assert!(
                    answer.is_err() || self.is_open,
                    "a connect without a connection"
                );
                self.free_attempts = self.free_attempts.min(self.connects.len());
            }
            Action::AnswerClose { waiters, within } => {
                assert!(!waiters.is_empty(), "an answer to nobody");
                assert!(*within <= self.patience);
                for waiter in waiters {
                    let since = self.closes.remove(waiter);
                    assert!(since.is_some(), "a close is answered twice");
                }
            }
        }
    }

    fn expect(&mut self, action: &Action) {
        self.expected = match action {
            Action::Dial { .. } => Some(Input::Accepted),
            Action::Enter(_) => Some(Input::Entered),
            Action::Subscribe(_) => Some(Input::Granted),
            Action::Prove(_) => Some(|attempt| Input::Marker {
                attempt,
                is_shared: true,
            }),
            Action::ReportConnected(..) => Some(Input::Over),
            Action::Drain(_) => Some(|attempt| Input::Drained {
                attempt,
                left: Left::Unprocessed,
            }),
            Action::Flush(_) => Some(|attempt| Input::Drained {
                attempt,
                left: Left::Unreported,
            }),
            Action::Finish(_) => Some(Input::Over),
            _ => return,
        };
    }

    fn is_in_use(&self, attempt: Attempt) {
        assert_eq!(self.in_use, Some(attempt), "that connection is not in use");
    }

    /// An attempt begins because its time has come, or because somebody has called `connect`.
    fn begin(&mut self) {
        assert!(
            !self.is_open && self.in_use.is_none(),
            "an attempt beside a connection"
        );
        match self.not_before.take() {
            Some(time) if self.now.instant >= time => {}
            _ => {
                assert!(self.free_attempts > 0, "an attempt without its back-off");
                self.free_attempts = 0;
            }
        }
    }

    fn plan(&mut self, retry_in: Option<Duration>) {
        if let Some(delay) = retry_in {
            assert!(
                self.is_answered || delay >= SHORTEST || (delay.is_zero() && self.servers > 0),
                "again after {delay:?}"
            );
            self.not_before = Some(self.now.instant + delay);
        }
    }

    fn check_waiters(&self) {
        let patience = match self.retry {
            ConnectRetry::Never => Some(Duration::ZERO),
            ConnectRetry::For(time) => Some(time),
            ConnectRetry::Forever => None,
        };
        if let Some(patience) = patience {
            let patience = patience + 3 * CONNECT + self.patience + LATE;
            for (waiter, since) in &self.connects {
                let time = self.now.instant - *since;
                assert!(time <= patience, "{waiter:?} waits for {time:?} to connect");
            }
        }
        for (waiter, since) in &self.closes {
            let time = self.now.instant - *since;
            assert!(
                time <= self.patience,
                "{waiter:?} waits for {time:?} to close"
            );
        }
    }

    /// The last handle is gone, and nobody says anything any longer.
    fn shut_down(&mut self) {
        let start = self.now.instant;
        self.feed(Input::Shutdown);
        while !self.lifecycle.is_ended() {
            assert!(self.lifecycle.next_deadline().is_some(), "it never ends");
            self.expire();
            let time = self.now.instant - start;
            assert!(time <= self.patience, "it has not ended after {time:?}");
        }
        assert!(self.connects.is_empty(), "a connect is never answered");
        assert!(self.closes.is_empty(), "a close is never answered");
        assert_eq!(self.in_use, None, "a connection is left behind");
        assert_eq!(self.lifecycle.outgoing(), Outgoing::Refused);
    }
}

#[test]
fn whatever_happens_the_promises_hold() {
    let mut seen = HashSet::new();
    for_seeds(100_000, |random| {
        let retry = match random.u32(0..4) {
            0 => ConnectRetry::For(20 * SECOND),
            1 => ConnectRetry::Forever,
            _ => ConnectRetry::Never,
        };
        let reconnect = random.u32(0..4) > 0;
        let mut world = World::new(random.fork(), retry, reconnect);
        for _ in 0..random.u32(1..60) {
            world.step();
        }
        world.shut_down();
        seen.extend(world.seen);
    });
    // Otherwise these sequences would show little.
    assert_eq!(seen.len(), 25, "not every action has been seen");
}
