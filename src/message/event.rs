//! Everything a client can report: messages from the network and news about the connection.

use std::sync::Arc;

use super::{
    Activation, ActivationFailed, Closed, ConnectFailed, Connected, CounterReport, DeviceEvent,
    Disconnected, DownlinkEvent, LocationSolved, MessageId, QueueInvalidated, RawMessage,
    ServiceData, UplinkFailed, UplinkField, UplinkMessage,
};
use crate::error::{Error, ErrorKind};

/// One piece of news from a client. What is large is shared, so that a clone is cheap.
///
/// New kinds may come; match with a `_` arm.
///
/// ```
/// use ttn::{Event, Network};
///
/// let event = Event::decode(Network::V3, "v3/my-app@ttn/devices/dev-1/up",
///     r#"{"uplink_message":{"f_port":1,"frm_payload":"AQ=="}}"#)?;
/// match event {
///     Event::Uplink(uplink) => assert_eq!(uplink.payload_raw, [1]),
///     Event::Malformed(malformed) => eprintln!("{}", malformed.error),
///     _ => {}
/// }
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Connected and subscribed: uplinks arrive from now on. A server may send some a moment before.
    Connected(Connected),
    /// An attempt to connect failed.
    ConnectFailed(ConnectFailed),
    /// The connection was lost without being asked to end.
    Disconnected(Disconnected),
    /// The client was closed and does nothing until [`connect`](crate::MqttClient::connect) is
    /// called again.
    Closed(Closed),

    /// A device sent something. V2 topic `{app}/devices/{dev}/up`, v3 topic
    /// `v3/{app}/devices/{dev}/up`.
    Uplink(Arc<UplinkMessage>),
    /// One measurement of an uplink in the network's own words and units, beside the uplink itself:
    /// the one entry of [`normalized_payload`](UplinkMessage::normalized_payload). v3 topic
    /// `v3/{app}/devices/{dev}/up/normalized`.
    UplinkNormalized(Arc<UplinkMessage>),
    /// One field of an uplink on a topic of its own. V2 topic `{app}/devices/{dev}/up/{field}`.
    UplinkField(Arc<UplinkField>),
    /// The server could not handle an uplink. V2 topic `{app}/devices/{dev}/events/up/errors`.
    UplinkFailed(Arc<UplinkFailed>),
    /// A device joined. V2 topic `{app}/devices/{dev}/events/activations`, v3 topic
    /// `v3/{app}/devices/{dev}/join`.
    Activation(Arc<Activation>),
    /// A device was refused. V2 topic `{app}/devices/{dev}/events/activations/errors`.
    ActivationFailed(Arc<ActivationFailed>),
    /// A device was created, changed or deleted. V2 topics `{app}/devices/{dev}/events/create`,
    /// `update`, `delete`.
    Device(Arc<DeviceEvent>),
    /// The network reports a step of a downlink. V2 topics `{app}/devices/{dev}/events/down/…`, v3
    /// topics `v3/{app}/devices/{dev}/down/queued`, `sent`, `ack`, `nack` and `failed`.
    Downlink(Arc<DownlinkEvent>),
    /// The network threw away a device's queue. v3 topic `v3/{app}/devices/{dev}/down/invalidated`.
    QueueInvalidated(Arc<QueueInvalidated>),
    /// The network knows where a device is. v3 topic `v3/{app}/devices/{dev}/location/solved`.
    LocationSolved(Arc<LocationSolved>),
    /// An application package says something. v3 topic `v3/{app}/devices/{dev}/service/data`.
    ServiceData(Arc<ServiceData>),
    /// A message on a topic, or of a kind, that this crate does not know.
    Other(RawMessage),
    /// A message that could not be read, with its bytes.
    Malformed(Arc<Malformed>),

    /// A downlink was handed to the connection, which writes it at once. If the connection breaks at
    /// that moment, it may not have left this machine. This is what the downlink callback hears.
    Published(MessageId),
    /// A downlink that `send` accepted could not be written.
    PublishFailed(PublishFailed),

    /// The frame counter of an uplink, the next event, is not the one that was due: uplinks are
    /// missing, or the device starts anew. What is watched:
    /// [`counter_watch`](crate::MqttClientBuilder::counter_watch).
    Counter(CounterReport),

    /// So many events were lost here because this subscriber, or the whole program, did not keep
    /// up. The count is exact.
    Lagged(u64),
    /// A callback returned an error or panicked. Delivery goes on.
    CallbackFailed(CallbackFailed),
}

/// With [`Event::Malformed`].
///
/// ```
/// use ttn::{Event, Network};
///
/// let event = Event::decode(Network::V2, "my-app/devices/dev-1/up", "no JSON").unwrap_err();
/// assert_eq!(event.kind(), ttn::ErrorKind::Decode);
/// # fn report(malformed: &ttn::Malformed) -> String {
/// format!("{} on {}: {} bytes", malformed.error, malformed.raw.topic(), malformed.raw.payload().len())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Malformed {
    /// The message as it came.
    pub raw: RawMessage,
    /// What is wrong with it.
    pub error: Error,
    pub(crate) is_uplink: bool,
}

/// With [`Event::PublishFailed`].
///
/// ```
/// fn report(failed: &ttn::PublishFailed) -> String {
///     format!("downlink {} was not sent: {}", failed.message_id, failed.error)
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PublishFailed {
    /// Which one.
    pub message_id: MessageId,
    /// Why.
    pub error: Error,
}

/// With [`Event::CallbackFailed`].
///
/// ```
/// fn report(failed: &ttn::CallbackFailed) -> String {
///     format!("the {} callback failed: {}", failed.callback, failed.message)
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallbackFailed {
    /// Which event the callback was set for: `uplink`, `connect`, `downlink`, `close`, `raw uplink`
    /// or `retry`.
    pub callback: &'static str,
    /// The error with its causes, or the words of the panic.
    pub message: String,
    /// Whether it panicked.
    pub panicked: bool,
}

impl Event {
    /// Whether it is news about the client itself, which no queue may lose.
    pub(crate) fn is_lifecycle(&self) -> bool {
        matches!(
            self,
            Self::Connected(_) | Self::ConnectFailed(_) | Self::Disconnected(_) | Self::Closed(_)
        )
    }
}

impl Malformed {
    /// A message whose topic is not text; here it is as far as it can be read.
    pub(crate) fn of_topic(raw: RawMessage) -> Self {
        Self {
            error: Error::new(
                ErrorKind::Decode,
                format!(
                    "cannot read the topic of a message, {:?}: it is not UTF-8, or it holds NUL",
                    raw.topic()
                ),
            ),
            is_uplink: false,
            raw,
        }
    }
}
