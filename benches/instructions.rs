//! Counts with callgrind how many instructions one delivered uplink takes, a figure that does not
//! depend on how busy the machine is.
//!
//! With `--check` it fails if the count exceeds `benches/instructions.toml` by too much; with
//! `--renew` it writes that file.

mod common;
mod feed;

#[path = "instructions/callgrind.rs"]
mod callgrind;
#[path = "instructions/committed.rs"]
mod committed;

use std::{env, hint::black_box, process::ExitCode, time::Duration};

use callgrind::{Callgrind, Instructions};
use committed::Figures;
use common::{
    figures::{self, Reach},
    messages,
    report::quantile,
};
use feed::{Feed, Pace};
use ttn::{Event, Network};

/// The arguments that make this program the process that callgrind counts.
const CLIENT: &str = "client";
const DECODE: &str = "decode";

/// Each uplink waits for the previous one: the threads are idle in between, and each uplink wakes
/// them up.
const ONE_BY_ONE: Pace = Pace { step: 1, window: 1 };

/// Uplinks pile up.
const FLOOD: Pace = Pace {
    step: 64,
    window: 256,
};

const UPLINKS: u64 = 2_048;

/// Enough for the check, although threads interleave differently each time.
const ROUNDS: usize = 3;

const REQUIRED: &str = "TTN_TEST_REQUIRE_VALGRIND";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some(CLIENT) => feed::run_client(arguments),
        Some(DECODE) => decode(arguments.next().and_then(|count| count.parse().ok())),
        mode => return measure(mode),
    }
    ExitCode::SUCCESS
}

fn measure(mode: Option<&str>) -> ExitCode {
    let _watchdog = common::watchdog(Duration::from_secs(600));
    let Some(callgrind) = Callgrind::find() else {
        println!("SKIPPED instructions: valgrind is not installed, or does not work\n");
        let row = "instructions for one delivered uplink";
        figures::left_out(
            12,
            row,
            "–",
            Reach::Stated,
            "valgrind is not installed, or does not work",
        );
        let is_required = env::var(REQUIRED).is_ok_and(|value| value == "1");
        return ExitCode::from(u8::from(is_required));
    };
    let one_by_one = delivered(&callgrind, ONE_BY_ONE);
    let decoded = Difference::of(|uplinks| {
        let mut command = callgrind.command(DECODE);
        command.arg(uplinks.to_string());
        let status = command.status().expect("valgrind starts");
        assert!(status.success(), "valgrind: {status}");
        callgrind.count()
    });
    let present = Figures::new(median(&one_by_one), decoded.0);
    match mode {
        Some("--check") => present.check(),
        Some("--renew") => present.renew(),
        _ => {
            print(&one_by_one, &delivered(&callgrind, FLOOD), decoded);
            ExitCode::SUCCESS
        }
    }
}

/// Returns the instructions for one uplink, in three rounds.
fn delivered(callgrind: &Callgrind, pace: Pace) -> [Difference; ROUNDS] {
    [(); ROUNDS].map(|()| {
        Difference::of(|uplinks| {
            let mut feed = Feed::start(callgrind.command(CLIENT), 10, pace);
            feed.feed(uplinks);
            feed.end();
            callgrind.count()
        })
    })
}

/// The cost of one uplink: the difference between a run and a run with twice the uplinks, in which
/// starting and ending cost the same.
#[derive(Clone, Copy)]
struct Difference(Instructions);

impl Difference {
    fn of(run: impl Fn(u64) -> Instructions) -> Self {
        let [once, twice] = [UPLINKS, 2 * UPLINKS].map(run);
        Self(twice.per_further(&once, UPLINKS as f64))
    }
}

/// Returns the median round.
fn median(rounds: &[Difference; ROUNDS]) -> Instructions {
    let mut sorted = rounds.map(|Difference(instructions)| instructions);
    sorted.sort_by(|one, other| one.all().total_cmp(&other.all()));
    sorted[ROUNDS / 2]
}

/// Decodes `count` uplinks.
fn decode(count: Option<u64>) {
    let (topic, payload) = messages::v3_uplink(7, 1);
    for _ in 0..count.expect("the number of uplinks follows") {
        let event = Event::decode(
            Network::V3,
            black_box(topic.as_str()),
            black_box(payload.as_bytes()),
        );
        let event = black_box(event).expect("the bytes are an uplink");
        assert!(matches!(event, Event::Uplink(_)));
    }
}

fn print(one_by_one: &[Difference], flood: &[Difference], decoded: Difference) {
    println!("## instructions: what one v3 uplink of 1.4 KiB takes, counted by callgrind\n");
    println!(
        "Counted in the client's process, from its socket to an uplink callback that reports each call; without the kernel.\n\
         {ROUNDS} rounds: median, min – max.\n"
    );
    println!("| | all | Rust | Paho | C library and others |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    row("delivered, one after the other", one_by_one);
    row("delivered, when uplinks pile up", flood);
    row("`Event::decode` alone", &[decoded]);
    println!();
    for (what, rounds) in [("one after the other", one_by_one), ("piled up", flood)] {
        let counts: Vec<_> = rounds.iter().map(|round| round.0.all()).collect();
        let what = format!("instructions for one delivered uplink, {what}");
        figures::note(12, &what, "–", Reach::Stated, &counts);
    }
}

fn row(name: &str, rounds: &[Difference]) {
    let kinds: [fn(&Instructions) -> f64; 4] = [
        Instructions::all,
        |count| count.rust,
        |count| count.paho,
        |count| count.others,
    ];
    let cells = kinds.map(|kind| {
        let counts: Vec<_> = rounds.iter().map(|round| kind(&round.0)).collect();
        let [median, min, max] = [0.5, 0.0, 1.0].map(|part| quantile(&counts, part));
        match rounds {
            [_] => format!("{median:.0}"),
            _ => format!("{median:.0}, {min:.0} – {max:.0}"),
        }
    });
    println!("| {name} | {} |", cells.join(" | "));
}
