//! The counters behind [`Stats`]: the session writes them, and every handle of the client reads them.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use super::{Devices, FairUse, FrameStats, Stats};
use crate::{
    error::Error,
    events::Reader,
    message::{CounterFinding, DownlinkStep, Event, FrameLoss},
    sync,
};

/// Bytes on the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// The counters of a client.
#[derive(Debug)]
pub(crate) struct Tally {
    decoded: AtomicU64,
    malformed: AtomicU64,
    dropped: AtomicU64,
    sent: AtomicU64,
    not_sent: AtomicU64,
    uncertain: AtomicU64,
    /// Shown as [`Stats::confirmed`].
    acknowledgements: AtomicU64,
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

/// The values that change only with a connection or a subscription.
#[derive(Debug, Default)]
struct Rare {
    connected_since: Option<SystemTime>,
    last_error: Option<Error>,
    /// The callbacks' subscription comes first.
    subscribers: Vec<Arc<Reader>>,
}

fn add(number: &AtomicU64, more: u64) {
    number.fetch_add(more, Ordering::Relaxed);
}

impl Tally {
    /// Creates counters that remember at most `devices` devices.
    pub(crate) fn new(devices: usize) -> Self {
        Self {
            decoded: AtomicU64::default(),
            malformed: AtomicU64::default(),
            dropped: AtomicU64::default(),
            sent: AtomicU64::default(),
            not_sent: AtomicU64::default(),
            uncertain: AtomicU64::default(),
            acknowledgements: AtomicU64::default(),
            disconnects: AtomicU64::default(),
            reconnects: AtomicU64::default(),
            frames: Frames::default(),
            devices: Arc::new(Mutex::new(Devices::new(devices))),
            rare: Mutex::default(),
        }
    }

    /// Locks the table of devices.
    pub(crate) fn devices(&self) -> MutexGuard<'_, Devices> {
        sync::lock(&self.devices)
    }

    fn rare(&self) -> MutexGuard<'_, Rare> {
        sync::lock(&self.rare)
    }

    /// Counts an event, before subscribers get it.
    pub(crate) fn count(&self, event: &Event) {
        match event {
            Event::Malformed(_) => add(&self.malformed, 1),
            Event::Published(_) => add(&self.sent, 1),
            Event::PublishFailed(_) => add(&self.not_sent, 1),
            Event::Counter(counter) => self.count_finding(counter.finding),
            Event::Connected(connected) => {
                if connected.gap.is_some() {
                    add(&self.reconnects, 1);
                }
                self.devices().returned(Instant::now());
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
                    _ if report.is_simulated() || event.is_retained() => {}
                    DownlinkStep::Acknowledged => add(&self.acknowledgements, 1),
                    DownlinkStep::Sent => {
                        self.devices().downlink(&report.dev_id, SystemTime::now());
                    }
                    _ => {}
                }
                add(&self.decoded, 1);
            }
            Event::Uplink(_)
            | Event::UplinkNormalized(_)
            | Event::UplinkField(_)
            | Event::UplinkFailed(_)
            | Event::Activation(_)
            | Event::ActivationFailed(_)
            | Event::Device(_)
            | Event::QueueInvalidated(_)
            | Event::LocationSolved(_)
            | Event::ServiceData(_)
            | Event::Other(_) => add(&self.decoded, 1),
        }
    }

    fn count_finding(&self, finding: CounterFinding) {
        let frames = &self.frames;
        match finding {
            CounterFinding::Missing {
                frames: missing,
                loss,
            } => {
                let number = match loss {
                    FrameLoss::Away => &frames.missing_away,
                    FrameLoss::DroppedHere => &frames.missing_dropped_here,
                    FrameLoss::Upstream => &frames.missing_upstream,
                };
                add(number, missing.into());
            }
            CounterFinding::Late => add(&frames.late, 1),
            CounterFinding::Repeated => add(&frames.repeated, 1),
            CounterFinding::Reset => add(&frames.resets, 1),
        }
    }

    /// Counts messages that were dropped before they were decoded.
    pub(crate) fn dropped(&self, messages: u64) {
        add(&self.dropped, messages);
    }

    /// Counts downlinks that the server may not have processed.
    pub(crate) fn uncertain(&self, downlinks: u64) {
        add(&self.uncertain, downlinks);
    }

    /// Notes that the connection has ended, on which the server had sent nothing for this long.
    pub(crate) fn disconnected(&self, silence: Duration) {
        self.devices().left(Instant::now(), silence);
        self.rare().connected_since = None;
    }

    /// Adds a subscription; the callbacks' subscription must be the first.
    pub(crate) fn add_subscriber(&self, reader: Arc<Reader>) {
        let subscribers = &mut self.rare().subscribers;
        let mut number = 0;
        subscribers.retain(|reader| {
            number += 1;
            number == 1 || !reader.is_gone()
        });
        subscribers.push(reader);
    }

    /// Returns a copy of the counters, completed by what is counted elsewhere: waiting downlinks, and
    /// bytes.
    pub(crate) fn snapshot(&self, waiting: usize, bytes: Bytes) -> Stats {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let (decoded, malformed, dropped) =
            (get(&self.decoded), get(&self.malformed), get(&self.dropped));
        let rare = self.rare();
        let mut dropped_events = rare
            .subscribers
            .iter()
            .map(|reader| (!reader.is_gone()).then(|| reader.dropped()));
        Stats {
            received: decoded + malformed + dropped,
            decoded,
            malformed,
            dropped,
            dropped_by_callbacks: dropped_events.next().flatten().unwrap_or(0),
            dropped_by_subscribers: dropped_events.flatten().collect(),
            sent: get(&self.sent),
            not_sent: get(&self.not_sent),
            uncertain: get(&self.uncertain),
            waiting,
            confirmed: get(&self.acknowledgements),
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
