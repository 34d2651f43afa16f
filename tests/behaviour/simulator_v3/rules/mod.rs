//! Rules of The Things Stack that no recording shows: each test says what the real server must send.

mod classes;
mod devices;
mod downlinks;

use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use ttn::Network;
use ttn::simulator::{Device, Simulator, SimulatorBuilder};

use crate::support::raw::Raw;

/// A network with a device and a client.
struct Field {
    network: Simulator,
    device: Device,
    client: Raw,
    /// The session key ids and the addresses in the order of their appearance.
    sessions: Vec<String>,
    addresses: Vec<String>,
}

impl Field {
    fn of(builder: SimulatorBuilder) -> Self {
        let network = builder
            .application("barn", "NNSXS.KEY.SECRET")
            .start()
            .unwrap();
        Self {
            device: network.device("pump-1"),
            client: Raw::subscribed(&network, &["#"]),
            network,
            sessions: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// Starts a network that sends downlinks before `uplink` returns.
    fn new() -> Self {
        Self::of(Simulator::builder(Network::V3).receive_window(Duration::ZERO))
    }

    fn class_c() -> Self {
        let field = Self::new();
        field.device.class_c(true);
        field
    }

    fn request(&mut self, operation: &str, items: &[Value]) {
        let topic = format!("v3/barn/devices/pump-1/down/{operation}");
        let request = json!({"downlinks": items}).to_string();
        self.client.publish(&topic, request.as_bytes());
    }

    fn push(&mut self, items: &[Value]) {
        self.request("push", items);
    }

    /// Returns the next messages, as many as there are lines, and compares them with the lines.
    #[track_caller]
    fn expect<const N: usize>(&mut self, lines: [&str; N]) -> Vec<Value> {
        let messages: Vec<(String, Value)> = (0..N).map(|_| self.client.message()).collect();
        let found: Vec<String> = messages
            .iter()
            .map(|(topic, message)| self.line(topic, message))
            .collect();
        assert_eq!(found, lines);
        messages.into_iter().map(|(_, message)| message).collect()
    }

    #[track_caller]
    fn expect_silence(&mut self) {
        self.client.assert_silent();
    }

    /// Returns kind, FPort, and what else a message has: counter, attempt, priority, error, session
    /// and address.
    fn line(&mut self, topic: &str, message: &Value) -> String {
        let kind = topic.split('/').skip(4).collect::<Vec<_>>().join("/");
        let members = message.as_object().unwrap();
        let body = members.iter().find_map(|(name, body)| {
            let is_body = !["end_device_ids", "correlation_ids"].contains(&name.as_str());
            (is_body && body.is_object()).then_some(body)
        });
        let body = body.unwrap();
        let downlink = body.get("downlink").unwrap_or(body);
        let number = |name: &str, value: &Value| {
            let number = value.as_u64();
            number.map_or_else(String::new, |number| format!(" {name}{number}"))
        };
        let word = |value: &Value| {
            let word = value.as_str();
            word.map_or_else(String::new, |word| format!(" {word}"))
        };
        let address = &message["end_device_ids"]["dev_addr"];
        [
            kind,
            number("", &downlink["f_port"]),
            number("#", &downlink["f_cnt"]),
            number("attempt ", &downlink["confirmed_retry"]["attempt"]),
            word(&downlink["priority"]),
            word(&body["error"]["name"]),
            numbered("s", &mut self.sessions, &downlink["session_key_id"]),
            numbered("a", &mut self.addresses, address),
        ]
        .concat()
    }
}

fn numbered(name: &str, known: &mut Vec<String>, id: &Value) -> String {
    let Some(id) = id.as_str() else {
        return String::new();
    };
    let index = known.iter().position(|other| other == id);
    let index = index.unwrap_or_else(|| {
        known.push(id.to_owned());
        known.len() - 1
    });
    format!(" {name}{}", index + 1)
}

fn item(port: u8) -> Value {
    json!({"f_port": port, "frm_payload": "AQ=="})
}

fn confirmed(port: u8) -> Value {
    json!({"f_port": port, "frm_payload": "AQ==", "confirmed": true})
}

/// Returns a downlink of so many bytes.
fn long(port: u8, length: usize) -> Value {
    json!({"f_port": port, "frm_payload": STANDARD.encode(vec![7; length])})
}

fn with(mut item: Value, member: &str, value: Value) -> Value {
    item[member] = value;
    item
}

fn timed(port: u8, ahead: Duration) -> Value {
    let time = humantime::format_rfc3339_millis(SystemTime::now() + ahead).to_string();
    with(item(port), "class_b_c", json!({"absolute_time": time}))
}

/// Returns the kinds of the correlation ids.
fn kinds(message: &Value) -> Vec<String> {
    let ids = message["correlation_ids"].as_array().unwrap().iter();
    let kind = |id: &Value| id.as_str().unwrap().rsplit_once(':').unwrap().0.to_owned();
    ids.map(kind).collect()
}

fn ids_of(message: &Value, kind: &str) -> Vec<Value> {
    let ids = message["correlation_ids"].as_array().unwrap().iter();
    ids.filter(|id| id.as_str().unwrap().starts_with(kind))
        .cloned()
        .collect()
}
