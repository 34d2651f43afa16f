//! How fast messages may be written: the pace that was asked for, and what connections that were
//! closed for it have taught. Numbers; the clock is read by others.

use std::time::{Duration, Instant};

use crate::config::Pace;

/// So long without another closing, and the pace rises by a step.
const STEP_TIME: Duration = Duration::from_secs(600);

/// Steps from nothing to the pace that was asked for.
const STEPS: u32 = 16;

/// The generic cell rate algorithm: each message is due when the one before it has had its time,
/// and a burst of them may come earlier.
#[derive(Debug)]
pub(crate) struct Pacer {
    pace: Option<Pace>,
    /// How much of the pace is used.
    steps: u32,
    /// When the time of all messages until now is over.
    spent: Option<Instant>,
    /// When the steps changed last.
    learned: Option<Instant>,
}

impl Pacer {
    pub(crate) fn new(pace: Option<Pace>) -> Self {
        Self {
            pace,
            steps: STEPS,
            spent: None,
            learned: None,
        }
    }

    /// How long the next message has to wait.
    pub(crate) fn delay(&self, now: Instant) -> Duration {
        let (Some((time, burst)), Some(spent)) = (self.present(), self.spent) else {
            return Duration::ZERO;
        };
        spent
            .saturating_duration_since(now)
            .saturating_sub(time * (burst - 1))
    }

    /// A message is written.
    pub(crate) fn written(&mut self, now: Instant) {
        if let Some(learned) = self.learned {
            if now.saturating_duration_since(learned) >= STEP_TIME {
                self.steps += 1;
                self.learned = (self.steps < STEPS).then_some(now);
            }
        }
        if let Some((time, _)) = self.present() {
            let spent = self.spent.map_or(now, |spent| spent.max(now));
            self.spent = Some(spent + time);
        }
    }

    /// The server has closed the connection, since there were too many.
    pub(crate) fn limited(&mut self, now: Instant) {
        self.steps = (self.steps / 2).max(1);
        self.learned = Some(now);
        if let Some((time, burst)) = self.present() {
            self.spent = Some(now + time * burst);
        }
    }

    /// The time of one message, and how many may come at once.
    fn present(&self) -> Option<(Duration, u32)> {
        let Pace { per_minute, burst } = self.pace?;
        let time = Duration::from_secs(60) * STEPS / (per_minute * self.steps);
        Some((time, (burst * self.steps / STEPS).max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pacer(per_minute: u32, burst: u32) -> Pacer {
        Pacer::new(Some(Pace { per_minute, burst }))
    }

    /// Writes as many as may be written at once.
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

    /// Against a bucket that fills by and by, the same rule in other words.
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
