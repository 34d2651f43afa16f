//! What identifies a downlink to a network whose reports carry no id.

use serde_json::{Map, Value};

use super::super::delivery::DeliveryState;
use crate::message::{Downlink, DownlinkEvent, DownlinkStep, ReadPayload};

/// The part of a downlink that is repeated by the reports of a network without ids.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    port: u8,
    confirmed: bool,
    payload: Data,
}

#[derive(Clone, Debug, PartialEq)]
enum Data {
    Bytes(Vec<u8>),
    Fields(Map<String, Value>),
}

impl Content {
    /// Returns the content of a downlink that was encoded successfully.
    pub(crate) fn of(downlink: &Downlink) -> Self {
        Self {
            port: downlink.port.unwrap_or(1),
            confirmed: downlink.confirmed,
            payload: match downlink.payload.read() {
                Ok(ReadPayload::Fields(fields)) => Data::Fields(fields.clone()),
                Ok(ReadPayload::Bytes(bytes)) => Data::Bytes(bytes),
                Err(_) => Data::Bytes(Vec::new()),
            },
        }
    }

    pub(in crate::downlink) fn port(&self) -> u8 {
        self.port
    }

    pub(in crate::downlink) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Returns the payload; as an error, the fields.
    pub(in crate::downlink) fn payload(&self) -> Result<&[u8], &Map<String, Value>> {
        match &self.payload {
            Data::Bytes(bytes) => Ok(bytes),
            Data::Fields(fields) => Err(fields),
        }
    }

    /// Returns how well a report fits a downlink with this content in this state, which the network
    /// may have: 0 fits best. `None` if the report is not about it. `was_cut` is whether the connection
    /// ended before the first report.
    pub(super) fn fit(
        &self,
        state: &DeliveryState,
        was_cut: bool,
        report: &DownlinkEvent,
    ) -> Option<u8> {
        let is_named = has_content(report);
        if is_named && !self.is_of(report) {
            return None;
        }
        let place = match place(state)? {
            WAITING if was_cut => OVERDUE,
            place => place,
        };
        // Reports can be lost, so steps may be missing.
        let fits = match report.step {
            DownlinkStep::Queued => place == WAITING || place == OVERDUE,
            DownlinkStep::Acknowledged => self.confirmed && (is_named || place == IN_PROGRESS),
            DownlinkStep::Failed => is_named || place <= IN_QUEUE,
            // A frame that the network created on its own has no content.
            DownlinkStep::Sent => is_named,
            _ => true,
        };
        fits.then_some(place)
    }

    fn is_of(&self, report: &DownlinkEvent) -> bool {
        self.port == report.port
            && self.confirmed == report.confirmed
            && match &self.payload {
                Data::Bytes(bytes) => *bytes == report.payload_raw,
                Data::Fields(fields) => {
                    let reported = report.payload_fields.as_object();
                    reported.is_some_and(|reported| are_same(fields, reported))
                }
            }
    }
}

/// The network transmits it again until the device acknowledges it.
const IN_PROGRESS: u8 = 0;
const IN_QUEUE: u8 = 1;
/// A report about it is still expected.
const WAITING: u8 = 2;
/// No report about it came in time, or it may be lost with its connection.
const OVERDUE: u8 = 3;
/// The network seems to have discarded it.
const DISCARDED: u8 = 4;

/// Returns the place of a downlink among several with the same content.
fn place(state: &DeliveryState) -> Option<u8> {
    match state {
        DeliveryState::Sent => Some(IN_PROGRESS),
        DeliveryState::Queued | DeliveryState::NotSent(_) => Some(IN_QUEUE),
        DeliveryState::Accepted | DeliveryState::Written => Some(WAITING),
        DeliveryState::Unconfirmed(_) => Some(OVERDUE),
        DeliveryState::Replaced => Some(DISCARDED),
        _ => None,
    }
}

fn has_content(report: &DownlinkEvent) -> bool {
    report.port != 0 || !report.payload_raw.is_empty() || !report.payload_fields.is_null()
}

fn are_same(fields: &Map<String, Value>, others: &Map<String, Value>) -> bool {
    let is_same = |(name, value)| others.get(name).is_some_and(|other| equals(value, other));
    fields.len() == others.len() && fields.iter().all(is_same)
}

/// Returns whether two values are equal to a network that reads every number as a double.
fn equals(value: &Value, other: &Value) -> bool {
    match (value, other) {
        (Value::Number(value), Value::Number(other)) => value.as_f64() == other.as_f64(),
        (Value::Array(values), Value::Array(others)) => {
            let mut pairs = values.iter().zip(others);
            values.len() == others.len() && pairs.all(|(value, other)| equals(value, other))
        }
        (Value::Object(fields), Value::Object(others)) => are_same(fields, others),
        (value, other) => value == other,
    }
}
