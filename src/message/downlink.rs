//! Downlinks: what an application sends to a device.

use std::{fmt, str::FromStr, time::SystemTime};

use serde::Serialize;
use serde_json::{Map, Value};

use super::Payload;
use crate::error::{Error, ErrorKind};

/// A downlink: a payload and how to deliver it.
///
/// Text, bytes and JSON objects convert into a downlink with the Python SDK's defaults: FPort 1,
/// unconfirmed, replacing the device's queue. Sending it checks whether the network would accept it;
/// options that only v3 has are errors on V2.
///
/// Text with an even number of hex digits is hex, any other text is base64; [`hex`](Self::hex) and
/// [`base64`](Self::base64) are explicit.
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

    /// Creates a downlink from bytes, at least one: the networks drop a downlink with an empty payload,
    /// so sending one is an error. On v3, the [`fields`](Self::fields) `{}` make an empty payload if the
    /// device has no downlink formatter.
    ///
    /// ```
    /// let downlink = ttn::Downlink::bytes([0x01, 0x02]);
    /// # let _ = downlink;
    /// ```
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(Payload::Bytes(bytes.into()))
    }

    /// Creates a downlink from hex digits.
    ///
    /// ```
    /// let downlink = ttn::Downlink::hex("0102");
    /// # let _ = downlink;
    /// ```
    pub fn hex(digits: impl Into<String>) -> Self {
        Self::new(Payload::Hex(digits.into()))
    }

    /// Creates a downlink from base64 text.
    ///
    /// ```
    /// let downlink = ttn::Downlink::base64("AQI=");
    /// # let _ = downlink;
    /// ```
    pub fn base64(text: impl Into<String>) -> Self {
        Self::new(Payload::Base64(text.into()))
    }

    /// Creates a downlink from fields, which the application's encoder (v3: the downlink formatter)
    /// turns into bytes. They are a JSON object, or a type of your own that serializes to one.
    ///
    /// Sending it is an error if a number in it is `NaN` or infinite, which JSON does not have. In a
    /// `Value`, such a number is already `null`.
    ///
    /// Without a downlink formatter, a v3 network sends an empty payload. If the formatter fails, the
    /// network silently drops the downlink, and with it the whole batch.
    ///
    /// ```
    /// #[derive(serde::Serialize)]
    /// struct Valve { open: bool, minutes: u8 }
    ///
    /// let downlink = ttn::Downlink::fields(Valve { open: true, minutes: 15 });
    /// # let _ = downlink;
    /// ```
    pub fn fields(fields: impl Serialize) -> Self {
        Self::new(Payload::fields(&fields))
    }

    /// Sets the LoRaWAN FPort, 1 to 223. Defaults to 1. For [`fields`](Self::fields) on v3, the formatter
    /// can choose another FPort, which takes precedence.
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

    /// Sets whether to ask the device for an acknowledgement, which comes with one of its uplinks. Not
    /// possible for multicast groups of v3. Defaults to `false`.
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

    /// Sets its place in the device's queue. Defaults to [`Schedule::Replace`]: the second of two
    /// downlinks in a row discards the first.
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

    /// Sets its priority among all downlinks that wait for gateways. v3 only. Defaults to
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

    /// Sets whether to send it only in class B and C, not after an uplink. v3 only. Defaults to
    /// `false`, or `true` with a [`gateway`](Self::gateway) or an
    /// [`absolute_time`](Self::absolute_time). The fate of a confirmed downlink is unknown until the
    /// device sends an uplink; from release 3.35, the network sends it again after some time. Before
    /// that release, the network stops waiting when it sends the next confirmed downlink
    /// ([`DeliveryState::GivenUp`](crate::DeliveryState::GivenUp)).
    ///
    /// For a class A device it stays in the queue forever, **and so does everything behind it**, until
    /// the queue is replaced or emptied. The network does not report that; the
    /// [`Delivery`](crate::Delivery) stays [`Queued`](crate::DeliveryState::Queued). The same happens
    /// if the device is deleted.
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

    /// Adds a gateway, or one [`Antenna`] of it, to those that may transmit it; one of them does. v3
    /// only, for classes B and C; see [`class_b_c`](Self::class_b_c) for class A devices. By default the
    /// network chooses.
    ///
    /// If a gateway is connected but takes no downlinks, the network counts the downlink as sent and
    /// discards it. It does not report that, and the [`Delivery`](crate::Delivery) stays
    /// [`Queued`](crate::DeliveryState::Queued); a confirmed downlink is sent again after the next uplink.
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

    /// Sets the exact time of transmission, at least 2.5 s ahead when the downlink is sent; requires a
    /// gateway with GPS. v3 only, for classes B and C. Defaults to as soon as possible.
    ///
    /// For a class A device it stays in the queue, with everything behind it, and the network does not
    /// report that. It fails after its time, but only when another downlink is to be sent.
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

    /// Sets how often a [confirmed](Self::confirmed) downlink is sent if the device does not
    /// acknowledge it, 1 to 32. v3 only. Defaults to the setting of the network, usually 8.
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

    /// Adds an id of your own, at most 100 characters, which the network repeats in the
    /// [`correlation_ids`](crate::DownlinkEvent::correlation_ids) of every report about this downlink.
    /// v3 only. The crate always adds another id, which
    /// [`Delivery::correlation_id`](crate::Delivery::correlation_id) returns.
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

/// The place of a downlink in the device's queue.
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
    /// At the front of the queue. V2 only.
    First,
    /// At the end of the queue. On v3 the topic `down/push`.
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
                format!("{text:?} is not a schedule; use replace, first or last"),
            )),
        }
    }
}

/// The priority of a downlink among all downlinks that wait for gateways. v3 only.
///
/// ```
/// use ttn::Priority;
///
/// assert!(Priority::High > Priority::Normal);
/// assert_eq!(Priority::BelowNormal.to_string(), "BELOW_NORMAL");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
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
    /// `HIGH`, the highest that networks usually allow
    High,
    /// `HIGHEST`
    Highest,
}

impl Priority {
    /// All priorities, in the order of their numbers on the wire.
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

/// Writes the name that The Things Stack uses.
impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An antenna of a gateway that may transmit a class B or C downlink. v3 only.
///
/// ```
/// use ttn::Antenna;
///
/// let antenna = Antenna::new("roof-east").index(1).group(2);
/// assert_eq!((antenna.gateway_id(), antenna.antenna_index(), antenna.group_index()), ("roof-east", 1, 2));
/// assert_eq!(Antenna::from("roof-east").antenna_index(), 0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Antenna {
    gateway_id: String,
    #[serde(rename = "antenna_index")]
    index: u32,
    #[serde(rename = "group_index")]
    group: u32,
}

impl Antenna {
    /// Returns the first antenna of a gateway.
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

    /// Sets which antenna of the gateway, counted from 0. Defaults to 0.
    ///
    /// ```
    /// assert_eq!(ttn::Antenna::new("roof-east").index(1).antenna_index(), 1);
    /// ```
    #[must_use]
    pub fn index(mut self, index: u32) -> Self {
        self.index = index;
        self
    }

    /// Sets its group; one antenna of each group transmits. Defaults to 0.
    ///
    /// ```
    /// assert_eq!(ttn::Antenna::new("roof-east").group(1).group_index(), 1);
    /// ```
    #[must_use]
    pub fn group(mut self, group: u32) -> Self {
        self.group = group;
        self
    }

    /// Returns the gateway id.
    ///
    /// ```
    /// assert_eq!(ttn::Antenna::new("roof-east").gateway_id(), "roof-east");
    /// ```
    pub fn gateway_id(&self) -> &str {
        &self.gateway_id
    }

    /// Returns which antenna of the gateway it is, counted from 0.
    ///
    /// ```
    /// assert_eq!(ttn::Antenna::new("roof-east").antenna_index(), 0);
    /// ```
    pub fn antenna_index(&self) -> u32 {
        self.index
    }

    /// Returns its group.
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
