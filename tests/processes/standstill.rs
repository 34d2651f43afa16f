//! Programs that stand still for a while.

#![cfg(target_os = "linux")]

use std::{
    env,
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ttn::{Event, MqttClient};

use crate::support::{
    child::{Running, full_name},
    harness::{Harness, SOON},
    resources::pause,
    watchdog::watchdog,
};

/// The variables that tell [`a_program_that_prints_how_long_it_was_away`] its server and credentials.
const SERVER: [&str; 3] = ["TTN_TEST_ADDRESS", "TTN_TEST_APP", "TTN_TEST_KEY"];

const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// How long the program stays stopped after its server has given it up.
const STOP: Duration = Duration::from_secs(2);

#[test]
fn a_program_that_prints_how_long_it_was_away() {
    let [Ok(address), Ok(app_id), Ok(key)] = SERVER.map(env::var) else {
        return;
    };
    let client = MqttClient::builder(app_id, key)
        .mqtt_address(address)
        .keep_alive(KEEP_ALIVE)
        .reconnect_delay(Duration::from_millis(1), Duration::from_millis(2))
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    for event in &events {
        match event {
            Event::Connected(connected) => match connected.gap {
                None => println!("\nCONNECTED"),
                Some(gap) => {
                    let (length, silence) = (gap.length.as_millis(), gap.silence.as_millis());
                    println!("\nAWAY {length} {silence}");
                }
            },
            Event::Uplink(uplink) => println!("\nUPLINK {}", uplink.counter),
            _ => {}
        }
    }
}

#[test]
fn a_program_that_was_stopped_says_for_how_long_it_was_away() {
    let _watchdog = watchdog(Duration::from_secs(60));
    Harness::each_simulator(|harness| {
        let network = harness.simulated();
        let server = [
            &network.mqtt_address(),
            network.app_id(),
            network.access_key(),
        ];
        let mut program = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg(full_name(
                module_path!(),
                "a_program_that_prints_how_long_it_was_away",
            ))
            .envs(SERVER.into_iter().zip(server))
            .stdout(Stdio::piped())
            .spawn()
            .map(Running)
            .unwrap();
        let output: Box<dyn Read> = Box::new(program.0.stdout.take().unwrap());
        let mut lines = BufReader::new(output).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "CONNECTED"));
        program.signal("STOP");
        let stopped = Instant::now();
        // It finds this when it goes on, and does not know how old it is.
        network.device("bed-07").uplink(1, [1]);
        assert!(network.wait_for_clients(0, SOON));
        pause(STOP);
        let least = stopped.elapsed();
        program.signal("CONT");
        assert!(lines.any(|line| line == "UPLINK 0"));
        let away = lines.find_map(|line| {
            let times = line.strip_prefix("AWAY ")?.split(' ');
            Some(times.map(|time| time.parse::<u64>().unwrap()).sum())
        });
        let away = Duration::from_millis(away.expect("it reconnects"));
        // It was last heard of up to a second before it was stopped.
        let most = stopped.elapsed() + KEEP_ALIVE + SOON;
        assert!(away > least && away < most, "{away:?}, not {least:?}");
    });
}
