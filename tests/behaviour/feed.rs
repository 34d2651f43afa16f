//! A feed publishes everything that its application gets, at least once, and takes downlinks back: on the simulated
//! network and with Mosquitto.

mod flood;
mod trouble;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use crate::support::{
    harness::SOON,
    mosquitto::{Mosquitto, MosquittoBuilder},
    nats_node::NatsNode,
    peer::MqttPeer,
    relay::Relay,
    resources::{pause, wait_until},
    watchdog::{Watchdog, watchdog},
};
use serde_json::json;
use ttn::{
    Backfill, DeliveryState, Downlink, ErrorKind, Event, Events, Feed, FeedBuilder, FeedEvent,
    FeedStats, MqttClient, MqttClientBuilder, Network, Session, Topics,
    simulator::{Location, Simulator, Storage},
};

const LIMIT: Duration = Duration::from_secs(100);

const BED: &str = "bed-07";

/// A network with storage, a broker, and a link to each that can be cut; HTTP goes over none.
struct Farm {
    network: Simulator,
    network_link: Relay,
    broker: Mosquitto,
    broker_link: Relay,
    _watchdog: Watchdog,
}

impl Farm {
    #[track_caller]
    fn new() -> Option<Self> {
        Self::with(Mosquitto::builder())
    }

    #[track_caller]
    fn with(broker: MosquittoBuilder) -> Option<Self> {
        let watchdog = watchdog(LIMIT);
        let broker = broker.start()?;
        // Backfills with the same key take turns.
        let key = format!("NNSXS.{:016X}.SECRET", fastrand::u64(..));
        let network = Simulator::builder(Network::V3)
            .application("greenhouse@ttn", key)
            .receive_window(Duration::from_millis(200))
            .start()
            .unwrap();
        network.storage(Some(Storage::new()));
        Some(Self {
            network_link: Relay::start(network.address()).unwrap(),
            network,
            broker_link: Relay::start(broker.address()).unwrap(),
            broker,
            _watchdog: watchdog,
        })
    }

    fn network(&self) -> MqttClientBuilder {
        self.network_without_http()
            .http_address(self.network.http_address())
            .backfill(
                Backfill::new()
                    .passes([Duration::ZERO])
                    .max_wait(Duration::from_secs(1)),
            )
    }

    fn network_without_http(&self) -> MqttClientBuilder {
        MqttClient::builder(self.network.app_id(), self.network.access_key())
            .mqtt_address(self.network_link.address().to_string())
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
    }

    /// The broker's client of the feed.
    fn broker(&self) -> MqttClientBuilder {
        MqttClient::own_broker(self.network.app_id())
            .mqtt_address(self.broker_link.address().to_string())
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
    }

    fn feed(&self) -> FeedBuilder {
        Feed::builder(self.network(), self.broker())
    }

    /// A program that reads the broker.
    fn consumer(&self) -> MqttClientBuilder {
        MqttClient::own_broker(self.network.app_id())
            .mqtt_address(self.broker.address().to_string())
    }

    #[track_caller]
    fn reader(&self) -> (MqttClient, Events) {
        connected(self.consumer())
    }

    fn send(&self, numbers: impl IntoIterator<Item = u8>) {
        let bed = self.network.device(BED);
        for number in numbers {
            bed.uplink(1, [number]);
        }
    }

    /// The payloads, in base64, of the downlinks that the network was sent.
    fn downlinks(&self) -> Vec<String> {
        let published = self.network.published();
        let of_requests = published
            .iter()
            .filter(|(topic, _)| topic.contains("/down/"));
        of_requests
            .map(|(_, body)| {
                let body: serde_json::Value = serde_json::from_slice(body).unwrap();
                let payload = body["downlinks"][0]["frm_payload"].as_str();
                payload.unwrap().to_owned()
            })
            .collect()
    }

    #[track_caller]
    fn broker_away(&self, feed: &Feed) {
        self.broker_link.refuse();
        self.broker_link.cut();
        assert!(until(feed, |stats| !stats.is_broker_connected));
    }

    #[track_caller]
    fn broker_back(&self, feed: &Feed) {
        assert!(wait_until(SOON, || self.broker_link.listen().is_ok()));
        assert!(until(feed, |stats| stats.is_broker_connected));
    }

    #[track_caller]
    fn network_away(&self, feed: &Feed) {
        self.network_link.refuse();
        self.network_link.cut();
        assert!(until(feed, |stats| !stats.is_network_connected));
    }

    #[track_caller]
    fn network_back(&self, feed: &Feed) {
        assert!(wait_until(SOON, || self.network_link.listen().is_ok()));
        assert!(until(feed, |stats| stats.is_network_connected));
    }
}

fn until(feed: &Feed, condition: impl Fn(FeedStats) -> bool) -> bool {
    wait_until(3 * SOON, || condition(feed.stats()))
}

#[track_caller]
fn connected(builder: MqttClientBuilder) -> (MqttClient, Events) {
    let client = builder.build().unwrap();
    let events = client.events();
    client.connect().unwrap();
    (client, events)
}

/// Returns the payload numbers of uplinks, and how often each came, until all of them have come.
#[track_caller]
fn numbers(events: &Events, expected: impl IntoIterator<Item = u8>) -> BTreeMap<u8, usize> {
    let expected: BTreeSet<u8> = expected.into_iter().collect();
    let deadline = Instant::now() + 3 * SOON;
    let mut seen = BTreeMap::new();
    while !expected.iter().all(|number| seen.contains_key(number)) {
        match events.recv_deadline(deadline) {
            Some(Event::Uplink(uplink)) => {
                *seen.entry(uplink.payload_raw[0]).or_default() += 1;
            }
            Some(_) => {}
            None => {
                let missing: Vec<_> = expected
                    .iter()
                    .filter(|it| !seen.contains_key(it))
                    .collect();
                panic!("missing: {missing:?} of {}", expected.len());
            }
        }
    }
    seen
}

trait UntilDeadline {
    fn recv_deadline(&self, deadline: Instant) -> Option<Event>;
}

impl UntilDeadline for Events {
    fn recv_deadline(&self, deadline: Instant) -> Option<Event> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.recv_timeout(left).ok()
    }
}

/// Returns the topics and bytes of the messages that come next.
#[track_caller]
fn raw(events: &Events, count: usize) -> Vec<(String, Vec<u8>)> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let event = events.recv_timeout(SOON).unwrap();
        let raw = match &event {
            Event::Uplink(uplink) => uplink.raw(),
            Event::Activation(join) => join.raw(),
            Event::LocationSolved(solved) => solved.raw(),
            Event::ServiceData(data) => data.raw(),
            Event::Downlink(report) => report.raw(),
            _ => continue,
        };
        messages.push((raw.topic().to_owned(), raw.payload().to_vec()));
    }
    messages
}

#[test]
fn everything_that_the_network_sends_arrives_with_its_topic_and_its_bytes() {
    let Some(farm) = Farm::new() else { return };
    let (_direct, from_network) = connected(farm.network_without_http());
    let (_reader, from_broker) = farm.reader();
    let feed = farm.feed().start().unwrap();
    let bed = farm.network.device(BED);
    bed.join();
    bed.uplink(3, [0x00, 0xff, 0x10]);
    bed.service_data("mine", &json!({"level": 7}));
    bed.location_solved(
        "mine",
        Location {
            latitude: 52.0,
            longitude: 4.0,
            altitude: 3,
        },
    );
    bed.uplink(4, []);
    assert_eq!(raw(&from_broker, 5), raw(&from_network, 5));
    assert!(until(&feed, |stats| stats.acknowledged == 5));
    let stats = feed.stats();
    assert_eq!((stats.published, stats.waiting, stats.dropped), (5, 0, 0));
    feed.close().unwrap();
}

#[test]
fn what_devices_send_is_in_the_partition_of_its_device_behind_the_prefix() {
    let Some(farm) = Farm::new() else { return };
    let topics = Topics::with_prefix("ttn/");
    let broker = farm.broker().topics(topics.clone()).partitions(7);
    let feed = Feed::builder(farm.network(), broker).start().unwrap();
    let (_reader, events) = connected(farm.consumer().topics(topics).partitions(7));
    let names = ["bed-01", "bed-02", "bed-03", "bed-04"];
    for name in names {
        farm.network.device(name).uplink(1, [1]);
    }
    for (topic, _) in raw(&events, names.len()) {
        let rest = topic.strip_prefix("ttn/p/").unwrap();
        let (number, topic) = rest.split_once('/').unwrap();
        let dev_id = topic.split('/').nth(3).unwrap();
        assert!(names.contains(&dev_id), "{topic}");
        let hash = dev_id.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        assert_eq!(number, (hash % 7).to_string());
    }
    feed.close().unwrap();
}

#[test]
fn a_downlink_of_a_consumer_ends_acknowledged_through_the_feed() {
    let Some(farm) = Farm::new() else { return };
    let bed = farm.network.device(BED);
    bed.join();
    let brokers = [
        farm.broker(),
        farm.broker()
            .topics(Topics::with_prefix("ttn/"))
            .partitions(3),
    ];
    for (sent, broker) in (1..).zip(brokers) {
        let feed = Feed::builder(farm.network(), broker.clone())
            .start()
            .unwrap();
        // The same topics as the feed's.
        let (reader, _events) = connected(broker.mqtt_address(farm.broker.address().to_string()));
        let downlink = Downlink::bytes([1, 2]).port(5).confirmed(true);
        let delivery = reader.send(BED, downlink).unwrap();
        assert!(wait_until(SOON, || farm.downlinks().len() == sent));
        bed.uplink(1, [1]);
        delivery.wait_for(DeliveryState::Sent, SOON).unwrap();
        // A device acknowledges with its next uplink.
        bed.uplink(1, [2]);
        let state = delivery.wait_for(DeliveryState::Acknowledged, 2 * SOON);
        assert!(
            matches!(state, Ok(DeliveryState::Acknowledged)),
            "{state:?}"
        );
        assert!(until(&feed, |stats| stats.requests == 1
            && stats.requests_waiting == 0));
        assert!(until(&feed, |stats| stats.reports >= 2));
        feed.close().unwrap();
    }
}

#[test]
fn a_request_waits_while_the_network_is_away() {
    let Some(farm) = Farm::new() else { return };
    let bed = farm.network.device(BED);
    bed.join();
    let feed = farm.feed().start().unwrap();
    let (reader, _events) = farm.reader();
    farm.network_away(&feed);
    for number in [1, 2, 3] {
        reader
            .send(BED, Downlink::bytes([number]).schedule(ttn::Schedule::Last))
            .unwrap();
    }
    assert!(until(&feed, |stats| stats.requests_waiting == 3));
    farm.network_back(&feed);
    assert!(until(&feed, |stats| stats.requests == 3));
    assert!(wait_until(SOON, || farm.downlinks().len() == 3));
    assert_eq!(farm.downlinks(), ["AQ==", "Ag==", "Aw=="]);
    assert_eq!(feed.stats().requests_waiting, 0);
    feed.close().unwrap();
}

#[test]
fn a_broker_that_is_away_gets_everything_afterwards_although_the_list_was_full() {
    let Some(farm) = Farm::new() else { return };
    let feed = farm.feed().capacity(10).start().unwrap();
    let events = feed.events();
    let (_reader, from_broker) = farm.reader();
    farm.send(0..5);
    numbers(&from_broker, 0..5);
    for round in 0..2 {
        let first = 5 + round * 60;
        assert!(until(&feed, |stats| stats.waiting == 0));
        farm.broker_away(&feed);
        farm.send(first..first + 60);
        assert!(until(&feed, |stats| stats.overflows == u64::from(round) + 1));
        assert_eq!(feed.stats().waiting, 10, "{:?}", feed.stats());
        assert!(!feed.stats().is_network_connected);
        farm.broker_back(&feed);
        let seen = numbers(&from_broker, first..first + 60);
        assert!(seen.values().all(|times| *times == 1), "{seen:?}");
        assert_eq!(seen.len(), 60, "{seen:?}");
        assert!(until(&feed, |stats| stats.is_network_connected));
    }
    // It goes on as before.
    farm.send([200]);
    numbers(&from_broker, [200]);
    let told: Vec<_> = events.try_iter().collect();
    let count = |is_it: fn(&FeedEvent) -> bool| told.iter().filter(|it| is_it(it)).count();
    assert_eq!(count(|event| matches!(event, FeedEvent::Overflowed)), 2);
    assert_eq!(
        count(|event| matches!(event, FeedEvent::Resumed(Some(_)))),
        2
    );
    feed.close().unwrap();
}

#[test]
fn a_feed_that_closes_reports_the_end_of_both_connections() {
    let Some(farm) = Farm::new() else { return };
    let feed = farm.feed().start().unwrap();
    let events = feed.events();
    feed.close().unwrap();
    let told: Vec<_> = events.iter().collect();
    let is_closed = |event: &FeedEvent| matches!(event, FeedEvent::Network(Event::Closed(_)));
    assert_eq!(
        told.iter().filter(|it| is_closed(it)).count(),
        1,
        "{told:?}"
    );
    let is_closed = |event: &FeedEvent| matches!(event, FeedEvent::Broker(Event::Closed(_)));
    assert_eq!(
        told.iter().filter(|it| is_closed(it)).count(),
        1,
        "{told:?}"
    );
}

#[test]
fn a_broker_that_is_killed_gets_everything_afterwards() {
    let Some(mut farm) = Farm::new() else { return };
    let feed = farm.feed().start().unwrap();
    farm.broker_link.refuse();
    farm.broker.kill();
    assert!(until(&feed, |stats| !stats.is_broker_connected));
    farm.send(0..50);
    assert!(until(&feed, |stats| stats.waiting == 50));
    farm.broker.restart();
    // Before the feed: this broker keeps nothing.
    let (_reader, from_broker) = farm.reader();
    farm.broker_back(&feed);
    let seen = numbers(&from_broker, 0..50);
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    assert_eq!(feed.stats().overflows, 0);
    feed.close().unwrap();
}

#[test]
fn what_comes_while_the_network_is_away_is_fetched() {
    let Some(farm) = Farm::new() else { return };
    let feed = farm.feed().start().unwrap();
    let (_reader, from_broker) = farm.reader();
    farm.send(0..5);
    numbers(&from_broker, 0..5);
    farm.network_away(&feed);
    farm.send(5..30);
    farm.network_back(&feed);
    let seen = numbers(&from_broker, 5..30);
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    assert!(until(&feed, |stats| stats.fetched == 25));
    feed.close().unwrap();
}

#[test]
fn both_uplinks_of_two_feeds_are_the_same_and_a_downlink_reaches_the_network_once() {
    let Some(farm) = Farm::new() else { return };
    let feeds = [farm.feed(), farm.feed()].map(|feed| feed.start().unwrap());
    let (reader, events) = farm.reader();
    let bed = farm.network.device(BED);
    bed.join();
    farm.send(0..20);
    let mut keys: BTreeMap<_, usize> = BTreeMap::new();
    let mut count = 0;
    while count < 40 {
        if let Event::Uplink(uplink) = events.recv_timeout(SOON).unwrap() {
            let key = (uplink.key(), uplink.raw().payload().to_vec());
            *keys.entry(key).or_default() += 1;
            count += 1;
        }
    }
    assert!(keys.len() == 20 && keys.values().all(|times| *times == 2));
    for number in 0..10 {
        let downlink = Downlink::bytes([number]).schedule(ttn::Schedule::Last);
        reader.send(BED, downlink).unwrap();
    }
    let requests = || feeds.iter().map(|feed| feed.stats().requests).sum::<u64>();
    assert!(wait_until(SOON, || requests() == 10));
    assert!(wait_until(SOON, || farm.downlinks().len() == 10));
    for feed in &feeds {
        feed.close().unwrap();
    }
    assert_eq!((requests(), farm.downlinks().len()), (10, 10));
}

#[test]
fn a_feed_that_takes_no_downlinks_leaves_them_to_another() {
    let Some(farm) = Farm::new() else { return };
    let bed = farm.network.device(BED);
    bed.join();
    let first = farm.feed().share_downlinks(false).start().unwrap();
    let second = farm.feed().take_downlinks(false).start().unwrap();
    let (reader, events) = farm.reader();
    reader.send(BED, "01").unwrap();
    assert!(until(&first, |stats| stats.requests == 1));
    farm.send([9]);
    let mut times = 0;
    while times < 2 {
        times += numbers(&events, [9])[&9];
    }
    second.close().unwrap();
    first.close().unwrap();
    assert_eq!(second.stats().requests, 0);
}

#[test]
fn the_next_run_fetches_what_came_since_the_watermark_of_its_file() {
    let Some(farm) = Farm::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("watermark");
    let (_reader, events) = farm.reader();
    let feed = farm.feed().watermark_file(&file).start().unwrap();
    farm.send(0..10);
    numbers(&events, 0..10);
    assert!(until(&feed, |stats| stats.acknowledged == 10));
    feed.close().unwrap();
    farm.send(10..30);
    let feed = farm.feed().watermark_file(&file).start().unwrap();
    let seen = numbers(&events, 10..30);
    assert_eq!(
        seen.keys().copied().collect::<Vec<_>>(),
        (10..30).collect::<Vec<_>>()
    );
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    feed.close().unwrap();
}

#[test]
fn a_watermark_file_exists_before_anything_is_acknowledged() {
    let Some(farm) = Farm::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("watermark");
    let feed = farm
        .feed()
        .watermark_file(&file)
        .close_timeout(Duration::from_millis(300));
    let feed = feed.start().unwrap();
    assert!(file.exists());
    farm.broker_away(&feed);
    farm.send(0..5);
    assert!(until(&feed, |stats| stats.waiting == 5));
    let error = feed.close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unconfirmed);
    assert!(error.to_string().contains("5 messages"), "{error}");
    assert!(wait_until(SOON, || farm.broker_link.listen().is_ok()));
    let (_reader, events) = farm.reader();
    let feed = farm.feed().watermark_file(&file).start().unwrap();
    numbers(&events, 0..5);
    feed.close().unwrap();
}

#[test]
fn a_damaged_watermark_file_is_an_error_and_not_a_fresh_start() {
    let Some(farm) = Farm::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("watermark");
    farm.feed()
        .watermark_file(&file)
        .start()
        .unwrap()
        .close()
        .unwrap();
    let whole = fs::read(&file).unwrap();
    for damaged in [&whole[..whole.len() - 2], b"", b"1795759200000000000"] {
        fs::write(&file, damaged).unwrap();
        let error = farm.feed().watermark_file(&file).start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("is damaged"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), damaged);
    }
    fs::write(&file, &whole).unwrap();
    farm.feed()
        .watermark_file(&file)
        .start()
        .unwrap()
        .close()
        .unwrap();
}

#[test]
fn a_feed_that_cannot_fetch_passes_on_what_comes() {
    let Some(farm) = Farm::new() else { return };
    farm.network.storage(None);
    let builder = || Feed::builder(farm.network_without_http(), farm.broker());
    let error = builder().watermark_file("watermark").start().unwrap_err();
    assert!(error.to_string().contains("http_address"), "{error}");
    let feed = builder().capacity(10).start().unwrap();
    let (_reader, events) = farm.reader();
    farm.send([1]);
    numbers(&events, [1]);
    farm.broker_away(&feed);
    farm.send(10..20);
    assert!(until(&feed, |stats| stats.waiting == 10));
    // The network is not let go: there would be no way to get what it sends.
    farm.send(20..25);
    assert!(feed.stats().is_network_connected);
    farm.broker_back(&feed);
    let seen = numbers(&events, 10..25);
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    assert_eq!(feed.stats().overflows, 0);
    feed.close().unwrap();
}

#[test]
fn closing_publishes_what_waits_and_ends_the_events() {
    let Some(farm) = Farm::new() else { return };
    let feed = farm.feed().in_flight(1).start().unwrap();
    let told = feed.events();
    let (_reader, events) = farm.reader();
    farm.send(0..100);
    assert!(until(&feed, |stats| stats.published > 0));
    feed.close().unwrap();
    feed.close().unwrap();
    let stats = feed.stats();
    assert_eq!((stats.waiting, stats.is_broker_connected), (0, false));
    let mut seen = 0;
    while seen < stats.acknowledged {
        if let Event::Uplink(_) = events.recv_timeout(SOON).unwrap() {
            seen += 1;
        }
    }
    while told.recv_timeout(SOON).is_ok() {}
    assert!(told.recv().is_err());
}

#[test]
fn a_feed_says_why_it_cannot_start() {
    let Some(farm) = Farm::new() else { return };
    let why = |feed: FeedBuilder| feed.start().unwrap_err().to_string();
    for (feed, words) in [
        (farm.feed().capacity(0), "capacity of the feed is 0"),
        (farm.feed().in_flight(0), "in_flight of the feed is 0"),
        (farm.feed().max_bytes(0), "max_bytes of the feed is 0"),
        (
            Feed::builder(farm.broker(), farm.broker()),
            "MqttClient::builder",
        ),
        (
            Feed::builder(farm.network(), farm.network()),
            "MqttClient::own_broker",
        ),
        (
            Feed::builder(
                farm.network(),
                MqttClient::own_broker("brewery@ttn").mqtt_address("localhost:1"),
            ),
            "brewery@ttn",
        ),
    ] {
        let why = why(feed);
        assert!(why.contains(words), "{words}: {why}");
    }
    farm.broker_link.refuse();
    let error = farm.feed().start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(wait_until(SOON, || farm.broker_link.listen().is_ok()));
    farm.network_link.refuse();
    let error = farm.feed().start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_feed_that_is_dropped_publishes_what_it_has() {
    let Some(farm) = Farm::new() else { return };
    let feed = farm.feed().start().unwrap();
    let told = feed.events();
    let (_reader, events) = farm.reader();
    farm.broker_away(&feed);
    farm.send(0..20);
    assert!(until(&feed, |stats| stats.waiting == 20));
    drop(feed);
    assert!(wait_until(SOON, || farm.broker_link.listen().is_ok()));
    numbers(&events, 0..20);
    while told.recv_timeout(2 * SOON).is_ok() {}
    assert!(told.try_recv().is_err());
}

#[test]
fn a_retained_request_is_not_sent_again_and_again() {
    let Some(farm) = Farm::new() else { return };
    let bed = farm.network.device(BED);
    bed.join();
    let topic = format!("v3/{}/devices/{BED}/down/push", farm.network.app_id());
    let mut peer = MqttPeer::connect(farm.broker.address(), "peer", "").unwrap();
    let request = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
    peer.publish_retained(&topic, request).unwrap();
    peer.flush().unwrap();
    let feed = farm.feed().share_downlinks(false).start().unwrap();
    let (reader, _events) = farm.reader();
    reader
        .send(BED, Downlink::bytes([7]).schedule(ttn::Schedule::Last))
        .unwrap();
    assert!(until(&feed, |stats| stats.requests == 1));
    assert!(wait_until(SOON, || farm.downlinks().len() == 1));
    pause(Duration::from_millis(100));
    assert_eq!(feed.stats().requests, 1);
    feed.close().unwrap();
}

#[test]
fn a_session_keeps_requests_while_the_feed_is_away() {
    let Some(farm) = Farm::new() else { return };
    let bed = farm.network.device(BED);
    bed.join();
    let feed = || {
        let broker = farm.broker().session(Session::persistent("feed-1"));
        Feed::builder(farm.network(), broker).start().unwrap()
    };
    feed().close().unwrap();
    let (reader, _events) = farm.reader();
    reader
        .send(BED, Downlink::bytes([7]).schedule(ttn::Schedule::Last))
        .unwrap();
    reader.close().unwrap();
    let feed = feed();
    assert!(until(&feed, |stats| stats.requests == 1));
    assert!(wait_until(SOON, || farm.downlinks().len() == 1));
    feed.close().unwrap();
}

#[test]
fn a_request_that_was_not_written_comes_again_to_the_next_run() {
    let Some(farm) = Farm::new() else { return };
    let bed = farm.network.device(BED);
    bed.join();
    let feed = || {
        let broker = farm.broker().session(Session::persistent("feed-1"));
        Feed::builder(farm.network(), broker).start().unwrap()
    };
    let first = feed();
    let (reader, _events) = farm.reader();
    farm.network_away(&first);
    for number in [1, 2] {
        let downlink = Downlink::bytes([number]).schedule(ttn::Schedule::Last);
        reader.send(BED, downlink).unwrap();
    }
    assert!(until(&first, |stats| stats.requests_waiting == 2));
    first.close().unwrap();
    assert_eq!(first.stats().requests, 0);
    assert!(wait_until(SOON, || farm.network_link.listen().is_ok()));
    let second = feed();
    assert!(until(&second, |stats| stats.requests == 2));
    assert!(wait_until(SOON, || farm.downlinks().len() == 2));
    second.close().unwrap();
    // These were written, and do not come again.
    let third = feed();
    let downlink = Downlink::bytes([3]).schedule(ttn::Schedule::Last);
    reader.send(BED, downlink).unwrap();
    assert!(until(&third, |stats| stats.requests == 1));
    assert!(wait_until(SOON, || farm.downlinks().len() == 3));
    third.close().unwrap();
    assert_eq!(farm.downlinks(), ["AQ==", "Ag==", "Aw=="]);
}

#[test]
fn on_nats_a_feed_says_that_downlinks_cannot_be_shared_and_goes_on_without_that() {
    let Some(farm) = Farm::new() else { return };
    let Some(node) = NatsNode::start() else {
        return;
    };
    let builder = || {
        MqttClient::own_broker(farm.network.app_id())
            .mqtt_address(node.address().to_string())
            .connect_timeout(Duration::from_secs(60))
            .partitions(4)
    };
    let feed = || Feed::builder(farm.network(), builder());
    let error = feed().start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SharedSubscription);
    assert!(
        error.to_string().contains("share_downlinks(false)"),
        "{error}"
    );
    let bed = farm.network.device(BED);
    bed.join();
    let feed = feed().share_downlinks(false).start().unwrap();
    let (reader, events) = connected(builder());
    farm.send(0..20);
    numbers(&events, 0..20);
    reader.send(BED, Downlink::bytes([1])).unwrap();
    assert!(until(&feed, |stats| stats.requests == 1));
    assert!(wait_until(SOON, || farm.downlinks() == ["AQ=="]));
    feed.close().unwrap();
}
