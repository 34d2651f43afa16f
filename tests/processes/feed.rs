//! The feed of the examples, killed at any moment: the broker gets every uplink at least once.

#![cfg(target_os = "linux")]

use std::{
    collections::BTreeMap,
    env,
    path::Path,
    process::{self, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    child::{Running, full_name},
    harness::SOON,
    mosquitto::Mosquitto,
    resources::{loopback, pause},
    watchdog::watchdog,
};
use fastrand::Rng;
use ttn::{
    Event, Events, MqttClient, Network, UplinkMessage,
    crossbeam_channel::Receiver,
    simulator::{Simulator, Storage},
};

#[allow(dead_code, reason = "its `main` is not called")]
#[path = "../../examples/feed.rs"]
mod example;

const LIMIT: Duration = Duration::from_secs(100);

/// The variable that makes a process the feed.
const RUNS: &str = "TTN_TEST_FEED";

const PART: &str = "the_feed_of_the_examples";

/// How often it is killed.
const KILLS: usize = 25;

#[test]
fn the_feed_of_the_examples() {
    if env::var_os(RUNS).is_some() {
        process::exit(example::run().into());
    }
}

/// The feed in a process of its own.
struct Program {
    running: Running,
    lines: Receiver<String>,
}

impl Program {
    fn start(network: &Simulator, broker: &Mosquitto, watermark: &Path) -> Self {
        let mut child = Command::new(env::current_exe().expect("a test knows its program"))
            .args(["--exact", &full_name(module_path!(), PART), "--nocapture"])
            .env(RUNS, "1")
            .env("TTN_APP_ID", network.app_id())
            .env("TTN_ACCESS_KEY", network.access_key())
            .env("TTN_MQTT_ADDRESS", network.mqtt_address())
            .env("TTN_HTTP_ADDRESS", network.http_address())
            .env("FEED_BROKER", broker.address().to_string())
            .env("FEED_PARTITIONS", "4")
            .env("FEED_WATERMARK", watermark)
            .env_remove("TTN_CLUSTER")
            .env_remove("CREDENTIALS_DIRECTORY")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let lines = Running::lines(child.stderr.take().expect("piped"));
        Self {
            running: Running(child),
            lines,
        }
    }

    /// Returns whether it said that both sides are connected, from now on.
    fn waits_until_connected(&self) -> bool {
        let mut missing = vec!["the network is connected", "the broker is connected"];
        while !missing.is_empty() {
            let Ok(line) = self.lines.recv_timeout(SOON) else {
                return false;
            };
            missing.retain(|start| !line.starts_with(start));
        }
        true
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
        let mut program = Program::start(&network, &broker, &watermark);
        // From then on, the feed wants everything.
        assert!(program.waits_until_connected());
        let traffic = random.fork();
        let sending = scope.spawn(|| send(&network, traffic, stopped));
        for kill in 0..KILLS {
            // Half of them while it starts or catches up, half while it is up to date.
            let longest = if kill % 2 == 0 { 250 } else { 900 };
            pause(Duration::from_millis(random.u64(20..longest)));
            program.running.kill();
            read(&events, &mut seen);
            program = Program::start(&network, &broker, &watermark);
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
                    let lines: Vec<String> = program.lines.try_iter().collect();
                    panic!("missing of {sent}: {missing:?}; {lines:#?}");
                }
            }
        }
        let twice = seen.values().filter(|times| **times > 1).count();
        println!("{sent} uplinks, {KILLS} kills, {twice} came more than once");
        // Before that, it may not have learned to end by a signal.
        assert!(program.waits_until_connected());
        program.running.signal("TERM");
        let status = program.running.end(2 * SOON).expect("SIGTERM ends it");
        let lines: Vec<String> = program.lines.iter().collect();
        assert!(status.success(), "{lines:#?}");
        assert!(seen.keys().copied().eq(0..sent));
    });
}
