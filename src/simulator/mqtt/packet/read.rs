//! Reads the packets that clients send.

use super::{Connect, Malformed, Packet, Publish, Will};

/// Collects received bytes and splits them into packets.
///
/// It holds only bytes that were received, regardless of the length a packet announces.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    pub(super) buffer: Vec<u8>,
    taken: usize,
}

impl Packets {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next complete packet, or `None` if more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>, Malformed> {
        let rest = &self.buffer[self.taken..];
        let Some((&first, after)) = rest.split_first() else {
            return Ok(None);
        };
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

/// Returns the remaining length and the number of bytes that encode it.
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
    Err(Malformed("remaining length longer than four bytes"))
}

/// Reads a packet as leniently as the real broker: it ignores reserved flags and whatever follows the
/// last field.
fn parse(first: u8, body: &[u8]) -> Result<Packet, Malformed> {
    let mut body = Body(body);
    Ok(match first >> 4 {
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
            Packet::Subscribe { id, filters }
        }
        10 => {
            let id = body.id()?;
            let mut filters = Vec::new();
            while !body.0.is_empty() {
                filters.push(body.string()?);
            }
            Packet::Unsubscribe { id, filters }
        }
        12 => Packet::PingReq,
        14 => Packet::Disconnect,
        _ => return Err(Malformed("packet type that clients do not send")),
    })
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
    if (flags >> 3) & 3 == 3 {
        return Err(Malformed("will with QoS 3"));
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
    // The real broker reads every protocol level as if it were 3.1.1. An MQTT 5 CONNECT is therefore
    // either unreadable or unsupported.
    let supported = matches!(name.as_str(), "MQTT" | "MQIsdp") && matches!(level, 3 | 4);
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
    if dup && qos == 0 {
        return Err(Malformed("PUBLISH with DUP at QoS 0"));
    }
    let topic = body.string()?;
    let id = if qos > 0 { body.u16()? } else { 0 };
    Ok(Packet::Publish(Publish {
        topic,
        payload: body.0.to_vec(),
        qos,
        dup,
        id,
    }))
}

/// The unread rest of a packet's body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed("packet shorter than its fields"))?;
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

    /// Returns a string; a character that is not UTF-8 becomes U+FFFD, which no id contains.
    fn string(&mut self) -> Result<String, Malformed> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }
}
