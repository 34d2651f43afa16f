//! Reading uplinks.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write};

use serde::{de, de::MapAccess};
use serde_json::{Map, Value};

use super::{
    super::json::{
        Members, Nullable, bytes, flag, float, ignore, integer, keep, list, object, object_into,
        part, strings, text, texts, time,
    },
    V3,
    parts::{GatewayIds, duration, enum_name},
};
use crate::message::{Battery, Gateway, Location, Metadata, PacketBroker, Relay, UplinkMessage};

impl<'de> Members<'de, V3> for UplinkMessage {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "session_key_id" => self.session_key_id = bytes(map)?,
            "f_port" => self.port = integer(map)?.unwrap_or_default(),
            "f_cnt" => self.counter = integer(map)?.unwrap_or_default(),
            "frm_payload" => self.payload_raw = bytes(map)?,
            "decoded_payload" => self.payload_fields = map.next_value()?,
            "decoded_payload_warnings" => self.payload_warnings = strings(map)?,
            "normalized_payload" => self.normalized_payload = one_or_more(map)?,
            "normalized_payload_warnings" => self.normalized_payload_warnings = strings(map)?,
            "rx_metadata" => self.metadata.gateways = list::<V3, _, _>(map)?,
            "settings" => {
                object_into(map, &mut Settings(&mut self.metadata))?;
            }
            "received_at" => {
                self.metadata.time = time(&mut self.metadata.extra, name, map)?;
            }
            "app_s_key" => {
                self.app_s_key = part(map)?;
                if self.app_s_key.is_some() {
                    self.last_downlink_counter.get_or_insert(0);
                }
            }
            "last_a_f_cnt_down" => {
                self.last_downlink_counter = integer(map)?.or(self.last_downlink_counter);
            }
            "confirmed" => self.confirmed = flag(map)?,
            "consumed_airtime" => {
                self.metadata.airtime = duration(&mut self.metadata.extra, name, map)?;
            }
            "packet_error_rate" => {
                self.packet_error_rate = float(map)?.or(self.packet_error_rate);
            }
            "locations" => {
                let Locations(locations) = object(map)?;
                self.metadata.location = locations.get("user").cloned();
                self.metadata.locations = locations;
            }
            "version_ids" => self.version_ids = part(map)?,
            "network_ids" => self.network_ids = part(map)?,
            "last_battery_percentage" => {
                let mut battery = BatteryMembers(Battery::default(), &mut self.extra);
                let found = object_into(map, &mut battery)?;
                self.battery = found.then_some(battery.0);
            }
            "attributes" => self.attributes = texts(map)?,
            _ => keep(&mut self.extra, name, map)?,
        }
        Ok(())
    }
}

/// Reads a list, or a single entry that stands for one.
fn one_or_more<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Vec<Value>, A::Error> {
    match map.next_value()? {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => Ok(list),
        object @ Value::Object(_) => Ok(vec![object]),
        other => Err(de::Error::custom(format_args!(
            "expected an object or a list, found {other}"
        ))),
    }
}

/// Locations by their source.
#[derive(Default)]
struct Locations(BTreeMap<String, Location>);

impl<'de> Members<'de, V3> for Locations {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if let Some(location) = part(map)? {
            self.0.insert(name.to_owned(), location);
        }
        Ok(())
    }
}

struct Settings<'a>(&'a mut Metadata);

impl<'de> Members<'de, V3> for Settings<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        const HZ_PER_MHZ: f64 = 1e6;
        let Self(metadata) = self;
        match name {
            "data_rate" => {
                object_into(map, &mut DataRate(metadata))?;
            }
            "frequency" => {
                metadata.frequency = integer(map)?
                    .filter(|hertz: &u64| *hertz != 0)
                    .map(|hertz| hertz as f64 / HZ_PER_MHZ);
            }
            "timestamp" => metadata.timestamp = integer(map)?,
            "time" => metadata.gateway_time = time(&mut metadata.extra, name, map)?,
            // Its place before release 3.22.
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

impl<'de> Members<'de, V3> for DataRate<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let modulation = match name {
            "lora" => "LORA",
            "fsk" => "FSK",
            "lrfhss" => "LR_FHSS",
            _ => return keep(&mut self.0.extra, name, map),
        };
        let Some(rate) = part::<_, ModulationParameters, _>(map)? else {
            return Ok(());
        };
        let Self(metadata) = self;
        metadata.modulation = Cow::Borrowed(modulation);
        match name {
            "lora" => {
                metadata.data_rate = lora_data_rate(rate.spreading_factor, rate.bandwidth);
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

/// Formats a LoRa data rate. A bandwidth in fractions of a kilohertz keeps them, as in `SF8BW62.5`.
fn lora_data_rate(spreading_factor: u32, hertz: u32) -> String {
    let mut data_rate = String::with_capacity("SF12BW125".len());
    let written = match hertz % 1000 {
        0 => write!(data_rate, "SF{spreading_factor}BW{}", hertz / 1000),
        _ => write!(
            data_rate,
            "SF{spreading_factor}BW{}",
            f64::from(hertz) / 1e3
        ),
    };
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
    data_rate
}

/// The members of all three modulations together.
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

impl<'de> Members<'de, V3> for ModulationParameters {
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

impl<'de> Members<'de, V3> for Gateway {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "gateway_ids" => {
                let GatewayIds { gateway_id, eui } = object(map)?;
                self.gtw_id = gateway_id;
                self.eui = eui;
            }
            "packet_broker" => self.packet_broker = part(map)?.map(Box::new),
            "relay" => self.relay = part(map)?,
            "antenna_index" => self.antenna = integer(map)?.unwrap_or_default(),
            "channel_index" => self.channel = integer(map)?.unwrap_or_default(),
            "time" => self.time = time(&mut self.extra, name, map)?,
            "gps_time" => self.gps_time = time(&mut self.extra, name, map)?,
            "received_at" => self.received_at = time(&mut self.extra, name, map)?,
            "timestamp" => self.timestamp = integer(map)?,
            "fine_timestamp" => self.fine_timestamp = integer(map)?,
            "encrypted_fine_timestamp" => {
                self.encrypted_fine_timestamp = bytes(map)?;
            }
            "encrypted_fine_timestamp_key_id" => {
                self.encrypted_fine_timestamp_key_id = text(map)?;
            }
            "rssi" => self.rssi = float(map)?,
            "channel_rssi" => self.channel_rssi = float(map)?,
            "signal_rssi" => self.signal_rssi = float(map)?,
            "rssi_standard_deviation" => self.rssi_standard_deviation = float(map)?,
            "snr" => self.snr = float(map)?,
            "frequency_offset" => self.frequency_offset = integer(map)?,
            "frequency_drift" => self.frequency_drift = integer(map)?,
            "hopping_width" => self.hopping_width = integer(map)?,
            "location" => self.location = part(map)?,
            "downlink_path_constraint" => {
                self.downlink_path_constraint = enum_name(
                    "DOWNLINK_PATH_CONSTRAINT_",
                    &[(0, "NONE"), (1, "PREFER_OTHER"), (2, "NEVER")],
                    map,
                )?
                .into_owned();
            }
            "uplink_token" => self.uplink_token = text(map)?,
            _ => keep(&mut self.extra, name, map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de, V3> for PacketBroker {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let id = match name {
            "message_id" => &mut self.message_id,
            "forwarder_net_id" => &mut self.forwarder_net_id,
            "forwarder_tenant_id" => &mut self.forwarder_tenant_id,
            "forwarder_cluster_id" => &mut self.forwarder_cluster_id,
            "forwarder_gateway_eui" => &mut self.forwarder_gateway_eui,
            "forwarder_gateway_id" => &mut self.forwarder_gateway_id,
            "home_network_net_id" => &mut self.home_network_net_id,
            "home_network_tenant_id" => &mut self.home_network_tenant_id,
            "home_network_cluster_id" => &mut self.home_network_cluster_id,
            "hops" => {
                let Nullable(hops) = map.next_value()?;
                self.hops = hops;
                return Ok(());
            }
            _ => return ignore(map),
        };
        *id = text(map)?;
        Ok(())
    }
}

impl<'de> Members<'de, V3> for Relay {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "device_id" => self.device_id = text(map)?,
            "wor_channel" => {
                self.wor_channel = enum_name(
                    "RELAY_WOR_CHANNEL_",
                    &[(0, "DEFAULT"), (1, "SECONDARY")],
                    map,
                )?
                .into_owned();
            }
            _ => ignore(map)?,
        }
        Ok(())
    }
}

/// Reads the battery, and keeps members that have no field.
struct BatteryMembers<'a>(Battery, &'a mut Map<String, Value>);

impl<'de> Members<'de, V3> for BatteryMembers<'_> {
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
