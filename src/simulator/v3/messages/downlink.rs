//! A downlink in requests and events.

use std::time::SystemTime;

use serde_json::Value;

use super::text::{free, strings, time};
use crate::simulator::json::{self, Object};

/// Priorities by value; the first is the default.
pub(crate) const PRIORITIES: [&str; 7] = [
    "LOWEST",
    "LOW",
    "BELOW_NORMAL",
    "NORMAL",
    "ABOVE_NORMAL",
    "HIGH",
    "HIGHEST",
];
/// The highest priority that the Network Server allows for a downlink of an application.
const HIGH: usize = 5;

/// A downlink as requested, and as events print it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Downlink {
    pub(crate) session_key_id: Vec<u8>,
    pub(crate) f_port: u8,
    pub(crate) f_cnt: u32,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) decoded: Option<Value>,
    /// Of the encoder, or of the decoder.
    pub(crate) warnings: Vec<String>,
    /// What the downlink decoder makes of the payload: fields and warnings.
    pub(crate) heard: (Option<Value>, Vec<String>),
    pub(crate) confirmed: bool,
    pub(crate) class_b_c: Option<ClassBC>,
    /// Index into [`PRIORITIES`].
    pub(crate) priority: usize,
    pub(crate) correlation_ids: Vec<String>,
    pub(crate) retry: Option<Retry>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ClassBC {
    pub(crate) gateways: Vec<FixedGateway>,
    pub(crate) absolute_time: Option<SystemTime>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FixedGateway {
    pub(crate) gateway_id: String,
    pub(crate) eui: String,
    pub(crate) antenna_index: u32,
    pub(crate) group_index: u32,
}

/// The transmissions of a confirmed downlink.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Retry {
    pub(crate) attempt: u32,
    pub(crate) max_attempts: Option<u32>,
}

impl Downlink {
    /// Returns when it is to be sent, if that matters.
    pub(crate) fn absolute_time(&self) -> Option<SystemTime> {
        self.class_b_c.as_ref()?.absolute_time
    }

    fn start(&self) -> Object {
        Object::new()
            .bytes("session_key_id", &self.session_key_id)
            .integer("f_port", self.f_port)
            .integer("f_cnt", self.f_cnt)
            .bytes("frm_payload", self.payload.as_deref().unwrap_or_default())
            .option("decoded_payload", self.decoded.as_ref().map(free))
            .list("decoded_payload_warnings", strings(&self.warnings))
    }

    /// Returns the downlink as all events except `down/sent` print it.
    pub(crate) fn message(&self) -> String {
        self.start()
            .flag("confirmed", self.confirmed)
            .option("class_b_c", self.class_b_c.as_ref().map(ClassBC::message))
            .option("priority", priority(self.priority))
            .list("correlation_ids", strings(&self.correlation_ids))
            .option("confirmed_retry", self.retry.as_ref().map(Retry::message))
            .finish()
    }

    /// Returns the downlink as `down/sent` prints it. MAC commands that travel with it raise its
    /// priority.
    pub(crate) fn sent(&self, correlation_ids: &[String], carries_commands: bool) -> String {
        let used = match carries_commands {
            true => PRIORITIES.len() - 1,
            false => self.priority.min(HIGH),
        };
        self.start()
            .flag("confirmed", self.confirmed)
            .option("priority", priority(used))
            .list("correlation_ids", strings(correlation_ids))
            .finish()
    }
}

impl ClassBC {
    fn message(&self) -> String {
        let gateways = self.gateways.iter().map(|gateway| {
            let ids = Object::new()
                .string("gateway_id", &gateway.gateway_id)
                .string("eui", &gateway.eui);
            Object::new()
                .member("gateway_ids", ids.finish())
                .integer("antenna_index", gateway.antenna_index)
                .integer("group_index", gateway.group_index)
                .finish()
        });
        Object::new()
            .list("gateways", gateways)
            .option("absolute_time", self.absolute_time.map(time))
            .finish()
    }
}

impl Retry {
    fn message(&self) -> String {
        Object::new()
            .integer("attempt", self.attempt)
            .option("max_attempts", self.max_attempts.map(|max| max.to_string()))
            .finish()
    }
}

fn priority(priority: usize) -> Option<String> {
    let name = PRIORITIES.get(priority)?;
    (priority > 0).then(|| json::string(name))
}
