//! Reading uplinks.

use serde::de::MapAccess;
use serde_json::{Map, Value};

use super::{
    super::{
        json::{Left, Member, Members},
        place::Place,
    },
    V2,
    parts::{MODULATIONS, location, read_place},
};
use crate::message::{Gateway, Metadata, UplinkMessage};

impl<'de> Members<'de, V2> for UplinkMessage {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "app_id" => replace_unless_empty(&mut self.app_id, member)?,
            "dev_id" => replace_unless_empty(&mut self.dev_id, member)?,
            "hardware_serial" => self.hardware_serial = member.hex::<16>()?,
            "port" => self.port = member.essential_integer()?.unwrap_or_default(),
            "counter" => self.counter = member.essential_integer()?.unwrap_or_default(),
            "confirmed" => self.confirmed = member.flag()?,
            "is_retry" => self.is_retry = member.flag()?,
            "payload_raw" => self.payload_raw = member.essential_bytes()?,
            "payload_fields" => self.payload_fields = member.value()?,
            "metadata" => self.metadata = member.object::<V2, MetadataMembers<'de>>()?.metadata,
            "attributes" => self.attributes = member.texts()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.extra)
    }
}

#[derive(Default)]
pub(super) struct MetadataMembers<'de> {
    pub(super) metadata: Metadata,
    place: Place<'de>,
}

impl<'de> Members<'de, V2> for MetadataMembers<'de> {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        let Self { metadata, place } = self;
        match member.name() {
            "time" => metadata.time = member.time()?,
            "frequency" => metadata.frequency = member.float()?,
            "modulation" => metadata.modulation = member.known_text(&MODULATIONS)?,
            "data_rate" => metadata.data_rate = member.text()?,
            "bit_rate" => metadata.bit_rate = member.integer()?,
            "coding_rate" => metadata.coding_rate = member.text()?,
            "airtime" => metadata.airtime = member.nanoseconds()?,
            "gateways" => metadata.gateways = member.list::<V2, GatewayMembers<'de>, _>()?,
            _ => return read_place(place, member),
        }
        Ok(true)
    }

    fn end(&mut self, left: &mut Left) {
        self.metadata.location = location(&mut self.place, left);
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.metadata.extra)
    }
}

#[derive(Default)]
struct GatewayMembers<'de> {
    gateway: Gateway,
    place: Place<'de>,
}

impl From<GatewayMembers<'_>> for Gateway {
    fn from(members: GatewayMembers<'_>) -> Self {
        members.gateway
    }
}

impl<'de> Members<'de, V2> for GatewayMembers<'de> {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        let Self { gateway, place } = self;
        match member.name() {
            "gtw_id" => gateway.gtw_id = member.text()?,
            // The name of `gtw_id` in 2016.
            "eui" if gateway.gtw_id.is_empty() => gateway.gtw_id = member.text()?,
            "gtw_trusted" => gateway.gtw_trusted = member.flag()?,
            "timestamp" => gateway.timestamp = member.integer()?,
            "fine_timestamp" => gateway.fine_timestamp = member.integer()?,
            "fine_timestamp_encrypted" => gateway.encrypted_fine_timestamp = member.bytes()?,
            "time" => gateway.time = member.time()?,
            "antenna" => gateway.antenna = member.integer()?.unwrap_or_default(),
            "channel" => gateway.channel = member.integer()?.unwrap_or_default(),
            "rssi" => gateway.rssi = member.float()?,
            "snr" => gateway.snr = member.float()?,
            "rf_chain" => gateway.rf_chain = member.integer()?.unwrap_or_default(),
            _ => return read_place(place, member),
        }
        Ok(true)
    }

    fn end(&mut self, left: &mut Left) {
        self.gateway.location = location(&mut self.place, left);
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.gateway.extra)
    }
}

fn replace_unless_empty<'de, A: MapAccess<'de>>(
    id: &mut String,
    member: &mut Member<'_, A>,
) -> Result<(), A::Error> {
    let text = member.essential_text()?;
    if !text.is_empty() {
        *id = text;
    }
    Ok(())
}
