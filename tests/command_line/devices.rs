//! `ttn devices`

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, SystemTime},
};

use ttn::{
    Network,
    serde_json::{self, Value},
    simulator::{HttpFault, Simulator, Storage, Uplink},
};

use crate::program::{LIMIT, Program, code, finish, ttn, ttn_on};
use crate::support::{child::Running, harness::NOWHERE, resources::wait_until};

const MINUTE: Duration = Duration::from_secs(60);

fn network() -> Simulator {
    Simulator::start(Network::V3).expect("the simulated network starts")
}

/// A network that has kept the uplinks of two devices, one every 10 minutes; one of them has stopped an hour ago.
fn network_with_storage() -> Simulator {
    let network = Simulator::builder(Network::V3)
        .fixed_time(SystemTime::now() - 180 * MINUTE)
        .start()
        .expect("the simulated network starts");
    network.storage(Some(Storage::new()));
    for number in 0..18 {
        network.device("bed-07").uplink(1, [1]);
        if number < 12 {
            let loud = Uplink::new(1, [1]).data_rate("SF12BW125");
            network.device("pump-1").send(loud);
        }
        network.advance_clock(10 * MINUTE);
    }
    network
}

#[track_caller]
fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

#[test]
fn since_shows_what_was_sent_before_and_json_is_what_the_library_writes() {
    let network = network_with_storage();
    let (status, out, errors) = finish(ttn_on(
        &network,
        ["devices", "--since", "4h", "--json", "--sort", "last"],
    ));
    assert_eq!(status, 0, "{errors}");
    let devices: Vec<_> = out.lines().map(json).collect();
    let [pump, bed] = &devices[..] else {
        panic!("{out}")
    };
    assert_eq!(
        (&pump["dev_id"], &bed["dev_id"]),
        (&"pump-1".into(), &"bed-07".into())
    );
    assert_eq!(
        (&pump["counter"], &bed["counter"]),
        (&11.into(), &17.into())
    );
    assert_eq!(bed["usual_interval"], 600.0);
    assert!(pump["heard_ago"].as_f64().expect("a number") > 3_600.0);
    assert!(
        out.starts_with(r#"{"dev_id":"pump-1","hardware_serial":""#),
        "{out}"
    );
    assert!(bed["gateway"].is_string() && bed["frames"]["missing_upstream"] == 0);
}

#[test]
fn the_table_is_printed_once_without_a_terminal() {
    let network = network_with_storage();
    let (status, out, errors) = finish(ttn_on(
        &network,
        [
            "devices", "--since", "4h", "--device", "bed-*", "--device", "none",
        ],
    ));
    assert_eq!(status, 0, "{errors}");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert!(lines[0].starts_with("DEVICE  STATE"), "{out}");
    assert!(lines[1].starts_with("bed-07  "), "{out}");
    assert!(!out.contains('\u{1b}'), "{out}");
}

#[test]
fn it_listens_for_the_time_that_it_was_told() {
    for version in [Network::V3, Network::V2] {
        let network = Simulator::start(version).expect("the simulated network starts");
        let program = Program::start(ttn_on(&network, ["devices", "--json", "--for", "12s"]));
        program.note("connected to");
        network.device("bed-07").uplink(1, [1]);
        network
            .device("bed-07")
            .send(Uplink::new(1, [1]).counter(5));
        let device = json(&program.line());
        assert_eq!(
            (&device["counter"], &device["frames"]["missing_upstream"]),
            (&5.into(), &4.into())
        );
        assert!(program.stdout.recv_timeout(LIMIT).is_err());
    }
}

#[test]
#[cfg(unix)]
fn a_signal_ends_it_with_what_was_heard_so_far() {
    let network = network();
    let mut program = Program::start(ttn_on(&network, ["devices", "--for", "1h"]));
    program.note("connected to");
    program.running.signal("INT");
    assert!(program.line().starts_with("DEVICE"));
    assert_eq!(program.end(), 0);
}

#[test]
#[cfg(unix)]
fn a_signal_before_the_end_of_the_backfill_has_a_status_of_its_own() {
    let network = network_with_storage();
    network.http_fault_on("uplink_message", Some(HttpFault::Silent));
    let mut program = Program::start(ttn_on(&network, ["devices", "--since", "4h"]));
    let is_asked = || {
        let requests = network.http_requests();
        requests.iter().any(|it| it.path.contains("uplink_message"))
    };
    assert!(wait_until(LIMIT, is_asked));
    program.running.signal("TERM");
    assert!(program.line().starts_with("DEVICE"));
    assert_eq!(program.end(), 8);
}

#[test]
fn what_could_not_be_fetched_is_told() {
    // Nothing is kept.
    let network = network();
    let (status, _, errors) = finish(ttn_on(&network, ["devices", "--since", "2h"]));
    assert_eq!(status, 0, "{errors}");
    assert!(
        errors.contains("not covered") && errors.contains("Storage Integration"),
        "{errors}"
    );
}

#[test]
fn a_time_in_the_future_is_refused_before_the_network_is_needed() {
    let since = ["devices", "--since", "9000-01-01T00:00:00Z"];
    let (status, _, errors) = finish(ttn(since));
    assert_eq!(status, 2, "{errors}");
    assert!(errors.contains("future"), "{errors}");
}

#[test]
#[cfg(unix)]
fn a_signal_ends_it_although_nobody_reads_the_devices() {
    let network = network_with_storage();
    // More than a pipe holds.
    for number in 0..400 {
        network.device(&format!("meter-{number}")).uplink(1, [1]);
    }
    let arguments = ["devices", "--since", "4h", "--json"];
    let mut child = ttn_on(&network, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped")).lines();
    let stderr = Running::lines(child.stderr.take().expect("piped"));
    let mut running = Running(child);
    // The backfill is over.
    assert!(json(&out.next().expect("a line").expect("text"))["dev_id"].is_string());
    running.signal("TERM");
    assert_eq!(running.end(LIMIT).map(code), Some(8));
    let last = stderr.iter().last().unwrap_or_default();
    assert!(last.contains("standard output takes nothing"), "{last}");
}

/// Returns `ttn devices` on a terminal, by util-linux's `script`, if it is there.
#[cfg(target_os = "linux")]
fn on_terminal(network: &Simulator, kind: &str, time: &str) -> Option<std::process::Command> {
    use std::process::Command;

    if Command::new("script").arg("--version").output().is_err() {
        println!("SKIPPED: there is no script");
        return None;
    }
    let tool = ttn_on(network, ["devices"]);
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--flush", "--command"])
        .arg(format!(
            "stty cols 100 rows 20; exec {} devices --for {time}",
            env!("CARGO_BIN_EXE_ttn")
        ))
        .arg("/dev/null")
        .envs(
            tool.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("TERM", kind)
        .stdin(Stdio::null());
    Some(command)
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_that_cannot_move_its_cursor_gets_the_table_once() {
    let network = network();
    let Some(command) = on_terminal(&network, "dumb", "1s") else {
        return;
    };
    let (status, out, errors) = finish(command);
    assert_eq!(status, 0, "{out}{errors}");
    assert_eq!(out.matches("DEVICE").count(), 1, "{out:?}");
    assert!(!out.contains('\u{1b}'), "{out:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn on_a_terminal_the_table_renews_itself_and_the_cursor_comes_back() {
    let network = network();
    let Some(command) = on_terminal(&network, "xterm", "8s") else {
        return;
    };
    let mut program = Program::start(command);
    assert!(network.wait_for_subscriptions(1, LIMIT));
    network.device("bed-07").uplink(1, [1]);
    let mut seen = String::new();
    let mut tables = 0;
    while let Ok(line) = program.stdout.recv_timeout(LIMIT) {
        tables += usize::from(line.contains("DEVICE"));
        seen += &line;
    }
    assert_eq!(program.end(), 0, "{seen:?}");
    assert!(tables >= 2, "{seen:?}");
    assert!(
        seen.contains("connected to") && seen.contains("1 device"),
        "{seen:?}"
    );
    assert!(seen.contains("bed-07"), "{seen:?}");
    let (hidden, shown) = (seen.rfind("\u{1b}[?25l"), seen.rfind("\u{1b}[?25h"));
    assert!(hidden.is_some() && hidden < shown, "{seen:?}");
}

#[test]
fn no_device_is_said_and_no_error() {
    let network = network();
    let (status, out, errors) = finish(ttn_on(&network, ["devices", "--for", "1s"]));
    assert_eq!((status, out.lines().count()), (0, 1), "{out}{errors}");
    assert!(errors.contains("no device was heard"), "{errors}");
}

#[test]
fn what_goes_wrong_has_the_status_of_its_kind() {
    let network = network();
    let mut command = ttn_on(&network, ["devices"]);
    command.env("TTN_MQTT_ADDRESS", NOWHERE);
    let (status, out, errors) = finish(command);
    assert_eq!((status, out.as_str()), (3, ""), "{errors}");
    let mut command = ttn_on(&network, ["devices"]);
    command.env("TTN_ACCESS_KEY", "NNSXS.WRONG.KEY");
    let (status, out, errors) = finish(command);
    assert_eq!((status, out.as_str()), (4, ""), "{errors}");
    let (status, _, errors) = finish(ttn_on(&network, ["devices", "--silent-after", "1"]));
    assert_eq!(status, 2, "{errors}");
    let v2 = Simulator::start(Network::V2).expect("the simulated network starts");
    let (status, _, errors) = finish(ttn_on(&v2, ["devices", "--since", "1h"]));
    assert_eq!(status, 2, "{errors}");
    assert!(errors.contains("V2"), "{errors}");
}
