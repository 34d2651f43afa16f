//! Backfills from servers that a test has in hand: what a client makes of their answers, and what it costs.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, UNIX_EPOCH},
};

use crate::support::{
    certificates::Certificates,
    harness::SOON,
    resources::wait_until,
    tls_front::TlsFront,
    watchdog::watchdog,
    way_out::{Speech, WayOut},
};
use ttn::{
    Backfill, BackfillSource, Backfilled, ErrorKind, Event, MqttClient, MqttClientBuilder,
    UncoveredReason,
};

const LIMIT: Duration = Duration::from_secs(60);

/// An HTTP server that answers each request on a thread of its own.
struct Server {
    address: String,
    port: u16,
    /// How many requests are being answered at the moment.
    now: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::at(Ipv4Addr::LOCALHOST.into(), answer)
    }

    fn at(host: IpAddr, answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self {
            address: format!("http://{address}"),
            port: address.port(),
            now: Arc::default(),
        };
        let now = Arc::clone(&server.now);
        let answer = Arc::new(answer);
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let now = Arc::clone(&now);
                let answer = Arc::clone(&answer);
                thread::spawn(move || {
                    let Some(path) = read_path(&stream) else {
                        return;
                    };
                    now.fetch_add(1, Ordering::SeqCst);
                    answer(&path, &mut stream);
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }
}

fn read_path(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(first.split(' ').nth(1)?.to_owned())
}

fn client(server: &str, key: &str, backfill: Backfill) -> MqttClientBuilder {
    MqttClient::builder("greenhouse@ttn", key)
        .mqtt_address("mqtt://127.0.0.1:9")
        .http_address(server)
        .backfill(backfill.max_wait(Duration::from_millis(20)))
}

fn key() -> String {
    format!("NNSXS.{:016X}.SECRET", fastrand::u64(..))
}

const DAY: Duration = Duration::from_secs(86_400);

/// Asks for all of 2026.
#[track_caller]
fn fill(builder: MqttClientBuilder) -> (Backfilled, Vec<(String, u32)>) {
    let client = builder.build().unwrap();
    let events = client.events();
    let start = UNIX_EPOCH + DAY * 20_454;
    let backfilling = client.backfill(start..start + DAY * 365).unwrap();
    let report = backfilling.wait().unwrap();
    let mut uplinks = Vec::new();
    loop {
        match events.recv_timeout(SOON).unwrap() {
            Event::Uplink(uplink) => {
                let topic = format!("v3/greenhouse@ttn/devices/{}/up", uplink.dev_id);
                assert_eq!(uplink.raw().topic(), topic);
                uplinks.push((uplink.dev_id.clone(), uplink.counter));
            }
            Event::Backfilled(_) => return (report, uplinks),
            _ => {}
        }
    }
}

fn sized(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Returns whether storage is asked for all of 2026 from its start, or for its oldest uplink.
fn is_from_start(path: &str) -> bool {
    !path.contains("after=") || path.contains("after=2025")
}

const RECORD: &str = r#"{"result":{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},"received_at":"2026-02-16T00:00:07Z","uplink_message":{"f_port":1,"f_cnt":7,"frm_payload":"AQI=","received_at":"2026-02-16T00:00:07Z"}}}"#;

/// Answers as storage that keeps one uplink.
fn one_uplink(path: &str, stream: &mut TcpStream) {
    let body = if is_from_start(path) { RECORD } else { "" };
    let _ = stream.write_all(sized("200 OK", &format!("{body}\n")).as_bytes());
}

macro_rules! recorded {
    ($folder:literal, $name:literal) => {{
        let text = include_str!(concat!("../fixtures/", $folder, "/", $name));
        ($name, text)
    }};
}

#[test]
fn recorded_answers_become_uplinks_and_a_report() {
    use UncoveredReason::{CutOff, NotEnabled, NotKept};
    let _watchdog = watchdog(LIMIT);
    let seen = [("bed-07", 118), ("bed-07", 119)];
    let mixed = [
        ("bed-08", 7001),
        ("bed-07", 118),
        ("tank-1", 40),
        ("bed-08", 7002),
        ("bed-07", 119),
        ("bed-08", 7003),
        ("tank-1", 0),
        ("bed-07", 0),
    ];
    type Row<'a> = (
        (&'a str, &'static str),
        &'a [(&'a str, u32)],
        UncoveredReason,
    );
    let rows: [Row<'_>; 12] = [
        (
            recorded!("v3-http", "storage-two-lines.ndjson"),
            &seen,
            NotKept,
        ),
        (
            recorded!("v3-http", "storage-event-stream.txt"),
            &seen,
            NotKept,
        ),
        (
            recorded!("records", "storage-mixture.ndjson"),
            &mixed,
            NotKept,
        ),
        (
            recorded!("v3-http", "storage-full-fields.ndjson"),
            &seen[..1],
            NotKept,
        ),
        (
            recorded!("records", "storage-unknown-fields.ndjson"),
            &seen[..1],
            NotKept,
        ),
        (
            recorded!("records", "storage-all-types.ndjson"),
            &[("tank-1", 0)],
            NotKept,
        ),
        (
            recorded!("records", "storage-cut.ndjson"),
            &seen[..1],
            CutOff,
        ),
        (
            recorded!("v3-http", "storage-error-midstream.ndjson"),
            &seen[..1],
            CutOff,
        ),
        (
            recorded!("v3-http", "storage-empty.ndjson"),
            &[],
            NotEnabled,
        ),
        (
            recorded!("v3-http", "events-tail.ndjson"),
            &[("tank-1", 2)],
            NotKept,
        ),
        (
            recorded!("v3-http", "events-device.ndjson"),
            &[("tank-1", 2)],
            NotKept,
        ),
        (recorded!("v3-http", "events-tail-old.ndjson"), &[], NotKept),
    ];
    for ((name, text), uplinks, reason) in rows {
        let is_events = name.starts_with("events-");
        let server = Server::start(move |path, stream| {
            if is_events {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                let _ = write!(stream, "{head}{:x}\r\n{text}\r\n", text.len());
                // It stays open.
                let _ = stream.read(&mut [0]);
            } else {
                // One that breaks off does so each time.
                let is_due = reason == CutOff || is_from_start(path);
                let body = if is_due { text } else { "" };
                let _ = stream.write_all(sized("200 OK", body).as_bytes());
            }
        });
        let source = match is_events {
            true => BackfillSource::Events,
            false => BackfillSource::Storage,
        };
        let backfill = Backfill::on_request().source(source);
        let (report, came) = fill(client(&server.address, &key(), backfill));
        let came: Vec<_> = came.iter().map(|(id, counter)| (&**id, *counter)).collect();
        assert_eq!(came, uplinks, "{name}: {report}");
        assert_eq!(report.uncovered[0].reason, reason, "{name}: {report}");
        assert_eq!(report.error.is_some(), reason == CutOff, "{name}: {report}");
    }
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn a_backfill_takes_the_way_that_is_set() {
    let _watchdog = watchdog(LIMIT);
    let server = Server::start(one_uplink);
    let upstream = (Ipv4Addr::LOCALHOST, server.port).into();
    let certificates = Certificates::new();
    let front = TlsFront::start(&certificates.server, upstream).unwrap();
    let https = format!("https://localhost:{}", front.port());
    let ca = certificates.authority.certificate_file();
    let ipv6 = Server::at(Ipv6Addr::LOCALHOST.into(), one_uplink);
    let builder = |address: &str| client(address, &key(), Backfill::on_request());
    let arrives = |builder: MqttClientBuilder| {
        let (report, uplinks) = fill(builder);
        assert_eq!(uplinks, [("bed-07".to_owned(), 7)], "{report}");
    };
    arrives(builder(&https).ca_file(ca));
    arrives(builder(&ipv6.address));
    for speech in [Speech::Http, Speech::Socks5] {
        let proxy = WayOut::builder(speech).start().unwrap();
        arrives(builder(&server.address).proxy(proxy.url()));
        let targets = proxy.targets();
        assert!(!targets.is_empty());
        assert!(
            targets
                .iter()
                .all(|target| target.ends_with(&server.port.to_string()))
        );
    }

    let strict = WayOut::builder(Speech::Http)
        .wants("jane", "another")
        .start()
        .unwrap();
    for (builder, words) in [
        (builder(&https), "is not signed by an authority"),
        (builder("http://nowhere.invalid"), "cannot find the host"),
        (
            builder(&server.address).proxy(strict.url()),
            "wants authentication",
        ),
    ] {
        let (report, uplinks) = fill(builder);
        assert!(uplinks.is_empty());
        assert_eq!(report.uncovered[0].reason, UncoveredReason::CutOff);
        let error = report.error.as_ref().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn the_clients_with_one_key_take_turns() {
    let _watchdog = watchdog(LIMIT);
    let asking = AtomicUsize::new(0);
    let most = Arc::new(AtomicUsize::new(0));
    let server = Server::start({
        let most = Arc::clone(&most);
        move |path, stream| {
            most.fetch_max(1 + asking.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
            // Long enough for another request to come at the same time.
            thread::sleep(Duration::from_millis(10));
            // Before the answer, after which another one may come at once.
            asking.fetch_sub(1, Ordering::SeqCst);
            one_uplink(path, stream);
        }
    });
    let shared = key();
    let clients: Vec<MqttClient> = (0..8)
        .map(|_| client(&server.address, &shared, Backfill::on_request()))
        .map(|builder| builder.build().unwrap())
        .collect();
    let start = UNIX_EPOCH + DAY * 20_454;
    let all: Vec<_> = clients
        .iter()
        .map(|client| client.backfill(start..start + DAY * 365).unwrap())
        .collect();
    for backfilling in all {
        assert_eq!(backfilling.wait().unwrap().delivered, 1);
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[test]
fn close_ends_the_backfill_of_a_client_that_never_was_connected() {
    let _watchdog = watchdog(LIMIT);
    // The connection ends with the thread that holds it.
    let server = Server::start(|_, stream| drop(stream.read(&mut [0])));
    let clients: Vec<MqttClient> = (0..20)
        .map(|_| client(&server.address, &key(), Backfill::on_request()))
        .map(|builder| builder.build().unwrap())
        .collect();
    let start = UNIX_EPOCH + DAY * 20_454;
    let all: Vec<_> = clients
        .iter()
        .map(|client| client.backfill(start..start + DAY).unwrap())
        .collect();
    let asking = || server.now.load(Ordering::SeqCst);
    assert!(wait_until(SOON, || asking() == clients.len()));
    let begin = Instant::now();
    for (client, backfilling) in clients.iter().zip(all) {
        client.close().unwrap();
        let report = backfilling.wait().unwrap();
        let error = report.error.as_ref().expect("it is not finished");
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert_eq!(report.uncovered.len(), 1, "{report}");
    }
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    assert!(wait_until(SOON, || asking() == 0));
}
