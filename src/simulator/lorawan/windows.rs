//! The schedule of the receive windows, and of downlink events that are held back.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex},
    time::Instant,
};

use super::DeviceId;
use crate::simulator::sync::{lock, wait, wait_until};

/// When a receive window closes, and a number that distinguishes it from others.
pub(crate) type WindowKey = (Instant, u64);

/// The open receive windows by the time they close.
#[derive(Default)]
pub(crate) struct Windows {
    schedule: Mutex<Schedule>,
    changed: Condvar,
}

#[derive(Default)]
struct Schedule {
    /// Application and device id; `None` for the time of a delivery.
    entries: BTreeMap<WindowKey, Option<(String, String)>>,
    /// How many entries there have been.
    count: u64,
    halted: bool,
}

impl Windows {
    pub(crate) fn open(&self, closes: Instant, id: DeviceId<'_>) -> WindowKey {
        self.enter(closes, Some((id.app_id.to_owned(), id.dev_id.to_owned())))
    }

    /// Schedules a delivery of messages.
    pub(crate) fn deliver_at(&self, at: Instant) {
        self.enter(at, None);
    }

    fn enter(&self, at: Instant, device: Option<(String, String)>) -> WindowKey {
        let mut schedule = lock(&self.schedule);
        schedule.count += 1;
        let key = (at, schedule.count);
        schedule.entries.insert(key, device);
        self.changed.notify_all();
        key
    }

    pub(crate) fn forget(&self, key: WindowKey) {
        lock(&self.schedule).entries.remove(&key);
    }

    /// Calls `close` for each window when it is due, and `deliver` after each entry, until halted.
    pub(crate) fn run(&self, close: impl Fn(DeviceId<'_>, WindowKey), deliver: impl Fn()) {
        let mut schedule = lock(&self.schedule);
        while !std::mem::take(&mut schedule.halted) {
            let Some((&key, _)) = schedule.entries.first_key_value() else {
                schedule = wait(&self.changed, schedule);
                continue;
            };
            if Instant::now() < key.0 {
                schedule = wait_until(&self.changed, schedule, key.0);
                continue;
            }
            let due = schedule.entries.remove(&key);
            drop(schedule);
            if let Some((app_id, dev_id)) = due.flatten() {
                let (app_id, dev_id) = (app_id.as_str(), dev_id.as_str());
                close(DeviceId { app_id, dev_id }, key);
            }
            deliver();
            schedule = lock(&self.schedule);
        }
    }

    pub(crate) fn halt(&self) {
        lock(&self.schedule).halted = true;
        self.changed.notify_all();
    }
}
