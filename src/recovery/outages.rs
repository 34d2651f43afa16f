//! The history of a client's connections: how long they lasted, and what happened before they ended.
//! Reads no clock; the caller passes the time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    clock::Moment,
    error::ErrorKind,
    message::{DisconnectCause, Gap},
};

/// A connection that was up this long counts as stable: the next delays start short again.
const STABLE: Duration = Duration::from_secs(60);

/// A connection that lasted less than this was ended by the server on purpose.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A server that rejects a downlink closes the connection within this time.
const AFTER_DOWNLINK: Duration = Duration::from_millis(500);

/// Downlinks within this period count towards the server's rate limit.
const LIMIT_PERIOD: Duration = Duration::from_secs(60);

/// The end of a connection.
#[derive(Debug)]
pub(crate) struct Loss {
    pub(crate) cause: DisconnectCause,
    pub(crate) connected_for: Duration,
    /// How long the server had sent nothing before.
    pub(crate) silence: Duration,
    /// Whether the connection was stable, so that earlier setbacks no longer count.
    pub(crate) was_stable: bool,
}

/// Why a server may close a connection on purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Customs {
    /// It closes connections that exceed a rate limit.
    pub(crate) limits_by_closing: bool,
    /// It may give the place of a client to another one of the application.
    pub(crate) replaces_clients: bool,
}

/// The connections of a client over time.
#[derive(Debug)]
pub(crate) struct Outages {
    customs: Customs,
    connected: Option<Moment>,
    /// When the last two downlinks were written.
    written: VecDeque<Instant>,
    /// When the server last closed a connection because of its rate limit.
    limited: Option<Instant>,
    /// How many connections in a row ended at once.
    at_once: u32,
    /// How many connections in a row ended before they were stable.
    unstable: u32,
    lost: Option<Lost>,
    attempts: u32,
}

#[derive(Clone, Copy, Debug)]
struct Lost {
    at: Moment,
    silence: Duration,
    cause: DisconnectCause,
}

impl Outages {
    pub(crate) fn new(customs: Customs) -> Self {
        Self {
            customs,
            connected: None,
            written: VecDeque::new(),
            limited: None,
            at_once: 0,
            unstable: 0,
            lost: None,
            attempts: 0,
        }
    }

    /// Notes that an attempt begins.
    pub(crate) fn attempt(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Returns the number of attempts since the last connection, or since the client started to
    /// connect.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Notes that a connection is up. Returns the gap that it ends, if there was one.
    pub(crate) fn connected(&mut self, now: Moment) -> Option<Gap> {
        self.connected = Some(now);
        self.written.clear();
        let attempts = std::mem::take(&mut self.attempts);
        self.lost.take().map(|lost| Gap {
            since: lost.at.time,
            length: now.since(lost.at),
            silence: lost.silence,
            attempts,
            cause: lost.cause,
        })
    }

    /// Notes that a message with downlinks was written.
    pub(crate) fn written(&mut self, now: Instant) {
        if self.written.len() == 2 {
            self.written.pop_front();
        }
        self.written.push_back(now);
    }

    /// Returns why the last connection was lost, as far as it is known; `None` if there is no outage.
    pub(crate) fn cause(&self) -> Option<DisconnectCause> {
        self.lost.map(|lost| lost.cause)
    }

    /// Notes that an attempt failed. Returns whether this takes back that the server has closed the
    /// connection because of its rate limit. A refused connection means that the server has stopped:
    /// none of the other inferred causes is followed by it.
    pub(crate) fn failed(&mut self, kind: ErrorKind) -> bool {
        let Some(lost) = &mut self.lost else {
            return false;
        };
        if kind != ErrorKind::ConnectionRefused || is_seen(lost.cause) {
            return false;
        }
        let was_limited = lost.cause == DisconnectCause::RateLimit;
        lost.cause = DisconnectCause::Stopped;
        self.at_once = 0;
        self.unstable = 0;
        if was_limited {
            self.limited = None;
        }
        was_limited
    }

    /// Notes that the connection was lost, and returns what is known about it. `heard` is when the last
    /// packet of the server arrived, and `seen` the cause that the connection has seen itself, if it has.
    pub(crate) fn lost(
        &mut self,
        now: Moment,
        heard: Option<Moment>,
        seen: Option<DisconnectCause>,
    ) -> Loss {
        let since =
            |moment: Option<Moment>| moment.map_or(Duration::ZERO, |moment| now.since(moment));
        let connected_for = since(self.connected.take());
        // What was heard before the connection was up belongs to the outage before.
        let silence = since(heard).min(connected_for);
        let next = |count: u32, continues| {
            if continues {
                count.saturating_add(1)
            } else {
                0
            }
        };
        self.at_once = next(self.at_once, connected_for < AT_ONCE);
        self.unstable = next(self.unstable, connected_for < STABLE);
        let cause = seen.unwrap_or_else(|| self.infer(now.instant));
        self.lost = Some(Lost {
            at: now,
            silence,
            cause,
        });
        Loss {
            cause,
            connected_for,
            silence,
            was_stable: connected_for >= STABLE,
        }
    }

    /// Returns the likely cause of a loss that nobody has seen.
    fn infer(&mut self, now: Instant) -> DisconnectCause {
        if self.customs.limits_by_closing && self.has_written_too_much(now) {
            self.limited = Some(now);
            DisconnectCause::RateLimit
        } else if self.at_once >= 2 {
            DisconnectCause::ClosedAtOnce {
                in_a_row: self.at_once,
            }
        } else if self.unstable < 3 {
            DisconnectCause::Unknown
        } else if self.customs.replaces_clients {
            DisconnectCause::Contested {
                in_a_row: self.unstable,
            }
        } else {
            DisconnectCause::Unstable {
                in_a_row: self.unstable,
            }
        }
    }

    /// Returns whether the client may have exceeded the rate limit: it has just written, and it also
    /// wrote shortly before, or the limit closed a connection shortly before.
    fn has_written_too_much(&self, now: Instant) -> bool {
        let is_within =
            |time: Duration, moment: &Instant| now.saturating_duration_since(*moment) < time;
        let counts = |moment: &Instant| is_within(LIMIT_PERIOD, moment);
        let is_again = self.written.len() == 2 && self.written.front().is_some_and(counts);
        let has_just_written = self
            .written
            .back()
            .is_some_and(|last| is_within(AFTER_DOWNLINK, last));
        has_just_written && (is_again || self.limited.as_ref().is_some_and(counts))
    }

    /// Notes that the client was closed or gave up. What follows is not an outage.
    pub(crate) fn closed(&mut self) {
        *self = Self::new(self.customs);
    }
}

/// Returns whether the connection has seen this cause itself, so that no later attempt corrects it.
fn is_seen(cause: DisconnectCause) -> bool {
    matches!(
        cause,
        DisconnectCause::Silent
            | DisconnectCause::PacketTooLarge { .. }
            | DisconnectCause::Protocol
            | DisconnectCause::HandlerFailed
    )
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const V3: Customs = Customs {
        limits_by_closing: true,
        replaces_clients: false,
    };
    const ANY_BROKER: Customs = Customs {
        limits_by_closing: false,
        replaces_clients: true,
    };

    struct Clock {
        outages: Outages,
        heard: Option<Moment>,
        now: Moment,
        start: SystemTime,
    }

    impl Clock {
        fn start() -> Self {
            Self::of(V3)
        }

        fn of(customs: Customs) -> Self {
            let now = Moment::now();
            Self {
                outages: Outages::new(customs),
                heard: None,
                now,
                start: now.time,
            }
        }

        fn after(&mut self, time: Duration) -> &mut Self {
            self.now = self.now.after(time);
            self
        }

        fn suspend(&mut self, time: Duration) -> &mut Self {
            self.now = self.now.after_suspension(time);
            self
        }

        fn connect(&mut self) -> Option<Gap> {
            self.outages.attempt();
            self.outages.connected(self.now)
        }

        fn write(&mut self) -> &mut Self {
            self.outages.written(self.now.instant);
            self
        }

        fn hear(&mut self) -> &mut Self {
            self.heard = Some(self.now);
            self
        }

        fn lose(&mut self) -> Loss {
            self.outages.lost(self.now, self.heard, None)
        }

        fn lose_to(&mut self, seen: DisconnectCause) -> Loss {
            self.outages.lost(self.now, self.heard, Some(seen))
        }

        fn refuse(&mut self) -> bool {
            self.outages.attempt();
            self.outages.failed(ErrorKind::ConnectionRefused)
        }

        /// Returns the causes for connections of these lifetimes, one after the other.
        fn causes(&mut self, lifetimes: &[Duration]) -> Vec<DisconnectCause> {
            let connection = |lifetime: &Duration| {
                self.connect();
                self.after(*lifetime).lose().cause
            };
            lifetimes.iter().map(connection).collect()
        }
    }

    #[test]
    fn a_gap_is_as_long_as_nobody_was_there() {
        let mut clock = Clock::start();
        assert_eq!(clock.connect(), None);
        let loss = clock.after(100 * SECOND).hear().after(7 * SECOND).lose();
        assert_eq!(loss.connected_for, 107 * SECOND);
        assert!(loss.was_stable);
        clock.after(20 * SECOND).outages.attempt();
        assert_eq!(
            clock.after(10 * SECOND).connect(),
            Some(Gap {
                since: clock.start + 107 * SECOND,
                length: 30 * SECOND,
                silence: 7 * SECOND,
                attempts: 2,
                cause: DisconnectCause::Unknown,
            })
        );
        assert_eq!(clock.outages.attempts(), 0);
    }

    #[test]
    fn a_silence_is_as_long_as_the_server_sent_nothing_but_no_longer_than_the_connection() {
        let mut clock = Clock::start();
        clock.hear().after(SECOND).connect();
        let loss = clock.after(3600 * SECOND).lose();
        assert_eq!(loss.silence, 3600 * SECOND);
        assert_eq!(clock.connect().unwrap().silence, 3600 * SECOND);
        // The end was not seen.
        clock.heard = None;
        assert_eq!(clock.after(SECOND).lose().silence, Duration::ZERO);
    }

    #[test]
    fn a_suspended_machine_counts_as_away_before_and_after_the_loss_is_noticed() {
        let mut clock = Clock::start();
        clock.connect();
        // The lid is closed for an hour; the loss is noticed 2 s after it opens.
        clock.after(10 * SECOND).hear().suspend(3600 * SECOND);
        let loss = clock.after(2 * SECOND).lose();
        assert_eq!(loss.silence, 3602 * SECOND);
        assert_eq!(loss.connected_for, 3612 * SECOND);
        // And again while the client reconnects.
        clock.after(SECOND).suspend(15 * SECOND);
        let gap = clock.after(SECOND).connect().unwrap();
        assert_eq!((gap.length, gap.silence), (17 * SECOND, 3602 * SECOND));
    }

    #[test]
    fn a_clock_that_is_set_for_the_first_time_during_an_outage_does_not_lengthen_it() {
        let mut clock = Clock::start();
        let set = clock.now.time;
        clock.now.time = SystemTime::UNIX_EPOCH;
        clock.connect();
        clock.after(10 * SECOND).hear().after(SECOND).lose();
        clock.now.time = set;
        let gap = clock.after(2 * SECOND).connect().unwrap();
        assert_eq!((gap.length, gap.silence), (2 * SECOND, SECOND));
    }

    #[test]
    fn closing_ends_the_outage() {
        let mut clock = Clock::start();
        clock.causes(&[SECOND, SECOND]);
        clock.outages.closed();
        assert_eq!(clock.connect(), None);
        let loss = clock.hear().after(SECOND).lose();
        assert_eq!(loss.cause, DisconnectCause::Unknown);
        assert_eq!(clock.connect().unwrap().silence, SECOND);
    }

    #[test]
    fn a_server_that_accepts_and_hangs_up_is_recognised_the_second_time() {
        let mut clock = Clock::start();
        assert_eq!(
            clock.causes(&[SECOND, SECOND / 10, SECOND, 70 * SECOND, SECOND]),
            [
                DisconnectCause::Unknown,
                DisconnectCause::ClosedAtOnce { in_a_row: 2 },
                DisconnectCause::ClosedAtOnce { in_a_row: 3 },
                DisconnectCause::Unknown,
                DisconnectCause::Unknown,
            ]
        );
    }

    #[test]
    fn a_server_that_refuses_the_next_attempt_has_stopped_and_no_limit_was_exceeded() {
        let soon = SECOND / 25;
        let mut clock = Clock::start();
        clock.connect();
        clock.after(100 * SECOND).write().after(soon).write();
        assert_eq!(clock.after(soon).lose().cause, DisconnectCause::RateLimit);
        assert_eq!(clock.outages.cause(), Some(DisconnectCause::RateLimit));
        assert!(!clock.outages.failed(ErrorKind::TimedOut));
        assert!(clock.refuse(), "the limit is taken back");
        assert!(!clock.refuse(), "once");
        assert_eq!(clock.outages.cause(), Some(DisconnectCause::Stopped));
        assert_eq!(clock.connect().unwrap().cause, DisconnectCause::Stopped);
        assert_eq!(clock.outages.cause(), None);
        // The limit that was none does not make the next loss look like one.
        clock.after(SECOND).write();
        assert_eq!(clock.after(soon).lose().cause, DisconnectCause::Unknown);

        let mut clock = Clock::start();
        clock.connect();
        clock.after(100 * SECOND).lose();
        assert!(!clock.refuse());
        assert_eq!(clock.connect().unwrap().cause, DisconnectCause::Stopped);
    }

    #[test]
    fn a_server_that_restarts_again_and_again_is_not_said_to_prefer_another_client() {
        for customs in [ANY_BROKER, V3] {
            let mut clock = Clock::of(customs);
            for pause in [5 * SECOND, SECOND].repeat(5) {
                clock.connect();
                let cause = clock.after(pause).lose().cause;
                assert_eq!(cause, DisconnectCause::Unknown);
                clock.refuse();
            }
        }
    }

    #[test]
    fn what_a_connection_has_seen_is_not_corrected() {
        for cause in [
            DisconnectCause::Silent,
            DisconnectCause::Protocol,
            DisconnectCause::PacketTooLarge { bytes: 7 },
        ] {
            let mut clock = Clock::start();
            clock.connect();
            clock.after(SECOND).write().write();
            assert_eq!(clock.lose_to(cause).cause, cause);
            assert!(!clock.refuse());
            assert_eq!(clock.connect().unwrap().cause, cause);
            // It was no limit, so one downlink does not look like one now.
            clock.write();
            assert_ne!(clock.lose().cause, DisconnectCause::RateLimit);
        }
    }

    #[test]
    fn the_servers_of_v3_never_let_a_client_take_the_place_of_another() {
        let mut clock = Clock::start();
        assert_eq!(
            clock.causes(&[20 * SECOND, 40 * SECOND, 10 * SECOND, 60 * SECOND]),
            [
                DisconnectCause::Unknown,
                DisconnectCause::Unknown,
                DisconnectCause::Unstable { in_a_row: 3 },
                DisconnectCause::Unknown,
            ]
        );
    }

    #[test]
    fn two_clients_that_throw_each_other_out_are_recognised_the_third_time() {
        let mut clock = Clock::of(ANY_BROKER);
        assert_eq!(
            clock.causes(&[
                20 * SECOND,
                40 * SECOND,
                10 * SECOND,
                59 * SECOND,
                60 * SECOND
            ]),
            [
                DisconnectCause::Unknown,
                DisconnectCause::Unknown,
                DisconnectCause::Contested { in_a_row: 3 },
                DisconnectCause::Contested { in_a_row: 4 },
                DisconnectCause::Unknown,
            ]
        );
    }

    #[test]
    fn an_end_just_after_several_downlinks_is_the_servers_limit() {
        let cause = |pauses: [Duration; 2]| {
            let mut clock = Clock::start();
            clock.connect();
            clock.after(100 * SECOND).write();
            clock.after(pauses[0]).write();
            clock.after(pauses[1]).lose().cause
        };
        let soon = SECOND / 25;
        assert_eq!(cause([soon, soon]), DisconnectCause::RateLimit);
        assert_eq!(cause([50 * SECOND, soon]), DisconnectCause::RateLimit);
        assert_eq!(cause([61 * SECOND, soon]), DisconnectCause::Unknown);
        assert_eq!(cause([soon, SECOND]), DisconnectCause::Unknown);

        let mut clock = Clock::start();
        clock.connect();
        clock.after(soon).write();
        assert_eq!(clock.after(soon).lose().cause, DisconnectCause::Unknown);
        clock.connect();
        clock.write();
        let cause = clock.after(soon).lose().cause;
        assert_eq!(cause, DisconnectCause::ClosedAtOnce { in_a_row: 2 });
    }

    #[test]
    fn soon_after_such_an_end_one_downlink_is_enough() {
        let soon = SECOND / 25;
        let cause = |pause, downlinks, clock: &mut Clock| {
            clock.after(pause).connect();
            (0..downlinks).for_each(|_| {
                clock.write();
            });
            clock.after(soon).lose().cause
        };
        let mut clock = Clock::start();
        assert_eq!(cause(SECOND, 2, &mut clock), DisconnectCause::RateLimit);
        assert_eq!(
            cause(30 * SECOND, 1, &mut clock),
            DisconnectCause::RateLimit
        );
        assert_ne!(cause(SECOND, 0, &mut clock), DisconnectCause::RateLimit);
        assert_ne!(
            cause(61 * SECOND, 1, &mut clock),
            DisconnectCause::RateLimit
        );
    }
}
