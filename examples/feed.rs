//! A feed: publishes everything that an application gets into a broker of one's own, at least once, and takes
//! downlinks from there to the network.
//!
//! Here the network is simulated, and the feed closes when the broker has acknowledged ten uplinks. The broker must
//! be there, for example Mosquitto:
//!
//! ```text
//! mosquitto -p 1883 &
//! mosquitto_sub -v -t '#' &
//! cargo run --example feed
//! ```
//!
//! `ttn feed`, of the feature `cli`, is a complete program: with options, signals, exit statuses, and a delay between
//! attempts to start.

use std::{env, thread, time::Duration};

use anyhow::Result;
use ttn::{
    Feed, MqttClient, Network, Session,
    crossbeam_channel::{RecvTimeoutError, bounded, select, tick},
    simulator::{Simulator, Storage},
};

const UPLINKS: u64 = 10;

fn main() -> Result<()> {
    let address = env::args().nth(1).unwrap_or("localhost:1883".to_owned());
    let simulator = Simulator::start(Network::V3)?;
    // What the broker misses while it is away is fetched from there.
    simulator.storage(Some(Storage::new()));

    let network = MqttClient::builder(simulator.app_id(), simulator.access_key())
        .mqtt_address(simulator.mqtt_address())
        .http_address(simulator.http_address());
    let broker = MqttClient::own_broker(simulator.app_id())
        .mqtt_address(address)
        .session(Session::persistent("ttn-feed-example"));
    // `watermark_file` lets the next run go on where this one was killed.
    let feed = Feed::builder(network, broker).start()?;

    let device = simulator.device("greenhouse-door");
    let (stop, stopped) = bounded::<()>(0);
    let sending = thread::spawn(move || {
        let pause = Duration::from_millis(300);
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            device.uplink(1, [1]);
        }
    });
    let events = feed.events();
    let look = tick(Duration::from_millis(100));
    while feed.stats().acknowledged < UPLINKS {
        select! {
            recv(events) -> event => println!("{}", event?),
            recv(look) -> _ => {}
        }
    }
    drop(stop);
    sending.join().expect("nothing panics there");
    // An error if the broker has not acknowledged everything.
    feed.close()?;
    let stats = feed.stats();
    println!(
        "{} acknowledged, {} dropped",
        stats.acknowledged, stats.dropped
    );
    Ok(())
}
