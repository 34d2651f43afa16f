//! What a backfill comes to. Pure state.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use crate::{
    backfill::Outcome,
    message::{
        BackfillProgress, BackfillSource, Backfilled, Uncovered, UncoveredDevice, UncoveredReason,
    },
};

/// What became of what was fetched.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// What has answered last.
    pub(super) source: Option<BackfillSource>,
    pub(super) delivered: u64,
    pub(super) known: u64,
    /// The uplinks that the network no longer keeps, except for who sent them and when.
    traces: BTreeSet<(SystemTime, String)>,
    pub(super) reached: Option<SystemTime>,
}

impl Account {
    pub(super) fn has_traces(&self) -> bool {
        !self.traces.is_empty()
    }

    /// Notes a trace. Returns whether it is a new one.
    pub(super) fn trace(&mut self, dev_id: String, at: SystemTime) -> bool {
        self.traces.insert((at, dev_id))
    }

    pub(super) fn progress(&self, running_for: Duration) -> BackfillProgress {
        BackfillProgress {
            delivered: self.delivered,
            known: self.known,
            reached: self.reached,
            running_for,
        }
    }

    /// Makes the report.
    pub(super) fn close(self, outcome: Outcome) -> Backfilled {
        let mut uncovered = outcome.uncovered;
        if let (Some((from, _)), Some((until, _))) = (self.traces.first(), self.traces.last()) {
            let mut devices: BTreeMap<&str, u64> = BTreeMap::new();
            for (_, dev_id) in &self.traces {
                *devices.entry(dev_id).or_default() += 1;
            }
            let device = |(dev_id, uplinks): (&str, u64)| UncoveredDevice {
                dev_id: dev_id.to_owned(),
                uplinks: Some(uplinks),
            };
            uncovered.push(Uncovered {
                from: *from,
                until: *until,
                reason: UncoveredReason::OnlyCounted,
                uplinks: Some(self.traces.len() as u64),
                devices: devices.into_iter().map(device).collect(),
            });
        }
        uncovered.sort_by_key(|part| part.from);
        Backfilled {
            from: outcome.from,
            until: outcome.until,
            source: self.source,
            fetched: self.delivered + self.known + outcome.unreadable,
            delivered: self.delivered,
            known: self.known,
            unreadable: outcome.unreadable,
            requests: outcome.requests,
            uncovered,
            error: outcome.error,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::{
        backfill::Bound,
        error::{Error, ErrorKind},
    };

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + second)
    }

    fn outcome() -> Outcome {
        let error = Error::new(ErrorKind::Closed, "the client was closed");
        let (from, until) = (Bound::Network(at(0)), Bound::Network(at(600)));
        Outcome::failed(from, until, error)
    }

    #[test]
    fn traces_are_one_uncovered_time_with_a_number_for_each_device() {
        let mut account = Account::default();
        assert!(!account.has_traces());
        for (dev_id, second, is_new) in [
            ("tank-1", 500, true),
            ("bed-07", 300, true),
            ("bed-07", 300, false),
            ("bed-07", 400, true),
        ] {
            let found = account.trace(dev_id.to_owned(), at(second));
            assert_eq!(found, is_new, "{dev_id} at {second}");
        }
        assert!(account.has_traces());
        let report = account.close(outcome());
        let [cut_off, traces] = &report.uncovered[..] else {
            panic!("{report:?}");
        };
        assert_eq!(cut_off.reason, UncoveredReason::CutOff);
        assert_eq!(traces.reason, UncoveredReason::OnlyCounted);
        assert_eq!((traces.from, traces.until), (at(300), at(500)));
        assert_eq!(traces.uplinks, Some(3));
        let devices = traces.devices.iter();
        let devices: Vec<_> = devices
            .map(|device| (&*device.dev_id, device.uplinks))
            .collect();
        assert_eq!(devices, [("bed-07", Some(2)), ("tank-1", Some(1))]);
    }

    #[test]
    fn what_was_fetched_is_what_was_delivered_known_or_unreadable() {
        let account = Account {
            delivered: 4,
            known: 3,
            ..Account::default()
        };
        let outcome = Outcome {
            unreadable: 2,
            ..outcome()
        };
        let report = account.close(outcome);
        assert_eq!(report.fetched, 9);
        assert_eq!(
            (report.delivered, report.known, report.unreadable),
            (4, 3, 2)
        );
    }
}
