//! What a client runs by: every option, checked.

use std::{sync::Arc, time::Duration};

use super::{
    AccessKey, Address, Certificates, ConnectRetry, DiscoveryAddress, Overflow, Pace, WayOut,
};
use crate::network::Network;

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

/// How the MQTT server is found.
#[derive(Debug)]
pub(crate) enum Server {
    At(Address),
    AskedOf(DiscoveryAddress),
    /// Neither address was given.
    Unknown,
}
