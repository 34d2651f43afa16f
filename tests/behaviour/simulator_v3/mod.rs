//! The simulated network of The Things Stack, tested by bytes on a socket.

mod classes;
mod connections;
mod devices;
mod downlinks;
mod formatters;
mod keys;
mod quirks;
mod requests;
mod rules;
mod uplinks;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;
use ttn::Network;
use ttn::simulator::{Device, Location, Simulator};

use crate::support::raw::Raw;

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

fn up(client: &mut Raw) -> Value {
    let (topic, up) = client.message();
    assert_eq!(topic, "v3/simulated-app@ttn/devices/pump-1/up");
    up
}

fn request(name: &str) -> String {
    fixture(name).to_string()
}

/// Returns one downlink with these members.
fn push(members: &str) -> String {
    format!(r#"{{"downlinks":[{{{members}}}]}}"#)
}

/// Starts a network with another seed each time, which sends downlinks before `uplink` returns.
fn stage() -> (Simulator, Device, Raw) {
    let network = Simulator::builder(Network::V3)
        .receive_window(Duration::ZERO)
        .start()
        .unwrap();
    let (device, client) = pump(&network);
    (network, device, client)
}

/// Returns the end of the topic and the body of the next message.
fn next(client: &mut Raw) -> (String, Value) {
    let (topic, message) = client.message();
    let kind = topic.split('/').skip(4).collect::<Vec<_>>().join("/");
    let bodies = [
        "uplink_message",
        "uplink_normalized",
        "location_solved",
        "downlink_queued",
        "downlink_sent",
        "downlink_failed",
        "downlink_ack",
    ];
    let body = bodies.iter().find_map(|name| message.get(name));
    (kind, body.cloned().unwrap_or(message))
}

fn uplink_message(client: &mut Raw) -> Value {
    let (kind, body) = next(client);
    assert_eq!(kind, "up");
    body
}
