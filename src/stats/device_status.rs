//! What a list of the devices says about each of them.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{DeviceUse, FrameStats};
use crate::message::{Battery, json};

/// What the client knows of a device that it has heard; a copy, returned by
/// [`devices`](crate::MqttClient::devices).
///
/// It serializes under the names of its fields, with the forms of [`Event`](crate::Event#as-json).
///
/// ```
/// fn line(device: &ttn::DeviceStatus) -> String {
///     let usual = device.usual_interval.map_or("unknown".to_owned(), |usual| format!("{usual:?}"));
///     format!(
///         "{}: heard {:?} ago, usually every {usual}; {} frames missing; {:?} in the air today",
///         device.dev_id, device.heard_ago, device.frames.missing(), device.today.airtime
///     )
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DeviceStatus {
    /// The device id.
    pub dev_id: String,
    /// The DevEUI in upper-case hex digits; empty if no uplink had one.
    pub hardware_serial: String,
    /// When the network received its latest uplink, by the network's clock; if the network did not say, when it
    /// arrived.
    #[serde(serialize_with = "json::time")]
    pub last_uplink: SystemTime,
    /// How long ago that was.
    #[serde(serialize_with = "json::seconds")]
    pub heard_ago: Duration,
    /// How often the device usually sends, from its last 17 uplinks at most; `None` before the fifth. An interval
    /// in which n frames are missing counts as one of n + 1 equal intervals, so that losses make no difference. Of a
    /// device that sends bursts of up to about six frames, it is the interval of the bursts. One long silence does not
    /// change it; when a device starts to send more rarely, it is right again after two intervals.
    #[serde(serialize_with = "json::optional_seconds")]
    pub usual_interval: Option<Duration>,
    /// Whether it is silent, as [`Event::DeviceSilent`](crate::Event::DeviceSilent) says; always `false` without
    /// [`silence_after`](crate::MqttClientBuilder::silence_after).
    pub is_silent: bool,
    /// The frame counter of its latest uplink.
    pub counter: u32,
    /// What its frame counters have shown since the client first heard it.
    pub frames: FrameStats,
    /// The gateway that received its latest uplink [best](crate::UplinkMessage::best_gateway): its id, or its EUI if
    /// it has no id; empty if it is not known.
    pub gateway: String,
    /// The signal-to-noise ratio at that gateway in dB.
    pub snr: Option<f64>,
    /// The signal strength at that gateway in dBm.
    pub rssi: Option<f64>,
    /// The data rate of its latest uplink, such as `SF7BW125`; empty if it is not known.
    pub data_rate: String,
    /// What it has used since midnight, UTC, as [`Stats::fair_use`](crate::Stats::fair_use) counts it.
    pub today: DeviceUse,
    /// The last battery level that an uplink had; on v3 only.
    pub battery: Option<Battery>,
    /// How many downlinks to the device this client follows that are not [final](crate::Delivery::is_final).
    pub open_downlinks: usize,
}
