//! Uplinks: what devices send.

use std::{cmp::Ordering, collections::BTreeMap, fmt, time::SystemTime};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    Downlink, Gateway, Hold, Metadata, Place, RawMessage, Watermark, fields, json, mismatch,
};
use crate::error::{Error, ErrorKind, Result};

/// An uplink: what a device sent and how it arrived.
///
/// Both networks share this type, which has the field names of the V2 API and of the Python SDK. Fields
/// that only one network sends are marked, and are empty or `None` on the other. Everything except the
/// two ids may be missing on the wire: text and lists are then empty, numbers are 0 or `None`. The same
/// holds for a member that cannot be read, such as a number that is out of range: it stays as it was in the
/// nearest `extra`, under its name, and [`Stats::odd_members`](crate::Stats::odd_members) counts it. Only if
/// the ids, the payload, the FPort or the counter cannot be read, the message is
/// [`Malformed`](crate::Event::Malformed), and if it is not JSON that serde_json reads: a number beyond `f64`, half
/// a surrogate pair, and more than 127 levels are such. Integers beyond 64 bits are floating point numbers, also in
/// `extra`.
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
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct UplinkMessage {
    /// The application id, without a tenant.
    pub app_id: String,
    /// The device id.
    pub dev_id: String,
    /// The DevEUI, 16 upper-case hex digits; empty if the network did not send it, as for v3 devices
    /// that are activated by personalisation and have none.
    pub hardware_serial: String,
    /// The AppEUI (JoinEUI), 16 upper-case hex digits; empty on V2 and for devices without one.
    pub app_eui: String,
    /// The device address, 8 upper-case hex digits; empty on V2.
    pub dev_addr: String,
    /// The LoRaWAN FPort; 0 for frames that carry no application payload.
    pub port: u8,
    /// The uplink frame counter; 0 for the first frame of a session and for most simulated uplinks.
    pub counter: u32,
    /// Whether the device requested an acknowledgement.
    pub confirmed: bool,
    /// Whether the network takes this for a repetition of the previous frame. Only repetitions of
    /// [confirmed](Self::confirmed) frames are published. **Also `true` for the first uplink of a new
    /// device** if its counter is 0, and sometimes for the first one after a join: to skip repetitions,
    /// look for [`CounterFinding::Repeated`](super::CounterFinding::Repeated). Always `false` on v3,
    /// which publishes no repetitions.
    pub is_retry: bool,
    /// The decrypted payload; empty if there is none. It is still encrypted if there is an
    /// [`app_s_key`](Self::app_s_key).
    #[serde(flatten, serialize_with = "json::payload")]
    pub payload_raw: Vec<u8>,
    /// The payload as decoded by the application's payload function (v3: payload formatter);
    /// `Value::Null` without one. Indexing by an unknown name returns `Null` and never panics.
    pub payload_fields: Value,
    /// The warnings of the payload formatter. v3 only.
    pub payload_warnings: Vec<String>,
    /// The measurements with the network's standard names and units, one object each. Not every
    /// formatter provides them. v3 only.
    pub normalized_payload: Vec<Value>,
    /// Why measurements are missing from [`normalized_payload`](Self::normalized_payload). v3 only.
    pub normalized_payload_warnings: Vec<String>,
    /// How the uplink was received.
    pub metadata: Metadata,
    /// When the application server got it; the network server's time is
    /// [`metadata.time`](Metadata::time). v3 only.
    #[serde(serialize_with = "json::optional_time")]
    pub received_at: Option<SystemTime>,
    /// The ids that the network uses to trace this message. v3 only.
    pub correlation_ids: Vec<String>,
    /// The id of the session keys; it changes when the device joins. v3 only.
    #[serde(serialize_with = "json::base64")]
    pub session_key_id: Vec<u8>,
    /// The key that encrypts the payload, if the application handles payload encryption itself. v3
    /// only. This crate neither decrypts payloads nor encrypts downlinks.
    pub app_s_key: Option<KeyEnvelope>,
    /// The counter of the last application downlink, if the application handles payload encryption
    /// itself. v3 only.
    pub last_downlink_counter: Option<u32>,
    /// The share of recent frames that were lost, 0 to 1; `None` if the field mask of a webhook may have
    /// removed it. v3 only.
    pub packet_error_rate: Option<f64>,
    /// The battery state that the device last reported to the network. v3 only, from release 3.33.1.
    pub battery: Option<Battery>,
    /// The product, if the device comes from the device repository. v3 only.
    pub version_ids: Option<VersionIds>,
    /// The network that received it. v3 only.
    pub network_ids: Option<NetworkIds>,
    /// The device's attributes, if the server sends them (v3: from release 3.34).
    pub attributes: BTreeMap<String, String>,
    /// Members that have no field in this crate, and [odd ones](crate::Stats::odd_members), which could not
    /// be read; both as the network sent them.
    pub extra: Map<String, Value>,
    #[serde(rename = "is_simulated")]
    pub(crate) simulated: bool,
    #[serde(rename = "is_backfilled")]
    pub(crate) backfilled: bool,
    #[serde(rename = "is_duplicate")]
    pub(crate) duplicate: bool,
    #[serde(rename = "is_redelivered")]
    pub(crate) redelivered: bool,
    #[serde(skip)]
    pub(crate) place: Place,
    #[serde(skip)]
    pub(crate) hold: Hold,
    #[serde(rename = "is_retained", serialize_with = "json::is_retained")]
    pub(crate) raw: RawMessage,
}

/// The SNR in dB above which signal strength decides.
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
            backfilled: false,
            duplicate: false,
            redelivered: false,
            place: Place::default(),
            hold: Hold::default(),
            raw,
        }
    }

    /// Returns the gateway that received the uplink best: the one with the higher signal-to-noise
    /// ratio or, if both ratios are above 5 dB, the stronger signal. A gateway without values comes
    /// last; a missing signal-to-noise ratio counts as 0. `None` without gateways.
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
        // Prefers the first of equal gateways.
        self.metadata
            .gateways
            .iter()
            .rev()
            .max_by(|one, other| compare(one, other))
    }

    /// Returns whether the uplink was simulated in the console or by a tool, not sent by a device. v3
    /// marks such uplinks; on V2 they are the uplinks without any data about gateways and radio.
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

    /// Returns whether the client fetched the uplink over HTTP, because it had missed it; see
    /// [`backfill`](crate::MqttClientBuilder::backfill). Such an uplink lacks the AppEUI, the session key id and
    /// the correlation ids if it comes from storage.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// # let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1"}"#)?;
    /// assert!(!uplink.is_backfilled());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_backfilled(&self) -> bool {
        self.backfilled
    }

    /// Returns whether a [broker of one's own](crate::MqttClient::own_broker) says that it has delivered this uplink
    /// before (MQTT's DUP flag), because it was not acknowledged: usually the connection had ended. It may have been handled
    /// already. Not every broker sets the flag for what another member of a
    /// [group](crate::MqttClientBuilder::shared_group) had before; Mosquitto 2.0.11 sets it for everything that has waited
    /// for a client, delivered before or not. `false` for an uplink from the network itself.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// # let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1"}"#)?;
    /// assert!(!uplink.is_redelivered());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_redelivered(&self) -> bool {
        self.redelivered
    }

    /// Marks the uplink as handled by the subscription that it came from, so that the program may keep it. Without this,
    /// a subscription has handled an uplink when the event and all its clones are dropped, and with
    /// [`Acknowledge::Handled`](crate::Acknowledge::Handled) the uplink is not acknowledged before that. Callbacks and
    /// workers need not call it: they have handled an uplink when they return. Can be called on any thread, and does
    /// nothing for an uplink that did not come from a [broker of one's own](crate::MqttClient::own_broker).
    ///
    /// ```no_run
    /// use ttn::{Acknowledge, Event, MqttClient, Session};
    ///
    /// let client = MqttClient::own_broker("my-app@ttn")
    ///     .mqtt_address("localhost:1883")
    ///     .session(Session::persistent("worker-1"))
    ///     .acknowledge(Acknowledge::Handled)
    ///     .build()?;
    /// let events = client.events();
    /// client.connect()?;
    /// let mut latest = None;
    /// for event in &events {
    ///     if let Event::Uplink(uplink) = event {
    ///         println!("{}: {}", uplink.dev_id, uplink.payload_hex());
    ///         uplink.acknowledge();
    ///         latest = Some(uplink);
    ///     }
    /// }
    /// # drop(latest);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn acknowledge(&self) {
        self.hold.end();
    }

    /// Returns how far a program has got once it has handled this uplink, to
    /// [`resume_from`](crate::MqttClientBuilder::resume_from) there in its next run. `None` for an uplink that no
    /// client delivered, or one without [`backfill`](crate::MqttClientBuilder::backfill), and in a fork of the process.
    ///
    /// It is that of the subscription, or of the callbacks, that got the uplink: an uplink that was dropped
    /// there, because the program did not keep up, holds it back.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// # let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1"}"#)?;
    /// assert!(uplink.watermark().is_none());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn watermark(&self) -> Option<Watermark> {
        self.place.watermark()
    }

    /// Returns the payload as upper-case hex digits.
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

    /// Returns the payload as base64 text, like `payload_raw` of the Python SDK.
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

    /// Returns the decoded fields as a type of your own. If the formatter sends numbers as text, or
    /// `null` in place of a number, see [`fields`](crate::fields).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] if [`payload_fields`](Self::payload_fields) does not match `T`, which
    /// includes uplinks that the network could not decode. The error names the first member that does
    /// not match, unless the type is behind `#[serde(flatten)]` or `#[serde(untagged)]`, where serde
    /// does not tell which it is.
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
    ///
    /// let uplink = UplinkMessage::from_json(Network::V2,
    ///     r#"{"app_id":"a1","dev_id":"d1","payload_fields":{"temperature":null}}"#)?;
    /// let error = uplink.fields::<Climate>().err().unwrap();
    /// assert!(error.to_string().ends_with("temperature: expected a number, found null"));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn fields<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.payload_fields).map_err(|cause| {
            let context = if self.payload_fields.is_null() && self.port == 0 {
                format!(
                    "the uplink of {} is on FPort 0 and has no payload_fields: it contains only MAC commands",
                    self.dev_id
                )
            } else if self.payload_fields.is_null() {
                format!(
                    "the uplink of {} has no payload_fields; does the application have a payload function or formatter?",
                    self.dev_id
                )
            } else {
                let why = mismatch::explain::<T>(&self.payload_fields, &cause);
                format!(
                    "the payload_fields of {} do not match the type: {why}",
                    self.dev_id
                )
            };
            Error::with_source(ErrorKind::Decode, context, cause)
        })
    }

    /// Returns one of the decoded fields by its path, such as `gps.lat` or `entries[0].temperature`; `None`
    /// if there is no such field. A name that itself contains dots is found too.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1",
    ///     "payload_fields":{"valve":{"open":true},"levels":[7,9]}}"#)?;
    /// assert_eq!(uplink.field("valve.open"), Some(&true.into()));
    /// assert_eq!(uplink.field("levels[1]"), Some(&9.into()));
    /// assert_eq!(uplink.field("valve.minutes"), None);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn field(&self, path: &str) -> Option<&Value> {
        fields::find(&self.payload_fields, path)
    }

    /// Returns the number in one of the decoded [fields](Self::field): a number, or text of one, with or
    /// without a unit, as [`fields::number`](crate::fields::number) reads it. `None` if there is none, which includes
    /// `null` and `NaN`; [`fields`](Self::fields) tells why.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1",
    ///     "payload_fields":{"temperature":{"lower":0,"middle":null,"outer":"1.2 °C"}}}"#)?;
    /// assert_eq!(uplink.number("temperature.lower"), Some(0.0));
    /// assert_eq!(uplink.number("temperature.middle"), None);
    /// assert_eq!(uplink.number("temperature.outer"), Some(1.2));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn number(&self, path: &str) -> Option<f64> {
        self.field(path).and_then(fields::number_in)
    }

    /// Returns a downlink that answers this uplink, on the same FPort unless the downlink sets one.
    /// Pass it to [`MqttClient::send`](crate::MqttClient::send);
    /// [`MqttClient::reply`](crate::MqttClient::reply) does both.
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

    /// Returns the message as it arrived: topic and original bytes.
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

/// A key as the network provides it: in plain text, or encrypted with a key that only the application
/// has. Neither `Debug` nor [JSON](crate::Event#as-json) has the key in either form.
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
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyEnvelope {
    /// The key, 32 upper-case hex digits; empty if it is encrypted.
    #[serde(skip)]
    pub key: String,
    /// The name of the key that encrypts it.
    pub kek_label: String,
    /// The encrypted key; empty if it is in plain text.
    #[serde(skip)]
    pub encrypted_key: Vec<u8>,
    /// Members that have no field in this crate or could not be read, as the network sent them: possibly
    /// the key itself. `app_s_key` is a whole envelope that could not be read.
    #[serde(skip)]
    pub extra: Map<String, Value>,
}

/// Does not write the key.
impl fmt::Debug for KeyEnvelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEnvelope")
            .field("kek_label", &self.kek_label)
            .finish_non_exhaustive()
    }
}

/// The battery state that a device last reported.
///
/// ```
/// # use ttn::{Network, UplinkMessage};
/// # let uplink = UplinkMessage::from_json(Network::V3,
/// #     r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},
/// #     "uplink_message":{"last_battery_percentage":{"f_cnt":7,"value":93.7}}}"#)?;
/// assert_eq!(uplink.battery.unwrap().percentage, Some(93.7));
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Battery {
    /// The charge, 0 to 100; `None` if the device could not measure it.
    pub percentage: Option<f64>,
    /// The counter of the uplink that carried the report.
    pub counter: u32,
    /// When that uplink was received.
    #[serde(serialize_with = "json::optional_time")]
    pub received_at: Option<SystemTime>,
}

/// The product of a device, as the device repository names it.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VersionIds {
    /// The manufacturer.
    pub brand_id: String,
    /// The model.
    pub model_id: String,
    /// The hardware version; `_unknown_hw_version_` if it is not set.
    pub hardware_version: String,
    /// The firmware version.
    pub firmware_version: String,
    /// The frequency band, such as `EU_863_870`.
    pub band_id: String,
}

/// The network that received a message.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NetworkIds {
    /// The LoRaWAN NetID, 6 upper-case hex digits.
    pub net_id: String,
    /// The EUI of the network server, 16 upper-case hex digits.
    pub ns_id: String,
    /// The tenant; empty if there is none.
    pub tenant_id: String,
    /// The cluster, such as `eu1`.
    pub cluster_id: String,
    /// The host of the cluster.
    pub cluster_address: String,
    /// The host of the tenant.
    pub tenant_address: String,
}

/// One decoded field of an uplink, which V2 servers also publish on a topic of its own
/// (`{app}/devices/{dev}/up/{field}`). Enabled with
/// [`field_topics`](crate::MqttClientBuilder::field_topics). A field without a name is published on the
/// topic of the uplink itself, and becomes [`Malformed`](crate::Event::Malformed).
///
/// ```
/// use ttn::{Event, Network};
///
/// let event = Event::decode(Network::V2, "my-app/devices/dev-1/up/gps/lat", "51.9")?;
/// let Event::UplinkField(field) = event else { panic!() };
/// assert_eq!((field.field.as_str(), &field.value), ("gps/lat", &51.9.into()));
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct UplinkField {
    /// The application id.
    pub app_id: String,
    /// The device id.
    pub dev_id: String,
    /// The name of the field; for a field inside an object its path, separated by `/`.
    pub field: String,
    /// Its value.
    pub value: Value,
    #[serde(rename = "is_retained", serialize_with = "json::is_retained")]
    pub(crate) raw: RawMessage,
}

impl UplinkField {
    /// Returns the message as it arrived: topic and original bytes.
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

/// An uplink that the server could not process or decode (V2 topic `events/up/errors`). If a payload
/// decoder failed, the uplink itself also arrives, without fields; if a validator rejected it, it does
/// not.
///
/// ```
/// use ttn::{Event, Network};
///
/// let event = Event::decode(Network::V2, "my-app/devices/dev-1/events/up/errors", r#"{"error":"Payload not valid"}"#)?;
/// let Event::UplinkFailed(failed) = event else { panic!() };
/// assert_eq!(failed.error, "Payload not valid");
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct UplinkFailed {
    /// The application id.
    pub app_id: String,
    /// The device id.
    pub dev_id: String,
    /// The server's message.
    pub error: String,
    /// Members that have no field in this crate, and [odd ones](crate::Stats::odd_members), which could not
    /// be read; both as the network sent them.
    pub extra: Map<String, Value>,
    #[serde(rename = "is_retained", serialize_with = "json::is_retained")]
    pub(crate) raw: RawMessage,
}

impl UplinkFailed {
    /// Returns the message as it arrived: topic and original bytes.
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
