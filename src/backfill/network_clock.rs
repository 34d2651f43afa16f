//! The network's clock, as far as it is known. Pure state.

use std::time::{Duration, SystemTime};

use super::window::{minus, plus};
use crate::clock::Moment;

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

#[cfg(test)]
mod tests {
    use std::time::{Instant, UNIX_EPOCH};

    use super::*;
    use crate::backfill::{Bound, window::bounds};

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
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
}
