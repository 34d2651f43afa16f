//! How events are written as JSON: the forms of bytes, times and durations. [`Event`](super::Event)
//! describes them.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::{MessageId, RawMessage, payload::to_base64};
use crate::error::Error;

/// The Gregorian calendar repeats after 400 years.
const TWO_THOUSAND_YEARS: Duration = Duration::from_secs(5 * 146_097 * 24 * 60 * 60);

pub(super) fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_base64(bytes))
}

/// Writes the payload of a device twice: for programs and for people.
pub(super) fn payload<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Payload {
        payload_raw: String,
        payload_hex: String,
    }
    Payload {
        payload_raw: to_base64(bytes),
        payload_hex: hex::encode_upper(bytes),
    }
    .serialize(serializer)
}

/// Writes the payload of an MQTT message, also as text if it is text.
pub(super) fn message<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Message<'a> {
        payload: String,
        text: Option<&'a str>,
    }
    Message {
        payload: to_base64(bytes),
        text: std::str::from_utf8(bytes).ok(),
    }
    .serialize(serializer)
}

pub(crate) fn time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    rfc3339(*time).serialize(serializer)
}

pub(crate) fn optional_time<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.and_then(rfc3339).serialize(serializer)
}

pub(crate) fn seconds<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration.as_secs_f64().serialize(serializer)
}

pub(crate) fn optional_seconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let seconds = duration.map(|duration| duration.as_secs_f64());
    seconds.serialize(serializer)
}

/// Writes of the message as it arrived only whether it was retained.
pub(super) fn is_retained<S: Serializer>(
    raw: &RawMessage,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    raw.is_retained().serialize(serializer)
}

pub(super) fn message_id<S: Serializer>(
    message_id: &MessageId,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Published {
        message_id: MessageId,
    }
    let message_id = *message_id;
    Published { message_id }.serialize(serializer)
}

pub(super) fn dropped<S: Serializer>(dropped: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Lagged {
        dropped: u64,
    }
    let dropped = *dropped;
    Lagged { dropped }.serialize(serializer)
}

pub(crate) fn error<S: Serializer>(error: &Error, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Failed<'a> {
        error: &'a Error,
    }
    Failed { error }.serialize(serializer)
}

/// Writes a time of the years 0 to 9999 as RFC 3339 with nanoseconds.
pub(super) fn rfc3339(time: SystemTime) -> Option<String> {
    if time >= SystemTime::UNIX_EPOCH {
        return written(time);
    }
    let later = time.checked_add(TWO_THOUSAND_YEARS)?;
    let text = written(later)?;
    let (year, rest) = text.split_at_checked(4)?;
    let year = year.parse::<u32>().ok()?.checked_sub(2_000)?;
    Some(format!("{year:04}{rest}"))
}

/// Writes a time of the years 1970 to 9999.
fn written(time: SystemTime) -> Option<String> {
    use std::fmt::Write;
    let mut text = String::with_capacity("2018-03-09T07:41:22.518304771Z".len());
    // humantime panics before 1970 and fails after 9999.
    time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    write!(text, "{}", humantime::format_rfc3339_nanos(time)).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanoseconds: u32) -> SystemTime {
        let size = Duration::from_secs(seconds.unsigned_abs());
        let start = SystemTime::UNIX_EPOCH;
        let time = if seconds < 0 {
            start.checked_sub(size)
        } else {
            start.checked_add(size)
        };
        time.unwrap() + Duration::from_nanos(nanoseconds.into())
    }

    #[test]
    fn every_time_of_four_digit_years_is_written_with_nine_digits() {
        for (seconds, nanoseconds, expected) in [
            (1_520_581_282, 518_304_771, "2018-03-09T07:41:22.518304771Z"),
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
            (-1_800, 0, "1969-12-31T23:30:00.000000000Z"),
            (-62_135_596_800, 0, "0001-01-01T00:00:00.000000000Z"),
            (-62_167_219_200, 0, "0000-01-01T00:00:00.000000000Z"),
            (
                253_402_300_799,
                999_999_999,
                "9999-12-31T23:59:59.999999999Z",
            ),
        ] {
            assert_eq!(rfc3339(at(seconds, nanoseconds)).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_time_outside_of_them_is_null() {
        for time in [
            at(-62_167_219_201, 999_999_999),
            at(-100_000_000_000_000, 0),
            at(253_402_300_800, 0),
            at(100_000_000_000_000, 0),
        ] {
            assert_eq!(rfc3339(time), None);
            let mut json = Vec::new();
            super::time(&time, &mut serde_json::Serializer::new(&mut json)).unwrap();
            assert_eq!(json, b"null");
        }
    }
}
