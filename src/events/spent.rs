//! Handled uplinks on their way back to the thread that has allocated them.
//!
//! An uplink has some twenty blocks of memory. Freed by another thread, they go back through a lock of the
//! allocator that both threads need all the time; freed by their own, they are the next ones to be used.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::message::UplinkMessage;

/// The most uplinks on their way back: as many as a thread may handle in one go after it has waited for a processor.
const ROOM: usize = 512;

/// The most that wait for a session that sleeps: they are kept until it has something to do.
const ROOM_ASLEEP: usize = 64;

/// The longest message to give back, in bytes.
const LONGEST: usize = 4 << 10;

/// The end of the threads that handle events.
#[derive(Clone, Debug)]
pub(crate) struct Spent {
    uplinks: Sender<Arc<UplinkMessage>>,
    is_awake: Arc<AtomicBool>,
}

/// The end of the session.
#[derive(Debug)]
pub(crate) struct Returned {
    uplinks: Receiver<Arc<UplinkMessage>>,
    is_awake: Arc<AtomicBool>,
}

/// Creates both ends.
pub(crate) fn spent() -> (Spent, Returned) {
    let (sender, receiver) = bounded(ROOM);
    let is_awake = Arc::new(AtomicBool::new(false));
    let spent = Spent {
        uplinks: sender,
        is_awake: Arc::clone(&is_awake),
    };
    let returned = Returned {
        uplinks: receiver,
        is_awake,
    };
    (spent, returned)
}

impl Spent {
    /// Gives an uplink back. Frees it here if it is large, or if many wait.
    pub(crate) fn give(&self, uplink: Arc<UplinkMessage>) {
        let room = match self.is_awake.load(Ordering::Relaxed) {
            true => ROOM,
            false => ROOM_ASLEEP,
        };
        if self.uplinks.len() < room && uplink.raw.size() <= LONGEST {
            // The session may have ended.
            let _ = self.uplinks.try_send(uplink);
        }
    }
}

impl Returned {
    /// Frees two uplinks, if so many wait: one makes room for the next, the other lets a surplus shrink.
    pub(crate) fn free_some(&self) {
        if !self.is_awake.load(Ordering::Relaxed) {
            self.is_awake.store(true, Ordering::Relaxed);
        }
        self.uplinks.try_iter().take(2).for_each(drop);
    }

    /// Frees all: the session is going to sleep.
    pub(crate) fn rest(&self) {
        self.is_awake.store(false, Ordering::Relaxed);
        self.uplinks.try_iter().for_each(drop);
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        self.uplinks.try_iter().for_each(drop);
    }
}
