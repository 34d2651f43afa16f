//! Errors in downlink events.

use std::fmt::Display;

use fastrand::Rng;

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

    const fn new(
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

    fn with(mut self, attributes: Object) -> Self {
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

    /// Returns the failure of a request whose downlink at that index was encoded to too many bytes.
    pub(crate) fn invalid(index: usize, random: &mut Rng) -> Self {
        let validation = |field: &str, name, reason| {
            let format = "invalid `{field}`: {reason}";
            Self::new("pkg/errors", "validation", format, 3).with(
                Object::new()
                    .string("field", field)
                    .string("name", name)
                    .string("reason", reason),
            )
        };
        let cause = validation(
            "frm_payload",
            "ApplicationDownlinkValidationError",
            "value length must be at most 255 bytes",
        );
        let failure = validation(
            &format!("downlinks[{index}]"),
            "DownlinkQueueRequestValidationError",
            "embedded message failed validation",
        );
        Self {
            cause: Some(cause.error(&Self::correlation_id(random))),
            ..failure
        }
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
        Object::new()
            .string("namespace", self.namespace)
            .string("name", self.name)
            .string("message_format", self.message_format)
            .option("attributes", self.attributes.clone())
            .string("correlation_id", correlation_id)
            .option("cause", self.cause.clone())
            .integer("code", self.code)
            .option("details", self.details.clone())
            .finish()
    }
}

/// Returns the JSON text of an attribute that is an unsigned number.
fn unsigned(number: impl Display) -> String {
    json::string(&number.to_string())
}
