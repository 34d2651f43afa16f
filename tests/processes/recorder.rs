//! A program that is killed while it writes a recording.

#![cfg(target_os = "linux")]

use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use ttn::{ErrorKind, Event, Network, Recorder, Recording};

use crate::support::{
    child::{Running, full_name},
    watchdog::watchdog,
};

/// The variables that tell [`a_program_that_prints_what_it_has_recorded`] its file and its first counter.
const FILE: &str = "TTN_TEST_RECORDING";
const FIRST: &str = "TTN_TEST_FIRST";

const KILLS: u32 = 50;

#[test]
fn a_program_that_prints_what_it_has_recorded() {
    let [Ok(file), Ok(first)] = [FILE, FIRST].map(env::var) else {
        return;
    };
    let builder = Recorder::builder(file, Network::V3);
    let mut recorder = builder.max_size(1 << 20).keep(10_000).open().unwrap();
    for counter in first.parse::<u32>().unwrap().. {
        // Long lines, so that one of them is cut off.
        let rest = "x".repeat(fastrand::usize(..100_000));
        let uplink = format!(r#"{{"uplink_message":{{"f_cnt":{counter}}},"rest":"{rest}"}}"#);
        let event = Event::decode(Network::V3, "v3/greenhouse/devices/bed-07/up", uplink).unwrap();
        recorder.record(&event).unwrap();
        println!("\nRECORDED {counter}");
        io::stdout().flush().unwrap();
    }
}

/// Lets the program record, kills it, and returns what it has recorded.
fn recorded(file: &Path, first: u32, count: usize) -> Vec<u32> {
    let mut program = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg(full_name(
            module_path!(),
            "a_program_that_prints_what_it_has_recorded",
        ))
        .env(FILE, file)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .map(Running)
        .unwrap();
    let lines = BufReader::new(program.0.stdout.take().unwrap()).lines();
    let mut counters = lines
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("RECORDED ")?.parse().ok());
    let mut found: Vec<u32> = counters.by_ref().take(count).collect();
    program.0.kill().unwrap();
    program.0.wait().unwrap();
    found.extend(counters);
    assert!(found.len() >= count, "{found:?}");
    found
}

#[test]
fn what_was_recorded_before_a_program_was_killed_is_there_and_its_file_is_continued() {
    let _watchdog = watchdog(Duration::from_secs(300));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.jsonl");
    let mut expected = BTreeSet::new();
    for kill in 0..KILLS {
        let count = fastrand::usize(1..30);
        expected.extend(recorded(&file, kill << 16, count));
    }
    let (mut found, mut torn) = (BTreeSet::new(), 0);
    let files = fs::read_dir(&folder).unwrap();
    for file in files {
        for recorded in Recording::open(file.unwrap().path()).unwrap() {
            match recorded {
                Ok(recorded) => {
                    let Event::Uplink(uplink) = recorded.event else {
                        panic!("{:?}", recorded.event)
                    };
                    assert!(found.insert(uplink.counter), "{} is twice", uplink.counter);
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
                    torn += 1;
                }
            }
        }
    }
    let lost: Vec<_> = expected.difference(&found).collect();
    assert!(lost.is_empty(), "{lost:?}");
    // What was written although the program had no time to print it: one line of each.
    assert!(found.len() <= expected.len() + KILLS as usize);
    assert!(torn <= KILLS, "{torn}");
}
