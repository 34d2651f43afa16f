//! Sending a JSON object, as fast as the calls return and until the server has read all.

mod common;

use std::time::{Duration, Instant};

use common::{
    APP, PATIENCE, bare,
    report::{Side, interleave, print},
    source::Source,
};
use paho_mqtt::{Message, QOS_0};
use serde_json::{Value, json};

const ROUNDS: usize = 15;

/// Fits into all queues, so that no call is refused.
const DOWNLINKS: usize = 20_000;

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(120));
    let source = Source::start(0);
    let bare = bare::create(&source);
    assert!(bare::connect(&bare));
    let client = common::client(&source)
        .send_capacity(DOWNLINKS)
        .build()
        .expect("the options are good");
    client.connect().expect("the server accepts");

    let topic = format!("{APP}/devices/soil-probe-07/down");
    let body = |fields: Value| json!({"port": 1, "payload_fields": fields}).to_string();
    let ready = body(fields(0));
    let publish = |payload: &str| {
        let message = Message::new(topic.as_str(), payload, QOS_0);
        bare.try_publish(message).expect("Paho has room");
    };
    let calls: [(_, &dyn Fn(usize)); 3] = [
        ("Paho's `try_publish` of ready bytes", &|_| publish(&ready)),
        ("by hand: `json!`, `to_string`, `try_publish`", &|number| {
            publish(&body(fields(number)))
        }),
        ("`send` of `json!`", &|number| {
            let delivery = client.send("soil-probe-07", fields(number));
            let _ = delivery.expect("there is room");
        }),
    ];

    println!("## send: {DOWNLINKS} downlinks of a JSON object in one go\n");
    let sides = calls.map(|(name, call)| {
        let source = &source;
        Side::new(name, move || burst(source, call))
    });
    let [returned, read] = interleave(ROUNDS, sides.into());
    print("Until the last call has returned", "1000/s", &returned);
    print("Until the server has read the last", "1000/s", &read);

    bare::disconnect(bare);
    client.close().expect("there are no callbacks");
}

fn fields(number: usize) -> Value {
    json!({"led_state": "on", "counter": number, "threshold": 21.5, "night": false})
}

/// Thousands of calls per second, until they have returned and until all was read.
fn burst(source: &Source, call: &dyn Fn(usize)) -> [f64; 2] {
    let target = source.published() + DOWNLINKS as u64;
    let start = Instant::now();
    (0..DOWNLINKS).for_each(call);
    let returned = start.elapsed();
    while source.published() < target {
        assert!(start.elapsed() < PATIENCE, "the server reads all");
        std::thread::sleep(Duration::from_micros(200));
    }
    let read = start.elapsed();
    let rate = |time: Duration| DOWNLINKS as f64 / time.as_secs_f64() / 1e3;
    [rate(returned), rate(read)]
}
