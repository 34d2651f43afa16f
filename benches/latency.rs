//! Measures how long a single uplink takes to reach the callback, on an otherwise idle link.

mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use common::{
    PATIENCE, bare,
    broker::Broker,
    figures::{Reach, left_out, note, plot},
    report::{Row, print, quantile},
    source::{Link, Source, Uplinks},
};
use paho_mqtt::AsyncClient;
use ttn::MqttClient;

const ROUNDS: usize = 5;
const UPLINKS: usize = 500;
const PAUSE: Duration = Duration::from_millis(5);

const BARE: &str = "Paho's callback, doing nothing";
const BY_HAND: &str = "by hand: `start_consuming`, `serde_json::Value`";
const CALLBACK: &str = "`set_uplink_callback`";

const DIRECT: &str = "server's write to callback";
const BROKERED: &str = "publish to callback, through Mosquitto";

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(300));
    println!(
        "## latency: {ROUNDS} rounds of {UPLINKS} v3 uplinks of {} bytes for each, in random order, one every {PAUSE:?}\n",
        Uplinks::v3().size()
    );
    println!(
        "The mark of p50 is not to get slower: a message passes between threads three times, which takes some 70 µs each on\n\
         an idle machine.\n"
    );
    measure(DIRECT, [(); 3].map(|()| Source::start(0)));
    match brokers() {
        Ok(brokers) => measure(BROKERED, brokers),
        Err(why) => {
            println!("### {BROKERED}\n\nLeft out: {why}\n");
            for (part, reach) in parts(BROKERED) {
                let what = format!("{part}, {BROKERED}");
                left_out(6, &what, BARE, reach, &why);
            }
        }
    }
}

/// Returns what is measured. The mark of the median is not to get slower: each of the hops between threads takes some
/// 70 µs on an idle machine.
fn parts(way: &str) -> [(&'static str, Reach); 2] {
    let as_before = match way {
        DIRECT => 6.0,
        _ => 3.0,
    };
    [
        ("latency p50", Reach::AtMost(as_before)),
        ("latency p99", Reach::AtMost(1.5)),
    ]
}

fn brokers() -> Result<[Broker; 3], String> {
    Ok([Broker::start()?, Broker::start()?, Broker::start()?])
}

/// The source of uplinks for a side. Each side has its own.
trait Server {
    fn address(&self) -> SocketAddr;

    /// Returns where to write uplinks for the client that has subscribed.
    fn link(&self) -> Link;
}

impl Server for Source {
    fn address(&self) -> SocketAddr {
        self.address()
    }

    fn link(&self) -> Link {
        self.link()
    }
}

impl Server for Broker {
    fn address(&self) -> SocketAddr {
        self.address()
    }

    fn link(&self) -> Link {
        Link::to_server(self.address()).expect("the broker accepts everyone")
    }
}

fn measure(way: &str, servers: [impl Server; 3]) {
    // Each side needs its own, since frame counters rise by one.
    let uplinks = [(); 3].map(|()| Uplinks::v3());
    let clock = Clock::new();
    let [bare_server, hand_server, server] = &servers;
    let (bare, bare_arrivals) = bare_callback(bare_server.address(), &clock);
    let (hand, hand_arrivals) = by_hand(hand_server.address(), &clock);
    let (client, arrivals) = uplink_callback(server.address(), &clock);
    let sides = [
        (BARE, bare_server.link(), bare_arrivals),
        (BY_HAND, hand_server.link(), hand_arrivals),
        (CALLBACK, server.link(), arrivals),
    ];

    let [mut halves, mut worst] =
        [(); 2].map(|()| sides.each_ref().map(|(name, ..)| Row::new(name)));
    // The first round does not count.
    for number in 0..=ROUNDS {
        let mut round = [const { Vec::new() }; 3];
        for _ in 0..UPLINKS {
            // In a fixed order the scheduler would favour one side: the cores on which it leaves
            // the threads of one side affect the next.
            let mut order = [0, 1, 2];
            fastrand::shuffle(&mut order);
            for side in order {
                let (_, link, arrivals) = &sides[side];
                thread::sleep(PAUSE);
                round[side].push(one(&clock, link, &uplinks[side], arrivals));
            }
        }
        if number > 0 {
            for (side, figures) in round.iter().enumerate() {
                halves[side].figures.push(quantile(figures, 0.5));
                worst[side].figures.push(quantile(figures, 0.99));
            }
        }
    }

    for ((part, reach), rows) in parts(way).into_iter().zip([&halves, &worst]) {
        let title = format!("{part}, {way}");
        print(&title, "µs", rows);
        note(6, &title, BARE, reach, &rows[2].ratios(&rows[0]));
        for row in rows {
            plot(&format!("{title}, µs"), &row.name, &row.figures);
        }
    }

    bare::disconnect(&bare);
    bare::disconnect(&hand);
    client.close().expect("the callbacks are done");
}

fn bare_callback(address: SocketAddr, clock: &Clock) -> (AsyncClient, Receiver<f64>) {
    let (arrived, arrivals) = mpsc::channel();
    let client = bare::create_at(address);
    let clock = clock.clone();
    client.set_message_callback(move |_, message| {
        if message.is_some() {
            let _ = arrived.send(clock.since_write());
        }
    });
    assert!(bare::connect(&client));
    bare::subscribe(&client);
    (client, arrivals)
}

fn by_hand(address: SocketAddr, clock: &Clock) -> (AsyncClient, Receiver<f64>) {
    let (arrived, arrivals) = mpsc::channel();
    let client = bare::create_at(address);
    let messages = client.start_consuming();
    let clock = clock.clone();
    thread::spawn(move || {
        for message in messages.iter().flatten() {
            let json = serde_json::from_slice::<serde_json::Value>(message.payload());
            let took = clock.since_write();
            assert!(json.is_ok());
            if arrived.send(took).is_err() {
                break;
            }
        }
    });
    assert!(bare::connect(&client));
    bare::subscribe(&client);
    (client, arrivals)
}

fn uplink_callback(address: SocketAddr, clock: &Clock) -> (MqttClient, Receiver<f64>) {
    let (arrived, arrivals) = mpsc::channel();
    let client = common::client_v3(address)
        .build()
        .expect("the options are valid");
    let clock = clock.clone();
    client.set_uplink_callback(move |_, _| {
        let _ = arrived.send(clock.since_write());
    });
    client.connect().expect("the server accepts");
    (client, arrivals)
}

/// Returns the microseconds from the write of an uplink to its arrival.
fn one(clock: &Clock, link: &Link, uplinks: &Uplinks, arrivals: &Receiver<f64>) -> f64 {
    let uplink = uplinks.one();
    clock.write_now();
    link.write_one(&uplink);
    arrivals.recv_timeout(PATIENCE).expect("the uplink arrives")
}

/// The time when the last uplink was written.
#[derive(Clone)]
struct Clock {
    start: Instant,
    written: Arc<AtomicU64>,
}

impl Clock {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            written: Arc::new(AtomicU64::new(0)),
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn write_now(&self) {
        self.written.store(self.now(), Ordering::Release);
    }

    fn since_write(&self) -> f64 {
        let written = self.written.load(Ordering::Acquire);
        (self.now() - written) as f64 / 1e3
    }
}
