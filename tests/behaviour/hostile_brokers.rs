//! Brokers of one's own that break the rules of MQTT: nothing hangs, nothing is lost, and nothing is acknowledged that was
//! not handled.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use crate::support::{
    harness::SOON,
    raw::{frame, read_packet, string},
    watchdog::watchdog,
};
use ttn::{
    Acknowledge, ErrorKind, Event, Events, MqttClient, MqttClientBuilder, Session, UplinkMessage,
};

const LIMIT: Duration = Duration::from_secs(120);

/// Long enough for something that must not happen.
const A_WHILE: Duration = Duration::from_millis(300);

const TOPIC: &str = "v3/greenhouse@ttn/devices/bed-07/up";

const AT_LEAST_ONCE: u8 = 0x32;
const AGAIN: u8 = 0x3a;

fn builder(broker: SocketAddr) -> MqttClientBuilder {
    MqttClient::own_broker("greenhouse@ttn")
        .mqtt_address(broker.to_string())
        .session(Session::persistent("worker-1"))
        .acknowledge(Acknowledge::Handled)
        .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
}

fn body(counter: u32, length: usize) -> String {
    format!(
        r#"{{"end_device_ids":{{"device_id":"bed-07","application_ids":{{"application_id":"greenhouse"}}}},
        "uplink_message":{{"f_port":1,"f_cnt":{counter},"frm_payload":"AQ=="}},"rest":"{}"}}"#,
        "r".repeat(length)
    )
}

/// A PUBLISH that begins with this byte.
fn publish(first: u8, topic: &str, packet_id: u16, payload: &str) -> Vec<u8> {
    let mut body = string(topic);
    if first & 6 != 0 {
        body.extend(packet_id.to_be_bytes());
    }
    body.extend(payload.bytes());
    frame(first, &body)
}

fn uplink(packet_id: u16, counter: u32) -> Vec<u8> {
    publish(AT_LEAST_ONCE, TOPIC, packet_id, &body(counter, 0))
}

/// The broker's end of one connection.
struct Link(TcpStream);

impl Link {
    /// Accepts the next connection and its login.
    fn accept(listener: &TcpListener, session_present: u8) -> Self {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(read_packet(&mut stream).0, 0x10);
        stream.write_all(&[0x20, 2, session_present, 0]).unwrap();
        Self(stream)
    }

    /// Grants the subscriptions with this quality of service.
    fn grant(&mut self, quality: u8) {
        self.answer(|_| quality);
    }

    /// Answers the subscriptions with a code for each filter.
    fn answer(&mut self, code: impl Fn(&str) -> u8) {
        let (first, body) = read_packet(&mut self.0);
        assert_eq!(first, 0x82);
        let mut answer = body[..2].to_vec();
        let mut rest = &body[2..];
        while let [high, low, ..] = rest {
            let (filter, after) = rest[2..].split_at(u16::from_be_bytes([*high, *low]).into());
            answer.push(code(std::str::from_utf8(filter).unwrap()));
            rest = &after[1..];
        }
        self.0.write_all(&frame(0x90, &answer)).unwrap();
    }

    fn open(listener: &TcpListener) -> Self {
        let mut link = Self::accept(listener, 1);
        link.grant(1);
        link
    }

    fn write(&mut self, packet: &[u8]) {
        self.0.write_all(packet).unwrap();
    }

    /// Returns the packet id of the next PUBACK; answers pings before it.
    fn acknowledged(&mut self) -> u16 {
        loop {
            match read_packet(&mut self.0) {
                (0x40, id) => return u16::from_be_bytes([id[0], id[1]]),
                (0xc0, _) => self.write(&[0xd0, 0]),
                packet => panic!("{packet:?}"),
            }
        }
    }

    /// Returns whether the client says nothing but pings for a while.
    fn hears_nothing(&mut self) -> bool {
        self.0.set_read_timeout(Some(A_WHILE)).unwrap();
        let mut one = [0];
        let is_silent = loop {
            match self.0.peek(&mut one) {
                Ok(1) if one[0] == 0xc0 => {
                    read_packet(&mut self.0);
                    self.write(&[0xd0, 0]);
                }
                Ok(_) => break false,
                Err(_) => break true,
            }
        };
        self.0.set_read_timeout(Some(SOON)).unwrap();
        is_silent
    }
}

/// A client that is connected to a broker, the broker's end, and the events.
fn connected(
    listener: &TcpListener,
    change: impl FnOnce(MqttClientBuilder) -> MqttClientBuilder,
) -> (MqttClient, Events, Link) {
    let client = change(builder(listener.local_addr().unwrap()))
        .build()
        .unwrap();
    let events = client.events();
    let link = thread::scope(|scope| {
        let link = scope.spawn(|| Link::open(listener));
        client.connect().unwrap();
        link.join().unwrap()
    });
    (client, events, link)
}

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[track_caller]
fn next(events: &Events) -> Arc<UplinkMessage> {
    loop {
        if let Event::Uplink(uplink) = events.recv_timeout(SOON).expect("an uplink arrives") {
            return uplink;
        }
    }
}

/// Lets uplinks 20 and 21 come after these packets, and asserts that they are acknowledged when they are handled and not
/// earlier.
#[track_caller]
fn counts_right_after(odd: &[Vec<u8>], acknowledged: &[u16]) -> MqttClient {
    let listener = listen();
    let (client, events, mut link) = connected(&listener, |builder| builder);
    odd.iter().for_each(|packet| link.write(packet));
    link.write(&uplink(20, 20));
    link.write(&uplink(21, 21));
    let mut uplink = next(&events);
    while uplink.counter != 20 {
        uplink = next(&events);
    }
    drop(next(&events));
    for id in acknowledged {
        assert_eq!(link.acknowledged(), *id);
    }
    assert!(link.hears_nothing());
    drop(uplink);
    assert_eq!((link.acknowledged(), link.acknowledged()), (20, 21));
    assert_eq!(client.stats().disconnects, 0);
    client
}

#[test]
fn packet_ids_and_topics_that_no_broker_uses_shift_no_acknowledgement() {
    let _watchdog = watchdog(LIMIT);
    counts_right_after(
        &[
            publish(AT_LEAST_ONCE, TOPIC, 0, &body(1, 0)),
            publish(AT_LEAST_ONCE, TOPIC, 20, &body(2, 0)),
            publish(AGAIN, TOPIC, 20, &body(2, 0)),
            publish(AT_LEAST_ONCE, "", 7, &body(3, 0)),
            publish(AT_LEAST_ONCE, "v3/+/#", 8, &body(4, 0)),
            publish(AT_LEAST_ONCE, TOPIC, 9, ""),
            publish(AT_LEAST_ONCE, &"t".repeat(65_535), 10, ""),
            publish(AT_LEAST_ONCE | 1, TOPIC, 11, &body(5, 0)),
        ],
        &[0, 20, 20, 7, 8, 9, 10, 11],
    );
}

#[test]
fn messages_at_another_quality_of_service_shift_no_acknowledgement_and_are_counted() {
    let _watchdog = watchdog(LIMIT);
    let listener = listen();
    let (client, events, mut link) = connected(&listener, |builder| builder);
    link.write(&uplink(1, 1));
    link.write(&publish(0x30, TOPIC, 0, &body(2, 0)));
    // The handshake of QoS 2, to which nobody has subscribed.
    link.write(&publish(0x34, TOPIC, 3, &body(3, 0)));
    assert_eq!(read_packet(&mut link.0), (0x50, vec![0, 3]));
    link.write(&[0x62, 2, 0, 3]);
    assert_eq!(read_packet(&mut link.0), (0x70, vec![0, 3]));
    link.write(&uplink(4, 4));
    let uplinks: Vec<_> = (0..4).map(|_| next(&events)).collect();
    let counters = uplinks.iter().map(|uplink| uplink.counter);
    assert_eq!(counters.collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(link.hears_nothing());
    drop(uplinks);
    assert_eq!((link.acknowledged(), link.acknowledged()), (1, 4));
    assert_eq!(client.stats().unacknowledged, 2);
}

#[test]
fn a_quality_of_service_that_does_not_exist_ends_the_connection_and_is_named() {
    let _watchdog = watchdog(LIMIT);
    let listener = listen();
    let (_client, events, mut link) = connected(&listener, |builder| builder);
    link.write(&publish(0x36, TOPIC, 1, &body(1, 0)));
    let lost = loop {
        if let Event::Disconnected(lost) = events.recv_timeout(SOON).unwrap() {
            break lost.error.to_string();
        }
    };
    assert!(lost.contains("QoS 3"), "{lost}");
}

#[test]
fn a_broker_that_waits_for_no_acknowledgement_is_read_as_fast_as_the_program_reads() {
    const MESSAGES: u32 = 5_000;
    let _watchdog = watchdog(LIMIT);
    let listener = listen();
    let (client, events, mut link) =
        connected(&listener, |builder| builder.receive_capacity(16, 1 << 20));
    let mut writer = Link(link.0.try_clone().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            for counter in 1..=MESSAGES {
                writer.write(&uplink((counter % 0xffff) as u16, counter));
            }
        });
        scope.spawn(|| {
            for counter in 1..=MESSAGES {
                assert_eq!(u32::from(link.acknowledged()), counter % 0xffff);
            }
        });
        for counter in 1..=MESSAGES {
            assert_eq!(next(&events).counter, counter);
        }
    });
    let stats = client.stats();
    assert_eq!((stats.dropped, stats.disconnects), (0, 0));
}

#[test]
fn more_messages_than_the_limit_before_the_subscription_is_answered_are_all_delivered() {
    let _watchdog = watchdog(LIMIT);
    let listener = listen();
    let client = builder(listener.local_addr().unwrap())
        .receive_capacity(4, 1_000)
        .build()
        .unwrap();
    let events = client.events();
    thread::scope(|scope| {
        let link = scope.spawn(|| {
            let mut link = Link::accept(&listener, 1);
            for counter in 1..=100 {
                link.write(&uplink(counter, counter.into()));
            }
            link.grant(1);
            link
        });
        client.connect().unwrap();
        let mut link = link.join().unwrap();
        for counter in 1..=100 {
            assert_eq!(next(&events).counter, counter);
        }
        for id in 1..=100 {
            assert_eq!(link.acknowledged(), id);
        }
    });
    assert_eq!(client.stats().dropped, 0);
}

#[test]
fn an_uplink_larger_than_all_that_may_wait_comes_and_so_does_the_next() {
    let _watchdog = watchdog(LIMIT);
    let listener = listen();
    for acknowledge in [Acknowledge::Handled, Acknowledge::Received] {
        let (client, events, mut link) = connected(&listener, |builder| {
            builder
                .acknowledge(acknowledge)
                .receive_capacity(100, 1 << 20)
        });
        let mut writer = Link(link.0.try_clone().unwrap());
        thread::scope(|scope| {
            scope.spawn(move || {
                writer.write(&publish(AT_LEAST_ONCE, TOPIC, 1, &body(1, 8 << 20)));
                writer.write(&uplink(2, 2));
            });
            for counter in 1..=2 {
                assert_eq!(next(&events).counter, counter);
            }
            for id in 1..=2 {
                assert_eq!(link.acknowledged(), id);
            }
        });
        assert_eq!(client.stats().dropped, 0);
    }
}

#[test]
fn what_waits_unread_is_acknowledged_up_to_the_limit_if_it_only_has_to_be_received() {
    let _watchdog = watchdog(LIMIT);
    let listener = listen();
    let (_client, events, mut link) = connected(&listener, |builder| {
        builder
            .acknowledge(Acknowledge::Received)
            .receive_capacity(3, 1 << 20)
    });
    for id in 1..=5 {
        link.write(&uplink(id, id.into()));
    }
    for id in 1..=3 {
        assert_eq!(link.acknowledged(), id);
    }
    assert!(link.hears_nothing());
    drop(next(&events));
    assert_eq!(link.acknowledged(), 4);
    assert!(link.hears_nothing());
}

#[test]
fn a_broker_that_closes_after_each_message_that_it_delivers_again_gets_no_false_acknowledgement() {
    let _watchdog = watchdog(LIMIT);
    let listener = listen();
    let (client, events, link) =
        connected(&listener, |builder| builder.receive_capacity(3, 1 << 20));
    drop(link);
    let mut held = Vec::new();
    for number in 0..6 {
        let mut link = Link::open(&listener);
        link.write(&publish(AGAIN, TOPIC, 7, &body(7, 0)));
        // Three at a time: what earlier connections have delivered counts.
        if number >= 3 {
            assert!(link.hears_nothing());
            held.remove(0);
        }
        let uplink = next(&events);
        assert!(uplink.is_redelivered());
        assert_eq!(uplink.is_duplicate(), number > 0);
        held.push(uplink);
        assert!(link.hears_nothing());
    }
    let mut link = Link::open(&listener);
    held.clear();
    assert!(
        link.hears_nothing(),
        "this connection has delivered nothing"
    );
    link.write(&publish(AGAIN, TOPIC, 7, &body(7, 0)));
    drop(next(&events));
    assert_eq!(link.acknowledged(), 7);
    assert_eq!(client.stats().disconnects, 7);
}

#[test]
fn a_group_whose_proof_is_refused_is_connected_at_once_without_it() {
    let _watchdog = watchdog(LIMIT);
    let listener = listen();
    let client = builder(listener.local_addr().unwrap())
        .shared_group("workers")
        .build()
        .unwrap();
    thread::scope(|scope| {
        let link = scope.spawn(|| {
            let mut link = Link::accept(&listener, 1);
            link.answer(|filter| {
                if filter.contains("ttn-check") {
                    0x80
                } else {
                    1
                }
            });
            assert!(link.hears_nothing(), "a marker");
            link
        });
        client.connect().unwrap();
        let mut link = link.join().unwrap();
        let events = client.events();
        link.write(&publish(AT_LEAST_ONCE | 1, TOPIC, 1, &body(1, 0)));
        assert!(next(&events).raw().is_retained());
        assert_eq!(link.acknowledged(), 1);
    });
}

#[test]
fn a_broker_that_acknowledges_no_downlink_does_not_hold_up_a_close() {
    let _watchdog = watchdog(LIMIT);
    let listener = listen();
    let (client, _events, mut link) = connected(&listener, |builder| {
        builder.close_timeout(Duration::from_secs(1))
    });
    client.send("bed-07", "AQ==").unwrap();
    assert_eq!(read_packet(&mut link.0).0 & 0xf6, 0x32);
    let error = client.close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unconfirmed);
    assert!(
        error.to_string().contains("1 downlink is uncertain"),
        "{error}"
    );
    // Nobody gets what comes now, so that it must come again.
    link.write(&uplink(1, 1));
    link.0.set_read_timeout(Some(A_WHILE)).unwrap();
    let mut rest = Vec::new();
    let _ = link.0.read_to_end(&mut rest);
    let is_acknowledged = rest.windows(4).any(|bytes| bytes == [0x40, 2, 0, 1]);
    assert!(!is_acknowledged, "{rest:?}");
}
