//! x
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod address;
mod backoff;
mod builder;
mod callbacks;
mod certificates;
mod client;
mod delivery;
mod discovery;
mod error;
mod events;
mod message;
mod network;
mod options;
mod probe;
mod session;
#[cfg(feature = "simulator")]
pub mod simulator;
mod transport;

pub use anyhow;
pub use builder::MqttClientBuilder;
pub use callbacks::{CallbackId, CallbackResult};
pub use client::MqttClient;
pub use crossbeam_channel;
pub use delivery::{Delivery, MessageId};
pub use error::{Error, ErrorKind, Result};
pub use events::{Events, Overflow};
pub use message::{
    Activation, ActivationFailed, CallbackFailed, Closed, ConnectFailed, Connected, DeviceChange,
    DeviceEvent, Disconnected, Downlink, DownlinkEvent, DownlinkStep, Event, Gateway, Location,
    Malformed, Metadata, PublishFailed, RawMessage, Schedule, Transmission, UplinkFailed,
    UplinkField, UplinkMessage,
};
pub use network::Network;
pub use serde_json;
