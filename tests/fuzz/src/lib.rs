//! Properties of every message, on any network and with any bytes.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::IgnoredAny;
use serde_json::Value;
use ttn::{Error, ErrorKind, Event, Network, RawMessage, UplinkMessage};

/// The most memory for each byte of a message, if everything optional takes its place.
const MOST_MEMORY: u64 = 1_000;

/// The most bytes of an error, apart from its description of the topic.
const LONGEST_ERROR: usize = 2_000;

/// Splits off the first character of the input, which selects what to do with the rest.
pub fn split_form(data: &[u8]) -> Option<(u8, &[u8])> {
    let (form, rest) = data.split_first()?;
    Some((form.checked_sub(b'a')?, rest))
}

/// Decodes a message, by its content if there is no topic, and checks the properties of every
/// message.
pub fn decode(network: Network, topic: Option<&str>, payload: &[u8]) -> Option<Event> {
    let decode = || match topic {
        Some(topic) => Event::decode(network, topic, payload),
        None => Event::from_json(network, payload),
    };
    let event = decode();
    let mut again = None;
    let memory = allocation_counter::measure(|| again = Some(decode()));
    let length = topic.map_or(0, str::len) + payload.len();
    let most = 64_000 + MOST_MEMORY * length as u64;
    assert!(
        memory.bytes_max <= most,
        "{} bytes of {length}",
        memory.bytes_max
    );
    let again = again.expect("it was decoded");
    assert_eq!(format!("{event:?}"), format!("{again:?}"));
    match event {
        Ok(event) => {
            check_event(&event, topic.unwrap_or_default(), payload);
            Some(event)
        }
        Err(error) => {
            check_error(&error, topic.unwrap_or_default());
            None
        }
    }
}

fn check_event(event: &Event, topic: &str, payload: &[u8]) {
    let raw = raw(event);
    assert_eq!((raw.topic(), raw.payload()), (topic, payload));
    if matches!(event, Event::Other(_)) {
        return;
    }
    assert!(
        serde_json::from_slice::<IgnoredAny>(payload).is_ok(),
        "invalid JSON was read as {event:?}"
    );
    assert!(serde_json::to_string(event).is_ok());
    if let Event::Uplink(uplink) | Event::UplinkNormalized(uplink) = event {
        check_uplink(uplink);
    }
    if let Event::Downlink(report) = event {
        // At most 10 kB of an error are kept.
        let details = report.error_details.as_ref();
        assert!(details.is_none_or(|details| details.to_string() == report.error));
        assert!(details.is_none() || report.error.len() <= 10_003);
    }
}

fn check_uplink(uplink: &UplinkMessage) {
    let bytes = &uplink.payload_raw;
    assert_eq!(hex::decode(uplink.payload_hex()).as_ref(), Ok(bytes));
    assert_eq!(STANDARD.decode(uplink.payload_base64()).as_ref(), Ok(bytes));
    assert_eq!(uplink.fields::<Value>().unwrap(), uplink.payload_fields);
    let heard = !uplink.metadata.gateways.is_empty();
    assert_eq!(uplink.best_gateway().is_some(), heard);
}

fn check_error(error: &Error, topic: &str) {
    assert_eq!(error.kind(), ErrorKind::Decode);
    check_short(error, topic.escape_debug().count() * 4);
}

/// Checks that an error and its source are short, apart from some bytes, and in one line.
pub fn check_short(error: &Error, apart: usize) {
    let source = std::error::Error::source(error).map(ToString::to_string);
    for text in [Some(error.to_string()), source].into_iter().flatten() {
        assert!(
            text.len() <= LONGEST_ERROR + apart,
            "{} bytes: {text}",
            text.len()
        );
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

/// Returns the message behind an event.
pub fn raw(event: &Event) -> &RawMessage {
    match event {
        Event::Uplink(event) | Event::UplinkNormalized(event) => event.raw(),
        Event::UplinkField(event) => event.raw(),
        Event::UplinkFailed(event) => event.raw(),
        Event::Activation(event) => event.raw(),
        Event::ActivationFailed(event) => event.activation.raw(),
        Event::Device(event) => event.raw(),
        Event::Downlink(event) => event.raw(),
        Event::QueueInvalidated(event) => event.raw(),
        Event::LocationSolved(event) => event.raw(),
        Event::ServiceData(event) => event.raw(),
        Event::Other(raw) => raw,
        other => panic!("no message becomes {other:?}"),
    }
}

/// Returns the ids of the device that an event is about.
pub fn ids(event: &Event) -> Option<(&str, &str)> {
    Some(match event {
        Event::Uplink(event) | Event::UplinkNormalized(event) => (&event.app_id, &event.dev_id),
        Event::UplinkField(event) => (&event.app_id, &event.dev_id),
        Event::UplinkFailed(event) => (&event.app_id, &event.dev_id),
        Event::Activation(event) => (&event.app_id, &event.dev_id),
        Event::ActivationFailed(event) => (&event.activation.app_id, &event.activation.dev_id),
        Event::Device(event) => (&event.app_id, &event.dev_id),
        Event::Downlink(event) => (&event.app_id, &event.dev_id),
        Event::QueueInvalidated(event) => (&event.app_id, &event.dev_id),
        Event::LocationSolved(event) => (&event.app_id, &event.dev_id),
        Event::ServiceData(event) => (&event.app_id, &event.dev_id),
        _ => return None,
    })
}

/// Returns the value of a member that is a whole number in its plain form; `None` for other forms.
pub fn plain_number(member: &Value) -> Option<u64> {
    match member {
        Value::Null => Some(0),
        member => member.as_u64(),
    }
}
