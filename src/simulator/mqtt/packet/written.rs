//! Client packets as bytes, to test the reading.

use super::{
    Connect, Packet,
    write::{framed, puback, pubcomp, publish, pubrec, pubrel},
};

impl Packet {
    /// Returns the packet as a client writes it; an unsupported CONNECT cannot be restored.
    pub(crate) fn written(&self) -> Vec<u8> {
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
            Self::PubRel(id) => pubrel(*id),
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

/// Returns the bytes after their length in two bytes.
fn prefixed(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut prefixed = (bytes.len() as u16).to_be_bytes().to_vec();
    prefixed.extend_from_slice(bytes);
    prefixed
}
