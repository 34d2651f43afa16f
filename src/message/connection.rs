//! News about the connection itself.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use crate::error::Error;

/// With [`Event::Connected`](crate::Event::Connected).
///
/// ```
/// fn report(connected: &ttn::Connected) -> String {
///     match &connected.gap {
///         Some(gap) => format!("connected to {} again, after {:?}", connected.address, gap.length),
///         None => format!("connected to {}", connected.address),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Connected {
    /// The server, as `mqtt://host:port` or `mqtts://host:port`.
    pub address: String,
    /// The outage that ends here; `None` for the first connection, and for one after `close`.
    pub gap: Option<Gap>,
}

/// A time without a connection. What the network published meanwhile is lost to this client.
///
/// ```
/// fn report(gap: &ttn::Gap) -> String {
///     format!("away for {:?}, back with attempt {}", gap.length, gap.attempts)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// When the loss of the connection was noticed.
    pub since: SystemTime,
    /// From then until the client was connected and subscribed again, by a clock that nobody sets.
    /// A server may send uplinks a moment before that.
    pub length: Duration,
    /// How long nothing had arrived before the loss was noticed. A connection that was cut is
    /// noticed at once; one that fell silent may have been dead for this long, but for no more than
    /// twice [`keep_alive`](crate::MqttClientBuilder::keep_alive), or `keep_alive` and 5 s.
    pub silence: Duration,
    /// How many attempts it took, the one that succeeded included.
    pub attempts: u32,
}

/// With [`Event::ConnectFailed`](crate::Event::ConnectFailed).
///
/// ```
/// fn report(failed: &ttn::ConnectFailed) -> String {
///     match failed.retry_in {
///         Some(delay) => format!("{}: {}; next in {delay:?}", failed.attempt, failed.error),
///         None => failed.error.to_string(),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectFailed {
    /// Why.
    pub error: Error,
    /// The how many-th attempt it was, from 1, since the client set out to connect or was connected
    /// last.
    pub attempt: u32,
    /// When the next attempt follows; `None` when the client gives up.
    pub retry_in: Option<Duration>,
}

/// With [`Event::Disconnected`](crate::Event::Disconnected).
///
/// ```
/// fn report(lost: &ttn::Disconnected) -> String {
///     format!("{} ({}); next attempt in {:?}", lost.error, lost.cause, lost.retry_in)
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Disconnected {
    /// What is known of the reason, in words.
    pub error: Error,
    /// What it looks like.
    pub cause: DisconnectCause,
    /// How long the connection had lasted.
    pub connected_for: Duration,
    /// When the first attempt to connect again follows; `None` when the client gives up, as with
    /// `reconnect(false)`.
    pub retry_in: Option<Duration>,
}

/// What the end of a connection looks like. A server never says why it ends one, so when it was the
/// server that did, this is a conclusion from what went before.
///
/// ```
/// fn slow_down(lost: &ttn::Disconnected) -> bool {
///     lost.cause == ttn::DisconnectCause::RateLimit
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectCause {
    /// Nothing in particular: a network that failed, a server that restarted.
    Unknown,
    /// It ended within half a second after a downlink was written, one of several within a minute: a
    /// v3 server does so when it gets more than its operator allows (The Things Stack, rate
    /// limiting). That downlink is lost.
    RateLimit,
    /// The server accepted so many connections in a row and ended each within 2 s: it limits
    /// connections, or is about to stop.
    ClosedAtOnce {
        /// How many, 2 or more.
        in_a_row: u32,
    },
    /// So many connections in a row ended within a minute: maybe the server lets in one client of
    /// this application at a time, and another one takes the place again and again.
    Contested {
        /// How many, 3 or more.
        in_a_row: u32,
    },
    /// Nothing was heard of the server within the
    /// [`keep_alive`](crate::MqttClientBuilder::keep_alive), nor did it answer when it was asked: a
    /// cable was pulled, a router has forgotten the connection, or the server hangs.
    Silent,
    /// The server sent a packet larger than
    /// [`max_packet_size`](crate::MqttClientBuilder::max_packet_size).
    PacketTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The server sent what is not MQTT.
    Protocol,
}

impl fmt::Display for DisconnectCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("cause unknown"),
            Self::RateLimit => f.write_str("it looks like the server's limit of downlinks"),
            Self::ClosedAtOnce { in_a_row } => write!(
                f,
                "the server accepted {in_a_row} connections in a row and ended each at once; it may limit connections"
            ),
            Self::Silent => f.write_str("the server is silent"),
            Self::PacketTooLarge { bytes } => {
                write!(
                    f,
                    "the server sent a packet of {bytes} bytes, which is too large"
                )
            }
            Self::Protocol => f.write_str("the server sent what is not MQTT"),
            Self::Contested { in_a_row } => write!(
                f,
                "{in_a_row} connections in a row ended within a minute; another client of this application may take the place of this one"
            ),
        }
    }
}

/// With [`Event::Closed`](crate::Event::Closed).
///
/// ```
/// fn report(closed: &ttn::Closed) -> String {
///     match &closed.error {
///         Some(error) => format!("gave up: {error}"),
///         None => "closed as asked".to_owned(),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Closed {
    /// Why the client gave up; `None` when it was closed by the program.
    pub error: Option<Error>,
    /// The how many-th end of a connection of this client it is.
    pub(crate) number: u64,
}
