//! Messages that were damaged in transit.

use super::*;

/// Decodes a message, and returns whether it was read; a damaged message may be read or be an
/// error, but nothing else.
fn survives(topic: &str, body: Vec<u8>) -> bool {
    match Event::decode(Network::V3, topic, body) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Decode);
            false
        }
    }
}

/// Runs a check for every fixture, including unreadable ones, in several threads.
fn for_each_fixture(check: impl Fn(&str, &str, Vec<u8>) + Sync) {
    let names = names();
    thread::scope(|scope| {
        for part in names.chunks(names.len().div_ceil(4)) {
            let check = &check;
            scope.spawn(move || {
                for name in part {
                    // On one line, as the server sends it.
                    check(name, &topic(name), value(name).to_string().into_bytes());
                }
            });
        }
    });
}

#[test]
fn a_message_that_was_cut_is_an_error() {
    let _watchdog = watchdog(LIMIT);
    for_each_fixture(|name, topic, body| {
        for length in 0..body.len() {
            let is_read = survives(topic, body[..length].to_vec());
            assert!(!is_read, "{name} up to {length}");
        }
    });
}

#[test]
fn no_byte_can_make_the_decoder_panic() {
    let _watchdog = watchdog(LIMIT);
    for_each_fixture(|_, topic, body| {
        for index in 0..body.len() {
            for byte in [b'"', b'9', b'{', 0xff] {
                let mut body = body.clone();
                body[index] = byte;
                survives(topic, body);
            }
        }
    });
}

/// Returns the members whose error does not name them if they are replaced by these values, with an
/// example of each.
fn not_named(by: impl Fn(&Value) -> Vec<Value>) -> BTreeMap<String, String> {
    let mut refused = 0;
    let mut not_named = BTreeMap::new();
    for name in messages() {
        let original = value(&name);
        for place in places(&original) {
            for wrong in by(original.pointer(&place).unwrap()) {
                let changed = replaced(&original, &place, wrong.clone());
                if let Err(error) = decode_value(&name, &changed) {
                    assert_eq!(error.kind(), ErrorKind::Decode);
                    refused += 1;
                    let text = in_full(&error);
                    let member = member_name(&place).to_owned();
                    if !text.contains(&member) {
                        not_named.insert(member, format!("{name}{place} = {wrong}: {text}"));
                    }
                }
            }
        }
    }
    assert!(refused > 900, "{refused}");
    not_named
}

fn is_scalar(value: &Value) -> bool {
    value.is_boolean() || value.is_number() || value.is_string()
}

#[test]
fn a_number_text_or_truth_that_cannot_be_read_is_named() {
    let wrong = |value: &Value| match is_scalar(value) {
        true => vec![
            json!(true),
            json!(-1),
            json!(1.5),
            json!(1e300),
            json!("\u{0}wrong"),
            json!("99999999999999999999"),
        ],
        false => Vec::new(),
    };
    let not_named = not_named(wrong);
    assert!(not_named.is_empty(), "{not_named:#?}");
}

#[test]
fn a_member_of_the_wrong_shape_is_named() {
    let wrong = |value: &Value| match is_scalar(value) {
        true => vec![
            json!([]),
            json!([[7]]),
            json!({}),
            json!({"wrong": {"type": 1}}),
        ],
        false if value.is_null() => Vec::new(),
        false => vec![
            json!(true),
            json!(7),
            json!("wrong"),
            json!([[7]]),
            json!({"wrong": {"type": 1}}),
        ],
    };
    let not_named = not_named(wrong);
    assert!(not_named.is_empty(), "{not_named:#?}");
}

#[test]
fn nesting_without_end_is_an_error_and_some_is_read() {
    let _watchdog = watchdog(LIMIT);
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}7{}", open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let fields = nested(open, close, 50);
        let body = format!("{{\"uplink_message\":{{\"decoded_payload\":{{\"deep\":{fields}}}}}}}");
        let read = uplink_of(
            Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/up", body).unwrap(),
        );
        let expected: Value = serde_json::from_str(&fields).unwrap();
        assert_eq!(read.payload_fields["deep"], expected);

        let endless = nested(open, close, 100_000);
        for body in [
            endless.clone(),
            format!("{{\"uplink_message\":{endless}}}"),
            format!("{{\"uplink_message\":{{\"decoded_payload\":{{\"deep\":{endless}}}}}}}"),
            format!("{{\"uplink_message\":{{\"rx_metadata\":{endless}}}}}"),
            format!("{{\"uplink_message\":{{}},\"unheard_of\":{endless}}}"),
        ] {
            assert!(!survives(
                "v3/greenhouse@ttn/devices/bed-07/up",
                body.clone().into_bytes()
            ));
            let error = Event::from_json(Network::V3, body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode);
        }
    }
    let causes = "{\"cause\":".repeat(10_000);
    let body = format!(
        "{{\"downlink_failed\":{{\"error\":{causes}{{}}{}}}}}",
        "}".repeat(10_000)
    );
    assert!(!survives(
        "v3/greenhouse@ttn/devices/bed-07/down/failed",
        body.into_bytes()
    ));
}

#[test]
fn a_number_of_a_megabyte_takes_no_time() {
    let _watchdog = watchdog(Duration::from_secs(60));
    let digits = "9".repeat(1 << 20);
    let topic = "v3/greenhouse@ttn/devices/bed-07/up";
    for number in [
        digits.clone(),
        format!("-{digits}"),
        format!("0.{digits}"),
        format!("1e{digits}"),
        format!("{digits}.0e-{digits}"),
    ] {
        let body = format!("{{\"uplink_message\":{{\"f_cnt\":\"{number}\"}}}}");
        let error = Event::decode(Network::V3, topic, body).unwrap_err();
        assert!(in_full(&error).contains("f_cnt"));
    }
    for member in [
        format!("\"settings\":{{\"timestamp\":\"{digits}\"}}"),
        format!("\"rx_metadata\":[{{\"frequency_offset\":\"-{digits}\"}}]"),
        format!("\"f_cnt\":{digits}"),
        format!("\"f_cnt\":0.{digits}"),
        format!("\"rx_metadata\":[{{\"rssi\":{digits}}}]"),
        format!("\"rx_metadata\":[{{\"rssi\":0.{digits}}}]"),
        format!("\"rx_metadata\":[{{\"rssi\":1e{digits}}}]"),
        format!("\"rx_metadata\":[{{\"rssi\":\"{digits}\"}}]"),
        format!("\"decoded_payload\":{{\"x\":-{digits}}}"),
        format!("\"consumed_airtime\":\"{digits}s\""),
        format!("\"consumed_airtime\":\"0.{digits}s\""),
        format!("\"received_at\":\"{digits}\""),
        format!("\"settings\":{{\"frequency\":\"{digits}\"}}"),
        format!("\"unheard_of\":{digits}"),
    ] {
        let body = format!("{{\"uplink_message\":{{{member}}}}}");
        survives(topic, body.into_bytes());
    }
}

#[test]
fn an_error_does_not_repeat_a_megabyte_of_what_is_wrong() {
    let long = "?".repeat(1 << 20);
    for members in [
        json!({"f_cnt": long}),
        json!({"frm_payload": long}),
        json!({"f_port": long}),
        json!({"f_port": {"text": long}}),
    ] {
        let error = up_error(members);
        assert!(error.len() < 10_000, "{} bytes", error.len());
    }
}

/// Returns the text that an error of the network becomes.
fn network_error(error: Value) -> String {
    let body = json!({"downlink_failed": {"error": error}}).to_string();
    let event = Event::decode(
        Network::V3,
        "v3/greenhouse@ttn/devices/bed-07/down/failed",
        body,
    );
    let Ok(Event::Downlink(failed)) = event else {
        panic!("{event:?}")
    };
    let details = failed.error_details.as_ref().unwrap();
    assert_eq!(details.to_string(), failed.error);
    failed.error.clone()
}

#[test]
fn places_without_end_in_an_error_of_the_network_take_no_time() {
    let _watchdog = watchdog(Duration::from_secs(60));
    for end in ["", "}"] {
        let text = network_error(json!({"message_format": "{".repeat(4 << 20) + end}));
        assert!(text.starts_with("{{{{"));
    }
}

#[test]
fn an_error_of_the_network_does_not_grow_by_what_is_filled_in() {
    let long = "?".repeat(1 << 14);
    for (attribute, cause) in [
        (json!(long), json!(null)),
        (json!([long]), json!(null)),
        (json!(""), json!({"message_format": long})),
        (json!("é?".repeat(3_333)), json!(null)),
    ] {
        let text = network_error(json!({
            "message_format": "why: {a}".to_owned() + &"{a}".repeat(1 << 14),
            "attributes": {"a": attribute},
            "cause": cause,
        }));
        assert!(text.len() <= 10_003, "{} bytes", text.len());
        assert!(text.starts_with("why: ") && text.ends_with('…'), "{text}");
    }
}

#[test]
fn a_list_of_downlinks_does_not_grow_by_the_ids_of_its_message() {
    const MANY: usize = 10_000;
    let (ids, downlinks) = (vec![""; MANY], vec![json!({}); MANY]);
    let device = |dev_id: &str| json!({"device_id": dev_id, "application_ids": {"application_id": "greenhouse"}});
    let long = "a".repeat(MANY);
    for (member, list) in [
        ("downlink_queue_invalidated", "downlinks"),
        ("join_accept", "invalidated_downlinks"),
    ] {
        for (device, ids) in [(device("bed-07"), &ids[..]), (device(&long), &[])] {
            let body = json!({"end_device_ids": device, "correlation_ids": ids, member: {list: downlinks}});
            let error = Event::from_json(Network::V3, body.to_string()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode);
            assert!(in_full(&error).contains("10000 downlinks"), "{error}");
        }
        let all = json!({"end_device_ids": device("bed-07"), "correlation_ids": ["gs:uplink:1"], member: {list: downlinks}});
        let event = Event::from_json(Network::V3, all.to_string()).unwrap();
        let read = match &event {
            Event::Activation(join) => &join.invalidated_downlinks,
            Event::QueueInvalidated(invalidated) => &invalidated.downlinks,
            _ => panic!("a list of downlinks becomes another message"),
        };
        assert_eq!(read.len(), MANY);
        assert_eq!(read[MANY - 1].event_correlation_ids, ["gs:uplink:1"]);
    }
}

#[test]
fn debug_text_is_no_square_of_the_message() {
    let topic = "v3/greenhouse@ttn/devices/bed-07/down/invalidated";
    let text = |downlinks| {
        let list = vec![json!({"frm_payload": "A".repeat(200)}); downlinks];
        let body = json!({"downlink_queue_invalidated": {"downlinks": list}}).to_string();
        format!("{:?}", Event::decode(Network::V3, topic, body).unwrap())
    };
    let [some, many] = [100, 1_000].map(|downlinks| text(downlinks).len());
    assert!(many < 11 * some, "{many} bytes, {some} for a tenth");
    assert!(
        text(3).contains("AA\\\"}]}}"),
        "a short message is shown whole"
    );
}

#[test]
fn a_member_given_twice_does_no_harm() {
    let _watchdog = watchdog(LIMIT);
    for name in messages() {
        let original = value(&name).to_string();
        for place in places(&value(&name)) {
            let member = member_name(&place);
            let quoted = format!("\"{member}\":");
            let twice = original.replacen(&quoted, &format!("{quoted}null,{quoted}"), 1);
            assert_ne!(twice, original);
            survives(&topic(&name), twice.into_bytes());
        }
    }
}

#[test]
fn of_ids_given_twice_the_last_ones_count_alone() {
    let body = br#"{
        "end_device_ids": {"device_id": "first", "application_ids": {"application_id": "first"}, "dev_addr": "AAAAAAAA"},
        "uplink_message": {"rx_metadata": [{
            "gateway_ids": {"gateway_id": "first", "eui": "AAAAAAAAAAAAAAAA"},
            "gateway_ids": {"gateway_id": "roof-east"}
        }]},
        "end_device_ids": {
            "device_id": "bed-07",
            "application_ids": {"application_id": "first"},
            "application_ids": {},
            "dev_eui": "BBBBBBBBBBBBBBBB"
        }
    }"#;
    let topic = "v3/greenhouse@ttn/devices/bed-07/up";
    let Event::Uplink(uplink) = Event::decode(Network::V3, topic, body).unwrap() else {
        panic!();
    };
    let ids = [
        &uplink.app_id,
        &uplink.dev_id,
        &uplink.hardware_serial,
        &uplink.dev_addr,
    ];
    assert_eq!(ids, ["greenhouse", "bed-07", "BBBBBBBBBBBBBBBB", ""]);
    let gateway = &uplink.metadata.gateways[0];
    assert_eq!([&gateway.gtw_id, &gateway.eui], ["roof-east", ""]);
}
