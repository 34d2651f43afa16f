//! Measures uplinks per second in a flood.

mod common;

use std::{
    cell::RefCell,
    hint::black_box,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use common::{
    PATIENCE, bare,
    figures::{Reach, left_out, note, plot},
    peer::{MOSQUITTO_SUB, PYTHON_SDK, Peer, RUMQTTC},
    processor_seconds,
    report::{Row, Side, interleave, print},
    source::{Source, Uplinks},
};
use ttn::{Event, MqttClient, MqttClientBuilder, Overflow};

const ROUNDS: usize = 9;
const UPLINKS: usize = 100_000;

const PYTHON_ROUNDS: usize = 3;
const PYTHON_UPLINKS: usize = 20_000;

const PLOT: &str = "throughput of a flood, 1000 uplinks/s";

const BARE: &str = "Paho's callback, doing nothing";
const BY_HAND: &str = "by hand: `start_consuming`, `serde_json::Value`";
const CALLBACK: &str = "`set_uplink_callback`";

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(600));
    v3();
    v2();
}

fn v3() {
    let flood = Flood {
        source: Source::start(0),
        uplinks: Uplinks::v3(),
        count: UPLINKS,
    };
    println!(
        "## throughput: {UPLINKS} v3 uplinks of {} bytes, heard by one gateway, as fast as the socket takes them\n",
        flood.uplinks.size()
    );
    println!(
        "`Overflow::Block`; `receive_capacity` has room for all uplinks, the queue of each subscriber for 10 000. Lost: 0.\n"
    );
    let flood = &flood;
    let peers = [RUMQTTC, MOSQUITTO_SUB].map(Guest::new);
    let mut sides = vec![
        Side::new(BARE, || flood.bare_callback()),
        Side::new(BY_HAND, || flood.by_hand()),
        Side::new(CALLBACK, || {
            flood.uplink_callback(common::client_v3(flood.source.address()))
        }),
    ];
    sides.extend([1, 4, 16].map(|subscribers| {
        Side::new(format!("`events()`, {subscribers} ×"), move || {
            flood.events(subscribers)
        })
    }));
    sides.extend(peers.iter().map(|peer| peer.side(flood)));

    let [mut speed, mut work] = interleave(ROUNDS, sides);
    let peer_speed = speed.split_off(speed.len() - peers.len());
    work.truncate(speed.len());
    print("Until the last has arrived", "1000/s", &speed);
    print("CPU time for one uplink, including the source", "µs", &work);
    let [bare, by_hand, callback, one, _, sixteen] = &speed[..] else {
        unreachable!("there are six sides");
    };
    let what = "v3 uplinks/s into an uplink callback";
    let reach = Reach::AtLeast(0.8);
    note(3, what, BARE, reach, &callback.ratios(bare));
    let reach = Reach::AtLeast(1.3);
    note(4, what, BY_HAND, reach, &callback.ratios(by_hand));
    // A speed is the inverse of a time.
    let further: Vec<_> = one
        .ratios(sixteen)
        .iter()
        .map(|ratio| (ratio - 1.0) / 15.0)
        .collect();
    note(
        5,
        "cost of a further subscriber to `events()`: time with 16 minus time with 1, divided by 15",
        "time with 1 subscriber",
        Reach::AtMost(0.1),
        &further,
    );
    for row in &speed {
        plot(PLOT, &row.name, &row.figures);
    }
    print_peers(
        "Other clients, each in its own process, with the same bytes from the same source",
        callback,
        &peers,
        &peer_speed,
    );
}

/// The Python SDK supports V2 networks only.
fn v2() {
    let flood = Flood {
        source: Source::start(0),
        uplinks: Uplinks::new(),
        count: PYTHON_UPLINKS,
    };
    let peers = [Guest::new(PYTHON_SDK)];
    let mut sides = vec![Side::new(format!("{CALLBACK}, V2"), || {
        flood.uplink_callback(common::client(&flood.source))
    })];
    sides.extend(peers.iter().map(|peer| peer.side(&flood)));
    let [mut speed, _] = interleave(PYTHON_ROUNDS, sides);
    let peer_speed = speed.split_off(1);
    print_peers(
        &format!(
            "The Python SDK, {PYTHON_UPLINKS} V2 uplinks of {} bytes",
            flood.uplinks.size()
        ),
        &speed[0],
        &peers,
        &peer_speed,
    );
}

/// Prints and notes the speed of the peers that can be measured, and why the others cannot.
fn print_peers(title: &str, ours: &Row, peers: &[Guest], speed: &[Row]) {
    let measured = peers.iter().zip(speed);
    let measured = measured.filter(|(peer, _)| peer.failure.borrow().is_none());
    let rows: Vec<_> = measured.map(|(_, row)| row).collect();
    let mut table = vec![ours];
    table.extend(&rows);
    print(title, "1000/s", &table);
    for row in rows {
        let what = format!("uplinks/s of {}", row.name);
        note(13, &what, &ours.name, Reach::Stated, &row.ratios(ours));
        plot(PLOT, &row.name, &row.figures);
    }
    for peer in peers {
        if let Some(why) = &*peer.failure.borrow() {
            let name = peer.peer.name;
            println!("{name} was left out: {why}\n");
            let what = format!("uplinks/s of {name}");
            left_out(13, &what, &ours.name, Reach::Stated, why);
        }
    }
}

/// A peer, or the reason why it cannot be measured.
struct Guest {
    peer: Peer,
    failure: RefCell<Option<String>>,
}

impl Guest {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            failure: RefCell::new(None),
        }
    }

    /// Returns thousands per second. After a failure the peer is not tried again.
    fn side<'a>(&'a self, flood: &'a Flood) -> Side<'a, 2> {
        Side::new(self.peer.name, || {
            let mut failure = self.failure.borrow_mut();
            if failure.is_some() {
                return [f64::NAN; 2];
            }
            let took = (self.peer).receive(&flood.source, &flood.uplinks, flood.count);
            let seconds = took.unwrap_or_else(|why| {
                *failure = Some(why);
                f64::NAN
            });
            // The CPU time of its process is not known.
            [flood.speed(seconds), f64::NAN]
        })
    }
}

struct Flood {
    source: Source,
    uplinks: Uplinks,
    count: usize,
}

impl Flood {
    /// Returns thousands of uplinks per second until every receiver has reported, and microseconds
    /// of CPU time for each uplink.
    fn measure(&self, receivers: usize, done: &Receiver<()>) -> [f64; 2] {
        let link = self.source.link();
        let processors = || processor_seconds().unwrap_or(f64::NAN);
        let worked = processors();
        let start = Instant::now();
        link.flood(&self.uplinks, self.count);
        for _ in 0..receivers {
            done.recv_timeout(PATIENCE).expect("every uplink arrives");
        }
        let seconds = start.elapsed().as_secs_f64();
        let worked = processors() - worked;
        [self.speed(seconds), worked * 1e6 / self.count as f64]
    }

    /// Returns thousands of uplinks per second.
    fn speed(&self, seconds: f64) -> f64 {
        self.count as f64 / seconds / 1e3
    }

    fn bare_callback(&self) -> [f64; 2] {
        let (report, done) = mpsc::channel();
        let client = bare::create(&self.source);
        let mut open = self.count;
        client.set_message_callback(move |_, message| {
            if message.is_some() {
                count_down(&mut open, &report);
            }
        });
        assert!(bare::connect(&client));
        bare::subscribe(&client);
        let figure = self.measure(1, &done);
        bare::disconnect(&client);
        figure
    }

    fn by_hand(&self) -> [f64; 2] {
        let (report, done) = mpsc::channel();
        let client = bare::create(&self.source);
        let messages = client.start_consuming();
        assert!(bare::connect(&client));
        bare::subscribe(&client);
        let mut open = self.count;
        let reader = thread::spawn(move || {
            while open > 0 {
                if let Some(message) = messages.recv().expect("the client is alive") {
                    let json: serde_json::Value =
                        serde_json::from_slice(message.payload()).expect("the payload is JSON");
                    black_box((message.topic(), &json));
                    drop((message, json));
                    count_down(&mut open, &report);
                }
            }
        });
        let figure = self.measure(1, &done);
        reader.join().expect("the reader does not panic");
        bare::disconnect(&client);
        figure
    }

    fn build(&self, client: MqttClientBuilder) -> MqttClient {
        client
            .overflow(Overflow::Block)
            .receive_capacity(self.count, 4096 * self.count)
            .build()
            .expect("the options are valid")
    }

    fn uplink_callback(&self, client: MqttClientBuilder) -> [f64; 2] {
        let (report, done) = mpsc::channel();
        let client = self.build(client);
        let mut open = self.count;
        client.set_uplink_callback(move |uplink, _| {
            black_box(uplink);
            count_down(&mut open, &report);
        });
        client.connect().expect("the server accepts");
        let figure = self.measure(1, &done);
        client.close().expect("the callbacks are done");
        figure
    }

    fn events(&self, subscribers: usize) -> [f64; 2] {
        let (report, done) = mpsc::channel();
        let client = self.build(common::client_v3(self.source.address()));
        let readers: Vec<_> = (0..subscribers)
            .map(|_| {
                let events = client.events();
                let report = report.clone();
                let mut open = self.count;
                thread::spawn(move || {
                    while open > 0 {
                        match events.recv().expect("the client is alive") {
                            Event::Uplink(uplink) => {
                                black_box(&uplink);
                                count_down(&mut open, &report);
                            }
                            Event::Lagged(lost) => panic!("{lost} uplinks were lost"),
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        client.connect().expect("the server accepts");
        let figure = self.measure(subscribers, &done);
        for reader in readers {
            reader.join().expect("the reader does not panic");
        }
        client.close().expect("the callbacks are done");
        figure
    }
}

fn count_down(open: &mut usize, report: &mpsc::Sender<()>) {
    *open -= 1;
    if *open == 0 {
        let _ = report.send(());
    }
}
