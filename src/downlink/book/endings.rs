//! What ends a downlink without a report about it: a replacement, a clear, a deleted device, or another
//! downlink that overtakes it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use super::{Book, Entry, REPORT_DELAY, clears::Handled, reasons};
use crate::{
    downlink::DeliveryState,
    message::{DownlinkEvent, DownlinkStep},
};

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

impl Entry {
    /// Returns the state of a downlink that is no longer in the queue: `certain` if no report about it
    /// can be missing.
    fn gone(&self, certain: DeliveryState) -> DeliveryState {
        if self.has_gap {
            DeliveryState::Unconfirmed(reasons::gone(&self.followed.dev_id))
        } else {
            certain
        }
    }

    /// Returns whether its reports are late, or may be lost with its connection.
    fn is_overdue(&self) -> bool {
        match self.state() {
            DeliveryState::Written => self.cut.is_some(),
            state => matches!(state, DeliveryState::Unconfirmed(_)),
        }
    }
}

impl Book {
    /// Ends the downlinks in the queue of a deleted device. The network may process those without a report
    /// after the device was created again.
    pub(super) fn deleted(&mut self, dev_id: &str) {
        self.evidence.deleted(dev_id);
        for id in self.of_device(dev_id, |_, _| true) {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            match entry.state() {
                // It is not in the queue, or not known to be.
                DeliveryState::Accepted
                | DeliveryState::Unconfirmed(_)
                | DeliveryState::Replaced => {}
                DeliveryState::Written => entry.was_deleted = true,
                _ => {
                    let state = entry.gone(DeliveryState::Failed(reasons::deleted(dev_id)));
                    self.advance(id, state);
                }
            }
        }
    }

    /// Notes the effect of clears.
    pub(super) fn conclude(&mut self, handled: Vec<Handled>, now: Instant) {
        for Handled { id, dev_id, since } in handled {
            let clear = Replacement {
                batch: id,
                since,
                is_ambiguous: false,
            };
            self.replace(&dev_id, clear, now);
        }
    }

    /// Notes that a report shows that a downlink was queued. If it replaces what was in the queue, its
    /// first report ends that.
    pub(super) fn take_place(&mut self, id: u64, report: &DownlinkEvent, now: Instant) {
        let is_ambiguous = self.is_ambiguous(report);
        self.replaced_queue(id, report.step == DownlinkStep::Queued, is_ambiguous, now);
    }

    /// Notes that a downlink was queued. If it replaces what was in the queue, that ends. `just_now` is
    /// whether the network has just reported it.
    pub(super) fn replaced_queue(
        &mut self,
        id: u64,
        just_now: bool,
        is_ambiguous: bool,
        now: Instant,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if !std::mem::take(&mut entry.replaces) {
            return;
        }
        let replacement = Replacement {
            batch: entry.batch,
            since: entry.handed_over.filter(|_| !just_now),
            is_ambiguous,
        };
        let dev_id = Arc::clone(&entry.followed.dev_id);
        self.replace(&dev_id, replacement, now);
    }

    /// Returns whether a report may as well be about an earlier downlink that replaces nothing.
    fn is_ambiguous(&self, report: &DownlinkEvent) -> bool {
        if self.network.correlates() {
            return false;
        }
        let others = self.of_device(&report.dev_id, |_, entry| {
            !entry.replaces && entry.is_overdue()
        });
        others.iter().any(|id| self.fit(*id, report).is_some())
    }

    /// Ends the downlinks that the network has discarded from the queue of a device.
    fn replace(&mut self, dev_id: &str, replacement: Replacement, now: Instant) {
        let Replacement {
            batch,
            since,
            is_ambiguous,
        } = replacement;
        // A network that does not keep the order may have queued later ones before.
        let any_order = !self.network.correlates() && since.is_none();
        let is_before = |id: u64, entry: &Entry| id < batch || any_order && entry.batch != batch;
        let is_again = |entry: &Entry| {
            let again = entry.not_acknowledged;
            since.is_some_and(|since| again.is_some_and(|again| again > since))
        };
        let is_in_doubt = |id, entry: &Entry| {
            let waits = matches!(entry.state(), DeliveryState::NotAcknowledged { .. });
            waits && is_before(id, entry) && is_again(entry)
        };
        for id in self.of_device(dev_id, is_in_doubt) {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.may_be_discarded = true;
            }
        }
        let is_discarded = |id: u64, entry: &Entry| {
            is_before(id, entry)
                && match entry.state() {
                    // The queue also holds downlinks that will be sent again.
                    DeliveryState::NotAcknowledged { .. } => !is_again(entry),
                    DeliveryState::Queued | DeliveryState::GivenUp => true,
                    DeliveryState::Sent | DeliveryState::NotSent(_) => {
                        self.network.replaces_transmitted()
                    }
                    _ => false,
                }
        };
        for id in self.of_device(dev_id, is_discarded) {
            let Some(entry) = self.entries.get(&id) else {
                continue;
            };
            let state = match entry.gone(DeliveryState::Replaced) {
                DeliveryState::Replaced if is_ambiguous => {
                    DeliveryState::Unconfirmed(reasons::equal(dev_id))
                }
                state => state,
            };
            if matches!(state, DeliveryState::Replaced) && !self.network.correlates() {
                self.discarded.push_back((now, id));
            }
            self.advance(id, state);
        }
    }

    /// Removes the replaced downlinks that no report can be about any longer.
    pub(super) fn forget_discarded(&mut self, now: Instant) {
        while let Some((since, id)) = self.discarded.front().copied() {
            if now.saturating_duration_since(since) < REPORT_DELAY {
                break;
            }
            self.discarded.pop_front();
            let entry = self.entries.get(&id);
            if entry.is_some_and(|entry| matches!(entry.state(), DeliveryState::Replaced)) {
                self.remove(id);
            }
        }
    }

    /// Notes that a downlink has left the queue. Those that were queued before it have left it too, even
    /// if the report is missing.
    pub(super) fn left_the_queue(&mut self, dev_id: &str, sent: u64) {
        if !self.network.queues_in_order() {
            return;
        }
        let has_left = |id, entry: &Entry| {
            id < sent && entry.has_gap && matches!(entry.state(), DeliveryState::Queued)
        };
        for id in self.of_device(dev_id, has_left) {
            self.advance(id, DeliveryState::Unconfirmed(reasons::gone(dev_id)));
        }
        let Some(queued) = self.entries.get(&sent).map(|entry| entry.change) else {
            return;
        };
        let was_before = |_, entry: &Entry| entry.may_be_discarded && entry.change < queued;
        for id in self.of_device(dev_id, was_before) {
            self.advance(id, DeliveryState::Unconfirmed(reasons::overtaken(dev_id)));
        }
    }

    /// Notes that the network has sent a confirmed downlink, and no longer waits for the acknowledgement
    /// of the one before.
    pub(super) fn give_up_others(&mut self, dev_id: &str, sent: Option<u64>) {
        if !self.network.gives_up_waiting() {
            return;
        }
        let is_unanswered =
            |id, entry: &Entry| Some(id) != sent && matches!(entry.state(), DeliveryState::Sent);
        for id in self.of_device(dev_id, is_unanswered) {
            self.advance(id, DeliveryState::GivenUp);
        }
    }

    /// Returns the numbers of the downlinks to a device that meet a condition.
    pub(super) fn of_device(
        &self,
        dev_id: &str,
        is_meant: impl Fn(u64, &Entry) -> bool,
    ) -> Vec<u64> {
        of_device(&self.by_device, &self.entries, dev_id, is_meant)
    }
}

/// Returns the numbers of the downlinks to a device that meet a condition.
pub(super) fn of_device(
    by_device: &HashMap<Arc<str>, Vec<u64>>,
    entries: &BTreeMap<u64, Entry>,
    dev_id: &str,
    is_meant: impl Fn(u64, &Entry) -> bool,
) -> Vec<u64> {
    let ids = by_device.get(dev_id).into_iter().flatten().copied();
    let entry = |id| Some((id, entries.get(&id)?));
    ids.filter_map(entry)
        .filter(|(id, entry)| is_meant(*id, entry))
        .map(|(id, _)| id)
        .collect()
}
