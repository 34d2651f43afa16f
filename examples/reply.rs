//! Answers an uplink from inside its callback, so that the device receives the answer in the receive
//! window of that uplink.
//!
//! ```text
//! cargo run --example reply
//! ```

use std::time::Duration;

use anyhow::{Context, Result};
use ttn::{MqttClient, Network, simulator::Simulator};

fn main() -> Result<()> {
    let network = Simulator::start(Network::V3)?;
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .build()?;
    client.set_uplink_callback(|uplink, client| -> ttn::Result<()> {
        // FPort 0 carries only MAC commands.
        if uplink.port == 0 {
            return Ok(());
        }
        let sum = uplink
            .payload_raw
            .iter()
            .fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        client.reply(uplink, [sum])?;
        Ok(())
    });
    client.connect()?;

    let device = network.device("counter-3");
    for payload in [[1, 2, 3], [10, 20, 30]] {
        device.uplink(5, payload);
        let answer = device
            .next_downlink(Duration::from_secs(5))
            .context("the device received no answer")?;
        println!(
            "sent {payload:?}, got {:?} on FPort {}",
            answer.payload, answer.port
        );
    }
    client.close()?;
    Ok(())
}
