//! What a program by hand does with each payload.

use std::hint::black_box;

use serde_json::Value;

/// Parses the payload of an uplink and drops it. Returns the time of writing if it carries one.
pub(crate) fn read(payload: &[u8]) -> Option<u64> {
    let json: Value = serde_json::from_slice(payload).expect("the payload is JSON");
    let json = black_box(json);
    json["uplink_message"]["decoded_payload"]["written_ns"].as_u64()
}
