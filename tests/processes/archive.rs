//! The archive of the examples, killed at any moment: every uplink is in it once.

#![cfg(target_os = "linux")]

use std::{
    collections::BTreeMap,
    env,
    path::Path,
    process::{self, Command, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use crate::support::{
    child::{Running, full_name},
    harness::SOON,
    resources::{loopback, pause, wait_until},
    watchdog::watchdog,
};
use fastrand::Rng;
use rusqlite::Connection;
use ttn::{
    Network,
    crossbeam_channel::Receiver,
    simulator::{HttpRequest, Simulator, Storage},
};

#[allow(dead_code, reason = "its `main` is not called")]
#[path = "../../examples/archive.rs"]
mod example;

const LIMIT: Duration = Duration::from_secs(60);

/// The variable that names the file of the archive, in its process.
const FILE: &str = "TTN_TEST_ARCHIVE";

const PART: &str = "the_archive_of_the_examples";

/// How often it is killed.
const KILLS: usize = 50;

#[test]
fn the_archive_of_the_examples() {
    if let Ok(file) = env::var(FILE) {
        let result = example::fill(&file);
        println!("{result:?}");
        process::exit(i32::from(result.is_err()));
    }
}

/// The archive in a process of its own.
struct Program {
    running: Running,
    lines: Receiver<String>,
}

impl Program {
    fn start(network: &Simulator, file: &Path) -> Self {
        let mut child = Command::new(env::current_exe().expect("a test knows its program"))
            .args(["--exact", &full_name(module_path!(), PART), "--nocapture"])
            .env(FILE, file)
            .env("TTN_APP_ID", network.app_id())
            .env("TTN_ACCESS_KEY", network.access_key())
            .env("TTN_MQTT_ADDRESS", network.mqtt_address())
            .env("TTN_HTTP_ADDRESS", network.http_address())
            .env_remove("TTN_CLUSTER")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = Running::lines(child.stdout.take().expect("piped"));
        Self {
            running: Running(child),
            lines,
        }
    }
}

/// Sends uplinks, each with its number, and takes the network away now and then, except while the archive is awaited,
/// until the other end is dropped. Returns how many it has sent.
fn send(
    network: &Simulator,
    mut random: Rng,
    awaited: &AtomicBool,
    stopped: mpsc::Receiver<()>,
) -> u32 {
    let devices = ["bed-07", "bed-08", "tank-1"].map(|name| network.device(name));
    let mut sent = 0_u32;
    let mut left_of_outage = None;
    loop {
        match left_of_outage {
            None if random.u8(..) < 4 && !awaited.load(Ordering::Relaxed) => {
                network.stop();
                left_of_outage = Some(random.u32(1..60));
            }
            None => {}
            Some(0) => {
                let is_back = || network.restart().is_ok();
                assert!(wait_until(SOON, is_back), "the port is taken");
                left_of_outage = None;
            }
            Some(rest) => left_of_outage = Some(rest - 1),
        }
        for _ in 0..random.u32(..3) {
            random
                .choice(&devices)
                .expect("there are some")
                .uplink(1, sent.to_be_bytes());
            sent += 1;
        }
        let pause = Duration::from_millis(random.u64(5..15));
        if stopped.recv_timeout(pause) != Err(mpsc::RecvTimeoutError::Timeout) {
            let is_back = || network.restart().is_ok();
            assert!(wait_until(SOON, is_back), "the port is taken");
            return sent;
        }
    }
}

/// Returns how often the archive has each uplink, by the number in it.
fn stored(file: &Path) -> BTreeMap<u32, usize> {
    let database = Connection::open(file).expect("the file is there");
    database.busy_timeout(SOON).expect("SQLite waits");
    let mut query = database
        .prepare("SELECT payload FROM uplinks")
        .expect("the table is there");
    let payloads = query.query_map([], |row| row.get::<_, [u8; 4]>(0));
    let mut stored = BTreeMap::new();
    for payload in payloads.expect("it can be read") {
        let number = u32::from_be_bytes(payload.expect("each has four bytes"));
        *stored.entry(number).or_default() += 1;
    }
    stored
}

#[test]
fn an_archive_that_is_killed_at_any_moment_has_every_uplink_once() {
    let _watchdog = watchdog(LIMIT);
    let mut random = Rng::with_seed(21);
    let network = Simulator::builder(Network::V3)
        .address(format!("{}:0", loopback()))
        .http_address(format!("{}:0", loopback()))
        .start()
        .expect("the simulated network starts");
    network.storage(Some(Storage::new()));
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let file = folder.path().join("uplinks.sqlite");
    let (stop, stopped) = mpsc::channel();
    let awaited = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let mut program = Program::start(&network, &file);
        // From then on, the archive wants everything.
        let first = program.lines.recv_timeout(SOON);
        assert!(first.is_ok(), "it says nothing");
        while program.lines.recv_timeout(SOON).expect("it connects") != "connected" {}
        let traffic = random.fork();
        let sending = scope.spawn(|| send(&network, traffic, &awaited, stopped));
        for kill in 0..KILLS {
            // Half of them while it starts or catches up, half after it has connected, however busy the machine is.
            if kill % 2 == 1 {
                // Outages one after another would have it wait longer and longer before it tries again.
                awaited.store(true, Ordering::Relaxed);
                while program.lines.recv_timeout(SOON).expect("it connects") != "connected" {}
                awaited.store(false, Ordering::Relaxed);
            }
            pause(Duration::from_millis(random.u64(20..400)));
            program.running.kill();
            program = Program::start(&network, &file);
        }
        drop(stop);
        let sent = sending.join().expect("nothing panics there");
        // Before that, it may not have learned to end by a signal.
        while program.lines.recv_timeout(SOON).expect("it connects") != "connected" {}
        let has_all = || stored(&file).len() == sent as usize;
        let complete = wait_until(SOON, has_all);
        let lines: Vec<String> = program.lines.try_iter().collect();
        assert!(complete, "{} of {sent}; {lines:#?}", stored(&file).len());
        program.running.signal("INT");
        let status = program.running.end(SOON).expect("Ctrl-C ends it");
        let lines: Vec<String> = program.lines.iter().collect();
        assert!(status.success(), "{lines:#?}");
        sent
    });
    let stored = stored(&file);
    assert!(stored.keys().copied().eq(0..sent), "{stored:?}");
    let twice: Vec<_> = stored.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let requests = network.http_requests();
    let is_storage = |request: &&HttpRequest| request.path.contains("storage");
    let asked = requests.iter().filter(is_storage).count();
    println!("{sent} uplinks, {KILLS} kills; storage was asked {asked} times");
    assert!(asked > KILLS / 8, "it proves little");
}
