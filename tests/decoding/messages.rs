//! Every message of a V2 network decodes to the right values, and no input makes the client panic.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use ttn::{
    Activation, ActivationFailed, DeviceChange, DeviceEvent, DownlinkEvent, DownlinkStep,
    ErrorKind, Event, Network, UplinkFailed, UplinkField, UplinkMessage,
};

const APP: &str = "greenhouse-demo";

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/v2")
        .join(format!("{name}.json"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn decode(device: &str, kind: &str, name: &str) -> Event {
    let topic = format!("{APP}/devices/{device}/{kind}");
    Event::decode(Network::V2, topic, fixture(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn uplink(device: &str, name: &str) -> UplinkMessage {
    match decode(device, "up", name) {
        Event::Uplink(uplink) => (*uplink).clone(),
        event => panic!("{name}: {event:?}"),
    }
}

fn field(device: &str, field: &str, name: &str) -> UplinkField {
    match decode(device, &format!("up/{field}"), name) {
        Event::UplinkField(field) => (*field).clone(),
        event => panic!("{name}: {event:?}"),
    }
}

fn activation(name: &str) -> Activation {
    match decode("soil-probe-07", "events/activations", name) {
        Event::Activation(activation) => (*activation).clone(),
        event => panic!("{name}: {event:?}"),
    }
}

fn device_event(device: &str, kind: &str, name: &str) -> DeviceEvent {
    match decode(device, kind, name) {
        Event::Device(event) => (*event).clone(),
        event => panic!("{name}: {event:?}"),
    }
}

fn downlink(kind: &str, name: &str) -> DownlinkEvent {
    match decode("pump-1", &format!("events/down/{kind}"), name) {
        Event::Downlink(event) => (*event).clone(),
        event => panic!("{name}: {event:?}"),
    }
}

fn uplink_failed(name: &str) -> UplinkFailed {
    match decode("weather-roof", "events/up/errors", name) {
        Event::UplinkFailed(failed) => (*failed).clone(),
        event => panic!("{name}: {event:?}"),
    }
}

/// Returns seconds and nanoseconds since 1970.
fn time(time: Option<SystemTime>) -> (u64, u32) {
    let since = time
        .unwrap()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    (since.as_secs(), since.subsec_nanos())
}

#[test]
fn an_ordinary_uplink_has_all_its_values() {
    let up = uplink("soil-probe-07", "up-lora-one-gateway-fields");
    assert_eq!(up.app_id, APP);
    assert_eq!(up.dev_id, "soil-probe-07");
    assert_eq!(up.hardware_serial, "A84041FFEE10C207");
    assert_eq!((up.port, up.counter), (2, 1184));
    assert_eq!((up.confirmed, up.is_retry), (false, false));
    assert_eq!(up.payload_raw, [0x01, 0x67, 0x01, 0x10, 0x02, 0x68, 0x3a]);
    assert_eq!(up.payload_hex(), "0167011002683A");
    assert_eq!(up.payload_base64(), "AWcBEAJoOg==");
    assert_eq!(
        up.payload_fields,
        json!({"relative_humidity_2": 29, "temperature_1": 27.2})
    );
    assert!(up.extra.is_empty() && up.attributes.is_empty());

    let metadata = &up.metadata;
    assert_eq!(time(metadata.time), (1_520_581_282, 518_304_771));
    assert_eq!(metadata.frequency, Some(868.3));
    assert_eq!(metadata.modulation, "LORA");
    assert_eq!(metadata.data_rate, "SF8BW125");
    assert_eq!(metadata.bit_rate, None);
    assert_eq!(metadata.coding_rate, "4/5");
    assert_eq!(metadata.airtime, Some(Duration::from_nanos(102_912_000)));
    assert_eq!(metadata.location, None);
    assert!(metadata.extra.is_empty());

    let [gateway] = &metadata.gateways[..] else {
        panic!()
    };
    assert_eq!(gateway.gtw_id, "eui-58a0cbfffe80aa11");
    assert!(!gateway.gtw_trusted);
    assert_eq!(gateway.timestamp, Some(1_903_442_820));
    assert_eq!(time(gateway.time), (1_520_581_282, 497_118_000));
    assert_eq!(
        (gateway.antenna, gateway.channel, gateway.rf_chain),
        (0, 1, 1)
    );
    assert_eq!((gateway.rssi, gateway.snr), (Some(-87.0), Some(9.25)));
    assert!(gateway.extra.is_empty());
    let place = gateway.location.as_ref().unwrap();
    assert_eq!(
        (place.latitude, place.longitude, place.altitude),
        (51.92442, 4.477733, 14)
    );
    assert_eq!((place.accuracy, &*place.source), (None, "registry"));
}

#[test]
fn many_gateways_keep_their_differences() {
    let up = uplink("van-tracker", "up-lora-many-gateways");
    let gateways = &up.metadata.gateways;
    let ids: Vec<_> = gateways
        .iter()
        .map(|gateway| gateway.gtw_id.as_str())
        .collect();
    assert_eq!(
        ids,
        [
            "eui-1dee1b6f00aa0301",
            "harbour-roof-2",
            "eui-00800000a0001f3e",
            "lab-pico"
        ]
    );
    assert_eq!(gateways[0].timestamp, Some(u32::MAX));
    assert_eq!(gateways[0].time, None);
    assert_eq!(gateways[0].snr, Some(-19.75));
    assert!(gateways[1].gtw_trusted && !gateways[0].gtw_trusted);
    assert_eq!(gateways[1].rssi, Some(-117.5));
    assert_eq!(gateways[1].location.as_ref().unwrap().altitude, -3);
    assert_eq!(gateways[2].location, None);
    assert_eq!(gateways[3].location.as_ref().unwrap().accuracy, Some(25));
    assert_eq!(gateways[3].location.as_ref().unwrap().source, "gps");
    assert_eq!(
        up.metadata.airtime,
        Some(Duration::from_nanos(1_318_912_000))
    );
    assert_eq!(time(up.metadata.time).1, 1);
}

#[test]
fn an_fsk_uplink_has_a_bit_rate_and_no_data_rate() {
    let up = uplink("pump-1", "up-fsk-one-gateway");
    assert_eq!(up.metadata.modulation, "FSK");
    assert_eq!(up.metadata.bit_rate, Some(50_000));
    assert_eq!(up.metadata.data_rate, "");
    assert_eq!(up.metadata.gateways[0].snr, Some(0.0));
    assert_eq!(up.payload_fields, Value::Null);
}

#[test]
fn what_the_server_leaves_out_is_empty_and_no_error() {
    let simulated = uplink("soil-probe-07", "up-lora-zero-gateways-simulated");
    assert!(simulated.metadata.gateways.is_empty());
    assert_eq!(simulated.metadata.frequency, None);
    assert!(simulated.metadata.time.is_some());

    let minimal = uplink("d1", "up-minimal");
    assert_eq!(
        (minimal.app_id.as_str(), minimal.dev_id.as_str()),
        (APP, "d1")
    );
    assert!(minimal.payload_raw.is_empty());
    assert_eq!(minimal.metadata.time, None);

    let old = uplink("soil-probe-07", "up-missing-metadata");
    assert_eq!(
        (old.app_id.as_str(), old.hardware_serial.as_str()),
        (APP, "")
    );
    assert_eq!(old.metadata, ttn::Metadata::default());
    assert_eq!(old.payload_raw, [1]);

    let empty = uplink("soil-probe-07", "up-lora-empty-string-payload");
    assert!(empty.payload_raw.is_empty());

    let empty = uplink("d1", "up-fields-empty-object");
    assert_eq!(empty.payload_fields, json!({}));
    assert!(empty.metadata.gateways.is_empty());
}

#[test]
fn flags_appear_when_they_are_set() {
    let up = uplink("pump-1", "up-lora-confirmed-retry");
    assert!(up.confirmed && up.is_retry);
    assert_eq!(time(up.metadata.time), (1_514_159_999, 999_999_999));
}

#[test]
fn a_device_may_have_a_location() {
    let up = uplink("buoy_3", "up-lora-us915-device-location");
    let place = up.metadata.location.as_ref().unwrap();
    assert_eq!(
        (place.latitude, place.longitude, place.altitude),
        (37.80444, -122.27083, 3)
    );
    assert_eq!(up.metadata.frequency, Some(903.9));
    assert_eq!(up.metadata.gateways[0].location, None);
}

#[test]
fn a_long_payload_arrives_whole() {
    let up = uplink("buoy_3", "up-lora-no-fields-long-payload");
    assert_eq!(up.payload_raw, (0..48).collect::<Vec<u8>>());
    assert_eq!(up.port, 223);
}

#[test]
fn fields_may_be_nested_and_have_any_name() {
    let up = uplink("weather-roof", "up-nested-fields");
    assert_eq!(up.payload_fields["battery"]["mv"], 3612);
    assert_eq!(up.payload_fields["gps"]["fix"][1], 4.4777326);
    assert_eq!(up.payload_fields["gps"]["hdop"], Value::Null);
    assert_eq!(
        up.payload_fields["history"],
        json!([[1, 20.5], [2, 20.75], [3, null]])
    );
    assert_eq!(up.metadata.coding_rate, "4/6");

    let up = uplink("weather-roof", "up-fields-unicode-and-escapes");
    assert_eq!(up.payload_fields["html"], "<b>5 & 6 > 4</b>");
    assert_eq!(up.payload_fields["naïve température"], "21,5 °C");
    assert_eq!(up.payload_fields["地点"], "鹿特丹");
    assert_eq!(up.payload_fields["separator"], "a\u{2028}b");
    assert_eq!(up.payload_fields["quote"], "say \"hi\"\\\n\tbye");

    let body = r#"{"app_id":"a1","dev_id":"d1","payload_fields":{"temp-c":1,"1st":2,"class":3,"_x":4,"":5}}"#;
    let up = UplinkMessage::from_json(Network::V2, body).unwrap();
    let names = ["temp-c", "1st", "class", "_x", ""];
    assert_eq!(
        names.map(|name| up.payload_fields[name].as_u64().unwrap()),
        [1, 2, 3, 4, 5]
    );
}

#[test]
fn attributes_and_members_without_a_name_of_ours_stay_reachable() {
    let up = uplink("soil-probe-07", "up-attributes-and-warning");
    assert_eq!(up.attributes["bench"], "north");
    assert!(up.attributes["warning"].contains("December 2021"));

    let up = uplink("soil-probe-07", "up-unknown-extra-fields");
    assert_eq!(up.extra["trace"]["id"], "01");
    assert!(
        up.extra["downlink_url"]
            .as_str()
            .unwrap()
            .starts_with("https://")
    );
    assert_eq!(up.metadata.extra["frequency_plan"], "EU_863_870");
    assert_eq!(up.metadata.gateways[0].extra["rssi_std_dev"], 1.5);
    assert_eq!(up.metadata.gateways[0].extra["board"], 0);
}

#[test]
fn the_original_bytes_stay_with_the_message() {
    let up = uplink("d1", "up-minimal");
    assert_eq!(up.raw().payload(), fixture("up-minimal"));
    assert_eq!(up.raw().topic(), "greenhouse-demo/devices/d1/up");
}

#[test]
fn fields_read_into_a_type_of_the_user() {
    #[derive(serde::Deserialize)]
    struct Climate {
        temperature_1: f64,
        relative_humidity_2: u8,
    }
    let up = uplink("soil-probe-07", "up-lora-one-gateway-fields");
    let climate: Climate = up.fields().unwrap();
    assert_eq!(
        (climate.temperature_1, climate.relative_humidity_2),
        (27.2, 29)
    );

    let error = uplink("d1", "up-minimal")
        .fields::<Climate>()
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("no payload_fields"), "{error}");
}

#[test]
fn every_field_topic_is_a_field() {
    assert_eq!(
        field("soil-probe-07", "temperature_1", "upfield-number").value,
        27.2
    );
    assert_eq!(field("pump-1", "running", "upfield-bool").value, true);
    assert_eq!(
        field("weather-roof", "emoji", "upfield-string").value,
        "🌱🚿"
    );
    assert_eq!(
        field("weather-roof", "history", "upfield-array").value[2],
        json!([3, null])
    );
    let nested = field("weather-roof", "gps/hdop", "upfield-null");
    assert_eq!(
        (nested.field.as_str(), nested.value),
        ("gps/hdop", Value::Null)
    );
    assert_eq!(nested.dev_id, "weather-roof");
}

#[test]
fn activations_take_their_ids_from_the_topic() {
    let joined = activation("event-activation");
    assert_eq!(
        (joined.app_id.as_str(), joined.dev_id.as_str()),
        (APP, "soil-probe-07")
    );
    assert_eq!(joined.app_eui, "70B3D57ED000AB01");
    assert_eq!(joined.dev_eui, "A84041FFEE10C207");
    assert_eq!(joined.dev_addr, "26011F9C");
    assert_eq!(joined.metadata.data_rate, "SF12BW125");
    assert_eq!(joined.metadata.gateways.len(), 2);
    assert_eq!(joined.metadata.airtime, None);
    let newer = activation("event-activation-with-airtime");
    assert_eq!(
        newer.metadata.airtime,
        Some(Duration::from_nanos(663_552_000))
    );

    let event = decode(
        "soil-probe-07",
        "events/activations/errors",
        "event-activations-errors",
    );
    let Event::ActivationFailed(failed) = event else {
        panic!("{event:?}")
    };
    let ActivationFailed {
        error, activation, ..
    } = &*failed;
    assert_eq!(error, "Activation DevNonce not valid: already used");
    assert_eq!(
        (activation.dev_addr.as_str(), activation.metadata.time),
        ("", None)
    );
}

#[test]
fn device_events_tell_what_changed() {
    let created = device_event("pump-2", "events/create", "event-create");
    assert_eq!(created.change, DeviceChange::Created);
    assert_eq!(created.location.as_ref().unwrap().altitude, 14);
    assert_eq!(time(created.updated_at), (1_534_772_220, 123_456_789));

    let old = device_event(
        "template-a84041ffee10c2ff",
        "events/create",
        "event-create-null",
    );
    assert_eq!((old.location, old.updated_at), (None, None));
    let unchanged = device_event("pump-2", "events/update", "event-update-unchanged");
    assert_eq!(
        (unchanged.change, unchanged.updated_at),
        (DeviceChange::Updated, None)
    );
    let deleted = device_event("pump-2", "events/delete", "event-delete");
    assert_eq!(deleted.change, DeviceChange::Deleted);
}

#[test]
fn downlink_events_tell_the_step_and_the_downlink() {
    let queued = downlink("scheduled", "event-down-scheduled");
    assert_eq!((queued.step, queued.port), (DownlinkStep::Queued, 1));
    assert_eq!(
        (queued.payload_raw.as_slice(), queued.confirmed),
        (&[0x0a, 0x0b][..], false)
    );
    assert_eq!(queued.transmission, None);

    let fields = downlink("scheduled", "event-down-scheduled-confirmed-fields");
    assert!(fields.confirmed && fields.payload_raw.is_empty());
    assert_eq!(
        fields.payload_fields,
        json!({"minutes": 15, "valve": "open"})
    );

    let sent = downlink("sent", "event-down-sent-lora");
    assert_eq!(sent.step, DownlinkStep::Sent);
    let transmission = sent.transmission.as_ref().unwrap();
    assert_eq!(transmission.gateway_id, "eui-58a0cbfffe80aa11");
    assert_eq!(transmission.frame.len(), 15);
    assert_eq!(transmission.frequency, Some(868.1));
    assert_eq!((transmission.counter, transmission.power), (11, Some(14)));
    assert_eq!(transmission.airtime, Some(Duration::from_nanos(46_336_000)));
    assert_eq!(transmission.data_rate, "SF7BW125");

    let own = downlink("sent", "event-down-sent-ack-only");
    assert_eq!((own.port, own.payload_raw.len()), (0, 0));
    assert_eq!(own.transmission.unwrap().frequency, Some(869.525));

    let acknowledged = downlink("acks", "event-down-acks");
    assert_eq!(
        (acknowledged.step, acknowledged.port),
        (DownlinkStep::Acknowledged, 20)
    );
    let documented = downlink("acks", "event-down-acks-null");
    assert_eq!(
        (documented.step, documented.port),
        (DownlinkStep::Acknowledged, 0)
    );
}

#[test]
fn downlink_errors_carry_the_servers_words() {
    let cases = [
        (
            "event-down-errors-empty-payload",
            "Downlink Payload not valid: empty",
        ),
        (
            "event-down-errors-bad-schedule",
            "ScheduleType not valid: unknown",
        ),
        (
            "event-down-errors-both-payloads",
            "Downlink not valid: Both Fields and Payload provided",
        ),
        (
            "event-down-errors-encoder",
            "Internal error: Encoder threw error: TypeError: Cannot access member 'length' of undefined",
        ),
    ];
    for (name, words) in cases {
        let failed = downlink("errors", name);
        assert_eq!(
            (failed.step, failed.error.as_str()),
            (DownlinkStep::Failed, words)
        );
    }
    assert!(
        uplink_failed("event-up-errors-decoder")
            .error
            .contains("Decoder threw error")
    );
    assert!(
        uplink_failed("event-up-errors-validator")
            .error
            .contains("validator")
    );
}

#[test]
fn a_message_that_cannot_be_read_is_an_error_that_names_the_topic() {
    for name in ["bad-truncated", "bad-not-json"] {
        let topic = format!("{APP}/devices/d1/up");
        let error = Event::decode(Network::V2, topic.clone(), fixture(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().contains(&topic), "{error}");
    }
}

#[test]
fn a_mistyped_member_is_named() {
    let cases = [
        (r#"{"port":300}"#, "port"),
        (r#"{"counter":-1}"#, "counter"),
        (r#"{"payload_raw":"not base64!"}"#, "payload_raw"),
        (r#"{"payload_raw":[1]}"#, "expected text"),
        (r#"{"dev_id":{}}"#, "dev_id"),
        (r#"{"app_id":[]}"#, "app_id"),
        ("null", "object"),
        ("[]", "object"),
        ("7", "object"),
    ];
    for (body, name) in cases {
        let error = Event::decode(Network::V2, "app1/devices/dev1/up", body).unwrap_err();
        assert!(error.to_string().contains(name), "{body}: {error}");
    }
}

#[test]
fn a_field_without_a_name_is_never_an_uplink() {
    for body in [
        "5",
        "true",
        "null",
        r#"{"port":9,"counter":77}"#,
        "{}",
        r#"{"lat":51.9}"#,
    ] {
        let error = Event::decode(Network::V2, "app1/devices/dev1/up", body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
    }
    let body = r#"{"port":9,"counter":77}"#;
    let error = Event::decode(Network::V2, "app1/devices/dev1/up", body).unwrap_err();
    assert!(
        error.to_string().contains("a field without a name"),
        "{error}"
    );
}

#[test]
fn null_and_numbers_as_text_are_read() {
    let body = r#"{"app_id":null,"port":"7","counter":"12","confirmed":null,"payload_raw":null,"payload_fields":null,
        "metadata":{"time":null,"frequency":"868.1","airtime":"1000","gateways":[null,{"rssi":-0,"snr":null,"location_source":null}],
        "latitude":1e-7},"attributes":null,"hardware_serial":null}"#;
    let Event::Uplink(up) = Event::decode(Network::V2, "app1/devices/dev1/up", body).unwrap()
    else {
        panic!()
    };
    assert_eq!((up.app_id.as_str(), up.port, up.counter), ("app1", 7, 12));
    assert_eq!(up.metadata.frequency, Some(868.1));
    assert_eq!(up.metadata.airtime, Some(Duration::from_micros(1)));
    let [gateway] = &*up.metadata.gateways else {
        panic!("{:?}", up.metadata.gateways)
    };
    assert_eq!(gateway.rssi, Some(0.0));
    assert_eq!(up.metadata.location.as_ref().unwrap().latitude, 1e-7);
}

#[test]
fn a_time_that_is_none_is_kept_as_text() {
    let body = r#"{"metadata":{"time":"yesterday"}}"#;
    let Event::Uplink(up) = Event::decode(Network::V2, "app1/devices/dev1/up", body).unwrap()
    else {
        panic!()
    };
    assert_eq!(up.metadata.time, None);
    assert_eq!(up.metadata.extra["time"], "yesterday");
}

#[test]
fn a_body_without_a_topic_needs_both_ids() {
    for (body, missing) in [
        (r#"{"dev_id":"d1"}"#, "app_id"),
        (r#"{"app_id":"a1"}"#, "dev_id"),
    ] {
        let error = UplinkMessage::from_json(Network::V2, body).unwrap_err();
        assert!(error.to_string().contains(missing), "{error}");
    }
}

#[test]
fn a_topic_that_is_not_known_is_handed_on() {
    for topic in [
        "",
        "a",
        "app1/events/something",
        "app1/devices/dev1",
        "app1/devices/dev1/",
        "app1/devices/dev1/down",
        "app1/devices/dev1/up/",
        "app1/devices//up",
        "/devices/dev1/up",
        "a/b/devices/dev1/up",
        "app1/devices/dev1/events/new/kind",
    ] {
        let event = Event::decode(Network::V2, topic, "\u{1}").unwrap();
        let Event::Other(raw) = event else {
            panic!("{topic}: {event:?}")
        };
        assert_eq!((raw.topic(), raw.payload()), (topic, &b"\x01"[..]));
    }
}

#[test]
fn no_input_makes_the_decoder_panic() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v2");
    let bodies: Vec<Vec<u8>> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(bodies.len() > 50);
    let kinds = [
        "up",
        "up/x",
        "events/activations",
        "events/activations/errors",
        "events/create",
        "events/down/sent",
        "events/down/errors",
        "events/up/errors",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut decoded = 0;
    for kind in kinds {
        let topic = format!("app1/devices/dev1/{kind}");
        for body in &bodies {
            for cut in 0..=body.len() {
                let _ = Event::decode(Network::V2, topic.clone(), &body[..cut]);
            }
            for _ in 0..40 {
                let mut damaged = body.clone();
                for _ in 0..random.usize(1..4) {
                    let place = random.usize(..damaged.len());
                    damaged[place] = random.u8(..);
                }
                decoded += usize::from(Event::decode(Network::V2, topic.clone(), damaged).is_ok());
            }
        }
    }
    assert!(decoded > 0);
    let deep = "[".repeat(100_000);
    assert!(Event::decode(Network::V2, "app1/devices/dev1/up/x", deep).is_err());
}
