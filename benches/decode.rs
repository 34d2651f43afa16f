//! Reading one uplink, against reading the same bytes as any JSON, and against another crate's
//! types. What it takes of the heap is counted in `memory`: counting would slow down the side that
//! allocates more.

mod common;

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    figures::{Reach, note},
    messages,
    report::{Row, Side, interleave, print},
};
use drogue_ttn::v3;
use serde_json::Value;
use ttn::{Event, Network, UplinkMessage};

const ROUNDS: usize = 15;
const DECODES: u32 = 20_000;

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(240));
    let (topic, payload) = messages::uplink(7);
    decode_v2(&topic, payload.as_bytes());
    for gateways in [1, 2, 4] {
        let (topic, payload) = messages::v3_uplink(7, gateways);
        decode_v3(&topic, payload.as_bytes(), gateways);
    }
}

fn decode_v2(topic: &str, payload: &[u8]) {
    println!("## decode: V2 uplink of {} bytes\n", payload.len());
    let value = side("`serde_json::Value`", || value(payload));
    let event = side("`Event::decode`", || event(Network::V2, topic, payload));
    measure(vec![value, event]);
}

fn decode_v3(topic: &str, payload: &[u8], gateways: usize) {
    read_alike(
        &drogue(payload),
        &uplink(event(Network::V3, topic, payload)),
    );
    let message = format!("v3 uplink of {} bytes, gateways: {gateways}", payload.len());
    println!("## decode: {message}\n");
    let value = side("`serde_json::Value`", || value(payload));
    let drogue = side("`drogue_ttn::v3::Message`", || drogue(payload));
    let event = side("`Event::decode`", || event(Network::V3, topic, payload));
    let rows = measure(vec![value, drogue, event]);
    let [value, drogue, event] = rows.as_slice() else {
        panic!("each side has a row");
    };
    let what = format!("time of `Event::decode`, {message}");
    for (order, against, reach) in [(1, value, 0.5), (2, drogue, 0.45)] {
        let pairs = event.figures.iter().zip(&against.figures);
        let ratios: Vec<_> = pairs.map(|(figure, other)| figure / other).collect();
        note(order, &what, &against.name, Reach::AtMost(reach), &ratios);
    }
}

fn value(payload: &[u8]) -> Value {
    serde_json::from_slice(black_box(payload)).expect("the bytes are JSON")
}

fn drogue(payload: &[u8]) -> v3::Message {
    serde_json::from_slice(black_box(payload)).expect("the bytes are an uplink")
}

fn event(network: Network, topic: &str, payload: &[u8]) -> Event {
    Event::decode(network, black_box(topic), black_box(payload)).expect("the bytes are an uplink")
}

fn uplink(event: Event) -> Arc<UplinkMessage> {
    let Event::Uplink(uplink) = event else {
        panic!("the bytes are an uplink");
    };
    uplink
}

/// A side that read less than it seems to would be no measure.
fn read_alike(theirs: &v3::Message, ours: &UplinkMessage) {
    let v3::Payload::Uplink(uplink) = &theirs.payload else {
        panic!("the bytes are an uplink");
    };
    assert_eq!(theirs.end_device_ids.device_id, ours.dev_id);
    assert_eq!(uplink.frame_counter, Some(ours.counter));
    assert_eq!(uplink.frame_payload, ours.payload_raw);
    assert_eq!(uplink.decoded_payload.as_ref(), Some(&ours.payload_fields));
    assert_eq!(uplink.rx_metadata.len(), ours.metadata.gateways.len());
}

/// Makes and drops what `read` returns, over and over.
fn side<'a, T>(name: &str, read: impl Fn() -> T + 'a) -> Side<'a, 1> {
    Side::new(name, move || {
        let start = Instant::now();
        for _ in 0..DECODES {
            drop(black_box(read()));
        }
        [start.elapsed().as_secs_f64() * 1e6 / f64::from(DECODES)]
    })
}

fn measure(sides: Vec<Side<'_, 1>>) -> Vec<Row> {
    let [rows] = interleave(ROUNDS, sides);
    print("Time, making and dropping", "µs", &rows);
    rows
}
