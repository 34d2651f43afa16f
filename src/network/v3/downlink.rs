//! Reading what becomes of downlinks.

use serde::de::MapAccess;
use serde_json::{Map, Value};

use super::{
    super::json::{
        Members, Nullable, Scalar, bytes, flag, ignore, integer, keep, object, object_into,
        strings, text, time,
    },
    parts::{GatewayIds, Wire, list, part},
};
use crate::message::{
    Antenna, ClassBC, DownlinkEvent, DownlinkStep, ErrorDetails, Priority, QueueInvalidated,
    RawMessage,
};

pub(super) fn queue_invalidated(raw: &RawMessage) -> QueueInvalidated {
    QueueInvalidated {
        app_id: String::new(),
        dev_id: String::new(),
        downlinks: Vec::new(),
        last_downlink_counter: 0,
        session_key_id: Vec::new(),
        received_at: None,
        correlation_ids: Vec::new(),
        extra: Map::new(),
        raw: raw.clone(),
    }
}

impl<'de> Members<'de> for Wire<QueueInvalidated> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(event) = self;
        match name {
            "downlinks" => event.downlinks = list(map)?,
            "last_f_cnt_down" => {
                event.last_downlink_counter = integer(map)?.unwrap_or_default();
            }
            "session_key_id" => event.session_key_id = bytes(map)?,
            _ => keep(&mut event.extra, name, map)?,
        }
        Ok(())
    }
}

/// An invalidated one: only those come in lists.
impl Default for Wire<DownlinkEvent> {
    fn default() -> Self {
        let raw = RawMessage::new(String::new(), Vec::new());
        let mut downlink = DownlinkEvent::new("", "", DownlinkStep::Invalidated, raw);
        downlink.priority = Some(Priority::default());
        Self(downlink)
    }
}

impl<'de> Members<'de> for Wire<DownlinkEvent> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        InnerDownlink(&mut self.0).member(name, map)
    }
}

/// The downlink that a report is about.
struct InnerDownlink<'a>(&'a mut DownlinkEvent);

impl<'de> Members<'de> for InnerDownlink<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(downlink) = self;
        match name {
            "session_key_id" => downlink.session_key_id = bytes(map)?,
            "f_port" => downlink.port = integer(map)?.unwrap_or_default(),
            "f_cnt" => downlink.counter = integer(map)?.or(downlink.counter),
            "frm_payload" => downlink.payload_raw = bytes(map)?,
            "decoded_payload" => downlink.payload_fields = map.next_value()?,
            "decoded_payload_warnings" => downlink.payload_warnings = strings(map)?,
            "confirmed" => downlink.confirmed = flag(map)?,
            "class_b_c" => {
                let class_b_c = ClassBCMembers(ClassBC::default(), &mut downlink.extra);
                downlink.class_b_c = object_into(map, class_b_c)?.map(|members| members.0);
            }
            "priority" => {
                let text = map.next_value::<Scalar<'_>>()?.text();
                downlink.priority = priority(&text);
                if downlink.priority.is_none() {
                    downlink.extra.insert(name.to_owned(), text.into());
                }
            }
            "correlation_ids" => downlink.correlation_ids = strings(map)?,
            "confirmed_retry" => {
                let retry: Option<ConfirmedRetry> = part(map)?;
                downlink.attempt = retry.as_ref().map(|retry| retry.attempt);
                downlink.max_attempts = retry.and_then(|retry| retry.max_attempts);
            }
            _ => keep(&mut downlink.extra, name, map)?,
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

impl<'de> Members<'de> for Wire<ConfirmedRetry> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "attempt" => self.0.attempt = integer(map)?.unwrap_or_default(),
            "max_attempts" => self.0.max_attempts = integer(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

/// With the members that have no field of their own.
struct ClassBCMembers<'a>(ClassBC, &'a mut Map<String, Value>);

impl<'de> Members<'de> for ClassBCMembers<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "gateways" => {
                self.0.gateways = list::<FixedPath, _>(map)?
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

impl<'de> Members<'de> for Wire<FixedPath> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "gateway_ids" => self.0.gateway_id = object::<GatewayIds, _>(map)?.gateway_id,
            "antenna_index" => self.0.antenna = integer(map)?.unwrap_or_default(),
            "group_index" => self.0.group = integer(map)?.unwrap_or_default(),
            _ => ignore(map)?,
        }
        Ok(())
    }
}

/// A downlink that failed, and why.
pub(super) struct Failed(pub(super) DownlinkEvent);

impl<'de> Members<'de> for Failed {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(failed) = self;
        match name {
            "downlink" => {
                object_into(map, InnerDownlink(failed))?;
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

impl<'de> Members<'de> for Wire<ErrorDetails> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(error) = self;
        match name {
            "namespace" => error.namespace = text(map)?,
            "name" => error.name = text(map)?,
            "message_format" => error.message_format = text(map)?,
            "attributes" => {
                let Nullable(attributes) = map.next_value()?;
                error.attributes = attributes;
            }
            "correlation_id" => error.correlation_id = text(map)?,
            "code" => error.code = integer(map)?.unwrap_or_default(),
            "cause" => error.cause = part(map)?.map(Box::new),
            "details" => {
                let Nullable(details) = map.next_value()?;
                error.details = details;
            }
            _ => ignore(map)?,
        }
        Ok(())
    }
}
