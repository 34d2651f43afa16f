//! Downlinks that are sent while the connection is lost.
#![cfg(unix)]

use std::{
    collections::{HashMap, HashSet},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    harness::{Harness, SOON},
    relayed_client::RelayedClient,
    resources::{pause, wait_until},
    watchdog::watchdog,
};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;
use ttn::{ConnectRetry, Downlink, ErrorKind, Event, Events, MessageId, MqttClient, Schedule};

const LIMIT: Duration = Duration::from_secs(90);
const MINUTE: Duration = Duration::from_secs(60);

/// Returns a client behind a relay that keeps downlinks while it is disconnected.
fn keeping(harness: &Harness, capacity: usize, expire_after: Duration) -> RelayedClient {
    RelayedClient::connect(harness, |builder| {
        builder.offline_queue(capacity, expire_after)
    })
}

/// Returns the next outcome of a downlink.
fn outcome(events: &Events) -> (MessageId, Result<(), ErrorKind>) {
    loop {
        match events.recv_timeout(SOON).expect("an outcome") {
            Event::Published(id) => return (id, Ok(())),
            Event::PublishFailed(failed) => return (failed.message_id, Err(failed.error.kind())),
            _ => {}
        }
    }
}

fn numbered(number: u16) -> Downlink {
    Downlink::bytes(number.to_be_bytes()).schedule(Schedule::Last)
}

/// Sends some downlinks, numbered from 0.
fn sent(client: &MqttClient, count: u16) -> Vec<MessageId> {
    let send = |number| client.send("dev-1", numbered(number)).unwrap();
    (0..count).map(|number| send(number).message_id()).collect()
}

/// Returns the number in the body of a downlink.
fn number(body: &str) -> u16 {
    let body: Value = serde_json::from_str(body).unwrap();
    let payload = match &body["downlinks"][0]["frm_payload"] {
        Value::String(payload) => payload,
        _ => body["payload_raw"].as_str().unwrap(),
    };
    let bytes = BASE64_STANDARD.decode(payload).unwrap();
    u16::from_be_bytes(bytes.try_into().expect("two bytes"))
}

#[test]
fn downlinks_of_a_time_away_are_written_in_order_when_it_is_over() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let away = keeping(harness, 100, MINUTE);
        away.leave();
        let ids = sent(&away.client, 100);
        let error = away.client.send("dev-1", numbered(100)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QueueFull);
        away.come_back();
        for id in ids {
            assert_eq!(outcome(&away.events), (id, Ok(())));
        }
        let last = away.client.send("dev-1", numbered(100)).unwrap();
        assert_eq!(outcome(&away.events), (last.message_id(), Ok(())));
        let received: Vec<_> = harness
            .downlinks(101)
            .iter()
            .map(|(_, body)| number(body))
            .collect();
        assert_eq!(received, (0..=100).collect::<Vec<_>>());
    });
}

#[test]
fn downlinks_of_the_time_before_the_first_connection_are_kept_as_well() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let (relay, builder) = harness.relay();
        relay.refuse();
        let client = builder
            .connect_retry(ConnectRetry::Forever)
            .offline_queue(10, MINUTE)
            .build()
            .unwrap();
        // Nobody has called `connect`.
        let error = client.send("dev-1", numbered(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        let events = client.events();
        thread::scope(|scope| {
            scope.spawn(|| client.connect().unwrap());
            assert!(matches!(
                events.recv_timeout(SOON),
                Ok(Event::ConnectFailed(_))
            ));
            client.send("dev-1", numbered(2)).unwrap();
            relay.listen().unwrap();
        });
        let downlinks = harness.downlinks(1);
        assert_eq!(number(&downlinks[0].1), 2);
    });
}

#[test]
fn what_is_sent_after_the_return_does_not_overtake_what_waits() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let away = RelayedClient::connect(harness, |builder| {
            builder.send_capacity(20).offline_queue(300, MINUTE)
        });
        away.leave();
        (0..300).for_each(|number| drop(away.client.send("dev-1", numbered(number)).unwrap()));
        away.relay.listen().unwrap();
        for number in 300..400 {
            let sent = || match away.client.send("dev-1", numbered(number)) {
                Err(error) if error.kind() == ErrorKind::QueueFull => false,
                result => result.is_ok(),
            };
            assert!(wait_until(SOON, sent));
        }
        let received: Vec<_> = harness
            .downlinks_until(|body| self::number(body) == 399)
            .iter()
            .map(|(_, body)| self::number(body))
            .collect();
        assert!(received.is_sorted(), "{received:?}");
        assert_eq!(received.len(), 400);
    });
}

#[test]
fn what_waits_too_long_expires_and_is_not_written() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let expire_after = Duration::from_millis(400);
        let away = keeping(harness, 10, expire_after);
        away.leave();
        let start = Instant::now();
        let old = away.client.send("dev-1", numbered(1)).unwrap();
        assert_eq!(
            outcome(&away.events),
            (old.message_id(), Err(ErrorKind::Expired))
        );
        assert!(start.elapsed() >= expire_after, "{:?}", start.elapsed());
        let young = away.client.send("dev-1", numbered(2)).unwrap();
        away.come_back();
        assert_eq!(outcome(&away.events), (young.message_id(), Ok(())));
        assert_eq!(number(&harness.downlinks(1)[0].1), 2);
        let stats = away.client.stats();
        assert_eq!((stats.sent, stats.not_sent), (1, 1));
    });
}

#[test]
fn closing_reports_what_still_waits_and_takes_nothing_more() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let away = keeping(harness, 10, MINUTE);
        away.leave();
        let ids = sent(&away.client, 3);
        let error = away.client.close().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        let text = error.to_string();
        assert!(text.contains("3 downlinks are not written"), "{text}");
        assert_eq!(away.client.stats().not_sent, 3);
        for id in ids {
            assert_eq!(outcome(&away.events), (id, Err(ErrorKind::Closed)));
        }
        let error = away.client.send("dev-1", numbered(9)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        // It is said once.
        away.client.close().unwrap();
        // Its place is free again.
        away.relay.listen().unwrap();
        away.client.connect().unwrap();
        (0..10).for_each(|number| drop(away.client.send("dev-1", numbered(number)).unwrap()));
    });
}

#[test]
fn without_it_sending_while_away_is_an_error() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        harness.simulated().stop();
        assert!(wait_until(SOON, || !client.is_connected()));
        let error = client.send("dev-1", "01").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn no_downlink_is_written_twice_or_vanishes_however_often_the_link_is_cut() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        const DOWNLINKS: u16 = 1_500;
        let away = keeping(harness, usize::from(DOWNLINKS), MINUTE);
        let mut random = fastrand::Rng::with_seed(7);
        let mut numbers = HashMap::new();
        for n in 0..DOWNLINKS {
            let delivery = loop {
                match away.client.send("dev-1", numbered(n)) {
                    Ok(delivery) => break delivery,
                    // In the moment between two states.
                    Err(error) if error.kind() == ErrorKind::QueueFull => {
                        pause(Duration::from_millis(1))
                    }
                    Err(error) => panic!("{error}"),
                }
            };
            numbers.insert(delivery.message_id(), n);
            match random.u8(..) {
                0..3 => away.relay.cut(),
                3..9 => pause(Duration::from_millis(random.u64(1..30))),
                _ => {}
            }
        }
        let mut written = Vec::new();
        for _ in 0..DOWNLINKS {
            let (id, outcome) = outcome(&away.events);
            let n = numbers.remove(&id).expect("one outcome for each");
            match outcome {
                Ok(()) => written.push(n),
                Err(kind) => assert_eq!(kind, ErrorKind::ConnectionLost),
            }
        }
        assert!(away.client.stats().reconnects > 0);
        // Once this one has arrived, no other one is still on its way.
        away.client.send("dev-1", numbered(DOWNLINKS)).unwrap();
        let received = harness.downlinks_until(|body| number(body) == DOWNLINKS);
        let numbers: Vec<_> = received.iter().map(|(_, body)| number(body)).collect();
        let distinct: HashSet<_> = numbers.iter().copied().collect();
        assert_eq!(distinct.len(), numbers.len(), "written twice");
        assert!(written.is_sorted(), "{written:?}");
        // The last downlinks of a connection may be missing: they were in the socket when it was
        // cut.
        let is_missing: Vec<_> = written.iter().map(|n| !distinct.contains(n)).collect();
        let gaps = is_missing
            .chunk_by(|one, next| one == next)
            .filter(|chunk| chunk[0])
            .count();
        let disconnects = away.client.stats().disconnects;
        assert!(gaps as u64 <= disconnects, "{gaps} gaps, {disconnects}");
    });
}
