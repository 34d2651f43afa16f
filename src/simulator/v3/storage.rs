//! How the storage of the network behaves.

use std::time::Duration;

/// How long the storage of The Things Network keeps an uplink.
const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// The Storage Integration of a network, which keeps uplinks for programs that were away; set with
/// [`Simulator::storage`](super::super::Simulator::storage).
///
/// It keeps every uplink that is published over MQTT while it is there, with the same two times, and serves
/// them at `as/applications/{application}/packages/storage/uplink_message`.
///
/// ```
/// use std::time::Duration;
/// use ttn::Network;
/// use ttn::simulator::{Simulator, Storage};
///
/// let network = Simulator::start(Network::V3)?;
/// network.storage(Some(Storage::new().write_delay(Duration::from_secs(5)).page_cap(100)));
/// network.device("soil-probe-07").uplink(2, [0x01, 0x67]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    pub(super) access: Access,
    pub(super) retention: Duration,
    pub(super) write_delay: Duration,
    pub(super) write_jitter: Duration,
    pub(super) page_cap: u32,
    pub(super) doubled: bool,
    pub(super) shuffled: bool,
    pub(super) before_inclusive: bool,
    pub(super) keeps_all_members: bool,
}

/// Whether applications can read what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Open,
    /// The application has not enabled it.
    NotEnabled,
    Forbidden,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            access: Access::Open,
            retention: RETENTION,
            write_delay: Duration::ZERO,
            write_jitter: Duration::ZERO,
            page_cap: 1000,
            doubled: false,
            shuffled: false,
            before_inclusive: false,
            keeps_all_members: false,
        }
    }
}

impl Storage {
    /// Keeps uplinks for 24 hours, as on The Things Network, and shows them at once.
    ///
    /// ```
    /// use ttn::simulator::Storage;
    ///
    /// let storage = Storage::new();
    /// assert_eq!(storage, Storage::default());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long uplinks are kept, by their outer `received_at`. Older ones are left out, which is not
    /// an error. Default: 24 hours.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ttn::simulator::Storage;
    ///
    /// let cloud = Storage::new().retention(Duration::from_secs(30 * 24 * 3600));
    /// ```
    #[must_use]
    pub fn retention(mut self, time: Duration) -> Self {
        self.retention = time;
        self
    }

    /// Sets how long after its publication an uplink can be read. Default: 0; the real storage writes in
    /// batches, after a time that is not known.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ttn::simulator::Storage;
    ///
    /// let slow = Storage::new().write_delay(Duration::from_secs(30));
    /// ```
    #[must_use]
    pub fn write_delay(mut self, time: Duration) -> Self {
        self.write_delay = time;
        self
    }

    /// Sets by how much the [delay](Self::write_delay) is longer, at random for each uplink up to this time: a
    /// later uplink can become readable before an earlier one. Default: 0.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ttn::simulator::Storage;
    ///
    /// let uneven = Storage::new().write_jitter(Duration::from_secs(10));
    /// ```
    #[must_use]
    pub fn write_jitter(mut self, time: Duration) -> Self {
        self.write_jitter = time;
        self
    }

    /// Sets the maximum number of records in an answer, 1 to 1000. The answer does not say that there are
    /// more. Default: 1000.
    ///
    /// ```
    /// use ttn::simulator::Storage;
    ///
    /// let short = Storage::new().page_cap(10);
    /// ```
    #[must_use]
    pub fn page_cap(mut self, records: u32) -> Self {
        self.page_cap = records.clamp(1, 1000);
        self
    }

    /// Sets whether each record comes twice, and counts twice, as with two default associations of the
    /// application. Default: off.
    ///
    /// ```
    /// use ttn::simulator::Storage;
    ///
    /// let twice = Storage::new().doubled(true);
    /// ```
    #[must_use]
    pub fn doubled(mut self, on: bool) -> Self {
        self.doubled = on;
        self
    }

    /// Sets whether the records of an answer come in random order. Default: off.
    ///
    /// ```
    /// use ttn::simulator::Storage;
    ///
    /// let mixed = Storage::new().shuffled(true);
    /// ```
    #[must_use]
    pub fn shuffled(mut self, on: bool) -> Self {
        self.shuffled = on;
        self
    }

    /// Sets whether a record of exactly the time `before` is in the answer. Default: off; what the
    /// real storage does is not known.
    ///
    /// ```
    /// use ttn::simulator::Storage;
    ///
    /// let with_bound = Storage::new().before_inclusive(true);
    /// ```
    #[must_use]
    pub fn before_inclusive(mut self, on: bool) -> Self {
        self.before_inclusive = on;
        self
    }

    /// Sets whether records have all members that they have over MQTT, as the documentation once showed.
    /// Default: off, without `join_eui`, `correlation_ids`, `session_key_id` and `uplink_token`. Applies to
    /// uplinks that are stored from then on.
    ///
    /// ```
    /// use ttn::simulator::Storage;
    ///
    /// let whole = Storage::new().keeps_all_members(true);
    /// ```
    #[must_use]
    pub fn keeps_all_members(mut self, on: bool) -> Self {
        self.keeps_all_members = on;
        self
    }

    /// Behaves as if no application had enabled it: nothing is stored, and every answer is 200 and empty.
    ///
    /// ```
    /// use ttn::simulator::Storage;
    ///
    /// let off = Storage::new().not_enabled();
    /// ```
    #[must_use]
    pub fn not_enabled(mut self) -> Self {
        self.access = Access::NotEnabled;
        self
    }

    /// Refuses every key with 403, as if it lacked the right `RIGHT_APPLICATION_TRAFFIC_READ`. Uplinks are
    /// stored.
    ///
    /// ```
    /// use ttn::simulator::Storage;
    ///
    /// let closed = Storage::new().forbidden();
    /// ```
    #[must_use]
    pub fn forbidden(mut self) -> Self {
        self.access = Access::Forbidden;
        self
    }
}
