//! Smaller messages and members.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use serde_json::Value;

use super::{
    Downlink,
    text::{double, free, time},
};
use crate::simulator::{
    json::{self, Object},
    lorawan::Location,
    v3::position::Position,
};

/// How long the Network Server waits for other gateways before it passes an uplink on.
pub(crate) const DEDUPLICATION: Duration = Duration::from_millis(205);
/// How long the Network Server works on a join before it passes it on.
const JOIN: Duration = Duration::from_millis(3_800);

/// Returns when the Network Server received what the Application Server receives then.
pub(crate) fn at_network_server(at: SystemTime) -> SystemTime {
    at.checked_sub(DEDUPLICATION).unwrap_or(at)
}

/// Returns the member `last_battery_percentage` of an uplink.
pub(crate) fn battery(counter: u32, percent: f32, at: SystemTime) -> String {
    Object::new()
        .integer("f_cnt", counter)
        .member("value", json::float32(percent))
        .member("received_at", time(at))
        .finish()
}

/// Returns the member `locations` of an uplink: the registered location and that of the payload.
pub(crate) fn locations(user: Option<Location>, payload: Option<Position>) -> Option<String> {
    let payload = payload.map(|at| location(at, "SOURCE_GPS"));
    let user = user.map(|at| location(at.into(), "SOURCE_REGISTRY"));
    (payload.is_some() || user.is_some()).then(|| {
        Object::new()
            .option("frm-payload", payload)
            .option("user", user)
            .finish()
    })
}

pub(super) fn location(position: Position, source: &str) -> String {
    let degrees = |degrees: f64| (degrees != 0.0).then(|| json::value(&double(degrees)));
    Object::new()
        .option("latitude", degrees(position.latitude))
        .option("longitude", degrees(position.longitude))
        .integer("altitude", position.altitude)
        .integer("accuracy", position.accuracy)
        .string("source", source)
        .finish()
}

/// Returns the body about a location that a service found.
pub(crate) fn location_solved(service: &str, at: Location) -> String {
    solved(service, location(at.into(), "SOURCE_COMBINED_GEOLOCATION"))
}

/// Returns the body about a position in a payload.
pub(crate) fn position_solved(at: Position) -> String {
    solved("frm-payload", location(at, "SOURCE_GPS"))
}

fn solved(service: &str, location: String) -> String {
    Object::new()
        .string("service", service)
        .member("location", location)
        .finish()
}

pub(crate) fn service_data(service: &str, data: &Value) -> String {
    Object::new()
        .string("service", service)
        .option("data", (!data.is_null()).then(|| free(data)))
        .finish()
}

/// Returns the body of a join that the Application Server receives at that time.
pub(crate) fn join_accept(
    session_key_id: &[u8],
    own_keys: Option<String>,
    invalidated: &VecDeque<Downlink>,
    at: SystemTime,
) -> String {
    let at = at.checked_sub(JOIN).unwrap_or(at);
    Object::new()
        .bytes("session_key_id", session_key_id)
        .option("app_s_key", own_keys)
        .list(
            "invalidated_downlinks",
            invalidated.iter().map(Downlink::message),
        )
        .member("received_at", time(at))
        .finish()
}

/// Returns a key of the application that is wrapped with the key of that label.
pub(crate) fn wrapped_key(label: &str, key: &[u8]) -> String {
    Object::new()
        .string("kek_label", label)
        .bytes("encrypted_key", key)
        .finish()
}

pub(crate) fn invalidated<'a>(
    downlinks: impl Iterator<Item = &'a Downlink>,
    last_counter: u32,
    session_key_id: &[u8],
) -> String {
    Object::new()
        .list("downlinks", downlinks.map(Downlink::message))
        .integer("last_f_cnt_down", last_counter)
        .bytes("session_key_id", session_key_id)
        .finish()
}
