//! Applications: their keys, their payload functions and their devices.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::Value;

use super::device::Rights;

pub(super) type Decoder = dyn Fn(u8, &[u8]) -> Result<Option<Value>, String> + Send + Sync;
pub(super) type Encoder = dyn Fn(u8, &Value) -> Result<Vec<u8>, String> + Send + Sync;
pub(super) type Validator = dyn Fn(u8, &Value) -> bool + Send + Sync;

/// A payload function of an application.
pub(super) enum PayloadFunction {
    Decoder(Arc<Decoder>),
    Encoder(Arc<Encoder>),
    Validator(Arc<Validator>),
}

/// The payload functions an application has.
#[derive(Clone, Default)]
pub(super) struct Functions {
    pub(super) decoder: Option<Arc<Decoder>>,
    pub(super) encoder: Option<Arc<Encoder>>,
    pub(super) validator: Option<Arc<Validator>>,
}

struct Application<D> {
    keys: BTreeMap<String, Rights>,
    functions: Functions,
    devices: BTreeMap<String, D>,
}

/// The applications of a network by their ids; `D` is what it knows of a device.
pub(super) struct Applications<D>(BTreeMap<String, Application<D>>);

impl<D> Applications<D> {
    pub(super) fn new() -> Self {
        Self(BTreeMap::new())
    }

    fn entry(&mut self, app_id: &str) -> &mut Application<D> {
        self.0
            .entry(app_id.to_owned())
            .or_insert_with(|| Application {
                keys: BTreeMap::new(),
                functions: Functions::default(),
                devices: BTreeMap::new(),
            })
    }

    pub(super) fn add_key(&mut self, app_id: &str, access_key: &str, rights: Rights) {
        let keys = &mut self.entry(app_id).keys;
        keys.insert(access_key.to_owned(), rights);
    }

    /// What the key allows; `None` when that is nothing.
    pub(super) fn rights(&self, app_id: &str, access_key: &str) -> Option<Rights> {
        let rights = *self.0.get(app_id)?.keys.get(access_key)?;
        (rights.read || rights.write).then_some(rights)
    }

    pub(super) fn set_function(&mut self, app_id: &str, function: PayloadFunction) {
        let functions = &mut self.entry(app_id).functions;
        match function {
            PayloadFunction::Decoder(decoder) => functions.decoder = Some(decoder),
            PayloadFunction::Encoder(encoder) => functions.encoder = Some(encoder),
            PayloadFunction::Validator(validator) => functions.validator = Some(validator),
        }
    }

    pub(super) fn functions(&self, app_id: &str) -> Functions {
        let application = self.0.get(app_id);
        application.map_or_else(Functions::default, |found| found.functions.clone())
    }

    pub(super) fn device(&mut self, app_id: &str, dev_id: &str) -> Option<&mut D> {
        self.0.get_mut(app_id)?.devices.get_mut(dev_id)
    }

    /// Application and device ids of those devices.
    pub(super) fn devices(&self, wanted: impl Fn(&D) -> bool) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (app_id, application) in &self.0 {
            let devices = application.devices.iter();
            let wanted = devices.filter(|(_, device)| wanted(device));
            found.extend(wanted.map(|(dev_id, _)| (app_id.clone(), dev_id.clone())));
        }
        found
    }

    pub(super) fn insert(&mut self, app_id: &str, dev_id: &str, device: D) {
        let devices = &mut self.entry(app_id).devices;
        devices.insert(dev_id.to_owned(), device);
    }

    pub(super) fn remove(&mut self, app_id: &str, dev_id: &str) -> Option<D> {
        self.0.get_mut(app_id)?.devices.remove(dev_id)
    }
}

/// Runs a payload function of the user; a panic is an error like any other, as an exception in the
/// real one is.
pub(super) fn call<T>(function: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(function)).unwrap_or_else(|_| Err("panicked".into()))
}

/// The same device has the same DevEUI in every run.
pub(super) fn dev_eui(app_id: &str, dev_id: &str) -> u64 {
    let bytes = app_id.bytes().chain([b'/']).chain(dev_id.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    0xa840_4100_0000_0000 | (hash & 0xff_ffff_ffff)
}
