//! What cannot be read stays reachable, what can be read is read exactly, and nothing is made up.
//! `src/network/odd_members.rs` shows the former for every member of every known message.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use ttn::{DownlinkEvent, ErrorKind, Event, Gateway, Location, Network, UplinkMessage};

/// Reads a message of the device bed-07 on v3.
fn v3(kind: &str, body: impl ToString) -> ttn::Result<Event> {
    let topic = format!("v3/greenhouse@ttn/devices/bed-07/{kind}");
    Event::decode(Network::V3, topic, body.to_string())
}

fn v2(kind: &str, body: impl ToString) -> ttn::Result<Event> {
    let topic = format!("greenhouse/devices/bed-07/{kind}");
    Event::decode(Network::V2, topic, body.to_string())
}

fn uplink(event: ttn::Result<Event>) -> UplinkMessage {
    match event {
        Ok(Event::Uplink(uplink)) => (*uplink).clone(),
        event => panic!("{event:?}"),
    }
}

/// Returns a v3 uplink that has these members too.
fn up_v3(members: Value) -> UplinkMessage {
    let mut message = json!({"f_port": 2, "f_cnt": 118, "frm_payload": "C0Y="});
    message.as_object_mut().unwrap().extend(object(members));
    let uplink = uplink(v3("up", json!({"uplink_message": message})));
    assert_eq!((uplink.port, uplink.counter), (2, 118));
    assert_eq!(uplink.payload_raw, [0x0b, 0x46]);
    uplink
}

/// Returns a V2 uplink that has these members too.
fn up_v2(members: Value) -> UplinkMessage {
    let mut message = json!({"port": 2, "counter": 118, "payload_raw": "C0Y=", "metadata": {}});
    message.as_object_mut().unwrap().extend(object(members));
    let uplink = uplink(v2("up", message));
    assert_eq!((uplink.port, uplink.counter), (2, 118));
    assert_eq!(uplink.payload_raw, [0x0b, 0x46]);
    uplink
}

/// Returns the same gateway of an uplink of each network.
fn gateways(v2: Value, v3: Value) -> [Gateway; 2] {
    [
        up_v2(json!({"metadata": {"gateways": [v2]}})),
        up_v3(json!({"rx_metadata": [v3]})),
    ]
    .map(|mut uplink| uplink.metadata.gateways.remove(0))
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    match value {
        Value::Object(members) => members,
        value => panic!("{value}"),
    }
}

fn is_at(location: Option<&Location>, latitude: f64, longitude: f64) -> bool {
    location.is_some_and(|place| (place.latitude, place.longitude) == (latitude, longitude))
}

#[test]
fn an_accuracy_below_zero_costs_neither_the_uplink_nor_the_place() {
    let odd = json!({"latitude": 52.5, "longitude": 4.25, "accuracy": -1, "altitude": 14.5});
    let kept = json!({"accuracy": -1, "altitude": 14.5});
    let read = up_v3(json!({"locations": {"frm-payload": odd}}));
    let place = &read.metadata.locations["frm-payload"];
    assert!(is_at(Some(place), 52.5, 4.25));
    assert_eq!((place.accuracy, place.altitude), (None, 0));
    assert_eq!(read.metadata.extra["locations"]["frm-payload"], kept);

    let body = json!({"location_solved": {"service": "frm-payload", "location": odd}});
    let Event::LocationSolved(solved) = v3("location/solved", body).unwrap() else {
        panic!()
    };
    assert!(is_at(solved.location.as_ref(), 52.5, 4.25));
    assert_eq!(solved.extra["location"], kept);

    let odd =
        json!({"latitude": 52.5, "longitude": 4.25, "location_accuracy": -1, "altitude": 14.5});
    let read = up_v2(json!({"metadata": odd}));
    assert!(is_at(read.metadata.location.as_ref(), 52.5, 4.25));
    assert_eq!(read.metadata.extra["location_accuracy"], -1);
    assert_eq!(read.metadata.extra["altitude"], 14.5);
}

#[test]
fn a_member_of_another_type_is_kept_where_its_field_is_empty() {
    let read = up_v3(json!({
        "session_key_id": "nonsense!", "confirmed": "TRUE", "attributes": {"row": "7", "bed": {"no": 7}},
        "last_battery_percentage": 93.7, "packet_error_rate": "low", "settings": 7, "app_s_key": {},
        "last_a_f_cnt_down": "many"
    }));
    assert!(read.session_key_id.is_empty() && !read.confirmed && read.battery.is_none());
    assert_eq!(read.attributes.len(), 1);
    assert_eq!(
        (read.packet_error_rate, read.last_downlink_counter),
        (None, None)
    );
    let kept = json!({
        "session_key_id": "nonsense!", "confirmed": "TRUE", "attributes": {"bed": {"no": 7}},
        "last_battery_percentage": 93.7, "packet_error_rate": "low", "last_a_f_cnt_down": "many"
    });
    assert_eq!(Value::from(read.extra), kept);
    assert_eq!(Value::from(read.metadata.extra), json!({"settings": 7}));

    let read = up_v2(json!({
        "confirmed": "TRUE", "attributes": {"row": "7", "bed": {"no": 7}}, "hardware_serial": 7,
        "metadata": {"gateways": {"gtw_id": "roof-east"}, "airtime": -1}
    }));
    assert!(!read.confirmed && !read.is_simulated());
    let kept = json!({"confirmed": "TRUE", "attributes": {"bed": {"no": 7}}, "hardware_serial": 7});
    assert_eq!(Value::from(read.extra), kept);
    let kept = json!({"gateways": {"gtw_id": "roof-east"}, "airtime": -1});
    assert_eq!(Value::from(read.metadata.extra), kept);
}

#[test]
fn a_clock_of_a_gateway_with_64_bits_is_kept() {
    let odd = json!({"timestamp": 4_294_967_297_u64, "rssi": -60});
    for gateway in gateways(odd.clone(), odd) {
        assert_eq!((gateway.timestamp, gateway.rssi), (None, Some(-60.0)));
        assert_eq!(gateway.extra["timestamp"], 4_294_967_297_u64);
    }
}

#[test]
fn odd_elements_of_a_list_are_kept_and_the_others_are_read() {
    let list = json!([{"gtw_id": "one", "gateway_ids": {"gateway_id": "one"}}, 7, null, ["x"]]);
    for uplink in [
        up_v2(json!({"metadata": {"gateways": list}})),
        up_v3(json!({"rx_metadata": list})),
    ] {
        assert_eq!(uplink.metadata.gateways.len(), 1);
        assert_eq!(uplink.metadata.gateways[0].gtw_id, "one");
        let name = ["gateways", "rx_metadata"].into_iter();
        let kept = name
            .filter_map(|name| uplink.metadata.extra.get(name))
            .next();
        assert_eq!(kept, Some(&json!([7, ["x"]])));
    }
    let body = json!({"downlink_queued": {"class_b_c": {"gateways": [
        {"gateway_ids": {"gateway_id": "one"}, "antenna_index": -1}, "two"]}}});
    let Event::Downlink(report) = v3("down/queued", body).unwrap() else {
        panic!()
    };
    assert_eq!(report.class_b_c.as_ref().unwrap().gateways.len(), 1);
    let kept = json!({"gateways": [{"antenna_index": -1}, "two"]});
    assert_eq!(report.extra["class_b_c"], kept);
}

#[test]
fn an_unreadable_downlink_in_a_list_is_kept_whole_and_the_others_are_read() {
    let list = json!([{"f_port": 300, "priority": "LOW"}, {"f_port": 3, "frm_payload": "AQ=="}]);
    let is_read = |downlinks: &[DownlinkEvent]| matches!(downlinks, [downlink] if downlink.port == 3 && downlink.payload_raw == [1]);
    let body = json!({"downlink_queue_invalidated": {"downlinks": list}});
    let Event::QueueInvalidated(queue) = v3("down/invalidated", body).unwrap() else {
        panic!()
    };
    assert!(is_read(&queue.downlinks));
    assert_eq!(queue.extra["downlinks"], json!([list[0]]));
    let body = json!({"join_accept": {"invalidated_downlinks": list}});
    let Event::Activation(join) = v3("join", body).unwrap() else {
        panic!()
    };
    assert!(is_read(&join.invalidated_downlinks));
    assert_eq!(join.extra["invalidated_downlinks"], json!([list[0]]));
}

#[test]
fn ids_payload_port_and_counter_still_decide() {
    for body in [
        json!({"uplink_message": {"f_port": "x"}}),
        json!({"uplink_message": {"f_cnt": -1}}),
        json!({"uplink_message": {"frm_payload": "***"}}),
        json!({"end_device_ids": {"device_id": []}, "uplink_message": {}}),
        json!({"end_device_ids": 7, "uplink_message": {}}),
    ] {
        assert_eq!(
            v3("up", &body).unwrap_err().kind(),
            ErrorKind::Decode,
            "{body}"
        );
    }
    for member in [
        json!({"port": "x"}),
        json!({"counter": -1}),
        json!({"payload_raw": "***"}),
        json!({"dev_id": {}}),
    ] {
        let mut body = json!({"metadata": {}});
        body.as_object_mut().unwrap().extend(object(member));
        assert_eq!(
            v2("up", &body).unwrap_err().kind(),
            ErrorKind::Decode,
            "{body}"
        );
    }
}

#[test]
fn decoded_numbers_are_the_servers_to_the_last_digit() {
    // Each is another number if its digits are not read exactly.
    for digits in [
        "63.300000000000004",
        "51.24852348215932",
        "0.11999999999999744",
        "-97.12345678901235",
        "8.41e21",
        "9007199254740993.0",
        "5e-324",
        "1.7976931348623157e308",
    ] {
        let exact: f64 = digits.parse().unwrap();
        let body = format!(
            r#"{{"uplink_message":{{"decoded_payload":{{"x":{digits}}},"rx_metadata":[{{"rssi":{digits},"snr":"{digits}"}}]}}}}"#
        );
        let on_v3 = uplink(v3("up", body));
        let body = format!(
            r#"{{"payload_fields":{{"x":{digits}}},"metadata":{{"gateways":[{{"rssi":{digits},"snr":"{digits}"}}]}}}}"#
        );
        for uplink in [on_v3, uplink(v2("up", body))] {
            assert_eq!(uplink.payload_fields["x"].as_f64(), Some(exact), "{digits}");
            let gateway = &uplink.metadata.gateways[0];
            assert_eq!(
                (gateway.rssi, gateway.snr),
                (Some(exact), Some(exact)),
                "{digits}"
            );
        }
    }
}

#[test]
fn whole_numbers_as_text_may_have_a_fraction_or_an_exponent() {
    for (text, number) in [
        ("1e2", 100),
        ("118.0", 118),
        ("1.18E+2", 118),
        ("11800e-2", 118),
        ("0.0e5", 0),
        ("-0", 0),
        ("4294967295.000", u32::MAX),
        ("4.294967295e9", u32::MAX),
    ] {
        let on_v3 = uplink(v3("up", json!({"uplink_message": {"f_cnt": text}})));
        let on_v2 = uplink(v2("up", json!({"counter": text, "metadata": {}})));
        assert_eq!((on_v3.counter, on_v2.counter), (number, number), "{text}");
    }
    let settings = json!({"frequency": "8.683e8", "timestamp": "8.25318032e8"});
    let read = up_v3(json!({"settings": settings})).metadata;
    assert_eq!(
        (read.frequency, read.timestamp),
        (Some(868.3), Some(825_318_032))
    );
    let frequent = json!({"fine_timestamp": "18446744073709551615.0"});
    for gateway in gateways(frequent.clone(), frequent) {
        assert_eq!(gateway.fine_timestamp, Some(u64::MAX));
    }
    for text in [
        "118.5",
        "1e-1",
        "1e",
        "e2",
        ".5e1",
        "1.e1",
        "1e99",
        "1e99999999999",
        "0x10",
        " 1",
        "1_0",
        "4294967296e0",
        "--1",
        "-+1",
        "1e+-1",
    ] {
        let body = json!({"uplink_message": {"f_cnt": text}});
        assert!(v3("up", body).is_err(), "{text}");
        assert!(
            v2("up", json!({"counter": text, "metadata": {}})).is_err(),
            "{text}"
        );
    }
}

#[test]
fn base64_may_have_either_alphabet_no_padding_and_unused_bits() {
    for (text, bytes) in [
        ("+/8=", &[0xfb, 0xff][..]),
        ("-_8=", &[0xfb, 0xff]),
        ("-_8", &[0xfb, 0xff]),
        ("AQJ=", &[1, 2]),
        ("AQJ", &[1, 2]),
        ("AR==", &[1]),
        ("-_9", &[0xfb, 0xff]),
        ("0000000000000000000000==", &[0xd3; 0][..]),
    ] {
        let on_v3 = uplink(v3(
            "up",
            json!({"uplink_message": {"frm_payload": text, "session_key_id": text}}),
        ));
        let on_v2 = uplink(v2("up", json!({"payload_raw": text, "metadata": {}})));
        let expected = match bytes.is_empty() {
            // The identifier of a session key that a server has made unreadable.
            true => [0xd3, 0x4d, 0x34].repeat(6)[..16].to_vec(),
            false => bytes.to_vec(),
        };
        assert_eq!(on_v3.payload_raw, expected, "{text}");
        assert_eq!(on_v3.session_key_id, expected, "{text}");
        assert_eq!(on_v2.payload_raw, expected, "{text}");
    }
    for text in ["***", "A", "AQ=I", "+_8="] {
        let read = up_v3(json!({"session_key_id": text}));
        assert!(read.session_key_id.is_empty());
        assert_eq!(read.extra["session_key_id"], text);
        assert!(v2("up", json!({"payload_raw": text, "metadata": {}})).is_err());
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let body = "\u{feff}{\"uplink_message\":{\"f_port\":2},\
        \"end_device_ids\":{\"device_id\":\"bed-07\",\"application_ids\":{\"application_id\":\"greenhouse\"}}}";
    assert_eq!(uplink(v3("up", body)).port, 2);
    assert_eq!(UplinkMessage::from_json(Network::V3, body).unwrap().port, 2);
    let body =
        "\u{feff}{\"port\":2,\"app_id\":\"greenhouse\",\"dev_id\":\"bed-07\",\"metadata\":{}}";
    assert_eq!(uplink(v2("up", body)).port, 2);
    assert_eq!(UplinkMessage::from_json(Network::V2, body).unwrap().port, 2);
    let Event::UplinkField(field) = v2("up/temperature", "\u{feff}21.5").unwrap() else {
        panic!()
    };
    assert_eq!(field.value, 21.5);
    assert!(matches!(
        v2("events/create", "\u{feff}null"),
        Ok(Event::Device(_))
    ));
}

#[test]
fn a_message_without_content_is_told_to_be_empty() {
    for body in ["", " \n", "\u{feff}"] {
        let decoded = [
            v3("up", body),
            v3("down/ack", body),
            v2("up", body),
            v2("up/temperature", body),
            v2("events/create", body),
            Event::from_json(Network::V3, body),
            Event::from_json(Network::V2, body),
        ];
        for result in decoded {
            let error = result.unwrap_err().to_string();
            assert!(error.ends_with(": it is empty"), "{error}");
        }
    }
}

#[test]
fn names_in_camel_case_are_read_on_v3_wherever_they_stand() {
    let message = json!({
        "fPort": 2, "fCnt": 118, "frmPayload": "C0Y=", "decodedPayload": {"soilTemp": 7},
        "lastAFCntDown": 5, "sessionKeyId": "AQI=", "attributes": {"plotNumber": "9"},
        "rxMetadata": [{"gatewayIds": {"gatewayId": "roof-east"}, "channelRssi": -97, "unheardOf": 1}],
        "settings": {"dataRate": {"lora": {"spreadingFactor": 7, "bandwidth": 125_000, "codingRate": "4/5"}}},
        "locations": {"frmPayload": {"latitude": 1.5}}, "consumedAirtime": "soon"
    });
    let ids = json!({"deviceId": "bed-08", "applicationIds": {"applicationId": "barn"},
        "devEui": "70b3d57ed0051a2b"});
    for body in [
        json!({"end_device_ids": ids, "uplink_message": message}),
        json!({"endDeviceIds": ids, "uplinkMessage": message, "receivedAt": "2025-05-14T08:21:37Z"}),
    ] {
        let read = uplink(v3("up", &body));
        assert_eq!((&read.app_id[..], &read.dev_id[..]), ("barn", "bed-08"));
        assert_eq!(read.hardware_serial, "70B3D57ED0051A2B");
        assert_eq!((read.port, read.counter), (2, 118));
        assert_eq!(read.payload_raw, [0x0b, 0x46]);
        assert_eq!(
            (read.last_downlink_counter, &read.session_key_id[..]),
            (Some(5), &[1, 2][..])
        );
        let gateway = &read.metadata.gateways[0];
        assert_eq!(
            (&gateway.gtw_id[..], gateway.channel_rssi),
            ("roof-east", Some(-97.0))
        );
        assert_eq!(gateway.extra["unheardOf"], 1);
        assert_eq!(read.metadata.data_rate, "SF7BW125");
        // Names that are a user's stay as they are.
        assert_eq!(read.payload_fields["soilTemp"], 7);
        assert_eq!(read.attributes["plotNumber"], "9");
        assert_eq!(read.metadata.locations["frmPayload"].latitude, 1.5);
        assert_eq!(read.metadata.extra["consumed_airtime"], "soon");
        let from_json = UplinkMessage::from_json(Network::V3, body.to_string()).unwrap();
        assert_eq!(from_json.counter, 118);
    }
    let read = up_v2(json!({"payloadRaw": "AQ=="}));
    assert_eq!(read.extra["payloadRaw"], "AQ==");
}

#[test]
fn a_message_without_what_its_topic_says_is_malformed() {
    for (kind, member) in [
        ("up", "uplink_message"),
        ("up/normalized", "uplink_normalized"),
        ("join", "join_accept"),
        ("down/queued", "downlink_queued"),
        ("down/sent", "downlink_sent"),
        ("down/ack", "downlink_ack"),
        ("down/nack", "downlink_nack"),
        ("down/failed", "downlink_failed"),
        ("down/invalidated", "downlink_queue_invalidated"),
        ("location/solved", "location_solved"),
        ("service/data", "service_data"),
    ] {
        let ids = json!({"device_id": "bed-07"});
        for body in [
            json!({"end_device_ids": ids}),
            json!({"end_device_ids": ids, member: null}),
            json!({"end_device_ids": ids, "uplink_of_the_future": {}}),
            json!({"end_device_ids": ids, if kind == "join" { "service_data" } else { "join_accept" }: {}}),
        ] {
            let error = v3(kind, &body).unwrap_err();
            assert!(
                error.to_string().contains(&format!("{member} is missing")),
                "{error}"
            );
        }
    }
    for body in [json!({}), json!({"error": "x"}), json!({"app_eui": "x"})] {
        assert!(v2("up", body).is_err());
    }
}

#[test]
fn a_data_rate_without_one_of_its_parts_is_empty() {
    let read = |settings: Value| up_v3(json!({"settings": {"data_rate": settings}})).metadata;
    for (rate, modulation, kept) in [
        (json!({"lora": {}}), "LORA", json!({})),
        (
            json!({"lora": {"bandwidth": 125_000}}),
            "LORA",
            json!({"bandwidth": 125_000}),
        ),
        (
            json!({"lora": {"spreading_factor": 7, "bandwidth": "wide"}}),
            "LORA",
            json!({"spreading_factor": 7, "bandwidth": "wide"}),
        ),
        (json!({"lrfhss": {}}), "LR_FHSS", json!({})),
        (
            json!({"lrfhss": {"modulation_type": 1}}),
            "LR_FHSS",
            json!({"modulation_type": 1}),
        ),
        (
            json!({"lrfhss": {"modulation_type": -1, "operating_channel_width": 137_000}}),
            "LR_FHSS",
            json!({"modulation_type": -1, "operating_channel_width": 137_000}),
        ),
        (json!({"fsk": {}}), "FSK", json!({})),
        (json!(7), "", json!({"data_rate": 7})),
        (json!({"lora": 7}), "", json!({"lora": 7})),
    ] {
        let metadata = read(rate.clone());
        assert_eq!(
            (&*metadata.modulation, &*metadata.data_rate),
            (modulation, ""),
            "{rate}"
        );
        assert_eq!(metadata.bit_rate, None);
        assert_eq!(Value::from(metadata.extra), kept, "{rate}");
    }
    // Servers leave out the modulation type 0.
    let whole = read(json!({"lrfhss": {"operating_channel_width": 137_000}}));
    assert_eq!(whole.data_rate, "M0CW137");
}

#[test]
fn euis_and_addresses_are_upper_case_or_kept() {
    let ids = json!({"dev_eui": "70b3d57ed0051a2b", "join_eui": "A84041000000010f", "dev_addr": "260b5c1e"});
    let message = json!({"network_ids": {"net_id": "00001f", "ns_id": "ec656e0000000181"},
        "app_s_key": {"key": "00112233445566778899aabbccddeeff"},
        "rx_metadata": [{"gateway_ids": {"eui": "0016c001f10a1b2c"}}]});
    let read = uplink(v3(
        "up",
        json!({"end_device_ids": ids, "uplink_message": message}),
    ));
    assert_eq!(read.hardware_serial, "70B3D57ED0051A2B");
    assert_eq!(
        (&read.app_eui[..], &read.dev_addr[..]),
        ("A84041000000010F", "260B5C1E")
    );
    let network = read.network_ids.unwrap();
    assert_eq!(
        (&network.net_id[..], &network.ns_id[..]),
        ("00001F", "EC656E0000000181")
    );
    assert_eq!(
        read.app_s_key.unwrap().key,
        "00112233445566778899AABBCCDDEEFF"
    );
    assert_eq!(read.metadata.gateways[0].eui, "0016C001F10A1B2C");
    assert_eq!(
        up_v2(json!({"hardware_serial": "a84041ffee10c207"})).hardware_serial,
        "A84041FFEE10C207"
    );
    let body = json!({"app_eui": "70b3d57ed000ab01", "dev_eui": "a84041ffee10c207", "dev_addr": "26011f9c"});
    let Event::Activation(join) = v2("events/activations", body).unwrap() else {
        panic!()
    };
    assert_eq!(join.app_eui, "70B3D57ED000AB01");
    assert_eq!(
        (&join.dev_eui[..], &join.dev_addr[..]),
        ("A84041FFEE10C207", "26011F9C")
    );

    for odd in [
        "70B3D57ED0051A2",
        "70B3D57ED0051A2G",
        "70-B3-D5-7E-D0-05-1A-2B",
        "x",
        "é0B3D57ED0051A2",
    ] {
        let body = json!({"end_device_ids": {"dev_eui": odd}, "uplink_message": {}});
        let read = uplink(v3("up", body));
        assert_eq!(read.hardware_serial, "");
        assert_eq!(read.extra["end_device_ids"], json!({"dev_eui": odd}));
        let read = up_v2(json!({"hardware_serial": odd}));
        assert_eq!(
            (&read.hardware_serial[..], &read.extra["hardware_serial"]),
            ("", &json!(odd))
        );
    }
}

#[test]
fn an_offset_beyond_a_day_and_a_time_before_1970_are_kept_in_every_spelling() {
    for text in [
        "2025-05-14T08:21:37+99:99",
        "2025-05-14T08:21:37+24:00",
        "2025-05-14T08:21:37-01:60",
        "1969-12-31T23:30:00Z",
        "1970-01-01T00:30:00+01:00",
        "0001-01-01T00:00:00+00:00",
    ] {
        let odd = json!({"time": text});
        for gateway in gateways(odd.clone(), odd.clone()) {
            assert_eq!((gateway.time, &gateway.extra["time"]), (None, &json!(text)));
        }
        assert_eq!(up_v2(json!({"metadata": odd})).metadata.extra["time"], text);
        let Event::Device(device) = v2("events/update", json!({"update_at": text})).unwrap() else {
            panic!()
        };
        assert_eq!(
            (device.updated_at, &device.extra["update_at"]),
            (None, &json!(text))
        );
    }
    let no_time = json!({"time": "0001-01-01T00:00:00Z"});
    for gateway in gateways(no_time.clone(), no_time) {
        assert!(gateway.time.is_none() && gateway.extra.is_empty());
    }
    let late = json!({"time": "1969-12-31T23:30:00-01:00"});
    for gateway in gateways(late.clone(), late) {
        let half_past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800);
        assert_eq!(gateway.time, Some(half_past));
    }
}

#[test]
fn a_coordinate_that_is_null_or_odd_is_not_zero() {
    for (odd, is_kept) in [
        (
            json!({"latitude": null, "longitude": null, "altitude": null}),
            false,
        ),
        (json!({"latitude": null}), false),
        (json!({"latitude": null, "longitude": 4.25}), true),
        (
            json!({"latitude": "north", "longitude": 4.25, "altitude": 3}),
            true,
        ),
        (json!({"latitude": "NaN", "longitude": 4.25}), true),
        (json!({"altitude": 3}), true),
    ] {
        let kept = if is_kept { odd.clone() } else { json!({}) };
        let read = up_v2(json!({"metadata": odd}));
        assert_eq!(read.metadata.location, None, "{odd}");
        assert_eq!(Value::from(read.metadata.extra), kept, "{odd}");
        let read = up_v3(json!({"locations": {"user": odd}, "rx_metadata": [{"location": odd}]}));
        assert_eq!(read.metadata.location, None, "{odd}");
        assert_eq!(read.metadata.gateways[0].location, None, "{odd}");
        if is_kept {
            assert_eq!(read.metadata.extra["locations"], json!({"user": odd}));
            assert_eq!(read.metadata.gateways[0].extra["location"], odd);
        }
        let Event::Device(device) = v2("events/update", &odd).unwrap() else {
            panic!()
        };
        assert_eq!(
            (&device.location, Value::from(device.extra.clone())),
            (&None, kept)
        );
    }
    // Servers leave out 0.
    for half in [
        json!({"longitude": 4.25}),
        json!({"latitude": 0, "longitude": 4.25}),
    ] {
        let on_v2 = up_v2(json!({"metadata": half})).metadata.location;
        let on_v3 = up_v3(json!({"locations": {"user": half}}))
            .metadata
            .location;
        assert!(is_at(on_v2.as_ref(), 0.0, 4.25) && is_at(on_v3.as_ref(), 0.0, 4.25));
    }
}

#[test]
fn an_encrypted_fine_timestamp_of_v2_has_its_field() {
    let of_v2 = json!({"fine_timestamp_encrypted": "AQID"});
    let of_v3 = json!({"encrypted_fine_timestamp": "AQID"});
    for gateway in gateways(of_v2, of_v3) {
        assert_eq!(gateway.encrypted_fine_timestamp, [1, 2, 3]);
        assert!(gateway.extra.is_empty());
    }
}

#[test]
fn null_in_a_list_or_map_of_texts_is_left_out() {
    let attributes = json!({"row": "7", "bed": null, "empty": ""});
    let body =
        json!({"correlation_ids": ["a", null, "b"], "uplink_message": {"attributes": attributes}});
    let on_v3 = uplink(v3("up", body));
    assert_eq!(on_v3.correlation_ids, ["a", "b"]);
    for uplink in [on_v3, up_v2(json!({"attributes": attributes}))] {
        let names: Vec<_> = uplink.attributes.keys().collect();
        assert_eq!(names, ["empty", "row"]);
        assert!(uplink.extra.is_empty());
    }
}

#[test]
fn an_attempt_that_cannot_be_read_is_not_the_first() {
    let attempt = |retry: Value| {
        let body = json!({"downlink_nack": {"f_port": 2, "confirmed_retry": retry}});
        match v3("down/nack", body).unwrap() {
            Event::Downlink(report) => report.attempt,
            event => panic!("{event:?}"),
        }
    };
    assert_eq!(attempt(json!({"attempt": 2})), Some(2));
    assert_eq!(attempt(json!({})), Some(0));
    assert_eq!(attempt(json!({"attempt": null})), Some(0));
    assert_eq!(attempt(json!({"attempt": "second"})), None);
    assert_eq!(attempt(json!(7)), None);
}

#[test]
fn what_is_not_a_message_is_told_with_its_reason() {
    let reason = |body: &str| {
        let error = Event::from_json(Network::V3, body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        error.to_string()
    };
    // A line of the Storage Integration that says that a request failed.
    let text = reason(
        r#"{"error":{"grpc_code":3,"http_code":400,"message":"error:pkg/errors:validation"}}"#,
    );
    assert!(text.contains("device_id is missing"), "{text}");
    // One whose field mask has removed the application.
    let text = reason(
        r#"{"result":{"end_device_ids":{"device_id":"bed-07","application_ids":{}},"uplink_message":{"decoded_payload":{"x":1}}}}"#,
    );
    assert!(text.contains("application_id is missing"), "{text}");
    // A server-sent event, whose text follows `data:`.
    let text = reason(r#"data: {"result":{"uplink_message":{}}}"#);
    assert!(text.contains("not JSON"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_client_counts_the_members_that_it_could_not_read() {
    use crate::support::{harness::SOON, mosquitto::Mosquitto, peer::MqttPeer, watchdog::watchdog};
    use ttn::MqttClient;

    let _watchdog = watchdog(Duration::from_secs(60));
    let v3 = json!({"received_at": "noon", "uplink_message": {"f_port": 1, "session_key_id": "***",
        "rx_metadata": [{"timestamp": -1, "location": {"latitude": 1, "accuracy": -1}}, 7],
        "locations": {"user": {"latitude": 1, "longitude": null, "altitude": 3}}}});
    let v2 = json!({"port": 1, "confirmed": "TRUE", "metadata": {"airtime": -1, "latitude": null, "longitude": 4,
        "gateways": [{"timestamp": -1, "rssi": "NaN", "time": 7}, 7]}});
    for (app, key, topic, body, odd) in [
        (
            "greenhouse@ttn",
            "NNSXS.TEST.KEY",
            "v3/greenhouse@ttn/devices/bed-07/up",
            v3,
            6,
        ),
        (
            "greenhouse",
            "ttn-account-v2.test",
            "greenhouse/devices/bed-07/up",
            v2,
            7,
        ),
    ] {
        let broker = Mosquitto::builder()
            .user(app, key)
            .user("network", "network")
            .start();
        let Some(broker) = broker else {
            return;
        };
        let client = MqttClient::builder(app, key)
            .mqtt_address(broker.address().to_string())
            .build()
            .unwrap();
        let events = client.events();
        client.connect().unwrap();
        let mut network = MqttPeer::connect(broker.address(), "network", "network").unwrap();
        for _ in 0..2 {
            network.publish(topic, body.to_string()).unwrap();
        }
        let events = std::iter::from_fn(|| events.recv_timeout(SOON).ok());
        let uplinks = events.filter(|event| matches!(event, Event::Uplink(_)));
        assert_eq!(uplinks.take(2).count(), 2);
        let stats = client.stats();
        assert_eq!((stats.decoded, stats.malformed), (2, 0));
        assert_eq!(stats.odd_members, 2 * odd);
    }
}
