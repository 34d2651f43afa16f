//! Messages of a broker of one's own are acknowledged when they are received or handled, and come again otherwise.
#![cfg(unix)]

use std::{
    io,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
    thread,
    time::Duration,
};

use crate::support::{
    child::alone, harness::SOON, mosquitto::Mosquitto, peer::MqttPeer, relay::Relay,
    resources::wait_until, watchdog::watchdog,
};
use crossbeam_channel::{Sender, unbounded};
use ttn::{
    Acknowledge, DisconnectCause, ErrorKind, Event, Events, MqttClient, MqttClientBuilder,
    Overflow, Session, UplinkMessage,
};

const LIMIT: Duration = Duration::from_secs(90);

/// Long enough for something that must not happen.
const A_WHILE: Duration = Duration::from_millis(500);

/// How many messages Mosquitto delivers before it waits for acknowledgements.
const WINDOW: u32 = 20;

const ID: &str = "worker-1";

fn broker() -> Option<(Mosquitto, MqttPeer)> {
    let broker = Mosquitto::builder().start()?;
    let peer = MqttPeer::connect(broker.address(), "", "").unwrap();
    Some((broker, peer))
}

fn builder(server: impl ToString) -> MqttClientBuilder {
    MqttClient::own_broker("greenhouse@ttn")
        .mqtt_address(server.to_string())
        .session(Session::persistent(ID))
}

fn handled(server: impl ToString) -> MqttClientBuilder {
    builder(server).acknowledge(Acknowledge::Handled)
}

fn uplink(counter: u32) -> String {
    format!(
        r#"{{"end_device_ids":{{"device_id":"bed-07","application_ids":{{"application_id":"greenhouse"}}}},
        "uplink_message":{{"f_port":1,"f_cnt":{counter},"frm_payload":"AQ=="}}}}"#
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const TOPIC: &str = "v3/greenhouse@ttn/devices/bed-07/up";

fn publish(peer: &mut MqttPeer, counters: RangeInclusive<u32>) {
    for counter in counters {
        peer.publish_at_least_once(TOPIC, uplink(counter)).unwrap();
    }
}

#[track_caller]
fn next(events: &Events) -> Arc<UplinkMessage> {
    loop {
        if let Event::Uplink(uplink) = events.recv_timeout(SOON).expect("an uplink arrives") {
            return uplink;
        }
    }
}

/// Returns whether the broker had a session when the client connected.
#[track_caller]
fn session_present(events: &Events) -> bool {
    loop {
        let event = events.recv_timeout(SOON).expect("it connects");
        if let Event::Connected(connected) = event {
            return connected.session_present;
        }
    }
}

fn no_uplink(events: &Events) -> bool {
    let end = std::time::Instant::now() + A_WHILE;
    while let Ok(event) = events.receiver().recv_deadline(end) {
        if let Event::Uplink(_) = event {
            return false;
        }
    }
    true
}

/// Returns the packet ids of the messages that the broker has sent the client with this id.
fn sent(broker: &Mosquitto, id: &str) -> Vec<String> {
    let log = broker.log();
    let begin = format!("Sending PUBLISH to {id} (");
    log.lines()
        .filter(|line| line.contains(&begin) && line.contains(", q1,"))
        .filter_map(|line| Some(line.split(", m").nth(1)?.split(',').next()?.to_owned()))
        .collect()
}

/// Returns the packet ids that the client has acknowledged.
fn acknowledged(broker: &Mosquitto) -> Vec<String> {
    let begin = format!("Received PUBACK from {ID} (Mid: ");
    let log = broker.log();
    log.lines()
        .filter_map(|line| Some(line.split(&begin).nth(1)?.split(',').next()?.to_owned()))
        .collect()
}

#[track_caller]
fn wait_for_acknowledgements(broker: &Mosquitto, count: usize) {
    let all = wait_until(SOON, || acknowledged(broker).len() >= count);
    assert!(all, "{:?} of {count}", acknowledged(broker));
}

#[test]
fn uplinks_handled_in_any_order_are_acknowledged_in_the_order_of_arrival() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let client = handled(broker.address()).build().unwrap();
    let events = client.events();
    client.connect().unwrap();
    publish(&mut peer, 1..=4);
    let mut uplinks: Vec<_> = (0..4).map(|_| next(&events)).collect();
    let clone = UplinkMessage::clone(&uplinks[3]);
    uplinks.remove(2);
    uplinks.remove(1);
    // Time for acknowledgements that must not come.
    thread::sleep(A_WHILE);
    assert!(acknowledged(&broker).is_empty());
    uplinks.remove(0);
    wait_for_acknowledgements(&broker, 3);
    // A clone holds it too.
    drop(uplinks);
    // Time for one that must not come.
    thread::sleep(A_WHILE);
    assert_eq!(acknowledged(&broker).len(), 3);
    drop(clone);
    wait_for_acknowledgements(&broker, 4);
    assert_eq!(acknowledged(&broker), sent(&broker, ID));
}

#[test]
fn an_uplink_that_is_kept_can_be_acknowledged_and_a_dropped_subscription_holds_nothing() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let client = handled(broker.address()).build().unwrap();
    let (events, unread) = (client.events(), client.events());
    client.connect().unwrap();
    publish(&mut peer, 1..=2);
    let kept = [next(&events), next(&events)];
    kept.iter().for_each(|uplink| uplink.acknowledge());
    // Time for acknowledgements that must not come.
    thread::sleep(A_WHILE);
    assert!(
        acknowledged(&broker).is_empty(),
        "the other has not read it"
    );
    drop(unread);
    wait_for_acknowledgements(&broker, 2);
    assert_eq!(kept[1].counter, 2);
}

#[test]
fn a_callback_has_handled_an_uplink_when_it_returns_whatever_it_keeps() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let client = handled(broker.address()).build().unwrap();
    let kept = Arc::new(Mutex::new(Vec::new()));
    client.set_uplink_callback({
        let kept = Arc::clone(&kept);
        move |uplink, _| lock(&kept).push(uplink.clone())
    });
    client.connect().unwrap();
    // More than the window.
    publish(&mut peer, 1..=50);
    wait_for_acknowledgements(&broker, 50);
    assert_eq!(lock(&kept).len(), 50);
}

#[test]
fn a_handler_that_blocks_holds_back_the_window_and_can_do_anything_meanwhile() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    peer.subscribe("v3/greenhouse@ttn/devices/+/down/#")
        .unwrap();
    let client = handled(broker.address()).build().unwrap();
    let (entered, has_entered) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let address = broker.address();
    client.set_uplink_callback(move |uplink, client| {
        if uplink.counter == 1 {
            client.send("bed-07", "AQ==").unwrap();
            let other = builder(address)
                .session(Session::persistent("other"))
                .build()
                .unwrap();
            let events = other.events();
            other.connect().unwrap();
            entered.send(()).unwrap();
            let counters: Vec<_> = (0..29).map(|_| next(&events).counter).collect();
            assert_eq!(counters, (2..=30).collect::<Vec<_>>());
            other.close().unwrap();
            entered.send(()).unwrap();
            released.recv_timeout(LIMIT).unwrap();
        }
    });
    let events = client.events();
    client.connect().unwrap();
    publish(&mut peer, 1..=1);
    has_entered.recv_timeout(SOON).unwrap();
    publish(&mut peer, 2..=30);
    let (topic, _) = peer.next(SOON).expect("the downlink leaves");
    assert!(topic.ends_with("/down/replace"));
    has_entered.recv_timeout(SOON).unwrap();
    assert!(wait_until(SOON, || sent(&broker, ID).len() >= WINDOW as usize));
    thread::sleep(A_WHILE);
    assert_eq!(sent(&broker, ID).len(), WINDOW as usize);
    assert!(acknowledged(&broker).is_empty());
    for counter in 1..=WINDOW {
        assert_eq!(next(&events).counter, counter);
    }
    release.send(()).unwrap();
    for counter in WINDOW + 1..=30 {
        assert_eq!(next(&events).counter, counter);
    }
    wait_for_acknowledgements(&broker, 30);
    client.close().unwrap();
}

#[test]
fn a_client_can_close_itself_in_a_handler_and_the_rest_comes_to_the_next_one() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let client = handled(broker.address()).build().unwrap();
    let events = client.events();
    client.set_uplink_callback(|uplink, client| {
        if uplink.counter == 3 {
            client.close().unwrap();
        }
    });
    client.connect().unwrap();
    assert!(!session_present(&events));
    publish(&mut peer, 1..=1);
    assert_eq!(next(&events).counter, 1);
    wait_for_acknowledgements(&broker, 1);
    publish(&mut peer, 2..=10);
    assert!(client.wait_timeout(SOON));
    drop((client, events));
    // The subscriptions are still there.
    publish(&mut peer, 11..=12);
    let client = handled(broker.address()).build().unwrap();
    let events = client.events();
    client.connect().unwrap();
    let first = next(&events);
    assert!(client.stats().connected_since.is_some());
    // It was being handled, or waited, when the connection ended.
    assert!((2..=3).contains(&first.counter), "{}", first.counter);
    assert!(first.is_redelivered());
    let mut last = first.counter;
    drop(first);
    while last < 12 {
        let uplink = next(&events);
        assert_eq!(uplink.counter, last + 1);
        last = uplink.counter;
        if last > 10 {
            assert!(!uplink.is_redelivered());
        }
    }
}

#[test]
fn an_overload_stops_reading_and_drops_nothing_and_the_connection_lives() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let client = builder(broker.address())
        .receive_capacity(16, 1 << 20)
        .keep_alive(Duration::from_secs(4))
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    publish(&mut peer, 1..=200);
    // Mosquitto gives up a client after one and a half times its keep-alive.
    thread::sleep(Duration::from_secs(10));
    let at_most = acknowledged(&broker).len();
    assert!(at_most <= 16, "{at_most} can be lost");
    for counter in 1..=200 {
        let uplink = next(&events);
        assert_eq!(uplink.counter, counter);
        assert!(!uplink.is_redelivered());
    }
    let stats = client.stats();
    assert_eq!(
        (stats.dropped, stats.disconnects, stats.unacknowledged),
        (0, 0, 0)
    );
    wait_for_acknowledgements(&broker, 200);
}

#[test]
fn a_callback_that_fails_or_panics_has_handled_the_uplink() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let client = handled(broker.address()).build().unwrap();
    client.set_uplink_callback(|uplink, _| match uplink.counter {
        1 => Err(io::Error::other("it cannot be written")),
        2 => panic!("it is out of range"),
        _ => Ok(()),
    });
    let events = client.events();
    client.connect().unwrap();
    publish(&mut peer, 1..=3);
    assert!(!no_failures(&events, 2));
    wait_for_acknowledgements(&broker, 3);
    assert_eq!(client.stats().disconnects, 0);
}

/// Reads this many failures of callbacks. Returns whether there are fewer.
fn no_failures(events: &Events, count: usize) -> bool {
    let failures = std::iter::from_fn(|| events.recv_timeout(SOON).ok())
        .filter(|event| matches!(event, Event::CallbackFailed(_)));
    failures.take(count).count() < count
}

#[test]
fn what_a_callback_fails_on_comes_again_if_that_is_asked_for() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let client = handled(broker.address())
        .redeliver_failed(true)
        .reconnect_delay(Duration::from_millis(10), Duration::from_secs(1))
        .build()
        .unwrap();
    let handled = Arc::new(Mutex::new(Vec::new()));
    client.set_uplink_callback({
        let handled = Arc::clone(&handled);
        move |uplink, _| {
            lock(&handled).push((uplink.counter, uplink.is_redelivered()));
            match uplink.counter == 2 && !uplink.is_redelivered() {
                true => Err(io::Error::other("the database is away")),
                false => Ok(()),
            }
        }
    });
    let events = client.events();
    client.connect().unwrap();
    publish(&mut peer, 1..=1);
    drop(next(&events));
    wait_for_acknowledgements(&broker, 1);
    publish(&mut peer, 2..=2);
    let lost = loop {
        if let Event::Disconnected(lost) = events.recv_timeout(SOON).unwrap() {
            break lost;
        }
    };
    assert_eq!(lost.cause, DisconnectCause::HandlerFailed);
    assert!(
        lost.error.to_string().contains("a handler failed"),
        "{}",
        lost.error
    );
    drop(next(&events));
    wait_for_acknowledgements(&broker, 2);
    publish(&mut peer, 3..=3);
    drop(next(&events));
    wait_for_acknowledgements(&broker, 3);
    assert_eq!(
        *lock(&handled),
        [(1, false), (2, false), (2, true), (3, false)]
    );
}

#[test]
fn what_a_raw_callback_fails_on_comes_again_even_if_another_callback_does_not_fail() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let client = handled(broker.address())
        .redeliver_failed(true)
        .reconnect_delay(Duration::from_millis(10), Duration::from_secs(1))
        .build()
        .unwrap();
    let (sender, calls) = mpsc::channel();
    client.set_uplink_callback(move |uplink, _| sender.send(uplink.is_redelivered()).unwrap());
    let mut is_first = true;
    client.set_uplink_raw_callback(move |_, _| match std::mem::take(&mut is_first) {
        true => Err(io::Error::other("the file is full")),
        false => Ok(()),
    });
    client.connect().unwrap();
    publish(&mut peer, 1..=1);
    assert!(!calls.recv_timeout(SOON).unwrap());
    assert!(calls.recv_timeout(SOON).unwrap());
    wait_for_acknowledgements(&broker, 1);
}

#[test]
fn what_was_not_acknowledged_when_the_link_broke_comes_again_and_is_marked() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let relay = Relay::start(broker.address()).unwrap();
    let client = handled(relay.address())
        .reconnect_delay(Duration::from_millis(10), Duration::from_secs(1))
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    publish(&mut peer, 1..=3);
    drop(next(&events));
    let held = [next(&events), next(&events)];
    assert!(held.iter().all(|uplink| !uplink.is_redelivered()));
    wait_for_acknowledgements(&broker, 1);
    relay.cut();
    let again = [next(&events), next(&events)];
    assert_eq!(
        again
            .each_ref()
            .map(|uplink| (uplink.counter, uplink.is_redelivered())),
        [(2, true), (3, true)]
    );
    // The receipts of the first connection are worth nothing.
    drop(held);
    thread::sleep(A_WHILE);
    assert_eq!(acknowledged(&broker).len(), 1);
    drop(again);
    wait_for_acknowledgements(&broker, 3);
}

#[test]
fn a_session_keeps_uplinks_for_a_client_that_is_away_until_it_is_forgotten() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    // Fewer than the broker delivers before it answers the subscription.
    let client = builder(broker.address())
        .receive_capacity(4, 1 << 20)
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    assert!(!session_present(&events));
    client.close().unwrap();
    publish(&mut peer, 1..=30);
    client.connect().unwrap();
    // They may come before the client is connected and subscribed.
    let (mut kept, mut is_kept) = (Vec::new(), false);
    while kept.len() < 30 || !is_kept {
        match events
            .recv_timeout(SOON)
            .expect("it connects, and an uplink arrives")
        {
            Event::Connected(connected) => is_kept = connected.session_present,
            Event::Uplink(uplink) => kept.push(uplink.counter),
            _ => {}
        }
    }
    assert_eq!(kept, (1..=30).collect::<Vec<_>>());
    // Whether it is connected or not.
    for counter in [31, 32] {
        client.forget_session().unwrap();
        assert!(!client.is_connected());
        publish(&mut peer, counter..=counter);
    }
    client.connect().unwrap();
    assert!(!session_present(&events));
    assert!(no_uplink(&events));
    client.close().unwrap();
}

#[test]
fn only_a_persistent_session_can_be_forgotten_and_only_where_the_broker_is() {
    let _watchdog = watchdog(LIMIT);
    let client = MqttClient::own_broker("greenhouse@ttn")
        .mqtt_address("localhost:1")
        .build()
        .unwrap();
    let error = client.forget_session().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("Session::persistent"), "{error}");
    let client = builder("localhost:1").build().unwrap();
    let error = client.forget_session().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
}

#[test]
fn a_client_whose_session_is_taken_over_again_and_again_is_told_who_may_do_it() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, _peer)) = broker() else {
        return;
    };
    let client = builder(broker.address())
        .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    let mut other = None;
    let told = loop {
        match events
            .recv_timeout(SOON)
            .expect("it connects, or is disconnected")
        {
            Event::Connected(_) => {
                other = MqttPeer::connect_as(ID, broker.address(), "", "").ok();
                assert!(other.is_some());
            }
            Event::Disconnected(lost) if lost.cause != DisconnectCause::Unknown => {
                break lost.error.to_string();
            }
            _ => {}
        }
    };
    assert!(
        told.contains("another client uses the client id \"worker-1\""),
        "{told}"
    );
    drop(other);
}

#[test]
fn uplinks_at_qos_0_are_counted_because_they_never_come_again() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let client = handled(broker.address()).build().unwrap();
    let events = client.events();
    client.connect().unwrap();
    peer.publish(TOPIC, uplink(1)).unwrap();
    peer.publish(TOPIC, uplink(2)).unwrap();
    publish(&mut peer, 3..=3);
    for counter in 1..=3 {
        assert_eq!(next(&events).counter, counter);
    }
    let stats = client.stats();
    assert_eq!((stats.unacknowledged, stats.received), (2, 3));
}

#[test]
fn a_small_queue_that_is_not_read_loses_nothing() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let client = handled(broker.address())
        .event_capacity(8)
        .overflow(Overflow::DropNewest)
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    publish(&mut peer, 1..=30);
    thread::sleep(A_WHILE);
    for counter in 1..=30 {
        assert_eq!(next(&events).counter, counter);
    }
    assert_eq!((events.dropped(), client.stats().dropped), (0, 0));
    wait_for_acknowledgements(&broker, 30);
}

/// Passes on the warnings of the log.
struct Warnings(Sender<String>);

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() == log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let _ = self.0.send(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

#[test]
fn a_program_that_leaves_a_subscription_unread_is_told_which_in_the_log() {
    static WARNINGS: OnceLock<Warnings> = OnceLock::new();
    const NAME: &str = "a_program_that_leaves_a_subscription_unread_is_told_which_in_the_log";
    if !alone(module_path!(), NAME) {
        return;
    }
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    let (sender, warnings) = unbounded();
    log::set_logger(WARNINGS.get_or_init(|| Warnings(sender))).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let client = handled(broker.address()).build().unwrap();
    client.set_uplink_callback(|_, _| {});
    let unread = client.events();
    client.connect().unwrap();
    publish(&mut peer, 1..=3);
    let warning = warnings.recv_timeout(LIMIT).unwrap();
    for expected in ["3 must be", "in that of a subscription to events", "30 s"] {
        assert!(warning.contains(expected), "{warning}");
    }
    assert!(!warning.contains("the callbacks"), "{warning}");
    drop(unread);
    wait_for_acknowledgements(&broker, 3);
}

#[test]
fn a_client_that_reads_nothing_closes_at_once_after_a_downlink() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer)) = broker() else {
        return;
    };
    peer.subscribe("v3/greenhouse@ttn/devices/+/down/#")
        .unwrap();
    let client = builder(broker.address())
        .receive_capacity(2, 1 << 20)
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    publish(&mut peer, 1..=10);
    client.send("bed-07", "AQ==").unwrap();
    // The answer that proves it processed comes behind the uplinks.
    client.close().unwrap();
    assert!(peer.next(SOON).is_some());
    assert!(acknowledged(&broker).len() <= 2);
    // The session is still there, with its subscriptions.
    client.connect().unwrap();
    let mut counters: Vec<_> = (0..10).map(|_| next(&events).counter).collect();
    while counters.last() != Some(&10) {
        counters.push(next(&events).counter);
    }
    counters.sort_unstable();
    counters.dedup();
    assert_eq!(counters, (1..=10).collect::<Vec<_>>());
}
