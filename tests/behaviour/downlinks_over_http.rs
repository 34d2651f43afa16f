//! Downlinks that go to the network over HTTP, which answers each message at once.

use std::time::{Duration, Instant};

use crate::support::{
    harness::SOON,
    resources::wait_until,
    watchdog::{Watchdog, watchdog},
};
use serde_json::json;
use ttn::{
    DeliveryState, Downlink, ErrorKind, Event, MqttClient, MqttClientBuilder, Network, Over,
    Schedule,
    simulator::{HttpFault, Simulator},
};

const LIMIT: Duration = Duration::from_secs(60);
const READ: &str = "RIGHT_APPLICATION_TRAFFIC_READ";

struct Place {
    network: Simulator,
    client: MqttClient,
    _watchdog: Watchdog,
}

impl Place {
    /// Returns a connected client of a network in which the device bed-07 has joined.
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(change: impl FnOnce(MqttClientBuilder) -> MqttClientBuilder) -> Self {
        let watchdog = watchdog(LIMIT);
        let network = Simulator::start(Network::V3).unwrap();
        network.device("bed-07").join();
        let builder = MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(network.mqtt_address())
            .http_address(network.http_address())
            .ask_over_http(false)
            .downlinks(Over::Http)
            .unconfirmed_after(Duration::from_millis(500));
        let client = change(builder).build().unwrap();
        client.connect().unwrap();
        Self {
            network,
            client,
            _watchdog: watchdog,
        }
    }

    /// Returns what was posted to queues: the ends of the paths.
    fn posted(&self) -> Vec<String> {
        let requests = self.network.http_requests().into_iter();
        requests
            .filter(|request| request.method == "POST")
            .map(|request| request.path.rsplit('/').next().unwrap().to_owned())
            .collect()
    }

    /// Sends a downlink and returns the error that it ends with.
    fn refused(&self, dev_id: &str, downlink: Downlink) -> ttn::Error {
        let delivery = self.client.send(dev_id, downlink).unwrap();
        let error = delivery.wait_for(DeliveryState::Queued, SOON).unwrap_err();
        assert!(delivery.is_final(), "{delivery:?}");
        error
    }

    fn queue(&self) -> Vec<u8> {
        let queue = self.network.device("bed-07").queue();
        queue
            .iter()
            .map(|downlink| downlink.payload.as_deref().unwrap()[0])
            .collect()
    }
}

fn downlink(byte: u8) -> Downlink {
    Downlink::bytes([byte]).port(2).schedule(Schedule::Last)
}

#[test]
fn the_answer_queues_a_downlink_and_the_reports_follow_over_mqtt() {
    let place = Place::new();
    let events = place.client.events();
    let delivery = place
        .client
        .send("bed-07", downlink(1).confirmed(true))
        .unwrap();
    let states = delivery.states();
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    let device = place.network.device("bed-07");
    device.uplink(1, [0]);
    assert!(device.next_downlink(SOON).is_some());
    device.uplink(1, [0]);
    delivery
        .wait_for(DeliveryState::Acknowledged, SOON)
        .unwrap();
    let names: Vec<String> = states.iter().map(|state| state.to_string()).collect();
    assert_eq!(
        names.iter().filter(|name| *name == "queued").count(),
        1,
        "{names:?}"
    );
    assert_eq!(place.posted(), ["push"]);
    assert!(
        place.network.published().is_empty(),
        "nothing went over MQTT"
    );
    let is_published =
        |event: &Event| matches!(event, Event::Published(id) if *id == delivery.message_id());
    let published = std::iter::from_fn(|| events.recv_timeout(SOON).ok()).find(is_published);
    assert!(published.is_some());
}

#[test]
fn a_refused_downlink_fails_at_once_with_the_words_of_the_network() {
    let place = Place::new();
    place.network.device("bed-08").forget_session();
    place
        .network
        .set_encoder(|_, _| Err::<Vec<u8>, _>("the valve has no such position".to_owned()));
    for (dev_id, downlink, name) in [
        ("bed-99", downlink(1), "device_not_found"),
        ("bed-08", downlink(1), "no_device_session"),
        (
            "bed-07",
            Downlink::bytes(vec![1; 250]).port(2),
            "application_downlink_too_long",
        ),
    ] {
        let error = place.refused(dev_id, downlink);
        assert_eq!(error.kind(), ErrorKind::DownlinkFailed, "{error}");
        let text = error.to_string();
        assert!(text.contains(dev_id), "{text}");
        let source = std::error::Error::source(&error).unwrap();
        let details = source.downcast_ref::<ttn::ErrorDetails>().unwrap();
        assert_eq!(details.name, name);
    }
    let error = place.refused("bed-07", Downlink::from(json!({"valve": 7})).port(2));
    let text = error.to_string();
    assert!(text.contains("the valve has no such position"), "{text}");
    assert_eq!(place.posted().len(), 4, "nothing is tried again");
}

#[test]
fn a_key_without_the_right_is_named_with_the_right() {
    let place = Place::new();
    let network = &place.network;
    network.set_rights(network.app_id(), network.access_key(), &[READ]);
    let error = place.refused("bed-07", downlink(1));
    assert_eq!(error.kind(), ErrorKind::NotAuthorized);
    let text = error.to_string();
    assert!(text.contains("TRAFFIC_DOWN_WRITE"), "{text}");
    assert!(!text.contains("NNSXS"), "{text}");
}

#[test]
fn downlinks_keep_the_order_of_the_calls() {
    let place = Place::new();
    let deliveries: Vec<_> = (1..=20)
        .map(|byte| place.client.send("bed-07", downlink(byte)).unwrap())
        .collect();
    for delivery in &deliveries {
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    }
    assert_eq!(place.queue(), (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_batch_is_one_request_and_fails_as_a_whole() {
    let place = Place::new();
    let batch = [1, 2, 3].map(downlink);
    for delivery in place.client.send_batch("bed-07", batch).unwrap() {
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    }
    let batch = [
        downlink(4),
        Downlink::bytes(vec![5; 250])
            .port(2)
            .schedule(Schedule::Last),
    ];
    for delivery in place.client.send_batch("bed-07", batch).unwrap() {
        let state = delivery.wait();
        assert!(matches!(state, DeliveryState::Failed(_)), "{state}");
    }
    assert_eq!(place.posted(), ["push", "push"]);
    assert_eq!(place.queue(), [1, 2, 3]);
}

#[test]
fn a_queue_is_replaced_and_emptied() {
    let place = Place::new();
    let first = place.client.send("bed-07", downlink(1)).unwrap();
    first.wait_for(DeliveryState::Queued, SOON).unwrap();
    let second = place
        .client
        .send("bed-07", downlink(2).schedule(Schedule::Replace))
        .unwrap();
    second.wait_for(DeliveryState::Queued, SOON).unwrap();
    assert!(matches!(first.wait(), DeliveryState::Replaced));
    assert_eq!(place.queue(), [2]);
    place.client.clear_queue("bed-07").unwrap();
    let state = second.wait();
    assert!(matches!(state, DeliveryState::Replaced), "{state}");
    assert_eq!(place.posted(), ["push", "replace", "replace"]);
    assert!(place.queue().is_empty());
}

#[test]
fn the_rate_limit_is_obeyed_and_loses_nothing() {
    let place = Place::new();
    place.network.http_rate_limit(2, 120);
    let start = Instant::now();
    let deliveries: Vec<_> = (1..=4)
        .map(|byte| place.client.send("bed-07", downlink(byte)).unwrap())
        .collect();
    for delivery in &deliveries {
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    }
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(place.queue(), [1, 2, 3, 4]);
    assert_eq!(place.posted().len(), 4, "none is refused");
}

#[test]
fn a_downlink_that_the_network_certainly_has_not_taken_is_tried_again() {
    let place = Place::new();
    place.network.identity_server_down(true);
    let delivery = place.client.send("bed-07", downlink(1)).unwrap();
    assert!(place.network.wait_for_http_requests(1, SOON));
    place.network.identity_server_down(false);
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    assert_eq!(place.queue(), [1]);
}

#[test]
fn a_downlink_that_the_network_may_have_taken_is_not_sent_twice() {
    let place = Place::new();
    for fault in [
        HttpFault::CutOff,
        HttpFault::Status(500),
        HttpFault::Html(502),
    ] {
        place.network.http_fault(Some(fault.clone()));
        let before = place.posted().len();
        let delivery = place.client.send("bed-07", downlink(1)).unwrap();
        let queued = delivery.wait_for(DeliveryState::Queued, SOON);
        match fault {
            // It was taken, which the report over MQTT tells.
            HttpFault::CutOff => drop(queued.unwrap()),
            _ => assert_eq!(queued.unwrap_err().kind(), ErrorKind::Unconfirmed),
        }
        assert_eq!(place.posted().len(), before + 1, "{fault:?}");
    }
}

#[test]
fn a_slow_network_delays_neither_uplinks_nor_callbacks() {
    let place = Place::new();
    place.network.http_fault(Some(HttpFault::Silent));
    place.client.send("bed-07", downlink(1)).unwrap();
    assert!(place.network.wait_for_http_requests(1, SOON));
    let (seen, uplinks) = crossbeam_channel::unbounded();
    place.client.set_uplink_callback(move |uplink, _| {
        let _ = seen.send(uplink.payload_raw.clone());
    });
    let start = Instant::now();
    place.network.device("bed-07").uplink(1, [9]);
    assert_eq!(uplinks.recv_timeout(SOON).unwrap(), [9]);
    place.client.send("bed-07", downlink(2)).unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_silent_network_fills_the_waiting_room_and_delays_no_call() {
    let place = Place::with(|builder| builder.send_capacity(5));
    place.network.http_fault(Some(HttpFault::Silent));
    let start = Instant::now();
    for byte in 1..=5 {
        place.client.send("bed-07", downlink(byte)).unwrap();
    }
    let error = place.client.send("bed-07", downlink(6)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QueueFull, "{error}");
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn downlinks_outlive_the_loss_of_a_connection_while_they_are_asked_for() {
    let place = Place::with(|builder| {
        builder
            .offline_queue(100, SOON)
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
    });
    let slow = HttpFault::Slow(Duration::from_millis(200));
    place.network.http_fault(Some(slow));
    let deliveries: Vec<_> = (1..=4)
        .map(|byte| place.client.send("bed-07", downlink(byte)).unwrap())
        .collect();
    assert!(place.network.wait_for_http_requests(1, SOON));
    place.network.disconnect_clients();
    for delivery in &deliveries {
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    }
    assert_eq!(place.queue(), [1, 2, 3, 4]);
    assert_eq!(place.posted().len(), 4, "none is sent twice");
}

#[test]
fn a_thousand_downlinks_keep_their_order() {
    let place = Place::new();
    let deliveries: Vec<_> = (0..1_000_u32)
        .map(|number| {
            let downlink = Downlink::bytes(number.to_be_bytes()).port(2);
            let downlink = downlink.schedule(Schedule::Last);
            place.client.send("bed-07", downlink).unwrap()
        })
        .collect();
    for delivery in &deliveries {
        delivery.wait_for(DeliveryState::Queued, LIMIT).unwrap();
    }
    let queue = place.network.device("bed-07").queue().into_iter();
    let numbers = queue.map(|downlink| downlink.payload.unwrap());
    let expected = (0..1_000_u32).map(|number| number.to_be_bytes().to_vec());
    assert!(numbers.eq(expected));
    // The report about the last one can overtake its answer.
    assert!(wait_until(SOON, || place.client.stats().waiting == 0));
}

#[test]
fn closing_waits_for_the_answer() {
    let place = Place::new();
    let slow = HttpFault::Slow(Duration::from_millis(300));
    place.network.http_fault(Some(slow));
    let deliveries = [1, 2].map(|byte| place.client.send("bed-07", downlink(byte)).unwrap());
    place.client.close().unwrap();
    for delivery in &deliveries {
        assert!(
            matches!(delivery.state(), DeliveryState::Queued),
            "{delivery:?}"
        );
    }
    assert_eq!(place.client.stats().uncertain, 0);
}

#[test]
fn closing_counts_what_has_no_answer_and_what_was_not_begun() {
    let place = Place::with(|builder| builder.close_timeout(Duration::from_millis(500)));
    place.network.http_fault(Some(HttpFault::Silent));
    let begun = place.client.send("bed-07", downlink(1)).unwrap();
    let waiting = place.client.send("bed-07", downlink(2)).unwrap();
    assert!(place.network.wait_for_http_requests(1, SOON));
    let error = place.client.close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unconfirmed, "{error}");
    let text = error.to_string();
    assert!(text.contains("1 downlink is not written"), "{text}");
    assert!(text.contains("1 downlink is uncertain"), "{text}");
    assert!(
        matches!(begun.state(), DeliveryState::Unconfirmed(_)),
        "{begun:?}"
    );
    assert!(
        matches!(waiting.state(), DeliveryState::Failed(_)),
        "{waiting:?}"
    );
    assert_eq!(place.client.stats().uncertain, 1);
}

#[test]
fn a_reply_from_a_callback_goes_over_http_too() {
    let place = Place::new();
    place
        .client
        .set_uplink_callback(|uplink, client| client.reply(uplink, [6]));
    let device = place.network.device("bed-07");
    device.uplink(5, [1]);
    assert!(place.network.wait_for_http_requests(1, SOON));
    assert_eq!(place.posted(), ["replace"]);
}

#[test]
fn without_the_option_no_downlink_goes_over_http() {
    let place = Place::with(|builder| builder.downlinks(Over::Mqtt));
    let delivery = place.client.send("bed-07", downlink(1)).unwrap();
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    assert!(place.posted().is_empty());
}

#[test]
fn downlinks_over_http_need_a_network_with_a_known_http_api() {
    let v3 = MqttClient::builder("greenhouse@ttn", "NNSXS.ID.SECRET").mqtt_address("tts.example");
    let v2 = MqttClient::builder("greenhouse", "ttn-account-v2.secret").mqtt_address("localhost");
    for (builder, words) in [(v3, "http_address"), (v2, "V2")] {
        let error = builder.downlinks(Over::Http).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(words), "{error}");
    }
}
