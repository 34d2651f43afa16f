//! The event stream: independent subscribers, usable in `select!`, bounded, and exact about what it
//! lost.
#![cfg(unix)]

use std::time::{Duration, Instant};

use crate::support::{
    harness::{Harness, SOON},
    watchdog::watchdog,
};
use crossbeam_channel::{bounded, select, tick};
use ttn::{Event, Events, Network, Overflow, simulator::Simulator};

const LIMIT: Duration = Duration::from_secs(60);

/// Counts uplinks and losses until everything that was sent is accounted for.
fn account(events: &Events, sent: u64) -> (u64, u64) {
    let (mut received, mut lost) = (0, 0);
    while received + lost < sent {
        match events.recv_timeout(SOON) {
            Ok(Event::Uplink(_)) => received += 1,
            Ok(Event::Lagged(missed)) => lost += missed,
            Ok(_) => {}
            Err(_) => panic!("{received} received and {lost} lost of {sent}"),
        }
    }
    assert_eq!(received + lost, sent);
    (received, lost)
}

#[test]
fn subscribers_are_independent_of_each_other_and_of_callbacks() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.client();
        let (sender, called) = bounded(10);
        client.set_uplink_callback(move |uplink, _| sender.send(uplink.counter));
        let all = [client.events(), client.events()];
        client.connect().unwrap();
        let late = client.events();
        harness.uplink("dev-1", 5);
        assert_eq!(called.recv_timeout(SOON), Ok(5));
        for events in &all {
            assert!(matches!(events.recv_timeout(SOON), Ok(Event::Connected(_))));
            assert!(matches!(events.recv_timeout(SOON), Ok(Event::Uplink(_))));
        }
        assert!(matches!(late.recv_timeout(SOON), Ok(Event::Uplink(_))));
    });
}

#[test]
fn events_can_be_selected_beside_a_ticker() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let (_client, events) = harness.listening(|builder| builder);
        let ticker = tick(Duration::from_millis(5));
        let (mut ticks, mut uplinks) = (0, 0);
        while uplinks < 3 {
            select! {
                recv(events.receiver()) -> event => {
                    uplinks += u32::from(matches!(event.unwrap(), Event::Uplink(_)));
                }
                recv(ticker) -> _ => {
                    ticks += 1;
                    harness.uplink("dev-1", ticks);
                }
            }
        }
        assert!(ticks >= 3);
    });
}

#[test]
fn the_stream_goes_on_over_close_and_connect_and_ends_with_the_client() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.client();
        let events = client.events();
        for _ in 0..3 {
            client.connect().unwrap();
            client.close().unwrap();
        }
        drop(client);
        let seen: Vec<_> = events
            .iter()
            .map(|event| match event {
                Event::Connected(connected) => {
                    connected.address == format!("mqtt://{}", harness.address())
                }
                Event::Closed(closed) => closed.error.is_some(),
                event => panic!("{event:?}"),
            })
            .collect();
        assert_eq!(seen, [true, false].repeat(3));
    });
}

#[test]
fn a_dropped_subscription_costs_nothing_and_hurts_nobody() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let kept = client.events();
        for _ in 0..100 {
            drop(client.events_with(1, Overflow::Block));
        }
        harness.uplink("dev-1", 1);
        harness.uplink("dev-1", 2);
        assert_eq!(account(&kept, 2), (2, 0));
    });
}

#[test]
fn a_subscriber_that_falls_behind_is_told_exactly_what_it_lost() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
            let client = harness.connected();
            let slow = client.events_with(10, overflow);
            let never_read = client.events_with(10, overflow);
            let fast = client.events();
            (0..500).for_each(|counter| harness.uplink("dev-1", counter));
            assert_eq!(account(&fast, 500), (500, 0));
            let (received, lost) = account(&slow, 500);
            assert!(
                received >= 9 && lost > 0,
                "{received} received, {lost} lost"
            );
            assert!(never_read.receiver().len() <= 10 + 16);
            client.close().unwrap();
        }
    });
}

#[test]
fn drop_oldest_keeps_the_newest_and_drop_newest_the_oldest() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let oldest = client.events_with(3, Overflow::DropNewest);
        let newest = client.events_with(3, Overflow::DropOldest);
        let all = client.events();
        (0..100).for_each(|counter| harness.uplink("dev-1", counter));
        account(&all, 100);
        let counters = |events: &Events| -> Vec<u32> {
            let uplinks = events
                .receiver()
                .try_iter()
                .filter_map(|event| match event {
                    Event::Uplink(uplink) => Some(uplink.counter),
                    _ => None,
                });
            uplinks.collect()
        };
        assert_eq!(counters(&oldest), [0, 1, 2]);
        // A report of losses may have taken the third place.
        let newest = counters(&newest);
        assert!(
            [97, 98, 99].ends_with(&newest) && newest.len() >= 2,
            "{newest:?}"
        );
    });
}

#[test]
fn a_loss_is_reported_even_when_nothing_else_happens_any_more() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let events = client.events_with(4, Overflow::DropOldest);
        let all = client.events();
        (0..6).for_each(|counter| harness.uplink("dev-1", counter));
        account(&all, 6);
        for _ in 0..4 {
            assert!(matches!(events.recv_timeout(SOON), Ok(Event::Uplink(_))));
        }
        assert!(matches!(events.recv_timeout(SOON), Ok(Event::Lagged(2))));
    });
}

#[test]
fn block_loses_nothing_when_the_reader_is_slow() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.connected();
        let events = client.events_with(1, Overflow::Block);
        (0..1000).for_each(|counter| harness.uplink("dev-1", counter));
        assert_eq!(account(&events, 1000), (1000, 0));
    });
}

#[test]
fn a_blocking_subscriber_that_never_reads_does_not_stop_close_or_drop() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let never_read = client.events_with(1, Overflow::Block);
        (0..10).for_each(|counter| harness.uplink("dev-1", counter));
        assert!(crate::support::resources::wait_until(SOON, || never_read
            .receiver()
            .is_full()));
        let start = Instant::now();
        client.close().unwrap();
        assert!(start.elapsed() < Duration::from_secs(2));
        client.connect().unwrap();
        (0..10).for_each(|counter| harness.uplink("dev-1", counter));
        let last = never_read.receiver().clone();
        drop(client);
        let ended = crate::support::resources::wait_until(SOON, || {
            while last.try_recv().is_ok() {}
            last.try_recv().unwrap_err().is_disconnected()
        });
        assert!(ended, "the session did not end");
    });
}

#[test]
fn what_does_not_fit_between_the_network_and_the_client_is_counted() {
    let _watchdog = watchdog(LIMIT);
    let network = Simulator::start(Network::V2).unwrap();
    for (messages, bytes) in [(20, 1 << 20), (10_000, 4_000)] {
        let client = ttn::MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(network.mqtt_address())
            .receive_capacity(messages, bytes)
            .build()
            .unwrap();
        client.connect().unwrap();
        // While this subscriber is not read, nothing leaves the queue before it.
        let blocking = client.events_with(1, Overflow::Block);
        let all = client.events();
        let device = network.device("dev-1");
        (0..1000).for_each(|_| {
            device.uplink(1, [1, 2, 3]);
        });
        let idle = network.device("dev-2");
        idle.uplink(1, [0]);
        let reader = std::thread::spawn(move || account(&blocking, 1001));
        let (received, lost) = account(&all, 1001);
        assert!(lost > 0, "{received} received");
        assert_eq!(reader.join().unwrap(), (received, lost));
        client.close().unwrap();
    }
}

#[test]
fn the_kinds_of_a_network_arrive_as_kinds_of_events() {
    let _watchdog = watchdog(LIMIT);
    let network = Simulator::start(Network::V2).unwrap();
    network.set_decoder(|_, _| Ok(Some(serde_json::json!({"gps": {"lat": 1.5}}))));
    let client = ttn::MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .field_topics(true)
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    let device = network.create_device("dev-1", None);
    device.join();
    device.join_fails("no");
    device.uplink(1, [1]);
    network.delete_device("dev-1");
    let mut seen = Vec::new();
    while seen.len() < 8 {
        seen.push(match events.recv_timeout(SOON).unwrap() {
            Event::Connected(_) => "connected".to_owned(),
            Event::Device(device) => format!("{:?}", device.change),
            Event::Activation(activation) => activation.dev_id.clone(),
            Event::ActivationFailed(failed) => failed.error.clone(),
            Event::Uplink(uplink) => uplink.payload_fields.to_string(),
            Event::UplinkField(field) => format!("{}={}", field.field, field.value),
            event => panic!("{event:?}"),
        });
    }
    let expected = [
        "connected",
        "Created",
        "dev-1",
        "no",
        r#"{"gps":{"lat":1.5}}"#,
        r#"gps={"lat":1.5}"#,
        "gps/lat=1.5",
        "Deleted",
    ];
    let mut expected = expected.map(str::to_owned).to_vec();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}
