//! Handled uplinks on their way back to the thread that has allocated them.
//!
//! An uplink has some thirty blocks of memory. Freed by another thread, they go back through a lock of the
//! allocator that both threads need all the time; freed by their own, they are the next ones to be used.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::message::UplinkMessage;

/// The most uplinks that wait to be freed: they are kept while nothing arrives.
const ROOM: usize = 64;

/// The longest message to keep for that, in bytes.
const LONGEST: usize = 4 << 10;

/// The end of the threads that handle events.
#[derive(Clone, Debug)]
pub(crate) struct Spent(Sender<Arc<UplinkMessage>>);

/// The end of the session.
#[derive(Debug)]
pub(crate) struct Returned(Receiver<Arc<UplinkMessage>>);

/// Creates both ends.
pub(crate) fn spent() -> (Spent, Returned) {
    let (sender, receiver) = bounded(ROOM);
    (Spent(sender), Returned(receiver))
}

impl Spent {
    /// Gives an uplink back. Frees it here if it is large, or if many wait.
    pub(crate) fn give(&self, uplink: Arc<UplinkMessage>) {
        if uplink.raw.size() <= LONGEST {
            // The session may have ended.
            let _ = self.0.try_send(uplink);
        }
    }
}

impl Returned {
    /// Frees up to two uplinks. Called before each decode, so the queue gets shorter while uplinks arrive: with one
    /// each time, it would stay as long as it once was.
    pub(crate) fn free_some(&self) {
        self.0.try_iter().take(2).for_each(drop);
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        self.0.try_iter().for_each(drop);
    }
}
