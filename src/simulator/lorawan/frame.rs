//! LoRaWAN frames.

use fastrand::Rng;

/// Bytes that LoRaWAN adds to a payload: header, device address, control, counter, port and integrity
/// code.
const OVERHEAD: usize = 13;

/// Returns the length of an uplink frame with that payload.
pub(crate) fn uplink_length(payload: &[u8]) -> usize {
    OVERHEAD + payload.len()
}

/// Returns a random DevAddr in The Things Network's block.
pub(crate) fn new_address(random: &mut Rng) -> u32 {
    0x2601_0000 | random.u32(..0x1_0000)
}

/// Returns a new DevAddr for a device that has this one.
pub(crate) fn new_address_other_than(before: Option<u32>, random: &mut Rng) -> u32 {
    loop {
        let address = new_address(random);
        if Some(address) != before {
            return address;
        }
    }
}

/// The contents of a downlink frame.
pub(crate) struct DownlinkFrame<'a> {
    pub(crate) confirmed: bool,
    pub(crate) dev_addr: u32,
    pub(crate) ack: bool,
    pub(crate) more_queued: bool,
    pub(crate) counter: u32,
    /// MAC commands.
    pub(crate) options: &'a [u8],
    pub(crate) port: u8,
    pub(crate) payload: &'a [u8],
}

impl DownlinkFrame<'_> {
    /// Returns a frame with the right header and size but a made-up payload and integrity code.
    pub(crate) fn bytes(&self, random: &mut Rng) -> Vec<u8> {
        let mut frame = vec![if self.confirmed { 0xa0 } else { 0x60 }];
        frame.extend_from_slice(&self.dev_addr.to_le_bytes());
        let options = self.options.len() as u8;
        frame.push(u8::from(self.ack) << 5 | u8::from(self.more_queued) << 4 | options);
        frame.extend_from_slice(&self.counter.to_le_bytes()[..2]);
        frame.extend_from_slice(self.options);
        if !self.payload.is_empty() {
            frame.push(self.port);
            frame.extend(self.payload.iter().map(|byte| byte ^ random.u8(..)));
        }
        frame.extend((0..4).map(|_| random.u8(..)));
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_size_of_a_lorawan_frame() {
        let frame = |port, payload| DownlinkFrame {
            confirmed: false,
            dev_addr: 0x2601_1f9c,
            ack: true,
            more_queued: false,
            counter: 11,
            options: &[],
            port,
            payload,
        };
        let mut random = Rng::with_seed(1);
        let bytes = frame(1, &[10, 11]).bytes(&mut random);
        assert_eq!(bytes.len(), uplink_length(&[10, 11]));
        assert_eq!(bytes[..8], [0x60, 0x9c, 0x1f, 0x01, 0x26, 0x20, 11, 0]);
        assert_eq!(frame(0, &[]).bytes(&mut random).len(), 12);
    }
}
