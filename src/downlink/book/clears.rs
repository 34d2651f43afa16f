//! Requests to empty a queue. The network does not report on them; later evidence shows their effect.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{super::outbox::Message, REPORT_DELAY};
use crate::message::MessageIds;

/// A request to empty the queue of a device.
struct Clear {
    dev_id: Arc<str>,
    /// When the network was asked over HTTP, before it has answered.
    asked: Option<Instant>,
    handed_over: Option<Instant>,
    /// When the server was known to have processed it.
    processed: Option<Instant>,
    /// Whether the time for a later report is over, so that any message of the network suffices.
    is_due: bool,
}

/// A clear that the server has processed.
pub(super) struct Handled {
    pub(super) id: u64,
    pub(super) dev_id: Arc<str>,
    /// When it was handed to the connection.
    pub(super) since: Option<Instant>,
}

/// The clears whose effect is not known, by their number, which is also their order.
pub(super) struct Clears {
    clears: BTreeMap<u64, Clear>,
    capacity: usize,
    /// How long to wait for a report about a later downlink.
    patience: Duration,
}

impl Clears {
    pub(super) fn new(capacity: usize, patience: Duration) -> Self {
        Self {
            clears: BTreeMap::new(),
            capacity,
            patience,
        }
    }

    pub(super) fn open(&mut self, message: &Message) {
        let Some(id) = message.ids.iter().next() else {
            return;
        };
        if self.clears.len() >= self.capacity {
            self.clears.pop_first();
        }
        let clear = Clear {
            dev_id: Arc::clone(&message.dev_id),
            asked: None,
            handed_over: None,
            processed: None,
            is_due: false,
        };
        self.clears.insert(id.get(), clear);
    }

    /// Notes that the network is asked. Until it has answered, it may refuse.
    pub(super) fn asked(&mut self, id: u64, now: Instant) {
        if let Some(clear) = self.clears.get_mut(&id) {
            clear.asked.get_or_insert(now);
        }
    }

    pub(super) fn handed_over(&mut self, id: u64, now: Instant) {
        if let Some(clear) = self.clears.get_mut(&id) {
            clear.handed_over.get_or_insert(clear.asked.unwrap_or(now));
        }
    }

    pub(super) fn processed(&mut self, messages: &[MessageIds], now: Instant) {
        if self.clears.is_empty() {
            return;
        }
        for id in messages.iter().flat_map(|ids| ids.iter()) {
            if let Some(clear) = self.clears.get_mut(&id.get()) {
                clear.processed.get_or_insert(now);
            }
        }
    }

    pub(super) fn not_written(&mut self, id: u64) {
        self.clears.remove(&id);
    }

    /// Forgets what was written and is not known to be processed: the server may not have processed it.
    pub(super) fn disconnected(&mut self) {
        self.clears
            .retain(|_, clear| clear.handed_over.is_none() || clear.processed.is_some());
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadline = |clear: &Clear| match (clear.processed, clear.handed_over) {
            (Some(processed), _) => processed.checked_add(REPORT_DELAY),
            (None, Some(handed_over)) if !clear.is_due => handed_over.checked_add(self.patience),
            _ => None,
        };
        self.clears.values().filter_map(deadline).min()
    }

    /// Takes those that were processed long enough ago that no report about the time before is on its
    /// way.
    pub(super) fn on_time(&mut self, now: Instant) -> Vec<Handled> {
        let is_due = |since| now.saturating_duration_since(since) >= self.patience;
        for clear in self.clears.values_mut() {
            clear.is_due |= clear.handed_over.is_some_and(is_due);
        }
        let is_over = |processed| now.saturating_duration_since(processed) >= REPORT_DELAY;
        self.take(|_, clear| clear.processed.is_some_and(is_over))
    }

    /// Takes those that the server has had time to process. Called when the network sends a message, which
    /// shows that the connection was not dead.
    pub(super) fn take_due(&mut self) -> Vec<Handled> {
        self.take(|_, clear| clear.is_due)
    }

    /// Takes those that the server is known to have processed.
    pub(super) fn take_processed(&mut self) -> Vec<Handled> {
        self.take(|_, clear| clear.processed.is_some())
    }

    /// Takes those that were written before a downlink that the server has processed.
    pub(super) fn take_before(&mut self, id: u64) -> Vec<Handled> {
        self.take(|clear_id, clear| clear_id < id && clear.handed_over.is_some())
    }

    fn take(&mut self, is_handled: impl Fn(u64, &Clear) -> bool) -> Vec<Handled> {
        let mut handled = Vec::new();
        self.clears.retain(|id, clear| {
            let is_handled = is_handled(*id, clear);
            if is_handled {
                handled.push(Handled {
                    id: *id,
                    dev_id: Arc::clone(&clear.dev_id),
                    since: clear.handed_over,
                });
            }
            !is_handled
        });
        handled
    }
}
