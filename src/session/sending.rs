//! The sending side: which downlinks wait, when they are written, and what becomes of them.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::{
    Job,
    courier::{Courier, Told, Word},
    lifecycle::Outgoing,
    reasons,
};
use crate::{
    api::Hosts,
    config::{AccessKey, Options},
    downlink::{
        Answer, Batch, Book, Followed, Following, Lookup, Message, OpenDownlinks, Outbox, Pacer,
    },
    error::Error,
    message::{Event, MessageIds, PublishFailed},
    mqtt::{Outcome, Transport},
    network::Effect,
};

pub(super) struct Sending {
    outbox: Outbox,
    /// Takes downlinks to the network instead of the connection.
    courier: Option<Courier>,
    pacer: Pacer,
    book: Book,
    /// When the pace allows the next message.
    next_write: Option<Instant>,
    /// How many messages can be in flight.
    capacity: usize,
    /// The quality of service of downlinks. With 1, a broker of one's own keeps them for a feed that is away.
    qos: u8,
    /// How long downlinks wait for a connection; `None` if they do not wait.
    expire_after: Option<Duration>,
    reports: Vec<Event>,
}

impl Sending {
    /// Returns the sending side, and the channel for accepted downlinks.
    pub(super) fn new(
        options: &Options,
        open: Option<OpenDownlinks>,
        job_done: Sender<Job>,
    ) -> (Self, Sender<Batch>) {
        let (outbox, accepted) = Outbox::new();
        let following = Following {
            capacity: options.follow_downlinks.downlinks,
            max_age: options.follow_downlinks.time,
            unconfirmed_after: options.unconfirmed_after,
            looks_up: options.http.asks && Hosts::of(options).is_some(),
            is_behind_broker: options.broker.is_some(),
        };
        let sending = Self {
            outbox,
            courier: Courier::new(options, job_done),
            pacer: Pacer::new(options.pace),
            book: Book::new(options.network, &options.app_id, following).counting(open),
            next_write: None,
            capacity: options.send_capacity,
            qos: u8::from(options.broker.is_some()),
            expire_after: options.offline_queue.map(|queue| queue.expire_after),
            reports: Vec::new(),
        };
        (sending, accepted)
    }

    /// Returns the channel of downlinks that `send` has accepted.
    pub(super) fn accepted(&self) -> &Receiver<Batch> {
        &self.outbox.accepted
    }

    /// Returns whether another message can be written immediately.
    pub(super) fn has_room(&self, transport: &Transport) -> bool {
        !self.outbox.has_line() && self.can_write(transport)
    }

    /// Returns whether one message can leave now.
    fn can_write(&self, transport: &Transport) -> bool {
        // Until it notices the end, the MQTT client accepts messages for a dead connection.
        transport.end().is_none()
            && match &self.courier {
                Some(courier) => courier.is_free(),
                None => transport.in_flight() < self.capacity,
            }
    }

    /// Returns whether every accepted message has left.
    pub(super) fn is_drained(&self) -> bool {
        let is_delivered = self.courier.as_ref().is_none_or(Courier::is_idle);
        is_delivered && !self.outbox.has_waiting()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [
            self.outbox.next_expiry(),
            self.outbox.next_turn(),
            self.next_write,
            self.courier.as_ref().and_then(Courier::next_deadline),
            self.book.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn handle_deadline(&mut self, now: Instant) {
        self.expire(now);
        self.outbox.on_time(now);
        if let Some(courier) = &mut self.courier {
            courier.on_time(now);
        }
        self.book.on_time(now);
    }

    /// Takes accepted messages: they wait for their turn or for a connection, or they fail.
    pub(super) fn accept(&mut self, batch: Batch, outgoing: Outgoing, now: Instant) {
        for mut message in batch {
            self.follow(&mut message, now);
            match (outgoing, self.expire_after) {
                (Outgoing::Written(_) | Outgoing::Held, _) => self.outbox.push(message, None),
                (Outgoing::Kept, Some(expire_after)) => {
                    self.outbox.push(message, now.checked_add(expire_after));
                }
                (Outgoing::Kept, None) | (Outgoing::Refused, _) => {
                    self.fail(message.ids, &reasons::not_connected());
                }
            }
        }
    }

    /// Writes waiting messages, as far as there is room and the pace allows.
    pub(super) fn write(&mut self, transport: Option<&mut Transport>, now: Instant) {
        self.next_write = None;
        let Some(transport) = transport else { return };
        while self.can_write(transport) {
            if !self.outbox.has_line() {
                return;
            }
            let delay = self.pacer.delay(now);
            if !delay.is_zero() {
                self.next_write = Some(now + delay);
                return;
            }
            let Some(message) = self.outbox.take_next() else {
                return;
            };
            if let Some(courier) = &mut self.courier {
                self.pacer.written(now);
                self.book.asked(message.ids, now);
                courier.take(message);
                continue;
            }
            let correlation_id = message.correlation_id.clone();
            match transport.publish(
                message.ids,
                correlation_id,
                &message.topic,
                &message.payload,
                self.qos,
            ) {
                Ok(()) => {
                    self.pacer.written(now);
                    self.outbox.handed_over(&message, now);
                    self.book.handed_over(message.ids, now);
                }
                // The connection has just ended; its signal follows.
                Err(_) => return self.outbox.put_back(message),
            }
        }
    }

    /// Handles what the network has told the courier. A message that is to be tried again waits for the
    /// next connection if there is none.
    pub(super) fn told(&mut self, told: Told, outgoing: Outgoing, now: Instant) {
        let Some(courier) = &mut self.courier else {
            return;
        };
        match courier.told(told, now) {
            Some(Word::Taken { ids, effect }) => {
                self.observe_outcome(Outcome::Published(ids), now);
                self.taken(ids, effect, now);
            }
            Some(Word::TakenLate { ids, effect }) => self.taken(ids, effect, now),
            Some(Word::Refused(ids, error)) => self.fail(ids, &error),
            Some(Word::Unknown(ids)) => {
                self.book.not_told(ids);
                self.observe_outcome(Outcome::Published(ids), now);
            }
            None if matches!(outgoing, Outgoing::Kept | Outgoing::Refused) => {
                if let Some(message) = courier.take_back() {
                    self.keep(message, now);
                }
            }
            None => {}
        }
    }

    /// Notes that the network has taken a message over HTTP.
    fn taken(&mut self, ids: MessageIds, effect: Effect, now: Instant) {
        self.book.processed(&[ids], now);
        if effect != Effect::Clears {
            self.book.queued(ids, now);
        }
    }

    /// Lets a message wait for the next connection before all others, or fails it.
    fn keep(&mut self, message: Message, now: Instant) {
        match self.expire_after {
            Some(expire_after) => {
                self.outbox
                    .put_first(message, now.checked_add(expire_after));
            }
            None => self.fail(message.ids, &Error::not_written(None)),
        }
    }

    /// Returns how many messages the network may be taking over HTTP.
    pub(super) fn asked(&self) -> usize {
        let courier = self.courier.as_ref();
        usize::from(courier.is_some_and(Courier::is_asking))
    }

    /// Stops waiting for the network's answer to a message. Returns the message that it may be taking.
    pub(super) fn leave_courier(&mut self, now: Instant) -> Option<MessageIds> {
        let courier = self.courier.as_mut()?;
        if let Some(message) = courier.take_back() {
            self.outbox.put_back(message);
        }
        let ids = courier.leave()?;
        self.book.not_told(ids);
        self.observe_outcome(Outcome::Published(ids), now);
        Some(ids)
    }

    /// Notes that the client is connected: waiting messages no longer expire.
    pub(super) fn connected(&mut self, now: Instant) {
        self.expire(now);
        self.outbox.expire_at(None);
        self.book.connected(now);
    }

    /// Follows a downlink that was sent before.
    pub(super) fn resume(&mut self, number: u64, followed: Followed, now: Instant) {
        self.book.resume(number, followed, now);
    }

    /// Returns the next question about the queue of a device, if it is time for one.
    pub(super) fn next_lookup(&mut self, now: Instant) -> Option<Lookup> {
        self.book.next_lookup(now)
    }

    /// Notes what the network has answered about the queue of a device.
    pub(super) fn answered(&mut self, dev_id: &str, answer: &Answer, now: Instant) {
        self.book.answered(dev_id, answer, now);
    }

    /// Notes that the connection was lost, and that the server may not have processed these messages.
    /// Returns the number of their downlinks without a report. With an offline queue, waiting messages
    /// wait for the next connection; otherwise they fail.
    pub(super) fn disconnected(
        &mut self,
        unfinished: &[MessageIds],
        rate_limited: bool,
        now: Instant,
    ) -> u64 {
        if let Some(message) = self.courier.as_mut().and_then(Courier::take_back) {
            self.outbox.put_back(message);
        }
        let uncertain = self.book.disconnected(unfinished, rate_limited, now);
        self.outbox.stop_holding();
        if rate_limited {
            self.pacer.limited(now);
        }
        match self.expire_after {
            Some(expire_after) => self.outbox.expire_at(now.checked_add(expire_after)),
            None => {
                while let Some(message) = self.outbox.take_next() {
                    self.fail(message.ids, &Error::not_written(None));
                }
            }
        }
        uncertain
    }

    /// Notes that the server has processed these messages.
    pub(super) fn processed(&mut self, messages: &[MessageIds], now: Instant) {
        self.book.processed(messages, now);
    }

    /// Notes that the client left the connection, and that the server may not have processed these
    /// messages. Returns the number of their downlinks without a report.
    pub(super) fn left(&mut self, unfinished: &[MessageIds], error: &Error, now: Instant) -> u64 {
        self.book.left(unfinished, error, now)
    }

    /// Returns how many messages wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.outbox.waiting()
    }

    /// Returns whether the first report about a downlink is missing and can arrive.
    pub(super) fn awaits_report(&self) -> bool {
        self.book.awaits_report()
    }

    /// Notes that the last loss of the connection was not due to the rate limit.
    pub(super) fn restore_pace(&mut self) {
        self.pacer.restored();
    }

    /// Takes all accepted messages, to be written before the client closes.
    pub(super) fn take_accepted(&mut self, now: Instant) {
        self.outbox.expire_at(None);
        for mut message in self.outbox.take_accepted() {
            self.follow(&mut message, now);
            self.outbox.push(message, None);
        }
    }

    /// Fails all accepted messages. Returns the number of their downlinks.
    pub(super) fn discard(&mut self, error: &Error, now: Instant) -> u64 {
        let mut downlinks = 0;
        for mut message in self.outbox.take_all() {
            downlinks += message.ids.len();
            self.follow(&mut message, now);
            self.fail(message.ids, error);
        }
        downlinks
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

    /// Records what the network reports about downlinks. Returns whether a message waited for that. A
    /// retained message does not count.
    pub(super) fn observe(&mut self, event: &Event, now: Instant) -> bool {
        if event.is_retained() {
            return false;
        }
        let reported = self.book.observe(event, now);
        self.outbox.reported(&reported)
    }

    /// Notes that the client uses another access key.
    pub(super) fn key_changed(&mut self, key: &AccessKey) {
        if let Some(courier) = &mut self.courier {
            courier.key_changed(key);
        }
        self.book.key_changed();
    }

    /// Returns the events to report to the subscribers.
    pub(super) fn take_reports(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.reports)
    }

    fn expire(&mut self, now: Instant) {
        while let Some(message) = self.outbox.take_expired(now) {
            self.fail(message.ids, &Error::expired());
        }
    }

    /// Enters the downlinks of a message into the book.
    fn follow(&mut self, message: &mut Message, now: Instant) {
        self.book.open(message, now);
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
