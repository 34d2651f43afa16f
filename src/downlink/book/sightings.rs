//! What the network answers about the queue of a device, and what that shows about the downlinks to it.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Book, Entry,
    endings::of_device,
    evidence::Silence,
    lookups::{Asked, Lookup},
    reasons,
};
use crate::{downlink::DeliveryState, error::Error, message::ErrorDetails};

/// How long to wait for the answer about an overdue downlink.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often to look up a downlink that stays in a queue.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The most devices to look up after a reconnect: those with the oldest open downlinks.
const MAX_RECONCILED: usize = 50;

/// What the network says about a device.
pub(crate) type Answer = Result<Sighting, NotSeen>;

/// What was seen of a device.
#[derive(Debug, Default)]
pub(crate) struct Sighting {
    /// The correlation ids of the downlinks in its queue; `None` if the queue cannot be read.
    pub(crate) queue: Option<HashSet<String>>,
    /// Why the network has no downlink of this client for it, or does not report it.
    pub(crate) cause: Option<Cause>,
    /// Why the network could not be asked for the cause.
    pub(crate) unknown: Option<String>,
    /// How long to ask nothing.
    pub(crate) wait: Option<Duration>,
}

/// Why the network does not deliver a downlink, as it says itself.
#[derive(Debug)]
pub(crate) struct Cause {
    pub(crate) text: String,
    pub(crate) details: Option<Box<ErrorDetails>>,
}

/// Why nothing was seen.
#[derive(Debug)]
pub(crate) struct NotSeen {
    pub(crate) why: String,
    /// How long to ask nothing.
    pub(crate) wait: Option<Duration>,
}

/// A downlink without a report in time, until the network answers about it.
struct Overdue {
    /// How long the network had time to report; `None` for a downlink of an earlier process.
    waited: Option<Duration>,
    /// When to stop waiting for the answer.
    until: Instant,
}

/// The downlinks to look up.
#[derive(Default)]
pub(super) struct Watch {
    overdue: BTreeMap<u64, Overdue>,
    /// When to stop waiting for them; some have an answer already.
    limits: VecDeque<(Instant, u64)>,
    /// Downlinks in a queue, by when to look them up again.
    queued: BTreeSet<(Instant, u64)>,
    /// Those of them for which it is time.
    old: HashSet<u64>,
    /// Changes whenever a delivery changes.
    change: u64,
    /// The number of the connection.
    connection: u64,
    is_connected: bool,
    /// Why the last question was not answered.
    failure: Option<String>,
}

impl Watch {
    fn now(&self) -> Asked {
        Asked {
            change: self.change,
            connection: self.is_connected.then_some(self.connection),
        }
    }

    fn needs(&self, id: u64) -> bool {
        self.overdue.contains_key(&id) || self.old.contains(&id)
    }

    /// Counts a change of a delivery, and returns its number.
    pub(super) fn changed(&mut self, id: u64) -> u64 {
        self.overdue.remove(&id);
        self.old.remove(&id);
        self.change += 1;
        self.change
    }

    /// Notes that a connection has ended.
    pub(super) fn disconnected(&mut self) {
        self.connection += 1;
        self.is_connected = false;
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.overdue.remove(&id);
        self.old.remove(&id);
    }

    /// Notes when a downlink in a queue is to be looked up.
    pub(super) fn queued(&mut self, id: u64, now: Instant) -> Option<Instant> {
        let next = now.checked_add(DAY)?;
        self.queued.insert((next, id));
        Some(next)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let overdue = self.limits.front().map(|(until, _)| *until);
        let queued = self.queued.first().map(|(next, _)| *next);
        [overdue, queued].into_iter().flatten().min()
    }
}

impl Book {
    /// Notes that reports can arrive again. Looks up the downlinks whose reports may be missing.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.watch.is_connected = true;
        if !self.following.looks_up {
            return;
        }
        let mut devices: Vec<Arc<str>> = Vec::new();
        for entry in self.entries.values() {
            if devices.len() >= MAX_RECONCILED {
                break;
            }
            let dev_id = &entry.followed.dev_id;
            if entry.is_uncertain() && !devices.contains(dev_id) {
                devices.push(Arc::clone(dev_id));
            }
        }
        for dev_id in devices {
            self.lookups.add(&dev_id, false, now);
        }
    }

    /// Returns the next question to ask over HTTP, if it is time for one.
    pub(crate) fn next_lookup(&mut self, now: Instant) -> Option<Lookup> {
        let asked = self.watch.now();
        let is_needed = |dev_id: &str| {
            let is_meant = |id, entry: &Entry| self.watch.needs(id) || entry.is_uncertain();
            !of_device(&self.by_device, &self.entries, dev_id, is_meant).is_empty()
        };
        let dev_id = self.lookups.next(asked, is_needed, now)?;
        let overdue = self.of_device(&dev_id, |id, _| self.watch.overdue.contains_key(&id));
        let correlation_id = |id| self.entries.get(id)?.followed.correlation_id.clone();
        let overdue = overdue.iter().filter_map(correlation_id).collect();
        Some(Lookup { dev_id, overdue })
    }

    /// Asks about a downlink before it counts as unconfirmed.
    pub(super) fn look_up(&mut self, id: u64, waited: Option<Duration>, now: Instant) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        self.lookups.add(&entry.followed.dev_id, true, now);
        let until = now + PATIENCE;
        self.watch.overdue.insert(id, Overdue { waited, until });
        self.watch.limits.push_back((until, id));
    }

    /// Looks up what has been in a queue for a day, and stops waiting for answers.
    pub(super) fn watch_on_time(&mut self, now: Instant) {
        while let Some((next, id)) = self.watch.queued.first().copied() {
            if next > now {
                break;
            }
            self.watch.queued.pop_first();
            let entry = self.entries.get(&id);
            let is_meant = |entry: &&Entry| {
                entry.look_again == Some(next) && matches!(entry.state(), DeliveryState::Queued)
            };
            if let Some(entry) = entry.filter(is_meant) {
                self.lookups.add(&entry.followed.dev_id, false, now);
                self.watch.old.insert(id);
            }
        }
        let mut late = Vec::new();
        while let Some((until, id)) = self.watch.limits.front().copied() {
            if until > now {
                break;
            }
            self.watch.limits.pop_front();
            let overdue = self.watch.overdue.get(&id);
            late.extend(overdue.filter(|overdue| overdue.until == until).map(|_| id));
        }
        if late.is_empty() {
            return;
        }
        let why = self.watch.failure.clone();
        let why = why.unwrap_or_else(|| "the answer did not come in time".to_owned());
        for id in late {
            self.not_seen(id, &why);
        }
        let urgent: HashSet<Arc<str>> = self
            .watch
            .overdue
            .keys()
            .filter_map(|id| Some(Arc::clone(&self.entries.get(id)?.followed.dev_id)))
            .collect();
        self.lookups.retain(|dev_id| urgent.contains(dev_id));
    }

    /// Notes what the network has answered about a device. Later reports count more.
    pub(crate) fn answered(&mut self, dev_id: &str, answer: &Answer, now: Instant) {
        let wait = match answer {
            Ok(sighting) => sighting.wait,
            Err(failure) => failure.wait,
        };
        let answered = self.lookups.answered(dev_id, answer.is_err(), wait, now);
        let Some(asked) = answered else {
            return;
        };
        self.watch.failure = answer.as_ref().err().map(|failure| failure.why.clone());
        for id in self.of_device(dev_id, |_, entry| entry.handed_over.is_some()) {
            let is_old = self.watch.old.remove(&id);
            if is_old {
                self.look_again(id, now);
            }
            if self
                .entries
                .get(&id)
                .is_none_or(|entry| entry.change > asked.change)
            {
                continue;
            }
            match answer {
                Ok(sighting) => self.see(id, is_old, asked, sighting, now),
                // Another attempt may be in time.
                Err(failure) if failure.wait.is_none() => self.not_seen(id, &failure.why),
                Err(_) => {}
            }
        }
        // Those that became overdue in the meantime.
        let rest = self.of_device(dev_id, |id, _| self.watch.overdue.contains_key(&id));
        if let Some(entry) = rest.first().and_then(|id| self.entries.get(id)) {
            self.lookups
                .add(&Arc::clone(&entry.followed.dev_id), true, now);
        }
    }

    fn see(&mut self, id: u64, is_old: bool, asked: Asked, sighting: &Sighting, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let own = entry.followed.correlation_id.as_deref();
        let queue = sighting.queue.as_ref();
        let is_queued = queue.and_then(|queue| Some(queue.contains(own?)));
        let state = entry.state();
        match (state, is_queued) {
            (DeliveryState::Written | DeliveryState::Unconfirmed(_), Some(true)) => {
                self.found(id, asked, now);
            }
            (DeliveryState::Queued, Some(true)) => {
                self.close_gap(id, asked);
            }
            (DeliveryState::Queued, Some(false)) if is_old => {
                let dev_id = Arc::clone(&entry.followed.dev_id);
                let error = reasons::not_held(&dev_id, sighting.cause.as_ref());
                self.advance(id, DeliveryState::Unconfirmed(error));
            }
            (DeliveryState::Written, _) => {
                if let Some(overdue) = self.watch.overdue.remove(&id) {
                    let error = self.unconfirmed_by(id, overdue.waited, sighting);
                    self.advance(id, DeliveryState::Unconfirmed(error));
                }
            }
            _ => {}
        }
    }

    /// Notes that a downlink without a report waits in the queue of its device.
    fn found(&mut self, id: u64, asked: Asked, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.has_report = true;
        }
        self.replaced_queue(id, false, false, now);
        self.advance(id, DeliveryState::Queued);
        self.look_again(id, now);
        self.close_gap(id, asked);
    }

    /// Notes that no report about a queued downlink is missing, if its connection still works.
    fn close_gap(&mut self, id: u64, asked: Asked) {
        let connection = self.watch.now().connection;
        if let Some(entry) = self.entries.get_mut(&id) {
            if connection.is_some() && connection == asked.connection {
                entry.has_gap = false;
            }
        }
    }

    /// Notes when to look up a queued downlink again.
    pub(super) fn look_again(&mut self, id: u64, now: Instant) {
        if self.following.looks_up {
            let next = self.watch.queued(id, now);
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.look_again = next;
            }
        }
    }

    /// Stops waiting for the answer about a downlink.
    fn not_seen(&mut self, id: u64, why: &str) {
        let Some(Overdue { waited, .. }) = self.watch.overdue.remove(&id) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.is_unseen = true;
        // Nothing is known about a downlink of an earlier process: it waits for reports.
        if let Some(waited) = waited {
            if let Some(error) = self.unconfirmed_unseen(id, waited, why) {
                self.advance(id, DeliveryState::Unconfirmed(error));
            }
        }
    }

    fn unconfirmed_unseen(&self, id: u64, waited: Duration, why: &str) -> Option<Error> {
        let entry = self.entries.get(&id)?;
        let causes = self.evidence.causes(&self.silence(entry, false));
        Some(reasons::silent(
            &entry.followed.dev_id,
            waited,
            &causes,
            Some(why),
        ))
    }

    fn unconfirmed_by(&self, id: u64, waited: Option<Duration>, sighting: &Sighting) -> Error {
        let Some(entry) = self.entries.get(&id) else {
            return reasons::gone("");
        };
        let dev_id = &entry.followed.dev_id;
        match (&sighting.cause, waited) {
            (Some(cause), Some(waited)) => reasons::silent_because(dev_id, waited, cause),
            (Some(cause), None) => reasons::not_held(dev_id, Some(cause)),
            (None, None) => reasons::not_found(dev_id),
            (None, Some(waited)) => {
                let causes = self.evidence.causes(&self.silence(entry, true));
                reasons::not_in_queue(dev_id, waited, &causes, sighting.unknown.as_deref())
            }
        }
    }

    pub(super) fn silence<'a>(&self, entry: &'a Entry, was_seen: bool) -> Silence<'a> {
        Silence {
            dev_id: &entry.followed.dev_id,
            has_fields: entry.has_fields,
            cut: entry.cut,
            was_deleted: entry.was_deleted,
            behind: entry.behind,
            was_seen,
        }
    }
}

impl Entry {
    /// Returns whether a report about it may be missing, so that the queue can show more.
    fn is_uncertain(&self) -> bool {
        let is_open = match self.state() {
            DeliveryState::Written | DeliveryState::Queued => self.has_gap,
            DeliveryState::Unconfirmed(_) => self.is_unseen,
            _ => false,
        };
        is_open && self.handed_over.is_some()
    }
}
