//! Nothing of the original remains in an anonymised message, and it still reads as what it is.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use ttn::{Anonymizer, Event, Network, serde_json};

use crate::support::fixtures::of_checkout;

/// A message of the specifications or of a real network.
struct Original {
    from: String,
    network: Network,
    topic: String,
    payload: Vec<u8>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn originals() -> Vec<Original> {
    let mut originals = Vec::new();
    for (folder, network) in [("v2", Network::V2), ("v3", Network::V3)] {
        for file in files(&fixtures().join(folder)) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            originals.push(Original {
                topic: topic_of(network, &name),
                payload: fs::read(&file).unwrap(),
                from: name,
                network,
            });
        }
    }
    for (folder, network) in [("v2-real", Network::V2), ("v3-real", Network::V3)] {
        let Some(folder) = of_checkout(folder) else {
            continue;
        };
        for file in files(&folder) {
            if file.extension().is_some_and(|it| it == "ndjson") {
                originals.extend(lines(&file, network));
            }
        }
    }
    originals.extend(lines(&fixtures().join("v3-simulated.ndjson"), Network::V3));
    for file in files(&fixtures().join("records")) {
        for line in fs::read_to_string(&file).unwrap().lines() {
            originals.push(Original {
                from: file.display().to_string(),
                network: Network::V3,
                topic: "v3/greenhouse@ttn/devices/bed-07/up".to_owned(),
                payload: line.as_bytes().to_vec(),
            });
        }
    }
    originals
}

fn lines(file: &Path, network: Network) -> Vec<Original> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(number, line)| {
            let line: Value = serde_json::from_str(line).unwrap();
            let payload = match line.get("payload")? {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Some(Original {
                from: format!("{}:{}", file.display(), number + 1),
                network,
                topic: line.get("topic")?.as_str()?.to_owned(),
                payload: payload.into_bytes(),
            })
        })
        .collect()
}

fn topic_of(network: Network, file: &str) -> String {
    let kinds: &[(&str, &str)] = match network {
        Network::V2 => &[
            ("up-", "up"),
            ("upfield-", "up/gps/latitude"),
            ("event-activations-errors", "events/activations/errors"),
            ("event-activation", "events/activations"),
            ("event-up-errors", "events/up/errors"),
            ("event-down-scheduled", "events/down/scheduled"),
            ("event-down-sent", "events/down/sent"),
            ("event-down-acks", "events/down/acks"),
            ("event-down-errors", "events/down/errors"),
            ("event-create", "events/create"),
            ("event-update", "events/update"),
            ("event-delete", "events/delete"),
            ("down-", "down"),
        ],
        _ => &[
            ("up-", "up"),
            ("normalized", "up/normalized"),
            ("join", "join"),
            ("down-ack", "down/ack"),
            ("down-nack", "down/nack"),
            ("down-sent", "down/sent"),
            ("down-failed", "down/failed"),
            ("down-queued", "down/queued"),
            ("down-queue-invalidated", "down/invalidated"),
            ("location", "location/solved"),
            ("service", "service/data"),
            ("request", "down/push"),
        ],
    };
    let kind = kinds.iter().find(|(start, _)| file.starts_with(start));
    let end = kind.map_or("up", |(_, end)| end);
    match network {
        Network::V2 => format!("greenhouse-demo/devices/soil-probe-07/{end}"),
        _ => format!("v3/greenhouse@ttn/devices/bed-07/{end}"),
    }
}

/// Words of the specifications that may stay: names of members and enums, times, numbers, the server's own errors.
const HARMLESS: &str = include_str!("harmless.txt");

fn harmless() -> BTreeSet<&'static str> {
    HARMLESS.lines().collect()
}

/// Adds every word of four and more letters or digits in the texts and names of a value.
fn words(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => words_in(text, found),
        Value::Array(list) => list.iter().for_each(|value| words(value, found)),
        Value::Object(members) => {
            for (name, value) in members {
                words_in(name, found);
                words(value, found);
            }
        }
        _ => {}
    }
}

fn words_in(text: &str, found: &mut BTreeSet<String>) {
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        if word.chars().count() >= 4 {
            found.insert(word.to_owned());
        }
    }
    if text.chars().count() >= 4 {
        found.insert(text.to_owned());
    }
}

/// Whether a word is one of a time, or a number such as a frequency.
fn is_time_or_number(word: &str) -> bool {
    let is_time = word.len() >= 20
        && word.as_bytes()[10] == b'T'
        && (word.ends_with('Z') || word.contains('+'));
    let digits = word.trim_end_matches(['Z', 's']);
    let is_digits = || {
        digits
            .bytes()
            .all(|it| it.is_ascii_digit() || b".-T".contains(&it))
    };
    is_time || is_digits()
}

/// Returns a word in the forms in which it could come again.
fn forms(word: &str) -> Vec<String> {
    let mut forms = vec![word.to_owned(), word.to_lowercase()];
    if word.len() >= 8 {
        forms.push(hex(word.as_bytes()));
        forms.push(base64(word.as_bytes()));
    }
    let bytes: Option<Vec<u8>> = word
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    if let Some(bytes) = bytes.filter(|bytes| bytes.len() >= 4) {
        forms.push(base64(&bytes));
    }
    forms
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns base64 without what depends on the bytes behind.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    bits.chunks_exact(6)
        .map(|six| char::from(DIGITS[six.iter().fold(0, |all, bit| all << 1 | bit) as usize]))
        .collect()
}

/// Adds the coordinates, with enough digits to be recognized.
fn coordinates(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| coordinates(value, found)),
        Value::Object(members) => {
            for (name, value) in members {
                let is_one =
                    ["latitude", "longitude", "altitude", "lat", "lon", "lng"].contains(&&**name);
                match value {
                    Value::Number(number) if is_one && number.to_string().len() >= 4 => {
                        found.insert(number.to_string());
                    }
                    other => coordinates(other, found),
                }
            }
        }
        _ => {}
    }
}

/// What chance repeats is not there with all of these.
const SECRETS: [[u64; 2]; 3] = [[1, 2], [3, 4], [5, 6]];

#[test]
fn nothing_of_the_original_remains() {
    let harmless = harmless();
    let mut wrong = BTreeSet::new();
    let mut checked = 0;
    let mut known = HashMap::new();
    for original in originals() {
        let mut found = BTreeSet::new();
        words_in(&original.topic, &mut found);
        match serde_json::from_slice::<Value>(&original.payload) {
            Ok(value) => {
                words(&value, &mut found);
                coordinates(&value, &mut found);
            }
            Err(_) => words_in(&String::from_utf8_lossy(&original.payload), &mut found),
        }
        let output = output(&original, SECRETS[0]);
        for word in &found {
            if harmless.contains(&**word) || is_time_or_number(word) && !word.contains('.') {
                continue;
            }
            if is_time_or_number(word) && (word.ends_with('s') || word.contains('T')) {
                continue;
            }
            checked += 1;
            for form in known.entry(word.clone()).or_insert_with(|| forms(word)) {
                let is_in = |secret: &[u64; 2]| self::output(&original, *secret).contains(&*form);
                if output.contains(&*form) && SECRETS.iter().all(is_in) {
                    wrong.insert(format!("{word:?} as {form:?}"));
                    eprintln!("{word:?} as {form:?} in {}", original.from);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} remain: {wrong:#?}", wrong.len());
    assert!(checked > 500, "only {checked}");
}

/// Returns what is left of a message, with all texts also without escapes, which could hide one.
fn output(original: &Original, secret: [u64; 2]) -> String {
    let anonymizer = Anonymizer::new().secret(secret);
    let (topic, payload) = anonymizer.message(&original.topic, &original.payload);
    let payload = String::from_utf8(payload).unwrap();
    match serde_json::from_str::<Value>(&payload) {
        Ok(value) => format!("{topic} {payload} {}", value_text(&value)),
        Err(_) => format!("{topic} {payload}"),
    }
}

/// Returns all texts in a value, without escapes.
fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text} "),
        Value::Array(list) => list.iter().map(value_text).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| format!("{name} {}", value_text(value)))
            .collect(),
        _ => String::new(),
    }
}

/// Members of events that stay as they are.
const KEPT: &[&str] = &[
    "event",
    "step",
    "change",
    "port",
    "counter",
    "confirmed",
    "is_retry",
    "time",
    "received_at",
    "frequency",
    "modulation",
    "data_rate",
    "spreading_factor",
    "bandwidth",
    "bit_rate",
    "coding_rate",
    "airtime",
    "timestamp",
    "gateway_time",
    "rssi",
    "channel_rssi",
    "signal_rssi",
    "snr",
    "rf_chain",
    "channel",
    "fine_timestamp",
    "packet_error_rate",
    "last_downlink_counter",
    "last_counter",
    "percentage",
    "priority",
    "is_simulated",
    "is_backfilled",
    "is_duplicate",
    "is_redelivered",
    "is_retained",
    "accuracy",
    "source",
    "absolute_time",
    "kind",
    "is_transient",
    "code",
];

#[track_caller]
fn same(original: &Value, other: &Value, name: &str, place: &str, wrong: &mut Vec<String>) {
    if KEPT.contains(&name) && name != "data_rate" || name == "data_rate" && original.is_string() {
        if original != other {
            wrong.push(format!("{place}: {original} -> {other}"));
        }
        return;
    }
    match (original, other) {
        (Value::Object(one), Value::Object(two)) => {
            if one.len() != two.len() {
                wrong.push(format!("{place}: {original} -> {other}"));
            }
            // Other names there could be those of other fields.
            let is_fields = name.contains("payload") || name == "extra" || name == "data";
            for (name, value) in one.iter().filter(|_| !is_fields) {
                if let Some(other) = two.get(name) {
                    same(value, other, name, &format!("{place}.{name}"), wrong);
                }
            }
        }
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            for (index, (value, other)) in one.iter().zip(two).enumerate() {
                same(value, other, name, &format!("{place}[{index}]"), wrong);
            }
        }
        (Value::String(one), Value::String(two)) => {
            let is_error = ["message", "error"].contains(&name);
            if one.is_empty() != two.is_empty()
                || !is_error && one.chars().count() != two.chars().count()
            {
                wrong.push(format!("{place}: {original} -> {other}"));
            }
        }
        (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Null, Value::Null) => {}
        _ => wrong.push(format!("{place}: {original} -> {other}")),
    }
}

fn json(network: Network, topic: &str, payload: &[u8]) -> Value {
    match Event::decode(network, topic, payload) {
        Ok(event) => serde_json::to_value(event).unwrap(),
        Err(_) => serde_json::json!({"event": "malformed"}),
    }
}

#[test]
fn an_anonymised_message_is_of_the_same_kind_with_the_same_counters_radio_data_and_times() {
    let anonymizer = Anonymizer::new();
    let mut all = Vec::new();
    for original in originals() {
        let (topic, payload) = anonymizer.message(&original.topic, &original.payload);
        let before = json(original.network, &original.topic, &original.payload);
        let after = json(original.network, &topic, &payload);
        if before["event"] == "other" {
            assert_eq!(after["event"], "other", "{}", original.from);
            continue;
        }
        let mut wrong = Vec::new();
        same(&before, &after, "", "", &mut wrong);
        all.extend(
            wrong
                .into_iter()
                .map(|wrong| format!("{}: {wrong}", original.from)),
        );
    }
    assert!(
        all.is_empty(),
        "{} differ: {:#?}",
        all.len(),
        &all[..all.len().min(40)]
    );
}

#[test]
fn payloads_stay_where_they_are_to_be_kept() {
    let anonymizer = Anonymizer::new().keep_payloads(true);
    for original in originals() {
        let (topic, payload) = anonymizer.message(&original.topic, &original.payload);
        let before = json(original.network, &original.topic, &original.payload);
        let after = json(original.network, &topic, &payload);
        for name in [
            "payload_raw",
            "payload_fields",
            "normalized_payload",
            "name",
            "value",
        ] {
            if before["event"] != "malformed" {
                assert_eq!(before[name], after[name], "{}", original.from);
            }
        }
        if !before["app_id"].as_str().unwrap_or_default().is_empty() {
            assert_ne!(before["app_id"], after["app_id"], "{}", original.from);
        }
    }
}

#[test]
fn the_same_original_is_the_same_replacement_everywhere() {
    let anonymizer = Anonymizer::new();
    let payload = r#"{"end_device_ids":{"device_id":"eui-70b3d57ed0051a2b","application_ids":{"application_id":"greenhouse"},
        "dev_eui":"70B3D57ED0051A2B","dev_addr":"260B5C1E"},"downlink_failed":{"downlink":{"f_port":1},
        "error":{"namespace":"pkg/networkserver","name":"unknown_session","details":[{"dev_addr":"JgtcHg=="}]}}}"#;
    let (topic, payload) = anonymizer.message(
        "v3/greenhouse@ttn/devices/eui-70b3d57ed0051a2b/down/failed",
        payload.as_bytes(),
    );
    let value: Value = serde_json::from_slice(&payload).unwrap();
    let ids = &value["end_device_ids"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let device = text(&ids["device_id"]);
    assert_eq!(
        topic,
        format!(
            "v3/{}@{}/devices/{device}/down/failed",
            text(&ids["application_ids"]["application_id"]),
            anonymizer.text("ttn")
        )
    );
    assert!(
        device.ends_with(&text(&ids["dev_eui"]).to_lowercase()),
        "{device}"
    );
    let error = &value["downlink_failed"]["error"];
    let address = text(&error["details"][0]["dev_addr"]);
    let bytes: Vec<u8> = (0..4)
        .map(|at| u8::from_str_radix(&text(&ids["dev_addr"])[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    assert_eq!(address.trim_end_matches('=')[..5], base64(&bytes)[..5]);
    assert_eq!(error["name"], "unknown_session");
}

#[test]
fn what_is_not_known_is_replaced_with_its_name() {
    let payload = r#"{"uplink_message":{"f_port":2,"owner":{"name":"Anna","since":2019,"f_port":77}},"rssi":"Anna was here"}"#;
    let texts = SECRETS.map(|secret| {
        let anonymizer = Anonymizer::new().secret(secret);
        let (_, payload) = anonymizer.message("v3/a/devices/d/up", payload.as_bytes());
        String::from_utf8(payload).unwrap()
    });
    for original in ["owner", "Anna", "since", "2019", "77", "here"] {
        let remains = texts.iter().all(|text| text.contains(original));
        assert!(!remains, "{original} in {texts:?}");
    }
    for text in texts {
        assert!(
            text.contains(r#""f_port":2"#) && text.contains(r#""rssi":""#),
            "{text}"
        );
    }
}

#[test]
fn a_message_too_deep_to_be_read_is_text() {
    for depth in [126, 127, 128, 200_000] {
        let payload = [vec![b'['; depth], vec![b']'; depth]].concat();
        let (_, replaced) = Anonymizer::new().message("a/devices/d/up", &payload);
        assert_eq!(replaced.len(), payload.len());
    }
}
