//! Sets a new interval on a fleet of 200 devices: sends each a confirmed downlink at a pace that the
//! network allows, shows a progress bar while they acknowledge, and prints a table of the outcomes.
//!
//! ```text
//! cargo run --example fleet
//! ```
//!
//! The network is simulated, and some of its devices are faulty.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use ttn::{
    Delivery, DeliveryState, Downlink, ErrorDetails, MqttClient, Network,
    crossbeam_channel::{Receiver, Select, TryRecvError, bounded},
    simulator::{Device, PublishRate, Simulator},
};

const LAMPS: usize = 200;

fn main() -> Result<()> {
    let network = Simulator::builder(Network::V3)
        .quirks(|quirks| {
            quirks.publish_rate = Some(PublishRate {
                per_minute: 1_800,
                burst: 20,
            })
        })
        .start()?;
    let mut fleet: Vec<String> = (0..LAMPS).map(|lamp| format!("lamp-{lamp:03}")).collect();
    let lamps: Vec<Device> = fleet.iter().map(|lamp| network.device(lamp)).collect();
    install(&lamps);
    let (stop, stopped) = bounded(0);
    let life = thread::spawn(move || live(&lamps, &stopped));

    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .pace(1_500, 15)
        .unconfirmed_after(Duration::from_secs(3))
        .build()?;
    client.connect()?;
    // A typo: this lamp does not exist.
    fleet[77] = "lamp-77".to_owned();

    let interval = Downlink::bytes([0x01, 0x2c])
        .port(10)
        .confirmed(true)
        .max_attempts(2);
    let updates = fleet.iter().map(|lamp| (lamp, interval.clone()));
    let deliveries = client.send_many(updates)?;
    follow(&deliveries, Instant::now() + Duration::from_secs(15));
    print_table(&fleet, &deliveries);

    drop(stop);
    ensure!(life.join().is_ok(), "the thread of the fleet panicked");
    client.close()?;
    Ok(())
}

/// Shows how many deliveries are final, until all are or the deadline passes.
fn follow(deliveries: &[Delivery], deadline: Instant) {
    let bar = ProgressBar::new(deliveries.len() as u64).with_style(
        ProgressStyle::with_template("{elapsed:>4} {bar:40} {pos} of {len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut open: Vec<Receiver<DeliveryState>> = deliveries.iter().map(Delivery::states).collect();
    while !open.is_empty() {
        let mut select = Select::new();
        for states in &open {
            select.recv(states);
        }
        let Ok(index) = select.ready_deadline(deadline) else {
            break;
        };
        // The channel closes after the final state.
        if let Err(TryRecvError::Disconnected) = open[index].try_recv() {
            open.swap_remove(index);
            bar.inc(1);
        }
    }
    bar.abandon();
}

fn print_table(fleet: &[String], deliveries: &[Delivery]) {
    let mut outcomes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (lamp, delivery) in fleet.iter().zip(deliveries) {
        let lamps = outcomes.entry(outcome(&delivery.state())).or_default();
        lamps.push(lamp);
    }
    for (outcome, lamps) in outcomes {
        let more = if lamps.len() > 4 { " …" } else { "" };
        let names = lamps[..lamps.len().min(4)].join(" ");
        println!("{:>4}  {outcome:<50}  {names}{more}", lamps.len());
    }
}

fn outcome(state: &DeliveryState) -> String {
    match state {
        DeliveryState::Acknowledged => "have the new interval".to_owned(),
        DeliveryState::Failed(error) => state
            .error_details()
            .map_or_else(|| error.to_string(), ErrorDetails::to_string),
        DeliveryState::Unconfirmed(_) => "no report: does the network know them?".to_owned(),
        DeliveryState::Queued => "not heard from yet; it is queued for them".to_owned(),
        state => format!("{state}, and no further yet"),
    }
}

/// Joins all lamps, and makes some of them faulty.
fn install(lamps: &[Device]) {
    for (lamp, number) in lamps.iter().zip(0..) {
        lamp.join();
        match number {
            13 | 113 => lamp.forget_session(),
            66 | 166 => lamp.stops_acknowledging(true),
            _ => {}
        }
    }
}

/// Sends one uplink a second for each lamp, in turn; some lamps have lost power.
fn live(lamps: &[Device], stopped: &Receiver<()>) {
    let has_power = |number: &usize| !matches!(number, 42 | 142 | 192);
    let pause = Duration::from_secs(1) / LAMPS as u32;
    for number in (0..LAMPS).cycle().filter(has_power) {
        lamps[number].uplink(10, [0]);
        if stopped
            .recv_timeout(pause)
            .is_err_and(|error| error.is_disconnected())
        {
            return;
        }
    }
}
