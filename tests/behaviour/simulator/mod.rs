//! The simulated V2 network, tested by bytes on a socket; and what both networks share.

mod activity;
mod connections;
mod devices;
mod downlinks;
mod payloads;
mod quirks;
#[cfg(feature = "tls")]
mod tls;
mod topics;
mod uplinks;

use std::time::Duration;

use ttn::Network;
use ttn::simulator::{Device, Simulator, SimulatorBuilder};

use crate::support::raw::Raw;

const APP: &str = "simulated-app";
const KEY: &str = "ttn-account-v2.simulated-key";
const UP: &str = "simulated-app/devices/+/up";
const EVENTS: &str = "simulated-app/devices/+/events/#";
const DOWN: &str = "simulated-app/devices/pump-1/down";

/// Returns a builder of networks that read any number of packets per second.
fn builder() -> SimulatorBuilder {
    Simulator::builder(Network::V2).quirks(|quirks| quirks.rate_limit = None)
}

fn start() -> Simulator {
    builder().start().unwrap()
}

/// Starts a network that sends downlinks before `uplink` returns.
fn instant() -> Simulator {
    builder()
        .receive_window(Duration::ZERO)
        .seed(7)
        .start()
        .unwrap()
}

fn pump(network: &Simulator) -> (Device, Raw) {
    let device = network.device("pump-1");
    (device, Raw::subscribed(network, &[UP, EVENTS]))
}

/// Returns the ends of the topics of the next messages.
fn kinds(client: &mut Raw, count: usize) -> Vec<String> {
    let start = "simulated-app/devices/pump-1/";
    let kind = |client: &mut Raw| client.message().0.strip_prefix(start).unwrap().to_owned();
    (0..count).map(|_| kind(client)).collect()
}
