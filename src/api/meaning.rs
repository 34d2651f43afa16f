//! What a refusal means, and what to do about it: one sentence for each error of a server. The caller
//! knows what was asked for, and says so around that sentence.

use serde_json::Value;

use super::Refusal;
use crate::{error::ErrorKind, message::ErrorDetails};

/// What a refusal means, decided by its status and the names of its error, never by its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// What was sent as key does not have the form of one.
    MalformedKey,
    /// There is no such key.
    UnknownKey,
    /// The key belongs to an application, or another owner, that was deleted.
    OwnerDeleted,
    /// The id of the key is right, the secret is not.
    WrongSecret,
    KeyExpired,
    /// No key has arrived.
    NoKey,
    /// The account that the key belongs to is suspended, rejected, or waits for approval.
    AccountBlocked,
    /// The key is one for this application, but lacks these rights.
    MissingRights(Vec<String>),
    /// The key has no right on this application, or there is no such application, or no key has arrived.
    NoRights,
    /// Something about the key, but the server does not say what.
    KeyRefused,
    NoSuchApplication,
    NoSuchDevice,
    /// The device has not joined.
    NoSession,
    /// A value is not allowed: an id, or a member of the body.
    NotAllowed {
        field: String,
        reason: String,
    },
    /// A hosted server is asked without a tenant in its host name.
    MissingTenant,
    /// The server has no MQTT server for applications.
    NoMqttServer,
    /// This path is not served there.
    NotServed,
    /// The port expects TLS.
    TlsRequired,
    Redirected,
    RateLimited,
    /// The server cannot check any key at the moment.
    NoIdentityServer,
    /// The server cannot answer at the moment.
    Busy,
    /// The server refuses for a reason of its own, or is not The Things Stack.
    Other,
}

/// The errors with a meaning of their own: namespace, name, meaning.
const NAMES: [(&str, &str, Meaning); 20] = [
    ("pkg/auth", "token", Meaning::MalformedKey),
    (IDENTITY, "invalid_authorization", Meaning::WrongSecret),
    (IDENTITY, "api_key_expired", Meaning::KeyExpired),
    (IDENTITY, "token_expired", Meaning::KeyExpired),
    (IDENTITY, "unsupported_authorization", Meaning::NoKey),
    (IDENTITY, "unauthenticated", Meaning::NoKey),
    (IDENTITY, "user_requested", Meaning::AccountBlocked),
    (IDENTITY, "user_rejected", Meaning::AccountBlocked),
    (IDENTITY, "user_suspended", Meaning::AccountBlocked),
    (RIGHTS, "no_application_rights", Meaning::NoRights),
    (RIGHTS, "no_identity_server_conn", Meaning::NoIdentityServer),
    (STORE, "application_not_found", Meaning::NoSuchApplication),
    (STORE, "end_device_not_found", Meaning::NoSuchDevice),
    (APPLICATION, "device_not_found", Meaning::NoSuchDevice),
    ("pkg/joinserver", "device_not_found", Meaning::NoSuchDevice),
    (APPLICATION, "no_device_session", Meaning::NoSession),
    (
        "pkg/tenant/middleware",
        "missing_tenant_id",
        Meaning::MissingTenant,
    ),
    ("pkg/webhandlers", "route_not_found", Meaning::NotServed),
    ("pkg/ratelimit", "rate_limit_exceeded", Meaning::RateLimited),
    (
        // What the list of a device's downlinks says.
        "pkg/redis",
        "not_found",
        Meaning::NoSuchDevice,
    ),
];

/// The most characters to repeat from an attribute.
const MAX_WORD: usize = 100;

/// The most missing rights to name. An application has fewer.
const MAX_RIGHTS: usize = 20;

const IDENTITY: &str = "pkg/identityserver";
const STORE: &str = "pkg/identityserver/store";
const RIGHTS: &str = "pkg/auth/rights";
const APPLICATION: &str = "pkg/applicationserver";

impl Refusal {
    /// Returns what the refusal means.
    pub(crate) fn meaning(&self) -> Meaning {
        if self.requires_tls {
            return Meaning::TlsRequired;
        }
        let by_name = self.details.as_ref().and_then(|error| named(error));
        by_name.unwrap_or_else(|| self.by_status())
    }

    fn by_status(&self) -> Meaning {
        match (self.status, &self.details) {
            (300..=399, _) => Meaning::Redirected,
            (401 | 403, _) => Meaning::KeyRefused,
            (404, None) => Meaning::NotServed,
            (404, Some(_)) => Meaning::NoSuchApplication,
            (429, _) => Meaning::RateLimited,
            // The server does not know the method or the function.
            (501, _) => Meaning::Other,
            (499 | 500.., _) => Meaning::Busy,
            _ => Meaning::Other,
        }
    }

    /// Says what the refusal means and what to do, as part of a sentence. It contains neither the status
    /// nor the server's own [`message`](Self::message).
    pub(crate) fn explain(&self) -> String {
        let named = |name: &str| match self.attribute(name) {
            Some(id) => format!("application {id:?}"),
            None => "application".to_owned(),
        };
        let text = match self.meaning() {
            Meaning::MalformedKey => {
                "this is not a whole API key; a key has three parts, NNSXS.ID.SECRET: copy all of it"
            }
            Meaning::UnknownKey => {
                "the server does not know the API key: it was deleted, or it belongs to another server or tenant; \
                 check the server, or create a new key"
            }
            Meaning::OwnerDeleted => {
                "the application that the API key belongs to was deleted; use a key of an existing application"
            }
            Meaning::WrongSecret => {
                "the server knows the API key, but its secret is wrong: the key was mistyped or cut off; copy all of it"
            }
            Meaning::KeyExpired => "the API key has expired; create a new one",
            Meaning::NoKey => {
                "no API key has arrived at the server; check for a proxy that removes the header Authorization"
            }
            Meaning::AccountBlocked => {
                "the account that the API key belongs to is suspended, rejected, or not approved yet; ask the operator"
            }
            Meaning::MissingRights(rights) => {
                return match rights.as_slice() {
                    [] => "the API key lacks a right; add it to the key".to_owned(),
                    [right] => format!("the API key lacks the right {right}; add it to the key"),
                    rights => format!(
                        "the API key lacks the rights {}; add them to the key",
                        rights.join(", ")
                    ),
                };
            }
            Meaning::NoRights => {
                return format!(
                    "the API key has no rights on the {}: it belongs to another application, there is no such \
                     application, or a proxy has removed the key; check the application id and the key",
                    named("uid")
                );
            }
            Meaning::KeyRefused => "the API key is not accepted, or it lacks a right",
            Meaning::NoSuchApplication => {
                return format!(
                    "the server does not know the {}; check the id and the cluster",
                    named("application_id")
                );
            }
            Meaning::NoSuchDevice => {
                "the server does not know the device; check its id, and whether it is registered on this cluster"
            }
            Meaning::NoSession => "the device has not joined, or its session was reset",
            Meaning::NotAllowed { field, reason } => {
                return match reason.as_str() {
                    "" => format!("the server does not accept this {field}"),
                    reason => format!("the server does not accept this {field}: {reason}"),
                };
            }
            Meaning::MissingTenant => {
                "the address does not name a tenant; write https://TENANT.CLUSTER.cloud.thethings.industries"
            }
            Meaning::NoMqttServer => {
                "the server has no MQTT server for applications; if there is one elsewhere, set it with mqtt_address"
            }
            Meaning::NotServed => {
                "this path is not served there: the host or the port is wrong, or the address contains a superfluous path"
            }
            Meaning::TlsRequired => "the port requires TLS; specify it with https://",
            Meaning::Redirected => {
                return format!(
                    "it redirects to {}, but the API key goes only to the server that was set; if that is the right \
                     one, set it instead",
                    self.location.as_deref().unwrap_or("another place")
                );
            }
            Meaning::RateLimited => {
                return match self.wait {
                    Some(wait) => format!(
                        "too many requests; the server accepts the next one in {} s",
                        wait.as_secs()
                    ),
                    None => "too many requests; try again later".to_owned(),
                };
            }
            Meaning::NoIdentityServer => {
                "the server cannot reach its Identity Server, so it cannot check any key, and this says nothing about \
                 this one; try again later"
            }
            Meaning::Busy => "the server cannot answer; try again later",
            Meaning::Other if self.code.is_some() => "the server refuses the request",
            Meaning::Other => "is it The Things Stack v3?",
        };
        text.to_owned()
    }

    /// Returns the kind of error that this is for a question about the application.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self.meaning() {
            Meaning::MalformedKey
            | Meaning::UnknownKey
            | Meaning::OwnerDeleted
            | Meaning::WrongSecret
            | Meaning::KeyExpired
            | Meaning::NoKey
            | Meaning::AccountBlocked
            | Meaning::MissingRights(_)
            | Meaning::NoRights
            | Meaning::KeyRefused => ErrorKind::NotAuthorized,
            Meaning::NoSuchApplication => ErrorKind::ApplicationNotFound,
            Meaning::NoSuchDevice | Meaning::NoSession => ErrorKind::DownlinkFailed,
            Meaning::NotAllowed { field, .. } if field == "application_id" => ErrorKind::Config,
            Meaning::MissingTenant => ErrorKind::Config,
            Meaning::NoMqttServer => ErrorKind::NoMqttAddress,
            Meaning::RateLimited | Meaning::NoIdentityServer | Meaning::Busy => {
                ErrorKind::ServerUnavailable
            }
            Meaning::NotAllowed { .. }
            | Meaning::NotServed
            | Meaning::TlsRequired
            | Meaning::Redirected
            | Meaning::Other => ErrorKind::DiscoveryAnswer,
        }
    }

    fn attribute(&self, name: &str) -> Option<String> {
        short_attribute(self.details.as_ref()?, name)
    }
}

/// Returns the meaning of an error that has a name.
fn named(error: &ErrorDetails) -> Option<Meaning> {
    match (&*error.namespace, &*error.name) {
        (IDENTITY, "api_key_not_found") => Some(match error.cause.as_deref() {
            Some(cause) if is(cause, "pkg/util/store", "not_found") => Meaning::OwnerDeleted,
            _ => Meaning::UnknownKey,
        }),
        (IDENTITY, name) if name.starts_with("oauth_client_") => Some(Meaning::AccountBlocked),
        (RIGHTS, "insufficient_application_rights") => {
            Some(Meaning::MissingRights(missing_rights(error)))
        }
        ("pkg/ttnpb", "identifiers") | ("pkg/errors", "validation") => Some(not_allowed(error)),
        (_, "no_configuration_provider") => Some(Meaning::NoMqttServer),
        (namespace, name) => NAMES
            .into_iter()
            .find(|named| (named.0, named.1) == (namespace, name))
            .map(|named| named.2),
    }
}

pub(super) fn is(error: &ErrorDetails, namespace: &str, name: &str) -> bool {
    error.namespace == namespace && error.name == name
}

fn missing_rights(error: &ErrorDetails) -> Vec<String> {
    let Some(Value::Array(rights)) = error.attributes.get("missing") else {
        return Vec::new();
    };
    let rights = rights.iter().filter_map(Value::as_str);
    rights.map(short).take(MAX_RIGHTS).collect()
}

/// Reads which value is not allowed. The last cause is the most exact one.
fn not_allowed(error: &ErrorDetails) -> Meaning {
    let mut last = error;
    while let Some(cause) = &last.cause {
        last = cause;
    }
    Meaning::NotAllowed {
        field: short_attribute(last, "field").unwrap_or_else(|| "id".to_owned()),
        reason: short_attribute(last, "reason").unwrap_or_default(),
    }
}

fn short_attribute(error: &ErrorDetails, name: &str) -> Option<String> {
    error.attributes.get(name)?.as_str().map(short)
}

/// Keeps words of a server short and on one line.
fn short(text: &str) -> String {
    let characters = text.chars().take(MAX_WORD);
    let on_one_line = |c: char| if c.is_control() { ' ' } else { c };
    characters.map(on_one_line).collect()
}
