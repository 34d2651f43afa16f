//! A downlink on the device.

/// A downlink that a device received by radio.
///
/// Frames without an application payload, which only acknowledge an uplink, are left out.
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
    /// The payload.
    pub payload: Vec<u8>,
    /// Whether it requests an acknowledgement, which the device sends with its next uplink.
    pub confirmed: bool,
    /// Downlink frame counter; a repeated confirmed downlink has a new one.
    pub counter: u32,
}
