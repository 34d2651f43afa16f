//! Properties of every message, tested with random ones.

use std::{
    collections::BTreeMap,
    error::Error as _,
    fmt::Display,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use fastrand::Rng;
use serde_json::{Value, json};
use ttn::{Event, Network, UplinkMessage};

use crate::seeds::for_seeds;

#[test]
fn an_uplink_of_v2_is_read_alike_in_every_form() {
    for_seeds(4_000, |random| {
        let mut json = Object::new(random);
        let ids = json
            .random
            .bool()
            .then(|| (json.id("app_id"), json.id("dev_id")));
        let hardware_serial = json.hex("hardware_serial", 16);
        let port = json.number("port", 255);
        let counter = json.number("counter", u32::MAX.into());
        let confirmed = json.flag("confirmed");
        let is_retry = json.flag("is_retry");
        let payload_raw = json.bytes("payload_raw");
        let payload_fields = json.value("payload_fields");
        let unknown = json.value("unheard_of");
        let attributes = json.texts("attributes");
        let metadata = json.always("metadata", |json| {
            let gateways = json.list("gateways", V2Gateway::write);
            let radio = (
                json.time("time"),
                json.float("frequency"),
                json.text("modulation"),
                json.text("data_rate"),
                json.number("bit_rate", u32::MAX.into()),
                json.text("coding_rate"),
                json.number("airtime", u64::MAX),
            );
            (radio, gateways)
        });
        let json = json.finish();
        let uplink = uplink(Network::V2, "garden/devices/pump-1/up", &json);

        let (app_id, dev_id) = ids.unwrap_or(("garden".into(), "pump-1".into()));
        assert_eq!((&uplink.app_id, &uplink.dev_id), (&app_id, &dev_id));
        assert_eq!(uplink.hardware_serial, hardware_serial);
        assert_eq!(u64::from(uplink.port), port.unwrap_or(0));
        assert_eq!(u64::from(uplink.counter), counter.unwrap_or(0));
        assert_eq!((uplink.confirmed, uplink.is_retry), (confirmed, is_retry));
        assert_eq!(uplink.payload_raw, payload_raw);
        assert_eq!(uplink.payload_fields, payload_fields.unwrap_or_default());
        assert_eq!(uplink.extra.get("unheard_of"), unknown.as_ref());
        assert_eq!(uplink.attributes, attributes);
        let (radio, gateways) = metadata;
        let read = &uplink.metadata;
        let read_radio = (
            read.time,
            read.frequency,
            read.modulation.to_string(),
            read.data_rate.clone(),
            read.bit_rate.map(u64::from),
            read.coding_rate.clone(),
            read.airtime.map(|airtime| airtime.as_nanos() as u64),
        );
        assert_eq!(read_radio, radio);
        assert_eq!(read.gateways.len(), gateways.len());
        for (read, gateway) in read.gateways.iter().zip(&gateways) {
            gateway.check(read);
        }
    });
}

struct V2Gateway {
    gtw_id: String,
    gtw_trusted: bool,
    timestamp: Option<u64>,
    fine_timestamp: Option<u64>,
    time: Option<SystemTime>,
    antenna: Option<u64>,
    channel: Option<u64>,
    rssi: Option<f64>,
    snr: Option<f64>,
    rf_chain: Option<u64>,
}

impl V2Gateway {
    fn write(json: &mut Object) -> Self {
        Self {
            gtw_id: json.text("gtw_id"),
            gtw_trusted: json.flag("gtw_trusted"),
            timestamp: json.number("timestamp", u32::MAX.into()),
            fine_timestamp: json.number("fine_timestamp", u64::MAX),
            time: json.time("time"),
            antenna: json.number("antenna", u32::MAX.into()),
            channel: json.number("channel", u32::MAX.into()),
            rssi: json.float("rssi"),
            snr: json.float("snr"),
            rf_chain: json.number("rf_chain", u32::MAX.into()),
        }
    }

    fn check(&self, read: &ttn::Gateway) {
        assert_eq!(read.gtw_id, self.gtw_id);
        assert_eq!(read.gtw_trusted, self.gtw_trusted);
        assert_eq!(read.timestamp.map(u64::from), self.timestamp);
        assert_eq!(read.fine_timestamp, self.fine_timestamp);
        assert_eq!(read.time, self.time);
        assert_eq!(u64::from(read.antenna), self.antenna.unwrap_or(0));
        assert_eq!(u64::from(read.channel), self.channel.unwrap_or(0));
        assert_eq!((read.rssi, read.snr), (self.rssi, self.snr));
        assert_eq!(u64::from(read.rf_chain), self.rf_chain.unwrap_or(0));
    }
}

#[test]
fn an_uplink_of_v3_is_read_alike_in_every_form() {
    for_seeds(4_000, |random| {
        let mut json = Object::new(random);
        let ids = json.object("end_device_ids", |json| {
            let dev_id = json.id("device_id");
            let app_id = json.object("application_ids", |json| json.id("application_id"));
            let euis = [("dev_eui", 16), ("join_eui", 16), ("dev_addr", 8)]
                .map(|(name, digits)| json.hex(name, digits));
            (app_id, dev_id, euis)
        });
        let received_at = json.time("received_at");
        let correlation_ids = json.list_of_texts("correlation_ids");
        let simulated = json.flag("simulated");
        let unknown = json.value("unheard_of");
        let message = json.always("uplink_message", V3Uplink::write);
        let json = json.finish();
        let uplink = uplink(Network::V3, "v3/greenhouse@ttn/devices/bed-07/up", &json);

        let (app_id, dev_id, euis) =
            ids.unwrap_or_else(|| (None, "bed-07".into(), Default::default()));
        let app_id = app_id.unwrap_or_else(|| "greenhouse".into());
        assert_eq!((&uplink.app_id, &uplink.dev_id), (&app_id, &dev_id));
        let [dev_eui, join_eui, dev_addr] = euis;
        assert_eq!(uplink.hardware_serial, dev_eui);
        assert_eq!((&uplink.app_eui, &uplink.dev_addr), (&join_eui, &dev_addr));
        assert_eq!(uplink.received_at, received_at);
        assert_eq!(uplink.correlation_ids, correlation_ids);
        assert_eq!(uplink.is_simulated(), simulated);
        assert_eq!(uplink.extra.get("unheard_of"), unknown.as_ref());
        message.check(&uplink);
    });
}

/// The members of `uplink_message`.
struct V3Uplink {
    port: Option<u64>,
    counter: Option<u64>,
    payload_raw: Vec<u8>,
    payload_fields: Option<Value>,
    payload_warnings: Vec<String>,
    confirmed: bool,
    session_key_id: Vec<u8>,
    time: Option<SystemTime>,
    airtime: Option<Duration>,
    packet_error_rate: Option<f64>,
    attributes: BTreeMap<String, String>,
    app_s_key: Option<(String, Vec<u8>)>,
    last_downlink_counter: Option<u64>,
    battery: Option<(Option<f64>, Option<u64>, Option<SystemTime>)>,
    version_ids: Option<[String; 5]>,
    network_ids: Option<[String; 6]>,
    user_location: Option<Option<V3Location>>,
    settings: Option<V3Settings>,
    gateways: Vec<V3Gateway>,
}

impl V3Uplink {
    fn write(json: &mut Object) -> Self {
        Self {
            port: json.number("f_port", 255),
            counter: json.number("f_cnt", u32::MAX.into()),
            payload_raw: json.bytes("frm_payload"),
            payload_fields: json.value("decoded_payload"),
            payload_warnings: json.list_of_texts("decoded_payload_warnings"),
            confirmed: json.flag("confirmed"),
            session_key_id: json.bytes("session_key_id"),
            time: json.time("received_at"),
            airtime: json.duration("consumed_airtime"),
            packet_error_rate: json.float("packet_error_rate"),
            attributes: json.texts("attributes"),
            app_s_key: json.object("app_s_key", |json| {
                (json.text("kek_label"), json.bytes("encrypted_key"))
            }),
            last_downlink_counter: json.number("last_a_f_cnt_down", u32::MAX.into()),
            battery: json.object("last_battery_percentage", |json| {
                (
                    json.float("value"),
                    json.number("f_cnt", u32::MAX.into()),
                    json.time("received_at"),
                )
            }),
            version_ids: json.object("version_ids", |json| {
                let versions = ["hardware_version", "firmware_version"];
                let [hardware, firmware] = versions.map(|name| json.text(name));
                let [brand, model, band] =
                    ["brand_id", "model_id", "band_id"].map(|name| json.text(name));
                [brand, model, hardware, firmware, band]
            }),
            network_ids: json.object("network_ids", |json| {
                let (net, ns) = (json.hex("net_id", 6), json.hex("ns_id", 16));
                let [tenant, cluster] = ["tenant_id", "cluster_id"].map(|name| json.text(name));
                let addresses = ["cluster_address", "tenant_address"];
                let [cluster_address, tenant_address] = addresses.map(|name| json.text(name));
                [net, ns, tenant, cluster, cluster_address, tenant_address]
            }),
            user_location: json.object("locations", |json| json.object("user", V3Location::write)),
            settings: json.object("settings", V3Settings::write),
            gateways: json.list("rx_metadata", V3Gateway::write),
        }
    }

    fn check(&self, uplink: &UplinkMessage) {
        assert_eq!(u64::from(uplink.port), self.port.unwrap_or(0));
        assert_eq!(u64::from(uplink.counter), self.counter.unwrap_or(0));
        assert_eq!(uplink.payload_raw, self.payload_raw);
        let fields = self.payload_fields.clone();
        assert_eq!(uplink.payload_fields, fields.unwrap_or_default());
        assert_eq!(uplink.payload_warnings, self.payload_warnings);
        assert_eq!(uplink.confirmed, self.confirmed);
        assert_eq!(uplink.session_key_id, self.session_key_id);
        assert_eq!(uplink.metadata.time, self.time);
        assert_eq!(uplink.metadata.airtime, self.airtime);
        let packet_error_rate = self.packet_error_rate.unwrap_or(0.0);
        assert_eq!(uplink.packet_error_rate, Some(packet_error_rate));
        assert_eq!(uplink.attributes, self.attributes);
        let key = uplink.app_s_key.as_ref();
        let key = key.map(|key| (key.kek_label.clone(), key.encrypted_key.clone()));
        assert_eq!(key, self.app_s_key);
        // 0 is left out, but only if there is a key.
        let without = key.map(|_| 0);
        let counter = uplink.last_downlink_counter.map(u64::from);
        assert_eq!(counter, self.last_downlink_counter.or(without));
        self.check_device(uplink);
        if let Some(settings) = &self.settings {
            settings.check(uplink);
        }
        assert_eq!(uplink.metadata.gateways.len(), self.gateways.len());
        for (read, gateway) in uplink.metadata.gateways.iter().zip(&self.gateways) {
            gateway.check(read);
        }
    }

    fn check_device(&self, uplink: &UplinkMessage) {
        let battery = uplink.battery.as_ref();
        let battery = battery.map(|battery| {
            let counter = u64::from(battery.counter);
            (battery.percentage, counter, battery.received_at)
        });
        let expected = self.battery.map(|(percentage, counter, received_at)| {
            (percentage, counter.unwrap_or(0), received_at)
        });
        assert_eq!(battery, expected);
        let version_ids = uplink.version_ids.clone().map(|ids| {
            let versions = (ids.hardware_version, ids.firmware_version);
            [
                ids.brand_id,
                ids.model_id,
                versions.0,
                versions.1,
                ids.band_id,
            ]
        });
        assert_eq!(version_ids, self.version_ids);
        let network_ids = uplink.network_ids.clone().map(|ids| {
            let addresses = (ids.cluster_address, ids.tenant_address);
            let tenant = (ids.tenant_id, ids.cluster_id);
            [
                ids.net_id,
                ids.ns_id,
                tenant.0,
                tenant.1,
                addresses.0,
                addresses.1,
            ]
        });
        assert_eq!(network_ids, self.network_ids);
        let expected = self.user_location.flatten().filter(V3Location::is_place);
        let location = uplink.metadata.location.as_ref();
        assert_eq!(location.is_some(), expected.is_some());
        assert_eq!(uplink.metadata.locations.get("user"), location);
        if let (Some(read), Some(expected)) = (location, expected) {
            expected.check(read);
        }
    }
}

/// A coordinate; one that is `null` is not the same as one that was left out.
#[derive(Clone, Copy, PartialEq)]
enum Coordinate {
    LeftOut,
    Null,
    Number(f64),
}

impl Coordinate {
    fn write(json: &mut Object, name: &str) -> Self {
        let members = json.members.len();
        match json.float(name) {
            Some(number) => Self::Number(number),
            None if json.members.len() > members => Self::Null,
            None => Self::LeftOut,
        }
    }

    fn number(self) -> f64 {
        match self {
            Self::Number(number) => number,
            _ => 0.0,
        }
    }
}

#[derive(Clone, Copy)]
struct V3Location {
    latitude: Coordinate,
    longitude: Coordinate,
    altitude: Option<i32>,
    accuracy: Option<u64>,
}

impl V3Location {
    fn write(json: &mut Object) -> Self {
        Self {
            latitude: Coordinate::write(json, "latitude"),
            longitude: Coordinate::write(json, "longitude"),
            altitude: json.signed("altitude"),
            accuracy: json.number("accuracy", u32::MAX.into()),
        }
    }

    fn is_place(&self) -> bool {
        let coordinates = [self.latitude, self.longitude];
        !coordinates.contains(&Coordinate::Null) && coordinates != [Coordinate::LeftOut; 2]
    }

    fn check(&self, read: &ttn::Location) {
        let place = (
            self.latitude.number(),
            self.longitude.number(),
            self.altitude.unwrap_or(0),
        );
        assert_eq!((read.latitude, read.longitude, read.altitude), place);
        assert_eq!(read.accuracy.map(u64::from), self.accuracy);
    }
}

struct V3Settings {
    frequency: Option<u64>,
    timestamp: Option<u64>,
    time: Option<SystemTime>,
    lora: Option<(Option<u64>, Option<u64>, String)>,
}

impl V3Settings {
    fn write(json: &mut Object) -> Self {
        let data_rate = json.object("data_rate", |json| {
            json.object("lora", |json| {
                (
                    json.number("bandwidth", 500_000),
                    json.number("spreading_factor", 12),
                    json.text("coding_rate"),
                )
            })
        });
        Self {
            frequency: json.number("frequency", 2_500_000_000),
            timestamp: json.number("timestamp", u32::MAX.into()),
            time: json.time("time"),
            lora: data_rate.flatten(),
        }
    }

    fn check(&self, uplink: &UplinkMessage) {
        let read = &uplink.metadata;
        let hertz = self.frequency.filter(|hertz| *hertz > 0);
        assert_eq!(read.frequency, hertz.map(|hertz| hertz as f64 / 1e6));
        assert_eq!(read.timestamp.map(u64::from), self.timestamp);
        assert_eq!(read.gateway_time, self.time);
        let Some((bandwidth, spreading_factor, coding_rate)) = &self.lora else {
            assert_eq!((&read.modulation[..], &read.data_rate[..]), ("", ""));
            return;
        };
        assert_eq!(read.modulation, "LORA");
        let parts = [bandwidth, spreading_factor].map(|part| part.filter(|number| *number > 0));
        let data_rate = match parts {
            [Some(hertz), Some(factor)] => format!("SF{factor}BW{}", hertz as f64 / 1e3),
            _ => String::new(),
        };
        assert_eq!(read.data_rate, data_rate);
        assert_eq!(read.coding_rate, *coding_rate);
    }
}

struct V3Gateway {
    ids: Option<(String, String)>,
    antenna: Option<u64>,
    timestamp: Option<u64>,
    fine_timestamp: Option<u64>,
    times: [Option<SystemTime>; 3],
    levels: [Option<f64>; 5],
    frequency_offset: Option<i32>,
    frequency_drift: Option<i32>,
    uplink_token: String,
    broker: Option<[String; 3]>,
    location: Option<V3Location>,
    unknown: Option<Value>,
}

impl V3Gateway {
    fn write(json: &mut Object) -> Self {
        Self {
            ids: json.object("gateway_ids", |json| {
                (json.text("gateway_id"), json.hex("eui", 16))
            }),
            antenna: json.number("antenna_index", u32::MAX.into()),
            timestamp: json.number("timestamp", u32::MAX.into()),
            fine_timestamp: json.number("fine_timestamp", u64::MAX),
            times: ["time", "gps_time", "received_at"].map(|name| json.time(name)),
            levels: [
                "rssi",
                "snr",
                "channel_rssi",
                "signal_rssi",
                "rssi_standard_deviation",
            ]
            .map(|name| json.float(name)),
            frequency_offset: json.signed("frequency_offset"),
            frequency_drift: json.signed("frequency_drift"),
            uplink_token: json.text("uplink_token"),
            broker: json.object("packet_broker", |json| {
                [
                    json.text("message_id"),
                    json.hex("forwarder_net_id", 6),
                    json.text("home_network_tenant_id"),
                ]
            }),
            location: json.object("location", V3Location::write),
            unknown: json.value("unheard_of"),
        }
    }

    fn check(&self, read: &ttn::Gateway) {
        let (gtw_id, eui) = self.ids.clone().unwrap_or_default();
        assert_eq!((&read.gtw_id, &read.eui), (&gtw_id, &eui));
        assert_eq!(u64::from(read.antenna), self.antenna.unwrap_or(0));
        assert_eq!(read.timestamp.map(u64::from), self.timestamp);
        assert_eq!(read.fine_timestamp, self.fine_timestamp);
        assert_eq!([read.time, read.gps_time, read.received_at], self.times);
        let levels = [
            read.rssi,
            read.snr,
            read.channel_rssi,
            read.signal_rssi,
            read.rssi_standard_deviation,
        ];
        assert_eq!(levels, self.levels);
        let offset = self.frequency_offset.map(i64::from);
        assert_eq!(read.frequency_offset, offset);
        assert_eq!(read.frequency_drift, self.frequency_drift);
        assert_eq!(read.uplink_token, self.uplink_token);
        let broker = read.packet_broker.clone().map(|broker| {
            let forwarder = broker.forwarder_net_id;
            [broker.message_id, forwarder, broker.home_network_tenant_id]
        });
        assert_eq!(broker, self.broker);
        let location = self.location.filter(V3Location::is_place);
        assert_eq!(read.location.is_some(), location.is_some());
        if let (Some(read), Some(expected)) = (&read.location, location) {
            expected.check(read);
        }
        assert_eq!(read.extra.get("unheard_of"), self.unknown.as_ref());
    }
}

fn uplink(network: Network, topic: &str, json: &str) -> UplinkMessage {
    match Event::decode(network, topic, json) {
        Ok(Event::Uplink(uplink)) => UplinkMessage::clone(&uplink),
        other => panic!("{other:?} of {json}"),
    }
}

/// Writes an object as servers may: members in any order, with or without space between them, left
/// out or null, numbers and truth values as text.
struct Object {
    random: Rng,
    members: Vec<String>,
}

impl Object {
    fn new(random: &mut Rng) -> Self {
        Self {
            random: random.fork(),
            members: Vec::new(),
        }
    }

    fn finish(mut self) -> String {
        self.random.shuffle(&mut self.members);
        let comma = self.space_and(",");
        format!("{{{}}}", self.members.join(comma))
    }

    fn space_and(&mut self, sign: &'static str) -> &'static str {
        match (sign, self.random.bool()) {
            (",", true) => " ,\r\n\t",
            (":", true) => " : ",
            _ => sign,
        }
    }

    fn member(&mut self, name: &str, json: impl Display) {
        let colon = self.space_and(":");
        // Unnecessary escapes.
        let place = self.random.usize(..name.len());
        let name = match self.random.u8(..8) {
            0 => format!(
                "{}\\u{:04x}{}",
                &name[..place],
                name.as_bytes()[place],
                &name[place + 1..]
            ),
            _ => name.to_owned(),
        };
        self.members.push(format!("\"{name}\"{colon}{json}"));
    }

    /// Returns whether there is a value; otherwise the member may be absent or null.
    fn is_there(&mut self, name: &str) -> bool {
        match self.random.u8(..5) {
            0 => false,
            1 => {
                self.member(name, "null");
                false
            }
            _ => true,
        }
    }

    /// Returns a whole number up to `most`.
    fn number(&mut self, name: &str, most: u64) -> Option<u64> {
        if !self.is_there(name) {
            return None;
        }
        let number = match self.random.u8(..4) {
            0 => self.random.u64(..=most.min(300)),
            1 => most,
            _ => self.random.u64(..=most),
        };
        match self.random.u8(..6) {
            0 => self.member(name, format_args!("\"{number}\"")),
            4 => self.member(name, format_args!("\"{number}.0\"")),
            5 => {
                let zeros = self.random.usize(1..4);
                let text = number.to_string();
                let (first, others) = text.split_at(1);
                let zeros = "0".repeat(zeros);
                self.member(
                    name,
                    format_args!("\"{first}.{others}{zeros}e+{}\"", others.len()),
                );
            }
            1 if number < 1 << 53 => self.member(name, format_args!("{number}.0")),
            2 if number < 1 << 53 => self.member(name, format_args!("{number}e0")),
            _ => self.member(name, number),
        }
        Some(number)
    }

    /// Returns a whole number that may be negative.
    fn signed(&mut self, name: &str) -> Option<i32> {
        if !self.is_there(name) {
            return None;
        }
        let number = match self.random.u8(..3) {
            0 => [0, i32::MIN, i32::MAX][self.random.usize(..3)],
            _ => self.random.i32(..),
        };
        match self.random.u8(..3) {
            0 => self.member(name, format_args!("\"{number}\"")),
            1 => self.member(name, format_args!("{number}.0")),
            _ => self.member(name, number),
        }
        Some(number)
    }

    /// Returns a number, with few digits or with all that it can have.
    fn float(&mut self, name: &str) -> Option<f64> {
        if !self.is_there(name) {
            return None;
        }
        let any = f64::from_bits(self.random.u64(..));
        let number = match self.random.u8(..3) {
            0 if any.is_finite() => any,
            1 => self.random.f64() * 100.0,
            _ => f64::from(self.random.i32(-4_000_000..4_000_000)) / 64.0,
        };
        match self.random.u8(..3) {
            0 => self.member(name, format_args!("\"{number}\"")),
            1 => self.member(name, format_args!("{number:e}")),
            _ => self.member(name, format_args!("{number:?}")),
        }
        Some(number)
    }

    fn flag(&mut self, name: &str) -> bool {
        if !self.is_there(name) {
            return false;
        }
        let on = self.random.bool();
        match self.random.u8(..3) {
            0 => self.member(name, format_args!("\"{on}\"")),
            1 => self.member(name, u8::from(on)),
            _ => self.member(name, on),
        }
        on
    }

    fn text(&mut self, name: &str) -> String {
        if !self.is_there(name) {
            return String::new();
        }
        let text = text(&mut self.random);
        self.member(name, json!(text));
        text
    }

    /// Returns hex digits, which are written in any case.
    fn hex(&mut self, name: &str, digits: usize) -> String {
        if !self.is_there(name) {
            return String::new();
        }
        let hex: String = (0..digits).map(|_| self.random.digit(16)).collect();
        let hex = hex.to_uppercase();
        match self.random.u8(..4) {
            0 => self.member(name, json!(hex.to_lowercase())),
            _ => self.member(name, json!(hex)),
        }
        hex
    }

    /// Returns text that is never empty and always present.
    fn id(&mut self, name: &str) -> String {
        let id = format!("a{}", self.random.u32(..));
        self.member(name, json!(id));
        id
    }

    fn bytes(&mut self, name: &str) -> Vec<u8> {
        if !self.is_there(name) {
            return Vec::new();
        }
        let bytes: Vec<u8> = (0..self.random.usize(..60))
            .map(|_| self.random.u8(..))
            .collect();
        let mut base64 = STANDARD.encode(&bytes);
        if self.random.bool() {
            base64 = base64.replace('+', "-").replace('/', "_");
        }
        if self.random.bool() {
            base64.truncate(base64.trim_end_matches('=').len());
        }
        self.member(name, json!(base64));
        bytes
    }

    /// Returns a time, written with a fraction of any length and any offset.
    fn time(&mut self, name: &str) -> Option<SystemTime> {
        if !self.is_there(name) {
            return None;
        }
        let digits = self.random.u32(..=9);
        let unit = 10_u32.pow(9 - digits);
        let nanoseconds = self.random.u32(..1_000_000_000) / unit * unit;
        // The years 1970 to 2242; no offset leads to a time before them.
        let seconds = 86_400 + u64::from(self.random.u32(..)) * 2;
        let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        let (hours, minutes) = (self.random.u64(..=14), self.random.u64(..60));
        let offset = Duration::from_secs(3_600 * hours + 60 * minutes);
        let (local, offset) = match self.random.u8(..3) {
            0 => (time + offset, format!("+{hours:02}:{minutes:02}")),
            1 => (time - offset, format!("-{hours:02}:{minutes:02}")),
            _ => (time, "Z".to_owned()),
        };
        let local = humantime::format_rfc3339_nanos(local).to_string();
        let length = match digits {
            0 => "2006-01-02T15:04:05".len(),
            digits => "2006-01-02T15:04:05.".len() + digits as usize,
        };
        self.member(name, format_args!("\"{}{offset}\"", &local[..length]));
        Some(time)
    }

    /// Returns a duration, written in seconds with a fraction of any length.
    fn duration(&mut self, name: &str) -> Option<Duration> {
        if !self.is_there(name) {
            return None;
        }
        let digits = self.random.u32(..=9);
        let unit = 10_u32.pow(9 - digits);
        let nanoseconds = self.random.u32(..1_000_000_000) / unit * unit;
        let duration = Duration::new(self.random.u64(..100_000), nanoseconds);
        let number = format!("{}.{nanoseconds:09}", duration.as_secs());
        let length = number.len() - 9 + digits as usize;
        self.member(
            name,
            format_args!("\"{}s\"", number[..length].trim_end_matches('.')),
        );
        Some(duration)
    }

    /// Returns any JSON; null counts as nothing.
    fn value(&mut self, name: &str) -> Option<Value> {
        if self.random.bool() {
            return None;
        }
        let value = value(&mut self.random, 3);
        self.member(name, &value);
        Some(value)
    }

    fn list_of_texts(&mut self, name: &str) -> Vec<String> {
        if !self.is_there(name) {
            return Vec::new();
        }
        let texts: Vec<String> = (0..self.random.usize(..4))
            .map(|_| text(&mut self.random))
            .collect();
        self.member(name, json!(texts));
        texts
    }

    fn texts(&mut self, name: &str) -> BTreeMap<String, String> {
        if !self.is_there(name) {
            return BTreeMap::new();
        }
        let texts: BTreeMap<String, String> = (0..self.random.usize(..4))
            .map(|_| (text(&mut self.random), text(&mut self.random)))
            .collect();
        self.member(name, json!(texts));
        texts
    }

    fn object<T>(&mut self, name: &str, write: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.is_there(name).then(|| self.always(name, write))
    }

    fn always<T>(&mut self, name: &str, write: impl FnOnce(&mut Self) -> T) -> T {
        let mut object = Self::new(&mut self.random);
        let written = write(&mut object);
        self.member(name, object.finish());
        written
    }

    fn list<T>(&mut self, name: &str, write: impl Fn(&mut Self) -> T) -> Vec<T> {
        if !self.is_there(name) {
            return Vec::new();
        }
        let (mut written, mut items) = (Vec::new(), Vec::new());
        for _ in 0..self.random.usize(..4) {
            let mut object = Self::new(&mut self.random);
            written.push(write(&mut object));
            items.push(object.finish());
        }
        let comma = self.space_and(",");
        self.member(name, format_args!("[{}]", items.join(comma)));
        written
    }
}

/// Returns text with all kinds of characters.
fn text(random: &mut Rng) -> String {
    let length = random.usize(..8);
    let mut character = || match random.u8(..4) {
        0 => random.char(..),
        1 => ['"', '\\', '\n', '\0', '\u{7f}', '/', '\u{2028}', '地'][random.usize(..8)],
        _ => random.alphanumeric(),
    };
    (0..length).map(|_| character()).collect()
}

fn value(random: &mut Rng, depth: usize) -> Value {
    match random.u8(..9) {
        0 => Value::Null,
        1 => random.bool().into(),
        2 => random.u64(..).into(),
        3 => random.i64(..).into(),
        4 => (f64::from(random.i32(..)) / 64.0).into(),
        5 | 6 if depth > 0 => (0..random.usize(..4))
            .map(|_| value(random, depth - 1))
            .collect(),
        7 if depth > 0 => (0..random.usize(..4))
            .map(|_| (text(random), value(random, depth - 1)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        _ => text(random).into(),
    }
}

#[test]
fn an_error_shows_what_a_terminal_would_obey_in_escapes() {
    let controls = "\u{1b}[2J\r\n\u{7f}\u{9b}";
    let name = json!(controls);
    let nested = format!(r#"{{"attributes":{{{name}:nothing}}}}"#);
    let in_message = format!(r#"{{"uplink_message":{{"locations":{{{name}:nothing}}}}}}"#);
    for (network, topic, body) in [
        (Network::V2, "garden/devices/pump-1/up".to_owned(), nested),
        (
            Network::V2,
            format!("garden/devices/{controls}/up"),
            "[".to_owned(),
        ),
        (
            Network::V3,
            "v3/greenhouse@ttn/devices/bed-07/up".to_owned(),
            in_message,
        ),
        (
            Network::V3,
            format!("v3/greenhouse/devices/{controls}/up"),
            "[".to_owned(),
        ),
    ] {
        let error = Event::decode(network, topic, body).unwrap_err();
        let source = error.source().unwrap().to_string();
        for text in [error.to_string(), source] {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
        assert!(
            error.to_string().contains(r"\u{1b}[2J\r\n\u{7f}\u{9b}"),
            "{error}"
        );
    }
}

#[test]
fn an_error_that_quotes_json_escapes_what_json_does_not() {
    let text = json!("\u{1b}[2J\u{7f}\u{9b}");
    let body = format!(r#"{{"uplink_normalized":{{"f_port":{text}}}}}"#);
    let topic = "v3/greenhouse@ttn/devices/bed-07/up/normalized";
    let error = Event::decode(Network::V3, topic, body).unwrap_err();
    let source = error.source().unwrap().to_string();
    for text in [error.to_string(), source] {
        assert!(!text.contains(char::is_control), "{text:?}");
        assert!(text.contains(r"\u001b[2J\u{7f}\u{9b}"), "{text}");
    }
}
