//! Filling gaps: when to fetch what was missed, and how it is delivered. Live messages come first: a fetched
//! uplink is delivered only while every subscriber has room for more.

mod account;
mod written_off;

use std::{
    collections::VecDeque,
    convert::Infallible,
    ops::Range,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Session, receiving::Receiving};
use crate::{
    api::{Api, Hosts},
    backfill::{
        self, Bound, Fetched, Heard, Known, LastHeard, Ledger, Outcome, Parcel, Seam, Task,
    },
    clock::Moment,
    config::{AccessKey, Backfill, Options},
    error::{Error, ErrorKind},
    message::{Backfilled, Event, Marks, Place, UplinkMessage},
    sync,
};
use account::Account;
use written_off::WrittenOff;

/// How many parcels of fetched uplinks wait for their delivery.
const WAITING: usize = 8;

/// How many parcels are delivered before the session looks at its other channels.
const BURST: usize = 4;

/// How soon to look again whether the subscribers have room.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(5);

/// How long a request may take to connect and to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A request of the user to fill a time.
pub(crate) struct FillRequest {
    pub(crate) time: Range<SystemTime>,
    pub(crate) reply: Sender<Arc<Backfilled>>,
}

/// What the session fills. Without [`Backfill`], nothing.
pub(super) struct Filling {
    parts: Option<Parts>,
    /// Where fetched uplinks arrive, with the number of their run.
    fetched: Receiver<Parcel>,
    out: Sender<Parcel>,
}

struct Parts {
    settings: Backfill,
    api: Api,
    uid: String,
    seam: Arc<Seam>,
    ledger: Ledger,
    run: Option<Run>,
    /// The number of the last run.
    last: u64,
    requests: VecDeque<FillRequest>,
    /// A gap to fill after what the user asked for and is being filled.
    gap: Option<(Bound, Bound)>,
    /// The rest of a parcel, which begins with an uplink for which there was no room.
    held: VecDeque<Fetched>,
    /// What later reports are not about.
    written_off: Arc<Mutex<WrittenOff>>,
}

/// A thread that fetches.
struct Run {
    number: u64,
    /// `None` for a gap.
    request: Option<FillRequest>,
    account: Account,
    started: Instant,
    /// Dropped to stop the thread.
    _stop: Sender<Infallible>,
}

impl Filling {
    pub(super) fn new(options: &Options) -> Self {
        let (out, fetched) = bounded(WAITING);
        let parts = || {
            let settings = options.backfill.clone()?;
            let api = Api::new(
                Hosts::of(options)?,
                options,
                options.access_key.clone(),
                TIMEOUT,
            );
            let resume_from = options.resume_from.clone();
            let time = resume_from.as_ref().map(|watermark| watermark.time());
            Some(Parts {
                api,
                uid: options.app_id.clone(),
                seam: Arc::new(Seam::new(settings.max_known, settings.overlap, resume_from)),
                ledger: Ledger::new(settings.is_automatic, time),
                settings,
                run: None,
                last: 0,
                requests: VecDeque::new(),
                gap: None,
                held: VecDeque::new(),
                written_off: Arc::default(),
            })
        };
        Self {
            parts: parts(),
            fetched,
            out,
        }
    }

    /// Returns the channel to read, unless an uplink waits for room.
    pub(super) fn fetched(&self) -> Option<&Receiver<Parcel>> {
        let parts = self.parts.as_ref()?;
        (parts.run.is_some() && parts.held.is_empty()).then_some(&self.fetched)
    }

    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let parts = self.parts.as_ref()?;
        let room = (!parts.held.is_empty()).then(|| now + LOOK_FOR_ROOM);
        [room, parts.ledger.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Uses another key from now on.
    pub(super) fn key_changed(&mut self, key: &AccessKey) {
        if let Some(parts) = &mut self.parts {
            parts.api = parts.api.with_key(key.clone());
        }
    }

    /// Notes that messages were dropped before they were read.
    pub(super) fn dropped(&mut self) {
        if let Some(parts) = &mut self.parts {
            parts.ledger.dropped(Instant::now());
        }
    }

    pub(super) fn disconnected(&mut self) {
        if let Some(parts) = &mut self.parts {
            parts.ledger.disconnected();
        }
    }

    /// Gives an uplink that came over MQTT its place. Returns `false` if it was delivered before, because it
    /// was fetched.
    pub(super) fn is_news(&mut self, event: &mut Event, now: Moment) -> bool {
        let Some(parts) = &mut self.parts else {
            return true;
        };
        if let Event::Activation(join) = event {
            sync::lock(&parts.written_off).forget(&join.dev_id);
        }
        let Event::Uplink(uplink) = event else {
            return true;
        };
        if uplink.raw.is_retained() {
            return true;
        }
        let Some(at) = uplink.received_at.or(uplink.metadata.time) else {
            return true;
        };
        let low = parts.ledger.live(at, now);
        let number = match parts.seam.deliver(uplink, at, false) {
            Known::New(number) => number,
            // The network delivers it again, which the frame counters show.
            Known::Live(number) => number,
            Known::Before | Known::Handled => return false,
        };
        Arc::make_mut(uplink).place = parts.place(number, low);
        parts.forget(low);
        true
    }
}

impl Run {
    /// Reports the end to the subscribers, and to the user who asked for the run.
    fn end(self, outcome: Outcome, receiving: &mut Receiving) -> Arc<Backfilled> {
        let report = Arc::new(self.account.close(outcome));
        log::debug!("backfill: {report:?}");
        receiving.report(Event::Backfilled(Arc::clone(&report)));
        if let Some(request) = self.request {
            // Nobody may wait for it.
            let _ = request.reply.send(Arc::clone(&report));
        }
        report
    }
}

impl Parts {
    fn place(&self, number: u64, low: SystemTime) -> Place {
        let marks: Arc<dyn Marks> = Arc::<Seam>::clone(&self.seam);
        Place::new(number, self.seam.hold(low), marks)
    }

    /// Forgets what no window, and no watermark of an uplink that exists, includes any longer.
    fn forget(&self, low: SystemTime) {
        let kept = self.settings.overlap.max(self.settings.recheck);
        let low = low.min(self.seam.oldest_low());
        if let Some(time) = low.checked_sub(kept) {
            self.seam.forget_before(time);
        }
    }
}

impl Session {
    /// Fills the gap before a connection.
    pub(super) fn fill_gap(&mut self) {
        let now = Moment::now();
        let Some(parts) = &mut self.filling.parts else {
            return;
        };
        if let Some(from) = parts.ledger.connected(now) {
            parts.gap = Some((from, Bound::Here(now)));
            // What is being fetched for the gap belongs to the longer one.
            if parts.run.as_ref().is_none_or(|run| run.request.is_none()) {
                self.start_next();
            }
        }
    }

    /// Fills a time that the user names, after what is being filled now.
    pub(super) fn fill(&mut self, request: FillRequest) {
        if let Some(parts) = &mut self.filling.parts {
            parts.requests.push_back(request);
            if parts.run.is_none() {
                self.start_next();
            }
        }
    }

    pub(super) fn fill_on_time(&mut self) {
        let now = Moment::now();
        self.take_held();
        let Some(parts) = &mut self.filling.parts else {
            return;
        };
        if let Some(from) = parts.ledger.on_time(now.instant) {
            parts.gap = Some((from, Bound::Here(now)));
            if parts.run.is_none() {
                self.start_next();
            }
        }
    }

    pub(super) fn on_fetched(&mut self, first: Parcel) {
        self.take_parcel(first);
        for _ in 1..BURST {
            let is_live = !self.receiving.signals().is_empty();
            let Some(fetched) = self.filling.fetched().filter(|_| !is_live) else {
                break;
            };
            let Ok(next) = fetched.try_recv() else { break };
            self.take_parcel(next);
        }
        self.show_progress();
    }

    fn take_parcel(&mut self, (number, parcel): Parcel) {
        let Some(parts) = &mut self.filling.parts else {
            return;
        };
        if parts.run.as_ref().is_some_and(|run| run.number == number) {
            parts.held.extend(parcel);
            self.take_held();
        }
    }

    /// Deals with what was handed over, until there is no room for an uplink.
    fn take_held(&mut self) {
        loop {
            let Some(parts) = &mut self.filling.parts else {
                return;
            };
            let is_uplink = matches!(parts.held.front(), Some(Fetched::Uplink(_)));
            if is_uplink && !self.receiving.have_room(Instant::now()) {
                return;
            }
            let Some(fetched) = parts.held.pop_front() else {
                return;
            };
            self.take_fetched(fetched);
        }
    }

    fn take_fetched(&mut self, fetched: Fetched) {
        let Some(parts) = &mut self.filling.parts else {
            return;
        };
        let Some(run) = &mut parts.run else { return };
        match fetched {
            Fetched::Source(source) => run.account.source = Some(source),
            Fetched::Uplink(uplink) => self.deliver_fetched(uplink),
            Fetched::Trace { dev_id, at } => {
                if !parts.seam.has_near(&dev_id, at) {
                    let mut written_off = sync::lock(&parts.written_off);
                    if run.account.trace(dev_id.clone(), at) {
                        written_off.trace(dev_id);
                    }
                }
            }
            Fetched::Reached(time) => {
                run.account.reached = run.account.reached.max(Some(time));
                if run.request.is_none() {
                    parts.ledger.reached(time);
                }
            }
            Fetched::Mark(mark) => drop(mark),
            Fetched::Ended(outcome) => self.end_run(outcome),
        }
    }

    /// Delivers an uplink that was fetched.
    fn deliver_fetched(&mut self, mut uplink: Box<UplinkMessage>) {
        let moment = Moment::now();
        let Some(parts) = &mut self.filling.parts else {
            return;
        };
        let Some(run) = &mut parts.run else { return };
        let at = uplink.received_at.or(uplink.metadata.time);
        let at = at.unwrap_or(moment.time);
        let number = match parts.seam.deliver(&uplink, at, true) {
            Known::New(number) => number,
            known => {
                run.account.known += 1;
                if known == Known::Handled {
                    self.receiving.note_handled(&uplink, moment);
                }
                return;
            }
        };
        run.account.delivered += 1;
        uplink.place = parts.place(number, parts.ledger.low_at(at, moment));
        self.receiving.fill(Arc::from(uplink), moment);
    }

    fn start_run(&mut self, from: Bound, until: Bound, request: Option<FillRequest>) {
        let status = Arc::clone(&self.status);
        let Some(parts) = &mut self.filling.parts else {
            return;
        };
        let written_off = Arc::clone(&parts.written_off);
        let heard: Arc<Heard> = Arc::new(move |dev_id: &str, by: SystemTime| {
            let (counter, missing) = status.tally().devices().last_heard(dev_id, by)?;
            Some(LastHeard {
                counter,
                missing,
                uncovered: sync::lock(&written_off).of(dev_id),
            })
        });
        parts.last += 1;
        parts.held.clear();
        self.filling.fetched.try_iter().for_each(drop);
        let (stop, stopped) = bounded(0);
        // What an earlier run for the gap has handed over counts too.
        let account = parts
            .run
            .take()
            .map_or_else(Account::default, |run| run.account);
        if !account.has_traces() {
            sync::lock(&parts.written_off).forget_traces();
        }
        let task = Task {
            api: parts.api.clone(),
            uid: parts.uid.clone(),
            settings: parts.settings.clone(),
            from,
            until,
            is_on_request: request.is_some(),
            heard,
        };
        parts.run = Some(Run {
            number: parts.last,
            request,
            account,
            started: Instant::now(),
            _stop: stop,
        });
        let number = parts.last;
        let started = backfill::start(task, number, self.filling.out.clone(), stopped);
        if let Err(cause) = started {
            let outcome = Outcome::failed(from, until, Error::no_thread(cause));
            self.end_run(outcome);
        }
        self.show_progress();
    }

    fn end_run(&mut self, outcome: Outcome) {
        let Some(parts) = &mut self.filling.parts else {
            return;
        };
        let Some(run) = parts.run.take() else { return };
        if run.request.is_none() {
            parts.ledger.ended(outcome.is_settled, outcome.reached);
            if outcome.is_settled {
                parts.seam.is_caught_up();
            }
        }
        let is_final = run.request.is_none() && outcome.is_settled;
        let report = run.end(outcome, &mut self.receiving);
        if is_final {
            sync::lock(&parts.written_off).report(&report);
        }
        self.show_progress();
        self.start_next();
    }

    /// Starts to fill the gap, or else what the user has asked for next.
    fn start_next(&mut self) {
        let Some(parts) = &mut self.filling.parts else {
            return;
        };
        if let Some((from, until)) = parts.gap.take() {
            self.start_run(from, until, None);
        } else if let Some(request) = parts.requests.pop_front() {
            let Range { start, end } = request.time;
            self.start_run(Bound::Network(start), Bound::Network(end), Some(request));
        }
    }

    /// Ends what is being filled, and what waits, because the client is closed.
    pub(super) fn stop_filling(&mut self) {
        let Some(parts) = &mut self.filling.parts else {
            return;
        };
        parts.ledger.disconnected();
        parts.held.clear();
        parts.gap = None;
        self.filling.fetched.try_iter().for_each(drop);
        let requests = std::mem::take(&mut parts.requests);
        let run = parts.run.take();
        parts.ledger.stopped();
        let now = Moment::now();
        let low = parts.ledger.low_at(now.time, now);
        let closed = || Error::new(ErrorKind::Closed, "the client was closed during a backfill");
        if let Some(run) = run {
            let time = run.request.as_ref().map(|request| request.time.clone());
            let time = time.unwrap_or(low..now.time.max(low));
            let outcome = Outcome::failed(
                Bound::Network(time.start),
                Bound::Network(time.end),
                closed(),
            );
            run.end(outcome, &mut self.receiving);
        }
        for FillRequest { time, reply } in requests {
            let (start, end) = (Bound::Network(time.start), Bound::Network(time.end));
            let outcome = Outcome::failed(start, end, closed());
            let _ = reply.send(Arc::new(Account::default().close(outcome)));
        }
        self.show_progress();
    }

    fn show_progress(&self) {
        let run = self
            .filling
            .parts
            .as_ref()
            .and_then(|parts| parts.run.as_ref());
        let progress = run.map(|run| run.account.progress(run.started.elapsed()));
        self.status.set_backfill(progress);
        self.receiving
            .fills_gap(run.is_some_and(|run| run.request.is_none()));
    }
}
