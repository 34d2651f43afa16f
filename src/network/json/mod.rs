//! Reading JSON from servers that leave members out, send `null`, or send numbers as text.

mod scalar;

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

pub(super) use scalar::Text;
use scalar::{Scalar, TextVisitor};

/// The name of a member, borrowed where possible.
pub(super) struct Key<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Self)
    }
}

/// A value that may be `null`, which counts as left out.
pub(super) struct Nullable<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Nullable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|value| Self(value.unwrap_or_default()))
    }
}

/// A type that reads an object member by member. If a name occurs several times, the last one counts.
/// `Wire` is the network, because networks name the members differently.
pub(super) trait Members<'de, Wire> {
    /// Takes the value of the member `name` from `map`.
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Reads an object. Returns whether there was one, and not `null`.
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

/// Returns an error whose text may quote the message. Control characters are escaped, and a long text
/// is reduced to its beginning and end.
fn shortened<E: de::Error>(text: &str) -> E {
    const BEGINNING: usize = 200;
    const END: usize = 100;
    let text = visible(text);
    let count = text.chars().count();
    if count <= BEGINNING + END {
        return E::custom(text);
    }
    let beginning: String = text.chars().take(BEGINNING).collect();
    let end: String = text.chars().skip(count - END).collect();
    E::custom(format_args!("{beginning}…{end}"))
}

/// Escapes control characters, because JSON escapes only some of them.
fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::new();
    for character in text.chars() {
        match character.is_control() {
            true => escaped.extend(character.escape_default()),
            false => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

/// Reads a whole document into `target`. Returns whether it was an object, and not `null`.
fn read_into<'de, Wire, T: Members<'de, Wire>>(
    json: &'de [u8],
    target: &mut T,
) -> serde_json::Result<bool> {
    // Checks the document once; from bytes, serde_json would check each string separately.
    let text = std::str::from_utf8(json).map_err(de::Error::custom)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = Fill(target, PhantomData)
        .deserialize(&mut deserializer)
        .map_err(|cause| shortened::<serde_json::Error>(&cause.to_string()))?;
    deserializer.end()?;
    Ok(found)
}

/// Reads a whole document, which must be an object, into `target`.
pub(super) fn read_object<'de, Wire, T: Members<'de, Wire>>(
    json: &'de [u8],
    target: &mut T,
) -> serde_json::Result<()> {
    match read_into(json, target)? {
        true => Ok(()),
        false => Err(de::Error::custom("expected an object, found null")),
    }
}

/// Reads a whole document: an object, or `null`, which counts as an empty object.
pub(super) fn read_nullable<'de, Wire, T: Members<'de, Wire> + Default>(
    json: &'de [u8],
) -> serde_json::Result<T> {
    let mut value = T::default();
    read_into(json, &mut value)?;
    Ok(value)
}

/// Reads an object; returns the default for `null`.
pub(super) fn object<'de, Wire, T, A>(map: &mut A) -> Result<T, A::Error>
where
    T: Members<'de, Wire> + Default,
    A: MapAccess<'de>,
{
    let mut value = T::default();
    object_into(map, &mut value)?;
    Ok(value)
}

/// Reads an object into `target`. Returns whether there was one, and not `null`.
pub(super) fn object_into<'de, Wire, T, A>(map: &mut A, target: &mut T) -> Result<bool, A::Error>
where
    T: Members<'de, Wire>,
    A: MapAccess<'de>,
{
    map.next_value_seed(Fill(target, PhantomData))
}

/// Reads an object; returns `None` for `null`.
pub(super) fn part<'de, Wire, T, A>(map: &mut A) -> Result<Option<T>, A::Error>
where
    T: Members<'de, Wire> + Default,
    A: MapAccess<'de>,
{
    let mut part = T::default();
    Ok(object_into(map, &mut part)?.then_some(part))
}

/// Reads a list of objects and skips `null`.
pub(super) fn list<'de, Wire, T, A>(map: &mut A) -> Result<Vec<T>, A::Error>
where
    T: Members<'de, Wire> + Default,
    A: MapAccess<'de>,
{
    list_of(map, T::default)
}

/// Reads a list of objects, each into a `fresh` value, and skips `null`.
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
                    // Most lists have one element; `push` alone would allocate room for four.
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

/// Reads a list of texts.
pub(super) fn strings<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Vec<String>, A::Error> {
    let Nullable(list) = map.next_value::<Nullable<Vec<Text<'_>>>>()?;
    Ok(list
        .into_iter()
        .map(|Text(text)| text.into_owned())
        .collect())
}

/// Reads an object whose members are texts.
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

/// Reads text that is usually one of the `known`, which need no allocation.
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

/// Reads a duration in whole nanoseconds.
pub(super) fn nanoseconds<'de, A: MapAccess<'de>>(
    map: &mut A,
) -> Result<Option<Duration>, A::Error> {
    Ok(integer(map)?.map(Duration::from_nanos))
}

/// Reads a time. Any other text goes to `extra`.
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

/// Keeps a member that has no field.
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
