//! Internal functions that the fuzz targets call; compiled only for them.

use crate::{
    config::{Address, HttpAddress},
    error::Result,
    message::{Payload, ReadPayload},
    network::Network,
};

/// Reads an MQTT address, and prints it.
pub fn mqtt_address(text: &str) -> Result<String> {
    Ok(text.parse::<Address>()?.to_string())
}

/// Reads the address of a discovery server, and prints it and its host.
pub fn discovery_address(network: Network, text: &str) -> Result<(String, String)> {
    let address = HttpAddress::parse(network, "discovery address", text)?;
    Ok((address.to_string(), address.host().to_owned()))
}

/// Returns the bytes that the text of a downlink stands for.
pub fn payload_text(text: &str) -> Result<Vec<u8>, String> {
    match Payload::Text(text.to_owned()).read()? {
        ReadPayload::Bytes(bytes) => Ok(bytes),
        ReadPayload::Fields(fields) => Err(format!("fields: {fields:?}")),
    }
}
