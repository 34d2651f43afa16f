//! When a message is acknowledged to a broker.

/// When a client acknowledges a message at QoS 1 to a [broker of its own](crate::MqttClient::own_broker); set with
/// [`MqttClientBuilder::acknowledge`](crate::MqttClientBuilder::acknowledge).
///
/// # Handled
///
/// An uplink is handled when everyone who got it has handled it: the callbacks and each worker when they have returned,
/// even if they keep a clone; each [subscription](crate::MqttClient::events) when the program has dropped the event and
/// all its clones, or has called [`UplinkMessage::acknowledge`](crate::UplinkMessage::acknowledge). An uplink that a
/// queue full of other events has [dropped](crate::MqttClientBuilder::overflow) is handled there, and counted; one that
/// nobody subscribes to is handled at once. Any other message is handled when it is in the queues.
///
/// In both modes the client reads no further message while
/// [`receive_capacity`](crate::MqttClientBuilder::receive_capacity) messages are unhandled, or half as many as
/// [`event_capacity`](crate::MqttClientBuilder::event_capacity) if that is less. So neither a slow handler nor a
/// subscription that is not read loses an uplink; but a program that keeps that many events receives no more. When
/// messages wait and none is handled for 30 s, a warning in the log names the queues in which events wait.
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
    /// When the program has [handled](Self#handled) it. If the program is killed, the broker delivers it again to a
    /// [persistent session](crate::Session::persistent): nothing is lost, and what was being handled comes twice,
    /// marked [`is_redelivered`](crate::UplinkMessage::is_redelivered). [`close`](crate::MqttClient::close)
    /// leaves what waits in queues unacknowledged.
    ///
    /// With a clean session, a broker forgets what is not acknowledged when the connection ends, or gives it to
    /// another member of the [group](crate::MqttClientBuilder::shared_group) if it can.
    ///
    /// Acknowledgements go out in the order of arrival: a handler that takes long holds back those of later messages.
    /// A broker delivers a limited number of messages, reports on downlinks included, and then waits for
    /// acknowledgements (Mosquitto after 20). So do not wait for a [`Delivery`](crate::Delivery) in a handler; sending is
    /// fine. NATS delivers again what is not acknowledged within 30 s, even on a working connection; see [many
    /// machines](crate::scaling_out#many-machines-a-clustered-broker).
    Handled,
}
