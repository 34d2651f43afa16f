//! Events of the connection itself.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::json;
use crate::error::Error;

/// The content of [`Event::Connected`](crate::Event::Connected).
///
/// ```
/// fn report(connected: &ttn::Connected) -> String {
///     match &connected.gap {
///         Some(gap) => format!("connected to {} again, after {:?}", connected.address, gap.length),
///         None => format!("connected to {}", connected.address),
///     }
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Connected {
    /// The server, as `mqtt://host:port` or `mqtts://host:port`.
    pub address: String,
    /// Whether a [broker of one's own](crate::MqttClient::own_broker) has kept a
    /// [persistent session](crate::Session::persistent) for the client. If not, it has kept no messages either: it does
    /// not know the client yet, or has forgotten it. Always `false` with a clean session.
    pub session_present: bool,
    /// The outage that ends here; `None` for the first connection, and for one after `close`.
    pub gap: Option<Gap>,
}

/// A time without a connection. The client misses whatever the network published during it; with
/// [`backfill`](crate::MqttClientBuilder::backfill) it fetches the uplinks afterwards.
///
/// Times are those of a monotonic clock, which stands still while the machine is suspended, plus
/// suspensions: when the wall clock advances at least 1 s more than the monotonic clock, the difference
/// counts, unless the wall clock was before 2026, and so was not set yet. If a clock that was set is put
/// forward during an outage, that looks like a suspension.
///
/// ```
/// fn report(gap: &ttn::Gap) -> String {
///     format!("away for {:?}, back with attempt {}", gap.length, gap.attempts)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Gap {
    /// When the loss of the connection was noticed.
    #[serde(serialize_with = "json::time")]
    pub since: SystemTime,
    /// The time from then until the client was connected and subscribed again. A server may send uplinks
    /// slightly before that.
    #[serde(serialize_with = "json::seconds")]
    pub length: Duration,
    /// How long the server had sent nothing before the loss was noticed: no message, and no answer to a
    /// ping or anything else. The connection may have been dead for this long, even if it was then
    /// closed. While the server lives, an idle connection carries an answer to a ping each
    /// [`keep_alive`](crate::MqttClientBuilder::keep_alive); one that answers nothing is given up after
    /// at least 5 s more, usually after twice `keep_alive`. When the machine was suspended, or the process
    /// was stopped for longer than `keep_alive` and a second, what is found afterwards counts as heard
    /// before, because nobody knows when it arrived.
    #[serde(serialize_with = "json::seconds")]
    pub silence: Duration,
    /// How many attempts it took, including the successful one.
    pub attempts: u32,
    /// Why the connection was lost, as far as it is known now. Attempts during the outage can show that
    /// the [cause](Disconnected::cause) reported at its beginning was wrong.
    pub cause: DisconnectCause,
}

/// The content of [`Event::ConnectFailed`](crate::Event::ConnectFailed).
///
/// ```
/// fn report(failed: &ttn::ConnectFailed) -> String {
///     match failed.retry_in {
///         Some(delay) => format!("{}: {}; next in {delay:?}", failed.attempt, failed.error),
///         None => failed.error.to_string(),
///     }
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ConnectFailed {
    /// Why.
    pub error: Error,
    /// The attempt number, starting at 1 when the client starts to connect or loses its connection.
    pub attempt: u32,
    /// The delay before the next attempt; `None` if the client gives up.
    #[serde(serialize_with = "json::optional_seconds")]
    pub retry_in: Option<Duration>,
    /// Why the last connection was lost, as far as it is known now; `None` if there was none. Differs
    /// from [`Disconnected::cause`] if this attempt, or one before it, shows that it was wrong.
    pub outage: Option<DisconnectCause>,
}

/// The content of [`Event::Disconnected`](crate::Event::Disconnected).
///
/// ```
/// fn report(lost: &ttn::Disconnected) -> String {
///     format!("{} ({}); next attempt in {:?}", lost.error, lost.cause, lost.retry_in)
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Disconnected {
    /// What is known about the reason.
    pub error: Error,
    /// The likely cause, as far as it is known at this moment. [`ConnectFailed::outage`] and
    /// [`Gap::cause`] tell what the following attempts show.
    pub cause: DisconnectCause,
    /// How long the connection lasted.
    #[serde(serialize_with = "json::seconds")]
    pub connected_for: Duration,
    /// The delay before the first attempt to reconnect; `None` if the client gives up, as it does with
    /// `reconnect(false)`.
    #[serde(serialize_with = "json::optional_seconds")]
    pub retry_in: Option<Duration>,
}

/// The likely cause of the end of a connection. A server never says why it closes a connection, so
/// the client infers its reason from what this connection has seen, and corrects it when the next
/// attempt shows that it was another.
///
/// ```
/// fn slow_down(lost: &ttn::Disconnected) -> bool {
///     lost.cause == ttn::DisconnectCause::RateLimit
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum DisconnectCause {
    /// Unknown, for example a network failure or a server restart.
    Unknown,
    /// The connection ended within half a second after a downlink was written, which was one of
    /// several within a minute: a v3 server does this when its rate limit is exceeded (The Things
    /// Stack, rate limiting). The downlink that exceeds it and all behind it are lost. This is a guess:
    /// a server that stops while downlinks are sent looks the same until the next attempt, see
    /// [`Stopped`](Self::Stopped).
    RateLimit,
    /// The server stopped, for example to restart: it refused a later attempt (connection refused),
    /// which never follows a rate limit or a network failure. Known only after the end of the
    /// connection: [`ConnectFailed::outage`] and [`Gap::cause`] have it.
    Stopped,
    /// The server accepted several connections in a row and closed each within 2 s: it limits
    /// connections, or is shutting down.
    ClosedAtOnce {
        /// How many, 2 or more.
        in_a_row: u32,
    },
    /// Several connections in a row ended within a minute, and no attempt has shown why: the server or
    /// the network is unstable. v3 only.
    Unstable {
        /// How many, 3 or more.
        in_a_row: u32,
    },
    /// Several connections in a row ended within a minute: if the broker allows one client of this
    /// application at a time, another client may keep taking over. Only on V2, where an installation can
    /// use any broker, and on a [broker of one's own](crate::MqttClient::own_broker), where another client may use the
    /// client id of the [persistent session](crate::Session::persistent): a v3 server lets any number of clients live
    /// side by side.
    Contested {
        /// How many, 3 or more.
        in_a_row: u32,
    },
    /// The client itself ended the connection: nothing arrived from the server within
    /// [`keep_alive`](crate::MqttClientBuilder::keep_alive), and it did not answer a ping. A cable
    /// was pulled, a router dropped the connection, or the server hangs.
    Silent,
    /// The server sent a packet larger than
    /// [`max_packet_size`](crate::MqttClientBuilder::max_packet_size).
    PacketTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The server sent data that is not valid MQTT.
    Protocol,
    /// The client itself ended the connection: a handler failed, and with
    /// [`redeliver_failed`](crate::MqttClientBuilder::redeliver_failed) the broker has to deliver the uplink again.
    HandlerFailed,
}

impl fmt::Display for DisconnectCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("cause unknown"),
            Self::RateLimit => f.write_str(
                "it looks like the server's rate limit for downlinks, unless the server stopped at that moment",
            ),
            Self::Stopped => {
                f.write_str("the server stopped or restarted: it refused the next attempt")
            }
            Self::Unstable { in_a_row } => write!(
                f,
                "{in_a_row} connections in a row ended within a minute; the server or the network is unstable"
            ),
            Self::ClosedAtOnce { in_a_row } => write!(
                f,
                "the server accepted {in_a_row} connections in a row and closed each immediately; it may limit connections"
            ),
            Self::Silent => {
                f.write_str("the server is silent, so the client ended the connection")
            }
            Self::PacketTooLarge { bytes } => {
                write!(
                    f,
                    "the server sent a packet of {bytes} bytes, which is too large"
                )
            }
            Self::Protocol => f.write_str("the server sent data that is not valid MQTT"),
            Self::HandlerFailed => {
                f.write_str("a handler failed, and the broker has to deliver the uplink again")
            }
            Self::Contested { in_a_row } => write!(
                f,
                "{in_a_row} connections in a row ended within a minute; if the broker allows one client of this application at a time, another client may be taking over"
            ),
        }
    }
}

/// The content of [`Event::Closed`](crate::Event::Closed).
///
/// ```
/// fn report(closed: &ttn::Closed) -> String {
///     match &closed.error {
///         Some(error) => format!("gave up: {error}"),
///         None => "closed as asked".to_owned(),
///     }
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Closed {
    /// Why the client gave up; `None` if the program closed it.
    pub error: Option<Error>,
    /// How many times the client has closed or given up, including this time.
    #[serde(skip)]
    pub(crate) number: u64,
}
