//! The counters behind [`Stats`]: the session writes them, and every handle of the client reads them.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::{DeviceStatus, Devices, FairUse, FrameStats, Stats, WorkerStats};
use crate::{
    clock::Moment,
    error::Error,
    events::Reader,
    message::{CounterFinding, DownlinkStep, Event, FrameLoss},
    process::Home,
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
    /// Where the session is that counts.
    home: Home,
    decoded: AtomicU64,
    malformed: AtomicU64,
    backfilled: AtomicU64,
    odd_members: AtomicU64,
    dropped: AtomicU64,
    unacknowledged: AtomicU64,
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

impl Frames {
    fn missing(&self, loss: FrameLoss) -> &AtomicU64 {
        match loss {
            FrameLoss::Away => &self.missing_away,
            FrameLoss::DroppedHere => &self.missing_dropped_here,
            FrameLoss::Upstream => &self.missing_upstream,
        }
    }
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
    /// Creates counters with a table of devices.
    pub(crate) fn new(devices: Devices) -> Self {
        Self {
            home: Home::here(),
            decoded: AtomicU64::default(),
            malformed: AtomicU64::default(),
            backfilled: AtomicU64::default(),
            odd_members: AtomicU64::default(),
            dropped: AtomicU64::default(),
            unacknowledged: AtomicU64::default(),
            sent: AtomicU64::default(),
            not_sent: AtomicU64::default(),
            uncertain: AtomicU64::default(),
            acknowledgements: AtomicU64::default(),
            disconnects: AtomicU64::default(),
            reconnects: AtomicU64::default(),
            frames: Frames::default(),
            devices: Arc::new(Mutex::new(devices)),
            rare: Mutex::default(),
        }
    }

    /// Locks the table of devices.
    pub(crate) fn devices(&self) -> MutexGuard<'_, Devices> {
        sync::lock(&self.devices)
    }

    /// Lists what is known of each device that was heard, by its id. Locks each shelf separately: the session
    /// needs the lock for each uplink. Returns `None` if nothing is noted about them, and in a fork in which
    /// nobody can read it.
    pub(crate) fn list_devices(&self) -> Option<Vec<DeviceStatus>> {
        let mut list = Vec::new();
        for shelf in 0.. {
            let now = Moment::now();
            let mut devices = self.home.lock(&self.devices)?;
            if !devices.is_watching() {
                return None;
            }
            devices.turn_page(now.time);
            let at = devices.at(now);
            if !devices.copy_devices(shelf, at, &mut list) {
                break;
            }
        }
        list.sort_unstable_by(|one, other| one.dev_id.cmp(&other.dev_id));
        Some(list)
    }

    fn left(&self, now: Moment, silence: Duration) {
        let mut devices = self.devices();
        let at = devices.at(now);
        devices.left(at, silence);
    }

    fn returned(&self, now: Moment) {
        let mut devices = self.devices();
        let at = devices.at(now);
        devices.returned(at);
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
                self.returned(Moment::now());
                self.rare().connected_since = Some(SystemTime::now());
            }
            Event::Disconnected(lost) => {
                add(&self.disconnects, 1);
                self.rare().last_error = Some(lost.error.clone());
            }
            Event::ConnectFailed(failed) => self.rare().last_error = Some(failed.error.clone()),
            Event::Closed(_)
            | Event::Lagged(_)
            | Event::CallbackFailed(_)
            | Event::Backfilled(_)
            | Event::DeviceSilent(_)
            | Event::DeviceBack(_)
            | Event::KeyWarning(_) => {}
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
            Event::Uplink(uplink) if uplink.is_backfilled() => add(&self.backfilled, 1),
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
            } => add(frames.missing(loss), missing.into()),
            CounterFinding::Filled { loss } => {
                let less = |number: u64| number.checked_sub(1);
                let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
                let _ = frames.missing(loss).fetch_update(set, fetch, less);
            }
            CounterFinding::Late => add(&frames.late, 1),
            CounterFinding::Repeated => add(&frames.repeated, 1),
            CounterFinding::Reset => add(&frames.resets, 1),
        }
    }

    /// Counts members of a message that could not be read and were kept.
    pub(crate) fn odd_members(&self, members: u64) {
        add(&self.odd_members, members);
    }

    /// Counts a message that is not to be acknowledged although it should.
    pub(crate) fn unacknowledged(&self) {
        add(&self.unacknowledged, 1);
    }

    /// Counts messages that were dropped before they were decoded.
    pub(crate) fn dropped(&self, messages: u64) {
        add(&self.dropped, messages);
    }

    /// Returns how many those are.
    pub(crate) fn dropped_so_far(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Counts downlinks that the server may not have processed.
    pub(crate) fn uncertain(&self, downlinks: u64) {
        add(&self.uncertain, downlinks);
    }

    /// Notes that the connection has ended, on which the server had sent nothing for this long.
    pub(crate) fn disconnected(&self, silence: Duration) {
        self.left(Moment::now(), silence);
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

    /// Returns a copy of the counters, completed by what is counted elsewhere: waiting downlinks, workers,
    /// and bytes.
    pub(crate) fn snapshot(
        &self,
        waiting: usize,
        workers: Vec<WorkerStats>,
        bytes: Bytes,
    ) -> Stats {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let (decoded, malformed, dropped) =
            (get(&self.decoded), get(&self.malformed), get(&self.dropped));
        let rare = self.home.lock(&self.rare);
        let rare = rare.as_deref();
        let subscribers = rare.map_or(&[][..], |rare| &rare.subscribers);
        let mut dropped_events = subscribers
            .iter()
            .map(|reader| (!reader.is_gone()).then(|| reader.dropped()));
        Stats {
            received: decoded + malformed + dropped,
            decoded,
            malformed,
            backfilled: get(&self.backfilled),
            odd_members: get(&self.odd_members),
            dropped,
            unacknowledged: get(&self.unacknowledged),
            dropped_by_callbacks: dropped_events.next().flatten().unwrap_or(0),
            dropped_by_subscribers: dropped_events.flatten().collect(),
            workers,
            sent: get(&self.sent),
            not_sent: get(&self.not_sent),
            uncertain: get(&self.uncertain),
            waiting,
            confirmed: get(&self.acknowledgements),
            bytes_received: bytes.received,
            bytes_sent: bytes.sent,
            disconnects: get(&self.disconnects),
            reconnects: get(&self.reconnects),
            connected_since: rare.and_then(|rare| rare.connected_since),
            last_error: rare.and_then(|rare| rare.last_error.clone()),
            fair_use: FairUse::new(self.home, Arc::clone(&self.devices)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::{CounterReport, UplinkMessage},
        network::Network,
    };

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns how many frames of a device, which sends one each minute, are missing for want of a
    /// connection.
    fn missing_away(moments: [(u32, Moment); 2], outage: [Moment; 2]) -> u64 {
        let tally = Tally::new(Devices::new(10));
        let uplink = |(counter, now): (u32, Moment)| {
            let body = format!(
                r#"{{"app_id":"barn","dev_id":"bed-07","port":1,"counter":{counter},"payload_raw":"AQ==","metadata":{{"time":"2027-01-15T08:00:00Z","gateways":[{{"gtw_id":"eui-b827eb"}}]}}}}"#
            );
            let uplink = UplinkMessage::from_json(Network::V2, &body).unwrap();
            let mut devices = tally.devices();
            let at = devices.at(now);
            let reports = devices.uplink(&uplink, at, now.time);
            drop(devices);
            for report in reports.into_iter().flatten() {
                tally.count(&Event::Counter(report));
            }
        };
        let [first, second] = moments;
        uplink(first);
        tally.left(outage[0], Duration::ZERO);
        tally.devices().attempt();
        tally.returned(outage[1]);
        uplink(second);
        tally.frames.missing_away.load(Ordering::Relaxed)
    }

    #[test]
    fn frames_that_were_sent_while_the_machine_was_suspended_were_missed_while_away() {
        let start = Moment {
            time: SystemTime::UNIX_EPOCH + 1_800_000_000 * SECOND,
            ..Moment::now()
        };
        let lost = start.after(30 * SECOND);
        let back = lost.after_suspension(600 * SECOND).after(SECOND);
        let next = back.after(29 * SECOND);
        assert_eq!(missing_away([(0, start), (11, next)], [lost, back]), 10);
    }

    fn finding(finding: CounterFinding) -> Event {
        Event::Counter(CounterReport {
            app_id: "barn".to_owned(),
            dev_id: "bed-07".to_owned(),
            counter: 9,
            previous: 7,
            finding,
        })
    }

    #[test]
    fn what_was_fetched_is_not_missing_any_more_and_never_less_than_nothing_is() {
        for loss in [FrameLoss::Away, FrameLoss::DroppedHere, FrameLoss::Upstream] {
            let tally = Tally::new(Devices::new(10));
            let missing = || {
                let bytes = Bytes {
                    received: 0,
                    sent: 0,
                };
                let frames = tally.snapshot(0, Vec::new(), bytes).frames;
                let numbers = [
                    frames.missing_away,
                    frames.missing_dropped_here,
                    frames.missing_upstream,
                ];
                let of_loss = match loss {
                    FrameLoss::Away => numbers[0],
                    FrameLoss::DroppedHere => numbers[1],
                    FrameLoss::Upstream => numbers[2],
                };
                assert_eq!(numbers.iter().sum::<u64>(), of_loss);
                of_loss
            };
            tally.count(&finding(CounterFinding::Missing { frames: 3, loss }));
            for left in [2, 1, 0, 0] {
                tally.count(&finding(CounterFinding::Filled { loss }));
                assert_eq!(missing(), left);
            }
            tally.count(&finding(CounterFinding::Missing { frames: 1, loss }));
            assert_eq!(missing(), 1);
        }
    }

    #[test]
    fn a_fetched_uplink_counts_as_backfilled_and_not_as_received() {
        let tally = Tally::new(Devices::new(10));
        let body = r#"{"app_id":"barn","dev_id":"bed-07"}"#;
        let mut uplink = UplinkMessage::from_json(Network::V2, body).unwrap();
        tally.count(&Event::Uplink(Arc::new(uplink.clone())));
        uplink.backfilled = true;
        for _ in 0..2 {
            tally.count(&Event::Uplink(Arc::new(uplink.clone())));
        }
        let stats = tally.snapshot(
            0,
            Vec::new(),
            Bytes {
                received: 0,
                sent: 0,
            },
        );
        assert_eq!((stats.received, stats.decoded, stats.backfilled), (1, 1, 2));
    }
}
