//! The session of an accepted client: its subscriptions and what is sent to it.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use super::{
    Account, ClientInfo,
    bucket::Bucket,
    line::Line,
    packet::{Connect, Will},
    topic,
};
use crate::simulator::{
    quirks::WhenFull,
    sync::{deadline, lock, wait, wait_until},
};

/// How long a publisher waits for room in a full session.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the last packets may take to be written.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// An accepted client.
pub(super) struct Session {
    /// Number of the connection.
    pub(super) connection: u64,
    line: Arc<Line>,
    pub(super) account: Account,
    pub(super) connect: Connect,
    pub(super) will: Mutex<Option<Will>>,
    pub(super) subscriptions: Mutex<Vec<String>>,
    /// Shared with the other clients of the same key.
    pub(super) bucket: Arc<Mutex<Bucket>>,
    outgoing: Mutex<Outgoing>,
    changed: Condvar,
}

#[derive(Default)]
struct Outgoing {
    packets: VecDeque<Arc<[u8]>>,
    /// How many of the packets are messages.
    messages: usize,
    /// Answers to send after the next message.
    held: Vec<Vec<u8>>,
    /// Whether a publisher ran into the timeout: the next one does not wait.
    stalled: bool,
    /// Whether the session closes once its packets are written.
    ending: bool,
    closed: bool,
    /// Whether the network has closed it.
    cut: bool,
}

impl Session {
    pub(super) fn new(
        connection: u64,
        line: Arc<Line>,
        account: Account,
        mut connect: Connect,
        bucket: Arc<Mutex<Bucket>>,
    ) -> Self {
        let will = connect.will.clone();
        connect.password = None;
        Self {
            connection,
            line,
            account,
            connect,
            will: Mutex::new(will),
            subscriptions: Mutex::default(),
            bucket,
            outgoing: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub(super) fn info(&self) -> ClientInfo {
        ClientInfo {
            client_id: self.connect.client_id.clone(),
            username: self.connect.username.clone().unwrap_or_default(),
            keep_alive: Duration::from_secs(u64::from(self.connect.keep_alive)),
            clean_session: self.connect.clean_session,
            will: self.connect.will.is_some(),
            level: self.connect.level,
            subscriptions: lock(&self.subscriptions).clone(),
        }
    }

    /// Returns whether the client subscribed to the topic and may read it.
    pub(super) fn wants(&self, topic: &str) -> bool {
        topic::any_matches(&lock(&self.subscriptions), topic) && self.account.may_read(topic)
    }

    /// Queues an answer; answers are never dropped.
    pub(super) fn push(&self, packet: Vec<u8>) {
        lock(&self.outgoing).packets.push_back(packet.into());
        self.changed.notify_all();
    }

    /// Keeps an answer until after the next message.
    pub(super) fn hold(&self, packet: Vec<u8>) {
        lock(&self.outgoing).held.push(packet);
    }

    /// Queues a message and returns whether there was room for it.
    pub(super) fn offer(&self, packet: &Arc<[u8]>, limit: usize, when_full: WhenFull) -> bool {
        let deadline = Instant::now() + ROOM_TIMEOUT;
        let mut outgoing = lock(&self.outgoing);
        while outgoing.messages >= limit {
            if outgoing.closed {
                return true;
            }
            if when_full == WhenFull::Drop || outgoing.stalled {
                return false;
            }
            if Instant::now() >= deadline {
                outgoing.stalled = true;
                return false;
            }
            outgoing = wait_until(&self.changed, outgoing, deadline);
        }
        outgoing.packets.push_back(Arc::clone(packet));
        outgoing.messages += 1;
        let held = std::mem::take(&mut outgoing.held);
        outgoing.packets.extend(held.into_iter().map(Arc::from));
        self.changed.notify_all();
        true
    }

    /// Writes queued packets until the session is closed.
    pub(super) fn write(&self) {
        loop {
            let mut outgoing = lock(&self.outgoing);
            while outgoing.packets.is_empty() && !outgoing.closed && !outgoing.ending {
                outgoing = wait(&self.changed, outgoing);
            }
            if outgoing.closed || outgoing.packets.is_empty() {
                outgoing.closed = true;
                self.changed.notify_all();
                return;
            }
            let packets: Vec<Arc<[u8]>> = outgoing.packets.drain(..).collect();
            outgoing.messages = 0;
            outgoing.stalled = false;
            drop(outgoing);
            self.changed.notify_all();
            if self.line.write_all(&packets.concat()).is_err() {
                self.close();
                return;
            }
        }
    }

    /// Closes the session once its packets are written, at the latest after [`END_TIMEOUT`].
    pub(super) fn end(&self) {
        lock(&self.outgoing).ending = true;
        self.changed.notify_all();
        if !self.is_closed_before(deadline(END_TIMEOUT)) {
            self.close();
        }
    }

    pub(super) fn close(&self) {
        lock(&self.outgoing).closed = true;
        self.changed.notify_all();
        self.line.cut();
    }

    /// Closes the session, though the client has done nothing wrong.
    pub(super) fn cut(&self) {
        lock(&self.outgoing).cut = true;
        self.close();
    }

    pub(super) fn is_cut(&self) -> bool {
        lock(&self.outgoing).cut
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.outgoing).closed
    }

    /// Waits until that instant; returns true as soon as the session is closed.
    pub(super) fn is_closed_before(&self, instant: Instant) -> bool {
        let mut outgoing = lock(&self.outgoing);
        while !outgoing.closed && Instant::now() < instant {
            outgoing = wait_until(&self.changed, outgoing, instant);
        }
        outgoing.closed
    }
}
