//! How an uplink travelled: radio settings, gateways, places.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

/// How and when an uplink was received.
///
/// Text that the network did not send is empty, numbers that it did not send are `None`.
///
/// ```
/// # use ttn::{Network, UplinkMessage};
/// let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"a1","dev_id":"d1","metadata":
///     {"time":"2018-03-09T07:41:22.5Z","frequency":868.3,"data_rate":"SF8BW125","airtime":102912000}}"#).unwrap();
/// assert_eq!(uplink.metadata.frequency, Some(868.3));
/// assert_eq!(uplink.metadata.data_rate, "SF8BW125");
/// assert_eq!(uplink.metadata.airtime.unwrap().as_micros(), 102_912);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Metadata {
    /// When the network server received the uplink.
    pub time: Option<SystemTime>,
    /// Carrier frequency in MHz.
    pub frequency: Option<f64>,
    /// `LORA` or `FSK`.
    pub modulation: String,
    /// LoRa data rate, such as `SF7BW125`; empty for FSK.
    pub data_rate: String,
    /// FSK bit rate in bit/s; `None` for LoRa.
    pub bit_rate: Option<u32>,
    /// LoRa coding rate, such as `4/5`.
    pub coding_rate: String,
    /// How long the uplink occupied the channel.
    pub airtime: Option<Duration>,
    /// The gateways that received the uplink, in no promised order; one with several antennas may
    /// occur several times.
    pub gateways: Vec<Gateway>,
    /// Where the device is, as registered.
    pub location: Option<Location>,
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
    /// The gateway's id, often `eui-` and 16 hex digits.
    pub gtw_id: String,
    /// Whether the gateway authenticated itself to the network.
    pub gtw_trusted: bool,
    /// The gateway's own clock in microseconds; wraps every 71.6 minutes.
    pub timestamp: Option<u32>,
    /// Nanoseconds of a fine timestamp.
    pub fine_timestamp: Option<u64>,
    /// The gateway's own idea of the time; it can be minutes off.
    pub time: Option<SystemTime>,
    /// Which antenna received.
    pub antenna: u8,
    /// Which channel of the gateway.
    pub channel: u32,
    /// Received signal strength in dBm. Old servers leave out a value of 0.
    pub rssi: Option<f64>,
    /// Signal-to-noise ratio in dB. Old servers leave out a value of 0.
    pub snr: Option<f64>,
    /// Which RF chain of the gateway.
    pub rf_chain: u32,
    /// Where the gateway is.
    pub location: Option<Location>,
    /// Members that this crate does not name, as the network sent them.
    pub extra: Map<String, Value>,
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
    /// Where the place is known from, such as `registry` or `gps`.
    pub source: String,
}
