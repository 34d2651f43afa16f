//! Reading JSON from servers that leave members out, send `null`, or send numbers as text.
//!
//! A type reads an object member by member ([`Members`]). A [`Member`] has a method for each form that
//! its value may have. A value that has another form is kept ([`Left`]), unless the method's name begins
//! with `essential`: then the message cannot be read.

mod left;
mod member;
mod raw;
mod scanner;
mod shape;
mod time;
mod value;

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};

pub(super) use left::Left;
pub(crate) use left::Odd;
pub(super) use member::Member;
use raw::NUMBER;
pub(super) use raw::Raw;
pub(super) use scanner::Scanner;
use shape::{Shape, Shaped};
pub(super) use time::fraction;

/// How a network names the members of its JSON.
pub(super) trait Dialect {
    /// Whether a name such as `f_port` may also be written as `fPort`.
    const HAS_CAMEL_CASE: bool;
    /// Whether an object may have members of any name, because they are a user's data.
    const HAS_ANY_NAME: bool = false;
}

/// Names that are a user's data.
impl Dialect for () {
    const HAS_CAMEL_CASE: bool = false;
    const HAS_ANY_NAME: bool = true;
}

/// A type that reads an object member by member. If a name occurs several times, the last one counts.
pub(super) trait Members<'de, Wire: Dialect> {
    /// Reads a member. Returns whether the type has it; if not, the value must be unread.
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error>;

    /// Is called after the last member.
    fn end(&mut self, _left: &mut Left) {}

    /// Returns where to keep the member `name` if the type does not have it or cannot read it. If this is
    /// nowhere, the former is ignored, and the object around this one keeps the latter.
    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        None
    }
}

/// The name of a member, borrowed where possible.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor).map(Self)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Reads an object into `target`, and adds what cannot be read to `left`.
struct Fill<'a, T, Wire> {
    target: &'a mut T,
    left: &'a mut Left,
    wire: PhantomData<Wire>,
}

impl<'a, T, Wire> Fill<'a, T, Wire> {
    fn new(target: &'a mut T, left: &'a mut Left) -> Self {
        Self {
            target,
            left,
            wire: PhantomData,
        }
    }
}

impl<'de, Wire: Dialect, T: Members<'de, Wire>> Fill<'_, T, Wire> {
    /// Reads a member whose name the type does not have in this form.
    #[inline(never)]
    fn other<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let is_capital = |byte: u8| byte.is_ascii_uppercase();
        if Wire::HAS_CAMEL_CASE && name.bytes().any(is_capital) {
            let name = snake_case(name);
            let mut member = Member::new(&name, map, self.left);
            if self.target.member(&mut member)? {
                return Ok(());
            }
        }
        match self.target.extra(name) {
            Some(extra) => {
                extra.insert(name.to_owned(), map.next_value()?);
            }
            None => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Turns `fPort` into `f_port`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

impl<'de, Wire: Dialect, T: Members<'de, Wire>> Shape<'de> for Fill<'_, T, Wire> {
    type Value = ();

    fn object<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Result<(), Raw<'de>>, A::Error> {
        while let Some(Key(name)) = map.next_key()? {
            if Wire::HAS_ANY_NAME && *name == *NUMBER {
                return Raw::of_digits(map).map(Err);
            }
            let mut member = Member::new(&name, &mut map, self.left);
            let read = match self.target.member(&mut member) {
                Ok(true) => continue,
                Ok(false) if *name == *NUMBER => return Raw::of_digits(map).map(Err),
                Ok(false) => self.other(&name, &mut map),
                Err(cause) => Err(cause),
            };
            if let Err(cause) = read {
                return Err(shortened(&format!("{}: {cause}", name.escape_debug())));
            }
        }
        self.target.end(self.left);
        if !self.left.is_empty() {
            self.left.settle(self.target);
        }
        Ok(Ok(()))
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

/// Removes a byte-order mark from the beginning of a document.
pub(super) fn without_mark(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

/// Returns the text of a document, without a byte-order mark.
pub(super) fn document(json: &[u8]) -> serde_json::Result<&str> {
    // Checks all of it once; from bytes, serde_json would check each string separately.
    let text = std::str::from_utf8(without_mark(json)).map_err(de::Error::custom)?;
    match text.trim_ascii().is_empty() {
        true => Err(de::Error::custom("it is empty")),
        false => Ok(text),
    }
}

/// Reads a whole document into `target`. Returns whether it was an object, and not `null`, and what
/// could not be read.
fn read_into<'de, Wire: Dialect, T: Members<'de, Wire>>(
    json: &'de [u8],
    target: &mut T,
) -> serde_json::Result<(bool, Odd)> {
    let mut deserializer = serde_json::Deserializer::from_str(document(json)?);
    let mut left = Left::default();
    let found = Shaped(Fill::new(target, &mut left))
        .deserialize(&mut deserializer)
        .and_then(|found| match found {
            Ok(()) => Ok(true),
            Err(Raw::Null) => Ok(false),
            Err(odd) => Err(odd.unexpected(OBJECT)),
        })
        .map_err(|cause| shortened::<serde_json::Error>(&cause.to_string()))?;
    deserializer.end()?;
    Ok((found, left.into_odd()))
}

/// What an error says that was expected.
const OBJECT: &str = "an object";

/// Reads a whole document, which must be an object, into `target`.
pub(super) fn read_object<'de, Wire: Dialect, T: Members<'de, Wire>>(
    json: &'de [u8],
    target: &mut T,
) -> serde_json::Result<Odd> {
    match read_into(json, target)? {
        (true, odd) => Ok(odd),
        (false, _) => Err(Raw::Null.unexpected(OBJECT)),
    }
}

/// Reads a whole document: an object, or `null`, which counts as an empty object.
pub(super) fn read_nullable<'de, Wire: Dialect, T: Members<'de, Wire> + Default>(
    json: &'de [u8],
) -> serde_json::Result<(T, Odd)> {
    let mut value = T::default();
    let (_, odd) = read_into(json, &mut value)?;
    Ok((value, odd))
}
