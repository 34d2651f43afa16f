//! What both networks share about radio and devices: applications, uplinks, gateways, receive
//! windows. It knows neither MQTT nor a network's dialect.

mod applications;
mod clock;
mod delays;
mod device_id;
mod devices;
mod end_device;
mod environment;
mod formatted;
mod frame;
mod functions;
mod gateway;
mod location;
mod modulation;
mod network_server;
mod payload_format;
mod queued_downlink;
mod receive_window;
mod received;
mod rights;
mod uplink;
mod windows;

pub(crate) use applications::Applications;
pub(crate) use clock::Clock;
pub(crate) use delays::Delays;
pub(crate) use device_id::{DeviceId, is_well_formed};
pub(crate) use devices::Devices;
pub(crate) use end_device::EndDevice;
pub(crate) use environment::{Environment, Release};
pub(crate) use formatted::Failure;
pub use formatted::{Decoded, Encoded, Normalized, Validated};
pub(crate) use frame::{DownlinkFrame, new_address, new_address_other_than, uplink_length};
pub(crate) use functions::{Functions, call};
pub use gateway::{DownlinkConstraint, Gateway};
pub(crate) use gateway::{REGISTRY, answering, gateways, is_gateway};
pub use location::Location;
pub(crate) use modulation::{Modulation, channel_index, lora_parts};
pub(crate) use network_server::{Description, NetworkServer};
pub use payload_format::PayloadFormat;
pub use queued_downlink::QueuedDownlink;
pub(crate) use receive_window::ReceiveWindow;
pub use received::Received;
pub use rights::Rights;
pub use uplink::Uplink;
pub(crate) use windows::{WindowKey, Windows};
