//! Shows every form of a downlink: hex, base64, bytes, fields; FPort, confirmation, schedule,
//! priority; several at once; an emptied queue; what `send` refuses; and how to close.
//!
//! ```text
//! cargo run --example send
//! ```

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use ttn::{DeliveryState, Downlink, MqttClient, Network, Priority, Schedule, simulator::Simulator};

const SOON: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let network = Simulator::start(Network::V3)?;
    network.set_encoder(|_, fields| Ok(vec![u8::from(fields["led"] == "on")]));
    let pump = network.device("pump-1");

    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .build()?;
    client.connect()?;

    let downlinks: Vec<Downlink> = vec![
        "0102".into(),
        "AQI=".into(),
        [1, 2].into(),
        json!({"led": "on"}).into(),
        Downlink::bytes([7])
            .port(20)
            .confirmed(true)
            .schedule(Schedule::Last)
            .priority(Priority::High),
    ];
    for downlink in downlinks {
        let delivery = client.send("pump-1", downlink)?;
        // A class A device receives it after its next uplink.
        delivery.wait_for(DeliveryState::Queued, SOON)?;
        pump.uplink(1, [0]);
        match pump.next_downlink(SOON) {
            Some(got) => println!(
                "message {}: the device received {:?} on FPort {}",
                delivery.message_id(),
                got.payload,
                got.port
            ),
            None => println!(
                "message {}: the device received nothing",
                delivery.message_id()
            ),
        }
    }

    let steps = [[1], [2], [3]].map(|step| Downlink::bytes(step).schedule(Schedule::Last));
    let deliveries = client.send_batch("pump-1", steps)?;
    for delivery in &deliveries {
        delivery.wait_for(DeliveryState::Queued, SOON)?;
    }
    println!("{} more are queued for the device", pump.queue().len());
    // A class C device always listens.
    pump.class_c(true);
    for _ in &deliveries {
        if let Some(got) = pump.next_downlink(SOON) {
            println!("class C: the device received {:?}", got.payload);
        }
    }
    pump.class_c(false);

    let late = client.send("pump-1", Downlink::bytes([4]))?;
    late.wait_for(DeliveryState::Queued, SOON)?;
    client.clear_queue("pump-1")?;
    // The network does not report that the queue is empty; the report about a later downlink shows it.
    let last = client.send("pump-1", Downlink::bytes([5]).schedule(Schedule::Last))?;
    last.wait_for(DeliveryState::Queued, SOON)?;
    println!("message {} is {}", late.message_id(), late.state());

    for (dev_id, bad) in [
        ("Pump 1", Downlink::from("01")),
        ("pump-1", Downlink::from("01").port(224)),
        ("pump-1", Downlink::from("not a payload")),
        ("pump-1", Downlink::bytes([])),
        ("pump-1", Downlink::from(json!([1, 2]))),
        ("pump-1", Downlink::from("01").schedule(Schedule::First)),
    ] {
        if let Err(error) = client.send(dev_id, bad) {
            println!("refused: {error}");
        }
    }

    client.send("pump-1", Downlink::bytes([6]).schedule(Schedule::Last))?;
    // Without this, the program could end before the server has processed the last downlink. The error
    // says how many downlinks are uncertain.
    client.close()?;
    println!("the server has processed every downlink");
    Ok(())
}
