//! Finds numbers that JSON does not have: serde_json writes `NaN` and infinity as `null`.

use std::fmt;

use serde::{Serialize, Serializer, ser};
use serde_json::Value;

type Name = &'static str;
type Checked<T = ()> = Result<T, NotFinite>;

/// Returns the first member that is `NaN` or infinite, such as `valve.minutes is NaN`.
pub(super) fn not_finite(fields: &impl Serialize) -> Option<String> {
    let NotFinite { number, path } = fields.serialize(Finite).err()?;
    let what = if number?.is_nan() { "NaN" } else { "infinite" };
    let member = path.strip_prefix('.').unwrap_or(&path);
    Some(format!("{member} is {what}"))
}

/// Accepts everything except numbers that are not finite.
struct Finite;

/// The members of a value.
#[derive(Default)]
struct Members {
    variant: Option<Name>,
    index: usize,
    key: String,
}

/// The number, or `None` if a type refuses to be serialized.
#[derive(Debug)]
struct NotFinite {
    number: Option<f64>,
    path: String,
}

impl Members {
    fn of_variant(variant: Name) -> Self {
        Self {
            variant: Some(variant),
            ..Self::default()
        }
    }

    fn element(&mut self, value: &(impl Serialize + ?Sized)) -> Checked {
        let place = format!("[{}]", self.index);
        self.index += 1;
        self.check(&place, value)
    }

    fn member(&self, name: &str, value: &(impl Serialize + ?Sized)) -> Checked {
        self.check(&format!(".{name}"), value)
    }

    fn check(&self, place: &str, value: &(impl Serialize + ?Sized)) -> Checked {
        value.serialize(Finite).map_err(|error| {
            let error = error.inside(place);
            match self.variant {
                Some(variant) => error.inside(&format!(".{variant}")),
                None => error,
            }
        })
    }
}

impl NotFinite {
    fn inside(self, place: &str) -> Self {
        Self {
            path: format!("{place}{}", self.path),
            ..self
        }
    }
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number is not finite")
    }
}

impl std::error::Error for NotFinite {}

impl ser::Error for NotFinite {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self {
            number: None,
            path: String::new(),
        }
    }
}

macro_rules! accept {
    ($($method:ident($($kind:ty),*))*) => {
        $(fn $method(self, $(_: $kind),*) -> Checked {
            Ok(())
        })*
    };
}

macro_rules! open {
    ($($method:ident($($kind:ty),*) -> $list:ident;)*) => {
        $(type $list = Members;)*
        $(fn $method(self, $(_: $kind),*) -> Checked<Members> {
            Ok(Members::default())
        })*
    };
}

macro_rules! elements {
    ($($list:ident: $method:ident;)*) => {
        $(impl ser::$list for Members {
            type Ok = ();
            type Error = NotFinite;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
                self.element(value)
            }

            fn end(self) -> Checked {
                Ok(())
            }
        })*
    };
}

macro_rules! members {
    ($($list:ident)*) => {
        $(impl ser::$list for Members {
            type Ok = ();
            type Error = NotFinite;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: Name, value: &T) -> Checked {
                self.member(name, value)
            }

            fn end(self) -> Checked {
                Ok(())
            }
        })*
    };
}

elements! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

members! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for Members {
    type Ok = ();
    type Error = NotFinite;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Checked {
        self.key = match serde_json::to_value(key) {
            Ok(Value::String(name)) => name,
            Ok(other) => other.to_string(),
            Err(_) => String::new(),
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
        self.member(&self.key, value)
    }

    fn end(self) -> Checked {
        Ok(())
    }
}

impl Serializer for Finite {
    type Ok = ();
    type Error = NotFinite;

    fn serialize_f32(self, number: f32) -> Checked {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Checked {
        if number.is_finite() {
            Ok(())
        } else {
            Err(NotFinite {
                number: Some(number),
                path: String::new(),
            })
        }
    }

    accept! {
        serialize_bool(bool)
        serialize_i8(i8)
        serialize_i16(i16)
        serialize_i32(i32)
        serialize_i64(i64)
        serialize_i128(i128)
        serialize_u8(u8)
        serialize_u16(u16)
        serialize_u32(u32)
        serialize_u64(u64)
        serialize_u128(u128)
        serialize_char(char)
        serialize_str(&str)
        serialize_bytes(&[u8])
        serialize_none()
        serialize_unit()
        serialize_unit_struct(Name)
        serialize_unit_variant(Name, u32, Name)
    }

    open! {
        serialize_seq(Option<usize>) -> SerializeSeq;
        serialize_tuple(usize) -> SerializeTuple;
        serialize_tuple_struct(Name, usize) -> SerializeTupleStruct;
        serialize_map(Option<usize>) -> SerializeMap;
        serialize_struct(Name, usize) -> SerializeStruct;
    }

    type SerializeTupleVariant = Members;
    type SerializeStructVariant = Members;

    fn serialize_tuple_variant(self, _: Name, _: u32, variant: Name, _: usize) -> Checked<Members> {
        Ok(Members::of_variant(variant))
    }

    fn serialize_struct_variant(
        self,
        _: Name,
        _: u32,
        variant: Name,
        _: usize,
    ) -> Checked<Members> {
        Ok(Members::of_variant(variant))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Checked {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: Name, value: &T) -> Checked {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: Name,
        _: u32,
        variant: Name,
        value: &T,
    ) -> Checked {
        Members::default().member(variant, value)
    }
}
