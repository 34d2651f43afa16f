//! Every form that a value may have in JSON.

use super::*;

#[test]
fn what_is_left_out_is_zero_empty_or_none() {
    let uplink = seen(up(json!({})));
    let expected = Uplink {
        app_id: "greenhouse".to_owned(),
        dev_id: "bed-07".to_owned(),
        packet_error_rate: Some(0.0),
        ..Uplink::default()
    };
    assert_eq!(uplink, expected);

    assert_eq!(gateway(json!({})), Gateway::default());
    assert_eq!(settings(json!({})), Metadata::default());
    assert_eq!(settings(json!({"data_rate": {}})), Metadata::default());
    let read = up(
        json!({"locations": {"user": {}}, "last_battery_percentage": {},
        "app_s_key": {}, "version_ids": {}, "network_ids": {}}),
    );
    assert_eq!(read.metadata.location, None);
    assert_eq!(read.battery, Some(Battery::default()));
    assert_eq!(read.app_s_key, Some(KeyEnvelope::default()));
    assert_eq!(read.version_ids, Some(VersionIds::default()));
    assert_eq!(read.network_ids, Some(NetworkIds::default()));

    let expected = Step {
        port: 0,
        payload_raw: Vec::new(),
        correlation_ids: Vec::new(),
        event_correlation_ids: Vec::new(),
        ..beef(DownlinkStep::Queued, None)
    };
    assert_eq!(seen_step(queued(json!({}))), expected);
}

#[test]
fn the_last_downlink_counter_is_known_with_a_key_or_when_it_is_sent() {
    let last = |members| up(members).last_downlink_counter;
    assert_eq!(last(json!({})), None);
    assert_eq!(last(json!({"last_a_f_cnt_down": 7})), Some(7));
    assert_eq!(last(json!({"last_a_f_cnt_down": 0})), Some(0));
    assert_eq!(last(json!({"app_s_key": {"kek_label": "own"}})), Some(0));
}

#[test]
fn ids_come_from_the_body_and_else_from_the_topic() {
    let ids = |body: &Value| {
        let uplink = uplink_of(receive("up", body).unwrap());
        (uplink.app_id, uplink.dev_id)
    };
    let owned = |app: &str, dev: &str| (app.to_owned(), dev.to_owned());
    assert_eq!(
        ids(&json!({"uplink_message": {}})),
        owned("greenhouse", "bed-07")
    );
    assert_eq!(
        ids(&json!({"end_device_ids": {"device_id": "bed-08"}, "uplink_message": {}})),
        owned("greenhouse", "bed-08")
    );
    assert_eq!(
        ids(
            &json!({"end_device_ids": {"application_ids": {"application_id": "barn"}}, "uplink_message": {}})
        ),
        owned("barn", "bed-07")
    );
    for (kind, member) in [
        ("join", "join_accept"),
        ("down/queued", "downlink_queued"),
        ("down/invalidated", "downlink_queue_invalidated"),
        ("location/solved", "location_solved"),
        ("service/data", "service_data"),
    ] {
        let event = receive(kind, &json!({member: {}})).unwrap();
        let text = format!("{event:?}");
        assert!(
            text.contains(r#"app_id: "greenhouse", dev_id: "bed-07""#),
            "{text}"
        );
    }
}

#[test]
fn a_64_bit_number_may_be_text_or_a_number() {
    for text in [true, false] {
        let number = |number: i64| match text {
            true => json!(number.to_string()),
            false => json!(number),
        };
        let read = gateway(json!({
            "fine_timestamp": number(999_999_999),
            "frequency_offset": number(-1423)
        }));
        assert_eq!(read.fine_timestamp, Some(999_999_999));
        assert_eq!(read.frequency_offset, Some(-1423));
        let read = settings(json!({"frequency": number(2_403_000_000)}));
        assert_eq!(read.frequency, Some(2403.0));
    }
    let read =
        gateway(json!({"fine_timestamp": u64::MAX.to_string(), "frequency_offset": i64::MIN}));
    assert_eq!(read.fine_timestamp, Some(u64::MAX));
    assert_eq!(read.frequency_offset, Some(i64::MIN));
}

#[test]
fn numbers_at_their_limits_are_read_and_beyond_them_named() {
    let read = up(json!({"f_port": 255, "f_cnt": 4_294_967_295_u32}));
    assert_eq!((read.port, read.counter), (255, u32::MAX));
    for (members, name) in [
        (json!({"f_port": 256}), "f_port"),
        (json!({"f_port": -1}), "f_port"),
        (json!({"f_port": "256"}), "f_port"),
        (json!({"f_cnt": 4_294_967_296_u64}), "f_cnt"),
        (json!({"f_cnt": -1}), "f_cnt"),
        (json!({"f_cnt": 1.5}), "f_cnt"),
        (json!({"f_cnt": "1.5"}), "f_cnt"),
        (json!({"f_cnt": "seven"}), "f_cnt"),
        (json!({"f_cnt": "4294967296.0"}), "f_cnt"),
    ] {
        let error = up_error(members.clone());
        assert!(error.contains(name), "{members}: {error}");
    }
}

#[test]
fn a_frequency_that_is_no_whole_number_of_hertz_is_kept() {
    for frequency in [
        json!("NaN"),
        json!("Infinity"),
        json!(-1),
        json!("-868300000"),
        json!("868300000.5"),
        json!("18446744073709551616"),
    ] {
        let read = settings(json!({"frequency": frequency}));
        assert_eq!(read.frequency, None);
        assert_eq!(read.extra["frequency"], frequency);
    }
}

#[test]
fn whole_numbers_may_have_a_fraction_of_zero_or_an_exponent() {
    let body = r#"{"uplink_message":{"f_port":2.0,"f_cnt":1.18e2,"rx_metadata":[{"rssi":-97,"snr":6.0,"channel_index":3e0}]}}"#;
    let event = Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/up", body).unwrap();
    let read = uplink_of(event);
    assert_eq!((read.port, read.counter), (2, 118));
    let gateway = &read.metadata.gateways[0];
    assert_eq!((gateway.rssi, gateway.snr), (Some(-97.0), Some(6.0)));
    assert_eq!(gateway.channel, 3);
}

#[test]
fn a_float_may_be_text_and_is_kept_when_it_is_not_a_number() {
    let read = gateway(json!({"rssi": "-105.5", "channel_rssi": "-1.055e2"}));
    assert_eq!((read.rssi, read.channel_rssi), (Some(-105.5), Some(-105.5)));
    assert!(read.extra.is_empty());
    for text in ["NaN", "Infinity", "-Infinity", "1e400", "good"] {
        let read = gateway(json!({"snr": text}));
        assert_eq!(read.snr, None, "{text}");
        assert_eq!(read.extra["snr"], text);
    }
}

#[test]
fn a_signal_without_a_number_does_not_hide_a_better_one() {
    let read = up(json!({"rx_metadata": [
        {"gateway_ids": {"gateway_id": "one"}, "rssi": "NaN", "snr": "NaN"},
        {"gateway_ids": {"gateway_id": "two"}, "rssi": -120, "snr": -9},
        {"gateway_ids": {"gateway_id": "three"}}
    ]}));
    assert_eq!(read.best_gateway().unwrap().gtw_id, "two");
}

#[test]
fn durations_have_a_fraction_of_0_3_6_or_9_digits() {
    for (text, nanoseconds) in [
        ("2s", 2_000_000_000),
        ("0.056s", 56_000_000),
        ("0.056576s", 56_576_000),
        ("1.000000001s", 1_000_000_001),
        ("0s", 0),
    ] {
        let read = up(json!({"consumed_airtime": text})).metadata.airtime;
        assert_eq!(read, Some(Duration::from_nanos(nanoseconds)), "{text}");
    }
}

#[test]
fn a_duration_that_is_none_is_kept_as_text() {
    for text in ["soon", "s", "-1s", "1", "1 s", "1m", "1.s1"] {
        let read = up(json!({"consumed_airtime": text}));
        assert_eq!(read.metadata.airtime, None, "{text:?}");
        let kept = read.metadata.extra.get("consumed_airtime");
        assert_eq!(kept, Some(&json!(text)));
    }
}

#[test]
fn times_have_a_fraction_of_0_3_6_or_9_digits() {
    for (text, nanoseconds) in [
        ("2025-05-14T08:21:37Z", 0),
        ("2025-05-14T08:21:37.787Z", 787_000_000),
        ("2025-05-14T08:21:37.000001Z", 1_000),
        ("2025-05-14T08:21:37.123456789Z", 123_456_789),
    ] {
        let read = up(
            json!({"received_at": text, "settings": {"time": text}, "rx_metadata": [
            {"time": text, "gps_time": text, "received_at": text}]}),
        )
        .metadata;
        let expected = at(37, nanoseconds);
        let gateway = &read.gateways[0];
        assert_eq!(read.time, expected, "{text}");
        assert_eq!(read.gateway_time, expected);
        assert_eq!(gateway.time, expected);
        assert_eq!(gateway.gps_time, expected);
        assert_eq!(gateway.received_at, expected);
    }
}

#[test]
fn a_time_that_is_none_is_kept_as_text() {
    for text in ["yesterday", "2025-02-30T00:00:00Z", "1747210897"] {
        let kept = json!(text);
        let read =
            uplink_of(receive("up", &json!({"received_at": text, "uplink_message": {}})).unwrap());
        assert_eq!(read.received_at, None);
        assert_eq!(read.extra.get("received_at"), Some(&kept));

        let read = gateway(json!({"time": text, "gps_time": text, "received_at": text}));
        for name in ["time", "gps_time", "received_at"] {
            assert_eq!(read.extra.get(name), Some(&kept), "{name}");
        }
        assert_eq!(
            (read.time, read.gps_time, read.received_at),
            (None, None, None)
        );

        let read = settings(json!({"time": text}));
        assert_eq!(read.gateway_time, None);
        assert_eq!(read.extra.get("time"), Some(&kept));

        let read = up(json!({"received_at": text})).metadata;
        assert_eq!(read.time, None);
        assert_eq!(read.extra.get("received_at"), Some(&kept));
    }
}

#[test]
fn a_time_within_a_part_that_is_none_is_kept_as_text() {
    let read = queued(json!({"class_b_c": {"absolute_time": "noon"}}));
    assert_eq!(read.class_b_c.unwrap().absolute_time, None);
    assert!(format!("{:?}", read.extra).contains("noon"));

    let read = up(json!({"last_battery_percentage": {"received_at": "noon"}}));
    assert_eq!(read.battery.unwrap().received_at, None);
    assert!(format!("{:?}", read.extra).contains("noon"));
}

#[test]
fn base64_may_be_padded_or_not() {
    for (text, bytes) in [
        ("AQ==", &[1][..]),
        ("AQ", &[1]),
        ("AQI=", &[1, 2]),
        ("AQI", &[1, 2]),
        ("AQID", &[1, 2, 3]),
        ("+/8=", &[0xfb, 0xff]),
        ("", &[]),
    ] {
        let read = up(
            json!({"frm_payload": text, "session_key_id": text, "app_s_key": {"encrypted_key": text},
            "rx_metadata": [{"encrypted_fine_timestamp": text}]}),
        );
        assert_eq!(read.payload_raw, bytes, "{text:?}");
        assert_eq!(read.session_key_id, bytes);
        assert_eq!(read.app_s_key.unwrap().encrypted_key, bytes);
        assert_eq!(read.metadata.gateways[0].encrypted_fine_timestamp, bytes);
        assert_eq!(queued(json!({"frm_payload": text})).payload_raw, bytes);
    }
    for (members, name) in [
        (json!({"frm_payload": "***"}), "frm_payload"),
        (json!({"frm_payload": "AQ=I"}), "frm_payload"),
        (json!({"frm_payload": "A"}), "frm_payload"),
    ] {
        let error = up_error(members);
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn a_session_key_is_not_printed() {
    let key = "00112233445566778899AABBCCDDEEFF";
    let read = up(json!({"app_s_key": {"key": key, "kek_label": "own"}}));
    let key_envelope = read.app_s_key.unwrap();
    assert_eq!(key_envelope.key, key);
    assert_eq!(
        format!("{key_envelope:?}"),
        "KeyEnvelope { kek_label: \"own\", .. }"
    );
}

#[test]
fn euis_addresses_net_ids_and_keys_stay_hex() {
    let event = receive(
        "up",
        &json!({
            "end_device_ids": {"dev_eui": "0000000000000000", "join_eui": "FFFFFFFFFFFFFFFF", "dev_addr": "00000000"},
            "uplink_message": {
                "app_s_key": {"key": "00112233445566778899AABBCCDDEEFF"},
                "network_ids": {"net_id": "FFFFFF"},
                "rx_metadata": [{"gateway_ids": {"eui": "1234567890123456"}}]
            }
        }),
    );
    let read = uplink_of(event.unwrap());
    assert_eq!(read.hardware_serial, "0000000000000000");
    assert_eq!(read.app_eui, "FFFFFFFFFFFFFFFF");
    assert_eq!(read.dev_addr, "00000000");
    let key = read.app_s_key.unwrap();
    assert_eq!(key.key, "00112233445566778899AABBCCDDEEFF");
    assert!(key.kek_label.is_empty() && key.encrypted_key.is_empty());
    assert_eq!(read.network_ids.unwrap().net_id, "FFFFFF");
    assert_eq!(read.metadata.gateways[0].eui, "1234567890123456");
}

#[test]
fn a_priority_may_be_a_name_a_number_or_a_number_as_text() {
    let all = [
        ("LOWEST", Priority::Lowest),
        ("LOW", Priority::Low),
        ("BELOW_NORMAL", Priority::BelowNormal),
        ("NORMAL", Priority::Normal),
        ("ABOVE_NORMAL", Priority::AboveNormal),
        ("HIGH", Priority::High),
        ("HIGHEST", Priority::Highest),
    ];
    for (number, (name, priority)) in all.into_iter().enumerate() {
        for form in [json!(name), json!(number), json!(number.to_string())] {
            let read = queued(json!({"priority": form}));
            assert_eq!(read.priority, Some(priority), "{form}");
            assert!(read.extra.is_empty());
        }
    }
}

#[test]
fn a_priority_that_is_not_known_is_kept_as_it_came() {
    for form in [json!("URGENT"), json!("normal"), json!(7), json!("7")] {
        let read = queued(json!({"priority": form}));
        assert_eq!(read.priority, None, "{form}");
        let kept = read.extra.get("priority").unwrap();
        let text = |value: &Value| value.to_string().replace('"', "");
        assert_eq!(text(kept), text(&form));
    }
}

#[test]
fn the_source_of_a_location_may_be_a_name_or_a_number() {
    let source = |form: &Value| {
        let read = gateway(json!({"location": {"latitude": 52.3731, "source": form}}));
        read.location.unwrap().source
    };
    for (number, name, text) in [
        (1, "SOURCE_GPS", "gps"),
        (3, "SOURCE_REGISTRY", "registry"),
        (4, "SOURCE_IP_GEOLOCATION", "ip_geolocation"),
        (5, "SOURCE_WIFI_RSSI_GEOLOCATION", "wifi_rssi_geolocation"),
        (6, "SOURCE_BT_RSSI_GEOLOCATION", "bt_rssi_geolocation"),
        (7, "SOURCE_LORA_RSSI_GEOLOCATION", "lora_rssi_geolocation"),
        (8, "SOURCE_LORA_TDOA_GEOLOCATION", "lora_tdoa_geolocation"),
        (9, "SOURCE_COMBINED_GEOLOCATION", "combined_geolocation"),
    ] {
        for form in [json!(name), json!(number), json!(number.to_string())] {
            assert_eq!(source(&form), text, "{form}");
        }
    }
    assert_eq!(source(&json!("tea_leaves")), "tea_leaves");
    assert_eq!(source(&json!("77")), "77");
    assert_eq!(source(&json!(77)), "77");
}

#[test]
fn a_path_constraint_may_be_a_name_or_a_number() {
    let constraint =
        |form: &Value| gateway(json!({"downlink_path_constraint": form})).downlink_path_constraint;
    for (number, name, text) in [
        (1, "DOWNLINK_PATH_CONSTRAINT_PREFER_OTHER", "PREFER_OTHER"),
        (2, "DOWNLINK_PATH_CONSTRAINT_NEVER", "NEVER"),
    ] {
        for form in [json!(name), json!(number), json!(number.to_string())] {
            assert_eq!(constraint(&form), text, "{form}");
        }
    }
    assert_eq!(constraint(&json!("9")), "9");
    assert_eq!(
        constraint(&json!("DOWNLINK_PATH_CONSTRAINT_AT_NIGHT")),
        "AT_NIGHT"
    );
}

#[test]
fn a_relay_has_a_device_id_and_a_channel() {
    let relay = |members: Value| gateway(json!({"relay": members})).relay;
    let expected = |channel: &str| {
        Some(made(|relay: &mut Relay| {
            relay.device_id = "relay-3".to_owned();
            relay.wor_channel = channel.to_owned();
        }))
    };
    assert_eq!(relay(json!({"device_id": "relay-3"})), expected(""));
    for form in [json!("RELAY_WOR_CHANNEL_SECONDARY"), json!(1), json!("1")] {
        let read = relay(json!({"device_id": "relay-3", "wor_channel": form}));
        assert_eq!(read, expected("SECONDARY"), "{form}");
    }
}

#[test]
fn a_default_that_is_named_is_the_same_as_one_that_is_left_out() {
    for none in [json!("DOWNLINK_PATH_CONSTRAINT_NONE"), json!(0), json!("0")] {
        let read = gateway(json!({"downlink_path_constraint": none}));
        assert_eq!(read.downlink_path_constraint, "", "{none}");
    }
    for default in [json!("RELAY_WOR_CHANNEL_DEFAULT"), json!(0), json!("0")] {
        let read = gateway(json!({"relay": {"wor_channel": default}}));
        assert_eq!(read.relay.unwrap().wor_channel, "", "{default}");
    }
}

#[test]
fn a_data_rate_is_put_together_from_its_parts() {
    let lora = |bandwidth: u32, factor: u32| {
        settings(
            json!({"data_rate": {"lora": {"bandwidth": bandwidth, "spreading_factor": factor}}}),
        )
        .data_rate
    };
    assert_eq!(lora(125_000, 7), "SF7BW125");
    assert_eq!(lora(500_000, 12), "SF12BW500");
    assert_eq!(lora(812_000, 5), "SF5BW812");
    assert_eq!(lora(62_500, 9), "SF9BW62.5");
    assert_eq!(lora(7_812, 11), "SF11BW7.812");

    let read = settings(json!({"data_rate": {"lrfhss": {"modulation_type": 1,
        "operating_channel_width": 1_523_000, "coding_rate": "2/3"}}}));
    assert_eq!(
        (&*read.modulation, &*read.data_rate),
        ("LR_FHSS", "M1CW1523")
    );
    assert_eq!(read.coding_rate, "2/3");

    let read = settings(json!({"data_rate": {"fsk": {"bit_rate": "50000"}}}));
    assert_eq!((&*read.modulation, &*read.data_rate), ("FSK", ""));
    assert_eq!(read.bit_rate, Some(50_000));
}

#[test]
fn servers_before_3_22_had_the_coding_rate_elsewhere() {
    let read = settings(
        json!({"data_rate": {"lora": {"bandwidth": 125_000, "spreading_factor": 7}},
        "data_rate_index": 5, "coding_rate": "4/6"}),
    );
    assert_eq!(read.coding_rate, "4/6");
    assert_eq!(read.data_rate, "SF7BW125");
    assert_eq!(read.extra.get("data_rate_index"), Some(&json!(5)));
}

#[test]
fn frequencies_are_in_megahertz() {
    for (hertz, megahertz) in [
        ("868300000", 868.3),
        ("868100000", 868.1),
        ("867900000", 867.9),
        ("902300000", 902.3),
        ("433175000", 433.175),
        ("869525000", 869.525),
    ] {
        let read = settings(json!({"frequency": hertz}));
        assert_eq!(read.frequency, Some(megahertz), "{hertz}");
    }
}

#[test]
fn a_join_of_an_application_with_its_own_crypto_has_a_key_and_downlinks() {
    let body = json!({"join_accept": {"pending_session": true, "app_s_key": {"key": "00112233445566778899AABBCCDDEEFF"},
        "invalidated_downlinks": [{"f_port": 3, "frm_payload": "AQ==", "f_cnt": 9, "priority": "LOW"}]}});
    let Event::Activation(join) = receive("join", &body).unwrap() else {
        panic!()
    };
    assert!(join.pending_session);
    assert_eq!(
        join.app_s_key.as_ref().unwrap().key,
        "00112233445566778899AABBCCDDEEFF"
    );
    let [downlink] = &join.invalidated_downlinks[..] else {
        panic!()
    };
    assert_eq!(downlink.step, DownlinkStep::Invalidated);
    assert_eq!((downlink.port, downlink.counter), (3, Some(9)));
    assert_eq!(downlink.payload_raw, [1]);
    assert_eq!(downlink.priority, Some(Priority::Low));
}

#[test]
fn a_downlink_event_has_gateways_and_attempts() {
    let read = queued(json!({
        "class_b_c": {"gateways": [
            {"gateway_ids": {"gateway_id": "roof-east", "eui": "0016C001F10A1B2C"}},
            {"gateway_ids": {"gateway_id": "harbour-2"}, "antenna_index": 1, "group_index": "2"}
        ], "absolute_time": "2025-05-14T08:21:37.5Z"},
        "confirmed_retry": {"attempt": 2, "max_attempts": 3}
    }));
    let class = read.class_b_c.unwrap();
    assert_eq!(
        class.gateways,
        [
            Antenna::new("roof-east"),
            Antenna::new("harbour-2").index(1).group(2)
        ]
    );
    assert_eq!(class.absolute_time, at(37, 500_000_000));
    assert_eq!((read.attempt, read.max_attempts), (Some(2), Some(3)));
    let read = queued(json!({"class_b_c": {}}));
    assert_eq!(read.class_b_c, Some(ClassBC::default()));
}

#[test]
fn an_error_has_causes_and_details() {
    let body = json!({"downlink_failed": {"error": {
        "namespace": "pkg/outer", "name": "not_sent", "message_format": "{what} not sent to `{id}`{missing}",
        "attributes": {"what": 7, "id": "a{what}"}, "code": "13",
        "details": [{"@type": "type.example/Detail", "dev_addr": "Jgtc"}],
        "cause": {"namespace": "pkg/inner", "name": "busy", "message_format": "radio busy", "code": 14,
            "cause": {"namespace": "pkg/core", "name": "full"}}
    }}});
    let read = downlink_of(receive("down/failed", &body).unwrap());
    assert_eq!(
        read.error,
        "7 not sent to `a{what}`{missing}: radio busy: pkg/core:full"
    );
    let error = read.error_details.unwrap();
    assert_eq!(error.to_string(), read.error);
    assert_eq!(
        (error.id().as_str(), error.code),
        ("pkg/outer:not_sent", 13)
    );
    assert_eq!(
        error.details,
        [json!({"@type": "type.example/Detail", "dev_addr": "Jgtc"})]
    );
    let cause = error.cause.unwrap();
    assert_eq!((cause.id().as_str(), cause.code), ("pkg/inner:busy", 14));
    assert_eq!(cause.cause.unwrap().id(), "pkg/core:full");
}

#[test]
fn measurements_may_come_with_warnings() {
    let members = json!({"normalized_payload": [{"air": {"temperature": 1}}, {"soil": {"ph": 7.5}}],
        "normalized_payload_warnings": ["measurement 3: no such thing"]});
    let read = up(members);
    assert_eq!(
        read.normalized_payload,
        [
            json!({"air": {"temperature": 1}}),
            json!({"soil": {"ph": 7.5}})
        ]
    );
    assert_eq!(
        read.normalized_payload_warnings,
        ["measurement 3: no such thing"]
    );
}

#[test]
fn a_kind_or_topic_that_is_not_known_is_handed_on() {
    let is_other = |topic: &str, body: &[u8]| {
        let event = Event::decode(Network::V3, topic, body).unwrap();
        let Event::Other(raw) = event else {
            panic!("{topic}: {event:?}")
        };
        assert_eq!((raw.topic(), raw.payload()), (topic, body));
    };
    let body = fixture("up-confirmed");
    for unknown in [
        "v3/greenhouse@ttn/devices/bed-07/down/push",
        "v3/greenhouse@ttn/devices/bed-07/down/replace",
        "v3/greenhouse@ttn/devices/bed-07/down/queue/invalidated",
        "v3/greenhouse@ttn/devices/bed-07/up/temperature",
        "v3/greenhouse@ttn/devices/bed-07/up/normalized/more",
        "v3/greenhouse@ttn/devices/bed-07/up/",
        "v3/greenhouse@ttn/devices/bed-07",
        "v3/greenhouse@ttn/gateways/roof-east/up",
        "v3//devices/bed-07/up",
        "v3/@ttn/devices/bed-07/up",
        "v3/greenhouse@ttn/devices//up",
        "v3/greenhouse@ttn",
        "v4/greenhouse@ttn/devices/bed-07/up",
        "greenhouse/devices/bed-07/up",
        "/v3/greenhouse@ttn/devices/bed-07/up",
        "$SYS/broker/uptime",
        "v3",
        "",
    ] {
        is_other(unknown, &body);
        is_other(unknown, b"no JSON");
    }
}

#[test]
fn what_cannot_be_read_is_an_error_that_names_topic_or_member() {
    for (name, word) in [
        ("bad-empty-object", "uplink_message"),
        ("bad-not-an-object", "/devices/bed-07/up"),
        ("bad-base64", "frm_payload"),
        ("no-variant", "uplink_message is missing"),
    ] {
        let error = Event::decode(Network::V3, topic(name), fixture(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(in_full(&error).contains(word), "{}", in_full(&error));
    }
    for body in [
        "",
        " ",
        "no JSON",
        "null",
        "true",
        "7",
        "\"text\"",
        "[]",
        "{",
        "\u{feff}{}",
        "{}{}",
    ] {
        for kind in [
            "up",
            "up/normalized",
            "join",
            "down/queued",
            "down/sent",
            "down/ack",
            "down/nack",
            "down/failed",
            "down/invalidated",
            "location/solved",
            "service/data",
        ] {
            let topic = format!("v3/greenhouse@ttn/devices/bed-07/{kind}");
            let error = Event::decode(Network::V3, topic.as_str(), body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode);
            assert!(error.to_string().contains(&topic), "{error}");
        }
    }
}

#[test]
fn text_that_is_no_utf_8_is_an_error() {
    let body = b"{\"uplink_message\":{\"decoded_payload\":{\"text\":\"\xff\"}}}".as_slice();
    let error =
        Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/up", body).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
}

#[test]
fn null_for_any_member_is_the_same_as_leaving_it_out() {
    for name in messages() {
        let original = value(&name);
        for place in places(&original) {
            let with_null = replaced(&original, &place, Value::Null);
            let read = decode_value(&name, &with_null);
            if is_element(&place) {
                // Protobuf's JSON has no such value; it must do no harm.
                continue;
            }
            let without = decode_value(&name, &removed(&original, &place));
            let is_message = place.matches('/').count() == 1
                && ![
                    "/end_device_ids",
                    "/correlation_ids",
                    "/received_at",
                    "/simulated",
                ]
                .contains(&place.as_str());
            if is_message {
                assert_eq!(read.is_err(), without.is_err(), "{name}{place}");
                continue;
            }
            let read = read.unwrap_or_else(|error| panic!("{name}{place}: {}", in_full(&error)));
            // Without one coordinate, the other is not a place.
            let is_coordinate = place.ends_with("/latitude") || place.ends_with("/longitude");
            if is_coordinate || is_handed_on(kind(&name), &place) {
                continue;
            }
            assert_eq!(content(&read), content(&without.unwrap()), "{name}{place}");
        }
    }
}

const NUMBERS: [&str; 32] = [
    "f_port",
    "f_cnt",
    "last_a_f_cnt_down",
    "last_f_cnt_down",
    "packet_error_rate",
    "bandwidth",
    "spreading_factor",
    "bit_rate",
    "modulation_type",
    "operating_channel_width",
    "frequency",
    "timestamp",
    "fine_timestamp",
    "antenna_index",
    "channel_index",
    "group_index",
    "rssi",
    "channel_rssi",
    "signal_rssi",
    "rssi_standard_deviation",
    "snr",
    "frequency_offset",
    "frequency_drift",
    "hopping_width",
    "latitude",
    "longitude",
    "altitude",
    "accuracy",
    "value",
    "attempt",
    "max_attempts",
    "code",
];

#[test]
fn any_number_may_be_text_and_any_text_of_digits_a_number() {
    let mut turned = 0;
    for name in messages() {
        let original = value(&name);
        let expected = content(&decode(&name));
        for place in places(&original) {
            if is_handed_on(kind(&name), &place) || !NUMBERS.contains(&member_name(&place)) {
                continue;
            }
            let other = match original.pointer(&place).unwrap() {
                Value::Number(number) => Value::String(number.to_string()),
                Value::String(text) => serde_json::from_str(text).unwrap(),
                _ => continue,
            };
            let read = decode_value(&name, &replaced(&original, &place, other))
                .unwrap_or_else(|error| panic!("{name}{place}: {}", in_full(&error)));
            assert_eq!(content(&read), expected, "{name}{place}");
            turned += 1;
        }
    }
    assert!(turned > 400, "{turned}");
}

#[test]
fn unknown_members_do_no_harm_at_any_level() {
    for name in messages() {
        let original = value(&name);
        let expected = content_without(&decode(&name), &["extra"]);
        for level in [vec![String::new()], places(&original)].concat() {
            let mut changed = original.clone();
            let Some(members) = changed.pointer_mut(&level).unwrap().as_object_mut() else {
                continue;
            };
            if is_handed_on(kind(&name), &format!("{level}/unheard_of")) {
                continue;
            }
            members.insert("unheard_of".to_owned(), json!({"depth": [1, null, "x"]}));
            let read = decode_value(&name, &changed)
                .unwrap_or_else(|error| panic!("{name}{level}: {}", in_full(&error)));
            assert_eq!(
                content_without(&read, &["extra"]),
                expected,
                "{name}{level}"
            );
            let has_extra = level.is_empty()
                || level.ends_with("/settings")
                || level.contains("/rx_metadata/") && is_element(&level)
                || level.matches('/').count() == 1 && level != "/end_device_ids";
            if has_extra {
                assert!(content(&read).contains("unheard_of"), "{name}{level}");
            }
        }
    }
}

/// Returns the value as JSON, with the members of each object in reverse order.
fn reversed(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match value {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                format!("{}:{}", Value::from(name.as_str()), reversed(value))
            };
            format!("{{{}}}", join(members.iter().rev().map(member).collect()))
        }
        Value::Array(elements) => format!("[{}]", join(elements.iter().map(reversed).collect())),
        value => value.to_string(),
    }
}

#[test]
fn the_order_of_members_does_not_matter() {
    for name in messages() {
        let expected = content(&decode(&name));
        let value = value(&name);
        for body in [value.to_string(), reversed(&value)] {
            let read = Event::decode(Network::V3, topic(&name), body).unwrap();
            assert_eq!(content(&read), expected, "{name}");
        }
    }
}
