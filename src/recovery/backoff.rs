//! The delays between attempts. Reads no clock.

use std::time::Duration;

/// Exponential backoff with full jitter: a random delay between `min` and a ceiling that doubles with
/// each attempt, up to `max`.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    attempt: u32,
    random: fastrand::Rng,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration, random: fastrand::Rng) -> Self {
        Self {
            min,
            max,
            attempt: 0,
            random,
        }
    }

    /// Returns the delay before the next attempt.
    pub(crate) fn next_delay(&mut self) -> Duration {
        self.attempt = self.attempt.saturating_add(1);
        let doublings = self.attempt.min(31);
        let ceiling = self.min.saturating_mul(1 << doublings).min(self.max);
        let spread = ceiling.saturating_sub(self.min);
        self.min + spread.mul_f64(self.random.f64())
    }

    /// Starts again with short delays.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(60);

    fn backoff(seed: u64) -> Backoff {
        Backoff::new(MIN, MAX, fastrand::Rng::with_seed(seed))
    }

    #[test]
    fn delays_stay_between_the_bounds_and_grow() {
        let mut longest = Duration::ZERO;
        for seed in 0..100 {
            let mut backoff = backoff(seed);
            let first = backoff.next_delay();
            assert!((MIN..=2 * MIN).contains(&first), "{first:?}");
            for _ in 0..50 {
                let delay = backoff.next_delay();
                assert!((MIN..=MAX).contains(&delay), "{delay:?}");
                longest = longest.max(delay);
            }
        }
        assert!(
            longest > MAX / 2,
            "the ceiling never rose above {longest:?}"
        );
    }

    #[test]
    fn a_reset_starts_again_with_short_delays() {
        let mut backoff = backoff(1);
        for _ in 0..20 {
            backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= 2 * MIN);
    }

    #[test]
    fn two_clients_do_not_wait_in_step() {
        let delays =
            |mut backoff: Backoff| (0..8).map(|_| backoff.next_delay()).collect::<Vec<_>>();
        assert_ne!(delays(backoff(1)), delays(backoff(2)));
        assert_eq!(delays(backoff(1)), delays(backoff(1)));
    }
}
