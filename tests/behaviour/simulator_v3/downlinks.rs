//! Downlinks of the simulated v3 network to devices of class A, until they end.

use std::time::Duration;

use serde_json::json;
use ttn::simulator::{Device, DownlinkConstraint, Gateway, Uplink};

use super::{
    PUSH, REPLACE, assert_failed, assert_shape, instant, is_ulid, next, pump, push, request, stage,
    start, topics, uplink_message,
};
use crate::support::raw::{LONG, Raw};

#[test]
fn a_downlink_travels_from_push_to_acknowledgement() {
    let network = start();
    let (device, mut client) = pump(&network);
    let request = r#"{"downlinks":[{"f_port":15,"frm_payload":"vu8=","confirmed":true,
        "priority":"HIGH","correlation_ids":["valve-open-0042"]}]}"#;
    let events = client.publish_1(PUSH, request);
    assert_eq!(events.len(), 1);
    let (topic, queued) = &events[0];
    assert_eq!(topic, "v3/simulated-app@ttn/devices/pump-1/down/queued");
    assert_shape(queued, "down-queued-confirmed", &[]);
    assert_eq!(queued["downlink_queued"]["f_port"], 15);
    assert_eq!(queued["downlink_queued"]["frm_payload"], "vu8=");
    assert_eq!(queued["downlink_queued"]["priority"], "HIGH");
    assert_eq!(
        queued["downlink_queued"]["confirmed_retry"],
        json!({"attempt": 1})
    );
    let ids = queued["downlink_queued"]["correlation_ids"]
        .as_array()
        .unwrap();
    assert!(is_ulid(
        ids[0]
            .as_str()
            .unwrap()
            .strip_prefix("as:downlink:")
            .unwrap()
    ));
    assert_eq!(ids[1], "valve-open-0042");
    assert_eq!(queued["correlation_ids"], json!(ids));
    device.uplink(2, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    let sent = client.message_on("down/sent");
    let received = device.next_downlink(LONG).unwrap();
    assert_eq!((received.port, received.confirmed), (15, true));
    assert_eq!((received.payload, received.counter), (vec![0xbe, 0xef], 1));
    assert_eq!(sent["downlink_sent"]["f_cnt"], 1);
    assert_eq!(
        sent["downlink_sent"]["correlation_ids"]
            .as_array()
            .unwrap()
            .len(),
        8
    );
    device.uplink(2, [1]);
    let (topic, ack) = client.message();
    assert_eq!(topic, "v3/simulated-app@ttn/devices/pump-1/down/ack");
    assert_shape(&ack, "down-ack", &[]);
    assert_eq!(ack["downlink_ack"]["correlation_ids"], json!(ids));
    let outer = ack["correlation_ids"].as_array().unwrap();
    assert!(outer[1].as_str().unwrap().starts_with("gs:uplink:"));
    assert_eq!((&outer[0], &outer[4]), (&ids[0], &ids[1]));
    assert_eq!(device.in_progress(), None);
}

#[test]
fn each_uplink_of_class_a_takes_one_downlink() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, &request("request-push-many"));
    client.publish_1(
        PUSH,
        &push(r#""f_port":1,"frm_payload":"AQ==","priority":"HIGHEST""#),
    );
    for counter in 1..=4 {
        device.uplink(1, [1]);
        assert_eq!(topics(&mut client, 1), ["up"]);
        let sent = client.message_on("down/sent")["downlink_sent"].clone();
        assert_eq!(sent["f_cnt"], counter);
        assert_eq!(device.next_downlink(LONG).unwrap().counter, counter);
        if counter == 4 {
            assert_eq!(sent["priority"], "HIGH", "the server's maximum");
        }
    }
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.assert_silent();
}

#[test]
fn a_sent_downlink_looks_as_recorded() {
    let network = instant();
    let (device, mut client) = pump(&network);
    for _ in 0..2 {
        client.publish_1(PUSH, &request("request-push-raw"));
        device.uplink(1, [1]);
    }
    assert_shape(&client.message_on("down/sent"), "down-sent", &[]);
}

#[test]
fn an_unanswered_downlink_is_sent_eight_times() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.stops_acknowledging(true);
    device.uplink(1, [1]);
    topics(&mut client, 1);
    let confirmed = r#""f_port":15,"frm_payload":"vu8=","confirmed":true,"priority":"HIGH""#;
    client.publish_1(PUSH, &push(confirmed));
    client.publish_1(PUSH, r#"{"downlinks":[]}"#);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
    for attempt in 2..=8 {
        device.uplink(1, [1]);
        let nack = client.message_on("down/nack");
        assert_eq!(
            nack["downlink_nack"]["confirmed_retry"],
            json!({"attempt": attempt})
        );
        assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
    }
    assert!(device.in_progress().is_some());
    device.uplink(1, [1]);
    let (topic, failed) = client.message();
    assert!(topic.ends_with("/down/failed"));
    assert_failed(&failed, "applicationserver", "max_retries_reached", 10);
    assert_eq!(
        failed["downlink_failed"]["downlink"]["confirmed_retry"],
        json!({"attempt": 9})
    );
    let nack = client.message_on("down/nack");
    assert_shape(&nack, "down-nack", &[]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    assert_eq!((device.in_progress(), device.queue().len()), (None, 0));
    assert_eq!(device.received().try_iter().count(), 8);
}

#[test]
fn the_retry_limit_of_a_request_counts_from_its_attempt() {
    for (retry, transmissions) in [
        (r#"{"max_attempts":3}"#, 4),
        (r#"{"max_attempts":3,"attempt":1}"#, 3),
        (r#"{"maxAttempts":1,"attempt":1}"#, 1),
        ("{}", 9),
    ] {
        let network = instant();
        let device = network.device("pump-1");
        let mut client = Raw::subscribed(&network, &["v3/+/devices/+/down/+"]);
        device.stops_acknowledging(true);
        let item = format!(
            r#""f_port":1,"frm_payload":"AQ==","confirmed":true,"confirmed_retry":{retry}"#
        );
        client.publish_1(PUSH, &push(&item));
        for _ in 0..transmissions {
            device.uplink(1, [1]);
            client.message_on("down/sent");
        }
        device.uplink(1, [1]);
        let failed = client.message_on("down/failed");
        assert_failed(&failed, "applicationserver", "max_retries_reached", 10);
        if retry == "{}" {
            assert_shape(&failed, "down-failed-max-retries", &[]);
        }
        client.message_on("down/nack");
        assert_eq!(
            device.received().try_iter().count(),
            transmissions,
            "{retry}"
        );
    }
}

#[test]
fn a_nacked_downlink_goes_to_the_end_of_the_queue() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.stops_acknowledging(true);
    client.publish_1(
        PUSH,
        &push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#),
    );
    device.uplink(1, [1]);
    topics(&mut client, 2);
    client.publish_1(REPLACE, &push(r#""f_port":2,"frm_payload":"Ag==""#));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 3), ["down/nack", "up", "down/sent"]);
    let ports = |device: &Device| {
        device
            .received()
            .try_iter()
            .map(|got| got.port)
            .collect::<Vec<_>>()
    };
    assert_eq!(ports(&device), [1, 2]);
    device.stops_acknowledging(false);
    device.uplink(1, [1]);
    device.uplink(1, [1]);
    assert_eq!(ports(&device), [1]);
    assert_eq!(
        topics(&mut client, 4),
        ["up", "down/sent", "down/ack", "up"]
    );
}

#[test]
fn a_transmission_can_fail() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, &request("request-push-many"));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
    device.next_downlink(LONG).unwrap();
    network.transmission_fails(Some("TOO_LATE"));
    device.uplink(1, [1]);
    let failed = client.message_on("down/failed");
    assert_failed(&failed, "networkserver", "transmission", 2);
    let attributes = &failed["downlink_failed"]["error"]["attributes"];
    assert_eq!(*attributes, json!({"result": "TOO_LATE"}));
    assert_shape(
        &failed,
        "down-failed-transmission",
        &["/downlink_failed/downlink/priority"],
    );
    assert_eq!(device.next_downlink(Duration::ZERO), None);
    network.transmission_fails(None);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
}

#[test]
fn a_confirmed_downlink_that_was_not_transmitted_is_nacked() {
    let network = instant();
    let (device, mut client) = pump(&network);
    network.transmission_fails(Some("TOO_LATE"));
    client.publish_1(
        PUSH,
        &push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#),
    );
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/failed"]);
    network.transmission_fails(None);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 3), ["down/nack", "up", "down/sent"]);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["down/ack", "up"]);
}

#[test]
fn only_a_confirmed_downlink_is_acknowledged() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, &request("request-push-raw"));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
    network.transmission_fails(Some("TOO_LATE"));
    client.publish_1(
        PUSH,
        &push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#),
    );
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/failed"]);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 3), ["down/nack", "up", "down/failed"]);
}

#[test]
fn a_gateway_may_report_nothing() {
    let network = instant();
    let (device, mut client) = pump(&network);
    network.gateways_silent(true);
    client.publish_1(
        PUSH,
        &push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#),
    );
    device.uplink(1, [1]);
    assert!(device.next_downlink(LONG).is_some());
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 3), ["up", "down/ack", "up"]);
}

#[test]
fn without_gateways_the_queue_stays() {
    let network = instant();
    let (device, mut client) = pump(&network);
    network.gateways_down(true);
    client.publish_1(PUSH, &request("request-push-raw"));
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    network.gateways_down(false);
    device.send(Uplink::new(1, [1]).gateways(0));
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.assert_silent();
    assert_eq!(device.queue().len(), 1);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
}

#[test]
fn the_data_rate_may_allow_less_than_the_band() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let longer = "A".repeat(72);
    client.publish_1(
        PUSH,
        &push(&format!(r#""f_port":1,"frm_payload":"{longer}""#)),
    );
    client.publish_1(PUSH, &push(r#""f_port":1,"frm_payload":"AQ==""#));
    device.send(Uplink::new(1, [1]).data_rate("SF12BW125"));
    client.message_on("down/sent");
    let failed = client.message_on("down/failed");
    let attributes = &failed["downlink_failed"]["error"]["attributes"];
    assert_eq!(*attributes, json!({"length": 54, "max": "51"}));
    assert_eq!(failed["downlink_failed"]["downlink"]["f_cnt"], 1);
    assert!(failed["end_device_ids"]["dev_addr"].is_string());
    assert_eq!(device.next_downlink(LONG).unwrap().payload, [1]);
}

#[test]
fn an_application_can_answer_in_the_same_receive_window() {
    let network = start();
    let (device, mut client) = pump(&network);
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.publish_1(PUSH, &request("request-push-raw"));
    assert_eq!(topics(&mut client, 1), ["down/sent"]);
    assert!(device.next_downlink(LONG).is_some());
}

#[test]
fn no_downlink_leaves_through_a_gateway_that_must_not_transmit() {
    let (_network, device, mut client) = stage();
    device.uplink(1, [1]);
    uplink_message(&mut client);
    client.publish_1(PUSH, r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#);
    let never = DownlinkConstraint::Never;
    let closed = Gateway::new("cellar").downlink_constraint(never);
    device.send(Uplink::new(1, [1]).heard_by(closed.clone()));
    let heard = &uplink_message(&mut client)["rx_metadata"][0];
    let constraint = &heard["downlink_path_constraint"];
    assert_eq!(constraint, "DOWNLINK_PATH_CONSTRAINT_NEVER");
    client.assert_silent();
    let open = Gateway::new("roof-east").snr(-12.0);
    device.send(Uplink::new(1, [1]).heard_by(closed).heard_by(open));
    uplink_message(&mut client);
    assert_eq!(next(&mut client).0, "down/sent");
}

#[test]
fn a_lost_acknowledgement_is_not_made_up_for() {
    let (_network, device, mut client) = stage();
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
