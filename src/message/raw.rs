//! An MQTT message as it arrived.

use std::{fmt, sync::Arc};

use serde::Serialize;

use super::json;

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
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct RawMessage {
    topic: Arc<str>,
    #[serde(flatten, serialize_with = "json::message")]
    payload: Arc<[u8]>,
}

impl RawMessage {
    pub(crate) fn new(topic: &str, payload: &[u8]) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
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
        &self.topic
    }

    /// Returns the bytes of the message.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1"}"#).unwrap();
    /// assert_eq!(uplink.raw().payload(), br#"{"app_id":"a1","dev_id":"d1"}"#);
    /// ```
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// Writes the first 4 kB of the payload, because a list of downlinks repeats its message for each.
impl fmt::Debug for RawMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4_000;
        let payload = self.payload();
        let shown = &payload[..payload.len().min(SHOWN)];
        let mut message = f.debug_struct("RawMessage");
        message
            .field("topic", &self.topic())
            .field("payload", &String::from_utf8_lossy(shown));
        if shown.len() < payload.len() {
            message.field("bytes", &payload.len());
        }
        message.finish()
    }
}
