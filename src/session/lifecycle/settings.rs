//! The options that the lifecycle needs.

use std::time::Duration;

use crate::config::{Broker, ConnectRetry, MAX_CLOSE_TIME, MIN_CLOSE_TIME, Options};

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) connect_timeout: Duration,
    close_timeout: Option<Duration>,
    /// How long a server of this network may take to process a message with downlinks.
    time_per_message: Duration,
    pub(super) connect_retry: ConnectRetry,
    pub(super) reconnect: bool,
    /// The client id of a persistent session.
    pub(super) client_id: Option<String>,
    /// How many servers there are to choose from.
    pub(super) servers: usize,
    /// Whether the broker must prove that it shares.
    pub(super) proves_sharing: bool,
}

impl Settings {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            connect_timeout: options.connect_timeout,
            close_timeout: options.close_timeout,
            connect_retry: options.connect_retry,
            reconnect: options.reconnect,
            client_id: options
                .broker
                .as_ref()
                .and_then(|broker| broker.session.client_id())
                .map(str::to_owned),
            servers: options
                .broker
                .as_ref()
                .map_or(1, |broker| broker.addresses.len()),
            proves_sharing: options
                .broker
                .as_ref()
                .is_some_and(Broker::must_prove_sharing),
            time_per_message: options.network.time_per_message(),
        }
    }

    /// Returns how long closing may take if the server has to process this many messages.
    pub(super) fn close_time(&self, messages: usize) -> Duration {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        self.close_timeout.unwrap_or_else(|| {
            let work = self.time_per_message.saturating_mul(messages);
            MAX_CLOSE_TIME.min(MIN_CLOSE_TIME.saturating_add(work))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MqttClientBuilder, network::Network};

    fn settings(network: Network, change: fn(MqttClientBuilder) -> MqttClientBuilder) -> Settings {
        let key = match network {
            Network::V2 => "ttn-account-v2.key",
            Network::V3 => "NNSXS.ID.SECRET",
        };
        let builder = crate::MqttClient::builder("my-app", key).network(network);
        Settings::new(
            &change(builder.mqtt_address("localhost:1883"))
                .check()
                .unwrap(),
        )
    }

    #[test]
    fn the_time_to_close_grows_with_what_is_open() {
        let seconds = Duration::from_secs;
        let v3 = settings(Network::V3, |builder| builder);
        let v2 = settings(Network::V2, |builder| builder);
        for (settings, messages, expected) in [
            (&v3, 0, seconds(5)),
            (&v3, 900, seconds(14)),
            (&v3, usize::MAX, seconds(30)),
            (&v2, 0, seconds(5)),
            (&v2, 30, seconds(8)),
            (&v2, 1000, seconds(30)),
        ] {
            assert_eq!(settings.close_time(messages), expected, "{messages}");
        }
    }

    #[test]
    fn a_time_to_close_that_was_set_stays() {
        let settings = settings(Network::V3, |builder| {
            builder.close_timeout(Duration::from_secs(1))
        });
        assert_eq!(settings.close_time(100_000), Duration::from_secs(1));
    }
}
