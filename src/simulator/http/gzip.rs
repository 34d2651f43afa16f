//! Gzip without compression: the form of it, in blocks that hold their bytes as they are.

/// What stands before the first block: no name, no time, an unknown system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The longest block.
const LONGEST: usize = 0xffff;

/// Bytes on their way into gzip.
pub(super) struct Gzip {
    is_started: bool,
    /// Of everything so far, inverted.
    checksum: u32,
    length: u32,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            is_started: false,
            checksum: u32::MAX,
            length: 0,
        }
    }

    /// Returns these bytes in gzip.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut packed = self.head();
        for block in bytes.chunks(LONGEST) {
            let length = block.len() as u16;
            packed.push(0);
            packed.extend(length.to_le_bytes());
            packed.extend((!length).to_le_bytes());
            packed.extend(block);
        }
        self.length = self.length.wrapping_add(bytes.len() as u32);
        for byte in bytes {
            let mut checksum = self.checksum ^ u32::from(*byte);
            for _ in 0..8 {
                let carry = checksum & 1;
                checksum = (checksum >> 1) ^ (0xedb8_8320 * carry);
            }
            self.checksum = checksum;
        }
        packed
    }

    /// Returns what comes after everything.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let mut packed = self.head();
        packed.extend([1, 0, 0, 0xff, 0xff]);
        packed.extend((!self.checksum).to_le_bytes());
        packed.extend(self.length.to_le_bytes());
        packed
    }

    fn head(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.is_started, true) {
            true => Vec::new(),
            false => HEAD.to_vec(),
        }
    }
}

/// Returns a whole text in gzip.
pub(super) fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Gzip::new();
    let mut packed = gzip.add(bytes);
    packed.extend(gzip.finish());
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_holds_the_bytes_and_their_checksum() {
        let packed = packed(b"123456789");
        assert_eq!(packed[..10], HEAD);
        assert_eq!(packed[10..15], [0, 9, 0, 0xf6, 0xff]);
        assert_eq!(&packed[15..24], b"123456789");
        assert_eq!(packed[24..29], [1, 0, 0, 0xff, 0xff]);
        // The checksum that every table of CRC-32 gives for these digits.
        assert_eq!(packed[29..33], 0xcbf4_3926_u32.to_le_bytes());
        assert_eq!(packed[33..], 9_u32.to_le_bytes());
    }

    #[test]
    fn a_long_text_takes_several_blocks() {
        let long = vec![b'x'; LONGEST + 1];
        let packed = packed(&long);
        assert_eq!(packed.len(), 10 + 5 + LONGEST + 5 + 1 + 5 + 8);
    }
}
