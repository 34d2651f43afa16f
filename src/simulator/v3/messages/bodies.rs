//! Smaller messages and members.

use std::time::SystemTime;

use serde_json::Value;

use super::{
    Downlink,
    text::{free, time},
};
use crate::simulator::{
    json::{self, Object},
    lorawan::Location,
};

/// Returns the member `last_battery_percentage` of an uplink.
pub(crate) fn battery(counter: u32, percent: f32, at: SystemTime) -> String {
    Object::new()
        .integer("f_cnt", counter)
        .member("value", json::float32(percent))
        .member("received_at", time(at))
        .finish()
}

/// Returns the member `locations` of an uplink: the registered location and that of the payload.
pub(crate) fn locations(user: Option<Location>, payload: Option<Location>) -> Option<String> {
    let payload = payload.map(|at| location(at, "SOURCE_GPS"));
    let user = user.map(|at| location(at, "SOURCE_REGISTRY"));
    (payload.is_some() || user.is_some()).then(|| {
        Object::new()
            .option("frm-payload", payload)
            .option("user", user)
            .finish()
    })
}

pub(super) fn location(location: Location, source: &str) -> String {
    Object::new()
        .float("latitude", location.latitude)
        .float("longitude", location.longitude)
        .integer("altitude", location.altitude)
        .string("source", source)
        .finish()
}

pub(crate) fn location_solved(service: &str, at: Location) -> String {
    let source = match service {
        "frm-payload" => "SOURCE_GPS",
        _ => "SOURCE_COMBINED_GEOLOCATION",
    };
    Object::new()
        .string("service", service)
        .member("location", location(at, source))
        .finish()
}

pub(crate) fn service_data(service: &str, data: &Value) -> String {
    Object::new()
        .string("service", service)
        .option("data", (!data.is_null()).then(|| free(data)))
        .finish()
}

pub(crate) fn join_accept(session_key_id: &[u8], at: SystemTime) -> String {
    Object::new()
        .bytes("session_key_id", session_key_id)
        .member("received_at", time(at))
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
