//! What the network reports about downlinks.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value};

use crate::message::{Antenna, ErrorDetails, Priority, RawMessage};

/// The network reports a step of a downlink: of one that this program sent, of one that another
/// program sent, or of a frame that the network made by itself.
///
/// On v3 the [`correlation_ids`](Self::correlation_ids) say which one. A V2 network gives no id that
/// ties the report to a `send`; compare device and content.
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
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DownlinkEvent {
    /// The application's id, without a tenant.
    pub app_id: String,
    /// The device's id.
    pub dev_id: String,
    /// Which step this is.
    pub step: DownlinkStep,
    /// The FPort; 0 when the network did not say, or made the frame by itself.
    pub port: u8,
    /// Whether the device is asked for an acknowledgement.
    pub confirmed: bool,
    /// The payload as the network holds it; empty when it was given as fields and is not encoded
    /// yet.
    pub payload_raw: Vec<u8>,
    /// The payload as fields, if it was sent so, or if a v3 network has a decoder for it; otherwise
    /// `Value::Null`.
    pub payload_fields: Value,
    /// What the payload formatter warned of. v3 only.
    pub payload_warnings: Vec<String>,
    /// The server's words, with [`DownlinkStep::Failed`], if it has any; otherwise empty.
    pub error: String,
    /// The server's error in its parts. v3 only.
    pub error_details: Option<Box<ErrorDetails>>,
    /// How it was transmitted, with [`DownlinkStep::Sent`]. V2 only.
    pub transmission: Option<Transmission>,
    /// The downlink frame counter, once there is one. v3 only; on V2 see
    /// [`transmission`](Self::transmission).
    pub counter: Option<u32>,
    /// The downlink's own ids: those that it was sent with and the network's. v3 only.
    pub correlation_ids: Vec<String>,
    /// The ids of this report, which on an acknowledgement also name the uplink that brought it. v3
    /// only.
    pub event_correlation_ids: Vec<String>,
    /// Its priority, which with [`DownlinkStep::Sent`] may be another than asked for. v3 only.
    pub priority: Option<Priority>,
    /// Whether it is for class B and C only, and by which gateways and when. v3 only.
    pub class_b_c: Option<ClassBC>,
    /// For confirmed downlinks the number of the attempt: with `Queued` the first, with `Acknowledged`
    /// the one that was heard, with `NotAcknowledged` the one that follows. v3 only.
    pub attempt: Option<u32>,
    /// How many attempts were asked for. v3 only.
    pub max_attempts: Option<u32>,
    /// The id of the session keys. v3 only.
    pub session_key_id: Vec<u8>,
    /// When the application server reported it. v3 only.
    pub received_at: Option<SystemTime>,
    /// Members that this crate does not name, as the network sent them.
    pub extra: Map<String, Value>,
    pub(crate) raw: RawMessage,
}

/// How a downlink is to be sent to a device of class B or C. v3 only.
///
/// ```
/// # use ttn::{Event, Network};
/// # let event = Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/down/queued",
/// #     r#"{"downlink_queued":{"class_b_c":{"gateways":[{"gateway_ids":{"gateway_id":"roof-east"}}]}}}"#)?;
/// # let Event::Downlink(downlink) = event else { panic!() };
/// assert_eq!(downlink.class_b_c.as_ref().unwrap().gateways[0].gateway_id(), "roof-east");
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ClassBC {
    /// By one of these; empty if the network chooses.
    pub gateways: Vec<Antenna>,
    /// At exactly this time.
    pub absolute_time: Option<SystemTime>,
}

/// The network has thrown away a device's queue (v3 topic `down/invalidated`). Seen only by
/// applications that do their own payload encryption. They would have to send the downlinks again
/// under the new session, which this crate cannot: it sends payloads in the clear.
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
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct QueueInvalidated {
    /// The application's id, without a tenant.
    pub app_id: String,
    /// The device's id.
    pub dev_id: String,
    /// What was in the queue, each with [`DownlinkStep::Invalidated`].
    pub downlinks: Vec<DownlinkEvent>,
    /// The last downlink frame counter that was used.
    pub last_downlink_counter: u32,
    /// The id of the session keys.
    pub session_key_id: Vec<u8>,
    /// When the application server reported it.
    pub received_at: Option<SystemTime>,
    /// The ids by which the network follows this message.
    pub correlation_ids: Vec<String>,
    /// Members that this crate does not name, as the network sent them.
    pub extra: Map<String, Value>,
    pub(crate) raw: RawMessage,
}

impl QueueInvalidated {
    /// The message as it came: topic and original bytes.
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
            raw,
        }
    }

    /// The message as it came: topic and original bytes.
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

/// A step on a downlink's way.
///
/// ```
/// use ttn::DownlinkStep;
///
/// let seen = [DownlinkStep::Queued, DownlinkStep::Sent, DownlinkStep::Acknowledged];
/// assert!(!seen.contains(&DownlinkStep::Failed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DownlinkStep {
    /// The network took it into the device's queue (V2 topic `events/down/scheduled`, v3 topic
    /// `down/queued`).
    Queued,
    /// V2: the network handed it to a gateway (topic `events/down/sent`). v3: a gateway reports that
    /// it was transmitted (topic `down/sent`); not every gateway does.
    Sent,
    /// The device acknowledged it with an uplink (V2 topic `events/down/acks`, v3 topic `down/ack`).
    Acknowledged,
    /// The device's next uplink did not acknowledge it (v3 topic `down/nack`). The network has
    /// queued it again, unless a [`Failed`](Self::Failed) came just before.
    NotAcknowledged,
    /// The network refused it or could not send it (V2 topic `events/down/errors`, v3 topic
    /// `down/failed`).
    Failed,
    /// The network threw it away with the rest of the queue: see [`QueueInvalidated`]. v3 only.
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
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Transmission {
    /// The gateway's id.
    pub gateway_id: String,
    /// The whole encrypted LoRaWAN frame.
    pub frame: Vec<u8>,
    /// `LORA` or `FSK`.
    pub modulation: Cow<'static, str>,
    /// LoRa data rate, such as `SF7BW125`.
    pub data_rate: String,
    /// FSK bit rate in bit/s.
    pub bit_rate: Option<u32>,
    /// How long the frame occupies the channel.
    pub airtime: Option<Duration>,
    /// The downlink frame counter.
    pub counter: u32,
    /// Carrier frequency in MHz.
    pub frequency: Option<f64>,
    /// Transmission power in dBm.
    pub power: Option<i32>,
}
