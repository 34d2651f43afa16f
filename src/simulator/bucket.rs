//! How many messages somebody may still publish: a bucket that fills by and by. Numbers; the clock
//! is read by others.

use std::time::Instant;

use super::quirks::PublishRate;

/// What is left for one application and key.
pub(super) struct Bucket {
    rate: PublishRate,
    left: f64,
    seen: Instant,
}

impl Bucket {
    pub(super) fn full(rate: PublishRate, now: Instant) -> Self {
        Self {
            rate,
            left: f64::from(rate.burst),
            seen: now,
        }
    }

    /// Whether there is one left, which is taken. Another rate than before begins with a full bucket.
    pub(super) fn take(&mut self, rate: PublishRate, now: Instant) -> bool {
        if self.rate != rate {
            *self = Self::full(rate, now);
        }
        let minutes = now.saturating_duration_since(self.seen).as_secs_f64() / 60.0;
        let filled = self.left + minutes * f64::from(rate.per_minute);
        self.left = filled.min(f64::from(rate.burst));
        self.seen = now;
        let is_left = self.left >= 1.0;
        if is_left {
            self.left -= 1.0;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_holds_a_burst_and_fills_by_the_minute() {
        let rate = PublishRate::new(60, 3);
        let mut now = Instant::now();
        let mut bucket = Bucket::full(rate, now);
        let mut take = |seconds| {
            now += Duration::from_secs_f64(seconds);
            bucket.take(rate, now)
        };
        assert_eq!([0.0; 4].map(&mut take), [true, true, true, false]);
        assert_eq!(
            [0.5, 0.6, 0.5, 0.5].map(&mut take),
            [false, true, false, true]
        );
        assert_eq!(
            [100.0, 0.0, 0.0, 0.0].map(&mut take),
            [true, true, true, false]
        );
    }

    #[test]
    fn another_rate_begins_anew() {
        let now = Instant::now();
        let mut bucket = Bucket::full(PublishRate::new(60, 1), now);
        assert!(bucket.take(PublishRate::new(60, 1), now));
        assert!(!bucket.take(PublishRate::new(60, 1), now));
        assert!(bucket.take(PublishRate::new(30, 1), now));
    }
}
