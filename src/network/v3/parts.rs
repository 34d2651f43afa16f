//! Parts that occur in messages of several kinds.

use std::time::Duration;

use serde::de::MapAccess;
use serde_json::{Map, Value};

use super::super::json::{
    Members, Nullable, Object, Scalar, bytes, float, ignore, integer, object_into, text,
};
use crate::message::{KeyEnvelope, Location, NetworkIds, VersionIds};

/// A part of the model as The Things Stack writes it.
#[derive(Default)]
pub(super) struct Wire<T>(pub(super) T);

/// A list of parts, without what is `null`.
pub(super) fn list<'de, T, A>(map: &mut A) -> Result<Vec<T>, A::Error>
where
    Wire<T>: Members<'de> + Default,
    A: MapAccess<'de>,
{
    let Nullable(list) = map.next_value::<Nullable<Vec<Option<Object<Wire<T>>>>>>()?;
    Ok(list
        .into_iter()
        .flatten()
        .map(|Object(Wire(part))| part)
        .collect())
}

pub(super) fn part<'de, T, A>(map: &mut A) -> Result<Option<T>, A::Error>
where
    Wire<T>: Members<'de> + Default,
    A: MapAccess<'de>,
{
    Ok(object_into(map, Wire::default())?.map(|Wire(part)| part))
}

/// A duration such as `0.056576s`; text that is none is kept among the members without a name of
/// their own.
pub(super) fn duration<'de, A: MapAccess<'de>>(
    extra: &mut Map<String, Value>,
    name: &str,
    map: &mut A,
) -> Result<Option<Duration>, A::Error> {
    let text = map.next_value::<Scalar<'_>>()?.text();
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
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(seconds.parse().ok()?, nanoseconds))
}

/// The name of an enum's value without its prefix, by name or by number; empty for the first, which
/// servers leave out.
pub(super) fn enum_name<'de, A: MapAccess<'de>>(
    prefix: &str,
    names: &[(i64, &str)],
    map: &mut A,
) -> Result<String, A::Error> {
    let text = map.next_value::<Scalar<'_>>()?.text();
    let name = match text.parse::<i64>() {
        Ok(number) => match names.iter().find(|(known, _)| *known == number) {
            Some((_, name)) => name,
            None => text.as_ref(),
        },
        Err(_) => text.strip_prefix(prefix).unwrap_or(&text),
    };
    let first = names.first().is_some_and(|(_, first)| *first == name);
    Ok(if first { "" } else { name }.to_owned())
}

#[derive(Default)]
pub(super) struct GatewayIds {
    pub(super) gateway_id: String,
    pub(super) eui: String,
}

impl<'de> Members<'de> for GatewayIds {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "gateway_id" => self.gateway_id = text(map)?,
            "eui" => self.eui = text(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<Location> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        const SOURCES: [(i64, &str); 9] = [
            (0, "UNKNOWN"),
            (1, "GPS"),
            (3, "REGISTRY"),
            (4, "IP_GEOLOCATION"),
            (5, "WIFI_RSSI_GEOLOCATION"),
            (6, "BT_RSSI_GEOLOCATION"),
            (7, "LORA_RSSI_GEOLOCATION"),
            (8, "LORA_TDOA_GEOLOCATION"),
            (9, "COMBINED_GEOLOCATION"),
        ];
        let Self(location) = self;
        match name {
            "latitude" => location.latitude = float(map)?.unwrap_or_default(),
            "longitude" => location.longitude = float(map)?.unwrap_or_default(),
            "altitude" => location.altitude = integer(map)?.unwrap_or_default(),
            "accuracy" => location.accuracy = integer(map)?,
            "source" => {
                location.source = enum_name("SOURCE_", &SOURCES, map)?;
                location.source.make_ascii_lowercase();
            }
            _ => ignore(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<KeyEnvelope> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "key" => self.0.key = text(map)?,
            "kek_label" => self.0.kek_label = text(map)?,
            "encrypted_key" => self.0.encrypted_key = bytes(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<VersionIds> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(ids) = self;
        let id = match name {
            "brand_id" => &mut ids.brand_id,
            "model_id" => &mut ids.model_id,
            "hardware_version" => &mut ids.hardware_version,
            "firmware_version" => &mut ids.firmware_version,
            "band_id" => &mut ids.band_id,
            _ => return ignore(map),
        };
        *id = text(map)?;
        Ok(())
    }
}

impl<'de> Members<'de> for Wire<NetworkIds> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Self(ids) = self;
        let id = match name {
            "net_id" => &mut ids.net_id,
            "ns_id" => &mut ids.ns_id,
            "tenant_id" => &mut ids.tenant_id,
            "cluster_id" => &mut ids.cluster_id,
            "cluster_address" => &mut ids.cluster_address,
            "tenant_address" => &mut ids.tenant_address,
            _ => return ignore(map),
        };
        *id = text(map)?;
        Ok(())
    }
}
