//! Reading what The Things Stack publishes: the envelope that all messages have, and the short ones.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use serde::{de, de::MapAccess};
use serde_json::{Map, Value};

use super::{
    super::{
        json::{
            Members, bytes, flag, ignore, keep, list_of, object, object_into, part, read_object,
            strings, text, texts, time,
        },
        split_topic,
    },
    V3,
    downlink::{Failed, invalidated, queue_invalidated},
};
use crate::{
    error::{Error, ErrorKind, Result},
    message::{
        Activation, DownlinkEvent, DownlinkStep, Event, LocationSolved, Malformed, Metadata,
        Priority, QueueInvalidated, RawMessage, ServiceData, UplinkMessage,
    },
};

/// What a message is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Uplink,
    UplinkNormalized,
    Join,
    Downlink(DownlinkStep),
    DownlinkFailed,
    QueueInvalidated,
    LocationSolved,
    ServiceData,
}

/// Every kind: the end of its topic, and the member of the JSON object that holds it.
const KINDS: [(Kind, &str, &str); 11] = [
    (Kind::Uplink, "up", "uplink_message"),
    (Kind::UplinkNormalized, "up/normalized", "uplink_normalized"),
    (Kind::Join, "join", "join_accept"),
    (
        Kind::Downlink(DownlinkStep::Queued),
        "down/queued",
        "downlink_queued",
    ),
    (
        Kind::Downlink(DownlinkStep::Sent),
        "down/sent",
        "downlink_sent",
    ),
    (
        Kind::Downlink(DownlinkStep::Acknowledged),
        "down/ack",
        "downlink_ack",
    ),
    (
        Kind::Downlink(DownlinkStep::NotAcknowledged),
        "down/nack",
        "downlink_nack",
    ),
    (Kind::DownlinkFailed, "down/failed", "downlink_failed"),
    (
        Kind::QueueInvalidated,
        "down/invalidated",
        "downlink_queue_invalidated",
    ),
    (Kind::LocationSolved, "location/solved", "location_solved"),
    (Kind::ServiceData, "service/data", "service_data"),
];

/// The most bytes that the ids of one message take when each of its downlinks has them. Queues of
/// 20 000 downlinks, the most there are, need a tenth.
const MAX_REPEATED: usize = 64 << 20;

/// Reads a message by its topic. One that cannot be read becomes [`Event::Malformed`].
pub(in crate::network) fn decode(raw: RawMessage) -> Event {
    let topic = raw.topic();
    let Some((app_id, dev_id, end)) = split(topic) else {
        return Event::Other(raw);
    };
    let Some((kind, _, member)) = KINDS.iter().find(|(_, topic, _)| *topic == end) else {
        return Event::Other(raw);
    };
    let mut envelope = Envelope::new(&raw, Some(*kind));
    let event = read_object(raw.payload(), &mut envelope).and_then(|()| {
        if envelope.body.is_none() {
            if !envelope.ids.dev_id.is_empty() {
                return Ok(Event::Other(raw.clone()));
            }
            return Err(de::Error::custom(format_args!("it has no {member}")));
        }
        envelope.ids.complete(app_id, dev_id);
        envelope.into_event()
    });
    event.unwrap_or_else(|cause| {
        Event::Malformed(Arc::new(Malformed {
            error: Error::with_source(
                ErrorKind::Decode,
                format!(
                    "cannot read the message on {}: {cause}",
                    topic.escape_debug()
                ),
                cause,
            ),
            is_uplink: *kind == Kind::Uplink,
            raw: raw.clone(),
        }))
    })
}

/// Application id without tenant, device id, and what follows.
fn split(topic: &str) -> Option<(&str, &str, &str)> {
    let (uid, dev_id, end) = split_topic(topic.strip_prefix("v3/")?)?;
    let app_id = super::split_uid(uid).0;
    (!app_id.is_empty()).then_some((app_id, dev_id, end))
}

/// Reads a message by its content.
pub(in crate::network) fn event_from_json(raw: RawMessage) -> Result<Event> {
    let unreadable = |cause: serde_json::Error| {
        Error::with_source(
            ErrorKind::Decode,
            format!("cannot read the message: {cause}"),
            cause,
        )
    };
    let mut envelope = Envelope::new(&raw, None);
    read_object(raw.payload(), &mut envelope).map_err(unreadable)?;
    for (member, id) in [
        ("device_id", &envelope.ids.dev_id),
        ("application_id", &envelope.ids.app_id),
    ] {
        if id.is_empty() {
            return Err(Error::new(
                ErrorKind::Decode,
                format!("cannot read the message: it has no {member}"),
            ));
        }
    }
    envelope.into_event().map_err(unreadable)
}

/// What all messages have in common, and in it the message itself.
struct Envelope<'a> {
    raw: &'a RawMessage,
    /// What it is to be about; the first known kind if nobody said.
    kind: Option<Kind>,
    ids: Ids,
    correlation_ids: Vec<String>,
    received_at: Option<SystemTime>,
    simulated: bool,
    body: Option<Body>,
    extra: Map<String, Value>,
}

/// The message in an envelope; what the envelope says is not in it yet.
enum Body {
    Uplink(Arc<UplinkMessage>),
    UplinkNormalized(Arc<UplinkMessage>),
    Join(Arc<Activation>),
    Downlink(Arc<DownlinkEvent>),
    QueueInvalidated(Arc<QueueInvalidated>),
    LocationSolved(Arc<LocationSolved>),
    ServiceData(Arc<ServiceData>),
}

impl<'a> Envelope<'a> {
    fn new(raw: &'a RawMessage, kind: Option<Kind>) -> Self {
        Self {
            raw,
            kind,
            ids: Ids::default(),
            correlation_ids: Vec::new(),
            received_at: None,
            simulated: false,
            body: None,
            extra: Map::new(),
        }
    }

    /// The kind that the member `name` holds, if it is the one to read.
    fn kind_of(&self, name: &str) -> Option<Kind> {
        let (kind, ..) = KINDS.iter().find(|(.., member)| *member == name)?;
        match self.kind {
            Some(wanted) => wanted == *kind,
            None => self.body.is_none(),
        }
        .then_some(*kind)
    }

    fn read_body<'de, A: MapAccess<'de>>(
        &self,
        kind: Kind,
        map: &mut A,
    ) -> Result<Option<Body>, A::Error> {
        let raw = self.raw;
        let downlink = |step| {
            let mut downlink = DownlinkEvent::new("", "", step, raw.clone());
            // 0 is left out.
            downlink.priority = Some(Priority::default());
            downlink.counter = matches!(
                step,
                DownlinkStep::Sent | DownlinkStep::Acknowledged | DownlinkStep::NotAcknowledged
            )
            .then_some(0);
            downlink
        };
        Ok(match kind {
            Kind::Uplink => {
                let mut uplink = UplinkMessage::new("", "", raw.clone());
                // 0 is left out.
                uplink.packet_error_rate = Some(0.0);
                shared(uplink, |uplink| object_into::<V3, _, _>(map, uplink))?.map(Body::Uplink)
            }
            Kind::UplinkNormalized => shared(UplinkMessage::new("", "", raw.clone()), |uplink| {
                object_into::<V3, _, _>(map, uplink)
            })?
            .map(Body::UplinkNormalized),
            Kind::Join => shared(activation(raw), |join| object_into(map, join))?.map(Body::Join),
            Kind::Downlink(step) => {
                shared(downlink(step), |downlink| object_into(map, downlink))?.map(Body::Downlink)
            }
            Kind::DownlinkFailed => shared(downlink(DownlinkStep::Failed), |failed| {
                object_into(map, &mut Failed(failed))
            })?
            .map(Body::Downlink),
            Kind::QueueInvalidated => shared(queue_invalidated(raw), |invalidated| {
                object_into(map, invalidated)
            })?
            .map(Body::QueueInvalidated),
            Kind::LocationSolved => {
                shared(location_solved(raw), |solved| object_into(map, solved))?
                    .map(Body::LocationSolved)
            }
            Kind::ServiceData => {
                shared(service_data(raw), |data| object_into(map, data))?.map(Body::ServiceData)
            }
        })
    }

    fn into_event(mut self) -> serde_json::Result<Event> {
        Ok(match self.body.take() {
            Some(Body::Uplink(uplink)) => Event::Uplink(self.complete_uplink(uplink)),
            Some(Body::UplinkNormalized(uplink)) => {
                Event::UplinkNormalized(self.complete_uplink(uplink))
            }
            Some(Body::Join(mut join)) => {
                let activation = Arc::make_mut(&mut join);
                self.complete_invalidated(&mut activation.invalidated_downlinks)?;
                activation.app_id = self.ids.app_id;
                activation.dev_id = self.ids.dev_id;
                activation.app_eui = self.ids.join_eui;
                activation.dev_eui = self.ids.dev_eui;
                activation.dev_addr = self.ids.dev_addr;
                activation.received_at = self.received_at;
                activation.correlation_ids = self.correlation_ids;
                activation.extra.append(&mut self.extra);
                Event::Activation(join)
            }
            Some(Body::Downlink(mut event)) => {
                let downlink = Arc::make_mut(&mut event);
                downlink.app_id = self.ids.app_id;
                downlink.dev_id = self.ids.dev_id;
                downlink.received_at = self.received_at;
                downlink.event_correlation_ids = self.correlation_ids;
                downlink.extra.append(&mut self.extra);
                Event::Downlink(event)
            }
            Some(Body::QueueInvalidated(mut event)) => {
                let invalidated = Arc::make_mut(&mut event);
                self.complete_invalidated(&mut invalidated.downlinks)?;
                invalidated.app_id = self.ids.app_id;
                invalidated.dev_id = self.ids.dev_id;
                invalidated.received_at = self.received_at;
                invalidated.correlation_ids = self.correlation_ids;
                invalidated.extra.append(&mut self.extra);
                Event::QueueInvalidated(event)
            }
            Some(Body::LocationSolved(mut event)) => {
                let solved = Arc::make_mut(&mut event);
                solved.app_id = self.ids.app_id;
                solved.dev_id = self.ids.dev_id;
                solved.received_at = self.received_at;
                solved.correlation_ids = self.correlation_ids;
                solved.extra.append(&mut self.extra);
                Event::LocationSolved(event)
            }
            Some(Body::ServiceData(mut event)) => {
                let data = Arc::make_mut(&mut event);
                data.app_id = self.ids.app_id;
                data.dev_id = self.ids.dev_id;
                data.received_at = self.received_at;
                data.correlation_ids = self.correlation_ids;
                data.extra.append(&mut self.extra);
                Event::ServiceData(event)
            }
            None => Event::Other(self.raw.clone()),
        })
    }

    /// Gives each downlink what the envelope says; an error if that were too much for a small
    /// message to become.
    fn complete_invalidated(&self, downlinks: &mut [DownlinkEvent]) -> serde_json::Result<()> {
        let texts = self
            .correlation_ids
            .iter()
            .chain([&self.ids.app_id, &self.ids.dev_id]);
        let size: usize = texts.map(|text| size_of::<String>() + text.len()).sum();
        if downlinks.len().saturating_mul(size) > MAX_REPEATED {
            return Err(de::Error::custom(format_args!(
                "its ids have {size} bytes, too many for {} downlinks",
                downlinks.len()
            )));
        }
        for downlink in downlinks {
            downlink.app_id.clone_from(&self.ids.app_id);
            downlink.dev_id.clone_from(&self.ids.dev_id);
            downlink.received_at = self.received_at;
            downlink
                .event_correlation_ids
                .clone_from(&self.correlation_ids);
            downlink.raw = self.raw.clone();
        }
        Ok(())
    }

    fn complete_uplink(mut self, mut message: Arc<UplinkMessage>) -> Arc<UplinkMessage> {
        let uplink = Arc::make_mut(&mut message);
        uplink.app_id = self.ids.app_id;
        uplink.dev_id = self.ids.dev_id;
        uplink.hardware_serial = self.ids.dev_eui;
        uplink.app_eui = self.ids.join_eui;
        uplink.dev_addr = self.ids.dev_addr;
        uplink.received_at = self.received_at;
        uplink.correlation_ids = self.correlation_ids;
        uplink.simulated = self.simulated;
        uplink.extra.append(&mut self.extra);
        message
    }
}

/// A message that is read where it stays; nothing if `read` finds none.
fn shared<T: Clone, E>(
    message: T,
    read: impl FnOnce(&mut T) -> Result<bool, E>,
) -> Result<Option<Arc<T>>, E> {
    let mut message = Arc::new(message);
    let found = read(Arc::make_mut(&mut message))?;
    Ok(found.then_some(message))
}

fn activation(raw: &RawMessage) -> Activation {
    Activation {
        app_id: String::new(),
        dev_id: String::new(),
        app_eui: String::new(),
        dev_eui: String::new(),
        dev_addr: String::new(),
        metadata: Metadata::default(),
        received_at: None,
        correlation_ids: Vec::new(),
        session_key_id: Vec::new(),
        pending_session: false,
        app_s_key: None,
        invalidated_downlinks: Vec::new(),
        extra: Map::new(),
        raw: raw.clone(),
    }
}

fn location_solved(raw: &RawMessage) -> LocationSolved {
    LocationSolved {
        app_id: String::new(),
        dev_id: String::new(),
        service: String::new(),
        location: None,
        attributes: BTreeMap::new(),
        received_at: None,
        correlation_ids: Vec::new(),
        extra: Map::new(),
        raw: raw.clone(),
    }
}

fn service_data(raw: &RawMessage) -> ServiceData {
    ServiceData {
        app_id: String::new(),
        dev_id: String::new(),
        service: String::new(),
        data: Value::Null,
        received_at: None,
        correlation_ids: Vec::new(),
        extra: Map::new(),
        raw: raw.clone(),
    }
}

impl<'de> Members<'de, V3> for Envelope<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "end_device_ids" => self.ids = object(map)?,
            "correlation_ids" => self.correlation_ids = strings(map)?,
            "received_at" => self.received_at = time(&mut self.extra, name, map)?,
            "simulated" => self.simulated = flag(map)?,
            // A line of the Storage Integration.
            "result" if self.kind.is_none() => {
                let mut inner = Self::new(self.raw, None);
                if object_into(map, &mut inner)? {
                    *self = inner;
                }
            }
            _ => match self.kind_of(name) {
                Some(kind) => self.body = self.read_body(kind, map)?,
                None => keep(&mut self.extra, name, map)?,
            },
        }
        Ok(())
    }
}

/// Who sent it.
#[derive(Default)]
struct Ids {
    app_id: String,
    dev_id: String,
    dev_eui: String,
    join_eui: String,
    dev_addr: String,
}

impl Ids {
    /// Takes ids that are missing from the topic.
    fn complete(&mut self, app_id: &str, dev_id: &str) {
        for (own, id) in [(&mut self.app_id, app_id), (&mut self.dev_id, dev_id)] {
            if own.is_empty() {
                id.clone_into(own);
            }
        }
    }
}

impl<'de> Members<'de, V3> for Ids {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "device_id" => self.dev_id = text(map)?,
            "application_ids" => {
                let ApplicationIds(app_id) = object(map)?;
                self.app_id = app_id;
            }
            "dev_eui" => self.dev_eui = text(map)?,
            "join_eui" => self.join_eui = text(map)?,
            "dev_addr" => self.dev_addr = text(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct ApplicationIds(String);

impl<'de> Members<'de, V3> for ApplicationIds {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "application_id" => self.0 = text(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de, V3> for Activation {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "session_key_id" => self.session_key_id = bytes(map)?,
            "received_at" => self.metadata.time = time(&mut self.extra, name, map)?,
            "pending_session" => self.pending_session = flag(map)?,
            "app_s_key" => self.app_s_key = part(map)?,
            "invalidated_downlinks" => self.invalidated_downlinks = list_of(map, invalidated)?,
            _ => keep(&mut self.extra, name, map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de, V3> for LocationSolved {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "service" => self.service = text(map)?,
            "location" => self.location = part(map)?,
            "attributes" => self.attributes = texts(map)?,
            _ => keep(&mut self.extra, name, map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de, V3> for ServiceData {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "service" => self.service = text(map)?,
            "data" => self.data = map.next_value()?,
            _ => keep(&mut self.extra, name, map)?,
        }
        Ok(())
    }
}
