//! From an application id to the address of its MQTT server, over HTTP. The only file that names
//! `ureq`.
//!
//! Blocking, within a time limit; called on threads that may wait.

use std::{
    fmt,
    io::{self, BufReader, Read},
    str::FromStr,
    time::Duration,
};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::{
    address::Address,
    error::{Error, ErrorKind, Result},
    probe,
};

/// The most that may stand between two quotes, as in a text; keys and certificates are the longest.
const MAX_TEXT: usize = 256 << 10;

/// The part of its time that a search leaves unused: whoever waits for it waits no longer than that
/// time.
const SPARE: u32 = 8;

/// The host that every script of the V2 days asks.
const CLOSED_SERVERS: [&str; 2] = [
    "discovery.thethingsnetwork.org",
    "discovery.thethings.network",
];

/// What to do without the public V2 network. Part of errors.
pub(crate) const CLOSED: &str = "the discovery server of the public V2 network was closed in December 2021; \
     give the MQTT address of your own V2 network with mqtt_address, or its discovery server with discovery_address";

/// The address of a discovery server: `http://` or `https://`, a host, perhaps a port and a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DiscoveryAddress(String);

impl FromStr for DiscoveryAddress {
    type Err = Error;

    /// Without a scheme it is HTTP.
    fn from_str(text: &str) -> Result<Self> {
        let unreadable = |why: &str| {
            Error::config(format!(
                "cannot read the discovery address {text:?}: {why}; give http://host:port or https://host:port"
            ))
        };
        if text.contains('@') {
            return Err(Error::config(
                "a discovery address holds no user name or key; the discovery server asks for neither",
            ));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if !["http", "https"].contains(&scheme) {
            return Err(unreadable("the scheme is neither http nor https"));
        }
        let rest = rest.trim_end_matches('/');
        let host = rest.split('/').next().unwrap_or_default();
        let valid = |host: &str| {
            !host.is_empty()
                && !host.starts_with(':')
                && !rest
                    .chars()
                    .any(|c| c.is_whitespace() || c.is_control() || "?#\\".contains(c))
        };
        if !valid(host)
            || format!("{scheme}://{rest}")
                .parse::<ureq::http::Uri>()
                .is_err()
        {
            return Err(unreadable("it names no host"));
        }
        if host.ends_with(":1900") {
            return Err(unreadable(
                "1900 is the port of the gRPC service; this client asks over HTTP, by default port 8080 of a V2 installation",
            ));
        }
        Ok(Self(format!("{scheme}://{rest}")))
    }
}

impl DiscoveryAddress {
    /// The MQTT address of the handler that serves the application (V2: `GET
    /// /announcements/handler`, the one whose metadata names it).
    pub(crate) fn find(
        &self,
        app_id: &str,
        ca: Option<&[u8]>,
        timeout: Duration,
    ) -> Result<Address> {
        let Self(server) = self;
        let url = format!("{server}/announcements/handler");
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(timeout - timeout / SPARE))
            .http_status_as_error(false)
            .tls_config(self.trust(ca)?)
            .build()
            .new_agent();
        let response = agent
            .get(&url)
            .header("accept", "application/json")
            .call()
            .map_err(|cause| self.failed(cause))?;
        let status = response.status();
        if !status.is_success() {
            return Err(self.no_list(&url, status.as_u16()));
        }
        match find_handler(response.into_body().into_reader(), app_id) {
            Ok(Search::Found(handler)) => self.address_of(handler, app_id),
            Ok(Search::Ended { handlers: 0 }) => Err(Error::new(
                ErrorKind::ApplicationNotFound,
                format!(
                    "{server} knows no handlers at all, so none for the application {app_id:?}"
                ),
            )),
            Ok(Search::Ended { handlers }) => Err(Error::new(
                ErrorKind::ApplicationNotFound,
                format!(
                    "none of the {handlers} handlers that {server} knows serves the application {app_id:?}; check the id"
                ),
            )),
            Err(cause) if cause.is_io() => {
                Err(self.failed(ureq::Error::from(io::Error::from(cause))))
            }
            Err(cause) => Err(Error::with_source(
                ErrorKind::DiscoveryAnswer,
                format!("{server} answers with something other than a list of handlers: {cause}"),
                cause,
            )),
        }
    }

    fn address_of(&self, handler: Handler, app_id: &str) -> Result<Address> {
        let Handler { id, mqtt_address } = handler;
        if mqtt_address.is_empty() {
            return Err(Error::new(
                ErrorKind::NoMqttAddress,
                format!(
                    "the handler {id:?} of the application {app_id:?} announces no MQTT address"
                ),
            ));
        }
        mqtt_address.parse().map_err(|cause: Error| {
            Error::with_source(
                ErrorKind::NoMqttAddress,
                format!(
                    "the handler {id:?} of the application {app_id:?} announces the MQTT address {mqtt_address:?}, which cannot be read"
                ),
                cause,
            )
        })
    }

    fn trust(&self, ca: Option<&[u8]>) -> Result<TlsConfig> {
        let roots = match ca {
            None => RootCerts::PlatformVerifier,
            Some(pem) => {
                let certificates: Vec<_> = ureq::tls::parse_pem(pem)
                    .filter_map(|item| match item {
                        Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
                        _ => None,
                    })
                    .collect::<Vec<Certificate<'static>>>();
                if certificates.is_empty() {
                    return Err(Error::config(format!(
                        "the CA certificates for {} hold no certificate",
                        self.0
                    )));
                }
                RootCerts::from(certificates)
            }
        };
        Ok(TlsConfig::builder()
            .provider(TlsProvider::NativeTls)
            .root_certs(roots)
            .build())
    }

    fn no_list(&self, url: &str, status: u16) -> Error {
        let (kind, why) = match status {
            _ if self.is_closed() => (ErrorKind::DiscoveryAnswer, CLOSED),
            429 | 500.. => (ErrorKind::ServerUnavailable, "try again later"),
            _ => (ErrorKind::DiscoveryAnswer, "is this a V2 discovery server?"),
        };
        Error::new(
            kind,
            format!("there is no list of handlers at {url} (HTTP {status}): {why}"),
        )
    }

    /// Whether it is the one of the public network.
    fn is_closed(&self) -> bool {
        let (_, rest) = self.0.split_once("://").unwrap_or_default();
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        CLOSED_SERVERS
            .iter()
            .any(|closed| host.eq_ignore_ascii_case(closed))
    }

    fn failed(&self, cause: ureq::Error) -> Error {
        let kind = match &cause {
            ureq::Error::HostNotFound => ErrorKind::UnknownHost,
            ureq::Error::Timeout(_) => ErrorKind::TimedOut,
            ureq::Error::ConnectionFailed => ErrorKind::Unreachable,
            ureq::Error::Io(cause) if cause.kind() == io::ErrorKind::InvalidData => {
                ErrorKind::DiscoveryAnswer
            }
            ureq::Error::Io(cause) => ErrorKind::of_io(cause).unwrap_or_else(|| of_lookup(cause)),
            ureq::Error::NativeTls(_) | ureq::Error::Tls(_) => ErrorKind::Tls,
            _ => ErrorKind::DiscoveryAnswer,
        };
        let advice = match kind {
            _ if self.is_closed() => CLOSED,
            ErrorKind::ResourcesExhausted => probe::EXHAUSTED,
            ErrorKind::UnknownHost => "the host name cannot be found",
            ErrorKind::TimedOut => "no answer in time",
            ErrorKind::ConnectionRefused => {
                "nothing listens there; is the server up and the port right?"
            }
            ErrorKind::Tls => "its TLS certificate is not accepted, or it speaks no TLS",
            ErrorKind::ConnectionLost => "it closed the connection",
            _ => "check the address and the network",
        };
        let context = format!(
            "cannot ask the discovery server {}: {advice} ({cause})",
            self.0
        );
        Error::with_source(kind, context, cause)
    }
}

/// The kind of an I/O error that is none of a socket. A failed lookup has no number, only the words
/// of the standard library.
fn of_lookup(cause: &io::Error) -> ErrorKind {
    if !cause.to_string().contains("lookup") {
        return ErrorKind::Unreachable;
    }
    match probe::want_of_descriptors() {
        Some(_) => ErrorKind::ResourcesExhausted,
        None => ErrorKind::UnknownHost,
    }
}

/// A handler, as far as it matters here.
#[derive(Debug, Default, PartialEq)]
struct Handler {
    id: String,
    mqtt_address: String,
}

#[derive(Debug, PartialEq)]
enum Search {
    Found(Handler),
    Ended { handlers: usize },
}

/// Passes JSON on as long as quotes come often enough. What a reader of JSON has to keep has no
/// quotes in it: texts, and how deep it is.
struct ShortTexts<R> {
    json: R,
    length: usize,
    escaped: bool,
}

impl<R> ShortTexts<R> {
    fn new(json: R) -> Self {
        Self {
            json,
            length: 0,
            escaped: false,
        }
    }
}

impl<R: Read> Read for ShortTexts<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.json.read(buffer)?;
        for byte in &buffer[..count] {
            self.length += 1;
            if self.escaped {
                self.escaped = false;
            } else if *byte == b'\\' {
                self.escaped = true;
            } else if *byte == b'"' {
                self.length = 0;
            }
        }
        if self.length > MAX_TEXT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "something other than a list of handlers: a text that is too long",
            ));
        }
        Ok(count)
    }
}

/// Reads a list of handlers until the one that serves the application. The list of a large network
/// names hundreds of thousands of applications, so it is never held as a whole.
fn find_handler(list: impl Read, app_id: &str) -> serde_json::Result<Search> {
    let mut search = Search::Ended { handlers: 0 };
    let list = BufReader::new(ShortTexts::new(list));
    let mut deserializer = serde_json::Deserializer::from_reader(list);
    let result = Announcements {
        app_id,
        search: &mut search,
    }
    .deserialize(&mut deserializer);
    match search {
        // The reading was broken off there.
        Search::Found(_) => Ok(search),
        Search::Ended { .. } => result.map(|()| search),
    }
}

/// Reads `{"services": [announcement, …]}`, or the list inside it.
struct Announcements<'a> {
    app_id: &'a str,
    search: &'a mut Search,
}

impl<'de> DeserializeSeed<'de> for Announcements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Announcements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of services")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if name == "services" {
                map.next_value_seed(Announcements {
                    app_id: self.app_id,
                    search: &mut *self.search,
                })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut services: A) -> Result<(), A::Error> {
        let mut handlers = 0;
        while let Some(handler) = services.next_element_seed(Announcement(self.app_id))? {
            handlers += 1;
            if let Some(handler) = handler {
                *self.search = Search::Found(handler);
                return Err(de::Error::custom("found"));
            }
            *self.search = Search::Ended { handlers };
        }
        Ok(())
    }
}

/// Reads one announcement; the handler if it serves the application.
struct Announcement<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Announcement<'_> {
    type Value = Option<Handler>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Announcement<'_> {
    type Value = Option<Handler>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an announcement")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut handler = Handler::default();
        let mut serves = false;
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "id" => handler.id = map.next_value::<Option<String>>()?.unwrap_or_default(),
                "mqtt_address" => {
                    handler.mqtt_address = map.next_value::<Option<String>>()?.unwrap_or_default();
                }
                "metadata" => serves = map.next_value_seed(Names(self.0))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(serves.then_some(handler))
    }
}

/// Reads a handler's metadata, one small object at a time; whether one of them names the
/// application.
struct Names<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of metadata")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        #[derive(Deserialize)]
        struct Entry {
            app_id: Option<String>,
        }
        let mut named = false;
        while let Some(entry) = list.next_element::<Entry>()? {
            named |= entry.app_id.as_deref() == Some(self.0);
        }
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"services":[
        {"id":"a","net_address":"x","mqtt_address":"a.example:1883","metadata":[{"app_id":"one"},{"gateway_id":"g"}]},
        {"id":"b","metadata":[{"app_id":"two"}]},
        {"id":"c"},
        {"id":"d","metadata":null,"mqtt_address":null}]}"#;

    fn search(list: &str, app_id: &str) -> serde_json::Result<Search> {
        find_handler(list.as_bytes(), app_id)
    }

    #[test]
    fn the_handler_that_names_the_application_is_found() {
        let handler = |id: &str, mqtt_address: &str| {
            Search::Found(Handler {
                id: id.to_owned(),
                mqtt_address: mqtt_address.to_owned(),
            })
        };
        assert_eq!(search(LIST, "one").unwrap(), handler("a", "a.example:1883"));
        assert_eq!(search(LIST, "two").unwrap(), handler("b", ""));
    }

    #[test]
    fn a_list_without_the_application_ends_with_the_number_of_handlers() {
        assert_eq!(
            search(LIST, "three").unwrap(),
            Search::Ended { handlers: 4 }
        );
        for empty in ["{}", r#"{"services":[]}"#, r#"{"services":null}"#, "[]"] {
            assert_eq!(
                search(empty, "one").unwrap(),
                Search::Ended { handlers: 0 },
                "{empty}"
            );
        }
    }

    #[test]
    fn the_search_stops_at_the_match_and_reads_no_further() {
        let (found, _) = LIST.split_once(r#"{"id":"b""#).unwrap();
        assert!(matches!(search(found, "one"), Ok(Search::Found(_))));
        assert!(search(found, "two").is_err());
    }

    #[test]
    fn an_answer_without_end_is_an_error_soon() {
        struct Endless(u64, io::Repeat);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += buffer.len() as u64;
                assert!(self.0 < 2 * MAX_TEXT as u64, "reading goes on and on");
                self.1.read(buffer)
            }
        }
        for start in [r#"{"services":[{"id":""#, r#"{""#, "", r#"{"x":"#] {
            for byte in [b'a', b'[', b'1', b' ', b'\\'] {
                let endless = Endless(0, io::repeat(byte));
                let result = find_handler(start.as_bytes().chain(endless), "one");
                assert!(result.is_err(), "{start} {byte}");
            }
        }
        let quotes = r#"{"services":[{"id":""#.to_owned() + &r#"\""#.repeat(MAX_TEXT) + "\"}]}";
        assert!(search(&quotes, "one").unwrap_err().is_io());
    }

    #[test]
    fn a_long_list_of_short_texts_is_read_to_its_end() {
        let names = r#"{"app_id":"a-\"-\\"},"#.repeat(100_000);
        let list = format!(r#"{{"services":[{{"metadata":[{names}{{"app_id":"one"}}]}}]}}"#);
        assert!(matches!(search(&list, "one"), Ok(Search::Found(_))));
    }

    fn at(server: &str) -> DiscoveryAddress {
        server.parse().unwrap()
    }

    #[test]
    fn the_closed_server_is_named_however_it_fails() {
        for server in [
            "http://discovery.thethingsnetwork.org",
            "https://discovery.thethings.network/base",
            "Discovery.TheThingsNetwork.org:8080",
        ] {
            let server = at(server);
            for error in [
                server.failed(ureq::Error::HostNotFound),
                server.failed(ureq::Error::Timeout(ureq::Timeout::Global)),
                server.no_list("http://x", 404),
                server.no_list("http://x", 503),
            ] {
                assert!(error.to_string().contains(CLOSED), "{error}");
            }
        }
        for server in [
            "http://discovery.example/discovery.thethingsnetwork.org",
            "http://discovery.thethingsnetwork.org.example",
        ] {
            let error = at(server).failed(ureq::Error::HostNotFound);
            assert!(!error.to_string().contains(CLOSED), "{error}");
        }
    }

    #[test]
    fn an_address_with_a_key_in_it_is_refused_without_repeating_the_key() {
        for text in ["http://app:secret@host", "secret@host:8080"] {
            let error = text.parse::<DiscoveryAddress>().unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_answer_that_is_no_list_is_an_error() {
        for bad in [
            "",
            "<html>",
            "7",
            r#"{"services":7}"#,
            r#"{"services":[7]}"#,
        ] {
            assert!(search(bad, "one").is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_of_a_discovery_server_may_leave_out_the_scheme() {
        for (text, url) in [
            ("http://host:8080", "http://host:8080"),
            ("https://host/base/", "https://host/base"),
            ("host:8080", "http://host:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(text.parse::<DiscoveryAddress>().unwrap().0, url);
        }
        for text in [
            "",
            "ftp://host",
            "http://",
            "http://a b",
            "host?x",
            "http://:80",
            "discovery.thethings.network:1900",
        ] {
            let error = text.parse::<DiscoveryAddress>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
