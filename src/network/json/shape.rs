//! Values that should be a list or an object and may be something else.

use std::{borrow::Cow, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};

use super::Raw;

/// Reads a list or an object, and hands back any other value, also `null`.
pub(super) trait Shape<'de>: Sized {
    type Value;

    fn list<A: SeqAccess<'de>>(self, list: A) -> Result<Result<Self::Value, Raw<'de>>, A::Error> {
        Raw::of_list(list).map(Err)
    }

    fn object<A: MapAccess<'de>>(
        self,
        object: A,
    ) -> Result<Result<Self::Value, Raw<'de>>, A::Error> {
        Raw::of_object(object).map(Err)
    }
}

/// Lets serde read a [`Shape`].
pub(super) struct Shaped<S>(pub(super) S);

impl<'de, S: Shape<'de>> DeserializeSeed<'de> for Shaped<S> {
    type Value = Result<S::Value, Raw<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Shape<'de>> Visitor<'de> for Shaped<S> {
    type Value = Result<S::Value, Raw<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        self.0.list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        self.0.object(object)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Err(Raw::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Err(Raw::Flag(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Err(Raw::Unsigned(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Err(Raw::Signed(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Err(Raw::Float(value)))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Err(Raw::Text(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Err(Raw::Text(Cow::Owned(text.to_owned()))))
    }
}
