//! Uplinks as fast as the client takes them.

use std::time::Instant;

use super::{Clients, Program, Stage, Way};
use crate::common::{
    report::{Row, Side, interleave},
    source::{Source, Uplinks},
};

const ROUNDS: usize = 9;
const STEP: usize = 1_024;
const STEPS: usize = 49;
/// The most steps in flight, so that no queue overflows.
const WINDOW: usize = 4;

impl Stage {
    /// Returns the microseconds of CPU time for one uplink, and thousands of uplinks per second.
    pub fn flood(&self) -> [Vec<Row>; 2] {
        println!(
            "Flood: {} v3 uplinks of {} bytes, at most {} in flight.\n",
            STEP * STEPS,
            Uplinks::v3().size(),
            STEP * WINDOW,
        );
        let sides = self.sides().map(|(program, way, source)| {
            let uplinks = Uplinks::v3();
            Side::new(program.name, move || flood(program, way, source, &uplinks))
        });
        interleave(ROUNDS, sides.collect())
    }
}

fn flood(program: &Program, way: &Way, source: &Source, uplinks: &Uplinks) -> [f64; 2] {
    let (mut client, link) = Clients::start_one(program, way, source, STEP);
    let worked = client.work();
    let start = Instant::now();
    for step in 0..STEPS + WINDOW {
        if step >= WINDOW {
            client.report();
        }
        if step < STEPS {
            link.flood(uplinks, STEP);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let worked = client.work() - worked;
    let count = (STEPS * STEP) as f64;
    [worked / count, count / seconds / 1e3]
}
