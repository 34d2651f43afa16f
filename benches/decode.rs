//! Reading one uplink, against reading the same bytes as any JSON. What it takes of the heap is
//! counted in `memory`: counting would slow down the side that allocates more.

mod common;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use common::{
    messages,
    report::{Side, interleave, print},
};
use serde_json::Value;
use ttn::{Event, Network};

const ROUNDS: usize = 15;
const DECODES: u32 = 20_000;

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(240));
    let (topic, payload) = messages::uplink(7);
    measure(Network::V2, &topic, payload.as_bytes());
    for gateways in [1, 2, 4] {
        let (topic, payload) = messages::v3_uplink(7, gateways);
        measure(Network::V3, &topic, payload.as_bytes());
    }
}

fn measure(network: Network, topic: &str, payload: &[u8]) {
    let value = || serde_json::from_slice::<Value>(black_box(payload)).expect("the bytes are JSON");
    let event = || {
        let event = Event::decode(network, black_box(topic), black_box(payload));
        event.expect("the bytes are an uplink")
    };
    let Event::Uplink(uplink) = event() else {
        panic!("the bytes are an uplink");
    };
    println!(
        "## decode: a {network:?} uplink of {} bytes, {} gateways\n",
        payload.len(),
        uplink.metadata.gateways.len()
    );
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
