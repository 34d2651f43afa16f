//! Devices joining the network.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{DownlinkEvent, KeyEnvelope, Metadata, RawMessage, json};

/// A device joined the network (V2 topic `events/activations`, v3 topic `join`). Its frame counters
/// restart, on v3 with its first uplink.
///
/// ```
/// use ttn::{Event, Network};
///
/// let event = Event::decode(Network::V2, "my-app/devices/dev-1/events/activations",
///     r#"{"app_eui":"70B3D57ED000AB01","dev_eui":"A84041FFEE10C207","dev_addr":"26011F9C","metadata":{"time":""}}"#)?;
/// let Event::Activation(activation) = event else { panic!() };
/// assert_eq!(activation.dev_id, "dev-1");
/// assert_eq!(activation.dev_addr, "26011F9C");
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Activation {
    /// The application id, without a tenant.
    pub app_id: String,
    /// The device id.
    pub dev_id: String,
    /// The AppEUI (JoinEUI), 16 upper-case hex digits.
    pub app_eui: String,
    /// The DevEUI, 16 upper-case hex digits.
    pub dev_eui: String,
    /// The new device address, 8 upper-case hex digits; empty if the join was refused or
    /// [simulated](Self::is_simulated).
    pub dev_addr: String,
    /// How the join request was received. V2 servers calculate its `airtime` for an empty payload; v3
    /// servers send only the time.
    pub metadata: Metadata,
    /// When the application server received it. v3 only.
    #[serde(serialize_with = "json::optional_time")]
    pub received_at: Option<SystemTime>,
    /// The ids that the network uses to trace this message. v3 only.
    pub correlation_ids: Vec<String>,
    /// The id of the new session keys. v3 only.
    #[serde(serialize_with = "json::base64")]
    pub session_key_id: Vec<u8>,
    /// Whether the session starts only with its first uplink. v3 only.
    pub pending_session: bool,
    /// The key that encrypts payloads, if the application handles payload encryption itself. v3 only.
    pub app_s_key: Option<KeyEnvelope>,
    /// Downlinks that are invalid now, if the application handles payload encryption itself. v3 only.
    pub invalidated_downlinks: Vec<DownlinkEvent>,
    /// Members that have no field in this crate, and [odd ones](crate::Stats::odd_members), which could not
    /// be read; both as the network sent them.
    pub extra: Map<String, Value>,
    #[serde(rename = "is_simulated")]
    pub(crate) simulated: bool,
    #[serde(rename = "is_retained", serialize_with = "json::is_retained")]
    pub(crate) raw: RawMessage,
}

impl Activation {
    pub(crate) fn new(app_id: &str, dev_id: &str, raw: RawMessage) -> Self {
        Self {
            app_id: app_id.to_owned(),
            dev_id: dev_id.to_owned(),
            app_eui: String::new(),
            dev_eui: String::new(),
            dev_addr: String::new(),
            metadata: Metadata::default(),
            received_at: None,
            correlation_ids: Vec::new(),
            session_key_id: Vec::new(),
            pending_session: false,
            app_s_key: None,
            invalidated_downlinks: Vec::new(),
            extra: Map::new(),
            simulated: false,
            raw,
        }
    }

    /// Returns whether the join was simulated in the console or by a tool. Such a join changes nothing
    /// that the client knows about the device. Always `false` on V2, which simulates only uplinks.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// let event = Event::decode(Network::V3, "v3/greenhouse/devices/bed-07/join",
    ///     r#"{"join_accept":{"session_key_id":"AQI="},"simulated":true}"#)?;
    /// let Event::Activation(join) = event else { panic!() };
    /// assert!(join.is_simulated());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_simulated(&self) -> bool {
        self.simulated
    }

    /// Returns the message as it arrived: topic and original bytes.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// # let event = Event::decode(Network::V2, "my-app/devices/dev-1/events/activations", "{}")?;
    /// # let Event::Activation(activation) = event else { panic!() };
    /// assert_eq!(activation.raw().payload(), b"{}");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn raw(&self) -> &RawMessage {
        &self.raw
    }
}

/// A device tried to join and was refused (V2 topic `events/activations/errors`).
///
/// ```
/// use ttn::{Event, Network};
///
/// let event = Event::decode(Network::V2, "my-app/devices/dev-1/events/activations/errors",
///     r#"{"error":"Activation DevNonce not valid: already used","dev_eui":"A84041FFEE10C207"}"#)?;
/// let Event::ActivationFailed(failed) = event else { panic!() };
/// assert_eq!(failed.error, "Activation DevNonce not valid: already used");
/// assert_eq!(failed.activation.dev_eui, "A84041FFEE10C207");
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ActivationFailed {
    /// The server's message.
    pub error: String,
    /// The data of the join, as far as it went.
    pub activation: Activation,
}
