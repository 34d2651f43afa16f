//! Reading reports about downlinks.

use serde::de::MapAccess;
use serde_json::{Map, Value};

use super::{
    super::json::{Member, Members, Raw, read_object},
    V3,
    parts::GatewayIds,
};
use crate::message::{
    Antenna, ClassBC, DownlinkEvent, DownlinkStep, ErrorDetails, Priority, QueueInvalidated,
    QueuedDownlink, RawMessage,
};

/// The error of a confirmed downlink that the network sends again, as if the device had not
/// acknowledged it.
const TRANSMISSION: &str = "pkg/networkserver:transmission";

/// Returns whether the network sends the downlink of a report again, if it is confirmed.
pub(in crate::network) fn tries_again(report: &DownlinkEvent) -> bool {
    let details = report.error_details.as_ref();
    details.is_some_and(|details| details.id() == TRANSMISSION)
}

/// Returns whether the network does not send the downlink of this report again. It
/// counts attempts from 1 and reports the next one, except to an application that keeps its own session
/// keys and must send the downlink again itself.
pub(in crate::network) fn is_not_repeated(report: &DownlinkEvent) -> bool {
    report.attempt.is_some_and(|next| next <= 1)
}

pub(super) fn queue_invalidated(raw: &RawMessage) -> QueueInvalidated {
    QueueInvalidated {
        app_id: String::new(),
        dev_id: String::new(),
        app_eui: String::new(),
        dev_eui: String::new(),
        dev_addr: String::new(),
        downlinks: Vec::new(),
        last_downlink_counter: 0,
        session_key_id: Vec::new(),
        received_at: None,
        correlation_ids: Vec::new(),
        extra: Map::new(),
        simulated: false,
        raw: raw.clone(),
    }
}

impl<'de> Members<'de, V3> for QueueInvalidated {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "downlinks" => self.downlinks = member.list_of_wholes::<V3, _>(invalidated)?,
            "last_f_cnt_down" => {
                self.last_downlink_counter = member.essential_integer()?.unwrap_or_default();
            }
            "session_key_id" => self.session_key_id = member.bytes()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.extra)
    }
}

/// Returns an empty downlink for a list; only invalidated queues come as lists.
pub(super) fn invalidated() -> DownlinkEvent {
    let raw = RawMessage::new("", &[]);
    let mut downlink = DownlinkEvent::new("", "", DownlinkStep::Invalidated, raw);
    downlink.priority = Some(Priority::default());
    downlink
}

impl<'de> Members<'de, V3> for DownlinkEvent {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "session_key_id" => self.session_key_id = member.bytes()?,
            "f_port" => self.port = member.essential_integer()?.unwrap_or_default(),
            "f_cnt" => self.counter = member.essential_integer()?.or(self.counter),
            "frm_payload" => self.payload_raw = member.essential_bytes()?,
            "decoded_payload" => self.payload_fields = member.value()?,
            "decoded_payload_warnings" => self.payload_warnings = member.strings()?,
            "confirmed" => self.confirmed = member.flag()?,
            "class_b_c" => self.class_b_c = member.part()?,
            "priority" => self.priority = member.read(priority)?,
            "correlation_ids" => self.correlation_ids = member.strings()?,
            "confirmed_retry" => {
                let retry = member.part::<V3, ConfirmedRetry>()?;
                self.attempt = retry.as_ref().and_then(|retry| retry.attempt);
                self.max_attempts = retry.and_then(|retry| retry.max_attempts);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.extra)
    }
}

fn priority(raw: Raw<'_>) -> Result<Option<Priority>, Raw<'_>> {
    let name = raw.clone().name()?;
    if name.is_empty() {
        return Ok(Some(Priority::default()));
    }
    let by_number = name
        .parse()
        .ok()
        .and_then(|number: usize| Priority::ALL.get(number));
    let by_name = || {
        Priority::ALL
            .iter()
            .find(|priority| priority.name() == name)
    };
    let found = by_number.or_else(by_name).copied();
    found.map(Some).ok_or(raw)
}

struct ConfirmedRetry {
    attempt: Option<u32>,
    max_attempts: Option<u32>,
}

impl Default for ConfirmedRetry {
    fn default() -> Self {
        Self {
            // Servers leave out 0.
            attempt: Some(0),
            max_attempts: None,
        }
    }
}

impl<'de> Members<'de, V3> for ConfirmedRetry {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "attempt" => self.attempt = member.integer_or_zero()?,
            "max_attempts" => self.max_attempts = member.integer()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'de> Members<'de, V3> for ClassBC {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "gateways" => self.gateways = member.list::<V3, FixedPath, _>()?,
            "absolute_time" => self.absolute_time = member.time()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[derive(Default)]
struct FixedPath {
    gateway_id: String,
    antenna: u32,
    group: u32,
}

impl<'de> Members<'de, V3> for FixedPath {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "gateway_ids" => self.gateway_id = member.object::<V3, GatewayIds>()?.gateway_id,
            "antenna_index" => self.antenna = member.integer()?.unwrap_or_default(),
            "group_index" => self.group = member.integer()?.unwrap_or_default(),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl From<FixedPath> for Antenna {
    fn from(path: FixedPath) -> Self {
        Self::new(path.gateway_id)
            .index(path.antenna)
            .group(path.group)
    }
}

/// Reads a downlink that failed, with the reason.
pub(super) struct Failed<'a>(pub(super) &'a mut DownlinkEvent);

impl<'de> Members<'de, V3> for Failed<'_> {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        let Self(failed) = self;
        match member.name() {
            "downlink" => {
                member.essential_object_into::<V3, _>(*failed)?;
            }
            "error" => {
                let details = member.part::<V3, ErrorDetails>()?;
                failed.error = details
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                failed.error_details = details.map(Box::new);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.0.extra)
    }
}

/// Reads a downlink in the list of a queue.
pub(in crate::network) fn queued(json: &[u8]) -> serde_json::Result<QueuedDownlink> {
    let raw = RawMessage::new("", &[]);
    let mut downlink = DownlinkEvent::new("", "", DownlinkStep::Queued, raw);
    read_object::<V3, _>(json, &mut downlink)?;
    Ok(downlink.into())
}

/// Reads an error that is not part of a message.
pub(in crate::network) fn error_details(json: &[u8]) -> Option<ErrorDetails> {
    let mut details = ErrorDetails::default();
    read_object::<V3, _>(json, &mut details).ok()?;
    Some(details)
}

impl<'de> Members<'de, V3> for ErrorDetails {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "namespace" => self.namespace = member.text()?,
            "name" => self.name = member.text()?,
            "message_format" => self.message_format = member.text()?,
            "attributes" => self.attributes = member.members()?,
            "correlation_id" => self.correlation_id = member.text()?,
            "code" => self.code = member.integer()?.unwrap_or_default(),
            "cause" => self.cause = member.part()?.map(Box::new),
            "details" => self.details = member.values()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
