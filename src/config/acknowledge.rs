//! When a message is acknowledged to a broker.

/// When a client acknowledges a message to a [broker of its own](crate::MqttClient::own_broker); set with
/// [`MqttClientBuilder::acknowledge`](crate::MqttClientBuilder::acknowledge).
///
/// ```
/// assert_eq!(ttn::Acknowledge::default(), ttn::Acknowledge::Received);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Acknowledge {
    /// When the client has it. If the program is killed, what waits in its queues is lost: at most
    /// [`receive_capacity`](crate::MqttClientBuilder::receive_capacity) messages and one. Beyond that many the
    /// client stops reading.
    #[default]
    Received,
    /// When the program has handled it: its uplink callbacks and workers have returned, and its subscriptions have
    /// dropped the event. If the program is killed, the broker delivers it again.
    Handled,
}
