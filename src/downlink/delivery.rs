//! A downlink on its way, as the program sees it.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::{
    error::{Error, ErrorKind, Result},
    message::{DownlinkEvent, ErrorDetails, MessageId},
};

/// A downlink that `send` accepted, to follow it by. Clones are the same downlink; dropping them
/// changes nothing about it.
///
/// It goes on through outages of the connection, and can be asked from any thread, callbacks
/// included.
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
    progress: Arc<Progress>,
}

impl Delivery {
    pub(crate) fn new(
        message_id: MessageId,
        correlation_id: Option<Arc<str>>,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            message_id,
            correlation_id,
            progress,
        }
    }

    /// The id with which the downlink callback and [`Event::Published`](crate::Event::Published)
    /// are called when the downlink has left this machine. The callback may run before `send`
    /// returns.
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert_ne!(client.send("dev-1", "AQ==")?.message_id(), client.send("dev-1", "AQ==")?.message_id());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn message_id(&self) -> MessageId {
        self.message_id
    }

    /// The id that comes back in [`correlation_ids`](crate::DownlinkEvent::correlation_ids) of
    /// everything that a v3 network reports about this downlink, and of no other. `None` on V2.
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

    /// How far it has come.
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// println!("{}", client.send("dev-1", "AQ==")?.state());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn state(&self) -> DeliveryState {
        self.progress.state()
    }

    /// Whether nothing more is expected: it was acknowledged, or, if no acknowledgement was asked
    /// for, sent; or it failed in one of the ways of [`DeliveryState`].
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert!(!client.send("dev-1", "AQ==")?.is_final());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_final(&self) -> bool {
        self.progress.is_final(&self.progress.lock().state)
    }

    /// Waits until it has come as far as `state`, or farther; says how far.
    ///
    /// # Errors
    ///
    /// When it will not come so far: [`DownlinkFailed`](ErrorKind::DownlinkFailed) with the network's
    /// words, [`ConnectionLost`](ErrorKind::ConnectionLost) or [`Closed`](ErrorKind::Closed) when it
    /// was not written, [`Expired`](ErrorKind::Expired), [`Unconfirmed`](ErrorKind::Unconfirmed). When
    /// it has not come so far in time: [`TimedOut`](ErrorKind::TimedOut); it goes on.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use ttn::DeliveryState;
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.send("dev-1", "AQ==")?.wait_for(DeliveryState::Queued, Duration::from_secs(10))?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn wait_for(&self, state: DeliveryState, timeout: Duration) -> Result<DeliveryState> {
        let has_come = |reached: &DeliveryState| {
            reached.step() >= state.step() || self.progress.is_final(reached)
        };
        let reached = self
            .progress
            .wait_until(has_come, Instant::now().checked_add(timeout));
        if reached.step() >= state.step() {
            return Ok(reached);
        }
        if let Some(error) = reached.error() {
            return Err(error);
        }
        let (kind, words) = if self.progress.is_final(&reached) {
            (ErrorKind::DownlinkFailed, "and goes no farther")
        } else {
            (ErrorKind::TimedOut, "and has not come farther in time")
        };
        Err(Error::new(
            kind,
            format!(
                "the downlink {} is {reached}, {words}: it should be {state}",
                self.message_id
            ),
        ))
    }

    /// Waits until it is [final](Self::is_final), for as long as the client follows it
    /// ([`follow_downlinks`](crate::MqttClientBuilder::follow_downlinks)), and at the longest until the
    /// last handle of the client is gone.
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// println!("{}", client.send("dev-1", "AQ==")?.wait());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn wait(&self) -> DeliveryState {
        self.progress
            .wait_until(|state| self.progress.is_final(state), None)
    }

    /// How far it has come, and from then on each step, until it is final. The receiver is for
    /// `select!`; it is not bounded, since there are few steps.
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
    /// Whether it is about the downlink of that `send`. Never on V2, which gives no id to know it by.
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

/// How far a downlink has come.
///
/// | state | who says so | it proves | it does not prove |
/// |---|---|---|---|
/// | `Accepted` | this crate | it is well-formed, and waits to be written | anything about the network |
/// | `Written` | this machine; the downlink callback hears of it | the connection has it, and writes it at once | that the server has read it, or takes it |
/// | `Queued` | the network | key, device and content are in order; it waits for the device | that it is ever transmitted |
/// | `Sent` | V2: the network has handed it to a gateway; v3: a gateway has transmitted it. Not every gateway says so | it was on the air, or about to be | that the device has heard it |
/// | `NotSent` | the network: no gateway could transmit it this time | the network keeps it, and tries again | that it is ever transmitted |
/// | `NotAcknowledged` | the network (v3): the device's next uplink did not acknowledge it | the device was there and had not heard it, or its uplink was on the way already | that it failed: the network sends it again |
/// | `Acknowledged` | the device | it has it | that it did what it was told |
/// | `Failed` | the network, or this crate | nothing more is tried | if it was sent before: that the device has not heard it |
/// | `Expired` | this crate | it was not sent | |
/// | `Replaced` | this crate: a later downlink of this client with [`Schedule::Replace`](crate::Schedule::Replace) was queued | the network has thrown it away, unless it was on its way to a gateway | |
/// | `Unconfirmed` | this crate: the network has not said a word | nothing | nothing; a word that comes later still counts |
/// | `Forgotten` | this crate: it was followed for too long, there were too many, or the last handle of the client is gone | nothing | nothing |
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
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DeliveryState {
    /// Checked, and waiting to be written.
    Accepted,
    /// The connection has it, and writes it at once.
    Written,
    /// The network has it in the device's queue.
    Queued,
    /// It was transmitted.
    Sent,
    /// It could not be transmitted; the network tries again. With a v3 network's error the
    /// [source](std::error::Error::source) is an [`ErrorDetails`].
    NotSent(Error),
    /// The device did not acknowledge it; the network sends it again.
    NotAcknowledged {
        /// The number of the attempt that follows, if the network said.
        attempt: Option<u32>,
    },
    /// The device has acknowledged it.
    Acknowledged,
    /// It was not written, or the network refused it or gave up. With a v3 network's error the
    /// [source](std::error::Error::source) is an [`ErrorDetails`].
    Failed(Error),
    /// It waited longer for a connection than
    /// [`offline_queue`](crate::MqttClientBuilder::offline_queue) allows.
    Expired,
    /// A later downlink took its place in the queue.
    Replaced,
    /// The network has not said a word about it; the likely causes are in the error.
    Unconfirmed(Error),
    /// It is not followed any more.
    Forgotten,
}

impl DeliveryState {
    /// The server's error in its parts, with `Failed` and `NotSent` on v3.
    ///
    /// ```
    /// # use ttn::DeliveryState;
    /// fn is_full(state: &DeliveryState) -> bool {
    ///     state.error_details().is_some_and(|error| error.name == "downlink_queue_capacity")
    /// }
    /// ```
    pub fn error_details(&self) -> Option<&ErrorDetails> {
        match self {
            Self::Failed(error) | Self::NotSent(error) => {
                std::error::Error::source(error)?.downcast_ref()
            }
            _ => None,
        }
    }

    /// How far it has come; failures are no step.
    fn step(&self) -> u8 {
        match self {
            Self::Written | Self::Unconfirmed(_) => 1,
            Self::Queued | Self::NotSent(_) => 2,
            Self::Sent | Self::NotAcknowledged { .. } => 3,
            Self::Acknowledged => 4,
            _ => 0,
        }
    }

    fn error(&self) -> Option<Error> {
        let own = |kind, words: &str| Some(Error::new(kind, words));
        match self {
            Self::Failed(error) | Self::Unconfirmed(error) => Some(error.clone()),
            Self::Expired => own(
                ErrorKind::Expired,
                "the downlink waited too long for a connection",
            ),
            Self::Replaced => own(
                ErrorKind::DownlinkFailed,
                "a later downlink of this client took the downlink's place in the queue",
            ),
            Self::Forgotten => own(
                ErrorKind::Unconfirmed,
                "the downlink is not followed any more; follow_downlinks says how many are, and for how long",
            ),
            _ => None,
        }
    }

    /// Whether this state can follow on `present`, on which anything can.
    fn follows(&self, present: &Self) -> bool {
        match (present, self) {
            (_, Self::Failed(_) | Self::Expired | Self::Replaced | Self::Forgotten) => true,
            (present, Self::Unconfirmed(_)) => matches!(present, Self::Written),
            // Another attempt.
            (Self::Sent, Self::NotAcknowledged { .. })
            | (Self::NotAcknowledged { .. }, Self::Sent)
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
            Self::Acknowledged => f.write_str("acknowledged"),
            Self::Failed(error) => write!(f, "failed: {error}"),
            Self::Expired => f.write_str("expired"),
            Self::Replaced => f.write_str("replaced"),
            Self::Unconfirmed(error) => write!(f, "unconfirmed: {error}"),
            Self::Forgotten => f.write_str("not followed any more"),
        }
    }
}

/// The state of one downlink: moved on by the session, read and waited for by everyone.
pub(crate) struct Progress {
    /// Whether the device is asked to acknowledge it.
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
        Arc::new(Self {
            confirmed,
            present: Mutex::new(Present {
                state: DeliveryState::Accepted,
                watchers: Vec::new(),
            }),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing more is expected after this state.
    fn is_final(&self, state: &DeliveryState) -> bool {
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

    /// Whether nothing can follow on this state. A late word still follows on silence.
    fn is_over(&self, state: &DeliveryState) -> bool {
        self.is_final(state) && !matches!(state, DeliveryState::Unconfirmed(_))
    }

    /// Moves on to `state`, if it can follow; whether nothing can follow any more.
    pub(crate) fn advance(&self, state: DeliveryState) -> bool {
        let mut present = self.lock();
        if !self.is_over(&present.state) && state.follows(&present.state) {
            present
                .watchers
                .retain(|watcher| watcher.send(state.clone()).is_ok());
            present.state = state;
            self.changed.notify_all();
        }
        if self.is_final(&present.state) {
            present.watchers.clear();
        }
        self.is_over(&present.state)
    }

    pub(crate) fn state(&self) -> DeliveryState {
        self.lock().state.clone()
    }

    fn watch(&self) -> Receiver<DeliveryState> {
        // A handful of states at most.
        let (sender, receiver) = unbounded();
        let mut present = self.lock();
        let _ = sender.send(present.state.clone());
        if !self.is_final(&present.state) {
            present.watchers.push(sender);
        }
        receiver
    }

    fn wait_until(
        &self,
        condition: impl Fn(&DeliveryState) -> bool,
        deadline: Option<Instant>,
    ) -> DeliveryState {
        let mut present = self.lock();
        while !condition(&present.state) {
            present = match deadline {
                None => self
                    .changed
                    .wait(present)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.changed
                        .wait_timeout(present, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        present.state.clone()
    }
}
