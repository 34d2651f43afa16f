//! Situations that only tests inside the client can create.

use crossbeam_channel::after;

use super::*;
use crate::{
    downlink::Message,
    message::{Event, MessageIds},
    network::{Effect, Network},
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
