//! Modulations and their time on air.

use std::time::Duration;

/// The bit rate of the only FSK data rate of EU868, in bit/s.
const FSK_BIT_RATE: u32 = 50_000;

/// How a frame was modulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Modulation {
    /// LoRa with a data rate such as `SF7BW125`.
    Lora(String),
    Fsk,
    /// LR-FHSS at 137 kHz and coding rate 1/3.
    LrFhss,
}

impl Modulation {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Lora(_) => "LORA",
            Self::Fsk => "FSK",
            Self::LrFhss => "LR_FHSS",
        }
    }

    pub(crate) fn data_rate(&self) -> &str {
        match self {
            Self::Lora(data_rate) => data_rate,
            Self::Fsk | Self::LrFhss => "",
        }
    }

    pub(crate) fn bit_rate(&self) -> u32 {
        match self {
            Self::Lora(_) | Self::LrFhss => 0,
            Self::Fsk => FSK_BIT_RATE,
        }
    }

    /// Returns the coding rate that gateways report unless another one is set.
    pub(crate) fn coding_rate(&self) -> &'static str {
        match self {
            Self::Lora(_) => "4/5",
            Self::Fsk => "",
            Self::LrFhss => "1/3",
        }
    }

    /// Returns the time on air of a frame with that many bytes, zero if the data rate is unknown.
    pub(crate) fn airtime(&self, frame: usize, coding_rate: &str) -> Duration {
        match self {
            Self::Lora(data_rate) => {
                let coding = coding_rate.strip_prefix("4/");
                let coding = coding.and_then(|denominator| denominator.parse().ok());
                lora_airtime(data_rate, coding.unwrap_or(5), frame).unwrap_or_default()
            }
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

/// Returns the index of the channel at a frequency of EU868 in Hz, 0 at any other.
pub(crate) fn channel_index(hertz: u32) -> u32 {
    match hertz {
        868_300_000 => 1,
        868_500_000 => 2,
        867_100_000..=867_900_000 if hertz % 200_000 == 100_000 => {
            3 + (hertz - 867_100_000) / 200_000
        }
        868_800_000 => 9,
        _ => 0,
    }
}

/// Returns the spreading factor, and the bandwidth in kHz.
pub(crate) fn lora_parts(data_rate: &str) -> Option<(u64, u64)> {
    let (spreading, bandwidth) = data_rate.strip_prefix("SF")?.split_once("BW")?;
    Some((spreading.parse().ok()?, bandwidth.parse().ok()?))
}

/// Returns the time on air of a LoRa frame with explicit header and checksum; `coding` is the
/// denominator of the coding rate, 5 to 8.
fn lora_airtime(data_rate: &str, coding: u64, frame: usize) -> Option<Duration> {
    let (spreading, bandwidth) = lora_parts(data_rate)?;
    if !(7..=12).contains(&spreading) || ![125, 250, 500].contains(&bandwidth) {
        return None;
    }
    // The length of a symbol in nanoseconds, exact for the three bandwidths.
    let symbol = (1 << spreading) * 1_000_000 / bandwidth;
    let slow = u64::from(symbol > 16_000_000);
    let bits = (8 * frame as u64 + 44).saturating_sub(4 * spreading);
    let symbols = 8 + bits.div_ceil(4 * (spreading - 2 * slow)) * coding;
    // The preamble is 8 + 4.25 symbols long.
    Some(Duration::from_nanos(symbol * (symbols * 4 + 49) / 4))
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
            ("SF7BW125", 8, 14, 61_696_000),
        ] {
            let airtime = lora_airtime(data_rate, coding, frame);
            let expected = Duration::from_nanos(expected);
            assert_eq!(airtime, Some(expected), "{data_rate} {frame}");
        }
        let airtime = Modulation::Fsk.airtime(17, "");
        assert_eq!(airtime, Duration::from_nanos(4_480_000));
    }

    #[test]
    fn unknown_data_rates_have_no_airtime() {
        for data_rate in ["", "SF", "SF7", "SF6BW125", "SF13BW125", "SF7BW126", "FSK"] {
            let modulation = Modulation::Lora(data_rate.into());
            assert_eq!(modulation.airtime(20, "4/5"), Duration::ZERO, "{data_rate}");
        }
    }
}
