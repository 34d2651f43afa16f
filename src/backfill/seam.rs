//! What a client has delivered lately: so that nothing is delivered twice, and so that a program can tell its
//! next run where to go on.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    message::{Marks, UplinkMessage, Watermark},
    sync,
};

/// The most uplinks that a watermark names.
const MAX_NAMED: usize = 1_024;

/// How far the time of a trace may be from that of its uplink.
const NEAR: Duration = Duration::from_millis(500);

/// The uplinks that were delivered lately.
#[derive(Debug)]
pub(crate) struct Seam(Mutex<Log>);

#[derive(Debug)]
struct Log {
    entries: VecDeque<Entry>,
    /// The numbers of entries, by their keys.
    known: HashMap<u64, u64>,
    next: u64,
    capacity: usize,
    /// How long before a watermark uplinks may come out of order.
    overlap: Duration,
    /// Where the program went on, with the uplinks that an earlier run has delivered.
    resumed: Option<Watermark>,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    device: u64,
    at: SystemTime,
    is_backfilled: bool,
}

/// Whether an uplink was delivered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It was not, and has this number now.
    New(u64),
    /// It came over MQTT. The latest uplink has this number.
    Live(u64),
    /// It was fetched, or an earlier run of the program has it.
    Before,
}

/// Returns what identifies an uplink: over MQTT, in storage and in the event stream, and in every process.
pub(crate) fn key(uplink: &UplinkMessage) -> u64 {
    let nanoseconds = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_nanos() as u64
    };
    let mut hash = Hash::new();
    hash.add(uplink.dev_id.as_bytes());
    hash.add(&uplink.counter.to_be_bytes());
    match uplink.metadata.time {
        Some(time) => hash.add(&nanoseconds(time).to_be_bytes()),
        // Some simulated ones lack it.
        None => {
            let outer = uplink.received_at.map_or(0, nanoseconds);
            hash.add(&outer.to_be_bytes());
            hash.add(&uplink.payload_raw);
        }
    }
    hash.finish()
}

fn device(dev_id: &str) -> u64 {
    let mut hash = Hash::new();
    hash.add(dev_id.as_bytes());
    hash.finish()
}

/// A hash that is the same in every process and version, because watermarks contain it.
struct Hash(u64);

impl Hash {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

    fn new() -> Self {
        Self(Self::SPREAD)
    }

    fn add(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        for word in bytes.chunks(8) {
            self.mix(
                word.iter()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte)),
            );
        }
    }

    fn mix(&mut self, word: u64) {
        let mut hash = (self.0 ^ word).wrapping_mul(Self::SPREAD);
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
        self.0 = hash ^ hash >> 29;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Seam {
    pub(crate) fn new(capacity: usize, overlap: Duration, resumed: Option<Watermark>) -> Self {
        Self(Mutex::new(Log {
            entries: VecDeque::new(),
            known: HashMap::new(),
            next: 0,
            capacity: capacity.max(1),
            overlap,
            resumed,
        }))
    }

    /// Notes that an uplink is about to be delivered, unless it was before.
    pub(crate) fn deliver(
        &self,
        uplink: &UplinkMessage,
        at: SystemTime,
        is_backfilled: bool,
    ) -> Known {
        let key = key(uplink);
        let mut log = sync::lock(&self.0);
        if let Some(known) = log.known(key) {
            return known;
        }
        let number = log.next;
        log.next += 1;
        log.entries.push_back(Entry {
            key,
            device: device(&uplink.dev_id),
            at,
            is_backfilled,
        });
        log.known.insert(key, number);
        if log.entries.len() > log.capacity {
            log.forget_first();
        }
        Known::New(number)
    }

    /// Forgets the uplinks before that time, as far as none that is to be remembered was delivered before
    /// them.
    pub(crate) fn forget_before(&self, time: SystemTime) {
        let mut log = sync::lock(&self.0);
        while log.entries.front().is_some_and(|entry| entry.at < time) {
            log.forget_first();
        }
    }

    /// Returns whether an uplink of the device was delivered that may have left this trace.
    pub(crate) fn has_near(&self, dev_id: &str, at: SystemTime) -> bool {
        let device = device(dev_id);
        let is_near = |entry: &Entry| {
            let distance = at
                .duration_since(entry.at)
                .or_else(|_| entry.at.duration_since(at));
            entry.device == device && distance.is_ok_and(|distance| distance <= NEAR)
        };
        sync::lock(&self.0).entries.iter().any(is_near)
    }
}

impl Log {
    fn known(&self, key: u64) -> Option<Known> {
        if let Some(number) = self.known.get(&key) {
            let first = self.next - self.entries.len() as u64;
            let entry = self.entries.get((number - first) as usize)?;
            return Some(match entry.is_backfilled {
                true => Known::Before,
                false => Known::Live(self.next - 1),
            });
        }
        let resumed = self.resumed.as_ref();
        let was_handled = resumed.is_some_and(|resumed| resumed.contains(key));
        was_handled.then_some(Known::Before)
    }

    fn forget_first(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.known.remove(&entry.key);
        }
    }
}

impl Marks for Seam {
    fn watermark(&self, uplink: u64, low: SystemTime) -> Watermark {
        let log = sync::lock(&self.0);
        let from = low.checked_sub(log.overlap).unwrap_or(UNIX_EPOCH);
        let first = log.next - log.entries.len() as u64;
        let before = (uplink + 1).saturating_sub(first) as usize;
        let named = log.entries.iter().take(before).rev();
        let named = named.filter(|entry| entry.at > from).map(|entry| entry.key);
        let mut watermark = Watermark::new(low, named.take(MAX_NAMED));
        if let Some(resumed) = log.resumed.as_ref().filter(|resumed| resumed.time() > from) {
            watermark.add_known(resumed);
        }
        watermark
    }
}
