//! The broker: its port, its clients and the delivery of messages.

mod serving;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::SocketAddr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    ClientInfo, Policy,
    bucket::Bucket,
    line::Line,
    outbox::{Message, Outbox},
    packet,
    session::Session,
};
use crate::simulator::{
    activity::Activities,
    history::History,
    listening::{Listening, join},
    quirks::Quirks,
    security::Security,
    sync::{deadline, lock, wait_until},
};

/// How long a downlink event waits to be overtaken by another one.
const SHUFFLE_TIMEOUT: Duration = Duration::from_millis(100);

/// The application id and key that share a [`Bucket`].
type Key = (String, Vec<u8>);

/// Accepts clients and delivers messages to them.
pub(crate) struct Broker {
    quirks: Mutex<Quirks>,
    security: Security,
    activities: Arc<Activities>,
    state: Mutex<State>,
    changed: Condvar,
    outbox: Mutex<Outbox>,
    delivery: Mutex<()>,
    buckets: Mutex<HashMap<Key, Arc<Mutex<Bucket>>>>,
    dropped: AtomicU64,
}

struct State {
    listener: Option<Listening>,
    stopping: bool,
    next_connection: u64,
    connections: BTreeMap<u64, Connection>,
    threads: Vec<JoinHandle<()>>,
    published: History<(String, Vec<u8>)>,
}

struct Connection {
    line: Arc<Line>,
    session: Option<Arc<Session>>,
}

impl Connection {
    fn close(&self) {
        match &self.session {
            Some(session) => session.cut(),
            None => self.line.cut(),
        }
    }
}

impl State {
    fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.connections
            .values()
            .filter_map(|connection| connection.session.as_ref())
            .filter(|session| !session.is_closed())
    }
}

impl Broker {
    /// Creates a broker that keeps this number of the messages that clients publish.
    pub(crate) fn new(
        quirks: Quirks,
        security: Security,
        activities: Arc<Activities>,
        history: usize,
    ) -> Self {
        Self {
            quirks: Mutex::new(quirks),
            security,
            activities,
            state: Mutex::new(State {
                listener: None,
                stopping: false,
                next_connection: 1,
                connections: BTreeMap::new(),
                threads: Vec::new(),
                published: History::new(history),
            }),
            changed: Condvar::new(),
            outbox: Mutex::default(),
            delivery: Mutex::default(),
            buckets: Mutex::default(),
            dropped: AtomicU64::new(0),
        }
    }

    pub(crate) fn quirks(&self) -> MutexGuard<'_, Quirks> {
        lock(&self.quirks)
    }

    pub(crate) fn security(&self) -> &Security {
        &self.security
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Starts to listen and returns the address with the actual port.
    pub(crate) fn start(
        self: &Arc<Self>,
        address: SocketAddr,
        policy: Arc<dyn Policy>,
    ) -> io::Result<SocketAddr> {
        lock(&self.state).stopping = false;
        let broker = Arc::clone(self);
        let listener = Listening::start("ttn-sim-accept", address, move |listener| {
            broker.accept(listener, &policy);
        })?;
        let address = listener.address;
        lock(&self.state).listener = Some(listener);
        Ok(address)
    }

    /// Returns the address that it listens on, if it does.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let state = lock(&self.state);
        state.listener.as_ref().map(|listener| listener.address)
    }

    /// Closes the port and all connections, and joins all threads.
    pub(crate) fn stop(&self) {
        let listener = {
            let mut state = lock(&self.state);
            state.stopping = true;
            state.listener.take()
        };
        self.changed.notify_all();
        if let Some(listener) = listener {
            listener.stop();
        }
        self.disconnect_clients();
        let threads = std::mem::take(&mut lock(&self.state).threads);
        threads.into_iter().for_each(join);
    }

    pub(crate) fn disconnect_clients(&self) {
        for connection in lock(&self.state).connections.values() {
            connection.close();
        }
        self.changed.notify_all();
    }

    pub(crate) fn clients(&self) -> Vec<ClientInfo> {
        let state = lock(&self.state);
        state.sessions().map(|session| session.info()).collect()
    }

    pub(crate) fn wait_for_clients(&self, count: usize, timeout: Duration) -> bool {
        self.wait_for(timeout, |state| state.sessions().count() == count)
    }

    pub(crate) fn wait_for_subscriptions(&self, count: usize, timeout: Duration) -> bool {
        self.wait_for(timeout, |state| {
            let subscriptions = |session: &Arc<Session>| lock(&session.subscriptions).len();
            state.sessions().map(subscriptions).sum::<usize>() >= count
        })
    }

    pub(crate) fn wait_for_published(&self, count: usize, timeout: Duration) -> bool {
        self.wait_for(timeout, |state| state.published.count() >= count)
    }

    fn wait_for(&self, timeout: Duration, done: impl Fn(&State) -> bool) -> bool {
        let deadline = deadline(timeout);
        let mut state = lock(&self.state);
        while !done(&state) {
            if Instant::now() >= deadline {
                return false;
            }
            state = wait_until(&self.changed, state, deadline);
        }
        true
    }

    pub(crate) fn published(&self) -> Vec<(String, Vec<u8>)> {
        lock(&self.state).published.kept()
    }

    /// Queues a message for delivery. Does not block, so the caller may hold a lock.
    pub(crate) fn post(&self, topic: String, payload: impl Into<Vec<u8>>) {
        let payload = payload.into();
        lock(&self.outbox).push(Message { topic, payload });
    }

    /// Queues an event about a downlink of that application. If it is held back, returns when it can
    /// be delivered.
    pub(crate) fn report(
        &self,
        app_id: &str,
        topic: String,
        payload: impl Into<Vec<u8>>,
    ) -> Option<Instant> {
        let (delay, shuffled, lost) = {
            let quirks = self.quirks();
            (
                quirks.event_delay,
                quirks.shuffle_events,
                quirks.lose_events,
            )
        };
        if lost {
            return None;
        }
        let payload = payload.into();
        let message = Message { topic, payload };
        let mut outbox = lock(&self.outbox);
        if shuffled {
            return outbox.exchange(app_id, message, deadline(delay.max(SHUFFLE_TIMEOUT)));
        }
        if !delay.is_zero() || outbox.is_holding() {
            return Some(outbox.hold(message, deadline(delay)));
        }
        outbox.push(message);
        None
    }

    /// Delivers the posted messages in order. May wait for slow clients, so the caller must not hold
    /// any lock.
    pub(crate) fn flush(&self) {
        let _turn = lock(&self.delivery);
        loop {
            let next = lock(&self.outbox).pop(Instant::now());
            match next {
                Some(message) => self.deliver(&message),
                None => return,
            }
        }
    }

    fn deliver(&self, message: &Message) {
        let sessions: Vec<Arc<Session>> = lock(&self.state)
            .sessions()
            .filter(|session| session.wants(&message.topic))
            .cloned()
            .collect();
        if sessions.is_empty() {
            return;
        }
        let packet: Arc<[u8]> = packet::publish(&message.topic, &message.payload).into();
        for session in sessions {
            let (limit, when_full) = {
                let quirks = self.quirks();
                (quirks.session_buffer.max(1), quirks.when_full)
            };
            if !session.offer(&packet, limit, when_full) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                log::warn!(
                    "client {:?} reads too slowly: dropped a message on {}",
                    session.connect.client_id,
                    message.topic
                );
            }
        }
    }
}
