//! A blocking, thread-based client for [The Things Network](https://www.thethingsnetwork.org):
//! uplinks by callback or channel, downlinks, joins and device events, in synchronous programs and
//! short scripts, without an async runtime.
//!
//! It speaks to The Things Stack v3, which is what The Things Network, The Things Stack Cloud and
//! most installations run today, and to V2 networks, behind one API and with one message model. It
//! ports the V2 Python SDK's `MQTTClient` method by method ([how to port a
//! script](porting_from_python), [how to move from V2 to v3](migrating_to_v3)), and stands on
//! Eclipse Paho's C library.
//!
//! # Uplinks
//!
//! ```no_run
//! use ttn::MqttClient;
//!
//! let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1").build()?;
//! client.set_uplink_callback(|uplink, client| {
//!     println!("{} sent {}", uplink.dev_id, uplink.payload_hex());
//!     println!("temperature: {}", uplink.payload_fields["temperature"]);
//!     if let Some(gateway) = uplink.best_gateway() {
//!         println!("{} heard it with {:?} dBm", gateway.gtw_id, gateway.rssi);
//!     }
//!     client.close()
//! });
//! client.connect()?; // returns when uplinks arrive, or with the reason why not
//! client.wait();     // until something closes the client
//! # Ok::<(), ttn::Error>(())
//! ```
//!
//! An [`UplinkMessage`] has the names of the V2 API and of the Python SDK, from whichever network it
//! comes. Several callbacks for one event are called in the order in which they were added; a
//! callback may return a `Result`, and its error, like a panic, is logged and reported, and stops
//! nothing.
//!
//! # The two networks
//!
//! A client speaks v3 when its application id has an `@` or its key is one of v3, otherwise V2;
//! [`network`](MqttClientBuilder::network) says it outright. What they call things:
//!
//! | here | on V2 | on v3 |
//! |---|---|---|
//! | application id | application id, the user name | application id `@` tenant id, the user name; without tenants the id alone |
//! | access key | access key, `ttn-account-v2.…` | API key, `NNSXS.…` |
//! | server | [`mqtt_address`](MqttClientBuilder::mqtt_address) of a private installation | [`cluster`](MqttClientBuilder::cluster) of The Things Network or The Things Stack Cloud, or `mqtt_address` |
//! | [`discovery_address`](MqttClientBuilder::discovery_address) | discovery server | the stack, which knows its `mqtt-connection-info` |
//! | `hardware_serial` | hardware serial | DevEUI |
//! | `app_eui` | AppEUI | JoinEUI |
//! | `payload_raw`, `payload_fields` | payload, payload function | `frm_payload`, `decoded_payload` of the payload formatter |
//! | `counter`, `port` | counter, port | `f_cnt`, `f_port` |
//! | gateways | `metadata.gateways` | `rx_metadata` |
//! | [`Activation`] | activation | join |
//! | [`Schedule::Replace`], [`Schedule::Last`] | schedule `replace`, `last` | `down/replace`, `down/push` |
//! | [`Schedule::First`] | schedule `first` | not there |
//! | [`DownlinkStep::Queued`], `Sent`, `Acknowledged`, `Failed` | `scheduled`, `sent`, `acks`, `errors` | `down/queued`, `sent`, `ack`, `failed` |
//! | [`DownlinkStep::NotAcknowledged`] | not said | `down/nack` |
//!
//! # An API key
//!
//! In the console of The Things Stack: *Applications*, yours, *API keys*, *Add API key*. It needs
//! these rights:
//!
//! | for | right | without it |
//! |---|---|---|
//! | uplinks, joins and all else that arrives | *Read application traffic*, `RIGHT_APPLICATION_TRAFFIC_READ` | the client connects, and nothing ever arrives |
//! | [`send`](MqttClient::send) | *Write downlink application traffic*, `RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE` | what is sent vanishes, and nothing says so |
//! | [`discovery_address`](MqttClientBuilder::discovery_address) | *View application information*, `RIGHT_APPLICATION_INFO` | [`NotAuthorized`](ErrorKind::NotAuthorized) |
//!
//! The server tells a client nothing of rights that are missing, so look here first when all is
//! quiet. Keep the key out of the program, in the environment or a file. A key that was deleted
//! works on until the connection ends.
//!
//! # Events
//!
//! What callbacks hear, and more, also comes as [`Event`] from any number of independent [`Events`]
//! streams, each a bounded crossbeam channel:
//!
//! ```
//! use std::time::Duration;
//! use ttn::{Event, crossbeam_channel::{select, tick}};
//! # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
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
//! place of what waits for the device (as in the Python SDK), unless a [`Downlink`] says otherwise.
//! All that can be seen to be wrong is an error before anything leaves the machine. Not all can: a
//! network also says nothing of a device that it does not know, of fields that a formatter of v3
//! cannot encode, and to a key without the right to write. So `send` returns a [`Delivery`], which
//! knows how far the downlink has come, and [`DeliveryState`] says what each state proves.
//!
//! ```
//! use std::time::Duration;
//! use serde_json::json;
//! use ttn::{DeliveryState, Downlink, Schedule};
//! # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
//! # let client = ttn::MqttClient::builder(network.app_id(), network.access_key())
//! #     .mqtt_address(network.mqtt_address()).build()?;
//! # client.connect()?;
//! # let pump = network.device("pump-1");
//!
//! client.send("pump-1", "0102")?;
//! client.send("pump-1", json!({"led_state": "on", "counter": 1}))?; // in place of the one before
//! let delivery = client.send("pump-1", Downlink::bytes([1, 2]).port(20).confirmed(true).schedule(Schedule::Last))?;
//!
//! // Within seconds, or something is wrong; the error says what it may be.
//! delivery.wait_for(DeliveryState::Queued, Duration::from_secs(15))?;
//! # std::thread::spawn(move || (0..50).for_each(|_| drop(pump.uplink(1, [0]))));
//! for state in delivery.states() {
//!     match state {
//!         DeliveryState::Sent => println!("it was on the air"),
//!         DeliveryState::NotAcknowledged { .. } => println!("the network sends it again"),
//!         DeliveryState::Acknowledged => println!("the pump has it"),
//!         state => println!("{state}"),
//!     }
//! }
//! # assert!(matches!(delivery.state(), DeliveryState::Acknowledged));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A v3 network names the downlink in all that it reports, so there is no doubt which one it means.
//! A V2 network does not: there a report belongs to the oldest downlink of this client that waits for
//! it, with the same device, FPort, confirmation and payload. When two programs send the same bytes
//! to the same device at the same time, one may be taken for the other. All reports, those about
//! other programs' downlinks included, come as [`Event::Downlink`].
//!
//! A class A device listens only after an uplink of its own, so `Sent` may take a while. To be in
//! time for the window of an uplink, [`reply`](MqttClient::reply) from inside its callback. Several to
//! one device: [`send_batch`](MqttClient::send_batch); to many devices:
//! [`send_many`](MqttClient::send_many), at a [`pace`](MqttClientBuilder::pace) for which the server
//! does not close the connection; away with all that waits for a device:
//! [`clear_queue`](MqttClient::clear_queue). How much of the network each device uses in a day,
//! [`stats().fair_use`](Stats::fair_use) has in numbers. On v3 a downlink can have a
//! [`priority`](Downlink::priority), go out by [certain gateways](Downlink::gateway) or at [a
//! certain time](Downlink::absolute_time), and the network says [which one](DownlinkEvent::is_about)
//! it reports about.
//!
//! # Messages that come another way
//!
//! A webhook and the Storage Integration of v3 send the same JSON as MQTT, and the HTTP integration
//! of V2 sends its uplinks. One handler serves them all:
//!
//! ```
//! use ttn::{Event, MqttClient, Network, UplinkMessage};
//!
//! fn handle(event: &Event) {
//!     if let Event::Uplink(uplink) = event {
//!         println!("{} sent {}", uplink.dev_id, uplink.payload_hex());
//!     }
//! }
//! # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
//! # let client = MqttClient::builder(network.app_id(), network.access_key())
//! #     .mqtt_address(network.mqtt_address()).build()?;
//! # let events = client.events();
//! # client.connect()?;
//! # network.device("bed-07").uplink(2, [1]);
//! # client.close()?;
//! # drop(client);
//!
//! // MQTT
//! for event in events.iter() {
//!     handle(&event);
//! }
//! // The body of a webhook
//! # let body = r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},"uplink_message":{}}"#;
//! handle(&Event::from_json(Network::V3, body)?);
//! // A line of what the Storage Integration answers
//! # let line = format!(r#"{{"result":{body}}}"#);
//! handle(&Event::from_json(Network::V3, line)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who runs your code
//!
//! | thread | runs | ends |
//! |---|---|---|
//! | yours | the methods of [`MqttClient`]; all that wait have a deadline, but [`wait`](MqttClient::wait) | |
//! | `ttn-callbacks` | callbacks, one after the other | with the last handle |
//! | `ttn-session` | connecting, subscribing, decoding; none of your code | with the last handle |
//! | `ttn-retry` | the [retry callback](MqttClient::set_retry_callback), if there is one | with the last handle, when the callback has returned |
//! | `ttn-wire` | the connection to the server: sockets, TLS, keep-alive; none of your code | with the connection |
//! | `ttn-prepare`, `ttn-lookup` | what may block before a connection: discovery, files, name lookups; none of your code | when that is done |
//! | Paho's two | MQTT for all clients of the process; none of your code | never |
//!
//! Every method may be called from any thread and from inside any callback, `close` and dropping
//! the client included. A slow callback delays other callbacks of the same client, and nothing
//! else. A handle that a callback captures keeps the client alive; use the one that it is given.
//!
//! # When things go wrong
//!
//! [`connect`](MqttClient::connect) says why it failed, by [`ErrorKind`] for the program and in a
//! sentence for the person. Later outages are healed: the client connects and subscribes again, and
//! is connected when every subscription has been granted. A program that starts before its network
//! does has [`connect_retry`](MqttClientBuilder::connect_retry), which does the same for the first
//! connection.
//!
//! The delays between attempts grow from 1 s to 60 s with a random part
//! ([`reconnect_delay`](MqttClientBuilder::reconnect_delay)), and begin anew after a connection that
//! lasted a minute. So a server that accepts connections and ends them at once, or lets in one client
//! at a time, is not hammered; [`DisconnectCause`] says what it looks like. A refused key is tried
//! again slowly, or [not at all](MqttClientBuilder::refused_retry); another key, another delay or an
//! end is for [`set_retry_callback`](MqttClient::set_retry_callback) to decide.
//!
//! | what happened | event | also |
//! |---|---|---|
//! | the connection was lost | [`Disconnected`](Event::Disconnected): why, what it looks like, next attempt | close callbacks, `false` |
//! | an attempt failed | [`ConnectFailed`](Event::ConnectFailed): why, the how many-th, next attempt | connect callbacks, `false` |
//! | it is back | [`Connected`](Event::Connected): [how long](Gap) it was away | connect callbacks, `true` |
//! | uplinks did not arrive, by the frame counter of a device | [`Counter`](Event::Counter): how many, and [where they were lost](FrameLoss) | |
//! | a subscriber was too slow | [`Lagged`](Event::Lagged): how many it lost | see [`Overflow`] |
//! | a message cannot be read | [`Malformed`](Event::Malformed), with its bytes | raw uplink callbacks |
//! | a downlink was not written | [`PublishFailed`](Event::PublishFailed): why | |
//!
//! ```
//! use ttn::{CounterFinding, Event, FrameLoss, MqttClient, Network, simulator::Simulator};
//!
//! let network = Simulator::start(Network::V3)?;
//! let device = network.device("bed-07");
//! let client = MqttClient::builder(network.app_id(), network.access_key())
//!     .mqtt_address(network.mqtt_address())
//! #   .reconnect_delay(std::time::Duration::from_millis(1), std::time::Duration::from_millis(2))
//!     .build()?;
//! let events = client.events();
//! client.connect()?;
//!
//! device.uplink(1, [0]);
//! # while !matches!(events.recv()?, Event::Uplink(_)) {}
//! network.stop();
//! device.uplink(1, [1]); // nobody is there to hear it
//! network.restart()?;
//! loop {
//!     match events.recv()? {
//!         Event::Disconnected(lost) => println!("{}", lost.error),
//!         Event::Connected(connected) => {
//!             let gap = connected.gap.expect("an outage");
//!             println!("back after {:?}, with attempt {}", gap.length, gap.attempts);
//!             device.uplink(1, [2]);
//!         }
//!         Event::Counter(report) => match report.finding {
//!             CounterFinding::Missing { frames, loss: FrameLoss::Away } => {
//!                 break println!("{} sent {frames} uplinks meanwhile", report.dev_id);
//!             }
//!             finding => panic!("{finding:?}"),
//!         },
//!         _ => {}
//!     }
//! }
//! assert_eq!(client.stats().reconnects, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The networks keep nothing for a client that is away; what a v3 application has missed it can fetch
//! over HTTP, if it has the Storage Integration. Downlinks that are sent meanwhile are an error,
//! unless there is an [`offline_queue`](MqttClientBuilder::offline_queue); none is ever written
//! twice.
//!
//! A connection that was cut is noticed at once. One that is silently dead, for example because a
//! cable was pulled or a router has forgotten it, is noticed by the
//! [keep-alive](MqttClientBuilder::keep_alive): within twice its value, or its value and 5 s.
//!
//! [`client.stats()`](MqttClient::stats) has it all in numbers, and
//! `received = decoded + malformed + dropped` holds exactly.
//!
//! # Server, TLS, discovery
//!
//! A hosted v3 network needs the name of its [cluster](MqttClientBuilder::cluster) and no more. An
//! [MQTT address](MqttClientBuilder::mqtt_address) without a port is `mqtts://`, port 8883, with
//! the system's certificate authorities or [your own](MqttClientBuilder::ca_file); the chain and
//! the host name are checked. Plain TCP has to be asked for by `mqtt://` or another port: it shows
//! the access key to everyone on the way. Without either, a [discovery
//! server](MqttClientBuilder::discovery_address) can tell the address.
//!
//! All addresses of a name are tried, IPv6 and IPv4 in turn, the next one when one fails or after
//! 250 ms; the error names each of them. A [proxy](MqttClientBuilder::proxy) serves MQTT and HTTP.
//!
//! TLS is 1.2 or 1.3, by rustls with ring. The authorities are those of the system (`SSL_CERT_FILE`
//! and `SSL_CERT_DIR` name others), and a built-in list on a system that has none. A self-signed
//! certificate is accepted if exactly it is given as authority. Certificates and keys are read anew
//! for each connection. Without the feature `tls` there is no rustls in the tree, and an `mqtts://`
//! or `https://` address is an error; the feature `encrypted-keys` reads client keys that a pass
//! phrase protects.
//!
//! The client's own MQTT engine, Paho, never sees the server: it speaks to a port of the loopback
//! that is open for some milliseconds, until it has shown a random token. The access key never
//! passes there. Another user of this machine can see that the port exists and
//! delay the connection; only root can read the messages that pass between the two.
//! A connected client takes five file descriptors, and a sixth while it connects. The connection to
//! the server is closed in programs that this one starts; Paho's end of the loopback is not.
//!
//! # Defaults
//!
//! | option | default |
//! |---|---|
//! | [`keep_alive`](MqttClientBuilder::keep_alive) | 30 s; a silent outage is noticed within twice this |
//! | [`connect_timeout`](MqttClientBuilder::connect_timeout) | 10 s, discovery, name lookup and subscriptions included |
//! | [`proxy`](MqttClientBuilder::proxy), [`proxy_from_environment`](MqttClientBuilder::proxy_from_environment) | none |
//! | [`close_timeout`](MqttClientBuilder::close_timeout) | 5 s |
//! | [`connect_retry`](MqttClientBuilder::connect_retry) | no: one attempt |
//! | [`reconnect`](MqttClientBuilder::reconnect) | yes |
//! | [`reconnect_delay`](MqttClientBuilder::reconnect_delay) | 1 s growing to 60 s, with jitter; short again after a connection of 60 s |
//! | [`refused_retry`](MqttClientBuilder::refused_retry) | not before a connection has worked; every 60 s after |
//! | [`offline_queue`](MqttClientBuilder::offline_queue) | none |
//! | [`pace`](MqttClientBuilder::pace) | none: downlinks are written at once |
//! | [`counter_watch`](MqttClientBuilder::counter_watch) | 100 000 devices |
//! | [`unconfirmed_after`](MqttClientBuilder::unconfirmed_after) | 10 s after it was written |
//! | [`follow_downlinks`](MqttClientBuilder::follow_downlinks) | 10 000, for 48 hours |
//! | [`event_capacity`](MqttClientBuilder::event_capacity), [`overflow`](MqttClientBuilder::overflow) | 10 000 events per subscriber, the oldest give way |
//! | [`max_packet_size`](MqttClientBuilder::max_packet_size) | 16 MiB |
//! | [`receive_capacity`](MqttClientBuilder::receive_capacity) | 10 000 messages, 64 MiB |
//! | [`send_capacity`](MqttClientBuilder::send_capacity) | 1 000 downlinks waiting, 1 000 on their way out |
//! | MQTT | 3.1.1, clean session, QoS 0, no will, a new random client id for each connection |
//!
//! # Without a network
//!
//! The feature `simulator` brings a simulated network, the module `simulator`: users, devices,
//! gateways and the server's quirks, in your process. The examples in this documentation run on it,
//! and so can your tests.
//!
//! # Logging
//!
//! The `log` crate, targets `ttn::…`: `error` for callbacks that failed, `warn` for events that
//! were lost because callbacks do not keep up, for a retry callback that takes too long and for a
//! system without certificate authorities, `debug` for connections made, lost and refused. The access
//! key is in none of them, nor in what Paho logs.
//!
//! # Known problems
//!
//! * With `panic = "abort"` a panic in a callback ends the process.
//! * When the last handle is dropped the connection ends in the background; a process that ends at
//!   once may cut that short, and what was sent last may be lost. Call
//!   [`close`](MqttClient::close).
//! * rustls with ring accepts neither keys on the curve P-521, nor server certificates of version 1,
//!   nor names that stand only in the common name; each is an error that says so.
//! * A program of its own that uses Paho directly shares its lock and its two threads with this crate,
//!   and can stop both.
//! * [`Published`](Event::Published) says that Paho has handed a downlink to the connection. When the
//!   connection breaks in that moment, the downlink may not have left this machine.
//! * A v3 server drops messages for a client that reads too slowly, and now and then in a burst, and
//!   tells nobody. A hole in the [`counter`](UplinkMessage::counter) of a device is the only sign.
//! * At most 1 000 downlinks wait at a time, and a V2 server takes about 10 a second; a loop over
//!   more devices has to pause when `send` says [`QueueFull`](ErrorKind::QueueFull). A v3 server that
//!   gets more than its operator allows closes the connection and loses the last one.
//!
//! # Building
//!
//! Needs a C compiler and cmake; Paho's C library and ring are compiled in. Rust 1.85 or later.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod api;
mod client;
mod closure;
mod config;
mod downlink;
mod error;
mod events;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod message;
mod mqtt;
mod network;
mod recovery;
#[cfg(test)]
mod seeds;
mod server;
mod session;
#[cfg(feature = "simulator")]
pub mod simulator;
mod stats;
mod sync;
mod wire;

#[doc = include_str!("porting_from_python.md")]
pub mod porting_from_python {}

#[doc = include_str!("migrating_to_v3.md")]
pub mod migrating_to_v3 {}

pub use anyhow;
pub use client::{CallbackId, MqttClient};
pub use closure::CallbackResult;
pub use config::{ConnectRetry, MqttClientBuilder, Overflow};
pub use crossbeam_channel;
pub use downlink::{Delivery, DeliveryState};
pub use error::{Error, ErrorKind, Result};
pub use events::Events;
pub use message::{
    Activation, ActivationFailed, Antenna, Battery, CallbackFailed, ClassBC, Closed, ConnectFailed,
    Connected, CounterFinding, CounterReport, DeviceChange, DeviceEvent, DisconnectCause,
    Disconnected, Downlink, DownlinkEvent, DownlinkStep, ErrorDetails, Event, FrameLoss, Gap,
    Gateway, KeyEnvelope, Location, LocationSolved, Malformed, MessageId, Metadata, NetworkIds,
    PacketBroker, Priority, PublishFailed, QueueInvalidated, RawMessage, Relay, Schedule,
    ServiceData, Transmission, UplinkFailed, UplinkField, UplinkMessage, VersionIds,
};
pub use network::Network;
pub use recovery::Retry;
pub use serde_json;
pub use stats::{DeviceUse, FairUse, FrameStats, Stats};

/// The programs of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
