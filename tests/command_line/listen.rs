//! `ttn listen`

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::Duration,
};

use ttn::{
    Event, Network, Recording,
    serde_json::{self, Value},
    simulator::{HttpFault, Simulator, Storage},
};

use crate::program::{LIMIT, Program, code, finish, ttn, ttn_on};
use crate::support::{
    child::Running,
    harness::NOWHERE,
    resources::{loopback, pause, wait_until},
};

fn network() -> Simulator {
    Simulator::start(Network::V3).expect("the simulated network starts")
}

/// One that can be stopped and started again without another test in its place.
fn lasting_network() -> Simulator {
    let own = loopback();
    Simulator::builder(Network::V3)
        .address(format!("{own}:0"))
        .http_address(format!("{own}:0"))
        .start()
        .expect("the simulated network starts")
}

/// Starts a command, and waits until it is connected.
#[track_caller]
fn connected<const N: usize>(network: &Simulator, arguments: [&str; N]) -> Program {
    let program = Program::start(ttn_on(network, arguments));
    program.note("connected to");
    program
}

#[track_caller]
fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

#[test]
fn an_uplink_is_a_line_and_the_program_ends_after_so_many() {
    for network in [Network::V3, Network::V2] {
        let network = Simulator::start(network).expect("the simulated network starts");
        let mut program = connected(&network, ["listen", "--count", "2"]);
        let device = network.device("bed-07");
        device.uplink(2, [0x01, 0x67]);
        device.uplink(3, [0xFF]);
        let line = program.line();
        assert!(
            line.contains("  bed-07            #0       FPort 2    0167  "),
            "{line}"
        );
        assert!(line.contains(" dBm"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
        assert!(program.line().contains("#1       FPort 3    FF"));
        assert_eq!(program.end(), 0);
        assert!(program.stdout.recv_timeout(LIMIT).is_err());
    }
}

#[test]
fn json_is_the_event_as_the_library_writes_it() {
    let network = network();
    let mut program = connected(&network, ["listen", "--json", "-n", "1"]);
    network.device("bed-07").uplink(2, [0x01, 0x67]);
    let line = program.line();
    let event = json(&line);
    assert!(line.starts_with(r#"{"event":"uplink","app_id":"#), "{line}");
    assert_eq!(event["payload_hex"], "0167");
    assert_eq!(event["is_backfilled"], false);
    assert_eq!(program.end(), 0);
}

#[test]
fn only_the_devices_and_kinds_that_were_named_are_printed() {
    let network = network();
    let arguments = [
        "listen",
        "--json",
        "-d",
        "bed-07",
        "-d",
        "bed-08",
        "-k",
        "uplink",
        "-k",
        "activation",
        "-n",
        "3",
    ];
    let mut program = connected(&network, arguments);
    for name in ["bed-06", "bed-07", "bed-08"] {
        let device = network.device(name);
        device.uplink(1, [1]);
        if name == "bed-08" {
            device.join();
        }
    }
    let printed = [(); 3].map(|()| {
        let event = json(&program.line());
        let text = |member: &str| event[member].as_str().unwrap_or_default().to_owned();
        (text("event"), text("dev_id"))
    });
    let expected = [
        ("uplink", "bed-07"),
        ("uplink", "bed-08"),
        ("activation", "bed-08"),
    ];
    let expected = expected.map(|(event, device)| (event.to_owned(), device.to_owned()));
    assert_eq!(printed, expected);
    assert_eq!(program.end(), 0);
}

#[test]
fn all_kinds_are_printed_on_request_and_nothing_is_told_twice() {
    let network = network();
    let mut program = Program::start(ttn_on(
        &network,
        ["listen", "--json", "-k", "all", "-n", "2"],
    ));
    assert_eq!(json(&program.line())["event"], "connected");
    network.device("bed-07").uplink(1, [1]);
    assert_eq!(json(&program.line())["event"], "uplink");
    assert_eq!(program.end(), 0);
    let notes = program.notes();
    assert!(
        !notes.iter().any(|it| it.contains("connected")),
        "{notes:#?}"
    );
}

#[test]
fn what_was_sent_before_comes_first_and_then_what_is_sent_now_without_a_double() {
    let network = network();
    network.storage(Some(Storage::new()));
    let device = network.device("bed-07");
    let sent = |from: u16, to: u16| {
        for number in from..to {
            device.uplink(1, number.to_be_bytes());
        }
    };
    sent(0, 50);
    let arguments = ["listen", "--json", "--since", "2h", "-n", "150"];
    let mut program = Program::start(ttn_on(&network, arguments));
    // Some of them while it connects and fetches.
    sent(50, 100);
    program.note("connected to");
    sent(100, 150);
    let mut counters: Vec<_> = (0..150)
        .map(|_| json(&program.line())["counter"].as_u64())
        .collect();
    assert_eq!(program.end(), 0);
    counters.sort_unstable();
    assert!(
        counters.iter().copied().eq((0..150).map(Some)),
        "{counters:?}"
    );
}

#[test]
fn what_was_sent_before_is_in_the_order_of_time() {
    let network = network();
    network.storage(Some(Storage::new()));
    for number in 0..50_u8 {
        let name = format!("bed-{}", number % 7);
        network.device(&name).uplink(1, [number]);
    }
    let arguments = ["listen", "--json", "--since", "2h", "-n", "50"];
    let (status, out, errors) = finish(ttn_on(&network, arguments));
    assert_eq!(status, 0, "{errors}");
    let payloads: Vec<_> = out
        .lines()
        .map(|line| json(line)["payload_hex"].as_str().map(str::to_owned))
        .collect();
    let expected = (0..50).map(|number| Some(format!("{number:02X}")));
    assert!(payloads.iter().cloned().eq(expected), "{payloads:?}");
}

#[test]
fn what_cannot_be_fetched_is_told_and_live_uplinks_come_nevertheless() {
    // Nothing is kept.
    let network = network();
    let mut program = connected(&network, ["listen", "--since", "2h", "-n", "1"]);
    let note = program.note("not covered");
    assert!(note.contains("Storage Integration"), "{note}");
    network.device("bed-07").uplink(1, [1]);
    assert!(program.line().contains("bed-07"));
    assert_eq!(program.end(), 0);
}

#[test]
#[cfg(unix)]
fn what_was_not_fetched_before_a_signal_is_told() {
    let network = network();
    network.storage(Some(Storage::new()));
    network.device("bed-07").uplink(1, [1]);
    network.http_fault_on("uplink_message", Some(HttpFault::Silent));
    let mut program = connected(&network, ["listen", "--since", "2h"]);
    let is_asked = || {
        let requests = network.http_requests();
        requests.iter().any(|it| it.path.contains("uplink_message"))
    };
    assert!(wait_until(LIMIT, is_asked));
    program.running.signal("TERM");
    let note = program.note("not covered: ");
    assert!(note.contains("the client was closed"), "{note}");
    assert_eq!(program.end(), 0);
}

#[test]
#[cfg(unix)]
fn what_was_fetched_once_is_not_told_as_missing_in_the_end() {
    let network = network();
    network.storage(Some(Storage::new()));
    network.device("bed-07").uplink(1, [1]);
    let mut program = connected(&network, ["listen", "--since", "5m"]);
    assert!(program.line().ends_with("fetched"));
    program.running.signal("TERM");
    assert_eq!(program.end(), 0);
    let notes: Vec<_> = program.stderr.iter().collect();
    assert!(
        !notes.iter().any(|it| it.contains("not covered")),
        "{notes:#?}"
    );
}

#[test]
#[cfg(unix)]
fn a_key_that_may_not_read_is_warned_of_once() {
    let network = network();
    let (app, key) = (network.app_id(), network.access_key());
    network.set_rights(app, key, &["RIGHT_APPLICATION_INFO"]);
    let mut program = Program::start(ttn_on(&network, ["listen"]));
    let warning = program.note("may not read the traffic");
    assert!(warning.starts_with("warning: "), "{warning}");
    program.running.signal("TERM");
    assert_eq!(program.end(), 0);
    let others: Vec<_> = program.stderr.iter().collect();
    let is_warning = |note: &String| note.contains("may not read the traffic");
    assert!(!others.iter().any(is_warning), "{others:#?}");
}

#[test]
fn a_lost_connection_is_told_and_how_long_it_was_away_and_what_was_missed_is_fetched() {
    let network = lasting_network();
    network.storage(Some(Storage::new()));
    let device = network.device("bed-07");
    let mut program = connected(&network, ["listen", "-n", "2"]);
    device.uplink(1, [1]);
    program.line();
    network.stop();
    program.note("disconnected: ");
    device.uplink(1, [2]);
    network.restart().expect("its ports are still free");
    let note = program.note("connected again to");
    assert!(note.contains("it was away for "), "{note}");
    let line = program.line();
    assert!(
        line.contains("FPort 1    02") && line.ends_with("fetched"),
        "{line}"
    );
    assert_eq!(program.end(), 0);
}

#[test]
fn a_wrong_key_and_an_unreachable_server_have_their_own_statuses() {
    let network = network();
    let mut command = ttn_on(&network, ["listen"]);
    command.env("TTN_ACCESS_KEY", "NNSXS.WRONGID.WRONGSECRET");
    let (status, out, errors) = finish(command);
    assert_eq!((status, out.as_str()), (4, ""), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    let mut command = ttn_on(&network, ["listen"]);
    command.env("TTN_MQTT_ADDRESS", NOWHERE);
    let (status, _, errors) = finish(command);
    assert_eq!(status, 3, "{errors}");
    assert!(errors.starts_with("error: cannot reach"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn wrong_options_are_wrong_usage() {
    for (arguments, part) in [
        (["listen", "--since", "yesterday"], "2h"),
        (["listen", "--since", "9000-01-01T00:00:00Z"], "future"),
        (["listen", "--for", "soon"], "90s"),
        (["listen", "--count", "0"], "0"),
        (["listen", "--kind", "lift"], "lift"),
    ] {
        let (status, _, errors) = finish(ttn(arguments));
        assert_eq!(status, 2, "{errors}");
        assert!(errors.contains(part), "{errors}");
    }
    let network = Simulator::start(Network::V2).expect("the simulated network starts");
    let (status, _, errors) = finish(ttn_on(&network, ["listen", "--since", "2h"]));
    assert_eq!(status, 2, "{errors}");
    assert!(errors.contains("v3"), "{errors}");
}

#[test]
fn the_time_is_over_with_a_status_of_its_own_if_too_little_has_come() {
    let network = network();
    let (status, _, errors) = finish(ttn_on(&network, ["listen", "--for", "300ms", "-n", "3"]));
    assert_eq!(status, 8, "{errors}");
    assert!(errors.contains("after 0 of 3 events"), "{errors}");
    let (status, _, errors) = finish(ttn_on(&network, ["listen", "--for", "300ms"]));
    assert_eq!(status, 0, "{errors}");
}

#[test]
#[cfg(unix)]
fn every_signal_that_asks_it_to_end_ends_it_cleanly() {
    for signal in ["INT", "TERM", "HUP"] {
        let network = network();
        let mut program = connected(&network, ["listen"]);
        program.running.signal(signal);
        assert_eq!(program.end(), 0);
        let is_gone = || network.clients().is_empty();
        assert!(wait_until(LIMIT, is_gone));
    }
}

#[test]
#[cfg(unix)]
fn a_signal_before_the_last_of_so_many_events_has_a_status_of_its_own() {
    let network = network();
    let mut program = connected(&network, ["listen", "-n", "2"]);
    network.device("bed-07").uplink(1, [1]);
    assert!(program.line().contains("bed-07"));
    program.running.signal("INT");
    program.note("interrupted after 1 of 2 events");
    assert_eq!(program.end(), 8);
}

#[test]
#[cfg(unix)]
fn a_signal_ends_it_although_the_server_does_not_answer() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let network = network();
    let mut command = ttn_on(&network, ["listen"]);
    let address = silent.local_addr().expect("it is bound").to_string();
    command.env("TTN_MQTT_ADDRESS", address);
    let mut program = Program::start(command);
    let (_connection, _) = silent.accept().expect("the program connects");
    program.running.signal("TERM");
    assert_eq!(program.end(), 0);
}

/// A command whose output the test reads itself.
struct Unread {
    running: Running,
    stdout: Option<BufReader<std::process::ChildStdout>>,
    stderr: ttn::crossbeam_channel::Receiver<String>,
}

impl Unread {
    /// Starts it, and waits until it is connected.
    #[track_caller]
    fn start<const N: usize>(network: &Simulator, arguments: [&str; N]) -> Self {
        let mut child = ttn_on(network, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        let stdout = child.stdout.take().map(BufReader::new);
        let stderr = Running::lines(child.stderr.take().expect("piped"));
        let connected = stderr.recv_timeout(LIMIT).expect("it connects");
        assert!(connected.contains("connected to"), "{connected}");
        Self {
            running: Running(child),
            stdout,
            stderr,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.stdout.as_mut().expect("not closed yet");
        stdout.read_line(&mut line).expect("it writes");
        line
    }

    #[track_caller]
    fn end(&mut self) -> i32 {
        code(self.running.end(LIMIT).expect("it ends"))
    }
}

#[test]
fn a_closed_pipe_ends_it_with_the_next_line() {
    let network = network();
    let mut program = Unread::start(&network, ["listen"]);
    let device = network.device("bed-07");
    device.uplink(1, [1]);
    assert!(program.line().contains("bed-07"));
    program.stdout = None;
    device.uplink(1, [2]);
    assert_eq!(program.end(), 0);
    assert_eq!(program.stderr.iter().count(), 0, "it is no error");
}

#[test]
#[cfg(unix)]
fn a_closed_pipe_ends_it_although_no_further_uplink_arrives() {
    let network = network();
    let mut program = Unread::start(&network, ["listen"]);
    program.stdout = None;
    assert_eq!(program.end(), 0);
    assert_eq!(program.stderr.iter().count(), 0, "it is no error");
}

#[test]
#[cfg(unix)]
fn a_signal_ends_it_although_nobody_reads_what_it_writes() {
    let network = network();
    let mut program = Unread::start(&network, ["listen", "--json"]);
    let device = network.device("bed-07");
    // More than a pipe holds.
    for number in 0..2_000_u16 {
        device.uplink(1, number.to_be_bytes());
    }
    assert!(program.line().contains("bed-07"));
    program.running.signal("TERM");
    assert_eq!(program.end(), 0);
    let notes: Vec<_> = program.stderr.iter().collect();
    assert!(
        notes.iter().any(|note| note.contains("not everything")),
        "{notes:#?}"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn an_output_that_takes_nothing_is_an_error() {
    let network = network();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let mut child = ttn_on(&network, ["listen"])
        .stdout(full.expect("Linux has it"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    let stderr = Running::lines(child.stderr.take().expect("piped"));
    let mut running = Running(child);
    assert!(
        stderr
            .recv_timeout(LIMIT)
            .is_ok_and(|it| it.contains("connected to"))
    );
    network.device("bed-07").uplink(1, [1]);
    assert_eq!(running.end(LIMIT).map(code), Some(1));
    let error = stderr.iter().last().unwrap_or_default();
    assert!(
        error.starts_with("error: cannot write to standard output"),
        "{error}"
    );
}

#[test]
fn everything_is_recorded_whatever_is_printed() {
    let network = network();
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let file = folder.path().join("run.jsonl");
    let path = file.to_str().expect("it is text");
    let arguments = ["listen", "-d", "bed-07", "-n", "1", "--record", path];
    let mut program = connected(&network, arguments);
    network.device("bed-06").join();
    network.device("bed-07").uplink(1, [1]);
    program.line();
    assert_eq!(program.end(), 0);
    let recorded: Vec<_> = Recording::open(&file)
        .expect("it is there")
        .map(|recorded| recorded.expect("a whole line").event)
        .collect();
    let has = |wanted: fn(&Event) -> bool| recorded.iter().any(wanted);
    assert!(has(
        |event| matches!(event, Event::Activation(it) if it.dev_id == "bed-06")
    ));
    assert!(has(
        |event| matches!(event, Event::Uplink(it) if it.dev_id == "bed-07")
    ));
    let (status, _, errors) = finish(ttn_on(&network, ["listen", "--record", "/no/such/folder"]));
    assert_eq!(status, 1, "{errors}");
    assert!(errors.contains("/no/such/folder"), "{errors}");
}

#[test]
fn what_a_message_contains_cannot_control_the_terminal() {
    let network = network();
    network.set_decoder(|_, _| Ok(serde_json::json!({"text": "\u{1b}[2J\u{9b}31m\u{7f}"})));
    for arguments in [
        ["listen", "--count", "1", "--kind", "uplink"],
        ["listen", "--count", "1", "--json", "--verbose"],
    ] {
        let mut program = connected(&network, arguments);
        network.device("bed-07").uplink(1, [1]);
        let line = program.line();
        assert!(!line.contains(|it: char| it.is_control()), "{line:?}");
        assert_eq!(program.end(), 0);
    }
}

#[test]
fn a_slow_reader_loses_nothing_that_is_not_told() {
    let network = network();
    let mut program = Unread::start(
        &network,
        ["listen", "--json", "-k", "uplink", "-k", "lagged"],
    );
    let device = network.device("bed-07");
    const SENT: u64 = 30_000;
    for number in 0..SENT as u32 {
        device.uplink(1, number.to_be_bytes());
    }
    pause(Duration::from_millis(500));
    let mut known = 0;
    while known < SENT {
        let event = json(&program.line());
        known += event["dropped"].as_u64().unwrap_or(1);
    }
    assert_eq!(known, SENT);
    program.stdout = None;
    program.end();
}
