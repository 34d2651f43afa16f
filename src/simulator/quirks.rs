//! Switches that make a simulated network misbehave.

use std::time::Duration;

use crate::Network;

const DOWNLINK_QUEUE: usize = 10_000;
const PUSH_TIME: Duration = Duration::from_millis(2);

/// What a session does with a message when its buffer is full.
///
/// ```
/// use ttn::simulator::{Quirks, WhenFull};
///
/// assert_eq!(Quirks::default().when_full, WhenFull::Wait);
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// Makes the publisher wait for room, at most 10 s; then drops this and later messages until
    /// the client reads again. Tests that send many uplinks in a loop lose none.
    Wait,
    /// Drops the newest message without notice to the client, as the real networks do.
    Drop,
}

/// A rate limit with bursts: [`Quirks::publish_rate`].
///
/// ```
/// use ttn::simulator::PublishRate;
///
/// // 20 at once, then one every six seconds.
/// let rate = PublishRate { per_minute: 10, burst: 20 };
/// assert_ne!(rate, PublishRate { per_minute: 10, burst: 1 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublishRate {
    /// The number of messages allowed per minute; 0 allows none after the burst.
    pub per_minute: u32,
    /// The number of messages allowed at once, at first and after a pause.
    pub burst: u32,
}

/// How a network behaves where real ones fail, limit their clients or differ from each other. By
/// default, it is fast, loses nothing, and has the limits of the real networks.
///
/// Set them with [`SimulatorBuilder::quirks`](super::SimulatorBuilder::quirks), and change them at
/// run time with [`Simulator::quirks`](super::Simulator::quirks). A change applies from the next
/// packet or connection on. All quirks apply to both networks unless they say otherwise.
///
/// ```
/// use ttn::Network;
/// use ttn::simulator::{Quirks, Simulator};
///
/// let network = Simulator::start(Network::V3)?;
/// network.quirks(|quirks| quirks.connack = Some(3));
/// network.quirks(|quirks| *quirks = Quirks::of(Network::V3));
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// The CONNACK code with which every CONNECT is refused, regardless of the key. The real V2
    /// network uses only 1 and 5, The Things Stack also 3. Default: `None`, which is the same as
    /// `Some(0)`.
    pub connack: Option<u8>,
    /// Whether to read CONNECT and never answer. Default: off.
    pub ignore_connect: bool,
    /// Whether to close the connection on CONNECT, without CONNACK. Default: off.
    pub close_on_connect: bool,
    /// Whether to close each connection as soon as it is accepted. Default: off.
    pub close_on_accept: bool,
    /// How long an accepted connection may take to send its CONNECT. Default: 10 s, as on the real
    /// networks.
    pub connect_timeout: Duration,
    /// How long a client with a keep-alive of 0 may be silent. Default: one hour, as on the real
    /// networks. Other clients may be silent for one and a half times their keep-alive.
    pub longest_silence: Duration,
    /// Whether to answer every subscription with 0x80. Default: off.
    pub refuse_subscriptions: bool,
    /// Whether to ignore subscriptions: they are neither answered nor applied. Default: off.
    pub ignore_subscriptions: bool,
    /// Whether to hold back each SUBACK until a message is delivered on the connection. The real
    /// networks may deliver before they acknowledge. Default: off.
    pub publish_before_suback: bool,
    /// The delay before each SUBACK; the subscription applies at once. Default: 0.
    pub suback_delay: Duration,
    /// Whether to leave PINGREQ unanswered. Default: off.
    pub ignore_pings: bool,
    /// Whether to ignore what clients publish: no downlink, no acknowledgement.
    /// [`Simulator::published`](super::Simulator::published) still lists it. Default: off.
    pub ignore_publishes: bool,
    /// Whether to publish every uplink twice. Default: off.
    pub duplicate_uplinks: bool,
    /// The number of packets per second to read from each client, without bursts, by delaying the
    /// read; every packet counts. `None` and 0 mean no limit. Default: 10 on V2, as on the real
    /// network; `None` on v3, which has no such limit.
    pub rate_limit: Option<u32>,
    /// How long the network works on each PUBLISH with downlinks. Until it is done, it reads nothing
    /// else from that client, and what the client has already sent is lost when the connection
    /// breaks. v3 only: V2 has [`rate_limit`](Self::rate_limit). Default: 2 ms, as on The Things
    /// Stack with many devices; one device with a long queue takes 4 ms.
    pub push_time: Duration,
    /// The number of PUBLISH packets that each connection may send. The next one is lost, is not
    /// answered and ends the connection after everything before it is answered, as on The Things Stack
    /// above its rate limit, which applies to each application and key. Default: `None`, no limit.
    pub publish_limit: Option<usize>,
    /// The rate at which each key of an application may send PUBLISH packets, over all its
    /// connections. A packet above the limit is lost, is neither answered nor counted, and ends its
    /// connection after everything before it is answered, as on The Things Stack. Default: `None`, no
    /// limit.
    pub publish_rate: Option<PublishRate>,
    /// The number of clients of an application that may be connected at a time. Others are refused
    /// with CONNACK 3, as on The Things Stack Cloud. Default: `None`, no limit.
    pub connection_limit: Option<usize>,
    /// The number of downlinks that the network holds for a device. v3 only: V2 has no limit, and
    /// changing it there panics. Default: 10,000, as on The Things Stack.
    pub downlink_queue: usize,
    /// How long to hold back each downlink event: on v3 messages on `down/…`, on V2 those on
    /// `events/down/…`. They keep their order, and other messages overtake them. The
    /// acknowledgement of the PUBLISH that caused them, which otherwise follows them, overtakes
    /// them too. Default: 0.
    pub event_delay: Duration,
    /// Whether to swap the downlink events of an application in pairs: the first is delivered right
    /// after the second, the third after the fourth. An event that no other event follows within
    /// 100 ms, or within `event_delay` if that is longer, is delivered alone. Default: off.
    pub shuffle_events: bool,
    /// Whether to lose all downlink events; downlinks are queued and sent nevertheless. Default:
    /// off.
    pub lose_events: bool,
    /// The number of messages to buffer for each client. Default: 64, as on the real networks.
    pub session_buffer: usize,
    /// What happens when that buffer is full. Default: [`WhenFull::Wait`]; the real networks drop
    /// the message.
    pub when_full: WhenFull,
    /// Whether to publish each field of an uplink on its own topic too. V2 only: v3 has no such
    /// topics, whatever the value. Default: on; some V2 clusters did not publish them.
    pub field_topics: bool,
    /// Whether the network uses a plain broker such as Mosquitto instead of its own: `rate_limit` has
    /// no effect, downlinks that are sent in a burst are queued in any order, except that one that
    /// replaces the queue keeps its place, and an uplink is published before its fields.
    /// V2 only: v3 has its own broker, whatever the value. Default: off.
    pub plain_broker: bool,
    /// Whether to add the attribute `warning` to every uplink, as servers did in the last year of the
    /// network. V2 only: v3 has no such attribute, whatever the value. Default: off.
    pub shutdown_warning: bool,
    /// The time zone of the server in minutes east of UTC, in which device events print the time. V2
    /// only: v3 has no such events, whatever the value. Default: 0.
    pub utc_offset: i16,
}

impl Quirks {
    /// Returns the quirks with which a network starts. Those of v3 are the [`Default`].
    ///
    /// ```
    /// use ttn::Network;
    /// use ttn::simulator::Quirks;
    ///
    /// assert_eq!(Quirks::of(Network::V2).rate_limit, Some(10));
    /// assert_eq!(Quirks::of(Network::V3), Quirks::default());
    /// ```
    pub fn of(network: Network) -> Self {
        Self {
            rate_limit: (network == Network::V2).then_some(10),
            ..Self::default()
        }
    }

    /// Changes the quirks of a network.
    ///
    /// # Panics
    ///
    /// If the network cannot do what the changed quirks require.
    #[track_caller]
    pub(super) fn change(&mut self, network: Network, change: impl FnOnce(&mut Self)) {
        let mut changed = self.clone();
        change(&mut changed);
        assert!(
            network == Network::V3 || changed.downlink_queue == DOWNLINK_QUEUE,
            "Quirks::downlink_queue is for v3 only, and this network is V2, which has no such limit"
        );
        *self = changed;
    }

    /// Returns how often to publish each uplink.
    pub(super) fn uplink_copies(&self) -> usize {
        1 + usize::from(self.duplicate_uplinks)
    }
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            connack: None,
            ignore_connect: false,
            close_on_connect: false,
            close_on_accept: false,
            connect_timeout: Duration::from_secs(10),
            longest_silence: Duration::from_secs(3600),
            refuse_subscriptions: false,
            ignore_subscriptions: false,
            publish_before_suback: false,
            suback_delay: Duration::ZERO,
            ignore_pings: false,
            ignore_publishes: false,
            duplicate_uplinks: false,
            rate_limit: None,
            push_time: PUSH_TIME,
            publish_limit: None,
            publish_rate: None,
            connection_limit: None,
            downlink_queue: DOWNLINK_QUEUE,
            event_delay: Duration::ZERO,
            shuffle_events: false,
            lose_events: false,
            session_buffer: 64,
            when_full: WhenFull::Wait,
            field_topics: true,
            plain_broker: false,
            shutdown_warning: false,
            utc_offset: 0,
        }
    }
}
