//! The queue from connections to the session. When it is full, it drops messages but accepts all other
//! signals.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    vec,
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::{
    message::{MessageIds, RawMessage, Receipt},
    wire,
};

/// What a connection tells the session.
#[derive(Debug)]
pub(crate) enum Signal {
    /// Messages that have come together.
    Messages(Messages),
    /// A message that came alone, with a quality of service that nobody asked for.
    Message(RawMessage),
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

/// Messages in the order of their arrival, each with a receipt if it is to be acknowledged.
#[derive(Debug)]
pub(crate) struct Messages {
    /// The rest of a bundle.
    bundle: Box<[u8]>,
    /// Where the next one begins.
    next: usize,
    /// Those of the messages at QoS 1.
    receipts: vec::IntoIter<Option<Receipt>>,
}

impl Iterator for Messages {
    type Item = (RawMessage, Option<Receipt>);

    fn next(&mut self) -> Option<Self::Item> {
        let message = wire::first_of(&self.bundle[self.next..])?;
        self.next += message.packet;
        let raw = RawMessage::new(message.topic, message.payload).retained(message.is_retained);
        let receipt = match message.is_at_least_once {
            true => self.receipts.next().flatten(),
            false => None,
        };
        Some((raw, receipt))
    }
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
    /// Queues the messages of a [bundle](wire::first_of), and drops those for which there is no room. Never waits,
    /// because this runs on the threads of connections. `see` returns the receipt of the next message at
    /// QoS 1; one with a receipt is never dropped: the wire limits how many there are.
    pub(super) fn messages(
        &self,
        attempt: Attempt,
        bundle: &[u8],
        see: impl Fn() -> Option<Receipt>,
    ) {
        let mut accepted = 0..0;
        let mut receipts = Vec::new();
        while let Some(message) = wire::first_of(&bundle[accepted.end..]) {
            let end = accepted.end + message.packet;
            let receipt = message.is_at_least_once.then(&see);
            let must_stay = receipt.as_ref().is_some_and(Option::is_some);
            let size = message.topic.len() + message.payload.len();
            if !must_stay && !self.room.has(size) {
                self.accept(attempt, &bundle[accepted], &mut receipts);
                accepted = end..end;
                self.drop_one(attempt);
                continue;
            }
            self.end_drops(attempt);
            self.room.take(size);
            accepted.end = end;
            receipts.extend(receipt);
        }
        self.accept(attempt, &bundle[accepted], &mut receipts);
    }

    fn accept(&self, attempt: Attempt, bundle: &[u8], receipts: &mut Vec<Option<Receipt>>) {
        if !bundle.is_empty() {
            let messages = Messages {
                bundle: bundle.into(),
                next: 0,
                receipts: std::mem::take(receipts).into_iter(),
            };
            self.signal(attempt, Signal::Messages(messages));
        }
    }

    /// Queues a message that is in no bundle, or drops it.
    pub(super) fn message(&self, attempt: Attempt, message: RawMessage) {
        self.alone(attempt, message.size(), false, Signal::Message(message));
    }

    /// Queues a signal with one message, or drops it, unless it must stay.
    fn alone(&self, attempt: Attempt, size: usize, must_stay: bool, signal: Signal) {
        if !must_stay && !self.room.has(size) {
            return self.drop_one(attempt);
        }
        self.end_drops(attempt);
        self.room.take(size);
        self.signal(attempt, signal);
    }

    /// Counts a dropped message.
    fn drop_one(&self, attempt: Attempt) {
        if let (run, 0) = split(self.room.drops.fetch_add(1, Ordering::Relaxed)) {
            self.signal(attempt, Signal::Dropping(run));
        }
    }

    /// Tells how many messages were dropped before one that is accepted.
    fn end_drops(&self, attempt: Attempt) {
        let dropped = self.room.end_run(None);
        if dropped > 0 {
            self.signal(attempt, Signal::Dropped(dropped));
        }
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
                let topic = String::from_utf8_lossy(&topic);
                let message = RawMessage::new(&topic, &payload).retained(is_retained);
                let (size, must_stay) = (message.size(), receipt.is_some());
                let signal = Signal::Unreadable(message, receipt);
                self.alone(attempt, size, must_stay, signal);
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
        let size = message.size();
        self.room.messages.fetch_sub(1, Ordering::Relaxed);
        self.room.bytes.fetch_sub(size, Ordering::Relaxed);
    }

    /// Ends a run of drops and returns how many there were; 0 if it had already ended.
    pub(crate) fn end_run(&self, run: Run) -> u64 {
        self.room.end_run(Some(run))
    }
}

impl Room {
    /// Returns whether a message of this size can be accepted.
    fn has(&self, size: usize) -> bool {
        self.messages.load(Ordering::Relaxed) < self.max_messages
            && self.bytes.load(Ordering::Relaxed) + size <= self.max_bytes
    }

    fn take(&self, size: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size, Ordering::Relaxed);
    }

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
    use std::{cell::Cell, ops::RangeInclusive, thread};

    use super::*;
    use crate::message::Acknowledger;

    const ATTEMPT: Attempt = Attempt(1);

    /// The last message that nobody works on any more.
    #[derive(Debug, Default)]
    struct Places(AtomicU64);

    impl Acknowledger for Places {
        fn queued(&self, _: u64) {}

        fn ended(&self, place: u64, _: bool) {
            self.0.store(place, Ordering::Relaxed);
        }

        fn failed(&self, _: u64) -> bool {
            false
        }
    }

    fn packet(first: u8, number: usize) -> Vec<u8> {
        let topic = number.to_string();
        let id: &[u8] = if first == 0x32 { &[0, 7] } else { &[] };
        let mut packet = vec![
            first,
            (2 + topic.len() + id.len()) as u8,
            0,
            topic.len() as u8,
        ];
        packet.extend(topic.bytes());
        packet.extend(id);
        packet
    }

    fn send(inlet: &Inlet, number: usize) {
        send_all(inlet, number..=number);
    }

    /// Sends a bundle.
    fn send_all(inlet: &Inlet, numbers: RangeInclusive<usize>) {
        let bundle: Vec<u8> = numbers.flat_map(|number| packet(0x30, number)).collect();
        inlet.messages(ATTEMPT, &bundle, || None);
    }

    /// Reads a signal as the session does: message topics as they are, drops as `-n`, and nothing for a run that
    /// had already ended.
    fn read(outlet: &Outlet) -> Option<Vec<String>> {
        let (_, signal) = outlet.receiver.try_recv().ok()?;
        Some(match signal {
            Signal::Messages(messages) => messages
                .map(|(raw, _)| {
                    outlet.make_room(&raw);
                    raw.topic().to_owned()
                })
                .collect(),
            Signal::Dropping(run) => match outlet.end_run(run) {
                0 => Vec::new(),
                dropped => vec![format!("-{dropped}")],
            },
            Signal::Dropped(dropped) => vec![format!("-{dropped}")],
            signal => panic!("{signal:?}"),
        })
    }

    fn read_all(outlet: &Outlet) -> Vec<String> {
        std::iter::from_fn(|| read(outlet)).flatten().collect()
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
        assert_eq!(read(&outlet).unwrap(), ["1"]);
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
        let (inlet, outlet) = inlet(1, 1_000);
        let bundle = [(0x32, 1), (0x30, 2), (0x32, 3), (0x32, 4), (0x30, 5)];
        let bundle = bundle.map(|(first, number)| packet(first, number)).concat();
        let seen = Cell::new(0);
        inlet.messages(ATTEMPT, &bundle, || {
            seen.set(seen.get() + 1);
            // The third belongs to an earlier connection.
            (seen.get() < 3).then(|| Receipt::new(Arc::new(Places::default()), seen.get(), false))
        });
        assert_eq!(read_all(&outlet), ["1", "-1", "3", "-2"]);
        send(&inlet, 6);
        assert_eq!(read_all(&outlet), ["6"]);
    }

    #[test]
    fn each_message_of_a_bundle_has_its_own_receipt() {
        let (inlet, outlet) = inlet(10, 1_000);
        let returned = Arc::new(Places::default());
        let bundle = [(0x30, 1), (0x32, 2), (0x30, 3), (0x32, 4)];
        let bundle = bundle.map(|(first, number)| packet(first, number)).concat();
        let place = Cell::new(0);
        inlet.messages(ATTEMPT, &bundle, || {
            place.set(place.get() + 1);
            let place = place.get();
            Some(Receipt::new(Arc::clone(&returned) as _, place, false))
        });
        let (_, signal) = outlet.receiver.try_recv().unwrap();
        let Signal::Messages(messages) = signal else {
            panic!("{signal:?}")
        };
        let mut handled = Vec::new();
        for (raw, receipt) in messages {
            drop(receipt);
            handled.push((raw.topic().to_owned(), returned.0.load(Ordering::Relaxed)));
        }
        let expected = [("1", 0), ("2", 1), ("3", 1), ("4", 2)];
        assert_eq!(
            handled,
            expected.map(|(topic, places)| (topic.to_owned(), places))
        );
    }

    #[test]
    fn what_a_bundle_loses_is_told_where_it_happened() {
        let (inlet, outlet) = inlet(3, 1_000);
        send_all(&inlet, 1..=2);
        send_all(&inlet, 3..=6);
        assert_eq!(read(&outlet).unwrap(), ["1", "2"]);
        send_all(&inlet, 7..=9);
        assert_eq!(read_all(&outlet), ["3", "-3", "7", "8", "-1"]);
    }

    #[test]
    fn each_message_is_read_or_told_as_dropped_in_its_place_under_load() {
        const MESSAGES: usize = 100_000;
        let (inlet, outlet) = inlet(3, 1_000);
        let sender = thread::spawn(move || {
            let mut next = 1;
            while next <= MESSAGES {
                let last = MESSAGES.min(next + next % 5);
                send_all(&inlet, next..=last);
                next = last + 1;
            }
        });
        let mut next = 1;
        while next <= MESSAGES {
            let Some(entries) = read(&outlet) else {
                thread::yield_now();
                continue;
            };
            for entry in entries {
                match entry.strip_prefix('-') {
                    Some(dropped) => next += dropped.parse::<usize>().unwrap(),
                    None => {
                        assert_eq!(entry, next.to_string());
                        next += 1;
                    }
                }
            }
        }
        assert_eq!(next, MESSAGES + 1);
        sender.join().unwrap();
        assert_eq!(read_all(&outlet).len(), 0);
    }
}
