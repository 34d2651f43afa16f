//! The payload functions of an application.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde_json::Value;

use super::Uplink;

pub(crate) type Decoder = dyn Fn(u8, &[u8]) -> Result<Option<Value>, String> + Send + Sync;
pub(crate) type Encoder = dyn Fn(u8, &Value) -> Result<Vec<u8>, String> + Send + Sync;
pub(crate) type Validator = dyn Fn(u8, &Value) -> bool + Send + Sync;

/// The payload functions that are set.
#[derive(Clone, Default)]
pub(crate) struct Functions {
    pub(crate) decoder: Option<Arc<Decoder>>,
    pub(crate) encoder: Option<Arc<Encoder>>,
    pub(crate) validator: Option<Arc<Validator>>,
}

impl Functions {
    /// Returns the fields set on the uplink, otherwise the result of the decoder.
    pub(crate) fn decode(&self, uplink: &Uplink) -> Result<Option<Value>, String> {
        match (&uplink.fields, &self.decoder) {
            (Some(fields), _) => Ok(Some(fields.clone())),
            (None, Some(decoder)) => call(|| decoder(uplink.port, &uplink.payload)),
            (None, None) => Ok(None),
        }
    }
}

/// Calls a payload function of the user. A panic is an error, as an exception in the real function.
pub(crate) fn call<T>(function: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(function)).unwrap_or_else(|_| Err("panicked".into()))
}
