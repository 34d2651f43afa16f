//! Messages from MQTT, webhooks and the Storage Integration.

use super::*;

#[test]
fn webhooks_mqtt_and_storage_give_equal_events() {
    for name in messages() {
        let expected = content(&decode(&name));
        let body = fixture(&name);
        let webhook = Event::from_json(Network::V3, body.clone()).unwrap();
        assert_eq!(content(&webhook), expected, "{name}");
        let line = format!("{{\"result\":{}}}\n", value(&name));
        let stored = Event::from_json(Network::V3, line.as_str())
            .unwrap_or_else(|error| panic!("{name}: {}", in_full(&error)));
        assert_eq!(content(&stored), expected, "{name}");

        let uplink = UplinkMessage::from_json(Network::V3, body.clone());
        let stored = UplinkMessage::from_json(Network::V3, line.as_str());
        if name.starts_with("up-") {
            let uplink = uplink.unwrap();
            assert_eq!(uplink.raw().topic(), "");
            assert_eq!(uplink.raw().payload(), body);
            let of_mqtt = seen(uplink_of(decode(&name)));
            assert_eq!(seen(uplink), of_mqtt);
            assert_eq!(seen(stored.unwrap()), of_mqtt);
        } else if !name.starts_with("normalized-") {
            assert_eq!(uplink.unwrap_err().kind(), ErrorKind::Decode);
            assert_eq!(stored.unwrap_err().kind(), ErrorKind::Decode);
        }
    }
    let other = Event::from_json(Network::V3, fixture("no-variant")).unwrap();
    assert!(matches!(other, Event::Other(_)), "{other:?}");
}

#[test]
fn a_result_is_unwrapped_in_an_answer_of_storage_and_nowhere_else() {
    let line = json!({"result": value("up-confirmed")});
    let error = receive("up", &line).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    let body = json!({"uplink_message": {"f_port": 1}, "result": value("up-fsk")});
    assert_eq!(uplink_of(receive("up", &body).unwrap()).port, 1);
}

#[test]
fn a_body_without_a_topic_needs_both_ids() {
    for ids in [
        json!({}),
        json!(null),
        json!({"device_id": "bed-07"}),
        json!({"application_ids": {"application_id": "greenhouse"}}),
        json!({"device_id": "", "application_ids": {"application_id": "greenhouse"}}),
        json!({"device_id": "bed-07", "application_ids": {}}),
    ] {
        let body = json!({"end_device_ids": ids, "uplink_message": {"f_port": 1}});
        for body in [body.to_string(), json!({"result": body}).to_string()] {
            let error = Event::from_json(Network::V3, body.as_str()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode, "{body}");
            let error = UplinkMessage::from_json(Network::V3, body.as_str()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode, "{body}");
        }
    }
    for body in [
        "",
        "{}",
        "null",
        "[]",
        "{\"result\":null}",
        "{\"result\":7}",
    ] {
        let error = Event::from_json(Network::V3, body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{body}");
    }
}

#[cfg(unix)]
#[test]
fn a_client_reports_what_it_cannot_read_with_its_bytes() {
    use crate::support::{harness::SOON, mosquitto::Mosquitto, peer::MqttPeer};
    use ttn::MqttClient;

    let _watchdog = watchdog(Duration::from_secs(60));
    let (app, key) = ("greenhouse@ttn", "NNSXS.TEST.KEY");
    let Some(broker) = Mosquitto::builder()
        .user(app, key)
        .user("network", "network")
        .start()
    else {
        return;
    };
    let client = MqttClient::builder(app, key)
        .mqtt_address(broker.address().to_string())
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    let mut network = MqttPeer::connect(broker.address(), "network", "network").unwrap();
    let bad = ["bad-base64", "bad-empty-object", "bad-not-an-object"];
    for name in bad {
        network.publish(&topic(name), fixture(name)).unwrap();
    }
    for name in messages() {
        network.publish(&topic(&name), fixture(&name)).unwrap();
    }
    let mut received = std::iter::from_fn(|| events.recv_timeout(SOON).ok())
        .filter(|event| !matches!(event, Event::Connected(_) | Event::Counter(_)));
    for name in bad {
        let event = received.next().unwrap();
        let Event::Malformed(malformed) = event else {
            panic!("{name}: {event:?}")
        };
        assert_eq!(malformed.raw.topic(), topic(name));
        assert_eq!(malformed.raw.payload(), fixture(name));
        assert_eq!(malformed.error.kind(), ErrorKind::Decode);
    }
    let of_application = |name: &String| topic(name).starts_with("v3/greenhouse@ttn/");
    for name in messages().into_iter().filter(of_application) {
        let event = received.next().unwrap();
        assert_eq!(content(&event), content(&decode(&name)), "{name}");
    }
}

#[test]
fn a_webhook_with_a_field_mask_does_not_claim_that_no_frame_was_lost() {
    let body = json!({
        "end_device_ids": {
            "device_id": "tank-1", "application_ids": {"application_id": "greenhouse"},
            "dev_eui": "70B3D57ED0051A2C", "join_eui": "A840410000000101", "dev_addr": "00DB2643"
        },
        "uplink_message": {"f_port": 2, "frm_payload": "AQA="}
    });
    let masked = UplinkMessage::from_json(Network::V3, body.to_string()).unwrap();
    assert_eq!(masked.packet_error_rate, None);
    assert_eq!(masked.payload_raw, [1, 0]);
    let whole = UplinkMessage::from_json(Network::V3, fixture("up-confirmed")).unwrap();
    assert_eq!(whole.packet_error_rate, Some(0.0));
    let over_mqtt = uplink_of(receive("up", &body).unwrap());
    assert_eq!(over_mqtt.packet_error_rate, Some(0.0));
}

#[test]
fn a_webhook_in_protobuf_is_told() {
    // The start of a message in protobuf: the ids of device and application.
    let body = [
        &b"\x0a\x1c\x0a\x06tank-1\x12\x0c\x0a\x0agreenhouse\x32"[..],
        &[0xda, 0x01],
    ]
    .concat();
    let error = Event::from_json(Network::V3, &body).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("protobuf"), "{error}");
    let error = Event::from_json(Network::V3, "{\"a\":").unwrap_err();
    assert!(!error.to_string().contains("protobuf"), "{error}");
}

#[test]
fn an_event_of_the_events_stream_is_told_and_its_data_is_the_message() {
    let mut data = value("up-confirmed");
    data["@type"] = json!("type.googleapis.com/ttn.lorawan.v3.ApplicationUp");
    let event = json!({
        "name": "as.up.data.forward", "time": "2025-05-14T08:21:37Z",
        "identifiers": [{"device_ids": data["end_device_ids"]}], "data": data,
        "unique_id": "01JV6Z4FQQ82YCW78EYQ8PY9XY"
    });
    for body in [event.to_string(), json!({"result": event}).to_string()] {
        let error = Event::from_json(Network::V3, &body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        for words in ["\"as.up.data.forward\"", "events stream", "data"] {
            assert!(error.to_string().contains(words), "{error}");
        }
    }
    let uplink = UplinkMessage::from_json(Network::V3, data.to_string()).unwrap();
    assert_eq!(uplink.extra["@type"], data["@type"]);
    let expected = uplink_of(decode("up-confirmed"));
    assert_eq!(
        (uplink.counter, uplink.metadata),
        (expected.counter, expected.metadata)
    );
}

#[test]
fn requests_are_no_messages_of_a_network() {
    for name in names() {
        if name.starts_with("request-") {
            assert!(Event::from_json(Network::V3, fixture(&name)).is_err());
        }
    }
}
