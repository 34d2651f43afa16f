//! Serving clients: from the accepted connection to the last packet.

use std::{
    collections::HashSet,
    net::{Shutdown, TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Broker, Connection};
use crate::{
    process::start_thread,
    simulator::{
        mqtt::{
            Policy,
            input::Input,
            packet::{self, Packet, Publish},
            session::Session,
            topic,
        },
        sync::{deadline, lock, wait_until},
    },
};

/// What a client has published on its connection.
#[derive(Default)]
struct Inbound {
    publishes: usize,
    /// Packet identifiers at QoS 2 that are not yet released.
    unreleased: HashSet<u16>,
}

impl Broker {
    pub(super) fn accept(self: &Arc<Self>, listener: &TcpListener, policy: &Arc<dyn Policy>) {
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
        let started = start_thread("ttn-sim-reader", move || {
            broker.serve(id, &served, policy.as_ref());
        });
        match started {
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
        let _ = stream.shutdown(Shutdown::Both);
        lock(&self.state).connections.remove(&id);
        self.changed.notify_all();
    }

    /// Reads CONNECT, answers it, and returns the session of an accepted client.
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
            log::debug!("refusing client {:?} with code {code}", connect.client_id);
            input.close_with(&packet::connack(code));
            return None;
        }
        let account = account?;
        let key = connect.password.clone().unwrap_or_default();
        let bucket = {
            let mut buckets = lock(&self.buckets);
            Arc::clone(
                buckets
                    .entry((account.app_id().to_owned(), key))
                    .or_default(),
            )
        };
        let mut state = lock(&self.state);
        let of_application = |session: &&Arc<Session>| session.account.app_id() == account.app_id();
        let connected = state.sessions().filter(of_application).count();
        if quirks
            .connection_limit
            .is_some_and(|limit| connected >= limit)
        {
            drop(state);
            input.close_with(&packet::connack(3));
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
        let writer = start_thread("ttn-sim-writer", move || writing.write());
        let Ok(writer) = writer else { return };
        let mut inbound = Inbound::default();
        let mut free_at = Instant::now();
        while !session.is_closed_before(free_at) {
            let silence = match session.connect.keep_alive {
                0 => self.quirks().longest_silence,
                seconds => Duration::from_millis(u64::from(seconds) * 1500),
            };
            let Some(packet) = input.next(deadline(silence)) else {
                break;
            };
            let rate = policy.reading_rate(&self.quirks());
            if let Some(rate) = rate.filter(|rate| *rate > 0) {
                free_at = Instant::now() + Duration::from_secs(1) / rate;
            }
            if !self.handle(session, policy, &mut inbound, packet) {
                break;
            }
        }
        session.end();
        let _ = writer.join();
        self.changed.notify_all();
        input.close();
        let will = lock(&session.will)
            .take()
            .filter(|_| policy.carries_out_wills());
        if let Some(will) = will.filter(|_| !lock(&self.state).stopping) {
            self.dispatch(session, policy, &will.topic, &will.payload);
            self.flush();
        }
    }

    /// Handles a packet and returns whether the connection may stay open.
    fn handle(
        &self,
        session: &Session,
        policy: &dyn Policy,
        inbound: &mut Inbound,
        packet: Packet,
    ) -> bool {
        match packet {
            Packet::Publish(publish) if publish.qos > 2 => true,
            Packet::Publish(publish) => self.publish(session, policy, inbound, publish),
            Packet::PubRel(id) => {
                inbound.unreleased.remove(&id);
                session.push(packet::pubcomp(id));
                true
            }
            Packet::Subscribe { id, filters } => self.subscribe(session, policy, id, filters),
            Packet::Unsubscribe { id, filters } => {
                if !filters.iter().all(|filter| topic::is_filter(filter)) {
                    return false;
                }
                let removed: Vec<String> = filters
                    .iter()
                    .filter_map(|filter| policy.rewrite(&session.account, filter))
                    .collect();
                lock(&session.subscriptions).retain(|filter| !removed.contains(filter));
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
            // The real broker discards the will and lets the client close the connection.
            Packet::Disconnect => {
                lock(&session.will).take();
                true
            }
            Packet::PubRec(id) => {
                session.push(packet::pubrel(id));
                true
            }
            Packet::PubAck(_) | Packet::PubComp(_) => true,
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
        let (ignored, limit, rate, push_time) = {
            let quirks = self.quirks();
            (
                quirks.ignore_publishes,
                quirks.publish_limit,
                quirks.publish_rate,
                quirks.push_time,
            )
        };
        inbound.publishes += 1;
        let too_many = limit.is_some_and(|limit| inbound.publishes > limit)
            || rate.is_some_and(|rate| !lock(&session.bucket).admits(rate, Instant::now()));
        let ignored = ignored || too_many;
        let is_slow = !ignored
            && !push_time.is_zero()
            && session.account.may_write(&publish.topic)
            && policy.takes_time(&publish.topic);
        if is_slow && session.is_closed_before(deadline(push_time)) {
            return false;
        }
        if !ignored && (publish.qos < 2 || inbound.unreleased.insert(publish.id)) {
            self.dispatch(session, policy, &publish.topic, &publish.payload);
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

    /// Passes a message to the network if the client may write to its topic.
    fn dispatch(&self, session: &Session, policy: &dyn Policy, topic: &str, payload: &[u8]) {
        if session.account.may_write(topic) {
            policy.message(topic, payload);
        } else {
            log::debug!("{} may not write {topic}", session.account.app_id());
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
        if session.is_closed_before(deadline(quirks.suback_delay)) {
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
