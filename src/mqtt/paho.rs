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
    sync::{Arc, OnceLock},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use paho_mqtt::{
    AsyncClient, ConnectOptionsBuilder, ConnectToken, CreateOptionsBuilder, DeliveryToken,
    MQTT_VERSION_3_1_1, Message, PersistenceType, QOS_0, SubscribeToken, Token,
};

use super::inlet::{Attempt, Inlet, Operation, Signal};
use crate::{
    error::{Error, Result},
    message::MessageIds,
    wire::{Doorway, End, Permit, Wire},
};

/// Paho's limit for messages that wait to be written. Our own limit is smaller and applies first.
const PAHO_BUFFER: i32 = 65_536;

/// Paho's keep-alive, which cannot be disabled: as long as possible, because the wire pings the server.
const PAHO_KEEP_ALIVE: Duration = Duration::from_secs(u16::MAX as u64);

/// How long Paho may take to connect to the wire, which answers immediately or closes.
const PAHO_TIMEOUT: Duration = Duration::from_secs(15);

/// A client that never connects and is never dropped. While it lives, Paho keeps its two threads;
/// without it, dropping the last client of the process takes up to a second and leaks two file
/// descriptors.
static KEEPER: OnceLock<AsyncClient> = OnceLock::new();

/// The outcome of an operation.
#[derive(Debug)]
pub(crate) enum Outcome {
    Connected,
    /// With Paho's error message.
    ConnectFailed(String),
    Subscribed,
    /// The server refused the subscription with this number.
    SubscribeRefused(usize),
    /// The connection ended before the answer.
    SubscribeUnanswered,
    Published(MessageIds),
    PublishFailed(MessageIds, Error),
    /// The server has read everything that was published, or never will.
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
    subscribing: HashMap<usize, Pending<SubscribeToken>>,
    publishing: HashMap<MessageIds, Pending<DeliveryToken>>,
    unsubscribing: Option<Pending<Token>>,
    /// Whether something was published that the server has not confirmed to have read.
    unread: bool,
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
    /// Paho's message, when it cannot create a client.
    pub(crate) fn enter(
        wire: Wire,
        doorway: Doorway,
        attempt: Attempt,
        inlet: Inlet,
    ) -> Result<Self, String> {
        let message = |cause: paho_mqtt::Error| cause.to_string();
        if KEEPER.get().is_none() {
            let keeper = create("tcp://localhost:1", "").map_err(message)?;
            let _ = KEEPER.set(keeper);
        }
        let Doorway {
            port,
            token,
            permit,
        } = doorway;
        let client = create(&format!("tcp://127.0.0.1:{port}"), &token).map_err(message)?;

        let messages = inlet.clone();
        client.set_message_callback(move |_, message| {
            if let Some(message) = message {
                let (topic, payload) = (message.topic(), message.payload());
                messages.message(attempt, topic, payload, Signal::Message);
            }
        });
        let lost = inlet.clone();
        client.set_connection_lost_callback(move |_| lost.signal(attempt, Signal::Lost));

        let connect = ConnectOptionsBuilder::with_mqtt_version(MQTT_VERSION_3_1_1)
            .clean_session(true)
            .keep_alive_interval(PAHO_KEEP_ALIVE)
            .connect_timeout(PAHO_TIMEOUT)
            .finalize();
        let bell = Bell::new(&inlet, attempt, Operation::Connect);
        let connecting = Pending::new(client.connect(connect), bell);
        Ok(Self {
            wire,
            client,
            attempt,
            inlet,
            connecting: Some(connecting),
            permit: Some(permit),
            subscribing: HashMap::new(),
            publishing: HashMap::new(),
            unsubscribing: None,
            unread: false,
            up: false,
            lost: false,
            end: None,
        })
    }

    pub(crate) fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// Subscribes to `filter`. The outcome is reported as [`Operation::Subscribe`] with `number`.
    pub(crate) fn subscribe(&mut self, number: usize, filter: &str) {
        let token = self.client.subscribe(filter, QOS_0);
        let bell = self.bell(Operation::Subscribe(number));
        self.subscribing.insert(number, Pending::new(token, bell));
    }

    /// Publishes with QoS 0. The outcome is reported as [`Operation::Publish`].
    ///
    /// # Errors
    ///
    /// When the connection has ended; nothing was written then.
    pub(crate) fn publish(&mut self, ids: MessageIds, topic: &str, payload: &[u8]) -> Result<()> {
        let message = Message::new(topic, payload, QOS_0);
        let token = self
            .client
            .try_publish(message)
            .map_err(|cause| Error::not_written(Some(cause.into())))?;
        let bell = self.bell(Operation::Publish(ids));
        self.publishing.insert(ids, Pending::new(token, bell));
        self.unread = true;
        Ok(())
    }

    /// Returns whether something was published that the server may not have read. If messages arrive
    /// while the connection is being closed, the server never receives what it has not read by then,
    /// even if it was written.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread
    }

    /// Returns whether the server has not yet answered the request to confirm that it has read
    /// everything.
    pub(crate) fn is_flushing(&self) -> bool {
        self.unsubscribing.is_some()
    }

    /// Unsubscribes. The server answers when it has read everything that was published before; the
    /// outcome is reported as [`Operation::Unsubscribe`]. Until then, further calls do nothing.
    pub(crate) fn unsubscribe(&mut self, filters: &[String]) {
        if self.unsubscribing.is_none() {
            self.unread = false;
            let token = self.client.unsubscribe_many(filters);
            let bell = self.bell(Operation::Unsubscribe);
            self.unsubscribing = Some(Pending::new(token, bell));
        }
    }

    /// Returns how many messages are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.publishing.len()
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
            Operation::Subscribe(number) => {
                let result = self.subscribing.get_mut(&number)?.take()?;
                self.subscribing.remove(&number);
                Some(match result {
                    Ok(_) => Outcome::Subscribed,
                    Err(paho_mqtt::Error::Failure) => Outcome::SubscribeRefused(number),
                    Err(_) => Outcome::SubscribeUnanswered,
                })
            }
            Operation::Publish(ids) => {
                let result = self.publishing.get_mut(&ids)?.take()?;
                self.publishing.remove(&ids);
                Some(published(ids, result))
            }
            Operation::Unsubscribe => {
                let result = self.unsubscribing.as_mut()?.take()?;
                self.unsubscribing = None;
                // Without an answer, another request would not be answered either.
                self.unread &= result.is_ok();
                Some(Outcome::Unsubscribed)
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

    /// Stops waiting for the messages in flight, and returns their outcomes, oldest first.
    pub(crate) fn take_in_flight(&mut self) -> Vec<Outcome> {
        let mut in_flight: Vec<_> = std::mem::take(&mut self.publishing).into_iter().collect();
        in_flight.sort_by_key(|(ids, _)| *ids);
        in_flight
            .into_iter()
            .map(|(ids, mut token)| {
                let unfinished = || Err(paho_mqtt::Error::OperationIncomplete);
                published(ids, token.take().unwrap_or_else(unfinished))
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

fn create(uri: &str, client_id: &str) -> paho_mqtt::Result<AsyncClient> {
    CreateOptionsBuilder::new()
        .server_uri(uri)
        .client_id(client_id)
        .persistence(PersistenceType::None)
        .max_buffered_messages(PAHO_BUFFER)
        .create_client()
}

fn published(ids: MessageIds, result: paho_mqtt::Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Published(ids),
        Err(cause) => Outcome::PublishFailed(ids, Error::not_written(Some(cause.into()))),
    }
}
