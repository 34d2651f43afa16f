//! A downlink on its way.

use std::fmt;

/// A downlink that `send` accepted. Dropping it changes nothing about the downlink.
///
/// ```no_run
/// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// let delivery = client.send("dev-1", "AQ==")?;
/// println!("sent as message {}", delivery.message_id());
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    message_id: MessageId,
    correlation_id: Option<String>,
}

impl Delivery {
    pub(crate) fn new(message_id: MessageId, correlation_id: Option<String>) -> Self {
        Self {
            message_id,
            correlation_id,
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
}

/// The number of a downlink, counted by the client from 1 and never used twice, also over
/// reconnects. It is not the packet identifier of MQTT, which downlinks do not have (QoS 0).
///
/// ```
/// fn callback(mid: ttn::MessageId) -> String {
///     format!("message {mid} is on its way")
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub(crate) u64);

impl MessageId {
    /// The number itself.
    ///
    /// ```
    /// fn even(mid: ttn::MessageId) -> bool {
    ///     mid.get() % 2 == 0
    /// }
    /// ```
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The downlinks of one message: so many, numbered one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MessageIds {
    first: u64,
    count: u64,
}

impl MessageIds {
    pub(crate) fn new(first: u64, count: u64) -> Self {
        Self { first, count }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = MessageId> {
        (self.first..self.first + self.count).map(MessageId)
    }
}
