//! The network's clock.

use std::time::{Duration, Instant, SystemTime};

/// The time of day and the uptime of the gateways.
pub(crate) struct Clock {
    started: Instant,
    fixed: Option<SystemTime>,
}

impl Clock {
    /// Creates a clock, which stands still if there is a fixed time.
    pub(crate) fn new(fixed: Option<SystemTime>) -> Self {
        let started = Instant::now();
        Self { started, fixed }
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.fixed.unwrap_or_else(SystemTime::now)
    }

    /// Returns how long the gateways have been running.
    pub(crate) fn uptime(&self) -> Duration {
        if self.fixed.is_some() {
            return Duration::from_secs(1);
        }
        self.started.elapsed()
    }
}
