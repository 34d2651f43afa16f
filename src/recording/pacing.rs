//! When each message of a recording is due. Pure state.

use std::time::{Duration, SystemTime};

use super::Speed;

/// Decides when each message is due: takes the times at which they were recorded, and returns how long after the one
/// before each follows. Reads no clock.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use ttn::{Pacing, Speed};
///
/// let mut pacing = Pacing::new(Speed::times(10.0)?);
/// let start = SystemTime::UNIX_EPOCH;
/// assert_eq!(pacing.delay(Some(start)), Duration::ZERO);
/// assert_eq!(pacing.delay(Some(start + Duration::from_secs(20))), Duration::from_secs(2));
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pacing {
    speed: Speed,
    longest: Duration,
    last: Option<SystemTime>,
}

impl Pacing {
    /// Returns the state before the first message, which is due at once.
    ///
    /// ```
    /// let pacing = ttn::Pacing::new(ttn::Speed::ORIGINAL);
    /// ```
    pub fn new(speed: Speed) -> Self {
        Self {
            speed,
            longest: Duration::from_secs(3_600),
            last: None,
        }
    }

    /// Sets the longest delay, so that a night without messages, or a clock that was set, does not stop the replay.
    ///
    /// Defaults to 1 hour.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pacing = ttn::Pacing::new(ttn::Speed::ORIGINAL).longest(Duration::from_secs(5));
    /// ```
    #[must_use]
    pub fn longest(self, delay: Duration) -> Self {
        Self {
            longest: delay,
            ..self
        }
    }

    /// Returns how long after the message before the next one is due: zero for the first, for one without a time,
    /// and for one that was recorded before the one before it, because the clock was set.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use ttn::{Pacing, Speed};
    ///
    /// let mut pacing = Pacing::new(Speed::ORIGINAL).longest(Duration::from_secs(60));
    /// let start = SystemTime::now();
    /// let at = |seconds| Some(start + Duration::from_secs(seconds));
    /// let delays = [at(90_000), at(90_010), None, at(90_015), at(0), at(7), at(90_000)].map(|time| pacing.delay(time).as_secs());
    /// assert_eq!(delays, [0, 10, 0, 5, 0, 7, 60]);
    /// ```
    pub fn delay(&mut self, recorded: Option<SystemTime>) -> Duration {
        let Some(time) = recorded else {
            return Duration::ZERO;
        };
        let last = self.last.replace(time).unwrap_or(time);
        let passed = time.duration_since(last).unwrap_or_default();
        self.speed.shorten(passed).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn delays(mut pacing: Pacing, times: &[Option<SystemTime>]) -> Vec<f64> {
        let delays = times.iter().map(|time| pacing.delay(*time).as_secs_f64());
        delays.collect()
    }

    #[test]
    fn the_distances_are_those_of_the_recording_at_any_speed() {
        let times = [at(100), at(101), at(101), at(161)];
        for (speed, expected) in [
            ("1", [0.0, 1.0, 0.0, 60.0]),
            ("10", [0.0, 0.1, 0.0, 6.0]),
            ("0.5", [0.0, 2.0, 0.0, 120.0]),
            ("max", [0.0; 4]),
        ] {
            let pacing = Pacing::new(speed.parse().unwrap());
            assert_eq!(delays(pacing, &times), expected, "{speed}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_costs_nothing_and_one_set_forward_the_longest_delay() {
        let times = [at(1_000_000), at(5), at(6), at(u64::from(u32::MAX)), at(7)];
        let pacing = Pacing::new(Speed::ORIGINAL).longest(Duration::from_secs(30));
        assert_eq!(delays(pacing, &times), [0.0, 0.0, 1.0, 30.0, 0.0]);
    }

    #[test]
    fn the_slowest_speed_waits_no_longer_than_the_longest_delay() {
        let pacing = Pacing::new(Speed::times(f64::MIN_POSITIVE).unwrap());
        assert_eq!(delays(pacing, &[at(1), at(2)]), [0.0, 3_600.0]);
    }

    #[test]
    fn a_message_without_a_time_follows_at_once() {
        let pacing = Pacing::new(Speed::ORIGINAL);
        assert_eq!(
            delays(pacing, &[None, at(10), None, at(12)]),
            [0.0, 0.0, 0.0, 2.0]
        );
    }

    #[test]
    fn only_a_number_above_0_is_a_speed() {
        for text in ["0", "-1", "NaN", "", "fast", "1x"] {
            let error = text.parse::<Speed>().unwrap_err();
            assert!(
                error.to_string().contains("greater than 0"),
                "{text}: {error}"
            );
        }
        assert_eq!("inf".parse::<Speed>().unwrap(), Speed::MAX);
    }
}
