//! Bundles: how the server's messages reach the client.
//!
//! Paho takes eight system calls for a packet, however small. So the relay puts the messages that have come
//! together into one packet, a PUBLISH at QoS 0 whose payload is the server's packets as they are. Other packets
//! pass unchanged, and a message that is alone is a bundle too.

use std::collections::VecDeque;

use super::packet::{self, Publish};

/// The topic of bundles.
const TOPIC: &[u8] = b"bundle";

/// The rest of the header after the fixed header.
const TOPIC_FIELD: usize = 2 + TOPIC.len();

/// The longest header of a bundle.
pub(super) const HEADER: usize = 5 + TOPIC_FIELD;

/// The longest message that fits into a bundle: MQTT limits the length of a packet.
pub(super) const MAX_MESSAGE: usize = 0x0fff_ffff - TOPIC_FIELD;

/// Bundles take no further message beyond this many bytes: Paho copies each of them several times, and delivers
/// nothing before it has read the end.
const FULL: usize = 32 << 10;

/// What is to be sent to the client, in order. The bytes themselves are in a buffer.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    queue: VecDeque<Piece>,
    /// How many bytes have not come of the message that came last.
    missing: usize,
}

#[derive(Debug)]
struct Piece {
    kind: Kind,
    /// The bytes to be sent, including those that have not come.
    bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// Packets that pass as they are.
    Packets,
    /// Messages whose header is not made yet, so that more can be added.
    Open,
    /// A bundle with its header.
    Bundle,
}

impl Pieces {
    /// Adds the first `length` bytes of a message that has `packet` bytes.
    pub(super) fn message(&mut self, length: usize, packet: usize) {
        self.missing = packet - length;
        match self.queue.back_mut() {
            // What is whole must not wait for the rest of another message.
            Some(Piece {
                kind: Kind::Open,
                bytes,
            }) if self.missing == 0 && *bytes + packet <= FULL => *bytes += packet,
            _ => self.queue.push_back(Piece {
                kind: Kind::Open,
                bytes: packet,
            }),
        }
    }

    /// Adds bytes that continue the last message, or belong to other packets.
    pub(super) fn pass(&mut self, length: usize) {
        if self.missing > 0 {
            self.missing -= length;
            return;
        }
        match self.queue.back_mut() {
            Some(Piece {
                kind: Kind::Packets,
                bytes,
            }) => *bytes += length,
            _ => self.queue.push_back(Piece {
                kind: Kind::Packets,
                bytes: length,
            }),
        }
    }

    /// Returns the header to send before the next bytes, if they begin a bundle.
    pub(super) fn header(&mut self) -> Option<Vec<u8>> {
        let piece = self.queue.front_mut()?;
        if piece.kind != Kind::Open {
            return None;
        }
        let mut header = packet::fixed_header(0x30, TOPIC_FIELD + piece.bytes);
        header.extend((TOPIC.len() as u16).to_be_bytes());
        header.extend(TOPIC);
        piece.kind = Kind::Bundle;
        piece.bytes += header.len();
        Some(header)
    }

    /// Returns how many bytes can be sent before the next header.
    pub(super) fn before_next(&self) -> usize {
        self.queue.front().map_or(0, |piece| piece.bytes)
    }

    /// Notes that this many of them are sent.
    pub(super) fn gone(&mut self, length: usize) {
        if let Some(piece) = self.queue.front_mut() {
            piece.bytes -= length;
            if piece.bytes == 0 {
                self.queue.pop_front();
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A message of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bundled<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) is_retained: bool,
    /// Whether it is to be acknowledged.
    pub(crate) is_at_least_once: bool,
    /// The length of its packet.
    pub(crate) packet: usize,
}

/// Returns the first message of a bundle's payload.
pub(crate) fn first_of(bundle: &[u8]) -> Option<Bundled<'_>> {
    let Publish {
        topic,
        payload,
        is_retained,
        ordered,
        packet,
        ..
    } = packet::publish(bundle)?;
    Some(Bundled {
        // The relay bundles only what has text as its topic.
        topic: std::str::from_utf8(topic).ok()?,
        payload,
        is_retained,
        is_at_least_once: ordered.is_some(),
        packet,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::for_seeds;

    fn message(number: usize, payload: usize) -> Vec<u8> {
        let topic = format!("topic/{number}");
        let mut packet = packet::fixed_header(0x30, 2 + topic.len() + payload);
        packet.extend((topic.len() as u16).to_be_bytes());
        packet.extend(topic.bytes());
        packet.resize(packet.len() + payload, number as u8);
        packet
    }

    const ANSWER: [u8; 5] = [0x90, 3, 0, 1, 0];

    /// Sends what is there in pieces of random lengths.
    fn send(
        pieces: &mut Pieces,
        passed: &mut VecDeque<u8>,
        sent: &mut Vec<u8>,
        mut part: impl FnMut(usize) -> usize,
    ) {
        while !passed.is_empty() {
            if let Some(header) = pieces.header() {
                assert!(header.len() <= HEADER);
                header
                    .into_iter()
                    .rev()
                    .for_each(|byte| passed.push_front(byte));
            }
            let length = part(passed.len().min(pieces.before_next()));
            sent.extend(passed.drain(..length));
            pieces.gone(length);
        }
    }

    #[test]
    fn messages_come_out_of_bundles_in_their_order_among_other_packets() {
        for_seeds(500, |random| {
            let mut pieces = Pieces::default();
            let (mut passed, mut sent) = (VecDeque::new(), Vec::new());
            let mut expected = Vec::new();
            for number in 0..random.usize(1..60) {
                if random.u8(..8) == 0 {
                    pieces.pass(ANSWER.len());
                    passed.extend(ANSWER);
                    expected.push(ANSWER.to_vec());
                } else {
                    let whole = message(number, random.usize(..5_000));
                    let first = random.usize(1..=whole.len());
                    pieces.message(first, whole.len());
                    passed.extend(&whole[..first]);
                    if random.bool() {
                        send(&mut pieces, &mut passed, &mut sent, |most| {
                            random.usize(1..=most)
                        });
                    }
                    if first < whole.len() {
                        pieces.pass(whole.len() - first);
                        passed.extend(&whole[first..]);
                    }
                    expected.push(whole);
                }
                if random.u8(..4) == 0 {
                    send(&mut pieces, &mut passed, &mut sent, |most| {
                        random.usize(1..=most)
                    });
                }
            }
            send(&mut pieces, &mut passed, &mut sent, |most| most);
            assert!(pieces.queue.is_empty());
            assert_eq!(unbundled(&sent), expected);
        });
    }

    /// The packets that were bundled, and the others.
    fn unbundled(mut stream: &[u8]) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while !stream.is_empty() {
            if stream.starts_with(&ANSWER) {
                packets.push(ANSWER.to_vec());
                stream = &stream[ANSWER.len()..];
                continue;
            }
            let outer = packet::publish(stream).unwrap();
            assert_eq!(outer.topic, TOPIC);
            assert!(!outer.payload.is_empty());
            let mut bundle = outer.payload;
            while !bundle.is_empty() {
                let packet = first_of(bundle).unwrap().packet;
                packets.push(bundle[..packet].to_vec());
                bundle = &bundle[packet..];
            }
            stream = &stream[outer.packet..];
        }
        packets
    }

    #[test]
    fn what_is_whole_does_not_wait_for_the_rest_of_another_message() {
        let mut pieces = Pieces::default();
        pieces.message(10, 10);
        pieces.message(20, 20);
        pieces.message(1, 50);
        assert_eq!(pieces.header().unwrap()[1] as usize, TOPIC_FIELD + 30);
        pieces.gone(pieces.before_next());
        pieces.pass(49);
        assert_eq!(pieces.header().unwrap()[1] as usize, TOPIC_FIELD + 50);
        assert_eq!(pieces.header(), None);
    }

    #[test]
    fn a_bundle_is_bounded_and_a_message_of_any_length_has_one() {
        let mut pieces = Pieces::default();
        for _ in 0..100 {
            pieces.message(1_000, 1_000);
        }
        pieces.message(MAX_MESSAGE, MAX_MESSAGE);
        let mut lengths = Vec::new();
        while let Some(header) = pieces.header() {
            lengths.push(pieces.before_next() - header.len());
            pieces.gone(pieces.before_next());
        }
        assert_eq!(lengths.iter().sum::<usize>(), 100_000 + MAX_MESSAGE);
        assert_eq!(lengths.pop(), Some(MAX_MESSAGE));
        assert!(lengths.iter().all(|length| *length <= FULL));
    }

    #[test]
    fn a_message_keeps_its_topic_its_payload_and_its_flags() {
        for (first, is_at_least_once, is_retained) in [
            (0x30, false, false),
            (0x31, false, true),
            (0x32, true, false),
            (0x3b, true, true),
        ] {
            let mut body = b"\0\x03a/b".to_vec();
            if is_at_least_once {
                body.extend([0x12, 0x34]);
            }
            body.extend(b"payload");
            let mut packet = packet::fixed_header(first, body.len());
            packet.extend(body);
            let expected = Bundled {
                topic: "a/b",
                payload: b"payload",
                is_retained,
                is_at_least_once,
                packet: packet.len(),
            };
            packet.extend(message(1, 3));
            assert_eq!(first_of(&packet), Some(expected));
        }
        assert_eq!(first_of(&[]), None);
        assert_eq!(first_of(&[0x30, 9, 0, 1]), None);
    }
}
