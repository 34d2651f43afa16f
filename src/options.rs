//! What a client runs by: every option, checked.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    address::Address,
    certificates::Certificates,
    discovery::DiscoveryAddress,
    error::{Error, Result},
    events::Overflow,
    network::Network,
    pacer::Pace,
    proxy::WayOut,
};

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) network: Network,
    pub(crate) app_id: String,
    pub(crate) access_key: AccessKey,
    pub(crate) server: Server,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) way_out: WayOut,
    pub(crate) client_id_prefix: String,
    pub(crate) field_topics: bool,
    pub(crate) keep_alive: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) connect_retry: ConnectRetry,
    pub(crate) reconnect: bool,
    pub(crate) reconnect_delay: (Duration, Duration),
    /// After how long to try again when the key is refused: before a connection has worked, and
    /// after.
    pub(crate) refused_retry: (Option<Duration>, Option<Duration>),
    /// How many downlinks wait for a connection, and for how long.
    pub(crate) offline_queue: Option<(usize, Duration)>,
    pub(crate) pace: Option<Pace>,
    pub(crate) counter_watch: usize,
    /// How many downlinks to follow, and for how long.
    pub(crate) follow_downlinks: (usize, Duration),
    pub(crate) unconfirmed_after: Duration,
    pub(crate) event_capacity: usize,
    pub(crate) overflow: Overflow,
    pub(crate) receive_capacity: (usize, usize),
    pub(crate) max_packet_size: usize,
    pub(crate) send_capacity: usize,
}

/// How long `connect` goes on trying to make the first connection.
///
/// ```
/// use std::time::Duration;
/// use ttn::{ConnectRetry, MqttClient};
///
/// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
///     .cluster("eu1")
///     .connect_retry(ConnectRetry::For(Duration::from_secs(120)))
///     .build()?;
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectRetry {
    /// One attempt; its error is the answer. The default.
    #[default]
    Never,
    /// For so long; then the error of the last attempt is the answer.
    For(Duration),
    /// Until it succeeds or the client is closed.
    Forever,
}

/// How the MQTT server is found.
#[derive(Debug)]
pub(crate) enum Server {
    At(Address),
    AskedOf(DiscoveryAddress),
    /// Neither address was given.
    Unknown,
}

/// The secret. It prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AccessKey(String);

impl AccessKey {
    pub(crate) fn new(key: String) -> Self {
        Self(key)
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it can be a key of the application.
    pub(crate) fn check(&self, network: Network, app_id: &str) -> Result<()> {
        if self.0.is_empty() {
            return Err(Error::config(format!(
                "the access key of the application {app_id:?} is empty"
            )));
        }
        if self.0.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Error::config(format!(
                "the access key of the application {app_id:?} holds a space, a line end or another character that no key has"
            )));
        }
        network.check_access_key(&self.0)
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(…)")
    }
}
