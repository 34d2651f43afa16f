//! An answer that refuses what was asked.

use std::{io::Read, time::Duration};

use serde_json::Value;

use super::answer::{MAX_ANSWER, quote, secrets};
use crate::{config::AccessKey, error::ErrorKind, http::Answer, message::ErrorDetails, network};

/// An answer with a status other than 200.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) url: String,
    pub(crate) status: u16,
    /// Where a redirect leads, quoted.
    pub(crate) location: Option<String>,
    /// The server's own explanation, quoted.
    pub(crate) message: Option<String>,
    /// The parts of the error; `None` if the server has none, as for a path that it does not serve.
    pub(crate) details: Option<Box<ErrorDetails>>,
    /// How long to wait before the next request, if the server says so.
    pub(crate) wait: Option<Duration>,
}

impl Refusal {
    pub(super) fn read(url: String, answer: Answer, key: &AccessKey) -> Self {
        let location = answer.header("location");
        let wait = answer.header("x-rate-limit-retry");
        let mut text = Vec::new();
        // What can be read of it is enough.
        let _ = answer.body.take(MAX_ANSWER).read_to_end(&mut text);
        let body = serde_json::from_slice(&text).unwrap_or_default();
        Self {
            url,
            status: answer.status,
            location: location.and_then(|place| quote(&place, key)),
            message: message(&body, key),
            details: details(&body, key).map(Box::new),
            // The server cuts off parts of a second.
            wait: wait
                .and_then(|seconds| Some(Duration::from_secs(seconds.parse::<u64>().ok()? + 1))),
        }
    }

    /// Returns whether this is the error with these names.
    pub(crate) fn is(&self, namespace: &str, name: &str) -> bool {
        let details = self.details.as_ref();
        details.is_some_and(|details| details.namespace == namespace && details.name == name)
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

/// Reads the explanation that comes with an error: `{"message": "…"}`.
fn message(body: &Value, key: &AccessKey) -> Option<String> {
    quote(error_of(body).get("message")?.as_str()?, key)
}

fn details(body: &Value, key: &AccessKey) -> Option<ErrorDetails> {
    let details = error_of(body).get("details")?.as_array()?;
    let error = details
        .iter()
        .find(|details| details.get("namespace").is_some())?;
    let text = error.to_string();
    if secrets(key).any(|secret| text.contains(secret)) {
        return None;
    }
    network::error_details(text.as_bytes())
}

/// Some answers wrap their error in an object.
fn error_of(body: &Value) -> &Value {
    body.get("error").unwrap_or(body)
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
            message: message(&serde_json::from_str(body).unwrap_or_default(), &key),
            details: None,
            wait: None,
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
}
