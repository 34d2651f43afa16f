//! What messages say about the radio: the member `metadata`.

use std::time::{Duration, SystemTime};

use super::time::{time, whole_micros};
use crate::simulator::{
    json::{self, Object},
    lorawan::{self, Gateway, Location, Uplink},
};

/// A frame that gateways heard.
pub(super) struct Frame<'a> {
    pub(super) uplink: &'a Uplink,
    pub(super) time: SystemTime,
    /// Bytes on air.
    pub(super) length: usize,
    /// Hz.
    pub(super) frequency: u32,
    pub(super) gateways: &'a [Gateway],
    /// How long the gateways have been running.
    pub(super) uptime: Duration,
}

impl Frame<'_> {
    /// Returns the member `metadata` of an uplink; `device` is the registered location.
    pub(super) fn metadata(&self, device: Option<Location>) -> String {
        self.metadata_with(device, |gateway| gateway.clone())
    }

    /// Returns the member `metadata` of an activation, in which nobody adds to the gateways what the
    /// network knows about them.
    pub(super) fn activation_metadata(&self, device: Option<Location>) -> String {
        self.metadata_with(device, |gateway| {
            let states_location = gateway.source_of_location() != lorawan::REGISTRY;
            Gateway {
                trusted: false,
                location: gateway.location.filter(|_| states_location),
                ..gateway.clone()
            }
        })
    }

    /// `known` is what the message says about a gateway.
    fn metadata_with(
        &self,
        device: Option<Location>,
        known: impl Fn(&Gateway) -> Gateway,
    ) -> String {
        let modulation = &self.uplink.modulation;
        let airtime = self.uplink.airtime(self.length).as_nanos() as i64;
        let gateways = self.gateways.iter();
        let object = Object::new()
            .member("time", json::string(&time(self.time)))
            .float("frequency", (f64::from(self.frequency) / 1e6) as f32)
            .string("modulation", modulation.name())
            .string("data_rate", modulation.data_rate())
            .integer("bit_rate", modulation.bit_rate())
            .integer("airtime", airtime)
            .string("coding_rate", self.uplink.reported_coding_rate())
            .list(
                "gateways",
                gateways.map(|heard| self.gateway(&known(heard))),
            );
        located(object, device).finish()
    }

    fn gateway(&self, gateway: &Gateway) -> String {
        let has_clock = gateway.has_clock || gateway.has_gps;
        let claimed = has_clock.then(|| whole_micros(gateway.time.unwrap_or(self.time)));
        let claimed = claimed.map_or_else(String::new, time);
        let timestamp = self.uptime.as_micros() as u32;
        let encrypted = gateway.encrypted.as_ref();
        let channel = lorawan::channel_index(self.frequency);
        let object = Object::new()
            .string("gtw_id", &gateway.id)
            .flag("gtw_trusted", gateway.trusted)
            .integer("timestamp", timestamp.max(1));
        // A 64-bit number without a sign.
        let object = match gateway.fine_timestamp {
            0 => object,
            nanoseconds => object.member("fine_timestamp", nanoseconds),
        };
        let object = object
            .bytes(
                "fine_timestamp_encrypted",
                encrypted.map_or(&[], |(timestamp, _)| timestamp),
            )
            .member("time", json::string(&claimed))
            .integer("antenna", gateway.antenna)
            .member("channel", gateway.channel.unwrap_or(channel))
            .member("rssi", json::float32(gateway.rssi))
            .member("snr", json::float32(gateway.snr))
            .member("rf_chain", 1);
        let Some(location) = gateway.location else {
            return object.finish();
        };
        placed(object, location)
            .integer("location_accuracy", gateway.location_accuracy)
            .string("location_source", gateway.source_of_location())
            .finish()
    }
}

/// Returns the metadata of an uplink simulated from the console.
pub(super) fn simulated_metadata(at: SystemTime, device: Option<Location>) -> String {
    let object = Object::new().member("time", json::string(&time(at)));
    placed(object, device.unwrap_or_default()).finish()
}

fn located(object: Object, location: Option<Location>) -> Object {
    match location {
        None => object,
        Some(location) => placed(object, location).string("location_source", lorawan::REGISTRY),
    }
}

/// Adds the coordinates that are not 0.
pub(super) fn placed(object: Object, location: Location) -> Object {
    object
        .float("latitude", location.latitude)
        .float("longitude", location.longitude)
        .integer("altitude", location.altitude)
}
