//! A rate limit in messages per minute; its caller reads the clock.

use std::time::Instant;

use crate::simulator::quirks::PublishRate;

/// The cost of a message. A rate of one message per minute adds 1 each nanosecond, so nothing is
/// rounded.
const MESSAGE: u128 = 60_000_000_000;

/// The current content and when it was computed; full at first.
#[derive(Default)]
pub(super) struct Bucket(Option<(u128, Instant)>);

impl Bucket {
    /// Returns whether one more message is within the rate, and counts it if so.
    pub(super) fn admits(&mut self, rate: PublishRate, now: Instant) -> bool {
        let full = u128::from(rate.burst) * MESSAGE;
        let content = self.0.map_or(full, |(content, since)| {
            let passed = now.saturating_duration_since(since).as_nanos();
            full.min(content + passed * u128::from(rate.per_minute))
        });
        let left = content.checked_sub(MESSAGE);
        self.0 = Some((left.unwrap_or(content), now));
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RATE: PublishRate = PublishRate {
        per_minute: 7,
        burst: 3,
    };

    /// Returns how many of ten simultaneous messages are within the rate.
    fn admitted(bucket: &mut Bucket, rate: PublishRate, now: Instant) -> usize {
        (0..10).filter(|_| bucket.admits(rate, now)).count()
    }

    #[test]
    fn a_burst_is_followed_by_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::default();
        assert_eq!(admitted(&mut bucket, RATE, start), 3);
        for minute in 1..=3 {
            let mut count = 0;
            for second in 1..=60 {
                let now = start + Duration::from_secs(60 * (minute - 1) + second);
                count += admitted(&mut bucket, RATE, now);
            }
            assert_eq!(count, 7, "in minute {minute}");
        }
    }

    #[test]
    fn no_more_than_a_burst_is_saved_up() {
        let start = Instant::now();
        let mut bucket = Bucket::default();
        admitted(&mut bucket, RATE, start);
        let year = Duration::from_secs(365 * 24 * 3600);
        assert_eq!(admitted(&mut bucket, RATE, start + year), 3);
    }

    #[test]
    fn a_rate_of_zero_is_a_number_of_messages() {
        let start = Instant::now();
        let mut bucket = Bucket::default();
        let rate = PublishRate {
            per_minute: 0,
            burst: 2,
        };
        assert_eq!(admitted(&mut bucket, rate, start), 2);
        let hour = Duration::from_secs(3600);
        assert_eq!(admitted(&mut bucket, rate, start + hour), 0);
        assert_eq!(admitted(&mut bucket, RATE, start + 2 * hour), 3);
    }

    #[test]
    fn a_message_at_an_earlier_time_brings_nothing() {
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        let mut bucket = Bucket::default();
        assert_eq!(admitted(&mut bucket, RATE, start + minute), 3);
        assert_eq!(admitted(&mut bucket, RATE, start), 0);
    }
}
