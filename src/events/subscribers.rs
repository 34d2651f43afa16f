//! All subscribers of a client.

use std::time::Instant;

use crossbeam_channel::Receiver;

use super::{interrupt::Interrupt, subscriber::Subscriber};
use crate::{config::Overflow, message::Event};

/// The most events to hand over together: the first ones wait for the others to be decoded.
const MOST_HELD: usize = 64;

/// Returns whether the event may be handed over later: no method of the client returns because of it.
fn may_wait(event: &Event) -> bool {
    matches!(event, Event::Uplink(_) | Event::Counter(_))
}

/// The subscribers, and what interrupts a wait for a slow one.
pub(crate) struct Subscribers {
    list: Vec<Subscriber>,
    /// Events to hand over together; `None` if each is handed over at once.
    held: Option<Vec<Event>>,
    interrupt: Interrupt,
}

impl Subscribers {
    /// Creates an empty list. A message on `interrupt` ends a wait for room in a subscriber's queue.
    pub(crate) fn new(interrupt: Receiver<()>) -> Self {
        Self {
            list: Vec::new(),
            held: None,
            interrupt: Interrupt::new(interrupt),
        }
    }

    pub(crate) fn add(&mut self, subscriber: Subscriber) {
        self.remove_gone();
        self.list.push(subscriber);
    }

    fn remove_gone(&mut self) {
        self.list.retain(|subscriber| !subscriber.is_gone());
    }

    /// Keeps uplinks until [`release`](Self::release), and what their counters show, so that a subscriber who sleeps is
    /// woken once for many. Keeps none if a subscriber may block: what waits then belongs in the queues, which are
    /// bounded.
    pub(crate) fn hold(&mut self) {
        let may_block = |subscriber: &Subscriber| subscriber.overflow == Overflow::Block;
        if !self.list.iter().any(may_block) {
            self.held.get_or_insert_default();
        }
    }

    /// Hands over what was kept.
    pub(crate) fn release(&mut self) {
        if let Some(held) = self.held.take() {
            held.into_iter().for_each(|event| self.deliver(event));
        }
    }

    /// Hands an event to every subscriber. Waits only for those with [`Overflow::Block`](crate::Overflow::Block).
    pub(crate) fn report(&mut self, event: Event) {
        match &mut self.held {
            Some(held) if held.len() < MOST_HELD && may_wait(&event) => {
                held.push(event);
            }
            Some(_) => {
                self.release();
                self.report(event);
                self.hold();
            }
            None => self.deliver(event),
        }
    }

    fn deliver(&mut self, event: Event) {
        self.remove_gone();
        let Some((last, others)) = self.list.split_last_mut() else {
            return;
        };
        let is_held = event.is_held();
        for subscriber in others {
            subscriber.deliver(event.clone(), &self.interrupt);
        }
        last.deliver(event, &self.interrupt);
        if is_held {
            self.list.iter().for_each(Subscriber::clear_if_gone);
        }
    }

    /// Hands events to every subscriber that belong together.
    pub(crate) fn report_together(&mut self, events: &[Option<Event>]) {
        self.remove_gone();
        for subscriber in &mut self.list {
            subscriber.deliver_together(events, &self.interrupt);
        }
    }

    /// Returns whether nobody has to wait, or loses anything, if another event comes: each queue is at most half
    /// full, so that there is room for what cannot wait. A queue that nobody reads does not count.
    pub(crate) fn have_room(&mut self, now: Instant) -> bool {
        self.remove_gone();
        let mut all = true;
        for subscriber in &mut self.list {
            all &= subscriber.has_room(now);
        }
        all
    }

    /// Returns for whom events wait, and how many.
    pub(crate) fn queued(&self) -> Vec<(String, usize)> {
        let all = self.list.iter().filter(|subscriber| !subscriber.is_gone());
        let queued = all.map(Subscriber::queued);
        queued.filter(|(_, events)| *events > 0).collect()
    }

    /// Returns whether a subscriber has drops that it has not been told about.
    pub(crate) fn any_untold(&self) -> bool {
        self.list.iter().any(Subscriber::has_untold)
    }

    /// Tells subscribers that have room again about their drops.
    pub(crate) fn tell_drops(&mut self) {
        for subscriber in &mut self.list {
            subscriber.tell_drops_if_room();
        }
    }

    /// Waits for slow subscribers again, after an interruption.
    pub(crate) fn resume(&mut self) {
        self.interrupt.lower();
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
