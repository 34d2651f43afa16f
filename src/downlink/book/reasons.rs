//! What the deliveries of a book say about their ends.

use std::time::Duration;

use super::Cause;
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

/// Explains why it is not known what became of a downlink that was queued again while its queue was
/// emptied.
pub(super) fn overtaken(dev_id: &str) -> Error {
    Error::new(
        ErrorKind::Unconfirmed,
        format!(
            "the network may have discarded a downlink to {dev_id}: its queue was emptied or replaced at about the time when the downlink was queued again, and one that was queued later was sent"
        ),
    )
}

/// Explains the silence of the network by what may have caused it, and why it could not be asked.
pub(super) fn silent(dev_id: &str, waited: Duration, causes: &str, unseen: Option<&str>) -> Error {
    let mut text = format!(
        "the network sent no report about a downlink to {dev_id} within {waited:?}; likely causes, most likely first: {causes}"
    );
    if let Some(why) = unseen {
        text += &format!("; it could not be looked up: {why}");
    }
    Error::new(ErrorKind::Unconfirmed, text)
}

/// Explains the silence of the network by what it says when it is asked.
pub(super) fn silent_because(dev_id: &str, waited: Duration, cause: &Cause) -> Error {
    let text = format!(
        "the network sent no report about a downlink to {dev_id} within {waited:?}, because {}",
        cause.text
    );
    with_cause(text, Some(cause))
}

/// Explains the silence about a downlink that is not in the queue of its device either.
pub(super) fn not_in_queue(
    dev_id: &str,
    waited: Duration,
    causes: &str,
    unknown: Option<&str>,
) -> Error {
    let mut text = format!(
        "the network sent no report about a downlink to {dev_id} within {waited:?}, and does not hold it in the queue of the device now; likely causes, most likely first: {causes}"
    );
    if let Some(why) = unknown {
        text += &format!("; the network could not be asked for more: {why}");
    }
    Error::new(ErrorKind::Unconfirmed, text)
}

/// Explains why a downlink that was in a queue, or may have been, is not there.
pub(super) fn not_held(dev_id: &str, cause: Option<&Cause>) -> Error {
    let text = format!("the network no longer holds a downlink to {dev_id}: ");
    let why = match cause {
        Some(cause) => cause.text.as_str(),
        None => {
            "it was sent or discarded, and no report about that has arrived; not every gateway reports that it has sent something"
        }
    };
    with_cause(text + why, cause)
}

/// Explains why it is not known what became of a downlink that an earlier process has sent.
pub(super) fn not_found(dev_id: &str) -> Error {
    Error::new(
        ErrorKind::Unconfirmed,
        format!(
            "the network does not hold the downlink to {dev_id} in the queue of the device now: it was sent or discarded before this client followed it, or never queued"
        ),
    )
}

fn with_cause(text: String, cause: Option<&Cause>) -> Error {
    match cause.and_then(|cause| cause.details.as_ref()) {
        Some(details) => Error::with_source(ErrorKind::Unconfirmed, text, (**details).clone()),
        None => Error::new(ErrorKind::Unconfirmed, text),
    }
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
