//! Downlinks that are followed to their end.
#![cfg(unix)]

use std::time::{Duration, Instant};

use crate::support::{
    harness::{Harness, SOON},
    relayed_client::RelayedClient,
    resources::wait_until,
    watchdog::watchdog,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use ttn::{
    Delivery, DeliveryState, Downlink, DownlinkStep, ErrorKind, Event, MqttClient, Network,
    Schedule,
    simulator::{Device, Rights, Simulator},
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
    let client = harness.connected();
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
    let client = harness.connected();
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
        let other = harness.connected();
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
        let error = away.client.close().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        let error = closed.wait_for(DeliveryState::Queued, SOON).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    });
}

#[test]
fn those_that_nobody_follows_give_way_and_then_the_oldest() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        joined(harness);
        let client =
            harness.connected_with(|builder| builder.follow_downlinks(3, Duration::from_secs(60)));
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
            .connected_with(|builder| builder.follow_downlinks(10, Duration::from_millis(300)));
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

/// Waits until a delivery is in this state.
#[track_caller]
fn assert_becomes(delivery: &Delivery, state: &str) {
    let is_reached = wait_until(SOON, || delivery.state().to_string() == state);
    assert!(is_reached, "{state}: {delivery:?}");
}

/// Returns the error of a delivery about which the network says nothing.
#[track_caller]
fn silence(delivery: &Delivery) -> String {
    match delivery.wait() {
        DeliveryState::Unconfirmed(error) => error.to_string(),
        state => panic!("{state}"),
    }
}

#[test]
fn of_a_batch_only_the_first_replaces_and_all_are_sent() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let (client, device) = start(harness);
        let earlier = client.send("valve-3", last([9])).unwrap();
        earlier.wait_for(DeliveryState::Queued, SOON).unwrap();
        let batch = (0..4).map(|number| Downlink::bytes([number]));
        let batch = client.send_batch("valve-3", batch).unwrap();
        for delivery in &batch {
            delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
        }
        assert!(matches!(earlier.wait(), DeliveryState::Replaced));
        assert_eq!(device.queue().len(), 4);
        for number in 0..4 {
            device.uplink(1, [0]);
            let downlink = device.next_downlink(SOON).unwrap();
            assert_eq!(downlink.payload, [number]);
        }
        for delivery in &batch {
            assert!(matches!(delivery.wait(), DeliveryState::Sent));
        }
    });
}

#[test]
fn after_a_lost_downlink_an_equal_one_is_followed_to_its_end() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let device = joined(harness);
        let client =
            harness.connected_with(|builder| builder.unconfirmed_after(Duration::from_millis(200)));
        let network = harness.simulated();
        network.quirks(|quirks| quirks.ignore_publishes = true);
        let lost = client.send("valve-3", Downlink::bytes([1])).unwrap();
        silence(&lost);
        network.quirks(|quirks| quirks.ignore_publishes = false);
        let mut earlier: Option<Delivery> = None;
        for _ in 0..3 {
            let again = client.send("valve-3", Downlink::bytes([1])).unwrap();
            assert_becomes(&again, "queued");
            if let Some(earlier) = earlier {
                assert_becomes(&earlier, "replaced");
            }
            earlier = Some(again);
        }
        device.uplink(1, [0]);
        assert_becomes(&earlier.unwrap(), "sent");
        assert!(matches!(lost.state(), DeliveryState::Unconfirmed(_)));
    });
}

#[test]
fn clear_queue_ends_what_it_discards_and_nothing_else() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let (client, device) = start(&harness);
    harness.simulated().device("valve-4").join();
    let elsewhere = client.send("valve-4", last([1])).unwrap();
    let queued = client.send("valve-3", last([1]).confirmed(true)).unwrap();
    queued.wait_for(DeliveryState::Queued, SOON).unwrap();
    client.clear_queue("valve-3").unwrap();
    let next = client.send("valve-3", last([2])).unwrap();
    let error = queued.wait_for(DeliveryState::Sent, SOON).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DownlinkFailed);
    assert!(error.to_string().contains("emptied"), "{error}");
    assert!(matches!(queued.state(), DeliveryState::Replaced));
    assert_becomes(&next, "queued");
    assert_becomes(&elsewhere, "queued");
    device.uplink(1, [0]);
    assert_becomes(&next, "sent");
}

#[test]
fn a_clear_without_a_later_downlink_takes_effect_while_the_network_is_heard() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let device = joined(&harness);
    let patience = Duration::from_millis(300);
    let client = harness.connected_with(|builder| builder.unconfirmed_after(patience));
    let queued = client.send("valve-3", last([1])).unwrap();
    queued.wait_for(DeliveryState::Queued, SOON).unwrap();
    client.clear_queue("valve-3").unwrap();
    assert!(wait_until(SOON, || device.queue().is_empty()));
    let start = Instant::now();
    let heard = || {
        device.uplink(1, [0]);
        queued.is_final()
    };
    assert!(wait_until(SOON, heard));
    assert!(start.elapsed() > patience / 2);
    assert!(matches!(queued.state(), DeliveryState::Replaced));
}

#[test]
fn a_report_about_a_downlink_that_is_no_longer_followed_shows_that_a_clear_was_processed() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    joined(&harness);
    harness.simulated().device("valve-4").join();
    let client =
        harness.connected_with(|builder| builder.follow_downlinks(2, Duration::from_secs(3600)));
    let queued = client.send("valve-3", last([1])).unwrap();
    queued.wait_for(DeliveryState::Queued, SOON).unwrap();
    harness
        .simulated()
        .quirks(|quirks| quirks.event_delay = Duration::from_millis(300));
    client.clear_queue("valve-3").unwrap();
    drop(client.send("valve-4", last([1])).unwrap());
    // Takes the place of the one before, and nothing is reported about it.
    let _silent = client.send("valve-5", last([1])).unwrap();
    let is_replaced = || matches!(queued.state(), DeliveryState::Replaced);
    assert!(wait_until(SOON, is_replaced), "{}", queued.state());
}

#[test]
fn a_replaced_downlink_that_was_on_its_way_revives() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let (client, _device) = start(&harness);
    let old = client.send("valve-3", last([1]).confirmed(true)).unwrap();
    old.wait_for(DeliveryState::Queued, SOON).unwrap();
    client.send("valve-3", Downlink::bytes([2])).unwrap();
    assert!(matches!(old.wait(), DeliveryState::Replaced));
    let id = old.correlation_id().unwrap();
    let report = |kind: &str| {
        let topic = harness.topic("valve-3", &format!("down/{kind}"));
        let body = json!({"f_port": 1, "confirmed": true, "correlation_ids": [id]});
        let body = json!({ format!("downlink_{kind}"): body }).to_string();
        harness.simulated().publish(&topic, body);
    };
    report("sent");
    assert_becomes(&old, "sent");
    report("ack");
    assert!(matches!(old.wait(), DeliveryState::Acknowledged));
}

#[test]
fn an_unanswered_downlink_is_given_up_when_the_next_confirmed_one_is_sent() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let (client, device) = start(&harness);
    let first = client.send("valve-3", last([1]).confirmed(true)).unwrap();
    first.wait_for(DeliveryState::Queued, SOON).unwrap();
    device.uplink(1, [0]);
    first.wait_for(DeliveryState::Sent, SOON).unwrap();
    let states = first.states();
    // Sent by somebody else, after the network has waited long enough.
    let body = json!({"f_port": 1, "confirmed": true, "correlation_ids": ["as:downlink:1"]});
    let body = json!({"downlink_sent": body}).to_string();
    let topic = harness.topic("valve-3", "down/sent");
    harness.simulated().publish(&topic, body);
    let is_given_up = || matches!(first.state(), DeliveryState::GivenUp);
    assert!(wait_until(SOON, is_given_up), "{first:?}");
    assert!(!first.is_final());
    let error = first
        .wait_for(DeliveryState::Acknowledged, Duration::from_millis(50))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("given up"), "{error}");
    device.uplink(1, [0]);
    assert!(matches!(first.wait(), DeliveryState::Acknowledged));
    let states: Vec<_> = states.iter().map(|state| state.to_string()).collect();
    assert_eq!(states.len(), 3, "{states:?}");
}

#[test]
fn a_device_that_is_deleted_on_v2_ends_its_deliveries() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V2);
    let (client, _device) = start(&harness);
    harness.simulated().device("valve-4").join();
    let queued = client.send("valve-3", last([1])).unwrap();
    let elsewhere = client.send("valve-4", last([1])).unwrap();
    queued.wait_for(DeliveryState::Queued, SOON).unwrap();
    elsewhere.wait_for(DeliveryState::Queued, SOON).unwrap();
    harness.simulated().delete_device("valve-3");
    let error = queued.wait_for(DeliveryState::Sent, SOON).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DownlinkFailed);
    assert!(error.to_string().contains("valve-3 was deleted"), "{error}");
    assert_becomes(&elsewhere, "queued");
}

#[test]
fn a_downlink_that_the_network_does_not_repeat_is_not_said_to_be_repeated() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let (client, device) = start(&harness);
    let delivery = client.send("valve-3", last([1]).confirmed(true)).unwrap();
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    device.uplink(1, [0]);
    delivery.wait_for(DeliveryState::Sent, SOON).unwrap();
    // As for an application that keeps its own session keys.
    let id = delivery.correlation_id().unwrap();
    let body = json!({
        "f_port": 1, "confirmed": true, "correlation_ids": [id],
        "confirmed_retry": {"attempt": 1},
    });
    let body = json!({"downlink_nack": body}).to_string();
    let topic = harness.topic("valve-3", "down/nack");
    harness.simulated().publish(&topic, body);
    let end = delivery.wait();
    assert!(matches!(end, DeliveryState::Failed(_)), "{end}");
    let end = end.to_string();
    assert!(end.contains("does not send it again"), "{end}");
    assert!(!end.contains("follows"), "{end}");
}

/// Returns a client with a key of its own.
fn client_with(network: &Simulator, key: &str, rights: Rights) -> MqttClient {
    network.add_key(network.app_id(), key, rights);
    let client = MqttClient::builder(network.app_id(), key)
        .mqtt_address(network.mqtt_address())
        .unconfirmed_after(Duration::from_millis(300))
        .build()
        .unwrap();
    client.connect().unwrap();
    client
}

#[test]
fn a_client_with_a_deaf_key_is_told_about_the_right_to_read_first() {
    let _watchdog = watchdog(LIMIT);
    for (harness, key, read, write) in [
        (
            Network::V2,
            "ttn-account-v2.deaf",
            "messages:up:r",
            "messages:down:w",
        ),
        (Network::V3, "NNSXS.DEAF.KEY", "TRAFFIC_READ", "DOWN_WRITE"),
    ]
    .map(|(network, key, read, write)| (Harness::simulator(network), key, read, write))
    {
        let device = joined(&harness);
        let rights = Rights {
            read: false,
            write: true,
        };
        let client = client_with(harness.simulated(), key, rights);
        let delivery = client.send("valve-3", last([1])).unwrap();
        let words = silence(&delivery);
        assert_eq!(device.queue().len(), 1);
        let places = [read, write].map(|right| words.find(right).expect(&words));
        assert!(places.is_sorted(), "{words}");
        assert!(words.contains("may have queued"), "{words}");
    }
}

#[test]
fn a_key_that_has_had_a_downlink_queued_is_not_suspected() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        joined(harness);
        let client =
            harness.connected_with(|builder| builder.unconfirmed_after(Duration::from_millis(300)));
        let queued = client.send("valve-3", last([1])).unwrap();
        queued.wait_for(DeliveryState::Queued, SOON).unwrap();
        harness
            .simulated()
            .quirks(|quirks| quirks.ignore_publishes = true);
        let lost = client.send("valve-3", last([2])).unwrap();
        let words = silence(&lost);
        assert!(!words.contains("right"), "{words}");
        assert!(!words.contains("no device"), "{words}");
        assert!(words.contains("lost in the network"), "{words}");
    });
}

#[test]
fn fields_about_which_v3_is_silent_point_to_a_formatter_that_fails() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    joined(&harness);
    let client =
        harness.connected_with(|builder| builder.unconfirmed_after(Duration::from_millis(300)));
    let queued = client.send("valve-3", last([1])).unwrap();
    queued.wait_for(DeliveryState::Queued, SOON).unwrap();
    let network = harness.simulated();
    network.set_encoder(|_port, _fields| Err::<Vec<u8>, _>("TypeError: open".into()));
    let lost = client.send("valve-3", json!({"open": true})).unwrap();
    let words = silence(&lost);
    let (_, causes) = words.split_once("most likely first: ").unwrap();
    assert!(causes.starts_with("it was sent as fields"), "{words}");
    assert!(causes.contains("formatter may have failed"), "{words}");
}

#[test]
fn of_many_v2_downlinks_each_waits_its_turn_before_it_counts_as_unconfirmed() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V2);
    joined(&harness);
    let network = harness.simulated();
    network.quirks(|quirks| quirks.rate_limit = Some(10));
    let client =
        harness.connected_with(|builder| builder.unconfirmed_after(Duration::from_secs(1)));
    let many = (0..25).map(|number| ("valve-3", last([number])));
    for delivery in client.send_many(many).unwrap() {
        let end = delivery.wait_for(DeliveryState::Queued, SOON);
        assert!(end.is_ok(), "{end:?}");
    }
}

/// Returns the number in the payload of the next downlink that arrives at the broker.
fn next_number(harness: &mut Harness) -> u8 {
    let (_, body) = harness.downlinks(1).remove(0);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let payload = body["payload_raw"].as_str().unwrap();
    (0..=u8::MAX)
        .find(|number| payload == base64_of(*number))
        .unwrap()
}

fn base64_of(number: u8) -> String {
    STANDARD.encode([number])
}

#[test]
fn a_v2_batch_is_written_one_by_one_because_the_network_may_queue_it_in_any_order() {
    let _watchdog = watchdog(LIMIT);
    let Some(mut harness) = Harness::mosquitto(Network::V2) else {
        return;
    };
    let client = harness.connected();
    let scheduled = |harness: &mut Harness, dev_id: &str, number: u8| {
        let topic = harness.topic(dev_id, "events/down/scheduled");
        let body = json!({"message": {"port": 1, "payload_raw": base64_of(number)}});
        harness.publish(&topic, &body.to_string());
    };
    let batch = (1..4).map(|number| last([number]));
    let deliveries = client.send_batch("valve-3", batch).unwrap();
    client.send("valve-3", last([4])).unwrap();
    client.send("valve-4", last([9])).unwrap();
    assert_eq!(next_number(&mut harness), 1);
    // Downlinks to other devices pass by.
    assert_eq!(next_number(&mut harness), 9);
    scheduled(&mut harness, "valve-3", 1);
    assert_eq!(next_number(&mut harness), 2);
    deliveries[0].wait_for(DeliveryState::Queued, SOON).unwrap();
    scheduled(&mut harness, "valve-3", 2);
    // Nobody waits for the last one of a batch.
    assert_eq!(next_number(&mut harness), 3);
    assert_eq!(next_number(&mut harness), 4);

    // Without reports it goes on after a second, all at once.
    let start = Instant::now();
    let batch = (11..14).map(|number| last([number]));
    client.send_batch("valve-3", batch).unwrap();
    assert_eq!(next_number(&mut harness), 11);
    assert!(start.elapsed() < Duration::from_millis(900));
    assert_eq!(next_number(&mut harness), 12);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(next_number(&mut harness), 13);
    assert!(start.elapsed() < Duration::from_millis(1_900));
    client.close().unwrap();
}

/// Returns the ports of the device's queue once it holds that many downlinks.
fn queued_ports(device: &Device, count: usize) -> Vec<u8> {
    assert!(wait_until(SOON, || device.queue().len() == count));
    let queue = device.queue().into_iter();
    queue.map(|downlink| downlink.port).collect()
}

#[test]
fn behind_a_plain_broker_a_batch_keeps_its_order_and_a_loop_does_not() {
    let _watchdog = watchdog(LIMIT);
    let in_order = [1, 2, 3, 4, 5];
    let downlinks = || in_order.map(|port| last([port]).port(port));
    let (mut batch_time, mut loop_time, mut loops_in_order) = (Duration::ZERO, Duration::ZERO, 0);
    for seed in 1..=5 {
        let network = Simulator::builder(Network::V2)
            .seed(seed)
            .quirks(|quirks| quirks.plain_broker = true)
            .start()
            .unwrap();
        let client = client_with(&network, "ttn-account-v2.another-key", Rights::ALL);
        for round in 0..10 {
            let device = network.device(&format!("batch-{round}"));
            let start = Instant::now();
            client.send_batch(device.dev_id(), downlinks()).unwrap();
            assert_eq!(queued_ports(&device, 5), in_order);
            batch_time += start.elapsed();

            let device = network.device(&format!("loop-{round}"));
            let start = Instant::now();
            for downlink in downlinks() {
                client.send(device.dev_id(), downlink).unwrap();
            }
            loops_in_order += usize::from(queued_ports(&device, 5) == in_order);
            loop_time += start.elapsed();
        }
    }
    println!(
        "in 50 rounds: batches {batch_time:?}, loops {loop_time:?}, {loops_in_order} in order"
    );
    assert!(
        (1..45).contains(&loops_in_order),
        "{loops_in_order} loops in order"
    );
}

#[test]
fn a_v2_batch_keeps_its_order_when_the_client_closes() {
    let _watchdog = watchdog(LIMIT);
    let Some(mut harness) = Harness::mosquitto(Network::V2) else {
        return;
    };
    let client = harness.connected();
    let batch = (1..3).map(|number| last([number]));
    client.send_batch("valve-3", batch).unwrap();
    let closing = std::thread::spawn(move || client.close());
    assert_eq!(next_number(&mut harness), 1);
    let start = Instant::now();
    // Nobody reports on the first one.
    assert_eq!(next_number(&mut harness), 2);
    assert!(start.elapsed() > Duration::from_millis(500));
    closing.join().unwrap().unwrap();
}

#[test]
fn a_v2_batch_that_a_lost_connection_interrupts_goes_on_in_order() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V2);
    let device = joined(&harness);
    let network = harness.simulated();
    let client = harness.connected_with(|builder| {
        builder
            .offline_queue(10, Duration::from_secs(60))
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
    });
    network.quirks(|quirks| quirks.lose_events = true);
    let batch = (1..5).map(|number| last([number]));
    let deliveries = client.send_batch("valve-3", batch).unwrap();
    assert!(wait_until(SOON, || device.queue().len() == 1));
    network.quirks(|quirks| quirks.lose_events = false);
    network.disconnect_clients();
    for delivery in &deliveries[1..] {
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    }
    let payloads = device.queue().into_iter().filter_map(|item| item.payload);
    assert_eq!(payloads.collect::<Vec<_>>(), [[1], [2], [3], [4]]);
}
