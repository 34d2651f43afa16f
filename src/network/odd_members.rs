//! One member that cannot be read never costs a message: shown for every member of every known message.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use serde_json::{Map, Value, json};

use super::{Decoded, Network};
use crate::{
    message::{Event, Metadata, RawMessage, Spare, UplinkMessage},
    seeds::for_seeds,
};

#[path = "../../tests/support/fixture_kinds.rs"]
#[allow(unreachable_pub, reason = "other targets include the file too")]
mod fixture_kinds;
#[path = "../../tests/support/fixtures.rs"]
#[allow(unreachable_pub, reason = "other targets include the file too")]
mod large_fixtures;

/// A message that a network sends.
struct Sent {
    network: Network,
    topic: String,
    body: Value,
}

impl Sent {
    /// Decodes it twice, the second time into the memory of an earlier uplink, and checks that both are equal.
    fn decode(&self, body: &Value) -> Decoded {
        let raw = RawMessage::new(&self.topic, body.to_string().as_bytes());
        let decoded = self.network.decode(&raw);
        let spare = Spare::new(Arc::new(full_uplink().clone()), &raw);
        let again = self.network.decode_on(&self.topic, &raw, spare);
        assert_eq!(format!("{again:?}"), format!("{decoded:?}"));
        decoded
    }

    fn kind(&self) -> &str {
        let levels = match self.network {
            Network::V2 => 3,
            Network::V3 => 4,
        };
        self.topic.splitn(levels + 1, '/').nth(levels).unwrap()
    }
}

/// Returns an uplink that has everything that an uplink can have.
fn full_uplink() -> &'static UplinkMessage {
    static FULL: LazyLock<UplinkMessage> = LazyLock::new(|| {
        let place = json!({"latitude": 1.5, "longitude": 2.5, "altitude": 3, "accuracy": 4, "source": "SOURCE_GPS"});
        let time = "2024-02-29T12:00:00.5Z";
        let gateway = |number: u8| {
            json!({"gateway_ids": {"gateway_id": format!("other-{number}"), "eui": format!("AAAAAAAAAAAAAA0{number}")},
                "packet_broker": {"message_id": "other", "forwarder_net_id": "0000AA"},
                "relay": {"device_id": "other-relay"}, "antenna_index": 7, "channel_index": 7, "time": time,
                "gps_time": time, "received_at": time, "timestamp": 7, "fine_timestamp": 7,
                "encrypted_fine_timestamp": "Bwc=", "encrypted_fine_timestamp_key_id": "other", "rssi": -7.5,
                "channel_rssi": -7.5, "signal_rssi": -7.5, "rssi_standard_deviation": 7.5, "snr": 7.5,
                "frequency_offset": 7, "frequency_drift": 7, "hopping_width": 7, "location": place,
                "downlink_path_constraint": "NEVER", "uplink_token": "other", "other": 7})
        };
        let body = json!({
            "end_device_ids": {"device_id": "other", "application_ids": {"application_id": "other"},
                "dev_eui": "AAAAAAAAAAAAAAAA", "join_eui": "BBBBBBBBBBBBBBBB", "dev_addr": "CCCCCCCC"},
            "correlation_ids": ["other:1", "other:2", "other:3"], "received_at": time, "simulated": true, "other": 7,
            "uplink_message": {"session_key_id": "BwcH", "f_port": 77, "f_cnt": 777, "frm_payload": "BwcHBwcHBw==",
                "decoded_payload": {"other": 7}, "decoded_payload_warnings": ["other"],
                "normalized_payload": [{"other": 7}], "normalized_payload_warnings": ["other"],
                "rx_metadata": [gateway(1), gateway(2), gateway(3)],
                "settings": {"data_rate": {"lora": {"bandwidth": 62500, "spreading_factor": 12, "coding_rate": "4/8"}},
                    "frequency": "868300000", "timestamp": 7, "time": time, "other": 7},
                "received_at": time, "app_s_key": {"kek_label": "other"}, "last_a_f_cnt_down": 7, "confirmed": true,
                "consumed_airtime": "7s", "packet_error_rate": 0.5, "locations": {"user": place},
                "version_ids": {"brand_id": "other", "model_id": "other", "hardware_version": "other",
                    "firmware_version": "other", "band_id": "other"},
                "network_ids": {"net_id": "0000AA", "ns_id": "AAAAAAAAAAAAAAAA", "tenant_id": "other",
                    "cluster_id": "other", "cluster_address": "other", "tenant_address": "other"},
                "last_battery_percentage": {"value": 7.5, "f_cnt": 7, "received_at": time},
                "attributes": {"other": "7"}, "other": 7},
        });
        let mut uplink = UplinkMessage::from_json(Network::V3, body.to_string()).unwrap();
        uplink.is_retry = true;
        uplink.metadata.bit_rate = Some(7);
        for gateway in &mut uplink.metadata.gateways {
            gateway.gtw_trusted = true;
            gateway.rf_chain = 7;
        }
        uplink.raw = uplink.raw.retained(true);
        uplink.backfilled = true;
        uplink.duplicate = true;
        uplink.redelivered = true;
        let json = serde_json::to_value(&uplink).unwrap();
        let mut places = Vec::new();
        self::places(&json, "", &mut places);
        // These two are new each time.
        places.retain(|place| !place.contains("/packet_broker/") && !place.contains("/relay/"));
        let nothing = [
            json!(null),
            json!(""),
            json!([]),
            json!({}),
            json!(false),
            json!(0),
        ];
        places.retain(|place| nothing.contains(json.pointer(place).unwrap()));
        assert_eq!(
            places, [""; 0],
            "is it cleared in an uplink that is used again?"
        );
        uplink
    });
    &FULL
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Returns the topic of a fixture, if its network sends it and it is readable.
fn topic(network: Network, name: &str) -> Option<String> {
    let kinds: &[(&str, &str)] = match network {
        Network::V2 => &[
            ("up-", "up"),
            ("event-up-errors", "events/up/errors"),
            ("event-activations-errors", "events/activations/errors"),
            ("event-activation", "events/activations"),
            ("event-create", "events/create"),
            ("event-update", "events/update"),
            ("event-delete", "events/delete"),
            ("event-down-scheduled", "events/down/scheduled"),
            ("event-down-sent", "events/down/sent"),
            ("event-down-acks", "events/down/acks"),
            ("event-down-errors", "events/down/errors"),
        ],
        Network::V3 => &fixture_kinds::V3,
    };
    let (_, kind) = kinds.iter().find(|(start, _)| name.starts_with(start))?;
    Some(match network {
        Network::V2 => format!("greenhouse/devices/bed-07/{kind}"),
        Network::V3 => format!("v3/greenhouse@ttn/devices/bed-07/{kind}"),
    })
}

/// Returns the messages of the fixtures, and two that have what the fixtures lack.
fn messages() -> Vec<Sent> {
    let mut messages = Vec::new();
    for (network, folder) in [(Network::V2, "v2"), (Network::V3, "v3")] {
        let files = fs::read_dir(fixtures().join(folder)).unwrap();
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_stem().unwrap().to_str().unwrap();
            if let Some(topic) = topic(network, name) {
                let body = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                messages.push(Sent {
                    network,
                    topic,
                    body,
                });
            }
        }
    }
    let downlink = json!({"f_port": 3, "f_cnt": 9, "frm_payload": "AQ==", "priority": "LOW",
        "class_b_c": {"gateways": [{"gateway_ids": {"gateway_id": "roof-east", "eui": "0016C001F10A1B2C"},
            "antenna_index": 1, "group_index": 1}], "absolute_time": "2025-05-14T08:21:37Z"},
        "confirmed_retry": {"attempt": 2, "max_attempts": 3}});
    messages.push(Sent {
        network: Network::V3,
        topic: topic(Network::V3, "join-").unwrap(),
        body: json!({"end_device_ids": {"device_id": "bed-07"}, "join_accept": {"pending_session": true,
            "app_s_key": {"key": "00112233445566778899AABBCCDDEEFF"}, "invalidated_downlinks": [downlink]}}),
    });
    messages.push(Sent {
        network: Network::V2,
        topic: topic(Network::V2, "up-").unwrap(),
        body: json!({"port": 1, "counter": 7, "payload_raw": "AQI=", "metadata": {"latitude": 51.9,
            "longitude": 4.5, "altitude": 3, "location_accuracy": 2, "location_source": "registry",
            "gateways": [{"eui": "roof-east", "fine_timestamp": 1, "fine_timestamp_encrypted": "AQI="}]}}),
    });
    messages
}

/// Values that most members never have.
fn odd_values() -> Vec<Value> {
    let beyond: Value = serde_json::from_str("18446744073709551616").unwrap();
    let mut values = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(-1),
        json!(1e300),
        json!(14.5),
        json!(""),
        json!("x"),
        json!("nonsense!"),
        json!("TRUE"),
        json!("NaN"),
        json!("-Infinity"),
        json!("1e999"),
        json!("1.5e-3"),
        json!("2021-13-01T00:00:00Z"),
        json!("1969-12-31T23:59:59Z"),
        json!("2021-12-01T00:00:00+99:99"),
        json!("+99:99"),
        json!("\u{0}\u{9b}"),
        json!("?".repeat(10_000)),
        json!([]),
        json!({}),
        json!([1]),
        json!([[1]]),
        json!({"a": 1}),
        json!({"a": {"b": []}}),
    ];
    values.push(beyond);
    values
}

/// Returns the paths of all members and elements of a value.
fn places(value: &Value, place: &str, places: &mut Vec<String>) {
    let mut below = |name: &str, value: &Value| {
        let name = name.replace('~', "~0").replace('/', "~1");
        let place = format!("{place}/{name}");
        self::places(value, &place, places);
        places.push(place);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| below(name, value)),
        Value::Array(elements) => {
            let elements = elements.iter().enumerate();
            elements.for_each(|(index, value)| below(&index.to_string(), value));
        }
        _ => {}
    }
}

fn removed(value: &Value, place: &str) -> Value {
    let mut value = value.clone();
    let (above, name) = place.rsplit_once('/').unwrap();
    match value.pointer_mut(above).unwrap() {
        Value::Object(members) => {
            members.remove(&name.replace("~1", "/").replace("~0", "~"));
        }
        Value::Array(elements) => {
            elements.remove(name.parse().unwrap());
        }
        _ => unreachable!(),
    }
    value
}

fn replaced(value: &Value, place: &str, by: &Value) -> Value {
    let mut value = value.clone();
    *value.pointer_mut(place).unwrap() = by.clone();
    value
}

/// Returns whether a message without this member, or with another value in it, may be unreadable.
fn is_essential(network: Network, place: &str) -> bool {
    let names: Vec<_> = place.split('/').skip(1).collect();
    let payload = ["f_port", "f_cnt", "frm_payload"];
    match (network, &names[..]) {
        (Network::V2, [name]) => [
            "app_id",
            "dev_id",
            "port",
            "counter",
            "payload_raw",
            "message",
            "config",
        ]
        .contains(name),
        (Network::V2, ["message", name]) => ["port", "payload_raw"].contains(name),
        (Network::V2, ["config", name]) => *name == "counter",
        (Network::V3, ["end_device_ids"]) => true,
        (Network::V3, ["end_device_ids", name]) => ["device_id", "application_ids"].contains(name),
        (Network::V3, ["end_device_ids", "application_ids", name]) => *name == "application_id",
        (Network::V3, [name]) => !["correlation_ids", "received_at", "simulated"].contains(name),
        (Network::V3, ["downlink_failed", "downlink"]) => true,
        (Network::V3, ["downlink_failed", "downlink", name] | [_, name]) => {
            payload.contains(name) || *name == "last_f_cnt_down"
        }
        _ => false,
    }
}

/// Returns what decides whether a message is readable, with the kind of the event.
fn essentials(event: &Event) -> String {
    match event {
        Event::Uplink(up) | Event::UplinkNormalized(up) => {
            let ids = (&up.app_id, &up.dev_id);
            format!("uplink {:?}", (ids, up.port, up.counter, &up.payload_raw))
        }
        Event::Downlink(report) => {
            let ids = (&report.app_id, &report.dev_id);
            let content = (report.port, report.counter, &report.payload_raw);
            format!("downlink {:?}", (ids, report.step, content))
        }
        Event::Activation(join) => format!("join {:?}", (&join.app_id, &join.dev_id)),
        Event::ActivationFailed(failed) => {
            let join = &failed.activation;
            format!("failed join {:?}", (&join.app_id, &join.dev_id))
        }
        Event::UplinkFailed(failed) => format!("failed {:?}", (&failed.app_id, &failed.dev_id)),
        Event::Device(device) => {
            let ids = (&device.app_id, &device.dev_id);
            format!("device {:?}", (ids, device.change))
        }
        Event::QueueInvalidated(queue) => {
            let ids = (&queue.app_id, &queue.dev_id);
            format!("queue {:?}", (ids, queue.last_downlink_counter))
        }
        Event::LocationSolved(solved) => format!("place {:?}", (&solved.app_id, &solved.dev_id)),
        Event::ServiceData(data) => format!("data {:?}", (&data.app_id, &data.dev_id)),
        event => panic!("{event:?}"),
    }
}

/// Returns every `extra` of an event.
fn extras(event: &Event) -> Vec<&Map<String, Value>> {
    fn of_metadata(metadata: &Metadata) -> Vec<&Map<String, Value>> {
        let gateways = metadata.gateways.iter().map(|gateway| &gateway.extra);
        gateways.chain([&metadata.extra]).collect()
    }
    match event {
        Event::Uplink(up) | Event::UplinkNormalized(up) => {
            let key = up.app_s_key.iter().map(|key| &key.extra).collect();
            [of_metadata(&up.metadata), key, vec![&up.extra]].concat()
        }
        Event::Downlink(report) => vec![&report.extra],
        Event::Activation(join) => {
            let downlinks = join.invalidated_downlinks.iter();
            let downlinks = downlinks.map(|downlink| &downlink.extra).collect();
            let key = join.app_s_key.iter().map(|key| &key.extra).collect();
            [
                of_metadata(&join.metadata),
                downlinks,
                key,
                vec![&join.extra],
            ]
            .concat()
        }
        Event::ActivationFailed(failed) => {
            let join = &failed.activation;
            [of_metadata(&join.metadata), vec![&join.extra]].concat()
        }
        Event::UplinkFailed(failed) => vec![&failed.extra],
        Event::Device(device) => vec![&device.extra],
        Event::QueueInvalidated(queue) => {
            let downlinks = queue.downlinks.iter().map(|downlink| &downlink.extra);
            downlinks.chain([&queue.extra]).collect()
        }
        Event::LocationSolved(solved) => vec![&solved.extra],
        Event::ServiceData(data) => vec![&data.extra],
        event => panic!("{event:?}"),
    }
}

fn contains(value: &Value, part: &Value) -> bool {
    value == part
        || match value {
            Value::Object(members) => members.values().any(|value| contains(value, part)),
            Value::Array(elements) => elements.iter().any(|value| contains(value, part)),
            _ => false,
        }
}

/// Returns the content of an event without the original bytes.
fn content(event: &Event) -> String {
    let text = format!("{event:?}");
    let mut rest = text.as_str();
    let mut content = String::new();
    while let Some((before, after)) = rest.split_once("raw: RawMessage {") {
        content.push_str(before);
        rest = after.split_once("\" }").map_or("", |(_, after)| after);
    }
    content + rest
}

/// Returns whether a value may mean the same as a member that was left out.
fn may_be_nothing(value: &Value, original: &Value) -> bool {
    let is_empty = [json!(null), json!(""), json!([]), json!({}), json!(false)].contains(value);
    // Unknown members of most objects are ignored.
    is_empty || value.is_object() && original.is_object()
}

#[test]
fn any_member_that_cannot_be_read_is_kept_and_the_message_arrives() {
    let values = odd_values();
    let mut tried = BTreeSet::new();
    let (mut kept, mut read) = (0, 0);
    for sent in messages() {
        let Decoded { event: base, odd } = sent.decode(&sent.body);
        assert_eq!(odd.members, 0, "{}: {}", sent.topic, odd.first);
        let mut places = Vec::new();
        self::places(&sent.body, "", &mut places);
        for place in places {
            let names = place.split('/').filter(|name| name.parse::<u32>().is_err());
            let path: Vec<_> = [sent.kind()]
                .into_iter()
                .chain(names)
                .map(str::to_owned)
                .collect();
            if !tried.insert((sent.network == Network::V2, path)) {
                continue;
            }
            let original = sent.body.pointer(&place).unwrap();
            let without = sent.decode(&removed(&sent.body, &place)).event;
            // Unknown members of objects without an `extra` are ignored.
            let is_ignored = content(&base) == content(&without);
            for value in &values {
                let what = || format!("{}{place} = {:.80}", sent.topic, value.to_string());
                let Decoded { event, odd } = sent.decode(&replaced(&sent.body, &place, value));
                if is_essential(sent.network, &place) {
                    continue;
                }
                assert!(
                    !matches!(event, Event::Malformed(_)),
                    "{}: {event:?}",
                    what()
                );
                assert_eq!(essentials(&event), essentials(&base), "{}", what());
                let is_kept = extras(&event)
                    .iter()
                    .any(|extra| extra.values().any(|kept| contains(kept, value)));
                let name = place.rsplit('/').next().unwrap();
                let is_coordinate = ["latitude", "longitude"].contains(&name);
                match odd.members {
                    0 => {
                        let is_hidden = ["key", "encrypted_key"].contains(&name)
                            || sent.network == Network::V2 && ["app_id", "dev_id"].contains(&name);
                        let has_meaning = content(&event) != content(&without);
                        assert!(
                            has_meaning
                                || is_hidden
                                || is_ignored
                                || may_be_nothing(value, original),
                            "{} is lost: {event:?}",
                            what()
                        );
                        read += 1;
                    }
                    1 => {
                        assert!(is_kept, "{} is not kept: {event:?}", what());
                        assert!(!value.is_null() || is_coordinate, "{}", what());
                        assert!(
                            place
                                .replace('/', ".")
                                .contains(odd.first.split('.').next().unwrap())
                        );
                        kept += 1;
                    }
                    members => panic!("{} counts as {members}", what()),
                }
            }
        }
    }
    assert!(kept > 4_000 && read > 1_000, "{kept} kept, {read} read");
}

#[test]
fn no_message_of_a_real_server_has_a_member_that_cannot_be_read() {
    let mut decoded = 0;
    for (network, folder) in [(Network::V2, "v2-real"), (Network::V3, "v3-real")] {
        let Some(folder) = large_fixtures::of_checkout(folder) else {
            return;
        };
        for file in fs::read_dir(folder).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            for line in text.lines() {
                let Ok(line) = serde_json::from_str::<Value>(line) else {
                    continue;
                };
                let Some(topic) = line["topic"].as_str() else {
                    continue;
                };
                let body = match &line["payload"] {
                    Value::String(text) => text.clone(),
                    value => value.to_string(),
                };
                let Decoded { event, odd } =
                    network.decode(&RawMessage::new(topic, body.as_bytes()));
                assert_eq!(odd.members, 0, "{topic}: {} in {event:?}", odd.first);
                decoded += u32::from(!matches!(event, Event::Other(_) | Event::Malformed(_)));
            }
        }
    }
    assert!(decoded > 300, "{decoded}");
}

#[test]
fn two_members_that_cannot_be_read_do_not_cost_each_other() {
    let messages: Vec<_> = messages()
        .into_iter()
        .map(|sent| {
            let mut places = Vec::new();
            self::places(&sent.body, "", &mut places);
            places.retain(|place| !is_essential(sent.network, place));
            (sent, places)
        })
        .filter(|(_, places)| places.len() > 1)
        .collect();
    let odd = [json!(["first"]), json!({"second": [2]})];
    let is_kept = |event: &Event, value: &Value| {
        let mut kept = extras(event).into_iter().flat_map(Map::values);
        kept.any(|kept| contains(kept, value))
    };
    let mut both = 0;
    for_seeds(4_000, |random| {
        let (sent, places) = &messages[random.usize(..messages.len())];
        let [one, other] = [0, 1].map(|_| &places[random.usize(..places.len())]);
        let is_inside = |inner: &str, outer: &str| {
            let rest = inner.strip_prefix(outer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if is_inside(one, other) || is_inside(other, one) {
            return;
        }
        let bodies = [
            replaced(&sent.body, one, &odd[0]),
            replaced(&sent.body, other, &odd[1]),
        ];
        let [first, second] = [0, 1].map(|index| sent.decode(&bodies[index]));
        let together = sent.decode(&replaced(&bodies[0], other, &odd[1]));
        let what = || format!("{} {one} {other}: {:?}", sent.topic, together.event);
        assert_eq!(
            essentials(&together.event),
            essentials(&first.event),
            "{}",
            what()
        );
        // A downlink in a list that cannot be read counts once, whatever is odd in it.
        let counted =
            (first.odd.members.max(second.odd.members))..=(first.odd.members + second.odd.members);
        assert!(counted.contains(&together.odd.members), "{}", what());
        for (alone, value) in [&first, &second].into_iter().zip(&odd) {
            if is_kept(&alone.event, value) {
                assert!(is_kept(&together.event, value), "{}", what());
            }
        }
        let json = serde_json::to_string(&together.event).unwrap();
        assert!(!json.contains('\n'));
        assert!(serde_json::from_str::<Value>(&json).is_ok(), "{json}");
        both += u64::from(first.odd.members > 0 && second.odd.members > 0);
    });
    assert!(both > 500, "{both}");
}
