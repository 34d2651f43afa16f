//! MQTT 3.1 and 3.1.1 packets: bytes in, packets out, without any socket.

/// A packet a client may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Connect(Connect),
    Publish(Publish),
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    Subscribe { id: u16, filters: Vec<(String, u8)> },
    Unsubscribe { id: u16, filters: Vec<String> },
    PingReq,
    Disconnect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Connect {
    /// Name and level are ones the broker speaks.
    pub(super) supported: bool,
    pub(super) level: u8,
    pub(super) client_id: String,
    pub(super) clean_session: bool,
    pub(super) keep_alive: u16,
    pub(super) will: Option<Will>,
    pub(super) username: Option<String>,
    pub(super) password: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Will {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publish {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) dup: bool,
    /// 0 at QoS 0.
    pub(super) id: u16,
}

/// Why the connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Collects received bytes and cuts them into packets.
///
/// It holds only bytes that were received, whatever length a packet announces.
#[derive(Debug, Default)]
pub(super) struct Packets {
    buffer: Vec<u8>,
    taken: usize,
}

impl Packets {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete packet, or `None` when more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, Malformed> {
        let rest = &self.buffer[self.taken..];
        let Some((&first, after)) = rest.split_first() else {
            return Ok(None);
        };
        check_flags(first)?;
        let Some((length, digits)) = remaining_length(after)? else {
            return Ok(None);
        };
        let Some(body) = after.get(digits..digits + length) else {
            return Ok(None);
        };
        let packet = parse(first, body)?;
        self.taken += 1 + digits + length;
        Ok(Some(packet))
    }
}

/// The value and the number of bytes it took.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((length, index + 1)));
        }
    }
    if bytes.len() < 4 {
        return Ok(None);
    }
    Err(Malformed("remaining length of more than four bytes"))
}

/// Judged before the body is there: whoever speaks another protocol is not waited for.
fn check_flags(first: u8) -> Result<(), Malformed> {
    let expected = match first >> 4 {
        3 => return Ok(()),
        6 | 8 | 10 => 2,
        _ => 0,
    };
    if first & 0x0f == expected {
        Ok(())
    } else {
        Err(Malformed("reserved flags"))
    }
}

fn parse(first: u8, body: &[u8]) -> Result<Packet, Malformed> {
    let mut body = Body(body);
    let packet = match first >> 4 {
        1 => return connect(body),
        3 => return publish_from(first & 0x0f, body),
        4 => Packet::PubAck(body.id()?),
        5 => Packet::PubRec(body.id()?),
        6 => Packet::PubRel(body.id()?),
        7 => Packet::PubComp(body.id()?),
        8 => {
            let id = body.id()?;
            let mut filters = Vec::new();
            while !body.0.is_empty() {
                let filter = body.string()?;
                let qos = body.byte()?;
                if qos > 2 {
                    return Err(Malformed("subscription with a QoS above 2"));
                }
                filters.push((filter, qos));
            }
            if filters.is_empty() {
                return Err(Malformed("SUBSCRIBE without a filter"));
            }
            Packet::Subscribe { id, filters }
        }
        10 => {
            let id = body.id()?;
            let mut filters = Vec::new();
            while !body.0.is_empty() {
                filters.push(body.string()?);
            }
            if filters.is_empty() {
                return Err(Malformed("UNSUBSCRIBE without a filter"));
            }
            Packet::Unsubscribe { id, filters }
        }
        12 => Packet::PingReq,
        14 => Packet::Disconnect,
        _ => return Err(Malformed("a packet clients do not send")),
    };
    body.end()?;
    Ok(packet)
}

fn connect(mut body: Body<'_>) -> Result<Packet, Malformed> {
    let name = body.string()?;
    let level = body.byte()?;
    let flags = body.byte()?;
    let keep_alive = body.u16()?;
    let flag = |bit: u8| flags & bit != 0;
    if flag(0x01) {
        return Err(Malformed("reserved connect flag"));
    }
    let will_qos = (flags >> 3) & 3;
    if will_qos == 3 || (!flag(0x04) && (will_qos != 0 || flag(0x20))) {
        return Err(Malformed("will flags"));
    }
    if flag(0x40) && !flag(0x80) {
        return Err(Malformed("password without a username"));
    }
    let client_id = body.string()?;
    let will = if flag(0x04) {
        let topic = body.string()?;
        let payload = body.bytes()?.to_vec();
        Some(Will { topic, payload })
    } else {
        None
    };
    let username = if flag(0x80) {
        Some(body.string()?)
    } else {
        None
    };
    let password = if flag(0x40) {
        Some(body.bytes()?.to_vec())
    } else {
        None
    };
    let supported = matches!(name.as_str(), "MQTT" | "MQIsdp") && matches!(level, 3 | 4);
    // The networks' broker reads the rest of any level as if it were 3.1.1: an MQTT 5 CONNECT is
    // either unreadable or of a bad level, and what is left over then does not matter.
    if supported {
        body.end()?;
    }
    Ok(Packet::Connect(Connect {
        supported,
        level,
        client_id,
        clean_session: flag(0x02),
        keep_alive,
        will,
        username,
        password,
    }))
}

fn publish_from(flags: u8, mut body: Body<'_>) -> Result<Packet, Malformed> {
    let (dup, qos) = (flags & 0x08 != 0, (flags >> 1) & 3);
    if qos == 3 {
        return Err(Malformed("PUBLISH with QoS 3"));
    }
    if dup && qos == 0 {
        return Err(Malformed("PUBLISH with DUP at QoS 0"));
    }
    let topic = body.string()?;
    let id = if qos > 0 { body.id()? } else { 0 };
    Ok(Packet::Publish(Publish {
        topic,
        payload: body.0.to_vec(),
        qos,
        dup,
        id,
    }))
}

/// What is left of a packet's body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed("a packet shorter than its parts"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn id(&mut self) -> Result<u16, Malformed> {
        match self.u16()? {
            0 => Err(Malformed("packet identifier 0")),
            id => Ok(id),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn string(&mut self) -> Result<String, Malformed> {
        let bytes = self.bytes()?.to_vec();
        String::from_utf8(bytes).map_err(|_| Malformed("a string that is not UTF-8"))
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed("bytes after the last part"))
        }
    }
}

pub(super) fn connack(code: u8) -> Vec<u8> {
    vec![0x20, 2, 0, code]
}

pub(super) fn puback(id: u16) -> Vec<u8> {
    with_id(0x40, id)
}

pub(super) fn pubrec(id: u16) -> Vec<u8> {
    with_id(0x50, id)
}

pub(super) fn pubcomp(id: u16) -> Vec<u8> {
    with_id(0x70, id)
}

pub(super) fn unsuback(id: u16) -> Vec<u8> {
    with_id(0xb0, id)
}

pub(super) fn suback(id: u16, codes: &[u8]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend_from_slice(codes);
    framed(0x90, &[&body])
}

pub(super) fn pingresp() -> Vec<u8> {
    vec![0xd0, 0]
}

/// A PUBLISH at QoS 0, neither retained nor a duplicate.
///
/// A topic of more than 65 535 bytes is cut there.
pub(super) fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut end = topic.len().min(usize::from(u16::MAX));
    while !topic.is_char_boundary(end) {
        end -= 1;
    }
    let topic = &topic.as_bytes()[..end];
    let length = u16::try_from(end).unwrap_or(u16::MAX).to_be_bytes();
    framed(0x30, &[&length, topic, payload])
}

fn with_id(first: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![first, 2, high, low]
}

fn framed(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut length: usize = parts.iter().map(|part| part.len()).sum();
    let mut packet = Vec::with_capacity(length + 5);
    packet.push(first);
    loop {
        let digit = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            packet.push(digit);
            break;
        }
        packet.push(digit | 0x80);
    }
    for part in parts {
        packet.extend_from_slice(part);
    }
    packet
}

/// As clients write them, for what tests the reading.
#[cfg(any(test, fuzzing))]
impl Packet {
    /// Its bytes; only those of a CONNECT that is not supported are not known.
    pub(super) fn written(&self) -> Vec<u8> {
        match self {
            Self::Connect(connect) => connect.written(),
            Self::Publish(packet) if packet.qos == 0 => publish(&packet.topic, &packet.payload),
            Self::Publish(packet) => {
                let first = 0x30 | packet.qos << 1 | u8::from(packet.dup) << 3;
                let id = packet.id.to_be_bytes();
                framed(first, &[&prefixed(&packet.topic), &id, &packet.payload])
            }
            Self::PubAck(id) => puback(*id),
            Self::PubRec(id) => pubrec(*id),
            Self::PubRel(id) => with_id(0x62, *id),
            Self::PubComp(id) => pubcomp(*id),
            Self::Subscribe { id, filters } => {
                let mut body = id.to_be_bytes().to_vec();
                for (filter, qos) in filters {
                    body.extend(prefixed(filter));
                    body.push(*qos);
                }
                framed(0x82, &[&body])
            }
            Self::Unsubscribe { id, filters } => {
                let mut body = id.to_be_bytes().to_vec();
                body.extend(filters.iter().flat_map(prefixed));
                framed(0xa2, &[&body])
            }
            Self::PingReq => vec![0xc0, 0],
            Self::Disconnect => vec![0xe0, 0],
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Connect {
    fn written(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean_session) << 1;
        let mut end = prefixed(&self.client_id);
        if let Some(will) = &self.will {
            flags |= 0x04;
            end.extend(prefixed(&will.topic));
            end.extend(prefixed(&will.payload));
        }
        if let Some(username) = &self.username {
            flags |= 0x80;
            end.extend(prefixed(username));
        }
        if let Some(password) = &self.password {
            flags |= 0x40;
            end.extend(prefixed(password));
        }
        let keep_alive = self.keep_alive.to_be_bytes();
        framed(
            0x10,
            &[&prefixed("MQTT"), &[self.level, flags], &keep_alive, &end],
        )
    }
}

/// With its length before it, of which there are two bytes.
#[cfg(any(test, fuzzing))]
fn prefixed(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut prefixed = (bytes.len() as u16).to_be_bytes().to_vec();
    prefixed.extend_from_slice(bytes);
    prefixed
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::seeds::for_seeds;

    fn text(random: &mut Rng) -> String {
        (0..random.usize(..20)).map(|_| random.char(..)).collect()
    }

    fn bytes(random: &mut Rng) -> Vec<u8> {
        let length = match random.u8(..8) {
            0 => random.usize(..20_000),
            _ => random.usize(..200),
        };
        (0..length).map(|_| random.u8(..)).collect()
    }

    fn packet(random: &mut Rng) -> Packet {
        let id = random.u16(1..);
        match random.u8(..11) {
            0 => Packet::Connect(connect(random)),
            1 | 2 => {
                let qos = random.u8(..3);
                Packet::Publish(Publish {
                    topic: text(random),
                    payload: bytes(random),
                    qos,
                    dup: qos > 0 && random.bool(),
                    id: if qos > 0 { id } else { 0 },
                })
            }
            3 => Packet::PubAck(id),
            4 => Packet::PubRec(id),
            5 => Packet::PubRel(id),
            6 => Packet::PubComp(id),
            7 => {
                let filters = (0..random.usize(1..9)).map(|_| (text(random), random.u8(..3)));
                let filters = filters.collect();
                Packet::Subscribe { id, filters }
            }
            8 => {
                let filters = (0..random.usize(1..9)).map(|_| text(random)).collect();
                Packet::Unsubscribe { id, filters }
            }
            9 => Packet::PingReq,
            _ => Packet::Disconnect,
        }
    }

    fn connect(random: &mut Rng) -> Connect {
        let username = random.bool().then(|| text(random));
        Connect {
            supported: true,
            level: random.u8(3..=4),
            client_id: text(random),
            clean_session: random.bool(),
            keep_alive: random.u16(..),
            will: random.bool().then(|| Will {
                topic: text(random),
                payload: bytes(random),
            }),
            password: (username.is_some() && random.bool()).then(|| bytes(random)),
            username,
        }
    }

    /// The packets of a stream that arrives in these parts, and how it ends.
    fn all<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Packet>, Result<(), Malformed>) {
        let mut packets = Packets::default();
        let mut found = Vec::new();
        for part in parts {
            packets.push(part);
            loop {
                match packets.next() {
                    Ok(Some(packet)) => found.push(packet),
                    Ok(None) => break,
                    Err(malformed) => return (found, Err(malformed)),
                }
            }
        }
        (found, Ok(()))
    }

    #[test]
    fn any_packets_are_read_as_they_were_written_however_they_arrive() {
        for_seeds(2_000, |random| {
            let packets: Vec<Packet> = (0..random.usize(..6)).map(|_| packet(random)).collect();
            let stream = packets.iter().flat_map(Packet::written).collect::<Vec<_>>();
            let size = random.usize(1..40);
            assert_eq!(all(stream.chunks(size)), (packets, Ok(())));
        });
    }

    #[test]
    fn damaged_packets_are_read_alike_however_they_arrive() {
        for_seeds(4_000, |random| {
            let mut stream = Vec::new();
            for _ in 0..random.usize(1..4) {
                stream.extend(packet(random).written());
            }
            for _ in 0..random.usize(1..4) {
                let place = random.usize(..stream.len().min(60));
                stream[place] = random.u8(..);
            }
            let size = random.usize(1..40);
            assert_eq!(all(stream.chunks(size)), all([&stream[..]]));
        });
    }

    fn read(bytes: &[u8]) -> Result<Option<Packet>, Malformed> {
        let mut packets = Packets::default();
        packets.push(bytes);
        packets.next()
    }

    fn string(text: &str) -> Vec<u8> {
        let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    fn full_connect() -> Vec<u8> {
        let parts = [
            string("MQTT"),
            vec![4, 0xc6, 0, 60],
            string("probe"),
            string("garden/devices/pump-1/down"),
            string("bye"),
            string("garden"),
            string("ttn-account-v2.key"),
        ];
        framed(0x10, &[&parts.concat()])
    }

    #[test]
    fn a_full_connect_is_read() {
        let Ok(Some(Packet::Connect(connect))) = read(&full_connect()) else {
            panic!("not read");
        };
        assert!(connect.supported && connect.clean_session);
        assert_eq!(connect.level, 4);
        assert_eq!(connect.client_id, "probe");
        assert_eq!(connect.keep_alive, 60);
        assert_eq!(connect.username.as_deref(), Some("garden"));
        assert_eq!(
            connect.password.as_deref(),
            Some(&b"ttn-account-v2.key"[..])
        );
        let will = connect.will.unwrap();
        assert_eq!(will.topic, "garden/devices/pump-1/down");
        assert_eq!(will.payload, b"bye");
    }

    #[test]
    fn a_publish_of_every_length_class_comes_back_as_it_went() {
        for size in [0, 1, 100, 127, 128, 16_383, 16_384, 2_097_152] {
            let payload = vec![7; size];
            let bytes = publish("a/b", &payload);
            let expected = Publish {
                topic: "a/b".into(),
                payload,
                qos: 0,
                dup: false,
                id: 0,
            };
            assert_eq!(read(&bytes), Ok(Some(Packet::Publish(expected))));
        }
    }

    fn samples() -> Vec<Vec<u8>> {
        let subscribe = [vec![0, 7], string("a/+"), vec![1]].concat();
        let unsubscribe = [vec![0, 8], string("a/+")].concat();
        vec![
            full_connect(),
            publish("a/b", b"payload"),
            framed(0x3a, &[&string("a/b"), &[0, 9], b"x"]),
            puback(3),
            pubrec(3),
            vec![0x62, 2, 0, 3],
            pubcomp(3),
            framed(0x82, &[&subscribe]),
            framed(0xa2, &[&unsubscribe]),
            vec![0xc0, 0],
            vec![0xe0, 0],
        ]
    }

    #[test]
    fn every_truncation_needs_more_bytes() {
        for sample in samples() {
            for length in 0..sample.len() {
                assert_eq!(read(&sample[..length]), Ok(None), "{sample:?} at {length}");
            }
            assert!(matches!(read(&sample), Ok(Some(_))), "{sample:?}");
        }
    }

    #[test]
    fn a_body_cut_short_is_malformed_and_never_a_panic() {
        for sample in samples() {
            for length in 2..sample.len() {
                let mut cut = sample[..length].to_vec();
                cut[1] = u8::try_from(length - 2).unwrap();
                let _ = read(&cut);
            }
        }
        assert!(read(&[0x10, 3, 0, 4, b'M']).is_err());
        assert!(read(&[0x30, 2, 0, 9]).is_err());
    }

    #[test]
    fn bytes_one_by_one_make_the_same_packets() {
        let mut packets = Packets::default();
        let mut found = Vec::new();
        for byte in samples().concat() {
            packets.push(&[byte]);
            found.extend(packets.next().unwrap());
        }
        let whole: Vec<Packet> = samples()
            .iter()
            .map(|sample| read(sample).unwrap().unwrap())
            .collect();
        assert_eq!(found, whole);
    }

    #[test]
    fn several_packets_in_one_read_are_all_found() {
        let mut packets = Packets::default();
        packets.push(&samples().concat());
        for sample in samples() {
            assert_eq!(packets.next().unwrap(), read(&sample).unwrap());
        }
        assert_eq!(packets.next(), Ok(None));
    }

    #[test]
    fn malformed_packets_are_refused() {
        let malformed: [&[u8]; 16] = [
            &[0x30, 0xff, 0xff, 0xff, 0xff],
            &[0x36, 5, 0, 1, b'a', 0, 1],
            &[0x38, 3, 0, 1, b'a'],
            &[0x32, 5, 0, 1, b'a', 0, 0],
            &[0x40, 2, 0, 0],
            &[0x40, 3, 0, 1, 0],
            &[0x60, 2, 0, 1],
            &[0x82, 2, 0, 1],
            &[0x82, 6, 0, 1, 0, 1, b'a', 3],
            &[0x80, 6, 0, 1, 0, 1, b'a', 0],
            &[0xa2, 2, 0, 1],
            &[0x30, 3, 0, 1, 0xff],
            &[0xc0, 1, 0],
            &[0x20, 2, 0, 0],
            &[0x00, 0],
            &[0xf0, 0],
        ];
        for bytes in malformed {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut packets = Packets::default();
        packets.push(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'a']);
        assert_eq!(packets.next(), Ok(None));
        assert!(packets.buffer.capacity() < 1024);
    }
}
