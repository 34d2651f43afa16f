//! Locations that the network determined.

use std::{collections::BTreeMap, time::SystemTime};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Location, RawMessage, json};

/// The network determined the location of a device (v3 topic `location/solved`).
///
/// ```
/// use ttn::{Event, Network};
///
/// let event = Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/location/solved",
///     r#"{"location_solved":{"service":"frm-payload","location":{"latitude":52.37312,"source":"SOURCE_GPS"}}}"#)?;
/// let Event::LocationSolved(solved) = event else { panic!() };
/// let location = solved.location.as_ref().unwrap();
/// assert_eq!((solved.service.as_str(), location.latitude), ("frm-payload", 52.37312));
/// assert_eq!(location.source, "gps");
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LocationSolved {
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
    /// The source: `frm-payload` for the decoded payload, otherwise the name of an application package.
    pub service: String,
    /// The location; `None` if the service does not report it.
    pub location: Option<Location>,
    /// Further data of the service.
    pub attributes: BTreeMap<String, String>,
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

impl LocationSolved {
    /// Returns whether the message was simulated in the console or by a tool.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// # let event = Event::decode(Network::V3, "v3/greenhouse/devices/bed-07/location/solved",
    /// #     r#"{"location_solved":{},"simulated":true}"#)?;
    /// # let Event::LocationSolved(solved) = event else { panic!() };
    /// assert!(solved.is_simulated());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_simulated(&self) -> bool {
        self.simulated
    }

    /// Returns the message as it arrived: topic and original bytes.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// # let event = Event::decode(Network::V3, "v3/greenhouse/devices/bed-07/location/solved", r#"{"location_solved":{}}"#)?;
    /// # let Event::LocationSolved(solved) = event else { panic!() };
    /// assert!(solved.raw().topic().ends_with("/location/solved"));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn raw(&self) -> &RawMessage {
        &self.raw
    }
}
