//! Measures what our own sockets and TLS cost, compared with Paho's sockets and OpenSSL: the same
//! clients, built with this checkout and with the commit before that change, take turns in one run.

mod common;

#[allow(dead_code, reason = "the benchmarks that share it use more of it")]
#[allow(unreachable_pub, reason = "programs export nothing anyway")]
#[path = "feed/process.rs"]
mod process;
#[path = "wire/side.rs"]
mod side;

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use common::{
    Certificates,
    broker::Broker,
    figures::{Reach, left_out, note},
    messages::v3_uplink,
    report::{Row, Side, interleave, print, quantile},
    source::{Link, Source, Uplinks},
    tls,
};
use side::{BEFORE, Build, Builds, Clients, Way};

const FLOOD_ROUNDS: usize = 9;
const FLOOD_STEP: usize = 1_024;
const FLOOD_STEPS: usize = 49;
/// The most steps in flight, so that no queue overflows.
const FLOOD_WINDOW: usize = 4;

const PACE_ROUNDS: usize = 5;
const PACE_SLICES: usize = 6;
const PACE_STEP: usize = 50;
const PACE: Duration = Duration::from_millis(10);
const PACE_WARM_UP: usize = 1;

const CONNECT_ROUNDS: usize = 9;
const CONNECT_CLIENTS: usize = 50;

const MEMORY_ROUNDS: usize = 3;
/// The number of clients after the first.
const FURTHER: usize = 40;

const ONE: usize = 1;

const OVER_TLS: &str = "over TLS";
const PLAIN: &str = "without TLS";
const MOSQUITTO: &str = "over TLS, Mosquitto with its defaults";

const FLOOD_WORK: Figure = Figure {
    what: "CPU time of the client's process for one uplink of a flood",
    unit: "µs",
    reach: Reach::AtMost(1.05),
};
const FLOOD_SPEED: Figure = Figure {
    what: "uplinks/s of a flood",
    unit: "1000/s",
    reach: Reach::AtLeast(0.95),
};
const PACE_WORK: Figure = Figure {
    what: "CPU time of the client's process for one uplink, 100 a second",
    unit: "µs",
    reach: Reach::AtMost(1.05),
};
const PACE_HALF: Figure = Figure {
    what: "latency p50, 100 a second",
    unit: "µs",
    reach: Reach::AtMost(1.05),
};
const PACE_WORST: Figure = Figure {
    what: "latency p99, 100 a second",
    unit: "µs",
    reach: Reach::AtMost(1.3),
};
const CONNECT_HALF: Figure = Figure {
    what: "`connect`, median of 50 clients in turn",
    unit: "µs",
    reach: Reach::AtMost(1.05),
};
const CONNECT_WORST: Figure = Figure {
    what: "`connect`, slowest of 50 clients in turn",
    unit: "µs",
    reach: Reach::AtMost(1.05),
};
const FIRST: Figure = Figure {
    what: "resident memory of a process with one idle client",
    unit: "KiB",
    reach: Reach::AtMost(1.05),
};
const EACH_FURTHER: Figure = Figure {
    what: "resident memory of each further idle client",
    unit: "KiB",
    reach: Reach::AtMost(1.3),
};

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(400));
    println!("## wire: our own sockets and TLS, against Paho's sockets and OpenSSL\n");
    let builds = match Builds::find() {
        Ok(builds) => builds,
        Err(why) => {
            println!("Left out: {why}\n");
            return left_out(14, "our own sockets and TLS", BEFORE, Reach::Stated, &why);
        }
    };
    println!(
        "Each client runs in its own process. The same program is built with this checkout and with the last commit before the\n\
         change. The server runs in the benchmark's process, with `rustls` for TLS.\n"
    );
    if let Some(why) = &builds.lacking {
        println!("The rows of the earlier commit are left out: {why}\n");
    }
    let certificates = Certificates::new();
    let authority = certificates.authority.certificate_file();
    let sources = [
        Source::start_tls(tls::server_config(&certificates.server)),
        Source::start(0),
    ];
    let [tls, plain] = sources.each_ref().map(|source| source.address().port());
    let bench = Bench {
        builds,
        ways: [Way::tls(OVER_TLS, tls, authority), Way::plain(PLAIN, plain)],
        sources,
    };
    bench.flood();
    bench.pace();
    bench.connect(&certificates);
    bench.memory();
}

/// What is measured for each side.
struct Figure {
    what: &'static str,
    unit: &'static str,
    /// The mark over TLS, against the earlier commit; otherwise the ratio is only stated.
    reach: Reach,
}

struct Bench {
    builds: Builds,
    ways: [Way; 2],
    /// The servers of each way.
    sources: [Source; 2],
}

impl Bench {
    /// The sides, in the order of their rows.
    fn sides(&self) -> impl Iterator<Item = (&Build, &Way, &Source)> {
        let ways = self.ways.iter().zip(&self.sources);
        ways.flat_map(|(way, source)| {
            (self.builds.all.iter()).map(move |build| (build, way, source))
        })
    }

    /// Prints a table for each way, and notes a row in the table on top of the results.
    fn print<'a>(&self, figure: &Figure, ways: impl IntoIterator<Item = &'a Way>, rows: &[Row]) {
        for (way, rows) in ways.into_iter().zip(rows.chunks(self.builds.all.len())) {
            let what = format!("{}, {}", figure.what, way.name);
            print(&what, figure.unit, rows);
            let reach = match way.is_tls() {
                true => figure.reach,
                false => Reach::Stated,
            };
            match (rows, &self.builds.lacking) {
                ([before, after], _) => note(14, &what, BEFORE, reach, &after.ratios(before)),
                (_, Some(why)) => left_out(14, &what, BEFORE, reach, why),
                _ => unreachable!("the earlier build is there, or why it is not"),
            }
        }
    }

    fn flood(&self) {
        let sides = self.sides().map(|(build, way, source)| {
            let uplinks = Uplinks::v3();
            Side::new(build.name, move || flood(build, way, source, &uplinks))
        });
        let [work, speed] = interleave(FLOOD_ROUNDS, sides.collect());
        println!(
            "Flood: {} v3 uplinks of {} bytes into an uplink callback, at most {} in flight.\n",
            FLOOD_STEP * FLOOD_STEPS,
            Uplinks::v3().size(),
            FLOOD_STEP * FLOOD_WINDOW,
        );
        self.print(&FLOOD_WORK, &self.ways, &work);
        self.print(&FLOOD_SPEED, &self.ways, &speed);
    }

    fn pace(&self) {
        let rows = || self.sides().map(|(build, ..)| Row::new(build.name));
        let [mut work, mut halves, mut worst] = [(); 3].map(|()| rows().collect::<Vec<_>>());
        // The first round does not count.
        for number in 0..=PACE_ROUNDS {
            for (side, paced) in self.pace_round().into_iter().enumerate() {
                if number > 0 {
                    work[side].figures.push(paced.work);
                    halves[side].figures.push(quantile(&paced.ages, 0.5));
                    worst[side].figures.push(quantile(&paced.ages, 0.99));
                }
            }
        }
        println!(
            "100 a second: {} such uplinks in each of {PACE_ROUNDS} rounds, in runs of {PACE_STEP}, the sides in random order. Latency\n\
             is measured from just before the server's write to the callback.\n",
            PACE_SLICES * PACE_STEP,
        );
        self.print(&PACE_WORK, &self.ways, &work);
        self.print(&PACE_HALF, &self.ways, &halves);
        self.print(&PACE_WORST, &self.ways, &worst);
    }

    /// Measures each side, in a new process.
    fn pace_round(&self) -> Vec<Paced> {
        let mut sides: Vec<_> = self
            .sides()
            .map(|(build, way, source)| Paced::start(build, way, source))
            .collect();
        for slice in 0..PACE_WARM_UP + PACE_SLICES {
            // In a fixed order the scheduler would favour one side: the cores on which it leaves
            // the threads of one side affect the next.
            let mut order: Vec<_> = sides.iter_mut().collect();
            fastrand::shuffle(&mut order);
            for side in order {
                side.slice(slice >= PACE_WARM_UP);
            }
        }
        sides
    }

    fn connect(&self, certificates: &Certificates) {
        println!("`connect`: {CONNECT_CLIENTS} clients one after another, which stay connected.\n");
        let mut ways: Vec<_> = self.ways.iter().collect();
        let broker = Broker::start_tls(&certificates.server);
        let authority = certificates.authority.certificate_file();
        let with_broker = broker
            .as_ref()
            .map(|broker| Way::tls(MOSQUITTO, broker.address().port(), authority));
        match &with_broker {
            Ok(way) => ways.insert(0, way),
            Err(why) => {
                println!("{MOSQUITTO}: left out: {why}\n");
                for figure in [CONNECT_HALF, CONNECT_WORST] {
                    let what = format!("{}, {MOSQUITTO}", figure.what);
                    left_out(14, &what, BEFORE, figure.reach, why);
                }
            }
        }
        let sides = ways.iter().flat_map(|way| {
            (self.builds.all.iter()).map(move |build| {
                Side::new(build.name, move || {
                    let clients = Clients::start(build, way, CONNECT_CLIENTS, ONE);
                    [0.5, 1.0].map(|part| quantile(&clients.connecting, part))
                })
            })
        });
        let [halves, slowest] = interleave(CONNECT_ROUNDS, sides.collect());
        self.print(&CONNECT_HALF, ways.iter().copied(), &halves);
        self.print(&CONNECT_WORST, ways, &slowest);
    }

    fn memory(&self) {
        println!("Idle clients, connected and subscribed: one, and {FURTHER} further ones.\n");
        let (build, way, _) = self.sides().next().expect("there is one");
        if Clients::start(build, way, 1, ONE).memory().is_none() {
            println!("This system does not report memory use.\n");
            return;
        }
        let sides = self.sides().map(|(build, way, _)| {
            Side::new(build.name, move || {
                let [one, all] = [1, 1 + FURTHER].map(|count| {
                    let memory = Clients::start(build, way, count, ONE).memory();
                    memory.expect("the system reports memory use").resident
                });
                [one, (all - one) / FURTHER as f64]
            })
        });
        let [first, further] = interleave(MEMORY_ROUNDS, sides.collect());
        self.print(&FIRST, &self.ways, &first);
        self.print(&EACH_FURTHER, &self.ways, &further);
    }
}

/// Returns the microseconds of CPU time for one uplink, and thousands of uplinks per second.
fn flood(build: &Build, way: &Way, source: &Source, uplinks: &Uplinks) -> [f64; 2] {
    let (mut client, link) = Clients::start_one(build, way, source, FLOOD_STEP);
    let worked = client.work();
    let start = Instant::now();
    for step in 0..FLOOD_STEPS + FLOOD_WINDOW {
        if step >= FLOOD_WINDOW {
            client.report();
        }
        if step < FLOOD_STEPS {
            link.flood(uplinks, FLOOD_STEP);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let worked = client.work() - worked;
    let count = (FLOOD_STEPS * FLOOD_STEP) as f64;
    [worked / count, count / seconds / 1e3]
}

/// A client that receives uplinks at a pace, and what it has reported.
struct Paced {
    client: Clients,
    link: Link,
    uplinks: StampedUplinks,
    /// Microseconds of CPU time for one uplink.
    work: f64,
    /// Microseconds from the write to the callback.
    ages: Vec<f64>,
}

impl Paced {
    fn start(build: &Build, way: &Way, source: &Source) -> Self {
        let (client, link) = Clients::start_one(build, way, source, PACE_STEP);
        Self {
            client,
            link,
            uplinks: StampedUplinks::new(),
            work: 0.0,
            ages: Vec::new(),
        }
    }

    fn slice(&mut self, counts: bool) {
        let worked = self.client.work();
        let start = Instant::now();
        for number in 1..=PACE_STEP as u32 {
            let due = start + number * PACE;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.link.write_one(&self.uplinks.next());
        }
        let ages = self.client.report();
        let worked = self.client.work() - worked;
        assert_eq!(
            ages.len(),
            PACE_STEP,
            "each uplink carries its time of writing"
        );
        if counts {
            self.work += worked / (PACE_SLICES * PACE_STEP) as f64;
            self.ages.extend(ages);
        }
    }
}

/// Uplinks of one device that carry the time of writing.
struct StampedUplinks {
    uplinks: Uplinks,
    /// The place of the digits of the time.
    place: usize,
}

/// It has as many digits as the nanoseconds since 1970.
const STAMP: &str = "1111111111111111111";

impl StampedUplinks {
    fn new() -> Self {
        let uplinks = Uplinks::of(|number| {
            let (topic, payload) = v3_uplink(number, 1);
            let stamp = format!(r#""written_ns":{STAMP}"#);
            (topic, payload.replace(r#""battery_mv":3612"#, &stamp))
        });
        let packet = uplinks.one();
        let place = packet
            .windows(STAMP.len())
            .position(|digits| digits == STAMP.as_bytes());
        Self {
            uplinks,
            place: place.expect("an uplink has a place for the time"),
        }
    }

    /// Returns an uplink with the current time.
    fn next(&self) -> Vec<u8> {
        let mut packet = self.uplinks.one();
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("it is past 1970");
        let now = now.as_nanos().to_string();
        packet[self.place..][..STAMP.len()].copy_from_slice(now.as_bytes());
        packet
    }
}
