//! What the network reports about downlinks.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::message::RawMessage;

/// The network reports a step of a downlink: of one that this program sent, of one that another
/// program sent, or of a frame that the network made by itself.
///
/// A V2 network gives no id that ties the report to a `send`; compare device and content.
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
    /// The application's id.
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
    /// The payload as fields, if it was sent so; otherwise `Value::Null`.
    pub payload_fields: Value,
    /// The server's words, with [`DownlinkStep::Failed`]; otherwise empty.
    pub error: String,
    /// How it was transmitted, with [`DownlinkStep::Sent`].
    pub transmission: Option<Transmission>,
    /// Members that this crate does not name, as the network sent them.
    pub extra: Map<String, Value>,
    pub(crate) raw: RawMessage,
}

impl DownlinkEvent {
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
    /// The network took it into the device's queue (V2 topic `events/down/scheduled`).
    Queued,
    /// The network handed it to a gateway (V2 topic `events/down/sent`).
    Sent,
    /// The device acknowledged it (V2 topic `events/down/acks`).
    Acknowledged,
    /// The network refused it or could not send it (V2 topic `events/down/errors`).
    Failed,
}

/// How a gateway transmitted a downlink.
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
    pub modulation: String,
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
