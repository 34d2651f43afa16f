use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::{Sender, bounded};

use super::*;
use crate::{
    config::Overflow,
    message::{
        Acknowledger, Closed, CounterFinding, CounterReport, Event, Marks, Place, RawMessage,
        Receipt, UplinkMessage, Watermark,
    },
};

fn message(number: usize) -> Event {
    Event::Other(RawMessage::new(&number.to_string(), &[]))
}

fn closed() -> Event {
    Event::Closed(Closed {
        error: None,
        number: 1,
    })
}

fn subscribers() -> (Subscribers, Sender<()>) {
    let (interrupt, signal) = bounded(1);
    (Subscribers::new(signal), interrupt)
}

/// Reads what a subscriber receives: message topics as they are, drops as `-n`, the end as `closed`.
fn read(events: &Events) -> Vec<String> {
    events
        .receiver()
        .try_iter()
        .map(|event| match event {
            Event::Other(raw) => raw.topic().to_owned(),
            Event::Uplink(uplink) => uplink.dev_id.clone(),
            Event::Counter(report) => format!("counter of {}", report.dev_id),
            Event::Lagged(dropped) => format!("-{dropped}"),
            Event::Closed(_) => "closed".to_owned(),
            event => panic!("{event:?}"),
        })
        .collect()
}

#[test]
fn every_subscriber_gets_every_event() {
    let (mut subscribers, _interrupt) = subscribers();
    let both: Vec<_> = (0..2)
        .map(|_| {
            let (subscriber, events) = subscription(10, Overflow::default());
            subscribers.add(subscriber);
            events
        })
        .collect();
    (1..=3).for_each(|number| subscribers.report(message(number)));
    for events in &both {
        assert_eq!(read(events), ["1", "2", "3"]);
    }
}

fn named(dev_id: &str, payload: usize) -> Event {
    let raw = RawMessage::new("", &vec![0; payload]);
    Event::Uplink(Arc::new(UplinkMessage::new("barn", dev_id, raw)))
}

#[test]
fn held_uplinks_are_handed_over_together_and_before_any_other_event() {
    let (mut subscribers, _interrupt) = subscribers();
    let (subscriber, events) = subscription(1_000, Overflow::default());
    subscribers.add(subscriber);
    subscribers.hold();
    subscribers.report(named("a", 0));
    subscribers.report(Event::Counter(CounterReport {
        app_id: String::new(),
        dev_id: "b".into(),
        counter: 3,
        previous: 3,
        finding: CounterFinding::Repeated,
    }));
    subscribers.report(named("b", 0));
    assert_eq!(read(&events).len(), 0);
    subscribers.report(message(1));
    assert_eq!(read(&events), ["a", "counter of b", "b", "1"]);
    subscribers.report(named("c", 0));
    assert_eq!(read(&events).len(), 0);
    subscribers.release();
    assert_eq!(read(&events), ["c"]);
    subscribers.report(named("d", 0));
    assert_eq!(read(&events), ["d"]);
    subscribers.hold();
    let names: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    names
        .iter()
        .for_each(|name| subscribers.report(named(name, 0)));
    let soon = read(&events);
    assert!(soon.len() >= 100, "only {} did not wait", soon.len());
    subscribers.release();
    assert_eq!([soon, read(&events)].concat(), names);
}

#[test]
fn nothing_is_held_beside_a_subscriber_that_may_block() {
    let (mut subscribers, _interrupt) = subscribers();
    let (subscriber, events) = subscription(10, Overflow::default());
    let (blocking, others) = subscription(10, Overflow::Block);
    subscribers.add(subscriber);
    subscribers.add(blocking);
    subscribers.hold();
    subscribers.report(named("a", 0));
    assert_eq!([read(&events), read(&others)].concat(), ["a", "a"]);
}

#[test]
fn handled_uplinks_come_back_to_the_session_and_not_many_wait_for_it() {
    let (spent, mut returned) = spent();
    let uplink = |payload| {
        let raw = RawMessage::new("", &vec![0; payload]);
        Arc::new(UplinkMessage::new("barn", "a", raw))
    };
    let uplinks: Vec<_> = (0..2_000).map(|_| uplink(100)).collect();
    let give_all = || uplinks.iter().for_each(|it| spent.give(Arc::clone(it)));
    let waiting = || {
        uplinks
            .iter()
            .filter(|it| Arc::strong_count(it) > 1)
            .count()
    };
    give_all();
    let before = waiting();
    assert!((1..=100).contains(&before), "{before}");
    let raw = RawMessage::new("up", b"{}");
    let new = UplinkMessage::new("", "", raw.clone());
    // Somebody still has it.
    let spare = returned.spare(&raw).uplink(&raw);
    assert_eq!((&*spare, waiting()), (&new, before - 1));
    assert_eq!(
        (uplinks[0].dev_id.as_str(), uplinks[0].raw.size()),
        ("a", 100)
    );
    let large = uplink(100_000);
    spent.give(Arc::clone(&large));
    assert_eq!(Arc::strong_count(&large), 1);
    let last = uplink(100);
    let place = Arc::as_ptr(&last);
    spent.give(last);
    let spares: Vec<_> = (0..before)
        .map(|_| returned.spare(&raw).uplink(&raw))
        .collect();
    assert_eq!(
        spares.iter().filter(|it| Arc::as_ptr(it) == place).count(),
        1
    );
    assert!(spares.iter().all(|it| **it == new));
    give_all();
    drop(returned.spare(&raw));
    give_all();
    drop(returned);
    assert_eq!(waiting(), 0);
    give_all();
    assert_eq!(waiting(), 0);
}

#[test]
fn what_is_not_wanted_is_left_out_and_news_about_the_client_never() {
    let (mut subscribers, _interrupt) = subscribers();
    let (subscriber, events) = subscription(10, Overflow::default());
    let is_wanted = |event: &Event| matches!(event, Event::Other(raw) if raw.topic() == "2");
    subscribers.add(subscriber.only(is_wanted));
    (1..=3).for_each(|number| subscribers.report(message(number)));
    subscribers.report(closed());
    assert_eq!(read(&events), ["2", "closed"]);
    assert_eq!(events.dropped(), 0);
}

#[test]
fn drop_newest_reports_the_loss_where_it_happened() {
    let (mut subscribers, _interrupt) = subscribers();
    let (subscriber, events) = subscription(2, Overflow::DropNewest);
    subscribers.add(subscriber);
    (1..=5).for_each(|number| subscribers.report(message(number)));
    assert_eq!(read(&events), ["1", "2"]);
    subscribers.report(message(6));
    assert_eq!(read(&events), ["-3", "6"]);
}

#[test]
fn drop_oldest_keeps_the_newest_and_counts_the_rest() {
    let (mut subscribers, _interrupt) = subscribers();
    let (subscriber, events) = subscription(2, Overflow::DropOldest);
    subscribers.add(subscriber);
    (1..=3).for_each(|number| subscribers.report(message(number)));
    assert!(subscribers.any_untold());
    assert_eq!(read(&events), ["2", "3"]);
    subscribers.tell_drops();
    assert_eq!(read(&events), ["-1"]);
    assert!(!subscribers.any_untold());
}

#[test]
fn a_stream_ends_with_what_was_lost_and_not_reported_yet() {
    for (overflow, expected) in [
        (Overflow::DropOldest, ["4", "5", "-3"].as_slice()),
        (Overflow::DropNewest, &["1", "2", "-3"]),
        (Overflow::Block, &["2", "-4"]),
    ] {
        let (mut subscribers, interrupt) = subscribers();
        let (subscriber, events) = subscription(2, overflow);
        subscribers.add(subscriber);
        interrupt.send(()).unwrap();
        (1..=5).for_each(|number| subscribers.report(message(number)));
        drop(subscribers);
        assert_eq!(read(&events), expected, "{overflow:?}");
        assert!(events.recv().is_err());
    }
}

#[test]
fn a_stream_that_is_full_of_news_about_the_client_ends_with_it() {
    let (mut subscribers, interrupt) = subscribers();
    let (subscriber, events) = subscription(2, Overflow::Block);
    subscribers.add(subscriber);
    (0..2).for_each(|_| subscribers.report(closed()));
    interrupt.send(()).unwrap();
    subscribers.report(message(1));
    drop(subscribers);
    assert_eq!(read(&events), ["closed", "closed"]);
    assert_eq!(events.dropped(), 1);
}

#[test]
fn received_and_lost_add_up_under_any_load() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let (mut subscribers, _interrupt) = subscribers();
        let (subscriber, events) = subscription(7, overflow);
        subscribers.add(subscriber);
        let mut random = fastrand::Rng::with_seed(11);
        let (mut sent, mut received, mut dropped) = (0, 0, 0);
        let mut take = |event| match event {
            Event::Lagged(more) => dropped += more,
            _ => received += 1,
        };
        for _ in 0..20_000 {
            if random.bool() {
                sent += 1;
                subscribers.report(message(sent));
            } else if random.u8(..) < 100 {
                events.try_recv().into_iter().for_each(&mut take);
            }
        }
        subscribers.report(closed());
        events.receiver().try_iter().for_each(&mut take);
        assert_eq!(received - 1 + dropped, sent as u64, "{overflow:?}");
        assert!(dropped > 0);
    }
}

#[test]
fn news_about_the_client_finds_room_in_a_full_queue() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::Block] {
        let (mut subscribers, interrupt) = subscribers();
        let (subscriber, events) = subscription(2, overflow);
        subscribers.add(subscriber);
        (1..=2).for_each(|number| subscribers.report(message(number)));
        interrupt.send(()).unwrap();
        (0..100).for_each(|_| subscribers.report(closed()));
        assert_eq!(
            read(&events).last().map(String::as_str),
            Some("closed"),
            "{overflow:?}"
        );
    }
}

#[test]
fn news_about_the_client_keeps_its_place_when_messages_give_way() {
    let (mut subscribers, _interrupt) = subscribers();
    let (subscriber, events) = subscription(3, Overflow::DropOldest);
    subscribers.add(subscriber);
    subscribers.report(message(1));
    subscribers.report(closed());
    (2..=100).for_each(|number| subscribers.report(message(number)));
    subscribers.report(closed());
    let seen = read(&events);
    let kept: Vec<_> = seen
        .iter()
        .filter(|entry| !entry.starts_with('-'))
        .collect();
    assert_eq!(kept, ["closed", "99", "100", "closed"]);
    let dropped: i64 = seen
        .iter()
        .filter_map(|entry| entry.parse::<i64>().ok())
        .filter(|n| *n < 0)
        .sum();
    assert_eq!(dropped, -98);
}

#[test]
fn a_queue_full_of_news_about_the_client_loses_messages_and_not_the_news() {
    let (mut subscribers, _interrupt) = subscribers();
    let (subscriber, events) = subscription(1, Overflow::DropOldest);
    subscribers.add(subscriber);
    for number in 0..=RESERVE {
        subscribers.report(closed());
        subscribers.report(message(number));
    }
    (0..100).for_each(|number| subscribers.report(message(number)));
    let news = read(&events)
        .iter()
        .filter(|entry| *entry == "closed")
        .count();
    assert_eq!(
        (news, events.dropped()),
        (RESERVE + 1, RESERVE as u64 + 101)
    );
}

#[test]
fn a_report_of_losses_takes_no_place_from_messages() {
    let (mut subscribers, _interrupt) = subscribers();
    let (subscriber, events) = subscription(10, Overflow::DropOldest);
    subscribers.add(subscriber);
    for number in 0..100 {
        subscribers.report(message(number));
        subscribers.report(Event::Lagged(3));
    }
    subscribers.report(closed());
    let seen = read(&events);
    let messages = seen
        .iter()
        .filter(|entry| entry.parse::<u32>().is_ok())
        .count();
    assert!(messages >= 9, "{seen:?}");
    let dropped: i64 = seen
        .iter()
        .filter_map(|entry| entry.parse::<i64>().ok())
        .filter(|n| *n < 0)
        .sum();
    assert_eq!(messages as i64 - dropped, 100 + 300);
}

#[test]
fn block_waits_for_the_reader_and_loses_nothing() {
    let (mut subscribers, _interrupt) = subscribers();
    let (subscriber, events) = subscription(1, Overflow::Block);
    subscribers.add(subscriber);
    let reader = thread::spawn(move || events.iter().take(1000).count());
    (0..1000).for_each(|number| subscribers.report(message(number)));
    assert_eq!(reader.join().unwrap(), 1000);
    assert!(!subscribers.any_untold());
}

#[test]
fn an_interrupt_ends_the_wait_and_the_loss_is_counted() {
    let (mut subscribers, interrupt) = subscribers();
    let (subscriber, events) = subscription(1, Overflow::Block);
    subscribers.add(subscriber);
    subscribers.report(message(1));
    interrupt.send(()).unwrap();
    subscribers.report(message(2));
    subscribers.report(message(3));
    assert_eq!(read(&events), ["1"]);
    subscribers.resume();
    let reader = thread::spawn(move || [events.recv(), events.recv()].map(Result::unwrap));
    subscribers.report(message(4));
    let [Event::Lagged(2), Event::Other(_)] = reader.join().unwrap() else {
        panic!("the subscriber was not told of the drops before the next message");
    };
}

#[test]
fn a_dropped_subscription_does_not_hold_up_the_others() {
    let (mut subscribers, _interrupt) = subscribers();
    let (gone, events) = subscription(1, Overflow::Block);
    subscribers.add(gone);
    subscribers.report(message(1));
    drop(events);
    subscribers.report(message(2));
    assert!(subscribers.is_empty());
}

/// The time of an uplink, and the time before which everything was delivered before it.
fn second(number: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(number)
}

/// Watermarks that are the number of the last uplink that was handled.
#[derive(Debug)]
struct Numbers;

impl Marks for Numbers {
    fn watermark(&self, uplink: u64, _low: SystemTime) -> Watermark {
        second(uplink).into()
    }
}

fn uplink(number: u64) -> Event {
    let mut uplink = UplinkMessage::new("greenhouse", "bed-07", RawMessage::new("", &[]));
    uplink.counter = u32::try_from(number).unwrap();
    uplink.place = Place::new(number, second(number).into(), Arc::new(Numbers));
    Event::Uplink(Arc::new(uplink))
}

/// Reads the counters of uplinks, with their watermarks.
fn read_uplinks(events: &Events) -> Vec<(u32, Watermark)> {
    let uplinks = events
        .receiver()
        .try_iter()
        .filter_map(|event| match event {
            Event::Uplink(uplink) => Some((uplink.counter, uplink.watermark().unwrap())),
            _ => None,
        });
    uplinks.collect()
}

/// Notes how many messages nobody works on any more.
#[derive(Debug, Default)]
struct Ended(AtomicUsize);

impl Acknowledger for Ended {
    fn queued(&self, _: u64) {}

    fn ended(&self, _: u64, _: bool) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn failed(&self, _: u64) -> bool {
        false
    }
}

fn held(ended: &Arc<Ended>) -> Event {
    let mut event = uplink(1);
    event.hold(&Receipt::new(Arc::clone(ended) as _, 1, false));
    event
}

#[test]
fn an_uplink_is_held_by_each_subscriber_until_it_has_read_it_or_leaves() {
    let ended = Arc::new(Ended::default());
    let is_held = || ended.0.load(Ordering::Relaxed) == 0;
    let (mut subscribers, _interrupt) = subscribers();
    let (first, first_events) = subscription(10, Overflow::default());
    let (second, second_events) = subscription(10, Overflow::default());
    subscribers.add(first.named("the first"));
    subscribers.add(second);
    subscribers.report(held(&ended));
    let queued = |name: &str| (name.to_owned(), 1);
    assert_eq!(
        subscribers.queued(),
        [queued("the first"), queued("a subscription to events")]
    );
    drop(first_events.recv());
    assert!(is_held());
    assert_eq!(subscribers.queued(), [queued("a subscription to events")]);
    drop(second_events);
    assert!(!is_held());
    assert!(subscribers.queued().is_empty());
}

#[test]
fn a_subscriber_who_leaves_while_an_uplink_is_queued_for_it_holds_nothing() {
    let ended = Arc::new(Ended::default());
    let (mut subscribers, _interrupt) = subscribers();
    let (subscriber, events) = subscription(10, Overflow::default());
    let reader = Arc::clone(events.reader());
    subscribers.add(subscriber.only(move |_| {
        // Its queue is empty at this moment.
        reader.leave();
        true
    }));
    let (other, other_events) = subscription(10, Overflow::default());
    subscribers.add(other);
    subscribers.report(held(&ended));
    drop(other_events.recv());
    assert_eq!(ended.0.load(Ordering::Relaxed), 1);
    drop(events);
}

#[test]
fn a_lost_uplink_holds_back_the_watermarks_of_its_subscriber_and_of_no_other() {
    for (overflow, kept) in [
        (Overflow::DropOldest, [4, 5]),
        (Overflow::DropNewest, [1, 2]),
    ] {
        let (mut subscribers, _interrupt) = subscribers();
        let (slow, slow_events) = subscription(2, overflow);
        let (fast, fast_events) = subscription(10, overflow);
        subscribers.add(slow);
        subscribers.add(fast);
        (1..=5).for_each(|number| subscribers.report(uplink(number)));
        let lost = if overflow == Overflow::DropOldest {
            1
        } else {
            3
        };
        let held_back = kept.map(|number: u32| {
            let handled = u64::from(number).min(lost - 1);
            (number, second(handled).into())
        });
        assert_eq!(read_uplinks(&slow_events), held_back);
        let all: Vec<_> = (1..=5)
            .map(|number| (number, second(number.into()).into()))
            .collect();
        assert_eq!(read_uplinks(&fast_events), all);
        // It stays lost.
        subscribers.report(uplink(6));
        assert_eq!(read_uplinks(&slow_events), [(6, second(lost - 1).into())]);
    }
}

/// Reads an uplink, and returns it with its watermark.
fn take(events: &Events) -> (Arc<UplinkMessage>, Watermark) {
    let Event::Uplink(uplink) = events.try_recv().unwrap() else {
        panic!("an uplink comes first");
    };
    let watermark = uplink.watermark().unwrap();
    (uplink, watermark)
}

#[test]
fn what_one_of_those_who_share_uplinks_has_not_handled_holds_back_the_watermarks_of_all() {
    let (mut subscribers, _interrupt) = subscribers();
    let mut sharing = Vec::new();
    for (number, (subscriber, events)) in
        (0..).zip(shared_subscriptions(2, 10, Overflow::DropOldest))
    {
        let is_its = move |event: &Event| matches!(event, Event::Uplink(uplink) if uplink.counter % 2 == number);
        subscribers.add(subscriber.only(is_its));
        sharing.push(events);
    }
    let [even, odd] = &sharing[..] else { panic!() };
    (1..=6).for_each(|number| subscribers.report(uplink(number)));
    let reached = |number: u64| Watermark::from(second(number));
    // The first is not handled yet by the other.
    let (two, watermark) = take(even);
    assert_eq!(watermark, reached(0));
    two.place.is_handled();
    let (one, watermark) = take(odd);
    assert_eq!(watermark, reached(2));
    one.place.is_handled();
    let (four, watermark) = take(even);
    assert_eq!(watermark, reached(2));
    four.place.is_handled();
    // Whoever is asked later knows more.
    assert_eq!(one.watermark(), Some(reached(2)));
    let (three, watermark) = take(odd);
    assert_eq!(watermark, reached(4));
    three.place.is_handled();
    let (five, _) = take(odd);
    let (six, _) = take(even);
    six.place.is_handled();
    assert_eq!(five.watermark(), Some(reached(6)));
    five.place.is_handled();
    assert_eq!(one.watermark(), Some(reached(6)));
}

#[test]
fn what_one_of_those_who_share_uplinks_has_lost_holds_back_the_watermarks_of_all() {
    let (mut subscribers, _interrupt) = subscribers();
    let mut sharing = shared_subscriptions(2, 1, Overflow::DropOldest).into_iter();
    let (subscriber, slow) = sharing.next().unwrap();
    subscribers
        .add(subscriber.only(|event| matches!(event, Event::Uplink(uplink) if uplink.counter < 4)));
    let (subscriber, fast) = sharing.next().unwrap();
    subscribers.add(
        subscriber.only(|event| matches!(event, Event::Uplink(uplink) if uplink.counter >= 4)),
    );
    (1..=3).for_each(|number| subscribers.report(uplink(number)));
    subscribers.report(uplink(4));
    let (four, watermark) = take(&fast);
    assert_eq!(watermark, second(0).into());
    four.place.is_handled();
    let last = slow.receiver().try_iter().find_map(|event| match event {
        Event::Uplink(uplink) => Some(uplink),
        _ => None,
    });
    let last = last.unwrap();
    assert_eq!((last.counter, slow.dropped()), (3, 2));
    assert_eq!(last.watermark(), Some(second(0).into()));
}

#[test]
fn what_can_wait_leaves_half_of_each_queue_to_what_cannot() {
    let (mut subscribers, _interrupt) = subscribers();
    let (subscriber, events) = subscription(4, Overflow::DropOldest);
    subscribers.add(subscriber);
    let now = Instant::now();
    for number in 1..=2 {
        assert!(subscribers.have_room(now));
        subscribers.report(message(number));
    }
    assert!(!subscribers.have_room(now));
    assert!(events.try_recv().is_ok());
    assert!(subscribers.have_room(now));
    // Even one of a single event.
    let (smallest, smallest_events) = subscription(1, Overflow::Block);
    subscribers.add(smallest);
    assert!(subscribers.have_room(now));
    subscribers.report(message(3));
    assert!(!subscribers.have_room(now));
    drop(smallest_events);
}

#[test]
fn events_that_belong_together_take_no_room_from_each_other() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let (mut subscribers, _interrupt) = subscribers();
        let (subscriber, events) = subscription(1, overflow);
        subscribers.add(
            subscriber.only(|event| !matches!(event, Event::Other(raw) if raw.topic() == "3")),
        );
        let together = [Some(message(1)), None, Some(message(2)), Some(message(3))];
        subscribers.report_together(&together);
        assert_eq!(read(&events), ["1", "2"], "{overflow:?}");
        // One that is full has no room for any.
        subscribers.report(message(4));
        subscribers.report_together(&together);
        let kept = match overflow {
            Overflow::DropOldest => "2",
            _ => "4",
        };
        assert!(read(&events).contains(&kept.to_owned()), "{overflow:?}");
        assert_eq!(events.dropped(), 2, "{overflow:?}");
    }
}

#[test]
fn a_queue_that_nobody_reads_holds_nobody_up_unless_it_blocks() {
    for (overflow, in_the_end) in [
        (Overflow::DropOldest, true),
        (Overflow::DropNewest, true),
        (Overflow::Block, false),
    ] {
        let (mut subscribers, _interrupt) = subscribers();
        let (subscriber, events) = subscription(4, overflow);
        subscribers.add(subscriber);
        let start = Instant::now();
        (1..=3).for_each(|number| subscribers.report(message(number)));
        assert!(!subscribers.have_room(start));
        let later = start + Duration::from_secs(9);
        assert!(!subscribers.have_room(later));
        // One that is read slowly is waited for.
        events.try_recv().unwrap();
        assert!(!subscribers.have_room(later));
        assert!(!subscribers.have_room(later + Duration::from_secs(9)));
        let much_later = later + Duration::from_secs(10);
        assert_eq!(
            subscribers.have_room(much_later),
            in_the_end,
            "{overflow:?}"
        );
    }
}
