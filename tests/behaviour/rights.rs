//! What the access key allows: asked once in the background, told to the program, and used by `send`.

use std::time::{Duration, Instant, SystemTime};

use crate::support::{
    harness::SOON,
    resources::wait_until,
    watchdog::{Watchdog, watchdog},
};
use ttn::{
    DeliveryState, Downlink, ErrorKind, Event, Events, KeyConcern, KeyWarning, MqttClient,
    MqttClientBuilder, Network, Rights,
    simulator::{HttpFault, KeyOf, Simulator},
};

const LIMIT: Duration = Duration::from_secs(60);
const READ: &str = "RIGHT_APPLICATION_TRAFFIC_READ";
const WRITE: &str = "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE";
const INFO: &str = "RIGHT_APPLICATION_INFO";
const CALLER: &str = "/api/v3/auth_info";
const DAY: Duration = Duration::from_secs(86_400);

struct Place {
    network: Simulator,
    _watchdog: Watchdog,
}

impl Place {
    /// Starts a network whose key has these rights. The key is another one in each test, because clients
    /// of one process share what they learn of a key.
    fn new(rights: &[&str]) -> Self {
        let watchdog = watchdog(LIMIT);
        let key = format!("NNSXS.ID{:016X}.SECRET-OF-THE-KEY", fastrand::u64(..));
        let network = Simulator::builder(Network::V3)
            .application("greenhouse@ttn", &key)
            .start()
            .unwrap();
        network.device("bed-07").join();
        network.set_rights(network.app_id(), &key, rights);
        Self {
            network,
            _watchdog: watchdog,
        }
    }

    fn builder(&self) -> MqttClientBuilder {
        let network = &self.network;
        MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(network.mqtt_address())
            .http_address(network.http_address())
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
    }

    /// Returns a connected client, and its events from before it connected.
    fn connect(&self) -> (MqttClient, Events) {
        let client = self.builder().build().unwrap();
        let events = client.events();
        client.connect().unwrap();
        (client, events)
    }

    fn asked(&self) -> Vec<String> {
        let requests = self.network.http_requests().into_iter();
        requests.map(|request| request.path).collect()
    }

    fn set_rights(&self, rights: &[&str]) {
        let network = &self.network;
        network.set_rights(network.app_id(), network.access_key(), rights);
    }

    fn reconnect(&self, client: &MqttClient, events: &Events) {
        self.network.disconnect_clients();
        await_event(events, |event| matches!(event, Event::Disconnected(_)));
        await_event(events, |event| matches!(event, Event::Connected(_)));
        assert!(client.is_connected());
    }
}

fn await_event(events: &Events, is_meant: impl Fn(&Event) -> bool) -> Event {
    let deadline = Instant::now() + SOON;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = events.recv_timeout(left).expect("the event comes in time");
        if is_meant(&event) {
            return event;
        }
    }
}

fn await_warning(events: &Events) -> KeyWarning {
    match await_event(events, |event| matches!(event, Event::KeyWarning(_))) {
        Event::KeyWarning(warning) => warning,
        other => panic!("{other:?}"),
    }
}

/// Returns the warnings that come within that time.
fn warnings(events: &Events, time: Duration) -> Vec<KeyWarning> {
    let deadline = Instant::now() + time;
    let mut warnings = Vec::new();
    while let Ok(event) = events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if let Event::KeyWarning(warning) = event {
            warnings.push(warning);
        }
    }
    warnings
}

fn await_rights(client: &MqttClient) -> Rights {
    assert!(wait_until(SOON, || client.rights().is_some()));
    client.rights().unwrap()
}

fn downlink() -> Downlink {
    Downlink::bytes([1]).port(2)
}

#[test]
fn the_rights_of_a_key_are_known_soon_after_connecting() {
    let place = Place::new(&[READ, WRITE, INFO]);
    let network = &place.network;
    let end = SystemTime::now() + 100 * DAY;
    network.expire_key(network.app_id(), network.access_key(), end);
    let (client, events) = place.connect();
    let rights = await_rights(&client);
    assert!(rights.may_read() && rights.may_send() && rights.has(INFO));
    assert_eq!(rights.rights, [INFO, WRITE, READ]);
    assert!(rights.owner.contains("greenhouse"), "{rights:?}");
    let expires = rights.expires_at.unwrap();
    let difference = end.duration_since(expires).unwrap_or_default();
    assert!(difference < Duration::from_secs(1));
    assert!(warnings(&events, Duration::from_millis(200)).is_empty());
    assert_eq!(place.asked(), [CALLER]);
}

#[test]
fn a_key_that_may_not_read_is_told_within_a_second() {
    let place = Place::new(&[WRITE]);
    let client = place.builder().build().unwrap();
    let events = client.events();
    client.connect().unwrap();
    let connected = Instant::now();
    let warning = await_warning(&events);
    assert!(connected.elapsed() < Duration::from_secs(1));
    assert_eq!(warning.concern, KeyConcern::MayNotRead);
    let text = warning.to_string();
    for words in ["greenhouse@ttn", READ, "no message will arrive"] {
        assert!(text.contains(words), "{text}");
    }
    assert!(!text.contains("SECRET-OF-THE-KEY"), "{text}");
    let sent = client.send("bed-07", downlink());
    assert!(sent.is_ok(), "the key may send");
}

#[test]
fn an_early_end_of_a_key_is_told_once() {
    let place = Place::new(&[READ, WRITE]);
    let network = &place.network;
    let end = SystemTime::now() + 13 * DAY;
    network.expire_key(network.app_id(), network.access_key(), end);
    let (client, events) = place.connect();
    let warning = await_warning(&events);
    let text = warning.to_string();
    assert!(text.contains("expires"), "{text}");
    place.reconnect(&client, &events);
    assert!(warnings(&events, Duration::from_millis(300)).is_empty());
}

#[test]
fn a_downlink_of_a_key_that_may_not_send_is_an_error() {
    let place = Place::new(&[READ]);
    let (client, _events) = place.connect();
    await_rights(&client);
    let error = client.send("bed-07", downlink()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAuthorized);
    let text = error.to_string();
    assert!(text.contains(WRITE), "{text}");
    assert!(!text.contains("SECRET-OF-THE-KEY"), "{text}");
    assert!(place.network.published().is_empty());
}

#[test]
fn a_right_counts_from_the_next_connection_on() {
    let place = Place::new(&[READ]);
    let (client, events) = place.connect();
    await_rights(&client);
    place.set_rights(&[READ, WRITE]);
    // The network decides about this connection by the rights that the key had when it was opened.
    client.send("bed-07", downlink()).unwrap_err();
    place.reconnect(&client, &events);
    assert!(wait_until(SOON, || client
        .rights()
        .is_some_and(|rights| rights.may_send())));
    let delivery = client.send("bed-07", downlink()).unwrap();
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    assert_eq!(place.asked(), [CALLER, CALLER]);
}

#[test]
fn what_was_answered_about_an_earlier_connection_forbids_nothing() {
    let place = Place::new(&[READ]);
    let (client, events) = place.connect();
    await_rights(&client);
    place.set_rights(&[READ, WRITE]);
    place.network.http_fault(Some(HttpFault::Silent));
    place.reconnect(&client, &events);
    let delivery = client.send("bed-07", downlink()).unwrap();
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
}

#[test]
fn a_queued_downlink_overrules_what_was_answered() {
    let place = Place::new(&[READ, WRITE]);
    // The connection has the right that the key has lost when the client asks.
    place
        .network
        .http_fault_on(CALLER, Some(HttpFault::Slow(Duration::from_millis(300))));
    let (client, _events) = place.connect();
    place.set_rights(&[READ]);
    let delivery = client.send("bed-07", downlink()).unwrap();
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    await_rights(&client);
    let again = client.send("bed-07", downlink()).unwrap();
    again.wait_for(DeliveryState::Queued, SOON).unwrap();
}

#[test]
fn one_question_is_asked_per_key_and_none_at_reconnects() {
    let place = Place::new(&[READ, WRITE]);
    let clients: Vec<_> = (0..10).map(|_| place.connect()).collect();
    for (client, _) in &clients {
        await_rights(client);
    }
    assert_eq!(place.asked(), [CALLER]);
    place.network.disconnect_clients();
    for (client, events) in &clients {
        await_event(events, |event| matches!(event, Event::Disconnected(_)));
        await_event(events, |event| matches!(event, Event::Connected(_)));
        client.close().unwrap();
        client.connect().unwrap();
        assert!(warnings(events, Duration::from_millis(10)).is_empty());
    }
    assert_eq!(place.asked(), [CALLER]);
}

#[test]
fn a_client_that_shall_not_ask_asks_nothing() {
    let place = Place::new(&[WRITE]);
    let client = place.builder().ask_over_http(false).build().unwrap();
    let events = client.events();
    client.connect().unwrap();
    assert!(warnings(&events, Duration::from_millis(300)).is_empty());
    assert!(client.rights().is_none());
    assert!(place.asked().is_empty());
}

#[test]
fn a_client_of_a_network_without_a_known_http_api_asks_nothing() {
    let place = Place::new(&[READ]);
    let network = &place.network;
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .build()
        .unwrap();
    client.connect().unwrap();
    client.send("bed-07", downlink()).unwrap();
    assert!(client.rights().is_none());
    assert!(place.asked().is_empty());
}

#[test]
fn the_key_of_a_user_is_asked_what_it_may_do_with_the_application() {
    let place = Place::new(&[READ]);
    let network = &place.network;
    let key = format!("NNSXS.USER{:016X}.SECRET-OF-THE-USER", fastrand::u64(..));
    network.add_other_key(&key, KeyOf::User("gardener"), &[READ, WRITE]);
    let client = MqttClient::builder(network.app_id(), &key)
        .mqtt_address(network.mqtt_address())
        .http_address(network.http_address())
        .build()
        .unwrap();
    client.connect().unwrap();
    let rights = await_rights(&client);
    assert!(
        rights.may_send() && rights.owner.contains("gardener"),
        "{rights:?}"
    );
    assert_eq!(
        place.asked(),
        [CALLER, "/api/v3/applications/greenhouse/rights"]
    );
}

#[test]
fn a_network_that_answers_badly_delays_and_blames_nobody() {
    for fault in [
        HttpFault::Silent,
        HttpFault::Slow(Duration::from_secs(2)),
        HttpFault::Status(500),
        HttpFault::Html(502),
        HttpFault::CutOff,
        HttpFault::NotHttp,
        HttpFault::RateLimited,
    ] {
        let place = Place::new(&[READ, WRITE]);
        place.network.http_fault(Some(fault.clone()));
        let start = Instant::now();
        let (client, events) = place.connect();
        let delivery = client.send("bed-07", downlink()).unwrap();
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
        assert!(place.network.wait_for_http_requests(1, SOON));
        client.close().unwrap();
        assert!(start.elapsed() < Duration::from_secs(2), "{fault:?}");
        assert!(warnings(&events, Duration::from_millis(50)).is_empty());
    }
}

#[test]
fn the_key_of_the_retry_callback_is_asked_about_too() {
    let place = Place::new(&[READ, WRITE]);
    let network = &place.network;
    let (client, events) = place.connect();
    await_rights(&client);
    let other = format!("NNSXS.ID{:016X}.ANOTHER-SECRET", fastrand::u64(..));
    network.set_rights(network.app_id(), &other, &[READ]);
    let key = other.clone();
    client
        .set_retry_callback(move |retry| retry.set_access_key(key.clone()))
        .unwrap();
    place.reconnect(&client, &events);
    assert!(wait_until(SOON, || client
        .rights()
        .is_some_and(|rights| !rights.may_send())));
    assert_eq!(place.asked(), [CALLER, CALLER]);
}

#[test]
fn each_question_shows_the_key_to_the_named_host_only() {
    let place = Place::new(&[READ, WRITE]);
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let target = format!("http://{}/api/v3/auth_info", stranger.local_addr().unwrap());
    place.network.http_fault(Some(HttpFault::Redirect(target)));
    let (client, _events) = place.connect();
    assert!(place.network.wait_for_http_requests(1, SOON));
    client.close().unwrap();
    assert!(stranger.accept().is_err(), "nobody comes");
    assert!(client.rights().is_none());
}
