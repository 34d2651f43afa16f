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
    /// Creates that of a subscriber who shares the uplinks with others.
    pub(super) fn sharing(losses: &Arc<Losses>) -> Self {
        Self {
            losses: Arc::clone(losses),
            ..Self::default()
        }
    }

    /// Returns how many events were dropped because the reader did not keep up.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn add_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether the program has dropped its end.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Notes that nobody reads any more.
    pub(crate) fn leave(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }
}
