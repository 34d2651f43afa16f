//! Downlink requests of the V2 network.

use base64::{
    Engine, alphabet,
    engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::Value;

use crate::simulator::lorawan::QueuedDownlink;

/// Go ignores the bits that the last digit has too many.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// A downlink and its place in the queue.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) downlink: QueuedDownlink,
    pub(crate) schedule: String,
}

/// Reads a request by Go's rules: keys in any case, null has no effect, and a wrong type makes the
/// whole request unreadable.
pub(crate) fn read(payload: &[u8]) -> Option<Request> {
    let mut downlink = QueuedDownlink::default();
    let mut schedule = String::new();
    let text = String::from_utf8_lossy(payload);
    let members = match serde_json::from_str(&text).ok()? {
        Value::Null => serde_json::Map::new(),
        Value::Object(members) => members,
        _ => return None,
    };
    for (key, member) in members.into_iter().filter(|(_, member)| !member.is_null()) {
        match key.to_ascii_lowercase().as_str() {
            "port" => downlink.port = u8::try_from(member.as_u64()?).ok()?,
            "confirmed" => downlink.confirmed = member.as_bool()?,
            "schedule" => schedule = member.as_str()?.to_owned(),
            "payload_raw" => {
                let text = member.as_str()?.replace(['\r', '\n'], "");
                let bytes = BASE64.decode(text).ok()?;
                downlink.payload = (!bytes.is_empty()).then_some(bytes);
            }
            "payload_fields" => {
                let empty = member.as_object()?.is_empty();
                downlink.fields = (!empty).then_some(member);
            }
            "app_id" | "dev_id" => {
                member.as_str()?;
            }
            _ => {}
        }
    }
    Some(Request { downlink, schedule })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_go_reads_them() {
        let read = |text: &str| super::read(text.as_bytes());
        let Request { downlink, schedule } =
            read(r#"{"Port":20,"CONFIRMED":true,"schedule":null,"payload_raw":"AQ==","x":1}"#)
                .unwrap();
        assert_eq!((downlink.port, downlink.confirmed), (20, true));
        assert_eq!(downlink.payload, Some(vec![1]));
        let sloppy = read(r#"{"payload_raw":"AR==\n"}"#).unwrap().downlink;
        assert_eq!(sloppy.payload, Some(vec![1]));
        assert_eq!(schedule, "");
        let empty = read("null").unwrap().downlink;
        assert_eq!((empty.payload, empty.fields), (None, None));
        for unreadable in [
            "",
            "[]",
            "{",
            r#"{"port":300}"#,
            r#"{"port":-1}"#,
            r#"{"port":1.0}"#,
            r#"{"port":"1"}"#,
            r#"{"payload_raw":"not base64!"}"#,
            r#"{"payload_raw":"AQ"}"#,
            r#"{"payload_fields":[1]}"#,
            r#"{"schedule":1}"#,
            r#"{"confirmed":1}"#,
            r#"{"dev_id":1}"#,
        ] {
            assert_eq!(read(unreadable), None, "{unreadable}");
        }
    }
}
