//! What was left of a message: members that could not be read.

use serde_json::{Map, Value};

use super::{Dialect, Members, Raw};

/// The members of a message that could not be read and were kept in an `extra`.
#[derive(Debug, Default)]
pub(crate) struct Odd {
    pub(crate) members: u64,
    /// The path of the first one, such as `uplink_message.session_key_id`; empty if there is none.
    pub(crate) first: String,
}

/// The members of one object that could not be read, until they reach an `extra`.
#[derive(Default)]
pub(in crate::network) struct Left(Option<Box<Leftovers>>);

#[derive(Default)]
struct Leftovers {
    odd: Odd,
    /// The members, in the shape of the message.
    members: Map<String, Value>,
}

impl Left {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn leftovers(&mut self) -> &mut Leftovers {
        self.0.get_or_insert_default()
    }

    /// Counts and keeps a member.
    #[cold]
    pub(in crate::network) fn add(&mut self, name: &str, value: Value) {
        self.count(name);
        self.keep(name, value);
    }

    /// Keeps a member that could be read, but has no place without another one that is missing.
    #[cold]
    pub(in crate::network) fn keep(&mut self, name: &str, value: Value) {
        self.leftovers().members.insert(name.to_owned(), value);
    }

    /// Counts and keeps an element of the list `name`.
    #[cold]
    pub(super) fn add_element(&mut self, name: &str, value: Value) {
        self.count(name);
        self.keep_element(name, value);
    }

    /// Adds what was left of the object `name`.
    #[cold]
    pub(super) fn nest(&mut self, name: &str, object: Self) {
        if let Some(members) = self.take(name, object) {
            self.keep(name, members);
        }
    }

    /// Adds what was left of an object in the list `name`.
    #[cold]
    pub(super) fn nest_element(&mut self, name: &str, object: Self) {
        if let Some(members) = self.take(name, object) {
            self.keep_element(name, members);
        }
    }

    /// Adds what was left of an element of the list `name`. Returns whether it is an object that the list gets.
    pub(super) fn take_element(
        &mut self,
        name: &str,
        read: Result<(), Raw<'_>>,
        object: Self,
    ) -> bool {
        let is_object = read.is_ok();
        match read {
            Ok(()) if object.is_empty() => {}
            Ok(()) => self.nest_element(name, object),
            Err(Raw::Null) => {}
            Err(odd) => self.add_element(name, odd.into_value()),
        }
        is_object
    }

    /// Moves the members to where the object keeps them. What it does not keep stays for the object
    /// around it, and so does a member whose name is taken, by one of an object inside.
    #[cold]
    pub(super) fn settle<'de, Wire: Dialect, T: Members<'de, Wire>>(&mut self, object: &mut T) {
        let leftovers = self.leftovers();
        for (name, value) in std::mem::take(&mut leftovers.members) {
            let extra = object.extra(&name);
            let extra = extra.filter(|extra| !extra.contains_key(&name));
            extra.unwrap_or(&mut leftovers.members).insert(name, value);
        }
    }

    pub(super) fn into_odd(self) -> Odd {
        self.0.map(|leftovers| leftovers.odd).unwrap_or_default()
    }

    /// Counts a member that the object keeps itself.
    pub(super) fn count(&mut self, name: &str) {
        let odd = &mut self.leftovers().odd;
        odd.members += 1;
        if odd.first.is_empty() {
            name.clone_into(&mut odd.first);
        }
    }

    fn keep_element(&mut self, name: &str, value: Value) {
        let members = &mut self.leftovers().members;
        match members.get_mut(name) {
            Some(Value::Array(elements)) => elements.push(value),
            _ => {
                members.insert(name.to_owned(), vec![value].into());
            }
        }
    }

    /// Counts the members of an object, and returns those that it did not keep.
    fn take(&mut self, name: &str, object: Self) -> Option<Value> {
        let Leftovers {
            odd: inner,
            members,
        } = *object.0?;
        let odd = &mut self.leftovers().odd;
        odd.members += inner.members;
        if odd.first.is_empty() && !inner.first.is_empty() {
            odd.first = format!("{name}.{}", inner.first);
        }
        (!members.is_empty()).then_some(Value::Object(members))
    }
}
