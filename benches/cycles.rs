//! Connects and closes repeatedly: measures what is left behind, and how long a cycle takes.

mod common;

use std::time::{Duration, Instant};

use common::{
    Usage, bare,
    figures::{Reach, note},
    report::{Side, interleave, print},
    source::{NOT_AUTHORIZED, Source},
};
use paho_mqtt::AsyncClient;
use ttn::{ErrorKind, MqttClient};

const WARM_UP: usize = 20;
const CYCLES: usize = 1_000;
const ROUNDS: usize = 15;
const CYCLES_PER_ROUND: usize = 100;

const BARE: &str = "Paho: connect, subscribe, disconnect";
const BARE_ANEW: &str = "Paho: create, connect, subscribe, disconnect, destroy";

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(300));
    let [healthy, refusing] = [0, NOT_AUTHORIZED].map(Source::start);
    let [client, refused] = [&healthy, &refusing].map(|source| {
        let client = common::client_v3(source.address()).build();
        client.expect("the options are valid")
    });

    println!("## cycles: connect and close\n");
    println!(
        "| {CYCLES} cycles, after {WARM_UP} | threads | descriptors | resident KiB | seconds |"
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    leftovers("accepted and closed", || connect_and_close(&client));
    leftovers("refused", || be_refused(&refused));
    println!();

    let kept = bare::create(&healthy);
    let [rows] = interleave(
        ROUNDS,
        vec![
            Side::new(BARE, || microseconds(|| bare_connect_and_close(&kept))),
            Side::new(BARE_ANEW, || {
                microseconds(|| bare_connect_and_close(&bare::create(&healthy)))
            }),
            Side::new("`connect`, `close`", || {
                microseconds(|| connect_and_close(&client))
            }),
        ],
    );
    print("A cycle, accepted", "µs", &rows);
    for bare in &rows[..2] {
        let ratios = rows[2].ratios(bare);
        let reach = Reach::AtMost(1.3);
        note(8, "`connect` and `close`", &bare.name, reach, &ratios);
    }
    let [rows] = interleave(
        ROUNDS,
        vec![
            Side::new("Paho: create, connect", || {
                microseconds(|| bare_be_refused(&refusing))
            }),
            Side::new("`connect`", || microseconds(|| be_refused(&refused))),
        ],
    );
    print("A cycle, refused", "µs", &rows);
}

fn connect_and_close(client: &MqttClient) {
    client.connect().expect("the server accepts");
    client.close().expect("there are no callbacks");
}

fn be_refused(client: &MqttClient) {
    let error = client.connect().expect_err("the server refuses");
    assert_eq!(error.kind(), ErrorKind::NotAuthorized);
}

fn bare_connect_and_close(client: &AsyncClient) {
    assert!(bare::connect(client));
    bare::subscribe(client);
    bare::disconnect(client);
}

fn bare_be_refused(source: &Source) {
    let client = bare::create(source);
    assert!(!bare::connect(&client));
}

fn leftovers(name: &str, cycle: impl Fn()) {
    (0..WARM_UP).for_each(|_| cycle());
    let before = Usage::settled();
    let start = Instant::now();
    (0..CYCLES).for_each(|_| cycle());
    let took = start.elapsed().as_secs_f64();
    let (Some(before), Some(after)) = (before, Usage::settled()) else {
        println!("| {name} | ? | ? | ? | {took:.1} |");
        return;
    };
    println!(
        "| {name} | {} → {} | {} → {} | {} → {} | {took:.1} |",
        before.threads,
        after.threads,
        before.descriptors,
        after.descriptors,
        before.resident_kib,
        after.resident_kib,
    );
}

fn microseconds(cycle: impl Fn()) -> [f64; 1] {
    let start = Instant::now();
    (0..CYCLES_PER_ROUND).for_each(|_| cycle());
    [start.elapsed().as_secs_f64() * 1e6 / CYCLES_PER_ROUND as f64]
}
