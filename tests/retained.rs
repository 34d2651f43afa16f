//! Messages that a broker of one's own keeps: told as such with each connection, no news of a device, and
//! said once in the log. In a process of its own, which has one log.

#![cfg(unix)]

mod support;

use std::{
    io::Write,
    net::TcpListener,
    sync::{Mutex, Once, PoisonError},
    thread,
    time::Duration,
};

use support::{
    harness::{Harness, SOON},
    raw::{frame, read_packet, string},
    relayed_client::RelayedClient,
    watchdog::watchdog,
};
use ttn::{
    CounterFinding, DeliveryState, Downlink, Event, Events, FrameStats, MqttClient, Network,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Keeps every warning.
struct Log(Mutex<Vec<String>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Starts to record the log.
fn listen() {
    static START: Once = Once::new();
    START.call_once(|| {
        log::set_logger(&LOG).expect("the only logger");
        log::set_max_level(log::LevelFilter::Warn);
    });
}

/// Returns the warnings about messages of this device that the server retains.
fn warnings(dev_id: &str) -> Vec<String> {
    let lines = LOG.0.lock().unwrap_or_else(PoisonError::into_inner);
    let about = |line: &&String| line.contains("retains messages") && line.contains(dev_id);
    lines.iter().filter(about).cloned().collect()
}

fn each_mosquitto(test: impl Fn(&mut Harness)) {
    for network in [Network::V2, Network::V3] {
        if let Some(mut harness) = Harness::mosquitto(network) {
            test(&mut harness);
        }
    }
}

/// What a broker keeps of a device: the topic below it, and the body.
fn kept(network: Network) -> Vec<(&'static str, String)> {
    let with = |kind: &'static str, body: &str| (kind, body.to_owned());
    match network {
        Network::V3 => {
            let member = |kind, name: &str, content: &str| {
                (
                    kind,
                    format!(r#"{{"{name}":{{"f_port":1,"frm_payload":"AQ=="{content}}}}}"#),
                )
            };
            vec![
                member("up", "uplink_message", r#","f_cnt":500"#),
                member("up/normalized", "uplink_normalized", r#","f_cnt":500"#),
                with("join", r#"{"join_accept":{"session_key_id":"AQID"}}"#),
                member("down/queued", "downlink_queued", ""),
                member("down/sent", "downlink_sent", ""),
                member("down/ack", "downlink_ack", r#","confirmed":true"#),
                member("down/nack", "downlink_nack", r#","confirmed":true"#),
                with(
                    "location/solved",
                    r#"{"location_solved":{"location":{"latitude":1.5}}}"#,
                ),
                with("service/data", r#"{"service_data":{"data":{"a":1}}}"#),
                with("down/unheard", "{}"),
                with("down/failed", "no JSON"),
            ]
        }
        _ => {
            let report = r#"{"message":{"port":1,"payload_raw":"AQ==","confirmed":true}}"#;
            vec![
                with(
                    "up",
                    r#"{"port":1,"counter":500,"payload_raw":"AQ==","metadata":{"gateways":[{"gtw_id":"roof"}]}}"#,
                ),
                with("up/temperature", "21.5"),
                with("up/sensors/humidity", "40"),
                with("events/activations", r#"{"dev_addr":"26011A2B"}"#),
                with("events/create", r#"{"update_at":"0001-01-01T00:00:00Z"}"#),
                with("events/delete", r#"{"update_at":"0001-01-01T00:00:00Z"}"#),
                with("events/down/scheduled", report),
                with("events/down/sent", report),
                with("events/down/acks", report),
                with("events/unheard", "{}"),
                with("events/down/errors", "no JSON"),
            ]
        }
    }
}

/// Returns the topics of the retained messages before the live uplink with this counter, in order, and the
/// findings.
fn until(events: &Events, last: u32) -> (Vec<String>, Vec<CounterFinding>) {
    let (mut retained, mut findings) = (Vec::new(), Vec::new());
    loop {
        let event = events.recv_timeout(SOON).expect("the uplink arrives");
        if event.is_retained() {
            let json = ttn::serde_json::to_value(&event).expect("an event can be written");
            let holder = json.get("raw").unwrap_or(&json);
            assert_eq!(holder["is_retained"], true, "{json}");
            retained.push(json["event"].as_str().unwrap_or_default().to_owned());
            continue;
        }
        match event {
            Event::Uplink(uplink) if uplink.counter == last => {
                retained.sort_unstable();
                return (retained, findings);
            }
            Event::Counter(report) => findings.push(report.finding),
            _ => {}
        }
    }
}

#[test]
fn every_kind_of_message_that_is_kept_comes_with_each_connection_and_counts_as_no_news() {
    let _watchdog = watchdog(LIMIT);
    listen();
    each_mosquitto(|harness| {
        let kept = kept(harness.network);
        for (kind, body) in &kept {
            harness.publish_retained(&harness.topic("bed-07", kind), body);
        }
        let link = RelayedClient::connect(harness, |builder| match harness.network {
            Network::V3 => builder,
            _ => builder.field_topics(true),
        });
        let downlink = Downlink::bytes([1]).port(1).confirmed(true);
        let delivery = link.client.send("bed-07", downlink).unwrap();
        delivery.wait_for(DeliveryState::Written, SOON).unwrap();
        assert_eq!(harness.downlinks(1).len(), 1);
        harness.uplink("bed-07", 7);
        let (first, findings) = until(&link.events, 7);
        assert_eq!(
            (first.len(), &findings[..]),
            (kept.len(), &[][..]),
            "{first:?}"
        );
        for counter in 8..11 {
            link.leave();
            link.come_back();
            harness.uplink("bed-07", counter);
            assert_eq!(until(&link.events, counter), (first.clone(), vec![]));
        }
        assert!(!delivery.is_final(), "{:?}", delivery.state());
        let stats = link.client.stats();
        // On v3, such a broker returns the downlink.
        let returned = u64::from(harness.network == Network::V3);
        let messages = 4 * kept.len() as u64 + 4 + returned;
        assert_eq!(
            (stats.received, stats.malformed, stats.dropped),
            (messages, 4, 0)
        );
        assert_eq!(stats.decoded, messages - 4);
        assert_eq!((stats.confirmed, stats.frames), (0, FrameStats::default()));
        let used = stats.fair_use.device("bed-07");
        assert_eq!((used.uplinks, used.downlinks), (4, 0));

        // An empty one clears what is kept, and is a message to those that are connected.
        for (kind, _) in &kept {
            harness.publish_retained(&harness.topic("bed-07", kind), "");
        }
        harness.uplink("bed-07", 11);
        assert_eq!(until(&link.events, 11), (vec![], vec![]));
        link.leave();
        link.come_back();
        harness.uplink("bed-07", 12);
        assert_eq!(until(&link.events, 12), (vec![], vec![]));
    });
    assert_eq!(warnings("devices/bed-07/").len(), 2, "one for each client");
}

#[test]
fn a_callback_gets_what_is_kept_and_may_tell_it_from_news() {
    let _watchdog = watchdog(LIMIT);
    each_mosquitto(|harness| {
        let topic = harness.topic("bed-08", "up");
        let old = harness.uplink_body("bed-08", 500);
        harness.publish_retained(&topic, &old);
        let (_relay, builder) = harness.relay();
        let client = builder.build().unwrap();
        let (heard, uplinks) = ttn::crossbeam_channel::unbounded();
        client.set_uplink_callback(move |uplink, client| {
            let is_retained = uplink.raw().is_retained();
            if !is_retained {
                client.reply(uplink, [6])?;
            }
            heard.send((uplink.counter, is_retained))?;
            ttn::anyhow::Ok(())
        });
        client.connect().unwrap();
        assert_eq!(uplinks.recv_timeout(SOON), Ok((500, true)));
        harness.uplink("bed-08", 7);
        assert_eq!(uplinks.recv_timeout(SOON), Ok((7, false)));
        let replies = harness.downlinks(1);
        assert_eq!(replies.len(), 1, "{replies:?}");
    });
}

#[test]
fn what_is_kept_and_comes_before_the_subscriptions_are_granted_is_told_as_kept() {
    let _watchdog = watchdog(LIMIT);
    listen();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let uplink = |first: u8, counter: u32| {
            let body = format!(
                r#"{{"app_id":"greenhouse","dev_id":"bed-09","port":1,"counter":{counter},"metadata":{{"gateways":[{{"gtw_id":"roof"}}]}}}}"#
            );
            frame(
                first,
                &[string("greenhouse/devices/bed-09/up"), body.into_bytes()].concat(),
            )
        };
        let unreadable = frame(0x31, &[&[0, 2, 0xff, 0xfe][..], b"{}"].concat());
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(read_packet(&mut stream).0, 0x10);
        stream.write_all(&[0x20, 2, 0, 0]).unwrap();
        let (first, body) = read_packet(&mut stream);
        assert_eq!(first, 0x82);
        let granted = frame(0x90, &[body[0], body[1], 0, 0]);
        let packets = [
            uplink(0x31, 500),
            unreadable,
            granted,
            uplink(0x31, 500),
            uplink(0x30, 7),
        ];
        stream.write_all(&packets.concat()).unwrap();
        stream
    });
    let client = MqttClient::builder("greenhouse", "ttn-account-v2.test-key")
        .mqtt_address(address)
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    let (retained, findings) = until(&events, 7);
    assert_eq!(retained, ["malformed", "uplink", "uplink"]);
    assert_eq!(findings, []);
    let said = warnings("bed-09").len() + warnings("\u{fffd}").len();
    assert_eq!(said, 1);
    drop(server.join().unwrap());
}
