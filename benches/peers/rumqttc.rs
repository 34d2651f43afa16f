//! `rumqttc-client PORT FILTER COUNT`: subscribes, parses COUNT messages as JSON and prints "done".

use std::{env, hint::black_box};

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::Value;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [port, filter, count] = &arguments[..] else {
        panic!("usage: rumqttc-client PORT FILTER COUNT");
    };
    let port = port.parse().expect("the first argument is a port");
    let mut open: usize = count.parse().expect("the third argument is a number");

    let (client, mut connection) = Client::new(MqttOptions::new("rumqttc", "127.0.0.1", port), 16);
    client
        .subscribe(filter, QoS::AtMostOnce)
        .expect("there is room for a request");
    for event in connection.iter() {
        if let Event::Incoming(Packet::Publish(publish)) = event.expect("the connection stays") {
            let json: Value =
                serde_json::from_slice(&publish.payload).expect("the payload is JSON");
            drop(black_box(json));
            open -= 1;
            if open == 0 {
                break;
            }
        }
    }
    println!("done");
}
