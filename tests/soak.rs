//! Links that break at random, floods, slow readers: every uplink is accounted for. The accounts
//! are exact to the millisecond, so this program is separate from those that keep a machine busy, and
//! runs two tests at a time.
#![cfg(unix)]

mod support;

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use support::{
    deliveries::{self, Account, Plan},
    harness::{Harness, SOON},
    outages,
    soak::{self, Report, Until},
    watchdog::watchdog,
};
use ttn::{BackfillSource, CounterFinding, Event, FrameLoss, Network, Over};

const LIMIT: Duration = Duration::from_secs(60);

/// Waits for one of two places, so that the tests do not take each other's processors.
fn place() -> MutexGuard<'static, ()> {
    static PLACES: [Mutex<()>; 2] = [Mutex::new(()), Mutex::new(())];
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let place = &PLACES[NEXT.fetch_add(1, Ordering::Relaxed) % PLACES.len()];
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

const CUTS: Until = Until::Cuts(50);

/// Asserts that the account of fifty cuts is exact and not empty.
fn fifty_cuts(harness: Harness, seed: u64) {
    let _watchdog = watchdog(LIMIT);
    let report = soak::cuts(harness, CUTS, seed);
    println!("{report}");
    report.assert_exact();
    assert!(
        report.frames.missing_away > 0 && report.frames.repeated > 0,
        "{report}"
    );
}

/// Asserts that a flood is partly lost, for this reason.
fn a_flood(report: &Report, missing: u64) {
    println!("{report}");
    report.assert_exact();
    assert!(missing > 0 && report.delivered > missing / 100, "{report}");
}

#[test]
fn every_uplink_over_a_link_that_breaks_is_accounted_for_on_v2() {
    let _place = place();
    fifty_cuts(Harness::simulator(Network::V2), 2);
}

#[test]
fn every_uplink_over_a_link_that_breaks_is_accounted_for_on_v3() {
    let _place = place();
    fifty_cuts(Harness::simulator(Network::V3), 3);
}

#[test]
fn every_uplink_over_a_link_that_breaks_is_accounted_for_on_v2_by_mosquitto() {
    let _place = place();
    if let Some(harness) = Harness::mosquitto(Network::V2) {
        fifty_cuts(harness, 4);
    }
}

#[test]
fn every_uplink_over_a_link_that_breaks_is_accounted_for_on_v3_by_mosquitto() {
    let _place = place();
    if let Some(harness) = Harness::mosquitto(Network::V3) {
        fifty_cuts(harness, 5);
    }
}

#[test]
fn every_uplink_that_a_client_has_no_room_for_is_counted() {
    let _place = place();
    let _watchdog = watchdog(LIMIT);
    for network in [Network::V2, Network::V3] {
        let harnesses = [
            Some(Harness::simulator(network)),
            Harness::mosquitto(network),
        ];
        for harness in harnesses.into_iter().flatten() {
            let report = soak::flood(harness, 10_000, 6);
            a_flood(&report, report.frames.missing_dropped_here);
        }
    }
}

#[test]
fn every_uplink_that_a_server_drops_is_missed() {
    let _place = place();
    let _watchdog = watchdog(LIMIT);
    for network in [Network::V2, Network::V3] {
        let report = soak::server_drops(Harness::simulator(network), 10_000, 7);
        a_flood(&report, report.frames.missing_upstream);
    }
}

#[test]
fn an_uplink_that_overtakes_the_answer_to_the_subscription_says_that_the_client_was_away() {
    let _place = place();
    let _watchdog = watchdog(LIMIT);
    let mut harness = Harness::simulator(Network::V3);
    let client = harness
        .builder()
        .reconnect_delay(Duration::from_millis(5), Duration::from_millis(40))
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    harness.uplink("dev-1", 0);
    while !matches!(events.recv_timeout(SOON).unwrap(), Event::Uplink(_)) {}
    harness.kill();
    harness.uplink("dev-1", 1);
    harness
        .simulated()
        .quirks(|quirks| quirks.suback_delay = Duration::from_secs(1));
    harness.restart();
    assert!(harness.simulated().wait_for_subscriptions(1, SOON));
    harness.uplink("dev-1", 2);
    loop {
        match events.recv_timeout(SOON).unwrap() {
            Event::Counter(report) => {
                let missing = CounterFinding::Missing {
                    frames: 1,
                    loss: FrameLoss::Away,
                };
                break assert_eq!(report.finding, missing);
            }
            Event::Connected(_) => panic!("the answer came first"),
            _ => {}
        }
    }
}

/// Asserts that every delivery of some random downlinks is true, and final or explained.
fn every_delivery(network: Network, outages: bool, seed: u64) {
    every_delivery_of(Plan {
        network,
        downlinks: 2_500,
        outages,
        plain_broker: false,
        asks_over_http: false,
        over: Over::Mqtt,
        seed,
    });
}

fn every_delivery_of(plan: Plan) -> Account {
    let _place = place();
    let _watchdog = watchdog(LIMIT);
    let account = deliveries::run(plan);
    println!("{account}");
    account.assert_true();
    account
}

#[test]
fn every_delivery_ends_as_the_device_knows_on_v2() {
    every_delivery(Network::V2, false, 11);
}

#[test]
fn every_delivery_ends_as_the_device_knows_on_v3() {
    every_delivery(Network::V3, false, 12);
}

#[test]
fn every_delivery_is_true_and_final_or_explained_behind_a_plain_broker() {
    every_delivery_of(Plan {
        network: Network::V2,
        downlinks: 2_500,
        outages: true,
        plain_broker: true,
        asks_over_http: false,
        over: Over::Mqtt,
        seed: 15,
    });
}

#[test]
fn every_delivery_is_true_and_final_or_explained_after_outages_on_v2() {
    every_delivery(Network::V2, true, 13);
}

#[test]
fn every_delivery_is_true_and_final_or_explained_after_outages_on_v3() {
    every_delivery(Network::V3, true, 14);
}

#[test]
fn every_delivery_is_true_and_nothing_waits_while_the_http_server_is_slow_silent_or_failing() {
    let account = every_delivery_of(Plan {
        network: Network::V3,
        downlinks: 2_500,
        outages: true,
        plain_broker: false,
        asks_over_http: true,
        over: Over::Mqtt,
        seed: 16,
    });
    account.assert_undelayed();
}

#[test]
fn every_downlink_over_http_is_true_while_the_http_server_is_slow_or_failing() {
    every_delivery_of(Plan {
        network: Network::V3,
        downlinks: 400,
        outages: true,
        plain_broker: false,
        asks_over_http: true,
        over: Over::Http,
        seed: 17,
    });
}

/// Asserts that every uplink of a hundred outages is delivered once, or reported as uncovered.
fn a_hundred_outages(source: BackfillSource, reads_devices: bool, seed: u64) -> outages::Account {
    let _place = place();
    let _watchdog = watchdog(LIMIT);
    let account = outages::run(outages::Plan {
        source,
        reads_devices,
        cuts: 100,
        seed,
    });
    println!("{account}");
    account.assert_exact();
    assert!(account.backfilled > 0 && account.live > 0, "{account}");
    account
}

#[test]
fn every_uplink_of_an_outage_is_fetched_from_storage() {
    let account = a_hundred_outages(BackfillSource::Storage, true, 31);
    assert_eq!(account.counted, 0, "{account}");
}

#[test]
fn every_uplink_of_an_outage_is_fetched_from_storage_with_a_key_that_only_reads_traffic() {
    let account = a_hundred_outages(BackfillSource::Storage, false, 32);
    assert_eq!((account.counted, account.unknown), (0, 0), "{account}");
}

#[test]
fn every_uplink_of_an_outage_is_fetched_from_the_event_stream_or_counted() {
    let account = a_hundred_outages(BackfillSource::Events, true, 33);
    assert!(account.counted > 0, "{account}");
}

#[test]
fn every_uplink_of_an_outage_is_fetched_from_the_event_stream_or_reported_as_unknown() {
    let account = a_hundred_outages(BackfillSource::Events, false, 34);
    assert!(account.unknown > 0, "{account}");
}
