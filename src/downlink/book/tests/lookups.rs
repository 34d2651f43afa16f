//! Downlinks that the client asks the network about.

use std::collections::HashSet;

use super::*;
use crate::message::ErrorDetails;

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Desk {
    /// Returns the desk of a client that can ask a v3 network over HTTP.
    fn asking() -> Self {
        let following = Following {
            is_behind_broker: false,
            capacity: 10_000,
            max_age: 4 * DAY,
            unconfirmed_after: 10 * SECOND,
            looks_up: true,
        };
        Self {
            book: Book::new(Network::V3, "greenhouse", following),
            now: Instant::now(),
            next: 1,
        }
    }

    /// Returns the device of the next question.
    fn asks(&mut self) -> Option<String> {
        let lookup = self.book.next_lookup(self.now)?;
        Some(lookup.dev_id.to_string())
    }

    /// Answers that these downlinks are in the queue of the valve.
    fn holds(&mut self, numbers: &[u64]) {
        let sighting = Sighting {
            queue: Some(queue(numbers)),
            ..Sighting::default()
        };
        self.book.answered("valve-3", &Ok(sighting), self.now);
    }

    fn fails(&mut self, wait: Option<Duration>) {
        let failure = NotSeen {
            why: "the network answers HTTP 500".to_owned(),
            wait,
        };
        self.book.answered("valve-3", &Err(failure), self.now);
    }

    fn reconnect(&mut self) {
        self.book.disconnected(&[], false, self.now);
        self.book.connected(self.now);
    }
}

fn queue(numbers: &[u64]) -> HashSet<String> {
    numbers
        .iter()
        .map(|number| format!("id-{number}"))
        .collect()
}

/// Returns the text of an unconfirmed delivery.
fn text(progress: &Progress) -> String {
    match progress.state() {
        DeliveryState::Unconfirmed(error) => error.to_string(),
        state => panic!("{state}"),
    }
}

#[test]
fn an_overdue_downlink_is_looked_up_before_it_counts_as_unconfirmed() {
    let mut desk = Desk::asking();
    let sent = desk.send("valve-3", &last([1]));
    desk.pass(9 * SECOND);
    assert_eq!(desk.asks(), None);
    desk.pass(SECOND);
    assert!(is(&sent, "written"));
    assert_eq!(desk.asks().as_deref(), Some("valve-3"));
    assert_eq!(desk.asks(), None);
    desk.holds(&[1]);
    assert!(is(&sent, "queued"));
    desk.report_of(1, "sent", json!({}));
    assert!(is(&sent, "sent"));
}

#[test]
fn one_question_is_about_all_overdue_downlinks_of_a_device() {
    let mut desk = Desk::asking();
    let [held, lost] = [1, 2].map(|byte| desk.send("valve-3", &last([byte])));
    desk.pass(10 * SECOND);
    let lookup = desk.book.next_lookup(desk.now).unwrap();
    assert_eq!(lookup.overdue.len(), 2);
    desk.holds(&[1]);
    assert!(is(&held, "queued"));
    let said = text(&lost);
    assert!(said.contains("does not hold it in the queue"), "{said}");
    assert!(!said.contains("may lack"), "{said}");
    desk.pass(60 * SECOND);
    assert_eq!(desk.asks(), None);
}

#[test]
fn the_cause_that_the_network_names_is_that_of_the_delivery() {
    let mut desk = Desk::asking();
    let sent = desk.send("valve-3", &last([1]));
    desk.pass(10 * SECOND);
    desk.asks();
    let details = ErrorDetails {
        name: "no_device_session".to_owned(),
        ..ErrorDetails::default()
    };
    let sighting = Sighting {
        queue: Some(HashSet::new()),
        cause: Some(Cause {
            text: "the device has no session".to_owned(),
            details: Some(Box::new(details)),
        }),
        ..Sighting::default()
    };
    desk.book.answered("valve-3", &Ok(sighting), desk.now);
    let said = text(&sent);
    assert!(said.ends_with("within 10s, because the device has no session"));
    let state = sent.state();
    assert_eq!(state.error_details().unwrap().name, "no_device_session");
    // It still counts.
    desk.report_of(1, "queued", json!({}));
    assert!(is(&sent, "queued"));
}

#[test]
fn a_report_that_comes_while_the_question_is_open_wins() {
    let mut desk = Desk::asking();
    let [sent, queued] = [1, 2].map(|byte| desk.send("valve-3", &last([byte])));
    desk.pass(10 * SECOND);
    desk.asks();
    desk.report_of(1, "sent", json!({}));
    desk.report_of(2, "queued", json!({}));
    desk.holds(&[1]);
    assert!(is(&sent, "sent") && is(&queued, "queued"));
}

#[test]
fn a_downlink_that_is_reported_in_time_is_not_asked_about() {
    let mut desk = Desk::asking();
    let sent = desk.send("valve-3", &last([1]));
    desk.report_of(1, "queued", json!({}));
    let overdue = desk.send("valve-3", &last([2]));
    desk.pass(10 * SECOND);
    // The report is a little late, and the question was not asked yet.
    desk.report_of(2, "queued", json!({}));
    assert_eq!(desk.asks(), None);
    assert!(is(&sent, "queued") && is(&overdue, "queued"));
}

#[test]
fn without_an_answer_in_time_a_downlink_is_unconfirmed_with_guesses() {
    let mut desk = Desk::asking();
    let silent = desk.send("valve-3", &last([1]));
    desk.pass(10 * SECOND);
    desk.asks();
    assert_eq!(desk.book.next_deadline(), Some(desk.now + 10 * SECOND));
    desk.pass(10 * SECOND);
    let said = text(&silent);
    assert!(said.contains("TRAFFIC_DOWN_WRITE"), "{said}");
    assert!(said.ends_with("it could not be looked up: the answer did not come in time"));
    // The late answer is still about it.
    desk.holds(&[1]);
    assert!(is_unconfirmed(&silent));

    let failed = desk.send("valve-3", &last([2]));
    desk.pass(10 * SECOND);
    desk.asks();
    desk.fails(None);
    let said = text(&failed);
    assert!(said.ends_with("it could not be looked up: the network answers HTTP 500"));
}

#[test]
fn nothing_is_asked_while_the_rate_limit_says_so() {
    let mut desk = Desk::asking();
    let first = desk.send("valve-3", &last([1]));
    let other = desk.send("valve-4", &last([2]));
    desk.pass(10 * SECOND);
    assert_eq!(desk.asks().as_deref(), Some("valve-3"));
    desk.fails(Some(8 * SECOND));
    desk.pass(7 * SECOND);
    assert_eq!(desk.asks(), None);
    assert!(is(&first, "written") && is(&other, "written"));
    assert_eq!(desk.book.next_deadline(), Some(desk.now + SECOND));
    desk.pass(SECOND);
    assert_eq!(desk.asks().as_deref(), Some("valve-4"));
    desk.pass(SECOND / 5);
    assert_eq!(desk.asks().as_deref(), Some("valve-3"));
    desk.holds(&[]);
    assert!(is_unconfirmed(&first));
}

#[test]
fn an_answer_may_say_how_long_to_ask_nothing() {
    let mut desk = Desk::asking();
    desk.send("valve-3", &last([1]));
    desk.send("valve-4", &last([2]));
    desk.pass(10 * SECOND);
    desk.asks();
    let sighting = Sighting {
        wait: Some(3 * SECOND),
        ..Sighting::default()
    };
    desk.book.answered("valve-3", &Ok(sighting), desk.now);
    desk.pass(2 * SECOND);
    assert_eq!(desk.asks(), None);
    desk.pass(SECOND);
    assert_eq!(desk.asks().as_deref(), Some("valve-4"));
}

#[test]
fn questions_without_an_answer_are_lost_after_half_a_minute() {
    let mut desk = Desk::asking();
    for number in 0..2 {
        desk.send(&format!("valve-{number}"), &last([1]));
    }
    desk.pass(10 * SECOND);
    assert!(desk.asks().is_some());
    desk.pass(SECOND / 5);
    assert!(desk.asks().is_some());
    desk.pass(19 * SECOND);
    desk.send("valve-3", &last([1]));
    desk.pass(10 * SECOND);
    assert_eq!(desk.asks(), None);
    desk.pass(SECOND);
    assert_eq!(desk.asks().as_deref(), Some("valve-3"));
}

#[test]
fn questions_are_few_at_a_time_and_paced() {
    let mut desk = Desk::asking();
    let many: Vec<_> = (0..200)
        .map(|number| desk.send(&format!("valve-{number}"), &last([1])))
        .collect();
    desk.pass(10 * SECOND);
    let mut asked = 0;
    let start = desk.now;
    while desk.now < start + 5 * SECOND {
        while let Some(lookup) = desk.book.next_lookup(desk.now) {
            asked += 1;
            let answer = Ok(Sighting::default());
            desk.book.answered(&lookup.dev_id, &answer, desk.now);
        }
        desk.pass(SECOND / 100);
    }
    assert_eq!(asked, 25);
    desk.pass(SECOND);
    let open = [desk.asks(), desk.asks()];
    assert!(open[0].is_some() && open[1].is_none());
    desk.pass(SECOND);
    assert!(desk.asks().is_some());
    desk.pass(SECOND);
    assert_eq!(desk.asks(), None, "two are open");
    desk.pass(10 * SECOND);
    assert!(many.iter().all(|one| is_unconfirmed(one)));
}

#[test]
fn a_device_is_asked_about_again_after_five_seconds() {
    let mut desk = Desk::asking();
    let first = desk.send("valve-3", &last([1]));
    desk.pass(SECOND);
    let second = desk.send("valve-3", &last([2]));
    desk.pass(9 * SECOND);
    desk.asks();
    desk.holds(&[]);
    desk.pass(SECOND);
    assert!(is_unconfirmed(&first) && is(&second, "written"));
    assert_eq!(desk.asks(), None);
    desk.pass(4 * SECOND);
    assert!(desk.asks().is_some());
    desk.holds(&[2]);
    assert!(is(&second, "queued"));
}

#[test]
fn after_a_reconnect_the_queue_shows_what_was_queued_and_proves_no_loss() {
    let mut desk = Desk::asking();
    let [held, absent] = [1, 2].map(|byte| desk.send("valve-3", &last([byte])));
    desk.reconnect();
    assert_eq!(desk.asks().as_deref(), Some("valve-3"));
    desk.holds(&[1]);
    assert!(is(&held, "queued") && is(&absent, "written"));
    desk.pass(10 * SECOND);
    assert!(is(&absent, "written"));
    assert!(desk.asks().is_some());
    desk.holds(&[1]);
    let said = text(&absent);
    assert!(
        said.contains("0 ms after the downlink was written"),
        "{said}"
    );
}

#[test]
fn after_a_reconnect_what_is_still_queued_has_missed_no_report() {
    for is_held in [false, true] {
        let mut desk = Desk::asking();
        let queued = desk.send("valve-3", &last([1]));
        desk.report_of(1, "queued", json!({}));
        desk.reconnect();
        assert!(desk.asks().is_some());
        desk.holds(if is_held { &[1] } else { &[] });
        assert!(is(&queued, "queued"));
        let replacing = desk.send("valve-3", &Downlink::bytes([2]));
        desk.report_of(2, "queued", json!({}));
        assert!(is(&replacing, "queued"));
        assert_eq!(is(&queued, "replaced"), is_held);
        assert_eq!(is_unconfirmed(&queued), !is_held);
    }
}

#[test]
fn an_answer_from_before_another_cut_proves_nothing_about_reports() {
    let mut desk = Desk::asking();
    let queued = desk.send("valve-3", &last([1]));
    desk.report_of(1, "queued", json!({}));
    desk.reconnect();
    assert!(desk.asks().is_some());
    desk.reconnect();
    desk.holds(&[1]);
    desk.send("valve-3", &Downlink::bytes([2]));
    desk.report_of(2, "queued", json!({}));
    assert!(is_unconfirmed(&queued));
}

#[test]
fn after_a_reconnect_the_fifty_devices_with_the_oldest_open_downlinks_are_looked_up() {
    let mut desk = Desk::asking();
    let _many: Vec<_> = (0..60)
        .map(|number| desk.send(&format!("valve-{number}"), &last([1])))
        .collect();
    desk.reconnect();
    let mut asked = Vec::new();
    for _ in 0..200 {
        // They are not overdue.
        desk.now += SECOND / 20;
        while let Some(lookup) = desk.book.next_lookup(desk.now) {
            asked.push(lookup.dev_id.to_string());
            let answer = Ok(Sighting::default());
            desk.book.answered(&lookup.dev_id, &answer, desk.now);
        }
    }
    let expected: Vec<_> = (0..50).map(|number| format!("valve-{number}")).collect();
    assert_eq!(asked, expected);
}

#[test]
fn what_could_not_be_looked_up_is_looked_up_after_the_next_reconnect() {
    let mut desk = Desk::asking();
    let sent = desk.send("valve-3", &last([1]));
    desk.pass(10 * SECOND);
    desk.asks();
    desk.fails(None);
    assert!(is_unconfirmed(&sent));
    desk.pass(60 * SECOND);
    desk.reconnect();
    assert!(desk.asks().is_some());
    desk.holds(&[1]);
    assert!(is(&sent, "queued"));
}

#[test]
fn what_stays_queued_for_a_day_is_looked_up_once_a_day() {
    let mut desk = Desk::asking();
    let queued = desk.send("valve-3", &last([1]));
    desk.report_of(1, "queued", json!({}));
    desk.pass(DAY - SECOND);
    assert_eq!(desk.asks(), None);
    desk.pass(SECOND);
    assert!(desk.asks().is_some());
    desk.holds(&[1]);
    assert!(is(&queued, "queued"));
    desk.pass(DAY);
    assert!(desk.asks().is_some());
    desk.fails(None);
    assert!(is(&queued, "queued"));
    desk.pass(DAY);
    assert!(desk.asks().is_some());
    desk.holds(&[]);
    let said = text(&queued);
    assert!(
        said.contains("no longer holds") && said.contains("not every gateway"),
        "{said}"
    );
    assert_eq!(desk.asks(), None);
}

#[test]
fn a_queued_downlink_whose_queue_cannot_be_read_stays_queued() {
    let mut desk = Desk::asking();
    let queued = desk.send("valve-3", &last([1]));
    desk.report_of(1, "queued", json!({}));
    desk.pass(DAY);
    assert!(desk.asks().is_some());
    let sighting = Sighting {
        cause: Some(Cause {
            text: "the API key lacks a right".to_owned(),
            details: None,
        }),
        ..Sighting::default()
    };
    desk.book.answered("valve-3", &Ok(sighting), desk.now);
    assert!(is(&queued, "queued"));
}

#[test]
fn a_downlink_that_was_queued_after_all_has_replaced_the_queue() {
    let mut desk = Desk::asking();
    let before = desk.send("valve-3", &last([1]));
    desk.report_of(1, "queued", json!({}));
    let replacing = desk.send("valve-3", &Downlink::bytes([2]));
    desk.pass(10 * SECOND);
    assert!(desk.asks().is_some());
    desk.holds(&[2]);
    assert!(is(&replacing, "queued") && is(&before, "replaced"));
}

impl Desk {
    /// Follows a downlink with this correlation id.
    fn resume(&mut self, correlation_id: &str, confirmed: bool) -> Arc<Progress> {
        let progress = Progress::resumed(confirmed);
        let followed = Followed {
            dev_id: "valve-3".into(),
            correlation_id: Some(correlation_id.into()),
            content: None,
            has_fields: false,
            progress: Arc::clone(&progress),
        };
        self.book.resume(self.next, followed, self.now);
        self.next += 1;
        progress
    }
}

#[test]
fn a_downlink_of_an_earlier_process_goes_on_with_its_reports() {
    let mut desk = Desk::on(Network::V3, 10);
    let resumed = desk.resume("id-7", true);
    desk.pass(1800 * SECOND);
    assert!(is(&resumed, "written"));
    desk.report_of(7, "sent", json!({"confirmed": true}));
    desk.report_of(7, "ack", json!({"confirmed": true}));
    assert!(is(&resumed, "acknowledged"));
}

#[test]
fn a_downlink_of_an_earlier_process_is_looked_up_first() {
    for (held, is_queued) in [(&[7][..], true), (&[], false)] {
        let mut desk = Desk::asking();
        let resumed = desk.resume("id-7", true);
        assert!(desk.asks().is_some());
        desk.holds(held);
        assert_eq!(is(&resumed, "queued"), is_queued);
        if !is_queued {
            let said = text(&resumed);
            assert!(said.contains("before this client followed it"), "{said}");
            desk.report_of(7, "ack", json!({"confirmed": true}));
            assert!(is(&resumed, "acknowledged"));
        }
    }
    let mut desk = Desk::asking();
    let resumed = desk.resume("id-7", true);
    assert!(desk.asks().is_some());
    desk.fails(None);
    assert!(is(&resumed, "written"));
}

#[test]
fn handles_of_one_downlink_show_the_same_progress() {
    let mut desk = Desk::on(Network::V3, 10);
    let sent = desk.send("valve-3", &last([1]));
    desk.report_of(1, "queued", json!({}));
    let again = [desk.resume("id-1", false), desk.resume("id-1", false)];
    assert!(again.iter().all(|one| is(one, "queued")));
    assert_eq!(desk.book.entries.len(), 1);
    desk.report_of(1, "sent", json!({"confirmed": false}));
    assert!(again.iter().all(|one| is(one, "sent")) && is(&sent, "sent"));
}

#[test]
fn on_v2_a_report_is_about_a_new_downlink_before_an_equal_one_of_an_earlier_process() {
    let mut desk = Desk::new(10);
    let content = Some(Arc::new(Content::of(&last([1]))));
    let resumed = Progress::resumed(false);
    let followed = Followed {
        dev_id: "valve-3".into(),
        correlation_id: None,
        content,
        has_fields: false,
        progress: Arc::clone(&resumed),
    };
    desk.book.resume(1, followed, desk.now);
    desk.next = 2;
    let new = desk.send("valve-3", &last([1]));
    desk.report("scheduled", message("AQ==", false));
    assert!(is(&resumed, "written") && is(&new, "queued"));
}
