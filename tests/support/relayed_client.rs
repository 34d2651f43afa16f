//! A client whose connection to the server can be disturbed.

use ttn::{Event, Events, MqttClient, MqttClientBuilder};

use super::{
    harness::{Harness, SOON},
    relay::Relay,
    resources::wait_until,
};

/// A client behind a [`Relay`], and everything that it reports.
pub struct RelayedClient {
    pub relay: Relay,
    pub client: MqttClient,
    pub events: Events,
}

impl RelayedClient {
    /// Connects a client of [`Harness::relay`] with more options, and reads the event about it.
    #[track_caller]
    pub fn connect(
        harness: &Harness,
        options: impl FnOnce(MqttClientBuilder) -> MqttClientBuilder,
    ) -> Self {
        let (relay, builder) = harness.relay();
        let client = options(builder).build().expect("the options are valid");
        let events = client.events();
        client.connect().expect("the server is there");
        let first = events.recv_timeout(SOON);
        assert!(matches!(first, Ok(Event::Connected(_))), "{first:?}");
        Self {
            relay,
            client,
            events,
        }
    }

    /// Cuts the connection, and keeps it cut until [`come_back`](Self::come_back).
    #[track_caller]
    pub fn leave(&self) {
        self.relay.refuse();
        self.relay.cut();
        assert!(wait_until(SOON, || !self.client.is_connected()));
    }

    /// Lets the client reconnect.
    #[track_caller]
    pub fn come_back(&self) {
        self.relay.listen().expect("the port is free");
        assert!(wait_until(SOON, || self.client.is_connected()));
    }
}
