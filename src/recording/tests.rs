//! What was recorded comes back.

use std::{
    fs,
    io::{BufReader, Read},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::*;
use crate::{
    ErrorKind,
    message::{Event, Malformed, RawMessage, Spare},
    network::Network,
};

const START: SystemTime = SystemTime::UNIX_EPOCH;

/// Records messages, and returns what is in the file.
fn record(network: Network, events: &[Event]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let mut recorder = Recorder::open(&path, network).unwrap();
    for event in events {
        recorder.record_at(event, START).unwrap();
    }
    fs::read(path).unwrap()
}

fn json(event: &Event) -> String {
    serde_json::to_string(event).unwrap()
}

#[track_caller]
fn comes_back(network: Network, event: &Event) -> String {
    let file = record(network, std::slice::from_ref(event));
    let text = String::from_utf8(file).unwrap();
    let found: Vec<_> = Recording::new(text.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(found.len(), 1, "{text}");
    assert_eq!(json(&found[0].event), json(event), "{text}");
    assert_eq!(Some(found[0].raw()), event.raw());
    text
}

fn decoded(network: Network, topic: &str, payload: &[u8]) -> Event {
    network.decode(&RawMessage::new(topic, payload)).event
}

#[test]
fn any_bytes_come_back_on_any_topic() {
    let topics = [
        "v3/my-app@ttn/devices/dev-1/up",
        "v3/my-app/devices/dev-1/down/queued",
        "my-app/devices/dev-1/up/temperature",
        "",
        "tö \" \\ \u{1}/pic",
        "v3//devices//up",
    ];
    let mut random = fastrand::Rng::with_seed(23);
    for network in [Network::V2, Network::V3] {
        let mut events = Vec::new();
        for round in 0..300 {
            let mut payload = vec![0; random.usize(..60)];
            random.fill(&mut payload);
            if round % 3 == 0 {
                payload.iter_mut().for_each(|byte| *byte &= 0x7f);
            }
            events.extend(topics.map(|topic| decoded(network, topic, &payload)));
        }
        let file = record(network, &events);
        let found = Recording::new(&*file).map(Result::unwrap);
        assert!(
            found
                .map(|found| json(&found.event))
                .eq(events.iter().map(json))
        );
    }
}

#[test]
fn text_is_written_as_text_and_other_bytes_as_base64() {
    let text = |payload: &[u8]| {
        let event = decoded(Network::V2, "a/devices/d/up/x", payload);
        comes_back(Network::V2, &event)
    };
    assert!(text("\"grün\"".as_bytes()).contains(r#""payload":"\"grün\"""#));
    assert!(text(b"\xff\x00").contains(r#""payload_base64":"/wA=""#));
    assert!(text(&[0; 99]).contains(r#""payload_base64":"AAAA"#));
    assert!(text(b"").contains(r#""payload":"""#));
}

#[test]
fn what_only_the_client_knows_comes_back() {
    let topic = "v3/my-app@ttn/devices/dev-1/up";
    let raw = RawMessage::new(topic, br#"{"uplink_message":{"f_cnt":7}}"#).retained(true);
    let Event::Uplink(uplink) = Network::V3.decode(&raw).event else {
        panic!()
    };
    for flags in 0..8 {
        let mut uplink = uplink.clone();
        let changed = Arc::make_mut(&mut uplink);
        changed.backfilled = flags & 1 != 0;
        changed.duplicate = flags & 2 != 0;
        changed.redelivered = flags & 4 != 0;
        let text = comes_back(Network::V3, &Event::Uplink(uplink));
        assert!(text.contains(r#""is_retained":true"#), "{text}");
    }
}

#[test]
fn a_topic_that_is_not_text_comes_back_as_far_as_it_was_read() {
    let raw = RawMessage::new("v3/my-app/devices/x/up", b"{}");
    let event = Event::Malformed(Arc::new(Malformed::of_topic(raw)));
    let text = comes_back(Network::V3, &event);
    assert!(text.contains(r#""is_topic_cut":true"#), "{text}");
}

#[test]
fn a_message_behind_a_prefix_is_read_by_its_topic_on_the_network() {
    for (network, behind, payload) in [
        (
            Network::V3,
            "v3/my-app/devices/dev-1/up",
            &br#"{"uplink_message":{}}"#[..],
        ),
        (Network::V3, "v3/my-app/devices/dev-1/up", b"no JSON"),
        (Network::V2, "my-app/devices/dev-1/up", br#"{"port":1}"#),
        (Network::V2, "my-app/devices/dev-1/up/v3/x", b"1"),
    ] {
        let topic = format!("site/7/part/3/{behind}");
        let raw = RawMessage::new(&topic, payload);
        let event = network.decode_on(behind, &raw, Spare::default()).event;
        let text = comes_back(network, &event);
        assert!(text.contains(&format!(r#""read_as":"{behind}""#)), "{text}");
    }
}

#[test]
fn a_message_of_an_integration_is_read_by_its_member() {
    for payload in [
        r#"{"end_device_ids":{"device_id":"d1","application_ids":{"application_id":"a1"}},"uplink_message":{"f_cnt":7}}"#,
        r#"{"end_device_ids":{"device_id":"d1","application_ids":{"application_id":"a1"}},"uplink_message":{"f_port":"x"}}"#,
        r#"{"end_device_ids":{"device_id":"d1","application_ids":{"application_id":"a1"}},"uplink_message":{"f_port":1}"#,
        r#"{"end_device_ids":{"device_id":"d1"},"join_accept":{}}"#,
        r#"{"end_device_ids":{"device_id":"d1"}}"#,
    ] {
        let raw = RawMessage::new("ttn/up", payload.as_bytes());
        let event = Network::V3.decode_by_member(&raw, "a1@ttn").unwrap().event;
        comes_back(Network::V3, &event);
    }
}

#[test]
fn events_that_are_not_messages_are_notes() {
    let events = [Event::Lagged(7), decoded(Network::V2, "a", b"1")];
    let text = String::from_utf8(record(Network::V2, &events)).unwrap();
    assert!(
        text.contains(r#""note":{"event":"lagged","dropped":7}"#),
        "{text}"
    );
    assert_eq!(Recording::new(text.as_bytes()).count(), 1);
    let mut recording = Recording::new(text.as_bytes()).keep_notes(true);
    assert!(recording.next().unwrap().is_ok());
    let [note] = &recording.take_notes()[..] else {
        panic!("{text}");
    };
    assert_eq!(
        (note.time, &note.event["dropped"]),
        (Some(START), &7.into())
    );
}

#[test]
fn an_anonymised_note_says_what_happened_and_to_whom_not() {
    let error = crate::Error::config("cannot reach secret.example.org");
    let event = Event::PublishFailed(crate::PublishFailed {
        message_id: crate::message::MessageIds::new(1, 1).iter().next().unwrap(),
        error,
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let builder = Recorder::builder(&path, Network::V3).anonymize(Anonymizer::new());
    builder.open().unwrap().record(&event).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("publish_failed") && text.contains(r#""kind":"config""#),
        "{text}"
    );
    assert!(
        !text.contains("secret") && !text.contains("example"),
        "{text}"
    );
}

#[test]
fn the_header_says_the_network_of_what_follows_it() {
    let both = [
        record(Network::V3, &[decoded(Network::V3, "a/devices/d/up", b"1")]),
        record(
            Network::V2,
            &[decoded(
                Network::V2,
                "v3/devices/d/up",
                br#"{"port":1,"metadata":{}}"#,
            )],
        ),
    ]
    .concat();
    let events: Vec<_> = Recording::new(&*both)
        .map(|item| item.unwrap().event)
        .collect();
    assert!(
        matches!(&events[..], [Event::Other(_), Event::Uplink(_)]),
        "{events:?}"
    );
    let lines = both.split(|byte| *byte == b'\n').nth(1).unwrap();
    let mut guessed = Recording::new(lines);
    assert!(matches!(
        guessed.next().unwrap().unwrap().event,
        Event::Malformed(_)
    ));
    let mut set = Recording::new(lines).network(Network::V3);
    assert!(matches!(
        set.next().unwrap().unwrap().event,
        Event::Other(_)
    ));
}

/// Counts messages and errors.
fn account(text: &[u8]) -> (usize, usize) {
    let (mut messages, mut errors) = (0, 0);
    for item in Recording::new(text) {
        match item {
            Ok(_) => messages += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
                errors += 1;
            }
        }
    }
    (messages, errors)
}

fn many() -> Vec<u8> {
    let events: Vec<_> = (0..20)
        .map(|counter| {
            let payload = format!(r#"{{"uplink_message":{{"f_cnt":{counter}}}}}"#);
            decoded(Network::V3, "v3/a/devices/d/up", payload.as_bytes())
        })
        .collect();
    record(Network::V3, &events)
}

#[test]
fn a_file_cut_anywhere_has_all_whole_lines_and_one_error_at_most() {
    let file = many();
    for end in 0..file.len() {
        let cut = &file[..end];
        let newlines = cut.iter().filter(|byte| **byte == b'\n').count();
        let is_whole = cut.is_empty() || cut.ends_with(b"\n") || file[end] == b'\n';
        let lines = newlines + usize::from(is_whole && !cut.is_empty() && !cut.ends_with(b"\n"));
        let expected = (lines.saturating_sub(1), usize::from(!is_whole));
        assert_eq!(account(cut), expected, "{end}");
    }
}

#[test]
fn a_line_cut_off_by_a_crash_is_one_error_and_what_follows_is_read() {
    let file = many();
    let first_line = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for end in first_line + 1..first_line + 100 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        fs::write(&path, &file[..end]).unwrap();
        let mut recorder = Recorder::open(&path, Network::V3).unwrap();
        let event = decoded(Network::V3, "v3/a/devices/d/up", b"{}");
        recorder.record(&event).unwrap();
        let continued = fs::read(&path).unwrap();
        assert_eq!(account(&continued), (1, 1), "{end}");
        // Continued by a program that does not look.
        let joined = [&file[..end], &file[first_line..]].concat();
        assert_eq!(account(&joined), (20, 1), "{end}");
    }
}

#[test]
fn a_damaged_line_is_an_error_or_a_message_and_hides_no_other() {
    let file = many();
    let mut random = fastrand::Rng::with_seed(23);
    for _ in 0..3_000 {
        let mut damaged = file.clone();
        let at = random.usize(..file.len());
        damaged[at] = random.u8(..);
        let (messages, errors) = account(&damaged);
        let in_header = file[..at].iter().all(|byte| *byte != b'\n');
        // A newline that is lost joins two lines, and one more makes two of one.
        let is_joined = file[at] == b'\n' && damaged[at] != b'\n';
        let is_split = file[at] != b'\n' && damaged[at] == b'\n';
        let lost = usize::from(!in_header) * errors.min(1);
        assert!(
            messages == 20 || (messages == 20 - lost && errors > 0),
            "{messages} and {errors} with {:?} at {at} ({in_header} {is_joined} {is_split})",
            damaged[at] as char
        );
    }
}

#[test]
fn no_bytes_at_all_panic() {
    let mut random = fastrand::Rng::with_seed(23);
    let pieces: [&[u8]; 12] = [
        b"{\"time\":",
        b"{\"recording\":",
        b"{\"tst\":\"2026-03-01T12:00:00.0Z+0000\"",
        b",\"topic\":\"v3/a/devices/d/up\"",
        b",\"payload\":",
        b"{\"result\":",
        b"\"",
        b"\xff\\u0000",
        b"}",
        b"\n",
        b"[",
        b"null",
    ];
    for _ in 0..3_000 {
        let mut text = Vec::new();
        for _ in 0..random.usize(..30) {
            text.extend(pieces[random.usize(..pieces.len())]);
        }
        for item in Recording::new(&*text) {
            let _ = item.map(|recorded| json(&recorded.event));
        }
    }
}

#[test]
fn what_mosquitto_prints_is_read() {
    let lines = concat!(
        r#"{"tst":"2026-11-29T15:28:13.901304Z+0000","topic":"v3/a/devices/d/up","qos":0,"retain":0,"payloadlen":21,"payload":"{\"uplink_message\":{}}"}"#,
        "\n",
        r#"{"tst":"2026-11-29T16:28:13.901304+0100","topic":"a/devices/d/up/x","qos":0,"retain":1,"payloadlen":4,"payload":"21.5"}"#,
        "\r\n",
        r#"{"tst":"2026-11-29T10:58:13Z-0430","topic":"a/devices/d/up/x","qos":0,"retain":0,"payloadlen":5,"payload":"\"abc\""}"#,
        "\n",
        r#"{"tst":"2026-11-29T10:58:13Z-0430","topic":"a/devices/d/up/x","qos":0,"retain":0,"payloadlen":5,"payload":"abc"}"#,
        "\n",
        r#"{"tst":"2026-11-29T15:28:13Z","topic":"v3/a/devices/d/up","qos":0,"retain":0,"payloadlen":23,"payload":{"uplink_message":{}}}"#,
        "\n",
        r#"{"tst":"2026-11-29T15:28:13Z","topic":"a/b","qos":0,"retain":0,"payloadlen":0,"payload":null}"#,
        "\n",
    );
    let found: Vec<_> = Recording::new(lines.as_bytes())
        .map(|item| {
            let item = item.unwrap();
            let time = item.time.unwrap();
            let time = humantime::format_rfc3339_seconds(time).to_string();
            assert_eq!(time, "2026-11-29T15:28:13Z");
            let payload = String::from_utf8(item.raw().payload().to_vec()).unwrap();
            (payload, item.raw().is_retained())
        })
        .collect();
    let expected = [
        (r#"{"uplink_message":{}}"#, false),
        ("21.5", true),
        ("\"abc\"", false),
        ("\"abc\"", false),
        (r#"{"uplink_message":{}}"#, false),
        ("", false),
    ]
    .map(|(payload, is_retained)| (payload.to_owned(), is_retained));
    assert_eq!(found, expected);
}

#[test]
fn what_mosquitto_has_cut_is_an_error() {
    let line = r#"{"tst":"2026-11-29T15:28:13Z","topic":"a","qos":0,"retain":0,"payloadlen":6,"payload":"ab"}"#;
    let error = Recording::new(line.as_bytes()).next().unwrap().unwrap_err();
    assert!(error.to_string().contains("2 of 6 bytes"), "{error}");
}

#[test]
fn bytes_that_mosquitto_prints_without_escaping_are_read() {
    let line = b"{\"tst\":\"2026-11-29T15:28:13Z\",\"topic\":\"a/devices/d/up/x\",\"qos\":0,\"retain\":0,\"payloadlen\":3,\"payload\":\"\xff\xfe\\u0001\"}";
    let recorded = Recording::new(&line[..]).next().unwrap().unwrap();
    assert_eq!(recorded.raw().payload(), b"\xff\xfe\x01");
}

#[test]
fn answers_of_storage_have_the_topics_of_mqtt() {
    let folder = Path::new("tests/fixtures/records");
    for name in [
        "storage-answer.txt",
        "storage-all-types.ndjson",
        "storage-mixture.ndjson",
        "storage-cut.ndjson",
    ] {
        let text = fs::read(folder.join(name)).unwrap();
        let items: Vec<_> = Recording::new(&*text).app_id("").collect();
        let read: Vec<_> = Event::read_all(Network::V3, &*text).collect();
        let found = items.iter().filter(|item| item.is_ok()).count();
        assert_eq!(found, read.iter().filter(|item| item.is_ok()).count());
        assert_eq!(items.len(), read.len(), "{name}");
        assert!(found > 0, "{name}");
        for recorded in items.iter().flatten() {
            let topic = recorded.raw().topic();
            assert!(topic.starts_with("v3/"), "{name}: {topic:?}");
            assert!(recorded.time.is_some(), "{name}: {topic:?}");
            comes_back(Network::V3, &recorded.event);
        }
    }
}

#[test]
fn a_file_that_is_no_text_is_one_error_that_says_what_to_do() {
    let lines = "{\"topic\":\"a\",\"payload\":\"1\"}\r\n".repeat(3);
    let utf_16: Vec<u8> = lines.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (file, advice) in [
        (&b"\x1f\x8b\x08\0\n\0\n\0\n"[..], "gunzip"),
        (b"\x28\xb5\x2f\xfd\n\0\n", "unzstd"),
        (&[b"\xff\xfe", &*utf_16].concat(), "UTF-8"),
    ] {
        let found: Vec<_> = Recording::new(file).collect();
        let [Err(error)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().contains(advice), "{error}");
    }
    assert_eq!(account(lines.as_bytes()), (3, 0));
}

#[test]
fn a_folder_is_no_recording() {
    let folder = tempfile::tempdir().unwrap();
    let error = Recording::open(folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::File);
    let path = folder.path().display().to_string();
    assert!(error.to_string().contains(&path), "{error}");
    let error = Recorder::open(folder.path(), Network::V3).unwrap_err();
    assert!(error.to_string().contains(&path), "{error}");
}

#[test]
fn pieces_of_recordings_behind_each_other_are_read_as_far_as_their_lines_are_whole() {
    let mut random = fastrand::Rng::with_seed(29);
    let [plain, windows] = [
        many(),
        String::from_utf8(many())
            .unwrap()
            .replace('\n', "\r\n")
            .into_bytes(),
    ];
    for _ in 0..500 {
        let (mut text, mut whole, mut torn) = (Vec::new(), 0, 0);
        for _ in 0..random.usize(1..5) {
            let file = if random.bool() { &plain } else { &windows };
            let end = random.usize(..=file.len());
            let piece = &file[..end];
            if !text.is_empty() && !text.ends_with(b"\n") {
                torn += 1;
                // A recorder looks; `cat` does not.
                if random.bool() {
                    text.push(b'\n');
                }
            }
            whole += piece
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                .saturating_sub(1);
            text.extend(piece);
        }
        let (messages, errors) = account(&text);
        // What lacks only its end is whole.
        assert!(
            (whole..=whole + torn + 1).contains(&messages),
            "{messages} of {whole}, {torn} torn"
        );
        assert!(errors <= torn + 1, "{errors} of {torn}");
    }
}

#[test]
fn a_recording_of_a_later_version_is_named_as_such() {
    let text = br#"{"recording":2,"network":"v4"}"#;
    let error = Recording::new(&text[..]).next().unwrap().unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
}

#[test]
fn a_reader_that_fails_ends_the_recording() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let text = b"{\"topic\":\"a\",\"payload\":\"\"}\n";
    let mut recording = Recording::new(BufReader::new(text.chain(Failing)));
    assert!(recording.next().unwrap().is_ok());
    let error = recording.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::File);
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    assert!(recording.next().is_none());
}

#[test]
fn a_time_that_no_text_can_say_is_the_nearest_one() {
    let event = decoded(Network::V2, "a", b"");
    for time in [
        START - Duration::from_secs(9),
        START + Duration::from_secs(400_000_000_000),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        let mut recorder = Recorder::open(&path, Network::V2).unwrap();
        recorder.record_at(&event, time).unwrap();
        let recorded = Recording::open(&path).unwrap().next().unwrap().unwrap();
        let bounds = START..=START + Duration::from_secs(253_402_300_799);
        assert!(bounds.contains(&recorded.time.unwrap()));
    }
}
