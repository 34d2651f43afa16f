//! Which page of storage to ask for next. Pure state.

use std::{
    collections::HashSet,
    mem,
    time::{Duration, SystemTime},
};

use super::window::{Window, minus};

/// How far before the last uplink the next page begins, most preferred first: several uplinks can have the
/// same time, and a page can end among them. How exactly storage compares times is not known.
const STEPS: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(1)];

/// How many pages in a row may lead no further in time. Uplinks of the same time fill a few.
const MAX_IDLE: u32 = 10;

/// The most keys of a page to remember.
const MAX_KEYS: usize = 10_000;

/// Goes through a window, page by page.
#[derive(Debug)]
pub(super) struct Pager {
    window: Window,
    /// The start of the time to go through.
    start: SystemTime,
    limit: u32,
    is_halved: bool,
    request: Query,
    /// The most uplinks that the server sends, if it has shown that these are fewer than the limit.
    cap: Option<u32>,
    /// Where the last page before a probe began, and its uplinks.
    probed: Option<(SystemTime, u32)>,
    /// Of the page that is being read.
    page: Page,
    last: Option<SystemTime>,
    /// That time when a page has last led further, and how many have not since.
    farthest: Option<SystemTime>,
    idle: u32,
    /// The uplinks of the page before, and of this one.
    known: [HashSet<u64>; 2],
    /// The instants at which uplinks may have been left out.
    doubtful: Vec<SystemTime>,
}

/// What to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Query {
    After { after: SystemTime, limit: u32 },
    Token(String),
}

#[derive(Clone, Debug, Default)]
struct Page {
    frames: u32,
    /// Those that did not come before.
    new: u32,
    is_past_end: bool,
    /// The times of the earliest one and of the latest one.
    first: Option<SystemTime>,
    latest: Option<SystemTime>,
    /// Whether they do not come in the order of their times.
    is_disordered: bool,
    /// What the server says about the page after it.
    token: Option<String>,
}

/// What to do with an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    New,
    /// It came before, on the page before this one.
    Known,
    /// It came before, on the same page.
    Twice,
    /// It is later than the window: there are no further pages to read.
    Later,
}

/// What to do after a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Ask(Query),
    Done,
    /// The server sends the same uplinks again, or none that can be read: no request leads any further.
    Stuck,
}

impl Pager {
    /// Begins with what is later than `after`.
    pub(super) fn new(window: Window, after: SystemTime, limit: u32) -> Self {
        Self {
            window,
            start: after,
            limit,
            is_halved: false,
            request: Query::After { after, limit },
            cap: None,
            probed: None,
            page: Page::default(),
            last: None,
            farthest: None,
            idle: 0,
            known: Default::default(),
            doubtful: Vec::new(),
        }
    }

    /// Returns what to ask for.
    pub(super) fn query(&self) -> Query {
        self.request.clone()
    }

    /// Returns the time of the last uplink.
    pub(super) fn last(&self) -> Option<SystemTime> {
        self.last
    }

    /// Returns whether the page has brought anything new so far.
    pub(super) fn is_productive(&self) -> bool {
        self.page.new > 0 && self.idle < MAX_IDLE
    }

    /// Returns whether nothing at all was on the page so far.
    pub(super) fn is_empty(&self) -> bool {
        self.page.frames == 0
    }

    /// Returns the times at which uplinks may have been left out, because more than a page have that time.
    pub(super) fn take_doubtful(&mut self) -> Vec<SystemTime> {
        mem::take(&mut self.doubtful)
    }

    /// Begins a page. `token` is what the head of the answer says about the next one.
    pub(super) fn on_head(&mut self, token: Option<String>) {
        self.page.token = token;
    }

    /// Notes an uplink of the page, with its time and what identifies it.
    pub(super) fn on_uplink(&mut self, at: Option<SystemTime>, key: u64) -> Found {
        self.page.frames = self.page.frames.saturating_add(1);
        let found = self.find(at, key);
        let here = &mut self.known[1];
        if here.len() < MAX_KEYS {
            here.insert(key);
        }
        found
    }

    fn find(&mut self, at: Option<SystemTime>, key: u64) -> Found {
        let page = &mut self.page;
        let latest = page.latest.map(|latest| minus(latest, STEPS[0]));
        page.is_disordered |= at.is_some() && at < latest;
        page.latest = page.latest.max(at);
        if at.is_some_and(|at| at > self.window.end) {
            self.page.is_past_end = true;
            return Found::Later;
        }
        self.last = self.last.max(at);
        self.page.first = self.page.first.into_iter().chain(at).min();
        let [before, here] = &self.known;
        let is_outside = at.is_some_and(|at| !self.window.contains(at));
        if is_outside || before.contains(&key) {
            return Found::Known;
        }
        if here.contains(&key) {
            return Found::Twice;
        }
        self.page.new += 1;
        Found::New
    }

    /// Notes something in the page that cannot be read, which is one of its uplinks all the same.
    pub(super) fn on_unreadable(&mut self) {
        self.page.frames = self.page.frames.saturating_add(1);
    }

    /// Decides at the end of a page.
    pub(super) fn on_end(&mut self) -> Next {
        let page = self.turn();
        if page.is_disordered {
            // A part of the uplinks is asked for by its last time, and that is not the latest one.
            let asked = self.asked_after().max(self.window.from);
            let latest = page.latest.unwrap_or(asked).min(self.window.until);
            self.doubtful.extend([asked, latest]);
        }
        if self.idle > MAX_IDLE {
            return Next::Stuck;
        }
        if page.is_past_end || page.frames == 0 {
            return self.after_probe(&page).unwrap_or(Next::Done);
        }
        if let Some(token) = page.token {
            return match self.request {
                Query::Token(ref before) if *before == token => Next::Stuck,
                _ => self.ask(Query::Token(token)),
            };
        }
        if let Query::Token(_) = self.request {
            return Next::Done;
        }
        let Some(last) = self.last else {
            let is_full = page.frames >= self.limit;
            return if is_full { Next::Stuck } else { Next::Done };
        };
        if let Some(next) = self.after_probe(&page) {
            return next;
        }
        let full = self.cap.unwrap_or(self.limit).min(self.limit);
        if page.frames >= full {
            return self.go_on(last);
        }
        // The oldest come first, so none before the end of the gap was left out.
        if last >= self.window.until || page.new == 0 {
            return Next::Done;
        }
        let asked = self.asked_after();
        self.probed = Some((asked, page.frames));
        let nearest = minus(last, STEPS[1]).max(asked);
        let has_earlier = page.first.is_some_and(|first| first <= nearest);
        self.ask_after(if has_earlier { nearest } else { last })
    }

    /// Decides after a page that was to show whether the one before was cut short.
    fn after_probe(&mut self, page: &Page) -> Option<Next> {
        let (after, frames) = self.probed.take()?;
        if page.new == 0 {
            return Some(Next::Done);
        }
        self.cap = Some(frames.max(page.frames));
        // Between the two pages uplinks may have been left out.
        let probed = self.asked_after();
        let after = step_back(probed, after).unwrap_or(probed);
        Some(self.ask_after(after))
    }

    /// Goes on after a full page.
    fn go_on(&mut self, last: SystemTime) -> Next {
        let asked = self.asked_after();
        match step_back(last, asked) {
            Some(after) => self.ask_after(after),
            None if last > asked => {
                self.doubtful.push(last);
                self.ask_after(last)
            }
            None => Next::Stuck,
        }
    }

    /// Decides after a page that broke off.
    pub(super) fn on_fault(&mut self) -> Query {
        let page = self.turn();
        self.probed = None;
        let asked = self.asked_after();
        let after = match (&self.request, self.last) {
            (Query::Token(_), Some(last)) => minus(last, STEPS[0]).max(self.start),
            (Query::After { .. }, Some(last)) if page.new > 0 => {
                step_back(last, asked).unwrap_or(asked)
            }
            // Nothing but what is known: it breaks off each time before anything else.
            (Query::After { .. }, Some(last)) if page.first.is_some() && last > asked => {
                step_back(last, asked).unwrap_or_else(|| {
                    self.doubtful.push(last);
                    last
                })
            }
            _ => asked,
        };
        self.ask_after(after);
        self.query()
    }

    /// Decides after a refusal of the limit, or of the token.
    pub(super) fn on_refused(&mut self) -> Option<Query> {
        if let Query::Token(_) = self.request {
            return Some(self.on_fault());
        }
        if self.is_halved || self.limit < 2 {
            return None;
        }
        self.is_halved = true;
        self.limit /= 2;
        self.ask_after(self.asked_after());
        Some(self.query())
    }

    /// Ends a page.
    fn turn(&mut self) -> Page {
        self.known.swap(0, 1);
        self.known[1].clear();
        if self.last > self.farthest {
            self.farthest = self.last;
            self.idle = 0;
        } else if self.page.frames > 0 {
            self.idle += 1;
        }
        mem::take(&mut self.page)
    }

    fn asked_after(&self) -> SystemTime {
        match &self.request {
            Query::After { after, .. } => *after,
            Query::Token(_) => self.start,
        }
    }

    fn ask_after(&mut self, after: SystemTime) -> Next {
        let limit = self.limit;
        self.ask(Query::After { after, limit })
    }

    fn ask(&mut self, query: Query) -> Next {
        self.request = query;
        Next::Ask(self.query())
    }
}

/// Returns a short time that contains an instant.
pub(super) fn around(at: SystemTime) -> (SystemTime, SystemTime) {
    (minus(at, STEPS[1]), at + STEPS[1])
}

/// Returns a time shortly before the last uplink that is later than what was asked for before.
fn step_back(last: SystemTime, asked: SystemTime) -> Option<SystemTime> {
    let steps = STEPS.iter().map(|step| minus(last, *step));
    steps.into_iter().find(|after| *after > asked)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::{config::Backfill, seeds::for_seeds};

    const SECOND: Duration = Duration::from_secs(1);

    fn at(milliseconds: u64) -> SystemTime {
        UNIX_EPOCH + SECOND * 1_800_000_000 + Duration::from_millis(milliseconds)
    }

    /// The window from 0 s to 1000 s.
    fn window() -> Window {
        let settings = Backfill::new().overlap(60 * SECOND);
        Window::of_gap(at(60_000), at(940_000), at(940_000), &settings)
    }

    /// What storage keeps, and how it answers.
    struct Storage {
        uplinks: Vec<(SystemTime, u64)>,
        cap: usize,
        requests: u32,
    }

    impl Storage {
        fn new(times: impl IntoIterator<Item = u64>) -> Self {
            let mut times: Vec<u64> = times.into_iter().collect();
            times.sort_unstable();
            let uplinks = times.into_iter().map(at).zip(0..);
            Self {
                uplinks: uplinks.collect(),
                cap: 1000,
                requests: 0,
            }
        }

        fn page(&mut self, query: &Query) -> Vec<(SystemTime, u64)> {
            self.requests += 1;
            let Query::After { after, limit } = query else {
                panic!("{query:?}");
            };
            let later = self.uplinks.iter().filter(|(at, _)| at > after);
            later.take(self.cap.min(*limit as usize)).copied().collect()
        }
    }

    /// Reads everything, and returns the keys of the uplinks that are new, in order.
    fn read(pager: &mut Pager, storage: &mut Storage) -> (Vec<u64>, Next) {
        let mut found = Vec::new();
        loop {
            pager.on_head(None);
            for (at, key) in storage.page(&pager.query()) {
                match pager.on_uplink(Some(at), key) {
                    Found::New => found.push(key),
                    Found::Known | Found::Twice | Found::Later => {}
                }
            }
            match pager.on_end() {
                Next::Ask(query) => assert_eq!(query, pager.query()),
                next => return (found, next),
            }
            assert!(storage.requests < 2_000, "{pager:?}");
        }
    }

    fn pager(limit: u32) -> Pager {
        let window = window();
        Pager::new(window, window.after, limit)
    }

    fn after(milliseconds: u64, limit: u32) -> Query {
        Query::After {
            after: at(milliseconds),
            limit,
        }
    }

    #[test]
    fn a_page_that_is_not_full_is_asked_for_once_more_and_an_empty_one_is_not() {
        let mut storage = Storage::new([10_000, 20_000, 30_000]);
        let mut pager = pager(1000);
        let (found, next) = read(&mut pager, &mut storage);
        assert_eq!((found, next), (vec![0, 1, 2], Next::Done));
        assert_eq!((storage.requests, pager.last()), (2, Some(at(30_000))));

        let mut storage = Storage::new([]);
        let (found, next) = read(&mut super::tests::pager(1000), &mut storage);
        assert_eq!((found.len(), next, storage.requests), (0, Next::Done, 1));
    }

    #[test]
    fn a_page_that_reaches_beyond_the_gap_needs_no_second_look() {
        let mut storage = Storage::new([10_000, 950_000]);
        let (found, _) = read(&mut pager(1000), &mut storage);
        assert_eq!((found.len(), storage.requests), (2, 1));
    }

    #[test]
    fn what_is_later_than_the_window_ends_it() {
        let mut storage = Storage::new((0..5_000).map(|index| index * 1_000));
        let mut pager = pager(100);
        let (found, next) = read(&mut pager, &mut storage);
        assert_eq!((found.len(), next), (1_000, Next::Done));
        assert!(storage.requests <= 12, "{}", storage.requests);
    }

    #[test]
    fn a_full_page_is_followed_by_one_that_begins_a_second_before_its_end() {
        let mut pager = pager(2);
        pager.on_head(None);
        pager.on_uplink(Some(at(10_000)), 1);
        pager.on_uplink(Some(at(20_000)), 2);
        assert_eq!(pager.on_end(), Next::Ask(after(19_000, 2)));
        assert_eq!(pager.on_uplink(Some(at(20_000)), 2), Found::Known);
        assert_eq!(pager.on_uplink(Some(at(20_000)), 3), Found::New);
        // The second is full, so it goes on within it.
        assert_eq!(pager.on_end(), Next::Ask(after(19_999, 2)));
    }

    #[test]
    fn an_unreadable_uplink_is_one_of_its_page() {
        let mut pager = pager(2);
        pager.on_uplink(Some(at(10_000)), 1);
        pager.on_unreadable();
        assert_eq!(pager.on_end(), Next::Ask(after(9_000, 2)));
    }

    #[test]
    fn a_double_on_a_page_is_told_from_what_two_pages_have_in_common() {
        let mut pager = pager(3);
        for found in [Found::New, Found::Twice] {
            assert_eq!(pager.on_uplink(Some(at(10_000)), 1), found);
        }
        assert_eq!(pager.on_uplink(Some(at(20_000)), 2), Found::New);
        pager.on_end();
        for _ in 0..2 {
            assert_eq!(pager.on_uplink(Some(at(20_000)), 2), Found::Known);
        }
    }

    #[test]
    fn a_page_of_the_same_time_is_passed_over_and_that_is_said() {
        let mut storage = Storage::new([5_000].into_iter().chain([10_000; 30]).chain([20_000]));
        let mut pager = pager(10);
        let (found, next) = read(&mut pager, &mut storage);
        assert_eq!(next, Next::Done);
        assert_eq!(found.first(), Some(&0));
        assert_eq!(found.last(), Some(&31));
        assert!(found.len() < 32);
        assert_eq!(pager.take_doubtful(), [at(10_000)]);
        assert!(pager.take_doubtful().is_empty());
    }

    #[test]
    fn the_last_page_of_a_time_leaves_no_doubt() {
        let mut storage = Storage::new([5_000; 10]);
        let mut pager = pager(1000);
        let (found, _) = read(&mut pager, &mut storage);
        assert_eq!(found.len(), 10);
        assert!(pager.take_doubtful().is_empty());
    }

    #[test]
    fn a_server_that_sends_the_same_page_for_ever_is_left() {
        let mut pager = pager(2);
        for _ in 0..10 {
            pager.on_uplink(Some(at(10_000)), 1);
            pager.on_uplink(Some(at(20_000)), 2);
            if pager.on_end() == Next::Stuck {
                return;
            }
        }
        panic!("{pager:?}");
    }

    #[test]
    fn a_page_without_one_that_can_be_read_is_left() {
        let mut pager = pager(2);
        pager.on_unreadable();
        pager.on_unreadable();
        assert_eq!(pager.on_end(), Next::Stuck);
    }

    #[test]
    fn the_token_of_the_server_leads_to_the_next_page() {
        let mut pager = pager(2);
        pager.on_head(Some("t1".to_owned()));
        pager.on_uplink(Some(at(10_000)), 1);
        assert_eq!(pager.on_end(), Next::Ask(Query::Token("t1".to_owned())));
        pager.on_head(Some("t1".to_owned()));
        pager.on_uplink(Some(at(20_000)), 2);
        assert_eq!(pager.on_end(), Next::Stuck);

        let mut pager = super::tests::pager(2);
        pager.on_head(Some("t1".to_owned()));
        pager.on_uplink(Some(at(10_000)), 1);
        pager.on_end();
        pager.on_head(None);
        pager.on_uplink(Some(at(20_000)), 2);
        assert_eq!(pager.on_end(), Next::Done);
    }

    #[test]
    fn a_token_that_is_refused_or_fails_is_replaced_by_a_time() {
        let mut pager = pager(2);
        pager.on_head(Some("t1".to_owned()));
        pager.on_uplink(Some(at(10_000)), 1);
        pager.on_end();
        assert_eq!(pager.on_refused(), Some(after(9_000, 2)));
    }

    #[test]
    fn a_limit_that_is_refused_is_halved_once() {
        let mut pager = pager(1000);
        assert_eq!(pager.on_refused(), Some(after(0, 500)));
        assert_eq!(pager.on_refused(), None);
        assert_eq!(super::tests::pager(1).on_refused(), None);
    }

    #[test]
    fn a_page_that_breaks_off_goes_on_after_what_has_come() {
        let mut pager = pager(1000);
        assert_eq!(pager.on_fault(), after(0, 1000));
        assert_eq!(pager.on_uplink(Some(at(10_000)), 1), Found::New);
        assert!(pager.is_productive());
        assert_eq!(pager.on_fault(), after(9_000, 1000));
        assert_eq!(pager.on_uplink(Some(at(10_000)), 1), Found::Known);
        assert_eq!(pager.on_uplink(Some(at(10_300)), 2), Found::New);
        assert_eq!(pager.on_fault(), after(9_300, 1000));
        assert_eq!(pager.on_fault(), after(9_300, 1000));
    }

    #[test]
    fn a_page_that_always_breaks_off_after_the_same_uplink_is_left_behind() {
        let mut pager = pager(1000);
        pager.on_uplink(Some(at(10_000)), 1);
        assert_eq!(pager.on_fault(), after(9_000, 1000));
        for next in [9_999, 10_000] {
            assert_eq!(pager.on_uplink(Some(at(10_000)), 1), Found::Known);
            assert!(!pager.is_productive());
            assert_eq!(pager.on_fault(), after(next, 1000));
        }
        assert_eq!(pager.take_doubtful(), [at(10_000)]);
    }

    #[test]
    fn every_uplink_of_the_window_is_found_whatever_the_pages() {
        let mut doubts = 0;
        for_seeds(2_000, |random| {
            let span = random.u64(20_000..1_100_000);
            let uplinks = random.usize(0..200);
            let times: Vec<u64> = (0..uplinks)
                .flat_map(|_| {
                    let time = random.u64(0..span);
                    vec![time; random.usize(1..4)]
                })
                .collect();
            let mut storage = Storage::new(times);
            storage.cap = random.usize(1..60);
            let limit = random.u32(1..60);
            let mut pager = pager(limit);
            let (found, next) = read(&mut pager, &mut storage);
            assert_eq!(next, Next::Done);
            if !pager.take_doubtful().is_empty() {
                doubts += 1;
                return;
            }
            // A cap of a few uplinks with the same time cannot be told from the end.
            if storage.cap > 8 {
                let window = window();
                let is_due = |at: SystemTime| at > window.after && at <= window.until;
                let due = storage.uplinks.iter().filter(|(at, _)| is_due(*at));
                for (_, key) in due {
                    assert!(
                        found.contains(key),
                        "{key}: limit {limit}, cap {}",
                        storage.cap
                    );
                }
            }
        });
        assert!(doubts < 1_000, "{doubts}");
    }
}
