//! Reading one uplink, against reading the same bytes as any JSON. What it takes of the heap is
//! counted in `memory`: counting would slow down the side that allocates more.

mod common;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use common::report::{Side, interleave, print};
use ttn::{Event, Network};

const ROUNDS: usize = 15;
const DECODES: u32 = 20_000;

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(120));
    let (topic, payload) = common::source::uplink(7);
    let payload = payload.as_bytes();
    let value = || {
        serde_json::from_slice::<serde_json::Value>(black_box(payload)).expect("the bytes are JSON")
    };
    let event = || {
        let event = Event::decode(Network::V2, black_box(topic.as_str()), black_box(payload));
        event.expect("the bytes are an uplink")
    };
    assert!(matches!(event(), Event::Uplink(_)));

    println!("## decode: an uplink of {} bytes\n", payload.len());
    let names = ["`serde_json::Value`", "`Event::decode`"];
    let [rows] = interleave(
        ROUNDS,
        vec![
            Side::new(names[0], || [microseconds(value)]),
            Side::new(names[1], || [microseconds(event)]),
        ],
    );
    print("Time, making and dropping", "µs", &rows);
}

fn microseconds<T>(work: impl Fn() -> T) -> f64 {
    let start = Instant::now();
    for _ in 0..DECODES {
        drop(black_box(work()));
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(DECODES)
}
