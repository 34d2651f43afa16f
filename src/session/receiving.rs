//! Messages on their way in: decoded, counted, and handed to every subscriber.

use std::{
    sync::{Arc, MutexGuard},
    time::SystemTime,
};

use crossbeam_channel::Receiver;

use super::status::Status;
use crate::{
    events::{Subscriber, Subscribers},
    message::{Event, Malformed, RawMessage},
    mqtt::{Attempt, Outlet, Run, Tagged},
    network::Network,
    stats::Devices,
};

pub(super) struct Receiving {
    network: Network,
    outlet: Outlet,
    status: Arc<Status>,
    subscribers: Subscribers,
    /// Events that the callbacks have handled.
    spent: Receiver<Vec<Event>>,
    /// Messages of earlier connections came before the client was closed.
    first_open: Attempt,
}

impl Receiving {
    pub(super) fn new(
        network: Network,
        outlet: Outlet,
        status: Arc<Status>,
        subscribers: Subscribers,
        spent: Receiver<Vec<Event>>,
    ) -> Self {
        Self {
            network,
            outlet,
            status,
            subscribers,
            spent,
            first_open: Attempt(0),
        }
    }

    /// The channel of everything that connections say.
    pub(super) fn signals(&self) -> &Receiver<Tagged> {
        &self.outlet.receiver
    }

    /// Frees events that the callbacks have handled, on the thread that allocated them.
    pub(super) fn free_spent(&self) {
        while self.spent.try_recv().is_ok() {}
    }

    /// Decodes a message, unless it came before the client was closed. Subscribers hear of its frame
    /// counter before they get the event.
    pub(super) fn decode(&mut self, attempt: Attempt, raw: RawMessage) -> Option<Event> {
        if !self.takes(attempt, &raw) {
            return None;
        }
        let event = self.network.decode(raw);
        match &event {
            Event::Uplink(uplink) => {
                let report = self.devices().uplink(uplink, SystemTime::now());
                if let Some(report) = report {
                    self.report(Event::Counter(report));
                }
            }
            Event::Activation(activation) => self.devices().joined(&activation.dev_id),
            _ => {}
        }
        Some(event)
    }

    /// Reports a message whose topic is not text.
    pub(super) fn unreadable(&mut self, attempt: Attempt, raw: RawMessage) {
        if self.takes(attempt, &raw) {
            self.report(Event::Malformed(Arc::new(Malformed::of_topic(raw))));
        }
    }

    fn takes(&self, attempt: Attempt, raw: &RawMessage) -> bool {
        self.outlet.make_room(raw);
        let is_open = attempt >= self.first_open;
        if !is_open {
            self.status.tally().dropped(1);
        }
        is_open
    }

    /// Counts messages that were dropped on their way here, and tells subscribers.
    pub(super) fn dropped(&mut self, messages: u64) {
        self.status.tally().dropped(messages);
        self.devices().dropped();
        self.report(Event::Lagged(messages));
    }

    /// Does the same for a run of drops that no accepted message has ended.
    pub(super) fn dropped_in(&mut self, run: Run) {
        let messages = self.outlet.end_run(run);
        if messages > 0 {
            self.dropped(messages);
        }
    }

    /// Notes that the client was away. Called when an attempt begins, because a server may send
    /// uplinks before it has granted every subscription.
    pub(super) fn was_away(&self) {
        self.devices().was_away();
    }

    /// Discards the messages of this connection and earlier ones that are not read yet: they came
    /// before the client was closed.
    pub(super) fn closed(&mut self, last: Attempt) {
        self.first_open = Attempt(last.0 + 1);
    }

    pub(super) fn subscribe(&mut self, subscriber: Subscriber) {
        self.status.tally().add_subscriber(subscriber.reader());
        self.subscribers.add(subscriber);
    }

    /// Waits for slow subscribers again.
    pub(super) fn resume(&mut self) {
        self.subscribers.resume();
    }

    /// Returns whether a subscriber has drops of which it has not been told.
    pub(super) fn any_untold(&self) -> bool {
        self.subscribers.any_untold()
    }

    /// Tells subscribers that have room again about their drops.
    pub(super) fn tell_drops(&mut self) {
        self.subscribers.tell_drops();
    }

    /// Counts an event and hands it to every subscriber.
    pub(super) fn report(&mut self, event: Event) {
        self.status.tally().count(&event);
        self.subscribers.report(event);
    }

    fn devices(&self) -> MutexGuard<'_, Devices> {
        self.status.tally().devices()
    }
}
