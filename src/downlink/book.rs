//! The downlinks that the client follows: finds the downlink that a report is about, and updates its
//! state. Reads no clock; the caller passes the time.

mod clears;
mod connection;
mod content;
mod endings;
mod evidence;
mod lookups;
mod reasons;
mod resumed;
mod sightings;
mod told;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    delivery::{DeliveryState, Progress},
    open::{Open, OpenDownlinks},
    outbox::Message,
};
use crate::{
    error::{Error, ErrorKind},
    message::{DeviceChange, DownlinkEvent, DownlinkStep, Event, MessageIds},
    network::{Effect, Network},
};
use clears::Clears;
pub(crate) use content::Content;
use evidence::{Cut, Evidence};
pub(crate) use lookups::Lookup;
use lookups::Lookups;
use sightings::Watch;
pub(crate) use sightings::{Answer, Cause, NotSeen, Sighting};

/// The number of entries below which a sweep is not worth the time.
const SWEEP: usize = 64;

/// How long a report can be on its way after the network has processed a later message.
const REPORT_DELAY: Duration = Duration::from_secs(5);

/// How many downlinks a book follows, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Following {
    /// The most downlinks to follow at a time.
    pub(crate) capacity: usize,
    /// How long each of them is followed.
    pub(crate) max_age: Duration,
    /// How long the network may take to send its first report about a written downlink.
    pub(crate) unconfirmed_after: Duration,
    /// Whether someone asks the network about the queues of devices.
    pub(crate) looks_up: bool,
    /// Whether a broker of one's own is between the client and the network.
    pub(crate) is_behind_broker: bool,
}

/// A downlink to follow.
pub(crate) struct Followed {
    pub(crate) dev_id: Arc<str>,
    pub(crate) correlation_id: Option<Arc<str>>,
    /// What identifies it if the network's reports carry no id.
    pub(crate) content: Option<Arc<Content>>,
    /// Whether a payload formatter has to encode it.
    pub(crate) has_fields: bool,
    pub(crate) progress: Arc<Progress>,
}

impl Drop for Followed {
    /// Tells those who wait that the downlink is no longer followed. It can be dropped with a draft,
    /// with the channel of a session that ended, or by the book; only `Drop` covers all of these.
    fn drop(&mut self) {
        self.progress.advance(DeliveryState::Forgotten);
    }
}

struct Entry {
    followed: Followed,
    /// Other handles of the same downlink.
    twins: Vec<Followed>,
    /// The number of the first of the downlinks that were sent together.
    batch: u64,
    accepted: Instant,
    /// When it was handed to the connection; `None` if the network cannot have it yet.
    handed_over: Option<Instant>,
    /// Whether it replaces what is queued for the device, and the effect is not noted yet.
    replaces: bool,
    /// Whether the network has reported on it.
    has_report: bool,
    /// Whether one of the downlinks in its message was sent as fields.
    has_fields: bool,
    /// When the network last said that the device did not acknowledge it.
    not_acknowledged: Option<Instant>,
    /// Whether its queue was emptied at about that time, before or after it was queued again.
    may_be_discarded: bool,
    /// How many unanswered downlinks were written before it.
    behind: usize,
    cut: Option<Cut>,
    /// Whether the connection ended while it was in the network, so that reports may be missing. A later
    /// report does not change that: reports come in any order.
    has_gap: bool,
    was_deleted: bool,
    /// When to look it up if it is still queued then.
    look_again: Option<Instant>,
    /// Whether the network could not be asked about it.
    is_unseen: bool,
    /// The number of its last change.
    change: u64,
    /// Counts it for its device as long as it is not final.
    open: Option<Open>,
}

impl Entry {
    fn state(&self) -> DeliveryState {
        self.followed.progress.state()
    }

    /// Counts it if it is not final.
    fn count_in(&mut self, open: Option<&OpenDownlinks>) {
        match open {
            Some(open) if !self.followed.progress.is_final() => {
                let dev_id = &self.followed.dev_id;
                self.open.get_or_insert_with(|| open.open(dev_id));
            }
            _ => self.open = None,
        }
    }
}

/// A downlink that was written, and about which the network has sent no report.
struct Unanswered {
    written: Instant,
    /// When to stop waiting; `None` for never.
    due: Option<Instant>,
    /// Whether its connection has ended.
    is_cut: bool,
}

/// The downlinks whose state is not final, by their number, which is also their order.
pub(crate) struct Book {
    network: Network,
    following: Following,
    evidence: Evidence,
    /// The number of entries at which the next sweep is due.
    sweep_at: usize,
    entries: BTreeMap<u64, Entry>,
    by_correlation: HashMap<Arc<str>, u64>,
    by_device: HashMap<Arc<str>, Vec<u64>>,
    unanswered: BTreeMap<u64, Unanswered>,
    /// How many of these were written to a connection that has ended.
    cut: usize,
    clears: Clears,
    /// Replaced downlinks that reports without an id may still be about, because they were on their way.
    discarded: VecDeque<(Instant, u64)>,
    lookups: Lookups,
    watch: Watch,
    /// How many are open, if someone wants to know.
    open: Option<OpenDownlinks>,
}

impl Book {
    pub(crate) fn new(network: Network, app_id: &str, following: Following) -> Self {
        Self {
            network,
            following,
            evidence: Evidence::new(network, app_id, &following),
            sweep_at: SWEEP,
            entries: BTreeMap::new(),
            by_correlation: HashMap::new(),
            by_device: HashMap::new(),
            unanswered: BTreeMap::new(),
            cut: 0,
            clears: Clears::new(following.capacity, following.unconfirmed_after),
            discarded: VecDeque::new(),
            lookups: Lookups::default(),
            watch: Watch::default(),
            open: None,
        }
    }

    /// Also counts how many downlinks are open.
    pub(crate) fn counting(mut self, open: Option<OpenDownlinks>) -> Self {
        self.open = open;
        self
    }

    /// Follows the downlinks of a message, and takes them from it.
    pub(crate) fn open(&mut self, message: &mut Message, now: Instant) {
        let followed = std::mem::take(&mut message.followed);
        if message.effect == Effect::Clears && self.by_device.contains_key(&message.dev_id) {
            self.clears.open(message);
        }
        let has_fields = followed.iter().any(|followed| followed.has_fields);
        for (id, followed) in message.ids.iter().zip(followed) {
            let id = id.get();
            let entry = Entry {
                replaces: message.effect == Effect::Replaces,
                has_fields,
                ..Entry::new(followed, message.batch, now)
            };
            self.enter(id, entry);
        }
    }

    /// Enters a downlink, and makes room for it.
    fn enter(&mut self, id: u64, mut entry: Entry) {
        entry.count_in(self.open.as_ref());
        let followed = &entry.followed;
        if let Some(correlation_id) = &followed.correlation_id {
            self.by_correlation.insert(Arc::clone(correlation_id), id);
        }
        match self.by_device.get_mut(&followed.dev_id) {
            Some(ids) => {
                let place = ids.partition_point(|other| *other < id);
                ids.insert(place, id);
            }
            None => drop(
                self.by_device
                    .insert(Arc::clone(&followed.dev_id), vec![id]),
            ),
        }
        self.entries.insert(id, entry);
        if self.entries.len() > self.following.capacity {
            self.make_room();
        } else if self.entries.len() >= self.sweep_at && self.network.correlates() {
            // Not without ids: an unwatched entry still claims the reports about it, which would
            // otherwise count for another downlink of the same content.
            self.sweep(true);
            self.sweep_at = (2 * self.entries.len()).max(SWEEP);
        }
    }

    /// Removes unwatched entries. With `keep_telling`, keeps those whose reports show what became of a
    /// watched one.
    fn sweep(&mut self, keep_telling: bool) {
        let unwatched: Vec<u64> = self
            .entries
            .iter()
            .filter(|(id, entry)| {
                let is_kept = keep_telling && self.tells_of_others(**id, entry);
                !is_kept && !entry.is_watched()
            })
            .map(|(id, _)| *id)
            .collect();
        for id in unwatched {
            self.remove(id);
        }
    }

    /// Returns whether an entry replaces watched ones, and the effect is not noted yet.
    fn tells_of_others(&self, id: u64, entry: &Entry) -> bool {
        let is_watched = |other: &u64| {
            let other = self.entries.get(other);
            other.is_some_and(Entry::is_watched)
        };
        let device = self.by_device.get(&entry.followed.dev_id);
        entry.replaces
            && device.is_some_and(|ids| ids.iter().take_while(|other| **other < id).any(is_watched))
    }

    /// Removes unwatched entries, then those whose state is final, and then the oldest ones if that
    /// was not enough.
    fn make_room(&mut self) {
        self.sweep(false);
        if self.entries.len() <= self.following.capacity {
            return;
        }
        // Frees more than necessary, so that not every further downlink causes a sweep.
        let room = self.following.capacity - self.following.capacity / 100;
        let is_final = |entry: &Entry| entry.followed.progress.is_final();
        let (last, present): (Vec<_>, Vec<_>) = self
            .entries
            .iter()
            .map(|(id, entry)| (*id, is_final(entry)))
            .partition(|(_, is_final)| *is_final);
        let surplus = self.entries.len() - room;
        for (id, _) in last.into_iter().chain(present).take(surplus) {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        self.stop_waiting(id);
        self.watch.remove(id);
        let Some(Entry { followed, .. }) = self.entries.remove(&id) else {
            return;
        };
        if let Some(correlation_id) = &followed.correlation_id {
            self.by_correlation.remove(correlation_id);
        }
        if let Some(ids) = self.by_device.get_mut(&followed.dev_id) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_device.remove(&followed.dev_id);
            }
        }
    }

    fn stop_waiting(&mut self, id: u64) {
        let unanswered = self.unanswered.remove(&id);
        self.cut -= usize::from(unanswered.is_some_and(|unanswered| unanswered.is_cut));
    }

    fn advance(&mut self, id: u64, state: DeliveryState) {
        self.stop_waiting(id);
        let change = self.watch.changed(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.change = change;
            let is_over = entry.advance(state);
            entry.count_in(self.open.as_ref());
            if is_over {
                self.remove(id);
            }
        }
    }

    /// Notes that a message was handed to the connection.
    pub(crate) fn handed_over(&mut self, ids: MessageIds, now: Instant) {
        for id in ids.iter() {
            if let Some(entry) = self.entries.get_mut(&id.get()) {
                entry.handed_over.get_or_insert(now);
            }
            self.clears.handed_over(id.get(), now);
        }
    }

    /// Notes that a message was written.
    pub(crate) fn written(&mut self, ids: MessageIds, now: Instant) {
        self.handed_over(ids, now);
        let behind = self.unanswered.len() - self.cut;
        let turn = u32::try_from(behind).unwrap_or(u32::MAX);
        let turn = self.network.reading_interval().saturating_mul(turn);
        let due = now.checked_add(self.following.unconfirmed_after.saturating_add(turn));
        // The network reads in order, so none is due before the one before it.
        let last = self.unanswered.last_key_value();
        let due = last.map_or(due, |(_, last)| Some(last.due?.max(due?)));
        for id in ids.iter() {
            let id = id.get();
            self.advance(id, DeliveryState::Written);
            // The network may already have reported on it.
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            if matches!(entry.state(), DeliveryState::Written) {
                entry.behind = behind;
                let unanswered = Unanswered {
                    written: now,
                    due,
                    is_cut: false,
                };
                self.unanswered.insert(id, unanswered);
            }
        }
    }

    /// Notes that a message was not written.
    pub(crate) fn not_written(&mut self, ids: MessageIds, error: &Error) {
        for id in ids.iter() {
            self.clears.not_written(id.get());
            let state = match error.kind() {
                ErrorKind::Expired => DeliveryState::Expired,
                _ => DeliveryState::Failed(error.clone()),
            };
            self.advance(id.get(), state);
        }
    }

    /// Notes that the client uses another access key.
    pub(crate) fn key_changed(&mut self) {
        self.evidence.key_changed();
    }

    /// Returns when [`on_time`](Self::on_time) is next due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let oldest = self.entries.first_key_value();
        let oldest =
            oldest.and_then(|(_, entry)| entry.accepted.checked_add(self.following.max_age));
        let unanswered = self.unanswered.first_key_value();
        let unanswered = unanswered.and_then(|(_, unanswered)| unanswered.due);
        let discarded = self.discarded.front();
        let discarded = discarded.and_then(|(since, _)| since.checked_add(REPORT_DELAY));
        [
            oldest,
            unanswered,
            discarded,
            self.clears.next_deadline(),
            self.watch.next_deadline(),
            self.lookups.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Stops waiting for reports that are overdue, and removes the entries that are too old.
    pub(crate) fn on_time(&mut self, now: Instant) {
        let is_due = |since: Instant, time| now.saturating_duration_since(since) >= time;
        while let Some((id, Unanswered { written, due, .. })) = self.unanswered.first_key_value() {
            let (id, written) = (*id, *written);
            let Some(due) = due.filter(|due| *due <= now) else {
                break;
            };
            self.stop_waiting(id);
            if self.following.looks_up {
                self.look_up(id, Some(due - written), now);
            } else if let Some(entry) = self.entries.get(&id) {
                let error = self.unconfirmed(entry, due - written);
                self.advance(id, DeliveryState::Unconfirmed(error));
            }
        }
        self.watch_on_time(now);
        self.forget_discarded(now);
        let handled = self.clears.on_time(now);
        self.conclude(handled, now);
        while let Some((id, entry)) = self.entries.first_key_value() {
            if !is_due(entry.accepted, self.following.max_age) {
                break;
            }
            let id = *id;
            self.remove(id);
        }
    }

    /// Updates the downlinks that a message of the network is about. Returns their numbers.
    pub(crate) fn observe(&mut self, event: &Event, now: Instant) -> Vec<u64> {
        self.evidence.heard = true;
        let handled = self.clears.take_due();
        self.conclude(handled, now);
        let reports = match event {
            Event::Uplink(uplink) => {
                self.exists(&uplink.dev_id);
                &[]
            }
            // A simulated report proves nothing about the downlinks.
            event if event.is_simulated() => &[],
            Event::Downlink(report) => std::slice::from_ref(&**report),
            Event::QueueInvalidated(invalidated) => &invalidated.downlinks,
            Event::Activation(activation) => {
                self.exists(&activation.dev_id);
                &activation.invalidated_downlinks
            }
            Event::Device(device) if device.change == DeviceChange::Deleted => {
                self.deleted(&device.dev_id);
                &[]
            }
            _ => &[],
        };
        let reported = reports.iter().filter_map(|report| self.report(report, now));
        reported.collect()
    }

    fn exists(&mut self, dev_id: &str) {
        if let Some((dev_id, _)) = self.by_device.get_key_value(dev_id) {
            self.evidence.exists(dev_id);
        }
    }

    /// Updates the downlink that a report is about, and others of the device. Returns its number.
    fn report(&mut self, report: &DownlinkEvent, now: Instant) -> Option<u64> {
        self.exists(&report.dev_id);
        let found = self.find(report);
        if report.step == DownlinkStep::Sent && report.confirmed {
            self.give_up_others(&report.dev_id, found);
        }
        let id = found?;
        self.evidence.reported = true;
        // The network handles the messages of a connection in order.
        let handled = self.clears.take_before(id);
        self.conclude(handled, now);
        let state = match report.step {
            DownlinkStep::Queued => DeliveryState::Queued,
            DownlinkStep::Sent => DeliveryState::Sent,
            DownlinkStep::Acknowledged => DeliveryState::Acknowledged,
            DownlinkStep::NotAcknowledged if self.network.is_not_repeated(report) => {
                DeliveryState::Failed(reasons::not_repeated(report))
            }
            DownlinkStep::NotAcknowledged => DeliveryState::NotAcknowledged {
                attempt: report.attempt,
            },
            DownlinkStep::Failed if self.is_retried(id, report) => {
                DeliveryState::NotSent(reasons::failed(report))
            }
            DownlinkStep::Failed | DownlinkStep::Invalidated => {
                DeliveryState::Failed(reasons::failed(report))
            }
        };
        if let Some(entry) = self.entries.get_mut(&id) {
            match state {
                DeliveryState::NotAcknowledged { .. } => entry.not_acknowledged = Some(now),
                // It may not have been queued.
                DeliveryState::Failed(_) => entry.replaces = false,
                _ => {}
            }
        }
        self.take_place(id, report, now);
        if matches!(state, DeliveryState::Sent) {
            self.left_the_queue(&report.dev_id, id);
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.has_report = true;
            entry.may_be_discarded = false;
        }
        let is_queued = matches!(state, DeliveryState::Queued);
        self.advance(id, state);
        if is_queued {
            self.look_again(id, now);
        }
        Some(id)
    }

    /// Returns whether the network retries a downlink that it reports as failed.
    fn is_retried(&self, id: u64, report: &DownlinkEvent) -> bool {
        let entry = self.entries.get(&id);
        let is_confirmed = entry.is_some_and(|entry| entry.followed.progress.is_confirmed());
        self.network.tries_again(report, is_confirmed)
    }

    fn find(&self, report: &DownlinkEvent) -> Option<u64> {
        if self.network.correlates() {
            let known = |id: &String| self.by_correlation.get(id.as_str()).copied();
            return report.correlation_ids.iter().find_map(known);
        }
        let ids = self.by_device.get(report.dev_id.as_str())?;
        let best = ids
            .iter()
            .filter_map(|id| Some((self.fit(*id, report)?, *id)));
        best.min().map(|(_, id)| id)
    }

    /// Returns how well a report without an id fits a downlink: 0 fits best.
    fn fit(&self, id: u64, report: &DownlinkEvent) -> Option<u8> {
        let entry = self.entries.get(&id)?;
        entry.handed_over?;
        // It is queued once.
        if entry.has_report && report.step == DownlinkStep::Queued {
            return None;
        }
        let content = entry.followed.content.as_ref()?;
        content.fit(&entry.state(), entry.cut.is_some(), report)
    }

    fn unconfirmed(&self, entry: &Entry, waited: Duration) -> Error {
        let causes = self.evidence.causes(&self.silence(entry, false));
        reasons::silent(&entry.followed.dev_id, waited, &causes, None)
    }
}

#[cfg(test)]
mod tests;
