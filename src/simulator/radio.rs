//! What the air adds to a message: airtime, gateways, frames.

use std::time::Duration;

use fastrand::Rng;

/// Bytes LoRaWAN adds to a payload: header, device address, control, counter, port and integrity
/// code.
const FRAME_OVERHEAD: usize = 13;
/// What the ids of all gateways begin with.
const GATEWAYS: &str = "eui-58a0cbfffe80";
/// Bit rate of the one FSK data rate of EU868, in bit/s.
pub(super) const FSK_BIT_RATE: u32 = 50_000;

/// How a frame was modulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Modulation {
    /// LoRa, with the data rate as text, such as `SF7BW125`.
    Lora(String),
    Fsk,
    /// LR-FHSS on 137 kHz at coding rate 1/3.
    LrFhss,
}

impl Modulation {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Lora(_) => "LORA",
            Self::Fsk => "FSK",
            Self::LrFhss => "LR_FHSS",
        }
    }

    pub(super) fn data_rate(&self) -> &str {
        match self {
            Self::Lora(data_rate) => data_rate,
            Self::Fsk | Self::LrFhss => "",
        }
    }

    pub(super) fn bit_rate(&self) -> u32 {
        match self {
            Self::Lora(_) | Self::LrFhss => 0,
            Self::Fsk => FSK_BIT_RATE,
        }
    }

    /// Time on air of a frame of that many bytes; zero for an unknown data rate.
    pub(super) fn airtime(&self, frame: usize) -> Duration {
        match self {
            Self::Lora(data_rate) => lora_airtime(data_rate, 5, frame).unwrap_or_default(),
            // Preamble 5, sync word 3, length 1 and checksum 2 bytes.
            Self::Fsk => Duration::from_nanos(
                (frame as u64 + 11) * 8 * 1_000_000_000 / u64::from(FSK_BIT_RATE),
            ),
            // Three headers of 233.472 ms, then fragments of 48 coded bits in 102.4 ms.
            Self::LrFhss => {
                let fragments = (((frame as u64 + 2) * 8 + 6) * 3).div_ceil(48);
                Duration::from_micros(3 * 233_472 + fragments * 102_400)
            }
        }
    }
}

/// Spreading factor and bandwidth in kHz.
pub(super) fn lora_parts(data_rate: &str) -> Option<(u64, u64)> {
    let (spreading, bandwidth) = data_rate.strip_prefix("SF")?.split_once("BW")?;
    Some((spreading.parse().ok()?, bandwidth.parse().ok()?))
}

/// The time on air of a LoRa frame with explicit header and checksum; `coding` is the denominator
/// of the coding rate, 5 to 8.
fn lora_airtime(data_rate: &str, coding: u64, frame: usize) -> Option<Duration> {
    let (spreading, bandwidth) = lora_parts(data_rate)?;
    if !(7..=12).contains(&spreading) || ![125, 250, 500].contains(&bandwidth) {
        return None;
    }
    // A symbol in nanoseconds: 2^SF / bandwidth in kHz, exact for the three bandwidths.
    let symbol = (1 << spreading) * 1_000_000 / bandwidth;
    let slow = u64::from(symbol > 16_000_000);
    let bits = (8 * frame as u64 + 44).saturating_sub(4 * spreading);
    let symbols = 8 + bits.div_ceil(4 * (spreading - 2 * slow)) * coding;
    // The preamble is 8 + 4.25 symbols long.
    Some(Duration::from_nanos(symbol * (symbols * 4 + 49) / 4))
}

/// Length of an uplink frame with that payload.
pub(super) fn frame_length(payload: &[u8]) -> usize {
    FRAME_OVERHEAD + payload.len()
}

/// A gateway and how well it heard a frame.
#[derive(Clone, Debug)]
pub(super) struct Gateway {
    pub(super) id: String,
    pub(super) trusted: bool,
    pub(super) has_clock: bool,
    pub(super) rssi: f32,
    pub(super) snr: f32,
    pub(super) location: Option<Location>,
}

/// A place on Earth, as the networks print it.
///
/// A coordinate of exactly 0 is left out of messages.
///
/// ```
/// use ttn::simulator::Location;
///
/// let rotterdam = Location { latitude: 51.92442, longitude: 4.477733, altitude: 14 };
/// assert!(rotterdam.latitude > 51.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Location {
    /// Degrees, positive to the north.
    pub latitude: f32,
    /// Degrees, positive to the east.
    pub longitude: f32,
    /// Metres above sea level; may be negative.
    pub altitude: i32,
}

/// Whether one of the simulated gateways is called so.
pub(super) fn is_gateway(id: &str) -> bool {
    id.starts_with(GATEWAYS)
}

/// The first gateway is the nearest; the others hear less.
pub(super) fn gateways(count: usize, random: &mut Rng) -> Vec<Gateway> {
    (0..count)
        .map(|index| {
            let distance = i32::try_from(index.min(8)).unwrap_or(8);
            Gateway {
                id: format!("{GATEWAYS}{:04x}", 0xaa11 + index),
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

/// An address of The Things Network's block.
pub(super) fn new_address(random: &mut Rng) -> u32 {
    0x2601_0000 | random.u32(..0x1_0000)
}

/// What the header of a downlink frame says.
pub(super) struct FrameHeader {
    pub(super) confirmed: bool,
    pub(super) dev_addr: u32,
    pub(super) ack: bool,
    pub(super) more_queued: bool,
    pub(super) counter: u32,
}

/// A downlink frame with the right header and size; payload and integrity code are made up.
pub(super) fn downlink_frame(
    header: &FrameHeader,
    port: u8,
    payload: &[u8],
    random: &mut Rng,
) -> Vec<u8> {
    let mut frame = vec![if header.confirmed { 0xa0 } else { 0x60 }];
    frame.extend_from_slice(&header.dev_addr.to_le_bytes());
    frame.push(u8::from(header.ack) << 5 | u8::from(header.more_queued) << 4);
    frame.extend_from_slice(&header.counter.to_le_bytes()[..2]);
    if !payload.is_empty() {
        frame.push(port);
        frame.extend(payload.iter().map(|byte| byte ^ random.u8(..)));
    }
    frame.extend((0..4).map(|_| random.u8(..)));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn airtimes_agree_with_recorded_messages() {
        for (data_rate, coding, frame, expected) in [
            ("SF7BW125", 5, 13, 46_336_000),
            ("SF7BW125", 5, 15, 46_336_000),
            ("SF7BW125", 5, 17, 51_456_000),
            ("SF8BW125", 5, 15, 92_672_000),
            ("SF8BW125", 5, 20, 102_912_000),
            ("SF9BW125", 5, 14, 164_864_000),
            ("SF10BW125", 5, 16, 329_728_000),
            ("SF10BW125", 5, 61, 698_368_000),
            ("SF12BW125", 5, 0, 663_552_000),
            ("SF12BW125", 5, 12, 1_155_072_000),
            ("SF12BW125", 5, 19, 1_318_912_000),
            ("SF7BW250", 6, 17, 28_800_000),
        ] {
            let airtime = lora_airtime(data_rate, coding, frame);
            let expected = Duration::from_nanos(expected);
            assert_eq!(airtime, Some(expected), "{data_rate} {frame}");
        }
        assert_eq!(Modulation::Fsk.airtime(17), Duration::from_nanos(4_480_000));
    }

    #[test]
    fn unknown_data_rates_have_no_airtime() {
        for data_rate in ["", "SF", "SF7", "SF6BW125", "SF13BW125", "SF7BW126", "FSK"] {
            let modulation = Modulation::Lora(data_rate.into());
            assert_eq!(modulation.airtime(20), Duration::ZERO, "{data_rate}");
        }
    }

    #[test]
    fn a_frame_has_the_size_of_a_lorawan_frame() {
        let header = FrameHeader {
            confirmed: false,
            dev_addr: 0x2601_1f9c,
            ack: true,
            more_queued: false,
            counter: 11,
        };
        let mut random = Rng::with_seed(1);
        let frame = downlink_frame(&header, 1, &[10, 11], &mut random);
        assert_eq!(frame.len(), frame_length(&[10, 11]));
        assert_eq!(frame[..8], [0x60, 0x9c, 0x1f, 0x01, 0x26, 0x20, 11, 0]);
        assert_eq!(downlink_frame(&header, 0, &[], &mut random).len(), 12);
    }
}
