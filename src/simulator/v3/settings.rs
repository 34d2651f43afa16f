//! What can be set about devices and gateways.

use std::time::Duration;

use super::{V3, device::Device, gateways::Gateways};
use crate::simulator::{lorawan::DeviceId, sync::lock};

impl V3 {
    pub(super) fn change_device(&self, id: DeviceId<'_>, change: impl FnOnce(&mut Device)) {
        if let Some(device) = lock(&self.state).devices.get(id) {
            change(device);
        }
    }

    /// Sets whether the device listens all the time.
    pub(in crate::simulator) fn set_class_c(&self, id: DeviceId<'_>, on: bool) {
        let mut state = lock(&self.state);
        let Some(device) = state.devices.get(id) else {
            return;
        };
        device.class_c = on;
        self.serve_listening(&mut state, id);
    }

    /// Sets how long an unanswered confirmed downlink holds up others of a class C device.
    pub(in crate::simulator) fn set_class_c_timeout(&self, id: DeviceId<'_>, timeout: Duration) {
        self.change_device(id, |device| device.class_c_timeout = timeout);
    }

    /// Registers the device with other servers.
    pub(in crate::simulator) fn move_elsewhere(&self, id: DeviceId<'_>, address: &str) {
        let now = self.env.clock.now();
        self.change_device(id, |device| {
            device.elsewhere = Some(address.to_owned());
            device.updated_at = now;
        });
    }

    /// Names the device in its registration.
    pub(in crate::simulator) fn rename(&self, id: DeviceId<'_>, name: &str) {
        let now = self.env.clock.now();
        self.change_device(id, |device| {
            name.clone_into(&mut device.name);
            device.updated_at = now;
        });
    }

    /// Lets the device stand for a group.
    pub(in crate::simulator) fn make_group(&self, id: DeviceId<'_>) {
        self.change_device(id, |device| device.is_group = true);
    }

    /// Takes the EUIs from the device.
    pub(in crate::simulator) fn forget_euis(&self, id: DeviceId<'_>) {
        self.change_device(id, |device| device.dev_eui = None);
    }

    /// Lets the application keep the keys of the device, wrapped with the key of that label.
    pub(in crate::simulator) fn keep_own_keys(&self, id: DeviceId<'_>, label: &str) {
        self.change_device(id, |device| device.own_keys = Some(label.to_owned()));
    }

    /// Sets whether the server answers when the device asks for the time.
    pub(in crate::simulator) fn set_clock_synchronization(&self, id: DeviceId<'_>, on: bool) {
        self.change_device(id, |device| device.synchronizes_clock = on);
    }

    /// Deletes session and queue of the device.
    pub(in crate::simulator) fn forget_session(&self, id: DeviceId<'_>) {
        self.change_device(id, |device| {
            device.session = None;
            device.pending = None;
            device.unanswered = None;
            device.queue.clear();
        });
    }

    /// Sets whether the gateways transmit without a report.
    pub(in crate::simulator) fn set_gateways_silent(&self, silent: bool) {
        self.change_gateways(|gateways| gateways.silent = silent);
    }

    /// Sets whether the gateways take no downlinks though they are connected.
    pub(in crate::simulator) fn set_gateways_deaf(&self, deaf: bool) {
        self.change_gateways(|gateways| gateways.deaf = deaf);
    }

    /// Sets the result of each transmission, `None` if it succeeds.
    pub(in crate::simulator) fn set_transmission_failure(&self, result: Option<String>) {
        self.change_gateways(|gateways| gateways.failure = result);
    }

    pub(super) fn change_gateways(&self, change: impl FnOnce(&mut Gateways)) {
        let mut state = lock(&self.state);
        change(&mut state.gateways);
        for (app_id, dev_id) in state.devices.find(|device| device.class_c) {
            let (app_id, dev_id) = (app_id.as_str(), dev_id.as_str());
            self.serve_listening(&mut state, DeviceId { app_id, dev_id });
        }
    }
}
