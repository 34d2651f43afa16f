//! MQTT in our words. The only file that names `paho_mqtt`.
//!
//! Paho has one lock and two threads for all clients of a process, and calls back with the lock
//! held. So its callbacks only push to a channel, a handle is used by one thread, and a handle is
//! given up only when its socket is closed ([`Transport::is_over`]). It speaks plain MQTT to the
//! [wire](crate::wire), which it finds on the loopback; it knows neither the server nor the key.

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
    error::{Error, ErrorKind, Result},
    message::MessageIds,
    wire::{Doorway, End, Permit, Wire},
};

/// Paho's own limit counts messages that wait to be written; ours is smaller, so that ours decides.
const PAHO_BUFFER: i32 = 65_536;

/// The wire asks the server whether it is there; Paho cannot be told to ask nothing.
const PAHO_KEEP_ALIVE: Duration = Duration::from_secs(u16::MAX as u64);

/// On the loopback, where the wire answers at once or closes.
const PAHO_TIMEOUT: Duration = Duration::from_secs(15);

/// A client that never connects and is never dropped. While it lives, Paho keeps its two threads;
/// without it, dropping the last client of the process takes up to a second and leaks two file
/// descriptors.
static KEEPER: OnceLock<AsyncClient> = OnceLock::new();

/// The outcome of an operation.
#[derive(Debug)]
pub(crate) enum Outcome {
    Connected,
    /// In Paho's words.
    ConnectFailed(String),
    Subscribed,
    /// The server said no to this one.
    SubscribeRefused(usize),
    /// The connection ended before the answer.
    SubscribeUnanswered,
    Published(MessageIds),
    PublishFailed(MessageIds, Error),
    /// The server has read all that was published, or never will.
    Unsubscribed,
}

/// Tells the session that an operation is done. Called on Paho's threads.
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

/// One connection to a server, from the moment at which the server has accepted the client; never
/// used twice.
pub(crate) struct Transport {
    wire: Wire,
    client: AsyncClient,
    attempt: Attempt,
    inlet: Inlet,
    /// Pending until Paho is connected to the wire, or is not. The client must not be given up before.
    connecting: Option<Pending<ConnectToken>>,
    permit: Option<Permit>,
    subscribing: HashMap<usize, Pending<SubscribeToken>>,
    publishing: HashMap<MessageIds, Pending<DeliveryToken>>,
    unsubscribing: Option<Pending<Token>>,
    /// Published since the server was last asked whether it reads.
    unread: bool,
    /// Paho is connected to the wire.
    up: bool,
    /// It was, and noticed the end, maybe before its connecting was looked at.
    lost: bool,
    /// How the connection to the server ended.
    end: Option<End>,
}

impl Transport {
    /// Lets Paho in. Its signals carry `attempt`.
    ///
    /// # Errors
    ///
    /// Paho makes no client, in its words.
    pub(crate) fn open(
        wire: Wire,
        doorway: Doorway,
        attempt: Attempt,
        inlet: Inlet,
    ) -> Result<Self, String> {
        let words = |cause: paho_mqtt::Error| cause.to_string();
        if KEEPER.get().is_none() {
            let keeper = create("tcp://localhost:1", "").map_err(words)?;
            let _ = KEEPER.set(keeper);
        }
        let Doorway {
            port,
            token,
            permit,
        } = doorway;
        let client = create(&format!("tcp://127.0.0.1:{port}"), &token).map_err(words)?;

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

    /// Asks for messages on `filter`. The outcome comes as [`Operation::Subscribe`] with `number`.
    pub(crate) fn subscribe(&mut self, number: usize, filter: &str) {
        let token = self.client.subscribe(filter, QOS_0);
        let bell = self.bell(Operation::Subscribe(number));
        self.subscribing.insert(number, Pending::new(token, bell));
    }

    /// Publishes at QoS 0. The outcome comes as [`Operation::Publish`].
    ///
    /// # Errors
    ///
    /// When the connection has ended; nothing was written.
    pub(crate) fn publish(&mut self, ids: MessageIds, topic: &str, payload: &[u8]) -> Result<()> {
        let message = Message::new(topic, payload, QOS_0);
        let token = self.client.try_publish(message).map_err(not_written)?;
        let bell = self.bell(Operation::Publish(ids));
        self.publishing.insert(ids, Pending::new(token, bell));
        self.unread = true;
        Ok(())
    }

    /// Whether something was published that the server may not have read. If messages come in when a
    /// connection ends, what the server has not read by then is lost to it, written or not.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread
    }

    /// Whether the server has been asked for a sign that it has read everything, and has not answered.
    pub(crate) fn is_flushing(&self) -> bool {
        self.unsubscribing.is_some()
    }

    /// Asks for no more messages. The server answers when it has read what was published before;
    /// the outcome comes as [`Operation::Unsubscribe`]. Asking again before that does nothing.
    pub(crate) fn unsubscribe(&mut self, filters: &[String]) {
        if self.unsubscribing.is_none() {
            self.unread = false;
            let token = self.client.unsubscribe_many(filters);
            let bell = self.bell(Operation::Unsubscribe);
            self.unsubscribing = Some(Pending::new(token, bell));
        }
    }

    /// How many downlinks are on their way out.
    pub(crate) fn open_publishes(&self) -> usize {
        self.publishing.len()
    }

    /// The outcome of an operation that was reported done; `None` when there is none yet.
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
                // Without an answer there will be none to another one either.
                self.unread &= result.is_ok();
                Some(Outcome::Unsubscribed)
            }
        }
    }

    /// Paho has noticed that its connection has ended.
    pub(crate) fn lost(&mut self) {
        self.up = false;
        self.lost = true;
    }

    /// The wire has said how the connection to the server ended.
    pub(crate) fn ended(&mut self, end: End) {
        self.end = Some(end);
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether both sides of the wire have ended, so that this may be [given up](Self::give_up).
    pub(crate) fn is_over(&self) -> bool {
        self.connecting.is_none() && !self.up && self.end.is_some()
    }

    /// Ends the connection so that the server works off what was published.
    pub(crate) fn finish(&self) {
        self.wire.finish();
    }

    /// Ends the connection now.
    pub(crate) fn cancel(&self) {
        self.wire.cancel();
    }

    /// What becomes of the downlinks that are on their way out when nobody waits for them any longer,
    /// oldest first.
    pub(crate) fn take_publishes(&mut self) -> Vec<Outcome> {
        let mut open: Vec<_> = std::mem::take(&mut self.publishing).into_iter().collect();
        open.sort_by_key(|(ids, _)| *ids);
        open.into_iter()
            .map(|(ids, mut token)| {
                let unfinished = || Err(paho_mqtt::Error::OperationIncomplete);
                published(ids, token.take().unwrap_or_else(unfinished))
            })
            .collect()
    }

    /// Gives the handle up, once it is over. Any other order can stop all of Paho for good.
    pub(crate) fn give_up(self) {
        debug_assert!(self.is_over(), "given up while Paho has a socket");
        // Paho lets go of a token a moment after it says that it is done; this call waits for that
        // moment.
        self.client.is_connected();
    }

    fn bell(&self, operation: Operation) -> Arc<Bell> {
        Bell::new(&self.inlet, self.attempt, operation)
    }
}

/// An operation under way. Paho hands its result out only once, and maybe already when it is asked
/// to report.
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
        Err(cause) => Outcome::PublishFailed(ids, not_written(cause)),
    }
}

fn not_written(cause: paho_mqtt::Error) -> Error {
    Error::with_source(
        ErrorKind::ConnectionLost,
        "the downlink was not written, the connection ended",
        cause,
    )
}
