//! One client's connection: what comes in, what goes out, and what it subscribed to.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use super::packet::{Connect, Packet, Packets, Will};
use super::quirks::WhenFull;
use super::{lock, topic, wait, wait_until};

/// How long a publisher waits for room in a full session.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest single read; some systems take no long time-outs.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// What a connected client may do, as filters.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) app_id: String,
    pub(super) read: Vec<String>,
    pub(super) write: Vec<String>,
}

/// A client that is connected now, with what its CONNECT said.
///
/// ```
/// use std::time::Duration;
/// use ttn::Network;
/// use ttn::simulator::Simulator;
///
/// let network = Simulator::start(Network::V3)?;
/// for client in network.clients() {
///     println!("{} pings every {:?}", client.client_id, client.keep_alive);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// Client id; may be empty.
    pub client_id: String,
    /// User name: the application id, on hosted v3 networks with the tenant.
    pub username: String,
    /// Keep-alive interval; 0 means none.
    pub keep_alive: Duration,
    /// Clean-session flag. The networks ignore it.
    pub clean_session: bool,
    /// Whether the client left a will.
    pub will: bool,
    /// Protocol level: 3 for MQTT 3.1, 4 for MQTT 3.1.1.
    pub level: u8,
    /// Granted filters as they are in force, a wildcard in place of the application id already
    /// replaced; in the order they were asked for.
    pub subscriptions: Vec<String>,
}

/// The receiving half of a connection.
pub(super) struct Input {
    pub(super) stream: Arc<TcpStream>,
    packets: Packets,
    chunk: Vec<u8>,
}

impl Input {
    pub(super) fn new(stream: &Arc<TcpStream>) -> Self {
        Self {
            stream: Arc::clone(stream),
            packets: Packets::default(),
            chunk: vec![0; 16 * 1024],
        }
    }

    /// The next packet, `None` when the connection has to end.
    pub(super) fn next(&mut self, deadline: Instant) -> Option<Packet> {
        loop {
            match self.packets.next() {
                Ok(Some(packet)) => return Some(packet),
                Ok(None) => {}
                Err(malformed) => {
                    log::debug!("closing a connection: {}", malformed.0);
                    return None;
                }
            }
            let length = self.read(deadline)?;
            self.packets.push(&self.chunk[..length]);
        }
    }

    fn read(&mut self, deadline: Instant) -> Option<usize> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let left = left.min(READ_TIMEOUT);
            self.stream.set_read_timeout(Some(left)).ok()?;
            match self.stream.as_ref().read(&mut self.chunk) {
                Ok(0) => return None,
                Ok(length) => return Some(length),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut => {}
                    _ => return None,
                },
            }
        }
    }

    /// Last words, read out before the close: unread input would turn it into a reset that
    /// overtakes them.
    pub(super) fn farewell(&mut self, bytes: &[u8]) {
        let _ = self.stream.as_ref().write_all(bytes);
        let _ = self.stream.shutdown(Shutdown::Write);
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.read(deadline).is_some() {}
    }
}

/// A client that was let in.
pub(super) struct Session {
    stream: Arc<TcpStream>,
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
    /// Answers that wait for a message.
    held: Vec<Vec<u8>>,
    /// A publisher waited in vain, so the next one does not.
    stalled: bool,
    closed: bool,
}

impl Session {
    pub(super) fn new(
        stream: Arc<TcpStream>,
        account: Account,
        mut connect: Connect,
        bucket: Arc<Mutex<Bucket>>,
    ) -> Self {
        let will = connect.will.clone();
        connect.password = None;
        Self {
            stream,
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

    pub(super) fn wants(&self, topic: &str) -> bool {
        covers(&lock(&self.subscriptions), topic) && covers(&self.account.read, topic)
    }

    /// Queues an answer; answers are never dropped.
    pub(super) fn push(&self, packet: Vec<u8>) {
        lock(&self.outgoing).packets.push_back(packet.into());
        self.changed.notify_all();
    }

    /// Queues an answer for after the next message.
    pub(super) fn hold(&self, packet: Vec<u8>) {
        lock(&self.outgoing).held.push(packet);
    }

    /// Queues a message; false when it had to be dropped.
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

    /// Writes what is queued until the session is closed.
    pub(super) fn write(&self) {
        loop {
            let mut outgoing = lock(&self.outgoing);
            while outgoing.packets.is_empty() && !outgoing.closed {
                outgoing = wait(&self.changed, outgoing);
            }
            if outgoing.closed {
                return;
            }
            let packets: Vec<Arc<[u8]>> = outgoing.packets.drain(..).collect();
            outgoing.messages = 0;
            outgoing.stalled = false;
            drop(outgoing);
            self.changed.notify_all();
            if self.stream.as_ref().write_all(&packets.concat()).is_err() {
                self.close();
                return;
            }
        }
    }

    pub(super) fn close(&self) {
        lock(&self.outgoing).closed = true;
        self.changed.notify_all();
        shut(&self.stream);
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.outgoing).closed
    }

    /// Waits for that instant; true as soon as the session is closed.
    pub(super) fn closed_before(&self, instant: Instant) -> bool {
        let mut outgoing = lock(&self.outgoing);
        while !outgoing.closed && Instant::now() < instant {
            outgoing = wait_until(&self.changed, outgoing, instant);
        }
        outgoing.closed
    }
}

pub(super) fn covers(filters: &[String], name: &str) -> bool {
    filters.iter().any(|filter| topic::matches(filter, name))
}

pub(super) fn shut(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}
