//! Measures how much faster workers get through uplinks whose handler waits, as for a database, than one worker
//! does, and that each device keeps its order.

mod common;

use std::{
    collections::HashMap,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use common::{
    PATIENCE,
    figures::{Reach, note},
    report::{Row, Side, interleave, print},
};
use ttn::{MqttClient, Network, UplinkMessage, simulator::Simulator};

const ROUNDS: usize = 3;
const UPLINKS: u32 = 1_000;

/// How long the handler waits.
const WAIT: Duration = Duration::from_millis(5);

/// The more devices, the more evenly they are spread over the workers.
const DEVICES: [u32; 2] = [1_000, 100];

const WORKERS: [usize; 3] = [1, 8, 32];

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(300));
    println!("## workers: {UPLINKS} uplinks, a handler that waits for 5 ms\n");
    for devices in DEVICES {
        let stage = Stage::start(devices);
        let sides = WORKERS.map(|workers| {
            let name = match workers {
                1 => "1 worker".to_owned(),
                workers => format!("{workers} workers"),
            };
            let stage = &stage;
            Side::new(name, move || stage.handle(workers))
        });
        let [speed, late] = interleave(ROUNDS, sides.into());
        print(
            &format!("{devices} devices, until the last is handled"),
            "uplinks/s",
            &speed,
        );
        let late: f64 = late.iter().flat_map(|row| &row.figures).sum();
        println!("Handled after a later one of the same device, or by another worker: {late}\n");
        note_ratio(devices, &speed, late);
    }
}

fn note_ratio(devices: u32, speed: &[Row], late: f64) {
    let [one, eight, _] = speed else {
        unreachable!("there are three sides");
    };
    let reach = match devices {
        1_000 => Reach::AtLeast(6.0),
        _ => Reach::Stated,
    };
    note(
        14,
        &format!("handled uplinks/s of 8 workers, handler of 5 ms, {devices} devices"),
        &one.name,
        reach,
        &eight.ratios(one),
    );
    note(
        15,
        &format!("uplinks handled after a later one of the same device, {devices} devices"),
        "–",
        Reach::AtMost(0.0),
        &[late],
    );
}

/// A network with devices.
struct Stage {
    network: Simulator,
    devices: Vec<String>,
}

impl Stage {
    fn start(devices: u32) -> Self {
        let network = Simulator::start(Network::V3).expect("the simulated network starts");
        Self {
            network,
            devices: (0..devices)
                .map(|number| format!("soil-probe-{number:04}"))
                .collect(),
        }
    }

    /// Sends the uplinks. Returns how many are handled in a second, and how many of them late.
    fn handle(&self, workers: usize) -> [f64; 2] {
        let client = MqttClient::builder(self.network.app_id(), self.network.access_key())
            .mqtt_address(self.network.mqtt_address())
            .build()
            .expect("the options are valid");
        let (sender, calls) = mpsc::channel();
        client
            .set_uplink_workers(workers, |worker| {
                let sender = sender.clone();
                move |uplink: &UplinkMessage, _: &MqttClient| {
                    thread::sleep(WAIT);
                    sender.send((uplink.dev_id.clone(), uplink.counter, worker))
                }
            })
            .expect("the threads start");
        client.connect().expect("the network is there");
        let start = Instant::now();
        for device in self.devices.iter().cycle().take(UPLINKS as usize) {
            self.network.device(device).uplink(1, [0x01, 0x67]);
        }
        let late = late(&calls);
        let took = start.elapsed().as_secs_f64();
        let stats = client.stats();
        let dropped: u64 = stats.workers.iter().map(|worker| worker.dropped).sum();
        assert_eq!(dropped + stats.dropped, 0);
        client.close().expect("the network is there");
        [f64::from(UPLINKS) / took, f64::from(late)]
    }
}

/// Waits until all are handled, and returns how many were after a later one of the same device, or by another
/// worker than those before.
fn late(calls: &Receiver<(String, u32, usize)>) -> u32 {
    let mut devices: HashMap<String, (u32, usize)> = HashMap::new();
    let mut late = 0;
    for _ in 0..UPLINKS {
        let (device, counter, worker) = calls.recv_timeout(PATIENCE).expect("all are handled");
        let (last, its) = devices.entry(device).or_insert((counter, worker));
        late += u32::from(counter < *last || worker != *its);
        *last = counter.max(*last);
    }
    late
}
