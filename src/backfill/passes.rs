//! When to read a window, and how much of it. Pure state.

use std::time::{Duration, Instant, SystemTime};

use super::window::{Window, minus};
use crate::config::Backfill;

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

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

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
