//! Receives uplinks, and follows a downlink until the device has acknowledged it.
//!
//! Without an account it runs on a simulated network (The Things Stack v3, or a V2 network with
//! `--v2`) and ends after a few seconds:
//!
//! ```text
//! cargo run --example quickstart
//! cargo run --example quickstart -- --v2
//! ```
//!
//! With an account it prints the uplinks of your devices until you interrupt it. It sends nothing
//! unless you set `TTN_DEV_ID`; then it answers the first uplink of that device with one confirmed
//! downlink:
//!
//! ```text
//! TTN_APP_ID=my-app@ttn TTN_ACCESS_KEY=NNSXS.… TTN_CLUSTER=eu1 TTN_DEV_ID=my-device \
//!     cargo run --example quickstart
//! TTN_APP_ID=my-app TTN_ACCESS_KEY=ttn-account-v2.… TTN_MQTT_ADDRESS=mqtts://ttn.example.org \
//!     cargo run --example quickstart
//! ```

use std::{env, thread, time::Duration};

use anyhow::{Result, bail, ensure};
use serde_json::json;
use ttn::{
    Delivery, DeliveryState, Downlink, MqttClient, Network,
    crossbeam_channel::{Receiver, bounded},
    simulator::Simulator,
};

fn main() -> Result<()> {
    match env::var("TTN_APP_ID") {
        Ok(app_id) => run_on_a_real_network(app_id),
        Err(_) if env::args().any(|argument| argument == "--v2") => {
            run_on_a_simulated_network(Network::V2)
        }
        Err(_) => run_on_a_simulated_network(Network::V3),
    }
}

fn run_on_a_simulated_network(network: Network) -> Result<()> {
    let network = Simulator::start(network)?;
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .build()?;
    let answers = set_callbacks(&client, Some("pump-1".to_owned()));
    client.connect()?;

    let (stop, stopped) = bounded(0);
    let devices = thread::spawn(move || run_devices(&network, &stopped));
    let limit = Duration::from_secs(6);
    let end = answers
        .recv_timeout(limit)
        .map(|answer| follow(&answer, limit));
    drop(stop);
    client.close()?;
    ensure!(devices.join().is_ok(), "the thread of the devices panicked");
    ensure!(
        matches!(end, Ok(DeliveryState::Acknowledged)),
        "the device did not acknowledge in time"
    );
    Ok(())
}

fn run_on_a_real_network(app_id: String) -> Result<()> {
    let Ok(access_key) = env::var("TTN_ACCESS_KEY") else {
        bail!("TTN_APP_ID is set, but TTN_ACCESS_KEY is not");
    };
    let mut builder = MqttClient::builder(app_id, access_key);
    if let Ok(cluster) = env::var("TTN_CLUSTER") {
        builder = builder.cluster(cluster);
    }
    if let Ok(address) = env::var("TTN_MQTT_ADDRESS") {
        builder = builder.mqtt_address(address);
    }
    if let Ok(address) = env::var("TTN_DISCOVERY_ADDRESS") {
        builder = builder.discovery_address(address);
    }
    let client = builder.build()?;
    let answers = set_callbacks(&client, env::var("TTN_DEV_ID").ok());
    client.connect()?;
    thread::spawn(move || {
        for answer in answers {
            follow(&answer, Duration::MAX);
        }
    });
    client.wait();
    Ok(())
}

/// Prints what happens, and answers the first uplink of one device; the receiver gets the answer.
fn set_callbacks(client: &MqttClient, mut dev_id: Option<String>) -> Receiver<Delivery> {
    let (sender, answers) = bounded(1);
    let mut answering = dev_id.is_some().then_some(sender);
    client.set_connect_callback(|connected, client| match connected {
        true => println!("connected as {}", client.app_id()),
        false => println!("not connected"),
    });
    client.set_uplink_callback(move |uplink, client| {
        println!(
            "uplink    {:<14} #{:<3} FPort {}  {:<10} {}",
            uplink.dev_id,
            uplink.counter,
            uplink.port,
            uplink.payload_hex(),
            uplink.payload_fields
        );
        if dev_id.as_ref() == Some(&uplink.dev_id) {
            dev_id = None;
            let open = Downlink::bytes([0x01, 0x0f]).port(20).confirmed(true);
            let delivery = client.reply(uplink, open)?;
            println!(
                "downlink  {:<14} is message {}",
                uplink.dev_id,
                delivery.message_id()
            );
            if let Some(sender) = answering.take() {
                sender.send(delivery)?;
            }
        }
        anyhow::Ok(())
    });
    client
        .set_downlink_callback(|mid, _| println!("downlink  message {mid} has left this machine"));
    client.set_close_callback(|asked_for, _| match asked_for {
        true => println!("closed"),
        false => println!("connection lost"),
    });
    answers
}

/// Prints each state of a downlink, until the final one or until the next one exceeds the limit.
fn follow(delivery: &Delivery, limit: Duration) -> DeliveryState {
    let states = delivery.states();
    while let Ok(state) = states.recv_timeout(limit) {
        println!("downlink  message {} is {state}", delivery.message_id());
    }
    delivery.state()
}

/// Joins two devices; each then sends an uplink about twice a second.
fn run_devices(network: &Simulator, stopped: &Receiver<()>) {
    network.set_decoder(|port, bytes| {
        Ok(match (port, bytes) {
            (2, [high, low]) => {
                Some(json!({"celsius": f64::from(u16::from_be_bytes([*high, *low])) / 10.0}))
            }
            (1, [running]) => Some(json!({"running": *running != 0})),
            _ => None,
        })
    });
    let probe = network.device("soil-probe-07");
    let pump = network.device("pump-1");
    probe.join();
    pump.join();
    let mut running = false;
    for round in 0_u8.. {
        probe.uplink(2, [0, 200 + round % 50]);
        pump.uplink(1, [u8::from(running)]);
        // A class A device listens after its uplink.
        if let Some(command) = pump.next_downlink(Duration::from_millis(500)) {
            running = command.payload.first() == Some(&1);
        }
        if stopped
            .recv_timeout(Duration::from_millis(100))
            .is_err_and(|error| error.is_disconnected())
        {
            return;
        }
    }
}
