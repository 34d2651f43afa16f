use std::{
    error::Error as _,
    io::{self, BufRead, BufReader, Read as _},
};

use super::{lines::MAX_LINE, *};
use crate::message::ErrorDetails;

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("../../../tests/fixtures/", $name))
    };
}

mod reading;

const UP: &str = r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},"uplink_message":{"f_port":2,"f_cnt":7}}"#;

/// Returns what a frame is, in few words.
fn short(frame: Result<Frame<'_>, Flaw>) -> String {
    match frame {
        Ok(Frame::Up { json, at }) => {
            let place = if at.is_some() { "event " } else { "" };
            match message(json, "greenhouse@ttn") {
                Ok(Event::Uplink(uplink)) => {
                    assert_eq!(uplink.raw().payload(), json);
                    assert!(uplink.extra.is_empty());
                    let topic = format!("v3/greenhouse@ttn/devices/{}/up", uplink.dev_id);
                    assert_eq!(uplink.raw().topic(), topic);
                    format!("{place}{} {}", uplink.dev_id, uplink.counter)
                }
                Ok(Event::UplinkNormalized(uplink)) => {
                    format!("{place}normalized {}", uplink.dev_id)
                }
                Ok(Event::Activation(join)) => format!("{place}join {}", join.dev_id),
                Ok(Event::Downlink(downlink)) => format!("{place}{:?}", downlink.step),
                Ok(Event::LocationSolved(solved)) => format!("{place}location {}", solved.dev_id),
                Ok(Event::ServiceData(data)) => format!("{place}service {}", data.dev_id),
                Ok(event) => format!("{place}{event:?}"),
                Err(error) => error.to_string(),
            }
        }
        Ok(Frame::Trace { name, dev_id, .. }) => format!("trace of {name} {dev_id}"),
        Ok(Frame::Started(_)) => "started".to_owned(),
        Ok(Frame::Other(name)) => format!("event {name}"),
        Ok(Frame::Failed(json)) => format!("failed {}", String::from_utf8_lossy(json)),
        Err(Flaw::Unreadable { error, is_cut }) => {
            assert_eq!(error.kind(), ErrorKind::Decode);
            let cut = if is_cut { "cut: " } else { "" };
            format!("{cut}{error}")
        }
        Err(Flaw::Broken(cause)) => format!("broken: {cause}"),
    }
}

fn all(reader: impl BufRead) -> Vec<String> {
    let mut frames = Frames::new(reader);
    let mut all = Vec::new();
    while let Some(frame) = frames.next() {
        all.push(short(frame));
    }
    assert!(frames.next().is_none());
    all
}

/// Checks what the frames of a text are. A `…` stands for the rest.
fn check(text: &str, expected: &[&str]) {
    let read = all(text.as_bytes());
    let is_equal = |(read, expected): (&String, &&str)| match expected.strip_suffix('…') {
        Some(start) => read.starts_with(start),
        None => read == expected,
    };
    let is_same = read.len() == expected.len() && read.iter().zip(expected).all(is_equal);
    assert!(is_same, "{text}\n{read:#?}\n{expected:#?}");
}

#[test]
fn each_recorded_answer_is_read() {
    check(recorded!("v3-http/storage-empty.ndjson"), &[]);
    let two = ["bed-07 118", "bed-07 119"];
    check(recorded!("v3-http/storage-two-lines.ndjson"), &two);
    check(recorded!("v3-http/storage-event-stream.txt"), &two);
    check(
        recorded!("records/storage-answer.txt"),
        &["bed-07 0", "bed-07 1"],
    );
    check(recorded!("records/storage-sse-prefix.json"), &["bed-07 0"]);
    check(
        recorded!("records/storage-mixture.ndjson"),
        &[
            "bed-08 7001",
            "bed-07 118",
            "tank-1 40",
            "bed-08 7002",
            "bed-07 119",
            "bed-07 119",
            "bed-08 7003",
            "bed-08 7003",
            "tank-1 0",
            "bed-07 0",
        ],
    );
    check(
        recorded!("v3-http/storage-full-fields.ndjson"),
        &["bed-07 118"],
    );
    check(
        recorded!("v3-http/storage-masked.ndjson"),
        &["bed-07 0", "bed-07 0"],
    );
    check(recorded!("records/storage-field-mask.json"), &["bed-07 0"]);
    check(
        recorded!("records/storage-masked-no-time.ndjson"),
        &["bed-07 0"],
    );
    check(
        recorded!("records/storage-cut.ndjson"),
        &[
            "bed-07 118",
            "cut: line 2: cannot read the message: the text ends in the middle of it",
        ],
    );
    check(
        recorded!("v3-http/storage-error-midstream.ndjson"),
        &["bed-07 118", "failed {\"code\": 14, …"],
    );
    check(
        recorded!("records/storage-error-line.json"),
        &["failed {\"grpc_code\":3,…"],
    );
    check(
        recorded!("records/console-event.json"),
        &["event bed-07 25"],
    );
    check(
        recorded!("v3-http/events-tail.ndjson"),
        &["started", "event tank-1 2"],
    );
    check(
        recorded!("v3-http/events-tail-old.ndjson"),
        &["started", "trace of as.up.data.forward tank-1"],
    );
}

#[test]
fn only_the_forwarded_events_of_a_device_are_messages() {
    check(
        recorded!("v3-http/events-device.ndjson"),
        &[
            "started",
            "event ns.up.data.receive",
            "event ns.up.data.process",
            "event as.up.data.receive",
            "event as.up.data.decode.warning",
            "event normalized tank-1",
            // An ApplicationUp, whose payload is not decrypted.
            "event ns.up.data.forward",
            "event tank-1 2",
        ],
    );
    let event = |name: &str| {
        format!(
            r#"{{"name":{name:?},"time":"2026-11-28T14:06:41Z","identifiers":[{{"device_ids":{{"device_id":"bed-07"}}}}],"data":{UP}}}"#
        )
    };
    check(&event("as.up.data.forward"), &["event bed-07 7"]);
    check(&event("as.down.data.ack.forward"), &["event bed-07 7"]);
    for name in [
        "as.up.data.receive",
        "as.down.data.forward",
        "ns.up.x.forward",
    ] {
        check(&event(name), &[&format!("event {name}")]);
    }
}

#[test]
fn messages_of_all_types_are_read() {
    let read = all(recorded!("records/storage-all-types.ndjson").as_bytes());
    assert_eq!(read, ["join tank-1", "tank-1 0", "Queued"]);
}

#[test]
fn members_that_nobody_knows_yet_are_passed_over() {
    let events: Vec<_> = Event::read_all(
        Network::V3,
        recorded!("records/storage-unknown-fields.ndjson").as_bytes(),
    )
    .collect();
    assert!(
        matches!(&events[..], [Ok(Event::Uplink(uplink))] if uplink.counter == 118),
        "{events:?}"
    );
}

#[test]
fn a_frame_may_have_its_members_in_any_order_and_any_blanks() {
    let ids = r#""identifiers":[{"application_ids":{}},{"device_ids":{"device_id":"bed-07"}}]"#;
    for text in [
        format!(r#"{{"page":{{"n":1}},"result":{UP}}}"#),
        format!(" {{ \"result\" :\t{UP} , \"more\" : [ ] }} "),
        format!(r#"{{"result":{{}},"result":{UP}}}"#),
        format!("data: {UP}"),
        format!("data:{UP}\r"),
        format!("\u{feff}{UP}"),
    ] {
        check(&text, &["bed-07 7"]);
    }
    for (head, tail) in [
        (
            r#"{"name":"as.up.data.forward","time":"2026-11-28T14:06:41Z","data":"#,
            "}",
        ),
        (
            r#"{"data":"#,
            r#","time":"2026-11-28T14:06:41Z","name":"as.up.data.forward"}"#,
        ),
        (
            r#"{"result":{"unique_id":"","time":"2026-11-28T14:06:41Z","name":"as.up.data.forward","data":"#,
            "}}",
        ),
    ] {
        let kind = r#""@type":"type.googleapis.com/ttn.lorawan.v3.ApplicationUp""#;
        check(
            &format!("{head}{{{kind} , {}{tail}", &UP[1..]),
            &["event bed-07 7"],
        );
        check(&format!("{head}{UP}{tail}"), &["event bed-07 7"]);
        let other = kind.replace("ApplicationUp", "ApplicationUplink");
        check(
            &format!("{head}{{{other},{}{tail}", &UP[1..]),
            &["event as.up.data.forward"],
        );
        let nothing = format!("{head}null{tail}").replace(r#""name""#, &format!(r#"{ids},"name""#));
        check(&nothing, &["trace of as.up.data.forward bed-07"]);
    }
}

#[test]
fn a_type_that_is_not_the_first_member_stays() {
    let kind = r#""@type":"type.googleapis.com/ttn.lorawan.v3.ApplicationUp""#;
    let head = r#"{"name":"as.up.data.forward","time":"2026-11-28T14:06:41Z","data":"#;
    let up = &UP[..UP.len() - 1];
    let text = format!("{head}{up},{kind}}}}}\n{head}{{{kind}}}}}");
    let mut frames = Frames::new(text.as_bytes());
    let expected = format!("{up},{kind}}}");
    for expected in [expected.as_str(), &format!("{{{kind}}}")] {
        match frames.next() {
            Some(Ok(Frame::Up { json, .. })) => assert_eq!(json, expected.as_bytes()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn errors_of_all_ages_are_told_from_messages() {
    for json in [
        r#"{"code":5,"message":"Not Found"}"#,
        r#"{"grpc_code":5,"message":"Not Found","details":[]}"#,
    ] {
        let failed = format!("failed {json}");
        check(json, &[&failed]);
        check(&format!(r#"{{"error":{json}}}"#), &[&failed]);
        check(&format!(r#"{{"error":{json},"result":{UP}}}"#), &[&failed]);
    }
    check(r#"{"error":"gone"}"#, &["failed \"gone\""]);
    check(
        r#"{"error":null}"#,
        &["cannot read the message: device_id is missing"],
    );
    let up = UP.replacen('{', r#"{"code":1,"message":"x","#, 1);
    let read = message(up.as_bytes(), "").unwrap();
    assert!(matches!(read, Event::Uplink(_)));
    assert!(matches!(
        Frames::new(up.as_bytes()).next(),
        Some(Ok(Frame::Up { at: None, .. }))
    ));
}

#[test]
fn what_is_not_a_frame_is_reported_and_reading_goes_on() {
    for (line, why) in [
        ("7", "it is not a JSON object"),
        ("null", "it is not a JSON object"),
        ("\"text\"", "it is not a JSON object"),
        ("hello", "expected value at column 1"),
        ("{\"a\":1} x", "trailing characters…"),
        ("{\"a\":1}}", "trailing characters…"),
        ("{\"a\" 1}", "expected `:`…"),
        ("{\"a\":1,}", "key must be a string at column 8"),
        ("{\"a\":tru}", "expected ident…"),
        ("{\"a\":\"\u{1}\"}", "control character…"),
        ("{\"result\":{\"end", "EOF while parsing…"),
        ("[{\"result\":{}}, 7]", "7]"),
    ] {
        let why = format!("line 2: cannot read the message: {why}");
        let text = format!("{UP}\n{line}\n{UP}\n");
        match line.starts_with('[') {
            false => check(&text, &["bed-07 7", &why, "bed-07 7"]),
            true => check(
                &text,
                &[
                    "bed-07 7",
                    "cannot read the message: device_id is missing",
                    "line 2: cannot read the message: trailing characters…",
                    "bed-07 7",
                ],
            ),
        }
    }
    let text = [UP.as_bytes(), b"\n\"\xff\"\n", UP.as_bytes()].concat();
    let read = all(text.as_slice());
    assert_eq!(read.len(), 3, "{read:#?}");
    assert!(read[1].contains("invalid utf-8"), "{}", read[1]);
}

#[test]
fn a_page_of_html_is_one_error() {
    let page = "<html>\n<body>\n  Bad gateway\n</body>\n</html>";
    let why = "line 2: cannot read the message: it is HTML, not JSON…";
    check(
        &format!("{UP}\n{page}\n{UP}\n"),
        &["bed-07 7", why, "bed-07 7"],
    );
    check(
        &format!("{UP}\n{page}\n{UP}\n<p>"),
        &["bed-07 7", why, "bed-07 7", "cut: line 8: …"],
    );
    check(
        recorded!("v3-http/error-proxy.html"),
        &["line 1: cannot read the message: it is HTML…"],
    );
}

#[test]
fn lines_end_in_any_way_and_may_be_blank() {
    let expected = ["bed-07 7", "bed-07 7"];
    for text in [
        format!("{UP}\n{UP}"),
        format!("{UP}\r\n{UP}\r\n"),
        format!("{UP}\n\n{UP}\n\n"),
        format!("\n \t\r\n{UP}\n\n\n  {UP}  \n\n"),
        format!("\u{feff}\n{UP}\n{UP}"),
        format!("data: {UP}\n\ndata:{UP}\n\ndata:\n\n"),
    ] {
        check(&text, &expected);
    }
    check("", &[]);
    check("\u{feff}", &[]);
    check("\n \n", &[]);
    check(
        &format!("\n\r\n{UP}\n\nx"),
        &["bed-07 7", "cut: line 5: cannot…"],
    );
    // The beginning of a mark.
    let text = [b"\xef\xbb", UP.as_bytes(), b"\n", UP.as_bytes()].concat();
    assert_eq!(all(text.as_slice())[1], "bed-07 7");
}

#[test]
fn a_list_is_read_element_by_element() {
    let pretty = UP.replace(':', ":\n  ").replace('{', "{\n");
    for text in [
        format!("[{UP},{UP}]"),
        format!(" \n[\n{UP}\n,\n{UP}\n]\n"),
        format!("\u{feff}[{pretty},\n{pretty}]"),
        format!("[{UP}]\n[{UP}]"),
        format!("[{UP}][]{UP}"),
        format!("[{{\"result\":{UP}}},{UP}]"),
    ] {
        check(&text, &["bed-07 7", "bed-07 7"]);
    }
    check("[]", &[]);
    let bracket = UP.replace("bed-07", "bed]},{[\\\"07");
    for text in [
        format!("[{bracket},{UP}]"),
        format!("{{\"result\":{bracket}}}\n{UP}"),
    ] {
        check(&text, &["bed]},{[\"07 7", "bed-07 7"]);
    }
    check(
        &format!("[{UP},{{\"a\" 1}},{UP}]"),
        &[
            "bed-07 7",
            "element 2 of the list: cannot read…",
            "bed-07 7",
        ],
    );
    for (text, why) in [
        (
            format!("[{UP}"),
            "cut: element 1 of the list: cannot read the message: the text ends before the list does",
        ),
        (format!("[{UP},"), "cut: element 1 of the list: …"),
        (
            format!("[{UP},{{\"a\":"),
            "cut: element 2 of the list: cannot read the message: the text ends in the middle of it",
        ),
    ] {
        check(&text, &["bed-07 7", why]);
    }
    // A log line.
    check(
        &format!("[2026-11-28] up\n{UP}"),
        &["line 1: cannot…", "bed-07 7"],
    );
}

#[test]
fn a_line_that_is_too_long_is_reported_and_takes_no_memory() {
    let long = |length: usize| io::repeat(b'x').take(length as u64);
    for extra in [1, 3 * MAX_LINE] {
        let text = long(MAX_LINE + extra).chain(format!("\n{UP}\n").leak().as_bytes());
        let mut frames = Frames::new(BufReader::new(text));
        let first = short(frames.next().unwrap());
        assert_eq!(
            first,
            "line 1: cannot read the message: it has more than 4 MiB"
        );
        assert!(frames.line().is_empty());
        assert_eq!(short(frames.next().unwrap()), "bed-07 7");
        assert!(frames.next().is_none());
    }
    let fits = format!("{UP}{}\n", " ".repeat(MAX_LINE - UP.len()));
    check(&fits, &["bed-07 7"]);
    let element = format!("[{UP},{{\"a\":\"{}\"}},{UP}]\n{UP}", "x".repeat(MAX_LINE));
    check(
        &element,
        &[
            "bed-07 7",
            "element 2 of the list: cannot read the message: it has more than 4 MiB",
            "bed-07 7",
        ],
    );
    let mut endless = Frames::new(BufReader::new(long(2 * MAX_LINE)));
    assert!(short(endless.next().unwrap()).contains("more than 4 MiB"));
    assert!(endless.next().is_none());
}

#[test]
fn an_error_of_the_server_has_its_kind_and_its_details() {
    use ErrorKind::*;
    for (json, kind, is_transient) in [
        (
            recorded!("v3-http/error-401-stream.json"),
            NotAuthorized,
            false,
        ),
        (
            recorded!("v3-http/error-403-stream.json"),
            NotAuthorized,
            false,
        ),
        (
            recorded!("v3-http/error-old-shape.json"),
            NotAuthorized,
            false,
        ),
        (
            recorded!("v3-http/error-429-stream.json"),
            ServerUnavailable,
            true,
        ),
        (
            recorded!("v3-http/error-404-application.json"),
            ApplicationNotFound,
            false,
        ),
        (
            recorded!("v3-http/error-404-device.json"),
            DeviceNotFound,
            false,
        ),
        (
            recorded!("v3-http/error-404-device-is.json"),
            DeviceNotFound,
            false,
        ),
        (recorded!("v3-http/error-404.json"), DiscoveryAnswer, false),
        (
            recorded!("v3-http/error-400-query.json"),
            DiscoveryAnswer,
            false,
        ),
        (
            recorded!("records/storage-error-line.json"),
            DiscoveryAnswer,
            false,
        ),
    ] {
        let line = json.replace('\n', " ");
        let error = Event::read_all(Network::V3, line.as_bytes())
            .next()
            .unwrap()
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.is_transient(), is_transient, "{error}");
        assert!(error.to_string().starts_with("line 1: "), "{error}");
        assert!(error.to_string().contains("it says \""), "{error}");
        let details = error
            .source()
            .map(|source| source.downcast_ref::<ErrorDetails>().unwrap());
        assert_eq!(details.is_some(), json.contains("namespace"), "{error}");
        assert!(details.is_none_or(|details| !details.name.is_empty()));
    }
    let nothing =
        Refused::read(b"{\"code\":2,\"message\":\" \"}").into_error(lines::Place::Line(7));
    assert!(
        nothing.to_string().ends_with("it gives no reason"),
        "{nothing}"
    );
    let long = format!("{:?}", "ä\n".repeat(5_000));
    let text = Refused::read(long.as_bytes())
        .into_error(lines::Place::Line(7))
        .to_string();
    assert!(
        text.chars().count() < 500 && !text.contains('\n') && text.contains('…'),
        "{text}"
    );
}

#[test]
fn a_message_that_is_no_longer_kept_says_whose_and_when() {
    let mut records = Event::read_all(
        Network::V3,
        recorded!("v3-http/events-tail-old.ndjson").as_bytes(),
    );
    let error = records.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    for words in [
        "line 2",
        "\"tank-1\"",
        "2026-11-28T14:06:41.531912957Z",
        "as.up.data.forward",
    ] {
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(records.next().is_none());
    for (json, missing) in [
        (
            r#"{"name":"as.up.data.forward","unique_id":"","time":"2026-11-28T14:06:41Z"}"#,
            "device_id",
        ),
        (
            r#"{"name":"as.up.data.forward","identifiers":[{"device_ids":{"device_id":"bed-07"}}]}"#,
            "time",
        ),
    ] {
        check(
            json,
            &[&format!(
                "cut: line 1: cannot read the message: the event as.up.data.forward lacks its {missing}"
            )],
        );
    }
}

#[test]
fn an_event_at_a_time_that_no_text_can_say_is_an_error() {
    let line = r#"{"name":"as.up.data.forward","time":"9999-12-31T23:59:59-23:59","identifiers":[{"device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}}}],"unique_id":"01"}"#;
    let mut records = Event::read_all(Network::V3, line.as_bytes());
    let error = records.next().unwrap().unwrap_err();
    assert!(error.to_string().contains("lacks its time"), "{error}");
    assert!(records.next().is_none());
}
