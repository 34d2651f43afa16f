//! A random device, with outages of the client and backfills, and a simple model of what is missing.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fastrand::Rng;
use serde_json::json;

use super::Devices;
use crate::{
    message::{CounterFinding, CounterReport, UplinkMessage},
    network::Network,
    seeds::for_seeds,
};

/// A frame: its session, its number in there, and when the network received it, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Frame {
    session: u32,
    number: u32,
    received: u64,
}

/// What the watch should know.
#[derive(Debug)]
struct Watch {
    session: u32,
    first: u32,
    highest: u32,
    /// When the network received the highest one.
    received: u64,
    arrived: BTreeSet<u32>,
}

impl Watch {
    fn new(frame: Frame) -> Self {
        Self {
            session: frame.session,
            first: frame.number,
            highest: frame.number,
            received: frame.received,
            arrived: BTreeSet::from([frame.number]),
        }
    }

    fn missing(&self) -> i64 {
        i64::from(self.highest - self.first) + 1 - self.arrived.len() as i64
    }
}

/// A device, the network, and the client.
struct World {
    random: Rng,
    devices: Devices,
    start: Instant,
    now: u64,
    /// The first and the highest possible counter.
    first: u32,
    top: u32,
    has_ids: bool,
    storage_has_ids: bool,
    next: Frame,
    is_away: bool,
    /// On their way to the client.
    live: VecDeque<Frame>,
    /// In storage.
    stored: BTreeSet<Frame>,
    /// Being fetched.
    fetched: VecDeque<Frame>,
    delivered: BTreeSet<Frame>,
    watch: Option<Watch>,
    /// What the reports say of the session, by the loss.
    reported: BTreeMap<String, i64>,
    late: i64,
}

impl World {
    fn new(random: &mut Rng) -> Self {
        let mut random = random.fork();
        let top = *random.choice(&[u16::MAX.into(), u32::MAX]).unwrap();
        let has_ids = random.u8(..4) > 0;
        Self {
            devices: Devices::new(10),
            start: Instant::now(),
            now: 0,
            first: *random.choice(&[0, 1, 500, top - 300, top - 3]).unwrap(),
            top,
            has_ids,
            storage_has_ids: has_ids && random.bool(),
            next: Frame {
                session: 1,
                number: 0,
                received: 0,
            },
            is_away: false,
            live: VecDeque::new(),
            stored: BTreeSet::new(),
            fetched: VecDeque::new(),
            delivered: BTreeSet::new(),
            watch: None,
            reported: BTreeMap::new(),
            late: 0,
            random,
        }
    }

    fn clock(&self) -> (Instant, SystemTime) {
        let since = Duration::from_millis(self.now);
        let time = UNIX_EPOCH + Duration::from_secs(1_780_000_000);
        (self.start + since, time + since)
    }

    fn uplink(&self, frame: Frame, is_stored: bool) -> UplinkMessage {
        let body = json!({
            "end_device_ids": {"device_id": "bed-07", "application_ids": {"application_id": "greenhouse"}},
            "uplink_message": {"f_port": 1},
        });
        let mut uplink = UplinkMessage::from_json(Network::V3, body.to_string()).unwrap();
        uplink.counter = self.first.wrapping_add(frame.number) & self.top;
        // The network's clock is half a minute fast.
        let received = Duration::from_millis(frame.received + 30_000);
        uplink.metadata.time = Some(UNIX_EPOCH + Duration::from_secs(1_780_000_000) + received);
        if self.has_ids {
            uplink.dev_addr = format!("260B{:04X}", frame.session);
        }
        if self.has_ids && (!is_stored || self.storage_has_ids) {
            uplink.session_key_id = frame.session.to_be_bytes().to_vec();
        }
        uplink
    }

    fn send(&mut self) {
        self.now += self.random.u64(5_000..60_000);
        self.next.received = self.now;
        let frame = self.next;
        self.next.number += 1;
        if self.random.u8(..12) == 0 {
            return;
        }
        if self.random.u8(..12) > 0 {
            self.stored.insert(frame);
        }
        match self.random.u8(..20) {
            _ if self.is_away => {}
            0 => {}
            1 => self.devices.dropped(),
            2 if !self.live.is_empty() => self.live.insert(self.live.len() - 1, frame),
            _ => self.live.push_back(frame),
        }
    }

    fn join(&mut self) {
        self.next.session += 1;
        self.next.number = 0;
        if !self.is_away && self.random.bool() {
            self.deliver_live(usize::MAX);
            self.devices.starts_over("bed-07");
            self.watch = None;
        }
    }

    fn leave_or_return(&mut self) {
        let (at, _) = self.clock();
        self.is_away = !self.is_away;
        if self.is_away {
            self.deliver_live(usize::MAX);
            self.devices
                .left(at, Duration::from_millis(self.random.u64(..3_000)));
            return;
        }
        self.devices.attempt();
        self.devices.returned(at);
        self.fetch();
    }

    /// Fetches what is stored and was not delivered, or a part of it.
    fn fetch(&mut self) {
        let mut frames: Vec<_> = self.stored.iter().copied().collect();
        frames.sort_by_key(|frame| frame.received);
        frames.retain(|_| self.random.u8(..10) > 0);
        if self.random.u8(..4) == 0 {
            self.random.shuffle(&mut frames);
        }
        self.fetched.extend(frames);
    }

    fn deliver_live(&mut self, most: usize) {
        for _ in 0..most {
            let Some(frame) = self.live.pop_front() else {
                return;
            };
            // The session lets nothing pass twice.
            if self.delivered.insert(frame) {
                self.arrives(frame, false);
            }
        }
    }

    fn deliver_fetched(&mut self, most: usize) {
        for _ in 0..most {
            let Some(frame) = self.fetched.pop_front() else {
                return;
            };
            if self.delivered.insert(frame) {
                self.arrives(frame, true);
            }
        }
    }

    fn arrives(&mut self, frame: Frame, is_fetched: bool) {
        let (at, time) = self.clock();
        let uplink = self.uplink(frame, is_fetched);
        let reports = if is_fetched {
            self.devices.fill(&uplink, at, time)
        } else {
            self.devices.uplink(&uplink, at, time)
        };
        let expected = self.expect(frame);
        let mut found = 0;
        for report in reports.into_iter().flatten() {
            found += self.add(&report);
            assert!(report.finding != CounterFinding::Repeated || !is_fetched);
        }
        assert_eq!(found, expected, "{frame:?} {is_fetched} {:?}", self.watch);
        let watch = self.watch.as_ref().unwrap();
        let missing = self.reported.values().sum::<i64>() - self.late;
        assert_eq!(missing, watch.missing());
        assert!(self.reported.values().all(|missing| *missing >= 0));
        let highest = self.first.wrapping_add(watch.highest) & self.top;
        let heard = self
            .devices
            .last_heard("bed-07", time + Duration::from_secs(100 * 86_400));
        assert_eq!(heard, Some((highest, watch.missing() as u32)));
    }

    /// Adds a report. Returns by how much more is missing now.
    fn add(&mut self, report: &CounterReport) -> i64 {
        match report.finding {
            CounterFinding::Missing { frames, loss } => {
                *self.reported.entry(format!("{loss:?}")).or_default() += i64::from(frames);
                frames.into()
            }
            CounterFinding::Filled { loss } => {
                *self.reported.entry(format!("{loss:?}")).or_default() -= 1;
                -1
            }
            CounterFinding::Late => {
                self.late += 1;
                -1
            }
            // It precedes the first one that was heard of its session.
            CounterFinding::Repeated => 0,
            finding => panic!("{finding:?}"),
        }
    }

    /// Returns by how much more is missing with this frame.
    fn expect(&mut self, frame: Frame) -> i64 {
        let is_watched =
            |watch: &&mut Watch| watch.session == frame.session || frame.received < watch.received;
        let Some(watch) = self.watch.as_mut().filter(is_watched) else {
            self.watch = Some(Watch::new(frame));
            self.reported.clear();
            self.late = 0;
            return 0;
        };
        if watch.session != frame.session || frame.number < watch.first {
            return 0;
        }
        let before = watch.missing();
        watch.arrived.insert(frame.number);
        if frame.number > watch.highest {
            watch.highest = frame.number;
            watch.received = frame.received;
        }
        watch.missing() - before
    }
}

#[test]
fn what_random_outages_cost_is_what_was_found_missing_less_what_was_filled_or_late() {
    for_seeds(300, |random| {
        let mut world = World::new(random);
        for _ in 0..600 {
            match world.random.u8(..40) {
                0 if world.has_ids => world.join(),
                1 => world.leave_or_return(),
                2 => world.fetch(),
                3..=20 => world.send(),
                21..=30 => world.deliver_fetched(3),
                _ => world.deliver_live(2),
            }
        }
        assert!(world.delivered.len() > 20);
    });
}
