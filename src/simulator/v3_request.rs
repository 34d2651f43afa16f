//! Downlink requests of The Things Stack, read as its server reads them: by protobuf's JSON rules,
//! then by the limits of the schema.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet::Alphabet};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::v3_messages::{ClassBC, Downlink, FixedGateway, PRIORITIES, Retry};

/// A JSON value with every member that was given, also those given twice.
enum Json {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// The downlinks of a `down/push` or `down/replace`; `None` when the server would drop the request
/// without a word. What follows the first JSON value is not looked at.
pub(super) fn read(payload: &[u8]) -> Option<Vec<Downlink>> {
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let request = Json::deserialize(&mut deserializer).ok()?;
    let [downlinks] = members(&request, ["downlinks"])?;
    list(downlinks)?.iter().map(downlink).collect()
}

fn downlink(json: &Json) -> Option<Downlink> {
    let names = [
        "session_key_id",
        "f_port",
        "f_cnt",
        "frm_payload",
        "decoded_payload",
        "confirmed",
        "class_b_c",
        "priority",
        "correlation_ids",
        "confirmed_retry",
    ];
    let [
        session_key_id,
        f_port,
        f_cnt,
        frm_payload,
        decoded_payload,
        confirmed,
        class_b_c,
        priority,
        correlation_ids,
        confirmed_retry,
    ] = members(json, names)?;
    let downlink = Downlink {
        session_key_id: read_or_default(session_key_id, bytes)?,
        f_port: u8::try_from(read_or_default(f_port, number)?).ok()?,
        f_cnt: read_or_default(f_cnt, number)?,
        payload: optional(frm_payload, bytes)?,
        decoded: optional(decoded_payload, object)?,
        confirmed: read_or_default(confirmed, bool)?,
        class_b_c: optional(class_b_c, class_bc)?,
        priority: read_or_default(priority, self::priority)?,
        correlation_ids: list(correlation_ids)?
            .iter()
            .map(|id| text(id).filter(|id| id.chars().count() <= 100))
            .collect::<Option<_>>()?,
        retry: optional(confirmed_retry, retry)?,
    };
    let payload = downlink.payload.as_deref().unwrap_or_default();
    (downlink.f_port != 224 && payload.len() <= 255).then_some(downlink)
}

fn class_bc(json: &Json) -> Option<ClassBC> {
    let [gateways, absolute_time] = members(json, ["gateways", "absolute_time"])?;
    Some(ClassBC {
        gateways: list(gateways)?.iter().map(gateway).collect::<Option<_>>()?,
        absolute_time: optional(absolute_time, time)?,
    })
}

fn gateway(json: &Json) -> Option<FixedGateway> {
    let names = ["gateway_ids", "antenna_index", "group_index"];
    let [ids, antenna_index, group_index] = members(json, names)?;
    let [gateway_id, eui] = members(ids?, ["gateway_id", "eui"])?;
    let gateway_id = read_or_default(gateway_id, text)?;
    // Unlike in the messages to the client, this one is not in hexadecimal digits.
    let eui = read_or_default(eui, bytes)?;
    let valid = is_id(&gateway_id) || gateway_id.is_empty();
    (valid && matches!(eui.len(), 0 | 8)).then_some(FixedGateway {
        gateway_id,
        eui: hex::encode_upper(eui),
        antenna_index: read_or_default(antenna_index, number)?,
        group_index: read_or_default(group_index, number)?,
    })
}

fn retry(json: &Json) -> Option<Retry> {
    let [attempt, max_attempts] = members(json, ["attempt", "max_attempts"])?;
    let max_attempts = optional(max_attempts, number)?;
    let valid = max_attempts.is_none_or(|attempts| (1..=32).contains(&attempts));
    valid.then_some(Retry {
        attempt: read_or_default(attempt, number)?,
        max_attempts,
    })
}

/// A name that is not known counts for the first, a number that is not is an error.
fn priority(json: &Json) -> Option<usize> {
    match json {
        Json::String(name) => {
            let known = PRIORITIES.iter().position(|priority| priority == name);
            Some(known.unwrap_or_default())
        }
        Json::Number(_) => {
            let number = usize::try_from(number(json)?).ok()?;
            (number < PRIORITIES.len()).then_some(number)
        }
        _ => None,
    }
}

/// The members by these names, in snake_case or lowerCamelCase, null for absent ones; `None` when
/// it is no object or has one of them twice.
fn members<'a, const N: usize>(json: &'a Json, names: [&str; N]) -> Option<[Option<&'a Json>; N]> {
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

fn optional<T>(json: Option<&Json>, read: impl Fn(&Json) -> Option<T>) -> Option<Option<T>> {
    json.map_or(Some(None), |json| read(json).map(Some))
}

fn read_or_default<T: Default>(
    json: Option<&Json>,
    read: impl Fn(&Json) -> Option<T>,
) -> Option<T> {
    json.map_or_else(|| Some(T::default()), read)
}

fn list(json: Option<&Json>) -> Option<&[Json]> {
    match json {
        None => Some(&[]),
        Some(Json::Array(items)) => Some(items),
        Some(_) => None,
    }
}

fn bool(json: &Json) -> Option<bool> {
    match json {
        Json::Bool(on) => Some(*on),
        _ => None,
    }
}

fn text(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// Of 32 bits, as a number or in a string.
fn number(json: &Json) -> Option<u32> {
    let number = match json {
        Json::Number(number) => *number,
        Json::String(text) if text.trim() == text => serde_json::from_str(text).ok()?,
        _ => return None,
    };
    let valid = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    valid.then_some(number as u32)
}

/// Base64 in either alphabet, with padding or without.
fn bytes(json: &Json) -> Option<Vec<u8>> {
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

/// RFC 3339 with any offset.
fn time(json: &Json) -> Option<SystemTime> {
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

fn object(json: &Json) -> Option<Value> {
    matches!(json, Json::Object(_))
        .then(|| value(json))
        .flatten()
}

/// Any value; numbers are doubles.
fn value(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::Null,
        Json::Bool(on) => (*on).into(),
        Json::Number(number) => super::v3_messages::double(*number),
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

/// `^[a-z0-9](?:[-]?[a-z0-9]){2,}$`, at most 36 characters: ids of applications, tenants, devices
/// and gateways.
pub(super) fn is_id(id: &str) -> bool {
    let letters = |part: &str| {
        let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !part.is_empty() && part.bytes().all(lower)
    };
    let count = id.bytes().filter(|byte| *byte != b'-').count();
    count >= 3 && id.len() <= 36 && id.split('-').all(letters)
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
