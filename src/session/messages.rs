//! What a message that has come means for everything that the session owns.

use std::time::Instant;

use super::{Session, lifecycle::Input};
use crate::{
    clock::Moment,
    message::{Event, RawMessage, Receipt},
    mqtt::{Attempt, Messages},
};

impl Session {
    /// Handles messages that have come together, and hands their uplinks over together. Returns how many.
    pub(super) fn on_messages(&mut self, attempt: Attempt, messages: Messages) -> usize {
        let mut handled = 0;
        for (raw, receipt) in messages {
            if !self.commands.is_empty() {
                self.receiving.release();
                self.read_commands();
            }
            self.receiving.hold();
            self.on_message(attempt, raw, receipt);
            handled += 1;
        }
        self.receiving.release();
        handled
    }

    pub(super) fn on_message(
        &mut self,
        attempt: Attempt,
        raw: RawMessage,
        receipt: Option<Receipt>,
    ) {
        if let Some(is_shared) = self.sharing.as_ref().and_then(|it| it.is_shared(&raw)) {
            self.receiving.leave_out(&raw);
            return self.feed(Input::Marker { attempt, is_shared });
        }
        let moment = Moment::now();
        let now = moment.instant;
        if receipt.is_some() {
            self.stall.arrived(now);
        }
        if self.counts_late(attempt) {
            if let Some(receipt) = receipt {
                receipt.discard();
            }
            if let Some(event) = self.receiving.decode_late(raw) {
                self.sending.observe(&event, now);
            }
        } else if let Some(event) =
            self.receiving
                .decode(attempt, raw, receipt.as_ref(), moment, &mut self.filling)
        {
            let frees = self.sending.observe(&event, now);
            self.note_report(attempt, &event, now);
            self.note_queued(&event);
            self.receiving.report(event);
            if let Some(receipt) = receipt {
                receipt.queued();
            }
            if frees || self.lifecycle.is_settling() {
                self.execute();
            }
        }
    }

    /// Returns whether a report on this connection still counts although the client has left it: as
    /// long as no other connection gets the same reports. A network that correlates its reports may
    /// repeat them.
    fn counts_late(&mut self, attempt: Attempt) -> bool {
        let may_hear_both = self.connections.has_entered() && !self.options.network.correlates();
        !self.status.is_connected() && !may_hear_both && self.connections.lingers(attempt)
    }

    /// Notes what a report proves about the messages of the connection.
    fn note_report(&mut self, attempt: Attempt, event: &Event, now: Instant) {
        match (event, self.connections.transport(attempt)) {
            (Event::Downlink(report), Some(transport)) if !event.is_simulated() => {
                let news = transport.reported(&report.correlation_ids);
                self.sending.processed(&news, now);
            }
            _ => {}
        }
    }
}
