//! Uplink messages.

use std::time::{Duration, SystemTime};

use fastrand::Rng;
use serde_json::Value;

use super::{
    bodies::location,
    ids::split,
    text::{duration, free, random_bytes, strings, time, ulid},
};
use crate::simulator::{
    json::{self, Object},
    lorawan::{self, Gateway, Modulation, Uplink},
};

/// An uplink that the servers received.
pub(crate) struct Reception<'a> {
    pub(crate) uid: &'a str,
    pub(crate) session_key_id: &'a [u8],
    pub(crate) uplink: &'a Uplink,
    pub(crate) counter: u32,
    pub(crate) decoded: Option<&'a Value>,
    pub(crate) time: SystemTime,
    /// Hz.
    pub(crate) frequency: u32,
    pub(crate) channel: u32,
    /// The uptime of the network's own gateways; `None` if none of them heard it.
    pub(crate) uptime: Option<Duration>,
    pub(crate) rx_metadata: Vec<String>,
    /// As JSON text.
    pub(crate) locations: Option<String>,
    /// As JSON text.
    pub(crate) battery: Option<String>,
}

impl Reception<'_> {
    /// Returns the body `uplink_message`.
    pub(crate) fn message(&self) -> String {
        self.body(|object| {
            let warnings = strings(&self.uplink.warnings);
            object
                .option("decoded_payload", self.decoded.map(free))
                .list("decoded_payload_warnings", warnings)
                .list(
                    "normalized_payload",
                    self.uplink.normalized.iter().map(free),
                )
        })
        .option("last_battery_percentage", self.battery.clone())
        .option("attributes", json::attributes(&self.uplink.attributes))
        .finish()
    }

    /// Returns the body `uplink_normalized` of a measurement.
    pub(crate) fn normalized(&self, measurement: &Value) -> String {
        self.body(|object| object.member("normalized_payload", free(measurement)))
            .option("attributes", json::attributes(&self.uplink.attributes))
            .finish()
    }

    fn body(&self, payload: impl FnOnce(Object) -> Object) -> Object {
        let uplink = self.uplink;
        // The Network Server does not pass on MAC commands.
        let bytes = if uplink.port == 0 {
            &[]
        } else {
            &uplink.payload[..]
        };
        let object = Object::new()
            .bytes("session_key_id", self.session_key_id)
            .integer("f_port", uplink.port)
            .integer("f_cnt", self.counter)
            .bytes("frm_payload", bytes);
        let length = lorawan::uplink_length(&uplink.payload);
        let airtime = uplink.modulation.airtime(length);
        let airtime = (!airtime.is_zero()).then(|| json::string(&duration(airtime)));
        payload(object)
            .list("rx_metadata", self.rx_metadata.iter().cloned())
            .member("settings", self.settings())
            .member("received_at", time(self.time))
            .flag("confirmed", uplink.confirmed)
            .option("consumed_airtime", airtime)
            .option("locations", self.locations.clone())
            .member("network_ids", network_ids(self.uid))
    }

    fn settings(&self) -> String {
        let (name, rate) = match &self.uplink.modulation {
            Modulation::Lora(data_rate) => {
                let (spreading, bandwidth) = lorawan::lora_parts(data_rate).unwrap_or_default();
                let rate = Object::new()
                    .integer("bandwidth", bandwidth.saturating_mul(1000) as u32)
                    .integer("spreading_factor", spreading as u32)
                    .string("coding_rate", "4/5");
                ("lora", rate)
            }
            Modulation::Fsk => {
                let bit_rate = self.uplink.modulation.bit_rate();
                ("fsk", Object::new().integer("bit_rate", bit_rate))
            }
            Modulation::LrFhss => {
                let rate = Object::new()
                    .integer("operating_channel_width", 137_000)
                    .string("coding_rate", "1/3");
                ("lrfhss", rate)
            }
        };
        let rate = Object::new().member(name, rate.finish());
        Object::new()
            .member("data_rate", rate.finish())
            .string("frequency", &self.frequency.to_string())
            .integer("timestamp", self.clock())
            .option("time", self.uptime.map(|_| time(self.time)))
            .finish()
    }

    /// Returns the gateways' clock in microseconds, 0 only if none of them heard it.
    fn clock(&self) -> u32 {
        let clock = |uptime: Duration| (uptime.as_micros() as u32).max(1);
        self.uptime.map_or(0, clock)
    }

    /// Returns the entry in `rx_metadata` of a gateway of this network.
    pub(crate) fn gateway(&self, gateway: &Gateway, random: &mut Rng) -> String {
        let eui = gateway.id.trim_start_matches("eui-").to_ascii_uppercase();
        let ids = Object::new()
            .string("gateway_id", &gateway.id)
            .string("eui", &eui);
        let heard = Object::new()
            .member("gateway_ids", ids.finish())
            .option("time", gateway.has_clock.then(|| time(self.time)))
            .integer("timestamp", self.clock());
        self.signal(heard, gateway, random)
    }

    /// Returns the entry of a gateway of another network, which contains less.
    pub(crate) fn foreign_gateway(&self, gateway: &Gateway, random: &mut Rng) -> String {
        let ids = Object::new().string("gateway_id", "packetbroker");
        let tenant = split(self.uid).1.unwrap_or_default();
        let broker = Object::new()
            .string("message_id", &ulid(self.time, random))
            .string("forwarder_net_id", "000013")
            .string("forwarder_tenant_id", "neighbour")
            .string("forwarder_cluster_id", "eu2.cloud.thethings.industries")
            .string("forwarder_gateway_eui", "B827EBFFFE8F1234")
            .string("forwarder_gateway_id", "north-gw")
            .string("home_network_net_id", "000013")
            .string("home_network_tenant_id", tenant)
            .string("home_network_cluster_id", "eu1.cloud.thethings.network");
        let heard = Object::new()
            .member("gateway_ids", ids.finish())
            .member("packet_broker", broker.finish())
            .member("time", time(self.time));
        self.signal(heard, gateway, random)
    }

    fn signal(&self, object: Object, gateway: &Gateway, random: &mut Rng) -> String {
        let hopping = self.uplink.modulation == Modulation::LrFhss;
        let lora = matches!(self.uplink.modulation, Modulation::Lora(_));
        let object = object
            .float("rssi", gateway.rssi)
            .float("channel_rssi", gateway.rssi)
            .float("snr", if lora { gateway.snr } else { 0.0 })
            .string("frequency_offset", if hopping { "871" } else { "" })
            .option(
                "location",
                gateway.location.map(|at| location(at, "SOURCE_REGISTRY")),
            )
            .bytes("uplink_token", &random_bytes::<48>(random))
            .integer("channel_index", self.channel);
        let object = if hopping {
            object
                .integer("hopping_width", 35)
                .integer("frequency_drift", -12)
        } else {
            object
        };
        object.member("received_at", time(self.time)).finish()
    }
}

/// Returns the gateway of an uplink simulated from the Console.
pub(crate) fn test_gateway() -> String {
    let ids = Object::new().string("gateway_id", "test");
    Object::new()
        .member("gateway_ids", ids.finish())
        .integer("rssi", 42)
        .integer("channel_rssi", 42)
        .float("snr", 4.2)
        .finish()
}

/// Returns the network that heard it; an open source deployment has no tenants.
fn network_ids(uid: &str) -> String {
    let Some(tenant) = split(uid).1 else {
        return Object::new().string("net_id", "000000").finish();
    };
    let public = tenant == "ttn";
    let domain = if public { "network" } else { "industries" };
    let cluster = format!("eu1.cloud.thethings.{domain}");
    let tenant_address = (!public).then(|| json::string(&format!("{tenant}.{cluster}")));
    Object::new()
        .string("net_id", "000013")
        .string("ns_id", "EC656E0000000181")
        .string("tenant_id", tenant)
        .string("cluster_id", "eu1")
        .string("cluster_address", &cluster)
        .option("tenant_address", tenant_address)
        .finish()
}
