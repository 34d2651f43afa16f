//! How long to wait after a fault. Pure state.

use std::time::Duration;

/// The longest wait after a fault.
const LONGEST: Duration = Duration::from_secs(60);

/// How many faults in a row to accept: three minutes.
const MAX_FAULTS: u32 = 8;

/// Waits longer after each fault.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    max_wait: Duration,
    /// In a row, without anything new in between.
    faults: u32,
}

impl Faults {
    pub(super) fn new(max_wait: Duration) -> Self {
        Self {
            max_wait,
            faults: 0,
        }
    }

    /// Notes that something new has come.
    pub(super) fn on_progress(&mut self) {
        self.faults = 0;
    }

    /// Notes a fault. Returns how long to wait, or `None` to give up.
    pub(super) fn on_fault(&mut self) -> Option<Duration> {
        let wait = Duration::from_secs(1 << self.faults.min(6));
        self.faults += 1;
        (self.faults <= MAX_FAULTS).then_some(wait.min(LONGEST).min(self.max_wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_waits_after_faults_double_up_to_a_minute_and_then_it_ends() {
        let mut faults = Faults::new(60 * SECOND);
        for seconds in [1_u32, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(faults.on_fault(), Some(seconds * SECOND));
        }
        assert_eq!(faults.on_fault(), None);
        faults.on_progress();
        assert_eq!(faults.on_fault(), Some(SECOND));
        let mut faults = Faults::new(SECOND / 100);
        faults.on_fault();
        assert_eq!(faults.on_fault(), Some(SECOND / 100));
    }
}
