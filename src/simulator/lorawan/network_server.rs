//! What the simulator asks of both networks.

use crossbeam_channel::Receiver;

use super::{DeviceId, Location, QueuedDownlink, Received, Rights, Uplink, WindowKey};

/// The network's side of its devices. Resulting messages are posted but not flushed.
pub(crate) trait NetworkServer: Send + Sync {
    /// Adds a key to an application, which is new if its id is unknown, or changes its rights.
    fn add_key(&self, app_id: &str, access_key: &str, rights: Rights);

    /// Removes a key of an application and returns whether there was one.
    fn remove_key(&self, app_id: &str, access_key: &str) -> bool;

    /// Registers the device unless it exists; with `announce`, publishes that where the network does.
    fn register(&self, id: DeviceId<'_>, location: Option<Location>, announce: bool);

    /// Changes the location of the device and returns whether it is registered.
    fn update(&self, id: DeviceId<'_>, location: Option<Location>) -> bool;

    /// Changes the description of the device and returns whether it is registered.
    fn describe_as(&self, id: DeviceId<'_>, description: &str) -> bool;

    /// Deletes the device and returns whether it was registered.
    fn delete(&self, id: DeviceId<'_>) -> bool;

    /// Returns what the network knows about the device, or `None` if it is not registered.
    fn describe(&self, id: DeviceId<'_>) -> Option<Description>;

    /// Returns the ids of the devices of an application, sorted.
    fn device_ids(&self, app_id: &str) -> Vec<String>;

    /// Lets the device join with a frame like this, or refuses it with that error.
    fn join(&self, id: DeviceId<'_>, frame: Result<&Uplink, &str>);

    /// Handles an uplink and returns its frame counter, 0 if the device is not heard.
    fn uplink(&self, id: DeviceId<'_>, uplink: Uplink) -> u32;

    /// Finishes what takes a moment.
    fn settle(&self) {}

    /// Closes a receive window of the device, unless it is closed already, and sends what is due.
    fn close_window(&self, id: DeviceId<'_>, key: WindowKey);

    /// Sets whether the device acknowledges confirmed downlinks.
    fn set_acknowledging(&self, id: DeviceId<'_>, acknowledges: bool);

    /// Sets how many of the next answers to the device carry MAC commands.
    fn set_commands(&self, id: DeviceId<'_>, answers: u32);

    /// Sets whether the frame counter of the device may begin again without a join.
    fn set_counter_resets(&self, id: DeviceId<'_>, on: bool);

    /// Sets whether the gateways cannot transmit.
    fn set_gateways_down(&self, down: bool);
}

/// What the network knows about a device.
pub(crate) struct Description {
    pub(crate) dev_eui: String,
    pub(crate) dev_addr: String,
    pub(crate) in_progress: Option<QueuedDownlink>,
    pub(crate) queue: Vec<QueuedDownlink>,
    pub(crate) received: Receiver<Received>,
}
