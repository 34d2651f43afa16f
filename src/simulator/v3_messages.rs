//! The messages of The Things Stack as its server prints them.

use std::time::{Duration, SystemTime};

use fastrand::Rng;
use serde_json::Value;

use super::device::Uplink;
use super::json::{self, Object};
use super::radio::{self, Gateway, Location, Modulation};

const JOIN_EUI: &str = "70B3D57ED000AB01";

/// By value; the first is the default.
pub(super) const PRIORITIES: [&str; 7] = [
    "LOWEST",
    "LOW",
    "BELOW_NORMAL",
    "NORMAL",
    "ABOVE_NORMAL",
    "HIGH",
    "HIGHEST",
];
/// The highest priority the Network Server gives to a downlink of an application.
const HIGH: usize = 5;

/// A downlink of an application, as it was requested and as events show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Downlink {
    pub(super) session_key_id: Vec<u8>,
    pub(super) f_port: u8,
    pub(super) f_cnt: u32,
    pub(super) payload: Option<Vec<u8>>,
    pub(super) decoded: Option<Value>,
    pub(super) confirmed: bool,
    pub(super) class_b_c: Option<ClassBC>,
    /// Index into [`PRIORITIES`].
    pub(super) priority: usize,
    pub(super) correlation_ids: Vec<String>,
    pub(super) retry: Option<Retry>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ClassBC {
    pub(super) gateways: Vec<FixedGateway>,
    pub(super) absolute_time: Option<SystemTime>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FixedGateway {
    pub(super) gateway_id: String,
    pub(super) eui: String,
    pub(super) antenna_index: u32,
    pub(super) group_index: u32,
}

/// The transmissions of a confirmed downlink.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Retry {
    pub(super) attempt: u32,
    pub(super) max_attempts: Option<u32>,
}

impl Downlink {
    fn start(&self) -> Object {
        Object::new()
            .bytes("session_key_id", &self.session_key_id)
            .integer("f_port", self.f_port)
            .integer("f_cnt", self.f_cnt)
            .bytes("frm_payload", self.payload.as_deref().unwrap_or_default())
    }

    /// What all events but `down/sent` show.
    pub(super) fn message(&self) -> String {
        let retry = self.retry.as_ref().filter(|_| self.confirmed);
        self.start()
            .option("decoded_payload", self.decoded.as_ref().map(free))
            .flag("confirmed", self.confirmed)
            .option("class_b_c", self.class_b_c.as_ref().map(ClassBC::message))
            .option("priority", priority(self.priority))
            .list("correlation_ids", strings(&self.correlation_ids))
            .option("confirmed_retry", retry.map(Retry::message))
            .finish()
    }

    /// The frame of a downlink that a gateway took.
    pub(super) fn sent(&self, correlation_ids: &[String]) -> String {
        self.start()
            .flag("confirmed", self.confirmed)
            .option("priority", priority(self.priority.min(HIGH)))
            .list("correlation_ids", strings(correlation_ids))
            .finish()
    }
}

impl ClassBC {
    fn message(&self) -> String {
        let gateways = self.gateways.iter().map(|gateway| {
            let ids = Object::new()
                .string("gateway_id", &gateway.gateway_id)
                .string("eui", &gateway.eui);
            Object::new()
                .member("gateway_ids", ids.finish())
                .integer("antenna_index", gateway.antenna_index)
                .integer("group_index", gateway.group_index)
                .finish()
        });
        Object::new()
            .list("gateways", gateways)
            .option("absolute_time", self.absolute_time.map(time))
            .finish()
    }
}

impl Retry {
    fn message(&self) -> String {
        Object::new()
            .integer("attempt", self.attempt)
            .option("max_attempts", self.max_attempts.map(|max| max.to_string()))
            .finish()
    }
}

fn priority(priority: usize) -> Option<String> {
    let name = PRIORITIES.get(priority)?;
    (priority > 0).then(|| json::string(name))
}

/// Why a downlink failed.
pub(super) struct Failure {
    namespace: &'static str,
    name: &'static str,
    message_format: &'static str,
    code: u32,
    /// Finished text.
    attributes: Option<String>,
}

const APPLICATION_SERVER: &str = "pkg/applicationserver";
const NETWORK_SERVER: &str = "pkg/networkserver";

impl Failure {
    pub(super) const NO_PORT: Self = Self::new(APPLICATION_SERVER, "no_f_port", "no FPort", 3);
    pub(super) const NO_SESSION: Self = Self::new(
        APPLICATION_SERVER,
        "no_device_session",
        "no device session; check device activation",
        9,
    );
    pub(super) const EXPIRED: Self = Self::new(
        NETWORK_SERVER,
        "downlink_expired",
        "queued downlink is expired",
        9,
    );
    pub(super) const FIXED_PATHS: Self = Self::new(
        NETWORK_SERVER,
        "fixed_paths",
        "invalid fixed paths set in application downlink",
        3,
    );
    pub(super) const QUEUE_FULL: Self = Self::new(
        NETWORK_SERVER,
        "downlink_queue_capacity",
        "downlink queue capacity exceeded",
        8,
    );

    const fn new(
        namespace: &'static str,
        name: &'static str,
        message_format: &'static str,
        code: u32,
    ) -> Self {
        Self {
            namespace,
            name,
            message_format,
            code,
            attributes: None,
        }
    }

    fn with(mut self, attributes: Object) -> Self {
        self.attributes = Some(attributes.finish());
        self
    }

    pub(super) fn too_long(length: usize, max: usize) -> Self {
        let format = "application downlink payload length `{length}` exceeds maximum '{max}'";
        Self::new(NETWORK_SERVER, "application_downlink_too_long", format, 3)
            .with(Object::new().member("length", length).member("max", max))
    }

    pub(super) fn transmission(result: &str) -> Self {
        let format = "downlink transmission failed with result `{result}`";
        Self::new(NETWORK_SERVER, "transmission", format, 2)
            .with(Object::new().string("result", result))
    }

    pub(super) fn retries(max: u32) -> Self {
        let format = "maximum number of retries ({max_retries}) reached";
        Self::new(APPLICATION_SERVER, "max_retries_reached", format, 10)
            .with(Object::new().member("max_retries", max))
    }

    /// The event about a downlink of that finished text.
    pub(super) fn event(&self, downlink: &str, random: &mut Rng) -> String {
        let error = Object::new()
            .string("namespace", self.namespace)
            .string("name", self.name)
            .string("message_format", self.message_format)
            .option("attributes", self.attributes.clone())
            .string("correlation_id", &hex::encode(random_bytes::<16>(random)))
            .integer("code", self.code);
        Object::new()
            .member("downlink", downlink)
            .member("error", error.finish())
            .finish()
    }
}

/// Who a message is about.
pub(super) struct Ids<'a> {
    /// Application id, on hosted networks with the tenant.
    pub(super) uid: &'a str,
    pub(super) dev_id: &'a str,
    pub(super) dev_eui: String,
    /// Empty before the first session.
    pub(super) dev_addr: String,
}

impl Ids<'_> {
    fn message(&self) -> String {
        let (app_id, _) = split(self.uid);
        let application = Object::new().string("application_id", app_id);
        Object::new()
            .string("device_id", self.dev_id)
            .member("application_ids", application.finish())
            .string("dev_eui", &self.dev_eui)
            .string("join_eui", JOIN_EUI)
            .string("dev_addr", &self.dev_addr)
            .finish()
    }

    /// A whole message: `body` is the finished text of the member of that name.
    pub(super) fn envelope(
        &self,
        correlation_ids: &[String],
        received_at: SystemTime,
        (member, body): (&str, &str),
        simulated: bool,
    ) -> String {
        Object::new()
            .member("end_device_ids", self.message())
            .list("correlation_ids", strings(correlation_ids))
            .member("received_at", time(received_at))
            .member(member, body)
            .flag("simulated", simulated)
            .finish()
    }
}

/// Application and tenant id.
pub(super) fn split(uid: &str) -> (&str, Option<&str>) {
    match uid.split_once('@') {
        Some((app_id, tenant)) => (app_id, Some(tenant)),
        None => (uid, None),
    }
}

/// An uplink as the servers got it.
pub(super) struct Reception<'a> {
    pub(super) uid: &'a str,
    pub(super) session_key_id: &'a [u8],
    pub(super) uplink: &'a Uplink,
    pub(super) counter: u32,
    pub(super) decoded: Option<&'a Value>,
    pub(super) time: SystemTime,
    /// Hz.
    pub(super) frequency: u32,
    pub(super) channel: u32,
    /// The own gateways' clock; `None` when none of them heard it.
    pub(super) uptime: Option<Duration>,
    pub(super) rx_metadata: Vec<String>,
    /// Finished text.
    pub(super) locations: Option<String>,
    /// Finished text.
    pub(super) battery: Option<String>,
}

impl Reception<'_> {
    /// `uplink_message`.
    pub(super) fn message(&self) -> String {
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
        .option("attributes", attributes(self.uplink))
        .finish()
    }

    /// `uplink_normalized` of one measurement.
    pub(super) fn normalized(&self, measurement: &Value) -> String {
        self.body(|object| object.member("normalized_payload", free(measurement)))
            .option("attributes", attributes(self.uplink))
            .finish()
    }

    fn body(&self, payload: impl FnOnce(Object) -> Object) -> Object {
        let uplink = self.uplink;
        // The Network Server keeps MAC commands to itself.
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
        let length = radio::frame_length(&uplink.payload);
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
                let (spreading, bandwidth) = radio::lora_parts(data_rate).unwrap_or_default();
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

    /// Microseconds of the gateways' clock, never 0 when there is one.
    fn clock(&self) -> u32 {
        let clock = |uptime: Duration| (uptime.as_micros() as u32).max(1);
        self.uptime.map_or(0, clock)
    }

    /// The entry of `rx_metadata` of a gateway of the own network.
    pub(super) fn gateway(&self, gateway: &Gateway, random: &mut Rng) -> String {
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

    /// The entry of a gateway of another network, which tells less.
    pub(super) fn foreign_gateway(&self, gateway: &Gateway, random: &mut Rng) -> String {
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

/// The gateway of an uplink simulated from the Console.
pub(super) fn test_gateway() -> String {
    let ids = Object::new().string("gateway_id", "test");
    Object::new()
        .member("gateway_ids", ids.finish())
        .integer("rssi", 42)
        .integer("channel_rssi", 42)
        .float("snr", 4.2)
        .finish()
}

fn attributes(uplink: &Uplink) -> Option<String> {
    let attributes = uplink.attributes.iter();
    (!uplink.attributes.is_empty()).then(|| {
        attributes
            .fold(Object::new(), |object, (key, value)| {
                object.member(key, json::string(value))
            })
            .finish()
    })
}

/// Which network heard it; one of one's own has no tenants.
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

pub(super) fn battery(counter: u32, percent: f32, at: SystemTime) -> String {
    Object::new()
        .integer("f_cnt", counter)
        .member("value", json::float32(percent))
        .member("received_at", time(at))
        .finish()
}

/// The member `locations` of an uplink: from the registry and out of the payload.
pub(super) fn locations(user: Option<Location>, payload: Option<Location>) -> Option<String> {
    let payload = payload.map(|at| location(at, "SOURCE_GPS"));
    let user = user.map(|at| location(at, "SOURCE_REGISTRY"));
    (payload.is_some() || user.is_some()).then(|| {
        Object::new()
            .option("frm-payload", payload)
            .option("user", user)
            .finish()
    })
}

fn location(location: Location, source: &str) -> String {
    Object::new()
        .float("latitude", location.latitude)
        .float("longitude", location.longitude)
        .integer("altitude", location.altitude)
        .string("source", source)
        .finish()
}

pub(super) fn location_solved(service: &str, at: Location) -> String {
    let source = match service {
        "frm-payload" => "SOURCE_GPS",
        _ => "SOURCE_COMBINED_GEOLOCATION",
    };
    Object::new()
        .string("service", service)
        .member("location", location(at, source))
        .finish()
}

pub(super) fn service_data(service: &str, data: &Value) -> String {
    Object::new()
        .string("service", service)
        .option("data", (!data.is_null()).then(|| free(data)))
        .finish()
}

pub(super) fn join_accept(session_key_id: &[u8], at: SystemTime) -> String {
    Object::new()
        .bytes("session_key_id", session_key_id)
        .member("received_at", time(at))
        .finish()
}

pub(super) fn invalidated<'a>(
    downlinks: impl Iterator<Item = &'a Downlink>,
    last_counter: u32,
    session_key_id: &[u8],
) -> String {
    Object::new()
        .list("downlinks", downlinks.map(Downlink::message))
        .integer("last_f_cnt_down", last_counter)
        .bytes("session_key_id", session_key_id)
        .finish()
}

/// Text that is unique and sorts by time: 48 bits of milliseconds and 80 random ones.
pub(super) fn ulid(at: SystemTime, random: &mut Rng) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    let number = since.unwrap_or_default().as_millis() << 80 | random.u128(..1 << 80);
    let digit = |index: u32| {
        let digits = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        char::from(digits[(number >> (5 * index)) as usize % 32])
    };
    (0..26).rev().map(digit).collect()
}

pub(super) fn random_bytes<const N: usize>(random: &mut Rng) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

/// A free object; its numbers are doubles.
fn free(value: &Value) -> String {
    fn doubles(value: &Value) -> Value {
        match value {
            Value::Number(number) => number.as_f64().map_or(Value::Null, double),
            Value::Array(items) => items.iter().map(doubles).collect(),
            Value::Object(members) => {
                let members = members.iter();
                let member = |(key, member): (&String, &Value)| (key.clone(), doubles(member));
                Value::Object(members.map(member).collect())
            }
            _ => value.clone(),
        }
    }
    json::value(&doubles(value))
}

/// A number, whole where it can be.
pub(super) fn double(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        return (number as i64).into();
    }
    number.into()
}

fn strings(texts: &[String]) -> impl Iterator<Item = String> {
    texts.iter().map(|text| json::string(text))
}

/// RFC 3339 in UTC with a fraction of 0, 3, 6 or 9 digits, in quotes; instants outside 1970..=9999
/// are moved to its ends.
fn time(time: SystemTime) -> String {
    let longest = Duration::new(253_402_300_799, 999_999_999);
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .min(longest);
    let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs());
    let whole = humantime::format_rfc3339_seconds(whole).to_string();
    let seconds = whole.trim_end_matches('Z');
    json::string(&format!("{seconds}{}Z", fraction(since)))
}

/// Seconds with a fraction of 0, 3, 6 or 9 digits.
fn duration(duration: Duration) -> String {
    format!("{}{}s", duration.as_secs(), fraction(duration))
}

fn fraction(duration: Duration) -> String {
    let nanos = format!(".{:09}", duration.subsec_nanos());
    let shortened = nanos.trim_end_matches("000");
    shortened.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_have_0_3_6_or_9_digits() {
        let at = |seconds, nanos| time(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos));
        for (nanos, text) in [
            (0, "2025-05-14T08:21:37Z"),
            (500_000_000, "2025-05-14T08:21:37.500Z"),
            (1_500_000, "2025-05-14T08:21:37.001500Z"),
            (281_664_050, "2025-05-14T08:21:37.281664050Z"),
        ] {
            assert_eq!(at(1_747_210_897, nanos), format!("\"{text}\""));
        }
        assert_eq!(at(u64::MAX >> 2, 0), "\"9999-12-31T23:59:59.999999999Z\"");
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(time(before), "\"1970-01-01T00:00:00Z\"");
        assert_eq!(duration(Duration::from_micros(51_400)), "0.051400s");
        assert_eq!(duration(Duration::from_secs(2)), "2s");
    }

    #[test]
    fn ulids_sort_by_time() {
        let mut random = Rng::with_seed(1);
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let early = ulid(at(1_747_210_897_000), &mut random);
        assert_eq!(&early[..10], "01JV6Y51K8");
        assert!(early < ulid(at(1_747_210_897_001), &mut random));
    }
}
