//! Values that are not lists or objects: text, numbers, truth values, bytes and times.

use std::{
    borrow::Cow,
    fmt,
    marker::PhantomData,
    time::{Duration, SystemTime},
};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

use crate::message;

/// The text of a value that is not a list or an object, borrowed where possible; empty for `null`.
/// Numbers and truth values keep their JSON form.
pub(in crate::network) struct Text<'de>(pub(in crate::network) Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Self)
    }
}

pub(super) struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCALAR)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// What an error says that was expected.
const SCALAR: &str = "text, a number, true, false or null";

/// A value that is not a list or an object.
#[derive(Debug)]
pub(super) enum Scalar<'de> {
    Null,
    Flag(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Cow<'de, str>),
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor(PhantomData))
    }
}

struct ScalarVisitor<'de>(PhantomData<&'de ()>);

impl<'de> Visitor<'de> for ScalarVisitor<'de> {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCALAR)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Flag(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Signed(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }
}

impl<'de> Scalar<'de> {
    fn unexpected<E: de::Error>(&self, wanted: &str) -> E {
        let found = match self {
            Self::Null => "null".to_owned(),
            Self::Flag(value) => value.to_string(),
            Self::Unsigned(value) => value.to_string(),
            Self::Signed(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(text) => format!("{text:?}"),
        };
        E::custom(format_args!("expected {wanted}, found {found}"))
    }

    /// Returns a whole number; `None` for `null` and empty text.
    pub(super) fn integer<T, E>(self) -> Result<Option<T>, E>
    where
        T: TryFrom<i128>,
        E: de::Error,
    {
        // Below this bound, every whole f64 converts without loss.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let whole = match &self {
            Self::Null => return Ok(None),
            Self::Text(text) if text.is_empty() => return Ok(None),
            Self::Unsigned(value) => Some(i128::from(*value)),
            Self::Signed(value) => Some(i128::from(*value)),
            Self::Float(value) if value.fract() == 0.0 && value.abs() < EXACT => {
                Some(*value as i128)
            }
            Self::Text(text) => text.parse().ok(),
            Self::Float(_) | Self::Flag(_) => None,
        };
        match whole.and_then(|whole| T::try_from(whole).ok()) {
            Some(value) => Ok(Some(value)),
            None => Err(self.unexpected("a whole number in range")),
        }
    }

    /// Returns a number; `None` for `null` and empty text.
    pub(super) fn float<E: de::Error>(self) -> Result<Option<f64>, E> {
        match &self {
            Self::Null => Ok(None),
            Self::Text(text) if text.is_empty() => Ok(None),
            Self::Unsigned(value) => Ok(Some(*value as f64)),
            Self::Signed(value) => Ok(Some(*value as f64)),
            Self::Float(value) => Ok(Some(*value)),
            Self::Text(text) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(self.unexpected("a number")),
            },
            Self::Flag(_) => Err(self.unexpected("a number")),
        }
    }

    /// Returns a truth value; `false` for `null`.
    pub(super) fn flag<E: de::Error>(self) -> Result<bool, E> {
        match &self {
            Self::Null | Self::Unsigned(0) => Ok(false),
            Self::Unsigned(1) => Ok(true),
            Self::Flag(value) => Ok(*value),
            Self::Text(text) => match text.as_ref() {
                "true" => Ok(true),
                "false" | "" => Ok(false),
                _ => Err(self.unexpected("true or false")),
            },
            _ => Err(self.unexpected("true or false")),
        }
    }

    /// Returns the bytes of base64 text; empty for `null`.
    pub(super) fn bytes<E: de::Error>(self) -> Result<Vec<u8>, E> {
        match &self {
            Self::Null => Ok(Vec::new()),
            Self::Text(text) => {
                message::from_base64(text).map_err(|_| self.unexpected("bytes in base64"))
            }
            _ => Err(self.unexpected("bytes in base64")),
        }
    }
}

impl<'de> Text<'de> {
    /// Returns the time, or the text itself if it is not a time.
    pub(in crate::network) fn time(self) -> Result<Option<SystemTime>, Cow<'de, str>> {
        let Self(text) = self;
        match text.as_ref() {
            "" | "0001-01-01T00:00:00Z" => Ok(None),
            _ => match parse_time(&text) {
                Some(time) => Ok(Some(time)),
                None => Err(text),
            },
        }
    }
}

/// Reads RFC 3339 with any offset.
fn parse_time(text: &str) -> Option<SystemTime> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Some(time);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (sign, offset) = offset.split_at_checked(1)?;
    let (hours, minutes) = offset.split_once(':')?;
    let seconds = hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60;
    let offset = Duration::from_secs(seconds);
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    match sign {
        "+" => local.checked_sub(offset),
        "-" => local.checked_add(offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    type Error = serde_json::Error;

    fn scalar(json: &str) -> Scalar<'_> {
        serde_json::from_str(json).unwrap()
    }

    fn time(json: &str) -> Result<Option<SystemTime>, Cow<'_, str>> {
        serde_json::from_str::<Text<'_>>(json).unwrap().time()
    }

    #[test]
    fn a_whole_number_may_be_a_number_a_float_or_text() {
        for json in ["7", "7.0", "\"7\"", "7e0"] {
            assert_eq!(
                scalar(json).integer::<u8, Error>().unwrap(),
                Some(7),
                "{json}"
            );
        }
        for json in ["null", "\"\""] {
            assert_eq!(scalar(json).integer::<u8, Error>().unwrap(), None, "{json}");
        }
        assert_eq!(scalar("-3").integer::<i32, Error>().unwrap(), Some(-3));
        assert_eq!(
            scalar("18446744073709551615")
                .integer::<u64, Error>()
                .unwrap(),
            Some(u64::MAX)
        );
    }

    #[test]
    fn a_number_that_does_not_fit_is_named_in_the_error() {
        for json in ["256", "-1", "1.5", "1e300", "\"x\"", "true"] {
            let error = scalar(json).integer::<u8, Error>().unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("expected a whole number in range, found"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_float_may_be_negative_zero_or_text() {
        assert_eq!(scalar("-0").float::<Error>().unwrap(), Some(0.0));
        assert_eq!(scalar("-117.5").float::<Error>().unwrap(), Some(-117.5));
        assert_eq!(scalar("\"9.25\"").float::<Error>().unwrap(), Some(9.25));
        assert!(
            scalar("\"NaN\"")
                .float::<Error>()
                .unwrap()
                .unwrap()
                .is_nan()
        );
        assert!(scalar("false").float::<Error>().is_err());
    }

    #[test]
    fn a_time_may_have_an_offset_and_up_to_nine_digits() {
        let epoch_plus = |nanos| Ok(Some(UNIX_EPOCH + Duration::from_nanos(nanos)));
        let second = 1_520_581_282_000_000_000;
        assert_eq!(
            time("\"2018-03-09T07:41:22.518304771Z\""),
            epoch_plus(second + 518_304_771)
        );
        assert_eq!(time("\"2018-03-09T07:41:22Z\""), epoch_plus(second));
        assert_eq!(time("\"2018-03-09T09:41:22+02:00\""), epoch_plus(second));
        assert_eq!(time("\"2018-03-09T02:11:22-05:30\""), epoch_plus(second));
    }

    #[test]
    fn no_time_is_no_error_and_other_text_is_handed_back() {
        for json in ["\"\"", "null", "\"0001-01-01T00:00:00Z\""] {
            assert_eq!(time(json), Ok(None), "{json}");
        }
        for text in [
            "yesterday",
            "2018-13-01T00:00:00Z",
            "+01:00",
            "é+01:00",
            "ab€cd",
        ] {
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(time(&json), Err(Cow::Borrowed(text)), "{text}");
        }
    }

    #[test]
    fn lists_and_objects_are_no_scalars() {
        for json in ["[]", "{}"] {
            assert!(serde_json::from_str::<Scalar<'_>>(json).is_err());
        }
    }
}
