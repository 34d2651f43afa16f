//! Reading an answer: within a size limit, and without repeating the key to anyone.

use std::io::Read;

use serde_json::{Map, Value};

use super::Api;
use crate::{
    config::AccessKey,
    error::ErrorKind,
    http::{self, Answer, Request},
};

const MAX_ANSWER: u64 = 64 << 10;

/// The most characters to quote from an answer.
const MAX_QUOTE: usize = 200;

/// Shorter keys may be part of a name by chance.
const MIN_KEY: usize = 16;

/// Why a call returned nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no answer, or only the beginning of one.
    Unanswered(http::Failure),
    /// The answer has a status other than 200.
    Refused(Refusal),
    /// The answer is not what was asked for.
    Unreadable {
        why: String,
        source: Option<serde_json::Error>,
    },
}

/// An answer with a status other than 200.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) url: String,
    pub(crate) status: u16,
    /// Where a redirect leads, quoted.
    pub(crate) location: Option<String>,
    /// The server's own explanation, quoted.
    pub(crate) message: Option<String>,
}

impl Refusal {
    fn read(url: String, answer: Answer, key: &AccessKey) -> Self {
        Self {
            url,
            status: answer.status,
            location: answer.location.and_then(|place| quote(&place, key)),
            message: message(answer.body, key),
        }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self.status {
            401 | 403 => ErrorKind::NotAuthorized,
            404 => ErrorKind::ApplicationNotFound,
            429 | 500.. => ErrorKind::ServerUnavailable,
            _ => ErrorKind::DiscoveryAnswer,
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
        let text = match self.members.remove(name) {
            None | Some(Value::Null) => return Ok(String::new()),
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(_) => return Err(unreadable(format!("its {name} is not a string"))),
        };
        let mut secrets = secrets(self.key).filter(|secret| secret.len() >= MIN_KEY);
        if secrets.any(|secret| text.contains(secret)) {
            return Err(unreadable(format!("its {name} contains the access key")));
        }
        Ok(text)
    }
}

impl Api<'_> {
    /// Asks for a JSON object. The path starts with a slash.
    pub(super) fn get(&self, path: &str) -> Result<Object<'_>, Failure> {
        let url = format!("{}{path}", self.base);
        let request = Request {
            url: &url,
            key: Some(self.key),
            accept: "application/json",
            certificates: self.certificates,
            way_out: self.way_out,
            timeout: self.timeout,
        };
        let answer = request.send().map_err(Failure::Unanswered)?;
        if answer.status != 200 {
            return Err(Failure::Refused(Refusal::read(url, answer, self.key)));
        }
        let mut body = Vec::new();
        answer
            .body
            .take(MAX_ANSWER + 1)
            .read_to_end(&mut body)
            .map_err(|cause| Failure::Unanswered(http::Failure::of_body(cause)))?;
        Object::read(&body, self.key)
    }
}

fn unreadable(why: impl Into<String>) -> Failure {
    Failure::Unreadable {
        why: why.into(),
        source: None,
    }
}

/// Reads the explanation that comes with an error: `{"message": "…"}`.
fn message(body: impl Read, key: &AccessKey) -> Option<String> {
    let mut text = Vec::new();
    body.take(MAX_ANSWER).read_to_end(&mut text).ok()?;
    let answer: Value = serde_json::from_slice(&text).ok()?;
    quote(answer.get("message")?.as_str()?, key)
}

/// Quotes text of the server for an error, unless it repeats the key.
pub(super) fn quote(text: &str, key: &AccessKey) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || secrets(key).any(|secret| text.contains(secret)) {
        return None;
    }
    let mut short: String = text.chars().take(MAX_QUOTE).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    Some(format!("{short:?}"))
}

/// The key, and the part of it that is the secret.
fn secrets(key: &AccessKey) -> impl Iterator<Item = &str> {
    let key = key.reveal();
    let secret = key.rsplit('.').next().unwrap_or_default();
    [key, secret].into_iter().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> (ErrorKind, Option<String>) {
        let key = AccessKey::new("NNSXS.ID.SECRET".to_owned());
        let refusal = Refusal {
            url: String::new(),
            status,
            location: None,
            message: message(body.as_bytes(), &key),
        };
        (refusal.kind(), refusal.message)
    }

    #[test]
    fn a_status_has_a_kind_and_the_message_of_the_server_is_quoted() {
        for (status, kind) in [
            (204, ErrorKind::DiscoveryAnswer),
            (302, ErrorKind::DiscoveryAnswer),
            (400, ErrorKind::DiscoveryAnswer),
            (401, ErrorKind::NotAuthorized),
            (403, ErrorKind::NotAuthorized),
            (404, ErrorKind::ApplicationNotFound),
            (429, ErrorKind::ServerUnavailable),
            (503, ErrorKind::ServerUnavailable),
        ] {
            let (seen, message) = refusal(status, r#"{"code":5,"message":"no \"such\" thing"}"#);
            assert_eq!(seen, kind, "{status}");
            assert_eq!(message.as_deref(), Some(r#""no \"such\" thing""#));
        }
        for body in [
            "",
            "not found",
            "[]",
            r#"{"message":7}"#,
            r#"{"message":" "}"#,
            r#"{"message":"SECRET is wrong"}"#,
        ] {
            assert_eq!(refusal(404, body).1, None, "{body}");
        }
    }

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
