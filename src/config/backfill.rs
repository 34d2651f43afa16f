//! The options of a backfill.

use std::time::Duration;

use super::check::{DAY, MILLISECOND, YEAR, check_range};
use crate::{
    error::{Error, Result},
    message::BackfillSource,
};

/// The most passes of one backfill.
const MAX_PASSES: usize = 100;

/// How to fetch uplinks that the client has missed; set with
/// [`MqttClientBuilder::backfill`](crate::MqttClientBuilder::backfill). v3 only. The defaults suit hosted networks
/// and open source servers, so that most programs need [`new`](Self::new) only.
///
/// [Fetching what was missed](crate#fetching-what-was-missed) tells what a network keeps, for how long, and how to have
/// it keep anything.
///
/// ```
/// use std::time::Duration;
/// use ttn::{Backfill, MqttClient};
///
/// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
///     .cluster("eu1")
///     .backfill(Backfill::new().max_age(Duration::from_secs(6 * 3600)))
///     .build()?;
/// # Ok::<(), ttn::Error>(())
/// ```
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
            max_age: DAY,
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
    /// Fills each gap after a reconnect, from the source that the network has, with the defaults of the options
    /// below.
    ///
    /// ```
    /// assert_eq!(ttn::Backfill::new(), ttn::Backfill::default());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Fetches nothing unasked, not even after
    /// [`resume_from`](crate::MqttClientBuilder::resume_from): only
    /// [`MqttClient::backfill`](crate::MqttClient::backfill) does. The client remembers what it has delivered, and
    /// uplinks have a [watermark](crate::UplinkMessage::watermark), as with [`new`](Self::new).
    ///
    /// ```
    /// assert_ne!(ttn::Backfill::on_request(), ttn::Backfill::new());
    /// ```
    pub fn on_request() -> Self {
        Self {
            is_automatic: false,
            ..Self::default()
        }
    }

    /// Uses one source only. Defaults to both: storage, and the event stream if the network has no storage, or has
    /// stored nothing.
    ///
    /// ```
    /// use ttn::{Backfill, BackfillSource};
    ///
    /// let backfill = Backfill::new().source(BackfillSource::Events);
    /// ```
    pub fn source(mut self, source: BackfillSource) -> Self {
        self.source = Some(source);
        self
    }

    /// Sets how far back to fetch at most: 1 ms to a year before the moment at which the backfill starts. What is
    /// missing before that is reported as [`TooOld`](crate::UncoveredReason::TooOld). It does not limit a
    /// [time that the program names](crate::MqttClient::backfill). Defaults to 24 hours, for which The Things Network
    /// keeps uplinks; The Things Stack Cloud keeps them for 30 days.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let backfill = ttn::Backfill::new().max_age(Duration::from_secs(30 * 24 * 3600));
    /// ```
    pub fn max_age(mut self, time: Duration) -> Self {
        self.max_age = time;
        self
    }

    /// Sets how much before and after a gap to look as well: up to a day. Networks process uplinks in batches, on
    /// several servers, so that they come out of order by seconds. A longer overlap costs memory, because the client
    /// remembers what it has delivered in that time. Defaults to a minute.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let backfill = ttn::Backfill::new().overlap(Duration::from_secs(300));
    /// ```
    pub fn overlap(mut self, time: Duration) -> Self {
        self.overlap = time;
        self
    }

    /// Sets when to read storage, counted from the reconnect: 1 to 100 delays in rising order, each up to a day.
    /// An uplink can be read only some time after it has arrived, so that one pass misses the last ones. The backfill
    /// ends with the last pass, and [`Event::Backfilled`](crate::Event::Backfilled) comes then. The event stream is read
    /// once: at once, or after the first pass if that finds no storage. Defaults to three passes: at once, after a
    /// minute and after 5 minutes.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let backfill = ttn::Backfill::new().passes([0, 30].map(Duration::from_secs));
    /// ```
    pub fn passes(mut self, delays: impl IntoIterator<Item = Duration>) -> Self {
        self.passes = delays.into_iter().collect();
        self
    }

    /// Sets how far back the passes after the first one look, from the end of the gap: 1 ms to a day. Longer than
    /// storage takes to keep an uplink. Defaults to 10 minutes.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let backfill = ttn::Backfill::new().recheck(Duration::from_secs(3600));
    /// ```
    pub fn recheck(mut self, time: Duration) -> Self {
        self.recheck = time;
        self
    }

    /// Sets how many uplinks to ask storage for at a time: 1 to 1,000, which is what networks allow. The client reads
    /// and delivers them one by one, so that a large page needs no more memory. Defaults to 1,000.
    ///
    /// ```
    /// let backfill = ttn::Backfill::new().page_size(200);
    /// ```
    pub fn page_size(mut self, uplinks: u32) -> Self {
        self.page_size = uplinks;
        self
    }

    /// Sets how many of the requests that the network's rate limit allows to leave to other programs with the same
    /// key: up to 1,000. With fewer left, the backfill waits. Defaults to 2.
    ///
    /// ```
    /// let backfill = ttn::Backfill::new().reserve(5);
    /// ```
    pub fn reserve(mut self, requests: u32) -> Self {
        self.reserve = requests;
        self
    }

    /// Sets the longest wait between two requests, be it for the network's rate limit or after a failure: 1 ms to an
    /// hour. A key that lacks the right to read traffic gets twice this time for the right to take effect. Defaults to a
    /// minute.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let backfill = ttn::Backfill::new().max_wait(Duration::from_secs(10));
    /// ```
    pub fn max_wait(mut self, time: Duration) -> Self {
        self.max_wait = time;
        self
    }

    /// Sets how many delivered uplinks to remember, so that none is delivered twice: 1 to 10,000,000, at about 80
    /// bytes each. They are those of the [`overlap`](Self::overlap) or the [`recheck`](Self::recheck), whichever is
    /// longer, and of a backfill that runs. If there are more, the oldest ones are forgotten, and are delivered again if
    /// they come again. Defaults to 100,000.
    ///
    /// ```
    /// let backfill = ttn::Backfill::new().max_known(1_000_000);
    /// ```
    pub fn max_known(mut self, uplinks: usize) -> Self {
        self.max_known = uplinks;
        self
    }

    /// Sets whether to ask the network how many uplinks of each device stay uncovered, if the key has the right *View
    /// devices in application*: one request for a list of devices, and one a device for 100 of them. Nothing is asked if
    /// nothing stays uncovered, nor about a time that the program names. Defaults to `true`.
    ///
    /// ```
    /// let backfill = ttn::Backfill::new().count_uncovered(false);
    /// ```
    pub fn count_uncovered(mut self, counts: bool) -> Self {
        self.counts_uncovered = counts;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let zero = Duration::ZERO;
        check_range("max_age of backfill", self.max_age, MILLISECOND..=YEAR)?;
        check_range("overlap of backfill", self.overlap, zero..=DAY)?;
        check_passes(&self.passes)?;
        check_range("recheck of backfill", self.recheck, MILLISECOND..=DAY)?;
        check_range("page_size of backfill", self.page_size, 1..=1_000)?;
        check_range("reserve of backfill", self.reserve, 0..=1_000)?;
        let hour = DAY / 24;
        check_range("max_wait of backfill", self.max_wait, MILLISECOND..=hour)?;
        check_range("max_known of backfill", self.max_known, 1..=10_000_000)
    }
}

fn check_passes(passes: &[Duration]) -> Result<()> {
    check_range(
        "the number of passes of backfill",
        passes.len(),
        1..=MAX_PASSES,
    )?;
    for delay in passes {
        check_range(
            "a delay of the passes of backfill",
            *delay,
            Duration::ZERO..=DAY,
        )?;
    }
    if passes.is_sorted() {
        return Ok(());
    }
    Err(Error::config(format!(
        "the passes of backfill are {passes:?}; put them in rising order: each is a delay from the reconnect"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn passes(milliseconds: impl IntoIterator<Item = u64>) -> Backfill {
        Backfill::new().passes(milliseconds.into_iter().map(Duration::from_millis))
    }

    #[test]
    fn each_option_of_a_backfill_may_reach_its_ends() {
        let new = Backfill::new;
        for backfill in [
            new(),
            Backfill::on_request(),
            new().max_age(MILLISECOND),
            new().max_age(YEAR),
            new().overlap(Duration::ZERO),
            new().overlap(DAY),
            passes([0]),
            passes([0, 0, 5, 86_400_000]),
            passes(0..100),
            new().recheck(MILLISECOND),
            new().recheck(DAY),
            new().page_size(1),
            new().page_size(1_000),
            new().reserve(0),
            new().reserve(1_000),
            new().max_wait(MILLISECOND),
            new().max_wait(Duration::from_secs(3600)),
            new().max_known(1),
            new().max_known(10_000_000),
        ] {
            backfill.check().unwrap();
        }
    }

    #[test]
    fn an_option_of_a_backfill_that_is_out_of_range_is_named_with_its_value_and_its_limit() {
        let new = Backfill::new;
        for (backfill, words) in [
            (
                new().max_age(Duration::ZERO),
                "max_age of backfill is 0ns, it must be at least 1ms",
            ),
            (new().max_age(2 * YEAR), "max_age of backfill"),
            (
                new().overlap(2 * DAY),
                "overlap of backfill is 172800s, it must be at most 86400s",
            ),
            (
                passes([]),
                "the number of passes of backfill is 0, it must be at least 1",
            ),
            (passes(0..101), "the number of passes of backfill is 101"),
            (passes([0, 86_400_001]), "a delay of the passes of backfill"),
            (
                passes([0, 5_000, 1_000]),
                "the passes of backfill are [0ns, 5s, 1s]; put them in rising order",
            ),
            (new().recheck(Duration::ZERO), "recheck of backfill"),
            (
                new().page_size(0),
                "page_size of backfill is 0, it must be at least 1",
            ),
            (
                new().page_size(1_001),
                "page_size of backfill is 1001, it must be at most 1000",
            ),
            (new().reserve(1_001), "reserve of backfill"),
            (new().max_wait(Duration::ZERO), "max_wait of backfill"),
            (new().max_wait(DAY), "max_wait of backfill"),
            (new().max_known(0), "max_known of backfill"),
            (new().max_known(10_000_001), "max_known of backfill"),
        ] {
            let error = backfill.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn the_last_value_of_an_option_counts() {
        let backfill = Backfill::new()
            .source(BackfillSource::Storage)
            .source(BackfillSource::Events)
            .page_size(0)
            .page_size(9);
        backfill.check().unwrap();
        assert_eq!(backfill.source, Some(BackfillSource::Events));
        assert_eq!(backfill.page_size, 9);
    }
}
