//! Compares decoding one uplink with parsing the same bytes as plain JSON. `memory` counts the heap
//! allocations: counting them here would slow down the side that allocates more.

mod common;

use std::{hint::black_box, time::Duration};

use common::{
    figures::{Reach, note},
    messages,
    report::{Row, Side, interleave, print},
};
use serde_json::Value;
use ttn::{Event, Network};

const ROUNDS: usize = 15;

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(240));
    let (topic, payload) = messages::uplink(7);
    println!("## decode: V2 uplink of {} bytes\n", payload.len());
    measure(Network::V2, &topic, payload.as_bytes());
    for gateways in [1, 2, 4] {
        let (topic, payload) = messages::v3_uplink(7, gateways);
        let message = format!("v3 uplink of {} bytes, gateways: {gateways}", payload.len());
        println!("## decode: {message}\n");
        let [value, event] = measure(Network::V3, &topic, payload.as_bytes());
        let what = format!("time of `Event::decode`, {message}");
        note(
            1,
            &what,
            &value.name,
            Reach::AtMost(0.5),
            &event.ratios(&value),
        );
    }
}

fn measure(network: Network, topic: &str, payload: &[u8]) -> [Row; 2] {
    let value = || serde_json::from_slice::<Value>(black_box(payload)).expect("it is JSON");
    let event = || {
        let event = Event::decode(network, black_box(topic), black_box(payload));
        event.expect("the bytes are an uplink")
    };
    let sides = vec![
        Side::repeated("`serde_json::Value`", value),
        Side::repeated("`Event::decode`", event),
    ];
    let [rows] = interleave(ROUNDS, sides);
    print("Time to create and drop it", "µs", &rows);
    rows.try_into()
        .unwrap_or_else(|_| panic!("each side has a row"))
}
