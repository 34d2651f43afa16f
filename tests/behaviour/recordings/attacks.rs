//! What somebody could look for in an anonymised recording who knows what to look for.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use ttn::{Anonymizer, Event, Network, Recorder, serde_json};

use super::anonymized::{base64, hex};

const UP: &str = "v3/greenhouse@acme-farms/devices/eui-70b3d57ed0051a2b/up";

/// What chance repeats is not there with all of these.
const SECRETS: [[u64; 2]; 3] = [[11, 2], [13, 4], [15, 6]];

/// Returns a text in the forms in which it could be hidden.
fn forms(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let mut forms = vec![lower.clone(), squeezed(&lower)];
    for bytes in [text.as_bytes().to_vec(), digits(&squeezed(&lower))] {
        if bytes.len() >= 4 {
            forms.push(hex(&bytes));
            let encoded = base64(&bytes).to_lowercase();
            forms.push(encoded[..encoded.len() - 1].to_owned());
        }
    }
    forms.retain(|form| form.len() >= 3);
    forms
}

fn squeezed(text: &str) -> String {
    text.chars().filter(|it| it.is_alphanumeric()).collect()
}

fn digits(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let bytes: Option<_> = pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    bytes.unwrap_or_default()
}

/// Returns which of these remain.
fn remains(topic: &str, payload: &[u8], secrets: &[&str]) -> Vec<String> {
    let outputs = SECRETS.map(|secret| {
        let anonymizer = Anonymizer::new().secret(secret);
        let (topic, payload) = anonymizer.message(topic, payload);
        let payload = String::from_utf8_lossy(&payload);
        let text = format!("{topic} {payload}").to_lowercase();
        format!("{text} {}", squeezed(&text))
    });
    let forms = secrets.iter().flat_map(|secret| forms(secret));
    forms
        .filter(|form| outputs.iter().all(|output| output.contains(form)))
        .collect()
}

#[track_caller]
fn nothing_remains(topic: &str, payload: &str, secrets: &[&str]) {
    let remains = remains(topic, payload.as_bytes(), secrets);
    assert!(remains.is_empty(), "{remains:?} of {topic} {payload}");
}

/// Texts with something to hide, and what that is.
const TEXTS: &[(&str, &[&str])] = &[
    (
        "2026-11-28T14:24:53Z ERROR bed-07: DevEUI 70B3D57ED0051A2B not found",
        &["bed", "70B3D57ED0051A2B", "not found"],
    ),
    ("70-B3-D5-7E-D0-05-1A-2B", &["70B3D57ED0051A2B"]),
    ("70:b3:d5:7e:d0:05:1a:2b", &["70B3D57ED0051A2B"]),
    ("0x70B3D57ED0051A2B", &["70B3D57ED0051A2B"]),
    ("A84041000181C061", &["A84041000181C061"]),
    ("AABBCCDD", &["AABBCCDD"]),
    ("52.1326, 4.2913", &["52.1326", "1326", "4.2913", "2913"]),
    (
        "N 52\u{b0} 22.387', E 4\u{b0} 53.711'",
        &["22.387", "53.711"],
    ),
    (
        "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47",
        &["4807.038", "01131", "545.4"],
    ),
    ("geo:48.2010,16.3695,183", &["48.2010", "16.3695"]),
    ("u173zq37x014", &["u173zq37x014"]),
    ("+49 170 1234567", &["1234567"]),
    ("tel:+491701234567", &["491701234567"]),
    (
        "anna.meyer@acme-farms.example",
        &["anna", "meyer", "acme", "farms", "example"],
    ),
    (
        "https://hooks.acme-farms.example:8443/in?device=bed-07&token=s3cr3tT0ken#x",
        &["hooks", "acme", "8443", "s3cr3tT0ken"],
    ),
    (
        "2001:db8:85a3::8a2e:370:7334",
        &["2001:db8", "85a3", "8a2e", "7334"],
    ),
    ("192.168.178.23:1883", &["192.168", "178.23"]),
    ("b8:27:eb:12:34:56", &["b827eb123456", "b8:27"]),
    (
        "Bearer NNSXS.KEYIDKEYIDKEYID.SECRETSECRETSECRET",
        &["KEYIDKEYIDKEYID", "SECRETSECRETSECRET"],
    ),
    (
        "{\"dev_eui\":\"70B3D57ED0051A2B\",\"lat\":52.1326}",
        &["70B3D57ED0051A2B", "52.1326"],
    ),
    (
        "ZXVpLTcwYjNkNTdlZDAwNTFhMmI=",
        &["ZXVpLTcwYjNkNTdlZDAwNTFhMmI"],
    ),
    (
        "Gew\u{e4}chshaus M\u{fc}ller",
        &["Gew\u{e4}chshaus", "M\u{fc}ller", "chshaus", "ller"],
    ),
    (
        "\u{6e29}\u{5ba4}\u{4e03}\u{53f7}",
        &["\u{6e29}\u{5ba4}", "\u{4e03}\u{53f7}"],
    ),
    (
        "as:up:01GQWEFRTZ7U8I9O0PASDFGHJK",
        &["01GQWEFRTZ7U8I9O0PASDFGHJK"],
    ),
    (
        "gs:conn:260B5C1E:70b3d57ed0051a2b",
        &["260B5C1E", "70B3D57ED0051A2B"],
    ),
    ("260b5c1e", &["260B5C1E"]),
    ("claim code 1A2B-3C4D-5E6F", &["1A2B3C4D5E6F", "3C4D"]),
    ("123456789012", &["123456789012"]),
    ("Zm9vYmFyYmF6cXV4/+==", &["Zm9vYmFyYmF6cXV4"]),
];

/// Members that have texts in messages, with what stands around them: `_` is the text.
const PLACES: &[&str] = &[
    r#"{"end_device_ids":{"device_id":"_"},"uplink_message":{}}"#,
    r#"{"end_device_ids":{"dev_eui":"_","join_eui":"_","dev_addr":"_","application_ids":{"application_id":"_"}},"uplink_message":{}}"#,
    r#"{"correlation_ids":["_","as:up:_"],"uplink_message":{"f_cnt":7,"rx_metadata":[{"gateway_ids":{"gateway_id":"_","eui":"_"},"uplink_token":"_","message":"_"}]}}"#,
    r#"{"uplink_message":{"decoded_payload":{"_":"_","deep":[{"_":["_"]}]},"decoded_payload_warnings":["_"]}}"#,
    r#"{"uplink_message":{"frm_payload":"_","session_key_id":"_"}}"#,
    r#"{"uplink_message":{"locations":{"_":{"altitude":"_"}},"version_ids":{"brand_id":"_","hardware_version":"_"},"network_ids":{"net_id":"_","tenant_id":"_","cluster_address":"_"}}}"#,
    r#"{"uplink_message":{},"owner":"_","_":{"_":1},"time":["_"],"f_cnt":{"x":"_"}}"#,
    r#"{"uplink_message":{"settings":{"data_rate":{"lora":{"coding_rate":"4/5","note":"_"}}}}}"#,
    r#"{"downlink_failed":{"downlink":{"correlation_ids":["_"],"class_b_c":{"gateways":[{"gateway_ids":{"gateway_id":"_"}}]}},"error":{"namespace":"pkg/ns","name":"x","message_format":"no {a}","attributes":{"_":"_","dev_eui":"_","name":"_","time":"_"},"correlation_id":"_","details":[{"@type":"_","x":"_"}]}}}"#,
    r#"{"app_id":"_","dev_id":"_","hardware_serial":"_","payload_raw":"_","payload_fields":{"x":"_"},"metadata":{"gateways":[{"gtw_id":"_"}]}}"#,
    r#"{"error":"_","message":"_","identifiers":[{"device_ids":{"device_id":"_"}}],"unique_id":"_"}"#,
];

#[test]
fn no_text_remains_in_whatever_member_it_stands() {
    for (text, secrets) in TEXTS {
        let quoted = serde_json::to_string(text).unwrap();
        let quoted = &quoted[1..quoted.len() - 1];
        // A time can be a number.
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let can_be = |place: &&&str| !(is_number && place.contains("\"time\""));
        for place in PLACES.iter().filter(can_be) {
            let payload = place
                .replace("\"_\"", &format!("\"{quoted}\""))
                .replace(":_\"", &format!(":{quoted}\""));
            serde_json::from_str::<Value>(&payload).expect(&payload);
            for topic in [UP, "greenhouse/devices/bed-07/up/x"] {
                nothing_remains(topic, &payload, secrets);
            }
        }
        nothing_remains(
            "greenhouse/devices/bed-07/up/x",
            &format!("\"{quoted}\""),
            secrets,
        );
        nothing_remains("greenhouse/devices/bed-07/up", text, secrets);
        let level = text.replace(['/', '#', '+'], " ");
        nothing_remains(&format!("v3/{level}/devices/{level}/up"), "{}", secrets);
        nothing_remains(&format!("{level}/devices/{level}/up/{level}"), "1", secrets);
        nothing_remains(
            &format!("site/{level}/v3/a/devices/{level}/down/{level}"),
            "{}",
            secrets,
        );
    }
}

#[test]
fn no_number_remains_that_is_an_id_or_a_place() {
    let payload = r#"{"end_device_ids":{"device_id":7712345678},"uplink_message":{"f_cnt":5,"serial":49170123456,"decoded_payload":{"lat":52.13267,"lon":-4.29135,"at":[48.20107,1.636955e1]},"locations":{"user":{"latitude":52.13267,"longitude":4.29135,"altitude":1234}}}}"#;
    let secrets = [
        "7712345678",
        "49170123456",
        "13267",
        "29135",
        "20107",
        "636955",
        "\":1234",
    ];
    for topic in [UP, "greenhouse/devices/bed-07/up/x", "any"] {
        nothing_remains(topic, payload, &secrets);
    }
}

#[test]
fn every_answer_of_the_http_api_hides_whose_it_is() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v3-http");
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        for line in text.lines().chain([&*text]) {
            let Ok(value) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            let mut ids = Vec::new();
            collect(&value, "", &mut ids);
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let remains = remains(UP, line.as_bytes(), &ids);
            assert!(remains.is_empty(), "{remains:?} of {}", path.display());
        }
    }
}

/// Adds the values of members that name somebody.
fn collect(value: &Value, name: &str, found: &mut Vec<String>) {
    const NAMES: [&str; 12] = [
        "device_id",
        "application_id",
        "dev_eui",
        "join_eui",
        "dev_addr",
        "gateway_id",
        "eui",
        "app_id",
        "dev_id",
        "key",
        "user_id",
        "webhook_id",
    ];
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(name, value)| collect(value, name, found)),
        Value::Array(list) => list.iter().for_each(|value| collect(value, name, found)),
        Value::String(text) if NAMES.contains(&name) && text.len() > 3 => found.push(text.clone()),
        _ => {}
    }
}

#[test]
fn what_is_kept_with_payloads_is_payloads_only() {
    let anonymizer = Anonymizer::new().keep_payloads(true);
    let whole = r#"{"end_device_ids":{"device_id":"bed-07","dev_eui":"70B3D57ED0051A2B"},"data":"Anna","uplink_message":{"frm_payload":"AWc=","decoded_payload":{"t":21},"data":{"x":"Anna"},"rx_metadata":[{"gateway_ids":{"gateway_id":"roof-3"}}]}}"#;
    for topic in [
        UP,
        "greenhouse/devices/bed-07/up",
        "mine/devices/bed-07/up/json",
        "any",
    ] {
        let (topic, payload) = anonymizer.message(topic, whole.as_bytes());
        let text = String::from_utf8(payload).unwrap();
        assert!(
            text.contains("AWc=") && text.contains(r#"{"t":21}"#),
            "{topic} {text}"
        );
        for original in ["bed-07", "70B3D57ED0051A2B", "Anna", "roof", "json"] {
            assert!(
                !text.contains(original) && !topic.contains(original),
                "{topic} {text}"
            );
        }
    }
    let service =
        r#"{"end_device_ids":{},"service_data":{"service":"lora-cloud","data":{"t":21}}}"#;
    let (_, payload) = anonymizer.message("v3/a/devices/d/service/data", service.as_bytes());
    let text = String::from_utf8(payload).unwrap();
    assert!(
        text.contains(r#""data":{"t":21}"#) && !text.contains("lora"),
        "{text}"
    );
}

#[test]
fn an_id_is_the_same_in_topics_members_correlation_ids_and_notes() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["one", "two"].map(|name| folder.path().join(name));
    let payload = json!({
        "end_device_ids": {"device_id": "eui-70b3d57ed0051a2b", "dev_eui": "70B3D57ED0051A2B", "dev_addr": "260B5C1E"},
        "correlation_ids": ["gs:70B3D57ED0051A2B:260b5c1e"],
        "uplink_message": {"f_cnt": 7},
    });
    let event = Event::decode(Network::V3, UP, payload.to_string()).unwrap();
    let note = r#"{"recording":1,"network":"v3"}
{"note":{"event":"device_silent","app_id":"greenhouse","dev_id":"eui-70b3d57ed0051a2b"}}"#;
    for file in &files {
        let anonymizer = Anonymizer::new().secret([17, 4]);
        let builder = Recorder::builder(file, Network::V3);
        let mut recorder = builder.anonymize(anonymizer).open().unwrap();
        recorder
            .record_at(&event, SystemTime::UNIX_EPOCH + Duration::from_secs(9))
            .unwrap();
        let mut recording = ttn::Recording::new(note.as_bytes()).keep_notes(true);
        assert!(recording.next().is_none());
        recorder.note(&recording.take_notes()[0]).unwrap();
    }
    let texts = files.map(|file| fs::read_to_string(file).unwrap());
    assert_eq!(texts[0], texts[1]);
    let anonymizer = Anonymizer::new().secret([17, 4]);
    let device = anonymizer.text("eui-70b3d57ed0051a2b");
    let eui = device.rsplit('-').next().unwrap();
    let address = anonymizer.text("260b5c1e");
    let lower = texts[0].to_lowercase();
    assert_eq!(lower.matches(&device).count(), 3, "{lower}");
    assert_eq!(lower.matches(eui).count(), 5, "{lower}");
    assert_eq!(lower.matches(&address).count(), 2, "{lower}");
}

#[test]
fn an_id_in_a_note_is_replaced_also_if_it_looks_like_a_number_or_an_enum() {
    let folder = tempfile::tempdir().unwrap();
    for id in [
        "2008117",
        "70",
        "A84041000181C061",
        "12s",
        "first",
        "unknown",
        "4/5",
        "lora",
    ] {
        let note = json!({"note": {"event": "device_silent", "app_id": id, "dev_id": id, "last_uplink": "2026-11-28T14:24:53Z"}});
        let note = note.to_string();
        let outputs = SECRETS.map(|secret| {
            let path = folder.path().join("run.jsonl");
            let _ = fs::remove_file(&path);
            let builder = Recorder::builder(&path, Network::V3);
            let mut recorder = builder
                .anonymize(Anonymizer::new().secret(secret))
                .open()
                .unwrap();
            let mut recording = ttn::Recording::new(note.as_bytes()).keep_notes(true);
            assert!(recording.next().is_none());
            recorder.note(&recording.take_notes()[0]).unwrap();
            fs::read_to_string(path).unwrap()
        });
        for output in outputs {
            assert!(!output.contains(&format!("\"{id}\"")), "{output}");
            assert!(
                output.contains("device_silent") && output.contains("2026-11-28T14:24:53Z"),
                "{output}"
            );
        }
    }
}

#[test]
fn a_message_stays_of_its_kind_whatever_stands_in_it() {
    let of = |value: &Event| {
        let value = serde_json::to_value(value).unwrap();
        (
            value["event"].clone(),
            value["counter"].clone(),
            value["port"].clone(),
        )
    };
    let mut payloads = vec![
        r#"{"end_device_ids":{},"uplink_message":{"f_cnt":7,"f_port":2},"note":"\ud800"}"#.to_owned(),
        r#"{"end_device_ids":{},"uplink_message":{"f_cnt":7,"f_port":2,"decoded_payload_warnings":["\udc00 x"]}}"#.to_owned(),
        r#"{"end_device_ids":{},"uplink_message":{"f_cnt":7,"f_port":2,"unknown":[1e400,-0,1E-9]}}"#.to_owned(),
        "\u{a0}{}".to_owned(),
    ];
    // A name that gets the one of a member with another form.
    for letter in b'a'..=b'z' {
        for other in b'a'..=b'z' {
            let name = format!("{}{}x", char::from(letter), char::from(other));
            payloads.push(format!(
                r#"{{"uplink_message":{{"f_cnt":7,"rx_metadata":[{{"{name}":"Anna"}}]}}}}"#
            ));
        }
    }
    for payload in payloads {
        let before = Event::decode(Network::V3, UP, &payload);
        for number in 0..15 {
            let anonymizer = Anonymizer::new().secret([number, 1]);
            let (topic, replaced) = anonymizer.message(UP, payload.as_bytes());
            let after = Event::decode(Network::V3, &topic, &replaced);
            match (&before, &after) {
                (Ok(one), Ok(two)) => assert_eq!(of(one), of(two), "{payload}"),
                (Err(_), Err(_)) => {}
                _ => panic!("{payload} -> {}", String::from_utf8_lossy(&replaced)),
            }
        }
    }
}
