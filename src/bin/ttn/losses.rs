//! Lost events, told once a second at most. Pure.

use std::time::{Duration, Instant};

/// How long after a loss was told the next ones are summed up.
const SUMMED: Duration = Duration::from_secs(1);

/// The losses that nobody was told of yet.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    untold: u64,
    told: Option<Instant>,
}

impl Losses {
    pub(crate) fn add(&mut self, lost: u64) {
        self.untold += lost;
    }

    /// Returns when to tell of them; `None` if there are none.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let due = self.told.map_or(now, |told| told + SUMMED);
        (self.untold > 0).then_some(due)
    }

    /// Returns how many to tell of now.
    pub(crate) fn take(&mut self, now: Instant) -> Option<u64> {
        self.due(now).filter(|due| *due <= now)?;
        self.told = Some(now);
        self.rest()
    }

    /// Returns how many were not told of, for the end.
    pub(crate) fn rest(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.untold)).filter(|untold| *untold > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_loss_is_told_at_once_and_the_next_ones_as_a_sum() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut losses = Losses::default();
        assert_eq!((losses.due(start), losses.take(start)), (None, None));
        losses.add(3);
        assert_eq!(losses.take(start), Some(3));
        losses.add(4);
        losses.add(5);
        assert_eq!(losses.take(after(999)), None);
        assert_eq!(losses.due(after(999)), Some(after(1_000)));
        assert_eq!(losses.take(after(1_000)), Some(9));
        assert_eq!(losses.take(after(5_000)), None);
        losses.add(1);
        assert_eq!(losses.take(after(5_000)), Some(1));
        losses.add(2);
        assert_eq!(losses.rest(), Some(2));
        assert_eq!(losses.rest(), None);
    }
}
