//! Compares decoding one uplink with parsing the same bytes as plain JSON. `memory` counts the heap
//! allocations: counting them here would slow down the side that allocates more.

mod common;
#[path = "decode/parser.rs"]
mod parser;

use std::{hint::black_box, time::Duration};

use common::{
    figures::{Reach, left_out, note},
    messages,
    report::{Row, Side, interleave, print},
};
use parser::Parser;
use serde_json::Value;
use ttn::{Event, Network};

const ROUNDS: usize = 15;

/// Not more than before. The floor is near: a fifth of the instructions is memory for the text of the fields, and
/// a JSON reader of our own in place of serde_json would save another fifth.
const AS_BEFORE: Reach = Reach::AtMost(0.7);

const INEXACT: &str = "`serde_json::Value` without `float_roundtrip`";

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(240));
    let (topic, payload) = messages::uplink(7);
    println!("## decode: V2 uplink of {} bytes\n", payload.len());
    println!(
        "The mark for v3 is not to get slower. The floor is near: a fifth of the instructions is memory for the text of the\n\
         fields, and a JSON reader of our own in place of serde_json would save another fifth.\n"
    );
    measure(Network::V2, &topic, payload.as_bytes(), None);
    let mut parser = Parser::start();
    match &parser {
        Ok(_) => println!("\"{INEXACT}\" is measured in a process of its own.\n"),
        Err(why) => println!("\"{INEXACT}\" is left out: {why}\n"),
    }
    for gateways in [1, 2, 4] {
        let (topic, payload) = messages::v3_uplink(7, gateways);
        let message = format!("v3 uplink of {} bytes, gateways: {gateways}", payload.len());
        println!("## decode: {message}\n");
        let inexact = parser.as_mut().ok();
        let rows = measure(Network::V3, &topic, payload.as_bytes(), inexact);
        let [value, event, inexact @ ..] = &rows[..] else {
            unreachable!("there are at least two sides");
        };
        let what = format!("time of `Event::decode`, {message}");
        note(1, &what, &value.name, AS_BEFORE, &event.ratios(value));
        let what = format!("time of `serde_json::Value` with `float_roundtrip`, {message}");
        for row in inexact {
            note(0, &what, INEXACT, Reach::Stated, &value.ratios(row));
        }
        if let Err(why) = &parser {
            left_out(0, &what, INEXACT, Reach::Stated, why);
        }
    }
}

fn measure(
    network: Network,
    topic: &str,
    payload: &[u8],
    inexact: Option<&mut Parser>,
) -> Vec<Row> {
    let value = || serde_json::from_slice::<Value>(black_box(payload)).expect("it is JSON");
    let event = || {
        let event = Event::decode(network, black_box(topic), black_box(payload));
        event.expect("the bytes are an uplink")
    };
    let mut sides = vec![
        Side::repeated("`serde_json::Value`", value),
        Side::repeated("`Event::decode`", event),
    ];
    if let Some(parser) = inexact {
        sides.push(Side::new(INEXACT, || [parser.microseconds(payload)]));
    }
    let [rows] = interleave(ROUNDS, sides);
    print("Time to create and drop it", "µs", &rows);
    rows
}
