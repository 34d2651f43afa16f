//! What devices send.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    error::{Error, ErrorKind, Result},
    message::{Metadata, RawMessage},
};

/// An uplink: what a device sent and how it arrived.
///
/// Field names are those of the V2 API and of the Python SDK. Everything but the two ids may be
/// missing on the wire: text is then empty, lists are empty, numbers are 0 or `None`.
///
/// ```
/// use ttn::{Network, UplinkMessage};
///
/// let uplink = UplinkMessage::from_json(Network::V2, r#"{
///     "app_id": "greenhouse", "dev_id": "soil-probe-07", "hardware_serial": "A84041FFEE10C207", "port": 2,
///     "counter": 1184, "payload_raw": "AWcBEA==", "payload_fields": {"temp-c": 27.2, "valve": {"open": true}}
/// }"#)?;
/// assert_eq!(uplink.dev_id, "soil-probe-07");
/// assert_eq!(uplink.payload_raw, [0x01, 0x67, 0x01, 0x10]);
/// assert_eq!(uplink.payload_fields["temp-c"], 27.2);
/// assert_eq!(uplink.payload_fields["valve"]["open"], true);
/// assert!(uplink.payload_fields["no such field"].is_null());
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct UplinkMessage {
    /// The application's id.
    pub app_id: String,
    /// The device's id.
    pub dev_id: String,
    /// The DevEUI, 16 upper-case hex digits; empty when the network did not send it.
    pub hardware_serial: String,
    /// The LoRaWAN FPort; 0 for frames that carry no application payload.
    pub port: u8,
    /// The uplink frame counter; 0 for simulated uplinks.
    pub counter: u32,
    /// Whether the device asked for an acknowledgement.
    pub confirmed: bool,
    /// Whether this is a repetition of the previous frame.
    pub is_retry: bool,
    /// The payload, decrypted; empty when there is none.
    pub payload_raw: Vec<u8>,
    /// What the application's payload function made of the payload; `Value::Null` without one.
    /// Indexing by a name that is not there gives `Null` and never panics.
    pub payload_fields: Value,
    /// How the uplink was received.
    pub metadata: Metadata,
    /// The device's attributes, where the server sends them.
    pub attributes: BTreeMap<String, String>,
    /// Members that this crate does not name, as the network sent them.
    pub extra: Map<String, Value>,
    pub(crate) raw: RawMessage,
}

impl UplinkMessage {
    /// The payload as upper-case hex digits.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// # let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1","payload_raw":"/wA="}"#)?;
    /// assert_eq!(uplink.payload_hex(), "FF00");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn payload_hex(&self) -> String {
        hex::encode_upper(&self.payload_raw)
    }

    /// The payload as base64 text, which is what the Python SDK's `payload_raw` is.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// # let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1","payload_raw":"/wA="}"#)?;
    /// assert_eq!(uplink.payload_base64(), "/wA=");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn payload_base64(&self) -> String {
        super::payload::to_base64(&self.payload_raw)
    }

    /// The decoded fields as a type of your own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] when [`payload_fields`](Self::payload_fields) does not fit `T`, which
    /// includes uplinks that the network could not decode.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// #[derive(serde::Deserialize)]
    /// struct Climate { temperature: f64, #[serde(default)] humidity: Option<f64> }
    ///
    /// let uplink = UplinkMessage::from_json(Network::V2,
    ///     r#"{"app_id":"a1","dev_id":"d1","payload_fields":{"temperature":21}}"#)?;
    /// let climate: Climate = uplink.fields()?;
    /// assert_eq!((climate.temperature, climate.humidity), (21.0, None));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn fields<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.payload_fields).map_err(|cause| {
            let context = if self.payload_fields.is_null() {
                format!(
                    "the uplink of {} has no payload_fields; has the application a payload function?",
                    self.dev_id
                )
            } else {
                format!("the payload_fields of {} are of another shape", self.dev_id)
            };
            Error::with_source(ErrorKind::Decode, context, cause)
        })
    }

    /// The message as it came: topic and original bytes.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// # let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1"}"#)?;
    /// assert!(uplink.raw().payload().starts_with(b"{"));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn raw(&self) -> &RawMessage {
        &self.raw
    }
}

/// One decoded field of an uplink, which V2 servers also publish on a topic of its own
/// (`{app}/devices/{dev}/up/{field}`). Asked for with
/// [`field_topics`](crate::MqttClientBuilder::field_topics).
///
/// ```
/// use ttn::{Event, Network};
///
/// let event = Event::decode(Network::V2, "my-app/devices/dev-1/up/gps/lat", "51.9")?;
/// let Event::UplinkField(field) = event else { panic!() };
/// assert_eq!((field.field.as_str(), &field.value), ("gps/lat", &51.9.into()));
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct UplinkField {
    /// The application's id.
    pub app_id: String,
    /// The device's id.
    pub dev_id: String,
    /// The name of the field; a field inside an object has its path, with `/` in between.
    pub field: String,
    /// Its value.
    pub value: Value,
    pub(crate) raw: RawMessage,
}

impl UplinkField {
    /// The message as it came: topic and original bytes.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// # let event = Event::decode(Network::V2, "my-app/devices/dev-1/up/gps/lat", "51.9")?;
    /// # let Event::UplinkField(field) = event else { panic!() };
    /// assert_eq!(field.raw().payload(), b"51.9");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn raw(&self) -> &RawMessage {
        &self.raw
    }
}

/// An uplink that the server could not handle or decode (V2 topic `events/up/errors`). When a
/// payload decoder failed, the uplink itself arrives as well, without fields; when a validator said
/// no, it does not.
///
/// ```
/// use ttn::{Event, Network};
///
/// let event = Event::decode(Network::V2, "my-app/devices/dev-1/events/up/errors", r#"{"error":"Payload not valid"}"#)?;
/// let Event::UplinkFailed(failed) = event else { panic!() };
/// assert_eq!(failed.error, "Payload not valid");
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct UplinkFailed {
    /// The application's id.
    pub app_id: String,
    /// The device's id.
    pub dev_id: String,
    /// The server's words.
    pub error: String,
    pub(crate) raw: RawMessage,
}

impl UplinkFailed {
    /// The message as it came: topic and original bytes.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// # let event = Event::decode(Network::V2, "my-app/devices/dev-1/events/up/errors", "{}")?;
    /// # let Event::UplinkFailed(failed) = event else { panic!() };
    /// assert_eq!(failed.raw().payload(), b"{}");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn raw(&self) -> &RawMessage {
        &self.raw
    }
}
