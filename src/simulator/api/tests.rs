use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use serde_json::json;

use super::Simulator;
use crate::{
    Network,
    simulator::lorawan::{Location, PayloadFormat, Uplink},
};

/// Returns the message of a panic.
fn panic_of(action: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(action)).unwrap_err();
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn what_only_v3_can_do_panics_on_v2() {
    let network = Simulator::start(Network::V2).unwrap();
    let device = network.device("pump-1");
    let location = Location::default();
    let actions: [(&str, &dyn Fn()); 21] = [
        ("Simulator::transmission_fails", &|| {
            network.transmission_fails(Some("TOO_LATE"));
        }),
        ("Simulator::gateways_silent", &|| {
            network.gateways_silent(true);
        }),
        ("Simulator::gateways_deaf", &|| network.gateways_deaf(true)),
        ("Device::class_c", &|| device.class_c(true)),
        ("Device::class_c_timeout", &|| {
            device.class_c_timeout(Duration::ZERO);
        }),
        ("Device::multicast", &|| device.multicast()),
        ("Device::without_euis", &|| device.without_euis()),
        ("Device::keeps_own_keys", &|| device.keeps_own_keys("own")),
        ("Device::synchronizes_clock", &|| {
            device.synchronizes_clock(true);
        }),
        ("Device::push_over_http", &|| {
            device.push_over_http(&json!({}));
        }),
        ("Device::replace_over_http", &|| {
            device.replace_over_http(&json!({}));
        }),
        ("Device::forget_session", &|| device.forget_session()),
        ("Device::invalidate_queue", &|| device.invalidate_queue()),
        ("Device::service_data", &|| {
            device.service_data("storage", &json!({}));
        }),
        ("Device::location_solved", &|| {
            device.location_solved("geolocation", location);
        }),
        ("Simulator::set_normalizer", &|| {
            network.set_normalizer(|fields| Ok(fields.clone()));
        }),
        ("Simulator::set_downlink_decoder", &|| {
            network.set_downlink_decoder(|_, _| Ok(json!({})));
        }),
        ("Device::set_decoder", &|| {
            device.set_decoder(|_, _| Ok(json!({})));
        }),
        ("Device::set_encoder", &|| {
            device.set_encoder(|_, _| Ok(Vec::new()));
        }),
        ("Device::simulate", &|| {
            device.simulate(&json!({}));
        }),
        ("SimulatorBuilder::release", &|| {
            drop(Simulator::builder(Network::V2).release("3.34.0"));
        }),
    ];
    for (method, action) in actions {
        let expected = format!("{method} is for v3 only, and this network is V2");
        assert_eq!(panic_of(action), expected);
    }
}

#[test]
fn uplinks_that_only_v3_knows_panic_on_v2() {
    let network = Simulator::start(Network::V2).unwrap();
    let device = network.device("pump-1");
    let uplink = || Uplink::new(2, [1]);
    for (setter, uplink) in [
        ("lr_fhss", uplink().lr_fhss()),
        ("warning", uplink().warning("uncalibrated")),
        ("normalized", uplink().normalized(json!({}))),
        ("battery", uplink().battery(0.0)),
        ("packet_broker", uplink().packet_broker(true)),
        ("version_ids", uplink().version_ids(json!({}))),
        ("bad_crc", uplink().bad_crc(true)),
    ] {
        let expected = format!("Uplink::{setter} is for v3 only, and this network is V2");
        assert_eq!(panic_of(|| _ = device.send(uplink)), expected);
    }
    assert_eq!(device.uplink(2, [1]), 0);
}

#[test]
fn a_limit_of_the_downlink_queue_panics_on_v2_and_changes_nothing() {
    let limit = "Quirks::downlink_queue is for v3 only, and this network is V2";
    let builder = Simulator::builder(Network::V2);
    let panic = panic_of(|| drop(builder.quirks(|quirks| quirks.downlink_queue = 1)));
    assert!(panic.starts_with(limit), "{panic}");

    let network = Simulator::start(Network::V2).unwrap();
    let panic = panic_of(|| network.quirks(|quirks| quirks.downlink_queue = 1));
    assert!(panic.starts_with(limit), "{panic}");
    network.quirks(|quirks| quirks.ignore_pings = true);
}

#[test]
fn what_only_v2_can_do_panics_on_v3() {
    let network = Simulator::start(Network::V3).unwrap();
    let actions: [(&str, &dyn Fn()); 3] = [
        ("set_validator", &|| network.set_validator(|_, _| true)),
        ("set_converter", &|| {
            network.set_converter(|_, fields| Ok(fields.clone()));
        }),
        ("set_payload_format", &|| {
            network.set_payload_format(PayloadFormat::None);
        }),
    ];
    for (method, action) in actions {
        let expected = format!("Simulator::{method} is for V2 only, and this network is v3");
        assert_eq!(panic_of(action), expected);
    }
    network.quirks(|quirks| quirks.field_topics = false);
}
