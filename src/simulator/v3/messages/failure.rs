//! Errors in downlink events.

use fastrand::Rng;

use super::text::random_bytes;
use crate::simulator::json::Object;

/// Why a downlink failed.
pub(crate) struct Failure {
    namespace: &'static str,
    name: &'static str,
    message_format: &'static str,
    code: u32,
    /// As JSON text.
    attributes: Option<String>,
}

const APPLICATION_SERVER: &str = "pkg/applicationserver";
const NETWORK_SERVER: &str = "pkg/networkserver";

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
        }
    }

    fn with(mut self, attributes: Object) -> Self {
        self.attributes = Some(attributes.finish());
        self
    }

    pub(crate) fn too_long(length: usize, max: usize) -> Self {
        let format = "application downlink payload length `{length}` exceeds maximum '{max}'";
        Self::new(NETWORK_SERVER, "application_downlink_too_long", format, 3)
            .with(Object::new().member("length", length).member("max", max))
    }

    pub(crate) fn transmission(result: &str) -> Self {
        let format = "downlink transmission failed with result `{result}`";
        Self::new(NETWORK_SERVER, "transmission", format, 2)
            .with(Object::new().string("result", result))
    }

    pub(crate) fn retries(max: u32) -> Self {
        let format = "maximum number of retries ({max_retries}) reached";
        Self::new(APPLICATION_SERVER, "max_retries_reached", format, 10)
            .with(Object::new().member("max_retries", max))
    }

    /// Returns the event of a failed downlink; `downlink` is its JSON text.
    pub(crate) fn event(&self, downlink: &str, random: &mut Rng) -> String {
        let error = Object::new()
            .string("namespace", self.namespace)
            .string("name", self.name)
            .string("message_format", self.message_format)
            .option("attributes", self.attributes.clone())
            .string("correlation_id", &hex::encode(random_bytes::<16>(random)))
            .integer("code", self.code);
        Object::new()
            .member("downlink", downlink)
            .member("error", error.finish())
            .finish()
    }
}
