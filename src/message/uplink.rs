//! What devices send.

use std::{cmp::Ordering, collections::BTreeMap, fmt, time::SystemTime};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Downlink, Gateway, Metadata, RawMessage};
use crate::error::{Error, ErrorKind, Result};

/// An uplink: what a device sent and how it arrived.
///
/// One type for both networks, with the field names of the V2 API and of the Python SDK. What only
/// one of them sends says so, and is empty or `None` on the other. Everything but the two ids may
/// be missing on the wire: text is then empty, lists are empty, numbers are 0 or `None`.
///
/// ```
/// use ttn::{Network, UplinkMessage};
///
/// let uplink = UplinkMessage::from_json(Network::V3, r#"{
///     "end_device_ids": {"device_id": "soil-probe-07", "application_ids": {"application_id": "greenhouse"},
///         "dev_eui": "A84041FFEE10C207"},
///     "uplink_message": {"f_port": 2, "f_cnt": 1184, "frm_payload": "AWcBEA==",
///         "decoded_payload": {"temp-c": 27.2, "valve": {"open": true}}}
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
    /// The application's id, without a tenant.
    pub app_id: String,
    /// The device's id.
    pub dev_id: String,
    /// The DevEUI, 16 upper-case hex digits; empty when the network did not send it, as for v3
    /// devices activated by personalisation without one.
    pub hardware_serial: String,
    /// The AppEUI (JoinEUI), 16 upper-case hex digits; empty on V2 and for devices without.
    pub app_eui: String,
    /// The device address, 8 upper-case hex digits; empty on V2.
    pub dev_addr: String,
    /// The LoRaWAN FPort; 0 for frames that carry no application payload.
    pub port: u8,
    /// The uplink frame counter; 0 for the first frame of a session and for most simulated uplinks.
    pub counter: u32,
    /// Whether the device asked for an acknowledgement.
    pub confirmed: bool,
    /// Whether this is a repetition of the previous frame. Always `false` on v3, which does not
    /// publish repetitions.
    pub is_retry: bool,
    /// The payload, decrypted; empty when there is none. Still encrypted if there is an
    /// [`app_s_key`](Self::app_s_key).
    pub payload_raw: Vec<u8>,
    /// What the application's payload function (v3: payload formatter) made of the payload;
    /// `Value::Null` without one. Indexing by a name that is not there gives `Null` and never
    /// panics.
    pub payload_fields: Value,
    /// What the payload formatter warned of. v3 only.
    pub payload_warnings: Vec<String>,
    /// The measurements in the network's own words and units, one object each; not every formatter
    /// gives them. v3 only.
    pub normalized_payload: Vec<Value>,
    /// What was wrong with measurements that are not among
    /// [`normalized_payload`](Self::normalized_payload). v3 only.
    pub normalized_payload_warnings: Vec<String>,
    /// How the uplink was received.
    pub metadata: Metadata,
    /// When the application server got it; the network server's time is
    /// [`metadata.time`](Metadata::time). v3 only.
    pub received_at: Option<SystemTime>,
    /// The ids by which the network follows this message. v3 only.
    pub correlation_ids: Vec<String>,
    /// The id of the session keys; it changes when the device joins. v3 only.
    pub session_key_id: Vec<u8>,
    /// The key to the payload, if the application does its own payload encryption. v3 only; this
    /// crate neither decrypts with it nor encrypts downlinks.
    pub app_s_key: Option<KeyEnvelope>,
    /// The counter of the last application downlink, if the application does its own payload
    /// encryption. v3 only.
    pub last_downlink_counter: Option<u32>,
    /// The part of frames that were lost lately, 0 to 1. v3 only.
    pub packet_error_rate: Option<f64>,
    /// The battery, as the device last reported it to the network. v3 only, from release 3.33.1.
    pub battery: Option<Battery>,
    /// Which product the device is, if it is from the device repository. v3 only.
    pub version_ids: Option<VersionIds>,
    /// Which network received it. v3 only.
    pub network_ids: Option<NetworkIds>,
    /// The device's attributes, where the server sends them (v3: from release 3.34).
    pub attributes: BTreeMap<String, String>,
    /// Members that this crate does not name, as the network sent them.
    pub extra: Map<String, Value>,
    pub(crate) simulated: bool,
    pub(crate) raw: RawMessage,
}

/// With equal SNR above this, in dB, the stronger signal is the better one.
const GOOD_SNR: f64 = 5.0;

impl UplinkMessage {
    pub(crate) fn new(app_id: &str, dev_id: &str, raw: RawMessage) -> Self {
        Self {
            app_id: app_id.to_owned(),
            dev_id: dev_id.to_owned(),
            hardware_serial: String::new(),
            app_eui: String::new(),
            dev_addr: String::new(),
            port: 0,
            counter: 0,
            confirmed: false,
            is_retry: false,
            payload_raw: Vec::new(),
            payload_fields: Value::Null,
            payload_warnings: Vec::new(),
            normalized_payload: Vec::new(),
            normalized_payload_warnings: Vec::new(),
            metadata: Metadata::default(),
            received_at: None,
            correlation_ids: Vec::new(),
            session_key_id: Vec::new(),
            app_s_key: None,
            last_downlink_counter: None,
            packet_error_rate: None,
            battery: None,
            version_ids: None,
            network_ids: None,
            attributes: BTreeMap::new(),
            extra: Map::new(),
            simulated: false,
            raw,
        }
    }

    /// The gateway that received the uplink best: by signal-to-noise ratio, and by signal strength
    /// where that is above 5 dB for both. A gateway without values comes last, a missing
    /// signal-to-noise ratio counts as 0. `None` without gateways.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1","metadata":{"gateways":[
    ///     {"gtw_id":"far","rssi":-117,"snr":-8.5},{"gtw_id":"near","rssi":-71,"snr":9.25}]}}"#)?;
    /// assert_eq!(uplink.best_gateway().unwrap().gtw_id, "near");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn best_gateway(&self) -> Option<&Gateway> {
        let quality = |gateway: &Gateway| {
            let rssi = gateway.rssi.filter(|rssi| !rssi.is_nan());
            let snr = gateway.snr.filter(|snr| !snr.is_nan());
            (
                rssi.or(snr).is_some(),
                snr.unwrap_or(0.0).min(GOOD_SNR),
                rssi.unwrap_or(f64::MIN),
            )
        };
        let compare = |one: &Gateway, other: &Gateway| -> Ordering {
            let (one, other) = (quality(one), quality(other));
            one.0
                .cmp(&other.0)
                .then(one.1.total_cmp(&other.1))
                .then(one.2.total_cmp(&other.2))
        };
        // The first of equals.
        self.metadata
            .gateways
            .iter()
            .rev()
            .max_by(|one, other| compare(one, other))
    }

    /// Whether no device sent it: it was made in the console or by a tool. v3 says so; a V2 network
    /// is taken to say so by leaving out everything about gateways and radio.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// let uplink = UplinkMessage::from_json(Network::V3,
    ///     r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},
    ///     "uplink_message":{"f_port":2,"frm_payload":"AQ=="},"simulated":true}"#)?;
    /// assert!(uplink.is_simulated());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_simulated(&self) -> bool {
        self.simulated
    }

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
            let context = if self.payload_fields.is_null() && self.port == 0 {
                format!(
                    "the uplink of {} is on FPort 0 and has no payload_fields: it holds nothing but MAC commands",
                    self.dev_id
                )
            } else if self.payload_fields.is_null() {
                format!(
                    "the uplink of {} has no payload_fields; has the application a payload function or formatter?",
                    self.dev_id
                )
            } else {
                format!(
                    "the payload_fields of {} are of another shape: {cause}",
                    self.dev_id
                )
            };
            Error::with_source(ErrorKind::Decode, context, cause)
        })
    }

    /// A downlink that answers this uplink: on its FPort, unless the downlink has one of its own. To
    /// send with [`MqttClient::reply`](crate::MqttClient::reply) or
    /// [`send`](crate::MqttClient::send), which can do without.
    ///
    /// ```
    /// # use ttn::{Downlink, Network, UplinkMessage};
    /// # let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1","port":5}"#)?;
    /// assert_eq!(uplink.reply([0x06]).confirmed(true), Downlink::bytes([0x06]).port(5).confirmed(true));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn reply(&self, downlink: impl Into<Downlink>) -> Downlink {
        let mut downlink = downlink.into();
        if self.port != 0 {
            downlink.port.get_or_insert(self.port);
        }
        downlink
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

/// A key as the network hands it out: in the clear, or encrypted by a key that only the application
/// has.
///
/// ```
/// # use ttn::{Network, UplinkMessage};
/// # let uplink = UplinkMessage::from_json(Network::V3,
/// #     r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},
/// #     "uplink_message":{"app_s_key":{"kek_label":"own","encrypted_key":"AQI="}}}"#)?;
/// let key = uplink.app_s_key.unwrap();
/// assert_eq!((key.kek_label.as_str(), key.encrypted_key.as_slice()), ("own", &[1, 2][..]));
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyEnvelope {
    /// The key, 32 upper-case hex digits; empty when it is encrypted.
    pub key: String,
    /// The name of the key by which it is encrypted.
    pub kek_label: String,
    /// The encrypted key; empty when it is in the clear.
    pub encrypted_key: Vec<u8>,
}

/// Prints no key.
impl fmt::Debug for KeyEnvelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEnvelope")
            .field("kek_label", &self.kek_label)
            .finish_non_exhaustive()
    }
}

/// What a device last said of its battery.
///
/// ```
/// # use ttn::{Network, UplinkMessage};
/// # let uplink = UplinkMessage::from_json(Network::V3,
/// #     r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},
/// #     "uplink_message":{"last_battery_percentage":{"f_cnt":7,"value":93.7}}}"#)?;
/// assert_eq!(uplink.battery.unwrap().percentage, Some(93.7));
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Battery {
    /// 0 to 100; `None` if the device could not measure it.
    pub percentage: Option<f64>,
    /// The counter of the uplink that brought it.
    pub counter: u32,
    /// When that was.
    pub received_at: Option<SystemTime>,
}

/// Which product a device is, in the words of the device repository.
///
/// ```
/// # use ttn::{Network, UplinkMessage};
/// # let uplink = UplinkMessage::from_json(Network::V3,
/// #     r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},
/// #     "uplink_message":{"version_ids":{"brand_id":"dragino","model_id":"lht65"}}}"#)?;
/// let product = uplink.version_ids.unwrap();
/// assert_eq!((product.brand_id.as_str(), product.model_id.as_str()), ("dragino", "lht65"));
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionIds {
    /// The maker.
    pub brand_id: String,
    /// The model.
    pub model_id: String,
    /// The hardware version; `_unknown_hw_version_` if nobody said.
    pub hardware_version: String,
    /// The firmware version.
    pub firmware_version: String,
    /// The frequency band, such as `EU_863_870`.
    pub band_id: String,
}

/// Which network received a message.
///
/// ```
/// # use ttn::{Network, UplinkMessage};
/// # let uplink = UplinkMessage::from_json(Network::V3,
/// #     r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},
/// #     "uplink_message":{"network_ids":{"net_id":"000013","tenant_id":"ttn","cluster_id":"eu1"}}}"#)?;
/// let network = uplink.network_ids.unwrap();
/// assert_eq!((network.tenant_id.as_str(), network.cluster_id.as_str()), ("ttn", "eu1"));
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkIds {
    /// The LoRaWAN NetID, 6 upper-case hex digits.
    pub net_id: String,
    /// The EUI of the network server, 16 upper-case hex digits.
    pub ns_id: String,
    /// The tenant; empty without.
    pub tenant_id: String,
    /// The cluster, such as `eu1`.
    pub cluster_id: String,
    /// The host of the cluster.
    pub cluster_address: String,
    /// The host of the tenant.
    pub tenant_address: String,
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
