//! Parts that occur in messages of several kinds.

use serde::de::MapAccess;
use serde_json::{Map, Value};

use super::super::json::{float, integer, keep, known_text};
use crate::message::Location;

pub(super) const MODULATIONS: [&str; 2] = ["LORA", "FSK"];

const LOCATION_SOURCES: [&str; 4] = ["gps", "config", "registry", "ip_geolocation"];

/// Reads a member of a location, which V2 mixes with other members, and keeps any other member.
pub(super) fn place<'de, A: MapAccess<'de>>(
    location: &mut Option<Location>,
    extra: &mut Map<String, Value>,
    name: &str,
    map: &mut A,
) -> Result<(), A::Error> {
    match name {
        "latitude" => location.get_or_insert_default().latitude = float(map)?.unwrap_or_default(),
        "longitude" => location.get_or_insert_default().longitude = float(map)?.unwrap_or_default(),
        "altitude" => location.get_or_insert_default().altitude = integer(map)?.unwrap_or_default(),
        "location_accuracy" => location.get_or_insert_default().accuracy = integer(map)?,
        "location_source" => {
            location.get_or_insert_default().source = known_text(&LOCATION_SOURCES, map)?;
        }
        _ => keep(extra, name, map)?,
    }
    Ok(())
}
