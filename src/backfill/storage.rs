//! Reading the Storage Integration.

use std::{sync::Arc, time::SystemTime};

use super::{
    gate::Turn,
    handover::Stopped,
    pager::{Found, Next, Pager, Query},
    passes::{Pass, Passes},
    run::{End, Refused, Run},
    seam,
    window::Window,
};
use crate::{
    api::{Failure, Flaw, Frames, Stored},
    error::{Error, ErrorKind},
    message::{BackfillSource, Event, UncoveredReason},
    network::Frame,
    records,
};

const SOURCE: BackfillSource = BackfillSource::Storage;

/// What storage keeps, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Unknown,
    /// Nothing at all is stored.
    Nothing,
    /// The oldest uplink that was seen.
    Since(SystemTime),
}

impl Run<'_> {
    pub(super) fn read_storage(&mut self, window: &Window) -> Result<End, Stopped> {
        let mut passes = match self.task.is_on_request {
            true => Passes::once(self.reconnect()),
            false => Passes::after(self.reconnect(), self.settings()),
        };
        let mut reach = Reach::Unknown;
        let mut next = passes.next(window);
        let mut is_first = true;
        while let Some(pass) = next {
            next = passes.next(window);
            self.handover.wait_until(pass.at)?;
            let turn = Turn::wait(
                self.task.api.server(),
                self.task.api.key(),
                self.handover.stop(),
            )?;
            let mut end = self.read_pass(window, &pass, &mut reach)?;
            let is_in_doubt = match reach {
                Reach::Since(_) => is_first && !reach.covers(window),
                _ => is_first || next.is_none(),
            };
            if matches!(end, End::Done) && is_in_doubt {
                end = self.find_reach(&mut reach)?;
            }
            drop(turn);
            if !matches!(end, End::Done) {
                return Ok(end);
            }
            if is_first && reach == Reach::Nothing && self.settings().source.is_none() {
                // Storage is probably not enabled, and the events do not stay for long.
                if matches!(self.read_events(window)?, End::Done) {
                    return Ok(End::Done);
                }
                self.faults.on_progress();
            }
            is_first = false;
            if self.has_reach(reach, window) {
                self.reached(window, pass.settled)?;
            }
        }
        match reach {
            Reach::Nothing => {
                self.uncovered(window.from, window.until, UncoveredReason::NotEnabled);
            }
            Reach::Since(oldest) => {
                let until = oldest.min(window.until);
                self.uncovered(window.from, until, UncoveredReason::NotKept);
            }
            Reach::Unknown => {}
        }
        Ok(End::Done)
    }

    /// Returns whether nothing will be reported as not kept at the end.
    fn has_reach(&self, reach: Reach, window: &Window) -> bool {
        reach.covers(window) || self.task.is_on_request
    }

    /// Reads the window, or the end of it.
    fn read_pass(
        &mut self,
        window: &Window,
        pass: &Pass,
        reach: &mut Reach,
    ) -> Result<End, Stopped> {
        let mut pager = Pager::new(*window, pass.after, self.settings().page_size);
        let mut was_empty = false;
        loop {
            let query = pager.query();
            let answer = self.ask(SOURCE, |api| match &query {
                Query::After { after, limit } => api.stored(Stored::After {
                    after: *after,
                    limit: *limit,
                }),
                Query::Token(token) => api.stored(Stored::Next(token)),
            })?;
            let frames = match answer {
                Ok(frames) => frames,
                Err(Refused::Query(end)) => match pager.on_refused() {
                    Some(_) => continue,
                    None => return Ok(end),
                },
                Err(Refused::End(End::Absent)) => {
                    self.task.api.note_no_storage();
                    return Ok(End::Absent);
                }
                Err(Refused::End(end)) => return Ok(end),
            };
            self.has_answered(SOURCE)?;
            let limits = frames.limits;
            let has_end = frames.has_end;
            let failure = self.read_page(frames, &mut pager, reach)?;
            if failure.is_none() && pager.is_empty() && !has_end && !was_empty {
                // It may have been cut off before the first uplink.
                was_empty = true;
                self.rate.on_answer(limits, false);
                continue;
            }
            was_empty = false;
            self.rate.on_answer(limits, pager.is_productive());
            if pager.is_productive() {
                self.faults.on_progress();
            }
            if let Some(failure) = failure {
                pager.on_fault();
                self.doubt(pager.take_doubtful());
                match self.faults.on_fault() {
                    Some(wait) => self.handover.wait(wait)?,
                    None => return Ok(self.cut_off(SOURCE, &failure)),
                }
                continue;
            }
            let next = pager.on_end();
            self.doubt(pager.take_doubtful());
            if let Some(last) = pager.last().filter(|_| self.has_reach(*reach, window)) {
                self.reached(window, last.min(pass.settled))?;
            }
            match next {
                Next::Ask(_) => {}
                Next::Done => return Ok(End::Done),
                Next::Stuck => return Ok(self.stuck()),
            }
        }
    }

    /// Hands over a page. Returns why it broke off, if it did.
    fn read_page(
        &mut self,
        mut frames: Frames,
        pager: &mut Pager,
        reach: &mut Reach,
    ) -> Result<Option<Failure>, Stopped> {
        pager.on_head(frames.token.take());
        let (mut readable, mut garbage) = (0_u64, 0_u64);
        loop {
            let Some(frame) = frames.next() else { break };
            let json = match frame {
                Ok(Frame::Up { json, .. }) if is_message(json) => json,
                Ok(_) => {
                    garbage += 1;
                    pager.on_unreadable();
                    continue;
                }
                Err(Flaw::Unreadable) => {
                    garbage += 1;
                    pager.on_unreadable();
                    continue;
                }
                Err(Flaw::Silent { .. }) => return Ok(Some(silent())),
                Err(Flaw::Broken(failure)) => return Ok(Some(failure)),
            };
            readable += 1;
            let Some(uplink) = self.uplink(json) else {
                pager.on_unreadable();
                continue;
            };
            let at = uplink.received_at.or(uplink.metadata.time);
            reach.note(at);
            match pager.on_uplink(at, seam::key(&uplink)) {
                Found::New | Found::Twice => {
                    self.hand_uplink(Arc::unwrap_or_clone(uplink))?;
                }
                // In case the server does not keep to the order, the rest of the page is read too.
                Found::Known | Found::Later => {}
            }
        }
        // Something else than storage has answered.
        if readable == 0 && garbage > 0 {
            return Ok(Some(Failure::Unreadable {
                why: "none of its lines is a stored uplink".to_owned(),
                source: None,
            }));
        }
        self.outcome.unreadable += garbage;
        Ok(None)
    }

    /// Asks for the oldest uplink of all.
    fn find_reach(&mut self, reach: &mut Reach) -> Result<End, Stopped> {
        loop {
            let mut frames = match self.ask(SOURCE, |api| api.stored(Stored::Oldest))? {
                Ok(frames) => frames,
                Err(Refused::End(end) | Refused::Query(end)) => return Ok(end),
            };
            self.rate.on_answer(frames.limits, false);
            let mut oldest = None;
            let failure = loop {
                match frames.next() {
                    None => break None,
                    Some(Ok(Frame::Up { json, .. })) => {
                        if let Ok(Event::Uplink(uplink)) = records::message(json, &self.task.uid) {
                            let at = uplink.received_at.or(uplink.metadata.time);
                            oldest = oldest.into_iter().chain(at).min();
                        }
                    }
                    Some(Ok(_) | Err(Flaw::Unreadable)) => {}
                    Some(Err(Flaw::Silent { .. })) => break Some(silent()),
                    Some(Err(Flaw::Broken(failure))) => break Some(failure),
                }
            };
            reach.note(oldest);
            match failure {
                Some(failure) if oldest.is_none() => match self.faults.on_fault() {
                    Some(wait) => self.handover.wait(wait)?,
                    None => return Ok(self.cut_off(SOURCE, &failure)),
                },
                _ => {
                    if *reach == Reach::Unknown {
                        *reach = Reach::Nothing;
                    }
                    return Ok(End::Done);
                }
            }
        }
    }

    fn stuck(&self) -> End {
        let server = self.api.server();
        End::Failed {
            reason: UncoveredReason::CutOff,
            is_settled: true,
            error: Error::new(
                ErrorKind::DiscoveryAnswer,
                format!(
                    "cannot fetch all missed uplinks from the Storage Integration of {server}: it answers each \
                     request with the same page, or with one that cannot be read; report that to its operator"
                ),
            ),
        }
    }
}

/// Returns whether something is at least meant to be a stored uplink.
fn is_message(json: &[u8]) -> bool {
    let has = |name: &[u8]| json.windows(name.len()).any(|part| part == name);
    has(b"\"end_device_ids\"") || has(b"\"endDeviceIds\"")
}

pub(super) fn silent() -> Failure {
    Failure::Unreadable {
        why: "it stops in the middle".to_owned(),
        source: None,
    }
}

impl Reach {
    fn note(&mut self, at: Option<SystemTime>) {
        let Some(at) = at else { return };
        *self = match *self {
            Self::Since(oldest) => Self::Since(oldest.min(at)),
            Self::Unknown | Self::Nothing => Self::Since(at),
        };
    }

    /// Returns whether storage keeps what came before the window too, so that it keeps all of the window.
    fn covers(self, window: &Window) -> bool {
        matches!(self, Self::Since(oldest) if oldest <= window.from)
    }
}
