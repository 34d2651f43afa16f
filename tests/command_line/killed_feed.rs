//! `ttn feed`, killed at any moment: the broker gets every uplink at least once.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    program::{Program, ttn_on},
    support::{
        harness::SOON,
        mosquitto::Mosquitto,
        resources::{loopback, pause},
        watchdog::watchdog,
    },
};
use fastrand::Rng;
use ttn::{
    Event, Events, MqttClient, Network, UplinkMessage,
    simulator::{Simulator, Storage},
};

const LIMIT: Duration = Duration::from_secs(100);

/// How often it is killed.
const KILLS: usize = 25;

fn start(network: &Simulator, broker: &Mosquitto, watermark: &Path) -> Program {
    let mut command = ttn_on(network, ["feed", "--partitions", "4"]);
    command
        .args(["--broker", &broker.address().to_string(), "--watermark"])
        .arg(watermark);
    Program::start(command)
}

fn waits_until_connected(program: &Program) {
    let mut missing = vec!["the network is connected", "the broker is connected"];
    while !missing.is_empty() {
        let line = program.stderr.recv_timeout(SOON).expect("it connects");
        missing.retain(|part| !line.contains(part));
    }
}

/// Sends uplinks, each with its number, until the other end is dropped. Returns how many it has sent.
fn send(network: &Simulator, mut random: Rng, stopped: mpsc::Receiver<()>) -> u32 {
    let devices = ["bed-07", "bed-08", "tank-1"].map(|name| network.device(name));
    let mut sent = 0_u32;
    loop {
        for _ in 0..random.u32(..3) {
            let device = random.choice(&devices).expect("there are some");
            device.uplink(1, sent.to_be_bytes());
            sent += 1;
        }
        let pause = Duration::from_millis(random.u64(5..15));
        if stopped.recv_timeout(pause) != Err(mpsc::RecvTimeoutError::Timeout) {
            return sent;
        }
    }
}

/// How often an uplink came, by the number in it.
type Seen = BTreeMap<u32, usize>;

fn note(seen: &mut Seen, uplink: &UplinkMessage) {
    let bytes = uplink.payload_raw[..].try_into().expect("four bytes");
    *seen.entry(u32::from_be_bytes(bytes)).or_default() += 1;
}

fn read(events: &Events, seen: &mut Seen) {
    for event in events.receiver().try_iter() {
        if let Event::Uplink(uplink) = event {
            note(seen, &uplink);
        }
    }
}

#[test]
fn a_feed_that_is_killed_at_any_moment_publishes_every_uplink() {
    let _watchdog = watchdog(LIMIT);
    let Some(broker) = Mosquitto::builder().start() else {
        return;
    };
    let mut random = Rng::with_seed(22);
    let network = Simulator::builder(Network::V3)
        .address(format!("{}:0", loopback()))
        .http_address(format!("{}:0", loopback()))
        .start()
        .expect("the simulated network starts");
    network.storage(Some(Storage::new()));
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let watermark = folder.path().join("watermark");
    let reader = MqttClient::own_broker(network.app_id())
        .mqtt_address(broker.address().to_string())
        .partitions(4)
        .build()
        .expect("the options are right");
    let events = reader.events_with(100_000, ttn::Overflow::DropNewest);
    reader.connect().expect("the broker is there");
    let (stop, stopped) = mpsc::channel();
    let mut seen = Seen::new();
    thread::scope(|scope| {
        let mut program = start(&network, &broker, &watermark);
        // From then on, the feed wants everything.
        waits_until_connected(&program);
        let traffic = random.fork();
        let sending = scope.spawn(|| send(&network, traffic, stopped));
        for kill in 0..KILLS {
            // Half of them while it starts or catches up, half while it is up to date.
            let longest = if kill % 2 == 0 { 250 } else { 900 };
            pause(Duration::from_millis(random.u64(20..longest)));
            program.running.kill();
            read(&events, &mut seen);
            program = start(&network, &broker, &watermark);
        }
        drop(stop);
        let sent = sending.join().expect("nothing panics there");
        let deadline = Instant::now() + 3 * SOON;
        while seen.len() < sent as usize {
            let left = deadline.saturating_duration_since(Instant::now());
            match events.recv_timeout(left) {
                Ok(Event::Uplink(uplink)) => note(&mut seen, &uplink),
                Ok(_) => {}
                Err(_) => {
                    let missing: Vec<_> = (0..sent).filter(|it| !seen.contains_key(it)).collect();
                    let lines: Vec<String> = program.notes();
                    panic!("missing of {sent}: {missing:?}; {lines:#?}");
                }
            }
        }
        let twice = seen.values().filter(|times| **times > 1).count();
        println!("{sent} uplinks, {KILLS} kills, {twice} came more than once");
        // Before that, it may not have learned to end by a signal.
        waits_until_connected(&program);
        program.running.signal("TERM");
        let status = program.running.end(2 * SOON).expect("SIGTERM ends it");
        let lines: Vec<String> = program.stderr.iter().collect();
        assert!(status.success(), "{lines:#?}");
        assert!(seen.keys().copied().eq(0..sent));
    });
}
