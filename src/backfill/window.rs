//! Which time to read, by the network's clock. Pure state.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Bound, network_clock::NetworkClock};
use crate::config::Backfill;

/// The least overlap: several uplinks can have one time, and a gap may start between them.
pub(super) const OVERLAP: Duration = Duration::from_nanos(1);

/// The time to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// The start of the time that was asked for.
    pub(super) asked: SystemTime,
    /// The start of the time that can be filled: later if that is too old.
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
    /// What to read: later than this.
    pub(super) after: SystemTime,
    /// And not later than this.
    pub(super) end: SystemTime,
}

impl Window {
    /// Returns the window of a gap. `now` is the network's time.
    pub(super) fn of_gap(
        from: SystemTime,
        until: SystemTime,
        now: SystemTime,
        settings: &Backfill,
    ) -> Self {
        let until = until.max(from);
        let oldest = minus(now, settings.max_age);
        Self {
            asked: from,
            from: from.clamp(oldest.min(until), until),
            until,
            after: minus(from, settings.overlap.max(OVERLAP)).max(oldest),
            end: plus(until, settings.overlap),
        }
    }

    /// Returns the window for exactly the time from one instant up to another.
    pub(super) fn exactly(from: SystemTime, until: SystemTime) -> Self {
        let nanosecond = Duration::from_nanos(1);
        let until = until.max(from);
        Self {
            asked: from,
            from,
            until,
            after: minus(from, nanosecond),
            end: minus(until, nanosecond),
        }
    }

    /// Returns whether nothing can be read.
    pub(super) fn is_empty(&self) -> bool {
        let is_too_old = self.asked < self.from && self.from == self.until;
        self.after >= self.end || is_too_old
    }

    /// Returns what is too old to be read.
    pub(super) fn too_old(&self) -> Option<(SystemTime, SystemTime)> {
        (self.asked < self.from).then_some((self.asked, self.from))
    }

    pub(super) fn contains(&self, time: SystemTime) -> bool {
        time > self.after && time <= self.end
    }
}

/// Returns the bounds of a task by the network's clock.
pub(super) fn bounds(from: Bound, until: Bound, clock: &NetworkClock) -> (SystemTime, SystemTime) {
    let from = match from {
        Bound::Network(time) => time,
        Bound::Here(moment) => clock.earliest(moment),
    };
    let until = match until {
        Bound::Network(time) => time,
        Bound::Here(moment) => clock.latest(moment),
    };
    (from, until)
}

/// Subtracts, but no further than 1970.
pub(super) fn minus(time: SystemTime, by: Duration) -> SystemTime {
    let earlier = time.checked_sub(by);
    earlier.map_or(UNIX_EPOCH, |earlier| earlier.max(UNIX_EPOCH))
}

/// Adds, if the clock can show that.
pub(super) fn plus(time: SystemTime, by: Duration) -> SystemTime {
    time.checked_add(by).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn settings() -> Backfill {
        Backfill::new().overlap(60 * SECOND).max_age(HOUR)
    }

    #[test]
    fn a_window_reaches_beyond_both_ends_of_its_gap() {
        let window = Window::of_gap(at(1000), at(1100), at(1101), &settings());
        assert_eq!((window.from, window.until), (at(1000), at(1100)));
        assert_eq!((window.after, window.end), (at(940), at(1160)));
        assert_eq!(window.too_old(), None);
        assert!(!window.contains(at(940)) && window.contains(at(941)));
        assert!(window.contains(at(1160)) && !window.contains(at(1161)));
    }

    #[test]
    fn what_is_older_than_the_limit_is_not_read_and_is_named() {
        let window = Window::of_gap(at(0), at(5000), at(5000), &settings());
        assert_eq!((window.after, window.from), (at(1400), at(1400)));
        assert_eq!(window.too_old(), Some((at(0), at(1400))));

        // The overlap is not read either.
        let window = Window::of_gap(at(1430), at(5000), at(5000), &settings());
        assert_eq!((window.after, window.from), (at(1400), at(1430)));
        assert_eq!(window.too_old(), None);

        let window = Window::of_gap(at(0), at(100), at(5000), &settings());
        assert!(window.is_empty(), "{window:?}");
        assert_eq!(window.too_old(), Some((at(0), at(100))));
    }

    #[test]
    fn without_overlap_a_window_contains_what_has_exactly_the_time_of_its_start() {
        let settings = settings().overlap(Duration::ZERO);
        let window = Window::of_gap(at(1000), at(1100), at(1101), &settings);
        assert!(window.contains(at(1000)) && !window.contains(at(999)));
        assert!(window.contains(at(1100)) && !window.contains(at(1101)));
    }

    #[test]
    fn a_time_that_was_asked_for_is_read_exactly_and_whatever_its_age() {
        let window = Window::exactly(at(100), at(200));
        assert!(window.contains(at(100)) && !window.contains(at(99)));
        assert!(!window.contains(at(200)) && window.contains(at(199)));
        assert_eq!(window.too_old(), None);
        assert!(Window::exactly(at(100), at(100)).is_empty());
        assert!(Window::exactly(at(100), at(0)).is_empty());
    }
}
