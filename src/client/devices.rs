//! The list of the devices.

use super::MqttClient;
use crate::{
    error::{Error, Result},
    stats::DeviceStatus,
};

impl MqttClient {
    /// Lists each device that the client has heard, by its id: its last uplink and how often it usually sends, the
    /// frames that were lost, its gateway, what it has used today, and the downlinks that are open.
    /// [Fetched](crate::MqttClientBuilder::backfill) uplinks count too; simulated and
    /// [retained](crate::Event::is_retained) ones do not. Needs
    /// [`device_watch`](crate::MqttClientBuilder::device_watch). Does not wait, and asks the network nothing.
    ///
    /// If there are more devices than [`counter_watch`](crate::MqttClientBuilder::counter_watch) allows, the client
    /// forgets those that were silent longest. The client goes on decoding while the list is made.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) without `device_watch`;
    /// [`ErrorKind::Forked`](crate::ErrorKind::Forked).
    ///
    /// ```
    /// # use ttn::{Event, MqttClient, Network, simulator::Simulator};
    /// # let network = Simulator::start(Network::V3)?;
    /// let client = MqttClient::builder(network.app_id(), network.access_key())
    ///     .mqtt_address(network.mqtt_address())
    ///     .device_watch(true)
    ///     .build()?;
    /// let events = client.events();
    /// client.connect()?;
    /// network.device("soil-probe-07").uplink(1, [0x01, 0x02]);
    /// while !matches!(events.recv()?, Event::Uplink(_)) {}
    /// for device in client.devices()? {
    ///     println!("{} was heard {:?} ago, by {}", device.dev_id, device.heard_ago, device.gateway);
    ///     assert_eq!((device.counter, device.today.uplinks, device.frames.missing()), (0, 1, 0));
    /// }
    /// # assert_eq!(client.devices()?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn devices(&self) -> Result<Vec<DeviceStatus>> {
        let core = self.core();
        core.check_process()?;
        let status = &core.link.status;
        let Some(mut devices) = status.tally().list_devices() else {
            return Err(Error::config(
                "this client remembers too little to list its devices; set device_watch(true) on its builder",
            ));
        };
        let mut open = status.open_downlinks();
        for device in &mut devices {
            device.open_downlinks = open.remove(device.dev_id.as_str()).unwrap_or(0);
        }
        Ok(devices)
    }
}
