//! Reports about downlinks that are known by device and content, or by id.

use serde_json::{Value, json};

use super::*;
use crate::{
    downlink::delivery::Delivery,
    message::{Event, MessageId, Schedule},
};

const SECOND: Duration = Duration::from_secs(1);

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
            capacity,
            max_age: 3600 * SECOND,
            unconfirmed_after: 10 * SECOND,
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
            content: Some(Content::of(downlink)),
            has_fields: downlink.payload.is_fields(),
            replaces: downlink.schedule == Schedule::Replace,
            progress: Arc::clone(&progress),
        };
        let ids = MessageIds::new(self.next, 1);
        self.next += 1;
        self.book.open(ids, vec![followed], self.now);
        progress
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
        let Event::Downlink(report) = event else {
            panic!("{event:?}");
        };
        self.book.observe(&report);
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
        let Event::Downlink(report) = event else {
            panic!("{event:?}");
        };
        self.book.observe(&report);
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
fn silence_is_concluded_in_time_and_names_an_end_of_the_connection() {
    let mut desk = Desk::new(10);
    let answered = desk.send("valve-3", &last([1]));
    desk.report("scheduled", message("AQ==", false));
    let silent = desk.send("valve-3", &last([2]));
    assert_eq!(desk.book.next_deadline(), Some(desk.now + 10 * SECOND));
    desk.pass(SECOND / 25);
    desk.book.disconnected(desk.now);
    desk.pass(9 * SECOND);
    assert!(is(&silent, "written"));
    desk.pass(SECOND);
    let text = silent.state().to_string();
    assert!(
        text.starts_with("unconfirmed") && text.contains("40 ms"),
        "{text}"
    );
    assert!(is(&answered, "queued"));
    desk.pass(3600 * SECOND);
    assert!(is(&answered, "no longer followed"));
    assert!(desk.book.entries.is_empty() && desk.book.by_device.is_empty());
    assert_eq!(desk.book.next_deadline(), None);
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
    let states = Delivery::new(MessageId(1), None, progress).states();
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
