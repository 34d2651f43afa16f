//! Which devices to ask the network about, and when: one question at a time for each device, few questions
//! at a time and a second, none while the network wants none. Pure state.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// The most questions that are open.
const MAX_OPEN: usize = 2;

/// The most devices with overdue downlinks that wait: more cannot be asked about in time.
const MAX_URGENT: usize = 64;

/// The most other devices that wait.
const MAX_OTHERS: usize = 1_000;

/// The time between two questions.
const INTERVAL: Duration = Duration::from_millis(200);

/// The time between two questions about one device.
const DEVICE_INTERVAL: Duration = Duration::from_secs(5);

/// After that, a question counts as lost.
const MAX_OPEN_TIME: Duration = Duration::from_secs(30);

/// How long not to ask after a question that was not answered.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// A question about the queue of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lookup {
    pub(crate) dev_id: Arc<str>,
    /// The correlation ids of overdue downlinks. If one of them is not in the queue, the question is also
    /// why the network may refuse downlinks to the device.
    pub(crate) overdue: Vec<Arc<str>>,
}

/// What was known when a question was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The number of the last change of a delivery.
    pub(super) change: u64,
    /// The number of the connection; `None` if there was none.
    pub(super) connection: Option<u64>,
}

#[derive(Default)]
pub(super) struct Lookups {
    /// Devices whose downlinks are overdue.
    urgent: VecDeque<Arc<str>>,
    others: VecDeque<Arc<str>>,
    /// When the last of them was added.
    added: Option<Instant>,
    open: HashMap<Arc<str>, (Instant, Asked)>,
    /// When devices were asked about, as long as that is recent.
    recent: VecDeque<(Instant, Arc<str>)>,
    /// No question before then.
    not_before: Option<Instant>,
}

impl Lookups {
    /// Notes that a device is to be asked about, unless too many are.
    pub(super) fn add(&mut self, dev_id: &Arc<str>, is_urgent: bool, now: Instant) {
        let (queue, limit) = match is_urgent {
            true => (&mut self.urgent, MAX_URGENT),
            false => (&mut self.others, MAX_OTHERS),
        };
        if queue.len() < limit && !queue.contains(dev_id) {
            queue.push_back(Arc::clone(dev_id));
            self.added = Some(now);
        }
    }

    /// Removes the devices that need no answer any longer.
    pub(super) fn retain(&mut self, is_urgent: impl Fn(&str) -> bool) {
        self.urgent.retain(|dev_id| is_urgent(dev_id));
    }

    /// Returns when [`next`](Self::next) may return a question.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if self.open.len() >= MAX_OPEN {
            let oldest = self.open.values().map(|(since, _)| *since).min()?;
            return oldest.checked_add(MAX_OPEN_TIME);
        }
        let all = self.urgent.iter().chain(&self.others);
        let free = all.filter(|dev_id| !self.open.contains_key(*dev_id));
        let first = free.filter_map(|dev_id| self.free_from(dev_id)).min()?;
        Some(self.not_before.map_or(first, |until| first.max(until)))
    }

    /// Returns the next device to ask about, if it is time for a question. `asked` is what is known now,
    /// `is_needed` whether the answer about a device still matters.
    pub(super) fn next(
        &mut self,
        asked: Asked,
        is_needed: impl Fn(&str) -> bool,
        now: Instant,
    ) -> Option<Arc<str>> {
        while let Some((since, _)) = self.recent.front() {
            if now.saturating_duration_since(*since) < DEVICE_INTERVAL {
                break;
            }
            self.recent.pop_front();
        }
        self.open
            .retain(|_, (since, _)| now.saturating_duration_since(*since) < MAX_OPEN_TIME);
        if self.open.len() >= MAX_OPEN || self.not_before.is_some_and(|until| until > now) {
            return None;
        }
        let dev_id = loop {
            let is_free = |dev_id: &Arc<str>| {
                !self.open.contains_key(dev_id)
                    && self.free_from(dev_id).is_some_and(|from| from <= now)
            };
            let urgent = self.urgent.iter().position(is_free);
            let dev_id = match urgent {
                Some(place) => self.urgent.remove(place)?,
                None => {
                    let place = self.others.iter().position(is_free)?;
                    self.others.remove(place)?
                }
            };
            if is_needed(&dev_id) {
                break dev_id;
            }
        };
        // One answer serves both.
        self.others.retain(|other| *other != dev_id);
        self.not_before = now.checked_add(INTERVAL);
        self.recent.push_back((now, Arc::clone(&dev_id)));
        self.open.insert(Arc::clone(&dev_id), (now, asked));
        Some(dev_id)
    }

    /// Notes that a question has an answer, or that it failed, and how long to ask nothing. Returns what
    /// was known when it was asked.
    pub(super) fn answered(
        &mut self,
        dev_id: &str,
        failed: bool,
        wait: Option<Duration>,
        now: Instant,
    ) -> Option<Asked> {
        let (_, asked) = self.open.remove(dev_id)?;
        if let Some(wait) = wait.or(failed.then_some(AFTER_FAILURE)) {
            self.not_before = self.not_before.max(now.checked_add(wait));
        }
        Some(asked)
    }

    /// Returns from when on a device may be asked about.
    fn free_from(&self, dev_id: &str) -> Option<Instant> {
        let mut recent = self.recent.iter().rev();
        match recent.find(|(_, other)| **other == *dev_id) {
            Some((since, _)) => since.checked_add(DEVICE_INTERVAL),
            None => self.added,
        }
    }
}
