//! Hundreds of clients in one process whose connections open or end at the same moment: none hangs.
//! A swarm needs the whole machine, so this program is separate and its tests take turns.
#![cfg(target_os = "linux")]

mod support;

use std::{
    io::{self, Write},
    process::Command,
    sync::{Arc, Barrier, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use support::{
    child::alone_after,
    harness::SOON,
    resources::{client_threads, thread_names, wait_until},
    watchdog::watchdog,
};
use ttn::{Event, Events, MqttClient, MqttClientBuilder, Network, simulator::Simulator};

/// A client takes at most six descriptors, and the simulated network one or two for each client.
const DESCRIPTORS: &str = "ulimit -n 16384";

/// The time limit for a swarm: a hang would last forever.
const LIMIT: Duration = Duration::from_secs(60);

/// Held by the running test: two swarms at a time would affect each other's figures.
static TURN: Mutex<()> = Mutex::new(());

/// Runs the test in a process of its own that may open many files, if the machine allows it.
fn alone(test: &str, body: impl Fn(&Simulator)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let _watchdog = watchdog(LIMIT + SOON);
    let allowed = Command::new("sh").args(["-c", DESCRIPTORS]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        // Not `eprintln!`: the test harness would swallow it.
        let _ = writeln!(
            io::stderr(),
            "SKIPPED {test}: this user may not open enough files ({DESCRIPTORS})."
        );
        return;
    }
    if alone_after(DESCRIPTORS, module_path!(), test) {
        let _watchdog = watchdog(LIMIT);
        body(&Simulator::start(Network::V3).expect("the simulated network starts"));
    }
}

fn builder(network: &Simulator) -> MqttClientBuilder {
    MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .connect_timeout(LIMIT)
        .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
        // Short queues, because there are many of them.
        .event_capacity(16)
}

/// Connects this number of clients at the same time; returns them, and the time until the last call
/// returned.
fn connect_at_once(network: &Simulator, count: usize) -> (Vec<MqttClient>, Duration) {
    let barrier = Arc::new(Barrier::new(count + 1));
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let client = builder(network).build().expect("the options are valid");
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                barrier.wait();
                client.connect().map(|()| client)
            })
        })
        .collect();
    barrier.wait();
    let start = Instant::now();
    let clients = threads
        .into_iter()
        .map(|thread| {
            let client = thread.join().expect("no panic");
            client.unwrap_or_else(|error| panic!("{error:?}"))
        })
        .collect();
    (clients, start.elapsed())
}

/// Returns this number of connected clients, from eight threads.
fn connected(network: &Simulator, count: usize) -> Vec<(MqttClient, Events)> {
    const THREADS: usize = 8;
    assert_eq!(count % THREADS, 0);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let connect = |_| {
                        let client = builder(network).build().expect("the options are valid");
                        let events = client.events();
                        client.connect().unwrap_or_else(|error| panic!("{error:?}"));
                        let event = events.recv_timeout(SOON);
                        assert!(matches!(event, Ok(Event::Connected(_))), "{event:?}");
                        (client, events)
                    };
                    (0..count / THREADS).map(connect).collect::<Vec<_>>()
                })
            })
            .collect();
        let clients = threads.into_iter().map(|thread| thread.join());
        clients
            .flat_map(|clients| clients.expect("no panic"))
            .collect()
    })
}

/// Asserts that another client still works after all that.
fn another_one_works(network: &Simulator) {
    let client = builder(network).build().expect("the options are valid");
    let events = client.events();
    client.connect().unwrap_or_else(|error| panic!("{error:?}"));
    let event = events.recv_timeout(SOON);
    assert!(matches!(event, Ok(Event::Connected(_))), "{event:?}");
    network.device("pump-1").uplink(7, [1]);
    let event = events.recv_timeout(SOON);
    assert!(matches!(event, Ok(Event::Uplink(_))), "{event:?}");
    client.close().expect("no callback runs");
}

fn connects_at_once(name: &str, count: usize) {
    alone(name, |network| {
        let (clients, taken) = connect_at_once(network, count);
        assert!(network.wait_for_clients(count, SOON));
        assert!(clients.iter().all(MqttClient::is_connected));
        assert!(taken < LIMIT / 2, "{taken:?}");
        let _ = writeln!(io::stderr(), "{count} connects in {taken:?}");
        let closing = clients
            .into_iter()
            .map(|client| thread::spawn(move || client.close()));
        for thread in closing.collect::<Vec<_>>() {
            let closed = thread.join().expect("no panic");
            closed.expect("no callback runs");
        }
        assert!(network.wait_for_clients(0, SOON));
        another_one_works(network);
    });
}

#[test]
fn two_hundred_connects_at_once() {
    connects_at_once("two_hundred_connects_at_once", 200);
}

#[test]
fn a_thousand_connects_at_once() {
    connects_at_once("a_thousand_connects_at_once", 1_000);
}

#[test]
fn six_hundred_clients_whose_server_closes_all_connections_at_once_come_back() {
    const CLIENTS: usize = 600;
    alone(
        "six_hundred_clients_whose_server_closes_all_connections_at_once_come_back",
        |network| {
            let clients = connected(network, CLIENTS);
            network.disconnect_clients();
            for (_, events) in &clients {
                let event = events.recv_timeout(SOON);
                assert!(matches!(event, Ok(Event::Disconnected(_))), "{event:?}");
            }
            for (_, events) in &clients {
                loop {
                    match events.recv_timeout(SOON).expect("it comes back") {
                        Event::Connected(_) => break,
                        Event::ConnectFailed(_) => {}
                        event => panic!("{event:?}"),
                    }
                }
            }
            assert!(network.wait_for_clients(CLIENTS, SOON));
            network.device("pump-1").uplink(7, [1]);
            for (client, events) in &clients {
                let event = events.recv_timeout(SOON);
                assert!(matches!(event, Ok(Event::Uplink(_))), "{event:?}");
                assert!(client.is_connected());
            }
        },
    );
}

#[test]
fn six_hundred_clients_dropped_in_a_row() {
    const CLIENTS: usize = 600;
    alone("six_hundred_clients_dropped_in_a_row", |network| {
        let clients = connected(network, CLIENTS);
        assert!(network.wait_for_clients(CLIENTS, SOON));
        drop(clients);
        assert!(network.wait_for_clients(0, LIMIT / 2));
        assert!(
            wait_until(SOON, || client_threads().is_empty()),
            "{:?}",
            thread_names()
        );
        another_one_works(network);
    });
}
