//! Measures what one uplink costs a client that knows few or many devices, or that has received
//! many uplinks, and how long uplinks wait while a program lists all devices.

mod common;
mod feed;

use std::{
    env,
    hint::black_box,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use common::{
    figures::{Reach, note},
    report::{Side, interleave, print, quantile},
};
use feed::{
    Feed, Pace,
    process::{Memory, processor_seconds},
};

/// The others are compared with the first.
const DEVICES: [u32; 3] = [10, 1_000, MOST];

/// The number of devices that a client watches by default.
const MOST: u32 = 100_000;

/// The variable that sets the number of uplinks of the long run.
const LONG_RUN: &str = "TTN_BENCH_UPLINKS";

/// The queue is short: `memory` measures a long one.
const PACE: Pace = Pace {
    step: 256,
    window: 1_024,
};

const ROUNDS: usize = 5;
const UPLINKS: u64 = 600 * PACE.step;

/// Enough for each device to send at least once.
const WARM_UP: u64 = 400 * PACE.step;

/// How many parts the long run has.
const PARTS: u64 = 10;

/// The steps are short, so that the time of each shows how long its uplinks waited.
const FINE_PACE: Pace = Pace {
    step: 16,
    window: 1_024,
};

/// Steps of a round in which the longest counts.
const STEPS: u64 = 4_000;

/// The argument that makes this program the client.
const CLIENT: &str = "client";

/// Makes this program the client with a thread that lists all devices in a loop.
const LISTING_CLIENT: &str = "listing client";

/// Makes this program the client with a thread that copies a list of its own: as much work, and no
/// lock.
const COPYING_CLIENT: &str = "copying client";

/// The argument that measures only the waits.
const WAITS: &str = "waits";

fn main() {
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some(CLIENT) => return feed::run_client(arguments),
        Some(LISTING_CLIENT) => {
            return feed::run_client_beside(arguments, |client| {
                let fair_use = client.stats().fair_use;
                work_for_ever(move || fair_use.devices().len());
            });
        }
        Some(COPYING_CLIENT) => {
            return feed::run_client_beside(arguments, |client| {
                let used = client.stats().fair_use.device("");
                let names = (0..MOST).map(|number| (format!("soil-probe-{number:06}"), used));
                let list: Vec<_> = names.collect();
                work_for_ever(move || list.clone().len());
            });
        }
        Some(WAITS) => return compare_waits(),
        _ => {}
    }
    let uplinks = env::var(LONG_RUN).map_or(10_000_000, |number| {
        number
            .parse::<u64>()
            .expect("TTN_BENCH_UPLINKS is a number")
    });
    let part = (uplinks / PARTS).next_multiple_of(PACE.step);
    // Allows for a tenth of the usual speed.
    let _watchdog = common::watchdog(Duration::from_secs(600 + uplinks / 10_000));

    println!("## devices: what one uplink costs the client's process\n");
    println!(
        "v3 uplinks of 1.4 KiB, as fast as the callback returns. The devices take turns, and each uplink has the next frame\n\
         counter of its device. Rounds of {UPLINKS}.\n"
    );
    let mut old = start(MOST);
    let parts = long_run(&mut old, part);
    compare(old, part * PARTS);
    report(&parts, part);
    compare_waits();
}

fn start(devices: u32) -> Feed {
    start_as(CLIENT, devices, PACE)
}

fn start_as(client: &str, devices: u32, pace: Pace) -> Feed {
    let mut command = Command::new(env::current_exe().expect("a program knows its file"));
    command.arg(client);
    let mut feed = Feed::start(command, devices, pace);
    feed.feed(WARM_UP);
    feed
}

fn work_for_ever<T>(work: impl Fn() -> T + Send + 'static) {
    thread::spawn(move || {
        loop {
            black_box(work());
        }
    });
}

/// Returns the longest and the 99th percentile of the times of steps, in milliseconds.
fn waits(feed: &mut Feed) -> [f64; 2] {
    let step = |_| {
        let start = Instant::now();
        feed.feed(FINE_PACE.step);
        start.elapsed().as_secs_f64() * 1e3
    };
    let steps: Vec<_> = (0..STEPS).map(step).collect();
    [1.0, 0.99].map(|part| quantile(&steps, part))
}

/// Measures how long uplinks wait while another thread of the client lists all devices.
fn compare_waits() {
    let clients = [
        ("nothing else", CLIENT),
        (
            "beside a thread that copies a list of its own",
            COPYING_CLIENT,
        ),
        ("beside a thread that lists all devices", LISTING_CLIENT),
    ];
    let sides = clients.map(|(name, client)| {
        // A new client in each round: the other thread of one client must not disturb the others.
        Side::new(name, move || {
            let mut feed = start_as(client, MOST, FINE_PACE);
            let waits = waits(&mut feed);
            feed.end();
            waits
        })
    });
    let tables = interleave(ROUNDS, sides.into());
    let kinds = ["longest wait", "99th percentile of the waits"];
    for (kind, rows) in kinds.into_iter().zip(&tables) {
        let title = format!("{} uplinks with {MOST} devices: {kind}", FINE_PACE.step);
        print(&title, "ms", rows);
        let [alone, copying, listing] = &rows[..] else {
            panic!("there are three sides");
        };
        for other in [alone, copying] {
            let pairs = listing.figures.iter().zip(&other.figures);
            let ratios: Vec<_> = pairs.map(|(figure, other)| figure / other).collect();
            let what = format!("{kind} for uplinks while {MOST} devices are listed in a loop");
            note(11, &what, &other.name, Reach::Stated, &ratios);
        }
    }
}

/// Returns the microseconds of CPU time, and of time, for each of `uplinks` uplinks.
fn cost(feed: &mut Feed, uplinks: u64) -> [f64; 2] {
    let processors = |feed: &Feed| processor_seconds(feed.id()).unwrap_or(f64::NAN);
    let worked = processors(feed);
    let start = Instant::now();
    feed.feed(uplinks);
    let seconds = start.elapsed().as_secs_f64();
    let worked = processors(feed) - worked;
    [worked, seconds].map(|seconds| seconds * 1e6 / uplinks as f64)
}

/// One part of the long run.
struct Part {
    cost: [f64; 2],
    memory: Option<Memory>,
}

fn long_run(feed: &mut Feed, uplinks: u64) -> Vec<Part> {
    let part = |_| Part {
        cost: cost(feed, uplinks),
        memory: Memory::of(feed.id()),
    };
    (0..PARTS).map(part).collect()
}

/// Compares clients that know few or many devices, and the client of the long run.
fn compare(old: Feed, uplinks: u64) {
    let mut names = DEVICES.map(|devices| format!("{devices} devices")).to_vec();
    names.push(format!("{MOST} devices, after {uplinks} uplinks"));
    let mut feeds = DEVICES.map(start).into_iter().collect::<Vec<_>>();
    feeds.push(old);

    let pairs = names.iter().zip(&mut feeds);
    let sides = pairs.map(|(name, feed)| Side::new(name, || cost(feed, UPLINKS)));
    let tables = interleave(ROUNDS, sides.collect());
    let kinds = ["CPU time", "time"];
    for (kind, rows) in kinds.into_iter().zip(&tables) {
        print(&format!("For one uplink: {kind}"), "µs", rows);
        for row in &rows[1..] {
            let pairs = row.figures.iter().zip(&rows[0].figures);
            let ratios: Vec<_> = pairs.map(|(figure, few)| figure / few).collect();
            let what = format!("{kind} for one uplink, {}", row.name);
            note(11, &what, &rows[0].name, Reach::AtMost(1.1), &ratios);
        }
    }

    println!("| memory | resident KiB | private KiB |");
    println!("| --- | ---: | ---: |");
    for (name, feed) in names.iter().zip(&feeds) {
        print_memory(name, Memory::of(feed.id()));
    }
    println!();
    feeds.into_iter().for_each(Feed::end);
}

/// Prints the figures of the parts of the long run.
fn report(parts: &[Part], uplinks: u64) {
    println!(
        "### {} uplinks in one go, {MOST} devices\n",
        uplinks * PARTS
    );
    println!("| after | CPU µs for one | µs for one | resident KiB | private KiB |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    for (number, part) in (1..).zip(parts) {
        let [work, time] = part.cost.map(|figure| format!("{figure:.2}"));
        let count = format!("{} | {work} | {time}", number * uplinks);
        print_memory(&count, part.memory);
    }
    println!();
    let [first, .., last] = parts else {
        panic!("there are several parts");
    };
    let [work, time] = [0, 1].map(|kind| last.cost[kind] / first.cost[kind]);
    println!(
        "The last tenth against the first: CPU time {work:.2}, time {time:.2}, not corrected for changes of the machine's speed.\n"
    );
    if let (Some(first), Some(last)) = (first.memory, last.memory) {
        note(
            11,
            &format!("resident memory after {} uplinks", uplinks * PARTS),
            &format!("after {uplinks}"),
            Reach::AtMost(1.1),
            &[last.resident / first.resident],
        );
    }
}

fn print_memory(name: &str, memory: Option<Memory>) {
    match memory {
        Some(memory) => println!("| {name} | {} | {} |", memory.resident, memory.private),
        None => println!("| {name} | – | – |"),
    }
}
