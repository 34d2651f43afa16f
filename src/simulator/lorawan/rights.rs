//! The rights of an access key.

/// What an access key allows.
///
/// ```
/// use ttn::Network;
/// use ttn::simulator::{Rights, Simulator};
///
/// let network = Simulator::start(Network::V3)?;
/// let rights = Rights { read: true, write: false };
/// network.add_key("simulated-app@ttn", "NNSXS.DASHBOARD.KEY", rights);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Whether the key may receive uplinks and events: `RIGHT_APPLICATION_TRAFFIC_READ`, on V2
    /// `messages:up:r`. Without it, subscriptions are granted but nothing arrives.
    pub read: bool,
    /// Whether the key may send downlinks: `RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE`, on V2
    /// `messages:down:w`. Without it, requests are acknowledged and dropped.
    pub write: bool,
}

impl Rights {
    /// Both rights; the default key of a new application has them.
    ///
    /// ```
    /// use ttn::simulator::Rights;
    ///
    /// assert_eq!(Rights::ALL, Rights { read: true, write: true });
    /// ```
    pub const ALL: Self = Self {
        read: true,
        write: true,
    };

    /// Returns what these rights allow: what is readable, and what is writable.
    pub(crate) fn select<'a, T>(self, read: &'a [T], write: &'a [T]) -> (&'a [T], &'a [T]) {
        (
            if self.read { read } else { &[] },
            if self.write { write } else { &[] },
        )
    }
}
