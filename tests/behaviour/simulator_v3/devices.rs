//! Devices of the simulated v3 network: their joins, sessions and services.

use serde_json::{Value, json};
use ttn::simulator::Uplink;

use super::{
    ALL, PLACE, PUSH, assert_failed, assert_shape, fixture, instant, pump, push, request, stage,
    start, topics, up, uplink_message,
};
use crate::support::raw::Raw;

#[test]
fn a_join_gives_a_session_that_begins_with_the_next_uplink() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.uplink(1, [1]);
    device.uplink(1, [1]);
    let before = up(&mut client);
    up(&mut client);
    client.publish_1(PUSH, r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#);
    device.join();
    let (topic, join) = client.message();
    assert_eq!(topic, "v3/simulated-app@ttn/devices/pump-1/join");
    assert_shape(&join, "join-accept", &[]);
    assert_eq!(join["end_device_ids"]["dev_addr"], device.dev_addr());
    assert_ne!(
        join["end_device_ids"]["dev_addr"],
        before["end_device_ids"]["dev_addr"]
    );
    assert_eq!(device.queue().len(), 1);
    assert_eq!(device.uplink(1, [1]), 0);
    let first = up(&mut client);
    assert!(first["uplink_message"].get("f_cnt").is_none());
    let key = &first["uplink_message"]["session_key_id"];
    assert_eq!(*key, join["join_accept"]["session_key_id"]);
    assert_ne!(*key, before["uplink_message"]["session_key_id"]);
    let sent = client.message_on("down/sent");
    assert_eq!(sent["downlink_sent"]["session_key_id"], *key);
    assert_eq!(sent["downlink_sent"]["f_cnt"], 1);
}

#[test]
fn an_unanswered_downlink_is_sent_again_in_the_new_session() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(
        PUSH,
        &push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#),
    );
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
    device.join();
    let join = client.message_on("join");
    device.uplink(1, [1]);
    let nack = client.message_on("down/nack");
    assert_eq!(
        nack["end_device_ids"]["dev_addr"],
        join["end_device_ids"]["dev_addr"]
    );
    let attempt = &nack["downlink_nack"]["confirmed_retry"]["attempt"];
    assert_eq!(
        (attempt, &nack["downlink_nack"]["f_cnt"]),
        (&json!(2), &json!(1))
    );
    // It still belongs to the session in which it was sent.
    assert!(nack["downlink_nack"].get("session_key_id").is_none());
    assert_eq!(topics(&mut client, 1), ["up"]);
    let sent = client.message_on("down/sent")["downlink_sent"].clone();
    assert_eq!(
        sent["session_key_id"],
        join["join_accept"]["session_key_id"]
    );
    assert_eq!(sent["f_cnt"], 1);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["down/ack", "up"]);
}

#[test]
fn a_join_that_fails_has_no_message() {
    let network = start();
    let (device, mut client) = pump(&network);
    let before = device.dev_addr();
    device.join_fails("DevNonce is too small");
    network.gateways_down(true);
    device.join();
    client.assert_silent();
    assert_eq!(device.dev_addr(), before);
}

#[test]
fn creating_updating_and_deleting_a_device_has_no_message() {
    let network = start();
    let mut client = Raw::subscribed(&network, &[ALL]);
    let device = network.create_device("pump-1", None);
    assert!(network.update_device("pump-1", Some(PLACE)));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.publish_1(PUSH, r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#);
    assert!(network.delete_device("pump-1"));
    assert!(!network.delete_device("pump-1"));
    assert!(!network.update_device("pump-1", None));
    assert_eq!(device.uplink(1, [1]), 0);
    client.assert_silent();
    assert_eq!((device.dev_eui(), device.queue().len()), (String::new(), 0));
}

#[test]
fn services_speak_for_a_device() {
    let network = start();
    let (device, mut client) = pump(&network);
    let data = fixture("service-data-lora-cloud")["service_data"]["data"].clone();
    device.service_data("lora-cloud-device-management-v1", &data);
    let event = client.message_on("service/data");
    assert_shape(&event, "service-data-lora-cloud", &[]);
    assert_eq!(event["service_data"]["data"], data);
    device.service_data("custom", &Value::Null);
    let event = client.message_on("service/data");
    assert_eq!(event["service_data"], json!({"service": "custom"}));
    device.location_solved("lora-cloud-geolocation-v3", PLACE);
    let event = client.message_on("location/solved");
    assert_shape(
        &event,
        "location-solved-frm-payload",
        &["/location_solved/location/accuracy"],
    );
    assert_eq!(
        event["location_solved"]["service"],
        "lora-cloud-geolocation-v3"
    );
}

#[test]
fn a_queue_can_be_invalidated() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.invalidate_queue();
    let event = client.message_on("down/invalidated");
    assert_shape(&event, "down-queue-invalidated-empty", &[]);
    client.publish_1(PUSH, &request("request-push-many"));
    device.uplink(1, [1]);
    device.uplink(1, [1]);
    topics(&mut client, 4);
    device.invalidate_queue();
    let event = client.message_on("down/invalidated");
    let invalidated = &event["downlink_queue_invalidated"];
    assert_eq!(invalidated["downlinks"][0]["frm_payload"], "Aw==");
    assert_eq!(invalidated["last_f_cnt_down"], 3);
    assert!(device.queue().is_empty());
}

#[test]
fn a_device_without_session_is_not_heard_and_has_no_queue() {
    let network = start();
    let (device, mut client) = pump(&network);
    device.forget_session();
    assert_eq!(device.uplink(1, [1]), 0);
    client.assert_silent();
    let events = client.publish_1(PUSH, &request("request-push-raw"));
    assert_failed(&events[0].1, "applicationserver", "no_device_session", 9);
    assert_shape(
        &events[0].1,
        "down-failed-no-session",
        &["/end_device_ids/dev_addr"],
    );
    device.join();
    assert_eq!(topics(&mut client, 1), ["join"]);
    let events = client.publish_1(PUSH, &request("request-push-raw"));
    assert!(events[0].0.ends_with("/down/queued"));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
}

#[test]
fn a_counter_must_grow_but_not_too_much() {
    let (_network, device, mut client) = stage();
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
            assert_eq!(uplink_message(&mut client)["f_cnt"], counter);
        }
    }
    client.assert_silent();
}
