//! The text by which a later process follows a downlink: on v3 its correlation id, on V2 its content.

use std::sync::Arc;

use super::{
    book::{Content, Followed},
    delivery::Progress,
};
use crate::{
    error::{Error, ErrorKind, Result},
    message::{Downlink, to_base64},
    network::Network,
};

/// The beginning of a key on V2. The number is that of the form.
const CONTENT: &str = "ttn-v2-1";

/// The beginning of a correlation id of this crate.
const CORRELATION: &str = "ttn";

/// What ends the correlation id of a confirmed downlink.
const CONFIRMED: char = 'c';

/// Returns a correlation id, which tells whether the downlink is confirmed. `prefix` is that of the client.
pub(super) fn correlation_id(prefix: u64, number: u64, confirmed: bool) -> String {
    let mut id = format!("{}{number}", start_of_ids(prefix));
    id.extend(confirmed.then_some(CONFIRMED));
    id
}

/// Returns the beginning of all correlation ids of a client.
pub(super) fn start_of_ids(prefix: u64) -> String {
    format!("{CORRELATION}:{prefix:016x}:")
}

/// Returns the key of a downlink that only its content identifies.
pub(super) fn of_content(content: &Content) -> String {
    let (port, confirmed) = (content.port(), content.is_confirmed());
    let payload = match content.payload() {
        Ok(bytes) => to_base64(bytes),
        Err(fields) => serde_json::Value::Object(fields.clone()).to_string(),
    };
    let confirmed = if confirmed {
        "confirmed"
    } else {
        "unconfirmed"
    };
    format!("{CONTENT}:{port}:{confirmed}:{payload}")
}

impl Followed {
    /// Returns the downlink with this key.
    ///
    /// # Errors
    ///
    /// If it is not a key of this network.
    pub(crate) fn of_key(network: Network, key: &str, dev_id: &str) -> Result<Self> {
        let found = match network.correlates() {
            true => is_confirmed(key).map(|confirmed| (confirmed, Some(key.into()), None)),
            false => {
                content(key).map(|content| (content.is_confirmed(), None, Some(Arc::new(content))))
            }
        };
        let Some((confirmed, correlation_id, content)) = found else {
            return Err(Error::new(
                ErrorKind::Downlink,
                format!(
                    "{key:?} is not the key of a downlink on this network; pass what Delivery::key has returned for a downlink to {dev_id}, unchanged"
                ),
            ));
        };
        Ok(Self {
            dev_id: dev_id.into(),
            correlation_id,
            has_fields: false,
            content,
            progress: Progress::resumed(confirmed),
        })
    }
}

/// Returns whether the downlink with a correlation id of this crate is confirmed; `None` for another id.
fn is_confirmed(id: &str) -> Option<bool> {
    let (prefix, number) = id
        .strip_prefix(CORRELATION)?
        .strip_prefix(':')?
        .split_once(':')?;
    let plain = number.strip_suffix(CONFIRMED);
    let (prefix, number) = (
        u64::from_str_radix(prefix, 16).ok()?,
        plain.unwrap_or(number).parse().ok()?,
    );
    let is_whole = correlation_id(prefix, number, plain.is_some()) == id;
    is_whole.then_some(plain.is_some())
}

fn content(key: &str) -> Option<Content> {
    let rest = key.strip_prefix(CONTENT)?.strip_prefix(':')?;
    let (port, rest) = rest.split_once(':')?;
    let (confirmed, payload) = rest.split_once(':')?;
    let downlink = match payload.starts_with('{') {
        true => Downlink::fields(serde_json::from_str::<serde_json::Value>(payload).ok()?),
        false => Downlink::base64(payload),
    };
    downlink.payload.read().ok()?;
    let confirmed = match confirmed {
        "confirmed" => true,
        "unconfirmed" => false,
        _ => return None,
    };
    let downlink = downlink.port(port.parse().ok()?).confirmed(confirmed);
    Some(Content::of(&downlink))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_key_of_a_v2_downlink_holds_its_content() {
        for downlink in [
            Downlink::bytes([1, 2]).port(20).confirmed(true),
            Downlink::hex("0102"),
            Downlink::fields(json!({"open": true, "text": "a:b"})),
        ] {
            let sent = Content::of(&downlink);
            let key = of_content(&sent);
            let followed = Followed::of_key(Network::V2, &key, "valve-3").unwrap();
            assert_eq!(followed.content.as_deref(), Some(&sent), "{key}");
            assert_eq!(followed.progress.is_confirmed(), sent.is_confirmed());
        }
        let valve = Downlink::bytes([1, 2]).port(20).confirmed(true);
        assert_eq!(
            of_content(&Content::of(&valve)),
            "ttn-v2-1:20:confirmed:AQI="
        );
    }

    #[test]
    fn the_key_of_a_v3_downlink_is_its_correlation_id_and_tells_whether_it_is_confirmed() {
        for (id, confirmed) in [
            (correlation_id(7, 3, false), false),
            (correlation_id(u64::MAX, u64::MAX, true), true),
        ] {
            let followed = Followed::of_key(Network::V3, &id, "valve-3").unwrap();
            assert_eq!(followed.correlation_id.as_deref(), Some(id.as_str()));
            assert_eq!(followed.progress.is_confirmed(), confirmed);
        }
    }

    #[test]
    fn what_is_no_key_of_the_network_is_an_error_that_quotes_it() {
        let (v2, v3) = ("ttn-v2-1:20:confirmed:AQI=", "ttn:0000000000000007:3c");
        for (network, key) in [
            (Network::V2, v3),
            (Network::V3, v2),
            (Network::V3, ""),
            (Network::V3, "ttn:7:3"),
            (Network::V3, "ttn:0000000000000007:3x"),
            (Network::V3, "ttn:0000000000000007:+3"),
            (Network::V2, "ttn-v2-2:20:confirmed:AQI="),
            (Network::V2, "ttn-v2-1:256:confirmed:AQI="),
            (Network::V2, "ttn-v2-1:20:maybe:AQI="),
            (Network::V2, "ttn-v2-1:20:confirmed:{"),
            (Network::V2, "ttn-v2-1:20:confirmed:A"),
        ] {
            let Err(error) = Followed::of_key(network, key, "valve-3") else {
                panic!("{key}");
            };
            assert_eq!(error.kind(), ErrorKind::Downlink);
            assert!(error.to_string().contains(&format!("{key:?}")), "{error}");
        }
    }
}
