//! Several members at once that cannot be read, members with the same name, and keys.

use serde_json::{Value, json};
use ttn::{Event, Network, UplinkMessage};

fn v3(kind: &str, body: &str) -> Event {
    let topic = format!("v3/greenhouse@ttn/devices/bed-07/{kind}");
    Event::decode(Network::V3, topic, body).unwrap()
}

fn v2(kind: &str, body: &str) -> Event {
    let topic = format!("greenhouse/devices/bed-07/{kind}");
    Event::decode(Network::V2, topic, body).unwrap()
}

fn json(event: &Event) -> Value {
    serde_json::to_value(event).unwrap()
}

#[test]
fn a_session_key_that_cannot_be_read_is_not_shown_and_still_tells_that_the_payload_is_encrypted() {
    const SECRET: &str = "00112233445566778899AABBCCDDEEFF";
    for odd in [
        json!(SECRET),
        json!([SECRET]),
        json!({"key": [SECRET]}),
        json!({"key": {"hex": SECRET}, "kek_label": 7}),
        json!({"encrypted_key": format!("*{SECRET}")}),
        json!({"clear_key": SECRET}),
        json!({"key": SECRET}),
    ] {
        for (kind, member, name) in [
            ("up", "uplink_message", "app_s_key"),
            ("up", "uplink_message", "appSKey"),
            ("join", "join_accept", "app_s_key"),
            ("up/normalized", "uplink_normalized", "app_s_key"),
        ] {
            let event = v3(
                kind,
                &json!({member: {name: odd, "session_key_id": "***"}}).to_string(),
            );
            let (debug, json) = (format!("{event:?}"), json(&event));
            assert!(!debug.contains(SECRET), "{debug}");
            assert!(!json.to_string().contains(SECRET), "{json}");
            let key = match &event {
                Event::Uplink(uplink) | Event::UplinkNormalized(uplink) => &uplink.app_s_key,
                Event::Activation(join) => &join.app_s_key,
                event => panic!("{event:?}"),
            };
            let key = key.as_ref().expect("a payload that is encrypted");
            let kept = Value::from(key.extra.clone()).to_string();
            assert!(kept.contains(SECRET) || key.key == SECRET, "{kept}");
            assert_eq!(json["extra"], json!({"session_key_id": "***"}));
        }
    }
    let Event::Uplink(uplink) = v3("up", r#"{"uplink_message":{"app_s_key":null}}"#) else {
        panic!()
    };
    assert!(uplink.app_s_key.is_none());
}

#[test]
fn members_with_the_same_name_that_cannot_be_read_are_all_kept() {
    let event = v3(
        "up",
        r#"{"uplink_message":{"settings":{"data_rate":{"frequency":"of the future","lora":{"coding_rate":[1]}},
            "coding_rate":[2],"frequency":[3]},"received_at":7},"received_at":8,"correlation_ids":7}"#,
    );
    let json = json(&event);
    let expected = json!({"coding_rate": [1], "frequency": "of the future", "received_at": 7,
        "settings": {"coding_rate": [2], "frequency": [3]}});
    assert_eq!(json["metadata"]["extra"], expected);
    assert_eq!(
        json["extra"],
        json!({"received_at": 8, "correlation_ids": 7})
    );

    let event = v3(
        "join",
        r#"{"received_at":"noon","join_accept":{"received_at":"night"}}"#,
    );
    let json = self::json(&event);
    assert_eq!(json["extra"], json!({"received_at": "noon"}));
    assert_eq!(json["metadata"]["extra"], json!({"received_at": "night"}));

    let event = v3(
        "down/queued",
        r#"{"correlation_ids":[{}],"downlink_queued":{"correlation_ids":[[]],"new":1},"new":2}"#,
    );
    let expected = json!({"correlation_ids": [{}], "new": 2,
        "downlink_queued": {"correlation_ids": [[]], "new": 1}});
    assert_eq!(self::json(&event)["extra"], expected);
}

#[test]
fn the_last_of_several_members_with_one_name_counts_whichever_is_odd() {
    for (members, id, kept) in [
        (
            r#""session_key_id":7,"session_key_id":"AQI=""#,
            "AQI=",
            json!({"session_key_id": 7}),
        ),
        (
            r#""session_key_id":"AQI=","sessionKeyId":7"#,
            "",
            json!({"session_key_id": 7}),
        ),
        (
            r#""sessionKeyId":7,"session_key_id":8"#,
            "",
            json!({"session_key_id": 8}),
        ),
    ] {
        let event = v3(
            "up",
            &format!(r#"{{"uplink_message":{{"f_port":2,{members}}}}}"#),
        );
        let json = json(&event);
        assert_eq!(
            (&json["session_key_id"], &json["extra"]),
            (&json!(id), &kept)
        );
    }
}

#[test]
fn many_odd_members_anywhere_cost_neither_the_message_nor_each_other() {
    let event = v3(
        "up",
        r#"{"simulated":"maybe","uplink_message":{"confirmed":2,"rx_metadata":[
            {"rssi":[],"time":7,"location":{"latitude":"x","longitude":1},"gateway_ids":{"gateway_id":"one","eui":"x"}},
            8,{"snr":{},"gateway_ids":{"gateway_id":"two"}},[9]],
            "locations":{"user":{"latitude":"x","longitude":[2],"accuracy":-1},"frm-payload":{"latitude":1,"altitude":"high"}},
            "f_port":2,"f_cnt":3,"frm_payload":"AQI="},"end_device_ids":{"dev_eui":"70-B3"}}"#,
    );
    let json = json(&event);
    assert_eq!(
        (&json["port"], &json["counter"], &json["payload_hex"]),
        (&json!(2), &json!(3), &json!("0102"))
    );
    let expected =
        json!({"simulated": "maybe", "confirmed": 2, "end_device_ids": {"dev_eui": "70-B3"}});
    assert_eq!(json["extra"], expected);
    let metadata = &json["metadata"];
    assert_eq!(metadata["locations"]["frm-payload"]["latitude"], 1.0);
    let expected = json!({
        "locations": {"user": {"latitude": "x", "longitude": [2], "accuracy": -1}, "frm-payload": {"altitude": "high"}},
        "rx_metadata": [8, [9]]});
    assert_eq!(metadata["extra"], expected);
    let [one, two] = [0, 1].map(|index| &metadata["gateways"][index]);
    let expected = json!({"rssi": [], "time": 7, "location": {"latitude": "x", "longitude": 1}, "gateway_ids": {"eui": "x"}});
    assert_eq!((&one["gtw_id"], &one["extra"]), (&json!("one"), &expected));
    assert_eq!(
        (&two["gtw_id"], &two["extra"]),
        (&json!("two"), &json!({"snr": {}}))
    );

    let event = v2(
        "up",
        r#"{"confirmed":2,"attributes":{"a":[1],"b":"c"},"metadata":{"airtime":"x","latitude":1,"longitude":[],
            "gateways":[{"gtw_id":"one","rssi":[],"time":"x","latitude":"x"},7,{"gtw_id":"two","snr":{},"location_source":[]}]},
            "port":2,"counter":3,"payload_raw":"AQI="}"#,
    );
    let json = self::json(&event);
    assert_eq!(
        (&json["port"], &json["counter"], &json["payload_hex"]),
        (&json!(2), &json!(3), &json!("0102"))
    );
    assert_eq!(
        json["extra"],
        json!({"confirmed": 2, "attributes": {"a": [1]}})
    );
    let metadata = &json["metadata"];
    let expected = json!({"airtime": "x", "latitude": 1, "longitude": [], "gateways": [7]});
    assert_eq!(metadata["extra"], expected);
    let [one, two] = [0, 1].map(|index| &metadata["gateways"][index]["extra"]);
    assert_eq!(one, &json!({"rssi": [], "time": "x", "latitude": "x"}));
    assert_eq!(two, &json!({"snr": {}, "location_source": []}));
}

#[test]
fn what_stands_beside_a_stored_message_is_kept() {
    let body = r#"{"before":1,"result":{"uplink_message":{"f_port":2},"own":3,
        "end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}}},"after":2}"#;
    let uplink = UplinkMessage::from_json(Network::V3, body).unwrap();
    assert_eq!(
        Value::from(uplink.extra),
        json!({"before": 1, "own": 3, "after": 2})
    );
}

#[test]
fn an_element_or_member_beyond_the_levels_of_json_is_named() {
    let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);
    let up = |levels| {
        let body = format!(
            r#"{{"uplink_message":{{"rx_metadata":[{{"rssi":{}}}]}}}}"#,
            nested(levels)
        );
        Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/up", body)
    };
    assert!(matches!(up(123), Ok(Event::Uplink(_))));
    for levels in [124, 1_000_000] {
        let text = up(levels).unwrap_err().to_string();
        assert!(
            text.contains("rx_metadata: rssi: recursion limit exceeded"),
            "{text}"
        );
    }
}

#[test]
fn a_large_odd_member_is_kept_whole() {
    let large = "?".repeat(1 << 20);
    let body = json!({"uplink_message": {"f_port": 2, "session_key_id": large, "attributes": {large.clone(): {}}}});
    let Event::Uplink(uplink) = v3("up", &body.to_string()) else {
        panic!()
    };
    assert_eq!(uplink.extra["session_key_id"], large);
    assert_eq!(uplink.extra["attributes"], json!({large: {}}));
}

#[test]
fn a_payload_in_base64_is_read_exactly_or_not_at_all() {
    for text in [
        "AQI==",
        "AQ===",
        "====",
        "=",
        "AQ\\n==",
        " AQ==",
        "AQ== ",
        "AQ==AQ==",
        "AQID=",
        "A",
        "-_+/",
        "АQ==",
        "AQ\\u0000=",
    ] {
        for (network, topic, body) in [
            (
                Network::V3,
                "v3/greenhouse@ttn/devices/bed-07/up",
                format!(r#"{{"uplink_message":{{"frm_payload":"{text}"}}}}"#),
            ),
            (
                Network::V2,
                "greenhouse/devices/bed-07/up",
                format!(r#"{{"metadata":{{}},"payload_raw":"{text}"}}"#),
            ),
        ] {
            let error = Event::decode(network, topic, body).unwrap_err();
            assert!(error.to_string().contains("bytes in base64"), "{error}");
        }
    }
}

#[test]
fn a_line_of_server_sent_events_is_told_by_its_prefix() {
    let error = Event::from_json(Network::V3, r#"data: {"result":{}}"#).unwrap_err();
    assert!(
        error.to_string().contains("pass what follows \"data:\""),
        "{error}"
    );
}

#[test]
fn a_member_that_is_not_json_is_named() {
    for (member, why) in [
        (
            r#""rx_metadata":[{"rssi":1e400}]"#,
            "rx_metadata: rssi: number out of range",
        ),
        (
            r#""rx_metadata":[{"rssi":NaN}]"#,
            "rx_metadata: rssi: expected value",
        ),
        (
            r#""session_key_id":"\ud83d""#,
            "session_key_id: unexpected end of hex escape",
        ),
    ] {
        let body = format!(r#"{{"uplink_message":{{{member}}}}}"#);
        let topic = "v3/greenhouse@ttn/devices/bed-07/up";
        let error = Event::decode(Network::V3, topic, body).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}
