//! What the lifecycle says.

use std::time::{Duration, Instant};

use super::{Question, Waiter};
use crate::{
    error::Error,
    message::{CallbackFailed, DisconnectCause, Gap},
    mqtt::Attempt,
};

/// What the thread has to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// An attempt begins.
    Begin,
    /// Find the server; the result is [`Input::LookedUp`].
    LookUp(Attempt),
    /// Connect to the server that was found and log in, until `deadline`.
    Dial { attempt: Attempt, deadline: Instant },
    /// Connect the MQTT client to the wire.
    Enter(Attempt),
    /// Ask for every subscription.
    Subscribe(Attempt),
    /// The client is connected.
    Open(Attempt, Option<Gap>),
    /// The connection was lost: what waits to be written waits for the next one, if that is asked
    /// for.
    Interrupt {
        attempt: Attempt,
        rate_limited: bool,
    },
    /// Write everything that was accepted; [`Input::Drained`] says when that is done.
    Drain,
    /// Ask the server for a sign that it has read everything.
    Flush(Attempt),
    /// End the connection so that the server can work off what it got.
    Finish(Attempt),
    /// Cut the connection.
    Abandon(Attempt),
    /// Leave the connection to its end.
    Release(Attempt),
    /// Ask the retry callback what to do.
    Ask {
        question: Question,
        error: Error,
        attempts: u32,
        delay: Option<Duration>,
    },
    /// Report a failed attempt.
    ReportFailed {
        error: Error,
        attempts: u32,
        retry_in: Option<Duration>,
    },
    /// Report a lost connection.
    ReportLost {
        error: Error,
        cause: DisconnectCause,
        connected_for: Duration,
        retry_in: Option<Duration>,
    },
    /// Report that the retry callback failed.
    ReportCallback(CallbackFailed),
    /// Fail everything that waits to be written.
    Discard(Error),
    /// Report that the client is closed. Messages of attempts up to `last` came before that.
    ReportClosed { error: Option<Error>, last: Attempt },
    /// The client was never connected, and stops trying.
    ReportIdle,
    /// Answer a `connect`.
    AnswerConnect(Waiter, Result<(), Error>),
    /// Answer a `close`.
    AnswerClose(Waiter),
}

/// What happens to a downlink that is accepted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// It is written to this connection, once its turn has come.
    Written(Attempt),
    /// It waits for news about the connection that has just ended.
    Held,
    /// It waits for the next connection, if that is asked for.
    Kept,
    /// It is refused: there is no connection, and none to come.
    Refused,
}
