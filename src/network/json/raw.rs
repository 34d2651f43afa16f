//! Values as they were sent, and what they mean: text, numbers, truth values, bytes and times.

use std::{borrow::Cow, fmt, time::SystemTime};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use serde_json::{Map, Number, Value};

use super::time;

/// A value as it was sent, borrowed where possible. Each conversion hands back a value that does not
/// mean what is asked for.
#[derive(Clone, Debug)]
pub(in crate::network) enum Raw<'de> {
    Null,
    Flag(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Cow<'de, str>),
    /// A list or an object.
    Nested(Box<Value>),
}

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Raw::Flag(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Raw::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Raw::Signed(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Raw::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Raw::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Raw::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Raw::of_list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        Raw::of_object(object)
    }
}

/// The name of the only member of a number, which comes as an object if any crate of the program enables
/// serde_json's feature `arbitrary_precision`.
pub(super) const NUMBER: &str = "$serde_json::private::Number";

/// A whole number in a range.
pub(in crate::network) trait Integer: TryFrom<u64> + TryFrom<i128> {}

impl<T: TryFrom<u64> + TryFrom<i128>> Integer for T {}

/// Below this bound, a whole f64 is the only one for its integer.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl<'de> Raw<'de> {
    #[cold]
    pub(super) fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        let value = Value::deserialize(SeqAccessDeserializer::new(list))?;
        Ok(Self::Nested(Box::new(value)))
    }

    #[cold]
    pub(super) fn of_object<A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            if name == NUMBER {
                return Self::of_digits(object);
            }
            members.insert(name, object.next_value()?);
        }
        Ok(Self::Nested(Box::new(members.into())))
    }

    /// Reads the value of the member [`NUMBER`].
    #[cold]
    pub(super) fn of_digits<A: MapAccess<'de>>(mut number: A) -> Result<Self, A::Error> {
        let digits: String = number.next_value()?;
        let number: Number = digits.parse().map_err(de::Error::custom)?;
        let unsigned = number.as_u64().map(Self::Unsigned);
        Ok(unsigned
            .or_else(|| number.as_i64().map(Self::Signed))
            .or_else(|| number.as_f64().map(Self::Float))
            .unwrap_or_else(|| Self::Nested(Box::new(number.into()))))
    }

    pub(in crate::network) fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Flag(value) => value.into(),
            Self::Unsigned(value) => value.into(),
            Self::Signed(value) => value.into(),
            Self::Float(value) => value.into(),
            Self::Text(text) => text.into(),
            Self::Nested(value) => *value,
        }
    }

    /// Returns an error that says what was expected, and quotes this.
    #[cold]
    #[inline(never)]
    pub(super) fn unexpected<E: de::Error>(self, wanted: &str) -> E {
        E::custom(format_args!(
            "expected {wanted}, found {}",
            self.into_value()
        ))
    }

    /// Returns whether this is the same as a member that was left out.
    pub(in crate::network) fn is_nothing(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.is_empty(),
            _ => false,
        }
    }

    /// Returns a whole number; `None` for `null` and empty text.
    pub(in crate::network) fn integer<T: Integer>(self) -> Result<Option<T>, Self> {
        // Nearly all are in one of these forms.
        let usual = match &self {
            Self::Unsigned(value) => T::try_from(*value).ok(),
            Self::Text(text) => text.parse::<u64>().ok().and_then(|n| T::try_from(n).ok()),
            _ => None,
        };
        match usual {
            Some(value) => Ok(Some(value)),
            None => self.other_integer(),
        }
    }

    #[inline(never)]
    fn other_integer<T: Integer>(self) -> Result<Option<T>, Self> {
        let whole = match &self {
            Self::Null => return Ok(None),
            Self::Text(text) if text.is_empty() => return Ok(None),
            Self::Unsigned(value) => Some(i128::from(*value)),
            Self::Signed(value) => Some(i128::from(*value)),
            Self::Float(value) => whole(*value),
            Self::Text(text) => text.parse().ok().or_else(|| parse_whole(text)),
            Self::Flag(_) | Self::Nested(_) => None,
        };
        match whole.and_then(|whole| T::try_from(whole).ok()) {
            Some(value) => Ok(Some(value)),
            None => Err(self),
        }
    }

    /// Returns a finite number; `None` for `null` and empty text.
    pub(in crate::network) fn float(self) -> Result<Option<f64>, Self> {
        match self.as_float() {
            None if !self.is_nothing() => Err(self),
            number => Ok(number),
        }
    }

    /// Returns the finite number that this is.
    pub(in crate::network) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Unsigned(value) => Some(*value as f64),
            Self::Signed(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            Self::Null | Self::Flag(_) | Self::Nested(_) => None,
        }
    }

    /// Returns a truth value; `false` for `null` and empty text.
    pub(super) fn flag(self) -> Result<bool, Self> {
        match &self {
            Self::Null | Self::Unsigned(0) => Ok(false),
            Self::Unsigned(1) => Ok(true),
            Self::Flag(value) => Ok(*value),
            Self::Text(text) => match text.as_ref() {
                "true" => Ok(true),
                "false" | "" => Ok(false),
                _ => Err(self),
            },
            _ => Err(self),
        }
    }

    /// Returns text, or a number or truth value as JSON writes it; empty for `null`.
    pub(in crate::network) fn text(self) -> Result<Cow<'de, str>, Self> {
        match self {
            Self::Text(text) => Ok(text),
            other => other.other_text(),
        }
    }

    #[cold]
    fn other_text(self) -> Result<Cow<'de, str>, Self> {
        match self {
            Self::Null => Ok(Cow::Borrowed("")),
            Self::Nested(_) => Err(self),
            // It may have had other digits.
            Self::Float(value) if value.abs() >= EXACT => Err(self),
            other => Ok(other.into_value().to_string().into()),
        }
    }

    /// Returns the name or number of an enum's value; empty for `null`.
    pub(in crate::network) fn name(self) -> Result<Cow<'de, str>, Self> {
        match self {
            Self::Flag(_) | Self::Float(_) => Err(self),
            other => other.text(),
        }
    }

    /// Returns text that is usually one of the `known`, which need no allocation.
    pub(in crate::network) fn known_text(
        self,
        known: &[&'static str],
    ) -> Result<Cow<'static, str>, Self> {
        let text = self.text()?;
        Ok(match known.iter().find(|known| **known == text) {
            Some(known) => Cow::Borrowed(*known),
            None => Cow::Owned(text.into_owned()),
        })
    }

    /// Reads the value of an enum, a name or a number, and returns its name without the prefix. Returns
    /// an empty name for the first value, which servers leave out, and an unknown name as it is.
    pub(in crate::network) fn enum_name(
        self,
        prefix: &str,
        names: &[(i64, &'static str)],
    ) -> Result<Cow<'static, str>, Self> {
        let text = self.name()?;
        let name = text.strip_prefix(prefix).unwrap_or(&text);
        let mut known = names.iter();
        let found = known
            .position(|(_, known)| known.eq_ignore_ascii_case(name))
            .or_else(|| {
                let number = text.parse::<i64>().ok()?;
                names.iter().position(|(known, _)| *known == number)
            });
        Ok(match found {
            Some(0) => Cow::Borrowed(""),
            Some(index) => Cow::Borrowed(names[index].1),
            None => Cow::Owned(name.to_owned()),
        })
    }

    /// Returns `N` upper-case hex digits; empty for `null` and empty text.
    pub(super) fn hex<const N: usize>(self) -> Result<Cow<'de, str>, Self> {
        match self {
            Self::Null => Ok(Cow::Borrowed("")),
            Self::Text(text) if is_upper_hex::<N>(&text) => Ok(text),
            other => other.other_hex(N),
        }
    }

    #[cold]
    fn other_hex(self, digits: usize) -> Result<Cow<'de, str>, Self> {
        let Self::Text(text) = self else {
            return Err(self);
        };
        let is_hex = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.is_empty() || is_hex {
            true => Ok(text.to_ascii_uppercase().into()),
            false => Err(Self::Text(text)),
        }
    }

    /// Replaces `bytes` by those of base64 text; by none for `null`, and for what is something else.
    pub(super) fn bytes_into(self, bytes: &mut Vec<u8>) -> Result<(), Self> {
        bytes.clear();
        let is_read = match &self {
            Self::Null => true,
            Self::Text(text) => decode_base64(text, bytes),
            _ => false,
        };
        is_read.then_some(()).ok_or(self)
    }

    /// Returns the time that this is.
    pub(in crate::network) fn as_time(&self) -> Option<SystemTime> {
        match self {
            Self::Text(text) => time::parse(text),
            _ => None,
        }
    }

    /// Returns `None` for `null`, empty text and the first moment of the year 1, which servers send for no
    /// time.
    pub(super) fn no_time(self) -> Result<Option<SystemTime>, Self> {
        match &self {
            Self::Null => Ok(None),
            Self::Text(text) if text.is_empty() || text == "0001-01-01T00:00:00Z" => Ok(None),
            _ => Err(self),
        }
    }
}

fn is_upper_hex<const N: usize>(text: &str) -> bool {
    let Ok(digits) = <&[u8; N]>::try_from(text.as_bytes()) else {
        return false;
    };
    // Without an early end, so that it takes few instructions.
    digits.iter().fold(true, |all, digit| {
        all & ((digit.wrapping_sub(b'0') < 10) | (digit.wrapping_sub(b'A') < 6))
    })
}

/// Returns the integer of a float, if it has no other digits.
fn whole(value: f64) -> Option<i128> {
    (value.fract() == 0.0 && value.abs() < EXACT).then_some(value as i128)
}

/// Reads a whole number with a fraction or an exponent, such as `118.0` and `8.683e8`, exactly.
#[cold]
fn parse_whole(text: &str) -> Option<i128> {
    // More than the digits of any number that fits.
    const MAX_DIGITS: usize = 30;
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, number) = match number.strip_prefix('-') {
        Some(number) => (-1, number),
        None => (1, number),
    };
    let (integer, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let are_digits =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(integer) || !are_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{integer}{fraction}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let without_zeros = significant.trim_end_matches('0');
    let zeros = significant.len() - without_zeros.len();
    let power = zeros as i64 - fraction.len() as i64 + i64::from(exponent);
    let power = usize::try_from(power).ok()?;
    if without_zeros.len() + power > MAX_DIGITS {
        return None;
    }
    Some(sign * without_zeros.parse::<i128>().ok()? * 10_i128.pow(power as u32))
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Decodes base64 as servers may write it: with both alphabets, with and without padding, and with bits
/// that nothing uses. Returns whether it can.
fn decode_base64(text: &str, bytes: &mut Vec<u8>) -> bool {
    let mut decode = |engine: &GeneralPurpose| {
        bytes.clear();
        engine.decode_vec(text, bytes).is_ok()
    };
    let is_read = decode(&BASE64) || decode(&BASE64_URL);
    if !is_read {
        bytes.clear();
    }
    is_read
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Raw<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_number_of_arbitrary_precision_is_a_number() {
        use serde::de::value::MapDeserializer;

        let raw = |digits: &'static str| {
            let number = MapDeserializer::new([(NUMBER, digits)].into_iter());
            Raw::deserialize(number).map_err(|cause: de::value::Error| cause.to_string())
        };
        assert_eq!(raw("7").unwrap().integer::<u8>().unwrap(), Some(7));
        assert_eq!(raw("-7").unwrap().integer::<i8>().unwrap(), Some(-7));
        assert_eq!(
            raw("8.683e8").unwrap().integer::<u64>().unwrap(),
            Some(868_300_000)
        );
        assert_eq!(
            raw("63.300000000000004").unwrap().as_float(),
            Some(63.300000000000004)
        );
        assert!(raw("x").is_err());
    }

    #[test]
    fn a_whole_number_may_be_a_number_a_float_or_text() {
        for json in ["7", "7.0", "\"7\"", "7e0", "\"7.0\"", "\"0.7e1\""] {
            assert_eq!(raw(json).integer::<u8>().unwrap(), Some(7), "{json}");
        }
        for json in ["null", "\"\""] {
            assert_eq!(raw(json).integer::<u8>().unwrap(), None, "{json}");
        }
        assert_eq!(raw("-3").integer::<i32>().unwrap(), Some(-3));
        assert_eq!(raw("\"-3.0\"").integer::<i32>().unwrap(), Some(-3));
        for json in ["18446744073709551615", "\"1.8446744073709551615e19\""] {
            assert_eq!(raw(json).integer::<u64>().unwrap(), Some(u64::MAX));
        }
    }

    #[test]
    fn a_number_that_does_not_fit_is_handed_back_and_named_in_the_error() {
        for json in ["256", "-1", "1.5", "1e300", "\"x\"", "true", "[7]"] {
            let odd = raw(json).integer::<u8>().unwrap_err();
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(odd.clone().into_value(), value);
            let error: serde_json::Error = odd.unexpected("a whole number in range");
            let expected = format!("expected a whole number in range, found {value}");
            assert!(error.to_string().contains(&expected), "{error}");
        }
    }

    #[test]
    fn a_float_may_be_negative_zero_or_text_and_is_finite() {
        assert_eq!(raw("-0").float().unwrap(), Some(0.0));
        assert_eq!(raw("-117.5").float().unwrap(), Some(-117.5));
        assert_eq!(raw("\"9.25\"").float().unwrap(), Some(9.25));
        assert_eq!(raw("null").float().unwrap(), None);
        for json in ["false", "\"NaN\"", "\"inf\"", "\"1e400\"", "{}"] {
            assert!(raw(json).float().is_err(), "{json}");
        }
    }

    #[test]
    fn text_may_be_a_number_whose_digits_are_certain() {
        for (json, text) in [("7", "7"), ("-7", "-7"), ("14.5", "14.5"), ("true", "true")] {
            assert_eq!(raw(json).text().unwrap(), text);
        }
        for json in ["18446744073709551616", "1e300", "[]", "{}"] {
            assert!(raw(json).text().is_err(), "{json}");
        }
    }

    #[test]
    fn hex_digits_are_upper_case_and_of_the_right_number() {
        for (json, hex) in [
            ("\"0123456789ABCDEF\"", "0123456789ABCDEF"),
            ("\"0123456789abcdef\"", "0123456789ABCDEF"),
            ("\"\"", ""),
            ("null", ""),
        ] {
            assert_eq!(raw(json).hex::<16>().unwrap(), hex);
        }
        for other in 0..=255_u8 {
            let text = format!("0123456789ABCDE{}", char::from(other));
            let is_hex = char::from(other).is_ascii_hexdigit();
            let read = Raw::Text(text.clone().into()).hex::<16>();
            assert_eq!(read.is_ok(), is_hex, "{text:?}");
        }
        assert!(raw("\"0123456789ABCDE\"").hex::<16>().is_err());
        assert!(raw("123456").hex::<6>().is_err());
    }

    #[test]
    fn no_time_is_no_error_and_other_values_are_handed_back() {
        for json in ["\"\"", "null", "\"0001-01-01T00:00:00Z\""] {
            assert_eq!(raw(json).as_time(), None, "{json}");
            assert_eq!(raw(json).no_time().unwrap(), None, "{json}");
        }
        for json in ["\"yesterday\"", "1747210897", "true", "[]"] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(raw(json).as_time(), None, "{json}");
            assert_eq!(raw(json).no_time().unwrap_err().into_value(), value);
        }
    }
}
