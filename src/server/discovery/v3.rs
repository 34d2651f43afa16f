//! What The Things Stack announces about an application's MQTT server.

use std::time::Duration;

use super::{is_local, unanswered};
use crate::{
    api::{Api, ConnectionInfo, Failure, Hosts, Meaning, Refusal},
    config::{AccessKey, Address, HttpAddress, Options, in_brackets},
    error::{Error, ErrorKind, Result},
};

/// Returns the MQTT address of the application.
pub(super) fn find(
    server: &HttpAddress,
    options: &Options,
    key: &AccessKey,
    timeout: Duration,
) -> Result<Address> {
    let app_id = options.app_id.as_str();
    let api = Api::new(Hosts::single(server), options, key.clone(), timeout);
    match api.connection_info() {
        Ok(info) => choose(info, server, app_id),
        Err(failure) => Err(failed(server, options, failure)),
    }
}

/// Explains why there is no connection information.
fn failed(server: &HttpAddress, options: &Options, failure: Failure) -> Error {
    let kind = failure.kind();
    match failure {
        Failure::Unanswered(failure) => unanswered(server, options.network, failure),
        Failure::Refused(refusal) => refused(server, &options.app_id, &refusal),
        Failure::Unreadable { why, source } => {
            let context = format!(
                "{server} answers with something other than connection information: {why}; is it The Things Stack v3?"
            );
            match source {
                Some(source) => Error::with_source(kind, context, source),
                None => Error::new(kind, context),
            }
        }
    }
}

fn refused(server: &HttpAddress, app_id: &str, refusal: &Refusal) -> Error {
    let (kind, why) = match server.closed() {
        Some(closed) => (ErrorKind::DiscoveryAnswer, closed.to_owned()),
        None => (refusal.kind(), why(refusal)),
    };
    let Refusal { url, status, .. } = refusal;
    let message = match &refusal.message {
        Some(message) => format!("; it says {message}"),
        None => String::new(),
    };
    Error::new(
        kind,
        format!(
            "there is no connection information of the application {app_id:?} at {url} (HTTP {status}): {why}{message}"
        ),
    )
}

/// Explains a refusal, and adds what helps with this question.
fn why(refusal: &Refusal) -> String {
    let mut why = refusal.explain();
    why.push_str(match refusal.meaning() {
        Meaning::KeyRefused => {
            " such as that to view application information (RIGHT_APPLICATION_INFO), which is not needed with \
             mqtt_address"
        }
        Meaning::MissingRights(_) => ", or set mqtt_address, which does not need it",
        Meaning::NoSuchApplication | Meaning::NotServed => {
            "; is it The Things Stack v3? Check the cluster; to ask a V2 discovery server, set network(Network::V2)"
        }
        _ => "",
    });
    why
}

/// Chooses the address to connect to.
fn choose(info: ConnectionInfo, server: &HttpAddress, app_id: &str) -> Result<Address> {
    let ConnectionInfo {
        public_address,
        public_tls_address,
        username,
    } = info;
    if !username.is_empty() && username != app_id {
        return Err(Error::config(format!(
            "{server} knows this application as {username:?}: use that as the application id instead of {app_id:?}"
        )));
    }
    let useless = |why: &str| {
        Error::new(
            ErrorKind::NoMqttAddress,
            format!("for the application {app_id:?}, {server} announces {why}"),
        )
    };
    let (scheme, announced) = match (&*public_tls_address, &*public_address) {
        ("", "") => return Err(useless("no MQTT address; set it with mqtt_address")),
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
                    "for the application {app_id:?}, {server} announces the MQTT address {announced:?}, \
                     which cannot be read; set the right one with mqtt_address"
                ),
                cause,
            )
        })?;
    if is_local(address.host()) && !is_local(server.host()) {
        return Err(useless(&format!(
            "the MQTT address {announced:?}, so its operator has not set the public one; \
             set it yourself, probably as mqtt_address(\"{scheme}://{}:{}\")",
            in_brackets(server.host()),
            address.port()
        )));
    }
    if !address.tls() && !server.is_plain() {
        return Err(useless(&format!(
            "only the plain MQTT address {announced:?}, which exposes the access key to everyone on the way; \
             to use it anyway, set mqtt_address(\"{address}\")"
        )));
    }
    Ok(address)
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
        let server = HttpAddress::parse(Network::V3, "discovery address", server)?;
        choose(info, &server, APP).map(|address| address.to_string())
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
}
