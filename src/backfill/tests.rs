use std::{
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
        heard: Arc::new(|_| None),
    }
}

struct Fetching {
    out: Receiver<(u64, Fetched)>,
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
            stop: Some(wanted),
        }
    }

    fn next(&self) -> Fetched {
        let (number, fetched) = self.out.recv_timeout(DEADLINE).unwrap();
        assert_eq!(number, 7);
        fetched
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
                Fetched::Ended(outcome) => {
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

#[test]
fn stored_uplinks_are_fetched_in_order_and_the_request_is_as_documented() {
    let server = Server::with(&[chunked("", &page(0..5)), empty()]);
    let (all, outcome) = fetched(&server);
    assert_eq!(all.counters, [0, 1, 2, 3, 4]);
    assert_eq!(all.reached, [at(2_000)]);
    assert_eq!(outcome.source, Some(BackfillSource::Storage));
    assert_eq!((outcome.from, outcome.until), (at(1_000), at(2_000)));
    assert_eq!((outcome.requests, outcome.unreadable), (2, 0));
    assert!(outcome.is_settled && outcome.error.is_none());
    assert!(outcome.uncovered.is_empty(), "{outcome:?}");
    assert_eq!(
        server.requests()[0],
        "/api/v3/as/applications/greenhouse/packages/storage/uplink_message\
         ?after=2023-11-14T22:29:00.000000000Z&order=received_at&limit=1000"
    );
}

#[test]
fn blank_lines_and_the_delimiters_of_server_sent_events_are_no_uplinks() {
    let lines: Vec<String> = page(0..3)
        .into_iter()
        .map(|line| format!("\n\ndata: {line}\n\n"))
        .collect();
    let server = Server::with(&[chunked("", &lines), empty()]);
    let (all, outcome) = fetched(&server);
    assert_eq!((all.counters.len(), outcome.unreadable), (3, 0));
}

#[test]
fn a_cut_answer_is_continued_after_its_last_uplink() {
    for second in [
        unfinished("", &page(0..3)),
        format!("{}20\r\n{{\"result\":{{", unfinished("", &page(0..3))),
        sized(
            "200 OK",
            "",
            &format!("{}\n{{\"resu", page(0..3).join("\n")),
        ),
        sized("200 OK", "X: y\r\n", &page(0..3).join("\n"))
            .replace("Content-Length: ", "Content-Length: 9"),
        chunked(
            "",
            &[
                page(0..3),
                vec![r#"{"error":{"code":14,"message":"gone"}}"#.to_owned()],
            ]
            .concat(),
        ),
    ] {
        let server = Server::with(&[second, chunked("", &page(1..6)), empty()]);
        let (all, outcome) = fetched(&server);
        assert_eq!(all.counters, [0, 1, 2, 3, 4, 5], "{outcome:?}");
        assert!(
            outcome.is_settled && outcome.uncovered.is_empty(),
            "{outcome:?}"
        );
        let after = rfc(at(991));
        assert!(
            server.requests()[1].contains(&after),
            "{:?}",
            server.requests()
        );
    }
}

#[test]
fn an_error_as_the_only_answer_is_tried_again_and_then_reported() {
    let server = Server::with(&[sized("503 Gone", "", r#"{"code":14,"message":"gone"}"#)]);
    let (all, outcome) = fetched(&server);
    assert!(all.counters.is_empty() && all.reached.is_empty());
    assert_eq!(reasons(&outcome), [UncoveredReason::CutOff]);
    assert!(!outcome.is_settled);
    assert_eq!(server.requests().len(), 9);
    let error = outcome.error.unwrap().to_string();
    assert!(
        error.contains("Storage Integration of http://127.0.0.1"),
        "{error}"
    );
}

#[test]
fn html_and_compressed_answers_are_reported() {
    let html = "<html>\n<p>Sign in</p>\n</html>\n";
    for (answer, words) in [
        (sized("200 OK", "Content-Type: text/html\r\n", html), "HTML"),
        (sized("200 OK", "", html), "none of its lines"),
        (
            sized("200 OK", "Content-Encoding: gzip\r\n", "\u{1f}"),
            "compressed (gzip)",
        ),
        (
            sized("302 Found", "Location: https://login.example/\r\n", ""),
            "login.example",
        ),
    ] {
        let server = Server::with(&[answer]);
        let (_, outcome) = fetched(&server);
        assert_eq!(reasons(&outcome), [UncoveredReason::CutOff]);
        assert!(!outcome.is_settled);
        let error = outcome.error.unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_line_that_cannot_be_read_is_counted_and_the_others_come() {
    let mut lines = page(0..3);
    lines.insert(1, "garbage".to_owned());
    lines.insert(2, record(7, 993).replace("\"AQI=\"", "7"));
    let server = Server::with(&[chunked("", &lines), empty()]);
    let (all, outcome) = fetched(&server);
    assert_eq!((all.counters.len(), outcome.unreadable), (3, 2));
}

#[test]
fn a_refused_key_ends_it_at_once() {
    for (status, body) in [
        ("401 No", r#"{"error":{"code":16,"message":"no such key"}}"#),
        (
            "400 No",
            r#"{"error":{"code":3,"message":"x","details":[{"namespace":"pkg/auth","name":"token","code":3}]}}"#,
        ),
    ] {
        let server = Server::with(&[sized(status, "", body)]);
        let (_, outcome) = fetched(&server);
        assert_eq!(reasons(&outcome), [UncoveredReason::Refused]);
        assert!(outcome.is_settled);
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn a_missing_right_is_asked_for_once_more() {
    let body = r#"{"error":{"code":7,"message":"no"}}"#;
    let server = Server::with(&[sized("403 No", "", body)]);
    let (_, outcome) = fetched(&server);
    assert_eq!(reasons(&outcome), [UncoveredReason::Refused]);
    assert_eq!(server.requests().len(), 2);

    let server = Server::with(&[sized("403 No", "", body), chunked("", &page(0..3)), empty()]);
    let (all, outcome) = fetched(&server);
    assert_eq!(all.counters.len(), 3);
    assert!(outcome.uncovered.is_empty());
}

#[test]
fn too_many_requests_are_waited_out_and_reported_in_the_end() {
    let busy = sized("429 No", "X-Rate-Limit-Retry: 0\r\n", "");
    let server = Server::with(&[
        busy.clone(),
        chunked("", &page(0..3)),
        busy.clone(),
        empty(),
    ]);
    let (all, outcome) = fetched(&server);
    assert_eq!(all.counters.len(), 3);
    assert!(outcome.is_settled && outcome.uncovered.is_empty());

    let server = Server::with(&[busy]);
    let (_, outcome) = fetched(&server);
    assert_eq!(reasons(&outcome), [UncoveredReason::RateLimited]);
    assert!(!outcome.is_settled);
    assert_eq!(server.requests().len(), 11);
}

#[test]
fn a_limit_that_is_refused_is_halved() {
    let body = r#"{"error":{"code":3,"message":"x","details":[{"namespace":"pkg/errors","name":"validation",
        "attributes":{"field":"limit","reason":"too large"},"code":3}]}}"#;
    let server = Server::with(&[sized("400 No", "", body), chunked("", &page(0..3)), empty()]);
    let (all, _) = fetched(&server);
    assert_eq!(all.counters.len(), 3);
    assert!(server.requests()[1].ends_with("limit=500"));
}

#[test]
fn the_token_of_a_page_is_used_for_the_next_one() {
    let server = Server::with(&[
        chunked("X-Continuation-Token: a+b\r\n", &page(0..3)),
        chunked("", &page(3..5)),
    ]);
    let (all, _) = fetched(&server);
    assert_eq!(all.counters, [0, 1, 2, 3, 4]);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].ends_with("uplink_message?continuation_token=a%2Bb"));
}

#[test]
fn what_storage_does_not_keep_any_more_is_named() {
    // The oldest uplink of all is later than the start of the gap.
    let server = Server::with(&[
        chunked("", &page(20..23)),
        empty(),
        chunked("", &page(20..21)),
    ]);
    let (_, outcome) = fetched(&server);
    assert_eq!(reasons(&outcome), [UncoveredReason::NotKept]);
    let time = &outcome.uncovered[0];
    assert_eq!((time.from, time.until), (at(1_000), at(1_010)));
    assert!(outcome.is_settled);
    assert!(server.requests()[2].ends_with("?order=received_at&limit=1"));

    // It is earlier, so nothing was sent in between.
    let server = Server::with(&[
        chunked("", &page(20..23)),
        empty(),
        chunked("", &page(0..1)),
    ]);
    let (_, outcome) = fetched(&server);
    assert!(outcome.uncovered.is_empty());
}

#[test]
fn storage_and_events_that_keep_nothing_are_not_enabled() {
    let off = unfinished("X-Warning: Events storage is not enabled\r\n", &[]);
    let server = Server::start(move |request, stream| {
        let answer = match request {
            _ if request.contains("/storage/") => not_found(),
            _ => off.clone(),
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let task = task(&server, quick());
    let api = task.api.clone();
    let (_, outcome) = Fetching::start(task).finish();
    assert_eq!(reasons(&outcome), [UncoveredReason::NotEnabled]);
    assert!(outcome.is_settled && outcome.error.is_none());
    assert_eq!(outcome.source, None);
    assert!(server.requests()[1].contains("\"tail\":1000"));
    // It is not asked for storage again.
    let again = Task {
        api,
        ..self::task(&server, quick())
    };
    Fetching::start(again).finish();
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[2].starts_with("/api/v3/events"));

    let server = Server::with(&[empty()]);
    let settings = quick().source(BackfillSource::Storage);
    let (_, outcome) = Fetching::start(self::task(&server, settings)).finish();
    assert_eq!(reasons(&outcome), [UncoveredReason::NotEnabled]);
    assert_eq!(outcome.source, Some(BackfillSource::Storage));
}

/// Answers 404 to requests for storage, and keeps the stream of events open after these.
fn keeping(events: Vec<String>) -> Server {
    let streams = Mutex::new(Vec::new());
    Server::start(move |request, stream| {
        if request.contains("/storage/") {
            let _ = stream.write_all(not_found().as_bytes());
            return;
        }
        let _ = stream.write_all(unfinished("", &events).as_bytes());
        streams.lock().unwrap().push(stream.try_clone().unwrap());
    })
}

fn backlog() -> Vec<String> {
    let forward = "as.up.data.forward";
    vec![
        event("events.stream.start", 2_005, "bed-07", None),
        event(forward, 900, "bed-07", Some(&up("bed-07", 1, 900))),
        event(forward, 1_100, "bed-07", None),
        event("as.up.join.forward", 1_150, "bed-07", None),
        event(forward, 1_200, "bed-07", Some(&up("bed-07", 2, 1_200))),
        event("as.down.data.receive", 1_250, "bed-07", None),
        event(forward, 1_300, "bed-07", Some(&up("bed-07", 3, 1_300))),
    ]
}

#[test]
fn the_backlog_of_the_event_stream_is_fetched_without_storage() {
    let server = keeping(backlog());
    let (all, outcome) = fetched(&server);
    assert_eq!(all.counters, [2, 3]);
    assert_eq!(all.traces, ["bed-07"]);
    assert_eq!(all.reached, [at(2_000)]);
    assert_eq!(outcome.source, Some(BackfillSource::Events));
    assert!(
        outcome.is_settled && outcome.uncovered.is_empty(),
        "{outcome:?}"
    );
    let request = &server.requests()[1];
    assert!(
        !request.contains("names") && !request.contains("after"),
        "{request}"
    );
}

#[test]
fn events_that_are_not_kept_are_named() {
    let mut events = backlog();
    events.remove(1);
    let (all, outcome) = fetched(&keeping(events));
    assert_eq!(all.counters, [2, 3]);
    let [time] = &outcome.uncovered[..] else {
        panic!("{outcome:?}");
    };
    assert_eq!(time.reason, UncoveredReason::NotKept);
    assert_eq!((time.from, time.until), (at(1_000), at(1_100)));
    let (_, outcome) = fetched(&keeping(backlog()[..1].to_vec()));
    assert_eq!(outcome.uncovered[0].until, at(2_000));
}

#[test]
fn the_first_live_event_ends_the_backlog() {
    let live = event(
        "as.up.data.forward",
        2_006,
        "bed-07",
        Some(&up("bed-07", 4, 2_006)),
    );
    let (all, _) = fetched(&keeping([backlog(), vec![live]].concat()));
    assert_eq!(all.counters, [2, 3]);
}

#[test]
fn a_cut_event_stream_is_asked_for_once_more() {
    let first = Mutex::new(true);
    let server = Server::start(move |_, stream| {
        let is_first = std::mem::take(&mut *first.lock().unwrap());
        let events = backlog();
        let events = if is_first { &events[..5] } else { &events[..] };
        let _ = stream.write_all(unfinished("", events).as_bytes());
        if !is_first {
            let _ = stream.read(&mut [0]);
        }
    });
    let settings = quick().source(BackfillSource::Events);
    let (all, outcome) = Fetching::start(task(&server, settings.clone())).finish();
    assert_eq!((all.counters, all.traces.len()), (vec![2, 3], 1));
    assert!(
        outcome.is_settled && outcome.uncovered.is_empty(),
        "{outcome:?}"
    );

    let server = Server::with(&[unfinished("", &backlog())]);
    let (_, outcome) = Fetching::start(task(&server, settings)).finish();
    assert_eq!(reasons(&outcome), [UncoveredReason::CutOff]);
    assert!(!outcome.is_settled);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_page_of_more_than_a_megabyte_is_read() {
    let filler = "x".repeat(1_500);
    let lines: Vec<String> = (0..1_000)
        .map(|counter| {
            record(counter, 990 + u64::from(counter))
                .replace("AQI=", "AQI=\",\"more\":\"")
                .replace("\"more\":\"", &format!("\"more\":\"{filler}"))
        })
        .collect();
    let server = Server::with(&[chunked("", &lines), chunked("", &page(998..1_003)), empty()]);
    let (all, outcome) = fetched(&server);
    assert_eq!(all.counters, (0..1_003).collect::<Vec<_>>());
    assert!(outcome.uncovered.is_empty(), "{outcome:?}");
}

#[test]
fn a_slow_answer_may_take_longer_than_a_request() {
    let server = Server::start(|_, stream| {
        let (head, body) = (unfinished("", &[]), chunked("", &page(0..5)));
        stream.write_all(head.as_bytes()).unwrap();
        for piece in body[head.len()..].as_bytes().chunks(300) {
            thread::sleep(Duration::from_millis(50));
            stream.write_all(piece).unwrap();
        }
    });
    let task = task(&server, quick());
    let task = Task {
        api: task.api.within(Duration::from_millis(100)),
        ..task
    };
    let fetching = Fetching::start(task);
    for counter in 0..5 {
        match fetching.next() {
            Fetched::Uplink(uplink) => assert_eq!(uplink.counter, counter),
            other => panic!("{other:?}"),
        }
    }
}

/// Returns how long a backfill takes to end once nobody wants it.
fn time_to_stop(mut fetching: Fetching) -> Duration {
    let stopped = std::time::Instant::now();
    drop(fetching.stop.take());
    while fetching.out.recv_timeout(DEADLINE).is_ok() {}
    stopped.elapsed()
}

#[test]
fn whatever_it_waits_for_ends_soon_when_nobody_wants_it() {
    let silent = || {
        let held = Mutex::new(Vec::new());
        Server::start(move |_, stream| {
            held.lock().unwrap().push(stream.try_clone().unwrap());
        })
    };
    let soon = Duration::from_secs(2);

    // The head of an answer.
    let server = silent();
    let fetching = Fetching::start(task(&server, quick()));
    assert!(
        fetching
            .out
            .recv_timeout(Duration::from_millis(300))
            .is_err()
    );
    // Another one with the same key.
    let first = task(&server, quick());
    let waiting = Fetching::start(first);
    assert!(time_to_stop(waiting) < soon);
    assert!(time_to_stop(fetching) < soon);

    // The rest of a page.
    let held = Mutex::new(Vec::new());
    let server = Server::start(move |_, stream| {
        let _ = stream.write_all(unfinished("", &page(0..3)).as_bytes());
        held.lock().unwrap().push(stream.try_clone().unwrap());
    });
    let fetching = Fetching::start(task(&server, quick()));
    assert!(matches!(fetching.next(), Fetched::Uplink(_)));
    assert!(time_to_stop(fetching) < soon);

    // Room.
    let server = Server::with(&[chunked("", &page(0..9)), empty()]);
    let fetching = Fetching::with_room(task(&server, quick()), 1);
    assert!(matches!(fetching.next(), Fetched::Uplink(_)));
    assert!(time_to_stop(fetching) < soon);

    // The next pass.
    let server = Server::with(&[chunked("", &page(0..3)), empty()]);
    let settings = quick().passes([Duration::ZERO, 600 * SECOND]);
    let fetching = Fetching::start(task(&server, settings));
    for _ in 0..3 {
        assert!(matches!(fetching.next(), Fetched::Uplink(_)));
    }
    assert!(time_to_stop(fetching) < soon);

    // The time after a fault.
    let server = Server::with(&[String::new()]);
    let fetching = Fetching::start(task(&server, quick().max_wait(600 * SECOND)));
    assert!(
        fetching
            .out
            .recv_timeout(Duration::from_millis(300))
            .is_err()
    );
    assert!(time_to_stop(fetching) < soon);
}

#[test]
fn a_session_that_is_gone_ends_it() {
    let server = Server::with(&[chunked("", &page(0..9))]);
    let fetching = Fetching::with_room(task(&server, quick()), 0);
    let Fetching { out, stop } = fetching;
    drop(out);
    // The next one with this key has its turn.
    let again = Fetching::start(task(&server, quick()));
    assert!(matches!(again.next(), Fetched::Uplink(_)));
    drop(stop);
}

#[test]
fn the_passes_after_the_first_read_the_end_of_the_gap_again() {
    let late = record(9, 1_950);
    let server = Server::with(&[
        chunked("", &page(0..3)),
        empty(),
        chunked("", &[late]),
        empty(),
    ]);
    let settings = quick()
        .passes([Duration::ZERO, Duration::from_millis(10)])
        .recheck(600 * SECOND);
    let (all, outcome) = Fetching::start(task(&server, settings)).finish();
    assert_eq!(all.counters, [0, 1, 2, 9]);
    // What the second pass reads again is not settled before it.
    assert_eq!(all.reached, [at(1_460), at(1_950), at(2_000)]);
    assert!(outcome.uncovered.is_empty());
    assert!(server.requests()[2].contains(&rfc(at(1_460))));
}

#[test]
fn a_time_that_was_asked_for_is_read_exactly() {
    let mut lines = page(9..12);
    lines.push(record(30, 2_000));
    let server = Server::with(&[chunked("", &lines), chunked("", &page(0..1))]);
    let task = Task {
        is_on_request: true,
        ..task(&server, quick())
    };
    let (all, outcome) = Fetching::start(task).finish();
    assert_eq!(all.counters, [10, 11]);
    assert!(server.requests()[0].contains("after=2023-11-14T22:29:59.999999999Z"));
    assert!(outcome.uncovered.is_empty(), "{outcome:?}");
    assert_eq!(all.reached, [at(1_001), at(2_000)]);
}

#[test]
fn what_is_too_old_is_not_asked_for() {
    let server = Server::with(&[empty()]);
    let settings = quick().max_age(SECOND);
    let (_, outcome) = Fetching::start(task(&server, settings)).finish();
    assert_eq!(reasons(&outcome), [UncoveredReason::TooOld]);
    assert_eq!(outcome.uncovered[0].until, at(2_000));
    assert!(outcome.is_settled);
    assert!(server.requests().is_empty());
}

#[test]
fn the_date_of_an_answer_tells_the_clock_of_the_network() {
    let server = Server::start(|request, stream| {
        let answer = match request.contains("configuration") {
            // 10 000 s.
            true => sized("200 OK", "Date: Wed, 15 Nov 2023 01:00:00 GMT\r\n", "{}"),
            false => empty(),
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let now = crate::clock::Moment::now();
    let task = Task {
        from: Bound::Here(crate::clock::Moment {
            instant: now.instant,
            time: now.time - 100 * SECOND,
        }),
        until: Bound::Here(now),
        ..task(&server, quick().source(BackfillSource::Storage))
    };
    let (_, outcome) = Fetching::start(task).finish();
    let near = |time: SystemTime, seconds| {
        let distance = time.duration_since(at(seconds)).unwrap();
        assert!(distance < 20 * SECOND, "{distance:?}");
    };
    near(outcome.from, 9_890);
    near(outcome.until, 9_990);
}

/// Has neither storage nor events, and knows its devices.
fn counting() -> Server {
    let off = unfinished("X-Warning: Events storage is not enabled\r\n", &[]);
    Server::start(move |request, stream| {
        let device = |dev_id: &str, seen| {
            format!(
                "{{\"ids\":{{\"device_id\":\"{dev_id}\"}},\"last_seen_at\":\"{}\"}}",
                rfc(at(seen))
            )
        };
        let list = format!(
            "{{\"end_devices\":[{},{},{}]}}",
            device("bed-07", 1_500),
            device("tank-1", 1_400),
            device("roof-3", 100)
        );
        let answer = match request {
            _ if request.contains("/storage/") => not_found(),
            _ if request.contains("/events") => off.clone(),
            _ if request.contains("/devices?") => sized("200 OK", "", &list),
            _ if request.contains("bed-07") => {
                sized("200 OK", "", r#"{"session":{"last_f_cnt_up":30}}"#)
            }
            _ => sized("200 OK", "", r#"{"session":{"last_f_cnt_up":8}}"#),
        };
        let _ = stream.write_all(answer.as_bytes());
    })
}

#[test]
fn what_stays_uncovered_is_counted_for_each_device() {
    let server = counting();
    let heard = |dev_id: &str| {
        let (counter, missing) = if dev_id == "bed-07" { (20, 2) } else { (8, 0) };
        Some(LastHeard { counter, missing })
    };
    let counts = || quick().count_uncovered(true);
    let task = Task {
        heard: Arc::new(heard),
        ..self::task(&server, counts())
    };
    let (_, outcome) = Fetching::start(task).finish();
    let [time] = &outcome.uncovered[..] else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        (time.reason, time.uplinks),
        (UncoveredReason::NotEnabled, Some(12))
    );
    assert_eq!(time.devices.len(), 1);
    assert_eq!(time.devices[0].uplinks, Some(12));
    assert!(
        server
            .requests()
            .iter()
            .all(|request| !request.contains("roof-3"))
    );

    // Nothing is missing.
    let task = Task {
        heard: Arc::new(|dev_id: &str| {
            let counter = if dev_id == "bed-07" { 30 } else { 8 };
            Some(LastHeard {
                counter,
                missing: 0,
            })
        }),
        ..self::task(&server, counts())
    };
    let (_, outcome) = Fetching::start(task).finish();
    assert!(outcome.uncovered.is_empty(), "{outcome:?}");

    // Nobody knows.
    let (_, outcome) = Fetching::start(self::task(&server, counts())).finish();
    assert_eq!(outcome.uncovered[0].uplinks, None);
    assert_eq!(outcome.uncovered[0].devices.len(), 2);
}

#[test]
fn without_the_right_nothing_is_counted_and_nothing_is_said() {
    let server = Server::start(|request, stream| {
        let answer = match request.contains("/devices?") {
            true => sized("403 No", "", r#"{"code":7,"message":"no"}"#),
            false => not_found(),
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let task = task(&server, quick().count_uncovered(true));
    let (_, outcome) = Fetching::start(task).finish();
    assert_eq!(reasons(&outcome), [UncoveredReason::NotEnabled]);
    assert_eq!(outcome.uncovered[0].uplinks, None);
    assert!(outcome.is_settled && outcome.error.is_none());
}

#[test]
fn a_panic_is_reported_as_the_end() {
    let server = counting();
    let task = Task {
        heard: Arc::new(|_| panic!("as planned")),
        ..task(&server, quick().count_uncovered(true))
    };
    let (_, outcome) = Fetching::start(task).finish();
    assert!(!outcome.is_settled);
    let error = outcome.error.unwrap().to_string();
    assert!(error.contains("ended early"), "{error}");
}
