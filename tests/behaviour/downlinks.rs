//! What `send` writes to the wire, and what it rejects because the network would silently drop it.
#![cfg(unix)]

use std::{sync::atomic::Ordering, time::Duration};

use crate::support::{
    harness::{Harness, SOON},
    resources::pause,
    watchdog::watchdog,
};
use crossbeam_channel::unbounded;
use serde_json::{Value, json};
use ttn::{
    DeliveryState, Downlink, DownlinkStep, ErrorKind, Event, Events, MqttClient, Network, Overflow,
    Schedule, UplinkMessage,
    simulator::{Device, Simulator},
};

const LIMIT: Duration = Duration::from_secs(60);

/// Returns what arrives at the broker when each of these is sent.
fn on_the_wire(harness: &mut Harness, downlinks: Vec<Downlink>) -> Vec<String> {
    let client = harness.connected();
    let count = downlinks.len();
    for downlink in downlinks {
        client.send("pump-1", downlink).unwrap();
    }
    let messages = harness.downlinks(count);
    let kind = match harness.network {
        Network::V3 => "down/replace",
        _ => "down",
    };
    let topic = harness.topic("pump-1", kind);
    assert!(
        messages.iter().all(|(seen, _)| *seen == topic),
        "{messages:?}"
    );
    messages.into_iter().map(|(_, body)| body).collect()
}

#[test]
fn every_form_of_a_payload_arrives_as_base64_or_fields() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_of(Network::V2, |harness| {
        let fields = json!({"led_state": "on", "counter": 1})
            .as_object()
            .unwrap()
            .clone();
        let bodies = on_the_wire(
            harness,
            vec![
                "0102".into(),
                "AQI=".into(),
                String::from("AQI=").into(),
                (&String::from("0102")).into(),
                [1, 2].into(),
                (&[1, 2]).into(),
                vec![1, 2].into(),
                (&[1_u8, 2][..]).into(),
                json!("0102").into(),
                Downlink::hex("0102"),
                Downlink::base64("AQI"),
                Downlink::bytes(vec![1, 2]),
                Value::Object(fields.clone()).into(),
                fields.clone().into(),
                Downlink::fields(&fields),
            ],
        );
        let raw = r#"{"port":1,"confirmed":false,"schedule":"replace","payload_raw":"AQI="}"#;
        let object = r#"{"port":1,"confirmed":false,"schedule":"replace","payload_fields":{"counter":1,"led_state":"on"}}"#;
        let expected = [[raw; 12].as_slice(), [object; 3].as_slice()].concat();
        assert_eq!(bodies, expected);
    });
}

#[test]
fn port_confirmation_and_schedule_arrive_as_they_were_given() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_of(Network::V2, |harness| {
        let bodies = on_the_wire(
            harness,
            vec![
                Downlink::from("AQ==")
                    .port(223)
                    .confirmed(true)
                    .schedule(Schedule::First),
                Downlink::from("AQ==")
                    .port(1)
                    .schedule("last".parse().unwrap()),
                Downlink::from("AQ==").schedule(Schedule::Replace),
            ],
        );
        assert_eq!(
            bodies,
            [
                r#"{"port":223,"confirmed":true,"schedule":"first","payload_raw":"AQ=="}"#,
                r#"{"port":1,"confirmed":false,"schedule":"last","payload_raw":"AQ=="}"#,
                r#"{"port":1,"confirmed":false,"schedule":"replace","payload_raw":"AQ=="}"#,
            ]
        );
    });
}

#[test]
fn the_wire_form_is_the_one_of_the_python_sdk() {
    let _watchdog = watchdog(LIMIT);
    let fixtures: [(&str, Downlink); 3] = [
        (
            include_str!("../fixtures/v2/down-python-raw.json"),
            "Cgs=".into(),
        ),
        (
            include_str!("../fixtures/v2/down-python-fields.json"),
            Downlink::from(json!({"valve": "open", "zone": "café"}))
                .port(20)
                .confirmed(true)
                .schedule(Schedule::Last),
        ),
        (
            include_str!("../fixtures/v2/down-node-hex-string.json"),
            "0102".into(),
        ),
    ];
    let mut harness = Harness::simulator(Network::V2);

    let (expected, downlinks): (Vec<_>, Vec<_>) = fixtures.into_iter().unzip();
    for (body, expected) in on_the_wire(&mut harness, downlinks).iter().zip(expected) {
        let read = |text| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read(body), read(expected));
    }
}

#[test]
fn what_the_network_would_drop_in_silence_is_an_error_and_nothing_is_sent() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let long = "x".repeat(40);
        for dev_id in [
            "", "a", "Dev-1", "dev 1", "dev/1", "dev+", "#", "-dev", "dev-", "de--v", "dév",
            "dev\0", &long,
        ] {
            let error = client.send(dev_id, "AQ==").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Downlink, "{dev_id:?}");
            assert!(
                error.to_string().contains(&format!("{dev_id:?}")),
                "{error}"
            );
        }
        let mut bad: Vec<(Downlink, &str)> = vec![
            (Downlink::from("AQ==").port(0), "FPort 0"),
            (Downlink::from("AQ==").port(224), "FPort 224"),
            (Downlink::from("AQ==").port(255), "FPort 255"),
            (Downlink::bytes(vec![0; 256]), "256 bytes"),
            ("not base64!".into(), "not base64!"),
            ("AQ=".into(), "AQ="),
            ("012".into(), "012"),
            ("0x01".into(), "0x01"),
            (Downlink::hex("AQ=="), "AQ=="),
            (Downlink::base64("!"), "!"),
            (json!([1, 2, 3]).into(), "an array"),
            (json!(7).into(), "a number"),
            (json!(null).into(), "null"),
            (Downlink::fields("text"), "a string"),
            (
                Downlink::fields(std::collections::BTreeMap::from([((1, 2), 3)])),
                "JSON",
            ),
        ];
        if harness.network == Network::V2 {
            bad.extend([
                ("".into(), "empty"),
                (Downlink::bytes([]), "empty"),
                (Downlink::bytes(vec![0; 243]), "243 bytes"),
                (json!({}).into(), "no fields"),
            ]);
        }
        for (downlink, words) in bad {
            let error = client.send("dev-1", downlink.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Downlink, "{downlink:?}");
            assert!(
                error.to_string().contains(words) && error.to_string().contains("dev-1"),
                "{error}"
            );
        }
        assert!(
            "soon"
                .parse::<Schedule>()
                .unwrap_err()
                .to_string()
                .contains("soon")
        );
        client.send("dev-1", "AQ==").unwrap();
        assert_eq!(harness.downlinks(1).len(), 1);
    });
}

#[test]
fn the_largest_payload_and_the_longest_id_are_sent() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let (longest, largest, kind) = match harness.network {
            Network::V3 => ("a".repeat(36), 255, "down/replace"),
            _ => (format!("{}a", "a-".repeat(35)), 242, "down"),
        };
        client.send(&longest, vec![7; largest]).unwrap();
        client.send("d-1-x", Downlink::from([1]).port(223)).unwrap();
        let messages = harness.downlinks(2);
        assert_eq!(messages[0].0, harness.topic(&longest, kind));
    });
}

#[test]
fn sending_without_a_connection_is_an_error() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let hour = Duration::from_secs(3600);
        let client = harness
            .builder()
            .reconnect_delay(hour, hour)
            .build()
            .unwrap();
        let refused = |client: &MqttClient| {
            let error = client.send("dev-1", "AQ==").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotConnected);
        };
        refused(&client);
        client.connect().unwrap();
        client.close().unwrap();
        refused(&client);
        client.connect().unwrap();
        let events = client.events();
        harness.kill();
        while !matches!(events.recv_timeout(SOON).unwrap(), Event::Disconnected(_)) {}
        refused(&client);
        assert_eq!(
            client.send("Bad Id", "AQ==").unwrap_err().kind(),
            ErrorKind::Downlink
        );
    });
}

#[test]
fn more_downlinks_than_the_client_keeps_are_refused_and_the_others_are_written() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected_with(|builder| builder.send_capacity(5));
        let mut accepted = 0;
        let mut refused = 0;
        while refused == 0 {
            match client.send("dev-1", "AQ==") {
                Ok(_) => accepted += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::QueueFull);
                    refused += 1;
                }
            }
        }
        client.close().unwrap();
        assert_eq!(harness.downlinks(accepted).len(), accepted);
    });
}

#[test]
fn a_downlink_leaves_in_the_middle_of_a_flood_of_uplinks() {
    let _watchdog = watchdog(LIMIT);
    let network = Simulator::start(Network::V3).unwrap();
    // The report that it was written waits behind everything that came before, so that must not be
    // much.
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .receive_capacity(500, 1 << 20)
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    let flood = std::sync::atomic::AtomicBool::new(true);
    let (sender, written) = unbounded();
    client.set_downlink_callback(move |mid, _| sender.send(mid));
    // Each uplink occupies the client's thread for a while, so the next one is always there
    // already.
    let slow = client.events_with(1, Overflow::Block);
    let device = network.device("dev-1");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while flood.load(Ordering::Relaxed) {
                device.uplink(1, [1]);
            }
        });
        scope.spawn(|| {
            while flood.load(Ordering::Relaxed) {
                pause(Duration::from_micros(200));
                let _ = slow.try_recv();
            }
        });
        for _ in 0..500 {
            events.recv_timeout(SOON).unwrap();
        }
        let id = client.send("dev-1", "AQ==").unwrap().message_id();
        let mid = written.recv_timeout(SOON);
        flood.store(false, Ordering::Relaxed);
        drop(events);
        assert_eq!(mid, Ok(id));
    });
}

#[test]
fn downlinks_of_one_thread_keep_their_order() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let downlinks = (0..100_u8).map(|number| [number].into()).collect();
        let bodies = on_the_wire(harness, downlinks);
        for (number, body) in bodies.iter().enumerate() {
            let body: Value = serde_json::from_str(body).unwrap();
            let payload = match harness.network {
                Network::V3 => &body["downlinks"][0]["frm_payload"],
                _ => &body["payload_raw"],
            };
            assert_eq!(payload, &base64(u8::try_from(number).unwrap()));
        }
    });
}

fn base64(byte: u8) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode([byte])
}

/// Returns the next steps that the network reports.
fn steps(events: &Events, count: usize) -> Vec<DownlinkStep> {
    let mut steps = Vec::new();
    while steps.len() < count {
        if let Event::Downlink(downlink) = events.recv_timeout(SOON).expect("the network reports") {
            assert_eq!(downlink.dev_id, "pump-1");
            steps.push(downlink.step);
        }
    }
    steps
}

/// Runs a test with a client of each simulated network.
fn each_simulated(test: impl Fn(&Simulator, &MqttClient, &Events)) {
    for network in [Network::V2, Network::V3] {
        let (network, client, events) = simulated(network);
        test(&network, &client, &events);
    }
}

/// Sends a byte to pump-1, whose network queues it.
fn queue(client: &MqttClient, events: &Events, byte: u8, schedule: Schedule) {
    let downlink = Downlink::from([byte]).schedule(schedule);
    client.send("pump-1", downlink).unwrap();
    assert_eq!(steps(events, 1), [DownlinkStep::Queued]);
}

/// Returns the first bytes of the next downlinks, each after an uplink.
fn received(device: &Device, count: usize) -> Vec<u8> {
    let next = |_| {
        device.uplink(1, [0]);
        device.next_downlink(SOON).unwrap().payload[0]
    };
    (0..count).map(next).collect()
}

fn simulated(network: Network) -> (Simulator, MqttClient, Events) {
    // On a busy machine, an answer takes longer than the default window.
    let network = Simulator::builder(network)
        .receive_window(Duration::from_millis(500))
        .start()
        .unwrap();
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    (network, client, events)
}

#[test]
fn a_confirmed_downlink_is_queued_sent_and_acknowledged() {
    let _watchdog = watchdog(LIMIT);
    each_simulated(|network, client, events| {
        let device = network.device("pump-1");
        client
            .send("pump-1", Downlink::from([9]).port(20).confirmed(true))
            .unwrap();
        assert_eq!(steps(events, 1), [DownlinkStep::Queued]);
        device.uplink(1, [1]);
        assert_eq!(steps(events, 1), [DownlinkStep::Sent]);
        let received = device.next_downlink(SOON).unwrap();
        assert_eq!(
            (
                received.port,
                received.payload.as_slice(),
                received.confirmed
            ),
            (20, &[9][..], true)
        );
        device.uplink(1, [2]);
        assert_eq!(steps(events, 1), [DownlinkStep::Acknowledged]);
    });
}

#[test]
fn an_answer_from_the_uplink_callback_reaches_the_device_in_the_same_window() {
    let _watchdog = watchdog(LIMIT);
    each_simulated(|network, client, _| {
        let device = network.device("pump-1");
        client.set_uplink_callback(|uplink, client| {
            client.send(&uplink.dev_id, [uplink.payload_raw[0] + 1])
        });
        device.uplink(1, [41]);
        assert_eq!(device.next_downlink(SOON).unwrap().payload, [42]);
    });
}

#[test]
fn the_schedule_decides_which_downlink_the_device_gets_first() {
    let _watchdog = watchdog(LIMIT);
    let (network, client, events) = simulated(Network::V2);
    let device = network.device("pump-1");
    let send = |byte, schedule| queue(&client, &events, byte, schedule);
    send(0, Schedule::Last);
    send(1, Schedule::Replace);
    send(2, Schedule::Last);
    send(3, Schedule::First);
    assert_eq!(received(&device, 3), [3, 1, 2]);
    assert!(device.queue().is_empty());
}

#[test]
fn a_downlink_that_the_network_cannot_send_is_reported_with_its_words() {
    let _watchdog = watchdog(LIMIT);
    let (network, client, events) = simulated(Network::V2);
    network.gateways_down(true);
    client.send("pump-1", [1]).unwrap();
    let device = network.device("pump-1");
    // The device must exist when the downlink arrives.
    client.send("pump-1", [1]).unwrap();
    assert_eq!(steps(&events, 1), [DownlinkStep::Queued]);
    device.uplink(1, [1]);
    loop {
        if let Event::Downlink(downlink) = events.recv_timeout(SOON).unwrap() {
            if downlink.step == DownlinkStep::Failed {
                assert_eq!(downlink.error, "No gateways available for downlink");
                break;
            }
        }
    }
}

#[test]
fn a_v3_network_sends_first_what_was_sent_first() {
    let _watchdog = watchdog(LIMIT);
    let (network, client, events) = simulated(Network::V3);
    let device = network.device("pump-1");
    let send = |byte, schedule| queue(&client, &events, byte, schedule);
    send(0, Schedule::Last);
    send(1, Schedule::Replace);
    send(2, Schedule::Last);
    let batch = [3, 4].map(|byte| Downlink::from([byte]).schedule(Schedule::Last));
    client.send_batch("pump-1", batch).unwrap();
    assert_eq!(steps(&events, 2), [DownlinkStep::Queued; 2]);
    assert_eq!(received(&device, 4), [1, 2, 3, 4]);
    client.send_batch("pump-1", [[5], [6]]).unwrap();
    client.clear_queue("pump-1").unwrap();
    assert!(network.wait_for_published(6, SOON));
    assert!(device.queue().is_empty());
}

#[test]
fn a_batch_arrives_in_its_order_on_either_network() {
    let _watchdog = watchdog(LIMIT);
    each_simulated(|network, client, events| {
        let device = network.device("pump-1");
        let (sender, written) = unbounded();
        client.set_downlink_callback(move |mid, _| sender.send(mid));
        let deliveries = client.send_batch("pump-1", ["01", "02", "03"]).unwrap();
        assert_eq!(steps(events, 3), [DownlinkStep::Queued; 3]);
        let next = client.send("pump-1", Downlink::from("04").schedule(Schedule::Last));
        let next = next.unwrap();
        for delivery in deliveries.iter().chain([&next]) {
            assert_eq!(written.recv_timeout(SOON), Ok(delivery.message_id()));
        }
        assert!(
            deliveries
                .iter()
                .all(|delivery| delivery.message_id() < next.message_id())
        );
        let queue: Vec<_> = device
            .queue()
            .into_iter()
            .filter_map(|item| item.payload)
            .collect();
        assert_eq!(queue[..3], [[1], [2], [3]]);
    });
}

#[test]
fn what_becomes_of_a_downlink_is_known_by_its_correlation_id() {
    let _watchdog = watchdog(LIMIT);
    let (network, client, events) = simulated(Network::V3);
    let device = network.device("pump-1");
    let push = |byte: u8| {
        Downlink::from([byte])
            .schedule(Schedule::Last)
            .confirmed(true)
    };
    let sent = [1, 2].map(|byte| client.send("pump-1", push(byte)).unwrap());
    let other = simulated_stranger(&network);
    other.send("pump-1", push(3)).unwrap();
    assert!(network.wait_for_published(3, SOON));
    for _ in 0..4 {
        device.uplink(1, [0]);
        if device.queue().is_empty() && device.in_progress().is_none() {
            break;
        }
        device.next_downlink(SOON);
    }
    let mut mine = [Vec::new(), Vec::new()];
    while mine
        .iter()
        .any(|steps| steps.last() != Some(&DownlinkStep::Acknowledged))
    {
        let Event::Downlink(event) = events.recv_timeout(SOON).unwrap() else {
            continue;
        };
        for (delivery, steps) in sent.iter().zip(&mut mine) {
            if event.is_about(delivery) {
                steps.push(event.step);
            }
        }
    }
    let way = [
        DownlinkStep::Queued,
        DownlinkStep::Sent,
        DownlinkStep::Acknowledged,
    ];
    assert_eq!(mine, [way, way]);
}

/// Returns another client of the same application.
fn simulated_stranger(network: &Simulator) -> MqttClient {
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .build()
        .unwrap();
    client.connect().unwrap();
    client
}

#[test]
fn a_downlink_that_a_v3_network_refuses_is_reported_with_its_error_in_parts() {
    let _watchdog = watchdog(LIMIT);
    let (network, client, events) = simulated(Network::V3);
    network.device("pump-1");
    let delivery = client.send("pump-1", vec![7; 250]).unwrap();
    let failed = loop {
        if let Event::Downlink(event) = events.recv_timeout(SOON).unwrap() {
            break event;
        }
    };
    assert_eq!(failed.step, DownlinkStep::Failed);
    let details = failed.error_details.as_ref().unwrap();
    assert_eq!(
        details.id(),
        "pkg/networkserver:application_downlink_too_long"
    );
    assert!(failed.error.contains("250"), "{}", failed.error);
    assert!(
        failed
            .correlation_ids
            .iter()
            .any(|id| Some(id.as_str()) == delivery.correlation_id())
    );
}

#[test]
fn a_batch_counts_as_the_downlinks_in_it() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected_with(|builder| builder.send_capacity(5));
        let error = client.send_batch("dev-1", [[1]; 6]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Downlink);
        assert!(error.to_string().contains("send_capacity"), "{error}");
        client.send_batch("dev-1", [[1]; 5]).unwrap();
        client.close().unwrap();
        let messages = match harness.network {
            Network::V3 => 1,
            _ => 5,
        };
        assert_eq!(harness.downlinks(messages).len(), messages);
        client.connect().unwrap();
        let bad = [Downlink::from("01"), Downlink::from("01").port(0)];
        let error = client.send_batch("dev-1", bad).unwrap_err();
        assert!(error.to_string().contains("downlink 2 of 2"), "{error}");
    });
}

#[test]
fn many_downlinks_are_written_in_order_with_a_delivery_each() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.connected();
        let devices: Vec<String> = (0..50).map(|number| format!("lamp-{number}")).collect();
        let sent = devices.iter().map(|dev_id| (dev_id, [7]));
        let deliveries = client.send_many(sent).unwrap();
        let ids: Vec<u64> = deliveries
            .iter()
            .map(|delivery| delivery.message_id().get())
            .collect();
        assert_eq!(ids, (ids[0]..).take(50).collect::<Vec<_>>());
        let written = harness.downlinks(50);
        for ((dev_id, delivery), (topic, body)) in devices.iter().zip(&deliveries).zip(&written) {
            assert!(
                topic.contains(&format!("/devices/{dev_id}/down")),
                "{topic}"
            );
            if let Some(id) = delivery.correlation_id() {
                assert!(body.contains(id), "{body}");
            }
            delivery.wait_for(DeliveryState::Written, SOON).unwrap();
        }
    });
}

#[test]
fn of_many_downlinks_all_are_sent_or_none() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.connected_with(|builder| builder.send_capacity(5));
        let error = client
            .send_many([("lamp-1", "01"), ("lamp-2", "no text"), ("lamp-3", "03")])
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Downlink);
        assert!(error.to_string().contains("lamp-2"), "{error}");
        let error = client
            .send_many((0..6).map(|_| ("lamp-1", [1])))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Downlink);
        assert!(error.to_string().contains("send_capacity"), "{error}");
        let none: [(&str, &str); 0] = [];
        assert!(client.send_many(none).unwrap().is_empty());
        client.send("lamp-9", "09").unwrap();
        let written = harness.downlinks(1);
        assert!(written[0].0.contains("lamp-9"), "{written:?}");
    });
}

#[test]
fn a_reply_reaches_the_device_in_the_receive_window_on_the_uplinks_port() {
    let _watchdog = watchdog(LIMIT);
    for network in [Network::V2, Network::V3] {
        let simulator = Simulator::builder(network)
            .receive_window(Duration::from_millis(500))
            .start()
            .unwrap();
        let client = MqttClient::builder(simulator.app_id(), simulator.access_key())
            .mqtt_address(simulator.mqtt_address())
            .build()
            .unwrap();
        client.set_uplink_callback(|uplink, client| match uplink.payload_raw[..] {
            [1] => client.reply(uplink, [11]),
            [2] => client.reply(uplink, Downlink::bytes([22]).port(99).confirmed(true)),
            _ => client.send(&uplink.dev_id, uplink.reply("33")),
        });
        client.connect().unwrap();
        let device = simulator.device("pump-1");
        let other = simulator.device("pump-2");
        device.join();
        other.join();
        for (sent, port, answer) in [(1, 7, 11), (2, 99, 22), (3, 7, 0x33)] {
            device.uplink(7, [sent]);
            let heard = device.next_downlink(SOON).unwrap();
            assert_eq!((heard.port, &heard.payload[..]), (port, &[answer][..]));
            assert_eq!(heard.confirmed, sent == 2);
        }
        assert!(other.received().is_empty());
    }
}

#[test]
fn an_uplink_of_another_application_is_not_answered() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let body = match harness.network {
            Network::V3 => {
                r#"{"end_device_ids":{"device_id":"pump-1","application_ids":{"application_id":"orchard"}},"uplink_message":{"f_port":1}}"#
            }
            _ => r#"{"app_id":"orchard","dev_id":"pump-1","port":1}"#,
        };
        let foreign = UplinkMessage::from_json(harness.network, body).unwrap();
        let error = client.reply(&foreign, [1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Downlink);
        assert!(error.to_string().contains("orchard"), "{error}");
        let own = body.replace("orchard", "greenhouse-demo");
        let own = UplinkMessage::from_json(harness.network, own).unwrap();
        client.reply(&own, [1]).unwrap();
    });
}
