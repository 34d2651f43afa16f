//! Downlinks of an earlier process, or of another handle, that are followed by their keys.

use std::time::{Duration, Instant};

use super::{
    Book, Entry, Followed,
    evidence::{Cut, CutBy},
};
use crate::downlink::DeliveryState;

impl Book {
    /// Follows a downlink that was sent before. If it is followed already, both show the same progress.
    pub(crate) fn resume(&mut self, id: u64, followed: Followed, now: Instant) {
        if let Some(entry) = self
            .known(&followed)
            .and_then(|id| self.entries.get_mut(&id))
        {
            followed.progress.start(entry.state());
            entry.twins.retain(|twin| twin.progress.is_watched());
            return entry.twins.push(followed);
        }
        let entry = Entry {
            // It may be in the network, and reports may be missing.
            handed_over: Some(now),
            has_gap: true,
            cut: Some(Cut {
                after: Duration::ZERO,
                end: CutBy::Close,
                is_processed: false,
            }),
            ..Entry::new(followed, id, now)
        };
        self.enter(id, entry);
        if self.following.looks_up {
            self.look_up(id, None, now);
        }
    }

    fn known(&self, followed: &Followed) -> Option<u64> {
        if let Some(correlation_id) = &followed.correlation_id {
            return self.by_correlation.get(correlation_id).copied();
        }
        let ids = self.by_device.get(&followed.dev_id)?;
        let is_same = |id: &&u64| {
            let entry = self.entries.get(id);
            entry.is_some_and(|entry| {
                let is_open = !matches!(entry.state(), DeliveryState::Replaced);
                is_open && entry.followed.content == followed.content
            })
        };
        ids.iter().find(is_same).copied()
    }
}

impl Entry {
    /// Advances every handle. Returns whether no further state is possible.
    pub(super) fn advance(&self, state: DeliveryState) -> bool {
        for twin in &self.twins {
            twin.progress.advance(state.clone());
        }
        self.followed.progress.advance(state)
    }

    /// Returns whether the program can still observe the downlink.
    pub(super) fn is_watched(&self) -> bool {
        let mut all = std::iter::once(&self.followed).chain(&self.twins);
        all.any(|followed| followed.progress.is_watched())
    }

    /// Returns a downlink that has not left this machine.
    pub(super) fn new(followed: Followed, batch: u64, now: Instant) -> Self {
        Self {
            has_fields: followed.has_fields,
            followed,
            twins: Vec::new(),
            batch,
            accepted: now,
            handed_over: None,
            replaces: false,
            has_report: false,
            not_acknowledged: None,
            may_be_discarded: false,
            behind: 0,
            cut: None,
            has_gap: false,
            was_deleted: false,
            look_again: None,
            is_unseen: false,
            change: 0,
            open: None,
        }
    }
}
