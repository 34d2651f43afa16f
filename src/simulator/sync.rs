//! Locks and waits.

use std::{
    sync::{Condvar, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub(crate) use crate::sync::lock;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Returns the end of a timeout that starts now, at most a year ahead if the clock cannot hold it.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + YEAR)
}

pub(crate) fn wait<'a, T>(changed: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn wait_until<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Instant,
) -> MutexGuard<'a, T> {
    let left = deadline.saturating_duration_since(Instant::now());
    let woken = changed.wait_timeout(guard, left);
    woken.unwrap_or_else(PoisonError::into_inner).0
}
