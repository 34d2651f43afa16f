//! Finding the bytes of members in a document, without reading their values.

use std::{borrow::Cow, ops::Range};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Deserializer;

use super::Key;

/// A place in a document. What it passes over is JSON; each method returns `None` if that is not so, or if
/// it finds something other than what it is for.
pub(in crate::network) struct Scanner<'a> {
    document: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(in crate::network) fn new(document: &'a str) -> Self {
        Self { document, at: 0 }
    }

    /// Passes over an object. `member` gets the name of each member, and must pass over its value.
    pub(in crate::network) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Option<()>,
    ) -> Option<Range<usize>> {
        let start = self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(start..self.at);
        }
        loop {
            let Key(name) = self.read()?;
            self.take(b':')?;
            member(self, &name)?;
            if self.take(b',').is_none() {
                self.take(b'}')?;
                return Some(start..self.at);
            }
        }
    }

    /// Passes over a value of any form.
    pub(in crate::network) fn value(&mut self) -> Option<Range<usize>> {
        self.peek()?;
        let start = self.at;
        self.read::<IgnoredAny>()?;
        Some(start..self.at)
    }

    /// Passes over the object that starts here, faster, and without a check of what is in it: if it is JSON, it
    /// ends there.
    pub(in crate::network) fn unchecked_object(&mut self) -> Option<Range<usize>> {
        let (start, bytes) = (self.at, self.document.as_bytes());
        let mut depth = 0_usize;
        loop {
            let byte = *bytes.get(self.at)?;
            self.at += 1;
            match byte {
                b'"' => self.end_text()?,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(start..self.at);
                    }
                }
                _ => {}
            }
        }
    }

    /// Passes over the rest of a text.
    fn end_text(&mut self) -> Option<()> {
        let bytes = self.document.as_bytes();
        loop {
            let rest = bytes.get(self.at..)?;
            let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            self.at += end + 1;
            if rest[end] == b'"' {
                return Some(());
            }
            self.at += 1;
        }
    }

    /// Returns whether the rest of the document starts so.
    pub(in crate::network) fn is_before(&self, start: &str) -> bool {
        self.document[self.at..].starts_with(start)
    }

    /// Passes over text, and returns it.
    pub(in crate::network) fn text(&mut self) -> Option<Cow<'a, str>> {
        self.read().map(|Key(text)| text)
    }

    /// Returns the next byte that is not blank.
    pub(in crate::network) fn peek(&mut self) -> Option<u8> {
        let rest = &self.document.as_bytes()[self.at..];
        let is_blank = |byte: &u8| b" \t\r\n".contains(byte);
        let blanks = rest.iter().take_while(|byte| is_blank(byte)).count();
        self.at += blanks;
        rest.get(blanks).copied()
    }

    /// Returns where the scanner is.
    pub(in crate::network) fn place(&self) -> usize {
        self.at
    }

    /// Passes over this byte, and returns where it is.
    fn take(&mut self, byte: u8) -> Option<usize> {
        let found = self.peek()? == byte;
        found.then(|| {
            self.at += 1;
            self.at - 1
        })
    }

    fn read<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let rest = Deserializer::from_str(&self.document[self.at..]);
        let mut values = rest.into_iter();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }
}
