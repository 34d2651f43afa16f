//! Every message of The Things Stack v3 decodes to the right values, in every form that its JSON
//! may have, and no input makes the client panic.

mod damage;
mod events;
mod forms;
mod networks;
mod sources;
mod uplinks;

use std::{
    collections::BTreeMap,
    error::Error as _,
    fs,
    path::PathBuf,
    thread,
    time::{Duration, SystemTime},
};

use crate::support::{fixture_kinds, watchdog::watchdog};
use serde_json::{Map, Value, json};
use ttn::{
    Activation, Antenna, Battery, ClassBC, DownlinkEvent, DownlinkStep, Error, ErrorDetails,
    ErrorKind, Event, Gateway, KeyEnvelope, Location, LocationSolved, Metadata, Network,
    NetworkIds, PacketBroker, Priority, QueueInvalidated, Relay, ServiceData, Transmission,
    UplinkMessage, VersionIds,
};

/// Longer than the longest test takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(300);

const SESSION: [u8; 16] = [
    0x74, 0x6e, 0x81, 0x0b, 0x7e, 0xe7, 0xe8, 0x27, 0x87, 0x88, 0x97, 0x9b, 0xd2, 0x96, 0x25, 0x79,
];
const DOWNLINK_ID: &str = "as:downlink:01JV6Z4FQQ82YCW78EYQ8PY9XY";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v3")
}

fn fixture(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.json"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn value(name: &str) -> Value {
    serde_json::from_slice(&fixture(name)).unwrap()
}

/// Returns the names of all fixtures.
fn names() -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap().map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".json").unwrap().to_owned()
    });
    let mut names: Vec<String> = files.collect();
    names.sort();
    names
}

/// Returns the names of the fixtures that a network sends and that are readable.
fn messages() -> Vec<String> {
    let of_network = |name: &String| {
        !["request-", "bad-", "no-variant"]
            .iter()
            .any(|other| name.starts_with(other))
    };
    let messages: Vec<String> = names().into_iter().filter(of_network).collect();
    assert!(messages.len() > 60);
    messages
}

fn kind(name: &str) -> &'static str {
    fixture_kinds::V3
        .into_iter()
        .find(|(start, _)| name.starts_with(start))
        .map_or("up", |(_, kind)| kind)
}

fn topic(name: &str) -> String {
    let device = match name {
        "up-lora-minimal-open-source" => "barn/devices/silo-1",
        "up-lora-us915" => "cold-chain@acme/devices/truck-12",
        "up-abp-device" => "greenhouse@ttn/devices/abp-1",
        _ => "greenhouse@ttn/devices/bed-07",
    };
    format!("v3/{device}/{}", kind(name))
}

fn decode(name: &str) -> Event {
    Event::decode(Network::V3, topic(name), fixture(name))
        .unwrap_or_else(|error| panic!("{name}: {}", in_full(&error)))
}

/// Reads a message of the device bed-07.
fn receive(kind: &str, body: &Value) -> Result<Event, Error> {
    let topic = format!("v3/greenhouse@ttn/devices/bed-07/{kind}");
    Event::decode(Network::V3, topic, body.to_string())
}

fn uplink_of(event: Event) -> UplinkMessage {
    match event {
        Event::Uplink(uplink) | Event::UplinkNormalized(uplink) => (*uplink).clone(),
        event => panic!("{event:?}"),
    }
}

fn downlink_of(event: Event) -> DownlinkEvent {
    match event {
        Event::Downlink(downlink) => (*downlink).clone(),
        event => panic!("{event:?}"),
    }
}

/// Returns an uplink with these members.
fn up(members: Value) -> UplinkMessage {
    uplink_of(receive("up", &json!({"uplink_message": members})).unwrap())
}

/// Returns why an uplink with these members cannot be read.
fn up_error(members: Value) -> String {
    let error = receive("up", &json!({"uplink_message": members})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    in_full(&error)
}

fn settings(members: Value) -> Metadata {
    up(json!({"settings": members})).metadata
}

fn gateway(members: Value) -> Gateway {
    let mut uplink = up(json!({"rx_metadata": [members]}));
    assert_eq!(uplink.metadata.gateways.len(), 1);
    uplink.metadata.gateways.remove(0)
}

fn queued(members: Value) -> DownlinkEvent {
    downlink_of(receive("down/queued", &json!({"downlink_queued": members})).unwrap())
}

fn made<T: Default>(fill: impl FnOnce(&mut T)) -> T {
    let mut value = T::default();
    fill(&mut value);
    value
}

/// Returns a moment of the minute in which the fixtures were recorded, 2025-05-14 08:21 UTC.
fn at(second: u64, nanosecond: u32) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::new(1_747_210_860 + second, nanosecond))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        value => panic!("{value}"),
    }
}

/// Returns the error's text followed by those of its causes.
fn in_full(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Returns the content of an event, except for its original bytes and these fields.
fn content_without(event: &Event, fields: &[&str]) -> String {
    let text = format!("{event:#?}");
    let mut kept = Vec::new();
    let mut skipped: Option<usize> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let depth = line.len() - trimmed.len();
        if let Some(outer) = skipped {
            if depth == outer {
                skipped = None;
            }
            continue;
        }
        let is_left_out = ["raw"].iter().chain(fields).any(|field| {
            trimmed
                .strip_prefix(field)
                .is_some_and(|rest| rest.starts_with(": "))
        });
        match is_left_out {
            true if line.ends_with('{') => skipped = Some(depth),
            true => {}
            false => kept.push(line),
        }
    }
    kept.join("\n")
}

fn content(event: &Event) -> String {
    content_without(event, &[])
}

/// An uplink as a test expects it: all public fields of [`UplinkMessage`].
#[derive(Clone, Debug, Default, PartialEq)]
struct Uplink {
    app_id: String,
    dev_id: String,
    hardware_serial: String,
    app_eui: String,
    dev_addr: String,
    port: u8,
    counter: u32,
    confirmed: bool,
    is_retry: bool,
    payload_raw: Vec<u8>,
    payload_fields: Value,
    payload_warnings: Vec<String>,
    normalized_payload: Vec<Value>,
    normalized_payload_warnings: Vec<String>,
    metadata: Metadata,
    received_at: Option<SystemTime>,
    correlation_ids: Vec<String>,
    session_key_id: Vec<u8>,
    app_s_key: Option<KeyEnvelope>,
    last_downlink_counter: Option<u32>,
    packet_error_rate: Option<f64>,
    battery: Option<Battery>,
    version_ids: Option<VersionIds>,
    network_ids: Option<NetworkIds>,
    attributes: BTreeMap<String, String>,
    extra: Map<String, Value>,
    simulated: bool,
}

fn seen(uplink: UplinkMessage) -> Uplink {
    let simulated = uplink.is_simulated();
    Uplink {
        app_id: uplink.app_id,
        dev_id: uplink.dev_id,
        hardware_serial: uplink.hardware_serial,
        app_eui: uplink.app_eui,
        dev_addr: uplink.dev_addr,
        port: uplink.port,
        counter: uplink.counter,
        confirmed: uplink.confirmed,
        is_retry: uplink.is_retry,
        payload_raw: uplink.payload_raw,
        payload_fields: uplink.payload_fields,
        payload_warnings: uplink.payload_warnings,
        normalized_payload: uplink.normalized_payload,
        normalized_payload_warnings: uplink.normalized_payload_warnings,
        metadata: uplink.metadata,
        received_at: uplink.received_at,
        correlation_ids: uplink.correlation_ids,
        session_key_id: uplink.session_key_id,
        app_s_key: uplink.app_s_key,
        last_downlink_counter: uplink.last_downlink_counter,
        packet_error_rate: uplink.packet_error_rate,
        battery: uplink.battery,
        version_ids: uplink.version_ids,
        network_ids: uplink.network_ids,
        attributes: uplink.attributes,
        extra: uplink.extra,
        simulated,
    }
}

/// Returns the uplink of a fixture.
fn uplink(name: &str) -> Uplink {
    match decode(name) {
        Event::Uplink(uplink) => seen((*uplink).clone()),
        event => panic!("{name}: {event:?}"),
    }
}

/// Returns what most uplinks of the fixtures have in common.
fn bed_07(correlation_id: &str, received_at: Option<SystemTime>, metadata: Metadata) -> Uplink {
    Uplink {
        app_id: "greenhouse".to_owned(),
        dev_id: "bed-07".to_owned(),
        hardware_serial: "70B3D57ED0051A2B".to_owned(),
        app_eui: "A840410000000101".to_owned(),
        dev_addr: "260B5C1E".to_owned(),
        port: 2,
        counter: 118,
        payload_raw: vec![0x0b, 0x46, 0x01, 0xc8],
        metadata,
        received_at,
        correlation_ids: vec![correlation_id.to_owned()],
        session_key_id: SESSION.to_vec(),
        packet_error_rate: Some(0.0),
        network_ids: Some(ttn_eu1()),
        ..Uplink::default()
    }
}

fn ttn_eu1() -> NetworkIds {
    made(|ids: &mut NetworkIds| {
        ids.net_id = "000013".to_owned();
        ids.ns_id = "EC656E0000000181".to_owned();
        ids.tenant_id = "ttn".to_owned();
        ids.cluster_id = "eu1".to_owned();
        ids.cluster_address = "eu1.cloud.thethings.network".to_owned();
    })
}

/// Returns how most uplinks of the fixtures were received.
fn lora(time: Option<SystemTime>, gateways: Vec<Gateway>) -> Metadata {
    made(|metadata: &mut Metadata| {
        metadata.time = time;
        metadata.frequency = Some(868.3);
        metadata.modulation = "LORA".into();
        metadata.data_rate = "SF7BW125".to_owned();
        metadata.coding_rate = "4/5".to_owned();
        metadata.airtime = Some(Duration::from_micros(51_456));
        metadata.timestamp = gateways.first().and_then(|first| first.timestamp);
        metadata.gateways = gateways;
    })
}

/// Returns the gateway of most uplinks of the fixtures.
fn roof_east(timestamp: u32, uplink_token: &str, received_at: Option<SystemTime>) -> Gateway {
    made(|gateway: &mut Gateway| {
        gateway.gtw_id = "roof-east".to_owned();
        gateway.eui = "0016C001F10A1B2C".to_owned();
        gateway.timestamp = Some(timestamp);
        gateway.rssi = Some(-97.0);
        gateway.channel_rssi = Some(-97.0);
        gateway.snr = Some(9.2);
        gateway.uplink_token = uplink_token.to_owned();
        gateway.channel = 3;
        gateway.received_at = received_at;
    })
}

fn place(latitude: f64, longitude: f64, altitude: i32, source: &str) -> Location {
    made(|place: &mut Location| {
        place.latitude = latitude;
        place.longitude = longitude;
        place.altitude = altitude;
        place.source = source.to_owned().into();
    })
}

/// Returns the registered location of the device of the fixtures.
fn bed() -> Location {
    place(52.3731, 4.8922, 3, "registry")
}

/// Returns the same location as the network sends it.
fn bed_json() -> Value {
    json!({"latitude": 52.3731, "longitude": 4.8922, "altitude": 3, "source": "SOURCE_REGISTRY"})
}

fn ttn_eu1_json() -> Value {
    json!({
        "net_id": "000013", "ns_id": "EC656E0000000181", "tenant_id": "ttn",
        "cluster_id": "eu1", "cluster_address": "eu1.cloud.thethings.network"
    })
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// Returns the paths of all members and elements of a value.
fn places(value: &Value) -> Vec<String> {
    fn add(value: &Value, place: &str, places: &mut Vec<String>) {
        let mut below = |name: &str, value: &Value| {
            assert!(!name.contains(['/', '~']));
            let place = format!("{place}/{name}");
            add(value, &place, places);
            places.push(place);
        };
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| below(name, value)),
            Value::Array(elements) => elements
                .iter()
                .enumerate()
                .for_each(|(index, value)| below(&index.to_string(), value)),
            _ => {}
        }
    }
    let mut places = Vec::new();
    add(value, "", &mut places);
    places
}

/// Returns the name of the member at a path; for an element, that of its list.
fn member_name(place: &str) -> &str {
    place
        .rsplit('/')
        .find(|name| name.parse::<u32>().is_err())
        .unwrap()
}

fn is_element(place: &str) -> bool {
    place
        .rsplit('/')
        .next()
        .is_some_and(|name| name.parse::<u32>().is_ok())
}

/// Returns whether a path lies in a part that is passed on as the network sent it.
fn is_handed_on(kind: &str, place: &str) -> bool {
    // Everything below these.
    let open = [
        "decoded_payload",
        "normalized_payload",
        "data",
        "hops",
        "attributes",
        "locations",
    ];
    // These and everything below.
    let unnamed = [
        "advanced",
        "angle_of_arrival",
        "tenant_ids",
        "dev_serial",
        "polarization",
        "device_channel_index",
    ];
    let added = ["locations", "version_ids", "network_ids", "attributes"];
    let names: Vec<&str> = place.split('/').skip(1).collect();
    let (_, above) = names.split_last().unwrap();
    above.iter().any(|name| open.contains(name))
        || names.iter().any(|name| unnamed.contains(name))
        || (!kind.starts_with("up") && names.get(1).is_some_and(|name| added.contains(name)))
}

fn decode_value(name: &str, value: &Value) -> Result<Event, Error> {
    Event::decode(Network::V3, topic(name), value.to_string())
}

fn removed(value: &Value, place: &str) -> Value {
    let mut value = value.clone();
    let (above, name) = place.rsplit_once('/').unwrap();
    let members = value.pointer_mut(above).unwrap().as_object_mut().unwrap();
    members.remove(name).unwrap();
    value
}

fn replaced(value: &Value, place: &str, by: Value) -> Value {
    let mut value = value.clone();
    *value.pointer_mut(place).unwrap() = by;
    value
}

/// A downlink event as a test expects it: all public fields of [`DownlinkEvent`].
#[derive(Clone, Debug, PartialEq)]
struct Step {
    app_id: String,
    dev_id: String,
    step: DownlinkStep,
    port: u8,
    confirmed: bool,
    payload_raw: Vec<u8>,
    payload_fields: Value,
    payload_warnings: Vec<String>,
    error: String,
    error_details: Option<ErrorDetails>,
    transmission: Option<Transmission>,
    counter: Option<u32>,
    correlation_ids: Vec<String>,
    event_correlation_ids: Vec<String>,
    priority: Option<Priority>,
    class_b_c: Option<ClassBC>,
    attempt: Option<u32>,
    max_attempts: Option<u32>,
    session_key_id: Vec<u8>,
    received_at: Option<SystemTime>,
    extra: Map<String, Value>,
}

fn seen_step(event: DownlinkEvent) -> Step {
    Step {
        app_id: event.app_id,
        dev_id: event.dev_id,
        step: event.step,
        port: event.port,
        confirmed: event.confirmed,
        payload_raw: event.payload_raw,
        payload_fields: event.payload_fields,
        payload_warnings: event.payload_warnings,
        error: event.error,
        error_details: event.error_details.map(|details| *details),
        transmission: event.transmission,
        counter: event.counter,
        correlation_ids: event.correlation_ids,
        event_correlation_ids: event.event_correlation_ids,
        priority: event.priority,
        class_b_c: event.class_b_c,
        attempt: event.attempt,
        max_attempts: event.max_attempts,
        session_key_id: event.session_key_id,
        received_at: event.received_at,
        extra: event.extra,
    }
}

/// Returns what most downlink events of the fixtures have in common.
fn beef(step: DownlinkStep, received_at: Option<SystemTime>) -> Step {
    Step {
        app_id: "greenhouse".to_owned(),
        dev_id: "bed-07".to_owned(),
        step,
        port: 15,
        confirmed: false,
        payload_raw: vec![0xbe, 0xef],
        payload_fields: Value::Null,
        payload_warnings: Vec::new(),
        error: String::new(),
        error_details: None,
        transmission: None,
        counter: None,
        correlation_ids: strings(&[DOWNLINK_ID]),
        event_correlation_ids: strings(&[DOWNLINK_ID]),
        priority: Some(Priority::Lowest),
        class_b_c: None,
        attempt: None,
        max_attempts: None,
        session_key_id: Vec::new(),
        received_at,
        extra: Map::new(),
    }
}

#[test]
fn every_fixture_is_in_some_test() {
    let tests = [
        include_str!("events.rs"),
        include_str!("forms.rs"),
        include_str!("sources.rs"),
        include_str!("uplinks.rs"),
        include_str!("../../behaviour/downlinks_v3.rs"),
    ];
    for name in names() {
        let quoted = format!("(\"{name}\"");
        assert!(
            tests.iter().any(|test| test.contains(&quoted)),
            "no test reads {name}.json"
        );
    }
}
