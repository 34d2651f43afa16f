//! Floods: what a client cannot keep is dropped according to its policies, counted exactly, and
//! uses no more memory than its capacities allow.
#![cfg(target_os = "linux")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    child::alone,
    harness::{Harness, SOON},
    watchdog::watchdog,
};
use crossbeam_channel::bounded;
use ttn::{Event, Events, Network, Overflow};

const LIMIT: Duration = Duration::from_secs(100);
const FLOOD: u32 = 100_000;
const CAPACITY: usize = 100;

/// Reports of losses may use room beyond the capacity.
const RESERVE: usize = 16;

/// Makes the network publish these uplinks as fast as the client reads; none is lost in the
/// network.
fn flood(harness: &mut Harness, uplinks: u32) {
    let topic = harness.topic("dev-1", "up");
    for counter in 0..uplinks {
        let body = harness.uplink_body("dev-1", counter);
        harness.publish(&topic, &body);
    }
    assert_eq!(harness.simulated().dropped(), 0, "the network lost some");
}

#[derive(Default)]
struct Account {
    received: u32,
    lost: u32,
    reports: usize,
    /// Counters of the uplinks, in order of arrival.
    counters: Vec<u32>,
}

impl Account {
    fn enter(&mut self, event: Event) {
        match event {
            Event::Uplink(uplink) => {
                self.received += 1;
                self.counters.push(uplink.counter);
            }
            Event::Lagged(missed) => {
                assert!(missed > 0, "a report of nothing");
                self.lost += u32::try_from(missed).expect("no more than was sent");
                self.reports += 1;
            }
            event => panic!("{event:?}"),
        }
    }

    /// Reads until everything that was sent is accounted for.
    fn read(events: &Events, sent: u32) -> Self {
        let mut account = Self::default();
        while account.received + account.lost < sent {
            let event = events.recv_timeout(SOON);
            account.enter(event.unwrap_or_else(|_| {
                panic!(
                    "{sent} sent, {} received, {} lost",
                    account.received, account.lost
                )
            }));
        }
        assert_eq!(account.received + account.lost, sent);
        assert!(account.counters.is_sorted(), "out of order");
        account
    }
}

#[test]
fn in_a_flood_each_subscriber_has_what_its_policy_says() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness
            .builder()
            .counter_watch(0)
            // Nothing is lost before it reaches the subscribers.
            .receive_capacity(FLOOD as usize, 1 << 30)
            .build()
            .unwrap();
        client.connect().unwrap();
        let newest = client.events_with(CAPACITY, Overflow::DropOldest);
        let oldest = client.events_with(CAPACITY, Overflow::DropNewest);
        let slow = client.events_with(CAPACITY, Overflow::DropOldest);
        let all = client.events_with(FLOOD as usize, Overflow::DropNewest);
        thread::scope(|scope| {
            let reader = scope.spawn(|| Account::read(&all, FLOOD));
            let slow = scope.spawn(|| {
                let mut account = Account::default();
                while account.received + account.lost < FLOOD {
                    account.enter(slow.recv_timeout(SOON).expect("all is accounted for"));
                    thread::yield_now();
                }
                account
            });
            flood(harness, FLOOD);
            let account = reader.join().unwrap();
            assert_eq!(account.received, FLOOD, "the reader got every event");
            assert!((0..FLOOD).eq(account.counters));
            let account = slow.join().unwrap();
            assert_eq!(account.received + account.lost, FLOOD);
        });

        assert!(newest.receiver().len() <= CAPACITY + RESERVE);
        let account = Account::read(&newest, FLOOD);
        assert!(account.received <= CAPACITY as u32);
        let last = account.counters.len() as u32;
        assert!(last > CAPACITY as u32 - 5, "reports of losses took places");
        assert!((FLOOD - last..FLOOD).eq(account.counters));

        assert!(oldest.receiver().len() <= CAPACITY + RESERVE);
        let account = Account::read(&oldest, FLOOD);
        assert_eq!(account.lost, FLOOD - CAPACITY as u32);
        assert_eq!(account.reports, 1);
        assert!((0..CAPACITY as u32).eq(account.counters));
    });
}

#[test]
fn a_stuck_callback_costs_other_subscribers_nothing() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
            let client = harness
                .builder()
                .counter_watch(0)
                .event_capacity(CAPACITY)
                .overflow(overflow)
                .receive_capacity(FLOOD as usize, 1 << 30)
                .build()
                .unwrap();
            let called = Arc::new(AtomicU64::new(0));
            let calls = Arc::clone(&called);
            let (let_go, held) = bounded::<()>(0);
            client.set_uplink_callback(move |_, _| {
                calls.fetch_add(1, Ordering::Relaxed);
                let _ = held.recv();
            });
            client.connect().unwrap();
            let all = client.events_with(FLOOD as usize, Overflow::DropNewest);
            let uplinks = FLOOD / 5;
            thread::scope(|scope| {
                let reader = scope.spawn(|| Account::read(&all, uplinks));
                flood(harness, uplinks);
                assert_eq!(reader.join().unwrap().received, uplinks);
            });
            assert_eq!(called.load(Ordering::Relaxed), 1);
            drop(let_go);
            client.close().unwrap();
            let called = called.load(Ordering::Relaxed);
            let most = CAPACITY as u64 + 1;
            assert!(
                (most - 5..=most).contains(&called),
                "{overflow:?}: {called}"
            );
        }
    });
}

#[test]
fn a_subscriber_that_blocks_in_a_flood_loses_as_much_as_the_others() {
    const RECEIVE: usize = 1_000;
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness
            .builder()
            .counter_watch(0)
            .receive_capacity(RECEIVE, 1 << 20)
            .build()
            .unwrap();
        client.connect().unwrap();
        let blocking = client.events_with(CAPACITY, Overflow::Block);
        let other = client.events_with(FLOOD as usize, Overflow::DropNewest);
        flood(harness, FLOOD);
        assert!(client.is_connected());
        assert!(blocking.receiver().is_full());
        let account = Account::read(&blocking, FLOOD);
        // At most the contents of the reader's queue, the event in hand, and the events behind it;
        // anything still in the sockets may have arrived later.
        let first_loss = (0..)
            .zip(&account.counters)
            .take_while(|(number, counter)| number == *counter)
            .count();
        let most = CAPACITY + 1 + RECEIVE;
        assert!((RECEIVE..=most).contains(&first_loss), "{first_loss}");
        assert!(account.lost > 0);
        let other = Account::read(&other, FLOOD);
        assert_eq!(
            (other.received, other.lost),
            (account.received, account.lost)
        );
    });
}

/// Returns the peak resident memory while `work` runs, in KiB more than before.
fn growth(mut work: impl FnMut(&mut dyn FnMut())) -> usize {
    let before = crate::support::resources::resident_kib();
    let mut most = before;
    work(&mut || most = most.max(crate::support::resources::resident_kib()));
    most - before
}

#[test]
fn a_flood_of_large_messages_takes_no_more_memory_than_the_capacities() {
    const NAME: &str = "a_flood_of_large_messages_takes_no_more_memory_than_the_capacities";
    const SIZE: usize = 64 << 10;
    const MESSAGES: u32 = 3_000;
    const RECEIVE: usize = 8 << 20;
    const EVENTS: usize = 50;

    let _watchdog = watchdog(LIMIT);
    if !alone(module_path!(), NAME) {
        return;
    }
    Harness::each_simulator(|harness| {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::Block] {
            let client = harness
                .builder()
                .counter_watch(0)
                .event_capacity(EVENTS)
                .overflow(overflow)
                .receive_capacity(10_000, RECEIVE)
                .build()
                .unwrap();
            let (let_go, held) = bounded::<()>(0);
            client.set_uplink_callback(move |_, _| {
                let _ = held.recv();
            });
            let never_read = client.events();
            client.connect().unwrap();
            let topic = harness.topic("dev-1", "up");
            let body = harness.uplink_body("dev-1", 7);
            let fields = format!(r#"{{"text":"{}"}}"#, "x".repeat(SIZE));
            let body = match harness.network {
                Network::V3 => body.replace(
                    r#""f_port":1"#,
                    &format!(r#""f_port":1,"decoded_payload":{fields}"#),
                ),
                _ => body.replace(
                    r#""port":1"#,
                    &format!(r#""port":1,"payload_fields":{fields}"#),
                ),
            };
            assert!(body.len() > SIZE);
            let start = Instant::now();
            let grown = growth(|look| {
                for number in 0..MESSAGES {
                    harness.publish(&topic, &body);
                    if number % 20 == 0 {
                        look();
                    }
                }
                look();
            });
            assert_eq!(harness.simulated().dropped(), 0, "the network lost some");
            // The text and the fields of each message that waits for the client's thread, the
            // callback or the subscriber, and the messages that the network holds for the client.
            let events = 2 * EVENTS * 2 * SIZE;
            let network = 2 * 64 * SIZE;
            let bound = (RECEIVE + events + network) >> 10;
            println!(
                "{overflow:?}: {grown} KiB more, {bound} allowed, in {:?}",
                start.elapsed()
            );
            assert!(
                grown < bound + bound / 2,
                "{overflow:?}: {grown} KiB more, {bound} allowed"
            );
            assert!(client.is_connected());
            drop(let_go);
            drop((client, never_read));
        }
    });
}
