//! Rules of The Things Stack for devices, their uplinks and their counters.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ttn::Network;
use ttn::simulator::{Simulator, Uplink};

use super::{Field, confirmed, item, with};

#[test]
fn a_frame_counter_has_32_bits() {
    let mut field = Field::new();
    for counter in [16_000, 32_000, 48_000, 64_000, 65_534] {
        field.device.send(Uplink::new(1, [1]).counter(counter));
        field.expect([format!("up 1 #{counter} a1").as_str()]);
    }
    for counter in 65_535..=65_537 {
        assert_eq!(field.device.uplink(1, [1]), counter);
        field.expect([format!("up 1 #{counter} a1").as_str()]);
    }
}

#[test]
fn a_device_that_is_registered_anew_begins_anew() {
    let mut field = Field::new();
    field.push(&[confirmed(1), item(2)]);
    field.expect(["down/queued 1 attempt 1", "down/queued 2"]);
    field.device.uplink(1, [1]);
    field.expect(["up 1 a1", "down/sent 1 #1 a1"]);
    let eui = field.device.dev_eui();
    assert!(field.network.delete_device("pump-1"));
    field.push(&[item(3)]);
    field.expect_silence();
    field.device.uplink(1, [1]);
    field.expect_silence();
    let device = field.network.device("pump-1");
    assert_eq!(device.dev_eui(), eui);
    device.uplink(1, [1]);
    field.push(&[item(4)]);
    field.expect(["up 1 a2", "down/queued 4"]);
    device.uplink(1, [1]);
    field.expect(["up 1 #1 a2", "down/sent 4 #1 a2"]);
}

#[test]
fn a_simulated_message_keeps_its_time_and_needs_a_device() {
    let mut field = Field::new();
    let ack = |member: &str, value: Value| {
        let request = json!({"downlink_ack": {"f_port": 1, "f_cnt": 2}});
        with(request, member, value)
    };
    let at = "2026-11-28T14:25:12.500Z";
    assert_eq!(field.device.simulate(&ack("received_at", at.into())), 200);
    let messages = field.expect(["down/ack 1 #2"]);
    assert_eq!(messages[0]["received_at"], at);
    for refused in [
        ack("received_at", "yesterday".into()),
        ack("simulated", true.into()),
    ] {
        assert_eq!(field.device.simulate(&refused), 400);
    }
    assert!(field.network.delete_device("pump-1"));
    assert_eq!(field.device.simulate(&ack("simulated", false.into())), 200);
    field.expect_silence();
}

#[test]
fn a_position_stays_known_when_later_uplinks_have_none() {
    let mut field = Field::new();
    field.network.set_decoder(|_, bytes: &[u8]| {
        Ok(match bytes {
            [1] => json!({"latitude": 1.5, "longitude": 2}),
            _ => json!({"level": 3}),
        })
    });
    field.device.uplink(1, [1]);
    let messages = field.expect(["up 1 a1", "location/solved a1"]);
    assert_eq!(
        messages[0]["correlation_ids"],
        messages[1]["correlation_ids"]
    );
    field.device.uplink(1, [2]);
    let up = field.expect(["up 1 #1 a1"]);
    let known = &up[0]["uplink_message"]["locations"]["frm-payload"];
    assert_eq!(
        *known,
        json!({"latitude": 1.5, "longitude": 2, "source": "SOURCE_GPS"})
    );
    field.expect_silence();
}

#[test]
fn real_delays_scale() {
    let scaled = |millis: u64| Duration::from_millis(millis / 4);
    let mut field = Field::of(Simulator::builder(Network::V3).real_delays(0.25));
    let begun = Instant::now();
    field.device.join();
    assert_eq!(field.device.uplink(1, [1]), 0);
    assert!(begun.elapsed() < scaled(3_800));
    field.expect(["join s1 a1"]);
    assert!(begun.elapsed() >= scaled(3_800));
    field.expect(["up 1 s1 a1"]);
    field.expect_silence();
    field.push(&[item(1)]);
    field.expect(["down/queued 1"]);
    let begun = Instant::now();
    assert_eq!(field.device.uplink(1, [1]), 1);
    field.expect(["up 1 #1 s1 a1"]);
    assert!(begun.elapsed() >= scaled(200));
    field.expect(["down/sent 1 #1 s1 a1"]);
    assert!(begun.elapsed() >= scaled(400));
}

#[test]
fn what_is_on_its_way_is_lost_with_its_device() {
    let mut field = Field::of(Simulator::builder(Network::V3).real_delays(0.25));
    field.device.uplink(1, [1]);
    assert!(field.network.delete_device("pump-1"));
    let device = field.network.device("pump-1");
    field.expect_silence();
    assert_eq!(device.uplink(1, [1]), 0);
    field.expect(["up 1 a1"]);
}

#[test]
fn a_device_that_several_threads_use_loses_no_uplink() {
    let mut field = Field::new();
    let device = &field.device;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    device.uplink(1, [1]);
                }
            });
        }
        for counter in 0..200 {
            let (_, message) = field.client.message();
            let found = message["uplink_message"]["f_cnt"].as_u64();
            assert_eq!(found.unwrap_or_default(), counter);
        }
    });
}
