//! Receives events from a channel instead of callbacks, with `select!` beside other work.
//!
//! ```text
//! cargo run --example events
//! ```

use std::time::Duration;

use anyhow::Result;
use ttn::{
    Event, MqttClient, Network,
    crossbeam_channel::{select, tick},
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
            recv(events.receiver()) -> event => match event? {
                Event::Connected(connected) => println!("connected to {}", connected.address),
                Event::Uplink(uplink) => {
                    uplinks += 1;
                    println!("uplink {} from {}", uplink.counter, uplink.dev_id);
                }
                Event::Lagged(dropped) => println!("too slow: {dropped} events dropped"),
                other => println!("{other:?}"),
            },
            recv(ticker) -> _ => {
                println!("other work");
                device.uplink(1, [0x2a]);
            }
        }
    }
    client.close()?;
    Ok(())
}
