//! How an uplink travelled: radio settings, gateways, places.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value};

/// How and when an uplink was received.
///
/// Text that the network did not send is empty, numbers that it did not send are `None`.
///
/// ```
/// # use ttn::{Network, UplinkMessage};
/// let v2 = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1","metadata":
///     {"time":"2018-03-09T07:41:22.5Z","frequency":868.3,"data_rate":"SF8BW125","airtime":102912000}}"#)?;
/// let v3 = UplinkMessage::from_json(Network::V3,
///     r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},"uplink_message":
///     {"received_at":"2018-03-09T07:41:22.500Z","consumed_airtime":"0.102912s",
///     "settings":{"data_rate":{"lora":{"bandwidth":125000,"spreading_factor":8}},"frequency":"868300000"}}}"#)?;
/// for metadata in [v2.metadata, v3.metadata] {
///     assert_eq!(metadata.frequency, Some(868.3));
///     assert_eq!(metadata.data_rate, "SF8BW125");
///     assert_eq!(metadata.airtime.unwrap().as_micros(), 102_912);
/// }
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Metadata {
    /// When the network server received the uplink.
    pub time: Option<SystemTime>,
    /// Carrier frequency in MHz.
    pub frequency: Option<f64>,
    /// `LORA`, `FSK` or, on v3, `LR_FHSS`.
    pub modulation: Cow<'static, str>,
    /// LoRa data rate, such as `SF7BW125`, or that of LR-FHSS, such as `M0CW137`; empty for FSK.
    pub data_rate: String,
    /// FSK bit rate in bit/s; `None` for LoRa.
    pub bit_rate: Option<u32>,
    /// Coding rate, such as `4/5`; empty for FSK.
    pub coding_rate: String,
    /// How long the uplink occupied the channel.
    pub airtime: Option<Duration>,
    /// The earliest of the gateways' clocks, in microseconds. v3 only.
    pub timestamp: Option<u32>,
    /// The time by the clock of that gateway; it can be minutes off. v3 only.
    pub gateway_time: Option<SystemTime>,
    /// The gateways that received the uplink, in no promised order; one with several antennas may
    /// occur several times.
    pub gateways: Vec<Gateway>,
    /// Where the device is, as registered (v3: the entry `user` of
    /// [`locations`](Self::locations)).
    pub location: Option<Location>,
    /// Where the device is, by each of those who know: `user`, `frm-payload` for a position out of
    /// the payload, names of services. v3 only.
    pub locations: BTreeMap<String, Location>,
    /// Members that this crate does not name, as the network sent them.
    pub extra: Map<String, Value>,
}

/// One gateway's reception of an uplink.
///
/// ```
/// # use ttn::{Network, UplinkMessage};
/// let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1","metadata":
///     {"gateways":[{"gtw_id":"harbour-roof-2","rssi":-71,"snr":8.75}]}}"#).unwrap();
/// let gateway = &uplink.metadata.gateways[0];
/// assert_eq!(gateway.gtw_id, "harbour-roof-2");
/// assert_eq!(gateway.rssi, Some(-71.0));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Gateway {
    /// The gateway's id, often `eui-` and 16 hex digits. On v3 `packetbroker` stands for every
    /// gateway of another network; [`packet_broker`](Self::packet_broker) says which one it is.
    pub gtw_id: String,
    /// The gateway's EUI, 16 upper-case hex digits; empty on V2 and for gateways without.
    pub eui: String,
    /// Whether the gateway authenticated itself to the network. V2 only.
    pub gtw_trusted: bool,
    /// The gateway's own clock in microseconds; wraps every 71.6 minutes.
    pub timestamp: Option<u32>,
    /// Nanoseconds of a fine timestamp.
    pub fine_timestamp: Option<u64>,
    /// A fine timestamp that only its owner can read. v3 only.
    pub encrypted_fine_timestamp: Vec<u8>,
    /// The name of the key to it. v3 only.
    pub encrypted_fine_timestamp_key_id: String,
    /// The gateway's own idea of the time; it can be minutes off.
    pub time: Option<SystemTime>,
    /// The time by GPS. v3 only, and rare.
    pub gps_time: Option<SystemTime>,
    /// When the gateway server got it. v3 only.
    pub received_at: Option<SystemTime>,
    /// Which antenna received.
    pub antenna: u32,
    /// Which channel of the gateway.
    pub channel: u32,
    /// Received signal strength in dBm. Left out by servers for 0, and by partner networks that do
    /// not share it.
    pub rssi: Option<f64>,
    /// Strength of all that was received on the channel, in dBm; on v3 the same as
    /// [`rssi`](Self::rssi).
    pub channel_rssi: Option<f64>,
    /// Strength of the signal alone, in dBm. v3 only.
    pub signal_rssi: Option<f64>,
    /// Standard deviation of the strength, in dB. v3 only.
    pub rssi_standard_deviation: Option<f64>,
    /// Signal-to-noise ratio in dB. Left out by servers for 0, for FSK, and by partner networks that
    /// do not share it.
    pub snr: Option<f64>,
    /// How far the signal was off its frequency, in Hz. v3 only.
    pub frequency_offset: Option<i64>,
    /// How much that changed during the frame, in Hz; LR-FHSS only. v3 only.
    pub frequency_drift: Option<i32>,
    /// Over how many steps the frequency hopped; LR-FHSS only. v3 only.
    pub hopping_width: Option<u32>,
    /// Which RF chain of the gateway. V2 only.
    pub rf_chain: u32,
    /// Whether the network may send downlinks by this gateway: empty if it may, otherwise `NEVER` or
    /// `PREFER_OTHER`. v3 only.
    pub downlink_path_constraint: String,
    /// By which the network names this reception. v3 only.
    pub uplink_token: String,
    /// Whose gateway it is, if it is of another network. v3 only.
    pub packet_broker: Option<Box<PacketBroker>>,
    /// The relay that the uplink came through. v3 only.
    pub relay: Option<Relay>,
    /// Where the gateway is.
    pub location: Option<Location>,
    /// Members that this crate does not name, as the network sent them.
    pub extra: Map<String, Value>,
}

/// A gateway of another network, and how its message came here: the Packet Broker exchange between
/// LoRaWAN networks. Each member may be missing.
///
/// ```
/// # use ttn::{Network, UplinkMessage};
/// # let uplink = UplinkMessage::from_json(Network::V3,
/// #     r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},"uplink_message":
/// #     {"rx_metadata":[{"gateway_ids":{"gateway_id":"packetbroker"},"packet_broker":{"forwarder_gateway_id":"mill-1"}}]}}"#)?;
/// let gateway = &uplink.metadata.gateways[0];
/// assert_eq!(gateway.gtw_id, "packetbroker");
/// assert_eq!(gateway.packet_broker.as_ref().unwrap().forwarder_gateway_id, "mill-1");
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PacketBroker {
    /// The exchange's id of the message.
    pub message_id: String,
    /// NetID of the network of the gateway, 6 upper-case hex digits.
    pub forwarder_net_id: String,
    /// Its tenant.
    pub forwarder_tenant_id: String,
    /// Its cluster.
    pub forwarder_cluster_id: String,
    /// EUI of the gateway, 16 upper-case hex digits.
    pub forwarder_gateway_eui: String,
    /// Id of the gateway.
    pub forwarder_gateway_id: String,
    /// NetID of the device's network, 6 upper-case hex digits.
    pub home_network_net_id: String,
    /// Its tenant.
    pub home_network_tenant_id: String,
    /// Its cluster.
    pub home_network_cluster_id: String,
    /// The stations on the way, as the network sent them.
    pub hops: Vec<Value>,
}

/// The relay that an uplink came through.
///
/// ```
/// # use ttn::{Network, UplinkMessage};
/// # let uplink = UplinkMessage::from_json(Network::V3,
/// #     r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},"uplink_message":
/// #     {"rx_metadata":[{"gateway_ids":{"gateway_id":"mill-1"},"relay":{"device_id":"relay-3"}}]}}"#)?;
/// assert_eq!(uplink.metadata.gateways[0].relay.as_ref().unwrap().device_id, "relay-3");
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relay {
    /// The relay's device id.
    pub device_id: String,
    /// The wake-on-radio channel: empty for the default one, or `SECONDARY`.
    pub wor_channel: String,
}

/// A place. A coordinate of exactly 0 is not sent by the network and reads as 0 here.
///
/// ```
/// # use ttn::{Network, UplinkMessage};
/// let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1","metadata":
///     {"latitude":51.92442,"longitude":4.477733,"altitude":14}}"#).unwrap();
/// let place = uplink.metadata.location.as_ref().unwrap();
/// assert_eq!((place.latitude, place.altitude), (51.92442, 14));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Location {
    /// Degrees, north is positive.
    pub latitude: f64,
    /// Degrees, east is positive.
    pub longitude: f64,
    /// Metres above sea level, may be negative.
    pub altitude: i32,
    /// Metres.
    pub accuracy: Option<u32>,
    /// Where the place is known from: `registry`, `gps`, `ip_geolocation`, `wifi_rssi_geolocation`,
    /// `lora_tdoa_geolocation` and others.
    pub source: Cow<'static, str>,
}
