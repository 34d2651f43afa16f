//! What is found of frames that were missed and fetched.

use super::*;

/// The marks of the client when it came back: it was away from second 10 to second 100.
const LEFT: u32 = 10 * SECOND;
const BACK: u32 = 100 * SECOND;

/// A device that sends one frame each second: its counter is the second.
struct Sender {
    counters: Option<FrameCounters>,
}

/// Returns the marks at a second, after the outage if it is over by then.
fn marks(at: u32) -> Marks {
    let at = at * SECOND;
    let is_back = u16::from(at >= BACK);
    Marks {
        at,
        away: at.clamp(LEFT, BACK) - LEFT,
        outages: u32::from(at >= LEFT),
        attempts: 1 + is_back,
        drops: 0,
    }
}

fn frame(counter: u32) -> UplinkMessage {
    let body = json!({
        "end_device_ids": {
            "device_id": "bed-07", "application_ids": {"application_id": "greenhouse"}, "dev_addr": "260B0007",
        },
        "uplink_message": {"session_key_id": "AAAA", "f_cnt": counter, "f_port": 1},
    });
    let uplink = UplinkMessage::from_json(Network::V3, body.to_string()).unwrap();
    received(uplink, u64::from(counter))
}

/// The same frame as storage has it.
fn stored(counter: u32) -> UplinkMessage {
    let mut uplink = frame(counter);
    uplink.session_key_id.clear();
    uplink
}

impl Sender {
    fn new() -> Self {
        Self { counters: None }
    }

    fn live(&mut self, uplink: &UplinkMessage, second: u32) -> Findings {
        let now = FrameCounters::new(uplink, marks(second));
        match &mut self.counters {
            Some(counters) => counters.observe(now),
            None => {
                self.counters = Some(now);
                [None; 2]
            }
        }
    }

    fn fill(&mut self, uplink: &UplinkMessage, second: u32) -> Findings {
        let now = FrameCounters::new(uplink, marks(second));
        self.counters
            .as_mut()
            .unwrap()
            .fill(now, |at| marks(at.wrapping_add(SECOND / 2) / SECOND))
    }

    fn missing(&self) -> u32 {
        self.counters.unwrap().still_missing()
    }

    fn highest(&self) -> u32 {
        self.counters.unwrap().highest()
    }
}

const NOTHING: Findings = [None; 2];

fn filled(loss: FrameLoss) -> Findings {
    [Some(CounterFinding::Filled { loss }), None]
}

#[test]
fn what_was_missed_while_away_is_filled_one_by_one_and_nothing_else_is() {
    let mut sender = Sender::new();
    for counter in 0..10 {
        assert_eq!(sender.live(&frame(counter), counter), NOTHING);
    }
    assert_eq!(
        sender.live(&frame(101), 101),
        [Some(missing(91, FrameLoss::Away)), None]
    );
    assert_eq!(sender.missing(), 91);
    // In any order, also long before the window; the one that was heard first stays as it is.
    for (left, counter) in (10..101).rev().chain(0..10).enumerate() {
        let expected = if counter < 10 {
            NOTHING
        } else {
            filled(FrameLoss::Away)
        };
        assert_eq!(sender.fill(&stored(counter), 102), expected, "{counter}");
        assert_eq!(sender.missing(), 90_u32.saturating_sub(left as u32));
        // The watch remembers the last ones itself.
        if counter > 101 - WINDOW {
            assert_eq!(sender.fill(&stored(counter), 102), NOTHING, "{counter}");
        }
    }
    assert_eq!(sender.live(&frame(102), 102), NOTHING);
    assert_eq!(sender.highest(), 102);
}

#[test]
fn what_comes_before_the_next_live_one_leaves_no_gap() {
    let mut sender = Sender::new();
    sender.live(&frame(9), 9);
    for counter in 10..101 {
        assert_eq!(sender.fill(&stored(counter), 101), NOTHING);
    }
    assert_eq!((sender.highest(), sender.missing()), (100, 0));
    assert_eq!(sender.live(&frame(101), 101), NOTHING);
}

#[test]
fn what_lies_between_two_fetched_ones_was_lost_upstream_and_the_rest_of_the_outage_while_away() {
    let mut sender = Sender::new();
    sender.live(&frame(9), 9);
    assert_eq!(
        sender.fill(&stored(20), 101),
        [Some(missing(10, FrameLoss::Away)), None]
    );
    assert_eq!(
        sender.fill(&stored(25), 101),
        [None, Some(missing(4, FrameLoss::Upstream))]
    );
    // Storage has the last ones later.
    assert_eq!(
        sender.live(&frame(101), 101),
        [Some(missing(75, FrameLoss::Away)), None]
    );
    assert_eq!(sender.missing(), 89);
    for counter in (10..20).chain(26..101) {
        assert_eq!(
            sender.fill(&stored(counter), 102),
            filled(FrameLoss::Away),
            "{counter}"
        );
    }
    for counter in 21..25 {
        assert_eq!(
            sender.fill(&stored(counter), 102),
            filled(FrameLoss::Upstream)
        );
    }
    assert_eq!(sender.missing(), 0);
    assert_eq!(sender.fill(&stored(24), 102), NOTHING);
}

#[test]
fn what_was_lost_while_connected_after_the_outage_was_lost_upstream() {
    let mut sender = Sender::new();
    sender.live(&frame(9), 9);
    for counter in 10..105 {
        sender.fill(&stored(counter), 110);
    }
    assert_eq!(
        sender.live(&frame(110), 110),
        [None, Some(missing(5, FrameLoss::Upstream))]
    );
    // It was missing, and comes after its successors.
    assert_eq!(
        sender.live(&frame(109), 111),
        [Some(CounterFinding::Late), None]
    );
    assert_eq!(sender.missing(), 4);
    assert_eq!(sender.fill(&stored(108), 112), filled(FrameLoss::Upstream));
    assert_eq!(sender.missing(), 3);
}

#[test]
fn what_this_client_dropped_is_filled_before_what_was_lost_upstream() {
    let mut sender = Sender::new();
    sender.live(&frame(0), 0);
    sender.live(&frame(2), 2);
    let mut now = FrameCounters::new(&frame(5), marks(5));
    now.marks.drops = 1;
    assert_eq!(
        sender.counters.as_mut().unwrap().observe(now),
        [None, Some(missing(2, FrameLoss::DroppedHere))]
    );
    let found = [1, 3, 4].map(|counter| sender.fill(&stored(counter), 6));
    let (here, upstream) = (FrameLoss::DroppedHere, FrameLoss::Upstream);
    assert_eq!(found, [here, here, upstream].map(filled));
    // A late one was most likely lost upstream, as far as anybody knew.
    let mut sender = Sender::new();
    sender.live(&frame(9), 9);
    sender.live(&frame(101), 101);
    sender.live(&frame(103), 103);
    assert_eq!(sender.missing(), 92);
    sender.live(&frame(102), 104);
    for counter in 10..101 {
        assert_eq!(sender.fill(&stored(counter), 105), filled(FrameLoss::Away));
    }
}

#[test]
fn what_lies_between_two_fetched_ones_was_not_dropped_here_and_what_follows_them_may_be() {
    let dropped = |marks: Marks| Marks { drops: 1, ..marks };
    let mut sender = Sender::new();
    sender.live(&frame(9), 9);
    let counters = sender.counters.as_mut().unwrap();
    let mut fill = |counter| {
        let now = FrameCounters::new(&stored(counter), dropped(marks(101)));
        counters.fill(now, |at| {
            dropped(marks(at.wrapping_add(SECOND / 2) / SECOND))
        })
    };
    assert_eq!(fill(20), [Some(missing(10, FrameLoss::Away)), None]);
    assert_eq!(fill(25), [None, Some(missing(4, FrameLoss::Upstream))]);
    for counter in 26..103 {
        assert_eq!(fill(counter), NOTHING);
    }
    let now = FrameCounters::new(&frame(104), dropped(marks(104)));
    assert_eq!(
        counters.observe(now),
        [None, Some(missing(1, FrameLoss::DroppedHere))]
    );
}

#[test]
fn a_record_without_the_id_of_its_session_belongs_to_that_of_its_address() {
    let mut sender = Sender::new();
    sender.live(&frame(1), 1);
    sender.live(&frame(3), 3);
    assert_eq!(sender.fill(&stored(2), 4), filled(FrameLoss::Upstream));
    // It goes ahead, and the session is still known by its id.
    assert_eq!(sender.fill(&stored(4), 5), NOTHING);
    assert_eq!(
        sender.live(&frame(6), 6),
        [None, Some(missing(1, FrameLoss::Upstream))]
    );
    assert_eq!(sender.fill(&stored(7), 8), NOTHING);
    let mut other = received(frame(0), 9);
    other.session_key_id = vec![9];
    assert_eq!(sender.live(&other, 9), NOTHING);
    assert_eq!((sender.highest(), sender.missing()), (0, 0));
    // The watch may begin with one, and learns the id later.
    let mut sender = Sender::new();
    sender.live(&stored(1), 1);
    assert_eq!(
        sender.live(&frame(3), 3),
        [None, Some(missing(1, FrameLoss::Upstream))]
    );
    let mut other = frame(0);
    other.session_key_id = vec![9];
    assert_eq!(sender.live(&received(other, 5), 5), NOTHING);
    assert_eq!((sender.highest(), sender.missing()), (0, 0));
}

#[test]
fn another_session_counts_nothing_unless_it_is_newer_than_everything_heard() {
    let older = |counter, second| {
        let mut uplink = received(stored(counter), second);
        uplink.dev_addr = "260B0001".to_owned();
        uplink
    };
    let mut sender = Sender::new();
    sender.live(&received(frame(0), 50), 101);
    sender.live(&received(frame(3), 60), 102);
    for uplink in [older(2, 20), older(1_000, 21), older(1, 40)] {
        assert_eq!(sender.fill(&uplink, 103), NOTHING);
    }
    assert_eq!((sender.highest(), sender.missing()), (3, 2));
    assert_eq!(
        sender.fill(&received(stored(2), 58), 103),
        filled(FrameLoss::Upstream)
    );
    // Nobody knows when it was sent.
    let mut timeless = older(9, 0);
    timeless.metadata.time = None;
    assert_eq!(sender.fill(&timeless, 103), NOTHING);
    assert_eq!(sender.highest(), 3);
    // A join during the outage.
    assert_eq!(sender.fill(&older(5, 70), 103), NOTHING);
    assert_eq!((sender.highest(), sender.missing()), (5, 0));
    assert_eq!(
        sender.fill(&older(7, 72), 103),
        [None, Some(missing(1, FrameLoss::Upstream))]
    );
    assert_eq!(sender.fill(&received(stored(1), 57), 103), NOTHING);
    // With ids, they decide: an address may come again.
    let mut again = frame(8);
    again.session_key_id = vec![9];
    again.dev_addr = "260B0001".to_owned();
    let mut live = again.clone();
    live.session_key_id = vec![8];
    live.counter = 8;
    assert_eq!(sender.live(&received(live, 75), 104), NOTHING);
    again.counter = 6;
    assert_eq!(sender.fill(&received(again, 71), 104), NOTHING);
    assert_eq!(sender.missing(), 1);
}

#[test]
fn a_counter_that_went_back_during_the_outage_is_a_reset_and_what_was_before_it_counts_for_nothing()
{
    // In order.
    let mut sender = Sender::new();
    sender.live(&received(frame(500), 5), 5);
    assert_eq!(sender.fill(&received(stored(501), 20), 101), NOTHING);
    assert_eq!(
        sender.fill(&received(stored(0), 30), 101),
        [Some(CounterFinding::Reset), None]
    );
    assert_eq!(sender.fill(&received(stored(1), 40), 101), NOTHING);
    assert_eq!(sender.live(&received(frame(2), 101), 101), NOTHING);
    // The live one came first.
    let mut sender = Sender::new();
    sender.live(&received(frame(500), 5), 5);
    assert_eq!(
        sender.live(&received(frame(2), 101), 101),
        [Some(CounterFinding::Reset), None]
    );
    for uplink in [
        received(stored(501), 20),
        received(stored(0), 30),
        received(stored(1), 40),
    ] {
        assert_eq!(sender.fill(&uplink, 102), NOTHING);
    }
    assert_eq!((sender.highest(), sender.missing()), (2, 0));
}

#[test]
fn frames_are_filled_across_a_wrap() {
    for top in [u16::MAX.into(), u32::MAX] {
        let at = |counter: u32, second| {
            let mut uplink = received(frame(0), second);
            uplink.session_key_id.clear();
            uplink.counter = counter;
            uplink
        };
        // 102 frames lie between them; then 200 more arrive.
        let mut sender = Sender::new();
        sender.live(&at(top - 50, 5), 5);
        sender.live(&at(52, 107), 107);
        assert_eq!(sender.missing(), 102);
        for more in 1..=200 {
            let uplink = at(52 + more, 107 + u64::from(more));
            assert_eq!(sender.live(&uplink, 107 + more), NOTHING);
        }
        for number in 1..=102_u32 {
            let counter = (top - 50).wrapping_add(number) & top;
            let found = sender.fill(&at(counter, 5 + u64::from(number)), 310);
            let is_filled = matches!(found, [Some(CounterFinding::Filled { .. }), None]);
            assert!(is_filled, "{counter}: {found:?}");
        }
        assert_eq!(sender.missing(), 0);
        // In order.
        let mut sender = Sender::new();
        sender.live(&at(top - 1, 5), 5);
        let found = [(top, 20), (0, 30), (1, 40)]
            .map(|(counter, second)| sender.fill(&at(counter, second), 101));
        assert_eq!(found, [NOTHING; 3]);
        assert_eq!(sender.highest(), 1);
    }
}

#[test]
fn a_record_may_be_older_than_a_day_and_its_time_may_be_unknown() {
    let mut sender = Sender::new();
    let days = |days: u64| days * 86_400;
    sender.live(&received(frame(100), days(1)), 5);
    sender.live(&received(frame(104), days(40)), 101);
    assert_eq!(sender.missing(), 3);
    for (counter, time) in [(99, 0), (101, days(2)), (103, days(39))] {
        let uplink = received(stored(counter), time);
        let is_missing = counter > 100;
        let found = sender.fill(&uplink, 102);
        assert_eq!(found != NOTHING, is_missing, "{counter}");
    }
    let mut timeless = stored(102);
    timeless.metadata.time = None;
    assert!(matches!(
        sender.fill(&timeless, 103),
        [Some(CounterFinding::Filled { .. }), None]
    ));
    assert_eq!(sender.fill(&timeless, 103), NOTHING);
    timeless.counter = 106;
    assert_eq!(
        sender.fill(&timeless, 104),
        [None, Some(missing(1, FrameLoss::Upstream))]
    );
}
