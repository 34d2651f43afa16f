//! Whether messages of a broker of one's own wait and none is handled any more, for example because a subscription is
//! not read.

use std::time::{Duration, Instant};

use super::Session;

/// For how long none must be handled until the user is told.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pure state.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// When to look; `None` if nothing waits.
    look_at: Option<Instant>,
    /// How many messages nobody worked on any more at the last look.
    ended: u64,
    is_told: bool,
}

impl Stall {
    /// Notes that a message has come that waits to be handled.
    pub(super) fn arrived(&mut self, now: Instant) {
        self.look_at.get_or_insert(now + PATIENCE);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// Looks at how many messages nobody works on any more, and how many wait. Returns whether to tell the user.
    fn look(&mut self, ended: u64, waiting: usize, now: Instant) -> bool {
        let stands_still = waiting > 0 && ended == self.ended;
        let is_news = stands_still && !self.is_told;
        self.look_at = (waiting > 0).then(|| now + PATIENCE);
        self.ended = ended;
        self.is_told = stands_still;
        is_news
    }
}

impl Session {
    /// Tells the user if messages wait and none is handled any more.
    pub(super) fn look_for_stall(&mut self, now: Instant) {
        if self.stall.next_deadline().is_none_or(|at| now < at) {
            return;
        }
        let (ended, waiting) = self.connections.progress();
        if self.stall.look(ended, waiting, now) {
            log::warn!("{}", warning(waiting, &self.receiving.queued()));
        }
    }
}

/// Returns what to tell the user. `queued` is how many events wait for whom.
fn warning(waiting: usize, queued: &[(String, usize)]) -> String {
    let queues: Vec<String> = queued
        .iter()
        .map(|(name, events)| format!("{events} in that of {name}"))
        .collect();
    let place = match queues.is_empty() {
        true => {
            "no queue has any, so handlers still work on them, or the program keeps them".to_owned()
        }
        false => format!("events wait in queues, {}", queues.join(", ")),
    };
    format!(
        "no message of the broker was handled for {} s, and {waiting} must be before others can come: {place}; read each \
         subscription or drop it, and drop each uplink or call acknowledge",
        PATIENCE.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_told_once_when_messages_wait_and_none_is_handled() {
        let start = Instant::now();
        let mut stall = Stall::default();
        assert_eq!(stall.next_deadline(), None);
        stall.arrived(start);
        stall.arrived(start + PATIENCE / 2);
        assert_eq!(stall.next_deadline(), Some(start + PATIENCE));
        // Fewer wait than have come.
        let looks = [
            (0, 3, true),
            (0, 20, false),
            (1, 19, false),
            (1, 19, true),
            (2, 18, false),
        ];
        for (number, (ended, waiting, is_told)) in (1..).zip(looks) {
            let now = start + PATIENCE * number;
            assert_eq!(stall.next_deadline(), Some(now));
            assert_eq!(stall.look(ended, waiting, now), is_told, "{number}");
        }
    }

    #[test]
    fn where_all_is_handled_nothing_is_told_and_nobody_looks_again() {
        let start = Instant::now();
        let mut stall = Stall::default();
        stall.arrived(start);
        assert!(!stall.look(0, 0, start + PATIENCE));
        assert_eq!(stall.next_deadline(), None);
        stall.arrived(start + 3 * PATIENCE);
        assert_eq!(stall.next_deadline(), Some(start + 4 * PATIENCE));
    }

    #[test]
    fn the_warning_names_who_does_not_read() {
        let queued = [
            ("a subscription to events".to_owned(), 20),
            ("worker 3".to_owned(), 1),
        ];
        let text = warning(20, &queued);
        assert!(
            text.contains("20 in that of a subscription to events, 1 in that of worker 3"),
            "{text}"
        );
        let text = warning(1, &[]);
        assert!(text.contains("handlers still work on them"), "{text}");
    }
}
