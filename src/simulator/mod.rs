//! A network inside your process, to write and test programs without an account, a radio or a
//! broker.
//!
//! [`Simulator::start`] opens a port of 127.0.0.1 that speaks MQTT and behaves like The Things Stack
//! v3 or the V2 network: it knows applications, keys and devices, publishes what devices send, queues
//! what applications send, and reports what happens to it. Clients connect to
//! [`Simulator::mqtt_address`] with [`Simulator::app_id`] and [`Simulator::access_key`].
//!
//! ```
//! use ttn::Network;
//! use ttn::simulator::Simulator;
//!
//! let network = Simulator::start(Network::V3)?;
//! let (address, app_id, access_key) = (network.mqtt_address(), network.app_id(), network.access_key());
//! println!("connect to {address} as {app_id} with {access_key}");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Devices
//!
//! A [`Device`] joins and sends uplinks on request. Each uplink opens a receive window of 100 ms. The
//! next downlink in the queue when the window closes reaches the device, which keeps it in
//! [`Device::received`] and acknowledges a confirmed one with its next uplink.
//! [Class C](Device::class_c) devices receive downlinks at once.
//!
//! ```
//! use std::time::Duration;
//! use serde_json::json;
//! use ttn::Network;
//! use ttn::simulator::{Simulator, Uplink};
//!
//! let network = Simulator::start(Network::V3)?;
//! let device = network.device("soil-probe-07");
//! device.join();
//! device.uplink(2, [0x01, 0x67, 0x01, 0x10]);
//! device.send(Uplink::new(3, []).confirmed(true).gateways(2));
//! assert_eq!(device.next_downlink(Duration::from_millis(1)), None);
//!
//! network.set_decoder(|_port, bytes| Ok(Some(json!({"bytes": bytes.len()}))));
//! device.uplink(2, [1, 2, 3]);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Inspecting clients
//!
//! Tests see what their client did, and wait for it without sleeping: with [`Simulator::clients`],
//! [`Simulator::published`] and the `wait_for_` methods. [`Device::queue`] returns what the network
//! holds for a device.
//!
//! ```
//! use std::time::Duration;
//! use ttn::Network;
//! use ttn::simulator::Simulator;
//!
//! let network = Simulator::start(Network::V3)?;
//! assert!(network.wait_for_clients(0, Duration::from_secs(5)));
//! assert!(network.published().is_empty());
//! assert!(network.device("pump-1").queue().is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Injecting faults
//!
//! The network can stop and restart, lose its gateways or its clients, fail to transmit, publish
//! anything on any topic, and [misbehave](Quirks) in many ways.
//!
//! ```
//! use ttn::Network;
//! use ttn::simulator::Simulator;
//!
//! let network = Simulator::start(Network::V3)?;
//! network.publish("v3/simulated-app@ttn/devices/pump-1/up", "not JSON");
//! network.transmission_fails(Some("TOO_LATE"));
//! network.gateways_down(true);
//! network.disconnect_clients();
//! network.stop();
//! network.restart()?;
//! network.quirks(|quirks| quirks.ignore_pings = true);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # The V2 network
//!
//! V2 starts and works in the same way. Features of only one of the networks are marked; using one
//! on the other network panics if a test would otherwise pass or fail for the wrong reason.
//!
//! ```
//! use ttn::Network;
//! use ttn::simulator::Simulator;
//!
//! let network = Simulator::start(Network::V2)?;
//! assert_eq!(network.app_id(), "simulated-app");
//! network.device("soil-probe-07").uplink(2, [0x01, 0x67]);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Fidelity
//!
//! On both networks, any mistake in a key, an id or an account leads to CONNACK 5, and filters of
//! other applications to 0x80. Forbidden publishes are acknowledged and dropped. `x/#` does not match
//! `x`. Delivery is at QoS 0; nothing is retained or kept for an absent client; a repeated QoS 1
//! message is executed again; and two clients with the same id can be connected.
//!
//! On v3, `#` and `v3/#` refer to the client's application, and so does `+` in place of its id.
//! Requests are read by protobuf's rules. A request that the server cannot read, or for an unknown
//! device, leaves no trace; other mistakes are reported on `down/failed`, once for each downlink of the
//! request. Messages have the members that the server prints, in the same order and without zeros.
//!
//! On V2, `+` and `#` in place of the application id refer to the client's application. A downlink
//! that cannot be read, or for an unknown device, leaves no trace; the events of others match the V2
//! handler's, including the order of keys.
//!
//! Deliberate differences:
//!
//! * Messages reach all clients in the order of their causes, and the downlinks of a client are queued
//!   in the order in which it sends them. The real networks do not guarantee that.
//! * Events are never late, reordered or lost inside the network unless a quirk says so
//!   ([`Quirks::event_delay`], [`Quirks::shuffle_events`], [`Quirks::lose_events`]). By default, a slow
//!   client makes the publisher wait before it loses messages ([`WhenFull`]).
//! * There is no rate limit unless a quirk sets one: [that of V2](Quirks::rate_limit) or [that of
//!   v3](Quirks::publish_rate).
//! * On V2, the frame in `down/sent` has the right header and size, but its payload and integrity code
//!   are made up. The answer is sent at the frequency and data rate of the uplink.
//! * On v3, a new device has a session, uses EU868 and exchanges no MAC commands. A downlink gets its
//!   frame counter when it is sent, not when it is queued. A downlink for fixed gateways or a fixed time
//!   blocks the queue of a class A device.
//! * There is no TLS.

mod api;
mod json;
mod lorawan;
mod mqtt;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod properties;
mod quirks;
mod sync;
mod v2;
mod v3;

pub use api::{Device, Simulator, SimulatorBuilder};
pub use lorawan::{
    Decoded, DownlinkConstraint, Encoded, Gateway, Location, Normalized, QueuedDownlink, Received,
    Rights, Uplink,
};
pub use mqtt::ClientInfo;
pub use quirks::{PublishRate, Quirks, WhenFull};
