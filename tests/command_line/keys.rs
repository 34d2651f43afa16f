//! Where the access key comes from, and that it is never printed.

use std::{fs, path::PathBuf, process::Command};

use tempfile::TempDir;
use ttn::{
    Network,
    simulator::{Rights, Simulator},
};

use crate::program::{finish, ttn, ttn_on};

const KEY: &str = "NNSXS.ID.kEepTh1sToY0urself";
/// The part that is left if the beginning is cut off.
const SECRET: &str = "kEepTh1s";

const QUEUE: [&str; 2] = ["queue", "pump-1"];

/// A network with the key and a device.
fn start() -> Simulator {
    let network = Simulator::start(Network::V3).expect("the simulated network starts");
    network.add_key(network.app_id(), KEY, Rights::ALL);
    network.device("pump-1").join();
    network
}

/// A command without a key.
fn keyless<const N: usize>(network: &Simulator, arguments: [&str; N]) -> Command {
    let mut command = ttn_on(network, arguments);
    command.env_remove("TTN_ACCESS_KEY");
    command
}

/// Writes a file that only its owner can read.
fn file(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let file = folder.path().join(name);
    fs::write(&file, content).expect("it is ours");
    #[cfg(unix)]
    permit(&file, 0o600);
    file
}

#[cfg(unix)]
fn permit(file: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for temporary files")
}

#[test]
fn the_key_can_come_from_a_file_with_a_line_end() {
    let (network, folder) = (start(), folder());
    for content in [format!("{KEY}\n"), format!("{KEY}\r\n"), KEY.to_owned()] {
        let mut command = keyless(&network, QUEUE);
        command.arg("--key-file").arg(file(&folder, "key", content));
        assert_eq!(
            finish(command),
            (
                0,
                String::new(),
                "the queue of pump-1 is empty\n".to_owned()
            )
        );
    }
}

#[test]
fn the_key_file_counts_before_the_variable() {
    let (network, folder) = (start(), folder());
    let mut command = keyless(&network, QUEUE);
    command.env("TTN_ACCESS_KEY", "NNSXS.IT.IS-WRONG");
    let (status, ..) = finish(command);
    assert_eq!(status, 4);
    let mut command = keyless(&network, QUEUE);
    command.env("TTN_ACCESS_KEY", "NNSXS.IT.IS-WRONG");
    command.arg("--key-file").arg(file(&folder, "key", KEY));
    let (status, _, errors) = finish(command);
    assert_eq!(status, 0, "{errors}");
}

#[test]
fn a_service_has_its_key_from_the_credentials_of_systemd() {
    let (network, folder) = (start(), folder());
    file(&folder, "ttn-access-key", KEY);
    let mut command = keyless(&network, QUEUE);
    command.env("CREDENTIALS_DIRECTORY", folder.path());
    let (status, _, errors) = finish(command);
    assert_eq!(status, 0, "{errors}");
}

#[test]
fn a_key_file_that_holds_no_key_is_a_clear_error() {
    let (network, folder) = (start(), folder());
    let cases = [
        (file(&folder, "empty", ""), "is empty"),
        (file(&folder, "blank", " \n\t\n"), "is empty"),
        (
            file(&folder, "two", format!("{KEY}\n{KEY}\n")),
            "more than one word",
        ),
        (file(&folder, "large", vec![b'a'; 20_000]), "too large"),
        (file(&folder, "binary", [0xff, 0xfe]), "UTF-8"),
        (folder.path().join("missing"), "missing"),
        (folder.path().to_owned(), "key file"),
    ];
    for (path, part) in cases {
        let mut command = keyless(&network, QUEUE);
        command.arg("--key-file").arg(&path);
        let (status, out, errors) = finish(command);
        assert_eq!((status, out.as_str()), (2, ""), "{errors}");
        assert!(errors.contains(part), "{part}: {errors}");
        assert!(!errors.contains(SECRET), "{errors}");
    }
    for blank in ["", " \n"] {
        let mut command = keyless(&network, QUEUE);
        command.env("TTN_ACCESS_KEY", blank);
        let (status, _, errors) = finish(command);
        assert_eq!(status, 2, "{errors}");
        assert!(errors.contains("TTN_ACCESS_KEY is empty"), "{errors}");
    }
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_can_read_is_warned_of() {
    let (network, folder) = (start(), folder());
    for (mode, warns) in [(0o600, false), (0o640, false), (0o644, true)] {
        let path = file(&folder, "key", KEY);
        permit(&path, mode);
        let mut command = keyless(&network, QUEUE);
        command.arg("--key-file").arg(path);
        let (status, _, errors) = finish(command);
        assert_eq!(status, 0, "{errors}");
        assert_eq!(
            errors.contains("other users can read"),
            warns,
            "{mode:o}: {errors}"
        );
    }
}

#[cfg(unix)]
#[test]
fn the_key_can_come_from_a_pipe() {
    let network = start();
    let mut command = Command::new("bash");
    command
        .args([
            "-c",
            "\"$TTN\" queue pump-1 --key-file <(printf '%s\\n' \"$KEY\")",
        ])
        .env("TTN", env!("CARGO_BIN_EXE_ttn"))
        .env("KEY", KEY)
        .env("TTN_APP_ID", network.app_id())
        .env("TTN_MQTT_ADDRESS", network.mqtt_address())
        .env("TTN_HTTP_ADDRESS", network.http_address());
    let (status, _, errors) = finish(command);
    assert_eq!(
        (status, errors.as_str()),
        (0, "the queue of pump-1 is empty\n")
    );
}

#[test]
fn a_missing_key_says_where_it_is_looked_for() {
    let (status, out, errors) = finish(keyless(&start(), QUEUE));
    assert_eq!((status, out.as_str()), (2, ""));
    assert_eq!(
        errors,
        "error: no access key; set TTN_ACCESS_KEY, or use --key-file\n"
    );
}

/// Runs a command at the highest verbosity, and checks that nothing of the key is printed.
#[track_caller]
fn is_clean(mut command: Command) -> i32 {
    command.args(["-v", "-v"]);
    let (status, out, errors) = finish(command);
    let text = out + &errors;
    assert!(!text.contains(SECRET), "the key is printed:\n{text}");
    status
}

#[test]
fn the_key_is_never_printed_whatever_is_right_or_wrong() {
    let (network, folder) = (start(), folder());
    let path = file(&folder, "key", KEY);
    let path = path.to_str().expect("a temporary folder has a plain name");
    let right: [&[&str]; 5] = [
        &["send", "pump-1", "01"],
        &["send", "pump-1", "01", "--over-http", "--json-output"],
        &["queue", "pump-1"],
        &["queue", "pump-1", "--json"],
        &["clear", "pump-1"],
    ];
    let wrong: [&[&str]; 12] = [
        // The key where it does not belong.
        &["send", KEY, "01"],
        &["send", "pump-1", KEY],
        &["send", "pump-1", KEY, "--base64"],
        &["send", "pump-1", "--follow", KEY],
        &["queue", KEY],
        &["clear", KEY],
        &[KEY],
        &["queue", "pump-1", KEY],
        &["queue", "pump-1", "--app", KEY],
        &["queue", "pump-1", "--cluster", KEY],
        &["queue", "pump-1", "--proxy", KEY],
        &["queue", "pump-1", "--network", KEY],
    ];
    let ways: [&[&str]; 3] = [&["--key", KEY], &["--key-file", path], &[]];
    for way in ways {
        let run = |arguments: &[&str]| {
            let mut command = keyless(&network, []);
            if way.is_empty() {
                command.env("TTN_ACCESS_KEY", KEY);
            }
            command.args(arguments).args(way);
            is_clean(command)
        };
        for arguments in right {
            assert_eq!(run(arguments), 0, "{arguments:?} {way:?}");
        }
        for arguments in wrong {
            assert_eq!(run(arguments), 2, "{arguments:?} {way:?}");
        }
    }
    // A key that the network does not know, or not any more.
    network.remove_key(network.app_id(), KEY);
    for arguments in right {
        let mut command = ttn_on(&network, []);
        command.env("TTN_ACCESS_KEY", KEY).args(arguments);
        assert_eq!(is_clean(command), 4, "{arguments:?}");
    }
    network.stop();
    for arguments in right {
        let mut command = ttn_on(&network, []);
        command.env("TTN_ACCESS_KEY", KEY).args(arguments);
        assert_eq!(is_clean(command), 3, "{arguments:?}");
    }
}

#[test]
fn no_command_prints_the_key_or_writes_it_to_a_file() {
    let (network, folder) = (start(), folder());
    let recording = folder.path().join("recording.jsonl");
    let recording = recording
        .to_str()
        .expect("a temporary folder has a plain name");
    let run = |arguments: &[&str]| {
        let mut command = ttn_on(&network, []);
        command.env("TTN_ACCESS_KEY", KEY).args(arguments);
        is_clean(command)
    };
    let commands: [&[&str]; 6] = [
        &["listen", "--for", "1s", "--json", "--kind", "all"],
        &["record", recording, "--for", "1s"],
        &["devices", "--json", "--for", "1s"],
        &["backfill", "--from", "1h"],
        &["doctor"],
        &["doctor", "--json"],
    ];
    for arguments in commands {
        run(arguments);
    }
    let recorded = fs::read_to_string(recording).unwrap_or_default();
    assert!(!recorded.contains(SECRET), "{recorded}");
    for arguments in [
        ["listen", "--device", KEY, "--for", "1s"],
        ["listen", "--kind", KEY, "--for", "1s"],
        ["backfill", "--from", KEY, "--to", "1h"],
        ["feed", "--watermark", "/nonexistent/x", "--broker", KEY],
        ["replay", KEY, "--speed", "1", "--json"],
        ["completions", KEY, "-v", "-v", "-v"],
    ] {
        run(&arguments);
    }
    network.remove_key(network.app_id(), KEY);
    for arguments in &commands[1..] {
        run(arguments);
    }
}

#[test]
fn a_key_of_another_form_is_not_repeated_in_a_complaint_about_the_arguments() {
    let secret = "kEepTh1sToY0urself";
    let key = format!("--key={secret}");
    for arguments in [
        ["queue", "pump-1", "--key", secret, secret],
        ["queue", "pump-1", "--app=my-app", &key, secret],
        ["queue", secret, "--app=my-app", "--network=v2", &key],
    ] {
        assert_eq!(is_clean(ttn(arguments)), 2, "{arguments:?}");
    }
}

#[test]
fn a_key_on_the_command_line_is_warned_of_and_not_repeated() {
    let network = start();
    let (status, out, errors) = finish(keyless(&network, ["queue", "pump-1", "--key", KEY]));
    assert_eq!(status, 0, "{errors}");
    assert!(errors.contains("process list"), "{errors}");
    assert!(!(out + &errors).contains(SECRET), "the key is printed");
}
