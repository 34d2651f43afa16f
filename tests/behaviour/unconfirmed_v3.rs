//! Downlinks that a v3 network says nothing about: the client asks over HTTP, and the delivery ends with
//! the cause that the network names.

use std::time::{Duration, Instant};

use crate::support::{
    harness::SOON,
    resources::wait_until,
    watchdog::{Watchdog, watchdog},
};
use ttn::{
    Delivery, DeliveryState, Downlink, ErrorKind, Event, MqttClient, MqttClientBuilder, Network,
    Schedule,
    simulator::{HttpFault, Simulator},
};

const LIMIT: Duration = Duration::from_secs(60);
const UNCONFIRMED_AFTER: Duration = Duration::from_millis(300);
const READ: &str = "RIGHT_APPLICATION_TRAFFIC_READ";
const WRITE: &str = "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE";
const DEVICES: &str = "RIGHT_APPLICATION_DEVICES_READ";

struct Place {
    network: Simulator,
    client: MqttClient,
    _watchdog: Watchdog,
}

impl Place {
    /// Returns a connected client of a network in which the device bed-07 has joined.
    fn new() -> Self {
        let place = Self::with(|builder| builder);
        place.client.connect().unwrap();
        place
    }

    fn with(change: impl FnOnce(MqttClientBuilder) -> MqttClientBuilder) -> Self {
        let watchdog = watchdog(LIMIT);
        let network = Simulator::start(Network::V3).unwrap();
        network.device("bed-07").join();
        let (app_id, key) = (network.app_id(), network.access_key());
        network.set_rights(app_id, key, &[READ, WRITE, DEVICES]);
        let builder = MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(network.mqtt_address())
            .http_address(network.http_address())
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
            .unconfirmed_after(UNCONFIRMED_AFTER);
        Self {
            client: change(builder).build().unwrap(),
            network,
            _watchdog: watchdog,
        }
    }

    fn set_rights(&self, rights: &[&str]) {
        let network = &self.network;
        network.set_rights(network.app_id(), network.access_key(), rights);
    }

    /// Changes what the key allows for the connection too.
    fn reconnect_with_rights(&self, rights: &[&str]) {
        let events = self.client.events();
        self.set_rights(rights);
        self.network.disconnect_clients();
        while !matches!(events.recv_timeout(SOON).unwrap(), Event::Connected(_)) {}
    }

    fn send(&self, dev_id: &str, byte: u8) -> Delivery {
        let downlink = Downlink::bytes([byte]).port(2).schedule(Schedule::Last);
        self.client.send(dev_id, downlink).unwrap()
    }

    /// Returns the requests about devices.
    fn requests(&self) -> Vec<String> {
        let requests = self.network.http_requests().into_iter();
        let about_devices = requests.filter(|request| request.path.contains("/devices"));
        about_devices
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }
}

/// Returns the text of a delivery that ends as unconfirmed, and the name of the network's error.
fn unconfirmed(delivery: &Delivery) -> (String, String) {
    let state = delivery.wait();
    let DeliveryState::Unconfirmed(error) = &state else {
        panic!("{state}");
    };
    assert_eq!(error.kind(), ErrorKind::Unconfirmed);
    let details = state.error_details();
    (
        error.to_string(),
        details.map(|it| it.id()).unwrap_or_default(),
    )
}

#[test]
fn a_downlink_to_an_unknown_device_ends_with_that_cause() {
    let place = Place::new();
    let (text, id) = unconfirmed(&place.send("bed-99", 1));
    assert!(text.contains("no such device is registered"), "{text}");
    assert!(
        text.contains("because") && !text.contains("may lack"),
        "{text}"
    );
    assert_eq!(id, "pkg/redis:not_found");
    assert_eq!(place.requests().len(), 2, "{:?}", place.requests());
}

#[test]
fn without_the_right_to_read_devices_an_unknown_device_may_be_elsewhere() {
    let place = Place::new();
    place.set_rights(&[READ, WRITE]);
    let (text, _) = unconfirmed(&place.send("bed-99", 1));
    assert!(
        text.contains("this server knows no device \"bed-99\""),
        "{text}"
    );
    assert!(text.contains("another cluster"), "{text}");
}

#[test]
fn a_downlink_to_a_device_of_another_cluster_names_that_cluster() {
    let place = Place::new();
    let roof = place.network.device("roof-3");
    roof.on_other_cluster("nam1.example.org");
    let (text, _) = unconfirmed(&place.send("roof-3", 1));
    assert!(
        text.contains("registered on the cluster nam1.example.org"),
        "{text}"
    );
}

#[test]
fn a_device_without_a_session_is_the_cause_reported_or_asked() {
    let place = Place::new();
    let quiet = place.network.create_device("bed-08", None);
    quiet.forget_session();
    let state = place.send("bed-08", 1).wait();
    assert!(matches!(state, DeliveryState::Failed(_)), "{state}");
    assert_eq!(state.error_details().unwrap().name, "no_device_session");
    // The client hears nothing, and asks.
    place.reconnect_with_rights(&[WRITE]);
    let (text, id) = unconfirmed(&place.send("bed-08", 2));
    assert!(text.contains("bed-08 has no session"), "{text}");
    assert_eq!(id, "pkg/applicationserver:no_device_session");
}

#[test]
fn a_key_that_may_not_write_is_the_cause() {
    let place = Place::new();
    place.reconnect_with_rights(&[READ, DEVICES]);
    let (text, id) = unconfirmed(&place.send("bed-07", 1));
    assert!(
        text.contains("the API key lacks") && text.contains(WRITE),
        "{text}"
    );
    assert_eq!(id, "pkg/auth/rights:insufficient_application_rights");
}

#[test]
fn a_key_that_may_not_read_is_the_cause_and_the_downlink_may_be_queued() {
    let place = Place::new();
    place.reconnect_with_rights(&[WRITE]);
    let (text, id) = unconfirmed(&place.send("bed-07", 1));
    assert!(
        text.contains("the API key lacks") && text.contains(READ),
        "{text}"
    );
    assert!(
        text.contains("cannot read the queue") && text.contains("may have queued it"),
        "{text}"
    );
    assert_eq!(id, "pkg/auth/rights:insufficient_application_rights");
    // Without the queue, the network still says what is wrong with the device.
    let (text, _) = unconfirmed(&place.send("bed-99", 1));
    assert!(text.contains("this server knows no device"), "{text}");
}

#[test]
fn a_downlink_whose_report_is_missing_but_that_is_queued_goes_on() {
    let place = Place::new();
    place.reconnect_with_rights(&[WRITE]);
    // That counts for HTTP at once, for MQTT only from the next connection on.
    place.set_rights(&[READ, WRITE]);
    let delivery = place.send("bed-07", 1);
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    assert_eq!(place.requests().len(), 1, "{:?}", place.requests());
    place.reconnect_with_rights(&[READ, WRITE]);
    let bed = place.network.device("bed-07");
    bed.uplink(1, [1]);
    delivery.wait_for(DeliveryState::Sent, SOON).unwrap();
}

#[test]
fn a_downlink_that_the_formatter_fails_on_is_not_in_the_queue() {
    let place = Place::new();
    place
        .network
        .set_encoder(|_, _| Err::<Vec<u8>, _>("a mistake".to_owned()));
    let fields = Downlink::fields(serde_json::json!({"open": true}));
    let (text, _) = unconfirmed(&place.client.send("bed-07", fields).unwrap());
    assert!(text.contains("does not hold it in the queue"), "{text}");
    assert!(text.contains("formatter may have failed"), "{text}");
    assert!(
        !text.contains("may lack") && !text.contains("no device"),
        "{text}"
    );
}

#[test]
fn many_overdue_downlinks_of_a_device_are_one_question() {
    let place = Place::new();
    let many: Vec<_> = (0..20).map(|byte| place.send("bed-99", byte)).collect();
    for delivery in &many {
        let (text, _) = unconfirmed(delivery);
        assert!(text.contains("no such device is registered"), "{text}");
    }
    assert!(place.requests().len() <= 4, "{:?}", place.requests());
}

#[test]
fn a_downlink_that_is_reported_in_time_is_not_asked_about_over_http() {
    let place = Place::new();
    let delivery = place.send("bed-07", 1);
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    let lost = place.send("bed-99", 1);
    unconfirmed(&lost);
    assert!(
        place
            .requests()
            .iter()
            .all(|request| request.contains("bed-99"))
    );
}

#[test]
fn a_client_that_may_not_ask_guesses_as_before() {
    let place = Place::with(|builder| builder.ask_over_http(false));
    place.client.connect().unwrap();
    let start = Instant::now();
    let (text, id) = unconfirmed(&place.send("bed-99", 1));
    assert!(
        text.contains("likely causes, most likely first: "),
        "{text}"
    );
    assert!(!text.contains("looked up") && id.is_empty(), "{text}");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(place.requests(), Vec::<String>::new());
}

#[test]
fn an_http_server_that_fails_changes_only_what_is_known() {
    for (fault, words) in [
        (HttpFault::Status(500), "HTTP 500"),
        (HttpFault::Html(502), "HTTP 502"),
        (HttpFault::CutOff, "could not be looked up"),
        (HttpFault::NotHttp, "could not be looked up"),
    ] {
        let place = Place::new();
        place.network.http_fault(Some(fault.clone()));
        let good = place.send("bed-07", 1);
        let (text, id) = unconfirmed(&place.send("bed-99", 1));
        assert!(text.contains("likely causes"), "{fault:?}: {text}");
        assert!(
            text.contains("could not be looked up: ") && text.contains(words),
            "{fault:?}: {text}"
        );
        assert_eq!(id, "");
        good.wait_for(DeliveryState::Queued, SOON).unwrap();
    }
}

#[test]
fn a_silent_http_server_delays_the_verdict_by_ten_seconds_at_most_and_nothing_else() {
    let place = Place::new();
    place.network.http_fault(Some(HttpFault::Silent));
    let start = Instant::now();
    let lost = place.send("bed-99", 1);
    assert!(
        lost.wait_for(DeliveryState::Queued, Duration::from_secs(1))
            .is_err()
    );
    for byte in 0..10 {
        let start = Instant::now();
        let delivery = place.send("bed-07", byte);
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
        assert!(start.elapsed() < Duration::from_secs(8));
    }
    let (text, _) = unconfirmed(&lost);
    assert!(text.contains("could not be looked up"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(12));
}

#[test]
fn closing_does_not_wait_for_an_http_server_that_is_silent() {
    let place = Place::new();
    place.network.http_fault(Some(HttpFault::Silent));
    place.send("bed-99", 1);
    assert!(wait_until(SOON, || !place.requests().is_empty()));
    let start = Instant::now();
    place.client.close().unwrap();
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn after_a_reconnect_open_downlinks_are_looked_up() {
    let place = Place::with(|builder| builder.unconfirmed_after(Duration::from_secs(20)));
    place.client.connect().unwrap();
    place.reconnect_with_rights(&[WRITE]);
    let delivery = place.send("bed-07", 1);
    delivery.wait_for(DeliveryState::Written, SOON).unwrap();
    let start = Instant::now();
    while place.client.queue("bed-07").is_err() && start.elapsed() < SOON {
        place.set_rights(&[READ, WRITE]);
    }
    place.reconnect_with_rights(&[READ, WRITE]);
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
}
