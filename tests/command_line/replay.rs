//! `ttn replay`

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use ttn::{Event, Network, Recorder, Recording, serde_json};

use crate::program::{Program, finish, ttn};

const START: &str = "2026-03-01T12:00:00.000000000Z";

fn event(device: &str, counter: u32) -> Event {
    let body = format!(
        r#"{{"uplink_message":{{"f_port":2,"f_cnt":{counter},"frm_payload":"yv7K/g=="}}}}"#
    );
    let topic = format!("v3/greenhouse@ttn/devices/{device}/up");
    Event::decode(Network::V3, topic, body).expect("it can be read")
}

fn events() -> Vec<Event> {
    let join = Event::decode(
        Network::V3,
        "v3/greenhouse@ttn/devices/bed-07/join",
        r#"{"join_accept":{}}"#,
    );
    vec![
        event("bed-07", 7),
        event("bed-08", 9),
        join.expect("it can be read"),
        event("bed-07", 8),
    ]
}

/// Returns a recording, an hour between each two messages.
fn recording() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("run.jsonl");
    let mut recorder = Recorder::open(&path, Network::V3).expect("it can be written");
    let mut time = std::time::UNIX_EPOCH;
    for event in events() {
        recorder.record_at(&event, time).expect("it can be written");
        recorder
            .record_at(&Event::Lagged(7), time)
            .expect("it can be written");
        time += std::time::Duration::from_secs(3_600);
    }
    (folder, path)
}

fn replay<const N: usize>(path: &Path, arguments: [&str; N]) -> Command {
    let mut command = ttn(["replay"]);
    command.arg(path).args(arguments);
    command
}

#[test]
fn json_is_what_the_live_run_had() {
    let (_folder, path) = recording();
    let (status, out, errors) = finish(replay(&path, ["--speed", "max", "--json"]));
    let expected: String = events()
        .iter()
        .map(|event| serde_json::to_string(event).expect("it is JSON") + "\n")
        .collect();
    assert_eq!((status, out, errors), (0, expected, String::new()));
}

#[test]
fn only_the_wanted_devices_and_kinds_are_printed() {
    let (_folder, path) = recording();
    for (arguments, lines) in [
        (&["--device", "bed-07"][..], 3),
        (&["--device", "bed-07", "--kind", "uplink"], 2),
        (&["--kind", "activation"], 1),
        (&["--device", "bed-09"], 0),
    ] {
        let mut command = replay(&path, ["--speed", "max"]);
        command.args(arguments);
        let (status, out, errors) = finish(command);
        assert_eq!(
            (status, out.lines().count()),
            (0, lines),
            "{arguments:?}: {out}{errors}"
        );
    }
}

#[test]
fn it_waits_as_long_as_the_recording_unless_it_is_to_be_faster() {
    let (_folder, path) = recording();
    for arguments in [["--speed", "36000"], ["--max-wait", "100ms"]] {
        let started = std::time::Instant::now();
        let (status, out, _) = finish(replay(&path, arguments));
        assert_eq!((status, out.lines().count()), (0, 4));
        assert!(started.elapsed() >= std::time::Duration::from_millis(300));
    }
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_while_it_waits() {
    let (_folder, path) = recording();
    let mut program = Program::start(replay(&path, []));
    assert!(program.line().contains("bed-07"));
    program.running.signal("TERM");
    assert_eq!(program.end(), 8);
}

#[test]
fn lines_that_cannot_be_read_are_told_and_the_others_printed() {
    let (_folder, path) = recording();
    let mut text = fs::read_to_string(&path).expect("it can be read");
    text.truncate(text.len() - 100);
    fs::write(&path, "what is this\n".to_owned() + &text).expect("it can be written");
    let (status, out, errors) = finish(replay(&path, ["--speed", "max"]));
    assert_eq!((status, out.lines().count()), (0, 3));
    assert!(
        errors.contains("warning: line 1 of the recording cannot be read"),
        "{errors}"
    );
    assert!(
        errors.contains("warning: line 9 of the recording cannot be read: it is cut off"),
        "{errors}"
    );
}

#[test]
fn standard_input_may_be_what_mosquitto_sub_prints() {
    let mut program = Program::start(ttn(["replay", "-", "--json"]));
    program.type_line(&format!(
        r#"{{"tst":"{START}","topic":"my-app/devices/bed-07/up/light","qos":0,"retain":0,"payloadlen":4,"payload":"21.5"}}"#
    ));
    assert!(program.line().contains(r#""event":"uplink_field""#));
    program.stdin = None;
    assert_eq!(program.end(), 0);
}

#[test]
fn an_anonymous_copy_shows_no_originals_and_replaces_no_file() {
    let (folder, path) = recording();
    let copy = folder.path().join("copy.jsonl");
    let copied = copy.display().to_string();
    let (status, out, errors) = finish(replay(&path, ["--anonymise", &copied]));
    assert_eq!((status, out.as_str()), (0, ""), "{errors}");
    assert!(errors.contains("wrote 4 messages to"), "{errors}");
    let text = fs::read_to_string(&copy).expect("it is there");
    for original in ["greenhouse", "bed-0", "yv7K"] {
        assert!(!text.contains(original), "{original} in {text}");
    }
    assert_eq!(
        text.matches(r#""note":{"dropped":7,"event":"lagged"}"#)
            .count(),
        4,
        "{text}"
    );
    let counters: Vec<_> = Recording::open(&copy)
        .expect("it is there")
        .filter_map(|recorded| match recorded.expect("it can be read").event {
            Event::Uplink(uplink) => Some(uplink.counter),
            _ => None,
        })
        .collect();
    assert_eq!(counters, [7, 9, 8]);
    let (status, _, errors) = finish(replay(&path, ["--anonymise", &copied]));
    assert_eq!(status, 1);
    assert!(errors.contains("exists"), "{errors}");
    assert_eq!(fs::read_to_string(&copy).expect("it is there"), text);
}

#[test]
fn a_recording_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().expect("there is room");
    let (status, _, errors) = finish(replay(&folder.path().join("missing.jsonl"), []));
    assert_eq!(status, 1);
    assert!(errors.contains("missing.jsonl"), "{errors}");
}
