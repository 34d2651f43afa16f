//! Which time to read, by the network's clock, and when. Pure state.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Bound;
use crate::{clock::Moment, config::Backfill};

/// The network tells its time in whole seconds, cut off.
const CUT_OFF: Duration = Duration::from_secs(1);

/// What the network's clock shows, as far as an answer has told it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NetworkClock(Option<(SystemTime, Moment)>);

impl NetworkClock {
    /// Notes the time of an answer, which has just come. The first one counts.
    pub(super) fn note(&mut self, date: Option<SystemTime>, now: Moment) {
        if let (Some(date), None) = (date, self.0) {
            self.0 = Some((date, now));
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the earliest time that the network's clock may have shown at a moment.
    pub(super) fn earliest(&self, moment: Moment) -> SystemTime {
        match self.0 {
            None => moment.time,
            Some((date, then)) if then.instant >= moment.instant => minus(date, then.since(moment)),
            Some((date, then)) => plus(date, moment.since(then)),
        }
    }

    /// Returns the latest time that it may have shown.
    pub(super) fn latest(&self, moment: Moment) -> SystemTime {
        match self.0 {
            None => moment.time,
            Some(_) => plus(self.earliest(moment), CUT_OFF),
        }
    }
}

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
            after: minus(from, settings.overlap).max(oldest),
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

/// The passes over a window: uplinks can be read only some time after they came.
#[derive(Clone, Debug)]
pub(super) struct Passes {
    /// When each begins.
    starts: Vec<Instant>,
    next: usize,
    recheck: Duration,
}

/// A reading of a window, or of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) at: Instant,
    /// Read what is later than this.
    pub(super) after: SystemTime,
    /// What is later than this will be read again.
    pub(super) settled: SystemTime,
}

impl Passes {
    pub(super) fn once(at: Instant) -> Self {
        Self {
            starts: vec![at],
            next: 0,
            recheck: Duration::ZERO,
        }
    }

    /// Returns the passes after a reconnect.
    pub(super) fn after(reconnect: Instant, settings: &Backfill) -> Self {
        let mut starts: Vec<Instant> = settings
            .passes
            .iter()
            .filter_map(|delay| reconnect.checked_add(*delay))
            .collect();
        starts.sort_unstable();
        Self {
            starts,
            next: 0,
            recheck: settings.recheck,
        }
    }

    pub(super) fn next(&mut self, window: &Window) -> Option<Pass> {
        let at = *self.starts.get(self.next)?;
        let recheck = minus(window.end, self.recheck).max(window.after);
        let after = match self.next {
            0 => window.after,
            _ => recheck,
        };
        self.next += 1;
        let settled = match self.starts.get(self.next) {
            Some(_) => recheck,
            None => window.until,
        };
        Some(Pass {
            at,
            after,
            settled: settled.min(window.until),
        })
    }
}

/// Subtracts, but no further than 1970.
pub(super) fn minus(time: SystemTime, by: Duration) -> SystemTime {
    let earlier = time.checked_sub(by);
    earlier.map_or(UNIX_EPOCH, |earlier| earlier.max(UNIX_EPOCH))
}

/// Adds, if the clock can show that.
fn plus(time: SystemTime, by: Duration) -> SystemTime {
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
    fn a_time_that_was_asked_for_is_read_exactly_and_whatever_its_age() {
        let window = Window::exactly(at(100), at(200));
        assert!(window.contains(at(100)) && !window.contains(at(99)));
        assert!(!window.contains(at(200)) && window.contains(at(199)));
        assert_eq!(window.too_old(), None);
        assert!(Window::exactly(at(100), at(100)).is_empty());
        assert!(Window::exactly(at(100), at(0)).is_empty());
    }

    #[test]
    fn moments_of_this_machine_are_told_by_the_clock_of_the_network() {
        let lost = Moment {
            instant: Instant::now(),
            time: at(500_000),
        };
        let mut clock = NetworkClock::default();
        assert_eq!(clock.earliest(lost), at(500_000));
        clock.note(None, lost);
        assert_eq!(clock.latest(lost), at(500_000));

        // The machine sleeps for an hour, and then its clock is set.
        let answered = lost.after_suspension(HOUR).after(10 * SECOND);
        clock.note(Some(at(9_000)), answered);
        clock.note(Some(at(77)), answered);
        let up = lost.after_suspension(HOUR).after(5 * SECOND);
        let (from, until) = bounds(Bound::Here(lost), Bound::Here(up), &clock);
        assert_eq!(from, at(9_000 - 3_610));
        assert_eq!(until, at(9_000 - 5 + 1));
        assert_eq!(clock.latest(answered.after(3 * SECOND)), at(9_004));
        let known = Bound::Network(at(7));
        assert_eq!(bounds(known, known, &clock), (at(7), at(7)));
    }

    #[test]
    fn the_passes_after_the_first_look_back_for_a_while_only() {
        let settings = settings()
            .passes([60 * SECOND, Duration::ZERO])
            .recheck(600 * SECOND);
        let window = Window::of_gap(at(10_000), at(13_000), at(13_000), &settings);
        let up = Instant::now();
        let mut passes = Passes::after(up, &settings);
        let first = passes.next(&window).unwrap();
        assert_eq!((first.at, first.after), (up, at(9_940)));
        assert_eq!(first.settled, at(12_460));
        let second = passes.next(&window).unwrap();
        assert_eq!((second.at, second.after), (up + 60 * SECOND, at(12_460)));
        assert_eq!(second.settled, at(13_000));
        assert_eq!(passes.next(&window), None);

        let short = Window::of_gap(at(12_900), at(13_000), at(13_000), &settings);
        let mut passes = Passes::after(up, &settings);
        for _ in 0..2 {
            assert_eq!(passes.next(&short).unwrap().after, short.after);
        }
    }

    #[test]
    fn a_time_that_was_asked_for_is_read_once_and_settled() {
        let window = Window::exactly(at(0), at(100));
        let mut passes = Passes::once(Instant::now());
        let pass = passes.next(&window).unwrap();
        assert_eq!((pass.after, pass.settled), (window.after, window.until));
        assert_eq!(passes.next(&window), None);
    }
}
