//! When the client was away: what decides how missing frames were lost. Reads no clock.

use std::time::{Duration, Instant};

use super::frame_counters::{Marks, ticks};

/// The outages of a client, its attempts to connect, and its drops.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Absences {
    /// The moment from which ticks count.
    start: Option<Instant>,
    /// When the outage began that lasts now.
    since: Option<Instant>,
    /// The outage that ended last: its start, which is not known of the time before the first connection,
    /// and its end.
    last: Option<(Option<Instant>, Instant)>,
    /// The time of the outages before.
    time: Duration,
    /// The number of outages, including the one that lasts.
    count: u32,
    /// The number of attempts to connect.
    attempts: u16,
    /// How often this client has dropped messages.
    drops: u16,
}

impl Absences {
    /// Notes that the client has no connection any more. The connection may have been dead for as long as
    /// the server had sent nothing at all.
    pub(super) fn left(&mut self, now: Instant, silence: Duration) {
        if self.since.is_none() {
            self.since = now.checked_sub(silence).or(Some(now));
            self.count = self.count.wrapping_add(1);
        }
    }

    /// Notes that the client attempts to connect.
    pub(super) fn attempt(&mut self) {
        self.attempts = self.attempts.wrapping_add(1);
    }

    /// Notes that the client is connected again.
    pub(super) fn returned(&mut self, now: Instant) {
        let since = self.since.take();
        if let Some(since) = since {
            self.time += now.saturating_duration_since(since);
        }
        if since.is_some() || self.last.is_none() {
            self.last = Some((since, now));
        }
    }

    /// Notes that this client dropped messages.
    pub(super) fn dropped(&mut self) {
        self.drops = self.drops.wrapping_add(1);
    }

    /// Returns the marks of an uplink that arrives now.
    pub(super) fn marks(&mut self, now: Instant) -> Marks {
        let lasting = self.since.map(|since| now.saturating_duration_since(since));
        let start = *self.start.get_or_insert(now);
        Marks {
            at: ticks(now.saturating_duration_since(start)),
            away: ticks(self.time + lasting.unwrap_or_default()),
            outages: self.count,
            attempts: self.attempts,
            drops: self.drops,
        }
    }

    /// Returns the marks that an uplink would have that arrived at an earlier time, in ticks; `now` are those
    /// of one that arrives now. The last two outages count exactly. Earlier ones lie before that time.
    pub(super) fn earlier(&self, now: Marks, at: u32) -> Marks {
        let start = self.start;
        let since_start = |time: Instant| {
            let start = start.unwrap_or(time);
            match time.checked_duration_since(start) {
                Some(after) => ticks(after),
                None => ticks(start.saturating_duration_since(time)).wrapping_neg(),
            }
        };
        let mut marks = Marks { at, ..now };
        let lasting = self.since.map(|since| (Some(since_start(since)), now.at));
        let last = self
            .last
            .map(|(since, end)| (since.map(since_start), since_start(end)));
        for (since, end) in [lasting, last].into_iter().flatten() {
            if !is_before(at, end) {
                continue;
            }
            let later = since.filter(|since| is_before(at, *since));
            let away = end.wrapping_sub(later.unwrap_or(at));
            marks.away = marks.away.wrapping_sub(away);
            marks.outages = marks.outages.wrapping_sub(u32::from(later.is_some()));
            // The uplinks after it come over another connection.
            marks.attempts = now.attempts.wrapping_sub(1);
        }
        marks
    }
}

/// Compares times in ticks.
pub(super) fn is_before(time: u32, other: u32) -> bool {
    (time.wrapping_sub(other) as i32) < 0
}
