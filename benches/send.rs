//! Sends a JSON object as fast as the calls return, and measures until the server has read all.

mod common;

use std::time::{Duration, Instant};

use common::{
    APP, PATIENCE, bare,
    figures::{Reach, note},
    report::{Side, interleave, print},
    source::Source,
};
use paho_mqtt::{Message, QOS_0};
use serde_json::{Value, json};
use ttn::MqttClient;

const ROUNDS: usize = 15;

/// Few enough for all queues, so that no call is refused.
const DOWNLINKS: usize = 20_000;

const BARE: &str = "Paho's `try_publish` of ready bytes";

const DEV_ID: &str = "soil-probe-07";

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(120));
    let source = Source::start(0);
    let bare = bare::create(&source);
    assert!(bare::connect(&bare));
    let client = common::client_v3(source.address())
        .send_capacity(DOWNLINKS)
        .build()
        .expect("the options are valid");
    client.connect().expect("the server accepts");

    send(&client, 0);
    wait_until_published(&source, 1);
    let first = source.first_published().expect("one has been sent");
    // The number in a correlation id soon has this many digits.
    let ready = first.payload.replace(":1\"", ":100000\"");
    let publish = |payload: &str| {
        let message = Message::new(first.topic.as_str(), payload, QOS_0);
        bare.try_publish(message).expect("Paho has room");
    };
    let calls: [(_, &dyn Fn(usize)); 3] = [
        (BARE, &|_| publish(&ready)),
        ("by hand: `json!`, `to_string`, `try_publish`", &|number| {
            publish(&body(number))
        }),
        ("`send` of `json!`", &|number| send(&client, number)),
    ];

    println!("## send: {DOWNLINKS} v3 downlinks of a JSON object in one go\n");
    let sides = calls.map(|(name, call)| {
        let source = &source;
        Side::new(name, move || burst(source, call))
    });
    let [returned, read, size] = interleave(ROUNDS, sides.into());
    print("Until the last call has returned", "1000/s", &returned);
    print("Until the server has read the last", "1000/s", &read);
    print("What the server has read", "bytes each", &size);
    for (until, rows) in [
        ("the last call has returned", &returned),
        ("the server has read the last", &read),
    ] {
        let what = format!("`send` of a JSON object, calls/s until {until}");
        let [bare, _, ours] = &rows[..] else {
            unreachable!("there are three sides");
        };
        note(7, &what, BARE, Reach::AtLeast(0.8), &ours.ratios(bare));
    }

    bare::disconnect(&bare);
    client.close().expect("there are no callbacks");
}

fn send(client: &MqttClient, number: usize) {
    let delivery = client.send(DEV_ID, fields(number));
    let _ = delivery.expect("there is room");
}

/// Returns the message that `send` makes of it.
fn body(number: usize) -> String {
    let downlink = json!({
        "f_port": 1,
        "decoded_payload": fields(number),
        "correlation_ids": [format!("ttn:3f0977c1ee55327a:{}", 100_000 + number)],
    });
    let ids = json!({"device_id": DEV_ID, "application_ids": {"application_id": APP}});
    json!({"end_device_ids": ids, "downlinks": [downlink]}).to_string()
}

/// Returns fields of the same size for every downlink.
fn fields(number: usize) -> Value {
    json!({"led_state": "on", "counter": 10_000 + number, "threshold": 21.5, "night": false})
}

/// Returns thousands of calls per second, until they have returned and until the server has read
/// all, and the bytes of each message, including its topic.
fn burst(source: &Source, call: &dyn Fn(usize)) -> [f64; 3] {
    let target = source.published() + DOWNLINKS as u64;
    let bytes = source.published_bytes();
    let start = Instant::now();
    (0..DOWNLINKS).for_each(call);
    let returned = start.elapsed();
    wait_until_published(source, target);
    let read = start.elapsed();
    let rate = |time: Duration| DOWNLINKS as f64 / time.as_secs_f64() / 1e3;
    let bytes = source.published_bytes() - bytes;
    [rate(returned), rate(read), bytes as f64 / DOWNLINKS as f64]
}

fn wait_until_published(source: &Source, count: u64) {
    let start = Instant::now();
    while source.published() < count {
        assert!(start.elapsed() < PATIENCE, "the server reads all");
        std::thread::sleep(Duration::from_micros(200));
    }
}
