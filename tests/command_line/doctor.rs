//! `ttn doctor`

use ttn::{
    Network,
    serde_json::{self, Value},
    simulator::Simulator,
};

use crate::program::{finish, ttn_on};
use crate::support::{harness::NOWHERE, mosquitto::Mosquitto};

#[test]
fn a_healthy_connection_has_a_report_and_status_0() {
    let network = Simulator::start(Network::V3).expect("the simulated network starts");
    let (status, out, errors) = finish(ttn_on(&network, ["doctor"]));
    assert_eq!((status, errors.as_str()), (0, ""), "{out}");
    assert!(out.contains("\n      ok  MQTT"), "{out}");
    assert!(
        out.lines()
            .last()
            .is_some_and(|it| it.starts_with("verdict: ")),
        "{out}"
    );
    assert!(!out.contains('\u{1b}'), "{out}");
}

#[test]
fn what_is_wrong_is_named_and_the_status_is_1() {
    let network = Simulator::start(Network::V3).expect("the simulated network starts");
    let mut command = ttn_on(&network, ["doctor"]);
    command.env("TTN_MQTT_ADDRESS", NOWHERE);
    let (status, out, _) = finish(command);
    assert_eq!(status, 1, "{out}");
    assert!(out.contains("  FAILED  TCP: cannot reach"), "{out}");
    let key = "NNSXS.NOSUCHKEY.NOSUCHSECRET";
    let mut command = ttn_on(&network, ["doctor"]);
    command.env("TTN_ACCESS_KEY", key);
    let (status, out, errors) = finish(command);
    assert_eq!(status, 1, "{out}");
    assert!(out.contains("verdict: key: "), "{out}");
    assert!(
        !(out + &errors).contains("NOSUCHSECRET"),
        "the key is printed"
    );
}

#[test]
fn as_json_the_report_is_one_object() {
    let network = Simulator::start(Network::V3).expect("the simulated network starts");
    let (status, out, _) = finish(ttn_on(&network, ["doctor", "--json"]));
    assert_eq!((status, out.lines().count()), (0, 1), "{out}");
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert!(report["took"].is_number(), "{out}");
    assert_eq!(report["steps"][0]["name"], "options");
}

#[test]
fn it_looks_at_a_broker_of_ones_own() {
    let Some(broker) = Mosquitto::builder().user("worker", "oak and ash").start() else {
        return;
    };
    let network = Simulator::start(Network::V3).expect("the simulated network starts");
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let password = folder.path().join("password");
    std::fs::write(&password, "oak and ash\n").expect("room for a password");
    let address = broker.address().to_string();
    let file = password.to_str().expect("it is text");
    let arguments = [
        "doctor",
        "--broker",
        &address,
        "--broker-user",
        "worker",
        "--broker-password-file",
        file,
    ];
    let (status, out, errors) = finish(ttn_on(&network, arguments));
    assert_eq!(status, 0, "{out}{errors}");
    assert!(out.contains("      ok  MQTT"), "{out}");
    std::fs::write(&password, "elm\n").expect("room for a password");
    let (status, out, errors) = finish(ttn_on(&network, arguments));
    assert_eq!(status, 1, "{out}{errors}");
    assert!(out.contains("FAILED  MQTT"), "{out}");
}
