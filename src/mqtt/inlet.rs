//! Where connections put what they have to say: messages as long as there is room, other signals
//! always.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::{
    message::{MessageIds, RawMessage},
    wire,
};

/// What a connection reports.
#[derive(Debug)]
pub(crate) enum Signal {
    Message(RawMessage),
    /// A message whose topic is not text.
    Unreadable(RawMessage),
    /// So many messages were dropped here, for want of room.
    Missed(u64),
    /// The first of them was dropped.
    Full,
    /// The server has accepted the client, which may come in there.
    Ready(wire::Doorway),
    /// The connection to the server has ended, or there is none.
    Ended(wire::End),
    /// The MQTT client has noticed that its connection has ended.
    Lost,
    /// An operation of the MQTT client is done; [`Transport::advance`](super::Transport::advance)
    /// says how.
    Done(Operation),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Connect,
    Subscribe(usize),
    Publish(MessageIds),
    Unsubscribe,
}

/// The number of an attempt to connect, and of the connection that comes of it. Counted from 1 and
/// never used twice, it tells the signals of one connection from those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attempt(pub(crate) u64);

/// A signal, and which connection it is from.
pub(crate) type Tagged = (Attempt, Signal);

/// The end that connections write to.
#[derive(Clone)]
pub(crate) struct Inlet {
    /// Unbounded, since a lost lifecycle signal would stall the session; messages are bounded by
    /// `Room`, the others by the number of operations under way.
    sender: Sender<Tagged>,
    room: Arc<Room>,
}

/// The end that the session reads.
pub(crate) struct Outlet {
    pub(crate) receiver: Receiver<Tagged>,
    room: Arc<Room>,
}

struct Room {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    missed: AtomicU64,
    max_messages: usize,
    max_bytes: usize,
}

pub(crate) fn inlet(max_messages: usize, max_bytes: usize) -> (Inlet, Outlet) {
    let (sender, receiver) = unbounded();
    let room = Arc::new(Room {
        messages: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        missed: AtomicU64::new(0),
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
    /// Never waits: this runs on the threads of connections.
    pub(super) fn message(
        &self,
        attempt: Attempt,
        topic: &str,
        payload: &[u8],
        signal: fn(RawMessage) -> Signal,
    ) {
        let size = topic.len() + payload.len();
        let room = &self.room;
        if room.messages.load(Ordering::Relaxed) >= room.max_messages
            || room.bytes.load(Ordering::Relaxed) + size > room.max_bytes
        {
            // A session with nothing else to read would not look.
            if room.missed.fetch_add(1, Ordering::Relaxed) == 0 {
                self.signal(attempt, Signal::Full);
            }
            return;
        }
        let missed = room.take_missed();
        if missed > 0 {
            self.signal(attempt, Signal::Missed(missed));
        }
        room.messages.fetch_add(1, Ordering::Relaxed);
        room.bytes.fetch_add(size, Ordering::Relaxed);
        let message = RawMessage::new(topic, payload);
        self.signal(attempt, signal(message));
    }

    /// What a connection says of itself.
    pub(crate) fn report(&self, attempt: Attempt, report: wire::Report) {
        match report {
            wire::Report::Ready(doorway) => self.signal(attempt, Signal::Ready(doorway)),
            wire::Report::Ended(end) => self.signal(attempt, Signal::Ended(end)),
            wire::Report::Unreadable(wire::Unreadable { topic, payload }) => {
                let topic = String::from_utf8_lossy(&topic);
                self.message(attempt, &topic, &payload, Signal::Unreadable);
            }
        }
    }

    pub(super) fn signal(&self, attempt: Attempt, signal: Signal) {
        // Without a session there is nobody left to tell.
        let _ = self.sender.send((attempt, signal));
    }
}

impl Outlet {
    /// Has to be called for each message that was taken out.
    pub(crate) fn make_room(&self, message: &RawMessage) {
        let size = message.topic().len() + message.payload().len();
        self.room.messages.fetch_sub(1, Ordering::Relaxed);
        self.room.bytes.fetch_sub(size, Ordering::Relaxed);
    }

    /// How many messages were dropped since they were last reported.
    pub(crate) fn take_missed(&self) -> u64 {
        self.room.take_missed()
    }
}

impl Room {
    fn take_missed(&self) -> u64 {
        if self.missed.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.missed.swap(0, Ordering::Relaxed)
    }
}
