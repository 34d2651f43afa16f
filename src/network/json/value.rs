//! A value of any form, read into the memory of an earlier one.
//!
//! Servers sort the members of objects that are a user's data. So the next message of a kind of device has the same
//! members in the same order, and only their values are read.

use std::{fmt, mem};

use serde::{
    Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::{Key, raw::NUMBER};
use crate::message::Reuse;

/// The largest memory of a list to use again, in elements.
const MOST: usize = 16;

/// Reads what [`Value`] itself reads, into one that may have been anything before.
pub(super) struct ValueIn<'a>(pub(super) &'a mut Value);

impl<'de> DeserializeSeed<'de> for ValueIn<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueIn<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        *self.0 = Value::Null;
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        *self.0 = value.into();
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        *self.0 = value.into();
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        *self.0 = value.into();
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        *self.0 = value.into();
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        match self.0 {
            Value::String(old) => {
                old.empty();
                old.push_str(text);
            }
            other => *other = text.into(),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut list = match mem::take(self.0) {
            Value::Array(list) if list.capacity() <= MOST => list,
            _ => Vec::new(),
        };
        let mut count = 0;
        while let Some(old) = list.get_mut(count) {
            match elements.next_element_seed(ValueIn(old))? {
                Some(()) => count += 1,
                None => break,
            }
        }
        match count < list.len() {
            true => list.truncate(count),
            false => {
                while let Some(value) = elements.next_element()? {
                    list.push(value);
                }
            }
        }
        *self.0 = list.into();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut members = match mem::take(self.0) {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        let mut next: Option<Key<'de>> = object.next_key()?;
        if next.as_ref().is_some_and(|Key(name)| *name == *NUMBER) {
            *self.0 = number(object)?;
            return Ok(());
        }
        let mut same = 0;
        for (name, value) in &mut members {
            match &next {
                Some(Key(next)) if **next == **name => object.next_value_seed(ValueIn(value))?,
                _ => break,
            }
            next = object.next_key()?;
            same += 1;
        }
        if same < members.len() {
            let mut place = 0..;
            members.retain(|_, _| place.next() < Some(same));
        }
        while let Some(Key(name)) = next {
            members.insert(name.into_owned(), object.next_value()?);
            next = object.next_key()?;
        }
        *self.0 = members.into();
        Ok(())
    }
}

/// Reads an object whose first name, [`NUMBER`], was read: a number if it is the only one.
#[cold]
fn number<'de, A: MapAccess<'de>>(mut object: A) -> Result<Value, A::Error> {
    let digits: Value = object.next_value()?;
    let number = digits.as_str().and_then(|it| it.parse::<Number>().ok());
    let mut members = Map::from_iter([(NUMBER.to_owned(), digits)]);
    while let Some((name, value)) = object.next_entry()? {
        members.insert(name, value);
    }
    Ok(match number {
        Some(number) if members.len() == 1 => number.into(),
        _ => members.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documents that differ in their forms, names, order and sizes.
    const DOCUMENTS: [&str; 24] = [
        "null",
        "true",
        "-3",
        "18446744073709551615",
        "123456789012345678901234567890",
        "0.1",
        "-0",
        r#""""#,
        r#""closed""#,
        r#""a \"b\" \u00e9""#,
        "[]",
        "[1]",
        r#"[1,"two",null,[3],{"four":4}]"#,
        "[[1,2],[3,4,5],[]]",
        "{}",
        r#"{"a":1}"#,
        r#"{"a":1,"b":2}"#,
        r#"{"b":3,"a":4}"#,
        r#"{"a":1,"a":"again"}"#,
        r#"{"a":1,"b":2,"a":"again","c":3}"#,
        r#"{"b":"only"}"#,
        r#"{"a":{"b":{"c":[1,2,3]},"d":"text"},"z":false}"#,
        r#"{"a":{"b":{"c":[1]},"x":null},"z":"true"}"#,
        r#"{"\u0061":"escaped","":"no name","b":0}"#,
    ];

    fn read_into(value: &mut Value, json: &str) -> serde_json::Result<()> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        ValueIn(value).deserialize(&mut deserializer)?;
        deserializer.end()
    }

    #[test]
    fn a_value_is_the_same_whatever_it_was_before() {
        for first in DOCUMENTS {
            for second in DOCUMENTS {
                let mut value: Value = serde_json::from_str(first).unwrap();
                for json in [second, first, second] {
                    read_into(&mut value, json).unwrap();
                    let expected: Value = serde_json::from_str(json).unwrap();
                    assert_eq!(value, expected, "{first} and {second}");
                    assert_eq!(value.to_string(), expected.to_string());
                }
            }
        }
    }

    #[test]
    fn the_memory_of_texts_lists_and_names_is_used_again() {
        let mut value = Value::Null;
        read_into(&mut value, r#"{"door":"closed","levels":[1,2,3]}"#).unwrap();
        let places = |value: &Value| {
            let (name, door) = value.as_object().unwrap().iter().next().unwrap();
            (
                name.as_ptr(),
                door.as_str().unwrap().as_ptr(),
                value["levels"].as_array().unwrap().as_ptr(),
            )
        };
        let before = places(&value);
        read_into(&mut value, r#"{"door":"open","levels":[4,5]}"#).unwrap();
        assert_eq!(places(&value), before);
    }

    #[test]
    fn the_memory_of_a_long_text_or_list_is_not_kept() {
        let mut value = Value::Null;
        let long = format!("[{:?},{:?}]", vec![0; 1_000], "x".repeat(1_000));
        read_into(&mut value, &long).unwrap();
        read_into(&mut value, r#"[[1],"x"]"#).unwrap();
        let (Value::Array(list), Value::String(text)) = (&value[0], &value[1]) else {
            panic!("{value}");
        };
        assert!(list.capacity() < 100 && text.capacity() < 100);
    }

    #[test]
    fn numbers_of_arbitrary_precision_are_numbers() {
        for (json, expected) in [
            (r#"{"$serde_json::private::Number":"12"}"#, "12"),
            (r#"{"$serde_json::private::Number":"1.5"}"#, "1.5"),
            (
                r#"{"$serde_json::private::Number":"twelve"}"#,
                r#"{"$serde_json::private::Number":"twelve"}"#,
            ),
            (
                r#"{"$serde_json::private::Number":"12","a":1}"#,
                r#"{"$serde_json::private::Number":"12","a":1}"#,
            ),
        ] {
            let mut value = Value::Null;
            read_into(&mut value, json).unwrap();
            assert_eq!(value.to_string(), expected);
        }
    }

    #[test]
    fn text_that_is_not_json_is_an_error() {
        for json in ["{", "[1,", r#"{"a":}"#, "[1 2]", r#"{"a" 1}"#, ""] {
            assert!(read_into(&mut Value::Null, json).is_err(), "{json}");
            let mut full = serde_json::json!([1, {"a": 1}]);
            assert!(read_into(&mut full, json).is_err(), "{json}");
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(read_into(&mut Value::Null, &deep).is_err());
    }
}
