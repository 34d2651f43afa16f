//! The frames of a session that are missing.

use crate::message::{CounterFinding, FrameLoss};

/// How many frames were reported missing and have not arrived, by how they were lost. There is one for each
/// device, so it is small: 65,535 stands for more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outstanding {
    away: u16,
    dropped_here: u16,
    upstream: u16,
}

impl Outstanding {
    /// Notes that frames are missing. Returns what is to be reported.
    pub(super) fn miss(&mut self, frames: u32, loss: FrameLoss) -> Option<CounterFinding> {
        if frames == 0 {
            return None;
        }
        let number = match loss {
            FrameLoss::Away => &mut self.away,
            FrameLoss::DroppedHere => &mut self.dropped_here,
            FrameLoss::Upstream => &mut self.upstream,
        };
        *number = number.saturating_add(u16::try_from(frames).unwrap_or(u16::MAX));
        Some(CounterFinding::Missing { frames, loss })
    }

    /// Notes that one of them was fetched. Returns how it was reported. Nobody knows that of a single frame, so
    /// the most likely comes first: a backfill fetches what was missed while the client was away.
    pub(super) fn fill(&mut self) -> Option<FrameLoss> {
        self.take([FrameLoss::Away, FrameLoss::DroppedHere, FrameLoss::Upstream])
    }

    /// Notes that one of them arrived after its successors. The network held it back while the client was
    /// connected, so most likely it was reported as lost upstream.
    pub(super) fn arrive_late(&mut self) {
        self.take([FrameLoss::Upstream, FrameLoss::DroppedHere, FrameLoss::Away]);
    }

    fn take(&mut self, order: [FrameLoss; 3]) -> Option<FrameLoss> {
        order.into_iter().find(|loss| {
            let number = match loss {
                FrameLoss::Away => &mut self.away,
                FrameLoss::DroppedHere => &mut self.dropped_here,
                FrameLoss::Upstream => &mut self.upstream,
            };
            let is_missing = *number > 0;
            *number -= u16::from(is_missing);
            is_missing
        })
    }

    pub(super) fn total(self) -> u32 {
        u32::from(self.away) + u32::from(self.dropped_here) + u32::from(self.upstream)
    }
}
