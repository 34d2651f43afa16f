//! Decodes one uplink with this crate and with the types of the crate `drogue-ttn`.

#[allow(dead_code, reason = "the benchmarks that share it use more of it")]
#[path = "../common/figures.rs"]
mod figures;
#[allow(dead_code, reason = "the benchmarks that share it use more of it")]
#[path = "../common/messages.rs"]
mod messages;
#[allow(dead_code, reason = "the benchmarks that share it use more of it")]
#[path = "../common/report.rs"]
mod report;

use std::hint::black_box;

use drogue_ttn::v3;
use figures::{Reach, note};
use report::{Side, interleave, print};
use ttn::{Event, Network, UplinkMessage};

/// The application of the messages.
const APP: &str = "bench-app";

const ROUNDS: usize = 15;

fn main() {
    for gateways in [1, 2, 4] {
        let (topic, payload) = messages::v3_uplink(7, gateways);
        measure(&topic, payload.as_bytes(), gateways);
    }
}

fn measure(topic: &str, payload: &[u8], gateways: usize) {
    let message = format!("v3 uplink of {} bytes, gateways: {gateways}", payload.len());
    println!("## decode: {message}, another crate's types\n");
    let drogue = || {
        let message = serde_json::from_slice::<v3::Message>(black_box(payload));
        message.expect("the bytes are an uplink")
    };
    let event = || {
        let event = Event::decode(Network::V3, black_box(topic), black_box(payload));
        event.expect("the bytes are an uplink")
    };
    let Event::Uplink(ours) = event() else {
        panic!("the bytes are an uplink");
    };
    read_alike(&drogue(), &ours);

    let name = "`drogue_ttn::v3::Message`";
    let sides = vec![
        Side::repeated(name, drogue),
        Side::repeated("`Event::decode`", event),
    ];
    let [rows] = interleave(ROUNDS, sides);
    print("Time to create and drop it", "µs", &rows);
    let what = format!("time of `Event::decode`, {message}");
    note(
        2,
        &what,
        name,
        Reach::AtMost(0.45),
        &rows[1].ratios(&rows[0]),
    );
}

/// Checks that both sides read the same values: otherwise the comparison would mean nothing.
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
