//! An error of The Things Stack in its parts.

use std::fmt;

use serde_json::{Map, Value};

/// An error as The Things Stack reports it. [`Display`](fmt::Display) is the message with its
/// attributes filled in.
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
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ErrorDetails {
    /// The part of the server that it comes from, such as `pkg/networkserver`.
    pub namespace: String,
    /// Its name within that, such as `downlink_queue_capacity`.
    pub name: String,
    /// The message, with `{attribute}` in places.
    pub message_format: String,
    /// What stands in those places.
    pub attributes: Map<String, Value>,
    /// By which the server's logs name this occurrence.
    pub correlation_id: String,
    /// The gRPC status code: 2 unknown, 3 invalid argument, 5 not found, 8 resource exhausted, 9
    /// failed precondition, 10 aborted, 13 internal, 14 unavailable, 15 data loss.
    pub code: u32,
    /// The error below it.
    pub cause: Option<Box<ErrorDetails>>,
    /// More about it, as the network sent it.
    pub details: Vec<Value>,
}

impl ErrorDetails {
    /// Namespace and name, which together say what error it is.
    ///
    /// ```
    /// # let event = ttn::Event::decode(ttn::Network::V3, "v3/greenhouse/devices/bed-07/down/failed",
    /// #     r#"{"downlink_failed":{"error":{"namespace":"pkg/applicationserver","name":"no_device_session"}}}"#)?;
    /// # let ttn::Event::Downlink(failed) = event else { panic!() };
    /// assert_eq!(failed.error_details.as_ref().unwrap().id(), "pkg/applicationserver:no_device_session");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn id(&self) -> String {
        format!("{}:{}", self.namespace, self.name)
    }
}

impl fmt::Display for ErrorDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message_format.is_empty() {
            return f.write_str(&self.id());
        }
        let mut rest = self.message_format.as_str();
        while let Some((before, place)) = rest.split_once('{') {
            f.write_str(before)?;
            let attribute = place
                .split_once('}')
                .and_then(|(name, after)| Some((self.attributes.get(name)?, after)));
            rest = match attribute {
                Some((Value::String(text), after)) => {
                    f.write_str(text)?;
                    after
                }
                Some((value, after)) => {
                    write!(f, "{value}")?;
                    after
                }
                None => {
                    f.write_str("{")?;
                    place
                }
            };
        }
        f.write_str(rest)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}
