//! A link that damages the data on it: the client notices, reconnects, and the next uplink arrives.
#![cfg(unix)]

use std::{
    env,
    io::{self, Read, Write},
    net::Ipv4Addr,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    attempts::next_failure,
    child::{alone, run_after},
    harness::{Harness, SOON},
    relay::{Fault, Relay, Way},
    relayed_client::RelayedClient,
    resources::{hoard, wait_until},
    watchdog::watchdog,
};
use ttn::{
    DisconnectCause, Disconnected, ErrorKind, Event, Events, MqttClient, MqttClientBuilder, Network,
};

const LIMIT: Duration = Duration::from_secs(60);
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Returns a client behind a relay that soon notices when nothing arrives.
fn attentive(harness: &Harness) -> RelayedClient {
    RelayedClient::connect(harness, |builder| builder.keep_alive(KEEP_ALIVE))
}

/// Asserts that the link breaks, and that the client recovers without help.
fn breaks_and_mends(harness: &mut Harness, events: &Events, counter: u32) {
    breaks(events);
    mends(harness, events, counter);
}

fn breaks(events: &Events) {
    loop {
        match events.recv_timeout(SOON).expect("the break is noticed") {
            Event::Disconnected(lost) => {
                assert_eq!(lost.error.kind(), ErrorKind::ConnectionLost);
                break;
            }
            Event::Uplink(_) | Event::Malformed(_) | Event::Published(_) => continue,
            event => panic!("{event:?}"),
        }
    }
}

fn mends(harness: &mut Harness, events: &Events, counter: u32) {
    while !matches!(
        events.recv_timeout(SOON).expect("the client comes back"),
        Event::Connected(_)
    ) {}
    harness.uplink("dev-1", counter);
    loop {
        match events.recv_timeout(SOON).expect("the next uplink arrives") {
            Event::Uplink(uplink) => break assert_eq!(uplink.counter, counter),
            Event::Counter(_) => {}
            event => panic!("{event:?}"),
        }
    }
}

#[test]
fn a_cut_link_is_mended() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let link = attentive(harness);
        for counter in 0..20 {
            link.relay.cut();
            breaks_and_mends(harness, &link.events, counter);
        }
    });
}

#[test]
fn a_link_that_breaks_inside_a_packet_is_mended() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let link = attentive(harness);
        for bytes in [1, 2, 3, 10, 40] {
            let losses = || link.client.stats().disconnects;
            let before = losses();
            link.relay.set(Way::ToClients, Fault::CutAfter(bytes));
            harness.uplink("dev-1", 0);
            // It may have reconnected before anybody looks.
            assert!(wait_until(SOON, || losses() > before));
            link.relay.set(Way::ToClients, Fault::Pass);
            breaks_and_mends(harness, &link.events, 1);
        }
    });
}

#[test]
fn bytes_that_are_no_mqtt_end_the_link_and_it_is_mended() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let link = attentive(harness);
        let damages: [&[u8]; 5] = [
            // Packet types that no server sends, or not at this point.
            &[0xff; 12],
            &[0x00, 0x00, 0x00],
            // An answer to nothing.
            &[0x20, 0x02, 0x00, 0x00],
            // A topic longer than its packet.
            &[0x30, 0x04, 0x00, 0xff, 0x61, 0x62],
            // A length of five bytes.
            &[0x30, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ];
        for (counter, damage) in (0..).zip(damages) {
            assert_eq!(link.relay.inject(damage), 1, "one link is open");
            breaks_and_mends(harness, &link.events, counter);
        }
    });
}

#[test]
fn a_link_that_is_reset_is_mended() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let link = attentive(harness);
        for counter in 0..5 {
            link.relay.set(Way::ToServer, Fault::ResetAfter(0));
            link.client.send("dev-1", "01").unwrap();
            breaks(&link.events);
            link.relay.pass();
            mends(harness, &link.events, counter);
        }
    });
}

#[test]
fn a_reset_while_connecting_is_told_and_passes() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let link = attentive(harness);
        link.client.close().unwrap();
        for bytes in [0, 1, 20] {
            link.relay.set(Way::ToServer, Fault::ResetAfter(bytes));
            let error = link.client.connect().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{bytes}: {error}");
        }
        link.relay.pass();
        link.client.connect().unwrap();
    });
}

#[test]
fn a_relay_that_resets_sends_a_reset() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V2);
    let relay = Relay::start(harness.address()).unwrap();
    for bytes in [0, 5] {
        relay.set(Way::ToServer, Fault::ResetAfter(bytes));
        let mut link = TcpStream::connect(relay.address()).unwrap();
        link.set_read_timeout(Some(SOON)).unwrap();
        link.write_all(&[0x10; 8]).unwrap();
        let end = link.read(&mut [0; 8]).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    }
}

/// Returns the documented time within which a dead connection is noticed.
fn bound(keep_alive: Duration) -> Duration {
    const SLACK: Duration = Duration::from_secs(1);
    keep_alive + keep_alive.max(Duration::from_secs(5)) + SLACK
}

#[test]
fn a_link_that_falls_silent_is_noticed_in_the_documented_time() {
    let _watchdog = watchdog(LIMIT);
    let keep_alive = Duration::from_secs(2);
    Harness::each(|harness| {
        let silences: [&[Way]; 3] = [
            &[Way::ToClients],
            &[Way::ToServer],
            &[Way::ToClients, Way::ToServer],
        ];
        let links: Vec<_> = silences
            .into_iter()
            .map(|ways| {
                let options = |builder: MqttClientBuilder| builder.keep_alive(keep_alive);
                (ways, RelayedClient::connect(harness, options))
            })
            .collect();
        let start = Instant::now();
        for (ways, link) in &links {
            ways.iter()
                .for_each(|way| link.relay.set(*way, Fault::Stall));
        }
        for (ways, link) in &links {
            let left = (start + bound(keep_alive)).saturating_duration_since(Instant::now());
            let lost = link.events.recv_timeout(left);
            assert!(
                matches!(lost, Ok(Event::Disconnected(_))),
                "{ways:?} after {:?}: {lost:?}",
                start.elapsed()
            );
        }
        for (_, link) in &links {
            link.relay.pass();
            mends(harness, &link.events, 3);
        }
    });
}

#[test]
fn a_link_that_falls_silent_is_noticed_while_downlinks_are_sent() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_of(Network::V3, |harness| {
        let link = attentive(harness);
        link.relay.set(Way::ToServer, Fault::Stall);
        link.relay.set(Way::ToClients, Fault::Stall);
        let start = Instant::now();
        let noticed = |event: &Event| match event {
            Event::Disconnected(lost) => {
                assert_eq!(lost.cause, DisconnectCause::Silent);
                true
            }
            Event::Published(_) | Event::PublishFailed(_) => false,
            event => panic!("{event:?}"),
        };
        'sending: loop {
            assert!(start.elapsed() < bound(KEEP_ALIVE), "it is not noticed");
            // It may have been noticed at this moment.
            let _ = link.client.send("dev-1", "01");
            let next = Instant::now() + Duration::from_millis(200);
            while let Some(left) = next.checked_duration_since(Instant::now()) {
                match link.events.recv_timeout(left) {
                    Ok(event) if noticed(&event) => break 'sending,
                    _ => {}
                }
            }
        }
    });
}

#[test]
fn a_link_that_carries_uplinks_and_takes_nothing_is_noticed() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_of(Network::V3, |harness| {
        let link = attentive(harness);
        link.relay.set(Way::ToServer, Fault::Stall);
        let end = Instant::now() + bound(KEEP_ALIVE);
        for counter in 0.. {
            assert!(Instant::now() < end, "the silence is not noticed");
            harness.uplink("dev-1", counter);
            match link.events.recv_timeout(Duration::from_millis(100)) {
                Ok(Event::Disconnected(_)) => break,
                Ok(Event::Uplink(_)) | Err(_) => {}
                Ok(event) => panic!("{event:?}"),
            }
        }
        link.relay.pass();
        while !matches!(link.events.recv_timeout(SOON).unwrap(), Event::Connected(_)) {}
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_packet_that_is_announced_large_and_never_ends_takes_no_memory() {
    let _watchdog = watchdog(LIMIT);
    if !alone(
        module_path!(),
        "a_packet_that_is_announced_large_and_never_ends_takes_no_memory",
    ) {
        return;
    }
    Harness::each_of(Network::V3, |harness| {
        let link = attentive(harness);
        let before = crate::support::resources::resident_kib();
        // 256 MiB.
        link.relay
            .inject(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0x00, 0x05, b'a', b'b']);
        let start = Instant::now();
        breaks(&link.events);
        assert!(start.elapsed() < bound(KEEP_ALIVE));
        let grown = crate::support::resources::resident_kib().saturating_sub(before);
        assert!(grown < 100 * 1024, "{grown} KiB");
        mends(harness, &link.events, 1);
    });
}

/// Returns the next loss of the connection.
fn next_loss(events: &Events) -> Disconnected {
    loop {
        match events.recv_timeout(SOON).expect("the end is noticed") {
            Event::Disconnected(lost) => break lost,
            Event::Uplink(_) => {}
            event => panic!("{event:?}"),
        }
    }
}

#[test]
fn a_packet_over_the_limit_ends_the_connection_and_the_error_says_so() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let link = RelayedClient::connect(harness, |builder| builder.max_packet_size(64 << 10));
        let body = " ".repeat(60 << 10) + &harness.uplink_body("dev-1", 7);
        harness.publish(&harness.topic("dev-1", "up"), &body);
        let next = link.events.recv_timeout(SOON);
        assert!(matches!(next, Ok(Event::Uplink(_))), "{next:?}");

        // A length of 64 KiB in a header of four bytes.
        link.relay.inject(&[0x30, 0x80, 0x80, 0x04]);
        let lost = next_loss(&link.events);
        let bytes = (64 << 10) + 4;
        assert_eq!(lost.cause, DisconnectCause::PacketTooLarge { bytes });
        for words in ["65540", "max_packet_size", "65536"] {
            assert!(lost.error.to_string().contains(words), "{}", lost.error);
        }
        mends(harness, &link.events, 1);
    });
}

#[test]
fn a_message_on_a_topic_that_is_not_text_is_malformed_and_the_next_one_arrives() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let link = attentive(harness);
        for (counter, topic) in (0..).zip([&b"a/\xff"[..], b"a/\0"]) {
            let mut packet = vec![0x30, 2 + topic.len() as u8 + 5, 0, topic.len() as u8];
            packet.extend(topic);
            packet.extend(b"bytes");
            assert_eq!(link.relay.inject(&packet), 1, "one link is open");
            match link.events.recv_timeout(SOON).expect("it is reported") {
                Event::Malformed(malformed) => {
                    assert_eq!(malformed.raw.payload(), b"bytes");
                    assert!(malformed.raw.topic().starts_with("a/"));
                    assert!(malformed.error.to_string().contains("topic"));
                }
                event => panic!("{event:?}"),
            }
            harness.uplink("dev-1", counter);
            let next = link.events.recv_timeout(SOON);
            assert!(matches!(&next, Ok(Event::Uplink(uplink)) if uplink.counter == counter));
        }
        let stats = link.client.stats();
        assert_eq!((stats.received, stats.malformed), (4, 2));
        assert_eq!(stats.disconnects, 0);
    });
}

#[test]
fn the_bytes_of_an_uplink_are_counted_as_they_are_on_the_line() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let (client, events) = harness.listening(|builder| builder);
        assert!(matches!(events.recv_timeout(SOON), Ok(Event::Connected(_))));
        let before = client.stats();
        assert!(before.bytes_sent > 0 && before.bytes_received > 0);
        let topic = harness.topic("dev-1", "up");
        let body = harness.uplink_body("dev-1", 7);
        harness.publish(&topic, &body);
        assert!(matches!(events.recv_timeout(SOON), Ok(Event::Uplink(_))));
        let after = client.stats();
        assert_eq!(after.bytes_sent, before.bytes_sent);
        let rest = 2 + topic.len() + body.len();
        let packet = if rest < 128 { 2 + rest } else { 3 + rest };
        assert_eq!(after.bytes_received - before.bytes_received, packet as u64);
    });
}

#[test]
fn a_message_of_8_mib_is_delivered_or_counted() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        for (bytes, delivered) in [(16 << 20, true), (1 << 20, false)] {
            let (_client, events) =
                harness.listening(|builder| builder.receive_capacity(100, bytes));
            assert!(matches!(events.recv_timeout(SOON), Ok(Event::Connected(_))));
            let body = " ".repeat(8 << 20) + &harness.uplink_body("dev-1", 7);
            harness.publish(&harness.topic("dev-1", "up"), &body);
            match events
                .recv_timeout(SOON)
                .expect("it is not lost in silence")
            {
                Event::Uplink(uplink) if delivered => assert_eq!(uplink.counter, 7),
                Event::Lagged(1) if !delivered => {}
                event => panic!("{event:?}"),
            }
            harness.uplink("dev-1", 8);
            let next = events.recv_timeout(SOON);
            assert!(matches!(&next, Ok(Event::Uplink(uplink)) if uplink.counter == 8));
        }
    });
}

#[test]
fn a_connection_that_ends_inside_an_answer_is_told_and_tried_again() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let link = attentive(harness);
        for bytes in 0..9 {
            // Four bytes of CONNACK, five of SUBACK.
            let kind = match bytes {
                0..4 => ErrorKind::Protocol,
                _ => ErrorKind::ConnectionLost,
            };
            link.client.close().unwrap();
            link.relay.set(Way::ToClients, Fault::CutAfter(bytes));
            let error = link.client.connect().unwrap_err();
            assert_eq!(error.kind(), kind, "{bytes}: {error}");

            link.relay.pass();
            link.client.connect().unwrap();
            for _ in link.events.receiver().try_iter() {}
            link.relay.set(Way::ToClients, Fault::CutAfter(bytes));
            link.relay.cut();
            breaks(&link.events);
            assert_eq!(next_failure(&link.events).kind(), kind, "{bytes}");
            link.relay.pass();
            mends(harness, &link.events, 2);
        }
    });
}

#[test]
fn a_port_that_is_closed_for_a_while_is_tried_until_it_is_open() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let link = attentive(harness);
        link.leave();
        breaks(&link.events);
        for _ in 0..5 {
            assert_eq!(
                next_failure(&link.events).kind(),
                ErrorKind::ConnectionRefused
            );
        }
        link.relay.listen().unwrap();
        mends(harness, &link.events, 5);
    });
}

#[test]
fn a_server_that_hangs_up_on_every_attempt_is_tried_until_it_answers() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let link = attentive(harness);
        link.relay.reject(true);
        link.relay.cut();
        let mut failures = 0;
        while failures < 5 {
            if let Event::ConnectFailed(failed) = link.events.recv_timeout(SOON).unwrap() {
                assert_eq!(failed.error.kind(), ErrorKind::Protocol, "{}", failed.error);
                assert!(failed.retry_in.is_some());
                failures += 1;
            }
        }
        link.relay.reject(false);
        mends(harness, &link.events, 4);
    });
}

#[test]
fn a_slow_link_delivers_what_it_carries() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let link = attentive(harness);
        let slow = Fault::Slow {
            chunk: 7,
            pause: Duration::from_millis(1),
        };
        link.relay.set(Way::ToClients, slow);
        (0..20).for_each(|counter| harness.uplink("dev-1", counter));
        for counter in 0..20 {
            let event = link.events.recv_timeout(SOON).unwrap();
            assert!(
                matches!(&event, Event::Uplink(uplink) if uplink.counter == counter),
                "{event:?}"
            );
        }
    });
}

const SERVER: &str = "TTN_TEST_SERVER";

/// A process with few descriptors, whose server obeys the downlinks that it sends: `uplink` asks
/// for an uplink, `cut` for the end of the connection.
fn with_few_descriptors(server: &str) {
    let client = MqttClient::builder("greenhouse-demo", "ttn-account-v2.test-key")
        .mqtt_address(server)
        // Long enough to release what the end of a connection leaves.
        .reconnect_delay(Duration::from_millis(100), Duration::from_millis(150))
        .build()
        .unwrap();
    let events = client.events();
    let uplink_arrives = || {
        client.send("uplink", "01").unwrap();
        loop {
            match events.recv_timeout(SOON).expect("the uplink arrives") {
                Event::Uplink(_) => return,
                Event::Published(_) => {}
                event => panic!("{event:?}"),
            }
        }
    };
    client.connect().unwrap();
    assert!(matches!(events.recv_timeout(SOON), Ok(Event::Connected(_))));
    for _ in 0..3 {
        let hoarded = hoard();
        (0..10).for_each(|_| uplink_arrives());
        client.send("cut", "01").unwrap();
        breaks(&events);
        let more = hoard();
        for _ in 0..5 {
            let error = next_failure(&events);
            assert_eq!(error.kind(), ErrorKind::ResourcesExhausted, "{error}");
            assert!(error.to_string().contains("too many files"), "{error}");
        }
        drop((hoarded, more));
        while !matches!(
            events.recv_timeout(SOON).expect("the client comes back"),
            Event::Connected(_)
        ) {}
        uplink_arrives();
    }
}

#[test]
fn want_of_descriptors_while_connected_is_told_and_outlived() {
    let _watchdog = watchdog(LIMIT);
    if let Ok(server) = env::var(SERVER) {
        with_few_descriptors(&server);
        return;
    }
    let harness = Harness::simulator_at(Network::V2, Ipv4Addr::LOCALHOST);
    let network = harness.simulated();
    for host in ["127.0.0.1", "localhost"] {
        let seen = network.published().len();
        let address = network.mqtt_address().replace("127.0.0.1", host);
        thread::scope(|scope| {
            let child = scope.spawn(move || {
                run_after(
                    "ulimit -n 40",
                    module_path!(),
                    "want_of_descriptors_while_connected_is_told_and_outlived",
                    &[(SERVER, address.as_ref())],
                );
            });
            let mut obeyed = seen;
            while !child.is_finished() {
                if !network.wait_for_published(obeyed + 1, Duration::from_millis(100)) {
                    continue;
                }
                let (topic, _) = &network.published()[obeyed];
                obeyed += 1;
                if topic.contains("/cut/") {
                    network.disconnect_clients();
                } else {
                    network.device("dev-1").uplink(1, [1]);
                }
            }
            child.join().unwrap();
        });
    }
}
