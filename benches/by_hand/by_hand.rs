//! Clients as a program has them that receives uplinks with Paho and `serde_json` alone.

#![forbid(unsafe_code)]

mod paho;
#[path = "../clients/program.rs"]
mod program;
#[path = "../clients/value.rs"]
mod value;

use std::thread::{self, JoinHandle};

use paho_mqtt::AsyncClient;
use program::{Client, Server, Steps, run};

fn main() {
    run::<ByHand>();
}

struct ByHand {
    client: AsyncClient,
    reader: JoinHandle<()>,
}

impl Client for ByHand {
    fn create(server: &Server, number: usize, mut steps: Steps) -> Self {
        let client = paho::create(&server.address, number);
        let messages = client.start_consuming();
        let reader = thread::spawn(move || {
            for message in messages.iter().flatten() {
                steps.count(value::read(message.payload()));
            }
        });
        Self { client, reader }
    }

    fn connect(&mut self, server: &Server) {
        paho::connect(&self.client, server);
    }

    fn close(self) {
        paho::close(self.client);
        self.reader.join().expect("the reader does not panic");
    }
}
