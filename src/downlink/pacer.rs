//! The speed at which messages may be written: the configured pace, reduced after the server has closed
//! a connection because of its rate limit. Reads no clock; the caller passes the time.

use std::time::{Duration, Instant};

use crate::config::Pace;

/// The time after which a reduced pace rises by a step, unless the server closes another connection.
const STEP_TIME: Duration = Duration::from_secs(600);

/// The number of steps of the full pace.
const STEPS: u32 = 16;

/// The generic cell rate algorithm: each message uses one interval and is due when the interval of its
/// predecessor is over, except that a burst may be sent earlier.
#[derive(Debug)]
pub(crate) struct Pacer {
    pace: Option<Pace>,
    /// The share of the pace in use, in steps.
    steps: u32,
    /// When the intervals of all messages so far are over.
    used_until: Option<Instant>,
    /// When the steps last changed.
    changed: Option<Instant>,
    /// The state before the last limit, to return to if that was not a limit.
    before: Option<Used>,
}

#[derive(Clone, Copy, Debug)]
struct Used {
    steps: u32,
    until: Option<Instant>,
    changed: Option<Instant>,
}

struct Rate {
    /// The time between two messages.
    interval: Duration,
    /// The most messages without an interval.
    burst: u32,
}

impl Pacer {
    pub(crate) fn new(pace: Option<Pace>) -> Self {
        Self {
            pace,
            steps: STEPS,
            used_until: None,
            changed: None,
            before: None,
        }
    }

    /// Returns how long the next message has to wait.
    pub(crate) fn delay(&self, now: Instant) -> Duration {
        let (Some(rate), Some(used_until)) = (self.rate(), self.used_until) else {
            return Duration::ZERO;
        };
        used_until
            .saturating_duration_since(now)
            .saturating_sub(rate.interval * (rate.burst - 1))
    }

    /// Notes that a message was written.
    pub(crate) fn written(&mut self, now: Instant) {
        if let Some(changed) = self.changed {
            if now.saturating_duration_since(changed) >= STEP_TIME {
                self.steps += 1;
                self.changed = (self.steps < STEPS).then_some(now);
            }
        }
        if let Some(Rate { interval, .. }) = self.rate() {
            let start = self.used_until.map_or(now, |end| end.max(now));
            self.used_until = Some(start + interval);
        }
    }

    /// Notes that the server closed the connection because of too many messages.
    pub(crate) fn limited(&mut self, now: Instant) {
        self.before = Some(Used {
            steps: self.steps,
            until: self.used_until,
            changed: self.changed,
        });
        self.steps = (self.steps / 2).max(1);
        self.changed = Some(now);
        if let Some(Rate { interval, burst }) = self.rate() {
            self.used_until = Some(now + interval * burst);
        }
    }

    /// Notes that the last limit was not a limit: the pace is the same as before it.
    pub(crate) fn restored(&mut self) {
        if let Some(before) = self.before.take() {
            self.steps = before.steps;
            self.used_until = before.until;
            self.changed = before.changed;
        }
    }

    /// Returns the rate at the current share of the pace.
    fn rate(&self) -> Option<Rate> {
        let Pace { per_minute, burst } = self.pace?;
        Some(Rate {
            interval: Duration::from_secs(60) * STEPS / (per_minute * self.steps),
            burst: (burst * self.steps / STEPS).max(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pacer(per_minute: u32, burst: u32) -> Pacer {
        Pacer::new(Some(Pace { per_minute, burst }))
    }

    /// Writes as many messages as the pacer allows at once, and counts them.
    fn burst(pacer: &mut Pacer, now: Instant) -> u32 {
        let mut messages = 0;
        while pacer.delay(now).is_zero() {
            pacer.written(now);
            messages += 1;
        }
        messages
    }

    #[test]
    fn without_a_pace_nothing_waits() {
        let now = Instant::now();
        let mut pacer = Pacer::new(None);
        for _ in 0..1_000 {
            pacer.written(now);
            assert_eq!(pacer.delay(now), Duration::ZERO);
        }
        pacer.limited(now);
        assert_eq!(pacer.delay(now), Duration::ZERO);
    }

    #[test]
    fn a_burst_is_followed_by_one_after_the_other() {
        let start = Instant::now();
        let mut pacer = pacer(10, 3);
        assert_eq!(burst(&mut pacer, start), 3);
        assert_eq!(pacer.delay(start), 6 * SECOND);
        assert_eq!(pacer.delay(start + 4 * SECOND), 2 * SECOND);
        assert_eq!(burst(&mut pacer, start + 6 * SECOND), 1);
        assert_eq!(burst(&mut pacer, start + 20 * SECOND), 2);
        assert_eq!(burst(&mut pacer, start + 3_600 * SECOND), 3);
    }

    /// Compares the pacer with a token bucket, another form of the same rule.
    #[test]
    fn no_message_is_too_early_and_none_waits_in_vain() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..200 {
            let (per_minute, burst) = (random.u32(1..=6_000), random.u32(1..=50));
            let mut pacer = pacer(per_minute, burst);
            let rate = f64::from(per_minute) / 60.0;
            let mut now = Instant::now();
            let mut filled = f64::from(burst);
            for _ in 0..500 {
                let pause = random.f64() * random.f64() * 3.0 / rate;
                now += Duration::from_secs_f64(pause);
                filled = (filled + pause * rate).min(f64::from(burst));
                let delay = pacer.delay(now).as_secs_f64();
                let missing = ((1.0 - filled) / rate).max(0.0);
                assert!(
                    (delay - missing).abs() < 1e-5,
                    "{delay} instead of {missing}"
                );
                if delay == 0.0 {
                    pacer.written(now);
                    filled -= 1.0;
                }
            }
        }
    }

    #[test]
    fn a_limit_that_is_taken_back_leaves_the_pace_as_it_was() {
        let now = Instant::now();
        let mut pacer = pacer(60, 8);
        assert_eq!(burst(&mut pacer, now), 8);
        pacer.limited(now + SECOND);
        assert_eq!(pacer.delay(now + 9 * SECOND), Duration::ZERO);
        assert_eq!(burst(&mut pacer, now + 9 * SECOND), 4);
        pacer.limited(now + 10 * SECOND);
        assert_eq!(pacer.delay(now + 10 * SECOND), 4 * SECOND);
        pacer.restored();
        // The earlier limit stays.
        assert_eq!(pacer.delay(now + 10 * SECOND), SECOND);
        pacer.restored();
        assert_eq!(pacer.delay(now + 10 * SECOND), SECOND);

        let mut pacer = Pacer::new(Some(Pace {
            per_minute: 60,
            burst: 8,
        }));
        assert_eq!(burst(&mut pacer, now), 8);
        pacer.limited(now);
        pacer.restored();
        assert_eq!(pacer.delay(now), SECOND);
        assert_eq!(burst(&mut pacer, now + 5 * SECOND), 5);
    }

    #[test]
    fn a_closed_connection_halves_the_pace_and_time_brings_it_back() {
        let mut now = Instant::now();
        let mut pacer = pacer(60, 8);
        pacer.limited(now);
        assert_eq!(pacer.delay(now), 2 * SECOND);
        now += 600 * SECOND;
        assert_eq!(burst(&mut pacer, now), 4);
        pacer.limited(now);
        pacer.limited(now);
        assert_eq!(pacer.delay(now), 8 * SECOND);
        (0..20).for_each(|_| pacer.limited(now));
        assert_eq!(pacer.delay(now), 16 * SECOND);
        let mut delays = Vec::new();
        for _ in 0..20 {
            now += 600 * SECOND;
            burst(&mut pacer, now);
            delays.push(pacer.delay(now));
        }
        assert!(delays.is_sorted_by(|earlier, later| earlier >= later));
        assert_eq!(delays[0], 8 * SECOND);
        assert_eq!(delays[14..], [SECOND; 6]);
    }
}
