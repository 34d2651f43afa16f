//! A network that keeps uplinks, behind links that break at random, and an account of every uplink: delivered
//! live, delivered by a backfill, or reported as uncovered; and nothing twice.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use fastrand::Rng;
use ttn::{
    Backfill, BackfillSource, Backfilled, Event, Events, MqttClient, Network, Stats, Uncovered,
    UncoveredReason,
    simulator::{EventStore, HttpFault, Simulator, Storage},
};

use super::{
    proxy::lock,
    relay::{Fault, Relay, Way},
    resources::{loopback, pause, wait_until},
};

/// The time limit for everything that does not depend on chance.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the devices send, all together.
const TICK: Duration = Duration::from_millis(40);

/// Each device sends in its turn, every 2 seconds: the time alone tells whose uplink it is.
const DEVICES: usize = 50;

/// How long after its time an uplink may be read from storage.
const WRITE_DELAY: Duration = Duration::from_millis(40);

/// The events that the network keeps: those of half a second.
const KEPT: usize = 12;

/// How long it keeps their messages.
const TTL: Duration = Duration::from_millis(300);

/// How far the times of an uplink may be from when it was sent.
const NEAR: Duration = Duration::from_secs(1);

/// Mismatches beyond this number reveal nothing new.
const MISMATCHES: usize = 10;

/// Where the uplinks are kept, how often the link is cut, and what the key may do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub source: BackfillSource,
    pub reads_devices: bool,
    pub cuts: u64,
    pub seed: u64,
}

/// Cuts the link at random, and accounts for every uplink.
pub fn run(plan: Plan) -> Account {
    let place = Place::new(plan);
    let client = place.client();
    let events = client.events();
    let begin = Instant::now();
    let stats = thread::scope(|scope| {
        scope.spawn(|| place.read(&events));
        client.connect().expect("the link is good");
        // The first uplink of a device has no predecessor that could be missing.
        place.send_one_each();
        // Then the time alone tells them from those that follow.
        pause(NEAR);
        let (stop, stopped) = mpsc::channel();
        let sending = scope.spawn(|| place.send(stopped));
        place.rage(&client);
        drop(stop);
        sending.join().expect("nothing panics there");
        place.end_well(&client);
        let stats = client.stats();
        client.close().expect("the client closes");
        stats
    });
    let mut account = place.account.into_inner().expect("nothing panicked");
    account.time = begin.elapsed();
    account.check(&stats);
    account
}

struct Place {
    plan: Plan,
    network: Simulator,
    mqtt: Relay,
    http: Relay,
    account: Mutex<Account>,
}

impl Place {
    fn new(plan: Plan) -> Self {
        // Backfills with the same key take turns.
        let key = format!("NNSXS.{:016X}.SECRET", plan.seed);
        let network = Simulator::builder(Network::V3)
            .application("greenhouse@ttn", key)
            .address(format!("{}:0", loopback()))
            .http_address(format!("{}:0", loopback()))
            .start()
            .expect("the simulated network starts");
        match plan.source {
            BackfillSource::Events => {
                let store = EventStore::new().events(KEPT).message_ttl(TTL);
                network.event_store(Some(store));
            }
            _ => network.storage(Some(Storage::new().write_delay(WRITE_DELAY))),
        }
        // Answers then say how many more requests there may be, so that none waits for a second.
        network.http_rate_limit(10_000, 600_000);
        let mut rights = vec!["RIGHT_APPLICATION_TRAFFIC_READ"];
        if plan.reads_devices {
            rights.push("RIGHT_APPLICATION_DEVICES_READ");
        }
        network.set_rights(network.app_id(), network.access_key(), &rights);
        let http = network.http_address();
        let http = http.strip_prefix("http://").map(str::parse);
        let http = http.expect("it speaks no TLS").expect("an address");
        Self {
            plan,
            mqtt: Relay::start(network.address()).expect("a relay starts"),
            http: Relay::start(http).expect("a relay starts"),
            account: Mutex::new(Account::new(plan.seed)),
            network,
        }
    }

    fn client(&self) -> MqttClient {
        let backfill = Backfill::new()
            .passes([Duration::ZERO, 3 * WRITE_DELAY])
            .overlap(Duration::from_secs(1))
            .max_wait(Duration::from_secs(2));
        MqttClient::builder(self.network.app_id(), self.network.access_key())
            .mqtt_address(self.mqtt.address().to_string())
            .http_address(format!("http://{}", self.http.address()))
            .keep_alive(Duration::from_secs(1))
            .connect_timeout(Duration::from_secs(3))
            .reconnect_delay(Duration::from_millis(5), Duration::from_millis(40))
            .event_capacity(50_000)
            .backfill(backfill)
            .build()
            .expect("the options are valid")
    }

    fn read(&self, events: &Events) {
        while let Ok(event) = events.recv_timeout(4 * PATIENCE) {
            let is_over = matches!(event, Event::Closed(_));
            lock(&self.account).take(&event);
            if is_over {
                return;
            }
        }
    }

    /// Lets the devices send, each in its turn, until the other end is dropped.
    fn send(&self, stopped: mpsc::Receiver<()>) {
        for device in (0..DEVICES).cycle() {
            self.uplink(device);
            if stopped.recv_timeout(TICK) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    fn uplink(&self, device: usize) {
        let number = {
            let mut account = lock(&self.account);
            account.published.push(Fate::new());
            account.published.len() as u32 - 1
        };
        let device = self.network.device(&format!("bed-{device:02}"));
        device.uplink(1, number.to_be_bytes());
    }

    /// Breaks the links in every way.
    fn rage(&self, client: &MqttClient) {
        let mut random = Rng::with_seed(self.plan.seed);
        while lock(&self.account).cuts < self.plan.cuts {
            // Sometimes without waiting, so that it is also cut while it connects or catches up.
            match random.u8(..) {
                0..50 => self.await_filled(client),
                50..220 => self.await_connection(client),
                _ => {}
            }
            linger(&mut random, 60);
            self.strike(client, &mut random);
        }
    }

    fn await_connection(&self, client: &MqttClient) {
        if !wait_until(PATIENCE, || client.is_connected()) {
            let mut account = lock(&self.account);
            account.mismatch("the client did not come back".to_owned());
        }
    }

    fn await_filled(&self, client: &MqttClient) {
        self.await_connection(client);
        let is_done = || client.is_connected() && client.backfill_progress().is_none();
        wait_until(Duration::from_secs(1), is_done);
    }

    fn strike(&self, client: &MqttClient, random: &mut Rng) {
        let (mqtt, http) = (&self.mqtt, &self.http);
        match random.u8(..100) {
            0..25 => mqtt.cut(),
            25..37 => {
                mqtt.set(Way::ToClients, Fault::CutAfter(random.usize(1..4_000)));
                linger(random, 60);
                mqtt.pass();
            }
            37..42 => {
                mqtt.cut();
                mqtt.set(Way::ToServer, Fault::CutAfter(random.usize(0..150)));
                linger(random, 60);
                mqtt.pass();
            }
            42..52 => self.refuse(random, 200),
            52..58 => {
                mqtt.set(Way::ToClients, Fault::Stall);
                linger(random, 300);
                mqtt.cut();
                mqtt.pass();
            }
            // Long enough for the network to forget.
            58..62 => self.refuse(random, 1_600),
            62..74 => {
                self.network.stop();
                linger(random, 200);
                assert!(wait_until(PATIENCE, || self.network.restart().is_ok()));
            }
            74..84 => {
                http.set(Way::ToClients, Fault::CutAfter(random.usize(1..20_000)));
                self.cut_and_catch_up(client, random);
                http.pass();
            }
            84..88 => {
                http.stall();
                self.cut_and_catch_up(client, random);
                http.pass();
            }
            _ => {
                let faults = [
                    HttpFault::Status(503),
                    HttpFault::Html(502),
                    HttpFault::CutOff,
                    HttpFault::RateLimited,
                    HttpFault::Slow(Duration::from_millis(200)),
                ];
                self.network.http_fault(random.choice(faults));
                self.cut_and_catch_up(client, random);
                self.network.http_fault(None);
            }
        }
    }

    fn refuse(&self, random: &mut Rng, longest: u64) {
        self.mqtt.refuse();
        self.mqtt.cut();
        linger(random, longest);
        // A connection to somewhere else may occupy the port for a moment.
        assert!(wait_until(PATIENCE, || self.mqtt.listen().is_ok()));
    }

    fn cut_and_catch_up(&self, client: &MqttClient, random: &mut Rng) {
        self.mqtt.cut();
        self.await_connection(client);
        linger(random, 200);
    }

    /// Lets everything work, until nothing more can come.
    fn end_well(&self, client: &MqttClient) {
        self.mqtt.cut();
        let settled = wait_until(PATIENCE, || {
            self.await_connection(client);
            wait_until(PATIENCE, || client.backfill_progress().is_none());
            // An attempt that was in trouble until now is repeated after the next outage only.
            let is_open = lock(&self.account).is_open;
            if is_open {
                self.mqtt.cut();
                wait_until(PATIENCE, || !client.is_connected());
            }
            !is_open
        });
        if !settled {
            let mut account = lock(&self.account);
            account.mismatch("the last backfill does not end well".to_owned());
        }
        self.send_one_each();
    }

    /// Sends one uplink of each device, and waits for the last one.
    fn send_one_each(&self) {
        (0..DEVICES).for_each(|device| self.uplink(device));
        let last = lock(&self.account).published.len() - 1;
        let is_here = || lock(&self.account).published[last].times() > 0;
        if !wait_until(PATIENCE, is_here) {
            let mut account = lock(&self.account);
            account.mismatch(format!("{last} did not arrive"));
        }
    }
}

fn linger(random: &mut Rng, longest: u64) {
    pause(Duration::from_millis(random.u64(0..longest)));
}

/// What became of an uplink.
#[derive(Debug)]
struct Fate {
    sent: SystemTime,
    live: u32,
    backfilled: u32,
}

impl Fate {
    fn new() -> Self {
        Self {
            sent: SystemTime::now(),
            live: 0,
            backfilled: 0,
        }
    }

    fn times(&self) -> u32 {
        self.live + self.backfilled
    }
}

/// What became of all uplinks, and what the client says about them.
#[derive(Debug)]
pub struct Account {
    seed: u64,
    published: Vec<Fate>,
    pub cuts: u64,
    pub backfills: u64,
    /// Those that did not cover everything.
    pub incomplete: u64,
    pub known: u64,
    /// What stays uncovered.
    uncovered: Vec<Uncovered>,
    /// Whether the next backfill tries again what the last one left uncovered.
    is_open: bool,
    errors: BTreeMap<String, u64>,
    time: Duration,
    pub live: u64,
    pub backfilled: u64,
    pub counted: u64,
    /// Uplinks that were lost without a number.
    pub unknown: u64,
    pub mismatches: Vec<String>,
}

impl Account {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            published: Vec::new(),
            cuts: 0,
            backfills: 0,
            incomplete: 0,
            known: 0,
            uncovered: Vec::new(),
            is_open: false,
            errors: BTreeMap::new(),
            time: Duration::ZERO,
            live: 0,
            backfilled: 0,
            counted: 0,
            unknown: 0,
            mismatches: Vec::new(),
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Uplink(uplink) => {
                let number = <[u8; 4]>::try_from(&*uplink.payload_raw).map(u32::from_be_bytes);
                let Some(fate) = number
                    .ok()
                    .and_then(|number| self.published.get_mut(number as usize))
                else {
                    return self.mismatch(format!("nobody sent {uplink:?}"));
                };
                match uplink.is_backfilled() {
                    true => fate.backfilled += 1,
                    false => fate.live += 1,
                }
                if fate.times() > 1 {
                    let what = format!("{number:?} came again, the last time {uplink:?}");
                    self.mismatch(what);
                }
            }
            Event::Backfilled(report) => self.on_backfilled(report),
            Event::Disconnected(_) => self.cuts += 1,
            Event::Lagged(_) | Event::Malformed(_) => {
                self.mismatch(format!("unexpected: {event:?}"));
            }
            _ => {}
        }
    }

    fn on_backfilled(&mut self, report: &Backfilled) {
        self.backfills += 1;
        self.incomplete += u64::from(!report.uncovered.is_empty());
        self.known += report.known;
        if report.fetched != report.delivered + report.known + report.unreadable {
            self.mismatch(format!("it does not add up: {report:?}"));
        }
        if let Some(error) = &report.error {
            *self.errors.entry(error.to_string()).or_default() += 1;
        }
        let is_tried_again = |part: &Uncovered| {
            let reason = part.reason;
            matches!(
                reason,
                UncoveredReason::RateLimited | UncoveredReason::Refused | UncoveredReason::CutOff
            )
        };
        self.is_open = report.uncovered.iter().any(is_tried_again);
        if !self.is_open {
            self.uncovered.extend_from_slice(&report.uncovered);
        }
    }

    /// Compares what the client says with the truth.
    fn check(&mut self, stats: &Stats) {
        let count = |of: fn(&Fate) -> u32| -> u64 {
            let counts = self.published.iter().map(of).map(u64::from);
            counts.sum()
        };
        self.live = count(|fate| fate.live);
        self.backfilled = count(|fate| fate.backfilled);
        let numbers = self.uncovered.iter().filter_map(|part| part.uplinks);
        self.counted = numbers.sum();
        let lost: Vec<&Fate> = self
            .published
            .iter()
            .filter(|fate| fate.times() == 0)
            .collect();
        let missing = lost.len() as u64;
        let is_in = |fate: &Fate, part: &Uncovered| {
            part.from <= fate.sent + NEAR && fate.sent <= part.until + NEAR
        };
        let unexplained = lost.iter().filter(|fate| {
            let mut parts = self.uncovered.iter();
            !parts.any(|part| is_in(fate, part))
        });
        let unexplained = unexplained.count();
        // Those of a time without a number can be in a later number.
        let unknown = lost.iter().filter(|fate| {
            let mut parts = self.uncovered.iter();
            parts.any(|part| part.uplinks.is_none() && is_in(fate, part))
        });
        let unknown = unknown.count() as u64;
        let (least, most) = (missing.saturating_sub(unknown), missing);
        self.unknown = missing.saturating_sub(self.counted);
        if unexplained > 0 {
            self.mismatch(format!("nothing says that {unexplained} were lost"));
        }
        if !(least..=most).contains(&self.counted) {
            self.mismatch(format!(
                "{missing} did not come, {unknown} of them in a time without a number, but {} are reported: {:#?}",
                self.counted, self.uncovered
            ));
        }
        self.equal("backfilled", self.backfilled, stats.backfilled);
        let frames = &stats.frames;
        self.equal("missing here", 0, frames.missing_dropped_here);
        self.equal("missing upstream", 0, frames.missing_upstream);
        self.equal("missing away", missing, frames.missing_away);
    }

    fn equal(&mut self, what: &str, truth: u64, told: u64) {
        if truth != told {
            self.mismatch(format!("{what}: {truth}, but {told} in the statistics"));
        }
    }

    fn mismatch(&mut self, what: String) {
        if self.mismatches.len() < MISMATCHES {
            self.mismatches.push(what);
        }
    }

    /// Panics with all details unless all sums match.
    pub fn assert_exact(&self) {
        assert!(
            self.mismatches.is_empty(),
            "{self}\nMISMATCHES, seed {}:\n{}",
            self.seed,
            self.mismatches.join("\n")
        );
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}, {:.1} s: {} cuts, {} backfills, {} incomplete; {} uplinks published, {} delivered live, {} \
             backfilled, {} uncovered, {} unknown; {} fetched again; {} mismatches; {:?}",
            self.seed,
            self.time.as_secs_f64(),
            self.cuts,
            self.backfills,
            self.incomplete,
            self.published.len(),
            self.live,
            self.backfilled,
            self.counted,
            self.unknown,
            self.known,
            self.mismatches.len(),
            self.errors,
        )
    }
}
