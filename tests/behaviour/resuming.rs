//! Programs that crash and go on, at random: each uplink is handled exactly once.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use fastrand::Rng;
use ttn::{
    Backfill, Event, Events, MqttClient, Network, Overflow, Watermark,
    simulator::{EventStore, HttpFault, Simulator, Storage},
};

use crate::support::{
    harness::SOON,
    relay::Relay,
    resources::{pause, wait_until},
    watchdog::watchdog,
};

const DEVICES: [&str; 3] = ["bed-07", "bed-08", "pump-2"];

/// Longer than a network and this machine take for an uplink, and short, so that the clients forget.
const OVERLAP: Duration = Duration::from_millis(150);

/// More uplinks than are sent at once.
const PAGE: u32 = 60;

/// What a program keeps: in its database, the uplinks that it has handled, and how far it has got.
#[derive(Clone)]
struct Kept {
    handled: BTreeSet<u32>,
    watermark: Watermark,
}

impl Kept {
    fn since(start: SystemTime) -> Self {
        Self {
            handled: BTreeSet::new(),
            watermark: start.into(),
        }
    }

    /// Handles an event, in one transaction. Returns whether it is an uplink that was not handled before.
    fn handle(&mut self, event: &Event) -> bool {
        let Event::Uplink(uplink) = event else {
            return true;
        };
        let number = u32::from_be_bytes(uplink.payload_raw[..].try_into().unwrap());
        let watermark = uplink.watermark().expect("it has one").to_string();
        assert!(watermark.len() < 9_000, "{}", watermark.len());
        self.watermark = watermark.parse().unwrap();
        self.handled.insert(number)
    }

    /// Fails unless all were handled that were sent since the start.
    #[track_caller]
    fn has_all(&self, world: &World) {
        let sent = 1..world.sent;
        assert!(self.handled.iter().all(|number| sent.contains(number)));
        let missing: Vec<u32> = sent
            .filter(|number| !self.handled.contains(number))
            .collect();
        assert!(missing.is_empty(), "{missing:?} never came");
    }
}

struct World {
    network: Simulator,
    link: Relay,
    random: Rng,
    sent: u32,
}

impl World {
    fn send(&mut self, uplinks: u32) {
        for _ in 0..uplinks {
            let device = *self.random.choice(&DEVICES).unwrap();
            let payload = self.sent.to_be_bytes();
            self.network.device(device).uplink(1, payload);
            self.sent += 1;
            if self.random.u8(..3) == 0 {
                pause(Duration::from_millis(self.random.u64(..30)));
            }
        }
    }

    fn client(&self, watermark: &Watermark) -> MqttClient {
        let backfill = Backfill::new()
            .passes([Duration::ZERO])
            .overlap(OVERLAP)
            .recheck(OVERLAP)
            .page_size(PAGE)
            .max_wait(Duration::from_secs(1));
        MqttClient::builder(self.network.app_id(), self.network.access_key())
            .mqtt_address(self.link.address().to_string())
            .http_address(self.network.http_address())
            .reconnect_delay(Duration::from_millis(5), Duration::from_millis(20))
            .backfill(backfill)
            .resume_from(watermark.clone())
            .build()
            .unwrap()
    }

    fn mend(&self) {
        assert!(wait_until(SOON, || self.link.listen().is_ok()));
    }

    /// Runs the program until it crashes.
    ///
    /// Returns what another program has kept that shows the uplinks of the same client, and is slow.
    fn run(&mut self, kept: &mut Kept) -> Kept {
        let mut display = kept.clone();
        let client = self.client(&kept.watermark);
        let events = client.events_with(40, Overflow::Block);
        let narrow = client.events_with(3, Overflow::DropOldest);
        // It may be cut off before it is there.
        let _ = client.connect();
        for _ in 0..self.random.u8(1..10) {
            match self.random.u8(..10) {
                0..=2 => {
                    let uplinks = self.random.u32(1..12);
                    self.send(uplinks);
                }
                3 => {
                    self.link.refuse();
                    self.link.cut();
                    let uplinks = self.random.u32(..12);
                    self.send(uplinks);
                    self.mend();
                }
                4 => {
                    let faults = [
                        None,
                        None,
                        Some(HttpFault::Slow(Duration::from_millis(20))),
                        Some(HttpFault::Slow(Duration::from_millis(100))),
                        Some(HttpFault::CutOff),
                    ];
                    let fault = self.random.choice(&faults).unwrap().clone();
                    self.network.http_fault_on("storage", fault);
                }
                5..=8 => {
                    let most = *self.random.choice(&[2, 5, 30]).unwrap();
                    for _ in 0..self.random.u8(..most) {
                        let patience = Duration::from_millis(self.random.u64(1..40));
                        match events.recv_timeout(patience) {
                            Ok(event) => assert!(kept.handle(&event), "it comes twice: {event:?}"),
                            Err(_) => break,
                        }
                    }
                }
                _ => {
                    for event in narrow.receiver().try_iter().take(2) {
                        assert!(display.handle(&event), "it comes twice: {event:?}");
                    }
                }
            }
        }
        display
    }

    /// Handles everything that is missing, and returns what came.
    fn catch_up(&mut self, kept: &mut Kept) -> Vec<Event> {
        self.network.http_fault_on("storage", None);
        let client = self.client(&kept.watermark);
        let events = client.events();
        client.connect().unwrap();
        let mut came = until_filled(&events);
        while let Ok(event) = events.recv_timeout(Duration::from_millis(200)) {
            came.push(event);
        }
        came
    }
}

fn until_filled(events: &Events) -> Vec<Event> {
    let mut came = Vec::new();
    loop {
        let event = events.recv_timeout(SOON).expect("a backfill ends");
        if let Event::Backfilled(report) = &event {
            assert!(report.error.is_none(), "{report:?}");
            assert!(report.uncovered.is_empty(), "{report:?}");
            return came;
        }
        came.push(event);
    }
}

/// Crashes a program again and again.
fn crashes(seed: u64, cycles: usize, is_stored: bool) {
    let _watchdog = watchdog(Duration::from_secs(120));
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let key = format!("NNSXS.{:016X}.SECRET", random.u64(..));
    let network = Simulator::builder(Network::V3)
        .application("greenhouse@ttn", key)
        .start()
        .unwrap();
    match is_stored {
        true => network.storage(Some(Storage::new().doubled(random.bool()))),
        false => network.event_store(Some(EventStore::new().events(900))),
    }
    let link = Relay::start(network.address()).unwrap();
    let mut world = World {
        network,
        link,
        random,
        sent: 0,
    };
    // Storage keeps one from before the start.
    world.send(1);
    pause(2 * OVERLAP);
    let start = SystemTime::now();
    pause(2 * OVERLAP);
    let mut kept = Kept::since(start);
    for _ in 0..cycles {
        let mut display = world.run(&mut kept);
        let uplinks = world.random.u32(..10);
        world.send(uplinks);
        // What was too slow gets again what it has lost, and perhaps what came after that.
        if world.random.u8(..4) == 0 {
            for event in world.catch_up(&mut display) {
                display.handle(&event);
            }
            display.has_all(&world);
        }
    }
    for event in world.catch_up(&mut kept) {
        assert!(kept.handle(&event), "it comes twice: {event:?}");
    }
    kept.has_all(&world);
}

/// Returns the seed and the number of crashes: those of the test, unless the environment names others.
fn plan(seed: u64, crashes: usize) -> (u64, usize) {
    let read = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    (
        read("RESUMING_SEED").unwrap_or(seed),
        read("RESUMING_CRASHES").map_or(crashes, |number| number as usize),
    )
}

#[test]
fn a_program_that_crashes_at_random_handles_each_uplink_of_storage_exactly_once() {
    let (seed, cycles) = plan(1, 12);
    crashes(seed, cycles, true);
}

#[test]
fn a_program_that_crashes_at_random_handles_each_uplink_of_the_event_stream_exactly_once() {
    let (seed, cycles) = plan(2, 12);
    crashes(seed, cycles, false);
}
