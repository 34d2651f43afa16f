//! The sending end of one subscription, with a bounded queue.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError};

use super::{interrupt::Interrupt, reader::Reader};
use crate::{config::Overflow, message::Event};

/// How often a wait for room checks whether it should continue.
const PATIENCE: Duration = Duration::from_millis(20);

/// Returns whether a subscriber wants an event.
type Wants = Box<dyn Fn(&Event) -> bool + Send>;

/// The sending end of one subscription.
pub(crate) struct Subscriber {
    pub(super) wants: Option<Wants>,
    pub(super) sender: Sender<Event>,
    /// The other end of the same queue, from which events are dropped.
    pub(super) queue: Receiver<Event>,
    pub(super) reader: Arc<Reader>,
    pub(super) capacity: usize,
    /// The capacity including the reserve for lifecycle events.
    pub(super) limit: usize,
    pub(super) overflow: Overflow,
    /// Dropped, and the subscriber has not been told.
    pub(super) untold: u64,
    /// Events that took the place of others since the subscriber was last told.
    pub(super) since_told: usize,
}

impl Subscriber {
    /// Delivers only lifecycle events and those that `wants` selects.
    pub(crate) fn only(mut self, wants: impl Fn(&Event) -> bool + Send + 'static) -> Self {
        self.wants = Some(Box::new(wants));
        self
    }

    pub(super) fn deliver(&mut self, event: Event, interrupt: &Interrupt) {
        if event.is_lifecycle() {
            self.tell_drops();
            return self.force(event);
        }
        if self.wants.as_ref().is_some_and(|wants| !wants(&event)) {
            return;
        }
        let full = self.sender.len() >= self.capacity;
        match self.overflow {
            Overflow::Block => self.wait_and_send(event, interrupt),
            Overflow::DropNewest if full => self.count_drop(&event),
            Overflow::DropOldest if full && matches!(event, Event::Lagged(_)) => {
                self.count_drop(&event)
            }
            Overflow::DropOldest if full => {
                while self.sender.len() >= self.capacity && self.evict(false) {}
                if self.is_full() {
                    // All of it is lifecycle events.
                    return self.count_drop(&event);
                }
                self.since_told += 1;
                // Once per queue length, so that `Lagged` does not fill it.
                if self.since_told >= self.capacity {
                    self.tell_drops();
                }
                self.force(event);
            }
            Overflow::DropOldest | Overflow::DropNewest => {
                self.tell_drops();
                self.force(event);
            }
        }
    }

    fn wait_and_send(&mut self, event: Event, interrupt: &Interrupt) {
        if self.untold > 0 {
            let dropped = std::mem::take(&mut self.untold);
            self.wait_and_send(Event::Lagged(dropped), interrupt);
        }
        let mut event = match self.sender.try_send(event) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => return,
            Err(TrySendError::Full(event)) => event,
        };
        while !self.is_gone() {
            if interrupt.is_raised() {
                return self.count_drop(&event);
            }
            // The reader may leave without making room.
            match self.sender.send_timeout(event, PATIENCE) {
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
                Err(SendTimeoutError::Timeout(back)) => event = back,
            }
        }
    }

    /// Queues an event, and drops whatever it takes to make room.
    fn force(&mut self, event: Event) {
        while self.is_full() {
            self.evict(true);
        }
        // There is room: this is the only sender.
        let _ = self.sender.try_send(event);
    }

    fn is_full(&self) -> bool {
        self.sender.len() >= self.limit
    }

    /// Makes room by dropping the oldest message. Lifecycle events keep their place; when one is in
    /// front, several of the messages behind it are dropped at once, because that moves the whole
    /// queue. When there are only lifecycle events, drops the oldest if `lifecycle` allows it.
    /// Returns whether something was dropped.
    fn evict(&mut self, lifecycle: bool) -> bool {
        let Ok(oldest) = self.queue.try_recv() else {
            return false;
        };
        if !oldest.is_lifecycle() {
            self.count_drop(&oldest);
            return true;
        }
        let most = (self.capacity / 16).max(1);
        let mut surplus = most;
        let mut kept = vec![oldest];
        while let Ok(event) = self.queue.try_recv() {
            if surplus > 0 && !event.is_lifecycle() {
                surplus -= 1;
                self.count_drop(&event);
            } else {
                kept.push(event);
            }
        }
        let mut has_dropped = surplus < most;
        if lifecycle && kept.len() == self.limit {
            let oldest = kept.remove(0);
            self.count_drop(&oldest);
            has_dropped = true;
        }
        for event in kept {
            // All of them had room before.
            let _ = self.sender.try_send(event);
        }
        has_dropped
    }

    /// Counts an event that is dropped; a dropped report counts for the drops that it reports.
    fn count_drop(&mut self, event: &Event) {
        match event {
            Event::Lagged(dropped) => self.untold += dropped,
            _ => {
                self.untold += 1;
                self.reader.add_dropped();
            }
        }
    }

    /// Tells the subscriber about its drops, if there are any.
    fn tell_drops(&mut self) {
        if self.untold > 0 {
            let dropped = std::mem::take(&mut self.untold);
            self.since_told = 0;
            self.force(Event::Lagged(dropped));
        }
    }

    /// Tells the subscriber about its drops, if its queue has room for that.
    pub(super) fn tell_drops_if_room(&mut self) {
        if self.sender.len() < self.capacity {
            self.tell_drops();
        }
    }

    pub(super) fn has_untold(&self) -> bool {
        self.untold > 0
    }

    pub(super) fn is_gone(&self) -> bool {
        self.reader.is_gone()
    }

    /// Returns the state of the reading end.
    pub(crate) fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.reader)
    }
}

impl Drop for Subscriber {
    /// Ends the stream with the drops of which the subscriber has not been told. Drops a message for
    /// that where it has to, but no lifecycle event.
    fn drop(&mut self) {
        while self.untold > 0 {
            let last = self.sender.try_send(Event::Lagged(self.untold));
            if !matches!(last, Err(TrySendError::Full(_))) || !self.evict(false) {
                return;
            }
        }
    }
}
