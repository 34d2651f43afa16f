//! The options that the lifecycle needs.

use std::time::Duration;

use crate::config::{ConnectRetry, Options};

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) connect_timeout: Duration,
    pub(super) close_timeout: Duration,
    pub(super) connect_retry: ConnectRetry,
    pub(super) reconnect: bool,
    /// The number of subscriptions on each connection.
    pub(super) subscriptions: usize,
}

impl Settings {
    pub(super) fn new(options: &Options, subscriptions: usize) -> Self {
        Self {
            connect_timeout: options.connect_timeout,
            close_timeout: options.close_timeout,
            connect_retry: options.connect_retry,
            reconnect: options.reconnect,
            subscriptions,
        }
    }
}
