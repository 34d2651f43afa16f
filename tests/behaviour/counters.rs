//! What frame counters and the client's own counters reveal about messages that did not arrive.
#![cfg(unix)]

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    harness::{Harness, SOON},
    raw::{frame, read_packet, string},
    relayed_client::RelayedClient,
    resources::{pause, wait_until},
    watchdog::watchdog,
};
use ttn::{
    CounterFinding, DisconnectCause, DownlinkStep, ErrorKind, Event, Events, FrameLoss, MqttClient,
    Network, Overflow,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Returns what the stream reports about counters up to the uplink with this counter; `None` stands
/// for the uplink itself.
fn story(events: &Events, last: u32) -> Vec<(u32, Option<CounterFinding>)> {
    let mut story = Vec::new();
    loop {
        match events.recv_timeout(SOON).expect("the uplink arrives") {
            Event::Uplink(uplink) => {
                story.push((uplink.counter, None));
                if uplink.counter == last {
                    return story;
                }
            }
            Event::Counter(report) => {
                assert_eq!(report.dev_id, "dev-1");
                story.push((report.counter, Some(report.finding)));
            }
            _ => {}
        }
    }
}

fn missing(frames: u32, loss: FrameLoss) -> Option<CounterFinding> {
    Some(CounterFinding::Missing { frames, loss })
}

#[test]
fn a_hole_is_reported_before_the_uplink_that_shows_it() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let (client, events) = harness.listening(|builder| builder);
        for counter in [104, 105, 109, 108, 109, 110, 2, 3] {
            harness.uplink("dev-1", counter);
        }
        assert_eq!(
            story(&events, 3),
            [
                (104, None),
                (105, None),
                (109, missing(3, FrameLoss::Upstream)),
                (109, None),
                (108, Some(CounterFinding::Late)),
                (108, None),
                (109, Some(CounterFinding::Repeated)),
                (109, None),
                (110, None),
                (2, Some(CounterFinding::Reset)),
                (2, None),
                (3, None),
            ]
        );
        let frames = client.stats().frames;
        assert_eq!((frames.missing_upstream, frames.late), (3, 1));
        assert_eq!((frames.repeated, frames.resets), (1, 1));
        assert_eq!((frames.missing_away, frames.missing_dropped_here), (0, 0));
    });
}

/// Returns an uplink of `dev-1` with a payload in base64.
fn uplink_with(network: Network, counter: u32, payload: &str) -> String {
    match network {
        Network::V3 => format!(
            r#"{{"end_device_ids":{{"device_id":"dev-1","application_ids":{{"application_id":"greenhouse-demo"}},
            "dev_addr":"260B0007"}},"uplink_message":{{"f_port":1,"f_cnt":{counter},"frm_payload":"{payload}"}}}}"#
        ),
        _ => format!(
            r#"{{"port":1,"counter":{counter},"payload_raw":"{payload}","metadata":{{"gateways":[{{"gtw_id":"roof"}}]}}}}"#
        ),
    }
}

#[test]
fn a_counter_that_deep_sleep_takes_away_starts_over_each_time() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.client();
        let events = client.events();
        client.connect().unwrap();
        let topic = harness.topic("dev-1", "up");
        let frames = [
            (1, "Tg=="),
            (2, "Tw=="),
            (1, "UA=="),
            (2, "UQ=="),
            (3, "Ug=="),
        ];
        for (counter, payload) in frames {
            harness.publish(&topic, &uplink_with(harness.network, counter, payload));
        }
        assert_eq!(
            story(&events, 3),
            [
                (1, None),
                (2, None),
                (1, Some(CounterFinding::Reset)),
                (1, None),
                (2, None),
                (3, None),
            ]
        );
        assert_eq!(client.stats().frames.resets, 1);
    });
}

/// Returns an uplink of `dev-1` that the network received in this second of an hour.
fn received(network: Network, counter: u32, second: u32) -> String {
    let time = format!("2026-06-01T12:{:02}:{:02}.5Z", second / 60, second % 60);
    match network {
        Network::V3 => format!(
            r#"{{"end_device_ids":{{"device_id":"dev-1","application_ids":{{"application_id":"greenhouse-demo"}},
            "dev_addr":"260B0007"}},"uplink_message":{{"f_port":1,"f_cnt":{counter},"frm_payload":"AQ==","received_at":"{time}"}}}}"#
        ),
        _ => format!(
            r#"{{"port":1,"counter":{counter},"payload_raw":"AQ==","metadata":{{"time":"{time}","gateways":[{{"gtw_id":"roof"}}]}}}}"#
        ),
    }
}

#[test]
fn the_time_of_the_network_tells_a_restart_from_an_uplink_that_is_delivered_again() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.client();
        let events = client.events();
        client.connect().unwrap();
        let topic = harness.topic("dev-1", "up");
        // All have the same content. A bridge delivers the first life of the device again.
        let frames = [
            (100, 0),
            (101, 60),
            (1, 120),
            (100, 0),
            (101, 60),
            (2, 180),
            (1, 240),
            (3, 360),
            (2, 300),
            (4, 420),
        ];
        for (counter, second) in frames {
            harness.publish(&topic, &received(harness.network, counter, second));
        }
        assert_eq!(
            story(&events, 4),
            [
                (100, None),
                (101, None),
                (1, Some(CounterFinding::Reset)),
                (1, None),
                (100, Some(CounterFinding::Repeated)),
                (100, None),
                (101, Some(CounterFinding::Repeated)),
                (101, None),
                (2, None),
                (1, Some(CounterFinding::Reset)),
                (1, None),
                (3, missing(1, FrameLoss::Upstream)),
                (3, None),
                (2, Some(CounterFinding::Late)),
                (2, None),
                (4, None),
            ]
        );
        let frames = client.stats().frames;
        assert_eq!((frames.missing_upstream, frames.late), (1, 1));
        assert_eq!((frames.repeated, frames.resets), (2, 2));
    });
}

#[test]
fn a_counter_of_16_bits_wraps_without_a_reset() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.client();
        let events = client.events();
        client.connect().unwrap();
        for counter in [65_530, 3, 65_534, 4] {
            harness.uplink("dev-1", counter);
        }
        assert_eq!(
            story(&events, 4),
            [
                (65_530, None),
                (3, missing(8, FrameLoss::Upstream)),
                (3, None),
                (65_534, Some(CounterFinding::Late)),
                (65_534, None),
                (4, None),
            ]
        );
    });
}

/// Reads up to the live uplink with this counter. Returns which of the messages before it were retained,
/// and what was reported about counters.
fn retained_and_findings(events: &Events, last: u32) -> (Vec<Event>, Vec<CounterFinding>) {
    let (mut retained, mut findings) = (Vec::new(), Vec::new());
    loop {
        match events.recv_timeout(SOON).expect("the uplink arrives") {
            event if event.is_retained() => retained.push(event),
            Event::Uplink(uplink) if uplink.counter == last => return (retained, findings),
            Event::Counter(report) => findings.push(report.finding),
            _ => {}
        }
    }
}

/// Runs a test with the reports of both networks against a real broker.
fn each_mosquitto(test: impl Fn(&mut Harness)) {
    for network in [Network::V2, Network::V3] {
        if let Some(mut harness) = Harness::mosquitto(network) {
            test(&mut harness);
        }
    }
}

#[test]
fn a_retained_uplink_is_told_as_retained_and_disturbs_nothing() {
    let _watchdog = watchdog(LIMIT);
    each_mosquitto(|harness| {
        let topic = harness.topic("dev-1", "up");
        let old = harness.uplink_body("dev-1", 500);
        harness.publish_retained(&topic, &old);
        let link = RelayedClient::connect(harness, |builder| builder);
        for counter in [7, 8] {
            harness.uplink("dev-1", counter);
        }
        let (retained, findings) = retained_and_findings(&link.events, 8);
        let [Event::Uplink(uplink)] = &retained[..] else {
            panic!("{retained:?}");
        };
        assert_eq!((uplink.counter, uplink.raw().is_retained()), (500, true));
        assert_eq!(findings, []);
        let used = link.client.stats().fair_use.device("dev-1");
        assert_eq!(used.uplinks, 2);

        // With the flag, but not kept for this client: it is there.
        let new = harness.uplink_body("dev-1", 10);
        harness.publish_retained(&topic, &new);
        let (retained, findings) = retained_and_findings(&link.events, 10);
        assert_eq!(retained.len(), 0);
        let lost = missing(1, FrameLoss::Upstream);
        assert_eq!(findings, Vec::from_iter(lost));

        // The same one comes again with the next connection.
        link.leave();
        link.come_back();
        harness.uplink("dev-1", 11);
        let (retained, findings) = retained_and_findings(&link.events, 11);
        let [Event::Uplink(uplink)] = &retained[..] else {
            panic!("{retained:?}");
        };
        assert_eq!(uplink.counter, 10);
        assert_eq!(findings, []);
        let stats = link.client.stats();
        assert_eq!(stats.fair_use.device("dev-1").uplinks, 4);
        assert_eq!(
            (stats.frames.missing_upstream, stats.frames.repeated),
            (1, 0)
        );
        assert_eq!((stats.frames.resets, stats.frames.missing_away), (0, 0));
    });
}

#[test]
fn a_retained_join_or_report_is_no_news_of_the_device() {
    let _watchdog = watchdog(LIMIT);
    each_mosquitto(|harness| {
        let reports = match harness.network {
            Network::V3 => [
                ("join", r#"{"join_accept":{"session_key_id":"AQID"}}"#),
                (
                    "down/sent",
                    r#"{"downlink_sent":{"f_port":1,"frm_payload":"AQ=="}}"#,
                ),
                (
                    "down/ack",
                    r#"{"downlink_ack":{"f_port":1,"frm_payload":"AQ==","confirmed":true}}"#,
                ),
            ],
            _ => [
                (
                    "events/activations",
                    r#"{"app_eui":"70B3D57EF0000001","dev_eui":"0004A30B001B7AD2","dev_addr":"26011A2B"}"#,
                ),
                (
                    "events/down/sent",
                    r#"{"message":{"port":1,"payload_raw":"AQ=="}}"#,
                ),
                (
                    "events/down/acks",
                    r#"{"message":{"port":1,"payload_raw":"AQ==","confirmed":true}}"#,
                ),
            ],
        };
        for (kind, body) in reports {
            harness.publish_retained(&harness.topic("dev-1", kind), body);
        }
        let link = RelayedClient::connect(harness, |builder| builder);
        harness.uplink("dev-1", 7);
        let (retained, _) = retained_and_findings(&link.events, 7);
        assert_eq!(retained.len(), reports.len(), "{retained:?}");
        link.leave();
        link.come_back();
        harness.uplink("dev-1", 9);
        let (retained, findings) = retained_and_findings(&link.events, 9);
        assert_eq!(retained.len(), reports.len(), "{retained:?}");
        let lost = missing(1, FrameLoss::Away);
        assert_eq!(findings, Vec::from_iter(lost));
        let stats = link.client.stats();
        assert_eq!(stats.confirmed, 0);
        assert_eq!(stats.fair_use.device("dev-1").downlinks, 0);
        assert_eq!(
            (stats.malformed, stats.decoded),
            (0, 2 + 2 * reports.len() as u64)
        );
    });
}

#[test]
fn a_retained_report_about_an_equal_downlink_ends_no_delivery() {
    let _watchdog = watchdog(LIMIT);
    let Some(mut harness) = Harness::mosquitto(Network::V2) else {
        return;
    };
    let body = r#"{"message":{"port":1,"payload_raw":"AQ==","confirmed":true}}"#;
    let topic = harness.topic("dev-1", "events/down/acks");
    harness.publish_retained(&topic, body);
    let link = RelayedClient::connect(&harness, |builder| builder);
    let downlink = ttn::Downlink::bytes([1]).port(1).confirmed(true);
    let delivery = link.client.send("dev-1", downlink).unwrap();
    delivery
        .wait_for(ttn::DeliveryState::Written, SOON)
        .unwrap();
    let mut is_retained_once = |counter| {
        harness.uplink("dev-1", counter);
        let (retained, _) = retained_and_findings(&link.events, counter);
        assert_eq!(retained.len(), 1, "{retained:?}");
    };
    is_retained_once(6);
    link.leave();
    link.come_back();
    is_retained_once(7);
    assert!(!delivery.is_final(), "{:?}", delivery.state());
    // The report itself is one that counts.
    harness.publish(&topic, body);
    delivery
        .wait_for(ttn::DeliveryState::Acknowledged, SOON)
        .unwrap();
}

#[test]
fn what_was_missed_while_away_is_told_from_what_was_lost_on_the_way() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let away = RelayedClient::connect(harness, |builder| builder);
        harness.uplink("dev-1", 1);
        assert_eq!(story(&away.events, 1), [(1, None)]);
        away.leave();
        (2..5).for_each(|counter| harness.uplink("dev-1", counter));
        away.come_back();
        harness.uplink("dev-1", 5);
        harness.uplink("dev-1", 7);
        assert_eq!(
            story(&away.events, 7),
            [
                (5, missing(3, FrameLoss::Away)),
                (5, None),
                (7, missing(1, FrameLoss::Upstream)),
                (7, None)
            ]
        );
    });
}

/// Waits for the next event of a kind.
fn wait_for<T>(events: &Events, kind: impl Fn(&Event) -> Option<T>) -> T {
    loop {
        let event = events.recv_timeout(SOON).expect("it happens");
        if let Some(found) = kind(&event) {
            return found;
        }
    }
}

#[test]
fn what_a_living_connection_did_not_bring_is_not_blamed_on_the_outage_that_follows() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        const UPLINKS: u32 = 100;
        let link = RelayedClient::connect(harness, |builder| {
            builder.keep_alive(Duration::from_secs(1))
        });
        let begin = Instant::now();
        harness.uplink("dev-1", 0);
        assert_eq!(story(&link.events, 0), [(0, None)]);
        // The server answers pings, and publishes nothing.
        pause(Duration::from_secs(6));
        link.leave();
        link.come_back();
        let gap = wait_for(&link.events, |event| match event {
            Event::Connected(connected) => connected.gap.clone(),
            _ => None,
        });
        assert!(gap.silence < Duration::from_secs(2), "{gap:?}");
        harness.uplink("dev-1", UPLINKS);
        let story = story(&link.events, UPLINKS);
        let time = begin.elapsed();
        let [(_, Some(away)), (_, Some(upstream)), (UPLINKS, None)] = story[..] else {
            panic!("{story:?}");
        };
        let frames = |finding, expected| match finding {
            CounterFinding::Missing { frames, loss } if loss == expected => frames,
            finding => panic!("{finding:?}"),
        };
        let away = frames(away, FrameLoss::Away);
        let upstream = frames(upstream, FrameLoss::Upstream);
        assert_eq!(away + upstream, UPLINKS - 1);
        let most = (gap.silence + gap.length + Duration::from_secs(1)).as_secs_f64();
        let most = most / time.as_secs_f64() * f64::from(UPLINKS) + 2.0;
        assert!(f64::from(away) <= most, "{away} of at most {most}");
        assert!(upstream > UPLINKS / 3, "{upstream}");
    });
}

#[test]
fn what_a_dead_link_swallowed_before_that_was_noticed_was_missed_while_away() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let link = RelayedClient::connect(harness, |builder| {
            builder.keep_alive(Duration::from_secs(1))
        });
        harness.uplink("dev-1", 0);
        assert_eq!(story(&link.events, 0), [(0, None)]);
        link.relay.stall();
        for counter in 1..50 {
            harness.uplink("dev-1", counter);
            pause(Duration::from_millis(100));
        }
        let cause = wait_for(&link.events, |event| match event {
            Event::Disconnected(lost) => Some(lost.cause),
            _ => None,
        });
        assert_eq!(cause, DisconnectCause::Silent);
        link.relay.cut();
        link.relay.pass();
        assert!(wait_until(SOON, || link.client.is_connected()));
        harness.uplink("dev-1", 50);
        assert_eq!(
            story(&link.events, 50),
            [(50, missing(49, FrameLoss::Away)), (50, None)]
        );
    });
}

#[test]
fn an_uplink_that_comes_before_the_subscriptions_are_granted_is_after_the_outage() {
    let _watchdog = watchdog(LIMIT);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (heard, first_is_heard) = ttn::crossbeam_channel::bounded(1);
    let server = thread::spawn(move || {
        let uplink = |counter: u32| {
            let body = format!(
                r#"{{"app_id":"greenhouse","dev_id":"dev-1","port":1,"counter":{counter},"metadata":{{"gateways":[{{"gtw_id":"roof"}}]}}}}"#
            );
            let topic = string("greenhouse/devices/dev-1/up");
            frame(0x30, &[topic, body.into_bytes()].concat())
        };
        let accept = || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            assert_eq!(read_packet(&mut stream).0, 0x10);
            stream.write_all(&[0x20, 2, 0, 0]).unwrap();
            stream
        };
        let subscription = |stream: &mut TcpStream| {
            let (first, body) = read_packet(stream);
            assert_eq!(first, 0x82);
            frame(0x90, &[body[0], body[1], 0, 0])
        };
        let mut stream = accept();
        let granted = subscription(&mut stream);
        stream.write_all(&granted).unwrap();
        stream.write_all(&uplink(1)).unwrap();
        first_is_heard.recv_timeout(SOON).unwrap();
        drop(stream);

        let mut stream = accept();
        let granted = subscription(&mut stream);
        stream
            .write_all(&[uplink(5), granted, uplink(7)].concat())
            .unwrap();
        stream
    });
    let client = MqttClient::builder("greenhouse", "ttn-account-v2.test-key")
        .mqtt_address(address)
        .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    assert_eq!(story(&events, 1), [(1, None)]);
    heard.send(()).unwrap();
    assert_eq!(
        story(&events, 7),
        [
            (5, missing(3, FrameLoss::Away)),
            (5, None),
            (7, missing(1, FrameLoss::Upstream)),
            (7, None)
        ]
    );
    drop(server.join().unwrap());
}

#[test]
fn what_was_dropped_here_is_told_too_and_the_sums_are_exact() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        const UPLINKS: u32 = 500;
        let (client, events) = harness.listening(|builder| builder.receive_capacity(10, 1 << 20));
        harness.uplink("dev-1", 0);
        assert_eq!(story(&events, 0), [(0, None)]);
        // Holds up the client's thread.
        let unread = client.events_with(1, Overflow::Block);
        for counter in 1..UPLINKS {
            harness.uplink("dev-1", counter);
        }
        // An uplink that Paho delivers after the flood: an event about a downlink would do, but not
        // every server sends one. The last uplinks may be among the dropped ones, so this continues
        // until one is not.
        let reader = thread::spawn(move || unread.iter().for_each(drop));
        let mut last = UPLINKS;
        let mut seen = 1;
        let (mut lost_here, mut lost) = (0, 0);
        harness.uplink("dev-1", last);
        loop {
            match events.recv_timeout(Duration::from_millis(200)) {
                Ok(Event::Uplink(uplink)) => {
                    seen += 1;
                    if uplink.counter == last {
                        break;
                    }
                }
                Ok(Event::Counter(report)) => match report.finding {
                    CounterFinding::Missing { frames, loss } => {
                        lost += frames;
                        if loss == FrameLoss::DroppedHere {
                            lost_here += frames;
                        }
                    }
                    finding => panic!("{finding:?}"),
                },
                Ok(_) => {}
                Err(_) => {
                    last += 1;
                    harness.uplink("dev-1", last);
                }
            }
        }
        let stats = client.stats();
        assert!(lost_here > 0);
        assert_eq!(seen + lost, last + 1);
        assert_eq!(u64::from(lost_here), stats.dropped);
        assert_eq!(
            u64::from(lost),
            stats.dropped + stats.frames.missing_upstream
        );
        assert_eq!(stats.received, u64::from(seen + lost_here));
        drop(client);
        drop(events);
        reader.join().unwrap();
    });
}

#[test]
fn a_join_is_no_gap() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let device = harness.simulated().device("dev-1");
        let (_client, events) = harness.listening(|builder| builder);
        for _ in 0..2 {
            device.join();
            for _ in 0..4 {
                device.uplink(1, [1]);
            }
            assert_eq!(
                story(&events, 3),
                [0, 1, 2, 3].map(|counter| (counter, None))
            );
        }
    });
}

#[test]
fn a_device_that_is_deleted_or_registered_again_starts_over() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_of(Network::V2, |harness| {
        let (_client, events) = harness.listening(|builder| builder);
        for change in ["delete", "create", "update"] {
            for counter in [7, 8] {
                harness.uplink("dev-1", counter);
            }
            assert_eq!(story(&events, 8), [(7, None), (8, None)]);
            let topic = harness.topic("dev-1", &format!("events/{change}"));
            harness.publish(&topic, r#"{"update_at":"0001-01-01T00:00:00Z"}"#);
            if change != "update" {
                for counter in [0, 6] {
                    harness.uplink("dev-1", counter);
                }
                let gap = missing(5, FrameLoss::Upstream);
                assert_eq!(story(&events, 6), [(0, None), (6, gap), (6, None)]);
            }
        }
        // Its data changed, not its session.
        harness.uplink("dev-1", 10);
        let gap = missing(1, FrameLoss::Upstream);
        assert_eq!(story(&events, 10), [(10, gap), (10, None)]);
    });
}

#[test]
fn a_simulated_join_changes_nothing() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_of(Network::V3, |harness| {
        let (_client, events) = harness.listening(|builder| builder);
        harness.uplink("dev-1", 7);
        let join = r#"{"join_accept":{"session_key_id":"AQID"},"simulated":true}"#;
        harness.publish(&harness.topic("dev-1", "join"), join);
        harness.uplink("dev-1", 9);
        let gap = missing(1, FrameLoss::Upstream);
        assert_eq!(story(&events, 9), [(7, None), (9, gap), (9, None)]);
    });
}

#[test]
fn the_watch_can_be_turned_off() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let (client, events) = harness.listening(|builder| builder.counter_watch(0));
        for counter in [1, 9, 3] {
            harness.uplink("dev-1", counter);
        }
        assert_eq!(story(&events, 3), [(1, None), (9, None), (3, None)]);
        assert_eq!(client.stats().frames, ttn::FrameStats::default());
    });
}

#[test]
fn the_numbers_agree_with_what_happened() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let network = harness.simulated();
        let device = network.device("dev-1");
        device.join();
        let client = harness
            .builder()
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
            .build()
            .unwrap();
        let stats = client.stats();
        assert_eq!((stats.received, stats.connected_since), (0, None));
        assert!(stats.last_error.is_none());
        let events = client.events();
        let narrow = client.events_with(2, Overflow::DropNewest);
        let before = std::time::SystemTime::now();
        client.connect().unwrap();
        let since = client.stats().connected_since.expect("connected");
        assert!(since >= before && since <= std::time::SystemTime::now());

        client
            .send("dev-1", ttn::Downlink::bytes([1]).confirmed(true))
            .unwrap();
        network.publish(&harness.topic("dev-1", "up"), "no JSON");
        let mut acknowledged = false;
        let mut received = 0;
        while !acknowledged {
            device.uplink(1, [1]);
            while let Ok(event) = events.recv_timeout(Duration::from_millis(100)) {
                match event {
                    Event::Connected(_) | Event::Published(_) => {}
                    Event::Downlink(report) => {
                        received += 1;
                        acknowledged |= report.step == DownlinkStep::Acknowledged;
                    }
                    _ => received += 1,
                }
            }
        }
        network.disconnect_clients();
        assert!(wait_until(SOON, || client.stats().reconnects == 1));

        let stats = client.stats();
        assert_eq!(
            (stats.received, stats.decoded, stats.malformed),
            (received, received - 1, 1)
        );
        assert_eq!((stats.sent, stats.not_sent, stats.confirmed), (1, 0, 1));
        assert_eq!((stats.disconnects, stats.dropped), (1, 0));
        let error = stats.last_error.expect("the connection was lost");
        assert_eq!(error.kind(), ErrorKind::ConnectionLost);
        assert_eq!(stats.dropped_by_callbacks, 0);
        assert_eq!(stats.dropped_by_subscribers, [0, narrow.dropped()]);
        assert!(narrow.dropped() > 0);

        client.close().unwrap();
        assert_eq!(client.stats().connected_since, None);
        drop(events);
        assert_eq!(client.stats().dropped_by_subscribers.len(), 1);
    });
}
