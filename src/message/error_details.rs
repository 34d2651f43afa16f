//! The parts of an error of The Things Stack.

use std::fmt::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value};

/// The most bytes of a message, because even a short format can repeat its attributes many times.
const LONGEST: usize = 10_000;

/// An error as The Things Stack reports it. [`Display`](fmt::Display) writes the message with its
/// attributes filled in, up to 10 kB; without a message the [`id`](Self::id), without that the code.
///
/// ```
/// use ttn::{Event, Network};
///
/// let event = Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/down/failed",
///     r#"{"downlink_failed":{"downlink":{"f_port":2},"error":{"namespace":"pkg/networkserver","name":"transmission",
///     "message_format":"downlink transmission failed with result `{result}`","attributes":{"result":"TOO_LATE"},"code":2}}}"#)?;
/// let Event::Downlink(failed) = event else { panic!() };
/// let error = failed.error_details.as_ref().unwrap();
/// assert_eq!(error.id(), "pkg/networkserver:transmission");
/// assert_eq!(error.to_string(), "downlink transmission failed with result `TOO_LATE`");
/// assert_eq!(failed.error, error.to_string());
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ErrorDetails {
    /// The part of the server that reports it, such as `pkg/networkserver`.
    pub namespace: String,
    /// Its name within that, such as `downlink_queue_capacity`.
    pub name: String,
    /// The message, with placeholders such as `{attribute}`.
    pub message_format: String,
    /// The values of the placeholders.
    pub attributes: Map<String, Value>,
    /// The id of this occurrence in the server's logs.
    pub correlation_id: String,
    /// The gRPC status code: 2 unknown, 3 invalid argument, 5 not found, 8 resource exhausted, 9
    /// failed precondition, 10 aborted, 13 internal, 14 unavailable, 15 data loss.
    pub code: u32,
    /// The underlying error.
    pub cause: Option<Box<ErrorDetails>>,
    /// Further details, as the network sent them.
    pub details: Vec<Value>,
}

impl ErrorDetails {
    /// Returns namespace and name, which together identify the error: `namespace:name`, one of them if
    /// the network sent no other, or empty text.
    ///
    /// ```
    /// # let event = ttn::Event::decode(ttn::Network::V3, "v3/greenhouse/devices/bed-07/down/failed",
    /// #     r#"{"downlink_failed":{"error":{"namespace":"pkg/applicationserver","name":"no_device_session"}}}"#)?;
    /// # let ttn::Event::Downlink(failed) = event else { panic!() };
    /// assert_eq!(failed.error_details.as_ref().unwrap().id(), "pkg/applicationserver:no_device_session");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn id(&self) -> String {
        let is_whole = !self.namespace.is_empty() && !self.name.is_empty();
        let separator = if is_whole { ":" } else { "" };
        format!("{}{separator}{}", self.namespace, self.name)
    }

    /// Returns whether nothing of the error tells what it is.
    fn is_empty(&self) -> bool {
        self.message_format.is_empty()
            && self.namespace.is_empty()
            && self.name.is_empty()
            && self.code == 0
            && self.cause.as_ref().is_none_or(|cause| cause.is_empty())
    }

    fn fill_in(&self, text: &mut Text) -> fmt::Result {
        if self.is_empty() {
            return text.write_str("no reason stated");
        }
        let before = text.0.len();
        self.fill_in_own(text)?;
        match &self.cause {
            Some(cause) if !cause.is_empty() => {
                if text.0.len() > before {
                    text.write_str(": ")?;
                }
                cause.fill_in(text)
            }
            _ if text.0.len() == before => write!(text, "error code {}", self.code),
            _ => Ok(()),
        }
    }

    /// Writes the error without its cause.
    fn fill_in_own(&self, text: &mut Text) -> fmt::Result {
        if self.message_format.is_empty() {
            return text.write_str(&self.id());
        }
        let mut rest = self.message_format.as_str();
        while let Some((before, place)) = rest.split_once('{') {
            text.write_str(before)?;
            let attribute = place.find(['{', '}']).and_then(|end| {
                let after = place[end..].strip_prefix('}')?;
                Some((self.attributes.get(&place[..end])?, after))
            });
            rest = match attribute {
                Some((Value::String(value), after)) => {
                    text.write_str(value)?;
                    after
                }
                Some((value, after)) => {
                    write!(text, "{value}")?;
                    after
                }
                None => {
                    text.write_str("{")?;
                    place
                }
            };
        }
        text.write_str(rest)
    }
}

impl std::error::Error for ErrorDetails {}

impl fmt::Display for ErrorDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Text(String::new());
        if self.fill_in(&mut text).is_err() {
            text.0.push('…');
        }
        f.write_str(&text.0)
    }
}

/// Text of at most [`LONGEST`] bytes.
struct Text(String);

impl fmt::Write for Text {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = LONGEST - self.0.len();
        if more.len() <= room {
            self.0.push_str(more);
            return Ok(());
        }
        let end = (0..=room).rev().find(|end| more.is_char_boundary(*end));
        self.0.push_str(&more[..end.unwrap_or_default()]);
        Err(fmt::Error)
    }
}
