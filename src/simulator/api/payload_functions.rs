//! The payload functions that only V2 has.

use serde_json::Value;

use super::Simulator;
use crate::{
    Network,
    simulator::lorawan::{Decoded, Functions, PayloadFormat, Validated},
};

impl Simulator {
    /// Sets the payload format of the first application. Default: [`PayloadFormat::Custom`].
    ///
    /// # Panics
    ///
    /// On v3, where functions take its place.
    ///
    /// ```
    /// use ttn::simulator::PayloadFormat;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V2)?;
    /// network.set_payload_format(PayloadFormat::CayenneLpp);
    /// network.device("soil-probe-07").uplink(2, [0x03, 0x67, 0x01, 0x10]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn set_payload_format(&self, format: PayloadFormat) {
        self.change_v2_functions("Simulator::set_payload_format", |functions| {
            functions.format = format;
        });
    }

    /// Sets the converter of the first application, which turns FPort and decoded fields into other
    /// fields: an object. After an error, a panic or any other value, the uplink is published without
    /// fields, and `up/errors` too.
    ///
    /// # Panics
    ///
    /// On v3, which has no converters.
    ///
    /// ```
    /// use serde_json::json;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V2)?;
    /// network.set_converter(|_port, fields| Ok(json!({"celsius": fields["kelvin"].as_f64().map(|k| k - 273.15)})));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn set_converter<D: Into<Decoded>>(
        &self,
        converter: impl Fn(u8, &Value) -> Result<D, String> + Send + Sync + 'static,
    ) {
        self.change_v2_functions("Simulator::set_converter", |functions| {
            functions.set_converter(converter);
        });
    }

    /// Sets the validator of the first application: a `bool`, or a [`Validated`] with an error or any
    /// other value. An uplink whose fields it rejects is not published and gets no downlink; `up/errors`
    /// is published instead, unless the uplink is simulated. A downlink that such an uplink acknowledges
    /// is reported as acknowledged and sent again. After an error, a panic or another value, the uplink
    /// is published without fields, and `up/errors` too.
    ///
    /// # Panics
    ///
    /// On v3, which has no validators.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V2)?;
    /// network.set_validator(|_port, fields| fields["level"].as_u64() < Some(100));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn set_validator<V: Into<Validated>>(
        &self,
        validator: impl Fn(u8, &Value) -> V + Send + Sync + 'static,
    ) {
        self.change_v2_functions("Simulator::set_validator", |functions| {
            functions.set_validator(validator);
        });
    }

    #[track_caller]
    fn change_v2_functions(&self, method: &str, change: impl FnOnce(&mut Functions)) {
        self.instance.require(Network::V2, method);
        self.change_functions(change);
    }
}
