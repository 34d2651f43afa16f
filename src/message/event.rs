//! Everything a client can report: messages from the network and events of the connection.

use std::sync::Arc;

use serde::Serialize;

use super::{
    Activation, ActivationFailed, Backfilled, Closed, ConnectFailed, Connected, CounterReport,
    DeviceBack, DeviceEvent, DeviceSilent, Disconnected, DownlinkEvent, Hold, KeyWarning,
    LocationSolved, MessageId, QueueInvalidated, RawMessage, Receipt, ServiceData, UplinkFailed,
    UplinkField, UplinkMessage, json,
};
use crate::error::{Error, ErrorKind};

/// An event that a client reports. Large payloads are reference-counted, so clones are cheap.
///
/// Later versions may add kinds; match with a `_` arm.
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
///
/// # As JSON
///
/// Events implement serde's `Serialize`, and so do the messages and reports in them. The JSON is not that
/// of a network, and the same for both: an event is an object whose member `event` is its kind. The other
/// members are the fields of its content, under the names that they have in this crate.
///
/// | `event` | members |
/// |---|---|
/// | `connected`, `connect_failed`, `disconnected`, `closed` | those of [`Connected`], [`ConnectFailed`], [`Disconnected`], [`Closed`] |
/// | `uplink`, `uplink_normalized` | those of [`UplinkMessage`] |
/// | `uplink_field`, `uplink_failed` | those of [`UplinkField`], [`UplinkFailed`] |
/// | `activation`, `activation_failed` | those of [`Activation`], [`ActivationFailed`] |
/// | `device`, `location_solved`, `service_data` | those of [`DeviceEvent`], [`LocationSolved`], [`ServiceData`] |
/// | `downlink`, `queue_invalidated` | those of [`DownlinkEvent`], [`QueueInvalidated`] |
/// | `other` | `topic`; `payload`; `text`, the payload as text, `null` if it is not UTF-8; `is_retained` |
/// | `malformed` | `raw`, an object with the members of `other`; `error` |
/// | `published`, `publish_failed` | [`message_id`](crate::Delivery::message_id); for `publish_failed` also `error` |
/// | `counter` | those of [`CounterReport`] |
/// | `device_silent`, `device_back` | those of [`DeviceSilent`], [`DeviceBack`] |
/// | `backfilled` | those of [`Backfilled`] |
/// | `key_warning` | those of [`KeyWarning`] |
/// | `lagged` | `dropped`, the number of events |
/// | `callback_failed` | those of [`CallbackFailed`] |
///
/// | what | form |
/// |---|---|
/// | a value that is not there | `null`, so that all events of a kind have the same members, like the columns of a table. Texts, lists and objects are empty instead |
/// | bytes | base64 text with padding |
/// | the payload of a device | `payload_raw` in base64, and the same as `payload_hex` in upper-case hex digits |
/// | the [data rate](super::Metadata::data_rate) of an uplink | in `metadata`: `data_rate`, and what it consists of as `spreading_factor` and `bandwidth` in Hz, both `null` unless it is LoRa |
/// | a time | text, RFC 3339 in UTC with nine digits: `2018-03-09T07:41:22.518304771Z`. Times sort like their texts. `null` outside of the years 0 to 9999 |
/// | a duration | a number of seconds, such as 0.051456 |
/// | an [`Error`](crate::Error) | an object: `kind` such as `connection_lost`, `message`, `is_transient` |
/// | a choice, such as [`DownlinkStep`](super::DownlinkStep) | the name of the variant in lower case, such as `not_acknowledged` |
/// | a [`DisconnectCause`](super::DisconnectCause) or [`CounterFinding`](super::CounterFinding) | an object: `kind`, and the fields of the variant |
/// | `NaN` or infinity | `null` |
/// | `extra` and decoded fields | as they are |
///
/// What the methods `is_simulated`, `is_retained` and, of uplinks, `is_backfilled` return is a member with
/// their name. The JSON has the
/// message as it arrived ([`raw`](UplinkMessage::raw)) only for `other` and `malformed`, and of a
/// [`KeyEnvelope`](super::KeyEnvelope) only its `kek_label`, not the keys. An `other` or `malformed`
/// message contains whatever the server sent, which can include keys.
///
/// Later versions may add kinds and members. They remove or rename none, and change no form.
///
/// **An event does not say when it happened**, unless it is a message that carries a time, as v3 messages do.
/// Add the time when you write it, as below. Python's `datetime.fromisoformat` (from 3.11 on) and SQLite's
/// `julianday` read the times of events.
///
/// **To find the reports about your own downlink**, also store what its [`Delivery`](crate::Delivery) has:
/// the [`message_id`](crate::Delivery::message_id), which `published` and `publish_failed` repeat, and on v3
/// the [`correlation_id`](crate::Delivery::correlation_id), which each `downlink` has in its
/// `correlation_ids`. V2 reports have no id: there, store the [states](crate::DeliveryState) of the
/// delivery, which serialize as well.
///
/// This writes one line of JSON for each event, with the time at which it is written:
///
/// ```
/// use std::{io::{self, Write}, time::{SystemTime, UNIX_EPOCH}};
/// use ttn::{Event, serde_json};
/// # use ttn::{MqttClient, Network, simulator::Simulator};
/// # let network = Simulator::start(Network::V3)?;
/// # let client = MqttClient::builder(network.app_id(), network.access_key())
/// #     .mqtt_address(network.mqtt_address())
/// #     .build()?;
///
/// #[derive(serde::Serialize)]
/// struct Line<'a> {
///     written_at: f64, // seconds since 1970
///     #[serde(flatten)]
///     event: &'a Event,
/// }
///
/// let events = client.events();
/// # client.connect()?;
/// # network.device("bed-07").uplink(2, [1]);
/// # let (mut uplinks, mut closed) = (0, 0);
/// for event in events.iter() {
///     let written_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
///     let line = serde_json::to_string(&Line { written_at, event: &event })?;
/// #   assert!(line.starts_with(r#"{"written_at":"#) && line.contains(r#","event":""#), "{line}");
///     writeln!(io::stdout(), "{line}")?;
/// #   match event {
/// #       Event::Uplink(_) => { uplinks += 1; client.close()? }
/// #       Event::Closed(_) => { closed += 1; break }
/// #       _ => {}
/// #   }
/// }
/// # assert_eq!((uplinks, closed), (1, 1));
///
/// let event = Event::decode(ttn::Network::V2, "greenhouse/devices/bed-07/up", r#"{"port":2,"payload_raw":"AWc="}"#)?;
/// let json = serde_json::to_value(&event)?;
/// assert_eq!((&json["event"], &json["dev_id"], &json["payload_hex"]), (&"uplink".into(), &"bed-07".into(), &"0167".into()));
/// assert!(json["received_at"].is_null());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The client is connected and subscribed: uplinks arrive from now on. A server may send some
    /// slightly earlier.
    Connected(Connected),
    /// An attempt to connect failed.
    ConnectFailed(ConnectFailed),
    /// The connection was lost.
    Disconnected(Disconnected),
    /// The client was closed and does nothing until [`connect`](crate::MqttClient::connect) is
    /// called again.
    Closed(Closed),

    /// A device sent something. V2 topic `{app}/devices/{dev}/up`, v3 topic
    /// `v3/{app}/devices/{dev}/up`.
    Uplink(Arc<UplinkMessage>),
    /// One measurement of an uplink with the network's standard names and units, in addition to the
    /// uplink itself: the only entry of
    /// [`normalized_payload`](UplinkMessage::normalized_payload). v3 topic
    /// `v3/{app}/devices/{dev}/up/normalized`.
    UplinkNormalized(Arc<UplinkMessage>),
    /// One field of an uplink on a topic of its own. V2 topic `{app}/devices/{dev}/up/{field}`.
    UplinkField(Arc<UplinkField>),
    /// The server could not process an uplink. V2 topic `{app}/devices/{dev}/events/up/errors`.
    UplinkFailed(Arc<UplinkFailed>),
    /// A device joined. V2 topic `{app}/devices/{dev}/events/activations`, v3 topic
    /// `v3/{app}/devices/{dev}/join`.
    Activation(Arc<Activation>),
    /// The network refused a join. V2 topic `{app}/devices/{dev}/events/activations/errors`.
    ActivationFailed(Arc<ActivationFailed>),
    /// A device was created, changed or deleted. V2 topics `{app}/devices/{dev}/events/create`,
    /// `update`, `delete`.
    Device(Arc<DeviceEvent>),
    /// The network reports a step of a downlink. V2 topics `{app}/devices/{dev}/events/down/…`, v3
    /// topics `v3/{app}/devices/{dev}/down/queued`, `sent`, `ack`, `nack` and `failed`.
    Downlink(Arc<DownlinkEvent>),
    /// The network discarded a device's queue. v3 topic `v3/{app}/devices/{dev}/down/invalidated`.
    QueueInvalidated(Arc<QueueInvalidated>),
    /// The network determined the location of a device. v3 topic `v3/{app}/devices/{dev}/location/solved`.
    LocationSolved(Arc<LocationSolved>),
    /// An application package sent data. v3 topic `v3/{app}/devices/{dev}/service/data`.
    ServiceData(Arc<ServiceData>),
    /// A message on a topic that this crate does not know or, if it came without a topic, of such a kind.
    Other(RawMessage),
    /// A message that could not be read, or without the content that its topic promises, with its bytes.
    Malformed(Arc<Malformed>),

    /// A downlink was handed to the connection, which writes it at once. If the connection breaks at
    /// that moment, the downlink may not have left this machine. Through a
    /// [broker of one's own](crate::MqttClient::own_broker), it comes when the broker has acknowledged the downlink, or the
    /// connection has ended before that. The downlink callback receives this id.
    #[serde(serialize_with = "json::message_id")]
    Published(MessageId),
    /// A downlink that `send` accepted could not be written.
    PublishFailed(PublishFailed),

    /// The frame counter of an uplink, which is the next event or follows a second report, is not the
    /// expected one: uplinks are missing, one of them has come after all, or the device restarted. See
    /// [`counter_watch`](crate::MqttClientBuilder::counter_watch).
    Counter(CounterReport),

    /// A device has not been heard for a multiple of its own usual interval. Reported once, on request; see
    /// [`silence_after`](crate::MqttClientBuilder::silence_after).
    DeviceSilent(DeviceSilent),
    /// A device that was silent is heard again: its uplink is one of the next events.
    DeviceBack(DeviceBack),

    /// A backfill has ended: what the client had missed came as [`Uplink`](Self::Uplink) events before this one, as
    /// far as the network keeps it. Reported after each backfill, also if it brought nothing: with the default
    /// [`passes`](crate::Backfill::passes), 5 minutes after the reconnect if the network has storage. If the connection
    /// is lost again before, one report is about both outages. See
    /// [`backfill`](crate::MqttClientBuilder::backfill).
    Backfilled(Arc<Backfilled>),

    /// The access key may not read traffic, or expires soon. Reported once for each key, within about a
    /// second of connecting, where the client can [ask over HTTP](crate#asking-over-http).
    KeyWarning(KeyWarning),

    /// This subscriber lost this number of events, because it or the whole program did not keep up.
    /// The count is exact.
    #[serde(serialize_with = "json::dropped")]
    Lagged(u64),
    /// A callback or a worker returned an error or panicked. Delivery continues.
    CallbackFailed(CallbackFailed),
}

/// The content of [`Event::Malformed`].
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
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Malformed {
    /// The message as it arrived.
    pub raw: RawMessage,
    /// Why it cannot be read.
    pub error: Error,
    #[serde(skip)]
    pub(crate) is_uplink: bool,
}

/// The content of [`Event::PublishFailed`].
///
/// ```
/// fn report(failed: &ttn::PublishFailed) -> String {
///     format!("downlink {} was not sent: {}", failed.message_id, failed.error)
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PublishFailed {
    /// The id of the downlink.
    pub message_id: MessageId,
    /// Why.
    pub error: Error,
}

/// The content of [`Event::CallbackFailed`].
///
/// ```
/// fn report(failed: &ttn::CallbackFailed) -> String {
///     format!("the {} callback failed: {}", failed.callback, failed.message)
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CallbackFailed {
    /// The event that the callback was set for: `uplink`, `connect`, `downlink`, `close`, `raw uplink`
    /// or `retry`; `worker` for the closure of a [worker](crate::MqttClient::set_uplink_workers).
    pub callback: &'static str,
    /// The error with its causes, or the message of the panic.
    pub message: String,
    /// Whether it panicked.
    pub panicked: bool,
    /// The worker whose closure it was, from 0; `None` for a callback.
    pub worker: Option<usize>,
}

impl Event {
    /// Returns whether the message was simulated in the console or by a tool, not caused by a device.
    /// v3 marks such messages, of any kind; on V2 they are the uplinks without any data about gateways
    /// and radio. Always `false` for events of the connection and messages that could not be read.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// let event = Event::decode(Network::V3, "v3/my-app@ttn/devices/dev-1/service/data",
    ///     r#"{"service_data":{"service":"mine"},"simulated":true}"#)?;
    /// assert!(event.is_simulated());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_simulated(&self) -> bool {
        match self {
            Self::Uplink(uplink) | Self::UplinkNormalized(uplink) => uplink.is_simulated(),
            Self::Activation(activation) => activation.is_simulated(),
            Self::Downlink(report) => report.is_simulated(),
            Self::QueueInvalidated(invalidated) => invalidated.is_simulated(),
            Self::LocationSolved(solved) => solved.is_simulated(),
            Self::ServiceData(data) => data.is_simulated(),
            _ => false,
        }
    }

    /// Returns whether the message is [retained](RawMessage::is_retained): the server kept it, and
    /// delivers it because the client subscribes. It can be of any age, and the client has possibly
    /// received it before. So it counts neither for frame counters ([`Event::Counter`](Self::Counter)) nor
    /// for [`Stats::fair_use`](crate::Stats::fair_use) and
    /// [`Stats::confirmed`](crate::Stats::confirmed), and changes no
    /// [`Delivery`](crate::Delivery). It counts in [`Stats::received`](crate::Stats::received) and
    /// [`Stats::decoded`](crate::Stats::decoded), and callbacks get it as any other. The first one is logged
    /// as a warning. Always `false` for events of
    /// the connection, and for messages that this crate decoded but did not receive.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// fn is_news(event: &Event) -> bool {
    ///     !event.is_retained()
    /// }
    ///
    /// assert!(is_news(&Event::decode(Network::V2, "my-app/devices/dev-1/up/temperature", "21.5")?));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_retained(&self) -> bool {
        self.raw().is_some_and(RawMessage::is_retained)
    }

    /// Notes in an uplink that it is to be acknowledged when it is handled.
    pub(crate) fn hold(&mut self, receipt: &Receipt) {
        if let Self::Uplink(uplink) | Self::UplinkNormalized(uplink) = self {
            let uplink = Arc::make_mut(uplink);
            uplink.redelivered = receipt.is_redelivered();
            uplink.hold = Hold::new(receipt.clone());
        }
    }

    /// Notes in a downlink request that it is to be acknowledged when all copies of it are dropped.
    pub(crate) fn hold_request(&mut self, receipt: &Receipt) {
        if let Self::Other(raw) = self {
            raw.hold = Hold::new(receipt.clone());
        }
    }

    /// Returns whether it is an uplink that is to be acknowledged.
    pub(crate) fn is_held(&self) -> bool {
        match self {
            Self::Uplink(uplink) | Self::UplinkNormalized(uplink) => uplink.hold.is_held(),
            _ => false,
        }
    }

    /// Returns the message as it arrived, if the event is one: topic and original bytes. `None` for events of the
    /// connection and of the client itself.
    ///
    /// ```
    /// # use ttn::{Event, Network};
    /// let event = Event::decode(Network::V2, "my-app/devices/dev-1/up/temperature", "21.5")?;
    /// let raw = event.raw().unwrap();
    /// assert_eq!((raw.topic(), raw.payload()), ("my-app/devices/dev-1/up/temperature", &b"21.5"[..]));
    /// assert!(Event::Lagged(2).raw().is_none());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn raw(&self) -> Option<&RawMessage> {
        Some(match self {
            Self::Uplink(uplink) | Self::UplinkNormalized(uplink) => &uplink.raw,
            Self::UplinkField(field) => &field.raw,
            Self::UplinkFailed(failed) => &failed.raw,
            Self::Activation(activation) => &activation.raw,
            Self::ActivationFailed(failed) => &failed.activation.raw,
            Self::Device(device) => &device.raw,
            Self::Downlink(report) => &report.raw,
            Self::QueueInvalidated(invalidated) => &invalidated.raw,
            Self::LocationSolved(solved) => &solved.raw,
            Self::ServiceData(data) => &data.raw,
            Self::Other(raw) => raw,
            Self::Malformed(malformed) => &malformed.raw,
            Self::Connected(_)
            | Self::ConnectFailed(_)
            | Self::Backfilled(_)
            | Self::KeyWarning(_)
            | Self::Disconnected(_)
            | Self::Closed(_)
            | Self::Published(_)
            | Self::PublishFailed(_)
            | Self::Counter(_)
            | Self::DeviceSilent(_)
            | Self::DeviceBack(_)
            | Self::Lagged(_)
            | Self::CallbackFailed(_) => return None,
        })
    }

    /// Returns whether the event is about the client itself; no queue may lose such events.
    pub(crate) fn is_lifecycle(&self) -> bool {
        matches!(
            self,
            Self::Connected(_)
                | Self::ConnectFailed(_)
                | Self::Disconnected(_)
                | Self::Closed(_)
                | Self::Backfilled(_)
                | Self::KeyWarning(_)
        )
    }
}

impl Malformed {
    /// Returns the event for a message whose topic is not valid text; `raw` has the readable part.
    pub(crate) fn of_topic(raw: RawMessage) -> Self {
        Self {
            error: Error::new(
                ErrorKind::Decode,
                format!(
                    "cannot read the topic of a message, {:?}: it is not UTF-8, or it contains NUL",
                    raw.topic()
                ),
            ),
            is_uplink: false,
            raw,
        }
    }
}
