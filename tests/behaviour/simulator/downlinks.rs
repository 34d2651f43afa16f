//! Downlinks of the simulated V2 network, from the request to the acknowledgement.

use std::time::{Duration, Instant};

use serde_json::json;
use ttn::simulator::{Device, Uplink};

use super::{APP, DOWN, builder, instant, pump, start};
use crate::support::raw::{LONG, Raw, SHORT, parsed};

#[test]
fn a_downlink_travels_from_request_to_acknowledgement() {
    let network = start();
    let (device, mut client) = pump(&network);
    let request = r#"{"port":20,"confirmed":true,"payload_raw":"Dw=="}"#;
    let events = client.publish_1(DOWN, request);
    let message = json!({"port": 20, "confirmed": true, "payload_raw": "Dw=="});
    let topic = |event: &str| format!("simulated-app/devices/pump-1/events/{event}");
    assert_eq!(
        events,
        [(topic("down/scheduled"), json!({"message": message}))]
    );
    device.uplink(2, [1]);
    assert_eq!(client.message().0, "simulated-app/devices/pump-1/up");
    let sent = client.message_on("down/sent");
    assert_eq!(sent["message"]["payload_raw"], "Dw==");
    let received = device.next_downlink(LONG).unwrap();
    assert_eq!((received.port, received.confirmed), (20, true));
    assert_eq!(received.payload, [15]);
    device.uplink(2, [1]);
    assert_eq!(
        client.message(),
        (topic("down/acks"), json!({"message": message}))
    );
    assert_eq!(device.in_progress(), None);
}

#[test]
fn a_downlink_that_cannot_be_read_leaves_no_trace() {
    let network = start();
    let (device, mut client) = pump(&network);
    network.device("Pump");
    for request in [
        r#"{"port":300,"payload_raw":"AQ=="}"#,
        r#"{"port":1,"payload_raw":"not base64!"}"#,
        r#"{"port":1,"payload_fields":[1,2,3]}"#,
        "[]",
        "",
        "{",
    ] {
        assert!(client.publish_1(DOWN, request).is_empty(), "{request}");
    }
    let request = r#"{"payload_raw":"AQ=="}"#;
    assert!(
        client
            .publish_1("simulated-app/devices/unknown/down", request)
            .is_empty()
    );
    assert!(
        client
            .publish_1("simulated-app/devices/Pump/down", request)
            .is_empty()
    );
    client.assert_silent();
    assert!(device.queue().is_empty());
    assert!(network.device("Pump").queue().is_empty());
}

#[test]
fn an_empty_or_oddly_scheduled_downlink_is_refused_at_once() {
    let network = start();
    let (device, mut client) = pump(&network);
    let topic = "simulated-app/devices/pump-1/events/down/errors".to_owned();
    let mut refused = |request: &str, expected: &str| {
        client.publish(DOWN, request.as_bytes());
        assert_eq!(client.text(), (topic.clone(), expected.to_owned()));
    };
    refused(
        r#"{"port":1,"confirmed":false,"schedule":"replace","payload_raw":""}"#,
        concat!(
            r#"{"error":"Downlink Payload not valid: empty","message":{"app_id":"simulated-app","dev_id":"pump-1","#,
            r#""port":1,"schedule":"replace"}}"#
        ),
    );
    refused(
        r#"{"port":1,"schedule":"soon","payload_raw":"Cgs="}"#,
        r#"{"error":"ScheduleType not valid: unknown","message":{"port":1,"payload_raw":"Cgs="}}"#,
    );
    refused(
        "null",
        r#"{"error":"Downlink Payload not valid: empty","message":{"app_id":"simulated-app","dev_id":"pump-1","port":0}}"#,
    );
    assert!(device.queue().is_empty());
}

#[test]
fn the_schedule_decides_the_place_in_the_queue() {
    let network = start();
    let (device, mut client) = pump(&network);
    let mut push = |port: u8, schedule: &str| {
        let request = json!({"port": port, "payload_raw": "AQ==", "schedule": schedule});
        client.publish_1(DOWN, &request.to_string());
        let queue = device.queue();
        queue
            .iter()
            .map(|downlink| downlink.port)
            .collect::<Vec<u8>>()
    };
    assert_eq!(push(1, "last"), [1]);
    assert_eq!(push(2, "last"), [1, 2]);
    assert_eq!(push(3, "first"), [3, 1, 2]);
    assert_eq!(push(4, "replace"), [4]);
    assert_eq!(push(5, "last"), [4, 5]);
    assert_eq!(push(6, ""), [6]);
}

#[test]
fn down_scheduled_shows_the_request_without_ids_and_schedule() {
    let network = start();
    let (_, mut client) = pump(&network);
    let request = concat!(
        r#"{"dev_id":"x","app_id":"y","PORT":20,"confirmed":true,"schedule":"last","#,
        r#""payload_fields":{"valve":"open","minutes":15.0}}"#
    );
    client.publish(DOWN, request.as_bytes());
    let topic = "simulated-app/devices/pump-1/events/down/scheduled".to_owned();
    let expected = r#"{"message":{"port":20,"confirmed":true,"payload_fields":{"minutes":15,"valve":"open"}}}"#;
    assert_eq!(client.text(), (topic, expected.to_owned()));
}

#[test]
fn down_sent_tells_how_the_downlink_left() {
    let network = instant();
    let (device, mut client) = pump(&network);
    // The data rates and frequencies of the answers to an uplink.
    let mut sent = |uplink: Uplink| {
        client.publish_1(DOWN, r#"{"port":1,"payload_raw":"Cgs="}"#);
        device.send(uplink);
        assert!(client.message().0.ends_with("/up"));
        let (topic, text) = client.text();
        assert_eq!(topic, "simulated-app/devices/pump-1/events/down/sent");
        let text = text.strip_prefix(r#"{"payload":""#).unwrap();
        let (payload, rest) = text.split_once('"').unwrap();
        assert_eq!(payload.len(), 20, "15 bytes in base64");
        let message = r#","message":{"app_id":"simulated-app","dev_id":"pump-1","port":1,"payload_raw":"Cgs="},"#;
        rest.strip_prefix(message).unwrap().to_owned()
    };
    let gateway = r#""gateway_id":"eui-58a0cbfffe80aa11","config":{"modulation":"#;
    let second = |counter: &str| {
        format!(
            r#"{gateway}"LORA","data_rate":"SF9BW125","airtime":164864000,{counter}"frequency":869525000,"power":27}}}}"#
        )
    };
    assert_eq!(sent(Uplink::new(2, [1]).data_rate("SF12BW125")), second(""));
    let fsk = sent(Uplink::new(2, [1]).fsk());
    let expected = format!(
        r#"{gateway}"FSK","data_rate":"SF9BW125","bit_rate":50000,"airtime":4160000,"counter":1,"frequency":868800000,"power":14}}}}"#
    );
    assert_eq!(fsk, expected);
    let mut seconds = 0;
    for counter in 2..42 {
        let text = sent(Uplink::new(2, [1]).frequency(868.1));
        let counter = format!(r#""counter":{counter},"#);
        let first = format!(
            r#"{gateway}"LORA","data_rate":"SF7BW125","airtime":46336000,{counter}"frequency":868100000,"power":14}}}}"#
        );
        let is_second = text == second(&counter);
        assert!(is_second || text == first, "{text}");
        seconds += usize::from(is_second);
    }
    assert!((5..35).contains(&seconds), "{seconds} of 40");
    for counter in 0..42 {
        assert_eq!(device.next_downlink(LONG).unwrap().counter, counter);
    }
    client.publish_1(DOWN, r#"{"port":1,"payload_raw":"Cgs="}"#);
    device.send(Uplink::new(2, [1]).frequency(903.9).data_rate("SF10BW125"));
    let config = &client.message_on("down/sent")["config"];
    assert_eq!(
        (&config["data_rate"], &config["power"]),
        (&json!("SF10BW125"), &json!(14))
    );
}

#[test]
fn a_confirmed_uplink_is_acknowledged_without_being_asked() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.send(Uplink::new(2, [1]).confirmed(true));
    let sent = client.message_on("down/sent");
    let message = json!({"app_id": APP, "dev_id": "pump-1", "port": 0});
    assert_eq!(sent["message"], message);
    assert_eq!(
        sent["payload"].as_str().unwrap().len(),
        16,
        "12 bytes in base64"
    );
    assert_eq!(device.next_downlink(SHORT), None);
    device.uplink(2, [1]);
    client.message();
    client.assert_silent();
}

#[test]
fn a_confirmed_downlink_is_repeated_until_the_device_acknowledges() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.stops_acknowledging(true);
    client.publish_1(DOWN, r#"{"port":5,"confirmed":true,"payload_raw":"AQ=="}"#);
    client.publish_1(DOWN, r#"{"port":6,"payload_raw":"Ag==","schedule":"last"}"#);
    for counter in 0..3 {
        device.uplink(2, [1]);
        client.message_on("down/sent");
        let received = device.next_downlink(LONG).unwrap();
        assert_eq!((received.port, received.counter), (5, counter));
    }
    device.stops_acknowledging(false);
    device.send(Uplink::new(2, [1]).confirmed(true).retry(true));
    assert_eq!(client.message().0, "simulated-app/devices/pump-1/up");
    assert_eq!(device.next_downlink(LONG).unwrap().port, 5);
    device.uplink(2, [1]);
    client.message_on("down/acks");
    assert_eq!(device.next_downlink(LONG).unwrap().port, 6);
    device.uplink(2, [1]);
    assert_eq!(device.next_downlink(SHORT), None);
}

#[test]
fn replacing_a_confirmed_downlink_ends_its_repetition_and_first_does_not() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.stops_acknowledging(true);
    client.publish_1(DOWN, r#"{"port":5,"confirmed":true,"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    client.publish_1(
        DOWN,
        r#"{"port":6,"payload_raw":"AQ==","schedule":"first"}"#,
    );
    device.uplink(2, [1]);
    client.publish_1(DOWN, r#"{"port":7,"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    device.uplink(2, [1]);
    let ports: Vec<u8> = device
        .received()
        .try_iter()
        .map(|downlink| downlink.port)
        .collect();
    assert_eq!(ports, [5, 5, 7]);
}

#[test]
fn an_acknowledgement_of_a_replaced_downlink_counts_for_none() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(DOWN, r#"{"port":5,"confirmed":true,"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    client.publish_1(DOWN, r#"{"port":6,"confirmed":true,"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    let mut events = Vec::new();
    while let Ok(packet) = client.try_packet(SHORT) {
        events.push(parsed(&packet).0);
    }
    assert!(
        !events.iter().any(|topic| topic.ends_with("acks")),
        "{events:?}"
    );
    device.uplink(2, [1]);
    assert_eq!(client.message_on("down/acks")["message"]["port"], 6);
}

#[test]
fn an_unconfirmed_downlink_is_sent_again_on_a_retry_only() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(DOWN, r#"{"port":5,"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    device.send(Uplink::new(2, [1]).confirmed(true).retry(true));
    device.uplink(2, [1]);
    let counters: Vec<u32> = device
        .received()
        .try_iter()
        .map(|downlink| downlink.counter)
        .collect();
    assert_eq!(counters, [0, 1]);
    assert_eq!(device.in_progress(), None);
}

#[test]
fn a_downlink_without_a_port_takes_that_of_the_uplink() {
    let network = instant();
    let (device, mut client) = pump(&network);
    for (uplink, expected) in [(7, 7), (0, 1)] {
        client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
        device.uplink(uplink, [1]);
        assert_eq!(client.message_on("down/sent")["message"]["port"], 0);
        assert_eq!(device.next_downlink(LONG).unwrap().port, expected);
    }
}

#[test]
fn a_downlink_with_fields_and_bytes_fails_at_the_next_uplink() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let events = client.publish_1(
        DOWN,
        r#"{"port":1,"payload_raw":"AQ==","payload_fields":{"led":true}}"#,
    );
    assert!(events[0].0.ends_with("down/scheduled"));
    device.uplink(2, [1]);
    assert!(client.message().0.ends_with("/up"));
    let mut errors = [client.text(), client.text()];
    errors.sort();
    let [(topic, text), (other, error)] = errors;
    assert!(topic.ends_with("down/errors") && other.ends_with("up/errors"));
    let expected = concat!(
        r#"{"error":"Downlink not valid: Both Fields and Payload provided","message":{"app_id":"simulated-app","#,
        r#""dev_id":"pump-1","port":1,"payload_raw":"AQ==","payload_fields":{"led":true}}}"#
    );
    assert_eq!(text, expected);
    let expected = r#"{"error":"Downlink not valid: Both Fields and Payload provided"}"#;
    assert_eq!(error, expected);
    device.uplink(2, [1]);
    client.message();
    client.assert_silent();
}

/// Returns the texts of the next two messages that are errors.
fn errors(client: &mut Raw) -> [String; 2] {
    [(); 2].map(|()| {
        client.message_on("/errors")["error"]
            .as_str()
            .unwrap()
            .to_owned()
    })
}

#[test]
fn fields_are_encoded_when_the_downlink_leaves() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let request = r#"{"port":3,"confirmed":true,"payload_fields":{"led":true}}"#;
    client.publish_1(DOWN, request);
    device.uplink(2, [1]);
    let error = "Downlink Payload not valid: fields supplied, but no Encoder function set";
    assert_eq!(errors(&mut client), [error; 2]);
    network.set_encoder(|_, fields| match fields["led"].as_bool() {
        Some(true) => Ok(vec![1]),
        Some(false) => Ok(Vec::new()),
        None => Err("TypeError: led".into()),
    });
    device.uplink(2, [1]);
    let message = &client.message_on("down/sent")["message"];
    assert_eq!(message["payload_raw"], "AQ==");
    assert_eq!(message["payload_fields"], json!({"led": true}));
    let received = device.next_downlink(LONG).unwrap();
    assert_eq!((received.port, received.payload), (3, vec![1]));
    client.publish_1(DOWN, r#"{"payload_fields":{"light":true}}"#);
    device.uplink(2, [1]);
    let error = "Internal error: Encoder threw error: TypeError: led";
    assert_eq!(errors(&mut client), [error; 2]);
    client.publish_1(DOWN, r#"{"payload_fields":{"led":false}}"#);
    device.uplink(2, [1]);
    client.message();
    client.assert_silent();
}

#[test]
fn without_gateways_a_waiting_downlink_is_an_error_and_stays() {
    let network = instant();
    let (device, mut client) = pump(&network);
    network.gateways_down(true);
    device.send(Uplink::new(2, [1]).confirmed(true));
    client.message();
    client.assert_silent();
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    client.message();
    let topic = "simulated-app/devices/pump-1/events/down/errors".to_owned();
    let error = r#"{"error":"No gateways available for downlink"}"#.to_owned();
    assert_eq!(client.text(), (topic, error));
    network.gateways_down(false);
    device.uplink(2, [1]);
    client.message_on("down/sent");
    assert!(device.next_downlink(LONG).is_some());
}

#[test]
fn an_application_can_answer_in_the_same_receive_window() {
    let network = builder()
        .receive_window(Duration::from_millis(400))
        .start()
        .unwrap();
    let (device, mut client) = pump(&network);
    let begun = Instant::now();
    device.uplink(2, [1]);
    assert!(begun.elapsed() < Duration::from_millis(300));
    client.message_on("/up");
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    assert_eq!(device.next_downlink(SHORT), None);
    assert!(device.next_downlink(LONG).is_some());
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

#[test]
fn the_next_uplink_closes_the_receive_window() {
    let network = builder()
        .receive_window(Duration::from_secs(3600))
        .start()
        .unwrap();
    let (device, mut client) = pump(&network);
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    client.message_on("/up");
    client.assert_silent();
    device.uplink(2, [2]);
    assert!(client.message().0.ends_with("down/sent"));
    assert!(client.message().0.ends_with("/up"));
    assert!(device.next_downlink(Duration::ZERO).is_some());
}

#[test]
fn a_downlink_in_progress_is_repeated_without_a_receive_window() {
    let network = builder()
        .receive_window(Duration::from_secs(3600))
        .start()
        .unwrap();
    let (device, mut client) = pump(&network);
    device.stops_acknowledging(true);
    client.publish_1(DOWN, r#"{"confirmed":true,"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    assert_eq!(device.next_downlink(SHORT), None);
    for _ in 0..3 {
        device.uplink(2, [1]);
    }
    let answers = device.received().try_iter().count();
    assert_eq!(answers, 4, "one in the closed window, three at once");
}

#[test]
fn windows_of_many_devices_close_by_themselves() {
    let network = start();
    let mut client = Raw::connect(&network);
    let devices: Vec<Device> = (0..30)
        .map(|n| network.device(&format!("pump-{n}")))
        .collect();
    for device in &devices {
        let topic = format!("{APP}/devices/{}/down", device.dev_id());
        client.publish_1(&topic, r#"{"payload_raw":"AQ=="}"#);
    }
    for device in &devices {
        device.uplink(1, [1]);
    }
    for device in &devices {
        assert!(device.next_downlink(LONG).is_some());
    }
}
