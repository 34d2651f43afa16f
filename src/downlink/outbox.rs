//! Downlinks that are accepted but not written yet.

mod turnstile;

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
use crate::{message::MessageIds, network::Effect};
use turnstile::Turnstile;

/// An MQTT message with downlinks, ready to be written.
pub(crate) struct Message {
    pub(crate) ids: MessageIds,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) dev_id: Arc<str>,
    /// The number of the first of the downlinks that were sent together.
    pub(crate) batch: u64,
    /// Whether another message of the batch follows it.
    pub(crate) has_next: bool,
    pub(crate) effect: Effect,
    /// The correlation id of its last downlink, on networks whose reports repeat it.
    pub(crate) correlation_id: Option<Arc<str>>,
    /// Its downlinks, until the book takes them.
    pub(crate) followed: Vec<Followed>,
    /// Its share of the waiting room. Never read: dropping the message returns it.
    pub(crate) _room: Room,
}

/// Messages to write, in this order.
pub(crate) type Batch = Vec<Message>;

/// The count of the downlinks that wait.
#[derive(Clone, Default)]
pub(crate) struct WaitingRoom {
    taken: Arc<AtomicUsize>,
}

impl WaitingRoom {
    /// Returns how many downlinks wait.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes room for some downlinks, unless more than `limit` would then wait.
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

/// What the session has to write: first the waiting messages, then newly accepted ones.
pub(crate) struct Outbox {
    pub(crate) accepted: Receiver<Batch>,
    waiting: VecDeque<Waiting>,
    turnstile: Turnstile,
}

/// A message that waits for its turn or for a connection.
struct Waiting {
    message: Message,
    /// When it expires; `None` while it waits for its turn.
    expires: Option<Instant>,
}

impl Outbox {
    /// Returns the outbox, and the sender that puts messages into it.
    pub(crate) fn new() -> (Self, Sender<Batch>) {
        // The waiting room is the bound.
        let (sender, accepted) = unbounded();
        let outbox = Self {
            accepted,
            waiting: VecDeque::new(),
            turnstile: Turnstile::default(),
        };
        (outbox, sender)
    }

    /// Returns whether any message waits.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting() > 0
    }

    /// Returns whether any message waits for something other than a report about the one before it.
    pub(crate) fn has_line(&self) -> bool {
        !self.waiting.is_empty() || self.turnstile.lets_any_pass()
    }

    /// Returns how many messages wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len() + self.turnstile.holds()
    }

    /// Adds a message at the end of the line.
    pub(crate) fn push(&mut self, message: Message, expires: Option<Instant>) {
        self.waiting.push_back(Waiting { message, expires });
    }

    /// Puts a message that could not be written back at the front of the line.
    pub(crate) fn put_back(&mut self, message: Message) {
        self.stop_holding();
        self.put_first(message, None);
    }

    /// Puts a message before all others that wait.
    pub(crate) fn put_first(&mut self, message: Message, expires: Option<Instant>) {
        self.waiting.push_front(Waiting { message, expires });
    }

    /// Notes that a message was handed to the connection. If more of its batch follows, that waits for
    /// a report about this one.
    pub(crate) fn handed_over(&mut self, message: &Message, now: Instant) {
        self.turnstile.handed_over(message, now);
    }

    /// Notes that the network has reported on downlinks. Returns whether messages waited for that.
    pub(crate) fn reported(&mut self, ids: &[u64]) -> bool {
        let awaited = ids.iter().filter(|id| self.turnstile.reported(**id));
        awaited.count() > 0
    }

    /// Returns when a message stops waiting for a report about the one before it.
    pub(crate) fn next_turn(&self) -> Option<Instant> {
        self.turnstile.next_deadline()
    }

    /// Stops waiting for reports that are overdue.
    pub(crate) fn on_time(&mut self, now: Instant) {
        self.turnstile.on_time(now);
    }

    /// Stops waiting for reports, because the connection has ended.
    pub(crate) fn stop_holding(&mut self) {
        for message in self.turnstile.take_all().into_iter().rev() {
            self.waiting.push_front(Waiting {
                message,
                expires: None,
            });
        }
    }

    /// Sets when all waiting messages expire; with `None` they do not.
    pub(crate) fn expire_at(&mut self, expires: Option<Instant>) {
        for waiting in &mut self.waiting {
            waiting.expires = expires;
        }
    }

    /// Takes the first message in line whose turn it is.
    pub(crate) fn take_next(&mut self) -> Option<Message> {
        if let Some(message) = self.turnstile.pass() {
            return Some(message);
        }
        while let Some(Waiting { message, .. }) = self.waiting.pop_front() {
            if let Some(message) = self.turnstile.admit(message) {
                return Some(message);
            }
        }
        None
    }

    /// Returns when the next message expires.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.waiting.front()?.expires
    }

    /// Takes a message that has expired.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<Message> {
        let is_expired = self.next_expiry().is_some_and(|expires| expires <= now);
        let expired = is_expired.then(|| self.waiting.pop_front()).flatten();
        expired.map(|waiting| waiting.message)
    }

    /// Takes the newly accepted messages.
    pub(crate) fn take_accepted(&mut self) -> Batch {
        self.accepted.try_iter().flatten().collect()
    }

    /// Takes all messages, the oldest first.
    pub(crate) fn take_all(&mut self) -> Batch {
        self.stop_holding();
        let waiting = self.waiting.drain(..).map(|waiting| waiting.message);
        waiting.chain(self.accepted.try_iter().flatten()).collect()
    }
}
