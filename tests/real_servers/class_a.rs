//! Downlinks to class A devices.

use super::stage::Scene;

#[test]
fn a_device_gets_one_downlink_with_each_uplink() {
    Scene::new("down-basic").plays();
}

#[test]
fn events_repeat_what_was_asked_and_add_what_was_done() {
    Scene::new("down-members").plays();
}

#[test]
fn an_unanswered_downlink_goes_to_the_end_of_the_queue() {
    Scene::new("down-confirmed").plays();
}

#[test]
fn attempts_end_with_a_failure_before_the_last_nack() {
    Scene::new("down-limit").plays();
}

#[test]
fn a_nacked_downlink_is_replaced_with_the_queue() {
    Scene::new("down-nacked-replace").plays();
}

#[test]
fn a_downlink_that_is_too_long_leaves_its_slot_to_the_next() {
    Scene::new("down-too-long").plays();
}

#[test]
fn a_full_queue_refuses_all_of_a_request() {
    Scene::new("queue-full")
        .network(|builder| builder.quirks(|quirks| quirks.downlink_queue = 20))
        .plays();
}

#[test]
fn a_gateway_says_why_it_did_not_transmit() {
    let fails =
        |result| move |stage: &super::stage::Stage| stage.network.transmission_fails(result);
    Scene::new("tx-errors")
        .first(fails(Some("TOO_LATE")))
        .before(5, fails(Some("TX_FREQ")))
        .before(9, fails(Some("GPS_UNLOCKED")))
        .before(13, fails(Some("MADE_UP")))
        .before(17, fails(Some("TOO_LATE")))
        .before(21, fails(None))
        .plays();
}

#[test]
fn a_gateway_that_reports_nothing_transmits_all_the_same() {
    Scene::new("tx-silent")
        .first(|stage| stage.network.gateways_silent(true))
        .plays();
}

#[test]
fn a_gateway_that_takes_no_downlinks_loses_them() {
    Scene::new("no-path")
        .first(|stage| stage.network.gateways_deaf(true))
        .before(7, |stage| stage.network.gateways_deaf(false))
        .plays();
}

#[test]
fn the_server_sends_the_time_by_itself() {
    Scene::new("alcsync")
        .first(|stage| stage.device.synchronizes_clock(true))
        .uplinks(|recorded, uplink| {
            let received = recorded.get("received_at").unwrap().text();
            uplink.time(humantime::parse_rfc3339(received).unwrap())
        })
        .plays();
}
