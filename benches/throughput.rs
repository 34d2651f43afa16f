//! Uplinks per second out of a flood.

mod common;

use std::{
    hint::black_box,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use common::{
    APP, PATIENCE, bare, processor_seconds,
    report::{Side, interleave, print},
    source::{Source, Uplinks},
};
use ttn::{Event, MqttClient, Overflow};

const ROUNDS: usize = 5;
const UPLINKS: usize = 100_000;

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(300));
    let flood = Flood {
        source: Source::start(0),
        uplinks: Uplinks::new(),
    };
    let mut sides = vec![
        Side::new("Paho's callback, doing nothing", || flood.bare_callback()),
        Side::new("by hand: `start_consuming`, `serde_json::Value`", || {
            flood.by_hand()
        }),
        Side::new("`set_uplink_callback`", || flood.uplink_callback()),
    ];
    let flood = &flood;
    sides.extend([1, 4, 16].map(|subscribers| {
        Side::new(format!("`events()`, {subscribers} ×"), move || {
            flood.events(subscribers)
        })
    }));
    println!("## throughput: {UPLINKS} uplinks of 1 KiB as fast as the socket takes them\n");
    println!(
        "`Overflow::Block`, room for all of them before they are read (`receive_capacity`), 10 000 in the queue of \
         each subscriber. Lost: 0.\n"
    );
    let [speed, work] = interleave(ROUNDS, sides);
    print("Until the last has arrived", "1000/s", &speed);
    print(
        "Work of the processors for one uplink, source and all",
        "µs",
        &work,
    );
}

struct Flood {
    source: Source,
    uplinks: Uplinks,
}

impl Flood {
    /// Thousands per second until as many reports as there are receivers have come, and
    /// microseconds of processors for each uplink.
    fn measure(&self, receivers: usize, done: &Receiver<()>) -> [f64; 2] {
        let link = self.source.link();
        let processors = || processor_seconds().unwrap_or(f64::NAN);
        let worked = processors();
        let start = Instant::now();
        link.flood(&self.uplinks, UPLINKS);
        for _ in 0..receivers {
            done.recv_timeout(PATIENCE)
                .expect("nothing is lost on the way");
        }
        let seconds = start.elapsed().as_secs_f64();
        let worked = processors() - worked;
        [
            UPLINKS as f64 / seconds / 1e3,
            worked * 1e6 / UPLINKS as f64,
        ]
    }

    fn bare_callback(&self) -> [f64; 2] {
        let (report, done) = mpsc::channel();
        let client = bare::create(&self.source);
        let mut open = UPLINKS;
        client.set_message_callback(move |_, message| {
            if message.is_some() {
                count_down(&mut open, &report);
            }
        });
        assert!(bare::connect(&client));
        bare::subscribe(&client);
        let figure = self.measure(1, &done);
        bare::disconnect(client);
        figure
    }

    fn by_hand(&self) -> [f64; 2] {
        let (report, done) = mpsc::channel();
        let client = bare::create(&self.source);
        let messages = client.start_consuming();
        assert!(bare::connect(&client));
        bare::subscribe(&client);
        let reader = thread::spawn(move || {
            let mut open = UPLINKS;
            while open > 0 {
                if let Some(message) = messages.recv().expect("the client lives") {
                    let json: serde_json::Value =
                        serde_json::from_slice(message.payload()).expect("the payload is JSON");
                    assert!(message.topic().starts_with(APP));
                    black_box(json);
                    count_down(&mut open, &report);
                }
            }
        });
        let figure = self.measure(1, &done);
        reader.join().expect("the reader ends well");
        bare::disconnect(client);
        figure
    }

    fn client(&self) -> MqttClient {
        common::client(&self.source)
            .overflow(Overflow::Block)
            .receive_capacity(UPLINKS, 4096 * UPLINKS)
            .build()
            .expect("the options are good")
    }

    fn uplink_callback(&self) -> [f64; 2] {
        let (report, done) = mpsc::channel();
        let client = self.client();
        let mut open = UPLINKS;
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
        let client = self.client();
        let readers: Vec<_> = (0..subscribers)
            .map(|_| {
                let events = client.events();
                let report = report.clone();
                thread::spawn(move || {
                    let mut open = UPLINKS;
                    while open > 0 {
                        match events.recv().expect("the client lives") {
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
            reader.join().expect("the reader ends well");
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
