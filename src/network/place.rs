//! The members of a location, which only together are one.

use std::borrow::Cow;

use super::json::{Left, Raw};
use crate::message::Location;

/// How a network names the members of a location, and reads its source.
pub(super) struct Form {
    pub(super) latitude: &'static str,
    pub(super) longitude: &'static str,
    pub(super) altitude: &'static str,
    pub(super) accuracy: &'static str,
    pub(super) source: &'static str,
    pub(super) read_source: for<'de> fn(Raw<'de>) -> Result<Cow<'static, str>, Raw<'de>>,
}

/// The members of a location as they were sent.
#[derive(Clone, Default)]
pub(super) struct Place<'de> {
    pub(super) latitude: Option<Raw<'de>>,
    pub(super) longitude: Option<Raw<'de>>,
    pub(super) altitude: Option<Raw<'de>>,
    pub(super) accuracy: Option<Raw<'de>>,
    pub(super) source: Option<Raw<'de>>,
}

impl Place<'_> {
    /// Returns the location. There is none if a coordinate is `null` or cannot be read, or if both were
    /// left out; then all members are kept. A single coordinate that was left out is 0.
    pub(super) fn take_location(&mut self, form: &Form, left: &mut Left) -> Option<Location> {
        let number = |coordinate: &Option<Raw<'_>>| match coordinate {
            None => Some(0.0),
            Some(raw) => raw.as_float(),
        };
        let (latitude, longitude) = (number(&self.latitude), number(&self.longitude));
        let is_sent = self.latitude.is_some() || self.longitude.is_some();
        let (Some(latitude), Some(longitude), true) = (latitude, longitude, is_sent) else {
            std::mem::take(self).keep(form, left);
            return None;
        };
        let altitude = read(&mut self.altitude, form.altitude, Raw::integer, left);
        let accuracy = read(&mut self.accuracy, form.accuracy, Raw::integer, left);
        Some(Location {
            latitude,
            longitude,
            altitude: altitude.unwrap_or_default(),
            accuracy,
            source: read(&mut self.source, form.source, form.read_source, left),
        })
    }

    #[cold]
    fn keep(self, form: &Form, left: &mut Left) {
        let is_sent =
            |member: &Option<Raw<'_>>| member.as_ref().is_some_and(|raw| !raw.is_nothing());
        // Without the other coordinate, `null` is the same as a location that was left out.
        let is_half = is_sent(&self.latitude) || is_sent(&self.longitude);
        let is_odd = |raw: &Raw<'_>| raw.as_float().is_none() && (is_half || !raw.is_nothing());
        for (name, coordinate) in [
            (form.latitude, self.latitude),
            (form.longitude, self.longitude),
        ] {
            match coordinate {
                Some(raw) if is_odd(&raw) => left.add(name, raw.into_value()),
                other => keep(other, name, left),
            }
        }
        for (name, number, is_readable) in [
            (
                form.altitude,
                self.altitude,
                (|raw| raw.integer::<i32>().is_ok()) as fn(Raw<'_>) -> bool,
            ),
            (form.accuracy, self.accuracy, |raw| {
                raw.integer::<u32>().is_ok()
            }),
            (form.source, self.source, |raw| raw.name().is_ok()),
        ] {
            match number {
                Some(raw) if !is_readable(raw.clone()) => left.add(name, raw.into_value()),
                other => keep(other, name, left),
            }
        }
    }
}

fn keep(member: Option<Raw<'_>>, name: &str, left: &mut Left) {
    if let Some(raw) = member.filter(|raw| !raw.is_nothing()) {
        left.keep(name, raw.into_value());
    }
}

fn read<'de, T: Default>(
    member: &mut Option<Raw<'de>>,
    name: &str,
    convert: impl FnOnce(Raw<'de>) -> Result<T, Raw<'de>>,
    left: &mut Left,
) -> T {
    let Some(raw) = member.take() else {
        return T::default();
    };
    convert(raw).unwrap_or_else(|odd| {
        left.add(name, odd.into_value());
        T::default()
    })
}
