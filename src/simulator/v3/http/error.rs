//! Errors over HTTP.

use fastrand::Rng;

use crate::simulator::{
    http::Answer,
    json::Object,
    v3::{
        identity::BadKey,
        messages::{EMBEDDED, Failure},
    },
};

/// Why a request is refused.
pub(super) enum Refused {
    /// By what makes HTTP out of gRPC: a code and a text.
    Bare(u32, String),
    /// By a server.
    Error(Box<Failure>),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Error(Box::new(failure))
    }
}

impl Refused {
    pub(super) fn no_route() -> Self {
        Self::Bare(5, String::from("Not Found"))
    }

    pub(super) fn other_method() -> Self {
        Self::Bare(12, String::from("Method Not Allowed"))
    }

    pub(super) fn unreadable(text: String) -> Self {
        Self::Bare(3, text)
    }

    pub(super) fn answer(&self, random: &mut Rng) -> Answer {
        match self {
            Self::Bare(code, text) => json(status(*code), bare(*code, text)),
            Self::Error(failure) => {
                let (code, message, body) = failure.answer(random);
                let answer = json(status(code), body);
                match code {
                    16 => answer.with("Www-Authenticate", message),
                    _ => answer,
                }
            }
        }
    }

    /// Returns what the answer of a stream holds.
    pub(super) fn status_and_body(&self, random: &mut Rng) -> (u16, String) {
        match self {
            Self::Bare(code, text) => (status(*code), bare(*code, text)),
            Self::Error(failure) => {
                let (code, _, body) = failure.answer(random);
                (status(code), body)
            }
        }
    }
}

/// Returns an answer with such a body.
pub(super) fn json(status: u16, body: String) -> Answer {
    Answer::new(status, "application/json", body)
}

/// Returns an error without details.
pub(super) fn bare(code: u32, text: &str) -> String {
    Object::new()
        .integer("code", code)
        .string("message", text)
        .finish()
}

/// Returns the status of HTTP for a code of gRPC.
fn status(code: u32) -> u16 {
    match code {
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// Returns a code of gRPC for a status of HTTP.
pub(super) fn code(of: u16) -> u32 {
    let codes = [3, 16, 7, 5, 6, 8, 12, 14, 4, 1];
    let found = codes.into_iter().find(|code| status(*code) == of);
    found.unwrap_or(13)
}

const IDENTITY_SERVER: &str = "pkg/identityserver";
const STORE: &str = "pkg/identityserver/store";
const RIGHTS: &str = "pkg/auth/rights";

pub(super) const NOT_A_KEY: Failure = Failure::new("pkg/auth", "token", "invalid token", 3);
pub(super) const UNSUPPORTED: Failure = Failure::new(
    IDENTITY_SERVER,
    "unsupported_authorization",
    "unsupported authorization method",
    16,
);
pub(super) const UNAUTHENTICATED: Failure =
    Failure::new(IDENTITY_SERVER, "unauthenticated", "unauthenticated", 16);
pub(super) const USER_SUSPENDED: Failure = Failure::new(
    IDENTITY_SERVER,
    "user_suspended",
    "user account was suspended",
    7,
);
pub(super) const NO_IDENTITY_SERVER: Failure = Failure::new(
    RIGHTS,
    "no_identity_server_conn",
    "no connection to Identity Server",
    14,
);
pub(super) const NOT_FOUND: Failure = Failure::new("pkg/redis", "not_found", "entity not found", 5);
pub(super) const NO_PAYLOAD: Failure =
    Failure::new("pkg/applicationserver", "no_payload", "no payload", 3);
pub(super) const SIMULATED: Failure = Failure::new(
    "pkg/applicationserver/io/grpc",
    "simulated",
    "uplink is already marked as simulated",
    3,
);
pub(super) const NO_IDENTIFIERS: Failure =
    Failure::new("pkg/events/grpc", "no_identifiers", "no identifiers", 3);
pub(super) const INVALID_REGEXP: Failure =
    Failure::new("pkg/events", "invalid_regexp", "invalid regexp", 3);
const INVALID_IDS: Failure = Failure::new("pkg/ttnpb", "identifiers", "invalid identifiers", 3);

pub(super) fn bad_key(cause: &BadKey, key_id: &str, random: &mut Rng) -> Failure {
    let not_found = Failure::new(
        IDENTITY_SERVER,
        "api_key_not_found",
        "API key not found",
        16,
    );
    match cause {
        BadKey::Unknown => {
            let format = "api key with id `{api_key_id}` not found";
            let cause = Failure::new(STORE, "api_key_not_found", format, 5)
                .with(Object::new().string("api_key_id", key_id));
            not_found.because_of(&cause, random)
        }
        BadKey::OfDeletedApplication => {
            let cause = Failure::new("pkg/util/store", "not_found", "no results found", 5);
            not_found.because_of(&cause, random)
        }
        BadKey::WrongSecret => Failure::new(
            IDENTITY_SERVER,
            "invalid_authorization",
            "invalid authorization",
            16,
        ),
        BadKey::Expired => Failure::new(IDENTITY_SERVER, "api_key_expired", "api key expired", 16),
    }
}

pub(super) fn no_rights(uid: &str) -> Failure {
    let format = "no rights for application `{uid}`";
    Failure::new(RIGHTS, "no_application_rights", format, 7).with(Object::new().string("uid", uid))
}

pub(super) fn insufficient_rights(uid: &str, missing: &[&str]) -> Failure {
    let format = "insufficient rights for application `{uid}`";
    let missing = missing
        .iter()
        .map(|right| crate::simulator::json::string(right));
    let attributes = Object::new().list("missing", missing).string("uid", uid);
    Failure::new(RIGHTS, "insufficient_application_rights", format, 7).with(attributes)
}

pub(super) fn application_not_found(app_id: &str) -> Failure {
    let format = "application with id `{application_id}` not found";
    Failure::new(STORE, "application_not_found", format, 5)
        .with(Object::new().string("application_id", app_id))
}

pub(super) fn registered_device_not_found(app_id: &str, dev_id: &str) -> Failure {
    let format =
        "end device with id `{device_id}` not found in application with id `{application_id}`";
    let attributes = Object::new()
        .string("application_id", app_id)
        .string("device_id", dev_id);
    Failure::new(STORE, "end_device_not_found", format, 5).with(attributes)
}

pub(super) fn device_not_found(device_uid: &str) -> Failure {
    Failure::new(
        "pkg/applicationserver",
        "device_not_found",
        "device `{device_uid}` not found",
        5,
    )
    .with(Object::new().string("device_uid", device_uid))
}

/// Not measured.
pub(super) fn encoder_failed(text: &str) -> Failure {
    Failure::new(
        "pkg/messageprocessors/javascript",
        "output_errors",
        "{errors}",
        10,
    )
    .with(Object::new().string("errors", text))
}

pub(super) fn forbidden_path(path: &str) -> Failure {
    let paths = [crate::simulator::json::string(path)];
    Failure::new(
        "pkg/rpcmiddleware/validator",
        "field_mask_paths",
        "forbidden path(s) in field mask",
        3,
    )
    .with(Object::new().list("forbidden_paths", paths))
}

/// Returns the failure of an id in the path that is not one; `kind` is the message of an Identity
/// Server's request.
pub(super) fn invalid_id(id: &str, is_device: bool, kind: &str, random: &mut Rng) -> Failure {
    let reason = match id.len() {
        0..=36 => "value does not match regex pattern \"^[a-z0-9](?:[-]?[a-z0-9]){2,}$\"",
        _ => "value length must be at most 36 runes",
    };
    let (field, message, outer) = match is_device {
        true => ("device_id", "EndDeviceIdentifiers", "end_device_ids"),
        false => (
            "application_id",
            "ApplicationIdentifiers",
            "application_ids",
        ),
    };
    let cause = Failure::validation(field, message, reason);
    let failure = match kind {
        "" => INVALID_IDS,
        kind => Failure::validation(outer, kind, EMBEDDED),
    };
    failure.because_of(&cause, random)
}

pub(super) fn rate_exceeded(limit: u32, resource: &str) -> Failure {
    let format = "rate limit of `{rate}` accesses per minute exceeded for resource `{key}`";
    let attributes = Object::new().string("key", resource).integer("rate", limit);
    Failure::new("pkg/ratelimit", "rate_limit_exceeded", format, 8).with(attributes)
}

pub(super) fn unknown_event_name(name: &str) -> Failure {
    Failure::new(
        "pkg/events",
        "unknown_event_name",
        "unknown event `{name}`",
        3,
    )
    .with(Object::new().string("name", name))
}

pub(super) fn no_matching_events(regexp: &str) -> Failure {
    let format = "no matching events for regexp `{regexp}`";
    Failure::new("pkg/events", "no_matching_events", format, 3)
        .with(Object::new().string("regexp", regexp))
}

pub(super) fn no_such_page(path: &str) -> Failure {
    Failure::new(
        "pkg/webhandlers",
        "route_not_found",
        "route `{route}` not found",
        5,
    )
    .with(Object::new().string("route", path))
}
