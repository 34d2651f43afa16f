//! The public model: what devices and networks report, in one set of types for every network. It
//! knows nothing about the form of messages on the wire.

mod activation;
mod backfilled;
mod connection;
mod counter;
mod device_event;
mod downlink;
mod downlink_event;
mod error_details;
mod event;
pub mod fields;
mod finite;
pub(crate) mod json;
mod key_warning;
mod location_solved;
mod message_id;
mod metadata;
mod mismatch;
mod payload;
mod place;
mod queued_downlink;
mod raw;
mod receipt;
mod rights;
mod service_data;
mod silence;
mod spare;
#[cfg(test)]
mod tests;
mod uplink;
mod uplink_key;
mod watermark;

pub use activation::{Activation, ActivationFailed};
pub use backfilled::{
    BackfillProgress, BackfillSource, Backfilled, Uncovered, UncoveredDevice, UncoveredReason,
};
pub use connection::{Closed, ConnectFailed, Connected, DisconnectCause, Disconnected, Gap};
pub use counter::{CounterFinding, CounterReport, FrameLoss};
pub use device_event::{DeviceChange, DeviceEvent};
pub use downlink::{Antenna, Downlink, Priority, Schedule};
pub use downlink_event::{ClassBC, DownlinkEvent, DownlinkStep, QueueInvalidated, Transmission};
pub use error_details::ErrorDetails;
pub use event::{CallbackFailed, Event, Malformed, PublishFailed};
pub(crate) use key_warning::NOTICE;
pub use key_warning::{KeyConcern, KeyWarning};
pub use location_solved::LocationSolved;
pub use message_id::MessageId;
pub(crate) use message_id::MessageIds;
pub use metadata::{Gateway, Location, Metadata, PacketBroker, Relay};
pub(crate) use payload::{Payload, ReadPayload, from_base64, to_base64};
pub(crate) use place::{Losses, Lost, Marks, Place};
pub use queued_downlink::QueuedDownlink;
pub use raw::RawMessage;
pub(crate) use receipt::{Acknowledger, Hold, Receipt};
pub use rights::Rights;
pub use service_data::ServiceData;
pub use silence::{DeviceBack, DeviceSilent};
pub(crate) use spare::{Reuse, Spare};
pub use uplink::{
    Battery, KeyEnvelope, NetworkIds, UplinkFailed, UplinkField, UplinkMessage, VersionIds,
};
pub use uplink_key::UplinkKey;
pub(crate) use uplink_key::{Identity, StableHash};
pub use watermark::Watermark;
pub(crate) use watermark::{ShortKey, short};
