//! Measures how fast a client catches up with stored uplinks, against a program that reads the same answers and
//! does nothing with them, and how much memory that takes.

mod common;

use std::{
    env,
    hint::black_box,
    io::{self, BufRead, BufReader},
    ops::Range,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use common::{
    PATIENCE, Peak, Usage,
    figures::{Reach, note},
    messages::v3_uplink,
    report::{Side, interleave, print},
};
use serde_json::Value;
use ttn::{
    Backfill, BackfillSource, Event, MqttClient, Network,
    simulator::{Simulator, Storage},
};

const UPLINKS: u64 = 100_000;

/// They were sent evenly over this time.
const AGE: Duration = Duration::from_secs(20 * 3600);

/// The most in one answer.
const PAGE: usize = 1_000;

const ROUNDS: usize = 5;

/// The argument that makes this program the network.
const NETWORK: &str = "network";

fn main() {
    if env::args().nth(1).as_deref() == Some(NETWORK) {
        return run_network();
    }
    let _watchdog = common::watchdog(Duration::from_secs(300));
    println!("## backfill: {UPLINKS} stored uplinks\n");
    let stage = Stage::start();
    // Before anything else, so that no memory is there to be used again.
    let memory = stage.memory();
    if let Some([idle, peak]) = memory {
        println!("| resident KiB | |");
        println!("| --- | ---: |");
        println!("| idle and connected | {idle} |");
        println!("| at the peak, while it catches up | {peak} |");
        println!();
        let growth = peak.saturating_sub(idle) as f64;
        let what = "KiB of resident memory while a client catches up, more than idle";
        note(13, what, "–", Reach::AtMost(16_384.0), &[growth]);
    }
    let [rows] = interleave(
        ROUNDS,
        vec![
            Side::new("by hand: `ureq`, line by line, `serde_json::Value`", || {
                [UPLINKS as f64 / stage.read_by_hand().as_secs_f64()]
            }),
            Side::new("`MqttClient::backfill`, into `events()`", || {
                [UPLINKS as f64 / stage.catch_up(&stage.connect()).as_secs_f64()]
            }),
        ],
    );
    print("Catching up from storage", "uplinks/s", &rows);
    let [by_hand, client] = &rows[..] else {
        unreachable!("there are two sides");
    };
    note(
        13,
        "uplinks/s of `MqttClient::backfill`, from storage",
        &by_hand.name,
        Reach::AtLeast(0.8),
        &client.ratios(by_hand),
    );
}

/// Runs a network with stored uplinks in this process until its standard input ends.
fn run_network() {
    let network = Simulator::start(Network::V3).expect("the simulated network starts");
    network.storage(Some(Storage::new()));
    // Answers then say how many more requests there may be, so that none waits for a second.
    network.http_rate_limit(1_000_000, 60_000_000);
    let begin = SystemTime::now() - AGE;
    for number in 0..UPLINKS {
        let (_, message) = v3_uplink((number % 100) as usize, 2);
        let mut message: Value = serde_json::from_str(&message).expect("it is JSON");
        let at = begin + AGE * number as u32 / UPLINKS as u32;
        let time = Value::from(humantime::format_rfc3339_nanos(at).to_string());
        message["received_at"] = time.clone();
        message["uplink_message"]["received_at"] = time;
        message["uplink_message"]["f_cnt"] = (number / 100 + 1).into();
        let device = format!("soil-probe-{:02}", number % 100);
        assert_eq!(network.device(&device).simulate(&message), 200);
    }
    println!("{}", network.mqtt_address());
    println!("{}", network.http_address());
    println!("{}", network.app_id());
    println!("{}", network.access_key());
    io::copy(&mut io::stdin(), &mut io::sink()).expect("the standard input is a pipe");
}

/// A network in a process of its own.
struct Stage {
    process: Child,
    mqtt: String,
    http: String,
    app_id: String,
    access_key: String,
    /// That of all uplinks.
    time: Range<SystemTime>,
}

impl Stage {
    fn start() -> Self {
        let margin = Duration::from_secs(60);
        let begin = SystemTime::now() - AGE - margin;
        let mut process = Command::new(env::current_exe().expect("a program knows its file"))
            .arg(NETWORK)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the network's process starts");
        let output = process.stdout.take().expect("it is a pipe");
        let mut lines = BufReader::new(output).lines();
        let mut next = || next(&mut lines);
        Self {
            mqtt: next(),
            http: next(),
            app_id: next(),
            access_key: next(),
            time: begin..SystemTime::now() + margin,
            process,
        }
    }

    fn connect(&self) -> MqttClient {
        let client = MqttClient::builder(&*self.app_id, &*self.access_key)
            .mqtt_address(&*self.mqtt)
            .http_address(&*self.http)
            .backfill(Backfill::on_request())
            .build()
            .expect("the options are valid");
        client.connect().expect("the network is there");
        client
    }

    /// Returns how long a client takes for all uplinks, until a subscriber has the last.
    fn catch_up(&self, client: &MqttClient) -> Duration {
        let events = client.events();
        let start = Instant::now();
        let filling = client.backfill(self.time.clone());
        let filling = filling.expect("the client has a backfill");
        let mut uplinks = 0;
        loop {
            match events.recv_timeout(PATIENCE).expect("it goes on") {
                Event::Uplink(uplink) => {
                    black_box(uplink);
                    uplinks += 1;
                }
                Event::Backfilled(_) => break,
                Event::Lagged(lost) => panic!("{lost} events were dropped"),
                _ => {}
            }
        }
        let time = start.elapsed();
        let report = filling.wait().expect("it has ended");
        assert_eq!(report.source, Some(BackfillSource::Storage));
        assert_eq!(
            (uplinks, report.delivered),
            (UPLINKS, UPLINKS),
            "{report:?}"
        );
        time
    }

    /// Returns the resident memory of an idle client, and the most while it catches up.
    fn memory(&self) -> Option<[usize; 2]> {
        let client = self.connect();
        let idle = Usage::settled()?.resident_kib;
        let peak = Peak::watch();
        self.catch_up(&client);
        Some([idle, peak.end()])
    }

    /// Returns how long it takes to read all pages and to parse each line.
    fn read_by_hand(&self) -> Duration {
        let agent = ureq::Agent::new_with_defaults();
        let app_id = self.app_id.split('@').next().expect("it is not empty");
        let address = format!(
            "{}/api/v3/as/applications/{app_id}/packages/storage/uplink_message",
            self.http
        );
        let key = format!("Bearer {}", self.access_key);
        let mut after = humantime::format_rfc3339_nanos(self.time.start).to_string();
        let mut uplinks = 0;
        let start = Instant::now();
        loop {
            let answer = agent
                .get(&address)
                .header("Authorization", &key)
                .query("after", &after)
                .query("order", "received_at")
                .query("limit", PAGE.to_string())
                .call()
                .expect("the network answers");
            let mut page = 0;
            for line in BufReader::new(answer.into_body().into_reader()).lines() {
                let line = line.expect("the answer is complete");
                let record: Value = serde_json::from_str(&line).expect("it is JSON");
                let time = record["result"]["received_at"].as_str();
                after.clear();
                after.push_str(time.expect("each has a time"));
                black_box(record);
                page += 1;
            }
            uplinks += page;
            if page < PAGE {
                break;
            }
        }
        let time = start.elapsed();
        assert_eq!(uplinks as u64, UPLINKS);
        time
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

fn next(lines: &mut io::Lines<BufReader<ChildStdout>>) -> String {
    let line = lines.next().expect("the network tells its address");
    line.expect("it is UTF-8")
}
