//! Downlinks on their way out: which ones wait, when they are written, and what becomes of them.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::{lifecycle::Outgoing, reasons};
use crate::{
    config::Options,
    downlink::{Batch, Book, Following, Outbox, Pacer, Publish},
    error::Error,
    message::{Event, MessageIds, PublishFailed},
    mqtt::{Outcome, Transport},
};

pub(super) struct Sending {
    outbox: Outbox,
    pacer: Pacer,
    book: Book,
    /// When the pace allows the next message.
    next_write: Option<Instant>,
    /// How many messages can be in flight.
    capacity: usize,
    /// How long downlinks wait for a connection. `None`: they do not wait.
    expire_after: Option<Duration>,
    reports: Vec<Event>,
}

impl Sending {
    /// Returns the sending side, and the channel for accepted downlinks.
    pub(super) fn new(options: &Options) -> (Self, Sender<Batch>) {
        let (outbox, accepted) = Outbox::new();
        let following = Following {
            capacity: options.follow_downlinks.downlinks,
            max_age: options.follow_downlinks.time,
            unconfirmed_after: options.unconfirmed_after,
        };
        let sending = Self {
            outbox,
            pacer: Pacer::new(options.pace),
            book: Book::new(options.network, &options.app_id, following),
            next_write: None,
            capacity: options.send_capacity,
            expire_after: options.offline_queue.map(|queue| queue.expire_after),
            reports: Vec::new(),
        };
        (sending, accepted)
    }

    /// The channel of downlinks that `send` has accepted.
    pub(super) fn accepted(&self) -> &Receiver<Batch> {
        &self.outbox.new
    }

    /// Returns whether another message can be written immediately.
    pub(super) fn has_room(&self, transport: &Transport) -> bool {
        !self.outbox.keeps_any()
            && transport.open_publishes() < self.capacity
            && transport.end().is_none()
    }

    /// Returns whether every accepted message has left.
    pub(super) fn is_drained(&self, transport: &Transport) -> bool {
        transport.open_publishes() == 0 && !self.outbox.keeps_any()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [
            self.outbox.next_expiry(),
            self.next_write,
            self.book.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn handle_deadline(&mut self, now: Instant) {
        self.expire(now);
        self.book.on_time(now);
    }

    /// Takes accepted messages: to be written, to be kept for a connection, or to fail.
    pub(super) fn accept(&mut self, batch: Batch, outgoing: Outgoing, now: Instant) {
        for mut publish in batch {
            self.follow(&mut publish, now);
            match (outgoing, self.expire_after) {
                (Outgoing::Written(_) | Outgoing::Held, _) => self.outbox.keep(publish, None),
                (Outgoing::Kept, Some(expire_after)) => {
                    self.outbox.keep(publish, now.checked_add(expire_after));
                }
                (Outgoing::Kept, None) | (Outgoing::Refused, _) => {
                    self.fail(publish.ids, &reasons::not_connected());
                }
            }
        }
    }

    /// Writes waiting messages, as far as there is room and the pace allows.
    pub(super) fn write(&mut self, transport: Option<&mut Transport>, now: Instant) {
        self.next_write = None;
        let Some(transport) = transport else { return };
        // Until it notices the end, the MQTT client accepts messages for a dead connection.
        while transport.end().is_none() && transport.open_publishes() < self.capacity {
            if !self.outbox.keeps_any() {
                return;
            }
            let delay = self.pacer.delay(now);
            if !delay.is_zero() {
                self.next_write = Some(now + delay);
                return;
            }
            let Some(publish) = self.outbox.take_kept() else {
                return;
            };
            match transport.publish(publish.ids, &publish.topic, &publish.payload) {
                Ok(()) => self.pacer.written(now),
                // The connection has just ended; that will be reported next.
                Err(_) => return self.outbox.put_back(publish),
            }
        }
    }

    /// The client is connected: kept messages no longer expire.
    pub(super) fn connected(&mut self, now: Instant) {
        self.expire(now);
        self.outbox.keep_until(None);
    }

    /// The connection was lost. Waiting messages are kept for the next one if there is an offline
    /// queue; otherwise they fail.
    pub(super) fn disconnected(&mut self, rate_limited: bool, now: Instant) {
        self.book.disconnected(now);
        if rate_limited {
            self.pacer.limited(now);
        }
        match self.expire_after {
            Some(expire_after) => self.outbox.keep_until(now.checked_add(expire_after)),
            None => {
                while let Some(publish) = self.outbox.take_kept() {
                    self.fail(publish.ids, &reasons::connection_ended());
                }
            }
        }
    }

    /// Takes all accepted messages, to be written before the client closes.
    pub(super) fn take_accepted(&mut self, now: Instant) {
        for mut publish in self.outbox.take_all() {
            self.follow(&mut publish, now);
            self.outbox.keep(publish, None);
        }
    }

    /// Fails all accepted messages.
    pub(super) fn discard(&mut self, error: &Error, now: Instant) {
        for mut publish in self.outbox.take_all() {
            self.follow(&mut publish, now);
            self.fail(publish.ids, error);
        }
    }

    /// Records the outcome of a message that was handed to the connection.
    pub(super) fn observe_outcome(&mut self, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Published(ids) => {
                self.book.written(ids, now);
                self.reports.extend(ids.iter().map(Event::Published));
            }
            Outcome::PublishFailed(ids, error) => self.fail(ids, &error),
            _ => {}
        }
    }

    /// Records what the network reports about downlinks.
    pub(super) fn observe(&mut self, event: &Event) {
        match event {
            Event::Downlink(report) => self.book.observe(report),
            Event::QueueInvalidated(invalidated) => {
                let reports = &invalidated.downlinks;
                reports.iter().for_each(|report| self.book.observe(report));
            }
            _ => {}
        }
    }

    /// Returns the events to report to the subscribers.
    pub(super) fn take_reports(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.reports)
    }

    fn expire(&mut self, now: Instant) {
        while let Some(publish) = self.outbox.take_expired(now) {
            self.fail(publish.ids, &reasons::expired());
        }
    }

    /// Enters the downlinks of a message into the book.
    fn follow(&mut self, publish: &mut Publish, now: Instant) {
        let followed = std::mem::take(&mut publish.followed);
        self.book.open(publish.ids, followed, now);
    }

    fn fail(&mut self, ids: MessageIds, error: &Error) {
        self.book.not_written(ids, error);
        self.reports.extend(ids.iter().map(|message_id| {
            Event::PublishFailed(PublishFailed {
                message_id,
                error: error.clone(),
            })
        }));
    }
}
