//! Uplinks at a pace.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Clients, Program, Stage, Way, stamped::StampedUplinks};
use crate::common::{
    report::{Row, quantile},
    source::{Link, Source},
};

const ROUNDS: usize = 5;
const SLICES: usize = 6;
const STEP: usize = 50;
const PACE: Duration = Duration::from_millis(10);
const WARM_UP: usize = 1;

impl Stage {
    /// Returns the microseconds of CPU time for one uplink, and the latency p50 and p99 in
    /// microseconds, which are not numbers for a client that does not read the time of writing.
    pub fn pace(&self) -> [Vec<Row>; 3] {
        println!(
            "100 a second: {} such uplinks in each of {ROUNDS} rounds, in runs of {STEP}, the sides in random order.\n",
            SLICES * STEP,
        );
        let rows = || self.sides().map(|(program, ..)| Row::new(program.name));
        let mut tables = [(); 3].map(|()| rows().collect::<Vec<_>>());
        // The first round does not count.
        for number in 0..=ROUNDS {
            for (side, paced) in self.pace_round().iter().enumerate() {
                if number > 0 {
                    for (rows, figure) in tables.iter_mut().zip(paced.figures()) {
                        rows[side].figures.push(figure);
                    }
                }
            }
        }
        tables
    }

    /// Measures each side, in a new process.
    fn pace_round(&self) -> Vec<Paced> {
        let mut sides: Vec<_> = self
            .sides()
            .map(|(program, way, source)| Paced::start(program, way, source))
            .collect();
        for slice in 0..WARM_UP + SLICES {
            // In a fixed order the scheduler would favour one side: the cores on which it leaves
            // the threads of one side affect the next.
            let mut order: Vec<_> = sides.iter_mut().collect();
            fastrand::shuffle(&mut order);
            for side in order {
                side.slice(slice >= WARM_UP);
            }
        }
        sides
    }
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
    fn start(program: &Program, way: &Way, source: &Source) -> Self {
        let (client, link) = Clients::start_one(program, way, source, STEP);
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
        for number in 1..=STEP as u32 {
            let due = start + number * PACE;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.link.write_one(&self.uplinks.next());
        }
        let ages = self.client.report();
        let worked = self.client.work() - worked;
        assert!(
            [0, STEP].contains(&ages.len()),
            "the client reads the time of writing of each uplink, or of none"
        );
        if counts {
            self.work += worked / (SLICES * STEP) as f64;
            self.ages.extend(ages);
        }
    }

    /// Returns the CPU time, and the latency p50 and p99.
    fn figures(&self) -> [f64; 3] {
        let [half, worst] = [0.5, 0.99].map(|part| match self.ages[..] {
            [] => f64::NAN,
            ref ages => quantile(ages, part),
        });
        [self.work, half, worst]
    }
}
