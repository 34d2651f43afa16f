//! The example `metrics`: what it serves is what Prometheus reads, and misses no number of [`Stats`].
#![cfg(unix)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use ttn::{MqttClient, Network, Stats, UplinkMessage};

use crate::support::{
    harness::{Harness, SOON},
    relay::Relay,
    resources::wait_until,
    watchdog::watchdog,
};

#[allow(dead_code, reason = "its `main` is not called")]
#[path = "../../examples/metrics.rs"]
mod example;

const LIMIT: Duration = Duration::from_secs(60);

/// Where each number of [`Stats`] is found: its name in JSON, and the time series without its other labels.
const FIELDS: [(&str, &str); 33] = [
    ("received", "ttn_messages_received_total"),
    ("decoded", "ttn_messages_decoded_total"),
    ("malformed", "ttn_messages_malformed_total"),
    ("backfilled", "ttn_uplinks_backfilled_total"),
    ("odd_members", "ttn_odd_members_total"),
    ("dropped", "ttn_messages_dropped_total"),
    ("unacknowledged", "ttn_messages_unacknowledged_total"),
    ("dropped_by_callbacks", "ttn_callback_events_dropped_total"),
    (
        "dropped_by_subscribers.0",
        r#"ttn_subscription_events_dropped{subscription="0"}"#,
    ),
    ("workers.0.worker", "worker"),
    (
        "workers.0.handled",
        r#"ttn_worker_uplinks_handled_total{set="0",worker="0"}"#,
    ),
    (
        "workers.0.failed",
        r#"ttn_worker_uplinks_failed_total{set="0",worker="0"}"#,
    ),
    (
        "workers.0.dropped",
        r#"ttn_worker_events_dropped_total{set="0",worker="0"}"#,
    ),
    (
        "workers.0.waiting",
        r#"ttn_worker_events_waiting{set="0",worker="0"}"#,
    ),
    ("sent", "ttn_downlinks_sent_total"),
    ("not_sent", "ttn_downlinks_not_sent_total"),
    ("uncertain", "ttn_downlinks_uncertain_total"),
    ("waiting", "ttn_downlinks_waiting"),
    ("confirmed", "ttn_downlinks_acknowledged_total"),
    ("bytes_received", "ttn_received_bytes_total"),
    ("bytes_sent", "ttn_sent_bytes_total"),
    ("disconnects", "ttn_disconnects_total"),
    ("reconnects", "ttn_reconnects_total"),
    ("connected_since", "ttn_connected_since_timestamp_seconds"),
    ("last_error", "ttn_last_error"),
    ("frames.missing_away", r#"ttn_frames_missing{cause="away"}"#),
    (
        "frames.missing_dropped_here",
        r#"ttn_frames_missing{cause="dropped_here"}"#,
    ),
    (
        "frames.missing_upstream",
        r#"ttn_frames_missing{cause="upstream"}"#,
    ),
    ("frames.late", "ttn_frames_late_total"),
    ("frames.repeated", "ttn_frames_repeated_total"),
    ("frames.resets", "ttn_frame_counter_resets_total"),
    // The second subscription and the second set of workers.
    (
        "dropped_by_subscribers.1",
        r#"ttn_subscription_events_dropped{subscription="1"}"#,
    ),
    (
        "workers.1.handled",
        r#"ttn_worker_uplinks_handled_total{set="1",worker="0"}"#,
    ),
];

/// A page as Prometheus reads it: the samples by time series, and the kind of each metric.
#[derive(Debug, Default)]
struct Scrape {
    samples: BTreeMap<String, f64>,
    kinds: BTreeMap<String, String>,
}

impl Scrape {
    /// Reads a page. Panics if Prometheus would refuse it, or if it breaks the rules for names.
    #[track_caller]
    fn of(page: &str) -> Self {
        assert!(page.ends_with('\n'), "the last line has no end");
        let mut scrape = Self::default();
        let mut lines = page.lines().peekable();
        while let Some(line) = lines.next() {
            let help = line.strip_prefix("# HELP ").expect(line);
            let (name, text) = help.split_once(' ').expect(line);
            assert!(!text.is_empty() && is_name(name), "{line}");
            let line = lines.next().expect("a kind");
            let kind = line.strip_prefix(&format!("# TYPE {name} ")).expect(line);
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            let known = scrape.kinds.insert(name.to_owned(), kind.to_owned());
            assert!(known.is_none(), "{name} is there twice");
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (series, value) = line.rsplit_once(' ').expect(line);
                let labels = series.strip_prefix(name).expect(line);
                assert!(labels.is_empty() || are_labels(labels), "{line}");
                let value = value.parse().expect(line);
                let known = scrape.samples.insert(series.to_owned(), value);
                assert!(known.is_none(), "{series} is there twice");
            }
        }
        scrape
    }

    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        let value = self.samples.get(series);
        *value.unwrap_or_else(|| panic!("{series} is not in {self:#?}"))
    }

    fn series_of(&self, name: &str) -> Vec<(&str, f64)> {
        let samples = self.samples.iter();
        samples
            .filter(|(series, _)| series.split('{').next() == Some(name))
            .map(|(series, value)| (&**series, *value))
            .collect()
    }
}

fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    name.starts_with("ttn_")
        && name
            .chars()
            .all(|letter| is_letter(letter) || letter.is_ascii_digit())
}

/// Whether this is `{name="value",…}`, with every quote, backslash and line break in a value escaped.
fn are_labels(text: &str) -> bool {
    let Some(mut rest) = text.strip_prefix('{') else {
        return false;
    };
    loop {
        let Some((name, value)) = rest.split_once("=\"") else {
            return false;
        };
        if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_lowercase()) {
            return false;
        }
        let mut letters = value.char_indices();
        let end = loop {
            match letters.next() {
                Some((_, '\\')) => match letters.next() {
                    Some((_, '\\' | '"' | 'n')) => {}
                    _ => return false,
                },
                Some((at, '"')) => break at,
                Some(_) => {}
                None => return false,
            }
        };
        match &value[end + 1..] {
            "}" => return true,
            more => match more.strip_prefix(',') {
                Some(more) => rest = more,
                None => return false,
            },
        }
    }
}

/// Returns the names of all values, with a dot between the levels. An error counts as one value.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    fn walk(path: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
        let below = |name: &str| match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        match value {
            Value::Object(members) if path != "last_error" => {
                for (name, member) in members {
                    walk(&below(name), member, leaves);
                }
            }
            Value::Array(items) => {
                for (position, item) in items.iter().enumerate() {
                    walk(&below(&position.to_string()), item, leaves);
                }
            }
            value => {
                leaves.insert(path.to_owned(), value.clone());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk("", value, &mut found);
    found
}

/// Serves the page of a client on a thread of its own, until the process ends.
fn serve(client: &MqttClient, devices: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let client = client.clone();
    thread::spawn(move || example::serve(&listener, || example::page(&client, devices)));
    address
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

fn scrape(address: SocketAddr) -> Scrape {
    let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
    let (head, page) = answer.split_once("\r\n\r\n").expect("a head");
    let length = format!("Content-Length: {}", page.len());
    for line in [
        "HTTP/1.1 200 OK",
        "Content-Type: text/plain; version=0.0.4; charset=utf-8",
        &length,
    ] {
        assert!(head.lines().any(|other| other == line), "{line}: {head}");
    }
    Scrape::of(page)
}

/// A client that has counted different numbers of most things, and the relay to its network.
fn busy_client(harness: &mut Harness) -> (MqttClient, Relay) {
    let (relay, builder) = harness.relay();
    let client = builder.event_capacity(1).build().expect("valid options");
    // It is never read.
    let _full = Box::leak(Box::new(client.events()));
    let _also_full = Box::leak(Box::new(client.events()));
    for _ in 0..2 {
        let set = client.set_uplink_workers(1, |_| |_: &UplinkMessage, _: &MqttClient| ());
        set.expect("the workers start");
    }
    client.connect().expect("the network is there");
    for counter in [1, 2, 5, 3, 9, 9] {
        harness.uplink("bed-1", counter);
    }
    let topic = harness.topic("bed-1", "up");
    harness.publish(&topic, "{");
    client.send("bed-1", [1]).expect("it is valid");
    assert!(wait_until(SOON, || {
        let stats = client.stats();
        stats.received >= 7 && stats.malformed == 1 && stats.sent == 1
    }));
    relay.cut();
    assert!(wait_until(SOON, || {
        let stats = client.stats();
        stats.reconnects == 1 && stats.connected_since.is_some()
    }));
    (client, relay)
}

#[test]
fn every_number_of_the_statistics_is_served() {
    let _watchdog = watchdog(LIMIT);
    let mut harness = Harness::simulator(Network::V3);
    let (client, _relay) = busy_client(&mut harness);
    // All of one moment, since the client goes on counting.
    let stats: Stats = client.stats();
    let scrape = Scrape::of(&example::of_stats(&stats).into_text());
    let json = serde_json::to_value(&stats).expect("it serializes");

    let mut served = BTreeSet::new();
    for (field, value) in leaves(&json) {
        let Some((_, series)) = FIELDS.iter().find(|(name, _)| *name == field) else {
            let is_of_more = ["dropped_by_subscribers.", "workers.1."];
            let is_known = is_of_more.iter().any(|more| field.starts_with(more));
            assert!(is_known, "examples/metrics.rs does not serve {field}");
            continue;
        };
        served.insert(*series);
        match (&*field, value) {
            ("workers.0.worker", _) => {}
            ("connected_since", _) => {
                let since = stats.connected_since.expect("it is connected");
                let since = since.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
                assert!((scrape.value(series) - since).abs() < 0.001);
            }
            ("last_error", _) => {
                let error = stats.last_error.as_ref().expect("an outage");
                let series = format!("{series}{{kind=\"{:?}\"}}", error.kind());
                assert_eq!(scrape.value(&series), 1.0);
            }
            (_, value) => {
                let value = value.as_f64().expect("a number");
                assert_eq!(scrape.value(series), value, "{field}");
            }
        }
    }
    let missing: Vec<_> = FIELDS.iter().filter(|it| !served.contains(it.1)).collect();
    assert!(missing.is_empty(), "not a field any more: {missing:?}");
    assert!(
        stats.frames.missing_upstream > 0 && stats.frames.repeated == 1 && stats.frames.late == 1,
        "{stats:?}"
    );
}

#[test]
fn prometheus_can_read_what_is_served() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let network = harness.simulated();
    let expires = SystemTime::now() + Duration::from_secs(86_400 * 100);
    network.expire_key(network.app_id(), network.access_key(), expires);
    let client = harness.connected_with(|builder| builder.http_address(network.http_address()));
    let address = serve(&client, 0);
    assert_eq!(scrape(address).value("ttn_messages_received_total"), 0.0);
    network.device("bed-1").uplink(1, [1]);
    assert!(wait_until(SOON, || {
        client.stats().decoded > 0 && client.rights().is_some()
    }));
    let scrape = scrape(address);
    assert!(scrape.value("ttn_messages_received_total") > 0.0);
    let at = scrape.value("ttn_key_expires_timestamp_seconds");
    let expires = expires.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((at - expires).abs() < 1.0, "{at} is not {expires}");
    // Devices are shown on request only: each is a time series.
    assert!(scrape.kinds.keys().all(|name| !name.contains("device")));
}

#[test]
fn of_many_devices_those_are_shown_that_are_longest_in_the_air() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let client = harness.connected();
    for (number, length) in [10, 50, 20, 40, 30].into_iter().enumerate() {
        let device = harness.simulated().device(&format!("bed-{number}"));
        device.uplink(1, vec![0; length]);
    }
    assert!(wait_until(SOON, || {
        client.stats().fair_use.devices().len() == 5
    }));
    let used = client.stats().fair_use.devices();
    let all: Duration = used.iter().map(|(_, used)| used.airtime).sum();
    let scrape = scrape(serve(&client, 2));
    let airtime = scrape.series_of("ttn_device_airtime_today_seconds");
    let names: Vec<_> = airtime.iter().map(|(series, _)| *series).collect();
    let name = "ttn_device_airtime_today_seconds";
    let shown = ["", "bed-1", "bed-3"].map(|device| format!("{name}{{device=\"{device}\"}}"));
    assert_eq!(names, shown);
    let sum: f64 = airtime.iter().map(|(_, seconds)| seconds).sum();
    assert!(
        (sum - all.as_secs_f64()).abs() < 1e-6,
        "{airtime:?}: {all:?}"
    );
    let uplinks = scrape.series_of("ttn_device_uplinks_today");
    assert_eq!(uplinks.iter().map(|(_, value)| value).sum::<f64>(), 5.0);
}

#[test]
fn what_a_label_may_not_contain_is_escaped() {
    assert_eq!(example::escaped("a\"b\\c\nd"), r#"a\"b\\c\nd"#);
    assert!(are_labels(r#"{one="a\"b\\c\nd",two=""}"#));
    for text in [
        r#"{one="a"b"}"#,
        r#"{one="a\b"}"#,
        r#"{one="a" two="b"}"#,
        "{}",
    ] {
        assert!(!are_labels(text), "{text}");
    }
}

#[test]
fn a_bad_request_costs_nobody_else_a_page() {
    let _watchdog = watchdog(LIMIT);
    let client = MqttClient::new("greenhouse-demo@ttn", "NNSXS.ID.SECRET").expect("valid");
    let address = serve(&client, 0);
    let status = |request: &str| {
        let answer = ask(address, request);
        answer.split(' ').nth(1).map(str::to_owned)
    };
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n").as_deref(), Some("404"));
    assert_eq!(
        status("POST /metrics HTTP/1.1\r\n\r\n").as_deref(),
        Some("405")
    );
    let head = ask(address, "HEAD /metrics?x=1 HTTP/1.1\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );

    // One that says nothing, one that goes away in the middle, and one that never ends.
    let silent = TcpStream::connect(address).expect("it listens");
    let half = TcpStream::connect(address).expect("it listens");
    (&half).write_all(b"GET /met").expect("it reads");
    half.shutdown(Shutdown::Both).expect("it is connected");
    let endless = TcpStream::connect(address).expect("it listens");
    // It is refused in the middle.
    let _ = (&endless).write_all(&[b'x'; 64 * 1024]);
    assert_eq!(scrape(address).value("ttn_messages_received_total"), 0.0);
    drop((silent, endless));
}
