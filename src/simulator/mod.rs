//! A network inside the process, to write and test programs without an account, a radio or a
//! broker.
//!
//! [`Simulator::start`] opens a port of 127.0.0.1 that speaks MQTT and behaves as The Things Stack
//! v3 does, or as the V2 network: it knows applications, keys and devices, publishes what devices
//! send, queues what applications send, and says what becomes of it. A client connects to
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
//! A [`Device`] joins and sends uplinks when told to. Each uplink opens a receive window of 100 ms:
//! a downlink that is queued then, or that an application sends in time, reaches the device, which
//! keeps it in [`Device::received`] and acknowledges a confirmed one with its next uplink. Devices
//! of [class C](Device::class_c) get theirs at once.
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
//! # Looking on
//!
//! A test sees what its client did, and waits for it without sleeping: [`Simulator::clients`],
//! [`Simulator::published`] and the `wait_for_` methods; [`Device::queue`] is what the network
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
//! # Trouble
//!
//! The network can be stopped and restarted, lose its gateways or its clients, fail to transmit,
//! publish anything on any topic, and [misbehave](Quirks) in many ways.
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
//! It is started and used in the same way, and speaks as V2 did.
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
//! # Faithfulness
//!
//! On both networks, whatever is wrong with a key, an id or an account is answered with CONNACK 5;
//! foreign filters get 0x80; forbidden publishes are acknowledged and dropped; `x/#` does not match
//! `x`; delivery is at QoS 0, nothing is retained or kept for a client that is away, a QoS 1
//! message that is sent again is executed again, and a client id may be connected twice.
//!
//! On v3, `#` and `v3/#` mean the own application, and so does `+` in place of its id. Requests are
//! read by protobuf's rules, and one that the server cannot read, or for an unknown device, leaves
//! no trace; other mistakes come back on `down/failed`, once for each downlink of the request. The
//! messages have the members that the server prints, in their order and with zeros left out.
//!
//! On V2, `+` and `#` in place of the application id mean the own one. A downlink that cannot be
//! read, or for an unknown device, leaves no trace; the events of the others are the V2 handler's,
//! down to the order of keys.
//!
//! Different on purpose:
//!
//! * Messages reach all clients in the order of their cause, and the downlinks of one client are
//!   queued in the order it sent them. The real networks give no such promise.
//! * Events are never late, exchanged or lost inside the network unless asked for
//!   ([`Quirks::event_delay`], [`Quirks::shuffle_events`], [`Quirks::lose_events`]), and by default
//!   a slow client makes the publisher wait before it loses messages ([`WhenFull`]).
//! * There is no rate limit unless asked for: [one of V2](Quirks::rate_limit), [one of
//!   v3](Quirks::publish_rate).
//! * On V2 the frame in `down/sent` has the right header and size, but its payload and integrity
//!   code are made up. The answer leaves at the frequency and data rate of the uplink.
//! * On v3 a device is registered with a running session, in the band EU868 and without MAC
//!   commands; a downlink has its frame counter when it is sent and not when it is queued. A
//!   downlink with named gateways or a time of its own holds up the queue of a class A device.
//! * There is no TLS.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Network;

mod applications;
mod broker;
mod bucket;
mod builder;
mod clock;
mod device;
mod json;
mod outbox;
mod packet;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod properties;
mod quirks;
mod radio;
mod session;
mod topic;
mod v2;
mod v2_messages;
mod v3;
mod v3_messages;
mod v3_request;
mod windows;

pub use builder::SimulatorBuilder;
pub use device::{Device, QueuedDownlink, Received, Rights, Uplink};
pub use quirks::{PublishRate, Quirks, WhenFull};
pub use radio::Location;
pub use session::ClientInfo;

use applications::PayloadFunction;
use broker::{Broker, Policy};
use device::{GatewayState, Handler};

/// A network that runs in this process and listens on a local port.
///
/// Dropping it stops it: every connection is closed and every thread joined.
///
/// ```
/// use ttn::Network;
/// use ttn::simulator::Simulator;
///
/// let network = Simulator::start(Network::V3)?;
/// let device = network.device("soil-probe-07");
/// device.uplink(2, [0x01, 0x67]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Simulator {
    network: Network,
    app_id: String,
    access_key: String,
    address: SocketAddr,
    broker: Arc<Broker>,
    policy: Arc<dyn Policy>,
    handler: Arc<dyn Handler>,
    clock: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Simulator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Simulator")
            .field("network", &self.network)
            .field("address", &self.address)
            .field("app_id", &self.app_id)
            .finish_non_exhaustive()
    }
}

impl Simulator {
    /// Starts a network on a free port of 127.0.0.1, with one application: on v3
    /// `simulated-app@ttn` with the API key `NNSXS.SIMULATED.KEY`, on V2 `simulated-app` with the
    /// access key `ttn-account-v2.simulated-key`.
    ///
    /// # Errors
    ///
    /// When the port cannot be opened or a thread cannot be started.
    ///
    /// ```
    /// use ttn::Network;
    /// use ttn::simulator::Simulator;
    ///
    /// let network = Simulator::start(Network::V3)?;
    /// assert_eq!(network.app_id(), "simulated-app@ttn");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn start(network: Network) -> io::Result<Self> {
        Self::builder(network).start()
    }

    /// A network with other settings.
    ///
    /// ```
    /// use ttn::Network;
    /// use ttn::simulator::Simulator;
    ///
    /// let network = Simulator::builder(Network::V3).application("greenhouse@ttn", "NNSXS.KEY.SECRET").start()?;
    /// assert_eq!(network.app_id(), "greenhouse@ttn");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn builder(network: Network) -> SimulatorBuilder {
        SimulatorBuilder::new(network)
    }

    fn open(&self) -> io::Result<SocketAddr> {
        let address = self.broker.start(self.address, Arc::clone(&self.policy))?;
        let handler = Arc::clone(&self.handler);
        let clock = thread::Builder::new()
            .name("ttn-sim-clock".into())
            .spawn(move || handler.run())?;
        *lock(&self.clock) = Some(clock);
        Ok(address)
    }

    /// The address to connect to, as text: host and port without a scheme, plain TCP. A network
    /// that listens on every interface gives the loopback one.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(network.mqtt_address().starts_with("127.0.0.1:"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn mqtt_address(&self) -> String {
        broker::reachable(self.address).to_string()
    }

    /// Where the network listens. The port stays the same over [`restart`](Self::restart).
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert_ne!(network.address().port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Id of the first application, on hosted v3 networks with its tenant: the user name of its
    /// clients.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert_eq!(network.app_id(), "simulated-app@ttn");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    /// Access key of the first application: the password of its clients.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert_eq!(network.access_key(), "NNSXS.SIMULATED.KEY");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// Adds an application, or a key with all rights to an existing one.
    ///
    /// As on the real networks, nobody gets in with a malformed id. On v3 it has 3 to 36 lower-case
    /// letters and digits with single `-` between them, and on hosted networks `@` and such a
    /// tenant id behind it; without, it is one of an open source deployment. On V2 it has 2 to 36
    /// lower-case letters and digits with single `-` or `_` between them, and the key has a dot.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.add_application("orchard@ttn", "NNSXS.ORCHARD.APPLES");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn add_application(&self, app_id: &str, access_key: &str) {
        self.add_key(app_id, access_key, Rights::ALL);
    }

    /// Adds a key with these rights to an application, or changes those it has. A key without any
    /// right is refused at connect; clients that are connected keep theirs.
    ///
    /// ```
    /// use ttn::simulator::Rights;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.add_key("simulated-app@ttn", "NNSXS.VIEWER.KEY", Rights { read: true, write: false });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn add_key(&self, app_id: &str, access_key: &str, rights: Rights) {
        self.handler.add_key(app_id, access_key, rights);
    }

    /// A device of the first application, registered now if it is new; that publishes no event.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("soil-probe-07");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn device(&self, dev_id: &str) -> Device {
        self.device_of(&self.app_id, dev_id)
    }

    /// A device of any application, registered now if it is new; that publishes no event.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.add_application("orchard@ttn", "NNSXS.ORCHARD.APPLES");
    /// let device = network.device_of("orchard@ttn", "tree-1");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn device_of(&self, app_id: &str, dev_id: &str) -> Device {
        self.handler.register(app_id, dev_id, None, false);
        self.handle(app_id, dev_id)
    }

    fn handle(&self, app_id: &str, dev_id: &str) -> Device {
        Device {
            app_id: app_id.to_owned(),
            dev_id: dev_id.to_owned(),
            handler: Arc::clone(&self.handler),
        }
    }

    /// A device of the first application; if it is new, it is registered and, on V2, the event
    /// `create` published.
    ///
    /// ```
    /// use ttn::simulator::Location;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let location = Location { latitude: 51.92442, longitude: 4.477733, altitude: 14 };
    /// let device = network.create_device("pump-2", Some(location));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create_device(&self, dev_id: &str, location: Option<Location>) -> Device {
        self.handler.register(&self.app_id, dev_id, location, true);
        self.handle(&self.app_id, dev_id)
    }

    /// Saves a device of the first application with that location and, on V2, publishes the event
    /// `update`; false if it is not registered.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(!network.update_device("pump-2", None));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn update_device(&self, dev_id: &str, location: Option<Location>) -> bool {
        self.handler.update(&self.app_id, dev_id, location)
    }

    /// Deletes a device of the first application with its queue and, on V2, publishes the event
    /// `delete`; false if it is not registered.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-2");
    /// assert!(network.delete_device("pump-2"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn delete_device(&self, dev_id: &str) -> bool {
        self.handler.delete(&self.app_id, dev_id)
    }

    /// Takes the gateways' transmitters away, or gives them back. Uplinks still come in, joins fail
    /// and downlinks stay in the queue; on V2 each uplink that should have been answered brings the
    /// error `No gateways available for downlink`.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.gateways_down(true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn gateways_down(&self, down: bool) {
        self.handler.set_gateways(GatewayState::Down(down));
    }

    /// Makes every transmission fail with that result, such as `TOO_LATE`, or succeed again with
    /// `None`: `down/failed` is published in place of `down/sent`, and the device hears nothing. v3
    /// only.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.transmission_fails(Some("TOO_LATE"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn transmission_fails(&self, result: Option<&str>) {
        let setting = GatewayState::Failing(result.map(str::to_owned));
        self.handler.set_gateways(setting);
    }

    /// Makes the gateways send without saying so: the device hears the downlink, but there is no
    /// `down/sent`. v3 only.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.gateways_silent(true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn gateways_silent(&self, silent: bool) {
        self.handler.set_gateways(GatewayState::Silent(silent));
    }

    /// Sets the decoder of the first application: FPort and bytes to an object of fields, `None`
    /// for no fields. After an error, a panic or anything but an object the uplink is published
    /// without fields; V2 also publishes `up/errors`. Numeric fields `latitude` and `longitude` are
    /// a position on v3, published as `location/solved`.
    ///
    /// ```
    /// use serde_json::json;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.set_decoder(|_port, bytes| Ok(Some(json!({"level": bytes[0]}))));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_decoder(
        &self,
        decoder: impl Fn(u8, &[u8]) -> Result<Option<Value>, String> + Send + Sync + 'static,
    ) {
        let decoder = PayloadFunction::Decoder(Arc::new(decoder));
        self.handler.set_function(&self.app_id, decoder);
    }

    /// Sets the encoder of the first application: requested FPort (0 if there was none) and fields
    /// to bytes. On v3 it runs when the request comes in; one with fields that cannot be encoded
    /// leaves no trace. On V2 it runs when the downlink is about to be sent; an error or a panic is
    /// published as `down/errors` and `up/errors`, and no bytes mean that nothing is sent.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.set_encoder(|_port, fields| match fields["led"].as_bool() {
    ///     Some(on) => Ok(vec![u8::from(on)]),
    ///     None => Err("TypeError: led is not a boolean".into()),
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_encoder(
        &self,
        encoder: impl Fn(u8, &Value) -> Result<Vec<u8>, String> + Send + Sync + 'static,
    ) {
        let encoder = PayloadFunction::Encoder(Arc::new(encoder));
        self.handler.set_function(&self.app_id, encoder);
    }

    /// Sets the validator of the first application, which v3 has not: an uplink whose decoded fields
    /// it refuses is not published, only an `up/errors`, and gets no downlink.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V2)?;
    /// network.set_validator(|_port, fields| fields["level"].as_u64() < Some(100));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_validator(&self, validator: impl Fn(u8, &Value) -> bool + Send + Sync + 'static) {
        let validator = PayloadFunction::Validator(Arc::new(validator));
        self.handler.set_function(&self.app_id, validator);
    }

    /// Publishes any bytes on any topic, to the clients that subscribed to it and may read it:
    /// recorded messages, broken ones.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.publish("v3/simulated-app@ttn/devices/soil-probe-07/up", "not JSON");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn publish(&self, topic: &str, payload: impl AsRef<[u8]>) {
        self.broker.post(topic.to_owned(), payload.as_ref());
        self.broker.flush();
    }

    /// Every PUBLISH of every client since the start, topic and payload, accepted or not, in order.
    /// The network has acted on those listed.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(network.published().is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn published(&self) -> Vec<(String, Vec<u8>)> {
        self.broker.published()
    }

    /// Waits until clients published that many messages; false after the timeout.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(!network.wait_for_published(1, Duration::from_millis(1)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_for_published(&self, count: usize, timeout: Duration) -> bool {
        self.broker.wait_for_published(count, timeout)
    }

    /// The clients that are connected now, oldest first.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(network.clients().is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn clients(&self) -> Vec<ClientInfo> {
        self.broker.clients()
    }

    /// Waits until exactly that many clients are connected; false after the timeout.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(network.wait_for_clients(0, Duration::from_secs(1)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_for_clients(&self, count: usize, timeout: Duration) -> bool {
        self.broker.wait_for_clients(count, timeout)
    }

    /// Waits until the connected clients have that many subscriptions or more in all; false after
    /// the timeout.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(!network.wait_for_subscriptions(1, Duration::from_millis(1)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_for_subscriptions(&self, count: usize, timeout: Duration) -> bool {
        self.broker.wait_for_subscriptions(count, timeout)
    }

    /// Cuts every connection. New ones are welcome.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.disconnect_clients();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn disconnect_clients(&self) {
        self.broker.disconnect_clients();
    }

    /// Closes the port and every connection, and joins every thread. Devices, queues and open
    /// receive windows stay for a [`restart`](Self::restart).
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.stop();
    /// assert!(std::net::TcpStream::connect(network.address()).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stop(&self) {
        self.broker.stop();
        let clock = lock(&self.clock).take();
        if let Some(clock) = clock {
            self.handler.halt();
            broker::join(clock);
        }
    }

    /// Opens the same port again, after a [`stop`](Self::stop) if there was none.
    ///
    /// # Errors
    ///
    /// When the port cannot be opened or a thread cannot be started.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.restart()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn restart(&self) -> io::Result<()> {
        self.stop();
        self.open().map(drop)
    }

    /// Changes how the network behaves. The closure must not call the network.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.quirks(|quirks| quirks.ignore_pings = true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn quirks(&self, change: impl FnOnce(&mut Quirks)) {
        change(&mut self.broker.quirks());
    }

    /// Messages that clients did not get because they read too slowly.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert_eq!(network.dropped(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn dropped(&self) -> u64 {
        self.broker.dropped()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whoever panicked while holding the lock left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// That long from now; a year if it is more than the clock can hold.
fn deadline(timeout: Duration) -> Instant {
    let now = Instant::now();
    let year = Duration::from_secs(365 * 24 * 3600);
    now.checked_add(timeout).unwrap_or_else(|| now + year)
}

fn wait<'a, T>(changed: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

fn wait_until<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Instant,
) -> MutexGuard<'a, T> {
    let left = deadline.saturating_duration_since(Instant::now());
    changed
        .wait_timeout(guard, left)
        .unwrap_or_else(PoisonError::into_inner)
        .0
}
