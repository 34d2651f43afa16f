//! From the server's write to the callback, one uplink at a time.

mod common;

use std::{
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
    report::{Row, print, quantile},
    source::{Link, Source, Uplinks},
};

const ROUNDS: usize = 5;
const UPLINKS: usize = 400;
const PAUSE: Duration = Duration::from_millis(2);

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(120));
    let source = Source::start(0);
    let clock = Clock::new();

    let (arrived, bare_arrivals) = mpsc::channel();
    let bare = bare::create(&source);
    let stamp = clock.clone();
    bare.set_message_callback(move |_, message| {
        if message.is_some() {
            let _ = arrived.send(stamp.since_write());
        }
    });
    assert!(bare::connect(&bare));
    bare::subscribe(&bare);
    let bare_link = source.link();

    let (arrived, hand_arrivals) = mpsc::channel();
    let hand = bare::create(&source);
    let messages = hand.start_consuming();
    let stamp = clock.clone();
    let reader = thread::spawn(move || {
        for message in messages.iter().flatten() {
            let json = serde_json::from_slice::<serde_json::Value>(message.payload());
            let took = stamp.since_write();
            assert!(json.is_ok());
            if arrived.send(took).is_err() {
                break;
            }
        }
    });
    assert!(bare::connect(&hand));
    bare::subscribe(&hand);
    let hand_link = source.link();

    let (arrived, arrivals) = mpsc::channel();
    let client = common::client(&source)
        .build()
        .expect("the options are good");
    let stamp = clock.clone();
    client.set_uplink_callback(move |_, _| {
        let _ = arrived.send(stamp.since_write());
    });
    client.connect().expect("the server accepts");
    let link = source.link();

    let sides = [
        ("Paho's callback, doing nothing", bare_link, bare_arrivals),
        (
            "by hand: `start_consuming`, `serde_json::Value`",
            hand_link,
            hand_arrivals,
        ),
        ("`set_uplink_callback`", link, arrivals),
    ];
    let uplinks = Uplinks::new();
    let [mut halves, mut worst] =
        [(); 2].map(|()| sides.each_ref().map(|(name, ..)| Row::new(name)));
    for _ in 0..ROUNDS {
        let mut round = [const { Vec::new() }; 3];
        for _ in 0..UPLINKS {
            // In a fixed order the scheduler would favour one side: each leaves its threads where
            // they suit or hinder the next.
            let mut order = [0, 1, 2];
            fastrand::shuffle(&mut order);
            for side in order {
                let (_, link, arrivals) = &sides[side];
                thread::sleep(PAUSE);
                round[side].push(one(&clock, link, &uplinks, arrivals));
            }
        }
        for (side, figures) in round.iter().enumerate() {
            halves[side].figures.push(quantile(figures, 0.5));
            worst[side].figures.push(quantile(figures, 0.99));
        }
    }

    println!(
        "## latency: {ROUNDS} rounds of {UPLINKS} uplinks for each, in random order, one every {PAUSE:?}\n"
    );
    print("p50", "µs", &halves);
    print("p99", "µs", &worst);

    bare::disconnect(bare);
    bare::disconnect(hand);
    client.close().expect("the callbacks are done");
    drop(sides);
    drop(reader);
}

/// Microseconds from the write of an uplink to its arrival.
fn one(clock: &Clock, link: &Link, uplinks: &Uplinks, arrivals: &Receiver<f64>) -> f64 {
    clock.write_now();
    link.write_one(uplinks);
    arrivals.recv_timeout(PATIENCE).expect("the uplink arrives")
}

/// Remembers when the last uplink was written.
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
