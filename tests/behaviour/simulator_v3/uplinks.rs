//! Uplinks of the simulated v3 network, compared with recorded ones, and what no recording shows.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use ttn::Network;
use ttn::simulator::{Gateway, Simulator, Uplink};

use super::{
    ALL, PLACE, PUSH, assert_shape, fixture, instant, is_ulid, next, pump, stage, start, topics,
    up, uplink_message,
};
use crate::support::raw::Raw;

/// Publishes the uplink and compares it with a recorded message.
fn assert_uplink(network: &Simulator, uplink: Uplink, name: &str, without: &[&str]) -> Value {
    let (device, mut client) = pump(network);
    device.send(uplink);
    let message = up(&mut client);
    assert_shape(&message, name, without);
    message
}

#[test]
fn an_ordinary_uplink_has_the_members_of_a_recorded_one() {
    let network = start();
    let version = [
        "/uplink_message/version_ids",
        "/uplink_message/packet_error_rate",
    ];
    let uplink = Uplink::new(2, [0x0b, 0x46])
        .fields(json!({"temperature": 28.86}))
        .counter(118);
    let message = assert_uplink(&network, uplink, "up-lora-one-gateway", &version);
    let ids = &message["end_device_ids"];
    let device = network.device("pump-1");
    assert_eq!(ids["device_id"], "pump-1");
    assert_eq!(
        ids["application_ids"],
        json!({"application_id": "simulated-app"})
    );
    assert_eq!(ids["dev_eui"], device.dev_eui());
    assert_eq!(ids["dev_addr"], device.dev_addr());
    let correlation_id = message["correlation_ids"][0].as_str().unwrap();
    assert!(is_ulid(correlation_id.strip_prefix("gs:uplink:").unwrap()));
    let uplink = &message["uplink_message"];
    assert_eq!(uplink["f_port"], 2);
    assert_eq!(uplink["f_cnt"], 118);
    assert_eq!(uplink["frm_payload"], "C0Y=");
    assert_eq!(uplink["settings"]["frequency"], "868300000");
    assert_eq!(uplink["consumed_airtime"], "0.046336s");
    let lora = json!({"bandwidth": 125_000, "spreading_factor": 7, "coding_rate": "4/5"});
    assert_eq!(uplink["settings"]["data_rate"], json!({"lora": lora}));
    assert_eq!(
        uplink["network_ids"],
        fixture("up-confirmed")["uplink_message"]["network_ids"]
    );
    let gateway = &uplink["rx_metadata"][0];
    assert_eq!(gateway["rssi"], gateway["channel_rssi"]);
    assert_eq!(gateway["location"]["source"], "SOURCE_REGISTRY");
    assert_eq!(gateway["time"], uplink["settings"]["time"]);
    assert_eq!(gateway["gateway_ids"]["eui"], "58A0CBFFFE80AA11");
}

#[test]
fn zeros_are_left_out() {
    let network = start();
    let (device, mut client) = pump(&network);
    device.uplink(2, [1]);
    let no_channel = ["/uplink_message/rx_metadata/0/channel_index"];
    assert_shape(&up(&mut client), "up-first-frame-counter-zero", &no_channel);
    device.uplink(2, []);
    assert_shape(&up(&mut client), "up-empty-payload", &[]);
    device.send(Uplink::new(0, [2, 3]).counter(121).fields(json!({"a": 1})));
    assert_shape(&up(&mut client), "up-port-zero-mac-only", &[]);
    device.send(Uplink::new(2, [1]).counter(124).gateways(0));
    assert_shape(&up(&mut client), "up-no-gateways", &[]);
}

#[test]
fn an_uplink_has_its_members_on_one_line_in_the_order_of_the_schema() {
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_747_210_897, 787_000_000);
    let network = Simulator::builder(Network::V3)
        .seed(7)
        .fixed_time(time)
        .release("3.34.0")
        .start()
        .unwrap();
    let mut client = Raw::subscribed(&network, &[ALL]);
    let uplink = Uplink::new(2, [1])
        .counter(1)
        .confirmed(true)
        .heard_by(Gateway::new("roof-east").clock(true))
        .fields(json!({"note": "a<b & c>d \"x\" \\ \t\u{2028}é", "big": 1e21, "n": u64::MAX}))
        .attribute("label", "<b>&</b>");
    network.create_device("pump-1", Some(PLACE)).send(uplink);
    let (_, text) = client.text();
    assert!(!text.contains(['\n', '\t']), "{text}");
    let fields =
        r#""decoded_payload":{"big":1e+21,"n":18446744073709552000,"note":"a<b & c>d \"x\" \\ \t"#;
    assert!(text.contains(fields), "{text}");
    assert!(
        text.contains(r#""attributes":{"label":"<b>&</b>"}}}"#),
        "{text}"
    );
    assert!(
        text.contains(r#""received_at":"2025-05-14T08:21:37.787Z""#),
        "{text}"
    );
    let mut last = 0;
    for member in [
        "end_device_ids",
        "device_id",
        "application_ids",
        "dev_eui",
        "join_eui",
        "dev_addr",
        "correlation_ids",
        "received_at",
        "uplink_message",
        "f_port",
        "f_cnt",
        "frm_payload",
        "decoded_payload",
        "rx_metadata",
        "gateway_ids",
        "time",
        "timestamp",
        "rssi",
        "channel_rssi",
        "snr",
        "location",
        "uplink_token",
        "channel_index",
        "settings",
        "confirmed",
        "consumed_airtime",
        "locations",
        "network_ids",
        "attributes",
    ] {
        let at = text[last..].find(&format!("\"{member}\":"));
        last += at.unwrap_or_else(|| panic!("{member} in {text}"));
    }
}

#[test]
fn every_modulation_looks_as_recorded() {
    let network = start();
    let uplink = |counter: u32| Uplink::new(2, [1, 2, 3, 4, 5]).counter(counter);
    let fsk = assert_uplink(&network, uplink(118).fsk(), "up-fsk", &[]);
    assert_eq!(fsk["uplink_message"]["settings"]["frequency"], "868800000");
    let hopping = uplink(119).lr_fhss();
    let gateway = assert_uplink(&network, hopping, "up-lrfhss", &[])["uplink_message"].clone();
    assert!(gateway["rx_metadata"][0]["frequency_offset"].is_string());
    let slow = assert_uplink(
        &network,
        uplink(121).data_rate("SF12BW125"),
        "up-confirmed",
        &["/uplink_message/confirmed"],
    );
    let lora = &slow["uplink_message"]["settings"]["data_rate"]["lora"];
    assert_eq!(lora["spreading_factor"], 12);
    let confirmed = uplink(16_384).confirmed(true);
    assert_uplink(&network, confirmed, "up-confirmed", &[]);
}

#[test]
fn an_uplink_may_be_heard_by_gateways_of_other_networks() {
    let network = start();
    let hops = ["/uplink_message/rx_metadata/1/packet_broker/hops"];
    let uplink = Uplink::new(2, [1]).counter(118).packet_broker(true);
    let message = assert_uplink(&network, uplink, "up-lora-packet-broker-gateways", &hops);
    let heard = message["uplink_message"]["rx_metadata"].as_array().unwrap();
    assert_eq!(
        heard[1]["gateway_ids"],
        json!({"gateway_id": "packetbroker"})
    );
    assert!(heard[1].get("timestamp").is_none());
    let (device, mut client) = pump(&network);
    device.send(Uplink::new(2, [1]).gateways(4));
    let heard = up(&mut client)["uplink_message"]["rx_metadata"].clone();
    assert_eq!(heard.as_array().unwrap().len(), 4);
}

#[test]
fn a_simulated_uplink_says_so_and_changes_nothing() {
    let network = instant();
    let uplink = Uplink::new(2, [1]).simulated(true);
    let told = [
        "/end_device_ids/dev_addr",
        "/uplink_message/session_key_id",
        "/uplink_message/settings/data_rate/lora/coding_rate",
        "/uplink_message/received_at",
        "/uplink_message/consumed_airtime",
        "/uplink_message/network_ids",
    ];
    let message = assert_uplink(&network, uplink.clone(), "up-simulated", &told);
    assert_eq!(message["simulated"], true);
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#);
    device.send(uplink);
    assert_eq!(topics(&mut client, 1), ["up"]);
    client.assert_silent();
    assert_eq!(device.uplink(2, [1]), 0);
    assert_eq!(topics(&mut client, 2), ["up", "down/sent"]);
}

#[test]
fn a_repeated_frame_is_not_published_again() {
    let network = start();
    let (device, mut client) = pump(&network);
    assert_eq!(device.uplink(2, [1]), 0);
    assert_eq!(device.send(Uplink::new(2, [1]).retry(true)), 0);
    assert_eq!(device.uplink(2, [1]), 1);
    assert_eq!(topics(&mut client, 2), ["up", "up"]);
    client.assert_silent();
}

#[test]
fn battery_and_attributes_are_those_of_later_releases() {
    let release = |release| {
        let builder = Simulator::builder(Network::V3).release(release);
        builder.start().unwrap()
    };
    let network = release("3.33.1");
    let (device, mut client) = pump(&network);
    device.send(Uplink::new(2, [1]).counter(97).battery(87.5));
    assert_shape(&up(&mut client), "up-battery-3-33", &[]);
    device.send(Uplink::new(2, [1]));
    let battery = up(&mut client)["uplink_message"]["last_battery_percentage"].clone();
    assert_eq!(
        (&battery["f_cnt"], &battery["value"]),
        (&json!(97), &json!(87.5))
    );
    let network = release("3.34.0");
    let device = network.create_device("pump-1", Some(PLACE));
    let mut client = Raw::subscribed(&network, &[ALL]);
    let named = Uplink::new(2, [1]).counter(1).attribute("row", "7");
    device.send(
        named
            .attribute("installed-by", "J. Doe")
            .attribute("site", "hall-b"),
    );
    assert_shape(&up(&mut client), "up-attributes-3-34", &[]);
    let network = release("3.33.0");
    let (device, mut client) = pump(&network);
    device.send(
        Uplink::new(2, [1])
            .battery(87.5)
            .attribute("site", "hall-b"),
    );
    let message = &up(&mut client)["uplink_message"];
    assert!(message.get("last_battery_percentage").is_none());
    assert!(message.get("attributes").is_none());
}

#[test]
fn the_same_seed_and_time_print_the_same_messages() {
    let run = || {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_747_210_897);
        let network = Simulator::builder(Network::V3)
            .seed(7)
            .fixed_time(time)
            .receive_window(Duration::ZERO)
            .start()
            .unwrap();
        let (device, mut client) = pump(&network);
        device.join();
        let request = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;
        let before = client.publish_1(PUSH, request);
        device.uplink(2, [1]);
        (before, [(); 2].map(|()| client.text()))
    };
    assert_eq!(run(), run());
}

#[test]
fn an_ordinary_gateway_has_a_public_place_and_no_clock() {
    let (_network, device, mut client) = stage();
    device.send(Uplink::new(1, [1]).gateways(2));
    let message = uplink_message(&mut client);
    assert!(message["settings"].get("time").is_none());
    let heard = message["rx_metadata"].as_array().unwrap();
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().all(|gateway| gateway.get("time").is_none()));
    assert!(heard[0]["location"]["latitude"].is_number());
    assert_eq!(heard[0]["gateway_ids"]["eui"], "58A0CBFFFE80AA11");
}

#[test]
fn a_channel_is_that_of_the_frequency() {
    let (_network, device, mut client) = stage();
    for (frequency, channel) in [
        (868.1, Value::Null),
        (868.3, json!(1)),
        (868.5, json!(2)),
        (867.1, json!(3)),
        (867.9, json!(7)),
        (903.9, Value::Null),
    ] {
        device.send(Uplink::new(1, [1]).frequency(frequency));
        let heard = &uplink_message(&mut client)["rx_metadata"][0];
        assert_eq!(heard["channel_index"], channel, "{frequency} MHz");
    }
}

#[test]
fn a_clock_may_be_wrong() {
    let (_network, device, mut client) = stage();
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_747_210_897_123_456_789);
    let gateway = Gateway::new("roof-east").time(time);
    device.send(Uplink::new(1, [1]).heard_by(gateway.clone()));
    let message = uplink_message(&mut client);
    assert_eq!(message["settings"]["time"], "2025-05-14T08:21:37.123456Z");
    assert!(message["rx_metadata"][0].get("gps_time").is_none());
    device.send(Uplink::new(1, [1]).heard_by(gateway.gps(true)));
    let heard = &uplink_message(&mut client)["rx_metadata"][0];
    assert_eq!(heard["gps_time"], "2025-05-14T08:21:37.123Z");
    assert_eq!(heard["time"], heard["gps_time"]);
}

#[test]
fn a_device_from_a_repository_has_a_version() {
    let (_network, device, mut client) = stage();
    let version = json!({"model_id": "probe-2", "brand_id": "acme", "band_id": "EU_863_870"});
    let uplink = Uplink::new(1, [1])
        .normalized(json!({"air": {"temperature": 1}}))
        .version_ids(version);
    device.send(uplink);
    assert!(next(&mut client).1.get("version_ids").is_none());
    let (_, text) = client.text();
    let ids = r#""version_ids":{"brand_id":"acme","model_id":"probe-2","band_id":"EU_863_870"}"#;
    assert!(text.contains(ids), "{text}");
}
