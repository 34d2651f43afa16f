//! The queue from connections to the session. When it is full, it drops messages but accepts all other
//! signals.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::{
    message::{MessageIds, RawMessage, Receipt},
    wire,
};

/// What a connection tells the session.
#[derive(Debug)]
pub(crate) enum Signal {
    /// A message, with a receipt if it is to be acknowledged.
    Message(RawMessage, Option<Receipt>),
    /// A message whose topic is not text.
    Unreadable(RawMessage, Option<Receipt>),
    /// The queue was full and began to drop messages at this place. [`Outlet::end_run`] returns how
    /// many, or 0 if a message was accepted after them: then [`Dropped`](Self::Dropped) has the number.
    Dropping(Run),
    /// The queue dropped this many messages at this place, and accepted the message that follows.
    Dropped(u64),
    /// The server has accepted the client, which may connect to this doorway.
    Ready(wire::Doorway),
    /// The server has processed this many of the messages that were published on this connection.
    Processed(u64),
    /// The connection to the server has ended, or could not be made.
    Ended(wire::End),
    /// The MQTT client has noticed that its connection has ended.
    Lost,
    /// An operation of the MQTT client is done; [`Transport::advance`](super::Transport::advance)
    /// returns its outcome.
    Done(Operation),
}

/// The number of a run of consecutive drops, with no accepted message between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run(u32);

/// An operation of the MQTT client that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Connect,
    Subscribe,
    Publish(MessageIds),
    /// A message with QoS 1, by its number.
    Acknowledge(u64),
    Unsubscribe,
}

/// The number of an attempt to connect and of the resulting connection. Starts at 1 and is never
/// reused, so it tells the signals of one connection from those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attempt(pub(crate) u64);

/// A message before it is copied to the queue.
pub(super) struct Message<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) is_retained: bool,
    /// What acknowledges it, if it is to be acknowledged. It is never dropped then: the wire limits how many there
    /// are.
    pub(super) receipt: Option<Receipt>,
}

/// A signal and the connection that it comes from.
pub(crate) type Tagged = (Attempt, Signal);

/// The end to which connections write.
#[derive(Clone)]
pub(crate) struct Inlet {
    /// Unbounded, because the session would stall if another signal were dropped. `Room` limits
    /// messages; the number of operations in progress limits the others.
    sender: Sender<Tagged>,
    room: Arc<Room>,
}

/// The end from which the session reads.
pub(crate) struct Outlet {
    pub(crate) receiver: Receiver<Tagged>,
    room: Arc<Room>,
}

/// The limits of the queue, and what it holds.
struct Room {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// The number of the current run of drops in the upper half, its drops in the lower half. They
    /// change together, so that drops are never reported for the wrong run.
    drops: AtomicU64,
    max_messages: usize,
    max_bytes: usize,
}

/// Creates a queue for this many messages and bytes.
pub(crate) fn inlet(max_messages: usize, max_bytes: usize) -> (Inlet, Outlet) {
    let (sender, receiver) = unbounded();
    let room = Arc::new(Room {
        messages: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        drops: AtomicU64::new(0),
        max_messages,
        max_bytes,
    });
    let outlet = Outlet {
        receiver,
        room: Arc::clone(&room),
    };
    (Inlet { sender, room }, outlet)
}

impl Inlet {
    /// Queues a message, or drops it if the queue is full. Never waits, because this runs on the
    /// threads of connections.
    pub(super) fn message(
        &self,
        attempt: Attempt,
        message: Message<'_>,
        signal: fn(RawMessage, Option<Receipt>) -> Signal,
    ) {
        let Message {
            topic,
            payload,
            is_retained,
            receipt,
        } = message;
        let size = topic.len() + payload.len();
        let room = &self.room;
        let is_full = room.messages.load(Ordering::Relaxed) >= room.max_messages
            || room.bytes.load(Ordering::Relaxed) + size > room.max_bytes;
        if is_full && receipt.is_none() {
            if let (run, 0) = split(room.drops.fetch_add(1, Ordering::Relaxed)) {
                self.signal(attempt, Signal::Dropping(run));
            }
            return;
        }
        let dropped = room.end_run(None);
        if dropped > 0 {
            self.signal(attempt, Signal::Dropped(dropped));
        }
        room.messages.fetch_add(1, Ordering::Relaxed);
        room.bytes.fetch_add(size, Ordering::Relaxed);
        let message = RawMessage::new(topic, payload).retained(is_retained);
        self.signal(attempt, signal(message, receipt));
    }

    /// Queues what the wire reports.
    pub(crate) fn forward(&self, attempt: Attempt, report: wire::Report) {
        match report {
            wire::Report::Ready(doorway) => self.signal(attempt, Signal::Ready(doorway)),
            wire::Report::Processed(packets) => self.signal(attempt, Signal::Processed(packets)),
            wire::Report::Ended(end) => self.signal(attempt, Signal::Ended(end)),
            wire::Report::Unreadable(wire::Unreadable {
                topic,
                payload,
                is_retained,
                receipt,
            }) => {
                let message = Message {
                    topic: &String::from_utf8_lossy(&topic),
                    payload: &payload,
                    is_retained,
                    receipt,
                };
                self.message(attempt, message, Signal::Unreadable);
            }
        }
    }

    pub(super) fn signal(&self, attempt: Attempt, signal: Signal) {
        // Fails only when the session has ended.
        let _ = self.sender.send((attempt, signal));
    }
}

impl Outlet {
    /// Makes room for other messages. Must be called for each message that was read.
    pub(crate) fn make_room(&self, message: &RawMessage) {
        let size = message.topic().len() + message.payload().len();
        self.room.messages.fetch_sub(1, Ordering::Relaxed);
        self.room.bytes.fetch_sub(size, Ordering::Relaxed);
    }

    /// Ends a run of drops and returns how many there were; 0 if it had already ended.
    pub(crate) fn end_run(&self, run: Run) -> u64 {
        self.room.end_run(Some(run))
    }
}

impl Room {
    /// Ends the current run of drops and returns how many there were; 0 without a run, or if it is not
    /// the `expected` one.
    fn end_run(&self, expected: Option<Run>) -> u64 {
        let next = |drops| {
            let (run, dropped) = split(drops);
            let is_expected = expected.is_none_or(|expected| expected == run);
            (dropped > 0 && is_expected).then(|| u64::from(run.0.wrapping_add(1)) << 32)
        };
        let ended = self
            .drops
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        ended.map_or(0, |drops| split(drops).1.into())
    }
}

/// Splits [`Room::drops`] into the run and its drops.
fn split(drops: u64) -> (Run, u32) {
    (Run((drops >> 32) as u32), drops as u32)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::message::Acknowledger;

    const ATTEMPT: Attempt = Attempt(1);

    fn send(inlet: &Inlet, number: usize) {
        let message = Message {
            topic: &number.to_string(),
            payload: &[],
            is_retained: false,
            receipt: None,
        };
        inlet.message(ATTEMPT, message, Signal::Message);
    }

    /// Reads as the session does: message topics as they are, drops as `-n`, and an empty text for a
    /// run that had already ended.
    fn read(outlet: &Outlet) -> Option<String> {
        let (_, signal) = outlet.receiver.try_recv().ok()?;
        Some(match signal {
            Signal::Message(raw, _) => {
                outlet.make_room(&raw);
                raw.topic().to_owned()
            }
            Signal::Dropping(run) => match outlet.end_run(run) {
                0 => String::new(),
                dropped => format!("-{dropped}"),
            },
            Signal::Dropped(dropped) => format!("-{dropped}"),
            signal => panic!("{signal:?}"),
        })
    }

    fn read_all(outlet: &Outlet) -> Vec<String> {
        let read = std::iter::from_fn(|| read(outlet));
        read.filter(|entry| !entry.is_empty()).collect()
    }

    #[test]
    fn drops_are_told_when_nothing_else_arrives() {
        let (inlet, outlet) = inlet(2, 1_000);
        (1..=5).for_each(|number| send(&inlet, number));
        assert_eq!(read_all(&outlet), ["1", "2", "-3"]);
        assert_eq!(read_all(&outlet).len(), 0);
        (6..=9).for_each(|number| send(&inlet, number));
        assert_eq!(read_all(&outlet), ["6", "7", "-2"]);
    }

    #[test]
    fn drops_are_told_where_they_happened() {
        let (inlet, outlet) = inlet(2, 1_000);
        (1..=4).for_each(|number| send(&inlet, number));
        assert_eq!(read(&outlet).as_deref(), Some("1"));
        (5..=8).for_each(|number| send(&inlet, number));
        assert_eq!(read_all(&outlet), ["2", "-2", "5", "-3"]);
        send(&inlet, 9);
        assert_eq!(read_all(&outlet), ["9"]);
    }

    #[test]
    fn messages_are_dropped_for_want_of_bytes_as_well() {
        let (inlet, outlet) = inlet(100, 3);
        (8..=11).for_each(|number| send(&inlet, number));
        assert_eq!(read_all(&outlet), ["8", "9", "-2"]);
    }

    #[test]
    fn a_message_that_is_to_be_acknowledged_is_never_dropped() {
        #[derive(Debug)]
        struct Nobody;

        impl Acknowledger for Nobody {
            fn queued(&self, _: u64) {}

            fn ended(&self, _: u64, _: bool) {}

            fn failed(&self, _: u64) -> bool {
                false
            }
        }

        let (inlet, outlet) = inlet(1, 1_000);
        for number in 1..=3 {
            let message = Message {
                topic: &number.to_string(),
                payload: &[],
                is_retained: false,
                receipt: Some(Receipt::new(Arc::new(Nobody), number, false)),
            };
            inlet.message(ATTEMPT, message, Signal::Message);
        }
        send(&inlet, 4);
        assert_eq!(read_all(&outlet), ["1", "2", "3", "-1"]);
    }

    #[test]
    fn each_message_is_read_or_told_as_dropped_in_its_place_under_load() {
        const MESSAGES: usize = 100_000;
        let (inlet, outlet) = inlet(3, 1_000);
        let sender = thread::spawn(move || (1..=MESSAGES).for_each(|number| send(&inlet, number)));
        let mut next = 1;
        while next <= MESSAGES {
            let Some(entry) = read(&outlet).filter(|entry| !entry.is_empty()) else {
                thread::yield_now();
                continue;
            };
            match entry.strip_prefix('-') {
                Some(dropped) => next += dropped.parse::<usize>().unwrap(),
                None => {
                    assert_eq!(entry, next.to_string());
                    next += 1;
                }
            }
        }
        assert_eq!(next, MESSAGES + 1);
        sender.join().unwrap();
        assert_eq!(read_all(&outlet).len(), 0);
    }
}
