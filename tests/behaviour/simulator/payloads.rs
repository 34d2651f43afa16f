//! Payload functions of the simulated V2 network, and the fields that they make.

use serde_json::{Value, json};
use ttn::simulator::Uplink;

use super::{DOWN, instant, kinds, pump, start};
use crate::support::raw::{LONG, Raw};
use crate::support::resources::wait_until;

#[test]
fn the_decoder_gets_no_bytes_of_a_frame_without_a_port() {
    let network = start();
    let (device, mut client) = pump(&network);
    network.set_decoder(|_, bytes| Ok(Some(json!({"n": bytes.len()}))));
    device.uplink(0, [1, 2, 3]);
    let (_, uplink) = client.message();
    assert_eq!(uplink["payload_raw"], Value::Null);
    assert_eq!(uplink["payload_fields"], json!({"n": 0}));
}

#[test]
fn fields_are_published_on_topics_of_their_own() {
    let network = start();
    let device = network.device("pump-1");
    let mut client = Raw::subscribed(&network, &["#"]);
    let fields = json!({
        "gps": {"lat": 51.5, "hdop": null}, "on": true, "list": [1, {"a": 2}], "a+b": 1, "x/y": "z", "": 5,
    });
    device.send(Uplink::new(1, [1]).fields(fields.clone()));
    let mut texts: Vec<_> = (0..8).map(|_| client.text()).collect();
    texts.sort();
    let expected = [
        ("", "5"),
        ("/gps", r#"{"hdop":null,"lat":51.5}"#),
        ("/gps/hdop", "null"),
        ("/gps/lat", "51.5"),
        ("/list", r#"[1,{"a":2}]"#),
        ("/on", "true"),
        ("/x/y", r#""z""#),
    ];
    let mut expected = expected.map(|(path, value)| {
        let topic = format!("simulated-app/devices/pump-1/up{path}");
        (topic, value.to_owned())
    });
    expected.sort();
    let is_uplink = |(_, text): &(String, String)| text.contains("metadata");
    let uplink = texts.remove(texts.iter().position(is_uplink).unwrap());
    let uplink: Value = serde_json::from_str(&uplink.1).unwrap();
    assert_eq!(uplink["payload_fields"], fields);
    assert_eq!(texts, expected);
    network.quirks(|quirks| quirks.field_topics = false);
    device.send(Uplink::new(1, [1]).fields(fields));
    client.message();
    client.assert_silent();
}

#[test]
fn fields_come_in_any_order_and_sometimes_before_their_uplink() {
    let network = start();
    let device = network.device("pump-1");
    let mut client = Raw::subscribed(&network, &["#"]);
    let names = ["a", "b", "c", "d", "e"];
    let mut rounds = |plain: bool| {
        network.quirks(|quirks| quirks.plain_broker = plain);
        let mut places = [0; 6];
        let mut sorted = 0;
        for _ in 0..100 {
            let fields: Value = names
                .iter()
                .map(|name| (name.to_string(), json!(1)))
                .collect();
            device.send(Uplink::new(1, [1]).fields(fields));
            let topics = kinds(&mut client, 6);
            places[topics.iter().position(|topic| topic == "up").unwrap()] += 1;
            let fields = topics.iter().filter(|topic| *topic != "up");
            sorted += usize::from(fields.is_sorted());
        }
        (places, sorted)
    };
    let (places, sorted) = rounds(false);
    assert!((60..100).contains(&places[0]), "{places:?}");
    assert!(sorted < 20, "{sorted} in order");
    let (places, sorted) = rounds(true);
    assert_eq!(places[0], 100);
    assert!(sorted < 20, "{sorted} in order");
}

#[test]
fn a_field_with_a_hash_costs_the_handler_its_connection_for_a_moment() {
    let network = start();
    let (device, mut downlinks) = pump(&network);
    // So that the uplink is published before its fields.
    network.quirks(|quirks| quirks.plain_broker = true);
    let mut fields = Raw::subscribed(&network, &["+/devices/+/up/#"]);
    device.send(Uplink::new(1, [1]).fields(json!({"a#": 1})));
    assert!(downlinks.message().0.ends_with("/up"));
    fields.assert_silent();
    network.quirks(|quirks| quirks.plain_broker = false);
    let mut is_lost = || {
        let events = downlinks.publish_1(DOWN, r#"{"port":1,"payload_raw":"AQ=="}"#);
        !events
            .iter()
            .any(|(topic, _)| topic.ends_with("down/scheduled"))
    };
    // A busy machine may need longer than the handler.
    assert!(wait_until(LONG, || {
        device.send(Uplink::new(1, [1]).fields(json!({"a#": 1})));
        is_lost()
    }));
    assert!(wait_until(LONG, || !is_lost()), "it connects again");
    device.send(Uplink::new(1, [1]).fields(json!({"b": 1})));
    assert!(fields.message().0.ends_with("up/b"));
}

#[test]
fn a_decoder_makes_the_fields_and_a_failing_one_an_error() {
    let network = start();
    let (device, mut client) = pump(&network);
    network.set_decoder(|port, bytes| match port {
        1 => Ok(Some(json!({"level": bytes[0]}))),
        2 => Ok(None),
        3 => Ok(Some(json!([1]))),
        4 => Err("ReferenceError: 'byte' is not defined".into()),
        _ => panic!("on purpose"),
    });
    device.uplink(1, [7]);
    assert_eq!(client.message().1["payload_fields"], json!({"level": 7}));
    device.uplink(2, [7]);
    assert_eq!(client.message().1.get("payload_fields"), None);
    for (port, error) in [
        (3, "Decoder not valid: does not return an object"),
        (
            4,
            "Internal error: Decoder threw error: ReferenceError: 'byte' is not defined",
        ),
        (5, "Internal error: Decoder threw error: panicked"),
    ] {
        device.send(Uplink::new(port, [7]).attribute("bench", "north"));
        let error = format!("Unable to decode payload fields: {error}");
        let topic = "simulated-app/devices/pump-1/events/up/errors".to_owned();
        let mut messages = [client.message(), client.message()];
        messages.sort_by_key(|(topic, _)| topic.ends_with("/up"));
        assert_eq!(messages[0], (topic, json!({"error": error})));
        assert_eq!(messages[1].1.get("payload_fields"), None);
        assert_eq!(messages[1].1.get("attributes"), None);
    }
}

#[test]
fn a_validator_can_keep_an_uplink_back() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    network.set_decoder(|_, bytes| Ok(Some(json!({"level": bytes[0]}))));
    network.set_validator(|_, fields| fields["level"].as_u64() < Some(100));
    device.uplink(1, [100]);
    let error = json!({"error": "Payload not valid: payload validator function returned false"});
    assert_eq!(client.message().1, error);
    client.assert_silent();
    // Nobody is told about a simulated one.
    device.send(Uplink::new(1, [100]).simulated(true));
    device.uplink(1, [99]);
    assert_eq!(client.message().1["payload_fields"], json!({"level": 99}));
    client.message_on("down/sent");
}

#[test]
fn a_downlink_whose_acknowledgement_comes_with_a_rejected_uplink_is_sent_again() {
    let network = instant();
    let (device, mut client) = pump(&network);
    network.set_decoder(|_, bytes| Ok(Some(json!({"level": bytes[0]}))));
    network.set_validator(|_, fields| fields["level"].as_u64() < Some(100));
    client.publish_1(DOWN, r#"{"confirmed":true,"payload_raw":"AQ=="}"#);
    device.uplink(1, [1]);
    client.message_on("down/sent");
    device.uplink(1, [100]);
    assert!(client.message().0.ends_with("down/acks"));
    assert!(client.message().0.ends_with("up/errors"));
    assert!(device.in_progress().is_some());
    device.uplink(1, [1]);
    assert!(client.message().0.ends_with("pump-1/up"));
    assert!(client.message().0.ends_with("down/sent"));
    device.uplink(1, [1]);
    assert!(client.message().0.ends_with("down/acks"));
    assert_eq!(device.in_progress(), None);
    assert_eq!(device.received().try_iter().count(), 2);
}

#[test]
fn payload_functions_may_use_the_network() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let (other, again) = (network.device("pump-2"), device.clone());
    network.set_decoder(move |port, _| {
        if port == 1 {
            other.uplink(2, [1]);
            again.uplink(2, [1]);
            assert!(again.queue().len() < 2);
        }
        Ok(None)
    });
    let other = network.device("pump-2");
    network.set_encoder(move |_, _| {
        other.uplink(2, [1]);
        Ok(vec![1])
    });
    client.publish_1(DOWN, r#"{"payload_fields":{"led":true}}"#);
    device.uplink(1, [1]);
    client.message_on("down/sent");
    assert_eq!(device.next_downlink(LONG).unwrap().payload, [1]);
}
