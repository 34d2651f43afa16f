//! What a client runs by: every option, checked.

use std::{fmt, time::Duration};

use crate::{
    address::Address, certificates::Certificates, discovery::DiscoveryAddress, events::Overflow,
    network::Network,
};

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) network: Network,
    pub(crate) app_id: String,
    pub(crate) access_key: AccessKey,
    pub(crate) server: Server,
    pub(crate) certificates: Certificates,
    pub(crate) client_id_prefix: String,
    pub(crate) field_topics: bool,
    pub(crate) keep_alive: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) reconnect: bool,
    pub(crate) reconnect_delay: (Duration, Duration),
    pub(crate) event_capacity: usize,
    pub(crate) overflow: Overflow,
    pub(crate) receive_capacity: (usize, usize),
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
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(…)")
    }
}
