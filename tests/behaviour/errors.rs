//! Each reason why a client is not connected has its own kind and a sentence that says what to do,
//! and the error comes in time.

#![cfg(unix)]

use std::{
    env,
    error::Error as _,
    ffi::OsStr,
    fs,
    io::{self, ErrorKind as IoErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::support::{
    attempts::{self, SLACK},
    certificates::Certificates,
    child::run_after,
    discovery_server::{Answer, DiscoveryServer},
    harness::{Harness, SOON, Server},
    relay::{Fault, Relay, Way},
    resources::{hoard, loopback, wait_until},
    tls_front::TlsFront,
    watchdog::watchdog,
};
use ttn::{
    Error, ErrorKind, Event, Events, MqttClient, MqttClientBuilder, Network,
    simulator::{Rights, Simulator},
};

const LIMIT: Duration = Duration::from_secs(60);

/// The time limit for an attempt to connect.
const TIMEOUT: Duration = Duration::from_secs(2);

const KEY: &str = "ttn-account-v2.a-key-of-the-tests";

fn network() -> Simulator {
    Simulator::builder(Network::V2)
        .application("greenhouse", KEY)
        .start()
        .expect("the simulated network starts")
}

/// Starts the network on a port that something else used before.
fn network_at(address: SocketAddr) -> Simulator {
    let start = || {
        Simulator::builder(Network::V2)
            .application("greenhouse", KEY)
            .address(address.to_string())
            .start()
    };
    let mut network = start();
    // A child process that another test starts may hold the socket for a moment.
    wait_until(SOON, || {
        if network.is_err() {
            network = start();
        }
        network.is_ok()
    });
    network.expect("the port is free again")
}

fn builder(address: impl ToString) -> MqttClientBuilder {
    MqttClient::builder("greenhouse", KEY)
        .mqtt_address(address.to_string())
        .connect_timeout(TIMEOUT)
}

fn client_of(address: impl ToString) -> MqttClient {
    builder(address).build().expect("the options are valid")
}

/// Returns a client that soon gives up an attempt to connect.
fn impatient(builder: MqttClientBuilder) -> MqttClient {
    let client = builder.connect_timeout(TIMEOUT).build();
    client.expect("the options are valid")
}

/// Returns the error of a failing attempt, which comes in time, from the call and as an event.
#[track_caller]
fn failure_within(timeout: Duration, client: &MqttClient) -> Error {
    let events = client.events();
    let start = Instant::now();
    let error = client.connect().expect_err("connecting should have failed");
    let took = start.elapsed();
    assert!(took < timeout + SLACK, "after {took:?}: {error}");
    assert!(!client.is_connected());
    match events.recv_timeout(SOON) {
        Ok(Event::ConnectFailed(failed)) => {
            assert_eq!(failed.error.to_string(), error.to_string());
            assert_eq!(failed.retry_in, None);
        }
        event => panic!("{event:?}"),
    }
    error
}

#[track_caller]
fn failure(client: &MqttClient) -> Error {
    failure_within(TIMEOUT, client)
}

/// Asserts that the sentence contains these words, and no part of the key.
#[track_caller]
fn says(error: &Error, kind: ErrorKind, transient: bool, words: &[&str]) {
    attempts::says(error, kind, words);
    assert_eq!(error.is_transient(), transient, "{error}");
    assert!(!format!("{error:?}").contains(KEY), "{error}");
}

/// Asserts that the same client connects and receives, now that the cause is gone.
#[track_caller]
fn recovers(client: &MqttClient) {
    client.connect().expect("the cause of the failure is gone");
    assert!(client.is_connected());
    client.close().expect("no callback runs");
}

#[track_caller]
fn next(events: &Events) -> Event {
    events.recv_timeout(SOON).expect("an event comes")
}

/// A server with another protocol.
struct Stranger {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy)]
enum Manners {
    /// Sends its bytes at once, and stays.
    Greets,
    /// Reads, sends its bytes and closes.
    Answers,
    /// Sends its bytes at once, and closes.
    HangsUp,
}

impl Stranger {
    fn start(manners: Manners, words: &'static [u8]) -> Self {
        let listener = TcpListener::bind((loopback(), 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = thread::spawn(move || {
            let mut guests = Vec::new();
            for guest in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let mut guest = guest.expect("a connection");
                if matches!(manners, Manners::Answers) {
                    let _ = guest.read(&mut [0; 1024]);
                }
                let _ = guest.write_all(words);
                if matches!(manners, Manners::Greets) {
                    guests.push(guest);
                }
            }
        });
        Self {
            address,
            stopping,
            thread: Some(thread),
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Unblocks the thread in `accept`.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_wrong_key_is_not_authorized() {
    let _guard = watchdog(LIMIT);
    Harness::each(|harness| {
        let (app, key) = (harness.app_id(), harness.wrong_key());
        let client = MqttClient::builder(app, key)
            .mqtt_address(harness.address().to_string())
            .connect_timeout(TIMEOUT)
            .build()
            .expect("the options are valid");
        let error = failure(&client);
        let address = harness.address().to_string();
        let words = [app, "access key", &address, "check"];
        says(&error, ErrorKind::NotAuthorized, false, &words);
        assert!(!format!("{error:?}").contains(key));
        match &harness.server {
            Server::Simulator(network) => network.add_application(app, key),
            Server::Mosquitto { broker, .. } => broker.change_password(app, key),
        }
        recovers(&client);
    });
}

#[test]
fn a_wrong_application_id_is_not_authorized() {
    let _guard = watchdog(LIMIT);
    Harness::each(|harness| {
        let (app, key) = match harness.network {
            Network::V3 => ("greenhouse@ttn", "NNSXS.A-KEY.OF-THE-TESTS"),
            _ => ("greenhouse", KEY),
        };
        let client = MqttClient::builder(app, key)
            .mqtt_address(harness.address().to_string())
            .connect_timeout(TIMEOUT)
            .build()
            .expect("the options are valid");
        let quoted = format!("{app:?}");
        let words = [&quoted, "application id", "access key"];
        says(&failure(&client), ErrorKind::NotAuthorized, false, &words);
        if let Server::Simulator(network) = &harness.server {
            network.add_application(app, key);
            recovers(&client);
        }
    });
}

#[test]
fn a_refusing_connack_is_told_by_its_code() {
    let _guard = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let network = harness.simulated();
        let client = impatient(harness.builder());
        let cases = [
            (1, ErrorKind::Protocol, "MQTT 3.1.1"),
            (2, ErrorKind::Protocol, "client_id_prefix"),
            (3, ErrorKind::ServerUnavailable, "try again later"),
            (4, ErrorKind::NotAuthorized, "access key"),
            (5, ErrorKind::NotAuthorized, "access key"),
        ];
        for (code, kind, advice) in cases {
            network.quirks(|quirks| quirks.connack = Some(code));
            let number = format!("CONNACK {code}");
            let address = network.mqtt_address();
            let transient = kind != ErrorKind::NotAuthorized;
            says(
                &failure(&client),
                kind,
                transient,
                &[&number, advice, &address],
            );
            network.quirks(|quirks| quirks.connack = None);
            recovers(&client);
        }
    });
}

#[test]
fn a_refusing_v3_server_is_told_what_to_check() {
    let _guard = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let refusal = |app| {
        let client = MqttClient::builder(app, harness.wrong_key())
            .network(Network::V3)
            .mqtt_address(harness.address().to_string())
            .build()
            .expect("the options are valid");
        client.connect().expect_err("the key is wrong").to_string()
    };
    let checks = [
        "form of the application id",
        "API key",
        "any right",
        "cluster",
    ];
    for (app, form) in [
        ("greenhouse-demo@ttn", "greenhouse-demo alone"),
        (
            "greenhouse-demo",
            "greenhouse-demo@ttn on The Things Network",
        ),
    ] {
        let text = refusal(app);
        for words in checks.into_iter().chain([form]) {
            assert!(text.contains(words), "{words:?} is missing in: {text}");
        }
    }
    let network = harness.simulated();
    network.quirks(|quirks| quirks.connack = Some(3));
    let error = harness.client().connect().expect_err("there are too many");
    says(
        &error,
        ErrorKind::ServerUnavailable,
        true,
        &["connections", "try again later"],
    );
}

#[test]
fn a_connack_with_a_code_that_mqtt_does_not_have_is_a_protocol_failure() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let client = client_of(network.address());
    for code in [6, 42, 255] {
        network.quirks(|quirks| quirks.connack = Some(code));
        let address = network.mqtt_address();
        says(&failure(&client), ErrorKind::Protocol, true, &[&address]);
    }
    network.quirks(|quirks| quirks.connack = None);
    recovers(&client);
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn a_host_name_that_nobody_has_is_an_unknown_host() {
    let _guard = watchdog(LIMIT);
    // A label of 64 letters: no name server is queried for it.
    let host = format!("{}.example", "x".repeat(64));
    for address in [host.clone(), format!("mqtt://{host}:1883")] {
        let error = failure(&client_of(address));
        says(&error, ErrorKind::UnknownHost, true, &[&host, "check"]);
        assert!(error.source().is_some());
    }
}

#[test]
fn a_port_where_nothing_listens_refuses_the_connection() {
    let _guard = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = impatient(harness.builder());
        harness.kill();
        let address = harness.address().to_string();
        let error = failure(&client);
        let words = [&address, "nothing listens", "port"];
        says(&error, ErrorKind::ConnectionRefused, true, &words);
        let source = error.source().and_then(|cause| cause.downcast_ref());
        assert_eq!(
            source.map(io::Error::kind),
            Some(IoErrorKind::ConnectionRefused)
        );
        harness.restart();
        recovers(&client);
    });
}

#[cfg(target_os = "linux")]
#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn a_server_without_a_way_to_it_is_unreachable() {
    let _guard = watchdog(LIMIT);
    // The kernel rejects a connection to the broadcast address, and sends nothing.
    for address in ["255.255.255.255:1883", "mqtts://255.255.255.255"] {
        let error = failure(&client_of(address));
        let words = ["255.255.255.255", "no route to the server", "network"];
        says(&error, ErrorKind::Unreachable, true, &words);
    }
}

#[test]
fn a_server_that_takes_no_more_connections_times_out() {
    let _guard = watchdog(LIMIT);
    let listener = TcpListener::bind((loopback(), 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut waiting = Vec::new();
    // Nobody accepts, so the queue fills up, and then the kernel stops answering.
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        waiting.push(stream);
        assert!(waiting.len() < 900, "the queue of a listener has no end");
    }
    let client = client_of(address);
    let words = [&address.to_string(), "no answer", "firewall"];
    says(&failure(&client), ErrorKind::TimedOut, true, &words);
    drop((waiting, listener));
    let _network = network_at(address);
    recovers(&client);
}

#[test]
fn a_server_that_never_answers_times_out() {
    let _guard = watchdog(LIMIT);
    let network = network();
    network.quirks(|quirks| quirks.ignore_connect = true);
    for timeout in [1, 2, 3].map(Duration::from_secs) {
        let client = builder(network.address())
            .connect_timeout(timeout)
            .build()
            .expect("the options are valid");
        let error = failure_within(timeout, &client);
        let words = [&network.mqtt_address(), "accepted", "did not answer"];
        says(&error, ErrorKind::TimedOut, true, &words);
        network.quirks(|quirks| quirks.ignore_connect = false);
        recovers(&client);
        network.quirks(|quirks| quirks.ignore_connect = true);
    }
}

#[test]
fn an_answer_that_stops_half_way_times_out() {
    let _guard = watchdog(LIMIT);
    Harness::each(|harness| {
        let (relay, builder) = harness.relay();
        let client = impatient(builder);
        for fault in [Fault::Stall, Fault::StallAfter(3)] {
            relay.set(Way::ToClients, fault);
            let words = [&relay.address().to_string(), "did not answer"];
            says(&failure(&client), ErrorKind::TimedOut, true, &words);
            relay.pass();
            recovers(&client);
        }
    });
}

#[test]
fn a_server_that_was_stopped_times_out() {
    let _guard = watchdog(LIMIT);
    let Some(harness) = Harness::mosquitto(Network::V3) else {
        return;
    };
    let Server::Mosquitto { broker, .. } = &harness.server else {
        unreachable!("asked for Mosquitto");
    };
    let client = impatient(harness.builder());
    broker.stop();
    let words = [&broker.address().to_string(), "did not answer"];
    let error = failure(&client);
    broker.resume();
    says(&error, ErrorKind::TimedOut, true, &words);
    recovers(&client);
}

#[test]
fn a_server_that_hangs_up_instead_of_answering_is_a_protocol_failure() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let client = client_of(network.address());
    let words = [
        &network.mqtt_address(),
        "closed the connection",
        "check that this is the port",
    ];
    network.quirks(|quirks| quirks.close_on_accept = true);
    says(&failure(&client), ErrorKind::Protocol, true, &words);
    network.quirks(|quirks| {
        quirks.close_on_accept = false;
        quirks.close_on_connect = true;
    });
    says(&failure(&client), ErrorKind::Protocol, true, &words);
    network.quirks(|quirks| quirks.close_on_connect = false);
    recovers(&client);
}

#[test]
fn a_web_server_is_not_taken_for_an_mqtt_server() {
    let _guard = watchdog(LIMIT);
    let server = DiscoveryServer::start(|_| Answer::Text(200, "hello".to_owned()));
    let server = server.expect("a free port");
    let words = [&server.address().to_string(), "is it an MQTT server"];
    // It waits for the end of the request.
    let error = failure(&client_of(server.address()));
    says(&error, ErrorKind::TimedOut, true, &words);
}

#[test]
fn a_server_that_speaks_another_language_is_no_mqtt_server() {
    let _guard = watchdog(LIMIT);
    let (http, ssh): (&[u8], &[u8]) = (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
    );
    let cases = [
        (Manners::Answers, http),
        (Manners::HangsUp, http),
        (Manners::HangsUp, ssh),
        (Manners::Greets, ssh),
        (Manners::Greets, &[0; 64]),
        (Manners::Greets, &[0xff; 64]),
        // SUBACK and PINGRESP before any CONNACK.
        (Manners::Greets, &[0x90, 3, 0, 1, 0]),
        (Manners::Greets, &[0xd0, 0]),
    ];
    for (manners, words) in cases {
        let stranger = Stranger::start(manners, words);
        let address = stranger.address;
        let client = client_of(address);
        let error = failure(&client);
        let words = [&address.to_string(), "did not answer as an MQTT server"];
        says(&error, ErrorKind::Protocol, true, &words);
        drop(stranger);
        let _network = network_at(address);
        recovers(&client);
    }
}

#[test]
fn a_refused_subscription_is_told_with_its_topic() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let client = client_of(network.address());
    network.quirks(|quirks| quirks.refuse_subscriptions = true);
    let words = [
        &network.mqtt_address(),
        "greenhouse/devices/+/up",
        "access key",
    ];
    let error = failure(&client);
    says(&error, ErrorKind::SubscriptionRefused, false, &words);
    assert!(network.wait_for_clients(0, SOON));
    network.quirks(|quirks| quirks.refuse_subscriptions = false);
    recovers(&client);
}

#[test]
fn a_key_without_rights_is_not_authorized() {
    let _guard = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let (network, app, key) = (harness.simulated(), harness.app_id(), harness.wrong_key());
        let rights = |read| Rights { read, write: false };
        // v3 accepts a key with other rights, and no key is without any.
        network.add_key(app, key, rights(false));
        if harness.network == Network::V3 {
            network.remove_key(app, key);
        }
        let client = MqttClient::builder(app, key)
            .mqtt_address(network.mqtt_address())
            .connect_timeout(TIMEOUT)
            .build()
            .expect("the options are valid");
        let words = [app, "access key"];
        says(&failure(&client), ErrorKind::NotAuthorized, false, &words);
        network.add_key(app, key, rights(true));
        recovers(&client);
    });
}

#[test]
fn a_subscription_that_is_never_answered_times_out() {
    let _guard = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let network = harness.simulated();
        let client = impatient(harness.builder());
        network.quirks(|quirks| quirks.ignore_subscriptions = true);
        let words = [&network.mqtt_address(), "subscription"];
        says(&failure(&client), ErrorKind::TimedOut, true, &words);
        assert!(network.wait_for_clients(0, SOON));
        network.quirks(|quirks| quirks.ignore_subscriptions = false);
        recovers(&client);
    });
}

#[test]
fn a_connection_cut_after_its_connack_is_lost() {
    let _guard = watchdog(LIMIT);
    Harness::each(|harness| {
        let (relay, builder) = harness.relay();
        let client = impatient(builder);
        // A CONNACK has four bytes.
        relay.set(Way::ToClients, Fault::CutAfter(4));
        let words = [&relay.address().to_string(), "closed it again"];
        says(&failure(&client), ErrorKind::ConnectionLost, true, &words);
        relay.pass();
        recovers(&client);
    });
}

#[test]
fn an_unexpected_end_is_a_lost_connection_that_comes_back() {
    let _guard = watchdog(LIMIT);
    Harness::each(|harness| {
        let (_client, events) = harness.listening(|builder| {
            builder.reconnect_delay(Duration::from_millis(50), Duration::from_millis(100))
        });
        assert!(matches!(next(&events), Event::Connected(_)));
        harness.kill();
        let Event::Disconnected(lost) = next(&events) else {
            panic!("the connection was lost");
        };
        let words = [&harness.address().to_string(), "unexpectedly"];
        says(&lost.error, ErrorKind::ConnectionLost, true, &words);
        assert!(lost.retry_in.is_some());
        harness.restart();
        loop {
            match next(&events) {
                Event::Connected(_) => break,
                Event::ConnectFailed(failed) => {
                    assert!(failed.error.is_transient(), "{:?}", failed.error);
                    assert!(failed.retry_in.is_some());
                }
                event => panic!("{event:?}"),
            }
        }
    });
}

#[test]
fn without_reconnect_an_unexpected_end_closes_the_client_and_says_why() {
    let _guard = watchdog(LIMIT);
    Harness::each(|harness| {
        let (client, events) = harness.listening(|builder| builder.reconnect(false));
        assert!(matches!(next(&events), Event::Connected(_)));
        harness.kill();
        let Event::Disconnected(lost) = next(&events) else {
            panic!("the connection was lost");
        };
        assert_eq!(lost.retry_in, None);
        let Event::Closed(closed) = next(&events) else {
            panic!("the client gave up");
        };
        let error = closed.error.expect("nobody asked for it");
        let words = [&harness.address().to_string(), "unexpectedly"];
        says(&lost.error, ErrorKind::ConnectionLost, true, &words);
        says(&error, ErrorKind::ConnectionLost, true, &words);
        assert!(client.wait_timeout(SOON));
        assert!(!client.is_connected());
        let refused = client.send("pump-1", "01").expect_err("it is closed");
        says(&refused, ErrorKind::NotConnected, true, &["connect()"]);
        harness.restart();
        recovers(&client);
    });
}

#[test]
fn a_client_can_fail_again_and_again_and_then_connect() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let relay = Relay::start(network.address()).expect("a free port");
    let client = client_of(relay.address());
    for round in 0..20 {
        let kind = match round % 4 {
            0 => {
                relay.refuse();
                ErrorKind::ConnectionRefused
            }
            1 => {
                relay.reject(true);
                ErrorKind::Protocol
            }
            2 => {
                network.quirks(|quirks| quirks.connack = Some(3));
                ErrorKind::ServerUnavailable
            }
            _ => {
                network.quirks(|quirks| quirks.refuse_subscriptions = true);
                ErrorKind::SubscriptionRefused
            }
        };
        assert_eq!(failure(&client).kind(), kind);
        assert!(wait_until(SOON, || relay.listen().is_ok()));
        relay.reject(false);
        network.quirks(|quirks| *quirks = Default::default());
    }
    recovers(&client);
}

#[test]
fn a_wrong_option_is_quoted_and_the_key_is_not() {
    let _guard = watchdog(LIMIT);
    let build = |app_id: &str, key: &str, address: Option<&str>, discovery: Option<&str>| {
        let mut builder = MqttClient::builder(app_id, key);
        if let Some(address) = address {
            builder = builder.mqtt_address(address);
        }
        if let Some(discovery) = discovery {
            builder = builder.discovery_address(discovery);
        }
        builder.build().expect_err("the option is wrong")
    };
    let config = |error: Error, words: &[&str]| says(&error, ErrorKind::Config, false, words);

    let long = "a".repeat(37);
    for app_id in [
        "", "a", "My-App", "my app", "my--app", "-app", "app/+", &long,
    ] {
        config(build(app_id, KEY, None, None), &[&format!("{app_id:?}")]);
    }
    config(
        build("greenhouse", "", None, None),
        &["greenhouse", "empty"],
    );
    for key in [&format!("{KEY}\n"), &format!(" {KEY}"), &format!("{KEY}\0")] {
        config(build("greenhouse", key, None, None), &["greenhouse", "key"]);
    }
    for address in [
        "",
        "http://host",
        "host:",
        "host:0",
        "host:65536",
        "host:port",
        "::1",
        "a b",
        "host/path",
        "mqtt://",
        "[::1",
    ] {
        let words = [&format!("{address:?}"), "mqtts://host:port"];
        config(build("greenhouse", KEY, Some(address), None), &words);
    }
    for address in [
        "",
        "ftp://host",
        "http://",
        "a b",
        "http://:80",
        "host:1900",
    ] {
        let words = [&format!("{address:?}"), "http"];
        config(build("greenhouse", KEY, None, Some(address)), &words);
    }
}

#[test]
fn an_option_out_of_range_is_named_with_its_value() {
    let _guard = watchdog(LIMIT);
    let builder = || MqttClient::builder("greenhouse", KEY);
    let (zero, day) = (Duration::ZERO, Duration::from_secs(86_400));
    let cases = [
        (builder().keep_alive(zero), "keep_alive", "0ns"),
        (builder().keep_alive(day), "keep_alive", "86400s"),
        (builder().connect_timeout(zero), "connect_timeout", "0ns"),
        (
            builder().connect_timeout(day * 2),
            "connect_timeout",
            "172800s",
        ),
        (builder().close_timeout(zero), "close_timeout", "0ns"),
        (
            builder().reconnect_delay(zero, day),
            "reconnect_delay",
            "0ns",
        ),
        (
            builder().reconnect_delay(day, day / 2),
            "reconnect_delay",
            "43200s",
        ),
        (builder().event_capacity(0), "event_capacity", "0"),
        (builder().receive_capacity(0, 1), "receive_capacity", "0"),
        (builder().receive_capacity(1, 0), "receive_capacity", "0"),
        (builder().send_capacity(0), "send_capacity", "0"),
        (builder().send_capacity(40_000), "send_capacity", "40000"),
        (builder().client_id_prefix("a\0"), "client_id_prefix", "\\0"),
    ];
    for (builder, option, value) in cases {
        let error = builder.build().expect_err("the option is out of range");
        says(&error, ErrorKind::Config, false, &[option, value]);
    }
}

const SERVER: &str = "TTN_TEST_SERVER";
const AUTHORITY: &str = "TTN_TEST_AUTHORITY";

/// Runs one of these tests in a process of its own, limited to 40 descriptors.
fn run_with_few_descriptors(test: &str, variables: &[(&str, &OsStr)]) {
    run_after("ulimit -n 40", module_path!(), test, variables);
}

/// Connects with no descriptor left, then with one, and so on.
fn connect_with_few_descriptors(client: &MqttClient) {
    let mut hoard = hoard();
    let error = failure(client);
    let words = ["oo many", "files"];
    says(&error, ErrorKind::ResourcesExhausted, true, &words);
    for _ in 0..12 {
        hoard.pop();
        match client.connect() {
            Ok(()) => client.close().expect("no callback runs"),
            Err(error) => says(&error, ErrorKind::ResourcesExhausted, true, &words),
        }
    }
    drop(hoard);
    recovers(client);
}

#[test]
fn want_of_descriptors_is_told_and_passes() {
    let _guard = watchdog(LIMIT);
    if let Ok(server) = env::var(SERVER) {
        // The first attempt of a process starts more than later ones.
        connect_with_few_descriptors(&client_of(&server));
        connect_with_few_descriptors(&client_of(server.replace("127.0.0.1", "localhost")));
        return;
    }
    let network = network();
    run_with_few_descriptors(
        "want_of_descriptors_is_told_and_passes",
        &[(SERVER, network.mqtt_address().as_ref())],
    );
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn want_of_descriptors_is_told_over_tls() {
    let _guard = watchdog(LIMIT);
    if let (Ok(server), Ok(authority)) = (env::var(SERVER), env::var(AUTHORITY)) {
        let pem = fs::read(&authority).expect("the file is there");
        for builder in [
            builder(&server).ca_file(authority),
            builder(&server).ca_pem(pem),
        ] {
            let client = builder.build().expect("the options are valid");
            connect_with_few_descriptors(&client);
        }
        return;
    }
    let network = network();
    let certificates = Certificates::new();
    let front = TlsFront::start(&certificates.server, network.address()).expect("a free port");
    run_with_few_descriptors(
        "want_of_descriptors_is_told_over_tls",
        &[
            (
                SERVER,
                format!("mqtts://localhost:{}", front.port()).as_ref(),
            ),
            (
                AUTHORITY,
                certificates.authority.certificate_file().as_ref(),
            ),
        ],
    );
}

#[test]
fn want_of_descriptors_is_told_by_discovery() {
    let _guard = watchdog(LIMIT);
    if let Ok(server) = env::var(SERVER) {
        let client = MqttClient::builder("greenhouse", KEY)
            .discovery_address(server)
            .connect_timeout(TIMEOUT)
            .build()
            .expect("the options are valid");
        connect_with_few_descriptors(&client);
        return;
    }
    let network = network();
    let list = format!(
        r#"{{"services":[{{"id":"h","mqtt_address":"{}","metadata":[{{"app_id":"greenhouse"}}]}}]}}"#,
        network.mqtt_address()
    );
    let server = DiscoveryServer::start(move |_| Answer::Json(200, list.clone()));
    let server = server.expect("a free port");
    run_with_few_descriptors(
        "want_of_descriptors_is_told_by_discovery",
        &[(SERVER, server.url().as_ref())],
    );
}

#[test]
fn a_key_that_is_refused_after_a_connection_worked_is_tried_again_slowly() {
    let _guard = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let longest = Duration::from_secs(7);
        let (client, events) =
            harness.listening(|builder| builder.reconnect_delay(Duration::from_millis(1), longest));
        let network = harness.simulated();
        network.quirks(|quirks| quirks.connack = Some(5));
        network.disconnect_clients();
        let failed = loop {
            if let Event::ConnectFailed(failed) = next(&events) {
                break failed;
            }
        };
        assert_eq!(failed.error.kind(), ErrorKind::NotAuthorized);
        assert_eq!(failed.retry_in, Some(longest));
        network.quirks(|quirks| quirks.connack = None);
        recovers(&client);
    });
}
