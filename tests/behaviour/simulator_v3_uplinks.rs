//! Uplinks of the simulated v3 network, beyond what recordings of the real one show.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use ttn::Network;
use ttn::simulator::{
    Decoded, Device, DownlinkConstraint, Encoded, Gateway, Normalized, Simulator, Uplink,
};

use crate::support::raw::Raw;

const PUSH: &str = "v3/simulated-app@ttn/devices/pump-1/down/push";

fn start() -> (Simulator, Device, Raw) {
    let network = Simulator::builder(Network::V3)
        .receive_window(Duration::ZERO)
        .start()
        .unwrap();
    let device = network.device("pump-1");
    let client = Raw::subscribed(&network, &["#"]);
    (network, device, client)
}

/// Returns the end of the topic and the body of the next message.
fn next(client: &mut Raw) -> (String, Value) {
    let (topic, message) = client.message();
    let kind = topic.split('/').skip(4).collect::<Vec<_>>().join("/");
    let bodies = [
        "uplink_message",
        "uplink_normalized",
        "location_solved",
        "downlink_queued",
        "downlink_sent",
        "downlink_failed",
        "downlink_ack",
    ];
    let body = bodies.iter().find_map(|name| message.get(name));
    (kind, body.cloned().unwrap_or(message))
}

fn up(client: &mut Raw) -> Value {
    let (kind, body) = next(client);
    assert_eq!(kind, "up");
    body
}

#[test]
fn an_ordinary_gateway_has_a_public_place_and_no_clock() {
    let (_network, device, mut client) = start();
    device.send(Uplink::new(1, [1]).gateways(2));
    let message = up(&mut client);
    assert!(message["settings"].get("time").is_none());
    let heard = message["rx_metadata"].as_array().unwrap();
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().all(|gateway| gateway.get("time").is_none()));
    assert!(heard[0]["location"]["latitude"].is_number());
    assert_eq!(heard[0]["gateway_ids"]["eui"], "58A0CBFFFE80AA11");
}

#[test]
fn a_channel_is_that_of_the_frequency() {
    let (_network, device, mut client) = start();
    for (frequency, channel) in [
        (868.1, Value::Null),
        (868.3, json!(1)),
        (868.5, json!(2)),
        (867.1, json!(3)),
        (867.9, json!(7)),
        (903.9, Value::Null),
    ] {
        device.send(Uplink::new(1, [1]).frequency(frequency));
        let heard = &up(&mut client)["rx_metadata"][0];
        assert_eq!(heard["channel_index"], channel, "{frequency} MHz");
    }
}

#[test]
fn a_clock_may_be_wrong() {
    let (_network, device, mut client) = start();
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_747_210_897_123_456_789);
    let gateway = Gateway::new("roof-east").time(time);
    device.send(Uplink::new(1, [1]).heard_by(gateway.clone()));
    let message = up(&mut client);
    assert_eq!(message["settings"]["time"], "2025-05-14T08:21:37.123456Z");
    assert!(message["rx_metadata"][0].get("gps_time").is_none());
    device.send(Uplink::new(1, [1]).heard_by(gateway.gps(true)));
    let heard = &up(&mut client)["rx_metadata"][0];
    assert_eq!(heard["gps_time"], "2025-05-14T08:21:37.123Z");
    assert_eq!(heard["time"], heard["gps_time"]);
}

#[test]
fn no_downlink_leaves_through_a_gateway_that_must_not_transmit() {
    let (_network, device, mut client) = start();
    device.uplink(1, [1]);
    up(&mut client);
    client.publish_1(PUSH, r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#);
    let never = DownlinkConstraint::Never;
    let closed = Gateway::new("cellar").downlink_constraint(never);
    device.send(Uplink::new(1, [1]).heard_by(closed.clone()));
    let heard = &up(&mut client)["rx_metadata"][0];
    let constraint = &heard["downlink_path_constraint"];
    assert_eq!(constraint, "DOWNLINK_PATH_CONSTRAINT_NEVER");
    client.assert_silent();
    let open = Gateway::new("roof-east").snr(-12.0);
    device.send(Uplink::new(1, [1]).heard_by(closed).heard_by(open));
    up(&mut client);
    assert_eq!(next(&mut client).0, "down/sent");
}

#[test]
fn a_counter_must_grow_but_not_too_much() {
    let (_network, device, mut client) = start();
    let heard = |counter| device.send(Uplink::new(1, [1]).counter(counter));
    for (counter, is_published) in [
        (70_000, true),
        (69_999, false),
        (70_000, false),
        (86_384, true),
        (102_769, false),
        (86_385, true),
    ] {
        assert_eq!(heard(counter), counter);
        if is_published {
            assert_eq!(up(&mut client)["f_cnt"], counter);
        }
    }
    client.assert_silent();
}

#[test]
fn a_lost_acknowledgement_is_not_made_up_for() {
    let (_network, device, mut client) = start();
    let request = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ==","confirmed":true}]}"#;
    client.publish_1(PUSH, request);
    device.uplink(1, [1]);
    assert_eq!(next(&mut client).0, "up");
    assert_eq!(next(&mut client).0, "down/sent");
    device.send(Uplink::new(1, [1]).bad_crc(true));
    client.assert_silent();
    device.uplink(1, [1]);
    assert_eq!(next(&mut client).0, "down/nack");
}

#[test]
fn a_position_in_a_channel_of_cayenne_is_solved() {
    let (network, device, mut client) = start();
    let place = json!({"latitude": 48.5, "longitude": 9.25, "altitude": 3});
    network.set_decoder(move |_, _| Ok(json!({"gps_1": place})));
    device.uplink(1, [1]);
    let message = up(&mut client);
    let (kind, solved) = next(&mut client);
    assert_eq!(kind, "location/solved");
    assert_eq!(solved["service"], "frm-payload");
    assert_eq!(solved["location"], message["locations"]["frm-payload"]);
    assert_eq!(solved["location"]["altitude"], 3);
}

#[test]
fn fields_that_are_a_measurement_need_no_normalizer() {
    let (network, device, mut client) = start();
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
    let message = up(&mut client);
    assert_eq!(message["normalized_payload"], json!([payload]));
    let warnings = json!(["measurement 1: `air.pressure` should be equal or greater than `900`"]);
    assert_eq!(message["normalized_payload_warnings"], warnings);
    device.uplink(2, [1]);
    assert!(up(&mut client).get("normalized_payload").is_none());
}

#[test]
fn each_measurement_has_a_message_of_its_own() {
    let (network, device, mut client) = start();
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
    let count = up(&mut client)["normalized_payload"]
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
    let (network, device, mut client) = start();
    network.set_decoder(|_, _| Ok(json!({"of": "application"})));
    network.set_encoder(|_, _| Ok(vec![1]));
    device.set_decoder(|_, _| Ok(Decoded::new(json!({"of": "device"}))));
    device.set_encoder(|_, _| Ok(Encoded::new([2]).port(7)));
    device.set_downlink_decoder(|port, bytes| Ok(json!({"port": port, "bytes": bytes})));
    device.uplink(1, [1]);
    assert_eq!(up(&mut client)["decoded_payload"], json!({"of": "device"}));
    network.device("pump-2").uplink(1, [1]);
    let other = up(&mut client)["decoded_payload"].clone();
    assert_eq!(other, json!({"of": "application"}));
    let request = r#"{"downlinks":[{"f_port":1,"decoded_payload":{"on":true}}]}"#;
    let queued = &client.publish_1(PUSH, request)[0].1["downlink_queued"];
    assert_eq!(
        (&queued["f_port"], &queued["frm_payload"]),
        (&json!(7), &json!("Ag=="))
    );
    assert_eq!(queued["decoded_payload"], json!({"on": true}));
    device.uplink(1, [1]);
    up(&mut client);
    let (_, sent) = next(&mut client);
    assert_eq!(sent["decoded_payload"], json!({"port": 7, "bytes": [2]}));
    let request = r#"{"downlinks":[{"f_port":3,"frm_payload":"CQ=="}]}"#;
    let queued = &client.publish_1(PUSH, request)[0].1["downlink_queued"];
    assert_eq!(queued["decoded_payload"], json!({"port": 3, "bytes": [9]}));
}

#[test]
fn a_device_from_a_repository_has_a_version() {
    let (_network, device, mut client) = start();
    let version = json!({"model_id": "probe-2", "brand_id": "acme", "band_id": "EU_863_870"});
    let uplink = Uplink::new(1, [1])
        .normalized(json!({"air": {"temperature": 1}}))
        .version_ids(version);
    device.send(uplink);
    assert!(next(&mut client).1.get("version_ids").is_none());
    let (_, text) = client.text();
    let ids = r#""version_ids":{"brand_id":"acme","model_id":"probe-2","band_id":"EU_863_870"}"#;
    assert!(text.contains(ids), "{text}");
}

#[test]
fn a_simulated_uplink_is_decoded_and_normalized_after_it() {
    let (network, device, mut client) = start();
    network.set_decoder(|_, _| Ok(json!({"air": {"temperature": 1}})));
    let settings = json!({"data_rate": {"fsk": {"bit_rate": 50_000}}, "frequency": "868800000"});
    let status = device.simulate(&json!({
        "uplink_message": {"f_port": 1, "frm_payload": "AQ==", "settings": settings},
    }));
    assert_eq!(status, 200);
    assert_eq!(
        up(&mut client)["decoded_payload"],
        json!({"air": {"temperature": 1}})
    );
    let (topic, message) = client.message();
    assert!(topic.ends_with("/up/normalized"));
    assert_eq!(message["simulated"], true);
    assert_eq!(message["uplink_normalized"]["settings"], settings);
    client.assert_silent();
}
