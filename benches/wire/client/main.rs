//! Clients of this crate in their own process.

#![forbid(unsafe_code)]

#[path = "../../clients/program.rs"]
mod program;

use program::{APP, Client, KEY, Server, Steps, run};
use ttn::{FrameStats, MqttClient, UplinkMessage};

fn main() {
    run::<MqttClient>();
}

/// A client with default options.
impl Client for MqttClient {
    fn create(server: &Server, _: usize, mut steps: Steps) -> Self {
        let client = MqttClient::builder(APP, KEY)
            .mqtt_address(&server.address)
            .reconnect(false);
        let client = match &server.authority {
            None => client,
            Some(file) => client.ca_file(file),
        };
        let client = client.build().expect("the options are valid");
        client.set_uplink_callback(move |uplink, _| steps.count(written_ns(uplink)));
        client
    }

    fn connect(&mut self, _: &Server) {
        MqttClient::connect(self).expect("the server accepts");
    }

    /// Each finding about a counter is one more event to handle.
    fn check(&self) {
        let frames = self.stats().frames;
        assert_eq!(frames, FrameStats::default(), "the counters rise by one");
    }

    fn close(self) {
        MqttClient::close(&self).expect("there are no callbacks left");
    }
}

fn written_ns(uplink: &UplinkMessage) -> Option<u64> {
    uplink.payload_fields.get("written_ns")?.as_u64()
}
