use std::collections::{BTreeSet, VecDeque};

use super::*;
use crate::seeds;

const ROOMY: Limits = Limits {
    messages: 100,
    bytes: 1 << 20,
    in_flight: 10,
    fetches: true,
};

/// A message with this number, whose mark it is.
fn taken(number: u64) -> Taken<u64> {
    Taken {
        message: RawMessage::new("topic", &number.to_be_bytes()),
        mark: Some(number),
        is_report: false,
    }
}

fn number(message: &RawMessage) -> u64 {
    u64::from_be_bytes(message.payload().try_into().unwrap())
}

/// What the ledger wants to publish now: the number under which it waits for the outcome, and the message.
fn publishes(ledger: &mut Ledger<u64>, now: Instant) -> Vec<(u64, u64)> {
    let mut published = Vec::new();
    while let Some(action) = ledger.poll(now) {
        match action {
            Action::Publish(key, message) => published.push((key, number(&message))),
            Action::Suspect(_) => {}
            other => panic!("{other:?}"),
        }
    }
    published
}

fn messages(published: &[(u64, u64)]) -> Vec<u64> {
    published.iter().map(|(_, message)| *message).collect()
}

#[test]
fn nothing_is_published_before_the_broker_is_there() {
    let now = Instant::now();
    let mut ledger = Ledger::new(ROOMY, None);
    ledger.take(taken(1));
    assert_eq!(publishes(&mut ledger, now), []);
    ledger.broker(true);
    assert_eq!(messages(&publishes(&mut ledger, now)), [1]);
    assert_eq!(publishes(&mut ledger, now), [], "once");
}

#[test]
fn no_more_than_the_allowed_number_waits_for_its_acknowledgement() {
    let now = Instant::now();
    let mut ledger = Ledger::new(ROOMY, None);
    ledger.broker(true);
    (1..=15).for_each(|number| ledger.take(taken(number)));
    let first = publishes(&mut ledger, now);
    assert_eq!(messages(&first), (1..=10).collect::<Vec<_>>());
    ledger.answered(first[4].0, true, now);
    assert_eq!(messages(&publishes(&mut ledger, now)), [11]);
}

#[test]
fn the_mark_moves_only_over_what_is_acknowledged_without_a_hole() {
    let now = Instant::now();
    let mut ledger = Ledger::new(ROOMY, Some(0));
    ledger.broker(true);
    (1..=4).for_each(|number| ledger.take(taken(number)));
    let keys = publishes(&mut ledger, now);
    for (answered, mark, waiting) in [(2, 0, 4), (0, 1, 3), (1, 3, 1), (3, 4, 0)] {
        ledger.answered(keys[answered].0, true, now);
        assert_eq!(ledger.mark(), Some(&mark));
        assert_eq!(ledger.waiting(), waiting);
    }
    assert_eq!(ledger.counts().acknowledged, 4);
}

#[test]
fn a_message_without_a_mark_leaves_it_where_it_is() {
    let now = Instant::now();
    let mut ledger = Ledger::new(ROOMY, Some(7));
    ledger.broker(true);
    ledger.take(Taken {
        mark: None,
        is_report: true,
        ..taken(8)
    });
    let keys = publishes(&mut ledger, now);
    ledger.answered(keys[0].0, true, now);
    assert_eq!((ledger.mark(), ledger.waiting()), (Some(&7), 0));
    assert_eq!(ledger.counts().reports, 1);
}

#[test]
fn what_is_not_known_to_be_there_is_published_again_in_its_order() {
    let now = Instant::now();
    let mut ledger = Ledger::new(ROOMY, None);
    ledger.broker(true);
    (1..=5).for_each(|number| ledger.take(taken(number)));
    let keys = publishes(&mut ledger, now);
    ledger.answered(keys[1].0, true, now);
    for lost in [3, 0, 4, 2] {
        ledger.answered(keys[lost].0, false, now);
    }
    assert_eq!(publishes(&mut ledger, now), [], "not in the same moment");
    let later = ledger.next_deadline().unwrap();
    assert_eq!(messages(&publishes(&mut ledger, later)), [1, 3, 4, 5]);
    assert_eq!(ledger.next_deadline(), None);
}

#[test]
fn an_outcome_counts_once() {
    let now = Instant::now();
    let mut ledger = Ledger::new(ROOMY, None);
    ledger.broker(true);
    ledger.take(taken(1));
    ledger.take(taken(2));
    let keys = publishes(&mut ledger, now);
    ledger.answered(keys[1].0, true, now);
    ledger.answered(keys[1].0, true, now);
    ledger.answered(keys[1].0, false, now);
    ledger.answered(keys[1].0 + 9, true, now);
    assert_eq!(publishes(&mut ledger, now), []);
    ledger.answered(keys[0].0, true, now);
    ledger.answered(keys[0].0, false, now);
    assert_eq!(ledger.waiting(), 0);
    assert_eq!(ledger.counts().acknowledged, 2);
}

#[test]
fn a_full_list_lets_the_network_client_go_and_takes_it_up_again_once_it_is_empty() {
    let now = Instant::now();
    let limits = Limits {
        messages: 3,
        ..ROOMY
    };
    let mut ledger = Ledger::new(limits, Some(0));
    (1..=3).for_each(|number| ledger.take(taken(number)));
    assert!(
        ledger.poll(now).is_none(),
        "it is full, and nothing is lost"
    );
    assert!(ledger.wants_messages());
    ledger.take(taken(4));
    assert!(matches!(ledger.poll(now), Some(Action::LetGo)));
    assert!(ledger.poll(now).is_none());
    assert!(!ledger.wants_messages());
    // What the network client still had.
    ledger.take(taken(5));
    ledger.broker(true);
    let keys = publishes(&mut ledger, now);
    assert_eq!(messages(&keys), [1, 2, 3]);
    ledger.answered(keys[0].0, true, now);
    ledger.answered(keys[1].0, true, now);
    assert!(ledger.poll(now).is_none());
    ledger.answered(keys[2].0, true, now);
    assert!(matches!(ledger.poll(now), Some(Action::Resume)));
    assert_eq!(ledger.mark(), Some(&3));
    assert!(ledger.wants_messages());
    let counts = ledger.counts();
    assert_eq!((counts.dropped, counts.overflows), (2, 1));
}

#[test]
fn while_the_broker_is_there_a_full_list_lets_messages_wait_in_the_network_client() {
    let limits = Limits {
        messages: 2,
        ..ROOMY
    };
    let mut ledger = Ledger::new(limits, None);
    ledger.broker(true);
    (1..=2).for_each(|number| ledger.take(taken(number)));
    assert!(!ledger.wants_messages());
    // Its queue was full as well.
    ledger.missed(5);
    assert!(matches!(ledger.poll(Instant::now()), Some(Action::LetGo)));
    assert_eq!(ledger.counts().dropped, 5);
}

#[test]
fn without_anything_to_fetch_from_the_network_client_stays_and_drops_are_counted() {
    let now = Instant::now();
    let limits = Limits {
        messages: 2,
        fetches: false,
        ..ROOMY
    };
    let mut ledger = Ledger::new(limits, None);
    (1..=2).for_each(|number| ledger.take(taken(number)));
    assert!(!ledger.wants_messages());
    ledger.missed(3);
    assert!(ledger.poll(now).is_none());
    ledger.broker(true);
    assert_eq!(messages(&publishes(&mut ledger, now)), [1, 2]);
    assert_eq!(ledger.counts().dropped, 3);
    assert_eq!(ledger.counts().overflows, 0);
}

#[test]
fn bytes_fill_the_list_too_and_one_large_message_has_room_in_an_empty_one() {
    let now = Instant::now();
    let limits = Limits { bytes: 5, ..ROOMY };
    let mut ledger = Ledger::new(limits, None);
    ledger.take(taken(1));
    assert_eq!(ledger.waiting(), 1);
    ledger.take(taken(2));
    assert_eq!(ledger.waiting(), 1);
    assert!(matches!(ledger.poll(now), Some(Action::LetGo)));
}

#[test]
fn a_feed_that_closes_publishes_what_it_has_and_starts_nothing() {
    let now = Instant::now();
    let limits = Limits {
        messages: 1,
        ..ROOMY
    };
    let mut ledger = Ledger::new(limits, None);
    ledger.take(taken(1));
    ledger.take(taken(2));
    ledger.end();
    ledger.broker(true);
    let keys = publishes(&mut ledger, now);
    assert_eq!(messages(&keys), [1]);
    ledger.answered(keys[0].0, true, now);
    assert!(ledger.poll(now).is_none());
    assert!(!ledger.wants_messages());
}

/// Publishes everything on a connection that ends with the first of these messages. Returns what was given up.
fn connection(
    ledger: &mut Ledger<u64>,
    now: Instant,
    poison: &[u64],
    there: &mut BTreeSet<u64>,
) -> Vec<u64> {
    let mut given_up = Vec::new();
    let mut in_flight = VecDeque::new();
    ledger.broker(true);
    loop {
        while let Some(action) = ledger.poll(now) {
            match action {
                Action::Publish(key, message) => in_flight.push_back((key, number(&message))),
                Action::GiveUp(message) => given_up.push(number(&message)),
                Action::Suspect(_) => {}
                other => panic!("{other:?}"),
            }
        }
        let Some((key, message)) = in_flight.pop_front() else {
            return given_up;
        };
        if poison.contains(&message) {
            ledger.broker(false);
            ledger.answered(key, false, now);
            in_flight
                .drain(..)
                .for_each(|(key, _)| ledger.answered(key, false, now));
            return given_up;
        }
        there.insert(message);
        ledger.answered(key, true, now);
    }
}

#[test]
fn a_message_that_ends_each_connection_is_given_up_once_others_prove_that() {
    let now = Instant::now();
    let mut ledger = Ledger::new(ROOMY, Some(0));
    (1..=80).for_each(|number| ledger.take(taken(number)));
    let poison = [3, 4, 30];
    let mut there = BTreeSet::new();
    let mut given_up = Vec::new();
    for _ in 0..100 {
        given_up.extend(connection(&mut ledger, now, &poison, &mut there));
    }
    assert_eq!(given_up, poison);
    assert!((1..=80).all(|number| there.contains(&number) != poison.contains(&number)));
    assert_eq!((ledger.waiting(), ledger.mark()), (0, Some(&80)));
    let counts = ledger.counts();
    assert_eq!((counts.acknowledged, counts.dropped), (77, 3));
    // Many at once again.
    (81..=90).for_each(|number| ledger.take(taken(number)));
    ledger.broker(true);
    assert_eq!(publishes(&mut ledger, now).len(), 10);
}

#[test]
fn nothing_is_given_up_as_long_as_no_message_is_acknowledged() {
    let now = Instant::now();
    let mut ledger = Ledger::new(ROOMY, Some(0));
    (1..=20).for_each(|number| ledger.take(taken(number)));
    let all: Vec<u64> = (1..=20).collect();
    let mut there = BTreeSet::new();
    for _ in 0..100 {
        assert_eq!(connection(&mut ledger, now, &all, &mut there), [0; 0]);
    }
    assert_eq!(ledger.waiting(), 20);
    assert_eq!(connection(&mut ledger, now, &[], &mut there), [0; 0]);
    assert_eq!((there.len(), ledger.waiting()), (20, 0));
}

#[test]
fn proofs_count_only_in_a_row_and_late_news_of_the_last_connection_are_none() {
    let now = Instant::now();
    let mut ledger = Ledger::new(ROOMY, Some(0));
    (1..=80).for_each(|number| ledger.take(taken(number)));
    let mut there = BTreeSet::new();
    for _ in 0..6 {
        for _ in 0..8 {
            assert_eq!(connection(&mut ledger, now, &[1], &mut there), [0; 0]);
        }
        // This one ends before the other message is acknowledged, and that is told late.
        ledger.broker(true);
        let other = publishes(&mut ledger, now);
        assert_eq!(other.len(), 1);
        assert_ne!(messages(&other), [1]);
        ledger.broker(false);
        ledger.answered(other[0].0, true, now);
        ledger.broker(true);
        let next = publishes(&mut ledger, now);
        assert_ne!(messages(&next), [1]);
        ledger.broker(false);
        ledger.answered(next[0].0, false, now);
    }
    assert_eq!(ledger.counts().dropped, 0);
}

#[test]
fn the_program_is_told_once_which_message_may_end_the_connections() {
    let now = Instant::now();
    let mut ledger = Ledger::new(ROOMY, Some(0));
    (1..=2).for_each(|number| ledger.take(taken(number)));
    let mut told = Vec::new();
    for _ in 0..20 {
        ledger.broker(true);
        let mut in_flight = Vec::new();
        while let Some(action) = ledger.poll(now) {
            match action {
                Action::Publish(key, _) => in_flight.push(key),
                Action::Suspect(message) => told.push(number(&message)),
                other => panic!("{other:?}"),
            }
        }
        ledger.broker(false);
        in_flight
            .into_iter()
            .for_each(|key| ledger.answered(key, false, now));
    }
    assert_eq!(told, [1]);
}

/// A network that keeps everything: the ledger takes from its position on, and goes back to the mark.
#[test]
fn whatever_happens_the_broker_gets_everything_and_the_limits_hold() {
    seeds::for_seeds(500, |random| {
        let limits = Limits {
            messages: random.usize(1..8),
            bytes: random.usize(1..200),
            in_flight: random.usize(1..6),
            fetches: true,
        };
        const SENT: u64 = 60;
        let mut now = Instant::now();
        let mut ledger = Ledger::new(limits, Some(0));
        let mut position = 1;
        let mut is_up = false;
        let mut in_flight: VecDeque<(u64, u64)> = VecDeque::new();
        let mut there = BTreeSet::new();
        let mut steps = 0;
        while there.len() < SENT as usize || ledger.waiting() > 0 {
            steps += 1;
            assert!(steps < 100_000, "it does not come to an end");
            match random.u8(..8) {
                0..=2 if position <= SENT && ledger.wants_messages() => {
                    ledger.take(taken(position));
                    position += 1;
                }
                3 | 4 if !in_flight.is_empty() => {
                    let which = random.usize(..in_flight.len());
                    let (key, message) = in_flight.remove(which).unwrap();
                    there.insert(message);
                    ledger.answered(key, true, now);
                }
                5 if random.u8(..4) == 0 => {
                    is_up = !is_up;
                    ledger.broker(is_up);
                    // The broker may have got it nevertheless.
                    for (key, message) in in_flight.drain(..) {
                        if random.bool() {
                            there.insert(message);
                        }
                        ledger.answered(key, false, now);
                    }
                }
                6 if random.u8(..16) == 0 => ledger.missed(1),
                _ => now += Duration::from_millis(random.u64(..150)),
            }
            while let Some(action) = ledger.poll(now) {
                match action {
                    Action::Publish(key, message) => {
                        assert!(is_up);
                        in_flight.push_back((key, number(&message)));
                    }
                    Action::LetGo | Action::Suspect(_) => {}
                    Action::GiveUp(_) => panic!("{action:?}"),
                    Action::Resume => {
                        assert_eq!(ledger.waiting(), 0);
                        position = ledger.mark().unwrap() + 1;
                    }
                }
            }
            assert!(in_flight.len() <= limits.in_flight);
            assert!(ledger.waiting() <= limits.messages);
            let mark = *ledger.mark().unwrap();
            assert!((1..=mark).all(|number| there.contains(&number)), "{mark}");
        }
        assert_eq!(*ledger.mark().unwrap(), SENT);
    });
}
