//! One MQTT connection. The only file that names `paho_mqtt`.
//!
//! Paho has one lock and two threads for all clients of a process, and holds the lock during callbacks.
//! So callbacks only push to a channel, one thread uses a handle, and a handle is dropped only when its
//! socket is closed ([`Transport::is_over`]). Paho speaks plain MQTT to the [wire](crate::wire) over
//! the loopback; it knows neither the server nor the access key.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use paho_mqtt::{
    AsyncClient, ConnectOptionsBuilder, ConnectToken, CreateOptionsBuilder, DeliveryToken,
    MQTT_VERSION_3_1_1, Message, PersistenceType, QOS_0, QOS_1, QoS, ServerResponse,
    SubscribeManyToken, Token,
};

use super::{
    handed::Handed,
    inlet::{Attempt, Inlet, Operation, Signal},
};
use crate::{
    error::{Error, Result},
    message::{MessageIds, RawMessage},
    process::{self, Claim},
    sync,
    wire::{Acknowledging, Doorway, End, Permit, Wire},
};

/// Paho's limit for messages that wait to be written. Our own limit is smaller and applies first.
const PAHO_BUFFER: i32 = 65_536;

/// The most messages with QoS 1 that Paho lets wait for their PUBACK: as many as there are packet ids. Who
/// publishes with QoS 1 has a smaller limit of its own.
const PAHO_MAX_INFLIGHT: i32 = u16::MAX as i32;

/// Paho's keep-alive, which cannot be disabled: as long as possible, because the wire pings the server.
const PAHO_KEEP_ALIVE: Duration = Duration::from_secs(u16::MAX as u64);

/// The threads that Paho starts when a process connects for the first time.
const PAHO_THREADS: usize = 2;

/// An UNSUBSCRIBE names a filter even if there was nothing to subscribe to. Servers answer it all the same.
const NOT_SUBSCRIBED: &str = "ttn/not-subscribed";

/// How long Paho may take to connect to the wire, which answers immediately or closes.
const PAHO_TIMEOUT: Duration = Duration::from_secs(15);

/// A client that never connects and is never dropped. While it lives, Paho keeps its two threads;
/// without it, dropping the last client of the process takes up to a second and leaks two file
/// descriptors.
static KEEPER: OnceLock<AsyncClient> = OnceLock::new();

/// The process that connects. A fork of it has a copy of Paho's memory, which may say that its threads run,
/// and of the locks that threads held at that moment.
static USER: Claim = Claim::new();

/// Checks that the MQTT client can be used in this process.
///
/// # Errors
///
/// If this process was forked from one that has used it.
pub(crate) fn check_process() -> Result<()> {
    USER.check()
}

/// Notes that this process uses the MQTT client from now on.
pub(crate) fn claim_process() {
    USER.claim();
}

/// The outcome of an operation.
#[derive(Debug)]
pub(crate) enum Outcome {
    Connected,
    /// With Paho's error message.
    ConnectFailed(String),
    Subscribed,
    /// The server refused the subscriptions to the filters with these numbers.
    SubscribeRefused(Vec<usize>),
    /// The connection ended before the answer.
    SubscribeUnanswered,
    Published(MessageIds),
    PublishFailed(MessageIds, Error),
    /// The server has acknowledged the message with this number, or the connection has ended before that.
    Acknowledged(u64, Result<()>),
    /// The server has processed everything that was published before, or the connection has ended.
    Unsubscribed,
}

/// Tells the session that an operation is done. Runs on Paho's threads.
struct Bell {
    inlet: Inlet,
    attempt: Attempt,
    operation: Operation,
}

impl Bell {
    fn new(inlet: &Inlet, attempt: Attempt, operation: Operation) -> Arc<Self> {
        Arc::new(Self {
            inlet: inlet.clone(),
            attempt,
            operation,
        })
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.inlet
            .signal(self.attempt, Signal::Done(self.operation));
    }
}

/// One connection to a server that has accepted the client. Never reused.
pub(crate) struct Transport {
    wire: Wire,
    client: AsyncClient,
    attempt: Attempt,
    inlet: Inlet,
    /// Pending until Paho has connected to the wire or has failed to; until then, the client must not
    /// be dropped.
    connecting: Option<Pending<ConnectToken>>,
    permit: Option<Permit>,
    subscribing: Option<Pending<SubscribeManyToken>>,
    publishing: HashMap<MessageIds, Pending<DeliveryToken>>,
    /// Whether downlinks are published with QoS 1. The end of the connection then leaves open whether the server has
    /// those that it has not acknowledged.
    acknowledges_downlinks: bool,
    /// The messages with QoS 1 that the server has not acknowledged, by their numbers.
    unacknowledged: HashMap<u64, Pending<DeliveryToken>>,
    unsubscribing: Option<Pending<Token>>,
    /// Whether the server answered no UNSUBSCRIBE because the connection has ended.
    unanswered: bool,
    session_present: bool,
    handed: Handed,
    /// Whether Paho is connected to the wire.
    up: bool,
    /// Whether Paho has noticed the end, possibly before the result of connecting was read.
    lost: bool,
    /// How the connection to the server ended.
    end: Option<End>,
}

impl Transport {
    /// Connects Paho to the wire. Its signals carry `attempt`.
    ///
    /// # Errors
    ///
    /// Why Paho cannot create a client, or start its threads.
    pub(crate) fn enter(
        wire: Wire,
        doorway: Doorway,
        attempt: Attempt,
        inlet: Inlet,
        acknowledging: Option<Acknowledging>,
    ) -> Result<Self, String> {
        let message = |cause: paho_mqtt::Error| cause.to_string();
        let starting = start_engine()?;
        let Doorway {
            port,
            token,
            permit,
            session_present,
        } = doorway;
        let client = create(&format!("tcp://127.0.0.1:{port}"), &token).map_err(message)?;

        let messages = inlet.clone();
        client.set_message_callback(move |_, message| {
            let Some(message) = message else { return };
            if message.qos() == QoS::AtMostOnce {
                let see = || acknowledging.as_ref().and_then(Acknowledging::see);
                return messages.messages(attempt, message.payload(), see);
            }
            let raw = RawMessage::new(message.topic(), message.payload());
            let raw = raw.retained(message.retained());
            messages.message(attempt, raw);
        });
        let lost = inlet.clone();
        client.set_connection_lost_callback(move |_| lost.signal(attempt, Signal::Lost));

        let connect = ConnectOptionsBuilder::with_mqtt_version(MQTT_VERSION_3_1_1)
            .clean_session(true)
            .keep_alive_interval(PAHO_KEEP_ALIVE)
            .connect_timeout(PAHO_TIMEOUT)
            .max_inflight(PAHO_MAX_INFLIGHT)
            .finalize();
        let bell = Bell::new(&inlet, attempt, Operation::Connect);
        let connecting = Pending::new(client.connect(connect), bell);
        drop(starting);
        Ok(Self {
            wire,
            client,
            attempt,
            inlet,
            connecting: Some(connecting),
            permit: Some(permit),
            subscribing: None,
            publishing: HashMap::new(),
            acknowledges_downlinks: false,
            unacknowledged: HashMap::new(),
            unsubscribing: None,
            unanswered: false,
            session_present,
            handed: Handed::default(),
            up: false,
            lost: false,
            end: None,
        })
    }

    pub(crate) fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// Returns whether the server has kept a session of the client.
    pub(crate) fn session_present(&self) -> bool {
        self.session_present
    }

    /// Subscribes to all filters with one packet. The outcome is reported as
    /// [`Operation::Subscribe`].
    pub(crate) fn subscribe(&mut self, filters: &[String], qos: u8) {
        let qos = vec![i32::from(qos); filters.len()];
        let token = self.client.subscribe_many(filters, &qos);
        let bell = self.bell(Operation::Subscribe);
        self.subscribing = Some(Pending::new(token, bell));
    }

    /// Publishes downlinks, with the same quality of service each time. The outcome is reported as
    /// [`Operation::Publish`].
    ///
    /// # Errors
    ///
    /// When the connection has ended; nothing was written then.
    pub(crate) fn publish(
        &mut self,
        ids: MessageIds,
        correlation_id: Option<Arc<str>>,
        topic: &str,
        payload: &[u8],
        qos: u8,
    ) -> Result<()> {
        let message = Message::new(topic, payload, i32::from(qos));
        self.acknowledges_downlinks = qos > 0;
        let token = self
            .client
            .try_publish(message)
            .map_err(|cause| Error::not_written(Some(cause.into())))?;
        let bell = self.bell(Operation::Publish(ids));
        self.publishing.insert(ids, Pending::new(token, bell));
        self.handed.push(ids, correlation_id);
        Ok(())
    }

    /// Publishes with QoS 1. The outcome is reported as [`Operation::Acknowledge`] with this number.
    ///
    /// # Errors
    ///
    /// When the connection has ended; nothing was written then.
    pub(crate) fn publish_acknowledged(&mut self, number: u64, message: &RawMessage) -> Result<()> {
        let message = Message::new(message.topic(), message.payload(), QOS_1);
        let token = self
            .client
            .try_publish(message)
            .map_err(|cause| Error::not_acknowledged(Some(cause.into())))?;
        let bell = self.bell(Operation::Acknowledge(number));
        self.unacknowledged
            .insert(number, Pending::new(token, bell));
        self.handed.push_acknowledged();
        Ok(())
    }

    /// Publishes with QoS 0 what nobody waits for.
    pub(crate) fn publish_marker(&mut self, message: &RawMessage) {
        let message = Message::new(message.topic(), message.payload(), QOS_0);
        if self.client.try_publish(message).is_ok() {
            self.handed.push_acknowledged();
        }
    }

    /// Returns whether the server has not yet answered an UNSUBSCRIBE.
    pub(crate) fn is_flushing(&self) -> bool {
        self.unsubscribing.is_some()
    }

    /// Unsubscribes. The server answers when it has processed everything that was published before;
    /// the outcome is reported as [`Operation::Unsubscribe`]. Until then, further calls do nothing.
    pub(crate) fn unsubscribe(&mut self, filters: &[String]) {
        if self.unsubscribing.is_none() {
            let token = match filters {
                [] => self.client.unsubscribe(NOT_SUBSCRIBED),
                filters => self.client.unsubscribe_many(filters),
            };
            let bell = self.bell(Operation::Unsubscribe);
            self.unsubscribing = Some(Pending::new(token, bell));
        }
    }

    /// Notes how many of the published messages the server has processed, and returns the newly processed
    /// ones.
    pub(crate) fn processed(&mut self, messages: u64) -> Vec<MessageIds> {
        self.handed.advance(messages)
    }

    /// Notes that the network has reported on a downlink with these correlation ids. Returns the
    /// published messages that this newly proves to be processed.
    pub(crate) fn reported(&mut self, correlation_ids: &[String]) -> Vec<MessageIds> {
        self.handed.reported(correlation_ids)
    }

    /// Returns how many of the published messages the server may not have processed.
    pub(crate) fn unfinished(&self) -> usize {
        self.handed.len()
    }

    /// Returns whether the server can still prove that it has processed what was published.
    pub(crate) fn answers(&self) -> bool {
        !self.unanswered && self.end.is_none()
    }

    /// Returns the published messages that the server may not have processed, and forgets them.
    pub(crate) fn take_unfinished(&mut self) -> Vec<MessageIds> {
        self.handed.take()
    }

    /// Returns how many messages are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.publishing.len()
    }

    /// Returns whether messages are in flight until the server acknowledges them, not only until they are written.
    pub(crate) fn awaits_acknowledgements(&self) -> bool {
        self.acknowledges_downlinks || !self.unacknowledged.is_empty()
    }

    /// Returns how many messages with QoS 1 the server has not acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }

    /// Stops waiting for acknowledgements, and returns the outcomes. Those that have not come count as not
    /// acknowledged.
    pub(crate) fn take_unacknowledged(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.unacknowledged)
            .into_iter()
            .map(|(number, mut token)| {
                let incomplete = Err(paho_mqtt::Error::OperationIncomplete);
                acknowledged(number, token.take().unwrap_or(incomplete))
            })
            .collect()
    }

    /// Returns the outcome of an operation that was reported as done; `None` if there is none yet.
    pub(crate) fn advance(&mut self, operation: Operation) -> Option<Outcome> {
        match operation {
            Operation::Connect => {
                let result = self.connecting.as_mut()?.take()?;
                self.connecting = None;
                self.permit = None;
                Some(match result {
                    Ok(_) => {
                        self.up = !self.lost;
                        Outcome::Connected
                    }
                    Err(cause) => Outcome::ConnectFailed(cause.to_string()),
                })
            }
            Operation::Subscribe => {
                let result = self.subscribing.as_mut()?.take()?;
                self.subscribing = None;
                Some(subscribed(result))
            }
            Operation::Publish(ids) => {
                let result = self.publishing.get_mut(&ids)?.take()?;
                self.publishing.remove(&ids);
                Some(self.published(ids, result))
            }
            Operation::Acknowledge(number) => {
                let result = self.unacknowledged.get_mut(&number)?.take()?;
                self.unacknowledged.remove(&number);
                Some(acknowledged(number, result))
            }
            Operation::Unsubscribe => {
                let result = self.unsubscribing.as_mut()?.take()?;
                self.unsubscribing = None;
                self.unanswered |= result.is_err();
                Some(Outcome::Unsubscribed)
            }
        }
    }

    fn published(&mut self, ids: MessageIds, result: paho_mqtt::Result<()>) -> Outcome {
        match result {
            Ok(()) => Outcome::Published(ids),
            Err(_) if self.acknowledges_downlinks => Outcome::Published(ids),
            Err(cause) => {
                self.handed.remove(ids);
                Outcome::PublishFailed(ids, Error::not_written(Some(cause.into())))
            }
        }
    }

    /// Notes that Paho has noticed the end of its connection.
    pub(crate) fn lost(&mut self) {
        self.up = false;
        self.lost = true;
    }

    /// Notes how the connection to the server ended.
    pub(crate) fn ended(&mut self, end: End) {
        self.end = Some(end);
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Returns whether both sides of the wire have ended, so that the handle may be
    /// [dropped](Self::drop_handle).
    pub(crate) fn is_over(&self) -> bool {
        self.connecting.is_none() && !self.up && self.end.is_some()
    }

    /// Ends the connection in a way that lets the server process everything that was published.
    pub(crate) fn finish(&self) {
        self.wire.finish();
    }

    /// Ends the connection now.
    pub(crate) fn cancel(&self) {
        self.wire.cancel();
    }

    /// Stops waiting for the messages in flight, and returns their outcomes, oldest first. Those that
    /// have none count as published if the connection stays open, and as failed otherwise.
    pub(crate) fn take_in_flight(&mut self, stays_open: bool) -> Vec<Outcome> {
        let mut in_flight: Vec<_> = std::mem::take(&mut self.publishing).into_iter().collect();
        in_flight.sort_by_key(|(ids, _)| *ids);
        in_flight
            .into_iter()
            .map(|(ids, mut token)| {
                let unfinished = || match stays_open {
                    true => Ok(()),
                    false => Err(paho_mqtt::Error::OperationIncomplete),
                };
                let result = token.take().unwrap_or_else(unfinished);
                self.published(ids, result)
            })
            .collect()
    }

    /// Drops the handle of a connection that [is over](Self::is_over). Before that, it can block all of
    /// Paho for good.
    pub(crate) fn drop_handle(self) {
        debug_assert!(self.is_over(), "dropped while Paho has a socket");
        // Paho reports a token as done a moment before it releases it, and holds its lock in between;
        // this call waits for the lock.
        self.client.is_connected();
    }

    fn bell(&self, operation: Operation) -> Arc<Bell> {
        Bell::new(&self.inlet, self.attempt, operation)
    }
}

/// An operation in progress. Paho returns its result only once, possibly on the first poll, which
/// registers the waker.
struct Pending<T: Future + Unpin> {
    token: T,
    waker: Waker,
    result: Option<T::Output>,
}

impl<T: Future + Unpin> Pending<T> {
    fn new(token: T, wake: Arc<impl Wake + Send + Sync + 'static>) -> Self {
        let waker = Waker::from(wake);
        let mut pending = Self {
            token,
            waker,
            result: None,
        };
        pending.result = pending.poll();
        if pending.result.is_some() {
            pending.waker.wake_by_ref();
        }
        pending
    }

    fn take(&mut self) -> Option<T::Output> {
        self.result.take().or_else(|| self.poll())
    }

    fn poll(&mut self) -> Option<T::Output> {
        match Pin::new(&mut self.token).poll(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }
}

/// Makes sure that Paho can start its threads, when the process connects for the first time. Paho does
/// not notice that it could not, and never connects after that. Returns a guard to hold until it has.
fn start_engine() -> Result<MutexGuard<'static, ()>, String> {
    static STARTING: Mutex<()> = Mutex::new(());
    let starting = sync::lock(&STARTING);
    if KEEPER.get().is_some() {
        return Ok(starting);
    }
    if let Some(cause) = process::want_of_threads(PAHO_THREADS) {
        return Err(format!("it needs {PAHO_THREADS} threads: {cause}"));
    }
    let client = create("tcp://localhost:1", "").map_err(|cause| cause.to_string())?;
    // Never used, and never dropped.
    let _ = KEEPER.set(client);
    Ok(starting)
}

fn create(uri: &str, client_id: &str) -> paho_mqtt::Result<AsyncClient> {
    CreateOptionsBuilder::new()
        .server_uri(uri)
        .client_id(client_id)
        .persistence(PersistenceType::None)
        .max_buffered_messages(PAHO_BUFFER)
        .create_client()
}

fn acknowledged(number: u64, result: paho_mqtt::Result<()>) -> Outcome {
    let result = result.map_err(|cause| Error::not_acknowledged(Some(cause.into())));
    Outcome::Acknowledged(number, result)
}

/// Reads the codes of a SUBACK: whether the server granted each filter.
fn subscribed(result: paho_mqtt::Result<ServerResponse>) -> Outcome {
    let codes = match result {
        Ok(response) => response.subscribe_many_response().unwrap_or_default(),
        // A single filter that is refused.
        Err(paho_mqtt::Error::Failure) => return Outcome::SubscribeRefused(vec![0]),
        Err(_) => return Outcome::SubscribeUnanswered,
    };
    // MQTT 3.1.1 knows 0x80 alone; Mosquitto also sends codes of MQTT 5.
    let is_refused = |(_, code): &(usize, i32)| !(0..=2).contains(code);
    let numbered = codes.into_iter().enumerate();
    let refused: Vec<usize> = numbered
        .filter(is_refused)
        .map(|(number, _)| number)
        .collect();
    if refused.is_empty() {
        Outcome::Subscribed
    } else {
        Outcome::SubscribeRefused(refused)
    }
}
