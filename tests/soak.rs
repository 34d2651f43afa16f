//! Links that break at random, floods, slow readers: every uplink is accounted for.
#![cfg(unix)]

mod support;

use std::time::Duration;

use support::{
    harness::Harness,
    soak::{self, Report, Until},
    watchdog::watchdog,
};
use ttn::Network;

const LIMIT: Duration = Duration::from_secs(60);

const CUTS: Until = Until::Cuts(50);

/// The account of fifty cuts is exact, and there was something to account for.
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

/// A flood is lost in part, for this reason.
fn a_flood(report: &Report, missing: u64) {
    println!("{report}");
    report.assert_exact();
    assert!(missing > 0 && report.delivered > missing / 100, "{report}");
}

#[test]
fn every_uplink_over_a_link_that_breaks_is_accounted_for_on_v2() {
    fifty_cuts(Harness::simulator(Network::V2), 2);
}

#[test]
fn every_uplink_over_a_link_that_breaks_is_accounted_for_on_v3() {
    fifty_cuts(Harness::simulator(Network::V3), 3);
}

#[test]
fn every_uplink_over_a_link_that_breaks_is_accounted_for_on_v2_by_mosquitto() {
    if let Some(harness) = Harness::mosquitto(Network::V2) {
        fifty_cuts(harness, 4);
    }
}

#[test]
fn every_uplink_over_a_link_that_breaks_is_accounted_for_on_v3_by_mosquitto() {
    if let Some(harness) = Harness::mosquitto(Network::V3) {
        fifty_cuts(harness, 5);
    }
}

#[test]
fn every_uplink_that_a_client_has_no_room_for_is_counted() {
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
    let _watchdog = watchdog(LIMIT);
    for network in [Network::V2, Network::V3] {
        let report = soak::server_drops(Harness::simulator(network), 10_000, 7);
        a_flood(&report, report.frames.missing_upstream);
    }
}
