//! Reading what The Things Stack publishes.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{de, de::MapAccess};
use serde_json::{Map, Value};

use super::super::json::{
    Members, Nullable, Object, Scalar, bytes, flag, float, ignore, integer, keep, object,
    object_into, read_object, strings, text, texts, time,
};
use crate::{
    error::{Error, ErrorKind, Result},
    message::{
        Activation, Antenna, Battery, ClassBC, DownlinkEvent, DownlinkStep, ErrorDetails, Event,
        Gateway, KeyEnvelope, Location, LocationSolved, Malformed, Metadata, NetworkIds,
        PacketBroker, Priority, QueueInvalidated, RawMessage, Relay, ServiceData, UplinkMessage,
        VersionIds,
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

/// Reads a message by its topic. One that cannot be read becomes [`Event::Malformed`].
pub(in crate::network) fn decode(raw: RawMessage) -> Event {
    let topic = raw.topic().to_owned();
    let Some((app_id, dev_id, end)) = split_topic(&topic) else {
        return Event::Other(raw);
    };
    let Some((kind, _, member)) = KINDS.into_iter().find(|(_, topic, _)| *topic == end) else {
        return Event::Other(raw);
    };
    let envelope = Envelope::new(&raw, Some(kind));
    let event = read_object(raw.payload(), envelope).and_then(|mut envelope| {
        if envelope.body.is_none() {
            if !envelope.ids.dev_id.is_empty() {
                return Ok(Event::Other(raw.clone()));
            }
            return Err(de::Error::custom(format_args!("it has no {member}")));
        }
        envelope.ids.complete(app_id, dev_id);
        Ok(envelope.into_event())
    });
    event.unwrap_or_else(|cause| {
        Event::Malformed(Arc::new(Malformed {
            error: Error::with_source(
                ErrorKind::Decode,
                format!("cannot read the message on {topic}: {cause}"),
                cause,
            ),
            is_uplink: kind == Kind::Uplink,
            raw: raw.clone(),
        }))
    })
}

/// Application id without tenant, device id, and what follows.
fn split_topic(topic: &str) -> Option<(&str, &str, &str)> {
    let (uid, rest) = topic.strip_prefix("v3/")?.split_once("/devices/")?;
    let (dev_id, end) = rest.split_once('/')?;
    let app_id = super::split_uid(uid).0;
    (!app_id.is_empty() && !uid.contains('/') && !dev_id.is_empty())
        .then_some((app_id, dev_id, end))
}

/// Reads a message by its content.
pub(in crate::network) fn event_from_json(raw: RawMessage) -> Result<Event> {
    let envelope = read_object(raw.payload(), Envelope::new(&raw, None)).map_err(|cause| {
        Error::with_source(
            ErrorKind::Decode,
            format!("cannot read the message: {cause}"),
            cause,
        )
    })?;
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
    Ok(envelope.into_event())
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
        let (kind, ..) = KINDS.into_iter().find(|(.., member)| *member == name)?;
        match self.kind {
            Some(wanted) => wanted == kind,
            None => self.body.is_none(),
        }
        .then_some(kind)
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
                object_into(map, Wire(uplink))?.map(|Wire(uplink)| Body::Uplink(Arc::new(uplink)))
            }
            Kind::UplinkNormalized => {
                object_into(map, Wire(UplinkMessage::new("", "", raw.clone())))?
                    .map(|Wire(uplink)| Body::UplinkNormalized(Arc::new(uplink)))
            }
            Kind::Join => object_into(map, Wire(activation(raw)))?
                .map(|Wire(join)| Body::Join(Arc::new(join))),
            Kind::Downlink(step) => object_into(map, Wire(downlink(step)))?
                .map(|Wire(downlink)| Body::Downlink(Arc::new(downlink))),
            Kind::DownlinkFailed => object_into(map, Failed(downlink(DownlinkStep::Failed)))?
                .map(|Failed(downlink)| Body::Downlink(Arc::new(downlink))),
            Kind::QueueInvalidated => object_into(map, Wire(queue_invalidated(raw)))?
                .map(|Wire(invalidated)| Body::QueueInvalidated(Arc::new(invalidated))),
            Kind::LocationSolved => object_into(map, Wire(location_solved(raw)))?
                .map(|Wire(solved)| Body::LocationSolved(Arc::new(solved))),
            Kind::ServiceData => object_into(map, Wire(service_data(raw)))?
                .map(|Wire(data)| Body::ServiceData(Arc::new(data))),
        })
    }

    fn into_event(mut self) -> Event {
        match self.body.take() {
            Some(Body::Uplink(uplink)) => Event::Uplink(self.complete_uplink(uplink)),
            Some(Body::UplinkNormalized(uplink)) => {
                Event::UplinkNormalized(self.complete_uplink(uplink))
            }
            Some(Body::Join(mut join)) => {
                let activation = Arc::make_mut(&mut join);
                self.complete_invalidated(&mut activation.invalidated_downlinks);
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
                self.complete_invalidated(&mut invalidated.downlinks);
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
        }
    }

    fn complete_invalidated(&self, downlinks: &mut [DownlinkEvent]) {
        for downlink in downlinks {
            downlink.app_id.clone_from(&self.ids.app_id);
            downlink.dev_id.clone_from(&self.ids.dev_id);
            downlink.received_at = self.received_at;
            downlink
                .event_correlation_ids
                .clone_from(&self.correlation_ids);
            downlink.raw = self.raw.clone();
        }
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

fn queue_invalidated(raw: &RawMessage) -> QueueInvalidated {
    QueueInvalidated {
        app_id: String::new(),
        dev_id: String::new(),
        downlinks: Vec::new(),
        last_downlink_counter: 0,
        session_key_id: Vec::new(),
        received_at: None,
        correlation_ids: Vec::new(),
        extra: Map::new(),
        raw: raw.clone(),
    }
}

fn location_solved(raw: &RawMessage) -> LocationSolved {
    LocationSolved {
        app_id: String::new(),
        dev_id: String::new(),
        service: String::new(),
        location: Location::default(),
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

impl<'de> Members<'de> for Envelope<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "end_device_ids" => self.ids = object(map)?,
            "correlation_ids" => self.correlation_ids = strings(map)?,
            "received_at" => self.received_at = time(&mut self.extra, name, map)?,
            "simulated" => self.simulated = flag(map)?,
            // A line of the Storage Integration.
            "result" if self.kind.is_none() && self.raw.topic().is_empty() => {
                let inner = Self::new(self.raw, None);
                if let Some(inner) = object_into(map, inner)? {
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

impl<'de> Members<'de> for Ids {
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

impl<'de> Members<'de> for ApplicationIds {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "application_id" => self.0 = text(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

/// A part of the model as The Things Stack writes it.
#[derive(Default)]
struct Wire<T>(T);

/// A list of parts, without what is `null`.
fn list<'de, T, A>(map: &mut A) -> Result<Vec<T>, A::Error>
where
    Wire<T>: Members<'de> + Default,
    A: MapAccess<'de>,
{
    let Nullable(list) = map.next_value::<Nullable<Vec<Option<Object<Wire<T>>>>>>()?;
    Ok(list
        .into_iter()
        .flatten()
        .map(|Object(Wire(part))| part)
        .collect())
}

fn part<'de, T, A>(map: &mut A) -> Result<Option<T>, A::Error>
where
    Wire<T>: Members<'de> + Default,
    A: MapAccess<'de>,
{
    Ok(object_into(map, Wire::default())?.map(|Wire(part)| part))
}

impl<'de> Members<'de> for Wire<UplinkMessage> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(uplink) = self;
        match name {
            "session_key_id" => uplink.session_key_id = bytes(map)?,
            "f_port" => uplink.port = integer(map)?.unwrap_or_default(),
            "f_cnt" => uplink.counter = integer(map)?.unwrap_or_default(),
            "frm_payload" => uplink.payload_raw = bytes(map)?,
            "decoded_payload" => uplink.payload_fields = map.next_value()?,
            "decoded_payload_warnings" => uplink.payload_warnings = strings(map)?,
            "normalized_payload" => uplink.normalized_payload = one_or_more(map)?,
            "normalized_payload_warnings" => uplink.normalized_payload_warnings = strings(map)?,
            "rx_metadata" => uplink.metadata.gateways = list(map)?,
            "settings" => {
                object_into(map, Settings(&mut uplink.metadata))?;
            }
            "received_at" => {
                uplink.metadata.time = time(&mut uplink.metadata.extra, name, map)?;
            }
            "app_s_key" => {
                uplink.app_s_key = part(map)?;
                if uplink.app_s_key.is_some() {
                    uplink.last_downlink_counter.get_or_insert(0);
                }
            }
            "last_a_f_cnt_down" => {
                uplink.last_downlink_counter = integer(map)?.or(uplink.last_downlink_counter);
            }
            "confirmed" => uplink.confirmed = flag(map)?,
            "consumed_airtime" => {
                uplink.metadata.airtime = duration(&mut uplink.metadata.extra, name, map)?;
            }
            "packet_error_rate" => {
                uplink.packet_error_rate = float(map)?.or(uplink.packet_error_rate);
            }
            "locations" => {
                let Locations(locations) = object(map)?;
                uplink.metadata.location = locations.get("user").cloned();
                uplink.metadata.locations = locations;
            }
            "version_ids" => uplink.version_ids = part(map)?,
            "network_ids" => uplink.network_ids = part(map)?,
            "last_battery_percentage" => {
                let battery = BatteryMembers(Battery::default(), &mut uplink.extra);
                uplink.battery = object_into(map, battery)?.map(|members| members.0);
            }
            "attributes" => uplink.attributes = texts(map)?,
            _ => keep(&mut uplink.extra, name, map)?,
        }
        Ok(())
    }
}

/// A list, or its only entry by itself.
fn one_or_more<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Vec<Value>, A::Error> {
    match map.next_value()? {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => Ok(list),
        object @ Value::Object(_) => Ok(vec![object]),
        other => Err(de::Error::custom(format_args!(
            "{other} in place of an object or a list"
        ))),
    }
}

/// Places by who knows them.
#[derive(Default)]
struct Locations(BTreeMap<String, Location>);

impl<'de> Members<'de> for Locations {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if let Some(location) = part(map)? {
            self.0.insert(name.to_owned(), location);
        }
        Ok(())
    }
}

/// A duration such as `0.056576s`; text that is none is kept among the members without a name of
/// their own.
fn duration<'de, A: MapAccess<'de>>(
    extra: &mut Map<String, Value>,
    name: &str,
    map: &mut A,
) -> Result<Option<Duration>, A::Error> {
    let text = map.next_value::<Scalar<'_>>()?.text();
    if text.is_empty() {
        return Ok(None);
    }
    let duration = parse_duration(&text);
    if duration.is_none() {
        extra.insert(name.to_owned(), text.into());
    }
    Ok(duration)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (seconds, fraction) = {
        let number = text.strip_suffix('s')?;
        number.split_once('.').unwrap_or((number, "0"))
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(seconds.parse().ok()?, nanoseconds))
}

/// The name of an enum's value without its prefix, by name or by number; empty for the first, which
/// servers leave out.
fn enum_name<'de, A: MapAccess<'de>>(
    prefix: &str,
    names: &[(i64, &str)],
    map: &mut A,
) -> Result<String, A::Error> {
    let text = map.next_value::<Scalar<'_>>()?.text();
    let name = match text.parse::<i64>() {
        Ok(number) => match names.iter().find(|(known, _)| *known == number) {
            Some((_, name)) => name,
            None => text.as_ref(),
        },
        Err(_) => text.strip_prefix(prefix).unwrap_or(&text),
    };
    let first = names.first().is_some_and(|(_, first)| *first == name);
    Ok(if first { "" } else { name }.to_owned())
}

struct Settings<'a>(&'a mut Metadata);

impl<'de> Members<'de> for Settings<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        const HZ_PER_MHZ: f64 = 1e6;
        let Self(metadata) = self;
        match name {
            "data_rate" => {
                object_into(map, DataRate(metadata))?;
            }
            "frequency" => {
                metadata.frequency = integer(map)?
                    .filter(|hertz: &u64| *hertz != 0)
                    .map(|hertz| hertz as f64 / HZ_PER_MHZ);
            }
            "timestamp" => metadata.timestamp = integer(map)?,
            "time" => metadata.gateway_time = time(&mut metadata.extra, name, map)?,
            // Where it stood before release 3.22.
            "coding_rate" => {
                let coding_rate = text(map)?;
                if metadata.coding_rate.is_empty() {
                    metadata.coding_rate = coding_rate;
                }
            }
            _ => keep(&mut metadata.extra, name, map)?,
        }
        Ok(())
    }
}

struct DataRate<'a>(&'a mut Metadata);

impl<'de> Members<'de> for DataRate<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let modulation = match name {
            "lora" => "LORA",
            "fsk" => "FSK",
            "lrfhss" => "LR_FHSS",
            _ => return keep(&mut self.0.extra, name, map),
        };
        let Some(rate) = object_into(map, ModulationParameters::default())? else {
            return Ok(());
        };
        let Self(metadata) = self;
        modulation.clone_into(&mut metadata.modulation);
        let kilohertz = |hertz: u32| f64::from(hertz) / 1e3;
        match name {
            "lora" => {
                metadata.data_rate =
                    format!("SF{}BW{}", rate.spreading_factor, kilohertz(rate.bandwidth));
            }
            "lrfhss" => {
                metadata.data_rate = format!(
                    "M{}CW{}",
                    rate.modulation_type,
                    rate.operating_channel_width / 1000
                );
            }
            _ => metadata.bit_rate = Some(rate.bit_rate),
        }
        if !rate.coding_rate.is_empty() {
            metadata.coding_rate = rate.coding_rate;
        }
        metadata.extra.extend(rate.extra);
        Ok(())
    }
}

/// The members of all three modulations.
#[derive(Default)]
struct ModulationParameters {
    bandwidth: u32,
    spreading_factor: u32,
    coding_rate: String,
    bit_rate: u32,
    modulation_type: u32,
    operating_channel_width: u32,
    extra: Map<String, Value>,
}

impl<'de> Members<'de> for ModulationParameters {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let number = match name {
            "bandwidth" => &mut self.bandwidth,
            "spreading_factor" => &mut self.spreading_factor,
            "bit_rate" => &mut self.bit_rate,
            "modulation_type" => &mut self.modulation_type,
            "operating_channel_width" => &mut self.operating_channel_width,
            "coding_rate" => {
                self.coding_rate = text(map)?;
                return Ok(());
            }
            _ => return keep(&mut self.extra, name, map),
        };
        *number = integer(map)?.unwrap_or_default();
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<Gateway> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(gateway) = self;
        match name {
            "gateway_ids" => {
                let GatewayIds { gateway_id, eui } = object(map)?;
                gateway.gtw_id = gateway_id;
                gateway.eui = eui;
            }
            "packet_broker" => gateway.packet_broker = part(map)?.map(Box::new),
            "relay" => gateway.relay = part(map)?,
            "antenna_index" => gateway.antenna = integer(map)?.unwrap_or_default(),
            "channel_index" => gateway.channel = integer(map)?.unwrap_or_default(),
            "time" => gateway.time = time(&mut gateway.extra, name, map)?,
            "gps_time" => gateway.gps_time = time(&mut gateway.extra, name, map)?,
            "received_at" => gateway.received_at = time(&mut gateway.extra, name, map)?,
            "timestamp" => gateway.timestamp = integer(map)?,
            "fine_timestamp" => gateway.fine_timestamp = integer(map)?,
            "encrypted_fine_timestamp" => {
                gateway.encrypted_fine_timestamp = bytes(map)?;
            }
            "encrypted_fine_timestamp_key_id" => {
                gateway.encrypted_fine_timestamp_key_id = text(map)?;
            }
            "rssi" => gateway.rssi = float(map)?,
            "channel_rssi" => gateway.channel_rssi = float(map)?,
            "signal_rssi" => gateway.signal_rssi = float(map)?,
            "rssi_standard_deviation" => gateway.rssi_standard_deviation = float(map)?,
            "snr" => gateway.snr = float(map)?,
            "frequency_offset" => gateway.frequency_offset = integer(map)?,
            "frequency_drift" => gateway.frequency_drift = integer(map)?,
            "hopping_width" => gateway.hopping_width = integer(map)?,
            "location" => gateway.location = part(map)?,
            "downlink_path_constraint" => {
                gateway.downlink_path_constraint = enum_name(
                    "DOWNLINK_PATH_CONSTRAINT_",
                    &[(0, "NONE"), (1, "PREFER_OTHER"), (2, "NEVER")],
                    map,
                )?;
            }
            "uplink_token" => gateway.uplink_token = text(map)?,
            _ => keep(&mut gateway.extra, name, map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct GatewayIds {
    gateway_id: String,
    eui: String,
}

impl<'de> Members<'de> for GatewayIds {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "gateway_id" => self.gateway_id = text(map)?,
            "eui" => self.eui = text(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<PacketBroker> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(broker) = self;
        let id = match name {
            "message_id" => &mut broker.message_id,
            "forwarder_net_id" => &mut broker.forwarder_net_id,
            "forwarder_tenant_id" => &mut broker.forwarder_tenant_id,
            "forwarder_cluster_id" => &mut broker.forwarder_cluster_id,
            "forwarder_gateway_eui" => &mut broker.forwarder_gateway_eui,
            "forwarder_gateway_id" => &mut broker.forwarder_gateway_id,
            "home_network_net_id" => &mut broker.home_network_net_id,
            "home_network_tenant_id" => &mut broker.home_network_tenant_id,
            "home_network_cluster_id" => &mut broker.home_network_cluster_id,
            "hops" => {
                let Nullable(hops) = map.next_value()?;
                broker.hops = hops;
                return Ok(());
            }
            _ => return ignore(map),
        };
        *id = text(map)?;
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<Relay> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "device_id" => self.0.device_id = text(map)?,
            "wor_channel" => {
                self.0.wor_channel = enum_name(
                    "RELAY_WOR_CHANNEL_",
                    &[(0, "DEFAULT"), (1, "SECONDARY")],
                    map,
                )?;
            }
            _ => ignore(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<Location> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        const SOURCES: [(i64, &str); 9] = [
            (0, "UNKNOWN"),
            (1, "GPS"),
            (3, "REGISTRY"),
            (4, "IP_GEOLOCATION"),
            (5, "WIFI_RSSI_GEOLOCATION"),
            (6, "BT_RSSI_GEOLOCATION"),
            (7, "LORA_RSSI_GEOLOCATION"),
            (8, "LORA_TDOA_GEOLOCATION"),
            (9, "COMBINED_GEOLOCATION"),
        ];
        let Self(location) = self;
        match name {
            "latitude" => location.latitude = float(map)?.unwrap_or_default(),
            "longitude" => location.longitude = float(map)?.unwrap_or_default(),
            "altitude" => location.altitude = integer(map)?.unwrap_or_default(),
            "accuracy" => location.accuracy = integer(map)?,
            "source" => {
                location.source = enum_name("SOURCE_", &SOURCES, map)?;
                location.source.make_ascii_lowercase();
            }
            _ => ignore(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<KeyEnvelope> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "key" => self.0.key = text(map)?,
            "kek_label" => self.0.kek_label = text(map)?,
            "encrypted_key" => self.0.encrypted_key = bytes(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

/// With the members that have no field of their own.
struct BatteryMembers<'a>(Battery, &'a mut Map<String, Value>);

impl<'de> Members<'de> for BatteryMembers<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "f_cnt" => self.0.counter = integer(map)?.unwrap_or_default(),
            "value" => self.0.percentage = float(map)?,
            "received_at" => self.0.received_at = time(self.1, name, map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<VersionIds> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(ids) = self;
        let id = match name {
            "brand_id" => &mut ids.brand_id,
            "model_id" => &mut ids.model_id,
            "hardware_version" => &mut ids.hardware_version,
            "firmware_version" => &mut ids.firmware_version,
            "band_id" => &mut ids.band_id,
            _ => return ignore(map),
        };
        *id = text(map)?;
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<NetworkIds> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(ids) = self;
        let id = match name {
            "net_id" => &mut ids.net_id,
            "ns_id" => &mut ids.ns_id,
            "tenant_id" => &mut ids.tenant_id,
            "cluster_id" => &mut ids.cluster_id,
            "cluster_address" => &mut ids.cluster_address,
            "tenant_address" => &mut ids.tenant_address,
            _ => return ignore(map),
        };
        *id = text(map)?;
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<Activation> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(join) = self;
        match name {
            "session_key_id" => join.session_key_id = bytes(map)?,
            "received_at" => join.metadata.time = time(&mut join.extra, name, map)?,
            "pending_session" => join.pending_session = flag(map)?,
            "app_s_key" => join.app_s_key = part(map)?,
            "invalidated_downlinks" => join.invalidated_downlinks = list(map)?,
            _ => keep(&mut join.extra, name, map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<QueueInvalidated> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(event) = self;
        match name {
            "downlinks" => event.downlinks = list(map)?,
            "last_f_cnt_down" => {
                event.last_downlink_counter = integer(map)?.unwrap_or_default();
            }
            "session_key_id" => event.session_key_id = bytes(map)?,
            _ => keep(&mut event.extra, name, map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<LocationSolved> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(solved) = self;
        match name {
            "service" => solved.service = text(map)?,
            "location" => solved.location = part(map)?.unwrap_or_default(),
            "attributes" => solved.attributes = texts(map)?,
            _ => keep(&mut solved.extra, name, map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<ServiceData> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(event) = self;
        match name {
            "service" => event.service = text(map)?,
            "data" => event.data = map.next_value()?,
            _ => keep(&mut event.extra, name, map)?,
        }
        Ok(())
    }
}

/// An invalidated one: only those come in lists.
impl Default for Wire<DownlinkEvent> {
    fn default() -> Self {
        let raw = RawMessage::new(String::new(), Vec::new());
        let mut downlink = DownlinkEvent::new("", "", DownlinkStep::Invalidated, raw);
        downlink.priority = Some(Priority::default());
        Self(downlink)
    }
}

impl<'de> Members<'de> for Wire<DownlinkEvent> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        InnerDownlink(&mut self.0).member(name, map)
    }
}

/// The downlink that a report is about.
struct InnerDownlink<'a>(&'a mut DownlinkEvent);

impl<'de> Members<'de> for InnerDownlink<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(downlink) = self;
        match name {
            "session_key_id" => downlink.session_key_id = bytes(map)?,
            "f_port" => downlink.port = integer(map)?.unwrap_or_default(),
            "f_cnt" => downlink.counter = integer(map)?.or(downlink.counter),
            "frm_payload" => downlink.payload_raw = bytes(map)?,
            "decoded_payload" => downlink.payload_fields = map.next_value()?,
            "decoded_payload_warnings" => downlink.payload_warnings = strings(map)?,
            "confirmed" => downlink.confirmed = flag(map)?,
            "class_b_c" => {
                let class_b_c = ClassBCMembers(ClassBC::default(), &mut downlink.extra);
                downlink.class_b_c = object_into(map, class_b_c)?.map(|members| members.0);
            }
            "priority" => {
                let text = map.next_value::<Scalar<'_>>()?.text();
                downlink.priority = priority(&text);
                if downlink.priority.is_none() {
                    downlink.extra.insert(name.to_owned(), text.into());
                }
            }
            "correlation_ids" => downlink.correlation_ids = strings(map)?,
            "confirmed_retry" => {
                let retry: Option<ConfirmedRetry> = part(map)?;
                downlink.attempt = retry.as_ref().map(|retry| retry.attempt);
                downlink.max_attempts = retry.and_then(|retry| retry.max_attempts);
            }
            _ => keep(&mut downlink.extra, name, map)?,
        }
        Ok(())
    }
}

fn priority(text: &str) -> Option<Priority> {
    if text.is_empty() {
        return Some(Priority::default());
    }
    let by_number = text
        .parse()
        .ok()
        .and_then(|number: usize| Priority::ALL.get(number));
    let by_name = || {
        Priority::ALL
            .iter()
            .find(|priority| priority.name() == text)
    };
    by_number.or_else(by_name).copied()
}

#[derive(Default)]
struct ConfirmedRetry {
    attempt: u32,
    max_attempts: Option<u32>,
}

impl<'de> Members<'de> for Wire<ConfirmedRetry> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "attempt" => self.0.attempt = integer(map)?.unwrap_or_default(),
            "max_attempts" => self.0.max_attempts = integer(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

/// With the members that have no field of their own.
struct ClassBCMembers<'a>(ClassBC, &'a mut Map<String, Value>);

impl<'de> Members<'de> for ClassBCMembers<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "gateways" => {
                self.0.gateways = list::<FixedPath, _>(map)?
                    .into_iter()
                    .map(|path| {
                        Antenna::new(path.gateway_id)
                            .index(path.antenna)
                            .group(path.group)
                    })
                    .collect();
            }
            "absolute_time" => self.0.absolute_time = time(self.1, name, map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct FixedPath {
    gateway_id: String,
    antenna: u32,
    group: u32,
}

impl<'de> Members<'de> for Wire<FixedPath> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "gateway_ids" => self.0.gateway_id = object::<GatewayIds, _>(map)?.gateway_id,
            "antenna_index" => self.0.antenna = integer(map)?.unwrap_or_default(),
            "group_index" => self.0.group = integer(map)?.unwrap_or_default(),
            _ => ignore(map)?,
        }
        Ok(())
    }
}

/// A downlink that failed, and why.
struct Failed(DownlinkEvent);

impl<'de> Members<'de> for Failed {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(failed) = self;
        match name {
            "downlink" => {
                object_into(map, InnerDownlink(failed))?;
            }
            "error" => {
                let details: Option<ErrorDetails> = part(map)?;
                failed.error = details
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                failed.error_details = details.map(Box::new);
            }
            _ => keep(&mut failed.extra, name, map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<ErrorDetails> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(error) = self;
        match name {
            "namespace" => error.namespace = text(map)?,
            "name" => error.name = text(map)?,
            "message_format" => error.message_format = text(map)?,
            "attributes" => {
                let Nullable(attributes) = map.next_value()?;
                error.attributes = attributes;
            }
            "correlation_id" => error.correlation_id = text(map)?,
            "code" => error.code = integer(map)?.unwrap_or_default(),
            "cause" => error.cause = part(map)?.map(Box::new),
            "details" => {
                let Nullable(details) = map.next_value()?;
                error.details = details;
            }
            _ => ignore(map)?,
        }
        Ok(())
    }
}
