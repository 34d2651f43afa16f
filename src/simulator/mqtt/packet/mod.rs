//! MQTT 3.1 and 3.1.1 packets: bytes in, packets out, without any socket.

mod read;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod write;
#[cfg(any(test, fuzzing))]
mod written;

pub(crate) use read::Packets;
pub(crate) use write::{
    connack, pingresp, puback, pubcomp, publish, pubrec, pubrel, suback, unsuback,
};

/// A packet a client may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
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
pub(crate) struct Connect {
    /// Whether the broker speaks this protocol name and level.
    pub(crate) supported: bool,
    pub(crate) level: u8,
    pub(crate) client_id: String,
    pub(crate) clean_session: bool,
    pub(crate) keep_alive: u16,
    pub(crate) will: Option<Will>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// 3, which MQTT forbids, is read too.
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    /// 0 at QoS 0.
    pub(crate) id: u16,
}

/// Why the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);
