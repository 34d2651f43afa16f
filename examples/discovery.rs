//! Finds the MQTT server of an application by asking The Things Stack, or with `--v2` a V2 discovery
//! server.
//!
//! ```text
//! cargo run --example discovery
//! cargo run --example discovery -- --v2
//! ```

use std::env;

use anyhow::Result;
use serde_json::json;
use ttn::{Event, MqttClient, Network, simulator::Simulator};

#[path = "../tests/support/mod.rs"]
mod support;
use support::discovery_server::{Answer, DiscoveryServer};

fn main() -> Result<()> {
    let v2 = env::args().any(|argument| argument == "--v2");
    let network = Simulator::start(if v2 { Network::V2 } else { Network::V3 })?;

    // Stands in for the discovery server.
    let answer = if v2 {
        json!({"services": [{
            "id": "my-handler",
            "service_name": "handler",
            "mqtt_address": network.mqtt_address(),
            "metadata": [{"app_id": network.app_id()}],
        }]})
    } else {
        json!({
            "public_address": network.mqtt_address(),
            "public_tls_address": "",
            "username": network.app_id(),
        })
    };
    let server = DiscoveryServer::start(move |_| Answer::Json(200, answer.to_string()))?;

    // For a real Things Stack use https://host, since the client sends it the access key.
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .discovery_address(server.url())
        .build()?;
    let events = client.events();
    client.connect()?;
    if let Event::Connected(connected) = events.recv()? {
        println!("{} is served by {}", client.app_id(), connected.address);
    }
    client.close()?;

    // An id that no handler serves, or an id without its tenant.
    let wrong_id = if v2 { "another-app" } else { "simulated-app" };
    let stranger = MqttClient::builder(wrong_id, network.access_key())
        .discovery_address(server.url())
        .build()?;
    if let Err(error) = stranger.connect() {
        println!("{:?}: {error}", error.kind());
    }
    Ok(())
}
