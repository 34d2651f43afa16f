//! What other threads can read without asking the session: whether it is connected, what it has
//! counted, and when it has closed.

use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use crate::{
    config::{AccessKey, Options},
    downlink::OpenDownlinks,
    error::{Error, Result},
    message::{BackfillProgress, Rights},
    stats::{Bytes, Devices, Stats, Tally, WorkerStats},
    sync,
    wire::Traffic,
};

/// What the session and the callbacks' thread write, and every thread can read and wait for.
pub(crate) struct Status {
    connected: AtomicBool,
    /// Whether no marker came back that could prove that the broker delivers what a group shares.
    sharing_unproved: AtomicBool,
    /// The key that the session uses.
    access_key: Mutex<AccessKey>,
    tally: Tally,
    /// How many downlinks are open, if devices are watched.
    open_downlinks: Option<OpenDownlinks>,
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
    /// The workers, by number, and the last end up to which each has handled everything.
    workers: Vec<(u64, u64)>,
}

impl Ends {
    /// Returns whether those who are awaited have come to this end.
    fn are_told(&self, number: u64, awaited: Awaited) -> bool {
        let workers = || self.workers.iter().all(|(_, told)| *told >= number);
        (!awaited.callbacks || self.told >= number) && (!awaited.workers || workers())
    }
}

/// Whom a call of `close` or `wait` waits for, besides the session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited {
    pub(crate) callbacks: bool,
    pub(crate) workers: bool,
}

fn devices(options: &Options) -> Devices {
    let devices = Devices::new(options.counter_watch);
    match options.device_watch {
        true => devices.watching(options.silence_after),
        false => devices,
    }
}

impl Status {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            connected: AtomicBool::default(),
            sharing_unproved: AtomicBool::default(),
            access_key: Mutex::new(options.access_key.clone()),
            tally: Tally::new(devices(options)),
            open_downlinks: options.device_watch.then(OpenDownlinks::new),
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

    pub(crate) fn is_sharing_unproved(&self) -> bool {
        self.sharing_unproved.load(Ordering::Acquire)
    }

    pub(super) fn set_sharing_unproved(&self) {
        self.sharing_unproved.store(true, Ordering::Release);
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

    /// Returns what counts the open downlinks, if anything does.
    pub(super) fn counts_open(&self) -> Option<OpenDownlinks> {
        self.open_downlinks.clone()
    }

    /// Returns how many downlinks are open, by device id.
    pub(crate) fn open_downlinks(&self) -> HashMap<Arc<str>, usize> {
        let open = self.open_downlinks.as_ref();
        open.map_or_else(HashMap::new, OpenDownlinks::copy)
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
    pub(crate) fn stats(&self, waiting: usize, workers: Vec<WorkerStats>) -> Stats {
        self.tally.snapshot(
            waiting,
            workers,
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

    /// Notes that a worker gets what follows, unless it has left already. Called by the session, which alone
    /// closes the client.
    pub(super) fn worker_starts(&self, worker: u64, has_left: impl Fn() -> bool) {
        let mut ends = self.lock();
        if !has_left() {
            let told = ends.count;
            ends.workers.push((worker, told));
        }
    }

    /// Notes that a worker has handled everything up to an end.
    pub(crate) fn worker_told(&self, worker: u64, number: u64) {
        let mut ends = self.lock();
        for (known, told) in &mut ends.workers {
            if *known == worker {
                *told = number.max(*told);
            }
        }
        self.changed.notify_all();
    }

    /// Notes that a worker handles nothing more.
    pub(crate) fn worker_left(&self, worker: u64) {
        self.lock().workers.retain(|(known, _)| *known != worker);
        self.changed.notify_all();
    }

    /// Waits until those who are awaited have come to an end. Returns `false` if the deadline passes first.
    pub(crate) fn wait_until_told(&self, number: u64, awaited: Awaited, deadline: Instant) -> bool {
        self.wait_until(Some(deadline), |ends| ends.are_told(number, awaited))
    }

    /// Waits until the client is closed, and those who are awaited have come to that end. Returns `false` if
    /// the deadline passes first.
    pub(crate) fn wait_until_closed(
        &self,
        awaited: impl Fn() -> Awaited,
        deadline: Option<Instant>,
    ) -> bool {
        self.wait_until(deadline, |ends| {
            !ends.open && ends.are_told(ends.count, awaited())
        })
    }

    fn wait_until(&self, deadline: Option<Instant>, condition: impl Fn(&Ends) -> bool) -> bool {
        let ends = sync::wait_until(&self.ends, &self.changed, deadline, &condition);
        condition(&ends)
    }
}
