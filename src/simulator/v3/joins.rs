//! Joins of The Things Stack.

use std::collections::VecDeque;

use super::{
    JOIN, State, V3,
    event::News,
    messages::{self, Correlation},
    session::Session,
};
use crate::simulator::lorawan::DeviceId;

impl V3 {
    /// Gives a device that joins its new session.
    pub(super) fn accept_join(&self, state: &mut State, id: DeviceId<'_>) {
        let Some((device, _, random)) = state.parts(id) else {
            return;
        };
        device.window.close(&self.env.windows, None);
        let last = device.newest_session().map(|session| session.dev_addr);
        let now = self.env.clock.now();
        let session = Session::new(last, now, random);
        let own_key = device.own_key(&session);
        // Those of other applications go over to the new session.
        let invalidated = match own_key {
            Some(_) => std::mem::take(&mut device.queue),
            None => VecDeque::new(),
        };
        let message = messages::join_accept(&session.key_id, own_key, &invalidated, now);
        device.pending = Some(session);
        device.activated_at = Some(now);
        let mut correlation = Correlation::new(now, random);
        let cause = correlation.uplink();
        let correlation_ids = correlation.passed_on(Some(&cause));
        let ids = device.ids(id);
        for name in ["js.join.accept", "ns.up.join.process"] {
            self.events.add(&News {
                name,
                time: now,
                ids: &ids,
                is_of_device: false,
                data: None,
                correlation_ids: &correlation_ids,
            });
        }
        self.post(now, &ids, JOIN, &correlation_ids, &message);
    }
}
