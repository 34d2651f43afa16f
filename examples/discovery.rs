//! From an application id to its MQTT server, by asking a discovery server.
//!
//! ```text
//! cargo run --example discovery
//! ```

use anyhow::Result;
use serde_json::json;
use ttn::{Event, MqttClient, Network, simulator::Simulator};

#[path = "../tests/support/mod.rs"]
mod support;
use support::discovery_server::{Answer, DiscoveryServer};

fn main() -> Result<()> {
    // A discovery server that knows one handler, the simulated network.
    let network = Simulator::start(Network::V2)?;
    let handlers = json!({"services": [{
        "id": "my-handler",
        "service_name": "handler",
        "mqtt_address": network.mqtt_address(),
        "metadata": [{"app_id": network.app_id()}],
    }]});
    let server = DiscoveryServer::start(move |_| Answer::Json(200, handlers.to_string()))?;

    let client = MqttClient::builder(network.app_id(), network.access_key())
        .discovery_address(server.url())
        .build()?;
    let events = client.events();
    client.connect()?;
    if let Event::Connected(connected) = events.recv()? {
        println!("{} is served by {}", client.app_id(), connected.address);
    }
    client.close()?;

    // An application that no handler serves.
    let stranger = MqttClient::builder("another-app", "ttn-account-v2.secret")
        .discovery_address(server.url())
        .build()?;
    if let Err(error) = stranger.connect() {
        println!("{:?}: {error}", error.kind());
    }
    Ok(())
}
