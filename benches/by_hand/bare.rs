//! Bare Paho clients, whose callbacks do nothing but count.

#![forbid(unsafe_code)]

mod paho;
#[path = "../clients/program.rs"]
mod program;

use paho_mqtt::AsyncClient;
use program::{Client, Server, Steps, run};

fn main() {
    run::<AsyncClient>();
}

impl Client for AsyncClient {
    fn create(server: &Server, number: usize, mut steps: Steps) -> Self {
        let client = paho::create(&server.address, number);
        client.set_message_callback(move |_, message| {
            if message.is_some() {
                steps.count(None);
            }
        });
        client
    }

    fn connect(&mut self, server: &Server) {
        paho::connect(self, server);
    }

    fn close(self) {
        paho::close(self);
    }
}
