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
//! The simulator behaves as the real servers were measured to behave: The Things Stack 3.32.1, and the
//! last version of V2 with its own broker. The tests compare it with recordings of both.
//!
//! On v3, `#` and `v3/#` refer to the client's application, and so does `+` in place of its id.
//! Requests are read by protobuf's rules. A request that the server cannot read, or for an unknown
//! device, leaves no trace; other mistakes are reported on `down/failed`, once for each downlink of the
//! request. Messages have the members that the server prints, in the same order and without zeros.
//!
//! Deliberate differences of v3:
//!
//! * A new device has a session, uses EU868 and exchanges no MAC commands. A downlink gets its
//!   frame counter when it is sent, not when it is queued. A downlink for fixed gateways or a fixed time
//!   blocks the queue of a class A device.
//!
//! ## MQTT
//!
//! Both networks use the same broker library.
//!
//! | Matter | Like the real server | Different by choice |
//! |---|---|---|
//! | CONNECT | Protocol levels 3 and 4; code 1 for others. Code 5 for any mistake in key, user name, id or account. A client id that is not UTF-8 and bytes after the last field are accepted. | Code 3 only with [`Quirks::connection_limit`]. |
//! | Rights | A key without rights is deaf and mute on v3; V2 refuses it. Connected clients keep their rights. A [deleted key](Simulator::remove_key) is refused at the next CONNECT. | V2 remembers the rights of a key for a minute; the simulator does not. |
//! | Sessions | Nothing is kept for an absent client. Two clients with the same id can be connected. | |
//! | Wills | v3 accepts them and never publishes them. V2 publishes one if the client may write to its topic. | |
//! | Filters | Any filter of the client's application is granted, others get 0x80. `#` and `+` are replaced by the application id. `x/#` does not match `x`. | |
//! | Delivery | At QoS 0, not retained, once however many filters match. | In the order of the causes, except the fields of V2. The real brokers deliver with several threads. |
//! | PUBLISH | Acknowledged and dropped if it is forbidden. A repeated message is executed again at QoS 1, but not at QoS 2. Packet identifier 0 gets its answer, QoS 3 is ignored. | |
//! | Order | A packet is handled before the next one is read: every answer comes after the events of what was published before. | |
//! | Mistakes | Malformed filters, topics with wildcards and unexpected packets end the connection. Reserved flags, a PINGREQ with a body, a SUBSCRIBE without filters and text that is not UTF-8 are tolerated. | |
//! | Keep-alive | The connection ends after exactly one and a half intervals, without an interval after an hour. | |
//! | End | If a subscribed client closes, what the server has not read is lost. If it closes only its output, everything is handled. | The server ends with FIN even when it has not read everything; the real ones with RST. |
//! | Rates | V2 reads 10 packets per second ([`Quirks::rate_limit`]). On v3, the first PUBLISH above the rate ends the connection, after the events of those before it ([`Quirks::publish_rate`]). | v3 has no rate unless a quirk sets one. |
//! | Slow clients | 64 messages are kept for a client. | A full buffer makes the publisher wait; the real brokers drop the message ([`WhenFull`]). |
//! | Events | | They are never late, reordered or lost unless a quirk says so ([`Quirks::event_delay`], [`Quirks::shuffle_events`], [`Quirks::lose_events`]). After a restart of the real v3, the first uplinks may change places. |
//! | TLS | | None. |
//!
//! ## V2
//!
//! | Matter | Like the real server | Different by choice |
//! |---|---|---|
//! | Messages | Members, their order and absence, number formats, escapes and error texts. | Signal strengths and identifiers are made up, also the payload and integrity code of a frame in `down/sent`; its header and size are right. |
//! | Uplinks | The first one of a device is a retry if its counter is 0, also after a join if the last counter was 0. Repetitions of unconfirmed ones are not heard. Gateways come in any order. | Published at once, not after 200 ms. Any counter that a test sets is accepted, as for a device without the frame counter check. Coding rate 4/5; no second antenna, no fine timestamps, no MAC commands. |
//! | Simulated uplinks | No radio data, no source of the location, no retry. | |
//! | Attributes | Published unless decoding failed. The last servers add a warning ([`Quirks::shutdown_warning`]). | Off by default: the simulator is the network in service. |
//! | Field topics | In any order, and sometimes before their uplink. A field with an empty name is published on the topic of the uplink. One with `#` costs the handler its connection: later messages of the uplink and the requests of that moment are lost. | The handler connects again after 50 ms and loses nothing else. [`Quirks::field_topics`] turns them off. |
//! | Payload functions | Decoder errors are published before or after the uplink. A rejected uplink is not published; the downlink it acknowledges is sent again. | Functions of the program instead of JavaScript: no converters, no time limit, no CayenneLPP. |
//! | Joins | Gateways have no location, the device has its own. Without a gateway that can transmit, nothing is published. | On one frequency at SF7BW125, heard by one gateway. |
//! | Device events | The location is left out unless it changed. | The time is in UTC, not in the zone of the server. |
//! | Requests | A request that cannot be read, or for an unknown device, leaves no trace. Keys in any case. | |
//! | Bursts | Queued in order behind the network's own broker, in any order behind a [plain one](Quirks::plain_broker). | |
//! | Queue | `replace`, `first`, `last`; a confirmed downlink is sent after each uplink until it is acknowledged or replaced. | |
//! | Transmission | In the first or second receive window, slow frames always in the second; FSK in the first. | Always possible: gateways have no duty cycle and are never busy. A receive window lasts [as long as set](SimulatorBuilder::receive_window). |
//! | Addresses | From a block of the network. | `2601` for all devices. |

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
