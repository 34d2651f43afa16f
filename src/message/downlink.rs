//! What an application sends to a device.

use std::{fmt, str::FromStr};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{error::Error, message::Payload};

/// A downlink: a payload and how to deliver it.
///
/// Text, bytes and JSON objects turn into one by themselves, with FPort 1, unconfirmed, replacing
/// the device's queue, which are the Python SDK's defaults. Whether the payload can be read is
/// checked when it is sent.
///
/// Text of hex digits in even number is hex, any other text is base64; [`hex`](Self::hex) and
/// [`base64`](Self::base64) say it outright.
///
/// ```
/// use serde_json::json;
/// use ttn::{Downlink, Schedule};
///
/// let same = [Downlink::from("0102"), Downlink::from("AQI="), Downlink::from([1, 2])];
/// let fields = Downlink::from(json!({"led": "on"}));
/// let valve = Downlink::bytes([1]).port(20).confirmed(true).schedule(Schedule::Last);
/// # let _ = (same, fields, valve);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Downlink {
    pub(crate) payload: Payload,
    pub(crate) port: u8,
    pub(crate) confirmed: bool,
    pub(crate) schedule: Schedule,
}

impl Downlink {
    fn new(payload: Payload) -> Self {
        Self {
            payload,
            port: 1,
            confirmed: false,
            schedule: Schedule::default(),
        }
    }

    /// A downlink of bytes.
    ///
    /// ```
    /// let downlink = ttn::Downlink::bytes([0x01, 0x02]);
    /// # let _ = downlink;
    /// ```
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(Payload::Bytes(bytes.into()))
    }

    /// A downlink of bytes, given as hex digits.
    ///
    /// ```
    /// let downlink = ttn::Downlink::hex("0102");
    /// # let _ = downlink;
    /// ```
    pub fn hex(digits: impl Into<String>) -> Self {
        Self::new(Payload::Hex(digits.into()))
    }

    /// A downlink of bytes, given as base64 text.
    ///
    /// ```
    /// let downlink = ttn::Downlink::base64("AQI=");
    /// # let _ = downlink;
    /// ```
    pub fn base64(text: impl Into<String>) -> Self {
        Self::new(Payload::Base64(text.into()))
    }

    /// A downlink of fields, which the application's encoder turns into bytes: a JSON object, or a
    /// type of your own that serializes to one.
    ///
    /// ```
    /// #[derive(serde::Serialize)]
    /// struct Valve { open: bool, minutes: u8 }
    ///
    /// let downlink = ttn::Downlink::fields(Valve { open: true, minutes: 15 });
    /// # let _ = downlink;
    /// ```
    pub fn fields(fields: impl Serialize) -> Self {
        Self::new(match serde_json::to_value(fields) {
            Ok(value) => Payload::Fields(value),
            Err(cause) => Payload::Unreadable(format!("the fields have no JSON form: {cause}")),
        })
    }

    /// The LoRaWAN FPort, 1 to 223. Defaults to 1.
    ///
    /// ```
    /// let downlink = ttn::Downlink::bytes([1]).port(20);
    /// # let _ = downlink;
    /// ```
    #[must_use]
    pub fn port(mut self, port: u8) -> Self {
        self.port = port;
        self
    }

    /// Whether the device is asked for an acknowledgement. Defaults to `false`.
    ///
    /// ```
    /// let downlink = ttn::Downlink::bytes([1]).confirmed(true);
    /// # let _ = downlink;
    /// ```
    #[must_use]
    pub fn confirmed(mut self, confirmed: bool) -> Self {
        self.confirmed = confirmed;
        self
    }

    /// Where in the device's queue it goes. Defaults to [`Schedule::Replace`].
    ///
    /// ```
    /// let downlink = ttn::Downlink::bytes([1]).schedule(ttn::Schedule::First);
    /// # let _ = downlink;
    /// ```
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }
}

impl From<&str> for Downlink {
    fn from(text: &str) -> Self {
        Self::new(Payload::Text(text.to_owned()))
    }
}

impl From<String> for Downlink {
    fn from(text: String) -> Self {
        Self::new(Payload::Text(text))
    }
}

impl From<&String> for Downlink {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&[u8]> for Downlink {
    fn from(bytes: &[u8]) -> Self {
        Self::bytes(bytes)
    }
}

impl<const N: usize> From<[u8; N]> for Downlink {
    fn from(bytes: [u8; N]) -> Self {
        Self::bytes(bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for Downlink {
    fn from(bytes: &[u8; N]) -> Self {
        Self::bytes(bytes.as_slice())
    }
}

impl From<Vec<u8>> for Downlink {
    fn from(bytes: Vec<u8>) -> Self {
        Self::bytes(bytes)
    }
}

impl From<Value> for Downlink {
    fn from(value: Value) -> Self {
        Self::new(Payload::from(value))
    }
}

impl From<Map<String, Value>> for Downlink {
    fn from(fields: Map<String, Value>) -> Self {
        Self::from(Value::Object(fields))
    }
}

/// Where in the device's queue a downlink goes.
///
/// ```
/// use ttn::Schedule;
///
/// assert_eq!("last".parse::<Schedule>()?, Schedule::Last);
/// assert_eq!(Schedule::default().to_string(), "replace");
/// assert!("soon".parse::<Schedule>().is_err());
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Schedule {
    /// Empties the queue first. The default.
    #[default]
    Replace,
    /// Before all that waits.
    First,
    /// Behind all that waits.
    Last,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replace => "replace",
            Self::First => "first",
            Self::Last => "last",
        })
    }
}

/// Reads the names that the Python SDK uses: `replace`, `first`, `last`.
impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "replace" => Ok(Self::Replace),
            "first" => Ok(Self::First),
            "last" => Ok(Self::Last),
            _ => Err(Error::new(
                crate::error::ErrorKind::Downlink,
                format!("{text:?} is no schedule; there are replace, first and last"),
            )),
        }
    }
}
