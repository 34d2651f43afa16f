//! Reading uplinks.

use std::collections::BTreeMap;

use serde::{de, de::MapAccess};
use serde_json::{Map, Value};

use super::{
    super::json::{
        Members, Nullable, bytes, flag, float, ignore, integer, keep, object, object_into, strings,
        text, texts, time,
    },
    parts::{GatewayIds, Wire, duration, enum_name, list, part},
};
use crate::message::{Battery, Gateway, Location, Metadata, PacketBroker, Relay, UplinkMessage};

impl<'de> Members<'de> for Wire<UplinkMessage> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(uplink) = self;
        match name {
            "session_key_id" => uplink.session_key_id = bytes(map)?,
            "f_port" => uplink.port = integer(map)?.unwrap_or_default(),
            "f_cnt" => uplink.counter = integer(map)?.unwrap_or_default(),
            "frm_payload" => uplink.payload_raw = bytes(map)?,
            "decoded_payload" => uplink.payload_fields = map.next_value()?,
            "decoded_payload_warnings" => uplink.payload_warnings = strings(map)?,
            "normalized_payload" => uplink.normalized_payload = one_or_more(map)?,
            "normalized_payload_warnings" => uplink.normalized_payload_warnings = strings(map)?,
            "rx_metadata" => uplink.metadata.gateways = list(map)?,
            "settings" => {
                object_into(map, Settings(&mut uplink.metadata))?;
            }
            "received_at" => {
                uplink.metadata.time = time(&mut uplink.metadata.extra, name, map)?;
            }
            "app_s_key" => {
                uplink.app_s_key = part(map)?;
                if uplink.app_s_key.is_some() {
                    uplink.last_downlink_counter.get_or_insert(0);
                }
            }
            "last_a_f_cnt_down" => {
                uplink.last_downlink_counter = integer(map)?.or(uplink.last_downlink_counter);
            }
            "confirmed" => uplink.confirmed = flag(map)?,
            "consumed_airtime" => {
                uplink.metadata.airtime = duration(&mut uplink.metadata.extra, name, map)?;
            }
            "packet_error_rate" => {
                uplink.packet_error_rate = float(map)?.or(uplink.packet_error_rate);
            }
            "locations" => {
                let Locations(locations) = object(map)?;
                uplink.metadata.location = locations.get("user").cloned();
                uplink.metadata.locations = locations;
            }
            "version_ids" => uplink.version_ids = part(map)?,
            "network_ids" => uplink.network_ids = part(map)?,
            "last_battery_percentage" => {
                let battery = BatteryMembers(Battery::default(), &mut uplink.extra);
                uplink.battery = object_into(map, battery)?.map(|members| members.0);
            }
            "attributes" => uplink.attributes = texts(map)?,
            _ => keep(&mut uplink.extra, name, map)?,
        }
        Ok(())
    }
}

/// A list, or its only entry by itself.
fn one_or_more<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Vec<Value>, A::Error> {
    match map.next_value()? {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => Ok(list),
        object @ Value::Object(_) => Ok(vec![object]),
        other => Err(de::Error::custom(format_args!(
            "{other} in place of an object or a list"
        ))),
    }
}

/// Places by who knows them.
#[derive(Default)]
struct Locations(BTreeMap<String, Location>);

impl<'de> Members<'de> for Locations {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if let Some(location) = part(map)? {
            self.0.insert(name.to_owned(), location);
        }
        Ok(())
    }
}

struct Settings<'a>(&'a mut Metadata);

impl<'de> Members<'de> for Settings<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        const HZ_PER_MHZ: f64 = 1e6;
        let Self(metadata) = self;
        match name {
            "data_rate" => {
                object_into(map, DataRate(metadata))?;
            }
            "frequency" => {
                metadata.frequency = integer(map)?
                    .filter(|hertz: &u64| *hertz != 0)
                    .map(|hertz| hertz as f64 / HZ_PER_MHZ);
            }
            "timestamp" => metadata.timestamp = integer(map)?,
            "time" => metadata.gateway_time = time(&mut metadata.extra, name, map)?,
            // Where it stood before release 3.22.
            "coding_rate" => {
                let coding_rate = text(map)?;
                if metadata.coding_rate.is_empty() {
                    metadata.coding_rate = coding_rate;
                }
            }
            _ => keep(&mut metadata.extra, name, map)?,
        }
        Ok(())
    }
}

struct DataRate<'a>(&'a mut Metadata);

impl<'de> Members<'de> for DataRate<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let modulation = match name {
            "lora" => "LORA",
            "fsk" => "FSK",
            "lrfhss" => "LR_FHSS",
            _ => return keep(&mut self.0.extra, name, map),
        };
        let Some(rate) = object_into(map, ModulationParameters::default())? else {
            return Ok(());
        };
        let Self(metadata) = self;
        modulation.clone_into(&mut metadata.modulation);
        let kilohertz = |hertz: u32| f64::from(hertz) / 1e3;
        match name {
            "lora" => {
                metadata.data_rate =
                    format!("SF{}BW{}", rate.spreading_factor, kilohertz(rate.bandwidth));
            }
            "lrfhss" => {
                metadata.data_rate = format!(
                    "M{}CW{}",
                    rate.modulation_type,
                    rate.operating_channel_width / 1000
                );
            }
            _ => metadata.bit_rate = Some(rate.bit_rate),
        }
        if !rate.coding_rate.is_empty() {
            metadata.coding_rate = rate.coding_rate;
        }
        metadata.extra.extend(rate.extra);
        Ok(())
    }
}

/// The members of all three modulations.
#[derive(Default)]
struct ModulationParameters {
    bandwidth: u32,
    spreading_factor: u32,
    coding_rate: String,
    bit_rate: u32,
    modulation_type: u32,
    operating_channel_width: u32,
    extra: Map<String, Value>,
}

impl<'de> Members<'de> for ModulationParameters {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let number = match name {
            "bandwidth" => &mut self.bandwidth,
            "spreading_factor" => &mut self.spreading_factor,
            "bit_rate" => &mut self.bit_rate,
            "modulation_type" => &mut self.modulation_type,
            "operating_channel_width" => &mut self.operating_channel_width,
            "coding_rate" => {
                self.coding_rate = text(map)?;
                return Ok(());
            }
            _ => return keep(&mut self.extra, name, map),
        };
        *number = integer(map)?.unwrap_or_default();
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<Gateway> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(gateway) = self;
        match name {
            "gateway_ids" => {
                let GatewayIds { gateway_id, eui } = object(map)?;
                gateway.gtw_id = gateway_id;
                gateway.eui = eui;
            }
            "packet_broker" => gateway.packet_broker = part(map)?.map(Box::new),
            "relay" => gateway.relay = part(map)?,
            "antenna_index" => gateway.antenna = integer(map)?.unwrap_or_default(),
            "channel_index" => gateway.channel = integer(map)?.unwrap_or_default(),
            "time" => gateway.time = time(&mut gateway.extra, name, map)?,
            "gps_time" => gateway.gps_time = time(&mut gateway.extra, name, map)?,
            "received_at" => gateway.received_at = time(&mut gateway.extra, name, map)?,
            "timestamp" => gateway.timestamp = integer(map)?,
            "fine_timestamp" => gateway.fine_timestamp = integer(map)?,
            "encrypted_fine_timestamp" => {
                gateway.encrypted_fine_timestamp = bytes(map)?;
            }
            "encrypted_fine_timestamp_key_id" => {
                gateway.encrypted_fine_timestamp_key_id = text(map)?;
            }
            "rssi" => gateway.rssi = float(map)?,
            "channel_rssi" => gateway.channel_rssi = float(map)?,
            "signal_rssi" => gateway.signal_rssi = float(map)?,
            "rssi_standard_deviation" => gateway.rssi_standard_deviation = float(map)?,
            "snr" => gateway.snr = float(map)?,
            "frequency_offset" => gateway.frequency_offset = integer(map)?,
            "frequency_drift" => gateway.frequency_drift = integer(map)?,
            "hopping_width" => gateway.hopping_width = integer(map)?,
            "location" => gateway.location = part(map)?,
            "downlink_path_constraint" => {
                gateway.downlink_path_constraint = enum_name(
                    "DOWNLINK_PATH_CONSTRAINT_",
                    &[(0, "NONE"), (1, "PREFER_OTHER"), (2, "NEVER")],
                    map,
                )?;
            }
            "uplink_token" => gateway.uplink_token = text(map)?,
            _ => keep(&mut gateway.extra, name, map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<PacketBroker> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(broker) = self;
        let id = match name {
            "message_id" => &mut broker.message_id,
            "forwarder_net_id" => &mut broker.forwarder_net_id,
            "forwarder_tenant_id" => &mut broker.forwarder_tenant_id,
            "forwarder_cluster_id" => &mut broker.forwarder_cluster_id,
            "forwarder_gateway_eui" => &mut broker.forwarder_gateway_eui,
            "forwarder_gateway_id" => &mut broker.forwarder_gateway_id,
            "home_network_net_id" => &mut broker.home_network_net_id,
            "home_network_tenant_id" => &mut broker.home_network_tenant_id,
            "home_network_cluster_id" => &mut broker.home_network_cluster_id,
            "hops" => {
                let Nullable(hops) = map.next_value()?;
                broker.hops = hops;
                return Ok(());
            }
            _ => return ignore(map),
        };
        *id = text(map)?;
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<Relay> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "device_id" => self.0.device_id = text(map)?,
            "wor_channel" => {
                self.0.wor_channel = enum_name(
                    "RELAY_WOR_CHANNEL_",
                    &[(0, "DEFAULT"), (1, "SECONDARY")],
                    map,
                )?;
            }
            _ => ignore(map)?,
        }
        Ok(())
    }
}

/// With the members that have no field of their own.
struct BatteryMembers<'a>(Battery, &'a mut Map<String, Value>);

impl<'de> Members<'de> for BatteryMembers<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "f_cnt" => self.0.counter = integer(map)?.unwrap_or_default(),
            "value" => self.0.percentage = float(map)?,
            "received_at" => self.0.received_at = time(self.1, name, map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}
