//! The states of the lifecycle.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Question;
use crate::{error::Error, mqtt::Attempt, recovery::Loss, wire::End};

/// How late the wire's thread may report that its deadline has passed.
const SPARE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) enum State {
    Idle,
    /// Waits for an earlier lookup to end.
    WaitingToLookUp {
        attempt: Attempt,
        deadline: Instant,
    },
    LookingUp {
        attempt: Attempt,
        deadline: Instant,
    },
    /// The wire connects and logs in.
    Dialing {
        attempt: Attempt,
        server: Arc<str>,
        deadline: Instant,
    },
    /// The MQTT client connects to the wire.
    Entering {
        attempt: Attempt,
        server: Arc<str>,
        deadline: Instant,
        ended: Option<End>,
    },
    /// The server has refused the login, and the network is asked for the reason. `error` is what is known
    /// without it.
    Inquiring {
        attempt: Attempt,
        error: Error,
        deadline: Instant,
    },
    Subscribing {
        attempt: Attempt,
        server: Arc<str>,
        deadline: Instant,
        ended: Option<End>,
    },
    /// Waits for the marker that proves that the broker shares.
    Proving {
        attempt: Attempt,
        server: Arc<str>,
        until: Instant,
        /// Whether the marker has its whole time until then.
        is_whole: bool,
        /// Whether the marker without a group has come back.
        is_published: bool,
        ended: Option<End>,
    },
    Up {
        attempt: Attempt,
        server: Arc<str>,
        ended: Option<Ended>,
    },
    /// Waits for the retry callback, which may change the plan.
    Asking {
        question: Question,
        setback: Setback,
        planned: Option<Duration>,
        deadline: Instant,
    },
    BackingOff {
        until: Instant,
    },
    /// Writes what was accepted, and waits until the server has processed it.
    Closing {
        attempt: Attempt,
        since: Instant,
        leave_by: Instant,
    },
    /// Waits for reports about what the server has processed.
    Settling {
        attempt: Attempt,
        deadline: Instant,
        leave_by: Instant,
    },
    /// Has ended its side of the connection, and waits until the server closes the other.
    Leaving {
        attempt: Attempt,
        deadline: Instant,
    },
}

impl State {
    /// Returns the attempt that is in progress, or whose connection is in use.
    pub(super) fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Idle | Self::Asking { .. } | Self::BackingOff { .. } => None,
            Self::WaitingToLookUp { attempt, .. }
            | Self::LookingUp { attempt, .. }
            | Self::Dialing { attempt, .. }
            | Self::Entering { attempt, .. }
            | Self::Inquiring { attempt, .. }
            | Self::Subscribing { attempt, .. }
            | Self::Proving { attempt, .. }
            | Self::Up { attempt, .. }
            | Self::Closing { attempt, .. }
            | Self::Settling { attempt, .. }
            | Self::Leaving { attempt, .. } => Some(*attempt),
        }
    }

    /// Returns when the state times out.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Idle => None,
            Self::Up { ended, .. } => ended.as_ref().map(|ended| ended.notice_by),
            Self::WaitingToLookUp { deadline, .. }
            | Self::LookingUp { deadline, .. }
            | Self::Inquiring { deadline, .. }
            | Self::Subscribing { deadline, .. }
            | Self::Asking { deadline, .. }
            | Self::Settling { deadline, .. }
            | Self::Leaving { deadline, .. } => Some(*deadline),
            Self::Closing { leave_by, .. } => Some(*leave_by),
            // The wire keeps the deadline and knows what it was waiting for.
            Self::Dialing { deadline, .. } | Self::Entering { deadline, .. } => {
                Some(*deadline + SPARE)
            }
            Self::BackingOff { until } | Self::Proving { until, .. } => Some(*until),
        }
    }
}

/// The end of a connection that the wire has reported and the MQTT client has not noticed.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) notice_by: Instant,
}

/// A failed attempt or a lost connection.
#[derive(Debug)]
pub(super) enum Setback {
    Failed(Error),
    Lost(Error, Loss),
}

impl Setback {
    pub(super) fn error(&self) -> &Error {
        match self {
            Self::Failed(error) | Self::Lost(error, _) => error,
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(..))
    }
}
