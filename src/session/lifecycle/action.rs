//! The actions of the lifecycle.

use std::time::{Duration, Instant};

use super::{Question, Waiter};
use crate::{
    error::Error,
    message::{CallbackFailed, DisconnectCause, Gap},
    mqtt::Attempt,
};

/// Something for the thread to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Begin an attempt.
    Begin,
    /// Look up the server; the result is [`Input::LookedUp`].
    LookUp(Attempt),
    /// Connect to the server that was found and log in, until `deadline`.
    Dial { attempt: Attempt, deadline: Instant },
    /// Connect the MQTT client to the wire.
    Enter(Attempt),
    /// Ask the network why the server has refused the login; [`Input::Explained`] is the answer. One that
    /// comes after `deadline` is too late.
    Inquire { attempt: Attempt, deadline: Instant },
    /// Request all subscriptions.
    Subscribe(Attempt),
    /// Publish the markers that prove that the broker shares; [`Input::Marker`] follows for each that comes
    /// back.
    Prove(Attempt),
    /// Note that publishing markers is probably not allowed: none has come back, or the connection has ended.
    GiveUpProof,
    /// Report that the client is connected.
    ReportConnected(Attempt, Option<Gap>),
    /// Settle the downlinks of a lost connection: those in flight have failed; those that wait do so
    /// for the next connection if there is an offline queue, and fail otherwise.
    Interrupt {
        attempt: Attempt,
        rate_limited: bool,
        /// How long the server had sent nothing before.
        silence: Duration,
    },
    /// Write everything that was accepted; [`Input::Unfinished`] and [`Input::Drained`] follow.
    Drain(Attempt),
    /// Ask the server to confirm that it has processed everything.
    Flush(Attempt),
    /// End the connection in a way that lets the server process everything it received.
    Finish(Attempt),
    /// Cut the connection and stop using it.
    Abandon(Attempt),
    /// Stop using the connection, which then ends on its own.
    Release(Attempt),
    /// Stop using a connection whose server has not confirmed in time. It stays open in the background
    /// until the server has.
    Linger(Attempt),
    /// Ask the retry callback what to do.
    Ask {
        question: Question,
        error: Error,
        attempts: u32,
        delay: Option<Duration>,
    },
    /// Write at the full pace again: the last loss was not due to the rate limit.
    RestorePace,
    /// Report a failed attempt.
    ReportFailed {
        error: Error,
        attempts: u32,
        retry_in: Option<Duration>,
        outage: Option<DisconnectCause>,
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
    /// Note that the client was never connected and stops trying.
    ReportIdle,
    /// Answer a `connect`.
    AnswerConnect(Waiter, Result<(), Error>),
    /// Answer these calls of `close`, whose time limit is `within`.
    AnswerClose {
        waiters: Vec<Waiter>,
        within: Duration,
    },
}

/// What happens to a downlink that `send` accepts now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// It is written to this connection when its turn comes.
    Written(Attempt),
    /// It waits until the end of the connection has been handled.
    Held,
    /// It waits for the next connection if there is an offline queue, and fails otherwise.
    Kept,
    /// It fails: the client is not connected and will not connect.
    Refused,
}
