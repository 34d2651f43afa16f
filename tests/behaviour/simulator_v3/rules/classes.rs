//! Rules of The Things Stack for devices of classes B and C.

use std::time::{Duration, Instant};

use serde_json::json;
use ttn::Network;
use ttn::simulator::{Gateway, Simulator, Uplink};

use super::{Field, confirmed, item, kinds, long, timed, with};

#[test]
fn a_class_c_device_that_joins_is_sent_its_queue_after_its_first_uplink() {
    let mut field = Field::class_c();
    field.device.join();
    field.push(&[item(1)]);
    field.expect(["join s1 a1", "down/queued 1"]);
    field.expect_silence();
    field.device.uplink(1, [1]);
    field.expect(["up 1 s1 a1", "down/sent 1 #1 HIGHEST s1 a1"]);
    field.device.stops_acknowledging(true);
    field.push(&[confirmed(2), item(3)]);
    field.expect([
        "down/queued 2 attempt 1",
        "down/queued 3",
        "down/sent 2 #2 s1 a1",
        "down/sent 3 #3 s1 a1",
    ]);
    field.device.join();
    field.push(&[item(4)]);
    field.expect(["join s2 a2", "down/queued 4"]);
    field.expect_silence();
    field.device.uplink(1, [1]);
    field.expect([
        "down/nack 2 #2 attempt 2 s1 a2",
        "up 1 s2 a2",
        "down/sent 4 #1 HIGHEST s2 a2",
        "down/sent 2 #2 s2 a2",
    ]);
}

#[test]
fn attempts_of_class_c_end_as_those_of_class_a() {
    let mut field = Field::class_c();
    field.device.stops_acknowledging(true);
    field.device.uplink(1, [1]);
    field.push(&[with(
        confirmed(2),
        "confirmed_retry",
        json!({"max_attempts": 2, "attempt": 1}),
    )]);
    field.expect(["up 1 a1", "down/queued 2 attempt 1", "down/sent 2 #1 a1"]);
    field.device.uplink(1, [1]);
    field.expect([
        "down/nack 2 #1 attempt 2 a1",
        "up 1 #1 a1",
        "down/sent 2 #2 a1",
    ]);
    field.device.uplink(1, [1]);
    let messages = field.expect([
        "down/failed 2 #2 attempt 3 max_retries_reached",
        "down/nack 2 #2 attempt 3 a1",
        "up 1 #2 a1",
    ]);
    assert_eq!(kinds(&messages[0]), ["as:downlink"]);
    assert_eq!(
        messages[0]["downlink_failed"]["error"]["attributes"],
        json!({"max_retries": "2"})
    );
    field.expect_silence();
}

#[test]
fn a_class_c_device_is_nacked_whatever_the_gateway_did() {
    let mut field = Field::class_c();
    field.device.uplink(1, [1]);
    field.expect(["up 1 a1"]);
    field.network.gateways_deaf(true);
    field.push(&[confirmed(2), confirmed(3)]);
    field.expect(["down/queued 2 attempt 1", "down/queued 3 attempt 1"]);
    field.expect_silence();
    field.network.gateways_deaf(false);
    field.network.gateways_silent(true);
    // The second is sent without a report and is acknowledged; the first waits behind it.
    field.device.uplink(1, [1]);
    field.expect(["down/nack 2 #1 attempt 2 a1", "up 1 #1 a1"]);
    field.expect_silence();
    field.network.gateways_silent(false);
    field.network.transmission_fails(Some("TX_POWER"));
    field.device.uplink(1, [1]);
    field.expect([
        "down/ack 3 #2 attempt 1 a1",
        "up 1 #2 a1",
        "down/failed 2 #3 transmission a1",
    ]);
    field.network.transmission_fails(None);
    field.device.uplink(1, [1]);
    field.expect([
        "down/nack 2 #3 attempt 3 a1",
        "up 1 #3 a1",
        "down/sent 2 #4 a1",
    ]);
}

#[test]
fn a_downlink_of_class_a_whose_time_passed_fails_with_any_frame_of_the_network() {
    let mut field = Field::new();
    let ahead = Duration::from_millis(2_600);
    let begun = Instant::now();
    field.push(&[timed(1, ahead), with(item(2), "class_b_c", json!({}))]);
    field.expect(["down/queued 1", "down/queued 2"]);
    field.device.send(Uplink::new(1, [1]).confirmed(true));
    field.expect(["up 1 a1"]);
    let left = (ahead + Duration::from_millis(50)).saturating_sub(begun.elapsed());
    assert_eq!(field.client.try_packet(left), Err(false));
    // There is nothing to send: the second one is not for class A.
    field.device.uplink(1, [1]);
    field.expect(["up 1 #1 a1"]);
    field.expect_silence();
    field.device.send(Uplink::new(1, [1]).confirmed(true));
    let messages = field.expect(["up 1 #2 a1", "down/failed 1 #1 downlink_expired a1"]);
    let failed = kinds(&messages[1]);
    assert!(failed.contains(&"gs:uplink".into()), "{failed:?}");
    assert_eq!(field.device.queue().len(), 1);
}

#[test]
fn any_gateway_that_heard_the_device_and_knows_the_time_can_keep_it() {
    let mut field = Field::class_c();
    let near = || Gateway::new("roof-east").snr(9.0);
    let far = || Gateway::new("hill-top").snr(-3.0).gps(true);
    let ahead = Duration::from_secs(4);
    let uplink = Uplink::new(1, [1]);
    field.device.send(uplink.heard_by(near()).heard_by(far()));
    field.push(&[timed(1, ahead)]);
    field.expect(["up 1 a1", "down/queued 1", "down/sent 1 #1 a1"]);
    // Time and gateway together.
    let named = |id: &str| {
        let gateways = json!([{"gateway_ids": {"gateway_id": id}}]);
        let mut item = timed(2, 2 * ahead);
        item["class_b_c"]["gateways"] = gateways;
        item
    };
    let mut other = Field::class_c();
    let uplink = Uplink::new(1, [1]);
    other.device.send(uplink.heard_by(near()).heard_by(far()));
    other.push(&[named("roof-east"), named("no-such")]);
    other.expect(["up 1 a1", "down/queued 2", "down/queued 2"]);
    let failed = other.expect([
        "down/failed 2 #1 absolute_time a1",
        "down/failed 2 #2 fixed_paths a1",
    ]);
    let expected = [
        "as:downlink",
        "as:up",
        "rpc:/ttn.lorawan.v3.NsAs/HandleUplink",
    ];
    assert!(failed.iter().all(|message| kinds(message) == expected));
    let error = &failed[0]["downlink_failed"]["error"];
    assert!(error.get("correlation_id").is_none());
}

#[test]
fn a_named_gateway_need_not_be_the_one_that_heard_the_device() {
    let mut field = Field::class_c();
    let gateways = |ids: &[&str]| {
        let gateways = ids
            .iter()
            .map(|id| json!({"gateway_ids": {"gateway_id": id}}));
        json!({"gateways": gateways.collect::<Vec<_>>()})
    };
    let far = || Gateway::new("hill-top").deaf(true);
    field.device.send(Uplink::new(1, [1]).heard_by(far()));
    let near = Uplink::new(1, [1]).data_rate("SF12BW125");
    field
        .device
        .send(near.heard_by(Gateway::new("roof-east")).confirmed(true));
    field.expect(["up 1 a1", "up 1 #1 a1"]);
    // One that takes no downlinks loses it; an unknown one is passed over.
    field.push(&[
        with(item(1), "class_b_c", gateways(&["hill-top", "roof-east"])),
        with(item(2), "class_b_c", gateways(&["no-such", "roof-east"])),
    ]);
    field.expect(["down/queued 1", "down/queued 2"]);
    // The acknowledgement took the number 0.
    let messages = field.expect(["down/sent 2 #2 a1"]);
    assert!(kinds(&messages[0]).contains(&"as:up".into()));
}

#[test]
fn a_downlink_for_named_gateways_does_not_answer_an_uplink() {
    let window = Duration::from_millis(150);
    let mut field = Field::of(Simulator::builder(Network::V3).receive_window(window));
    field.device.class_c(true);
    field.device.send(
        Uplink::new(1, [1])
            .data_rate("SF12BW125")
            .heard_by(Gateway::new("roof-east")),
    );
    let gateways = json!({"gateways": [{"gateway_ids": {"gateway_id": "roof-east"}}]});
    field.push(&[with(long(1, 100), "class_b_c", gateways)]);
    let messages = field.expect(["up 1 a1", "down/queued 1", "down/sent 1 #1 a1"]);
    let sent = kinds(&messages[2]);
    assert!(sent.contains(&"as:up".into()), "{sent:?}");
    assert!(!sent.contains(&"gs:uplink".into()), "{sent:?}");
}

#[test]
fn real_pauses_of_class_c_scale() {
    let scaled = |millis: u64| Duration::from_millis(millis / 4);
    let mut field = Field::of(Simulator::builder(Network::V3).real_delays(0.25));
    field.device.class_c(true);
    field.device.uplink(1, [1]);
    field.expect(["up 1 a1"]);
    field.expect_silence();
    let begun = Instant::now();
    field.push(&[item(1), item(2)]);
    field.expect(["down/queued 1", "down/queued 2", "down/sent 1 #1 a1"]);
    let first = begun.elapsed();
    assert!(first >= scaled(200));
    field.expect(["down/sent 2 #2 a1"]);
    assert!(begun.elapsed() >= scaled(200 + 1_500));
}
