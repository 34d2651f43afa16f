//! What other threads can read without asking the session: whether it is connected, what it has
//! counted, and when it has closed.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use crate::{
    config::{AccessKey, Options},
    error::{Error, Result},
    message::{BackfillProgress, Rights},
    stats::{Bytes, Stats, Tally},
    sync,
    wire::Traffic,
};

/// What the session and the callbacks' thread write, and every thread can read and wait for.
pub(crate) struct Status {
    connected: AtomicBool,
    /// The key that the session uses.
    access_key: Mutex<AccessKey>,
    tally: Tally,
    traffic: Arc<Traffic>,
    ends: Mutex<Ends>,
    key: Mutex<Key>,
    /// How far a backfill had got, and when that was.
    backfill: Mutex<Option<(BackfillProgress, Instant)>>,
    changed: Condvar,
}

/// What is known about the access key.
#[derive(Default)]
struct Key {
    rights: Option<Rights>,
    /// Why it cannot send on this connection.
    ban: Option<Error>,
}

#[derive(Default)]
struct Ends {
    /// Whether the client is connecting, connected, or about to reconnect.
    open: bool,
    /// How many times the client has closed.
    count: u64,
    /// The number of the last end that the close callbacks were told.
    told: u64,
}

impl Status {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            connected: AtomicBool::default(),
            access_key: Mutex::new(options.access_key.clone()),
            tally: Tally::new(options.counter_watch),
            traffic: Arc::default(),
            ends: Mutex::default(),
            key: Mutex::default(),
            backfill: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Release);
    }

    /// Sets what is known about the access key, and why it cannot send, if it cannot.
    pub(super) fn set_rights(&self, rights: Option<Rights>, ban: Option<Error>) {
        *sync::lock(&self.key) = Key { rights, ban };
    }

    pub(crate) fn rights(&self) -> Option<Rights> {
        sync::lock(&self.key).rights.clone()
    }

    /// Returns an error if the network is known to drop what this client sends.
    pub(crate) fn check_may_send(&self) -> Result<()> {
        sync::lock(&self.key).ban.clone().map_or(Ok(()), Err)
    }

    pub(crate) fn access_key(&self) -> AccessKey {
        sync::lock(&self.access_key).clone()
    }

    pub(super) fn set_access_key(&self, key: AccessKey) {
        *sync::lock(&self.access_key) = key;
    }

    pub(super) fn set_backfill(&self, progress: Option<BackfillProgress>) {
        let now = Instant::now();
        *sync::lock(&self.backfill) = progress.map(|progress| (progress, now));
    }

    pub(crate) fn backfill(&self) -> Option<BackfillProgress> {
        let (mut progress, at) = sync::lock(&self.backfill).clone()?;
        progress.running_for += at.elapsed();
        Some(progress)
    }

    /// Returns what the session has counted.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Returns the byte counters of the connections.
    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// In a fork, closes the copies of the connections' sockets, so that they end with the parent.
    pub(crate) fn close_copies(&self) {
        self.traffic.close_copies();
    }

    /// Returns a copy of the counters; `waiting` is the number of downlinks that are not written yet.
    pub(crate) fn stats(&self, waiting: usize) -> Stats {
        self.tally.snapshot(
            waiting,
            Bytes {
                received: self.traffic.received(),
                sent: self.traffic.sent(),
            },
        )
    }

    /// Returns whether the client is connected, connecting, or about to reconnect.
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

    /// Notes that the close callbacks were told about an end.
    pub(crate) fn told(&self, number: u64) {
        let mut ends = self.lock();
        ends.told = ends.told.max(number);
        self.changed.notify_all();
    }

    /// Waits until the callbacks were told about an end. Returns `false` if the deadline passes first.
    pub(crate) fn wait_until_told(&self, number: u64, deadline: Instant) -> bool {
        self.wait_until(Some(deadline), |ends| ends.told >= number)
    }

    /// Waits until the client is closed and, if `and_told` returns `true`, until the callbacks were
    /// told. Returns `false` if the deadline passes first.
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
