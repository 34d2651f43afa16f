//! The payload functions of an application or a device.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde_json::Value;

use super::{Decoded, Encoded, Normalized, PayloadFormat, Uplink, Validated};

pub(crate) type Decoder = dyn Fn(u8, &[u8]) -> Result<Decoded, String> + Send + Sync;
pub(crate) type Encoder = dyn Fn(u8, &Value) -> Result<Encoded, String> + Send + Sync;
pub(crate) type Normalizer = dyn Fn(&Value) -> Result<Normalized, String> + Send + Sync;
pub(crate) type Converter = dyn Fn(u8, &Value) -> Result<Decoded, String> + Send + Sync;
pub(crate) type Validator = dyn Fn(u8, &Value) -> Validated + Send + Sync;

/// The payload functions that are set.
#[derive(Clone, Default)]
pub(crate) struct Functions {
    /// V2 only.
    pub(crate) format: PayloadFormat,
    pub(crate) decoder: Option<Arc<Decoder>>,
    pub(crate) encoder: Option<Arc<Encoder>>,
    pub(crate) converter: Option<Arc<Converter>>,
    pub(crate) validator: Option<Arc<Validator>>,
    pub(crate) normalizer: Option<Arc<Normalizer>>,
    pub(crate) downlink_decoder: Option<Arc<Decoder>>,
}

impl Functions {
    /// Returns what the decoder makes of the uplink, unless fields are set on the uplink.
    pub(crate) fn decoded(&self, uplink: &Uplink) -> Result<Decoded, String> {
        match (&uplink.fields, &self.decoder) {
            (Some(fields), _) => Ok(fields.clone().into()),
            (None, Some(decoder)) => call(|| decoder(uplink.port, &uplink.payload)),
            (None, None) => Ok(None.into()),
        }
    }

    /// Returns these functions, and others where there are none.
    pub(crate) fn or(self, others: Self) -> Self {
        Self {
            decoder: self.decoder.or(others.decoder),
            encoder: self.encoder.or(others.encoder),
            format: others.format,
            converter: self.converter.or(others.converter),
            validator: self.validator.or(others.validator),
            normalizer: self.normalizer.or(others.normalizer),
            downlink_decoder: self.downlink_decoder.or(others.downlink_decoder),
        }
    }

    pub(crate) fn set_decoder<D: Into<Decoded>>(
        &mut self,
        decoder: impl Fn(u8, &[u8]) -> Result<D, String> + Send + Sync + 'static,
    ) {
        self.decoder = Some(Arc::new(move |port, bytes| {
            decoder(port, bytes).map(D::into)
        }));
    }

    pub(crate) fn set_downlink_decoder<D: Into<Decoded>>(
        &mut self,
        decoder: impl Fn(u8, &[u8]) -> Result<D, String> + Send + Sync + 'static,
    ) {
        self.downlink_decoder = Some(Arc::new(move |port, bytes| {
            decoder(port, bytes).map(D::into)
        }));
    }

    pub(crate) fn set_encoder<E: Into<Encoded>>(
        &mut self,
        encoder: impl Fn(u8, &Value) -> Result<E, String> + Send + Sync + 'static,
    ) {
        self.encoder = Some(Arc::new(move |port, fields| {
            encoder(port, fields).map(E::into)
        }));
    }

    pub(crate) fn set_converter<D: Into<Decoded>>(
        &mut self,
        converter: impl Fn(u8, &Value) -> Result<D, String> + Send + Sync + 'static,
    ) {
        self.converter = Some(Arc::new(move |port, fields| {
            converter(port, fields).map(D::into)
        }));
    }

    pub(crate) fn set_validator<V: Into<Validated>>(
        &mut self,
        validator: impl Fn(u8, &Value) -> V + Send + Sync + 'static,
    ) {
        self.validator = Some(Arc::new(move |port, fields| validator(port, fields).into()));
    }

    pub(crate) fn set_normalizer<N: Into<Normalized>>(
        &mut self,
        normalizer: impl Fn(&Value) -> Result<N, String> + Send + Sync + 'static,
    ) {
        self.normalizer = Some(Arc::new(move |fields| normalizer(fields).map(N::into)));
    }
}

/// Calls a payload function of the user. A panic is an error, as an exception in the real function.
pub(crate) fn call<T>(function: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(function)).unwrap_or_else(|_| Err("panicked".into()))
}
