//! Reading what The Things Stack publishes: the envelope of all messages, and the short messages.

use std::{collections::BTreeMap, mem, sync::Arc, time::SystemTime};

use serde::{de, de::MapAccess};
use serde_json::{Map, Value};

use super::{
    super::{
        Decoded,
        json::{Member, Members, read_object},
        split_topic,
    },
    V3,
    downlink::{Failed, invalidated, queue_invalidated},
    parts::{LocationMembers, app_s_key},
    split_uid,
    uplink::{Uplink, fill_in_zeros},
};
use crate::{
    error::{Error, ErrorKind, Result},
    message::{
        Activation, DownlinkEvent, DownlinkStep, Event, LocationSolved, Malformed, Priority,
        QueueInvalidated, RawMessage, ServiceData, Spare, UplinkMessage,
    },
};

/// The kinds of messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Uplink,
    UplinkNormalized,
    Join,
    Downlink(DownlinkStep),
    DownlinkFailed,
    QueueInvalidated,
    LocationSolved,
    ServiceData,
}

impl Kind {
    /// Returns whether a device has sent it, as opposed to reports on downlinks.
    fn is_from_device(self) -> bool {
        match self {
            Self::Uplink
            | Self::UplinkNormalized
            | Self::Join
            | Self::LocationSolved
            | Self::ServiceData => true,
            Self::Downlink(_) | Self::DownlinkFailed | Self::QueueInvalidated => false,
        }
    }
}

/// The end of the topic of uplinks.
const UPLINK: &str = "up";

/// Every kind, with the end of its topic and the member of the JSON object that holds it.
const KINDS: [(Kind, &str, &str); 11] = [
    (Kind::Uplink, UPLINK, "uplink_message"),
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

/// The most bytes that the ids of one message may take once each of its downlinks has a copy. The
/// largest queues, 20 000 downlinks, need a tenth of it.
const MAX_REPEATED: usize = 64 << 20;

/// Reads a message by its topic. One that cannot be read becomes [`Event::Malformed`].
/// `topic` is the one that the network has given the message. An uplink takes the `spare` memory.
pub(in crate::network) fn decode(topic: &str, raw: &RawMessage, spare: Spare) -> Decoded {
    let Some((app_id, dev_id, end)) = split(topic) else {
        return Event::Other(raw.clone()).into();
    };
    let Some((kind, _, member)) = KINDS.iter().find(|(_, topic, _)| *topic == end) else {
        return Event::Other(raw.clone()).into();
    };
    let mut envelope = Envelope::new(raw, Some(*kind), spare);
    let decoded = read_object(raw.payload(), &mut envelope).and_then(|odd| {
        if envelope.body.is_none() {
            return Err(de::Error::custom(format_args!("{member} is missing")));
        }
        envelope.ids.complete(app_id, dev_id);
        let event = envelope.into_event()?;
        Ok(Decoded { event, odd })
    });
    decoded.unwrap_or_else(|cause| malformed(raw, *kind == Kind::Uplink, cause))
}

pub(super) fn malformed(raw: &RawMessage, is_uplink: bool, cause: serde_json::Error) -> Decoded {
    let error = Error::with_source(
        ErrorKind::Decode,
        format!(
            "cannot read the message on {}: {cause}",
            raw.topic().escape_debug()
        ),
        cause,
    );
    let malformed = Malformed {
        error,
        is_uplink,
        raw: raw.clone(),
    };
    Event::Malformed(Arc::new(malformed)).into()
}

/// Returns the topic filters of what devices send.
pub(in crate::network) fn device_filters(app_id: &str) -> Vec<String> {
    filters(app_id, true)
}

/// Returns the topic filters of reports on downlinks.
pub(in crate::network) fn report_filters(app_id: &str) -> Vec<String> {
    filters(app_id, false)
}

fn filters(app_id: &str, from_device: bool) -> Vec<String> {
    KINDS
        .iter()
        .filter(|(kind, ..)| kind.is_from_device() == from_device)
        .map(|(_, end, _)| format!("v3/{app_id}/devices/+/{end}"))
        .collect()
}

/// Returns the device that has sent what this topic carries.
pub(in crate::network) fn sender(topic: &str) -> Option<&str> {
    let (_, dev_id, end) = split(topic)?;
    let (kind, ..) = KINDS.iter().find(|(_, topic, _)| *topic == end)?;
    kind.is_from_device().then_some(dev_id)
}

pub(in crate::network) fn is_uplink_topic(topic: &str) -> bool {
    split(topic).is_some_and(|(_, _, end)| end == UPLINK)
}

/// Splits a topic into application id without tenant, device id, and the rest.
fn split(topic: &str) -> Option<(&str, &str, &str)> {
    let (uid, dev_id, end) = split_topic(topic.strip_prefix("v3/")?)?;
    let app_id = split_uid(uid).0;
    (!app_id.is_empty()).then_some((app_id, dev_id, end))
}

/// What all messages have in common, and the message inside.
pub(super) struct Envelope<'a> {
    pub(super) raw: &'a RawMessage,
    /// The kind to read; `None` for the first known kind.
    kind: Option<Kind>,
    pub(super) ids: Ids,
    correlation_ids: Vec<String>,
    received_at: Option<SystemTime>,
    simulated: bool,
    /// The message itself, without what the envelope says.
    body: Option<Event>,
    /// The member that holds it.
    body_member: &'static str,
    extra: Map<String, Value>,
    /// The memory for an uplink.
    spare: Spare,
}

impl<'a> Envelope<'a> {
    pub(super) fn new(raw: &'a RawMessage, kind: Option<Kind>, mut spare: Spare) -> Self {
        Self {
            raw,
            kind,
            ids: spare.uplink_mut().map(Ids::of).unwrap_or_default(),
            correlation_ids: Vec::new(),
            received_at: None,
            simulated: false,
            body: None,
            body_member: "",
            extra: Map::new(),
            spare,
        }
    }

    /// Returns the name of the event, if this is one of the events stream, which has the message as its
    /// `data`.
    pub(super) fn stream_event(&self) -> Option<&str> {
        let is_event = self.body.is_none()
            && ["data", "identifiers", "unique_id"]
                .iter()
                .any(|member| self.extra.contains_key(*member));
        self.extra.get("name")?.as_str().filter(|_| is_event)
    }

    /// Returns the kind that the member `name` holds, if it is the one to read.
    fn kind_of(&self, name: &str) -> Option<(Kind, &'static str)> {
        let (kind, _, member) = KINDS.iter().find(|(.., member)| *member == name)?;
        match self.kind {
            Some(wanted) => wanted == *kind,
            None => self.body.is_none(),
        }
        .then_some((*kind, *member))
    }

    /// Returns whether it holds an uplink; `None` if it holds no message of a known kind.
    pub(super) fn is_uplink(&self) -> Option<bool> {
        let mut kinds = KINDS.iter();
        let (kind, ..) = kinds.find(|(.., member)| *member == self.body_member)?;
        Some(*kind == Kind::Uplink)
    }

    /// Returns the topic of the message in an application, if this is one that it has sent.
    pub(super) fn topic(&self, uid: &str) -> Option<String> {
        let (.., end, _) = KINDS
            .iter()
            .find(|(.., member)| *member == self.body_member)?;
        let is_own = !uid.is_empty() && split_uid(uid).0 == self.ids.app_id;
        let is_level = !self.ids.dev_id.contains(['/', '+', '#', '\0']);
        (is_own && is_level).then(|| format!("v3/{uid}/devices/{}/{end}", self.ids.dev_id))
    }

    fn read_body<'de, A: MapAccess<'de>>(
        &mut self,
        kind: Kind,
        member: &mut Member<'_, A>,
    ) -> Result<Option<Event>, A::Error> {
        let raw = self.raw;
        let downlink = |step| {
            let mut downlink = DownlinkEvent::new("", "", step, raw.clone());
            // Servers leave out 0.
            downlink.priority = Some(Priority::default());
            downlink.counter = matches!(
                step,
                DownlinkStep::Sent | DownlinkStep::Acknowledged | DownlinkStep::NotAcknowledged
            )
            .then_some(0);
            downlink
        };
        Ok(match kind {
            Kind::Uplink => read_uplink(raw, &mut self.spare, member)?.map(Event::Uplink),
            Kind::UplinkNormalized => {
                read_uplink(raw, &mut self.spare, member)?.map(Event::UplinkNormalized)
            }
            Kind::Join => shared(Arc::new(Activation::new("", "", raw.clone())), |join| {
                member.essential_object_into::<V3, _>(join)
            })?
            .map(Event::Activation),
            Kind::Downlink(step) => shared(Arc::new(downlink(step)), |downlink| {
                member.essential_object_into::<V3, _>(downlink)
            })?
            .map(Event::Downlink),
            Kind::DownlinkFailed => shared(Arc::new(downlink(DownlinkStep::Failed)), |failed| {
                member.essential_object_into::<V3, _>(&mut Failed(failed))
            })?
            .map(Event::Downlink),
            Kind::QueueInvalidated => shared(Arc::new(queue_invalidated(raw)), |invalidated| {
                member.essential_object_into::<V3, _>(invalidated)
            })?
            .map(Event::QueueInvalidated),
            Kind::LocationSolved => shared(Arc::new(location_solved(raw)), |solved| {
                member.essential_object_into::<V3, _>(solved)
            })?
            .map(Event::LocationSolved),
            Kind::ServiceData => shared(Arc::new(service_data(raw)), |data| {
                member.essential_object_into::<V3, _>(data)
            })?
            .map(Event::ServiceData),
        })
    }

    /// Completes the message with what its envelope says.
    pub(super) fn into_event(mut self) -> serde_json::Result<Event> {
        let Some(mut event) = self.body.take() else {
            return Ok(Event::Other(self.raw.clone()));
        };
        match &mut event {
            Event::Uplink(uplink) => {
                let uplink = Arc::make_mut(uplink);
                fill_in_zeros(uplink, !self.may_be_masked(uplink));
                self.complete(uplink);
            }
            Event::UplinkNormalized(uplink) => self.complete(Arc::make_mut(uplink)),
            Event::Activation(activation) => {
                let activation = Arc::make_mut(activation);
                self.complete_invalidated(&mut activation.invalidated_downlinks)?;
                self.complete(activation);
            }
            Event::QueueInvalidated(invalidated) => {
                let invalidated = Arc::make_mut(invalidated);
                self.complete_invalidated(&mut invalidated.downlinks)?;
                self.complete(invalidated);
            }
            Event::Downlink(downlink) => self.complete(Arc::make_mut(downlink)),
            Event::LocationSolved(solved) => self.complete(Arc::make_mut(solved)),
            Event::ServiceData(data) => self.complete(Arc::make_mut(data)),
            _ => {}
        }
        Ok(event)
    }

    /// Returns whether the field mask of a webhook may have removed members: some that servers always
    /// send are missing.
    fn may_be_masked(&self, uplink: &UplinkMessage) -> bool {
        let is_whole = uplink.metadata.time.is_some() && !uplink.metadata.modulation.is_empty();
        self.kind.is_none() && !is_whole
    }

    fn complete<M: Enclosed>(mut self, message: &mut M) {
        let header = message.header();
        if header.raw.topic().is_empty() {
            header.raw.clone_from(self.raw);
        }
        *header.app_id = self.ids.app_id;
        *header.dev_id = self.ids.dev_id;
        *header.app_eui = self.ids.join_eui;
        *header.dev_eui = self.ids.dev_eui;
        *header.dev_addr = self.ids.dev_addr;
        *header.simulated = self.simulated;
        *header.received_at = self.received_at;
        *header.correlation_ids = self.correlation_ids;
        let extra = mem::take(&mut self.extra);
        add_to(header.extra, extra, self.body_member);
    }

    /// Completes the downlinks of a list, unless the copies would make a small message too large.
    fn complete_invalidated(&self, downlinks: &mut [DownlinkEvent]) -> serde_json::Result<()> {
        let Ids {
            app_id,
            dev_id,
            dev_eui,
            join_eui,
            dev_addr,
        } = &self.ids;
        let texts = self
            .correlation_ids
            .iter()
            .chain([app_id, dev_id, dev_eui, join_eui, dev_addr]);
        let size: usize = texts.map(|text| size_of::<String>() + text.len()).sum();
        if downlinks.len().saturating_mul(size) > MAX_REPEATED {
            return Err(de::Error::custom(format_args!(
                "its ids have {size} bytes, which is too much for {} downlinks",
                downlinks.len()
            )));
        }
        for downlink in downlinks {
            let header = downlink.header();
            header.app_id.clone_from(app_id);
            header.dev_id.clone_from(dev_id);
            header.app_eui.clone_from(join_eui);
            header.dev_eui.clone_from(dev_eui);
            header.dev_addr.clone_from(dev_addr);
            *header.simulated = self.simulated;
            *header.received_at = self.received_at;
            header.correlation_ids.clone_from(&self.correlation_ids);
            downlink.raw = self.raw.clone();
        }
        Ok(())
    }
}

/// Adds what is left of the envelope. A member of the message that has the same name is then one of its
/// `body_member`, as it was on the wire.
fn add_to(own: &mut Map<String, Value>, extra: Map<String, Value>, body_member: &str) {
    let mut inner = Map::new();
    for (name, value) in extra {
        if let Some(member) = own.insert(name.clone(), value) {
            inner.insert(name, member);
        }
    }
    if !inner.is_empty() {
        own.insert(body_member.to_owned(), inner.into());
    }
}

/// What every message takes from its envelope.
struct Header<'a> {
    app_id: &'a mut String,
    dev_id: &'a mut String,
    app_eui: &'a mut String,
    dev_eui: &'a mut String,
    dev_addr: &'a mut String,
    simulated: &'a mut bool,
    received_at: &'a mut Option<SystemTime>,
    correlation_ids: &'a mut Vec<String>,
    extra: &'a mut Map<String, Value>,
    raw: &'a mut RawMessage,
}

/// A message that comes in an envelope.
trait Enclosed {
    fn header(&mut self) -> Header<'_>;
}

/// The messages are public types with the same fields, so the fields cannot move to a shared type.
macro_rules! enclosed {
    ($($message:ident: $dev_eui:ident, $correlation_ids:ident;)*) => {$(
        impl Enclosed for $message {
            fn header(&mut self) -> Header<'_> {
                Header {
                    app_id: &mut self.app_id,
                    dev_id: &mut self.dev_id,
                    app_eui: &mut self.app_eui,
                    dev_eui: &mut self.$dev_eui,
                    dev_addr: &mut self.dev_addr,
                    simulated: &mut self.simulated,
                    received_at: &mut self.received_at,
                    correlation_ids: &mut self.$correlation_ids,
                    extra: &mut self.extra,
                    raw: &mut self.raw,
                }
            }
        }
    )*};
}

enclosed! {
    UplinkMessage: hardware_serial, correlation_ids;
    Activation: dev_eui, correlation_ids;
    DownlinkEvent: dev_eui, event_correlation_ids;
    QueueInvalidated: dev_eui, correlation_ids;
    LocationSolved: dev_eui, correlation_ids;
    ServiceData: dev_eui, correlation_ids;
}

/// Reads a message in the place where it will stay. Returns `None` if `read` finds nothing.
fn shared<T: Clone, E>(
    mut message: Arc<T>,
    read: impl FnOnce(&mut T) -> Result<bool, E>,
) -> Result<Option<Arc<T>>, E> {
    let found = read(Arc::make_mut(&mut message))?;
    Ok(found.then_some(message))
}

fn read_uplink<'de, A: MapAccess<'de>>(
    raw: &RawMessage,
    spare: &mut Spare,
    member: &mut Member<'_, A>,
) -> Result<Option<Arc<UplinkMessage>>, A::Error> {
    shared(spare.uplink(raw), |uplink| {
        member.essential_object_into::<V3, _>(&mut Uplink { uplink, spare })
    })
}

fn location_solved(raw: &RawMessage) -> LocationSolved {
    LocationSolved {
        app_id: String::new(),
        dev_id: String::new(),
        app_eui: String::new(),
        dev_eui: String::new(),
        dev_addr: String::new(),
        service: String::new(),
        location: None,
        attributes: BTreeMap::new(),
        received_at: None,
        correlation_ids: Vec::new(),
        extra: Map::new(),
        simulated: false,
        raw: raw.clone(),
    }
}

fn service_data(raw: &RawMessage) -> ServiceData {
    ServiceData {
        app_id: String::new(),
        dev_id: String::new(),
        app_eui: String::new(),
        dev_eui: String::new(),
        dev_addr: String::new(),
        service: String::new(),
        data: Value::Null,
        received_at: None,
        correlation_ids: Vec::new(),
        extra: Map::new(),
        simulated: false,
        raw: raw.clone(),
    }
}

impl<'de> Members<'de, V3> for Envelope<'_> {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "end_device_ids" => {
                self.ids.clear();
                member.essential_object_into(&mut self.ids)?;
            }
            "correlation_ids" => {
                let list = mem::take(&mut self.spare.correlation_ids);
                self.correlation_ids = member.strings_in(list)?;
            }
            "received_at" => self.received_at = member.time()?,
            "simulated" => self.simulated = member.flag()?,
            // The Storage Integration wraps each message in an object.
            "result" if self.kind.is_none() => {
                let mut inner = Self::new(self.raw, None, Spare::default());
                if member.essential_object_into(&mut inner)? {
                    let outer = mem::replace(self, inner);
                    for (name, value) in outer.extra {
                        self.extra.entry(name).or_insert(value);
                    }
                }
            }
            name => match self.kind_of(name) {
                Some((kind, name)) => {
                    self.body_member = name;
                    self.body = self.read_body(kind, member)?;
                }
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.extra)
    }
}

/// The sender.
#[derive(Default)]
pub(super) struct Ids {
    pub(super) app_id: String,
    pub(super) dev_id: String,
    dev_eui: String,
    join_eui: String,
    dev_addr: String,
}

impl Ids {
    /// Takes the ids of an uplink.
    fn of(uplink: &mut UplinkMessage) -> Self {
        Self {
            app_id: mem::take(&mut uplink.app_id),
            dev_id: mem::take(&mut uplink.dev_id),
            dev_eui: mem::take(&mut uplink.hardware_serial),
            join_eui: mem::take(&mut uplink.app_eui),
            dev_addr: mem::take(&mut uplink.dev_addr),
        }
    }

    fn clear(&mut self) {
        let Self {
            app_id,
            dev_id,
            dev_eui,
            join_eui,
            dev_addr,
        } = self;
        [app_id, dev_id, dev_eui, join_eui, dev_addr]
            .into_iter()
            .for_each(String::clear);
    }

    /// Checks that the application and the device are known without a topic.
    pub(super) fn check(&self) -> serde_json::Result<()> {
        for (member, id) in [
            ("application_id", &self.app_id),
            ("device_id", &self.dev_id),
        ] {
            if id.is_empty() {
                return Err(de::Error::custom(format_args!("{member} is missing")));
            }
        }
        Ok(())
    }

    /// Takes missing ids from the topic.
    pub(super) fn complete(&mut self, app_id: &str, dev_id: &str) {
        for (own, id) in [(&mut self.app_id, app_id), (&mut self.dev_id, dev_id)] {
            if own.is_empty() {
                id.clone_into(own);
            }
        }
    }
}

impl<'de> Members<'de, V3> for Ids {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "device_id" => member.essential_text_into(&mut self.dev_id)?,
            "application_ids" => {
                self.app_id.clear();
                member.essential_object_into(&mut ApplicationIds(&mut self.app_id))?;
            }
            "dev_eui" => member.hex_into::<16>(&mut self.dev_eui)?,
            "join_eui" => member.hex_into::<16>(&mut self.join_eui)?,
            "dev_addr" => member.hex_into::<8>(&mut self.dev_addr)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

struct ApplicationIds<'a>(&'a mut String);

impl<'de> Members<'de, V3> for ApplicationIds<'_> {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "application_id" => member.essential_text_into(self.0)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'de> Members<'de, V3> for Activation {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "session_key_id" => self.session_key_id = member.bytes()?,
            "received_at" => self.metadata.time = member.time()?,
            "pending_session" => self.pending_session = member.flag()?,
            "app_s_key" => self.app_s_key = app_s_key(member)?,
            "invalidated_downlinks" => {
                self.invalidated_downlinks = member.list_of_wholes::<V3, _>(invalidated)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, name: &str) -> Option<&mut Map<String, Value>> {
        Some(match name {
            "received_at" => &mut self.metadata.extra,
            _ => &mut self.extra,
        })
    }
}

impl<'de> Members<'de, V3> for LocationSolved {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "service" => self.service = member.text()?,
            "location" => self.location = LocationMembers::read(member)?,
            "attributes" => self.attributes = member.texts()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.extra)
    }
}

impl<'de> Members<'de, V3> for ServiceData {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "service" => self.service = member.text()?,
            "data" => self.data = member.value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.extra)
    }
}
