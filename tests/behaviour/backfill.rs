//! What an outage cost is fetched again: what a backfill promises, one test for each promise, on the simulated
//! network and by the public API.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::support::{
    harness::SOON,
    relay::Relay,
    resources::{pause, wait_until},
    watchdog::{Watchdog, watchdog},
};
use ttn::{
    Backfill, BackfillSource, Backfilled, CounterFinding, Error, ErrorKind, Event, Events,
    MqttClient, MqttClientBuilder, Network, Overflow, Uncovered, UncoveredReason, UplinkMessage,
    Watermark,
    simulator::{EventStore, HttpFault, Simulator, Storage},
};

const LIMIT: Duration = Duration::from_secs(60);

/// The device that most tests use.
const BED: &str = "bed-07";

const READ: &str = "RIGHT_APPLICATION_TRAFFIC_READ";
const DEVICES: &str = "RIGHT_APPLICATION_DEVICES_READ";

/// The path of storage, and what it contains of no other.
const STORAGE: &str = "storage";

/// A network, and a link to its MQTT server that can be cut; HTTP does not go over it.
pub(crate) struct Place {
    pub(crate) network: Simulator,
    link: Relay,
    _watchdog: Watchdog,
}

impl Place {
    fn new() -> Self {
        let watchdog = watchdog(LIMIT);
        // Backfills with the same key take turns.
        let key = format!("NNSXS.{:016X}.SECRET", fastrand::u64(..));
        let network = Simulator::builder(Network::V3)
            .application("greenhouse@ttn", key)
            .start()
            .unwrap();
        network.set_rights(network.app_id(), network.access_key(), &[READ, DEVICES]);
        let link = Relay::start(network.address()).unwrap();
        Self {
            network,
            link,
            _watchdog: watchdog,
        }
    }

    pub(crate) fn with_storage(storage: Storage) -> Self {
        let place = Self::new();
        place.network.storage(Some(storage));
        place
    }

    fn with_events(store: EventStore) -> Self {
        let place = Self::new();
        place.network.event_store(Some(store));
        place
    }

    pub(crate) fn builder(&self, backfill: Backfill) -> MqttClientBuilder {
        MqttClient::builder(self.network.app_id(), self.network.access_key())
            .mqtt_address(self.link.address().to_string())
            .http_address(self.network.http_address())
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
            .backfill(backfill)
    }

    /// Connects a client. Returns it with all that it reports.
    #[track_caller]
    pub(crate) fn connected(&self, builder: MqttClientBuilder) -> (MqttClient, Events) {
        let client = builder.build().unwrap();
        let events = client.events();
        client.connect().unwrap();
        (client, events)
    }

    /// Sends uplinks of the device, with one of these numbers in each.
    pub(crate) fn send(&self, numbers: impl IntoIterator<Item = u8>) {
        let bed = self.network.device(BED);
        for number in numbers {
            bed.uplink(1, [number]);
        }
    }

    /// Sends these, which arrive over MQTT.
    #[track_caller]
    pub(crate) fn send_live(&self, events: &Events, numbers: impl IntoIterator<Item = u8>) {
        for number in numbers {
            self.send([number]);
            let uplink = uplink(events);
            assert_eq!(uplink.payload_raw, [number]);
            assert!(!uplink.is_backfilled(), "{uplink:?}");
        }
    }

    /// Sends uplinks of the device as [`send`](Self::send) does, each a moment after the one before.
    pub(crate) fn send_apart(&self, numbers: impl IntoIterator<Item = u8>) {
        for number in numbers {
            self.send([number]);
            pause(Duration::from_millis(3));
        }
    }

    pub(crate) fn storage_fails(&self, fault: Option<HttpFault>) {
        self.network.http_fault_on(STORAGE, fault);
    }

    /// Lets the next request meet a fault, and those after it none.
    fn storage_fails_once(&self, fault: HttpFault) {
        self.network.http_faults_next(STORAGE, [fault]);
    }

    /// Waits until storage was asked.
    #[track_caller]
    pub(crate) fn await_request(&self) {
        assert!(wait_until(SOON, || self.has_asked()), "nobody asks");
    }

    fn has_asked(&self) -> bool {
        let requests = self.network.http_requests();
        requests
            .iter()
            .any(|request| request.path.contains(STORAGE))
    }

    #[track_caller]
    pub(crate) fn cut(&self, client: &MqttClient) {
        self.link.refuse();
        self.link.cut();
        assert!(wait_until(SOON, || !client.is_connected()));
    }

    #[track_caller]
    pub(crate) fn mend(&self) {
        assert!(wait_until(SOON, || self.link.listen().is_ok()));
    }

    /// Cuts the link, and mends it after what happens in the meantime. Returns once the client is back.
    #[track_caller]
    pub(crate) fn outage(&self, client: &MqttClient, happens: impl FnOnce()) {
        self.cut(client);
        happens();
        self.mend();
        assert!(wait_until(SOON, || client.is_connected()));
    }
}

/// Fills gaps once, at once, and does not wait for long.
pub(crate) fn at_once() -> Backfill {
    Backfill::new()
        .passes([Duration::ZERO])
        .max_wait(Duration::from_secs(1))
}

/// Fills gaps once, at once, and then waits for a second pass.
fn between_passes() -> Backfill {
    at_once().passes([0, 3600].map(Duration::from_secs))
}

/// Returns the next uplink.
#[track_caller]
pub(crate) fn uplink(events: &Events) -> Arc<UplinkMessage> {
    loop {
        match events.recv_timeout(SOON).unwrap() {
            Event::Uplink(uplink) => return uplink,
            Event::Backfilled(report) => panic!("no uplink before {report:?}"),
            _ => {}
        }
    }
}

/// Returns everything up to the end of the next backfill, and its report.
#[track_caller]
pub(crate) fn until_filled(events: &Events) -> (Vec<Event>, Arc<Backfilled>) {
    let deadline = Instant::now() + LIMIT / 2;
    let mut before = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match events.recv_timeout(left) {
            Ok(Event::Backfilled(report)) => return (before, report),
            Ok(event) => before.push(event),
            Err(error) => panic!("{error} after {before:?}"),
        }
    }
}

pub(crate) fn uplinks(events: &[Event]) -> Vec<Arc<UplinkMessage>> {
    let uplinks = events.iter().filter_map(|event| match event {
        Event::Uplink(uplink) => Some(Arc::clone(uplink)),
        _ => None,
    });
    uplinks.collect()
}

fn backfilled(events: &[Event]) -> Vec<Arc<UplinkMessage>> {
    let mut uplinks = uplinks(events);
    uplinks.retain(|uplink| uplink.is_backfilled());
    uplinks
}

/// Returns the numbers in uplinks.
pub(crate) fn numbers(uplinks: &[Arc<UplinkMessage>]) -> Vec<u8> {
    uplinks.iter().map(|uplink| uplink.payload_raw[0]).collect()
}

/// Returns the numbers of all uplinks that come until nothing has come for a moment.
pub(crate) fn rest(events: &Events) -> Vec<u8> {
    let mut rest = Vec::new();
    while let Ok(event) = events.recv_timeout(Duration::from_millis(300)) {
        rest.push(event);
    }
    numbers(&uplinks(&rest))
}

/// Returns what was not covered for that reason.
#[track_caller]
fn only(report: &Backfilled, reason: UncoveredReason) -> &Uncovered {
    match &*report.uncovered {
        [uncovered] if uncovered.reason == reason => uncovered,
        _ => panic!("{reason:?} alone should be in {report:?}"),
    }
}

#[track_caller]
pub(crate) fn is_complete(report: &Backfilled, source: BackfillSource, delivered: u64) {
    assert_eq!(report.source, Some(source), "{report:?}");
    assert_eq!(report.delivered, delivered, "{report:?}");
    assert!(report.uncovered.is_empty(), "{report:?}");
    assert!(report.error.is_none(), "{report:?}");
    adds_up(report);
}

#[track_caller]
pub(crate) fn adds_up(report: &Backfilled) {
    let sum = report.delivered + report.known + report.unreadable;
    assert_eq!(report.fetched, sum, "{report:?}");
    assert!(report.from <= report.until, "{report:?}");
}

/// Returns the counter reports among events.
fn findings(events: &[Event]) -> Vec<CounterFinding> {
    let findings = events.iter().filter_map(|event| match event {
        Event::Counter(report) => Some(report.finding),
        _ => None,
    });
    findings.collect()
}

/// Runs a test with each source.
fn each_source(test: impl Fn(&Place, BackfillSource)) {
    test(
        &Place::with_storage(Storage::new()),
        BackfillSource::Storage,
    );
    test(
        &Place::with_events(EventStore::new()),
        BackfillSource::Events,
    );
}

#[test]
fn a_gap_is_filled_in_order_and_marked() {
    each_source(|place, source| {
        let (client, events) = place.connected(place.builder(at_once()));
        place.send_live(&events, 1..=2);
        let before = SystemTime::now();
        place.outage(&client, || place.send(3..=9));
        let (events, report) = until_filled(&events);
        let uplinks = uplinks(&events);
        assert_eq!(numbers(&uplinks), (3..=9).collect::<Vec<_>>());
        for (uplink, number) in uplinks.iter().zip(3_u32..) {
            assert!(uplink.is_backfilled(), "{uplink:?}");
            assert_eq!((&*uplink.dev_id, uplink.port), (BED, 1));
            assert_eq!(
                uplink.app_id,
                place.network.app_id().split('@').next().unwrap()
            );
            assert_eq!(uplink.counter, number - 1);
        }
        assert!(uplinks.is_sorted_by_key(|uplink| uplink.received_at));
        is_complete(&report, source, 7);
        assert!(report.from < before && before < report.until, "{report:?}");
        assert!(report.requests > 0, "{report:?}");
        let stats = client.stats();
        assert_eq!((stats.backfilled, stats.received), (7, 2), "{stats:?}");
        assert_eq!(stats.frames.missing_away, 0, "{stats:?}");
    });
}

#[test]
fn live_traffic_is_not_held_back_while_a_gap_is_filled() {
    let place = Place::with_storage(Storage::new());
    let slow = Duration::from_secs(2);
    place.storage_fails_once(HttpFault::Slow(slow));
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.outage(&client, || place.send(2..=4));
    place.await_request();
    let asked = Instant::now();
    place.send_live(&events, 5..=7);
    assert!(
        asked.elapsed() < slow,
        "they came after {:?}",
        asked.elapsed()
    );
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&backfilled(&filled)), [2, 3, 4]);
    is_complete(&report, BackfillSource::Storage, 3);
}

#[test]
fn frames_that_come_back_are_not_missing_any_more() {
    let place = Place::with_storage(Storage::new());
    place.storage_fails_once(HttpFault::Slow(Duration::from_millis(500)));
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.outage(&client, || place.send(2..=4));
    place.await_request();
    place.send([5]);
    let (before, _) = until_filled(&events);
    let findings = findings(&before);
    let missing = |finding: &CounterFinding| match finding {
        CounterFinding::Missing { frames, .. } => *frames,
        _ => 0,
    };
    let filled = |finding: &&CounterFinding| matches!(finding, CounterFinding::Filled { .. });
    assert_eq!(findings.iter().map(missing).sum::<u32>(), 3, "{findings:?}");
    assert_eq!(findings.iter().filter(filled).count(), 3, "{findings:?}");
    let frames = client.stats().frames;
    let missing = frames.missing_away + frames.missing_upstream + frames.missing_dropped_here;
    assert_eq!(missing, 0, "{frames:?}");
}

#[test]
fn nothing_comes_twice() {
    let place = Place::with_storage(Storage::new().doubled(true));
    let (client, events) = place.connected(place.builder(at_once()));
    // They are inside of the overlap.
    place.send_live(&events, 1..=3);
    place.outage(&client, || place.send(4..=6));
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), [4, 5, 6]);
    is_complete(&report, BackfillSource::Storage, 3);
    // Each of six came twice, perhaps in several pages.
    assert!(report.known >= 9, "{report:?}");
    place.send_live(&events, [7]);
    place.outage(&client, || place.send([8]));
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), [8]);
    assert_eq!(report.delivered, 1, "{report:?}");
    assert!(rest(&events).is_empty());
}

#[test]
fn an_uplink_that_storage_shows_late_comes_with_a_later_pass() {
    let delay = Duration::from_millis(700);
    let place = Place::with_storage(Storage::new().write_delay(delay));
    let passes = [Duration::ZERO, Duration::from_millis(1_500)];
    let (client, events) = place.connected(place.builder(Backfill::new().passes(passes)));
    place.send_live(&events, [1]);
    place.outage(&client, || place.send(2..=3));
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), [2, 3]);
    is_complete(&report, BackfillSource::Storage, 2);
}

#[test]
fn several_pages_are_one_backfill() {
    let place = Place::with_storage(Storage::new());
    let (client, events) = place.connected(place.builder(at_once().page_size(10)));
    place.send_live(&events, [0]);
    place.outage(&client, || place.send_apart(1..=25));
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), (1..=25).collect::<Vec<_>>());
    is_complete(&report, BackfillSource::Storage, 25);
    assert!(report.requests >= 3, "{report:?}");
}

#[test]
fn a_gap_that_grows_while_it_is_filled_is_filled_as_a_whole() {
    let place = Place::with_storage(Storage::new());
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.storage_fails(Some(HttpFault::Silent));
    place.outage(&client, || place.send(2..=3));
    place.await_request();
    place.storage_fails(None);
    place.outage(&client, || place.send(4..=5));
    let mut all = Vec::new();
    while numbers(&backfilled(&all)).len() < 4 {
        let (more, report) = until_filled(&events);
        adds_up(&report);
        all.extend(more);
    }
    assert_eq!(numbers(&uplinks(&all)), [2, 3, 4, 5]);
}

#[test]
fn the_first_connection_fills_nothing() {
    let place = Place::with_storage(Storage::new());
    place.send(1..=2);
    let (_client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [3]);
    assert!(rest(&events).is_empty());
    assert!(!place.has_asked());
}

#[test]
fn an_uplink_that_overtakes_the_answer_to_the_subscription_does_not_shorten_the_gap() {
    let place = Place::with_storage(Storage::new());
    let backfill = at_once().overlap(Duration::ZERO);
    let (client, events) = place.connected(place.builder(backfill));
    place.send_live(&events, [1]);
    place.cut(&client);
    place.send(2..=3);
    let delay = Duration::from_secs(1);
    place.network.quirks(|quirks| quirks.suback_delay = delay);
    place.mend();
    assert!(place.network.wait_for_subscriptions(1, SOON));
    place.send([4]);
    assert!(!client.is_connected(), "the answer came first");
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&backfilled(&filled)), [2, 3], "{report:?}");
    let mut all = numbers(&uplinks(&filled));
    all.sort();
    assert_eq!(all, [2, 3, 4]);
}

#[test]
fn storage_that_is_not_enabled_leaves_a_gap_that_is_reported() {
    let place = Place::with_storage(Storage::new().not_enabled());
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.outage(&client, || place.send(2..=4));
    let (filled, report) = until_filled(&events);
    assert_eq!(uplinks(&filled).len(), 0);
    assert_eq!(report.delivered, 0, "{report:?}");
    let uncovered = only(&report, UncoveredReason::NotEnabled);
    assert_eq!(uncovered.uplinks, Some(3), "{report:?}");
}

#[test]
fn a_server_without_storage_and_events_leaves_a_gap_with_a_number_for_each_device() {
    let place = Place::new();
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.network.device("tank-1").uplink(1, [100]);
    assert_eq!(uplink(&events).dev_id, "tank-1");
    place.outage(&client, || {
        place.send(2..=4);
        place.network.device("tank-1").uplink(1, [101]);
    });
    let (filled, report) = until_filled(&events);
    assert_eq!(uplinks(&filled).len(), 0);
    assert_eq!((report.source, report.fetched), (None, 0), "{report:?}");
    let uncovered = only(&report, UncoveredReason::NotEnabled);
    assert_eq!(uncovered.uplinks, Some(4), "{report:?}");
    let mut devices: Vec<_> = uncovered
        .devices
        .iter()
        .map(|device| (&*device.dev_id, device.uplinks))
        .collect();
    devices.sort();
    assert_eq!(devices, [(BED, Some(3)), ("tank-1", Some(1))]);
}

#[test]
fn of_a_device_that_was_not_heard_before_the_gap_nobody_knows_how_much_is_missing() {
    let place = Place::new();
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    let watermark = uplink_watermark(&place, &events);
    drop(client);
    // Counters are compared by sixteenths of a second.
    pause(Duration::from_millis(100));
    place.send(3..=5);
    let (_client, events) = place.connected(place.builder(at_once()).resume_from(watermark));
    // Its counter alone does not tell what came before.
    place.send([6]);
    let (_, report) = until_filled(&events);
    let uncovered = only(&report, UncoveredReason::NotEnabled);
    assert_eq!(uncovered.uplinks, None, "{report:?}");
    assert_eq!(uncovered.devices.len(), 1, "{report:?}");
    assert_eq!(uncovered.devices[0].uplinks, None, "{report:?}");
}

/// Returns the watermark of one more uplink, which arrives over MQTT.
fn uplink_watermark(place: &Place, events: &Events) -> Watermark {
    place.send([2]);
    uplink(events).watermark().unwrap()
}

#[test]
fn a_key_that_may_not_read_devices_leaves_a_gap_without_a_number() {
    let place = Place::new();
    let (app, key) = (place.network.app_id(), place.network.access_key());
    place.network.set_rights(app, key, &[READ]);
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.outage(&client, || place.send(2..=4));
    let (_, report) = until_filled(&events);
    let uncovered = only(&report, UncoveredReason::NotEnabled);
    assert_eq!(uncovered.uplinks, None, "{report:?}");
    assert!(
        uncovered
            .devices
            .iter()
            .all(|device| device.uplinks.is_none()),
        "{report:?}"
    );
}

#[test]
fn more_events_than_the_network_keeps_are_a_gap_with_a_number() {
    let place = Place::with_events(EventStore::new().events(5));
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.outage(&client, || place.send(2..=21));
    let (filled, report) = until_filled(&events);
    let numbers = numbers(&uplinks(&filled));
    assert!(!numbers.is_empty() && numbers.len() < 20, "{numbers:?}");
    // The last ones.
    assert!(
        numbers.iter().copied().eq(22 - numbers.len() as u8..=21),
        "{numbers:?}"
    );
    let uncovered = only(&report, UncoveredReason::NotKept);
    let lost = 20 - numbers.len() as u64;
    assert_eq!(uncovered.uplinks, Some(lost), "{report:?}");
    adds_up(&report);
}

#[test]
fn events_whose_messages_have_expired_are_counted() {
    let store = EventStore::new().message_ttl(Duration::from_millis(100));
    let place = Place::with_events(store);
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.outage(&client, || {
        // A trace is that of an uplink near it.
        pause(Duration::from_millis(1_200));
        place.send(2..=5);
        pause(Duration::from_millis(300));
    });
    let (filled, report) = until_filled(&events);
    assert_eq!(uplinks(&filled).len(), 0);
    let uncovered = only(&report, UncoveredReason::OnlyCounted);
    assert_eq!(uncovered.uplinks, Some(4), "{report:?}");
    let [device] = &*uncovered.devices else {
        panic!("{report:?}")
    };
    assert_eq!((&*device.dev_id, device.uplinks), (BED, Some(4)));
}

#[test]
fn a_rate_limit_that_leaves_no_time_ends_a_backfill() {
    let place = Place::with_storage(Storage::new());
    place.storage_fails(Some(HttpFault::RateLimited));
    let backfill = at_once().max_wait(Duration::from_millis(100));
    let (client, events) = place.connected(place.builder(backfill));
    place.send_live(&events, [1]);
    place.outage(&client, || place.send(2..=3));
    let (filled, report) = until_filled(&events);
    assert_eq!(uplinks(&filled).len(), 0);
    assert_eq!(
        only(&report, UncoveredReason::RateLimited).uplinks,
        Some(2),
        "{report:?}"
    );
}

#[test]
fn a_rate_limit_slows_a_backfill_down_and_everything_comes() {
    let place = Place::with_storage(Storage::new());
    place.network.http_rate_limit(3, 60);
    let slow = at_once()
        .page_size(5)
        .reserve(1)
        .max_wait(Duration::from_secs(10));
    let (client, events) = place.connected(place.builder(slow));
    place.send_live(&events, [0]);
    place.outage(&client, || place.send_apart(1..=20));
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), (1..=20).collect::<Vec<_>>());
    is_complete(&report, BackfillSource::Storage, 20);
}

#[test]
fn a_key_that_storage_refuses_ends_a_backfill_with_the_reason() {
    let place = Place::with_storage(Storage::new().forbidden());
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.outage(&client, || place.send(2..=3));
    let (filled, report) = until_filled(&events);
    assert_eq!(uplinks(&filled).len(), 0);
    only(&report, UncoveredReason::Refused);
    let error = report.error.as_ref().expect("it is refused");
    assert_eq!(error.kind(), ErrorKind::NotAuthorized, "{error}");
    assert!(
        !error.to_string().contains(place.network.access_key()),
        "{error}"
    );
}

#[test]
fn what_is_older_than_max_age_is_not_fetched_and_reported() {
    let place = Place::with_storage(Storage::new());
    let backfill = at_once()
        .max_age(Duration::from_secs(2))
        .overlap(Duration::ZERO);
    let (client, events) = place.connected(place.builder(backfill));
    place.send_live(&events, [1]);
    place.outage(&client, || {
        place.send(2..=3);
        pause(Duration::from_secs(3));
        place.send(4..=5);
    });
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), [4, 5]);
    only(&report, UncoveredReason::TooOld);
    assert_eq!(report.delivered, 2, "{report:?}");
}

#[test]
fn what_storage_keeps_no_longer_is_reported() {
    let place = Place::with_storage(Storage::new().retention(Duration::from_secs(1)));
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.outage(&client, || {
        place.send(2..=3);
        pause(Duration::from_secs(2));
        place.send(4..=5);
    });
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), [4, 5]);
    let uncovered = only(&report, UncoveredReason::NotKept);
    assert_eq!(uncovered.uplinks, Some(2), "{report:?}");
}

#[test]
fn a_stream_that_breaks_off_is_read_on() {
    let faults = [
        HttpFault::CutOff,
        HttpFault::Status(502),
        HttpFault::Html(503),
    ];
    for fault in faults {
        let place = Place::with_storage(Storage::new());
        let (client, events) = place.connected(place.builder(at_once()));
        place.send_live(&events, [1]);
        place.storage_fails_once(fault.clone());
        place.outage(&client, || place.send(2..=9));
        let (filled, report) = until_filled(&events);
        assert_eq!(
            numbers(&uplinks(&filled)),
            (2..=9).collect::<Vec<_>>(),
            "{fault:?}"
        );
        assert_eq!(report.delivered, 8, "{fault:?}: {report:?}");
        assert!(report.uncovered.is_empty(), "{fault:?}: {report:?}");
        adds_up(&report);
    }
}

/// Returns the uplinks that a client gets that goes on from this watermark.
#[track_caller]
fn resumed(place: &Place, watermark: &Watermark) -> Vec<u8> {
    // As a program that keeps it as text.
    let stored: Watermark = watermark.to_string().parse().unwrap();
    let builder = place.builder(at_once()).resume_from(stored);
    let (_client, events) = place.connected(builder);
    let (filled, report) = until_filled(&events);
    assert!(report.uncovered.is_empty(), "{report:?}");
    assert!(uplinks(&filled).iter().all(|uplink| uplink.is_backfilled()));
    let mut all = numbers(&uplinks(&filled));
    all.extend(rest(&events));
    all
}

#[test]
fn a_client_that_goes_on_from_a_watermark_gets_exactly_the_rest() {
    each_source(|place, _| {
        let (client, events) = place.connected(place.builder(at_once()));
        place.send(1..=5);
        let watermarks: Vec<_> = (1..=5)
            .map(|_| uplink(&events).watermark().expect("it has one"))
            .collect();
        drop((client, events));
        place.send(6..=7);
        thread::scope(|scope| {
            for (watermark, next) in watermarks.iter().zip(2..) {
                let missing: Vec<u8> = (next..=7).collect();
                scope.spawn(move || {
                    assert_eq!(resumed(place, watermark), missing, "{watermark}");
                });
            }
        });
    });
}

#[test]
fn a_client_that_goes_on_after_a_crash_in_a_backfill_gets_exactly_the_rest() {
    let place = Place::with_storage(Storage::new());
    let slow = HttpFault::Slow(Duration::from_millis(300));
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, 1..=2);
    place.storage_fails(Some(slow));
    place.outage(&client, || place.send(3..=8));
    place.await_request();
    // They are handled before those that were sent before them.
    place.send_live(&events, 9..=10);
    let watermarks: Vec<_> = (3..=8)
        .map(|number| {
            let uplink = uplink(&events);
            assert_eq!(uplink.payload_raw, [number]);
            assert!(uplink.is_backfilled());
            uplink.watermark().expect("it has one")
        })
        .collect();
    drop((client, events));
    place.storage_fails(None);
    for (watermark, next) in watermarks.iter().zip(4..) {
        let missing: Vec<u8> = (next..=8).collect();
        assert_eq!(resumed(&place, watermark), missing, "{watermark}");
    }
}

#[test]
fn a_live_uplink_before_a_gap_is_filled_does_not_move_the_watermark_past_the_gap() {
    let place = Place::with_storage(Storage::new());
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.storage_fails(Some(HttpFault::Silent));
    place.outage(&client, || place.send(2..=4));
    place.await_request();
    place.send([5]);
    let watermark = uplink(&events).watermark().expect("it has one");
    drop((client, events));
    place.storage_fails(None);
    assert_eq!(resumed(&place, &watermark), [2, 3, 4]);
}

#[test]
fn a_time_in_place_of_a_watermark_fetches_everything_since() {
    let place = Place::with_storage(Storage::new());
    place.send([1]);
    pause(Duration::from_millis(500));
    let since = SystemTime::now();
    place.send(2..=4);
    let backfill = at_once().overlap(Duration::ZERO);
    let (_client, events) = place.connected(place.builder(backfill).resume_from(since));
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), [2, 3, 4]);
    is_complete(&report, BackfillSource::Storage, 3);
}

#[test]
fn a_subscriber_that_overflows_holds_its_own_watermark_back() {
    let place = Place::with_storage(Storage::new());
    let client = place.builder(at_once()).build().unwrap();
    let narrow = client.events_with(3, Overflow::DropOldest);
    let events = client.events();
    client.connect().unwrap();
    place.send_live(&events, 1..=10);
    place.send([11]);
    let all = uplink(&events).watermark().expect("it has one");
    let mut handled = Vec::new();
    while let Ok(event) = narrow.recv_timeout(Duration::from_millis(300)) {
        if let Event::Uplink(uplink) = event {
            handled.push(uplink);
        }
    }
    let some = handled
        .last()
        .and_then(|uplink| uplink.watermark())
        .expect("it has one");
    assert!(handled.len() < 11, "it lost nothing");
    let handled = numbers(&handled);
    drop((client, narrow, events));
    let again = resumed(&place, &some);
    let is_missing = |number: &u8| !handled.contains(number);
    assert!(
        (1..=11)
            .filter(is_missing)
            .all(|number| again.contains(&number)),
        "{again:?}"
    );
    assert!(resumed(&place, &all).is_empty());
}

#[test]
fn close_ends_a_backfill_without_waiting() {
    let place = Place::with_storage(Storage::new());
    place.storage_fails(Some(HttpFault::Silent));
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.outage(&client, || place.send([2]));
    place.await_request();
    let begin = Instant::now();
    client.close().unwrap();
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    let (_, report) = until_filled(&events);
    assert!(!report.uncovered.is_empty(), "{report:?}");
    let error = report.error.as_ref().expect("it is not finished");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(client.backfill_progress().is_none());
}

#[test]
fn a_backfill_that_close_ends_reports_what_it_has_delivered_and_from_where() {
    let place = Place::with_storage(Storage::new());
    let (client, events) = place.connected(place.builder(between_passes()));
    place.send_live(&events, [1]);
    place.outage(&client, || place.send(2..=3));
    assert_eq!(numbers(&[uplink(&events), uplink(&events)]), [2, 3]);
    client.close().unwrap();
    let (_, report) = until_filled(&events);
    assert_eq!(report.source, Some(BackfillSource::Storage), "{report:?}");
    assert_eq!(report.delivered, 2, "{report:?}");
    let text = report.to_string();
    assert!(text.contains("from storage: 2 uplinks delivered"), "{text}");
    assert!(text.contains("or the client was closed"), "{text}");
}

#[test]
fn the_time_for_which_a_backfill_runs_goes_on_while_it_waits_for_its_next_pass() {
    let place = Place::with_storage(Storage::new());
    let (client, events) = place.connected(place.builder(between_passes()));
    place.send_live(&events, [1]);
    place.outage(&client, || place.send([2]));
    assert_eq!(uplink(&events).payload_raw, [2]);
    let later = Duration::from_millis(300);
    let is_later = || {
        let progress = client.backfill_progress().expect("it waits");
        progress.running_for > later
    };
    assert!(wait_until(SOON, is_later));
}

#[test]
fn a_gap_before_close_is_filled_after_the_next_connect() {
    let place = Place::with_storage(Storage::new());
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    client.close().unwrap();
    place.send(2..=3);
    client.connect().unwrap();
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), [2, 3]);
    is_complete(&report, BackfillSource::Storage, 2);
}

#[test]
fn on_request_a_time_is_fetched_and_progress_told() {
    let place = Place::with_storage(Storage::new());
    // Storage has it, so that it keeps all that is asked for.
    place.send([0]);
    pause(Duration::from_millis(1_500));
    let begin = SystemTime::now();
    place.send(1..=2);
    let backfill = Backfill::on_request();
    let (client, events) = place.connected(place.builder(backfill));
    place.send_live(&events, [3]);
    place.outage(&client, || place.send(4..=5));
    assert!(rest(&events).is_empty());
    assert!(client.backfill_progress().is_none());

    place.storage_fails_once(HttpFault::Slow(Duration::from_secs(1)));
    let margin = Duration::from_secs(1);
    let filling = client.backfill(begin..SystemTime::now() + margin).unwrap();
    let mut told = 0;
    let report = filling.wait_with(|_| told += 1).unwrap();
    assert!(told > 0, "no progress");
    assert!(client.backfill_progress().is_none());
    is_complete(&report, BackfillSource::Storage, 4);
    assert_eq!(report.known, 1, "{report:?}");
    let (filled, again) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), [1, 2, 4, 5]);
    assert_eq!(again.delivered, report.delivered);

    let filling = client.backfill(begin..SystemTime::now() + margin).unwrap();
    let report = filling.wait().unwrap();
    assert_eq!((report.delivered, report.known), (0, 5), "{report:?}");
}

#[test]
fn a_time_that_ends_before_it_begins_is_an_error() {
    let place = Place::with_storage(Storage::new());
    let client = place.builder(Backfill::on_request()).build().unwrap();
    let now = SystemTime::now();
    let error = client
        .backfill(now..now)
        .expect_err("there is nothing to fetch");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[track_caller]
fn is_wrong(builder: MqttClientBuilder, words: &str) {
    let error: Error = builder.build().expect_err("a setting is wrong");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_client_that_could_never_fill_a_gap_is_an_error() {
    let v2 = MqttClient::builder("greenhouse", "ttn-account-v2.key").mqtt_address("127.0.0.1:1883");
    is_wrong(v2.backfill(Backfill::new()), "V2");
    let unknown =
        MqttClient::builder("greenhouse@ttn", "NNSXS.ID.SECRET").mqtt_address("127.0.0.1:1883");
    is_wrong(unknown.backfill(Backfill::new()), "http_address");
}

#[test]
fn callbacks_get_what_was_fetched() {
    each_source(|place, source| {
        // It is always connected.
        let witness = MqttClient::builder(place.network.app_id(), place.network.access_key())
            .mqtt_address(place.network.mqtt_address())
            .build()
            .unwrap();
        let live = witness.events();
        witness.connect().unwrap();
        let client = place.builder(at_once()).build().unwrap();
        let events = client.events();
        let (called, calls) = mpsc::channel();
        let raw_called = called.clone();
        client.set_uplink_callback(move |uplink, _| {
            let _ = called.send((uplink.is_backfilled(), uplink.raw().clone()));
        });
        client.set_uplink_raw_callback(move |raw, _| {
            let _ = raw_called.send((true, raw.clone()));
        });
        client.connect().unwrap();
        place.outage(&client, || place.send(1..=2));
        until_filled(&events);
        for number in 1..=2 {
            let live = uplink(&live);
            let [decoded, raw] = [(); 2].map(|()| calls.recv_timeout(SOON).unwrap());
            assert_eq!(decoded, raw);
            assert!(decoded.0, "it is marked");
            assert_eq!(raw.1.topic(), live.raw().topic());
            let mut read = UplinkMessage::from_json(Network::V3, raw.1.payload()).unwrap();
            assert_eq!(read.payload_raw, [number]);
            let mut sent = UplinkMessage::from_json(Network::V3, live.raw().payload()).unwrap();
            assert_eq!(read.metadata.time, sent.metadata.time);
            assert_eq!(read.received_at, sent.received_at);
            if source == BackfillSource::Events {
                for uplink in [&mut read, &mut sent] {
                    uplink.extra.clear();
                }
                assert_eq!(read.correlation_ids, sent.correlation_ids);
                assert_eq!(read.session_key_id, sent.session_key_id);
            }
        }
    });
}
