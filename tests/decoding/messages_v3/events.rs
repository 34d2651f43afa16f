//! The recorded joins, downlink events, locations and service data, value by value.

use super::*;

fn join(name: &str) -> Activation {
    match decode(name) {
        Event::Activation(join) => (*join).clone(),
        event => panic!("{name}: {event:?}"),
    }
}

/// Asserts what both joins of the fixtures have in common.
fn assert_is_join_of_bed_07(join: &Activation) {
    assert_eq!(
        (join.app_id.as_str(), join.dev_id.as_str()),
        ("greenhouse", "bed-07")
    );
    assert_eq!(join.app_eui, "A840410000000101");
    assert_eq!(join.dev_eui, "70B3D57ED0051A2B");
    assert_eq!(join.dev_addr, "260B77F0");
    assert!(!join.pending_session);
    assert_eq!(join.app_s_key, None);
    assert!(join.invalidated_downlinks.is_empty());
}

#[test]
fn a_join_has_the_new_address_and_no_radio_metadata() {
    let join = join("join-accept");
    assert_is_join_of_bed_07(&join);
    assert_eq!(join.received_at, at(42, 725_442_951));
    assert_eq!(
        join.correlation_ids,
        ["gs:uplink:01JV6ZTMAXJ2P1YYRRX3APFJMC"]
    );
    assert_eq!(
        join.session_key_id,
        [
            0x64, 0x12, 0xd1, 0x88, 0x6e, 0x36, 0xc2, 0xca, 0xf3, 0xa6, 0x50, 0xf4, 0x72, 0xf1,
            0xb0, 0x99
        ]
    );
    let only_time = made(|metadata: &mut Metadata| metadata.time = at(41, 333_214_877));
    assert_eq!(join.metadata, only_time);
    assert!(join.extra.is_empty(), "{:?}", join.extra);
}

#[test]
fn a_join_keeps_what_release_3_34_added() {
    let join = join("join-accept-attributes-3-34");
    assert_is_join_of_bed_07(&join);
    assert_eq!(join.received_at, at(42, 228_263_304));
    assert_eq!(
        join.correlation_ids,
        ["gs:uplink:01JV71BD2F5MBSEHXNKEYA5VJ0"]
    );
    assert_eq!(
        join.session_key_id,
        [
            0x1a, 0x7e, 0xc6, 0x5f, 0x19, 0x49, 0x40, 0x55, 0x63, 0x57, 0x59, 0x14, 0x63, 0x6f,
            0x64, 0x7c
        ]
    );
    let only_time = made(|metadata: &mut Metadata| metadata.time = at(41, 313_871_185));
    assert_eq!(join.metadata, only_time);
    assert_eq!(
        join.extra,
        object(json!({
            "locations": {"user": bed_json()},
            "version_ids": {"brand_id": "dragino", "model_id": "lht65"},
            "network_ids": ttn_eu1_json(),
            "attributes": {"site": "hall-b"}
        }))
    );
}

/// Returns the downlink event of a fixture.
fn step(name: &str) -> Step {
    seen_step(downlink_of(decode(name)))
}

/// Returns the error of a failed downlink, with its parts as in the message.
fn failed(step: Step, error: &str, details: ErrorDetails) -> Step {
    Step {
        error: error.to_owned(),
        error_details: Some(details),
        ..step
    }
}

fn details(
    component: &str,
    name: &str,
    message_format: &str,
    correlation_id: &str,
    code: u32,
) -> ErrorDetails {
    made(|details: &mut ErrorDetails| {
        details.namespace = format!("pkg/{component}");
        details.name = name.to_owned();
        details.message_format = message_format.to_owned();
        details.correlation_id = correlation_id.to_owned();
        details.code = code;
    })
}

#[test]
fn a_queued_downlink_has_no_counter_yet() {
    let expected = Step {
        priority: Some(Priority::Normal),
        ..beef(DownlinkStep::Queued, at(46, 713_998_596))
    };
    assert_eq!(step("down-queued"), expected);
}

#[test]
fn a_priority_that_is_left_out_is_the_lowest() {
    let expected = Step {
        payload_raw: vec![0],
        priority: Some(Priority::Lowest),
        ..beef(DownlinkStep::Queued, at(46, 631_709_667))
    };
    assert_eq!(step("down-queued-lowest-priority"), expected);
}

#[test]
fn a_confirmed_downlink_counts_its_attempts() {
    let ids = strings(&[DOWNLINK_ID, "valve-open-0042"]);
    let expected = Step {
        confirmed: true,
        priority: Some(Priority::High),
        correlation_ids: ids.clone(),
        event_correlation_ids: ids,
        attempt: Some(1),
        ..beef(DownlinkStep::Queued, at(46, 298_305_105))
    };
    assert_eq!(step("down-queued-confirmed"), expected);
}

#[test]
fn a_downlink_of_fields_has_the_encoders_bytes() {
    let expected = Step {
        port: 2,
        payload_raw: vec![3, 1],
        payload_fields: json!({"valve": 3, "open": true}),
        payload_warnings: strings(&["duration missing, using default"]),
        ..beef(DownlinkStep::Queued, at(46, 457_768_584))
    };
    assert_eq!(step("down-queued-decoded"), expected);
}

#[test]
fn a_downlink_may_have_no_payload() {
    let expected = Step {
        port: 1,
        payload_raw: Vec::new(),
        ..beef(DownlinkStep::Queued, at(46, 121_322_619))
    };
    assert_eq!(step("down-queued-empty-payload"), expected);
}

#[test]
fn a_transmitted_downlink_has_a_counter_and_a_session() {
    let ids = strings(&[
        DOWNLINK_ID,
        "gs:tx_ack:01JV6YYWP2CZZGY5YSFMH26QVN",
        "gs:uplink:01JV6Y7E4CPCDH19XPVBQPVSK0",
    ]);
    let expected = Step {
        session_key_id: SESSION.to_vec(),
        counter: Some(42),
        priority: Some(Priority::Normal),
        correlation_ids: ids.clone(),
        event_correlation_ids: ids,
        ..beef(DownlinkStep::Sent, at(46, 981_627_761))
    };
    assert_eq!(step("down-sent"), expected);
}

#[test]
fn the_first_downlink_of_a_session_has_counter_0_and_may_have_a_raised_priority() {
    let expected = Step {
        session_key_id: SESSION.to_vec(),
        counter: Some(0),
        confirmed: true,
        priority: Some(Priority::Highest),
        ..beef(DownlinkStep::Sent, at(46, 794_072_628))
    };
    assert_eq!(step("down-sent-counter-zero"), expected);
}

#[test]
fn an_acknowledgement_names_the_uplink_that_brought_it() {
    let expected = Step {
        session_key_id: SESSION.to_vec(),
        counter: Some(42),
        confirmed: true,
        priority: Some(Priority::High),
        correlation_ids: strings(&[DOWNLINK_ID, "valve-open-0042"]),
        event_correlation_ids: strings(&[
            DOWNLINK_ID,
            "gs:uplink:01JV712HSB6AY46S35SRNH7R8N",
            "valve-open-0042",
        ]),
        attempt: Some(1),
        ..beef(DownlinkStep::Acknowledged, at(46, 628_515_338))
    };
    assert_eq!(step("down-ack"), expected);
}

#[test]
fn an_acknowledgement_keeps_what_release_3_34_added() {
    let expected = Step {
        session_key_id: SESSION.to_vec(),
        counter: Some(42),
        confirmed: true,
        attempt: Some(1),
        extra: object(json!({
            "locations": {"user": bed_json()},
            "network_ids": ttn_eu1_json(),
            "attributes": {"site": "hall-b"}
        })),
        ..beef(DownlinkStep::Acknowledged, at(46, 866_641_041))
    };
    assert_eq!(step("down-ack-attributes-3-34"), expected);
}

#[test]
fn a_downlink_that_was_not_acknowledged_is_at_its_next_attempt() {
    let expected = Step {
        session_key_id: SESSION.to_vec(),
        counter: Some(42),
        confirmed: true,
        priority: Some(Priority::High),
        event_correlation_ids: strings(&[DOWNLINK_ID, "gs:uplink:01JV70X2DHZZN8TSRZMDFBV7T5"]),
        attempt: Some(2),
        ..beef(DownlinkStep::NotAcknowledged, at(46, 934_167_803))
    };
    assert_eq!(step("down-nack"), expected);
}

#[test]
fn a_downlink_to_a_device_without_a_session_fails() {
    let message = "no device session; check device activation";
    let expected = failed(
        Step {
            priority: Some(Priority::Normal),
            ..beef(DownlinkStep::Failed, at(46, 71_194_287))
        },
        message,
        details(
            "applicationserver",
            "no_device_session",
            message,
            "7d911e399a88ac5bf9a97dcce922637c",
            9,
        ),
    );
    assert_eq!(step("down-failed-no-session"), expected);
}

#[test]
fn a_downlink_without_a_port_fails() {
    let expected = failed(
        Step {
            port: 0,
            ..beef(DownlinkStep::Failed, at(46, 450_215_689))
        },
        "no FPort",
        details(
            "applicationserver",
            "no_f_port",
            "no FPort",
            "0fdde60e7c1e30e9e182260edd5d9956",
            3,
        ),
    );
    assert_eq!(step("down-failed-no-port"), expected);
}

#[test]
fn a_downlink_that_is_too_long_fails_and_says_how_long_it_may_be() {
    let mut error = details(
        "networkserver",
        "application_downlink_too_long",
        "application downlink payload length `{length}` exceeds maximum '{max}'",
        "c7485f4bac02e4b3fa5d16769aa634c5",
        3,
    );
    error.attributes = object(json!({"length": 248, "max": 242}));
    let mut read = step("down-failed-too-long");
    assert_eq!(read.payload_raw.len(), 248);
    assert!(read.payload_raw.starts_with(&[0x31, 0x50, 0x0f, 0x5a]));
    assert!(read.payload_raw.ends_with(&[0xcd, 0x72, 0x5c, 0x3f]));
    read.payload_raw = vec![0xbe, 0xef];
    let expected = failed(
        beef(DownlinkStep::Failed, at(46, 311_926_033)),
        "application downlink payload length `248` exceeds maximum '242'",
        error,
    );
    assert_eq!(read, expected);
}

#[test]
fn a_downlink_that_was_never_acknowledged_fails() {
    let mut error = details(
        "applicationserver",
        "max_retries_reached",
        "maximum number of retries ({max_retries}) reached",
        "9e57d5104d42d1f64c0723f8c99b9c43",
        10,
    );
    error.attributes = object(json!({"max_retries": 8}));
    let expected = failed(
        Step {
            session_key_id: SESSION.to_vec(),
            counter: Some(42),
            confirmed: true,
            attempt: Some(9),
            ..beef(DownlinkStep::Failed, at(46, 566_848_278))
        },
        "maximum number of retries (8) reached",
        error,
    );
    assert_eq!(step("down-failed-max-retries"), expected);
}

#[test]
fn a_downlink_that_the_gateway_could_not_transmit_fails() {
    let mut error = details(
        "networkserver",
        "transmission",
        "downlink transmission failed with result `{result}`",
        "27ca9ed8f003e471177cdbb2d9ff2fe9",
        2,
    );
    error.attributes = object(json!({"result": "TOO_LATE"}));
    let ids = strings(&[DOWNLINK_ID, "gs:tx_ack:01JV6Y5M5MKSZRQMGSY9A73CPW"]);
    let expected = failed(
        Step {
            session_key_id: SESSION.to_vec(),
            counter: Some(42),
            priority: Some(Priority::Normal),
            correlation_ids: ids.clone(),
            event_correlation_ids: ids,
            ..beef(DownlinkStep::Failed, at(46, 216_656_083))
        },
        "downlink transmission failed with result `TOO_LATE`",
        error,
    );
    assert_eq!(step("down-failed-transmission"), expected);
}

#[test]
fn a_downlink_whose_time_has_passed_fails() {
    let expected = failed(
        Step {
            session_key_id: SESSION.to_vec(),
            counter: Some(42),
            class_b_c: Some(made(|class: &mut ClassBC| {
                class.absolute_time = at(0, 0).map(|time| time - Duration::from_secs(21 * 60));
            })),
            ..beef(DownlinkStep::Failed, at(46, 542_899_208))
        },
        "queued downlink is expired",
        details(
            "networkserver",
            "downlink_expired",
            "queued downlink is expired",
            "d5635ba96bf0cf0e67e67f3512d35852",
            9,
        ),
    );
    assert_eq!(step("down-failed-expired"), expected);
}

#[test]
fn a_downlink_by_a_gateway_that_does_not_exist_fails() {
    let message = "invalid fixed paths set in application downlink";
    let expected = failed(
        Step {
            session_key_id: SESSION.to_vec(),
            counter: Some(42),
            class_b_c: Some(made(|class: &mut ClassBC| {
                class.gateways = vec![Antenna::new("no-such-gateway")];
            })),
            ..beef(DownlinkStep::Failed, at(46, 722_343_691))
        },
        message,
        details(
            "networkserver",
            "fixed_paths",
            message,
            "145e515c8e90d107bc93a34fd6125951",
            3,
        ),
    );
    assert_eq!(step("down-failed-fixed-paths"), expected);
}

#[test]
fn a_downlink_into_a_full_queue_fails() {
    let message = "downlink queue capacity exceeded";
    let expected = failed(
        Step {
            priority: Some(Priority::Normal),
            ..beef(DownlinkStep::Failed, at(46, 194_784_235))
        },
        message,
        details(
            "networkserver",
            "downlink_queue_capacity",
            message,
            "906e8af3f2718e4e800205c48eeaab70",
            8,
        ),
    );
    assert_eq!(step("down-failed-queue-full"), expected);
}

#[test]
fn a_downlink_may_fail_without_a_reason() {
    let expected = Step {
        priority: Some(Priority::Normal),
        ..beef(DownlinkStep::Failed, at(46, 171_658_996))
    };
    assert_eq!(step("down-failed-without-error"), expected);
}

#[test]
fn a_failed_downlink_keeps_what_release_3_34_added() {
    let message = "no device session; check device activation";
    let expected = failed(
        Step {
            priority: Some(Priority::Normal),
            extra: object(json!({
                "version_ids": {"brand_id": "dragino", "model_id": "lht65"},
                "network_ids": ttn_eu1_json(),
                "attributes": {"site": "hall-b"}
            })),
            ..beef(DownlinkStep::Failed, at(46, 70_763_259))
        },
        message,
        details(
            "applicationserver",
            "no_device_session",
            message,
            "931cbbdea8a3068b929baebee49b7e64",
            9,
        ),
    );
    assert_eq!(step("down-failed-attributes-3-34"), expected);
}

fn invalidated(name: &str) -> QueueInvalidated {
    match decode(name) {
        Event::QueueInvalidated(invalidated) => (*invalidated).clone(),
        event => panic!("{name}: {event:?}"),
    }
}

#[test]
fn a_queue_that_was_thrown_away_says_what_was_in_it() {
    let invalidated = invalidated("down-queue-invalidated");
    assert_eq!(
        (invalidated.app_id.as_str(), invalidated.dev_id.as_str()),
        ("greenhouse", "bed-07")
    );
    assert_eq!(invalidated.last_downlink_counter, 47);
    assert_eq!(invalidated.session_key_id, SESSION);
    assert_eq!(invalidated.received_at, at(46, 402_177_433));
    assert_eq!(
        invalidated.correlation_ids,
        ["ns:downlink:01JV70W65SFGJ2T4GANA9W1019"]
    );
    assert!(invalidated.extra.is_empty(), "{:?}", invalidated.extra);

    let [first, second] = &invalidated.downlinks[..] else {
        panic!("{invalidated:?}")
    };
    assert_eq!(
        (first.step, second.step),
        (DownlinkStep::Invalidated, DownlinkStep::Invalidated)
    );
    assert_eq!((first.port, first.counter), (15, Some(42)));
    assert_eq!(first.payload_raw, [0xbe, 0xef]);
    assert_eq!(first.correlation_ids, [DOWNLINK_ID]);
    assert_eq!(first.session_key_id, SESSION);
    assert_eq!((second.port, second.counter), (15, Some(43)));
    assert_eq!(second.payload_raw, [0x60, 0xea, 0x82]);
    assert!(second.correlation_ids.is_empty());
    assert_eq!(second.session_key_id, SESSION);
    for downlink in [first, second] {
        assert_eq!(
            (downlink.app_id.as_str(), downlink.dev_id.as_str()),
            ("greenhouse", "bed-07")
        );
        assert!(!downlink.confirmed && downlink.extra.is_empty());
    }
}

#[test]
fn downlinks_that_were_thrown_away_had_a_priority_too() {
    let downlinks = invalidated("down-queue-invalidated").downlinks;
    let priorities: Vec<_> = downlinks.iter().map(|downlink| downlink.priority).collect();
    assert_eq!(priorities, [Some(Priority::Lowest); 2]);
}

#[test]
fn an_empty_queue_may_be_thrown_away() {
    let invalidated = invalidated("down-queue-invalidated-empty");
    assert!(invalidated.downlinks.is_empty());
    assert_eq!(invalidated.last_downlink_counter, 0);
    assert_eq!(invalidated.session_key_id, SESSION);
    assert_eq!(invalidated.received_at, at(46, 392_005_791));
    assert_eq!(
        invalidated.correlation_ids,
        ["ns:downlink:01JV70HM4XC3ASDB56R3N8SBZ0"]
    );
    assert!(invalidated.extra.is_empty(), "{:?}", invalidated.extra);
}

fn solved(name: &str) -> LocationSolved {
    match decode(name) {
        Event::LocationSolved(solved) => (*solved).clone(),
        event => panic!("{name}: {event:?}"),
    }
}

#[test]
fn a_location_out_of_the_payload() {
    let solved = solved("location-solved-frm-payload");
    let mut place = place(52.37312, 4.89301, 1, "gps");
    place.accuracy = Some(12);
    assert_eq!(
        (solved.app_id.as_str(), solved.dev_id.as_str()),
        ("greenhouse", "bed-07")
    );
    assert_eq!(solved.service, "frm-payload");
    assert_eq!(solved.location, Some(place));
    assert!(solved.attributes.is_empty());
    assert_eq!(solved.received_at, at(37, 84_469_020));
    assert_eq!(
        solved.correlation_ids,
        ["gs:uplink:01JV714R3VVFBY4NGEHHT2D26K"]
    );
    assert!(solved.extra.is_empty(), "{:?}", solved.extra);
}

#[test]
fn a_location_by_a_service_has_attributes() {
    let solved = solved("location-solved-attributes");
    let mut place = place(52.374, 4.895, 0, "wifi_rssi_geolocation");
    place.accuracy = Some(35);
    assert_eq!(solved.service, "lora-cloud-device-management-v1");
    assert_eq!(solved.location, Some(place));
    assert_eq!(
        solved.attributes,
        BTreeMap::from([
            ("floor".to_owned(), "3".to_owned()),
            ("access-points".to_owned(), "5".to_owned()),
        ])
    );
    assert_eq!(solved.received_at, at(37, 556_742_332));
    assert_eq!(solved.correlation_ids, ["as:up:01JV6ZKDV6NE8TQEN9JKG81MW5"]);
    assert!(solved.extra.is_empty(), "{:?}", solved.extra);
}

fn service_data(name: &str) -> ServiceData {
    match decode(name) {
        Event::ServiceData(data) => (*data).clone(),
        event => panic!("{name}: {event:?}"),
    }
}

#[test]
fn a_package_may_say_anything() {
    let data = service_data("service-data-lora-cloud");
    assert_eq!(
        (data.app_id.as_str(), data.dev_id.as_str()),
        ("greenhouse", "bed-07")
    );
    assert_eq!(data.service, "lora-cloud-device-management-v1");
    assert_eq!(
        data.data,
        json!({"result": {
            "pending_requests": {"updelay": 0, "upcount": 0, "requests": [], "id": 0},
            "info_fields": {"temp": {"timestamp": 1_747_210_897.5, "value": 23}},
            "log_messages": [],
            "fports": null
        }})
    );
    assert_eq!(data.received_at, at(37, 98_396_319));
    assert_eq!(data.correlation_ids, ["as:up:01JV70A9VQPGJZSH3CJYYX8ZSM"]);
    assert!(data.extra.is_empty(), "{:?}", data.extra);
}

#[test]
fn a_package_may_say_nothing() {
    let data = service_data("service-data-empty");
    assert_eq!(data.service, "custom");
    assert_eq!(data.data, Value::Null);
    assert_eq!(data.received_at, at(37, 480_512_186));
    assert!(data.correlation_ids.is_empty() && data.extra.is_empty());
}

#[test]
fn the_bytes_stay_with_every_message() {
    for name in messages() {
        let event = decode(&name);
        let raw = match &event {
            Event::Uplink(event) | Event::UplinkNormalized(event) => event.raw(),
            Event::Activation(event) => event.raw(),
            Event::Downlink(event) => event.raw(),
            Event::QueueInvalidated(event) => event.raw(),
            Event::LocationSolved(event) => event.raw(),
            Event::ServiceData(event) => event.raw(),
            event => panic!("{name}: {event:?}"),
        };
        assert_eq!(raw.topic(), topic(&name));
        assert_eq!(raw.payload(), fixture(&name), "{name}");
    }
}

/// Returns the kind of an event, whether it is simulated, and its EUIs and address.
fn origin(event: &Event) -> (&'static str, bool, [&str; 3]) {
    match event {
        Event::Uplink(it) => (
            "up",
            it.is_simulated(),
            [&it.app_eui, &it.hardware_serial, &it.dev_addr],
        ),
        Event::Activation(it) => (
            "join",
            it.is_simulated(),
            [&it.app_eui, &it.dev_eui, &it.dev_addr],
        ),
        Event::Downlink(it) => (
            "down",
            it.is_simulated(),
            [&it.app_eui, &it.dev_eui, &it.dev_addr],
        ),
        Event::QueueInvalidated(it) => (
            "invalidated",
            it.is_simulated(),
            [&it.app_eui, &it.dev_eui, &it.dev_addr],
        ),
        Event::LocationSolved(it) => (
            "location",
            it.is_simulated(),
            [&it.app_eui, &it.dev_eui, &it.dev_addr],
        ),
        Event::ServiceData(it) => (
            "service",
            it.is_simulated(),
            [&it.app_eui, &it.dev_eui, &it.dev_addr],
        ),
        event => panic!("{event:?}"),
    }
}

#[test]
fn every_kind_of_message_says_that_it_is_simulated_and_has_the_ids_of_the_device() {
    let path = folder().parent().unwrap().join("v3-simulated.ndjson");
    let mut kinds = Vec::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        let (topic, mut body) = (
            message["topic"].as_str().unwrap(),
            message["payload"].clone(),
        );
        let event = Event::decode(Network::V3, topic, body.to_string()).unwrap();
        let (kind, is_simulated, ids) = origin(&event);
        assert!(is_simulated && event.is_simulated(), "{line}");
        assert_eq!(ids, ["70B3D57ED0000000", "5302A1490A2EDEAA", ""]);
        kinds.push(kind);

        body.as_object_mut().unwrap().remove("simulated");
        body["end_device_ids"]["dev_addr"] = json!("26013F77");
        let event = Event::decode(Network::V3, topic, body.to_string()).unwrap();
        let (_, is_simulated, ids) = origin(&event);
        assert!(!is_simulated && !event.is_simulated(), "{line}");
        assert_eq!(ids, ["70B3D57ED0000000", "5302A1490A2EDEAA", "26013F77"]);
    }
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "up",
            "join",
            "location",
            "service",
            "down",
            "invalidated",
            "up"
        ]
    );
}

#[test]
fn downlinks_that_were_thrown_away_have_the_ids_of_the_device_too() {
    let invalidated = invalidated("down-queue-invalidated");
    assert!(!invalidated.dev_eui.is_empty());
    for downlink in &invalidated.downlinks {
        assert_eq!(
            [&downlink.app_eui, &downlink.dev_eui, &downlink.dev_addr],
            [
                &invalidated.app_eui,
                &invalidated.dev_eui,
                &invalidated.dev_addr
            ]
        );
    }
}
