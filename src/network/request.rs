//! Messages to a network, and the rules for them that all networks share.

use std::ops::Range;

use crate::{
    error::{Error, ErrorKind},
    message::{Downlink, Schedule},
};

/// A message to publish.
pub(crate) struct Request {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// Which of the downlinks that are sent together it carries.
    pub(crate) downlinks: Range<usize>,
    pub(crate) effect: Effect,
}

/// What a request does to the queue of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It adds downlinks.
    Adds,
    /// It discards what is queued, and adds downlinks.
    Replaces,
    /// It discards what is queued.
    Clears,
}

impl Effect {
    pub(crate) fn of(schedule: Schedule) -> Self {
        match schedule {
            Schedule::Replace => Self::Replaces,
            Schedule::First | Schedule::Last => Self::Adds,
        }
    }
}

pub(super) fn cannot_send(dev_id: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Downlink,
        format!("cannot send to {dev_id}: {why}"),
    )
}

/// Names the downlink that is wrong, counted from 1, if there are several.
pub(super) fn in_batch(index: usize, count: usize, why: String) -> String {
    match count {
        1 => why,
        _ => format!("downlink {} of {count}: {why}", index + 1),
    }
}

pub(super) fn common_schedule(downlinks: &[Downlink]) -> Result<Schedule, String> {
    let Some(first) = downlinks.first() else {
        return Err(
            "there are no downlinks to send; on v3, clear_queue empties the queue".to_owned(),
        );
    };
    match downlinks
        .iter()
        .find(|downlink| downlink.schedule != first.schedule)
    {
        None => Ok(first.schedule),
        Some(other) => Err(format!(
            "downlinks sent together must have the same schedule, not {} and {}",
            first.schedule, other.schedule
        )),
    }
}

pub(super) fn check_port(port: u8) -> Result<(), String> {
    if (1..=223).contains(&port) {
        return Ok(());
    }
    Err(format!(
        "FPort {port} is out of range; LoRaWAN applications use 1 to 223"
    ))
}
