//! The progress of one downlink, as the program sees it.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use serde::Serialize;

use super::{
    book::{Content, Followed},
    key,
};
use crate::{
    error::{Error, ErrorKind, Result},
    message::{DownlinkEvent, ErrorDetails, MessageId, json},
    process::Home,
    sync,
};

/// A handle for following a downlink that `send` accepted. Clones follow the same downlink; dropping them
/// does not affect it.
///
/// It stays valid through outages of the connection, and can be used from any thread, including
/// callbacks. In a process that was forked after the downlink was accepted, nobody follows it: unless its
/// state was final by then, it is [`Forgotten`](DeliveryState::Forgotten) there.
///
/// ```
/// use std::time::Duration;
/// use ttn::{DeliveryState, Downlink};
/// # use ttn::{MqttClient, Network, simulator::Simulator};
/// # let network = Simulator::start(Network::V3)?;
/// # let client = MqttClient::builder(network.app_id(), network.access_key())
/// #     .mqtt_address(network.mqtt_address())
/// #     .build()?;
/// # client.connect()?;
/// # let valve = network.device("valve-3");
/// # valve.join();
/// # valve.uplink(1, [0]);
///
/// let delivery = client.send("valve-3", Downlink::bytes([1]).port(2).confirmed(true))?;
/// delivery.wait_for(DeliveryState::Queued, Duration::from_secs(10))?;
/// # valve.uplink(1, [0]);
/// # valve.uplink(1, [0]);
/// match delivery.wait_for(DeliveryState::Acknowledged, Duration::from_secs(3600)) {
///     Ok(_) => println!("the valve has it"),
///     Err(error) => println!("{error}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Delivery {
    message_id: MessageId,
    correlation_id: Option<Arc<str>>,
    /// What identifies it without a correlation id.
    content: Option<Arc<Content>>,
    progress: Arc<Progress>,
}

impl Delivery {
    pub(crate) fn new(message_id: MessageId, followed: &Followed) -> Self {
        Self {
            message_id,
            correlation_id: followed.correlation_id.clone(),
            content: followed.content.clone(),
            progress: Arc::clone(&followed.progress),
        }
    }

    #[cfg(test)]
    pub(super) fn of(progress: Arc<Progress>) -> Self {
        Self {
            message_id: MessageId(1),
            correlation_id: None,
            content: None,
            progress,
        }
    }

    #[cfg(test)]
    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Returns the id that the downlink callback and [`Event::Published`](crate::Event::Published)
    /// carry once the downlink has left this machine. The callback may run before `send` returns.
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert_ne!(client.send("dev-1", "AQ==")?.message_id(), client.send("dev-1", "AQ==")?.message_id());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn message_id(&self) -> MessageId {
        self.message_id
    }

    /// Returns the id that a v3 network repeats in the
    /// [`correlation_ids`](crate::DownlinkEvent::correlation_ids) of every report about this downlink,
    /// and about no other. `None` on V2.
    ///
    /// ```no_run
    /// # use ttn::DownlinkEvent;
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let delivery = client.send("dev-1", "AQ==")?;
    /// let is_mine = |event: &DownlinkEvent| {
    ///     event.correlation_ids.iter().any(|id| Some(id.as_str()) == delivery.correlation_id())
    /// };
    /// # let _ = is_mine;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// Returns a text by which another process can [`follow`](crate::MqttClient::follow) this downlink. Store
    /// it with the device id before the program ends, for example in a file. Its form is stable.
    ///
    /// On v3 it is the [`correlation_id`](Self::correlation_id). On V2 it is the content, because that is
    /// what the network's reports repeat: equal downlinks to a device have one key.
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let delivery = client.send("valve-3", "AQ==")?;
    /// std::fs::write("valve-3.key", delivery.key())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn key(&self) -> String {
        match (&self.correlation_id, &self.content) {
            (Some(correlation_id), _) => correlation_id.to_string(),
            (None, Some(content)) => key::of_content(content),
            (None, None) => String::new(),
        }
    }

    /// Returns the current state.
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// println!("{}", client.send("dev-1", "AQ==")?.state());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn state(&self) -> DeliveryState {
        self.progress.state()
    }

    /// Returns whether the state is final: the downlink was acknowledged, or sent if it is not
    /// confirmed, or it failed in one of the ways of [`DeliveryState`].
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert!(!client.send("dev-1", "AQ==")?.is_final());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_final(&self) -> bool {
        self.progress.ends_with(&self.state())
    }

    /// Waits until the downlink reaches `state` or a later one, and returns the state that it reached.
    ///
    /// # Errors
    ///
    /// If the downlink will not reach `state`: [`DownlinkFailed`](ErrorKind::DownlinkFailed) with the
    /// network's message, [`ConnectionLost`](ErrorKind::ConnectionLost) or
    /// [`Closed`](ErrorKind::Closed) if it was not written, [`Expired`](ErrorKind::Expired),
    /// [`Unconfirmed`](ErrorKind::Unconfirmed), [`Forked`](ErrorKind::Forked). If the time runs out
    /// first: [`TimedOut`](ErrorKind::TimedOut); the delivery continues.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use ttn::DeliveryState;
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.send("dev-1", "AQ==")?.wait_for(DeliveryState::Queued, Duration::from_secs(10))?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn wait_for(&self, state: DeliveryState, timeout: Duration) -> Result<DeliveryState> {
        let is_decided = |reached: &DeliveryState| {
            reached.step() >= state.step() || self.progress.ends_with(reached)
        };
        let reached = self
            .progress
            .wait_until(is_decided, Instant::now().checked_add(timeout));
        if reached.step() >= state.step() {
            return Ok(reached);
        }
        if let DeliveryState::Forgotten = reached {
            self.progress.home.check()?;
        }
        if let Some(error) = reached.error() {
            return Err(error);
        }
        let (kind, outlook) = if self.progress.ends_with(&reached) {
            (ErrorKind::DownlinkFailed, format!("will not reach {state}"))
        } else {
            (
                ErrorKind::TimedOut,
                format!("has not reached {state} within {timeout:?}"),
            )
        };
        Err(Error::new(
            kind,
            format!(
                "the downlink {} {outlook}: it is {reached}",
                self.message_id
            ),
        ))
    }

    /// Waits until the state is [final](Self::is_final), and returns it. Ends when the client stops
    /// following the downlink ([`follow_downlinks`](crate::MqttClientBuilder::follow_downlinks)), at
    /// the latest when the last handle of the client is dropped.
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// println!("{}", client.send("dev-1", "AQ==")?.wait());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn wait(&self) -> DeliveryState {
        self.progress
            .wait_until(|state| self.progress.ends_with(state), None)
    }

    /// Returns a receiver of the current state and of every later one up to the final state, for use
    /// with `select!`. It is unbounded, because a downlink has few states. After a fork, call this again in
    /// the child, where the receiver from before would wait for ever.
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// for state in client.send("dev-1", "AQ==")?.states() {
    ///     println!("{state}");
    /// }
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn states(&self) -> Receiver<DeliveryState> {
        self.progress.watch()
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("message_id", &self.message_id)
            .field("correlation_id", &self.correlation_id)
            .field("state", &self.state())
            .finish()
    }
}

impl DownlinkEvent {
    /// Returns whether the report is about this downlink. Always `false` on V2, whose reports carry no
    /// id.
    ///
    /// ```no_run
    /// # use ttn::{DownlinkStep, Event};
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// # let events = client.events();
    /// let delivery = client.send("dev-1", "AQ==")?;
    /// for event in &events {
    ///     match event {
    ///         Event::Downlink(report) if report.is_about(&delivery) => println!("{:?}", report.step),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_about(&self, delivery: &Delivery) -> bool {
        delivery
            .correlation_id()
            .is_some_and(|id| self.correlation_ids.iter().any(|own| own == id))
    }
}

/// The progress of a downlink.
///
/// | state | who reports it | what it proves | what it does not prove |
/// |---|---|---|---|
/// | `Accepted` | this crate | the downlink is valid, and waits to be written | anything about the network |
/// | `Written` | this machine, also to the downlink callback | the connection has it, and writes it immediately | that the server processes or accepts it |
/// | `Queued` | the network | key, device and content are valid; it waits for the device | that it is ever transmitted; on V2 after an outage: that it still waits, because the report that it was sent may be lost |
/// | `Sent` | V2: the network handed it to a gateway; v3: a gateway transmitted it. Not every gateway reports this | it was on the air, or about to be | that the device received it |
/// | `NotSent` | the network: no gateway could transmit it this time, or (V2, confirmed) its fields could not be encoded | the network keeps it, and tries again | that it is ever transmitted |
/// | `NotAcknowledged` | the network (v3): the device's next uplink did not acknowledge it | the device was in range and had not received it, or its uplink was already on its way | that it failed: the network sends it again, or reports a failure |
/// | `GivenUp` | this crate (v3): a later confirmed downlink to the device was sent before this one was acknowledged | the network no longer waits for its acknowledgement | that the device has not received it, or that the network does not send it again (from release 3.35 on it does); a later report still counts |
/// | `Acknowledged` | the device | the device received it | that the device acted on it |
/// | `Failed` | the network, or this crate | there are no further attempts, for example because a V2 device was deleted, or because the application keeps its own session keys and must repeat an unacknowledged downlink itself | if it was sent before: that the device did not receive it |
/// | `Expired` | this crate | it was not sent | |
/// | `Replaced` | this crate: a later downlink of this client with [`Schedule::Replace`](crate::Schedule::Replace) was queued, or [`clear_queue`](crate::MqttClient::clear_queue) took effect | the network discarded it, unless it was on its way to a gateway | v3: that it was not sent, because not every gateway reports that; a later report still counts |
/// | `Unconfirmed` | this crate: the network sent no report, or the report was lost with a connection: the client closed before the server had processed the downlink, or the downlink has left the queue since | nothing; on v3 the error names the cause that the network states over HTTP, otherwise likely causes by what this client has seen | anything; a later report still counts |
/// | `Forgotten` | this crate: it was followed for too long, there were too many, the last handle of the client was dropped, or this process is a fork of the one that follows it | nothing | anything |
///
/// On v3, the client looks into the queue of a device over HTTP, where it
/// [can](crate::MqttClientBuilder::http_address), before it calls a downlink `Unconfirmed`; after a reconnect, for
/// the 50 devices with the oldest open downlinks; and once a day for a downlink that stays `Queued`. What it
/// finds there is `Queued`. What is absent proves no loss: the state is at most `Unconfirmed`.
///
/// ```
/// use ttn::DeliveryState;
///
/// fn tell(state: &DeliveryState) -> String {
///     match state {
///         DeliveryState::Acknowledged => "done".to_owned(),
///         DeliveryState::Failed(error) | DeliveryState::Unconfirmed(error) => error.to_string(),
///         state => format!("not yet: {state}"),
///     }
/// }
/// ```
///
/// As JSON it is an object: `state` is the variant in snake case, and `error` or `attempt` what it contains, in
/// the forms of [`Event`](crate::Event#as-json).
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeliveryState {
    /// It is checked and waits to be written.
    Accepted,
    /// The connection has it, and writes it immediately.
    Written,
    /// It is in the device's queue in the network.
    Queued,
    /// It was transmitted.
    Sent,
    /// It could not be encoded or transmitted; the network tries again. The
    /// [source](std::error::Error::source) of a v3 network's error is an [`ErrorDetails`].
    #[serde(serialize_with = "json::error")]
    NotSent(Error),
    /// The device did not acknowledge it; the network sends it again.
    NotAcknowledged {
        /// The number of the next attempt, if the network reports it.
        attempt: Option<u32>,
    },
    /// The device has not acknowledged it, and the network no longer waits for that. v3 only, for
    /// confirmed downlinks.
    GivenUp,
    /// The device acknowledged it.
    Acknowledged,
    /// It was not written, or the network refused it or gave up. The
    /// [source](std::error::Error::source) of a v3 network's error is an [`ErrorDetails`].
    #[serde(serialize_with = "json::error")]
    Failed(Error),
    /// It waited longer for a connection than
    /// [`offline_queue`](crate::MqttClientBuilder::offline_queue) allows.
    Expired,
    /// This client has replaced or emptied the queue that it was in.
    Replaced,
    /// The network sent no report about it, or the report was lost. The error names the cause if the
    /// network has stated it [over HTTP](crate::MqttClientBuilder::unconfirmed_after), with an
    /// [`ErrorDetails`] as [source](std::error::Error::source); otherwise it lists the likely causes.
    #[serde(serialize_with = "json::error")]
    Unconfirmed(Error),
    /// The client no longer follows it.
    Forgotten,
}

impl DeliveryState {
    /// Returns the parts of the server's error, for `Failed` and `NotSent` on v3, and for `Unconfirmed` if
    /// the network has named the cause over HTTP.
    ///
    /// ```
    /// # use ttn::DeliveryState;
    /// fn is_full(state: &DeliveryState) -> bool {
    ///     state.error_details().is_some_and(|error| error.name == "downlink_queue_capacity")
    /// }
    /// ```
    pub fn error_details(&self) -> Option<&ErrorDetails> {
        match self {
            Self::Failed(error) | Self::NotSent(error) | Self::Unconfirmed(error) => {
                std::error::Error::source(error)?.downcast_ref()
            }
            _ => None,
        }
    }

    /// Returns the state's place in the order of progress; 0 for failures.
    fn step(&self) -> u8 {
        match self {
            Self::Written | Self::Unconfirmed(_) => 1,
            Self::Queued | Self::NotSent(_) => 2,
            Self::Sent | Self::NotAcknowledged { .. } | Self::GivenUp => 3,
            Self::Acknowledged => 4,
            _ => 0,
        }
    }

    fn error(&self) -> Option<Error> {
        let own = |kind, text: &str| Some(Error::new(kind, text));
        match self {
            Self::Failed(error) | Self::Unconfirmed(error) => Some(error.clone()),
            Self::Expired => Some(Error::expired()),
            Self::Replaced => own(
                ErrorKind::DownlinkFailed,
                "this client has replaced or emptied the queue that the downlink was in",
            ),
            Self::Forgotten => own(
                ErrorKind::Unconfirmed,
                "the client no longer follows the downlink; to follow more downlinks, or for longer, set follow_downlinks",
            ),
            _ => None,
        }
    }

    /// Returns whether this state can follow `present`, which must not be the last state.
    fn follows(&self, present: &Self) -> bool {
        match (present, self) {
            // Reports about the time before it was replaced are late.
            (
                Self::Replaced,
                Self::Written | Self::Queued | Self::Expired | Self::Replaced | Self::Forgotten,
            ) => false,
            // What is known of it stays.
            (Self::Unconfirmed(_), Self::Forgotten) => false,
            (_, Self::Failed(_) | Self::Expired | Self::Replaced | Self::Forgotten) => true,
            (present, Self::Unconfirmed(_)) => !matches!(
                present,
                Self::Accepted | Self::Replaced | Self::Unconfirmed(_)
            ),
            (present, Self::GivenUp) => matches!(present, Self::Sent),
            // The network retries.
            (Self::Sent | Self::GivenUp, Self::NotAcknowledged { .. })
            | (Self::NotAcknowledged { .. } | Self::GivenUp, Self::Sent)
            | (Self::GivenUp, Self::NotSent(_))
            | (Self::Queued | Self::NotSent(_) | Self::NotAcknowledged { .. }, Self::NotSent(_)) => {
                true
            }
            (Self::NotAcknowledged { attempt: before }, Self::NotAcknowledged { attempt }) => {
                attempt > before
            }
            (present, state) => state.step() > present.step(),
        }
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Written => f.write_str("written"),
            Self::Queued => f.write_str("queued"),
            Self::Sent => f.write_str("sent"),
            Self::NotSent(error) => write!(f, "not sent, another attempt follows: {error}"),
            Self::NotAcknowledged {
                attempt: Some(attempt),
            } => {
                write!(f, "not acknowledged, attempt {attempt} follows")
            }
            Self::NotAcknowledged { attempt: None } => f.write_str("not acknowledged"),
            Self::GivenUp => f.write_str(
                "given up, a later confirmed downlink was sent before the device had answered this one",
            ),
            Self::Acknowledged => f.write_str("acknowledged"),
            Self::Failed(error) => write!(f, "failed: {error}"),
            Self::Expired => f.write_str("expired"),
            Self::Replaced => f.write_str("replaced"),
            Self::Unconfirmed(error) => write!(f, "unconfirmed: {error}"),
            Self::Forgotten => f.write_str("no longer followed"),
        }
    }
}

/// The state of one downlink. The session advances it; any thread can read it or wait for it.
pub(crate) struct Progress {
    /// Where the session is that advances it.
    home: Home,
    /// Whether the downlink asks the device for an acknowledgement.
    confirmed: bool,
    present: Mutex<Present>,
    changed: Condvar,
}

struct Present {
    state: DeliveryState,
    watchers: Vec<Sender<DeliveryState>>,
}

impl Progress {
    pub(crate) fn new(confirmed: bool) -> Arc<Self> {
        Self::at(DeliveryState::Accepted, confirmed)
    }

    /// Returns the progress of a downlink that was sent before.
    pub(crate) fn resumed(confirmed: bool) -> Arc<Self> {
        Self::at(DeliveryState::Written, confirmed)
    }

    fn at(state: DeliveryState, confirmed: bool) -> Arc<Self> {
        Arc::new(Self {
            home: Home::here(),
            confirmed,
            present: Mutex::new(Present {
                state,
                watchers: Vec::new(),
            }),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Returns whether the program can still observe the downlink, through a [`Delivery`] or a
    /// receiver of its states.
    ///
    /// Only the book calls this, and it holds one reference, so every other reference belongs to a
    /// `Delivery`. `Arc` already counts them; a separate counter would have to repeat that.
    pub(crate) fn is_watched(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || !self.lock().watchers.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        sync::lock(&self.present)
    }

    /// Returns whether no further state is expected after the present one.
    pub(crate) fn is_final(&self) -> bool {
        self.ends_with(&self.lock().state)
    }

    /// Returns whether no further state is expected after this one.
    fn ends_with(&self, state: &DeliveryState) -> bool {
        match state {
            DeliveryState::Sent => !self.confirmed,
            DeliveryState::Acknowledged
            | DeliveryState::Failed(_)
            | DeliveryState::Expired
            | DeliveryState::Replaced
            | DeliveryState::Unconfirmed(_)
            | DeliveryState::Forgotten => true,
            _ => false,
        }
    }

    /// Returns whether no further state is possible. A late report can still follow `Unconfirmed` and
    /// `Replaced`.
    fn is_over(&self, state: &DeliveryState) -> bool {
        let is_provisional = matches!(
            state,
            DeliveryState::Unconfirmed(_) | DeliveryState::Replaced
        );
        self.ends_with(state) && !is_provisional
    }

    /// Goes on from the state of another handle.
    pub(crate) fn start(&self, state: DeliveryState) {
        let mut present = self.lock();
        present
            .watchers
            .retain(|watcher| watcher.send(state.clone()).is_ok());
        if self.ends_with(&state) {
            present.watchers.clear();
        }
        present.state = state;
        self.changed.notify_all();
    }

    /// Advances to `state` if it can follow the present one. Returns whether no further state is
    /// possible.
    pub(crate) fn advance(&self, state: DeliveryState) -> bool {
        let mut present = self.lock();
        if !self.is_over(&present.state) && state.follows(&present.state) {
            present
                .watchers
                .retain(|watcher| watcher.send(state.clone()).is_ok());
            present.state = state;
            self.changed.notify_all();
        }
        if self.ends_with(&present.state) {
            present.watchers.clear();
        }
        self.is_over(&present.state)
    }

    pub(crate) fn state(&self) -> DeliveryState {
        if self.home.is_here() {
            return self.lock().state.clone();
        }
        self.home
            .lock(&self.present)
            .map(|present| present.state.clone())
            .filter(|state| self.ends_with(state))
            .unwrap_or(DeliveryState::Forgotten)
    }

    fn watch(&self) -> Receiver<DeliveryState> {
        // Unbounded, because a downlink has few states.
        let (sender, receiver) = unbounded();
        if !self.home.is_here() {
            let _ = sender.send(self.state());
            return receiver;
        }
        let mut present = self.lock();
        let _ = sender.send(present.state.clone());
        if !self.ends_with(&present.state) {
            present.watchers.push(sender);
        }
        receiver
    }

    fn wait_until(
        &self,
        condition: impl Fn(&DeliveryState) -> bool,
        deadline: Option<Instant>,
    ) -> DeliveryState {
        if !self.home.is_here() {
            return self.state();
        }
        let reached = |present: &Present| condition(&present.state);
        let present = sync::wait_until(&self.present, &self.changed, deadline, reached);
        present.state.clone()
    }
}
