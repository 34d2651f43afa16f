//! The network's clock.

use std::{
    sync::Mutex,
    time::{Duration, Instant, SystemTime},
};

use crate::simulator::sync::lock;

/// The time of day and the uptime of the gateways.
pub(crate) struct Clock {
    started: Instant,
    fixed: Option<SystemTime>,
    /// How far it was set ahead.
    ahead: Mutex<Duration>,
}

impl Clock {
    /// Creates a clock, which stands still if there is a fixed time.
    pub(crate) fn new(fixed: Option<SystemTime>) -> Self {
        let started = Instant::now();
        Self {
            started,
            fixed,
            ahead: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> SystemTime {
        let now = self.fixed.unwrap_or_else(SystemTime::now);
        now.checked_add(*lock(&self.ahead)).unwrap_or(now)
    }

    /// Returns a time to measure how much passes.
    pub(crate) fn instant(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(*lock(&self.ahead)).unwrap_or(now)
    }

    /// Sets the clock ahead.
    pub(crate) fn advance(&self, by: Duration) {
        let mut ahead = lock(&self.ahead);
        *ahead = ahead.saturating_add(by);
    }

    /// Returns how long the gateways have been running.
    pub(crate) fn uptime(&self) -> Duration {
        if self.fixed.is_some() {
            return Duration::from_secs(1);
        }
        self.started.elapsed()
    }
}
