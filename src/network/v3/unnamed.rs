//! Reading messages without a topic that tells their kind: the member of the JSON object that holds a
//! message tells it.

use super::{
    super::{
        Decoded,
        json::{read_object, without_mark},
    },
    message::{Envelope, malformed},
    split_uid,
};
use crate::{
    error::{Error, ErrorKind, Result},
    message::{Event, RawMessage, Spare},
};

/// Reads a message by its content.
pub(in crate::network) fn event_from_json(raw: RawMessage) -> Result<Event> {
    if raw.payload().trim_ascii_start().starts_with(b"data:") {
        return Err(unreadable(
            "it is a line of server-sent events, not JSON; pass what follows \"data:\", or all lines to Event::read_all",
        ));
    }
    if !is_json(raw.payload()) {
        return Err(unreadable(
            "it is not JSON; is the webhook's format protobuf? Set it to JSON",
        ));
    }
    event_of_record(raw, "")
}

/// Reads a message from storage, or of an event. If the application id is known, with its tenant, the
/// message gets its topic, and the id if a field mask has removed it.
pub(in crate::network) fn event_of_record(raw: RawMessage, uid: &str) -> Result<Event> {
    let of_json = |cause: serde_json::Error| {
        Error::with_source(
            ErrorKind::Decode,
            format!("cannot read the message: {cause}"),
            cause,
        )
    };
    let mut envelope = Envelope::new(&raw, None, Spare::default());
    read_object(raw.payload(), &mut envelope).map_err(of_json)?;
    if let Some(name) = envelope.stream_event() {
        return Err(unreadable(&format!(
            "it is the event {name:?} of the events stream or of an export of the Console; pass its \"data\", \
             which for as.up.data.forward is an uplink, or the whole stream to Event::read_all"
        )));
    }
    envelope.ids.complete(split_uid(uid).0, "");
    if envelope.ids.dev_id.is_empty() {
        return Err(unreadable("device_id is missing"));
    }
    if envelope.ids.app_id.is_empty() {
        return Err(unreadable(
            "application_id is missing, as if a field mask had removed it; Event::read_all takes it with app_id",
        ));
    }
    let on_topic;
    if let Some(topic) = envelope.topic(uid) {
        on_topic = raw.on_topic(&topic);
        envelope.raw = &on_topic;
    }
    envelope.into_event().map_err(of_json)
}

fn unreadable(why: &str) -> Error {
    Error::new(ErrorKind::Decode, format!("cannot read the message: {why}"))
}

/// Returns whether text can be JSON: it begins like a value, and is text.
fn is_json(body: &[u8]) -> bool {
    let start = without_mark(body).trim_ascii_start().first();
    let is_start = |byte: &u8| b"{[\"-tfn".contains(byte) || byte.is_ascii_digit();
    start.is_none_or(is_start)
}

/// Reads a message of an application. Returns `None` for one of another application. One that cannot be
/// read becomes [`Event::Malformed`] if it has the member of a known kind, and [`Event::Other`] otherwise.
pub(in crate::network) fn decode_by_member(raw: &RawMessage, app_id: &str) -> Option<Decoded> {
    let mut envelope = Envelope::new(raw, None, Spare::default());
    let read = read_object(raw.payload(), &mut envelope);
    let Some(is_uplink) = envelope.is_uplink() else {
        return Some(Event::Other(raw.clone()).into());
    };
    let is_foreign = |ids: &str| !ids.is_empty() && ids != split_uid(app_id).0;
    if is_foreign(&envelope.ids.app_id) {
        return None;
    }
    let decoded = read.and_then(|odd| {
        envelope.ids.check()?;
        let event = envelope.into_event()?;
        Ok(Decoded { event, odd })
    });
    Some(decoded.unwrap_or_else(|cause| malformed(raw, is_uplink, cause)))
}
