//! Clients that are connected, subscribed and idle.

use super::{Clients, Stage};
use crate::common::report::{Row, Side, interleave};

const ROUNDS: usize = 3;
/// The number of clients after the first.
const FURTHER: usize = 40;

const ONE: usize = 1;

impl Stage {
    /// Returns the resident KiB of a process with one client, and of each further client. Returns
    /// `None` on a system that does not report memory use.
    pub fn memory(&self) -> Option<[Vec<Row>; 2]> {
        println!("Idle clients, connected and subscribed: one, and {FURTHER} further ones.\n");
        let (program, way, _) = self.sides().next().expect("there is one");
        if Clients::start(program, way, 1, ONE).memory().is_none() {
            println!("This system does not report memory use.\n");
            return None;
        }
        let sides = self.sides().map(|(program, way, _)| {
            Side::new(program.name, move || {
                let [one, all] = [1, 1 + FURTHER].map(|count| {
                    let memory = Clients::start(program, way, count, ONE).memory();
                    memory.expect("the system reports memory use").resident
                });
                [one, (all - one) / FURTHER as f64]
            })
        });
        Some(interleave(ROUNDS, sides.collect()))
    }
}
