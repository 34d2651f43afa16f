//! The V2 discovery service: a list of handlers, each with the applications that it serves.

use std::{
    fmt,
    io::{self, BufReader, Read},
    time::Duration,
};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::unanswered;
use crate::{
    config::{Address, HttpAddress, Options},
    error::{Error, ErrorKind, Result},
    http::{Failure, Request},
};

/// The most bytes between two quotes; keys and certificates are the longest texts.
const MAX_TEXT: usize = 256 << 10;

/// Returns the MQTT address of the handler whose metadata names the application
/// (`GET /announcements/handler`).
pub(super) fn find(server: &HttpAddress, options: &Options, timeout: Duration) -> Result<Address> {
    let app_id = &options.app_id;
    let url = format!("{server}/announcements/handler");
    let request = Request {
        url: &url,
        key: None,
        follows: true,
        accept: "application/json",
        body: None,
        certificates: &options.certificates,
        way_out: &options.way_out,
        timeout,
    };
    let failed = |failure| unanswered(server, options.network, failure);
    let answer = request.send().map_err(failed)?;
    if !(200..300).contains(&answer.status) {
        return Err(match not_found(answer.status, answer.body) {
            Some(message) => Error::new(
                ErrorKind::ApplicationNotFound,
                format!(
                    "{server} knows no handler for the application {app_id:?}: {message} (HTTP {}); check the id",
                    answer.status
                ),
            ),
            None => no_list(server, &url, answer.status),
        });
    }
    match find_handler(answer.body, app_id) {
        Ok(Search::Found(handler)) => address_of(handler, app_id),
        Ok(Search::Ended { handlers: 0 }) => Err(Error::new(
            ErrorKind::ApplicationNotFound,
            format!("{server} knows no handlers at all, so none for the application {app_id:?}"),
        )),
        Ok(Search::Ended { handlers }) => Err(Error::new(
            ErrorKind::ApplicationNotFound,
            format!(
                "none of the {handlers} handlers that {server} knows serves the application {app_id:?}; check the id"
            ),
        )),
        Err(cause) if cause.is_io() => Err(failed(Failure::of_body(cause.into()))),
        Err(cause) => Err(Error::with_source(
            ErrorKind::DiscoveryAnswer,
            format!(
                "{server} answers with something other than a list of handlers: {cause}; {OTHER_NETWORK}"
            ),
            cause,
        )),
    }
}

/// What to check, as part of errors.
const OTHER_NETWORK: &str = "is it a V2 discovery server? \
     For The Things Stack v3, use one of its API keys (NNSXS.…), or set network(Network::V3)";

/// Returns the server's message, if the answer means that something does not exist. Servers since 2017
/// report that as an internal error.
fn not_found(status: u16, body: impl Read) -> Option<String> {
    const UNKNOWN: i64 = 2;
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        code: i64,
    }
    let refusal: Refusal = serde_json::from_reader(body.take(MAX_TEXT as u64)).ok()?;
    let says_so = status == 500 && refusal.code == UNKNOWN && refusal.error.ends_with("not found");
    says_so.then_some(refusal.error)
}

fn no_list(server: &HttpAddress, url: &str, status: u16) -> Error {
    let (kind, why) = match (server.closed(), status) {
        (Some(closed), _) => (ErrorKind::DiscoveryAnswer, closed),
        (None, 429 | 500..) => (ErrorKind::ServerUnavailable, "try again later"),
        _ => (ErrorKind::DiscoveryAnswer, OTHER_NETWORK),
    };
    Error::new(
        kind,
        format!("cannot get the list of handlers from {url} (HTTP {status}): {why}"),
    )
}

fn address_of(handler: Handler, app_id: &str) -> Result<Address> {
    let Handler { id, mqtt_address } = handler;
    if mqtt_address.is_empty() {
        return Err(Error::new(
            ErrorKind::NoMqttAddress,
            format!("the handler {id:?} of the application {app_id:?} announces no MQTT address"),
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

/// The members of a handler that matter here.
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

/// Passes JSON on as long as quotes come often enough. This bounds what the JSON reader keeps, its
/// current text and its depth, since neither contains a quote.
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
                "something other than a list of handlers: its text is too long",
            ));
        }
        Ok(count)
    }
}

/// Reads a list of handlers up to the one that serves the application. The list of a large network
/// names hundreds of thousands of applications, so it is never held in memory as a whole.
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
        // The error only stopped the reading.
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

/// Reads one announcement, and returns the handler if it serves the application.
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

/// Reads a handler's metadata, one small object at a time, and returns whether one of them names
/// the application.
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
    use crate::network::Network;

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
                assert!(self.0 < 2 * MAX_TEXT as u64, "reading does not stop");
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

    #[test]
    fn the_closed_server_is_named_whatever_it_answers() {
        let server = "http://discovery.thethingsnetwork.org";
        let server = HttpAddress::parse(Network::V2, "discovery address", server).unwrap();
        for status in [404, 503] {
            let error = no_list(&server, "http://x", status);
            assert!(error.to_string().contains("December 2021"), "{error}");
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
}
