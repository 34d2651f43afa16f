//! Devices that are silent, and devices that are back.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::json;

/// The content of [`Event::DeviceSilent`](crate::Event::DeviceSilent).
///
/// ```
/// fn report(silent: &ttn::DeviceSilent) -> String {
///     format!(
///         "{}: nothing for {:?}; it usually sends every {:?}",
///         silent.dev_id, silent.silent_for, silent.usual_interval
///     )
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeviceSilent {
    /// The application id.
    pub app_id: String,
    /// The device id.
    pub dev_id: String,
    /// When the network received its last uplink, by the network's clock.
    #[serde(serialize_with = "json::time")]
    pub last_uplink: SystemTime,
    /// How often it usually sends.
    #[serde(serialize_with = "json::seconds")]
    pub usual_interval: Duration,
    /// How long it has not been heard, by this machine's clock, including the time for which the client was
    /// away.
    #[serde(serialize_with = "json::seconds")]
    pub silent_for: Duration,
}

/// The content of [`Event::DeviceBack`](crate::Event::DeviceBack).
///
/// ```
/// fn report(back: &ttn::DeviceBack) -> String {
///     match back.missing {
///         Some(0) => format!("{} had sent nothing for {:?}", back.dev_id, back.silent_for),
///         Some(frames) => format!("{}: {frames} frames were lost in {:?}", back.dev_id, back.silent_for),
///         None => format!("{} has started over after {:?}", back.dev_id, back.silent_for),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeviceBack {
    /// The application id.
    pub app_id: String,
    /// The device id.
    pub dev_id: String,
    /// When the network had received the uplink before, by the network's clock.
    #[serde(serialize_with = "json::time")]
    pub last_uplink: SystemTime,
    /// The time between that uplink and this one, by this machine's clock.
    #[serde(serialize_with = "json::seconds")]
    pub silent_for: Duration,
    /// How many frames are missing between the two, by the frame counter: with 0, the device has sent
    /// nothing. `None` if that is not known, because the counter has started over or the device has joined.
    pub missing: Option<u32>,
}
