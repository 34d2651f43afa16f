//! The simulated network, tested by bytes on a socket.
#![allow(clippy::unwrap_used)]

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use ttn::Network;
use ttn::simulator::{Device, Location, Rights, Simulator, SimulatorBuilder, Uplink, WhenFull};

use crate::support::raw::{Hello, LONG, Raw, SHORT, frame, parsed, string};
use crate::support::resources::{loopback, wait_until, wait_until_refused};

const APP: &str = "simulated-app";
const KEY: &str = "ttn-account-v2.simulated-key";
const UP: &str = "simulated-app/devices/+/up";
const EVENTS: &str = "simulated-app/devices/+/events/#";
const DOWN: &str = "simulated-app/devices/pump-1/down";

/// Returns a builder of networks that read any number of packets per second.
fn builder() -> SimulatorBuilder {
    Simulator::builder(Network::V2).quirks(|quirks| quirks.rate_limit = None)
}

fn start() -> Simulator {
    builder().start().unwrap()
}

/// Starts a network that sends downlinks before `uplink` returns.
fn instant() -> Simulator {
    builder()
        .receive_window(Duration::ZERO)
        .seed(7)
        .start()
        .unwrap()
}

fn pump(network: &Simulator) -> (Device, Raw) {
    let device = network.device("pump-1");
    (device, Raw::subscribed(network, &[UP, EVENTS]))
}

#[test]
fn a_downlink_travels_from_request_to_acknowledgement() {
    let network = start();
    let (device, mut client) = pump(&network);
    let request = r#"{"port":20,"confirmed":true,"payload_raw":"Dw=="}"#;
    let events = client.publish_1(DOWN, request);
    let message = json!({"port": 20, "confirmed": true, "payload_raw": "Dw=="});
    let topic = |event: &str| format!("simulated-app/devices/pump-1/events/{event}");
    assert_eq!(
        events,
        [(topic("down/scheduled"), json!({"message": message}))]
    );
    device.uplink(2, [1]);
    assert_eq!(client.message().0, "simulated-app/devices/pump-1/up");
    let sent = client.message_on("down/sent");
    assert_eq!(sent["message"]["payload_raw"], "Dw==");
    let received = device.next_downlink(LONG).unwrap();
    assert_eq!((received.port, received.confirmed), (20, true));
    assert_eq!(received.payload, [15]);
    device.uplink(2, [1]);
    assert_eq!(
        client.message(),
        (topic("down/acks"), json!({"message": message}))
    );
    assert_eq!(device.in_progress(), None);
}

// Connections.

#[test]
fn the_right_key_is_accepted_at_both_levels() {
    let network = start();
    for (name, level) in [("MQTT", 4), ("MQIsdp", 3), ("MQTT", 3), ("MQIsdp", 4)] {
        let hello = Hello {
            name,
            level,
            client_id: "",
            ..Hello::of(&network)
        };
        assert_eq!(Raw::hello(&network, &hello).packet(), [0x20, 2, 0, 0]);
    }
}

#[test]
fn a_wrong_key_is_refused_with_code_5() {
    let network = start();
    network.add_application("no-dot", "secret");
    network.add_application("Capitals", KEY);
    let none = Rights {
        read: false,
        write: false,
    };
    network.add_key(APP, "ttn-account-v2.useless", none);
    for (username, password) in [
        (Some(APP), Some("ttn-account-v2.wrong")),
        (Some(APP), Some("ttn-account-v2.useless")),
        (Some(APP), Some("")),
        (Some(APP), None),
        (Some("unknown-app"), Some(KEY)),
        (Some("no-dot"), Some("secret")),
        (Some("Capitals"), Some(KEY)),
        (None, None),
    ] {
        let hello = Hello {
            username,
            password,
            ..Hello::of(&network)
        };
        let mut client = Raw::hello(&network, &hello);
        assert_eq!(
            client.packet(),
            [0x20, 2, 0, 5],
            "{username:?} {password:?}"
        );
        client.assert_closed();
    }
    assert!(network.clients().is_empty());
}

#[test]
fn an_unknown_level_or_name_is_refused_with_code_1() {
    let network = start();
    for (name, level) in [("MQTT", 6), ("MQTT", 2), ("HTTP", 4)] {
        let hello = Hello {
            name,
            level,
            ..Hello::of(&network)
        };
        let mut client = Raw::hello(&network, &hello);
        assert_eq!(client.packet(), [0x20, 2, 0, 1], "{name} {level}");
        client.assert_closed();
    }
}

#[test]
fn an_mqtt_5_connect_is_closed_without_an_answer_or_with_code_1_if_it_has_no_username() {
    let network = start();
    let mut body = string("MQTT");
    body.extend([5, 0xc2, 0, 60, 0]);
    body.extend(["raw", APP, KEY].into_iter().flat_map(string));
    let mut client = Raw::open(&network);
    client.write(&frame(0x10, &body));
    client.assert_closed();
    let mut body = string("MQTT");
    body.extend([5, 2, 0, 60, 0]);
    body.extend(string("raw"));
    let mut anonymous = Raw::open(&network);
    anonymous.write(&frame(0x10, &body));
    assert_eq!(anonymous.packet(), [0x20, 2, 0, 1]);
}

#[test]
fn a_network_on_every_interface_names_the_loopback_one() {
    let network = builder().address("0.0.0.0:0").start().unwrap();
    let expected = format!("127.0.0.1:{}", network.address().port());
    assert_eq!(network.mqtt_address(), expected);
    assert!(TcpStream::connect(network.mqtt_address()).is_ok());
    restart(&network);
    assert_eq!(network.mqtt_address(), expected);
}

#[test]
fn a_taken_port_is_an_error() {
    let network = start();
    let second = builder().address(network.mqtt_address());
    assert!(second.start().is_err());
    assert!(builder().address("nonsense").start().is_err());
}

#[test]
fn malformed_and_unexpected_packets_end_the_connection() {
    let network = start();
    let subscribe =
        |filter: &str, qos: u8| frame(0x82, &[vec![0, 1], string(filter), vec![qos]].concat());
    for bytes in [
        frame(0x30, &string("")),
        frame(0x30, &string("simulated-app/devices/+/down")),
        frame(0x30, &string("simulated-app/#")),
        frame(0x38, &string(DOWN)),
        frame(0x30, &[0, 200, b'a']),
        subscribe("simulated-app/#/up", 0),
        subscribe("simulated-app/devices/a+/up", 0),
        subscribe("", 0),
        subscribe(UP, 3),
        frame(0xa2, &[vec![0, 1], string("a#")].concat()),
        vec![0xd0, 0],
        vec![0x30, 0xff, 0xff, 0xff, 0xff, 1],
        Hello::of(&network).bytes(),
    ] {
        let mut client = Raw::connect(&network);
        client.write(&bytes);
        client.assert_closed();
    }
    for first in [vec![0xc0, 0], vec![0x10, 2, 0, 9]] {
        let mut client = Raw::open(&network);
        client.write(&first);
        client.assert_closed();
    }
}

#[test]
fn a_connection_that_never_says_connect_is_closed() {
    let network = start();
    network.quirks(|quirks| quirks.connect_timeout = Duration::from_millis(300));
    let mut client = Raw::open(&network);
    client.write(&Hello::of(&network).bytes()[..10]);
    client.assert_silent();
    client.assert_closed();
}

#[test]
fn silence_of_one_and_a_half_keep_alives_ends_the_connection() {
    let network = start();
    let hello = Hello {
        keep_alive: 1,
        ..Hello::of(&network)
    };
    let mut client = Raw::hello(&network, &hello);
    client.packet();
    for _ in 0..2 {
        assert_eq!(client.try_packet(Duration::from_millis(1000)), Err(false));
        client.ping();
        assert_eq!(client.packet(), [0xd0, 0]);
    }
    let silent_since = Instant::now();
    client.assert_closed();
    let silence = silent_since.elapsed();
    assert!(silence > Duration::from_millis(1400), "{silence:?}");
    assert!(silence < Duration::from_millis(3000), "{silence:?}");
}

#[test]
fn a_keep_alive_of_zero_means_the_longest_silence() {
    let network = start();
    network.quirks(|quirks| quirks.longest_silence = Duration::from_millis(300));
    let hello = Hello {
        keep_alive: 0,
        ..Hello::of(&network)
    };
    let mut client = Raw::hello(&network, &hello);
    client.packet();
    client.assert_silent();
    client.assert_closed();
}

#[test]
fn packets_may_come_in_single_bytes_or_all_at_once() {
    let network = start();
    let subscribe = frame(0x82, &[vec![0, 1], string(UP), vec![0]].concat());
    let bytes = [Hello::of(&network).bytes(), subscribe, vec![0xc0, 0]].concat();
    let expected = [vec![0x20, 2, 0, 0], vec![0x90, 3, 0, 1, 0], vec![0xd0, 0]];
    let mut whole = Raw::open(&network);
    whole.write(&bytes);
    let mut single = Raw::open(&network);
    bytes.iter().for_each(|byte| single.write(&[*byte]));
    for packet in expected {
        assert_eq!(whole.packet(), packet);
        assert_eq!(single.packet(), packet);
    }
}

#[test]
fn a_huge_announced_packet_costs_nothing_until_its_bytes_come() {
    let network = start();
    let mut client = Raw::connect(&network);
    client.write(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'a']);
    client.assert_silent();
    let mut other = Raw::connect(&network);
    other.ping();
    assert_eq!(other.packet(), [0xd0, 0]);
}

#[test]
fn a_large_publish_arrives_whole() {
    let network = start();
    let mut client = Raw::connect(&network);
    let payload = vec![b'x'; 3 << 20];
    client.publish(DOWN, &payload);
    assert!(network.wait_for_published(1, LONG));
    assert_eq!(network.published(), [(DOWN.to_owned(), payload)]);
}

#[test]
fn after_disconnect_the_will_is_gone_and_closing_is_up_to_the_client() {
    let network = start();
    let (device, mut watcher) = pump(&network);
    let will = Some((DOWN, r#"{"payload_raw":"AQ=="}"#));
    let hello = Hello {
        will,
        ..Hello::of(&network)
    };
    let mut client = Raw::hello(&network, &hello);
    client.packet();
    client.write(&[0xe0, 0]);
    client.ping();
    assert_eq!(client.packet(), [0xd0, 0]);
    drop(client);
    assert!(network.wait_for_clients(1, LONG));
    watcher.assert_silent();
    assert!(device.queue().is_empty());
}

#[test]
fn networks_and_devices_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Simulator>();
    shared::<Device>();
}

#[test]
fn the_will_of_a_lost_client_is_a_downlink_request() {
    let network = start();
    let device = network.device("pump-1");
    let mut watcher = Raw::subscribed(&network, &[EVENTS]);
    let will = Some((DOWN, r#"{"payload_raw":"AQ=="}"#));
    let mut client = Raw::hello(
        &network,
        &Hello {
            will,
            ..Hello::of(&network)
        },
    );
    client.packet();
    drop(client);
    watcher.message_on("down/scheduled");
    assert_eq!(device.queue().len(), 1);
    let will = Some(("simulated-app/devices/pump-1/up", "{}"));
    let mut client = Raw::hello(
        &network,
        &Hello {
            will,
            ..Hello::of(&network)
        },
    );
    client.packet();
    drop(client);
    watcher.assert_silent();
}

#[test]
fn the_same_client_id_may_be_connected_twice() {
    let network = start();
    let mut clients = [(); 2].map(|()| Raw::subscribed(&network, &[UP]));
    assert!(network.wait_for_clients(2, LONG));
    assert!(!network.wait_for_clients(1, Duration::from_millis(1)));
    network.device("pump-1").uplink(1, [1]);
    for client in &mut clients {
        client.message();
    }
}

#[test]
fn clients_are_described_by_what_they_sent() {
    let network = start();
    assert!(!network.wait_for_clients(1, Duration::from_millis(1)));
    let hello = Hello {
        name: "MQIsdp",
        level: 3,
        client_id: "me/1",
        keep_alive: 15,
        will: Some((DOWN, "{}")),
        ..Hello::of(&network)
    };
    let mut client = Raw::hello(&network, &hello);
    client.packet();
    client.subscribe("+/devices/+/up", 1);
    client.subscribe(UP, 1);
    client.subscribe("elsewhere/#", 1);
    assert!(network.wait_for_clients(1, LONG));
    let infos = network.clients();
    let info = &infos[0];
    assert_eq!(
        (info.client_id.as_str(), info.username.as_str()),
        ("me/1", APP)
    );
    assert_eq!(info.keep_alive, Duration::from_secs(15));
    assert_eq!((info.level, info.will, info.clean_session), (3, true, true));
    assert_eq!(info.subscriptions, [UP]);
    drop(client);
    assert!(network.wait_for_clients(0, LONG));
}

#[test]
fn clients_can_be_cut_and_may_come_back() {
    let network = start();
    let mut client = Raw::connect(&network);
    network.disconnect_clients();
    assert!(network.clients().is_empty());
    client.assert_closed();
    Raw::connect(&network);
}

/// Restarts the network, trying repeatedly: a child process that another test starts may hold the
/// socket for a moment.
fn restart(network: &Simulator) {
    assert!(wait_until(LONG, || network.restart().is_ok()));
}

#[test]
fn stopping_cuts_everyone_and_restarting_keeps_port_devices_and_queues() {
    let network = builder()
        .address(format!("{}:0", loopback()))
        .start()
        .unwrap();
    let (device, mut client) = pump(&network);
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    let mut undecided = Raw::open(&network);
    let address = network.address();
    network.stop();
    client.assert_closed();
    undecided.assert_closed();
    wait_until_refused(address);
    assert_eq!(device.uplink(1, [1]), 0);
    network.stop();
    restart(&network);
    assert_eq!(network.address(), address);
    let mut client = Raw::subscribed(&network, &[EVENTS]);
    assert!(device.next_downlink(LONG).is_some());
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    assert_eq!(device.uplink(1, [1]), 1);
    restart(&network);
    Raw::connect(&network);
}

// Subscriptions.

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
        let mut client = Raw::hello(&network, &hello);
        assert_eq!(client.packet(), [0x20, 2, 0, 0]);
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

// Publishing.

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

// Quirks.

#[test]
fn the_front_can_be_told_how_to_refuse() {
    let network = start();
    network.quirks(|quirks| quirks.connack = Some(3));
    let mut refused = Raw::hello(&network, &Hello::of(&network));
    assert_eq!(refused.packet(), [0x20, 2, 0, 3]);
    refused.assert_closed();
    network.quirks(|quirks| {
        quirks.connack = None;
        quirks.ignore_connect = true;
    });
    let mut ignored = Raw::hello(&network, &Hello::of(&network));
    ignored.assert_silent();
    network.quirks(|quirks| {
        quirks.ignore_connect = false;
        quirks.close_on_connect = true;
    });
    Raw::hello(&network, &Hello::of(&network)).assert_closed();
    network.quirks(|quirks| {
        quirks.close_on_connect = false;
        quirks.close_on_accept = true;
    });
    Raw::open(&network).assert_closed();
    network.quirks(|quirks| *quirks = Default::default());
    Raw::connect(&network);
    ignored.assert_silent();
}

#[test]
fn subscriptions_can_be_refused_ignored_or_answered_late() {
    let network = start();
    let device = network.device("pump-1");
    let mut client = Raw::connect(&network);
    network.quirks(|quirks| quirks.refuse_subscriptions = true);
    assert_eq!(client.subscribe(UP, 0), [0x80]);
    network.quirks(|quirks| {
        quirks.refuse_subscriptions = false;
        quirks.ignore_subscriptions = true;
    });
    let subscribe = frame(0x82, &[vec![0, 9], string(UP), vec![0]].concat());
    client.write(&subscribe);
    client.assert_silent();
    device.uplink(1, [1]);
    client.assert_silent();
    network.quirks(|quirks| {
        quirks.ignore_subscriptions = false;
        quirks.publish_before_suback = true;
    });
    client.write(&subscribe);
    assert!(network.wait_for_subscriptions(1, LONG));
    client.assert_silent();
    device.uplink(1, [1]);
    assert_eq!(client.message().0, "simulated-app/devices/pump-1/up");
    assert_eq!(client.packet(), [0x90, 3, 0, 9, 0]);
}

#[test]
fn pings_and_publishes_can_be_ignored() {
    let network = start();
    let device = network.device("pump-1");
    let mut client = Raw::connect(&network);
    network.quirks(|quirks| quirks.ignore_pings = true);
    client.ping();
    client.assert_silent();
    network.quirks(|quirks| {
        quirks.ignore_pings = false;
        quirks.ignore_publishes = true;
    });
    let body = [&string(DOWN), &[0, 7][..], br#"{"payload_raw":"AQ=="}"#].concat();
    client.write(&frame(0x32, &body));
    client.write(&frame(0x34, &body));
    client.assert_silent();
    assert!(device.queue().is_empty());
    assert_eq!(network.published().len(), 2);
    client.ping();
    assert_eq!(client.packet(), [0xd0, 0]);
}

#[test]
fn uplinks_can_be_published_twice() {
    let network = start();
    let mut client = Raw::subscribed(&network, &[UP]);
    network.quirks(|quirks| quirks.duplicate_uplinks = true);
    network.device("pump-1").uplink(1, [1]);
    assert_eq!(client.packet(), client.packet());
    client.assert_silent();
}

#[test]
fn a_rate_limit_delays_and_loses_nothing() {
    let network = start();
    network.quirks(|quirks| quirks.rate_limit = Some(20));
    let mut client = Raw::connect(&network);
    let begun = Instant::now();
    client.write(&[0xc0, 0].repeat(7));
    for _ in 0..7 {
        assert_eq!(client.packet(), [0xd0, 0]);
    }
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_millis(290), "{taken:?}");
    assert!(taken < Duration::from_secs(5), "{taken:?}");
}

#[test]
fn a_flood_of_uplinks_reaches_a_client_that_reads() {
    let network = start();
    let device = network.device("pump-1");
    let mut client = Raw::subscribed(&network, &[UP]);
    let flood = std::thread::spawn(move || {
        for _ in 0..1000 {
            device.uplink(1, [1]);
        }
    });
    for counter in 0..1000 {
        assert_eq!(client.message().1["counter"], counter);
    }
    flood.join().unwrap();
    assert_eq!(network.dropped(), 0);
}

#[test]
fn a_client_that_does_not_read_loses_the_newest_messages() {
    let network = start();
    network.quirks(|quirks| {
        quirks.when_full = WhenFull::Drop;
        quirks.session_buffer = 4;
    });
    let mut client = Raw::subscribed(&network, &[UP]);
    let topic = "simulated-app/devices/pump-1/up";
    let sent = 40;
    let begun = Instant::now();
    for index in 0..sent {
        network.publish(topic, format!("{index}{}", " ".repeat(1 << 20)));
    }
    assert!(begun.elapsed() < Duration::from_secs(8));
    let dropped = network.dropped();
    assert!(dropped > 0, "{dropped}");
    network.publish(topic, "-1");
    let mut expected = 0;
    for _ in 0..sent - dropped {
        let (_, number) = client.message();
        let number = number.as_u64().unwrap();
        assert!(number >= expected, "{number} after {expected}");
        expected = number + 1;
    }
}

#[test]
fn a_stalled_client_costs_ten_seconds_once_until_it_reads_again() {
    let network = start();
    network.quirks(|quirks| quirks.session_buffer = 1);
    let mut stalled = Raw::subscribed(&network, &[UP]);
    let payload = " ".repeat(1 << 20);
    let begun = Instant::now();
    for _ in 0..40 {
        network.publish("simulated-app/devices/pump-1/up", &payload);
    }
    let waited = begun.elapsed();
    let dropped = network.dropped();
    assert!(dropped > 0);
    assert!(waited >= Duration::from_secs(10), "{waited:?}");
    assert!(waited < Duration::from_secs(18), "{waited:?}");
    for _ in 0..40 - dropped {
        stalled.packet();
    }
    for _ in 0..500 {
        network.publish("simulated-app/devices/pump-1/up", "0");
    }
    for _ in 0..500 {
        assert_eq!(stalled.message().1, 0, "it is waited for again");
    }
    assert_eq!(network.dropped(), dropped);
    let begun = Instant::now();
    network.stop();
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(stalled);
}

#[test]
fn stopping_frees_a_publisher_that_waits_for_room() {
    let network = start();
    network.quirks(|quirks| quirks.session_buffer = 1);
    let _stalled = Raw::subscribed(&network, &[UP]);
    let device = network.device("pump-1");
    let payload = vec![0; 1 << 20];
    let (done, finished) = mpsc::channel();
    let publisher = std::thread::spawn(move || {
        for _ in 0..40 {
            device.uplink(1, &payload);
            if done.send(()).is_err() {
                return;
            }
        }
    });
    while finished.recv_timeout(Duration::from_millis(500)).is_ok() {}
    drop(finished);
    let begun = Instant::now();
    network.stop();
    publisher.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
}

// Uplinks.

/// Returns the text of the next uplink, with variable parts blanked.
fn uplink_text(client: &mut Raw) -> String {
    let (topic, text) = client.text();
    assert_eq!(topic, "simulated-app/devices/pump-1/up");
    let mut text = text;
    for key in ["\"timestamp\":", "\"rssi\":", "\"snr\":"] {
        let mut pieces = text.split(key);
        let mut blanked = pieces.next().unwrap().to_owned();
        for piece in pieces {
            let rest = piece.find(',').unwrap();
            piece[..rest].parse::<f64>().unwrap();
            blanked.push_str(key);
            blanked.push('_');
            blanked.push_str(&piece[rest..]);
        }
        text = blanked;
    }
    text
}

fn at(nanos: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_520_581_282, nanos)
}

const FIRST_GATEWAY: &str = concat!(
    r#"{"gtw_id":"eui-58a0cbfffe80aa11","timestamp":_,"time":"2018-03-09T07:41:22.5Z","channel":0,"rssi":_,"snr":_,"rf_chain":1,"#,
    r#""latitude":51.92442,"longitude":4.477733,"altitude":14,"location_source":"registry"}"#
);

#[test]
fn an_uplink_has_its_members_in_the_networks_order() {
    let network = start();
    let (device, mut client) = pump(&network);
    let serial = device.dev_eui();
    let fields = json!({"temperature_1": 27.2, "note": "<b> & ü", "relative_humidity_2": 29.0});
    let place = Location {
        latitude: 37.80444,
        longitude: -122.27083,
        altitude: -3,
    };
    let uplink = Uplink::new(2, [1, 0x67, 1, 0x10])
        .time(at(500_000_000))
        .confirmed(true)
        .retry(true)
        .fields(fields)
        .location(place)
        .attribute("ttn-model", "x")
        .attribute("bench", "north");
    device.send(uplink);
    let expected = [
        r#"{"app_id":"simulated-app","dev_id":"pump-1","hardware_serial":""#,
        &serial,
        r#"","port":2,"counter":0,"confirmed":true,"is_retry":true,"payload_raw":"AWcBEA==","#,
        r#""payload_fields":{"note":"\u003cb\u003e \u0026 ü","relative_humidity_2":29,"temperature_1":27.2},"#,
        r#""metadata":{"time":"2018-03-09T07:41:22.5Z","frequency":868.1,"modulation":"LORA","data_rate":"SF7BW125","#,
        r#""airtime":51456000,"coding_rate":"4/5","gateways":["#,
        FIRST_GATEWAY,
        r#"],"latitude":37.80444,"longitude":-122.27083,"altitude":-3,"location_source":"registry"},"#,
        r#""attributes":{"bench":"north","ttn-model":"x"}}"#,
    ];
    assert_eq!(uplink_text(&mut client), expected.concat());
}

#[test]
fn an_ordinary_uplink_leaves_out_what_it_has_not() {
    let network = start();
    let (device, mut client) = pump(&network);
    let serial = device.dev_eui();
    device.uplink(2, [1]);
    client.message();
    device.send(Uplink::new(2, [1]).time(at(500_000_000)).fields(json!({})));
    let gateway = FIRST_GATEWAY.replace(r#""channel":0"#, r#""channel":1"#);
    let expected = [
        r#"{"app_id":"simulated-app","dev_id":"pump-1","hardware_serial":""#,
        &serial,
        r#"","port":2,"counter":1,"payload_raw":"AQ==","metadata":{"time":"2018-03-09T07:41:22.5Z","frequency":868.3,"#,
        r#""modulation":"LORA","data_rate":"SF7BW125","airtime":46336000,"coding_rate":"4/5","gateways":["#,
        &gateway,
        "]}}",
    ];
    assert_eq!(uplink_text(&mut client), expected.concat());
}

#[test]
fn a_simulated_uplink_knows_nothing_of_radio() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    device.uplink(1, [1]);
    client.message_on("down/sent");
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    assert_eq!(
        device.send(Uplink::new(9, [0]).simulated(true).time(at(0))),
        0
    );
    let expected = [
        r#"{"app_id":"simulated-app","dev_id":"pump-1","hardware_serial":""#,
        &device.dev_eui(),
        r#"","port":9,"counter":0,"payload_raw":"AA==","metadata":{"time":"2018-03-09T07:41:22Z"}}"#,
    ];
    assert_eq!(uplink_text(&mut client), expected.concat());
    client.assert_silent();
    assert_eq!(device.queue().len(), 1);
    assert_eq!(device.uplink(1, [1]), 1);
}

#[test]
fn an_fsk_uplink_has_a_bit_rate_and_no_data_rate() {
    let network = start();
    let (device, mut client) = pump(&network);
    device.send(Uplink::new(1, [0, 0x11, 0x22, 0x33]).fsk());
    let metadata = &client.message().1["metadata"];
    assert_eq!(metadata["modulation"], "FSK");
    assert_eq!(metadata["bit_rate"], 50_000);
    assert_eq!(metadata["frequency"], 868.8);
    assert_eq!(metadata["airtime"], 4_480_000);
    assert_eq!(metadata.get("data_rate"), None);
    assert_eq!(metadata.get("coding_rate"), None);
}

#[test]
fn an_uplink_without_bytes_or_port_has_null_in_place_of_its_payload() {
    let network = start();
    let (device, mut client) = pump(&network);
    for (port, payload) in [(0, &[][..]), (3, &[][..]), (0, &[1][..])] {
        device.uplink(port, payload);
        let (_, uplink) = client.message();
        assert_eq!(uplink["port"], port);
        assert_eq!(uplink["payload_raw"], Value::Null, "{port} {payload:?}");
    }
}

#[test]
fn several_gateways_may_hear_an_uplink_and_one_of_them_has_a_clock() {
    let network = start();
    let (device, mut client) = pump(&network);
    device.send(
        Uplink::new(1, [1])
            .gateways(3)
            .frequency(903.9)
            .data_rate("SF10BW125"),
    );
    let (_, uplink) = client.message();
    let metadata = &uplink["metadata"];
    assert_eq!(metadata["frequency"], 903.9);
    assert_eq!(metadata["airtime"], 288_768_000);
    let gateways = metadata["gateways"].as_array().unwrap();
    assert_eq!(gateways.len(), 3);
    let gateway = |end: &str| {
        let id = format!("eui-58a0cbfffe80aa{end}");
        let mut found = gateways.iter().filter(|gateway| gateway["gtw_id"] == *id);
        found.next().unwrap_or_else(|| panic!("no {id}"))
    };
    assert_ne!(gateway("11")["time"], "");
    assert_eq!(gateway("11")["gtw_trusted"], Value::Null);
    assert_eq!(gateway("12")["gtw_trusted"], true);
    assert_eq!(gateway("12")["time"], "");
    assert_eq!(gateway("13").get("latitude"), None);
    device.send(Uplink::new(1, [1]).gateways(0).data_rate("SF99"));
    let (_, uplink) = client.message();
    assert_eq!(uplink["metadata"].get("gateways"), None);
    assert_eq!(uplink["metadata"].get("airtime"), None);
}

#[test]
fn counters_go_on_from_the_last_one_and_a_retry_repeats_it() {
    let network = start();
    let device = network.device("pump-1");
    assert_eq!(device.uplink(1, [1]), 0);
    assert_eq!(device.uplink(1, [1]), 1);
    assert_eq!(device.send(Uplink::new(1, [1]).retry(true)), 1);
    assert_eq!(device.send(Uplink::new(1, [1]).counter(u32::MAX)), u32::MAX);
    assert_eq!(device.uplink(1, [1]), 0);
    device.uplink(1, [1]);
    device.join();
    assert_eq!(device.uplink(1, [1]), 0);
}

#[test]
fn the_first_uplink_with_counter_0_counts_as_a_repetition() {
    let network = start();
    let (device, mut client) = pump(&network);
    let mut is_retry = |uplink: Uplink| {
        device.send(uplink);
        client.message_on("/up").get("is_retry") == Some(&json!(true))
    };
    let uplink = || Uplink::new(1, [1]);
    assert!(is_retry(uplink()));
    assert!(!is_retry(uplink()));
    device.join();
    // The last counter before the join was 1.
    assert!(!is_retry(uplink()));
    device.join();
    // It was 0.
    assert!(is_retry(uplink()));
    assert!(!is_retry(uplink().confirmed(true)));
    assert!(is_retry(uplink().confirmed(true).retry(true)));
    assert!(!is_retry(uplink().simulated(true)));
    let started_elsewhere = network.device("pump-1b");
    started_elsewhere.send(uplink().counter(7));
    assert_eq!(client.message_on("/up").get("is_retry"), None);
}

#[test]
fn old_counters_and_long_jumps_are_not_heard_and_what_they_acknowledge_is_not() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let uplink = |counter| Uplink::new(1, [1]).counter(counter);
    device.send(uplink(5));
    client.message();
    client.publish_1(DOWN, r#"{"payload_raw":"AQ==","confirmed":true}"#);
    device.uplink(1, [1]);
    client.message_on("down/sent");
    for unheard in [4, 6, 6 + 16_385] {
        device.send(uplink(unheard));
        client.assert_silent();
    }
    // The acknowledgement was in one of those.
    device.send(uplink(6 + 16_384));
    assert!(client.message().0.ends_with("/up"));
    client.message_on("down/sent");
    device.send(uplink(6 + 16_385).confirmed(true));
    assert!(client.message().0.ends_with("down/acks"));
    client.message_on("down/sent");

    device.resets_counters(true);
    device.send(uplink(0));
    assert_eq!(client.message_on("/up")["counter"], 0);
}

#[test]
fn the_repetition_of_an_unconfirmed_uplink_is_not_published() {
    let network = instant();
    let (device, mut client) = pump(&network);
    assert_eq!(device.uplink(1, [1]), 0);
    client.message();
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    assert_eq!(device.send(Uplink::new(1, [1]).retry(true)), 0);
    client.assert_silent();
    assert_eq!(device.queue().len(), 1);
    assert_eq!(device.uplink(1, [1]), 1);
    client.message_on("down/sent");
    // The device sends it for the first time.
    device.join();
    client.message_on("activations");
    assert_eq!(device.send(Uplink::new(1, [1]).retry(true)), 0);
    client.message_on("/up");
}

#[test]
fn a_simulated_uplink_has_a_location_without_its_source() {
    let network = start();
    let (device, mut client) = pump(&network);
    let place = Location {
        latitude: 0.0,
        longitude: 5.5,
        altitude: -7,
    };
    device.send(
        Uplink::new(5, [1, 2])
            .simulated(true)
            .time(at(0))
            .location(place),
    );
    let expected = r#""metadata":{"time":"2018-03-09T07:41:22Z","longitude":5.5,"altitude":-7}}"#;
    let text = uplink_text(&mut client);
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn the_last_servers_warn_in_every_uplink() {
    let network = start();
    let (device, mut client) = pump(&network);
    network.quirks(|quirks| quirks.shutdown_warning = true);
    let warning = "The Things Network V2 is shutting down in December 2021. Migrate to V3 NOW!";
    device.send(Uplink::new(1, [1]).attribute("bench", "north"));
    let expected = json!({"bench": "north", "warning": warning});
    assert_eq!(client.message().1["attributes"], expected);
    device.send(Uplink::new(1, [1]).simulated(true));
    assert_eq!(
        client.message().1["attributes"],
        json!({"warning": warning})
    );
}

#[test]
fn the_decoder_gets_no_bytes_of_a_frame_without_a_port() {
    let network = start();
    let (device, mut client) = pump(&network);
    network.set_decoder(|_, bytes| Ok(Some(json!({"n": bytes.len()}))));
    device.uplink(0, [1, 2, 3]);
    let (_, uplink) = client.message();
    assert_eq!(uplink["payload_raw"], Value::Null);
    assert_eq!(uplink["payload_fields"], json!({"n": 0}));
}

#[test]
fn the_gateways_of_an_uplink_come_in_any_order() {
    let network = start();
    let (device, mut client) = pump(&network);
    let mut firsts = std::collections::BTreeSet::new();
    assert!(wait_until(LONG, || {
        device.send(Uplink::new(1, [1]).gateways(3));
        firsts.insert(client.message().1["metadata"]["gateways"][0]["gtw_id"].to_string());
        firsts.len() == 3
    }));
}

#[test]
fn behind_a_plain_broker_a_burst_of_downlinks_is_queued_in_any_order() {
    let network = start();
    let (device, mut client) = pump(&network);
    let mut burst = |count: u8| {
        for port in 1..=count {
            let schedule = if port == 1 { "replace" } else { "last" };
            let request = json!({"port": port, "payload_raw": "AQ==", "schedule": schedule});
            client.publish(DOWN, request.to_string().as_bytes());
        }
        (0..count).for_each(|_| drop(client.message_on("down/scheduled")));
        let queue = device.queue();
        queue
            .iter()
            .map(|downlink| downlink.port)
            .collect::<Vec<u8>>()
    };
    let in_order: Vec<u8> = (1..=5).collect();
    assert_eq!(burst(5), in_order);
    network.quirks(|quirks| quirks.plain_broker = true);
    let bursts: Vec<Vec<u8>> = (0..40).map(|_| burst(5)).collect();
    // A third of them; more if a busy machine takes their time.
    let ordered = bursts.iter().filter(|burst| **burst == in_order).count();
    assert!((4..36).contains(&ordered), "{ordered} of 40 in order");
    for mut burst in bursts {
        assert_eq!(burst[0], 1, "the one that replaces is first");
        burst.sort();
        assert_eq!(burst, in_order, "none is lost");
    }
}

#[test]
fn behind_a_plain_broker_nothing_overtakes_a_replacement_whatever_devices_send() {
    let network = instant();
    network.quirks(|quirks| quirks.plain_broker = true);
    let (_, mut client) = pump(&network);
    let others: Vec<Device> = (0..4)
        .map(|index| network.device(&format!("other-{index}")))
        .collect();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for other in &others {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    other.uplink(1, [1]);
                }
            });
        }
        let mut ports = Vec::new();
        for round in 0..100 {
            for port in 1..=5 {
                let request = json!({"port": port, "payload_raw": "AQ=="});
                client.publish(DOWN, request.to_string().as_bytes());
            }
            for _ in 0..5 {
                let scheduled = client.message_on("down/scheduled");
                ports.push((round, scheduled["message"]["port"].as_u64()));
            }
        }
        is_done.store(true, Ordering::Relaxed);
        assert!(ports.is_sorted(), "{ports:?}");
    });
}

#[test]
fn a_plain_broker_reads_at_any_rate_and_carries_out_wills() {
    let network = Simulator::builder(Network::V2)
        .quirks(|quirks| quirks.plain_broker = true)
        .start()
        .unwrap();
    let (device, mut watcher) = pump(&network);
    let will = Some((DOWN, r#"{"port":2,"payload_raw":"AQ==","schedule":"last"}"#));
    let hello = Hello {
        will,
        ..Hello::of(&network)
    };
    let mut client = Raw::hello(&network, &hello);
    client.packet();
    let start = Instant::now();
    for _ in 0..30 {
        let request = r#"{"port":1,"payload_raw":"AQ==","schedule":"last"}"#;
        client.publish(DOWN, request.as_bytes());
    }
    (0..30).for_each(|_| drop(watcher.message_on("down/scheduled")));
    assert!(start.elapsed() < Duration::from_secs(2), "not 10 a second");
    drop(client);
    let scheduled = watcher.message_on("down/scheduled");
    assert_eq!(scheduled["message"]["port"], 2);
    assert_eq!(device.queue().len(), 31);
}

#[test]
fn the_same_seed_gives_the_same_radio() {
    let uplinks = [(); 2].map(|()| {
        let network = instant();
        let (device, mut client) = pump(&network);
        device.uplink(1, [1]);
        let mut uplink = client.message().1["metadata"]["gateways"][0].take();
        uplink["timestamp"].take();
        uplink["time"].take();
        (uplink, device.dev_addr(), device.dev_eui())
    });
    assert_eq!(uplinks[0], uplinks[1]);
}

#[test]
fn a_fixed_time_is_that_of_every_message() {
    let network = builder().fixed_time(at(787_000_000)).start().unwrap();
    let (device, mut client) = pump(&network);
    device.uplink(1, [1]);
    let up = client.message().1;
    device.join();
    let activation = client.message_on("activations");
    assert_eq!(up["metadata"]["time"], "2018-03-09T07:41:22.787Z");
    assert_eq!(activation["metadata"]["time"], up["metadata"]["time"]);
}

#[test]
fn fields_are_published_on_topics_of_their_own() {
    let network = start();
    let device = network.device("pump-1");
    let mut client = Raw::subscribed(&network, &["#"]);
    let fields = json!({
        "gps": {"lat": 51.5, "hdop": null}, "on": true, "list": [1, {"a": 2}], "a+b": 1, "x/y": "z", "": 5,
    });
    device.send(Uplink::new(1, [1]).fields(fields.clone()));
    let mut texts: Vec<_> = (0..8).map(|_| client.text()).collect();
    texts.sort();
    let expected = [
        ("", "5"),
        ("/gps", r#"{"hdop":null,"lat":51.5}"#),
        ("/gps/hdop", "null"),
        ("/gps/lat", "51.5"),
        ("/list", r#"[1,{"a":2}]"#),
        ("/on", "true"),
        ("/x/y", r#""z""#),
    ];
    let mut expected = expected.map(|(path, value)| {
        let topic = format!("simulated-app/devices/pump-1/up{path}");
        (topic, value.to_owned())
    });
    expected.sort();
    let is_uplink = |(_, text): &(String, String)| text.contains("metadata");
    let uplink = texts.remove(texts.iter().position(is_uplink).unwrap());
    let uplink: Value = serde_json::from_str(&uplink.1).unwrap();
    assert_eq!(uplink["payload_fields"], fields);
    assert_eq!(texts, expected);
    network.quirks(|quirks| quirks.field_topics = false);
    device.send(Uplink::new(1, [1]).fields(fields));
    client.message();
    client.assert_silent();
}

#[test]
fn fields_come_in_any_order_and_sometimes_before_their_uplink() {
    let network = start();
    let device = network.device("pump-1");
    let mut client = Raw::subscribed(&network, &["#"]);
    let names = ["a", "b", "c", "d", "e"];
    let mut rounds = |plain: bool| {
        network.quirks(|quirks| quirks.plain_broker = plain);
        let mut places = [0; 6];
        let mut sorted = 0;
        for _ in 0..100 {
            let fields: Value = names
                .iter()
                .map(|name| (name.to_string(), json!(1)))
                .collect();
            device.send(Uplink::new(1, [1]).fields(fields));
            let topics = kinds(&mut client, 6);
            places[topics.iter().position(|topic| topic == "up").unwrap()] += 1;
            let fields = topics.iter().filter(|topic| *topic != "up");
            sorted += usize::from(fields.is_sorted());
        }
        (places, sorted)
    };
    let (places, sorted) = rounds(false);
    assert!((60..100).contains(&places[0]), "{places:?}");
    assert!(sorted < 20, "{sorted} in order");
    let (places, sorted) = rounds(true);
    assert_eq!(places[0], 100);
    assert!(sorted < 20, "{sorted} in order");
}

#[test]
fn a_field_with_a_hash_costs_the_handler_its_connection_for_a_moment() {
    let network = start();
    let (device, mut downlinks) = pump(&network);
    // So that the uplink is published before its fields.
    network.quirks(|quirks| quirks.plain_broker = true);
    let mut fields = Raw::subscribed(&network, &["+/devices/+/up/#"]);
    device.send(Uplink::new(1, [1]).fields(json!({"a#": 1})));
    assert!(downlinks.message().0.ends_with("/up"));
    fields.assert_silent();
    network.quirks(|quirks| quirks.plain_broker = false);
    let mut is_lost = || {
        let events = downlinks.publish_1(DOWN, r#"{"port":1,"payload_raw":"AQ=="}"#);
        !events
            .iter()
            .any(|(topic, _)| topic.ends_with("down/scheduled"))
    };
    // A busy machine may need longer than the handler.
    assert!(wait_until(LONG, || {
        device.send(Uplink::new(1, [1]).fields(json!({"a#": 1})));
        is_lost()
    }));
    assert!(wait_until(LONG, || !is_lost()), "it connects again");
    device.send(Uplink::new(1, [1]).fields(json!({"b": 1})));
    assert!(fields.message().0.ends_with("up/b"));
}

#[test]
fn a_decoder_makes_the_fields_and_a_failing_one_an_error() {
    let network = start();
    let (device, mut client) = pump(&network);
    network.set_decoder(|port, bytes| match port {
        1 => Ok(Some(json!({"level": bytes[0]}))),
        2 => Ok(None),
        3 => Ok(Some(json!([1]))),
        4 => Err("ReferenceError: 'byte' is not defined".into()),
        _ => panic!("on purpose"),
    });
    device.uplink(1, [7]);
    assert_eq!(client.message().1["payload_fields"], json!({"level": 7}));
    device.uplink(2, [7]);
    assert_eq!(client.message().1.get("payload_fields"), None);
    for (port, error) in [
        (3, "Decoder not valid: does not return an object"),
        (
            4,
            "Internal error: Decoder threw error: ReferenceError: 'byte' is not defined",
        ),
        (5, "Internal error: Decoder threw error: panicked"),
    ] {
        device.send(Uplink::new(port, [7]).attribute("bench", "north"));
        let error = format!("Unable to decode payload fields: {error}");
        let topic = "simulated-app/devices/pump-1/events/up/errors".to_owned();
        let mut messages = [client.message(), client.message()];
        messages.sort_by_key(|(topic, _)| topic.ends_with("/up"));
        assert_eq!(messages[0], (topic, json!({"error": error})));
        assert_eq!(messages[1].1.get("payload_fields"), None);
        assert_eq!(messages[1].1.get("attributes"), None);
    }
}

#[test]
fn a_validator_can_keep_an_uplink_back() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    network.set_decoder(|_, bytes| Ok(Some(json!({"level": bytes[0]}))));
    network.set_validator(|_, fields| fields["level"].as_u64() < Some(100));
    device.uplink(1, [100]);
    let error = json!({"error": "Payload not valid: payload validator function returned false"});
    assert_eq!(client.message().1, error);
    client.assert_silent();
    // Nobody is told about a simulated one.
    device.send(Uplink::new(1, [100]).simulated(true));
    device.uplink(1, [99]);
    assert_eq!(client.message().1["payload_fields"], json!({"level": 99}));
    client.message_on("down/sent");
}

#[test]
fn a_downlink_whose_acknowledgement_comes_with_a_rejected_uplink_is_sent_again() {
    let network = instant();
    let (device, mut client) = pump(&network);
    network.set_decoder(|_, bytes| Ok(Some(json!({"level": bytes[0]}))));
    network.set_validator(|_, fields| fields["level"].as_u64() < Some(100));
    client.publish_1(DOWN, r#"{"confirmed":true,"payload_raw":"AQ=="}"#);
    device.uplink(1, [1]);
    client.message_on("down/sent");
    device.uplink(1, [100]);
    assert!(client.message().0.ends_with("down/acks"));
    assert!(client.message().0.ends_with("up/errors"));
    assert!(device.in_progress().is_some());
    device.uplink(1, [1]);
    assert!(client.message().0.ends_with("pump-1/up"));
    assert!(client.message().0.ends_with("down/sent"));
    device.uplink(1, [1]);
    assert!(client.message().0.ends_with("down/acks"));
    assert_eq!(device.in_progress(), None);
    assert_eq!(device.received().try_iter().count(), 2);
}

#[test]
fn payload_functions_may_use_the_network() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let (other, again) = (network.device("pump-2"), device.clone());
    network.set_decoder(move |port, _| {
        if port == 1 {
            other.uplink(2, [1]);
            again.uplink(2, [1]);
            assert!(again.queue().len() < 2);
        }
        Ok(None)
    });
    let other = network.device("pump-2");
    network.set_encoder(move |_, _| {
        other.uplink(2, [1]);
        Ok(vec![1])
    });
    client.publish_1(DOWN, r#"{"payload_fields":{"led":true}}"#);
    device.uplink(1, [1]);
    client.message_on("down/sent");
    assert_eq!(device.next_downlink(LONG).unwrap().payload, [1]);
}

// Activations and device events.

#[test]
fn a_join_is_announced_with_a_new_address() {
    let network = start();
    let (device, mut client) = pump(&network);
    let before = device.dev_addr();
    device.join();
    let after = device.dev_addr();
    assert_ne!(before, after);
    assert_eq!(after.len(), 8);
    let (topic, text) = client.text();
    assert_eq!(topic, "simulated-app/devices/pump-1/events/activations");
    let serial = device.dev_eui();
    let beginning = format!(
        r#"{{"app_eui":"70B3D57ED000AB01","dev_eui":"{serial}","dev_addr":"{after}","metadata":{{"time":"2"#
    );
    assert!(text.starts_with(&beginning), "{text}");
    let metadata = &serde_json::from_str::<Value>(&text).unwrap()["metadata"];
    assert_eq!(metadata["airtime"], 25_856_000, "of no bytes at all");
    assert_eq!(metadata["gateways"].as_array().unwrap().len(), 1);
    assert_eq!(metadata.get("latitude"), None);
}

#[test]
fn an_activation_has_the_location_of_the_device_and_none_of_its_gateways() {
    let network = start();
    let mut client = Raw::subscribed(&network, &[EVENTS]);
    let place = Location {
        latitude: 51.92442,
        longitude: 4.477733,
        altitude: 14,
    };
    let device = network.create_device("pump-1", Some(place));
    client.message_on("create");
    device.join();
    let (_, text) = client.text();
    let end = r#""rf_chain":1}],"latitude":51.92442,"longitude":4.477733,"altitude":14,"location_source":"registry"}}"#;
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn a_refused_join_is_announced_with_the_reason() {
    let network = start();
    let (device, mut client) = pump(&network);
    let before = device.dev_addr();
    device.uplink(1, [1]);
    client.message();
    device.join_fails("Activation DevNonce not valid: already used");
    let expected = [
        r#"{"error":"Activation DevNonce not valid: already used","app_eui":"70B3D57ED000AB01","dev_eui":""#,
        &device.dev_eui(),
        r#"","dev_addr":"","metadata":{"time":""}}"#,
    ];
    let topic = "simulated-app/devices/pump-1/events/activations/errors".to_owned();
    assert_eq!(client.text(), (topic, expected.concat()));
    network.gateways_down(true);
    device.join();
    client.assert_silent();
    assert_eq!(device.dev_addr(), before);
    assert_eq!(device.uplink(1, [1]), 1);
}

#[test]
fn saving_and_deleting_a_device_is_announced() {
    let network = start();
    let mut client = Raw::subscribed(&network, &[EVENTS]);
    network.device("silent");
    let place = Location {
        latitude: 51.92442,
        longitude: 4.477733,
        altitude: 14,
    };
    let device = network.create_device("pump-2", Some(place));
    network.create_device("pump-2", None);
    let topic = |event: &str| format!("simulated-app/devices/pump-2/events/{event}");
    let (create, text) = client.text();
    assert_eq!(create, topic("create"));
    let beginning = r#"{"latitude":51.92442,"longitude":4.477733,"altitude":14,"update_at":"2"#;
    assert!(text.starts_with(beginning), "{text}");
    assert!(network.update_device("pump-2", Some(place)));
    let unchanged = r#"{"update_at":"0001-01-01T00:00:00Z"}"#.to_owned();
    assert_eq!(client.text(), (topic("update"), unchanged));
    assert!(network.update_device(
        "pump-2",
        Some(Location {
            altitude: 15,
            ..place
        })
    ));
    let (_, text) = client.text();
    assert!(
        text.starts_with(r#"{"altitude":15,"update_at":"2"#),
        "{text}"
    );
    let mut uplinks = Raw::subscribed(&network, &[UP]);
    device.uplink(1, [1]);
    assert_eq!(uplinks.message().1["metadata"]["altitude"], 15);
    assert!(network.delete_device("pump-2"));
    assert_eq!(client.text(), (topic("delete"), "null".to_owned()));
    assert!(!network.delete_device("pump-2"));
    assert!(!network.update_device("pump-2", None));
    client.assert_silent();
}

#[test]
fn a_deleted_device_is_not_heard_and_loses_its_queue() {
    let network = start();
    let (device, mut client) = pump(&network);
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    device.uplink(1, [1]);
    client.message();
    network.delete_device("pump-1");
    client.message_on("delete");
    assert_eq!(device.uplink(1, [1]), 0);
    device.join();
    device.stops_acknowledging(true);
    assert_eq!(
        (device.dev_eui(), device.dev_addr()),
        (String::new(), String::new())
    );
    client.assert_silent();
    assert!(network.device("pump-1").queue().is_empty());
}

// Downlinks.

#[test]
fn a_downlink_that_cannot_be_read_leaves_no_trace() {
    let network = start();
    let (device, mut client) = pump(&network);
    network.device("Pump");
    for request in [
        r#"{"port":300,"payload_raw":"AQ=="}"#,
        r#"{"port":1,"payload_raw":"not base64!"}"#,
        r#"{"port":1,"payload_fields":[1,2,3]}"#,
        "[]",
        "",
        "{",
    ] {
        assert!(client.publish_1(DOWN, request).is_empty(), "{request}");
    }
    let request = r#"{"payload_raw":"AQ=="}"#;
    assert!(
        client
            .publish_1("simulated-app/devices/unknown/down", request)
            .is_empty()
    );
    assert!(
        client
            .publish_1("simulated-app/devices/Pump/down", request)
            .is_empty()
    );
    client.assert_silent();
    assert!(device.queue().is_empty());
    assert!(network.device("Pump").queue().is_empty());
}

#[test]
fn an_empty_or_oddly_scheduled_downlink_is_refused_at_once() {
    let network = start();
    let (device, mut client) = pump(&network);
    let topic = "simulated-app/devices/pump-1/events/down/errors".to_owned();
    let mut refused = |request: &str, expected: &str| {
        client.publish(DOWN, request.as_bytes());
        assert_eq!(client.text(), (topic.clone(), expected.to_owned()));
    };
    refused(
        r#"{"port":1,"confirmed":false,"schedule":"replace","payload_raw":""}"#,
        concat!(
            r#"{"error":"Downlink Payload not valid: empty","message":{"app_id":"simulated-app","dev_id":"pump-1","#,
            r#""port":1,"schedule":"replace"}}"#
        ),
    );
    refused(
        r#"{"port":1,"schedule":"soon","payload_raw":"Cgs="}"#,
        r#"{"error":"ScheduleType not valid: unknown","message":{"port":1,"payload_raw":"Cgs="}}"#,
    );
    refused(
        "null",
        r#"{"error":"Downlink Payload not valid: empty","message":{"app_id":"simulated-app","dev_id":"pump-1","port":0}}"#,
    );
    assert!(device.queue().is_empty());
}

#[test]
fn the_schedule_decides_the_place_in_the_queue() {
    let network = start();
    let (device, mut client) = pump(&network);
    let mut push = |port: u8, schedule: &str| {
        let request = json!({"port": port, "payload_raw": "AQ==", "schedule": schedule});
        client.publish_1(DOWN, &request.to_string());
        let queue = device.queue();
        queue
            .iter()
            .map(|downlink| downlink.port)
            .collect::<Vec<u8>>()
    };
    assert_eq!(push(1, "last"), [1]);
    assert_eq!(push(2, "last"), [1, 2]);
    assert_eq!(push(3, "first"), [3, 1, 2]);
    assert_eq!(push(4, "replace"), [4]);
    assert_eq!(push(5, "last"), [4, 5]);
    assert_eq!(push(6, ""), [6]);
}

#[test]
fn down_scheduled_shows_the_request_without_ids_and_schedule() {
    let network = start();
    let (_, mut client) = pump(&network);
    let request = concat!(
        r#"{"dev_id":"x","app_id":"y","PORT":20,"confirmed":true,"schedule":"last","#,
        r#""payload_fields":{"valve":"open","minutes":15.0}}"#
    );
    client.publish(DOWN, request.as_bytes());
    let topic = "simulated-app/devices/pump-1/events/down/scheduled".to_owned();
    let expected = r#"{"message":{"port":20,"confirmed":true,"payload_fields":{"minutes":15,"valve":"open"}}}"#;
    assert_eq!(client.text(), (topic, expected.to_owned()));
}

#[test]
fn down_sent_tells_how_the_downlink_left() {
    let network = instant();
    let (device, mut client) = pump(&network);
    // The data rates and frequencies of the answers to an uplink.
    let mut sent = |uplink: Uplink| {
        client.publish_1(DOWN, r#"{"port":1,"payload_raw":"Cgs="}"#);
        device.send(uplink);
        assert!(client.message().0.ends_with("/up"));
        let (topic, text) = client.text();
        assert_eq!(topic, "simulated-app/devices/pump-1/events/down/sent");
        let text = text.strip_prefix(r#"{"payload":""#).unwrap();
        let (payload, rest) = text.split_once('"').unwrap();
        assert_eq!(payload.len(), 20, "15 bytes in base64");
        let message = r#","message":{"app_id":"simulated-app","dev_id":"pump-1","port":1,"payload_raw":"Cgs="},"#;
        rest.strip_prefix(message).unwrap().to_owned()
    };
    let gateway = r#""gateway_id":"eui-58a0cbfffe80aa11","config":{"modulation":"#;
    let second = |counter: &str| {
        format!(
            r#"{gateway}"LORA","data_rate":"SF9BW125","airtime":164864000,{counter}"frequency":869525000,"power":27}}}}"#
        )
    };
    assert_eq!(sent(Uplink::new(2, [1]).data_rate("SF12BW125")), second(""));
    let fsk = sent(Uplink::new(2, [1]).fsk());
    let expected = format!(
        r#"{gateway}"FSK","data_rate":"SF9BW125","bit_rate":50000,"airtime":4160000,"counter":1,"frequency":868800000,"power":14}}}}"#
    );
    assert_eq!(fsk, expected);
    let mut seconds = 0;
    for counter in 2..42 {
        let text = sent(Uplink::new(2, [1]).frequency(868.1));
        let counter = format!(r#""counter":{counter},"#);
        let first = format!(
            r#"{gateway}"LORA","data_rate":"SF7BW125","airtime":46336000,{counter}"frequency":868100000,"power":14}}}}"#
        );
        let is_second = text == second(&counter);
        assert!(is_second || text == first, "{text}");
        seconds += usize::from(is_second);
    }
    assert!((5..35).contains(&seconds), "{seconds} of 40");
    for counter in 0..42 {
        assert_eq!(device.next_downlink(LONG).unwrap().counter, counter);
    }
    client.publish_1(DOWN, r#"{"port":1,"payload_raw":"Cgs="}"#);
    device.send(Uplink::new(2, [1]).frequency(903.9).data_rate("SF10BW125"));
    let config = &client.message_on("down/sent")["config"];
    assert_eq!(
        (&config["data_rate"], &config["power"]),
        (&json!("SF10BW125"), &json!(14))
    );
}

#[test]
fn a_confirmed_uplink_is_acknowledged_without_being_asked() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.send(Uplink::new(2, [1]).confirmed(true));
    let sent = client.message_on("down/sent");
    let message = json!({"app_id": APP, "dev_id": "pump-1", "port": 0});
    assert_eq!(sent["message"], message);
    assert_eq!(
        sent["payload"].as_str().unwrap().len(),
        16,
        "12 bytes in base64"
    );
    assert_eq!(device.next_downlink(SHORT), None);
    device.uplink(2, [1]);
    client.message();
    client.assert_silent();
}

#[test]
fn a_confirmed_downlink_is_repeated_until_the_device_acknowledges() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.stops_acknowledging(true);
    client.publish_1(DOWN, r#"{"port":5,"confirmed":true,"payload_raw":"AQ=="}"#);
    client.publish_1(DOWN, r#"{"port":6,"payload_raw":"Ag==","schedule":"last"}"#);
    for counter in 0..3 {
        device.uplink(2, [1]);
        client.message_on("down/sent");
        let received = device.next_downlink(LONG).unwrap();
        assert_eq!((received.port, received.counter), (5, counter));
    }
    device.stops_acknowledging(false);
    device.send(Uplink::new(2, [1]).confirmed(true).retry(true));
    assert_eq!(client.message().0, "simulated-app/devices/pump-1/up");
    assert_eq!(device.next_downlink(LONG).unwrap().port, 5);
    device.uplink(2, [1]);
    client.message_on("down/acks");
    assert_eq!(device.next_downlink(LONG).unwrap().port, 6);
    device.uplink(2, [1]);
    assert_eq!(device.next_downlink(SHORT), None);
}

#[test]
fn replacing_a_confirmed_downlink_ends_its_repetition_and_first_does_not() {
    let network = instant();
    let (device, mut client) = pump(&network);
    device.stops_acknowledging(true);
    client.publish_1(DOWN, r#"{"port":5,"confirmed":true,"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    client.publish_1(
        DOWN,
        r#"{"port":6,"payload_raw":"AQ==","schedule":"first"}"#,
    );
    device.uplink(2, [1]);
    client.publish_1(DOWN, r#"{"port":7,"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    device.uplink(2, [1]);
    let ports: Vec<u8> = device
        .received()
        .try_iter()
        .map(|downlink| downlink.port)
        .collect();
    assert_eq!(ports, [5, 5, 7]);
}

#[test]
fn an_acknowledgement_of_a_replaced_downlink_counts_for_none() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(DOWN, r#"{"port":5,"confirmed":true,"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    client.publish_1(DOWN, r#"{"port":6,"confirmed":true,"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    let mut events = Vec::new();
    while let Ok(packet) = client.try_packet(SHORT) {
        events.push(parsed(&packet).0);
    }
    assert!(
        !events.iter().any(|topic| topic.ends_with("acks")),
        "{events:?}"
    );
    device.uplink(2, [1]);
    assert_eq!(client.message_on("down/acks")["message"]["port"], 6);
}

#[test]
fn an_unconfirmed_downlink_is_sent_again_on_a_retry_only() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(DOWN, r#"{"port":5,"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    device.send(Uplink::new(2, [1]).confirmed(true).retry(true));
    device.uplink(2, [1]);
    let counters: Vec<u32> = device
        .received()
        .try_iter()
        .map(|downlink| downlink.counter)
        .collect();
    assert_eq!(counters, [0, 1]);
    assert_eq!(device.in_progress(), None);
}

#[test]
fn a_downlink_without_a_port_takes_that_of_the_uplink() {
    let network = instant();
    let (device, mut client) = pump(&network);
    for (uplink, expected) in [(7, 7), (0, 1)] {
        client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
        device.uplink(uplink, [1]);
        assert_eq!(client.message_on("down/sent")["message"]["port"], 0);
        assert_eq!(device.next_downlink(LONG).unwrap().port, expected);
    }
}

#[test]
fn a_downlink_with_fields_and_bytes_fails_at_the_next_uplink() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let events = client.publish_1(
        DOWN,
        r#"{"port":1,"payload_raw":"AQ==","payload_fields":{"led":true}}"#,
    );
    assert!(events[0].0.ends_with("down/scheduled"));
    device.uplink(2, [1]);
    assert!(client.message().0.ends_with("/up"));
    let mut errors = [client.text(), client.text()];
    errors.sort();
    let [(topic, text), (other, error)] = errors;
    assert!(topic.ends_with("down/errors") && other.ends_with("up/errors"));
    let expected = concat!(
        r#"{"error":"Downlink not valid: Both Fields and Payload provided","message":{"app_id":"simulated-app","#,
        r#""dev_id":"pump-1","port":1,"payload_raw":"AQ==","payload_fields":{"led":true}}}"#
    );
    assert_eq!(text, expected);
    let expected = r#"{"error":"Downlink not valid: Both Fields and Payload provided"}"#;
    assert_eq!(error, expected);
    device.uplink(2, [1]);
    client.message();
    client.assert_silent();
}

/// Returns the texts of the next two messages that are errors.
fn errors(client: &mut Raw) -> [String; 2] {
    [(); 2].map(|()| {
        client.message_on("/errors")["error"]
            .as_str()
            .unwrap()
            .to_owned()
    })
}

#[test]
fn fields_are_encoded_when_the_downlink_leaves() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let request = r#"{"port":3,"confirmed":true,"payload_fields":{"led":true}}"#;
    client.publish_1(DOWN, request);
    device.uplink(2, [1]);
    let error = "Downlink Payload not valid: fields supplied, but no Encoder function set";
    assert_eq!(errors(&mut client), [error; 2]);
    network.set_encoder(|_, fields| match fields["led"].as_bool() {
        Some(true) => Ok(vec![1]),
        Some(false) => Ok(Vec::new()),
        None => Err("TypeError: led".into()),
    });
    device.uplink(2, [1]);
    let message = &client.message_on("down/sent")["message"];
    assert_eq!(message["payload_raw"], "AQ==");
    assert_eq!(message["payload_fields"], json!({"led": true}));
    let received = device.next_downlink(LONG).unwrap();
    assert_eq!((received.port, received.payload), (3, vec![1]));
    client.publish_1(DOWN, r#"{"payload_fields":{"light":true}}"#);
    device.uplink(2, [1]);
    let error = "Internal error: Encoder threw error: TypeError: led";
    assert_eq!(errors(&mut client), [error; 2]);
    client.publish_1(DOWN, r#"{"payload_fields":{"led":false}}"#);
    device.uplink(2, [1]);
    client.message();
    client.assert_silent();
}

#[test]
fn without_gateways_a_waiting_downlink_is_an_error_and_stays() {
    let network = instant();
    let (device, mut client) = pump(&network);
    network.gateways_down(true);
    device.send(Uplink::new(2, [1]).confirmed(true));
    client.message();
    client.assert_silent();
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    client.message();
    let topic = "simulated-app/devices/pump-1/events/down/errors".to_owned();
    let error = r#"{"error":"No gateways available for downlink"}"#.to_owned();
    assert_eq!(client.text(), (topic, error));
    network.gateways_down(false);
    device.uplink(2, [1]);
    client.message_on("down/sent");
    assert!(device.next_downlink(LONG).is_some());
}

#[test]
fn an_application_can_answer_in_the_same_receive_window() {
    let network = builder()
        .receive_window(Duration::from_millis(400))
        .start()
        .unwrap();
    let (device, mut client) = pump(&network);
    let begun = Instant::now();
    device.uplink(2, [1]);
    assert!(begun.elapsed() < Duration::from_millis(300));
    client.message_on("/up");
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    assert_eq!(device.next_downlink(SHORT), None);
    assert!(device.next_downlink(LONG).is_some());
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

#[test]
fn the_next_uplink_closes_the_receive_window() {
    let network = builder()
        .receive_window(Duration::from_secs(3600))
        .start()
        .unwrap();
    let (device, mut client) = pump(&network);
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    client.message_on("/up");
    client.assert_silent();
    device.uplink(2, [2]);
    assert!(client.message().0.ends_with("down/sent"));
    assert!(client.message().0.ends_with("/up"));
    assert!(device.next_downlink(Duration::ZERO).is_some());
}

#[test]
fn a_downlink_in_progress_is_repeated_without_a_receive_window() {
    let network = builder()
        .receive_window(Duration::from_secs(3600))
        .start()
        .unwrap();
    let (device, mut client) = pump(&network);
    device.stops_acknowledging(true);
    client.publish_1(DOWN, r#"{"confirmed":true,"payload_raw":"AQ=="}"#);
    device.uplink(2, [1]);
    assert_eq!(device.next_downlink(SHORT), None);
    for _ in 0..3 {
        device.uplink(2, [1]);
    }
    let answers = device.received().try_iter().count();
    assert_eq!(answers, 4, "one in the closed window, three at once");
}

#[test]
fn windows_of_many_devices_close_by_themselves() {
    let network = start();
    let mut client = Raw::connect(&network);
    let devices: Vec<Device> = (0..30)
        .map(|n| network.device(&format!("pump-{n}")))
        .collect();
    for device in &devices {
        let topic = format!("{APP}/devices/{}/down", device.dev_id());
        client.publish_1(&topic, r#"{"payload_raw":"AQ=="}"#);
    }
    for device in &devices {
        device.uplink(1, [1]);
    }
    for device in &devices {
        assert!(device.next_downlink(LONG).is_some());
    }
}

#[test]
fn half_closed_connections_end() {
    let network = start();
    let mut client = Raw::connect(&network);
    client.stream.shutdown(Shutdown::Write).unwrap();
    client.assert_closed();
}

// Reports about downlinks: late, swapped, or missing.

/// Returns the ends of the topics of the next messages.
fn kinds(client: &mut Raw, count: usize) -> Vec<String> {
    let start = "simulated-app/devices/pump-1/";
    let kind = |client: &mut Raw| client.message().0.strip_prefix(start).unwrap().to_owned();
    (0..count).map(|_| kind(client)).collect()
}

#[test]
fn what_is_said_of_downlinks_can_be_late_and_keeps_its_order() {
    let delay = Duration::from_millis(300);
    let network = instant();
    network.quirks(|quirks| quirks.event_delay = delay);
    let (device, mut client) = pump(&network);
    let begun = Instant::now();
    let request = r#"{"confirmed":true,"payload_raw":"AQ=="}"#;
    assert_eq!(client.publish_1(DOWN, request), []);
    device.uplink(1, [1]);
    assert_eq!(kinds(&mut client, 2), ["up", "events/down/scheduled"]);
    assert!(begun.elapsed() >= delay);
    assert_eq!(kinds(&mut client, 1), ["events/down/sent"]);
    assert!(device.next_downlink(Duration::ZERO).is_some());
    // Errors that are not about downlinks are not late.
    network.set_decoder(|_port, _bytes| Err::<Value, _>("no".into()));
    device.uplink(1, [1]);
    let mut in_time = kinds(&mut client, 3);
    in_time[..2].sort();
    assert_eq!(in_time, ["events/up/errors", "up", "events/down/acks"]);
}

#[test]
fn each_two_messages_about_downlinks_can_be_exchanged() {
    let network = instant();
    network.quirks(|quirks| {
        quirks.shuffle_events = true;
        quirks.event_delay = Duration::from_secs(1);
    });
    let (device, mut client) = pump(&network);
    let request = r#"{"confirmed":true,"payload_raw":"AQ=="}"#;
    assert_eq!(client.publish_1(DOWN, request), []);
    assert_eq!(kinds(&mut client, 1), ["events/down/scheduled"]);
    device.uplink(1, [1]);
    device.uplink(1, [1]);
    let exchanged = ["up", "events/down/acks", "events/down/sent", "up"];
    assert_eq!(kinds(&mut client, 4), exchanged);
}

#[test]
fn what_becomes_of_downlinks_can_be_kept_secret() {
    let network = instant();
    network.quirks(|quirks| quirks.lose_events = true);
    let (device, mut client) = pump(&network);
    let request = r#"{"confirmed":true,"payload_raw":"AQ=="}"#;
    assert_eq!(client.publish_1(DOWN, request), []);
    assert_eq!(client.publish_1(DOWN, "{}"), []);
    device.uplink(1, [1]);
    assert!(device.next_downlink(Duration::ZERO).is_some());
    device.uplink(1, [1]);
    assert_eq!(device.in_progress(), None);
    assert_eq!(kinds(&mut client, 2), ["up", "up"]);
    client.assert_silent();
}
