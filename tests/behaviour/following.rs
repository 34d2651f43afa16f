//! Downlinks that a later process follows by their keys, and the list of what is really queued.

use std::time::Duration;

use crate::support::{harness::SOON, watchdog::watchdog};
use ttn::{
    DeliveryState, Downlink, ErrorKind, MqttClient, MqttClientBuilder, Network, Schedule,
    simulator::{HttpFault, Simulator},
};

const LIMIT: Duration = Duration::from_secs(60);

fn builder(network: &Simulator) -> MqttClientBuilder {
    MqttClient::builder(network.app_id(), network.access_key()).mqtt_address(network.mqtt_address())
}

fn over_http(network: &Simulator) -> MqttClient {
    let builder = builder(network).http_address(network.http_address());
    builder.build().unwrap()
}

fn valve(byte: u8) -> Downlink {
    let downlink = Downlink::bytes([byte]).port(20).confirmed(true);
    downlink.schedule(Schedule::Last)
}

/// Sends a downlink from a client that is gone afterwards. Returns its key.
fn sent_before(network: &Simulator, downlink: Downlink) -> String {
    let client = builder(network).build().unwrap();
    client.connect().unwrap();
    let delivery = client.send("valve-3", downlink).unwrap();
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    client.close().unwrap();
    delivery.key()
}

#[test]
fn a_downlink_of_an_earlier_client_goes_on_to_its_acknowledgement() {
    let _watchdog = watchdog(LIMIT);
    for kind in [Network::V2, Network::V3] {
        let network = Simulator::start(kind).unwrap();
        let device = network.device("valve-3");
        device.join();
        let key = sent_before(&network, valve(1));
        let client = builder(&network).build().unwrap();
        let delivery = client.follow(&key, "valve-3").unwrap();
        assert_eq!(delivery.key(), key);
        client.connect().unwrap();
        device.uplink(1, [0]);
        delivery.wait_for(DeliveryState::Sent, SOON).unwrap();
        device.uplink(1, [0]);
        delivery
            .wait_for(DeliveryState::Acknowledged, SOON)
            .unwrap();
    }
}

#[test]
fn what_is_still_queued_is_queued_at_once_even_without_a_connection() {
    let _watchdog = watchdog(LIMIT);
    let network = Simulator::start(Network::V3).unwrap();
    network.device("valve-3").join();
    let key = sent_before(&network, valve(1));
    let client = over_http(&network);
    let delivery = client.follow(&key, "valve-3").unwrap();
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    let again = client.follow(&key, "valve-3").unwrap();
    again.wait_for(DeliveryState::Queued, SOON).unwrap();
    let asked = network.http_requests().into_iter();
    assert_eq!(asked.filter(|it| it.path.contains("/down")).count(), 1);
}

#[test]
fn what_is_no_longer_queued_is_unconfirmed_and_says_so() {
    let _watchdog = watchdog(LIMIT);
    let network = Simulator::start(Network::V3).unwrap();
    let device = network.device("valve-3");
    device.join();
    let key = sent_before(&network, valve(1));
    device.uplink(1, [0]);
    assert!(device.next_downlink(SOON).is_some());
    let client = over_http(&network);
    client.connect().unwrap();
    let delivery = client.follow(&key, "valve-3").unwrap();
    let DeliveryState::Unconfirmed(error) = delivery.wait() else {
        panic!("{delivery:?}");
    };
    assert!(
        error.to_string().contains("before this client followed it"),
        "{error}"
    );
    // The device acknowledges it.
    device.uplink(1, [0]);
    delivery
        .wait_for(DeliveryState::Acknowledged, SOON)
        .unwrap_err();
    let again = client.follow(&key, "valve-3");
    assert!(again.is_ok());
}

#[test]
fn a_server_that_fails_leaves_a_followed_downlink_waiting() {
    let _watchdog = watchdog(LIMIT);
    let network = Simulator::start(Network::V3).unwrap();
    let device = network.device("valve-3");
    device.join();
    let key = sent_before(&network, valve(1));
    network.http_fault(Some(HttpFault::Status(500)));
    let client = over_http(&network);
    client.connect().unwrap();
    let delivery = client.follow(&key, "valve-3").unwrap();
    assert!(network.wait_for_http_requests(1, SOON));
    device.uplink(1, [0]);
    delivery.wait_for(DeliveryState::Sent, SOON).unwrap();
}

#[test]
fn a_key_of_a_delivery_of_the_same_client_shows_the_same_progress() {
    let _watchdog = watchdog(LIMIT);
    for kind in [Network::V2, Network::V3] {
        let network = Simulator::start(kind).unwrap();
        let device = network.device("valve-3");
        device.join();
        let client = builder(&network).build().unwrap();
        client.connect().unwrap();
        let own = client.send("valve-3", valve(1)).unwrap();
        own.wait_for(DeliveryState::Queued, SOON).unwrap();
        let others = [(); 2].map(|()| client.follow(&own.key(), "valve-3").unwrap());
        for other in &others {
            other.wait_for(DeliveryState::Queued, SOON).unwrap();
        }
        device.uplink(1, [0]);
        device.uplink(1, [0]);
        for delivery in others.iter().chain([&own]) {
            delivery
                .wait_for(DeliveryState::Acknowledged, SOON)
                .unwrap();
        }
    }
}

#[test]
fn a_malformed_key_is_an_error() {
    let network = Simulator::start(Network::V3).unwrap();
    let client = builder(&network).build().unwrap();
    for (key, dev_id) in [
        ("", "valve-3"),
        ("ttn:1", "valve-3"),
        ("ttn:0000000000000007:1", "Valve 3"),
    ] {
        let error = client.follow(key, dev_id).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Downlink, "{error}");
    }
}

#[test]
fn the_queue_of_a_device_is_what_really_waits() {
    let _watchdog = watchdog(LIMIT);
    let network = Simulator::start(Network::V3).unwrap();
    network.device("valve-3").join();
    network.create_device("valve-4", None);
    let client = builder(&network)
        .http_address(network.http_address())
        .ask_over_http(false)
        .build()
        .unwrap();
    client.connect().unwrap();
    let sent = [1, 2].map(|byte| client.send("valve-3", valve(byte)).unwrap());
    for delivery in &sent {
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    }
    client.close().unwrap();
    let queue = client.queue("valve-3").unwrap();
    assert_eq!(queue.len(), 2);
    for ((downlink, delivery), byte) in queue.iter().zip(&sent).zip(1..) {
        assert_eq!((downlink.port, &*downlink.payload_raw), (20, &[byte][..]));
        assert!(downlink.confirmed);
        let id = delivery.correlation_id().unwrap();
        assert!(downlink.correlation_ids.iter().any(|other| other == id));
    }
    assert!(client.queue("valve-4").unwrap().is_empty());
    let json = serde_json::to_value(&queue[0]).unwrap();
    assert_eq!(json["port"], 20);
}

#[test]
fn a_queue_that_cannot_be_read_names_the_reason() {
    let _watchdog = watchdog(LIMIT);
    let network = Simulator::start(Network::V3).unwrap();
    let client = over_http(&network);
    let kind = |dev_id: &str| client.queue(dev_id).unwrap_err().kind();
    assert_eq!(kind("bed-99"), ErrorKind::DeviceNotFound);
    assert_eq!(kind("Bed 99"), ErrorKind::Downlink);
    network.http_fault(Some(HttpFault::Status(503)));
    assert_eq!(kind("bed-99"), ErrorKind::ServerUnavailable);
    network.http_fault(None);
    let write = "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE";
    network.set_rights(network.app_id(), network.access_key(), &[write]);
    let error = client.queue("bed-99").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAuthorized);
    assert!(
        error.to_string().contains("RIGHT_APPLICATION_TRAFFIC_READ"),
        "{error}"
    );
    for (kind, words) in [(Network::V2, "V2"), (Network::V3, "set http_address")] {
        let network = Simulator::start(kind).unwrap();
        let error = builder(&network)
            .build()
            .unwrap()
            .queue("bed-99")
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(words), "{error}");
    }
}
