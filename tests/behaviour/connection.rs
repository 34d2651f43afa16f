//! Connecting and closing: when the calls return, what they leave behind, and that they work from
//! everywhere.
#![cfg(unix)]

use std::{
    io::Write,
    net::{TcpListener, ToSocketAddrs},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    child::alone,
    discovery_server::{Answer, DiscoveryServer},
    harness::{Harness, NOWHERE, SOON},
    relay::{Fault, Way},
    relayed_client::RelayedClient,
    resources::wait_until,
    watchdog::watchdog,
};
use crossbeam_channel::{Receiver, bounded, unbounded};
use ttn::{ErrorKind, Event, Events, MqttClient, Network, simulator::Simulator};

const LIMIT: Duration = Duration::from_secs(60);

/// Returns what the connect and close callbacks receive, such as `connect true`.
fn news(client: &MqttClient) -> Receiver<String> {
    let (sender, receiver) = unbounded();
    let connects = sender.clone();
    client.set_connect_callback(move |ok, _| connects.send(format!("connect {ok}")));
    client.set_close_callback(move |ok, _| sender.send(format!("close {ok}")));
    receiver
}

fn next(news: &Receiver<String>) -> String {
    news.recv_timeout(SOON).expect("a callback is called")
}

fn uplink_counter(events: &Events) -> u32 {
    loop {
        match events.recv_timeout(SOON).expect("an uplink arrives") {
            Event::Uplink(uplink) => return uplink.counter,
            _ => continue,
        }
    }
}

#[test]
fn connect_returns_when_uplinks_arrive() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        for counter in 0..20 {
            let (client, events) = harness.listening(|builder| builder);
            assert!(client.is_connected());
            harness.uplink("dev-1", counter);
            assert_eq!(uplink_counter(&events), counter);
            client.close().unwrap();
            assert!(!client.is_connected());
        }
    });
}

#[test]
fn connect_returns_when_every_subscription_is_active() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        for _ in 0..20 {
            let v2 = harness.network == Network::V2;
            let (_client, events) = harness.listening(|builder| builder.field_topics(v2));
            // The last filter is for fields at this depth.
            let kind = if v2 { "up/a/b/c/d/e/f/g/h" } else { "up" };
            harness.publish(
                &harness.topic("dev-1", kind),
                &harness.uplink_body("dev-1", 1),
            );
            let arrived = |event| matches!(event, Event::UplinkField(_) | Event::Uplink(_));
            assert!((0..2).any(|_| events.recv_timeout(SOON).is_ok_and(arrived)));
        }
    });
}

#[test]
fn connecting_twice_is_harmless() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.client();
        let news = news(&client);
        let events = client.events();
        client.connect().unwrap();
        client.connect().unwrap();
        harness.uplink("dev-1", 1);
        harness.uplink("dev-1", 2);
        assert_eq!([uplink_counter(&events), uplink_counter(&events)], [1, 2]);
        client.close().unwrap();
        assert_eq!(
            news.try_iter().collect::<Vec<_>>(),
            ["connect true", "close true"]
        );
    });
}

#[test]
fn a_client_connects_again_after_close_and_keeps_its_callbacks() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.client();
        let news = news(&client);
        let (sender, uplinks) = unbounded();
        client.set_uplink_callback(move |uplink, _| sender.send(uplink.counter));
        for counter in 0..5 {
            client.connect().unwrap();
            assert_eq!(next(&news), "connect true");
            harness.uplink("dev-1", counter);
            assert_eq!(uplinks.recv_timeout(SOON), Ok(counter));
            client.close().unwrap();
            assert_eq!(next(&news), "close true");
        }
    });
}

#[test]
fn close_has_called_the_close_callbacks_when_it_returns() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.client();
        let news = news(&client);
        client.connect().unwrap();
        client.close().unwrap();
        assert_eq!(news.try_iter().last().as_deref(), Some("close true"));
    });
}

#[test]
fn closing_again_or_before_connecting_does_nothing() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.client();
        let news = news(&client);
        client.close().unwrap();
        client.connect().unwrap();
        for _ in 0..3 {
            client.close().unwrap();
        }
        assert_eq!(
            news.try_iter().collect::<Vec<_>>(),
            ["connect true", "close true"]
        );
    });
}

#[test]
fn dropping_the_last_handle_closes() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let network = harness.simulated();
        let client = harness.client();
        let news = news(&client);
        let events = client.events();
        client.connect().unwrap();
        let clone = client.clone();
        drop(client);
        assert!(clone.is_connected());
        let start = Instant::now();
        drop(clone);
        assert!(
            start.elapsed() < Duration::from_millis(500),
            "dropping waited"
        );
        assert!(network.wait_for_clients(0, SOON));
        assert_eq!([next(&news), next(&news)], ["connect true", "close true"]);
        let last = events.iter().last();
        assert!(matches!(last, Some(Event::Closed(_))), "{last:?}");
    });
}

#[test]
fn wait_returns_when_a_callback_closes_the_client() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.client();
        let news = news(&client);
        client.set_uplink_callback(|_, client| client.close());
        client.connect().unwrap();
        harness.uplink("dev-1", 1);
        client.wait();
        assert!(!client.is_connected());
        assert_eq!(news.try_iter().last().as_deref(), Some("close true"));
    });
}

#[test]
fn wait_returns_at_once_when_nothing_is_open_and_keeps_its_limit_otherwise() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.client();
        client.wait();
        client.connect().unwrap();
        assert!(!client.wait_timeout(Duration::from_millis(50)));
        client.close().unwrap();
        assert!(client.wait_timeout(SOON));
    });
}

#[test]
fn a_client_that_was_just_closed_is_not_waited_for() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.client();
        for round in 0..200 {
            if round == 100 {
                client.set_close_callback(|_, _| ());
            }
            client.connect().unwrap();
            client.close().unwrap();
            assert!(client.wait_timeout(Duration::ZERO), "round {round}");
        }
    });
}

#[test]
fn wait_goes_on_when_a_callback_connects_the_closed_client_again() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.client();
        let news = news(&client);
        client.set_uplink_callback(|_, client| client.close().and_then(|()| client.connect()));
        client.connect().unwrap();
        assert_eq!(next(&news), "connect true");
        let (begins, begun) = unbounded();
        let (returns, returned) = unbounded();
        let waiting = thread::spawn({
            let client = client.clone();
            move || {
                begins.send(()).unwrap();
                client.wait();
                returns.send(()).unwrap();
            }
        });
        begun.recv_timeout(SOON).unwrap();
        assert!(returned.recv_timeout(Duration::from_millis(50)).is_err());
        harness.uplink("dev-1", 1);
        assert_eq!([next(&news), next(&news)], ["close true", "connect true"]);

        // Like a close callback, which has been called when close returns.
        let mut once = Some(());
        client.set_close_callback(move |_, client| match once.take() {
            Some(()) => client.connect(),
            None => Ok(()),
        });
        client.close().unwrap();
        assert!(client.is_connected());
        assert!(returned.recv_timeout(Duration::from_millis(200)).is_err());

        client.close().unwrap();
        returned.recv_timeout(SOON).unwrap();
        waiting.join().unwrap();
    });
}

#[test]
fn close_from_another_thread_ends_a_connect_that_waits() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let network = harness.simulated();
        network.quirks(|quirks| quirks.ignore_connect = true);
        let client = harness.client();
        let connecting = thread::spawn({
            let client = client.clone();
            move || client.connect()
        });
        assert!(wait_until(SOON, || !client.wait_timeout(Duration::ZERO)));
        let start = Instant::now();
        client.close().unwrap();
        let error = connecting.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "close waited for the server"
        );
        network.quirks(|quirks| quirks.ignore_connect = false);
        client.connect().unwrap();
    });
}

#[test]
fn a_refused_connect_tells_the_callbacks_false_and_the_caller_why() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let network = harness.simulated();
        let client = harness.client();
        let news = news(&client);
        network.quirks(|quirks| quirks.connack = Some(5));
        assert_eq!(
            client.connect().unwrap_err().kind(),
            ErrorKind::NotAuthorized
        );
        assert_eq!(next(&news), "connect false");
        network.quirks(|quirks| quirks.connack = None);
        client.connect().unwrap();
        assert_eq!(next(&news), "connect true");
    });
}

#[test]
fn a_lost_connection_comes_back_subscribed() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let delay = Duration::from_millis(20);
        let client = harness
            .builder()
            .reconnect_delay(delay, 5 * delay)
            .build()
            .unwrap();
        let news = news(&client);
        let events = client.events();
        client.connect().unwrap();
        assert_eq!(next(&news), "connect true");
        harness.kill();
        assert_eq!(next(&news), "close false");
        assert_eq!(next(&news), "connect false");
        harness.restart();
        while next(&news) != "connect true" {}
        harness.uplink("dev-1", 77);
        assert_eq!(uplink_counter(&events), 77);
    });
}

#[test]
fn without_reconnect_a_lost_connection_closes_the_client_and_says_why() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.builder().reconnect(false).build().unwrap();
        let news = news(&client);
        let events = client.events();
        client.connect().unwrap();
        harness.kill();
        client.wait();
        assert_eq!(
            news.try_iter().collect::<Vec<_>>(),
            ["connect true", "close false"]
        );
        let closed = events.receiver().try_iter().find_map(|event| match event {
            Event::Closed(closed) => Some(closed),
            _ => None,
        });
        let error = closed.unwrap().error.unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionLost);
        harness.restart();
        client.connect().unwrap();
    });
}

#[test]
fn close_is_heard_while_the_client_waits_to_connect_again() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let hour = Duration::from_secs(3600);
        let client = harness
            .builder()
            .reconnect_delay(hour, hour)
            .build()
            .unwrap();
        let news = news(&client);
        client.connect().unwrap();
        harness.kill();
        assert_eq!([next(&news), next(&news)], ["connect true", "close false"]);
        let start = Instant::now();
        client.close().unwrap();
        assert!(start.elapsed() < Duration::from_secs(1));
        assert_eq!(next(&news), "close true");
    });
}

#[test]
fn connect_does_not_wait_for_the_delay_between_attempts() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let hour = Duration::from_secs(3600);
        let (client, events) = harness.listening(|builder| builder.reconnect_delay(hour, hour));
        harness.kill();
        while !matches!(events.recv_timeout(SOON).unwrap(), Event::Disconnected(_)) {}
        assert_eq!(
            client.connect().unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        harness.restart();
        client.connect().unwrap();
    });
}

#[test]
fn what_was_accepted_is_written_before_close_returns() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.connected();
        for _ in 0..900 {
            client.send("dev-1", "AQ==").unwrap();
        }
        client.close().unwrap();
        assert_eq!(harness.downlinks(900).len(), 900);
    });
}

#[test]
fn close_ends_in_time_when_the_server_reads_nothing() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let timeout = Duration::from_secs(2);
        let RelayedClient {
            relay,
            client,
            events,
        } = RelayedClient::connect(harness, |builder| builder.close_timeout(timeout));
        relay.set(Way::ToServer, Fault::Stall);
        // More than the kernel's buffers hold.
        let fields = serde_json::json!({"text": "x".repeat(60_000)});
        let sent = (0..500)
            .map_while(|_| client.send("dev-1", fields.clone()).ok())
            .count();
        assert!(sent > 100, "{sent}");
        let start = Instant::now();
        let error = client.close().unwrap_err();
        assert!(
            start.elapsed() < timeout + Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(error.kind(), ErrorKind::Unconfirmed);
        let stats = client.stats();
        assert_eq!(stats.uncertain + stats.not_sent, sent as u64, "{error}");
        let told = events
            .receiver()
            .try_iter()
            .filter(|event| matches!(event, Event::Published(_) | Event::PublishFailed(_)));
        assert_eq!(told.count(), sent, "each downlink has one outcome");
    });
}

#[test]
fn a_stuck_callback_makes_close_return_with_an_error_and_not_hang() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness
            .builder()
            .close_timeout(Duration::from_millis(300))
            .build()
            .unwrap();
        let (stuck, is_stuck) = unbounded();
        let (free, freed) = unbounded::<()>();
        client.set_uplink_callback(move |_, _| {
            stuck.send(()).unwrap();
            let _ = freed.recv();
        });
        client.connect().unwrap();
        harness.uplink("dev-1", 1);
        is_stuck.recv_timeout(SOON).unwrap();
        let error = client.close().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(!client.is_connected());
        drop(free);
        client.wait();
    });
}

#[test]
fn many_threads_may_connect_and_close_one_client() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_at_localhost(|harness| {
        // A name, so that lookups overlap as well.
        let address = format!("localhost:{}", harness.address().port());
        let client = harness.builder().mqtt_address(address).build().unwrap();
        thread::scope(|scope| {
            for number in 0..8 {
                let client = &client;
                scope.spawn(move || {
                    for _ in 0..20 {
                        if number % 2 == 0 {
                            let result = client.connect();
                            let kind = result.as_ref().err().map(ttn::Error::kind);
                            assert!(matches!(kind, None | Some(ErrorKind::Closed)), "{result:?}");
                        } else {
                            client.close().unwrap();
                        }
                    }
                });
            }
        });
        client.close().unwrap();
        client.connect().unwrap();
        let events = client.events();
        harness.uplink("dev-1", 5);
        assert_eq!(uplink_counter(&events), 5);
    });
}

#[test]
fn lookups_that_hang_neither_pile_up_nor_keep_the_client_from_connecting_later() {
    const NAME: &str =
        "lookups_that_hang_neither_pile_up_nor_keep_the_client_from_connecting_later";
    let _watchdog = watchdog(LIMIT);
    if !alone(module_path!(), NAME) {
        return;
    }
    let harness = Harness::simulator(Network::V2);
    let (answer, held) = unbounded::<()>();
    let list = serde_json::json!({"services": [{
        "mqtt_address": harness.address().to_string(),
        "metadata": [{"app_id": "greenhouse-demo"}],
    }]});
    let server = DiscoveryServer::start(move |_| {
        let _ = held.recv();
        Answer::Json(200, list.to_string())
    })
    .unwrap();
    let client = MqttClient::builder("greenhouse-demo", "ttn-account-v2.test-key")
        .discovery_address(server.url())
        .build()
        .unwrap();
    let connecting = || {
        let waiter = client.clone();
        let thread = thread::spawn(move || waiter.connect());
        assert!(wait_until(SOON, || !client.wait_timeout(Duration::ZERO)));
        thread
    };
    for _ in 0..10 {
        let connect = connecting();
        client.close().unwrap();
        assert_eq!(
            connect.join().unwrap().unwrap_err().kind(),
            ErrorKind::Closed
        );
    }
    let connect = connecting();
    #[cfg(target_os = "linux")]
    {
        let names = crate::support::resources::thread_names();
        let lookups = names.iter().filter(|name| *name == "ttn-prepare").count();
        assert!((1..=4).contains(&lookups), "{names:?}");
    }
    drop(answer);
    connect.join().unwrap().unwrap();
    assert!(client.is_connected());
}

#[test]
fn an_address_that_an_earlier_lookup_finds_late_is_not_taken_for_that_of_the_present_one() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V2);
    let list = |address: &str| {
        let metadata = [serde_json::json!({"app_id": "greenhouse-demo"})];
        serde_json::json!({"services": [{"mqtt_address": address, "metadata": metadata}]})
    };
    let (answer_early, early) = bounded::<()>(0);
    let (answer_present, present) = bounded::<()>(0);
    let answers = [
        (early, list(NOWHERE)),
        (present, list(&harness.address().to_string())),
    ];
    let asked = AtomicUsize::new(0);
    let (arrives, arrived) = unbounded();
    let server = DiscoveryServer::start(move |_| {
        let (held, list) = &answers[asked.fetch_add(1, Ordering::Relaxed)];
        arrives.send(()).unwrap();
        let _ = held.recv();
        Answer::Json(200, list.to_string())
    })
    .unwrap();
    let client = MqttClient::builder("greenhouse-demo", "ttn-account-v2.test-key")
        .discovery_address(server.url())
        .build()
        .unwrap();
    let look_up = || {
        let (sender, result) = bounded(1);
        let client = client.clone();
        thread::spawn(move || sender.send(client.connect()));
        arrived.recv_timeout(SOON).unwrap();
        result
    };
    let early = look_up();
    client.close().unwrap();
    let closed = early.recv_timeout(SOON).unwrap().unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Closed);
    let present = look_up();
    drop(answer_early);
    let result = present.recv_timeout(Duration::from_millis(300));
    assert!(result.is_err(), "{result:?}");
    drop(answer_present);
    present.recv_timeout(SOON).unwrap().unwrap();
    assert!(client.is_connected());
}

#[test]
fn a_server_with_several_addresses_is_reached_by_the_one_that_answers() {
    let _watchdog = watchdog(LIMIT);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let has_both = ("localhost", port)
        .to_socket_addrs()
        .is_ok_and(|mut addresses| addresses.any(|address| address.is_ipv6()));
    let network = Simulator::builder(Network::V2)
        .address(format!("[::1]:{port}"))
        .start();
    let (true, Ok(network)) = (has_both, network) else {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED a_server_with_several_addresses_is_reached_by_the_one_that_answers: localhost has no IPv6 address here"
        );
        return;
    };
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(format!("mqtt://localhost:{port}"))
        .connect_timeout(Duration::from_secs(4))
        .build()
        .unwrap();
    client.connect().unwrap();
    client.close().unwrap();
    drop(silent);
    client.connect().unwrap();
}

#[test]
fn attempts_that_fail_beside_it_cost_a_client_no_connection() {
    let _watchdog = watchdog(LIMIT);
    let healthy = Harness::simulator(Network::V3);
    let failing = Harness::simulator(Network::V2);
    failing
        .simulated()
        .quirks(|quirks| quirks.close_on_connect = true);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            let client = failing.client();
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let error = client.connect().unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
                }
            });
        }
        let results: Vec<_> = (0..300).map(|_| healthy.client().connect()).collect();
        over.store(true, Ordering::Relaxed);
        let failures: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        assert!(
            failures.is_empty(),
            "{} of 300: {:?}",
            failures.len(),
            failures[0]
        );
    });
}

#[test]
fn two_clients_of_one_application_both_receive() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let clients = [harness.client(), harness.client()];
        let events = clients.each_ref().map(MqttClient::events);
        for client in &clients {
            client.connect().unwrap();
        }
        harness.uplink("dev-1", 3);
        for events in &events {
            assert_eq!(uplink_counter(events), 3);
        }
    });
}

#[test]
fn the_server_sees_the_client_as_documented() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let network = harness.simulated();
        let _client = harness.connected_with(|builder| builder.client_id_prefix("greenhouse-"));
        let clients = network.clients();
        let [seen] = &clients[..] else {
            panic!("{clients:?}")
        };
        assert!(
            seen.client_id.starts_with("greenhouse-") && seen.client_id.len() == 27,
            "{seen:?}"
        );
        assert_eq!(seen.username, harness.app_id());
        assert_eq!(seen.keep_alive, Duration::from_secs(30));
        assert!(seen.clean_session && !seen.will, "{seen:?}");
        assert_eq!(seen.level, 4);
        let filters: &[&str] = match harness.network {
            Network::V3 => &["v3/greenhouse-demo@ttn/devices/+/#"],
            _ => &[
                "greenhouse-demo/devices/+/up",
                "greenhouse-demo/devices/+/events/#",
            ],
        };
        assert_eq!(seen.subscriptions, filters);
    });
}
