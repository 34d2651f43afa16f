//! The forms that the value of a member may have.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    marker::PhantomData,
    time::{Duration, SystemTime},
};

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess};
use serde_json::{Map, Value};

use super::{
    Dialect, Fill, Left, Members, OBJECT, Raw, Shape, Shaped, raw::Integer, value::ValueIn,
};
use crate::message::Reuse;

/// A member of an object. Each method reads its value. A value of another form is kept under the name of
/// the member and counted; the method then returns what it returns for `null`.
pub(in crate::network) struct Member<'m, A> {
    name: &'m str,
    map: &'m mut A,
    left: &'m mut Left,
}

impl<'m, A> Member<'m, A> {
    pub(super) fn new(name: &'m str, map: &'m mut A, left: &'m mut Left) -> Self {
        Self { name, map, left }
    }

    pub(in crate::network) fn name(&self) -> &'m str {
        self.name
    }
}

impl<'de, A: MapAccess<'de>> Member<'_, A> {
    /// Returns the value itself.
    pub(in crate::network) fn raw(&mut self) -> Result<Raw<'de>, A::Error> {
        self.map.next_value()
    }

    /// Returns the value itself, of any form.
    pub(in crate::network) fn value(&mut self) -> Result<Value, A::Error> {
        self.map.next_value()
    }

    /// Does the same as [`value`](Self::value) with a value whose memory is used again.
    pub(in crate::network) fn value_in(&mut self, mut value: Value) -> Result<Value, A::Error> {
        self.map.next_value_seed(ValueIn(&mut value))?;
        Ok(value)
    }

    pub(in crate::network) fn ignore(&mut self) -> Result<(), A::Error> {
        self.map.next_value::<IgnoredAny>().map(|_| ())
    }

    /// Returns what `convert` makes of the value.
    pub(in crate::network) fn read<T: Default>(
        &mut self,
        convert: impl FnOnce(Raw<'de>) -> Result<T, Raw<'de>>,
    ) -> Result<T, A::Error> {
        let raw = self.raw()?;
        Ok(convert(raw).unwrap_or_else(|odd| self.unreadable(odd)))
    }

    /// Returns what `convert` makes of a value that is not in its usual form.
    #[cold]
    #[inline(never)]
    fn convert_other<T: Default>(
        &mut self,
        raw: Raw<'de>,
        convert: impl FnOnce(Raw<'de>) -> Result<T, Raw<'de>>,
    ) -> T {
        convert(raw).unwrap_or_else(|odd| self.unreadable(odd))
    }

    fn unreadable<T: Default>(&mut self, odd: Raw<'de>) -> T {
        self.keep(odd);
        T::default()
    }

    #[cold]
    #[inline(never)]
    fn keep(&mut self, odd: Raw<'de>) {
        self.left.add(self.name, odd.into_value());
    }

    pub(in crate::network) fn text(&mut self) -> Result<String, A::Error> {
        let mut text = String::new();
        self.text_into(&mut text)?;
        Ok(text)
    }

    /// Does the same as [`text`](Self::text) with a string whose memory is used again.
    pub(in crate::network) fn text_into(&mut self, text: &mut String) -> Result<(), A::Error> {
        let read = match self.raw()? {
            Raw::Text(text) => text,
            other => self.convert_other(other, Raw::text),
        };
        replace(text, read);
        Ok(())
    }

    /// Returns text that is usually one of the `known`, which need no allocation.
    pub(in crate::network) fn known_text(
        &mut self,
        known: &[&'static str],
    ) -> Result<Cow<'static, str>, A::Error> {
        self.read(|raw| raw.known_text(known))
    }

    /// Returns the name of an enum's value; see [`Raw::enum_name`].
    pub(in crate::network) fn enum_name(
        &mut self,
        prefix: &str,
        names: &[(i64, &'static str)],
    ) -> Result<Cow<'static, str>, A::Error> {
        self.read(|raw| raw.enum_name(prefix, names))
    }

    /// Returns text of `N` upper-case hex digits.
    pub(in crate::network) fn hex<const N: usize>(&mut self) -> Result<String, A::Error> {
        let mut hex = String::new();
        self.hex_into::<N>(&mut hex)?;
        Ok(hex)
    }

    /// Does the same as [`hex`](Self::hex) with a string whose memory is used again.
    pub(in crate::network) fn hex_into<const N: usize>(
        &mut self,
        hex: &mut String,
    ) -> Result<(), A::Error> {
        replace(hex, self.read(Raw::hex::<N>)?);
        Ok(())
    }

    pub(in crate::network) fn integer<T: Integer>(&mut self) -> Result<Option<T>, A::Error> {
        self.read(Raw::integer)
    }

    /// Returns a number that servers leave out if it is 0: 0 for `null`, and `None` if it cannot be read.
    pub(in crate::network) fn integer_or_zero<T: Integer + Default>(
        &mut self,
    ) -> Result<Option<T>, A::Error> {
        self.read(|raw| Ok(Some(raw.integer()?.unwrap_or_default())))
    }

    pub(in crate::network) fn float(&mut self) -> Result<Option<f64>, A::Error> {
        self.read(Raw::float)
    }

    pub(in crate::network) fn flag(&mut self) -> Result<bool, A::Error> {
        self.read(Raw::flag)
    }

    pub(in crate::network) fn bytes(&mut self) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        self.bytes_into(&mut bytes)?;
        Ok(bytes)
    }

    /// Does the same as [`bytes`](Self::bytes) with a list whose memory is used again.
    pub(in crate::network) fn bytes_into(&mut self, bytes: &mut Vec<u8>) -> Result<(), A::Error> {
        let read = self.raw()?.bytes_into(bytes);
        read.or_else(|odd| {
            self.keep(odd);
            Ok(())
        })
    }

    /// Returns a duration in whole nanoseconds.
    pub(in crate::network) fn nanoseconds(&mut self) -> Result<Option<Duration>, A::Error> {
        Ok(self.integer()?.map(Duration::from_nanos))
    }

    pub(in crate::network) fn time(&mut self) -> Result<Option<SystemTime>, A::Error> {
        let raw = self.raw()?;
        Ok(match raw.as_time() {
            Some(time) => Some(time),
            None => self.convert_other(raw, Raw::no_time),
        })
    }

    /// Reads an object into `target`. Returns whether there was one.
    pub(in crate::network) fn object_into<Wire: Dialect, T: Members<'de, Wire>>(
        &mut self,
        target: &mut T,
    ) -> Result<bool, A::Error> {
        let found = self.fill(target)?;
        Ok(self.kept(found).is_some())
    }

    /// Reads an object; returns the default without one.
    pub(in crate::network) fn object<Wire: Dialect, T: Members<'de, Wire> + Default>(
        &mut self,
    ) -> Result<T, A::Error> {
        let mut object = T::default();
        self.object_into(&mut object)?;
        Ok(object)
    }

    /// Reads an object; returns `None` without one.
    pub(in crate::network) fn part<Wire: Dialect, T: Members<'de, Wire> + Default>(
        &mut self,
    ) -> Result<Option<T>, A::Error> {
        let mut part = T::default();
        Ok(self.object_into(&mut part)?.then_some(part))
    }

    /// Does the same as [`part`](Self::part) with a value whose memory is used again.
    pub(in crate::network) fn part_in<Wire: Dialect, T: Members<'de, Wire> + Reuse>(
        &mut self,
        mut part: T,
    ) -> Result<Option<T>, A::Error> {
        part.empty();
        Ok(self.object_into(&mut part)?.then_some(part))
    }

    /// Reads an object, or makes one of another value, which is counted. Returns `None` for `null`.
    pub(in crate::network) fn part_or<Wire: Dialect, T: Members<'de, Wire> + Default>(
        &mut self,
        make: impl FnOnce(Value) -> T,
    ) -> Result<Option<T>, A::Error> {
        let mut part = T::default();
        Ok(match self.fill(&mut part)? {
            Ok(()) => Some(part),
            Err(Raw::Null) => None,
            Err(odd) => {
                self.left.count(self.name);
                Some(make(odd.into_value()))
            }
        })
    }

    /// Reads a list of objects, and skips `null`.
    pub(in crate::network) fn list<Wire, T, Item>(&mut self) -> Result<Vec<Item>, A::Error>
    where
        Wire: Dialect,
        T: Members<'de, Wire> + Default,
        Item: From<T>,
    {
        let list = self.map.next_value_seed(Shaped(List {
            name: self.name,
            left: self.left,
            types: PhantomData::<(Wire, T, Item)>,
        }))?;
        Ok(self.kept(list).unwrap_or_default())
    }

    /// Does the same as [`list`](Self::list) with a list whose memory, and that of its elements, is used
    /// again.
    pub(in crate::network) fn list_in<Wire, T>(&mut self, list: Vec<T>) -> Result<Vec<T>, A::Error>
    where
        Wire: Dialect,
        T: Members<'de, Wire> + Reuse,
    {
        let list = self.map.next_value_seed(Shaped(ListIn {
            name: self.name,
            left: self.left,
            list,
            wire: PhantomData::<Wire>,
        }))?;
        Ok(self.kept(list).unwrap_or_default())
    }

    /// Reads a list of objects that have essential members, each into a `fresh` value, and skips `null`.
    /// An object that cannot be read is kept as a whole.
    pub(in crate::network) fn list_of_wholes<Wire, T>(
        &mut self,
        fresh: impl Fn() -> T,
    ) -> Result<Vec<T>, A::Error>
    where
        Wire: Dialect,
        T: for<'v> Members<'v, Wire>,
    {
        let mut list = Vec::new();
        for value in self.values()? {
            let (mut next, mut left) = (fresh(), Left::default());
            match Shaped(Fill::new(&mut next, &mut left)).deserialize(&value) {
                Ok(Ok(())) => {
                    list.push(next);
                    self.left.nest_element(self.name, left);
                }
                Ok(Err(Raw::Null)) => {}
                Ok(Err(_)) | Err(_) => self.left.add_element(self.name, value),
            }
        }
        Ok(list)
    }

    /// Returns the elements of a list, of any form.
    pub(in crate::network) fn values(&mut self) -> Result<Vec<Value>, A::Error> {
        self.read(|raw| match raw {
            Raw::Null => Ok(Vec::new()),
            Raw::Nested(value) => match *value {
                Value::Array(list) => Ok(list),
                other => Err(Raw::Nested(Box::new(other))),
            },
            other => Err(other),
        })
    }

    /// Returns the members of an object, of any form.
    pub(in crate::network) fn members(&mut self) -> Result<Map<String, Value>, A::Error> {
        self.read(|raw| match raw {
            Raw::Null => Ok(Map::new()),
            Raw::Nested(value) => match *value {
                Value::Object(members) => Ok(members),
                other => Err(Raw::Nested(Box::new(other))),
            },
            other => Err(other),
        })
    }

    /// Reads a list of texts, and skips `null`.
    pub(in crate::network) fn strings(&mut self) -> Result<Vec<String>, A::Error> {
        self.strings_in(Vec::new())
    }

    /// Does the same as [`strings`](Self::strings) with a list whose memory, and that of its elements, is used
    /// again.
    pub(in crate::network) fn strings_in(
        &mut self,
        list: Vec<String>,
    ) -> Result<Vec<String>, A::Error> {
        let list = self.map.next_value_seed(Shaped(Strings {
            name: self.name,
            left: self.left,
            list,
        }))?;
        Ok(self.kept(list).unwrap_or_default())
    }

    /// Reads an object whose members are texts, and skips `null`.
    pub(in crate::network) fn texts(&mut self) -> Result<BTreeMap<String, String>, A::Error> {
        let Texts(texts) = self.object()?;
        Ok(texts)
    }

    /// Returns the value if it could be read; otherwise keeps it, unless it is `null`.
    fn kept<T>(&mut self, read: Result<T, Raw<'de>>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(Raw::Null) => None,
            Err(odd) => {
                self.keep(odd);
                None
            }
        }
    }

    fn fill<Wire: Dialect, T: Members<'de, Wire>>(
        &mut self,
        target: &mut T,
    ) -> Result<Result<(), Raw<'de>>, A::Error> {
        let mut left = Left::default();
        let fill = Shaped(Fill::new(target, &mut left));
        let found = self.map.next_value_seed(fill)?;
        if !left.is_empty() {
            self.left.nest(self.name, left);
        }
        Ok(found)
    }
}

/// Members without which a message cannot be read.
impl<'de, A: MapAccess<'de>> Member<'_, A> {
    fn essential<T>(
        &mut self,
        wanted: &str,
        convert: impl FnOnce(Raw<'de>) -> Result<T, Raw<'de>>,
    ) -> Result<T, A::Error> {
        convert(self.raw()?).map_err(|odd| odd.unexpected(wanted))
    }

    pub(in crate::network) fn essential_text(&mut self) -> Result<String, A::Error> {
        let mut text = String::new();
        self.essential_text_into(&mut text)?;
        Ok(text)
    }

    /// Does the same as [`essential_text`](Self::essential_text) with a string whose memory is used again.
    pub(in crate::network) fn essential_text_into(
        &mut self,
        text: &mut String,
    ) -> Result<(), A::Error> {
        replace(
            text,
            self.essential("text, a number, true, false or null", Raw::text)?,
        );
        Ok(())
    }

    pub(in crate::network) fn essential_integer<T: Integer>(
        &mut self,
    ) -> Result<Option<T>, A::Error> {
        self.essential("a whole number in range", Raw::integer)
    }

    pub(in crate::network) fn essential_bytes(&mut self) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        self.essential_bytes_into(&mut bytes)?;
        Ok(bytes)
    }

    /// Does the same as [`essential_bytes`](Self::essential_bytes) with a list whose memory is used again.
    pub(in crate::network) fn essential_bytes_into(
        &mut self,
        bytes: &mut Vec<u8>,
    ) -> Result<(), A::Error> {
        self.essential("text: bytes in base64", |raw| raw.bytes_into(bytes))
    }

    /// Reads an object into `target`. Returns whether there was one, and not `null`.
    pub(in crate::network) fn essential_object_into<Wire: Dialect, T: Members<'de, Wire>>(
        &mut self,
        target: &mut T,
    ) -> Result<bool, A::Error> {
        match self.fill(target)? {
            Ok(()) => Ok(true),
            Err(Raw::Null) => Ok(false),
            Err(odd) => Err(odd.unexpected(OBJECT)),
        }
    }

    /// Reads an object; returns the default for `null`.
    pub(in crate::network) fn essential_object<Wire: Dialect, T: Members<'de, Wire> + Default>(
        &mut self,
    ) -> Result<T, A::Error> {
        let mut object = T::default();
        self.essential_object_into(&mut object)?;
        Ok(object)
    }
}

/// Replaces a text, and uses its memory again.
fn replace(text: &mut String, read: Cow<'_, str>) {
    match read {
        Cow::Borrowed(read) if read.len() <= text.capacity() => {
            text.clear();
            text.push_str(read);
        }
        read => *text = read.into_owned(),
    }
}

struct List<'a, Types> {
    name: &'a str,
    left: &'a mut Left,
    types: PhantomData<Types>,
}

impl<'de, Wire, T, Item> Shape<'de> for List<'_, (Wire, T, Item)>
where
    Wire: Dialect,
    T: Members<'de, Wire> + Default,
    Item: From<T>,
{
    type Value = Vec<Item>;

    fn list<A: SeqAccess<'de>>(
        self,
        mut elements: A,
    ) -> Result<Result<Self::Value, Raw<'de>>, A::Error> {
        let mut list = Vec::new();
        loop {
            let (mut next, mut left) = (T::default(), Left::default());
            let read = elements.next_element_seed(Shaped(Fill::new(&mut next, &mut left)))?;
            let Some(read) = read else { break };
            if self.left.take_element(self.name, read, left) {
                push(&mut list, Some(next.into()));
            }
        }
        Ok(Ok(list))
    }
}

struct ListIn<'a, T, Wire> {
    name: &'a str,
    left: &'a mut Left,
    list: Vec<T>,
    wire: PhantomData<Wire>,
}

impl<'de, Wire, T> Shape<'de> for ListIn<'_, T, Wire>
where
    Wire: Dialect,
    T: Members<'de, Wire> + Reuse,
{
    type Value = Vec<T>;

    fn list<A: SeqAccess<'de>>(
        self,
        mut elements: A,
    ) -> Result<Result<Self::Value, Raw<'de>>, A::Error> {
        let mut list = self.list;
        let mut count = 0;
        loop {
            let (mut new, mut left) = (None, Left::default());
            let next = match list.get_mut(count) {
                Some(old) => {
                    old.empty();
                    old
                }
                None => new.insert(T::default()),
            };
            let read = elements.next_element_seed(Shaped(Fill::new(next, &mut left)))?;
            let Some(read) = read else { break };
            if self.left.take_element(self.name, read, left) {
                push(&mut list, new);
                count += 1;
            }
        }
        list.truncate(count);
        Ok(Ok(list))
    }
}

/// Adds an element. Most lists have one; `push` alone would allocate room for four.
fn push<T>(list: &mut Vec<T>, element: Option<T>) {
    if list.is_empty() {
        list.reserve_exact(1);
    }
    list.extend(element);
}

struct Strings<'a> {
    name: &'a str,
    left: &'a mut Left,
    list: Vec<String>,
}

impl<'de> Shape<'de> for Strings<'_> {
    type Value = Vec<String>;

    fn list<A: SeqAccess<'de>>(
        self,
        mut elements: A,
    ) -> Result<Result<Self::Value, Raw<'de>>, A::Error> {
        let mut list = self.list;
        let mut count = 0;
        while let Some(raw) = elements.next_element::<Raw<'de>>()? {
            if matches!(raw, Raw::Null) {
                continue;
            }
            match raw.text() {
                Ok(text) => {
                    match list.get_mut(count) {
                        Some(old) => replace(old, text),
                        None => list.push(text.into_owned()),
                    }
                    count += 1;
                }
                Err(odd) => self.left.add_element(self.name, odd.into_value()),
            }
        }
        list.truncate(count);
        Ok(Ok(list))
    }
}

/// Texts by their names.
#[derive(Default)]
struct Texts(BTreeMap<String, String>);

impl<'de> Members<'de, ()> for Texts {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        let text = member.read(|raw| match raw {
            Raw::Null => Ok(None),
            raw => raw.text().map(Some),
        })?;
        if let Some(text) = text {
            self.0.insert(member.name.to_owned(), text.into_owned());
        }
        Ok(true)
    }
}
