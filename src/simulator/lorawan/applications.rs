//! Applications: their keys and their payload functions.

use std::{collections::BTreeMap, sync::Mutex};

use super::{DeviceId, Functions, Rights};
use crate::simulator::sync::lock;

/// The applications of a network by their ids.
#[derive(Default)]
pub(crate) struct Applications(Mutex<BTreeMap<String, Application>>);

#[derive(Default)]
struct Application {
    keys: BTreeMap<String, Rights>,
    functions: Functions,
    /// The functions of devices that have their own, by device id.
    of_devices: BTreeMap<String, Functions>,
}

impl Applications {
    /// Adds a key to an application, which is new if its id is unknown.
    pub(crate) fn add_key(&self, app_id: &str, access_key: &str, rights: Rights) {
        let mut applications = lock(&self.0);
        let application = applications.entry(app_id.to_owned()).or_default();
        application.keys.insert(access_key.to_owned(), rights);
    }

    /// Removes a key and returns whether there was one.
    pub(crate) fn remove_key(&self, app_id: &str, access_key: &str) -> bool {
        let mut applications = lock(&self.0);
        let application = applications.get_mut(app_id);
        application.is_some_and(|application| application.keys.remove(access_key).is_some())
    }

    /// Returns what the key allows, or `None` if it is unknown.
    pub(crate) fn rights(&self, app_id: &str, access_key: &str) -> Option<Rights> {
        lock(&self.0).get(app_id)?.keys.get(access_key).copied()
    }

    pub(crate) fn change_functions(&self, app_id: &str, change: impl FnOnce(&mut Functions)) {
        change(
            &mut lock(&self.0)
                .entry(app_id.to_owned())
                .or_default()
                .functions,
        );
    }

    pub(crate) fn change_functions_of(
        &self,
        id: DeviceId<'_>,
        change: impl FnOnce(&mut Functions),
    ) {
        let mut applications = lock(&self.0);
        let application = applications.entry(id.app_id.to_owned()).or_default();
        change(
            application
                .of_devices
                .entry(id.dev_id.to_owned())
                .or_default(),
        );
    }

    /// Forgets the functions of a device.
    pub(crate) fn forget(&self, id: DeviceId<'_>) {
        if let Some(application) = lock(&self.0).get_mut(id.app_id) {
            application.of_devices.remove(id.dev_id);
        }
    }

    /// Returns the functions of a device: its own, and those of the application where it has none.
    pub(crate) fn functions_of(&self, id: DeviceId<'_>) -> Functions {
        let applications = lock(&self.0);
        let Some(application) = applications.get(id.app_id) else {
            return Functions::default();
        };
        let own = application.of_devices.get(id.dev_id).cloned();
        own.unwrap_or_default().or(application.functions.clone())
    }

    pub(crate) fn functions(&self, app_id: &str) -> Functions {
        let applications = lock(&self.0);
        let application = applications.get(app_id);
        application.map_or_else(Functions::default, |found| found.functions.clone())
    }
}
