//! The end of a process that used a client.
#![cfg(unix)]

use std::{
    env, process,
    time::{Duration, Instant},
};

use crate::support::{child::run_alone, watchdog::watchdog};
use ttn::{ErrorKind, MqttClient, Network, simulator::Simulator};

const ROUNDS: usize = 300;

/// The variable that sets how many microseconds the process waits before it ends.
const DELAY: &str = "TTN_TEST_DELAY";

/// The variable that sets how the process ends; the other test runs this test in such a process.
const ENDING: &str = "TTN_TEST_ENDING";

#[test]
fn a_process_that_ends_as_its_client_does() {
    let Ok(ending) = env::var(ENDING) else { return };
    let network = Simulator::start(Network::V3).unwrap();
    let access_key = match ending.as_str() {
        "refused" => "NNSXS.OTHER.KEY",
        _ => network.access_key(),
    };
    let client = MqttClient::builder(network.app_id(), access_key)
        .mqtt_address(network.mqtt_address())
        .build()
        .unwrap();
    match ending.as_str() {
        "refused" => assert_eq!(
            client.connect().unwrap_err().kind(),
            ErrorKind::NotAuthorized
        ),
        _ => client.connect().and_then(|()| client.close()).unwrap(),
    }
    // The client's threads are about to end, because its last handle is gone.
    drop(client);
    let dropped = Instant::now();
    let delay = env::var(DELAY).unwrap().parse().unwrap();
    while dropped.elapsed() < Duration::from_micros(delay) {}
    process::exit(0);
}

#[test]
fn a_process_may_end_while_the_threads_of_its_client_end() {
    let _watchdog = watchdog(Duration::from_secs(120));
    for round in 0..ROUNDS {
        let delay = (round % 10 * 10).to_string();
        for ending in ["closed", "refused"] {
            let variables = [(ENDING, ending.as_ref()), (DELAY, delay.as_ref())];
            run_alone(
                module_path!(),
                "a_process_that_ends_as_its_client_does",
                &variables,
            );
        }
    }
}
