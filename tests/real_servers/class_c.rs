//! Downlinks to class C devices, and to groups.

use std::time::Duration;

use super::stage::Scene;
use crate::support::resources::pause;

/// Long enough for a step while it is open.
const WINDOW: Duration = Duration::from_millis(250);

#[test]
fn a_device_that_listens_gets_downlinks_one_after_the_other() {
    Scene::new("class-c")
        .first(|stage| stage.device.class_c(true))
        .plays();
}

#[test]
fn a_device_that_was_never_heard_is_sent_nothing() {
    Scene::new("class-c-unheard")
        .first(|stage| stage.device.class_c(true))
        .plays();
}

#[test]
fn a_downlink_for_a_time_leaves_before_it_and_holds_up_the_next() {
    Scene::new("class-c-time")
        .first(|stage| stage.device.class_c(true))
        .in_real_time()
        .plays();
}

#[test]
fn a_gateway_without_gps_cannot_keep_a_time() {
    Scene::new("class-c-no-gps")
        .first(|stage| stage.device.class_c(true))
        .plays();
}

#[test]
fn a_transmission_that_fails_is_nacked_by_the_next_uplink() {
    Scene::new("class-c-tx")
        .first(|stage| {
            stage.device.class_c(true);
            stage.network.transmission_fails(Some("COLLISION_PACKET"));
        })
        .before(8, |stage| stage.network.transmission_fails(None))
        // The server missed the receive window of the uplink.
        .before(10, |stage| {
            stage.network.gateways_down(true);
            pause(2 * WINDOW);
            stage.network.gateways_down(false);
        })
        .window(WINDOW)
        .plays();
}

#[test]
fn a_downlink_to_a_group_is_queued_and_no_more() {
    Scene::new("multicast")
        .first(|stage| stage.device.multicast())
        .plays();
}
