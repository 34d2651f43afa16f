//! Connections to the simulated v3 network: how they begin, and what they may subscribe to and publish.

use serde_json::json;
use ttn::Network;
use ttn::simulator::{Rights, Simulator, Uplink};

use super::{ALL, APP, KEY, PUSH, REPLACE, pump, start, topics};
use crate::support::raw::{Hello, LONG, Raw, frame, string};

#[test]
fn the_default_application_is_a_hosted_one() {
    let network = start();
    assert_eq!((network.app_id(), network.access_key()), (APP, KEY));
    for (name, level) in [("MQTT", 4), ("MQIsdp", 3), ("MQTT", 3), ("MQIsdp", 4)] {
        let hello = Hello {
            name,
            level,
            client_id: "",
            ..Hello::of(&network)
        };
        Raw::accepted(&network, &hello);
    }
}

#[test]
fn whatever_is_wrong_with_the_credentials_is_answered_with_5() {
    let network = start();
    network.add_key(APP, "NNSXS.DELETED.KEY", Rights::ALL);
    assert!(network.remove_key(APP, "NNSXS.DELETED.KEY"));
    let long = format!("{}@ttn", "a".repeat(37));
    let malformed = [
        "Capitals", "a_b_c", "ab", "-abc", "a--bc", "abc-", "app@t", "app@a@b", &long,
    ];
    for app in malformed {
        network.add_application(app, KEY);
    }
    let mut wrong = vec![
        (Some(APP), Some("NNSXS.WRONG.KEY")),
        (Some(APP), Some("NNSXS.DELETED.KEY")),
        (Some(APP), Some("")),
        (Some(APP), None),
        (Some("simulated-app"), Some(KEY)),
        (Some("simulated-app@other"), Some(KEY)),
        (Some("unknown-app@ttn"), Some(KEY)),
        (None, None),
    ];
    wrong.extend(malformed.map(|app| (Some(app), Some(KEY))));
    for (username, password) in wrong {
        let hello = Hello {
            username,
            password,
            ..Hello::of(&network)
        };
        Raw::refused(&network, &hello, 5);
    }
    let longest = format!("{}@{}", "a".repeat(36), "0-0-0");
    network.add_application(&longest, "an OAuth token");
    let hello = Hello {
        username: Some(&longest),
        password: Some("an OAuth token"),
        ..Hello::of(&network)
    };
    Raw::accepted(&network, &hello);
}

#[test]
fn mqtt_5_is_closed_without_an_answer_and_other_levels_get_1() {
    let network = start();
    let mut body = string("MQTT");
    body.extend([5, 0xc2, 0, 60, 0]);
    body.extend(["raw", APP, KEY].into_iter().flat_map(string));
    let mut client = Raw::open(&network);
    client.write(&frame(0x10, &body));
    client.assert_closed();
    for (name, level) in [("MQTT", 6), ("HTTP", 4)] {
        let hello = Hello {
            name,
            level,
            ..Hello::of(&network)
        };
        Raw::refused(&network, &hello, 1);
    }
}

#[test]
fn an_open_source_deployment_has_no_tenants() {
    let network = Simulator::builder(Network::V3)
        .application("silo", "NNSXS.SILO.KEY")
        .start()
        .unwrap();
    let mut client = Raw::subscribed(&network, &["#"]);
    network
        .device("silo-1")
        .send(Uplink::new(1, [1]).counter(1));
    let (topic, up) = client.message();
    assert_eq!(topic, "v3/silo/devices/silo-1/up");
    assert_eq!(
        up["end_device_ids"]["application_ids"]["application_id"],
        "silo"
    );
    assert_eq!(
        up["uplink_message"]["network_ids"],
        json!({"net_id": "000000"})
    );
    let topic = "v3/silo/devices/silo-1/down/push";
    let events = client.publish_1(topic, r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ"}]}"#);
    assert_eq!(events[0].0, "v3/silo/devices/silo-1/down/queued");
}

#[test]
fn a_will_is_accepted_and_never_carried_out() {
    let network = start();
    let (device, mut watcher) = pump(&network);
    let request = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
    let hello = Hello {
        will: Some((PUSH, request)),
        keep_alive: 1,
        ..Hello::of(&network)
    };
    let lost = || Raw::accepted(&network, &hello);
    let silent = lost();
    drop(lost());
    // Malformed.
    lost().write(&[0xf0, 0]);
    network.wait_for_clients(1, LONG);
    watcher.assert_silent();
    drop(silent);
    assert!(device.queue().is_empty());
}

#[test]
fn filters_are_rewritten_or_refused_by_their_first_two_levels() {
    let network = start();
    let mut client = Raw::connect(&network);
    for filter in [
        "#",
        "v3/#",
        "v3/+",
        "v3/+/devices/+/up",
        APP_LEVEL,
        "v3/simulated-app@ttn/devices/+/up",
        "v3/simulated-app@ttn/no/such/thing",
    ] {
        assert_eq!(client.subscribe(filter, 1), [1], "{filter}");
    }
    for filter in [
        "v3",
        "+",
        "+/+/devices/+/up",
        "+/simulated-app@ttn/#",
        "$SYS/#",
        "/v3/#",
        "simulated-app@ttn/devices/+/up",
        "v3/simulated-app/devices/+/up",
        "v3/simulated-app@ttn2/#",
        "v3/other-app@ttn/#",
    ] {
        assert_eq!(client.subscribe(filter, 0), [0x80], "{filter}");
    }
    let expected = [
        ALL,
        APP_LEVEL,
        "v3/simulated-app@ttn/devices/+/up",
        "v3/simulated-app@ttn/no/such/thing",
    ];
    assert_eq!(network.clients()[0].subscriptions, expected);
    let unsubscribe = [vec![0, 9], string(ALL)].concat();
    client.write(&frame(0xa2, &unsubscribe));
    assert_eq!(client.packet(), [0xb0, 2, 0, 9]);
    assert_eq!(network.clients()[0].subscriptions, expected[1..]);
}

const APP_LEVEL: &str = "v3/simulated-app@ttn";

#[test]
fn a_hash_does_not_stand_for_its_parent_level() {
    let network = start();
    let mut client = Raw::subscribed(&network, &["v3/+/devices/+/up/#"]);
    let normalized = json!({"air": {"temperature": 21.5}});
    network
        .device("pump-1")
        .send(Uplink::new(1, [1]).normalized(normalized));
    assert_eq!(topics(&mut client, 1), ["up/normalized"]);
    client.assert_silent();
}

#[test]
fn delivery_is_at_qos_0_and_requests_are_not_echoed() {
    let network = start();
    network.device("pump-1");
    let mut client = Raw::connect(&network);
    assert_eq!(client.subscribe(ALL, 2), [2]);
    let request = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
    let events = client.publish_1(PUSH, request);
    assert_eq!(events.len(), 1);
    client.publish_1(REPLACE, r#"{"downlinks":[]}"#);
    client.assert_silent();
}

#[test]
fn missing_rights_are_not_seen() {
    let network = start();
    let device = network.device("pump-1");
    let client = |key: &str, rights: (bool, bool)| {
        let (read, write) = rights;
        network.add_key(APP, key, Rights { read, write });
        let hello = Hello {
            password: Some(key),
            ..Hello::of(&network)
        };
        let mut client = Raw::accepted(&network, &hello);
        assert_eq!(client.subscribe(ALL, 0), [0]);
        client
    };
    let mut deaf = client("NNSXS.DEAF.KEY", (false, true));
    let mut mute = client("NNSXS.MUTE.KEY", (true, false));
    let mut both = client("NNSXS.OTHER.RIGHTS", (false, false));
    let request = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
    assert_eq!(mute.publish_1(PUSH, request), []);
    assert!(device.queue().is_empty());
    assert_eq!(deaf.publish_1(PUSH, request), []);
    assert_eq!(topics(&mut mute, 1), ["down/queued"]);
    assert_eq!(device.queue().len(), 1);
    deaf.assert_silent();
    assert_eq!(both.publish_1(PUSH, request), []);
    assert_eq!(device.queue().len(), 1);
    both.assert_silent();
}

#[test]
fn other_topics_are_acknowledged_and_dropped() {
    let network = start();
    network.add_application("other-app@ttn", KEY);
    let other = network.device_of("other-app@ttn", "pump-1");
    let (device, mut client) = pump(&network);
    network.device("Pump_1");
    let request = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
    for topic in [
        "v3/other-app@ttn/devices/pump-1/down/push",
        "v3/simulated-app/devices/pump-1/down/push",
        "v3/simulated-app@ttn/devices/pump-1/down",
        "v3/simulated-app@ttn/devices/pump-1/up",
        "v3/simulated-app@ttn/devices/Pump_1/down/push",
        "v3/simulated-app@ttn/devices/unknown/down/push",
        "simulated-app@ttn/devices/pump-1/down",
    ] {
        assert_eq!(client.publish_1(topic, request), [], "{topic}");
    }
    assert!(device.queue().is_empty() && other.queue().is_empty());
    client.assert_silent();
}

#[test]
fn a_repeated_publish_is_executed_again_at_qos_1_and_not_at_qos_2() {
    let network = start();
    let (device, mut client) = pump(&network);
    let request = br#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
    let body = [&string(PUSH), &[0, 7][..], request].concat();
    for first in [0x32, 0x3a] {
        client.write(&frame(first, &body));
        assert_eq!(topics(&mut client, 1), ["down/queued"]);
        assert_eq!(client.packet(), [0x40, 2, 0, 7]);
    }
    client.write(&frame(0x34, &body));
    assert_eq!(topics(&mut client, 1), ["down/queued"]);
    assert_eq!(client.packet(), [0x50, 2, 0, 7]);
    client.write(&frame(0x3c, &body));
    assert_eq!(client.packet(), [0x50, 2, 0, 7]);
    assert_eq!(device.queue().len(), 3);
    client.write(&[0x62, 2, 0, 7]);
    assert_eq!(client.packet(), [0x70, 2, 0, 7]);
    client.write(&frame(0x34, &body));
    assert_eq!(topics(&mut client, 1), ["down/queued"]);
}
