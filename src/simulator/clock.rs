//! The network's clock.

use std::time::{Duration, Instant, SystemTime};

/// The time of day, and how long the gateways have been running.
pub(super) struct Clock {
    started: Instant,
    fixed: Option<SystemTime>,
}

impl Clock {
    /// One that stands still at `fixed`, if there is one.
    pub(super) fn new(fixed: Option<SystemTime>) -> Self {
        let started = Instant::now();
        Self { started, fixed }
    }

    pub(super) fn now(&self) -> SystemTime {
        self.fixed.unwrap_or_else(SystemTime::now)
    }

    /// Of the gateways.
    pub(super) fn uptime(&self) -> Duration {
        if self.fixed.is_some() {
            return Duration::from_secs(1);
        }
        self.started.elapsed()
    }
}
