//! Reading what comes one after the other in a stream of The Things Stack, or in an export of its Console.

use std::{ops::Range, time::SystemTime};

use serde::de::{self, IgnoredAny, MapAccess};

use super::{
    super::json::{Member, Members, Raw, Scanner, document, read_object},
    V3,
};

/// One JSON object of a stream, or of an export: a line, or an element of a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame<'a> {
    /// A message, or at least nothing else.
    Up {
        /// The object that also comes over MQTT. It may be unreadable.
        json: &'a [u8],
        /// When the event happened, if this is one of the event stream.
        at: Option<SystemTime>,
    },
    /// The event of a message that the server no longer keeps.
    Trace {
        /// Such as `as.up.data.forward`, which is the event of an uplink.
        name: String,
        dev_id: String,
        at: SystemTime,
    },
    /// The event that begins an event stream, at that time.
    Started(Option<SystemTime>),
    /// The event with this name, which is not a message for applications.
    Other(String),
    /// The server reports an error: an object with `message` and `code`, or `grpc_code` of older servers.
    /// Instead of an object it may be a text.
    Failed(&'a [u8]),
}

/// How servers begin a message, and the same with its type.
const MESSAGE: &str = r#"{"end_device_ids":"#;
const TYPED_MESSAGE: &str =
    r#"{"@type":"type.googleapis.com/ttn.lorawan.v3.ApplicationUp","end_device_ids":"#;

/// The first event of each event stream.
const STARTED: &str = "events.stream.start";

/// The same as [`Frame`], as places in the text.
enum Found {
    Up {
        json: Range<usize>,
        at: Option<SystemTime>,
        /// The first byte of `json` must become a brace.
        is_headless: bool,
    },
    Trace {
        name: String,
        dev_id: String,
        at: SystemTime,
    },
    Started(Option<SystemTime>),
    Other(String),
    Failed(Range<usize>),
}

/// Reads a frame. The type of a message, which does not come over MQTT, is cut off by changing a byte.
pub(in crate::network) fn frame(line: &mut [u8]) -> serde_json::Result<Frame<'_>> {
    let text = document(line)?;
    // Without a byte-order mark.
    let start = line.len() - text.len();
    let found = match Object::scan(text) {
        Some(object) => object.find(text)?,
        None => return Err(why_not(text)),
    };
    let json = &mut line[start..];
    Ok(match found {
        Found::Up {
            json: range,
            at,
            is_headless,
        } => {
            if is_headless {
                json[range.start] = b'{';
            }
            Frame::Up {
                json: &json[range],
                at,
            }
        }
        Found::Trace { name, dev_id, at } => Frame::Trace { name, dev_id, at },
        Found::Started(at) => Frame::Started(at),
        Found::Other(name) => Frame::Other(name),
        Found::Failed(range) => Frame::Failed(&json[range]),
    })
}

/// Says why a text is not a JSON object.
#[cold]
fn why_not(text: &str) -> serde_json::Error {
    match serde_json::from_str::<IgnoredAny>(text) {
        Err(cause) => cause,
        Ok(_) => de::Error::custom("it is not a JSON object"),
    }
}

/// The members of an object that tell what it is.
#[derive(Default)]
struct Object {
    range: Range<usize>,
    /// What the server wraps.
    result: Option<Box<Self>>,
    error: Option<Range<usize>>,
    has_code: bool,
    has_message: bool,
    /// Whether it has the ids of a device, which only messages have here.
    is_message: bool,
    /// The name of an event.
    name: String,
    at: Option<SystemTime>,
    is_event: bool,
    data: Option<Data>,
}

impl Object {
    /// Returns `None` if the text is not a JSON object and nothing else.
    fn scan(text: &str) -> Option<Self> {
        let mut scanner = Scanner::new(text);
        let object = Self::read(&mut scanner, text, false)?;
        scanner.peek().is_none().then_some(object)
    }

    fn read(scanner: &mut Scanner<'_>, text: &str, is_wrapped: bool) -> Option<Self> {
        let mut object = Self::default();
        if scanner.is_before(MESSAGE) {
            object.is_message = true;
            object.range = scanner.unchecked_object()?;
            return Some(object);
        }
        object.range = scanner.object(|scanner, name| {
            let is_object = scanner.peek() == Some(b'{');
            let is_text = scanner.peek() == Some(b'"');
            match name {
                "result" if is_object && !is_wrapped => {
                    object.result = Some(Box::new(Self::read(scanner, text, true)?));
                }
                "data" if is_object => {
                    object.data = Some(Data::read(scanner)?);
                    object.is_event = true;
                }
                "name" if is_text => object.name = scanner.text()?.into_owned(),
                name => {
                    let value = scanner.value()?;
                    match name {
                        "end_device_ids" | "endDeviceIds" => object.is_message = true,
                        "error" if is_object || is_text => object.error = Some(value),
                        "code" | "grpc_code" => object.has_code = true,
                        "message" if is_text => object.has_message = true,
                        "identifiers" | "unique_id" | "uniqueId" => object.is_event = true,
                        "time" => object.at = time(&text[value]),
                        _ => {}
                    }
                }
            }
            Some(())
        })?;
        Some(object)
    }

    fn find(mut self, text: &str) -> serde_json::Result<Found> {
        if !self.is_message {
            if let Some(error) = self.error.take() {
                return Ok(Found::Failed(error));
            }
            if let Some(result) = self.result.take() {
                return result.find_inner(text);
            }
            if self.has_code && self.has_message {
                return Ok(Found::Failed(self.range));
            }
        }
        self.find_inner(text)
    }

    fn find_inner(self, text: &str) -> serde_json::Result<Found> {
        if self.is_message || self.name.is_empty() || !self.is_event {
            return Ok(Found::Up {
                json: self.range,
                at: None,
                is_headless: false,
            });
        }
        Ok(match self.data {
            _ if self.name == STARTED => Found::Started(self.at),
            _ if !is_forwarded(&self.name) => Found::Other(self.name),
            Some(data) if data.is_message => Found::Up {
                is_headless: data.after_type.is_some(),
                json: data.after_type.unwrap_or(data.range.start)..data.range.end,
                at: self.at,
            },
            Some(_) => Found::Other(self.name),
            None => {
                let mut event = Event::default();
                read_object::<V3, _>(text[self.range].as_bytes(), &mut event)?;
                let missing = |member: &str| {
                    de::Error::custom(format_args!("the event {} lacks its {member}", self.name))
                };
                Found::Trace {
                    dev_id: event.dev_id.ok_or_else(|| missing("device_id"))?,
                    at: event.at.ok_or_else(|| missing("time"))?,
                    name: self.name,
                }
            }
        })
    }
}

/// Returns whether the event with this name is a message for applications. Other events have messages of the
/// same type, whose payload is not decrypted.
fn is_forwarded(name: &str) -> bool {
    let of_downlink = name != "as.down.data.forward" && name.starts_with("as.down.data.");
    (name.starts_with("as.up.") || of_downlink) && name.ends_with(".forward")
}

fn time(json: &str) -> Option<SystemTime> {
    let raw: Raw<'_> = serde_json::from_str(json).ok()?;
    raw.as_time()
}

/// What an event is about.
struct Data {
    range: Range<usize>,
    is_message: bool,
    /// Where the comma after the type is, if that is the first member.
    after_type: Option<usize>,
}

impl Data {
    fn read(scanner: &mut Scanner<'_>) -> Option<Self> {
        if scanner.is_before(TYPED_MESSAGE) {
            let names = TYPED_MESSAGE.len() - MESSAGE.len();
            let comma = scanner.place() + names;
            return Some(Self {
                range: scanner.unchecked_object()?,
                is_message: true,
                after_type: Some(comma),
            });
        }
        let (mut is_first, mut is_message, mut after_type) = (true, true, None);
        let range = scanner.object(|scanner, name| {
            if name == "@type" && scanner.peek() == Some(b'"') {
                let kind = scanner.text()?;
                is_message = kind.ends_with("ttn.lorawan.v3.ApplicationUp");
                let has_more = is_first && scanner.peek() == Some(b',');
                after_type = has_more.then(|| scanner.place());
            } else {
                scanner.value()?;
            }
            is_first = false;
            Some(())
        })?;
        Some(Self {
            range,
            is_message,
            after_type,
        })
    }
}

/// When something happened to which device.
#[derive(Default)]
struct Event {
    at: Option<SystemTime>,
    dev_id: Option<String>,
}

impl<'de> Members<'de, V3> for Event {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "time" => self.at = member.time()?,
            "identifiers" => {
                let ids = member.list::<V3, Identifiers, Identifiers>()?;
                self.dev_id = ids.into_iter().find_map(|Identifiers(dev_id)| dev_id);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[derive(Default)]
struct Identifiers(Option<String>);

impl<'de> Members<'de, V3> for Identifiers {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "device_ids" => {
                let DeviceIds(dev_id) = member.object()?;
                self.0 = Some(dev_id).filter(|dev_id| !dev_id.is_empty());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[derive(Default)]
struct DeviceIds(String);

impl<'de> Members<'de, V3> for DeviceIds {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "device_id" => self.0 = member.text()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
