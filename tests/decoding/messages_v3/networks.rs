//! What applies to both networks.

use super::*;

/// Returns the same uplink as each network sends it.
fn of_both_networks(v2: &Value, v3: &Value) -> [UplinkMessage; 2] {
    let ids = json!({"device_id": "bed-07", "application_ids": {"application_id": "greenhouse"}});
    let mut v2 = v2.clone();
    v2["app_id"] = json!("greenhouse");
    v2["dev_id"] = json!("bed-07");
    let v3 = json!({"end_device_ids": ids, "uplink_message": v3});
    [
        UplinkMessage::from_json(Network::V2, v2.to_string()).unwrap(),
        UplinkMessage::from_json(Network::V3, v3.to_string()).unwrap(),
    ]
}

#[test]
fn the_best_gateway_is_found_on_both_networks() {
    type Reception = (&'static str, Option<f64>, Option<f64>);
    let cases: [(&[Reception], Option<&str>); 7] = [
        (&[], None),
        (
            &[
                ("far", Some(-117.0), Some(-8.5)),
                ("near", Some(-71.0), Some(9.25)),
            ],
            Some("near"),
        ),
        // The higher ratio, although weaker.
        (
            &[
                ("loud", Some(-80.0), Some(-3.0)),
                ("clear", Some(-110.0), Some(4.0)),
            ],
            Some("clear"),
        ),
        // Both ratios are good: the stronger signal.
        (
            &[
                ("weak", Some(-95.0), Some(11.0)),
                ("strong", Some(-60.0), Some(6.0)),
            ],
            Some("strong"),
        ),
        // A missing ratio counts as 0.
        (
            &[
                ("noisy", Some(-60.0), Some(-1.0)),
                ("silent", Some(-120.0), None),
            ],
            Some("silent"),
        ),
        (
            &[
                ("nothing", None, None),
                ("little", Some(-140.0), Some(-20.0)),
            ],
            Some("little"),
        ),
        // The first of equal gateways.
        (
            &[
                ("first", Some(-90.0), Some(2.0)),
                ("second", Some(-90.0), Some(2.0)),
            ],
            Some("first"),
        ),
    ];
    for (receptions, best) in cases {
        let gateways = |network: Network| -> Vec<Value> {
            let gateway = |(id, rssi, snr): &Reception| {
                let mut members = match network {
                    Network::V2 => json!({"gtw_id": id}),
                    _ => json!({"gateway_ids": {"gateway_id": id}}),
                };
                for (name, value) in [("rssi", rssi), ("snr", snr)] {
                    if let Some(value) = value {
                        members[name] = json!(value);
                    }
                }
                members
            };
            receptions.iter().map(gateway).collect()
        };
        let v2 = json!({"metadata": {"gateways": gateways(Network::V2)}});
        let v3 = json!({"rx_metadata": gateways(Network::V3)});
        for uplink in of_both_networks(&v2, &v3) {
            let found = uplink.best_gateway().map(|gateway| gateway.gtw_id.as_str());
            assert_eq!(found, best, "{receptions:?}");
        }
    }
}

#[test]
fn one_function_reads_the_fields_of_both_networks() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Climate {
        temperature: f64,
        humidity: Option<u8>,
        #[serde(default)]
        valves: Vec<bool>,
    }

    fn climate(uplink: &UplinkMessage) -> ttn::Result<Climate> {
        uplink.fields()
    }

    let both = |fields: Value| {
        of_both_networks(
            &json!({"payload_fields": fields}),
            &json!({"decoded_payload": fields}),
        )
    };
    for uplink in both(json!({"temperature": 21, "valves": [true, false], "more": {}})) {
        let expected = Climate {
            temperature: 21.0,
            humidity: None,
            valves: vec![true, false],
        };
        assert_eq!(climate(&uplink).unwrap(), expected);
    }
    for uplink in both(json!({"humidity": 60})) {
        let error = climate(&uplink).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(
            in_full(&error).contains("temperature"),
            "{}",
            in_full(&error)
        );
    }
    for uplink in both(Value::Null) {
        let error = climate(&uplink).unwrap_err();
        assert!(error.to_string().contains("no payload_fields"), "{error}");
    }
}

#[test]
fn simulated_uplinks_are_known_on_both_networks() {
    let v2 = |body: &str| UplinkMessage::from_json(Network::V2, body).unwrap();
    let simulated = v2(include_str!(
        "../../fixtures/v2/up-lora-zero-gateways-simulated.json"
    ));
    assert!(simulated.is_simulated());
    let real = v2(include_str!(
        "../../fixtures/v2/up-lora-one-gateway-fields.json"
    ));
    assert!(!real.is_simulated());

    let v3 = |simulated: Value| {
        let body = json!({"uplink_message": {"f_port": 1}, "simulated": simulated});
        uplink_of(receive("up", &body).unwrap()).is_simulated()
    };
    assert!(v3(json!(true)));
    assert!(!v3(json!(false)));
    assert!(!v3(json!(null)));
    assert!(!uplink_of(decode("up-no-gateways")).is_simulated());
    assert!(uplink_of(decode("up-simulated")).is_simulated());
}

#[test]
fn the_same_uplink_fills_the_same_fields_on_both_networks() {
    let v2 = json!({
        "app_id": "greenhouse", "dev_id": "bed-07", "hardware_serial": "70B3D57ED0051A2B",
        "port": 2, "counter": 118, "confirmed": true, "payload_raw": "C0YByA==",
        "payload_fields": {"temperature": 28.86, "valve": {"open": true}},
        "metadata": {
            "time": "2025-05-14T08:21:37.863431150Z", "frequency": 868.3, "modulation": "LORA",
            "data_rate": "SF7BW125", "airtime": 51_456_000, "coding_rate": "4/5",
            "latitude": 52.3731, "longitude": 4.8922, "altitude": 3, "location_source": "registry",
            "gateways": [
                {"gtw_id": "roof-east", "timestamp": 1_509_166_008, "time": "2025-05-14T08:21:37.787Z",
                    "channel": 3, "rssi": -97, "snr": 9.2, "antenna": 1,
                    "latitude": 52.3731, "longitude": 4.8922, "altitude": 14, "location_source": "registry"},
                {"gtw_id": "harbour-2", "timestamp": 7, "time": "", "channel": 0, "rssi": -113.5, "snr": -4.75}
            ]
        }
    });
    let v3 = json!({
        "end_device_ids": {
            "device_id": "bed-07", "application_ids": {"application_id": "greenhouse"},
            "dev_eui": "70B3D57ED0051A2B"
        },
        "uplink_message": {
            "f_port": 2, "f_cnt": 118, "confirmed": true, "frm_payload": "C0YByA==",
            "decoded_payload": {"temperature": 28.86, "valve": {"open": true}},
            "received_at": "2025-05-14T08:21:37.863431150Z", "consumed_airtime": "0.051456s",
            "settings": {
                "data_rate": {"lora": {"bandwidth": 125_000, "spreading_factor": 7, "coding_rate": "4/5"}},
                "frequency": "868300000", "timestamp": 7, "time": "2025-05-14T08:21:37.787Z"
            },
            "locations": {"user": bed_json()},
            "rx_metadata": [
                {"gateway_ids": {"gateway_id": "roof-east"}, "timestamp": 1_509_166_008,
                    "time": "2025-05-14T08:21:37.787Z", "channel_index": 3, "rssi": -97, "snr": 9.2,
                    "antenna_index": 1, "location": {"latitude": 52.3731, "longitude": 4.8922,
                    "altitude": 14, "source": "SOURCE_REGISTRY"}},
                {"gateway_ids": {"gateway_id": "harbour-2"}, "timestamp": 7, "rssi": -113.5, "snr": -4.75}
            ]
        }
    });
    let v2 = seen(UplinkMessage::from_json(Network::V2, v2.to_string()).unwrap());
    let mut v3 = seen(UplinkMessage::from_json(Network::V3, v3.to_string()).unwrap());
    assert_eq!(v2.metadata.location, Some(bed()));
    // Only v3 has these.
    assert_eq!(v3.packet_error_rate.take(), Some(0.0));
    assert_eq!(v3.metadata.locations.remove("user"), Some(bed()));
    assert_eq!(v3.metadata.timestamp.take(), Some(7));
    assert_eq!(v3.metadata.gateway_time.take(), at(37, 787_000_000));
    assert_eq!(v2, v3);
}

#[test]
fn spreading_factor_and_bandwidth_are_numbers_on_both_networks() {
    let lora =
        |factor: u8, hertz: u32| json!({"lora": {"spreading_factor": factor, "bandwidth": hertz}});
    for (text, rate, expected) in [
        ("SF7BW125", lora(7, 125_000), Some((7, 125_000))),
        ("SF12BW500", lora(12, 500_000), Some((12, 500_000))),
        ("SF9BW250", lora(9, 250_000), Some((9, 250_000))),
        ("SF8BW62.5", lora(8, 62_500), Some((8, 62_500))),
        ("SF5BW31.25", lora(5, 31_250), Some((5, 31_250))),
        ("SF6BW812", lora(6, 812_000), Some((6, 812_000))),
        (
            "M0CW137",
            json!({"lrfhss": {"operating_channel_width": 137_000}}),
            None,
        ),
        ("", json!({"fsk": {"bit_rate": 50_000}}), None),
        ("", json!(null), None),
    ] {
        let v2 = json!({"metadata": {"data_rate": text}});
        let v3 = json!({"settings": {"data_rate": rate}});
        for uplink in of_both_networks(&v2, &v3) {
            let metadata = &uplink.metadata;
            let found = metadata.spreading_factor().zip(metadata.bandwidth());
            assert_eq!(found, expected, "{metadata:?}");
            assert_eq!(metadata.spreading_factor().is_some(), expected.is_some());
            assert_eq!(metadata.bandwidth().is_some(), expected.is_some());
        }
    }
}

#[test]
fn a_data_rate_that_is_not_lora_has_no_spreading_factor() {
    for text in [
        "SF0BW0",
        "SF7BW0",
        "SF0BW125",
        "SF4BW125",
        "SF13BW125",
        "SF7",
        "SF7BW",
        "BW125",
        "SFBW125",
        "sf7bw125",
        "SF+7BW125",
        "SF7BW-125",
        "SF7BW1.2.3",
        "SF7BW62.5001",
        "SF7BW125kHz",
        "SF300BW125",
        "SF7BW9999999",
        "50000",
    ] {
        for uplink in of_both_networks(&json!({"metadata": {"data_rate": text}}), &json!({})) {
            assert_eq!(uplink.metadata.spreading_factor(), None, "{text}");
            assert_eq!(uplink.metadata.bandwidth(), None, "{text}");
        }
    }
}
