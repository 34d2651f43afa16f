//! The sending end of one subscription, with a bounded queue.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError};

use super::{interrupt::Interrupt, reader::Reader};
use crate::{
    config::Overflow,
    message::{Event, Lost},
    sync,
};

/// How often a wait for room checks whether to continue.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// A queue that is not read for so long holds nobody up.
const UNREAD: Duration = Duration::from_secs(10);

/// A closure that returns whether a subscriber wants an event.
type Wants = Box<dyn Fn(&Event) -> bool + Send>;

/// The sending end of one subscription.
pub(crate) struct Subscriber {
    /// What the user calls it.
    pub(super) name: Cow<'static, str>,
    pub(super) wants: Option<Wants>,
    pub(super) sender: Sender<Event>,
    /// The other end of the same queue, for dropping events from it.
    pub(super) queue: Receiver<Event>,
    pub(super) reader: Arc<Reader>,
    pub(super) capacity: usize,
    /// The capacity including the reserve for lifecycle events.
    pub(super) limit: usize,
    pub(super) overflow: Overflow,
    /// The number of drops that the subscriber has not been told about.
    pub(super) untold: u64,
    /// Since when its queue has been more than half full without becoming shorter, and how long it was then.
    pub(super) full: Option<(Instant, usize)>,
    /// The number of events that took the place of others since the subscriber was last told.
    pub(super) since_told: usize,
}

impl Subscriber {
    /// Delivers only lifecycle events and those that `wants` selects.
    pub(crate) fn only(mut self, wants: impl Fn(&Event) -> bool + Send + 'static) -> Self {
        self.wants = Some(Box::new(wants));
        self
    }

    /// Gives it another name than that of a subscription to events.
    pub(crate) fn named(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Returns its name, and how many events wait for it.
    pub(super) fn queued(&self) -> (String, usize) {
        (self.name.to_string(), self.sender.len())
    }

    /// Queues an event if the subscriber wants it, and handles a full queue.
    pub(super) fn deliver(&mut self, event: Event, interrupt: &Interrupt) {
        if event.is_lifecycle() {
            self.tell_drops();
            return self.force(event);
        }
        if self.wants.as_ref().is_some_and(|wants| !wants(&event)) {
            return;
        }
        let event = self.addressed(event);
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
                    // It holds only lifecycle events.
                    return self.count_drop(&event);
                }
                self.since_told += 1;
                // Once per queue length, so that `Lagged` does not fill the queue.
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

    /// Queues several events as one: if the queue has room for an event, it takes all of them.
    pub(super) fn deliver_together(&mut self, events: &[Option<Event>], interrupt: &Interrupt) {
        let has_room = self.sender.len() < self.capacity;
        if self.overflow == Overflow::Block || !has_room {
            for event in events.iter().flatten() {
                self.deliver(event.clone(), interrupt);
            }
            return;
        }
        self.tell_drops();
        for event in events.iter().flatten() {
            if self.wants.as_ref().is_none_or(|wants| wants(event)) {
                let event = self.addressed(event.clone());
                self.force(event);
            }
        }
    }

    /// Notes in an uplink that it goes to this subscriber, if its watermarks count or it is to be acknowledged.
    fn addressed(&self, mut event: Event) -> Event {
        if let Event::Uplink(uplink) | Event::UplinkNormalized(uplink) = &mut event {
            if uplink.place.is_known() || uplink.hold.is_held() {
                let uplink = Arc::make_mut(uplink);
                uplink.place.goes_to(&self.reader.losses);
                uplink.hold.separate();
            }
        }
        event
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
            match self.sender.send_timeout(event, CHECK_INTERVAL) {
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
                Err(SendTimeoutError::Timeout(back)) => event = back,
            }
        }
    }

    /// Queues an event, and drops others as necessary to make room.
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

    /// Drops the oldest message to make room. Lifecycle events keep their place; if the oldest event is
    /// one, several of the messages behind it are dropped at once, because this moves the whole queue.
    /// If all events are lifecycle events, drops the oldest, but only if `lifecycle` is set. Returns
    /// whether an event was dropped.
    fn evict(&mut self, lifecycle: bool) -> bool {
        let reader = Arc::clone(&self.reader);
        let mut losses = sync::lock(&reader.losses.0);
        let Ok(oldest) = self.queue.try_recv() else {
            return false;
        };
        if !oldest.is_lifecycle() {
            self.count_in(&oldest, &mut losses);
            return true;
        }
        let batch = (self.capacity / 16).max(1);
        let mut surplus = batch;
        let mut kept = vec![oldest];
        while let Ok(event) = self.queue.try_recv() {
            if surplus > 0 && !event.is_lifecycle() {
                surplus -= 1;
                self.count_in(&event, &mut losses);
            } else {
                kept.push(event);
            }
        }
        let mut has_dropped = surplus < batch;
        if lifecycle && kept.len() == self.limit {
            let oldest = kept.remove(0);
            self.count_in(&oldest, &mut losses);
            has_dropped = true;
        }
        for event in kept {
            // All of them had room before.
            let _ = self.sender.try_send(event);
        }
        has_dropped
    }

    /// Counts a dropped event. A dropped `Lagged` counts for the drops that it reports.
    fn count_drop(&mut self, event: &Event) {
        let reader = Arc::clone(&self.reader);
        self.count_in(event, &mut sync::lock(&reader.losses.0));
    }

    /// Does the same while the losses are locked.
    fn count_in(&mut self, event: &Event, losses: &mut Lost) {
        match event {
            Event::Lagged(dropped) => self.untold += dropped,
            _ => {
                self.untold += 1;
                self.reader.add_dropped();
            }
        }
        if let Event::Uplink(uplink) = event {
            uplink.place.is_lost(losses);
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

    /// Returns whether its queue is at most half full, or is not read, and loses what comes anyway.
    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        let waiting = self.sender.len();
        if waiting < self.capacity.div_ceil(2) {
            self.full = None;
            return true;
        }
        if self.overflow == Overflow::Block {
            return false;
        }
        match self.full {
            Some((since, length)) if waiting >= length => {
                now.saturating_duration_since(since) >= UNREAD
            }
            _ => {
                self.full = Some((now, waiting));
                false
            }
        }
    }

    /// Returns whether there are drops that the subscriber has not been told about.
    pub(super) fn has_untold(&self) -> bool {
        self.untold > 0
    }

    /// Drops what was queued while the reader left.
    pub(super) fn clear_if_gone(&self) {
        fence(Ordering::SeqCst);
        if self.is_gone() {
            self.queue.try_iter().for_each(drop);
        }
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
    /// Ends the stream with the drops that the subscriber has not been told about. Drops a message to
    /// make room for that, but never a lifecycle event.
    fn drop(&mut self) {
        while self.untold > 0 {
            let last = self.sender.try_send(Event::Lagged(self.untold));
            if !matches!(last, Err(TrySendError::Full(_))) || !self.evict(false) {
                return;
            }
        }
    }
}
