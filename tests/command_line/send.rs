//! `ttn send`: one downlink and its states, many at once, and how each ends.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener},
    process::{Command, Stdio},
    time::Duration,
};

use ttn::{
    Network,
    serde_json::{self, Value},
    simulator::{Device, Rights, Simulator},
};

use crate::{
    program::{LIMIT, Program, code, finish, ttn_on},
    support::{
        child::Running,
        resources::{pause, wait_until},
    },
};

const NETWORKS: [Network; 2] = [Network::V2, Network::V3];

fn network(network: Network) -> Simulator {
    Simulator::start(network).expect("the simulated network starts")
}

/// A v3 network with a device that has joined.
fn start() -> (Simulator, Device) {
    let network = network(Network::V3);
    let pump = network.device("pump-1");
    pump.join();
    (network, pump)
}

/// Runs a command to its end, with this on standard input.
#[track_caller]
fn finish_with(mut command: Command, input: &[u8]) -> (i32, String, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    let mut stdin = child.stdin.take().expect("piped");
    // It need not read to the end.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("it is our child");
    let text = |bytes| String::from_utf8(bytes).expect("it prints UTF-8");
    (
        code(output.status),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Reads lines up to this one.
#[track_caller]
fn until(program: &Program, last: &str) {
    while program.line() != last {}
}

#[test]
fn a_downlink_is_queued_on_both_networks() {
    for kind in NETWORKS {
        let network = network(kind);
        let pump = network.device("pump-1");
        pump.join();
        let arguments = ["send", "pump-1", "01 02", "--port", "7"];
        let (status, out, errors) = finish(ttn_on(&network, arguments));
        assert_eq!((status, errors.as_str()), (0, ""), "{kind:?}: {out}");
        assert_eq!(out.lines().last(), Some("pump-1: queued"), "{kind:?}");
        let [queued] = pump.queue().try_into().expect("one downlink");
        assert_eq!(
            (queued.payload, queued.port),
            (Some(vec![1, 2]), 7),
            "{kind:?}"
        );
    }
}

#[test]
fn the_states_of_a_confirmed_downlink_are_shown_until_the_device_acknowledges_it() {
    let (network, pump) = start();
    let mut program = Program::start(ttn_on(
        &network,
        [
            "send",
            "pump-1",
            "01",
            "--confirmed",
            "--wait",
            "acknowledged",
        ],
    ));
    until(&program, "pump-1: queued");
    pump.uplink(1, [0]);
    assert_eq!(program.line(), "pump-1: sent");
    assert!(pump.next_downlink(LIMIT).is_some());
    pump.uplink(1, [0]);
    assert_eq!(program.line(), "pump-1: acknowledged");
    assert_eq!(program.end(), 0);
}

#[test]
fn a_downlink_that_the_device_never_acknowledges_ends_with_its_own_status() {
    let (network, pump) = start();
    pump.stops_acknowledging(true);
    let mut program = Program::start(ttn_on(
        &network,
        [
            "send",
            "pump-1",
            "01",
            "--confirmed",
            "--wait",
            "acknowledged",
        ],
    ));
    until(&program, "pump-1: queued");
    let mut seen = Vec::new();
    while !seen.iter().any(|line: &String| line.contains("failed")) {
        assert!(seen.len() < 100, "{seen:#?}");
        pump.uplink(1, [0]);
        seen.push(program.line());
        seen.extend(program.stdout.try_iter());
    }
    assert!(
        seen.iter().any(|line| line.contains("attempt 2 follows")),
        "{seen:#?}"
    );
    assert_eq!(program.end(), 6);
}

#[test]
fn a_downlink_that_the_gateway_refuses_has_failed() {
    let (network, pump) = start();
    network.transmission_fails(Some("TOO_LATE"));
    let arguments = ["send", "pump-1", "01", "--wait", "sent"];
    let mut program = Program::start(ttn_on(&network, arguments));
    until(&program, "pump-1: queued");
    pump.uplink(1, [0]);
    let failed = program.line();
    assert!(failed.starts_with("pump-1: failed: "), "{failed}");
    assert!(failed.contains("TOO_LATE"), "{failed}");
    assert_eq!(program.end(), 5);
}

#[test]
fn an_error_of_the_network_cannot_control_the_terminal() {
    let (network, _) = start();
    network.set_encoder(|_, _| Err::<Vec<u8>, _>("red:\u{1b}[31m\nand more".into()));
    let arguments = ["send", "pump-1", "{\"led\": 1}", "--json", "--over-http"];
    let (status, out, _) = finish(ttn_on(&network, arguments));
    assert_eq!(status, 5, "{out}");
    assert!(out.contains("red:\\u{1b}[31m"), "{out}");
    assert_eq!(out.lines().count(), 1, "{out}");
}

#[test]
fn a_downlink_for_a_device_without_a_session_has_failed() {
    let (network, pump) = start();
    pump.forget_session();
    let (status, out, _) = finish(ttn_on(&network, ["send", "pump-1", "01"]));
    assert_eq!(status, 5, "{out}");
    assert!(out.contains("failed"), "{out}");
}

#[test]
fn what_became_of_a_downlink_for_an_unknown_device_is_not_known() {
    let network = network(Network::V3);
    let (status, out, _) = finish(ttn_on(&network, ["send", "pump-9", "01"]));
    assert_eq!(status, 7, "{out}");
    assert!(out.contains("pump-9: unconfirmed: "), "{out}");
}

#[test]
fn over_http_a_downlink_for_an_unknown_device_has_failed() {
    let network = network(Network::V3);
    let arguments = ["send", "pump-9", "01", "--over-http"];
    let (status, out, _) = finish(ttn_on(&network, arguments));
    assert_eq!(status, 5, "{out}");
    assert!(out.starts_with("pump-9: failed: "), "{out}");
}

#[test]
fn a_key_that_may_not_send_is_not_authorized() {
    let (network, pump) = start();
    let read_only = Rights {
        read: true,
        write: false,
    };
    network.add_key(network.app_id(), "NNSXS.READ.ONLY", read_only);
    let mut command = ttn_on(&network, ["send", "pump-1", "01", "--over-http"]);
    command.env("TTN_ACCESS_KEY", "NNSXS.READ.ONLY");
    let (status, out, errors) = finish(command);
    assert_eq!(status, 4, "{out}{errors}");
    assert!((out + &errors).contains("RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE"));
    assert!(pump.queue().is_empty());
}

#[test]
fn a_network_that_is_down_is_unreachable() {
    for kind in NETWORKS {
        let network = network(kind);
        network.stop();
        let (status, out, errors) = finish(ttn_on(&network, ["send", "pump-1", "01"]));
        assert_eq!((status, out.as_str()), (3, ""), "{kind:?}");
        assert!(errors.starts_with("error: "), "{kind:?}: {errors}");
    }
}

#[test]
fn what_is_not_sent_in_time_can_be_followed_by_its_key_later() {
    for kind in NETWORKS {
        let network = network(kind);
        let pump = network.device("pump-1");
        pump.join();
        let arguments = ["send", "pump-1", "01", "--wait", "sent", "--timeout", "1s"];
        let (status, out, errors) = finish(ttn_on(&network, arguments));
        assert_eq!(status, 8, "{kind:?}: {out}{errors}");
        assert!(
            errors.contains("pump-1: not sent within 1s: it is queued"),
            "{errors}"
        );
        let (_, key) = errors.trim().rsplit_once(" --follow ").expect("a key");

        let arguments = [
            "send",
            "pump-1",
            "--follow",
            key.trim_matches('\''),
            "--wait",
            "sent",
        ];
        let mut program = Program::start(ttn_on(&network, arguments));
        until(
            &program,
            if kind == Network::V3 {
                "pump-1: queued"
            } else {
                "pump-1: written"
            },
        );
        pump.uplink(1, [0]);
        until(&program, "pump-1: sent");
        assert_eq!(program.end(), 0, "{kind:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_wait_and_tells_what_is_known() {
    let (network, pump) = start();
    let arguments = ["send", "pump-1", "01", "--wait", "sent"];
    let mut program = Program::start(ttn_on(&network, arguments));
    until(&program, "pump-1: queued");
    program.running.signal("INT");
    let told = program.note("--follow ttn:");
    assert!(told.starts_with("pump-1: it is queued"), "{told}");
    assert_eq!(program.end(), 8);
    assert_eq!(pump.queue().len(), 1);
    assert!(network.clients().is_empty(), "it has closed its connection");
}

#[cfg(unix)]
#[test]
fn a_signal_ends_an_attempt_to_connect() {
    let (network, _) = start();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it has an address");
    let mut command = ttn_on(&network, ["send", "pump-1", "01"]);
    command.env("TTN_MQTT_ADDRESS", address.to_string());
    let mut program = Program::start(command);
    let _never_answered = listener.accept().expect("it connects");
    program.running.signal("INT");
    program.note("nothing was sent");
    assert_eq!(program.end(), 8);
}

#[test]
fn what_is_wrong_is_refused_before_the_network_is_needed() {
    let (network, _) = start();
    network.stop();
    let cases: [(&[&str], &str); 16] = [
        (&["pump-1", "0g"], "hex"),
        (&["pump-1", "AQ==", "--json"], "JSON object"),
        (&["pump-1", "[1]", "--json"], "JSON object"),
        (&["pump-1", "01", "--base64"], "base64"),
        (&["pump-1", ""], "payload"),
        (&["Pump 1; rm -rf /", "01"], "is not a valid device id"),
        (&["pümp\n\u{1b}[31m", "01"], "is not a valid device id"),
        (&["pump-1", "01", "--port", "224"], "224"),
        (&["pump-1", "01", "--schedule", "first"], "front"),
        (&["pump-1", "01", "--wait", "acknowledged"], "--confirmed"),
        (&["pump-1", "--follow", "not-a-key"], "not-a-key"),
        (&["pump-1", "--follow", "ttn:1:1", "--port", "2"], "--port"),
        (&["pump-1", "01", "--pace", "10"], "--batch"),
        (&["pump-1", "01", "--timeout", "2years"], "year"),
        (&["pump-1", "01", "--timeout", "soon"], "soon"),
        (&["pump-1"], "PAYLOAD"),
    ];
    for (arguments, part) in cases {
        let mut command = ttn_on(&network, ["send"]);
        command.args(arguments);
        let (status, out, errors) = finish(command);
        assert_eq!((status, out.as_str()), (2, ""), "{arguments:?}: {errors}");
        assert!(errors.contains(part), "{arguments:?}: {errors}");
        assert!(!errors.contains('\u{1b}'), "{arguments:?}: {errors:?}");
    }
    let network_v2 = self::network(Network::V2);
    network_v2.stop();
    for arguments in [["--priority", "high"], ["--over-http", "--class-b-c"]] {
        let mut command = ttn_on(&network_v2, ["send", "pump-1", "01"]);
        command.env_remove("TTN_HTTP_ADDRESS").args(arguments);
        let (status, out, errors) = finish(command);
        assert_eq!((status, out.as_str()), (2, ""), "{arguments:?}: {errors}");
    }
}

#[test]
fn the_payload_can_come_from_standard_input() {
    let (network, pump) = start();
    let command = ttn_on(&network, ["send", "pump-1", "-"]);
    let (status, out, errors) = finish_with(command, b"0a0b\n0c\n");
    assert_eq!(status, 0, "{out}{errors}");
    assert_eq!(pump.queue()[0].payload, Some(vec![10, 11, 12]));

    network.set_encoder(|_, fields| Ok(vec![u8::from(fields["led"] == "on")]));
    let command = ttn_on(&network, ["send", "pump-1", "-", "--json"]);
    let (status, out, errors) = finish_with(command, b"{\"led\":\n \"on\"}\n");
    assert_eq!(status, 0, "{out}{errors}");
    assert_eq!(pump.queue()[0].payload, Some(vec![1]));
}

#[test]
fn a_payload_without_end_on_standard_input_is_refused() {
    let (network, _) = start();
    let command = ttn_on(&network, ["send", "pump-1", "-"]);
    let (status, out, errors) = finish_with(command, &vec![b'0'; 10_000_000]);
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(errors.contains("65536 bytes"), "{errors}");
}

#[test]
fn each_state_is_a_json_object_on_request() {
    let (network, pump) = start();
    let arguments = ["send", "pump-1", "01", "--json-output"];
    let (status, out, errors) = finish(ttn_on(&network, arguments));
    assert_eq!((status, errors.as_str()), (0, ""));
    let last: Value = serde_json::from_str(out.lines().last().expect("a state")).expect("JSON");
    let key = last["key"].as_str().expect("a key");
    let [(_, request)] = &network.published()[..] else {
        panic!("one request: {:?}", network.published());
    };
    assert!(String::from_utf8_lossy(request).contains(key));
    let expected = serde_json::json!({"dev_id": "pump-1", "key": key, "state": "queued"});
    assert_eq!(last, expected);

    pump.forget_session();
    let (status, out, _) = finish(ttn_on(&network, arguments));
    assert_eq!(status, 5);
    let last: Value = serde_json::from_str(out.lines().last().expect("a state")).expect("JSON");
    assert_eq!(
        (&last["state"], &last["error"]["kind"]),
        (&"failed".into(), &"downlink_failed".into())
    );
}

#[test]
fn a_batch_is_sent_and_each_line_is_followed() {
    let (network, pump) = start();
    let lamp = network.device("lamp-1");
    lamp.join();
    let lines = "\
# The evening.
pump-1 01
pump-1 02

{\"dev_id\": \"lamp-1\", \"payload_raw\": \"Aw==\", \"port\": 9}
";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("batch.txt");
    fs::write(&file, lines).expect("it is ours");
    let mut command = ttn_on(&network, ["send", "--batch"]);
    command.arg(&file).args(["--port", "2"]);
    let (status, out, errors) = finish(command);
    assert_eq!(status, 0, "{out}{errors}");
    for line in [
        "line 2: pump-1: queued",
        "line 3: pump-1: queued",
        "line 5: lamp-1: queued",
    ] {
        assert!(out.lines().any(|told| told == line), "{line}: {out}");
    }
    assert_eq!(errors, "3 of 3 downlinks were queued\n");
    let received = |device: &Device| -> Vec<_> {
        let queue = device.queue().into_iter();
        queue.map(|queued| (queued.port, queued.payload)).collect()
    };
    assert_eq!(received(&pump), [(2, Some(vec![1])), (2, Some(vec![2]))]);
    assert_eq!(received(&lamp), [(9, Some(vec![3]))]);
}

#[test]
fn of_a_batch_with_a_wrong_line_nothing_is_sent() {
    let (network, _) = start();
    for (bad, part) in [
        ("pump-1 0g", "hex"),
        ("Pump 01", "Pump"),
        ("pump-1", "payload"),
        (
            "{\"dev_id\": \"pump-1\", \"payload_hex\": \"01\", \"port\": 224}",
            "224",
        ),
        ("{\"dev_id\": \"pump-1\"}", "payload_hex"),
    ] {
        let lines = format!("pump-1 01\n\n{bad}\nlamp-1 02\n");
        let command = ttn_on(&network, ["send", "--batch", "-"]);
        let (status, out, errors) = finish_with(command, lines.as_bytes());
        assert_eq!((status, out.as_str()), (2, ""), "{bad}: {errors}");
        assert!(
            errors.contains("line 3: ") && errors.contains(part),
            "{bad}: {errors}"
        );
    }
    let lines = b"pump-1 01\nlamp-1 02\npump-1 03\n";
    let (status, _, errors) = finish_with(ttn_on(&network, ["send", "--batch", "-"]), lines);
    assert_eq!(status, 2, "{errors}");
    assert!(
        errors.contains("line 3: it would replace the downlink of line 1"),
        "{errors}"
    );
    let command = ttn_on(&network, ["send", "--batch", "-"]);
    let (status, _, errors) = finish_with(command, b"# nothing\n");
    assert_eq!(status, 2, "{errors}");
    assert!(network.published().is_empty());
}

#[test]
fn a_batch_ends_with_the_lowest_failure_of_its_lines() {
    let (network, _) = start();
    network.device("lamp-1").forget_session();
    let command = ttn_on(
        &network,
        ["send", "--batch", "-", "--wait", "sent", "--timeout", "1s"],
    );
    let (status, out, errors) = finish_with(command, b"pump-1 01\nlamp-1 02\n");
    assert_eq!(status, 5, "{out}{errors}");
    assert!(out.contains("line 2: lamp-1: failed: "), "{out}");
    assert!(
        errors.contains("line 1: pump-1: not sent within 1s"),
        "{errors}"
    );
    assert!(errors.contains("0 of 2 downlinks were sent"), "{errors}");
}

#[cfg(unix)]
#[test]
fn a_signal_in_the_middle_of_a_batch_stops_it_and_tells_which_lines_were_sent() {
    let (network, pump) = start();
    let mut command = ttn_on(
        &network,
        ["send", "--batch", "-", "--schedule", "last", "--pace", "60"],
    );
    command.env("TTN_APP_ID", network.app_id());
    let mut program = Program::start(command);
    let lamp = network.device("lamp-1");
    lamp.join();
    for number in 0..100 {
        // Not together: each is a message of its own.
        let device = ["pump-1", "lamp-1"][number % 2];
        program.type_line(&format!("{device} {number:02x}"));
    }
    drop(program.stdin.take());
    until(&program, "line 5: pump-1: queued");
    program.running.signal("TERM");
    let told = program.note("were not sent");
    assert_eq!(program.end(), 8, "{told}");
    let (unsent, first) = told
        .split_once(" of 100 downlinks were not sent: all from line ")
        .expect("both numbers");
    let unsent: usize = unsent.parse().expect("a number");
    let first = first
        .strip_suffix(" on")
        .and_then(|line| line.parse::<usize>().ok());
    assert_eq!(first, Some(101 - unsent));
    assert!((6..100).contains(&(101 - unsent)), "{told}");
    let queued = pump.queue().len() + lamp.queue().len();
    assert_eq!(queued, 100 - unsent, "{told}");
}

#[test]
fn thousands_of_lines_are_sent_one_by_one() {
    let network = network(Network::V3);
    let devices: Vec<_> = ["pump-1", "pump-2", "pump-3"]
        .into_iter()
        .map(|name| network.device(name))
        .collect();
    for device in &devices {
        device.join();
    }
    let lines: String = (0..2_000_u32)
        .map(|number| format!("pump-{} {number:08x}\n", 1 + number % 3))
        .collect();
    let command = ttn_on(
        &network,
        [
            "send",
            "--batch",
            "-",
            "--schedule",
            "last",
            "--pace",
            "30000",
            "--timeout",
            "5m",
        ],
    );
    let (status, out, errors) = finish_with(command, lines.as_bytes());
    assert_eq!(status, 0, "{errors}");
    assert!(
        errors.ends_with("2000 of 2000 downlinks were queued\n"),
        "{errors}"
    );
    assert!(out.lines().count() >= 2_000);
    let queued: usize = devices.iter().map(|device| device.queue().len()).sum();
    assert_eq!(queued, 2_000);
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_while_nothing_comes_ends_the_wait() {
    let (network, pump) = start();
    let mut child = ttn_on(&network, ["send", "pump-1", "01", "--wait", "sent"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the tool starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    while lines.next().expect("a line").expect("text") != "pump-1: queued" {}
    drop(lines);
    let status = Running(child).end(LIMIT).expect("it ends by itself");
    assert_eq!(code(status), 0);
    assert_eq!(pump.queue().len(), 1);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_batch_whose_states_nobody_reads_and_what_was_sent_is_told() {
    let (network, pump) = start();
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("batch");
    // Their states are more than a pipe holds.
    let lines: String = (0..5_000_u32)
        .map(|number| format!("pump-{} {number:08x}\n", 1 + number % 2))
        .collect();
    fs::write(&file, lines).expect("there is room");
    let other = network.device("pump-2");
    other.join();
    let path = file.to_str().expect("it is text");
    let mut child = ttn_on(&network, ["send", "--batch", path, "--schedule", "last"])
        .args(["--pace", "30000", "--json-output"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    let out = child.stdout.take().expect("piped");
    let stderr = Running::lines(child.stderr.take().expect("piped"));
    let mut running = Running(child);
    let sent = || pump.queue().len() + other.queue().len();
    // It goes no further when the pipe is full.
    let mut before = 0;
    assert!(wait_until(LIMIT, || {
        pause(Duration::from_millis(500));
        let is_stalled = sent() > 0 && sent() == before;
        before = sent();
        is_stalled
    }));
    running.signal("TERM");
    assert_eq!(running.end(LIMIT).map(code), Some(8));
    drop(out);
    let notes: Vec<_> = stderr.iter().collect();
    let unsent = notes
        .iter()
        .find_map(|note| note.split_once(" of 5000 downlinks were not sent"))
        .and_then(|(unsent, _)| unsent.parse::<usize>().ok());
    assert_eq!(unsent, Some(5_000 - sent()), "{notes:#?}");
}

#[cfg(unix)]
#[test]
fn a_batch_whose_reader_goes_is_not_done() {
    let (network, _pump) = start();
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("batch");
    // A minute and a half; not together, each is a message of its own.
    let lines: String = (0..100)
        .map(|number| format!("pump-{} {number:02x}\n", 1 + number % 2))
        .collect();
    fs::write(&file, lines).expect("there is room");
    let path = file.to_str().expect("it is text");
    let arguments = [
        "send",
        "--schedule",
        "last",
        "--pace",
        "60",
        "--batch",
        path,
    ];
    let mut child = ttn_on(&network, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let stderr = Running::lines(child.stderr.take().expect("piped"));
    let mut running = Running(child);
    assert!(lines.next().expect("a line").is_ok());
    drop(lines);
    assert_eq!(running.end(LIMIT).map(code), Some(8));
    let notes: Vec<_> = stderr.iter().collect();
    assert!(
        notes
            .iter()
            .any(|it| it.contains("downlinks were not sent")),
        "{notes:#?}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn what_became_of_a_downlink_is_told_although_no_state_can_be_printed() {
    let (network, pump) = start();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let output = ttn_on(&network, ["send", "pump-1", "01", "--wait", "sent"])
        .stdout(full.expect("Linux has it"))
        .stderr(Stdio::piped())
        .output()
        .expect("the tool starts");
    assert_eq!(code(output.status), 1);
    let errors = String::from_utf8_lossy(&output.stderr);
    // It is known that it was written, at least.
    assert!(
        errors.contains("it is written") || errors.contains("it is queued"),
        "{errors}"
    );
    assert!(errors.contains("to follow it: ttn send pump-1"), "{errors}");
    assert_eq!(pump.queue().len(), 1);
}

#[test]
fn a_reader_that_goes_ends_the_program_and_not_the_downlink() {
    let (network, pump) = start();
    let mut child = ttn_on(&network, ["send", "pump-1", "01", "--wait", "sent"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it is our child");
    assert_eq!(code(output.status), 0);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !errors.contains("panicked") && !errors.contains("error"),
        "{errors}"
    );
    // The connection was closed only when the server had read it.
    assert_eq!(pump.queue().len(), 1);
    assert!(network.wait_for_clients(0, Duration::from_secs(10)));
}
