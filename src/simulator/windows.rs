//! Receive windows: which device has to be answered when. Held messages have their time here too.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use super::{lock, wait, wait_until};

/// When a receive window closes, and a number that tells it from others.
pub(super) type WindowKey = (Instant, u64);

/// The open receive windows by the time they close.
#[derive(Default)]
pub(super) struct Windows {
    schedule: Mutex<Schedule>,
    changed: Condvar,
}

#[derive(Default)]
struct Schedule {
    /// Application and device id; `None` is no window but the time of a held message.
    open: BTreeMap<WindowKey, Option<(String, String)>>,
    opened: u64,
    halted: bool,
}

impl Windows {
    pub(super) fn open(&self, closes: Instant, app_id: &str, dev_id: &str) -> WindowKey {
        self.enter(closes, Some((app_id.to_owned(), dev_id.to_owned())))
    }

    /// Something else than a window is due then.
    pub(super) fn remind(&self, at: Instant) {
        self.enter(at, None);
    }

    fn enter(&self, at: Instant, device: Option<(String, String)>) -> WindowKey {
        let mut schedule = lock(&self.schedule);
        schedule.opened += 1;
        let key = (at, schedule.opened);
        schedule.open.insert(key, device);
        self.changed.notify_all();
        key
    }

    pub(super) fn forget(&self, key: WindowKey) {
        lock(&self.schedule).open.remove(&key);
    }

    /// Closes windows in time until halted, and delivers what follows or was held.
    pub(super) fn run(&self, close: impl Fn(&str, &str, WindowKey), deliver: impl Fn()) {
        let mut schedule = lock(&self.schedule);
        while !std::mem::take(&mut schedule.halted) {
            let Some((&key, _)) = schedule.open.first_key_value() else {
                schedule = wait(&self.changed, schedule);
                continue;
            };
            if Instant::now() < key.0 {
                schedule = wait_until(&self.changed, schedule, key.0);
                continue;
            }
            let due = schedule.open.remove(&key);
            drop(schedule);
            if let Some((app_id, dev_id)) = due.flatten() {
                close(&app_id, &dev_id, key);
            }
            deliver();
            schedule = lock(&self.schedule);
        }
    }

    pub(super) fn halt(&self) {
        lock(&self.schedule).halted = true;
        self.changed.notify_all();
    }
}
