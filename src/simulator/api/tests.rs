use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, SystemTime},
};

use serde_json::json;

use super::Simulator;
use crate::{
    Network,
    simulator::{
        lorawan::{Location, PayloadFormat, Uplink},
        v3::KeyOf,
    },
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
    let actions: [(&str, &dyn Fn()); 41] = [
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
        ("Simulator::http_address", &|| {
            network.http_address();
        }),
        ("Simulator::http_requests", &|| {
            network.http_requests();
        }),
        ("Simulator::wait_for_http_requests", &|| {
            network.wait_for_http_requests(1, Duration::ZERO);
        }),
        ("Simulator::http_fault", &|| network.http_fault(None)),
        ("Simulator::http_fault_on", &|| {
            network.http_fault_on("/auth_info", None);
        }),
        ("Simulator::http_faults_next", &|| {
            network.http_faults_next("/auth_info", []);
        }),
        ("Simulator::storage", &|| network.storage(None)),
        ("Simulator::event_store", &|| network.event_store(None)),
        ("Simulator::advance_clock", &|| {
            network.advance_clock(Duration::ZERO);
        }),
        ("Simulator::http_rate_limit", &|| {
            network.http_rate_limit(1, 1);
        }),
        ("Simulator::set_rights", &|| {
            network.set_rights("plant", "ttn-account-v2.key", &[]);
        }),
        ("Simulator::add_other_key", &|| {
            network.add_other_key("NNSXS.A.B", KeyOf::User("gardener"), &[]);
        }),
        ("Simulator::expire_key", &|| {
            network.expire_key("plant", "ttn-account-v2.key", SystemTime::now());
        }),
        ("Simulator::delete_application", &|| {
            network.delete_application("plant");
        }),
        ("Simulator::suspend_user", &|| {
            network.suspend_user("gardener", true);
        }),
        ("Simulator::identity_server_down", &|| {
            network.identity_server_down(true);
        }),
        ("Simulator::identity_server_elsewhere", &|| {
            network.identity_server_elsewhere(true);
        }),
        ("Device::on_other_cluster", &|| {
            device.on_other_cluster("nam1.example.org");
        }),
        ("Device::rename", &|| device.rename("pump")),
        ("SimulatorBuilder::http_address", &|| {
            drop(Simulator::builder(Network::V2).http_address("127.0.0.1:0"));
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
#[cfg(feature = "tls")]
fn https_panics_on_v2() {
    let network = Simulator::start(Network::V2).unwrap();
    let https = || drop(Simulator::builder(Network::V2).https(true));
    let expected = "SimulatorBuilder::https is for v3 only, and this network is V2";
    assert_eq!(panic_of(https), expected);
    let panic = panic_of(|| drop(network.authority()));
    assert!(
        panic.starts_with("this network has no authority"),
        "{panic}"
    );
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
        (
            "repeated_after",
            uplink().repeated_after(Duration::from_secs(60)),
        ),
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
