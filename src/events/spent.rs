//! Handled uplinks on their way back to the thread that reads the next ones into their memory.
//!
//! An uplink has some thirty blocks of memory. Freed by another thread, they go back through a lock of the
//! allocator that both threads need all the time.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::message::{RawMessage, Spare, UplinkMessage};

/// The most uplinks that wait: they are kept while nothing arrives.
const ROOM: usize = 96;

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
    /// Returns the memory of an uplink for the one in `raw`.
    pub(crate) fn spare(&self, raw: &RawMessage) -> Spare {
        match self.0.try_recv() {
            Ok(uplink) => Spare::new(uplink, raw),
            Err(_) => Spare::default(),
        }
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        self.0.try_iter().for_each(drop);
    }
}
