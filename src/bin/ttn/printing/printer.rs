//! Which events are printed, and what is told about the others.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Result;
use ttn::{
    Backfilled, ErrorKind, Event, Recorder,
    crossbeam_channel::{Receiver, RecvTimeoutError},
};

use super::kind::Kind;
use crate::{
    lines::{self, Lines},
    losses::Losses,
    output,
};

/// How long before the end of a backfill the client looks once more, and a minute more.
const LATE: Duration = Duration::from_secs(660);

/// Prints events, and tells what they mean for the user.
#[derive(Debug)]
pub(crate) struct Printer {
    /// As JSON instead of lines for people.
    pub(crate) as_json: bool,
    /// Only what is about these devices, or about none; everything if there are none.
    pub(crate) devices: Vec<String>,
    pub(crate) kinds: Vec<Kind>,
    /// Gets every event.
    pub(crate) recorder: Option<Recorder>,
    /// How many to print.
    pub(crate) count: Option<u64>,
    /// Whether to end with the first backfill.
    pub(crate) is_backfill: bool,
    pub(crate) printed: u64,
    pub(crate) is_connected: bool,
    /// What is told and not printed.
    pub(crate) losses: Losses,
}

/// Why there is nothing more to print.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// There were as many as wanted.
    Enough,
    /// The backfill has ended.
    Backfilled(Arc<Backfilled>),
    /// The client is closed.
    Closed(Option<ttn::Error>),
}

impl Printer {
    /// Prints all events until there is a reason to end.
    pub(crate) fn print(&mut self, events: &Receiver<Event>) -> Result<End> {
        let end = self.print_all(events);
        tell_lost(self.losses.rest());
        end
    }

    fn print_all(&mut self, events: &Receiver<Event>) -> Result<End> {
        loop {
            tell_lost(self.losses.take(Instant::now()));
            let event = match self.losses.due(Instant::now()) {
                Some(due) => events.recv_deadline(due),
                None => events.recv().map_err(RecvTimeoutError::from),
            };
            match event {
                Ok(event) => {
                    if let Some(end) = self.take(&event)? {
                        return Ok(end);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(End::Closed(None)),
            }
        }
    }

    fn take(&mut self, event: &Event) -> Result<Option<End>> {
        if let Some(recorder) = &mut self.recorder {
            recorder.record(event)?;
        }
        if self.is_wanted(event) {
            self.write(event)?;
            self.printed += 1;
            if self.count.is_some_and(|count| self.printed >= count) {
                return Ok(Some(End::Enough));
            }
        } else if let Event::Lagged(lost) = event {
            self.losses.add(*lost);
        } else if self.is_told(event) {
            output::note(Lines::new(false).line(event, SystemTime::now()));
        }
        self.is_connected |= matches!(event, Event::Connected(_));
        Ok(match event {
            Event::Closed(closed) => Some(End::Closed(closed.error.clone())),
            Event::Backfilled(report) if self.is_backfill => {
                Some(End::Backfilled(Arc::clone(report)))
            }
            _ => None,
        })
    }

    fn write(&self, event: &Event) -> Result<()> {
        if self.as_json {
            return output::json(event);
        }
        let lines = Lines::new(console::colors_enabled());
        output::line(lines.line(event, SystemTime::now()))
    }

    fn is_wanted(&self, event: &Event) -> bool {
        let is_of_device = lines::device(event)
            .filter(|_| !self.devices.is_empty())
            .is_none_or(|device| self.devices.iter().any(|it| it == device));
        is_of_device && self.kinds.iter().any(|kind| kind.includes(event))
    }

    /// Returns whether to tell about an event that is not printed.
    fn is_told(&self, event: &Event) -> bool {
        match event {
            // The program ends with the reason.
            Event::ConnectFailed(_) => self.is_connected,
            Event::Connected(_) | Event::Disconnected(_) | Event::Malformed(_) => true,
            Event::Backfilled(report) => !self.is_backfill && is_news(report),
            // The library logs warnings about the key.
            _ => false,
        }
    }
}

/// Tells how many events were lost.
pub(crate) fn tell_lost(lost: Option<u64>) {
    if let Some(lost) = lost {
        output::note(Lines::new(false).line(&Event::Lagged(lost), SystemTime::now()));
    }
}

/// Returns whether an account says more than that this program has ended before the client looked a last time for
/// what the network shows late.
fn is_news(report: &Backfilled) -> bool {
    let error = report.error.as_ref();
    error.is_none_or(|error| error.kind() != ErrorKind::Closed)
        || report.uncovered.iter().any(|part| {
            let length = part.until.duration_since(part.from);
            length.is_ok_and(|length| length > LATE)
        })
}
