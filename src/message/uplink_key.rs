//! What identifies an uplink, however it arrived.

use std::{
    fmt,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use super::UplinkMessage;
use crate::error::{Error, ErrorKind, Result};

/// What identifies an uplink: two messages with the same key are the same uplink. Returned by
/// [`UplinkMessage::key`].
///
/// It is the same for a message that a broker delivers again, that two feeds publish, or that comes once over MQTT
/// and once from storage or a webhook, and it is the same in every process. So it can be the unique column of a
/// table.
///
/// It consists of the device id, the frame counter, and the time at which the network's servers received the uplink,
/// in nanoseconds since 1970. The application is not a part of it: add it if a table holds those of several. An uplink
/// without this time, such as some simulated ones, has the outer time
/// ([`received_at`](UplinkMessage::received_at)) and a hash of its payload instead; without either time, two uplinks
/// with the same counter and payload have the same key.
///
/// Prints as short text, and is read from it. Keys are ordered by device, counter and time.
///
/// ```
/// use ttn::{Network, UplinkKey, UplinkMessage};
///
/// let uplink = UplinkMessage::from_json(Network::V3, r#"{
///     "end_device_ids": {"device_id": "bed-07", "application_ids": {"application_id": "greenhouse"}},
///     "uplink_message": {"f_port": 2, "f_cnt": 1184, "frm_payload": "AWcBEA==",
///         "received_at": "2025-11-27T06:00:00.325718204Z"}
/// }"#)?;
/// let key = uplink.key();
/// assert_eq!(key.to_string(), "bed-07/1184/1764223200325718204");
/// assert_eq!("bed-07/1184/1764223200325718204".parse::<UplinkKey>()?, key);
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UplinkKey {
    dev_id: String,
    counter: u32,
    /// Nanoseconds since 1970.
    time: u64,
    /// The hash of the payload, if the time is the outer one.
    payload: Option<u64>,
}

/// What a key consists of.
pub(crate) struct Identity<'a> {
    pub(crate) dev_id: &'a str,
    pub(crate) counter: u32,
    pub(crate) moment: Moment<'a>,
}

/// When the network got an uplink, in nanoseconds since 1970.
pub(crate) enum Moment<'a> {
    Inner(u64),
    /// Some simulated uplinks lack the inner time. With the payload.
    Outer(u64, &'a [u8]),
}

impl<'a> Identity<'a> {
    pub(crate) fn of(uplink: &'a UplinkMessage) -> Self {
        let nanoseconds = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            since.as_nanos() as u64
        };
        Self {
            dev_id: &uplink.dev_id,
            counter: uplink.counter,
            moment: match uplink.metadata.time {
                Some(time) => Moment::Inner(nanoseconds(time)),
                None => Moment::Outer(
                    uplink.received_at.map_or(0, nanoseconds),
                    &uplink.payload_raw,
                ),
            },
        }
    }

    /// Returns a hash that is the same in every process and version.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = StableHash::new();
        hash.add(self.dev_id.as_bytes());
        hash.add(&self.counter.to_be_bytes());
        match self.moment {
            Moment::Inner(time) => hash.add(&time.to_be_bytes()),
            Moment::Outer(time, payload) => {
                hash.add(&time.to_be_bytes());
                hash.add(payload);
            }
        }
        hash.finish()
    }
}

impl UplinkMessage {
    /// Returns what identifies the uplink, however often and however it arrives.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// let body = r#"{"app_id":"my-app","dev_id":"dev-1","port":1,"counter":7,"payload_raw":"AQI=",
    ///     "metadata":{"time":"2020-06-01T12:00:00.5Z"}}"#;
    /// let uplink = UplinkMessage::from_json(Network::V2, body)?;
    /// assert_eq!(uplink.key().to_string(), "dev-1/7/1591012800500000000");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn key(&self) -> UplinkKey {
        let identity = Identity::of(self);
        let (time, payload) = match identity.moment {
            Moment::Inner(time) => (time, None),
            Moment::Outer(time, payload) => {
                let mut hash = StableHash::new();
                hash.add(payload);
                (time, Some(hash.finish()))
            }
        };
        UplinkKey {
            dev_id: identity.dev_id.to_owned(),
            counter: identity.counter,
            time,
            payload,
        }
    }

    /// Returns whether an uplink with the same [key](Self::key) came before, to the same client and among the last
    /// ones that it remembers; see [`duplicate_window`](crate::MqttClientBuilder::duplicate_window). A broker of
    /// one's own delivers messages again, for example after a lost connection, and two feeds publish everything
    /// twice.
    ///
    /// `false` does not prove that the uplink is new: after a restart the client remembers nothing. Only a database with
    /// the key as a unique column is sure. Nor does `true` prove that the first one was handled: do not skip duplicates
    /// with [`redeliver_failed`](crate::MqttClientBuilder::redeliver_failed), because what comes again after a failure
    /// is a duplicate too.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"my-app","dev_id":"dev-1"}"#)?;
    /// assert!(!uplink.is_duplicate());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn is_duplicate(&self) -> bool {
        self.duplicate
    }
}

impl fmt::Display for UplinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.dev_id, self.counter, self.time)?;
        match self.payload {
            Some(payload) => write!(f, "-{payload:016x}"),
            None => Ok(()),
        }
    }
}

impl FromStr for UplinkKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = || {
            let mut parts = text.rsplitn(3, '/');
            let (last, counter, dev_id) = (parts.next()?, parts.next()?, parts.next()?);
            let (time, payload) = match last.split_once('-') {
                Some((time, payload)) if payload.len() == 16 => {
                    (time, Some(u64::from_str_radix(payload, 16).ok()?))
                }
                Some(_) => return None,
                None => (last, None),
            };
            let key = Self {
                dev_id: dev_id.to_owned(),
                counter: counter.parse().ok()?,
                time: time.parse().ok()?,
                payload,
            };
            // Only what prints like this: two texts are never the same key.
            (!dev_id.is_empty() && key.to_string() == text).then_some(key)
        };
        read().ok_or_else(|| {
            Error::new(
                ErrorKind::Decode,
                format!(
                    "cannot read the key of an uplink {text:?}: it looks like bed-07/1184/1764223200325718204"
                ),
            )
        })
    }
}

/// A hash that is the same in every process and version, because watermarks and keys contain it.
pub(crate) struct StableHash(u64);

impl StableHash {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

    pub(crate) fn new() -> Self {
        Self(Self::SPREAD)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        for word in bytes.chunks(8) {
            self.mix(
                word.iter()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte)),
            );
        }
    }

    fn mix(&mut self, word: u64) {
        let mut hash = (self.0 ^ word).wrapping_mul(Self::SPREAD);
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
        self.0 = hash ^ hash >> 29;
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    fn read(json: &str) -> UplinkMessage {
        UplinkMessage::from_json(Network::V3, json).unwrap()
    }

    const UPLINK: &str = r#"{"end_device_ids":{"device_id":"pump-2","application_ids":{"application_id":"greenhouse"}},
        "received_at":"2026-11-27T07:30:00.511902337Z",
        "uplink_message":{"f_port":3,"f_cnt":77,"frm_payload":"AgMF","received_at":"2026-11-27T07:30:00.306Z"}}"#;

    #[test]
    fn a_key_is_the_device_the_counter_and_the_networks_own_time() {
        let uplink = read(UPLINK);
        assert_eq!(uplink.key().to_string(), "pump-2/77/1795764600306000000");
        // The same uplink, published once more.
        let again = read(&UPLINK.replace("511902337", "9"));
        assert_eq!(again.key(), uplink.key());
        for other in [
            UPLINK.replace("pump-2", "pump-3"),
            UPLINK.replace("77", "78"),
            UPLINK.replace("00.306Z", "00.307Z"),
        ] {
            assert_ne!(read(&other).key(), uplink.key(), "{other}");
        }
    }

    #[test]
    fn an_uplink_without_that_time_is_told_by_the_outer_time_and_its_payload() {
        let simulated = UPLINK.replace(r#","received_at":"2026-11-27T07:30:00.306Z""#, "");
        let key = read(&simulated).key();
        assert!(
            key.to_string()
                .starts_with("pump-2/77/1795764600511902337-"),
            "{key}"
        );
        assert_eq!(key.to_string().parse::<UplinkKey>().unwrap(), key);
        assert_ne!(read(&simulated.replace("AgMF", "AgMG")).key(), key);
        assert_ne!(read(&simulated.replace("511902337", "9")).key(), key);
    }

    #[test]
    fn keys_are_ordered_by_device_counter_and_time() {
        let key = |text: &str| text.parse::<UplinkKey>().unwrap();
        let ordered = ["a/9/5", "b/2/7", "b/10/1", "b/10/2"].map(key);
        assert!(ordered.is_sorted());
    }

    #[test]
    fn what_is_read_as_a_key_prints_as_the_same_text() {
        let ids = ["bed-07", "", "a", "a/b"];
        let counters = ["0", "1", "01", "4294967295", "4294967296", "-1", "+1", ""];
        let times = [
            "0",
            "7",
            "07",
            "18446744073709551615",
            "18446744073709551616",
            " 1",
            "",
        ];
        let ends = ["", "-00ff00ff00ff00ff", "-00FF00ff00ff00ff", "-", "-1", "/"];
        let mut readable = 0;
        for dev_id in ids {
            for counter in counters {
                for time in times {
                    for end in ends {
                        let text = format!("{dev_id}/{counter}/{time}{end}");
                        if let Ok(key) = text.parse::<UplinkKey>() {
                            assert_eq!(key.to_string(), text);
                            readable += 1;
                        }
                    }
                }
            }
        }
        // Three ids, counters and times, with and without a hash.
        assert_eq!(readable, 3 * 3 * 3 * 2);
        for text in [
            "", "//", "a/1", "/1/2", "a/1/2-", "a/1/2-3", "a/-1/2", "a/01/2",
        ] {
            assert!(text.parse::<UplinkKey>().is_err(), "{text}");
        }
    }
}
