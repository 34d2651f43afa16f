//! The thread that fetches.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    sync::Arc,
    time::{Instant, SystemTime},
};

use crossbeam_channel::Sender;

use super::{
    Bound, Fetched, Outcome, Parcel, Task,
    faults::Faults,
    handover::{Handover, Stopped},
    network_clock::NetworkClock,
    pager,
    rate::Rate,
    verdict::{self, Verdict},
    window::{self, Window},
};
use crate::{
    api::{Api, Failure, Frames},
    clock::Moment,
    config::Backfill,
    error::{Error, ErrorKind},
    message::{BackfillSource, Event, Uncovered, UncoveredReason, UplinkMessage},
    process, records,
    sync::Stop,
};

/// How many uplinks to remember beyond a page: those that cannot be read, and those of a stream.
pub(super) const MAX_REMEMBERED: usize = 10_000;

/// How many of the longest waits to wait before asking once more after a refused right: two minutes.
const RIGHT_WAITS: u32 = 2;

/// Starts a thread that fetches. What it hands over comes with this number. It ends early when the other end of
/// `stop` is gone; otherwise [`Fetched::Ended`] is the last that it hands over.
pub(crate) fn start(task: Task, number: u64, out: Sender<Parcel>, stop: Stop) -> io::Result<()> {
    process::start_thread("ttn-backfill", move || {
        let mut last = Last::new(&task, Arc::new(Handover::new(number, out, stop)));
        let mut run = Run::new(task, &last.handover);
        let outcome = match run.run() {
            Ok(()) => run.outcome,
            Err(Stopped) => Outcome {
                is_settled: false,
                ..run.outcome
            },
        };
        last.outcome = outcome;
    })?;
    Ok(())
}

/// Hands over the outcome at the end, also that of a panic.
struct Last {
    handover: Arc<Handover>,
    outcome: Outcome,
}

impl Last {
    fn new(task: &Task, handover: Arc<Handover>) -> Self {
        let error = Error::new(
            ErrorKind::Closed,
            "fetching missed uplinks ended early, because of a defect of this crate",
        );
        Self {
            handover,
            outcome: Outcome::failed(task.from, task.until, error),
        }
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        self.handover
            .hand_last(Fetched::Ended(self.outcome.clone()));
    }
}

/// How reading a source ends.
#[derive(Debug)]
pub(super) enum End {
    /// It was read, as far as it goes.
    Done,
    /// The network does not have this source, or does not use it for the application.
    Absent,
    /// It could not be read to the end.
    Failed {
        reason: UncoveredReason,
        is_settled: bool,
        error: Error,
    },
}

/// One backfill.
pub(super) struct Run<'a> {
    pub(super) api: Api,
    pub(super) task: Task,
    pub(super) handover: &'a Arc<Handover>,
    pub(super) clock: NetworkClock,
    pub(super) rate: Rate,
    pub(super) faults: Faults,
    pub(super) outcome: Outcome,
    /// The earliest time of the network's clock at which the connection after the gap may have been made: what
    /// came before that did not come over it.
    reconnected: SystemTime,
    /// Everything before that time was handed over.
    reached: Option<SystemTime>,
    /// The time in which something may have been left out.
    doubt: Option<(SystemTime, SystemTime)>,
    /// The uplinks that could not be read, which may come again.
    unreadable: HashSet<u64>,
}

impl<'a> Run<'a> {
    fn new(task: Task, handover: &'a Arc<Handover>) -> Self {
        let (from, until) = window::bounds(task.from, task.until, &NetworkClock::default());
        let settings = &task.settings;
        let flush = {
            let handover = Arc::clone(handover);
            // The call notices for itself that nobody wants the rest.
            move || {
                let _ = handover.flush();
            }
        };
        Self {
            api: task.api.until(handover.stop()).before_wait(flush),
            handover,
            clock: NetworkClock::default(),
            rate: Rate::new(settings.reserve, settings.max_wait),
            faults: Faults::new(settings.max_wait),
            outcome: Outcome::new(from, until),
            reconnected: from,
            reached: None,
            doubt: None,
            unreadable: HashSet::new(),
            task,
        }
    }

    pub(super) fn settings(&self) -> &Backfill {
        &self.task.settings
    }

    fn run(&mut self) -> Result<(), Stopped> {
        let window = self.window();
        self.handover.check()?;
        self.outcome.from = window.asked;
        self.outcome.until = window.until;
        self.outcome.is_settled = true;
        if matches!(self.task.from, Bound::Here(_)) && self.clock.is_known() {
            self.handover.hand(Fetched::Reached(window.asked))?;
        }
        if let Some((from, until)) = window.too_old() {
            self.uncovered(from, until, UncoveredReason::TooOld);
        }
        if !window.is_empty() {
            let (source, end) = self.fetch(&window)?;
            self.conclude(&window, source, end);
        }
        self.outcome.reached = self.outcome.is_settled.then(|| self.end_of(&window));
        if let Some((from, until)) = self.doubt {
            let (from, until) = (from.max(window.from), until.min(window.until));
            self.uncovered(from, until, UncoveredReason::CutOff);
        }
        self.count_uncovered()
    }

    /// Returns what to read, by the network's clock.
    fn window(&mut self) -> Window {
        let (from, until) = (self.task.from, self.task.until);
        if self.task.is_on_request {
            let (from, until) = window::bounds(from, until, &self.clock);
            self.reconnected = until;
            return Window::exactly(from, until);
        }
        let is_here = |bound| matches!(bound, Bound::Here(_));
        if is_here(from) || is_here(until) {
            let contact = self.api.first_contact();
            self.clock.note(contact.date, Moment::now());
            self.outcome.requests += u32::from(contact.date.is_some());
            let (from, until) = window::bounds(from, until, &self.clock);
            if until < from {
                // Uplinks have come after that: it is the wrong time.
                self.clock = NetworkClock::default();
            }
        }
        self.reconnected = match until {
            Bound::Network(time) => time,
            Bound::Here(moment) if self.clock.is_known() => self.clock.earliest(moment),
            Bound::Here(moment) => window::minus(moment.time, self.settings().overlap),
        };
        let (from, until) = window::bounds(from, until, &self.clock);
        let now = self.clock.latest(Moment::now());
        Window::of_gap(from, until, now, self.settings())
    }

    fn fetch(&mut self, window: &Window) -> Result<(BackfillSource, End), Stopped> {
        use BackfillSource::{Events, Storage};
        let only = self.settings().source;
        if only == Some(Events) || (only.is_none() && self.task.api.is_without_storage()) {
            return Ok((Events, self.read_events(window)?));
        }
        match self.read_storage(window)? {
            End::Absent if only.is_none() => Ok((Events, self.read_events(window)?)),
            end => Ok((Storage, end)),
        }
    }

    fn conclude(&mut self, window: &Window, source: BackfillSource, end: End) {
        let from = self.reached.unwrap_or(window.from).max(window.from);
        match end {
            End::Done => {}
            End::Absent => self.uncovered(from, window.until, UncoveredReason::NotEnabled),
            End::Failed {
                reason,
                is_settled,
                error,
            } => {
                log::debug!("the backfill from {source:?} has failed: {error}");
                self.outcome.is_settled = is_settled;
                self.outcome.error = Some(error);
                self.uncovered(from, window.until, reason);
            }
        }
    }

    /// Notes that a source has answered.
    pub(super) fn has_answered(&mut self, source: BackfillSource) -> Result<(), Stopped> {
        if self.outcome.source.replace(source) == Some(source) {
            return Ok(());
        }
        self.handover.hand(Fetched::Source(source))
    }

    /// Notes that a time is not filled, or not for certain.
    pub(super) fn uncovered(
        &mut self,
        from: SystemTime,
        until: SystemTime,
        reason: UncoveredReason,
    ) {
        if from < until {
            self.outcome.uncovered.push(Uncovered {
                from,
                until,
                reason,
                uplinks: None,
                devices: Vec::new(),
            });
        }
    }

    /// Notes times at which something may have been left out.
    pub(super) fn doubt(&mut self, times: Vec<SystemTime>) {
        for (from, until) in times.into_iter().map(pager::around) {
            let (first, last) = self.doubt.unwrap_or((from, until));
            self.doubt = Some((first.min(from), last.max(until)));
        }
    }

    /// Reports that everything before a time was handed over. What may have come over the connection after the
    /// gap is not part of that: the connection can be lost again.
    pub(super) fn reached(&mut self, window: &Window, time: SystemTime) -> Result<(), Stopped> {
        let time = time.min(self.end_of(window));
        if time <= self.reached.unwrap_or(window.from) {
            return Ok(());
        }
        self.reached = Some(time);
        // What is to be reported at the end belongs to the next backfill if this one does not get there.
        let is_doubtful = !self.outcome.uncovered.is_empty() || self.doubt.is_some();
        if is_doubtful || self.outcome.unreadable > 0 {
            return Ok(());
        }
        self.handover.hand(Fetched::Reached(time))
    }

    /// Returns up to when the window can be filled for certain.
    fn end_of(&self, window: &Window) -> SystemTime {
        window.until.min(self.reconnected)
    }

    pub(super) fn hand_uplink(&mut self, mut uplink: UplinkMessage) -> Result<(), Stopped> {
        uplink.backfilled = true;
        self.handover.hand(Fetched::Uplink(Box::new(uplink)))
    }

    /// Reads an uplink. One that cannot be read, or is not of the application, is counted.
    pub(super) fn uplink(&mut self, json: &[u8]) -> Option<Arc<UplinkMessage>> {
        match records::message(json, &self.task.uid) {
            Ok(Event::Uplink(uplink)) if !uplink.raw.topic().is_empty() => return Some(uplink),
            Ok(Event::Uplink(_)) => self.count_unreadable(json, "it is not of this application"),
            Err(error) => self.count_unreadable(json, &error.to_string()),
            Ok(_) => {}
        }
        None
    }

    /// Counts an uplink that cannot be read, once.
    fn count_unreadable(&mut self, json: &[u8], why: &str) {
        let mut hasher = DefaultHasher::new();
        json.hash(&mut hasher);
        let hash = hasher.finish();
        if self.unreadable.len() >= MAX_REMEMBERED || self.unreadable.insert(hash) {
            // It may quote the server.
            let why = match self.api.is_revealing(why) {
                true => "what is wrong with it repeats the access key",
                false => why,
            };
            log::debug!("a fetched uplink cannot be used: {why}");
            self.outcome.unreadable += 1;
        }
    }

    /// Sends a request until it is answered with frames. Returns `None` if the server does not accept what is
    /// asked for.
    pub(super) fn ask(
        &mut self,
        source: BackfillSource,
        request: impl Fn(&Api) -> Result<Frames, Failure>,
    ) -> Result<Result<Frames, Refused>, Stopped> {
        let mut was_without_right = false;
        loop {
            self.handover.wait(self.rate.pause())?;
            let answer = request(&self.api);
            self.clock.note(self.api.last_date(), Moment::now());
            let failure = match answer {
                Ok(frames) => {
                    self.outcome.requests += 1;
                    return Ok(Ok(frames));
                }
                Err(failure) => failure,
            };
            self.handover.check()?;
            let verdict = verdict::verdict(&failure);
            let mut wait = None;
            if let Failure::Refused(refusal) = &failure {
                self.outcome.requests += 1;
                if verdict == Verdict::Wait {
                    wait = self.rate.on_refusal(self.api.last_limits(), refusal.wait);
                }
            }
            match verdict {
                Verdict::Again => wait = self.faults.on_fault(),
                Verdict::NoRight if !was_without_right => {
                    was_without_right = true;
                    wait = Some(self.settings().max_wait.saturating_mul(RIGHT_WAITS));
                }
                Verdict::Absent => return Ok(Err(Refused::End(End::Absent))),
                Verdict::Ask => return Ok(Err(Refused::Query(self.failed(source, &failure)))),
                _ => {}
            }
            match wait {
                Some(wait) => self.handover.wait(wait)?,
                None => return Ok(Err(Refused::End(self.failed(source, &failure)))),
            }
        }
    }

    pub(super) fn failed(&self, source: BackfillSource, failure: &Failure) -> End {
        let (reason, is_settled) = verdict::reason(verdict::verdict(failure));
        End::Failed {
            reason,
            is_settled,
            error: verdict::error(source, self.api.server(), failure),
        }
    }

    /// Returns the end of a source whose answers broke off. Another attempt may bring more.
    pub(super) fn cut_off(&self, source: BackfillSource, failure: &Failure) -> End {
        End::Failed {
            reason: UncoveredReason::CutOff,
            is_settled: false,
            error: verdict::error(source, self.api.server(), failure),
        }
    }

    /// Returns when the client was connected again.
    pub(super) fn reconnect(&self) -> Instant {
        match self.task.until {
            Bound::Here(moment) => moment.instant,
            Bound::Network(_) => Instant::now(),
        }
    }
}

/// Why there are no frames.
pub(super) enum Refused {
    End(End),
    /// The server does not accept what was asked for; something else may do.
    Query(End),
}
