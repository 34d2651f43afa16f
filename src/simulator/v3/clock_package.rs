//! The clock synchronization package of LoRaWAN, which answers devices that ask for the time.

use std::time::{Duration, SystemTime};

use super::messages::Downlink;
use crate::simulator::lorawan::Uplink;

/// The FPort of the package.
const PORT: u8 = 202;
/// The command by which a device asks for the time, and by which it is answered.
const TIME: u8 = 0x01;
/// 1980-01-06, when GPS time began.
const GPS_EPOCH: Duration = Duration::from_secs(315_964_800);
/// How far GPS time is ahead of UTC.
const LEAP_SECONDS: Duration = Duration::from_secs(18);

/// Returns what the server answers to an uplink that it received then, if that asks for the time.
pub(super) fn answer(uplink: &Uplink, received: SystemTime) -> Option<Downlink> {
    let [TIME, a, b, c, d, options, ..] = uplink.payload[..] else {
        return None;
    };
    if uplink.port != PORT {
        return None;
    }
    let unix = received.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let time = (unix + LEAP_SECONDS).checked_sub(GPS_EPOCH)?.as_secs() as u32;
    let correction = time.wrapping_sub(u32::from_le_bytes([a, b, c, d]));
    let mut payload = vec![TIME];
    payload.extend(correction.to_le_bytes());
    payload.push(options & 0x0f);
    Some(Downlink {
        f_port: PORT,
        payload: Some(payload),
        ..Downlink::default()
    })
}
