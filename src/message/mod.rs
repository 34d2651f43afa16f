//! The public model: what devices and networks say, in one set of types for every network.
//!
//! How it looks on the wire is the business of [`network`](crate::network).

mod activation;
mod device_event;
mod downlink;
mod downlink_event;
mod event;
mod metadata;
mod payload;
mod raw;
mod uplink;

pub use activation::{Activation, ActivationFailed};
pub use device_event::{DeviceChange, DeviceEvent};
pub use downlink::{Downlink, Schedule};
pub use downlink_event::{DownlinkEvent, DownlinkStep, Transmission};
pub use event::{
    CallbackFailed, Closed, ConnectFailed, Connected, Disconnected, Event, Malformed, PublishFailed,
};
pub use metadata::{Gateway, Location, Metadata};
pub(crate) use payload::{Payload, ReadPayload, from_base64, to_base64};
pub use raw::RawMessage;
pub use uplink::{UplinkFailed, UplinkField, UplinkMessage};
