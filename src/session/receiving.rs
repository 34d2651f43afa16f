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
    mqtt::{Attempt, Outlet, Tagged},
    network::Network,
    stats::Devices,
};

pub(super) struct Receiving {
    network: Network,
    outlet: Outlet,
    status: Arc<Status>,
    subscribers: Subscribers,
    /// Events that the callbacks have heard of.
    spent: Receiver<Vec<Event>>,
    /// What earlier connections have brought came before the client was closed.
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

    /// What connections have to say.
    pub(super) fn signals(&self) -> &Receiver<Tagged> {
        &self.outlet.receiver
    }

    /// Frees what the callbacks have heard of, on the thread whose memory it is.
    pub(super) fn free_spent(&self) {
        while self.spent.try_recv().is_ok() {}
    }

    /// The event of a message, unless it came before the client was closed. A subscriber hears of
    /// the frame counter first.
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

    /// A message whose topic is not text.
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

    /// Messages were dropped on their way here.
    pub(super) fn missed(&mut self, messages: u64) {
        self.status.tally().dropped(messages);
        self.devices().dropped();
        self.report(Event::Lagged(messages));
    }

    /// Reports messages that were dropped, when everything that came before them is read.
    pub(super) fn report_missed_when_idle(&mut self) {
        if self.outlet.receiver.is_empty() {
            let missed = self.outlet.take_missed();
            if missed > 0 {
                self.missed(missed);
            }
        }
    }

    /// An attempt begins; a server may send uplinks before it has granted every subscription.
    pub(super) fn was_away(&self) {
        self.devices().was_away();
    }

    /// What this connection and earlier ones have brought and nobody has read yet came before the
    /// client was closed.
    pub(super) fn closed(&mut self, last: Attempt) {
        self.first_open = Attempt(last.0 + 1);
    }

    pub(super) fn subscribe(&mut self, subscriber: Subscriber) {
        self.status.tally().add_subscriber(subscriber.losses());
        self.subscribers.add(subscriber);
    }

    /// Waits for slow subscribers again.
    pub(super) fn resume(&mut self) {
        self.subscribers.resume();
    }

    /// Whether a subscriber has lost events and was not told yet.
    pub(super) fn any_lagged(&self) -> bool {
        self.subscribers.any_missed()
    }

    /// Tells subscribers that have room again what they lost.
    pub(super) fn report_lagged(&mut self) {
        self.subscribers.report_missed();
    }

    /// Counts an event and hands it to every subscriber.
    pub(super) fn report(&mut self, event: Event) {
        self.status.tally().count(&event);
        self.subscribers.publish(event);
    }

    fn devices(&self) -> MutexGuard<'_, Devices> {
        self.status.tally().devices()
    }
}
