//! Reading reports about downlinks.

use serde::de::MapAccess;
use serde_json::{Map, Value};

use super::{
    super::json::{
        Members, bytes, flag, float, ignore, integer, keep, known_text, nanoseconds, object, text,
    },
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
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "error" => self.error = text(map)?,
            "payload" => self.frame = bytes(map)?,
            "message" => self.message = object(map)?,
            "gateway_id" => self.gateway_id = text(map)?,
            "config" => self.config = object(map)?,
            _ => keep(&mut self.extra, name, map)?,
        }
        Ok(())
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
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "port" => self.port = integer(map)?.unwrap_or_default(),
            "confirmed" => self.confirmed = flag(map)?,
            "payload_raw" => self.payload_raw = bytes(map)?,
            "payload_fields" => self.payload_fields = map.next_value()?,
            // The topic has them too.
            "app_id" | "dev_id" => ignore(map)?,
            _ => keep(&mut self.extra, name, map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de, V2> for Transmission {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        const HZ_PER_MHZ: f64 = 1e6;
        match name {
            "modulation" => self.modulation = known_text(&MODULATIONS, map)?,
            "data_rate" => self.data_rate = text(map)?,
            "bit_rate" => self.bit_rate = integer(map)?,
            "airtime" => self.airtime = nanoseconds(map)?,
            "counter" => self.counter = integer(map)?.unwrap_or_default(),
            "frequency" => self.frequency = float(map)?.map(|hertz| hertz / HZ_PER_MHZ),
            "power" => self.power = integer(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}
