//! Every message that a real V2 network published is read completely: each member is in a field of the
//! event, or in `extra`.

use std::time::{Duration, SystemTime};

use crate::support::fixtures;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use ttn::{
    Activation, DeviceChange, DeviceEvent, DownlinkEvent, DownlinkStep, Event, Gateway, Location,
    Metadata, Network, UplinkMessage,
};

/// Members that are numbers with a fraction, even when the network prints none.
const FLOATS: [&str; 5] = ["latitude", "longitude", "rssi", "snr", "frequency"];
/// Members that are points in time.
const TIMES: [&str; 2] = ["time", "update_at"];
/// Members that the network chose and the crate hands out as they are.
const OPAQUE: [&str; 2] = ["payload_fields", "attributes"];

#[test]
fn every_message_of_a_real_v2_network_is_read_completely() {
    let Some(recorded) = recorded() else {
        return;
    };
    let mut kinds = Map::new();
    for (case, topic, payload) in recorded {
        let kind = topic.splitn(4, '/').nth(3).unwrap_or_default();
        let original: Value = serde_json::from_str(&payload).unwrap();
        let decoded = Event::decode(Network::V2, topic.as_str(), payload.as_bytes());
        let event = match decoded {
            Ok(event) => event,
            // The value of a field with an empty name, on the topic of uplinks.
            Err(_) if kind == "up" && !original.is_object() => continue,
            Err(error) => panic!("{case}: {error}"),
        };
        let (name, rebuilt) = match &event {
            Event::Uplink(uplink) => ("up", rebuilt_uplink(uplink)),
            Event::UplinkField(field) => {
                assert_eq!(kind.strip_prefix("up/"), Some(field.field.as_str()));
                ("up/", field.value.clone())
            }
            Event::UplinkFailed(failed) => ("events/up/errors", json!({"error": failed.error})),
            Event::Activation(activation) => ("events/activations", rebuilt_activation(activation)),
            Event::Device(event) => rebuilt_change(event),
            Event::Downlink(event) => rebuilt_downlink(event, &original),
            event => panic!("{case}: {event:?}"),
        };
        assert!(
            kind == name || (name == "up/" && kind.starts_with(name)),
            "{case}: {event:?}"
        );
        if name == "up/" {
            assert_eq!(rebuilt, original, "{case}");
        } else {
            assert_eq!(comparable("", rebuilt), comparable("", original), "{case}");
        }
        kinds.insert(name.to_owned(), Value::Null);
    }
    assert_eq!(kinds.len(), 11, "{kinds:?}");
}

/// Returns case, topic and payload of each message; `None` in the published package, which has none.
fn recorded() -> Option<Vec<(String, String, String)>> {
    let path = fixtures::of_checkout("v2-real")?.join("messages.ndjson");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let messages = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["qos"], &line["retain"]), (&json!(0), &json!(false)));
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        (text("case"), text("topic"), text("payload"))
    });
    Some(messages.collect())
}

/// Returns a value whose numbers and times compare by what they mean; an empty member counts as none.
fn comparable(key: &str, value: Value) -> Value {
    match value {
        Value::Object(members) if !OPAQUE.contains(&key) => {
            let members = members.into_iter().map(|(key, member)| {
                let member = comparable(&key, member);
                (key, member)
            });
            members.filter(|(_, member)| !member.is_null()).collect()
        }
        Value::Array(items) if !OPAQUE.contains(&key) => {
            items.into_iter().map(|item| comparable("", item)).collect()
        }
        Value::Number(number) if FLOATS.contains(&key) => json!(number.as_f64()),
        Value::String(text) if TIMES.contains(&key) => json!(nanos(time(&text))),
        value => value,
    }
}

/// Returns the time that a text tells, if it tells one.
fn time(text: &str) -> Option<SystemTime> {
    if text.is_empty() || text.starts_with("0001") {
        return None;
    }
    let (local, offset) = match text.split_once('+') {
        Some((local, offset)) => (format!("{local}Z"), offset),
        None => (text.to_owned(), "00:00"),
    };
    let (hours, minutes) = offset.split_once(':').unwrap();
    let minutes = hours.parse::<u64>().unwrap() * 60 + minutes.parse::<u64>().unwrap();
    Some(humantime::parse_rfc3339(&local).unwrap() - Duration::from_secs(60 * minutes))
}

fn nanos(time: Option<SystemTime>) -> Option<u64> {
    let since = time?.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Some(u64::try_from(since.as_nanos()).unwrap())
}

/// Returns a time as text, to be compared.
fn text(time: Option<SystemTime>) -> String {
    time.map_or_else(String::new, |time| {
        humantime::format_rfc3339_nanos(time).to_string()
    })
}

/// Writes an object; what the network leaves out is null.
macro_rules! object {
    ($extra:expr, $($key:literal: $value:expr),* $(,)?) => {{
        let mut object: Map<String, Value> = $extra.clone();
        $(object.insert($key.into(), json!($value));)*
        Value::Object(object)
    }};
}

/// Returns `None` for what the network leaves out.
fn some<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

fn base64(bytes: &[u8]) -> Option<String> {
    some(STANDARD.encode(bytes))
}

fn rebuilt_uplink(uplink: &UplinkMessage) -> Value {
    object!(uplink.extra,
        "app_id": uplink.app_id,
        "dev_id": uplink.dev_id,
        "hardware_serial": uplink.hardware_serial,
        "port": uplink.port,
        "counter": uplink.counter,
        "confirmed": some(uplink.confirmed),
        "is_retry": some(uplink.is_retry),
        "payload_raw": base64(&uplink.payload_raw),
        "payload_fields": uplink.payload_fields,
        "metadata": metadata(&uplink.metadata),
        "attributes": some(uplink.attributes.clone()),
    )
}

fn metadata(metadata: &Metadata) -> Value {
    let gateways: Vec<Value> = metadata.gateways.iter().map(gateway).collect();
    let rebuilt = object!(metadata.extra,
        "time": text(metadata.time),
        "frequency": metadata.frequency,
        "modulation": some(metadata.modulation.to_string()),
        "data_rate": some(metadata.data_rate.clone()),
        "bit_rate": metadata.bit_rate,
        "airtime": metadata.airtime.map(|airtime| airtime.as_nanos() as u64),
        "coding_rate": some(metadata.coding_rate.clone()),
        "gateways": some(gateways),
    );
    located(rebuilt, metadata.location.as_ref())
}

fn gateway(gateway: &Gateway) -> Value {
    let rebuilt = object!(gateway.extra,
        "gtw_id": gateway.gtw_id,
        "gtw_trusted": some(gateway.gtw_trusted),
        "timestamp": gateway.timestamp,
        "fine_timestamp": gateway.fine_timestamp,
        "fine_timestamp_encrypted": base64(&gateway.encrypted_fine_timestamp),
        "time": text(gateway.time),
        "antenna": some(gateway.antenna),
        "channel": gateway.channel,
        "rssi": gateway.rssi,
        "snr": gateway.snr,
        "rf_chain": gateway.rf_chain,
    );
    located(rebuilt, gateway.location.as_ref())
}

fn located(mut rebuilt: Value, location: Option<&Location>) -> Value {
    if let Some(location) = location {
        rebuilt["latitude"] = json!(some(location.latitude));
        rebuilt["longitude"] = json!(some(location.longitude));
        rebuilt["altitude"] = json!(some(location.altitude));
        rebuilt["location_accuracy"] = json!(location.accuracy);
        rebuilt["location_source"] = json!(some(location.source.to_string()));
    }
    rebuilt
}

fn rebuilt_activation(activation: &Activation) -> Value {
    object!(activation.extra,
        "app_eui": activation.app_eui,
        "dev_eui": activation.dev_eui,
        "dev_addr": activation.dev_addr,
        "metadata": metadata(&activation.metadata),
    )
}

fn rebuilt_change(event: &DeviceEvent) -> (&'static str, Value) {
    let body = object!(Map::new(), "update_at": text(event.updated_at));
    let body = located(body, event.location.as_ref());
    match event.change {
        DeviceChange::Created => ("events/create", body),
        DeviceChange::Updated => ("events/update", body),
        DeviceChange::Deleted => ("events/delete", Value::Null),
        change => panic!("{change:?}"),
    }
}

/// Returns topic and body; the network gives the ids of some downlinks a second time.
fn rebuilt_downlink(event: &DownlinkEvent, original: &Value) -> (&'static str, Value) {
    let message = original.get("message").map(|original| {
        object!(event.extra,
            "app_id": original.get("app_id").map(|_| &event.app_id),
            "dev_id": original.get("dev_id").map(|_| &event.dev_id),
            "port": event.port,
            "confirmed": some(event.confirmed),
            "payload_raw": base64(&event.payload_raw),
            "payload_fields": event.payload_fields,
        )
    });
    let sent = event.transmission.as_ref();
    let body = json!({
        "error": some(event.error.clone()),
        "payload": sent.and_then(|sent| base64(&sent.frame)),
        "message": message,
        "gateway_id": sent.map(|sent| &sent.gateway_id),
        "config": sent.map(|sent| json!({
            "modulation": sent.modulation,
            "data_rate": some(sent.data_rate.clone()),
            "bit_rate": sent.bit_rate,
            "airtime": sent.airtime.map(|airtime| airtime.as_nanos() as u64),
            "counter": some(sent.counter),
            "frequency": sent.frequency.map(|megahertz| (megahertz * 1e6).round()),
            "power": sent.power,
        })),
    });
    let topic = match event.step {
        DownlinkStep::Queued => "events/down/scheduled",
        DownlinkStep::Sent => "events/down/sent",
        DownlinkStep::Acknowledged => "events/down/acks",
        DownlinkStep::Failed => "events/down/errors",
        step => panic!("{step:?}"),
    };
    (topic, body)
}
