//! Parts that occur in messages of several kinds.

use std::{borrow::Cow, time::Duration};

use serde::de::MapAccess;
use serde_json::{Map, Value};

use super::{
    super::json::{Members, Text, bytes, float, ignore, integer, text},
    V3,
};
use crate::message::{KeyEnvelope, Location, NetworkIds, VersionIds};

/// Reads a duration such as `0.056576s`. Any other text goes to `extra`.
pub(super) fn duration<'de, A: MapAccess<'de>>(
    extra: &mut Map<String, Value>,
    name: &str,
    map: &mut A,
) -> Result<Option<Duration>, A::Error> {
    let Text(text) = map.next_value()?;
    if text.is_empty() {
        return Ok(None);
    }
    let duration = parse_duration(&text);
    if duration.is_none() {
        extra.insert(name.to_owned(), text.into());
    }
    Ok(duration)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (seconds, fraction) = {
        let number = text.strip_suffix('s')?;
        number.split_once('.').unwrap_or((number, "0"))
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let unit = 10_u32.pow(9 - fraction.len() as u32);
    let nanoseconds = fraction.parse::<u32>().ok()? * unit;
    Some(Duration::new(seconds.parse().ok()?, nanoseconds))
}

/// Reads the value of an enum, a name or a number, and returns its name without the prefix. Returns
/// an empty name for the first value, which servers leave out, and keeps an unknown name.
pub(super) fn enum_name<'de, A: MapAccess<'de>>(
    prefix: &str,
    names: &[(i64, &'static str)],
    map: &mut A,
) -> Result<Cow<'static, str>, A::Error> {
    let Text(text) = map.next_value()?;
    let name = text.strip_prefix(prefix).unwrap_or(&text);
    let number = text.parse::<i64>().ok();
    let found = names.iter().position(|(known_number, known_name)| {
        Some(*known_number) == number || known_name.eq_ignore_ascii_case(name)
    });
    Ok(match found {
        Some(0) => Cow::Borrowed(""),
        Some(index) => Cow::Borrowed(names[index].1),
        None => Cow::Owned(name.to_owned()),
    })
}

#[derive(Default)]
pub(super) struct GatewayIds {
    pub(super) gateway_id: String,
    pub(super) eui: String,
}

impl<'de> Members<'de, V3> for GatewayIds {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "gateway_id" => self.gateway_id = text(map)?,
            "eui" => self.eui = text(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de, V3> for Location {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        const SOURCES: [(i64, &str); 9] = [
            (0, "unknown"),
            (1, "gps"),
            (3, "registry"),
            (4, "ip_geolocation"),
            (5, "wifi_rssi_geolocation"),
            (6, "bt_rssi_geolocation"),
            (7, "lora_rssi_geolocation"),
            (8, "lora_tdoa_geolocation"),
            (9, "combined_geolocation"),
        ];
        match name {
            "latitude" => self.latitude = float(map)?.unwrap_or_default(),
            "longitude" => self.longitude = float(map)?.unwrap_or_default(),
            "altitude" => self.altitude = integer(map)?.unwrap_or_default(),
            "accuracy" => self.accuracy = integer(map)?,
            "source" => {
                self.source = enum_name("SOURCE_", &SOURCES, map)?;
                if let Cow::Owned(unknown) = &mut self.source {
                    unknown.make_ascii_lowercase();
                }
            }
            _ => ignore(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de, V3> for KeyEnvelope {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "key" => self.key = text(map)?,
            "kek_label" => self.kek_label = text(map)?,
            "encrypted_key" => self.encrypted_key = bytes(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de, V3> for VersionIds {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let id = match name {
            "brand_id" => &mut self.brand_id,
            "model_id" => &mut self.model_id,
            "hardware_version" => &mut self.hardware_version,
            "firmware_version" => &mut self.firmware_version,
            "band_id" => &mut self.band_id,
            _ => return ignore(map),
        };
        *id = text(map)?;
        Ok(())
    }
}

impl<'de> Members<'de, V3> for NetworkIds {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let id = match name {
            "net_id" => &mut self.net_id,
            "ns_id" => &mut self.ns_id,
            "tenant_id" => &mut self.tenant_id,
            "cluster_id" => &mut self.cluster_id,
            "cluster_address" => &mut self.cluster_address,
            "tenant_address" => &mut self.tenant_address,
            _ => return ignore(map),
        };
        *id = text(map)?;
        Ok(())
    }
}
