//! Downlinks without a report, and what the client says about them.

use super::*;

/// Returns the error of a downlink that the network says nothing about.
fn silent(progress: &Progress) -> String {
    match progress.state() {
        DeliveryState::Unconfirmed(error) => error.to_string(),
        state => panic!("{state}"),
    }
}

#[test]
fn silence_is_concluded_in_time_and_names_an_end_of_the_connection() {
    let mut desk = Desk::new(10);
    let answered = desk.send("valve-3", &last([1]));
    desk.report("scheduled", message("AQ==", false));
    let silent = desk.send("valve-3", &last([2]));
    assert_eq!(desk.book.next_deadline(), Some(desk.now + 10 * SECOND));
    desk.pass(SECOND / 25);
    desk.book.disconnected(&[ALL], false, desk.now);
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
fn a_client_that_has_heard_nothing_may_lack_the_right_to_read() {
    for (network, read, write) in [
        (Network::V2, "messages:up:r", "messages:down:w"),
        (Network::V3, "TRAFFIC_READ", "TRAFFIC_DOWN_WRITE"),
    ] {
        let mut desk = Desk::on(network, 10);
        let deaf = desk.send("valve-3", &last([1]));
        desk.pass(10 * SECOND);
        let text = silent(&deaf);
        let places = [read, write].map(|right| text.find(right).expect(&text));
        assert!(places.is_sorted() && text.contains("may lack"), "{text}");

        desk.hear("up", &json!({"metadata": {}, "uplink_message": {}}));
        let mute = desk.send("valve-3", &last([2]));
        desk.pass(10 * SECOND);
        let text = silent(&mute);
        assert!(text.contains(write) && !text.contains(read), "{text}");
        // The device has sent an uplink.
        assert!(!text.contains("no device"), "{text}");
    }
}

#[test]
fn a_key_that_has_had_a_downlink_queued_lacks_no_right_until_it_is_changed() {
    let mut desk = Desk::on(Network::V3, 10);
    let queued = desk.send("valve-3", &last([1]));
    desk.report_of(1, "queued", json!({}));
    assert!(is(&queued, "queued"));
    let lost = desk.send("valve-3", &last([2]));
    let fields = desk.send("valve-3", &Downlink::fields(json!({"open": true})));
    let elsewhere = desk.send("valve-4", &last([3]));
    desk.pass(10 * SECOND);
    let text = silent(&lost);
    assert!(text.contains("lost in the network"), "{text}");
    assert!(
        !text.contains("right") && !text.contains("no device"),
        "{text}"
    );
    let text = silent(&fields);
    assert!(text.contains("formatter may have failed"), "{text}");
    let text = silent(&elsewhere);
    assert!(
        text.contains("there may be no device \"valve-4\""),
        "{text}"
    );
    assert!(!text.contains("API key"), "{text}");

    desk.book.key_changed();
    let after = desk.send("valve-3", &last([4]));
    desk.pass(10 * SECOND);
    let text = silent(&after);
    assert!(text.contains("TRAFFIC_READ") && text.contains("TRAFFIC_DOWN_WRITE"));
}

#[test]
fn fields_that_a_v2_application_cannot_encode_are_dropped_silently() {
    let mut desk = Desk::new(10);
    let fields = desk.send("valve-3", &Downlink::fields(json!({"open": true})));
    desk.pass(10 * SECOND);
    let text = silent(&fields);
    assert!(text.contains("no payload format"), "{text}");
    assert!(!text.contains("formatter"), "{text}");
}

#[test]
fn an_unconfirmed_delivery_keeps_its_reason_when_it_is_no_longer_followed() {
    let mut desk = Desk::on(Network::V3, 10);
    let lost = desk.send("valve-3", &last([1]));
    let queued = desk.send("valve-3", &last([2]));
    desk.report_of(2, "queued", json!({}));
    desk.pass(3600 * SECOND);
    assert!(desk.book.entries.is_empty());
    assert!(is_unconfirmed(&lost));
    assert!(is(&queued, "no longer followed"));
}

#[test]
fn only_an_end_that_looks_like_a_limit_is_called_one() {
    for is_limit in [false, true] {
        let mut desk = Desk::on(Network::V3, 10);
        let lost = desk.send("valve-3", &last([1]));
        desk.book.disconnected(&[ALL], is_limit, desk.now);
        desk.pass(10 * SECOND);
        let text = silent(&lost);
        assert_eq!(text.contains("rate limit"), is_limit, "{text}");
        assert!(text.contains("lost with the connection"), "{text}");
    }
}

#[test]
fn on_v2_a_report_is_about_the_one_of_this_connection_before_one_that_an_outage_hit() {
    let mut desk = Desk::new(10);
    let lost = desk.send("valve-3", &last([1]));
    desk.book.disconnected(&[ALL], false, desk.now);
    let again = desk.send("valve-3", &last([1]));
    desk.report("scheduled", message("AQ==", false));
    assert!(is(&lost, "written") && is(&again, "queued"));
    // The server has read both.
    desk.report("scheduled", message("AQ==", false));
    assert!(is(&lost, "queued"));
}

#[test]
fn on_v2_each_waits_its_turn_before_it_counts_as_unconfirmed() {
    let mut desk = Desk::new(1_000);
    let many: Vec<_> = (0..150_u8)
        .map(|number| desk.send("valve-3", &last([number])))
        .collect();
    desk.pass(10 * SECOND);
    assert!(is_unconfirmed(&many[0]) && is(&many[1], "written"));
    desk.pass(5 * SECOND);
    assert!(is_unconfirmed(&many[50]) && is(&many[51], "written"));
    assert_eq!(desk.book.next_deadline(), Some(desk.now + SECOND / 10));
    desk.pass(10 * SECOND);
    let text = silent(&many[149]);
    assert!(text.contains("within 24.9s"), "{text}");
    assert!(
        text.contains("149 downlinks were written before it"),
        "{text}"
    );

    // What was lost with its connection is in nobody's way.
    let lost: Vec<_> = (0..50)
        .map(|_| desk.send("valve-3", &last([200])))
        .collect();
    desk.book.disconnected(&[ALL], false, desk.now);
    let next = desk.send("valve-3", &last([201]));
    desk.pass(10 * SECOND);
    assert!(lost.iter().all(|one| is_unconfirmed(one)));
    assert!(is_unconfirmed(&next));
    assert_eq!(desk.book.cut, 0);
}

#[test]
fn on_v3_a_thousand_wait_no_longer_than_one() {
    let mut desk = Desk::on(Network::V3, 10_000);
    let many: Vec<_> = (0..1_000)
        .map(|_| desk.send("valve-3", &last([1])))
        .collect();
    desk.pass(10 * SECOND);
    assert!(many.iter().all(|one| is_unconfirmed(one)));
}
