//! `ttn backfill`

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, SystemTime},
};

use ttn::{
    Network,
    serde_json::{self, Value},
    simulator::{HttpFault, Simulator, Storage},
};

use crate::program::{LIMIT, Program, code, finish, ttn_on};
use crate::support::{child::Running, harness::NOWHERE, resources::pause};

const HOUR: Duration = Duration::from_secs(3_600);

/// A network that has kept an uplink from three hours ago, so that it is known to keep the later ones.
fn network() -> Simulator {
    let network = Simulator::builder(Network::V3)
        .fixed_time(SystemTime::now() - 3 * HOUR)
        .start()
        .expect("the simulated network starts");
    network.storage(Some(Storage::new()));
    network.device("bed-07").uplink(1, [0xAA]);
    network.advance_clock(3 * HOUR - Duration::from_secs(60));
    network
}

#[track_caller]
fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

#[test]
fn it_prints_what_was_sent_in_the_order_of_time_without_a_connection() {
    let network = network();
    for number in 0..100_u8 {
        let name = format!("bed-{}", number % 7);
        network.device(&name).uplink(1, [number]);
    }
    let mut command = ttn_on(&network, ["backfill", "--from", "2h", "--json"]);
    command.env("TTN_MQTT_ADDRESS", NOWHERE);
    let (status, out, errors) = finish(command);
    assert_eq!(status, 0, "{errors}");
    let payloads: Vec<_> = out
        .lines()
        .map(|line| json(line)["payload_hex"].as_str().map(str::to_owned))
        .collect();
    let expected = (0..100).map(|number| Some(format!("{number:02X}")));
    assert!(payloads.iter().cloned().eq(expected), "{payloads:?}");
    assert!(
        errors.contains("from storage: 100 uplinks delivered"),
        "{errors}"
    );
}

#[test]
fn only_the_time_and_the_devices_that_were_named_are_printed() {
    let start = SystemTime::now() - Duration::from_secs(7_200);
    let network = Simulator::builder(Network::V3)
        .fixed_time(start)
        .start()
        .expect("the simulated network starts");
    network.storage(Some(Storage::new()));
    for minutes in [0, 30, 60] {
        if minutes > 0 {
            network.advance_clock(Duration::from_secs(30 * 60));
        }
        for name in ["bed-07", "bed-08"] {
            network.device(name).uplink(1, [minutes]);
        }
    }
    let time = |minutes: u64| {
        let at = start + Duration::from_secs(60 * minutes);
        humantime::format_rfc3339(at).to_string()
    };
    let (from, to) = (time(20), time(40));
    let arguments = ["backfill", "--from", &from, "--to", &to, "-d", "bed-08"];
    let (status, out, errors) = finish(ttn_on(&network, arguments));
    assert_eq!(status, 0, "{errors}");
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(out.contains("bed-08") && out.contains("  1E  "), "{out}");
}

#[test]
fn what_stays_uncovered_is_told_with_status_1() {
    let network = network();
    network.storage(None);
    let (status, out, errors) = finish(ttn_on(&network, ["backfill", "--from", "2h"]));
    assert_eq!((status, out.as_str()), (1, ""), "{errors}");
    assert!(errors.contains("not covered: "), "{errors}");
    assert!(errors.contains("Storage Integration"), "{errors}");
}

#[test]
fn wrong_times_and_networks_are_wrong_usage() {
    let network = network();
    for arguments in [
        ["backfill", "--from", "1h", "--to", "2h"],
        ["backfill", "--from", "yesterday", "--to", "2h"],
    ] {
        let (status, _, errors) = finish(ttn_on(&network, arguments));
        assert_eq!(status, 2, "{errors}");
    }
    let network = Simulator::start(Network::V2).expect("the simulated network starts");
    let (status, _, errors) = finish(ttn_on(&network, ["backfill", "--from", "2h"]));
    assert_eq!(status, 2, "{errors}");
    assert!(errors.contains("v3"), "{errors}");
}

#[test]
#[cfg(unix)]
fn a_signal_ends_it_and_what_is_missing_is_told() {
    let network = network();
    network.device("bed-07").uplink(1, [1]);
    network.http_fault(Some(HttpFault::Silent));
    let mut program = Program::start(ttn_on(&network, ["backfill", "--from", "2h"]));
    assert!(network.wait_for_http_requests(1, LIMIT));
    program.running.signal("TERM");
    let note = program.note("not covered: ");
    assert!(note.contains("the client was closed"), "{note}");
    assert_eq!(program.end(), 8);
}

#[test]
fn a_closed_pipe_ends_it() {
    let network = network();
    let device = network.device("bed-07");
    for number in 0..3_000_u16 {
        device.uplink(1, number.to_be_bytes());
    }
    let mut child = ttn_on(&network, ["backfill", "--from", "2h", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut running = Running(child);
    let mut line = String::new();
    out.read_line(&mut line).expect("it writes");
    assert_eq!(json(&line)["counter"], 1);
    drop(out);
    assert_eq!(running.end(LIMIT).map(code), Some(0));
}

#[test]
fn a_reader_that_pauses_gets_everything_in_the_end() {
    let network = Simulator::start(Network::V3).expect("the simulated network starts");
    network.storage(Some(Storage::new()));
    let device = network.device("bed-07");
    // More than may wait for standard output.
    const SENT: usize = 15_000;
    for number in 0..SENT as u32 {
        device.uplink(1, number.to_be_bytes());
    }
    let mut child = ttn_on(&network, ["backfill", "--from", "1h", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    let stderr = Running::lines(child.stderr.take().expect("piped"));
    let mut out = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut running = Running(child);
    let first = out.next().expect("it prints").expect("it prints text");
    assert_eq!(json(&first)["counter"], 0);
    // The library does not wait for a queue that is unread for 10 s, unless it is told to.
    pause(Duration::from_secs(12));
    assert_eq!(1 + out.count(), SENT);
    assert!(running.end(LIMIT).is_some());
    let notes: Vec<_> = stderr.iter().collect();
    assert!(
        !notes.iter().any(|note| note.contains("lost")),
        "{notes:#?}"
    );
}
