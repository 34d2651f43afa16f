//! Ports a script for the V2 Python SDK line by line; the Python is in the comments.
//!
//! ```text
//! cargo run --example python_port
//! ```
// import time
// from ttn import MQTTClient
use std::{thread, time::Duration};

use serde_json::json;
use ttn::{Downlink, MqttClient, UplinkMessage};

// def uplink_callback(msg, client):
//     print("uplink from", msg.dev_id, "counter", msg.counter)
//     print("payload", msg.payload_raw)
//     print("temperature", msg.payload_fields.temperature)
//     print("gateway", msg.metadata.gateways[0].gtw_id, msg.metadata.gateways[0].rssi)
//     client.send(msg.dev_id, {"led_state": "on", "counter": 1})
fn uplink_callback(msg: &UplinkMessage, client: &MqttClient) -> anyhow::Result<()> {
    println!("uplink from {} counter {}", msg.dev_id, msg.counter);
    println!("payload {}", msg.payload_base64());
    println!("temperature {}", msg.payload_fields["temperature"]);
    if let Some(gateway) = msg.metadata.gateways.first() {
        match gateway.rssi {
            Some(rssi) => println!("gateway {} {rssi}", gateway.gtw_id),
            None => println!("gateway {}", gateway.gtw_id),
        }
    }
    client.send(&msg.dev_id, json!({"led_state": "on", "counter": 1}))?;
    Ok(())
}

// def connect_callback(res, client):
//     print("connected:", res)
fn connect_callback(res: bool, _client: &MqttClient) {
    println!("connected: {res}");
}

// def downlink_callback(mid, client):
//     print("sent message", mid)
fn downlink_callback(mid: ttn::MessageId, _client: &MqttClient) {
    println!("sent message {mid}");
}

// def close_callback(res, client):
//     print("closed:", res)
fn close_callback(res: bool, _client: &MqttClient) {
    println!("closed: {res}");
}

fn main() -> anyhow::Result<()> {
    let network = network()?;
    let (app_id, access_key, address) = (
        network.app_id(),
        network.access_key(),
        network.mqtt_address(),
    );

    // client = MQTTClient(app_id, access_key, mqtt_address=address)
    // Without an address there is no server: the public V2 network was closed.
    let client = MqttClient::builder(app_id, access_key)
        .mqtt_address(address)
        .build()?;

    // client.set_uplink_callback(uplink_callback)
    // client.set_connect_callback(connect_callback)
    // client.set_downlink_callback(downlink_callback)
    // client.set_close_callback(close_callback)
    client.set_uplink_callback(uplink_callback);
    client.set_connect_callback(connect_callback);
    client.set_downlink_callback(downlink_callback);
    client.set_close_callback(close_callback);

    // client.connect()
    client.connect()?;

    // client.send("pump-1", "AQ==", port=2, conf=True, sched="first")
    client.send(
        "pump-1",
        Downlink::base64("AQ==")
            .port(2)
            .confirmed(true)
            .schedule("first".parse()?),
    )?;

    network.device("soil-probe-07").uplink(1, [21]);
    // time.sleep(1)
    thread::sleep(Duration::from_secs(1));

    // client.close()
    client.close()?;
    Ok(())
}

/// Starts a simulated network, where a script would use a real one.
fn network() -> anyhow::Result<ttn::simulator::Simulator> {
    let network = ttn::simulator::Simulator::start(ttn::Network::V2)?;
    network.set_decoder(|_, bytes| Ok(Some(json!({"temperature": bytes[0]}))));
    network.device("pump-1");
    Ok(network)
}
