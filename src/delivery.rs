//! A downlink on its way.

use std::fmt;

/// A downlink that `send` accepted. Dropping it changes nothing about the downlink.
///
/// ```no_run
/// # let client = ttn::MqttClient::new("my-app", "ttn-account-v2.secret")?;
/// let delivery = client.send("dev-1", "AQ==")?;
/// println!("sent as message {}", delivery.message_id());
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    message_id: MessageId,
}

impl Delivery {
    pub(crate) fn new(message_id: MessageId) -> Self {
        Self { message_id }
    }

    /// The id with which the downlink callback and [`Event::Published`](crate::Event::Published)
    /// are called when the downlink has left this machine. The callback may run before `send`
    /// returns.
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app", "ttn-account-v2.secret")?;
    /// assert_ne!(client.send("dev-1", "AQ==")?.message_id(), client.send("dev-1", "AQ==")?.message_id());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn message_id(&self) -> MessageId {
        self.message_id
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
