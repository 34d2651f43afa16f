//! What the lifecycle hears.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{error::Error, message::CallbackFailed, mqtt::Attempt, wire::End};

/// The time, read once per input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) time: SystemTime,
}

/// Somebody who waits for the answer to a `connect` or a `close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Waiter(pub(crate) u64);

/// A question to the retry callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question(pub(crate) u64);

/// What happens to a connection. An input about an attempt that is history changes nothing.
#[derive(Debug)]
pub(crate) enum Input {
    /// Somebody wants the client to be connected.
    Connect(Waiter),
    /// Somebody wants the client to be closed.
    Close(Waiter),
    /// The last handle is gone.
    Shutdown,
    /// A lookup has ended, with the name of the server.
    LookedUp(Attempt, Result<Arc<str>, Error>),
    /// The server has accepted the login.
    Accepted(Attempt),
    /// The MQTT client is connected to the wire.
    Entered(Attempt),
    /// The server has granted one subscription.
    Granted(Attempt),
    /// The attempt has failed, at whichever stage it is.
    Failed(Attempt, Error),
    /// The wire says how the connection has ended; the MQTT client may not have noticed yet.
    Ended(Attempt, End),
    /// Both sides of the wire have ended.
    Over(Attempt),
    /// While the client closes: everything that was accepted is written. `unread`: the server may
    /// not have read all of it.
    Drained { attempt: Attempt, unread: bool },
    /// The retry callback has answered with a delay, with `None` to give up, or has failed.
    Answered(Question, Result<Option<Duration>, CallbackFailed>),
    /// The retry callback has been asked. That can be long after the decision to ask it, because slow
    /// subscribers delay the actions before.
    Asked(Question),
    /// There is no retry callback, or it is busy.
    NotAsked(Question),
}

impl Input {
    /// The attempt that the input is about, if it is of no interest once that is history. The end of
    /// a lookup is of interest always: the next one may have to wait for it.
    pub(super) fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Accepted(attempt)
            | Self::Entered(attempt)
            | Self::Granted(attempt)
            | Self::Failed(attempt, _)
            | Self::Ended(attempt, _)
            | Self::Over(attempt)
            | Self::Drained { attempt, .. } => Some(*attempt),
            Self::Connect(_)
            | Self::Close(_)
            | Self::Shutdown
            | Self::LookedUp(..)
            | Self::Asked(_)
            | Self::Answered(..)
            | Self::NotAsked(_) => None,
        }
    }
}
