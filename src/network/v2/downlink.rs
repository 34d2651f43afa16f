//! Reading reports about downlinks.

use serde::de::MapAccess;
use serde_json::{Map, Value};

use super::{
    super::json::{Member, Members},
    V2,
    parts::MODULATIONS,
};
use crate::message::{DownlinkEvent, Transmission};

/// The error of a network that keeps the downlink in its queue. It does not name the downlink.
const NO_GATEWAYS: &str = "No gateways available for downlink";

/// The errors of downlinks that are not queued.
const REFUSALS: [&str; 2] = [
    "Downlink Payload not valid: empty",
    "ScheduleType not valid: unknown",
];

/// A confirmed downlink that cannot be encoded stays in progress, and is tried again after each uplink.
pub(in crate::network) fn tries_again(report: &DownlinkEvent, confirmed: bool) -> bool {
    report.error == NO_GATEWAYS || confirmed && !REFUSALS.contains(&report.error.as_str())
}

#[derive(Default)]
pub(super) struct DownlinkEventBody {
    pub(super) error: String,
    pub(super) frame: Vec<u8>,
    pub(super) message: DownlinkBody,
    pub(super) gateway_id: String,
    pub(super) config: Transmission,
    pub(super) extra: Map<String, Value>,
}

impl<'de> Members<'de, V2> for DownlinkEventBody {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "error" => self.error = member.text()?,
            "payload" => self.frame = member.bytes()?,
            "message" => self.message = member.essential_object()?,
            "gateway_id" => self.gateway_id = member.text()?,
            "config" => self.config = member.essential_object()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.extra)
    }
}

#[derive(Default)]
pub(super) struct DownlinkBody {
    pub(super) port: u8,
    pub(super) confirmed: bool,
    pub(super) payload_raw: Vec<u8>,
    pub(super) payload_fields: Value,
    pub(super) extra: Map<String, Value>,
}

impl<'de> Members<'de, V2> for DownlinkBody {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "port" => self.port = member.essential_integer()?.unwrap_or_default(),
            "confirmed" => self.confirmed = member.flag()?,
            "payload_raw" => self.payload_raw = member.essential_bytes()?,
            "payload_fields" => self.payload_fields = member.value()?,
            // The topic has them too.
            "app_id" | "dev_id" => member.ignore()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.extra)
    }
}

impl<'de> Members<'de, V2> for Transmission {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        const HZ_PER_MHZ: f64 = 1e6;
        match member.name() {
            "modulation" => self.modulation = member.known_text(&MODULATIONS)?,
            "data_rate" => self.data_rate = member.text()?,
            "bit_rate" => self.bit_rate = member.integer()?,
            "airtime" => self.airtime = member.nanoseconds()?,
            "counter" => self.counter = member.essential_integer()?.unwrap_or_default(),
            "frequency" => self.frequency = member.float()?.map(|hertz| hertz / HZ_PER_MHZ),
            "power" => self.power = member.integer()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
