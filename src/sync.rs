//! Locking and waiting, the same everywhere in the crate.

use std::{
    convert::Infallible,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crossbeam_channel::{Receiver, TryRecvError};

/// What ends the work of a thread: that the other end is gone, because nobody wants the result any more.
pub(crate) type Stop = Receiver<Infallible>;

/// Returns whether the other end is gone.
pub(crate) fn is_stopped(stop: &Stop) -> bool {
    matches!(stop.try_recv(), Err(TryRecvError::Disconnected))
}

/// Locks `mutex`, even if a thread panicked while it held the lock. No user code runs under a lock
/// of this crate, so only a defect of its own can poison one, and the other threads carry on.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `condition` holds for what `mutex` guards or, if there is a deadline, until that has
/// passed; the caller checks which.
///
/// The thread that makes the condition true must notify `changed`.
pub(crate) fn wait_until<'a, T>(
    mutex: &'a Mutex<T>,
    changed: &Condvar,
    deadline: Option<Instant>,
    condition: impl Fn(&T) -> bool,
) -> MutexGuard<'a, T> {
    let guard = lock(mutex);
    let waits = |value: &mut T| !condition(value);
    match deadline {
        None => changed
            .wait_while(guard, waits)
            .unwrap_or_else(PoisonError::into_inner),
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            changed
                .wait_timeout_while(guard, left, waits)
                .unwrap_or_else(PoisonError::into_inner)
                .0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread, time::Duration};

    use super::*;

    #[test]
    fn a_wait_ends_when_the_condition_holds() {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let counting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for _ in 0..3 {
                    *lock(&shared.0) += 1;
                    shared.1.notify_all();
                }
            }
        });
        let (mutex, changed) = &*shared;
        for deadline in [None, Some(Instant::now() + Duration::from_secs(60))] {
            let count = wait_until(mutex, changed, deadline, |count| *count == 3);
            assert_eq!(*count, 3);
        }
        counting.join().unwrap();
    }

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let (mutex, changed) = (Mutex::new(false), Condvar::new());
        let deadline = Instant::now() + Duration::from_millis(20);
        for _ in 0..2 {
            let done = wait_until(&mutex, &changed, Some(deadline), |done| *done);
            assert!(!*done && Instant::now() >= deadline);
        }
    }

    #[test]
    fn a_lock_outlives_the_panic_of_its_holder() {
        let mutex = Arc::new(Mutex::new(7));
        let panicking = thread::spawn({
            let mutex = Arc::clone(&mutex);
            move || {
                let _guard = lock(&mutex);
                panic!("while it holds the lock");
            }
        });
        assert!(panicking.join().is_err());
        assert_eq!(*lock(&mutex), 7);
    }
}
