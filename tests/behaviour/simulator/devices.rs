//! Devices of the simulated V2 network: their frame counters, joins and announcements.

use serde_json::{Value, json};
use ttn::simulator::{Location, Uplink};

use super::{DOWN, EVENTS, UP, instant, pump, start};
use crate::support::raw::Raw;

#[test]
fn counters_go_on_from_the_last_one_and_a_retry_repeats_it() {
    let network = start();
    let device = network.device("pump-1");
    assert_eq!(device.uplink(1, [1]), 0);
    assert_eq!(device.uplink(1, [1]), 1);
    assert_eq!(device.send(Uplink::new(1, [1]).retry(true)), 1);
    assert_eq!(device.send(Uplink::new(1, [1]).counter(u32::MAX)), u32::MAX);
    assert_eq!(device.uplink(1, [1]), 0);
    device.uplink(1, [1]);
    device.join();
    assert_eq!(device.uplink(1, [1]), 0);
}

#[test]
fn the_first_uplink_with_counter_0_counts_as_a_repetition() {
    let network = start();
    let (device, mut client) = pump(&network);
    let mut is_retry = |uplink: Uplink| {
        device.send(uplink);
        client.message_on("/up").get("is_retry") == Some(&json!(true))
    };
    let uplink = || Uplink::new(1, [1]);
    assert!(is_retry(uplink()));
    assert!(!is_retry(uplink()));
    device.join();
    // The last counter before the join was 1.
    assert!(!is_retry(uplink()));
    device.join();
    // It was 0.
    assert!(is_retry(uplink()));
    assert!(!is_retry(uplink().confirmed(true)));
    assert!(is_retry(uplink().confirmed(true).retry(true)));
    assert!(!is_retry(uplink().simulated(true)));
    let started_elsewhere = network.device("pump-1b");
    started_elsewhere.send(uplink().counter(7));
    assert_eq!(client.message_on("/up").get("is_retry"), None);
}

#[test]
fn old_counters_and_long_jumps_are_not_heard_and_what_they_acknowledge_is_not() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let uplink = |counter| Uplink::new(1, [1]).counter(counter);
    device.send(uplink(5));
    client.message();
    client.publish_1(DOWN, r#"{"payload_raw":"AQ==","confirmed":true}"#);
    device.uplink(1, [1]);
    client.message_on("down/sent");
    for unheard in [4, 6, 6 + 16_385] {
        device.send(uplink(unheard));
        client.assert_silent();
    }
    // The acknowledgement was in one of those.
    device.send(uplink(6 + 16_384));
    assert!(client.message().0.ends_with("/up"));
    client.message_on("down/sent");
    device.send(uplink(6 + 16_385).confirmed(true));
    assert!(client.message().0.ends_with("down/acks"));
    client.message_on("down/sent");

    device.resets_counters(true);
    device.send(uplink(0));
    assert_eq!(client.message_on("/up")["counter"], 0);
}

#[test]
fn the_repetition_of_an_unconfirmed_uplink_is_not_published() {
    let network = instant();
    let (device, mut client) = pump(&network);
    assert_eq!(device.uplink(1, [1]), 0);
    client.message();
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    assert_eq!(device.send(Uplink::new(1, [1]).retry(true)), 0);
    client.assert_silent();
    assert_eq!(device.queue().len(), 1);
    assert_eq!(device.uplink(1, [1]), 1);
    client.message_on("down/sent");
    // The device sends it for the first time.
    device.join();
    client.message_on("activations");
    assert_eq!(device.send(Uplink::new(1, [1]).retry(true)), 0);
    client.message_on("/up");
}

#[test]
fn a_join_is_announced_with_a_new_address() {
    let network = start();
    let (device, mut client) = pump(&network);
    let before = device.dev_addr();
    device.join();
    let after = device.dev_addr();
    assert_ne!(before, after);
    assert_eq!(after.len(), 8);
    let (topic, text) = client.text();
    assert_eq!(topic, "simulated-app/devices/pump-1/events/activations");
    let serial = device.dev_eui();
    let beginning = format!(
        r#"{{"app_eui":"70B3D57ED000AB01","dev_eui":"{serial}","dev_addr":"{after}","metadata":{{"time":"2"#
    );
    assert!(text.starts_with(&beginning), "{text}");
    let metadata = &serde_json::from_str::<Value>(&text).unwrap()["metadata"];
    assert_eq!(metadata["airtime"], 25_856_000, "of no bytes at all");
    assert_eq!(metadata["gateways"].as_array().unwrap().len(), 1);
    assert_eq!(metadata.get("latitude"), None);
}

#[test]
fn an_activation_has_the_location_of_the_device_and_none_of_its_gateways() {
    let network = start();
    let mut client = Raw::subscribed(&network, &[EVENTS]);
    let place = Location {
        latitude: 51.92442,
        longitude: 4.477733,
        altitude: 14,
    };
    let device = network.create_device("pump-1", Some(place));
    client.message_on("create");
    device.join();
    let (_, text) = client.text();
    let end = r#""rf_chain":1}],"latitude":51.92442,"longitude":4.477733,"altitude":14,"location_source":"registry"}}"#;
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn a_refused_join_is_announced_with_the_reason() {
    let network = start();
    let (device, mut client) = pump(&network);
    let before = device.dev_addr();
    device.uplink(1, [1]);
    client.message();
    device.join_fails("Activation DevNonce not valid: already used");
    let expected = [
        r#"{"error":"Activation DevNonce not valid: already used","app_eui":"70B3D57ED000AB01","dev_eui":""#,
        &device.dev_eui(),
        r#"","dev_addr":"","metadata":{"time":""}}"#,
    ];
    let topic = "simulated-app/devices/pump-1/events/activations/errors".to_owned();
    assert_eq!(client.text(), (topic, expected.concat()));
    network.gateways_down(true);
    device.join();
    client.assert_silent();
    assert_eq!(device.dev_addr(), before);
    assert_eq!(device.uplink(1, [1]), 1);
}

#[test]
fn saving_and_deleting_a_device_is_announced() {
    let network = start();
    let mut client = Raw::subscribed(&network, &[EVENTS]);
    network.device("silent");
    let place = Location {
        latitude: 51.92442,
        longitude: 4.477733,
        altitude: 14,
    };
    let device = network.create_device("pump-2", Some(place));
    network.create_device("pump-2", None);
    let topic = |event: &str| format!("simulated-app/devices/pump-2/events/{event}");
    let (create, text) = client.text();
    assert_eq!(create, topic("create"));
    let beginning = r#"{"latitude":51.92442,"longitude":4.477733,"altitude":14,"update_at":"2"#;
    assert!(text.starts_with(beginning), "{text}");
    assert!(network.update_device("pump-2", Some(place)));
    let unchanged = r#"{"update_at":"0001-01-01T00:00:00Z"}"#.to_owned();
    assert_eq!(client.text(), (topic("update"), unchanged));
    assert!(network.update_device(
        "pump-2",
        Some(Location {
            altitude: 15,
            ..place
        })
    ));
    let (_, text) = client.text();
    assert!(
        text.starts_with(r#"{"altitude":15,"update_at":"2"#),
        "{text}"
    );
    let mut uplinks = Raw::subscribed(&network, &[UP]);
    device.uplink(1, [1]);
    assert_eq!(uplinks.message().1["metadata"]["altitude"], 15);
    assert!(network.delete_device("pump-2"));
    assert_eq!(client.text(), (topic("delete"), "null".to_owned()));
    assert!(!network.delete_device("pump-2"));
    assert!(!network.update_device("pump-2", None));
    client.assert_silent();
}

#[test]
fn a_deleted_device_is_not_heard_and_loses_its_queue() {
    let network = start();
    let (device, mut client) = pump(&network);
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    device.uplink(1, [1]);
    client.message();
    network.delete_device("pump-1");
    client.message_on("delete");
    assert_eq!(device.uplink(1, [1]), 0);
    device.join();
    device.stops_acknowledging(true);
    assert_eq!(
        (device.dev_eui(), device.dev_addr()),
        (String::new(), String::new())
    );
    client.assert_silent();
    assert!(network.device("pump-1").queue().is_empty());
}
