//! One gate for all connections of the process: Paho stops for good when it must open or close hundreds
//! of sockets in a row, so each opening and closing of a loopback socket waits for its turn.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use super::waiter::Handle;
use crate::sync;

/// How long the gate waits for a permit to be returned: one client that hangs must not delay all.
const PATIENCE: Duration = Duration::from_secs(1);

static GATE: Mutex<Gate> = Mutex::new(Gate {
    inside: None,
    count: 0,
    waiting: VecDeque::new(),
});

#[derive(Debug)]
struct Gate {
    /// Who is inside, and since when.
    inside: Option<(u64, Instant)>,
    /// The number of the last ticket.
    count: u64,
    waiting: VecDeque<(u64, Handle)>,
}

fn gate() -> MutexGuard<'static, Gate> {
    sync::lock(&GATE)
}

impl Gate {
    fn wake_next(&self) {
        if let Some((_, handle)) = self.waiting.front() {
            handle.wake();
        }
    }
}

/// A place in the queue.
#[derive(Debug)]
pub(super) struct Ticket(u64);

/// The right to open or close a loopback socket, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(u64);

impl Ticket {
    /// Joins the queue. The owner of `handle` is woken when its turn comes.
    pub(super) fn take(handle: &Handle) -> Self {
        let mut gate = gate();
        gate.count += 1;
        let number = gate.count;
        gate.waiting.push_back((number, handle.clone()));
        Self(number)
    }

    /// Returns the permit if it is this ticket's turn; otherwise when to ask again, unless woken
    /// earlier.
    pub(super) fn enter(&self, now: Instant) -> Result<Permit, Instant> {
        let mut gate = gate();
        if let Some((_, since)) = gate.inside {
            let until = since + PATIENCE;
            if now < until {
                return Err(until);
            }
        }
        match gate.waiting.front() {
            Some((number, _)) if *number != self.0 => {
                gate.wake_next();
                Err(now + PATIENCE)
            }
            _ => {
                gate.waiting.pop_front();
                gate.inside = Some((self.0, now));
                Ok(Permit(self.0))
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut gate = gate();
        let before = gate.waiting.len();
        gate.waiting.retain(|(number, _)| *number != self.0);
        if gate.waiting.len() < before && gate.inside.is_none() {
            gate.wake_next();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut gate = gate();
        if gate.inside.is_some_and(|(number, _)| number == self.0) {
            gate.inside = None;
            gate.wake_next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::waiter::Waiter;

    /// One test, since there is one gate.
    #[test]
    fn one_at_a_time_passes_in_order_and_nobody_is_waited_for_for_long() {
        let waiter = Waiter::new().unwrap();
        let take = || Ticket::take(waiter.handle());
        let enter = |ticket: &Ticket, now| {
            // Clients of other tests pass the same gate.
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                match ticket.enter(now) {
                    Ok(permit) => return permit,
                    Err(_) if Instant::now() < deadline => std::thread::yield_now(),
                    Err(_) => panic!("the gate stays closed"),
                }
            }
        };
        let (first, second, gone, third) = (take(), take(), take(), take());
        let now = Instant::now();
        let inside = enter(&first, now);
        assert!(second.enter(now).is_err());
        assert!(third.enter(now).is_err());
        drop(gone);
        drop(inside);
        assert!(third.enter(now).is_err());
        let hangs = enter(&second, now);
        assert_eq!(third.enter(now).unwrap_err(), now + PATIENCE);
        let inside = enter(&third, now + PATIENCE);
        let fourth = take();
        drop(hangs);
        assert!(fourth.enter(now + PATIENCE).is_err());
        drop(inside);
        drop(enter(&fourth, now));
    }
}
