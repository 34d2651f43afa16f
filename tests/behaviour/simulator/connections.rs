//! Connections to the simulated V2 network: how they begin, and how they end.

use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use ttn::simulator::{Device, Rights, Simulator};

use super::{APP, DOWN, EVENTS, KEY, UP, builder, pump, start};
use crate::support::raw::{Hello, LONG, Raw, frame, string};
use crate::support::resources::{loopback, wait_until, wait_until_refused};

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
        Raw::accepted(&network, &hello);
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
        Raw::refused(&network, &hello, 5);
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
        Raw::refused(&network, &hello, 1);
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
    let mut client = Raw::accepted(&network, &hello);
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
    let mut client = Raw::accepted(&network, &hello);
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
    let mut client = Raw::accepted(&network, &hello);
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
    let lost_with = |will| {
        let hello = Hello {
            will,
            ..Hello::of(&network)
        };
        drop(Raw::accepted(&network, &hello));
    };
    lost_with(Some((DOWN, r#"{"payload_raw":"AQ=="}"#)));
    watcher.message_on("down/scheduled");
    assert_eq!(device.queue().len(), 1);
    lost_with(Some(("simulated-app/devices/pump-1/up", "{}")));
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
    let mut client = Raw::accepted(&network, &hello);
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

#[test]
fn half_closed_connections_end() {
    let network = start();
    let mut client = Raw::connect(&network);
    client.stream.shutdown(Shutdown::Write).unwrap();
    client.assert_closed();
}
