//! Measures the heap that one uplink needs, the memory of idle clients, and a flood with a callback
//! that hangs: memory stays within the capacities, and every dropped event is counted.

mod common;
mod feed;

#[path = "memory/idle.rs"]
mod idle;

use std::{
    env,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use common::{
    PATIENCE, Peak, Usage,
    figures::{Reach, note},
    messages::v3_uplink,
    source::{Source, Uplinks},
};
use ttn::{Event, Events, Network};

const UPLINKS: u64 = 1_000_000;

/// The client's defaults: events in a subscriber's queue, and messages that wait to be decoded.
const EVENTS: u64 = 10_000;
const MESSAGES: u64 = 10_000;

fn main() {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() == Some(idle::CLIENTS) {
        return idle::run_clients(arguments);
    }
    let _watchdog = common::watchdog(Duration::from_secs(300));
    println!("## memory\n");
    for gateways in [1, 2, 4] {
        heap_of_one_uplink(gateways);
    }
    idle::measure();
    println!("### {UPLINKS} uplinks of 1.4 KiB, and a callback that hangs\n");
    if Usage::now().is_none() {
        println!("This system does not report memory use.\n");
        return;
    }
    let source = Source::start(0);
    let uplinks = Uplinks::new();
    // The later clients show that memory is reused. Their threads may use other arenas of the
    // allocator, so the second client takes some more memory.
    let floods = [(); 3].map(|()| flood(&source, &uplinks));

    println!("| resident KiB | first client | second | third |");
    println!("| --- | ---: | ---: | ---: |");
    row("before the flood", &floods, |flood| flood.before as u64);
    row("at the peak", &floods, |flood| flood.peak as u64);
    row("after the client is gone", &floods, |flood| {
        flood.after as u64
    });
    println!();
    let growth = floods[0].peak - floods[0].before;
    let bound = bound_kib();
    println!(
        "Growth: {growth}. {EVENTS} events and {MESSAGES} messages, without the allocator's overhead: {bound}.\n"
    );
    println!("| uplinks | first client | second | third |");
    println!("| --- | ---: | ---: | ---: |");
    row("sent", &floods, |_| UPLINKS);
    row("the callback received", &floods, |flood| flood.called);
    row("a subscriber received", &floods, |flood| {
        flood.account.given
    });
    row("`Lagged` reported as dropped", &floods, |flood| {
        flood.account.lost
    });
    row("received + `Lagged`", &floods, |flood| {
        flood.account.total()
    });
    row("number of `Lagged` events", &floods, |flood| {
        flood.account.reports
    });
    println!();

    for flood in floods {
        assert_eq!(flood.account.total(), UPLINKS, "the account is exact");
        assert!(flood.called <= EVENTS + 100, "the queue is bounded");
        assert!(flood.peak < flood.before + 2 * bound, "memory is bounded");
    }
}

fn row(name: &str, floods: &[Flood], figure: impl Fn(&Flood) -> u64) {
    let figures: Vec<_> = floods
        .iter()
        .map(|flood| figure(flood).to_string())
        .collect();
    println!("| {name} | {} |", figures.join(" | "));
}

struct Flood {
    before: usize,
    peak: usize,
    after: usize,
    called: u64,
    account: Account,
}

fn flood(source: &Source, uplinks: &Uplinks) -> Flood {
    // The source repeats its frame counters, and reports about that would be events too.
    let client = common::client(source)
        .counter_watch(0)
        .build()
        .expect("the options are valid");
    let (let_go, held) = mpsc::channel::<()>();
    let called = Arc::new(AtomicU64::new(0));
    let calls = Arc::clone(&called);
    client.set_uplink_callback(move |_, _| {
        calls.fetch_add(1, Ordering::Relaxed);
        // Blocks until the other end is dropped.
        let _ = held.recv();
    });
    // This subscriber does not read during the flood either, and learns afterwards what was
    // dropped.
    let events = client.events();
    client.connect().expect("the server accepts");
    assert!(matches!(
        events.recv_timeout(PATIENCE),
        Ok(Event::Connected(_))
    ));
    let link = source.link();

    let before = resident();
    let peak = Peak::watch();
    link.flood(uplinks, UPLINKS as usize);
    // Waits for what is still in the sockets.
    thread::sleep(Duration::from_secs(1));
    let peak = peak.end();

    drop(let_go);
    let account = Account::read(&events);
    client.close().expect("the callback continues");
    drop((client, events));
    thread::sleep(Duration::from_millis(500));
    Flood {
        before,
        peak,
        after: resident(),
        called: called.load(Ordering::Relaxed),
        account,
    }
}

fn resident() -> usize {
    Usage::now().map_or(0, |usage| usage.resident_kib)
}

fn heap_of_one_uplink(gateways: usize) {
    let (topic, payload) = v3_uplink(7, gateways);
    let value = allocation_counter::measure(|| {
        drop(black_box(serde_json::from_str::<serde_json::Value>(
            &payload,
        )));
    });
    let event = allocation_counter::measure(|| drop(black_box(decode(&topic, &payload))));
    let size = format!("v3 uplink of {} bytes, gateways: {gateways}", payload.len());
    println!("### The heap for a {size}\n");
    println!("| to create and drop it | allocations | ratio | bytes at the peak | ratio |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (name, info) in [("`serde_json::Value`", value), ("`Event::decode`", event)] {
        println!(
            "| {name} | {} | {:.2} | {} | {:.2} |",
            info.count_total,
            info.count_total as f64 / value.count_total as f64,
            info.bytes_max,
            info.bytes_max as f64 / value.bytes_max as f64,
        );
    }
    println!();
    let ratio = event.count_total as f64 / value.count_total as f64;
    let what = format!("heap allocations of `Event::decode`, {size}");
    note(
        1,
        &what,
        "`serde_json::Value`",
        Reach::AtMost(0.35),
        &[ratio],
    );
}

fn decode(topic: &str, payload: &str) -> Event {
    Event::decode(Network::V3, topic, payload).expect("it is an uplink")
}

/// Returns the heap size of a full queue of events and a full queue of messages to decode.
fn bound_kib() -> usize {
    let (topic, payload) = v3_uplink(7, 1);
    let mut kept = None;
    let info = allocation_counter::measure(|| kept = Some(decode(&topic, &payload)));
    assert!(matches!(kept, Some(Event::Uplink(_))));
    let message = topic.len() + payload.len() + size_of::<[usize; 8]>();
    let bytes = EVENTS * info.bytes_current as u64 + MESSAGES * message as u64;
    (bytes >> 10) as usize
}

/// Counts what a subscriber has received.
#[derive(Default)]
struct Account {
    given: u64,
    lost: u64,
    reports: u64,
}

impl Account {
    /// Reads until every uplink is accounted for, or nothing more arrives.
    fn read(events: &Events) -> Self {
        let mut account = Self::default();
        let deadline = Instant::now() + PATIENCE;
        while account.total() < UPLINKS && Instant::now() < deadline {
            match events.recv_timeout(Duration::from_secs(2)) {
                Ok(Event::Uplink(_)) => account.given += 1,
                Ok(Event::Lagged(lost)) => {
                    account.lost += lost;
                    account.reports += 1;
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        account
    }

    fn total(&self) -> u64 {
        self.given + self.lost
    }
}
