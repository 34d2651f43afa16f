//! Data from application packages.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{RawMessage, json};

/// Data from an application package of the network (v3 topic `service/data`).
///
/// ```
/// use ttn::{Event, Network};
///
/// let event = Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/service/data",
///     r#"{"service_data":{"service":"lora-cloud-device-management-v1","data":{"result":{"file":null}}}}"#)?;
/// let Event::ServiceData(data) = event else { panic!() };
/// assert_eq!(data.service, "lora-cloud-device-management-v1");
/// assert!(data.data["result"]["file"].is_null());
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ServiceData {
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
    /// The name of the package.
    pub service: String,
    /// The data, an object; `Value::Null` if there is none.
    pub data: Value,
    /// When the application server received it.
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

impl ServiceData {
    /// Returns whether the message was simulated in the console or by a tool.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// # let event = Event::decode(Network::V3, "v3/greenhouse/devices/bed-07/service/data",
    /// #     r#"{"service_data":{},"simulated":true}"#)?;
    /// # let Event::ServiceData(data) = event else { panic!() };
    /// assert!(data.is_simulated());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_simulated(&self) -> bool {
        self.simulated
    }

    /// Returns the message as it arrived: topic and original bytes.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// # let event = Event::decode(Network::V3, "v3/greenhouse/devices/bed-07/service/data", r#"{"service_data":{}}"#)?;
    /// # let Event::ServiceData(data) = event else { panic!() };
    /// assert!(data.raw().topic().ends_with("/service/data"));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn raw(&self) -> &RawMessage {
        &self.raw
    }
}
