//! The lines of a recording, as they are read: those of a recorder, of `mosquitto_sub`, and of storage.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Deserializer, de::Visitor};

use super::{
    Note,
    line::{BY_MEMBER, V2, V3, VERSION},
    members::Members,
};
use crate::{
    error::{Error, ErrorKind, Result},
    message::{Event, Malformed, RawMessage, Spare, from_base64},
    network::{self, Network},
};

/// What a line says.
pub(super) enum Line {
    /// The lines that follow are from this network.
    Header(Network),
    Note(Note),
    Message(Box<Message>),
    /// Messages without topic and time, for [`Event::read_all`].
    Records(Network),
}

/// A message with what a recorder has noted.
#[derive(Debug)]
pub(super) struct Message {
    time: Option<SystemTime>,
    raw: RawMessage,
    read_as: Option<String>,
    is_topic_cut: bool,
    is_backfilled: bool,
    is_duplicate: bool,
    is_redelivered: bool,
}

/// Members that only some lines have.
const OF_RECORDS: [&str; 6] = [
    "result",
    "end_device_ids",
    "error",
    "code",
    "identifiers",
    "unique_id",
];

/// Reads a line.
pub(super) fn line(text: &[u8]) -> Result<Line, String> {
    let first = text.first();
    if first == Some(&b'[') || text.starts_with(b"data:") {
        return Ok(Line::Records(Network::V3));
    }
    let members = match Members::split(text) {
        Ok(Some(members)) => members,
        Ok(None) => return Err("it is JSON, but not an object".to_owned()),
        Err(cause) if cause.is_eof() => return Err(format!("it is cut off: {}", place(&cause))),
        Err(cause) => return Err(format!("it is not JSON: {}", place(&cause))),
    };
    if let Some(version) = members.get("recording") {
        return header(version, &members).map(Line::Header);
    }
    if let Some(event) = members.get("note").filter(|_| !members.has("topic")) {
        let event = value("note", event)?;
        let time = time_of(&members)?;
        return Ok(Line::Note(Note { time, event }));
    }
    if members.has("topic") {
        let message = match members.get("tst") {
            Some(tst) => of_mosquitto(tst, &members),
            None => of_recorder(&members),
        };
        return message.map(|message| Line::Message(Box::new(message)));
    }
    if OF_RECORDS.iter().any(|name| members.has(name)) {
        return Ok(Line::Records(Network::V3));
    }
    if members.has("app_id") && members.has("dev_id") {
        return Ok(Line::Records(Network::V2));
    }
    Err(
        "it is neither a line of a recording, nor of mosquitto_sub -F %j, nor a message of storage"
            .to_owned(),
    )
}

fn header(version: &[u8], members: &Members<'_>) -> Result<Network, String> {
    let version: u64 = value("recording", version)?;
    if version > VERSION {
        return Err(format!(
            "it is of version {version} of recordings, and this program reads up to {VERSION}; update it"
        ));
    }
    match required::<String>("network", members)?.as_str() {
        V2 => Ok(Network::V2),
        V3 => Ok(Network::V3),
        other => Err(format!(
            "it names the network {other:?}; known are {V2} and {V3}"
        )),
    }
}

fn time_of(members: &Members<'_>) -> Result<Option<SystemTime>, String> {
    optional::<String>("time", members)?
        .map(|text| time(&text).ok_or_else(|| format!("its time {text:?} is not one")))
        .transpose()
}

fn of_recorder(members: &Members<'_>) -> Result<Message, String> {
    let time = time_of(members)?;
    let topic: String = required("topic", members)?;
    let payload = match optional::<String>("payload", members)? {
        Some(text) => text.into_bytes(),
        None => {
            let text: String = required("payload_base64", members)?;
            from_base64(&text)
                .map_err(|cause| format!("its payload_base64 cannot be read: {cause}"))?
        }
    };
    let flag = |name| Ok::<_, String>(optional::<bool>(name, members)?.unwrap_or_default());
    Ok(Message {
        time,
        raw: RawMessage::new(&topic, &payload).retained(flag("is_retained")?),
        read_as: optional("read_as", members)?,
        is_topic_cut: flag("is_topic_cut")?,
        is_backfilled: flag("is_backfilled")?,
        is_duplicate: flag("is_duplicate")?,
        is_redelivered: flag("is_redelivered")?,
    })
}

fn of_mosquitto(tst: &[u8], members: &Members<'_>) -> Result<Message, String> {
    let text: String = value("tst", tst)?;
    let time = time(&text).ok_or_else(|| format!("its tst {text:?} is not a time"))?;
    let Bytes(topic) = required("topic", members)?;
    let (topic, is_topic_cut) = match String::from_utf8(topic) {
        Ok(topic) => (topic, false),
        Err(error) => {
            let end = error.utf8_error().valid_up_to();
            let topic = String::from_utf8_lossy(&error.as_bytes()[..end]).into_owned();
            (topic, true)
        }
    };
    let payload = payload_of_mosquitto(members)?;
    let retain: u8 = optional("retain", members)?.unwrap_or_default();
    Ok(Message {
        time: Some(time),
        raw: RawMessage::new(&topic, &payload).retained(retain == 1),
        read_as: None,
        is_topic_cut,
        is_backfilled: false,
        is_duplicate: false,
        is_redelivered: false,
    })
}

/// Returns the payload, which is text with `%j`, and JSON with `%J`; the length says which, if it is a text.
fn payload_of_mosquitto(members: &Members<'_>) -> Result<Vec<u8>, String> {
    let text = members.get("payload").ok_or("it has no payload")?;
    let length: Option<usize> = optional("payloadlen", members)?;
    if length == Some(0) {
        return Ok(Vec::new());
    }
    if text.first() != Some(&b'"') {
        return Ok(text.to_vec());
    }
    let Bytes(payload) = value("payload", text)?;
    match length {
        Some(length) if length == text.len() && length != payload.len() => Ok(text.to_vec()),
        Some(length) if length != payload.len() => Err(format!(
            "its payload has {} of {length} bytes: mosquitto_sub cuts a payload at its first NUL byte",
            payload.len()
        )),
        _ => Ok(payload),
    }
}

impl Message {
    pub(super) fn time(&self) -> Option<SystemTime> {
        self.time
    }

    /// Returns the event as which a client has reported the message. Without a network, it is the one that the topic
    /// shows.
    pub(super) fn into_event(self, network: Option<Network>) -> (Network, Event) {
        let raw = self.raw;
        let topic = self.read_as.as_deref().unwrap_or(raw.topic());
        let network = network.unwrap_or_else(|| guess(topic));
        if self.is_topic_cut {
            return (
                network,
                Event::Malformed(Arc::new(Malformed::of_topic(raw))),
            );
        }
        let mut event = match self.read_as.as_deref() {
            Some(BY_MEMBER) => by_member(&raw, network),
            _ => network.decode_on(topic, &raw, Spare::default()).event,
        };
        if let Event::Uplink(uplink) | Event::UplinkNormalized(uplink) = &mut event {
            let uplink = Arc::make_mut(uplink);
            uplink.backfilled = self.is_backfilled;
            uplink.duplicate = self.is_duplicate;
            uplink.redelivered = self.is_redelivered;
        }
        (network, event)
    }
}

/// Reads a message of storage or of an integration, which says itself what it is.
fn by_member(raw: &RawMessage, network: Network) -> Event {
    let uid = raw.topic().strip_prefix("v3/");
    let uid = uid
        .and_then(|rest| rest.split_once('/'))
        .map(|(uid, _)| uid);
    if let Some(uid) = uid.filter(|_| network.is_known_topic(raw.topic())) {
        let read = network::event_of_record(raw.payload(), uid);
        return read.unwrap_or_else(|_| network.decode(raw).event);
    }
    let app_id = application(raw.payload());
    match network.decode_by_member(raw, &app_id) {
        Some(decoded) => decoded.event,
        None => Event::Other(raw.clone()),
    }
}

/// Returns the network that a topic points to.
fn guess(topic: &str) -> Network {
    if topic.starts_with("v3/") {
        Network::V3
    } else {
        Network::V2
    }
}

/// Returns the application that a message of v3 names, also if the message cannot be read.
fn application(payload: &[u8]) -> String {
    const NAME: &[u8] = b"\"application_id\"";
    let place = payload.windows(NAME.len()).position(|part| part == NAME);
    let value = place.and_then(|place| {
        let rest = payload[place + NAME.len()..].trim_ascii_start();
        let rest = rest.strip_prefix(b":")?;
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<String>();
        values.next()?.ok()
    });
    value.unwrap_or_default()
}

/// Reads a message of storage, with the topic that it has over MQTT: with `uid` if that is not empty, otherwise
/// with the application that the message names.
pub(super) fn with_topic(event: Event, uid: &str) -> Event {
    let Some(raw) = event.raw().filter(|raw| raw.topic().is_empty()) else {
        return event;
    };
    let named = application(raw.payload());
    let uid = if uid.is_empty() { &named } else { uid };
    match network::event_of_record(raw.payload(), uid) {
        Ok(event) => event,
        Err(_) => event,
    }
}

/// Returns when a message without a time of its own was received, as it says itself.
pub(super) fn time_in(event: &Event) -> Option<SystemTime> {
    match event {
        Event::Uplink(uplink) | Event::UplinkNormalized(uplink) => {
            uplink.received_at.or(uplink.metadata.time)
        }
        Event::Activation(join) => join.received_at,
        Event::Downlink(report) => report.received_at,
        Event::QueueInvalidated(invalidated) => invalidated.received_at,
        Event::LocationSolved(solved) => solved.received_at,
        Event::ServiceData(data) => data.received_at,
        _ => None,
    }
}

/// Reads a time with any offset, as RFC 3339 writes it, and as `mosquitto_sub` does: `Z+0100`, `+0100`.
fn time(text: &str) -> Option<SystemTime> {
    let (local, offset) = match text.get(10..)?.find(['Z', '+', '-']) {
        Some(place) => text.split_at(10 + place),
        None => return None,
    };
    let time = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let offset = offset.strip_prefix('Z').unwrap_or(offset);
    if offset.is_empty() {
        return Some(time);
    }
    let digits = offset.get(1..)?.replace(':', "");
    let is_number = digits.len() == 4 && digits.bytes().all(|it| it.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number)?;
    let ahead = Duration::from_secs((number / 100 * 60 + number % 100) * 60);
    match offset.as_bytes()[0] {
        b'-' => time.checked_add(ahead),
        _ => time.checked_sub(ahead),
    }
}

fn required<'a, T: Deserialize<'a>>(name: &str, members: &Members<'a>) -> Result<T, String> {
    let text = members
        .get(name)
        .ok_or_else(|| format!("it has no {name}"))?;
    value(name, text)
}

fn optional<'a, T: Deserialize<'a>>(
    name: &str,
    members: &Members<'a>,
) -> Result<Option<T>, String> {
    members.get(name).map(|text| value(name, text)).transpose()
}

fn value<'a, T: Deserialize<'a>>(name: &str, text: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(text)
        .map_err(|cause| format!("its {name} cannot be read: {}", place(&cause)))
}

/// Returns what is wrong, without the line, which is counted in the file.
fn place(cause: &serde_json::Error) -> String {
    cause
        .to_string()
        .replace(" at line 1 column ", " at column ")
}

/// Makes the error of a line.
pub(super) fn unreadable(number: u64, why: &str) -> Error {
    Error::new(
        ErrorKind::Decode,
        format!("line {number} of the recording cannot be read: {why}"),
    )
}

/// A text that need not be UTF-8.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Bytes, E> {
                Ok(Bytes(text.as_bytes().to_vec()))
            }
        }

        deserializer.deserialize_bytes(Reader)
    }
}
