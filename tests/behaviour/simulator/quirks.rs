//! The quirks of the simulated V2 network: refusals, delays, losses, and brokers without limits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ttn::Network;
use ttn::simulator::{Device, Simulator, WhenFull};

use super::{DOWN, UP, instant, kinds, pump, start};
use crate::support::raw::{Hello, LONG, Raw, frame, string};

#[test]
fn the_front_can_be_told_how_to_refuse() {
    let network = start();
    network.quirks(|quirks| quirks.connack = Some(3));
    Raw::refused(&network, &Hello::of(&network), 3);
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
    let mut client = Raw::accepted(&network, &hello);
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
