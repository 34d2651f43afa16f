//! Lets the messages of a batch pass one at a time: a V2 network handles each message on its own, so it
//! may queue two that arrive together in any order. Reads no clock; the caller passes the time.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Batch, Message};

/// How long a message waits for a report about the one before it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The devices whose messages wait. Messages to other devices pass by.
#[derive(Default)]
pub(super) struct Turnstile {
    lanes: HashMap<Arc<str>, Lane>,
    /// Device and batch of each downlink whose report is awaited.
    awaited: HashMap<u64, (Arc<str>, u64)>,
    /// When that waiting ends, earliest first. The first one is still awaited.
    deadlines: VecDeque<(Instant, u64)>,
    /// The devices whose first waiting message may pass.
    free: VecDeque<Arc<str>>,
}

/// The messages to one device, in order.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Message>,
    is_held: bool,
    /// The batch that no longer waits, because the network did not report in time.
    unanswered: Option<u64>,
}

impl Turnstile {
    /// Returns how many messages wait here.
    pub(super) fn holds(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting.len()).sum()
    }

    /// Returns whether a message that waited may pass.
    pub(super) fn lets_any_pass(&self) -> bool {
        !self.free.is_empty()
    }

    /// Returns the message if it may pass; otherwise it waits here.
    pub(super) fn admit(&mut self, message: Message) -> Option<Message> {
        match self.lanes.get_mut(&message.dev_id) {
            Some(lane) if lane.is_held || !lane.waiting.is_empty() => {
                lane.waiting.push_back(message);
                None
            }
            _ => Some(message),
        }
    }

    /// Takes a message that waited and may pass.
    pub(super) fn pass(&mut self) -> Option<Message> {
        let dev_id = self.free.front()?;
        let lane = self.lanes.get_mut(dev_id)?;
        let message = lane.waiting.pop_front();
        if lane.waiting.is_empty() {
            self.free.pop_front();
        }
        message
    }

    /// Notes that a message was handed to the connection. If more of its batch follows, that waits for
    /// a report about this one.
    pub(super) fn handed_over(&mut self, message: &Message, now: Instant) {
        let Message { dev_id, batch, .. } = message;
        let lane = self.lanes.entry(Arc::clone(dev_id)).or_default();
        let awaits = message.has_next && lane.unanswered != Some(*batch);
        match message.ids.iter().next() {
            Some(id) if awaits => {
                lane.is_held = true;
                self.free.retain(|free| free != dev_id);
                let awaited = (Arc::clone(dev_id), *batch);
                self.awaited.insert(id.get(), awaited);
                self.deadlines.push_back((now + PATIENCE, id.get()));
            }
            _ if message.has_next => {}
            _ => {
                lane.unanswered = None;
                if lane.waiting.is_empty() {
                    self.lanes.remove(dev_id);
                }
            }
        }
    }

    /// Notes a report about a downlink. Returns whether it was awaited.
    pub(super) fn reported(&mut self, id: u64) -> bool {
        let Some((dev_id, _)) = self.awaited.remove(&id) else {
            return false;
        };
        self.drop_past_deadlines();
        self.release(dev_id, None);
        true
    }

    /// Returns when [`on_time`](Self::on_time) is next due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    /// Stops waiting for reports that are overdue.
    pub(super) fn on_time(&mut self, now: Instant) {
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            let overdue = self.deadlines.pop_front();
            let awaited = overdue.and_then(|(_, id)| self.awaited.remove(&id));
            if let Some((dev_id, batch)) = awaited {
                log::warn!(
                    "no report about a downlink to {dev_id} within {PATIENCE:?}; the rest of its batch is written at once, and the network may queue it in any order"
                );
                self.release(dev_id, Some(batch));
            }
        }
        self.drop_past_deadlines();
    }

    /// Takes all messages that wait here, those to one device in order.
    pub(super) fn take_all(&mut self) -> Batch {
        let lanes = std::mem::take(self).lanes;
        let mut lanes: Vec<_> = lanes.into_values().map(|lane| lane.waiting).collect();
        lanes.sort_by_key(|waiting| waiting.front().map(|message| message.batch));
        lanes.into_iter().flatten().collect()
    }

    /// Lets the messages to a device pass. If the network did not report on a batch in time, the rest of
    /// it does not wait.
    fn release(&mut self, dev_id: Arc<str>, unanswered: Option<u64>) {
        let Some(lane) = self.lanes.get_mut(&dev_id) else {
            return;
        };
        lane.is_held = false;
        lane.unanswered = unanswered;
        if !lane.waiting.is_empty() {
            self.free.push_back(dev_id);
        } else if unanswered.is_none() {
            self.lanes.remove(&dev_id);
        }
    }

    fn drop_past_deadlines(&mut self) {
        let is_past = |(_, id): &(Instant, u64)| !self.awaited.contains_key(id);
        while self.deadlines.front().is_some_and(is_past) {
            self.deadlines.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        downlink::{Outbox, WaitingRoom},
        message::MessageIds,
        network::Effect,
    };

    /// An outbox that is emptied as far as the turnstile allows.
    struct Line {
        outbox: Outbox,
        room: WaitingRoom,
        now: Instant,
    }

    impl Line {
        fn new() -> Self {
            let (outbox, _) = Outbox::new();
            Self {
                outbox,
                room: WaitingRoom::default(),
                now: Instant::now(),
            }
        }

        /// Adds a batch of `count` messages, numbered from `first`.
        fn push(&mut self, dev_id: &str, first: u64, count: u64) {
            for id in first..first + count {
                let message = Message {
                    correlation_id: None,
                    ids: MessageIds::new(id, 1),
                    topic: String::new(),
                    payload: Vec::new(),
                    dev_id: dev_id.into(),
                    batch: first,
                    has_next: id + 1 < first + count,
                    effect: Effect::Adds,
                    followed: Vec::new(),
                    _room: self.room.take(1, 10_000).unwrap(),
                };
                self.outbox.push(message, None);
            }
        }

        /// Returns the numbers of the messages that are written now.
        fn written(&mut self) -> Vec<u64> {
            let mut written = Vec::new();
            while let Some(message) = self.outbox.take_next() {
                self.outbox.handed_over(&message, self.now);
                written.extend(message.ids.iter().map(|id| id.get()));
            }
            assert!(!self.outbox.has_line());
            written
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.outbox.on_time(self.now);
        }
    }

    #[test]
    fn the_messages_of_a_batch_wait_for_each_other_and_other_devices_pass_by() {
        let mut line = Line::new();
        line.push("valve-3", 1, 3);
        line.push("valve-4", 10, 1);
        line.push("valve-3", 20, 1);
        assert_eq!(line.written(), [1, 10]);
        assert!(line.outbox.has_waiting());
        line.push("valve-4", 30, 2);
        assert_eq!(line.written(), [30]);
        assert!(!line.outbox.reported(&[10, 99]));
        assert!(line.outbox.reported(&[1, 30]));
        assert_eq!(line.written(), [2, 31]);
        assert!(line.outbox.reported(&[2]));
        // Nothing waits for the last one of a batch.
        assert_eq!(line.written(), [3, 20]);
        assert!(!line.outbox.reported(&[3]) && !line.outbox.has_waiting());
        assert_eq!(line.outbox.next_turn(), None);
        assert!(line.outbox.turnstile.lanes.is_empty());
        assert_eq!(line.room.taken(), 0);
    }

    #[test]
    fn without_a_report_the_rest_of_a_batch_does_not_wait() {
        let mut line = Line::new();
        line.push("valve-3", 1, 4);
        line.push("valve-3", 5, 2);
        assert_eq!(line.written(), [1]);
        assert_eq!(line.outbox.next_turn(), Some(line.now + PATIENCE));
        line.pass(PATIENCE / 2);
        assert!(line.written().is_empty());
        line.pass(PATIENCE / 2);
        // The next batch waits again.
        assert_eq!(line.written(), [2, 3, 4, 5]);
        line.pass(PATIENCE);
        assert_eq!(line.written(), [6]);
        assert!(line.outbox.turnstile.lanes.is_empty());
    }

    #[test]
    fn at_the_end_of_a_connection_all_wait_in_order_for_the_next_one() {
        let mut line = Line::new();
        line.push("valve-3", 1, 3);
        line.push("valve-4", 10, 3);
        line.push("valve-5", 20, 1);
        assert_eq!(line.written(), [1, 10, 20]);
        line.push("valve-6", 30, 1);
        line.outbox.stop_holding();
        assert_eq!(line.outbox.next_turn(), None);
        let numbers = |batch: Batch| -> Vec<u64> {
            let ids = batch.iter().flat_map(|message| message.ids.iter());
            ids.map(|id| id.get()).collect()
        };
        assert_eq!(numbers(line.outbox.take_all()), [2, 3, 11, 12, 30]);
    }

    #[test]
    fn a_message_that_could_not_be_written_goes_first() {
        let mut line = Line::new();
        line.push("valve-3", 1, 3);
        assert_eq!(line.written(), [1]);
        line.outbox.reported(&[1]);
        let second = line.outbox.take_next().unwrap();
        line.outbox.put_back(second);
        assert_eq!(line.written(), [2]);
        line.outbox.reported(&[2]);
        assert_eq!(line.written(), [3]);
    }
}
