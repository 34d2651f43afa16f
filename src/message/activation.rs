//! Devices joining the network.

use crate::message::{Metadata, RawMessage};

/// A device has joined the network (V2 topic `events/activations`). Its frame counters start again.
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
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Activation {
    /// The application's id.
    pub app_id: String,
    /// The device's id.
    pub dev_id: String,
    /// The AppEUI (JoinEUI), 16 upper-case hex digits.
    pub app_eui: String,
    /// The DevEUI, 16 upper-case hex digits.
    pub dev_eui: String,
    /// The new device address, 8 upper-case hex digits; empty when the join was refused.
    pub dev_addr: String,
    /// How the join request was received. V2 servers compute its `airtime` for an empty payload.
    pub metadata: Metadata,
    pub(crate) raw: RawMessage,
}

impl Activation {
    /// The message as it came: topic and original bytes.
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
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ActivationFailed {
    /// The server's words.
    pub error: String,
    /// The join as far as it went.
    pub activation: Activation,
}
