//! Changes in the device registry.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Location, RawMessage, json};

/// A device was created, changed or deleted (V2 topics `events/create`, `events/update`,
/// `events/delete`).
///
/// ```
/// use ttn::{DeviceChange, Event, Network};
///
/// let event = Event::decode(Network::V2, "my-app/devices/dev-1/events/delete", "null")?;
/// let Event::Device(device) = event else { panic!() };
/// assert_eq!((device.dev_id.as_str(), device.change), ("dev-1", DeviceChange::Deleted));
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DeviceEvent {
    /// The application id.
    pub app_id: String,
    /// The device id.
    pub dev_id: String,
    /// What happened to the device.
    pub change: DeviceChange,
    /// The new location, if it changed.
    pub location: Option<Location>,
    /// When the device changed; `None` if the server reports no change or no time.
    #[serde(serialize_with = "json::optional_time")]
    pub updated_at: Option<SystemTime>,
    /// Members that have no field in this crate, and [odd ones](crate::Stats::odd_members), which could not
    /// be read; both as the network sent them.
    pub extra: Map<String, Value>,
    #[serde(rename = "is_retained", serialize_with = "json::is_retained")]
    pub(crate) raw: RawMessage,
}

impl DeviceEvent {
    /// Returns the message as it arrived: topic and original bytes.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// # let event = Event::decode(Network::V2, "my-app/devices/dev-1/events/delete", "null")?;
    /// # let Event::Device(device) = event else { panic!() };
    /// assert_eq!(device.raw().payload(), b"null");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn raw(&self) -> &RawMessage {
        &self.raw
    }
}

/// What happened to a device in the registry.
///
/// ```
/// assert_ne!(ttn::DeviceChange::Created, ttn::DeviceChange::Deleted);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeviceChange {
    /// `events/create`
    Created,
    /// `events/update`
    Updated,
    /// `events/delete`
    Deleted,
}
