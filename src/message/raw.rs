//! An MQTT message as it arrived.

use std::{fmt, iter, str, sync::Arc};

use serde::{Serialize, Serializer};

use super::{Hold, json};

/// A message as it arrived from the server: topic and bytes, not interpreted. Clones share the bytes.
///
/// ```
/// use ttn::{Event, Network};
///
/// let event = Event::decode(Network::V2, "my-app/devices/dev-1/up/temperature", "21.5").unwrap();
/// let Event::UplinkField(field) = event else { panic!() };
/// assert_eq!(field.raw().topic(), "my-app/devices/dev-1/up/temperature");
/// assert_eq!(field.raw().payload(), b"21.5");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// The topic, and then the payload: every message needs this memory, so it is allocated in one go.
    bytes: Arc<[u8]>,
    topic_length: usize,
    is_retained: bool,
    /// What keeps a downlink request that a feed reads from being acknowledged.
    pub(crate) hold: Hold,
}

impl RawMessage {
    pub(crate) fn new(topic: &str, payload: &[u8]) -> Self {
        let mut bytes: Arc<[u8]> = iter::repeat_n(0, topic.len() + payload.len()).collect();
        // Nobody else has it yet.
        if let Some(bytes) = Arc::get_mut(&mut bytes) {
            bytes[..topic.len()].copy_from_slice(topic.as_bytes());
            bytes[topic.len()..].copy_from_slice(payload);
        }
        Self {
            bytes,
            topic_length: topic.len(),
            is_retained: false,
            hold: Hold::default(),
        }
    }

    /// Returns the same message on a topic.
    pub(crate) fn on_topic(&self, topic: &str) -> Self {
        Self {
            is_retained: self.is_retained,
            hold: self.hold.clone(),
            ..Self::new(topic, self.payload())
        }
    }

    pub(crate) fn retained(self, is_retained: bool) -> Self {
        Self {
            is_retained,
            ..self
        }
    }

    /// Returns the MQTT topic; empty for a message that was decoded without one, such as a webhook
    /// body.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1"}"#).unwrap();
    /// assert_eq!(uplink.raw().topic(), "");
    /// ```
    pub fn topic(&self) -> &str {
        // It was text before.
        str::from_utf8(&self.bytes[..self.topic_length]).unwrap_or_default()
    }

    /// Returns how many bytes topic and payload have.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the bytes of the message.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1"}"#).unwrap();
    /// assert_eq!(uplink.raw().payload(), br#"{"app_id":"a1","dev_id":"d1"}"#);
    /// ```
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.topic_length..]
    }

    /// Returns whether this is the last message on its topic, which the server has kept and delivers
    /// because the client subscribes: it can be of any age, and comes again with every connection. The
    /// Things Network retains nothing; a broker of your own does if the publisher, for example a bridge,
    /// sets MQTT's retain flag. The same message is not retained for a client that is connected when it
    /// is published.
    ///
    /// A retained message does not count as news of a device or a downlink: see
    /// [`Event::is_retained`](crate::Event::is_retained).
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1"}"#).unwrap();
    /// assert!(!uplink.raw().is_retained());
    /// ```
    pub fn is_retained(&self) -> bool {
        self.is_retained
    }
}

impl Serialize for RawMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Message<'a> {
            topic: &'a str,
            #[serde(flatten, serialize_with = "json::message")]
            payload: &'a [u8],
            is_retained: bool,
        }
        Message {
            topic: self.topic(),
            payload: self.payload(),
            is_retained: self.is_retained,
        }
        .serialize(serializer)
    }
}

/// Writes the first 4 kB of the payload, because a list of downlinks repeats its message for each. Does not
/// write a payload with a [session key](crate::KeyEnvelope).
impl fmt::Debug for RawMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4_000;
        let payload = self.payload();
        let shown = &payload[..payload.len().min(SHOWN)];
        let mut message = f.debug_struct("RawMessage");
        message.field("topic", &self.topic());
        let is_hidden = has_key(shown);
        if is_hidden {
            message.field("payload", &"not shown: it contains a session key");
        } else {
            message.field("payload", &String::from_utf8_lossy(shown));
        }
        if is_hidden || shown.len() < payload.len() {
            message.field("bytes", &payload.len());
        }
        if self.is_retained {
            message.field("is_retained", &true);
        }
        message.finish()
    }
}

fn has_key(payload: &[u8]) -> bool {
    let contains = |name: &[u8]| payload.windows(name.len()).any(|part| part == name);
    contains(b"app_s_key") || contains(b"appSKey")
}
