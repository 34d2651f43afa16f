//! Downlinks that are accepted but not written yet.

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

/// A message with downlinks, ready to be written.
pub(crate) struct Publish {
    pub(crate) ids: MessageIds,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// Its downlinks, until the book takes them.
    pub(crate) followed: Vec<Followed>,
    /// Its share of the waiting room, returned when the message is dropped.
    pub(crate) _room: Room,
}

/// Messages to write in this order.
pub(crate) type Batch = Vec<Publish>;

/// Counts the downlinks that wait.
#[derive(Clone, Default)]
pub(crate) struct WaitingRoom {
    taken: Arc<AtomicUsize>,
}

impl WaitingRoom {
    /// Returns how many downlinks wait.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes room for some downlinks, unless more than `limit` would wait then.
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

/// Room for some downlinks, returned on drop.
pub(crate) struct Room {
    taken: Arc<AtomicUsize>,
    downlinks: usize,
}

impl Room {
    /// Splits off room for some of the downlinks.
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

/// What the session has to write: first the messages that it keeps, then new ones.
pub(crate) struct Outbox {
    pub(crate) new: Receiver<Batch>,
    kept: VecDeque<Kept>,
}

/// A message that waits for its turn or for a connection.
struct Kept {
    publish: Publish,
    /// When it expires; `None` while it waits for its turn.
    until: Option<Instant>,
}

impl Outbox {
    /// Returns the outbox, and the sender that puts messages into it.
    pub(crate) fn new() -> (Self, Sender<Batch>) {
        // The waiting room is the bound.
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

    /// Keeps a message, last in line.
    pub(crate) fn keep(&mut self, publish: Publish, until: Option<Instant>) {
        self.kept.push_back(Kept { publish, until });
    }

    /// Returns a message that could not be written to the front of the line.
    pub(crate) fn put_back(&mut self, publish: Publish) {
        self.kept.push_front(Kept {
            publish,
            until: None,
        });
    }

    /// Sets until when all messages that are kept wait for a connection; with `None` they wait for
    /// their turn.
    pub(crate) fn keep_until(&mut self, until: Option<Instant>) {
        self.kept.iter_mut().for_each(|kept| kept.until = until);
    }

    /// Takes the first message in line.
    pub(crate) fn take_kept(&mut self) -> Option<Publish> {
        self.kept.pop_front().map(|kept| kept.publish)
    }

    /// Returns when the next message expires.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.kept.front()?.until
    }

    /// Takes a message that has expired.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<Publish> {
        let expired = self.next_expiry().is_some_and(|until| until <= now);
        if expired { self.take_kept() } else { None }
    }

    /// Takes everything that waits, the oldest first.
    pub(crate) fn take_all(&mut self) -> Batch {
        let kept = self.kept.drain(..).map(|kept| kept.publish);
        kept.chain(self.new.try_iter().flatten()).collect()
    }
}
