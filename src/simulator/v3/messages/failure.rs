//! Errors in downlink events.

use std::fmt::Display;

use fastrand::Rng;
use serde_json::{Map, Value};

use super::text::random_bytes;
use crate::simulator::json::{self, Object};

/// Why a downlink failed.
pub(crate) struct Failure {
    namespace: &'static str,
    name: &'static str,
    message_format: &'static str,
    code: u32,
    /// As JSON text.
    attributes: Option<String>,
    /// As JSON text.
    cause: Option<String>,
    /// As JSON text.
    details: Option<String>,
}

const TOO_LONG: &str = "application_downlink_too_long";
/// Why a message with an inner one that is not valid is not valid.
pub(crate) const EMBEDDED: &str = "embedded message failed validation";
const APPLICATION_SERVER: &str = "pkg/applicationserver";
const NETWORK_SERVER: &str = "pkg/networkserver";

/// The results of transmissions that the server knows.
const RESULTS: [&str; 7] = [
    "TOO_LATE",
    "TOO_EARLY",
    "COLLISION_PACKET",
    "COLLISION_BEACON",
    "TX_FREQ",
    "TX_POWER",
    "GPS_UNLOCKED",
];

impl Failure {
    pub(crate) const NO_PORT: Self = Self::new(APPLICATION_SERVER, "no_f_port", "no FPort", 3);
    pub(crate) const NO_SESSION: Self = Self::new(
        APPLICATION_SERVER,
        "no_device_session",
        "no device session; check device activation",
        9,
    );
    pub(crate) const EXPIRED: Self = Self::new(
        NETWORK_SERVER,
        "downlink_expired",
        "queued downlink is expired",
        9,
    );
    pub(crate) const FIXED_PATHS: Self = Self::new(
        NETWORK_SERVER,
        "fixed_paths",
        "invalid fixed paths set in application downlink",
        3,
    );
    pub(crate) const ABSOLUTE_TIME: Self = Self::new(
        NETWORK_SERVER,
        "absolute_time",
        "invalid absolute time set in application downlink",
        3,
    );
    pub(crate) const NO_PATH: Self = Self::new(
        NETWORK_SERVER,
        "no_downlink_path",
        "no downlink path available",
        5,
    );
    pub(crate) const CONFIRMED_TO_GROUP: Self = Self::new(
        NETWORK_SERVER,
        "confirmed_multicast_downlink",
        "confirmed downlink queued for multicast device",
        3,
    );
    pub(crate) const UNKNOWN_SESSION: Self =
        Self::new(NETWORK_SERVER, "unknown_session", "unknown session", 5);
    pub(crate) const QUEUE_FULL: Self = Self::new(
        NETWORK_SERVER,
        "downlink_queue_capacity",
        "downlink queue capacity exceeded",
        8,
    );

    pub(crate) const fn new(
        namespace: &'static str,
        name: &'static str,
        message_format: &'static str,
        code: u32,
    ) -> Self {
        Self {
            namespace,
            name,
            message_format,
            code,
            attributes: None,
            cause: None,
            details: None,
        }
    }

    pub(crate) fn with(mut self, attributes: Object) -> Self {
        self.attributes = Some(attributes.finish());
        self
    }

    pub(crate) fn too_long(length: usize, max: usize) -> Self {
        let format = "application downlink payload length `{length}` exceeds maximum '{max}'";
        Self::new(NETWORK_SERVER, TOO_LONG, format, 3).with(
            Object::new()
                .member("length", length)
                .member("max", unsigned(max)),
        )
    }

    /// Returns the failure of a request that has a value that is not allowed; `kind` is the message in
    /// which it is.
    pub(crate) fn validation(field: &str, kind: &str, reason: &str) -> Self {
        let format = "invalid `{field}`: {reason}";
        Self::new("pkg/errors", "validation", format, 3).with(
            Object::new()
                .string("field", field)
                .string("name", &format!("{kind}ValidationError"))
                .string("reason", reason),
        )
    }

    /// Returns the failure of a request whose downlink at that index has such a value.
    pub(crate) fn invalid(index: usize, field: &str, reason: &str, random: &mut Rng) -> Self {
        let cause = Self::validation(field, "ApplicationDownlink", reason);
        let field = format!("downlinks[{index}]");
        Self::validation(&field, "DownlinkQueueRequest", EMBEDDED).because_of(&cause, random)
    }

    /// Adds what it is due to.
    pub(crate) fn because_of(mut self, cause: &Self, random: &mut Rng) -> Self {
        self.cause = Some(cause.error(&Self::correlation_id(random)));
        self
    }

    pub(crate) fn counter_too_low(counter: u32, lowest: u32) -> Self {
        let format = "FCnt `{f_cnt}` is lower than minimum of `{min_f_cnt}`";
        let attributes = Object::new()
            .member("f_cnt", unsigned(counter))
            .member("min_f_cnt", unsigned(lowest));
        Self::new(NETWORK_SERVER, "f_cnt_too_low", format, 3).with(attributes)
    }

    /// Adds what the application has to know about the session.
    pub(crate) fn of_session(mut self, address: u32, key_id: &[u8], lowest: u32) -> Self {
        let kind = "type.googleapis.com/ttn.lorawan.v3.DownlinkQueueOperationErrorDetails";
        let details = Object::new()
            .string("@type", kind)
            .bytes("dev_addr", &address.to_be_bytes())
            .bytes("session_key_id", key_id)
            .integer("min_f_cnt_down", lowest);
        self.details = Some(json::array([details.finish()]));
        self
    }

    /// Returns the failure of a transmission. The server does not know every result that a gateway can report.
    pub(crate) fn transmission(result: &str) -> Self {
        let result = match RESULTS.contains(&result) {
            true => result,
            false => "UNKNOWN_ERROR",
        };
        let format = "downlink transmission failed with result `{result}`";
        Self::new(NETWORK_SERVER, "transmission", format, 2)
            .with(Object::new().string("result", result))
    }

    pub(crate) fn retries(max: u32) -> Self {
        let format = "maximum number of retries ({max_retries}) reached";
        Self::new(APPLICATION_SERVER, "max_retries_reached", format, 10)
            .with(Object::new().member("max_retries", unsigned(max)))
    }

    /// Returns the correlation id of an error that has one.
    pub(crate) fn correlation_id(random: &mut Rng) -> String {
        hex::encode(random_bytes::<16>(random))
    }

    /// Returns the correlation id of an error that shows up when a downlink is to be sent; empty for
    /// those that have none.
    pub(crate) fn correlation_id_when_sending(&self, random: &mut Rng) -> String {
        match self.name {
            TOO_LONG => Self::correlation_id(random),
            _ => String::new(),
        }
    }

    /// Returns the event of a failed downlink; `downlink` is its JSON text, and the correlation id is
    /// empty if the error has none.
    pub(crate) fn event(&self, downlink: &str, correlation_id: &str) -> String {
        Object::new()
            .member("downlink", downlink)
            .member("error", self.error(correlation_id))
            .finish()
    }

    fn error(&self, correlation_id: &str) -> String {
        self.add_to(Object::new(), correlation_id).finish()
    }

    /// Returns the code of gRPC, the message, and the body of an answer over HTTP.
    pub(crate) fn answer(&self, random: &mut Rng) -> (u32, String, String) {
        let message = format!("error:{}:{} ({})", self.namespace, self.name, self.text());
        let kind = "type.googleapis.com/ttn.lorawan.v3.ErrorDetails";
        let details = self.add_to(
            Object::new().string("@type", kind),
            &Self::correlation_id(random),
        );
        let body = Object::new()
            .integer("code", self.code)
            .string("message", &message)
            .member("details", json::array([details.finish()]));
        (self.code, message, body.finish())
    }

    /// Returns the text with the attributes in it.
    fn text(&self) -> String {
        let attributes = self.attributes.as_deref().unwrap_or("{}");
        let attributes: Map<String, Value> = serde_json::from_str(attributes).unwrap_or_default();
        attributes
            .iter()
            .fold(self.message_format.to_owned(), |text, (name, value)| {
                let value = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                text.replace(&format!("{{{name}}}"), &value)
            })
    }

    fn add_to(&self, object: Object, correlation_id: &str) -> Object {
        object
            .string("namespace", self.namespace)
            .string("name", self.name)
            .string("message_format", self.message_format)
            .option("attributes", self.attributes.clone())
            .string("correlation_id", correlation_id)
            .option("cause", self.cause.clone())
            .integer("code", self.code)
            .option("details", self.details.clone())
    }
}

/// Returns the JSON text of an attribute that is an unsigned number.
fn unsigned(number: impl Display) -> String {
    json::string(&number.to_string())
}
