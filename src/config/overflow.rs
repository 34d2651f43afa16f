//! What happens when a subscriber does not keep up.

/// What happens when the queue of a subscriber that does not keep up is full.
///
/// Dropped events are counted and reported to that subscriber as
/// [`Event::Lagged`](crate::Event::Lagged).
///
/// ```no_run
/// use ttn::Overflow;
///
/// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// let newest_100 = client.events_with(100, Overflow::DropOldest);
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// Drops the oldest event. The default: after a pause the program sees the current state.
    #[default]
    DropOldest,
    /// Drops the newest event.
    DropNewest,
    /// Waits for room, and meanwhile delivers to no subscriber. If the wait lasts until the receive
    /// queue is full as well, messages are dropped there and counted. Closing the client ends the wait.
    Block,
}
