//! The options of a backfill.

use std::time::Duration;

use crate::{
    error::{Error, Result},
    message::BackfillSource,
};

/// How to fetch uplinks that the client has missed; set with
/// [`MqttClientBuilder::backfill`](crate::MqttClientBuilder::backfill). v3 only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backfill {
    pub(crate) is_automatic: bool,
    pub(crate) source: Option<BackfillSource>,
    pub(crate) max_age: Duration,
    pub(crate) overlap: Duration,
    pub(crate) passes: Vec<Duration>,
    pub(crate) recheck: Duration,
    pub(crate) page_size: u32,
    pub(crate) reserve: u32,
    pub(crate) max_wait: Duration,
    pub(crate) max_known: usize,
    pub(crate) counts_uncovered: bool,
}

impl Default for Backfill {
    fn default() -> Self {
        Self {
            is_automatic: true,
            source: None,
            max_age: Duration::from_secs(24 * 3600),
            overlap: Duration::from_secs(60),
            passes: [0, 60, 300].map(Duration::from_secs).to_vec(),
            recheck: Duration::from_secs(600),
            page_size: 1_000,
            reserve: 2,
            max_wait: Duration::from_secs(60),
            max_known: 100_000,
            counts_uncovered: true,
        }
    }
}

impl Backfill {
    /// Fills each gap after a reconnect, from the source that the network has.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fills nothing unasked: [`MqttClient::backfill`](crate::MqttClient::backfill) does.
    pub fn on_request() -> Self {
        Self {
            is_automatic: false,
            ..Self::default()
        }
    }

    /// Uses one source only.
    pub fn source(mut self, source: BackfillSource) -> Self {
        self.source = Some(source);
        self
    }

    /// Sets how far back to fetch at most.
    pub fn max_age(mut self, time: Duration) -> Self {
        self.max_age = time;
        self
    }

    /// Sets how much before and after a gap to look.
    pub fn overlap(mut self, time: Duration) -> Self {
        self.overlap = time;
        self
    }

    /// Sets when to read storage, counted from the reconnect.
    pub fn passes(mut self, delays: impl IntoIterator<Item = Duration>) -> Self {
        self.passes = delays.into_iter().collect();
        self
    }

    /// Sets how far back the passes after the first one look.
    pub fn recheck(mut self, time: Duration) -> Self {
        self.recheck = time;
        self
    }

    /// Sets how many uplinks to ask storage for at a time.
    pub fn page_size(mut self, uplinks: u32) -> Self {
        self.page_size = uplinks;
        self
    }

    /// Sets how many requests to leave to other programs with the same key.
    pub fn reserve(mut self, requests: u32) -> Self {
        self.reserve = requests;
        self
    }

    /// Sets the longest wait between two requests.
    pub fn max_wait(mut self, time: Duration) -> Self {
        self.max_wait = time;
        self
    }

    /// Sets how many delivered uplinks to remember, so that none is delivered twice.
    pub fn max_known(mut self, uplinks: usize) -> Self {
        self.max_known = uplinks;
        self
    }

    /// Sets whether to ask for the counters of devices where something stays uncovered.
    pub fn count_uncovered(mut self, counts: bool) -> Self {
        self.counts_uncovered = counts;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if !(1..=1_000).contains(&self.page_size) {
            return Err(Error::config(format!(
                "the page size of a backfill is {}; networks allow 1 to 1000",
                self.page_size
            )));
        }
        if self.passes.is_empty() {
            return Err(Error::config("a backfill needs at least one pass"));
        }
        Ok(())
    }
}
