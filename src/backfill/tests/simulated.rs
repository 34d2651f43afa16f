use crate::simulator::{EventStore, HttpFault, Simulator, Storage};

use super::*;

/// A simulated network whose device has sent uplinks.
struct Away {
    network: Simulator,
    from: SystemTime,
    sent: u32,
}

impl Away {
    fn start(sent: u32) -> Self {
        let network = Simulator::start(Network::V3).unwrap();
        network.storage(Some(Storage::new()));
        network.event_store(Some(EventStore::new()));
        Self::with(network, sent)
    }

    fn with(network: Simulator, sent: u32) -> Self {
        let device = network.device("bed-07");
        device.uplink(1, [0]);
        let from = SystemTime::now();
        for _ in 0..sent {
            device.uplink(1, [7]);
        }
        Self {
            network,
            from,
            sent,
        }
    }

    fn task(&self, settings: Backfill) -> Task {
        let (app_id, key) = (self.network.app_id(), self.network.access_key());
        let options = MqttClientBuilder::new(app_id.to_owned(), key.to_owned())
            .network(Network::V3)
            .mqtt_address(self.network.mqtt_address())
            .http_address(self.network.http_address())
            .check()
            .unwrap();
        let hosts = Hosts::of(&options).unwrap();
        let key = options.access_key.clone();
        Task {
            api: Api::new(hosts, &options, key, DEADLINE),
            uid: app_id.to_owned(),
            settings,
            from: Bound::Network(self.from),
            until: Bound::Network(SystemTime::now()),
            is_on_request: false,
            heard: Arc::new(|_, _| None),
        }
    }

    /// Returns what a backfill hands over, without what comes twice.
    fn fetch(&self, settings: Backfill) -> (Vec<u32>, Vec<SystemTime>, Outcome) {
        self.fetch_until(SystemTime::now(), settings)
    }

    fn fetch_until(
        &self,
        until: SystemTime,
        settings: Backfill,
    ) -> (Vec<u32>, Vec<SystemTime>, Outcome) {
        let fetching = Fetching::start(Task {
            until: Bound::Network(until),
            ..self.task(settings)
        });
        let (mut counters, mut traces) = (Vec::new(), Vec::new());
        loop {
            match fetching.next() {
                Fetched::Uplink(uplink) => counters.push(uplink.counter),
                Fetched::Trace { at, .. } => traces.push(at),
                Fetched::Source(_) | Fetched::Mark(_) | Fetched::Reached(_) => {}
                Fetched::Ended(outcome) => {
                    counters.sort_unstable();
                    counters.dedup();
                    counters.retain(|counter| *counter > 0);
                    return (counters, traces, outcome);
                }
            }
        }
    }

    #[track_caller]
    fn all_come(&self, settings: Backfill) -> Outcome {
        let (counters, _, outcome) = self.fetch(settings);
        assert_eq!(counters, (1..=self.sent).collect::<Vec<_>>(), "{outcome:?}");
        assert!(
            outcome.is_settled && outcome.uncovered.is_empty(),
            "{outcome:?}"
        );
        outcome
    }
}

#[test]
fn everything_that_is_stored_comes_whatever_the_pages_are_like() {
    let away = Away::start(250);
    for (storage, page_size) in [
        (Storage::new(), 1_000),
        (Storage::new(), 100),
        (Storage::new().page_cap(60), 1_000),
        (Storage::new().doubled(true), 100),
    ] {
        away.network.storage(Some(storage));
        let outcome = away.all_come(quick().page_size(page_size));
        assert_eq!(outcome.source, Some(BackfillSource::Storage));
    }
    // If it is out of order by more than a second, that is reported.
    away.network.storage(Some(Storage::new().shuffled(true)));
    let (counters, _, outcome) = away.fetch(quick());
    assert_eq!(counters, (1..=away.sent).collect::<Vec<_>>(), "{outcome:?}");
}

#[test]
fn everything_that_is_stored_comes_whatever_happens_to_the_answers() {
    let away = Away::start(60);
    for fault in [
        HttpFault::CutInFrame(20),
        HttpFault::CutAfter(20),
        HttpFault::ErrorAfter(20),
        HttpFault::EmptyLines,
        HttpFault::Doubled,
        HttpFault::Gzip,
        HttpFault::HtmlAfter(20),
    ] {
        away.network.http_fault_on("storage", Some(fault.clone()));
        let (counters, _, outcome) = away.fetch(quick());
        assert_eq!(counters.len(), 60, "{fault:?}: {outcome:?}");
        assert!(outcome.error.is_none(), "{fault:?}: {outcome:?}");
    }
    away.network
        .http_fault_on("storage", Some(HttpFault::GarbageAfter(3)));
    let (counters, _, outcome) = away.fetch(quick());
    assert_eq!(counters.len(), 60);
    assert!(outcome.unreadable > 0);
}

#[test]
fn a_rate_limit_slows_it_down_and_loses_nothing() {
    let away = Away::start(50);
    away.network.http_rate_limit(3, 6_000);
    away.all_come(quick().page_size(10));
}

#[test]
fn what_is_written_late_comes_with_a_later_pass() {
    let network = Simulator::start(Network::V3).unwrap();
    network.storage(Some(Storage::new().write_delay(Duration::from_millis(400))));
    let away = Away::with(network, 20);
    away.all_come(quick().passes([Duration::ZERO, SECOND]));
}

#[test]
fn what_storage_has_deleted_is_not_kept() {
    let away = Away::start(20);
    away.network.advance_clock(3600 * SECOND);
    away.network.device("bed-07").uplink(1, [7]);
    away.network
        .storage(Some(Storage::new().retention(600 * SECOND)));
    let (counters, _, outcome) = away.fetch_until(SystemTime::now() + 3600 * SECOND, quick());
    assert_eq!(counters, [21]);
    assert_eq!(reasons(&outcome), [UncoveredReason::NotKept]);
}

#[test]
fn storage_that_is_not_enabled_or_refuses_is_named() {
    let away = Away::start(5);
    away.network.event_store(None);
    for (storage, reason) in [
        (
            Some(Storage::new().not_enabled()),
            UncoveredReason::NotEnabled,
        ),
        (Some(Storage::new().forbidden()), UncoveredReason::Refused),
        (None, UncoveredReason::NotEnabled),
    ] {
        away.network.storage(storage);
        let (_, _, outcome) = away.fetch(quick());
        assert_eq!(reasons(&outcome), [reason]);
        assert_eq!(outcome.is_settled, reason != UncoveredReason::Refused);
    }
}

#[test]
fn the_events_that_are_kept_come_without_storage() {
    let away = Away::start(40);
    away.network.storage(None);
    let outcome = away.all_come(quick());
    assert_eq!(outcome.source, Some(BackfillSource::Events));
    for fault in [
        HttpFault::CutAfter(20),
        HttpFault::Doubled,
        HttpFault::EmptyLines,
    ] {
        away.network.http_fault_on("events", Some(fault.clone()));
        let (counters, _, outcome) = away.fetch(quick());
        let is_cut = fault == HttpFault::CutAfter(20);
        assert_eq!(counters.len() == 40, !is_cut, "{fault:?}");
        assert_eq!(outcome.is_settled, !is_cut, "{fault:?}: {outcome:?}");
    }
}

#[test]
fn more_events_than_are_kept_and_older_ones_are_accounted_for() {
    let away = Away::start(300);
    away.network.storage(None);
    let (counters, _, outcome) = away.fetch(quick());
    assert!(
        counters.len() >= 30 && counters.len() < 300,
        "{}",
        counters.len()
    );
    assert_eq!(counters.last(), Some(&300));
    assert_eq!(reasons(&outcome), [UncoveredReason::NotKept]);

    let rights = [
        "RIGHT_APPLICATION_TRAFFIC_READ",
        "RIGHT_APPLICATION_DEVICES_READ",
    ];
    let (app_id, key) = (away.network.app_id(), away.network.access_key());
    away.network.set_rights(app_id, key, &rights);
    let heard = |_: &str, _: SystemTime| {
        Some(LastHeard {
            counter: 300,
            missing: 17,
            uncovered: 0,
        })
    };
    let task = Task {
        heard: Arc::new(heard),
        ..away.task(quick().count_uncovered(true))
    };
    let fetching = Fetching::start(task);
    let outcome = loop {
        if let Fetched::Ended(outcome) = fetching.next() {
            break outcome;
        }
    };
    assert_eq!(outcome.uncovered[0].uplinks, Some(17), "{outcome:?}");

    // What is older than the messages are kept leaves traces.
    let away = Away::start(10);
    away.network.storage(None);
    away.network.advance_clock(900 * SECOND);
    let (counters, traces, outcome) = away.fetch(quick());
    assert!(counters.is_empty());
    assert!(traces.len() >= 10, "{traces:?}");
    assert!(
        outcome.uncovered.is_empty() && outcome.is_settled,
        "{outcome:?}"
    );
}
