//! Downlinks that end, or do not, without a report of their own.

use super::*;

fn nacked(attempt: u32) -> Value {
    json!({"confirmed": true, "confirmed_retry": {"attempt": attempt}})
}

/// Returns whether a downlink is unconfirmed because it is no longer in the queue, and an outage may have
/// hidden why.
fn is_gone(progress: &Progress) -> bool {
    let text = progress.state().to_string();
    is_unconfirmed(progress) && text.contains("the network no longer holds")
}

/// Returns a book with a downlink that is queued, one that is to be sent again, and one that was sent,
/// all confirmed.
fn three() -> (Desk, [Arc<Progress>; 3]) {
    let mut desk = Desk::on(Network::V3, 10);
    let three = [1, 2, 3].map(|number| desk.send("valve-3", &last([number]).confirmed(true)));
    desk.report_of(1, "queued", json!({}));
    desk.report_of(2, "nack", nacked(2));
    desk.report_of(3, "sent", json!({}));
    (desk, three)
}

#[test]
fn a_clear_ends_what_was_queued_once_a_later_report_shows_that_it_was_read() {
    let (mut desk, [queued, again, sent]) = three();
    desk.pass(SECOND);
    desk.clear();
    let next = desk.send("valve-3", &last([4]));
    assert!(is(&queued, "queued"));
    desk.report_of(5, "queued", json!({}));
    assert!(is(&queued, "replaced") && is(&again, "replaced"));
    assert!(is(&sent, "sent") && is(&next, "queued"));
    // It was on its way when the queue was emptied.
    desk.report_of(1, "sent", json!({}));
    desk.report_of(1, "nack", nacked(2));
    assert!(is(&queued, "not acknowledged, attempt 2 follows"));
    // A late report about the time before is not one about the time after.
    desk.report_of(2, "queued", json!({}));
    assert!(is(&again, "replaced"));
}

#[test]
fn a_clear_ends_what_was_queued_in_time_if_the_connection_lives() {
    let (mut desk, [queued, again, _sent]) = three();
    desk.clear();
    desk.pass(9 * SECOND);
    desk.hear("up", &json!({"uplink_message": {}}));
    assert!(is(&queued, "queued"));
    assert_eq!(desk.book.next_deadline(), Some(desk.now + SECOND));
    desk.pass(SECOND);
    // So far the connection may be dead.
    assert!(is(&queued, "queued"));
    assert!(desk.book.next_deadline() > Some(desk.now + SECOND));
    desk.hear("up", &json!({"uplink_message": {}}));
    assert!(is(&queued, "replaced") && is(&again, "replaced"));
}

#[test]
fn what_comes_into_the_queue_after_a_clear_is_not_ended_by_it() {
    let (mut desk, [_queued, _again, sent]) = three();
    desk.clear();
    desk.pass(SECOND);
    desk.report_of(3, "nack", nacked(2));
    let next = desk.send("valve-3", &last([4]));
    desk.report_of(5, "queued", json!({}));
    assert!(is(&sent, "not acknowledged, attempt 2 follows"));
    assert!(is(&next, "queued"));
}

#[test]
fn what_crosses_a_clear_is_unconfirmed_once_one_that_was_queued_later_is_sent() {
    let (mut desk, [_, _, sent]) = three();
    desk.clear();
    desk.pass(SECOND);
    desk.report_of(3, "nack", nacked(2));
    let next = desk.send("valve-3", &last([4]));
    desk.report_of(5, "queued", json!({}));
    assert!(is(&sent, "not acknowledged, attempt 2 follows"));
    desk.report_of(5, "sent", json!({}));
    assert!(is(&next, "sent") && is_unconfirmed(&sent));
    assert!(sent.state().to_string().contains("queued again"));
    // It was not discarded after all.
    desk.report_of(3, "sent", json!({}));
    assert!(is(&sent, "sent"));
}

#[test]
fn what_crosses_a_clear_stays_in_the_queue_while_only_those_before_it_are_sent() {
    let (mut desk, [_, _, sent]) = three();
    desk.clear();
    let before = desk.send("valve-3", &last([4]));
    desk.pass(SECOND);
    desk.report_of(3, "nack", nacked(2));
    desk.report_of(5, "sent", json!({}));
    assert!(is(&sent, "not acknowledged, attempt 2 follows"));
    assert!(is(&before, "sent"));
}

#[test]
fn a_clear_that_the_server_has_processed_ends_what_was_queued_when_no_report_can_come() {
    let (mut desk, [queued, again, sent]) = three();
    desk.pass(SECOND);
    let clear = desk.clear();
    let processed = [MessageIds::new(2, 1), clear];
    desk.book.processed(&processed, desk.now);
    assert_eq!(desk.book.next_deadline(), Some(desk.now + REPORT_DELAY));
    // A report about the time before may still come.
    desk.pass(REPORT_DELAY / 2);
    desk.book.processed(&processed, desk.now);
    desk.report_of(2, "sent", json!({}));
    desk.pass(REPORT_DELAY / 2 - Duration::from_millis(1));
    assert!(is(&queued, "queued"));
    desk.pass(Duration::from_millis(1));
    assert!(is(&queued, "replaced"));
    assert!(is(&again, "sent") && is(&sent, "sent"));
    // Once.
    let next = desk.send("valve-3", &last([4]));
    desk.report_of(5, "queued", json!({}));
    desk.pass(20 * SECOND);
    assert!(is(&next, "queued"));
}

#[test]
fn a_clear_that_the_server_has_processed_is_not_lost_with_its_connection() {
    let (mut desk, [queued, ..]) = three();
    let clear = desk.clear();
    desk.book.processed(&[clear], desk.now);
    desk.book.disconnected(&[], false, desk.now);
    let next = desk.send("valve-3", &last([4]));
    assert!(is(&queued, "queued"));
    desk.pass(REPORT_DELAY);
    assert!(is_gone(&queued));
    assert!(is(&next, "written"));
}

#[test]
fn a_clear_that_may_be_lost_with_its_connection_ends_nothing() {
    let (mut desk, [queued, ..]) = three();
    desk.clear();
    desk.book.disconnected(&[ALL], false, desk.now);
    desk.send("valve-3", &last([4]));
    desk.report_of(5, "queued", json!({}));
    desk.pass(60 * SECOND);
    desk.hear("up", &json!({"uplink_message": {}}));
    assert!(is(&queued, "queued"));

    let ids = desk.clear();
    desk.book.not_written(ids, &Error::not_written(None));
    desk.send("valve-3", &last([5]));
    desk.report_of(7, "queued", json!({}));
    assert!(is(&queued, "queued"));
}

#[test]
fn a_clear_that_was_processed_when_the_client_closed_has_its_effect_and_another_has_none() {
    let closed = Error::new(ErrorKind::Unconfirmed, "closed");
    for is_processed in [true, false] {
        let (mut desk, [queued, ..]) = three();
        let clear = desk.clear();
        let unfinished = match is_processed {
            true => vec![],
            false => vec![clear],
        };
        if is_processed {
            desk.book.processed(&[clear], desk.now);
        }
        desk.book.left(&unfinished, &closed, desk.now);
        let state = if is_processed { "replaced" } else { "queued" };
        assert!(is(&queued, state));
        // What has happened since then is not known.
        let next = desk.send("valve-3", &Downlink::bytes([5]));
        desk.report_of(5, "queued", json!({}));
        assert!(is(&next, "queued"));
        assert_eq!(is_unconfirmed(&queued), !is_processed);
    }
}

#[test]
fn a_replacement_that_still_waits_is_not_taken_for_a_clear() {
    let (mut desk, [queued, ..]) = three();
    let mut draft = Draft::default();
    let replacing = [Downlink::bytes([4])];
    let correlation = Correlation::new();
    let added = draft.add(
        Network::V3,
        "greenhouse",
        &correlation,
        "valve-3",
        &replacing,
    );
    added.unwrap();
    let _deliveries = draft.deliveries(4);
    let room = WaitingRoom::default().take(1, 1).unwrap();
    let now = desk.now;
    for message in &mut draft.into_batch(4, room) {
        // Twice, as at the end of a client that has not written it.
        desk.book.open(message, now);
        desk.book.open(message, now);
        desk.book.handed_over(message.ids, now);
    }
    desk.next = 5;
    desk.send("valve-3", &last([5]));
    desk.report_of(5, "queued", json!({}));
    assert!(is(&queued, "queued"));
}

#[test]
fn any_sign_that_a_replacement_was_queued_ends_what_it_replaced() {
    let (mut desk, [queued, ..]) = three();
    desk.pass(SECOND);
    let new = desk.send("valve-3", &Downlink::bytes([4]).confirmed(true));
    desk.report_of(4, "sent", json!({"confirmed": true}));
    assert!(is(&queued, "replaced") && is(&new, "sent"));
}

#[test]
fn a_refused_replacement_ends_nothing() {
    let (mut desk, [queued, ..]) = three();
    let new = desk.send("valve-3", &Downlink::bytes([4]));
    desk.report_of(4, "failed", json!({}));
    assert!(matches!(new.state(), DeliveryState::Failed(_)) && is(&queued, "queued"));
}

#[test]
fn a_replacement_that_nobody_watches_still_ends_what_it_replaces() {
    let mut desk = Desk::on(Network::V3, 10_000);
    let old = desk.send("valve-3", &last([1]));
    desk.report_of(1, "queued", json!({}));
    let number = desk.next;
    drop(desk.send("valve-3", &Downlink::bytes([2])));
    (0..2 * SWEEP).for_each(|_| drop(desk.send("valve-4", &last([3]))));
    desk.report_of(number, "queued", json!({}));
    assert!(is(&old, "replaced"));
}

#[test]
fn on_v2_a_replaced_downlink_may_have_been_on_its_way_for_a_while() {
    for (pause, state) in [(REPORT_DELAY / 2, "sent"), (REPORT_DELAY, "replaced")] {
        let mut desk = Desk::new(10);
        let old = desk.send("valve-3", &last([1]));
        desk.report("scheduled", message("AQ==", false));
        let new = desk.send("valve-3", &Downlink::bytes([2]));
        desk.report("scheduled", message("Ag==", false));
        assert!(is(&old, "replaced") && is(&new, "queued"));
        desk.pass(pause);
        desk.report("sent", message("AQ==", false));
        assert!(is(&old, state), "{}", old.state());
        assert_eq!(desk.book.entries.len(), 1);
    }
}

#[test]
fn on_v2_a_replaced_downlink_that_was_on_its_way_is_followed_to_its_end() {
    let mut desk = Desk::new(10);
    let old = desk.send("valve-3", &last([1]).confirmed(true));
    desk.report("scheduled", message("AQ==", true));
    desk.send("valve-3", &Downlink::bytes([2]));
    desk.report("scheduled", message("Ag==", false));
    assert!(is(&old, "replaced"));
    assert_eq!(desk.book.next_deadline(), Some(desk.now + REPORT_DELAY));
    desk.report("sent", message("AQ==", true));
    desk.pass(20 * SECOND);
    assert!(is(&old, "sent"));
    desk.report("acks", message("AQ==", true));
    assert!(is(&old, "acknowledged"));
}

#[test]
fn on_v2_a_downlink_that_was_replaced_a_while_ago_takes_no_report_about_another() {
    let mut desk = Desk::new(10);
    let old = desk.send("valve-3", &last([1]).confirmed(true));
    desk.report("scheduled", message("AQ==", true));
    desk.send("valve-3", &Downlink::bytes([2]));
    desk.report("scheduled", message("Ag==", false));
    desk.pass(REPORT_DELAY);
    // It is the downlink of another client.
    desk.report("sent", message("AQ==", true));
    assert!(is(&old, "replaced"));
    assert_eq!(desk.book.entries.len(), 1);
    assert!(desk.book.discarded.is_empty());
}

#[test]
fn what_an_outage_may_have_ended_is_unconfirmed_when_it_is_replaced_and_can_revive() {
    for network in [Network::V2, Network::V3] {
        let mut desk = Desk::on(network, 10);
        let report = |desk: &mut Desk, number: u64, kind: &str| match network {
            Network::V3 => desk.report_of(number, kind, json!({})),
            Network::V2 => {
                let kind = if kind == "queued" { "scheduled" } else { kind };
                let payload = ["AQ==", "Ag==", "Aw=="][number as usize - 1];
                desk.report(kind, message(payload, false));
            }
        };
        let before = desk.send("valve-3", &last([1]));
        report(&mut desk, 1, "queued");
        desk.book.disconnected(&[], false, desk.now);
        let after = desk.send("valve-3", &last([2]));
        report(&mut desk, 2, "queued");
        assert!(is(&before, "queued"));
        let new = desk.send("valve-3", &Downlink::bytes([3]));
        report(&mut desk, 3, "queued");
        assert!(is_gone(&before));
        assert!(is(&after, "replaced") && is(&new, "queued"));
        report(&mut desk, 1, "sent");
        assert!(is(&before, "sent"));
    }
}

#[test]
fn what_was_replaced_before_its_device_was_deleted_stays_replaced() {
    let mut desk = Desk::new(10);
    let old = desk.send("valve-3", &last([1]));
    desk.report("scheduled", message("AQ==", false));
    desk.send("valve-3", &Downlink::bytes([2]));
    desk.report("scheduled", message("Ag==", false));
    desk.hear("events/delete", &Value::Null);
    assert!(is(&old, "replaced"), "{}", old.state());
}

#[test]
fn what_an_outage_may_have_ended_is_unconfirmed_when_its_device_is_deleted() {
    let mut desk = Desk::new(10);
    let before = desk.send("valve-3", &last([1]));
    desk.report("scheduled", message("AQ==", false));
    desk.book.disconnected(&[], false, desk.now);
    let after = desk.send("valve-3", &last([2]));
    desk.report("scheduled", message("Ag==", false));
    desk.hear("events/delete", &Value::Null);
    assert!(is_gone(&before));
    assert!(matches!(after.state(), DeliveryState::Failed(_)));
    desk.report("sent", message("AQ==", false));
    assert!(is(&before, "sent"));
}

#[test]
fn what_an_outage_may_have_ended_is_unconfirmed_when_a_later_one_is_sent() {
    let mut desk = Desk::on(Network::V3, 10);
    let [before, sent] = [1, 2].map(|number| desk.send("valve-3", &last([number])));
    let elsewhere = desk.send("valve-4", &last([1]));
    for number in 1..=3 {
        desk.report_of(number, "queued", json!({}));
    }
    desk.book.disconnected(&[], false, desk.now);
    let [after, next] = [4, 5].map(|number| {
        let progress = desk.send("valve-3", &last([number]));
        desk.report_of(u64::from(number), "queued", json!({}));
        progress
    });
    desk.report_of(2, "sent", json!({}));
    assert!(is_gone(&before) && is(&sent, "sent"));
    // Its report can only be late.
    desk.report_of(5, "sent", json!({}));
    assert!(is(&after, "queued") && is(&next, "sent"));
    assert!(is(&elsewhere, "queued"));
    desk.report_of(1, "sent", json!({}));
    assert!(is(&before, "sent"));
}

#[test]
fn a_v2_report_that_may_be_about_an_equal_one_leaves_it_open_what_was_replaced() {
    // The connection of the first has ended, or it has had its time.
    for pause in [Duration::ZERO, 10 * SECOND] {
        let mut desk = Desk::new(10);
        let lost = desk.send("valve-3", &last([1]));
        desk.book.disconnected(&[ALL], false, desk.now);
        desk.pass(pause);
        assert_eq!(is_unconfirmed(&lost), !pause.is_zero());
        let queued = desk.send("valve-3", &last([9]));
        desk.report("scheduled", message("CQ==", false));
        let new = desk.send("valve-3", &Downlink::bytes([1]));
        desk.report("scheduled", message("AQ==", false));
        assert!(is(&new, "queued") && !is(&lost, "queued"));
        let text = queued.state().to_string();
        assert!(text.contains("one of several equal downlinks"), "{text}");
        desk.report("sent", message("CQ==", false));
        assert!(is(&queued, "sent"));
    }
}

#[test]
fn a_v2_report_is_clear_if_the_other_one_is_different_or_replaces_as_well() {
    for other in [last([2]), last([1]).port(2), Downlink::bytes([1])] {
        let mut desk = Desk::new(10);
        let _lost = desk.send("valve-3", &other);
        desk.book.disconnected(&[ALL], false, desk.now);
        let queued = desk.send("valve-3", &last([9]));
        desk.report("scheduled", message("CQ==", false));
        desk.send("valve-3", &Downlink::bytes([1]));
        desk.report("scheduled", message("AQ==", false));
        assert!(is(&queued, "replaced"), "{other:?}: {}", queued.state());
    }
}

#[test]
fn a_v2_downlink_that_was_queued_before_an_outage_makes_no_later_equal_one_uncertain() {
    let mut desk = Desk::new(10);
    let mut replacing = |outage: bool| {
        let progress = desk.send("valve-3", &Downlink::bytes([1]));
        desk.report("scheduled", message("AQ==", false));
        if outage {
            desk.book.disconnected(&[], false, desk.now);
        }
        progress
    };
    let [before, after, next, new] = [true, false, false, false].map(&mut replacing);
    assert!(is_gone(&before));
    assert!(is(&after, "replaced"), "{}", after.state());
    assert!(is(&next, "replaced") && is(&new, "queued"));
}

#[test]
fn those_that_are_final_give_way_before_those_that_are_not() {
    let mut desk = Desk::on(Network::V3, 3);
    let open = desk.send("valve-4", &last([1]));
    let old = desk.send("valve-3", &last([1]));
    desk.report_of(2, "queued", json!({}));
    let new = desk.send("valve-3", &Downlink::bytes([2]));
    desk.report_of(3, "queued", json!({}));
    let next = desk.send("valve-3", &last([3]));
    assert!(is(&open, "written") && is(&new, "queued") && is(&next, "written"));
    assert!(is(&old, "replaced"));
}

#[test]
fn an_unanswered_downlink_is_given_up_when_a_later_confirmed_one_is_sent_and_can_revive() {
    let mut desk = Desk::on(Network::V3, 10);
    let [first, second] =
        [1, 2].map(|number| desk.send("valve-3", &last([number]).confirmed(true)));
    let states = Delivery::of(Arc::clone(&first)).states();
    desk.report_of(1, "sent", json!({"confirmed": true}));
    let unconfirmed = desk.send("valve-3", &last([3]));
    desk.report_of(3, "sent", json!({}));
    assert!(is(&first, "sent") && is(&unconfirmed, "sent"));
    desk.report_of(2, "sent", json!({"confirmed": true}));
    assert!(matches!(first.state(), DeliveryState::GivenUp) && !first.is_final());
    assert!(is(&second, "sent"));
    let delivery = Delivery::of(Arc::clone(&first));
    let error = delivery.wait_for(DeliveryState::Acknowledged, Duration::ZERO);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("given up"), "{error}");
    delivery
        .wait_for(DeliveryState::Sent, Duration::ZERO)
        .unwrap();

    desk.report_of(1, "sent", json!({"confirmed": true}));
    assert!(is(&first, "sent") && matches!(second.state(), DeliveryState::GivenUp));
    desk.report_of(1, "ack", json!({"confirmed": true}));
    desk.report_of(2, "nack", nacked(2));
    assert!(is(&first, "acknowledged") && is(&second, "not acknowledged, attempt 2 follows"));
    let states: Vec<_> = states.iter().map(|state| state.to_string()).collect();
    assert_eq!(states.len(), 5, "{states:?}");
    assert!(states[2].starts_with("given up"), "{states:?}");
}

#[test]
fn another_clients_confirmed_downlink_gives_up_ours_and_repeats_give_up_nothing() {
    let mut desk = Desk::on(Network::V3, 10);
    let mine = desk.send("valve-3", &last([1]).confirmed(true));
    desk.report_of(1, "sent", json!({"confirmed": true}));
    desk.report_of(1, "sent", json!({"confirmed": true}));
    assert!(is(&mine, "sent"));
    desk.report_of(99, "sent", json!({"confirmed": true}));
    assert!(matches!(mine.state(), DeliveryState::GivenUp));
}

#[test]
fn a_deleted_v2_device_ends_what_was_queued_for_it() {
    let mut desk = Desk::new(10);
    let queued = desk.send("valve-3", &last([1]));
    let sent = desk.send("valve-3", &last([2]).confirmed(true));
    let elsewhere = desk.send("valve-4", &last([1]));
    desk.report("scheduled", message("AQ==", false));
    desk.report("sent", message("Ag==", true));
    let written = desk.send("valve-3", &last([3]));
    desk.hear("events/delete", &Value::Null);
    for ended in [&queued, &sent] {
        let DeliveryState::Failed(error) = ended.state() else {
            panic!("{}", ended.state());
        };
        assert!(error.to_string().contains("valve-3 was deleted"), "{error}");
    }
    assert!(is(&elsewhere, "written") && is(&written, "written"));
    desk.pass(20 * SECOND);
    let text = written.state().to_string();
    assert!(text.contains("the device was deleted"), "{text}");
}

#[test]
fn a_negative_acknowledgement_without_another_attempt_is_the_end() {
    let mut desk = Desk::on(Network::V3, 10);
    let own_keys = desk.send("valve-3", &last([1]).confirmed(true));
    desk.report_of(1, "queued", nacked(1));
    desk.report_of(1, "sent", json!({"confirmed": true}));
    desk.report_of(1, "nack", nacked(1));
    let DeliveryState::Failed(error) = own_keys.state() else {
        panic!("{}", own_keys.state());
    };
    let text = error.to_string();
    assert!(text.contains("does not send it again"), "{text}");
    assert!(!text.contains("follows"), "{text}");
}

#[test]
fn a_join_ends_what_the_network_discards_for_its_new_keys() {
    let mut desk = Desk::on(Network::V3, 10);
    let queued = desk.send("valve-3", &last([1]));
    desk.report_of(1, "queued", json!({}));
    let discarded = json!([{"f_port": 1, "correlation_ids": ["id-1"]}]);
    desk.hear(
        "join",
        &json!({"join_accept": {"invalidated_downlinks": discarded}}),
    );
    assert!(matches!(queued.state(), DeliveryState::Failed(_)));
}

#[test]
fn a_confirmed_v2_downlink_that_cannot_be_encoded_stays_in_progress() {
    let mut desk = Desk::new(10);
    let fields = json!({"open": true});
    let mine = desk.send("valve-3", &Downlink::fields(&fields).confirmed(true));
    let body = json!({"port": 1, "confirmed": true, "payload_fields": fields});
    desk.report("scheduled", body.clone());
    let failing =
        json!({"error": "Internal error: Encoder threw error: Error: no", "message": body});
    desk.report_body("errors", &failing);
    desk.report_body("errors", &failing);
    let text = mine.state().to_string();
    assert!(
        is_not_sent(&mine) && text.contains("Encoder threw"),
        "{text}"
    );
    desk.report("sent", body.clone());
    desk.report("acks", body);
    assert!(is(&mine, "acknowledged"));
}

#[test]
fn v2_replacements_that_the_network_handles_in_another_order_end_each_other_in_that_order() {
    let mut desk = Desk::new(10);
    let [first, second, third] = [1, 2, 3].map(|number| {
        let downlink = Downlink::bytes([number]).confirmed(true);
        desk.send("valve-3", &downlink)
    });
    for payload in ["Aw==", "AQ==", "Ag=="] {
        desk.report("scheduled", message(payload, true));
    }
    assert!(is(&first, "replaced") && is(&second, "queued") && is(&third, "replaced"));
    // Only the reports were in another order.
    desk.report("sent", message("Aw==", true));
    assert!(is(&third, "sent"));
}

#[test]
fn a_clear_over_http_ends_nothing_until_the_network_has_taken_it() {
    let (mut desk, [queued, ..]) = three();
    let clear = MessageIds::new(desk.next, 1);
    desk.open("valve-3", Effect::Clears, Vec::new());
    desk.book.asked(clear, desk.now);
    // The network may limit the rate meanwhile.
    desk.pass(11 * SECOND);
    desk.hear("up", &json!({"uplink_message": {}}));
    assert!(is(&queued, "queued"));
    desk.book.written(clear, desk.now);
    desk.book.processed(&[clear], desk.now);
    desk.pass(REPORT_DELAY);
    assert!(is(&queued, "replaced"));
}

#[test]
fn a_clear_over_http_that_may_not_have_been_taken_ends_nothing() {
    let (mut desk, [queued, ..]) = three();
    let clear = MessageIds::new(desk.next, 1);
    desk.open("valve-3", Effect::Clears, Vec::new());
    desk.book.asked(clear, desk.now);
    desk.book.not_told(clear);
    desk.book.written(clear, desk.now);
    let next = desk.accept("valve-3", &last([4]));
    let ids = MessageIds::new(desk.next - 1, 1);
    desk.book.written(ids, desk.now);
    desk.book.queued(ids, desk.now);
    assert!(is(&next, "queued"));
    desk.pass(11 * SECOND);
    desk.hear("up", &json!({"uplink_message": {}}));
    assert!(is(&queued, "queued"));
}
