//! Switches that make the simulated network misbehave.

use std::time::Duration;

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
    /// Whoever publishes waits for room, at most 10 s; then this and the following messages are
    /// dropped until the client reads again. Tests that send many uplinks in a loop lose none.
    Wait,
    /// The newest message is dropped, silently for the client, as on the real networks.
    Drop,
}

/// A limit of messages that comes back by itself: [`Quirks::publish_rate`].
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
    /// How many messages a minute brings; with 0 none come back.
    pub per_minute: u32,
    /// How many are there at first, and how many are saved up at the most.
    pub burst: u32,
}

/// Deviations from an ordinary, fast and friendly network; the default has none.
///
/// Given to [`SimulatorBuilder::quirks`](super::SimulatorBuilder::quirks) or changed under way with
/// [`Simulator::quirks`](super::Simulator::quirks). A change is seen by the next packet or
/// connection.
///
/// ```
/// use ttn::Network;
/// use ttn::simulator::Simulator;
///
/// let network = Simulator::start(Network::V3)?;
/// network.quirks(|quirks| quirks.connack = Some(3));
/// network.quirks(|quirks| *quirks = Default::default());
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// Refuse every CONNECT with this CONNACK code, whatever the key. The real V2 network uses 1
    /// and 5 only, The Things Stack also 3. Default `None`; `Some(0)` is the same.
    pub connack: Option<u8>,
    /// Read CONNECT and never answer. Default off.
    pub ignore_connect: bool,
    /// Close the connection on CONNECT, without CONNACK. Default off.
    pub close_on_connect: bool,
    /// Close the connection right after it was accepted. Default off.
    pub close_on_accept: bool,
    /// How long an accepted connection may take to send its CONNECT. Default 10 s, as on the real
    /// networks.
    pub connect_timeout: Duration,
    /// How long a client with a keep-alive of 0 may send nothing. Default one hour, as on the real
    /// networks; other clients have one and a half times their keep-alive.
    pub longest_silence: Duration,
    /// Answer every subscription with 0x80. Default off.
    pub refuse_subscriptions: bool,
    /// Neither answer nor apply subscriptions. Default off.
    pub ignore_subscriptions: bool,
    /// Hold back each SUBACK until a message was delivered on the connection. The real networks may
    /// deliver before they acknowledge. Default off.
    pub publish_before_suback: bool,
    /// How long to wait before each SUBACK; the subscription is in force already. Default: not at
    /// all.
    pub suback_delay: Duration,
    /// Leave PINGREQ unanswered. Default off.
    pub ignore_pings: bool,
    /// Swallow what clients publish: no downlink, no acknowledgement. It still shows in
    /// [`Simulator::published`](super::Simulator::published). Default off.
    pub ignore_publishes: bool,
    /// Publish every uplink twice. Default off.
    pub duplicate_uplinks: bool,
    /// Packets per second read from each client, with a burst of one, by delaying the read. This is
    /// V2's way, where 10 is usual. Default `None`, no limit, so that tests are fast; 0 is the
    /// same.
    pub rate_limit: Option<u32>,
    /// How many PUBLISH each connection may send; the next one is lost, not answered, and ends the
    /// connection, as The Things Stack does above its rate limit, which it counts for each
    /// application and key. Default `None`, no limit.
    pub publish_limit: Option<usize>,
    /// How many PUBLISH each key of an application may send, counted over all its connections; the
    /// one above is lost, not answered, not counted, and ends its connection, as on The Things
    /// Stack. Default `None`, no limit.
    pub publish_rate: Option<PublishRate>,
    /// How many clients of one application may be connected at a time; others are refused with
    /// CONNACK 3, as by The Things Stack Cloud. Default `None`, no limit.
    pub connection_limit: Option<usize>,
    /// How many downlinks the network holds for one device. v3 only. Default 10 000, as on The
    /// Things Stack.
    pub downlink_queue: usize,
    /// How long each message about a downlink is held back: on v3 those on `down/…`, on V2 those on
    /// `events/down/…`. They keep their order, and other messages overtake them; so does the
    /// acknowledgement of the PUBLISH that caused them, which otherwise comes behind them. Default:
    /// not at all.
    pub event_delay: Duration,
    /// Exchange each two messages about downlinks of an application: the first waits for the second
    /// and goes right behind it, the third waits for the fourth. One that no other follows within
    /// 100 ms, or within the `event_delay` if that is longer, goes alone. Default off.
    pub shuffle_events: bool,
    /// Never say what becomes of downlinks, which are queued and sent nevertheless. Default off.
    pub lose_events: bool,
    /// Messages buffered for each client. Default 64, as on the real networks.
    pub session_buffer: usize,
    /// What happens when that buffer is full. Default [`WhenFull::Wait`]; the real networks drop.
    pub when_full: WhenFull,
    /// Publish each field of an uplink on a topic of its own too. V2 only. Default on; not every
    /// cluster did.
    pub field_topics: bool,
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
            publish_limit: None,
            publish_rate: None,
            connection_limit: None,
            downlink_queue: 10_000,
            event_delay: Duration::ZERO,
            shuffle_events: false,
            lose_events: false,
            session_buffer: 64,
            when_full: WhenFull::Wait,
            field_topics: true,
        }
    }
}
