//! Reading JSON from servers that leave members out, send `null`, or send numbers as text.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    time::{Duration, SystemTime},
};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::message;

/// The name of a member, borrowed where possible.
pub(super) struct Key<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Self)
    }
}

/// The text of a value that is no list and no object, borrowed where possible; empty for `null`.
/// Numbers and truth values keep their JSON form.
pub(super) struct Text<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Self)
    }
}

struct TextVisitor;

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

/// What is expected where lists and objects are not.
const SCALAR: &str = "text, a number, true, false or null";

/// A value that may be `null`, which counts as left out.
pub(super) struct Nullable<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Nullable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|value| Self(value.unwrap_or_default()))
    }
}

/// What an object's members are read into, one by one; the last of several with one name counts.
/// `Wire` says in whose words: networks have different ones for the same thing.
pub(super) trait Members<'de, Wire> {
    /// Takes the value of the member `name` from `map`.
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Reads an object; whether there was one, and not `null`.
struct Fill<'a, T, Wire>(&'a mut T, PhantomData<Wire>);

impl<'de, Wire, T: Members<'de, Wire>> DeserializeSeed<'de> for Fill<'_, T, Wire> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, Wire, T: Members<'de, Wire>> Visitor<'de> for Fill<'_, T, Wire> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_none<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while let Some(Key(name)) = map.next_key()? {
            self.0
                .member(&name, &mut map)
                .map_err(|cause| shortened(&format!("{}: {cause}", name.escape_debug())))?;
        }
        Ok(true)
    }
}

/// An error of words that may quote what was sent: without control characters, and of what is long
/// the beginning and the end.
fn shortened<E: de::Error>(words: &str) -> E {
    const BEGINNING: usize = 200;
    const END: usize = 100;
    let words = visible(words);
    let count = words.chars().count();
    if count <= BEGINNING + END {
        return E::custom(words);
    }
    let beginning: String = words.chars().take(BEGINNING).collect();
    let end: String = words.chars().skip(count - END).collect();
    E::custom(format_args!("{beginning}…{end}"))
}

/// JSON escapes only some of the control characters.
fn visible(words: &str) -> Cow<'_, str> {
    if !words.contains(char::is_control) {
        return Cow::Borrowed(words);
    }
    let mut text = String::new();
    for character in words.chars() {
        match character.is_control() {
            true => text.extend(character.escape_default()),
            false => text.push(character),
        }
    }
    Cow::Owned(text)
}

/// Reads a whole document, an object, into `target`; whether it was one, and not `null`.
fn read_into<'de, Wire, T: Members<'de, Wire>>(
    json: &'de [u8],
    target: &mut T,
) -> serde_json::Result<bool> {
    // Once for all: as bytes, each text in it would be looked at by itself.
    let text = std::str::from_utf8(json).map_err(de::Error::custom)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = Fill(target, PhantomData)
        .deserialize(&mut deserializer)
        .map_err(|cause| shortened::<serde_json::Error>(&cause.to_string()))?;
    deserializer.end()?;
    Ok(found)
}

/// Reads a whole document, which has to be an object, into `target`.
pub(super) fn read_object<'de, Wire, T: Members<'de, Wire>>(
    json: &'de [u8],
    target: &mut T,
) -> serde_json::Result<()> {
    match read_into(json, target)? {
        true => Ok(()),
        false => Err(de::Error::custom("null in place of an object")),
    }
}

/// Reads a whole document: an object, or `null`, which counts as an empty one.
pub(super) fn read_nullable<'de, Wire, T: Members<'de, Wire> + Default>(
    json: &'de [u8],
) -> serde_json::Result<T> {
    let mut value = T::default();
    read_into(json, &mut value)?;
    Ok(value)
}

/// An object; without it, or for `null`, as it is by default.
pub(super) fn object<'de, Wire, T, A>(map: &mut A) -> Result<T, A::Error>
where
    T: Members<'de, Wire> + Default,
    A: MapAccess<'de>,
{
    let mut value = T::default();
    object_into(map, &mut value)?;
    Ok(value)
}

/// Reads an object into `target`; whether there was one, and not `null`.
pub(super) fn object_into<'de, Wire, T, A>(map: &mut A, target: &mut T) -> Result<bool, A::Error>
where
    T: Members<'de, Wire>,
    A: MapAccess<'de>,
{
    map.next_value_seed(Fill(target, PhantomData))
}

/// An object; nothing for `null`.
pub(super) fn part<'de, Wire, T, A>(map: &mut A) -> Result<Option<T>, A::Error>
where
    T: Members<'de, Wire> + Default,
    A: MapAccess<'de>,
{
    let mut part = T::default();
    Ok(object_into(map, &mut part)?.then_some(part))
}

/// A list of objects, without what is `null`.
pub(super) fn list<'de, Wire, T, A>(map: &mut A) -> Result<Vec<T>, A::Error>
where
    T: Members<'de, Wire> + Default,
    A: MapAccess<'de>,
{
    list_of(map, T::default)
}

/// A list of objects, without what is `null`; each is read into a `fresh` one.
pub(super) fn list_of<'de, Wire, T, A>(
    map: &mut A,
    fresh: impl Fn() -> T,
) -> Result<Vec<T>, A::Error>
where
    T: Members<'de, Wire>,
    A: MapAccess<'de>,
{
    map.next_value_seed(List(fresh, PhantomData))
}

struct List<F, Wire>(F, PhantomData<Wire>);

impl<'de, Wire, T, F> DeserializeSeed<'de> for List<F, Wire>
where
    T: Members<'de, Wire>,
    F: Fn() -> T,
{
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, Wire, T, F> Visitor<'de> for List<F, Wire>
where
    T: Members<'de, Wire>,
    F: Fn() -> T,
{
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_none<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        loop {
            let mut next = (self.0)();
            match elements.next_element_seed(Fill(&mut next, PhantomData))? {
                Some(true) => {
                    // Most lists have one; `push` alone would make room for four.
                    if list.is_empty() {
                        list.reserve_exact(1);
                    }
                    list.push(next);
                }
                Some(false) => {}
                None => break,
            }
        }
        Ok(list)
    }
}

/// A list of texts.
pub(super) fn strings<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Vec<String>, A::Error> {
    let Nullable(list) = map.next_value::<Nullable<Vec<Text<'_>>>>()?;
    Ok(list
        .into_iter()
        .map(|Text(text)| text.into_owned())
        .collect())
}

/// Texts by name.
pub(super) fn texts<'de, A: MapAccess<'de>>(
    map: &mut A,
) -> Result<BTreeMap<String, String>, A::Error> {
    let Texts(texts) = object(map)?;
    Ok(texts)
}

#[derive(Default)]
struct Texts(BTreeMap<String, String>);

impl<'de> Members<'de, ()> for Texts {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        self.0.insert(name.to_owned(), text(map)?);
        Ok(())
    }
}

pub(super) fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<String, A::Error> {
    let Text(text) = map.next_value()?;
    Ok(text.into_owned())
}

/// Text that is mostly one of those that are `known`, which takes no memory.
pub(super) fn known_text<'de, A: MapAccess<'de>>(
    known: &[&'static str],
    map: &mut A,
) -> Result<Cow<'static, str>, A::Error> {
    let Text(text) = map.next_value()?;
    Ok(match known.iter().find(|known| **known == text) {
        Some(known) => Cow::Borrowed(*known),
        None => Cow::Owned(text.into_owned()),
    })
}

pub(super) fn integer<'de, T, A>(map: &mut A) -> Result<Option<T>, A::Error>
where
    T: TryFrom<i128>,
    A: MapAccess<'de>,
{
    map.next_value::<Scalar<'_>>()?.integer()
}

pub(super) fn float<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<f64>, A::Error> {
    map.next_value::<Scalar<'_>>()?.float()
}

pub(super) fn flag<'de, A: MapAccess<'de>>(map: &mut A) -> Result<bool, A::Error> {
    map.next_value::<Scalar<'_>>()?.flag()
}

pub(super) fn bytes<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Vec<u8>, A::Error> {
    map.next_value::<Scalar<'_>>()?.bytes()
}

/// A duration given in whole nanoseconds.
pub(super) fn nanoseconds<'de, A: MapAccess<'de>>(
    map: &mut A,
) -> Result<Option<Duration>, A::Error> {
    Ok(integer(map)?.map(Duration::from_nanos))
}

/// A time; text that is none is kept among the members without a name of their own.
pub(super) fn time<'de, A: MapAccess<'de>>(
    extra: &mut Map<String, Value>,
    name: &str,
    map: &mut A,
) -> Result<Option<SystemTime>, A::Error> {
    Ok(map.next_value::<Text<'_>>()?.time().unwrap_or_else(|text| {
        extra.insert(name.to_owned(), text.into());
        None
    }))
}

/// Keeps a member that has no field of its own.
pub(super) fn keep<'de, A: MapAccess<'de>>(
    extra: &mut Map<String, Value>,
    name: &str,
    map: &mut A,
) -> Result<(), A::Error> {
    extra.insert(name.to_owned(), map.next_value()?);
    Ok(())
}

pub(super) fn ignore<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

/// A value that is no list and no object.
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
        E::custom(format_args!("{found} in place of {wanted}"))
    }

    /// A whole number that fits; nothing for `null` and empty text.
    pub(super) fn integer<T, E>(self) -> Result<Option<T>, E>
    where
        T: TryFrom<i128>,
        E: de::Error,
    {
        // Every f64 below this bound that is whole converts without loss.
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
            None => Err(self.unexpected("a whole number that fits")),
        }
    }

    /// A number; nothing for `null` and empty text.
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

    /// A truth value; `false` for `null`.
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

    /// Bytes in base64; none for `null`.
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
    /// A time; an `Err` hands back text that is none.
    pub(super) fn time(self) -> Result<Option<SystemTime>, Cow<'de, str>> {
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
            assert!(error.to_string().contains("in place of"), "{error}");
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
