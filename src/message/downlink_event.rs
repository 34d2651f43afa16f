//! Reports of the network about downlinks.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Antenna, ErrorDetails, Priority, RawMessage, json};

/// A report of the network about a step of a downlink. This program or another one sent the downlink,
/// or the network itself created it.
///
/// On v3 the [`correlation_ids`](Self::correlation_ids) identify the downlink. A V2 network sends no id
/// that links the report to a `send`; compare device and content.
///
/// ```
/// use ttn::{DownlinkStep, Event, Network};
///
/// let event = Event::decode(Network::V2, "my-app/devices/pump-1/events/down/scheduled",
///     r#"{"message":{"port":20,"confirmed":true,"payload_raw":"Dw=="}}"#)?;
/// let Event::Downlink(downlink) = event else { panic!() };
/// assert_eq!((downlink.dev_id.as_str(), downlink.step), ("pump-1", DownlinkStep::Queued));
/// assert_eq!((downlink.port, downlink.payload_raw.as_slice()), (20, &[0x0f][..]));
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DownlinkEvent {
    /// The application id, without a tenant.
    pub app_id: String,
    /// The device id.
    pub dev_id: String,
    /// The AppEUI (JoinEUI), 16 upper-case hex digits; empty on V2 and for devices without one.
    pub app_eui: String,
    /// The DevEUI, 16 upper-case hex digits; empty on V2 and for devices without one.
    pub dev_eui: String,
    /// The device address, 8 upper-case hex digits; empty on V2, and in v3 reports that the application
    /// server makes itself, such as [`DownlinkStep::Queued`].
    pub dev_addr: String,
    /// The step.
    pub step: DownlinkStep,
    /// The FPort; 0 if the network does not report it, or created the frame itself.
    pub port: u8,
    /// Whether the downlink asks for an acknowledgement.
    pub confirmed: bool,
    /// The payload as the network has it; empty if it was sent as fields and is not encoded yet.
    #[serde(flatten, serialize_with = "json::payload")]
    pub payload_raw: Vec<u8>,
    /// The payload as fields, if it was sent as fields or a v3 network has a decoder for it; otherwise
    /// `Value::Null`.
    pub payload_fields: Value,
    /// The warnings of the payload formatter. v3 only.
    pub payload_warnings: Vec<String>,
    /// The server's error message for [`DownlinkStep::Failed`]; empty if there is none.
    pub error: String,
    /// The parts of the server's error. v3 only.
    pub error_details: Option<Box<ErrorDetails>>,
    /// How it was transmitted, for [`DownlinkStep::Sent`]. V2 only.
    pub transmission: Option<Transmission>,
    /// The downlink frame counter, once there is one. v3 only; on V2 see
    /// [`transmission`](Self::transmission).
    pub counter: Option<u32>,
    /// The ids of the downlink: those that it was sent with, and those of the network. v3 only.
    pub correlation_ids: Vec<String>,
    /// The ids of this report. For an acknowledgement they include the ids of the uplink that carried
    /// it. v3 only.
    pub event_correlation_ids: Vec<String>,
    /// Its priority, which for [`DownlinkStep::Sent`] may differ from the requested one. v3 only.
    pub priority: Option<Priority>,
    /// The gateways and the time, if it is only for class B and C. v3 only.
    pub class_b_c: Option<ClassBC>,
    /// The attempt number of a confirmed downlink: for `Queued` the first attempt, for `Acknowledged`
    /// the successful one, for `NotAcknowledged` the next one. v3 only.
    pub attempt: Option<u32>,
    /// The requested maximum of attempts. v3 only.
    pub max_attempts: Option<u32>,
    /// The id of the session keys. v3 only.
    #[serde(serialize_with = "json::base64")]
    pub session_key_id: Vec<u8>,
    /// When the application server reported it. v3 only.
    #[serde(serialize_with = "json::optional_time")]
    pub received_at: Option<SystemTime>,
    /// Members that have no field in this crate, and [odd ones](crate::Stats::odd_members), which could not
    /// be read; both as the network sent them.
    pub extra: Map<String, Value>,
    #[serde(rename = "is_simulated")]
    pub(crate) simulated: bool,
    #[serde(rename = "is_retained", serialize_with = "json::is_retained")]
    pub(crate) raw: RawMessage,
}

/// How to send a downlink to a device of class B or C. v3 only.
///
/// ```
/// # use ttn::{Event, Network};
/// # let event = Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/down/queued",
/// #     r#"{"downlink_queued":{"class_b_c":{"gateways":[{"gateway_ids":{"gateway_id":"roof-east"}}]}}}"#)?;
/// # let Event::Downlink(downlink) = event else { panic!() };
/// assert_eq!(downlink.class_b_c.as_ref().unwrap().gateways[0].gateway_id(), "roof-east");
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ClassBC {
    /// One of these transmits; empty if the network chooses.
    pub gateways: Vec<Antenna>,
    /// The exact time of transmission.
    #[serde(serialize_with = "json::optional_time")]
    pub absolute_time: Option<SystemTime>,
}

/// The network discarded a device's queue (v3 topic `down/invalidated`). Only applications that handle
/// payload encryption themselves see this. They would have to send the downlinks again in the new
/// session, which this crate cannot do, because it sends unencrypted payloads.
///
/// ```
/// use ttn::{DownlinkStep, Event, Network};
///
/// let event = Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/down/invalidated",
///     r#"{"downlink_queue_invalidated":{"downlinks":[{"f_port":3,"frm_payload":"AQ=="}],"last_f_cnt_down":9}}"#)?;
/// let Event::QueueInvalidated(invalidated) = event else { panic!() };
/// assert_eq!(invalidated.downlinks[0].step, DownlinkStep::Invalidated);
/// assert_eq!(invalidated.last_downlink_counter, 9);
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QueueInvalidated {
    /// The application id, without a tenant.
    pub app_id: String,
    /// The device id.
    pub dev_id: String,
    /// The AppEUI (JoinEUI), 16 upper-case hex digits; empty for devices without one.
    pub app_eui: String,
    /// The DevEUI, 16 upper-case hex digits; empty for devices without one.
    pub dev_eui: String,
    /// The device address, 8 upper-case hex digits; empty for simulated messages.
    pub dev_addr: String,
    /// The downlinks that were in the queue, each with [`DownlinkStep::Invalidated`].
    pub downlinks: Vec<DownlinkEvent>,
    /// The downlink frame counter that was used last.
    pub last_downlink_counter: u32,
    /// The id of the session keys.
    #[serde(serialize_with = "json::base64")]
    pub session_key_id: Vec<u8>,
    /// When the application server reported it.
    #[serde(serialize_with = "json::optional_time")]
    pub received_at: Option<SystemTime>,
    /// The ids that the network uses to trace this message.
    pub correlation_ids: Vec<String>,
    /// Members that have no field in this crate, and [odd ones](crate::Stats::odd_members), which could not
    /// be read; both as the network sent them.
    pub extra: Map<String, Value>,
    #[serde(rename = "is_simulated")]
    pub(crate) simulated: bool,
    #[serde(rename = "is_retained", serialize_with = "json::is_retained")]
    pub(crate) raw: RawMessage,
}

impl QueueInvalidated {
    /// Returns whether the message was simulated in the console or by a tool. Such a message changes no
    /// [`Delivery`](crate::Delivery).
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// # let event = Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/down/invalidated",
    /// #     r#"{"downlink_queue_invalidated":{},"simulated":true}"#)?;
    /// # let Event::QueueInvalidated(invalidated) = event else { panic!() };
    /// assert!(invalidated.is_simulated());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_simulated(&self) -> bool {
        self.simulated
    }

    /// Returns the message as it arrived: topic and original bytes.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// # let event = Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/down/invalidated",
    /// #     r#"{"downlink_queue_invalidated":{}}"#)?;
    /// # let Event::QueueInvalidated(invalidated) = event else { panic!() };
    /// assert!(invalidated.raw().topic().ends_with("/down/invalidated"));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn raw(&self) -> &RawMessage {
        &self.raw
    }
}

impl DownlinkEvent {
    pub(crate) fn new(app_id: &str, dev_id: &str, step: DownlinkStep, raw: RawMessage) -> Self {
        Self {
            app_id: app_id.to_owned(),
            dev_id: dev_id.to_owned(),
            app_eui: String::new(),
            dev_eui: String::new(),
            dev_addr: String::new(),
            step,
            port: 0,
            confirmed: false,
            payload_raw: Vec::new(),
            payload_fields: Value::Null,
            payload_warnings: Vec::new(),
            error: String::new(),
            error_details: None,
            transmission: None,
            counter: None,
            correlation_ids: Vec::new(),
            event_correlation_ids: Vec::new(),
            priority: None,
            class_b_c: None,
            attempt: None,
            max_attempts: None,
            session_key_id: Vec::new(),
            received_at: None,
            extra: Map::new(),
            simulated: false,
            raw,
        }
    }

    /// Returns whether the report was simulated in the console or by a tool. Such a report changes no
    /// [`Delivery`](crate::Delivery) and counts nowhere. Always `false` on V2, which simulates only
    /// uplinks.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// let event = Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/down/ack",
    ///     r#"{"downlink_ack":{"f_port":1},"simulated":true}"#)?;
    /// let Event::Downlink(report) = event else { panic!() };
    /// assert!(report.is_simulated());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_simulated(&self) -> bool {
        self.simulated
    }

    /// Returns the message as it arrived: topic and original bytes.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// # let event = Event::decode(Network::V2, "my-app/devices/pump-1/events/down/acks", "null")?;
    /// # let Event::Downlink(downlink) = event else { panic!() };
    /// assert_eq!(downlink.raw().payload(), b"null");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn raw(&self) -> &RawMessage {
        &self.raw
    }
}

/// A step in the delivery of a downlink.
///
/// ```
/// use ttn::DownlinkStep;
///
/// let seen = [DownlinkStep::Queued, DownlinkStep::Sent, DownlinkStep::Acknowledged];
/// assert!(!seen.contains(&DownlinkStep::Failed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DownlinkStep {
    /// The network added it to the device's queue (V2 topic `events/down/scheduled`, v3 topic
    /// `down/queued`).
    Queued,
    /// V2: the network handed it to a gateway (topic `events/down/sent`). v3: a gateway reported the
    /// transmission (topic `down/sent`), which not every gateway does.
    Sent,
    /// The device acknowledged it with an uplink (V2 topic `events/down/acks`, v3 topic `down/ack`).
    Acknowledged,
    /// The device's next uplink did not acknowledge it (v3 topic `down/nack`). The network queued it
    /// again, unless [`Failed`](Self::Failed) came just before.
    NotAcknowledged,
    /// The network rejected it or could not send it (V2 topic `events/down/errors`, v3 topic
    /// `down/failed`).
    Failed,
    /// The network discarded it with the rest of the queue; see [`QueueInvalidated`]. v3 only.
    Invalidated,
}

/// How a gateway transmitted a downlink. V2 only.
///
/// ```
/// # use ttn::{Event, Network};
/// # let event = Event::decode(Network::V2, "my-app/devices/pump-1/events/down/sent", r#"{"message":{"port":1},
/// #     "gateway_id":"eui-58a0cbfffe80aa11","config":{"data_rate":"SF7BW125","frequency":868100000,"power":14}}"#)?;
/// # let Event::Downlink(downlink) = event else { panic!() };
/// let transmission = downlink.transmission.as_ref().unwrap();
/// assert_eq!(transmission.gateway_id, "eui-58a0cbfffe80aa11");
/// assert_eq!(transmission.frequency, Some(868.1));
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Transmission {
    /// The gateway id.
    pub gateway_id: String,
    /// The whole encrypted LoRaWAN frame.
    #[serde(serialize_with = "json::base64")]
    pub frame: Vec<u8>,
    /// `LORA` or `FSK`.
    pub modulation: Cow<'static, str>,
    /// LoRa data rate, such as `SF7BW125`.
    pub data_rate: String,
    /// FSK bit rate in bit/s.
    pub bit_rate: Option<u32>,
    /// How long the frame occupies the channel.
    #[serde(serialize_with = "json::optional_seconds")]
    pub airtime: Option<Duration>,
    /// The downlink frame counter.
    pub counter: u32,
    /// Carrier frequency in MHz.
    pub frequency: Option<f64>,
    /// Transmission power in dBm.
    pub power: Option<i32>,
}
