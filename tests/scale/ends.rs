//! Nothing outlives these tests.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    support::{
        child::full_name,
        harness::SOON,
        mosquitto::Mosquitto,
        nats::NatsCluster,
        resources::{pause, wait_until},
    },
    turn,
};

const PART: &str = "TTN_TEST_PART";
const MARK: &str = "processes:";

/// Returns whether a process runs; one that has ended may have an entry until somebody asks for its status.
fn runs(process: u32) -> bool {
    let entry = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = entry
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !"ZX".contains(state))
}

#[test]
fn a_program_with_brokers() {
    if env::var_os(PART).is_none() {
        return;
    }
    let mosquitto = Mosquitto::builder().persistent().start();
    let cluster = NatsCluster::start(Duration::from_secs(30));
    let mut processes = cluster.as_ref().map_or(Vec::new(), NatsCluster::processes);
    processes.extend(mosquitto.as_ref().and_then(Mosquitto::process));
    let _ = writeln!(io::stdout(), "{MARK}{processes:?}");
    pause(Duration::MAX);
}

#[test]
fn brokers_end_with_a_test_that_is_killed() {
    let _turn = turn();
    let mut program = Command::new(env::current_exe().expect("a test knows its program"))
        .args([
            "--exact",
            &full_name(module_path!(), "a_program_with_brokers"),
        ])
        .arg("--nocapture")
        .env(PART, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let output = BufReader::new(program.stdout.take().expect("piped"));
    let line = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once(MARK)?.1.to_owned()));
    let _ = program.kill();
    let _ = program.wait();
    let processes: Vec<u32> =
        serde_json::from_str(&line.expect("it starts brokers")).expect("a list of numbers");
    assert!(
        processes.iter().all(|process| *process > 1),
        "{processes:?}"
    );
    for process in processes {
        assert!(
            wait_until(SOON, || !runs(process)),
            "process {process} still runs"
        );
    }
}
