//! The heap allocations for reading one uplink.

use std::hint::black_box;

use serde_json::Value;
use ttn::{Event, Network};

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the benchmarks have more of them, and they are shared"
)]
#[path = "../benches/common/messages.rs"]
mod messages;

/// The application of the messages.
const APP: &str = "bench-app";

/// The limit for an uplink that one gateway heard. Everyone who reads uplinks pays for each further
/// allocation.
const MOST: u64 = 35;

/// Returns how many allocations `work` makes; its result is dropped.
fn allocations<T>(work: impl FnOnce() -> T) -> u64 {
    allocation_counter::measure(|| drop(black_box(work()))).count_total
}

/// Returns the allocations for reading an uplink, and for reading the same bytes as generic JSON.
fn typed_and_untyped(gateways: usize) -> (u64, u64) {
    let (topic, payload) = messages::v3_uplink(7, gateways);
    let typed = || Event::decode(Network::V3, &topic, payload.as_bytes());
    let Ok(Event::Uplink(uplink)) = typed() else {
        panic!("the bytes are an uplink");
    };
    assert_eq!(uplink.metadata.gateways.len(), gateways);
    let untyped = || serde_json::from_slice::<Value>(payload.as_bytes());
    assert!(untyped().is_ok());
    (allocations(typed), allocations(untyped))
}

#[test]
fn an_uplink_takes_about_a_third_of_the_allocations_of_any_json() {
    for gateways in 1..=4 {
        let (typed, untyped) = typed_and_untyped(gateways);
        assert!(
            100 * typed <= 35 * untyped,
            "{gateways} gateways: {typed} allocations against {untyped} of serde_json::Value"
        );
    }
}

#[test]
fn an_uplink_of_one_gateway_takes_no_more_allocations_than_it_did() {
    let (typed, _) = typed_and_untyped(1);
    assert!(
        typed <= MOST,
        "{typed} allocations, {MOST} are allowed; if the new ones are worth it, change MOST"
    );
}
