//! The numbers of downlinks.

use std::fmt;

use serde::Serialize;

/// The number of a downlink. The client counts from 1 and never reuses a number, even after a
/// reconnect. It is not the MQTT packet identifier, which downlinks do not have (QoS 0).
///
/// ```
/// fn callback(mid: ttn::MessageId) -> String {
///     format!("message {mid} is on its way")
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct MessageId(pub(crate) u64);

impl MessageId {
    /// Returns the number.
    ///
    /// ```
    /// fn even(mid: ttn::MessageId) -> bool {
    ///     mid.get() % 2 == 0
    /// }
    /// ```
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The downlinks of one message, numbered consecutively.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MessageIds {
    first: u64,
    count: u64,
}

impl MessageIds {
    pub(crate) const fn new(first: u64, count: u64) -> Self {
        Self { first, count }
    }

    pub(crate) fn len(self) -> u64 {
        self.count
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = MessageId> {
        (self.first..self.first + self.count).map(MessageId)
    }
}
