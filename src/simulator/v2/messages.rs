//! The messages of the V2 network.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;

use super::device::{Taken, Window};
use crate::simulator::{
    json::{self, Object},
    lorawan::{DeviceId, Gateway, Location, Modulation, QueuedDownlink, Uplink},
};

const APP_EUI: &str = "70B3D57ED000AB01";

/// The second receive window of EU868.
const SECOND_DATA_RATE: &str = "SF9BW125";
/// Hz.
const SECOND_FREQUENCY: u32 = 869_525_000;

/// A frame that gateways heard.
pub(super) struct Frame<'a> {
    pub(super) time: SystemTime,
    /// Bytes on air.
    pub(super) length: usize,
    pub(super) modulation: &'a Modulation,
    /// Hz.
    pub(super) frequency: u32,
    pub(super) channel: u32,
    pub(super) gateways: &'a [Gateway],
    /// How long the gateways have been running.
    pub(super) uptime: Duration,
}

impl Frame<'_> {
    /// Returns the member `metadata` of an uplink; `device` is the registered location.
    pub(super) fn metadata(&self, device: Option<Location>) -> String {
        self.metadata_with(device, |frame, gateway| {
            let object = frame.gateway(gateway, gateway.trusted);
            located(object, gateway.location).finish()
        })
    }

    /// Returns the member `metadata` of an activation, whose gateways lack what the
    /// network knows about them.
    pub(super) fn activation_metadata(&self, device: Option<Location>) -> String {
        self.metadata_with(device, |frame, gateway| {
            frame.gateway(gateway, false).finish()
        })
    }

    fn metadata_with(
        &self,
        device: Option<Location>,
        gateway: impl Fn(&Self, &Gateway) -> String,
    ) -> String {
        let airtime = self.modulation.airtime(self.length).as_nanos() as i64;
        let gateways = self.gateways.iter().map(|heard| gateway(self, heard));
        let gateways = (!self.gateways.is_empty()).then(|| json::array(gateways));
        let coding_rate = match self.modulation {
            Modulation::Fsk => "",
            _ => "4/5",
        };
        let object = Object::new()
            .member("time", json::string(&time(self.time)))
            .float("frequency", (f64::from(self.frequency) / 1e6) as f32)
            .string("modulation", self.modulation.name())
            .string("data_rate", self.modulation.data_rate())
            .integer("bit_rate", self.modulation.bit_rate())
            .integer("airtime", airtime)
            .string("coding_rate", coding_rate)
            .option("gateways", gateways);
        located(object, device).finish()
    }

    fn gateway(&self, gateway: &Gateway, trusted: bool) -> Object {
        let claimed = if gateway.has_clock {
            time(self.time)
        } else {
            String::new()
        };
        let clock = self.uptime.as_micros() as u32;
        Object::new()
            .string("gtw_id", &gateway.id)
            .flag("gtw_trusted", trusted)
            .integer("timestamp", clock.max(1))
            .member("time", json::string(&claimed))
            .member("channel", self.channel)
            .member("rssi", json::float32(gateway.rssi))
            .member("snr", json::float32(gateway.snr))
            .member("rf_chain", 1)
    }
}

/// Returns the metadata of an uplink simulated from the console.
pub(super) fn simulated_metadata(at: SystemTime, device: Option<Location>) -> String {
    let object = Object::new().member("time", json::string(&time(at)));
    placed(object, device.unwrap_or_default()).finish()
}

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

/// Returns the error text for a payload function that failed.
pub(super) fn threw(function: &str, error: &str) -> String {
    format!("Internal error: {function} threw error: {error}")
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
    let airtime = modulation.airtime(bytes.len()).as_nanos() as i64;
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

/// Returns path below `up/` and value of every field, including those inside objects. The path of a
/// field with an empty name is empty.
pub(super) fn field_topics(fields: &Value) -> BTreeMap<String, String> {
    fn collect(prefix: &str, fields: &Value, topics: &mut BTreeMap<String, String>) {
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
            collect(&path, member, topics);
            topics.insert(path, json::value(member));
        }
    }
    let mut topics = BTreeMap::new();
    collect("", fields, &mut topics);
    topics
}

/// Returns the payload of the events `create` and `update`.
pub(super) fn saved(location: Option<Location>, at: Option<SystemTime>) -> String {
    let time = at.map_or_else(|| "0001-01-01T00:00:00Z".into(), time);
    placed(Object::new(), location.unwrap_or_default())
        .member("update_at", json::string(&time))
        .finish()
}

fn located(object: Object, location: Option<Location>) -> Object {
    match location {
        None => object,
        Some(location) => placed(object, location).string("location_source", "registry"),
    }
}

fn placed(object: Object, location: Location) -> Object {
    object
        .float("latitude", location.latitude)
        .float("longitude", location.longitude)
        .integer("altitude", location.altitude)
}

/// Returns a time by RFC 3339 in UTC without trailing zeros of the fraction, limited to the years 1970
/// to 9999.
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
        assert_eq!(field_topics(&fields), expected.into());
    }
}
