//! The Things Network V2: its ids, topics and JSON.

use std::{sync::Arc, time::SystemTime};

use serde::de::MapAccess;
use serde_json::{Map, Value};

use super::{
    Request, check_port, in_batch,
    json::{
        Members, Text, bytes, flag, float, ignore, integer, keep, known_text, list, nanoseconds,
        object, read_nullable, read_object, text, texts, time,
    },
    split_topic,
};
use crate::{
    error::{Error, ErrorKind, Result},
    message::{
        Activation, ActivationFailed, DeviceChange, DeviceEvent, Downlink, DownlinkEvent,
        DownlinkStep, Event, Gateway, Location, Malformed, Metadata, RawMessage, ReadPayload,
        Schedule, Transmission, UplinkFailed, UplinkField, UplinkMessage, to_base64,
    },
};

/// The words of its JSON.
enum V2 {}

/// How access keys begin.
pub(super) const KEY_STARTS: [&str; 1] = ["ttn-account-v2."];

/// The most that a LoRaWAN frame carries in any region.
const MAX_PAYLOAD: usize = 242;

/// How deep inside objects a field may be to be received on a topic of its own.
const MAX_FIELD_DEPTH: usize = 8;

const MODULATIONS: [&str; 2] = ["LORA", "FSK"];

const LOCATION_SOURCES: [&str; 4] = ["gps", "config", "registry", "ip_geolocation"];

pub(super) fn check_app_id(app_id: &str) -> Result<()> {
    if is_id(app_id) {
        return Ok(());
    }
    Err(Error::config(format!(
        "{app_id:?} is no application id: {ID_RULE}"
    )))
}

pub(super) fn check_device_id(dev_id: &str) -> Result<()> {
    if is_id(dev_id) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Downlink,
        format!("{dev_id:?} is no device id: {ID_RULE}"),
    ))
}

const ID_RULE: &str =
    "ids have 2 to 36 lower-case letters and digits, with single - or _ between them";

/// `^[0-9a-z](?:[_-]?[0-9a-z]){1,35}$`
fn is_id(text: &str) -> bool {
    let mut letters = 0;
    let mut after_letter = false;
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' => {
                letters += 1;
                after_letter = true;
            }
            b'-' | b'_' if after_letter => after_letter = false,
            _ => return false,
        }
    }
    after_letter && (2..=36).contains(&letters)
}

pub(super) fn subscriptions(app_id: &str, field_topics: bool) -> Vec<String> {
    let mut filters = vec![
        format!("{app_id}/devices/+/up"),
        format!("{app_id}/devices/+/events/#"),
    ];
    if field_topics {
        // `up/#` would be one filter, but it matches `up` itself on some brokers and does not on
        // others.
        filters.extend(
            (1..=MAX_FIELD_DEPTH)
                .map(|depth| format!("{app_id}/devices/+/up{}", "/+".repeat(depth))),
        );
    }
    filters
}

/// One message for each downlink; an `Err` says why the network would not take it.
pub(super) fn encode_downlinks(
    app_id: &str,
    dev_id: &str,
    downlinks: &[Downlink],
    schedule: Schedule,
) -> Result<Vec<Request>, String> {
    let mut requests = downlinks
        .iter()
        .enumerate()
        .map(|(index, downlink)| {
            // The second and later ones keep their place behind the one before.
            let schedule = match (index, schedule) {
                (0, schedule) | (_, schedule @ Schedule::First) => schedule,
                _ => Schedule::Last,
            };
            Ok(Request {
                topic: format!("{app_id}/devices/{dev_id}/down"),
                payload: encode_downlink(downlink, schedule)
                    .map_err(|why| in_batch(index, downlinks.len(), why))?,
                downlinks: index..index + 1,
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    if schedule == Schedule::First {
        requests.reverse();
    }
    Ok(requests)
}

fn encode_downlink(downlink: &Downlink, schedule: Schedule) -> Result<Vec<u8>, String> {
    if let Some(option) = v3_option(downlink) {
        return Err(format!("a V2 network knows no {option}"));
    }
    let port = downlink.port.unwrap_or(1);
    check_port(port)?;
    let payload = match downlink.payload.read()? {
        ReadPayload::Bytes(bytes) if bytes.is_empty() => {
            return Err("the payload is empty".to_owned());
        }
        ReadPayload::Bytes(bytes) if bytes.len() > MAX_PAYLOAD => {
            return Err(format!(
                "{} bytes are too many, no LoRaWAN region carries more than {MAX_PAYLOAD}",
                bytes.len()
            ));
        }
        ReadPayload::Bytes(bytes) => format!(r#""payload_raw":"{}""#, to_base64(&bytes)),
        ReadPayload::Fields(fields) if fields.is_empty() => {
            return Err("there are no fields".to_owned());
        }
        ReadPayload::Fields(fields) => {
            let json = serde_json::to_string(fields).map_err(|cause| cause.to_string())?;
            format!(r#""payload_fields":{json}"#)
        }
    };
    Ok(format!(
        r#"{{"port":{port},"confirmed":{},"schedule":"{schedule}",{payload}}}"#,
        downlink.confirmed,
    )
    .into_bytes())
}

/// The name of an option of the downlink that only v3 has.
fn v3_option(downlink: &Downlink) -> Option<&'static str> {
    [
        (downlink.priority.is_some(), "priority"),
        (
            downlink.class_b_c || !downlink.gateways.is_empty(),
            "class B or C, nor gateways to transmit by",
        ),
        (downlink.absolute_time.is_some(), "absolute time"),
        (downlink.max_attempts.is_some(), "number of attempts"),
        (!downlink.correlation_ids.is_empty(), "correlation ids"),
    ]
    .into_iter()
    .find_map(|(given, option)| given.then_some(option))
}

pub(super) fn uplink_from_json(raw: RawMessage) -> Result<UplinkMessage> {
    let uplink = read_uplink(&raw, "", "").map_err(|cause| unreadable("an uplink", &raw, cause))?;
    for (member, id) in [("app_id", &uplink.app_id), ("dev_id", &uplink.dev_id)] {
        if id.is_empty() {
            return Err(Error::new(
                ErrorKind::Decode,
                format!("cannot read an uplink: it has no {member}"),
            ));
        }
    }
    Ok(uplink)
}

pub(super) fn decode(raw: RawMessage) -> Event {
    let Some((app_id, dev_id, kind)) = split_topic(raw.topic()) else {
        return Event::Other(raw);
    };
    let origin = Origin {
        app_id,
        dev_id,
        raw: &raw,
    };
    let (what, event) = match kind {
        "up" => ("an uplink", origin.uplink()),
        "events/up/errors" => ("an uplink error", origin.uplink_failed()),
        "events/activations" => ("an activation", origin.activation()),
        "events/activations/errors" => ("an activation error", origin.activation_failed()),
        "events/create" => ("a device event", origin.device(DeviceChange::Created)),
        "events/update" => ("a device event", origin.device(DeviceChange::Updated)),
        "events/delete" => ("a device event", origin.device(DeviceChange::Deleted)),
        "events/down/scheduled" => ("a downlink event", origin.downlink(DownlinkStep::Queued)),
        "events/down/sent" => ("a downlink event", origin.downlink(DownlinkStep::Sent)),
        "events/down/acks" => (
            "a downlink event",
            origin.downlink(DownlinkStep::Acknowledged),
        ),
        "events/down/errors" => ("a downlink event", origin.downlink(DownlinkStep::Failed)),
        _ => match kind.strip_prefix("up/") {
            Some(field) if !field.is_empty() => ("a field", origin.field(field)),
            _ => return Event::Other(raw),
        },
    };
    event.unwrap_or_else(|cause| {
        Event::Malformed(Arc::new(Malformed {
            error: unreadable(what, &raw, cause),
            is_uplink: kind == "up",
            raw: raw.clone(),
        }))
    })
}

fn unreadable(what: &str, raw: &RawMessage, cause: serde_json::Error) -> Error {
    let place = match raw.topic() {
        "" => String::new(),
        topic => format!(" on {}", topic.escape_debug()),
    };
    Error::with_source(
        ErrorKind::Decode,
        format!("cannot read {what}{place}: {cause}"),
        cause,
    )
}

fn read_uplink(
    raw: &RawMessage,
    app_id: &str,
    dev_id: &str,
) -> Result<UplinkMessage, serde_json::Error> {
    let mut uplink = UplinkMessage::new(app_id, dev_id, raw.clone());
    read_object::<V2, _>(raw.payload(), &mut uplink)?;
    let metadata = &uplink.metadata;
    uplink.simulated = metadata.gateways.is_empty()
        && metadata.modulation.is_empty()
        && metadata.frequency.is_none();
    Ok(uplink)
}

/// Where a message came from, by its topic.
struct Origin<'a> {
    app_id: &'a str,
    dev_id: &'a str,
    raw: &'a RawMessage,
}

impl Origin<'_> {
    fn uplink(&self) -> Result<Event, serde_json::Error> {
        let uplink = read_uplink(self.raw, self.app_id, self.dev_id)?;
        Ok(Event::Uplink(Arc::new(uplink)))
    }

    fn field(&self, field: &str) -> Result<Event, serde_json::Error> {
        Ok(Event::UplinkField(Arc::new(UplinkField {
            app_id: self.app_id.to_owned(),
            dev_id: self.dev_id.to_owned(),
            field: field.to_owned(),
            value: serde_json::from_slice(self.raw.payload())?,
            raw: self.raw.clone(),
        })))
    }

    fn uplink_failed(&self) -> Result<Event, serde_json::Error> {
        let body: ActivationBody = read_nullable(self.raw.payload())?;
        Ok(Event::UplinkFailed(Arc::new(UplinkFailed {
            app_id: self.app_id.to_owned(),
            dev_id: self.dev_id.to_owned(),
            error: body.error,
            raw: self.raw.clone(),
        })))
    }

    fn activation(&self) -> Result<Event, serde_json::Error> {
        let (activation, _) = self.read_activation()?;
        Ok(Event::Activation(Arc::new(activation)))
    }

    fn activation_failed(&self) -> Result<Event, serde_json::Error> {
        let (activation, error) = self.read_activation()?;
        Ok(Event::ActivationFailed(Arc::new(ActivationFailed {
            error,
            activation,
        })))
    }

    fn read_activation(&self) -> Result<(Activation, String), serde_json::Error> {
        let body: ActivationBody = read_nullable(self.raw.payload())?;
        let activation = Activation {
            app_id: self.app_id.to_owned(),
            dev_id: self.dev_id.to_owned(),
            app_eui: body.app_eui,
            dev_eui: body.dev_eui,
            dev_addr: body.dev_addr,
            metadata: body.metadata,
            received_at: None,
            correlation_ids: Vec::new(),
            session_key_id: Vec::new(),
            pending_session: false,
            app_s_key: None,
            invalidated_downlinks: Vec::new(),
            extra: Map::new(),
            raw: self.raw.clone(),
        };
        Ok((activation, body.error))
    }

    fn device(&self, change: DeviceChange) -> Result<Event, serde_json::Error> {
        let body: DeviceBody = read_nullable(self.raw.payload())?;
        Ok(Event::Device(Arc::new(DeviceEvent {
            app_id: self.app_id.to_owned(),
            dev_id: self.dev_id.to_owned(),
            change,
            location: body.location,
            updated_at: body.updated_at,
            raw: self.raw.clone(),
        })))
    }

    fn downlink(&self, step: DownlinkStep) -> Result<Event, serde_json::Error> {
        let body: DownlinkEventBody = read_nullable(self.raw.payload())?;
        let transmission = (step == DownlinkStep::Sent).then_some(Transmission {
            gateway_id: body.gateway_id,
            frame: body.frame,
            ..body.config
        });
        Ok(Event::Downlink(Arc::new(DownlinkEvent {
            port: body.message.port,
            confirmed: body.message.confirmed,
            payload_raw: body.message.payload_raw,
            payload_fields: body.message.payload_fields,
            error: body.error,
            transmission,
            extra: body.extra,
            ..DownlinkEvent::new(self.app_id, self.dev_id, step, self.raw.clone())
        })))
    }
}

impl<'de> Members<'de, V2> for UplinkMessage {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "app_id" => replace_unless_empty(&mut self.app_id, map)?,
            "dev_id" => replace_unless_empty(&mut self.dev_id, map)?,
            "hardware_serial" => self.hardware_serial = text(map)?,
            "port" => self.port = integer(map)?.unwrap_or_default(),
            "counter" => self.counter = integer(map)?.unwrap_or_default(),
            "confirmed" => self.confirmed = flag(map)?,
            "is_retry" => self.is_retry = flag(map)?,
            "payload_raw" => self.payload_raw = bytes(map)?,
            "payload_fields" => self.payload_fields = map.next_value()?,
            "metadata" => self.metadata = object(map)?,
            "attributes" => self.attributes = texts(map)?,
            _ => keep(&mut self.extra, name, map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de, V2> for Metadata {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "time" => self.time = time(&mut self.extra, name, map)?,
            "frequency" => self.frequency = float(map)?,
            "modulation" => self.modulation = known_text(&MODULATIONS, map)?,
            "data_rate" => self.data_rate = text(map)?,
            "bit_rate" => self.bit_rate = integer(map)?,
            "coding_rate" => self.coding_rate = text(map)?,
            "airtime" => self.airtime = nanoseconds(map)?,
            "gateways" => self.gateways = list::<V2, _, _>(map)?,
            _ => place(&mut self.location, &mut self.extra, name, map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de, V2> for Gateway {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "gtw_id" => self.gtw_id = text(map)?,
            // What `gtw_id` was called in 2016.
            "eui" if self.gtw_id.is_empty() => self.gtw_id = text(map)?,
            "gtw_trusted" => self.gtw_trusted = flag(map)?,
            "timestamp" => self.timestamp = integer(map)?,
            "fine_timestamp" => self.fine_timestamp = integer(map)?,
            "time" => self.time = time(&mut self.extra, name, map)?,
            "antenna" => self.antenna = integer(map)?.unwrap_or_default(),
            "channel" => self.channel = integer(map)?.unwrap_or_default(),
            "rssi" => self.rssi = float(map)?,
            "snr" => self.snr = float(map)?,
            "rf_chain" => self.rf_chain = integer(map)?.unwrap_or_default(),
            _ => place(&mut self.location, &mut self.extra, name, map)?,
        }
        Ok(())
    }
}

/// The body of activations and of errors that have no other content.
#[derive(Default)]
struct ActivationBody {
    error: String,
    app_eui: String,
    dev_eui: String,
    dev_addr: String,
    metadata: Metadata,
}

impl<'de> Members<'de, V2> for ActivationBody {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "error" => self.error = text(map)?,
            "app_eui" => self.app_eui = text(map)?,
            "dev_eui" => self.dev_eui = text(map)?,
            "dev_addr" => self.dev_addr = text(map)?,
            "metadata" => self.metadata = object(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct DeviceBody {
    location: Option<Location>,
    updated_at: Option<SystemTime>,
}

impl<'de> Members<'de, V2> for DeviceBody {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "update_at" => {
                self.updated_at = map.next_value::<Text<'_>>()?.time().unwrap_or_default()
            }
            _ => place(&mut self.location, &mut Map::new(), name, map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct DownlinkEventBody {
    error: String,
    frame: Vec<u8>,
    message: DownlinkBody,
    gateway_id: String,
    config: Transmission,
    extra: Map<String, Value>,
}

impl<'de> Members<'de, V2> for DownlinkEventBody {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "error" => self.error = text(map)?,
            "payload" => self.frame = bytes(map)?,
            "message" => self.message = object(map)?,
            "gateway_id" => self.gateway_id = text(map)?,
            "config" => self.config = object(map)?,
            _ => keep(&mut self.extra, name, map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct DownlinkBody {
    port: u8,
    confirmed: bool,
    payload_raw: Vec<u8>,
    payload_fields: Value,
}

impl<'de> Members<'de, V2> for DownlinkBody {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "port" => self.port = integer(map)?.unwrap_or_default(),
            "confirmed" => self.confirmed = flag(map)?,
            "payload_raw" => self.payload_raw = bytes(map)?,
            "payload_fields" => self.payload_fields = map.next_value()?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de, V2> for Transmission {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        const HZ_PER_MHZ: f64 = 1e6;
        match name {
            "modulation" => self.modulation = known_text(&MODULATIONS, map)?,
            "data_rate" => self.data_rate = text(map)?,
            "bit_rate" => self.bit_rate = integer(map)?,
            "airtime" => self.airtime = nanoseconds(map)?,
            "counter" => self.counter = integer(map)?.unwrap_or_default(),
            "frequency" => self.frequency = float(map)?.map(|hertz| hertz / HZ_PER_MHZ),
            "power" => self.power = integer(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

/// The members of a location, which stand among others in V2; anything else is kept.
fn place<'de, A: MapAccess<'de>>(
    location: &mut Option<Location>,
    extra: &mut Map<String, Value>,
    name: &str,
    map: &mut A,
) -> Result<(), A::Error> {
    match name {
        "latitude" => location.get_or_insert_default().latitude = float(map)?.unwrap_or_default(),
        "longitude" => location.get_or_insert_default().longitude = float(map)?.unwrap_or_default(),
        "altitude" => location.get_or_insert_default().altitude = integer(map)?.unwrap_or_default(),
        "location_accuracy" => location.get_or_insert_default().accuracy = integer(map)?,
        "location_source" => {
            location.get_or_insert_default().source = known_text(&LOCATION_SOURCES, map)?;
        }
        _ => keep(extra, name, map)?,
    }
    Ok(())
}

fn replace_unless_empty<'de, A: MapAccess<'de>>(
    id: &mut String,
    map: &mut A,
) -> Result<(), A::Error> {
    let Text(text) = map.next_value()?;
    if !text.is_empty() {
        *id = text.into_owned();
    }
    Ok(())
}
