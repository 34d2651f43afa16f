//! The handle that a user holds. Everything it does is done by two threads: see `session.rs` and
//! `callbacks.rs`.

mod callbacks;

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded, unbounded};

use crate::{
    closure::{CallbackResult, closure},
    config::{ConnectRetry, MqttClientBuilder, Options, Overflow},
    downlink::{Batch, Correlation, Delivery, Draft, Room},
    error::{Error, ErrorKind, Result},
    events::{Events, subscription},
    message::{Downlink, MessageId, RawMessage, UplinkMessage},
    recovery::{Hook, Retry},
    session::{Command, Session, SessionLink, not_connected},
    stats::Stats,
};
pub use callbacks::CallbackId;
use callbacks::{Callback, Callbacks, Interest, Setter};

/// A client of one application.
///
/// A cheap handle: clones are the same client. Every method may be called from any thread and from
/// inside any callback. When the last handle is dropped the client closes in the background; call
/// [`close`](Self::close) before a program ends, so that what was sent is written.
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

/// Shared by the clones that users hold; the last one closes the client.
struct Handle {
    core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.core.link.interrupt.try_send(());
        // A session that has ended needs no telling.
        let _ = self.core.link.commands.send(Command::Shutdown);
    }
}

struct Core {
    options: Arc<Options>,
    link: SessionLink,
    /// Unbounded: setters never wait, and the thread behind it takes them before anything else.
    setters: Sender<Setter<MqttClient>>,
    interest: Arc<Interest>,
    callbacks_thread: OnceLock<ThreadId>,
    next_callback: AtomicU64,
    next_message: AtomicU64,
    correlation: Correlation,
}

impl MqttClientBuilder {
    /// Checks the options and makes the client, which starts its two threads. Does not touch the
    /// network.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) with the option that is wrong and its value,
    /// never the key; [`ErrorKind::ResourcesExhausted`](crate::ErrorKind::ResourcesExhausted) when
    /// no thread can be started.
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
    /// A client with default options: the two arguments of the Python SDK's `MQTTClient`. Does not
    /// touch the network.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when the application id or the key cannot be one.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn new(app_id: impl Into<String>, access_key: impl Into<String>) -> Result<Self> {
        Self::builder(app_id, access_key).build()
    }

    /// A client with options.
    ///
    /// ```
    /// let client = ttn::MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1").build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn builder(app_id: impl Into<String>, access_key: impl Into<String>) -> MqttClientBuilder {
        MqttClientBuilder::new(app_id.into(), access_key.into())
    }

    pub(crate) fn start(options: Arc<Options>) -> Result<Self> {
        let (subscriber, events) = subscription(options.event_capacity, options.overflow);
        let interest = Arc::new(Interest::default());
        let subscriber = subscriber.only({
            let interest = Arc::clone(&interest);
            move |event| interest.includes(event)
        });
        let link = Session::start(Arc::clone(&options)).map_err(no_thread)?;
        let (setters, receiver) = unbounded();
        let core = Arc::new(Core {
            options,
            link,
            setters,
            interest,
            callbacks_thread: OnceLock::new(),
            next_callback: AtomicU64::new(1),
            next_message: AtomicU64::new(1),
            correlation: Correlation::new(),
        });
        let client = Self {
            handle: Arc::new(Handle {
                core: Arc::clone(&core),
            }),
        };
        client.command(Command::Subscribe(subscriber))?;
        let handle = Arc::downgrade(&client.handle);
        let callbacks = Callbacks {
            setters: receiver,
            spent: core.link.spent.clone(),
            events,
            commands: core.link.commands.clone(),
            status: Arc::clone(&core.link.status),
            list: Vec::new(),
            has_lost: false,
            client: Box::new({
                let core = Arc::clone(&core);
                // The close callbacks are called when the last handle is gone, too.
                move || Self {
                    handle: handle.upgrade().unwrap_or_else(|| {
                        Arc::new(Handle {
                            core: Arc::clone(&core),
                        })
                    }),
                }
            }),
        };
        let thread = thread::Builder::new()
            .name("ttn-callbacks".to_owned())
            .spawn(move || callbacks.run())
            .map_err(no_thread)?;
        let _ = core.callbacks_thread.set(thread.thread().id());
        Ok(client)
    }

    /// Connects and subscribes; returns when uplinks arrive, or with the reason why not, within
    /// [`connect_timeout`](MqttClientBuilder::connect_timeout). With
    /// [`connect_retry`](MqttClientBuilder::connect_retry) it goes on trying for as long as that
    /// says.
    ///
    /// When connected already it does nothing. While the client waits to connect again it makes one
    /// attempt at once, and returns its result. Works again after [`close`](Self::close). The connect callbacks are called with the
    /// result, on their own thread.
    ///
    /// # Errors
    ///
    /// The reason, by [`kind`](Error::kind): `NotAuthorized`, `UnknownHost`, `ConnectionRefused`,
    /// `Unreachable`, `TimedOut`, `PermissionDenied`, `ResourcesExhausted`, `CertificateAuthority`,
    /// `CertificateExpired`, `CertificateHostName`, `Tls`, `Protocol`, `ServerUnavailable`,
    /// `SubscriptionRefused`, `ConnectionLost`, those of discovery, and `Closed` when another
    /// thread closed the client meanwhile.
    ///
    /// ```
    /// let client = ttn::MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").mqtt_address("localhost:1").build()?;
    /// let error = client.connect().unwrap_err();
    /// assert_eq!(error.kind(), ttn::ErrorKind::ConnectionRefused);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn connect(&self) -> Result<()> {
        let (reply, answer) = bounded(1);
        self.command(Command::Connect(reply))?;
        let options = &self.core().options;
        // The session keeps the time; this limit is for a session that waits for a slow subscriber.
        // The retry callback has its time as well, and a last attempt may begin when that is over.
        let attempt = 2 * options.connect_timeout + options.close_timeout;
        let patience = match options.connect_retry {
            ConnectRetry::Never => attempt,
            ConnectRetry::For(time) => time + attempt,
            ConnectRetry::Forever => return answer.recv().unwrap_or_else(|_| Err(gone())),
        };
        answer.recv_timeout(patience).unwrap_or_else(|failure| match failure {
            // The session has ended without having read the command.
            RecvTimeoutError::Disconnected => Err(gone()),
            RecvTimeoutError::Timeout => Err(Error::new(
                ErrorKind::TimedOut,
                format!("the client did not come to connect within {patience:?}; does a subscriber with Overflow::Block hold it up?"),
            )),
        })
    }

    /// Writes what [`send`](Self::send) accepted and waits until the server has read it, for half of
    /// [`close_timeout`](MqttClientBuilder::close_timeout) at most; then says that nothing more
    /// follows and waits until the server has closed its side too, and until the close callbacks have
    /// been called with `true`, for the rest of it. A server that is busy with downlinks closes late:
    /// The Things Stack took 2 s for 600. What it has not closed by then is closed in the background,
    /// within 20 s.
    ///
    /// From inside a callback it does not wait for callbacks; they are called when the current one
    /// returns. Closing a client that is closed does nothing. A `connect` that another thread is
    /// waiting for returns [`ErrorKind::Closed`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`] when a callback is still running at the end of that time; the
    /// connection has ended all the same.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.close()?;
    /// client.close()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn close(&self) -> Result<()> {
        let link = &self.core().link;
        let deadline = Instant::now() + self.core().options.close_timeout;
        let (reply, answer) = bounded(1);
        let _ = link.interrupt.try_send(());
        if link.commands.send(Command::Close(reply)).is_err() {
            return Ok(());
        }
        let told = match answer.recv_deadline(deadline) {
            Ok(end) => !self.awaits_callbacks() || link.status.wait_until_told(end, deadline),
            Err(_) => false,
        };
        if told {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TimedOut,
            format!(
                "closing took longer than {:?}; is a callback still running?",
                self.core().options.close_timeout
            ),
        ))
    }

    /// Waits until the client is closed and the close callbacks have been called: by
    /// [`close`](Self::close) from a callback or another thread, or by a lost connection with
    /// `reconnect(false)`. Returns at once when the client is neither connected nor connecting. For
    /// scripts that live by their callbacks.
    ///
    /// A client that a callback connects again is not closed: the waiting goes on until the next end.
    /// When another thread connects it again right after `close`, it may return or go on. Inside a
    /// callback it waits for the connection only.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.wait();
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`wait`](Self::wait), at most so long; whether the client is closed.
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
        let status = &self.core().link.status;
        status.wait_until_closed(|| self.awaits_callbacks(), deadline)
    }

    /// Without callbacks there is nobody to wait for, and a callback would wait for itself.
    fn awaits_callbacks(&self) -> bool {
        self.core().interest.is_raised() && !self.is_callbacks_thread()
    }

    /// Whether the client is connected, as far as it knows: a silent outage is noticed only after a
    /// while ([`keep_alive`](MqttClientBuilder::keep_alive)).
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert!(!client.is_connected());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_connected(&self) -> bool {
        self.core().link.status.is_connected()
    }

    /// The application's id as it was given, on v3 with the tenant; messages have it without.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert_eq!(client.app_id(), "my-app@ttn");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn app_id(&self) -> &str {
        &self.core().options.app_id
    }

    /// Sends a downlink: hex text, base64 text, bytes or a JSON object, or a [`Downlink`] with
    /// port, confirmation and schedule.
    ///
    /// Returns when the downlink is checked and accepted; it is then written in the background, in
    /// the order of the calls. The downlink callback is called with its
    /// [`message_id`](Delivery::message_id) when it has left this machine, which may be before
    /// `send` returns. What becomes of it then, the [`Delivery`] knows.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Downlink`] for all that the network would drop without a word: an id, an FPort
    /// (1 to 223), a payload that cannot be; [`ErrorKind::NotConnected`]; [`ErrorKind::QueueFull`].
    ///
    /// ```no_run
    /// use serde_json::json;
    /// use ttn::{Downlink, Schedule};
    ///
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let first = client.send("dev-1", "AQ==")?;
    /// let second = client.send("dev-1", json!({"led_state": "on", "counter": 1}))?;
    /// let third = client.send("dev-1", Downlink::bytes([1, 2]).port(2).confirmed(true).schedule(Schedule::Last))?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn send(&self, dev_id: &str, downlink: impl Into<Downlink>) -> Result<Delivery> {
        let mut deliveries = self.send_downlinks(dev_id, &[downlink.into()])?;
        Ok(deliveries.swap_remove(0))
    }

    /// Sends several downlinks to one device, to be queued in this order. All have the same
    /// [`schedule`](Downlink::schedule), which is about the whole: `Replace` puts them in place of
    /// what waits for the device.
    ///
    /// A v3 network gets them in one message, which counts once for its limit of messages, and takes
    /// all of them or none. To a V2 network they go one by one.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), for the first downlink that is wrong; none is sent then. Without a
    /// downlink: [`clear_queue`](Self::clear_queue) empties the queue.
    ///
    /// ```no_run
    /// use ttn::{Downlink, Schedule};
    ///
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let steps = [[1, 10], [2, 20], [3, 30]].map(|step| Downlink::bytes(step).schedule(Schedule::Last));
    /// let deliveries = client.send_batch("dev-1", steps)?;
    /// assert_eq!(deliveries.len(), 3);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn send_batch<D: Into<Downlink>>(
        &self,
        dev_id: &str,
        downlinks: impl IntoIterator<Item = D>,
    ) -> Result<Vec<Delivery>> {
        let downlinks: Vec<Downlink> = downlinks.into_iter().map(Into::into).collect();
        self.send_downlinks(dev_id, &downlinks)
    }

    /// Sends downlinks to any number of devices: pairs of a device's id and a downlink, each with its
    /// own schedule, to be written in this order, as by [`send`](Self::send) one after the other.
    /// Either all are accepted or none. Against limits of the network:
    /// [`pace`](MqttClientBuilder::pace).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), for the first downlink that is wrong. [`ErrorKind::Downlink`] also when
    /// there are more than [`send_capacity`](MqttClientBuilder::send_capacity).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ttn::{DeliveryState, Downlink, MqttClient, Network, simulator::Simulator};
    /// # let network = Simulator::start(Network::V3)?;
    /// # ["lamp-1", "lamp-2", "lamp-3"].map(|lamp| network.device(lamp).join());
    /// # let client = MqttClient::builder(network.app_id(), network.access_key())
    /// #     .mqtt_address(network.mqtt_address())
    /// #     .build()?;
    /// # client.connect()?;
    /// let lamps = ["lamp-1", "lamp-2", "lamp-3"];
    /// let deliveries = client.send_many(lamps.map(|lamp| (lamp, Downlink::bytes([0x01]).port(15))))?;
    /// for (lamp, delivery) in lamps.iter().zip(&deliveries) {
    ///     println!("{lamp}: {}", delivery.wait_for(DeliveryState::Queued, Duration::from_secs(10))?);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_many<I, D>(
        &self,
        downlinks: impl IntoIterator<Item = (I, D)>,
    ) -> Result<Vec<Delivery>>
    where
        I: AsRef<str>,
        D: Into<Downlink>,
    {
        let mut draft = Draft::default();
        for (dev_id, downlink) in downlinks {
            self.draft(&mut draft, dev_id.as_ref(), &[downlink.into()])?;
        }
        self.send_draft(draft)
    }

    /// Answers an uplink: sends a downlink to its device, on its FPort unless the downlink has one.
    ///
    /// A device of class A listens for a moment some seconds after its uplink (1 s by the LoRaWAN
    /// specification, 5 s on The Things Network), and the network needs a part of that. A reply from
    /// inside the uplink callback is in time; one that comes too late is sent after the next uplink.
    /// By default it takes the place of what waits for the device, so that it is what the device hears
    /// next; with [`Schedule::Last`](crate::Schedule::Last) it comes after that, and with
    /// [`Schedule::First`](crate::Schedule::First), on V2, before.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). [`ErrorKind::Downlink`] also for an uplink of another application.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ttn::{MqttClient, Network, simulator::Simulator};
    /// # let network = Simulator::builder(Network::V3).receive_window(Duration::from_millis(500)).start()?;
    /// # let client = MqttClient::builder(network.app_id(), network.access_key())
    /// #     .mqtt_address(network.mqtt_address())
    /// #     .build()?;
    /// client.set_uplink_callback(|uplink, client| client.reply(uplink, [0x06]));
    /// # client.connect()?;
    /// # let device = network.device("counter-3");
    /// # device.uplink(5, [1, 2, 3]);
    /// # assert_eq!(device.next_downlink(Duration::from_secs(5)).unwrap().port, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reply(&self, uplink: &UplinkMessage, downlink: impl Into<Downlink>) -> Result<Delivery> {
        let app_id = self.app_id();
        if app_id.split('@').next() != Some(&uplink.app_id) {
            return Err(Error::new(
                ErrorKind::Downlink,
                format!(
                    "cannot answer {}: it is a device of the application {:?}, and the client is one of {app_id:?}",
                    uplink.dev_id, uplink.app_id
                ),
            ));
        }
        self.send(&uplink.dev_id, uplink.reply(downlink))
    }

    /// Empties the queue of downlinks that wait for a device. v3 only: a V2 network can only replace
    /// it. The network does not report what it threw away, and a downlink that is on its way stays
    /// so.
    ///
    /// Returns when the request is accepted, with the id with which the downlink callback is called
    /// when it has left this machine.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Downlink`] on V2 or for an id that cannot be; [`ErrorKind::NotConnected`];
    /// [`ErrorKind::QueueFull`].
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.clear_queue("dev-1")?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn clear_queue(&self, dev_id: &str) -> Result<MessageId> {
        let options = &self.core().options;
        let request = options.network.encode_clear(&options.app_id, dev_id)?;
        let draft = Draft::of_request(request);
        let (first, room) = self.admit(draft.len())?;
        self.hand_over(draft.into_batch(first, room))?;
        Ok(MessageId(first))
    }

    fn send_downlinks(&self, dev_id: &str, downlinks: &[Downlink]) -> Result<Vec<Delivery>> {
        let mut draft = Draft::default();
        self.draft(&mut draft, dev_id, downlinks)?;
        self.send_draft(draft)
    }

    fn draft(&self, draft: &mut Draft, dev_id: &str, downlinks: &[Downlink]) -> Result<()> {
        let core = self.core();
        draft.add(&core.options, &core.correlation, dev_id, downlinks)
    }

    fn send_draft(&self, draft: Draft) -> Result<Vec<Delivery>> {
        let (first, room) = self.admit(draft.len())?;
        let deliveries = draft.deliveries(first);
        self.hand_over(draft.into_batch(first, room))?;
        Ok(deliveries)
    }

    /// The first of so many message ids, and room for as many downlinks.
    fn admit(&self, downlinks: usize) -> Result<(u64, Room)> {
        let core = self.core();
        let (capacity, option) = match core.options.offline_queue {
            _ if self.is_connected() => (core.options.send_capacity, "send_capacity"),
            Some((capacity, _)) if core.link.status.is_open() => (capacity, "offline_queue"),
            _ => return Err(not_connected()),
        };
        if downlinks > capacity {
            return Err(Error::new(
                ErrorKind::Downlink,
                format!(
                    "{downlinks} downlinks at once are more than the client keeps ({capacity}); send fewer, or raise {option}"
                ),
            ));
        }
        let full = || {
            Error::new(
                ErrorKind::QueueFull,
                format!(
                    "{capacity} downlinks may wait to be written, and there is no room for {downlinks} more"
                ),
            )
        };
        let room = core.link.room.take(downlinks, capacity).ok_or_else(full)?;
        let first = core
            .next_message
            .fetch_add(downlinks as u64, Ordering::Relaxed);
        Ok((first, room))
    }

    /// Hands messages to the session.
    fn hand_over(&self, batch: Batch) -> Result<()> {
        let publishes = &self.core().link.publishes;
        publishes.send(batch).map_err(|_| not_connected())
    }

    /// Adds a callback for the result of each attempt to connect: `true` when uplinks arrive from
    /// now on, `false` when the attempt failed. The reason is in
    /// [`Event::ConnectFailed`](crate::Event::ConnectFailed) and in the result of
    /// [`connect`](Self::connect).
    ///
    /// Callbacks run on the thread `ttn-callbacks`, one after the other, in the order in which they
    /// were added; several for one event are all called. They are kept over `close` and `connect`.
    /// One that is set in a callback hears of the next event.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.set_connect_callback(|connected, client| println!("{}: {connected}", client.app_id()));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn set_connect_callback<F, R>(&self, mut callback: F) -> CallbackId
    where
        F: FnMut(bool, &MqttClient) -> R + Send + 'static,
        R: CallbackResult,
    {
        self.set(Callback::Connect(closure(
            move |connected: &bool, client: &Self| callback(*connected, client),
        )))
    }

    /// Adds a callback for uplinks. It is called on the thread `ttn-callbacks`; see
    /// [`set_connect_callback`](Self::set_connect_callback).
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let mut count = 0;
    /// client.set_uplink_callback(move |uplink, client| {
    ///     count += 1;
    ///     println!("uplink {count} is from {}", uplink.dev_id);
    ///     if uplink.payload_fields["alarm"] == true {
    ///         client.send(&uplink.dev_id, "01")?;
    ///     }
    ///     ttn::anyhow::Ok(())
    /// });
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn set_uplink_callback<F, R>(&self, callback: F) -> CallbackId
    where
        F: FnMut(&UplinkMessage, &MqttClient) -> R + Send + 'static,
        R: CallbackResult,
    {
        self.set(Callback::Uplink(closure(callback)))
    }

    /// Adds a callback for uplinks as they come, topic and bytes, also for those that cannot be
    /// read. It is called after the uplink callbacks, on the thread `ttn-callbacks`; see
    /// [`set_connect_callback`](Self::set_connect_callback).
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.set_uplink_raw_callback(|raw, _| println!("{}: {} bytes", raw.topic(), raw.payload().len()));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn set_uplink_raw_callback<F, R>(&self, callback: F) -> CallbackId
    where
        F: FnMut(&RawMessage, &MqttClient) -> R + Send + 'static,
        R: CallbackResult,
    {
        self.set(Callback::UplinkRaw(closure(callback)))
    }

    /// Adds a callback for downlinks that have left this machine, by their
    /// [`message_id`](Delivery::message_id). It says nothing about the server or the device. It is
    /// called on the thread `ttn-callbacks`; see
    /// [`set_connect_callback`](Self::set_connect_callback).
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.set_downlink_callback(|mid, _| println!("message {mid} was written"));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn set_downlink_callback<F, R>(&self, mut callback: F) -> CallbackId
    where
        F: FnMut(MessageId, &MqttClient) -> R + Send + 'static,
        R: CallbackResult,
    {
        self.set(Callback::Downlink(closure(
            move |id: &MessageId, client: &Self| callback(*id, client),
        )))
    }

    /// Adds a callback for the end of a connection: `true` when the program closed the client,
    /// `false` when the connection was lost. With [`reconnect`](MqttClientBuilder::reconnect) the
    /// client then connects again by itself. It is called on the thread `ttn-callbacks`; see
    /// [`set_connect_callback`](Self::set_connect_callback).
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.set_close_callback(|asked_for, _| println!("closed as asked: {asked_for}"));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn set_close_callback<F, R>(&self, mut callback: F) -> CallbackId
    where
        F: FnMut(bool, &MqttClient) -> R + Send + 'static,
        R: CallbackResult,
    {
        self.set(Callback::Close(closure(
            move |asked_for: &bool, client: &Self| callback(*asked_for, client),
        )))
    }

    /// Sets what is asked when an attempt to connect has failed or a connection was lost, before the
    /// client tries again or gives up: it may change the delay, give up, and supply another access
    /// key ([`Retry`]). There is one at a time; a further one takes its place.
    ///
    /// It is called on a thread of its own, `ttn-retry`, so it may take its time, to fetch a key for
    /// instance; the client waits for it as long as
    /// [`connect_timeout`](MqttClientBuilder::connect_timeout), and `close` ends the wait. After
    /// that, or when it fails, the client does what it was about to do. A key that it supplies late
    /// is used all the same. [`Event::Disconnected`](crate::Event::Disconnected),
    /// [`Event::ConnectFailed`](crate::Event::ConnectFailed) and their callbacks come when it has
    /// answered, since they say when the next attempt follows. While it is busy it is not asked
    /// again.
    ///
    /// It is asked when the client is about to try again, or to give up after it has tried again: not
    /// about the one attempt of a `connect` without
    /// [`connect_retry`](MqttClientBuilder::connect_retry), and not about a lost connection with
    /// [`reconnect(false)`](MqttClientBuilder::reconnect). A closure that captures a handle of the
    /// client keeps the client alive.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ResourcesExhausted`] when the thread cannot be started.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.set_retry_callback(|retry| {
    ///     println!("{}; next attempt in {:?}", retry.error(), retry.delay());
    ///     if retry.attempt() > 100 {
    ///         retry.give_up();
    ///     }
    /// })?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn set_retry_callback<F, R>(&self, callback: F) -> Result<()>
    where
        F: FnMut(&mut Retry) -> R + Send + 'static,
        R: CallbackResult,
    {
        let hook = Hook::start(callback).map_err(no_thread)?;
        self.command(Command::SetHook(hook))
    }

    /// What the client has counted so far. Takes a few locks for a moment, and waits for nothing.
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
        link.status.stats(link.room.taken())
    }

    /// Removes a callback: it is not called for events after this. Removing one that is gone does
    /// nothing.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let id = client.set_connect_callback(|_, _| {});
    /// client.remove_callback(id);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn remove_callback(&self, id: CallbackId) {
        self.setter(Setter::Remove(id));
    }

    fn set(&self, callback: Callback<Self>) -> CallbackId {
        let id = CallbackId(self.core().next_callback.fetch_add(1, Ordering::Relaxed));
        self.core().interest.raise();
        self.setter(Setter::Add(id, callback));
        id
    }

    fn setter(&self, setter: Setter<Self>) {
        // The thread outlives every handle but those that its last callbacks are given.
        let _ = self.core().setters.send(setter);
    }

    /// Subscribes to all events, beside the callbacks, with the capacity and overflow of the
    /// options. What happened before is not repeated.
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

    /// As [`events`](Self::events), with a capacity (0 counts as 1) and overflow of its own.
    ///
    /// ```
    /// # use ttn::Overflow;
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let newest = client.events_with(10, Overflow::DropOldest);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn events_with(&self, capacity: usize, overflow: Overflow) -> Events {
        let (subscriber, events) = subscription(capacity, overflow);
        // Without a session the stream has ended already.
        let _ = self
            .core()
            .link
            .commands
            .send(Command::Subscribe(subscriber));
        events
    }

    fn core(&self) -> &Core {
        &self.handle.core
    }

    fn command(&self, command: Command) -> Result<()> {
        let commands = &self.core().link.commands;
        commands.send(command).map_err(|_| gone())
    }

    fn is_callbacks_thread(&self) -> bool {
        self.core().callbacks_thread.get() == Some(&thread::current().id())
    }
}

fn no_thread(cause: std::io::Error) -> Error {
    let context = format!("cannot start a thread: {cause}");
    Error::with_source(ErrorKind::ResourcesExhausted, context, cause)
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

#[cfg(all(test, feature = "simulator"))]
mod tests {
    use super::*;
    use crate::{
        downlink::Publish,
        message::{Event, MessageIds},
        network::Network,
        simulator::Simulator,
    };

    /// What `send` hands over; nobody asks here whether the client is connected.
    fn hand_over(client: &MqttClient, id: u64) {
        let link = &client.core().link;
        let publish = Publish {
            ids: MessageIds::new(id, 1),
            topic: "greenhouse/devices/bed-07/down".to_owned(),
            payload: Vec::new(),
            followed: Vec::new(),
            _room: link.room.take(1, 1_000).unwrap(),
        };
        link.publishes.send(vec![publish]).unwrap();
    }

    #[test]
    fn a_downlink_that_the_last_handle_leaves_behind_is_reported() {
        // The session takes the end before the downlink, or after it, by how often it chose before.
        for choices in 0..20 {
            let client = MqttClient::new("greenhouse", "ttn-account-v2.test-key").unwrap();
            let events = client.events();
            let report = || {
                client.command(Command::Report(Event::Lagged(1))).unwrap();
                assert!(matches!(events.recv(), Ok(Event::Lagged(1))));
            };
            (0..choices).for_each(|_| report());
            // Holds the session up, so that it finds both together.
            let _unread = client.events_with(1, Overflow::Block);
            (0..2).for_each(|_| report());
            hand_over(&client, 7);
            drop(client);
            let failed: Vec<_> = events
                .iter()
                .filter_map(|event| match event {
                    Event::PublishFailed(failed) => Some(failed.message_id.get()),
                    _ => None,
                })
                .collect();
            assert_eq!(failed, [7], "after {choices} choices");
        }
    }

    #[test]
    fn connecting_as_the_last_handle_goes_is_told_that_it_is_gone() {
        let client = MqttClient::new("greenhouse", "ttn-account-v2.test-key").unwrap();
        // Holds the session up, so that it ends with the command unread.
        let unread = client.events_with(1, Overflow::Block);
        (0..2).for_each(|_| client.command(Command::Report(Event::Lagged(1))).unwrap());
        client.command(Command::Shutdown).unwrap();
        let commands = client.core().link.commands.clone();
        let deadline = Instant::now() + Duration::from_secs(10);
        while commands.len() > 1 && Instant::now() < deadline {
            thread::yield_now();
        }
        let connecting = thread::spawn({
            let client = client.clone();
            move || client.connect()
        });
        while commands.len() < 2 && Instant::now() < deadline {
            thread::yield_now();
        }
        drop(unread);
        let error = connecting.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }

    #[test]
    fn a_downlink_that_overtakes_the_end_is_read_before_close_returns() {
        const PER_SECOND: u32 = 10;
        let network = Simulator::builder(Network::V2)
            .quirks(|quirks| quirks.rate_limit = Some(PER_SECOND))
            .start()
            .unwrap();
        let client = MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(network.mqtt_address())
            .field_topics(false)
            .build()
            .unwrap();
        client.connect().unwrap();
        hand_over(&client, 1);
        let closing = thread::spawn({
            let client = client.clone();
            move || client.close()
        });
        assert!(network.wait_for_published(1, Duration::from_secs(10)));
        // The server has yet to read that nothing more comes.
        hand_over(&client, 2);
        closing.join().unwrap().unwrap();
        assert_eq!(network.published().len(), 2);
    }
}
