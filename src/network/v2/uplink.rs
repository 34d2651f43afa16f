//! Reading uplinks.

use serde::de::MapAccess;

use super::{
    super::json::{
        Members, Text, bytes, flag, float, integer, keep, known_text, list, nanoseconds, object,
        text, texts, time,
    },
    V2,
    parts::{MODULATIONS, place},
};
use crate::message::{Gateway, Metadata, UplinkMessage};

impl<'de> Members<'de, V2> for UplinkMessage {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "app_id" => replace_unless_empty(&mut self.app_id, map)?,
            "dev_id" => replace_unless_empty(&mut self.dev_id, map)?,
            "hardware_serial" => self.hardware_serial = text(map)?,
            "port" => self.port = integer(map)?.unwrap_or_default(),
            "counter" => self.counter = integer(map)?.unwrap_or_default(),
            "confirmed" => self.confirmed = flag(map)?,
            "is_retry" => self.is_retry = flag(map)?,
            "payload_raw" => self.payload_raw = bytes(map)?,
            "payload_fields" => self.payload_fields = map.next_value()?,
            "metadata" => self.metadata = object(map)?,
            "attributes" => self.attributes = texts(map)?,
            _ => keep(&mut self.extra, name, map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de, V2> for Metadata {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "time" => self.time = time(&mut self.extra, name, map)?,
            "frequency" => self.frequency = float(map)?,
            "modulation" => self.modulation = known_text(&MODULATIONS, map)?,
            "data_rate" => self.data_rate = text(map)?,
            "bit_rate" => self.bit_rate = integer(map)?,
            "coding_rate" => self.coding_rate = text(map)?,
            "airtime" => self.airtime = nanoseconds(map)?,
            "gateways" => self.gateways = list::<V2, _, _>(map)?,
            _ => place(&mut self.location, &mut self.extra, name, map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de, V2> for Gateway {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "gtw_id" => self.gtw_id = text(map)?,
            // The name of `gtw_id` in 2016.
            "eui" if self.gtw_id.is_empty() => self.gtw_id = text(map)?,
            "gtw_trusted" => self.gtw_trusted = flag(map)?,
            "timestamp" => self.timestamp = integer(map)?,
            "fine_timestamp" => self.fine_timestamp = integer(map)?,
            "time" => self.time = time(&mut self.extra, name, map)?,
            "antenna" => self.antenna = integer(map)?.unwrap_or_default(),
            "channel" => self.channel = integer(map)?.unwrap_or_default(),
            "rssi" => self.rssi = float(map)?,
            "snr" => self.snr = float(map)?,
            "rf_chain" => self.rf_chain = integer(map)?.unwrap_or_default(),
            _ => place(&mut self.location, &mut self.extra, name, map)?,
        }
        Ok(())
    }
}

fn replace_unless_empty<'de, A: MapAccess<'de>>(
    id: &mut String,
    map: &mut A,
) -> Result<(), A::Error> {
    let Text(text) = map.next_value()?;
    if !text.is_empty() {
        *id = text.into_owned();
    }
    Ok(())
}
