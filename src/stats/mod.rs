//! What a client has counted.

mod devices;
mod fair_use;
mod frame_counters;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use crate::{
    error::Error,
    events::Losses,
    message::{CounterFinding, DownlinkStep, Event, FrameLoss},
    sync,
};
pub use devices::DeviceUse;
pub(crate) use devices::Devices;
pub use fair_use::FairUse;

/// What a client has counted since it was made, over all its connections. A copy of some numbers,
/// made by [`stats`](crate::MqttClient::stats).
///
/// ```
/// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// let stats = client.stats();
/// println!("{} messages, {} dropped, {} reconnects", stats.received, stats.dropped, stats.reconnects);
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Messages that have arrived: the sum of `decoded`, `malformed` and `dropped`.
    pub received: u64,
    /// Messages that became an event other than [`Event::Malformed`].
    pub decoded: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Messages that were dropped between the network and the client's thread, for want of room
    /// ([`receive_capacity`](crate::MqttClientBuilder::receive_capacity)), and those that waited
    /// there when the client was closed.
    pub dropped: u64,
    /// Events that callbacks lost because they did not keep up.
    pub dropped_by_callbacks: u64,
    /// Events that each [`events`](crate::MqttClient::events) subscription lost, in the order in
    /// which they subscribed; those that were dropped are left out. See also
    /// [`Events::dropped`](crate::Events::dropped).
    pub dropped_by_subscribers: Vec<u64>,
    /// Downlinks, and requests to empty a queue, that have left this machine.
    pub sent: u64,
    /// The same, accepted and not written.
    pub not_sent: u64,
    /// The same, accepted and waiting: for their turn, or for a connection.
    pub waiting: usize,
    /// Acknowledgements by devices.
    pub confirmed: u64,
    /// Bytes that came in, as they are on the line: with TLS, the talk with a proxy, and attempts that
    /// failed; without what is asked over HTTP.
    pub bytes_received: u64,
    /// Bytes that went out, counted the same way.
    pub bytes_sent: u64,
    /// Connections that were lost.
    pub disconnects: u64,
    /// Connections that were made again after a loss.
    pub reconnects: u64,
    /// When the present connection was made; `None` when there is none.
    pub connected_since: Option<SystemTime>,
    /// The last error of a connection or of an attempt to connect.
    pub last_error: Option<Error>,
    /// Airtime and downlinks of today's devices, for networks with a fair use policy.
    pub fair_use: FairUse,
    /// What frame counters say; see [`counter_watch`](crate::MqttClientBuilder::counter_watch).
    pub frames: FrameStats,
}

/// What frame counters say of the uplinks of all devices.
///
/// ```
/// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// let frames = client.stats().frames;
/// println!("{} uplinks were lost on the way here", frames.missing_upstream);
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameStats {
    /// Missing, while the client was away: [`FrameLoss::Away`].
    pub missing_away: u64,
    /// Missing, since the client had no room: [`FrameLoss::DroppedHere`].
    pub missing_dropped_here: u64,
    /// Missing for another reason: [`FrameLoss::Upstream`].
    pub missing_upstream: u64,
    /// Of the missing, those that arrived after all.
    pub late: u64,
    /// Arrived again.
    pub repeated: u64,
    /// Counters that went back.
    pub resets: u64,
}

/// Bytes on the line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// The numbers themselves: written by the session, read by everyone.
#[derive(Debug)]
pub(crate) struct Tally {
    decoded: AtomicU64,
    malformed: AtomicU64,
    dropped: AtomicU64,
    sent: AtomicU64,
    not_sent: AtomicU64,
    confirmed: AtomicU64,
    disconnects: AtomicU64,
    reconnects: AtomicU64,
    frames: Frames,
    devices: Arc<Mutex<Devices>>,
    rare: Mutex<Rare>,
}

#[derive(Debug, Default)]
struct Frames {
    missing_away: AtomicU64,
    missing_dropped_here: AtomicU64,
    missing_upstream: AtomicU64,
    late: AtomicU64,
    repeated: AtomicU64,
    resets: AtomicU64,
}

#[derive(Debug, Default)]
struct Rare {
    connected_since: Option<SystemTime>,
    last_error: Option<Error>,
    /// The first is that of the callbacks.
    subscribers: Vec<Weak<Losses>>,
}

fn add(number: &AtomicU64, more: u64) {
    number.fetch_add(more, Ordering::Relaxed);
}

impl Tally {
    /// Counts the fair use of so many devices.
    pub(crate) fn new(devices: usize) -> Self {
        Self {
            decoded: AtomicU64::default(),
            malformed: AtomicU64::default(),
            dropped: AtomicU64::default(),
            sent: AtomicU64::default(),
            not_sent: AtomicU64::default(),
            confirmed: AtomicU64::default(),
            disconnects: AtomicU64::default(),
            reconnects: AtomicU64::default(),
            frames: Frames::default(),
            devices: Arc::new(Mutex::new(Devices::new(devices))),
            rare: Mutex::default(),
        }
    }

    /// What is remembered of each device.
    pub(crate) fn devices(&self) -> MutexGuard<'_, Devices> {
        sync::lock(&self.devices)
    }

    fn rare(&self) -> MutexGuard<'_, Rare> {
        sync::lock(&self.rare)
    }

    /// Counts an event before it is published.
    pub(crate) fn count(&self, event: &Event) {
        match event {
            Event::Malformed(_) => add(&self.malformed, 1),
            Event::Published(_) => add(&self.sent, 1),
            Event::PublishFailed(_) => add(&self.not_sent, 1),
            Event::Counter(report) => self.count_finding(report.finding),
            Event::Connected(connected) => {
                if connected.gap.is_some() {
                    add(&self.reconnects, 1);
                }
                self.rare().connected_since = Some(SystemTime::now());
            }
            Event::Disconnected(lost) => {
                add(&self.disconnects, 1);
                self.rare().last_error = Some(lost.error.clone());
            }
            Event::ConnectFailed(failed) => self.rare().last_error = Some(failed.error.clone()),
            Event::Closed(_) | Event::Lagged(_) | Event::CallbackFailed(_) => {}
            Event::Downlink(report) => {
                match report.step {
                    DownlinkStep::Acknowledged => add(&self.confirmed, 1),
                    DownlinkStep::Sent => {
                        self.devices().downlink(&report.dev_id, SystemTime::now());
                    }
                    _ => {}
                }
                add(&self.decoded, 1);
            }
            _ => add(&self.decoded, 1),
        }
    }

    fn count_finding(&self, finding: CounterFinding) {
        let frames = &self.frames;
        match finding {
            CounterFinding::Missing { frames: lost, loss } => {
                let number = match loss {
                    FrameLoss::Away => &frames.missing_away,
                    FrameLoss::DroppedHere => &frames.missing_dropped_here,
                    FrameLoss::Upstream => &frames.missing_upstream,
                };
                add(number, lost.into());
            }
            CounterFinding::Late => add(&frames.late, 1),
            CounterFinding::Repeated => add(&frames.repeated, 1),
            CounterFinding::Reset => add(&frames.resets, 1),
        }
    }

    pub(crate) fn dropped(&self, messages: u64) {
        add(&self.dropped, messages);
    }

    /// The connection has ended.
    pub(crate) fn disconnected(&self) {
        self.rare().connected_since = None;
    }

    /// A new subscription; the first is that of the callbacks.
    pub(crate) fn add_subscriber(&self, losses: Weak<Losses>) {
        let subscribers = &mut self.rare().subscribers;
        let mut number = 0;
        subscribers.retain(|losses| {
            number += 1;
            number == 1 || losses.strong_count() > 0
        });
        subscribers.push(losses);
    }

    /// A copy of the numbers, with what others count: downlinks that wait to be written, and bytes.
    pub(crate) fn snapshot(&self, waiting: usize, bytes: Bytes) -> Stats {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let (decoded, malformed, dropped) =
            (get(&self.decoded), get(&self.malformed), get(&self.dropped));
        let rare = self.rare();
        let mut losses = rare
            .subscribers
            .iter()
            .map(|losses| losses.upgrade().map(|losses: Arc<Losses>| losses.get()));
        Stats {
            received: decoded + malformed + dropped,
            decoded,
            malformed,
            dropped,
            dropped_by_callbacks: losses.next().flatten().unwrap_or(0),
            dropped_by_subscribers: losses.flatten().collect(),
            sent: get(&self.sent),
            not_sent: get(&self.not_sent),
            waiting,
            confirmed: get(&self.confirmed),
            bytes_received: bytes.received,
            bytes_sent: bytes.sent,
            disconnects: get(&self.disconnects),
            reconnects: get(&self.reconnects),
            connected_since: rare.connected_since,
            last_error: rare.last_error.clone(),
            fair_use: FairUse::new(Arc::clone(&self.devices)),
            frames: FrameStats {
                missing_away: get(&self.frames.missing_away),
                missing_dropped_here: get(&self.frames.missing_dropped_here),
                missing_upstream: get(&self.frames.missing_upstream),
                late: get(&self.frames.late),
                repeated: get(&self.frames.repeated),
                resets: get(&self.frames.resets),
            },
        }
    }
}
