//! How long the network keeps events.

use std::time::Duration;

/// How many events a server keeps.
const EVENTS: usize = 100;
/// How long it keeps the messages in them.
const MESSAGE_TTL: Duration = Duration::from_secs(600);

/// The store that lets an event stream begin in the past; set with
/// [`Simulator::event_store`](super::super::Simulator::event_store).
///
/// ```
/// use std::time::Duration;
/// use ttn::Network;
/// use ttn::simulator::{EventStore, Simulator};
///
/// let network = Simulator::start(Network::V3)?;
/// network.event_store(Some(EventStore::new().events(25)));
/// network.device("soil-probe-07").uplink(2, [0x01, 0x67]);
/// // The event of the uplink is kept, but what it held is not any more.
/// network.advance_clock(Duration::from_secs(11 * 60));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventStore {
    pub(super) events: usize,
    pub(super) message_ttl: Duration,
}

impl Default for EventStore {
    fn default() -> Self {
        Self {
            events: EVENTS,
            message_ttl: MESSAGE_TTL,
        }
    }
}

impl EventStore {
    /// Keeps as much as a server of The Things Stack does where its operator has turned the store on.
    ///
    /// ```
    /// use ttn::simulator::EventStore;
    ///
    /// let store = EventStore::new();
    /// assert_eq!(store, EventStore::default());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many events are kept, for each application and once more for each device. Default: 100;
    /// the real server keeps up to 130. One uplink is one event of its application, two or more with
    /// measurements, a location or warnings, and five or more of its device.
    ///
    /// ```
    /// use ttn::simulator::EventStore;
    ///
    /// let small = EventStore::new().events(10);
    /// ```
    #[must_use]
    pub fn events(mut self, count: usize) -> Self {
        self.events = count;
        self
    }

    /// Sets how long the messages in events are kept. An older event comes without `data`, and with the ids
    /// of application and device alone. Default: 10 minutes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ttn::simulator::EventStore;
    ///
    /// let brief = EventStore::new().message_ttl(Duration::from_secs(60));
    /// ```
    #[must_use]
    pub fn message_ttl(mut self, time: Duration) -> Self {
        self.message_ttl = time;
        self
    }
}
