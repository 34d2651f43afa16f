//! Uplink messages.

use std::time::{Duration, SystemTime};

use fastrand::Rng;
use serde_json::Value;

use super::{
    bodies::location,
    ids::split,
    schema,
    text::{duration, free, random_bytes, strings, time, ulid},
};
use crate::simulator::{
    json::{self, Object},
    lorawan::{self, DownlinkConstraint, Gateway, Modulation, Uplink},
    v3::formatters::Formatted,
};

/// How long the Gateway Server takes to pass an uplink on.
const FORWARDING: Duration = Duration::from_millis(1);

/// An uplink that the servers received.
pub(crate) struct Reception<'a> {
    pub(crate) uid: &'a str,
    pub(crate) session_key_id: &'a [u8],
    pub(crate) uplink: &'a Uplink,
    pub(crate) counter: u32,
    pub(crate) formatted: &'a Formatted,
    pub(crate) time: SystemTime,
    /// Hz.
    pub(crate) frequency: u32,
    /// The uptime of the network's own gateways.
    pub(crate) uptime: Duration,
    /// The network's own gateways that heard it.
    pub(crate) heard: &'a [Gateway],
    pub(crate) rx_metadata: Vec<String>,
    /// How many bytes of MAC commands it carries.
    pub(crate) options: usize,
    /// The wrapped key of an application that keeps its keys, as JSON text.
    pub(crate) own_key: Option<String>,
    /// The last counter of a downlink of such an application.
    pub(crate) last_downlink: u32,
    /// As JSON text.
    pub(crate) locations: Option<String>,
    /// As JSON text.
    pub(crate) battery: Option<String>,
    pub(crate) prints_attributes: bool,
}

impl Reception<'_> {
    /// Returns the body `uplink_message`.
    pub(crate) fn message(&self) -> String {
        self.body(|object| {
            let formatted = self.formatted;
            object
                .option("decoded_payload", formatted.fields.as_ref().map(free))
                .list("decoded_payload_warnings", strings(&formatted.warnings))
                .list("normalized_payload", formatted.normalized.iter().map(free))
                .list(
                    "normalized_payload_warnings",
                    strings(&formatted.normalized_warnings),
                )
        })
        .option("locations", self.locations.clone())
        .option(
            "version_ids",
            self.uplink
                .version_ids
                .as_ref()
                .and_then(schema::version_ids),
        )
        .member("network_ids", network_ids(self.uid))
        .option("last_battery_percentage", self.battery.clone())
        .option("attributes", self.attributes())
        .finish()
    }

    /// Returns the body `uplink_normalized` of a measurement.
    pub(crate) fn normalized(&self, measurement: &Value) -> String {
        self.body(|object| {
            let warnings = strings(&self.formatted.normalized_warnings);
            object
                .member("normalized_payload", free(measurement))
                .list("normalized_payload_warnings", warnings)
        })
        .member("network_ids", network_ids(self.uid))
        .option("attributes", self.attributes())
        .finish()
    }

    fn attributes(&self) -> Option<String> {
        json::attributes(&self.uplink.attributes).filter(|_| self.prints_attributes)
    }

    fn body(&self, payload: impl FnOnce(Object) -> Object) -> Object {
        let uplink = self.uplink;
        // The Network Server does not pass on MAC commands and what relays forward.
        let bytes = match uplink.port {
            0 | 226 => &[],
            _ => &uplink.payload[..],
        };
        let object = Object::new()
            .bytes("session_key_id", self.session_key_id)
            .integer("f_port", uplink.port)
            .integer("f_cnt", self.counter)
            .bytes("frm_payload", bytes);
        let length = uplink.length() + self.options;
        let airtime = uplink.airtime(length);
        let airtime = (!airtime.is_zero()).then(|| json::string(&duration(airtime)));
        payload(object)
            .list("rx_metadata", self.rx_metadata.iter().cloned())
            .member("settings", self.settings())
            .member("received_at", time(self.time))
            .option("app_s_key", self.own_key.clone())
            .integer("last_a_f_cnt_down", self.last_downlink)
            .flag("confirmed", uplink.confirmed)
            .option("consumed_airtime", airtime)
    }

    fn settings(&self) -> String {
        let (name, rate) = match &self.uplink.modulation {
            Modulation::Lora(data_rate) => {
                let (spreading, bandwidth) = lorawan::lora_parts(data_rate).unwrap_or_default();
                let rate = Object::new()
                    .integer("bandwidth", bandwidth.saturating_mul(1000) as u32)
                    .integer("spreading_factor", spreading as u32)
                    .string("coding_rate", self.uplink.reported_coding_rate());
                ("lora", rate)
            }
            Modulation::Fsk => {
                let bit_rate = self.uplink.modulation.bit_rate();
                ("fsk", Object::new().integer("bit_rate", bit_rate))
            }
            Modulation::LrFhss => {
                let rate = Object::new()
                    .integer("operating_channel_width", 137_000)
                    .string("coding_rate", self.uplink.reported_coding_rate());
                ("lrfhss", rate)
            }
        };
        let rate = Object::new().member(name, rate.finish());
        let first = self.heard.first();
        Object::new()
            .member("data_rate", rate.finish())
            .string("frequency", &self.frequency.to_string())
            .integer(
                "timestamp",
                first.map_or(0, |gateway| self.timestamp(gateway)),
            )
            .option(
                "time",
                first.and_then(|gateway| self.clock(gateway)).map(time),
            )
            .finish()
    }

    /// Returns when the gateway hears it.
    fn at(&self, gateway: &Gateway) -> SystemTime {
        self.time.checked_add(gateway.delay).unwrap_or(self.time)
    }

    /// Returns when the Gateway Server receives it from the gateway: just before the Network Server, and
    /// from each gateway at a time of its own.
    fn forwarded_at(&self, gateway: &Gateway) -> SystemTime {
        let index = self.heard.iter().position(|other| other.id == gateway.id);
        let apart = Duration::from_micros(index.unwrap_or_default().min(900) as u64);
        let at = self.at(gateway);
        at.checked_sub(FORWARDING - apart).unwrap_or(at)
    }

    /// Returns the uptime of the gateway in microseconds.
    fn timestamp(&self, gateway: &Gateway) -> u32 {
        ((self.uptime + gateway.delay).as_micros() as u32).max(1)
    }

    /// Returns what the clock of the gateway shows, if it has one.
    fn clock(&self, gateway: &Gateway) -> Option<SystemTime> {
        let unit = match gateway.has_gps {
            true => 1_000_000,
            false => 1_000,
        };
        let shown = gateway.time.unwrap_or_else(|| self.at(gateway));
        let since = shown.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default();
        let rest = Duration::from_nanos(u64::from(since.subsec_nanos() % unit));
        (gateway.has_clock || gateway.has_gps).then_some(SystemTime::UNIX_EPOCH + since - rest)
    }

    /// Returns the entry in `rx_metadata` of a gateway of this network.
    pub(crate) fn gateway(&self, gateway: &Gateway, random: &mut Rng) -> String {
        let ids = Object::new()
            .string("gateway_id", &gateway.id)
            .string("eui", &format!("{:016X}", gateway.eui));
        let clock = self.clock(gateway);
        let (encrypted, key_id) = gateway
            .encrypted
            .as_ref()
            .map_or((&[][..], ""), |fine| (&fine.0, &fine.1));
        let fine = Some(gateway.fine_timestamp).filter(|fine| *fine != 0);
        let heard = Object::new()
            .member("gateway_ids", ids.finish())
            .integer("antenna_index", gateway.antenna)
            .option("time", clock.map(time))
            .integer("timestamp", self.timestamp(gateway))
            .option(
                "fine_timestamp",
                fine.map(|fine| json::string(&fine.to_string())),
            )
            .bytes("encrypted_fine_timestamp", encrypted)
            .string("encrypted_fine_timestamp_key_id", key_id);
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
        let offset = match gateway.frequency_offset {
            0 if hopping => 871,
            offset => offset,
        };
        let offset = Some(offset).filter(|offset| *offset != 0);
        let constraint = gateway.constraint().map(|constraint| match constraint {
            DownlinkConstraint::PreferOther => "DOWNLINK_PATH_CONSTRAINT_PREFER_OTHER",
            DownlinkConstraint::Never => "DOWNLINK_PATH_CONSTRAINT_NEVER",
        });
        let first_antenna = gateway.antenna == 0;
        let place = gateway.location.filter(|_| first_antenna);
        let token = random_bytes::<48>(random);
        let gps_time = self.clock(gateway).filter(|_| gateway.has_gps);
        let channel = gateway
            .channel
            .unwrap_or_else(|| lorawan::channel_index(self.frequency));
        let object = object
            .float("rssi", gateway.rssi)
            .option("signal_rssi", gateway.signal_rssi.map(json::float32))
            .float("channel_rssi", gateway.rssi)
            .float("rssi_standard_deviation", gateway.rssi_deviation)
            .float("snr", if lora { gateway.snr } else { 0.0 })
            .option(
                "frequency_offset",
                offset.map(|offset| json::string(&offset.to_string())),
            )
            .option(
                "location",
                place.map(|at| location(at.into(), "SOURCE_REGISTRY")),
            )
            .string("downlink_path_constraint", constraint.unwrap_or_default())
            .bytes("uplink_token", if first_antenna { &token } else { &[] })
            .integer("channel_index", channel);
        let object = if hopping {
            object
                .integer("hopping_width", 35)
                .integer("frequency_drift", -12)
        } else {
            object
        };
        object
            .option("gps_time", gps_time.map(time))
            .member("received_at", time(self.forwarded_at(gateway)))
            .finish()
    }
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
