//! What a subscriber has lost.

use std::sync::atomic::{AtomicU64, Ordering};

/// Events that one subscriber has lost. It lives as long as the subscription.
#[derive(Debug, Default)]
pub(crate) struct Losses(AtomicU64);

impl Losses {
    pub(crate) fn add(&self, events: u64) {
        self.0.fetch_add(events, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
