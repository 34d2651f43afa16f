//! Downlinks under everything that can happen to them: batches, replacements, cleared queues, rejoins,
//! devices that do not acknowledge, outages. In the end, every delivery is compared with what the devices
//! received.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;
use fastrand::Rng;
use ttn::{
    Delivery, DeliveryState, Downlink, ErrorKind, Event, MqttClient, Network, Over, Schedule,
    simulator::{Device, HttpFault, Received, Simulator, Uplink},
};

use super::{
    proxy::lock,
    resources::{pause, wait_until},
};

/// The number of devices; on v3, each fourth of them is of class C.
const DEVICES: usize = 24;

/// The time limit for everything that does not depend on chance.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the network may take to report on a downlink. Far longer than it takes without an outage.
const UNCONFIRMED_AFTER: Duration = Duration::from_secs(3);

/// How long the network waits for the acknowledgement of a class C device.
const CLASS_C_TIMEOUT: Duration = Duration::from_millis(50);

/// Deviations beyond this number reveal nothing new.
const DEVIATIONS: usize = 10;

/// What happens to the downlinks.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub network: Network,
    pub downlinks: usize,
    /// Whether the connection is cut and the network restarts now and then.
    pub outages: bool,
    /// Whether the V2 network has a plain broker, behind which it queues bursts in any order.
    pub plain_broker: bool,
    /// Whether the client asks a v3 network over HTTP, whose server is fast, slow, silent and failing in
    /// turn.
    pub asks_over_http: bool,
    /// The way of downlinks; over HTTP, that server is never silent, because each downlink would wait for it.
    pub over: Over,
    pub seed: u64,
}

/// One downlink: what the client says, and how the device can recognize it.
struct Tracked {
    device: usize,
    content: Content,
    delivery: Delivery,
    states: Receiver<DeliveryState>,
    sent: Instant,
}

/// Port, confirmed and payload.
type Content = (u8, bool, Vec<u8>);

/// What became of the downlinks.
#[derive(Debug, Default)]
pub struct Account {
    seed: u64,
    downlinks: usize,
    outages: usize,
    states: BTreeMap<&'static str, usize>,
    transmissions: usize,
    /// How many questions the network got about queues.
    questions: usize,
    delays: Delays,
    /// The reports about each device.
    reports: BTreeMap<String, Vec<String>>,
    /// How many deliveries have no end, because a report was lost and nothing followed.
    unfinished: usize,
    deviation_count: usize,
    /// The first of them.
    deviations: Vec<String>,
}

/// The longest times that something took.
#[derive(Clone, Copy, Debug, Default)]
struct Delays {
    /// A call of `send_batch`.
    send: Duration,
    /// From the loss of a connection to the next one.
    connect: Duration,
    /// From the network, which stamps an uplink, to the callback.
    callback: Duration,
}

/// A silent HTTP server takes longer.
const LONGEST_DELAY: Duration = Duration::from_secs(3);

/// How the HTTP server is, in turn.
const HTTP: [Option<HttpFault>; 6] = [
    None,
    Some(HttpFault::Slow(Duration::from_millis(700))),
    Some(HttpFault::Status(500)),
    Some(HttpFault::Silent),
    Some(HttpFault::CutOff),
    Some(HttpFault::RateLimited),
];

/// Sends downlinks at random, and accounts for each of them.
pub fn run(plan: Plan) -> Account {
    let mut stage = Stage::new(plan);
    while stage.tracked.len() < plan.downlinks {
        if plan.asks_over_http {
            let turn = stage.tracked.len() * 3 * HTTP.len() / plan.downlinks;
            let fault = HTTP[turn % HTTP.len()].clone();
            let is_left_out = plan.over == Over::Http && matches!(fault, Some(HttpFault::Silent));
            stage.network.http_fault(fault.filter(|_| !is_left_out));
        }
        stage.step();
    }
    stage.settle();
    stage.account()
}

/// What the client reported.
#[derive(Default)]
struct Seen {
    /// When it lost its connection.
    outages: Vec<Instant>,
    delays: Delays,
    /// The reports about each device, to explain a deviation.
    reports: BTreeMap<String, Vec<String>>,
}

struct Stage {
    plan: Plan,
    random: Rng,
    network: Simulator,
    devices: Vec<Device>,
    heard: Vec<Receiver<Received>>,
    client: MqttClient,
    seen: Arc<Mutex<Seen>>,
    tracked: Vec<Tracked>,
}

impl Seen {
    fn add(&mut self, device: usize, what: String) {
        let reports = self.reports.entry(format!("device-{device}"));
        reports.or_default().push(what);
    }

    fn note(&mut self, event: &Event) {
        let mut note = |dev_id: &str, what: String| {
            self.reports
                .entry(dev_id.to_owned())
                .or_default()
                .push(what);
        };
        match event {
            Event::Disconnected(_) => self.outages.push(Instant::now()),
            Event::Connected(_) => {
                let took = self.outages.last().map(Instant::elapsed);
                self.delays.connect = self.delays.connect.max(took.unwrap_or_default());
            }
            Event::Downlink(report) => {
                let payload = hex::encode(&report.payload_raw);
                note(&report.dev_id, format!("{:?} {payload}", report.step));
            }
            Event::Uplink(uplink) => note(&uplink.dev_id, "uplink".to_owned()),
            Event::Activation(activation) => note(&activation.dev_id, "join".to_owned()),
            _ => {}
        }
    }
}

impl Stage {
    fn new(plan: Plan) -> Self {
        let network = Simulator::builder(plan.network)
            .receive_window(Duration::from_millis(2))
            .quirks(|quirks| {
                quirks.rate_limit = None;
                quirks.plain_broker = plan.plain_broker;
            })
            .seed(plan.seed)
            .start()
            .unwrap();
        let mut builder = MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(network.mqtt_address())
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
            .offline_queue(30_000, Duration::from_secs(60))
            .send_capacity(30_000)
            .follow_downlinks(2 * plan.downlinks, Duration::from_secs(3600))
            .unconfirmed_after(UNCONFIRMED_AFTER);
        if plan.asks_over_http {
            builder = builder
                .http_address(network.http_address())
                .downlinks(plan.over);
        }
        let client = builder.build().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let called = Arc::clone(&seen);
        client.set_uplink_callback(move |uplink, _| {
            if let Some(sent) = uplink.received_at {
                let took = sent.elapsed().unwrap_or_default();
                let delays = &mut lock(&called).delays;
                delays.callback = delays.callback.max(took);
            }
        });
        let noted = Arc::clone(&seen);
        let events = client.events();
        thread::spawn(move || {
            for event in &events {
                lock(&noted).note(&event);
            }
        });
        client.connect().unwrap();
        let devices: Vec<Device> = (0..DEVICES)
            .map(|index| network.device(&format!("device-{index}")))
            .collect();
        for (index, device) in devices.iter().enumerate() {
            device.join();
            device.uplink(1, [0]);
            if plan.network == Network::V3 && index % 4 == 0 {
                device.class_c(true);
                device.class_c_timeout(CLASS_C_TIMEOUT);
            }
        }
        Self {
            plan,
            random: Rng::with_seed(plan.seed),
            heard: devices.iter().map(Device::received).collect(),
            network,
            devices,
            client,
            seen,
            tracked: Vec::new(),
        }
    }

    fn step(&mut self) {
        let device = self.random.usize(..DEVICES);
        match self.random.usize(..1000) {
            0..450 => self.send(device, 1),
            450..520 => {
                let downlinks = self.random.usize(2..6);
                self.send(device, downlinks);
            }
            520..560 if self.plan.network == Network::V3 => {
                lock(&self.seen).add(device, "clear".to_owned());
                self.client
                    .clear_queue(&format!("device-{device}"))
                    .unwrap();
            }
            560..930 => {
                self.devices[device].stops_acknowledging(self.random.usize(..4) == 0);
                self.devices[device].send(Uplink::new(1, [1]));
            }
            930..940 => self.devices[device].join(),
            940..943 if self.plan.outages => self.network.disconnect_clients(),
            943 if self.plan.outages => {
                self.network.stop();
                pause(Duration::from_millis(self.random.u64(1..100)));
                self.network.restart().unwrap();
            }
            _ => pause(Duration::from_millis(self.random.u64(..5))),
        }
    }

    /// Sends one downlink, or a batch of them.
    fn send(&mut self, device: usize, count: usize) {
        let schedule = match (self.random.usize(..8), self.plan.network) {
            (0..3, _) => Schedule::Replace,
            (3, Network::V2) => Schedule::First,
            _ => Schedule::Last,
        };
        let contents: Vec<Content> = (0..count).map(|index| self.content(index)).collect();
        let downlinks = contents.iter().map(|(port, confirmed, payload)| {
            Downlink::bytes(payload.as_slice())
                .port(*port)
                .confirmed(*confirmed)
                .schedule(schedule)
        });
        for (_, _, payload) in &contents {
            let what = format!("send {schedule:?} {}", hex::encode(payload));
            lock(&self.seen).add(device, what);
        }
        let sent = Instant::now();
        let deliveries = self
            .client
            .send_batch(&format!("device-{device}"), downlinks)
            .unwrap();
        let took = sent.elapsed();
        {
            let delays = &mut lock(&self.seen).delays;
            delays.send = delays.send.max(took);
        }
        for (content, delivery) in contents.into_iter().zip(deliveries) {
            // v3 takes that long; without a pause, an outage would hit most of them.
            if self.plan.network == Network::V3 {
                pause(Duration::from_millis(2));
            }
            self.tracked.push(Tracked {
                device,
                content,
                states: delivery.states(),
                delivery,
                sent,
            });
        }
    }

    /// Returns a content; most are unique, some occur often.
    fn content(&mut self, index: usize) -> Content {
        let number = match self.random.usize(..8) {
            0 => self.random.usize(..2),
            _ => 1_000 + self.tracked.len() + index,
        };
        let payload = u32::try_from(number).unwrap().to_be_bytes();
        (self.random.u8(1..3), self.random.bool(), payload.to_vec())
    }

    /// Lets the devices send until the network has nothing more for them, then waits for the reports.
    fn settle(&mut self) {
        if self.plan.asks_over_http {
            self.network.http_fault(None);
        }
        assert!(
            wait_until(PATIENCE, || self.client.is_connected()
                && self.client.stats().waiting == 0),
            "the client does not come back"
        );
        for device in &self.devices {
            device.stops_acknowledging(false);
        }
        let has_nothing =
            |device: &Device| device.queue().is_empty() && device.in_progress().is_none();
        let is_open =
            |tracked: &Tracked| matches!(tracked.delivery.state(), DeliveryState::Written);
        let start = Instant::now();
        while !self.devices.iter().all(has_nothing)
            || start.elapsed() < 2 * UNCONFIRMED_AFTER
            || self.tracked.iter().any(is_open)
        {
            assert!(start.elapsed() < PATIENCE, "the queues do not become empty");
            for device in self.devices.iter().filter(|device| !has_nothing(device)) {
                device.send(Uplink::new(1, [2]));
            }
            pause(Duration::from_millis(5));
        }
    }

    fn account(self) -> Account {
        let questions = match self.plan.asks_over_http {
            true => self.network.http_requests(),
            false => Vec::new(),
        };
        let questions = questions.iter().filter(|it| it.path.ends_with("/down"));
        let Seen {
            outages,
            reports,
            delays,
        } = std::mem::take(&mut *lock(&self.seen));
        let mut account = Account {
            seed: self.plan.seed,
            downlinks: self.tracked.len(),
            outages: outages.len(),
            questions: questions.count(),
            delays,
            reports,
            ..Account::default()
        };
        let mut received: BTreeMap<(usize, Content), usize> = BTreeMap::new();
        for (device, heard) in self.heard.iter().enumerate() {
            for downlink in heard.try_iter() {
                account.transmissions += 1;
                let content = (downlink.port, downlink.confirmed, downlink.payload);
                *received.entry((device, content)).or_default() += 1;
            }
        }
        let mut groups: BTreeMap<(usize, &Content), Vec<&Tracked>> = BTreeMap::new();
        for tracked in &self.tracked {
            let group = groups.entry((tracked.device, &tracked.content));
            group.or_default().push(tracked);
        }
        for ((device, content), group) in groups {
            let transmissions = received.remove(&(device, content.clone()));
            let transmissions = transmissions.unwrap_or_default();
            let fates: Vec<Fate> = group
                .iter()
                .map(|tracked| Fate::of(tracked, &outages, self.plan.over))
                .collect();
            account.check(device, content, &fates, transmissions);
        }
        for (device, content) in received.into_keys() {
            account.deviates(device, &content, "nobody sent it".to_owned());
        }
        account
    }
}

/// What the client said about a downlink.
struct Fate {
    /// All states in order.
    states: Vec<DeliveryState>,
    /// Whether the connection was lost after the downlink was sent, or an answer over HTTP may have been.
    had_outage: bool,
    /// Whether it was lost before that.
    had_outage_before: bool,
}

impl Fate {
    fn of(tracked: &Tracked, outages: &[Instant], over: Over) -> Self {
        let mut states: Vec<DeliveryState> = tracked.states.try_iter().collect();
        let last = tracked.delivery.state();
        // A late report can follow the last state of the receiver.
        if states.last().is_none_or(|state| name(state) != name(&last)) {
            states.push(last);
        }
        Self {
            states,
            had_outage: over == Over::Http || outages.iter().any(|outage| *outage >= tracked.sent),
            had_outage_before: outages.iter().any(|outage| *outage < tracked.sent),
        }
    }

    fn last(&self) -> &DeliveryState {
        self.states.last().expect("at least the first state")
    }

    /// Returns whether the client says that the device was sent it.
    fn was_sent(&self, confirmed: bool) -> bool {
        match self.last() {
            DeliveryState::Sent => !confirmed,
            DeliveryState::Acknowledged => true,
            _ => false,
        }
    }

    /// Returns whether the client says that it was never sent.
    fn was_not_sent(&self) -> bool {
        let is_over = matches!(
            self.last(),
            DeliveryState::Replaced | DeliveryState::Expired | DeliveryState::Failed(_)
        );
        let was_on_air = |state: &DeliveryState| {
            matches!(
                state,
                DeliveryState::Sent | DeliveryState::NotAcknowledged { .. }
            )
        };
        is_over && !self.states.iter().any(was_on_air)
    }

    /// Returns what cannot be right, if anything.
    fn deviation(&self, confirmed: bool) -> Option<&'static str> {
        let is_retried_out = |state: &DeliveryState| {
            let details = state.error_details();
            details.is_some_and(|error| error.name == "max_retries_reached")
        };
        match self.last() {
            DeliveryState::Acknowledged | DeliveryState::Replaced => None,
            DeliveryState::GivenUp => None,
            DeliveryState::Sent if !confirmed => None,
            state @ DeliveryState::Failed(_) if is_retried_out(state) => None,
            DeliveryState::Failed(error)
                if self.had_outage && error.kind() == ErrorKind::ConnectionLost =>
            {
                None
            }
            DeliveryState::Failed(_) => Some("failed for no reason"),
            DeliveryState::Expired | DeliveryState::Forgotten => Some("it was not followed"),
            DeliveryState::Unconfirmed(_) if self.had_outage => None,
            // The last report that was not lost; nothing has shown more since.
            state if self.had_outage && is_unfinished(state) => None,
            // One that an earlier outage hit may be equal.
            DeliveryState::Unconfirmed(error)
                if self.had_outage_before && error.to_string().contains("equal downlinks") =>
            {
                None
            }
            // A request to empty the queue and the report that it was queued again have crossed.
            DeliveryState::Unconfirmed(error) if error.to_string().contains("queued again") => None,
            DeliveryState::Unconfirmed(_) => Some("unconfirmed without an outage"),
            _ => Some("not final without an outage"),
        }
    }
}

impl Account {
    /// Compares what the client said about downlinks of one content with how often the device received
    /// it.
    fn check(&mut self, device: usize, content: &Content, fates: &[Fate], transmissions: usize) {
        let confirmed = content.1;
        for fate in fates {
            *self.states.entry(name(fate.last())).or_default() += 1;
            let is_final = matches!(fate.last(), DeliveryState::Sent) && !confirmed;
            self.unfinished += usize::from(is_unfinished(fate.last()) && !is_final);
            if let Some(deviation) = fate.deviation(confirmed) {
                let states = &fate.states;
                self.deviates(device, content, format!("{deviation}: {states:?}"));
            }
        }
        let sent = fates.iter().filter(|fate| fate.was_sent(confirmed)).count();
        if sent > transmissions {
            self.deviates(
                device,
                content,
                format!(
                    "{sent} were sent, as the client says, but the device received {transmissions}"
                ),
            );
        }
        let was_replaced_later = self.was_replaced_after_transmission(device, content);
        if transmissions > 0 && fates.iter().all(Fate::was_not_sent) && !was_replaced_later {
            let states = &fates[0].states;
            self.deviates(
                device,
                content,
                format!("none was sent, as the client says, but the device received {transmissions}: {states:?}"),
            );
        }
    }

    /// Returns whether the network reported that it sent a downlink with this content, and later that it
    /// queued one that replaces it. If the former came late, the states of the delivery had ended.
    fn was_replaced_after_transmission(&self, device: usize, content: &Content) -> bool {
        let reports = self.reports.get(&format!("device-{device}"));
        let reports = reports.map(Vec::as_slice).unwrap_or_default();
        let sent = format!("Sent {}", hex::encode(&content.2));
        let Some(sent) = reports.iter().rposition(|report| *report == sent) else {
            return false;
        };
        let replaces = |report: &String| {
            let queued = report.strip_prefix("Queued ");
            let request = queued.map(|payload| format!("send Replace {payload}"));
            request.is_some_and(|request| reports.contains(&request))
        };
        reports[sent..].iter().any(replaces)
    }

    /// Notes a deviation, with the reports about the device around those about this content.
    fn deviates(&mut self, device: usize, content: &Content, deviation: String) {
        self.deviation_count += 1;
        if self.deviations.len() >= DEVIATIONS {
            return;
        }
        let mut text = format!("device-{device}, {content:?}: {deviation}");
        let reports = self.reports.get(&format!("device-{device}"));
        let reports = reports.map(Vec::as_slice).unwrap_or_default();
        let payload = hex::encode(&content.2);
        let is_own = |report: &String| report.contains(&payload);
        let first = reports.iter().position(is_own).unwrap_or(reports.len());
        for report in reports.iter().skip(first.saturating_sub(8)).take(24) {
            text += &format!("\n    {report}");
        }
        self.deviations.push(text);
    }

    /// Asserts that no delivery is false, that each is final or explained, and that outages leave few
    /// without an end.
    ///
    /// # Panics
    ///
    /// If that is not so.
    #[track_caller]
    pub fn assert_true(&self) {
        assert!(self.deviation_count == 0, "{self}");
        assert!(100 * self.unfinished <= self.downlinks, "{self}");
    }

    /// Asserts that the client has asked over HTTP, and that nothing else waited for that.
    ///
    /// # Panics
    ///
    /// If that is not so.
    #[track_caller]
    pub fn assert_undelayed(&self) {
        assert!(self.questions > 0, "{self}");
        let Delays {
            send,
            connect,
            callback,
        } = self.delays;
        assert!(send.max(connect).max(callback) < LONGEST_DELAY, "{self}");
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} downlinks (seed {}), {} transmissions, {} outages, {} questions, at most {:?}: {:?}",
            self.downlinks,
            self.seed,
            self.transmissions,
            self.outages,
            self.questions,
            self.delays,
            self.states
        )?;
        if self.deviation_count > 0 {
            write!(f, "\n{} deviations:", self.deviation_count)?;
        }
        for deviation in &self.deviations {
            write!(f, "\n  {deviation}")?;
        }
        Ok(())
    }
}

/// Returns whether the network has the downlink, as far as the client knows.
fn is_unfinished(state: &DeliveryState) -> bool {
    matches!(
        state,
        DeliveryState::Queued
            | DeliveryState::Sent
            | DeliveryState::NotSent(_)
            | DeliveryState::NotAcknowledged { .. }
    )
}

fn name(state: &DeliveryState) -> &'static str {
    match state {
        DeliveryState::Accepted => "accepted",
        DeliveryState::Written => "written",
        DeliveryState::Queued => "queued",
        DeliveryState::Sent => "sent",
        DeliveryState::NotSent(_) => "not sent",
        DeliveryState::NotAcknowledged { .. } => "not acknowledged",
        DeliveryState::Acknowledged => "acknowledged",
        DeliveryState::Failed(_) => "failed",
        DeliveryState::Expired => "expired",
        DeliveryState::Replaced => "replaced",
        DeliveryState::Unconfirmed(_) => "unconfirmed",
        DeliveryState::GivenUp => "given up",
        _ => "forgotten",
    }
}
