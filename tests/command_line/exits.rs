//! The exit statuses that all commands share, and errors in plain words.

use ttn::{Network, simulator::Simulator};

use crate::program::{finish, ttn, ttn_on};

/// Runs a command that is wrong, and returns what it says.
#[track_caller]
fn wrong<const N: usize>(arguments: [&str; N]) -> String {
    let (status, out, errors) = finish(ttn(arguments));
    assert_eq!((status, out.as_str()), (2, ""), "{errors}");
    errors
}

#[test]
fn an_unknown_command_is_wrong_usage() {
    assert!(wrong(["dance"]).contains("dance"));
}

#[test]
fn a_mistyped_command_is_told_what_it_may_be() {
    let told = wrong(["sned", "pump-1", "01"]);
    assert!(told.contains("'send'"), "{told}");
}

#[test]
fn without_a_command_the_help_is_an_error() {
    let told = wrong([]);
    assert!(told.contains("Commands:"), "{told}");
}

#[test]
fn the_version_is_that_of_the_crate() {
    let expected = format!("ttn {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(finish(ttn(["--version"])), (0, expected, String::new()));
}

#[test]
fn a_command_may_be_shortened() {
    let (status, out, _) = finish(ttn(["se", "--help"]));
    assert_eq!(status, 0);
    assert!(out.contains("ttn send"), "{out}");
}

#[test]
fn a_missing_application_says_how_to_set_it() {
    let told = wrong(["queue", "pump-1"]);
    assert!(
        told.starts_with("error: no application; set TTN_APP_ID, or use --app"),
        "{told}"
    );
    let mut command = ttn(["queue", "pump-1"]);
    command.env("TTN_APP_ID", "");
    assert_eq!(finish(command), (2, String::new(), told));
}

#[test]
fn a_missing_address_says_which_option_sets_it() {
    for (arguments, options) in [
        (
            ["listen", "--for", "1s"],
            ["--cluster eu1", "--address mqtts://…"],
        ),
        (
            ["backfill", "--from", "2h"],
            ["the network's HTTP API", "--http-address https://…"],
        ),
    ] {
        let mut command = ttn(arguments);
        command
            .env("TTN_APP_ID", "my-app@ttn")
            .env("TTN_ACCESS_KEY", "NNSXS.ID.SECRET");
        let (status, _, errors) = finish(command);
        assert_eq!(status, 2, "{errors}");
        for option in options {
            assert!(errors.contains(option), "{option}: {errors}");
        }
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn a_cluster_and_an_address_are_too_much() {
    let network = Simulator::start(Network::V3).expect("the simulated network starts");
    let (status, _, errors) = finish(ttn_on(&network, ["queue", "pump-1", "--cluster", "eu1"]));
    assert_eq!(status, 2);
    for part in ["--cluster", "TTN_CLUSTER", "--address", "TTN_MQTT_ADDRESS"] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    // A variable that is set to nothing is not set.
    network.device("pump-1").join();
    let mut command = ttn_on(&network, ["queue", "pump-1"]);
    command.env("TTN_CLUSTER", "").env("TTN_CA_FILE", "");
    let (status, _, errors) = finish(command);
    assert_eq!(status, 0, "{errors}");
}

#[test]
fn a_key_that_the_network_does_not_know_is_not_authorized() {
    for kind in [Network::V2, Network::V3] {
        let network = Simulator::start(kind).expect("the simulated network starts");
        let mut command = ttn_on(&network, ["send", "pump-1", "01"]);
        let wrong = match kind {
            Network::V2 => "ttn-account-v2.wrong",
            _ => "NNSXS.IT.IS-WRONG",
        };
        command.env("TTN_ACCESS_KEY", wrong);
        let (status, out, errors) = finish(command);
        assert_eq!((status, out.as_str()), (4, ""), "{kind:?}: {errors}");
    }
}

#[test]
fn a_wrong_setting_is_wrong_usage() {
    let network = Simulator::start(Network::V3).expect("the simulated network starts");
    for setting in [
        ["--app", "My App"],
        ["--address", "host:99999"],
        ["--network", "v4"],
        ["--proxy", "ftp://proxy"],
    ] {
        let mut command = ttn_on(&network, ["send", "pump-1", "01"]);
        command.args(setting);
        let (status, out, errors) = finish(command);
        assert_eq!((status, out.as_str()), (2, ""), "{setting:?}: {errors}");
        assert!(errors.starts_with("error: "), "{setting:?}: {errors}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_failure_and_not_a_closed_pipe() {
    use std::{fs::OpenOptions, process::Stdio};

    for arguments in [["completions", "bash"], ["send", "--help"]] {
        let full = OpenOptions::new().write(true).open("/dev/full");
        let mut command = ttn(arguments);
        let output = command
            .stdout(full.expect("Linux has it"))
            .stderr(Stdio::piped())
            .output()
            .expect("the tool starts");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("standard output"), "{errors}");
    }
}

#[test]
fn the_cause_of_an_error_is_told_once() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().to_str().expect("it is text");
    let mut command = ttn(["record", path]);
    command
        .env("TTN_APP_ID", "my-app@ttn")
        .env("TTN_CLUSTER", "eu1")
        .env("TTN_ACCESS_KEY", "NNSXS.ID.SECRET");
    let (status, _, errors) = finish(command);
    assert_eq!(status, 1, "{errors}");
    assert_eq!(errors.matches("os error").count(), 1, "{errors}");
}

#[cfg(unix)]
#[test]
fn the_completions_for_bash_are_right_and_complete_a_command() {
    use std::process::Command;

    let (status, script, errors) = finish(ttn(["completions", "bash"]));
    assert_eq!((status, errors.as_str()), (0, ""));
    let complete = r#"
        eval "$SCRIPT"
        COMP_WORDS=(ttn "$WORD") COMP_CWORD=1
        _ttn ttn "$WORD" ttn
        echo "${COMPREPLY[@]}"
    "#;
    for (word, expected) in [("se", "send\n"), ("rec", "record\n"), ("x", "\n")] {
        let mut command = Command::new("bash");
        command
            .args(["--norc", "-c", complete])
            .env("SCRIPT", &script)
            .env("WORD", word);
        assert_eq!(finish(command), (0, expected.to_owned(), String::new()));
    }
    let mut check = Command::new("bash");
    check.args(["-n", "-c", &script]);
    assert_eq!(finish(check), (0, String::new(), String::new()));
}

#[test]
fn there_are_completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (status, script, errors) = finish(ttn(["completions", shell]));
        assert_eq!((status, errors.as_str()), (0, ""), "{shell}");
        for part in ["send", "completions", "confirmed", "key-file"] {
            assert!(script.contains(part), "{shell}: {part}");
        }
    }
    let told = wrong(["completions", "tcsh"]);
    assert!(told.contains("zsh"), "{told}");
}
