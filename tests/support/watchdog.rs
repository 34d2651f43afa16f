//! A time limit for tests that hang.

use std::io::{self, Write};
use std::panic::Location;
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Aborts the process if it lives longer than its limit; created by [`watchdog`].
#[derive(Debug)]
pub struct Watchdog {
    leash: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Aborts the whole process, with a message, unless the guard is dropped within `limit`.
///
/// A panic would not be enough: a deadlock inside a C library holds threads that nothing can
/// unwind.
#[track_caller]
#[must_use = "the watch ends when the guard is dropped"]
pub fn watchdog(limit: Duration) -> Watchdog {
    let place = Location::caller();
    let test = thread::current().name().unwrap_or("?").to_owned();
    let (leash, held) = mpsc::channel::<()>();
    let thread = thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || {
            if held.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                let _ = writeln!(
                    io::stderr(),
                    "WATCHDOG {test} ({place}): still running after {limit:?}, aborting"
                );
                #[cfg(unix)]
                super::mosquitto::kill_all();
                process::abort();
            }
        })
        .expect("a thread can be started");
    Watchdog {
        leash: Some(leash),
        thread: Some(thread),
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.leash.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
