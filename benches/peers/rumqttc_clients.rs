//! Clients of `rumqttc`, each with its connection in a thread that parses the uplinks as JSON.

#![forbid(unsafe_code)]

#[path = "../clients/program.rs"]
mod program;
#[path = "../clients/value.rs"]
mod value;

use std::{
    fs,
    sync::mpsc::{self, Sender},
    thread::{self, JoinHandle},
};

use program::{APP, Client, KEY, Server, Steps, run};
use rumqttc::{Connection, Event, MqttOptions, Outgoing, Packet, QoS, Transport};

/// Matches everything that a v3 network publishes about an application's devices.
const FILTER: &str = "v3/bench-app@ttn/devices/+/#";

/// The requests that wait for the connection.
const CAPACITY: usize = 16;

fn main() {
    run::<Rumqttc>();
}

struct Rumqttc {
    client: rumqttc::Client,
    /// Connects as soon as a thread reads its events.
    idle: Option<(Connection, Steps)>,
    reader: Option<JoinHandle<()>>,
}

impl Client for Rumqttc {
    fn create(server: &Server, number: usize, steps: Steps) -> Self {
        let (_, address) = server.address.split_once("://").expect("it has a scheme");
        let (host, port) = address.split_once(':').expect("it has a port");
        let port = port.parse().expect("it is a number");
        let mut options = MqttOptions::new(format!("rumqttc-{number}"), host, port);
        options.set_credentials(APP, KEY);
        if let Some(authority) = &server.authority {
            let authority = fs::read(authority).expect("the authority's file can be read");
            options.set_transport(Transport::tls(authority, None, None));
        }
        let (client, connection) = rumqttc::Client::new(options, CAPACITY);
        Self {
            client,
            idle: Some((connection, steps)),
            reader: None,
        }
    }

    fn connect(&mut self, _: &Server) {
        let (connection, steps) = self.idle.take().expect("it connects once");
        let (granted, grants) = mpsc::channel();
        let subscribed = self.client.subscribe(FILTER, QoS::AtMostOnce);
        subscribed.expect("there is room for a request");
        self.reader = Some(thread::spawn(move || read(connection, steps, &granted)));
        grants.recv().expect("the server grants it");
    }

    fn close(self) {
        (self.client.disconnect()).expect("there is room for a request");
        let reader = self.reader.expect("it is connected");
        reader.join().expect("the reader does not panic");
    }
}

/// Reads until the client disconnects.
fn read(mut connection: Connection, mut steps: Steps, granted: &Sender<()>) {
    for event in connection.iter() {
        match event.expect("the connection stays") {
            Event::Incoming(Packet::Publish(publish)) => {
                steps.count(value::read(&publish.payload));
            }
            Event::Incoming(Packet::SubAck(_)) => {
                // Nobody may wait for a further one.
                let _ = granted.send(());
            }
            Event::Outgoing(Outgoing::Disconnect) => return,
            _ => {}
        }
    }
}
