//! When the next request may be sent. Pure state.

use std::time::Duration;

use crate::api::Limits;

/// The shortest wait after a refusal: a server that lets ten requests a minute through accepts one every 6 s.
const AFTER_REFUSAL: Duration = Duration::from_secs(6);

/// How many refusals in a row to accept.
const MAX_REFUSALS: u32 = 10;

/// How many requests a server that does not tell its limits gets without a pause.
const UNPACED: u32 = 5;

/// The pause between requests to a server that does not tell its limits.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps to the limits of a server.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    /// How many requests to leave to others.
    reserve: u32,
    max_wait: Duration,
    limits: Limits,
    answers: u32,
    /// Whether the last answer brought something.
    was_productive: bool,
    has_refused: bool,
    /// In a row.
    refusals: u32,
}

impl Rate {
    pub(super) fn new(reserve: u32, max_wait: Duration) -> Self {
        Self {
            reserve,
            max_wait,
            limits: Limits::default(),
            answers: 0,
            was_productive: false,
            has_refused: false,
            refusals: 0,
        }
    }

    /// Notes an answer that was granted, and whether it brought anything new.
    pub(super) fn on_answer(&mut self, limits: Limits, was_productive: bool) {
        self.limits = limits;
        self.answers = self.answers.saturating_add(1);
        self.was_productive = was_productive;
        self.refusals = 0;
    }

    /// Notes that the server has refused because of too many requests. Returns how long to wait, or `None`
    /// to give up. `wait` is what the server says.
    pub(super) fn on_refusal(
        &mut self,
        limits: Limits,
        wait: Option<Duration>,
    ) -> Option<Duration> {
        self.limits = limits;
        self.has_refused = true;
        self.refusals += 1;
        let wait = wait.unwrap_or_default().max(AFTER_REFUSAL);
        (self.refusals <= MAX_REFUSALS).then_some(wait.min(self.max_wait))
    }

    /// Returns how long to wait before the next request.
    pub(super) fn pause(&self) -> Duration {
        let pause = match (self.limits.available, self.limits.limit, self.limits.reset) {
            (Some(available), _, _) if available > self.reserve => Duration::ZERO,
            // The time in which one request comes back.
            (Some(available), Some(limit), Some(reset)) => {
                reset / limit.saturating_sub(available).max(1)
            }
            (Some(_), _, Some(reset)) => reset,
            (Some(_), _, None) => PAUSE,
            // The server tells no limits. It may have some all the same; but most have none, and what it
            // sends is wanted at once.
            (None, ..) if self.has_refused => PAUSE,
            (None, ..) if self.answers < UNPACED || self.was_productive => Duration::ZERO,
            (None, ..) => PAUSE,
        };
        pause.min(self.max_wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits(available: u32, reset: u64) -> Limits {
        let mut limits = Limits::default();
        limits.limit = Some(10);
        limits.available = Some(available);
        limits.reset = Some(Duration::from_secs(reset));
        limits
    }

    fn rate() -> Rate {
        Rate::new(2, 60 * SECOND)
    }

    #[test]
    fn two_requests_are_left_to_others() {
        let mut rate = rate();
        rate.on_answer(limits(3, 42), true);
        assert_eq!(rate.pause(), Duration::ZERO);
        // 8 of them are back in 48 s.
        rate.on_answer(limits(2, 48), true);
        assert_eq!(rate.pause(), 6 * SECOND);
        rate.on_answer(limits(0, 60), true);
        assert_eq!(rate.pause(), 6 * SECOND);
    }

    #[test]
    fn no_pause_is_longer_than_what_is_set() {
        let mut rate = Rate::new(2, SECOND);
        rate.on_answer(limits(0, 600), true);
        assert_eq!(rate.pause(), SECOND);
        assert_eq!(
            rate.on_refusal(Limits::default(), Some(99 * SECOND)),
            Some(SECOND)
        );
    }

    #[test]
    fn a_refusal_is_waited_out_for_six_seconds_at_least_and_ten_in_a_row_are_the_end() {
        let mut rate = rate();
        let none = Limits::default();
        assert_eq!(rate.on_refusal(none, None), Some(6 * SECOND));
        assert_eq!(rate.on_refusal(none, Some(20 * SECOND)), Some(20 * SECOND));
        rate.on_answer(none, true);
        for _ in 0..10 {
            assert_eq!(rate.on_refusal(none, Some(SECOND)), Some(6 * SECOND));
        }
        assert_eq!(rate.on_refusal(none, Some(SECOND)), None);
    }

    #[test]
    fn a_server_without_limits_is_not_asked_more_than_once_a_second_for_nothing() {
        let mut rate = rate();
        let none = Limits::default();
        for _ in 0..4 {
            rate.on_answer(none, false);
            assert_eq!(rate.pause(), Duration::ZERO);
        }
        rate.on_answer(none, false);
        assert_eq!(rate.pause(), SECOND);
        rate.on_answer(none, true);
        assert_eq!(rate.pause(), Duration::ZERO);
        rate.on_refusal(none, None);
        rate.on_answer(none, true);
        assert_eq!(rate.pause(), SECOND);
    }
}
