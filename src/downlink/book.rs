//! The downlinks that the client follows: finds the downlink that a report is about, and updates its
//! state. Reads no clock; the caller passes the time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};

use super::delivery::{DeliveryState, Progress};
use crate::{
    error::{Error, ErrorKind},
    message::{Downlink, DownlinkEvent, DownlinkStep, MessageIds, ReadPayload},
    network::Network,
};

/// The number of entries below which a sweep is not worth the time.
const SWEEP: usize = 64;

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
    /// Whether it replaces what is queued for the device.
    pub(crate) replaces: bool,
    pub(crate) progress: Arc<Progress>,
}

impl Drop for Followed {
    /// Tells those who wait that the downlink is no longer followed. It can be dropped with a draft,
    /// with the channel of a session that ended, or by the book; only `Drop` covers all of these.
    fn drop(&mut self) {
        self.progress.advance(DeliveryState::Forgotten);
    }
}

/// The part of a downlink that is repeated by the reports of a network without ids.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    port: u8,
    confirmed: bool,
    payload: Data,
}

#[derive(Clone, Debug, PartialEq)]
enum Data {
    Bytes(Vec<u8>),
    Fields(Map<String, Value>),
}

struct Entry {
    followed: Followed,
    /// The number of the first of the downlinks that were sent together.
    group: u64,
    accepted: Instant,
    /// How long after the write the connection ended; `None` if it did not.
    cut_after: Option<Duration>,
}

/// The downlinks whose state is not final, by their number, which is also their order.
pub(crate) struct Book {
    network: Network,
    app_id: String,
    following: Following,
    /// The number of entries at which the next sweep is due.
    sweep_at: usize,
    entries: BTreeMap<u64, Entry>,
    by_correlation: HashMap<Arc<str>, u64>,
    by_device: HashMap<Arc<str>, Vec<u64>>,
    /// When the downlinks were written that the network has not reported on yet.
    unanswered: BTreeMap<u64, Instant>,
}

impl Book {
    pub(crate) fn new(network: Network, app_id: &str, following: Following) -> Self {
        Self {
            network,
            app_id: app_id.to_owned(),
            following,
            sweep_at: SWEEP,
            entries: BTreeMap::new(),
            by_correlation: HashMap::new(),
            by_device: HashMap::new(),
            unanswered: BTreeMap::new(),
        }
    }

    /// Follows the downlinks of one message.
    pub(crate) fn open(&mut self, ids: MessageIds, downlinks: Vec<Followed>, now: Instant) {
        let mut group = None;
        for (id, followed) in ids.iter().zip(downlinks) {
            let id = id.get();
            let group = *group.get_or_insert(id);
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
                group,
                accepted: now,
                cut_after: None,
            };
            self.entries.insert(id, entry);
            if self.entries.len() > self.following.capacity {
                self.make_room();
            } else if self.entries.len() >= self.sweep_at && self.network.correlates() {
                // Not without ids: an unwatched entry still claims the reports about it, which would
                // otherwise count for another downlink of the same content.
                self.sweep();
                self.sweep_at = (2 * self.entries.len()).max(SWEEP);
            }
        }
    }

    /// Removes unwatched entries.
    fn sweep(&mut self) {
        let unwatched: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.followed.progress.is_watched())
            .map(|(id, _)| *id)
            .collect();
        for id in unwatched {
            self.remove(id);
        }
    }

    /// Removes unwatched entries, and then the oldest ones if that was not enough.
    fn make_room(&mut self) {
        self.sweep();
        if self.entries.len() <= self.following.capacity {
            return;
        }
        // Frees more than necessary, so that not every further downlink causes a sweep.
        let room = self.following.capacity - self.following.capacity / 100;
        while self.entries.len() > room {
            let Some((id, _)) = self.entries.first_key_value() else {
                return;
            };
            let id = *id;
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        self.unanswered.remove(&id);
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

    fn advance(&mut self, id: u64, state: DeliveryState) {
        self.unanswered.remove(&id);
        if let Some(entry) = self.entries.get(&id) {
            if entry.followed.progress.advance(state) {
                self.remove(id);
            }
        }
    }

    /// Notes that a message was written.
    pub(crate) fn written(&mut self, ids: MessageIds, now: Instant) {
        for id in ids.iter() {
            let id = id.get();
            self.advance(id, DeliveryState::Written);
            // The network may already have reported on it.
            let is_unanswered =
                |entry: &Entry| matches!(entry.followed.progress.state(), DeliveryState::Written);
            if self.entries.get(&id).is_some_and(is_unanswered) {
                self.unanswered.insert(id, now);
            }
        }
    }

    /// Notes that a message was not written.
    pub(crate) fn not_written(&mut self, ids: MessageIds, error: &Error) {
        for id in ids.iter() {
            let state = match error.kind() {
                ErrorKind::Expired => DeliveryState::Expired,
                _ => DeliveryState::Failed(error.clone()),
            };
            self.advance(id.get(), state);
        }
    }

    /// Notes that the connection ended.
    pub(crate) fn disconnected(&mut self, now: Instant) {
        for (id, written) in &self.unanswered {
            if let Some(entry) = self.entries.get_mut(id) {
                let after = now.saturating_duration_since(*written);
                entry.cut_after.get_or_insert(after);
            }
        }
    }

    /// Returns when [`on_time`](Self::on_time) is next due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let oldest = self.entries.first_key_value();
        let oldest =
            oldest.and_then(|(_, entry)| entry.accepted.checked_add(self.following.max_age));
        let unanswered = self.unanswered.first_key_value();
        let unanswered = unanswered
            .and_then(|(_, written)| written.checked_add(self.following.unconfirmed_after));
        [oldest, unanswered].into_iter().flatten().min()
    }

    /// Stops waiting for reports that are overdue, and removes the entries that are too old.
    pub(crate) fn on_time(&mut self, now: Instant) {
        let is_due = |since: Instant, time| now.saturating_duration_since(since) >= time;
        while let Some((id, written)) = self.unanswered.first_key_value() {
            let id = *id;
            if !is_due(*written, self.following.unconfirmed_after) {
                break;
            }
            self.unanswered.remove(&id);
            if let Some(entry) = self.entries.get(&id) {
                let error = self.unconfirmed(entry);
                self.advance(id, DeliveryState::Unconfirmed(error));
            }
        }
        while let Some((id, entry)) = self.entries.first_key_value() {
            if !is_due(entry.accepted, self.following.max_age) {
                break;
            }
            let id = *id;
            self.remove(id);
        }
    }

    /// Updates the downlink that a report of the network is about.
    pub(crate) fn observe(&mut self, event: &DownlinkEvent) {
        let Some(id) = self.find(event) else {
            return;
        };
        let state = match event.step {
            DownlinkStep::Queued => DeliveryState::Queued,
            DownlinkStep::Sent => DeliveryState::Sent,
            DownlinkStep::Acknowledged => DeliveryState::Acknowledged,
            DownlinkStep::NotAcknowledged => DeliveryState::NotAcknowledged {
                attempt: event.attempt,
            },
            DownlinkStep::Failed if self.is_retried(id, event) => {
                DeliveryState::NotSent(failed(event))
            }
            DownlinkStep::Failed | DownlinkStep::Invalidated => {
                DeliveryState::Failed(failed(event))
            }
        };
        let replaced = match (event.step, self.entries.get(&id)) {
            (DownlinkStep::Queued, Some(entry)) if entry.followed.replaces => {
                self.replaced_by(entry)
            }
            _ => Vec::new(),
        };
        for other in replaced {
            self.advance(other, DeliveryState::Replaced);
        }
        self.advance(id, state);
    }

    /// Returns whether the network retries a downlink that it reports as failed.
    fn is_retried(&self, id: u64, event: &DownlinkEvent) -> bool {
        let entry = self.entries.get(&id);
        let is_confirmed = entry.is_some_and(|entry| entry.followed.progress.is_confirmed());
        self.network.tries_again(event, is_confirmed)
    }

    /// Returns the downlinks that a replacement discards from the device's queue.
    fn replaced_by(&self, entry: &Entry) -> Vec<u64> {
        let is_discarded = |id: &&u64| {
            let Some(earlier) = self.entries.get(id).filter(|_| **id < entry.group) else {
                return false;
            };
            match earlier.followed.progress.state() {
                // The queue also holds downlinks that will be sent again.
                DeliveryState::Queued | DeliveryState::NotAcknowledged { .. } => true,
                DeliveryState::Sent | DeliveryState::NotSent(_) => {
                    self.network.replaces_transmitted()
                }
                _ => false,
            }
        };
        let device = self.by_device.get(&entry.followed.dev_id);
        device
            .into_iter()
            .flatten()
            .filter(is_discarded)
            .copied()
            .collect()
    }

    fn find(&self, event: &DownlinkEvent) -> Option<u64> {
        if self.network.correlates() {
            let known = |id: &String| self.by_correlation.get(id.as_str()).copied();
            return event.correlation_ids.iter().find_map(known);
        }
        // Frames that the network created on its own have no content.
        let is_empty =
            event.port == 0 && event.payload_raw.is_empty() && event.payload_fields.is_null();
        if is_empty && event.step == DownlinkStep::Sent {
            return None;
        }
        let ids = self.by_device.get(event.dev_id.as_str())?;
        let fits = |id: &&u64| {
            let Some(Entry { followed, .. }) = self.entries.get(id) else {
                return false;
            };
            let Some(content) = &followed.content else {
                return false;
            };
            let state = followed.progress.state();
            if self.network.tries_again(event, content.confirmed) {
                // The report does not identify the downlink, which must be in the queue.
                matches!(state, DeliveryState::Queued | DeliveryState::NotSent(_))
            } else if is_empty {
                awaits(&state, content.confirmed, event.step)
            } else {
                content.is_of(event) && can_be_about(&state, content.confirmed, event.step)
            }
        };
        ids.iter().find(fits).copied()
    }

    fn unconfirmed(&self, entry: &Entry) -> Error {
        let Followed {
            dev_id, has_fields, ..
        } = &entry.followed;
        let mut causes = Vec::new();
        if let Some(after) = entry.cut_after {
            let after = after.as_millis();
            causes.push(if self.network.limits_by_closing() {
                format!(
                    "the connection ended {after} ms after the downlink was written, as a server does when its rate limit is exceeded, or the report was lost in that gap"
                )
            } else {
                format!("the connection ended {after} ms after the downlink was written, and the report was lost in that gap")
            });
        }
        causes.push(self.network.missing_write_right().to_owned());
        causes.push(self.network.unknown_device(&self.app_id, dev_id));
        if *has_fields {
            causes.push(
                "it was sent as fields, and the application has no payload formatter that encodes them"
                    .to_owned(),
            );
        }
        Error::new(
            ErrorKind::Unconfirmed,
            format!(
                "the network sent no report about a downlink to {dev_id} within {:?}; likely causes, most likely first: {}",
                self.following.unconfirmed_after,
                causes.join("; ")
            ),
        )
    }
}

impl Content {
    /// Returns the content of a downlink that was encoded successfully.
    pub(crate) fn of(downlink: &Downlink) -> Self {
        Self {
            port: downlink.port.unwrap_or(1),
            confirmed: downlink.confirmed,
            payload: match downlink.payload.read() {
                Ok(ReadPayload::Fields(fields)) => Data::Fields(fields.clone()),
                Ok(ReadPayload::Bytes(bytes)) => Data::Bytes(bytes),
                Err(_) => Data::Bytes(Vec::new()),
            },
        }
    }

    fn is_of(&self, event: &DownlinkEvent) -> bool {
        self.port == event.port
            && self.confirmed == event.confirmed
            && match &self.payload {
                Data::Bytes(bytes) => *bytes == event.payload_raw,
                Data::Fields(fields) => event.payload_fields.as_object() == Some(fields),
            }
    }
}

/// Returns whether a report that names only the device can be the next one about a downlink in this
/// state.
fn awaits(state: &DeliveryState, confirmed: bool, step: DownlinkStep) -> bool {
    can_be_about(state, confirmed, step)
        && (step != DownlinkStep::Acknowledged || matches!(state, DeliveryState::Sent))
}

/// Returns whether a report without an id can be about a downlink in this state. Reports can be
/// lost, so steps may be missing.
fn can_be_about(state: &DeliveryState, confirmed: bool, step: DownlinkStep) -> bool {
    use DeliveryState::{Accepted, Unconfirmed, Written};
    match step {
        DownlinkStep::Queued => matches!(state, Accepted | Written | Unconfirmed(_)),
        DownlinkStep::Acknowledged => confirmed && !matches!(state, Accepted),
        _ => true,
    }
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
