//! Serving clients: from the accepted connection to the last packet.

use std::{
    collections::HashSet,
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Broker, Connection};
use crate::{
    process::start_thread,
    simulator::{
        activity::Activity,
        mqtt::{
            Disconnection, Policy,
            input::Input,
            line::Line,
            packet::{self, Connect, Packet, Publish},
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
    /// Whether it has sent DISCONNECT.
    has_left: bool,
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
        let line = match Line::new(stream, &self.security) {
            Ok(line) => Arc::new(line),
            Err(error) => {
                log::warn!("cannot serve a connection: {error}");
                return;
            }
        };
        let mut state = lock(&self.state);
        let id = state.next_connection;
        state.next_connection += 1;
        let broker = Arc::clone(self);
        let served = Arc::clone(&line);
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
                        line,
                        session: None,
                    },
                );
            }
            Err(error) => log::warn!("cannot serve a connection: {error}"),
        }
    }

    fn serve(&self, id: u64, line: &Arc<Line>, policy: &dyn Policy) {
        let mut input = Input::new(line);
        match self.greet(id, &mut input, policy) {
            Ok(Some(session)) => self.run(&session, &mut input, policy),
            Ok(None) => {}
            Err(cause) => self.activities.tell(|| Activity::Failed {
                connection: id,
                cause,
            }),
        }
        line.cut();
        lock(&self.state).connections.remove(&id);
        self.changed.notify_all();
    }

    /// Reads CONNECT, answers it, and returns the session of an accepted client, `None` for a refused one.
    fn greet(
        &self,
        id: u64,
        input: &mut Input,
        policy: &dyn Policy,
    ) -> Result<Option<Arc<Session>>, Disconnection> {
        let timeout = self.quirks().connect_timeout;
        let Packet::Connect(connect) = input.next(deadline(timeout))? else {
            return Err(mistake("the first packet is not a CONNECT"));
        };
        let quirks = self.quirks().clone();
        if quirks.close_on_connect {
            return Err(Disconnection::Network);
        }
        if quirks.ignore_connect {
            loop {
                input.next(deadline(quirks.longest_silence))?;
            }
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
            self.refuse(id, &connect, code, input);
            return Ok(None);
        }
        let Some(account) = account else {
            unreachable!("a client without an account is refused");
        };
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
            self.refuse(id, &connect, 3, input);
            return Ok(None);
        }
        let session = Arc::new(Session::new(
            id,
            Arc::clone(&input.line),
            account,
            connect,
            bucket,
        ));
        session.push(packet::connack(0));
        let Some(connection) = state.connections.get_mut(&id) else {
            return Err(Disconnection::Network);
        };
        connection.session = Some(Arc::clone(&session));
        self.activities.tell(|| Activity::Connected {
            connection: id,
            client: session.info(),
        });
        drop(state);
        self.changed.notify_all();
        Ok(Some(session))
    }

    fn refuse(&self, id: u64, connect: &Connect, code: u8, input: &mut Input) {
        log::debug!("refusing client {:?} with code {code}", connect.client_id);
        self.activities.tell(|| Activity::Refused {
            connection: id,
            client_id: connect.client_id.clone(),
            username: connect.username.clone().unwrap_or_default(),
            code,
        });
        input.close_with(&packet::connack(code));
    }

    fn run(&self, session: &Arc<Session>, input: &mut Input, policy: &dyn Policy) {
        let writing = Arc::clone(session);
        let writer = start_thread("ttn-sim-writer", move || writing.write());
        let Ok(writer) = writer else { return };
        let mut inbound = Inbound::default();
        let mut free_at = Instant::now();
        let cause = loop {
            if session.is_closed_before(free_at) {
                break Disconnection::Closed;
            }
            let silence = match session.connect.keep_alive {
                0 => self.quirks().longest_silence,
                seconds => Duration::from_millis(u64::from(seconds) * 1500),
            };
            let packet = match input.next(deadline(silence)) {
                Ok(packet) => packet,
                Err(cause) => break cause,
            };
            let rate = policy.reading_rate(&self.quirks());
            if let Some(rate) = rate.filter(|rate| *rate > 0) {
                free_at = Instant::now() + Duration::from_secs(1) / rate;
            }
            if let Err(cause) = self.handle(session, policy, &mut inbound, packet) {
                break cause;
            }
        };
        let cause = match cause {
            // What was found then is what the network did.
            _ if session.is_cut() => Disconnection::Network,
            Disconnection::Closed if inbound.has_left => Disconnection::Goodbye,
            cause => cause,
        };
        session.end();
        let _ = writer.join();
        self.activities.tell(|| Activity::Disconnected {
            connection: session.connection,
            client_id: session.connect.client_id.clone(),
            cause,
        });
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

    /// Handles a packet, and returns why the connection may not stay open.
    fn handle(
        &self,
        session: &Session,
        policy: &dyn Policy,
        inbound: &mut Inbound,
        packet: Packet,
    ) -> Result<(), Disconnection> {
        match packet {
            Packet::Publish(publish) if publish.qos > 2 => {}
            Packet::Publish(publish) => self.publish(session, policy, inbound, publish)?,
            Packet::PubRel(id) => {
                inbound.unreleased.remove(&id);
                session.push(packet::pubcomp(id));
            }
            Packet::Subscribe { id, filters } => self.subscribe(session, policy, id, filters)?,
            Packet::Unsubscribe { id, filters } => {
                require_filters(filters.iter())?;
                let removed: Vec<String> = filters
                    .iter()
                    .filter_map(|filter| policy.rewrite(&session.account, filter))
                    .collect();
                lock(&session.subscriptions).retain(|filter| !removed.contains(filter));
                session.push(packet::unsuback(id));
                self.activities.tell(|| Activity::Unsubscribed {
                    connection: session.connection,
                    client_id: session.connect.client_id.clone(),
                    filters,
                });
                self.changed.notify_all();
            }
            Packet::PingReq => {
                if !self.quirks().ignore_pings {
                    session.push(packet::pingresp());
                }
            }
            // The real broker discards the will and lets the client close the connection.
            Packet::Disconnect => {
                lock(&session.will).take();
                inbound.has_left = true;
            }
            Packet::PubRec(id) => session.push(packet::pubrel(id)),
            Packet::PubAck(_) | Packet::PubComp(_) => {}
            Packet::Connect(_) => return Err(mistake("a second CONNECT")),
        }
        Ok(())
    }

    fn publish(
        &self,
        session: &Session,
        policy: &dyn Policy,
        inbound: &mut Inbound,
        publish: Publish,
    ) -> Result<(), Disconnection> {
        if !topic::is_name(&publish.topic) {
            let topic = &publish.topic;
            return Err(mistake(&format!("{topic:?} is not a topic to publish on")));
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
            return Err(Disconnection::Closed);
        }
        let is_new = !ignored && (publish.qos < 2 || inbound.unreleased.insert(publish.id));
        if is_new {
            self.dispatch(session, policy, &publish.topic, &publish.payload);
        }
        self.activities.tell(|| Activity::Published {
            connection: session.connection,
            client_id: session.connect.client_id.clone(),
            topic: publish.topic.clone(),
            payload: publish.payload.clone(),
            qos: publish.qos,
            accepted: is_new && session.account.may_write(&publish.topic),
        });
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
        match too_many {
            true => Err(Disconnection::Limit),
            false => Ok(()),
        }
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
    ) -> Result<(), Disconnection> {
        require_filters(filters.iter().map(|(filter, _)| filter))?;
        let quirks = self.quirks().clone();
        if quirks.ignore_subscriptions {
            return Ok(());
        }
        let mut codes = Vec::new();
        let (mut yes, mut no) = (Vec::new(), Vec::new());
        for (filter, qos) in filters {
            let granted = policy
                .rewrite(&session.account, &filter)
                .filter(|_| !quirks.refuse_subscriptions);
            codes.push(if granted.is_some() { qos } else { 0x80 });
            match granted {
                Some(_) => yes.push(filter),
                None => no.push(filter),
            }
            let mut subscriptions = lock(&session.subscriptions);
            if let Some(filter) = granted.filter(|filter| !subscriptions.contains(filter)) {
                subscriptions.push(filter);
            }
        }
        self.activities.tell(|| Activity::Subscribed {
            connection: session.connection,
            client_id: session.connect.client_id.clone(),
            granted: yes,
            refused: no,
        });
        self.changed.notify_all();
        if session.is_closed_before(deadline(quirks.suback_delay)) {
            return Err(Disconnection::Closed);
        }
        let suback = packet::suback(id, &codes);
        if quirks.publish_before_suback {
            session.hold(suback);
        } else {
            session.push(suback);
        }
        Ok(())
    }
}

fn mistake(what: &str) -> Disconnection {
    Disconnection::Mistake(what.to_owned())
}

fn require_filters<'a>(mut filters: impl Iterator<Item = &'a String>) -> Result<(), Disconnection> {
    match filters.find(|filter| !topic::is_filter(filter)) {
        Some(filter) => Err(mistake(&format!("{filter:?} is not a topic filter"))),
        None => Ok(()),
    }
}
