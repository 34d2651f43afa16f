//! What a connection reports, and how it ended.

use super::{
    gate::Permit,
    line::Line,
    relay::{Cause, Fault, Unreadable},
};
use crate::{
    clock::Moment,
    error::{Error, ErrorKind},
};

/// What a connection tells the thread that has requested it.
#[derive(Debug)]
pub(crate) enum Report {
    /// The server has accepted the client, which may connect now.
    Ready(Doorway),
    /// A message that was not passed to the client, because it cannot read the topic.
    Unreadable(Unreadable),
    /// The server has processed this many of the PUBLISH packets of this connection, in their order.
    Processed(u64),
    /// There is no connection, or it has ended. Nothing follows, and the loopback is closed after this.
    Ended(End),
}

/// Where the client connects.
#[derive(Debug)]
pub(crate) struct Doorway {
    /// A port of the IPv4 loopback address.
    pub(crate) port: u16,
    /// The client id that is admitted.
    pub(crate) token: String,
    /// Keep it until the client has connected.
    pub(crate) permit: Permit,
    /// Whether the server has kept a session of the client.
    pub(crate) session_present: bool,
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It was never made.
    Failed(Error),
    /// The server refused the login with this return code.
    Refused(u8),
    /// This side closed it.
    Closed,
    /// It was lost after it had worked.
    Lost {
        loss: Loss,
        /// When the last whole packet of the server arrived, of whatever type.
        heard: Moment,
        error: Error,
    },
}

/// What ended a connection that worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The server closed it, or the network broke it.
    Closed,
    /// The server did not answer a ping.
    Silent,
    /// The server sent a packet of this many bytes, more than the limit.
    TooLarge(usize),
    /// The server sent something that is not MQTT.
    Protocol,
    /// The handler of a message failed, and the server must deliver it again.
    HandlerFailed,
}

impl End {
    /// Says why a connection that worked has ended. `heard` is when the last whole packet of the server
    /// arrived.
    pub(super) fn of_relay(server: &str, line: &Line, heard: Moment, cause: Cause) -> Self {
        let lost = |kind, text: String| Error::new(kind, text);
        let (loss, error) = match cause {
            Cause::Word(_) => return Self::Closed,
            Cause::EndOfFile => (
                Loss::Closed,
                lost(
                    ErrorKind::ConnectionLost,
                    format!("{server} closed the connection"),
                ),
            ),
            Cause::Failed(cause) => (Loss::Closed, line.explain(&server, cause)),
            Cause::Silent(silence) => (
                Loss::Silent,
                lost(
                    ErrorKind::ConnectionLost,
                    format!(
                        "{server} sent nothing for {:.1} s and did not answer a ping",
                        silence.as_secs_f64()
                    ),
                ),
            ),
            Cause::Fault(Fault::TooLarge { bytes, limit }) => (
                Loss::TooLarge(bytes),
                lost(
                    ErrorKind::Protocol,
                    format!("{server} sent a packet of {bytes} bytes; max_packet_size is {limit}"),
                ),
            ),
            Cause::Fault(Fault::BadLength) => (
                Loss::Protocol,
                lost(
                    ErrorKind::Protocol,
                    format!("{server} sent a packet with an impossible length"),
                ),
            ),
            Cause::Fault(Fault::BadType(kind)) => (
                Loss::Protocol,
                lost(
                    ErrorKind::Protocol,
                    format!(
                        "{server} sent a packet of type {kind}, which a server must not send at that point"
                    ),
                ),
            ),
            Cause::Fault(Fault::BadQuality) => (
                Loss::Protocol,
                lost(
                    ErrorKind::Protocol,
                    format!("{server} sent a message at QoS 3, which does not exist"),
                ),
            ),
            Cause::HandlerFailed => (
                Loss::HandlerFailed,
                lost(
                    ErrorKind::ConnectionLost,
                    format!("a handler failed, so that {server} has to deliver the uplink again"),
                ),
            ),
            Cause::Client => (
                Loss::Protocol,
                lost(
                    ErrorKind::Protocol,
                    format!("{server} sent a packet that breaks the rules of MQTT"),
                ),
            ),
        };
        Self::Lost { loss, heard, error }
    }

    /// Returns when the last whole packet of the server arrived, if the connection worked before it was
    /// lost.
    pub(crate) fn heard(&self) -> Option<Moment> {
        match self {
            Self::Lost { heard, .. } => Some(*heard),
            Self::Failed(_) | Self::Refused(_) | Self::Closed => None,
        }
    }
}
