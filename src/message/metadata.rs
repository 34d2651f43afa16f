//! How an uplink was received: radio settings, gateways, locations.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::json;

/// How and when an uplink was received.
///
/// Text that the network did not send is empty; numbers that it did not send are `None`.
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
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Metadata {
    /// When the network server received the uplink.
    #[serde(serialize_with = "json::optional_time")]
    pub time: Option<SystemTime>,
    /// Carrier frequency in MHz.
    pub frequency: Option<f64>,
    /// `LORA`, `FSK` or, on v3, `LR_FHSS`.
    pub modulation: Cow<'static, str>,
    /// LoRa data rate, such as `SF7BW125`, or that of LR-FHSS, such as `M0CW137`; empty for FSK, and if a
    /// part of it is missing. See [`spreading_factor`](Self::spreading_factor) and
    /// [`bandwidth`](Self::bandwidth).
    #[serde(flatten, serialize_with = "data_rate")]
    pub data_rate: String,
    /// FSK bit rate in bit/s; `None` for LoRa.
    pub bit_rate: Option<u32>,
    /// Coding rate, such as `4/5`; empty for FSK.
    pub coding_rate: String,
    /// How long the uplink occupied the channel.
    #[serde(serialize_with = "json::optional_seconds")]
    pub airtime: Option<Duration>,
    /// The earliest of the gateways' clocks, in microseconds. v3 only.
    pub timestamp: Option<u32>,
    /// The time according to that gateway, which can be minutes off. v3 only.
    #[serde(serialize_with = "json::optional_time")]
    pub gateway_time: Option<SystemTime>,
    /// The gateways that received the uplink, in no guaranteed order. A gateway with several antennas
    /// may occur several times.
    pub gateways: Vec<Gateway>,
    /// The registered location of the device (v3: the entry `user` of
    /// [`locations`](Self::locations)).
    pub location: Option<Location>,
    /// The locations of the device by source: `user`, `frm-payload` for a position from the payload,
    /// or the name of a service. v3 only.
    pub locations: BTreeMap<String, Location>,
    /// Members that have no field in this crate, and [odd ones](crate::Stats::odd_members), which could not
    /// be read; both as the network sent them.
    pub extra: Map<String, Value>,
}

impl Metadata {
    /// Returns the LoRa spreading factor, 5 to 12. `None` for FSK and LR-FHSS, and if the network did not
    /// send it.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// let uplink = UplinkMessage::from_json(Network::V2,
    ///     r#"{"app_id":"a1","dev_id":"d1","metadata":{"modulation":"LORA","data_rate":"SF7BW125"}}"#)?;
    /// assert_eq!(uplink.metadata.spreading_factor(), Some(7));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn spreading_factor(&self) -> Option<u8> {
        Some(lora_rate(&self.data_rate)?.0)
    }

    /// Returns the LoRa bandwidth in Hz. `None` for FSK and LR-FHSS, and if the network did not send it:
    /// FSK has a [`bit_rate`](Self::bit_rate), and the number behind `CW` in the
    /// [`data_rate`](Self::data_rate) of LR-FHSS is the width of its whole channel in kHz. The signal hops
    /// within it, and is much narrower.
    ///
    /// ```
    /// # use ttn::{Network, UplinkMessage};
    /// # let ids = r#""end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}}"#;
    /// let uplink = |rate| UplinkMessage::from_json(Network::V3,
    ///     format!(r#"{{{ids},"uplink_message":{{"settings":{{"data_rate":{rate}}}}}}}"#));
    /// let lora = uplink(r#"{"lora":{"bandwidth":125000,"spreading_factor":7}}"#)?;
    /// assert_eq!(lora.metadata.bandwidth(), Some(125_000));
    /// let hopping = uplink(r#"{"lrfhss":{"operating_channel_width":137000}}"#)?;
    /// assert_eq!((hopping.metadata.data_rate.as_str(), hopping.metadata.bandwidth()), ("M0CW137", None));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn bandwidth(&self) -> Option<u32> {
        Some(lora_rate(&self.data_rate)?.1)
    }
}

/// Returns spreading factor and bandwidth in Hz from a data rate such as `SF7BW125` or `SF8BW62.5`.
fn lora_rate(data_rate: &str) -> Option<(u8, u32)> {
    const FACTORS: RangeInclusive<u8> = 5..=12;
    let (factor, kilohertz) = data_rate.strip_prefix("SF")?.split_once("BW")?;
    let (whole, fraction) = kilohertz.split_once('.').unwrap_or((kilohertz, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if ![factor, whole, fraction].into_iter().all(is_number) || fraction.len() > 3 {
        return None;
    }
    let hertz: u32 = format!("{whole}{fraction:0<3}").parse().ok()?;
    let factor = factor.parse().ok()?;
    (FACTORS.contains(&factor) && hertz > 0).then_some((factor, hertz))
}

/// Writes a data rate with what it consists of.
fn data_rate<S: Serializer>(data_rate: &str, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct DataRate<'a> {
        data_rate: &'a str,
        spreading_factor: Option<u8>,
        bandwidth: Option<u32>,
    }
    let (spreading_factor, bandwidth) = lora_rate(data_rate).unzip();
    DataRate {
        data_rate,
        spreading_factor,
        bandwidth,
    }
    .serialize(serializer)
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
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Gateway {
    /// The gateway id, often `eui-` and 16 hex digits. On v3 `packetbroker` stands for every
    /// gateway of another network; [`packet_broker`](Self::packet_broker) identifies it.
    pub gtw_id: String,
    /// The gateway's EUI, 16 upper-case hex digits; empty on V2 and for gateways without an EUI.
    pub eui: String,
    /// Whether the gateway authenticated itself to the network. V2 only.
    pub gtw_trusted: bool,
    /// The gateway's own clock in microseconds; wraps every 71.6 minutes.
    pub timestamp: Option<u32>,
    /// Nanoseconds of a fine timestamp.
    pub fine_timestamp: Option<u64>,
    /// A fine timestamp that only its owner can decrypt.
    #[serde(serialize_with = "json::base64")]
    pub encrypted_fine_timestamp: Vec<u8>,
    /// The name of the key for it. v3 only.
    pub encrypted_fine_timestamp_key_id: String,
    /// The time according to the gateway, which can be minutes off.
    #[serde(serialize_with = "json::optional_time")]
    pub time: Option<SystemTime>,
    /// The time by GPS. v3 only, and rare.
    #[serde(serialize_with = "json::optional_time")]
    pub gps_time: Option<SystemTime>,
    /// When the gateway server received it. v3 only.
    #[serde(serialize_with = "json::optional_time")]
    pub received_at: Option<SystemTime>,
    /// The antenna that received it.
    pub antenna: u32,
    /// The channel of the gateway.
    pub channel: u32,
    /// Received signal strength in dBm. Servers leave out 0, and some partner networks do not share
    /// the value.
    pub rssi: Option<f64>,
    /// Total signal strength on the channel, in dBm; on v3 the same as
    /// [`rssi`](Self::rssi).
    pub channel_rssi: Option<f64>,
    /// Strength of the signal alone, in dBm. v3 only.
    pub signal_rssi: Option<f64>,
    /// Standard deviation of the strength, in dB. v3 only.
    pub rssi_standard_deviation: Option<f64>,
    /// Signal-to-noise ratio in dB. Servers leave out 0 and the value for FSK, and some partner
    /// networks do not share it.
    pub snr: Option<f64>,
    /// The deviation of the signal from its frequency, in Hz. v3 only.
    pub frequency_offset: Option<i64>,
    /// The change of that deviation during the frame, in Hz; LR-FHSS only. v3 only.
    pub frequency_drift: Option<i32>,
    /// The number of steps over which the frequency hopped; LR-FHSS only. v3 only.
    pub hopping_width: Option<u32>,
    /// The RF chain of the gateway. V2 only.
    pub rf_chain: u32,
    /// Whether the network may send downlinks through this gateway: empty if it may, otherwise `NEVER`
    /// or `PREFER_OTHER`. v3 only.
    pub downlink_path_constraint: String,
    /// The network's token for this reception. v3 only.
    pub uplink_token: String,
    /// The owner of the gateway, if it belongs to another network. v3 only.
    pub packet_broker: Option<Box<PacketBroker>>,
    /// The relay that forwarded the uplink. v3 only.
    pub relay: Option<Relay>,
    /// The location of the gateway.
    pub location: Option<Location>,
    /// Members that have no field in this crate, and [odd ones](crate::Stats::odd_members), which could not
    /// be read; both as the network sent them.
    pub extra: Map<String, Value>,
}

/// A gateway of another network whose message came through Packet Broker, the exchange between
/// LoRaWAN networks. Any member may be missing.
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
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PacketBroker {
    /// The message id of the exchange.
    pub message_id: String,
    /// NetID of the gateway's network, 6 upper-case hex digits.
    pub forwarder_net_id: String,
    /// Tenant of the gateway's network.
    pub forwarder_tenant_id: String,
    /// Cluster of the gateway's network.
    pub forwarder_cluster_id: String,
    /// EUI of the gateway, 16 upper-case hex digits.
    pub forwarder_gateway_eui: String,
    /// Id of the gateway.
    pub forwarder_gateway_id: String,
    /// NetID of the device's network, 6 upper-case hex digits.
    pub home_network_net_id: String,
    /// Tenant of the device's network.
    pub home_network_tenant_id: String,
    /// Cluster of the device's network.
    pub home_network_cluster_id: String,
    /// The hops of the message, as the network sent them.
    pub hops: Vec<Value>,
}

/// The relay that forwarded an uplink.
///
/// ```
/// # use ttn::{Network, UplinkMessage};
/// # let uplink = UplinkMessage::from_json(Network::V3,
/// #     r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},"uplink_message":
/// #     {"rx_metadata":[{"gateway_ids":{"gateway_id":"mill-1"},"relay":{"device_id":"relay-3"}}]}}"#)?;
/// assert_eq!(uplink.metadata.gateways[0].relay.as_ref().unwrap().device_id, "relay-3");
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Relay {
    /// The device id of the relay.
    pub device_id: String,
    /// The wake-on-radio channel: empty for the default channel, or `SECONDARY`.
    pub wor_channel: String,
}

/// A location. Networks leave out a coordinate of exactly 0, which reads as 0 here. If both are missing,
/// or one is `null` or not a number, there is no location, and what was sent is in the nearest `extra`.
///
/// ```
/// # use ttn::{Network, UplinkMessage};
/// let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1","metadata":
///     {"latitude":51.92442,"longitude":4.477733,"altitude":14}}"#).unwrap();
/// let place = uplink.metadata.location.as_ref().unwrap();
/// assert_eq!((place.latitude, place.altitude), (51.92442, 14));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Location {
    /// Degrees, north is positive.
    pub latitude: f64,
    /// Degrees, east is positive.
    pub longitude: f64,
    /// Metres above sea level; may be negative. 0 if the network did not send it. Also 0 if it is not a
    /// whole number, such as 14.5, which is then in the nearest `extra`.
    pub altitude: i32,
    /// Accuracy in metres.
    pub accuracy: Option<u32>,
    /// The source of the location: `registry`, `gps`, `ip_geolocation`, `wifi_rssi_geolocation`,
    /// `lora_tdoa_geolocation` and others.
    pub source: Cow<'static, str>,
}
