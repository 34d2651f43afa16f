//! The network's side of a feed: a client, its messages, and what becomes of downlinks.

use super::{Mark, NEWS};
use crate::{
    client::MqttClient, config::Overflow, events::Events, feed::ledger::Ledger, message::Event,
};

/// The network's side.
pub(super) struct Source {
    pub(super) client: MqttClient,
    pub(super) messages: Events,
    pub(super) news: Events,
    /// How many of its messages were dropped before the queue, as far as the ledger knows.
    dropped_before: u64,
    /// How many the queue has dropped, as far as the ledger knows.
    dropped: u64,
}

impl Source {
    pub(super) fn new(client: MqttClient, queue: usize) -> Self {
        let messages =
            client.events_only(queue, Overflow::DropNewest, |event| event.raw().is_some());
        let news = client.events_only(NEWS, Overflow::DropOldest, |event| {
            matches!(event, Event::Published(_) | Event::PublishFailed(_))
        });
        Self {
            client,
            messages,
            news,
            dropped_before: 0,
            dropped: 0,
        }
    }

    /// Drops the last handle of the client, which then closes in the background. What it still has counts as dropped.
    pub(super) fn leave(mut self, ledger: &mut Ledger<Mark>) {
        self.account(ledger);
        let left = self.messages.receiver().try_iter();
        ledger.dropped(left.filter(|event| event.raw().is_some()).count() as u64);
    }

    /// Tells the ledger what was dropped since the last time.
    pub(super) fn account(&mut self, ledger: &mut Ledger<Mark>) {
        let dropped = self.client.dropped();
        ledger.dropped(dropped - self.dropped_before);
        self.dropped_before = dropped;
        let dropped = self.messages.dropped();
        let news = dropped - self.dropped;
        self.dropped = dropped;
        if news > 0 {
            ledger.missed(news);
        }
    }
}
