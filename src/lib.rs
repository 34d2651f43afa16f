//! A blocking, thread-based client for [The Things Network](https://www.thethingsnetwork.org):
//! uplinks by callback or channel, downlinks, joins and device events, in synchronous programs and
//! short scripts, without an async runtime.
//!
//! It ports the Python SDK's `MQTTClient` method by method ([how to port a
//! script](porting_from_python)), and stands on Eclipse Paho's C library. It speaks the API of V2
//! networks; the public one was closed in December 2021, private ones run on.
//!
//! # Uplinks
//!
//! ```
//! use ttn::MqttClient;
//! # let network = ttn::simulator::Simulator::start(ttn::Network::V2)?;
//! # let (app_id, access_key, address) = (network.app_id(), network.access_key(), network.mqtt_address());
//!
//! let client = MqttClient::builder(app_id, access_key).mqtt_address(address).build()?;
//! client.set_uplink_callback(|uplink, client| {
//!     println!("{} sent {}", uplink.dev_id, uplink.payload_hex());
//!     println!("temperature: {}", uplink.payload_fields["temperature"]);
//! #   client.close()
//! });
//! client.connect()?; // returns when uplinks arrive, or with the reason why not
//! # network.device("soil-probe-07").uplink(1, [1]);
//! client.wait();     // until something closes the client
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An [`UplinkMessage`] has the names of the V2 API. Several callbacks for one event are called in
//! the order in which they were added; a callback may return a `Result`, and its error, like a
//! panic, is logged and reported, and stops nothing.
//!
//! # Events
//!
//! What callbacks hear, and more, also comes as [`Event`] from any number of independent [`Events`]
//! streams, each a bounded crossbeam channel:
//!
//! ```
//! use std::time::Duration;
//! use ttn::{Event, crossbeam_channel::{select, tick}};
//! # let network = ttn::simulator::Simulator::start(ttn::Network::V2)?;
//! # let client = ttn::MqttClient::builder(network.app_id(), network.access_key())
//! #     .mqtt_address(network.mqtt_address()).build()?;
//!
//! let events = client.events();
//! let ticker = tick(Duration::from_millis(10));
//! client.connect()?;
//! # network.device("soil-probe-07").uplink(1, [1]);
//! loop {
//!     select! {
//!         recv(events.receiver()) -> event => match event? {
//!             Event::Uplink(uplink) => break println!("{} sent something", uplink.dev_id),
//!             Event::Disconnected(lost) => println!("{}", lost.error),
//!             Event::Lagged(missed) => println!("too slow: {missed} events lost"),
//!             _ => {}
//!         },
//!         recv(ticker) -> _ => println!("other work"),
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Downlinks
//!
//! A downlink is hex text, base64 text, bytes or a JSON object, sent on FPort 1, unconfirmed, in
//! place of what waits for the device, unless a [`Downlink`] says otherwise. All that the network
//! would drop without a word is an error before anything leaves the machine.
//!
//! ```
//! use std::time::Duration;
//! use serde_json::json;
//! use ttn::{Downlink, DownlinkStep, Event, Schedule};
//! # let network = ttn::simulator::Simulator::start(ttn::Network::V2)?;
//! # let client = ttn::MqttClient::builder(network.app_id(), network.access_key())
//! #     .mqtt_address(network.mqtt_address()).build()?;
//! # client.connect()?;
//! # let pump = network.device("pump-1");
//!
//! let events = client.events();
//! client.send("pump-1", "0102")?;
//! client.send("pump-1", json!({"led_state": "on", "counter": 1}))?;
//! let delivery = client.send("pump-1", Downlink::bytes([1, 2]).port(20).confirmed(true).schedule(Schedule::First))?;
//!
//! # let mut uplinks = 0;
//! loop {
//!     match events.recv_timeout(Duration::from_secs(5))? {
//!         Event::Published(mid) if mid == delivery.message_id() => println!("it has left this machine"),
//!         Event::Downlink(downlink) => match downlink.step {
//!             DownlinkStep::Queued => println!("the network has it"),
//!             DownlinkStep::Sent => println!("a gateway has sent it"),
//!             DownlinkStep::Acknowledged => break println!("the device has it"),
//!             _ => println!("{}", downlink.error),
//!         },
//!         _ => {}
//!     }
//! #   if uplinks < 50 { uplinks += 1; pump.uplink(1, [0]); }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A class A device listens only after an uplink of its own, so `Sent` may take a while. To be in
//! time for the window of an uplink, send from inside its callback.
//!
//! # Who runs your code
//!
//! | thread | runs | ends |
//! |---|---|---|
//! | yours | the methods of [`MqttClient`]; all that wait have a deadline, but [`wait`](MqttClient::wait) | |
//! | `ttn-callbacks` | callbacks, one after the other | with the last handle |
//! | `ttn-session` | connecting, subscribing, decoding; none of your code | with the last handle |
//! | Paho's two | the sockets of all clients of the process; none of your code | never |
//!
//! Every method may be called from any thread and from inside any callback, `close` and dropping
//! the client included. A slow callback delays other callbacks of the same client, and nothing
//! else. A handle that a callback captures keeps the client alive; use the one that it is given.
//!
//! # When things go wrong
//!
//! [`connect`](MqttClient::connect) says why it failed, by [`ErrorKind`] for the program and in a
//! sentence for the person. Later outages are healed: the client connects and subscribes again,
//! with growing, random delays, and reports [`Event::Disconnected`], [`Event::ConnectFailed`] and
//! [`Event::Connected`]. V2 networks keep nothing for a client that is away, so what devices sent
//! meanwhile is lost.
//!
//! A message that cannot be read is [`Event::Malformed`], with its bytes. A subscriber that does
//! not keep up loses events, and is told how many: [`Event::Lagged`]; see [`Overflow`].
//!
//! # Server, TLS, discovery
//!
//! An [MQTT address](MqttClientBuilder::mqtt_address) without a port is `mqtts://`, port 8883, with
//! the system's certificate authorities or [your own](MqttClientBuilder::ca_file); the chain and
//! the host name are checked. Plain TCP has to be asked for by `mqtt://` or another port: it shows
//! the access key to everyone on the way. Without an MQTT address a [discovery
//! server](MqttClientBuilder::discovery_address) can tell it.
//!
//! # Defaults
//!
//! | option | default |
//! |---|---|
//! | [`keep_alive`](MqttClientBuilder::keep_alive) | 30 s; a silent outage is noticed within 2.5 times this and 5 s |
//! | [`connect_timeout`](MqttClientBuilder::connect_timeout) | 10 s, discovery, name lookup and subscriptions included |
//! | [`close_timeout`](MqttClientBuilder::close_timeout) | 5 s |
//! | [`reconnect`](MqttClientBuilder::reconnect) | yes |
//! | [`reconnect_delay`](MqttClientBuilder::reconnect_delay) | 1 s growing to 60 s, with jitter |
//! | [`event_capacity`](MqttClientBuilder::event_capacity), [`overflow`](MqttClientBuilder::overflow) | 10 000 events per subscriber, the oldest give way |
//! | [`receive_capacity`](MqttClientBuilder::receive_capacity) | 10 000 messages, 64 MiB |
//! | [`send_capacity`](MqttClientBuilder::send_capacity) | 1 000 downlinks waiting, 1 000 on their way out |
//! | MQTT | 3.1.1, clean session, QoS 0, no will, a new random client id for each connection |
//!
//! # Without a network
//!
//! The feature `simulator` brings a simulated network, the module `simulator`: users, devices,
//! gateways and the server's quirks, in your process. The examples in this documentation run on it,
//! and so can your tests. `Event::decode` and `UplinkMessage::from_json` read messages that came
//! another way, such as by webhook.
//!
//! # Logging
//!
//! The `log` crate, targets `ttn::…`: `error` for callbacks that failed, `warn` for events that
//! were lost because callbacks do not keep up, `debug` for connections made, lost and refused. The
//! access key is in none of them.
//!
//! # Known problems
//!
//! * The log target `paho_mqtt` prints the connect options at level `debug`, the access key among
//!   them as a list of bytes. Do not log that target at that level.
//! * A server that publishes on a topic that is not UTF-8, or holds NUL, makes Paho abort the
//!   process. The networks' servers do not.
//! * With `panic = "abort"` a panic in a callback ends the process.
//! * When the last handle is dropped the connection ends in the background; a process that ends at
//!   once may cut that short, and what was sent last may be lost. Call
//!   [`close`](MqttClient::close).
//! * When one connection of a process fails in the very moment in which another is opened, Paho may
//!   take one for the other and end both. An attempt that ends so is repeated at once; a connection
//!   that was up is reported as lost and made again.
//! * An attempt to connect cannot be broken off inside Paho. `connect` and `close` return in time
//!   all the same; the attempt ends by itself within some seconds.
//! * At most 1 000 downlinks wait at a time, and a V2 server takes about 10 a second; a loop over
//!   more devices has to pause when `send` says [`QueueFull`](ErrorKind::QueueFull).
//!
//! # Building
//!
//! Needs a C compiler, cmake, and OpenSSL's headers; Paho's C library is compiled in. Rust 1.85 or
//! later.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod address;
mod backoff;
mod builder;
mod callbacks;
mod certificates;
mod client;
mod delivery;
mod discovery;
mod error;
mod events;
mod message;
mod network;
mod options;
mod probe;
mod route;
mod session;
#[cfg(feature = "simulator")]
pub mod simulator;
mod status;
mod transport;

#[doc = include_str!("porting_from_python.md")]
pub mod porting_from_python {}

pub use anyhow;
pub use builder::MqttClientBuilder;
pub use callbacks::{CallbackId, CallbackResult};
pub use client::MqttClient;
pub use crossbeam_channel;
pub use delivery::{Delivery, MessageId};
pub use error::{Error, ErrorKind, Result};
pub use events::{Events, Overflow};
pub use message::{
    Activation, ActivationFailed, Antenna, Battery, CallbackFailed, ClassBC, Closed, ConnectFailed,
    Connected, DeviceChange, DeviceEvent, Disconnected, Downlink, DownlinkEvent, DownlinkStep,
    ErrorDetails, Event, Gateway, KeyEnvelope, Location, LocationSolved, Malformed, Metadata,
    NetworkIds, PacketBroker, Priority, PublishFailed, QueueInvalidated, RawMessage, Relay,
    Schedule, ServiceData, Transmission, UplinkFailed, UplinkField, UplinkMessage, VersionIds,
};
pub use network::Network;
pub use serde_json;

/// The programs of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
