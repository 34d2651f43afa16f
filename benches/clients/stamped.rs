//! Uplinks of one device that carry the time of writing.

use std::time::SystemTime;

use crate::common::{messages::v3_uplink, source::Uplinks};

pub struct StampedUplinks {
    uplinks: Uplinks,
    /// The place of the digits of the time.
    place: usize,
}

/// It has as many digits as the nanoseconds since 1970.
const STAMP: &str = "1111111111111111111";

impl StampedUplinks {
    pub fn new() -> Self {
        let uplinks = Uplinks::of(|number| {
            let (topic, payload) = v3_uplink(number, 1);
            let stamp = format!(r#""written_ns":{STAMP}"#);
            (topic, payload.replace(r#""battery_mv":3612"#, &stamp))
        });
        let packet = uplinks.one();
        let place = packet
            .windows(STAMP.len())
            .position(|digits| digits == STAMP.as_bytes());
        Self {
            uplinks,
            place: place.expect("an uplink has a place for the time"),
        }
    }

    /// Returns an uplink with the current time.
    pub fn next(&self) -> Vec<u8> {
        let mut packet = self.uplinks.one();
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("it is past 1970");
        let now = now.as_nanos().to_string();
        packet[self.place..][..STAMP.len()].copy_from_slice(now.as_bytes());
        packet
    }
}
