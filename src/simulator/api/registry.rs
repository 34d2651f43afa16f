//! Which devices a simulator has.

use super::Simulator;
use crate::{
    Network,
    simulator::{lorawan::DeviceId, v2, v3},
};

impl Simulator {
    /// Returns the ids of the registered devices of the first application, sorted.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-2");
    /// network.device("pump-1");
    /// assert_eq!(network.device_ids(), ["pump-1", "pump-2"]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn device_ids(&self) -> Vec<String> {
        self.instance.server().device_ids(&self.app_id)
    }

    /// Returns whether the first application has a device with this id. [`device`](Self::device) would
    /// register it.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(!network.has_device("pump-1"));
    /// network.device("pump-1");
    /// assert!(network.has_device("pump-1"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn has_device(&self, dev_id: &str) -> bool {
        let app_id = &self.app_id;
        let id = DeviceId { app_id, dev_id };
        self.instance.server().describe(id).is_some()
    }

    /// Returns whether the network allows this id for a device, an application or a tenant: lower-case
    /// letters and digits, on v3 3 to 36 with single `-` between them, on V2 2 to 36 with single `-` or `_`.
    /// A device with another id works in a simulator all the same.
    ///
    /// ```
    /// use ttn::Network;
    /// use ttn::simulator::Simulator;
    ///
    /// assert!(Simulator::is_id(Network::V3, "pump-1"));
    /// assert!(!Simulator::is_id(Network::V3, "pump_1"));
    /// assert!(Simulator::is_id(Network::V2, "pump_1"));
    /// ```
    pub fn is_id(network: Network, id: &str) -> bool {
        match network {
            Network::V2 => v2::is_id(id),
            Network::V3 => v3::is_id(id),
        }
    }
}
