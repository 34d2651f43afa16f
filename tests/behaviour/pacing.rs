//! Downlinks that are written at a pace.
#![cfg(unix)]

use std::time::{Duration, Instant};

use crate::support::{
    harness::{Harness, SOON},
    relay::Relay,
    resources::wait_until,
    watchdog::watchdog,
};
use ttn::{
    Delivery, DeliveryState, DisconnectCause, Downlink, ErrorKind, Event, MqttClient, Network,
    Schedule, simulator::PublishRate,
};

const LIMIT: Duration = Duration::from_secs(60);

fn lamps(count: usize) -> impl Iterator<Item = (String, Downlink)> {
    (0..count).map(|lamp| {
        let downlink = Downlink::bytes([1]).schedule(Schedule::Last);
        (format!("lamp-{lamp}"), downlink)
    })
}

fn join_lamps(harness: &Harness, count: usize) {
    lamps(count).for_each(|(lamp, _)| harness.simulated().device(&lamp).join());
}

fn queued(delivery: &Delivery) {
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
}

fn state_is(delivery: &Delivery, state: &str) -> bool {
    delivery.state().to_string() == state
}

#[test]
fn a_burst_goes_out_at_once_and_the_others_one_by_one() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        // One every 100 ms.
        let client = harness.connected_with(|builder| builder.pace(600, 3));
        let start = Instant::now();
        let deliveries = client.send_many(lamps(8)).unwrap();
        assert!(start.elapsed() < Duration::from_millis(300), "send waits");
        let written: Vec<Duration> = deliveries
            .iter()
            .map(|delivery| {
                delivery.wait_for(DeliveryState::Written, SOON).unwrap();
                start.elapsed()
            })
            .collect();
        for (number, written) in written.iter().enumerate() {
            let due = Duration::from_millis(100) * (number as u32).saturating_sub(2);
            assert!(*written >= due, "{number} after {written:?}");
        }
        let topics: Vec<String> = harness
            .downlinks(8)
            .into_iter()
            .map(|(topic, _)| topic)
            .collect();
        for (number, topic) in topics.iter().enumerate() {
            assert!(topic.contains(&format!("/lamp-{number}/")), "{topics:?}");
        }
    });
}

#[test]
fn a_loop_over_many_devices_keeps_the_connection_only_with_a_pace() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let network = harness.simulated();
    join_lamps(&harness, 60);
    network.quirks(|quirks| {
        quirks.publish_rate = Some(PublishRate {
            per_minute: 1_200,
            burst: 10,
        })
    });

    let client = harness.connected_with(|builder| builder.pace(1_100, 8));
    client.send_many(lamps(60)).unwrap().iter().for_each(queued);
    assert_eq!(client.stats().disconnects, 0);

    let careless = harness.client();
    let news = careless.events();
    careless.connect().unwrap();
    for (lamp, downlink) in lamps(60) {
        // Some are accepted before the client learns of the end.
        let _ = careless.send(&lamp, downlink);
    }
    let cause = news.iter().find_map(|event| match event {
        Event::Disconnected(lost) => Some(lost.cause),
        _ => None,
    });
    assert_eq!(cause, Some(DisconnectCause::RateLimit));
}

#[test]
fn a_server_that_restarts_while_downlinks_are_sent_is_no_limit_and_leaves_the_pace_as_it_was() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let network = harness.simulated();
    join_lamps(&harness, 12);
    // One every 200 ms.
    let (client, events) = harness.listening(|builder| {
        builder
            .pace(300, 1)
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
    });
    client.send_many(lamps(3)).unwrap().iter().for_each(queued);
    network.stop();
    let lost = events.iter().find_map(|event| match event {
        Event::Disconnected(lost) => Some(lost),
        _ => None,
    });
    let lost = lost.expect("the connection is lost");
    assert_eq!(lost.cause, DisconnectCause::RateLimit);
    let words = lost.error.to_string();
    assert!(words.contains("it looks like"), "{words}");
    let failed = events.iter().find_map(|event| match event {
        Event::ConnectFailed(failed) => Some(failed),
        _ => None,
    });
    let failed = failed.expect("an attempt fails");
    assert_eq!(failed.error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(failed.outage, Some(DisconnectCause::Stopped));
    network.restart().unwrap();
    let connected = events.iter().find_map(|event| match event {
        Event::Connected(connected) => Some(connected),
        _ => None,
    });
    let gap = connected.and_then(|connected| connected.gap).unwrap();
    assert_eq!(gap.cause, DisconnectCause::Stopped);

    let start = Instant::now();
    let deliveries = client.send_many(lamps(12)).unwrap();
    for delivery in &deliveries {
        delivery.wait_for(DeliveryState::Written, SOON).unwrap();
    }
    // At half the pace, the last one is due after 4.4 s.
    assert!(start.elapsed() < Duration::from_millis(4_000));
}

#[test]
fn a_client_that_was_cut_for_its_pace_slows_down_and_loses_only_what_was_over_the_limit() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let network = harness.simulated();
    join_lamps(&harness, 40);
    // The network allows a tenth of what the client assumes.
    network.quirks(|quirks| {
        quirks.publish_rate = Some(PublishRate {
            per_minute: 600,
            burst: 4,
        })
    });
    let client = harness.connected_with(|builder| {
        builder
            .pace(6_000, 16)
            .offline_queue(100, LIMIT)
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
            .unconfirmed_after(Duration::from_secs(2))
    });
    let deliveries = client.send_many(lamps(40)).unwrap();
    let lost = deliveries
        .iter()
        .filter(|delivery| delivery.wait_for(DeliveryState::Queued, SOON).is_err())
        .count() as u64;
    let cuts = client.stats().disconnects;
    assert!(cuts >= 1, "there was no limit");
    // After four halvings the pace fits; each time, some are on their way when the server closes.
    assert!(cuts <= 6, "{cuts} cuts");
    assert!(lost >= cuts, "{lost} lost in {cuts} cuts");
    assert!(lost < 30, "{lost} lost in {cuts} cuts");
}

#[test]
fn what_waits_for_its_turn_survives_an_outage_with_a_queue_and_fails_without() {
    let _watchdog = watchdog(LIMIT);
    for keeps in [true, false] {
        Harness::each_simulator(|harness| {
            let relay = Relay::start(harness.address()).unwrap();
            join_lamps(harness, 6);
            let builder = harness
                .builder()
                .mqtt_address(relay.address().to_string())
                .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
                .pace(120, 1);
            let builder = if keeps {
                builder.offline_queue(100, Duration::from_secs(1))
            } else {
                builder
            };
            let client = builder.build().unwrap();
            client.connect().unwrap();
            let deliveries = client.send_many(lamps(6)).unwrap();
            queued(&deliveries[0]);
            assert!(state_is(&deliveries[5], "accepted"));
            assert!((1..6).contains(&client.stats().waiting));
            relay.cut();
            assert!(wait_until(SOON, || client.stats().reconnects == 1));
            if keeps {
                // The last one is due 2.5 s after the first, but waits less than a second of that
                // without a connection.
                deliveries.iter().for_each(queued);
            } else {
                let error = deliveries[5]
                    .wait_for(DeliveryState::Queued, SOON)
                    .unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
                queued(&client.send("lamp-0", [1]).unwrap());
            }
        });
    }
}

#[test]
fn close_keeps_to_the_pace_and_reports_what_was_not_due() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        join_lamps(harness, 10);
        let client = harness
            .connected_with(|builder| builder.pace(300, 1).close_timeout(Duration::from_secs(1)));
        let deliveries = client.send_many(lamps(10)).unwrap();
        let start = Instant::now();
        let closed = client.close().unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(2));
        let errors: Vec<_> = deliveries
            .iter()
            .filter_map(|delivery| delivery.wait_for(DeliveryState::Written, SOON).err())
            .collect();
        // In nine tenths of a second there are five turns.
        assert!((5..10).contains(&errors.len()), "{errors:?}");
        assert_eq!(closed.kind(), ErrorKind::TimedOut);
        let words = format!("{} downlinks are not written", errors.len());
        assert!(closed.to_string().contains(&words), "{closed}");
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::Closed));
        assert_eq!(client.stats().waiting, 0);
        let published = harness.simulated().published().len();
        assert_eq!(published + errors.len(), 10);
    });
}

#[test]
fn a_client_that_is_closed_in_time_writes_everything_at_its_pace() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.connected_with(|builder| builder.pace(30_000, 1));
        let deliveries = client.send_many(lamps(100)).unwrap();
        client.close().unwrap();
        for delivery in deliveries {
            delivery.wait_for(DeliveryState::Written, SOON).unwrap();
        }
        assert_eq!(harness.downlinks(100).len(), 100);
    });
}

#[test]
fn a_batch_counts_once_on_v3_and_clearing_a_queue_counts_too() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    harness.simulated().device("lamp-1").join();
    let client = harness.connected_with(|builder| builder.pace(1, 2));
    let batch = (0..20).map(|step| Downlink::bytes([step]).schedule(Schedule::Last));
    let batch = client.send_batch("lamp-1", batch).unwrap();
    batch.iter().for_each(queued);
    client.clear_queue("lamp-1").unwrap();
    assert!(harness.simulated().wait_for_published(2, SOON));
    let third = client.send("lamp-1", [1]).unwrap();
    let waits = third.wait_for(DeliveryState::Written, Duration::from_millis(300));
    assert_eq!(waits.unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(state_is(&third, "accepted"));
}

#[test]
fn a_pace_that_cannot_be_is_named() {
    for (per_minute, burst, name) in [(0, 1, "per_minute"), (10, 0, "burst"), (30_001, 1, "30001")]
    {
        let error = MqttClient::builder("greenhouse-demo@ttn", "NNSXS.TEST.KEY")
            .pace(per_minute, burst)
            .build()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(name), "{error}");
    }
}
