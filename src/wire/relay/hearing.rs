//! When the server was last heard, as far as a thread can know that may be held up. Pure state.

use std::time::{Duration, Instant};

use crate::clock::Moment;

/// A thread that wakes up this much later than it should was held up, for example because the process was
/// stopped.
const HELD_UP: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Hearing {
    /// When the thread last began to look at its sockets; earlier if it was held up before that, because
    /// then nobody knows when what it finds there has arrived.
    looked: Moment,
    /// What arrived while the thread was held up is not all read.
    catching_up: bool,
    /// When the last bytes arrived.
    read: Moment,
    /// When the last whole packet arrived.
    heard: Moment,
}

impl Hearing {
    /// Starts with the answer that let the connection begin.
    pub(super) fn new(now: Moment) -> Self {
        Self {
            looked: now,
            catching_up: false,
            read: now,
            heard: now,
        }
    }

    /// Notes that the thread has waited for its sockets, at most `until` then. Returns whether it was held
    /// up, or the machine suspended.
    pub(super) fn waited(&mut self, before: Moment, after: Moment, until: Option<Instant>) -> bool {
        let is_late =
            until.is_some_and(|until| after.instant > until.max(before.instant) + HELD_UP);
        let was_suspended = after.suspended_since(before) > Duration::ZERO;
        if is_late || was_suspended {
            self.looked = before;
            self.catching_up = true;
            return true;
        }
        if !self.catching_up {
            self.looked = after;
        }
        false
    }

    /// Notes that bytes of the server were read.
    pub(super) fn read(&mut self) {
        self.read = self.looked;
    }

    /// Notes that there is nothing more to read now.
    pub(super) fn read_all(&mut self) {
        self.catching_up = false;
    }

    /// Notes that what was read ends with a whole packet.
    pub(super) fn completed(&mut self) {
        self.heard = self.read;
    }

    /// Returns when the last whole packet arrived, of whatever type.
    pub(super) fn last(&self) -> Moment {
        self.heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    impl Hearing {
        fn hear(&mut self) -> Instant {
            self.read();
            self.completed();
            self.last().instant
        }
    }

    #[test]
    fn a_packet_was_heard_when_the_thread_looked_and_the_last_part_of_it_came() {
        let start = Moment::now();
        let mut hearing = Hearing::new(start);
        let first = start.after(10 * SECOND);
        assert!(!hearing.waited(start, first, None));
        hearing.read();
        assert_eq!(hearing.last().instant, start.instant);
        let second = start.after(11 * SECOND);
        assert!(!hearing.waited(first, second, None));
        assert_eq!(hearing.hear(), second.instant);
    }

    #[test]
    fn what_is_found_after_a_standstill_may_be_as_old_as_it() {
        let start = Moment::now();
        let until = Some((start.after(5 * SECOND)).instant);
        for (after, is_held_up) in [
            (start.after(5 * SECOND), false),
            (start.after(6 * SECOND), false),
            (start.after(7 * SECOND), true),
            (start.after(SECOND).after_suspension(600 * SECOND), true),
        ] {
            let mut hearing = Hearing::new(start);
            assert_eq!(hearing.waited(start, after, until), is_held_up);
            let expected = if is_held_up { start } else { after };
            assert_eq!(hearing.hear(), expected.instant);
            // There was more than one look can read.
            let next = after.after(SECOND);
            assert!(!hearing.waited(after, next, None));
            let expected = if is_held_up { start } else { next };
            assert_eq!(hearing.hear(), expected.instant);
            // What comes now is new.
            hearing.read_all();
            let last = next.after(SECOND);
            assert!(!hearing.waited(next, last, None));
            assert_eq!(hearing.hear(), last.instant);
        }
    }

    #[test]
    fn a_deadline_that_had_passed_before_the_wait_does_not_make_it_late() {
        let start = Moment::now();
        let before = start.after(60 * SECOND);
        let mut hearing = Hearing::new(start);
        assert!(!hearing.waited(before, before.after(SECOND), Some(start.instant)));
    }
}
