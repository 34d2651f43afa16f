//! What a feed has counted.

use serde::Serialize;

/// The counters of a [`Feed`](super::Feed) since its start. A copy, returned by [`stats`](super::Feed::stats).
///
/// ```
/// let stats = ttn::FeedStats::default();
/// assert_eq!((stats.acknowledged, stats.waiting), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FeedStats {
    /// Messages that were published to the broker. One that is published again counts again.
    pub published: u64,
    /// Messages that the broker has acknowledged.
    pub acknowledged: u64,
    /// Those of `acknowledged` that are reports on downlinks.
    pub reports: u64,
    /// Messages that wait for their acknowledgement, or to be published.
    pub waiting: usize,
    /// Messages that came from the network and were not taken: the list or a queue of the network's client was full, or the
    /// broker does not take a message. Uplinks for which there was no room are fetched later, where the
    /// network keeps them; all else is lost. [`FeedEvent::Dropped`](super::FeedEvent::Dropped) tells it. What the network sent while the feed had let it go is not counted: nobody has seen it.
    pub dropped: u64,
    /// How often the list was full, and the network was let go.
    pub overflows: u64,
    /// Uplinks that were fetched because the feed had missed them.
    pub fetched: u64,
    /// Downlink requests that were written to the network.
    pub requests: u64,
    /// Downlink requests that came from the broker and are not written yet.
    pub requests_waiting: usize,
    /// Downlink requests that the network's connection refused for good, for example because the key may not send, or that
    /// were published at QoS 0 faster than they can be written. They are lost;
    /// [`FeedEvent::Failed`](super::FeedEvent::Failed) says why.
    pub requests_refused: u64,
    /// Whether the network is connected.
    pub is_network_connected: bool,
    /// Whether the broker is connected.
    pub is_broker_connected: bool,
}
