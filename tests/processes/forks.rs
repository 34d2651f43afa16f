//! Processes that fork without starting another program: the child has a copy of the client and none of
//! its threads.

#![cfg(target_os = "linux")]

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, TcpListener},
    process::{self, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use ttn::{
    DeliveryState, Error, ErrorKind, Event, Events, MqttClient, Network, UplinkMessage,
    crossbeam_channel::{RecvTimeoutError, TryRecvError, select},
    simulator::Simulator,
};

use crate::{
    children::serve,
    support::{
        child::{alone, full_name},
        fork::{fork, fork_and_report},
        harness::{Harness, SOON},
        resources::wait_until,
        tls_server::{APP, KEY},
        watchdog::watchdog,
    },
};

const LIMIT: Duration = Duration::from_secs(100);
const LONG: Duration = Duration::from_secs(3600);

#[track_caller]
fn assert_forked<T>(result: Result<T, Error>, parent: u32) {
    let error = result.err().expect("the child has no threads");
    assert_eq!(error.kind(), ErrorKind::Forked, "{error}");
    assert!(!error.is_transient());
    assert!(error.to_string().contains(&parent.to_string()), "{error}");
}

#[track_caller]
fn assert_ended(events: &Events) {
    assert!(events.recv().is_err());
    assert!(matches!(events.try_recv(), Err(TryRecvError::Disconnected)));
    assert!(matches!(
        events.recv_timeout(LONG),
        Err(RecvTimeoutError::Disconnected)
    ));
    assert!(events.iter().next().is_none());
    select! {
        recv(events.receiver()) -> event => assert!(event.is_err()),
        default => panic!("the stream goes on"),
    }
}

/// Calls every method of a client that a thread of the parent has to serve.
#[track_caller]
fn assert_says_that_it_is_forked(client: &MqttClient, parent: u32) {
    assert!(!client.is_connected());
    assert_forked(client.send("dev-1", [1]), parent);
    assert_forked(client.send_batch("dev-1", [[1], [2]]), parent);
    assert_forked(client.send_many([("dev-1", [1])]), parent);
    assert_forked(client.connect(), parent);
    assert_forked(client.close(), parent);
    assert_forked(client.set_retry_callback(|_| {}), parent);
    client.remove_callback(client.set_uplink_callback(|_, _| {}));
    let no_worker = |_: usize| |_: &UplinkMessage, _: &MqttClient| {};
    assert_forked(client.set_uplink_workers(2, no_worker), parent);
    client.wait();
    assert!(client.wait_timeout(LONG));
    assert_ended(&client.events());
    assert_eq!(format!("{client:?}").matches("connected: false").count(), 1);
    let stats = client.stats();
    let _ = (stats.fair_use.devices(), stats.fair_use.device("dev-1"));
    let _ = stats.workers.len();
}

#[track_caller]
fn next_uplink(events: &Events) -> u32 {
    loop {
        if let Event::Uplink(uplink) = events.recv_timeout(SOON).expect("an uplink arrives") {
            return uplink.counter;
        }
    }
}

#[test]
fn the_client_of_a_fork_says_so_at_once_and_its_parent_notices_nothing() {
    let _watchdog = watchdog(LIMIT);
    if !alone(
        module_path!(),
        "the_client_of_a_fork_says_so_at_once_and_its_parent_notices_nothing",
    ) {
        return;
    }
    Harness::each(|harness| {
        let parent = process::id();
        let client = harness.builder().reconnect(false).build().unwrap();
        client.set_close_callback(|_, _| {});
        let events = client.events();
        client.connect().unwrap();
        let delivery = client.send("dev-1", [1]).unwrap();
        harness.uplink("dev-1", 1);
        assert_eq!(next_uplink(&events), 1);
        let mut before = events.iter();
        // One child for each way to leave: with and without a drop before.
        for drops in [true, false] {
            fork(|| {
                assert_says_that_it_is_forked(&client, parent);
                assert_ended(&events);
                assert!(before.next().is_none());
                assert_forked(MqttClient::new("barn@ttn", "NNSXS.ID.SECRET"), parent);
                if !matches!(delivery.wait(), DeliveryState::Failed(_)) {
                    assert!(matches!(delivery.state(), DeliveryState::Forgotten));
                    assert_forked(delivery.wait_for(DeliveryState::Acknowledged, LONG), parent);
                }
                assert!(delivery.is_final());
                assert_eq!(delivery.states().iter().count(), 1);
                let copies = (client.clone(), client.events());
                if !drops {
                    std::mem::forget(copies);
                }
            })
            .join();
        }
        assert!(client.is_connected());
        harness.uplink("dev-1", 2);
        assert_eq!(next_uplink(&events), 2);
        assert_eq!(client.stats().disconnects, 0);
        client.close().unwrap();
    });
}

#[test]
fn a_fork_that_drops_the_only_handle_does_not_close_its_parents_connection() {
    let _watchdog = watchdog(LIMIT);
    if !alone(
        module_path!(),
        "a_fork_that_drops_the_only_handle_does_not_close_its_parents_connection",
    ) {
        return;
    }
    Harness::each(|harness| {
        let client = harness.builder().reconnect(false).build().unwrap();
        let events = client.events();
        client.connect().unwrap();
        let mut handle = Some((client, events));
        fork(|| drop(handle.take())).join();
        let (client, events) = handle.expect("the parent has its own");
        harness.uplink("dev-1", 7);
        assert_eq!(next_uplink(&events), 7);
        assert!(client.is_connected());
        assert_eq!(client.stats().disconnects, 0);
        client.close().unwrap();
    });
}

#[test]
fn a_fork_that_drops_the_simulated_network_does_not_stop_its_parents() {
    let _watchdog = watchdog(LIMIT);
    if !alone(
        module_path!(),
        "a_fork_that_drops_the_simulated_network_does_not_stop_its_parents",
    ) {
        return;
    }
    for network in [Network::V2, Network::V3] {
        let mut network = Some(Simulator::start(network).unwrap());
        fork(|| drop(network.take())).join();
        let network = network.expect("the parent has its own");
        let client = MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(network.mqtt_address())
            .build()
            .unwrap();
        client.connect().unwrap();
        client.close().unwrap();
    }
}

#[test]
fn a_callback_may_fork_and_its_child_ends_when_it_returns() {
    let _watchdog = watchdog(LIMIT);
    if !alone(
        module_path!(),
        "a_callback_may_fork_and_its_child_ends_when_it_returns",
    ) {
        return;
    }
    Harness::each(|harness| {
        let client = harness.builder().reconnect(false).build().unwrap();
        let (forked, children) = mpsc::channel();
        let (called, calls) = mpsc::channel();
        let parent = process::id();
        client.set_uplink_callback(move |uplink, client| {
            if uplink.counter == 1 {
                let child = fork_and_report(|| assert_says_that_it_is_forked(client, parent));
                child.map_or(Ok(()), |child| forked.send(child))?;
            }
            ttn::anyhow::Ok(())
        });
        // Not called in the child, whose status would be another.
        client.set_uplink_callback(move |uplink, _| {
            if process::id() != parent {
                process::exit(3);
            }
            called.send(uplink.counter)?;
            ttn::anyhow::Ok(())
        });
        client.connect().unwrap();
        harness.uplink("dev-1", 1);
        let child = children.recv_timeout(SOON).expect("the callback forks");
        child.join();
        harness.uplink("dev-1", 2);
        assert_eq!(calls.recv_timeout(SOON), Ok(1));
        assert_eq!(calls.recv_timeout(SOON), Ok(2));
        client.close().unwrap();
    });
}

#[test]
fn a_worker_may_fork_and_its_child_ends_when_it_returns() {
    let _watchdog = watchdog(LIMIT);
    if !alone(
        module_path!(),
        "a_worker_may_fork_and_its_child_ends_when_it_returns",
    ) {
        return;
    }
    Harness::each_simulator(|harness| {
        let client = harness.builder().reconnect(false).build().unwrap();
        let (forked, children) = mpsc::channel();
        let (called, calls) = mpsc::channel();
        let parent = process::id();
        let id = client
            .set_uplink_workers(4, |_| {
                let (forked, called) = (forked.clone(), called.clone());
                move |uplink: &UplinkMessage, client: &MqttClient| {
                    if uplink.counter == 1 {
                        let child =
                            fork_and_report(|| assert_says_that_it_is_forked(client, parent));
                        return child.map_or(Ok(()), |child| Ok(forked.send(child)?));
                    }
                    // Not called in the child, whose status would be another.
                    if process::id() != parent {
                        process::exit(3);
                    }
                    called.send(uplink.counter)?;
                    ttn::anyhow::Ok(())
                }
            })
            .unwrap();
        client.connect().unwrap();
        for device in ["dev-1", "dev-2", "dev-3"] {
            harness.uplink(device, 1);
            let child = children.recv_timeout(SOON).expect("the worker forks");
            child.join();
            harness.uplink(device, 2);
            assert_eq!(calls.recv_timeout(SOON), Ok(2));
        }
        // The child of a thread that the client knows nothing of.
        fork(|| {
            client.remove_callback(id);
            assert_says_that_it_is_forked(&client, parent);
        })
        .join();
        harness.uplink("dev-1", 3);
        assert_eq!(calls.recv_timeout(SOON), Ok(3));
        client.close().unwrap();
    });
}

#[test]
fn a_retry_callback_may_fork_and_its_child_ends_when_it_returns() {
    let _watchdog = watchdog(LIMIT);
    if !alone(
        module_path!(),
        "a_retry_callback_may_fork_and_its_child_ends_when_it_returns",
    ) {
        return;
    }
    let network = Simulator::start(Network::V3).unwrap();
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .reconnect_delay(Duration::from_millis(1), Duration::from_millis(2))
        .build()
        .unwrap();
    let (forked, children) = mpsc::channel();
    client
        .set_retry_callback(move |_| match fork_and_report(|| {}) {
            Some(child) => forked.send(child).map_err(Into::into),
            None => ttn::anyhow::Ok(()),
        })
        .unwrap();
    client.connect().unwrap();
    network.disconnect_clients();
    children.recv_timeout(SOON).expect("it is asked").join();
    assert!(wait_until(SOON, || client.stats().reconnects == 1));
    client.close().unwrap();
}

#[test]
fn a_fork_while_the_client_connects_does_not_hold_up_parent_or_child() {
    let _watchdog = watchdog(LIMIT);
    if !alone(
        module_path!(),
        "a_fork_while_the_client_connects_does_not_hold_up_parent_or_child",
    ) {
        return;
    }
    let network = Simulator::start(Network::V3).unwrap();
    let parent = process::id();
    for round in 0..30 {
        let client = MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(network.mqtt_address())
            .build()
            .unwrap();
        let connecting = thread::spawn({
            let client = client.clone();
            move || client.connect()
        });
        // At another stage each time.
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(round * 200) {}
        let child = fork(|| assert_says_that_it_is_forked(&client, parent));
        connecting.join().unwrap().unwrap();
        child.join();
        assert!(client.is_connected());
        client.close().unwrap();
    }
}

#[test]
fn a_process_may_fork_first_and_connect_in_the_child() {
    let _watchdog = watchdog(LIMIT);
    if !alone(
        module_path!(),
        "a_process_may_fork_first_and_connect_in_the_child",
    ) {
        return;
    }
    Harness::each_simulator(|harness| {
        // Created and not connected.
        let idle = harness.client();
        let network = harness.simulated();
        let (address, parent) = (network.mqtt_address(), process::id());
        let (app_id, key) = (network.app_id().to_owned(), network.access_key().to_owned());
        fork(|| {
            assert_says_that_it_is_forked(&idle, parent);
            let client = MqttClient::builder(app_id, key)
                .mqtt_address(address)
                .build()
                .unwrap();
            client.connect().unwrap();
            client.send("dev-1", [1]).unwrap();
            client.close().unwrap();
        })
        .join();
        assert!(!idle.is_connected());
    });
    // Not before: after it, no child can connect.
    let network = Simulator::start(Network::V3).unwrap();
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .build()
        .unwrap();
    client.connect().unwrap();
    client.close().unwrap();
}

#[test]
fn a_fork_of_a_process_that_is_connecting_says_at_once_that_it_cannot() {
    let _watchdog = watchdog(LIMIT);
    if !alone(
        module_path!(),
        "a_fork_of_a_process_that_is_connecting_says_at_once_that_it_cannot",
    ) {
        return;
    }
    // It accepts connections, and says nothing.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = format!("mqtt://{}", listener.local_addr().expect("bound"));
    let client = MqttClient::builder(APP, KEY)
        .mqtt_address(&address)
        .build()
        .unwrap();
    let connecting = thread::spawn({
        let client = client.clone();
        move || client.connect()
    });
    let _silent = listener.accept().expect("a client");
    let parent = process::id();
    // The child has copies of the locks of whatever the connecting threads do.
    let another = || MqttClient::builder(APP, KEY).mqtt_address(&address).build();
    fork(|| assert_forked(another(), parent)).join();
    client.close().unwrap();
    let error = connecting.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(another().is_ok());
}

/// The variable that tells [`a_program_whose_child_lives_on`] the address of its server.
const ADDRESS: &str = "TTN_TEST_ADDRESS";

/// What the child of that program does with the client after the program was killed.
const FORK: &str = "TTN_TEST_FORK";

#[derive(Clone, Copy, Debug)]
enum Fork {
    Ignores,
    Asks,
    Drops,
}

/// The keep-alive of that program.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

#[test]
fn a_program_whose_child_lives_on() {
    let Ok(address) = env::var(ADDRESS) else {
        return;
    };
    let client = MqttClient::builder(APP, KEY)
        .mqtt_address(address)
        .keep_alive(KEEP_ALIVE)
        .build()
        .unwrap();
    client.connect().unwrap();
    let does = env::var(FORK).unwrap();
    let mut client = Some(client);
    let parent = process::id();
    let _child = fork(|| {
        let orphaned = || std::os::unix::process::parent_id() != parent;
        assert!(wait_until(LIMIT, orphaned));
        match does.as_str() {
            "Asks" => assert!(!client.as_ref().unwrap().is_connected()),
            "Drops" => drop(client.take()),
            _ => {}
        }
        // It lives until the test ends, which holds the other end.
        let _ = std::io::stdin().read(&mut [0]);
        process::exit(0);
    });
    println!("READY");
    let _ = std::io::stdin().read(&mut [0]);
}

/// Starts a program whose child lives on, kills the program, and returns how long its server kept the
/// connection after that.
fn server_notices_after(fork: Fork) -> Duration {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = format!("mqtt://{}", listener.local_addr().expect("bound"));
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = ended.send(serve(&mut stream));
    });
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "--exact",
            &full_name(module_path!(), "a_program_whose_child_lives_on"),
        ])
        .arg("--nocapture")
        .env(ADDRESS, address)
        .env(FORK, format!("{fork:?}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut program = command.spawn().unwrap();
    let output = BufReader::new(program.stdout.take().unwrap());
    let ready = |line: &std::io::Result<String>| line.as_ref().is_ok_and(|it| it.contains("READY"));
    assert!(output.lines().any(|line| ready(&line)));
    program.kill().unwrap();
    let killed = Instant::now();
    let _stdin = program.stdin.take();
    program.wait().unwrap();
    // The error of a server that has waited too long.
    let noticed = end.recv_timeout(2 * SOON).expect("its patience is shorter");
    noticed.map_or_else(|_| killed.elapsed(), |at| at - killed)
}

#[test]
fn a_fork_that_uses_or_drops_the_client_does_not_keep_a_killed_programs_connection_alive() {
    let _watchdog = watchdog(LIMIT);
    let untouched = server_notices_after(Fork::Ignores);
    // The client is silent, and the server waits for it as long as it waits for any.
    assert!(untouched > KEEP_ALIVE, "{untouched:?}");
    for fork in [Fork::Asks, Fork::Drops] {
        let touched = server_notices_after(fork);
        assert!(touched < KEEP_ALIVE, "{fork:?}: {touched:?}");
    }
}
