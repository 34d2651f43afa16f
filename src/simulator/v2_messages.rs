//! The V2 network's messages: what it prints and what it reads.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::device::{QueuedDownlink, Uplink};
use super::json::{self, Object};
use super::radio::{Gateway, Location, Modulation};

const APP_EUI: &str = "70B3D57ED000AB01";

/// A frame as the gateways heard it.
pub(super) struct Frame<'a> {
    pub(super) time: SystemTime,
    /// Bytes on air.
    pub(super) length: usize,
    pub(super) modulation: &'a Modulation,
    /// Hz.
    pub(super) frequency: u32,
    pub(super) channel: u32,
    pub(super) gateways: &'a [Gateway],
    /// The gateways' clock.
    pub(super) uptime: Duration,
}

impl Frame<'_> {
    /// The member `metadata`; `device` is where the device is registered.
    pub(super) fn metadata(&self, device: Option<Location>) -> String {
        let airtime = self.modulation.airtime(self.length).as_nanos() as i64;
        let gateways = self.gateways.iter().map(|gateway| self.gateway(gateway));
        let gateways = (!self.gateways.is_empty()).then(|| json::array(gateways));
        let object = Object::new()
            .member("time", json::string(&time(self.time)))
            .float("frequency", (f64::from(self.frequency) / 1e6) as f32)
            .string("modulation", self.modulation.name())
            .string("data_rate", self.modulation.data_rate())
            .integer("bit_rate", self.modulation.bit_rate())
            .integer("airtime", airtime)
            .string("coding_rate", "4/5")
            .option("gateways", gateways);
        located(object, device).finish()
    }

    fn gateway(&self, gateway: &Gateway) -> String {
        let claimed = if gateway.has_clock {
            time(self.time)
        } else {
            String::new()
        };
        let clock = self.uptime.as_micros() as u32;
        let object = Object::new()
            .string("gtw_id", &gateway.id)
            .flag("gtw_trusted", gateway.trusted)
            .integer("timestamp", clock.max(1))
            .member("time", json::string(&claimed))
            .member("channel", self.channel)
            .member("rssi", json::float32(gateway.rssi))
            .member("snr", json::float32(gateway.snr))
            .member("rf_chain", 1);
        located(object, gateway.location).finish()
    }
}

/// Metadata of an uplink simulated from the console.
pub(super) fn simulated_metadata(at: SystemTime, device: Option<Location>) -> String {
    let object = Object::new().member("time", json::string(&time(at)));
    located(object, device).finish()
}

pub(super) fn uplink(
    (app_id, dev_id): (&str, &str),
    dev_eui: &str,
    uplink: &Uplink,
    counter: u32,
    fields: Option<&Value>,
    metadata: &str,
) -> String {
    let payload_raw = if uplink.port == 0 || uplink.payload.is_empty() {
        String::from("null")
    } else {
        json::string(&BASE64.encode(&uplink.payload))
    };
    let attributes = (!uplink.attributes.is_empty()).then(|| {
        let attributes = uplink.attributes.iter();
        attributes
            .fold(Object::new(), |object, (key, value)| {
                object.member(key, json::string(value))
            })
            .finish()
    });
    Object::new()
        .string("app_id", app_id)
        .string("dev_id", dev_id)
        .string("hardware_serial", dev_eui)
        .member("port", uplink.port)
        .member("counter", counter)
        .flag("confirmed", uplink.confirmed)
        .flag("is_retry", uplink.retry)
        .member("payload_raw", payload_raw)
        .option("payload_fields", fields.map(json::value))
        .member("metadata", metadata)
        .option("attributes", attributes)
        .finish()
}

/// `accepted` are the new address and the metadata, `Err` is why the join was refused.
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

/// What the events about a downlink carry beside the frame; `message` is its finished text.
pub(super) fn downlink_event(error: &str, message: Option<String>) -> String {
    Object::new()
        .string("error", error)
        .option("message", message)
        .finish()
}

/// The event of a downlink that left in a frame of these bytes.
pub(super) fn downlink_sent(
    bytes: &[u8],
    counter: u32,
    message: &str,
    gateway_id: &str,
    modulation: &Modulation,
    frequency: u32,
) -> String {
    let airtime = modulation.airtime(bytes.len()).as_nanos() as i64;
    let config = Object::new()
        .string("modulation", modulation.name())
        .string("data_rate", modulation.data_rate())
        .integer("bit_rate", modulation.bit_rate())
        .integer("airtime", airtime)
        .integer("counter", counter)
        .integer("frequency", frequency)
        .integer("power", 14);
    Object::new()
        .string("payload", &BASE64.encode(bytes))
        .member("message", message)
        .string("gateway_id", gateway_id)
        .member("config", config.finish())
        .finish()
}

/// A downlink as events print it.
pub(super) fn downlink(
    ids: Option<(&str, &str)>,
    downlink: &QueuedDownlink,
    schedule: &str,
) -> String {
    let (app_id, dev_id) = ids.unwrap_or_default();
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

/// The request and its schedule. Go's rules: keys in any case, null changes nothing, a wrong type
/// spoils the whole.
pub(super) fn parse_request(payload: &[u8]) -> Option<(QueuedDownlink, String)> {
    let mut downlink = QueuedDownlink::default();
    let mut schedule = String::new();
    let text = String::from_utf8_lossy(payload);
    let members = match serde_json::from_str(&text).ok()? {
        Value::Null => serde_json::Map::new(),
        Value::Object(members) => members,
        _ => return None,
    };
    for (key, member) in members.into_iter().filter(|(_, member)| !member.is_null()) {
        match key.to_ascii_lowercase().as_str() {
            "port" => downlink.port = u8::try_from(member.as_u64()?).ok()?,
            "confirmed" => downlink.confirmed = member.as_bool()?,
            "schedule" => schedule = member.as_str()?.to_owned(),
            "payload_raw" => {
                let text = member.as_str()?.replace(['\r', '\n'], "");
                let bytes = BASE64.decode(text).ok()?;
                downlink.payload = (!bytes.is_empty()).then_some(bytes);
            }
            "payload_fields" => {
                let empty = member.as_object()?.is_empty();
                downlink.fields = (!empty).then_some(member);
            }
            "app_id" | "dev_id" => {
                member.as_str()?;
            }
            _ => {}
        }
    }
    Some((downlink, schedule))
}

/// Path below `up/` and value of every field; objects are also opened.
pub(super) fn field_topics(fields: &Value) -> Vec<(String, String)> {
    fn collect(prefix: &str, fields: &Value, topics: &mut Vec<(String, String)>) {
        let Value::Object(members) = fields else {
            return;
        };
        for (key, member) in json::sorted(members) {
            if key.contains(['+', '*', '#', '\0']) {
                continue;
            }
            let path = format!("{prefix}{key}");
            topics.push((path.clone(), json::value(member)));
            collect(&format!("{path}/"), member, topics);
        }
    }
    let mut topics = Vec::new();
    collect("", fields, &mut topics);
    topics
}

/// What the events `create` and `update` carry.
pub(super) fn saved(location: Option<Location>, at: Option<SystemTime>) -> String {
    let location = location.unwrap_or_default();
    let time = at.map_or_else(|| "0001-01-01T00:00:00Z".into(), time);
    Object::new()
        .float("latitude", location.latitude)
        .float("longitude", location.longitude)
        .integer("altitude", location.altitude)
        .member("update_at", json::string(&time))
        .finish()
}

fn located(object: Object, location: Option<Location>) -> Object {
    match location {
        None => object,
        Some(location) => object
            .float("latitude", location.latitude)
            .float("longitude", location.longitude)
            .integer("altitude", location.altitude)
            .string("location_source", "registry"),
    }
}

/// RFC 3339 in UTC with trailing zeros of the fraction removed; instants outside 1970..=9999 are
/// moved to its ends.
fn time(time: SystemTime) -> String {
    let longest = Duration::from_secs(253_402_300_799);
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let time = SystemTime::UNIX_EPOCH + since.min(longest);
    let text = humantime::format_rfc3339_nanos(time).to_string();
    let digits = text
        .trim_end_matches('Z')
        .trim_end_matches('0')
        .trim_end_matches('.');
    format!("{digits}Z")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_lose_trailing_zeros_and_nothing_else() {
        let at = |seconds, nanos| time(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos));
        assert_eq!(
            at(1_520_581_282, 518_304_771),
            "2018-03-09T07:41:22.518304771Z"
        );
        assert_eq!(at(1_520_581_282, 500_000_000), "2018-03-09T07:41:22.5Z");
        assert_eq!(at(1_520_581_200, 0), "2018-03-09T07:40:00Z");
        assert_eq!(
            time(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
            "1970-01-01T00:00:00Z"
        );
    }

    #[test]
    fn requests_are_read_as_go_reads_them() {
        let read = |text: &str| parse_request(text.as_bytes());
        let (downlink, schedule) =
            read(r#"{"Port":20,"CONFIRMED":true,"schedule":null,"payload_raw":"AQ==","x":1}"#)
                .unwrap();
        assert_eq!((downlink.port, downlink.confirmed), (20, true));
        assert_eq!(downlink.payload, Some(vec![1]));
        assert_eq!(schedule, "");
        let (empty, _) = read("null").unwrap();
        assert_eq!((empty.payload, empty.fields), (None, None));
        for unreadable in [
            "",
            "[]",
            "{",
            r#"{"port":300}"#,
            r#"{"port":-1}"#,
            r#"{"port":1.0}"#,
            r#"{"port":"1"}"#,
            r#"{"payload_raw":"not base64!"}"#,
            r#"{"payload_raw":"AQ"}"#,
            r#"{"payload_fields":[1]}"#,
            r#"{"schedule":1}"#,
            r#"{"confirmed":1}"#,
            r#"{"dev_id":1}"#,
        ] {
            assert_eq!(read(unreadable), None, "{unreadable}");
        }
    }

    #[test]
    fn objects_are_published_whole_and_then_opened() {
        let fields = serde_json::json!({"gps": {"lat": 51.5, "a+b": 1}, "a": [1, {"b": 2}]});
        let expected = [
            ("a", r#"[1,{"b":2}]"#),
            ("gps", r#"{"a+b":1,"lat":51.5}"#),
            ("gps/lat", "51.5"),
        ];
        let expected = expected.map(|(path, value)| (path.to_owned(), value.to_owned()));
        assert_eq!(field_topics(&fields), expected);
    }
}
