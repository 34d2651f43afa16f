//! Downlinks that are followed to their end.
#![cfg(unix)]

use std::time::{Duration, Instant};

use crate::support::{
    harness::{Harness, SOON},
    relayed_client::RelayedClient,
    resources::wait_until,
    watchdog::watchdog,
};
use serde_json::json;
use ttn::{
    Delivery, DeliveryState, Downlink, DownlinkStep, ErrorKind, Event, MqttClient, Network,
    Schedule,
    simulator::{Device, Rights},
};

const LIMIT: Duration = Duration::from_secs(60);

fn last(bytes: impl Into<Vec<u8>>) -> Downlink {
    Downlink::bytes(bytes).schedule(Schedule::Last)
}

/// Returns a device that has joined, and listens only after it has sent an uplink.
fn joined(harness: &Harness) -> Device {
    let device = harness.simulated().device("valve-3");
    device.join();
    device
}

/// Returns a client and a device that has joined.
fn start(harness: &Harness) -> (MqttClient, Device) {
    let device = joined(harness);
    let client = harness.client();
    client.connect().unwrap();
    (client, device)
}

fn states(delivery: &Delivery) -> Vec<String> {
    delivery
        .states()
        .iter()
        .map(|state| state.to_string())
        .collect()
}

#[test]
fn a_confirmed_downlink_is_followed_to_its_acknowledgement() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let (client, device) = start(harness);
        let delivery = client
            .send("valve-3", last([1]).port(2).confirmed(true))
            .unwrap();
        let steps = delivery.states();
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
        assert!(!delivery.is_final());
        device.uplink(1, [0]);
        delivery.wait_for(DeliveryState::Sent, SOON).unwrap();
        assert!(!delivery.is_final());
        device.uplink(1, [0]);
        assert!(matches!(delivery.wait(), DeliveryState::Acknowledged));
        assert!(delivery.is_final());
        delivery
            .wait_for(DeliveryState::Written, Duration::ZERO)
            .unwrap();
        let mut steps: Vec<_> = steps.iter().map(|state| state.to_string()).collect();
        // The network may answer before this machine notices that the downlink was written.
        steps.retain(|step| step != "written" && step != "accepted");
        assert_eq!(steps, ["queued", "sent", "acknowledged"]);
        assert_eq!(states(&delivery), ["acknowledged"]);
    });
}

#[test]
fn a_downlink_without_confirmation_has_come_as_far_as_it_goes_when_it_is_sent() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let (client, device) = start(harness);
        let delivery = client.send("valve-3", last([1])).unwrap();
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
        device.uplink(1, [0]);
        assert!(matches!(delivery.wait(), DeliveryState::Sent));
        let error = delivery
            .wait_for(DeliveryState::Acknowledged, SOON)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DownlinkFailed);
        assert!(error.to_string().contains("sent"), "{error}");
    });
}

#[test]
fn a_wait_that_is_too_short_is_told_and_changes_nothing() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let (client, device) = start(harness);
        let delivery = client.send("valve-3", last([1])).unwrap();
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
        let start = Instant::now();
        let error = delivery
            .wait_for(DeliveryState::Sent, Duration::from_millis(100))
            .unwrap_err();
        assert!(start.elapsed() < SOON / 2);
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        device.uplink(1, [0]);
        delivery.wait_for(DeliveryState::Sent, SOON).unwrap();
    });
}

#[test]
fn a_refusal_of_the_network_is_told_in_its_words() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    harness.simulated().device("valve-4").forget_session();
    let client = harness.client();
    client.connect().unwrap();
    let delivery = client.send("valve-4", last([1])).unwrap();
    let error = delivery.wait_for(DeliveryState::Sent, SOON).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DownlinkFailed);
    assert!(error.to_string().contains("valve-4"), "{error}");
    let state = delivery.state();
    let details = state.error_details().expect("the error in its parts");
    assert_eq!(details.id(), "pkg/applicationserver:no_device_session");
    assert!(delivery.is_final());
}

#[test]
fn an_attempt_that_the_device_does_not_acknowledge_is_told_by_its_number() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let (client, device) = start(&harness);
    device.stops_acknowledging(true);
    let delivery = client
        .send("valve-3", last([1]).confirmed(true).max_attempts(2))
        .unwrap();
    let mut seen = Vec::new();
    let steps = delivery.states();
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    while !delivery.is_final() {
        device.uplink(1, [0]);
        while let Ok(state) = steps.recv_timeout(Duration::from_millis(100)) {
            seen.push(state);
        }
    }
    seen.extend(steps.try_iter());
    assert!(
        seen.iter()
            .any(|state| matches!(state, DeliveryState::NotAcknowledged { attempt: Some(2) })),
        "{seen:?}"
    );
    let Some(DeliveryState::Failed(error)) = seen.last() else {
        panic!("{seen:?}");
    };
    assert!(error.to_string().contains("valve-3"), "{error}");
}

#[test]
fn silence_is_unconfirmed_with_the_likely_causes_and_a_late_word_counts() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let network = harness.simulated();
    network.device("valve-3").join();
    let read = Rights {
        read: true,
        write: false,
    };
    network.add_key(harness.app_id(), "NNSXS.READ.ONLY", read);
    let client = MqttClient::builder(harness.app_id(), "NNSXS.READ.ONLY")
        .mqtt_address(network.mqtt_address())
        .unconfirmed_after(Duration::from_millis(300))
        .build()
        .unwrap();
    client.connect().unwrap();
    let delivery = client.send("valve-3", json!({"open": true})).unwrap();
    let DeliveryState::Unconfirmed(error) = delivery.wait() else {
        panic!("{:?}", delivery.state());
    };
    assert_eq!(error.kind(), ErrorKind::Unconfirmed);
    let words = error.to_string();
    let causes = [
        "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE",
        "valve-3\" in",
        "formatter",
    ];
    let places = causes.map(|cause| words.find(cause).unwrap_or_else(|| panic!("{words}")));
    assert!(places.is_sorted(), "{words}");

    let topic = harness.topic("valve-3", "down/queued");
    let id = delivery.correlation_id().unwrap();
    let late = json!({"downlink_queued": {"f_port": 1, "correlation_ids": [id]}});
    network.publish(&topic, late.to_string());
    assert!(wait_until(SOON, || matches!(
        delivery.state(),
        DeliveryState::Queued
    )));
    assert!(!delivery.is_final());
}

#[test]
fn deliveries_and_other_peoples_downlinks_are_not_mistaken_for_each_other() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let (client, device) = start(harness);
        let events = client.events();
        let other = harness.client();
        other.connect().unwrap();
        // Distinguished by content on V2, and on v3 even without that.
        let others = other.send("valve-3", last([9])).unwrap();
        others.wait_for(DeliveryState::Queued, SOON).unwrap();
        let first = client.send("valve-3", last([1])).unwrap();
        first.wait_for(DeliveryState::Queued, SOON).unwrap();
        let second = client.send("valve-3", last([2])).unwrap();
        second.wait_for(DeliveryState::Queued, SOON).unwrap();
        device.uplink(1, [0]);
        assert!(
            device
                .next_downlink(SOON)
                .is_some_and(|downlink| downlink.payload == [9])
        );
        // The client has received the report, and the downlink that was sent was not the first one.
        let is_sent =
            |event| matches!(event, Event::Downlink(report) if report.step == DownlinkStep::Sent);
        while !is_sent(events.recv_timeout(SOON).unwrap()) {}
        assert!(matches!(first.state(), DeliveryState::Queued));
        device.uplink(1, [0]);
        first.wait_for(DeliveryState::Sent, SOON).unwrap();
        assert!(matches!(second.state(), DeliveryState::Queued));
        device.uplink(1, [0]);
        second.wait_for(DeliveryState::Sent, SOON).unwrap();
    });
}

#[test]
fn a_downlink_that_another_one_replaces_is_told_so() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let (client, _device) = start(harness);
        let old = client.send("valve-3", last([1])).unwrap();
        old.wait_for(DeliveryState::Queued, SOON).unwrap();
        let new = client.send("valve-3", Downlink::bytes([2])).unwrap();
        assert!(matches!(old.wait(), DeliveryState::Replaced));
        new.wait_for(DeliveryState::Queued, SOON).unwrap();
        let error = old.wait_for(DeliveryState::Sent, SOON).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DownlinkFailed);
    });
}

#[test]
fn a_delivery_goes_on_after_an_outage() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let device = joined(harness);
        let link = RelayedClient::connect(harness, |builder| builder);
        let delivery = link
            .client
            .send("valve-3", last([1]).confirmed(true))
            .unwrap();
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
        link.relay.cut();
        assert!(wait_until(SOON, || link.client.stats().reconnects == 1));
        device.uplink(1, [0]);
        device.uplink(1, [0]);
        delivery
            .wait_for(DeliveryState::Acknowledged, SOON)
            .unwrap();
    });
}

#[test]
fn a_downlink_that_is_not_written_has_failed_or_expired() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let away = RelayedClient::connect(harness, |builder| {
            builder.offline_queue(10, Duration::from_millis(300))
        });
        away.leave();
        let expired = away.client.send("valve-3", last([1])).unwrap();
        let steps = states(&expired);
        assert_eq!(steps, ["accepted", "expired"]);
        let error = expired.wait_for(DeliveryState::Queued, SOON).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Expired);
        let closed = away.client.send("valve-3", last([2])).unwrap();
        away.client.close().unwrap();
        let error = closed.wait_for(DeliveryState::Queued, SOON).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    });
}

#[test]
fn those_that_nobody_follows_give_way_and_then_the_oldest() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        joined(harness);
        let client = harness
            .builder()
            .follow_downlinks(3, Duration::from_secs(60))
            .build()
            .unwrap();
        client.connect().unwrap();
        let send = |number: u8| {
            let delivery = client.send("valve-3", last([number])).unwrap();
            delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
            delivery
        };
        let first = send(1);
        (2..30).for_each(|number| drop(send(number)));
        assert!(matches!(first.state(), DeliveryState::Queued));
        let _others: Vec<_> = (30..33).map(send).collect();
        assert!(matches!(first.wait(), DeliveryState::Forgotten));
    });
}

#[test]
fn a_downlink_is_not_followed_for_ever() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        joined(harness);
        let client = harness
            .builder()
            .follow_downlinks(10, Duration::from_millis(300))
            .build()
            .unwrap();
        client.connect().unwrap();
        let delivery = client.send("valve-3", last([1])).unwrap();
        assert!(matches!(delivery.wait(), DeliveryState::Forgotten));
    });
}

#[test]
fn nobody_waits_for_a_delivery_whose_client_is_gone() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let (client, _device) = start(harness);
        let delivery = client.send("valve-3", last([1])).unwrap();
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
        let waiting = std::thread::spawn({
            let delivery = delivery.clone();
            move || delivery.wait()
        });
        drop(client);
        assert!(matches!(waiting.join().unwrap(), DeliveryState::Forgotten));
        assert_eq!(states(&delivery), ["no longer followed"]);
    });
}
