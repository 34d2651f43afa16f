//! Parts that occur in messages of several kinds.

use std::{borrow::Cow, time::Duration};

use serde::de::MapAccess;
use serde_json::{Map, Value};

use super::{
    super::{
        json::{Left, Member, Members, Raw, fraction},
        place::{Form, Place},
    },
    V3,
};
use crate::message::{KeyEnvelope, Location, NetworkIds, VersionIds};

/// Reads a duration such as `0.056576s`; `None` for `null` and empty text.
pub(super) fn duration(raw: Raw<'_>) -> Result<Option<Duration>, Raw<'_>> {
    if raw.is_nothing() {
        return Ok(None);
    }
    let duration = match &raw {
        Raw::Text(text) => parse_duration(text),
        _ => None,
    };
    duration.map(Some).ok_or(raw)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let point = number.bytes().position(|byte| byte == b'.');
    let (seconds, fraction_of) = number.split_at(point.unwrap_or(number.len()));
    let nanoseconds = match fraction_of.as_bytes() {
        [] => 0,
        [_, digits @ ..] => match fraction(digits)? {
            (nanoseconds, []) if digits.len() <= 9 => nanoseconds,
            _ => return None,
        },
    };
    let is_signed = !seconds.starts_with(|first: char| first.is_ascii_digit());
    let seconds = seconds.parse().ok().filter(|_| !is_signed)?;
    Some(Duration::new(seconds, nanoseconds))
}

#[derive(Default)]
pub(super) struct GatewayIds {
    pub(super) gateway_id: String,
    pub(super) eui: String,
}

impl GatewayIds {
    pub(super) fn clear(&mut self) {
        self.gateway_id.clear();
        self.eui.clear();
    }
}

impl<'de> Members<'de, V3> for GatewayIds {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "gateway_id" => member.text_into(&mut self.gateway_id)?,
            "eui" => member.hex_into::<16>(&mut self.eui)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Reads a location.
#[derive(Default)]
pub(super) struct LocationMembers<'de> {
    place: Place<'de>,
    location: Option<Location>,
}

impl<'de> LocationMembers<'de> {
    pub(super) fn read<A: MapAccess<'de>>(
        member: &mut Member<'_, A>,
    ) -> Result<Option<Location>, A::Error> {
        Ok(member.object::<V3, Self>()?.location)
    }
}

impl<'de> Members<'de, V3> for LocationMembers<'de> {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        let part = match member.name() {
            "latitude" => &mut self.place.latitude,
            "longitude" => &mut self.place.longitude,
            "altitude" => &mut self.place.altitude,
            "accuracy" => &mut self.place.accuracy,
            "source" => &mut self.place.source,
            _ => return Ok(false),
        };
        *part = Some(member.raw()?);
        Ok(true)
    }

    fn end(&mut self, left: &mut Left) {
        const FORM: Form = Form {
            latitude: "latitude",
            longitude: "longitude",
            altitude: "altitude",
            accuracy: "accuracy",
            source: "source",
            read_source,
        };
        self.location = self.place.take_location(&FORM, left);
    }
}

fn read_source(raw: Raw<'_>) -> Result<Cow<'static, str>, Raw<'_>> {
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
    let mut source = raw.enum_name("SOURCE_", &SOURCES)?;
    if let Cow::Owned(unknown) = &mut source {
        unknown.make_ascii_lowercase();
    }
    Ok(source)
}

/// Reads the key that encrypts a payload. One that cannot be read is a key too, and is not kept with the
/// message, whose `extra` is shown.
pub(super) fn app_s_key<'de, A: MapAccess<'de>>(
    member: &mut Member<'_, A>,
) -> Result<Option<KeyEnvelope>, A::Error> {
    let name = member.name().to_owned();
    member.part_or(|odd| KeyEnvelope {
        extra: Map::from_iter([(name, odd)]),
        ..KeyEnvelope::default()
    })
}

impl<'de> Members<'de, V3> for KeyEnvelope {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "key" => {
                self.key = member.text()?;
                if is_hex(&self.key) {
                    self.key.make_ascii_uppercase();
                }
            }
            "kek_label" => self.kek_label = member.text()?,
            "encrypted_key" => self.encrypted_key = member.bytes()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.extra)
    }
}

impl<'de> Members<'de, V3> for VersionIds {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        let id = match member.name() {
            "brand_id" => &mut self.brand_id,
            "model_id" => &mut self.model_id,
            "hardware_version" => &mut self.hardware_version,
            "firmware_version" => &mut self.firmware_version,
            "band_id" => &mut self.band_id,
            _ => return Ok(false),
        };
        member.text_into(id)?;
        Ok(true)
    }
}

fn is_hex(key: &str) -> bool {
    key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl<'de> Members<'de, V3> for NetworkIds {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "net_id" => member.hex_into::<6>(&mut self.net_id)?,
            "ns_id" => member.hex_into::<16>(&mut self.ns_id)?,
            "tenant_id" => member.text_into(&mut self.tenant_id)?,
            "cluster_id" => member.text_into(&mut self.cluster_id)?,
            "cluster_address" => member.text_into(&mut self.cluster_address)?,
            "tenant_address" => member.text_into(&mut self.tenant_address)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
