//! How much time passes while the machine may be suspended. Pure state, except for [`Moment::now`].

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How much more the wall clock must advance than the monotonic clock. A clock that is kept right
/// advances slightly faster or slower all the time.
const LEAST: Duration = Duration::from_secs(1);

/// A wall clock that shows an earlier time was never set: this crate did not exist. 2026-01-01.
const SET: Duration = Duration::from_secs(1_767_225_600);

/// Returns whether a wall clock that shows this time was set.
pub(crate) fn is_set(time: SystemTime) -> bool {
    time >= UNIX_EPOCH + SET
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// On the monotonic clock, which stands still while the machine is suspended.
    pub(crate) instant: Instant,
    /// On the wall clock, which does not, and which can be set.
    pub(crate) time: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            instant: Instant::now(),
            time: SystemTime::now(),
        }
    }

    /// Returns the time that has passed since an earlier moment, including the time for which the
    /// machine was suspended.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.awake_since(earlier) + self.suspended_since(earlier)
    }

    fn awake_since(self, earlier: Self) -> Duration {
        self.instant.saturating_duration_since(earlier.instant)
    }

    /// Returns for how long the machine was suspended since an earlier moment: as long as the wall clock
    /// says in excess of the monotonic clock. A clock that was not set then says nothing.
    pub(crate) fn suspended_since(self, earlier: Self) -> Duration {
        let by_wall = self.time.duration_since(earlier.time).unwrap_or_default();
        let excess = by_wall.saturating_sub(self.awake_since(earlier));
        if is_set(earlier.time) && excess >= LEAST {
            excess
        } else {
            Duration::ZERO
        }
    }
}

/// A clock that does not stand still while the machine is suspended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timeline {
    last: Option<Moment>,
    suspended: Duration,
}

impl Timeline {
    /// Returns what this clock shows. Its instants can be compared with one another only.
    pub(crate) fn at(&mut self, now: Moment) -> Instant {
        if let Some(last) = self.last {
            self.suspended += now.suspended_since(last);
        }
        // One that comes late would have the time after it counted twice.
        if self.last.is_none_or(|last| last.instant <= now.instant) {
            self.last = Some(now);
        }
        now.instant + self.suspended
    }

    /// Returns for how long the machine was suspended so far.
    pub(crate) fn suspended(&self) -> Duration {
        self.suspended
    }
}

#[cfg(test)]
impl Moment {
    /// Returns a moment some time later, for which the machine was awake.
    pub(crate) fn after(self, time: Duration) -> Self {
        Self {
            instant: self.instant + time,
            time: self.time + time,
        }
    }

    /// Returns the moment after a suspension.
    pub(crate) fn after_suspension(self, time: Duration) -> Self {
        Self {
            time: self.time + time,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    fn start() -> Moment {
        Moment {
            instant: Instant::now(),
            time: UNIX_EPOCH + SET + 100 * HOUR,
        }
    }

    #[test]
    fn a_suspension_counts_as_time() {
        let start = start();
        let later = start
            .after(2 * SECOND)
            .after_suspension(HOUR)
            .after(3 * SECOND);
        assert_eq!(later.suspended_since(start), HOUR);
        assert_eq!(later.since(start), HOUR + 5 * SECOND);
    }

    #[test]
    fn a_clock_that_is_set_for_the_first_time_or_back_or_slightly_is_no_suspension() {
        let start = start();
        let unset = Moment {
            time: UNIX_EPOCH + 40 * SECOND,
            ..start
        };
        let later = start.after(2 * SECOND);
        assert_eq!(later.since(unset), 2 * SECOND);
        let set_back = Moment {
            time: start.time - HOUR,
            ..later
        };
        assert_eq!(set_back.since(start), 2 * SECOND);
        assert_eq!(later.after_suspension(SECOND / 2).since(start), 2 * SECOND);
        assert_eq!(start.since(later), Duration::ZERO);
    }

    #[test]
    fn a_timeline_passes_over_suspensions_and_never_goes_back() {
        let mut timeline = Timeline::default();
        let mut now = start();
        let begin = timeline.at(now);
        assert_eq!(begin, now.instant);
        for (awake, suspended) in [(1, 0), (0, 60), (5, 0), (2, 3600)] {
            now = now
                .after(awake * SECOND)
                .after_suspension(suspended * SECOND);
            timeline.at(now);
        }
        assert_eq!(timeline.at(now) - begin, 3668 * SECOND);
        now.time -= HOUR;
        assert_eq!(timeline.at(now.after(SECOND)) - begin, 3669 * SECOND);
        // A moment that was taken before the suspension, and comes after it.
        let mut timeline = Timeline::default();
        let before = start();
        let after = before.after_suspension(HOUR).after(SECOND);
        let begin = timeline.at(before);
        for moment in [after, before, after.after(SECOND)] {
            timeline.at(moment);
        }
        assert_eq!(timeline.at(after) - begin, HOUR + SECOND);
    }

    #[test]
    fn many_small_steps_are_no_suspension() {
        let mut timeline = Timeline::default();
        let mut now = start();
        let begin = timeline.at(now);
        // Each half a second is too little.
        for _ in 0..10 {
            now = now.after_suspension(SECOND / 2);
            timeline.at(now);
        }
        assert_eq!(timeline.at(now.after(SECOND)) - begin, SECOND);
    }
}
