//! The simulated network of The Things Stack, tested by bytes on a socket.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use ttn::Network;
use ttn::simulator::{Device, Gateway, Location, PublishRate, Rights, Simulator, Uplink};

use crate::support::raw::{Hello, LONG, Raw, SHORT, frame, string};

const APP: &str = "simulated-app@ttn";
const KEY: &str = "NNSXS.SIMULATED.KEY";
const ALL: &str = "v3/simulated-app@ttn/#";
const PUSH: &str = "v3/simulated-app@ttn/devices/pump-1/down/push";
const REPLACE: &str = "v3/simulated-app@ttn/devices/pump-1/down/replace";
const PLACE: Location = Location {
    latitude: 52.3731,
    longitude: 4.8922,
    altitude: 3,
};

fn start() -> Simulator {
    Simulator::start(Network::V3).unwrap()
}

/// Starts a network that sends downlinks before `uplink` returns.
fn instant() -> Simulator {
    Simulator::builder(Network::V3)
        .receive_window(Duration::ZERO)
        .seed(7)
        .start()
        .unwrap()
}

fn pump(network: &Simulator) -> (Device, Raw) {
    let device = network.device("pump-1");
    (device, Raw::subscribed(network, &[ALL]))
}

fn fixture(name: &str) -> Value {
    let path = format!(
        "{}/tests/fixtures/v3/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Returns path and JSON type of every member, at any depth; free objects are not entered.
fn shape(value: &Value) -> BTreeSet<String> {
    fn collect(path: &str, value: &Value, shape: &mut BTreeSet<String>) {
        let free = ["/decoded_payload", "/data", "/error/attributes"]
            .iter()
            .any(|end| path.ends_with(end));
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(items) => {
                for item in items {
                    collect(&format!("{path}[]"), item, shape);
                }
                "array"
            }
            Value::Object(members) => {
                for (key, member) in members.iter().filter(|_| !free) {
                    collect(&format!("{path}/{key}"), member, shape);
                }
                "object"
            }
        };
        shape.insert(format!("{path}: {kind}"));
    }
    let mut members = BTreeSet::new();
    collect("", value, &mut members);
    members
}

/// Compares with a recorded message, except for these members. What gateways report about location
/// and time is not compared, nor the session key id, which only devices that joined have, nor the DevAddr
/// where a message of the Application Server has one only in older documentation.
fn assert_shape(message: &Value, name: &str, without: &[&str]) {
    let mut expected = fixture(name);
    for pointer in without {
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let parent = expected.pointer_mut(parent).unwrap().as_object_mut();
        parent.unwrap().remove(member).expect(pointer);
    }
    let is_transmission = name == "down-failed-transmission";
    let anywhere = |line: &String| {
        let ends = [
            "rx_metadata[]/time: string",
            "settings/time: string",
            "/session_key_id: string",
        ];
        let of_request =
            name.starts_with("down-queued") || name.starts_with("down-failed") && !is_transmission;
        let varies = line.contains("rx_metadata[]/location")
            || ends.iter().any(|end| line.ends_with(end))
            || of_request && line == "/end_device_ids/dev_addr: string";
        !varies
    };
    let members = |value| {
        shape(value)
            .into_iter()
            .filter(anywhere)
            .collect::<BTreeSet<_>>()
    };
    let (found, expected) = (members(message), members(&expected));
    let mut difference = String::new();
    for line in found.difference(&expected) {
        writeln!(difference, "too much: {line}").unwrap();
    }
    for line in expected.difference(&found) {
        writeln!(difference, "missing: {line}").unwrap();
    }
    assert!(difference.is_empty(), "{name}\n{difference}{message:#}");
}

/// Returns the ends of the topics of the next messages.
fn topics(client: &mut Raw, count: usize) -> Vec<String> {
    let start = "v3/simulated-app@ttn/devices/pump-1/";
    let topic = |client: &mut Raw| client.message().0.strip_prefix(start).unwrap().to_owned();
    (0..count).map(|_| topic(client)).collect()
}

fn assert_failed(event: &Value, namespace: &str, name: &str, code: u64) {
    let error = &event["downlink_failed"]["error"];
    assert_eq!(error["namespace"], format!("pkg/{namespace}"), "{event}");
    assert_eq!(error["name"], name, "{event}");
    assert_eq!(error["code"], code, "{event}");
    let id = error["correlation_id"].as_str().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

fn is_ulid(text: &str) -> bool {
    let digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    text.len() == 26 && text.chars().all(|digit| digits.contains(digit))
}

#[test]
fn a_downlink_travels_from_push_to_acknowledgement() {
    let network = start();
    let (device, mut client) = pump(&network);
    let request = r#"{"downlinks":[{"f_port":15,"frm_payload":"vu8=","confirmed":true,
        "priority":"HIGH","correlation_ids":["valve-open-0042"]}]}"#;
    let events = client.publish_1(PUSH, request);
    assert_eq!(events.len(), 1);
    let (topic, queued) = &events[0];
    assert_eq!(topic, "v3/simulated-app@ttn/devices/pump-1/down/queued");
    assert_shape(queued, "down-queued-confirmed", &[]);
    assert_eq!(queued["downlink_queued"]["f_port"], 15);
    assert_eq!(queued["downlink_queued"]["frm_payload"], "vu8=");
    assert_eq!(queued["downlink_queued"]["priority"], "HIGH");
    assert_eq!(
        queued["downlink_queued"]["confirmed_retry"],
        json!({"attempt": 1})
    );
    let ids = queued["downlink_queued"]["correlation_ids"]
        .as_array()
        .unwrap();
    assert!(is_ulid(
        ids[0]
            .as_str()
            .unwrap()
            .strip_prefix("as:downlink:")
            .unwrap()
    ));
    assert_eq!(ids[1], "valve-open-0042");
    assert_eq!(queued["correlation_ids"], json!(ids));
    device.uplink(2, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    let sent = client.message_on("down/sent");
    let received = device.next_downlink(LONG).unwrap();
    assert_eq!((received.port, received.confirmed), (15, true));
    assert_eq!((received.payload, received.counter), (vec![0xbe, 0xef], 1));
    assert_eq!(sent["downlink_sent"]["f_cnt"], 1);
    assert_eq!(
        sent["downlink_sent"]["correlation_ids"]
            .as_array()
            .unwrap()
            .len(),
        8
    );
    device.uplink(2, [1]);
    let (topic, ack) = client.message();
    assert_eq!(topic, "v3/simulated-app@ttn/devices/pump-1/down/ack");
    assert_shape(&ack, "down-ack", &[]);
    assert_eq!(ack["downlink_ack"]["correlation_ids"], json!(ids));
    let outer = ack["correlation_ids"].as_array().unwrap();
    assert!(outer[1].as_str().unwrap().starts_with("gs:uplink:"));
    assert_eq!((&outer[0], &outer[4]), (&ids[0], &ids[1]));
    assert_eq!(device.in_progress(), None);
}

// Connections.

#[test]
fn the_default_application_is_a_hosted_one() {
    let network = start();
    assert_eq!((network.app_id(), network.access_key()), (APP, KEY));
    for (name, level) in [("MQTT", 4), ("MQIsdp", 3), ("MQTT", 3), ("MQIsdp", 4)] {
        let hello = Hello {
            name,
            level,
            client_id: "",
            ..Hello::of(&network)
        };
        assert_eq!(Raw::hello(&network, &hello).packet(), [0x20, 2, 0, 0]);
    }
}

#[test]
fn whatever_is_wrong_with_the_credentials_is_answered_with_5() {
    let network = start();
    network.add_key(APP, "NNSXS.DELETED.KEY", Rights::ALL);
    assert!(network.remove_key(APP, "NNSXS.DELETED.KEY"));
    let long = format!("{}@ttn", "a".repeat(37));
    let malformed = [
        "Capitals", "a_b_c", "ab", "-abc", "a--bc", "abc-", "app@t", "app@a@b", &long,
    ];
    for app in malformed {
        network.add_application(app, KEY);
    }
    let mut wrong = vec![
        (Some(APP), Some("NNSXS.WRONG.KEY")),
        (Some(APP), Some("NNSXS.DELETED.KEY")),
        (Some(APP), Some("")),
        (Some(APP), None),
        (Some("simulated-app"), Some(KEY)),
        (Some("simulated-app@other"), Some(KEY)),
        (Some("unknown-app@ttn"), Some(KEY)),
        (None, None),
    ];
    wrong.extend(malformed.map(|app| (Some(app), Some(KEY))));
    for (username, password) in wrong {
        let hello = Hello {
            username,
            password,
            ..Hello::of(&network)
        };
        let mut client = Raw::hello(&network, &hello);
        assert_eq!(
            client.packet(),
            [0x20, 2, 0, 5],
            "{username:?} {password:?}"
        );
        client.assert_closed();
    }
    let longest = format!("{}@{}", "a".repeat(36), "0-0-0");
    network.add_application(&longest, "an OAuth token");
    let hello = Hello {
        username: Some(&longest),
        password: Some("an OAuth token"),
        ..Hello::of(&network)
    };
    assert_eq!(Raw::hello(&network, &hello).packet(), [0x20, 2, 0, 0]);
}

#[test]
fn mqtt_5_is_closed_without_an_answer_and_other_levels_get_1() {
    let network = start();
    let mut body = string("MQTT");
    body.extend([5, 0xc2, 0, 60, 0]);
    body.extend(["raw", APP, KEY].into_iter().flat_map(string));
    let mut client = Raw::open(&network);
    client.write(&frame(0x10, &body));
    client.assert_closed();
    for (name, level) in [("MQTT", 6), ("HTTP", 4)] {
        let hello = Hello {
            name,
            level,
            ..Hello::of(&network)
        };
        let mut client = Raw::hello(&network, &hello);
        assert_eq!(client.packet(), [0x20, 2, 0, 1]);
        client.assert_closed();
    }
}

#[test]
fn an_open_source_deployment_has_no_tenants() {
    let network = Simulator::builder(Network::V3)
        .application("silo", "NNSXS.SILO.KEY")
        .start()
        .unwrap();
    let mut client = Raw::subscribed(&network, &["#"]);
    network
        .device("silo-1")
        .send(Uplink::new(1, [1]).counter(1));
    let (topic, up) = client.message();
    assert_eq!(topic, "v3/silo/devices/silo-1/up");
    assert_eq!(
        up["end_device_ids"]["application_ids"]["application_id"],
        "silo"
    );
    assert_eq!(
        up["uplink_message"]["network_ids"],
        json!({"net_id": "000000"})
    );
    let topic = "v3/silo/devices/silo-1/down/push";
    let events = client.publish_1(topic, r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ"}]}"#);
    assert_eq!(events[0].0, "v3/silo/devices/silo-1/down/queued");
}

#[test]
fn a_will_is_accepted_and_never_carried_out() {
    let network = start();
    let (device, mut watcher) = pump(&network);
    let request = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
    let hello = Hello {
        will: Some((PUSH, request)),
        keep_alive: 1,
        ..Hello::of(&network)
    };
    let lost = || {
        let mut client = Raw::hello(&network, &hello);
        assert_eq!(client.packet(), [0x20, 2, 0, 0]);
        client
    };
    let silent = lost();
    drop(lost());
    // Malformed.
    lost().write(&[0xf0, 0]);
    network.wait_for_clients(1, LONG);
    watcher.assert_silent();
    drop(silent);
    assert!(device.queue().is_empty());
}

// Subscriptions and publishing.

#[test]
fn filters_are_rewritten_or_refused_by_their_first_two_levels() {
    let network = start();
    let mut client = Raw::connect(&network);
    for filter in [
        "#",
        "v3/#",
        "v3/+",
        "v3/+/devices/+/up",
        APP_LEVEL,
        "v3/simulated-app@ttn/devices/+/up",
        "v3/simulated-app@ttn/no/such/thing",
    ] {
        assert_eq!(client.subscribe(filter, 1), [1], "{filter}");
    }
    for filter in [
        "v3",
        "+",
        "+/+/devices/+/up",
        "+/simulated-app@ttn/#",
        "$SYS/#",
        "/v3/#",
        "simulated-app@ttn/devices/+/up",
        "v3/simulated-app/devices/+/up",
        "v3/simulated-app@ttn2/#",
        "v3/other-app@ttn/#",
    ] {
        assert_eq!(client.subscribe(filter, 0), [0x80], "{filter}");
    }
    let expected = [
        ALL,
        APP_LEVEL,
        "v3/simulated-app@ttn/devices/+/up",
        "v3/simulated-app@ttn/no/such/thing",
    ];
    assert_eq!(network.clients()[0].subscriptions, expected);
    let unsubscribe = [vec![0, 9], string(ALL)].concat();
    client.write(&frame(0xa2, &unsubscribe));
    assert_eq!(client.packet(), [0xb0, 2, 0, 9]);
    assert_eq!(network.clients()[0].subscriptions, expected[1..]);
}

const APP_LEVEL: &str = "v3/simulated-app@ttn";

#[test]
fn a_hash_does_not_stand_for_its_parent_level() {
    let network = start();
    let mut client = Raw::subscribed(&network, &["v3/+/devices/+/up/#"]);
    let normalized = json!({"air": {"temperature": 21.5}});
    network
        .device("pump-1")
        .send(Uplink::new(1, [1]).normalized(normalized));
    assert_eq!(topics(&mut client, 1), ["up/normalized"]);
    client.assert_silent();
}

#[test]
fn delivery_is_at_qos_0_and_requests_are_not_echoed() {
    let network = start();
    network.device("pump-1");
    let mut client = Raw::connect(&network);
    assert_eq!(client.subscribe(ALL, 2), [2]);
    let request = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
    let events = client.publish_1(PUSH, request);
    assert_eq!(events.len(), 1);
    client.publish_1(REPLACE, r#"{"downlinks":[]}"#);
    client.assert_silent();
}

#[test]
fn missing_rights_are_not_seen() {
    let network = start();
    let device = network.device("pump-1");
    let client = |key: &str, rights: (bool, bool)| {
        let (read, write) = rights;
        network.add_key(APP, key, Rights { read, write });
        let hello = Hello {
            password: Some(key),
            ..Hello::of(&network)
        };
        let mut client = Raw::hello(&network, &hello);
        assert_eq!(client.packet(), [0x20, 2, 0, 0]);
        assert_eq!(client.subscribe(ALL, 0), [0]);
        client
    };
    let mut deaf = client("NNSXS.DEAF.KEY", (false, true));
    let mut mute = client("NNSXS.MUTE.KEY", (true, false));
    let mut both = client("NNSXS.OTHER.RIGHTS", (false, false));
    let request = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
    assert_eq!(mute.publish_1(PUSH, request), []);
    assert!(device.queue().is_empty());
    assert_eq!(deaf.publish_1(PUSH, request), []);
    assert_eq!(topics(&mut mute, 1), ["down/queued"]);
    assert_eq!(device.queue().len(), 1);
    deaf.assert_silent();
    assert_eq!(both.publish_1(PUSH, request), []);
    assert_eq!(device.queue().len(), 1);
    both.assert_silent();
}

#[test]
fn other_topics_are_acknowledged_and_dropped() {
    let network = start();
    network.add_application("other-app@ttn", KEY);
    let other = network.device_of("other-app@ttn", "pump-1");
    let (device, mut client) = pump(&network);
    network.device("Pump_1");
    let request = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
    for topic in [
        "v3/other-app@ttn/devices/pump-1/down/push",
        "v3/simulated-app/devices/pump-1/down/push",
        "v3/simulated-app@ttn/devices/pump-1/down",
        "v3/simulated-app@ttn/devices/pump-1/up",
        "v3/simulated-app@ttn/devices/Pump_1/down/push",
        "v3/simulated-app@ttn/devices/unknown/down/push",
        "simulated-app@ttn/devices/pump-1/down",
    ] {
        assert_eq!(client.publish_1(topic, request), [], "{topic}");
    }
    assert!(device.queue().is_empty() && other.queue().is_empty());
    client.assert_silent();
}

#[test]
fn a_repeated_publish_is_executed_again_at_qos_1_and_not_at_qos_2() {
    let network = start();
    let (device, mut client) = pump(&network);
    let request = br#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
    let body = [&string(PUSH), &[0, 7][..], request].concat();
    for first in [0x32, 0x3a] {
        client.write(&frame(first, &body));
        assert_eq!(topics(&mut client, 1), ["down/queued"]);
        assert_eq!(client.packet(), [0x40, 2, 0, 7]);
    }
    client.write(&frame(0x34, &body));
    assert_eq!(topics(&mut client, 1), ["down/queued"]);
    assert_eq!(client.packet(), [0x50, 2, 0, 7]);
    client.write(&frame(0x3c, &body));
    assert_eq!(client.packet(), [0x50, 2, 0, 7]);
    assert_eq!(device.queue().len(), 3);
    client.write(&[0x62, 2, 0, 7]);
    assert_eq!(client.packet(), [0x70, 2, 0, 7]);
    client.write(&frame(0x34, &body));
    assert_eq!(topics(&mut client, 1), ["down/queued"]);
}

// Quirks.

#[test]
fn a_publish_above_the_limit_is_lost_and_ends_the_connection() {
    let network = start();
    network.quirks(|quirks| quirks.publish_limit = Some(2));
    let (device, mut client) = pump(&network);
    let request = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
    client.publish_1(PUSH, request);
    client.publish_1(PUSH, request);
    client.write(&frame(
        0x32,
        &[&string(PUSH), &[0, 8][..], request.as_bytes()].concat(),
    ));
    client.assert_closed();
    assert_eq!(device.queue().len(), 2);
    Raw::connect(&network).publish_1(PUSH, request);
    assert_eq!(device.queue().len(), 3);
}

#[test]
fn a_connection_above_the_limit_is_refused_with_3() {
    let network = start();
    network.add_application("other-app@ttn", KEY);
    network.quirks(|quirks| quirks.connection_limit = Some(1));
    let first = Raw::connect(&network);
    let mut second = Raw::hello(&network, &Hello::of(&network));
    assert_eq!(second.packet(), [0x20, 2, 0, 3]);
    second.assert_closed();
    let other = Hello {
        username: Some("other-app@ttn"),
        ..Hello::of(&network)
    };
    assert_eq!(Raw::hello(&network, &other).packet(), [0x20, 2, 0, 0]);
    drop(first);
    assert!(network.wait_for_clients(0, LONG));
    Raw::connect(&network);
}

#[test]
fn a_message_may_come_before_its_suback() {
    let network = start();
    network.quirks(|quirks| quirks.suback_delay = Duration::from_secs(1));
    let device = network.device("pump-1");
    let mut client = Raw::connect(&network);
    client.write(&frame(0x82, &[vec![0, 9], string(ALL), vec![1]].concat()));
    assert!(network.wait_for_subscriptions(1, LONG));
    client.assert_silent();
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    assert_eq!(client.packet(), [0x90, 3, 0, 9, 1]);
}

#[test]
fn uplinks_can_be_published_twice() {
    let network = start();
    network.quirks(|quirks| quirks.duplicate_uplinks = true);
    let (device, mut client) = pump(&network);
    device.uplink(1, [1]);
    assert_eq!(client.message(), client.message());
    client.assert_silent();
}

// Uplinks.

fn up(client: &mut Raw) -> Value {
    let (topic, up) = client.message();
    assert_eq!(topic, "v3/simulated-app@ttn/devices/pump-1/up");
    up
}

/// Publishes the uplink and compares it with a recorded message.
fn assert_uplink(network: &Simulator, uplink: Uplink, name: &str, without: &[&str]) -> Value {
    let (device, mut client) = pump(network);
    device.send(uplink);
    let message = up(&mut client);
    assert_shape(&message, name, without);
    message
}

#[test]
fn an_ordinary_uplink_has_the_members_of_a_recorded_one() {
    let network = start();
    let version = [
        "/uplink_message/version_ids",
        "/uplink_message/packet_error_rate",
    ];
    let uplink = Uplink::new(2, [0x0b, 0x46])
        .fields(json!({"temperature": 28.86}))
        .counter(118);
    let message = assert_uplink(&network, uplink, "up-lora-one-gateway", &version);
    let ids = &message["end_device_ids"];
    let device = network.device("pump-1");
    assert_eq!(ids["device_id"], "pump-1");
    assert_eq!(
        ids["application_ids"],
        json!({"application_id": "simulated-app"})
    );
    assert_eq!(ids["dev_eui"], device.dev_eui());
    assert_eq!(ids["dev_addr"], device.dev_addr());
    let correlation_id = message["correlation_ids"][0].as_str().unwrap();
    assert!(is_ulid(correlation_id.strip_prefix("gs:uplink:").unwrap()));
    let uplink = &message["uplink_message"];
    assert_eq!(uplink["f_port"], 2);
    assert_eq!(uplink["f_cnt"], 118);
    assert_eq!(uplink["frm_payload"], "C0Y=");
    assert_eq!(uplink["settings"]["frequency"], "868300000");
    assert_eq!(uplink["consumed_airtime"], "0.046336s");
    let lora = json!({"bandwidth": 125_000, "spreading_factor": 7, "coding_rate": "4/5"});
    assert_eq!(uplink["settings"]["data_rate"], json!({"lora": lora}));
    assert_eq!(
        uplink["network_ids"],
        fixture("up-confirmed")["uplink_message"]["network_ids"]
    );
    let gateway = &uplink["rx_metadata"][0];
    assert_eq!(gateway["rssi"], gateway["channel_rssi"]);
    assert_eq!(gateway["location"]["source"], "SOURCE_REGISTRY");
    assert_eq!(gateway["time"], uplink["settings"]["time"]);
    assert_eq!(gateway["gateway_ids"]["eui"], "58A0CBFFFE80AA11");
}

#[test]
fn zeros_are_left_out() {
    let network = start();
    let (device, mut client) = pump(&network);
    device.uplink(2, [1]);
    let no_channel = ["/uplink_message/rx_metadata/0/channel_index"];
    assert_shape(&up(&mut client), "up-first-frame-counter-zero", &no_channel);
    device.uplink(2, []);
    assert_shape(&up(&mut client), "up-empty-payload", &[]);
    device.send(Uplink::new(0, [2, 3]).counter(121).fields(json!({"a": 1})));
    assert_shape(&up(&mut client), "up-port-zero-mac-only", &[]);
    device.send(Uplink::new(2, [1]).counter(124).gateways(0));
    assert_shape(&up(&mut client), "up-no-gateways", &[]);
}

#[test]
fn an_uplink_has_its_members_on_one_line_in_the_order_of_the_schema() {
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_747_210_897, 787_000_000);
    let network = Simulator::builder(Network::V3)
        .seed(7)
        .fixed_time(time)
        .release("3.34.0")
        .start()
        .unwrap();
    let mut client = Raw::subscribed(&network, &[ALL]);
    let uplink = Uplink::new(2, [1])
        .counter(1)
        .confirmed(true)
        .heard_by(Gateway::new("roof-east").clock(true))
        .fields(json!({"note": "a<b & c>d \"x\" \\ \t\u{2028}é", "big": 1e21, "n": u64::MAX}))
        .attribute("label", "<b>&</b>");
    network.create_device("pump-1", Some(PLACE)).send(uplink);
    let (_, text) = client.text();
    assert!(!text.contains(['\n', '\t']), "{text}");
    let fields =
        r#""decoded_payload":{"big":1e+21,"n":18446744073709552000,"note":"a<b & c>d \"x\" \\ \t"#;
    assert!(text.contains(fields), "{text}");
    assert!(
        text.contains(r#""attributes":{"label":"<b>&</b>"}}}"#),
        "{text}"
    );
    assert!(
        text.contains(r#""received_at":"2025-05-14T08:21:37.787Z""#),
        "{text}"
    );
    let mut last = 0;
    for member in [
        "end_device_ids",
        "device_id",
        "application_ids",
        "dev_eui",
        "join_eui",
        "dev_addr",
        "correlation_ids",
        "received_at",
        "uplink_message",
        "f_port",
        "f_cnt",
        "frm_payload",
        "decoded_payload",
        "rx_metadata",
        "gateway_ids",
        "time",
        "timestamp",
        "rssi",
        "channel_rssi",
        "snr",
        "location",
        "uplink_token",
        "channel_index",
        "settings",
        "confirmed",
        "consumed_airtime",
        "locations",
        "network_ids",
        "attributes",
    ] {
        let at = text[last..].find(&format!("\"{member}\":"));
        last += at.unwrap_or_else(|| panic!("{member} in {text}"));
    }
}

#[test]
fn every_modulation_looks_as_recorded() {
    let network = start();
    let uplink = |counter: u32| Uplink::new(2, [1, 2, 3, 4, 5]).counter(counter);
    let fsk = assert_uplink(&network, uplink(118).fsk(), "up-fsk", &[]);
    assert_eq!(fsk["uplink_message"]["settings"]["frequency"], "868800000");
    let hopping = uplink(119).lr_fhss();
    let gateway = assert_uplink(&network, hopping, "up-lrfhss", &[])["uplink_message"].clone();
    assert!(gateway["rx_metadata"][0]["frequency_offset"].is_string());
    let slow = assert_uplink(
        &network,
        uplink(121).data_rate("SF12BW125"),
        "up-confirmed",
        &["/uplink_message/confirmed"],
    );
    let lora = &slow["uplink_message"]["settings"]["data_rate"]["lora"];
    assert_eq!(lora["spreading_factor"], 12);
    let confirmed = uplink(16_384).confirmed(true);
    assert_uplink(&network, confirmed, "up-confirmed", &[]);
}

#[test]
fn an_uplink_may_be_heard_by_gateways_of_other_networks() {
    let network = start();
    let hops = ["/uplink_message/rx_metadata/1/packet_broker/hops"];
    let uplink = Uplink::new(2, [1]).counter(118).packet_broker(true);
    let message = assert_uplink(&network, uplink, "up-lora-packet-broker-gateways", &hops);
    let heard = message["uplink_message"]["rx_metadata"].as_array().unwrap();
    assert_eq!(
        heard[1]["gateway_ids"],
        json!({"gateway_id": "packetbroker"})
    );
    assert!(heard[1].get("timestamp").is_none());
    let (device, mut client) = pump(&network);
    device.send(Uplink::new(2, [1]).gateways(4));
    let heard = up(&mut client)["uplink_message"]["rx_metadata"].clone();
    assert_eq!(heard.as_array().unwrap().len(), 4);
}

#[test]
fn a_simulated_uplink_says_so_and_changes_nothing() {
    let network = instant();
    let uplink = Uplink::new(2, [1]).simulated(true);
    let told = [
        "/end_device_ids/dev_addr",
        "/uplink_message/session_key_id",
        "/uplink_message/settings/data_rate/lora/coding_rate",
        "/uplink_message/received_at",
        "/uplink_message/consumed_airtime",
        "/uplink_message/network_ids",
    ];
    let message = assert_uplink(&network, uplink.clone(), "up-simulated", &told);
    assert_eq!(message["simulated"], true);
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#);
    device.send(uplink);
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.assert_silent();
    assert_eq!(device.uplink(2, [1]), 0);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
}

#[test]
fn a_repeated_frame_is_not_published_again() {
    let network = start();
    let (device, mut client) = pump(&network);
    assert_eq!(device.uplink(2, [1]), 0);
    assert_eq!(device.send(Uplink::new(2, [1]).retry(true)), 0);
    assert_eq!(device.uplink(2, [1]), 1);
    assert_eq!(topics(&mut client, 2), ["up", "up"]);
    client.assert_silent();
}

#[test]
fn fields_come_from_the_decoder_and_a_failing_one_leaves_no_trace() {
    let network = start();
    let (device, mut client) = pump(&network);
    network.set_decoder(|port, bytes| match port {
        1 => Ok(Some(json!({"level": bytes[0]}))),
        2 => Ok(Some(json!({}))),
        3 => Err("out of range".into()),
        4 => panic!("a bug"),
        5 => Ok(Some(json!([1]))),
        7 => Ok(Some(Value::Null)),
        8 => Ok(Some(json!(7))),
        _ => Ok(None),
    });
    for (port, expected) in [
        (1, Some(json!({"level": 7}))),
        (2, Some(json!({}))),
        (3, None),
        (4, None),
        (5, Some(json!({"0": 1}))),
        (6, None),
        (7, Some(json!({}))),
        (8, None),
    ] {
        device.uplink(port, [7]);
        let up = up(&mut client);
        assert_eq!(
            up["uplink_message"].get("decoded_payload"),
            expected.as_ref()
        );
    }
    let warned = Uplink::new(7, [1])
        .fields(json!({"level": 101.2}))
        .warning("level above 100");
    device.send(warned.counter(10));
    assert_shape(&up(&mut client), "up-decoded-with-warnings", &[]);
    client.assert_silent();
}

#[test]
fn measurements_are_published_one_by_one_before_their_uplink() {
    let network = start();
    let (device, mut client) = pump(&network);
    let uplink = Uplink::new(2, [1])
        .counter(118)
        .fields(json!({"t": 21.5}))
        .normalized(json!({"air": {"temperature": 21.5, "relativeHumidity": 60}}));
    device.send(uplink.clone());
    let (topic, normalized) = client.message();
    assert_eq!(topic, "v3/simulated-app@ttn/devices/pump-1/up/normalized");
    assert_shape(&normalized, "normalized-air", &[]);
    assert_shape(&up(&mut client), "up-normalized-payload", &[]);
    let uplink = uplink.counter(119);
    device.send(uplink.normalized(json!({"soil": {"moisture": 3}})));
    assert_eq!(topics(&mut client, 1), ["up/normalized"]);
    let (_, second) = client.message();
    let measurement = &second["uplink_normalized"]["normalized_payload"];
    assert_eq!(*measurement, json!({"soil": {"moisture": 3}}));
}

#[test]
fn a_position_in_the_payload_is_published_and_remembered() {
    let network = start();
    let device = network.create_device("pump-1", Some(PLACE));
    let mut client = Raw::subscribed(&network, &[ALL]);
    device.send(
        Uplink::new(2, [1]).fields(json!({"latitude": 52.5, "longitude": 4.75, "altitude": 1})),
    );
    up(&mut client);
    let solved = client.message_on("location/solved");
    let accuracy = ["/location_solved/location/accuracy"];
    assert_shape(&solved, "location-solved-frm-payload", &accuracy);
    assert_eq!(solved["location_solved"]["service"], "frm-payload");
    assert_eq!(solved["location_solved"]["location"]["latitude"], 52.5);
    device.uplink(2, [1]);
    let locations = up(&mut client)["uplink_message"]["locations"].clone();
    assert_eq!(locations["frm-payload"]["source"], "SOURCE_GPS");
    assert_eq!(locations["user"]["source"], "SOURCE_REGISTRY");
    assert_eq!(locations["user"]["latitude"], 52.3731);
    device.send(Uplink::new(2, [1]).location(PLACE));
    assert_eq!(topics(&mut client, 2), ["up", "location/solved"]);
    assert!(network.update_device("pump-1", None));
    device.uplink(2, [1]);
    let locations = up(&mut client)["uplink_message"]["locations"].clone();
    assert!(locations.get("user").is_none());
}

#[test]
fn battery_and_attributes_are_those_of_later_releases() {
    let release = |release| {
        let builder = Simulator::builder(Network::V3).release(release);
        builder.start().unwrap()
    };
    let network = release("3.33.1");
    let (device, mut client) = pump(&network);
    device.send(Uplink::new(2, [1]).counter(97).battery(87.5));
    assert_shape(&up(&mut client), "up-battery-3-33", &[]);
    device.send(Uplink::new(2, [1]));
    let battery = up(&mut client)["uplink_message"]["last_battery_percentage"].clone();
    assert_eq!(
        (&battery["f_cnt"], &battery["value"]),
        (&json!(97), &json!(87.5))
    );
    let network = release("3.34.0");
    let device = network.create_device("pump-1", Some(PLACE));
    let mut client = Raw::subscribed(&network, &[ALL]);
    let named = Uplink::new(2, [1]).counter(1).attribute("row", "7");
    device.send(
        named
            .attribute("installed-by", "J. Doe")
            .attribute("site", "hall-b"),
    );
    assert_shape(&up(&mut client), "up-attributes-3-34", &[]);
    let network = release("3.33.0");
    let (device, mut client) = pump(&network);
    device.send(
        Uplink::new(2, [1])
            .battery(87.5)
            .attribute("site", "hall-b"),
    );
    let message = &up(&mut client)["uplink_message"];
    assert!(message.get("last_battery_percentage").is_none());
    assert!(message.get("attributes").is_none());
}

#[test]
fn the_same_seed_and_time_print_the_same_messages() {
    let run = || {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_747_210_897);
        let network = Simulator::builder(Network::V3)
            .seed(7)
            .fixed_time(time)
            .receive_window(Duration::ZERO)
            .start()
            .unwrap();
        let (device, mut client) = pump(&network);
        device.join();
        let request = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
        let before = client.publish_1(PUSH, request);
        device.uplink(2, [1]);
        (before, [(); 2].map(|()| client.text()))
    };
    assert_eq!(run(), run());
}

// Joins and devices.

#[test]
fn a_join_gives_a_session_that_begins_with_the_next_uplink() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.uplink(1, [1]);
    device.uplink(1, [1]);
    let before = up(&mut client);
    up(&mut client);
    client.publish_1(PUSH, r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#);
    device.join();
    let (topic, join) = client.message();
    assert_eq!(topic, "v3/simulated-app@ttn/devices/pump-1/join");
    assert_shape(&join, "join-accept", &[]);
    assert_eq!(join["end_device_ids"]["dev_addr"], device.dev_addr());
    assert_ne!(
        join["end_device_ids"]["dev_addr"],
        before["end_device_ids"]["dev_addr"]
    );
    assert_eq!(device.queue().len(), 1);
    assert_eq!(device.uplink(1, [1]), 0);
    let first = up(&mut client);
    assert!(first["uplink_message"].get("f_cnt").is_none());
    let key = &first["uplink_message"]["session_key_id"];
    assert_eq!(*key, join["join_accept"]["session_key_id"]);
    assert_ne!(*key, before["uplink_message"]["session_key_id"]);
    let sent = client.message_on("down/sent");
    assert_eq!(sent["downlink_sent"]["session_key_id"], *key);
    assert_eq!(sent["downlink_sent"]["f_cnt"], 1);
}

#[test]
fn an_unanswered_downlink_is_sent_again_in_the_new_session() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(
        PUSH,
        &push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#),
    );
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
    device.join();
    let join = client.message_on("join");
    device.uplink(1, [1]);
    let nack = client.message_on("down/nack");
    assert_eq!(
        nack["end_device_ids"]["dev_addr"],
        join["end_device_ids"]["dev_addr"]
    );
    let attempt = &nack["downlink_nack"]["confirmed_retry"]["attempt"];
    assert_eq!(
        (attempt, &nack["downlink_nack"]["f_cnt"]),
        (&json!(2), &json!(1))
    );
    // It still belongs to the session in which it was sent.
    assert!(nack["downlink_nack"].get("session_key_id").is_none());
    assert_eq!(topics(&mut client, 1), ["up"]);
    let sent = client.message_on("down/sent")["downlink_sent"].clone();
    assert_eq!(
        sent["session_key_id"],
        join["join_accept"]["session_key_id"]
    );
    assert_eq!(sent["f_cnt"], 1);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["down/ack", "up"]);
}

#[test]
fn a_join_that_fails_has_no_message() {
    let network = start();
    let (device, mut client) = pump(&network);
    let before = device.dev_addr();
    device.join_fails("DevNonce is too small");
    network.gateways_down(true);
    device.join();
    client.assert_silent();
    assert_eq!(device.dev_addr(), before);
}

#[test]
fn creating_updating_and_deleting_a_device_has_no_message() {
    let network = start();
    let mut client = Raw::subscribed(&network, &[ALL]);
    let device = network.create_device("pump-1", None);
    assert!(network.update_device("pump-1", Some(PLACE)));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.publish_1(PUSH, r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#);
    assert!(network.delete_device("pump-1"));
    assert!(!network.delete_device("pump-1"));
    assert!(!network.update_device("pump-1", None));
    assert_eq!(device.uplink(1, [1]), 0);
    client.assert_silent();
    assert_eq!((device.dev_eui(), device.queue().len()), (String::new(), 0));
}

#[test]
fn services_speak_for_a_device() {
    let network = start();
    let (device, mut client) = pump(&network);
    let data = fixture("service-data-lora-cloud")["service_data"]["data"].clone();
    device.service_data("lora-cloud-device-management-v1", &data);
    let event = client.message_on("service/data");
    assert_shape(&event, "service-data-lora-cloud", &[]);
    assert_eq!(event["service_data"]["data"], data);
    device.service_data("custom", &Value::Null);
    let event = client.message_on("service/data");
    assert_eq!(event["service_data"], json!({"service": "custom"}));
    device.location_solved("lora-cloud-geolocation-v3", PLACE);
    let event = client.message_on("location/solved");
    assert_shape(
        &event,
        "location-solved-frm-payload",
        &["/location_solved/location/accuracy"],
    );
    assert_eq!(
        event["location_solved"]["service"],
        "lora-cloud-geolocation-v3"
    );
}

#[test]
fn a_queue_can_be_invalidated() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.invalidate_queue();
    let event = client.message_on("down/invalidated");
    assert_shape(&event, "down-queue-invalidated-empty", &[]);
    client.publish_1(PUSH, &request("request-push-many"));
    device.uplink(1, [1]);
    device.uplink(1, [1]);
    topics(&mut client, 4);
    device.invalidate_queue();
    let event = client.message_on("down/invalidated");
    let invalidated = &event["downlink_queue_invalidated"];
    assert_eq!(invalidated["downlinks"][0]["frm_payload"], "Aw==");
    assert_eq!(invalidated["last_f_cnt_down"], 3);
    assert!(device.queue().is_empty());
}

// Downlinks.

fn request(name: &str) -> String {
    fixture(name).to_string()
}

/// Returns one downlink with these members.
fn push(members: &str) -> String {
    format!(r#"{{"downlinks":[{{{members}}}]}}"#)
}

#[test]
fn requests_are_queued_as_recorded() {
    let network = start();
    network.set_encoder(|_port, fields| Ok(vec![fields["valve"].as_u64().unwrap() as u8, 1]));
    let (device, mut client) = pump(&network);
    for (name, recorded, without) in [
        ("request-push-raw", "down-queued", &[][..]),
        (
            "request-priority-misspelt",
            "down-queued-lowest-priority",
            &[],
        ),
        ("request-replace-one", "down-queued-lowest-priority", &[]),
        (
            "request-push-decoded",
            "down-queued-decoded",
            &["/downlink_queued/decoded_payload_warnings"],
        ),
    ] {
        let events = client.publish_1(PUSH, &request(name));
        assert_eq!(events.len(), 1, "{name}");
        assert_shape(&events[0].1, recorded, without);
    }
    let events = client.publish_1(PUSH, &request("request-push-many"));
    let ids = |(_, event): &(String, Value)| event["downlink_queued"]["correlation_ids"].clone();
    let ids: Vec<Value> = events.iter().map(ids).collect();
    assert_eq!(ids.len(), 3);
    for (index, ids) in ids.iter().enumerate() {
        assert!(ids[0].as_str().unwrap().starts_with("as:downlink:"));
        assert_eq!(ids[1], format!("batch-{}/3", index + 1));
    }
    let queue = device.queue();
    assert_eq!(queue.len(), 7);
    assert_eq!(
        (queue[3].port, queue[3].payload.clone()),
        (2, Some(vec![3, 1]))
    );
    let unconfirmed = r#""f_port":1,"frm_payload":"AQ==","confirmed_retry":{"attempt":1}"#;
    let events = client.publish_1(PUSH, &push(unconfirmed));
    assert_eq!(
        events[0].1["downlink_queued"]["confirmed_retry"],
        json!({"attempt": 1})
    );
    let events = client.publish_1(PUSH, &request("request-push-confirmed"));
    let retry = &events[0].1["downlink_queued"]["confirmed_retry"];
    assert_eq!(*retry, json!({"max_attempts": 3}));
}

#[test]
fn a_request_over_http_is_named_in_its_correlation_ids() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let item = json!({"f_port": 1, "frm_payload": "AQ==", "correlation_ids": ["mine"]});
    let call = |call: &str| format!("rpc:/ttn.lorawan.v3.AppAs/{call}:");
    assert!(device.push_over_http(&json!({"downlinks": [item, item]})));
    let first = client.message_on("down/queued")["correlation_ids"].clone();
    let second = client.message_on("down/queued")["correlation_ids"].clone();
    assert_eq!((&first[1], &first[2]), (&json!("mine"), &second[2]));
    assert_ne!(first[0], second[0]);
    let id = first[2].as_str().unwrap();
    assert!(id.starts_with(&call("DownlinkQueuePush")), "{id}");
    assert!(device.replace_over_http(&json!({"downlinks": [item]})));
    let replaced = client.message_on("down/queued")["correlation_ids"].clone();
    let id = replaced[2].as_str().unwrap();
    assert!(id.starts_with(&call("DownlinkQueueReplace")), "{id}");
    assert!(!device.push_over_http(&json!({"downlinks": [{"f_port": 0, "frm_payload": "AQ=="}]})));
    assert_failed(
        &client.message_on("down/failed"),
        "applicationserver",
        "no_f_port",
        3,
    );
    device.uplink(1, [1]);
    let sent = client.message_on("down/sent")["downlink_sent"]["correlation_ids"].to_string();
    assert!(sent.contains(id), "{sent}");
}

#[test]
fn replace_swaps_the_queue_and_push_appends_to_it() {
    let network = start();
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, &request("request-push-many"));
    client.publish_1(PUSH, &request("request-push-raw"));
    assert_eq!(device.queue().len(), 4);
    assert_eq!(
        client
            .publish_1(REPLACE, &request("request-replace-one"))
            .len(),
        1
    );
    assert_eq!(device.queue().len(), 1);
    for nothing in [
        r#"{"downlinks":[]}"#,
        "{}",
        r#"{"downlink":[{"f_port":1}]}"#,
    ] {
        assert_eq!(client.publish_1(PUSH, nothing), []);
        assert_eq!(device.queue().len(), 1, "{nothing}");
    }
    for nothing in [
        r#"{"downlinks":[]}"#,
        "{}",
        r#"{"downlink":[{"f_port":1}]}"#,
    ] {
        client.publish_1(PUSH, &request("request-push-raw"));
        assert_eq!(client.publish_1(REPLACE, nothing), []);
        assert!(device.queue().is_empty(), "{nothing}");
    }
}

#[test]
fn a_request_that_cannot_be_read_leaves_no_trace() {
    let network = start();
    network.set_encoder(|_port, fields| match fields["led"].as_bool() {
        Some(on) => Ok(vec![u8::from(on)]),
        None => panic!("led is not a boolean"),
    });
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, &request("request-push-raw"));
    let mut unreadable: Vec<String> = [
        "request-dropped-port-224",
        "request-dropped-gateway-id",
        "request-dropped-no-payload",
        "request-dropped-correlation-id",
        "request-dropped-eui-as-hex",
    ]
    .map(request)
    .to_vec();
    unreadable.extend(
        [
            "",
            "[]",
            "null",
            "1",
            "not JSON",
            "{",
            r#"{"downlinks":{}}"#,
        ]
        .map(str::to_owned),
    );
    unreadable.extend(
        ["[1]", "[null]", "[[]]", "\"x\""].map(|list| format!(r#"{{"downlinks":{list}}}"#)),
    );
    let long = "A".repeat(342);
    unreadable.extend(
        [
            r#""f_port":256,"frm_payload":"AQ==""#,
            r#""f_port":-1,"frm_payload":"AQ==""#,
            r#""f_port":1.5,"frm_payload":"AQ==""#,
            r#""f_port":true,"frm_payload":"AQ==""#,
            r#""f_port":" 1","frm_payload":"AQ==""#,
            r#""f_port":1,"frm_payload":"A""#,
            r#""f_port":1,"frm_payload":"AQ=""#,
            r#""f_port":1,"frm_payload":"+_==""#,
            r#""f_port":1,"frm_payload":[1]"#,
            r#""f_port":1,"frm_payload":null"#,
            &format!(r#""f_port":1,"frm_payload":"{long}""#),
            r#""f_port":1,"decoded_payload":[1]"#,
            r#""f_port":1,"decoded_payload":{"led":true,"led":false}"#,
            r#""f_port":1,"decoded_payload":{"led":1}"#,
            r#""f_port":1,"frm_payload":"AQ==","priority":7"#,
            r#""f_port":1,"frm_payload":"AQ==","priority":-1"#,
            r#""f_port":1,"frm_payload":"AQ==","priority":true"#,
            r#""f_port":1,"frm_payload":"AQ==","confirmed":"true""#,
            r#""f_port":1,"frm_payload":"AQ==","confirmed":1"#,
            r#""f_port":1,"frm_payload":"AQ==","correlation_ids":"a""#,
            r#""f_port":1,"frm_payload":"AQ==","correlation_ids":[1]"#,
            r#""f_port":1,"frm_payload":"","confirmed":true"#,
            r#""f_port":1,"frm_payload":"AQ==","confirmed":true,"confirmed_retry":{"max_attempts":33}"#,
            r#""f_port":1,"frm_payload":"AQ==","confirmed_retry":{"max_attempts":0}"#,
            r#""f_port":1,"frm_payload":"AQ==","class_b_c":{"absolute_time":"tomorrow"}"#,
            r#""f_port":1,"frm_payload":"AQ==","class_b_c":{"gateways":[{}]}"#,
            r#""f_port":1,"frm_payload":"AQ==","f_port":1"#,
            r#""f_port":1,"frm_payload":"AQ==","fPort":1"#,
        ]
        .map(push),
    );
    let good = r#"{"f_port":1,"frm_payload":"AQ=="}"#;
    unreadable.push(format!(
        r#"{{"downlinks":[{good},{{"f_port":224,"frm_payload":"AQ=="}}]}}"#
    ));
    unreadable.push(format!(r#"{{"downlinks":[{good},{{"f_port":1}}]}}"#));
    unreadable.push(format!(r#"{{"downlinks":[{good}],"downlinks":[]}}"#));
    for request in unreadable {
        assert_eq!(client.publish_1(REPLACE, &request), [], "{request}");
        assert_eq!(device.queue().len(), 1, "{request}");
    }
    client.publish(
        PUSH,
        b"{\"downlinks\":[{\"f_port\":1,\"frm_payload\":\"AQ==\",\"x\":\"\xff\"}]}",
    );
    client.assert_silent();
}

#[test]
fn requests_are_read_as_protobuf_reads_json() {
    let network = start();
    let (device, mut client) = pump(&network);
    let id = "é".repeat(100);
    for (request, port, bytes) in [
        (push(r#""f_port":1,"frm_payload":"AQ==""#), 1, vec![1]),
        (push(r#""fPort":2,"frmPayload":"AQ""#), 2, vec![1]),
        (
            push(r#""f_port":"3","frm_payload":"-_8""#),
            3,
            vec![0xfb, 0xff],
        ),
        (
            push(r#""f_port":4.0,"frm_payload":"+/8=""#),
            4,
            vec![0xfb, 0xff],
        ),
        (push(r#""f_port":5e0,"frm_payload":"AR==""#), 5, vec![1]),
        (
            push(r#""f_port":6,"frm_payload":"","decoded_payload":{"a":1}"#),
            6,
            vec![],
        ),
        (
            push(r#""f_port":255,"frm_payload":"AQ==","x":1,"x":{"y":2}"#),
            255,
            vec![1],
        ),
        (
            push(r#""f_port":7,"frm_payload":"AQ==","priority":null,"confirmed":null"#),
            7,
            vec![1],
        ),
        (
            push(r#""f_port":8,"frm_payload":"AQ==","priority":6"#),
            8,
            vec![1],
        ),
        (push(r#""f_port":9,"decoded_payload":{}"#), 9, vec![]),
        (
            push(r#""f_port":10,"frm_payload":"AQ==""#) + "} and more",
            10,
            vec![1],
        ),
        (
            push(&format!(
                r#""f_port":11,"frm_payload":"AQ==","correlationIds":["{id}"]"#
            )),
            11,
            vec![1],
        ),
    ] {
        let events = client.publish_1(REPLACE, &request);
        assert_eq!(events.len(), 1, "{request}");
        let queue = device.queue();
        assert_eq!(queue.len(), 1, "{request}");
        assert_eq!(
            (queue[0].port, queue[0].payload.clone()),
            (port, Some(bytes)),
            "{request}"
        );
    }
}

#[test]
fn fields_are_encoded_on_arrival() {
    let network = start();
    let (device, mut client) = pump(&network);
    let fields = |port: u8| {
        push(&format!(
            r#""f_port":{port},"decoded_payload":{{"led":true}}"#
        ))
    };
    let events = client.publish_1(PUSH, &fields(2));
    assert_eq!(
        events[0].1["downlink_queued"]["decoded_payload"],
        json!({"led": true})
    );
    assert_eq!(device.queue()[0].payload, Some(Vec::new()));
    let no_port = client.publish_1(PUSH, &fields(0));
    assert_failed(&no_port[0].1, "applicationserver", "no_f_port", 3);
    network.set_encoder(|port, fields| Ok(vec![port, u8::from(fields["led"] == true)]));
    client.publish_1(PUSH, &fields(0));
    assert_eq!(device.queue()[1].port, 1);
    assert_eq!(device.queue()[1].payload, Some(vec![0, 1]));
    network.set_encoder(|_port, _fields| Err::<Vec<u8>, _>("out of range".into()));
    assert_eq!(client.publish_1(PUSH, &fields(2)), []);
    device.uplink(1, [1]);
    let sent = client.message_on("down/sent");
    assert!(sent["downlink_sent"].get("decoded_payload").is_none());
    network.set_encoder(|_port, _fields| Ok(vec![1]));
    let confirmed = push(r#""f_port":1,"decoded_payload":{"led":true},"confirmed":true"#);
    client.publish_1(REPLACE, &confirmed);
    device.uplink(1, [1]);
    client.message_on("down/sent");
    device.uplink(1, [1]);
    let ack = client.message_on("down/ack");
    assert!(ack["downlink_ack"].get("decoded_payload").is_none());
}

#[test]
fn every_item_of_a_refused_request_fails() {
    let network = start();
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, &request("request-push-raw"));
    let good = r#""f_port":15,"frm_payload":"vu8=","priority":"NORMAL""#;
    let no_port = r#""frm_payload":"vu8=""#;
    let long = format!(r#""f_port":15,"frm_payload":"{}""#, "AAAA".repeat(81));
    let expired =
        r#""f_port":15,"frm_payload":"vu8=","class_b_c":{"absolute_time":"2025-05-14T08:00:00Z"}"#;
    let session = [
        "/downlink_failed/downlink/session_key_id",
        "/downlink_failed/downlink/f_cnt",
    ];
    for (item, namespace, name, code, recorded, without) in [
        (
            no_port,
            "applicationserver",
            "no_f_port",
            3,
            "down-failed-no-port",
            &[][..],
        ),
        (
            &long,
            "networkserver",
            "application_downlink_too_long",
            3,
            "down-failed-too-long",
            &[],
        ),
        (
            expired,
            "networkserver",
            "downlink_expired",
            9,
            "down-failed-expired",
            &session,
        ),
    ] {
        let request = format!(r#"{{"downlinks":[{{{item}}},{{{good}}}]}}"#);
        let events = client.publish_1(REPLACE, &request);
        assert_eq!(events.len(), 2, "{name}");
        for (topic, event) in &events {
            assert!(topic.ends_with("/down/failed"));
            assert_failed(event, namespace, name, code);
        }
        assert_shape(&events[0].1, recorded, without);
        let error = &events[0].1["downlink_failed"]["error"];
        let format = &fixture(recorded)["downlink_failed"]["error"]["message_format"];
        assert_eq!(error["message_format"], *format);
        let ids = &events[0].1["downlink_failed"]["downlink"]["correlation_ids"];
        assert_eq!(*ids, events[0].1["correlation_ids"]);
        assert_eq!(device.queue().len(), 1, "the queue stays");
    }
    let events = client.publish_1(PUSH, &push(&long));
    let attributes = &events[0].1["downlink_failed"]["error"]["attributes"];
    assert_eq!(*attributes, json!({"length": 243, "max": "242"}));
    let longest = format!(r#""f_port":15,"frm_payload":"{}AAA=""#, "AAAA".repeat(80));
    assert!(
        client.publish_1(PUSH, &push(&longest))[0]
            .0
            .ends_with("/down/queued")
    );
}

#[test]
fn a_device_without_session_is_not_heard_and_has_no_queue() {
    let network = start();
    let (device, mut client) = pump(&network);
    device.forget_session();
    assert_eq!(device.uplink(1, [1]), 0);
    client.assert_silent();
    let events = client.publish_1(PUSH, &request("request-push-raw"));
    assert_failed(&events[0].1, "applicationserver", "no_device_session", 9);
    assert_shape(
        &events[0].1,
        "down-failed-no-session",
        &["/end_device_ids/dev_addr"],
    );
    device.join();
    assert_eq!(topics(&mut client, 1), ["join"]);
    let events = client.publish_1(PUSH, &request("request-push-raw"));
    assert!(events[0].0.ends_with("/down/queued"));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
}

#[test]
fn a_full_queue_refuses_the_whole_request() {
    let network = start();
    network.quirks(|quirks| quirks.downlink_queue = 3);
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, &request("request-push-raw"));
    let events = client.publish_1(PUSH, &request("request-push-many"));
    assert_eq!(events.len(), 3);
    assert_failed(&events[0].1, "networkserver", "downlink_queue_capacity", 8);
    assert_shape(
        &events[0].1,
        "down-failed-queue-full",
        &["/downlink_failed/downlink/priority"],
    );
    assert_eq!(device.queue().len(), 1);
    client.publish_1(REPLACE, &request("request-push-many"));
    assert_eq!(device.queue().len(), 3);
}

#[test]
fn each_uplink_of_class_a_takes_one_downlink() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, &request("request-push-many"));
    client.publish_1(
        PUSH,
        &push(r#""f_port":1,"frm_payload":"AQ==","priority":"HIGHEST""#),
    );
    for counter in 1..=4 {
        device.uplink(1, [1]);
        assert_eq!(topics(&mut client, 1), ["up"]);
        let sent = client.message_on("down/sent")["downlink_sent"].clone();
        assert_eq!(sent["f_cnt"], counter);
        assert_eq!(device.next_downlink(LONG).unwrap().counter, counter);
        if counter == 4 {
            assert_eq!(sent["priority"], "HIGH", "the server's maximum");
        }
    }
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.assert_silent();
}

#[test]
fn a_sent_downlink_looks_as_recorded() {
    let network = instant();
    let (device, mut client) = pump(&network);
    for _ in 0..2 {
        client.publish_1(PUSH, &request("request-push-raw"));
        device.uplink(1, [1]);
    }
    assert_shape(&client.message_on("down/sent"), "down-sent", &[]);
}

#[test]
fn an_unanswered_downlink_is_sent_eight_times() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.stops_acknowledging(true);
    device.uplink(1, [1]);
    topics(&mut client, 1);
    let confirmed = r#""f_port":15,"frm_payload":"vu8=","confirmed":true,"priority":"HIGH""#;
    client.publish_1(PUSH, &push(confirmed));
    client.publish_1(PUSH, r#"{"downlinks":[]}"#);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
    for attempt in 2..=8 {
        device.uplink(1, [1]);
        let nack = client.message_on("down/nack");
        assert_eq!(
            nack["downlink_nack"]["confirmed_retry"],
            json!({"attempt": attempt})
        );
        assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
    }
    assert!(device.in_progress().is_some());
    device.uplink(1, [1]);
    let (topic, failed) = client.message();
    assert!(topic.ends_with("/down/failed"));
    assert_failed(&failed, "applicationserver", "max_retries_reached", 10);
    assert_eq!(
        failed["downlink_failed"]["downlink"]["confirmed_retry"],
        json!({"attempt": 9})
    );
    let nack = client.message_on("down/nack");
    assert_shape(&nack, "down-nack", &[]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    assert_eq!((device.in_progress(), device.queue().len()), (None, 0));
    assert_eq!(device.received().try_iter().count(), 8);
}

#[test]
fn the_retry_limit_of_a_request_counts_from_its_attempt() {
    for (retry, transmissions) in [
        (r#"{"max_attempts":3}"#, 4),
        (r#"{"max_attempts":3,"attempt":1}"#, 3),
        (r#"{"maxAttempts":1,"attempt":1}"#, 1),
        ("{}", 9),
    ] {
        let network = instant();
        let device = network.device("pump-1");
        let mut client = Raw::subscribed(&network, &["v3/+/devices/+/down/+"]);
        device.stops_acknowledging(true);
        let item = format!(
            r#""f_port":1,"frm_payload":"AQ==","confirmed":true,"confirmed_retry":{retry}"#
        );
        client.publish_1(PUSH, &push(&item));
        for _ in 0..transmissions {
            device.uplink(1, [1]);
            client.message_on("down/sent");
        }
        device.uplink(1, [1]);
        let failed = client.message_on("down/failed");
        assert_failed(&failed, "applicationserver", "max_retries_reached", 10);
        if retry == "{}" {
            assert_shape(&failed, "down-failed-max-retries", &[]);
        }
        client.message_on("down/nack");
        assert_eq!(
            device.received().try_iter().count(),
            transmissions,
            "{retry}"
        );
    }
}

#[test]
fn a_nacked_downlink_goes_to_the_end_of_the_queue() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.stops_acknowledging(true);
    client.publish_1(
        PUSH,
        &push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#),
    );
    device.uplink(1, [1]);
    topics(&mut client, 2);
    client.publish_1(REPLACE, &push(r#""f_port":2,"frm_payload":"Ag==""#));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 3), ["down/nack", "up", "down/sent"]);
    let ports = |device: &Device| {
        device
            .received()
            .try_iter()
            .map(|got| got.port)
            .collect::<Vec<_>>()
    };
    assert_eq!(ports(&device), [1, 2]);
    device.stops_acknowledging(false);
    device.uplink(1, [1]);
    device.uplink(1, [1]);
    assert_eq!(ports(&device), [1]);
    assert_eq!(
        topics(&mut client, 4),
        ["up", "down/sent", "down/ack", "up"]
    );
}

#[test]
fn a_transmission_can_fail() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, &request("request-push-many"));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
    device.next_downlink(LONG).unwrap();
    network.transmission_fails(Some("TOO_LATE"));
    device.uplink(1, [1]);
    let failed = client.message_on("down/failed");
    assert_failed(&failed, "networkserver", "transmission", 2);
    let attributes = &failed["downlink_failed"]["error"]["attributes"];
    assert_eq!(*attributes, json!({"result": "TOO_LATE"}));
    assert_shape(
        &failed,
        "down-failed-transmission",
        &["/downlink_failed/downlink/priority"],
    );
    assert_eq!(device.next_downlink(Duration::ZERO), None);
    network.transmission_fails(None);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
}

#[test]
fn a_confirmed_downlink_that_was_not_transmitted_is_nacked() {
    let network = instant();
    let (device, mut client) = pump(&network);
    network.transmission_fails(Some("TOO_LATE"));
    client.publish_1(
        PUSH,
        &push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#),
    );
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/failed"]);
    network.transmission_fails(None);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 3), ["down/nack", "up", "down/sent"]);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["down/ack", "up"]);
}

#[test]
fn only_a_confirmed_downlink_is_acknowledged() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, &request("request-push-raw"));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
    network.transmission_fails(Some("TOO_LATE"));
    client.publish_1(
        PUSH,
        &push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#),
    );
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/failed"]);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 3), ["down/nack", "up", "down/failed"]);
}

#[test]
fn a_gateway_may_report_nothing() {
    let network = instant();
    let (device, mut client) = pump(&network);
    network.gateways_silent(true);
    client.publish_1(
        PUSH,
        &push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#),
    );
    device.uplink(1, [1]);
    assert!(device.next_downlink(LONG).is_some());
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 3), ["up", "down/ack", "up"]);
}

#[test]
fn without_gateways_the_queue_stays() {
    let network = instant();
    let (device, mut client) = pump(&network);
    network.gateways_down(true);
    client.publish_1(PUSH, &request("request-push-raw"));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    network.gateways_down(false);
    device.send(Uplink::new(1, [1]).gateways(0));
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.assert_silent();
    assert_eq!(device.queue().len(), 1);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
}

#[test]
fn the_data_rate_may_allow_less_than_the_band() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let longer = "A".repeat(72);
    client.publish_1(
        PUSH,
        &push(&format!(r#""f_port":1,"frm_payload":"{longer}""#)),
    );
    client.publish_1(PUSH, &push(r#""f_port":1,"frm_payload":"AQ==""#));
    device.send(Uplink::new(1, [1]).data_rate("SF12BW125"));
    client.message_on("down/sent");
    let failed = client.message_on("down/failed");
    let attributes = &failed["downlink_failed"]["error"]["attributes"];
    assert_eq!(*attributes, json!({"length": 54, "max": "51"}));
    assert_eq!(failed["downlink_failed"]["downlink"]["f_cnt"], 1);
    assert!(failed["end_device_ids"]["dev_addr"].is_string());
    assert_eq!(device.next_downlink(LONG).unwrap().payload, [1]);
}

#[test]
fn an_application_can_answer_in_the_same_receive_window() {
    let network = start();
    let (device, mut client) = pump(&network);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.publish_1(PUSH, &request("request-push-raw"));
    assert_eq!(topics(&mut client, 1), ["down/sent"]);
    assert!(device.next_downlink(LONG).is_some());
}

// Classes B and C.

/// Makes it a class C device that the network has heard.
fn always_listening(network: &Simulator) -> (Device, Raw) {
    let (device, mut client) = pump(network);
    device.class_c(true);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    (device, client)
}

#[test]
fn a_class_c_device_gets_downlinks_at_once() {
    let network = instant();
    let (device, mut client) = always_listening(&network);
    let topic = |(topic, _): (String, Value)| topic.rsplit('/').next().unwrap().to_owned();
    let events = client.publish_1(PUSH, &request("request-push-many"));
    let events: Vec<String> = events.into_iter().map(topic).collect();
    assert_eq!(
        events,
        ["queued", "queued", "queued", "sent", "sent", "sent"]
    );
    assert_eq!(device.received().try_iter().count(), 3);
    let confirmed = push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#);
    assert_eq!(client.publish_1(PUSH, &confirmed).len(), 2);
    assert_eq!(
        client.publish_1(PUSH, &confirmed).len(),
        1,
        "one is unanswered"
    );
    client.assert_silent();
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 3), ["down/ack", "up", "down/sent"]);
}

#[test]
fn downlinks_of_class_c_are_as_far_apart_as_the_receive_window_is_long() {
    let window = Duration::from_millis(150);
    let network = Simulator::builder(Network::V3)
        .receive_window(window)
        .start()
        .unwrap();
    let (_device, mut client) = always_listening(&network);
    let begun = Instant::now();
    client.publish_1(PUSH, &request("request-push-many"));
    assert_eq!(topics(&mut client, 3), ["down/sent"; 3]);
    assert!(begun.elapsed() >= 2 * window);
}

#[test]
fn a_class_c_device_that_was_never_heard_is_sent_nothing() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.class_c(true);
    client.publish_1(PUSH, &request("request-push-raw"));
    client.assert_silent();
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
}

#[test]
fn a_class_c_device_that_does_not_answer_in_time_is_sent_the_next_one() {
    let network = instant();
    let (device, mut client) = always_listening(&network);
    device.class_c_timeout(Duration::from_millis(300));
    device.stops_acknowledging(true);
    let item = |port: u8| {
        push(&format!(
            r#""f_port":{port},"frm_payload":"AQ==","confirmed":true"#
        ))
    };
    assert_eq!(client.publish_1(PUSH, &item(1)).len(), 2);
    assert_eq!(client.publish_1(PUSH, &item(2)).len(), 1);
    client.publish_1(PUSH, &push(r#""f_port":3,"frm_payload":"AQ==""#));
    let mut sent = || client.message_on("down/sent")["downlink_sent"]["f_port"].clone();
    assert_eq!([sent(), sent()], [2, 3].map(Value::from));
    device.uplink(1, [1]);
    let nack = client.message_on("down/nack");
    assert_eq!(nack["downlink_nack"]["f_port"], 2, "the first is forgotten");
}

#[test]
fn a_class_c_queue_waits_for_gateways_and_for_the_class() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.publish_1(PUSH, &request("request-push-raw"));
    device.class_c(true);
    assert_eq!(topics(&mut client, 1), ["down/sent"]);
    network.gateways_down(true);
    client.publish_1(PUSH, &request("request-push-raw"));
    client.assert_silent();
    network.gateways_down(false);
    assert_eq!(topics(&mut client, 1), ["down/sent"]);
    device.join();
    assert_eq!(topics(&mut client, 1), ["join"]);
    client.publish_1(PUSH, &request("request-push-raw"));
    client.assert_silent();
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
}

#[test]
fn a_device_that_no_longer_listens_is_sent_nothing_without_an_uplink() {
    let network = start();
    let (device, mut client) = always_listening(&network);
    client.publish_1(PUSH, &request("request-push-many"));
    assert_eq!(topics(&mut client, 1), ["down/sent"]);
    device.class_c(false);
    client.assert_silent();
    assert_eq!(device.queue().len(), 2);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
}

#[test]
fn named_gateways_are_for_classes_b_and_c() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let by = |gateway: &str| {
        push(&format!(
            r#""f_port":1,"frm_payload":"AQ==","class_b_c":{{"gateways":[
            {{"gateway_ids":{{"gateway_id":"{gateway}","eui":"WKDL//6AqhE="}},"antenna_index":1}}]}}"#
        ))
    };
    let events = client.publish_1(PUSH, &by("eui-58a0cbfffe80aa11"));
    let class_b_c = &events[0].1["downlink_queued"]["class_b_c"];
    let ids = json!({"gateway_id": "eui-58a0cbfffe80aa11", "eui": "58A0CBFFFE80AA11"});
    assert_eq!(
        *class_b_c,
        json!({"gateways": [{"gateway_ids": ids, "antenna_index": 1}]})
    );
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.assert_silent();
    device.class_c(true);
    let sent = client.message_on("down/sent");
    assert!(sent["downlink_sent"].get("class_b_c").is_none());
    let events = client.publish_1(PUSH, &by("no-such-gateway"));
    let error = &events[1].1["downlink_failed"]["error"];
    assert_eq!(
        (&error["name"], &error["code"]),
        (&json!("fixed_paths"), &json!(3))
    );
    assert!(error.get("correlation_id").is_none());
    let named = "/downlink_failed/downlink/class_b_c/gateways/0";
    let mut failed = events[1].1.clone();
    let gateway = failed.pointer_mut(named).unwrap().as_object_mut().unwrap();
    gateway.remove("antenna_index");
    gateway["gateway_ids"]
        .as_object_mut()
        .unwrap()
        .remove("eui");
    let without = ["/downlink_failed/error/correlation_id"];
    assert_shape(&failed, "down-failed-fixed-paths", &without);
}

/// Returns a downlink for a time that far ahead.
fn timed(ahead: Duration) -> String {
    let time = humantime::format_rfc3339_millis(SystemTime::now() + ahead);
    let class_b_c = format!(r#""class_b_c":{{"absolute_time":"{time}"}}"#);
    push(&format!(r#""f_port":1,"frm_payload":"AQ==",{class_b_c}"#))
}

fn heard_by_gps() -> Uplink {
    Uplink::new(1, [1]).heard_by(Gateway::new("roof-east").gps(true))
}

#[test]
fn a_downlink_for_a_time_leaves_before_it_and_holds_up_the_next() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.class_c(true);
    device.send(heard_by_gps());
    assert_eq!(topics(&mut client, 1), ["up"]);
    let begun = Instant::now();
    let ahead = Duration::from_secs(6);
    let events = client.publish_1(PUSH, &timed(ahead));
    assert_eq!(events.len(), 1);
    client.publish_1(PUSH, &request("request-push-raw"));
    assert_eq!(topics(&mut client, 1), ["down/sent"]);
    // The time is printed in whole milliseconds.
    let elapsed = begun.elapsed() + Duration::from_millis(1);
    assert!((1..5).contains(&elapsed.as_secs()));
    let (topic, _) = client.message();
    assert!(topic.ends_with("down/sent"));
    assert!(begun.elapsed() + Duration::from_millis(1) >= ahead);
}

#[test]
fn a_downlink_for_a_time_needs_notice_and_a_gateway_with_gps() {
    let network = instant();
    let (device, mut client) = always_listening(&network);
    let events = client.publish_1(PUSH, &timed(Duration::from_secs(2)));
    assert_failed(&events[0].1, "networkserver", "downlink_expired", 9);
    let events = client.publish_1(PUSH, &timed(Duration::from_secs(4)));
    let error = &events[1].1["downlink_failed"]["error"];
    assert_eq!(
        (&error["name"], &error["code"]),
        (&json!("absolute_time"), &json!(3))
    );
    assert!(error.get("correlation_id").is_none());
    device.send(heard_by_gps());
    assert_eq!(topics(&mut client, 1), ["up"]);
    let events = client.publish_1(PUSH, &timed(Duration::from_secs(4)));
    assert!(events[1].0.ends_with("/down/sent"));
}

#[test]
fn a_time_may_be_given_in_any_zone() {
    let network = start();
    let (device, mut client) = pump(&network);
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let item = |offset: &str| {
        let class_b_c = format!(
            r#""class_b_c":{{"absolute_time":"{}{offset}"}}"#,
            &now[..23]
        );
        push(&format!(r#""f_port":1,"frm_payload":"AQ==",{class_b_c}"#))
    };
    let events = client.publish_1(PUSH, &item("+00:30"));
    assert_failed(&events[0].1, "networkserver", "downlink_expired", 9);
    let events = client.publish_1(PUSH, &item("-00:30"));
    assert!(events[0].0.ends_with("/down/queued"));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.assert_silent();
    assert_eq!(device.queue().len(), 1, "class A has no such slot");
}

#[test]
fn a_downlink_of_class_a_whose_time_passed_makes_room_for_the_next() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let ahead = Duration::from_millis(2_700);
    let begun = Instant::now();
    assert_eq!(client.publish_1(PUSH, &timed(ahead)).len(), 1);
    client.publish_1(PUSH, &request("request-replace-one"));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    let left = (ahead + SHORT).saturating_sub(begun.elapsed());
    assert_eq!(client.try_packet(left), Err(false));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
    let failed = client.message_on("down/failed");
    let ids = failed["correlation_ids"].to_string();
    assert!(
        ids.contains("gs:uplink:") && !ids.contains("as:up:"),
        "{ids}"
    );
    assert_eq!(
        failed["downlink_failed"]["error"]["name"],
        "downlink_expired"
    );
    let without = ["/downlink_failed/error/correlation_id"];
    assert_shape(&failed, "down-failed-expired", &without);
}

// Reports about downlinks: late, swapped, or missing.

const DELAY: Duration = Duration::from_millis(300);

#[test]
fn what_is_said_of_downlinks_can_be_late_and_keeps_its_order() {
    let network = instant();
    network.quirks(|quirks| quirks.event_delay = DELAY);
    let (device, mut client) = pump(&network);
    let begun = Instant::now();
    let before_puback = client.publish_1(PUSH, &push(r#""f_port":1,"frm_payload":"AQ==""#));
    assert_eq!(before_puback, []);
    device.uplink(1, [1]);
    device.invalidate_queue();
    let all = ["up", "down/queued", "down/sent", "down/invalidated"];
    assert_eq!(topics(&mut client, 2), all[..2]);
    assert!(begun.elapsed() >= DELAY);
    assert_eq!(topics(&mut client, 2), all[2..]);
    // The device received it in time.
    assert!(device.next_downlink(Duration::ZERO).is_some());
    network.quirks(|quirks| quirks.event_delay = Duration::ZERO);
    let before_puback = client.publish_1(PUSH, &push(r#""f_port":1,"frm_payload":"AQ==""#));
    assert!(before_puback[0].0.ends_with("down/queued"));
}

#[test]
fn nobody_waits_for_what_is_held_back() {
    let network = start();
    network.quirks(|quirks| quirks.event_delay = Duration::from_secs(3600));
    let (device, mut client) = pump(&network);
    let begun = Instant::now();
    for _ in 0..3 {
        client.publish_1(PUSH, &push(r#""f_port":1,"frm_payload":"AQ==""#));
    }
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    assert!(device.next_downlink(LONG).is_some());
    network.stop();
    assert!(begun.elapsed() < LONG);
}

#[test]
fn each_two_messages_about_downlinks_can_be_exchanged() {
    let network = instant();
    network.add_application("other-app@ttn", KEY);
    network.quirks(|quirks| {
        quirks.shuffle_events = true;
        quirks.event_delay = Duration::from_secs(1);
    });
    let (device, mut client) = pump(&network);
    let others = network.device_of("other-app@ttn", "pump-1");
    let confirmed = push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#);
    assert_eq!(client.publish_1(PUSH, &confirmed), []);
    // A message of another application is not one of the two.
    others.invalidate_queue();
    device.uplink(1, [1]);
    let exchanged = ["up", "down/sent", "down/queued"];
    assert_eq!(topics(&mut client, 3), exchanged);
    let begun = Instant::now();
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/ack"]);
    assert!(begun.elapsed() >= Duration::from_secs(1));

    network.quirks(|quirks| quirks.event_delay = Duration::ZERO);
    client.publish_1(PUSH, &confirmed);
    let begun = Instant::now();
    assert_eq!(topics(&mut client, 1), ["down/queued"]);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn what_becomes_of_downlinks_can_be_kept_secret() {
    let network = instant();
    network.quirks(|quirks| quirks.lose_events = true);
    let (device, mut client) = pump(&network);
    let confirmed = push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#);
    assert_eq!(client.publish_1(PUSH, &confirmed), []);
    client.publish_1(PUSH, &push(r#""frm_payload":"AQ==""#));
    assert_eq!(device.queue().len(), 1);
    device.uplink(1, [1]);
    assert!(device.next_downlink(Duration::ZERO).is_some());
    device.uplink(1, [1]);
    assert_eq!(device.in_progress(), None);
    assert_eq!(topics(&mut client, 2), ["up", "up"]);
    client.assert_silent();
}

#[test]
fn a_publish_above_the_rate_of_its_key_is_lost_and_ends_its_connection() {
    let network = start();
    network.add_key(APP, "NNSXS.OTHER.KEY", Rights::ALL);
    let rate = PublishRate {
        per_minute: 0,
        burst: 3,
    };
    network.quirks(|quirks| quirks.publish_rate = Some(rate));
    let device = network.device("pump-1");
    let request = push(r#""f_port":1,"frm_payload":"AQ==""#);
    let mut first = Raw::connect(&network);
    let mut second = Raw::connect(&network);
    let mut other = Raw::hello(
        &network,
        &Hello {
            password: Some("NNSXS.OTHER.KEY"),
            ..Hello::of(&network)
        },
    );
    assert_eq!(other.packet(), [0x20, 2, 0, 0]);
    first.publish_1(PUSH, &request);
    second.publish_1(PUSH, &request);
    // It counts whatever its topic.
    first.publish_1("v3/x", "");
    second.write(&frame(
        0x32,
        &[&string(PUSH), &[0, 8][..], request.as_bytes()].concat(),
    ));
    second.assert_closed();
    assert_eq!(device.queue().len(), 2);
    other.publish_1(PUSH, &request);
    assert_eq!(device.queue().len(), 3);
    // A new connection does not raise the limit.
    let mut third = Raw::connect(&network);
    third.publish(PUSH, request.as_bytes());
    third.assert_closed();
    first.publish(PUSH, request.as_bytes());
    first.assert_closed();
    assert_eq!(device.queue().len(), 3);
}

#[test]
fn a_rate_of_publishes_comes_back_by_itself() {
    let network = start();
    let rate = PublishRate {
        per_minute: 60,
        burst: 1,
    };
    network.quirks(|quirks| quirks.publish_rate = Some(rate));
    let device = network.device("pump-1");
    let request = push(r#""f_port":1,"frm_payload":"AQ==""#);
    let mut client = Raw::connect(&network);
    for count in 1..=3 {
        client.publish_1(PUSH, &request);
        assert_eq!(device.queue().len(), count);
        crate::support::resources::pause(Duration::from_millis(1010));
    }
}
