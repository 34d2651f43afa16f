//! Gateways.

use fastrand::Rng;

use super::Location;

/// How the id of every gateway begins.
const ID_START: &str = "eui-58a0cbfffe80";

/// A gateway and how well it heard a frame.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) id: String,
    pub(crate) trusted: bool,
    pub(crate) has_clock: bool,
    pub(crate) rssi: f32,
    pub(crate) snr: f32,
    pub(crate) location: Option<Location>,
}

/// Returns whether a simulated gateway has that id.
pub(crate) fn is_gateway(id: &str) -> bool {
    id.starts_with(ID_START)
}

/// Returns the gateways that heard a frame, nearest first.
pub(crate) fn gateways(count: usize, random: &mut Rng) -> Vec<Gateway> {
    (0..count)
        .map(|index| {
            let distance = i32::try_from(index.min(8)).unwrap_or(8);
            Gateway {
                id: format!("{ID_START}{:04x}", 0xaa11 + index),
                trusted: index == 1,
                has_clock: index == 0,
                rssi: (random.i32(-92..=-84) - 4 * distance) as f32,
                snr: random.i32(28..=40) as f32 / 4.0 - 2.5 * distance as f32,
                location: (index == 0).then_some(Location {
                    latitude: 51.92442,
                    longitude: 4.477733,
                    altitude: 14,
                }),
            }
        })
        .collect()
}
