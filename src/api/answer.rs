//! Reading an answer: within a size limit, and without repeating the key to anyone.

use std::{fmt, io::Read, time::SystemTime};

use serde_json::{Map, Value};

use super::{
    Api, Refusal,
    hosts::Task,
    secrecy::{reveals, reveals_in_name},
};
use crate::{
    config::AccessKey,
    error::ErrorKind,
    http::{self, Request},
};

pub(super) const MAX_ANSWER: u64 = 1 << 20;

/// The most characters to quote from an answer.
const MAX_QUOTE: usize = 200;

/// Why a call returned nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no answer, or only the beginning of one.
    Unanswered(http::Failure),
    /// The answer has a status other than 200.
    Refused(Box<Refusal>),
    /// The answer is not what was asked for.
    Unreadable {
        why: String,
        source: Option<serde_json::Error>,
    },
}

impl Failure {
    /// Returns the kind of error that this is for a question about the application.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Unanswered(failure) => failure.kind.unwrap_or(ErrorKind::DiscoveryAnswer),
            Self::Refused(refusal) => refusal.kind(),
            Self::Unreadable { .. } => ErrorKind::DiscoveryAnswer,
        }
    }
}

/// Says why, as part of a sentence.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered(failure) => f.write_str(&failure.seen),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Unreadable { why, .. } => {
                write!(f, "the answer is not that of The Things Stack: {why}")
            }
        }
    }
}

/// The members of a JSON object in an answer.
#[derive(Debug)]
pub(super) struct Object<'a> {
    members: Map<String, Value>,
    key: &'a AccessKey,
}

impl<'a> Object<'a> {
    pub(super) fn read(body: &[u8], key: &'a AccessKey) -> Result<Self, Failure> {
        if body.len() as u64 > MAX_ANSWER {
            return Err(unreadable("it is too long"));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self { members, key }),
            Ok(_) => Err(unreadable("it is not a JSON object")),
            Err(cause) => Err(Failure::Unreadable {
                why: cause.to_string(),
                source: Some(cause),
            }),
        }
    }

    /// Takes a text out; an absent one is empty.
    pub(super) fn take_text(&mut self, name: &str) -> Result<String, Failure> {
        let value = self.members.remove(name);
        self.text(name, value.unwrap_or_default())
    }

    /// Takes a list of texts out; an absent one is empty.
    pub(super) fn take_texts(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        let values = self.take_list(name)?;
        values
            .into_iter()
            .map(|value| self.text(name, value))
            .collect()
    }

    /// Takes a time out, if it is there and can be read.
    pub(super) fn take_time(&mut self, name: &str) -> Result<Option<SystemTime>, Failure> {
        let text = self.take_text(name)?;
        Ok(humantime::parse_rfc3339(&text).ok())
    }

    /// Takes an object out; `None` if it is absent.
    pub(super) fn take_object(&mut self, name: &str) -> Result<Option<Self>, Failure> {
        match self.members.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => self.object(name, value).map(Some),
        }
    }

    /// Takes a list of objects out; an absent one is empty.
    pub(super) fn take_objects(&mut self, name: &str) -> Result<Vec<Self>, Failure> {
        let values = self.take_list(name)?;
        values
            .into_iter()
            .map(|value| self.object(name, value))
            .collect()
    }

    fn take_list(&mut self, name: &str) -> Result<Vec<Value>, Failure> {
        match self.members.remove(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(_) => Err(unreadable(format!("its {name} is not a list"))),
        }
    }

    fn object(&self, name: &str, value: Value) -> Result<Self, Failure> {
        match value {
            Value::Object(members) => Ok(Self {
                members,
                key: self.key,
            }),
            _ => Err(unreadable(format!("its {name} is not an object"))),
        }
    }

    fn text(&self, name: &str, value: Value) -> Result<String, Failure> {
        let text = match value {
            Value::Null => return Ok(String::new()),
            Value::String(text) => text.trim().to_owned(),
            _ => return Err(unreadable(format!("its {name} is not a string"))),
        };
        if reveals_in_name(&text, self.key) {
            return Err(unreadable(format!("its {name} contains the access key")));
        }
        Ok(text)
    }
}

impl Api {
    /// Asks for a JSON object. The path starts with a slash.
    pub(super) fn get(&self, task: Task, path: &str) -> Result<Object<'_>, Failure> {
        self.call(task, path, Some(&self.key), None)
    }

    /// Asks for a JSON object without showing the key.
    pub(super) fn get_without_key(&self, task: Task, path: &str) -> Result<Object<'_>, Failure> {
        self.call(task, path, None, None)
    }

    /// Posts JSON, and returns the JSON object that is the answer.
    pub(super) fn post(&self, task: Task, path: &str, body: &[u8]) -> Result<Object<'_>, Failure> {
        self.call(task, path, Some(&self.key), Some(body))
    }

    fn call(
        &self,
        task: Task,
        path: &str,
        key: Option<&AccessKey>,
        body: Option<&[u8]>,
    ) -> Result<Object<'_>, Failure> {
        let url = format!("{}{path}", self.hosts.of_task(task));
        let request = Request {
            url: &url,
            key,
            follows_redirects: false,
            accept: "application/json",
            body,
            certificates: &self.certificates,
            way_out: &self.way_out,
            timeout: self.timeout,
        };
        self.last.clear();
        let answer = request.send().map_err(Failure::Unanswered)?;
        self.last.note(&answer, &self.key);
        if answer.status != 200 {
            let refusal = Refusal::read(url, answer, &self.key);
            return Err(Failure::Refused(Box::new(refusal)));
        }
        let mut body = Vec::new();
        answer
            .body
            .take(MAX_ANSWER + 1)
            .read_to_end(&mut body)
            .map_err(|cause| Failure::Unanswered(http::Failure::of_body(cause)))?;
        Object::read(&body, &self.key)
    }
}

fn unreadable(why: impl Into<String>) -> Failure {
    Failure::Unreadable {
        why: why.into(),
        source: None,
    }
}

/// Quotes text of the server for an error, unless it repeats the key.
pub(super) fn quote(text: &str, key: &AccessKey) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || reveals(text, key) {
        return None;
    }
    let mut short: String = text.chars().take(MAX_QUOTE).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    Some(format!("{short:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_too_long_or_not_an_object_says_so() {
        let key = AccessKey::new("NNSXS.ID.SECRET".to_owned());
        let long = format!("{}{{}}", " ".repeat(MAX_ANSWER as usize - 1));
        for (body, words) in [
            (long.as_str(), "too long"),
            ("[]", "not a JSON object"),
            ("<html>", "expected value"),
        ] {
            match Object::read(body.as_bytes(), &key) {
                Err(Failure::Unreadable { why, source }) => {
                    assert!(why.contains(words), "{why}");
                    assert_eq!(source.is_some(), body == "<html>");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(Object::read(&long.as_bytes()[1..], &key).is_ok());
    }

    #[test]
    fn the_words_of_a_server_are_cut_and_stay_on_one_line() {
        let key = AccessKey::new("NNSXS.ID.SECRET".to_owned());
        assert_eq!(quote(" a\nb ", &key).as_deref(), Some(r#""a\nb""#));
        assert_eq!(quote(" ", &key), None);
        let long = quote(&"ä".repeat(10_000), &key).unwrap();
        assert_eq!(long, format!("\"{}…\"", "ä".repeat(MAX_QUOTE)));
    }
}
