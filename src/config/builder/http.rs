//! The options of the network's HTTP API, and of what goes over it.

use super::MqttClientBuilder;
use crate::{
    config::{Backfill, Over},
    message::Watermark,
};

/// Over HTTP.
impl MqttClientBuilder {
    /// Sets the address of the network's HTTP API: `https://host[:port]` or `http://host[:port]`, on v3 only.
    /// Without a scheme it means `https://`. Like the MQTT server, it gets the access key, so `http://` is
    /// only possible if the [MQTT address](Self::mqtt_address) is plain too. It is usually the host of the
    /// Console. An installation with unchanged ports serves it on 8885, and without TLS on 1885.
    ///
    /// Defaults to the host of the [cluster](Self::cluster), or of the [discovery
    /// server](Self::discovery_address); for any other MQTT server the client does not know it.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app", "NNSXS.ID.SECRET")
    ///     .mqtt_address("mqtts://lorawan.example.org")
    ///     .http_address("https://lorawan.example.org")
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn http_address(mut self, address: impl Into<String>) -> Self {
        self.http_address = Some(address.into());
        self
    }

    /// Sets the address of the Identity Server, which knows keys and applications, if it is not the host of
    /// the [HTTP API](Self::http_address). v3 only.
    ///
    /// Defaults to the same host; on hosted networks to that of the cluster `eu1`, which has the only one.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app", "NNSXS.ID.SECRET")
    ///     .mqtt_address("mqtts://au.lorawan.example.org")
    ///     .http_address("https://au.lorawan.example.org")
    ///     .identity_server_address("https://eu.lorawan.example.org")
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn identity_server_address(mut self, address: impl Into<String>) -> Self {
        self.identity_server_address = Some(address.into());
        self
    }

    /// Sets whether the client asks the network's [HTTP API](Self::http_address) on its own, in the
    /// background: [what, and when](crate#asking-over-http). Defaults to `true`, which has an effect only where
    /// that address is known. [`queue`](crate::MqttClient::queue) and [`downlinks`](Self::downlinks) do not depend
    /// on it.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1").ask_over_http(false).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn ask_over_http(mut self, asks: bool) -> Self {
        self.asks_over_http = asks;
        self
    }

    /// Fetches the uplinks that the client has missed during outages, over the network's
    /// [HTTP API](Self::http_address), whose address must be known. v3 only. Defaults to no backfill.
    ///
    /// They arrive as all others do, and [`is_backfilled`](crate::UplinkMessage::is_backfilled) returns `true` for
    /// them. [`Event::Backfilled`](crate::Event::Backfilled) ends each backfill. [Fetching what was
    /// missed](crate#fetching-what-was-missed) tells which network keeps what, and what the key must allow.
    /// [`ask_over_http`](Self::ask_over_http) makes no difference.
    ///
    /// ```
    /// use ttn::{Backfill, MqttClient};
    ///
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1").backfill(Backfill::new()).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn backfill(mut self, backfill: Backfill) -> Self {
        self.backfill = Some(backfill);
        self
    }

    /// Makes the first connection fetch what was missed since an earlier run of the program: since a
    /// [`Watermark`], or since a time of the network's clock. Needs [`backfill`](Self::backfill). Defaults to nothing:
    /// the client has missed what it was not connected for only from its first connection on.
    ///
    /// A watermark also names what the earlier run has handled after it; those uplinks do not come again, be it over
    /// MQTT or fetched. A plain time names none. With
    /// [`Backfill::on_request`](crate::Backfill::on_request) this is all that it does: nothing is fetched unasked.
    /// What lies further back than [`Backfill::max_age`](crate::Backfill::max_age) is not fetched, and is reported.
    ///
    /// ```
    /// use ttn::{Backfill, MqttClient, Watermark};
    ///
    /// let stored = "1764223200325718204"; // from your database
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .cluster("eu1")
    ///     .backfill(Backfill::new())
    ///     .resume_from(stored.parse::<Watermark>()?)
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn resume_from(mut self, watermark: impl Into<Watermark>) -> Self {
        self.resume_from = Some(watermark.into());
        self
    }

    /// Sets the way of downlinks to the network: over the MQTT connection, or over HTTP, where the network
    /// answers each message at once. v3 only; the [HTTP API](Self::http_address) must be known. Defaults to
    /// [`Over::Mqtt`].
    ///
    /// | | `Over::Mqtt` | `Over::Http` |
    /// |---|---|---|
    /// | a mistake that the network finds | often drops the downlink silently | [`Failed`](crate::DeliveryState::Failed) with the network's own error: no such device, no session, too long, what a payload formatter says … |
    /// | success | [`Written`](crate::DeliveryState::Written), then `Queued` when the report arrives | `Queued` with the answer |
    /// | pace | as fast as the network reads | one request after the other, in the order of the calls: a round trip each, within 10 s |
    /// | the network's rate limit | closes the connection | is obeyed: downlinks wait |
    /// | the network cannot be reached | waits for the connection | is tried five times over 15 s |
    ///
    /// The client still connects over MQTT, by which uplinks and reports arrive, and sends only while it is
    /// connected. If an answer is lost, the network may have taken the downlink: the client does not repeat
    /// it, and its state is that of any downlink without a report. A refused downlink is also an
    /// [`Event::PublishFailed`](crate::Event::PublishFailed).
    ///
    /// ```
    /// use std::time::Duration;
    /// use ttn::{DeliveryState, Downlink, Over};
    /// # use ttn::{MqttClient, Network, simulator::Simulator};
    /// # let network = Simulator::start(Network::V3)?;
    ///
    /// let client = MqttClient::builder(network.app_id(), network.access_key())
    ///     .mqtt_address(network.mqtt_address())
    ///     .http_address(network.http_address())
    ///     .downlinks(Over::Http)
    ///     .build()?;
    /// client.connect()?;
    /// let delivery = client.send("no-such-device", Downlink::bytes([1]).port(2))?;
    /// let error = delivery.wait_for(DeliveryState::Queued, Duration::from_secs(10)).unwrap_err();
    /// assert!(error.to_string().contains("no-such-device"), "{error}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn downlinks(mut self, over: Over) -> Self {
        self.downlinks = over;
        self
    }
}
