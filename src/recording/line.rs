//! The lines of a recording, as they are written.

use std::{
    io,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use crate::{
    message::{Event, Malformed, RawMessage, to_base64},
    network::Network,
};

/// The version of the form of the lines.
pub(super) const VERSION: u64 = 1;

pub(super) const V2: &str = "v2";
pub(super) const V3: &str = "v3";

/// What is written in place of the topic for a message that itself says what it is.
pub(super) const BY_MEMBER: &str = "";

/// The end of the year 9999, in seconds since 1970.
const LATEST: u64 = 253_402_300_799;

/// The first line of a file, which is also in the middle of one that was continued.
#[derive(Serialize)]
struct Header {
    recording: u64,
    network: &'static str,
}

/// A message. What is `false` or not there is left out.
#[derive(Serialize)]
struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    is_retained: bool,
    #[serde(skip_serializing_if = "is_false")]
    is_backfilled: bool,
    #[serde(skip_serializing_if = "is_false")]
    is_duplicate: bool,
    #[serde(skip_serializing_if = "is_false")]
    is_redelivered: bool,
    /// Whether the topic is only the part before what is not text.
    #[serde(skip_serializing_if = "is_false")]
    is_topic_cut: bool,
    /// The topic on the network, if a broker of one's own has another.
    #[serde(skip_serializing_if = "Option::is_none")]
    read_as: Option<&'a str>,
}

/// What happened that is not a message.
#[derive(Serialize)]
struct Note<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    note: &'a T,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

pub(super) fn header(network: Network) -> io::Result<Vec<u8>> {
    let network = match network {
        Network::V2 => V2,
        Network::V3 => V3,
    };
    json(&Header {
        recording: VERSION,
        network,
    })
}

/// Returns the line of a message that came as this event.
pub(super) fn message(
    event: &Event,
    raw: &RawMessage,
    network: Network,
    time: Option<SystemTime>,
) -> io::Result<Vec<u8>> {
    let flags = match event {
        Event::Uplink(uplink) | Event::UplinkNormalized(uplink) => [
            uplink.is_backfilled(),
            uplink.is_duplicate(),
            uplink.is_redelivered(),
        ],
        _ => [false; 3],
    };
    let [is_backfilled, is_duplicate, is_redelivered] = flags;
    let is_topic_cut = is_topic_cut(event);
    let text = readable(raw.payload());
    json(&Message {
        time: time.map(written),
        topic: raw.topic(),
        payload: text,
        payload_base64: text.is_none().then(|| to_base64(raw.payload())),
        is_retained: raw.is_retained(),
        is_backfilled,
        is_duplicate,
        is_redelivered,
        is_topic_cut,
        read_as: (!is_topic_cut)
            .then(|| read_as(event, raw.topic(), network))
            .flatten(),
    })
}

/// Returns the line of an event that is not a message.
pub(super) fn note(event: &impl Serialize, time: Option<SystemTime>) -> io::Result<Vec<u8>> {
    json(&Note {
        time: time.map(written),
        note: event,
    })
}

fn json(line: &impl Serialize) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(line)?)
}

/// Writes a time; one outside of the years 1970 to 9999, of a clock that is not set, as the nearest in them.
fn written(time: SystemTime) -> String {
    let latest = SystemTime::UNIX_EPOCH + Duration::from_secs(LATEST);
    let time = time.clamp(SystemTime::UNIX_EPOCH, latest);
    humantime::format_rfc3339_nanos(time).to_string()
}

/// Returns the payload as text, unless base64 is shorter by far because of what JSON escapes.
fn readable(payload: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(payload).ok()?;
    let longer: usize = payload
        .iter()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 1,
            0..=0x1f => 5,
            _ => 0,
        })
        .sum();
    (longer <= payload.len()).then_some(text)
}

fn is_topic_cut(event: &Event) -> bool {
    let Event::Malformed(malformed) = event else {
        return false;
    };
    let of_topic = Malformed::of_topic(malformed.raw.clone());
    malformed.error.to_string() == of_topic.error.to_string()
}

/// Returns the topic on the network of a message that came on another one, behind a prefix or of an integration.
fn read_as<'a>(event: &Event, topic: &'a str, network: Network) -> Option<&'a str> {
    if matches!(event, Event::Other(_)) {
        return None;
    }
    if network.is_known_topic(topic) {
        return is_masked(event, network).then_some(BY_MEMBER);
    }
    let mut rest = topic;
    while let Some((_, behind)) = rest.split_once('/') {
        if network.is_known_topic(behind) {
            return Some(behind);
        }
        rest = behind;
    }
    Some(BY_MEMBER)
}

/// Returns whether an uplink was read as one that may lack members, because it came from storage: one on a topic has
/// the rate, which is 0 where it is left out.
fn is_masked(event: &Event, network: Network) -> bool {
    let Event::Uplink(uplink) = event else {
        return false;
    };
    network == Network::V3 && uplink.packet_error_rate.is_none()
}
