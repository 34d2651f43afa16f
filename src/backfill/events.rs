//! Reading the backlog of the event stream.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    Fetched,
    gate::Turn,
    handover::Stopped,
    run::{End, MAX_REMEMBERED, Refused, Run},
    seam,
    storage::silent,
    window::Window,
};
use crate::{
    api::{Failure, Flaw, Frames},
    message::{BackfillSource, UncoveredReason, UplinkMessage},
    network::Frame,
};

const SOURCE: BackfillSource = BackfillSource::Events;

/// How many events to ask for. A server keeps about a hundred, and sends no more than 1024.
const TAIL: u32 = 1_000;

/// The event of an uplink.
const UPLINK: &str = "as.up.data.forward";

/// The silence that ends the backlog: no mark does.
const SILENCE: Duration = Duration::from_millis(500);

/// How much longer than the head of the answer the silence is, on a slow line.
const SLOWER: u32 = 3;

/// How often to ask once more after a stream that was cut.
const REPEATS: u32 = 1;

/// What was read of the backlog.
#[derive(Debug, Default)]
struct Backlog {
    /// When the server began to answer, by its clock.
    asked: Option<SystemTime>,
    /// The times of the first and the last event.
    span: Option<(SystemTime, SystemTime)>,
    /// What was handed over.
    uplinks: HashSet<u64>,
    traces: HashSet<(String, SystemTime)>,
}

impl Run<'_> {
    pub(super) fn read_events(&mut self, window: &Window) -> Result<End, Stopped> {
        let _turn = Turn::wait(
            self.task.api.server(),
            self.task.api.key(),
            self.handover.stop(),
        )?;
        let mut backlog = Backlog::default();
        let mut repeats = REPEATS;
        // Up to where no event is missing.
        let mut covered = window.from;
        loop {
            let asked = Instant::now();
            let frames = match self.ask(SOURCE, |api| api.events(TAIL))? {
                Ok(frames) => frames,
                Err(Refused::End(end) | Refused::Query(end)) => return Ok(end),
            };
            self.rate.on_answer(frames.limits, true);
            if is_off(&frames) {
                return Ok(End::Absent);
            }
            self.has_answered(SOURCE)?;
            frames.set_idle(SILENCE.max(asked.elapsed() * SLOWER));
            let failure = self.read_backlog(frames, window, &mut backlog)?;
            // What is older than the first event is not kept. If there is none, nobody knows.
            let until = window.until;
            let (oldest, latest) = match (backlog.span.take(), &failure) {
                (Some((oldest, latest)), Some(_)) => (oldest, latest),
                (None, Some(_)) => (covered, covered),
                (span, None) => (span.map_or(until, |(oldest, _)| oldest), until),
            };
            self.uncovered(covered, oldest.min(until), UncoveredReason::NotKept);
            covered = covered.max(latest);
            let Some(failure) = failure else { break };
            if repeats == 0 {
                return Ok(self.cut_off(SOURCE, &failure));
            }
            // At once: each event takes the place of an older one.
            repeats -= 1;
        }
        self.reached(window, window.until)?;
        Ok(End::Done)
    }

    /// Hands over the backlog. Returns why it broke off, if it did.
    fn read_backlog(
        &mut self,
        mut frames: Frames,
        window: &Window,
        backlog: &mut Backlog,
    ) -> Result<Option<Failure>, Stopped> {
        backlog.asked = None;
        let began = Instant::now();
        loop {
            // Without its first event, nothing tells the backlog from what happens now.
            if backlog.asked.is_none() && began.elapsed() > self.settings().max_wait {
                return Ok(Some(silent()));
            }
            let Some(frame) = frames.next() else {
                // The stream of a server goes on for ever.
                return Ok(Some(silent()));
            };
            match frame {
                Ok(Frame::Started(at)) => backlog.asked = at,
                Ok(Frame::Up { json, at }) => {
                    if backlog.is_over(at) {
                        return Ok(None);
                    }
                    let Some(uplink) = self.uplink(json) else {
                        backlog.note(at);
                        continue;
                    };
                    let received = uplink.received_at.or(at);
                    backlog.note(received);
                    backlog.note(at);
                    if received.is_some_and(|at| window.contains(at)) && backlog.is_new(&uplink) {
                        self.hand_uplink(Arc::unwrap_or_clone(uplink))?;
                    }
                }
                Ok(Frame::Trace { name, dev_id, at }) => {
                    if backlog.is_over(Some(at)) {
                        return Ok(None);
                    }
                    backlog.note(Some(at));
                    if name == UPLINK && window.contains(at) && backlog.is_new_trace(&dev_id, at) {
                        self.hand_trace(window, dev_id, at)?;
                    }
                }
                Ok(Frame::Other(_) | Frame::Failed(_)) => {}
                Err(Flaw::Unreadable) => self.outcome.unreadable += 1,
                Err(Flaw::Silent { is_in_line: false }) => return Ok(None),
                Err(Flaw::Silent { is_in_line: true }) => return Ok(Some(silent())),
                Err(Flaw::Broken(failure)) => return Ok(Some(failure)),
            }
        }
    }

    fn hand_trace(
        &mut self,
        window: &Window,
        dev_id: String,
        at: SystemTime,
    ) -> Result<(), Stopped> {
        // What was before the gap was delivered, or reported at its end.
        if at <= window.from || at > window.until {
            return Ok(());
        }
        self.handover.hand(Fetched::Trace { dev_id, at })
    }
}

/// Returns whether the server says that it keeps no events.
fn is_off(frames: &Frames) -> bool {
    let warning = frames.warning.as_deref().unwrap_or_default();
    warning.to_ascii_lowercase().contains("not enabled")
}

impl Backlog {
    /// Returns whether an event has happened after the request, so that it is live.
    fn is_over(&self, at: Option<SystemTime>) -> bool {
        self.asked
            .is_some_and(|asked| at.is_some_and(|at| at > asked))
    }

    fn note(&mut self, at: Option<SystemTime>) {
        let Some(at) = at else { return };
        let (oldest, latest) = self.span.unwrap_or((at, at));
        self.span = Some((oldest.min(at), latest.max(at)));
    }

    fn is_new(&mut self, uplink: &UplinkMessage) -> bool {
        self.uplinks.len() >= MAX_REMEMBERED || self.uplinks.insert(seam::key(uplink))
    }

    fn is_new_trace(&mut self, dev_id: &str, at: SystemTime) -> bool {
        self.traces.len() >= MAX_REMEMBERED || self.traces.insert((dev_id.to_owned(), at))
    }
}
