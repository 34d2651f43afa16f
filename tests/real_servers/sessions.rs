//! Downlinks across joins, and the counters that they share with frames of the network.

use ttn::simulator::Uplink;

use super::{json::Json, stage::Scene};

#[test]
fn a_downlink_may_wait_for_a_session_that_has_not_begun() {
    Scene::new("join-early")
        .first(|stage| stage.device.forget_session())
        .plays();
}

#[test]
fn a_queue_goes_over_to_the_next_session() {
    Scene::new("rejoin-queued").plays();
}

#[test]
fn an_acknowledgement_is_lost_with_the_first_uplink_after_a_reset() {
    Scene::new("reset-counter")
        .first(|stage| stage.device.resets_counters(true))
        .before(9, |stage| {
            stage.device.send(Uplink::new(1, [0]).counter(0));
        })
        .plays();
}

#[test]
fn a_device_without_euis_is_named_without_them() {
    Scene::new("no-eui")
        .first(|stage| {
            stage.device.without_euis();
            stage.device.mac_commands(2);
        })
        // The first commands need a long answer, the second ones none.
        .uplinks(
            |recorded, uplink| match recorded.get("f_cnt").map(Json::text) {
                Some("1") => uplink.options(6),
                Some("2") => uplink.options(0),
                _ => uplink,
            },
        )
        .plays();
}

#[test]
fn frames_of_the_network_take_counters_of_the_application() {
    Scene::new("network-frames").plays();
}
