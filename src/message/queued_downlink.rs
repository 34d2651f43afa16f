//! A downlink in the queue of a device.

use serde::Serialize;
use serde_json::Value;

use super::{ClassBC, DownlinkEvent, Priority, json};

/// A downlink that waits in the network for its device, from [`queue`](crate::MqttClient::queue).
///
/// ```
/// # use ttn::QueuedDownlink;
/// fn is_of_this_crate(downlink: &QueuedDownlink) -> bool {
///     downlink.correlation_ids.iter().any(|id| id.starts_with("ttn:"))
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QueuedDownlink {
    /// The FPort.
    pub port: u8,
    /// The payload.
    #[serde(flatten, serialize_with = "json::payload")]
    pub payload_raw: Vec<u8>,
    /// The payload as fields, if it was sent as fields or the network has a decoder for it; otherwise
    /// `Value::Null`.
    pub payload_fields: Value,
    /// Whether it asks for an acknowledgement.
    pub confirmed: bool,
    /// Its priority.
    pub priority: Priority,
    /// The downlink frame counter, once there is one.
    pub counter: Option<u32>,
    /// The ids that it was sent with, and those of the network. One of them is the
    /// [`correlation_id`](crate::Delivery::correlation_id) of its delivery.
    pub correlation_ids: Vec<String>,
    /// The gateways and the time, if it is only for class B and C.
    pub class_b_c: Option<ClassBC>,
    /// The number of the next attempt of a confirmed downlink, if the network reports it.
    pub attempt: Option<u32>,
    /// The requested maximum of attempts.
    pub max_attempts: Option<u32>,
}

impl From<DownlinkEvent> for QueuedDownlink {
    /// Takes what a report has in common with it.
    fn from(report: DownlinkEvent) -> Self {
        Self {
            port: report.port,
            payload_raw: report.payload_raw,
            payload_fields: report.payload_fields,
            confirmed: report.confirmed,
            priority: report.priority.unwrap_or_default(),
            counter: report.counter,
            correlation_ids: report.correlation_ids,
            class_b_c: report.class_b_c,
            attempt: report.attempt,
            max_attempts: report.max_attempts,
        }
    }
}
