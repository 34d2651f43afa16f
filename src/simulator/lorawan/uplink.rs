//! An uplink.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use fastrand::Rng;
use serde_json::Value;

use super::{Gateway, Location, Modulation, gateway};

/// An uplink with all its details.
///
/// By default, it is an unconfirmed LoRa frame at SF7BW125 on one of the three EU868 join channels,
/// received now by one gateway.
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
    pub(crate) port: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) counter: Option<u32>,
    pub(crate) confirmed: bool,
    pub(crate) retry: bool,
    pub(crate) simulated: bool,
    pub(crate) fields: Option<Value>,
    pub(crate) gateways: usize,
    pub(crate) heard_by: Vec<Gateway>,
    pub(crate) modulation: Modulation,
    pub(crate) coding_rate: Option<String>,
    pub(crate) frequency: Option<u32>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) location: Option<Location>,
    pub(crate) time: Option<SystemTime>,
    pub(crate) warnings: Vec<String>,
    pub(crate) normalized: Vec<Value>,
    pub(crate) battery: Option<f32>,
    pub(crate) packet_broker: bool,
    pub(crate) bad_crc: bool,
    pub(crate) version_ids: Option<Value>,
    pub(crate) options: Option<usize>,
    pub(crate) repeated_after: Option<Duration>,
}

impl Uplink {
    /// Creates an uplink with that FPort and payload.
    ///
    /// With FPort 0 and no payload, it is a frame without FPort. v3 withholds the payload on FPort 0, of
    /// MAC commands, and 226, of relays. It never publishes an uplink on FPort 224, nor its answer to a
    /// confirmed downlink, which is then not sent again.
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
            heard_by: Vec::new(),
            modulation: Modulation::Lora("SF7BW125".into()),
            coding_rate: None,
            frequency: None,
            attributes: BTreeMap::new(),
            location: None,
            time: None,
            warnings: Vec::new(),
            normalized: Vec::new(),
            battery: None,
            packet_broker: false,
            bad_crc: false,
            version_ids: None,
            options: None,
            repeated_after: None,
        }
    }

    /// Sets the frame counter, which later uplinks continue from. Default: one more than the last, 0
    /// after a join.
    ///
    /// After the first uplink of a session, the network hears only a counter that is higher than the last
    /// it has heard, by at most 16,384, unless the device may
    /// [reset it](crate::simulator::Device::resets_counters).
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

    /// Requests an acknowledgement, which the network sends when the receive window closes. Default:
    /// off.
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

    /// Repeats the last frame counter, as a device does when it hears no acknowledgement. The network
    /// expects no acknowledgement in it. V2 does not hear the repetition of an unconfirmed uplink, and
    /// answers that of a confirmed one with the last downlink again; v3 does not publish the uplink
    /// again. Default: off.
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

    /// Simulates the uplink from the console: without frame counter, session and receive window; on V2
    /// without radio data, on v3 with `simulated`, the radio data of an invented gateway, and a position
    /// that is not solved. [`Device::simulate`](crate::simulator::Device::simulate) simulates any message
    /// of v3. Default: off.
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

    /// Publishes these decoded fields, an object, instead of calling the application's decoder.
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

    /// Sets how many of the simulator's own gateways hear it, unless [`heard_by`](Self::heard_by) names
    /// others. With 0, the network cannot send a downlink. Default: 1.
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

    /// Lets this gateway hear it, and with further calls others, instead of the simulator's own
    /// [`gateways`](Self::gateways): once with each antenna. What the same antenna hears again counts
    /// once.
    ///
    /// ```
    /// use ttn::simulator::{Gateway, Uplink};
    ///
    /// let uplink = Uplink::new(2, [1]).heard_by(Gateway::new("roof-east").gps(true));
    /// ```
    #[must_use]
    pub fn heard_by(mut self, gateway: Gateway) -> Self {
        self.heard_by.push(gateway);
        self
    }

    /// Sets the LoRa data rate. The airtime of an unknown data rate is not reported. Default:
    /// `SF7BW125`.
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

    /// Sets the coding rate that the gateways report: `4/5` to `4/8`. Default: `4/5`, and none for FSK.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let sturdy = Uplink::new(2, [1]).coding_rate("4/8");
    /// ```
    #[must_use]
    pub fn coding_rate(mut self, coding_rate: impl Into<String>) -> Self {
        self.coding_rate = Some(coding_rate.into());
        self
    }

    /// Uses FSK at 50 kbit/s, on 868.8 MHz unless a frequency is set, instead of LoRa.
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

    /// Uses LR-FHSS instead of LoRa.
    ///
    /// v3 only: [`Device::send`](crate::simulator::Device::send) panics on V2.
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

    /// Sets the frequency in MHz. Default: 868.1, 868.3 and 868.5 in turn.
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

    /// Adds an attribute, as registered for the device. V2 publishes it unless the decoder fails, The
    /// Things Stack from [release](crate::simulator::SimulatorBuilder::release) 3.34.0 on. Default: none.
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

    /// Sets a location: on V2 that of the device, in this message only; on v3 a position in the
    /// payload, which is also published as `location/solved` and included in later uplinks. Default:
    /// the registered location, if any.
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

    /// Sets when the network receives it. Default: now.
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

    /// Makes the Network Server hand over the uplink a second time, this much later, as it does with a whole
    /// batch when a handover fails halfway: the uplink is published twice, with the same inner `received_at`
    /// and two outer ones. The second message is published at once, too. Default: once.
    ///
    /// v3 only: [`Device::send`](crate::simulator::Device::send) panics on V2.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ttn::simulator::Uplink;
    ///
    /// let twice = Uplink::new(2, [1]).repeated_after(Duration::from_secs(60));
    /// ```
    #[must_use]
    pub fn repeated_after(mut self, time: Duration) -> Self {
        self.repeated_after = Some(time);
        self
    }

    /// Adds a warning of the decoder. Default: none.
    ///
    /// v3 only: [`Device::send`](crate::simulator::Device::send) panics on V2.
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

    /// Adds a measurement, an object, to the normalized payload; it is also published on
    /// `up/normalized`. Default: none.
    ///
    /// v3 only: [`Device::send`](crate::simulator::Device::send) panics on V2.
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

    /// Reports the battery level in percent, which The Things Stack from
    /// [release](crate::simulator::SimulatorBuilder::release) 3.33.1 on includes in this and all later
    /// uplinks. Default: none.
    ///
    /// v3 only: [`Device::send`](crate::simulator::Device::send) panics on V2.
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

    /// Sets the version of the device, as registered from a device repository: an object with
    /// `brand_id`, `model_id`, `hardware_version`, `firmware_version` and `band_id`, each optional.
    /// Default: none.
    ///
    /// v3 only: [`Device::send`](crate::simulator::Device::send) panics on V2.
    ///
    /// ```
    /// use serde_json::json;
    /// use ttn::simulator::Uplink;
    ///
    /// let uplink = Uplink::new(2, [1]).version_ids(json!({"brand_id": "acme", "model_id": "probe-2"}));
    /// ```
    #[must_use]
    pub fn version_ids(mut self, version_ids: Value) -> Self {
        self.version_ids = Some(version_ids);
        self
    }

    /// Damages the frame on its way, so that no gateway forwards it. Default: off.
    ///
    /// v3 only: [`Device::send`](crate::simulator::Device::send) panics on V2.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let lost = Uplink::new(2, [1]).bad_crc(true);
    /// ```
    #[must_use]
    pub fn bad_crc(mut self, bad: bool) -> Self {
        self.bad_crc = bad;
        self
    }

    /// Lets a gateway of another network hear it too and forward it through Packet Broker. Default:
    /// off.
    ///
    /// v3 only: [`Device::send`](crate::simulator::Device::send) panics on V2.
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

    /// Puts MAC commands of that many bytes, 0 to 15, into the frame, which lengthens its time on air.
    /// [`Device::mac_commands`](crate::simulator::Device::mac_commands) lets the network answer them.
    /// Default: on v3, 3 if the device has MAC commands of the network to answer; otherwise 0.
    ///
    /// ```
    /// use ttn::simulator::Uplink;
    ///
    /// let with_answers = Uplink::new(2, [1]).options(6);
    /// ```
    #[must_use]
    pub fn options(mut self, bytes: usize) -> Self {
        self.options = Some(bytes);
        self
    }

    /// Returns the frame counter and stores it as the last one.
    pub(crate) fn count(&self, last: &mut Option<u32>) -> u32 {
        let next = |last: u32| last.wrapping_add(u32::from(!self.retry));
        let counter = self.counter.unwrap_or_else(|| last.map_or(0, next));
        *last = Some(counter);
        counter
    }

    /// Returns the channel and its frequency in Hz.
    pub(crate) fn channel(&self, counter: u32) -> (u32, u32) {
        let channel = counter % 3;
        let frequency = self.frequency.unwrap_or(868_100_000 + 200_000 * channel);
        (channel, frequency)
    }

    /// Returns the length of its frame without MAC commands among its options.
    pub(crate) fn length(&self) -> usize {
        let has_port = self.port > 0 || !self.payload.is_empty();
        super::uplink_length(&self.payload) - usize::from(!has_port)
    }

    /// Returns the coding rate that gateways report.
    pub(crate) fn reported_coding_rate(&self) -> &str {
        let usual = self.modulation.coding_rate();
        self.coding_rate.as_deref().unwrap_or(usual)
    }

    /// Returns its time on air as a frame of that many bytes.
    pub(crate) fn airtime(&self, frame: usize) -> Duration {
        let coding_rate = self.reported_coding_rate();
        self.modulation.airtime(frame, coding_rate)
    }

    /// Returns its frequency in Hz.
    pub(crate) fn hertz(&self, counter: u32) -> u32 {
        self.channel(counter).1
    }

    /// Returns the receptions of the gateways.
    pub(crate) fn receptions(&self, random: &mut Rng) -> Vec<Gateway> {
        if !self.heard_by.is_empty() {
            return gateway::deduplicated(self.heard_by.clone());
        }
        gateway::gateways(self.gateways, random)
    }

    /// Returns the name of a setter that was used and that V2 has no equivalent of, if any.
    pub(crate) fn v3_setter(&self) -> Option<&'static str> {
        [
            ("Uplink::lr_fhss", self.modulation == Modulation::LrFhss),
            ("Uplink::warning", !self.warnings.is_empty()),
            ("Uplink::normalized", !self.normalized.is_empty()),
            ("Uplink::battery", self.battery.is_some()),
            ("Uplink::repeated_after", self.repeated_after.is_some()),
            ("Uplink::packet_broker", self.packet_broker),
            ("Uplink::version_ids", self.version_ids.is_some()),
            ("Uplink::bad_crc", self.bad_crc),
        ]
        .into_iter()
        .find_map(|(setter, is_used)| is_used.then_some(setter))
    }
}
