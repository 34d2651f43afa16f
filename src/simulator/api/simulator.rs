//! The simulator.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Value;

use super::{Device, Instance, SimulatorBuilder};
use crate::{
    Network,
    simulator::{
        listening::reachable,
        lorawan::{Decoded, DeviceId, Encoded, Functions, Location, Normalized, Rights},
        mqtt::ClientInfo,
        quirks::Quirks,
        security::Security,
    },
};

/// A network that runs in this process and listens on a local port.
///
/// Dropping it stops the network: closes all connections and joins all threads.
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
    pub(super) app_id: String,
    pub(super) access_key: String,
    pub(super) address: SocketAddr,
    pub(super) http_address: SocketAddr,
    pub(super) instance: Arc<Instance>,
}

impl fmt::Debug for Simulator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Simulator")
            .field("network", &self.instance.network)
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
    /// If the port cannot be opened or a thread cannot be started.
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

    /// Returns a builder for a network with other settings.
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

    /// Returns the address to connect to: host and port without a scheme, for plain TCP, or with `mqtts://`
    /// if MQTT is over [TLS](SimulatorBuilder::tls). If the network listens on all interfaces, this is the
    /// loopback address.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(network.mqtt_address().starts_with("127.0.0.1:"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn mqtt_address(&self) -> String {
        let address = reachable(self.address);
        match self.instance.broker.security() {
            Security::Plain => address.to_string(),
            #[cfg(feature = "tls")]
            Security::Tls(_) => format!("mqtts://{address}"),
        }
    }

    /// Returns the address that the network listens on. A [`restart`](Self::restart) keeps the port.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert_ne!(network.address().port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the id of the first application, on hosted v3 networks including the tenant: the user
    /// name of its clients.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert_eq!(network.app_id(), "simulated-app@ttn");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    /// Returns the access key of the first application: the password of its clients.
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
    /// As on the real networks, clients cannot connect with a malformed id. On v3, an id consists of 3
    /// to 36 lower-case letters and digits, with single `-` between them. On hosted networks, `@` and a
    /// tenant id of the same form follow; without them, it belongs to an open source deployment. On V2,
    /// an id consists of 2 to 36 lower-case letters and digits, with single `-` or `_` between them, and
    /// the key contains a dot.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.add_application("orchard@ttn", "NNSXS.ORCHARD.APPLES");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn add_application(&self, app_id: &str, access_key: &str) {
        self.add_key(app_id, access_key, Rights::ALL);
    }

    /// Adds a key with these rights to an application, or changes the rights of an existing key;
    /// connected clients keep theirs. With a key without rights, a client can connect to v3 but neither
    /// receive nor send, as with a key of the real network that has other rights only; V2 refuses it.
    ///
    /// ```
    /// use ttn::simulator::Rights;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.add_key("simulated-app@ttn", "NNSXS.VIEWER.KEY", Rights { read: true, write: false });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn add_key(&self, app_id: &str, access_key: &str, rights: Rights) {
        let server = self.instance.server();
        server.add_key(app_id, access_key, rights);
    }

    /// Deletes a key of an application and returns whether it existed. Connected clients stay; the next
    /// CONNECT with it is refused.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(network.remove_key(network.app_id(), network.access_key()));
    /// assert!(!network.remove_key(network.app_id(), network.access_key()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn remove_key(&self, app_id: &str, access_key: &str) -> bool {
        self.instance.server().remove_key(app_id, access_key)
    }

    /// Returns a device of the first application. Registers it if it is new, without publishing an
    /// event.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("soil-probe-07");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn device(&self, dev_id: &str) -> Device {
        self.device_of(&self.app_id, dev_id)
    }

    /// Returns a device of any application. Registers it if it is new, without publishing an event.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.add_application("orchard@ttn", "NNSXS.ORCHARD.APPLES");
    /// let device = network.device_of("orchard@ttn", "tree-1");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn device_of(&self, app_id: &str, dev_id: &str) -> Device {
        let device = Device::new(app_id, dev_id, &self.instance);
        self.instance.server().register(device.id(), None, false);
        device
    }

    fn id<'a>(&'a self, dev_id: &'a str) -> DeviceId<'a> {
        let app_id = &self.app_id;
        DeviceId { app_id, dev_id }
    }

    /// Returns a device of the first application. Registers it if it is new and, on V2, publishes the
    /// event `create`.
    ///
    /// ```
    /// use ttn::simulator::Location;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let location = Location { latitude: 51.92442, longitude: 4.477733, altitude: 14 };
    /// let device = network.create_device("pump-2", Some(location));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create_device(&self, dev_id: &str, location: Option<Location>) -> Device {
        let device = Device::new(&self.app_id, dev_id, &self.instance);
        self.instance
            .act(|server| server.register(device.id(), location, true));
        device
    }

    /// Changes the location of a device of the first application and, on V2, publishes the event
    /// `update`. Returns false if the device is not registered.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(!network.update_device("pump-2", None));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn update_device(&self, dev_id: &str, location: Option<Location>) -> bool {
        let id = self.id(dev_id);
        self.instance.act(|server| server.update(id, location))
    }

    /// Changes the description of a device of the first application, which no message contains, and, on
    /// V2, publishes the event `update`. Returns false if the device is not registered.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-2");
    /// assert!(network.describe_device("pump-2", "behind the barn"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn describe_device(&self, dev_id: &str, description: &str) -> bool {
        let id = self.id(dev_id);
        self.instance
            .act(|server| server.describe_as(id, description))
    }

    /// Deletes a device of the first application including its queue and, on V2, publishes the event
    /// `delete`. Returns false if the device is not registered.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-2");
    /// assert!(network.delete_device("pump-2"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn delete_device(&self, dev_id: &str) -> bool {
        let id = self.id(dev_id);
        self.instance.act(|server| server.delete(id))
    }

    /// Turns the transmitters of all gateways off or on again. Without them, uplinks still arrive, but
    /// joins fail without a message, and downlinks stay in the queue. On V2, each uplink that a downlink
    /// waits for then leads to the error `No gateways available for downlink`.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.gateways_down(true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn gateways_down(&self, down: bool) {
        self.instance.act(|server| server.set_gateways_down(down));
    }

    /// Makes every transmission fail with that result, such as `TOO_LATE`, or succeed again with `None`.
    /// If it fails, `down/failed` is published instead of `down/sent`, and the device hears nothing.
    ///
    /// # Panics
    ///
    /// On V2, which does not report failed transmissions.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.transmission_fails(Some("TOO_LATE"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn transmission_fails(&self, result: Option<&str>) {
        let result = result.map(str::to_owned);
        self.instance
            .act_on_v3("Simulator::transmission_fails", |v3| {
                v3.set_transmission_failure(result)
            });
    }

    /// Makes the gateways transmit without a report: the device hears the downlink, but `down/sent` is
    /// not published.
    ///
    /// # Panics
    ///
    /// On V2, which does not wait for reports of gateways.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.gateways_silent(true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn gateways_silent(&self, silent: bool) {
        self.instance.act_on_v3("Simulator::gateways_silent", |v3| {
            v3.set_gateways_silent(silent)
        });
    }

    /// Makes all gateways deaf to the network, as behind a firewall that lets only uplinks through: the
    /// network counts each downlink as sent, but no device hears it and no report follows.
    /// [`Gateway::deaf`](super::super::Gateway::deaf) does this for one gateway.
    ///
    /// # Panics
    ///
    /// On V2.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.gateways_deaf(true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn gateways_deaf(&self, deaf: bool) {
        self.instance
            .act_on_v3("Simulator::gateways_deaf", |v3| v3.set_gateways_deaf(deaf));
    }

    /// Sets the decoder of the first application, which turns FPort and bytes of an uplink into fields:
    /// an object, `None` for no fields, or a [`Decoded`] with warnings. After an error, a panic or any
    /// other value, the uplink is published without fields; V2 also publishes `up/errors`.
    ///
    /// On v3, an array becomes an object with the keys `"0"`, `"1"` and so on, and `null` becomes `{}`.
    /// What a JavaScript function does with values that JSON lacks is up to the closure: NaN, an
    /// infinity or a function anywhere in the fields is an error, `undefined` in them is `null`, and a
    /// `Date` is [`Decoded::crash`]. Fields that look like a position, such as `latitude` and
    /// `longitude`, `lat` and `lon`, or an object `gps_1` with the former in it, are published as
    /// `location/solved` too.
    ///
    /// ```
    /// use serde_json::json;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.set_decoder(|_port, bytes| Ok(json!({"level": bytes[0]})));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_decoder<D: Into<Decoded>>(
        &self,
        decoder: impl Fn(u8, &[u8]) -> Result<D, String> + Send + Sync + 'static,
    ) {
        self.change_functions(|functions| functions.set_decoder(decoder));
    }

    /// Sets the normalizer of the first application, which turns the decoded fields of an uplink into
    /// measurements, each published as `up/normalized`: one object, several in a `Vec`, or a
    /// [`Normalized`] with warnings. Without a normalizer, fields that are a measurement are taken for
    /// one.
    ///
    /// A part that is out of range is left out with a warning. A name that The Things Stack does not
    /// know takes away all measurements of the uplink, without a warning. An error or a panic takes away
    /// its decoded fields too. Without decoded fields, the normalizer is not called.
    ///
    /// # Panics
    ///
    /// On V2, which has no normalizers.
    ///
    /// ```
    /// use serde_json::json;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.set_normalizer(|fields| Ok(json!({"air": {"temperature": fields["t"]}})));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn set_normalizer<N: Into<Normalized>>(
        &self,
        normalizer: impl Fn(&Value) -> Result<N, String> + Send + Sync + 'static,
    ) {
        self.instance
            .require(Network::V3, "Simulator::set_normalizer");
        self.change_functions(|functions| functions.set_normalizer(normalizer));
    }

    /// Sets the encoder of the first application, which turns the requested FPort, 0 if there is none,
    /// and fields into bytes: a `Vec<u8>`, or an [`Encoded`] with an FPort of its own and warnings.
    ///
    /// On v3, it runs when the request arrives; if it fails for one of its downlinks, the whole request
    /// leaves no trace. Without an encoder, v3 sends fields as no bytes, and only with an FPort. On V2,
    /// it runs when the downlink is about to be sent; an error or a panic is published as `down/errors`
    /// and `up/errors`, and without any bytes nothing is sent.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.set_encoder(|_port, fields| match fields["led"].as_bool() {
    ///     Some(on) => Ok(vec![u8::from(on)]),
    ///     None => Err("TypeError: led is not a boolean".into()),
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_encoder<E: Into<Encoded>>(
        &self,
        encoder: impl Fn(u8, &Value) -> Result<E, String> + Send + Sync + 'static,
    ) {
        self.change_functions(|functions| functions.set_encoder(encoder));
    }

    /// Sets the downlink decoder of the first application, which turns FPort and bytes of a downlink
    /// into the fields that `down/sent`, `down/ack`, `down/nack` and `down/failed` print, and
    /// `down/queued` if the request has only bytes. It returns what a [decoder](Self::set_decoder)
    /// returns; after an error or a panic, there are no fields. It runs when the request arrives.
    ///
    /// # Panics
    ///
    /// On V2, which decodes no downlinks.
    ///
    /// ```
    /// use serde_json::json;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.set_downlink_decoder(|_port, bytes| Ok(json!({"led": bytes == [1]})));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn set_downlink_decoder<D: Into<Decoded>>(
        &self,
        decoder: impl Fn(u8, &[u8]) -> Result<D, String> + Send + Sync + 'static,
    ) {
        self.instance
            .require(Network::V3, "Simulator::set_downlink_decoder");
        self.change_functions(|functions| functions.set_downlink_decoder(decoder));
    }

    pub(super) fn change_functions(&self, change: impl FnOnce(&mut Functions)) {
        let applications = &self.instance.applications;
        applications.change_functions(&self.app_id, change);
    }

    /// Publishes any bytes on any topic, such as recorded or broken messages, to the clients that are
    /// subscribed to the topic and may read it.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.publish("v3/simulated-app@ttn/devices/soil-probe-07/up", "not JSON");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn publish(&self, topic: &str, payload: impl AsRef<[u8]>) {
        let broker = &self.instance.broker;
        broker.post(topic.to_owned(), payload.as_ref());
        broker.flush();
    }

    /// Returns topic and payload of every PUBLISH of every client since the start, accepted or not, in
    /// order, unless the [history](SimulatorBuilder::history) is shorter. The network has already acted on them, unless it has a
    /// [plain broker](Quirks::plain_broker).
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(network.published().is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn published(&self) -> Vec<(String, Vec<u8>)> {
        self.instance.broker.published()
    }

    /// Waits until clients have published at least that many messages. Returns false after the timeout.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(!network.wait_for_published(1, Duration::from_millis(1)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_for_published(&self, count: usize, timeout: Duration) -> bool {
        self.instance.broker.wait_for_published(count, timeout)
    }

    /// Returns the connected clients, oldest first.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(network.clients().is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn clients(&self) -> Vec<ClientInfo> {
        self.instance.broker.clients()
    }

    /// Waits until exactly that many clients are connected. Returns false after the timeout.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(network.wait_for_clients(0, Duration::from_secs(1)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_for_clients(&self, count: usize, timeout: Duration) -> bool {
        self.instance.broker.wait_for_clients(count, timeout)
    }

    /// Waits until the connected clients have at least that many subscriptions in total. Returns false
    /// after the timeout.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(!network.wait_for_subscriptions(1, Duration::from_millis(1)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_for_subscriptions(&self, count: usize, timeout: Duration) -> bool {
        self.instance.broker.wait_for_subscriptions(count, timeout)
    }

    /// Closes all connections. Clients can connect again.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.disconnect_clients();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn disconnect_clients(&self) {
        self.instance.broker.disconnect_clients();
    }

    /// Closes the port and all connections, and joins all threads. Devices, queues and open receive
    /// windows are kept for a [`restart`](Self::restart).
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.stop();
    /// assert!(std::net::TcpStream::connect(network.address()).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stop(&self) {
        self.instance.stop();
    }

    /// Opens the same port again; [stops](Self::stop) the network first if it is running.
    ///
    /// # Errors
    ///
    /// If the port cannot be opened or a thread cannot be started.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.restart()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn restart(&self) -> io::Result<()> {
        self.stop();
        let started = self.instance.start(self.address, self.http_address);
        started.map(drop)
    }

    /// Changes how the network behaves. The closure must not call the network.
    ///
    /// # Panics
    ///
    /// If [`Quirks::downlink_queue`] is changed on V2.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.quirks(|quirks| quirks.ignore_pings = true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn quirks(&self, change: impl FnOnce(&mut Quirks)) {
        let network = self.instance.network;
        self.instance.broker.quirks().change(network, change);
    }

    /// Returns how many messages were dropped because clients read too slowly.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert_eq!(network.dropped(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn dropped(&self) -> u64 {
        self.instance.broker.dropped()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}
