//! The ends of a session's channels that other threads hold.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::Sender;

use super::{FillRequest, Publication, Status};
use crate::{
    downlink::{Batch, Followed, WaitingRoom},
    error::Result,
    events::{Spent, Subscriber},
    message::Event,
    recovery::RetryCallback,
};

/// A request from another thread to the session.
pub(crate) enum Command {
    /// Connect. The reply is the result.
    Connect(Sender<Result<()>>),
    /// Close.
    Close(Sender<Farewell>),
    /// Add this subscriber.
    Subscribe(Subscriber),
    /// Add these workers, with their numbers.
    SubscribeWorkers(Vec<(u64, Subscriber)>),
    /// Use this retry callback from now on.
    SetRetryCallback(RetryCallback),
    /// Follow a downlink that was sent before, with this number.
    Follow(u64, Followed),
    /// Fetch what is missing from this time.
    Fill(FillRequest),
    /// Publish with QoS 1.
    Publish(Publication),
    /// Report this event to the subscribers.
    Report(Event),
    /// Close, and end the thread afterwards.
    Shutdown,
}

/// The reply to `close`.
#[derive(Clone, Debug)]
pub(crate) struct Farewell {
    /// The number of the end that the close callbacks will be told.
    pub(crate) end: u64,
    /// How long `close` may take in all.
    pub(crate) within: Duration,
    /// An error if downlinks are uncertain or were not sent.
    pub(crate) result: Result<()>,
}

/// What a client uses to reach its session.
pub(crate) struct SessionLink {
    pub(crate) commands: Sender<Command>,
    pub(crate) outbox: Sender<Batch>,
    pub(crate) room: WaitingRoom,
    /// Ends a wait for a slow subscriber.
    pub(crate) interrupt: Sender<()>,
    pub(crate) spent: Spent,
    pub(crate) status: Arc<Status>,
}
