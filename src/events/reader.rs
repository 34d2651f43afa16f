//! The state of the reading end of a subscription.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::message::Losses;

/// What both ends of a subscription and the statistics share.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    dropped: AtomicU64,
    gone: AtomicBool,
    /// Which uplinks were dropped.
    pub(super) losses: Arc<Losses>,
}

impl Reader {
    /// Returns how many events were dropped because the reader did not keep up.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn add_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether the program has dropped its end.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    pub(super) fn leave(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}
