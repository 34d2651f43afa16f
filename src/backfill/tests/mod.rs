//! Backfills from servers that answer as a test wants.

mod counts;
mod events;
mod hostile;
#[cfg(feature = "simulator")]
mod simulated;
mod storage;
mod waits;
mod windows;

use std::{
    cell::RefCell,
    collections::VecDeque,
    convert::Infallible,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::Mutex,
    thread,
    time::{Duration, UNIX_EPOCH},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::*;
use crate::{api::Hosts, config::MqttClientBuilder, message::UncoveredReason, network::Network};

const KEY: &str = "NNSXS.AN-ID.A-LONG-ENOUGH-SECRET";
const SECOND: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(20);

/// A server that answers as the test wants: it gets the path, or the body of a POST, and the connection.
struct Server {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: impl Fn(&str, &mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&seen);
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let Some(request) = read_request(&stream) else {
                    continue;
                };
                noted.lock().unwrap().push(request.clone());
                answer(&request, &mut stream);
            }
        });
        Self { address, seen }
    }

    /// Starts one that gives these answers, and the last one again and again.
    fn with(answers: &[String]) -> Self {
        let answers = answers.to_vec();
        let next = Mutex::new(0);
        Self::start(move |_, stream| {
            let mut next = next.lock().unwrap();
            let answer = answers.get(*next).or(answers.last()).unwrap();
            *next += 1;
            let _ = stream.write_all(answer.as_bytes());
        })
    }

    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn api(&self) -> Api {
        let options = MqttClientBuilder::new("greenhouse@ttn".to_owned(), KEY.to_owned())
            .network(Network::V3)
            .mqtt_address("mqtt://127.0.0.1")
            .http_address(&self.address)
            .check()
            .unwrap();
        let hosts = Hosts::of(&options).unwrap();
        // Backfills with the same key wait for one another.
        let own = format!(
            "{KEY}{}",
            self.address.replace(|c: char| !c.is_numeric(), "")
        );
        let key = crate::config::AccessKey::new(own);
        Api::new(hosts, &options, key, DEADLINE)
    }
}

/// Returns the path with its query, or the path and the body of a POST.
fn read_request(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end().to_ascii_lowercase();
        assert!(!line.starts_with("accept-encoding"), "{line}");
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    Some(format!("{path}{}", String::from_utf8(body).unwrap()))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn rfc(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time).to_string()
}

/// What storage has of an uplink.
fn record(counter: u32, seconds: u64) -> String {
    format!("{{\"result\":{}}}", up("bed-07", counter, seconds))
}

fn up(dev_id: &str, counter: u32, seconds: u64) -> String {
    let time = rfc(at(seconds));
    format!(
        "{{\"end_device_ids\":{{\"device_id\":\"{dev_id}\",\"application_ids\":{{\"application_id\":\"greenhouse\"}}}},\
         \"received_at\":\"{time}\",\"uplink_message\":{{\"f_port\":1,\"f_cnt\":{counter},\"frm_payload\":\"AQI=\",\
         \"received_at\":\"{time}\"}}}}"
    )
}

fn event(name: &str, seconds: u64, dev_id: &str, data: Option<&str>) -> String {
    let time = rfc(at(seconds));
    let data = data.map_or(String::new(), |data| format!(",\"data\":{data}"));
    format!(
        "{{\"result\":{{\"name\":\"{name}\",\"time\":\"{time}\",\"identifiers\":[{{\"device_ids\":{{\
         \"device_id\":\"{dev_id}\",\"application_ids\":{{\"application_id\":\"greenhouse\"}}}}}}]{data},\
         \"unique_id\":\"{name}{seconds}\"}}}}"
    )
}

/// An answer in chunks, one for each line.
fn chunked(head: &str, lines: &[String]) -> String {
    format!("{}0\r\n\r\n", unfinished(head, lines))
}

/// The same without its end.
fn unfinished(head: &str, lines: &[String]) -> String {
    let mut answer = format!("HTTP/1.1 200 OK\r\n{head}Transfer-Encoding: chunked\r\n\r\n");
    for line in lines {
        answer += &format!("{:x}\r\n{line}\n\r\n", line.len() + 1);
    }
    answer
}

fn sized(status: &str, head: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn empty() -> String {
    sized("200 OK", "", "")
}

fn not_found() -> String {
    sized("404 Not Found", "", r#"{"code":5,"message":"Not Found"}"#)
}

/// One pass, without any wait.
fn quick() -> Backfill {
    Backfill::new()
        .passes([Duration::ZERO])
        .max_wait(Duration::from_millis(20))
        .max_age(SECOND * 1_000_000_000)
        .count_uncovered(false)
}

/// The gap from 1000 s to 2000 s.
fn task(server: &Server, settings: Backfill) -> Task {
    Task {
        api: server.api(),
        uid: "greenhouse@ttn".to_owned(),
        settings,
        from: Bound::Network(at(1_000)),
        until: Bound::Network(at(2_000)),
        is_on_request: false,
        heard: Arc::new(|_, _| None),
    }
}

struct Fetching {
    out: Receiver<Parcel>,
    parcel: RefCell<VecDeque<Fetched>>,
    stop: Option<Sender<Infallible>>,
}

/// What a backfill hands over.
#[derive(Debug, Default)]
struct All {
    counters: Vec<u32>,
    traces: Vec<String>,
    reached: Vec<SystemTime>,
}

impl Fetching {
    fn start(task: Task) -> Self {
        Self::with_room(task, 10_000)
    }

    fn with_room(task: Task, room: usize) -> Self {
        let (sender, out) = bounded(room);
        let (wanted, stop) = bounded(0);
        start(task, 7, sender, stop).unwrap();
        Self {
            out,
            parcel: RefCell::default(),
            stop: Some(wanted),
        }
    }

    fn next(&self) -> Fetched {
        self.next_within(DEADLINE).expect("it goes on")
    }

    fn next_within(&self, time: Duration) -> Option<Fetched> {
        loop {
            match self.parcel.borrow_mut().pop_front() {
                // The outcome tells it too.
                Some(Fetched::Source(_) | Fetched::Mark(_)) => continue,
                Some(fetched) => return Some(fetched),
                None => {}
            }
            let (number, parcel) = self.out.recv_timeout(time).ok()?;
            assert_eq!(number, 7);
            self.parcel.borrow_mut().extend(parcel);
        }
    }

    fn finish(self) -> (All, Outcome) {
        let mut all = All::default();
        loop {
            match self.next() {
                Fetched::Uplink(uplink) => {
                    assert!(uplink.backfilled);
                    assert_eq!(uplink.raw.topic(), "v3/greenhouse@ttn/devices/bed-07/up");
                    all.counters.push(uplink.counter);
                }
                Fetched::Trace { dev_id, .. } => all.traces.push(dev_id),
                Fetched::Reached(time) => all.reached.push(time),
                Fetched::Source(_) | Fetched::Mark(_) => {}
                Fetched::Ended(outcome) => {
                    assert!(self.parcel.borrow().is_empty(), "something follows");
                    assert!(
                        self.out.recv_timeout(DEADLINE).is_err(),
                        "something follows"
                    );
                    let text = format!(
                        "{outcome:?} {}",
                        outcome
                            .error
                            .as_ref()
                            .map_or(String::new(), ToString::to_string)
                    );
                    assert!(!text.contains("LONG-ENOUGH"), "{text}");
                    return (all, outcome);
                }
            }
        }
    }
}

fn fetched(server: &Server) -> (All, Outcome) {
    Fetching::start(task(server, quick())).finish()
}

fn reasons(outcome: &Outcome) -> Vec<UncoveredReason> {
    outcome.uncovered.iter().map(|time| time.reason).collect()
}

/// Lines with these counters, the first one before the gap.
fn page(counters: std::ops::Range<u32>) -> Vec<String> {
    counters
        .map(|counter| record(counter, 990 + u64::from(counter)))
        .collect()
}
