//! The quirks of the simulated v3 network: limits, repetitions, and reports that are late, swapped or missing.

use std::time::{Duration, Instant};

use ttn::simulator::{PublishRate, Rights};

use super::{ALL, APP, KEY, PUSH, instant, pump, push, start, topics};
use crate::support::raw::{Hello, LONG, Raw, frame, string};

#[test]
fn a_publish_above_the_limit_is_lost_and_ends_the_connection() {
    let network = start();
    network.quirks(|quirks| quirks.publish_limit = Some(2));
    let (device, mut client) = pump(&network);
    let request = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
    client.publish_1(PUSH, request);
    client.publish_1(PUSH, request);
    client.write(&frame(
        0x32,
        &[&string(PUSH), &[0, 8][..], request.as_bytes()].concat(),
    ));
    client.assert_closed();
    assert_eq!(device.queue().len(), 2);
    Raw::connect(&network).publish_1(PUSH, request);
    assert_eq!(device.queue().len(), 3);
}

#[test]
fn a_connection_above_the_limit_is_refused_with_3() {
    let network = start();
    network.add_application("other-app@ttn", KEY);
    network.quirks(|quirks| quirks.connection_limit = Some(1));
    let first = Raw::connect(&network);
    Raw::refused(&network, &Hello::of(&network), 3);
    let other = Hello {
        username: Some("other-app@ttn"),
        ..Hello::of(&network)
    };
    Raw::accepted(&network, &other);
    drop(first);
    assert!(network.wait_for_clients(0, LONG));
    Raw::connect(&network);
}

#[test]
fn a_message_may_come_before_its_suback() {
    let network = start();
    network.quirks(|quirks| quirks.suback_delay = Duration::from_secs(1));
    let device = network.device("pump-1");
    let mut client = Raw::connect(&network);
    client.write(&frame(0x82, &[vec![0, 9], string(ALL), vec![1]].concat()));
    assert!(network.wait_for_subscriptions(1, LONG));
    client.assert_silent();
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    assert_eq!(client.packet(), [0x90, 3, 0, 9, 1]);
}

#[test]
fn uplinks_can_be_published_twice() {
    let network = start();
    network.quirks(|quirks| quirks.duplicate_uplinks = true);
    let (device, mut client) = pump(&network);
    device.uplink(1, [1]);
    assert_eq!(client.message(), client.message());
    client.assert_silent();
}

const DELAY: Duration = Duration::from_millis(300);

#[test]
fn what_is_said_of_downlinks_can_be_late_and_keeps_its_order() {
    let network = instant();
    network.quirks(|quirks| quirks.event_delay = DELAY);
    let (device, mut client) = pump(&network);
    let begun = Instant::now();
    let before_puback = client.publish_1(PUSH, &push(r#""f_port":1,"frm_payload":"AQ==""#));
    assert_eq!(before_puback, []);
    device.uplink(1, [1]);
    device.invalidate_queue();
    let all = ["up", "down/queued", "down/sent", "down/invalidated"];
    assert_eq!(topics(&mut client, 2), all[..2]);
    assert!(begun.elapsed() >= DELAY);
    assert_eq!(topics(&mut client, 2), all[2..]);
    // The device received it in time.
    assert!(device.next_downlink(Duration::ZERO).is_some());
    network.quirks(|quirks| quirks.event_delay = Duration::ZERO);
    let before_puback = client.publish_1(PUSH, &push(r#""f_port":1,"frm_payload":"AQ==""#));
    assert!(before_puback[0].0.ends_with("down/queued"));
}

#[test]
fn nobody_waits_for_what_is_held_back() {
    let network = start();
    network.quirks(|quirks| quirks.event_delay = Duration::from_secs(3600));
    let (device, mut client) = pump(&network);
    let begun = Instant::now();
    for _ in 0..3 {
        client.publish_1(PUSH, &push(r#""f_port":1,"frm_payload":"AQ==""#));
    }
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 1), ["up"]);
    assert!(device.next_downlink(LONG).is_some());
    network.stop();
    assert!(begun.elapsed() < LONG);
}

#[test]
fn each_two_messages_about_downlinks_can_be_exchanged() {
    let network = instant();
    network.add_application("other-app@ttn", KEY);
    network.quirks(|quirks| {
        quirks.shuffle_events = true;
        quirks.event_delay = Duration::from_secs(1);
    });
    let (device, mut client) = pump(&network);
    let others = network.device_of("other-app@ttn", "pump-1");
    let confirmed = push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#);
    assert_eq!(client.publish_1(PUSH, &confirmed), []);
    // A message of another application is not one of the two.
    others.invalidate_queue();
    device.uplink(1, [1]);
    let exchanged = ["up", "down/sent", "down/queued"];
    assert_eq!(topics(&mut client, 3), exchanged);
    let begun = Instant::now();
    device.uplink(1, [1]);
    assert_eq!(topics(&mut client, 2), ["up", "down/ack"]);
    assert!(begun.elapsed() >= Duration::from_secs(1));

    network.quirks(|quirks| quirks.event_delay = Duration::ZERO);
    client.publish_1(PUSH, &confirmed);
    let begun = Instant::now();
    assert_eq!(topics(&mut client, 1), ["down/queued"]);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn what_becomes_of_downlinks_can_be_kept_secret() {
    let network = instant();
    network.quirks(|quirks| quirks.lose_events = true);
    let (device, mut client) = pump(&network);
    let confirmed = push(r#""f_port":1,"frm_payload":"AQ==","confirmed":true"#);
    assert_eq!(client.publish_1(PUSH, &confirmed), []);
    client.publish_1(PUSH, &push(r#""frm_payload":"AQ==""#));
    assert_eq!(device.queue().len(), 1);
    device.uplink(1, [1]);
    assert!(device.next_downlink(Duration::ZERO).is_some());
    device.uplink(1, [1]);
    assert_eq!(device.in_progress(), None);
    assert_eq!(topics(&mut client, 2), ["up", "up"]);
    client.assert_silent();
}

#[test]
fn a_publish_above_the_rate_of_its_key_is_lost_and_ends_its_connection() {
    let network = start();
    network.add_key(APP, "NNSXS.OTHER.KEY", Rights::ALL);
    let rate = PublishRate {
        per_minute: 0,
        burst: 3,
    };
    network.quirks(|quirks| quirks.publish_rate = Some(rate));
    let device = network.device("pump-1");
    let request = push(r#""f_port":1,"frm_payload":"AQ==""#);
    let mut first = Raw::connect(&network);
    let mut second = Raw::connect(&network);
    let mut other = Raw::accepted(
        &network,
        &Hello {
            password: Some("NNSXS.OTHER.KEY"),
            ..Hello::of(&network)
        },
    );
    first.publish_1(PUSH, &request);
    second.publish_1(PUSH, &request);
    // It counts whatever its topic.
    first.publish_1("v3/x", "");
    second.write(&frame(
        0x32,
        &[&string(PUSH), &[0, 8][..], request.as_bytes()].concat(),
    ));
    second.assert_closed();
    assert_eq!(device.queue().len(), 2);
    other.publish_1(PUSH, &request);
    assert_eq!(device.queue().len(), 3);
    // A new connection does not raise the limit.
    let mut third = Raw::connect(&network);
    third.publish(PUSH, request.as_bytes());
    third.assert_closed();
    first.publish(PUSH, request.as_bytes());
    first.assert_closed();
    assert_eq!(device.queue().len(), 3);
}

#[test]
fn a_rate_of_publishes_comes_back_by_itself() {
    let network = start();
    let rate = PublishRate {
        per_minute: 60,
        burst: 1,
    };
    network.quirks(|quirks| quirks.publish_rate = Some(rate));
    let device = network.device("pump-1");
    let request = push(r#""f_port":1,"frm_payload":"AQ==""#);
    let mut client = Raw::connect(&network);
    for count in 1..=3 {
        client.publish_1(PUSH, &request);
        assert_eq!(device.queue().len(), count);
        crate::support::resources::pause(Duration::from_millis(1010));
    }
}
