//! The uplinks that the network has stored.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
    time::{Duration, SystemTime},
};

use fastrand::Rng;

use super::storage::{Access, Storage};
use crate::simulator::{json, sync::lock};

/// What the storage holds.
pub(super) struct Stored(Mutex<State>);

struct State {
    /// `None` if there is no storage.
    settings: Option<Storage>,
    /// By application, in the order of their times.
    records: HashMap<String, Vec<Record>>,
    random: Rng,
}

/// A stored uplink.
pub(super) struct Record {
    pub(super) received: SystemTime,
    /// When it can be read.
    shown: SystemTime,
    dev_id: String,
    port: u32,
    /// As JSON text.
    pub(super) message: String,
}

/// Which records are asked for.
pub(super) struct Filter<'a> {
    pub(super) dev_id: Option<&'a str>,
    pub(super) after: Option<SystemTime>,
    pub(super) before: Option<SystemTime>,
    pub(super) last: Option<Duration>,
    pub(super) port: Option<u32>,
}

/// Which of them come, and in which order.
pub(super) struct Page {
    pub(super) limit: u32,
    pub(super) is_falling: bool,
}

impl Stored {
    pub(super) fn new(random: Rng) -> Self {
        Self(Mutex::new(State {
            settings: None,
            records: HashMap::new(),
            random,
        }))
    }

    /// Returns whether applications can read what is stored; `None` without a storage.
    pub(super) fn access(&self) -> Option<Access> {
        let state = lock(&self.0);
        state.settings.as_ref().map(|settings| settings.access)
    }

    /// Changes how it behaves. What is stored stays, unless the storage goes.
    pub(super) fn set(&self, settings: Option<Storage>) {
        let mut state = lock(&self.0);
        if settings.is_none() {
            state.records.clear();
        }
        state.settings = settings;
    }

    /// Stores an uplink, if there is a storage.
    pub(super) fn add(
        &self,
        (uid, dev_id): (&str, &str),
        received: SystemTime,
        now: SystemTime,
        message: &str,
    ) {
        let mut state = lock(&self.0);
        let State {
            settings,
            records,
            random,
        } = &mut *state;
        let Some(settings) = settings.as_ref() else {
            return;
        };
        if settings.access == Access::NotEnabled {
            return;
        }
        let jitter = settings.write_jitter.mul_f64(random.f64());
        let delay = settings.write_delay.saturating_add(jitter);
        let (port, kept) = kept(message, settings.keeps_all_members);
        let record = Record {
            received,
            shown: now.checked_add(delay).unwrap_or(now),
            dev_id: dev_id.to_owned(),
            port,
            message: kept,
        };
        let records = records.entry(uid.to_owned()).or_default();
        let oldest = now.checked_sub(settings.retention);
        let is_gone = |record: &Record| oldest.is_some_and(|oldest| record.received <= oldest);
        let gone = records.partition_point(is_gone);
        if gone > records.len() / 2 {
            records.drain(..gone);
        }
        let at = records.partition_point(|known| known.received <= record.received);
        records.insert(at, record);
    }

    /// Returns what `show` makes of the records of a page.
    pub(super) fn page(
        &self,
        uid: &str,
        filter: &Filter<'_>,
        page: &Page,
        now: SystemTime,
        show: impl Fn(&Record) -> Vec<u8>,
    ) -> Vec<Vec<u8>> {
        let mut state = lock(&self.0);
        let State {
            settings,
            records,
            random,
        } = &mut *state;
        let Some(settings) = settings.as_ref() else {
            return Vec::new();
        };
        let found = settings.matching(records.get(uid), filter, now);
        let copies = settings.copies();
        let copied = |record: &Record| vec![show(record); copies];
        let limit = page.limit.min(settings.page_cap) as usize;
        let mut frames: Vec<Vec<u8>> = match page.is_falling {
            true => found.rev().flat_map(copied).take(limit).collect(),
            false => found.flat_map(copied).take(limit).collect(),
        };
        if settings.shuffled {
            random.shuffle(&mut frames);
        }
        frames
    }

    /// Returns how many records each device has.
    pub(super) fn count(
        &self,
        uid: &str,
        filter: &Filter<'_>,
        now: SystemTime,
    ) -> BTreeMap<String, usize> {
        let state = lock(&self.0);
        let mut counts = BTreeMap::new();
        if let Some(settings) = &state.settings {
            for record in settings.matching(state.records.get(uid), filter, now) {
                *counts.entry(record.dev_id.clone()).or_default() += settings.copies();
            }
        }
        counts
    }
}

impl Storage {
    fn copies(&self) -> usize {
        1 + usize::from(self.doubled)
    }

    /// Returns the records that are asked for and can be read, by time.
    fn matching<'a>(
        &self,
        records: Option<&'a Vec<Record>>,
        filter: &'a Filter<'_>,
        now: SystemTime,
    ) -> impl DoubleEndedIterator<Item = &'a Record> {
        let records = records.map_or(&[][..], Vec::as_slice);
        let is_open = self.access != Access::NotEnabled;
        let after = [
            filter.after,
            filter.last.and_then(|last| now.checked_sub(last)),
            now.checked_sub(self.retention),
        ];
        let after = after.into_iter().flatten().max();
        let first =
            records.partition_point(|record| after.is_some_and(|after| record.received <= after));
        let includes = self.before_inclusive;
        let end = records.partition_point(|record| match filter.before {
            Some(before) => record.received < before || includes && record.received == before,
            None => true,
        });
        let found = records.get(first..end.max(first)).unwrap_or_default();
        found.iter().filter(move |record| {
            is_open
                && record.shown <= now
                && filter.dev_id.is_none_or(|dev_id| record.dev_id == dev_id)
                && filter.port.is_none_or(|port| record.port == port)
        })
    }
}

/// Returns the port of an uplink, and its message as the storage keeps it.
fn kept(message: &str, keeps_all_members: bool) -> (u32, String) {
    let mut port = 0;
    let kept = json::rebuilt(message, |name, value| match name {
        "uplink_message" => Some(json::rebuilt(value, |name, value| {
            if name == "f_port" {
                port = value.parse().unwrap_or_default();
            }
            match name {
                _ if keeps_all_members => Some(value.to_owned()),
                "session_key_id" => None,
                "rx_metadata" => {
                    let entries = json::items(value).into_iter();
                    let entries = entries.map(|entry| json::without(entry, "uplink_token"));
                    Some(json::array(entries))
                }
                _ => Some(value.to_owned()),
            }
        })),
        _ if keeps_all_members => Some(value.to_owned()),
        "correlation_ids" => None,
        "end_device_ids" => Some(json::without(value, "join_eui")),
        _ => Some(value.to_owned()),
    });
    (port, kept)
}
