//! A random device, and what the watch must find of it.

use super::*;
use crate::seeds::for_seeds;

/// A device with its frames, and what is found of those that arrive.
struct Device {
    random: fastrand::Rng,
    uplink: UplinkMessage,
    watch: Watch,
    now: u64,
    /// The counter of the first frame since the last restart, and the last possible one.
    first: u32,
    top: u32,
    /// The frames since the last restart: the content, and when it arrived last.
    frames: Vec<(u8, Option<u64>)>,
    /// The latest one that has arrived.
    latest: usize,
    /// When that arrived first, and when any arrived.
    advanced: u64,
    heard: u64,
    repeated: Option<usize>,
    /// How many frames were found missing, and how many were.
    missing: u64,
    lost: u64,
}

impl Device {
    fn new(random: &mut fastrand::Rng) -> Self {
        let mut random = random.fork();
        let top = *random.choice(&[u16::MAX.into(), u32::MAX]).unwrap();
        let first = *random.choice(&[0, 1, 500, top - 70, top - 3]).unwrap();
        let mut device = Self {
            random,
            uplink: uplink(first),
            watch: Watch::default(),
            now: 0,
            first,
            top,
            frames: vec![(0, None)],
            latest: 0,
            advanced: 0,
            heard: 0,
            repeated: None,
            missing: 0,
            lost: 0,
        };
        assert_eq!(device.arrives(0), [None; 2]);
        device
    }

    fn counter(&self, frame: usize) -> u32 {
        self.first.wrapping_add(frame as u32) & self.top
    }

    fn wait(&mut self, time: u32) {
        self.now += u64::from(time);
        self.watch.pass(time, 0);
    }

    /// Sends the next frame, with one of few contents.
    fn send(&mut self) -> usize {
        self.frames.push((self.random.u8(..5), None));
        self.frames.len() - 1
    }

    fn arrives(&mut self, frame: usize) -> Findings {
        self.uplink.counter = self.counter(frame);
        self.uplink.payload_raw = vec![self.frames[frame].0];
        self.frames[frame].1 = Some(self.now);
        self.heard = self.now;
        if frame > self.latest || self.frames.len() == 1 {
            self.latest = frame;
            self.advanced = self.now;
        }
        self.watch.observe(&self.uplink)
    }

    fn is_recent(&self, time: u64) -> bool {
        self.now - time <= u64::from(REPEAT)
    }

    /// A frame arrives after some that do not, or not yet.
    fn advance(&mut self) {
        let most = if self.random.u8(..20) == 0 { 250 } else { 4 };
        let lost = self.random.usize(..most) * self.random.usize(..2);
        for _ in 0..lost {
            self.send();
        }
        let frame = self.send();
        let skipped = (frame - self.latest - 1) as u32;
        self.missing += u64::from(skipped);
        let expected = (skipped > 0).then_some(missing(skipped, FrameLoss::Upstream));
        assert_eq!(self.arrives(frame), [None, expected]);
        self.repeated = None;
    }

    /// One of the last frames arrives, again or late.
    fn look_back(&mut self) {
        let Some(frame) = self.latest.checked_sub(self.random.usize(..64)) else {
            return;
        };
        let expected = match self.frames[frame].1 {
            None if self.is_recent(self.advanced) => {
                self.missing -= 1;
                CounterFinding::Late
            }
            // The second in a row looks like a restart.
            Some(last)
                if self.is_recent(last)
                    && self.repeated.is_none_or(|repeated| repeated + 1 != frame) =>
            {
                CounterFinding::Repeated
            }
            _ => return,
        };
        assert_eq!(self.arrives(frame), [Some(expected), None]);
        self.repeated = (expected == CounterFinding::Repeated).then_some(frame);
    }

    /// The device starts over, unless that cannot be told from something else.
    fn restart(&mut self) {
        let (first, content) = (self.random.u32(..3), self.random.u8(..5));
        let latest = self.counter(self.latest);
        if first > latest || latest > self.top - WRAP {
            return;
        }
        let behind = (latest - first) as usize;
        let earlier = self
            .latest
            .checked_sub(behind)
            .map(|frame| self.frames[frame]);
        let is_other =
            matches!(earlier, Some((other, Some(_))) if behind < FRAMES && other != content);
        if behind < 64 && !is_other && self.is_recent(self.heard) {
            self.wait(REPEAT + 1);
        }
        self.settle();
        self.first = first;
        self.frames = vec![(content, None)];
        self.latest = 0;
        assert_eq!(self.arrives(0), [Some(CounterFinding::Reset), None]);
        self.repeated = None;
    }

    /// Counts the frames that were lost before the latest one.
    fn settle(&mut self) {
        let lost = self.frames[..self.latest]
            .iter()
            .filter(|(_, arrived)| arrived.is_none());
        self.lost += lost.count() as u64;
        assert_eq!(self.missing, self.lost);
    }
}

#[test]
fn what_random_devices_lose_is_counted_and_nothing_else() {
    // The contents can be told apart.
    for (one, other) in (0..5).flat_map(|one| (0..one).map(move |other| (one, other))) {
        let [one, other] = [one, other].map(|byte| Frame::new(&containing(1, &[byte]), 0));
        assert_ne!(one.digest, other.digest);
    }
    for_seeds(300, |random| {
        let mut device = Device::new(random);
        for _ in 0..500 {
            match device.random.u8(..20) {
                0 => device.restart(),
                1..=5 => device.look_back(),
                6 => {
                    let time = device.random.u32(..90 * MINUTE);
                    device.wait(time);
                }
                7..=10 => {
                    let time = device.random.u32(..MINUTE);
                    device.wait(time);
                }
                _ => device.advance(),
            }
        }
        device.settle();
    });
}
