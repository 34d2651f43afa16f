//! Parts that occur in messages of several kinds.

use serde::de::MapAccess;

use super::super::{
    json::{Left, Member},
    place::{Form, Place},
};
use crate::message::Location;

pub(super) const MODULATIONS: [&str; 2] = ["LORA", "FSK"];

/// Reads a member of a location, which V2 mixes with other members.
pub(super) fn read_place<'de, A: MapAccess<'de>>(
    place: &mut Place<'de>,
    member: &mut Member<'_, A>,
) -> Result<bool, A::Error> {
    let part = match member.name() {
        "latitude" => &mut place.latitude,
        "longitude" => &mut place.longitude,
        "altitude" => &mut place.altitude,
        "location_accuracy" => &mut place.accuracy,
        "location_source" => &mut place.source,
        _ => return Ok(false),
    };
    *part = Some(member.raw()?);
    Ok(true)
}

pub(super) fn location(place: &mut Place<'_>, left: &mut Left) -> Option<Location> {
    const FORM: Form = Form {
        latitude: "latitude",
        longitude: "longitude",
        altitude: "altitude",
        accuracy: "location_accuracy",
        source: "location_source",
        read_source: |raw| raw.known_text(&["gps", "config", "registry", "ip_geolocation"]),
    };
    place.take_location(&FORM, left)
}
