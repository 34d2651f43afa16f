//! Reading uplinks.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write, mem};

use serde::de::MapAccess;
use serde_json::{Map, Value};

use super::{
    super::json::{Member, Members, Raw},
    V3,
    parts::{GatewayIds, LocationMembers, app_s_key, duration},
};
use crate::message::{
    Battery, Gateway, Location, Metadata, PacketBroker, Relay, Spare, UplinkMessage,
};

/// An uplink without content, and the memory of another one for the parts that it need not have.
pub(super) struct Uplink<'a> {
    pub(super) uplink: &'a mut UplinkMessage,
    pub(super) spare: &'a mut Spare,
}

impl<'de> Members<'de, V3> for Uplink<'_> {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        let Self { uplink, spare } = self;
        match member.name() {
            "session_key_id" => member.bytes_into(&mut uplink.session_key_id)?,
            "f_port" => uplink.port = member.essential_integer()?.unwrap_or_default(),
            "f_cnt" => uplink.counter = member.essential_integer()?.unwrap_or_default(),
            "frm_payload" => member.essential_bytes_into(&mut uplink.payload_raw)?,
            "decoded_payload" => {
                uplink.payload_fields = member.value_in(mem::take(&mut spare.payload_fields))?;
            }
            "decoded_payload_warnings" => uplink.payload_warnings = member.strings()?,
            "normalized_payload" => uplink.normalized_payload = member.read(one_or_more)?,
            "normalized_payload_warnings" => {
                uplink.normalized_payload_warnings = member.strings()?;
            }
            "rx_metadata" => {
                let gateways = mem::take(&mut spare.gateways);
                uplink.metadata.gateways = member.list_in::<V3, Gateway>(gateways)?;
            }
            "settings" => {
                member.object_into(&mut Settings(&mut uplink.metadata))?;
            }
            "received_at" => uplink.metadata.time = member.time()?,
            "app_s_key" => uplink.app_s_key = app_s_key(member)?,
            LAST_COUNTER => uplink.last_downlink_counter = member.integer()?,
            "confirmed" => uplink.confirmed = member.flag()?,
            "consumed_airtime" => uplink.metadata.airtime = member.read(duration)?,
            ERROR_RATE => uplink.packet_error_rate = member.float()?,
            "locations" => {
                let Locations(locations) = member.object()?;
                uplink.metadata.location = locations.get("user").cloned();
                uplink.metadata.locations = locations;
            }
            "version_ids" => {
                uplink.version_ids = member.part_in(mem::take(&mut spare.version_ids))?
            }
            "network_ids" => {
                uplink.network_ids = member.part_in(mem::take(&mut spare.network_ids))?
            }
            "last_battery_percentage" => uplink.battery = member.part()?,
            "attributes" => uplink.attributes = member.texts()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, name: &str) -> Option<&mut Map<String, Value>> {
        Some(match name {
            "received_at" | "consumed_airtime" | "rx_metadata" | "settings" | "locations" => {
                &mut self.uplink.metadata.extra
            }
            _ => &mut self.uplink.extra,
        })
    }
}

const LAST_COUNTER: &str = "last_a_f_cnt_down";
const ERROR_RATE: &str = "packet_error_rate";

/// Fills in numbers that servers leave out if they are 0.
pub(super) fn fill_in_zeros(uplink: &mut UplinkMessage, is_whole: bool) {
    let is_odd = |name| uplink.extra.contains_key(name);
    if uplink.packet_error_rate.is_none() && is_whole && !is_odd(ERROR_RATE) {
        uplink.packet_error_rate = Some(0.0);
    }
    let has_counter = uplink.app_s_key.is_some() && !is_odd(LAST_COUNTER);
    if uplink.last_downlink_counter.is_none() && has_counter {
        uplink.last_downlink_counter = Some(0);
    }
}

/// Reads a list, or a single entry that stands for one.
fn one_or_more(raw: Raw<'_>) -> Result<Vec<Value>, Raw<'_>> {
    match raw {
        Raw::Null => Ok(Vec::new()),
        Raw::Nested(value) => Ok(match *value {
            Value::Array(list) => list,
            object => vec![object],
        }),
        other => Err(other),
    }
}

/// Locations by their source.
#[derive(Default)]
struct Locations(BTreeMap<String, Location>);

impl<'de> Members<'de, ()> for Locations {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        if let Some(location) = LocationMembers::read(member)? {
            self.0.insert(member.name().to_owned(), location);
        }
        Ok(true)
    }
}

struct Settings<'a>(&'a mut Metadata);

impl<'de> Members<'de, V3> for Settings<'_> {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        const HZ_PER_MHZ: f64 = 1e6;
        let Self(metadata) = self;
        match member.name() {
            "data_rate" => {
                member.object_into(&mut DataRate(metadata))?;
            }
            "frequency" => {
                metadata.frequency = member
                    .integer()?
                    .filter(|hertz: &u64| *hertz != 0)
                    .map(|hertz| hertz as f64 / HZ_PER_MHZ);
            }
            "timestamp" => metadata.timestamp = member.integer()?,
            "time" => metadata.gateway_time = member.time()?,
            // Its place before release 3.22.
            "coding_rate" => {
                let coding_rate = member.text()?;
                if metadata.coding_rate.is_empty() {
                    metadata.coding_rate = coding_rate;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.0.extra)
    }
}

struct DataRate<'a>(&'a mut Metadata);

impl<'de> Members<'de, V3> for DataRate<'_> {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        let modulation = match member.name() {
            "lora" => "LORA",
            "fsk" => "FSK",
            "lrfhss" => "LR_FHSS",
            _ => return Ok(false),
        };
        let Self(metadata) = self;
        let mut rate = ModulationParameters::default();
        if metadata.coding_rate.is_empty() {
            rate.coding_rate = mem::take(&mut metadata.coding_rate);
        }
        if !member.object_into(&mut rate)? {
            return Ok(true);
        }
        metadata.modulation = Cow::Borrowed(modulation);
        match modulation {
            "LORA" => match (rate.spreading_factor, rate.bandwidth) {
                (Some(spreading_factor), Some(hertz)) => {
                    write_lora_data_rate(&mut metadata.data_rate, spreading_factor, hertz);
                }
                (spreading_factor, hertz) => {
                    rate.keep("spreading_factor", spreading_factor);
                    rate.keep("bandwidth", hertz);
                }
            },
            "LR_FHSS" => match (rate.modulation_type, rate.operating_channel_width) {
                (Some(modulation_type), Some(hertz)) => {
                    metadata.data_rate = format!("M{modulation_type}CW{}", hertz / 1000);
                }
                (modulation_type, hertz) => {
                    let sent = modulation_type.filter(|number| *number != 0);
                    rate.keep("modulation_type", sent);
                    rate.keep("operating_channel_width", hertz);
                }
            },
            _ => metadata.bit_rate = rate.bit_rate,
        }
        if !rate.coding_rate.is_empty() {
            metadata.coding_rate = rate.coding_rate;
        }
        metadata.extra.append(&mut rate.extra);
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.0.extra)
    }
}

/// Formats a LoRa data rate. A bandwidth in fractions of a kilohertz keeps them, as in `SF8BW62.5`.
fn write_lora_data_rate(data_rate: &mut String, spreading_factor: u32, hertz: u32) {
    // To format those that nearly all devices use would take far more instructions.
    const USUAL: [&str; 6] = [
        "SF7BW125",
        "SF8BW125",
        "SF9BW125",
        "SF10BW125",
        "SF11BW125",
        "SF12BW125",
    ];
    if let (7..=12, 125_000) = (spreading_factor, hertz) {
        return USUAL[spreading_factor as usize - 7].clone_into(data_rate);
    }
    data_rate.clear();
    let written = match hertz % 1000 {
        0 => write!(data_rate, "SF{spreading_factor}BW{}", hertz / 1000),
        _ => write!(
            data_rate,
            "SF{spreading_factor}BW{}",
            f64::from(hertz) / 1e3
        ),
    };
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

/// The members of all three modulations together. `None` is one that is 0, left out or not readable,
/// except the modulation type, which may be 0.
struct ModulationParameters {
    bandwidth: Option<u32>,
    spreading_factor: Option<u32>,
    coding_rate: String,
    bit_rate: Option<u32>,
    modulation_type: Option<u32>,
    operating_channel_width: Option<u32>,
    extra: Map<String, Value>,
}

impl Default for ModulationParameters {
    fn default() -> Self {
        Self {
            bandwidth: None,
            spreading_factor: None,
            coding_rate: String::new(),
            bit_rate: None,
            modulation_type: Some(0),
            operating_channel_width: None,
            extra: Map::new(),
        }
    }
}

impl ModulationParameters {
    /// Keeps a number that is not enough for a data rate.
    fn keep(&mut self, name: &str, number: Option<u32>) {
        if let Some(number) = number {
            self.extra.insert(name.to_owned(), number.into());
        }
    }
}

impl<'de> Members<'de, V3> for ModulationParameters {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        let number = match member.name() {
            "bandwidth" => &mut self.bandwidth,
            "spreading_factor" => &mut self.spreading_factor,
            "bit_rate" => &mut self.bit_rate,
            "operating_channel_width" => &mut self.operating_channel_width,
            "modulation_type" => {
                self.modulation_type = member.integer_or_zero()?;
                return Ok(true);
            }
            "coding_rate" => {
                member.text_into(&mut self.coding_rate)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        *number = member.integer()?.filter(|number| *number != 0);
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.extra)
    }
}

impl<'de> Members<'de, V3> for Gateway {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "gateway_ids" => {
                let mut ids = GatewayIds {
                    gateway_id: mem::take(&mut self.gtw_id),
                    eui: mem::take(&mut self.eui),
                };
                ids.clear();
                member.object_into(&mut ids)?;
                (self.gtw_id, self.eui) = (ids.gateway_id, ids.eui);
            }
            "packet_broker" => self.packet_broker = member.part()?.map(Box::new),
            "relay" => self.relay = member.part()?,
            "antenna_index" => self.antenna = member.integer()?.unwrap_or_default(),
            "channel_index" => self.channel = member.integer()?.unwrap_or_default(),
            "time" => self.time = member.time()?,
            "gps_time" => self.gps_time = member.time()?,
            "received_at" => self.received_at = member.time()?,
            "timestamp" => self.timestamp = member.integer()?,
            "fine_timestamp" => self.fine_timestamp = member.integer()?,
            "encrypted_fine_timestamp" => self.encrypted_fine_timestamp = member.bytes()?,
            "encrypted_fine_timestamp_key_id" => {
                self.encrypted_fine_timestamp_key_id = member.text()?;
            }
            "rssi" => self.rssi = member.float()?,
            "channel_rssi" => self.channel_rssi = member.float()?,
            "signal_rssi" => self.signal_rssi = member.float()?,
            "rssi_standard_deviation" => self.rssi_standard_deviation = member.float()?,
            "snr" => self.snr = member.float()?,
            "frequency_offset" => self.frequency_offset = member.integer()?,
            "frequency_drift" => self.frequency_drift = member.integer()?,
            "hopping_width" => self.hopping_width = member.integer()?,
            "location" => self.location = LocationMembers::read(member)?,
            "downlink_path_constraint" => {
                const CONSTRAINTS: [(i64, &str); 3] =
                    [(0, "NONE"), (1, "PREFER_OTHER"), (2, "NEVER")];
                let constraint = member.enum_name("DOWNLINK_PATH_CONSTRAINT_", &CONSTRAINTS)?;
                self.downlink_path_constraint = constraint.into_owned();
            }
            "uplink_token" => member.text_into(&mut self.uplink_token)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.extra)
    }
}

impl<'de> Members<'de, V3> for PacketBroker {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "message_id" => self.message_id = member.text()?,
            "forwarder_net_id" => self.forwarder_net_id = member.hex::<6>()?,
            "forwarder_tenant_id" => self.forwarder_tenant_id = member.text()?,
            "forwarder_cluster_id" => self.forwarder_cluster_id = member.text()?,
            "forwarder_gateway_eui" => self.forwarder_gateway_eui = member.hex::<16>()?,
            "forwarder_gateway_id" => self.forwarder_gateway_id = member.text()?,
            "home_network_net_id" => self.home_network_net_id = member.hex::<6>()?,
            "home_network_tenant_id" => self.home_network_tenant_id = member.text()?,
            "home_network_cluster_id" => self.home_network_cluster_id = member.text()?,
            "hops" => self.hops = member.values()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'de> Members<'de, V3> for Relay {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "device_id" => self.device_id = member.text()?,
            "wor_channel" => {
                const CHANNELS: [(i64, &str); 2] = [(0, "DEFAULT"), (1, "SECONDARY")];
                let channel = member.enum_name("RELAY_WOR_CHANNEL_", &CHANNELS)?;
                self.wor_channel = channel.into_owned();
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'de> Members<'de, V3> for Battery {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "f_cnt" => self.counter = member.integer()?.unwrap_or_default(),
            "value" => self.percentage = member.float()?,
            "received_at" => self.received_at = member.time()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
