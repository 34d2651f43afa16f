//! MQTT in our words. The only file that names `paho_mqtt`.
//!
//! Paho has one lock and two threads for all clients of a process, and calls back with the lock
//! held. So its callbacks only push to a channel, a handle is used by one thread, and a handle is
//! given up by one protocol ([`Transport::close`]).

use std::{
    collections::HashMap,
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use paho_mqtt::{
    AsyncClient, ConnectOptionsBuilder, ConnectReturnCode, ConnectToken, CreateOptionsBuilder,
    DeliveryToken, MQTT_VERSION_3_1_1, Message, PersistenceType, QOS_0, SslOptionsBuilder,
    SubscribeToken, Token,
};

use crate::{
    delivery::MessageIds,
    error::{Error, ErrorKind, Result},
    message::RawMessage,
    outbox::Publish,
};

/// Paho's own limit counts messages that wait to be written; ours is smaller, so that ours decides.
const PAHO_BUFFER: i32 = 65_536;

/// How long a DISCONNECT may wait behind output that the server does not read.
const DISCONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A client that never connects and is never dropped. While it lives, Paho keeps its two threads;
/// without it, dropping the last client of the process takes up to a second and leaks two file
/// descriptors.
static KEEPER: OnceLock<AsyncClient> = OnceLock::new();

/// What a connection is made with.
pub(crate) struct ConnectOptions {
    pub(crate) uri: Uri,
    pub(crate) client_id: String,
    pub(crate) user_name: String,
    pub(crate) password: Vec<u8>,
    pub(crate) keep_alive: Duration,
    pub(crate) timeout: Duration,
}

pub(crate) enum Uri {
    Plain(std::net::SocketAddr),
    /// The name stays, since the certificate is checked against it.
    Tls {
        host: String,
        port: u16,
        files: TlsFiles,
    },
}

/// PEM files, as Paho wants them.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) certificate_and_key: Option<(PathBuf, PathBuf)>,
}

/// How a connection attempt failed, as far as Paho says.
#[derive(Debug)]
pub(crate) enum ConnectFailure {
    /// The server's answer, 1 to 5.
    Refused(u8),
    /// No answer in time.
    TimedOut,
    /// Paho mistook this connection for another one that had just ended under the same number, and
    /// ended it.
    Mistaken,
    /// Everything else, in Paho's words, which do not tell one cause from another.
    Unknown(String),
}

/// What a connection reports, through the channel of its [`Inlet`].
#[derive(Debug)]
pub(crate) enum Signal {
    Message(RawMessage),
    /// So many messages were dropped here, for want of room.
    Missed(u64),
    /// The first of them was dropped.
    Full,
    Lost,
    /// An operation is done; [`Transport::advance`] says how.
    Done(Operation),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Connect,
    Subscribe(usize),
    Publish(MessageIds),
    Unsubscribe,
}

/// The outcome of an operation.
#[derive(Debug)]
pub(crate) enum Outcome {
    Connected,
    ConnectFailed(ConnectFailure),
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

/// A signal, and which connection it is from.
pub(crate) type Tagged = (u64, Signal);

/// Where connections put their signals: messages as long as there is room, other signals always.
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
    /// Never waits: this runs on Paho's thread.
    fn message(&self, generation: u64, topic: &str, payload: &[u8]) {
        let size = topic.len() + payload.len();
        let room = &self.room;
        if room.messages.load(Ordering::Relaxed) >= room.max_messages
            || room.bytes.load(Ordering::Relaxed) + size > room.max_bytes
        {
            // A session with nothing else to read would not look.
            if room.missed.fetch_add(1, Ordering::Relaxed) == 0 {
                self.signal(generation, Signal::Full);
            }
            return;
        }
        let missed = room.take_missed();
        if missed > 0 {
            self.signal(generation, Signal::Missed(missed));
        }
        room.messages.fetch_add(1, Ordering::Relaxed);
        room.bytes.fetch_add(size, Ordering::Relaxed);
        self.signal(generation, Signal::Message(RawMessage::new(topic, payload)));
    }

    fn signal(&self, generation: u64, signal: Signal) {
        // Without a session there is nobody left to tell.
        let _ = self.sender.send((generation, signal));
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

/// Tells the session that an operation is done. Called on Paho's threads.
struct Bell {
    inlet: Inlet,
    generation: u64,
    operation: Operation,
}

impl Bell {
    fn new(inlet: &Inlet, generation: u64, operation: Operation) -> Arc<Self> {
        Arc::new(Self {
            inlet: inlet.clone(),
            generation,
            operation,
        })
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.inlet
            .signal(self.generation, Signal::Done(self.operation));
    }
}

/// One connection to a server, from the attempt on; never used twice.
pub(crate) struct Transport {
    client: AsyncClient,
    generation: u64,
    inlet: Inlet,
    /// Pending until the attempt is over. The client must not be given up before.
    connecting: Option<Pending<ConnectToken>>,
    subscribing: HashMap<usize, Pending<SubscribeToken>>,
    publishing: HashMap<MessageIds, Pending<DeliveryToken>>,
    unsubscribing: Option<Pending<Token>>,
    /// Published since the server was last asked whether it reads.
    unread: bool,
    up: bool,
    /// Set by Paho.
    broken: Arc<AtomicBool>,
}

impl Transport {
    /// Starts an attempt. Its signals carry `generation`.
    pub(crate) fn connect(
        options: &ConnectOptions,
        generation: u64,
        inlet: Inlet,
    ) -> Result<Self, ConnectFailure> {
        let unknown = |cause: paho_mqtt::Error| ConnectFailure::Unknown(cause.to_string());
        if KEEPER.get().is_none() {
            // Before Paho does it in another way: OpenSSL would clean up at the end of the process
            // while a thread of ours ends, and both would free what belongs to that thread.
            openssl::init();
            let keeper = create("tcp://localhost:1", "").map_err(unknown)?;
            let _ = KEEPER.set(keeper);
        }
        let uri = match &options.uri {
            Uri::Plain(address) => format!("tcp://{address}"),
            Uri::Tls { host, port, .. } => {
                format!("ssl://{}:{port}", crate::address::in_brackets(host))
            }
        };
        let client = create(&uri, &options.client_id).map_err(unknown)?;

        let messages = inlet.clone();
        client.set_message_callback(move |_, message| {
            if let Some(message) = message {
                messages.message(generation, message.topic(), message.payload());
            }
        });
        let lost = inlet.clone();
        let broken = Arc::new(AtomicBool::new(false));
        let broke = Arc::clone(&broken);
        client.set_connection_lost_callback(move |_| {
            broke.store(true, Ordering::Release);
            lost.signal(generation, Signal::Lost);
        });

        let mut connect = ConnectOptionsBuilder::with_mqtt_version(MQTT_VERSION_3_1_1);
        connect
            .clean_session(true)
            .keep_alive_interval(options.keep_alive)
            .connect_timeout(options.timeout.max(Duration::from_secs(1)))
            .user_name(&options.user_name)
            .password(options.password.clone());
        if let Uri::Tls { files, .. } = &options.uri {
            let mut ssl = SslOptionsBuilder::new();
            // Without `verify` Paho checks the chain but not the host name.
            ssl.enable_server_cert_auth(true).verify(true);
            if let Some(ca) = &files.ca {
                ssl.trust_store(ca).map_err(unknown)?;
            }
            if let Some((certificate, key)) = &files.certificate_and_key {
                ssl.key_store(certificate).map_err(unknown)?;
                ssl.private_key(key).map_err(unknown)?;
            }
            connect.ssl_options(ssl.finalize());
        }
        let bell = Bell::new(&inlet, generation, Operation::Connect);
        let connecting = Pending::new(client.connect(connect.finalize()), bell);
        Ok(Self {
            client,
            generation,
            inlet,
            connecting: Some(connecting),
            subscribing: HashMap::new(),
            publishing: HashMap::new(),
            unsubscribing: None,
            unread: false,
            up: false,
            broken,
        })
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
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
    /// The message as it was, nothing of which was written.
    pub(crate) fn publish(&mut self, publish: Publish) -> Result<(), Box<(Publish, Error)>> {
        let ids = publish.ids;
        let message = Message::new(&*publish.topic, &*publish.payload, QOS_0);
        let token = match self.client.try_publish(message) {
            Ok(token) => token,
            Err(cause) => return Err(Box::new((publish, not_written(cause)))),
        };
        let bell = self.bell(Operation::Publish(ids));
        self.publishing.insert(ids, Pending::new(token, bell));
        self.unread = true;
        Ok(())
    }

    /// Whether something was published that the server may not have read. If messages come in when a
    /// connection ends, what the server has not read by then is lost to it, written or not.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread || self.unsubscribing.is_some()
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
                Some(match result {
                    Ok(_) => {
                        self.up = true;
                        Outcome::Connected
                    }
                    Err(cause) => Outcome::ConnectFailed(connect_failure(&cause)),
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

    /// The connection was reported lost.
    pub(crate) fn lost(&mut self) {
        self.up = false;
    }

    /// Whether the attempt is over, so that the connection may be closed.
    pub(crate) fn is_resolved(&self) -> bool {
        self.connecting.is_none()
    }

    /// Ends the connection and gives the handle up: only once the attempt is over, disconnected if
    /// it is up, and behind a barrier. Any other order can stop all of Paho for good. Returns what
    /// became of the downlinks that were on their way out, oldest first.
    pub(crate) fn close(mut self) -> Vec<Outcome> {
        debug_assert!(self.is_resolved(), "closed while the attempt is under way");
        if self.up {
            let (sender, receiver) = bounded(1);
            let mut token = Pending::new(self.client.disconnect(None), Arc::new(Chime(sender)));
            if token.take().is_none() {
                let _ = receiver.recv_timeout(DISCONNECT_TIMEOUT);
            }
        }
        // Paho lets go of a token a moment after it says that it is done; this call waits for that
        // moment.
        self.client.is_connected();
        let mut open: Vec<_> = std::mem::take(&mut self.publishing).into_iter().collect();
        open.sort_by_key(|(ids, _)| *ids);
        open.into_iter()
            .map(|(ids, mut token)| {
                let unfinished = || Err(paho_mqtt::Error::OperationIncomplete);
                published(ids, token.take().unwrap_or_else(unfinished))
            })
            .collect()
    }

    /// Closes after a subscription was refused; whether the server did that. Paho says the same of
    /// one that it could not write, and only then that the connection is lost.
    pub(crate) fn close_refused(self) -> bool {
        let broken = Arc::clone(&self.broken);
        self.close();
        !broken.load(Ordering::Acquire)
    }

    fn bell(&self, operation: Operation) -> Arc<Bell> {
        Bell::new(&self.inlet, self.generation, operation)
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

/// Wakes one waiting thread.
struct Chime(Sender<()>);

impl Wake for Chime {
    fn wake(self: Arc<Self>) {
        let _ = self.0.try_send(());
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

fn connect_failure(cause: &paho_mqtt::Error) -> ConnectFailure {
    match cause {
        paho_mqtt::Error::ConnectReturn(code) => ConnectFailure::Refused(match code {
            ConnectReturnCode::Accepted => 0,
            ConnectReturnCode::UnacceptableProtocolVersion => 1,
            ConnectReturnCode::IdentifierRejected => 2,
            ConnectReturnCode::ServerUnavailable => 3,
            ConnectReturnCode::BadUserNameOrPassword => 4,
            ConnectReturnCode::NotAuthorized => 5,
        }),
        paho_mqtt::Error::TcpConnectTimeout | paho_mqtt::Error::Timeout => ConnectFailure::TimedOut,
        // Paho looks a connection that failed up by the number of its socket, which may by then be
        // the number of a new one.
        paho_mqtt::Error::SocketError(_) => ConnectFailure::Mistaken,
        cause => ConnectFailure::Unknown(cause.to_string()),
    }
}
