//! The handle that users hold. Two threads work behind it: the [session](crate::session) and the
//! [callbacks]; with [workers], one more for each.

mod backfill;
mod callbacks;
mod devices;
mod feeding;
mod follow;
mod send;
mod setters;
#[cfg(all(test, feature = "simulator"))]
mod tests;
mod worker;
mod workers;

use std::{
    cell::Cell,
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded, unbounded};

use crate::{
    api::Hosts,
    config::{ConnectRetry, MAX_CLOSE_TIME, MqttClientBuilder, Options, Over, Overflow},
    downlink::Correlation,
    error::{Error, ErrorKind, Result},
    events::{Events, subscription},
    message::Rights,
    mqtt,
    network::Network,
    process::{self, Home},
    session::{Awaited, Command, Farewell, Session, SessionLink, forget_session, keeper},
    stats::Stats,
    topics::Layout,
};
pub use backfill::Backfilling;
pub use callbacks::CallbackId;
use callbacks::{Callbacks, Interest, Setter};
use workers::Workers;

/// How much longer than its time limit `close` waits for the session, whose answer says what failed.
const GRACE: Duration = Duration::from_secs(1);

/// The client of one application.
///
/// A cheap handle: clones share one client. Every method can be called from any thread and from
/// inside any callback. Dropping the last handle closes the client in the background. Call
/// [`close`](Self::close) before the program ends, so that everything that was sent is written.
///
/// ```
/// use ttn::{MqttClient, Network, simulator::Simulator};
///
/// let network = Simulator::start(Network::V3)?;
/// let client = MqttClient::builder(network.app_id(), network.access_key())
///     .mqtt_address(network.mqtt_address())
///     .build()?;
/// client.set_uplink_callback(|uplink, _| println!("{}: {}", uplink.dev_id, uplink.payload_hex()));
/// client.connect()?;
/// network.device("soil-probe-07").uplink(1, [0x01, 0x02]);
/// client.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MqttClient {
    handle: Arc<Handle>,
}

/// What the clones that users hold share. Dropping the last clone closes the client.
struct Handle {
    core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.core.is_here() {
            return;
        }
        let _ = self.core.link.interrupt.try_send(());
        // The session may have ended already.
        let _ = self.core.link.commands.send(Command::Shutdown);
    }
}

/// What the handles and the callbacks' thread share.
struct Core {
    /// Where its threads are.
    home: Home,
    options: Arc<Options>,
    topics: Arc<Layout>,
    link: SessionLink,
    /// Unbounded, so that setters never wait; the callbacks' thread reads them before anything else.
    setters: Sender<Setter>,
    interest: Arc<Interest>,
    workers: Workers,
    next_callback: AtomicU64,
    next_message: AtomicU64,
    correlation: Arc<Correlation>,
}

impl Core {
    /// Checks that this is the process of the client's threads. A fork has copies of the client's sockets,
    /// and closes them: the connection belongs to the parent, and ends with it.
    fn check_process(&self) -> Result<()> {
        self.home
            .check()
            .inspect_err(|_| self.link.status.close_copies())
    }

    /// Does the same as [`check_process`](Self::check_process), and returns whether this is that process.
    fn is_here(&self) -> bool {
        self.check_process().is_ok()
    }

    /// Notes that the current thread runs the user's closures for this client.
    fn enter(&self) {
        CLIENT.set(std::ptr::from_ref(self) as usize);
    }

    /// Returns whether the current thread runs the user's closures for this client.
    fn is_inside(&self) -> bool {
        CLIENT.get() == std::ptr::from_ref(self) as usize
    }
}

thread_local! {
    /// The client whose closures the thread runs; 0 for none. The thread keeps the client in its place.
    static CLIENT: Cell<usize> = const { Cell::new(0) };
}

fn check_way_of_downlinks(options: &Options) -> Result<()> {
    if options.downlinks == Over::Mqtt || Hosts::of(options).is_some() {
        return Ok(());
    }
    Err(Error::config(match options.network {
        Network::V2 => {
            "downlinks over HTTP are for v3 networks; a V2 network takes them over MQTT only"
        }
        Network::V3 => {
            "downlinks over HTTP need the address of the network's HTTP API; set it with http_address(\"https://…\")"
        }
    }))
}

fn check_source_of_backfills(options: &Options) -> Result<()> {
    if options.backfill.is_none() || Hosts::of(options).is_some() {
        return Ok(());
    }
    Err(Error::config(
        "backfill needs the address of the network's HTTP API, from which it fetches; set it with \
         http_address(\"https://…\")",
    ))
}

impl MqttClientBuilder {
    /// Checks the options and creates the client, which starts its two threads. Does not touch the
    /// network.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) with the option that is wrong and its value,
    /// never the key; [`ErrorKind::ResourcesExhausted`](crate::ErrorKind::ResourcesExhausted) when
    /// no thread can be started; [`ErrorKind::Forked`](crate::ErrorKind::Forked) in a process that was
    /// forked after its parent had begun to connect a client.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let error = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").mqtt_address("host:99999").build().unwrap_err();
    /// assert!(error.to_string().contains("host:99999"));
    /// ```
    pub fn build(self) -> Result<MqttClient> {
        MqttClient::start(Arc::new(self.check()?))
    }
}

impl MqttClient {
    /// Creates a client with default options. Takes the two arguments of the Python SDK's
    /// `MQTTClient`. Does not touch the network.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the application id or the key is not valid; otherwise as
    /// [`build`](MqttClientBuilder::build).
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn new(app_id: impl Into<String>, access_key: impl Into<String>) -> Result<Self> {
        Self::builder(app_id, access_key).build()
    }

    /// Starts building a client with options.
    ///
    /// ```
    /// let client = ttn::MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1").build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn builder(app_id: impl Into<String>, access_key: impl Into<String>) -> MqttClientBuilder {
        MqttClientBuilder::new(app_id.into(), access_key.into())
    }

    /// Starts building a client of a broker of one's own, which a [`Feed`](crate::Feed), a bridge or a Pub/Sub
    /// integration fills with the messages of this application. [From one process to many
    /// machines](crate::scaling_out) says when that helps.
    ///
    /// The address of the broker must be set with [`mqtt_address`](MqttClientBuilder::mqtt_address), the login, if the
    /// broker needs one, with [`credentials`](MqttClientBuilder::credentials); an access key is not needed. The client
    /// subscribes at QoS 1 and sends downlinks at QoS 1. Options that need the network itself, such as
    /// [`cluster`](MqttClientBuilder::cluster), [`http_address`](MqttClientBuilder::http_address) and
    /// [`backfill`](MqttClientBuilder::backfill), are errors of [`build`](MqttClientBuilder::build). The messages are
    /// those of v3, unless [`network`](MqttClientBuilder::network) is set to V2.
    ///
    /// ```
    /// let client = ttn::MqttClient::own_broker("my-app@ttn").mqtt_address("localhost:1883").build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn own_broker(app_id: impl Into<String>) -> MqttClientBuilder {
        MqttClientBuilder::own_broker(app_id.into())
    }

    pub(crate) fn start(options: Arc<Options>) -> Result<Self> {
        mqtt::check_process()?;
        check_way_of_downlinks(&options)?;
        check_source_of_backfills(&options)?;
        let (subscriber, events) = subscription(options.event_capacity, options.overflow);
        let interest = Arc::new(Interest::default());
        let subscriber = subscriber.named("the callbacks").only({
            let interest = Arc::clone(&interest);
            move |event| interest.includes(event)
        });
        let correlation = Arc::new(Correlation::new());
        let topics = Arc::new(Layout::new(&options));
        let link = Session::start(
            Arc::clone(&options),
            Arc::clone(&correlation),
            Arc::clone(&topics),
        )
        .map_err(Error::no_thread)?;
        let (setters, receiver) = unbounded();
        let core = Arc::new(Core {
            home: Home::here(),
            options,
            topics,
            link,
            setters,
            interest,
            workers: Workers::default(),
            next_callback: AtomicU64::new(1),
            next_message: AtomicU64::new(1),
            correlation,
        });
        let client = Self {
            handle: Arc::new(Handle { core }),
        };
        client.command(Command::Subscribe(subscriber))?;
        let callbacks = Callbacks::new(&client, receiver, events);
        process::start_thread("ttn-callbacks", move || callbacks.run())
            .map_err(Error::no_thread)?;
        Ok(client)
    }

    /// Connects and subscribes. Returns once uplinks can arrive, or with the reason for the failure,
    /// within [`connect_timeout`](MqttClientBuilder::connect_timeout). With
    /// [`connect_retry`](MqttClientBuilder::connect_retry) it keeps trying for that long.
    ///
    /// Does nothing if the client is connected. If the client is waiting to reconnect, it makes one
    /// attempt immediately and returns the result. Works again after [`close`](Self::close). The
    /// connect callbacks get the result too, on their own thread.
    ///
    /// # Errors
    ///
    /// The reason, as [`kind`](Error::kind): `NotAuthorized`, `UnknownHost`, `ConnectionRefused`,
    /// `Unreachable`, `TimedOut`, `PermissionDenied`, `ResourcesExhausted`, `CertificateAuthority`,
    /// `CertificateExpired`, `CertificateHostName`, `Tls`, `Protocol`, `ServerUnavailable`,
    /// `SubscriptionRefused`, `ConnectionLost`, those of discovery, `Closed` if another
    /// thread closed the client in the meantime, and `Forked` in a
    /// [fork](crate#forks-threads-suspended-machines) of the process that created the client.
    ///
    /// ```
    /// let client = ttn::MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").mqtt_address("localhost:1").build()?;
    /// let error = client.connect().unwrap_err();
    /// assert_eq!(error.kind(), ttn::ErrorKind::ConnectionRefused);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn connect(&self) -> Result<()> {
        self.core().check_process()?;
        mqtt::claim_process();
        let (reply, answer) = bounded(1);
        self.command(Command::Connect(reply))?;
        let options = &self.core().options;
        // The session keeps the deadlines; this limit is for a session that waits for a slow
        // subscriber. It includes the retry callback and a last attempt after its answer.
        let close = options.close_timeout.unwrap_or(MAX_CLOSE_TIME);
        let attempt = 2 * options.connect_timeout + close;
        let patience = match options.connect_retry {
            ConnectRetry::Never => attempt,
            ConnectRetry::For(time) => time + attempt,
            ConnectRetry::Forever => return answer.recv().unwrap_or_else(|_| Err(gone())),
        };
        answer.recv_timeout(patience).unwrap_or_else(|failure| match failure {
            // The session has ended without reading the command.
            RecvTimeoutError::Disconnected => Err(gone()),
            RecvTimeoutError::Timeout => Err(Error::new(
                ErrorKind::TimedOut,
                format!("the client could not start connecting within {patience:?}; does a subscriber with Overflow::Block hold it up?"),
            )),
        })
    }

    /// Closes the client within [`close_timeout`](MqttClientBuilder::close_timeout). By default, this time
    /// grows with the number of open downlinks.
    ///
    /// It first writes everything that [`send`](Self::send) accepted, and then unsubscribes. A server
    /// processes what it receives in order, so its answer proves that it has processed every downlink:
    /// `Ok` means that none is lost on the way. It does not mean that the network has accepted them (a
    /// [`Delivery`](crate::Delivery) shows that), nor, with a broker between client and network, that the
    /// network has them. If the network has reported on downlinks before, `close` waits up to 200 ms for
    /// reports that are still missing. It then ends its side of the connection and waits until the
    /// server closes the other side, the close callbacks have run with `true`, and all
    /// [workers](Self::set_uplink_workers) have handled what came before.
    ///
    /// From inside a callback or a worker it waits for none of them; they go on when the current one returns.
    /// Closing a closed client does nothing. A `connect` that another thread is waiting for returns
    /// [`ErrorKind::Closed`].
    ///
    /// Dropping the last handle closes in the same way, but in the background and without a result. A
    /// program that ends right after that loses what the server has not processed.
    ///
    /// # Errors
    ///
    /// The client is closed nevertheless, and can connect again.
    ///
    /// - [`ErrorKind::Unconfirmed`] if the server has not processed everything in time, or the
    ///   connection ended first. The error says how many downlinks are uncertain, and
    ///   [`Stats::uncertain`](crate::Stats::uncertain) counts them; their deliveries are
    ///   [`Unconfirmed`](crate::DeliveryState::Unconfirmed). If the time was over, the connection stays
    ///   open in the background for up to 30 s, so that the server can finish (at most the last 16 such
    ///   connections); reports that arrive in that time count. Set a longer `close_timeout`, or wait for
    ///   the deliveries before closing.
    /// - [`ErrorKind::TimedOut`], [`ErrorKind::ConnectionLost`] or [`ErrorKind::NotConnected`] if
    ///   downlinks were not written, for example because of [`pace`](MqttClientBuilder::pace), or because
    ///   they waited in the [offline queue](MqttClientBuilder::offline_queue) for a connection. The error
    ///   says how many.
    /// - [`ErrorKind::TimedOut`] if a callback is still running after the timeout, or a worker has not handled
    ///   everything.
    /// - [`ErrorKind::Forked`] in a [fork](crate#forks-threads-suspended-machines) of the process that
    ///   created the client. The client of that process is not affected.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.close()?;
    /// client.close()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn close(&self) -> Result<()> {
        self.core().check_process()?;
        let link = &self.core().link;
        let start = Instant::now();
        let (reply, answer) = bounded(1);
        let _ = link.interrupt.try_send(());
        if link.commands.send(Command::Close(reply)).is_err() {
            return Ok(());
        }
        // The session knows how much is open, and keeps the time limit.
        let longest = self.core().options.close_timeout.unwrap_or(MAX_CLOSE_TIME);
        let Ok(Farewell {
            end,
            within,
            result,
        }) = answer.recv_deadline(start + longest + GRACE)
        else {
            return Err(not_closed_within(longest));
        };
        match link
            .status
            .wait_until_told(end, self.awaited(), start + within)
        {
            true => result,
            false => result.and(Err(not_closed_within(within))),
        }
    }

    /// Ends the [persistent session](crate::Session::persistent) of the client on its
    /// [broker](Self::own_broker), which then keeps nothing for it: neither messages nor subscriptions. Closes the client
    /// first if it is connected. Call it when the client leaves for good; otherwise the broker keeps messages for it as
    /// long as its own options say, perhaps for ever. Also call it before a client id gets other topics, another group or
    /// other partitions: the broker would keep the earlier subscriptions. What it has kept for the client is lost. For
    /// each server of the broker that does not answer, it blocks for
    /// [`connect_timeout`](MqttClientBuilder::connect_timeout) and the time of a name lookup. [`connect`](Self::connect)
    /// begins a new session.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Config`] without a persistent session
    /// - those of [`connect`](Self::connect) if the broker cannot be reached or refuses the client
    /// - those of [`close`](Self::close); the session is ended nevertheless
    ///
    /// ```no_run
    /// use ttn::{MqttClient, Session};
    ///
    /// let client = MqttClient::own_broker("my-app@ttn")
    ///     .mqtt_address("localhost:1883")
    ///     .session(Session::persistent("worker-1"))
    ///     .build()?;
    /// client.forget_session()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn forget_session(&self) -> Result<()> {
        let options = &self.core().options;
        let keeper = keeper(options)?;
        let closed = self.close();
        forget_session(options, keeper)?;
        closed
    }

    /// Waits until the client is closed, the close callbacks have run, and the workers have handled what came
    /// before: because of
    /// [`close`](Self::close) in a callback or on another thread, or because the connection was lost
    /// with `reconnect(false)`. Returns immediately if the client is neither connected nor
    /// connecting. Made for callback-driven scripts.
    ///
    /// If a callback reconnects the client, `wait` keeps waiting. If another thread reconnects it
    /// right after `close`, `wait` may return or keep waiting. Inside a callback or a worker it waits for the
    /// connection only. In a fork of the process that created the client, it returns immediately.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.wait();
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Waits like [`wait`](Self::wait), but not longer than `timeout`. Returns whether the client is
    /// closed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert!(client.wait_timeout(Duration::from_secs(1)));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        if !self.core().is_here() {
            return true;
        }
        let status = &self.core().link.status;
        status.wait_until_closed(|| self.awaited(), deadline)
    }

    /// Returns whom to wait for. A callback must not wait for itself, nor for a worker that may wait for it.
    fn awaited(&self) -> Awaited {
        let is_outside = !self.core().is_inside();
        Awaited {
            callbacks: is_outside && self.core().interest.is_raised(),
            workers: is_outside,
        }
    }

    /// Returns whether the client is connected, as far as it knows. A silent outage is noticed only
    /// after a while; see [`keep_alive`](MqttClientBuilder::keep_alive). In a fork of the process that
    /// created the client, it is not.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert!(!client.is_connected());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_connected(&self) -> bool {
        self.core().is_here() && self.core().link.status.is_connected()
    }

    /// Returns the application id as it was set; on v3 it includes the tenant. The ids in messages do
    /// not.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert_eq!(client.app_id(), "my-app@ttn");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn app_id(&self) -> &str {
        &self.core().options.app_id
    }

    /// Returns the network whose language the client speaks: the one that was
    /// [set](MqttClientBuilder::network), or the one that the application id and the access key show.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert_eq!(client.network(), ttn::Network::V3);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn network(&self) -> Network {
        self.core().options.network
    }

    /// Returns what the access key allows on the application, as the network told it last. Does not wait and
    /// asks nothing: the client [asks over HTTP](crate#asking-over-http) in the background when it has
    /// connected, and again at later connections only if a right was missing. The answer comes within about
    /// a second.
    ///
    /// `None` as long as the rights are not known: before the first connection, if the key was changed by the
    /// [retry callback](Self::set_retry_callback), on V2, without an HTTP API or with
    /// [`ask_over_http(false)`](MqttClientBuilder::ask_over_http), if the network did not answer, and in a fork
    /// of the process that created the client.
    ///
    /// The network looks at the rights when a client connects. If they are changed later, that takes effect
    /// with the next connection: to get new rights, [`close`](Self::close) the client and
    /// [`connect`](Self::connect) again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ttn::MqttClient;
    /// # let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1").build()?;
    /// if client.rights().is_some_and(|rights| !rights.may_send()) {
    ///     println!("this program only listens");
    /// }
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn rights(&self) -> Option<Rights> {
        self.core()
            .is_here()
            .then(|| self.core().link.status.rights())?
    }

    /// Returns the client's counters. Does not wait. In a fork of the process that created the client,
    /// they no longer change.
    ///
    /// ```
    /// # use ttn::{Event, MqttClient, Network, simulator::Simulator};
    /// # let network = Simulator::start(Network::V3)?;
    /// # let client = MqttClient::builder(network.app_id(), network.access_key())
    /// #     .mqtt_address(network.mqtt_address())
    /// #     .build()?;
    /// let events = client.events();
    /// client.connect()?;
    /// network.device("soil-probe-07").uplink(1, [0x01, 0x02]);
    /// while !matches!(events.recv()?, Event::Uplink(_)) {}
    /// let stats = client.stats();
    /// assert!(stats.connected_since.is_some());
    /// assert_eq!((stats.malformed, stats.dropped, stats.reconnects), (0, 0, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stats(&self) -> Stats {
        let link = &self.core().link;
        let workers = self.core().workers.stats(self.core().home);
        link.status.stats(link.room.taken(), workers)
    }

    /// Subscribes to all events, independently of the callbacks, with the capacity and overflow of the
    /// options. Earlier events are not repeated.
    ///
    /// ```
    /// # use ttn::{Event, MqttClient, Network, simulator::Simulator};
    /// # let network = Simulator::start(Network::V3)?;
    /// # let client = MqttClient::builder(network.app_id(), network.access_key())
    /// #     .mqtt_address(network.mqtt_address())
    /// #     .build()?;
    /// let events = client.events();
    /// client.connect()?;
    /// assert!(matches!(events.recv()?, Event::Connected(_)));
    /// network.device("soil-probe-07").uplink(1, [0x01, 0x02]);
    /// let Event::Uplink(uplink) = events.recv()? else { panic!() };
    /// assert_eq!(uplink.payload_raw, [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn events(&self) -> Events {
        let options = &self.core().options;
        self.events_with(options.event_capacity, options.overflow)
    }

    /// Subscribes like [`events`](Self::events), with its own capacity (0 counts as 1) and overflow.
    ///
    /// ```
    /// # use ttn::Overflow;
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let newest = client.events_with(10, Overflow::DropOldest);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn events_with(&self, capacity: usize, overflow: Overflow) -> Events {
        let (subscriber, events) = subscription(capacity, overflow);
        // If the session has ended, or is in another process, so has the stream.
        let _ = self.command(Command::Subscribe(subscriber));
        events
    }

    /// Returns whether no marker came back that could prove that the broker delivers what a group shares.
    pub(crate) fn is_sharing_unproved(&self) -> bool {
        self.core().link.status.is_sharing_unproved()
    }

    fn core(&self) -> &Core {
        &self.handle.core
    }

    fn command(&self, command: Command) -> Result<()> {
        self.core().check_process()?;
        let commands = &self.core().link.commands;
        commands.send(command).map_err(|_| gone())
    }
}

fn not_closed_within(time: Duration) -> Error {
    Error::new(
        ErrorKind::TimedOut,
        format!("closing took longer than {time:?}; is a callback or a worker still running?"),
    )
}

fn gone() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the last handle of the client was dropped",
    )
}

impl fmt::Debug for MqttClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttClient")
            .field("app_id", &self.app_id())
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}
