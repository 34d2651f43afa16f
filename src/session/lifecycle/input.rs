//! The inputs of the lifecycle.

use std::{sync::Arc, time::Duration};

use crate::{error::Error, message::CallbackFailed, mqtt::Attempt, wire::End};

/// Identifies a call of `connect` or `close` that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Waiter(pub(crate) u64);

/// Identifies a question to the retry callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question(pub(crate) u64);

/// Something that happened. An input about an attempt that is over changes nothing.
#[derive(Debug)]
pub(crate) enum Input {
    /// `connect` was called.
    Connect(Waiter),
    /// `close` was called.
    Close(Waiter),
    /// The last handle was dropped.
    Shutdown,
    /// A lookup has ended, with the name of the server or an error.
    LookedUp(Attempt, Result<Arc<str>, Error>),
    /// The server has accepted the login.
    Accepted(Attempt),
    /// The MQTT client is connected to the wire.
    Entered(Attempt),
    /// The server has granted all subscriptions.
    Granted(Attempt),
    /// The proof that the broker shares is not possible.
    Unprovable(Attempt),
    /// A marker has come back: the one of the group, or the one that every client gets.
    Marker { attempt: Attempt, is_shared: bool },
    /// The attempt has failed, at any stage.
    Failed(Attempt, Error),
    /// The server has refused the login with this error, and the network can be asked for the reason.
    Refused(Attempt, Error),
    /// The network has said why the server refuses the login, or nothing that explains it.
    Explained(Attempt, Option<Error>),
    /// The wire reports how the connection has ended; the MQTT client may not have noticed yet.
    Ended(Attempt, End),
    /// Both sides of the wire have ended.
    Over(Attempt),
    /// The client is closing, and this many messages are accepted that the server may not have
    /// processed.
    Unfinished { attempt: Attempt, messages: usize },
    /// The client is closing, and everything that was accepted is written.
    Drained { attempt: Attempt, left: Left },
    /// The retry callback has answered with a delay, with `None` to give up, or has failed.
    Answered(Question, Result<Option<Duration>, CallbackFailed>),
    /// The retry callback has been asked. That can be long after the decision to ask it, because slow
    /// subscribers delay the actions before.
    Asked(Question),
    /// No retry callback is set, or it is busy.
    NotAsked(Question),
}

/// What is left to wait for when everything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The server may not have processed everything.
    Unprocessed,
    /// The network has not reported on every downlink, and its reports do reach this client.
    Unreported,
    Nothing,
}

impl Input {
    /// Returns the attempt whose end makes the input irrelevant. The end of a lookup always matters:
    /// the next lookup may be waiting for it.
    pub(super) fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Accepted(attempt)
            | Self::Entered(attempt)
            | Self::Granted(attempt)
            | Self::Unprovable(attempt)
            | Self::Marker { attempt, .. }
            | Self::Failed(attempt, _)
            | Self::Refused(attempt, _)
            | Self::Explained(attempt, _)
            | Self::Ended(attempt, _)
            | Self::Over(attempt)
            | Self::Unfinished { attempt, .. }
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
