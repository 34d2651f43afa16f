//! What the network tells as the answer to a downlink.

use std::{sync::Arc, time::Instant};

use super::{Book, DeliveryState};
use crate::message::MessageIds;

impl Book {
    /// Notes that the network is asked to take a message. It may refuse, or may not get the request.
    pub(crate) fn asked(&mut self, ids: MessageIds, now: Instant) {
        for id in ids.iter().map(|id| id.get()) {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.handed_over.get_or_insert(now);
            }
            self.clears.asked(id, now);
        }
    }

    /// Notes that it will not be known whether the network has taken a message: nothing follows from a
    /// request to empty a queue.
    pub(crate) fn not_told(&mut self, ids: MessageIds) {
        for id in ids.iter() {
            self.clears.not_written(id.get());
        }
    }

    /// Notes that the network has answered that these downlinks are in the queue. A report that says the
    /// same may have arrived before.
    pub(crate) fn queued(&mut self, ids: MessageIds, now: Instant) {
        self.evidence.reported = true;
        for id in ids.iter().map(|id| id.get()) {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            entry.has_report = true;
            let dev_id = Arc::clone(&entry.followed.dev_id);
            self.exists(&dev_id);
            // The network gets one request after the other.
            let handled = self.clears.take_before(id);
            self.conclude(handled, now);
            self.replaced_queue(id, true, false, now);
            self.advance(id, DeliveryState::Queued);
        }
    }
}
