//! The members of a JSON object, as they stand in a text.

use serde::de::IgnoredAny;

/// Names and values in their order.
pub(super) struct Members<'a>(Vec<(String, &'a [u8])>);

impl<'a> Members<'a> {
    /// Splits an object. Returns `None` for other JSON.
    ///
    /// # Errors
    ///
    /// If the text is not JSON. It may contain texts that are not UTF-8.
    pub(super) fn split(text: &'a [u8]) -> serde_json::Result<Option<Self>> {
        serde_json::from_slice::<IgnoredAny>(text)?;
        Ok(Scanner::new(text).object().map(Self))
    }

    /// Splits an object that is known to be JSON in UTF-8.
    pub(super) fn of(text: &str) -> Option<Vec<(String, &str)>> {
        let members = Scanner::new(text.as_bytes()).object()?.into_iter();
        members
            .map(|(name, value)| Some((name, std::str::from_utf8(value).ok()?)))
            .collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a [u8]> {
        let (_, value) = self.0.iter().find(|(other, _)| other == name)?;
        Some(value)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// Splits a list that is known to be JSON.
pub(super) fn elements(text: &str) -> Option<Vec<&str>> {
    let elements = Scanner::new(text.as_bytes()).list()?.into_iter();
    elements
        .map(|element| std::str::from_utf8(element).ok())
        .collect()
}

/// Walks through a text that is known to be JSON.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    fn list(&mut self) -> Option<Vec<&'a [u8]>> {
        let mut elements = Vec::new();
        if self.next_of_note()? != b'[' {
            return None;
        }
        loop {
            self.at += 1;
            if self.next_of_note()? == b']' {
                return Some(elements);
            }
            elements.push(self.value()?);
            if self.next_of_note()? == b']' {
                return Some(elements);
            }
        }
    }

    fn object(&mut self) -> Option<Vec<(String, &'a [u8])>> {
        let mut members = Vec::new();
        if self.next_of_note()? != b'{' {
            return None;
        }
        loop {
            self.at += 1;
            if self.next_of_note()? == b'}' {
                return Some(members);
            }
            let name = self.value()?;
            self.next_of_note()?;
            self.at += 1;
            self.next_of_note()?;
            let value = self.value()?;
            let name = String::from_utf8_lossy(name);
            members.push((serde_json::from_str(&name).ok()?, value));
            if self.next_of_note()? == b'}' {
                return Some(members);
            }
        }
    }

    /// Passes over blanks, and returns the byte after them.
    fn next_of_note(&mut self) -> Option<u8> {
        let rest = self.text.get(self.at..)?;
        self.at += rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        self.text.get(self.at).copied()
    }

    /// Passes over the value that begins here, and returns it.
    fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match *self.text.get(self.at)? {
                b'"' => self.string()?,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            self.at += 1;
            let is_over = match self.text.get(self.at) {
                Some(b',' | b':' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n') | None => depth == 0,
                Some(_) => false,
            };
            if is_over {
                return self.text.get(start..self.at);
            }
        }
    }

    /// Moves from the first quote to the last.
    fn string(&mut self) -> Option<()> {
        loop {
            self.at += 1;
            match *self.text.get(self.at)? {
                b'\\' => self.at += 1,
                b'"' => return Some(()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_are_the_texts_that_they_were() {
        let text =
            br#" { "a" : {"b":[1, "}",{}], "c" :null} ,"\u0064\"":-1.50e3, "e":"\\\"" ,"f": [ ]}"#;
        let members = Members::split(text).unwrap().unwrap();
        let get = |name| {
            members
                .get(name)
                .map(|value| std::str::from_utf8(value).unwrap())
        };
        assert_eq!(get("a"), Some(r#"{"b":[1, "}",{}], "c" :null}"#));
        assert_eq!(get("d\""), Some("-1.50e3"));
        assert_eq!(get("e"), Some(r#""\\\"""#));
        assert_eq!(get("f"), Some("[ ]"));
        assert_eq!(get("b"), None);
    }

    #[test]
    fn other_json_has_no_members() {
        for text in ["[]", "1", "\"{}\"", "null", " true "] {
            assert!(Members::split(text.as_bytes()).unwrap().is_none(), "{text}");
        }
        assert!(Members::split(b"{ }").unwrap().is_some());
    }

    #[test]
    fn text_that_is_not_utf8_is_kept() {
        let members = Members::split(b"{\"a\":\"\xff\xfe\"}").unwrap().unwrap();
        assert_eq!(members.get("a"), Some(&b"\"\xff\xfe\""[..]));
    }
}
