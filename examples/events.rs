//! Receives events from a channel instead of callbacks, with `select!` beside other work, and prints each
//! as a line of JSON.
//!
//! ```text
//! cargo run --example events
//! ```

use std::time::Duration;

use anyhow::Result;
use ttn::{
    Event, MqttClient, Network,
    crossbeam_channel::{select, tick},
    serde_json,
    simulator::Simulator,
};

fn main() -> Result<()> {
    let network = Simulator::start(Network::V3)?;
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .build()?;
    let events = client.events();
    client.connect()?;

    let device = network.device("soil-probe-07");
    let ticker = tick(Duration::from_millis(200));
    let mut uplinks = 0;
    while uplinks < 3 {
        select! {
            recv(events.receiver()) -> event => {
                let event = event?;
                println!("{}", serde_json::to_string(&event)?);
                match event {
                    Event::Uplink(_) => uplinks += 1,
                    Event::Lagged(dropped) => eprintln!("too slow: {dropped} events dropped"),
                    _ => {}
                }
            }
            recv(ticker) -> _ => {
                eprintln!("other work");
                device.uplink(1, [0x2a]);
            }
        }
    }
    client.close()?;
    Ok(())
}
