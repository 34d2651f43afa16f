//! The simulated broker answers odd questions as the real ones do, which share one library.

use std::{
    net::Shutdown,
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use ttn::{
    Network,
    simulator::{PublishRate, Simulator},
};

use crate::support::raw::{Hello, LONG, Raw, frame, string};

fn start(network: Network) -> Simulator {
    let builder = Simulator::builder(network).quirks(|quirks| quirks.rate_limit = None);
    builder.start().unwrap()
}

/// Runs a test on each network.
fn each(test: impl Fn(&Simulator)) {
    for network in [Network::V2, Network::V3] {
        test(&start(network));
    }
}

/// Returns the topic of downlink requests for a device.
fn down(network: &Simulator) -> String {
    match network.app_id() {
        app @ "simulated-app" => format!("{app}/devices/pump-1/down"),
        app => format!("v3/{app}/devices/pump-1/down/push"),
    }
}

/// Writes a packet as the first one and returns the answer, `Err(true)` for an end without one.
fn first(network: &Simulator, bytes: &[u8]) -> Result<Vec<u8>, bool> {
    let mut client = Raw::open(network);
    client.write(bytes);
    client.try_packet(LONG)
}

/// Writes a packet on an open connection and returns what comes back before the answer to a ping.
fn answers(network: &Simulator, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut client = Raw::connect(network);
    client.write(bytes);
    client.ping();
    let mut answers: Vec<Vec<u8>> = Vec::new();
    while answers.last().is_none_or(|last| *last != [0xd0, 0]) {
        answers.push(client.packet());
    }
    answers.pop();
    answers
}

/// Returns the body of a CONNECT.
fn connect(flags: u8, fields: &[&[u8]]) -> Vec<u8> {
    let mut body = string("MQTT");
    body.extend([4, flags, 0, 60]);
    for field in fields {
        body.extend((field.len() as u16).to_be_bytes());
        body.extend_from_slice(field);
    }
    body
}

#[test]
fn an_odd_connect_is_accepted_or_refused_with_5_but_not_cut_off() {
    each(|network| {
        let (app, key) = (network.app_id().as_bytes(), network.access_key().as_bytes());
        let (accepted, refused) = (Ok(vec![0x20, 2, 0, 0]), Ok(vec![0x20, 2, 0, 5]));
        let without_user = frame(0x10, &connect(0x42, &[b"raw", key]));
        assert_eq!(first(network, &without_user), refused);
        let user = frame(0x10, &connect(0xc2, &[b"raw", b"\xff", key]));
        assert_eq!(first(network, &user), refused);
        let client_id = frame(0x10, &connect(0xc2, &[b"\xff", app, key]));
        assert_eq!(first(network, &client_id), accepted);
        let mut rubbish = connect(0xc2, &[b"raw", app, key]);
        rubbish.extend(*b"rubbish");
        assert_eq!(first(network, &frame(0x10, &rubbish)), accepted);
        let will_qos_without_will = frame(0x10, &connect(0xca, &[b"raw", app, key]));
        assert_eq!(first(network, &will_qos_without_will), accepted);
        let reserved = frame(0x10, &connect(0xc3, &[b"raw", app, key]));
        assert_eq!(first(network, &reserved), Err(true));
    });
}

#[test]
fn a_web_browser_is_waited_for() {
    each(|network| {
        network.quirks(|quirks| quirks.connect_timeout = Duration::from_millis(300));
        let mut client = Raw::open(network);
        client.write(b"GET / HTTP/1.1\r\n\r\n");
        // The request announces a packet of 69 bytes.
        client.assert_silent();
        client.assert_closed();
        let mut client = Raw::open(network);
        client.write(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(60)).as_bytes());
        client.assert_closed();
    });
}

#[test]
fn odd_packets_on_an_open_connection_are_tolerated() {
    each(|network| {
        let down = down(network);
        let not_utf_8 = down.replace("pump-1", "X").into_bytes();
        let not_utf_8: Vec<u8> = not_utf_8
            .into_iter()
            .map(|byte| if byte == b'X' { 0xff } else { byte })
            .collect();
        let mut publish = (not_utf_8.len() as u16).to_be_bytes().to_vec();
        publish.extend(not_utf_8);
        publish.extend([0, 7]);
        let puback = vec![vec![0x40, 2, 0, 7]];
        assert_eq!(answers(network, &frame(0x32, &publish)), puback);
        let with_id = |id: u8| [&string("anything"), &[0, id][..]].concat();
        let puback = vec![vec![0x40, 2, 0, 0]];
        assert_eq!(answers(network, &frame(0x32, &with_id(0))), puback);
        let nothing: [Vec<u8>; 0] = [];
        assert_eq!(answers(network, &frame(0x36, &with_id(1))), nothing);
        let subscribe = [vec![0, 1], string("#"), vec![0]].concat();
        let suback = vec![vec![0x90, 3, 0, 1, 0]];
        assert_eq!(answers(network, &frame(0x80, &subscribe)), suback);
        let suback = vec![vec![0x90, 2, 0, 1]];
        assert_eq!(answers(network, &frame(0x82, &[0, 1])), suback);
        for ping in [vec![0xc3, 0], vec![0xc0, 2, 1, 2]] {
            let mut client = Raw::connect(network);
            client.write(&ping);
            assert_eq!(client.packet(), [0xd0, 0]);
        }
        let for_nothing = [(0x62, vec![0x70, 2, 0, 9]), (0x50, vec![0x62, 2, 0, 9])];
        for (first, answer) in for_nothing {
            assert_eq!(answers(network, &frame(first, &[0, 9])), [answer]);
        }
        for first in [0x40, 0x70] {
            assert_eq!(answers(network, &frame(first, &[0, 9])), nothing);
        }
    });
}

#[test]
fn a_publish_of_qos_3_is_ignored() {
    each(|network| {
        let mut client = Raw::connect(network);
        let topic = down(network);
        let body = [&string(&topic), &[0, 7][..], b"{}"].concat();
        client.write(&frame(0x36, &body));
        client.ping();
        assert_eq!(client.packet(), [0xd0, 0]);
        assert_eq!(network.published(), []);
    });
}

#[test]
fn what_is_said_of_the_messages_within_the_limit_arrives_before_the_end() {
    let network = start(Network::V3);
    network.device("pump-1");
    let rate = PublishRate {
        per_minute: 60,
        burst: 10,
    };
    for _ in 0..5 {
        network.quirks(|quirks| {
            quirks.publish_rate = Some(rate);
            quirks.publish_limit = None;
        });
        // Each key has a limit of its own.
        let key = format!("NNSXS.KEY.{}", network.published().len());
        network.add_application(network.app_id(), &key);
        let hello = Hello {
            password: Some(&key),
            ..Hello::of(&network)
        };
        let mut client = Raw::accepted(&network, &hello);
        client.subscribe("#", 0);
        let topic = string(&down(&network));
        let request = br#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
        let mut bytes = Vec::new();
        for id in 1..=40 {
            bytes.extend(frame(0x32, &[&topic, &[0, id][..], request].concat()));
        }
        client.write(&bytes);
        let mut kinds = Vec::new();
        while let Ok(packet) = client.try_packet(LONG) {
            kinds.push(packet[0]);
        }
        assert_eq!(kinds, [0x30, 0x40].repeat(10));
    }
}

#[test]
fn answers_wait_behind_what_was_published_before() {
    each(|network| {
        network.device("pump-1");
        let mut client = Raw::subscribed(network, &["#"]);
        let topic = string(&down(network));
        let request = match network.app_id() {
            "simulated-app" => r#"{"port":1,"payload_raw":"AQ==","schedule":"last"}"#,
            _ => r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#,
        };
        let publish = frame(0x30, &[&topic, request.as_bytes()].concat());
        let mut bytes = publish.repeat(50);
        bytes.extend([0xc0, 0]);
        bytes.extend(publish.repeat(50));
        bytes.extend(frame(0xa2, &[&[0, 3], &string("#")[..]].concat()));
        client.write(&bytes);
        let kinds: Vec<u8> = (0..102).map(|_| client.packet()[0]).collect();
        let mut expected = vec![0x30; 102];
        (expected[50], expected[101]) = (0xd0, 0xb0);
        assert_eq!(kinds, expected);
        assert_eq!(network.device("pump-1").queue().len(), 100);
    });
}

/// Writes many downlinks at once, and ends the connection; returns how many the network queues.
fn queued(network: &Simulator, subscribed: bool, end: impl Fn(Raw)) -> usize {
    let device = network.device("pump-1");
    let mut client = Raw::connect(network);
    if subscribed {
        client.subscribe("#", 0);
    }
    let request = match network.app_id() {
        "simulated-app" => r#"{"port":1,"payload_raw":"AQ==","schedule":"last"}"#,
        _ => r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#,
    };
    let publish = frame(
        0x30,
        &[&string(&down(network)), request.as_bytes()].concat(),
    );
    client.write(&publish.repeat(600));
    end(client);
    assert!(network.wait_for_clients(0, LONG));
    device.queue().len()
}

#[test]
fn a_subscribed_client_that_closes_loses_what_is_not_read() {
    let v2 = start(Network::V2);
    v2.quirks(|quirks| quirks.rate_limit = Some(500));
    let lost = queued(&v2, true, |mut client| client.write(&[0xe0, 0]));
    assert!(lost < 500, "{lost} of 600 queued");

    // The network is busy with the first one while the client closes.
    let v3 = start(Network::V3);
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    v3.set_encoder(move |_, _| {
        let _ = gate.lock().unwrap().recv();
        Ok(vec![1])
    });
    let device = v3.device("pump-1");
    let mut client = Raw::subscribed(&v3, &["#"]);
    let request = br#"{"downlinks":[{"f_port":1,"decoded_payload":{"led":1}}]}"#;
    let publish = frame(0x30, &[&string(&down(&v3)), &request[..]].concat());
    client.write(&publish.repeat(600));
    assert!(!v3.wait_for_published(1, Duration::from_millis(100)));
    drop(client);
    drop(open);
    assert!(v3.wait_for_clients(0, LONG));
    let lost = device.queue().len();
    assert!(lost < 500, "{lost} of 600 queued");
}

#[test]
fn a_client_without_subscriptions_that_closes_loses_nothing() {
    each(|network| {
        let queued = queued(network, false, |mut client| client.write(&[0xe0, 0]));
        assert_eq!(queued, 600);
    });
}

#[test]
fn a_client_that_only_ends_its_output_loses_nothing() {
    each(|network| {
        let queued = queued(network, true, |mut client| {
            client.stream.shutdown(Shutdown::Write).unwrap();
            let mut events = 0;
            while client.try_packet(LONG).is_ok() {
                events += 1;
            }
            assert_eq!(events, 600);
        });
        assert_eq!(queued, 600);
    });
}

#[test]
fn a_silent_client_is_cut_off_after_exactly_one_and_a_half_keep_alives() {
    each(|network| {
        let hello = Hello {
            keep_alive: 2,
            ..Hello::of(network)
        };
        let silence = || {
            let silent_from = Instant::now();
            let mut client = Raw::accepted(network, &hello);
            client.assert_closed();
            let silence = silent_from.elapsed();
            assert!(silence >= Duration::from_secs(3), "{silence:?}");
            silence
        };
        // A busy machine wakes a thread late, but not each time.
        let mut silences = std::iter::repeat_with(silence).take(5);
        assert!(silences.any(|silence| silence < Duration::from_millis(3_050)));
    });
}

#[test]
fn a_client_of_v2_is_read_ten_packets_a_second() {
    let network = Simulator::start(Network::V2).unwrap();
    let mut client = Raw::connect(&network);
    let begun = Instant::now();
    let subscribe = frame(0x82, &[vec![0, 1], string("#"), vec![0]].concat());
    client.write(&subscribe.repeat(3));
    client.write(&[0xc0, 0].repeat(2));
    (0..5).for_each(|_| drop(client.packet()));
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_millis(390), "{taken:?}");
    assert!(taken < Duration::from_secs(2), "{taken:?}");
    let v3 = Simulator::start(Network::V3).unwrap();
    let mut client = Raw::connect(&v3);
    let begun = Instant::now();
    client.write(&[0xc0, 0].repeat(20));
    (0..20).for_each(|_| drop(client.packet()));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_deleted_key_is_refused_and_its_clients_stay() {
    each(|network| {
        let mut client = Raw::connect(network);
        assert!(network.remove_key(network.app_id(), network.access_key()));
        let mut refused = Raw::hello(network, &Hello::of(network));
        assert_eq!(refused.packet(), [0x20, 2, 0, 5]);
        client.ping();
        assert_eq!(client.packet(), [0xd0, 0]);
        assert!(!network.remove_key("unknown", network.access_key()));
    });
}
