//! Reports about downlinks that are known by device and content, or by id.

mod endings;
mod lookups;
mod silence;

use serde_json::{Value, json};

use super::*;
use crate::{
    downlink::{
        delivery::Delivery,
        draft::{Correlation, Draft},
        outbox::WaitingRoom,
    },
    message::{Downlink, Event, Schedule},
};

const SECOND: Duration = Duration::from_secs(1);

/// All messages of a desk.
const ALL: MessageIds = MessageIds::new(1, 10_000);

/// A book, its clock and the number of the next downlink.
struct Desk {
    book: Book,
    now: Instant,
    next: u64,
}

impl Desk {
    fn new(capacity: usize) -> Self {
        Self::on(Network::V2, capacity)
    }

    fn on(network: Network, capacity: usize) -> Self {
        let following = Following {
            is_behind_broker: false,
            capacity,
            max_age: 3600 * SECOND,
            unconfirmed_after: 10 * SECOND,
            looks_up: false,
        };
        Self {
            book: Book::new(network, "greenhouse", following),
            now: Instant::now(),
            next: 1,
        }
    }

    fn send(&mut self, dev_id: &str, downlink: &Downlink) -> Arc<Progress> {
        let ids = MessageIds::new(self.next, 1);
        let progress = self.accept(dev_id, downlink);
        self.book.written(ids, self.now);
        progress
    }

    fn accept(&mut self, dev_id: &str, downlink: &Downlink) -> Arc<Progress> {
        let progress = Progress::new(downlink.confirmed);
        let followed = Followed {
            dev_id: dev_id.into(),
            correlation_id: Some(format!("id-{}", self.next).into()),
            content: Some(Arc::new(Content::of(downlink))),
            has_fields: downlink.payload.is_fields(),
            progress: Arc::clone(&progress),
        };
        let effect = Effect::of(downlink.schedule);
        self.open(dev_id, effect, vec![followed]);
        progress
    }

    /// Empties the queue of the valve. Returns the number of the message.
    fn clear(&mut self) -> MessageIds {
        let ids = MessageIds::new(self.next, 1);
        self.open("valve-3", Effect::Clears, Vec::new());
        self.book.written(ids, self.now);
        ids
    }

    fn open(&mut self, dev_id: &str, effect: Effect, followed: Vec<Followed>) {
        let mut message = Message {
            correlation_id: None,
            ids: MessageIds::new(self.next, 1),
            topic: String::new(),
            payload: Vec::new(),
            dev_id: dev_id.into(),
            batch: self.next,
            has_next: false,
            effect,
            followed,
            _room: WaitingRoom::default().take(1, 1).unwrap(),
        };
        self.next += 1;
        self.book.open(&mut message, self.now);
    }

    /// Sends downlinks together. Returns their progress in this order.
    fn send_batch(&mut self, downlinks: &[Downlink]) -> Vec<Arc<Progress>> {
        let mut draft = Draft::default();
        let correlation = Correlation::new();
        let (network, valve) = (self.book.network, "valve-3");
        let added = draft.add(network, "greenhouse", &correlation, valve, downlinks);
        added.unwrap();
        let deliveries = draft.deliveries(self.next);
        let room = WaitingRoom::default().take(draft.len(), 100).unwrap();
        for mut message in draft.into_batch(self.next, room) {
            self.book.open(&mut message, self.now);
            self.book.written(message.ids, self.now);
        }
        self.next += downlinks.len() as u64;
        deliveries.iter().map(Delivery::progress).collect()
    }

    fn report(&mut self, kind: &str, message: Value) {
        self.report_body(
            kind,
            &match message {
                Value::Null => Value::Null,
                message => json!({ "message": message }),
            },
        );
    }

    fn report_body(&mut self, kind: &str, body: &Value) {
        let topic = format!("greenhouse/devices/valve-3/events/down/{kind}");
        let event = Event::decode(Network::V2, topic, body.to_string()).unwrap();
        assert!(matches!(event, Event::Downlink(_)), "{event:?}");
        self.book.observe(&event, self.now);
    }

    /// Passes a v3 report about the downlink with that number.
    fn report_of(&mut self, number: u64, kind: &str, mut downlink: Value) {
        downlink["correlation_ids"] = json!([format!("id-{number}")]);
        let body = match kind {
            "failed" => {
                let error = json!({"namespace": "pkg/networkserver", "name": "transmission"});
                json!({"downlink_failed": {"downlink": downlink, "error": error}})
            }
            kind => json!({ format!("downlink_{kind}"): downlink }),
        };
        let topic = format!("v3/greenhouse@ttn/devices/valve-3/down/{kind}");
        let event = Event::decode(Network::V3, topic, body.to_string()).unwrap();
        assert!(matches!(event, Event::Downlink(_)), "{event:?}");
        self.book.observe(&event, self.now);
    }

    /// Passes a message of the network on this topic of the valve.
    fn hear(&mut self, topic: &str, body: &Value) {
        let network = self.book.network;
        let prefix = match network {
            Network::V2 => "greenhouse",
            Network::V3 => "v3/greenhouse@ttn",
        };
        let topic = format!("{prefix}/devices/valve-3/{topic}");
        let event = Event::decode(network, topic, body.to_string()).unwrap();
        self.book.observe(&event, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.book.on_time(self.now);
    }
}

fn is(progress: &Progress, state: &str) -> bool {
    progress.state().to_string() == state
}

fn last(bytes: impl Into<Vec<u8>>) -> Downlink {
    Downlink::bytes(bytes).schedule(Schedule::Last)
}

fn message(payload_raw: &str, confirmed: bool) -> Value {
    json!({"port": 1, "confirmed": confirmed, "payload_raw": payload_raw})
}

fn is_unconfirmed(progress: &Progress) -> bool {
    matches!(progress.state(), DeliveryState::Unconfirmed(_))
}

fn is_not_sent(progress: &Progress) -> bool {
    matches!(progress.state(), DeliveryState::NotSent(_))
}

#[test]
fn v2_downlinks_are_known_by_device_content_and_order() {
    let mut desk = Desk::new(10);
    let elsewhere = desk.send("valve-4", &last([1]));
    let first = desk.send("valve-3", &last([1]));
    let second = desk.send("valve-3", &last([1]));
    let other = desk.send("valve-3", &last([2]));
    desk.report("scheduled", message("AQ==", false));
    assert!(is(&first, "queued") && is(&second, "written") && is(&other, "written"));
    desk.report("scheduled", message("AQ==", false));
    assert!(is(&second, "queued"));
    desk.report("sent", message("AQ==", false));
    assert!(is(&first, "sent") && is(&second, "queued"));
    desk.report("sent", message("AQ==", false));
    assert!(is(&second, "sent"));
    assert!(is(&other, "written") && is(&elsewhere, "written"));
}

#[test]
fn frames_that_nobody_asked_for_and_other_peoples_downlinks_are_nobodys() {
    let mut desk = Desk::new(10);
    let mine = desk.send("valve-3", &last([1]).confirmed(true));
    desk.report("scheduled", message("AQ==", true));
    desk.report("sent", json!({"port": 0}));
    desk.report("sent", message("Ag==", true));
    desk.report("sent", message("AQ==", false));
    desk.report("acks", message("Ag==", true));
    assert!(is(&mine, "queued"));
}

#[test]
fn repeats_of_a_confirmed_downlink_are_its_own() {
    let mut desk = Desk::new(10);
    let first = desk.send("valve-3", &last([1]).confirmed(true));
    let second = desk.send("valve-3", &last([1]).confirmed(true));
    desk.report("scheduled", message("AQ==", true));
    desk.report("scheduled", message("AQ==", true));
    for _ in 0..3 {
        desk.report("sent", message("AQ==", true));
    }
    assert!(is(&first, "sent") && is(&second, "queued"));
    desk.report("acks", message("AQ==", true));
    assert!(is(&first, "acknowledged") && is(&second, "queued"));
}

#[test]
fn reports_without_content_are_about_the_one_whose_turn_it_is() {
    let mut desk = Desk::new(10);
    let first = desk.send("valve-3", &last([1]).confirmed(true));
    let second = desk.send("valve-3", &last([2]).confirmed(true));
    desk.report("scheduled", Value::Null);
    desk.report("scheduled", Value::Null);
    assert!(is(&first, "queued") && is(&second, "queued"));
    desk.report("sent", message("AQ==", true));
    desk.report("acks", Value::Null);
    assert!(is(&first, "acknowledged") && is(&second, "queued"));
}

#[test]
fn an_acknowledgement_proves_the_steps_of_which_nothing_was_heard() {
    let mut desk = Desk::new(10);
    let first = desk.send("valve-3", &last([1]).confirmed(true));
    let second = desk.send("valve-3", &last([1]).confirmed(true));
    let unconfirmed = desk.send("valve-3", &last([2]));
    desk.report("acks", message("AQ==", true));
    assert!(is(&first, "acknowledged") && is(&second, "written"));
    desk.report("acks", message("Ag==", false));
    // A report without content proves nothing about a downlink that was not sent.
    desk.report("acks", Value::Null);
    assert!(is(&second, "written") && is(&unconfirmed, "written"));
}

#[test]
fn without_gateways_a_v2_downlink_stays_where_it_is() {
    let mut desk = Desk::new(10);
    let queued = desk.send("valve-3", &last([1]));
    desk.report("scheduled", message("AQ==", false));
    let written = desk.send("valve-3", &last([2]));
    desk.report_body(
        "errors",
        &json!({"error": "No gateways available for downlink"}),
    );
    assert!(is_not_sent(&queued) && is(&written, "written"));
    desk.report_body(
        "errors",
        &json!({"error": "Encoder not valid", "message": {"port": 1, "payload_raw": "Ag=="}}),
    );
    assert!(is_not_sent(&queued));
    assert!(matches!(written.state(), DeliveryState::Failed(_)));
}

#[test]
fn a_confirmed_downlink_outlives_a_failed_transmission_and_another_does_not() {
    let mut desk = Desk::on(Network::V3, 10);
    let confirmed = desk.send("valve-3", &last([1]).confirmed(true));
    let other = desk.send("valve-3", &last([2]));
    desk.report_of(1, "failed", json!({"confirmed": true}));
    desk.report_of(2, "failed", json!({}));
    // This report alone shows that the network accepted it.
    assert!(is_not_sent(&confirmed));
    assert!(matches!(other.state(), DeliveryState::Failed(_)));
    desk.report_of(1, "sent", json!({"confirmed": true}));
    desk.report_of(1, "failed", json!({"confirmed": true}));
    assert!(is(&confirmed, "sent"));
    desk.report_of(1, "ack", json!({"confirmed": true}));
    assert!(is(&confirmed, "acknowledged"));
}

#[test]
fn what_is_to_be_sent_again_can_be_replaced_and_what_is_on_its_way_cannot() {
    let mut desk = Desk::on(Network::V3, 10);
    let [sent, again, failed] = [1, 2, 3].map(|_| desk.send("valve-3", &last([1]).confirmed(true)));
    desk.report_of(1, "sent", json!({}));
    desk.report_of(2, "nack", json!({}));
    desk.report_of(3, "failed", json!({"confirmed": true}));
    let new = desk.send("valve-3", &Downlink::bytes([2]));
    desk.report_of(4, "queued", json!({}));
    assert!(is(&sent, "sent") && is(&again, "replaced") && is(&new, "queued"));
    assert!(is_not_sent(&failed));
}

#[test]
fn what_the_network_says_before_the_write_is_known_stands() {
    let mut desk = Desk::on(Network::V3, 10);
    let ids = MessageIds::new(desk.next, 1);
    let delivery = desk.accept("valve-3", &last([1]).confirmed(true));
    desk.report_of(1, "queued", json!({}));
    desk.book.written(ids, desk.now);
    assert!(is(&delivery, "queued"));
    // It does not become unconfirmed.
    desk.pass(20 * SECOND);
    assert!(is(&delivery, "queued"));
}

#[test]
fn fields_are_known_after_a_network_has_read_their_numbers_as_doubles() {
    let mut desk = Desk::new(10);
    let fields = json!({"level": 21.0, "id": 9_007_199_254_740_993_u64, "at": [{"x": -0.0}]});
    let mine = desk.send("valve-3", &Downlink::fields(&fields));
    let other = json!({"level": 21, "id": 9_007_199_254_740_990_u64, "at": [{"x": 0}]});
    desk.report("scheduled", json!({"port": 1, "payload_fields": other}));
    assert!(is(&mine, "written"));
    let read = json!({"level": 21, "id": 9_007_199_254_740_992_u64, "at": [{"x": 0}]});
    desk.report("scheduled", json!({"port": 1, "payload_fields": read}));
    assert!(is(&mine, "queued"));
}

#[test]
fn only_the_first_of_a_v2_batch_replaces_what_is_queued() {
    let mut desk = Desk::new(10);
    let earlier = desk.send("valve-3", &last([9]));
    desk.report("scheduled", message("CQ==", false));
    let batch = [1, 2, 3].map(|number| Downlink::bytes([number]));
    let batch = desk.send_batch(&batch);
    for payload in ["AQ==", "Ag==", "Aw=="] {
        desk.report("scheduled", message(payload, false));
    }
    assert!(batch.iter().all(|one| is(one, "queued")));
    assert!(is(&earlier, "replaced"));
    for payload in ["AQ==", "Ag==", "Aw=="] {
        desk.report("sent", message(payload, false));
    }
    assert!(batch.iter().all(|one| is(one, "sent")));
}

#[test]
fn what_is_queued_between_the_downlinks_of_a_v2_batch_is_not_replaced() {
    let mut desk = Desk::new(10);
    let batch = desk.send_batch(&[1, 2].map(|number| Downlink::bytes([number])));
    let other = desk.send("valve-3", &last([3]));
    for payload in ["AQ==", "Aw==", "Ag=="] {
        desk.report("scheduled", message(payload, false));
    }
    assert!(batch.iter().all(|one| is(one, "queued")) && is(&other, "queued"));
}

#[test]
fn a_v2_batch_for_the_front_of_the_queue_is_followed_in_its_order_of_writing() {
    let mut desk = Desk::new(10);
    let batch = [1, 2].map(|number| Downlink::bytes([number]).schedule(Schedule::First));
    let mut draft = Draft::default();
    let (network, valve) = (Network::V2, "valve-3");
    let added = draft.add(network, "greenhouse", &Correlation::new(), valve, &batch);
    added.unwrap();
    let deliveries = draft.deliveries(1);
    let room = WaitingRoom::default().take(2, 2).unwrap();
    let mut messages = draft.into_batch(1, room);
    let now = desk.now;
    messages
        .iter_mut()
        .for_each(|message| desk.book.open(message, now));
    let first = &messages[0];
    assert!(String::from_utf8_lossy(&first.payload).contains("Ag=="));
    desk.book.written(first.ids, now);
    let states: Vec<_> = deliveries
        .iter()
        .map(|one| one.state().to_string())
        .collect();
    assert_eq!(states, ["accepted", "written"]);
    desk.report("scheduled", message("Ag==", false));
    assert_eq!(deliveries[1].state().to_string(), "queued");
}

#[test]
fn v2_reports_go_to_those_that_wait_in_time_before_those_that_were_given_up() {
    let mut desk = Desk::new(10);
    let lost = desk.send("valve-3", &last([1]).confirmed(true));
    desk.pass(10 * SECOND);
    assert!(is_unconfirmed(&lost));
    let again = desk.send("valve-3", &last([1]).confirmed(true));
    desk.report("scheduled", message("AQ==", true));
    assert!(is_unconfirmed(&lost) && is(&again, "queued"));
    desk.report("sent", message("AQ==", true));
    assert!(is_unconfirmed(&lost) && is(&again, "sent"));
    desk.report("acks", message("AQ==", true));
    assert!(is_unconfirmed(&lost) && is(&again, "acknowledged"));
    // A report that no other downlink waits for is late.
    desk.report("scheduled", message("AQ==", true));
    assert!(is(&lost, "queued"));
}

#[test]
fn v2_reports_are_not_about_downlinks_that_have_not_left() {
    let mut desk = Desk::new(10);
    let lost = desk.send("valve-3", &last([1]));
    desk.pass(10 * SECOND);
    let ids = MessageIds::new(desk.next, 1);
    let accepted = desk.accept("valve-3", &last([1]));
    desk.report("scheduled", message("AQ==", false));
    assert!(is(&lost, "queued") && is(&accepted, "accepted"));
    // The network may be faster than this machine.
    desk.book.handed_over(ids, desk.now);
    desk.report("scheduled", message("AQ==", false));
    assert!(is(&accepted, "queued"));
}

#[test]
fn a_gateway_that_is_missing_is_missed_by_the_downlink_in_progress() {
    let mut desk = Desk::new(10);
    let sent = desk.send("valve-3", &last([1]).confirmed(true));
    let next = desk.send("valve-3", &last([2]));
    desk.report("scheduled", message("AQ==", true));
    desk.report("scheduled", message("Ag==", false));
    desk.report("sent", message("AQ==", true));
    let error = json!({"error": "No gateways available for downlink"});
    desk.report_body("errors", &error);
    assert!(is(&sent, "sent") && is(&next, "queued"));
}

#[test]
fn fields_are_known_by_their_names_and_values() {
    let mut desk = Desk::new(10);
    let fields = json!({"open": true});
    let mine = desk.send("valve-3", &Downlink::fields(&fields));
    desk.report(
        "scheduled",
        json!({"port": 1, "payload_fields": {"open": false}}),
    );
    assert!(is(&mine, "written"));
    desk.report("scheduled", json!({"port": 1, "payload_fields": fields}));
    assert!(is(&mine, "queued"));
    // Now they are encoded.
    let sent = json!({"port": 1, "payload_fields": fields, "payload_raw": "AQ=="});
    desk.report("sent", sent);
    assert!(is(&mine, "sent"));
}

#[test]
fn the_book_is_never_larger_than_allowed() {
    let mut desk = Desk::new(3);
    let kept: Vec<_> = (0..5)
        .map(|number| desk.send("valve-3", &last([number])))
        .collect();
    assert_eq!(desk.book.entries.len(), 3);
    assert!(kept[..2].iter().all(|one| is(one, "no longer followed")));
    assert!(kept[2..].iter().all(|one| is(one, "written")));
    (0..1_000).for_each(|_| drop(desk.send("valve-3", &last([9]))));
    assert!(kept[3..].iter().all(|one| is(one, "written")));
    assert!(desk.book.entries.len() <= 3 && desk.book.unanswered.len() <= 3);
    assert!(desk.book.by_device["valve-3"].len() <= 3);
}

#[test]
fn those_whose_deliveries_are_dropped_leave_the_book() {
    let mut desk = Desk::on(Network::V3, 10_000);
    let mut kept = Vec::new();
    for number in 0..5_000_u32 {
        let delivery = desk.send("valve-3", &last(number.to_be_bytes()));
        if number % 100 == 0 {
            kept.push(delivery);
        }
        assert!(desk.book.entries.len() <= 2 * kept.len().max(SWEEP));
    }
    assert!(kept.iter().all(|one| is(one, "written")));
    assert_eq!(desk.book.entries.len(), desk.book.by_correlation.len());
    assert_eq!(desk.book.entries.len(), desk.book.unanswered.len());
}

#[test]
fn a_downlink_stays_in_the_book_while_a_receiver_waits_for_its_states() {
    let mut desk = Desk::on(Network::V3, 10_000);
    let progress = desk.send("valve-3", &last([1]));
    let states = Delivery::of(progress).states();
    for _ in 0..2 * SWEEP {
        drop(desk.send("valve-3", &last([2])));
    }
    assert!(desk.book.entries.len() < SWEEP);
    desk.report_of(1, "queued", json!({}));
    let states: Vec<_> = states.try_iter().map(|state| state.to_string()).collect();
    assert_eq!(states, ["written", "queued"]);
}

/// Without ids, the dropped delivery claims the reports about it.
#[test]
fn a_dropped_delivery_of_the_same_content_takes_what_is_its_own_on_v2() {
    let mut desk = Desk::new(10_000);
    let mut dropped = 0;
    while dropped < 2 * SWEEP {
        drop(desk.send("valve-3", &last([1])));
        dropped += 1;
    }
    let mine = desk.send("valve-3", &last([1]));
    (0..dropped).for_each(|_| desk.report("scheduled", message("AQ==", false)));
    assert!(is(&mine, "written"));
    desk.report("scheduled", message("AQ==", false));
    assert!(is(&mine, "queued"));
}

#[test]
fn what_the_server_has_processed_is_not_lost_with_the_connection() {
    let mut desk = Desk::on(Network::V3, 10);
    let processed = desk.send("valve-3", &last([1]));
    let uncertain = desk.send("valve-3", &last([2]));
    desk.pass(SECOND / 25);
    let lost = desk
        .book
        .disconnected(&[MessageIds::new(2, 1)], false, desk.now);
    assert_eq!(lost, 1);
    desk.pass(10 * SECOND);
    let (processed, uncertain) = (processed.state().to_string(), uncertain.state().to_string());
    assert!(
        processed.contains("the server had processed it"),
        "{processed}"
    );
    assert!(
        uncertain.contains("40 ms") && !uncertain.contains("had processed"),
        "{uncertain}"
    );
}

#[test]
fn what_the_client_leaves_behind_is_uncertain_unless_it_was_reported() {
    let mut desk = Desk::on(Network::V3, 10);
    let queued = desk.send("valve-3", &last([1]));
    let silent = desk.send("valve-3", &last([2]));
    desk.report_of(1, "queued", json!({}));
    assert!(desk.book.awaits_report());
    let error = Error::new(ErrorKind::Unconfirmed, "left behind");
    // The last is a request that carries no downlink to follow.
    let messages = [MessageIds::new(1, 2), MessageIds::new(3, 1)];
    assert_eq!(desk.book.left(&messages, &error, desk.now), 2);
    assert!(is(&queued, "queued"));
    assert!(silent.state().to_string().contains("left behind"));
    assert!(!desk.book.awaits_report());
    desk.report_of(2, "queued", json!({}));
    assert!(is(&silent, "queued"));
}
