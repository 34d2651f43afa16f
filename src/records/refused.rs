//! An error of the server among the messages.

use serde_json::Value;

use super::lines::Place;
use crate::{
    error::{Error, ErrorKind},
    message::ErrorDetails,
    network,
};

/// The most characters to quote.
const MAX_QUOTE: usize = 200;

/// An error that a server has sent.
pub(super) struct Refused {
    /// The gRPC code; 0 without one.
    code: u64,
    pub(super) message: String,
    details: Option<ErrorDetails>,
}

impl Refused {
    /// Reads an object with `message`, and `code` or `grpc_code`. Very old servers send a text.
    pub(super) fn read(json: &[u8]) -> Self {
        let error: Value = serde_json::from_slice(json).unwrap_or_default();
        let code = error.get("code").or_else(|| error.get("grpc_code"));
        let message = error.get("message").unwrap_or(&error).as_str();
        let details = error.get("details").and_then(Value::as_array);
        let own = details.and_then(|details| details.iter().find(|part| is_error(part)));
        Self {
            code: code.and_then(Value::as_u64).unwrap_or_default(),
            message: message.unwrap_or_default().trim().to_owned(),
            details: own.and_then(|own| network::error_details(own.to_string().as_bytes())),
        }
    }

    fn kind(&self) -> ErrorKind {
        let name = self.details.as_ref().map_or("", |own| own.name.as_str());
        match (self.code, name) {
            (5, "application_not_found") => ErrorKind::ApplicationNotFound,
            (5, "device_not_found" | "end_device_not_found") => ErrorKind::DeviceNotFound,
            (7 | 16, _) => ErrorKind::NotAuthorized,
            // Cancelled, unknown, deadline exceeded, resource exhausted, internal, unavailable.
            (1 | 2 | 4 | 8 | 13 | 14, _) => ErrorKind::ServerUnavailable,
            _ => ErrorKind::DiscoveryAnswer,
        }
    }

    pub(super) fn into_error(self, place: Place) -> Error {
        let says = match self.message.is_empty() {
            true => "gives no reason".to_owned(),
            false => format!("says {}", quote(&self.message)),
        };
        let sentence = format!(
            "{place}: the server sent an error instead of a message, so messages may be missing; it {says}"
        );
        let kind = self.kind();
        match self.details {
            Some(details) => Error::with_source(kind, sentence, details),
            None => Error::new(kind, sentence),
        }
    }
}

/// Returns whether an object of the details is the error. Some errors have no names.
fn is_error(details: &Value) -> bool {
    let kind = details.get("@type").and_then(Value::as_str);
    details.get("namespace").is_some()
        || kind.is_some_and(|kind| kind.ends_with("ttn.lorawan.v3.ErrorDetails"))
}

fn quote(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_QUOTE).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
