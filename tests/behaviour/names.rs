//! Name lookups that fail, stall, or stall and then fail: `connect` meets its deadline, `close`
//! returns at once, and nobody else is held up.
#![cfg(target_os = "linux")]

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    attempts::next_failure,
    harness::{Harness, SOON},
    names::{Lookup, NAME, Names, run_with_names},
    relay::Relay,
    resources::wait_until,
    watchdog::watchdog,
};
use ttn::{ErrorKind, Event, MqttClient, MqttClientBuilder, Network};

const LIMIT: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(1);

/// The time limit for calls that should return at once, on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Runs the test in a separate process whose lookups can fail; in the process of all tests, it only
/// starts that process.
fn with_names(name: &str, test: impl Fn(&mut Harness, &Names)) {
    let _watchdog = watchdog(LIMIT);
    match Names::of_this_process() {
        None => run_with_names(module_path!(), name),
        Some(names) => {
            for network in [Network::V2, Network::V3] {
                names.set(Lookup::Found);
                // The address that lookups return.
                test(
                    &mut Harness::simulator_at(network, Ipv4Addr::LOCALHOST),
                    &names,
                );
            }
        }
    }
}

fn builder(harness: &Harness, scheme: &str) -> MqttClientBuilder {
    let port = harness.address().port();
    harness
        .builder()
        .mqtt_address(format!("{scheme}://{NAME}:{port}"))
        .connect_timeout(TIMEOUT)
        .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
}

fn failure(client: &MqttClient) -> ErrorKind {
    let start = Instant::now();
    let error = client.connect().unwrap_err();
    let taken = start.elapsed();
    assert!(taken < TIMEOUT + AT_ONCE, "{taken:?}: {error}");
    if error.kind() == ErrorKind::UnknownHost {
        assert!(error.to_string().contains(NAME), "{error}");
    }
    error.kind()
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn a_lookup_that_fails_is_an_unknown_host() {
    with_names(
        "a_lookup_that_fails_is_an_unknown_host",
        |harness, names| {
            for scheme in ["mqtt", "mqtts"] {
                let client = builder(harness, scheme).build().unwrap();
                for lookup in [Lookup::Unknown, Lookup::Again] {
                    names.set(lookup);
                    assert_eq!(failure(&client), ErrorKind::UnknownHost, "{lookup:?}");
                }
            }
            let client = builder(harness, "mqtt").build().unwrap();
            assert_eq!(failure(&client), ErrorKind::UnknownHost);
            names.set(Lookup::Found);
            client.connect().unwrap();
        },
    );
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn a_lookup_that_stalls_ends_with_the_connect_timeout() {
    with_names(
        "a_lookup_that_stalls_ends_with_the_connect_timeout",
        |harness, names| {
            for scheme in ["mqtt", "mqtts"] {
                names.set(Lookup::Stall);
                let client = builder(harness, scheme).build().unwrap();
                // More often than the limit for lookups in progress.
                for _ in 0..6 {
                    assert_eq!(failure(&client), ErrorKind::TimedOut);
                }
                names.set(Lookup::Unknown);
                assert!(wait_until(SOON, || failure(&client) == ErrorKind::UnknownHost));
            }
        },
    );
}

#[test]
fn close_and_drop_do_not_wait_for_a_lookup() {
    with_names(
        "close_and_drop_do_not_wait_for_a_lookup",
        |harness, names| {
            names.set(Lookup::Stall);
            let client = builder(harness, "mqtt")
                .connect_timeout(LIMIT)
                .build()
                .unwrap();
            for _ in 0..6 {
                let connecting = client.clone();
                let connecting = thread::spawn(move || connecting.connect());
                assert!(wait_until(SOON, || !client.wait_timeout(Duration::ZERO)));
                let start = Instant::now();
                client.close().unwrap();
                assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
                let error = connecting.join().unwrap().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Closed);
            }
            names.set(Lookup::Found);
            client.connect().unwrap();

            names.set(Lookup::Stall);
            let events = client.events();
            harness.kill();
            assert!(matches!(
                events.recv_timeout(SOON),
                Ok(Event::Disconnected(_))
            ));
            let start = Instant::now();
            drop(client);
            assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
            while let Ok(event) = events.recv_timeout(AT_ONCE) {
                assert!(
                    matches!(event, Event::Closed(_) | Event::ConnectFailed(_)),
                    "{event:?}"
                );
            }
            let end = events.try_recv().unwrap_err();
            assert!(end.is_disconnected(), "the session continues");
        },
    );
}

#[test]
fn lookups_that_stall_and_fail_while_it_reconnects_are_outlived() {
    with_names(
        "lookups_that_stall_and_fail_while_it_reconnects_are_outlived",
        |harness, names| {
            let relay = Relay::start_at(Ipv4Addr::LOCALHOST, harness.address()).unwrap();
            let client = builder(harness, "mqtt")
                .mqtt_address(format!("mqtt://{NAME}:{}", relay.port()))
                .build()
                .unwrap();
            let events = client.events();
            client.connect().unwrap();
            assert!(matches!(events.recv_timeout(SOON), Ok(Event::Connected(_))));
            names.set(Lookup::Stall);
            relay.cut();
            assert!(matches!(
                events.recv_timeout(SOON),
                Ok(Event::Disconnected(_))
            ));
            // More often than the limit for lookups in progress.
            for _ in 0..6 {
                let start = Instant::now();
                assert_eq!(next_failure(&events).kind(), ErrorKind::TimedOut);
                assert!(start.elapsed() < TIMEOUT + AT_ONCE);
            }
            names.set(Lookup::Again);
            while next_failure(&events).kind() != ErrorKind::UnknownHost {}
            assert_eq!(next_failure(&events).kind(), ErrorKind::UnknownHost);
            names.set(Lookup::Found);
            while !matches!(
                events.recv_timeout(SOON).expect("the client comes back"),
                Event::Connected(_)
            ) {}
            harness.uplink("dev-1", 4);
            let next = events.recv_timeout(SOON);
            assert!(matches!(&next, Ok(Event::Uplink(uplink)) if uplink.counter == 4));
        },
    );
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn other_clients_are_not_held_up_by_a_lookup_that_stalls() {
    with_names(
        "other_clients_are_not_held_up_by_a_lookup_that_stalls",
        |harness, names| {
            let running = harness.client();
            let events = running.events();
            running.connect().unwrap();
            assert!(matches!(events.recv_timeout(SOON), Ok(Event::Connected(_))));
            names.set(Lookup::Stall);
            let held: Vec<_> = ["mqtt", "mqtts"]
                .into_iter()
                .map(|scheme| {
                    let client = builder(harness, scheme)
                        .connect_timeout(LIMIT)
                        .build()
                        .unwrap();
                    let connecting = client.clone();
                    let thread = thread::spawn(move || connecting.connect());
                    assert!(wait_until(SOON, || !client.wait_timeout(Duration::ZERO)));
                    (client, thread)
                })
                .collect();

            let start = Instant::now();
            for counter in 0..20 {
                harness.uplink("dev-1", counter);
                let next = events.recv_timeout(SOON);
                assert!(
                    matches!(&next, Ok(Event::Uplink(uplink)) if uplink.counter == counter),
                    "{next:?}"
                );
                let other = harness.connected();
                other.close().unwrap();
            }
            running.send("dev-1", "01").unwrap();
            assert!(matches!(events.recv_timeout(SOON), Ok(Event::Published(_))));
            running.close().unwrap();
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{:?}",
                start.elapsed()
            );
            for (client, thread) in held {
                client.close().unwrap();
                assert!(thread.join().unwrap().is_err());
            }
        },
    );
}

#[test]
fn a_discovery_server_is_looked_up_within_the_time_too() {
    with_names(
        "a_discovery_server_is_looked_up_within_the_time_too",
        |harness, names| {
            let (app_id, key) = match harness.network {
                Network::V3 => ("greenhouse-demo@ttn", "NNSXS.TEST.KEY"),
                _ => ("greenhouse-demo", "ttn-account-v2.test-key"),
            };
            let client = MqttClient::builder(app_id, key)
                .discovery_address(format!("http://{NAME}:1"))
                .connect_timeout(TIMEOUT)
                .build()
                .unwrap();
            names.set(Lookup::Stall);
            assert_eq!(failure(&client), ErrorKind::TimedOut);
            names.set(Lookup::Unknown);
            assert!(wait_until(SOON, || failure(&client) == ErrorKind::UnknownHost));
        },
    );
}
