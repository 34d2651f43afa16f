//! Handled uplinks on their way back to the thread that reads the next ones into their memory.
//!
//! An uplink has some thirty blocks of memory. Freed by another thread, they go back through a lock of the
//! allocator that both threads need all the time.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::message::{RawMessage, Spare, UplinkMessage};

/// The most uplinks that wait for the session: they are kept while nothing arrives.
const ROOM: usize = 96;

/// The longest message to keep for that, in bytes.
const LONGEST: usize = 4 << 10;

/// The end of the threads that handle events.
#[derive(Clone, Debug)]
pub(crate) struct Spent(Sender<Arc<UplinkMessage>>);

/// The end of the session.
#[derive(Debug)]
pub(crate) struct Returned {
    receiver: Receiver<Arc<UplinkMessage>>,
    /// The last one is used first: its memory is the likeliest to be in the processor's cache.
    stack: Vec<Arc<UplinkMessage>>,
}

/// Creates both ends.
pub(crate) fn spent() -> (Spent, Returned) {
    let (sender, receiver) = bounded(ROOM);
    let returned = Returned {
        receiver,
        stack: Vec::new(),
    };
    (Spent(sender), returned)
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
    pub(crate) fn spare(&mut self, raw: &RawMessage) -> Spare {
        self.stack.extend(self.receiver.try_iter());
        match self.stack.pop() {
            Some(uplink) => Spare::new(uplink, raw),
            None => Spare::default(),
        }
    }

    /// Frees the uplinks that the session has taken in. After a flood they are as many as were on their way at once.
    pub(crate) fn free(&mut self) {
        self.stack.clear();
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        self.receiver.try_iter().for_each(drop);
    }
}
