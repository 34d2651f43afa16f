//! The downlinks that the client follows: finds the downlink that a report is about, and updates its
//! state. Reads no clock; the caller passes the time.

mod clears;
mod connection;
mod content;
mod evidence;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    delivery::{DeliveryState, Progress},
    outbox::Message,
};
use crate::{
    error::{Error, ErrorKind},
    message::{DeviceChange, DownlinkEvent, DownlinkStep, Event, MessageIds},
    network::Network,
};
use clears::{Clears, Handled};
pub(crate) use content::Content;
use evidence::{Cut, Evidence, Silence};

/// The number of entries below which a sweep is not worth the time.
const SWEEP: usize = 64;

/// How long a report can be on its way after the network has processed a later message.
const LATE_REPORTS: Duration = Duration::from_secs(1);

/// How many downlinks a book follows, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Following {
    /// The most downlinks to follow at a time.
    pub(crate) capacity: usize,
    /// How long each of them is followed.
    pub(crate) max_age: Duration,
    /// How long the network may take to send its first report about a written downlink.
    pub(crate) unconfirmed_after: Duration,
}

/// A downlink to follow.
pub(crate) struct Followed {
    pub(crate) dev_id: Arc<str>,
    pub(crate) correlation_id: Option<Arc<str>>,
    /// What identifies it if the network's reports carry no id.
    pub(crate) content: Option<Content>,
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
    /// The number of the first of the downlinks that were sent together.
    batch: u64,
    accepted: Instant,
    /// When it was handed to the connection; `None` if the network cannot have it yet.
    handed_over: Option<Instant>,
    /// Whether it replaces what is queued for the device, and the effect is not noted yet.
    replaces: bool,
    /// Whether one of the downlinks in its message was sent as fields.
    has_fields: bool,
    /// When the network last said that the device did not acknowledge it.
    not_acknowledged: Option<Instant>,
    /// How many unanswered downlinks were written before it.
    behind: usize,
    cut: Option<Cut>,
    /// Whether the connection ended while it was in the network, so that reports may be missing.
    has_gap: bool,
    was_deleted: bool,
}

impl Entry {
    fn state(&self) -> DeliveryState {
        self.followed.progress.state()
    }

    /// Returns whether its first report is late, or may be lost with its connection.
    fn is_overdue(&self) -> bool {
        match self.state() {
            DeliveryState::Written => self.cut.is_some(),
            state => matches!(state, DeliveryState::Unconfirmed(_)),
        }
    }

    /// Returns the state of a downlink that is no longer in the queue: `certain` if no report about it
    /// can be missing.
    fn gone(&self, certain: DeliveryState) -> DeliveryState {
        if self.has_gap {
            DeliveryState::Unconfirmed(evidence::gone(&self.followed.dev_id))
        } else {
            certain
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

/// What discards the downlinks in the queue of a device.
#[derive(Clone, Copy)]
struct Replacement {
    /// The number of the first of the downlinks that take their place.
    batch: u64,
    /// When it was handed to the connection, if the network did not just report it: a downlink that was
    /// not acknowledged after that may have been queued again.
    since: Option<Instant>,
    /// Whether the report may mean another downlink, which discards nothing.
    is_ambiguous: bool,
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
}

impl Book {
    pub(crate) fn new(network: Network, app_id: &str, following: Following) -> Self {
        Self {
            network,
            following,
            evidence: Evidence::new(network, app_id, following.capacity),
            sweep_at: SWEEP,
            entries: BTreeMap::new(),
            by_correlation: HashMap::new(),
            by_device: HashMap::new(),
            unanswered: BTreeMap::new(),
            cut: 0,
            clears: Clears::new(following.capacity, following.unconfirmed_after),
            discarded: VecDeque::new(),
        }
    }

    /// Follows the downlinks of a message, and takes them from it.
    pub(crate) fn open(&mut self, message: &mut Message, now: Instant) {
        let followed = std::mem::take(&mut message.followed);
        if message.is_clear && self.by_device.contains_key(&message.dev_id) {
            self.clears.open(message);
        }
        let has_fields = followed.iter().any(|followed| followed.has_fields);
        for (id, followed) in message.ids.iter().zip(followed) {
            let id = id.get();
            if let Some(correlation_id) = &followed.correlation_id {
                self.by_correlation.insert(Arc::clone(correlation_id), id);
            }
            match self.by_device.get_mut(&followed.dev_id) {
                Some(ids) => ids.push(id),
                None => drop(
                    self.by_device
                        .insert(Arc::clone(&followed.dev_id), vec![id]),
                ),
            }
            let entry = Entry {
                followed,
                batch: message.batch,
                accepted: now,
                handed_over: None,
                replaces: message.replaces,
                has_fields,
                not_acknowledged: None,
                behind: 0,
                cut: None,
                has_gap: false,
                was_deleted: false,
            };
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
    }

    /// Removes unwatched entries, but if asked to, not those whose reports say something about a
    /// watched one.
    fn sweep(&mut self, keep_telling: bool) {
        let unwatched: Vec<u64> = self
            .entries
            .iter()
            .filter(|(id, entry)| {
                let is_kept = keep_telling && self.tells_of_others(**id, entry);
                !is_kept && !entry.followed.progress.is_watched()
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
            other.is_some_and(|other| other.followed.progress.is_watched())
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
        if let Some(entry) = self.entries.get(&id) {
            if entry.followed.progress.advance(state) {
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
        let discarded = discarded.and_then(|(since, _)| since.checked_add(LATE_REPORTS));
        [oldest, unanswered, discarded, self.clears.next_deadline()]
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
            if let Some(entry) = self.entries.get(&id) {
                let error = self.unconfirmed(entry, due - written);
                self.advance(id, DeliveryState::Unconfirmed(error));
            }
        }
        while let Some((since, id)) = self.discarded.front().copied() {
            if !is_due(since, LATE_REPORTS) {
                break;
            }
            self.discarded.pop_front();
            let entry = self.entries.get(&id);
            if entry.is_some_and(|entry| matches!(entry.state(), DeliveryState::Replaced)) {
                self.remove(id);
            }
        }
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
            // A simulated report says nothing about the downlinks.
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

    /// Ends the downlinks in the queue of a deleted device. Those about which there is no report yet may
    /// be read after the device was created again.
    fn deleted(&mut self, dev_id: &str) {
        self.evidence.deleted(dev_id);
        for id in self.by_device.get(dev_id).cloned().unwrap_or_default() {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            match entry.state() {
                DeliveryState::Accepted | DeliveryState::Unconfirmed(_) => {}
                DeliveryState::Written => entry.was_deleted = true,
                _ => {
                    let error = Error::new(
                        ErrorKind::DownlinkFailed,
                        format!("the device {dev_id} was deleted, and its queue with it"),
                    );
                    let state = entry.gone(DeliveryState::Failed(error));
                    self.advance(id, state);
                }
            }
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
                DeliveryState::Failed(not_repeated(report))
            }
            DownlinkStep::NotAcknowledged => DeliveryState::NotAcknowledged {
                attempt: report.attempt,
            },
            DownlinkStep::Failed if self.is_retried(id, report) => {
                DeliveryState::NotSent(failed(report))
            }
            DownlinkStep::Failed | DownlinkStep::Invalidated => {
                DeliveryState::Failed(failed(report))
            }
        };
        let is_ambiguous = self.is_ambiguous(report);
        if let Some(entry) = self.entries.get_mut(&id) {
            match state {
                DeliveryState::NotAcknowledged { .. } => entry.not_acknowledged = Some(now),
                // It may not have been queued.
                DeliveryState::Failed(_) => entry.replaces = false,
                _ => {}
            }
            if std::mem::take(&mut entry.replaces) {
                let Entry {
                    batch, handed_over, ..
                } = *entry;
                let dev_id = Arc::clone(&entry.followed.dev_id);
                let since = handed_over.filter(|_| report.step != DownlinkStep::Queued);
                self.replace(
                    &dev_id,
                    Replacement {
                        batch,
                        since,
                        is_ambiguous,
                    },
                    now,
                );
            }
        }
        if matches!(state, DeliveryState::Sent) && self.network.queues_in_order() {
            self.left_the_queue(&report.dev_id, id);
        }
        self.advance(id, state);
        Some(id)
    }

    /// Returns whether the network retries a downlink that it reports as failed.
    fn is_retried(&self, id: u64, report: &DownlinkEvent) -> bool {
        let entry = self.entries.get(&id);
        let is_confirmed = entry.is_some_and(|entry| entry.followed.progress.is_confirmed());
        self.network.tries_again(report, is_confirmed)
    }

    /// Notes the effect of clears.
    fn conclude(&mut self, handled: Vec<Handled>, now: Instant) {
        for Handled { id, dev_id, since } in handled {
            self.replace(
                &dev_id,
                Replacement {
                    batch: id,
                    since,
                    is_ambiguous: false,
                },
                now,
            );
        }
    }

    /// Ends the downlinks that the network has discarded from the queue of a device.
    fn replace(&mut self, dev_id: &str, replacement: Replacement, now: Instant) {
        let Replacement {
            batch,
            since,
            is_ambiguous,
        } = replacement;
        // A network without an order of its own may have queued later ones before.
        let any_order = !self.network.correlates() && since.is_none();
        let is_before = |id: u64, entry: &Entry| id < batch || any_order && entry.batch != batch;
        let is_discarded = |id: &&u64| {
            let entry = self.entries.get(id).filter(|entry| is_before(**id, entry));
            let Some(earlier) = entry else {
                return false;
            };
            let again = earlier.not_acknowledged;
            let is_again = since.is_some_and(|since| again.is_some_and(|again| again > since));
            match earlier.state() {
                // The queue also holds downlinks that will be sent again.
                DeliveryState::NotAcknowledged { .. } => !is_again,
                DeliveryState::Queued | DeliveryState::GivenUp => true,
                DeliveryState::Sent | DeliveryState::NotSent(_) => {
                    self.network.replaces_transmitted()
                }
                _ => false,
            }
        };
        let device = self.by_device.get(dev_id);
        let ids = device.into_iter().flatten().filter(is_discarded).copied();
        for id in ids.collect::<Vec<_>>() {
            let Some(entry) = self.entries.get(&id) else {
                continue;
            };
            let state = match entry.gone(DeliveryState::Replaced) {
                DeliveryState::Replaced if is_ambiguous => {
                    DeliveryState::Unconfirmed(evidence::equal(dev_id))
                }
                state => state,
            };
            if matches!(state, DeliveryState::Replaced) && !self.network.correlates() {
                self.discarded.push_back((now, id));
            }
            self.advance(id, state);
        }
    }

    /// Notes that a downlink has left the queue, and therefore those that were queued before it and
    /// about which a report may be missing.
    fn left_the_queue(&mut self, dev_id: &str, sent: u64) {
        let has_left = |id: &&u64| {
            let entry = self
                .entries
                .get(id)
                .filter(|entry| **id < sent && entry.has_gap);
            entry.is_some_and(|entry| matches!(entry.state(), DeliveryState::Queued))
        };
        let device = self.by_device.get(dev_id);
        let ids = device.into_iter().flatten().filter(has_left).copied();
        for id in ids.collect::<Vec<_>>() {
            let error = evidence::gone(dev_id);
            self.advance(id, DeliveryState::Unconfirmed(error));
        }
    }

    /// Notes that the network has sent a confirmed downlink, and no longer waits for the answer to the
    /// one before.
    fn give_up_others(&mut self, dev_id: &str, sent: Option<u64>) {
        if !self.network.gives_up_waiting() {
            return;
        }
        let is_unanswered = |id: &&u64| {
            let entry = self.entries.get(id).filter(|_| Some(**id) != sent);
            entry.is_some_and(|entry| matches!(entry.state(), DeliveryState::Sent))
        };
        let device = self.by_device.get(dev_id);
        let ids = device.into_iter().flatten().filter(is_unanswered).copied();
        for id in ids.collect::<Vec<_>>() {
            self.advance(id, DeliveryState::GivenUp);
        }
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
        let content = entry.followed.content.as_ref()?;
        content.fit(&entry.state(), entry.cut.is_some(), report)
    }

    /// Returns whether a report may as well be about an earlier downlink without a report, which leaves
    /// the queue as it is.
    fn is_ambiguous(&self, report: &DownlinkEvent) -> bool {
        if self.network.correlates() {
            return false;
        }
        let is_other = |id: &u64| {
            let entry = self.entries.get(id);
            entry.is_some_and(|entry| !entry.replaces && entry.is_overdue())
        };
        let ids = self.by_device.get(report.dev_id.as_str());
        let mut others = ids.into_iter().flatten().filter(|id| is_other(id));
        others.any(|id| self.fit(*id, report).is_some())
    }

    fn unconfirmed(&self, entry: &Entry, waited: Duration) -> Error {
        let silence = Silence {
            dev_id: &entry.followed.dev_id,
            has_fields: entry.has_fields,
            cut: entry.cut,
            was_deleted: entry.was_deleted,
            behind: entry.behind,
        };
        Error::new(
            ErrorKind::Unconfirmed,
            format!(
                "the network sent no report about a downlink to {} within {waited:?}; likely causes, most likely first: {}",
                silence.dev_id,
                self.evidence.causes(&silence)
            ),
        )
    }
}

fn not_repeated(report: &DownlinkEvent) -> Error {
    Error::new(
        ErrorKind::DownlinkFailed,
        format!(
            "{} did not acknowledge a downlink, and the network does not send it again, because the application keeps its own session keys; send it again",
            report.dev_id
        ),
    )
}

fn failed(event: &DownlinkEvent) -> Error {
    let reason = match (event.step, event.error.as_str()) {
        (DownlinkStep::Invalidated, _) => {
            "it discarded the device's queue because the device has new session keys"
        }
        (_, "") => "it states no reason",
        (_, error) => error,
    };
    let text = format!(
        "the network cannot deliver a downlink to {}: {reason}",
        event.dev_id
    );
    match &event.error_details {
        Some(details) => Error::with_source(ErrorKind::DownlinkFailed, text, (**details).clone()),
        None => Error::new(ErrorKind::DownlinkFailed, text),
    }
}

#[cfg(test)]
mod tests;
