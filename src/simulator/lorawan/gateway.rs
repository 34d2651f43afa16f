//! Gateways.

use std::time::{Duration, SystemTime};

use fastrand::Rng;

use super::Location;

/// How the id of every gateway of the simulator's own begins.
const ID_START: &str = "eui-58a0cbfffe80";

/// How long the network waits for copies of a frame from further gateways.
const DEDUPLICATION: Duration = Duration::from_millis(200);

/// The source of a location that the network knows.
pub(crate) const REGISTRY: &str = "registry";

/// A gateway, and how it hears an uplink.
///
/// By default, it has a public location and one antenna; it hears well; and it has neither a clock nor
/// GPS, like most real gateways. Messages of V2 contain neither EUI nor GPS time, nor anything about the
/// signal but RSSI and SNR.
///
/// ```
/// use ttn::Network;
/// use ttn::simulator::{Gateway, Simulator, Uplink};
///
/// let network = Simulator::start(Network::V3)?;
/// let roof = Gateway::new("roof-east").gps(true).rssi(-57.0).snr(8.5);
/// let cellar = Gateway::new("cellar").location(None).rssi(-119.0).snr(-17.25);
/// network.device("pump-1").send(Uplink::new(2, [1]).heard_by(roof).heard_by(cellar));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gateway {
    pub(crate) id: String,
    pub(crate) eui: u64,
    pub(crate) antenna: u32,
    /// Whether V2 trusts it.
    pub(crate) trusted: bool,
    pub(crate) has_clock: bool,
    pub(crate) has_gps: bool,
    /// What its clock shows, if not the time of the network.
    pub(crate) time: Option<SystemTime>,
    pub(crate) fine_timestamp: u64,
    /// The encrypted timestamp and the id of its key.
    pub(crate) encrypted: Option<(Vec<u8>, String)>,
    pub(crate) channel: Option<u32>,
    pub(crate) rssi: f32,
    pub(crate) snr: f32,
    pub(crate) signal_rssi: Option<f32>,
    pub(crate) rssi_deviation: f32,
    pub(crate) frequency_offset: i64,
    pub(crate) constraint: Option<DownlinkConstraint>,
    pub(crate) deaf: bool,
    pub(crate) delay: Duration,
    pub(crate) location: Option<Location>,
    /// Where V2 has the location from, if the gateway states it.
    pub(crate) location_source: Option<String>,
    /// Metres.
    pub(crate) location_accuracy: u32,
}

/// Whether the owner of a gateway lets it transmit downlinks:
/// [`Gateway::downlink_constraint`].
///
/// ```
/// use ttn::simulator::DownlinkConstraint;
///
/// assert_ne!(DownlinkConstraint::PreferOther, DownlinkConstraint::Never);
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DownlinkConstraint {
    /// Only if no other gateway can.
    PreferOther,
    /// Never.
    Never,
}

impl Gateway {
    /// Creates a gateway with that id. An id of the form `eui-` and 16 hexadecimal digits contains its
    /// EUI; the EUI of any other is made up, and the same in every run.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east");
    /// ```
    pub fn new(id: impl Into<String>) -> Self {
        let id = id.into();
        let eui = id
            .strip_prefix("eui-")
            .and_then(|digits| u64::from_str_radix(digits, 16).ok());
        Self {
            eui: eui.unwrap_or_else(|| invented_eui(&id)),
            id,
            antenna: 0,
            trusted: false,
            has_clock: false,
            has_gps: false,
            time: None,
            fine_timestamp: 0,
            encrypted: None,
            channel: None,
            rssi: -85.0,
            snr: 8.5,
            signal_rssi: None,
            rssi_deviation: 0.0,
            frequency_offset: 0,
            constraint: None,
            deaf: false,
            delay: Duration::ZERO,
            location: Some(Location {
                latitude: 51.92442,
                longitude: 4.477733,
                altitude: 14,
            }),
            location_source: None,
            location_accuracy: 0,
        }
    }

    /// Sets the EUI. Default: as [`new`](Self::new) describes.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east").eui(0x58A0_CBFF_FE80_1234);
    /// ```
    #[must_use]
    pub fn eui(mut self, eui: u64) -> Self {
        self.eui = eui;
        self
    }

    /// Sets the public location; `None` stands for a gateway without one, or whose owner does not
    /// publish it. Default: a place in Rotterdam.
    ///
    /// ```
    /// use ttn::simulator::{Gateway, Location};
    ///
    /// let place = Location { latitude: 52.37, longitude: 4.9, altitude: 7 };
    /// let open = Gateway::new("roof-east").location(place);
    /// let secret = Gateway::new("roof-west").location(None);
    /// ```
    #[must_use]
    pub fn location(mut self, location: impl Into<Option<Location>>) -> Self {
        self.location = location.into();
        self
    }

    /// Makes the gateway state its location itself, with this source: `gps`, `config` or
    /// `ip_geolocation`. V2 then prints the location in activations too. Default: `gps` for a gateway
    /// with [GPS](Self::gps); otherwise the network knows the location from the registry. v3 ignores
    /// it.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east").location_source("config");
    /// ```
    #[must_use]
    pub fn location_source(mut self, source: impl Into<String>) -> Self {
        self.location_source = Some(source.into());
        self
    }

    /// Sets the accuracy of the location in metres; messages omit 0. v3 ignores it. Default: 0.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east").location_source("ip_geolocation").location_accuracy(2_000);
    /// ```
    #[must_use]
    pub fn location_accuracy(mut self, metres: u32) -> Self {
        self.location_accuracy = metres;
        self
    }

    /// Makes V2 trust it, as a gateway that has identified itself. v3 has no such mark and ignores it.
    /// Default: off.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east").trusted(true);
    /// ```
    #[must_use]
    pub fn trusted(mut self, trusted: bool) -> Self {
        self.trusted = trusted;
        self
    }

    /// Gives it a clock: it reports the `time` at which it hears the uplink, in microseconds. Default:
    /// off.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east").clock(true);
    /// ```
    #[must_use]
    pub fn clock(mut self, has_clock: bool) -> Self {
        self.has_clock = has_clock;
        self
    }

    /// Gives it a clock that always shows this time. Default: no clock; with [`clock`](Self::clock) or
    /// [`gps`](Self::gps), a correct one.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use ttn::simulator::Gateway;
    ///
    /// let behind = SystemTime::now() - Duration::from_secs(3600);
    /// let gateway = Gateway::new("roof-east").time(behind);
    /// ```
    #[must_use]
    pub fn time(mut self, time: SystemTime) -> Self {
        self.has_clock = true;
        self.time = Some(time);
        self
    }

    /// Gives it GPS: it reports `gps_time`, and `time` equal to it, in milliseconds, and can transmit
    /// downlinks at an absolute time. Default: off.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east").gps(true);
    /// ```
    #[must_use]
    pub fn gps(mut self, has_gps: bool) -> Self {
        self.has_gps = has_gps;
        self
    }

    /// Sets the fine timestamp in nanoseconds; messages omit 0. Default: 0.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east").gps(true).fine_timestamp(123_456_789);
    /// ```
    #[must_use]
    pub fn fine_timestamp(mut self, nanoseconds: u64) -> Self {
        self.fine_timestamp = nanoseconds;
        self
    }

    /// Sets an encrypted fine timestamp and the id of its key. Default: none.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east").encrypted_fine_timestamp([0x5a; 16], "42");
    /// ```
    #[must_use]
    pub fn encrypted_fine_timestamp(
        mut self,
        timestamp: impl AsRef<[u8]>,
        key_id: impl Into<String>,
    ) -> Self {
        self.encrypted = Some((timestamp.as_ref().to_vec(), key_id.into()));
        self
    }

    /// Sets the index of the antenna that hears the uplink. A gateway with several antennas hears it
    /// once with each: call [`Uplink::heard_by`](super::Uplink::heard_by) for each of them. Antennas
    /// other than the first transmit nothing and, on v3, have no location. Default: 0.
    ///
    /// ```
    /// use ttn::simulator::{Gateway, Uplink};
    ///
    /// let gateway = Gateway::new("tower");
    /// let uplink = Uplink::new(2, [1])
    ///     .heard_by(gateway.clone().rssi(-80.0))
    ///     .heard_by(gateway.antenna(1).rssi(-70.0));
    /// ```
    #[must_use]
    pub fn antenna(mut self, index: u32) -> Self {
        self.antenna = index;
        self
    }

    /// Sets the index of the channel that hears the uplink; messages omit 0. Default: that of the
    /// frequency in EU868, 0 for 868.1 MHz.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east").channel(7);
    /// ```
    #[must_use]
    pub fn channel(mut self, index: u32) -> Self {
        self.channel = Some(index);
        self
    }

    /// Sets the RSSI of the channel in dBm; messages omit 0. Default: -85.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east").rssi(-119.0);
    /// ```
    #[must_use]
    pub fn rssi(mut self, dbm: f32) -> Self {
        self.rssi = dbm;
        self
    }

    /// Sets the signal-to-noise ratio in dB; messages omit 0. Default: 8.5.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east").snr(-17.25);
    /// ```
    #[must_use]
    pub fn snr(mut self, db: f32) -> Self {
        self.snr = db;
        self
    }

    /// Sets the RSSI of the signal in dBm. Default: none.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east").rssi(-80.0).signal_rssi(-82.0);
    /// ```
    #[must_use]
    pub fn signal_rssi(mut self, dbm: f32) -> Self {
        self.signal_rssi = Some(dbm);
        self
    }

    /// Sets the standard deviation of the RSSI in dB; messages omit 0. Default: 0.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east").rssi_standard_deviation(2.0);
    /// ```
    #[must_use]
    pub fn rssi_standard_deviation(mut self, db: f32) -> Self {
        self.rssi_deviation = db;
        self
    }

    /// Sets the frequency offset in Hz; messages omit 0. Default: 0.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("roof-east").frequency_offset(-1234);
    /// ```
    #[must_use]
    pub fn frequency_offset(mut self, hertz: i64) -> Self {
        self.frequency_offset = hertz;
        self
    }

    /// Limits the downlinks that it transmits. Default: no limit.
    ///
    /// ```
    /// use ttn::simulator::{DownlinkConstraint, Gateway};
    ///
    /// let gateway = Gateway::new("roof-east").downlink_constraint(DownlinkConstraint::Never);
    /// ```
    #[must_use]
    pub fn downlink_constraint(mut self, constraint: DownlinkConstraint) -> Self {
        self.constraint = Some(constraint);
        self
    }

    /// Lets it take no downlinks, as behind a firewall that lets only uplinks through: the network
    /// sends them and never learns that they are lost. Default: off.
    ///
    /// ```
    /// use ttn::simulator::Gateway;
    ///
    /// let gateway = Gateway::new("cellar").deaf(true);
    /// ```
    #[must_use]
    pub fn deaf(mut self, deaf: bool) -> Self {
        self.deaf = deaf;
        self
    }

    /// Sets how late it forwards the uplink. The network waits 200 ms for copies of a frame after the
    /// first one; a later copy is in no message. Default: 0.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ttn::simulator::{Gateway, Uplink};
    ///
    /// let slow = Gateway::new("satellite").delay(Duration::from_millis(900));
    /// let uplink = Uplink::new(2, [1]).heard_by(Gateway::new("roof-east")).heard_by(slow);
    /// ```
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Returns where V2 has the location from.
    pub(crate) fn source_of_location(&self) -> &str {
        let usual = if self.has_gps { "gps" } else { REGISTRY };
        self.location_source.as_deref().unwrap_or(usual)
    }

    /// Returns what messages say about its downlinks.
    pub(crate) fn constraint(&self) -> Option<DownlinkConstraint> {
        match self.antenna {
            0 => self.constraint,
            _ => Some(DownlinkConstraint::Never),
        }
    }
}

/// Returns an EUI for an id.
fn invented_eui(id: &str) -> u64 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    0x58a0_cbff_0000_0000 | (hash & 0xffff_ffff)
}

/// Returns whether one of the simulator's own gateways has that id.
pub(crate) fn is_gateway(id: &str) -> bool {
    id.starts_with(ID_START)
}

/// Returns the simulator's own gateways that heard a frame, nearest first.
pub(crate) fn gateways(count: usize, random: &mut Rng) -> Vec<Gateway> {
    (0..count)
        .map(|index| {
            let distance = i32::try_from(index.min(8)).unwrap_or(8);
            let gateway = Gateway::new(format!("{ID_START}{:04x}", 0xaa11 + index));
            Gateway {
                rssi: (random.i32(-92..=-84) - 4 * distance) as f32,
                snr: random.i32(28..=40) as f32 / 4.0 - 2.5 * distance as f32,
                location: gateway.location.filter(|_| index == 0),
                ..gateway
            }
        })
        .collect()
}

/// Returns one reception for each antenna of each gateway, without copies that come too late.
pub(crate) fn deduplicated(mut heard: Vec<Gateway>) -> Vec<Gateway> {
    let first = heard.iter().map(|gateway| gateway.delay).min();
    let end = first.unwrap_or_default() + DEDUPLICATION;
    let mut antennas = Vec::new();
    heard.retain(|gateway| {
        let antenna = (gateway.id.clone(), gateway.antenna);
        let is_new = gateway.delay <= end && !antennas.contains(&antenna);
        antennas.push(antenna);
        is_new
    });
    heard
}

/// Returns the gateways through which the answer to an uplink can go, first the one that heard it best.
pub(crate) fn answering(heard: &[Gateway]) -> Vec<&Gateway> {
    let may = |gateway: &&Gateway| gateway.constraint() != Some(DownlinkConstraint::Never);
    let mut gateways: Vec<&Gateway> = heard.iter().filter(may).collect();
    gateways.sort_by(|a, b| {
        let avoided = |gateway: &Gateway| gateway.constraint().is_some();
        (avoided(a).cmp(&avoided(b))).then(b.snr.total_cmp(&a.snr))
    });
    gateways
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_answer_in_the_order_in_which_they_heard_best() {
        let heard = [
            Gateway::new("far").snr(-3.0),
            Gateway::new("reluctant")
                .snr(9.0)
                .downlink_constraint(DownlinkConstraint::PreferOther),
            Gateway::new("forbidden")
                .snr(10.0)
                .downlink_constraint(DownlinkConstraint::Never),
            Gateway::new("near").snr(5.0),
            Gateway::new("near").snr(11.0).antenna(1),
        ];
        let gateways = answering(&heard);
        let ids: Vec<_> = gateways.iter().map(|gateway| gateway.id.as_str()).collect();
        assert_eq!(ids, ["near", "far", "reluctant"]);
    }

    #[test]
    fn a_copy_counts_once_for_each_antenna_and_only_within_200_ms() {
        let late = |millis| Duration::from_millis(millis);
        let heard = vec![
            Gateway::new("roof").delay(late(50)),
            Gateway::new("roof").delay(late(60)),
            Gateway::new("roof").antenna(1),
            Gateway::new("hill").delay(late(250)),
            Gateway::new("tower").delay(late(200)),
        ];
        let kept = deduplicated(heard);
        let ids: Vec<_> = kept.iter().map(|gateway| gateway.id.as_str()).collect();
        assert_eq!(ids, ["roof", "roof", "tower"]);
    }

    #[test]
    fn an_eui_is_that_of_the_id_or_the_same_in_every_run() {
        assert_eq!(
            Gateway::new("eui-58a0cbfffe80aa11").eui,
            0x58a0_cbff_fe80_aa11
        );
        assert_eq!(Gateway::new("roof").eui, Gateway::new("roof").eui);
        assert_ne!(Gateway::new("roof").eui, Gateway::new("hill").eui);
    }
}
