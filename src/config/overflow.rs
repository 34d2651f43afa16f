//! What happens to a subscriber that does not keep up.

/// What happens to a subscriber that does not keep up, when its queue is full.
///
/// What is dropped is counted and reported to that subscriber as [`Event::Lagged`](crate::Event::Lagged).
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
    /// The oldest event gives way. The default: a program that was away sees how things are now.
    #[default]
    DropOldest,
    /// The newest event is not taken.
    DropNewest,
    /// The client waits for room, and meanwhile delivers to nobody. When it waits so long that the
    /// queue behind it is full as well, messages are dropped there and counted. Closing the client
    /// ends the wait.
    Block,
}
