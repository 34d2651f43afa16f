//! What the counters of fetched uplinks show: those that were sent earlier, and did not arrive.

use super::{Age, Findings, Frame, FrameCounters, LATER, Marks, Place, WINDOW, counter_mask};
use crate::{
    message::{CounterFinding, FrameLoss},
    stats::absences::is_before,
};

impl FrameCounters {
    /// Returns how many frames of the session were reported missing and have not arrived.
    pub(crate) fn still_missing(&self) -> u32 {
        self.outstanding.total()
    }

    /// Returns whether the watch had begun at that time of the application server, in ticks.
    pub(crate) fn had_begun(&self, time: u32) -> bool {
        self.began != 0 && !is_before(time, self.began)
    }

    /// Returns the state that a fetched uplink starts, which would have arrived with these marks.
    pub(crate) fn sent_earlier(self, marks: Marks) -> Self {
        let mut frames = self.frames;
        frames[0].set_time(marks.at);
        Self {
            frames,
            is_filled: true,
            heard: marks.at,
            marks,
            ..self
        }
    }

    /// Takes an uplink that was fetched and not delivered before, given as the state that it would start.
    /// `earlier` returns the marks of a time in the past, in ticks. Returns what its counter shows.
    ///
    /// Frames between the latest one and this one are missing, as if both had arrived. But if the latest one was
    /// fetched too, and no outage began between them, the network had both, and lacks what lies between: it was lost
    /// upstream.
    pub(crate) fn fill(&mut self, now: Self, earlier: impl Fn(u32) -> Marks) -> Findings {
        let age = self.age_of_fetched(&now);
        let now = now.sent_earlier(earlier(self.sent_at(&now)));
        if self.is_of_another_session(&now) {
            if matches!(age, Age::Newer(_)) {
                *self = now;
            }
            return [None; 2];
        }
        match (Place::new(now.highest, self.highest), age) {
            (_, Age::Older) => {
                let mask = counter_mask(now.highest, self.highest);
                let behind = self.highest.wrapping_sub(now.highest) & mask;
                [self.fill_behind(behind, &now), None]
            }
            (Place::Ahead(ahead), _) => self.fill_ahead(ahead, now),
            (Place::Behind(_), Age::Newer(later)) if later > LATER => {
                *self = now;
                [Some(CounterFinding::Reset), None]
            }
            (Place::Behind(behind), _) => [self.fill_behind(behind, &now), None],
        }
    }

    /// Returns when the network received an uplink, compared with the latest one. It may be older by weeks.
    fn age_of_fetched(&self, now: &Self) -> Age {
        if self.received == 0 || now.received == 0 {
            return Age::Unknown;
        }
        match now.received.wrapping_sub(self.received) {
            0 => Age::Same,
            later if is_before(later, 0) => Age::Older,
            later => Age::Newer(later),
        }
    }

    /// Returns when an uplink would have arrived, in ticks.
    fn sent_at(&self, now: &Self) -> u32 {
        if self.received == 0 || now.received == 0 {
            return now.marks.at;
        }
        let later = now.received.wrapping_sub(self.received);
        let at = self.marks.at.wrapping_add(later);
        if is_before(now.marks.at, at) {
            now.marks.at
        } else {
            at
        }
    }

    fn fill_ahead(&mut self, ahead: u32, now: Self) -> Findings {
        let drops = self.marks.drops;
        let findings = if self.is_filled && self.marks.outages == now.marks.outages {
            self.advance(ahead, now);
            [None, self.outstanding.miss(ahead - 1, FrameLoss::Upstream)]
        } else {
            self.go_ahead(ahead, now)
        };
        // What this client has dropped lately may have been sent after this one.
        self.marks.drops = drops;
        findings
    }

    /// Takes an uplink that lies this far behind. Beyond the window, nobody knows which frames have arrived; but this
    /// one was not delivered, so it is one of those that are missing.
    fn fill_behind(&mut self, behind: u32, now: &Self) -> Option<CounterFinding> {
        let is_missing = match behind {
            ..WINDOW => self.seen & (1 << behind) == 0,
            _ => behind < self.span,
        };
        if !is_missing {
            return None;
        }
        let loss = self.outstanding.fill()?;
        if behind < WINDOW {
            self.seen |= 1 << behind;
        }
        if let Some(frame) = self.frames.get_mut(behind as usize) {
            *frame = now.frames[0];
        }
        Some(CounterFinding::Filled { loss })
    }
}

impl Frame {
    fn set_time(&mut self, at: u32) {
        self.at = (at >> Self::UNIT) as u8;
    }
}
