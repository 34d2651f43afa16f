//! Downlinks of the simulated v3 network to devices of classes B and C.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use ttn::Network;
use ttn::simulator::{Device, Gateway, Simulator, Uplink};

use super::{PUSH, assert_failed, assert_shape, instant, pump, push, request, start, topics};
use crate::support::raw::{Raw, SHORT};

/// Makes it a class C device that the network has heard.
fn always_listening(network: &Simulator) -> (Device, Raw) {
    let (device, mut client) = pump(network);
    device.class_c(true);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    (device, client)
}

#[test]
fn a_class_c_device_gets_downlinks_at_once() {
    let network = instant();
    let (device, mut client) = always_listening(&network);
    let topic = |(topic, _): (String, Value)| topic.rsplit('/').next().unwrap().to_owned();
    let events = client.publish_1(PUSH, &request("request-push-many"));
    let events: Vec<String> = events.into_iter().map(topic).collect();
    assert_eq!(
        events,
        ["queued", "queued", "queued", "sent", "sent", "sent"]
    );
    assert_eq!(device.received().try_iter().count(), 3);
    let confirmed = push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#);
    assert_eq!(client.publish_1(PUSH, &confirmed).len(), 2);
    assert_eq!(
        client.publish_1(PUSH, &confirmed).len(),
        1,
        "one is unanswered"
    );
    client.assert_silent();
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 3), ["down/ack", "up", "down/sent"]);
}

#[test]
fn downlinks_of_class_c_are_as_far_apart_as_the_receive_window_is_long() {
    let window = Duration::from_millis(150);
    let network = Simulator::builder(Network::V3)
        .receive_window(window)
        .start()
        .unwrap();
    let (_device, mut client) = always_listening(&network);
    let begun = Instant::now();
    client.publish_1(PUSH, &request("request-push-many"));
    assert_eq!(topics(&mut client, 3), ["down/sent"; 3]);
    assert!(begun.elapsed() >= 2 * window);
}

#[test]
fn a_class_c_device_that_was_never_heard_is_sent_nothing() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.class_c(true);
    client.publish_1(PUSH, &request("request-push-raw"));
    client.assert_silent();
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
}

#[test]
fn a_class_c_device_that_does_not_answer_in_time_is_sent_the_next_one() {
    let network = instant();
    let (device, mut client) = always_listening(&network);
    device.class_c_timeout(Duration::from_millis(300));
    device.stops_acknowledging(true);
    let item = |port: u8| {
        push(&format!(
            r#""f_port":{port},"frm_payload":"AQ==","confirmed":true"#
        ))
    };
    assert_eq!(client.publish_1(PUSH, &item(1)).len(), 2);
    assert_eq!(client.publish_1(PUSH, &item(2)).len(), 1);
    client.publish_1(PUSH, &push(r#""f_port":3,"frm_payload":"AQ==""#));
    let mut sent = || client.message_on("down/sent")["downlink_sent"]["f_port"].clone();
    assert_eq!([sent(), sent()], [2, 3].map(Value::from));
    device.uplink(1, [1]);
    let nack = client.message_on("down/nack");
    assert_eq!(nack["downlink_nack"]["f_port"], 2, "the first is forgotten");
}

#[test]
fn a_class_c_queue_waits_for_gateways_and_for_the_class() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.publish_1(PUSH, &request("request-push-raw"));
    device.class_c(true);
    assert_eq!(topics(&mut client, 1), ["down/sent"]);
    network.gateways_down(true);
    client.publish_1(PUSH, &request("request-push-raw"));
    client.assert_silent();
    network.gateways_down(false);
    assert_eq!(topics(&mut client, 1), ["down/sent"]);
    device.join();
    assert_eq!(topics(&mut client, 1), ["join"]);
    client.publish_1(PUSH, &request("request-push-raw"));
    client.assert_silent();
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
}

#[test]
fn a_device_that_no_longer_listens_is_sent_nothing_without_an_uplink() {
    let network = start();
    let (device, mut client) = always_listening(&network);
    client.publish_1(PUSH, &request("request-push-many"));
    assert_eq!(topics(&mut client, 1), ["down/sent"]);
    device.class_c(false);
    client.assert_silent();
    assert_eq!(device.queue().len(), 2);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
}

#[test]
fn named_gateways_are_for_classes_b_and_c() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let by = |gateway: &str| {
        push(&format!(
            r#""f_port":1,"frm_payload":"AQ==","class_b_c":{{"gateways":[
            {{"gateway_ids":{{"gateway_id":"{gateway}","eui":"WKDL//6AqhE="}},"antenna_index":1}}]}}"#
        ))
    };
    let events = client.publish_1(PUSH, &by("eui-58a0cbfffe80aa11"));
    let class_b_c = &events[0].1["downlink_queued"]["class_b_c"];
    let ids = json!({"gateway_id": "eui-58a0cbfffe80aa11", "eui": "58A0CBFFFE80AA11"});
    assert_eq!(
        *class_b_c,
        json!({"gateways": [{"gateway_ids": ids, "antenna_index": 1}]})
    );
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.assert_silent();
    device.class_c(true);
    let sent = client.message_on("down/sent");
    assert!(sent["downlink_sent"].get("class_b_c").is_none());
    let events = client.publish_1(PUSH, &by("no-such-gateway"));
    let error = &events[1].1["downlink_failed"]["error"];
    assert_eq!(
        (&error["name"], &error["code"]),
        (&json!("fixed_paths"), &json!(3))
    );
    assert!(error.get("correlation_id").is_none());
    let named = "/downlink_failed/downlink/class_b_c/gateways/0";
    let mut failed = events[1].1.clone();
    let gateway = failed.pointer_mut(named).unwrap().as_object_mut().unwrap();
    gateway.remove("antenna_index");
    gateway["gateway_ids"]
        .as_object_mut()
        .unwrap()
        .remove("eui");
    let without = ["/downlink_failed/error/correlation_id"];
    assert_shape(&failed, "down-failed-fixed-paths", &without);
}

/// Returns a downlink for a time that far ahead.
fn timed(ahead: Duration) -> String {
    let time = humantime::format_rfc3339_millis(SystemTime::now() + ahead);
    let class_b_c = format!(r#""class_b_c":{{"absolute_time":"{time}"}}"#);
    push(&format!(r#""f_port":1,"frm_payload":"AQ==",{class_b_c}"#))
}

fn heard_by_gps() -> Uplink {
    Uplink::new(1, [1]).heard_by(Gateway::new("roof-east").gps(true))
}

#[test]
fn a_downlink_for_a_time_leaves_before_it_and_holds_up_the_next() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.class_c(true);
    device.send(heard_by_gps());
    assert_eq!(topics(&mut client, 1), ["up"]);
    let begun = Instant::now();
    let ahead = Duration::from_secs(6);
    let events = client.publish_1(PUSH, &timed(ahead));
    assert_eq!(events.len(), 1);
    client.publish_1(PUSH, &request("request-push-raw"));
    assert_eq!(topics(&mut client, 1), ["down/sent"]);
    // The time is printed in whole milliseconds.
    let elapsed = begun.elapsed() + Duration::from_millis(1);
    assert!((1..5).contains(&elapsed.as_secs()));
    let (topic, _) = client.message();
    assert!(topic.ends_with("down/sent"));
    assert!(begun.elapsed() + Duration::from_millis(1) >= ahead);
}

#[test]
fn a_downlink_for_a_time_needs_notice_and_a_gateway_with_gps() {
    let network = instant();
    let (device, mut client) = always_listening(&network);
    let events = client.publish_1(PUSH, &timed(Duration::from_secs(2)));
    assert_failed(&events[0].1, "networkserver", "downlink_expired", 9);
    let events = client.publish_1(PUSH, &timed(Duration::from_secs(4)));
    let error = &events[1].1["downlink_failed"]["error"];
    assert_eq!(
        (&error["name"], &error["code"]),
        (&json!("absolute_time"), &json!(3))
    );
    assert!(error.get("correlation_id").is_none());
    device.send(heard_by_gps());
    assert_eq!(topics(&mut client, 1), ["up"]);
    let events = client.publish_1(PUSH, &timed(Duration::from_secs(4)));
    assert!(events[1].0.ends_with("/down/sent"));
}

#[test]
fn a_time_may_be_given_in_any_zone() {
    let network = start();
    let (device, mut client) = pump(&network);
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let item = |offset: &str| {
        let class_b_c = format!(
            r#""class_b_c":{{"absolute_time":"{}{offset}"}}"#,
            &now[..23]
        );
        push(&format!(r#""f_port":1,"frm_payload":"AQ==",{class_b_c}"#))
    };
    let events = client.publish_1(PUSH, &item("+00:30"));
    assert_failed(&events[0].1, "networkserver", "downlink_expired", 9);
    let events = client.publish_1(PUSH, &item("-00:30"));
    assert!(events[0].0.ends_with("/down/queued"));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.assert_silent();
    assert_eq!(device.queue().len(), 1, "class A has no such slot");
}

#[test]
fn a_downlink_of_class_a_whose_time_passed_makes_room_for_the_next() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let ahead = Duration::from_millis(2_700);
    let begun = Instant::now();
    assert_eq!(client.publish_1(PUSH, &timed(ahead)).len(), 1);
    client.publish_1(PUSH, &request("request-replace-one"));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    let left = (ahead + SHORT).saturating_sub(begun.elapsed());
    assert_eq!(client.try_packet(left), Err(false));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
    let failed = client.message_on("down/failed");
    let ids = failed["correlation_ids"].to_string();
    assert!(
        ids.contains("gs:uplink:") && !ids.contains("as:up:"),
        "{ids}"
    );
    assert_eq!(
        failed["downlink_failed"]["error"]["name"],
        "downlink_expired"
    );
    let without = ["/downlink_failed/error/correlation_id"];
    assert_shape(&failed, "down-failed-expired", &without);
}
