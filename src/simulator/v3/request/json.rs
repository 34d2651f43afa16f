//! JSON by protobuf's rules.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use base64::{
    Engine,
    alphabet::{Alphabet, STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::simulator::v3::messages::double;

/// A JSON value with all its members, including duplicates.
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Returns the members with these names, in snake_case or lowerCamelCase, with null as absent; `None`
/// if it is not an object or has one of them twice.
pub(super) fn members<'a, const N: usize>(
    json: &'a Json,
    names: [&str; N],
) -> Option<[Option<&'a Json>; N]> {
    let Json::Object(given) = json else {
        return None;
    };
    let mut found = [None; N];
    for (key, value) in given {
        let known = |name: &&str| key == *name || *key == camel(name);
        if let Some(index) = names.iter().position(known) {
            if found[index].replace(value).is_some() {
                return None;
            }
        }
    }
    Some(found.map(|member| member.filter(|value| !matches!(value, Json::Null))))
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |camel, word| {
        let (initial, rest) = word.split_at(1);
        camel + &initial.to_ascii_uppercase() + rest
    })
}

pub(super) fn optional<T>(
    json: Option<&Json>,
    read: impl Fn(&Json) -> Option<T>,
) -> Option<Option<T>> {
    json.map_or(Some(None), |json| read(json).map(Some))
}

pub(super) fn read_or_default<T: Default>(
    json: Option<&Json>,
    read: impl Fn(&Json) -> Option<T>,
) -> Option<T> {
    json.map_or_else(|| Some(T::default()), read)
}

pub(super) fn list(json: Option<&Json>) -> Option<&[Json]> {
    match json {
        None => Some(&[]),
        Some(Json::Array(items)) => Some(items),
        Some(_) => None,
    }
}

pub(super) fn bool(json: &Json) -> Option<bool> {
    match json {
        Json::Bool(on) => Some(*on),
        _ => None,
    }
}

pub(super) fn text(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// Reads an integer of 32 bits, as a number or in a string.
pub(super) fn number(json: &Json) -> Option<u32> {
    let number = match json {
        Json::Number(number) => *number,
        Json::String(text) if text.trim() == text => serde_json::from_str(text).ok()?,
        _ => return None,
    };
    let valid = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    valid.then_some(number as u32)
}

/// Reads Base64 in either alphabet, with padding or without.
pub(super) fn bytes(json: &Json) -> Option<Vec<u8>> {
    let text = text(json)?;
    if text.len() % 4 != 0 && text.contains('=') {
        return None;
    }
    let alphabet: &Alphabet = if text.contains(['-', '_']) {
        &URL_SAFE
    } else {
        &STANDARD
    };
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

/// Reads RFC 3339 with any offset.
pub(super) fn time(json: &Json) -> Option<SystemTime> {
    let text = text(json)?;
    if text.ends_with('Z') {
        return humantime::parse_rfc3339(&text).ok();
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let minutes = hours.parse::<u64>().ok()? * 60 + minutes.parse::<u64>().ok()?;
    let offset_length = Duration::from_secs(60 * minutes);
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    match offset.as_bytes()[0] {
        b'+' => local.checked_sub(offset_length),
        b'-' => local.checked_add(offset_length),
        _ => None,
    }
}

pub(super) fn object(json: &Json) -> Option<Value> {
    matches!(json, Json::Object(_))
        .then(|| value(json))
        .flatten()
}

/// Returns any value, with numbers as doubles.
fn value(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::Null,
        Json::Bool(on) => (*on).into(),
        Json::Number(number) => double(*number),
        Json::String(text) => text.clone().into(),
        Json::Array(items) => items.iter().map(value).collect::<Option<Vec<_>>>()?.into(),
        Json::Object(given) => {
            let mut members = serde_json::Map::new();
            for (key, member) in given {
                if members.insert(key.clone(), value(member)?).is_some() {
                    return None;
                }
            }
            members.into()
        }
    })
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Json;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, on: bool) -> Result<Json, E> {
                Ok(Json::Bool(on))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
                Ok(Json::Number(number as f64))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
                Ok(Json::Number(number as f64))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
                Ok(Json::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::String(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut array = Vec::new();
                while let Some(item) = items.next_element()? {
                    array.push(item);
                }
                Ok(Json::Array(array))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
                let mut object = Vec::new();
                while let Some(member) = members.next_entry()? {
                    object.push(member);
                }
                Ok(Json::Object(object))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
