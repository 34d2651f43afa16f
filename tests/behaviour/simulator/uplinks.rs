//! Uplinks of the simulated V2 network, to the letter.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use ttn::simulator::{Location, Uplink};

use super::{DOWN, builder, instant, pump, start};
use crate::support::raw::{LONG, Raw};
use crate::support::resources::wait_until;

/// Returns the text of the next uplink, with variable parts blanked.
fn uplink_text(client: &mut Raw) -> String {
    let (topic, text) = client.text();
    assert_eq!(topic, "simulated-app/devices/pump-1/up");
    let mut text = text;
    for key in ["\"timestamp\":", "\"rssi\":", "\"snr\":"] {
        let mut pieces = text.split(key);
        let mut blanked = pieces.next().unwrap().to_owned();
        for piece in pieces {
            let rest = piece.find(',').unwrap();
            piece[..rest].parse::<f64>().unwrap();
            blanked.push_str(key);
            blanked.push('_');
            blanked.push_str(&piece[rest..]);
        }
        text = blanked;
    }
    text
}

fn at(nanos: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_520_581_282, nanos)
}

const FIRST_GATEWAY: &str = concat!(
    r#"{"gtw_id":"eui-58a0cbfffe80aa11","timestamp":_,"time":"2018-03-09T07:41:22.5Z","channel":0,"rssi":_,"snr":_,"rf_chain":1,"#,
    r#""latitude":51.92442,"longitude":4.477733,"altitude":14,"location_source":"registry"}"#
);

#[test]
fn an_uplink_has_its_members_in_the_networks_order() {
    let network = start();
    let (device, mut client) = pump(&network);
    let serial = device.dev_eui();
    let fields = json!({"temperature_1": 27.2, "note": "<b> & ü", "relative_humidity_2": 29.0});
    let place = Location {
        latitude: 37.80444,
        longitude: -122.27083,
        altitude: -3,
    };
    let uplink = Uplink::new(2, [1, 0x67, 1, 0x10])
        .time(at(500_000_000))
        .confirmed(true)
        .retry(true)
        .fields(fields)
        .location(place)
        .attribute("ttn-model", "x")
        .attribute("bench", "north");
    device.send(uplink);
    let expected = [
        r#"{"app_id":"simulated-app","dev_id":"pump-1","hardware_serial":""#,
        &serial,
        r#"","port":2,"counter":0,"confirmed":true,"is_retry":true,"payload_raw":"AWcBEA==","#,
        r#""payload_fields":{"note":"\u003cb\u003e \u0026 ü","relative_humidity_2":29,"temperature_1":27.2},"#,
        r#""metadata":{"time":"2018-03-09T07:41:22.5Z","frequency":868.1,"modulation":"LORA","data_rate":"SF7BW125","#,
        r#""airtime":51456000,"coding_rate":"4/5","gateways":["#,
        FIRST_GATEWAY,
        r#"],"latitude":37.80444,"longitude":-122.27083,"altitude":-3,"location_source":"registry"},"#,
        r#""attributes":{"bench":"north","ttn-model":"x"}}"#,
    ];
    assert_eq!(uplink_text(&mut client), expected.concat());
}

#[test]
fn an_ordinary_uplink_leaves_out_what_it_has_not() {
    let network = start();
    let (device, mut client) = pump(&network);
    let serial = device.dev_eui();
    device.uplink(2, [1]);
    client.message();
    device.send(Uplink::new(2, [1]).time(at(500_000_000)).fields(json!({})));
    let gateway = FIRST_GATEWAY.replace(r#""channel":0"#, r#""channel":1"#);
    let expected = [
        r#"{"app_id":"simulated-app","dev_id":"pump-1","hardware_serial":""#,
        &serial,
        r#"","port":2,"counter":1,"payload_raw":"AQ==","metadata":{"time":"2018-03-09T07:41:22.5Z","frequency":868.3,"#,
        r#""modulation":"LORA","data_rate":"SF7BW125","airtime":46336000,"coding_rate":"4/5","gateways":["#,
        &gateway,
        "]}}",
    ];
    assert_eq!(uplink_text(&mut client), expected.concat());
}

#[test]
fn a_simulated_uplink_knows_nothing_of_radio() {
    let network = instant();
    let (device, mut client) = pump(&network);
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    device.uplink(1, [1]);
    client.message_on("down/sent");
    client.publish_1(DOWN, r#"{"payload_raw":"AQ=="}"#);
    assert_eq!(
        device.send(Uplink::new(9, [0]).simulated(true).time(at(0))),
        0
    );
    let expected = [
        r#"{"app_id":"simulated-app","dev_id":"pump-1","hardware_serial":""#,
        &device.dev_eui(),
        r#"","port":9,"counter":0,"payload_raw":"AA==","metadata":{"time":"2018-03-09T07:41:22Z"}}"#,
    ];
    assert_eq!(uplink_text(&mut client), expected.concat());
    client.assert_silent();
    assert_eq!(device.queue().len(), 1);
    assert_eq!(device.uplink(1, [1]), 1);
}

#[test]
fn an_fsk_uplink_has_a_bit_rate_and_no_data_rate() {
    let network = start();
    let (device, mut client) = pump(&network);
    device.send(Uplink::new(1, [0, 0x11, 0x22, 0x33]).fsk());
    let metadata = &client.message().1["metadata"];
    assert_eq!(metadata["modulation"], "FSK");
    assert_eq!(metadata["bit_rate"], 50_000);
    assert_eq!(metadata["frequency"], 868.8);
    assert_eq!(metadata["airtime"], 4_480_000);
    assert_eq!(metadata.get("data_rate"), None);
    assert_eq!(metadata.get("coding_rate"), None);
}

#[test]
fn an_uplink_without_bytes_or_port_has_null_in_place_of_its_payload() {
    let network = start();
    let (device, mut client) = pump(&network);
    for (port, payload) in [(0, &[][..]), (3, &[][..]), (0, &[1][..])] {
        device.uplink(port, payload);
        let (_, uplink) = client.message();
        assert_eq!(uplink["port"], port);
        assert_eq!(uplink["payload_raw"], Value::Null, "{port} {payload:?}");
    }
}

#[test]
fn several_gateways_may_hear_an_uplink_and_one_of_them_has_a_clock() {
    let network = start();
    let (device, mut client) = pump(&network);
    device.send(
        Uplink::new(1, [1])
            .gateways(3)
            .frequency(903.9)
            .data_rate("SF10BW125"),
    );
    let (_, uplink) = client.message();
    let metadata = &uplink["metadata"];
    assert_eq!(metadata["frequency"], 903.9);
    assert_eq!(metadata["airtime"], 288_768_000);
    let gateways = metadata["gateways"].as_array().unwrap();
    assert_eq!(gateways.len(), 3);
    let gateway = |end: &str| {
        let id = format!("eui-58a0cbfffe80aa{end}");
        let mut found = gateways.iter().filter(|gateway| gateway["gtw_id"] == *id);
        found.next().unwrap_or_else(|| panic!("no {id}"))
    };
    assert_ne!(gateway("11")["time"], "");
    assert_eq!(gateway("11")["gtw_trusted"], Value::Null);
    assert_eq!(gateway("12")["gtw_trusted"], true);
    assert_eq!(gateway("12")["time"], "");
    assert_eq!(gateway("13").get("latitude"), None);
    device.send(Uplink::new(1, [1]).gateways(0).data_rate("SF99"));
    let (_, uplink) = client.message();
    assert_eq!(uplink["metadata"].get("gateways"), None);
    assert_eq!(uplink["metadata"].get("airtime"), None);
}

#[test]
fn a_simulated_uplink_has_a_location_without_its_source() {
    let network = start();
    let (device, mut client) = pump(&network);
    let place = Location {
        latitude: 0.0,
        longitude: 5.5,
        altitude: -7,
    };
    device.send(
        Uplink::new(5, [1, 2])
            .simulated(true)
            .time(at(0))
            .location(place),
    );
    let expected = r#""metadata":{"time":"2018-03-09T07:41:22Z","longitude":5.5,"altitude":-7}}"#;
    let text = uplink_text(&mut client);
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn the_last_servers_warn_in_every_uplink() {
    let network = start();
    let (device, mut client) = pump(&network);
    network.quirks(|quirks| quirks.shutdown_warning = true);
    let warning = "The Things Network V2 is shutting down in December 2021. Migrate to V3 NOW!";
    device.send(Uplink::new(1, [1]).attribute("bench", "north"));
    let expected = json!({"bench": "north", "warning": warning});
    assert_eq!(client.message().1["attributes"], expected);
    device.send(Uplink::new(1, [1]).simulated(true));
    assert_eq!(
        client.message().1["attributes"],
        json!({"warning": warning})
    );
}

#[test]
fn the_gateways_of_an_uplink_come_in_any_order() {
    let network = start();
    let (device, mut client) = pump(&network);
    let mut firsts = std::collections::BTreeSet::new();
    assert!(wait_until(LONG, || {
        device.send(Uplink::new(1, [1]).gateways(3));
        firsts.insert(client.message().1["metadata"]["gateways"][0]["gtw_id"].to_string());
        firsts.len() == 3
    }));
}

#[test]
fn the_same_seed_gives_the_same_radio() {
    let uplinks = [(); 2].map(|()| {
        let network = instant();
        let (device, mut client) = pump(&network);
        device.uplink(1, [1]);
        let mut uplink = client.message().1["metadata"]["gateways"][0].take();
        uplink["timestamp"].take();
        uplink["time"].take();
        (uplink, device.dev_addr(), device.dev_eui())
    });
    assert_eq!(uplinks[0], uplinks[1]);
}

#[test]
fn a_fixed_time_is_that_of_every_message() {
    let network = builder().fixed_time(at(787_000_000)).start().unwrap();
    let (device, mut client) = pump(&network);
    device.uplink(1, [1]);
    let up = client.message().1;
    device.join();
    let activation = client.message_on("activations");
    assert_eq!(up["metadata"]["time"], "2018-03-09T07:41:22.787Z");
    assert_eq!(activation["metadata"]["time"], up["metadata"]["time"]);
}
