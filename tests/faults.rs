//! A link that damages what it carries: the client notices, comes back, and the next uplink
//! arrives.
#![cfg(unix)]

mod support;

use std::time::Duration;

use support::{
    harness::{Harness, SOON},
    relay::{Fault, Relay, Way},
    watchdog::watchdog,
};
use ttn::{ErrorKind, Event, Events, MqttClient};

const LIMIT: Duration = Duration::from_secs(60);

/// A client behind a relay, connected, that comes back quickly.
fn behind_a_relay(harness: &Harness) -> (Relay, MqttClient, Events) {
    let relay = Relay::start(harness.address()).unwrap();
    let client = harness
        .builder()
        .mqtt_address(relay.address().to_string())
        .keep_alive(Duration::from_secs(1))
        .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    assert!(matches!(events.recv_timeout(SOON), Ok(Event::Connected(_))));
    (relay, client, events)
}

/// The link breaks, and is mended without help.
fn breaks_and_mends(harness: &mut Harness, events: &Events, counter: u32) {
    loop {
        match events.recv_timeout(SOON).expect("the break is noticed") {
            Event::Disconnected(lost) => {
                assert_eq!(lost.error.kind(), ErrorKind::ConnectionLost);
                break;
            }
            Event::Uplink(_) | Event::Malformed(_) => continue,
            event => panic!("{event:?}"),
        }
    }
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
        let (relay, _client, events) = behind_a_relay(harness);
        for counter in 0..20 {
            relay.cut();
            breaks_and_mends(harness, &events, counter);
        }
    });
}

#[test]
fn a_link_that_breaks_inside_a_packet_is_mended() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let (relay, client, events) = behind_a_relay(harness);
        for bytes in [1, 2, 3, 10, 40] {
            relay.set(Way::ToClients, Fault::CutAfter(bytes));
            harness.uplink("dev-1", 0);
            assert!(support::resources::wait_until(SOON, || !client.is_connected()));
            relay.set(Way::ToClients, Fault::Pass);
            breaks_and_mends(harness, &events, 1);
        }
    });
}

#[test]
fn bytes_that_are_no_mqtt_end_the_link_and_it_is_mended() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let (relay, _client, events) = behind_a_relay(harness);
        let damages: [&[u8]; 5] = [
            // Packet types that no server sends, or not now.
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
            assert_eq!(relay.inject(damage), 1, "one link is open");
            breaks_and_mends(harness, &events, counter);
        }
    });
}

#[test]
fn a_link_that_falls_silent_is_noticed_by_the_keep_alive() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let (relay, _client, events) = behind_a_relay(harness);
        relay.stall();
        let lost = events.recv_timeout(SOON).expect("the silence is noticed");
        assert!(matches!(lost, Event::Disconnected(_)), "{lost:?}");
        relay.pass();
        while !matches!(
            events.recv_timeout(SOON).expect("the client comes back"),
            Event::Connected(_)
        ) {}
        harness.uplink("dev-1", 3);
        assert!(
            matches!(events.recv_timeout(SOON), Ok(Event::Uplink(uplink)) if uplink.counter == 3)
        );
    });
}

#[test]
fn a_server_that_hangs_up_on_every_attempt_is_tried_until_it_answers() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let (relay, _client, events) = behind_a_relay(harness);
        relay.reject(true);
        relay.cut();
        let mut failures = 0;
        while failures < 5 {
            if let Event::ConnectFailed(failed) = events.recv_timeout(SOON).unwrap() {
                assert_eq!(failed.error.kind(), ErrorKind::Protocol, "{}", failed.error);
                assert!(failed.retry_in.is_some());
                failures += 1;
            }
        }
        relay.reject(false);
        while !matches!(
            events.recv_timeout(SOON).expect("the client comes back"),
            Event::Connected(_)
        ) {}
        harness.uplink("dev-1", 4);
        assert!(
            matches!(events.recv_timeout(SOON), Ok(Event::Uplink(uplink)) if uplink.counter == 4)
        );
    });
}

#[test]
fn a_slow_link_delivers_what_it_carries() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let (relay, _client, events) = behind_a_relay(harness);
        let slow = Fault::Slow {
            chunk: 7,
            pause: Duration::from_millis(1),
        };
        relay.set(Way::ToClients, slow);
        (0..20).for_each(|counter| harness.uplink("dev-1", counter));
        for counter in 0..20 {
            let event = events.recv_timeout(SOON).unwrap();
            assert!(
                matches!(&event, Event::Uplink(uplink) if uplink.counter == counter),
                "{event:?}"
            );
        }
    });
}
