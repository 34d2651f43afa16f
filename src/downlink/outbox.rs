//! Downlinks that were accepted and are not written yet.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::book::Followed;
use crate::message::MessageIds;

/// A message with downlinks, checked and encoded.
pub(crate) struct Publish {
    pub(crate) ids: MessageIds,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// Its downlinks, until they are in the book.
    pub(crate) followed: Vec<Followed>,
    /// What it takes while it waits.
    pub(crate) _room: Room,
}

/// Messages to write one after the other.
pub(crate) type Batch = Vec<Publish>;

/// How many downlinks wait.
#[derive(Clone, Default)]
pub(crate) struct WaitingRoom {
    taken: Arc<AtomicUsize>,
}

impl WaitingRoom {
    /// How many wait.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Room for so many, if no more than `limit` wait then.
    pub(crate) fn take(&self, downlinks: usize, limit: usize) -> Option<Room> {
        let more = |taken: usize| {
            let taken = taken.checked_add(downlinks)?;
            (taken <= limit).then_some(taken)
        };
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()
            .map(|_| Room {
                taken: Arc::clone(&self.taken),
                downlinks,
            })
    }
}

/// Room for some downlinks, given back when they wait no longer.
pub(crate) struct Room {
    taken: Arc<AtomicUsize>,
    downlinks: usize,
}

impl Room {
    /// Gives a part of it to others.
    pub(crate) fn split(&mut self, downlinks: usize) -> Self {
        self.downlinks -= downlinks;
        Self {
            taken: Arc::clone(&self.taken),
            downlinks,
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.downlinks, Ordering::Relaxed);
    }
}

/// What the session has to write: new messages, and before them those that have to wait.
pub(crate) struct Outbox {
    pub(crate) new: Receiver<Batch>,
    kept: VecDeque<Kept>,
}

/// A message that waits, for its turn or for a connection.
struct Kept {
    publish: Publish,
    /// When it has waited too long for a connection.
    until: Option<Instant>,
}

impl Outbox {
    /// The outbox, and where to put messages.
    pub(crate) fn new() -> (Self, Sender<Batch>) {
        // Bounded by the waiting room.
        let (sender, new) = unbounded();
        let outbox = Self {
            new,
            kept: VecDeque::new(),
        };
        (outbox, sender)
    }

    pub(crate) fn keeps_any(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Keeps a message, behind the others.
    pub(crate) fn keep(&mut self, publish: Publish, until: Option<Instant>) {
        self.kept.push_back(Kept { publish, until });
    }

    /// Puts one back that could not be written.
    pub(crate) fn put_back(&mut self, publish: Publish) {
        self.kept.push_front(Kept {
            publish,
            until: None,
        });
    }

    /// All that are kept wait for a connection until then; or, with `None`, for their turn.
    pub(crate) fn keep_until(&mut self, until: Option<Instant>) {
        self.kept.iter_mut().for_each(|kept| kept.until = until);
    }

    /// The oldest that was kept.
    pub(crate) fn take_kept(&mut self) -> Option<Publish> {
        self.kept.pop_front().map(|kept| kept.publish)
    }

    /// When the next one has waited too long.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.kept.front()?.until
    }

    /// One that was kept and has waited too long now.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<Publish> {
        let expired = self.next_expiry().is_some_and(|until| until <= now);
        if expired { self.take_kept() } else { None }
    }

    /// All that waits, the oldest first.
    pub(crate) fn take_all(&mut self) -> Batch {
        let kept = self.kept.drain(..).map(|kept| kept.publish);
        kept.chain(self.new.try_iter().flatten()).collect()
    }
}
