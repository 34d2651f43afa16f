//! A whole way: a network with storage, a feed, a cluster, and consumers that answer; while the feed and nodes are
//! killed and the network is cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::{self, Display},
    net::SocketAddr,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use serde_json::{Value, json};
use tempfile::TempDir;
use ttn::{
    Backfill, ConnectRetry, Feed, MqttClient, Network, Session,
    simulator::{Simulator, Storage},
};

use crate::{
    account::{Records, nanoseconds},
    cluster::{PARTITIONS, ack_wait, members, patience},
    consumers::{ANSWERED, CONNECT, Consumers, LAST_ANSWERED, Notebook, program},
    is_long, print,
    publisher::{APP_ID, APP_ID_WITH_TENANT, DEVICES, Published, dev_id, partition},
    support::{
        guarded::Guarded,
        nats::{NODES, NatsCluster},
        relay::Relay,
        resources::{loopback, pause, wait_until},
    },
    turn,
};

/// The variable with the plan of a feed, and the one with a seed that repeats a run.
const PLAN: &str = "TTN_TEST_FEED";
const SEED: &str = "TTN_TEST_SEED";

const KEY: &str = "NNSXS.FEED.SECRET";

/// How long after its time an uplink may be read from the network's storage.
const WRITE_DELAY: Duration = Duration::from_millis(40);

/// Of how many uplinks one asks for an answer.
const ASKING: u32 = 50;

/// How many answers of each consumer must arrive in the end.
const ANSWERS: usize = 3;

/// The time limit for everything that does not depend on chance.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it takes until everything is handled.
const CATCHING_UP: Duration = Duration::from_secs(120);

/// How long something stays away, at most.
const LONGEST_AWAY: u64 = 4_000;

fn duration() -> Duration {
    Duration::from_secs(if is_long() { 120 } else { 30 })
}

/// How many nodes are killed at most, one after the other: NATS takes its time until a node that is back has caught up.
fn most_nodes() -> usize {
    if is_long() { usize::MAX } else { 1 }
}

/// The time between two uplinks.
fn tick() -> Duration {
    Duration::from_millis(if is_long() { 6 } else { 15 })
}

/// What the feed goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strike {
    FeedKilled,
    NodeKilled,
    NetworkCut,
}

/// How often each happened.
#[derive(Debug, Default)]
struct Strikes(BTreeMap<Strike, usize>);

/// The network, and the devices' uplinks.
struct Field {
    network: Simulator,
    mqtt: Relay,
    http: Relay,
    sent: AtomicU32,
}

impl Field {
    fn new() -> Self {
        let network = Simulator::builder(Network::V3)
            .application(APP_ID_WITH_TENANT, KEY)
            .address(format!("{}:0", loopback()))
            .http_address(format!("{}:0", loopback()))
            .start()
            .expect("the simulated network starts");
        network.storage(Some(Storage::new().write_delay(WRITE_DELAY)));
        // Answers then say how many more requests there may be, so that none waits for a second.
        network.http_rate_limit(10_000, 600_000);
        let http = network.http_address();
        let http = http.strip_prefix("http://").map(str::parse);
        let http = http.expect("it speaks no TLS").expect("an address");
        Self {
            mqtt: Relay::start(network.address()).expect("a relay starts"),
            http: Relay::start(http).expect("a relay starts"),
            sent: AtomicU32::new(0),
            network,
        }
    }

    /// Sends the next uplink of a device.
    fn uplink(&self, dev_id: &str, port: u8) {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        self.network
            .device(dev_id)
            .uplink(port, number.to_be_bytes());
    }

    fn uplink_in_turn(&self) {
        let number = self.sent.load(Ordering::Relaxed);
        let port = if number % ASKING == 0 { ANSWERED } else { 1 };
        self.uplink(&dev_id(number as usize % DEVICES), port);
    }

    /// Lets the devices send, each in its turn, until the other end is dropped.
    fn send(&self, stopped: &mpsc::Receiver<()>) {
        while stopped.recv_timeout(tick()) == Err(mpsc::RecvTimeoutError::Timeout) {
            self.uplink_in_turn();
        }
    }

    fn cut(&self) {
        for relay in [&self.mqtt, &self.http] {
            relay.refuse();
            relay.cut();
        }
    }

    fn mend(&self) {
        for relay in [&self.mqtt, &self.http] {
            // A connection to somewhere else may occupy the port for a moment.
            assert!(wait_until(PATIENCE, || relay.listen().is_ok()));
        }
    }
}

/// The process with the feed.
struct FeedProcess {
    folder: TempDir,
    plan: String,
    running: Option<Guarded>,
}

impl FeedProcess {
    fn new(field: &Field, cluster: &NatsCluster) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let brokers = cluster.addresses_from(0);
        let plan = json!({
            "network": field.mqtt.address().to_string(),
            "http": format!("http://{}", field.http.address()),
            "brokers": brokers.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(","),
            "watermark": folder.path().join("watermark"),
            "notes": folder.path().join("notes"),
        });
        let mut process = Self {
            folder,
            plan: plan.to_string(),
            running: None,
        };
        process.start();
        process
    }

    fn start(&mut self) {
        let mut command = program(module_path!(), "the_feed");
        command.env(PLAN, &self.plan);
        let started = Guarded::start(&mut command, None);
        self.running = Some(started.expect("this program starts"));
    }

    fn kill(&mut self) {
        self.running = None;
    }

    fn notes(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("notes")).unwrap_or_default()
    }
}

#[test]
fn the_feed() {
    if let Ok(plan) = env::var(PLAN) {
        feed(&serde_json::from_str(&plan).expect("it is JSON"));
    }
}

fn feed(plan: &Value) {
    let text = |name: &str| plan[name].as_str().expect("it is a text");
    let notebook = Notebook::open(text("notes"));
    let backfill = Backfill::new()
        .passes([Duration::ZERO, 3 * WRITE_DELAY])
        .overlap(Duration::from_secs(1))
        .max_wait(Duration::from_secs(2));
    let network = MqttClient::builder(APP_ID_WITH_TENANT, KEY)
        .mqtt_address(text("network"))
        .http_address(text("http"))
        .connect_retry(ConnectRetry::Forever)
        .reconnect_delay(Duration::from_millis(50), Duration::from_millis(500))
        .backfill(backfill);
    let broker = MqttClient::own_broker(APP_ID)
        .mqtt_address(text("brokers"))
        .session(Session::persistent("feed"))
        .partitions(PARTITIONS)
        .connect_timeout(CONNECT)
        .connect_retry(ConnectRetry::Forever)
        .reconnect_delay(Duration::from_millis(50), Duration::from_millis(500));
    let feed = Feed::builder(network, broker)
        .watermark_file(text("watermark"))
        .share_downlinks(false)
        .start()
        .unwrap_or_else(|error| panic!("the feed does not start: {error}"));
    notebook.note("started", "");
    for event in feed.events() {
        notebook.note("event", event);
    }
}

impl Display for Strikes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |strike| self.0.get(&strike).copied().unwrap_or_default();
        write!(
            formatter,
            "feed killed {} times, node killed {}, network cut {}",
            count(Strike::FeedKilled),
            count(Strike::NodeKilled),
            count(Strike::NetworkCut)
        )
    }
}

/// Strikes in random order, each kind at least once, until the time is over; everything works in the end.
fn rage(
    random: &mut Rng,
    field: &Field,
    cluster: &mut NatsCluster,
    feed: &mut FeedProcess,
) -> Strikes {
    let mut strikes = Strikes::default();
    let begin = Instant::now();
    let mut order = Vec::new();
    while begin.elapsed() < duration() || strikes.0.len() < 3 {
        if order.is_empty() {
            order = vec![Strike::FeedKilled, Strike::NodeKilled, Strike::NetworkCut];
            random.shuffle(&mut order);
        }
        let strike = order.pop().expect("it was just filled");
        if strike == Strike::NodeKilled && strikes.0.get(&strike) >= Some(&most_nodes()) {
            continue;
        }
        *strikes.0.entry(strike).or_default() += 1;
        pause(Duration::from_millis(random.u64(0..LONGEST_AWAY / 2)));
        let away = Duration::from_millis(random.u64(100..LONGEST_AWAY));
        match strike {
            Strike::FeedKilled => {
                feed.kill();
                pause(away);
                feed.start();
            }
            Strike::NodeKilled => {
                let node = random.usize(0..NODES);
                cluster.kill(node);
                pause(away);
                cluster.start_again(node);
                // Two of three nodes must be there.
                cluster.wait_for(node);
            }
            Strike::NetworkCut => {
                field.cut();
                pause(away);
                field.mend();
            }
        }
    }
    strikes
}

/// Lets a device of each consumer ask for answers, until enough of them are acknowledged.
fn ask_for_answers(field: &Field, consumers: &mut Consumers) {
    let devices: Vec<String> = (0..NODES as u32)
        .map(|member| {
            let is_its = |dev_id: &String| partition(dev_id, PARTITIONS) % NODES as u32 == member;
            let device = (0..DEVICES).map(dev_id).find(is_its);
            device.expect("each consumer has devices")
        })
        .collect();
    let mut turn = 0;
    let answered = wait_until(PATIENCE, || {
        consumers.records.read();
        let answers = answers(&consumers.records);
        let is_enough = |consumer: &usize| {
            let of_it = answers.iter().filter(|((of, ..), _)| of == consumer);
            of_it.count() >= ANSWERS
        };
        if (0..NODES).all(|consumer| is_enough(&consumer)) && answers.values().all(Option::is_some)
        {
            return true;
        }
        for device in &devices {
            // An answer reaches the device after an uplink, and is acknowledged with the one after that.
            let is_asking = turn % 4 == 0 && turn < 4 * ANSWERS;
            field.uplink(device, if is_asking { LAST_ANSWERED } else { 1 });
        }
        turn += 1;
        pause(Duration::from_millis(200));
        false
    });
    let answers = answers(&consumers.records);
    let is_acknowledged = |end: &Option<String>| end.as_deref() == Some("acknowledged");
    assert!(
        answered && answers.values().all(is_acknowledged),
        "{answers:#?}"
    );
}

/// The answers that were sent in the end, by consumer, process and key, with what became of each in its process.
fn answers(records: &Records) -> BTreeMap<(usize, u32, String), Option<String>> {
    let mut answers = BTreeMap::new();
    for (consumer, note) in &records.notes {
        let (key, rest) = note.text.split_once(' ').unwrap_or((&note.text, ""));
        let answer = (*consumer, note.process, key.to_owned());
        match note.word.as_str() {
            "sent" if rest == LAST_ANSWERED.to_string() => {
                answers.insert(answer, None);
            }
            "acknowledged" | "unacknowledged" => {
                if let Some(end) = answers.get_mut(&answer) {
                    *end = Some(note.word.clone());
                }
            }
            _ => {}
        }
    }
    answers
}

#[test]
fn a_feed_brings_every_uplink_to_its_consumer_whatever_is_killed_and_the_answers_back() {
    let _turn = turn();
    let Some(mut cluster) = NatsCluster::start(ack_wait()) else {
        return;
    };
    let seed = env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let mut random = Rng::with_seed(seed);
    let field = Field::new();
    let mut consumers = Consumers::start(members(&cluster));
    let mut feed = FeedProcess::new(&field, &cluster);
    assert!(
        wait_until(PATIENCE, || feed.notes().contains("started")),
        "the feed does not start"
    );
    let begin = nanoseconds();
    let strikes = thread::scope(|scope| {
        let (stop, stopped) = mpsc::channel();
        let field = &field;
        let sending = scope.spawn(move || field.send(&stopped));
        let strikes = rage(&mut random, field, &mut cluster, &mut feed);
        drop(stop);
        sending.join().expect("nothing panics there");
        strikes
    });
    let mut published = Published {
        numbers: 0..field.sent.load(Ordering::Relaxed),
        repeated: BTreeSet::new(),
        connections: 0,
        begin,
        end: nanoseconds(),
    };
    consumers.wait_until_handled(&published.numbers, CATCHING_UP);
    let missing = consumers.records.missing(&published.numbers);
    assert!(
        missing.is_empty(),
        "seed {seed}, {strikes}: {missing:?} of {:?} are missing\n{}\n{}\n{}",
        published.numbers,
        consumers.last_notes(),
        feed.notes(),
        cluster.logs()
    );
    let caught_up = Duration::from_nanos(nanoseconds() - published.end);
    ask_for_answers(&field, &mut consumers);
    published.numbers.end = field.sent.load(Ordering::Relaxed);
    let account = consumers.account(&published, patience());
    print(
        &format!("feed, seed {seed}: {strikes}; caught up in {caught_up:.1?}"),
        &account,
    );
    assert!(
        account.lost.is_empty(),
        "{account}: {:?}\n{}",
        account.lost,
        feed.notes()
    );
    assert!(account.untold.is_empty(), "{account}: {:?}", account.untold);
    assert!(
        account.wrong_keys.is_empty(),
        "{account}: {:?}",
        account.wrong_keys
    );
}
