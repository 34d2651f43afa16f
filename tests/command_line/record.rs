//! `ttn record`

use std::{fs, path::Path};

use ttn::{Event, Network, Recording, simulator::Simulator};

use crate::program::{Program, finish, ttn_on};

fn network() -> Simulator {
    Simulator::start(Network::V3).expect("the simulated network starts")
}

/// Starts to record, and waits until it is connected.
#[track_caller]
fn recording<const N: usize>(network: &Simulator, file: &Path, arguments: [&str; N]) -> Program {
    let mut command = ttn_on(network, ["record"]);
    command.arg(file).args(arguments);
    let program = Program::start(command);
    program.note("recording in");
    program.note("connected to");
    program
}

#[track_caller]
fn counters(file: &Path) -> Vec<u32> {
    Recording::open(file)
        .expect("it can be opened")
        .map(|recorded| match recorded.expect("it can be read").event {
            Event::Uplink(uplink) => uplink.counter,
            event => panic!("{event:?}"),
        })
        .collect()
}

#[test]
fn everything_that_arrives_is_recorded_until_there_is_enough() {
    let network = network();
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("run.jsonl");
    let mut program = recording(&network, &file, ["--count", "2"]);
    network.device("bed-07").uplink(2, [1]);
    network.device("bed-08").uplink(2, [2]);
    program.note("recorded 2 messages in");
    assert_eq!(program.end(), 0);
    assert_eq!(counters(&file), [0, 0]);
    // A file that exists is continued.
    let mut program = recording(&network, &file, ["--count", "1"]);
    network.device("bed-07").uplink(2, [1]);
    assert_eq!(program.end(), 0);
    assert_eq!(counters(&file), [0, 0, 1]);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_and_everything_that_came_is_recorded() {
    for signal in ["TERM", "INT", "HUP"] {
        let network = network();
        let folder = tempfile::tempdir().expect("there is room");
        let file = folder.path().join("run.jsonl");
        let mut program = recording(&network, &file, []);
        network.device("bed-07").uplink(2, [1]);
        assert!(crate::support::resources::wait_until(
            crate::program::LIMIT,
            || fs::read_to_string(&file).is_ok_and(|text| text.contains("uplink_message"))
        ));
        program.running.signal(signal);
        assert_eq!(program.end(), 0, "{signal}");
        assert_eq!(counters(&file), [0]);
        let text = fs::read_to_string(&file).expect("it can be read");
        assert!(text.contains(r#""note":{"event":"closed""#), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn a_signal_before_the_last_of_so_many_messages_has_a_status_of_its_own() {
    let network = network();
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("run.jsonl");
    let mut program = recording(&network, &file, ["--count", "2"]);
    program.running.signal("TERM");
    program.note("interrupted before 2 messages");
    assert_eq!(program.end(), 8);
}

#[test]
fn an_anonymous_recording_shows_no_device() {
    let network = network();
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("run.jsonl");
    let mut program = recording(&network, &file, ["--anonymise", "-n", "1"]);
    let device = network.device("soil-probe-07");
    device.uplink(2, [0xCA, 0xFE, 0xCA, 0xFE]);
    assert_eq!(program.end(), 0);
    let text = fs::read_to_string(&file).expect("it can be read");
    let eui = device.dev_eui();
    for original in [
        "soil-probe",
        &eui,
        &eui.to_lowercase(),
        "yv7K/g",
        network.app_id(),
    ] {
        assert!(!text.contains(original), "{original} in {text}");
    }
    assert_eq!(counters(&file), [0]);
}

#[test]
fn a_file_begins_anew_at_its_size_and_older_ones_are_kept() {
    let network = network();
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("run.jsonl");
    let mut program = recording(
        &network,
        &file,
        ["--max-size", "1k", "--keep", "1", "--count", "5"],
    );
    let device = network.device("bed-07");
    for _ in 0..5 {
        device.uplink(2, [1]);
    }
    assert_eq!(program.end(), 0);
    assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 2);
}

#[test]
fn a_time_that_is_over_before_the_count_is_status_8() {
    let network = network();
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("run.jsonl");
    let mut command = ttn_on(&network, ["record", "--for", "300ms", "--count", "1"]);
    command.arg(&file);
    let (status, _, errors) = finish(command);
    assert_eq!(status, 8, "{errors}");
    let mut command = ttn_on(&network, ["record", "--for", "300ms"]);
    command.arg(&file);
    let (status, _, errors) = finish(command);
    assert_eq!(status, 0, "{errors}");
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_before_anything_is_recorded() {
    let network = network();
    let folder = tempfile::tempdir().expect("there is room");
    let mut command = ttn_on(&network, ["record"]);
    command.arg(folder.path().join("missing").join("run.jsonl"));
    let (status, out, errors) = finish(command);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(
        errors.contains("missing") && errors.contains("create its folder"),
        "{errors}"
    );
}
