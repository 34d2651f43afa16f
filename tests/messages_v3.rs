//! Every message of The Things Stack v3 decodes to the right values, in every form that its JSON may
//! have, and nothing that comes makes the client panic.

mod support;

use std::{
    collections::BTreeMap,
    error::Error as _,
    fs,
    path::PathBuf,
    thread,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value, json};
use support::watchdog::watchdog;
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

/// The names of all fixtures.
fn names() -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap().map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".json").unwrap().to_owned()
    });
    let mut names: Vec<String> = files.collect();
    names.sort();
    names
}

/// The names of those that a network sends and that can be read.
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
    [
        ("normalized-", "up/normalized"),
        ("join-", "join"),
        ("down-queued", "down/queued"),
        ("down-sent", "down/sent"),
        ("down-ack", "down/ack"),
        ("down-nack", "down/nack"),
        ("down-failed", "down/failed"),
        ("down-queue-invalidated", "down/invalidated"),
        ("location-", "location/solved"),
        ("service-", "service/data"),
    ]
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

/// An uplink of these members.
fn up(members: Value) -> UplinkMessage {
    uplink_of(receive("up", &json!({"uplink_message": members})).unwrap())
}

/// Why an uplink of these members cannot be read.
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

/// A moment of the minute in which the fixtures play, 2025-05-14 08:21 UTC.
fn at(second: u64, nanosecond: u32) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::new(1_747_210_860 + second, nanosecond))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        value => panic!("{value}"),
    }
}

/// The error's sentence and those of its causes.
fn in_full(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What an event says, apart from the bytes that it was read from and from these fields.
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

/// The uplink of a fixture.
fn uplink(name: &str) -> Uplink {
    match decode(name) {
        Event::Uplink(uplink) => seen((*uplink).clone()),
        event => panic!("{name}: {event:?}"),
    }
}

/// What most uplinks of the fixtures have in common.
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

/// How most uplinks of the fixtures arrived.
fn lora(time: Option<SystemTime>, gateways: Vec<Gateway>) -> Metadata {
    made(|metadata: &mut Metadata| {
        metadata.time = time;
        metadata.frequency = Some(868.3);
        metadata.modulation = "LORA".to_owned();
        metadata.data_rate = "SF7BW125".to_owned();
        metadata.coding_rate = "4/5".to_owned();
        metadata.airtime = Some(Duration::from_micros(51_456));
        metadata.timestamp = gateways.first().and_then(|first| first.timestamp);
        metadata.gateways = gateways;
    })
}

/// The gateway of most uplinks of the fixtures.
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
        place.source = source.to_owned();
    })
}

/// Where the device of the fixtures is registered.
fn bed() -> Location {
    place(52.3731, 4.8922, 3, "registry")
}

/// The same as sent.
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

#[test]
fn every_fixture_is_in_some_test() {
    let tests = [
        include_str!("messages_v3.rs"),
        include_str!("downlinks_v3.rs"),
    ];
    for name in names() {
        let quoted = format!("(\"{name}\"");
        assert!(
            tests.iter().any(|test| test.contains(&quoted)),
            "no test reads {name}.json"
        );
    }
}

#[test]
fn the_smallest_uplink_of_an_open_source_server_has_no_tenant() {
    let barn = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "barn-gw".to_owned();
        gateway.eui = "AA555A0000000101".to_owned();
        gateway.timestamp = Some(2_147_483_648);
        gateway.rssi = Some(-61.0);
        gateway.channel_rssi = Some(-61.0);
        gateway.snr = Some(8.5);
        gateway.uplink_token =
            "S+GsBW/Bo1LLQB/+zFCgJ10LJMOfDyIIEfni5G9T0CwPx04CjyyNWA==".to_owned();
    });
    let mut metadata = lora(at(37, 450_251_815), vec![barn]);
    metadata.frequency = Some(868.1);
    metadata.airtime = Some(Duration::from_micros(46_336));
    let expected = Uplink {
        app_id: "barn".to_owned(),
        dev_id: "silo-1".to_owned(),
        port: 1,
        counter: 1,
        payload_raw: vec![1],
        network_ids: Some(made(|ids: &mut NetworkIds| {
            ids.net_id = "000000".to_owned();
        })),
        ..bed_07(
            "gs:uplink:01JV71ENN2CVE1CDPW1ZR0HTHF",
            at(37, 268_903_470),
            metadata,
        )
    };
    assert_eq!(uplink("up-lora-minimal-open-source"), expected);
}

#[test]
fn an_ordinary_uplink_has_all_its_values() {
    let mut gateway = roof_east(
        1_509_166_008,
        "gS4Vj/KYxqUxCI7tuxAwf1NB2oHcnzgBjDo0U3X6eqZB4AnkBg2iGIytE/5+rzbCBw9EVPiVPFA=",
        at(37, 932_766_844),
    );
    gateway.time = at(37, 787_000_000);
    gateway.location = Some(place(52.3731, 4.8922, 14, "registry"));
    let mut metadata = lora(at(37, 863_431_150), vec![gateway]);
    metadata.gateway_time = at(37, 787_000_000);
    let expected = Uplink {
        payload_fields: json!({"temperature": 28.86, "humidity": 45.6}),
        packet_error_rate: Some(0.04),
        version_ids: Some(made(|ids: &mut VersionIds| {
            ids.brand_id = "dragino".to_owned();
            ids.model_id = "lht65".to_owned();
            ids.hardware_version = "_unknown_hw_version_".to_owned();
            ids.firmware_version = "1.8".to_owned();
            ids.band_id = "EU_863_870".to_owned();
        })),
        ..bed_07(
            "gs:uplink:01JV6Y57CQKQB52X6F7BMSZMS4",
            at(37, 281_664_057),
            metadata,
        )
    };
    assert_eq!(uplink("up-lora-one-gateway"), expected);
}

#[test]
fn many_gateways_keep_their_differences() {
    let mut roof_east = roof_east(
        825_318_032,
        "TJe20e7HLZOFgCZI/7SIDgWn23NM2eSvf6zgjifzUOrDL7STq9/d8FwztmszBV9QfqnKSy053ro=",
        at(37, 751_464_754),
    );
    roof_east.time = at(37, 512_000_000);
    let harbour = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "harbour-2".to_owned();
        gateway.eui = "58A0CBFFFE801F0E".to_owned();
        gateway.timestamp = Some(2_122_956_804);
        gateway.rssi = Some(-113.0);
        gateway.channel_rssi = Some(-113.0);
        gateway.snr = Some(-4.75);
        gateway.uplink_token =
            "suDv+5fe1nj6HZ/Tgbwm/KqlDjjmVjkGui+SRH0AvI9ZSYXXdji1C96G+4OtiibKLllXvIvHFBE="
                .to_owned();
        gateway.channel = 3;
        gateway.received_at = at(37, 324_477_765);
    });
    let unnamed = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "eui-3133303730004a00".to_owned();
        gateway.eui = "3133303730004A00".to_owned();
        gateway.timestamp = Some(1_933_025_254);
        gateway.rssi = Some(-118.0);
        gateway.channel_rssi = Some(-118.0);
        gateway.snr = Some(-12.0);
        gateway.location = Some(place(52.0907, 5.1214, 0, "registry"));
        gateway.uplink_token =
            "WWS2o2zptldnZon8QZ/hZBYL3joXaQIqEe+Mgzvl5ftH04cFiiOCn0K1LNReqmqRSKG2sS0kB4c="
                .to_owned();
        gateway.channel = 3;
        gateway.received_at = at(37, 611_598_415);
    });
    let kerlink = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "kerlink-tower".to_owned();
        gateway.eui = "7076FF0056070AD9".to_owned();
        gateway.timestamp = Some(983_553_204);
        gateway.fine_timestamp = Some(512_345_678);
        gateway.rssi = Some(-105.5);
        gateway.signal_rssi = Some(-107.25);
        gateway.channel_rssi = Some(-105.5);
        gateway.rssi_standard_deviation = Some(1.5);
        gateway.snr = Some(2.2);
        gateway.frequency_offset = Some(-1423);
        gateway.uplink_token =
            "jguMzz5P1TRNAOZrqK+fBSkDdNVkEfrKMHvMYtWunzTVpxigLcNTgU2GtcNJJxnzN56T8yBB/OY="
                .to_owned();
        gateway.channel = 67;
        gateway.received_at = at(37, 874_301_157);
    });
    let mut metadata = lora(
        at(37, 331_901_638),
        vec![roof_east, harbour, unnamed, kerlink],
    );
    metadata.gateway_time = at(37, 512_000_000);
    let expected = bed_07(
        "gs:uplink:01JV6YBXVZR3RXZ4VZTNV1AP69",
        at(37, 382_429_710),
        metadata,
    );
    assert_eq!(uplink("up-lora-many-gateways"), expected);
}

#[test]
fn a_fine_timestamp_may_be_encrypted() {
    let kerlink = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "kerlink-tower".to_owned();
        gateway.eui = "7076FF0056070AD9".to_owned();
        gateway.timestamp = Some(2_209_385_435);
        gateway.encrypted_fine_timestamp = vec![
            0xcb, 0xd7, 0x62, 0x1c, 0xc1, 0x22, 0xdc, 0x0d, 0x91, 0x82, 0x16, 0xeb, 0xd5, 0x4b,
            0x19, 0x83,
        ];
        gateway.encrypted_fine_timestamp_key_id = "0".to_owned();
        gateway.rssi = Some(-99.0);
        gateway.channel_rssi = Some(-99.0);
        gateway.snr = Some(6.0);
        gateway.uplink_token =
            "m+xmZhv5mOTWkOnxaFe7/i6V3exmeNIMmeV8pm/WXXDe6xqJ8wxo8H+84DEPo+qjsP0Yy9gPHGI="
                .to_owned();
        gateway.channel = 3;
        gateway.received_at = at(37, 393_878_281);
    });
    let expected = bed_07(
        "gs:uplink:01JV70X5MXGJN4TG58J67D9SJP",
        at(37, 349_784_628),
        lora(at(37, 550_099_988), vec![kerlink]),
    );
    assert_eq!(uplink("up-lora-encrypted-fine-timestamp"), expected);
}

#[test]
fn gateways_behind_packet_broker_say_whose_they_are() {
    let own = roof_east(
        2_462_528_558,
        "FtfjiHO57b0nREDiHhRjDWGb+GIi8UCpXgxOC1Ir39E317lAN9IJjVsePpgXs1R/Z7qbo/KyWT8=",
        at(37, 494_211_497),
    );
    let broker = |message_id: &str, tenant_id: &str, gateway_id: &str, hops: Vec<Value>| {
        Some(Box::new(made(|broker: &mut PacketBroker| {
            broker.message_id = message_id.to_owned();
            broker.forwarder_net_id = "000013".to_owned();
            broker.forwarder_tenant_id = tenant_id.to_owned();
            broker.forwarder_cluster_id = "ttn-v2-eu-1".to_owned();
            broker.forwarder_gateway_eui = "B827EBFFFE8F1234".to_owned();
            broker.forwarder_gateway_id = gateway_id.to_owned();
            broker.home_network_net_id = "000013".to_owned();
            broker.home_network_tenant_id = "ttn".to_owned();
            broker.home_network_cluster_id = "eu1.cloud.thethings.network".to_owned();
            broker.hops = hops;
        })))
    };
    let of_v2 = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "packetbroker".to_owned();
        gateway.packet_broker = broker(
            "01JV7041X118KMTNTGKEGJ0PJM",
            "ttnv2",
            "eui-b827ebfffe8f1234",
            vec![
                json!({
                    "received_at": "2025-05-14T08:21:37.729216860Z",
                    "sender_name": "router-dataplane-57d9d9bddd-x8k2m",
                    "receiver_name": "router-5b5dc54cf7-psnt7",
                    "receiver_agent": "pbrouter/1.5.2 go/1.19.2 linux/amd64"
                }),
                json!({
                    "received_at": "2025-05-14T08:21:37.250776107Z",
                    "sender_address": "forwarder_uplink",
                    "receiver_name": "router-5b5dc54cf7-psnt7",
                    "receiver_agent": "pbrouter/1.5.2 go/1.19.2 linux/amd64"
                }),
            ],
        );
        gateway.time = at(37, 858_428_850);
        gateway.rssi = Some(-115.0);
        gateway.channel_rssi = Some(-115.0);
        gateway.snr = Some(-3.5);
        gateway.location = Some(place(51.9225, 4.4792, 22, "registry"));
        gateway.uplink_token = "MU/tyGTM1OgjSG48dTE8p925KU6MvMQQosiItM1zNk7FCHXKnHB0jcPdHSp+FBHaFPbKZSgE/qXW9RAlYvBO/4LqXWIiHOypTGFGoDz41Fun9QwUzX5hoH3m".to_owned();
        gateway.received_at = at(37, 811_947_534);
    });
    let of_a_tenant = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "packetbroker".to_owned();
        gateway.packet_broker = broker(
            "01JV6YMAPEFNJC1NGMK37TM2N9",
            "tenant-b",
            "north-gw",
            Vec::new(),
        );
        gateway.time = at(37, 565_279_603);
        gateway.rssi = Some(-120.0);
        gateway.channel_rssi = Some(-120.0);
        gateway.snr = Some(-9.25);
        gateway.uplink_token = "haj6rB9Uk6dZy4dlAt3yiwUqqebOjb46rvW9izIuo0afdwNGjvSwtLDFkmEnMamwhtiroE8dxlAFzXFX44olBl4tDLziggJ9q46xAD7pFOJnupGOMHaRVmRZ".to_owned();
        gateway.received_at = at(37, 966_301_036);
    });
    let expected = bed_07(
        "gs:uplink:01JV71H1ACFTJFQ8X51GZP3T8V",
        at(37, 619_598_752),
        lora(at(37, 946_549_687), vec![own, of_v2, of_a_tenant]),
    );
    assert_eq!(uplink("up-lora-packet-broker-gateways"), expected);
}

#[test]
fn a_gateway_with_gps_that_must_not_transmit() {
    let mast = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "mast-gps".to_owned();
        gateway.eui = "24E124FFFEF0AABB".to_owned();
        gateway.time = at(37, 41_000_000);
        gateway.gps_time = at(37, 41_000_000);
        gateway.timestamp = Some(746_820_105);
        gateway.rssi = Some(-88.0);
        gateway.channel_rssi = Some(-88.0);
        gateway.snr = Some(11.0);
        let mut location = place(-33.8568, 151.2153, 58, "gps");
        location.accuracy = Some(5);
        gateway.location = Some(location);
        gateway.downlink_path_constraint = "NEVER".to_owned();
        gateway.uplink_token =
            "0MvHAg54DwOSJZMU6K2MeDxEyD52IrRZkcIaAYKe/fuxrHTalBnIobs2JdT8lZB+RmCYcFQ2j/M="
                .to_owned();
        gateway.channel = 3;
        gateway.received_at = at(37, 361_595_385);
        gateway.extra = object(json!({
            "advanced": {"vendor_temperature_c": 41.5, "dir": {"azimuth": 180}}
        }));
    });
    let mut metadata = lora(at(37, 535_260_494), vec![mast]);
    metadata.gateway_time = at(37, 41_000_000);
    let expected = bed_07(
        "gs:uplink:01JV6Y6ADX85C3PHZZY30ACHY1",
        at(37, 314_851_628),
        metadata,
    );
    assert_eq!(uplink("up-lora-gps-time-and-path-constraint"), expected);
}

#[test]
fn an_airtime_may_be_longer_than_a_second() {
    let mut gateway = roof_east(
        1_182_029_790,
        "pcJ61ALSlxDSKEQpKOy3DorCEBj+MUGXMQNMhSTv4tNhj7kifAS/XxnDX1JrGk4wHXsbPvMhAZU=",
        at(37, 443_233_308),
    );
    gateway.rssi = Some(-128.0);
    gateway.channel_rssi = Some(-128.0);
    gateway.snr = Some(-19.8);
    let mut metadata = lora(at(37, 222_106_766), vec![gateway]);
    metadata.data_rate = "SF12BW125".to_owned();
    metadata.airtime = Some(Duration::from_micros(2_793_472));
    let expected = Uplink {
        payload_raw: vec![0; 51],
        ..bed_07(
            "gs:uplink:01JV6ZKKHA2Z7YQ45RJWFMH8QY",
            at(37, 854_224_285),
            metadata,
        )
    };
    assert_eq!(uplink("up-lora-sf12-long-airtime"), expected);
}

#[test]
fn a_long_payload_arrives_whole() {
    let gateway = roof_east(
        2_449_933_015,
        "9aXBgyLuq8nR89UrR3Gbx8TscfJ2R5vVR7eow8ZJaA/aA4PCJluvu+0fismzEhnGLPVfpQ9wQjY=",
        at(37, 880_032_055),
    );
    let mut metadata = lora(at(37, 413_566_192), vec![gateway]);
    metadata.airtime = Some(Duration::from_micros(368_896));
    let expected = Uplink {
        payload_raw: (0..222).collect(),
        ..bed_07(
            "gs:uplink:01JV71D5DSWMVY71VXK8NBK5BY",
            at(37, 5_957_006),
            metadata,
        )
    };
    assert_eq!(uplink("up-lora-sf7-largest-payload"), expected);
}

#[test]
fn a_wide_american_channel_and_a_tenant_of_its_own() {
    let depot = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "depot-us".to_owned();
        gateway.eui = "24E124FFFEF31337".to_owned();
        gateway.timestamp = Some(831_113_787);
        gateway.rssi = Some(-71.0);
        gateway.channel_rssi = Some(-71.0);
        gateway.snr = Some(12.5);
        gateway.uplink_token =
            "I4HxArHWgmax9bzs7poH2M/H19qR7XRba8lG+hw2yVPRa8LLN9irTflEM0pf4yLsCQhZRy98+Ig="
                .to_owned();
        gateway.channel = 8;
        gateway.received_at = at(37, 358_154_847);
    });
    let mut metadata = lora(at(37, 471_644_586), vec![depot]);
    metadata.frequency = Some(904.6);
    metadata.data_rate = "SF8BW500".to_owned();
    metadata.airtime = Some(Duration::from_micros(25_792));
    let expected = Uplink {
        app_id: "cold-chain".to_owned(),
        dev_id: "truck-12".to_owned(),
        dev_addr: "27FD00A1".to_owned(),
        network_ids: Some(made(|ids: &mut NetworkIds| {
            ids.net_id = "000013".to_owned();
            ids.ns_id = "EC656E0000000181".to_owned();
            ids.tenant_id = "acme".to_owned();
            ids.cluster_id = "nam1".to_owned();
            ids.cluster_address = "nam1.cloud.thethings.industries".to_owned();
            ids.tenant_address = "acme.nam1.cloud.thethings.industries".to_owned();
        })),
        ..bed_07(
            "gs:uplink:01JV6YBTY8XN5HNWPXBRBAVTSY",
            at(37, 886_244_351),
            metadata,
        )
    };
    assert_eq!(uplink("up-lora-us915"), expected);
}

#[test]
fn an_fsk_uplink_has_a_bit_rate_and_no_data_rate() {
    let mut gateway = roof_east(
        1_990_395_463,
        "Mo5CtxftuMqcFDINa1ugif55nyZpja+xwz6nsntis6dW/U3HGNcon1hqGLkpqUZQpybyrQ/JbWg=",
        at(37, 875_445_595),
    );
    gateway.rssi = Some(-77.0);
    gateway.channel_rssi = Some(-77.0);
    gateway.snr = None;
    gateway.channel = 8;
    let mut metadata = lora(at(37, 510_274_984), vec![gateway]);
    metadata.frequency = Some(868.8);
    metadata.modulation = "FSK".to_owned();
    metadata.data_rate = String::new();
    metadata.coding_rate = String::new();
    metadata.bit_rate = Some(50_000);
    metadata.airtime = Some(Duration::from_micros(4_640));
    let expected = bed_07(
        "gs:uplink:01JV6YJPD0VHDNFHH9Y71HT8ST",
        at(37, 308_311_112),
        metadata,
    );
    assert_eq!(uplink("up-fsk"), expected);
}

#[test]
fn an_lr_fhss_uplink_has_a_channel_width_and_a_drift() {
    let gateway = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "lr-gw".to_owned();
        gateway.eui = "24E124FFFEF45566".to_owned();
        gateway.timestamp = Some(3_370_655_506);
        gateway.rssi = Some(-121.0);
        gateway.channel_rssi = Some(-121.0);
        gateway.frequency_offset = Some(871);
        gateway.frequency_drift = Some(-12);
        gateway.hopping_width = Some(35);
        gateway.uplink_token =
            "qnVqOCHT0vXsABagdvGt2OUOTryAFRfMezJFCfz70efQuJTUcFMepsZrREITpqajWP6ClQkkSaY="
                .to_owned();
        gateway.channel = 10;
        gateway.received_at = at(37, 337_610_821);
    });
    let mut metadata = lora(at(37, 898_789_976), vec![gateway]);
    metadata.frequency = Some(867.7);
    metadata.modulation = "LR_FHSS".to_owned();
    metadata.data_rate = "M0CW137".to_owned();
    metadata.coding_rate = "1/3".to_owned();
    metadata.airtime = Some(Duration::from_micros(1_236_992));
    let expected = Uplink {
        payload_raw: vec![1, 2, 3, 4, 5],
        ..bed_07(
            "gs:uplink:01JV6Z87SV8NCCN1C9B9YAQQ86",
            at(37, 833_355_104),
            metadata,
        )
    };
    assert_eq!(uplink("up-lrfhss"), expected);
}

#[test]
fn a_frame_may_have_a_port_and_no_payload() {
    let gateway = roof_east(
        3_717_359_740,
        "FRY7yTNeWnyPihdmqGHVbsn9bI6KM220NjtXyiCjLuDU4ynBTGBWqnibb2iwFw1v/nDoyljmX+E=",
        at(37, 991_220_503),
    );
    let mut metadata = lora(at(37, 323_871_157), vec![gateway]);
    metadata.airtime = Some(Duration::from_micros(46_336));
    let expected = Uplink {
        port: 10,
        payload_raw: Vec::new(),
        ..bed_07(
            "gs:uplink:01JV7025CJTXJFC019BG974K1X",
            at(37, 394_331_018),
            metadata,
        )
    };
    assert_eq!(uplink("up-empty-payload"), expected);
}

#[test]
fn a_frame_of_commands_alone_has_port_0() {
    let gateway = roof_east(
        1_237_195_548,
        "s9/YvI7tu8HEgeU9QOUwUB3SnH+w0OiItKi+sN4+SpcQgmoXwdkVEYkpbZCDJKpOoq1RTJFudVs=",
        at(37, 638_747_090),
    );
    let mut metadata = lora(at(37, 701_381_625), vec![gateway]);
    metadata.airtime = Some(Duration::from_micros(46_336));
    let expected = Uplink {
        port: 0,
        counter: 121,
        payload_raw: Vec::new(),
        ..bed_07(
            "gs:uplink:01JV6Z1Q9BZ4V79MJ7EKPXV45P",
            at(37, 135_129_907),
            metadata,
        )
    };
    assert_eq!(uplink("up-port-zero-mac-only"), expected);
}

#[test]
fn the_first_frame_of_a_session_has_counter_0() {
    let gateway = roof_east(
        1_014_472_321,
        "TnxofmrG/xSRH5VbKdQNaoJJGxjnhC9iHKoWdPy/rt3HvQAooVwA9pY/kdPI5Q3Wzx6tO6SuI5c=",
        at(37, 192_593_152),
    );
    let expected = Uplink {
        counter: 0,
        ..bed_07(
            "gs:uplink:01JV703WP22YK29RWB238X8Y9W",
            at(37, 117_869_629),
            lora(at(37, 129_362_587), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-first-frame-counter-zero"), expected);
}

#[test]
fn an_uplink_without_gateways_is_not_taken_for_a_simulated_one() {
    let expected = bed_07(
        "gs:uplink:01JV6YPV672RY0P6P3ABYVSTDY",
        at(37, 48_083_552),
        lora(at(37, 278_679_871), Vec::new()),
    );
    assert_eq!(uplink("up-no-gateways"), expected);
}

#[test]
fn a_confirmed_uplink_and_a_counter_beyond_16_bits() {
    let gateway = roof_east(
        2_854_483_980,
        "TiKdiR93xJd/9grH75uXz1q6pSr7GBuNZ33N1O/LuW39SViGKRfLYQJjwulZ0GiZE2GHMMjruAo=",
        at(37, 248_145_965),
    );
    let expected = Uplink {
        counter: 65_536,
        confirmed: true,
        ..bed_07(
            "gs:uplink:01JV6YGNMXDAPFHQ90H5K9TZAM",
            at(37, 959_918_965),
            lora(at(37, 295_605_595), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-confirmed"), expected);
}

#[test]
fn fields_may_be_nested_and_hold_any_text() {
    let gateway = roof_east(
        3_431_012_227,
        "q3IXS8ZWnzegIuaOj8vPX8JxeWSDJXrlPmImhi0xDWrO+vyJH8eKIZPaSeQS+64tG1Vv+zEJzrw=",
        at(37, 530_064_273),
    );
    let mut metadata = lora(at(37, 193_179_241), vec![gateway]);
    metadata.airtime = Some(Duration::from_micros(46_336));
    let expected = Uplink {
        port: 4,
        payload_raw: vec![0x7b, 0x01],
        payload_fields: json!({
            "position": {"hdop": 0.9, "lat": 52.3736735, "lon": 4.886663},
            "empty_object": {},
            "raw": [0, 255, 500, 1000],
            "matrix": [[1, 2], [3, 4]],
            "text": "why not \u{2014} gr\u{fc}\u{df}e \u{6f22}\u{5b57}",
            "none": null,
            "empty_list": [],
            "sensors": [
                {"id": "a", "value": 21.5, "ok": true},
                {"id": "b", "value": null, "ok": false}
            ]
        }),
        ..bed_07(
            "gs:uplink:01JV6Z0FXHTF9N9SVTYC69RFW8",
            at(37, 764_724_315),
            metadata,
        )
    };
    assert_eq!(uplink("up-decoded-nested"), expected);
}

#[test]
fn fields_may_be_empty_and_are_there_then() {
    let gateway = roof_east(
        1_249_951_351,
        "P01tjL9Gb4Cor4htNc6s8bpIlwnNEBYWew5tgkJTyAa5SokhE+ypjY26lDMdVtsNm+GD9dkTMdU=",
        at(37, 348_027_138),
    );
    let expected = Uplink {
        payload_fields: json!({}),
        ..bed_07(
            "gs:uplink:01JV709WQ4EF9BKFBWTGESFFYK",
            at(37, 436_676_258),
            lora(at(37, 560_832_378), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-decoded-empty-object"), expected);
}

#[test]
fn a_formatter_may_warn() {
    let gateway = roof_east(
        1_939_352_541,
        "5hQfr/LTjc8Tuxzts9FtVyQsLxknLpO0sDwADW2ZmBII7h/IFzhiVqCsMxXY6SdvnCWk1uB2K+Q=",
        at(37, 837_496_816),
    );
    let expected = Uplink {
        payload_fields: json!({"level": 101.2}),
        payload_warnings: strings(&["level above 100", "calibration missing"]),
        ..bed_07(
            "gs:uplink:01JV6Z872310K4Q61AV050F400",
            at(37, 933_047_234),
            lora(at(37, 817_199_695), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-decoded-with-warnings"), expected);
}

#[test]
fn a_formatter_that_failed_leaves_no_fields() {
    let gateway = roof_east(
        3_535_318_584,
        "nIm1FuJY+Iwwo4r0MWeADp5Uf28DV9/teiAmQ4HTUy/qSv+2T2nl9apfrhsK8qNJdL1/Hyzk1A0=",
        at(37, 36_036_678),
    );
    let expected = Uplink {
        port: 99,
        payload_raw: vec![0xde, 0xad, 0xbe, 0xef],
        payload_fields: Value::Null,
        ..bed_07(
            "gs:uplink:01JV71FGYA6NXWKEBKY9HFXD2P",
            at(37, 701_114_492),
            lora(at(37, 282_187_592), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-decode-failed"), expected);
}

#[test]
fn fields_of_cayenne_have_a_name_for_each_channel() {
    let gateway = roof_east(
        3_606_946_518,
        "MU8/HPArz6MNtwlwxH+kCXllgJ+/ET4+a3nieZtHpW6BNPkxLU1uznkolsC90Lnu+5/MiSO7ZYg=",
        at(37, 434_181_557),
    );
    let mut metadata = lora(at(37, 577_097_375), vec![gateway]);
    metadata.airtime = Some(Duration::from_micros(56_576));
    let expected = Uplink {
        payload_raw: vec![0x01, 0x67, 0x01, 0x10, 0x02, 0x68, 0x32],
        payload_fields: json!({"temperature_1": 27.2, "relative_humidity_2": 25}),
        ..bed_07(
            "gs:uplink:01JV6YX9ZPP6BQ3YDVPW5W0SZN",
            at(37, 169_109_669),
            metadata,
        )
    };
    assert_eq!(uplink("up-cayenne"), expected);
}

#[test]
fn measurements_in_the_networks_words_are_a_list() {
    let gateway = roof_east(
        3_210_798_052,
        "PF6toKAoR++E+autfJriZIVRRjfOOc8JM8DztegliqPKef6F2q7l5JUdBx4wRmV7Qs9O6j81JCE=",
        at(37, 152_159_084),
    );
    let expected = Uplink {
        payload_fields: json!({"t": 21.5, "h": 60}),
        normalized_payload: vec![json!({"air": {"temperature": 21.5, "relativeHumidity": 60}})],
        ..bed_07(
            "gs:uplink:01JV718VTA0V0DDVDGKKPZHQK0",
            at(37, 490_240_406),
            lora(at(37, 285_014_632), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-normalized-payload"), expected);
}

#[test]
fn a_device_may_have_several_locations_and_the_users_is_the_location() {
    let gateway = roof_east(
        2_336_915_358,
        "WE191W8zUA1QiQMfGi6PG9FAHeJcCpcvnz5ReaZeHr1m9dBYSFu6lImtJXjy7wZ5o421kPjPBNY=",
        at(37, 897_423_950),
    );
    let mut metadata = lora(at(37, 598_845_766), vec![gateway]);
    let mut by_payload = place(52.37312, 4.89301, 1, "gps");
    by_payload.accuracy = Some(12);
    let mut by_cloud = place(52.374, 4.895, 0, "lora_tdoa_geolocation");
    by_cloud.accuracy = Some(350);
    metadata.location = Some(bed());
    metadata.locations = BTreeMap::from([
        ("frm-payload".to_owned(), by_payload),
        ("lora-cloud-geolocation-v3".to_owned(), by_cloud),
        ("user".to_owned(), bed()),
    ]);
    let expected = Uplink {
        payload_fields: json!({"latitude": 52.37312, "longitude": 4.89301}),
        ..bed_07(
            "gs:uplink:01JV701VB5S5PS066H2Q9X96F4",
            at(37, 753_783_270),
            metadata,
        )
    };
    assert_eq!(uplink("up-locations-several"), expected);
}

#[test]
fn a_device_of_the_repository_names_its_product() {
    let gateway = roof_east(
        2_152_738_193,
        "cl+dziJOB15q24sB0/4UuO0WbkxRJ1Qu+YFgNmGkxt0kJXtQjYwDrxptSdLlG5dRPOj6d2BihZU=",
        at(37, 834_262_863),
    );
    let expected = Uplink {
        version_ids: Some(made(|ids: &mut VersionIds| {
            ids.brand_id = "milesight-iot".to_owned();
            ids.model_id = "ws302".to_owned();
            ids.hardware_version = "1.0".to_owned();
            ids.firmware_version = "1.15".to_owned();
            ids.band_id = "EU_863_870".to_owned();
        })),
        ..bed_07(
            "gs:uplink:01JV6Y95ERKCP3E9DPTW5VYT6K",
            at(37, 223_423_939),
            lora(at(37, 71_245_730), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-version-ids-lora-alliance"), expected);
}

#[test]
fn the_battery_is_as_the_device_last_reported_it() {
    let gateway = roof_east(
        2_305_691_955,
        "3rLUkrsKW319a5K3JZbhffAlbDI2xLAIlPOi2A50XenFQUf9Ix5lwytCqr07oNYDiDGS8hMcv18=",
        at(37, 179_084_843),
    );
    let expected = Uplink {
        battery: Some(made(|battery: &mut Battery| {
            battery.percentage = Some(87.40157);
            battery.counter = 96;
            battery.received_at =
                at(37, 869_507_215).map(|time| time - Duration::from_secs(24 * 3600));
        })),
        ..bed_07(
            "gs:uplink:01JV71BW1SH59ZYP7KSYB574SM",
            at(37, 89_961_939),
            lora(at(37, 631_280_177), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-battery-3-33"), expected);
}

#[test]
fn a_device_has_attributes() {
    let gateway = roof_east(
        137_094_326,
        "eKUuDeF29pFf9palv7DnSKCT3+A8WD3W+cGtpIY0FUHFSM7f1K6vr/olSDuGd5F7byEouh23Gz0=",
        at(37, 990_314_154),
    );
    let mut metadata = lora(at(37, 421_822_672), vec![gateway]);
    metadata.location = Some(bed());
    metadata.locations = BTreeMap::from([("user".to_owned(), bed())]);
    let attributes = [("row", "7"), ("installed-by", "J. Doe"), ("site", "hall-b")];
    let expected = Uplink {
        attributes: attributes
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into(),
        ..bed_07(
            "gs:uplink:01JV6YRTWVS95PJW7AVJWP6BGX",
            at(37, 821_939_753),
            metadata,
        )
    };
    assert_eq!(uplink("up-attributes-3-34"), expected);
}

#[test]
fn an_encrypted_payload_comes_with_its_key() {
    let gateway = roof_east(
        2_706_202_842,
        "X7bxOdetfhLGqdgdmzUWn6Mg1aSRmiCk9wiuy7Vr+fgMNoOI34ploWHvw214plQfAJS5uy/FZnk=",
        at(37, 167_166_049),
    );
    let expected = Uplink {
        payload_raw: vec![0x9f, 0x1c, 0x22, 0xa0],
        app_s_key: Some(made(|key: &mut KeyEnvelope| {
            key.kek_label = "ns:000013:acme:kek1".to_owned();
            key.encrypted_key = vec![
                0x27, 0xac, 0x2f, 0x93, 0xd4, 0x8f, 0x39, 0xd1, 0xdf, 0xe3, 0xd5, 0x34, 0x19, 0x14,
                0xe0, 0x93, 0x7b, 0xa8, 0x6d, 0x95, 0xf2, 0xf0, 0x6d, 0x2e,
            ];
        })),
        last_downlink_counter: Some(41),
        ..bed_07(
            "gs:uplink:01JV6ZBVSDD4B5KVDJ9QFD3Q8N",
            at(37, 164_789),
            lora(at(37, 547_759_288), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-skip-payload-crypto"), expected);
}

#[test]
fn a_simulated_uplink_says_so() {
    let gateway = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "test".to_owned();
        gateway.rssi = Some(42.0);
        gateway.channel_rssi = Some(42.0);
        gateway.snr = Some(4.2);
    });
    let expected = Uplink {
        counter: 0,
        simulated: true,
        correlation_ids: strings(&[
            "as:up:01JV6ZN1YDBZA05D2Z3VN0Q418",
            "rpc:/ttn.lorawan.v3.AppAs/SimulateUplink:01JV6YCJHPMQQPY0EPKMPJN04T",
        ]),
        ..bed_07(
            "",
            at(37, 929_156_672),
            lora(at(37, 869_287_225), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-simulated"), expected);
}

#[test]
fn a_device_activated_by_personalisation_may_have_no_euis() {
    let gateway = roof_east(
        564_337_713,
        "YB0tA+bIUFpkgO/ne7FtZNzw5/B6hzJJmBA5ZWfMxQE6end4XLK8X1RRlZQ+bRbayvzHpwUr7do=",
        at(37, 764_286_185),
    );
    let expected = Uplink {
        dev_id: "abp-1".to_owned(),
        hardware_serial: String::new(),
        app_eui: String::new(),
        ..bed_07(
            "gs:uplink:01JV6YC74ZRDFXS4GBEY3SJVMV",
            at(37, 529_911_124),
            lora(at(37, 701_033_319), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-abp-device"), expected);
}

#[test]
fn there_may_be_many_correlation_ids() {
    let gateway = roof_east(
        658_148_242,
        "lRCNbughmyKjY7y5O/wqIhAtObGXEnPWc7zegPMsED/pBtcBeaw35WN6h9R+wT2fHUU9qDoLjic=",
        at(37, 612_645_655),
    );
    let expected = Uplink {
        correlation_ids: strings(&[
            "as:up:01JV70DQJ8W6M7SVYGJCW4Z743",
            "gs:conn:01JV71JT1Z3RDY1GEXAE8W3C93",
            "gs:up:host:01JV6YTR3V3DKHBQ9SE2822M5B",
            "gs:uplink:01JV6Y7MZV0QWME8FP7P79494M",
            "ns:uplink:01JV6ZT5EH3BBEJ8M6RPF41FFF",
            "rpc:/ttn.lorawan.v3.GsNs/HandleUplink:01JV6Z2JPP8QY54EFNWQN1M1WV",
            "rpc:/ttn.lorawan.v3.NsAs/HandleUplink:01JV700DX23208W40NJ72243PN",
        ]),
        ..bed_07(
            "",
            at(37, 955_301_291),
            lora(at(37, 770_134_719), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-many-correlation-ids-pre-3-28"), expected);
}

#[test]
fn members_of_later_releases_stay_reachable_at_their_level() {
    let mut gateway = roof_east(
        499_548_016,
        "2cwMh5d2KtbBkt6TKPH3ZFj2K/hSEXCf4SD0tHzO21NiRgavnOWTBLbSmYnBK5mrhDjsnqWpI3g=",
        at(37, 352_964_392),
    );
    gateway.extra = object(json!({"angle_of_arrival": {"azimuth": 12.5}}));
    let mut metadata = lora(at(37, 189_029_902), vec![gateway]);
    metadata.extra = object(json!({"polarization": "RIGHT"}));
    let expected = Uplink {
        payload_fields: json!({"x": 1}),
        extra: object(json!({"device_channel_index": 3, "tenant_ids": {"tenant_id": "ttn"}})),
        ..bed_07(
            "gs:uplink:01JV70T6R6AYZCHDW1QY7JZ0CR",
            at(37, 843_238_717),
            metadata,
        )
    };
    assert_eq!(uplink("up-unknown-future-fields"), expected);
}

#[test]
fn numbers_may_be_written_as_text() {
    let mut gateway = roof_east(
        26_175_153,
        "8ZSubfee5AfPfuNX2gqozEVjc7E8O+qgDjsZnvU8vJTJNpiQT9HJ9KMAhF2/hQIR/E3mArlD0+8=",
        at(37, 84_624_807),
    );
    gateway.fine_timestamp = Some(7);
    gateway.frequency_offset = Some(-5);
    let expected = bed_07(
        "gs:uplink:01JV6YB4FBPDHSFRCH50GWS2GC",
        at(37, 102_184_805),
        lora(at(37, 435_338_845), vec![gateway]),
    );
    assert_eq!(uplink("up-numbers-as-strings"), expected);
}

#[test]
fn null_is_the_same_as_absent() {
    let gateway = roof_east(
        2_598_442_425,
        "HgEUBmLGexpS4MwCibc0DKm58zkx6nSg/zNKCK7y05ZMnt/RnDpK4X7g+vJFKgAjNtaoqeP3DOM=",
        at(37, 205_380_560),
    );
    let expected = Uplink {
        correlation_ids: Vec::new(),
        ..bed_07(
            "",
            at(37, 471_279_862),
            lora(at(37, 495_071_191), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-explicit-nulls"), expected);
}

#[test]
fn a_message_on_one_line_keeps_its_signs() {
    let gateway = roof_east(
        963_546_800,
        "Pi28w321P77b/vWwTQldTQYNpoKCNFGfJA8uA/GJQGql28qqdmR0HypWfEq6TXSuUaRtGmQTg+w=",
        at(37, 112_883_446),
    );
    let expected = Uplink {
        payload_fields: json!({"note": "a<b & c>d \"quoted\" back\\\\slash tab\there"}),
        attributes: BTreeMap::from([("label".to_owned(), "<b>&</b>".to_owned())]),
        ..bed_07(
            "gs:uplink:01JV71DHTQ7S4RTZ51EFC0WQ9R",
            at(37, 344_611_577),
            lora(at(37, 730_927_372), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-compact-one-line"), expected);
}

#[test]
fn one_measurement_is_an_event_of_its_own() {
    let Event::UplinkNormalized(normalized) = decode("normalized-air") else {
        panic!()
    };
    let gateway = roof_east(
        3_925_743_778,
        "C/reHDKx3hMyCTS7rjlL55CVf3ftifPpUchrtFrK7jg/NLgbAm+4LvQydAMb6Pwq2rOKqDHOPKA=",
        at(37, 83_526_915),
    );
    let expected = Uplink {
        normalized_payload: vec![json!({"air": {"temperature": 21.5, "relativeHumidity": 60}})],
        packet_error_rate: None,
        ..bed_07(
            "gs:uplink:01JV6YCSN0H85TN4TBQ33FY71V",
            at(37, 91_053_474),
            lora(at(37, 393_738_823), vec![gateway]),
        )
    };
    assert_eq!(seen((*normalized).clone()), expected);
}

fn join(name: &str) -> Activation {
    match decode(name) {
        Event::Activation(join) => (*join).clone(),
        event => panic!("{name}: {event:?}"),
    }
}

/// What both joins of the fixtures have in common.
fn assert_is_join_of_bed_07(join: &Activation) {
    assert_eq!(
        (join.app_id.as_str(), join.dev_id.as_str()),
        ("greenhouse", "bed-07")
    );
    assert_eq!(join.app_eui, "A840410000000101");
    assert_eq!(join.dev_eui, "70B3D57ED0051A2B");
    assert_eq!(join.dev_addr, "260B77F0");
    assert!(!join.pending_session);
    assert_eq!(join.app_s_key, None);
    assert!(join.invalidated_downlinks.is_empty());
}

#[test]
fn a_join_has_the_new_address_and_no_radio_metadata() {
    let join = join("join-accept");
    assert_is_join_of_bed_07(&join);
    assert_eq!(join.received_at, at(42, 725_442_951));
    assert_eq!(
        join.correlation_ids,
        ["gs:uplink:01JV6ZTMAXJ2P1YYRRX3APFJMC"]
    );
    assert_eq!(
        join.session_key_id,
        [
            0x64, 0x12, 0xd1, 0x88, 0x6e, 0x36, 0xc2, 0xca, 0xf3, 0xa6, 0x50, 0xf4, 0x72, 0xf1,
            0xb0, 0x99
        ]
    );
    let only_time = made(|metadata: &mut Metadata| metadata.time = at(41, 333_214_877));
    assert_eq!(join.metadata, only_time);
    assert!(join.extra.is_empty(), "{:?}", join.extra);
}

#[test]
fn a_join_keeps_what_release_3_34_added() {
    let join = join("join-accept-attributes-3-34");
    assert_is_join_of_bed_07(&join);
    assert_eq!(join.received_at, at(42, 228_263_304));
    assert_eq!(
        join.correlation_ids,
        ["gs:uplink:01JV71BD2F5MBSEHXNKEYA5VJ0"]
    );
    assert_eq!(
        join.session_key_id,
        [
            0x1a, 0x7e, 0xc6, 0x5f, 0x19, 0x49, 0x40, 0x55, 0x63, 0x57, 0x59, 0x14, 0x63, 0x6f,
            0x64, 0x7c
        ]
    );
    let only_time = made(|metadata: &mut Metadata| metadata.time = at(41, 313_871_185));
    assert_eq!(join.metadata, only_time);
    assert_eq!(
        join.extra,
        object(json!({
            "locations": {"user": bed_json()},
            "version_ids": {"brand_id": "dragino", "model_id": "lht65"},
            "network_ids": ttn_eu1_json(),
            "attributes": {"site": "hall-b"}
        }))
    );
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

/// The downlink event of a fixture.
fn step(name: &str) -> Step {
    seen_step(downlink_of(decode(name)))
}

/// What most downlink events of the fixtures have in common.
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

/// The error of a failed downlink; its parts as in the message.
fn failed(step: Step, error: &str, details: ErrorDetails) -> Step {
    Step {
        error: error.to_owned(),
        error_details: Some(details),
        ..step
    }
}

fn details(
    component: &str,
    name: &str,
    message_format: &str,
    correlation_id: &str,
    code: u32,
) -> ErrorDetails {
    made(|details: &mut ErrorDetails| {
        details.namespace = format!("pkg/{component}");
        details.name = name.to_owned();
        details.message_format = message_format.to_owned();
        details.correlation_id = correlation_id.to_owned();
        details.code = code;
    })
}

#[test]
fn a_queued_downlink_has_no_counter_yet() {
    let expected = Step {
        priority: Some(Priority::Normal),
        ..beef(DownlinkStep::Queued, at(46, 713_998_596))
    };
    assert_eq!(step("down-queued"), expected);
}

#[test]
fn a_priority_that_is_left_out_is_the_lowest() {
    let expected = Step {
        payload_raw: vec![0],
        priority: Some(Priority::Lowest),
        ..beef(DownlinkStep::Queued, at(46, 631_709_667))
    };
    assert_eq!(step("down-queued-lowest-priority"), expected);
}

#[test]
fn a_confirmed_downlink_counts_its_attempts() {
    let ids = strings(&[DOWNLINK_ID, "valve-open-0042"]);
    let expected = Step {
        confirmed: true,
        priority: Some(Priority::High),
        correlation_ids: ids.clone(),
        event_correlation_ids: ids,
        attempt: Some(1),
        ..beef(DownlinkStep::Queued, at(46, 298_305_105))
    };
    assert_eq!(step("down-queued-confirmed"), expected);
}

#[test]
fn a_downlink_of_fields_has_the_encoders_bytes() {
    let expected = Step {
        port: 2,
        payload_raw: vec![3, 1],
        payload_fields: json!({"valve": 3, "open": true}),
        payload_warnings: strings(&["duration missing, using default"]),
        ..beef(DownlinkStep::Queued, at(46, 457_768_584))
    };
    assert_eq!(step("down-queued-decoded"), expected);
}

#[test]
fn a_downlink_may_have_no_payload() {
    let expected = Step {
        port: 1,
        payload_raw: Vec::new(),
        ..beef(DownlinkStep::Queued, at(46, 121_322_619))
    };
    assert_eq!(step("down-queued-empty-payload"), expected);
}

#[test]
fn a_transmitted_downlink_has_a_counter_and_a_session() {
    let ids = strings(&[
        DOWNLINK_ID,
        "gs:tx_ack:01JV6YYWP2CZZGY5YSFMH26QVN",
        "gs:uplink:01JV6Y7E4CPCDH19XPVBQPVSK0",
    ]);
    let expected = Step {
        session_key_id: SESSION.to_vec(),
        counter: Some(42),
        priority: Some(Priority::Normal),
        correlation_ids: ids.clone(),
        event_correlation_ids: ids,
        ..beef(DownlinkStep::Sent, at(46, 981_627_761))
    };
    assert_eq!(step("down-sent"), expected);
}

#[test]
fn the_first_downlink_of_a_session_has_counter_0_and_may_have_a_raised_priority() {
    let expected = Step {
        session_key_id: SESSION.to_vec(),
        counter: Some(0),
        confirmed: true,
        priority: Some(Priority::Highest),
        ..beef(DownlinkStep::Sent, at(46, 794_072_628))
    };
    assert_eq!(step("down-sent-counter-zero"), expected);
}

#[test]
fn an_acknowledgement_names_the_uplink_that_brought_it() {
    let expected = Step {
        session_key_id: SESSION.to_vec(),
        counter: Some(42),
        confirmed: true,
        priority: Some(Priority::High),
        correlation_ids: strings(&[DOWNLINK_ID, "valve-open-0042"]),
        event_correlation_ids: strings(&[
            DOWNLINK_ID,
            "gs:uplink:01JV712HSB6AY46S35SRNH7R8N",
            "valve-open-0042",
        ]),
        attempt: Some(1),
        ..beef(DownlinkStep::Acknowledged, at(46, 628_515_338))
    };
    assert_eq!(step("down-ack"), expected);
}

#[test]
fn an_acknowledgement_keeps_what_release_3_34_added() {
    let expected = Step {
        session_key_id: SESSION.to_vec(),
        counter: Some(42),
        confirmed: true,
        attempt: Some(1),
        extra: object(json!({
            "locations": {"user": bed_json()},
            "network_ids": ttn_eu1_json(),
            "attributes": {"site": "hall-b"}
        })),
        ..beef(DownlinkStep::Acknowledged, at(46, 866_641_041))
    };
    assert_eq!(step("down-ack-attributes-3-34"), expected);
}

#[test]
fn a_downlink_that_was_not_acknowledged_is_at_its_next_attempt() {
    let expected = Step {
        session_key_id: SESSION.to_vec(),
        counter: Some(42),
        confirmed: true,
        priority: Some(Priority::High),
        event_correlation_ids: strings(&[DOWNLINK_ID, "gs:uplink:01JV70X2DHZZN8TSRZMDFBV7T5"]),
        attempt: Some(2),
        ..beef(DownlinkStep::NotAcknowledged, at(46, 934_167_803))
    };
    assert_eq!(step("down-nack"), expected);
}

#[test]
fn a_downlink_to_a_device_without_a_session_fails() {
    let message = "no device session; check device activation";
    let expected = failed(
        Step {
            priority: Some(Priority::Normal),
            ..beef(DownlinkStep::Failed, at(46, 71_194_287))
        },
        message,
        details(
            "applicationserver",
            "no_device_session",
            message,
            "7d911e399a88ac5bf9a97dcce922637c",
            9,
        ),
    );
    assert_eq!(step("down-failed-no-session"), expected);
}

#[test]
fn a_downlink_without_a_port_fails() {
    let expected = failed(
        Step {
            port: 0,
            ..beef(DownlinkStep::Failed, at(46, 450_215_689))
        },
        "no FPort",
        details(
            "applicationserver",
            "no_f_port",
            "no FPort",
            "0fdde60e7c1e30e9e182260edd5d9956",
            3,
        ),
    );
    assert_eq!(step("down-failed-no-port"), expected);
}

#[test]
fn a_downlink_that_is_too_long_fails_and_says_how_long_it_may_be() {
    let mut error = details(
        "networkserver",
        "application_downlink_too_long",
        "application downlink payload length `{length}` exceeds maximum '{max}'",
        "c7485f4bac02e4b3fa5d16769aa634c5",
        3,
    );
    error.attributes = object(json!({"length": 248, "max": 242}));
    let mut read = step("down-failed-too-long");
    assert_eq!(read.payload_raw.len(), 248);
    assert!(read.payload_raw.starts_with(&[0x31, 0x50, 0x0f, 0x5a]));
    assert!(read.payload_raw.ends_with(&[0xcd, 0x72, 0x5c, 0x3f]));
    read.payload_raw = vec![0xbe, 0xef];
    let expected = failed(
        beef(DownlinkStep::Failed, at(46, 311_926_033)),
        "application downlink payload length `248` exceeds maximum '242'",
        error,
    );
    assert_eq!(read, expected);
}

#[test]
fn a_downlink_that_was_never_acknowledged_fails() {
    let mut error = details(
        "applicationserver",
        "max_retries_reached",
        "maximum number of retries ({max_retries}) reached",
        "9e57d5104d42d1f64c0723f8c99b9c43",
        10,
    );
    error.attributes = object(json!({"max_retries": 8}));
    let expected = failed(
        Step {
            session_key_id: SESSION.to_vec(),
            counter: Some(42),
            confirmed: true,
            attempt: Some(9),
            ..beef(DownlinkStep::Failed, at(46, 566_848_278))
        },
        "maximum number of retries (8) reached",
        error,
    );
    assert_eq!(step("down-failed-max-retries"), expected);
}

#[test]
fn a_downlink_that_the_gateway_could_not_transmit_fails() {
    let mut error = details(
        "networkserver",
        "transmission",
        "downlink transmission failed with result `{result}`",
        "27ca9ed8f003e471177cdbb2d9ff2fe9",
        2,
    );
    error.attributes = object(json!({"result": "TOO_LATE"}));
    let ids = strings(&[DOWNLINK_ID, "gs:tx_ack:01JV6Y5M5MKSZRQMGSY9A73CPW"]);
    let expected = failed(
        Step {
            session_key_id: SESSION.to_vec(),
            counter: Some(42),
            priority: Some(Priority::Normal),
            correlation_ids: ids.clone(),
            event_correlation_ids: ids,
            ..beef(DownlinkStep::Failed, at(46, 216_656_083))
        },
        "downlink transmission failed with result `TOO_LATE`",
        error,
    );
    assert_eq!(step("down-failed-transmission"), expected);
}

#[test]
fn a_downlink_whose_time_has_passed_fails() {
    let expected = failed(
        Step {
            session_key_id: SESSION.to_vec(),
            counter: Some(42),
            class_b_c: Some(made(|class: &mut ClassBC| {
                class.absolute_time = at(0, 0).map(|time| time - Duration::from_secs(21 * 60));
            })),
            ..beef(DownlinkStep::Failed, at(46, 542_899_208))
        },
        "queued downlink is expired",
        details(
            "networkserver",
            "downlink_expired",
            "queued downlink is expired",
            "d5635ba96bf0cf0e67e67f3512d35852",
            9,
        ),
    );
    assert_eq!(step("down-failed-expired"), expected);
}

#[test]
fn a_downlink_by_a_gateway_that_does_not_exist_fails() {
    let message = "invalid fixed paths set in application downlink";
    let expected = failed(
        Step {
            session_key_id: SESSION.to_vec(),
            counter: Some(42),
            class_b_c: Some(made(|class: &mut ClassBC| {
                class.gateways = vec![Antenna::new("no-such-gateway")];
            })),
            ..beef(DownlinkStep::Failed, at(46, 722_343_691))
        },
        message,
        details(
            "networkserver",
            "fixed_paths",
            message,
            "145e515c8e90d107bc93a34fd6125951",
            3,
        ),
    );
    assert_eq!(step("down-failed-fixed-paths"), expected);
}

#[test]
fn a_downlink_into_a_full_queue_fails() {
    let message = "downlink queue capacity exceeded";
    let expected = failed(
        Step {
            priority: Some(Priority::Normal),
            ..beef(DownlinkStep::Failed, at(46, 194_784_235))
        },
        message,
        details(
            "networkserver",
            "downlink_queue_capacity",
            message,
            "906e8af3f2718e4e800205c48eeaab70",
            8,
        ),
    );
    assert_eq!(step("down-failed-queue-full"), expected);
}

#[test]
fn a_downlink_may_fail_without_a_reason() {
    let expected = Step {
        priority: Some(Priority::Normal),
        ..beef(DownlinkStep::Failed, at(46, 171_658_996))
    };
    assert_eq!(step("down-failed-without-error"), expected);
}

#[test]
fn a_failed_downlink_keeps_what_release_3_34_added() {
    let message = "no device session; check device activation";
    let expected = failed(
        Step {
            priority: Some(Priority::Normal),
            extra: object(json!({
                "version_ids": {"brand_id": "dragino", "model_id": "lht65"},
                "network_ids": ttn_eu1_json(),
                "attributes": {"site": "hall-b"}
            })),
            ..beef(DownlinkStep::Failed, at(46, 70_763_259))
        },
        message,
        details(
            "applicationserver",
            "no_device_session",
            message,
            "931cbbdea8a3068b929baebee49b7e64",
            9,
        ),
    );
    assert_eq!(step("down-failed-attributes-3-34"), expected);
}

fn invalidated(name: &str) -> QueueInvalidated {
    match decode(name) {
        Event::QueueInvalidated(invalidated) => (*invalidated).clone(),
        event => panic!("{name}: {event:?}"),
    }
}

#[test]
fn a_queue_that_was_thrown_away_says_what_was_in_it() {
    let invalidated = invalidated("down-queue-invalidated");
    assert_eq!(
        (invalidated.app_id.as_str(), invalidated.dev_id.as_str()),
        ("greenhouse", "bed-07")
    );
    assert_eq!(invalidated.last_downlink_counter, 47);
    assert_eq!(invalidated.session_key_id, SESSION);
    assert_eq!(invalidated.received_at, at(46, 402_177_433));
    assert_eq!(
        invalidated.correlation_ids,
        ["ns:downlink:01JV70W65SFGJ2T4GANA9W1019"]
    );
    assert!(invalidated.extra.is_empty(), "{:?}", invalidated.extra);

    let [first, second] = &invalidated.downlinks[..] else {
        panic!("{invalidated:?}")
    };
    assert_eq!(
        (first.step, second.step),
        (DownlinkStep::Invalidated, DownlinkStep::Invalidated)
    );
    assert_eq!((first.port, first.counter), (15, Some(42)));
    assert_eq!(first.payload_raw, [0xbe, 0xef]);
    assert_eq!(first.correlation_ids, [DOWNLINK_ID]);
    assert_eq!(first.session_key_id, SESSION);
    assert_eq!((second.port, second.counter), (15, Some(43)));
    assert_eq!(second.payload_raw, [0x60, 0xea, 0x82]);
    assert!(second.correlation_ids.is_empty());
    assert_eq!(second.session_key_id, SESSION);
    for downlink in [first, second] {
        assert_eq!(
            (downlink.app_id.as_str(), downlink.dev_id.as_str()),
            ("greenhouse", "bed-07")
        );
        assert!(!downlink.confirmed && downlink.extra.is_empty());
    }
}

#[test]
fn downlinks_that_were_thrown_away_had_a_priority_too() {
    let downlinks = invalidated("down-queue-invalidated").downlinks;
    let priorities: Vec<_> = downlinks.iter().map(|downlink| downlink.priority).collect();
    assert_eq!(priorities, [Some(Priority::Lowest); 2]);
}

#[test]
fn an_empty_queue_may_be_thrown_away() {
    let invalidated = invalidated("down-queue-invalidated-empty");
    assert!(invalidated.downlinks.is_empty());
    assert_eq!(invalidated.last_downlink_counter, 0);
    assert_eq!(invalidated.session_key_id, SESSION);
    assert_eq!(invalidated.received_at, at(46, 392_005_791));
    assert_eq!(
        invalidated.correlation_ids,
        ["ns:downlink:01JV70HM4XC3ASDB56R3N8SBZ0"]
    );
    assert!(invalidated.extra.is_empty(), "{:?}", invalidated.extra);
}

fn solved(name: &str) -> LocationSolved {
    match decode(name) {
        Event::LocationSolved(solved) => (*solved).clone(),
        event => panic!("{name}: {event:?}"),
    }
}

#[test]
fn a_location_out_of_the_payload() {
    let solved = solved("location-solved-frm-payload");
    let mut place = place(52.37312, 4.89301, 1, "gps");
    place.accuracy = Some(12);
    assert_eq!(
        (solved.app_id.as_str(), solved.dev_id.as_str()),
        ("greenhouse", "bed-07")
    );
    assert_eq!(solved.service, "frm-payload");
    assert_eq!(solved.location, place);
    assert!(solved.attributes.is_empty());
    assert_eq!(solved.received_at, at(37, 84_469_020));
    assert_eq!(
        solved.correlation_ids,
        ["gs:uplink:01JV714R3VVFBY4NGEHHT2D26K"]
    );
    assert!(solved.extra.is_empty(), "{:?}", solved.extra);
}

#[test]
fn a_location_by_a_service_has_attributes() {
    let solved = solved("location-solved-attributes");
    let mut place = place(52.374, 4.895, 0, "wifi_rssi_geolocation");
    place.accuracy = Some(35);
    assert_eq!(solved.service, "lora-cloud-device-management-v1");
    assert_eq!(solved.location, place);
    assert_eq!(
        solved.attributes,
        BTreeMap::from([
            ("floor".to_owned(), "3".to_owned()),
            ("access-points".to_owned(), "5".to_owned()),
        ])
    );
    assert_eq!(solved.received_at, at(37, 556_742_332));
    assert_eq!(solved.correlation_ids, ["as:up:01JV6ZKDV6NE8TQEN9JKG81MW5"]);
    assert!(solved.extra.is_empty(), "{:?}", solved.extra);
}

fn service_data(name: &str) -> ServiceData {
    match decode(name) {
        Event::ServiceData(data) => (*data).clone(),
        event => panic!("{name}: {event:?}"),
    }
}

#[test]
fn a_package_may_say_anything() {
    let data = service_data("service-data-lora-cloud");
    assert_eq!(
        (data.app_id.as_str(), data.dev_id.as_str()),
        ("greenhouse", "bed-07")
    );
    assert_eq!(data.service, "lora-cloud-device-management-v1");
    assert_eq!(
        data.data,
        json!({"result": {
            "pending_requests": {"updelay": 0, "upcount": 0, "requests": [], "id": 0},
            "info_fields": {"temp": {"timestamp": 1_747_210_897.5, "value": 23}},
            "log_messages": [],
            "fports": null
        }})
    );
    assert_eq!(data.received_at, at(37, 98_396_319));
    assert_eq!(data.correlation_ids, ["as:up:01JV70A9VQPGJZSH3CJYYX8ZSM"]);
    assert!(data.extra.is_empty(), "{:?}", data.extra);
}

#[test]
fn a_package_may_say_nothing() {
    let data = service_data("service-data-empty");
    assert_eq!(data.service, "custom");
    assert_eq!(data.data, Value::Null);
    assert_eq!(data.received_at, at(37, 480_512_186));
    assert!(data.correlation_ids.is_empty() && data.extra.is_empty());
}

#[test]
fn the_bytes_stay_with_every_message() {
    for name in messages() {
        let event = decode(&name);
        let raw = match &event {
            Event::Uplink(event) | Event::UplinkNormalized(event) => event.raw(),
            Event::Activation(event) => event.raw(),
            Event::Downlink(event) => event.raw(),
            Event::QueueInvalidated(event) => event.raw(),
            Event::LocationSolved(event) => event.raw(),
            Event::ServiceData(event) => event.raw(),
            event => panic!("{name}: {event:?}"),
        };
        assert_eq!(raw.topic(), topic(&name));
        assert_eq!(raw.payload(), fixture(&name), "{name}");
    }
}

#[test]
fn what_is_left_out_is_zero_empty_or_none() {
    let uplink = seen(up(json!({})));
    let expected = Uplink {
        app_id: "greenhouse".to_owned(),
        dev_id: "bed-07".to_owned(),
        packet_error_rate: Some(0.0),
        ..Uplink::default()
    };
    assert_eq!(uplink, expected);

    assert_eq!(gateway(json!({})), Gateway::default());
    assert_eq!(settings(json!({})), Metadata::default());
    assert_eq!(settings(json!({"data_rate": {}})), Metadata::default());
    let read = up(
        json!({"locations": {"user": {}}, "last_battery_percentage": {},
        "app_s_key": {}, "version_ids": {}, "network_ids": {}}),
    );
    assert_eq!(read.metadata.location, Some(Location::default()));
    assert_eq!(read.battery, Some(Battery::default()));
    assert_eq!(read.app_s_key, Some(KeyEnvelope::default()));
    assert_eq!(read.version_ids, Some(VersionIds::default()));
    assert_eq!(read.network_ids, Some(NetworkIds::default()));

    let expected = Step {
        port: 0,
        payload_raw: Vec::new(),
        correlation_ids: Vec::new(),
        event_correlation_ids: Vec::new(),
        ..beef(DownlinkStep::Queued, None)
    };
    assert_eq!(seen_step(queued(json!({}))), expected);
}

#[test]
fn the_last_downlink_counter_is_known_with_a_key_or_when_it_is_sent() {
    let last = |members| up(members).last_downlink_counter;
    assert_eq!(last(json!({})), None);
    assert_eq!(last(json!({"last_a_f_cnt_down": 7})), Some(7));
    assert_eq!(last(json!({"last_a_f_cnt_down": 0})), Some(0));
    assert_eq!(last(json!({"app_s_key": {"kek_label": "own"}})), Some(0));
}

#[test]
fn ids_come_from_the_body_and_else_from_the_topic() {
    let ids = |body: &Value| {
        let uplink = uplink_of(receive("up", body).unwrap());
        (uplink.app_id, uplink.dev_id)
    };
    let owned = |app: &str, dev: &str| (app.to_owned(), dev.to_owned());
    assert_eq!(
        ids(&json!({"uplink_message": {}})),
        owned("greenhouse", "bed-07")
    );
    assert_eq!(
        ids(&json!({"end_device_ids": {"device_id": "bed-08"}, "uplink_message": {}})),
        owned("greenhouse", "bed-08")
    );
    assert_eq!(
        ids(
            &json!({"end_device_ids": {"application_ids": {"application_id": "barn"}}, "uplink_message": {}})
        ),
        owned("barn", "bed-07")
    );
    for (kind, member) in [
        ("join", "join_accept"),
        ("down/queued", "downlink_queued"),
        ("down/invalidated", "downlink_queue_invalidated"),
        ("location/solved", "location_solved"),
        ("service/data", "service_data"),
    ] {
        let event = receive(kind, &json!({member: {}})).unwrap();
        let text = format!("{event:?}");
        assert!(
            text.contains(r#"app_id: "greenhouse", dev_id: "bed-07""#),
            "{text}"
        );
    }
}

#[test]
fn a_64_bit_number_may_be_text_or_a_number() {
    for text in [true, false] {
        let number = |number: i64| match text {
            true => json!(number.to_string()),
            false => json!(number),
        };
        let read = gateway(json!({
            "fine_timestamp": number(999_999_999),
            "frequency_offset": number(-1423)
        }));
        assert_eq!(read.fine_timestamp, Some(999_999_999));
        assert_eq!(read.frequency_offset, Some(-1423));
        let read = settings(json!({"frequency": number(2_403_000_000)}));
        assert_eq!(read.frequency, Some(2403.0));
    }
    let read =
        gateway(json!({"fine_timestamp": u64::MAX.to_string(), "frequency_offset": i64::MIN}));
    assert_eq!(read.fine_timestamp, Some(u64::MAX));
    assert_eq!(read.frequency_offset, Some(i64::MIN));
}

#[test]
fn numbers_at_their_limits_are_read_and_beyond_them_named() {
    let read = up(json!({"f_port": 255, "f_cnt": 4_294_967_295_u32}));
    assert_eq!((read.port, read.counter), (255, u32::MAX));
    for (members, name) in [
        (json!({"f_port": 256}), "f_port"),
        (json!({"f_port": -1}), "f_port"),
        (json!({"f_port": "256"}), "f_port"),
        (json!({"f_cnt": 4_294_967_296_u64}), "f_cnt"),
        (json!({"f_cnt": -1}), "f_cnt"),
        (json!({"f_cnt": 1.5}), "f_cnt"),
        (json!({"f_cnt": "1.5"}), "f_cnt"),
        (json!({"f_cnt": "seven"}), "f_cnt"),
        (json!({"rx_metadata": [{"timestamp": -1}]}), "timestamp"),
        (
            json!({"rx_metadata": [{"frequency_offset": "9223372036854775808"}]}),
            "frequency_offset",
        ),
        (
            json!({"rx_metadata": [{"fine_timestamp": "-1"}]}),
            "fine_timestamp",
        ),
        (json!({"settings": {"frequency": "868.1 MHz"}}), "frequency"),
        (json!({"confirmed": "yes"}), "confirmed"),
        (json!({"confirmed": 7}), "confirmed"),
    ] {
        let error = up_error(members.clone());
        assert!(error.contains(name), "{members}: {error}");
    }
}

#[test]
fn a_frequency_that_is_no_whole_number_of_hertz_is_named() {
    for frequency in [
        json!("NaN"),
        json!("Infinity"),
        json!(-1),
        json!("-868300000"),
        json!("868300000.5"),
        json!("18446744073709551616"),
    ] {
        let error = up_error(json!({"settings": {"frequency": frequency}}));
        assert!(error.contains("frequency"), "{error}");
    }
}

#[test]
fn whole_numbers_may_have_a_fraction_of_zero_or_an_exponent() {
    let body = r#"{"uplink_message":{"f_port":2.0,"f_cnt":1.18e2,"rx_metadata":[{"rssi":-97,"snr":6.0,"channel_index":3e0}]}}"#;
    let event = Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/up", body).unwrap();
    let read = uplink_of(event);
    assert_eq!((read.port, read.counter), (2, 118));
    let gateway = &read.metadata.gateways[0];
    assert_eq!((gateway.rssi, gateway.snr), (Some(-97.0), Some(6.0)));
    assert_eq!(gateway.channel, 3);
}

#[test]
fn a_float_may_be_text_also_when_it_is_no_number() {
    let read = gateway(
        json!({"rssi": "-105.5", "snr": "NaN", "signal_rssi": "Infinity",
        "channel_rssi": "-Infinity"}),
    );
    assert_eq!(read.rssi, Some(-105.5));
    assert!(read.snr.unwrap().is_nan());
    assert_eq!(read.signal_rssi, Some(f64::INFINITY));
    assert_eq!(read.channel_rssi, Some(f64::NEG_INFINITY));
    let error = up_error(json!({"rx_metadata": [{"snr": "good"}]}));
    assert!(error.contains("snr"), "{error}");
}

#[test]
fn a_signal_without_a_number_does_not_hide_a_better_one() {
    let read = up(json!({"rx_metadata": [
        {"gateway_ids": {"gateway_id": "one"}, "rssi": "NaN", "snr": "NaN"},
        {"gateway_ids": {"gateway_id": "two"}, "rssi": -120, "snr": -9},
        {"gateway_ids": {"gateway_id": "three"}}
    ]}));
    assert_eq!(read.best_gateway().unwrap().gtw_id, "two");
}

#[test]
fn durations_have_a_fraction_of_0_3_6_or_9_digits() {
    for (text, nanoseconds) in [
        ("2s", 2_000_000_000),
        ("0.056s", 56_000_000),
        ("0.056576s", 56_576_000),
        ("1.000000001s", 1_000_000_001),
        ("0s", 0),
    ] {
        let read = up(json!({"consumed_airtime": text})).metadata.airtime;
        assert_eq!(read, Some(Duration::from_nanos(nanoseconds)), "{text}");
    }
}

#[test]
fn a_duration_that_is_none_is_kept_as_text() {
    for text in ["soon", "s", "-1s", "1", "1 s", "1m", "1.s1"] {
        let read = up(json!({"consumed_airtime": text}));
        assert_eq!(read.metadata.airtime, None, "{text:?}");
        let kept = read.metadata.extra.get("consumed_airtime");
        assert_eq!(kept, Some(&json!(text)));
    }
}

#[test]
fn times_have_a_fraction_of_0_3_6_or_9_digits() {
    for (text, nanoseconds) in [
        ("2025-05-14T08:21:37Z", 0),
        ("2025-05-14T08:21:37.787Z", 787_000_000),
        ("2025-05-14T08:21:37.000001Z", 1_000),
        ("2025-05-14T08:21:37.123456789Z", 123_456_789),
    ] {
        let read = up(
            json!({"received_at": text, "settings": {"time": text}, "rx_metadata": [
            {"time": text, "gps_time": text, "received_at": text}]}),
        )
        .metadata;
        let expected = at(37, nanoseconds);
        let gateway = &read.gateways[0];
        assert_eq!(read.time, expected, "{text}");
        assert_eq!(read.gateway_time, expected);
        assert_eq!(gateway.time, expected);
        assert_eq!(gateway.gps_time, expected);
        assert_eq!(gateway.received_at, expected);
    }
}

#[test]
fn a_time_that_is_none_is_kept_as_text() {
    for text in ["yesterday", "2025-02-30T00:00:00Z", "1747210897"] {
        let kept = json!(text);
        let read =
            uplink_of(receive("up", &json!({"received_at": text, "uplink_message": {}})).unwrap());
        assert_eq!(read.received_at, None);
        assert_eq!(read.extra.get("received_at"), Some(&kept));

        let read = gateway(json!({"time": text, "gps_time": text, "received_at": text}));
        for name in ["time", "gps_time", "received_at"] {
            assert_eq!(read.extra.get(name), Some(&kept), "{name}");
        }
        assert_eq!(
            (read.time, read.gps_time, read.received_at),
            (None, None, None)
        );

        let read = settings(json!({"time": text}));
        assert_eq!(read.gateway_time, None);
        assert_eq!(read.extra.get("time"), Some(&kept));

        let read = up(json!({"received_at": text})).metadata;
        assert_eq!(read.time, None);
        assert_eq!(read.extra.get("received_at"), Some(&kept));
    }
}

#[test]
fn a_time_within_a_part_that_is_none_is_kept_as_text() {
    let read = queued(json!({"class_b_c": {"absolute_time": "noon"}}));
    assert_eq!(read.class_b_c.unwrap().absolute_time, None);
    assert!(format!("{:?}", read.extra).contains("noon"));

    let read = up(json!({"last_battery_percentage": {"received_at": "noon"}}));
    assert_eq!(read.battery.unwrap().received_at, None);
    assert!(format!("{:?}", read.extra).contains("noon"));
}

#[test]
fn base64_may_be_padded_or_not() {
    for (text, bytes) in [
        ("AQ==", &[1][..]),
        ("AQ", &[1]),
        ("AQI=", &[1, 2]),
        ("AQI", &[1, 2]),
        ("AQID", &[1, 2, 3]),
        ("+/8=", &[0xfb, 0xff]),
        ("", &[]),
    ] {
        let read = up(
            json!({"frm_payload": text, "session_key_id": text, "app_s_key": {"encrypted_key": text},
            "rx_metadata": [{"encrypted_fine_timestamp": text}]}),
        );
        assert_eq!(read.payload_raw, bytes, "{text:?}");
        assert_eq!(read.session_key_id, bytes);
        assert_eq!(read.app_s_key.unwrap().encrypted_key, bytes);
        assert_eq!(read.metadata.gateways[0].encrypted_fine_timestamp, bytes);
        assert_eq!(queued(json!({"frm_payload": text})).payload_raw, bytes);
    }
    for (members, name) in [
        (json!({"frm_payload": "***"}), "frm_payload"),
        (json!({"frm_payload": "AQ=I"}), "frm_payload"),
        (json!({"frm_payload": "A"}), "frm_payload"),
        (json!({"session_key_id": "***"}), "session_key_id"),
        (
            json!({"app_s_key": {"encrypted_key": "***"}}),
            "encrypted_key",
        ),
        (
            json!({"rx_metadata": [{"encrypted_fine_timestamp": "***"}]}),
            "encrypted_fine_timestamp",
        ),
    ] {
        let error = up_error(members);
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn euis_addresses_net_ids_and_keys_stay_hex() {
    let event = receive(
        "up",
        &json!({
            "end_device_ids": {"dev_eui": "0000000000000000", "join_eui": "FFFFFFFFFFFFFFFF", "dev_addr": "00000000"},
            "uplink_message": {
                "app_s_key": {"key": "00112233445566778899AABBCCDDEEFF"},
                "network_ids": {"net_id": "FFFFFF"},
                "rx_metadata": [{"gateway_ids": {"eui": "1234567890123456"}}]
            }
        }),
    );
    let read = uplink_of(event.unwrap());
    assert_eq!(read.hardware_serial, "0000000000000000");
    assert_eq!(read.app_eui, "FFFFFFFFFFFFFFFF");
    assert_eq!(read.dev_addr, "00000000");
    let key = read.app_s_key.unwrap();
    assert_eq!(key.key, "00112233445566778899AABBCCDDEEFF");
    assert!(key.kek_label.is_empty() && key.encrypted_key.is_empty());
    assert_eq!(read.network_ids.unwrap().net_id, "FFFFFF");
    assert_eq!(read.metadata.gateways[0].eui, "1234567890123456");
}

#[test]
fn a_priority_may_be_a_name_a_number_or_a_number_as_text() {
    let all = [
        ("LOWEST", Priority::Lowest),
        ("LOW", Priority::Low),
        ("BELOW_NORMAL", Priority::BelowNormal),
        ("NORMAL", Priority::Normal),
        ("ABOVE_NORMAL", Priority::AboveNormal),
        ("HIGH", Priority::High),
        ("HIGHEST", Priority::Highest),
    ];
    for (number, (name, priority)) in all.into_iter().enumerate() {
        for form in [json!(name), json!(number), json!(number.to_string())] {
            let read = queued(json!({"priority": form}));
            assert_eq!(read.priority, Some(priority), "{form}");
            assert!(read.extra.is_empty());
        }
    }
}

#[test]
fn a_priority_that_is_not_known_is_kept_as_it_came() {
    for form in [json!("URGENT"), json!("normal"), json!(7), json!("7")] {
        let read = queued(json!({"priority": form}));
        assert_eq!(read.priority, None, "{form}");
        let kept = read.extra.get("priority").unwrap();
        let text = |value: &Value| value.to_string().replace('"', "");
        assert_eq!(text(kept), text(&form));
    }
}

#[test]
fn the_source_of_a_location_may_be_a_name_or_a_number() {
    let source = |form: &Value| {
        let read = gateway(json!({"location": {"source": form}}));
        read.location.unwrap().source
    };
    for (number, name, text) in [
        (1, "SOURCE_GPS", "gps"),
        (3, "SOURCE_REGISTRY", "registry"),
        (4, "SOURCE_IP_GEOLOCATION", "ip_geolocation"),
        (5, "SOURCE_WIFI_RSSI_GEOLOCATION", "wifi_rssi_geolocation"),
        (6, "SOURCE_BT_RSSI_GEOLOCATION", "bt_rssi_geolocation"),
        (7, "SOURCE_LORA_RSSI_GEOLOCATION", "lora_rssi_geolocation"),
        (8, "SOURCE_LORA_TDOA_GEOLOCATION", "lora_tdoa_geolocation"),
        (9, "SOURCE_COMBINED_GEOLOCATION", "combined_geolocation"),
    ] {
        for form in [json!(name), json!(number), json!(number.to_string())] {
            assert_eq!(source(&form), text, "{form}");
        }
    }
    assert_eq!(source(&json!("tea_leaves")), "tea_leaves");
    assert_eq!(source(&json!("77")), "77");
    assert_eq!(source(&json!(77)), "77");
}

#[test]
fn a_path_constraint_may_be_a_name_or_a_number() {
    let constraint =
        |form: &Value| gateway(json!({"downlink_path_constraint": form})).downlink_path_constraint;
    for (number, name, text) in [
        (1, "DOWNLINK_PATH_CONSTRAINT_PREFER_OTHER", "PREFER_OTHER"),
        (2, "DOWNLINK_PATH_CONSTRAINT_NEVER", "NEVER"),
    ] {
        for form in [json!(name), json!(number), json!(number.to_string())] {
            assert_eq!(constraint(&form), text, "{form}");
        }
    }
    assert_eq!(constraint(&json!("9")), "9");
    assert_eq!(
        constraint(&json!("DOWNLINK_PATH_CONSTRAINT_AT_NIGHT")),
        "AT_NIGHT"
    );
}

#[test]
fn a_relay_has_a_device_id_and_a_channel() {
    let relay = |members: Value| gateway(json!({"relay": members})).relay;
    let expected = |channel: &str| {
        Some(made(|relay: &mut Relay| {
            relay.device_id = "relay-3".to_owned();
            relay.wor_channel = channel.to_owned();
        }))
    };
    assert_eq!(relay(json!({"device_id": "relay-3"})), expected(""));
    for form in [json!("RELAY_WOR_CHANNEL_SECONDARY"), json!(1), json!("1")] {
        let read = relay(json!({"device_id": "relay-3", "wor_channel": form}));
        assert_eq!(read, expected("SECONDARY"), "{form}");
    }
}

#[test]
fn a_default_that_is_named_is_the_same_as_one_that_is_left_out() {
    for none in [json!("DOWNLINK_PATH_CONSTRAINT_NONE"), json!(0), json!("0")] {
        let read = gateway(json!({"downlink_path_constraint": none}));
        assert_eq!(read.downlink_path_constraint, "", "{none}");
    }
    for default in [json!("RELAY_WOR_CHANNEL_DEFAULT"), json!(0), json!("0")] {
        let read = gateway(json!({"relay": {"wor_channel": default}}));
        assert_eq!(read.relay.unwrap().wor_channel, "", "{default}");
    }
}

#[test]
fn a_data_rate_is_put_together_from_its_parts() {
    let lora = |bandwidth: u32, factor: u32| {
        settings(
            json!({"data_rate": {"lora": {"bandwidth": bandwidth, "spreading_factor": factor}}}),
        )
        .data_rate
    };
    assert_eq!(lora(125_000, 7), "SF7BW125");
    assert_eq!(lora(500_000, 12), "SF12BW500");
    assert_eq!(lora(812_000, 5), "SF5BW812");
    assert_eq!(lora(62_500, 9), "SF9BW62.5");
    assert_eq!(lora(7_812, 11), "SF11BW7.812");

    let read = settings(json!({"data_rate": {"lrfhss": {"modulation_type": 1,
        "operating_channel_width": 1_523_000, "coding_rate": "2/3"}}}));
    assert_eq!(
        (read.modulation.as_str(), read.data_rate.as_str()),
        ("LR_FHSS", "M1CW1523")
    );
    assert_eq!(read.coding_rate, "2/3");

    let read = settings(json!({"data_rate": {"fsk": {"bit_rate": "50000"}}}));
    assert_eq!(
        (read.modulation.as_str(), read.data_rate.as_str()),
        ("FSK", "")
    );
    assert_eq!(read.bit_rate, Some(50_000));
}

#[test]
fn servers_before_3_22_had_the_coding_rate_elsewhere() {
    let read = settings(
        json!({"data_rate": {"lora": {"bandwidth": 125_000, "spreading_factor": 7}},
        "data_rate_index": 5, "coding_rate": "4/6"}),
    );
    assert_eq!(read.coding_rate, "4/6");
    assert_eq!(read.data_rate, "SF7BW125");
    assert_eq!(read.extra.get("data_rate_index"), Some(&json!(5)));
}

#[test]
fn frequencies_are_in_megahertz() {
    for (hertz, megahertz) in [
        ("868300000", 868.3),
        ("868100000", 868.1),
        ("867900000", 867.9),
        ("902300000", 902.3),
        ("433175000", 433.175),
        ("869525000", 869.525),
    ] {
        let read = settings(json!({"frequency": hertz}));
        assert_eq!(read.frequency, Some(megahertz), "{hertz}");
    }
}

#[test]
fn a_join_of_an_application_with_its_own_crypto_has_a_key_and_downlinks() {
    let body = json!({"join_accept": {"pending_session": true, "app_s_key": {"key": "00112233445566778899AABBCCDDEEFF"},
        "invalidated_downlinks": [{"f_port": 3, "frm_payload": "AQ==", "f_cnt": 9, "priority": "LOW"}]}});
    let Event::Activation(join) = receive("join", &body).unwrap() else {
        panic!()
    };
    assert!(join.pending_session);
    assert_eq!(
        join.app_s_key.as_ref().unwrap().key,
        "00112233445566778899AABBCCDDEEFF"
    );
    let [downlink] = &join.invalidated_downlinks[..] else {
        panic!()
    };
    assert_eq!(downlink.step, DownlinkStep::Invalidated);
    assert_eq!((downlink.port, downlink.counter), (3, Some(9)));
    assert_eq!(downlink.payload_raw, [1]);
    assert_eq!(downlink.priority, Some(Priority::Low));
}

#[test]
fn a_downlink_event_has_gateways_and_attempts() {
    let read = queued(json!({
        "class_b_c": {"gateways": [
            {"gateway_ids": {"gateway_id": "roof-east", "eui": "0016C001F10A1B2C"}},
            {"gateway_ids": {"gateway_id": "harbour-2"}, "antenna_index": 1, "group_index": "2"}
        ], "absolute_time": "2025-05-14T08:21:37.5Z"},
        "confirmed_retry": {"attempt": 2, "max_attempts": 3}
    }));
    let class = read.class_b_c.unwrap();
    assert_eq!(
        class.gateways,
        [
            Antenna::new("roof-east"),
            Antenna::new("harbour-2").index(1).group(2)
        ]
    );
    assert_eq!(class.absolute_time, at(37, 500_000_000));
    assert_eq!((read.attempt, read.max_attempts), (Some(2), Some(3)));
    let read = queued(json!({"class_b_c": {}}));
    assert_eq!(read.class_b_c, Some(ClassBC::default()));
}

#[test]
fn an_error_has_causes_and_details() {
    let body = json!({"downlink_failed": {"error": {
        "namespace": "pkg/outer", "name": "not_sent", "message_format": "{what} not sent to `{id}`{missing}",
        "attributes": {"what": 7, "id": "a{what}"}, "code": "13",
        "details": [{"@type": "type.example/Detail", "dev_addr": "Jgtc"}],
        "cause": {"namespace": "pkg/inner", "name": "busy", "message_format": "radio busy", "code": 14,
            "cause": {"namespace": "pkg/core", "name": "full"}}
    }}});
    let read = downlink_of(receive("down/failed", &body).unwrap());
    assert_eq!(
        read.error,
        "7 not sent to `a{what}`{missing}: radio busy: pkg/core:full"
    );
    let error = read.error_details.unwrap();
    assert_eq!(error.to_string(), read.error);
    assert_eq!(
        (error.id().as_str(), error.code),
        ("pkg/outer:not_sent", 13)
    );
    assert_eq!(
        error.details,
        [json!({"@type": "type.example/Detail", "dev_addr": "Jgtc"})]
    );
    let cause = error.cause.unwrap();
    assert_eq!((cause.id().as_str(), cause.code), ("pkg/inner:busy", 14));
    assert_eq!(cause.cause.unwrap().id(), "pkg/core:full");
}

#[test]
fn measurements_may_come_with_warnings() {
    let members = json!({"normalized_payload": [{"air": {"temperature": 1}}, {"soil": {"ph": 7.5}}],
        "normalized_payload_warnings": ["measurement 3: no such thing"]});
    let read = up(members);
    assert_eq!(
        read.normalized_payload,
        [
            json!({"air": {"temperature": 1}}),
            json!({"soil": {"ph": 7.5}})
        ]
    );
    assert_eq!(
        read.normalized_payload_warnings,
        ["measurement 3: no such thing"]
    );
}

#[test]
fn a_kind_or_topic_that_is_not_known_is_handed_on() {
    let is_other = |topic: &str, body: &[u8]| {
        let event = Event::decode(Network::V3, topic, body).unwrap();
        let Event::Other(raw) = event else {
            panic!("{topic}: {event:?}")
        };
        assert_eq!((raw.topic(), raw.payload()), (topic, body));
    };
    is_other(&topic("no-variant"), &fixture("no-variant"));
    // A join on the topic of uplinks.
    is_other(&topic("no-variant"), &fixture("join-accept"));
    let body = fixture("up-confirmed");
    for unknown in [
        "v3/greenhouse@ttn/devices/bed-07/down/push",
        "v3/greenhouse@ttn/devices/bed-07/down/replace",
        "v3/greenhouse@ttn/devices/bed-07/down/queue/invalidated",
        "v3/greenhouse@ttn/devices/bed-07/up/temperature",
        "v3/greenhouse@ttn/devices/bed-07/up/normalized/more",
        "v3/greenhouse@ttn/devices/bed-07/up/",
        "v3/greenhouse@ttn/devices/bed-07",
        "v3/greenhouse@ttn/gateways/roof-east/up",
        "v3//devices/bed-07/up",
        "v3/@ttn/devices/bed-07/up",
        "v3/greenhouse@ttn/devices//up",
        "v3/greenhouse@ttn",
        "v4/greenhouse@ttn/devices/bed-07/up",
        "greenhouse/devices/bed-07/up",
        "/v3/greenhouse@ttn/devices/bed-07/up",
        "$SYS/broker/uptime",
        "v3",
        "",
    ] {
        is_other(unknown, &body);
        is_other(unknown, b"no JSON");
    }
}

#[test]
fn what_cannot_be_read_is_an_error_that_names_topic_or_member() {
    for (name, word) in [
        ("bad-empty-object", "uplink_message"),
        ("bad-not-an-object", "/devices/bed-07/up"),
        ("bad-base64", "frm_payload"),
    ] {
        let error = Event::decode(Network::V3, topic(name), fixture(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(in_full(&error).contains(word), "{}", in_full(&error));
    }
    for body in [
        "",
        " ",
        "no JSON",
        "null",
        "true",
        "7",
        "\"text\"",
        "[]",
        "{",
        "\u{feff}{}",
        "{}{}",
    ] {
        for kind in [
            "up",
            "up/normalized",
            "join",
            "down/queued",
            "down/sent",
            "down/ack",
            "down/nack",
            "down/failed",
            "down/invalidated",
            "location/solved",
            "service/data",
        ] {
            let topic = format!("v3/greenhouse@ttn/devices/bed-07/{kind}");
            let error = Event::decode(Network::V3, topic.as_str(), body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode);
            assert!(error.to_string().contains(&topic), "{error}");
        }
    }
}

#[test]
fn text_that_is_no_utf_8_is_an_error() {
    let body = b"{\"uplink_message\":{\"decoded_payload\":{\"text\":\"\xff\"}}}".as_slice();
    let error =
        Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/up", body).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
}

/// The places of all members and elements of a value.
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

/// The name of the member at a place; of an element, that of its list.
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

/// Whether a place lies in what is handed on as the network sent it.
fn is_handed_on(kind: &str, place: &str) -> bool {
    // Below these.
    let open = [
        "decoded_payload",
        "normalized_payload",
        "data",
        "hops",
        "attributes",
        "locations",
    ];
    // These and below.
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

#[test]
fn null_for_any_member_is_the_same_as_leaving_it_out() {
    for name in messages() {
        let original = value(&name);
        for place in places(&original) {
            let with_null = replaced(&original, &place, Value::Null);
            let read = decode_value(&name, &with_null);
            if is_element(&place) {
                // JSON of protobuf has no such thing; it must not do harm.
                continue;
            }
            let read = read.unwrap_or_else(|error| panic!("{name}{place}: {}", in_full(&error)));
            if matches!(read, Event::Other(_)) || is_handed_on(kind(&name), &place) {
                continue;
            }
            let without = decode_value(&name, &removed(&original, &place)).unwrap();
            assert_eq!(content(&read), content(&without), "{name}{place}");
        }
    }
}

const NUMBERS: [&str; 32] = [
    "f_port",
    "f_cnt",
    "last_a_f_cnt_down",
    "last_f_cnt_down",
    "packet_error_rate",
    "bandwidth",
    "spreading_factor",
    "bit_rate",
    "modulation_type",
    "operating_channel_width",
    "frequency",
    "timestamp",
    "fine_timestamp",
    "antenna_index",
    "channel_index",
    "group_index",
    "rssi",
    "channel_rssi",
    "signal_rssi",
    "rssi_standard_deviation",
    "snr",
    "frequency_offset",
    "frequency_drift",
    "hopping_width",
    "latitude",
    "longitude",
    "altitude",
    "accuracy",
    "value",
    "attempt",
    "max_attempts",
    "code",
];

#[test]
fn any_number_may_be_text_and_any_text_of_digits_a_number() {
    let mut turned = 0;
    for name in messages() {
        let original = value(&name);
        let expected = content(&decode(&name));
        for place in places(&original) {
            if is_handed_on(kind(&name), &place) || !NUMBERS.contains(&member_name(&place)) {
                continue;
            }
            let other = match original.pointer(&place).unwrap() {
                Value::Number(number) => Value::String(number.to_string()),
                Value::String(text) => serde_json::from_str(text).unwrap(),
                _ => continue,
            };
            let read = decode_value(&name, &replaced(&original, &place, other))
                .unwrap_or_else(|error| panic!("{name}{place}: {}", in_full(&error)));
            assert_eq!(content(&read), expected, "{name}{place}");
            turned += 1;
        }
    }
    assert!(turned > 400, "{turned}");
}

#[test]
fn unknown_members_do_no_harm_at_any_level() {
    for name in messages() {
        let original = value(&name);
        let expected = content_without(&decode(&name), &["extra"]);
        for level in [vec![String::new()], places(&original)].concat() {
            let mut changed = original.clone();
            let Some(members) = changed.pointer_mut(&level).unwrap().as_object_mut() else {
                continue;
            };
            if is_handed_on(kind(&name), &format!("{level}/unheard_of")) {
                continue;
            }
            members.insert("unheard_of".to_owned(), json!({"depth": [1, null, "x"]}));
            let read = decode_value(&name, &changed)
                .unwrap_or_else(|error| panic!("{name}{level}: {}", in_full(&error)));
            assert_eq!(
                content_without(&read, &["extra"]),
                expected,
                "{name}{level}"
            );
            let has_extra = level.is_empty()
                || level.ends_with("/settings")
                || level.contains("/rx_metadata/") && is_element(&level)
                || level.matches('/').count() == 1 && level != "/end_device_ids";
            if has_extra {
                assert!(content(&read).contains("unheard_of"), "{name}{level}");
            }
        }
    }
}

/// The value as JSON, the members of each object in the reverse of their order.
fn reversed(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match value {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                format!("{}:{}", Value::from(name.as_str()), reversed(value))
            };
            format!("{{{}}}", join(members.iter().rev().map(member).collect()))
        }
        Value::Array(elements) => format!("[{}]", join(elements.iter().map(reversed).collect())),
        value => value.to_string(),
    }
}

#[test]
fn the_order_of_members_does_not_matter() {
    for name in messages() {
        let expected = content(&decode(&name));
        let value = value(&name);
        for body in [value.to_string(), reversed(&value)] {
            let read = Event::decode(Network::V3, topic(&name), body).unwrap();
            assert_eq!(content(&read), expected, "{name}");
        }
    }
}

#[test]
fn webhooks_mqtt_and_storage_give_equal_events() {
    for name in messages() {
        let expected = content(&decode(&name));
        let body = fixture(&name);
        let webhook = Event::from_json(Network::V3, body.clone()).unwrap();
        assert_eq!(content(&webhook), expected, "{name}");
        let line = format!("{{\"result\":{}}}\n", value(&name));
        let stored = Event::from_json(Network::V3, line.as_str())
            .unwrap_or_else(|error| panic!("{name}: {}", in_full(&error)));
        assert_eq!(content(&stored), expected, "{name}");

        let uplink = UplinkMessage::from_json(Network::V3, body.clone());
        let stored = UplinkMessage::from_json(Network::V3, line.as_str());
        if name.starts_with("up-") {
            let uplink = uplink.unwrap();
            assert_eq!(uplink.raw().topic(), "");
            assert_eq!(uplink.raw().payload(), body);
            let of_mqtt = seen(uplink_of(decode(&name)));
            assert_eq!(seen(uplink), of_mqtt);
            assert_eq!(seen(stored.unwrap()), of_mqtt);
        } else if !name.starts_with("normalized-") {
            assert_eq!(uplink.unwrap_err().kind(), ErrorKind::Decode);
            assert_eq!(stored.unwrap_err().kind(), ErrorKind::Decode);
        }
    }
    let other = Event::from_json(Network::V3, fixture("no-variant")).unwrap();
    assert!(matches!(other, Event::Other(_)), "{other:?}");
}

#[test]
fn a_result_is_unwrapped_in_an_answer_of_storage_and_nowhere_else() {
    let line = json!({"result": value("up-confirmed")});
    let error = receive("up", &line).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    let body = json!({"uplink_message": {"f_port": 1}, "result": value("up-fsk")});
    assert_eq!(uplink_of(receive("up", &body).unwrap()).port, 1);
}

#[test]
fn a_body_without_a_topic_needs_both_ids() {
    for ids in [
        json!({}),
        json!(null),
        json!({"device_id": "bed-07"}),
        json!({"application_ids": {"application_id": "greenhouse"}}),
        json!({"device_id": "", "application_ids": {"application_id": "greenhouse"}}),
        json!({"device_id": "bed-07", "application_ids": {}}),
    ] {
        let body = json!({"end_device_ids": ids, "uplink_message": {"f_port": 1}});
        for body in [body.to_string(), json!({"result": body}).to_string()] {
            let error = Event::from_json(Network::V3, body.as_str()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode, "{body}");
            let error = UplinkMessage::from_json(Network::V3, body.as_str()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode, "{body}");
        }
    }
    for body in [
        "",
        "{}",
        "null",
        "[]",
        "{\"result\":null}",
        "{\"result\":7}",
    ] {
        let error = Event::from_json(Network::V3, body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{body}");
    }
}

/// Decodes; a message that was damaged may be read or be an error, but nothing else.
fn survives(topic: &str, body: Vec<u8>) -> bool {
    match Event::decode(Network::V3, topic, body) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Decode);
            false
        }
    }
}

/// Runs a check for every fixture, those that cannot be read included, in several threads.
fn for_each_fixture(check: impl Fn(&str, &str, Vec<u8>) + Sync) {
    let names = names();
    thread::scope(|scope| {
        for part in names.chunks(names.len().div_ceil(4)) {
            let check = &check;
            scope.spawn(move || {
                for name in part {
                    // On one line, as the server sends it.
                    check(name, &topic(name), value(name).to_string().into_bytes());
                }
            });
        }
    });
}

#[test]
fn a_message_that_was_cut_is_an_error() {
    let _watchdog = watchdog(LIMIT);
    for_each_fixture(|name, topic, body| {
        for length in 0..body.len() {
            let is_read = survives(topic, body[..length].to_vec());
            assert!(!is_read, "{name} up to {length}");
        }
    });
}

#[test]
fn no_byte_can_make_the_decoder_panic() {
    let _watchdog = watchdog(LIMIT);
    for_each_fixture(|_, topic, body| {
        for index in 0..body.len() {
            for byte in [b'"', b'9', b'{', 0xff] {
                let mut body = body.clone();
                body[index] = byte;
                survives(topic, body);
            }
        }
    });
}

/// The members whose error does not name them when they are replaced by these, with an example of
/// each.
fn not_named(by: impl Fn(&Value) -> Vec<Value>) -> BTreeMap<String, String> {
    let mut refused = 0;
    let mut not_named = BTreeMap::new();
    for name in messages() {
        let original = value(&name);
        for place in places(&original) {
            for wrong in by(original.pointer(&place).unwrap()) {
                let changed = replaced(&original, &place, wrong.clone());
                if let Err(error) = decode_value(&name, &changed) {
                    assert_eq!(error.kind(), ErrorKind::Decode);
                    refused += 1;
                    let text = in_full(&error);
                    let member = member_name(&place).to_owned();
                    if !text.contains(&member) {
                        not_named.insert(member, format!("{name}{place} = {wrong}: {text}"));
                    }
                }
            }
        }
    }
    assert!(refused > 1_000, "{refused}");
    not_named
}

fn is_scalar(value: &Value) -> bool {
    value.is_boolean() || value.is_number() || value.is_string()
}

#[test]
fn a_number_text_or_truth_that_cannot_be_read_is_named() {
    let wrong = |value: &Value| match is_scalar(value) {
        true => vec![
            json!(true),
            json!(-1),
            json!(1.5),
            json!(1e300),
            json!("\u{0}wrong"),
            json!("99999999999999999999"),
        ],
        false => Vec::new(),
    };
    let not_named = not_named(wrong);
    assert!(not_named.is_empty(), "{not_named:#?}");
}

#[test]
fn a_member_of_the_wrong_shape_is_named() {
    let wrong = |value: &Value| match is_scalar(value) {
        true => vec![
            json!([]),
            json!([[7]]),
            json!({}),
            json!({"wrong": {"type": 1}}),
        ],
        false if value.is_null() => Vec::new(),
        false => vec![
            json!(true),
            json!(7),
            json!("wrong"),
            json!([[7]]),
            json!({"wrong": {"type": 1}}),
        ],
    };
    let not_named = not_named(wrong);
    assert!(not_named.is_empty(), "{not_named:#?}");
}

#[test]
fn nesting_without_end_is_an_error_and_some_is_read() {
    let _watchdog = watchdog(LIMIT);
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}7{}", open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let fields = nested(open, close, 50);
        let body = format!("{{\"uplink_message\":{{\"decoded_payload\":{{\"deep\":{fields}}}}}}}");
        let read = uplink_of(
            Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/up", body).unwrap(),
        );
        let expected: Value = serde_json::from_str(&fields).unwrap();
        assert_eq!(read.payload_fields["deep"], expected);

        let endless = nested(open, close, 100_000);
        for body in [
            endless.clone(),
            format!("{{\"uplink_message\":{endless}}}"),
            format!("{{\"uplink_message\":{{\"decoded_payload\":{{\"deep\":{endless}}}}}}}"),
            format!("{{\"uplink_message\":{{\"rx_metadata\":{endless}}}}}"),
            format!("{{\"uplink_message\":{{}},\"unheard_of\":{endless}}}"),
        ] {
            assert!(!survives(
                "v3/greenhouse@ttn/devices/bed-07/up",
                body.clone().into_bytes()
            ));
            let error = Event::from_json(Network::V3, body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode);
        }
    }
    let causes = "{\"cause\":".repeat(10_000);
    let body = format!(
        "{{\"downlink_failed\":{{\"error\":{causes}{{}}{}}}}}",
        "}".repeat(10_000)
    );
    assert!(!survives(
        "v3/greenhouse@ttn/devices/bed-07/down/failed",
        body.into_bytes()
    ));
}

#[test]
fn a_number_of_a_megabyte_takes_no_time() {
    let _watchdog = watchdog(Duration::from_secs(60));
    let digits = "9".repeat(1 << 20);
    let topic = "v3/greenhouse@ttn/devices/bed-07/up";
    for (member, name) in [
        (format!("\"f_cnt\":\"{digits}\""), "f_cnt"),
        (
            format!("\"settings\":{{\"timestamp\":\"{digits}\"}}"),
            "timestamp",
        ),
        (
            format!("\"rx_metadata\":[{{\"frequency_offset\":\"-{digits}\"}}]"),
            "frequency_offset",
        ),
    ] {
        let body = format!("{{\"uplink_message\":{{{member}}}}}");
        let error = Event::decode(Network::V3, topic, body).unwrap_err();
        assert!(in_full(&error).contains(name));
    }
    for member in [
        format!("\"f_cnt\":{digits}"),
        format!("\"f_cnt\":0.{digits}"),
        format!("\"rx_metadata\":[{{\"rssi\":{digits}}}]"),
        format!("\"rx_metadata\":[{{\"rssi\":0.{digits}}}]"),
        format!("\"rx_metadata\":[{{\"rssi\":1e{digits}}}]"),
        format!("\"rx_metadata\":[{{\"rssi\":\"{digits}\"}}]"),
        format!("\"decoded_payload\":{{\"x\":-{digits}}}"),
        format!("\"consumed_airtime\":\"{digits}s\""),
        format!("\"consumed_airtime\":\"0.{digits}s\""),
        format!("\"received_at\":\"{digits}\""),
        format!("\"settings\":{{\"frequency\":\"{digits}\"}}"),
        format!("\"unheard_of\":{digits}"),
    ] {
        let body = format!("{{\"uplink_message\":{{{member}}}}}");
        survives(topic, body.into_bytes());
    }
}

#[test]
fn an_error_does_not_repeat_a_megabyte_of_what_is_wrong() {
    let long = "?".repeat(1 << 20);
    for members in [
        json!({"f_cnt": long}),
        json!({"frm_payload": long}),
        json!({"confirmed": long}),
        json!({"rx_metadata": [{"frequency_offset": long}]}),
    ] {
        let error = up_error(members);
        assert!(error.len() < 10_000, "{} bytes", error.len());
    }
}

#[test]
fn a_member_given_twice_does_no_harm() {
    let _watchdog = watchdog(LIMIT);
    for name in messages() {
        let original = value(&name).to_string();
        for place in places(&value(&name)) {
            let member = member_name(&place);
            let quoted = format!("\"{member}\":");
            let twice = original.replacen(&quoted, &format!("{quoted}null,{quoted}"), 1);
            assert_ne!(twice, original);
            survives(&topic(&name), twice.into_bytes());
        }
    }
}

#[cfg(unix)]
#[test]
fn a_client_reports_what_it_cannot_read_with_its_bytes() {
    use support::{harness::SOON, mosquitto::Mosquitto, peer::MqttPeer};
    use ttn::MqttClient;

    let _watchdog = watchdog(Duration::from_secs(60));
    let (app, key) = ("greenhouse@ttn", "NNSXS.TEST.KEY");
    let Some(broker) = Mosquitto::builder()
        .user(app, key)
        .user("network", "network")
        .start()
    else {
        return;
    };
    let client = MqttClient::builder(app, key)
        .mqtt_address(broker.address().to_string())
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    let mut network = MqttPeer::connect(broker.address(), "network", "network").unwrap();
    let bad = ["bad-base64", "bad-empty-object", "bad-not-an-object"];
    for name in bad {
        network.publish(&topic(name), fixture(name)).unwrap();
    }
    for name in messages() {
        network.publish(&topic(&name), fixture(&name)).unwrap();
    }
    let mut received = std::iter::from_fn(|| events.recv_timeout(SOON).ok())
        .filter(|event| !matches!(event, Event::Connected(_)));
    for name in bad {
        let event = received.next().unwrap();
        let Event::Malformed(malformed) = event else {
            panic!("{name}: {event:?}")
        };
        assert_eq!(malformed.raw.topic(), topic(name));
        assert_eq!(malformed.raw.payload(), fixture(name));
        assert_eq!(malformed.error.kind(), ErrorKind::Decode);
    }
    let of_application = |name: &String| topic(name).starts_with("v3/greenhouse@ttn/");
    for name in messages().into_iter().filter(of_application) {
        let event = received.next().unwrap();
        assert_eq!(content(&event), content(&decode(&name)), "{name}");
    }
}

/// The same uplink as each network sends it.
fn of_both_networks(v2: &Value, v3: &Value) -> [UplinkMessage; 2] {
    let ids = json!({"device_id": "bed-07", "application_ids": {"application_id": "greenhouse"}});
    let mut v2 = v2.clone();
    v2["app_id"] = json!("greenhouse");
    v2["dev_id"] = json!("bed-07");
    let v3 = json!({"end_device_ids": ids, "uplink_message": v3});
    [
        UplinkMessage::from_json(Network::V2, v2.to_string()).unwrap(),
        UplinkMessage::from_json(Network::V3, v3.to_string()).unwrap(),
    ]
}

#[test]
fn the_best_gateway_is_found_on_both_networks() {
    type Reception = (&'static str, Option<f64>, Option<f64>);
    let cases: [(&[Reception], Option<&str>); 7] = [
        (&[], None),
        (
            &[
                ("far", Some(-117.0), Some(-8.5)),
                ("near", Some(-71.0), Some(9.25)),
            ],
            Some("near"),
        ),
        // Better to understand, though weaker.
        (
            &[
                ("loud", Some(-80.0), Some(-3.0)),
                ("clear", Some(-110.0), Some(4.0)),
            ],
            Some("clear"),
        ),
        // Both clear enough: the stronger one.
        (
            &[
                ("weak", Some(-95.0), Some(11.0)),
                ("strong", Some(-60.0), Some(6.0)),
            ],
            Some("strong"),
        ),
        // No ratio counts as 0.
        (
            &[
                ("noisy", Some(-60.0), Some(-1.0)),
                ("silent", Some(-120.0), None),
            ],
            Some("silent"),
        ),
        (
            &[
                ("nothing", None, None),
                ("little", Some(-140.0), Some(-20.0)),
            ],
            Some("little"),
        ),
        // The first of equals.
        (
            &[
                ("first", Some(-90.0), Some(2.0)),
                ("second", Some(-90.0), Some(2.0)),
            ],
            Some("first"),
        ),
    ];
    for (receptions, best) in cases {
        let gateways = |network: Network| -> Vec<Value> {
            let gateway = |(id, rssi, snr): &Reception| {
                let mut members = match network {
                    Network::V2 => json!({"gtw_id": id}),
                    _ => json!({"gateway_ids": {"gateway_id": id}}),
                };
                for (name, value) in [("rssi", rssi), ("snr", snr)] {
                    if let Some(value) = value {
                        members[name] = json!(value);
                    }
                }
                members
            };
            receptions.iter().map(gateway).collect()
        };
        let v2 = json!({"metadata": {"gateways": gateways(Network::V2)}});
        let v3 = json!({"rx_metadata": gateways(Network::V3)});
        for uplink in of_both_networks(&v2, &v3) {
            let found = uplink.best_gateway().map(|gateway| gateway.gtw_id.as_str());
            assert_eq!(found, best, "{receptions:?}");
        }
    }
}

#[test]
fn one_function_reads_the_fields_of_both_networks() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Climate {
        temperature: f64,
        humidity: Option<u8>,
        #[serde(default)]
        valves: Vec<bool>,
    }

    fn climate(uplink: &UplinkMessage) -> ttn::Result<Climate> {
        uplink.fields()
    }

    let both = |fields: Value| {
        of_both_networks(
            &json!({"payload_fields": fields}),
            &json!({"decoded_payload": fields}),
        )
    };
    for uplink in both(json!({"temperature": 21, "valves": [true, false], "more": {}})) {
        let expected = Climate {
            temperature: 21.0,
            humidity: None,
            valves: vec![true, false],
        };
        assert_eq!(climate(&uplink).unwrap(), expected);
    }
    for uplink in both(json!({"humidity": 60})) {
        let error = climate(&uplink).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(
            in_full(&error).contains("temperature"),
            "{}",
            in_full(&error)
        );
    }
    for uplink in both(Value::Null) {
        let error = climate(&uplink).unwrap_err();
        assert!(error.to_string().contains("no payload_fields"), "{error}");
    }
}

#[test]
fn simulated_uplinks_are_known_on_both_networks() {
    let v2 = |body: &str| UplinkMessage::from_json(Network::V2, body).unwrap();
    let simulated = v2(include_str!(
        "fixtures/v2/up-lora-zero-gateways-simulated.json"
    ));
    assert!(simulated.is_simulated());
    let real = v2(include_str!("fixtures/v2/up-lora-one-gateway-fields.json"));
    assert!(!real.is_simulated());

    let v3 = |simulated: Value| {
        let body = json!({"uplink_message": {"f_port": 1}, "simulated": simulated});
        uplink_of(receive("up", &body).unwrap()).is_simulated()
    };
    assert!(v3(json!(true)));
    assert!(!v3(json!(false)));
    assert!(!v3(json!(null)));
    assert!(!uplink_of(decode("up-no-gateways")).is_simulated());
    assert!(uplink_of(decode("up-simulated")).is_simulated());
}

#[test]
fn the_same_uplink_fills_the_same_fields_on_both_networks() {
    let v2 = json!({
        "app_id": "greenhouse", "dev_id": "bed-07", "hardware_serial": "70B3D57ED0051A2B",
        "port": 2, "counter": 118, "confirmed": true, "payload_raw": "C0YByA==",
        "payload_fields": {"temperature": 28.86, "valve": {"open": true}},
        "metadata": {
            "time": "2025-05-14T08:21:37.863431150Z", "frequency": 868.3, "modulation": "LORA",
            "data_rate": "SF7BW125", "airtime": 51_456_000, "coding_rate": "4/5",
            "latitude": 52.3731, "longitude": 4.8922, "altitude": 3, "location_source": "registry",
            "gateways": [
                {"gtw_id": "roof-east", "timestamp": 1_509_166_008, "time": "2025-05-14T08:21:37.787Z",
                    "channel": 3, "rssi": -97, "snr": 9.2, "antenna": 1,
                    "latitude": 52.3731, "longitude": 4.8922, "altitude": 14, "location_source": "registry"},
                {"gtw_id": "harbour-2", "timestamp": 7, "time": "", "channel": 0, "rssi": -113.5, "snr": -4.75}
            ]
        }
    });
    let v3 = json!({
        "end_device_ids": {
            "device_id": "bed-07", "application_ids": {"application_id": "greenhouse"},
            "dev_eui": "70B3D57ED0051A2B"
        },
        "uplink_message": {
            "f_port": 2, "f_cnt": 118, "confirmed": true, "frm_payload": "C0YByA==",
            "decoded_payload": {"temperature": 28.86, "valve": {"open": true}},
            "received_at": "2025-05-14T08:21:37.863431150Z", "consumed_airtime": "0.051456s",
            "settings": {
                "data_rate": {"lora": {"bandwidth": 125_000, "spreading_factor": 7, "coding_rate": "4/5"}},
                "frequency": "868300000", "timestamp": 7, "time": "2025-05-14T08:21:37.787Z"
            },
            "locations": {"user": bed_json()},
            "rx_metadata": [
                {"gateway_ids": {"gateway_id": "roof-east"}, "timestamp": 1_509_166_008,
                    "time": "2025-05-14T08:21:37.787Z", "channel_index": 3, "rssi": -97, "snr": 9.2,
                    "antenna_index": 1, "location": {"latitude": 52.3731, "longitude": 4.8922,
                    "altitude": 14, "source": "SOURCE_REGISTRY"}},
                {"gateway_ids": {"gateway_id": "harbour-2"}, "timestamp": 7, "rssi": -113.5, "snr": -4.75}
            ]
        }
    });
    let v2 = seen(UplinkMessage::from_json(Network::V2, v2.to_string()).unwrap());
    let mut v3 = seen(UplinkMessage::from_json(Network::V3, v3.to_string()).unwrap());
    assert_eq!(v2.metadata.location, Some(bed()));
    // What only v3 has.
    assert_eq!(v3.packet_error_rate.take(), Some(0.0));
    assert_eq!(v3.metadata.locations.remove("user"), Some(bed()));
    assert_eq!(v3.metadata.timestamp.take(), Some(7));
    assert_eq!(v3.metadata.gateway_time.take(), at(37, 787_000_000));
    assert_eq!(v2, v3);
}

#[test]
fn requests_are_no_messages_of_a_network() {
    for name in names() {
        if name.starts_with("request-") {
            assert!(Event::from_json(Network::V3, fixture(&name)).is_err());
        }
    }
}
