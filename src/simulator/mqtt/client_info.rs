//! A connected client, as tests see it.

use std::time::Duration;

/// A connected client, with what its CONNECT contained.
///
/// ```
/// use std::time::Duration;
/// use ttn::Network;
/// use ttn::simulator::Simulator;
///
/// let network = Simulator::start(Network::V3)?;
/// for client in network.clients() {
///     println!("{} pings every {:?}", client.client_id, client.keep_alive);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// Client id; may be empty.
    pub client_id: String,
    /// User name: the application id, on hosted v3 networks including the tenant.
    pub username: String,
    /// Keep-alive interval; 0 means none.
    pub keep_alive: Duration,
    /// Clean-session flag. The networks ignore it.
    pub clean_session: bool,
    /// Whether the client set a will.
    pub will: bool,
    /// Protocol level: 3 for MQTT 3.1, 4 for MQTT 3.1.1.
    pub level: u8,
    /// Granted filters in the order of the requests, with a wildcard in place of the application id
    /// already replaced.
    pub subscriptions: Vec<String>,
}
