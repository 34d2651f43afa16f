//! Programs that are killed while they handle uplinks from a broker of their own.

#![cfg(target_os = "linux")]

use std::{
    collections::BTreeMap,
    env,
    io::{self, BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use ttn::{Acknowledge, MqttClient, Session};

use crate::support::{
    child::{Running, full_name},
    mosquitto::Mosquitto,
    peer::MqttPeer,
    watchdog::watchdog,
};

/// The variables that tell [`a_program_that_prints_what_it_has_handled`] its broker and when to acknowledge.
const BROKER: &str = "TTN_TEST_BROKER";
const MODE: &str = "TTN_TEST_ACKNOWLEDGE";

const UPLINKS: u32 = 400;
const CAPACITY: usize = 16;

/// How many messages Mosquitto delivers before it waits for acknowledgements.
const WINDOW: usize = 20;

#[test]
fn a_program_that_prints_what_it_has_handled() {
    let [Ok(broker), Ok(mode)] = [BROKER, MODE].map(env::var) else {
        return;
    };
    let acknowledge = match mode.as_str() {
        "handled" => Acknowledge::Handled,
        _ => Acknowledge::Received,
    };
    let client = MqttClient::own_broker("greenhouse@ttn")
        .mqtt_address(broker)
        .session(Session::persistent("worker-1"))
        .acknowledge(acknowledge)
        .receive_capacity(CAPACITY, 1 << 20)
        .build()
        .unwrap();
    client.set_uplink_callback(|uplink, _| {
        // The work.
        thread::sleep(Duration::from_millis(2));
        println!("\nHANDLED {}", uplink.counter);
        io::stdout().flush().unwrap();
    });
    client.connect().unwrap();
    println!("\nCONNECTED");
    client.wait();
}

/// Starts the program. Returns it with the lines that it prints.
fn start(broker: &Mosquitto, mode: &str) -> (Running, impl Iterator<Item = String>) {
    let mut program = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg(full_name(
            module_path!(),
            "a_program_that_prints_what_it_has_handled",
        ))
        .env(BROKER, broker.address().to_string())
        .env(MODE, mode)
        .stdout(Stdio::piped())
        .spawn()
        .map(Running)
        .unwrap();
    let output: Box<dyn Read> = Box::new(program.0.stdout.take().unwrap());
    let lines = BufReader::new(output).lines().map_while(Result::ok);
    (program, lines)
}

fn counter(line: &str) -> Option<u32> {
    line.strip_prefix("HANDLED ")?.parse().ok()
}

/// Publishes uplinks, kills the program while it handles them, and starts it again. Returns how often each uplink
/// was handled.
fn handled(mode: &str) -> Option<BTreeMap<u32, usize>> {
    let broker = Mosquitto::builder().start()?;
    let mut peer = MqttPeer::connect(broker.address(), "", "").unwrap();
    let (mut program, mut lines) = start(&broker, mode);
    assert!(lines.any(|line| line == "CONNECTED"));
    for counter in 1..=UPLINKS {
        let uplink = format!(
            r#"{{"end_device_ids":{{"device_id":"bed-07","application_ids":{{"application_id":"greenhouse"}}}},
            "uplink_message":{{"f_port":1,"f_cnt":{counter},"frm_payload":"AQ=="}}}}"#
        );
        peer.publish_at_least_once("v3/greenhouse@ttn/devices/bed-07/up", uplink)
            .unwrap();
    }
    let mut times = BTreeMap::new();
    let mut count = |counter: u32| *times.entry(counter).or_default() += 1;
    let mut first = lines.by_ref().filter_map(|line| counter(&line));
    first.by_ref().take(100).for_each(&mut count);
    program.0.kill().unwrap();
    program.0.wait().unwrap();
    // What it has handled before it was killed.
    first.for_each(&mut count);
    let (program, lines) = start(&broker, mode);
    for counter in lines.filter_map(|line| counter(&line)) {
        count(counter);
        if counter == UPLINKS {
            break;
        }
    }
    drop(program);
    Some(times)
}

#[test]
fn a_program_that_is_killed_loses_nothing_that_it_has_not_handled() {
    let _watchdog = watchdog(Duration::from_secs(120));
    let Some(times) = handled("handled") else {
        return;
    };
    let lost = (1..=UPLINKS).filter(|counter| !times.contains_key(counter));
    assert_eq!(lost.count(), 0);
    let again = times.values().filter(|times| **times > 1).count();
    assert!(again <= WINDOW, "{again} were handled again");
}

#[test]
fn a_program_that_is_killed_loses_no_more_than_its_capacity_of_what_it_has_received() {
    let _watchdog = watchdog(Duration::from_secs(120));
    let Some(times) = handled("received") else {
        return;
    };
    let lost = (1..=UPLINKS).filter(|counter| !times.contains_key(counter));
    let lost = lost.count();
    assert!(lost <= CAPACITY + 1, "{lost} are lost");
}
