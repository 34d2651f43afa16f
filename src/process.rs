//! The threads of this process, and whether this still is the process that has started them: a `fork`
//! copies the memory and none of the threads.

use std::{
    fs, io, process,
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
};

use crossbeam_channel::bounded;

use crate::{
    error::{Error, ErrorKind, Result},
    sync,
};

/// Starts a thread. The only place of the crate that does.
pub(crate) fn start_thread(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    start(thread::Builder::new().name(name.to_owned()), run)
}

/// Starts a thread with a stack of this many bytes.
pub(crate) fn start_thread_with_stack(
    name: &str,
    stack: usize,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let builder = thread::Builder::new().name(name.to_owned());
    start(builder.stack_size(stack), run)
}

fn start(
    builder: thread::Builder,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    #[cfg(test)]
    let run = tests::within_limit(run)?;
    builder.spawn(run)
}

/// Returns why the process cannot start this many more threads for a library, if it cannot.
pub(crate) fn want_of_threads(threads: usize) -> Option<io::Error> {
    let (held, release) = bounded::<()>(0);
    let probe = |_| {
        let release = release.clone();
        start_thread_with_stack("ttn-probe", library_stack(), move || {
            let _ = release.recv();
        })
    };
    // All of them at the same time.
    let started: Vec<_> = (0..threads).map(probe).collect();
    drop(held);
    let mut want = None;
    for thread in started {
        match thread {
            Ok(thread) => drop(thread.join()),
            Err(cause) => want = Some(cause),
        }
    }
    want
}

/// Returns the size of a stack that the system's library sets aside for a thread: the process's limit
/// for stacks.
fn library_stack() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    stack_limit(&limits).unwrap_or(8 << 20)
}

fn stack_limit(limits: &str) -> Option<usize> {
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max stack size"))?;
    limit.split_whitespace().next()?.parse().ok()
}

/// The process in which something was created, and in which its threads run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home(u32);

impl Home {
    /// Returns this process.
    pub(crate) fn here() -> Self {
        Self(process::id())
    }

    /// Returns whether this is the process, and no fork of it.
    pub(crate) fn is_here(self) -> bool {
        self.0 == process::id()
    }

    /// Checks that this is the process in which the client was created.
    pub(crate) fn check(self) -> Result<()> {
        match self.is_here() {
            true => Ok(()),
            false => Err(self.error()),
        }
    }

    /// Makes the error of a client that was created in this process and is used in a fork of it.
    fn error(self) -> Error {
        Error::new(
            ErrorKind::Forked,
            format!(
                "this process was forked after the client was created; the client and its threads are in process {}; fork first, and create the client in the child",
                self.0
            ),
        )
    }

    /// Makes the error of a process that was forked from this one, in which the MQTT client runs.
    fn no_other(self) -> Error {
        Error::new(
            ErrorKind::Forked,
            format!(
                "this process was forked after process {} had begun to connect a client, and the threads of the MQTT client are in that process; fork before the first connect(), or start the child as a program of its own",
                self.0
            ),
        )
    }

    /// Locks what the threads of this process use. In a fork, returns `None` if one of them held the lock
    /// at the time: there, nobody will ever release it.
    pub(crate) fn lock<T>(self, mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        if self.is_here() {
            return Some(sync::lock(mutex));
        }
        match mutex.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// The process that has used something first, which no fork of it can use. An atomic, since a fork may
/// happen at any moment, and would copy a lock that is held.
pub(crate) struct Claim(AtomicU32);

impl Claim {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Notes that this process uses it, unless another has.
    pub(crate) fn claim(&self) {
        let (unclaimed, here) = (0, process::id());
        let _ = self
            .0
            .compare_exchange(unclaimed, here, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Checks that no other process has used it.
    pub(crate) fn check(&self) -> Result<()> {
        match Home(self.0.load(Ordering::Acquire)) {
            Home(0) => Ok(()),
            home if home.is_here() => Ok(()),
            home => Err(home.no_other()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        cell::RefCell,
        sync::{Arc, atomic::AtomicUsize},
    };

    use super::*;

    thread_local! {
        static LIMIT: RefCell<Option<Arc<AtomicUsize>>> = const { RefCell::new(None) };
    }

    /// How many more threads an action, and the threads that it starts, can start in all.
    pub(crate) struct ThreadLimit(Arc<AtomicUsize>);

    impl ThreadLimit {
        pub(crate) fn new(threads: usize) -> Self {
            Self(Arc::new(AtomicUsize::new(threads)))
        }

        pub(crate) fn apply<T>(&self, action: impl FnOnce() -> T) -> T {
            LIMIT.set(Some(Arc::clone(&self.0)));
            let result = action();
            LIMIT.set(None);
            result
        }

        pub(crate) fn left(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }

        pub(crate) fn add(&self, threads: usize) {
            self.0.fetch_add(threads, Ordering::Relaxed);
        }
    }

    pub(super) fn within_limit(
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<impl FnOnce() + Send + 'static> {
        let limit = LIMIT.with_borrow(Option::clone);
        if let Some(limit) = &limit {
            limit
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        }
        Ok(move || {
            LIMIT.set(limit);
            run();
        })
    }

    #[test]
    fn the_limit_for_stacks_is_read() {
        let limits =
            "Limit   Soft Limit  Hard Limit  Units\nMax stack size   8388608   unlimited   bytes\n";
        assert_eq!(stack_limit(limits), Some(8 << 20));
        assert_eq!(stack_limit(&limits.replace("8388608", "unlimited")), None);
        assert_eq!(stack_limit(""), None);
    }

    #[test]
    fn as_many_threads_as_are_wanted_can_be_started_at_the_same_time() {
        let want = |limit| ThreadLimit::new(limit).apply(|| want_of_threads(2));
        assert!(want(2).is_none());
        assert!(want(1).is_some() && want(0).is_some());
    }

    /// Returns the home of what this process would have as a fork.
    pub(crate) fn home_of_parent() -> Home {
        Home(process::id() + 1)
    }

    #[test]
    fn a_lock_that_nobody_will_release_is_not_waited_for_in_a_fork() {
        let (here, parent) = (Home::here(), Home(process::id() + 1));
        let mutex = Mutex::new(7);
        assert_eq!(here.lock(&mutex).as_deref(), Some(&7));
        assert_eq!(parent.lock(&mutex).as_deref(), Some(&7));
        let _held = mutex.lock();
        assert!(parent.lock(&mutex).is_none());
    }

    #[test]
    fn what_a_process_has_claimed_is_not_for_its_forks() {
        let claim = Claim::new();
        assert!(claim.check().is_ok());
        claim.claim();
        assert!(claim.check().is_ok());
        let of_parent = Claim(AtomicU32::new(4711));
        of_parent.claim();
        let error = of_parent.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forked);
        assert!(error.to_string().contains("process 4711"), "{error}");
    }

    #[test]
    fn the_error_of_a_fork_names_the_process_and_the_remedy() {
        assert!(Home::here().check().is_ok());
        let error = Home(4711).check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forked);
        assert!(!error.is_transient());
        assert!(error.to_string().contains("process 4711"), "{error}");
        assert!(error.to_string().contains("fork first"), "{error}");
    }
}
