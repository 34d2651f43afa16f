//! Devices: what they send, what they hear, and the network side they talk to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::Receiver;
use serde_json::Value;

use super::applications::PayloadFunction;
use super::radio::{Location, Modulation};

/// What an access key allows.
///
/// ```
/// use ttn::Network;
/// use ttn::simulator::{Rights, Simulator};
///
/// let network = Simulator::start(Network::V3)?;
/// let rights = Rights { read: true, write: false };
/// network.add_key("simulated-app@ttn", "NNSXS.DASHBOARD.KEY", rights);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Receive uplinks and events: `RIGHT_APPLICATION_TRAFFIC_READ`, on V2 `messages:up:r`.
    /// Without it, subscriptions are granted and nothing comes.
    pub read: bool,
    /// Send downlinks: `RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE`, on V2 `messages:down:w`. Without it,
    /// requests are acknowledged and dropped.
    pub write: bool,
}

impl Rights {
    /// Both rights, as the default key of a new application has them.
    ///
    /// ```
    /// use ttn::simulator::Rights;
    ///
    /// assert_eq!(Rights::ALL, Rights { read: true, write: true });
    /// ```
    pub const ALL: Self = Self {
        read: true,
        write: true,
    };
}

/// The network's side of the devices and applications.
pub(super) trait Handler: Send + Sync {
    fn add_key(&self, app_id: &str, access_key: &str, rights: Rights);
    fn set_function(&self, app_id: &str, function: PayloadFunction);
    fn set_gateways(&self, setting: GatewayState);

    /// Registers the device if it is new; `event` announces that.
    fn register(&self, app_id: &str, dev_id: &str, location: Option<Location>, event: bool);
    fn update(&self, app_id: &str, dev_id: &str, location: Option<Location>) -> bool;
    fn delete(&self, app_id: &str, dev_id: &str) -> bool;
    fn describe(&self, app_id: &str, dev_id: &str) -> Option<Description>;

    fn join(&self, app_id: &str, dev_id: &str, refusal: Option<&str>);
    fn uplink(&self, app_id: &str, dev_id: &str, uplink: Uplink) -> u32;
    fn order(&self, app_id: &str, dev_id: &str, order: Order<'_>);

    /// Closes receive windows in time until halted.
    fn run(&self);
    fn halt(&self);
}

/// How well the gateways transmit.
pub(super) enum GatewayState {
    Down(bool),
    /// They do not report what they transmitted.
    Silent(bool),
    /// With this result.
    Failing(Option<String>),
}

/// What a test wants to happen to a device; a network passes over what it has not.
pub(super) enum Order<'a> {
    Acknowledge(bool),
    ClassC(bool),
    ForgetSession,
    InvalidateQueue,
    ServiceData(&'a str, &'a Value),
    LocationSolved(&'a str, Location),
}

/// What the network knows of a device.
pub(super) struct Description {
    pub(super) dev_eui: String,
    pub(super) dev_addr: String,
    pub(super) in_progress: Option<QueuedDownlink>,
    pub(super) queue: Vec<QueuedDownlink>,
    pub(super) received: Receiver<Received>,
}

/// A downlink as the network holds it for a device.
///
/// ```
/// use ttn::Network;
/// use ttn::simulator::Simulator;
///
/// let network = Simulator::start(Network::V3)?;
/// let device = network.device("pump-1");
/// for downlink in device.queue() {
///     println!("FPort {}: {:?}", downlink.port, downlink.payload);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueuedDownlink {
    /// FPort as requested; on V2 0 when the request had none.
    pub port: u8,
    /// Whether the device has to acknowledge it.
    pub confirmed: bool,
    /// The bytes of the request; `None` when it had none.
    pub payload: Option<Vec<u8>>,
    /// The fields of the request, an object, not encoded yet; on v3 they are encoded at once.
    pub fields: Option<Value>,
}

/// A downlink a device got by radio.
///
/// Frames without a payload of an application (mere acknowledgements) are not among them.
///
/// ```
/// use std::time::Duration;
/// use ttn::Network;
/// use ttn::simulator::Simulator;
///
/// let network = Simulator::start(Network::V3)?;
/// let device = network.device("pump-1");
/// if let Some(downlink) = device.next_downlink(Duration::ZERO) {
///     println!("FPort {}: {:?}", downlink.port, downlink.payload);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// FPort, 1..=255.
    pub port: u8,
    /// The bytes for the application.
    pub payload: Vec<u8>,
    /// Whether an acknowledgement is wanted; the device sends it with its next uplink by itself.
    pub confirmed: bool,
    /// Downlink frame counter; a repetition of a confirmed downlink has a new one.
    pub counter: u32,
}

/// An uplink with everything that can be told about it.
///
/// Unless told otherwise it is an unconfirmed LoRa frame at SF7BW125 on one of the three EU868 join
/// channels, heard by one gateway, now.
///
/// ```
/// use serde_json::json;
/// use ttn::Network;
/// use ttn::simulator::{Simulator, Uplink};
///
/// let network = Simulator::start(Network::V3)?;
/// let device = network.device("soil-probe-07");
/// let uplink = Uplink::new(2, [0x01, 0x67]).confirmed(true).fields(json!({"moisture": 35.9})).gateways(3);
/// assert_eq!(device.send(uplink), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Uplink {
    pub(super) port: u8,
    pub(super) payload: Vec<u8>,
    pub(super) counter: Option<u32>,
    pub(super) confirmed: bool,
    pub(super) retry: bool,
    pub(super) simulated: bool,
    pub(super) fields: Option<Value>,
    pub(super) gateways: usize,
    pub(super) modulation: Modulation,
    pub(super) frequency: Option<u32>,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) location: Option<Location>,
    pub(super) time: Option<SystemTime>,
    pub(super) warnings: Vec<String>,
    pub(super) normalized: Vec<Value>,
    pub(super) battery: Option<f32>,
    pub(super) packet_broker: bool,
}

impl Uplink {
    /// An uplink with that FPort and payload. FPort 0 has no payload for the application.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let uplink = Uplink::new(2, [0x01, 0x67]);
    /// ```
    pub fn new(port: u8, payload: impl AsRef<[u8]>) -> Self {
        Self {
            port,
            payload: payload.as_ref().to_vec(),
            counter: None,
            confirmed: false,
            retry: false,
            simulated: false,
            fields: None,
            gateways: 1,
            modulation: Modulation::Lora("SF7BW125".into()),
            frequency: None,
            attributes: BTreeMap::new(),
            location: None,
            time: None,
            warnings: Vec::new(),
            normalized: Vec::new(),
            battery: None,
            packet_broker: false,
        }
    }

    /// Sets the frame counter; later uplinks count on from it. Default: one more than the last, 0
    /// after a join.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let after_a_gap = Uplink::new(2, [1]).counter(70_000);
    /// ```
    #[must_use]
    pub fn counter(mut self, counter: u32) -> Self {
        self.counter = Some(counter);
        self
    }

    /// Asks the network for an acknowledgement, which it sends when the receive window closes.
    /// Default: no.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let confirmed = Uplink::new(2, [1]).confirmed(true);
    /// ```
    #[must_use]
    pub fn confirmed(mut self, confirmed: bool) -> Self {
        self.confirmed = confirmed;
        self
    }

    /// Repeats the last frame counter, as a device does that heard no acknowledgement. The network
    /// does not look for an acknowledgement in it. V2 answers with the downlink it sent before; v3
    /// does not publish it again. Default: no.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let again = Uplink::new(2, [1]).confirmed(true).retry(true);
    /// ```
    #[must_use]
    pub fn retry(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// Makes it an uplink simulated from the console: frame counter 0, no receive window, and on V2
    /// no radio data, on v3 those of an invented gateway and `simulated`. Default: no.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let from_the_console = Uplink::new(2, [1]).simulated(true);
    /// ```
    #[must_use]
    pub fn simulated(mut self, simulated: bool) -> Self {
        self.simulated = simulated;
        self
    }

    /// Reports these decoded fields, an object, and does not call the application's decoder.
    ///
    /// ```
    /// use serde_json::json;
    /// use ttn::simulator::Uplink;
    ///
    /// let decoded = Uplink::new(2, [1]).fields(json!({"door": "open"}));
    /// ```
    #[must_use]
    pub fn fields(mut self, fields: Value) -> Self {
        self.fields = Some(fields);
        self
    }

    /// How many gateways heard it. Default 1. With none the network has no way to send a downlink.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let well_heard = Uplink::new(2, [1]).gateways(4);
    /// ```
    #[must_use]
    pub fn gateways(mut self, count: usize) -> Self {
        self.gateways = count;
        self
    }

    /// LoRa data rate, `SF7BW125` by default. The airtime of an unknown one is not reported.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let far_away = Uplink::new(2, [1]).data_rate("SF12BW125");
    /// ```
    #[must_use]
    pub fn data_rate(mut self, data_rate: impl Into<String>) -> Self {
        self.modulation = Modulation::Lora(data_rate.into());
        self
    }

    /// Uses FSK at 50 kbit/s on 868.8 MHz in place of LoRa.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let fsk = Uplink::new(2, [1]).fsk();
    /// ```
    #[must_use]
    pub fn fsk(mut self) -> Self {
        self.modulation = Modulation::Fsk;
        self.frequency.get_or_insert(868_800_000);
        self
    }

    /// Uses LR-FHSS in place of LoRa; V2 did not know it. Default: no.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let hopping = Uplink::new(2, [1]).lr_fhss();
    /// ```
    #[must_use]
    pub fn lr_fhss(mut self) -> Self {
        self.modulation = Modulation::LrFhss;
        self
    }

    /// Frequency in MHz. Default: 868.1, 868.3 and 868.5 in turn.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let in_the_united_states = Uplink::new(2, [1]).frequency(903.9).data_rate("SF10BW125");
    /// ```
    #[must_use]
    pub fn frequency(mut self, megahertz: f64) -> Self {
        self.frequency = Some((megahertz * 1e6).round() as u32);
        self
    }

    /// Adds an attribute, as registered for the device; printed by V2 and, from release 3.34.0, by
    /// The Things Stack. Default: none.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let uplink = Uplink::new(2, [1]).attribute("bench", "north");
    /// ```
    #[must_use]
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(key.into(), value.into());
        self
    }

    /// On V2 the location of the device in this one message; on v3 a position found in the payload,
    /// which is also published as `location/solved` and shown with later uplinks. Default: that of
    /// the registration, if any.
    ///
    /// ```
    /// use ttn::simulator::{Location, Uplink};
    ///
    /// let location = Location { latitude: 37.80444, longitude: -122.27083, altitude: 3 };
    /// let uplink = Uplink::new(2, [1]).location(location);
    /// ```
    #[must_use]
    pub fn location(mut self, location: Location) -> Self {
        self.location = Some(location);
        self
    }

    /// When the network received it. Default: now.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use ttn::simulator::Uplink;
    ///
    /// let uplink = Uplink::new(2, [1]).time(SystemTime::UNIX_EPOCH + Duration::from_secs(1_520_581_282));
    /// ```
    #[must_use]
    pub fn time(mut self, time: SystemTime) -> Self {
        self.time = Some(time);
        self
    }

    /// Adds a warning of the decoder. v3 only. Default: none.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let uplink = Uplink::new(2, [1]).warning("calibration missing");
    /// ```
    #[must_use]
    pub fn warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// Adds a measurement of the normalized payload, an object, that is also published on
    /// `up/normalized`. v3 only. Default: none.
    ///
    /// ```
    /// use serde_json::json;
    /// use ttn::simulator::Uplink;
    ///
    /// let uplink = Uplink::new(2, [1]).normalized(json!({"air": {"temperature": 21.5}}));
    /// ```
    #[must_use]
    pub fn normalized(mut self, measurement: Value) -> Self {
        self.normalized.push(measurement);
        self
    }

    /// Reports the charge of the battery in percent; the network shows it with this and all later
    /// uplinks. v3 only. Default: none.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let uplink = Uplink::new(2, [1]).battery(87.5);
    /// ```
    #[must_use]
    pub fn battery(mut self, percent: f32) -> Self {
        self.battery = Some(percent);
        self
    }

    /// Lets a gateway of another network hear it too, whose copy comes through Packet Broker. v3
    /// only. Default: no.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let roaming = Uplink::new(2, [1]).gateways(0).packet_broker(true);
    /// ```
    #[must_use]
    pub fn packet_broker(mut self, heard: bool) -> Self {
        self.packet_broker = heard;
        self
    }
}

/// A simulated device: a handle, cheap to clone, that also works while the network is stopped.
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
    pub(super) app_id: String,
    pub(super) dev_id: String,
    pub(super) handler: Arc<dyn Handler>,
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
    fn describe(&self) -> Option<Description> {
        self.handler.describe(&self.app_id, &self.dev_id)
    }

    /// Device id.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert_eq!(network.device("pump-1").dev_id(), "pump-1");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn dev_id(&self) -> &str {
        &self.dev_id
    }

    /// Application id, with the tenant if there is one.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert_eq!(network.device("pump-1").app_id(), network.app_id());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    /// DevEUI, 16 upper-case hexadecimal digits, the same in every run; empty once the device was
    /// deleted.
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

    /// DevAddr of the newest session, 8 upper-case hexadecimal digits; empty without a session and
    /// once the device was deleted.
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

    /// Joins: the network publishes `join`, on V2 `activations`, the device gets a new DevAddr and
    /// its frame counters restart. On v3 the session begins with the next uplink. The downlink
    /// queue stays.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-1").join();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn join(&self) {
        self.handler.join(&self.app_id, &self.dev_id, None);
    }

    /// Tries to join and is refused with that error; nothing else changes. v3 has no message about
    /// it.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-1").join_fails("Activation DevNonce not valid: already used");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn join_fails(&self, error: &str) {
        self.handler.join(&self.app_id, &self.dev_id, Some(error));
    }

    /// Sends an ordinary uplink and opens a receive window; the frame counter it had.
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

    /// Sends an uplink; the frame counter it had. A deleted device is not heard and gets 0.
    ///
    /// What follows from the uplink is published before this returns, and a receive window is open
    /// then, 100 ms unless [built otherwise](super::SimulatorBuilder::receive_window). The next
    /// uplink of the device closes it early. A device of class C needs no window, and on V2 a
    /// downlink already in progress is repeated at once.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let counter = network.device("pump-1").send(Uplink::new(2, [1]).fsk());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send(&self, uplink: Uplink) -> u32 {
        self.handler.uplink(&self.app_id, &self.dev_id, uplink)
    }

    /// Everything the device gets by radio. Clones of the receiver share one stream: each downlink
    /// reaches one of them.
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

    /// The next downlink the device gets by radio, `None` after the timeout.
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

    /// The downlinks that wait in the network, next one first, without the one in progress.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(network.device("pump-1").queue().is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn queue(&self) -> Vec<QueuedDownlink> {
        self.describe().map_or_else(Vec::new, |device| device.queue)
    }

    /// The downlink the network took from the queue last and did not finish. On v3 a confirmed one
    /// until the next uplink, which acknowledges it or puts it back into the queue; on V2 a
    /// confirmed one until it is acknowledged or replaced, an unconfirmed one until the next
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

    /// Makes the device hear confirmed downlinks but never acknowledge them, until switched off
    /// again.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-1").stops_acknowledging(true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stops_acknowledging(&self, stop: bool) {
        self.order(Order::Acknowledge(!stop));
    }

    fn order(&self, order: Order<'_>) {
        self.handler.order(&self.app_id, &self.dev_id, order);
    }

    /// Makes it a class C device, which listens all the time: the network sends what is queued at
    /// once. v3 only.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-1").class_c(true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn class_c(&self, on: bool) {
        self.order(Order::ClassC(on));
    }

    /// Takes its session and its queue away, as if it had never joined: it is not heard until it
    /// [joins](Self::join), and downlinks fail with `no_device_session`. v3 only.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// device.forget_session();
    /// assert_eq!(device.dev_addr(), "");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn forget_session(&self) {
        self.order(Order::ForgetSession);
    }

    /// Publishes `down/invalidated` with what is queued and empties the queue, as for an
    /// application that does its own payload encryption. v3 only.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-1").invalidate_queue();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn invalidate_queue(&self) {
        self.order(Order::InvalidateQueue);
    }

    /// Publishes an object of an application package on `service/data`; null leaves it out. v3
    /// only.
    ///
    /// ```
    /// use serde_json::json;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// device.service_data("lora-cloud-device-management-v1", &json!({"fports": [199]}));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn service_data(&self, service: &str, data: &Value) {
        self.order(Order::ServiceData(service, data));
    }

    /// Publishes a location that a service found on `location/solved`. v3 only.
    ///
    /// ```
    /// use ttn::simulator::Location;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let location = Location { latitude: 51.92442, longitude: 4.477733, altitude: 14 };
    /// network.device("pump-1").location_solved("lora-cloud-geolocation-v3", location);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn location_solved(&self, service: &str, location: Location) {
        self.order(Order::LocationSolved(service, location));
    }
}
