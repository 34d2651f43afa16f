//! Why a connection has ended.

use std::fmt;

/// Why the connection of a client has ended, in [`Activity::Disconnected`](super::super::Activity::Disconnected)
/// and [`Activity::Failed`](super::super::Activity::Failed).
///
/// ```
/// use ttn::simulator::Disconnection;
///
/// assert_eq!(Disconnection::Closed.to_string(), "connection closed without DISCONNECT");
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disconnection {
    /// The client has sent DISCONNECT.
    Goodbye,
    /// The client has closed the connection without DISCONNECT, or the connection broke.
    Closed,
    /// The client was silent for longer than its keep-alive allows, or its CONNECT took too long.
    Silent,
    /// The client has sent what is not valid MQTT, with what is wrong.
    Mistake(String),
    /// TLS failed: the client does not trust the certificate, or does not speak TLS.
    Tls(String),
    /// The client has exceeded a limit: [`publish_limit`](super::super::Quirks::publish_limit) or
    /// [`publish_rate`](super::super::Quirks::publish_rate).
    Limit,
    /// The network has closed the connection: it stopped, was told to
    /// [disconnect its clients](super::super::Simulator::disconnect_clients), or a
    /// [quirk](super::super::Quirks) did it.
    Network,
}

impl fmt::Display for Disconnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goodbye => formatter.write_str("DISCONNECT"),
            Self::Closed => formatter.write_str("connection closed without DISCONNECT"),
            Self::Silent => formatter.write_str("silent for too long"),
            Self::Mistake(what) => write!(formatter, "invalid MQTT: {what}"),
            Self::Tls(what) => write!(formatter, "TLS failed: {what}"),
            Self::Limit => formatter.write_str("rate limit exceeded"),
            Self::Network => formatter.write_str("closed by the network"),
        }
    }
}
