//! Writes the packets that the broker sends.

pub(crate) fn connack(code: u8) -> Vec<u8> {
    vec![0x20, 2, 0, code]
}

pub(crate) fn puback(id: u16) -> Vec<u8> {
    with_id(0x40, id)
}

pub(crate) fn pubrec(id: u16) -> Vec<u8> {
    with_id(0x50, id)
}

pub(crate) fn pubrel(id: u16) -> Vec<u8> {
    with_id(0x62, id)
}

pub(crate) fn pubcomp(id: u16) -> Vec<u8> {
    with_id(0x70, id)
}

pub(crate) fn unsuback(id: u16) -> Vec<u8> {
    with_id(0xb0, id)
}

pub(crate) fn suback(id: u16, codes: &[u8]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend_from_slice(codes);
    framed(0x90, &[&body])
}

pub(crate) fn pingresp() -> Vec<u8> {
    vec![0xd0, 0]
}

/// Returns a PUBLISH at QoS 0, neither retained nor a duplicate; truncates topics longer than 65,535
/// bytes.
pub(crate) fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
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

pub(super) fn framed(first: u8, parts: &[&[u8]]) -> Vec<u8> {
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
