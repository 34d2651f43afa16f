//! The first connection and reconnecting: how long the client tries, what it reports meanwhile, and
//! what the user may change.
#![cfg(unix)]

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    harness::{Harness, NOWHERE, SOON},
    watchdog::watchdog,
};
use ttn::{
    ConnectFailed, ConnectRetry, Connected, DisconnectCause, Disconnected, ErrorKind, Event,
    Events, MqttClient, MqttClientBuilder, Network, Overflow,
    crossbeam_channel::{RecvTimeoutError, bounded, unbounded},
};

const LIMIT: Duration = Duration::from_secs(90);

/// Sets short delays.
fn quick(builder: MqttClientBuilder) -> MqttClientBuilder {
    builder.reconnect_delay(Duration::from_millis(20), Duration::from_millis(200))
}

fn next(events: &Events) -> Event {
    events.recv_timeout(SOON).expect("something happens")
}

fn connected(events: &Events) -> Connected {
    match next(events) {
        Event::Connected(connected) => connected,
        event => panic!("{event:?}"),
    }
}

fn failed(events: &Events) -> ConnectFailed {
    match next(events) {
        Event::ConnectFailed(failed) => failed,
        event => panic!("{event:?}"),
    }
}

fn lost(events: &Events) -> Disconnected {
    match next(events) {
        Event::Disconnected(lost) => lost,
        event => panic!("{event:?}"),
    }
}

fn closed_by(events: &Events) -> Option<ErrorKind> {
    match next(events) {
        Event::Closed(closed) => closed.error.map(|error| error.kind()),
        event => panic!("{event:?}"),
    }
}

#[test]
fn connect_tries_until_the_server_is_there() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let (relay, builder) = harness.relay();
        relay.refuse();
        let client = builder
            .connect_retry(ConnectRetry::Forever)
            .build()
            .unwrap();
        let events = client.events();
        let connecting = thread::spawn({
            let client = client.clone();
            move || client.connect()
        });
        for attempt in 1..=3 {
            let failed = failed(&events);
            assert_eq!(failed.error.kind(), ErrorKind::ConnectionRefused);
            assert_eq!(failed.attempt, attempt);
            assert!(failed.retry_in.is_some());
        }
        assert!(!connecting.is_finished());
        relay.listen().unwrap();
        connecting.join().unwrap().unwrap();
        let first = std::iter::repeat_with(|| next(&events))
            .find(|event| matches!(event, Event::Connected(_)));
        assert!(matches!(
            first,
            Some(Event::Connected(Connected { gap: None, .. }))
        ));
        harness.uplink("dev-1", 7);
        assert!(matches!(next(&events), Event::Uplink(uplink) if uplink.counter == 7));
    });
}

#[test]
fn connect_gives_up_when_its_time_is_over_and_says_what_was_wrong_last() {
    let _watchdog = watchdog(LIMIT);
    let client = quick(MqttClient::builder("greenhouse", "ttn-account-v2.test-key"))
        .mqtt_address(NOWHERE)
        .connect_retry(ConnectRetry::For(Duration::from_millis(800)))
        .build()
        .unwrap();
    let events = client.events();
    let start = Instant::now();
    let error = client.connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(
        start.elapsed() >= Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    let failures: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    assert!(failures.len() >= 3, "{failures:?}");
    let Some(Event::ConnectFailed(last)) = failures.last() else {
        panic!("{failures:?}");
    };
    assert_eq!((last.retry_in, last.attempt), (None, failures.len() as u32));
    // As if connect had never been called.
    assert!(client.wait_timeout(Duration::ZERO));
    assert_eq!(
        client.send("dev-1", "01").unwrap_err().kind(),
        ErrorKind::NotConnected
    );
    assert_eq!(
        client.connect().unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    assert_eq!(failed(&events).attempt, 1);
}

#[test]
fn a_connect_that_has_failed_is_over_when_it_returns() {
    let _watchdog = watchdog(LIMIT);
    let client = quick(MqttClient::builder("greenhouse", "ttn-account-v2.test-key"))
        .mqtt_address(NOWHERE)
        .connect_retry(ConnectRetry::For(Duration::from_millis(500)))
        .offline_queue(10, SOON)
        .build()
        .unwrap();
    let events = client.events();
    // Holds the client up when it reports the downlink.
    let unread = client.events_with(1, Overflow::Block);
    let connecting = thread::spawn({
        let client = client.clone();
        move || {
            client.connect().unwrap_err();
            client.wait_timeout(Duration::ZERO)
        }
    });
    assert!(failed(&events).retry_in.is_some());
    client.send("dev-1", "01").unwrap();
    while failed(&events).retry_in.is_some() {}
    crate::support::resources::pause(Duration::from_millis(200));
    drop(unread);
    assert!(
        connecting.join().unwrap(),
        "connect has returned and the client is open"
    );
    assert!(matches!(next(&events), Event::PublishFailed(_)));
}

#[test]
fn close_ends_the_trying_at_once() {
    let _watchdog = watchdog(LIMIT);
    let client = MqttClient::builder("greenhouse", "ttn-account-v2.test-key")
        .mqtt_address(NOWHERE)
        .reconnect_delay(Duration::from_secs(30), Duration::from_secs(60))
        .connect_retry(ConnectRetry::Forever)
        .build()
        .unwrap();
    let events = client.events();
    let connecting = thread::spawn({
        let client = client.clone();
        move || client.connect()
    });
    failed(&events);
    let start = Instant::now();
    client.close().unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
    let error = connecting.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(closed_by(&events), None);
}

#[test]
fn a_refused_key_ends_the_first_connecting_unless_it_is_to_be_tried_again() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let builder = || {
            quick(MqttClient::builder(harness.app_id(), harness.wrong_key()))
                .mqtt_address(harness.address().to_string())
                .connect_retry(ConnectRetry::For(Duration::from_secs(1)))
        };
        let attempts = |builder: MqttClientBuilder| {
            let client = builder.build().unwrap();
            let events = client.events();
            let error = client.connect().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotAuthorized);
            std::iter::from_fn(|| events.try_recv().ok()).count()
        };
        assert_eq!(attempts(builder()), 1);
        let again = Duration::from_millis(100);
        let several = attempts(builder().refused_retry(Some(again), None));
        assert!((3..=12).contains(&several), "{several}");
    });
}

#[test]
fn a_key_that_is_refused_later_closes_the_client_if_asked_for() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let (client, events) =
            harness.listening(|builder| quick(builder).refused_retry(None, None));
        connected(&events);
        harness
            .simulated()
            .quirks(|quirks| quirks.connack = Some(5));
        harness.simulated().disconnect_clients();
        assert!(lost(&events).retry_in.is_some());
        let failed = failed(&events);
        assert_eq!(failed.error.kind(), ErrorKind::NotAuthorized);
        assert_eq!(failed.retry_in, None);
        assert_eq!(closed_by(&events), Some(ErrorKind::NotAuthorized));
        client.wait();
    });
}

#[test]
fn on_its_return_the_client_says_how_long_it_was_away() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let (relay, builder) = harness.relay();
        let client = builder.build().unwrap();
        let events = client.events();
        client.connect().unwrap();
        assert_eq!(connected(&events).gap, None);
        harness.uplink("dev-1", 0);
        assert!(matches!(next(&events), Event::Uplink(_)));

        let quiet = Duration::from_millis(300);
        crate::support::resources::pause(quiet);
        relay.refuse();
        let before = std::time::SystemTime::now();
        relay.cut();
        let lost = lost(&events);
        assert_eq!(lost.cause, DisconnectCause::Unknown);
        assert_eq!(client.stats().connected_since, None);
        assert!(
            lost.connected_for >= quiet && lost.connected_for < SOON,
            "{lost:?}"
        );
        for attempt in 1..=2 {
            assert_eq!(failed(&events).attempt, attempt);
        }
        crate::support::resources::pause(quiet);
        relay.listen().unwrap();
        let gap = loop {
            match next(&events) {
                Event::Connected(connected) => break connected.gap.expect("there was one"),
                Event::ConnectFailed(_) => {}
                event => panic!("{event:?}"),
            }
        };
        let after = std::time::SystemTime::now();
        assert!(
            gap.since >= before && gap.since + gap.length <= after,
            "{gap:?}"
        );
        assert!(gap.length >= quiet, "{gap:?}");
        assert!(
            gap.silence >= quiet && gap.silence <= lost.connected_for,
            "{gap:?}"
        );
        assert!(gap.attempts >= 3, "{gap:?}");
        let stats = client.stats();
        assert_eq!((stats.disconnects, stats.reconnects), (1, 1));

        // A time after the user closed the client is not a gap.
        client.close().unwrap();
        client.connect().unwrap();
        assert_eq!(closed_by(&events), None);
        assert_eq!(connected(&events).gap, None);
    });
}

#[test]
fn the_client_is_back_only_when_every_subscription_is_granted_again() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = quick(harness.builder())
            // Only the silent server may exceed it.
            .connect_timeout(Duration::from_secs(2))
            .build()
            .unwrap();
        let events = client.events();
        client.connect().unwrap();
        connected(&events);
        let network = harness.simulated();
        network.quirks(|quirks| quirks.refuse_subscriptions = true);
        network.disconnect_clients();
        lost(&events);
        let refused = failed(&events);
        assert_eq!(refused.error.kind(), ErrorKind::SubscriptionRefused);
        assert!(refused.retry_in.is_some());
        assert!(!client.is_connected());
        network.quirks(|quirks| {
            quirks.refuse_subscriptions = false;
            quirks.ignore_subscriptions = true;
        });
        while failed(&events).error.kind() != ErrorKind::TimedOut {}
        assert!(!client.is_connected());
        network.quirks(|quirks| quirks.ignore_subscriptions = false);
        let connected = std::iter::repeat_with(|| next(&events))
            .find(|event| matches!(event, Event::Connected(_)));
        assert!(matches!(
            connected,
            Some(Event::Connected(Connected { gap: Some(_), .. }))
        ));
        network.device("dev-1").uplink(1, [1]);
        assert!(matches!(next(&events), Event::Uplink(_)));
    });
}

#[test]
fn the_retry_callback_sees_every_setback_and_sets_the_delay() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let network = harness.simulated();
        let client = MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(network.mqtt_address())
            .reconnect_delay(Duration::from_secs(30), Duration::from_secs(60))
            .build()
            .unwrap();
        let (sender, seen) = unbounded();
        client
            .set_retry_callback(move |retry| {
                let thread = thread::current().name().map(str::to_owned);
                let planned = retry.delay();
                let _ = sender.send((retry.error().kind(), retry.attempt(), planned, thread));
                retry.set_delay(Duration::from_millis(10));
            })
            .unwrap();
        let events = client.events();
        client.connect().unwrap();
        connected(&events);
        network.quirks(|quirks| quirks.connack = Some(3));
        network.disconnect_clients();
        assert_eq!(lost(&events).retry_in, Some(Duration::from_millis(10)));
        for attempt in 1..=2 {
            let failed = failed(&events);
            assert_eq!(failed.attempt, attempt);
            assert_eq!(failed.retry_in, Some(Duration::from_millis(10)));
        }
        network.quirks(|quirks| quirks.connack = None);
        while !matches!(next(&events), Event::Connected(_)) {}
        let expected = [
            (ErrorKind::ConnectionLost, 0),
            (ErrorKind::ServerUnavailable, 1),
            (ErrorKind::ServerUnavailable, 2),
        ];
        for (kind, attempt) in expected {
            let seen = seen.recv_timeout(SOON).unwrap();
            assert_eq!((seen.0, seen.1), (kind, attempt));
            assert!(seen.2.is_some_and(|delay| delay >= Duration::from_secs(30)));
            assert_eq!(seen.3.as_deref(), Some("ttn-retry"));
        }
    });
}

#[test]
fn the_retry_callback_is_not_asked_about_a_single_attempt() {
    let _watchdog = watchdog(LIMIT);
    let client = quick(MqttClient::builder("greenhouse", "ttn-account-v2.test-key"))
        .mqtt_address(NOWHERE)
        .build()
        .unwrap();
    client
        .set_retry_callback(|retry| retry.set_delay(Duration::ZERO))
        .unwrap();
    let events = client.events();
    let error = client.connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(failed(&events).retry_in, None);
    assert!(client.wait_timeout(Duration::ZERO));
}

#[test]
fn a_delay_that_is_longer_than_the_time_of_connect_ends_it() {
    let _watchdog = watchdog(LIMIT);
    let client = quick(MqttClient::builder("greenhouse", "ttn-account-v2.test-key"))
        .mqtt_address(NOWHERE)
        .connect_retry(ConnectRetry::For(SOON))
        .build()
        .unwrap();
    client
        .set_retry_callback(|retry| retry.set_delay(Duration::MAX))
        .unwrap();
    let start = Instant::now();
    let error = client.connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(start.elapsed() < SOON / 2, "{:?}", start.elapsed());
}

#[test]
fn a_connect_while_the_client_closes_connects_again() {
    const PER_SECOND: u32 = 10;
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V2);
    let network = harness.simulated();
    // Closing takes a while, because the server must read what was sent.
    network.quirks(|quirks| quirks.rate_limit = Some(PER_SECOND));
    let (client, events) = harness.listening(|builder| builder);
    connected(&events);
    (0..2 * PER_SECOND).for_each(|_| drop(client.send("dev-1", "01").unwrap()));
    thread::scope(|scope| {
        scope.spawn(|| client.close().unwrap());
        assert!(crate::support::resources::wait_until(SOON, || !client.is_connected()));
        client.connect().unwrap();
    });
    assert!(client.is_connected());
    let mut order = Vec::new();
    while order.len() < 2 {
        match next(&events) {
            Event::Closed(_) => order.push("closed"),
            Event::Connected(_) => order.push("connected"),
            _ => {}
        }
    }
    assert_eq!(order, ["closed", "connected"]);
}

#[test]
fn the_retry_callback_can_give_up() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = quick(harness.builder()).build().unwrap();
        let address = harness.address();
        client
            .set_retry_callback(move |retry| match retry.attempt() {
                0 => crate::support::resources::wait_until_refused(address),
                2 => retry.give_up(),
                _ => {}
            })
            .unwrap();
        let events = client.events();
        client.connect().unwrap();
        connected(&events);
        harness.simulated().stop();
        lost(&events);
        assert!(failed(&events).retry_in.is_some());
        assert_eq!(failed(&events).retry_in, None);
        assert_eq!(closed_by(&events), Some(ErrorKind::ConnectionRefused));
        client.wait();
    });
}

#[test]
fn a_rotated_key_comes_from_the_retry_callback() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        // Called before the first connection; an impossible key is rejected immediately.
        let right_key = match harness.network {
            Network::V3 => "NNSXS.TEST.KEY",
            _ => "ttn-account-v2.test-key",
        };
        let client = quick(MqttClient::builder(harness.app_id(), harness.wrong_key()))
            .mqtt_address(harness.address().to_string())
            .connect_retry(ConnectRetry::For(SOON))
            .build()
            .unwrap();
        client
            .set_retry_callback(move |retry| -> ttn::Result<()> {
                assert_eq!(retry.delay(), None, "the client would give up");
                let error = retry.set_access_key("a key").unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Config);
                assert!(!error.to_string().contains("a key\""), "{error}");
                retry.set_access_key(right_key)?;
                retry.set_delay(Duration::ZERO);
                Ok(())
            })
            .unwrap();
        let events = client.events();
        client.connect().unwrap();
        assert_eq!(failed(&events).retry_in, Some(Duration::ZERO));
        connected(&events);
        harness.uplink("dev-1", 3);
        assert!(matches!(next(&events), Event::Uplink(_)));
        // The client keeps using this key.
        client.close().unwrap();
        client.connect().unwrap();
    });
}

#[test]
fn a_retry_callback_that_hangs_holds_up_neither_close_nor_the_next_attempt() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = quick(harness.builder())
            .connect_timeout(Duration::from_millis(700))
            .build()
            .unwrap();
        let (release, hang) = bounded::<()>(0);
        client
            .set_retry_callback(move |_| {
                let _ = hang.recv();
            })
            .unwrap();
        let events = client.events();
        client.connect().unwrap();
        connected(&events);
        harness.simulated().disconnect_clients();
        // The callback gets its time limit; after that, the planned delay applies.
        assert!(lost(&events).retry_in.is_some());
        assert!(connected(&events).gap.is_some());
        drop(release);

        let (release, hang) = bounded::<()>(0);
        client
            .set_retry_callback(move |_| {
                let _ = hang.recv();
            })
            .unwrap();
        harness.simulated().disconnect_clients();
        assert!(crate::support::resources::wait_until(SOON, || !client.is_connected()));
        let start = Instant::now();
        client.close().unwrap();
        assert!(
            start.elapsed() < Duration::from_millis(500),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(lost(&events).retry_in, None);
        assert_eq!(closed_by(&events), None);
        drop(release);
    });
}

/// Loses a connection with two downlinks that wait for their turn, while a subscriber that is slow to
/// read holds up the report about the second.
fn lose_with_a_slow_subscriber(send: fn(&MqttClient)) {
    const TIMEOUT: Duration = Duration::from_millis(700);
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = quick(harness.builder())
            .connect_timeout(TIMEOUT)
            .pace(1, 1)
            .build()
            .unwrap();
        client
            .set_retry_callback(|retry| {
                // Takes a moment, so that the answer comes after the session has planned to retry.
                crate::support::resources::pause(Duration::from_millis(50));
                retry.give_up();
            })
            .unwrap();
        let events = client.events();
        client.connect().unwrap();
        connected(&events);
        client.send("dev-1", [1]).unwrap();
        // Published, and what the network says about it.
        while events.recv_timeout(Duration::from_millis(300)).is_ok() {}
        let slow = client.events_with(1, Overflow::Block);
        send(&client);
        harness.simulated().disconnect_clients();
        for _ in 0..2 {
            assert!(matches!(next(&events), Event::PublishFailed(_)));
        }
        // The subscriber holds the session up for longer than the callback may take.
        crate::support::resources::pause(TIMEOUT + Duration::from_millis(200));
        let reader = thread::spawn(move || slow.iter().count());
        assert_eq!(lost(&events).retry_in, None);
        assert_eq!(closed_by(&events), Some(ErrorKind::ConnectionLost));
        drop(client);
        reader.join().unwrap();
    });
}

#[test]
fn a_slow_subscriber_that_delays_the_question_leaves_the_retry_callback_its_time() {
    lose_with_a_slow_subscriber(|client| {
        client.send_many([("dev-1", [2]), ("dev-1", [3])]).unwrap();
    });
}

#[test]
fn an_answer_of_the_retry_callback_counts_even_if_a_slow_subscriber_delays_the_session() {
    // By chance, the session finds the deadline before the answer.
    for _ in 0..4 {
        lose_with_a_slow_subscriber(|client| {
            client.send("dev-1", [2]).unwrap();
            client.send("dev-1", [3]).unwrap();
        });
    }
}

#[test]
fn a_late_answer_to_an_earlier_question_is_not_taken_for_one_to_the_present_question() {
    const ANSWER: Duration = Duration::from_millis(7);
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let network = harness.simulated();
        let (client, events) = harness.listening(|builder| builder);
        connected(&events);

        let (asked, first_question) = unbounded();
        let (answer_first, late) = bounded::<()>(0);
        client
            .set_retry_callback(move |retry| {
                asked.send(()).unwrap();
                let _ = late.recv();
                retry.give_up();
            })
            .unwrap();
        network.disconnect_clients();
        first_question.recv_timeout(SOON).unwrap();
        client.close().unwrap();
        assert_eq!(lost(&events).retry_in, None);
        assert_eq!(closed_by(&events), None);

        let (asked, second_question) = unbounded();
        let (answer_second, waiting) = bounded::<()>(0);
        client
            .set_retry_callback(move |retry| {
                let _ = asked.send(());
                let _ = waiting.recv();
                retry.set_delay(ANSWER);
            })
            .unwrap();
        client.connect().unwrap();
        connected(&events);
        network.disconnect_clients();
        second_question.recv_timeout(SOON).unwrap();
        drop(answer_first);
        // The callback is dropped once it has answered, and the sending end with it.
        assert_eq!(
            first_question.recv_timeout(SOON),
            Err(RecvTimeoutError::Disconnected)
        );
        drop(answer_second);
        assert_eq!(lost(&events).retry_in, Some(ANSWER));
        assert!(connected(&events).gap.is_some());
    });
}

#[test]
fn a_key_that_comes_late_is_used_all_the_same() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let client = quick(MqttClient::builder(harness.app_id(), harness.wrong_key()))
        .mqtt_address(harness.address().to_string())
        .connect_timeout(Duration::from_millis(500))
        .connect_retry(ConnectRetry::Forever)
        .build()
        .unwrap();
    let (release, slow) = bounded::<()>(0);
    let (sender, _answered) = bounded(1);
    client
        .set_retry_callback(move |retry| {
            let _ = slow.recv();
            // The answer to the first question, which was asked some attempts ago.
            if sender.try_send(()).is_ok() {
                retry.set_access_key("NNSXS.TEST.KEY").unwrap();
            }
        })
        .unwrap();
    let events = client.events();
    // Nobody waits for the callback any longer; without it, a refused key is final.
    for _ in 0..2 {
        let error = client.connect().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotAuthorized);
        assert_eq!(failed(&events).retry_in, None);
    }
    drop(release);
    assert!(crate::support::resources::wait_until(SOON, || client
        .connect()
        .is_ok()));
}

#[test]
fn a_retry_callback_that_fails_changes_nothing_and_is_reported() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = quick(harness.builder()).build().unwrap();
        client
            .set_retry_callback(|retry| -> ttn::anyhow::Result<()> {
                retry.give_up();
                if retry.attempt() == 0 {
                    panic!("no idea");
                }
                ttn::anyhow::bail!("no key");
            })
            .unwrap();
        let events = client.events();
        client.connect().unwrap();
        connected(&events);
        harness.simulated().stop();
        for (words, panicked) in [("no idea", true), ("no key", false)] {
            let Event::CallbackFailed(report) = next(&events) else {
                panic!("a report comes first");
            };
            assert_eq!((report.callback, report.panicked), ("retry", panicked));
            assert_eq!(report.message, words);
            assert!(matches!(
                next(&events),
                Event::Disconnected(Disconnected {
                    retry_in: Some(_),
                    ..
                }) | Event::ConnectFailed(ConnectFailed {
                    retry_in: Some(_),
                    ..
                })
            ));
        }
        harness.restart();
        while !matches!(next(&events), Event::Connected(_)) {}
    });
}

#[test]
fn a_server_that_accepts_and_hangs_up_is_recognised_and_not_hammered() {
    const SHORTEST: Duration = Duration::from_millis(10);
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let network = harness.simulated();
        let client = MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(network.mqtt_address())
            .reconnect_delay(SHORTEST, Duration::from_secs(30))
            .build()
            .unwrap();
        let events = client.events();
        client.connect().unwrap();
        let mut delays = Vec::new();
        let mut causes = Vec::new();
        while delays.len() < 8 {
            match next(&events) {
                Event::Connected(_) => network.disconnect_clients(),
                Event::Disconnected(lost) => {
                    if let DisconnectCause::ClosedAtOnce { .. } = lost.cause {
                        assert!(
                            lost.error.to_string().contains("in a row"),
                            "{}",
                            lost.error
                        );
                    }
                    causes.push(lost.cause);
                    delays.push(lost.retry_in.unwrap());
                }
                event => panic!("{event:?}"),
            }
        }
        let expected = [DisconnectCause::Unknown]
            .into_iter()
            .chain((2..=8).map(|in_a_row| DisconnectCause::ClosedAtOnce { in_a_row }));
        assert_eq!(causes, expected.collect::<Vec<_>>());
        // The n-th delay is at most 2^n times the shortest; none is shorter than that.
        for (attempt, delay) in (1..).zip(&delays) {
            let ceilings = SHORTEST..=SHORTEST * (1 << attempt);
            assert!(ceilings.contains(delay), "{attempt}: {delay:?}");
        }
        // Connections that end at once do not reset the delays; the probability that all of them
        // are this short is 1 in 10 000 million.
        let longest = delays.iter().max().unwrap();
        assert!(*longest > 2 * SHORTEST, "{delays:?}");
    });
}

#[test]
fn two_clients_that_throw_each_other_out_are_told_of_it() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let network = harness.simulated();
        let (_client, events) = harness.listening(quick);
        connected(&events);
        for in_a_row in 1..=3 {
            crate::support::resources::pause(Duration::from_millis(2_100));
            network.disconnect_clients();
            let lost = lost(&events);
            let error = lost.error.to_string();
            match (in_a_row, harness.network) {
                (1 | 2, _) => assert_eq!(lost.cause, DisconnectCause::Unknown),
                // Its servers let any number of clients live side by side.
                (_, Network::V3) => {
                    assert_eq!(lost.cause, DisconnectCause::Unstable { in_a_row });
                    assert!(!error.contains("another client"), "{error}");
                }
                _ => {
                    assert_eq!(lost.cause, DisconnectCause::Contested { in_a_row });
                    assert!(error.contains("another client"), "{error}");
                }
            }
            connected(&events);
        }
    });
}

#[test]
fn the_limit_of_downlinks_is_recognised_on_v3() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let network = harness.simulated();
    network.quirks(|quirks| quirks.publish_limit = Some(4));
    network.device("dev-1").join();
    let client = quick(harness.builder()).build().unwrap();
    client.connect().unwrap();
    let events = client.events();
    while client.send("dev-1", "01").is_ok() {
        crate::support::resources::pause(Duration::from_millis(5));
    }
    let lost = loop {
        if let Event::Disconnected(lost) = next(&events) {
            break lost;
        }
    };
    assert_eq!(lost.cause, DisconnectCause::RateLimit);
    assert!(
        lost.error.to_string().contains("rate limit for downlinks"),
        "{}",
        lost.error
    );
}

#[test]
fn a_closed_client_asks_nothing_more() {
    let _watchdog = watchdog(LIMIT);
    let client = quick(MqttClient::builder("greenhouse", "ttn-account-v2.test-key"))
        .mqtt_address(NOWHERE)
        .connect_timeout(Duration::from_millis(300))
        .connect_retry(ConnectRetry::Forever)
        .build()
        .unwrap();
    let events = client.events();
    let (called, calls) = unbounded();
    let (release, released) = bounded::<()>(0);
    client
        .set_retry_callback(move |_| {
            called.send(()).unwrap();
            let _ = released.recv();
        })
        .unwrap();
    let connecting = thread::spawn({
        let client = client.clone();
        move || client.connect()
    });
    calls.recv_timeout(SOON).unwrap();
    // The planned delays apply, and the next question waits behind the first.
    (1..=3).for_each(|attempt| assert_eq!(failed(&events).attempt, attempt));
    client.close().unwrap();
    drop(release);
    assert!(connecting.join().unwrap().is_err());
    drop(client);
    // The thread ends, and drops the sending end.
    assert!(calls.recv_timeout(SOON).is_err());
    assert!(calls.is_empty());
}
