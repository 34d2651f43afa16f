//! What a feed reports to its program.

use std::{fmt, sync::Mutex, time::Duration};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::FeedStats;
use crate::{
    error::Error,
    message::{Event, Watermark},
    sync,
};

/// How many events the channel keeps.
const KEPT: usize = 1_000;

/// What happens to a [`Feed`](super::Feed); from [`Feed::events`](super::Feed::events). Displays as text for people.
///
/// ```
/// fn is_trouble(event: &ttn::FeedEvent) -> bool {
///     matches!(event, ttn::FeedEvent::Overflowed | ttn::FeedEvent::Failed(_))
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FeedEvent {
    /// News of the network's connection: [`Connected`](Event::Connected), [`ConnectFailed`](Event::ConnectFailed),
    /// [`Disconnected`](Event::Disconnected), [`Closed`](Event::Closed), [`Backfilled`](Event::Backfilled),
    /// [`KeyWarning`](Event::KeyWarning).
    Network(Event),
    /// News of the broker's connection, of the same kinds.
    Broker(Event),
    /// How many messages of the network were dropped since the last report; at most one report a second.
    /// [`FeedStats::dropped`] counts them, and says which.
    Dropped(u64),
    /// The list was full: the feed has closed its connection to the network until the broker has acknowledged all of it.
    Overflowed,
    /// The feed connects to the network again, and fetches the uplinks since this watermark; without one, it passes on
    /// what comes from now on.
    Resumed(Option<Watermark>),
    /// Something failed, and the feed goes on: the watermark file cannot be written, or a downlink request or a message
    /// cannot be passed on.
    Failed(Error),
}

impl fmt::Display for FeedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(event) => write_connection(f, "the network", event),
            Self::Broker(event) => write_connection(f, "the broker", event),
            Self::Dropped(messages) => {
                write!(f, "{messages} messages of the network were dropped")
            }
            Self::Overflowed => f.write_str(
                "the list is full: disconnecting from the network until the broker has acknowledged everything",
            ),
            Self::Resumed(Some(_)) => {
                f.write_str("the list is empty: connecting to the network again, to fetch what came since")
            }
            Self::Resumed(None) => f.write_str("the list is empty: connecting to the network again"),
            Self::Failed(error) => write!(f, "{error}"),
        }
    }
}

fn write_connection(f: &mut fmt::Formatter<'_>, side: &str, event: &Event) -> fmt::Result {
    match event {
        Event::Connected(connected) => write!(f, "{side} is connected: {}", connected.address),
        Event::ConnectFailed(failed) => {
            write!(f, "{side} is not connected: {}", failed.error)
        }
        Event::Disconnected(lost) => write!(f, "{side} is disconnected: {}", lost.error),
        Event::Closed(closed) => match &closed.error {
            Some(error) => write!(f, "{side} is closed: {error}"),
            None => write!(f, "{side} is closed"),
        },
        Event::Backfilled(report) => write!(f, "{side}: {report}"),
        Event::KeyWarning(warning) => write!(f, "{side}: {warning}"),
        other => write!(f, "{side}: {other:?}"),
    }
}

/// What the feed's thread writes and programs read.
#[derive(Debug)]
pub(super) struct Shared {
    stats: Mutex<FeedStats>,
    /// Taken when the feed has closed, which ends the channel.
    sender: Mutex<Option<Sender<FeedEvent>>>,
    receiver: Receiver<FeedEvent>,
    pub(super) close_timeout: Duration,
}

impl Shared {
    pub(super) fn new(close_timeout: Duration) -> Self {
        let (sender, receiver) = bounded(KEPT);
        Self {
            stats: Mutex::default(),
            sender: Mutex::new(Some(sender)),
            receiver,
            close_timeout,
        }
    }

    pub(super) fn stats(&self) -> FeedStats {
        *sync::lock(&self.stats)
    }

    pub(super) fn set_stats(&self, stats: FeedStats) {
        *sync::lock(&self.stats) = stats;
    }

    pub(super) fn events(&self) -> Receiver<FeedEvent> {
        self.receiver.clone()
    }

    /// Reports an event to the program; the oldest one makes room.
    pub(super) fn tell(&self, event: FeedEvent) {
        let Some(sender) = &*sync::lock(&self.sender) else {
            return;
        };
        let mut event = event;
        while let Err(TrySendError::Full(back)) = sender.try_send(event) {
            let _ = self.receiver.try_recv();
            event = back;
        }
    }

    /// Ends the channel of events.
    pub(super) fn end(&self) {
        drop(sync::lock(&self.sender).take());
    }
}
