//! Finds out why a client does not work. Without arguments it looks at the simulated network, first with a
//! good key, then with one that may not read traffic. On a real network it takes the application id and
//! the server, and reads the key from the environment, so that it is not in the list of processes.
//!
//! ```text
//! cargo run --example doctor
//! TTN_ACCESS_KEY=NNSXS... cargo run --example doctor -- my-app@ttn eu1
//! TTN_ACCESS_KEY=NNSXS... cargo run --example doctor -- my-app mqtts://lorawan.example.org https://lorawan.example.org
//! ```

use std::{env, process::ExitCode};

use anyhow::{Context, Result, bail};
use ttn::{MqttClient, Network, simulator::Simulator};

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let report = match arguments.as_slice() {
        [] => return on_the_simulator(),
        [app_id, server, http @ ..] => {
            let key = env::var("TTN_ACCESS_KEY").context("set TTN_ACCESS_KEY")?;
            let mut builder = MqttClient::builder(app_id, key);
            builder = match server.contains(['.', ':']) {
                true => builder.mqtt_address(server),
                false => builder.cluster(server),
            };
            if let Some(address) = http.first() {
                builder = builder.http_address(address);
            }
            builder.diagnose()
        }
        _ => bail!("usage: doctor [APPLICATION CLUSTER|MQTT_ADDRESS [HTTP_ADDRESS]]"),
    };
    println!("{report}");
    Ok(match report.is_healthy() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn on_the_simulator() -> Result<ExitCode> {
    let network = Simulator::start(Network::V3)?;
    let (app, key) = (network.app_id(), network.access_key());
    let client = || {
        MqttClient::builder(app, key)
            .mqtt_address(network.mqtt_address())
            .http_address(network.http_address())
    };
    network.device("bed-07").uplink(1, [0x01]);
    let (read, send) = (
        "RIGHT_APPLICATION_TRAFFIC_READ",
        "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE",
    );
    network.set_rights(app, key, &[read, send, "RIGHT_APPLICATION_DEVICES_READ"]);
    println!("{}\n", client().diagnose());

    network.set_rights(app, key, &[send]);
    println!("{}", client().diagnose());
    Ok(ExitCode::SUCCESS)
}
