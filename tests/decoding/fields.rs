//! Decoded fields: read into types, found by their path, sent in downlinks.

#![allow(dead_code, reason = "the types of a user are read, and not used")]

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use ttn::{Downlink, ErrorDetails, ErrorKind, Event, MqttClient, Network, UplinkMessage, fields};

/// Returns an uplink with these fields, as each network sends it.
fn uplinks(fields: &Value) -> [UplinkMessage; 2] {
    let ids = json!({"device_id": "bed-07", "application_ids": {"application_id": "greenhouse"}});
    let v2 =
        json!({"app_id": "greenhouse", "dev_id": "bed-07", "port": 1, "payload_fields": fields});
    let v3 = json!({"end_device_ids": ids,
        "uplink_message": {"f_port": 1, "decoded_payload": fields}});
    [
        UplinkMessage::from_json(Network::V2, v2.to_string()).unwrap(),
        UplinkMessage::from_json(Network::V3, v3.to_string()).unwrap(),
    ]
}

/// Returns why the fields do not match `T`.
fn mismatch<T: DeserializeOwned>(fields: &Value) -> String {
    let found = uplinks(fields).map(|uplink| {
        let error = uplink.fields::<T>().err().expect("a mismatch");
        assert_eq!(error.kind(), ErrorKind::Decode);
        let text = error.to_string();
        let start = "the payload_fields of bed-07 do not match the type: ";
        text.strip_prefix(start).unwrap_or(&text).to_owned()
    });
    assert_eq!(found[0], found[1]);
    let error = fields::read::<T>(fields).err().expect("a mismatch");
    let expected = format!("the fields do not match the type: {}", found[0]);
    assert_eq!(error.to_string(), expected);
    expected.rsplit_once("type: ").unwrap().1.to_owned()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Station {
    temperature: f64,
    rain: f32,
    battery: u8,
    offset: i16,
    counter: u64,
    raining: bool,
    name: String,
    letter: Option<char>,
    position: Option<Position>,
    entries: Vec<Entry>,
    range: Option<(f64, f64)>,
    mode: Option<Mode>,
}

#[derive(Deserialize)]
struct Position {
    latitude: f64,
}

#[derive(Deserialize)]
struct Entry {
    temperature: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Auto,
    Manual { minutes: u8 },
}

#[test]
fn a_field_that_does_not_fit_is_named() {
    for (fields, expected) in [
        (
            json!({"temperature": null}),
            "temperature: expected a number, found null",
        ),
        (
            json!({"temperature": "21.5 °C"}),
            "temperature: expected a number, found \"21.5 °C\"",
        ),
        (json!({"rain": true}), "rain: expected a number, found true"),
        (
            json!({"battery": 256}),
            "battery: expected a whole number from 0 to 255, found 256",
        ),
        (
            json!({"battery": -1}),
            "battery: expected a whole number from 0 to 255, found -1",
        ),
        (
            json!({"battery": 93.7}),
            "battery: expected a whole number from 0 to 255, found 93.7",
        ),
        (
            json!({"offset": [1]}),
            "offset: expected a whole number from -32768 to 32767, found a list",
        ),
        (
            json!({"counter": -5}),
            "counter: expected a whole number of 0 or more, found -5",
        ),
        (
            json!({"raining": 1}),
            "raining: expected true or false, found 1",
        ),
        (
            json!({"name": {}}),
            "name: expected a string, found an object",
        ),
        (
            json!({"letter": "AB"}),
            "letter: expected one character, found \"AB\"",
        ),
        (
            json!({"position": 5}),
            "position: expected an object, found 5",
        ),
        (
            json!({"position": {"latitude": null}}),
            "position.latitude: expected a number, found null",
        ),
        (json!({"position": {}}), "position.latitude is missing"),
        (
            json!({"entries": {}}),
            "entries: expected a list, found an object",
        ),
        (
            json!({"entries": [{"temperature": 1}, {"temperature": "x"}]}),
            "entries[1].temperature: expected a number, found \"x\"",
        ),
        (
            json!({"entries": [{}]}),
            "entries[0].temperature is missing",
        ),
        (
            json!({"range": [1]}),
            "range: expected a list of 2 values, found 1",
        ),
        (
            json!({"range": "1-2"}),
            "range: expected a list of 2 values, found \"1-2\"",
        ),
        (
            json!({"mode": "off"}),
            "mode: expected `auto` or `manual`, found \"off\"",
        ),
        (
            json!({"mode": 3}),
            "mode: expected a string or an object, found 3",
        ),
        (
            json!({"mode": {"manual": {"minutes": 300}}}),
            "mode.manual.minutes: expected a whole number from 0 to 255, found 300",
        ),
        (json!("x"), "expected an object, found \"x\""),
    ] {
        assert_eq!(mismatch::<Station>(&fields), expected, "{fields}");
    }
}

#[test]
fn a_formatter_without_a_value_is_told_by_the_path_to_it() {
    #[derive(Deserialize)]
    struct Bed {
        temperature: Depths,
    }
    #[derive(Deserialize)]
    struct Depths {
        lower: f64,
        middle: f64,
        outer: f64,
    }
    let fields = json!({"weight": 1.7, "battery": null, "humidity": 98.1,
        "temperature": {"lower": 0, "middle": null, "outer": 1.2}});
    assert_eq!(
        mismatch::<Bed>(&fields),
        "temperature.middle: expected a number, found null"
    );
    for uplink in uplinks(&fields) {
        assert_eq!(uplink.number("temperature.lower"), Some(0.0));
        assert_eq!(uplink.number("temperature.middle"), None);
        assert_eq!(uplink.number("temperature.outer"), Some(1.2));
        assert_eq!(uplink.field("temperature.middle"), Some(&Value::Null));
        assert_eq!(uplink.field("temperature.upper"), None);
    }
}

#[test]
fn long_and_odd_texts_are_quoted_shortly() {
    let quoted = |text: &str| mismatch::<Station>(&json!({ "battery": text }));
    let wanted = "battery: expected a whole number from 0 to 255, found ";
    assert_eq!(
        quoted(&"ä".repeat(5_000)),
        format!("{wanted}\"{}…\"", "ä".repeat(40))
    );
    assert_eq!(quoted("a\n\"b\""), format!("{wanted}\"a\\n\\\"b\\\"\""));
    assert_eq!(
        quoted("1, expected 2"),
        format!("{wanted}\"1, expected 2\"")
    );
}

#[test]
fn an_error_without_a_path_still_says_what_is_wrong() {
    #[derive(Deserialize)]
    struct Flat {
        #[serde(flatten)]
        position: Position,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Position { latitude: f64 },
        Entry { temperature: f64 },
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        #[serde(rename = "level")]
        level: f64,
    }
    #[derive(Deserialize)]
    struct Keeping {
        level: f64,
        #[serde(flatten)]
        more: std::collections::BTreeMap<String, Value>,
    }
    let null = json!({"latitude": null});
    assert_eq!(mismatch::<Flat>(&null), "expected a number, found null");
    assert_eq!(
        mismatch::<Flat>(&json!({"longitude": 5})),
        "latitude is missing; found \"longitude\""
    );
    let neither = "data did not match any variant of untagged enum Either";
    assert_eq!(mismatch::<Either>(&null), neither);
    assert_eq!(
        mismatch::<Strict>(&json!({"level": 1, "more": 2})),
        "more: unknown field `more`, expected `level`"
    );
    assert_eq!(
        mismatch::<Keeping>(&json!({"a": 1, "level": null})),
        "level: expected a number, found null"
    );
}

#[derive(Deserialize)]
struct Number {
    #[serde(deserialize_with = "fields::number")]
    v: f64,
}

#[derive(Deserialize)]
struct Optional {
    #[serde(default, deserialize_with = "fields::optional_number")]
    v: Option<f64>,
}

#[derive(Deserialize)]
struct Whole<T: DeserializeOwned> {
    #[serde(deserialize_with = "fields::whole_number")]
    v: T,
}

#[derive(Deserialize)]
struct Flag {
    #[serde(deserialize_with = "fields::flag")]
    v: bool,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Lenient {
    #[serde(default, deserialize_with = "fields::optional_whole_number")]
    battery: Option<u8>,
    #[serde(default, deserialize_with = "fields::optional_flag")]
    leak: Option<bool>,
}

#[test]
fn a_whole_number_or_a_flag_may_have_no_value() {
    let nothing = Lenient {
        battery: None,
        leak: None,
    };
    assert_eq!(fields::read::<Lenient>(&json!({})).unwrap(), nothing);
    for value in [json!(null), json!(""), json!("NaN"), json!("n/a")] {
        for uplink in uplinks(&json!({"battery": value, "leak": value})) {
            assert_eq!(uplink.fields::<Lenient>().unwrap(), nothing, "{value}");
        }
    }
    let some = Lenient {
        battery: Some(83),
        leak: Some(false),
    };
    for uplink in uplinks(&json!({"battery": "83 %", "leak": "off"})) {
        assert_eq!(uplink.fields::<Lenient>().unwrap(), some);
    }
    for (fields, expected) in [
        (
            json!({"battery": 82.5}),
            "battery: expected a whole number or null, found 82.5",
        ),
        (
            json!({"battery": "300 %"}),
            "battery: expected a whole number from 0 to 255, found 300",
        ),
        (
            json!({"leak": 2}),
            "leak: expected true, false or null, found 2",
        ),
    ] {
        assert_eq!(mismatch::<Lenient>(&fields), expected);
    }
}

#[test]
fn an_error_about_a_missing_field_says_what_there_is() {
    #[derive(Deserialize)]
    struct Outer {
        position: Position,
    }
    for (fields, expected) in [
        (
            json!({"Position": {"latitude": 1}}),
            r#"position is missing; found "Position""#,
        ),
        (
            json!({"position": {"lat": 1, "lon": 2}}),
            r#"position.latitude is missing; found "lat", "lon""#,
        ),
        (
            json!({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7}),
            r#"position is missing; found "a", "b", "c", "d", "e", "f", …"#,
        ),
        (json!({"position": {}}), "position.latitude is missing"),
    ] {
        assert_eq!(mismatch::<Outer>(&fields), expected);
    }
    // In a list, and behind a name that is long and has a line break.
    #[derive(Deserialize)]
    struct List {
        entries: Vec<Entry>,
    }
    let name = "x\n".repeat(30);
    let error = mismatch::<List>(&json!({"entries": [{name: 1}]}));
    let start = r#"entries[0].temperature is missing; found "x\nx"#;
    assert!(error.starts_with(start), "{error}");
    assert!(error.len() < 100, "{error}");
}

#[test]
fn a_number_may_be_text_with_a_unit() {
    for (value, expected) in [
        (json!(21.5), 21.5),
        (json!(-3), -3.0),
        (json!("21.5"), 21.5),
        (json!(" +21.5 "), 21.5),
        (json!("-0.5"), -0.5),
        (json!(".5"), 0.5),
        (json!("5."), 5.0),
        (json!("1.5e3"), 1500.0),
        (json!("1E-2"), 0.01),
        (json!("63.300000000000004"), 63.300000000000004),
        (json!("21.5 °C"), 21.5),
        (json!("21.5°C"), 21.5),
        (json!("70 ° F"), 70.0),
        (json!("83 %"), 83.0),
        (json!("83%"), 83.0),
        (json!("3300 mV"), 3300.0),
        (json!("-71dBm"), -71.0),
        (json!("5 m/s"), 5.0),
        (json!("12 µg/m³"), 12.0),
        (json!("12 ug/m3"), 12.0),
        (json!("9.8 m/s^2"), 9.8),
        (json!("4\u{a0}kΩ"), 4.0),
        (json!("5e"), 5.0),
        (json!("21,5"), 21.5),
        (json!("21,5 °C"), 21.5),
        (json!("1,2345"), 1.2345),
        (json!("-0,123"), -0.123),
        (json!("0,500 l"), 0.5),
    ] {
        for uplink in uplinks(&json!({ "v": value })) {
            assert_eq!(uplink.fields::<Number>().unwrap().v, expected, "{value}");
            assert_eq!(uplink.fields::<Optional>().unwrap().v, Some(expected));
            assert_eq!(uplink.number("v"), Some(expected), "{value}");
        }
    }
}

#[test]
fn a_formatter_may_have_no_number() {
    for value in [
        json!(null),
        json!(""),
        json!("  "),
        json!("NaN"),
        json!("nan"),
        json!("NaN °C"),
        json!("NaN%"),
        json!("undefined mV"),
        json!("null"),
        json!("none"),
        json!("N/A"),
        json!("Infinity"),
        json!("-Infinity"),
        json!("-"),
        json!("-- °C"),
    ] {
        let all = json!({ "v": value });
        for uplink in uplinks(&all) {
            assert_eq!(uplink.fields::<Optional>().unwrap().v, None, "{value}");
            assert_eq!(uplink.number("v"), None, "{value}");
        }
        let found = value.to_string();
        assert_eq!(
            mismatch::<Number>(&all),
            format!("v: expected a number, found {found}")
        );
    }
    assert_eq!(mismatch::<Number>(&json!({})), "v is missing");
    assert_eq!(fields::read::<Optional>(&json!({})).unwrap().v, None);
}

#[test]
fn what_is_not_surely_a_number_is_an_error() {
    for text in [
        "open",
        "10-20",
        "12:30",
        "2026-01-05",
        "1.2.3",
        "1 234",
        "1,234.5",
        "1.234,5",
        "1,2,3",
        "0x1F",
        "0xF",
        "5,",
        ",",
        ".",
        "+",
        "e5",
        "1/2",
        "12h30",
        "3 of 5",
        "~5",
        "<5",
        "5!",
        "nano",
        "napkin",
        "-5-",
        "1e999",
        "12 abcdefghijklm",
    ] {
        let all = json!({ "v": text });
        let found = format!("{text:?}");
        assert_eq!(
            mismatch::<Number>(&all),
            format!("v: expected a number, found {found}")
        );
        assert_eq!(
            mismatch::<Optional>(&all),
            format!("v: expected a number or null, found {found}")
        );
        for uplink in uplinks(&all) {
            assert_eq!(uplink.number("v"), None, "{text}");
        }
    }
    for text in ["1,234", "-21,500 kg"] {
        let all = json!({ "v": text });
        assert_eq!(
            mismatch::<Number>(&all),
            format!("v: expected a number with a decimal point, found {text:?}")
        );
        assert!(mismatch::<Optional>(&all).contains("decimal point, or null, found"));
        assert_eq!(uplinks(&all)[0].number("v"), None, "{text}");
    }
    for value in [json!(true), json!([1]), json!({"a": 1})] {
        mismatch::<Number>(&json!({ "v": value }));
        mismatch::<Optional>(&json!({ "v": value }));
    }
}

#[test]
fn a_whole_number_is_never_rounded() {
    fn whole<T: DeserializeOwned>(value: Value) -> ttn::Result<T> {
        fields::read::<Whole<T>>(&json!({ "v": value })).map(|whole| whole.v)
    }
    for value in [
        json!(83),
        json!(83.0),
        json!("83"),
        json!("+83"),
        json!("83.0"),
        json!("83 %"),
        json!("8.3e1"),
        json!("83,0"),
    ] {
        assert_eq!(whole::<u8>(value.clone()).unwrap(), 83, "{value}");
        assert_eq!(whole::<i64>(value).unwrap(), 83);
    }
    assert_eq!(whole::<i8>(json!("-5 dBm")).unwrap(), -5);
    assert_eq!(whole::<i8>(json!(-5.0)).unwrap(), -5);
    assert_eq!(whole::<u64>(json!(u64::MAX)).unwrap(), u64::MAX);
    assert_eq!(whole::<u64>(json!(u64::MAX.to_string())).unwrap(), u64::MAX);
    assert_eq!(whole::<i64>(json!(i64::MIN.to_string())).unwrap(), i64::MIN);
    for (value, expected) in [
        (json!(256), "a whole number from 0 to 255, found 256"),
        (json!("-1"), "a whole number from 0 to 255, found -1"),
        (json!("256 %"), "a whole number from 0 to 255, found 256"),
        (json!(82.5), "a whole number, found 82.5"),
        (json!("82.5"), "a whole number, found \"82.5\""),
        (json!("1,234"), "a whole number, found \"1,234\""),
        (json!("NaN"), "a whole number, found \"NaN\""),
        (json!(1e300), "a whole number, found 1e+300"),
        (json!(null), "a whole number, found null"),
        (
            json!("184467440737095516160"),
            "a whole number, found \"184467440737095516160\"",
        ),
    ] {
        assert_eq!(
            mismatch::<Whole<u8>>(&json!({ "v": value })),
            format!("v: expected {expected}")
        );
    }
}

#[test]
fn a_flag_may_be_a_number_or_text() {
    let flag = |value: &Value| fields::read::<Flag>(&json!({ "v": value })).map(|flag| flag.v);
    for value in [
        json!(true),
        json!(1),
        json!(1.0),
        json!("TRUE"),
        json!(" on "),
        json!("Yes"),
        json!("1"),
    ] {
        assert!(flag(&value).unwrap(), "{value}");
    }
    for value in [
        json!(false),
        json!(0),
        json!(0.0),
        json!("False"),
        json!("OFF"),
        json!("no"),
        json!("0"),
    ] {
        assert!(!flag(&value).unwrap(), "{value}");
    }
    for value in [
        json!(2),
        json!(-1),
        json!(0.5),
        json!("open"),
        json!(""),
        json!(null),
        json!([]),
    ] {
        let why = mismatch::<Flag>(&json!({ "v": value }));
        assert!(
            why.starts_with("v: expected true or false, found "),
            "{why}"
        );
    }
}

#[test]
fn a_field_is_found_by_its_path() {
    let all = json!({"a": {"b": [{"c": 1}, [2, 3]], "x.y": {"z": 4}}, "d.e": 5, "f[0]": 6, "": {"": 7}, "g": [8]});
    for uplink in uplinks(&all) {
        for (path, expected) in [
            ("a.b[0].c", Some(1.0)),
            ("a.b[1][1]", Some(3.0)),
            ("a.x.y.z", Some(4.0)),
            ("d.e", Some(5.0)),
            ("f[0]", Some(6.0)),
            (".", Some(7.0)),
            ("g[0]", Some(8.0)),
            ("g[1]", None),
            ("g.0", None),
            ("g[0", None),
            ("g[-1]", None),
            ("g[0]x", None),
            ("a.b", None),
            ("a..b", None),
            ("a.", None),
            ("h", None),
            ("é[", None),
        ] {
            assert_eq!(uplink.number(path), expected, "{path}");
        }
        assert_eq!(uplink.field("a.b[1]"), Some(&json!([2, 3])));
    }
}

#[derive(Serialize)]
struct Valve {
    minutes: f64,
    note: Option<String>,
    stages: Vec<Stage>,
}

#[derive(Serialize)]
enum Stage {
    Flow(f32),
    Pause { seconds: f32 },
    End,
}

#[test]
fn a_downlink_with_a_number_that_json_does_not_have_is_an_error() {
    let valve = |minutes, stages| Valve {
        minutes,
        note: None,
        stages,
    };
    for network in [Network::V2, Network::V3] {
        let client = MqttClient::builder("greenhouse", "key")
            .network(network)
            .mqtt_address("localhost")
            .build()
            .unwrap();
        let error = |downlink: Downlink| {
            let error = client.send("bed-07", downlink).unwrap_err();
            (error.kind(), error.to_string())
        };
        for (fields, expected) in [
            (Downlink::fields(valve(f64::NAN, vec![])), "minutes is NaN"),
            (
                Downlink::fields(valve(f64::NEG_INFINITY, vec![])),
                "minutes is infinite",
            ),
            (
                Downlink::fields(valve(1.0, vec![Stage::Flow(1.0), Stage::Flow(f32::NAN)])),
                "stages[1].Flow is NaN",
            ),
            (
                Downlink::fields(valve(
                    1.0,
                    vec![
                        Stage::End,
                        Stage::Pause {
                            seconds: f32::INFINITY,
                        },
                    ],
                )),
                "stages[1].Pause.seconds is infinite",
            ),
            (
                Downlink::fields(std::collections::BTreeMap::from([(
                    "level",
                    Some((1.0, f64::NAN)),
                )])),
                "level[1] is NaN",
            ),
        ] {
            let (kind, text) = error(fields);
            assert_eq!(kind, ErrorKind::Downlink);
            assert!(
                text.contains(&format!(
                    "the fields cannot be converted to JSON: {expected}, which JSON does not have"
                )),
                "{text}"
            );
        }
        // `null` itself can be sent, and so fails only because the client is not connected.
        let (kind, text) = error(Downlink::fields(valve(1.0, vec![Stage::End])));
        assert_eq!(kind, ErrorKind::NotConnected, "{text}");
        let (_, text) = error(Downlink::fields(f64::NAN));
        assert!(text.contains("JSON object"), "{text}");
    }
}

#[test]
fn an_error_of_the_network_is_told_by_what_there_is_of_it() {
    let details = |error: Value| -> (String, ErrorDetails) {
        let body = json!({"downlink_failed": {"downlink": {"f_port": 1}, "error": error}});
        let topic = "v3/greenhouse@ttn/devices/bed-07/down/failed";
        match Event::decode(Network::V3, topic, body.to_string()).unwrap() {
            Event::Downlink(failed) => {
                (failed.error.clone(), *failed.error_details.clone().unwrap())
            }
            event => panic!("{event:?}"),
        }
    };
    for (error, text, id) in [
        (json!({}), "no reason stated", ""),
        (json!({"cause": {}}), "no reason stated", ""),
        (json!({"namespace": "pkg/a"}), "pkg/a", "pkg/a"),
        (json!({"name": "full"}), "full", "full"),
        (
            json!({"namespace": "pkg/a", "name": "full"}),
            "pkg/a:full",
            "pkg/a:full",
        ),
        (json!({"code": 5}), "error code 5", ""),
        (json!({"message_format": "queue full"}), "queue full", ""),
        (
            json!({"name": "full", "cause": {"message_format": "too many"}}),
            "full: too many",
            "full",
        ),
        (
            json!({"code": 2, "cause": {"message_format": "too many"}}),
            "too many",
            "",
        ),
        (
            json!({"message_format": "queue full", "cause": {}}),
            "queue full",
            "",
        ),
        (
            json!({"message_format": "queue full", "cause": {"code": 9}}),
            "queue full: error code 9",
            "",
        ),
    ] {
        let (told, details) = details(error.clone());
        assert_eq!(told, text, "{error}");
        assert_eq!(details.to_string(), text, "{error}");
        assert_eq!(details.id(), id, "{error}");
    }
}

#[test]
fn the_name_of_a_field_in_an_error_has_no_line_breaks() {
    let fields = json!({"a\nb\u{1b}": {"c": 7}});
    let error = fields::read::<std::collections::BTreeMap<String, Vec<u8>>>(&fields).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with(r"type: a\nb\u{1b}: expected a list, found an object"),
        "{error}"
    );
}

#[test]
fn a_downlink_sends_the_digits_of_a_short_float() {
    #[derive(Serialize)]
    struct Target {
        temperature: f32,
        exact: f64,
        none: Option<u8>,
        #[serde(flatten)]
        more: std::collections::BTreeMap<&'static str, f32>,
    }
    let target = Target {
        temperature: 21.3,
        exact: 63.300000000000004,
        none: None,
        more: [("humidity", 0.1)].into(),
    };
    let expected =
        json!({"temperature": 21.3, "exact": 63.300000000000004, "none": null, "humidity": 0.1});
    assert_eq!(Downlink::fields(target), Downlink::fields(expected));
}

#[test]
fn a_downlink_with_a_value_that_json_cannot_have_says_which() {
    use std::collections::HashMap;

    let client = MqttClient::new("greenhouse", "key").unwrap();
    for (downlink, why) in [
        (
            Downlink::fields(HashMap::from([((1, 2), 3)])),
            "key must be a string",
        ),
        (
            Downlink::fields(HashMap::from([("big", u128::MAX)])),
            "number out of range",
        ),
        (
            Downlink::fields(HashMap::from([("big", i128::MIN)])),
            "number out of range",
        ),
    ] {
        let error = client.send("bed-07", downlink).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Downlink);
        assert!(error.to_string().contains(why), "{error}");
    }
    let fits = Downlink::fields(HashMap::from([("big", u128::from(u64::MAX))]));
    assert_eq!(fits, Downlink::fields(json!({"big": u64::MAX})));
}
