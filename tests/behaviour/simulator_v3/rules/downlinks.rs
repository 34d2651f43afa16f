//! Rules of The Things Stack for the queue and the fate of downlinks.

use std::time::Duration;

use serde_json::Value;
use ttn::simulator::Uplink;

use super::{Field, confirmed, ids_of, item, long, timed, with};

#[test]
fn an_unanswered_downlink_is_nacked_in_the_old_session_and_sent_in_the_new_one() {
    let mut field = Field::new();
    field.device.join();
    field.device.uplink(1, [1]);
    field.expect(["join s1 a1", "up 1 s1 a1"]);
    field.push(&[confirmed(7), item(8)]);
    field.expect(["down/queued 7 attempt 1", "down/queued 8"]);
    field.device.uplink(1, [1]);
    field.expect(["up 1 #1 s1 a1", "down/sent 7 #1 s1 a1"]);
    field.device.stops_acknowledging(true);
    field.device.join();
    field.device.uplink(1, [1]);
    field.expect([
        "join s2 a2",
        "down/nack 7 #1 attempt 2 s1 a2",
        "up 1 s2 a2",
        "down/sent 8 #1 HIGHEST s2 a2",
    ]);
    field.device.stops_acknowledging(false);
    field.device.uplink(1, [1]);
    field.expect(["up 1 #1 s2 a2", "down/sent 7 #2 s2 a2"]);
    field.device.join();
    field.device.join();
    field.device.uplink(1, [1]);
    field.expect(["join s3 a3", "join s4 a4", "down/nack 7 #2 attempt 3 s2 a4"]);
    field.expect(["up 1 s4 a4", "down/sent 7 #1 HIGHEST s4 a4"]);
    field.device.uplink(1, [1]);
    field.expect(["down/ack 7 #1 attempt 3 s4 a4", "up 1 #1 s4 a4"]);
    field.expect_silence();
}

#[test]
fn downlinks_that_are_too_long_fail_together_behind_the_one_that_is_sent() {
    let mut field = Field::new();
    let slow = || Uplink::new(1, [1]).data_rate("SF12BW125");
    field.push(&[
        with(long(1, 60), "confirmed", true.into()),
        long(2, 52),
        long(3, 51),
        long(4, 52),
    ]);
    field.expect([
        "down/queued 1 attempt 1",
        "down/queued 2",
        "down/queued 3",
        "down/queued 4",
    ]);
    field.device.send(slow());
    let messages = field.expect([
        "up 1 a1",
        "down/sent 3 #3 a1",
        "down/failed 1 #1 attempt 1 application_downlink_too_long a1",
        "down/failed 2 #2 application_downlink_too_long a1",
    ]);
    let passed_on = ids_of(&messages[2], "rpc:/ttn.lorawan.v3.NsAs/");
    assert_eq!(passed_on, ids_of(&messages[3], "rpc:/ttn.lorawan.v3.NsAs/"));
    assert_eq!(
        ids_of(&messages[2], "gs:uplink"),
        ids_of(&messages[0], "gs:uplink")
    );
    let error = |message: &Value| message["downlink_failed"]["error"]["correlation_id"].clone();
    assert_ne!(error(&messages[2]), error(&messages[3]));
    // Nothing is nacked, and only an acknowledgement of the network is left to send.
    field.device.send(slow().confirmed(true));
    field.expect([
        "up 1 #1 a1",
        "down/failed 4 #4 application_downlink_too_long a1",
    ]);
    field.push(&[long(5, 115), long(6, 116)]);
    field.expect(["down/queued 5", "down/queued 6"]);
    let fast = || Uplink::new(1, [1]).data_rate("SF9BW125");
    field.device.send(fast());
    // The acknowledgement took the number 4.
    field.expect(["up 1 #2 a1", "down/sent 5 #5 a1"]);
    field.device.send(fast());
    field.expect([
        "up 1 #3 a1",
        "down/failed 6 #6 application_downlink_too_long a1",
    ]);
    field.expect_silence();
}

#[test]
fn a_nack_on_port_224_is_lost_with_its_downlink() {
    let mut field = Field::new();
    field.device.stops_acknowledging(true);
    field.push(&[confirmed(1), item(2)]);
    field.expect(["down/queued 1 attempt 1", "down/queued 2"]);
    field.device.uplink(1, [1]);
    field.expect(["up 1 a1", "down/sent 1 #1 a1"]);
    field.device.uplink(224, [1]);
    field.expect(["down/sent 2 #2 a1"]);
    field.device.uplink(1, [1]);
    field.expect(["up 1 #2 a1"]);
    field.expect_silence();
    assert!(field.device.queue().is_empty());
}

#[test]
fn an_application_with_its_own_keys_is_told_of_a_nack_and_sends_again_itself() {
    let mut field = Field::class_c();
    field.device.keeps_own_keys("mine");
    field.device.stops_acknowledging(true);
    field.device.join();
    let joined = &field.expect(["join s1 a1"])[0];
    let session = joined["join_accept"]["session_key_id"].clone();
    let own = |item: Value, counter: u32| {
        let item = with(item, "session_key_id", session.clone());
        with(item, "f_cnt", counter.into())
    };
    field.device.uplink(1, [1]);
    let first = field.expect(["up 1 s1 a1", "down/invalidated s1 a1"]);
    let invalidated = &first[1]["downlink_queue_invalidated"];
    assert!(invalidated.get("downlinks").is_none());
    assert!(invalidated.get("last_f_cnt_down").is_none());
    field.push(&[own(confirmed(1), 1), own(item(2), 3)]);
    field.expect([
        "down/queued 1 #1 attempt 1 s1",
        "down/queued 2 #3 s1",
        "down/sent 1 #1 s1 a1",
        "down/sent 2 #3 s1 a1",
    ]);
    field.device.uplink(1, [1]);
    let nacked = field.expect(["down/nack 1 #1 attempt 1 s1 a1", "up 1 #1 s1 a1"]);
    assert_eq!(nacked[1]["uplink_message"]["last_a_f_cnt_down"], 3);
    field.expect_silence();
    field.push(&[own(item(1), 3)]);
    field.expect(["down/failed 1 #3 f_cnt_too_low s1"]);
    field.device.class_c(false);
    field.push(&[own(item(1), 4), own(item(2), 5)]);
    field.expect(["down/queued 1 #4 s1", "down/queued 2 #5 s1"]);
    // The counters of replaced downlinks are free again.
    field.request("replace", &[own(item(3), 4)]);
    field.expect(["down/queued 3 #4 s1"]);
    field.request("replace", &[]);
    field.expect_silence();
    field.push(&[own(item(4), 4)]);
    field.expect(["down/queued 4 #4 s1"]);
    field.device.join();
    let rejoined = field.expect(["join s2 a2"]);
    let left = &rejoined[0]["join_accept"]["invalidated_downlinks"];
    assert_eq!(left.as_array().unwrap().len(), 1);
    field.push(&[own(item(5), 5)]);
    field.expect(["down/failed 5 #5 unknown_session s1"]);
    assert!(field.device.queue().is_empty());
}

#[test]
fn a_replacement_that_is_too_large_leaves_the_queue() {
    let mut field = Field::new();
    field.network.quirks(|quirks| quirks.downlink_queue = 3);
    field.push(&[item(1), item(2)]);
    field.expect(["down/queued 1", "down/queued 2"]);
    field.request("replace", &[item(3), item(4), item(5), confirmed(6)]);
    let failed = field.expect([
        "down/failed 3 downlink_queue_capacity",
        "down/failed 4 downlink_queue_capacity",
        "down/failed 5 downlink_queue_capacity",
        "down/failed 6 attempt 1 downlink_queue_capacity",
    ]);
    let error = |message: &Value| message["downlink_failed"]["error"]["correlation_id"].clone();
    assert_eq!(error(&failed[0]), error(&failed[3]));
    field.request("replace", &[item(3), item(4), item(5)]);
    field.expect(["down/queued 3", "down/queued 4", "down/queued 5"]);
    field.device.uplink(1, [1]);
    field.expect(["up 1 a1", "down/sent 3 #3 a1"]);
}

#[test]
fn the_first_bad_downlink_says_why_a_request_is_refused() {
    let mut field = Field::new();
    let past = || timed(1, Duration::from_secs(1));
    field.push(&[past(), long(2, 243)]);
    field.expect([
        "down/failed 1 downlink_expired",
        "down/failed 2 downlink_expired",
    ]);
    field.push(&[long(2, 243), past()]);
    field.expect([
        "down/failed 2 application_downlink_too_long",
        "down/failed 1 application_downlink_too_long",
    ]);
}
