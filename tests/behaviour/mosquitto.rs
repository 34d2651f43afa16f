//! A real broker instead of the simulated one: passwords, permissions, and outages of its process.
#![cfg(unix)]

use std::time::{Duration, Instant};

use crate::support::{
    harness::SOON, mosquitto::Mosquitto, peer::MqttPeer, resources::loopback, watchdog::watchdog,
};
use ttn::{ErrorKind, Event, Events, MqttClient, MqttClientBuilder};

const LIMIT: Duration = Duration::from_secs(60);
const APP: &str = "greenhouse-demo";
const KEY: &str = "ttn-account-v2.key";

/// The rights that a V2 broker grants an application, and all rights for the network server.
const ACL: &str = "user greenhouse-demo
topic read greenhouse-demo/devices/+/up/#
topic read greenhouse-demo/devices/+/events/#
topic write greenhouse-demo/devices/+/down
user network
topic readwrite #
";

fn broker() -> Option<(Mosquitto, MqttPeer)> {
    let broker = Mosquitto::builder()
        .at(loopback())
        .user(APP, KEY)
        .user("network", "network")
        .acl(ACL)
        .start()?;
    let peer = MqttPeer::connect(broker.address(), "network", "network").unwrap();
    Some((broker, peer))
}

fn builder(broker: &Mosquitto) -> MqttClientBuilder {
    MqttClient::builder(APP, KEY).mqtt_address(broker.address().to_string())
}

fn next_uplink(events: &Events) -> (String, u32) {
    loop {
        if let Event::Uplink(uplink) = events.recv_timeout(SOON).expect("an uplink arrives") {
            return (uplink.dev_id.clone(), uplink.counter);
        }
    }
}

fn uplink(counter: u32) -> String {
    format!(r#"{{"port":1,"counter":{counter},"payload_raw":"AQ=="}}"#)
}

#[test]
fn an_application_with_the_permissions_of_a_v2_key_receives_and_sends() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    peer.subscribe("+/devices/+/down").unwrap();
    let client = builder(&broker).build().unwrap();
    let events = client.events();
    client.connect().unwrap();
    peer.publish("greenhouse-demo/devices/dev-1/up", uplink(1))
        .unwrap();
    assert_eq!(next_uplink(&events), ("dev-1".to_owned(), 1));
    client.send("dev-1", "AQ==").unwrap();
    let (topic, _) = peer.next(SOON).unwrap();
    assert_eq!(topic, "greenhouse-demo/devices/dev-1/down");
    assert!(client.is_connected());
}

#[test]
fn other_applications_stay_unheard() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let client = builder(&broker).build().unwrap();
    let events = client.events();
    client.connect().unwrap();
    for topic in [
        "other-app/devices/dev-1/up",
        "greenhouse-demo2/devices/dev-1/up",
        "greenhouse-demo/devices/dev-1/down",
    ] {
        peer.publish(topic, uplink(9)).unwrap();
    }
    peer.publish("greenhouse-demo/devices/dev-1/up", uplink(1))
        .unwrap();
    assert_eq!(next_uplink(&events), ("dev-1".to_owned(), 1));
}

#[test]
fn every_message_arrives_once_with_and_without_field_topics() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    for field_topics in [false, true] {
        let client = builder(&broker).field_topics(field_topics).build().unwrap();
        let events = client.events();
        client.connect().unwrap();
        let mut expected = vec!["up"];
        if field_topics {
            expected.extend(["up/a", "up/a/b", "up/a/b/c/d/e/f/g/h"]);
        }
        for kind in [
            "up",
            "up/a",
            "up/a/b",
            "up/a/b/c/d/e/f/g/h",
            "events/activations",
            "events/down/acks",
        ] {
            let topic = format!("greenhouse-demo/devices/dev-1/{kind}");
            peer.publish(&topic, r#"{"metadata":{}}"#).unwrap();
        }
        expected.extend(["events/activations", "events/down/acks"]);
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            let raw = match events.recv_timeout(SOON).unwrap() {
                Event::Uplink(uplink) => uplink.raw().clone(),
                Event::UplinkField(field) => field.raw().clone(),
                Event::Activation(activation) => activation.raw().clone(),
                Event::Downlink(downlink) => downlink.raw().clone(),
                _ => continue,
            };
            seen.push(
                raw.topic()
                    .trim_start_matches("greenhouse-demo/devices/dev-1/")
                    .to_owned(),
            );
        }
        assert_eq!(seen, expected);
        client.close().unwrap();
        let more: Vec<_> = events.receiver().try_iter().collect();
        assert!(matches!(more[..], [Event::Closed(_)]), "{more:?}");
    }
}

#[test]
fn a_large_message_arrives_whole() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let client = builder(&broker).build().unwrap();
    let events = client.events();
    client.connect().unwrap();
    let text = "x".repeat(8 << 20);
    let body = format!(r#"{{"counter":5,"payload_fields":{{"text":"{text}"}}}}"#);
    peer.publish("greenhouse-demo/devices/dev-1/up", &body)
        .unwrap();
    let Ok(Event::Connected(_)) = events.recv_timeout(SOON) else {
        panic!()
    };
    let Ok(Event::Uplink(uplink)) = events.recv_timeout(SOON) else {
        panic!()
    };
    assert_eq!(uplink.payload_fields["text"], text);
}

#[test]
fn a_killed_broker_is_noticed_at_once_and_found_again_when_it_is_back() {
    let _watchdog = watchdog(LIMIT);
    let Some((mut broker, _peer)) = broker() else {
        return;
    };
    let delay = Duration::from_millis(50);
    let client = builder(&broker)
        .reconnect_delay(delay, delay)
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    for counter in 0..3 {
        let start = Instant::now();
        broker.kill();
        loop {
            if let Event::Disconnected(lost) = events.recv_timeout(SOON).unwrap() {
                assert_eq!(lost.error.kind(), ErrorKind::ConnectionLost);
                assert!(lost.retry_in.is_some());
                break;
            }
        }
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
        assert!(!client.is_connected());
        broker.restart();
        while !matches!(events.recv_timeout(SOON).unwrap(), Event::Connected(_)) {}
        let mut peer = MqttPeer::connect(broker.address(), "network", "network").unwrap();
        peer.publish("greenhouse-demo/devices/dev-1/up", uplink(counter))
            .unwrap();
        assert_eq!(next_uplink(&events), ("dev-1".to_owned(), counter));
    }
}

#[test]
fn a_broker_that_stops_without_a_word_is_noticed_by_its_silence() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, _peer)) = broker() else {
        return;
    };
    let keep_alive = Duration::from_secs(2);
    let client = builder(&broker)
        .keep_alive(keep_alive)
        .reconnect(false)
        .build()
        .unwrap();
    client.connect().unwrap();
    let start = Instant::now();
    broker.stop();
    let closed = client.wait_timeout(LIMIT / 2);
    broker.resume();
    assert!(closed, "the silence was not noticed");
    // The documented time, and a tolerance for a busy machine.
    let limit = keep_alive * 5 / 2 + Duration::from_secs(5) + Duration::from_millis(500);
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
}

#[test]
fn a_broker_that_hangs_makes_connect_give_up_in_time() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, _peer)) = broker() else {
        return;
    };
    let timeout = Duration::from_secs(2);
    let client = builder(&broker).connect_timeout(timeout).build().unwrap();
    broker.stop();
    let start = Instant::now();
    let error = client.connect().unwrap_err();
    broker.resume();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(
        start.elapsed() < timeout + Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
    client.connect().unwrap();
}

#[test]
fn a_changed_password_ends_the_session_and_is_refused_until_it_is_right_again() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, _peer)) = broker() else {
        return;
    };
    let client = builder(&broker).reconnect(false).build().unwrap();
    client.connect().unwrap();
    broker.change_password(APP, "ttn-account-v2.another");
    assert!(
        client.wait_timeout(SOON),
        "the session continues with a revoked key"
    );
    assert_eq!(
        client.connect().unwrap_err().kind(),
        ErrorKind::NotAuthorized
    );
    broker.change_password(APP, KEY);
    assert!(crate::support::resources::wait_until(SOON, || client
        .connect()
        .is_ok()));
}

/// Returns a client that is connected and reconnects quickly.
fn persistent(broker: &Mosquitto, keep_alive: Duration) -> (MqttClient, Events) {
    let client = builder(broker)
        .keep_alive(keep_alive)
        .connect_timeout(Duration::from_secs(1))
        .reconnect_delay(Duration::from_millis(20), Duration::from_millis(200))
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    assert!(matches!(events.recv_timeout(SOON), Ok(Event::Connected(_))));
    (client, events)
}

#[test]
fn a_broker_that_stopped_and_goes_on_is_found_again() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let (_client, events) = persistent(&broker, Duration::from_secs(1));
    broker.stop();
    assert!(matches!(
        events.recv_timeout(SOON),
        Ok(Event::Disconnected(_))
    ));
    // It accepts connections and does not answer.
    for _ in 0..2 {
        match events.recv_timeout(SOON).unwrap() {
            Event::ConnectFailed(failed) => {
                assert_eq!(failed.error.kind(), ErrorKind::TimedOut, "{}", failed.error);
            }
            event => panic!("{event:?}"),
        }
    }
    broker.resume();
    while !matches!(events.recv_timeout(SOON).unwrap(), Event::Connected(_)) {}
    peer.publish("greenhouse-demo/devices/dev-1/up", uplink(6))
        .unwrap();
    assert_eq!(next_uplink(&events), ("dev-1".to_owned(), 6));
}

#[test]
fn a_short_stop_of_the_broker_costs_nothing() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let (client, events) = persistent(&broker, Duration::from_secs(30));
    peer.subscribe("+/devices/+/down").unwrap();
    broker.stop();
    (0..10).for_each(|counter| {
        peer.publish("greenhouse-demo/devices/dev-1/up", uplink(counter))
            .unwrap();
    });
    client.send("dev-1", "AQ==").unwrap();
    let silence = events.recv_timeout(Duration::from_millis(500));
    assert!(
        matches!(silence, Ok(Event::Published(_))),
        "only the downlink continues: {silence:?}"
    );
    broker.resume();
    for counter in 0..10 {
        match events.recv_timeout(SOON).unwrap() {
            Event::Uplink(uplink) => assert_eq!(uplink.counter, counter),
            event => panic!("{event:?}"),
        }
    }
    assert!(peer.next(SOON).is_some());
    assert!(client.is_connected());
}

#[test]
fn a_key_that_is_revoked_and_given_back_needs_no_help() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let (_client, events) = persistent(&broker, Duration::from_secs(30));
    broker.change_password(APP, "ttn-account-v2.another");
    assert!(matches!(
        events.recv_timeout(SOON),
        Ok(Event::Disconnected(_))
    ));
    for _ in 0..3 {
        match events.recv_timeout(SOON).unwrap() {
            Event::ConnectFailed(failed) => {
                assert_eq!(failed.error.kind(), ErrorKind::NotAuthorized);
                assert_eq!(failed.retry_in, Some(Duration::from_millis(200)));
            }
            event => panic!("{event:?}"),
        }
    }
    broker.change_password(APP, KEY);
    while !matches!(events.recv_timeout(SOON).unwrap(), Event::Connected(_)) {}
    peer.publish("greenhouse-demo/devices/dev-1/up", uplink(7))
        .unwrap();
    assert_eq!(next_uplink(&events), ("dev-1".to_owned(), 7));
}
