//! What other threads may know of a session without asking it: whether it is connected, and when it
//! has ended.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use crate::{
    config::Options,
    stats::{Bytes, Stats, Tally},
    sync,
    wire::Traffic,
};

/// Written by the session and the callbacks' thread, read and waited for by all.
pub(crate) struct Status {
    connected: AtomicBool,
    tally: Tally,
    traffic: Arc<Traffic>,
    ends: Mutex<Ends>,
    changed: Condvar,
}

#[derive(Default)]
struct Ends {
    /// Connecting, connected, or about to connect again.
    open: bool,
    /// How many times that ended.
    count: u64,
    /// The last end of which the close callbacks have heard.
    told: u64,
}

impl Status {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            connected: AtomicBool::default(),
            tally: Tally::new(options.counter_watch),
            traffic: Arc::default(),
            ends: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Release);
    }

    /// What the session has counted.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Where connections count their bytes.
    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// A copy of the numbers, while so many downlinks wait to be written.
    pub(crate) fn stats(&self, waiting: usize) -> Stats {
        self.tally.snapshot(
            waiting,
            Bytes {
                received: self.traffic.received(),
                sent: self.traffic.sent(),
            },
        )
    }

    /// Whether it is connected, or tries to be.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().open
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        sync::lock(&self.ends)
    }

    pub(crate) fn open(&self) {
        self.lock().open = true;
    }

    pub(crate) fn not_opened(&self) {
        self.lock().open = false;
        self.changed.notify_all();
    }

    pub(crate) fn next_end(&self) -> u64 {
        self.lock().count + 1
    }

    pub(crate) fn last_end(&self) -> u64 {
        self.lock().count
    }

    pub(crate) fn ended(&self, number: u64) {
        let mut ends = self.lock();
        ends.open = false;
        ends.count = number;
        self.changed.notify_all();
    }

    /// The close callbacks have heard of an end.
    pub(crate) fn told(&self, number: u64) {
        let mut ends = self.lock();
        ends.told = ends.told.max(number);
        self.changed.notify_all();
    }

    /// Waits until the callbacks have heard of an end; `false` when they have not by then.
    pub(crate) fn wait_until_told(&self, number: u64, deadline: Instant) -> bool {
        self.wait_until(Some(deadline), |ends| ends.told >= number)
    }

    /// Waits until the client is closed and, if asked for, the callbacks have heard of it; `false`
    /// when it is not by then.
    pub(crate) fn wait_until_closed(
        &self,
        and_told: impl Fn() -> bool,
        deadline: Option<Instant>,
    ) -> bool {
        self.wait_until(deadline, |ends| {
            !ends.open && (ends.told >= ends.count || !and_told())
        })
    }

    fn wait_until(&self, deadline: Option<Instant>, condition: impl Fn(&Ends) -> bool) -> bool {
        let ends = sync::wait_until(&self.ends, &self.changed, deadline, &condition);
        condition(&ends)
    }
}
