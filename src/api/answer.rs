//! Reading an answer: within a size limit, and without repeating the key to anyone.

use std::{
    fmt,
    io::{self, Read},
    time::SystemTime,
};

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

/// The most bytes of an answer about one thing, or of an error.
pub(super) const MAX_ANSWER: u64 = 64 << 10;

/// The most bytes of a list: ten thousand downlinks of a device.
const MAX_LIST: u64 = 8 << 20;

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
    pub(super) fn unreadable(cause: serde_json::Error) -> Self {
        Self::Unreadable {
            why: cause.to_string(),
            source: Some(cause),
        }
    }

    /// A call that no thread could make.
    pub(crate) fn no_thread(cause: io::Error) -> Self {
        Self::Unanswered(http::Failure::no_thread(cause))
    }

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
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self { members, key }),
            Ok(_) => Err(unreadable("it is not a JSON object")),
            Err(cause) => Err(Failure::unreadable(cause)),
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

    /// Takes a number out; an absent one is 0.
    pub(super) fn take_number(&mut self, name: &str) -> Result<u32, Failure> {
        let number = match self.members.remove(name) {
            None | Some(Value::Null) => return Ok(0),
            Some(number) => number.as_u64(),
        };
        number
            .and_then(|number| number.try_into().ok())
            .ok_or_else(|| unreadable(format!("its {name} is not a number of 32 bits")))
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

    /// Returns it as text again.
    pub(super) fn into_json(self) -> String {
        Value::Object(self.members).to_string()
    }

    /// Adds up the members, which are numbers.
    pub(super) fn sum(&self) -> Result<u64, Failure> {
        self.members.iter().try_fold(0_u64, |sum, (name, value)| {
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
            let sum = number.and_then(|number| sum.checked_add(number));
            sum.ok_or_else(|| unreadable(format!("its {name} is not a number")))
        })
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
        self.call(task, path, None, MAX_ANSWER)
    }

    /// Asks for a JSON object with a list in it, which may be long.
    pub(super) fn get_list(&self, task: Task, path: &str) -> Result<Object<'_>, Failure> {
        self.call(task, path, None, MAX_LIST)
    }

    /// Posts JSON, and returns the JSON object that is the answer.
    pub(super) fn post(&self, task: Task, path: &str, body: &[u8]) -> Result<Object<'_>, Failure> {
        self.call(task, path, Some(body), MAX_ANSWER)
    }

    fn call(
        &self,
        task: Task,
        path: &str,
        body: Option<&[u8]>,
        limit: u64,
    ) -> Result<Object<'_>, Failure> {
        let url = format!("{}{path}", self.hosts.of_task(task));
        self.last.clear();
        let answer = self.send(&url, Some(&self.key), body)?;
        self.last.note(&answer);
        if answer.status != 200 {
            let refusal = Refusal::read(url, answer, &self.key);
            return Err(Failure::Refused(Box::new(refusal)));
        }
        self.read(answer, limit)
    }

    /// Sends a request, and waits for the head of its answer.
    pub(super) fn send(
        &self,
        url: &str,
        key: Option<&AccessKey>,
        body: Option<&[u8]>,
    ) -> Result<http::Answer, Failure> {
        let request = self.request(url, key, body);
        let answer = match &self.stop {
            Some(stop) => request.send_unless(stop),
            None => request.send(),
        };
        answer.map_err(Failure::Unanswered)
    }

    pub(super) fn request<'a>(
        &'a self,
        url: &'a str,
        key: Option<&'a AccessKey>,
        body: Option<&'a [u8]>,
    ) -> Request<'a> {
        Request {
            url,
            key,
            follows: false,
            accept: "application/json",
            body,
            certificates: &self.certificates,
            way_out: &self.way_out,
            timeout: self.timeout,
        }
    }

    /// Reads the JSON object of an answer with status 200.
    pub(super) fn read(&self, answer: http::Answer, limit: u64) -> Result<Object<'_>, Failure> {
        let body = read_whole(answer.body, limit)?;
        Object::read(&body, &self.key)
    }
}

/// Reads a body that is not longer than this.
fn read_whole(body: impl Read, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut whole = Vec::new();
    body.take(limit + 1)
        .read_to_end(&mut whole)
        .map_err(|cause| Failure::Unanswered(http::Failure::of_body(cause)))?;
    match whole.len() as u64 > limit {
        true => Err(unreadable("it is too long")),
        false => Ok(whole),
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
        for (body, words) in [("[]", "not a JSON object"), ("<html>", "expected value")] {
            match Object::read(body.as_bytes(), &key) {
                Err(Failure::Unreadable { why, source }) => {
                    assert!(why.contains(words), "{why}");
                    assert_eq!(source.is_some(), body == "<html>");
                }
                other => panic!("{other:?}"),
            }
        }
        let long = " ".repeat(100);
        assert_eq!(read_whole(long.as_bytes(), 100).unwrap().len(), 100);
        match read_whole(long.as_bytes(), 99) {
            Err(Failure::Unreadable { why, .. }) => assert!(why.contains("too long"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(read_whole(std::io::repeat(b' '), MAX_ANSWER).is_err());
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
