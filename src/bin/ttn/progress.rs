//! The progress of a backfill, as a bar on standard error.

use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use ttn::BackfillProgress;

use crate::{lines::counted, output};

/// After how long without news the bar goes away: the client waits until it looks once more for uplinks that the
/// network shows late.
const STANDSTILL: Duration = Duration::from_secs(5);

/// A bar that is there while uplinks are fetched. Without a terminal there is none.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    /// The time to fetch, where the user has named it.
    begin: Option<SystemTime>,
    end: Option<SystemTime>,
    /// The first time that was reached.
    first: Option<SystemTime>,
    news: News,
}

/// Whether there is anything new.
#[derive(Debug, Default)]
struct News {
    /// How many uplinks were fetched, and since when.
    last: Option<(u64, Instant)>,
}

impl Progress {
    /// Creates that of a backfill from `begin` to `end`, if they are known.
    pub(crate) fn new(begin: Option<SystemTime>, end: Option<SystemTime>) -> Self {
        Self {
            bar: None,
            begin,
            end,
            first: None,
            news: News::default(),
        }
    }

    /// Shows how far a backfill has got.
    pub(crate) fn show(&mut self, progress: Option<BackfillProgress>) {
        let fetched = progress.as_ref().map(|it| it.delivered + it.known);
        let shown = progress.filter(|_| self.news.come(fetched, Instant::now()));
        let Some(progress) = shown else {
            return self.clear();
        };
        self.first = self.first.or(progress.reached);
        let begin = self.begin.or(self.first);
        let end = self.end.unwrap_or_else(SystemTime::now);
        let bar = self.bar.get_or_insert_with(|| {
            let bar = bar();
            output::above(Some(bar.clone()));
            bar
        });
        bar.set_message(counted(progress.delivered, "uplink"));
        bar.set_length(between(begin, Some(end)).max(1));
        bar.set_position(between(begin, progress.reached));
    }

    /// Takes the bar away.
    pub(crate) fn clear(&mut self) {
        self.first = None;
        if let Some(bar) = self.bar.take() {
            output::above(None);
            bar.finish_and_clear();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new(None, None)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Returns the seconds between two times, as far as they are known.
fn between(begin: Option<SystemTime>, end: Option<SystemTime>) -> u64 {
    let length = begin.zip(end).map(|(begin, end)| end.duration_since(begin));
    length.and_then(Result::ok).unwrap_or_default().as_secs()
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("fetching {bar:30} {percent:>3} %, {msg}");
    ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

impl News {
    /// Returns whether this number of fetched uplinks is news, or was a short time ago.
    fn come(&mut self, fetched: Option<u64>, now: Instant) -> bool {
        let Some(fetched) = fetched else {
            self.last = None;
            return false;
        };
        let since = match self.last {
            Some((before, since)) if before == fetched => since,
            _ => now,
        };
        self.last = Some((fetched, since));
        now - since < STANDSTILL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backfill_that_waits_has_no_news_until_it_fetches_again() {
        let mut news = News::default();
        let start = Instant::now();
        assert!(!news.come(None, start));
        assert!(news.come(Some(0), start));
        assert!(news.come(Some(7), start + Duration::from_secs(9)));
        assert!(news.come(Some(7), start + Duration::from_secs(13)));
        assert!(!news.come(Some(7), start + Duration::from_secs(14)));
        assert!(news.come(Some(8), start + Duration::from_secs(60)));
        assert!(!news.come(None, start + Duration::from_secs(61)));
        assert!(news.come(Some(8), start + Duration::from_secs(90)));
    }
}
