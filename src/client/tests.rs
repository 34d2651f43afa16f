//! Situations that only tests inside the client can create.

use std::thread;

use crossbeam_channel::after;

use super::*;
use crate::{
    config::Backfill,
    downlink::Message,
    message::{Event, MessageIds, UplinkMessage},
    network::{Effect, Network},
    process::tests::ThreadLimit,
    simulator::Simulator,
};

/// Hands a downlink to the session as `send` does, without checking for a connection.
fn hand_over(client: &MqttClient, id: u64) {
    let link = &client.core().link;
    let message = Message {
        dev_id: "valve-3".into(),
        batch: 1,
        has_next: false,
        effect: Effect::Adds,
        ids: MessageIds::new(id, 1),
        correlation_id: None,
        topic: "greenhouse/devices/bed-07/down".to_owned(),
        payload: Vec::new(),
        followed: Vec::new(),
        _room: link.room.take(1, 1_000).unwrap(),
    };
    link.outbox.send(vec![message]).unwrap();
}

#[test]
fn a_downlink_that_the_last_handle_leaves_behind_is_reported() {
    // Whether the session reads the end before the downlink depends on its earlier choices.
    for choices in 0..20 {
        let client = MqttClient::new("greenhouse", "ttn-account-v2.test-key").unwrap();
        let events = client.events();
        let report = || {
            client.command(Command::Report(Event::Lagged(1))).unwrap();
            assert!(matches!(events.recv(), Ok(Event::Lagged(1))));
        };
        (0..choices).for_each(|_| report());
        // Holds up the session, so that it finds both together.
        let _unread = client.events_with(1, Overflow::Block);
        (0..2).for_each(|_| report());
        hand_over(&client, 7);
        drop(client);
        let failed: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::PublishFailed(failed) => Some(failed.message_id.get()),
                _ => None,
            })
            .collect();
        assert_eq!(failed, [7], "after {choices} choices");
    }
}

#[test]
fn connecting_as_the_last_handle_goes_is_told_that_it_is_gone() {
    let client = MqttClient::new("greenhouse", "ttn-account-v2.test-key").unwrap();
    // Holds up the session, so that it ends with the command unread.
    let unread = client.events_with(1, Overflow::Block);
    (0..2).for_each(|_| client.command(Command::Report(Event::Lagged(1))).unwrap());
    client.command(Command::Shutdown).unwrap();
    let commands = client.core().link.commands.clone();
    let deadline = Instant::now() + Duration::from_secs(10);
    while commands.len() > 1 && Instant::now() < deadline {
        thread::yield_now();
    }
    let connecting = thread::spawn({
        let client = client.clone();
        move || client.connect()
    });
    while commands.len() < 2 && Instant::now() < deadline {
        thread::yield_now();
    }
    drop(unread);
    let error = connecting.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[test]
fn a_downlink_that_overtakes_the_end_is_read_before_close_returns() {
    const PER_SECOND: u32 = 10;
    let network = Simulator::builder(Network::V2)
        .quirks(|quirks| quirks.rate_limit = Some(PER_SECOND))
        .start()
        .unwrap();
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .field_topics(false)
        .build()
        .unwrap();
    client.connect().unwrap();
    hand_over(&client, 1);
    let closing = thread::spawn({
        let client = client.clone();
        move || client.close()
    });
    assert!(network.wait_for_published(1, Duration::from_secs(10)));
    // The server has not read yet that nothing more follows.
    hand_over(&client, 2);
    closing.join().unwrap().unwrap();
    assert_eq!(network.published().len(), 2);
}

#[test]
fn a_subscription_from_inside_the_retry_callback_gets_the_setback_that_follows() {
    let client = MqttClient::builder("greenhouse", "ttn-account-v2.test-key")
        .mqtt_address("mqtt://127.0.0.1:1")
        .connect_retry(ConnectRetry::Forever)
        .build()
        .unwrap();
    let (asked, questions) = bounded(0);
    client
        .set_retry_callback(move |retry| {
            let (reply, subscribed) = bounded::<()>(0);
            let _ = asked.send((retry.attempt(), reply));
            let _ = subscribed.recv();
            retry.set_delay(Duration::ZERO);
        })
        .unwrap();
    let connecting = thread::spawn({
        let client = client.clone();
        move || client.connect()
    });
    // The session takes the answer before the subscription, or after it, by chance.
    for _ in 0..20 {
        let (attempt, reply) = questions.recv().unwrap();
        // Holds the session up, so that it finds both together.
        let unread = client.events_with(1, Overflow::Block);
        (0..2).for_each(|_| client.command(Command::Report(Event::Lagged(1))).unwrap());
        while !client.core().link.commands.is_empty() {
            thread::yield_now();
        }
        let events = client.events();
        drop(reply);
        // Time for the answer to reach the session's queue, which nobody else can look into.
        let _ = after(Duration::from_millis(10)).recv();
        drop(unread);
        let event = events.recv_timeout(Duration::from_secs(10));
        assert!(
            matches!(&event, Ok(Event::ConnectFailed(failed)) if failed.attempt == attempt),
            "{event:?} after attempt {attempt}"
        );
    }
    drop(questions);
    client.close().unwrap();
    assert!(connecting.join().unwrap().is_err());
}

/// Returns a client with all callbacks, and its events.
fn client_of(network: &Simulator) -> Result<(MqttClient, Events)> {
    let client = MqttClient::builder(network.app_id(), network.access_key())
        // A name, so that it must be looked up.
        .mqtt_address(format!("localhost:{}", network.address().port()))
        .reconnect(false)
        .build()?;
    let events = client.events();
    client.set_retry_callback(|_| {})?;
    client.set_uplink_workers(2, |_| |_: &UplinkMessage, _: &MqttClient| {})?;
    Ok((client, events))
}

#[test]
fn a_thread_that_cannot_be_started_is_an_error_and_leaves_nothing_behind() {
    for network in [Network::V2, Network::V3] {
        let network = Simulator::builder(network)
            .address("localhost:0")
            .start()
            .unwrap();
        let mut refused = 0;
        for limit in 0.. {
            let limit = ThreadLimit::new(limit);
            let (streams, result) = limit.apply(|| match client_of(&network) {
                Ok((client, events)) => {
                    let result = client.connect();
                    assert_eq!(client.is_connected(), result.is_ok());
                    assert!(client.close().is_ok());
                    (Some(events), result)
                }
                Err(error) => (None, Err(error)),
            });
            // The stream of a client that was built ends with it.
            if let Some(events) = streams {
                let deadline = Instant::now() + Duration::from_secs(20);
                while events.receiver().recv_deadline(deadline).is_ok() {}
                assert!(Instant::now() < deadline, "the stream goes on");
            }
            match result {
                Ok(()) => {
                    assert_eq!(limit.left(), 0, "no earlier limit was enough");
                    break;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ResourcesExhausted, "{error}");
                    assert!(error.to_string().contains("thread"), "{error}");
                    refused += 1;
                }
            }
        }
        // The session, the callbacks, the retry callback, the workers, the lookup, the connection.
        assert!(refused >= 7, "{refused}");
    }
}

#[test]
fn workers_of_which_one_cannot_be_started_are_not_set() {
    let client = MqttClient::new("greenhouse", "ttn-account-v2.test-key").unwrap();
    let (held, all_gone) = bounded::<()>(0);
    let set = || {
        client.set_uplink_workers(4, |_| {
            let held = held.clone();
            move |_: &UplinkMessage, _: &MqttClient| {
                let _ = &held;
            }
        })
    };
    let error = ThreadLimit::new(3).apply(set).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourcesExhausted, "{error}");
    assert!(client.stats().workers.is_empty());
    // The threads of the other three have ended.
    drop(held);
    let gone = all_gone.recv_timeout(Duration::from_secs(10));
    assert!(gone.unwrap_err().is_disconnected());
    client.close().unwrap();
}

#[test]
fn a_client_that_cannot_start_a_thread_connects_when_it_can() {
    let network = Simulator::start(Network::V3).unwrap();
    let build = || {
        MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(network.mqtt_address())
            .reconnect_delay(Duration::from_millis(1), Duration::from_millis(2))
            .connect_retry(ConnectRetry::For(Duration::from_secs(20)))
            .build()
    };
    // The session and the callbacks; every connection needs one more.
    let limit = ThreadLimit::new(2);
    let client = limit.apply(build).unwrap();
    let events = client.events();
    let connecting = thread::spawn({
        let client = client.clone();
        move || client.connect()
    });
    match events.recv_timeout(Duration::from_secs(20)) {
        Ok(Event::ConnectFailed(failed)) => {
            assert_eq!(failed.error.kind(), ErrorKind::ResourcesExhausted);
            assert!(failed.retry_in.is_some());
        }
        event => panic!("{event:?}"),
    }
    // Other threads of the process end.
    limit.add(10);
    connecting.join().unwrap().unwrap();
    client.close().unwrap();
}

#[test]
fn a_simulated_network_that_cannot_start_a_thread_leaves_its_port() {
    for network in [Network::V2, Network::V3] {
        for limit in 0..2 {
            let port = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))
                .and_then(|listener| listener.local_addr())
                .unwrap();
            let start = || {
                Simulator::builder(network)
                    .address(port.to_string())
                    .start()
            };
            assert!(ThreadLimit::new(limit).apply(start).is_err());
            // It can start there now.
            start().unwrap();
        }
    }
}

#[test]
fn a_backfill_needs_the_address_of_the_networks_http_api() {
    let builder = || {
        MqttClient::builder("greenhouse@ttn", "NNSXS.ID.SECRET").backfill(Backfill::on_request())
    };
    let error = builder()
        .mqtt_address("stack.example.org")
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("http_address("), "{error}");
    builder()
        .mqtt_address("stack.example.org")
        .http_address("https://stack.example.org")
        .build()
        .unwrap();
    // It is known of hosted networks, and asking on one's own is another matter.
    let hosted = builder().cluster("eu1").ask_over_http(false);
    hosted.build().unwrap();
}
