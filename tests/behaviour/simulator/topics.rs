//! What clients of the simulated V2 network may subscribe to and publish.

use std::time::Duration;

use serde_json::json;
use ttn::simulator::{Rights, Uplink};

use super::{APP, DOWN, EVENTS, UP, instant, start};
use crate::support::raw::{Hello, LONG, Raw, frame, string};

#[test]
fn the_granted_qos_is_the_asked_one_and_delivery_is_at_qos_0() {
    let network = start();
    let mut client = Raw::connect(&network);
    for qos in [2, 1, 0] {
        assert_eq!(
            client.subscribe(&format!("{APP}/devices/{qos}/up"), qos),
            [qos]
        );
    }
    client.subscribe(UP, 2);
    network.device("pump-1").uplink(1, [1]);
    assert_eq!(client.packet()[0], 0x30);
}

#[test]
fn a_foreign_filter_is_refused_with_0x80_and_the_connection_stays() {
    let network = start();
    let mut client = Raw::connect(&network);
    for filter in ["other/devices/+/up", "$SYS/#", "/#", "simulated-app2/#"] {
        assert_eq!(client.subscribe(filter, 1), [0x80], "{filter}");
    }
    let filters = [vec![0, 5], string("x/#"), vec![1], string(UP), vec![1]].concat();
    client.write(&frame(0x82, &filters));
    assert_eq!(client.packet(), [0x90, 4, 0, 5, 0x80, 1]);
}

#[test]
fn wildcards_in_place_of_the_application_mean_the_own_one() {
    let network = start();
    network.add_application("orchard", "ttn-account-v2.apples");
    for (filter, in_force) in [
        ("#", "simulated-app/#"),
        ("+/#", "simulated-app/#"),
        ("+/devices/+/up", UP),
        ("simulated-app/#", "simulated-app/#"),
    ] {
        assert!(network.wait_for_clients(0, LONG));
        let mut client = Raw::subscribed(&network, &[filter]);
        assert_eq!(network.clients()[0].subscriptions, [in_force]);
        network.device_of("orchard", "tree-1").uplink(1, [1]);
        network.device("pump-1").uplink(1, [1]);
        assert_eq!(
            client.message().0,
            "simulated-app/devices/pump-1/up",
            "{filter}"
        );
        client.assert_silent();
    }
}

#[test]
fn a_hash_does_not_stand_for_its_parent_level() {
    let network = start();
    let mut client = Raw::subscribed(&network, &["simulated-app/devices/+/up/#"]);
    let uplink = Uplink::new(1, [1]).fields(json!({"level": 3}));
    network.device("pump-1").send(uplink);
    let (topic, payload) = client.text();
    assert_eq!(topic, "simulated-app/devices/pump-1/up/level");
    assert_eq!(payload, "3");
}

#[test]
fn a_message_comes_once_however_many_filters_match() {
    let network = start();
    let mut client = Raw::subscribed(&network, &["#", UP, "simulated-app/devices/pump-1/up"]);
    network.device("pump-1").uplink(1, [1]);
    client.message();
    client.assert_silent();
}

#[test]
fn an_ended_subscription_delivers_nothing() {
    let network = start();
    let rewritten = "+/devices/+/up";
    for (asked, ended) in [(rewritten, UP), (UP, rewritten)] {
        let mut client = Raw::subscribed(&network, &[asked]);
        client.write(&frame(0xa2, &[vec![0, 4], string(ended)].concat()));
        assert_eq!(client.packet(), [0xb0, 2, 0, 4]);
        network.device("pump-1").uplink(1, [1]);
        client.assert_silent();
    }
}

#[test]
fn nothing_is_kept_for_a_client_that_is_away() {
    let network = start();
    let mut hello = Hello::of(&network).bytes();
    hello[9] &= !2;
    for _ in 0..2 {
        let mut client = Raw::open(&network);
        client.write(&hello);
        assert_eq!(client.packet(), [0x20, 2, 0, 0]);
        client.assert_silent();
        client.subscribe(UP, 1);
        client.assert_silent();
        drop(client);
        assert!(network.wait_for_clients(0, LONG));
        network.device("pump-1").uplink(1, [1]);
    }
}

#[test]
fn a_key_reads_and_writes_by_its_rights() {
    let network = start();
    let device = network.device("pump-1");
    network.add_key(
        APP,
        "ttn-account-v2.reader",
        Rights {
            read: true,
            write: false,
        },
    );
    network.add_key(
        APP,
        "ttn-account-v2.writer",
        Rights {
            read: false,
            write: true,
        },
    );
    let mut clients = ["ttn-account-v2.reader", "ttn-account-v2.writer"].map(|key| {
        let hello = Hello {
            password: Some(key),
            ..Hello::of(&network)
        };
        let mut client = Raw::accepted(&network, &hello);
        client.subscribe("#", 0);
        client
    });
    let request = r#"{"payload_raw":"AQ=="}"#;
    assert!(clients[0].publish_1(DOWN, request).is_empty());
    assert!(device.queue().is_empty());
    assert!(clients[1].publish_1(DOWN, request).is_empty());
    assert_eq!(device.queue().len(), 1);
    clients[0].message_on("down/scheduled");
    device.uplink(1, [1]);
    clients[0].message_on("up");
    clients[1].assert_silent();
}

#[test]
fn only_uplinks_and_events_can_be_read() {
    let network = start();
    let mut client = Raw::subscribed(&network, &["#"]);
    network.publish("simulated-app/devices/pump-1/down", "1");
    network.publish("simulated-app/devices/pump-1", "2");
    network.publish("other/devices/pump-1/up", "3");
    for topic in [
        "devices/d/up",
        "devices/d/events",
        "events",
        "events/x",
        "devices/d/up/a/b",
    ] {
        network.publish(&format!("{APP}/{topic}"), "not JSON");
        let expected = (format!("{APP}/{topic}"), "not JSON".to_owned());
        assert_eq!(client.text(), expected);
    }
}

#[test]
fn wait_for_subscriptions_sees_those_of_every_client() {
    let network = start();
    let _clients = [UP, EVENTS].map(|filter| Raw::subscribed(&network, &[filter]));
    assert!(network.wait_for_subscriptions(2, LONG));
    assert!(!network.wait_for_subscriptions(3, Duration::from_millis(1)));
}

#[test]
fn a_forbidden_publish_is_acknowledged_and_dropped() {
    let network = start();
    let mut watcher = Raw::subscribed(&network, &["#"]);
    let mut client = Raw::connect(&network);
    let topics = [
        "simulated-app/devices/pump-1/up",
        "simulated-app/devices/pump-1/down/x",
        "other/devices/pump-1/down",
        "anything",
    ];
    for topic in topics {
        assert!(client.publish_1(topic, "{}").is_empty());
    }
    client.ping();
    assert_eq!(client.packet(), [0xd0, 0]);
    watcher.assert_silent();
    let published: Vec<String> = network
        .published()
        .into_iter()
        .map(|(topic, _)| topic)
        .collect();
    assert_eq!(published, topics);
}

#[test]
fn a_qos_2_publish_is_executed_once() {
    let network = start();
    let device = network.device("pump-1");
    let mut client = Raw::connect(&network);
    let request = br#"{"payload_raw":"AQ==","schedule":"last"}"#;
    let body = [&string(DOWN), &[0, 8][..], request].concat();
    for first in [0x34, 0x3c] {
        client.write(&frame(first, &body));
        assert_eq!(client.packet(), [0x50, 2, 0, 8]);
    }
    assert_eq!(device.queue().len(), 1);
    client.write(&[0x62, 2, 0, 8]);
    assert_eq!(client.packet(), [0x70, 2, 0, 8]);
    client.write(&frame(0x34, &body));
    client.packet();
    assert_eq!(device.queue().len(), 2);
}

#[test]
fn downlinks_of_one_client_are_queued_in_order() {
    let network = instant();
    let device = network.device("pump-1");
    let mut client = Raw::connect(&network);
    for port in 1..=50 {
        let request = format!(r#"{{"port":{port},"payload_raw":"AQ==","schedule":"last"}}"#);
        client.publish(DOWN, request.as_bytes());
    }
    assert!(network.wait_for_published(50, LONG));
    let ports: Vec<u8> = device
        .queue()
        .iter()
        .map(|downlink| downlink.port)
        .collect();
    assert_eq!(ports, (1..=50).collect::<Vec<u8>>());
}
