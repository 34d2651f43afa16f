//! Clients in other languages on `ttn simulate`: each receives an uplink, and a device receives its downlink.
//!
//! `.ci/setup test` installs them where it can. What is not there is skipped aloud, unless
//! `TTN_TEST_REQUIRE_FOREIGN_CLIENTS=1` makes that a failure.

use std::{
    env,
    ffi::OsStr,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use ttn::serde_json::{Value, json};

use super::simulate::Network;
use crate::program::{LIMIT, Program};

const REQUIRED: &str = "TTN_TEST_REQUIRE_FOREIGN_CLIENTS";
const UPLINKS: &str = "v3/simulated-app@ttn/devices/+/up";
const PUSH: &str = "v3/simulated-app@ttn/devices/pump-1/down/push";
const DOWNLINK: &str = r#"{"downlinks":[{"f_port":2,"frm_payload":"yv4="}]}"#;

/// Says that a client is not there; panics if it has to be.
fn skip(what: &str) {
    let is_required = env::var_os(REQUIRED).as_deref() == Some(OsStr::new("1"));
    assert!(!is_required, "{what}");
    let test = thread::current();
    let test = test.name().unwrap_or_default();
    // Not `eprintln!`: the test harness would swallow it.
    let _ = writeln!(
        io::stderr(),
        "SKIPPED {test}: {what} `.ci/setup test` installs it where it can. Set {REQUIRED}=1 to make this a failure."
    );
}

/// Returns the folder that `tests/foreign_clients/install` fills with these packages.
fn installed(name: &str) -> Option<PathBuf> {
    // target/debug/ttn, with a folder for the platform before debug if one is chosen.
    let folders = Path::new(env!("CARGO_BIN_EXE_ttn"))
        .ancestors()
        .skip(2)
        .take(2);
    let mut folders = folders.map(|folder| folder.join("foreign-clients").join(name));
    folders.find(|folder| folder.is_dir())
}

fn script(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.join("tests/foreign_clients").join(name)
}

/// Returns whether the command ends well.
fn works(command: &mut Command) -> bool {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Returns a command that runs Python with these packages, if they can be imported.
fn python(packages: &str, module: &str) -> Option<Command> {
    let packages = installed(packages)?.join("packages");
    let python = || {
        let mut command = Command::new("python3");
        command
            .env("PYTHONPATH", &packages)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    works(python().args(["-c", &format!("import {module}")])).then(python)
}

fn has_mosquitto_clients() -> bool {
    // They end with status 1 after their help.
    let mut names = ["mosquitto_sub", "mosquitto_pub"].into_iter();
    names.all(|name| {
        let mut command = Command::new(name);
        let command = command.arg("--help").stdout(Stdio::null());
        command.stderr(Stdio::null()).status().is_ok()
    })
}

/// Starts the network of that kind, and with TLS if there is a folder for its certificate.
fn network(kind: &str, folder: Option<&Path>) -> Network {
    let mut arguments = vec!["--device", "pump-1", "--network", kind];
    let file = folder.map(|folder| folder.join("ca.pem"));
    if let Some(file) = &file {
        arguments.extend(["--tls", "--ca-out", file.to_str().expect("UTF-8")]);
    }
    Network::start(&arguments)
}

/// Adds what a client needs to know about a network of v3.
fn settings<'a>(command: &'a mut Command, network: &Network) -> &'a mut Command {
    command
        .env("PORT", network.port().to_string())
        .env("USER_NAME", network.text("app_id"))
        .env("KEY", network.text("access_key"))
        .env(
            "CA_FILE",
            network.started["ca_file"].as_str().unwrap_or_default(),
        )
        .env("FILTER", UPLINKS)
        .env("TOPIC", PUSH)
        .env("MESSAGE", DOWNLINK)
}

/// Lets the device send to a client that has subscribed, and receive what the client answers.
#[track_caller]
fn converse(network: &mut Network, client: &mut Program, uplink: &[&str]) {
    network.next("subscribed");
    network.program.type_line("uplink pump-1 1 0107");
    let line = loop {
        let line = client.line();
        if line.starts_with("uplink ") {
            break line;
        }
    };
    for part in uplink {
        assert!(line.contains(part), "{part:?} is missing in: {line}");
    }
    receives(network, Value::Null);
    assert_eq!(client.end(), 0, "{:#?}", client.notes());
}

/// The device receives the downlink of the client, at that QoS if it matters.
#[track_caller]
fn receives(network: &mut Network, qos: Value) {
    let (mut published, mut received) = (None, None);
    // The device may still listen after its first uplink, and receive before the message is told.
    while published.is_none() || received.is_none() {
        let line = network.line();
        match line["event"].as_str() {
            Some("published") => {
                network.program.type_line("uplink pump-1 1 08");
                published = Some(line);
            }
            Some("received") => received = Some(line),
            _ => {}
        }
    }
    let (published, received) = (published.expect("seen"), received.expect("seen"));
    assert_eq!(published["accepted"], true, "{published}");
    assert!(qos.is_null() || published["qos"] == qos, "{published}");
    let found = (&received["device"], &received["port"], &received["payload"]);
    assert_eq!(found, (&json!("pump-1"), &json!(2), &json!("cafe")));
}

/// Runs a test without TLS, and with it.
fn plain_and_secured(test: impl Fn(Option<&Path>)) {
    test(None);
    if cfg!(feature = "tls") {
        let folder = tempfile::tempdir().expect("a folder");
        test(Some(folder.path()));
    }
}

#[test]
fn paho_for_python_receives_and_sends() {
    let Some(_) = python("paho", "paho.mqtt.client") else {
        return skip("paho-mqtt for Python is not installed.");
    };
    plain_and_secured(|folder| {
        let mut network = network("v3", folder);
        let mut command = python("paho", "paho.mqtt.client").expect("it was there");
        settings(command.arg(script("paho_client.py")), &network);
        let mut client = Program::start(command);
        let connected = network.next("connected");
        assert_eq!(connected["client_id"], "python-paho");
        converse(
            &mut network,
            &mut client,
            &["/devices/pump-1/up", r#""frm_payload":"AQc=""#],
        );
    });
}

#[test]
fn mqtt_for_node_receives_and_sends() {
    let modules = installed("node").map(|folder| folder.join("node_modules"));
    let node = || {
        let mut command = Command::new("node");
        command.env("NODE_PATH", modules.clone().unwrap_or_default());
        command
    };
    if modules.is_none() || !works(node().args(["-e", "require('mqtt')"])) {
        return skip("mqtt for Node is not installed.");
    }
    plain_and_secured(|folder| {
        let mut network = network("v3", folder);
        let mut command = node();
        settings(command.arg(script("node_client.js")), &network);
        let mut client = Program::start(command);
        assert_eq!(network.next("connected")["client_id"], "node-mqtt");
        converse(
            &mut network,
            &mut client,
            &["/devices/pump-1/up", r#""frm_payload":"AQc=""#],
        );
    });
}

#[test]
fn the_python_sdk_of_v2_receives_and_sends() {
    let Some(mut command) = python("sdk", "ttn") else {
        return skip("the Python SDK is not installed.");
    };
    let mut network = network("v2", None);
    settings(command.arg(script("sdk_client.py")), &network);
    let mut client = Program::start(command);
    converse(&mut network, &mut client, &["uplink pump-1 1 AQc="]);
}

#[test]
fn mosquitto_sub_and_pub_receive_and_send() {
    if !has_mosquitto_clients() {
        return skip("mosquitto_sub and mosquitto_pub are not installed.");
    }
    plain_and_secured(|folder| {
        let mut network = network("v3", folder);
        let command = |program: &str| {
            let mut command = Command::new(program);
            let port = network.port().to_string();
            command.args([
                "-p",
                &port,
                "-u",
                network.text("app_id"),
                "-P",
                network.text("access_key"),
            ]);
            match network.started["ca_file"].as_str() {
                Some(file) => command.args(["-h", "localhost", "--cafile", file]),
                None => command.args(["-h", "127.0.0.1"]),
            };
            command
        };
        let mut subscribe = command("mosquitto_sub");
        // The prefix is for all clients the same.
        subscribe.args(["-t", "#", "-F", "uplink %t %p", "-C", "1"]);
        let mut publish = command("mosquitto_pub");
        publish.args(["-t", PUSH, "-m", DOWNLINK, "-q", "1"]);

        let mut subscribed = Program::start(subscribe);
        network.next("subscribed");
        network.program.type_line("uplink pump-1 1 0107");
        let line = subscribed.line();
        assert!(
            line.starts_with("uplink v3/simulated-app@ttn/devices/pump-1/up {"),
            "{line}"
        );
        assert!(line.contains(r#""frm_payload":"AQc=""#), "{line}");
        assert_eq!(subscribed.end(), 0, "{:#?}", subscribed.notes());

        let mut published = Program::start(publish);
        receives(&mut network, json!(1));
        assert_eq!(published.end(), 0, "{:#?}", published.notes());
    });
}

/// The commands that are printed for people work as they are.
#[test]
#[cfg(unix)]
fn the_printed_commands_of_mosquitto_work() {
    use crate::program::ttn;
    if !has_mosquitto_clients() {
        return skip("mosquitto_sub and mosquitto_pub are not installed.");
    }
    for kind in ["v3", "v2"] {
        let mut command = ttn([
            "simulate",
            "--mqtt",
            "127.0.0.1:0",
            "--device",
            "pump-1",
            "--every",
            "0s",
        ]);
        command.args(["--network", kind]);
        if kind == "v3" {
            command.args(["--http", "127.0.0.1:0"]);
        }
        let mut network = Program::start(command);
        let next = |part: &str| loop {
            let line = network.line();
            if line.contains(part) {
                return line.trim().to_owned();
            }
        };
        let (subscribe, publish) = (next("mosquitto_sub"), next("mosquitto_pub"));
        let shell = |line: String| {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("exec {line}")]);
            Program::start(command)
        };
        let subscribed = shell(subscribe);
        next(" subscribed ");
        let mut published = shell(publish);
        next(" published ");
        assert_eq!(published.end(), 0, "{:#?}", published.notes());
        network.type_line("uplink pump-1 1 0107");
        let line = subscribed.stdout.recv_timeout(LIMIT).expect("a message");
        assert!(line.contains("pump-1"), "{line}");
        let line = loop {
            let line = network.line();
            if line.contains(" received ") {
                break line;
            }
        };
        assert!(line.contains("pump-1: 01 on FPort 1"), "{line}");
    }
}
