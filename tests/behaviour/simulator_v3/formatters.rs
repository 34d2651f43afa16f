//! Payload formatters of the simulated v3 network: fields, measurements and positions.

use serde_json::{Value, json};
use ttn::simulator::{Decoded, Encoded, Normalized, Uplink};

use super::{ALL, PLACE, PUSH, assert_shape, next, pump, stage, start, topics, up, uplink_message};
use crate::support::raw::Raw;

#[test]
fn fields_come_from_the_decoder_and_a_failing_one_leaves_no_trace() {
    let network = start();
    let (device, mut client) = pump(&network);
    network.set_decoder(|port, bytes| match port {
        1 => Ok(Some(json!({"level": bytes[0]}))),
        2 => Ok(Some(json!({}))),
        3 => Err("out of range".into()),
        4 => panic!("a bug"),
        5 => Ok(Some(json!([1]))),
        7 => Ok(Some(Value::Null)),
        8 => Ok(Some(json!(7))),
        _ => Ok(None),
    });
    for (port, expected) in [
        (1, Some(json!({"level": 7}))),
        (2, Some(json!({}))),
        (3, None),
        (4, None),
        (5, Some(json!({"0": 1}))),
        (6, None),
        (7, Some(json!({}))),
        (8, None),
    ] {
        device.uplink(port, [7]);
        let up = up(&mut client);
        assert_eq!(
            up["uplink_message"].get("decoded_payload"),
            expected.as_ref()
        );
    }
    let warned = Uplink::new(7, [1])
        .fields(json!({"level": 101.2}))
        .warning("level above 100");
    device.send(warned.counter(10));
    assert_shape(&up(&mut client), "up-decoded-with-warnings", &[]);
    client.assert_silent();
}

#[test]
fn measurements_are_published_one_by_one_before_their_uplink() {
    let network = start();
    let (device, mut client) = pump(&network);
    let uplink = Uplink::new(2, [1])
        .counter(118)
        .fields(json!({"t": 21.5}))
        .normalized(json!({"air": {"temperature": 21.5, "relativeHumidity": 60}}));
    device.send(uplink.clone());
    let (topic, normalized) = client.message();
    assert_eq!(topic, "v3/simulated-app@ttn/devices/pump-1/up/normalized");
    assert_shape(&normalized, "normalized-air", &[]);
    assert_shape(&up(&mut client), "up-normalized-payload", &[]);
    let uplink = uplink.counter(119);
    device.send(uplink.normalized(json!({"soil": {"moisture": 3}})));
    assert_eq!(topics(&mut client, 1), ["up/normalized"]);
    let (_, second) = client.message();
    let measurement = &second["uplink_normalized"]["normalized_payload"];
    assert_eq!(*measurement, json!({"soil": {"moisture": 3}}));
}

#[test]
fn a_position_in_the_payload_is_published_and_remembered() {
    let network = start();
    let device = network.create_device("pump-1", Some(PLACE));
    let mut client = Raw::subscribed(&network, &[ALL]);
    device.send(
        Uplink::new(2, [1]).fields(json!({"latitude": 52.5, "longitude": 4.75, "altitude": 1})),
    );
    up(&mut client);
    let solved = client.message_on("location/solved");
    let accuracy = ["/location_solved/location/accuracy"];
    assert_shape(&solved, "location-solved-frm-payload", &accuracy);
    assert_eq!(solved["location_solved"]["service"], "frm-payload");
    assert_eq!(solved["location_solved"]["location"]["latitude"], 52.5);
    device.uplink(2, [1]);
    let locations = up(&mut client)["uplink_message"]["locations"].clone();
    assert_eq!(locations["frm-payload"]["source"], "SOURCE_GPS");
    assert_eq!(locations["user"]["source"], "SOURCE_REGISTRY");
    assert_eq!(locations["user"]["latitude"], 52.3731);
    device.send(Uplink::new(2, [1]).location(PLACE));
    assert_eq!(topics(&mut client, 2), ["up", "location/solved"]);
    assert!(network.update_device("pump-1", None));
    device.uplink(2, [1]);
    let locations = up(&mut client)["uplink_message"]["locations"].clone();
    assert!(locations.get("user").is_none());
}

#[test]
fn a_position_in_a_channel_of_cayenne_is_solved() {
    let (network, device, mut client) = stage();
    let place = json!({"latitude": 48.5, "longitude": 9.25, "altitude": 3});
    network.set_decoder(move |_, _| Ok(json!({"gps_1": place})));
    device.uplink(1, [1]);
    let message = uplink_message(&mut client);
    let (kind, solved) = next(&mut client);
    assert_eq!(kind, "location/solved");
    assert_eq!(solved["service"], "frm-payload");
    assert_eq!(solved["location"], message["locations"]["frm-payload"]);
    assert_eq!(solved["location"]["altitude"], 3);
}

#[test]
fn fields_that_are_a_measurement_need_no_normalizer() {
    let (network, device, mut client) = stage();
    network.set_decoder(|port, _| {
        Ok(match port {
            1 => json!({"air": {"temperature": 21.5, "pressure": 20}}),
            _ => json!({"air": {"temperature": 21.5}, "battery_mv": 3600}),
        })
    });
    device.uplink(1, [1]);
    let (kind, normalized) = next(&mut client);
    assert_eq!(kind, "up/normalized");
    let payload = json!({"air": {"temperature": 21.5}});
    assert_eq!(normalized["normalized_payload"], payload);
    let message = uplink_message(&mut client);
    assert_eq!(message["normalized_payload"], json!([payload]));
    let warnings = json!(["measurement 1: `air.pressure` should be equal or greater than `900`"]);
    assert_eq!(message["normalized_payload_warnings"], warnings);
    device.uplink(2, [1]);
    assert!(
        uplink_message(&mut client)
            .get("normalized_payload")
            .is_none()
    );
}

#[test]
fn each_measurement_has_a_message_of_its_own() {
    let (network, device, mut client) = stage();
    network.set_decoder(|_, _| Ok(json!({"t": [1, 2]})));
    network.set_normalizer(|fields| {
        let temperatures = fields["t"].as_array().unwrap().iter();
        let measurements = temperatures.map(|t| json!({"air": {"temperature": t}}));
        Ok(measurements.collect::<Vec<Value>>())
    });
    device.uplink(1, [1]);
    for temperature in [1, 2] {
        let (kind, normalized) = next(&mut client);
        assert_eq!(kind, "up/normalized");
        let payload = json!({"air": {"temperature": temperature}});
        assert_eq!(normalized["normalized_payload"], payload);
        assert!(normalized.get("decoded_payload").is_none());
        assert!(normalized.get("locations").is_none());
    }
    let count = uplink_message(&mut client)["normalized_payload"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(count, 2);
    network.set_normalizer(|_| Ok(Normalized::crash()));
    device.uplink(1, [1]);
    client.assert_silent();
}

#[test]
fn a_device_may_have_formatters_of_its_own() {
    let (network, device, mut client) = stage();
    network.set_decoder(|_, _| Ok(json!({"of": "application"})));
    network.set_encoder(|_, _| Ok(vec![1]));
    device.set_decoder(|_, _| Ok(Decoded::new(json!({"of": "device"}))));
    device.set_encoder(|_, _| Ok(Encoded::new([2]).port(7)));
    device.set_downlink_decoder(|port, bytes| Ok(json!({"port": port, "bytes": bytes})));
    device.uplink(1, [1]);
    assert_eq!(
        uplink_message(&mut client)["decoded_payload"],
        json!({"of": "device"})
    );
    network.device("pump-2").uplink(1, [1]);
    let other = uplink_message(&mut client)["decoded_payload"].clone();
    assert_eq!(other, json!({"of": "application"}));
    let request = r#"{"downlinks":[{"f_port":1,"decoded_payload":{"on":true}}]}"#;
    let queued = &client.publish_1(PUSH, request)[0].1["downlink_queued"];
    assert_eq!(
        (&queued["f_port"], &queued["frm_payload"]),
        (&json!(7), &json!("Ag=="))
    );
    assert_eq!(queued["decoded_payload"], json!({"on": true}));
    device.uplink(1, [1]);
    uplink_message(&mut client);
    let (_, sent) = next(&mut client);
    assert_eq!(sent["decoded_payload"], json!({"port": 7, "bytes": [2]}));
    let request = r#"{"downlinks":[{"f_port":3,"frm_payload":"CQ=="}]}"#;
    let queued = &client.publish_1(PUSH, request)[0].1["downlink_queued"];
    assert_eq!(queued["decoded_payload"], json!({"port": 3, "bytes": [9]}));
}

#[test]
fn a_simulated_uplink_is_decoded_and_normalized_after_it() {
    let (network, device, mut client) = stage();
    network.set_decoder(|_, _| Ok(json!({"air": {"temperature": 1}})));
    let settings = json!({"data_rate": {"fsk": {"bit_rate": 50_000}}, "frequency": "868800000"});
    let status = device.simulate(&json!({
        "uplink_message": {"f_port": 1, "frm_payload": "AQ==", "settings": settings},
    }));
    assert_eq!(status, 200);
    assert_eq!(
        uplink_message(&mut client)["decoded_payload"],
        json!({"air": {"temperature": 1}})
    );
    let (topic, message) = client.message();
    assert!(topic.ends_with("/up/normalized"));
    assert_eq!(message["simulated"], true);
    assert_eq!(message["uplink_normalized"]["settings"], settings);
    client.assert_silent();
}
