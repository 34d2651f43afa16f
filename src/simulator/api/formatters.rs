//! The payload formatters of a device.

use serde_json::Value;

use super::Device;
use crate::{
    Network,
    simulator::lorawan::{Decoded, Encoded, Functions, Normalized},
};

impl Device {
    /// Sets the decoder of this device, which takes the place of
    /// [that of its application](super::Simulator::set_decoder).
    ///
    /// # Panics
    ///
    /// On V2, where all devices of an application share their payload functions.
    ///
    /// ```
    /// use serde_json::json;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("pump-1").set_decoder(|_port, bytes| Ok(json!({"level": bytes[0]})));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn set_decoder<D: Into<Decoded>>(
        &self,
        decoder: impl Fn(u8, &[u8]) -> Result<D, String> + Send + Sync + 'static,
    ) {
        self.change_functions("Device::set_decoder", |functions| {
            functions.set_decoder(decoder)
        });
    }

    /// Sets the normalizer of this device, which takes the place of
    /// [that of its application](super::Simulator::set_normalizer).
    ///
    /// # Panics
    ///
    /// On V2, which has no normalizers.
    ///
    /// ```
    /// use serde_json::json;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// device.set_normalizer(|fields| Ok(json!({"air": {"temperature": fields["t"]}})));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn set_normalizer<N: Into<Normalized>>(
        &self,
        normalizer: impl Fn(&Value) -> Result<N, String> + Send + Sync + 'static,
    ) {
        self.change_functions("Device::set_normalizer", |functions| {
            functions.set_normalizer(normalizer)
        });
    }

    /// Sets the encoder of this device, which takes the place of
    /// [that of its application](super::Simulator::set_encoder).
    ///
    /// # Panics
    ///
    /// On V2, where all devices of an application share their payload functions.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// device.set_encoder(|_port, fields| Ok(vec![u8::from(fields["led"] == true)]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn set_encoder<E: Into<Encoded>>(
        &self,
        encoder: impl Fn(u8, &Value) -> Result<E, String> + Send + Sync + 'static,
    ) {
        self.change_functions("Device::set_encoder", |functions| {
            functions.set_encoder(encoder)
        });
    }

    /// Sets the downlink decoder of this device, which takes the place of
    /// [that of its application](super::Simulator::set_downlink_decoder).
    ///
    /// # Panics
    ///
    /// On V2, which decodes no downlinks.
    ///
    /// ```
    /// use serde_json::json;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let device = network.device("pump-1");
    /// device.set_downlink_decoder(|_port, bytes| Ok(json!({"led": bytes == [1]})));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn set_downlink_decoder<D: Into<Decoded>>(
        &self,
        decoder: impl Fn(u8, &[u8]) -> Result<D, String> + Send + Sync + 'static,
    ) {
        self.change_functions("Device::set_downlink_decoder", |functions| {
            functions.set_downlink_decoder(decoder)
        });
    }

    #[track_caller]
    fn change_functions(&self, method: &str, change: impl FnOnce(&mut Functions)) {
        self.instance.require(Network::V3, method);
        let applications = &self.instance.applications;
        applications.change_functions_of(self.id(), change);
    }
}
