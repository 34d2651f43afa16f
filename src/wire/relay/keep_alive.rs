//! When to ping the server, and when to consider it dead. Pure state: callers pass the time.

use std::time::{Duration, Instant};

/// The minimum time for an answer, however short the keep-alive: it may wait behind downlinks.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// How long a server may read nothing: a server that limits downlinks reads slowly, and its system
/// announces free space in large steps.
const STUCK_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct KeepAlive {
    interval: Duration,
    heard: Instant,
    sent: Instant,
    ping: Ping,
    /// The line accepts no bytes; when it does again, the server has read some.
    blocked: bool,
    /// The connection may have died while nobody looked.
    in_doubt: bool,
}

#[derive(Clone, Copy, Debug)]
enum Ping {
    None,
    /// It waits behind other bytes, and none of them has been sent since then.
    Queued(Instant),
    /// It has been sent, and nothing has moved since then.
    Asked(Instant),
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    Wait(Instant),
    Ask,
    /// The server did not answer.
    Dead,
}

impl KeepAlive {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            heard: now,
            sent: now,
            ping: Ping::None,
            blocked: false,
            in_doubt: false,
        }
    }

    /// Notes that bytes of the server have arrived: whatever they are, it is alive.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.ping = Ping::None;
    }

    /// Notes that the line accepts no bytes.
    pub(super) fn blocked(&mut self) {
        self.blocked = true;
    }

    /// Notes that the line has accepted bytes. If it was blocked before, the server has read some, and
    /// the ping may still wait behind others; otherwise this says nothing about the server.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = now;
        if std::mem::take(&mut self.blocked) {
            self.hold(now);
        }
    }

    /// Postpones the verdict: the server is not being read, because the client does not read.
    pub(super) fn hold(&mut self, now: Instant) {
        self.ping = match self.ping {
            Ping::None => Ping::None,
            Ping::Queued(_) => Ping::Queued(now),
            Ping::Asked(_) => Ping::Asked(now),
        };
    }

    /// Notes that the process or the machine stood still, so that the connection may have died: what has
    /// arrived since then may be older.
    pub(super) fn doubt(&mut self) {
        self.in_doubt = true;
    }

    /// Notes that a ping waits to be sent.
    pub(super) fn queued(&mut self, now: Instant) {
        self.in_doubt = false;
        self.ping = Ping::Queued(now);
    }

    /// Notes that the ping has been sent.
    pub(super) fn asked(&mut self, now: Instant) {
        if let Ping::Queued(_) = self.ping {
            self.ping = Ping::Asked(now);
        }
    }

    /// Returns when the server should hear something of this side again.
    pub(super) fn next_sign(&self) -> Instant {
        self.sent + self.interval
    }

    /// Returns for how long the server has sent nothing.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }

    /// Returns what to do now.
    pub(super) fn pulse(&self, now: Instant) -> Pulse {
        let (until, then) = match self.ping {
            Ping::None if self.in_doubt => return Pulse::Ask,
            Ping::None => (self.heard.min(self.sent) + self.interval, Pulse::Ask),
            Ping::Queued(since) => (since + self.interval.max(STUCK_PATIENCE), Pulse::Dead),
            Ping::Asked(since) => (since + self.interval.max(LEAST_PATIENCE), Pulse::Dead),
        };
        if now < until {
            Pulse::Wait(until)
        } else {
            then
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_asks_after_the_interval_of_silence_in_either_direction() {
        let start = Instant::now();
        let mut idle = KeepAlive::new(10 * SECOND, start);
        assert_eq!(idle.pulse(start), Pulse::Wait(start + 10 * SECOND));
        assert_eq!(idle.pulse(start + 10 * SECOND), Pulse::Ask);
        idle.heard(start + 9 * SECOND);
        assert_eq!(idle.pulse(start + 10 * SECOND), Pulse::Ask);
        idle.sent(start + 9 * SECOND);
        assert_eq!(
            idle.pulse(start + 10 * SECOND),
            Pulse::Wait(start + 19 * SECOND)
        );
    }

    #[test]
    fn it_asks_at_once_after_a_standstill_whatever_arrives() {
        let start = Instant::now();
        let mut pulse = KeepAlive::new(10 * SECOND, start);
        pulse.doubt();
        pulse.heard(start + SECOND);
        assert_eq!(pulse.pulse(start + SECOND), Pulse::Ask);
        pulse.queued(start + SECOND);
        pulse.asked(start + SECOND);
        assert_eq!(
            pulse.pulse(start + SECOND),
            Pulse::Wait(start + 11 * SECOND)
        );
        assert_eq!(pulse.pulse(start + 11 * SECOND), Pulse::Dead);
        pulse.heard(start + 2 * SECOND);
        let next = Pulse::Wait(start + 10 * SECOND);
        assert_eq!(pulse.pulse(start + 2 * SECOND), next);
    }

    #[test]
    fn any_byte_is_an_answer() {
        let start = Instant::now();
        let mut pulse = KeepAlive::new(10 * SECOND, start);
        let at = |seconds| start + seconds * SECOND;
        pulse.queued(at(10));
        pulse.sent(at(10));
        pulse.asked(at(10));
        assert_eq!(pulse.pulse(at(19)), Pulse::Wait(at(20)));
        assert_eq!(pulse.pulse(at(20)), Pulse::Dead);
        pulse.heard(at(19));
        assert_eq!(pulse.pulse(at(20)), Pulse::Ask);
        assert_eq!(pulse.silence(at(20)), SECOND);
    }

    #[test]
    fn an_answer_has_five_seconds_at_least() {
        let start = Instant::now();
        let mut pulse = KeepAlive::new(SECOND, start);
        pulse.queued(start + SECOND);
        pulse.asked(start + SECOND);
        assert_eq!(
            pulse.pulse(start + 5 * SECOND),
            Pulse::Wait(start + 6 * SECOND)
        );
        assert_eq!(pulse.pulse(start + 6 * SECOND), Pulse::Dead);
    }

    #[test]
    fn nobody_is_dead_while_our_own_bytes_move_or_the_client_does_not_read() {
        let start = Instant::now();
        let mut pulse = KeepAlive::new(SECOND, start);
        pulse.queued(start + SECOND);
        pulse.asked(start + SECOND);
        for second in 2..60 {
            let now = start + second * SECOND;
            match second % 8 {
                0..4 => {
                    pulse.blocked();
                    pulse.sent(now);
                }
                _ => pulse.hold(now),
            }
            assert_ne!(pulse.pulse(now), Pulse::Dead);
        }
        assert_eq!(pulse.pulse(start + 64 * SECOND), Pulse::Dead);
    }

    #[test]
    fn downlinks_that_only_the_system_has_taken_are_no_sign_of_life() {
        let start = Instant::now();
        let mut pulse = KeepAlive::new(30 * SECOND, start);
        pulse.queued(start + 30 * SECOND);
        pulse.sent(start + 30 * SECOND);
        pulse.asked(start + 30 * SECOND);
        pulse.sent(start + 50 * SECOND);
        assert_eq!(pulse.pulse(start + 60 * SECOND), Pulse::Dead);
    }

    #[test]
    fn a_question_that_cannot_leave_is_waited_for_longer() {
        let start = Instant::now();
        let mut pulse = KeepAlive::new(SECOND, start);
        pulse.queued(start + SECOND);
        assert_eq!(
            pulse.pulse(start + 60 * SECOND),
            Pulse::Wait(start + 61 * SECOND)
        );
        assert_eq!(pulse.pulse(start + 61 * SECOND), Pulse::Dead);
    }

    #[test]
    fn a_word_of_the_server_withdraws_the_question() {
        let start = Instant::now();
        let mut pulse = KeepAlive::new(SECOND, start);
        pulse.queued(start + SECOND);
        pulse.heard(start + SECOND);
        pulse.asked(start + 2 * SECOND);
        assert_eq!(pulse.pulse(start + 9 * SECOND), Pulse::Ask);
    }
}
