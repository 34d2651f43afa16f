//! A downlink in the queue.

use serde_json::Value;

/// A downlink that the network holds for a device.
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
    /// FPort of the request; on V2, 0 if the request had none.
    pub port: u8,
    /// Whether the device must acknowledge it.
    pub confirmed: bool,
    /// The bytes of the request, if any.
    pub payload: Option<Vec<u8>>,
    /// The fields of the request, an object that is not encoded yet. On v3 always `None`, because
    /// fields are encoded when they are queued.
    pub fields: Option<Value>,
}
