//! Uplinks and joins.

use std::time::Duration;

use ttn::simulator::{Gateway, Uplink};

use super::{json::Json, stage::Scene};

#[test]
fn an_uplink_has_the_members_of_its_port_and_radio() {
    Scene::new("up-basic")
        // The MAC command on FPort 0.
        .uplinks(|up, uplink| match up.get("f_cnt").map(Json::text) {
            Some("4") => uplink.options(1),
            _ => uplink,
        })
        .before(7, |stage| {
            stage.device.send(Uplink::new(224, [1]).counter(6));
        })
        .last(|stage| {
            for counter in 65_535..=65_537 {
                stage.device.send(Uplink::new(1, "far").counter(counter));
            }
        })
        .plays();
}

#[test]
fn each_copy_of_a_frame_counts_once() {
    let copy = || Uplink::new(1, "once").confirmed(true).retry(true);
    Scene::new("up-retrans")
        .before(2, move |stage| {
            stage.device.send(copy());
            stage.device.send(copy());
        })
        .last(|stage| {
            stage.device.send(Uplink::new(1, "bad").bad_crc(true));
            stage.device.send(Uplink::new(1, "old").counter(1));
        })
        .plays();
}

#[test]
fn an_uplink_names_each_antenna_of_each_gateway() {
    let late = || Gateway::new("gw-up-gateways-b").delay(Duration::from_millis(900));
    Scene::new("up-gateways")
        .uplinks(
            move |up, uplink| match up.get("frm_payload").unwrap().text() {
                "dHdpY2U=" => uplink.heard_by(Gateway::new("gw-up-gateways")),
                "bGF0ZSBjb3B5" => uplink.heard_by(late()),
                _ => uplink,
            },
        )
        .plays();
}

#[test]
fn an_acknowledgement_on_port_224_is_lost_with_its_uplink() {
    Scene::new("port-224")
        .before(5, |stage| {
            stage.device.send(Uplink::new(224, [1]));
        })
        .plays();
}

#[test]
fn a_device_joins_and_counts_from_zero() {
    Scene::new("join-basic").plays();
}
