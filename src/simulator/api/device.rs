//! A device.

use std::{fmt, sync::Arc, time::Duration};

use crossbeam_channel::Receiver;
use serde_json::Value;

use super::Instance;
use crate::{
    Network,
    simulator::lorawan::{Description, DeviceId, Location, QueuedDownlink, Received, Uplink},
};

/// A handle of a simulated device; cheap to clone, and usable while the network is stopped.
///
/// ```
/// use ttn::Network;
/// use ttn::simulator::Simulator;
///
/// let network = Simulator::start(Network::V3)?;
/// let device = network.device("soil-probe-07");
/// device.join();
/// assert_eq!(device.uplink(2, [0x01, 0x67]), 0);
/// assert_eq!(device.uplink(2, [0x01, 0x68]), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Device {
    app_id: String,
    dev_id: String,
    pub(super) instance: Arc<Instance>,
}

impl fmt::Debug for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Device")
            .field("app_id", &self.app_id)
            .field("dev_id", &self.dev_id)
            .finish_non_exhaustive()
    }
}

impl Device {
    pub(super) fn new(app_id: &str, dev_id: &str, instance: &Arc<Instance>) -> Self {
        Self {
            app_id: app_id.to_owned(),
            dev_id: dev_id.to_owned(),
            instance: Arc::clone(instance),
        }
    }

    pub(super) fn id(&self) -> DeviceId<'_> {
        let (app_id, dev_id) = (&self.app_id, &self.dev_id);
        DeviceId { app_id, dev_id }
    }

    fn describe(&self) -> Option<Description> {
        self.instance.server().describe(self.id())
    }

    /// Returns the device id.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert_eq!(network.device("pump-1").dev_id(), "pump-1");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn dev_id(&self) -> &str {
        &self.dev_id
    }

    /// Returns the application id, including the tenant if there is one.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert_eq!(network.device("pump-1").app_id(), network.app_id());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    /// Returns the DevEUI: 16 upper-case hexadecimal digits, the same in every run; empty once the
    /// device is deleted.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert_eq!(network.device("pump-1").dev_eui().len(), 16);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn dev_eui(&self) -> String {
        self.describe()
            .map_or_else(String::new, |device| device.dev_eui)
    }

    /// Returns the DevAddr of the newest session: 8 upper-case hexadecimal digits; empty without a
    /// session and once the device is deleted.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// let before = device.dev_addr();
    /// device.join();
    /// assert_ne!(device.dev_addr(), before);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn dev_addr(&self) -> String {
        self.describe()
            .map_or_else(String::new, |device| device.dev_addr)
    }

    /// Joins: the network publishes `join`, or `activations` on V2; the device gets a new DevAddr, and
    /// its frame counters restart. On v3, the session begins with the next uplink. The downlink queue
    /// is kept. With [real delays](super::SimulatorBuilder::real_delays), the network publishes it later,
    /// and the next uplink after that.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-1").join();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn join(&self) {
        self.join_with(Uplink::new(0, []));
    }

    /// Joins with a frame like this: on V2, the activation shows its data rate, frequency, coding rate
    /// and time, and the gateways that hear it. Nothing else of it has an effect.
    ///
    /// # Panics
    ///
    /// On V2, if the frame uses a setter of [`Uplink`] that is for v3 only.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V2)?;
    /// let frame = Uplink::new(0, []).data_rate("SF12BW125").frequency(868.5).gateways(2);
    /// network.device("pump-1").join_with(frame);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn join_with(&self, frame: Uplink) {
        self.check(&frame);
        self.instance
            .act(|server| server.join(self.id(), Ok(&frame)));
    }

    /// Attempts to join and is refused with that error; nothing else changes. V2 publishes
    /// `activations/errors`; v3 has no message about refused joins.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-1").join_fails("Activation DevNonce not valid: already used");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn join_fails(&self, error: &str) {
        self.instance
            .act(|server| server.join(self.id(), Err(error)));
    }

    /// Sends an ordinary uplink, opens a receive window, and returns the frame counter.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let counter = network.device("pump-1").uplink(2, [0x01, 0x67]);
    /// assert_eq!(counter, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn uplink(&self, port: u8, payload: impl AsRef<[u8]>) -> u32 {
        self.send(Uplink::new(port, payload))
    }

    /// Sends an uplink and returns the frame counter, or 0 if the device is deleted and not heard.
    ///
    /// Before it returns, all resulting messages are published, unless the network has [real
    /// delays](super::SimulatorBuilder::real_delays), and a receive window is open, for 100 ms unless
    /// [set otherwise](super::SimulatorBuilder::receive_window). The next uplink of the device
    /// closes the window early. A class C device also gets downlinks after it. On V2, a downlink in
    /// progress is repeated at once.
    ///
    /// # Panics
    ///
    /// On V2, if the uplink uses a setter of [`Uplink`] that is for v3 only.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let counter = network.device("pump-1").send(Uplink::new(2, [1]).fsk());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn send(&self, uplink: Uplink) -> u32 {
        self.check(&uplink);
        self.instance.act(|server| server.uplink(self.id(), uplink))
    }

    /// Rejects an uplink that the network has no equivalent of.
    #[track_caller]
    fn check(&self, uplink: &Uplink) {
        if let Some(setter) = uplink.v3_setter() {
            self.instance.require(Network::V3, setter);
        }
    }

    /// Returns a receiver of all downlinks that reach the device by radio. Clones share one stream: each
    /// downlink reaches one of them.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// assert!(device.received().try_recv().is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn received(&self) -> Receiver<Received> {
        self.describe()
            .map_or_else(crossbeam_channel::never, |device| device.received)
    }

    /// Waits for the next downlink that reaches the device by radio. Returns `None` after the timeout.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// assert_eq!(device.next_downlink(Duration::from_millis(1)), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn next_downlink(&self, timeout: Duration) -> Option<Received> {
        self.received().recv_timeout(timeout).ok()
    }

    /// Returns the downlinks in the queue, next one first, without the one in progress.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(network.device("pump-1").queue().is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn queue(&self) -> Vec<QueuedDownlink> {
        self.describe().map_or_else(Vec::new, |device| device.queue)
    }

    /// Returns the downlink that the network last took from the queue and has not finished. On v3, this
    /// is a confirmed one until the next uplink, which acknowledges it or returns it to the queue. On V2,
    /// it is a confirmed one until it is acknowledged or replaced, or an unconfirmed one until the next
    /// uplink.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert_eq!(network.device("pump-1").in_progress(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn in_progress(&self) -> Option<QueuedDownlink> {
        self.describe().and_then(|device| device.in_progress)
    }

    /// Makes the device hear confirmed downlinks but not acknowledge them, until this is turned off.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-1").stops_acknowledging(true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stops_acknowledging(&self, stop: bool) {
        self.instance.server().set_acknowledging(self.id(), !stop);
    }

    /// Makes it a class C device, which listens all the time. Once the network has heard it, it sends
    /// queued downlinks without waiting for an uplink, as far apart as the
    /// [receive window](super::SimulatorBuilder::receive_window) is long. A confirmed one waits, with all
    /// behind it, until an uplink has decided the one before or the
    /// [timeout](Self::class_c_timeout) has passed.
    ///
    /// # Panics
    ///
    /// On V2, which supports only class A.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-1").class_c(true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn class_c(&self, on: bool) {
        self.instance
            .act_on_v3("Device::class_c", |v3| v3.set_class_c(self.id(), on));
    }

    /// Sets how long a class C device has to answer a confirmed downlink. After that time, the network
    /// sends the next confirmed one, and no longer reports on the earlier one. Default: 5 minutes.
    ///
    /// # Panics
    ///
    /// On V2, which supports only class A.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let valve = network.device("valve-2");
    /// valve.class_c(true);
    /// valve.class_c_timeout(Duration::from_secs(2));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn class_c_timeout(&self, timeout: Duration) {
        self.instance.act_on_v3("Device::class_c_timeout", |v3| {
            v3.set_class_c_timeout(self.id(), timeout)
        });
    }

    /// Makes it a multicast group: it never sends, and what the network queues for it is never reported
    /// as sent. A downlink must name gateways and must not be confirmed.
    ///
    /// # Panics
    ///
    /// On V2, which has no groups.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("street-lamps").multicast();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn multicast(&self) {
        self.instance
            .act_on_v3("Device::multicast", |v3| v3.make_group(self.id()));
    }

    /// Registers the device without DevEUI and JoinEUI, as is possible for devices that never join.
    ///
    /// # Panics
    ///
    /// On V2, where every device has them.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// device.without_euis();
    /// assert_eq!(device.dev_eui(), "");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn without_euis(&self) {
        self.instance
            .act_on_v3("Device::without_euis", |v3| v3.forget_euis(self.id()));
    }

    /// Lets the application keep the session keys of the device, wrapped with a key of its own that has
    /// this label. The network then passes payloads on as they are, without formatters, and adds
    /// `app_s_key` to joins and uplinks. The application chooses the frame counter of each downlink. The
    /// network does not repeat confirmed downlinks, and reports on `down/invalidated` when a frame of its
    /// own has taken a counter.
    ///
    /// # Panics
    ///
    /// On V2, which always keeps the keys itself.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let meter = network.device("meter-12");
    /// meter.keeps_own_keys("utility-2026");
    /// meter.join();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn keeps_own_keys(&self, label: &str) {
        self.instance.act_on_v3("Device::keeps_own_keys", |v3| {
            v3.keep_own_keys(self.id(), label)
        });
    }

    /// Lets the network answer requests for the time, which the device sends on FPort 202 (clock
    /// synchronization package of LoRaWAN), with a downlink that the application did not ask for.
    /// Default: off.
    ///
    /// # Panics
    ///
    /// On V2, which has no packages.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// device.synchronizes_clock(true);
    /// device.uplink(202, [0x01, 0x00, 0x4e, 0x72, 0x53, 0x15]);
    /// assert_eq!(device.queue()[0].port, 202);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn synchronizes_clock(&self, on: bool) {
        self.instance.act_on_v3("Device::synchronizes_clock", |v3| {
            v3.set_clock_synchronization(self.id(), on)
        });
    }

    /// Lets the frame counter of the device begin again at 0 without a join. v3 then takes the first
    /// uplink unless it acknowledges a downlink; V2 takes any counter but the last one. Default: off, as
    /// on the real networks.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// device.resets_counters(true);
    /// device.send(Uplink::new(2, [1]).counter(7));
    /// assert_eq!(device.send(Uplink::new(2, [1]).counter(0)), 0);
    /// assert_eq!(device.uplink(2, [1]), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn resets_counters(&self, on: bool) {
        self.instance.server().set_counter_resets(self.id(), on);
    }

    /// Makes the network send MAC commands with its next answers to the device, that many: with a
    /// downlink if one is queued, which then has the priority `HIGHEST`, or else in a frame of its own,
    /// which takes a frame counter. V2 answers a link check, and publishes `down/sent` for a frame of its
    /// own too. Default: 1 after a join on v3, otherwise 0.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// device.mac_commands(2);
    /// device.uplink(2, [1]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn mac_commands(&self, answers: u32) {
        self.instance.server().set_commands(self.id(), answers);
    }

    /// Queues downlinks as another program does over HTTP: the request is the body of `down/push`, and the
    /// correlation ids of its downlinks name the call. Returns whether the network accepts it.
    ///
    /// # Panics
    ///
    /// On V2.
    ///
    /// ```
    /// use serde_json::json;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// let item = json!({"f_port": 1, "frm_payload": "AQ=="});
    /// assert!(device.push_over_http(&json!({"downlinks": [item]})));
    /// assert_eq!(device.queue().len(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn push_over_http(&self, request: &Value) -> bool {
        let mut is_accepted = false;
        self.instance.act_on_v3("Device::push_over_http", |v3| {
            is_accepted = v3.request_over_http(self.id(), request, false);
        });
        is_accepted
    }

    /// Replaces the queue as another program does over HTTP; see [`push_over_http`](Self::push_over_http).
    ///
    /// # Panics
    ///
    /// On V2.
    ///
    /// ```
    /// use serde_json::json;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// assert!(device.replace_over_http(&json!({"downlinks": []})));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn replace_over_http(&self, request: &Value) -> bool {
        let mut is_accepted = false;
        self.instance.act_on_v3("Device::replace_over_http", |v3| {
            is_accepted = v3.request_over_http(self.id(), request, true);
        });
        is_accepted
    }

    /// Deletes the session and the queue of the device, as if it had never joined. It is not heard
    /// until it [joins](Self::join), and downlinks fail with `no_device_session`.
    ///
    /// # Panics
    ///
    /// On V2, where every device has a session.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// device.forget_session();
    /// assert_eq!(device.dev_addr(), "");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn forget_session(&self) {
        self.instance
            .act_on_v3("Device::forget_session", |v3| v3.forget_session(self.id()));
    }

    /// Publishes `down/invalidated` with all queued downlinks and empties the queue, as for an
    /// application that encrypts payloads itself.
    ///
    /// # Panics
    ///
    /// On V2, which has no such message.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-1").invalidate_queue();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn invalidate_queue(&self) {
        self.instance.act_on_v3("Device::invalidate_queue", |v3| {
            v3.invalidate_queue(self.id())
        });
    }

    /// Publishes an object of an application package on `service/data`; null stands for no object.
    ///
    /// # Panics
    ///
    /// On V2, which has no such message.
    ///
    /// ```
    /// use serde_json::json;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// device.service_data("lora-cloud-device-management-v1", &json!({"fports": [199]}));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn service_data(&self, service: &str, data: &Value) {
        let id = self.id();
        self.instance.act_on_v3("Device::service_data", |v3| {
            v3.post_service_data(id, service, data)
        });
    }

    /// Publishes a location that a service found on `location/solved`.
    ///
    /// # Panics
    ///
    /// On V2, which has no such message.
    ///
    /// ```
    /// use ttn::simulator::Location;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let location = Location { latitude: 51.92442, longitude: 4.477733, altitude: 14 };
    /// network.device("pump-1").location_solved("lora-cloud-geolocation-v3", location);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn location_solved(&self, service: &str, location: Location) {
        let id = self.id();
        self.instance.act_on_v3("Device::location_solved", |v3| {
            v3.post_location(id, service, location)
        });
    }
}
