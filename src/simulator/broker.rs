//! The MQTT front: listener, answers and delivery. What clients may do is decided by a [`Policy`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::bucket::Bucket;
use super::outbox::{Message, Outbox};
use super::packet::{self, Packet, Publish};
use super::quirks::Quirks;
use super::session::{Account, ClientInfo, Input, Session, covers, shut};
use super::{deadline, lock, topic, wait_until};

/// What a network decides about the clients of its broker.
pub(super) trait Policy: Send + Sync {
    /// `None` refuses the connection with code 5.
    fn authenticate(&self, username: &str, password: &[u8]) -> Option<Account>;

    /// The filter that takes the place of the requested one, `None` to refuse it.
    fn rewrite(&self, account: &Account, filter: &str) -> Option<String>;

    /// Takes a message on a topic the client may write. What follows from it is posted, not
    /// flushed.
    fn message(&self, topic: &str, payload: &[u8]);
}

/// How long a message about a downlink waits for one to be exchanged with.
const EXCHANGE: Duration = Duration::from_millis(100);

/// With the id of its application.
type Key = (String, Vec<u8>);

/// Accepts clients and delivers messages to them.
pub(super) struct Broker {
    quirks: Mutex<Quirks>,
    state: Mutex<State>,
    changed: Condvar,
    outbox: Mutex<Outbox>,
    delivery: Mutex<()>,
    buckets: Mutex<HashMap<Key, Arc<Mutex<Bucket>>>>,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    listener: Option<Listening>,
    stopping: bool,
    next_connection: u64,
    connections: BTreeMap<u64, Connection>,
    threads: Vec<JoinHandle<()>>,
    published: Vec<(String, Vec<u8>)>,
}

struct Listening {
    address: SocketAddr,
    thread: JoinHandle<()>,
    ended: Receiver<()>,
}

/// What a client has published on its connection.
#[derive(Default)]
struct Inbound {
    publishes: usize,
    /// Packet identifiers at QoS 2 that are not released.
    open: HashSet<u16>,
}

struct Connection {
    stream: Arc<TcpStream>,
    session: Option<Arc<Session>>,
}

impl Connection {
    fn cut(&self) {
        match &self.session {
            Some(session) => session.close(),
            None => shut(&self.stream),
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
    pub(super) fn new(quirks: Quirks) -> Self {
        Self {
            quirks: Mutex::new(quirks),
            state: Mutex::default(),
            changed: Condvar::new(),
            outbox: Mutex::default(),
            delivery: Mutex::default(),
            buckets: Mutex::default(),
            dropped: AtomicU64::new(0),
        }
    }

    pub(super) fn quirks(&self) -> MutexGuard<'_, Quirks> {
        lock(&self.quirks)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Listens; the address has the real port.
    pub(super) fn start(
        self: &Arc<Self>,
        address: SocketAddr,
        policy: Arc<dyn Policy>,
    ) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        lock(&self.state).stopping = false;
        let (ending, ended) = crossbeam_channel::bounded(0);
        let broker = Arc::clone(self);
        let thread = thread::Builder::new()
            .name("ttn-sim-accept".into())
            .spawn(move || {
                broker.accept(&listener, &policy);
                drop(listener);
                drop(ending);
            })?;
        lock(&self.state).listener = Some(Listening {
            address,
            thread,
            ended,
        });
        Ok(address)
    }

    /// Closes every connection and the port, and joins every thread.
    pub(super) fn stop(&self) {
        let listener = {
            let mut state = lock(&self.state);
            state.stopping = true;
            state.listener.take()
        };
        self.changed.notify_all();
        if let Some(listener) = listener {
            let address = reachable(listener.address);
            loop {
                let _ = TcpStream::connect_timeout(&address, Duration::from_millis(100));
                let ended = listener.ended.recv_timeout(Duration::from_millis(50));
                if ended == Err(RecvTimeoutError::Disconnected) {
                    break;
                }
            }
            join(listener.thread);
        }
        self.disconnect_clients();
        let threads = std::mem::take(&mut lock(&self.state).threads);
        threads.into_iter().for_each(join);
    }

    pub(super) fn disconnect_clients(&self) {
        for connection in lock(&self.state).connections.values() {
            connection.cut();
        }
        self.changed.notify_all();
    }

    pub(super) fn clients(&self) -> Vec<ClientInfo> {
        let state = lock(&self.state);
        state.sessions().map(|session| session.info()).collect()
    }

    pub(super) fn wait_for_clients(&self, count: usize, timeout: Duration) -> bool {
        self.wait_for(timeout, |state| state.sessions().count() == count)
    }

    pub(super) fn wait_for_subscriptions(&self, count: usize, timeout: Duration) -> bool {
        self.wait_for(timeout, |state| {
            let subscriptions = |session: &Arc<Session>| lock(&session.subscriptions).len();
            state.sessions().map(subscriptions).sum::<usize>() >= count
        })
    }

    pub(super) fn wait_for_published(&self, count: usize, timeout: Duration) -> bool {
        self.wait_for(timeout, |state| state.published.len() >= count)
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

    pub(super) fn published(&self) -> Vec<(String, Vec<u8>)> {
        lock(&self.state).published.clone()
    }

    /// Queues a message for delivery; short, so that a caller may hold a lock.
    pub(super) fn post(&self, topic: String, payload: impl Into<Vec<u8>>) {
        let payload = payload.into();
        lock(&self.outbox).push(Message { topic, payload });
    }

    /// Queues a message about a downlink of that application. If it is held back, it can be
    /// delivered from the returned time on.
    pub(super) fn report(
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
            return outbox.exchange(app_id, message, deadline(delay.max(EXCHANGE)));
        }
        if !delay.is_zero() || outbox.is_holding() {
            return Some(outbox.hold(message, deadline(delay)));
        }
        outbox.push(message);
        None
    }

    /// Delivers what was posted, in order. May wait for slow clients: call it without any lock.
    pub(super) fn flush(&self) {
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
                    "client {:?} does not read: dropped a message on {}",
                    session.connect.client_id,
                    message.topic
                );
            }
        }
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener, policy: &Arc<dyn Policy>) {
        loop {
            let accepted = listener.accept();
            let state = lock(&self.state);
            if state.stopping {
                return;
            }
            match accepted {
                Ok((stream, _)) => {
                    drop(state);
                    if !self.quirks().close_on_accept {
                        self.admit(stream, Arc::clone(policy));
                    }
                }
                Err(error) => {
                    log::warn!("cannot accept a connection: {error}");
                    let pause = Instant::now() + Duration::from_millis(50);
                    drop(wait_until(&self.changed, state, pause));
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, policy: Arc<dyn Policy>) {
        let stream = Arc::new(stream);
        let mut state = lock(&self.state);
        let id = state.next_connection;
        state.next_connection += 1;
        let broker = Arc::clone(self);
        let served = Arc::clone(&stream);
        let spawned = thread::Builder::new()
            .name("ttn-sim-reader".into())
            .spawn(move || broker.serve(id, &served, policy.as_ref()));
        match spawned {
            Ok(thread) => {
                state.threads.retain(|thread| !thread.is_finished());
                state.threads.push(thread);
                state.connections.insert(
                    id,
                    Connection {
                        stream,
                        session: None,
                    },
                );
            }
            Err(error) => log::warn!("cannot serve a connection: {error}"),
        }
    }

    fn serve(&self, id: u64, stream: &Arc<TcpStream>, policy: &dyn Policy) {
        let mut input = Input::new(stream);
        if let Some(session) = self.greet(id, &mut input, policy) {
            self.run(&session, &mut input, policy);
        }
        shut(stream);
        lock(&self.state).connections.remove(&id);
        self.changed.notify_all();
    }

    /// Reads CONNECT and answers it.
    fn greet(&self, id: u64, input: &mut Input, policy: &dyn Policy) -> Option<Arc<Session>> {
        let _ = input.stream.set_nodelay(true);
        let timeout = self.quirks().connect_timeout;
        let Packet::Connect(connect) = input.next(deadline(timeout))? else {
            return None;
        };
        let quirks = self.quirks().clone();
        if quirks.close_on_connect {
            return None;
        }
        if quirks.ignore_connect {
            while input.next(deadline(quirks.longest_silence)).is_some() {}
            return None;
        }
        let account = match (&connect.username, &connect.password) {
            (Some(username), Some(password)) => policy.authenticate(username, password),
            _ => None,
        };
        let refusal = match quirks.connack {
            Some(code) if code != 0 => Some(code),
            _ if !connect.supported => Some(1),
            _ if account.is_none() => Some(5),
            _ => None,
        };
        if let Some(code) = refusal {
            log::debug!("client {:?} refused with {code}", connect.client_id);
            input.farewell(&packet::connack(code));
            return None;
        }
        let account = account?;
        let key = connect.password.clone().unwrap_or_default();
        let bucket = {
            let mut buckets = lock(&self.buckets);
            Arc::clone(buckets.entry((account.app_id.clone(), key)).or_default())
        };
        let mut state = lock(&self.state);
        let of_application = |session: &&Arc<Session>| session.account.app_id == account.app_id;
        let connected = state.sessions().filter(of_application).count();
        if quirks
            .connection_limit
            .is_some_and(|limit| connected >= limit)
        {
            drop(state);
            input.farewell(&packet::connack(3));
            return None;
        }
        let session = Arc::new(Session::new(
            Arc::clone(&input.stream),
            account,
            connect,
            bucket,
        ));
        session.push(packet::connack(0));
        state.connections.get_mut(&id)?.session = Some(Arc::clone(&session));
        drop(state);
        self.changed.notify_all();
        Some(session)
    }

    fn run(&self, session: &Arc<Session>, input: &mut Input, policy: &dyn Policy) {
        let writing = Arc::clone(session);
        let writer = thread::Builder::new()
            .name("ttn-sim-writer".into())
            .spawn(move || writing.write());
        let Ok(writer) = writer else { return };
        let mut inbound = Inbound::default();
        let mut free_at = Instant::now();
        while !session.closed_before(free_at) {
            let silence = match session.connect.keep_alive {
                0 => self.quirks().longest_silence,
                seconds => Duration::from_millis(u64::from(seconds) * 1500),
            };
            let Some(packet) = input.next(deadline(silence)) else {
                break;
            };
            if let Some(rate) = self.quirks().rate_limit.filter(|rate| *rate > 0) {
                free_at = Instant::now() + Duration::from_secs(1) / rate;
            }
            if !self.handle(session, policy, &mut inbound, packet) {
                break;
            }
        }
        session.close();
        let _ = writer.join();
        self.changed.notify_all();
        let will = lock(&session.will).take();
        if let Some(will) = will.filter(|_| !lock(&self.state).stopping) {
            self.take(session, policy, &will.topic, &will.payload);
            self.flush();
        }
    }

    /// Whether the connection may go on.
    fn handle(
        &self,
        session: &Session,
        policy: &dyn Policy,
        inbound: &mut Inbound,
        packet: Packet,
    ) -> bool {
        match packet {
            Packet::Publish(publish) => self.publish(session, policy, inbound, publish),
            Packet::PubRel(id) => {
                inbound.open.remove(&id);
                session.push(packet::pubcomp(id));
                true
            }
            Packet::Subscribe { id, filters } => self.subscribe(session, policy, id, filters),
            Packet::Unsubscribe { id, filters } => {
                if !filters.iter().all(|filter| topic::is_filter(filter)) {
                    return false;
                }
                let gone: Vec<String> = filters
                    .iter()
                    .filter_map(|filter| policy.rewrite(&session.account, filter))
                    .collect();
                lock(&session.subscriptions).retain(|filter| !gone.contains(filter));
                session.push(packet::unsuback(id));
                self.changed.notify_all();
                true
            }
            Packet::PingReq => {
                if !self.quirks().ignore_pings {
                    session.push(packet::pingresp());
                }
                true
            }
            // The networks' broker forgets the will and leaves it to the client to close.
            Packet::Disconnect => {
                lock(&session.will).take();
                true
            }
            Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_) => true,
            Packet::Connect(_) => false,
        }
    }

    fn publish(
        &self,
        session: &Session,
        policy: &dyn Policy,
        inbound: &mut Inbound,
        publish: Publish,
    ) -> bool {
        if !topic::is_name(&publish.topic) {
            return false;
        }
        let (ignored, limit, rate) = {
            let quirks = self.quirks();
            (
                quirks.ignore_publishes,
                quirks.publish_limit,
                quirks.publish_rate,
            )
        };
        inbound.publishes += 1;
        let too_many = limit.is_some_and(|limit| inbound.publishes > limit)
            || rate.is_some_and(|rate| !lock(&session.bucket).admits(rate, Instant::now()));
        let ignored = ignored || too_many;
        if !ignored && (publish.qos < 2 || inbound.open.insert(publish.id)) {
            self.take(session, policy, &publish.topic, &publish.payload);
        }
        lock(&self.state)
            .published
            .push((publish.topic, publish.payload));
        self.changed.notify_all();
        self.flush();
        match publish.qos {
            _ if ignored => {}
            1 => session.push(packet::puback(publish.id)),
            2 => session.push(packet::pubrec(publish.id)),
            _ => {}
        }
        !too_many
    }

    fn take(&self, session: &Session, policy: &dyn Policy, topic: &str, payload: &[u8]) {
        if covers(&session.account.write, topic) {
            policy.message(topic, payload);
        } else {
            log::debug!("{} may not write {topic}", session.account.app_id);
        }
    }

    fn subscribe(
        &self,
        session: &Session,
        policy: &dyn Policy,
        id: u16,
        filters: Vec<(String, u8)>,
    ) -> bool {
        if !filters.iter().all(|(filter, _)| topic::is_filter(filter)) {
            return false;
        }
        let quirks = self.quirks().clone();
        if quirks.ignore_subscriptions {
            return true;
        }
        let mut codes = Vec::new();
        for (filter, qos) in filters {
            let granted = policy
                .rewrite(&session.account, &filter)
                .filter(|_| !quirks.refuse_subscriptions);
            codes.push(if granted.is_some() { qos } else { 0x80 });
            let mut subscriptions = lock(&session.subscriptions);
            if let Some(filter) = granted.filter(|filter| !subscriptions.contains(filter)) {
                subscriptions.push(filter);
            }
        }
        self.changed.notify_all();
        if session.closed_before(deadline(quirks.suback_delay)) {
            return false;
        }
        let suback = packet::suback(id, &codes);
        if quirks.publish_before_suback {
            session.hold(suback);
        } else {
            session.push(suback);
        }
        true
    }
}

pub(super) fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != thread::current().id() {
        let _ = thread.join();
    }
}

/// Where a listener on every interface can be reached.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, address.port())
}
