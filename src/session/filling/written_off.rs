//! Which of the missing uplinks are not to be counted any more. Pure state.

use std::collections::HashMap;

use crate::message::Backfilled;

/// How many uplinks of each device, in its session, no later report is about.
#[derive(Debug, Default)]
pub(super) struct WrittenOff {
    /// Reported as uncovered for good.
    reported: HashMap<String, u64>,
    /// Those that have left a trace in the gap that is being filled.
    traces: HashMap<String, u64>,
}

impl WrittenOff {
    pub(super) fn of(&self, dev_id: &str) -> u64 {
        let counts = [&self.reported, &self.traces].map(|counts| counts.get(dev_id));
        counts.into_iter().flatten().sum()
    }

    /// Notes that a device has left a trace.
    pub(super) fn trace(&mut self, dev_id: String) {
        *self.traces.entry(dev_id).or_default() += 1;
    }

    /// Notes that another gap is being filled.
    pub(super) fn forget_traces(&mut self) {
        self.traces.clear();
    }

    /// Notes the last report about a gap.
    pub(super) fn report(&mut self, report: &Backfilled) {
        for device in report.uncovered.iter().flat_map(|part| &part.devices) {
            if let Some(uplinks) = device.uplinks {
                *self.reported.entry(device.dev_id.clone()).or_default() += uplinks;
            }
        }
    }

    /// Notes that a device has joined again.
    pub(super) fn forget(&mut self, dev_id: &str) {
        self.reported.remove(dev_id);
        self.traces.remove(dev_id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        backfill::{Bound, Outcome},
        error::{Error, ErrorKind},
        session::filling::account::Account,
    };

    fn report_with_trace(dev_id: &str) -> Backfilled {
        let now = SystemTime::now();
        let mut account = Account::default();
        account.trace(dev_id.to_owned(), now);
        let error = Error::new(ErrorKind::Closed, "the client was closed");
        account.close(Outcome::failed(
            Bound::Network(now),
            Bound::Network(now),
            error,
        ))
    }

    #[test]
    fn a_trace_counts_until_the_next_gap_and_a_report_until_the_device_joins() {
        let mut written_off = WrittenOff::default();
        written_off.trace("bed-07".to_owned());
        written_off.trace("bed-07".to_owned());
        assert_eq!((written_off.of("bed-07"), written_off.of("tank-1")), (2, 0));
        written_off.forget_traces();
        written_off.report(&report_with_trace("bed-07"));
        written_off.report(&report_with_trace("bed-07"));
        written_off.trace("bed-07".to_owned());
        assert_eq!(written_off.of("bed-07"), 3);
        written_off.forget("bed-07");
        assert_eq!(written_off.of("bed-07"), 0);
    }
}
