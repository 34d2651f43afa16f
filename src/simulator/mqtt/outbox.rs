//! Messages waiting for delivery, including downlink events that are held back; its caller reads the
//! clock.

use std::{collections::VecDeque, time::Instant};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

/// Messages on their way to the clients.
#[derive(Default)]
pub(super) struct Outbox {
    ready: VecDeque<Message>,
    /// In the order in which they are due.
    held: VecDeque<Held>,
}

struct Held {
    due: Instant,
    /// The application whose next message overtakes this one.
    app_id: Option<String>,
    message: Message,
}

impl Outbox {
    pub(super) fn push(&mut self, message: Message) {
        self.ready.push_back(message);
    }

    /// Holds a message back until it is due, behind those already held, and returns when that is.
    pub(super) fn hold(&mut self, message: Message, due: Instant) -> Instant {
        self.keep(None, message, due)
    }

    /// Delivers a message before the waiting one of its application. If none waits, the message waits
    /// itself; returns until when.
    pub(super) fn exchange(
        &mut self,
        app_id: &str,
        message: Message,
        due: Instant,
    ) -> Option<Instant> {
        let waits = |held: &Held| held.app_id.as_deref() == Some(app_id);
        let first = self.held.iter().position(waits);
        let Some(first) = first.and_then(|index| self.held.remove(index)) else {
            return Some(self.keep(Some(app_id.to_owned()), message, due));
        };
        self.ready.extend([message, first.message]);
        None
    }

    fn keep(&mut self, app_id: Option<String>, message: Message, due: Instant) -> Instant {
        let due = self.held.back().map_or(due, |last| due.max(last.due));
        self.held.push_back(Held {
            due,
            app_id,
            message,
        });
        due
    }

    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Returns the next message to deliver.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Message> {
        while self.held.front().is_some_and(|held| held.due <= now) {
            let held = self.held.pop_front();
            self.ready.extend(held.map(|held| held.message));
        }
        self.ready.pop_front()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn message(topic: &str) -> Message {
        Message {
            topic: topic.to_owned(),
            payload: Vec::new(),
        }
    }

    fn topics(outbox: &mut Outbox, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| outbox.pop(now))
            .map(|message| message.topic)
            .collect()
    }

    #[test]
    fn held_messages_keep_their_order_and_others_overtake_them() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        assert_eq!(outbox.hold(message("queued"), now + SECOND), now + SECOND);
        // With a shorter delay.
        assert_eq!(outbox.hold(message("sent"), now), now + SECOND);
        outbox.push(message("up"));
        assert_eq!(topics(&mut outbox, now), ["up"]);
        assert!(outbox.is_holding());
        assert_eq!(topics(&mut outbox, now + SECOND), ["queued", "sent"]);
        assert!(!outbox.is_holding());
    }

    #[test]
    fn each_two_of_an_application_are_exchanged() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        let later = Some(now + SECOND);
        let mut exchange = |app_id, topic| outbox.exchange(app_id, message(topic), now + SECOND);
        assert_eq!(exchange("a", "a-queued"), later);
        assert_eq!(exchange("b", "b-queued"), later);
        assert_eq!(exchange("a", "a-sent"), None);
        assert_eq!(exchange("a", "a-ack"), later);
        assert_eq!(topics(&mut outbox, now), ["a-sent", "a-queued"]);
        assert_eq!(topics(&mut outbox, now + SECOND), ["b-queued", "a-ack"]);
    }
}
