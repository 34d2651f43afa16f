//! Servers that do what none should do: a backfill ends all the same, and claims nothing that it has not read.

use std::time::Instant;

use super::*;
use crate::api::{Failure, Flaw};

/// What a server sends, given the number of the request, counted from 0, and the request.
type Answer = Box<dyn Fn(usize, &str, &mut TcpStream) + Send>;

/// The longest that a backfill from such a server may take.
const BOUND: Duration = Duration::from_secs(30);

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn from(source: BackfillSource) -> Backfill {
    quick().source(source)
}

fn server(answer: Answer) -> Server {
    let count = Mutex::new(0);
    Server::start(move |request, stream| {
        let mut count = count.lock().unwrap();
        answer(*count, request, stream);
        *count += 1;
    })
}

/// Returns what comes of a server, within the bound.
#[track_caller]
fn ends(what: &str, settings: Backfill, answer: Answer) -> (Vec<u32>, Outcome, usize) {
    let server = server(answer);
    let started = Instant::now();
    let fetching = Fetching::start(task(&server, settings));
    let mut counters = Vec::new();
    loop {
        let left = BOUND.saturating_sub(started.elapsed());
        match fetching.next_within(left) {
            Some(Fetched::Uplink(uplink)) => counters.push(uplink.counter),
            Some(Fetched::Ended(outcome)) => {
                let error = outcome.error.as_ref().map(ToString::to_string);
                let error = error.unwrap_or_default();
                assert!(!error.contains("defect"), "{what}: {error}");
                return (counters, outcome, server.requests().len());
            }
            Some(_) => {}
            None => panic!("{what}: it does not end; {} uplinks so far", counters.len()),
        }
    }
}

fn says(text: String) -> Answer {
    Box::new(move |_, _, stream| drop(stream.write_all(text.as_bytes())))
}

/// Says this, and then that again and again, as long as anybody listens.
fn goes_on(head: String, piece: String, pause: Duration) -> Answer {
    Box::new(move |_, _, stream| {
        let mut sent = stream.write_all(head.as_bytes());
        while sent.is_ok() {
            // The pace of this server.
            thread::sleep(pause);
            sent = stream.write_all(piece.as_bytes());
        }
    })
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// What storage answers to a request, if it has these uplinks, with a counter and a second each.
fn stored(request: &str, uplinks: impl IntoIterator<Item = (u32, u64)>, cap: usize) -> String {
    let after = request.split("after=").nth(1);
    let after = after.map_or(UNIX_EPOCH, |after| {
        let after = after.split('&').next().unwrap();
        humantime::parse_rfc3339(after).unwrap()
    });
    let later = uplinks
        .into_iter()
        .filter(|(_, second)| at(*second) > after);
    let lines: Vec<String> = later
        .take(cap)
        .map(|(counter, second)| record(counter, second))
        .collect();
    chunked("", &lines)
}

#[test]
fn an_answer_without_end_is_broken_off() {
    let line = format!("{}\n", record(5, 1_005));
    for (what, piece, words) in [
        ("a line", "x".repeat(1 << 20), "8 MiB without"),
        ("blank lines", "\n".repeat(1 << 20), "8 MiB without"),
        ("a page", "<p>\n".repeat(1 << 18), "8 MiB without"),
        ("garbage", "garbage\n".repeat(5_000), "more than 5000 lines"),
        (
            "the same uplink",
            line.repeat(5_000),
            "more than 5000 lines",
        ),
        ("lists", "[{".repeat(1 << 19), "8 MiB without"),
    ] {
        let server = server(goes_on(CHUNKED.to_owned(), chunk(&piece), Duration::ZERO));
        let mut frames = server.api().stored(crate::api::Stored::Oldest).unwrap();
        let failure = loop {
            match frames.next().unwrap() {
                Ok(_) | Err(Flaw::Unreadable) => {}
                Err(Flaw::Broken(failure)) => break failure.to_string(),
                Err(silent) => panic!("{what}: {silent:?}"),
            }
        };
        assert!(failure.contains(words), "{what}: {failure}");
    }
}

#[test]
fn a_frame_that_comes_byte_by_byte_is_given_up_and_so_are_blank_lines() {
    for (piece, is_in_line) in [("x", true), ("\n", false)] {
        let server = server(goes_on(
            CHUNKED.to_owned(),
            chunk(piece),
            Duration::from_millis(2),
        ));
        let mut frames = server.api().stored(crate::api::Stored::Oldest).unwrap();
        frames.set_idle(Duration::from_millis(50));
        match frames.next().unwrap() {
            Err(Flaw::Silent { is_in_line: is }) => assert_eq!(is, is_in_line, "{piece:?}"),
            other => panic!("{piece:?}: {other:?}"),
        }
    }
}

#[test]
fn a_refusal_that_does_not_end_has_the_time_of_a_request() {
    let head = CHUNKED.replace("200 OK", "502 Bad Gateway");
    let server = server(goes_on(head, chunk("x"), Duration::from_millis(2)));
    let api = server.api().within(Duration::from_millis(100));
    let started = Instant::now();
    let failure = api.stored(crate::api::Stored::Oldest).err().unwrap();
    assert!(matches!(failure, Failure::Refused(_)), "{failure:?}");
    assert!(started.elapsed() < BOUND);
}

#[test]
fn an_event_stream_that_does_not_say_where_it_begins_ends_all_the_same() {
    let bed = up("bed-07", 5, 1_500);
    for data in [None, Some(&*bed)] {
        for name in ["as.up.data.forward", "as.down.data.receive"] {
            let line = format!("{}\n", event(name, 1_500, "bed-07", data));
            let drip = Duration::from_millis(5);
            let answer = goes_on(CHUNKED.to_owned(), chunk(&line), drip);
            let (_, outcome, requests) = ends(name, from(BackfillSource::Events), answer);
            assert!(
                reasons(&outcome).contains(&UncoveredReason::CutOff),
                "{name}"
            );
            assert!(outcome.error.is_some() && !outcome.is_settled, "{name}");
            assert_eq!(requests, 2, "{name}");
        }
    }
}

/// Pages that lead in a circle.
#[test]
fn pages_that_lead_nowhere_end_a_backfill_with_a_report() {
    let around = |number: usize| {
        let number = number as u32 % 3;
        record(number, 1_000 + u64::from(number))
    };
    let token = |number: usize| format!("X-Continuation-Token: {number}\r\n");
    type Page = Box<dyn Fn(usize) -> String + Send>;
    let circles: [(&str, Page); 7] = [
        (
            "the same token",
            Box::new(move |_| chunked(&token(0), &[record(0, 900), record(3, 1_003)])),
        ),
        (
            "two tokens",
            Box::new(move |number| chunked(&token(number % 2), &[record(3, 1_003)])),
        ),
        (
            "new tokens, the same uplink",
            Box::new(move |number| chunked(&token(number), &[record(3, 1_003)])),
        ),
        (
            "new tokens, three uplinks",
            Box::new(move |number| chunked(&token(number), &[around(number)])),
        ),
        (
            "new tokens, what was before the gap",
            Box::new(move |number| chunked(&token(number), &[record(1, 900)])),
        ),
        (
            "three uplinks, cut off",
            Box::new(move |number| unfinished("", &[around(number)])),
        ),
        (
            "full pages",
            Box::new(move |number| chunked("", &[around(number), around(number)])),
        ),
    ];
    for (what, page) in circles {
        let settings = from(BackfillSource::Storage).page_size(2);
        let answer: Answer = Box::new(move |number, _, stream| {
            let _ = stream.write_all(page(number).as_bytes());
        });
        let (_, outcome, requests) = ends(what, settings, answer);
        assert!(
            reasons(&outcome).contains(&UncoveredReason::CutOff),
            "{what}"
        );
        assert!(outcome.error.is_some(), "{what}");
        assert!(requests < 30, "{what}: {requests} requests");
    }
}

#[test]
fn storage_that_does_not_keep_to_the_order_leaves_a_doubt() {
    let answer: Answer = Box::new(|_, request, stream| {
        let newest_first = (0..100)
            .rev()
            .map(|number| (number, 1_000 + u64::from(number)));
        let before = std::iter::once((0, 900)).filter(|_| !request.contains("after"));
        let page = stored(request, before.chain(newest_first), 10);
        let _ = stream.write_all(page.as_bytes());
    });
    let settings = from(BackfillSource::Storage).page_size(10);
    let (counters, outcome, _) = ends("newest first", settings, answer);
    assert_eq!(counters.len(), 10);
    assert_eq!(reasons(&outcome), [UncoveredReason::CutOff]);
    let doubt = &outcome.uncovered[0];
    assert_eq!(doubt.from, at(1_000));
    assert!(doubt.until > at(1_089), "{doubt:?}");
}

#[test]
fn an_answer_of_something_else_between_two_pages_is_no_end() {
    for body in [
        r#"{"status":"log in first"}"#,
        "<html>\n<p>\n</html>\n",
        "[]x",
        &event("as.down.data.receive", 1_004, "bed-07", None),
        r#"{"result":{}}"#,
    ] {
        let body = sized("200 OK", "", &format!("{body}\n"));
        let page = chunked("", &[record(0, 900), record(3, 1_003)]);
        let answer: Answer = Box::new(move |number, _, stream| {
            let answer = if number == 0 { &page } else { &body };
            let _ = stream.write_all(answer.as_bytes());
        });
        let settings = from(BackfillSource::Storage);
        let (counters, outcome, _) = ends("a stranger", settings, answer);
        assert_eq!(counters, [3]);
        assert_eq!(reasons(&outcome), [UncoveredReason::CutOff], "{outcome:?}");
        assert_eq!(outcome.uncovered[0].from, at(1_003));
    }
}

#[test]
fn an_empty_answer_that_the_connection_ends_is_asked_for_once_more() {
    let old = |body: &str| format!("HTTP/1.0 200 OK\r\n\r\n{body}");
    let page = old(&format!("{}\n{}\n", record(0, 900), record(3, 1_003)));
    let answers = [old(""), page, old("")];
    let server = Server::with(&answers);
    let (all, outcome) = fetched(&server);
    assert_eq!(all.counters, [3]);
    assert!(
        outcome.uncovered.is_empty() && outcome.error.is_none(),
        "{outcome:?}"
    );
}

#[test]
fn broken_http_is_an_error_and_what_came_before_is_kept() {
    let line = format!("{}\n", record(3, 1_003));
    let head = |length: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{line}");
    for (answer, counters) in [
        (format!("{CHUNKED}zz\r\nabc\r\n"), vec![]),
        (format!("{CHUNKED}ffffffffffffffff\r\nabc\r\n"), vec![]),
        (format!("{CHUNKED}-1\r\nabc\r\n"), vec![]),
        (format!("{CHUNKED}3\r\n{line}\r\n0\r\n\r\n"), vec![]),
        (format!("{CHUNKED}1;{}", "x".repeat(100_000)), vec![]),
        (unfinished("", &[record(3, 1_003)]), vec![3]),
        (head("20"), vec![]),
        (head("99999"), vec![3]),
        (head("many"), vec![]),
        (line.clone(), vec![]),
        (
            "HTTP/1.1 200 OK\r\n".to_owned() + &"X: y\r\n".repeat(1_000),
            vec![],
        ),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000), vec![]),
    ] {
        let what: String = answer.chars().take(60).collect();
        let (came, outcome, _) = ends(&what, from(BackfillSource::Storage), says(answer));
        assert_eq!(came, counters, "{what:?}");
        assert_eq!(reasons(&outcome)[0], UncoveredReason::CutOff, "{what:?}");
        assert!(outcome.error.is_some() && !outcome.is_settled, "{what:?}");
    }
}

#[test]
fn what_is_not_of_the_application_or_no_device_is_not_delivered_and_counted() {
    for (app, device) in [
        ("other", "bed-07"),
        ("greenhouse", "bed/07"),
        ("greenhouse", "+"),
        ("greenhouse", "#"),
        ("greenhouse", "bed\\u0000"),
    ] {
        let line = record(3, 1_003)
            .replace("greenhouse", app)
            .replace("bed-07", device);
        let server = Server::with(&[chunked("", &[record(0, 900), line.clone()]), empty()]);
        let (all, outcome) = fetched(&server);
        assert!(all.counters.is_empty(), "{line}");
        assert_eq!(outcome.unreadable, 1, "{line}");

        let data = line.replacen("{\"result\":", "", 1);
        let data = data.strip_suffix('}').unwrap();
        let event = event("as.up.data.forward", 1_003, "bed-07", Some(data));
        let events = from(BackfillSource::Events);
        let server = Server::start(move |_, stream| {
            let page = unfinished("", std::slice::from_ref(&event));
            let _ = stream.write_all(page.as_bytes());
            // Silent for a second, then it closes.
            thread::sleep(SECOND);
        });
        let (all, outcome) = Fetching::start(task(&server, events)).finish();
        assert!(all.counters.is_empty(), "{line}");
        assert_eq!(outcome.unreadable, 1, "{line}");
    }
}

#[test]
fn a_date_before_what_has_already_come_is_not_believed() {
    let server = Server::start(|request, stream| {
        let date = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
        let answer = match request.contains("configuration") {
            true => sized("200 OK", date, "{}"),
            false => stored(request, [(0, 900), (3, 1_003), (900, 100_000)], 10),
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let task = Task {
        until: Bound::Here(crate::clock::Moment::now()),
        ..task(&server, from(BackfillSource::Storage))
    };
    let (all, outcome) = Fetching::start(task).finish();
    assert_eq!(all.counters, [3, 900]);
    assert!(outcome.until > at(100_000), "{outcome:?}");
}

#[test]
fn a_time_after_the_year_9999_is_asked_for_without_a_panic() {
    let server = Server::with(&[empty()]);
    let far = at(0) + SECOND * 1_000_000_000 * 1_000;
    let task = Task {
        from: Bound::Network(far),
        until: Bound::Network(far + SECOND),
        is_on_request: true,
        ..task(&server, from(BackfillSource::Storage))
    };
    let (_, outcome) = Fetching::start(task).finish();
    assert!(server.requests()[0].contains("after=9999-12-31T23:59:59"));
    assert!(outcome.error.is_none(), "{outcome:?}");
    assert_eq!(reasons(&outcome), [UncoveredReason::NotEnabled]);
}
