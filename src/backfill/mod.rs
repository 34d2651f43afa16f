//! Fetches the uplinks that a client has missed: what to ask for, and when, and what the answers show. The
//! session delivers them.

mod count;
mod events;
mod faults;
mod gate;
mod handover;
mod ledger;
mod network_clock;
mod pager;
mod passes;
mod rate;
mod run;
mod seam;
mod storage;
#[cfg(test)]
mod tests;
mod verdict;
mod window;

use std::{fmt, sync::Arc, time::SystemTime};

use crossbeam_channel::Sender;

pub(crate) use ledger::Ledger;
pub(crate) use run::start;
pub(crate) use seam::{Known, Seam};

use crate::{
    api::Api,
    clock::Moment,
    config::Backfill,
    error::Error,
    message::{BackfillSource, Uncovered, UncoveredReason, UplinkMessage},
};

/// What to fetch.
pub(crate) struct Task {
    pub(crate) api: Api,
    /// The application id with its tenant, for the topics of uplinks.
    pub(crate) uid: String,
    pub(crate) settings: Backfill,
    pub(crate) from: Bound,
    pub(crate) until: Bound,
    /// Whether the user asked for this time: it is read once, without the overlap, whatever the passes.
    pub(crate) is_on_request: bool,
    pub(crate) heard: Arc<Heard>,
}

/// Returns what the client has heard of a device, if it had heard anything by that time of the network.
pub(crate) type Heard = dyn Fn(&str, SystemTime) -> Option<LastHeard> + Send + Sync;

/// What the client has heard of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastHeard {
    /// The highest counter of the session.
    pub(crate) counter: u32,
    /// How many uplinks of the session were reported missing and did not come.
    pub(crate) missing: u32,
    /// How many of the session were reported as uncovered, or have left a trace.
    pub(crate) uncovered: u64,
}

/// One end of the time to fill.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// By the network's clock.
    Network(SystemTime),
    /// By the clocks of this machine. The `Date` of an answer shows how the network's differs.
    Here(Moment),
}

/// What the thread hands to the session, in order.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// What has answered. What follows comes from there.
    Source(BackfillSource),
    /// An uplink that may be known.
    Uplink(Box<UplinkMessage>),
    /// That a device has sent an uplink at that time, and no more.
    Trace {
        dev_id: String,
        at: SystemTime,
    },
    /// Everything before that time, by the network's clock, was handed over.
    Reached(SystemTime),
    /// Dropped once everything before it was dealt with.
    Mark(Sender<()>),
    Ended(Outcome),
}

/// What a thread hands over at a time, with its number.
pub(crate) type Parcel = (u64, Vec<Fetched>);

/// How a backfill ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) from: SystemTime,
    pub(crate) until: SystemTime,
    pub(crate) source: Option<BackfillSource>,
    pub(crate) unreadable: u64,
    pub(crate) requests: u32,
    /// Without the traces.
    pub(crate) uncovered: Vec<Uncovered>,
    pub(crate) error: Option<Error>,
    /// Whether another attempt would bring nothing more.
    pub(crate) is_settled: bool,
    /// If so: everything before that time was handed over, or is reported.
    pub(crate) reached: Option<SystemTime>,
}

impl Outcome {
    /// Returns the outcome of a backfill that has just begun.
    fn new(from: SystemTime, until: SystemTime) -> Self {
        Self {
            from,
            until,
            source: None,
            unreadable: 0,
            requests: 0,
            uncovered: Vec::new(),
            error: None,
            is_settled: false,
            reached: None,
        }
    }

    /// Returns how a backfill ends that has not begun, or was given up.
    pub(crate) fn failed(from: Bound, until: Bound, error: Error) -> Self {
        let (from, until) = (from.here(), until.here());
        Self {
            uncovered: vec![Uncovered {
                from,
                until,
                reason: UncoveredReason::CutOff,
                uplinks: None,
                devices: Vec::new(),
            }],
            error: Some(error),
            ..Self::new(from, until)
        }
    }
}

impl Bound {
    /// Returns the time, by the clock of this machine if the network's is not known.
    pub(crate) fn here(self) -> SystemTime {
        match self {
            Self::Network(time) => time,
            Self::Here(moment) => moment.time,
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("from", &self.from)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}
