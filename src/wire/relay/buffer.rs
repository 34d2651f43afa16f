//! The bytes in transit from one side to the other.

use std::io;

use super::bundle;

/// The size at rest: enough for one TLS record.
const SIZE: usize = 16 << 10;

/// Stays free in front, for a header that is put before the bytes.
const HEADROOM: usize = bundle::HEADER;

/// The size in a flood: the larger the pieces, the less often each side must wake up.
const FLOOD_SIZE: usize = 64 << 10;

/// Bytes between two sockets. The first part is cleared for sending; the rest is still to be examined.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    /// Everything before this is cleared for sending.
    passed: usize,
    end: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; SIZE],
            start: HEADROOM,
            passed: HEADROOM,
            end: HEADROOM,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns whether there is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.end == self.bytes.len() && self.start <= HEADROOM
    }

    /// Makes room for `unseen` bytes, once everything before them has been sent.
    pub(super) fn provide(&mut self, unseen: usize) {
        let size = HEADROOM + unseen;
        if size > self.bytes.len() {
            self.bytes.resize(size.next_power_of_two(), 0);
        }
    }

    fn move_to_front(&mut self) {
        if self.start > HEADROOM {
            self.bytes.copy_within(self.start..self.end, HEADROOM);
            self.passed -= self.start - HEADROOM;
            self.end -= self.start - HEADROOM;
            self.start = HEADROOM;
        }
    }

    /// Frees the memory of a flood.
    pub(super) fn rest(&mut self) {
        self.shrink_to(SIZE);
    }

    fn shrink_to(&mut self, size: usize) {
        if self.is_empty() && self.bytes.len() > size {
            self.clear();
            self.bytes = vec![0; size];
        }
    }

    /// Reads once; 0 bytes at the end of the stream. The buffer must not be full.
    pub(super) fn fill(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.is_empty() || self.end == self.bytes.len() {
            self.move_to_front();
        }
        let length = read(&mut self.bytes[self.end..])?;
        self.end += length;
        if self.end == self.bytes.len() && self.end < FLOOD_SIZE {
            self.bytes.resize(FLOOD_SIZE, 0);
        }
        Ok(length)
    }

    /// Returns the bytes to be examined.
    pub(super) fn unseen(&self) -> &[u8] {
        &self.bytes[self.passed..self.end]
    }

    /// Clears `length` unseen bytes for sending.
    pub(super) fn pass(&mut self, length: usize) {
        self.passed += length;
    }

    /// Returns the bytes that are cleared for sending.
    pub(super) fn outgoing(&self) -> &[u8] {
        &self.bytes[self.start..self.passed]
    }

    /// Puts a header before the bytes that are cleared for sending. It is at most as long as the longest
    /// header of a bundle, and nothing but what follows it may have one.
    pub(super) fn put_before(&mut self, header: &[u8]) {
        let start = self.start - header.len();
        self.bytes[start..self.start].copy_from_slice(header);
        self.start = start;
    }

    /// Removes `length` bytes that have been sent.
    pub(super) fn gone(&mut self, length: usize) {
        self.start += length;
        self.shrink_to(FLOOD_SIZE);
    }

    /// Removes `length` unseen bytes. Nothing may be outgoing.
    pub(super) fn take_out(&mut self, length: usize) {
        debug_assert_eq!(
            self.start, self.passed,
            "bytes before these are not sent yet"
        );
        self.start += length;
        self.passed += length;
        self.shrink_to(FLOOD_SIZE);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        (self.start, self.passed, self.end) = (HEADROOM, HEADROOM, HEADROOM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::for_seeds;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        for_seeds(500, |random| {
            let mut buffer = Buffer::new();
            let (mut next_in, mut next_out) = (0_u8, 0_u8);
            for _ in 0..200 {
                if !buffer.is_full() {
                    let length = random.usize(1..=5000);
                    buffer
                        .fill(|room| {
                            let length = length.min(room.len());
                            for byte in &mut room[..length] {
                                *byte = next_in;
                                next_in = next_in.wrapping_add(1);
                            }
                            Ok(length)
                        })
                        .unwrap();
                }
                if random.u8(..10) == 0 {
                    buffer.provide(random.usize(1..100_000));
                }
                buffer.pass(random.usize(..=buffer.unseen().len()));
                let length = random.usize(..=buffer.outgoing().len());
                for byte in &buffer.outgoing()[..length] {
                    assert_eq!(*byte, next_out);
                    next_out = next_out.wrapping_add(1);
                }
                buffer.gone(length);
            }
        });
    }

    #[test]
    fn a_header_goes_before_bytes_that_fill_the_buffer() {
        for sent in [0, 1_000] {
            let mut buffer = Buffer::new();
            buffer
                .fill(|room| {
                    room.fill(7);
                    Ok(room.len())
                })
                .unwrap();
            let length = buffer.unseen().len().min(SIZE - HEADROOM);
            buffer.pass(length);
            buffer.gone(sent);
            buffer.put_before(&[9; HEADROOM]);
            let outgoing = buffer.outgoing();
            assert_eq!(outgoing[..HEADROOM], [9; HEADROOM]);
            assert_eq!(outgoing[HEADROOM..], vec![7; length - sent]);
        }
    }

    #[test]
    fn a_large_buffer_is_given_back_when_it_is_empty() {
        let mut buffer = Buffer::new();
        buffer.provide(1 << 20);
        let length = buffer.fill(|room| Ok(room.len())).unwrap();
        assert!(length >= 1 << 20);
        buffer.pass(length);
        buffer.gone(length);
        assert_eq!(buffer.bytes.len(), FLOOD_SIZE);
        buffer.rest();
        assert_eq!(buffer.bytes.len(), SIZE);
    }
}
