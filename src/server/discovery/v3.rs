//! What The Things Stack says of an application's MQTT server, to those who have its key.

use std::{io::Read, time::Duration};

use serde_json::{Map, Value};

use super::is_local;
use crate::{
    config::{AccessKey, Address, DiscoveryAddress, Options, in_brackets},
    error::{Error, ErrorKind, Result},
    http::Answer,
};

const MAX_ANSWER: u64 = 64 << 10;

/// The most characters of the server's own words in an error.
const MAX_QUOTE: usize = 200;

/// Shorter keys may be part of a name by chance.
const LEAST_KEY: usize = 16;

/// The MQTT address of the application (`GET
/// /api/v3/as/applications/{application_id}/mqtt-connection-info`).
pub(super) fn find(
    server: &DiscoveryAddress,
    options: &Options,
    key: &AccessKey,
    timeout: Duration,
) -> Result<Address> {
    let app_id = options.app_id.as_str();
    let (application, _) = app_id.split_once('@').unwrap_or((app_id, ""));
    let url = format!("{server}/api/v3/as/applications/{application}/mqtt-connection-info");
    let answer = server.get(&url, Some(key), options, timeout)?;
    if answer.status != 200 {
        return Err(refused(server, &url, answer, &options.app_id, key));
    }
    let mut body = Vec::new();
    answer
        .body
        .take(MAX_ANSWER + 1)
        .read_to_end(&mut body)
        .map_err(|cause| server.failed(cause))?;
    ConnectionInfo::read(server, &body, key)?.address(server, app_id)
}

/// Why there is no connection information.
fn refused(
    server: &DiscoveryAddress,
    url: &str,
    answer: Answer,
    app_id: &str,
    key: &AccessKey,
) -> Error {
    let Answer {
        status,
        location,
        body,
    } = answer;
    let (kind, why) = match (server.closed(), status) {
        (Some(closed), _) => (ErrorKind::DiscoveryAnswer, closed.to_owned()),
        (None, 401 | 403) => (
            ErrorKind::NotAuthorized,
            format!(
                "the API key of {app_id:?} is not accepted, or it lacks the right to view application information \
                 (RIGHT_APPLICATION_INFO), which mqtt_address does without"
            ),
        ),
        (None, 404) => (
            ErrorKind::ApplicationNotFound,
            format!(
                "the application {app_id:?} is not known there; check the id and the cluster, and whether it is \
                 The Things Stack v3 at all (a V2 discovery server is asked with network(Network::V2))"
            ),
        ),
        (None, 429 | 500..) => (ErrorKind::ServerUnavailable, "try again later".to_owned()),
        (None, 300..=399) => (
            ErrorKind::DiscoveryAnswer,
            format!(
                "it points to {}, and the API key goes only to the server that was given; give that one if it is the right one",
                quote(location.as_deref(), key).unwrap_or_else(|| "another place".to_owned())
            ),
        ),
        _ => (
            ErrorKind::DiscoveryAnswer,
            "is it The Things Stack v3?".to_owned(),
        ),
    };
    let words = match message(body, key) {
        Some(message) => format!("; it says {message}"),
        None => String::new(),
    };
    Error::new(
        kind,
        format!("there is no connection information at {url} (HTTP {status}): {why}{words}"),
    )
}

/// The server's own words, `{"message": "…"}`.
fn message(body: impl Read, key: &AccessKey) -> Option<String> {
    let mut text = Vec::new();
    body.take(MAX_ANSWER).read_to_end(&mut text).ok()?;
    let answer: Value = serde_json::from_slice(&text).ok()?;
    quote(answer.get("message")?.as_str(), key)
}

/// Words to repeat in an error, unless they repeat the key.
fn quote(words: Option<&str>, key: &AccessKey) -> Option<String> {
    let words = words?.trim();
    if words.is_empty() || secrets(key).any(|secret| words.contains(secret)) {
        return None;
    }
    let mut short: String = words.chars().take(MAX_QUOTE).collect();
    if short.len() < words.len() {
        short.push('…');
    }
    Some(format!("{short:?}"))
}

/// The key, and the part of it that is the secret.
fn secrets(key: &AccessKey) -> impl Iterator<Item = &str> {
    let key = key.reveal();
    let secret = key.rsplit('.').next().unwrap_or_default();
    [key, secret].into_iter().filter(|text| !text.is_empty())
}

/// What is announced; empty where nothing is.
#[derive(Debug, Default, PartialEq)]
struct ConnectionInfo {
    public_address: String,
    public_tls_address: String,
    username: String,
}

impl ConnectionInfo {
    fn read(server: &DiscoveryAddress, body: &[u8], key: &AccessKey) -> Result<Self> {
        let other = |why: &str| {
            format!(
                "{server} answers with something other than connection information: {why}; is it The Things Stack v3?"
            )
        };
        let wrong = |why: &str| Error::new(ErrorKind::DiscoveryAnswer, other(why));
        if body.len() as u64 > MAX_ANSWER {
            return Err(wrong("it is too long"));
        }
        let info: Value = serde_json::from_slice(body).map_err(|cause| {
            Error::with_source(ErrorKind::DiscoveryAnswer, other(&cause.to_string()), cause)
        })?;
        let Value::Object(mut info) = info else {
            return Err(wrong("it is no JSON object"));
        };
        let mut text = |name: &str| match take(&mut info, name) {
            Some(text) => {
                let mut secrets = secrets(key).filter(|secret| secret.len() >= LEAST_KEY);
                match secrets.any(|secret| text.contains(secret)) {
                    true => Err(wrong(&format!("its {name} holds the access key"))),
                    false => Ok(text),
                }
            }
            None => Err(wrong(&format!("its {name} is no text"))),
        };
        Ok(Self {
            public_address: text("public_address")?,
            public_tls_address: text("public_tls_address")?,
            username: text("username")?,
        })
    }

    /// The address to connect to.
    fn address(self, server: &DiscoveryAddress, app_id: &str) -> Result<Address> {
        let Self {
            public_address,
            public_tls_address,
            username,
        } = self;
        if !username.is_empty() && username != app_id {
            return Err(Error::config(format!(
                "{server} knows this application as {username:?}: use that as the application id, in place of {app_id:?}"
            )));
        }
        let useless = |why: String| {
            Error::new(
                ErrorKind::NoMqttAddress,
                format!("{server} announces for the application {app_id:?} {why}"),
            )
        };
        let (scheme, announced) = match (&*public_tls_address, &*public_address) {
            ("", "") => {
                return Err(useless(
                    "no MQTT address; give it with mqtt_address".to_owned(),
                ));
            }
            ("", plain) => ("mqtt", plain),
            (tls, _) => ("mqtts", tls),
        };
        let (_, place) = announced.split_once("://").unwrap_or(("", announced));
        let address: Address = format!("{scheme}://{place}")
            .parse()
            .map_err(|cause: Error| {
                Error::with_source(
                    ErrorKind::NoMqttAddress,
                    format!(
                        "{server} announces for the application {app_id:?} the MQTT address {announced:?}, \
                         which cannot be read; give the right one with mqtt_address"
                    ),
                    cause,
                )
            })?;
        if is_local(address.host()) && !is_local(server.host()) {
            return Err(useless(format!(
                "the MQTT address {announced:?}, so its operator has not set the public one; \
                 give it, perhaps as mqtt_address(\"{scheme}://{}:{}\")",
                in_brackets(server.host()),
                address.port()
            )));
        }
        if !address.tls() && !server.is_plain() {
            return Err(useless(format!(
                "only the plain MQTT address {announced:?}, over which the access key is readable by everyone on the way; \
                 if it shall be that one, give mqtt_address(\"{address}\")"
            )));
        }
        Ok(address)
    }
}

/// A member of an answer: empty when it is absent, nothing when it is no text.
fn take(info: &mut Map<String, Value>, name: &str) -> Option<String> {
    match info.remove(name) {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(text)) => Some(text.trim().to_owned()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    const APP: &str = "greenhouse@ttn";

    fn info(public_address: &str, public_tls_address: &str) -> ConnectionInfo {
        ConnectionInfo {
            public_address: public_address.to_owned(),
            public_tls_address: public_tls_address.to_owned(),
            username: APP.to_owned(),
        }
    }

    fn told(server: &str, info: ConnectionInfo) -> Result<String> {
        let server = DiscoveryAddress::parse(Network::V3, server)?;
        info.address(&server, APP)
            .map(|address| address.to_string())
    }

    #[track_caller]
    fn useless(server: &str, info: ConnectionInfo, words: &[&str]) {
        let error = told(server, info).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoMqttAddress, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn the_address_with_tls_is_taken_whatever_its_form() {
        for (announced, address) in [
            ("tts.example:8883", "mqtts://tts.example:8883"),
            ("tts.example", "mqtts://tts.example:8883"),
            ("tts.example:1883", "mqtts://tts.example:1883"),
            ("https://tts.example", "mqtts://tts.example:8883"),
            ("https://tts.example/", "mqtts://tts.example:8883"),
            ("mqtts://tts.example:9", "mqtts://tts.example:9"),
            ("mqtt://tts.example:9", "mqtts://tts.example:9"),
            ("tcp://tts.example:9", "mqtts://tts.example:9"),
            ("[2001:db8::7]:9", "mqtts://[2001:db8::7]:9"),
        ] {
            for server in ["https://tts.example", "http://tts.example"] {
                let info = info("plain.example:1883", announced);
                assert_eq!(told(server, info).unwrap(), address, "{announced}");
            }
        }
    }

    #[test]
    fn the_plain_address_is_taken_only_of_a_server_asked_in_plain() {
        for (announced, address) in [
            ("tts.example:1884", "mqtt://tts.example:1884"),
            ("tts.example", "mqtt://tts.example:1883"),
            ("tcp://tts.example:8883", "mqtt://tts.example:8883"),
        ] {
            assert_eq!(
                told("http://tts.example", info(announced, "")).unwrap(),
                address
            );
            for server in ["https://tts.example", "tts.example"] {
                let advice = format!("mqtt_address(\"{address}\")");
                let words = ["only the plain", announced, &advice, server];
                useless(server, info(announced, ""), &words);
            }
        }
    }

    #[test]
    fn a_server_elsewhere_that_announces_this_machine_has_no_public_address() {
        for announced in ["localhost:8883", "127.0.0.1:8883", "[::1]:8883", "0.0.0.0"] {
            let words = [
                announced,
                "operator",
                "mqtt_address(\"mqtts://tts.example:8883\")",
            ];
            useless("tts.example:8885", info("", announced), &words);
            for server in ["http://localhost:1885", "127.0.0.1", "https://[::1]:8885"] {
                assert!(told(server, info("", announced)).is_ok(), "{announced}");
            }
        }
        for server in ["http://tts.example", "https://tts.example"] {
            let words = [
                "\"localhost:1883\"",
                "mqtt_address(\"mqtt://tts.example:1883\")",
            ];
            useless(server, info("localhost:1883", ""), &words);
        }
    }

    #[test]
    fn an_address_that_cannot_be_read_is_quoted() {
        for announced in [
            ":8883",
            "tts.example:port",
            "a b",
            "tts.example/mqtt",
            "mqtts://",
        ] {
            let info = info("tts.example", announced);
            let words = [&format!("{announced:?}"), "mqtt_address", APP];
            useless("http://tts.example", info, &words);
        }
        useless("tts.example", info("", ""), &["no MQTT address", APP]);
    }

    #[test]
    fn another_name_of_the_application_is_told_and_a_missing_one_is_not() {
        for username in ["greenhouse", "greenhouse@my-tenant"] {
            let info = ConnectionInfo {
                username: username.to_owned(),
                ..info("", "tts.example")
            };
            let error = told("tts.example", info).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let words = format!("knows this application as {username:?}");
            assert!(error.to_string().contains(&words), "{error}");
        }
        let info = ConnectionInfo {
            username: String::new(),
            ..info("", "tts.example")
        };
        assert!(told("tts.example", info).is_ok());
    }

    fn read(body: &str) -> Result<ConnectionInfo> {
        let server = DiscoveryAddress::parse(Network::V3, "tts.example")?;
        let key = AccessKey::new("NNSXS.ID.A-LONG-ENOUGH-SECRET".to_owned());
        ConnectionInfo::read(&server, body.as_bytes(), &key)
    }

    #[test]
    fn an_absent_or_empty_member_is_the_same() {
        for body in [
            "{}",
            r#"{"public_address":null,"username":""}"#,
            r#"{"public_tls_address":" ","more":[7]}"#,
        ] {
            assert_eq!(read(body).unwrap(), ConnectionInfo::default(), "{body}");
        }
    }

    #[test]
    fn a_server_that_repeats_the_key_is_not_repeated() {
        for word in ["NNSXS.ID.A-LONG-ENOUGH-SECRET", "A-LONG-ENOUGH-SECRET"] {
            for name in ["public_address", "public_tls_address", "username"] {
                let error = read(&format!(r#"{{"{name}":"x{word}"}}"#)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::DiscoveryAnswer);
                assert!(error.to_string().contains(name), "{error}");
                assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
            }
            let key = AccessKey::new("NNSXS.ID.A-LONG-ENOUGH-SECRET".to_owned());
            assert_eq!(quote(Some(&format!("wrong key: {word}")), &key), None);
        }
    }

    #[test]
    fn the_words_of_a_server_are_cut_and_stay_on_one_line() {
        let key = AccessKey::new("NNSXS.ID.SECRET".to_owned());
        assert_eq!(quote(Some(" a\nb "), &key).as_deref(), Some(r#""a\nb""#));
        assert_eq!(quote(Some(" "), &key), None);
        let long = quote(Some(&"ä".repeat(10_000)), &key).unwrap();
        assert_eq!(long, format!("\"{}…\"", "ä".repeat(MAX_QUOTE)));
    }
}
