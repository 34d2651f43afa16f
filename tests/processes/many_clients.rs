//! Many clients in one process, and many short-lived clients against servers of every mood: no
//! client waits for another, and nothing is left behind.
#![cfg(target_os = "linux")]

use std::{
    env,
    io::{self, Write},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    child::alone,
    harness::{Harness, NOWHERE, SOON},
    relay::{Fault, Relay, Way},
    relayed_client::RelayedClient,
    resources::{client_threads, descriptors, resident_kib, threads, wait_until},
    watchdog::watchdog,
};
use ttn::{ErrorKind, Event, Events, MqttClient, Network};

const CYCLES: &str = "TTN_TEST_CYCLES";

fn next_uplink(events: &Events) -> u32 {
    loop {
        match events.recv_timeout(SOON).expect("an uplink arrives") {
            Event::Uplink(uplink) => return uplink.counter,
            Event::Connected(_) | Event::Disconnected(_) | Event::ConnectFailed(_) => {}
            event => panic!("{event:?}"),
        }
    }
}

#[test]
fn fifty_clients_lose_their_links_one_after_the_other_and_no_uplink_of_the_others() {
    const CLIENTS: u32 = 50;
    let _watchdog = watchdog(Duration::from_secs(60));
    if !alone(
        module_path!(),
        "fifty_clients_lose_their_links_one_after_the_other_and_no_uplink_of_the_others",
    ) {
        return;
    }
    Harness::each(|harness| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| RelayedClient::connect(harness, |builder| builder))
            .collect();
        for counter in 0..CLIENTS {
            let RelayedClient { relay, client, .. } = &clients[counter as usize];
            relay.cut();
            // It may have reconnected before anybody looks.
            assert!(wait_until(SOON, || client.stats().reconnects == 1));
            harness.uplink("dev-1", counter);
            for RelayedClient { events, .. } in &clients {
                assert_eq!(next_uplink(events), counter);
            }
        }
        assert!(clients.iter().all(|link| link.client.is_connected()));
        let started = client_threads().len();
        assert!(started >= CLIENTS as usize, "{started}");
        let start = Instant::now();
        drop(clients);
        assert!(
            wait_until(SOON, || client_threads().is_empty()),
            "{:?}",
            client_threads()
        );
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    });
}

/// How a server treats a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Healthy,
    /// Nothing listens.
    Refusing,
    /// It accepts the connection and never answers.
    Silent,
    /// It closes the connection instead of answering.
    Killing,
    /// The same, with a reset.
    Resetting,
}

const MOODS: [Mood; 5] = [
    Mood::Healthy,
    Mood::Refusing,
    Mood::Silent,
    Mood::Killing,
    Mood::Resetting,
];

struct Servers {
    healthy: Harness,
    silent: Harness,
    killing: Harness,
    resetting: Relay,
}

impl Servers {
    fn start(network: Network) -> Self {
        let healthy = Harness::simulator(network);
        let silent = Harness::simulator(network);
        silent
            .simulated()
            .quirks(|quirks| quirks.ignore_connect = true);
        let killing = Harness::simulator(network);
        killing
            .simulated()
            .quirks(|quirks| quirks.close_on_connect = true);
        let resetting = Relay::start(healthy.address()).unwrap();
        resetting.set(Way::ToServer, Fault::ResetAfter(0));
        Self {
            healthy,
            silent,
            killing,
            resetting,
        }
    }

    fn client(&self, mood: Mood) -> MqttClient {
        let address = match mood {
            Mood::Healthy => self.healthy.address().to_string(),
            Mood::Refusing => NOWHERE.to_owned(),
            Mood::Silent => self.silent.address().to_string(),
            Mood::Killing => self.killing.address().to_string(),
            Mood::Resetting => self.resetting.address().to_string(),
        };
        let timeout = match mood {
            Mood::Silent => Duration::from_millis(50),
            _ => SOON,
        };
        self.healthy
            .builder()
            .mqtt_address(address)
            .connect_timeout(timeout)
            // A short queue, so that memory kept by the allocator does not hide a leak.
            .event_capacity(16)
            .build()
            .unwrap()
    }

    fn cycle(&self, mood: Mood) {
        // An abandoned attempt takes a few seconds to end, and Paho stops for good if more than
        // about 270 attempts of a process end at the same moment.
        if mood == Mood::Silent {
            assert!(wait_until(SOON, || threads() < 400), "{}", threads());
        }
        let client = self.client(mood);
        let result = client.connect();
        let kind = result.as_ref().map_err(|error| error.kind()).err();
        let expected = match mood {
            Mood::Healthy => None,
            Mood::Refusing => Some(ErrorKind::ConnectionRefused),
            Mood::Silent => Some(ErrorKind::TimedOut),
            Mood::Killing | Mood::Resetting => Some(ErrorKind::Protocol),
        };
        assert_eq!(kind, expected, "{mood:?}: {result:?}");
        client.close().unwrap();
    }

    /// Runs this number of client lives on eight threads.
    fn cycles(&self, count: usize) {
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return;
                        }
                        self.cycle(MOODS[number % MOODS.len()]);
                    }
                });
            }
        });
    }

    /// Waits until nothing is in progress any longer.
    fn settle(&self) {
        // An abandoned attempt ends with Paho's own time limit.
        let settled = wait_until(SOON, || client_threads().is_empty());
        assert!(settled, "{:?}", client_threads());
        for harness in [&self.healthy, &self.silent, &self.killing] {
            assert!(harness.simulated().wait_for_clients(0, SOON));
        }
    }
}

/// The resources that the process holds.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    resident_kib: usize,
    descriptors: usize,
    threads: usize,
}

impl Holdings {
    fn now() -> Self {
        Self {
            resident_kib: resident_kib(),
            descriptors: descriptors(),
            threads: threads(),
        }
    }
}

#[test]
fn many_short_lives_against_servers_of_every_mood_leave_nothing_behind() {
    let asked = env::var(CYCLES).ok();
    let cycles: usize = asked
        .as_deref()
        .map_or(400, |cycles| cycles.parse().expect("a number"));
    let _watchdog = watchdog(Duration::from_secs(60) + Duration::from_millis(50) * cycles as u32);
    if !alone(
        module_path!(),
        "many_short_lives_against_servers_of_every_mood_leave_nothing_behind",
    ) {
        return;
    }
    let servers = Servers::start(Network::V3);
    // The first clients start Paho's threads, its keeper and the allocator's arenas. Attempts that
    // the silent server delays take a few seconds to end: by then, as many end as begin.
    servers.cycles(cycles.min(2_000));
    servers.settle();
    let before = Holdings::now();
    let start = Instant::now();
    servers.cycles(cycles);
    let taken = start.elapsed();
    servers.settle();
    let left = wait_until(SOON, || {
        let now = Holdings::now();
        now.descriptors <= before.descriptors && now.threads <= before.threads
    });
    let after = Holdings::now();
    if asked.is_some() {
        let _ = writeln!(
            io::stderr(),
            "{cycles} cycles in {taken:?}: {before:?} before, {after:?} after"
        );
    }
    assert!(left, "{before:?} before, {after:?} after");
    let grown = after.resident_kib.saturating_sub(before.resident_kib);
    assert!(grown < 6 << 10, "{grown} KiB more: {before:?}, {after:?}");
}
