//! The messages of the V2 network.

use std::{collections::BTreeMap, time::SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;

use super::{
    device::{Taken, Window},
    metadata::placed,
    payload::Fields,
    time::local_time,
};
use crate::simulator::{
    json::{self, Object},
    lorawan::{DeviceId, Location, Modulation, QueuedDownlink, Uplink},
};

const APP_EUI: &str = "70B3D57ED000AB01";

/// The second receive window of EU868.
const SECOND_DATA_RATE: &str = "SF9BW125";
/// Hz.
const SECOND_FREQUENCY: u32 = 869_525_000;

/// What an uplink contains apart from the ids of its device.
pub(super) struct Contents<'a> {
    pub(super) uplink: &'a Uplink,
    pub(super) taken: &'a Taken,
    pub(super) fields: Option<&'a Value>,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) metadata: &'a str,
}

pub(super) fn uplink(id: DeviceId<'_>, dev_eui: &str, contents: &Contents<'_>) -> String {
    let uplink = contents.uplink;
    let payload_raw = if uplink.port == 0 || uplink.payload.is_empty() {
        String::from("null")
    } else {
        json::string(&BASE64.encode(&uplink.payload))
    };
    Object::new()
        .string("app_id", id.app_id)
        .string("dev_id", id.dev_id)
        .string("hardware_serial", dev_eui)
        .member("port", uplink.port)
        .member("counter", contents.taken.counter)
        .flag("confirmed", uplink.confirmed)
        .flag("is_retry", contents.taken.is_retry)
        .member("payload_raw", payload_raw)
        .option("payload_fields", contents.fields.map(json::value))
        .member("metadata", contents.metadata)
        .option("attributes", json::attributes(&contents.attributes))
        .finish()
}

/// Returns an activation; `accepted` is the new address and the metadata, or why the join was
/// refused.
pub(super) fn activation(dev_eui: &str, accepted: Result<(&str, &str), &str>) -> String {
    let (dev_addr, metadata) = accepted.unwrap_or(("", r#"{"time":""}"#));
    Object::new()
        .string("error", accepted.err().unwrap_or_default())
        .member("app_eui", json::string(APP_EUI))
        .member("dev_eui", json::string(dev_eui))
        .member("dev_addr", json::string(dev_addr))
        .member("metadata", metadata)
        .finish()
}

pub(super) fn error(text: &str) -> String {
    Object::new().string("error", text).finish()
}

/// Returns the event of a downlink, except for one that was sent; `message` is the downlink as events
/// print it.
pub(super) fn downlink_event(error: &str, message: Option<String>) -> String {
    Object::new()
        .string("error", error)
        .option("message", message)
        .finish()
}

/// Returns the event of a downlink that was sent in a frame of these bytes.
pub(super) fn downlink_sent(
    bytes: &[u8],
    counter: u32,
    message: &str,
    window: &Window,
    second: bool,
) -> String {
    let (modulation, frequency, power) = if second {
        let modulation = Modulation::Lora(SECOND_DATA_RATE.into());
        (modulation, SECOND_FREQUENCY, 27)
    } else {
        (window.modulation.clone(), window.frequency, 14)
    };
    let data_rate = match &modulation {
        // The router leaves that of the second window in the answer to an FSK frame.
        Modulation::Fsk => SECOND_DATA_RATE,
        modulation => modulation.data_rate(),
    };
    let airtime = modulation.airtime(bytes.len(), "4/5").as_nanos() as i64;
    let config = Object::new()
        .string("modulation", modulation.name())
        .string("data_rate", data_rate)
        .integer("bit_rate", modulation.bit_rate())
        .integer("airtime", airtime)
        .integer("counter", counter)
        .integer("frequency", frequency)
        .integer("power", power);
    Object::new()
        .string("payload", &BASE64.encode(bytes))
        .member("message", message)
        .string(
            "gateway_id",
            window.gateway_id.as_deref().unwrap_or_default(),
        )
        .member("config", config.finish())
        .finish()
}

/// Returns a downlink as events print it.
pub(super) fn downlink(
    id: Option<DeviceId<'_>>,
    downlink: &QueuedDownlink,
    schedule: &str,
) -> String {
    let (app_id, dev_id) = id.map_or(("", ""), |id| (id.app_id, id.dev_id));
    let payload = downlink.payload.as_deref().unwrap_or_default();
    Object::new()
        .string("app_id", app_id)
        .string("dev_id", dev_id)
        .member("port", downlink.port)
        .flag("confirmed", downlink.confirmed)
        .string("schedule", schedule)
        .string("payload_raw", &BASE64.encode(payload))
        .option("payload_fields", downlink.fields.as_ref().map(json::value))
        .finish()
}

/// Returns path below `up/` and value of every field, including those inside objects that are opened.
/// The path of a field with an empty name is empty.
pub(super) fn field_topics(fields: &Fields) -> BTreeMap<String, String> {
    fn collect(
        prefix: &str,
        fields: &Value,
        are_opened: bool,
        topics: &mut BTreeMap<String, String>,
    ) {
        let Value::Object(members) = fields else {
            return;
        };
        for (key, member) in json::sorted(members) {
            if key.contains(['+', '*', '\0']) {
                continue;
            }
            let path = match prefix {
                "" => key.to_owned(),
                prefix => format!("{prefix}/{key}"),
            };
            if are_opened {
                collect(&path, member, are_opened, topics);
            }
            topics.insert(path, json::value(member));
        }
    }
    let mut topics = BTreeMap::new();
    collect("", &fields.value, fields.are_opened, &mut topics);
    topics
}

/// Returns the payload of the events `create` and `update`; `offset` is the time zone of the server in
/// minutes east of UTC.
pub(super) fn saved(location: Option<Location>, at: Option<SystemTime>, offset: i16) -> String {
    let time = at.map_or_else(
        || "0001-01-01T00:00:00Z".into(),
        |at| local_time(at, offset),
    );
    placed(Object::new(), location.unwrap_or_default())
        .member("update_at", json::string(&time))
        .finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_published_whole_and_then_opened() {
        let fields = serde_json::json!({
            "gps": {"lat": 51.5, "a+b": 1, "": 2}, "a": [1, {"b": 2}], "": {"c": 3}, "x/": 4, "/y": 5,
        });
        let expected = [
            ("", r#"{"c":3}"#),
            ("/y", "5"),
            ("a", r#"[1,{"b":2}]"#),
            ("c", "3"),
            ("gps", r#"{"":2,"a+b":1,"lat":51.5}"#),
            ("gps/", "2"),
            ("gps/lat", "51.5"),
            ("x/", "4"),
        ];
        let expected = expected.map(|(path, value)| (path.to_owned(), value.to_owned()));
        let fields = Fields {
            value: fields,
            are_opened: true,
        };
        assert_eq!(field_topics(&fields), expected.into());
    }
}
