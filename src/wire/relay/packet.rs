//! The part of MQTT 3.1.1 that the relay reads and writes: packet boundaries, pings and their answers,
//! and the login of a client. Bytes in, decisions out.

use std::{fmt, time::Duration};

pub(in crate::wire) const PING_REQUEST: [u8; 2] = [0xc0, 0];
pub(super) const PING_ANSWER: [u8; 2] = [0xd0, 0];
pub(in crate::wire) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// The longest fixed header: type and flags, and a length of four bytes.
const HEADER: usize = 5;

/// How the client identifies itself to the server.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) client_id: String,
    pub(crate) user_name: Option<String>,
    /// Not without a user name.
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) keep_alive: Duration,
    /// Whether the server forgets the client at the end of the connection.
    pub(crate) is_clean: bool,
}

/// Prints nothing secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

impl Login {
    /// Returns the CONNECT packet (MQTT 3.1.1, section 3.1).
    pub(in crate::wire) fn packet(&self) -> Vec<u8> {
        const CLEAN_SESSION: u8 = 0x02;
        const PASSWORD: u8 = 0x40;
        const USER_NAME: u8 = 0x80;
        let mut flags = 0;
        let mut fields = vec![self.client_id.as_bytes()];
        if self.is_clean {
            flags |= CLEAN_SESSION;
        }
        if let Some(user_name) = &self.user_name {
            flags |= USER_NAME;
            fields.push(user_name.as_bytes());
            if let Some(password) = &self.password {
                flags |= PASSWORD;
                fields.push(password);
            }
        }
        let keep_alive = u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX);
        connect_packet(flags, keep_alive, &fields)
    }
}

/// Returns the CONNECT packet of a client with a clean session, without user name and password.
pub(super) fn anonymous(client_id: &str, keep_alive: u16) -> Vec<u8> {
    connect_packet(0x02, keep_alive, &[client_id.as_bytes()])
}

fn connect_packet(flags: u8, keep_alive: u16, fields: &[&[u8]]) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x04".to_vec();
    body.push(flags);
    body.extend(keep_alive.to_be_bytes());
    for field in fields {
        // The builder has checked that they are short enough.
        let field = &field[..field.len().min(u16::MAX.into())];
        body.extend((field.len() as u16).to_be_bytes());
        body.extend(field);
    }
    let mut packet = fixed_header(0x10, body.len());
    packet.extend(body);
    packet
}

/// Returns the fixed header of a packet with `remaining` bytes after it (MQTT 3.1.1, section 2.2).
pub(super) fn fixed_header(first: u8, mut remaining: usize) -> Vec<u8> {
    let mut header = vec![first];
    loop {
        let byte = (remaining % 0x80) as u8;
        remaining /= 0x80;
        if remaining == 0 {
            header.push(byte);
            return header;
        }
        header.push(byte | 0x80);
    }
}

/// How a packet breaks its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is larger than the limit.
    TooLarge { bytes: usize, limit: usize },
    /// Its length, or the length of its topic, is impossible.
    BadLength,
    /// A server must not send packets of this type, or not after the login.
    BadType(u8),
    /// It is a PUBLISH with a quality of service of 3, which does not exist.
    BadQuality,
}

/// What to do with the next bytes from the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FromServer {
    /// Pass this many bytes to the client.
    Pass(usize),
    /// Pass this many bytes: they begin a PUBLISH at QoS 0, a packet of that many bytes.
    Message { length: usize, packet: usize },
    /// Pass this many bytes: they begin a PUBLISH that is to be acknowledged.
    Publish { length: usize, publish: Ordered },
    /// Pass this many bytes: they acknowledge a PUBLISH of the client.
    Acknowledgement(usize),
    /// This many bytes are the answer to a ping of our own.
    PingAnswer(usize),
    /// This many bytes are a whole PUBLISH whose topic is not text.
    Unreadable(usize),
    /// Pass this many bytes: they begin the answer to a SUBSCRIBE, with a code for each of its filters.
    Subscribed { length: usize, codes: usize },
    /// Pass this many bytes: they begin the answer to an UNSUBSCRIBE.
    Unsubscribed(usize),
    /// Wait until there are this many bytes in all.
    More(usize),
}

/// What to do with the next bytes from the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FromClient {
    /// Pass this many bytes to the server.
    Pass(usize),
    /// Pass this many bytes: they begin a PUBLISH, which the server acknowledges or not.
    Publish {
        length: usize,
        is_acknowledged: bool,
    },
    /// Pass this many bytes: they are a SUBSCRIBE with this many filters.
    Subscribe { length: usize, filters: usize },
    /// Pass this many bytes: they begin an UNSUBSCRIBE.
    Unsubscribe(usize),
    /// This many bytes are a ping, which the relay answers.
    PingRequest(usize),
    /// This many bytes announce that the client ends the connection.
    Disconnect(usize),
    /// Wait until there are this many bytes in all.
    More(usize),
}

/// A PUBLISH that is to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wire) struct Ordered {
    pub(in crate::wire) packet_id: u16,
    /// Its length.
    pub(in crate::wire) bytes: usize,
    pub(in crate::wire) is_redelivered: bool,
}

/// A fixed header.
struct Header {
    kind: u8,
    flags: u8,
    /// The length of the header.
    length: usize,
    /// The length of the whole packet.
    packet: usize,
}

impl Header {
    /// Returns whether this is a PUBLISH at QoS 1.
    fn is_at_least_once(&self) -> bool {
        self.flags >> 1 & 3 == 1
    }

    fn ordered(&self, packet_id: [u8; 2]) -> Ordered {
        Ordered {
            packet_id: u16::from_be_bytes(packet_id),
            bytes: self.packet,
            is_redelivered: self.flags & 8 != 0,
        }
    }
}

/// Returns whether a packet that begins with these bytes is a PUBLISH at QoS 1.
pub(super) fn is_at_least_once(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & 0xf6 == 0x32)
}

/// Returns the PUBACK of a PUBLISH (MQTT 3.1.1, section 3.4).
pub(super) fn acknowledgement(packet_id: u16) -> [u8; 4] {
    let [high, low] = packet_id.to_be_bytes();
    [0x40, 2, high, low]
}

/// Reads a fixed header; `None` if there are too few bytes.
fn header(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let mut remaining = 0;
    for (index, &byte) in rest.iter().enumerate().take(HEADER - 1) {
        remaining |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let length = index + 2;
            return Ok(Some(Header {
                kind: first >> 4,
                flags: first & 0x0f,
                length,
                packet: length + remaining,
            }));
        }
    }
    if rest.len() >= HEADER - 1 {
        return Err(Fault::BadLength);
    }
    Ok(None)
}

/// Follows one direction of a stream of packets.
#[derive(Debug)]
pub(super) struct Framing {
    limit: usize,
    /// The bytes of the current packet that are not passed yet.
    rest: usize,
}

impl Framing {
    /// Starts at a packet boundary. Packets larger than `limit` are a fault.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, rest: 0 }
    }

    /// Returns whether the stream is between two packets.
    pub(super) fn is_between_packets(&self) -> bool {
        self.rest == 0
    }

    fn pass(&mut self, packet: usize, there: usize) -> usize {
        let now = packet.min(there);
        self.rest = packet - now;
        now
    }

    /// Checks the size of a packet.
    fn checked(&self, bytes: &[u8]) -> Result<Option<Header>, Fault> {
        let header = header(bytes)?;
        match header {
            Some(Header { packet, .. }) if packet > self.limit => Err(Fault::TooLarge {
                bytes: packet,
                limit: self.limit,
            }),
            header => Ok(header),
        }
    }

    /// Examines bytes from the server that are not passed yet.
    pub(super) fn next_of_server(&mut self, bytes: &[u8]) -> Result<FromServer, Fault> {
        if self.rest > 0 && !bytes.is_empty() {
            return Ok(FromServer::Pass(self.pass(self.rest, bytes.len())));
        }
        let Some(header) = self.checked(bytes)? else {
            return Ok(FromServer::More(bytes.len() + 1));
        };
        match header.kind {
            // Paho would drop it without a word.
            kind::PUBLISH if header.flags & 6 == 6 => Err(Fault::BadQuality),
            kind::PUBLISH => {
                let after = &bytes[header.length..];
                let Some(length) = after.first_chunk().map(|two| u16::from_be_bytes(*two)) else {
                    return match header.packet - header.length {
                        0 | 1 => Err(Fault::BadLength),
                        _ => Ok(FromServer::More(header.length + 2)),
                    };
                };
                let end = header.length + 2 + usize::from(length);
                if end > header.packet {
                    return Err(Fault::BadLength);
                }
                let Some(topic) = bytes.get(header.length + 2..end) else {
                    return Ok(FromServer::More(end));
                };
                if is_text(topic) {
                    if header.flags & 6 == 0 {
                        return Ok(FromServer::Message {
                            length: self.pass(header.packet, bytes.len()),
                            packet: header.packet,
                        });
                    }
                    if !header.is_at_least_once() {
                        return Ok(FromServer::Pass(self.pass(header.packet, bytes.len())));
                    }
                    let Some(id) = bytes[end..].first_chunk() else {
                        return match header.packet < end + 2 {
                            true => Err(Fault::BadLength),
                            false => Ok(FromServer::More(end + 2)),
                        };
                    };
                    Ok(FromServer::Publish {
                        length: self.pass(header.packet, bytes.len()),
                        publish: header.ordered(*id),
                    })
                } else if bytes.len() < header.packet {
                    Ok(FromServer::More(header.packet))
                } else {
                    Ok(FromServer::Unreadable(header.packet))
                }
            }
            // Checks the length at once: a broken stream may never send the rest.
            kind => match (kind, header.packet - header.length) {
                (kind::PING_ANSWER, 0) => Ok(FromServer::PingAnswer(header.packet)),
                (kind::SUBSCRIPTION_ANSWER, rest @ 3..) => Ok(FromServer::Subscribed {
                    length: self.pass(header.packet, bytes.len()),
                    codes: rest - 2,
                }),
                (kind::UNSUBSCRIPTION_ANSWER, 2) => {
                    let length = self.pass(header.packet, bytes.len());
                    Ok(FromServer::Unsubscribed(length))
                }
                (kind::ACKNOWLEDGEMENT, 2) => Ok(FromServer::Acknowledgement(
                    self.pass(header.packet, bytes.len()),
                )),
                (kind::FIRST_PUBLISH_ANSWER..=kind::LAST_PUBLISH_ANSWER, 2) => {
                    Ok(FromServer::Pass(self.pass(header.packet, bytes.len())))
                }
                (
                    kind::PING_ANSWER
                    | kind::SUBSCRIPTION_ANSWER
                    | kind::FIRST_PUBLISH_ANSWER..=kind::LAST_PUBLISH_ANSWER
                    | kind::UNSUBSCRIPTION_ANSWER,
                    _,
                ) => Err(Fault::BadLength),
                _ => Err(Fault::BadType(kind)),
            },
        }
    }

    /// Examines bytes from the client that are not passed yet.
    pub(super) fn next_of_client(&mut self, bytes: &[u8]) -> Result<FromClient, Fault> {
        if self.rest > 0 && !bytes.is_empty() {
            return Ok(FromClient::Pass(self.pass(self.rest, bytes.len())));
        }
        let Some(header) = self.checked(bytes)? else {
            return Ok(FromClient::More(bytes.len() + 1));
        };
        let is_whole = header.packet <= bytes.len();
        match header.kind {
            kind::PING_REQUEST if is_whole => Ok(FromClient::PingRequest(header.packet)),
            kind::DISCONNECT if is_whole => Ok(FromClient::Disconnect(header.packet)),
            kind::SUBSCRIBE if is_whole => Ok(FromClient::Subscribe {
                filters: filters(&bytes[header.length..header.packet])?,
                length: header.packet,
            }),
            kind::PING_REQUEST | kind::DISCONNECT | kind::SUBSCRIBE => {
                Ok(FromClient::More(header.packet))
            }
            kind::PUBLISH => {
                let is_acknowledged = header.is_at_least_once();
                Ok(FromClient::Publish {
                    length: self.pass(header.packet, bytes.len()),
                    is_acknowledged,
                })
            }
            kind::UNSUBSCRIBE => {
                let length = self.pass(header.packet, bytes.len());
                Ok(FromClient::Unsubscribe(length))
            }
            _ => Ok(FromClient::Pass(self.pass(header.packet, bytes.len()))),
        }
    }
}

/// Packet types (MQTT 3.1.1, section 2.2.1).
mod kind {
    pub(super) const PUBLISH: u8 = 3;
    pub(super) const ACKNOWLEDGEMENT: u8 = 4;
    /// PUBACK, PUBREC, PUBREL and PUBCOMP.
    pub(super) const FIRST_PUBLISH_ANSWER: u8 = 4;
    pub(super) const LAST_PUBLISH_ANSWER: u8 = 7;
    pub(super) const SUBSCRIBE: u8 = 8;
    pub(super) const SUBSCRIPTION_ANSWER: u8 = 9;
    pub(super) const UNSUBSCRIBE: u8 = 10;
    pub(super) const UNSUBSCRIPTION_ANSWER: u8 = 11;
    pub(in crate::wire) const PING_REQUEST: u8 = 12;
    pub(super) const PING_ANSWER: u8 = 13;
    pub(super) const DISCONNECT: u8 = 14;
}

/// Counts the filters in the body of a SUBSCRIBE.
fn filters(body: &[u8]) -> Result<usize, Fault> {
    let mut rest = body.get(2..).ok_or(Fault::BadLength)?;
    let mut count = 0;
    while let Some((length, after)) = rest.split_first_chunk() {
        let filter = usize::from(u16::from_be_bytes(*length));
        // One byte for the QoS follows.
        rest = after.get(filter + 1..).ok_or(Fault::BadLength)?;
        count += 1;
    }
    Ok(count)
}

/// A PUBLISH.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Publish<'a> {
    pub(super) topic: &'a [u8],
    pub(super) payload: &'a [u8],
    pub(super) is_retained: bool,
    /// The acknowledgement that the server expects.
    pub(super) answer: Option<[u8; 4]>,
    /// What is known about it if that is a PUBACK.
    pub(super) ordered: Option<Ordered>,
    /// The length of the packet.
    pub(super) packet: usize,
}

/// Parses a whole PUBLISH packet; others may follow it.
pub(super) fn publish(packet: &[u8]) -> Option<Publish<'_>> {
    const PUBREC: u8 = 0x50;
    let header = header(packet).ok()??;
    let body = packet.get(header.length..header.packet)?;
    let (length, rest) = body.split_first_chunk()?;
    let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (answer, ordered, payload) = match header.flags >> 1 & 3 {
        0 => (None, None, rest),
        1 => {
            let (&id, payload) = rest.split_first_chunk()?;
            let ordered = header.ordered(id);
            (
                Some(acknowledgement(ordered.packet_id)),
                Some(ordered),
                payload,
            )
        }
        _ => {
            let (&[high, low], payload) = rest.split_first_chunk()?;
            (Some([PUBREC, 2, high, low]), None, payload)
        }
    };
    Some(Publish {
        topic,
        payload,
        is_retained: header.flags & 1 == 1,
        answer,
        ordered,
        packet: header.packet,
    })
}

/// Returns whether this is a UTF-8 string of MQTT: valid, and without NUL (MQTT 3.1.1, section 1.5.3).
fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::for_seeds;

    fn packet(first: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = fixed_header(first, body.len());
        packet.extend(body);
        packet
    }

    fn published(topic: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend(topic);
        body.extend(payload);
        packet(0x30, &body)
    }

    /// What passes of a stream that arrives in pieces, and the number of answers to pings.
    fn relayed(stream: &[u8], mut piece: impl FnMut() -> usize) -> (Vec<u8>, usize) {
        let mut framing = Framing::new(1 << 20);
        let (mut passed, mut answers) = (Vec::new(), 0);
        let (mut start, mut end) = (0, 0);
        while end < stream.len() {
            end = (end + piece()).min(stream.len());
            loop {
                let bytes = &stream[start..end];
                match framing.next_of_server(bytes).unwrap() {
                    FromServer::Pass(length) => {
                        assert!(length > 0);
                        passed.extend(&bytes[..length]);
                        start += length;
                    }
                    FromServer::Message { length, .. }
                    | FromServer::Publish { length, .. }
                    | FromServer::Acknowledgement(length)
                    | FromServer::Subscribed { length, .. }
                    | FromServer::Unsubscribed(length) => {
                        assert!(length > 0);
                        passed.extend(&bytes[..length]);
                        start += length;
                    }
                    FromServer::PingAnswer(length) => {
                        answers += 1;
                        start += length;
                    }
                    FromServer::Unreadable(length) => start += length,
                    FromServer::More(wanted) => {
                        assert!(wanted > bytes.len());
                        break;
                    }
                }
            }
        }
        assert!(framing.is_between_packets());
        (passed, answers)
    }

    #[test]
    fn a_stream_passes_whole_without_the_answers_to_pings_however_it_is_cut() {
        let packets = [
            published(b"a/b", b"hello"),
            PING_ANSWER.to_vec(),
            published(b"long", &[7; 20_000]),
            packet(0x90, &[0, 1, 0]),
            PING_ANSWER.to_vec(),
            PING_ANSWER.to_vec(),
            published(b"", b""),
            published(&[b'x'; 65_535], b"end"),
            published(b"not \xff text", b"away"),
        ];
        let without: Vec<u8> = [0, 2, 3, 6, 7].map(|index| packets[index].clone()).concat();
        let stream = packets.concat();
        for_seeds(200, |random| {
            let longest = [1, 3, 100, 16_384][random.usize(..4)];
            let relayed = relayed(&stream, || random.usize(1..=longest));
            assert_eq!(relayed, (without.clone(), 3));
        });
    }

    #[test]
    fn a_message_with_a_quality_of_service_that_does_not_exist_is_a_fault() {
        let mut message = published(b"topic", &[0, 1]);
        for (first, is_fault) in [(0x30, false), (0x32, false), (0x34, false), (0x36, true)] {
            message[0] = first;
            let result = Framing::new(1000).next_of_server(&message);
            assert_eq!(result == Err(Fault::BadQuality), is_fault, "{first}");
        }
    }

    #[test]
    fn a_packet_over_the_limit_is_known_by_its_header() {
        let mut framing = Framing::new(1000);
        let fault = Fault::TooLarge {
            bytes: 268_435_460,
            limit: 1000,
        };
        assert_eq!(
            framing.next_of_server(&[0x30, 0xff, 0xff, 0xff, 0x7f]),
            Err(fault)
        );
        let largest = published(b"t", &[0; 1000 - 6]);
        assert_eq!(largest.len(), 1000);
        let passed = FromServer::Message {
            length: 1000,
            packet: 1000,
        };
        assert_eq!(framing.next_of_server(&largest), Ok(passed));
    }

    #[test]
    fn lengths_that_cannot_be_are_a_fault() {
        for bytes in [
            &[0x30, 0x80, 0x80, 0x80, 0x80][..],
            &[0x30, 0],
            &[0x30, 1, 0],
            &[0x30, 3, 0, 9, b'a'],
            &[0xd0, 1],
            &[0x40, 3],
            &[0x90, 2],
            &[0xb0, 0],
        ] {
            let mut framing = Framing::new(1 << 20);
            assert_eq!(
                framing.next_of_server(bytes),
                Err(Fault::BadLength),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn packets_that_no_server_sends_after_the_login_are_a_fault() {
        for kind in [0, 1, 2, 8, 10, 12, 14, 15] {
            let mut framing = Framing::new(1 << 20);
            let fault = Err(Fault::BadType(kind));
            assert_eq!(framing.next_of_server(&[kind << 4, 0]), fault);
        }
    }

    #[test]
    fn a_topic_that_is_not_text_is_taken_out_whole_and_answered() {
        for topic in [&b"\xff"[..], b"a\0b", b"\xc3"] {
            let mut body = (topic.len() as u16).to_be_bytes().to_vec();
            body.extend(topic);
            body.extend([0x12, 0x34]);
            body.extend(b"payload");
            for (first, answer) in [
                (0x32, Some([0x40, 2, 0x12, 0x34])),
                (0x34, Some([0x50, 2, 0x12, 0x34])),
            ] {
                let whole = packet(first, &body);
                let mut framing = Framing::new(1000);
                assert_eq!(
                    framing.next_of_server(&whole[..whole.len() - 1]),
                    Ok(FromServer::More(whole.len()))
                );
                assert_eq!(
                    framing.next_of_server(&whole),
                    Ok(FromServer::Unreadable(whole.len()))
                );
                let taken = publish(&whole).unwrap();
                assert_eq!((taken.topic, taken.payload), (topic, &b"payload"[..]));
                assert_eq!(taken.answer, answer);
                assert!(!taken.is_retained);
                assert!(publish(&packet(first | 1, &body)).unwrap().is_retained);
            }
        }
    }

    #[test]
    fn the_client_s_pings_and_its_farewell_are_seen_at_the_boundary_only() {
        let mut framing = Framing::new(1000);
        let publish = published(b"t", &PING_REQUEST);
        assert_eq!(
            framing.next_of_client(&publish[..4]),
            Ok(FromClient::Publish {
                length: 4,
                is_acknowledged: false
            })
        );
        assert!(!framing.is_between_packets());
        assert_eq!(
            framing.next_of_client(&publish[4..]),
            Ok(FromClient::Pass(3))
        );
        assert_eq!(framing.next_of_client(&[0xc0]), Ok(FromClient::More(2)));
        assert_eq!(
            framing.next_of_client(&PING_REQUEST),
            Ok(FromClient::PingRequest(2))
        );
        assert_eq!(
            framing.next_of_client(&DISCONNECT),
            Ok(FromClient::Disconnect(2))
        );
    }

    #[test]
    fn any_bytes_are_read_without_a_panic_and_with_progress() {
        for_seeds(20_000, |random| {
            let bytes: Vec<u8> = (0..random.usize(..40))
                .map(|_| {
                    random
                        .choice([0x30, 0x32, 0, 1, 2, 0x7f, 0x80, 0xd0, 0xff])
                        .unwrap_or(0)
                })
                .collect();
            let mut framing = Framing::new(1000);
            let mut start = 0;
            while let Ok(
                FromServer::Pass(length)
                | FromServer::Message { length, .. }
                | FromServer::Publish { length, .. }
                | FromServer::Acknowledgement(length)
                | FromServer::PingAnswer(length)
                | FromServer::Subscribed { length, .. }
                | FromServer::Unsubscribed(length)
                | FromServer::Unreadable(length),
            ) = framing.next_of_server(&bytes[start..])
            {
                assert!(length > 0);
                start += length;
            }
            assert!(start <= bytes.len());
            let _ = publish(&bytes);
        });
    }

    #[test]
    fn a_login_of_the_longest_fields_is_a_whole_packet() {
        let login = Login {
            client_id: "c".repeat(65_535),
            user_name: Some("u".repeat(65_535)),
            password: Some(vec![b'k'; 65_535]),
            keep_alive: Duration::from_secs(30),
            is_clean: true,
        };
        let packet = login.packet();
        let header = header(&packet).unwrap().unwrap();
        assert_eq!((header.kind, header.packet), (1, packet.len()));
        assert_eq!(&packet[header.length..][..10], b"\0\x04MQTT\x04\xc2\0\x1e");
        assert!(!format!("{login:?}").contains('k'));
    }

    #[test]
    fn a_login_has_the_flags_of_what_it_has() {
        for (user_name, password, is_clean, flags, fields) in [
            (None, None, true, 0x02, &b"\0\x01c"[..]),
            (None, None, false, 0, b"\0\x01c"),
            (Some("u"), None, false, 0x80, b"\0\x01c\0\x01u"),
            (Some("u"), Some("k"), false, 0xc0, b"\0\x01c\0\x01u\0\x01k"),
            (Some(""), Some(""), true, 0xc2, b"\0\x01c\0\0\0\0"),
            (None, Some("k"), true, 0x02, b"\0\x01c"),
        ] {
            let packet = Login {
                client_id: "c".to_owned(),
                user_name: user_name.map(str::to_owned),
                password: password.map(|text| text.as_bytes().to_vec()),
                keep_alive: Duration::from_secs(30),
                is_clean,
            }
            .packet();
            assert_eq!(&packet[2..9], b"\0\x04MQTT\x04");
            assert_eq!((packet[9], &packet[10..12]), (flags, &b"\0\x1e"[..]));
            assert_eq!(&packet[12..], fields);
        }
    }

    #[test]
    fn a_message_at_qos_1_shows_its_packet_id_and_whether_it_is_redelivered() {
        for (first, is_redelivered) in [(0x32, false), (0x33, false), (0x3a, true), (0x3b, true)] {
            let whole = packet(first, b"\0\x01t\x12\x34payload");
            assert!(is_at_least_once(&whole));
            let mut framing = Framing::new(1000);
            let seen = framing.next_of_server(&whole[..6]);
            assert_eq!(seen, Ok(FromServer::More(7)));
            let publish = Ordered {
                packet_id: 0x1234,
                bytes: whole.len(),
                is_redelivered,
            };
            let passed = framing.next_of_server(&whole[..9]);
            assert_eq!(passed, Ok(FromServer::Publish { length: 9, publish }));
            assert!(!framing.is_between_packets());
        }
        let mut framing = Framing::new(1000);
        let cut = framing.next_of_server(&packet(0x32, b"\0\x01t\x12"));
        assert_eq!(cut, Err(Fault::BadLength));
        assert!(
            ![0x30, 0x31, 0x34, 0x40]
                .into_iter()
                .any(|first| is_at_least_once(&[first]))
        );
    }
}
