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
    /// Connect, and answer when connected or with the reason.
    Connect(Sender<Result<()>>),
    /// Close, and answer with the number of the end that the close callbacks will hear of.
    Close(Sender<u64>),
    Subscribe(Subscriber),
    /// Ask this one from now on.
    SetRetryCallback(RetryCallback),
    /// Tell the subscribers.
    Report(Event),
    /// Close, and end the thread.
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
    /// Takes events back, to free them.
    pub(crate) spent: Sender<Vec<Event>>,
}
