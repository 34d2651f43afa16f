//! An answer that refuses what was asked.

use std::{fmt, io::Read, time::Duration};

use serde_json::Value;

use super::{
    Limits,
    answer::{MAX_ANSWER, quote},
    meaning,
    secrecy::{reveals, reveals_in_name},
};
use crate::{config::AccessKey, http::Answer, message::ErrorDetails, network};

/// What servers say in plain text or HTML to a request in plain that comes to a port for TLS: those in
/// Go, and nginx.
const PLAIN_TO_TLS: [&str; 2] = [
    "sent an HTTP request to an HTTPS server",
    "plain HTTP request was sent to HTTPS port",
];

/// An answer with a status other than 200.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusal {
    pub(crate) url: String,
    pub(crate) status: u16,
    /// Where a redirect leads, quoted.
    pub(crate) location: Option<String>,
    /// The server's own explanation, quoted.
    pub(crate) message: Option<String>,
    /// The gRPC code of the error. An answer without one does not come from The Things Stack.
    pub(crate) code: Option<u64>,
    /// The parts of the error; `None` if the server has none, as for a path that it does not serve.
    pub(crate) details: Option<Box<ErrorDetails>>,
    /// How long to wait before the next request, if the server says so.
    pub(crate) wait: Option<Duration>,
    /// Whether the port expects TLS, and was asked without.
    pub(super) requires_tls: bool,
}

impl Refusal {
    pub(super) fn read(url: String, answer: Answer, key: &AccessKey) -> Self {
        let wait = Limits::of(&answer).wait_after_refusal();
        let location = answer.header("location");
        let status = answer.status;
        // The header also comes with other answers, and then says nothing.
        let wait = wait.filter(|_| status == 429);
        let mut body = Vec::new();
        // What can be read of it is enough.
        let _ = answer.body.take(MAX_ANSWER).read_to_end(&mut body);
        Self {
            url,
            location: location.and_then(|place| quote(&place, key)),
            wait,
            ..Self::of(status, &body, key)
        }
    }

    /// Reads what the body of an answer says.
    pub(crate) fn of(status: u16, body: &[u8], key: &AccessKey) -> Self {
        let requires_tls = status == 400 && {
            let text = String::from_utf8_lossy(body);
            PLAIN_TO_TLS.iter().any(|words| text.contains(words))
        };
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = error_of(&body);
        Self {
            status,
            message: message(&body, key),
            code: code(error),
            details: details(error, key).map(Box::new),
            requires_tls,
            ..Self::default()
        }
    }

    /// Returns whether this is the error with these names.
    pub(crate) fn is(&self, namespace: &str, name: &str) -> bool {
        let details = self.details.as_ref();
        details.is_some_and(|error| meaning::is(error, namespace, name))
    }

    /// Returns whether a server of The Things Stack says that it does not serve the path.
    pub(crate) fn is_unserved(&self) -> bool {
        let is_not_found = self.code == Some(5) && self.message.as_deref() == Some("\"Not Found\"");
        self.status == 404 && self.details.is_none() && is_not_found
    }
}

/// Says what it means, the status, and what the server says.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (HTTP {}", self.explain(), self.status)?;
        match &self.message {
            Some(message) => write!(f, "; the server says {message})"),
            None => f.write_str(")"),
        }
    }
}

/// Reads the explanation that comes with an error: `{"message": "…"}`. Very old servers put it where
/// others have the error.
fn message(body: &Value, key: &AccessKey) -> Option<String> {
    let message = error_of(body)
        .get("message")
        .or_else(|| body.get("error"))?;
    quote(message.as_str()?, key)
}

/// Older servers have another name for it.
fn code(error: &Value) -> Option<u64> {
    let code = error.get("code").or_else(|| error.get("grpc_code"))?;
    code.as_u64()
}

fn details(error: &Value, key: &AccessKey) -> Option<ErrorDetails> {
    let details = error.get("details")?.as_array()?;
    let error = details.iter().find(|details| is_error(details))?;
    let text = error.to_string();
    let details = network::error_details(text.as_bytes())?;
    if !reveals(&text, key) {
        return Some(details);
    }
    // The id of a placeholder for a key may look like its secret, and a short secret may be a word, such as
    // that of the simulated key.
    let names = names(details);
    (!reveals_in_name(&format!("{names:?}"), key)).then_some(names)
}

/// Returns what tells an error and its causes from others, without any value.
fn names(details: ErrorDetails) -> ErrorDetails {
    ErrorDetails {
        namespace: details.namespace,
        name: details.name,
        code: details.code,
        cause: details.cause.map(|cause| Box::new(names(*cause))),
        ..ErrorDetails::default()
    }
}

/// Returns whether an object of the details is the error. Some errors have no names.
fn is_error(details: &Value) -> bool {
    let is_marked = |kind: &Value| {
        let kind = kind.as_str();
        kind.is_some_and(|kind| kind.ends_with("ttn.lorawan.v3.ErrorDetails"))
    };
    details.get("namespace").is_some() || details.get("@type").is_some_and(is_marked)
}

/// Some answers wrap their error in an object.
fn error_of(body: &Value) -> &Value {
    body.get("error")
        .filter(|error| error.is_object())
        .unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::Meaning, error::ErrorKind};

    const SECRET: &str = "A-LONG-ENOUGH-SECRET";

    fn key() -> AccessKey {
        AccessKey::new(format!("NNSXS.ID.{SECRET}"))
    }

    fn refusal(status: u16, body: &str) -> Refusal {
        Refusal::of(status, body.as_bytes(), &key())
    }

    macro_rules! recorded {
        ($status:literal, $name:literal) => {
            refusal(
                $status,
                include_str!(concat!("../../tests/fixtures/v3-http/", $name)),
            )
        };
    }

    #[test]
    fn each_recorded_error_has_its_meaning_and_says_what_to_do() {
        use ErrorKind::*;
        let missing = |right: &str| Meaning::MissingRights(vec![right.to_owned()]);
        let not_allowed = |field: &str, reason: &str| Meaning::NotAllowed {
            field: field.to_owned(),
            reason: reason.to_owned(),
        };
        let pattern = "value does not match regex pattern \"^[a-z0-9](?:[-]?[a-z0-9]){2,}$\"";
        for (refusal, meaning, kind, words) in [
            (
                recorded!(400, "error-400-token.json"),
                Meaning::MalformedKey,
                NotAuthorized,
                "three parts",
            ),
            (
                recorded!(400, "error-400-token-stream.json"),
                Meaning::MalformedKey,
                NotAuthorized,
                "three parts",
            ),
            (
                recorded!(401, "error-401.json"),
                Meaning::UnknownKey,
                NotAuthorized,
                "another server or tenant",
            ),
            (
                recorded!(401, "error-401-stream.json"),
                Meaning::UnknownKey,
                NotAuthorized,
                "was deleted",
            ),
            (
                recorded!(401, "error-401-application-deleted.json"),
                Meaning::OwnerDeleted,
                NotAuthorized,
                "application that the API key belongs to was deleted",
            ),
            (
                recorded!(401, "error-401-secret.json"),
                Meaning::WrongSecret,
                NotAuthorized,
                "mistyped or cut off",
            ),
            (
                recorded!(401, "error-401-expired.json"),
                Meaning::KeyExpired,
                NotAuthorized,
                "has expired",
            ),
            (
                recorded!(401, "error-401-no-key.json"),
                Meaning::NoKey,
                NotAuthorized,
                "proxy",
            ),
            (
                recorded!(401, "error-401-basic.json"),
                Meaning::NoKey,
                NotAuthorized,
                "proxy",
            ),
            (
                recorded!(403, "error-403.json"),
                missing("RIGHT_APPLICATION_INFO"),
                NotAuthorized,
                "lacks the right RIGHT_APPLICATION_INFO",
            ),
            (
                recorded!(403, "error-403-stream.json"),
                missing("RIGHT_APPLICATION_TRAFFIC_READ"),
                NotAuthorized,
                "lacks the right RIGHT_APPLICATION_TRAFFIC_READ",
            ),
            (
                recorded!(403, "error-403-no-rights.json"),
                Meaning::NoRights,
                NotAuthorized,
                "on the application \"greenhouse\"",
            ),
            (
                recorded!(403, "error-403-no-rights-stream.json"),
                Meaning::NoRights,
                NotAuthorized,
                "another application",
            ),
            (
                recorded!(403, "error-403-no-key.json"),
                Meaning::NoRights,
                NotAuthorized,
                "a proxy",
            ),
            (
                recorded!(403, "error-old-shape.json"),
                Meaning::NoRights,
                NotAuthorized,
                "\"greenhouse@ttn\"",
            ),
            (
                recorded!(400, "error-400-id.json"),
                not_allowed("application_id", pattern),
                Config,
                "does not accept this application_id: value does not match",
            ),
            (
                recorded!(400, "error-400-port.json"),
                not_allowed("f_port", "value must be less than or equal to 255"),
                DiscoveryAnswer,
                "this f_port",
            ),
            (
                recorded!(400, "error-400-limit.json"),
                not_allowed("limit", "value must be less than or equal to 1000"),
                DiscoveryAnswer,
                "this limit",
            ),
            (
                recorded!(400, "error-400-tenant.json"),
                Meaning::MissingTenant,
                Config,
                "TENANT.CLUSTER",
            ),
            (
                recorded!(400, "error-400-no-session.json"),
                Meaning::NoSession,
                DownlinkFailed,
                "has not joined",
            ),
            (
                recorded!(404, "error-404.json"),
                Meaning::NotServed,
                DiscoveryAnswer,
                "superfluous path",
            ),
            (
                recorded!(404, "error-404-outside.json"),
                Meaning::NotServed,
                DiscoveryAnswer,
                "not served",
            ),
            (
                recorded!(404, "error-404-application.json"),
                Meaning::NoSuchApplication,
                ApplicationNotFound,
                "\"greenhuose\"",
            ),
            (
                recorded!(404, "error-404-device.json"),
                Meaning::NoSuchDevice,
                DownlinkFailed,
                "does not know the device",
            ),
            (
                recorded!(404, "error-404-device-list.json"),
                Meaning::NoSuchDevice,
                DownlinkFailed,
                "does not know the device",
            ),
            (
                recorded!(404, "error-404-device-is.json"),
                Meaning::NoSuchDevice,
                DownlinkFailed,
                "does not know the device",
            ),
            (
                recorded!(429, "error-429.json"),
                Meaning::RateLimited,
                ServerUnavailable,
                "later",
            ),
            (
                recorded!(429, "error-429-stream.json"),
                Meaning::RateLimited,
                ServerUnavailable,
                "later",
            ),
            (
                recorded!(501, "error-501-method.json"),
                Meaning::Other,
                DiscoveryAnswer,
                "refuses",
            ),
            (
                recorded!(503, "error-503-identity-server.json"),
                Meaning::NoIdentityServer,
                ServerUnavailable,
                "says nothing about",
            ),
            (
                recorded!(504, "error-504-timeout.json"),
                Meaning::Busy,
                ServerUnavailable,
                "later",
            ),
            (
                recorded!(502, "error-proxy.html"),
                Meaning::Busy,
                ServerUnavailable,
                "later",
            ),
            (
                recorded!(400, "error-400-query.json"),
                Meaning::Other,
                DiscoveryAnswer,
                "refuses",
            ),
            (
                recorded!(400, "error-400-base64.json"),
                Meaning::Other,
                DiscoveryAnswer,
                "refuses",
            ),
            (
                recorded!(400, "error-400-no-port.json"),
                Meaning::Other,
                DiscoveryAnswer,
                "refuses",
            ),
            (
                recorded!(400, "error-400-too-long.json"),
                Meaning::Other,
                DiscoveryAnswer,
                "refuses",
            ),
            (
                recorded!(400, "error-400-field-mask.json"),
                Meaning::Other,
                DiscoveryAnswer,
                "refuses",
            ),
            (
                recorded!(400, "error-400-no-identifiers-stream.json"),
                Meaning::Other,
                DiscoveryAnswer,
                "refuses",
            ),
        ] {
            assert_eq!(refusal.meaning(), meaning, "{refusal:?}");
            assert_eq!(refusal.kind(), kind, "{refusal:?}");
            let text = refusal.explain();
            assert!(text.contains(words), "{words}: {text}");
            let is_html = refusal.message.is_none();
            assert_eq!(refusal.code.is_none(), is_html, "{refusal:?}");
            let whole = refusal.to_string();
            assert_eq!(whole.contains("the server says"), !is_html, "{whole}");
            assert!(
                whole.contains(&format!("HTTP {}", refusal.status)),
                "{whole}"
            );
        }
    }

    #[test]
    fn an_error_that_repeats_a_part_of_the_secret_keeps_its_names_only() {
        let placeholder = AccessKey::new(format!("NNSXS.{0}.{0}", "A".repeat(39)));
        let body = include_str!("../../tests/fixtures/v3-http/error-401.json");
        let refusal = Refusal::of(401, body.as_bytes(), &placeholder);
        assert_eq!(refusal.meaning(), Meaning::UnknownKey);
        let text = format!("{refusal:?}").to_lowercase();
        assert!(!text.contains(&"a".repeat(12)), "{text}");

        let simulated = AccessKey::new("NNSXS.SIMULATED.KEY".to_owned());
        let refusal = Refusal::of(401, body.as_bytes(), &simulated);
        assert_eq!(refusal.meaning(), Meaning::UnknownKey);

        let body = format!(r#"{{"details":[{{"namespace":"a","name":"{SECRET}"}}]}}"#);
        assert_eq!(self::refusal(401, &body).details, None);
    }

    #[test]
    fn the_causes_of_an_error_are_told_from_the_error() {
        let refusal = recorded!(401, "error-401-application-deleted.json");
        assert!(refusal.is("pkg/identityserver", "api_key_not_found"));
        assert!(!refusal.is("pkg/util/store", "not_found"));
        assert_eq!(refusal.meaning(), Meaning::OwnerDeleted);
        let other = r#"{"details":[{"namespace":"pkg/identityserver","name":"api_key_not_found","cause":{"namespace":"a","name":"not_found"}}]}"#;
        assert_eq!(self::refusal(401, other).meaning(), Meaning::UnknownKey);
    }

    #[test]
    fn a_status_without_names_has_a_kind_and_the_message_is_quoted() {
        for (status, kind) in [
            (204, ErrorKind::DiscoveryAnswer),
            (302, ErrorKind::DiscoveryAnswer),
            (400, ErrorKind::DiscoveryAnswer),
            (401, ErrorKind::NotAuthorized),
            (403, ErrorKind::NotAuthorized),
            (404, ErrorKind::DiscoveryAnswer),
            (409, ErrorKind::DiscoveryAnswer),
            (429, ErrorKind::ServerUnavailable),
            (499, ErrorKind::ServerUnavailable),
            (500, ErrorKind::ServerUnavailable),
            (501, ErrorKind::DiscoveryAnswer),
            (503, ErrorKind::ServerUnavailable),
        ] {
            let refusal = refusal(status, r#"{"code":5,"message":"no \"such\" thing"}"#);
            assert_eq!(refusal.kind(), kind, "{status}");
            assert_eq!(refusal.message.as_deref(), Some(r#""no \"such\" thing""#));
        }
        for body in [
            "",
            "not found",
            "[]",
            r#"{"message":7}"#,
            r#"{"message":" "}"#,
            r#"{"message":"A-LONG-ENOUGH-SECRET is wrong"}"#,
        ] {
            assert_eq!(refusal(404, body).message, None, "{body}");
        }
    }

    #[test]
    fn an_error_that_is_only_a_text_is_quoted() {
        let refusal = refusal(404, r#"{"error":"Not Found","code":5}"#);
        assert_eq!(refusal.message.as_deref(), Some(r#""Not Found""#));
        assert_eq!(refusal.code, Some(5));
        assert_eq!(refusal.meaning(), Meaning::NotServed);
    }

    #[test]
    fn a_request_in_plain_to_a_port_for_tls_is_told_to_use_https() {
        for body in [
            "Client sent an HTTP request to an HTTPS server.\n",
            "<html><h1>400 Bad Request</h1>The plain HTTP request was sent to HTTPS port</html>",
        ] {
            let refusal = refusal(400, body);
            assert_eq!(refusal.meaning(), Meaning::TlsRequired);
            assert!(refusal.explain().contains("https://"));
        }
    }

    #[test]
    fn all_missing_rights_are_named() {
        for (missing, words) in [
            (r#"["A","B"]"#, "the rights A, B;"),
            (r#"[7,"A"]"#, "the right A;"),
            ("[]", "lacks a right;"),
            ("7", "lacks a right;"),
        ] {
            let body = format!(
                r#"{{"details":[{{"namespace":"pkg/auth/rights","name":"insufficient_application_rights","attributes":{{"missing":{missing}}}}}]}}"#
            );
            let text = refusal(403, &body).explain();
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn no_part_of_the_key_is_in_anything_that_is_read() {
        for place in [
            r#"{"message":"HERE"}"#,
            r#"{"error":"HERE"}"#,
            r#"{"details":[{"namespace":"HERE"}]}"#,
            r#"{"details":[{"namespace":"pkg/auth/rights","name":"no_application_rights","attributes":{"uid":"HERE"}}]}"#,
            r#"{"details":[{"namespace":"a","cause":{"message_format":"HERE"}}]}"#,
            "HERE",
        ] {
            for shown in [
                key().reveal(),
                SECRET,
                "a-long-enough-secret",
                "LONG-ENOUGH-",
            ] {
                let refusal = refusal(403, &place.replace("HERE", shown));
                let text = format!("{refusal} {refusal:?}").to_lowercase();
                assert!(!text.contains("long-enough"), "{place}: {text}");
            }
        }
    }

    #[test]
    fn whatever_a_server_sends_is_read_in_bounds() {
        let nested = |depth: usize| {
            let cause = r#"{"namespace":"n","cause":"#.repeat(depth);
            format!("{{\"details\":[{cause}null{}]}}", "}".repeat(depth))
        };
        let huge = "x".repeat(1 << 20);
        for body in [
            nested(50),
            nested(200),
            nested(100_000),
            "[".repeat(1 << 20),
            format!("{{\"message\":{huge:?}}}"),
            format!("{{\"details\":[{{\"namespace\":{huge:?},\"message_format\":{huge:?}}}]}}"),
            format!("{{\"details\":[{}{{}}]}}", "{},".repeat(100_000)),
            format!(
                r#"{{"details":[{{"namespace":"pkg/auth/rights","name":"no_application_rights","attributes":{{"uid":{huge:?}}}}}]}}"#
            ),
            format!(
                r#"{{"details":[{{"namespace":"pkg/errors","name":"validation","attributes":{{"field":{huge:?},"reason":{huge:?}}}}}]}}"#
            ),
            format!(
                r#"{{"details":[{{"namespace":"pkg/auth/rights","name":"insufficient_application_rights","attributes":{{"missing":[{}"a\nb"]}}}}]}}"#,
                "\"RIGHT\",".repeat(10_000)
            ),
            r#"{"code":-1,"details":{"namespace":7},"error":[]}"#.to_owned(),
            r#"{"code":18446744073709551615,"details":[{"namespace":7,"name":{},"cause":[],"code":"x"}]}"#
                .to_owned(),
        ] {
            let refusal = refusal(400, &body);
            let text = refusal.to_string();
            assert!(text.len() < 2_000, "{} characters", text.len());
            assert!(!text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn random_text_is_read_without_a_panic() {
        use crate::seeds::{for_seeds, text_of};
        let parts = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "null",
            "7",
            "-1",
            "1e400",
            "\\u0000",
            "\\ud800",
            "é",
            "\"error\"",
            "\"details\"",
            "\"code\"",
            "\"message\"",
            "\"namespace\"",
            "\"name\"",
            "\"attributes\"",
            "\"missing\"",
            "\"cause\"",
            "\"pkg/auth/rights\"",
            "{\"error\":{",
            "{\"details\":[{\"namespace\":",
            "<html>",
            SECRET,
        ];
        for_seeds(20_000, |random| {
            let text = text_of(random, &parts, 0..20);
            let refusal = refusal(400, &text);
            let text = format!("{refusal} {refusal:?} {:?}", refusal.kind());
            assert!(!text.contains(SECRET), "{text}");
        });
    }
}
