//! The account of a backfill.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::json;
use crate::error::Error;

/// The content of [`Event::Backfilled`](super::Event::Backfilled): what a backfill has fetched, and what it could
/// not.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Backfilled {
    /// The start of the time to fill, by the network's clock.
    #[serde(serialize_with = "json::time")]
    pub from: SystemTime,
    /// The end of it.
    #[serde(serialize_with = "json::time")]
    pub until: SystemTime,
    /// Where the uplinks came from; `None` if nothing there answered.
    pub source: Option<BackfillSource>,
    /// Uplinks that the network sent: the sum of `delivered`, `known` and `unreadable`.
    pub fetched: u64,
    /// Those that this client did not have: each became an [`Event::Uplink`](super::Event::Uplink).
    pub delivered: u64,
    /// Those that it had delivered before, or that came twice.
    pub known: u64,
    /// Those that could not be read.
    pub unreadable: u64,
    /// Requests that were answered.
    pub requests: u32,
    /// What was not filled, and why.
    pub uncovered: Vec<Uncovered>,
    /// The last error, if one ended the backfill.
    pub error: Option<Error>,
}

/// How far a backfill has got that runs; returned by
/// [`MqttClient::backfill_progress`](crate::MqttClient::backfill_progress).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackfillProgress {
    /// Uplinks that were delivered so far.
    pub delivered: u64,
    /// Uplinks that this client had delivered before.
    pub known: u64,
    /// The time, by the network's clock, up to which everything is fetched; `None` at first.
    pub reached: Option<SystemTime>,
    /// How long it has been running.
    pub running_for: Duration,
}

/// Where a backfill gets uplinks from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BackfillSource {
    /// The Storage Integration of a hosted network.
    Storage,
    /// The backlog of the event stream, on a server that keeps events.
    Events,
}

/// A time that a backfill did not fill, or not for certain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Uncovered {
    /// The start of that time, by the network's clock.
    #[serde(serialize_with = "json::time")]
    pub from: SystemTime,
    /// The end of it.
    #[serde(serialize_with = "json::time")]
    pub until: SystemTime,
    /// Why.
    pub reason: UncoveredReason,
    /// The number of uplinks that are missing; `None` if nobody knows.
    pub uplinks: Option<u64>,
    /// The devices that have sent something then, as far as they are known.
    pub devices: Vec<UncoveredDevice>,
}

/// A device with uplinks that a backfill did not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UncoveredDevice {
    /// The device id.
    pub dev_id: String,
    /// The number of its uplinks; `None` if nobody knows.
    pub uplinks: Option<u64>,
}

/// Why a backfill did not fill a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UncoveredReason {
    /// It is further back than [`Backfill::max_age`](crate::Backfill::max_age).
    TooOld,
    /// The network does not keep uplinks for so long, or not so many.
    NotKept,
    /// The network keeps no uplinks for this application: no storage, and no events.
    NotEnabled,
    /// The network only knows that devices have sent something, not what.
    OnlyCounted,
    /// The network limits the rate of requests, and the backfill gave up.
    RateLimited,
    /// The network refused the requests, for example because the key lacks a right.
    Refused,
    /// The answers broke off, or did not come.
    CutOff,
}
