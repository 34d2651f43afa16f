//! What the end of a connection means for its downlinks.

use std::{collections::HashSet, time::Instant};

use super::{
    Book, Entry,
    evidence::{Cut, CutBy},
};
use crate::{
    downlink::DeliveryState,
    error::Error,
    message::{MessageId, MessageIds},
};

impl Entry {
    /// Returns whether the network has sent no report about the downlink.
    fn is_unanswered(&self) -> bool {
        use DeliveryState::{Accepted, Unconfirmed, Written};
        matches!(self.state(), Accepted | Written | Unconfirmed(_))
    }
}

impl Book {
    /// Returns whether the first report about a downlink of the current connection is missing and can
    /// arrive.
    pub(crate) fn awaits_report(&self) -> bool {
        self.evidence.reported && self.cut < self.unanswered.len()
    }

    /// Notes that the server has processed these messages.
    pub(crate) fn processed(&mut self, messages: &[MessageIds], now: Instant) {
        self.clears.processed(messages, now);
    }

    /// Notes that the connection ended before the server is known to have processed these messages, and
    /// whether the server seems to have ended it because of its rate limit. Returns the number of their
    /// downlinks without a report.
    pub(crate) fn disconnected(
        &mut self,
        unfinished: &[MessageIds],
        is_limit: bool,
        now: Instant,
    ) -> u64 {
        let end = if is_limit { CutBy::Limit } else { CutBy::Loss };
        self.cut(unfinished, end, now);
        let downlinks = numbers(unfinished);
        downlinks.map(|id| u64::from(self.is_uncertain(id))).sum()
    }

    /// Notes that the client left the connection, before the server is known to have processed these
    /// messages. Returns the number of their downlinks without a report; their deliveries get the error.
    pub(crate) fn left(&mut self, unfinished: &[MessageIds], error: &Error, now: Instant) -> u64 {
        let handled = self.clears.take_processed();
        self.conclude(handled, now);
        self.cut(unfinished, CutBy::Close, now);
        let mut uncertain = 0;
        for id in numbers(unfinished) {
            if self.is_uncertain(id) {
                uncertain += 1;
                self.advance(id, DeliveryState::Unconfirmed(error.clone()));
            }
        }
        uncertain
    }

    /// Notes that the network's reports no longer arrive.
    fn cut(&mut self, unfinished: &[MessageIds], end: CutBy, now: Instant) {
        let unprocessed: HashSet<u64> = numbers(unfinished).collect();
        let in_network = self.entries.values_mut();
        for entry in in_network.filter(|entry| entry.handed_over.is_some()) {
            entry.has_gap = true;
        }
        for (id, unanswered) in &mut self.unanswered {
            let Some(entry) = self.entries.get_mut(id).filter(|_| !unanswered.is_cut) else {
                continue;
            };
            entry.cut = Some(Cut {
                after: now.saturating_duration_since(unanswered.written),
                end,
                is_processed: !unprocessed.contains(id),
            });
            unanswered.is_cut = true;
            // It no longer waits for those before it.
            unanswered.due = unanswered
                .written
                .checked_add(self.following.unconfirmed_after);
        }
        self.cut = self.unanswered.len();
        self.watch.disconnected();
        self.clears.disconnected();
    }

    /// Returns whether the network has not reported on a downlink. A report about one that is no longer
    /// followed would have proved that the server has processed its message.
    fn is_uncertain(&self, id: u64) -> bool {
        self.entries.get(&id).is_none_or(Entry::is_unanswered)
    }
}

/// Returns the numbers of the downlinks of some messages.
fn numbers(messages: &[MessageIds]) -> impl Iterator<Item = u64> {
    let ids = messages.iter().flat_map(|ids| ids.iter());
    ids.map(MessageId::get)
}
