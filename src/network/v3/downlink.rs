//! Reading reports about downlinks.

use serde::de::MapAccess;
use serde_json::{Map, Value};

use super::{
    super::json::{
        Members, Nullable, Text, bytes, flag, ignore, integer, keep, list, list_of, object,
        object_into, part, strings, text, time,
    },
    V3,
    parts::GatewayIds,
};
use crate::message::{
    Antenna, ClassBC, DownlinkEvent, DownlinkStep, ErrorDetails, Priority, QueueInvalidated,
    RawMessage,
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
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "downlinks" => self.downlinks = list_of(map, invalidated)?,
            "last_f_cnt_down" => {
                self.last_downlink_counter = integer(map)?.unwrap_or_default();
            }
            "session_key_id" => self.session_key_id = bytes(map)?,
            _ => keep(&mut self.extra, name, map)?,
        }
        Ok(())
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
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "session_key_id" => self.session_key_id = bytes(map)?,
            "f_port" => self.port = integer(map)?.unwrap_or_default(),
            "f_cnt" => self.counter = integer(map)?.or(self.counter),
            "frm_payload" => self.payload_raw = bytes(map)?,
            "decoded_payload" => self.payload_fields = map.next_value()?,
            "decoded_payload_warnings" => self.payload_warnings = strings(map)?,
            "confirmed" => self.confirmed = flag(map)?,
            "class_b_c" => {
                let mut class_b_c = ClassBCMembers(ClassBC::default(), &mut self.extra);
                let found = object_into(map, &mut class_b_c)?;
                self.class_b_c = found.then_some(class_b_c.0);
            }
            "priority" => {
                let Text(text) = map.next_value()?;
                self.priority = priority(&text);
                if self.priority.is_none() {
                    self.extra.insert(name.to_owned(), text.into());
                }
            }
            "correlation_ids" => self.correlation_ids = strings(map)?,
            "confirmed_retry" => {
                let retry: Option<ConfirmedRetry> = part(map)?;
                self.attempt = retry.as_ref().map(|retry| retry.attempt);
                self.max_attempts = retry.and_then(|retry| retry.max_attempts);
            }
            _ => keep(&mut self.extra, name, map)?,
        }
        Ok(())
    }
}

fn priority(text: &str) -> Option<Priority> {
    if text.is_empty() {
        return Some(Priority::default());
    }
    let by_number = text
        .parse()
        .ok()
        .and_then(|number: usize| Priority::ALL.get(number));
    let by_name = || {
        Priority::ALL
            .iter()
            .find(|priority| priority.name() == text)
    };
    by_number.or_else(by_name).copied()
}

#[derive(Default)]
struct ConfirmedRetry {
    attempt: u32,
    max_attempts: Option<u32>,
}

impl<'de> Members<'de, V3> for ConfirmedRetry {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "attempt" => self.attempt = integer(map)?.unwrap_or_default(),
            "max_attempts" => self.max_attempts = integer(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

/// Reads class B and C settings, and keeps members that have no field.
struct ClassBCMembers<'a>(ClassBC, &'a mut Map<String, Value>);

impl<'de> Members<'de, V3> for ClassBCMembers<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "gateways" => {
                self.0.gateways = list::<V3, FixedPath, _>(map)?
                    .into_iter()
                    .map(|path| {
                        Antenna::new(path.gateway_id)
                            .index(path.antenna)
                            .group(path.group)
                    })
                    .collect();
            }
            "absolute_time" => self.0.absolute_time = time(self.1, name, map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct FixedPath {
    gateway_id: String,
    antenna: u32,
    group: u32,
}

impl<'de> Members<'de, V3> for FixedPath {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "gateway_ids" => self.gateway_id = object::<V3, GatewayIds, _>(map)?.gateway_id,
            "antenna_index" => self.antenna = integer(map)?.unwrap_or_default(),
            "group_index" => self.group = integer(map)?.unwrap_or_default(),
            _ => ignore(map)?,
        }
        Ok(())
    }
}

/// Reads a downlink that failed, with the reason.
pub(super) struct Failed<'a>(pub(super) &'a mut DownlinkEvent);

impl<'de> Members<'de, V3> for Failed<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(failed) = self;
        match name {
            "downlink" => {
                object_into(map, *failed)?;
            }
            "error" => {
                let details: Option<ErrorDetails> = part(map)?;
                failed.error = details
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                failed.error_details = details.map(Box::new);
            }
            _ => keep(&mut failed.extra, name, map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de, V3> for ErrorDetails {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "namespace" => self.namespace = text(map)?,
            "name" => self.name = text(map)?,
            "message_format" => self.message_format = text(map)?,
            "attributes" => {
                let Nullable(attributes) = map.next_value()?;
                self.attributes = attributes;
            }
            "correlation_id" => self.correlation_id = text(map)?,
            "code" => self.code = integer(map)?.unwrap_or_default(),
            "cause" => self.cause = part(map)?.map(Box::new),
            "details" => {
                let Nullable(details) = map.next_value()?;
                self.details = details;
            }
            _ => ignore(map)?,
        }
        Ok(())
    }
}
