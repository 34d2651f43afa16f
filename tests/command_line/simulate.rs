//! `ttn simulate`: the simulated network as a program.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use ttn::{
    Event, Events, MqttClient, UplinkMessage,
    serde_json::{self, Value, json},
};

use crate::{
    program::{LIMIT, Program, finish, ttn},
    support::child::Running,
};

/// A simulated network that runs as a program, and what it has printed first.
pub(crate) struct Network {
    pub(crate) program: Program,
    pub(crate) started: Value,
}

impl Network {
    /// Starts one on free ports that prints JSON, whose devices send nothing on their own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = ttn([
            "simulate",
            "--json",
            "--every",
            "0s",
            "--mqtt",
            "127.0.0.1:0",
        ]);
        if !arguments.contains(&"v2") {
            command.args(["--http", "127.0.0.1:0"]);
        }
        command.args(arguments);
        Self::run(command)
    }

    fn run(command: Command) -> Self {
        let program = Program::start(command);
        let started = parsed(&program.line());
        assert_eq!(started["event"], "started");
        Self { program, started }
    }

    pub(crate) fn text(&self, member: &str) -> &str {
        self.started[member]
            .as_str()
            .unwrap_or_else(|| panic!("no {member} in {}", self.started))
    }

    pub(crate) fn port(&self) -> u16 {
        self.started["mqtt_port"].as_u64().expect("a port") as u16
    }

    #[track_caller]
    pub(crate) fn line(&self) -> Value {
        parsed(&self.program.line())
    }

    /// Returns the next line about such an event; skips others.
    #[track_caller]
    pub(crate) fn next(&self, event: &str) -> Value {
        loop {
            let line = self.line();
            if line["event"] == event {
                return line;
            }
        }
    }

    /// Types a command, and returns the next line about such an event.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str, event: &str) -> Value {
        self.program.type_line(command);
        self.next(event)
    }

    /// Connects the crate's own client.
    fn client(&self) -> (MqttClient, Events) {
        let builder = MqttClient::builder(self.text("app_id"), self.text("access_key"))
            .mqtt_address(self.text("mqtt_address"));
        let builder = match self.started["ca_file"].as_str() {
            Some(file) => builder.ca_file(file),
            None => builder,
        };
        let client = builder.build().expect("the options are valid");
        let events = client.events();
        client.connect().expect("it connects");
        (client, events)
    }

    #[track_caller]
    fn quits(mut self) {
        self.program.type_line("quit");
        assert_eq!(self.program.end(), 0);
    }
}

#[track_caller]
fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[track_caller]
fn next_uplink(events: &Events) -> UplinkMessage {
    loop {
        let event = events.recv_timeout(LIMIT).expect("an uplink comes");
        if let Event::Uplink(uplink) = event {
            return (*uplink).clone();
        }
    }
}

#[test]
fn the_first_line_has_the_addresses() {
    let command = ttn(["simulate", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let mut program = Program::start(command);
    let line = program.line();
    let address = line
        .strip_prefix("v3 network at mqtt://")
        .and_then(|rest| rest.split(' ').next());
    TcpStream::connect(address.expect("an address")).expect("it listens");
    assert!(line.contains(" and http://127.0.0.1:"), "{line}");
    assert!(line.ends_with(", application simulated-app@ttn"), "{line}");
    assert_eq!(program.line(), "export TTN_APP_ID=simulated-app@ttn");
    assert_eq!(program.line(), "export TTN_ACCESS_KEY=NNSXS.SIMULATED.KEY");
    assert_eq!(
        program.line(),
        format!(
            "export TTN_MQTT_ADDRESS=mqtt://{}",
            address.expect("an address")
        )
    );
    program.type_line("quit");
    assert_eq!(program.end(), 0);
}

#[test]
fn the_settings_that_it_prints_are_those_of_the_tool() {
    let mut command = ttn([
        "simulate",
        "--mqtt",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "--device",
        "pump-1",
    ]);
    command.args(["--every", "200ms"]);
    let program = Program::start(command);
    let mut listen = ttn(["listen", "--count", "1", "--json"]);
    for _ in 0..5 {
        let line = program.line();
        if let Some((name, value)) = line
            .strip_prefix("export ")
            .and_then(|rest| rest.split_once('='))
        {
            listen.env(name, value);
        }
    }
    let (status, out, errors) = finish(listen);
    assert_eq!(status, 0, "{errors}");
    assert!(out.contains("pump-1"), "{out}");
}

#[test]
fn what_clients_and_devices_do_is_printed() {
    let mut network = Network::start(&["--device", "pump-1"]);
    assert_eq!(network.started["devices"], json!(["pump-1"]));
    assert_eq!(network.text("app_id"), "simulated-app@ttn");
    let (client, events) = network.client();
    let connected = network.next("connected");
    assert_eq!(connected["username"], "simulated-app@ttn");
    let subscribed = network.next("subscribed");
    assert_eq!(subscribed["client_id"], connected["client_id"]);

    client.send("pump-1", [0xca, 0xfe]).expect("it is sent");
    let published = network.next("published");
    assert_eq!(
        (&published["accepted"], &published["qos"]),
        (&json!(true), &json!(0))
    );
    let queue = network.ask("queue pump-1", "queue");
    assert_eq!(queue["downlinks"][0]["payload"], "cafe");
    let uplink = network.ask("uplink pump-1 2 0107 confirmed", "uplink");
    assert_eq!(
        (&uplink["payload"], &uplink["counter"]),
        (&json!("0107"), &json!(0))
    );
    assert_eq!(next_uplink(&events).payload_raw.to_vec(), [1, 7]);
    let received = network.next("received");
    assert_eq!(
        (&received["device"], &received["payload"]),
        (&json!("pump-1"), &json!("cafe"))
    );
    let lines = network.ask("downlinks", "downlinks");
    assert!(
        lines["lines"][0]
            .as_str()
            .is_some_and(|line| line.starts_with("pump-1: cafe on FPort 1")),
        "{lines}"
    );

    client.close().expect("it closes");
    assert_eq!(network.next("disconnected")["cause"], "DISCONNECT");
    network.quits();
}

#[test]
fn devices_send_measurements_of_their_own() {
    let start = || {
        let mut command = ttn([
            "simulate",
            "--json",
            "--mqtt",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
        ]);
        command.args([
            "--devices",
            "2",
            "--every",
            "300ms",
            "--seed",
            "7",
            "--storage",
            "1h",
        ]);
        Network::run(command)
    };
    let payloads = |network: Network| {
        let (client, events) = network.client();
        let mut of_first = Vec::new();
        while of_first.len() < 3 {
            let uplink = next_uplink(&events);
            assert!(["device-1", "device-2"].contains(&uplink.dev_id.as_str()));
            assert_eq!(uplink.port, 1);
            let fields = &uplink.payload_fields;
            for name in ["temperature", "humidity", "battery"] {
                assert!(fields[name].is_number(), "{name}");
            }
            if uplink.dev_id == "device-1" {
                of_first.push((uplink.counter, uplink.payload_raw.to_vec()));
            }
        }
        client.close().expect("it closes");
        network.quits();
        of_first
    };
    let (first, second) = (payloads(start()), payloads(start()));
    // The first uplinks may have come before the client.
    let common: Vec<_> = first
        .iter()
        .filter(|uplink| second.contains(uplink))
        .collect();
    let counters =
        |uplinks: &[(u32, Vec<u8>)]| uplinks.iter().map(|uplink| uplink.0).collect::<Vec<_>>();
    let shared = counters(&first)
        .into_iter()
        .filter(|counter| counters(&second).contains(counter));
    assert_eq!(common.len(), shared.count(), "{first:?} {second:?}");
}

#[test]
fn a_wrong_command_is_told_and_changes_nothing() {
    let mut network = Network::start(&["--device", "pump-1"]);
    for (command, part) in [
        ("dance", "there is no command"),
        ("uplink pump-1 0 01", "FPort"),
        ("uplink pump-1 1 0", "not hex"),
        ("uplink Pump 1 01", "not a valid id"),
        ("queue pump-9", "there is no device pump-9"),
        ("fault dance", "no such fault"),
        ("fault utc-offset 60", "for V2 only"),
        ("stop it", "takes no arguments"),
    ] {
        let error = network.ask(command, "error");
        assert!(
            error["text"]
                .as_str()
                .is_some_and(|text| text.contains(part)),
            "{command}: {error}"
        );
    }
    let devices = network.ask("devices", "devices");
    assert_eq!(devices["devices"], json!(["pump-1"]));
    assert_eq!(network.ask("uplink pump-1 1 01", "uplink")["counter"], 0);
    // What nobody has named before is registered, which may be a mistake.
    assert_eq!(network.ask("join pump-2", "registered")["device"], "pump-2");
    network.quits();
}

#[test]
fn lines_that_no_command_can_be_are_refused() {
    let mut network = Network::start(&[]);
    let stdin = network.program.stdin.as_mut().expect("it is open");
    stdin.write_all(b"\xff\xfe\n").expect("it reads");
    stdin.write_all(&[b'x'; 100_000]).expect("it reads");
    stdin.write_all(b"\n\n").expect("it reads");
    assert_eq!(network.next("error")["text"], "the line is not UTF-8");
    assert!(
        network.next("error")["text"]
            .as_str()
            .is_some_and(|text| text.contains("at most"))
    );
    // The rest of the long line is no command either.
    assert!(
        network.ask("help", "help")["lines"][0]
            .as_str()
            .is_some_and(|line| line.starts_with("uplink "))
    );
    network.quits();
}

#[test]
fn the_network_stops_restarts_and_loses_its_clients_on_command() {
    let mut network = Network::start(&[]);
    let (client, events) = network.client();
    network.next("subscribed");
    assert_eq!(network.ask("disconnect", "disconnect")["clients"], 1);
    network.next("subscribed");
    network.ask("stop", "stopped");
    assert!(TcpStream::connect(("127.0.0.1", network.port())).is_err());
    network.ask("restart", "restarted");
    network.next("subscribed");
    network.ask("uplink pump-1 1 05", "uplink");
    assert_eq!(next_uplink(&events).payload_raw.to_vec(), [5]);
    client.close().expect("it closes");
    network.quits();
}

#[test]
fn faults_come_from_the_start_and_by_command() {
    let mut network = Network::start(&[
        "--device",
        "pump-1",
        "--fault",
        "connack=3",
        "--fault",
        "transmission-fails=TOO_LATE",
    ]);
    let client = || {
        MqttClient::builder(network.text("app_id"), network.text("access_key"))
            .mqtt_address(network.text("mqtt_address"))
            .connect_timeout(Duration::from_secs(20))
            .build()
            .expect("the options are valid")
    };
    assert!(client().connect().is_err());
    assert_eq!(network.next("refused")["code"], 3);
    assert_eq!(
        network.ask("fault connack off", "fault")["fault"],
        "connack=off"
    );
    let (client, events) = network.client();
    client.send("pump-1", [1]).expect("it is sent");
    network.next("published");
    network.ask("uplink pump-1 1 01", "uplink");
    let (mut failed, mut seen) = (None, Vec::new());
    while failed.is_none() {
        match events.recv_timeout(LIMIT) {
            Ok(Event::Downlink(event)) if !event.error.is_empty() => failed = Some(event),
            Ok(other) => seen.push(other),
            Err(error) => panic!("{error}: {seen:#?}"),
        }
    }
    let failed = format!("{failed:?}");
    assert!(failed.contains("TOO_LATE"), "{failed}");
    client.close().expect("it closes");
    network.quits();
}

#[test]
fn the_faults_are_listed() {
    for name in ["list", "help"] {
        let (status, out, _) = finish(ttn(["simulate", "--fault", name]));
        assert_eq!(status, 0);
        assert!(out.contains("ignore-pings"), "{out}");
    }
}

#[test]
#[cfg(feature = "tls")]
fn our_own_client_connects_over_tls_with_the_written_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca file.pem");
    for kind in ["v3", "v2"] {
        let file = file.to_str().expect("UTF-8");
        let mut network = Network::start(&["--network", kind, "--tls", "--ca-out", file]);
        assert!(
            network
                .text("mqtt_address")
                .starts_with("mqtts://127.0.0.1:")
        );
        assert_eq!(network.text("ca_file"), file);
        let mut listen = ttn(["listen", "--count", "1", "--ca-file", file]);
        listen
            .env("TTN_ACCESS_KEY", network.text("access_key"))
            .env("TTN_APP_ID", network.text("app_id"))
            .env("TTN_MQTT_ADDRESS", network.text("mqtt_address"));
        if kind == "v3" {
            assert!(network.text("http_address").starts_with("https://"));
            listen.env("TTN_HTTP_ADDRESS", network.text("http_address"));
        }
        let mut listening = Program::start(listen);
        network.next("subscribed");
        network.ask("uplink pump-1 1 0102", "uplink");
        assert!(listening.line().contains("pump-1"));
        assert_eq!(listening.end(), 0);
        network.quits();
    }
    // What is there is replaced, and somebody else's certificate is not trusted.
    assert!(
        fs::read_to_string(&file).is_ok_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----"))
    );
}

#[test]
#[cfg(feature = "tls")]
fn a_certificate_that_cannot_be_written_is_an_error() {
    let mut command = ttn([
        "simulate",
        "--tls",
        "--mqtt",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
    ]);
    command.args(["--ca-out", "/nowhere/at/all/ca.pem"]);
    let (status, out, errors) = finish(command);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(errors.contains("/nowhere/at/all/ca.pem"), "{errors}");
}

#[test]
fn a_port_in_use_is_an_error_that_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for (mqtt, http) in [(address.as_str(), "127.0.0.1:0"), ("127.0.0.1:0", &address)] {
        let (status, out, errors) = finish(ttn(["simulate", "--mqtt", mqtt, "--http", http]));
        assert_eq!((status, out.as_str()), (1, ""), "{errors}");
        assert!(
            errors.contains(&format!("cannot listen on {address}")),
            "{errors}"
        );
        assert!(errors.contains("--mqtt and --http"), "{errors}");
    }
}

#[test]
fn wrong_arguments_are_errors_before_anything_starts() {
    for (arguments, part) in [
        (&["--mqtt", "nowhere"][..], "\"nowhere\" is not an address"),
        (&["--app", "My App"], "--app My App"),
        (&["--key", "secret"], "an id and a secret"),
        (&["--network", "v2", "--key", "secret"], "ttn-account-v2"),
        (&["--device", "Pump"], "--device Pump"),
        (&["--device", "pump-1", "--device", "pump-1"], "twice"),
        (&["--fault", "dance"], "no such fault"),
        (&["--fault", "connack=many"], "NUMBER|off"),
        (
            &["--network", "v2", "--http", "127.0.0.1:0"],
            "V2 has no HTTP",
        ),
        (
            &["--network", "v2", "--storage", "1h"],
            "--storage is for v3",
        ),
        (
            &["--network", "v2", "--fault", "downlink-queue=1"],
            "for v3 only",
        ),
        (&["--ca-out", "ca.pem"], "--tls"),
        (&["--every", "often"], "write it as 90s"),
    ] {
        let mut command = ttn(["simulate"]);
        let (status, out, errors) = finish({
            command.args(arguments);
            command
        });
        assert_eq!(status, 2, "{arguments:?}: {errors}");
        assert_eq!(out, "", "{arguments:?}");
        assert!(errors.contains(part), "{arguments:?}: {errors}");
        assert!(
            !errors.contains("\"secret\"") && !errors.contains("--key secret"),
            "{errors}"
        );
    }
}

#[test]
fn a_chosen_key_works_and_is_not_printed() {
    let network = Network::start(&["--app", "garden@ttn", "--key", "NNSXS.MY.SECRET"]);
    assert_eq!(network.started["access_key"], Value::Null);
    assert!(!network.started.to_string().contains("SECRET"));
    let client = MqttClient::builder("garden@ttn", "NNSXS.MY.SECRET")
        .mqtt_address(network.text("mqtt_address"));
    let client = client.build().expect("the options are valid");
    client.connect().expect("it connects");
    client.close().expect("it closes");
    network.quits();
}

#[test]
#[cfg(unix)]
fn a_signal_ends_it_cleanly() {
    for signal in ["INT", "TERM", "HUP"] {
        let mut network = Network::start(&[]);
        let (_client, _events) = network.client();
        network.next("subscribed");
        network.program.running.signal(signal);
        assert_eq!(network.program.end(), 0, "{signal}");
    }
}

#[test]
fn the_end_of_standard_input_ends_it_only_if_asked() {
    let mut network = Network::start(&["--until-eof"]);
    network.program.stdin = None;
    assert_eq!(network.program.end(), 0);

    let mut network = Network::start(&["--fault", "connect-timeout=10s"]);
    network.program.stdin = None;
    let (client, _events) = network.client();
    network.next("subscribed");
    client.close().expect("it closes");
    assert!(
        network
            .program
            .running
            .0
            .try_wait()
            .expect("it is our child")
            .is_none()
    );
}

#[test]
fn it_ends_when_nobody_can_read_it_any_more() {
    let mut command = ttn(["simulate", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let mut running = Running(child);
    // The first lines may have been written before.
    let stdin = running.0.stdin.as_mut().expect("piped");
    let _ = stdin.write_all(b"help\nhelp\n");
    assert_eq!(running.end(LIMIT).and_then(|status| status.code()), Some(0));
}

#[test]
fn a_network_whose_lines_nobody_reads_goes_on() {
    let mut command = ttn(["simulate", "--every", "0s", "--mqtt", "127.0.0.1:0"]);
    command.args(["--http", "127.0.0.1:0"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut stdin = child.stdin.take().expect("piped");
    let mut running = Running(child);
    let first = lines.next().expect("a line").expect("UTF-8");
    let address = first.split(' ').find(|word| word.starts_with("mqtt://"));
    // With 14 lines each, more than a pipe and the queue hold.
    stdin
        .write_all("help\n".repeat(1_000).as_bytes())
        .expect("it reads on");
    let client = MqttClient::builder("simulated-app@ttn", "NNSXS.SIMULATED.KEY")
        .mqtt_address(address.expect("an address"));
    let client = client.build().expect("the options are valid");
    client.connect().expect("it serves clients");
    client.close().expect("it closes");
    stdin.write_all(b"quit\n").expect("it reads on");
    let status = running.end(LIMIT).and_then(|status| status.code());
    assert_eq!(status, Some(0));
}

#[test]
fn a_recording_is_replayed_to_the_first_client_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run.jsonl");
    let up = r#"{\"end_device_ids\":{\"device_id\":\"beet-7\",\"application_ids\":{\"application_id\":\"garden\"}},\"uplink_message\":{\"f_port\":3,\"f_cnt\":COUNTER,\"frm_payload\":\"AQ==\"}}"#;
    let mut text = String::from("{\"recording\":1,\"network\":\"v3\"}\n");
    for (counter, second) in [("41", 0), ("43", 30)] {
        let up = up.replace("COUNTER", counter);
        text += &format!(
            "{{\"time\":\"2026-03-01T12:00:{second:02}.000000000Z\",\"topic\":\"v3/garden@ttn/devices/beet-7/up\",\"payload\":\"{up}\"}}\n"
        );
    }
    fs::write(&file, text).expect("it can be written");
    let mut network = Network::start(&["--from", file.to_str().expect("UTF-8"), "--speed", "100"]);
    assert_eq!(network.text("app_id"), "garden@ttn");
    let (client, events) = network.client();
    for counter in [41, 43] {
        let uplink = next_uplink(&events);
        assert_eq!(
            (uplink.dev_id.as_str(), uplink.counter),
            ("beet-7", counter)
        );
    }
    let replayed = network.next("replayed");
    assert_eq!(
        (&replayed["messages"], &replayed["unreadable"]),
        (&json!(2), &json!(0))
    );
    client.send("beet-7", [1]).expect("it is sent");
    network.next("published");
    let queue = network.ask("queue beet-7", "queue");
    assert_eq!(queue["downlinks"][0]["payload"], "01");
    client.close().expect("it closes");
    network.quits();
}

#[test]
fn what_is_not_a_recording_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("empty.jsonl");
    fs::write(&file, "").expect("it can be written");
    for (name, part) in [
        ("missing.jsonl", "missing.jsonl"),
        ("empty.jsonl", "no message"),
    ] {
        let path = folder.path().join(name);
        let mut command = ttn(["simulate", "--mqtt", "127.0.0.1:0", "--from"]);
        command.arg(path);
        let (status, out, errors) = finish(command);
        assert_ne!(status, 0);
        assert_eq!(out, "");
        assert!(errors.contains(part), "{errors}");
    }
}
