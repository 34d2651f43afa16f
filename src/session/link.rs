//! What other threads hold of a session.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::Status;
use crate::{
    downlink::{Batch, WaitingRoom},
    error::Result,
    events::Subscriber,
    message::Event,
    recovery::RetryCallback,
};

/// What other threads ask of the session.
pub(crate) enum Command {
    /// Connect. The answer is the result.
    Connect(Sender<Result<()>>),
    /// Close. The answer is the number of the end that the close callbacks will hear of.
    Close(Sender<u64>),
    Subscribe(Subscriber),
    /// Use this retry callback from now on.
    SetRetryCallback(RetryCallback),
    /// Report this event to the subscribers.
    Report(Event),
    /// Close, and end the thread afterwards.
    Shutdown,
}

/// The ends by which a client reaches its session.
pub(crate) struct SessionLink {
    pub(crate) commands: Sender<Command>,
    pub(crate) publishes: Sender<Batch>,
    pub(crate) room: WaitingRoom,
    /// Ends a wait for a slow subscriber.
    pub(crate) interrupt: Sender<()>,
    pub(crate) status: Arc<Status>,
    /// Returns events that have been handled, so that the session frees them.
    pub(crate) spent: Sender<Vec<Event>>,
}
