//! Uplinks over a link that breaks at random, and an account of every uplink: delivered, within a
//! reported gap, or counted as dropped.

use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    ops::Range,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fastrand::Rng;
use serde_json::json;
use ttn::{
    Connected, CounterFinding, CounterReport, Event, Events, FrameLoss, FrameStats, MqttClient,
    MqttClientBuilder, Network, Overflow, Stats, simulator::WhenFull,
};

use super::{
    harness::{Harness, Server},
    proxy::lock,
    relay::{Fault, Relay, Way},
    resources::{pause, wait_until},
};

const DEVICES: usize = 50;

/// The time limit for everything that does not depend on chance.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gap is measured with two clocks of one machine, and one of them is adjusted in small steps.
/// Every other inaccuracy of a gap is known: see [`Account::on_connected`].
const CLOCK_STEP: u64 = 5_000;

/// How often the source wakes; each time it sends up to this many uplinks.
const TICK: Duration = Duration::from_millis(5);
const UPLINKS_PER_TICK: usize = 6;

/// The capacities of the client in a flood, for messages and for events; the last uplinks of all
/// devices fit together.
const NARROW: usize = 64;

/// Mismatches beyond this number reveal nothing new.
const MISMATCHES: usize = 10;
const EVENTS_BEFORE: usize = 25;
const EVENTS_AFTER: usize = 8;

/// How long the link is cut again and again.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Cuts(u64),
    Minutes(u64),
}

/// Cuts the link at random, and accounts for every uplink.
pub fn cuts(harness: Harness, until: Until, seed: u64) -> Report {
    let place = Place::new(harness, seed, &[FrameLoss::Away]);
    let relay = Relay::start(place.address()).expect("a relay starts");
    let client = place
        .builder(relay.address())
        .keep_alive(Duration::from_secs(1))
        .connect_timeout(Duration::from_secs(3))
        .reconnect_delay(Duration::from_millis(5), Duration::from_millis(40))
        .event_capacity(50_000)
        .build()
        .expect("the options are valid");
    place.run(&client, client.events(), None, |place| {
        let (stop, stopped) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || place.send_now_and_then(&stopped));
            let mut chaos = Chaos {
                place,
                relay: &relay,
                random: Rng::with_seed(seed),
            };
            chaos.rage(until);
            drop(stop);
        });
    })
}

/// Sends more than the client has room for, and more than slow subscribers keep up with.
pub fn flood(harness: Harness, uplinks: usize, seed: u64) -> Report {
    let place = Place::new(harness, seed, &[FrameLoss::DroppedHere]);
    let client = place
        .builder(place.address())
        .receive_capacity(NARROW, 1 << 20)
        .build()
        .expect("the options are valid");
    let slow = [Overflow::DropOldest, Overflow::DropNewest]
        .map(|overflow| client.events_with(NARROW / 4, overflow));
    let pace = Rng::with_seed(seed);
    let events = client.events_with(NARROW / 4, Overflow::Block);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let slow = slow.map(|events| {
            let (over, mut pace) = (&over, Rng::with_seed(seed + 1));
            scope.spawn(move || Heard::of(events, &mut pace, over))
        });
        let mut report = place.run(&client, events, Some(pace), |place| {
            place.send_in_bursts(uplinks);
        });
        over.store(true, Ordering::Release);
        let slow = slow.map(|heard| heard.join().expect("nothing panics there"));
        report.check_subscribers(&slow, &client.stats());
        report
    })
}

/// Sends more than the simulated server buffers for a client.
pub fn server_drops(harness: Harness, uplinks: usize, seed: u64) -> Report {
    let place = Place::new(harness, seed, &[FrameLoss::Upstream]);
    let when_full = |buffer: usize, when_full: WhenFull| {
        lock(&place.harness).simulated().quirks(|quirks| {
            quirks.session_buffer = buffer;
            quirks.when_full = when_full;
        });
    };
    let client = place
        .builder(place.address())
        .event_capacity(50_000)
        .build()
        .expect("the options are valid");
    place.run(&client, client.events(), None, |place| {
        when_full(4, WhenFull::Drop);
        place.send_in_bursts(uplinks);
        when_full(DEVICES, WhenFull::Wait);
    })
}

/// A server, its devices, and the fate of their uplinks.
struct Place {
    harness: Mutex<Harness>,
    network: Network,
    /// The times when each uplink of each device was published, in µs since the epoch.
    published: Vec<Mutex<Vec<u64>>>,
    account: Mutex<Account>,
    changed: Condvar,
    seed: u64,
    repeats: Mutex<u64>,
}

impl Place {
    fn new(harness: Harness, seed: u64, expected: &'static [FrameLoss]) -> Self {
        Self {
            network: harness.network,
            harness: Mutex::new(harness),
            published: (0..DEVICES).map(|_| Mutex::default()).collect(),
            account: Mutex::new(Account::new(expected)),
            changed: Condvar::new(),
            seed,
            repeats: Mutex::new(0),
        }
    }

    fn address(&self) -> SocketAddr {
        lock(&self.harness).address()
    }

    fn builder(&self, address: SocketAddr) -> MqttClientBuilder {
        let address = address.to_string();
        lock(&self.harness).builder().mqtt_address(address)
    }

    /// Connects, lets `trouble` happen, and creates the report. `pace` slows down the reader.
    fn run(
        &self,
        client: &MqttClient,
        events: Events,
        pace: Option<Rng>,
        trouble: impl FnOnce(&Self),
    ) -> Report {
        let begin = Instant::now();
        thread::scope(|scope| {
            scope.spawn(move || self.read(&events, pace));
            client.connect().expect("the link is good");
            // The first uplink of a device has no predecessor that could be missing.
            self.send_one_each();
            let usage = [Usage::now(); 2];
            trouble(self);
            let all_here = self.end_well();
            let usage = [usage[0], Usage::now()];
            client.close().expect("the client closes");
            let closed = self.wait(PATIENCE, |account| account.closed);
            let mut report = self.report(&client.stats(), usage, begin.elapsed());
            if !all_here {
                report.mismatch("the last uplinks did not arrive".to_owned());
            }
            if !closed {
                report.mismatch("there was no Closed".to_owned());
            }
            report
        })
    }

    fn read(&self, events: &Events, mut pace: Option<Rng>) {
        while let Ok(event) = events.recv_timeout(4 * PATIENCE) {
            let over = matches!(event, Event::Closed(_));
            lock(&self.account).take(event, &self.published);
            self.changed.notify_all();
            if over {
                return;
            }
            if let Some(random) = &mut pace {
                dawdle(random);
            }
        }
    }

    /// Waits until the account meets the condition; returns `false` if it did not in time.
    fn wait(&self, limit: Duration, condition: impl Fn(&Account) -> bool) -> bool {
        let account = lock(&self.account);
        let (_account, timeout): (MutexGuard<'_, Account>, _) = self
            .changed
            .wait_timeout_while(account, limit, |account| !condition(account))
            .unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    fn uplink(&self, device: usize) {
        let counter = {
            let mut published = lock(&self.published[device]);
            published.push(micros(SystemTime::now()));
            published.len() - 1
        };
        self.publish(device, counter);
    }

    fn publish(&self, device: usize, counter: usize) {
        let mut harness = lock(&self.harness);
        let topic = harness.topic(&format!("dev-{device}"), "up");
        let body = match self.network {
            Network::V3 => json!({
                "end_device_ids": {
                    "device_id": format!("dev-{device}"),
                    "application_ids": {"application_id": "greenhouse-demo"},
                },
                "uplink_message": {"f_port": 1, "f_cnt": counter, "frm_payload": "AQI="},
            }),
            // The counters of uplinks without gateways are not watched.
            _ => json!({
                "port": 1,
                "counter": counter,
                "payload_raw": "AQI=",
                "metadata": {"gateways": [{"gtw_id": "roof"}]},
            }),
        };
        match &mut harness.server {
            Server::Simulator(network) => network.publish(&topic, body.to_string()),
            Server::Mosquitto { peer, .. } => {
                // If the server is down, the uplink is lost as well.
                let _ = peer.publish(&topic, body.to_string());
            }
        }
    }

    /// Sends uplinks of random devices, some of them twice, until the other end is dropped.
    fn send_now_and_then(&self, stopped: &mpsc::Receiver<()>) {
        let mut random = Rng::with_seed(!self.seed);
        while stopped.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
            for _ in 0..random.usize(..=UPLINKS_PER_TICK) {
                let device = random.usize(..DEVICES);
                if random.u8(..) < 4 {
                    let last = lock(&self.published[device]).len() - 1;
                    self.publish(device, last);
                    *lock(&self.repeats) += 1;
                } else {
                    self.uplink(device);
                }
            }
        }
    }

    /// Sends as fast as possible, with pauses in which everything that waits is read.
    fn send_in_bursts(&self, uplinks: usize) {
        let mut random = Rng::with_seed(!self.seed);
        let mut left = uplinks;
        while left > 0 {
            let burst = random.usize(1..=2_000).min(left);
            left -= burst;
            for _ in 0..burst {
                self.uplink(random.usize(..DEVICES));
            }
            self.await_quiet();
        }
    }

    /// Waits until nothing has arrived for a while.
    fn await_quiet(&self) {
        const QUIET: Duration = Duration::from_millis(60);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let index = lock(&self.account).index;
            if !self.wait(QUIET, |account| account.index != index) {
                return;
            }
        }
    }

    /// Sends one uplink of each device; returns whether all arrived, over one connection and with
    /// room for all of them.
    fn send_one_each(&self) -> bool {
        let lags = lock(&self.account).lags;
        (0..DEVICES).for_each(|device| self.uplink(device));
        let due: Vec<usize> = self
            .published
            .iter()
            .map(|times| lock(times).len())
            .collect();
        let all_here = |account: &Account| {
            let mut devices = account.devices.iter().zip(&due);
            devices.all(|(device, due)| device.next as usize == *due)
        };
        self.wait(PATIENCE, |account| {
            account.outage.is_some() || account.lags > lags || all_here(account)
        }) && all_here(&lock(&self.account))
    }

    /// With a good link, the last uplinks reveal what was lost before. Some of them may still be
    /// lost, to the end of a connection that broke meanwhile or to messages that wait.
    fn end_well(&self) -> bool {
        (0..10).any(|_| {
            self.await_quiet();
            self.await_client() && self.send_one_each()
        })
    }

    fn await_client(&self) -> bool {
        self.wait(PATIENCE, |account| account.outage.is_none())
    }

    fn report(&self, stats: &Stats, usage: [Usage; 2], time: Duration) -> Report {
        let account = std::mem::replace(&mut *lock(&self.account), Account::new(&[]));
        let published: Vec<usize> = self
            .published
            .iter()
            .map(|times| lock(times).len())
            .collect();
        let dropped_by_server = match &lock(&self.harness).server {
            Server::Simulator(network) => network.dropped(),
            Server::Mosquitto { .. } => 0,
        };
        let mut report = Report {
            seed: self.seed,
            published: published.iter().sum::<usize>() as u64,
            repeated: *lock(&self.repeats),
            messages: account.uplinks,
            delivered: account.devices.iter().map(|device| device.distinct).sum(),
            frames: account.frames,
            cuts: account.disconnects,
            attempts_failed: account.failures_in_all,
            longest_gap: account.longest_gap,
            longest_latency: Duration::from_micros(account.longest_latency),
            dropped_by_server,
            lagged: account.lagged,
            events: account.index - account.lags,
            time,
            usage,
            mismatches: account.mismatches.iter().map(Mismatch::to_string).collect(),
        };
        for (index, (device, published)) in account.devices.iter().zip(published).enumerate() {
            let accounted = device.distinct + device.missing;
            if accounted != published as u64 {
                report.mismatch(format!(
                    "dev-{index}: {published} published, {} delivered and {} missing are {accounted}",
                    device.distinct, device.missing
                ));
            }
        }
        if !account.unresolved.is_empty() {
            report.mismatch(format!("no end of the outage of {:?}", account.unresolved));
        }
        let frames = account.frames;
        report.equal(
            "missing here and dropped",
            frames.missing_dropped_here,
            stats.dropped,
        );
        report.equal(
            "missing upstream and dropped there",
            frames.missing_upstream,
            dropped_by_server,
        );
        report.equal("lagged and dropped", account.lagged, stats.dropped);
        report.equal("uplinks and decoded", account.uplinks, stats.decoded);
        report.equal(
            "all and received",
            account.uplinks + account.lagged,
            stats.received,
        );
        report.equal("malformed", 0, stats.malformed);
        report.equal("disconnects", account.disconnects, stats.disconnects);
        report.equal("reconnects", account.reconnects, stats.reconnects);
        if frames != stats.frames {
            report.mismatch(format!("{frames:?} told, {:?} counted", stats.frames));
        }
        report
    }
}

/// Breaks the link in every way.
struct Chaos<'a> {
    place: &'a Place,
    relay: &'a Relay,
    random: Rng,
}

impl Chaos<'_> {
    fn rage(&mut self, until: Until) {
        let begin = Instant::now();
        while match until {
            Until::Cuts(cuts) => lock(&self.place.account).disconnects < cuts,
            Until::Minutes(minutes) => begin.elapsed() < Duration::from_secs(60 * minutes),
        } {
            // Sometimes without waiting for the client, so that it is also cut while it connects.
            if self.random.u8(..) < 200 && !self.place.await_client() {
                let mut account = lock(&self.place.account);
                return account.mismatch("the client did not come back".to_owned());
            }
            self.linger(0..60);
            self.strike();
        }
    }

    fn linger(&mut self, milliseconds: Range<u64>) {
        pause(Duration::from_millis(self.random.u64(milliseconds)));
    }

    fn strike(&mut self) {
        let relay = self.relay;
        match self.random.u8(..100) {
            0..35 => relay.cut(),
            35..55 => {
                relay.set(Way::ToClients, Fault::CutAfter(self.random.usize(1..3_000)));
                self.linger(5..60);
                relay.pass();
            }
            55..65 => {
                relay.cut();
                relay.set(Way::ToServer, Fault::CutAfter(self.random.usize(0..150)));
                self.linger(5..60);
                relay.pass();
            }
            65..73 => {
                relay.refuse();
                relay.cut();
                self.linger(5..100);
                // A connection to somewhere else may occupy the port for a moment.
                assert!(wait_until(PATIENCE, || relay.listen().is_ok()));
            }
            73..81 => {
                relay.reject(true);
                relay.cut();
                self.linger(5..100);
                relay.reject(false);
            }
            81..87 => {
                relay.stall();
                self.linger(10..400);
                relay.pass();
            }
            87..93 => {
                relay.set(Way::ToClients, Fault::Stall);
                self.linger(10..400);
                relay.cut();
                relay.pass();
            }
            93..95 => self.stall_until_noticed(),
            _ => self.restart(),
        }
    }

    /// Stalls the link for longer than the keep-alive.
    fn stall_until_noticed(&mut self) {
        let before = lock(&self.place.account).disconnects;
        self.relay.stall();
        let noticed = self.place.wait(PATIENCE, |account| {
            account.disconnects > before || account.outage.is_some()
        });
        self.linger(0..200);
        self.relay.pass();
        if !noticed {
            let mut account = lock(&self.place.account);
            account.mismatch("the silence was not noticed".to_owned());
        }
    }

    fn restart(&mut self) {
        lock(&self.place.harness).kill();
        self.linger(5..100);
        lock(&self.place.harness).restart();
        // Uplinks that arrive between a subscription and its answer.
        let delay = Duration::from_millis(self.random.u64(..10));
        if let Server::Simulator(network) = &lock(&self.place.harness).server {
            network.quirks(|quirks| quirks.suback_delay = delay);
        }
    }
}

/// What the events of a client report about the uplinks.
struct Account {
    devices: Vec<DeviceAccount>,
    /// The kinds of loss that this run causes.
    expected: &'static [FrameLoss],
    frames: FrameStats,
    /// The number of events so far.
    index: u64,
    uplinks: u64,
    lags: u64,
    lagged: u64,
    last_lag: u64,
    disconnects: u64,
    reconnects: u64,
    connects: u64,
    failures_in_all: u64,
    /// The counter report that belongs to the next event.
    report: Option<CounterReport>,
    /// The outage that has not ended.
    outage: Option<Outage>,
    outages: Vec<Outage>,
    /// Uplinks that were lost in an outage that has not ended.
    unresolved: Vec<Loss>,
    /// When the last uplink that arrived was published, or when the client was connected if that was
    /// later: nothing published before can still be lost.
    complete: u64,
    longest_latency: u64,
    longest_gap: Duration,
    closed: bool,
    recent: VecDeque<String>,
    mismatches: Vec<Mismatch>,
}

#[derive(Clone, Debug, Default)]
struct DeviceAccount {
    /// The next expected counter.
    next: u32,
    /// The position of its last uplink in the stream.
    index: u64,
    distinct: u64,
    missing: u64,
}

/// The first and the last event, and the time in which uplinks could be lost.
#[derive(Clone, Debug, Default)]
struct Outage {
    events: Range<u64>,
    times: Range<u64>,
    failures: u32,
}

/// Uplinks of a device that were lost between two events.
#[derive(Clone, Debug)]
struct Loss {
    device: usize,
    counters: Range<u32>,
    events: Range<u64>,
}

#[derive(Debug)]
struct Mismatch {
    what: String,
    before: Vec<String>,
    after: Vec<String>,
}

impl Account {
    fn new(expected: &'static [FrameLoss]) -> Self {
        Self {
            devices: vec![DeviceAccount::default(); DEVICES],
            expected,
            frames: FrameStats::default(),
            index: 0,
            uplinks: 0,
            lags: 0,
            lagged: 0,
            last_lag: 0,
            disconnects: 0,
            reconnects: 0,
            connects: 0,
            failures_in_all: 0,
            report: None,
            outage: None,
            outages: Vec::new(),
            unresolved: Vec::new(),
            complete: 0,
            longest_latency: 0,
            longest_gap: Duration::ZERO,
            closed: false,
            recent: VecDeque::new(),
            mismatches: Vec::new(),
        }
    }

    fn take(&mut self, event: Event, published: &[Mutex<Vec<u64>>]) {
        self.index += 1;
        self.remember(&event);
        if let Some(report) = &self.report {
            let follows = matches!(&event, Event::Uplink(uplink)
                if uplink.dev_id == report.dev_id && uplink.counter == report.counter);
            if !follows {
                self.mismatch(format!("{report:?} is followed by {event:?}"));
                self.report = None;
            }
        }
        match event {
            Event::Uplink(uplink) => {
                let device = uplink.dev_id.strip_prefix("dev-").map(str::parse);
                match device {
                    Some(Ok(device)) if device < DEVICES => {
                        self.on_uplink(device, uplink.counter, published);
                    }
                    _ => self.mismatch(format!("an uplink of {:?}", uplink.dev_id)),
                }
            }
            Event::Counter(report) => self.report = Some(report),
            Event::Lagged(events) => {
                self.lags += 1;
                self.lagged += events;
                self.last_lag = self.index;
            }
            Event::Disconnected(_) => {
                self.disconnects += 1;
                if self.outage.is_some() {
                    self.mismatch("disconnected twice".to_owned());
                }
                self.outage = Some(Outage {
                    events: self.index..self.index,
                    times: self.complete..micros(SystemTime::now()),
                    failures: 0,
                });
            }
            Event::ConnectFailed(failed) => {
                self.failures_in_all += 1;
                let failures = self.outage.as_mut().map(|outage| {
                    outage.failures += 1;
                    outage.failures
                });
                if failures != Some(failed.attempt) {
                    self.mismatch(format!("attempt {} is {failures:?}", failed.attempt));
                }
            }
            Event::Connected(connected) => self.on_connected(&connected, published),
            Event::Closed(_) => self.closed = true,
            event => self.mismatch(format!("unexpected: {event:?}")),
        }
    }

    fn on_uplink(&mut self, device: usize, counter: u32, published: &[Mutex<Vec<u64>>]) {
        self.uplinks += 1;
        let now = micros(SystemTime::now());
        let time = lock(&published[device]).get(counter as usize).copied();
        match time {
            Some(time) => {
                self.complete = self.complete.max(time);
                self.longest_latency = self.longest_latency.max(now.saturating_sub(time));
            }
            None => self.mismatch(format!("dev-{device} never sent {counter}")),
        }
        let DeviceAccount { next, index, .. } = self.devices[device];
        let finding = self
            .report
            .take()
            .map(|report| (report.previous, report.finding));
        let previous = next.wrapping_sub(1);
        match (counter.checked_sub(next), finding) {
            (Some(0), None) => {}
            (Some(lost), Some((reported, CounterFinding::Missing { frames, loss })))
                if lost == frames && lost > 0 && reported == previous && next > 0 =>
            {
                self.on_missing(
                    Loss {
                        device,
                        counters: next..counter,
                        events: index..self.index,
                    },
                    loss,
                    published,
                );
            }
            (None, Some((reported, CounterFinding::Repeated)))
                if counter == previous && reported == previous =>
            {
                self.frames.repeated += 1;
                self.devices[device].index = self.index;
                return;
            }
            (_, finding) => self.mismatch(format!(
                "dev-{device}: {counter} where {next} was due, and {finding:?}"
            )),
        }
        let known = &mut self.devices[device];
        known.distinct += 1;
        known.next = counter + 1;
        known.index = self.index;
    }

    fn on_missing(&mut self, lost: Loss, loss: FrameLoss, published: &[Mutex<Vec<u64>>]) {
        let frames = u64::from(lost.counters.end - lost.counters.start);
        self.devices[lost.device].missing += frames;
        if !self.expected.contains(&loss) {
            self.mismatch(format!("{loss:?} is none of {:?}: {lost:?}", self.expected));
        }
        match loss {
            FrameLoss::Away => {
                self.frames.missing_away += frames;
                if self.outage.is_some() {
                    self.unresolved.push(lost);
                } else {
                    self.check_times(&lost, published);
                }
            }
            FrameLoss::DroppedHere => {
                self.frames.missing_dropped_here += frames;
                if self.last_lag <= lost.events.start {
                    self.mismatch(format!("no Lagged between: {lost:?}"));
                }
            }
            FrameLoss::Upstream => self.frames.missing_upstream += frames,
            loss => self.mismatch(format!("{loss:?}: {lost:?}")),
        }
    }

    /// An uplink cannot be lost before the publication of the last uplink that arrived over the
    /// connection, because they arrive in order, nor before the client was connected: an uplink that is
    /// published later finds its subscription there.
    fn on_connected(&mut self, connected: &Connected, published: &[Mutex<Vec<u64>>]) {
        self.connects += 1;
        let now = micros(SystemTime::now());
        let Some(gap) = &connected.gap else {
            if self.connects > 1 {
                self.mismatch("connected again without a gap".to_owned());
            }
            return;
        };
        self.reconnects += 1;
        self.longest_gap = self.longest_gap.max(gap.length);
        let Some(mut outage) = self.outage.take() else {
            return self.mismatch("a gap without a Disconnected".to_owned());
        };
        let since = micros(gap.since);
        let end = since + gap.length.as_micros() as u64;
        let (complete, noticed) = (outage.times.start, outage.times.end);
        if since > noticed + CLOCK_STEP || end > now + CLOCK_STEP {
            self.mismatch(format!(
                "{gap:?} from {since} to {end} was told at {noticed} and {now}"
            ));
        }
        if gap.attempts != outage.failures + 1 {
            self.mismatch(format!("{} failed, but {gap:?}", outage.failures));
        }
        let silence = gap.silence.as_micros() as u64;
        if silence > since.saturating_sub(complete) + CLOCK_STEP {
            self.mismatch(format!("{gap:?}, but uplinks arrived until {complete}"));
        }
        outage.times = complete.saturating_sub(CLOCK_STEP)..end + CLOCK_STEP;
        self.complete = self.complete.max(end);
        outage.events.end = self.index;
        self.outages.push(outage);
        for lost in std::mem::take(&mut self.unresolved) {
            self.check_times(&lost, published);
        }
    }

    /// Checks that each of these uplinks was published in an outage between the two events.
    fn check_times(&mut self, lost: &Loss, published: &[Mutex<Vec<u64>>]) {
        let first = self
            .outages
            .partition_point(|outage| outage.events.end < lost.events.start);
        let outages: Vec<&Outage> = self.outages[first..]
            .iter()
            .take_while(|outage| outage.events.start <= lost.events.end)
            .collect();
        let times = lock(&published[lost.device]);
        let outside = lost.counters.clone().find(|counter| {
            let time = &times[*counter as usize];
            !outages.iter().any(|outage| outage.times.contains(time))
        });
        if let Some(counter) = outside {
            let time = times[counter as usize];
            let what =
                format!("{counter} was published at {time}, outside of {outages:?}: {lost:?}");
            drop(times);
            self.mismatch(what);
        }
    }

    fn remember(&mut self, event: &Event) {
        let text = match event {
            Event::Uplink(uplink) => {
                format!("{} Uplink {} {}", self.index, uplink.dev_id, uplink.counter)
            }
            event => format!("{} {event:?}", self.index),
        };
        if let Some(last) = self.mismatches.last_mut() {
            if last.after.len() < EVENTS_AFTER {
                last.after.push(text.clone());
            }
        }
        if self.recent.len() == EVENTS_BEFORE {
            self.recent.pop_front();
        }
        self.recent.push_back(text);
    }

    fn mismatch(&mut self, what: String) {
        if self.mismatches.len() < MISMATCHES {
            self.mismatches.push(Mismatch {
                what,
                before: self.recent.iter().cloned().collect(),
                after: Vec::new(),
            });
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        for event in &self.before {
            writeln!(f, "    {event}")?;
        }
        writeln!(f, "    ^ then")?;
        self.after
            .iter()
            .try_for_each(|event| writeln!(f, "    {event}"))
    }
}

/// What a slow subscriber received.
struct Heard {
    subscription: Events,
    events: u64,
    lagged: u64,
}

impl Heard {
    fn of(subscription: Events, pace: &mut Rng, over: &AtomicBool) -> Self {
        let mut heard = Self {
            subscription,
            events: 0,
            lagged: 0,
        };
        loop {
            let was_over = over.load(Ordering::Acquire);
            // A report of losses may arrive this long after the last event.
            match heard.subscription.recv_timeout(Duration::from_secs(1)) {
                Ok(Event::Lagged(events)) => heard.lagged += events,
                Ok(_) => heard.events += 1,
                Err(_) if was_over => return heard,
                Err(_) => {}
            }
            if !was_over {
                dawdle(pace);
                dawdle(pace);
            }
        }
    }

    fn dropped(&self) -> u64 {
        self.subscription.dropped()
    }
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    pub seed: u64,
    pub published: u64,
    /// The uplinks that were published twice.
    pub repeated: u64,
    /// The messages that arrived; the same one may arrive twice.
    pub messages: u64,
    pub delivered: u64,
    pub frames: FrameStats,
    pub cuts: u64,
    pub attempts_failed: u64,
    pub longest_gap: Duration,
    pub longest_latency: Duration,
    pub dropped_by_server: u64,
    pub lagged: u64,
    /// The events except those that report losses.
    events: u64,
    pub time: Duration,
    /// With the first connection, and at the end.
    pub usage: [Usage; 2],
    pub mismatches: Vec<String>,
}

impl Report {
    fn mismatch(&mut self, what: String) {
        self.mismatches.push(what);
    }

    fn equal(&mut self, what: &str, told: u64, counted: u64) {
        if told != counted {
            self.mismatch(format!("{what}: {told} and {counted}"));
        }
    }

    fn check_subscribers(&mut self, slow: &[Heard], stats: &Stats) {
        for heard in slow {
            self.equal(
                "events of a subscriber",
                heard.events + heard.dropped(),
                self.events,
            );
            self.equal(
                "losses of a subscriber",
                heard.lagged,
                heard.dropped() + stats.dropped,
            );
            if heard.dropped() == 0 {
                self.mismatch("a slow subscriber lost nothing".to_owned());
            }
        }
        let dropped: Vec<u64> = slow.iter().map(Heard::dropped).collect();
        if stats.dropped_by_subscribers != dropped {
            self.mismatch(format!("{dropped:?} dropped by subscribers, in {stats:?}"));
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = self.usage;
        write!(
            f,
            "seed {}, {:.1} s: {} cuts, {} attempts failed, longest gap {:.3} s; {} uplinks published, \
             {} again; {} messages, {} delivered; missing: {} away, {} dropped here, {} upstream; {} \
             repeated; dropped by the server {}; lagged {}; longest latency {:.3} s; KiB {} to {}, \
             descriptors {} to {}, threads {} to {}; {} mismatches",
            self.seed,
            self.time.as_secs_f64(),
            self.cuts,
            self.attempts_failed,
            self.longest_gap.as_secs_f64(),
            self.published,
            self.repeated,
            self.messages,
            self.delivered,
            self.frames.missing_away,
            self.frames.missing_dropped_here,
            self.frames.missing_upstream,
            self.frames.repeated,
            self.dropped_by_server,
            self.lagged,
            self.longest_latency.as_secs_f64(),
            before.resident_kib,
            after.resident_kib,
            before.descriptors,
            after.descriptors,
            before.threads,
            after.threads,
            self.mismatches.len(),
        )
    }
}

/// The resources of this process; empty on a system that does not report them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub threads: usize,
    pub descriptors: usize,
    pub resident_kib: usize,
}

impl Usage {
    #[cfg(not(target_os = "linux"))]
    fn now() -> Self {
        Self::default()
    }

    #[cfg(target_os = "linux")]
    fn now() -> Self {
        use super::resources::{descriptors, resident_kib, threads};
        Self {
            threads: threads(),
            descriptors: descriptors(),
            resident_kib: resident_kib(),
        }
    }
}

/// Delays some events, not every one.
fn dawdle(random: &mut Rng) {
    if random.u8(..) < 12 {
        pause(Duration::from_millis(random.u64(1..5)));
    }
}

fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as u64
}
