//! `ttn feed`

use std::path::Path;

use ttn::{
    DeliveryState, Event, Events, MqttClient, MqttClientBuilder, Network, Topics,
    simulator::{Simulator, Storage},
};

use crate::program::{LIMIT, Program, finish, ttn_on};
use crate::support::{harness::NOWHERE, mosquitto::Mosquitto, resources::loopback};

fn network() -> Simulator {
    let network = Simulator::builder(Network::V3)
        .address(format!("{}:0", loopback()))
        .http_address(format!("{}:0", loopback()))
        .start()
        .expect("the simulated network starts");
    network.storage(Some(Storage::new()));
    network
}

/// Starts a feed, and waits until it is connected to both.
#[track_caller]
fn start(network: &Simulator, broker: &Mosquitto, watermark: &Path) -> Program {
    let address = broker.address().to_string();
    let mut command = ttn_on(network, ["feed", "--prefix", "farm/", "--partitions", "4"]);
    command
        .args(["--broker", &address, "--watermark"])
        .arg(watermark);
    let program = Program::start(command);
    program.note("the broker is connected");
    program.note("the network is connected");
    program
}

fn reader(network: &Simulator, broker: &Mosquitto) -> MqttClientBuilder {
    MqttClient::own_broker(network.app_id())
        .mqtt_address(broker.address().to_string())
        .topics(Topics::with_prefix("farm/"))
        .partitions(4)
}

/// Returns the payload of the next uplink.
#[track_caller]
fn next(events: &Events) -> Vec<u8> {
    loop {
        let event = events.recv_timeout(LIMIT).expect("an uplink comes");
        if let Event::Uplink(uplink) = event {
            return uplink.payload_raw.clone();
        }
    }
}

#[test]
#[cfg(unix)]
fn it_publishes_uplinks_takes_downlinks_and_goes_on_where_it_stopped() {
    let Some(broker) = Mosquitto::builder().start() else {
        return;
    };
    let network = network();
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let watermark = folder.path().join("watermark");
    let client = reader(&network, &broker).build().expect("right options");
    let events = client.events();
    client.connect().expect("the broker is there");

    let mut program = start(&network, &broker, &watermark);
    let device = network.device("bed-07");
    device.uplink(1, [1]);
    assert_eq!(next(&events), [1]);
    let delivery = client.send("bed-07", [7]).expect("it is accepted");
    assert!(delivery.wait_for(DeliveryState::Queued, LIMIT).is_ok());
    program.running.signal("TERM");
    assert_eq!(program.end(), 0);
    assert!(
        program
            .note("acknowledged, 0 waiting")
            .contains("1 downlink taken")
    );

    device.uplink(1, [2]);
    let mut program = start(&network, &broker, &watermark);
    let mut payload = next(&events);
    if payload == [1] {
        // At least once.
        payload = next(&events);
    }
    assert_eq!(payload, [2]);
    program.running.signal("INT");
    assert_eq!(program.end(), 0);
}

#[test]
#[cfg(unix)]
fn it_tells_what_it_waits_for_and_starts_when_that_is_there() {
    let Some(broker) = Mosquitto::builder().start() else {
        return;
    };
    let network = network();
    network.stop();
    let address = broker.address().to_string();
    let command = ttn_on(&network, ["feed", "--broker", &address]);
    let mut program = Program::start(command);
    let note = program.note("the next attempt is in ");
    assert!(note.contains("cannot reach"), "{note}");
    network.restart().expect("its ports are still free");
    program.note("the network is connected");
    program.running.signal("TERM");
    assert_eq!(program.end(), 0);
}

#[test]
#[cfg(unix)]
fn a_signal_ends_it_although_the_broker_is_not_there() {
    let network = network();
    let command = ttn_on(&network, ["feed", "--broker", NOWHERE]);
    let mut program = Program::start(command);
    program.note("the next attempt is in ");
    program.running.signal("TERM");
    assert_eq!(program.end(), 0);
}

#[test]
#[cfg(unix)]
fn on_v2_the_broker_has_the_topics_of_v2() {
    let Some(broker) = Mosquitto::builder().start() else {
        return;
    };
    let network = Simulator::start(Network::V2).expect("the simulated network starts");
    let client = MqttClient::own_broker(network.app_id())
        .mqtt_address(broker.address().to_string())
        .network(Network::V2)
        .build()
        .expect("right options");
    let events = client.events();
    client.connect().expect("the broker is there");
    let address = broker.address().to_string();
    let mut program = Program::start(ttn_on(&network, ["feed", "--broker", &address]));
    program.note("the broker is connected");
    program.note("the network is connected");
    network.device("bed-07").uplink(1, [1]);
    assert_eq!(next(&events), [1]);
    program.running.signal("TERM");
    assert_eq!(program.end(), 0);
}

#[test]
fn a_wrong_key_has_its_own_status() {
    let Some(broker) = Mosquitto::builder().start() else {
        return;
    };
    let network = network();
    let address = broker.address().to_string();
    let mut command = ttn_on(&network, ["feed", "--broker", &address]);
    command.env("TTN_ACCESS_KEY", "NNSXS.WRONGID.WRONGSECRET");
    let (status, _, errors) = finish(command);
    assert_eq!(status, 4, "{errors}");
    assert!(!errors.contains("WRONGSECRET"), "the key is printed");
}

#[test]
fn a_wrong_setting_is_wrong_usage() {
    let network = network();
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let damaged = folder.path().join("watermark");
    std::fs::write(&damaged, "something else").expect("room for a file");
    let damaged = damaged.to_str().expect("it is text");
    for arguments in [
        ["feed", "--watermark", damaged],
        ["feed", "--partitions", "0"],
        ["feed", "--downlinks", "sometimes"],
        ["feed", "--broker-user", "worker"],
    ] {
        let (status, _, errors) = finish(ttn_on(&network, arguments));
        assert_eq!(status, 2, "{errors}");
    }
}
