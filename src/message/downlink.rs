//! What an application sends to a device.

use std::{fmt, str::FromStr, time::SystemTime};

use serde::Serialize;
use serde_json::{Map, Value};

use super::Payload;
use crate::error::{Error, ErrorKind};

/// A downlink: a payload and how to deliver it.
///
/// Text, bytes and JSON objects turn into one by themselves, with FPort 1, unconfirmed, replacing
/// the device's queue, which are the Python SDK's defaults. Whether the network would take it is
/// checked when it is sent; what only v3 has is then an error on V2.
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
    pub(crate) port: Option<u8>,
    pub(crate) confirmed: bool,
    pub(crate) schedule: Schedule,
    pub(crate) priority: Option<Priority>,
    pub(crate) class_b_c: bool,
    pub(crate) gateways: Vec<Antenna>,
    pub(crate) absolute_time: Option<SystemTime>,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) correlation_ids: Vec<String>,
}

impl Downlink {
    fn new(payload: Payload) -> Self {
        Self {
            payload,
            port: None,
            confirmed: false,
            schedule: Schedule::default(),
            priority: None,
            class_b_c: false,
            gateways: Vec::new(),
            absolute_time: None,
            max_attempts: None,
            correlation_ids: Vec::new(),
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

    /// A downlink of fields, which the application's encoder (v3: the downlink formatter) turns into
    /// bytes: a JSON object, or a type of your own that serializes to one.
    ///
    /// A v3 network without a formatter reports `no FPort`, or sends an empty payload if there is a
    /// [`port`](Self::port); one whose formatter fails drops the downlink and says nothing.
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

    /// The LoRaWAN FPort, 1 to 223. Defaults to 1; for [`fields`](Self::fields) on v3 to the FPort
    /// that the formatter chooses, or else 1, and without a formatter it is needed.
    ///
    /// ```
    /// let downlink = ttn::Downlink::bytes([1]).port(20);
    /// # let _ = downlink;
    /// ```
    #[must_use]
    pub fn port(mut self, port: u8) -> Self {
        self.port = Some(port);
        self
    }

    /// Whether the device is asked for an acknowledgement, which comes with an uplink of its own.
    /// Multicast groups of v3 cannot be asked. Defaults to `false`.
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

    /// Where in the device's queue it goes. Defaults to [`Schedule::Replace`]: of two downlinks in a
    /// row the second throws the first away.
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

    /// How urgent it is among all that gateways have to send. v3 only. Defaults to
    /// [`Priority::Lowest`].
    ///
    /// ```
    /// let downlink = ttn::Downlink::bytes([1]).priority(ttn::Priority::High);
    /// # let _ = downlink;
    /// ```
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Whether to send it only in class B and C, not after an uplink. v3 only. Defaults to `false`,
    /// or `true` with a [`gateway`](Self::gateway) or an [`absolute_time`](Self::absolute_time). Of a
    /// confirmed one nothing is known until the device sends an uplink; from release 3.35 the network
    /// sends it again after a while.
    ///
    /// ```
    /// let downlink = ttn::Downlink::bytes([1]).class_b_c(true);
    /// # let _ = downlink;
    /// ```
    #[must_use]
    pub fn class_b_c(mut self, class_b_c: bool) -> Self {
        self.class_b_c = class_b_c;
        self
    }

    /// Adds a gateway, or one [`Antenna`] of it; one of those that were added transmits. v3 only,
    /// for classes B and C. Defaults to none: the network chooses.
    ///
    /// ```
    /// use ttn::{Antenna, Downlink};
    ///
    /// let downlink = Downlink::bytes([1]).gateway("roof-east").gateway(Antenna::new("roof-west").index(1));
    /// # let _ = downlink;
    /// ```
    #[must_use]
    pub fn gateway(mut self, gateway: impl Into<Antenna>) -> Self {
        self.gateways.push(gateway.into());
        self
    }

    /// Transmits at exactly this time, which has to lie ahead; needs a gateway with GPS. v3 only,
    /// for classes B and C. Defaults to as soon as possible.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// let downlink = ttn::Downlink::bytes([1]).absolute_time(SystemTime::now() + Duration::from_secs(60));
    /// # let _ = downlink;
    /// ```
    #[must_use]
    pub fn absolute_time(mut self, time: SystemTime) -> Self {
        self.absolute_time = Some(time);
        self
    }

    /// How often a [confirmed](Self::confirmed) downlink is sent when the device does not
    /// acknowledge it, 1 to 32. v3 only. Defaults to what the network has set, usually 8.
    ///
    /// ```
    /// let downlink = ttn::Downlink::bytes([1]).confirmed(true).max_attempts(3);
    /// # let _ = downlink;
    /// ```
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Adds an id of the program's own, at most 100 characters, which comes back in
    /// [`correlation_ids`](crate::DownlinkEvent::correlation_ids) of everything that the network
    /// reports about this downlink. v3 only. Another is added by itself, which is what
    /// [`Delivery::correlation_id`](crate::Delivery::correlation_id) gives.
    ///
    /// ```
    /// let downlink = ttn::Downlink::bytes([1]).correlation_id("order-4711");
    /// # let _ = downlink;
    /// ```
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_ids.push(id.into());
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
    /// Empties the queue first. The default, as in the Python SDK; on v3 the topic `down/replace`.
    #[default]
    Replace,
    /// Before all that waits. V2 only.
    First,
    /// Behind all that waits. On v3 the topic `down/push`.
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
                ErrorKind::Downlink,
                format!("{text:?} is no schedule; there are replace, first and last"),
            )),
        }
    }
}

/// How urgent a downlink is among all that gateways have to send. v3 only.
///
/// ```
/// use ttn::Priority;
///
/// assert!(Priority::High > Priority::Normal);
/// assert_eq!(Priority::BelowNormal.to_string(), "BELOW_NORMAL");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// The default.
    #[default]
    Lowest,
    /// `LOW`
    Low,
    /// `BELOW_NORMAL`
    BelowNormal,
    /// `NORMAL`
    Normal,
    /// `ABOVE_NORMAL`
    AboveNormal,
    /// `HIGH`, the most that networks usually allow
    High,
    /// `HIGHEST`
    Highest,
}

impl Priority {
    /// By the number that it has on the wire.
    pub(crate) const ALL: [Self; 7] = [
        Self::Lowest,
        Self::Low,
        Self::BelowNormal,
        Self::Normal,
        Self::AboveNormal,
        Self::High,
        Self::Highest,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lowest => "LOWEST",
            Self::Low => "LOW",
            Self::BelowNormal => "BELOW_NORMAL",
            Self::Normal => "NORMAL",
            Self::AboveNormal => "ABOVE_NORMAL",
            Self::High => "HIGH",
            Self::Highest => "HIGHEST",
        }
    }
}

/// The name that The Things Stack has for it.
impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An antenna of a gateway, to transmit a class B or C downlink by. v3 only.
///
/// ```
/// use ttn::Antenna;
///
/// let antenna = Antenna::new("roof-east").index(1).group(2);
/// assert_eq!((antenna.gateway_id(), antenna.antenna_index(), antenna.group_index()), ("roof-east", 1, 2));
/// assert_eq!(Antenna::from("roof-east").antenna_index(), 0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Antenna {
    gateway_id: String,
    index: u32,
    group: u32,
}

impl Antenna {
    /// The first antenna of a gateway.
    ///
    /// ```
    /// assert_eq!(ttn::Antenna::new("roof-east").gateway_id(), "roof-east");
    /// ```
    pub fn new(gateway_id: impl Into<String>) -> Self {
        Self {
            gateway_id: gateway_id.into(),
            index: 0,
            group: 0,
        }
    }

    /// Which antenna of the gateway, counted from 0. Defaults to 0.
    ///
    /// ```
    /// assert_eq!(ttn::Antenna::new("roof-east").index(1).antenna_index(), 1);
    /// ```
    #[must_use]
    pub fn index(mut self, index: u32) -> Self {
        self.index = index;
        self
    }

    /// The group that it belongs to: one antenna of each group transmits. Defaults to 0.
    ///
    /// ```
    /// assert_eq!(ttn::Antenna::new("roof-east").group(1).group_index(), 1);
    /// ```
    #[must_use]
    pub fn group(mut self, group: u32) -> Self {
        self.group = group;
        self
    }

    /// The gateway's id.
    ///
    /// ```
    /// assert_eq!(ttn::Antenna::new("roof-east").gateway_id(), "roof-east");
    /// ```
    pub fn gateway_id(&self) -> &str {
        &self.gateway_id
    }

    /// Which antenna of the gateway.
    ///
    /// ```
    /// assert_eq!(ttn::Antenna::new("roof-east").antenna_index(), 0);
    /// ```
    pub fn antenna_index(&self) -> u32 {
        self.index
    }

    /// The group that it belongs to.
    ///
    /// ```
    /// assert_eq!(ttn::Antenna::new("roof-east").group_index(), 0);
    /// ```
    pub fn group_index(&self) -> u32 {
        self.group
    }
}

impl From<&str> for Antenna {
    fn from(gateway_id: &str) -> Self {
        Self::new(gateway_id)
    }
}

impl From<String> for Antenna {
    fn from(gateway_id: String) -> Self {
        Self::new(gateway_id)
    }
}
