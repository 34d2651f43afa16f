//! The registered devices.

use std::collections::BTreeMap;

use super::DeviceId;

/// Devices by application and device id; `D` is what the network knows about a device.
pub(crate) struct Devices<D>(BTreeMap<String, BTreeMap<String, D>>);

impl<D> Devices<D> {
    pub(crate) fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(crate) fn get(&mut self, id: DeviceId<'_>) -> Option<&mut D> {
        self.0.get_mut(id.app_id)?.get_mut(id.dev_id)
    }

    pub(crate) fn insert(&mut self, id: DeviceId<'_>, device: D) {
        let devices = self.0.entry(id.app_id.to_owned()).or_default();
        devices.insert(id.dev_id.to_owned(), device);
    }

    pub(crate) fn remove(&mut self, id: DeviceId<'_>) -> Option<D> {
        self.0.get_mut(id.app_id)?.remove(id.dev_id)
    }

    /// Returns the devices of an application by their ids.
    pub(crate) fn of(&self, app_id: &str) -> impl Iterator<Item = (&str, &D)> {
        let devices = self.0.get(app_id).into_iter().flatten();
        devices.map(|(dev_id, device)| (dev_id.as_str(), device))
    }

    /// Returns application and device id of each matching device.
    pub(crate) fn find(&self, matches: impl Fn(&D) -> bool) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (app_id, devices) in &self.0 {
            let devices = devices.iter().filter(|(_, device)| matches(device));
            found.extend(devices.map(|(dev_id, _)| (app_id.clone(), dev_id.clone())));
        }
        found
    }
}
