//! The simulated V2 network publishes what a real one published in the same case: the same topics, and
//! messages with the same members in the same order and the same formats.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use ttn::{
    Network,
    simulator::{Device, Location, Simulator, Uplink},
};

use crate::support::raw::{Raw, split};

/// What the simulated network has no equivalent of, with the reason.
const DIFFERENT: [(&str, &str); 21] = [
    (
        "device description changed only",
        "devices have no description",
    ),
    (
        "device created, the handler runs in another time zone",
        "the handler runs in UTC",
    ),
    (
        "uplink, LinkCheckReq in FOpts",
        "devices and network exchange no MAC commands",
    ),
    (
        "uplink, gateway with two antennas and fine timestamps",
        "gateways have one antenna and no fine timestamps",
    ),
    (
        "uplink, encrypted fine timestamp",
        "gateways have no fine timestamps",
    ),
    (
        "uplink, gateway location from config",
        "gateways have registered locations or none",
    ),
    (
        "uplink, coding rate 4/8",
        "all frames have the coding rate 4/5",
    ),
    ("activation, two gateways", "one gateway hears a join"),
    ("activation at SF12", "joins have SF7BW125 on 868.1 MHz"),
    (
        "custom: NaN and Infinity",
        "a JSON value of a decoder has neither",
    ),
    (
        "custom: decoder loops for ever",
        "decoders are functions of the program, which nobody interrupts",
    ),
    (
        "custom: converter returns no object",
        "there are no converters",
    ),
    ("custom: converter throws", "there are no converters"),
    (
        "custom: validator returns no boolean",
        "a validator is a function that returns one",
    ),
    (
        "custom: validator throws",
        "a validator can only panic, without a text",
    ),
    (
        "cayennelpp: several channels",
        "there is no CayenneLPP decoder, whose objects are not opened",
    ),
    ("cayennelpp: unknown type", "there is no CayenneLPP decoder"),
    ("cayennelpp: cut short", "there is no CayenneLPP decoder"),
    (
        "cayennelpp: acceleration, gyro",
        "there is no CayenneLPP decoder, whose objects are not opened",
    ),
    (
        "fields, encoder returns fractions: uplink",
        "an encoder is a function that returns bytes",
    ),
    (
        "fields, encoder returns 256: uplink",
        "an encoder is a function that returns bytes",
    ),
];

type Play = fn(&mut Stage, &Case);

/// How each case is played.
const CASES: [(&str, Play); 93] = [
    ("device created without location", |stage, _| {
        stage.create(None)
    }),
    ("device created with location", |stage, case| {
        stage.create(Some(place(&case.json("events/create"))))
    }),
    ("device saved again without change", |stage, _| {
        stage.save_again()
    }),
    ("device deleted", |stage, case| {
        assert!(stage.network.delete_device(&case.dev_id))
    }),
    (
        "uplink, one trusted gateway with location and clock",
        uplinks,
    ),
    (
        "uplink, one untrusted gateway without clock and location",
        uplinks,
    ),
    ("uplink, rssi minus zero", uplinks),
    ("uplink, confirmed", uplinks),
    ("uplink, the same frame again", |stage, case| {
        stage.twice(case)
    }),
    ("uplink, port 0 with a MAC command", uplinks),
    ("uplink, port 5 without payload", uplinks),
    ("uplink, port 224", uplinks),
    ("uplink, three gateways", uplinks),
    ("uplink, FSK", uplinks),
    (
        "uplink, device with location, latitude 0, and attributes, no payload format",
        uplinks,
    ),
    ("uplink, counter 16380 after a gap", uplinks),
    ("uplink at SF11BW125", uplinks),
    ("uplink at SF7BW250", uplinks),
    ("simulated uplink", uplinks),
    ("simulated uplink, no payload, port 0", uplinks),
    ("first uplink", uplinks),
    ("second uplink", uplinks),
    ("first uplink of the device registered on join", uplinks),
    (
        "payload format none: the first uplink of the device",
        uplinks,
    ),
    ("payload format none", uplinks),
    ("custom: numbers", uplinks),
    ("custom: strings", uplinks),
    ("custom: bool, null, undefined", uplinks),
    ("custom: keys that are odd for topics", |stage, case| {
        stage.odd_keys(case)
    }),
    ("custom: date and function values", uplinks),
    ("custom: bytes as array", uplinks),
    ("custom: validator true", |stage, case| {
        stage.network.set_validator(|_, _| true);
        uplinks(stage, case);
    }),
    ("custom: port 0, MAC only", uplinks),
    ("custom: simulated", uplinks),
    ("custom, simulated uplink: simulated", uplinks),
    ("custom: returns an array", |stage, _| {
        stage.decoder_returns(Ok(Some(json!([1]))))
    }),
    ("custom: decoder throws", undecodable),
    ("custom: decoder throws text", undecodable),
    ("custom: decoder syntax error", undecodable),
    ("activation", |stage, case| stage.join(case)),
    ("first uplink after a join", |stage, case| {
        stage.device.join();
        uplinks(stage, case);
    }),
    ("second uplink after a join", |stage, case| {
        stage.device.join();
        stage.device.uplink(2, [1]);
        uplinks(stage, case);
    }),
    (
        "uplink by a gateway that cannot send, nothing queued",
        |stage, case| {
            stage.network.gateways_down(true);
            uplinks(stage, case);
        },
    ),
    (
        "uplink confirmed by a gateway that cannot send: setup 3",
        requests,
    ),
    (
        "uplink by a gateway that cannot send, a downlink queued",
        |stage, _| stage.without_gateways(),
    ),
    (
        "uplink by a gateway that cannot send, a downlink queued: then by one that can",
        |stage, _| {
            stage.without_gateways();
            stage.network.gateways_down(false);
            stage.device.uplink(2, [1]);
        },
    ),
    ("downlink: minimal", requests),
    ("downlink: port 10", requests),
    ("downlink: port 224", requests),
    ("downlink: hexadecimal", requests),
    ("downlink: schedule null", requests),
    ("downlink: 51 bytes", requests),
    ("downlink: 243 bytes", requests),
    ("downlink: 300 bytes", requests),
    ("two in the queue by last", requests),
    ("confirmed", requests),
    ("confirmed, replaced before its ack: replaced", requests),
    ("fields, no payload format", requests),
    ("fields, encoder and confirmed", requests),
    ("fields, encoder without port", requests),
    ("fields, both raw and fields", requests),
    ("fields, cayennelpp value_1", requests),
    ("downlink: null", |stage, _| stage.request("null")),
    ("downlink: payload_raw null", |stage, _| {
        stage.request(r#"{"port":1,"payload_raw":null}"#)
    }),
    ("downlink: unknown schedule", |stage, _| {
        stage.request(r#"{"port":1,"payload_raw":"AQIDBA==","schedule":"bogus"}"#);
    }),
    ("downlink: empty, with a schedule", |stage, _| {
        stage.request(r#"{"port":6,"schedule":"first"}"#)
    }),
    (
        "downlink: no port, answered to a port 0 uplink: then an uplink on port 0",
        sent,
    ),
    ("downlink: port 10: then an uplink", sent),
    ("downlink: unknown keys, other case: then an uplink", sent),
    ("downlink: port 224: then an uplink", sent),
    ("downlink: port 255: then an uplink", sent),
    ("downlink: 51 bytes: then an uplink", sent),
    ("downlink: 300 bytes: then another uplink", sent),
    ("downlink within the window", sent),
    ("down/sent for an uplink at SF12", sent),
    ("down/sent for an FSK uplink", sent),
    ("queue: uplink 1", sent),
    ("queue: uplink 2", sent),
    ("queue: uplink 3", sent),
    ("confirmed: uplink 1", sent),
    ("confirmed: uplink 2, no ack", |stage, case| {
        stage.device.stops_acknowledging(true);
        sent(stage, case);
        stage.device.uplink(2, [1]);
    }),
    ("confirmed: uplink 4, with ack", acknowledged),
    ("confirmed: ack on a confirmed uplink", sent),
    ("fields, encoder: uplink", sent),
    ("fields, encoder and confirmed: uplink", sent),
    (
        "fields, encoder and confirmed: another uplink: ack",
        acknowledged,
    ),
    ("fields, encoder without port: uplink", sent),
    ("fields, cayennelpp value_1: then an uplink", sent),
    (
        "fields, custom without an encoder: then an uplink",
        not_sent,
    ),
    ("fields, encoder throws: uplink", not_sent),
    ("fields, encoder missing function: uplink", not_sent),
    ("fields, both raw and fields: uplink", not_sent),
    ("fields, confirmed and encoder throws: uplink", not_sent),
];

#[test]
fn the_simulated_v2_network_publishes_what_the_real_one_published() {
    let cases = recorded();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let listed = CASES.iter().map(|(name, _)| *name);
    let listed: BTreeSet<&str> = listed.chain(DIFFERENT.map(|(name, _)| name)).collect();
    assert_eq!(listed, names);
    assert_eq!(
        listed.len(),
        CASES.len() + DIFFERENT.len(),
        "one is listed twice"
    );
    // The recording leaves out what has the structure of an earlier message.
    let known: BTreeSet<String> = cases
        .iter()
        .flat_map(|case| case.messages.iter().map(Message::structure))
        .collect();
    let mut faults = Vec::new();
    for case in &cases {
        if let Some((_, play)) = CASES.iter().find(|(name, _)| *name == case.name) {
            let mut stage = Stage::new(case);
            play(&mut stage, case);
            case.compare(stage.messages(), &known, &mut faults);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What a device and the network did in a case.
struct Case {
    name: String,
    app_id: String,
    dev_id: String,
    messages: Vec<Message>,
}

struct Message {
    /// The part of the topic after the device id.
    kind: String,
    payload: String,
}

/// Returns the recorded cases. One that was played with two devices stands there twice.
fn recorded() -> Vec<Case> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v2-real/messages.ndjson");
    let mut cases: Vec<Case> = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        let (name, topic) = (text("case"), text("topic"));
        let levels: Vec<&str> = topic.splitn(4, '/').collect();
        let [app_id, "devices", dev_id, kind] = levels[..] else {
            panic!("{topic}");
        };
        let message = Message {
            kind: kind.to_owned(),
            payload: text("payload"),
        };
        let same = |case: &&mut Case| case.name == name && case.dev_id == dev_id;
        if let Some(case) = cases.iter_mut().find(same) {
            case.messages.push(message);
            continue;
        }
        cases.push(Case {
            name,
            app_id: app_id.to_owned(),
            dev_id: dev_id.to_owned(),
            messages: vec![message],
        });
    }
    cases
}

impl Case {
    fn all(&self, kind: &str) -> impl Iterator<Item = Value> {
        let messages = self
            .messages
            .iter()
            .filter(move |message| message.kind == kind);
        let parsed = messages.map(|message| serde_json::from_str(&message.payload).unwrap());
        parsed
            .filter(|value: &Value| value.is_object())
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn json(&self, kind: &str) -> Value {
        self.all(kind)
            .next()
            .unwrap_or_else(|| panic!("{}: no {kind}", self.name))
    }

    /// Compares what was played: it must contain each recorded message, in their order where that is
    /// fixed, and nothing else but messages of a structure that was recorded elsewhere.
    fn compare(
        &self,
        mut played: Vec<Message>,
        known: &BTreeSet<String>,
        faults: &mut Vec<String>,
    ) {
        let mut last = 0;
        for recorded in &self.messages {
            let expected = recorded.normal_form();
            let is_same = |message: &Message| {
                message.kind == recorded.kind && message.normal_form() == expected
            };
            let Some(place) = played.iter().position(is_same) else {
                let of_kind = played
                    .iter()
                    .filter(|message| message.kind == recorded.kind);
                let nearest = of_kind.map(Message::normal_form);
                let nearest = nearest.min_by_key(|lines| difference(&expected, lines).len());
                let nearest = nearest.unwrap_or_default();
                let lines = difference(&expected, &nearest).join("\n");
                faults.push(format!("{}: {}\n{lines}", self.name, recorded.kind));
                continue;
            };
            if recorded.kind.starts_with("events/down/") && recorded.kind != "events/down/errors" {
                if place < last {
                    faults.push(format!("{}: {} comes too early", self.name, recorded.kind));
                }
                last = place;
            }
            played[place].kind = String::from("found");
        }
        for message in played {
            let is_known = message.kind == "found"
                || message.kind.starts_with("up/")
                || known.contains(&message.structure());
            if !is_known {
                faults.push(format!(
                    "{}: +{} {}",
                    self.name, message.kind, message.payload
                ));
            }
        }
    }
}

/// Returns the lines of one that the other has not, marked as a diff.
fn difference(recorded: &[String], played: &[String]) -> Vec<String> {
    let only = |sign: char, these: &[String], others: &[String]| {
        let only = these.iter().filter(|line| !others.contains(line));
        only.map(|line| format!("  {sign}{line}"))
            .collect::<Vec<_>>()
    };
    let mut lines = only('-', recorded, played);
    lines.extend(only('+', played, recorded));
    if lines.is_empty() && recorded != played {
        lines.push(format!("  another order: {played:?}"));
    }
    lines
}

// Normal form.

impl Message {
    /// Returns the members in their order, one a line, without what differs from run to run.
    fn normal_form(&self) -> Vec<String> {
        let is_fsk = self.payload.contains(r#""modulation":"FSK""#);
        members(&self.payload)
            .into_iter()
            .filter(|(path, _)| !GATEWAY_TRAITS.contains(&path.as_str()))
            .map(|(path, value)| match normal(&path, &value, is_fsk) {
                Some(form) => format!("{path}: <{form}>"),
                None => format!("{path}: {value}"),
            })
            .collect()
    }

    /// Returns kind and names of the members; the location of a device has any of its three.
    fn structure(&self) -> String {
        let members = members(&self.payload).into_iter().map(|(path, _)| path);
        let members: Vec<String> = members
            .filter(|path| !GATEWAY_TRAITS.contains(&path.as_str()))
            .filter(|path| !["latitude", "longitude", "altitude"].contains(&path.as_str()))
            .filter(|path| !path.contains("payload_fields") && !path.starts_with("attributes."))
            .collect();
        let unique: BTreeMap<&String, ()> = members.iter().map(|member| (member, ())).collect();
        format!("{} {:?}", self.kind, unique.into_keys().collect::<Vec<_>>())
    }
}

/// What depends on the gateway that hears a frame.
const GATEWAY_TRAITS: [&str; 5] = [
    "metadata.gateways[].gtw_trusted",
    "metadata.gateways[].latitude",
    "metadata.gateways[].longitude",
    "metadata.gateways[].altitude",
    "metadata.gateways[].location_source",
];

/// Returns what stands for a value that differs from run to run; `None` for any other one, and for one
/// that has not the form it should have.
fn normal(path: &str, value: &str, is_fsk: bool) -> Option<String> {
    let text = value
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let is_hex = |length: usize| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        text.is_some_and(|text| text.len() == length && text.bytes().all(is_digit))
    };
    let form = match path {
        "hardware_serial" | "dev_eui" | "app_eui" if is_hex(16) => "EUI",
        "dev_addr" if is_hex(8) => "address",
        "metadata.gateways[].time" if text?.is_empty() || is_time(text?) => "time or none",
        "metadata.time" | "update_at" if is_time(text?) => "time",
        "metadata.gateways[].gtw_id" | "gateway_id" if text.is_some() => "gateway",
        "metadata.gateways[].timestamp"
        | "metadata.gateways[].channel"
        | "metadata.gateways[].rssi"
        | "metadata.gateways[].snr"
        | "metadata.gateways[].rf_chain"
        | "config.counter"
            if value.parse::<f64>().is_ok() =>
        {
            "number"
        }
        // The network answers in the first or the second window.
        "config.data_rate" if !is_fsk => "window",
        "config.airtime" | "config.frequency" | "config.power" if !is_fsk => "window",
        "payload" => return frame(text?),
        _ => return None,
    };
    Some(form.to_owned())
}

/// Returns length, kind and flags of a frame.
fn frame(text: &str) -> Option<String> {
    let bytes = STANDARD.decode(text).ok()?;
    let (kind, flags) = (bytes.first()?, bytes.get(5)?);
    Some(format!(
        "{} bytes, {kind:02x}, flags {flags:02x}",
        bytes.len()
    ))
}

/// Returns whether it is a time in UTC without trailing zeros, and not the one that stands for none.
fn is_time(text: &str) -> bool {
    let fraction = text
        .trim_end_matches('Z')
        .split_once('.')
        .map(|(_, fraction)| fraction);
    humantime::parse_rfc3339(text).is_ok()
        && !text.starts_with("0001")
        && fraction.is_none_or(|digits| !digits.ends_with('0') && digits.len() <= 9)
}

/// Returns path and text of each value that is not an object or an array, in the order of the text.
fn members(json: &str) -> Vec<(String, String)> {
    let mut members = Vec::new();
    let rest = value(String::new(), json, &mut members);
    assert_eq!(rest, "", "{json}");
    members
}

/// Reads a value and returns the rest.
fn value<'a>(path: String, json: &'a str, members: &mut Vec<(String, String)>) -> &'a str {
    let (end, is_object) = match json.as_bytes()[0] {
        b'{' => ('}', true),
        b'[' => (']', false),
        first => {
            let length = match first {
                b'"' => string_length(json),
                _ => json.find([',', '}', ']']).unwrap_or(json.len()),
            };
            let (value, rest) = json.split_at(length);
            members.push((path, value.to_owned()));
            return rest;
        }
    };
    let mut rest = &json[1..];
    if let Some(rest) = rest.strip_prefix(end) {
        members.push((path, format!("{}{end}", &json[..1])));
        return rest;
    }
    loop {
        let inner = if is_object {
            let (key, after) = rest.split_at(string_length(rest));
            rest = after.strip_prefix(':').unwrap();
            let dot = if path.is_empty() { "" } else { "." };
            format!("{path}{dot}{}", key.trim_matches('"'))
        } else {
            format!("{path}[]")
        };
        rest = value(inner, rest, members);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return rest.strip_prefix(end).unwrap(),
        }
    }
}

fn string_length(json: &str) -> usize {
    let mut escaped = false;
    let end = json[1..].find(|character| {
        let is_end = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        is_end
    });
    end.unwrap() + 2
}

// Playing.

struct Stage {
    network: Simulator,
    device: Device,
    client: Raw,
    /// The messages that arrived.
    seen: Vec<Vec<u8>>,
    /// The topic of requests.
    down: String,
}

impl Stage {
    fn new(case: &Case) -> Self {
        let network = Simulator::builder(Network::V2)
            .application(&case.app_id, "ttn-account-v2.simulated-key")
            .receive_window(Duration::ZERO)
            .quirks(|quirks| {
                quirks.rate_limit = None;
                quirks.shutdown_warning = true;
            })
            .start()
            .unwrap();
        let client = Raw::subscribed(&network, &["#"]);
        let up = case.all("up").next().unwrap_or_default();
        let metadata = up.get("metadata").cloned().unwrap_or_else(|| {
            let activation = case.all("events/activations").next();
            activation.map_or(Value::Null, |activation| activation["metadata"].clone())
        });
        let has_place = metadata.get("longitude").is_some();
        let creates = case.messages[0].kind.starts_with("events/create");
        let device = if has_place {
            network.create_device(&case.dev_id, Some(place(&metadata)))
        } else if creates {
            network.device("another-device")
        } else {
            network.device(&case.dev_id)
        };
        Self {
            down: format!("{}/devices/{}/down", case.app_id, case.dev_id),
            network,
            device,
            client,
            seen: Vec::new(),
        }
    }

    /// Returns all messages about the device that were published.
    fn messages(&mut self) -> Vec<Message> {
        self.settle();
        let prefix = self.down.strip_suffix("down").unwrap();
        let messages = self.seen.drain(..).map(|packet| split(&packet));
        messages
            .filter_map(|(topic, payload)| {
                let kind = topic.strip_prefix(prefix)?.to_owned();
                Some(Message { kind, payload })
            })
            .collect()
    }

    fn create(&mut self, location: Option<Location>) {
        let dev_id = self.down.split('/').nth(2).unwrap();
        self.network.create_device(dev_id, location);
    }

    fn save_again(&mut self) {
        let place = Location {
            latitude: 51.5,
            longitude: -0.127758,
            altitude: -7,
        };
        let dev_id = self.device.dev_id();
        assert!(self.network.update_device(dev_id, Some(place)));
        assert!(self.network.update_device(dev_id, Some(place)));
    }

    fn join(&mut self, _: &Case) {
        self.device.join();
    }

    fn request(&mut self, request: &str) {
        let topic = self.down.clone();
        self.client.publish(&topic, request.as_bytes());
        self.settle();
    }

    /// Waits until the network has acted on what the client sent.
    fn settle(&mut self) {
        self.client.ping();
        loop {
            match self.client.packet() {
                packet if packet == [0xd0, 0] => return,
                packet => self.seen.push(packet),
            }
        }
    }

    fn twice(&mut self, case: &Case) {
        let up = case.json("up");
        self.device.send(like(&up));
        self.device.send(like(&up).retry(true));
    }

    fn odd_keys(&mut self, case: &Case) {
        let fields = case.messages.iter().map(|message| {
            let key = message.kind.strip_prefix("up/").unwrap_or_default();
            let value: Value = serde_json::from_str(&message.payload).unwrap();
            (key.to_owned(), value)
        });
        let skipped = ["a+", "*b", "c\0"].map(|key| (key.to_owned(), json!(1)));
        let fields: Value = fields.chain(skipped).collect();
        self.device.send(Uplink::new(2, [1]).fields(fields));
    }

    fn decoder_returns(&mut self, result: Result<Option<Value>, String>) {
        self.network.set_decoder(move |_, _| result.clone());
        self.device.uplink(2, [1]);
    }

    fn without_gateways(&mut self) {
        self.network.gateways_down(true);
        self.request(r#"{"port":3,"payload_raw":"AQ=="}"#);
        self.device.uplink(2, [1]);
    }

    /// Sends the request for a downlink as a message shows it, and lets the encoder make its bytes.
    fn request_like(&mut self, message: &Value, schedule: &str) {
        let mut request = message.clone();
        let members = request.as_object_mut().unwrap();
        members.remove("app_id");
        members.remove("dev_id");
        if members.contains_key("payload_fields") {
            let bytes = members
                .remove("payload_raw")
                .map_or_else(|| vec![1], |raw| bytes(&raw));
            self.network.set_encoder(move |_, _| Ok(bytes.clone()));
        }
        members.insert("schedule".into(), schedule.into());
        self.request(&request.to_string());
    }
}

fn place(value: &Value) -> Location {
    let number = |key: &str| value[key].as_f64().unwrap_or_default();
    Location {
        latitude: number("latitude") as f32,
        longitude: number("longitude") as f32,
        altitude: number("altitude") as i32,
    }
}

fn bytes(base64: &Value) -> Vec<u8> {
    base64
        .as_str()
        .map_or_else(Vec::new, |text| STANDARD.decode(text).unwrap())
}

/// Returns an uplink like the recorded one.
fn like(up: &Value) -> Uplink {
    let metadata = &up["metadata"];
    let port = up["port"].as_u64().unwrap() as u8;
    let payload = match port {
        // A MAC command.
        0 => vec![2],
        _ => bytes(&up["payload_raw"]),
    };
    let mut uplink = Uplink::new(port, payload)
        .counter(up["counter"].as_u64().unwrap() as u32)
        .confirmed(up["confirmed"] == true);
    match metadata["gateways"].as_array() {
        None => uplink = uplink.simulated(true),
        Some(gateways) => uplink = uplink.gateways(gateways.len()),
    }
    if metadata["modulation"] == "FSK" {
        uplink = uplink.fsk();
    } else if let Some(data_rate) = metadata["data_rate"].as_str() {
        uplink = uplink.data_rate(data_rate);
    }
    if let Some(frequency) = metadata["frequency"].as_f64() {
        uplink = uplink.frequency(frequency);
    }
    if let Some(fields) = up.get("payload_fields") {
        uplink = uplink.fields(fields.clone());
    }
    for (key, value) in up["attributes"].as_object().unwrap() {
        if key != "warning" {
            uplink = uplink.attribute(key, value.as_str().unwrap());
        }
    }
    uplink
}

fn uplinks(stage: &mut Stage, case: &Case) {
    for up in case.all("up") {
        stage.device.send(like(&up));
    }
}

fn undecodable(stage: &mut Stage, case: &Case) {
    let error = case.json("events/up/errors");
    let start = "Unable to decode payload fields: Internal error: Decoder threw error: ";
    let error = error["error"]
        .as_str()
        .unwrap()
        .strip_prefix(start)
        .unwrap();
    stage.decoder_returns(Err(error.to_owned()));
}

fn requests(stage: &mut Stage, case: &Case) {
    for scheduled in case.all("events/down/scheduled") {
        stage.request(&scheduled["message"].to_string());
    }
}

/// Queues what the recorded frame carries, and sends an uplink that it answers.
fn sent(stage: &mut Stage, case: &Case) {
    let Some(sent) = case.all("events/down/sent").next() else {
        return requests(stage, case);
    };
    let uplink = Uplink::new(2, [1]).frequency(868.1);
    if sent["config"].get("counter").is_some() {
        stage.request(r#"{"port":1,"payload_raw":"AQ=="}"#);
        stage.device.send(uplink.clone());
    }
    let message = &sent["message"];
    if message.get("payload_raw").is_some() {
        stage.request_like(message, "replace");
    }
    let flags = bytes(&sent["payload"])[5];
    if flags & 0x10 != 0 {
        stage.request(r#"{"port":9,"payload_raw":"CQ==","schedule":"last"}"#);
    }
    let uplink = case.all("up").next().map_or(uplink, |up| like(&up));
    stage.device.send(uplink.confirmed(flags & 0x20 != 0));
}

fn acknowledged(stage: &mut Stage, case: &Case) {
    let acks = case.json("events/down/acks");
    stage.request(r#"{"port":1,"payload_raw":"AQ=="}"#);
    stage.device.uplink(2, [1]);
    stage.request_like(&acks["message"], "replace");
    for sent in case.all("events/down/sent") {
        stage.request_like(&sent["message"], "last");
    }
    stage.device.uplink(2, [1]);
    stage.device.uplink(2, [1]);
}

fn not_sent(stage: &mut Stage, case: &Case) {
    let failed = case.json("events/down/errors");
    let mut request = failed["message"].clone();
    let members = request.as_object_mut().unwrap();
    members.retain(|key, _| key != "app_id" && key != "dev_id");
    let error = failed["error"].as_str().unwrap();
    if let Some(error) = error.strip_prefix("Internal error: Encoder threw error: ") {
        let error = error.to_owned();
        stage
            .network
            .set_encoder(move |_, _| Err::<Vec<u8>, _>(error.clone()));
    }
    stage.request(&request.to_string());
    stage.device.uplink(2, [1]);
}
