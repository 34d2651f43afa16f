//! The way of downlinks to the network.

/// The way that downlinks take to the network; set with
/// [`MqttClientBuilder::downlinks`](crate::MqttClientBuilder::downlinks).
///
/// ```
/// assert_eq!(ttn::Over::default(), ttn::Over::Mqtt);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Over {
    /// Over the MQTT connection, as fast as the network reads. The network silently drops some downlinks
    /// that it cannot use.
    #[default]
    Mqtt,
    /// One HTTP request after the other, each with an answer: queued, or why not. v3 only.
    Http,
}
