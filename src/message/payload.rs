//! The payload of a downlink in the forms that a program may use: hex, base64, bytes, fields.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::finite::not_finite;

/// Accepts text with and without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A payload as the program wrote it. It is read only when it is sent, so creating it cannot fail.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Payload {
    /// Hex or base64.
    Text(String),
    Hex(String),
    Base64(String),
    Bytes(Vec<u8>),
    /// A JSON value, which must be an object.
    Fields(Value),
    /// Why a value cannot be converted to JSON.
    Unreadable(String),
}

/// A payload after reading.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ReadPayload<'a> {
    Bytes(Vec<u8>),
    Fields(&'a Map<String, Value>),
}

impl Payload {
    /// Reads the payload, or returns why it cannot be read.
    pub(crate) fn read(&self) -> Result<ReadPayload<'_>, String> {
        let bytes = match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Hex(text) => from_hex(text)?,
            Self::Base64(text) => from_base64(text)?,
            Self::Text(text) if looks_like_hex(text) => from_hex(text)?,
            Self::Text(text) if text.strip_prefix("0x").is_some_and(is_digits) => {
                return Err(format!(
                    "{text:?} does not consist only of hex digits; remove the 0x"
                ));
            }
            // Requires padding, so that hex with a missing digit does not pass for base64.
            Self::Text(text) => STANDARD.decode(text).map_err(|_| {
                format!("{text:?} is neither an even number of hex digits nor base64")
            })?,
            Self::Fields(Value::Object(fields)) => return Ok(ReadPayload::Fields(fields)),
            Self::Fields(value) => {
                return Err(format!(
                    "fields must be a JSON object, not {}",
                    kind_of(value)
                ));
            }
            Self::Unreadable(why) => return Err(why.clone()),
        };
        Ok(ReadPayload::Bytes(bytes))
    }

    /// Converts fields to JSON.
    pub(super) fn fields(fields: &impl Serialize) -> Self {
        let why = match serde_json::to_value(fields) {
            Ok(value) if has_null(&value) => match not_finite(fields) {
                Some(member) => format!("{member}, which JSON does not have"),
                None => return Self::Fields(as_written(fields, value)),
            },
            Ok(value) => return Self::Fields(as_written(fields, value)),
            Err(cause) => cause.to_string(),
        };
        Self::Unreadable(format!("the fields cannot be converted to JSON: {why}"))
    }

    pub(crate) fn is_fields(&self) -> bool {
        matches!(self, Self::Fields(_))
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text),
            value => Self::Fields(value),
        }
    }
}

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Decodes standard base64 with or without padding.
pub(crate) fn from_base64(text: &str) -> Result<Vec<u8>, String> {
    LENIENT
        .decode(text)
        .map_err(|cause| format!("{text:?} is not base64: {cause}"))
}

fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text).map_err(|cause| format!("{text:?} is not hex: {cause}"))
}

fn looks_like_hex(text: &str) -> bool {
    text.len() % 2 == 0 && is_digits(text)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the value with the digits that serde_json writes: an `f32` of 21.3 is 21.3 there, and
/// 21.299999237060547 in a [`Value`].
fn as_written(fields: &impl Serialize, value: Value) -> Value {
    let text = serde_json::to_string(fields);
    text.and_then(|text| serde_json::from_str(&text))
        .unwrap_or(value)
}

/// Returns whether a value inside an object or a list is `null`.
fn has_null(value: &Value) -> bool {
    let is_or_has_null = |value: &Value| value.is_null() || has_null(value);
    match value {
        Value::Array(list) => list.iter().any(is_or_has_null),
        Value::Object(members) => members.values().any(is_or_has_null),
        _ => false,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::for_seeds;

    fn bytes(payload: Payload) -> Result<Vec<u8>, String> {
        payload.read().map(|read| match read {
            ReadPayload::Bytes(bytes) => bytes,
            ReadPayload::Fields(fields) => panic!("fields: {fields:?}"),
        })
    }

    fn text(text: &str) -> Result<Vec<u8>, String> {
        bytes(Payload::Text(text.to_owned()))
    }

    #[test]
    fn text_of_hex_digits_in_even_number_is_hex() {
        assert_eq!(text("0102"), Ok(vec![1, 2]));
        assert_eq!(text("fFa0"), Ok(vec![0xff, 0xa0]));
        assert_eq!(text("abcd"), Ok(vec![0xab, 0xcd]));
    }

    #[test]
    fn other_text_is_base64() {
        assert_eq!(text("AQ=="), Ok(vec![1]));
        assert_eq!(text("3q2+7w=="), Ok(vec![0xde, 0xad, 0xbe, 0xef]));
        assert_eq!(text("0xAQ"), Ok(vec![0xd3, 0x10, 0x10]));
    }

    #[test]
    fn any_bytes_come_back_from_their_hex_and_their_base64() {
        for_seeds(20_000, |random| {
            let given: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
            let (hex, base64) = (hex::encode(&given), to_base64(&given));
            for digits in [&hex, &hex.to_uppercase()] {
                assert_eq!(text(digits).as_ref(), Ok(&given));
                assert_eq!(bytes(Payload::Hex(digits.clone())).as_ref(), Ok(&given));
            }
            for base64 in [&base64, base64.trim_end_matches('=')] {
                assert_eq!(
                    bytes(Payload::Base64(base64.to_owned())).as_ref(),
                    Ok(&given)
                );
            }
            let digits = base64.strip_prefix("0x").unwrap_or(&base64);
            if !looks_like_hex(digits) {
                assert_eq!(text(&base64).as_ref(), Ok(&given));
            }
        });
    }

    #[test]
    fn text_that_is_neither_is_quoted_in_the_error() {
        for bad in [
            "not base64!",
            "01 02",
            "0x01",
            "A",
            "AQ",
            "AQ=",
            "AQ-_",
            "012",
            "01234",
        ] {
            let error = text(bad).unwrap_err();
            assert!(error.contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn a_form_that_was_named_is_not_guessed() {
        assert_eq!(
            bytes(Payload::Base64("0102".into())),
            Ok(vec![0xd3, 0x5d, 0x36])
        );
        assert!(bytes(Payload::Hex("AQ==".into())).is_err());
        assert!(bytes(Payload::Hex("012".into())).is_err());
    }

    #[test]
    fn only_an_object_is_fields() {
        for bad in ["[1,2]", "1", "true", "null"] {
            let value: Value = serde_json::from_str(bad).unwrap();
            assert!(Payload::from(value).read().is_err(), "{bad}");
        }
        assert!(matches!(
            Payload::from(serde_json::json!({"led": true})).read(),
            Ok(ReadPayload::Fields(_))
        ));
        assert_eq!(bytes(Payload::from(Value::from("0102"))), Ok(vec![1, 2]));
    }
}
