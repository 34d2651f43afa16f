//! What the deliveries of a book say about their ends.

use crate::{
    error::{Error, ErrorKind},
    message::{DownlinkEvent, DownlinkStep},
};

/// Explains why it is not known what became of a downlink that is no longer in the queue.
pub(super) fn gone(dev_id: &str) -> Error {
    Error::new(
        ErrorKind::Unconfirmed,
        format!(
            "the network no longer holds a downlink to {dev_id}: it was sent or discarded while the client was not connected, and the report was lost"
        ),
    )
}

/// Explains why it is not known whether a downlink is still in the queue.
pub(super) fn equal(dev_id: &str) -> Error {
    Error::new(
        ErrorKind::Unconfirmed,
        format!(
            "the network may have discarded a downlink to {dev_id}: it queued one of several equal downlinks, and only some of them replace the queue"
        ),
    )
}

/// Explains what the deletion of a device did to a downlink.
pub(super) fn deleted(dev_id: &str) -> Error {
    Error::new(
        ErrorKind::DownlinkFailed,
        format!("the device {dev_id} was deleted, and its queue with it"),
    )
}

/// Explains why an unacknowledged downlink has failed.
pub(super) fn not_repeated(report: &DownlinkEvent) -> Error {
    Error::new(
        ErrorKind::DownlinkFailed,
        format!(
            "{} did not acknowledge a downlink, and the network does not send it again, because the application keeps its own session keys; send it again",
            report.dev_id
        ),
    )
}

/// Explains a report about a failure.
pub(super) fn failed(report: &DownlinkEvent) -> Error {
    let reason = match (report.step, report.error.as_str()) {
        (DownlinkStep::Invalidated, _) => {
            "it discarded the device's queue because the device has new session keys"
        }
        (_, "") => "it states no reason",
        (_, error) => error,
    };
    let text = format!(
        "the network cannot deliver a downlink to {}: {reason}",
        report.dev_id
    );
    match &report.error_details {
        Some(details) => Error::with_source(ErrorKind::DownlinkFailed, text, (**details).clone()),
        None => Error::new(ErrorKind::DownlinkFailed, text),
    }
}
