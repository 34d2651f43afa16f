//! A position in a payload.

use serde_json::Value;

use crate::simulator::{json, lorawan::Location};

/// The position that a device reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Position {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    /// Metres.
    pub(crate) altitude: i32,
    /// Metres.
    pub(crate) accuracy: i32,
}

/// The names under which a latitude, a longitude and an altitude are looked for, in this order.
const NAMES: [[&str; 3]; 9] = [
    ["lat", "lon", "alt"],
    ["lat", "lng", "alt"],
    ["lat", "long", "alt"],
    ["latitude", "longitude", "altitude"],
    ["Latitude", "Longitude", "Altitude"],
    ["latitudeDeg", "longitudeDeg", "altitude"],
    ["latitudeDeg", "longitudeDeg", "height"],
    ["gps_lat", "gps_lng", "gps_alt"],
    ["gps_lat", "gps_lng", "gpsalt"],
];
const ACCURACIES: [&str; 5] = ["acc", "accuracy", "hacc", "hdop", "gps_hdop"];

impl Position {
    /// Returns the position that the server finds in decoded fields: that of a CayenneLPP channel, or
    /// else one at the top, unless it is 0, 0.
    pub(super) fn find(fields: &Value) -> Option<Self> {
        let members = fields.as_object()?;
        let is_channel = |name: &str| {
            let number = name.strip_prefix("gps_").unwrap_or_default();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        };
        let channels = json::sorted(members).into_iter();
        let mut channels = channels.filter(|(name, value)| is_channel(name) && value.is_object());
        if let Some((_, channel)) = channels.next() {
            return Some(Self::read(
                channel,
                ["latitude", "longitude", "altitude"],
                0,
            ));
        }
        let number = |name: &&str| members.get(*name).and_then(Value::as_f64);
        let accuracy = ACCURACIES.iter().find_map(number).unwrap_or_default() as i32;
        let is_placed = |names: &[&str; 3]| {
            let place = (number(&names[0]), number(&names[1]));
            matches!(place, (Some(latitude), Some(longitude)) if (latitude, longitude) != (0.0, 0.0))
        };
        let names = NAMES.into_iter().find(is_placed)?;
        Some(Self::read(fields, names, accuracy))
    }

    fn read(fields: &Value, [latitude, longitude, altitude]: [&str; 3], accuracy: i32) -> Self {
        let number = |name: &str| fields[name].as_f64().unwrap_or_default();
        Self {
            latitude: number(latitude),
            longitude: number(longitude),
            altitude: number(altitude) as i32,
            accuracy,
        }
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        // The shortest text of the number, not its exact value.
        let double = |number: f32| number.to_string().parse().unwrap_or_default();
        Self {
            latitude: double(location.latitude),
            longitude: double(location.longitude),
            altitude: location.altitude,
            accuracy: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_position_is_at_the_top_or_in_a_channel_of_cayenne() {
        let find = |fields: Value| Position::find(&fields);
        let at = |latitude, longitude, altitude, accuracy| {
            Some(Position {
                latitude,
                longitude,
                altitude,
                accuracy,
            })
        };
        let fields = json!({"latitude": 48.5, "longitude": 9.25, "accuracy": 5});
        assert_eq!(find(fields), at(48.5, 9.25, 0, 5));
        let fields = json!({"lat": 1, "lng": 2.5, "alt": 3, "hdop": 1.5});
        assert_eq!(find(fields), at(1.0, 2.5, 3, 1));
        let channel = json!({"latitude": 48.5, "longitude": 9.25, "altitude": 3});
        let fields = json!({"lat": 1, "lon": 2, "acc": 5, "gps_1": channel.clone()});
        assert_eq!(find(fields), at(48.5, 9.25, 3, 0));
        for fields in [
            json!({"latitude": 1}),
            json!({"lat": 1, "longitude": 2}),
            json!({"lat": 0, "lon": 0}),
            json!({"lat": "1", "lon": "2"}),
            json!({"gps": channel.clone()}),
            json!({"gps_one": channel}),
        ] {
            assert_eq!(find(fields), None);
        }
    }
}
