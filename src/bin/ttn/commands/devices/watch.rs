//! Listening for devices, until the time is over or somebody wants to end.

use std::{
    io::{self, IsTerminal},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use ttn::{
    Backfilled, Event, MqttClient, Overflow,
    crossbeam_channel::{Receiver, after, never, select, tick},
};

use crate::{
    escape::escaped, interrupt, lines, options, output, progress::Progress, reader, status::Status,
    threads,
};

/// How often the table is renewed.
const RENEWAL: Duration = Duration::from_secs(1);

/// How often the progress bar moves.
const GLANCE: Duration = Duration::from_millis(200);

/// How many events may wait. They are only news of the connection.
const WAITING: usize = 100;

pub(super) struct Watch {
    pub(super) client: MqttClient,
    pub(super) since: Option<SystemTime>,
    pub(super) time: Option<Duration>,
    pub(super) ends_with_backfill: bool,
    pub(super) is_shown: bool,
}

impl Watch {
    /// Connects, fetches what was asked for, and listens. `show` gets what is going on, each second.
    ///
    /// # Errors
    ///
    /// Those of `show`, and if the client cannot connect or is closed.
    pub(super) fn run(self, mut show: impl FnMut(&str) -> Result<()>) -> Result<Status> {
        let signals = interrupt::receive()?;
        let gone = reader::watch();
        let events = self.client.events_with(WAITING, Overflow::DropOldest);
        let mut connected = threads::spawn("connect", {
            let client = self.client.clone();
            move || client.connect()
        })?;
        let mut fetched = never();
        let mut deadline = self.time.map_or_else(never, after);
        let renewals = if self.is_shown {
            tick(RENEWAL)
        } else {
            never()
        };
        let shows_progress = !self.is_shown && io::stderr().is_terminal();
        let glances = if shows_progress {
            tick(GLANCE)
        } else {
            never()
        };
        let mut progress = Progress::default();
        let mut news = "connecting".to_owned();
        let mut status = Status::Done;
        show(&news)?;
        loop {
            select! {
                recv(signals) -> _ => return Ok(Status::of_signal(self.waits_for_backfill())),
                recv(gone) -> _ => return Ok(Status::Done),
                recv(deadline) -> _ => return Ok(status),
                recv(connected) -> outcome => {
                    outcome.context("a thread has panicked")??;
                    connected = never();
                    // The time is that of listening.
                    deadline = self.time.map_or_else(never, after);
                    fetched = self.fetch()?;
                }
                recv(fetched) -> outcome => {
                    fetched = never();
                    if let Some(missing) = missing(outcome.context("a thread has panicked")?) {
                        self.note(&missing.text, &mut news);
                        status = missing.status;
                    }
                    if self.ends_with_backfill {
                        return Ok(status);
                    }
                }
                recv(events.receiver()) -> event => match event {
                    Ok(Event::Closed(closed)) => match closed.error {
                        Some(error) => return Err(error.into()),
                        None => bail!("the client was closed"),
                    },
                    Ok(event @ (Event::Connected(_) | Event::ConnectFailed(_) | Event::Disconnected(_))) => {
                        self.note(&lines::text(&event), &mut news);
                        show(&news)?;
                    }
                    Ok(_) => {}
                    Err(_) => bail!("the client has ended"),
                },
                recv(renewals) -> _ => match self.client.backfill_progress() {
                    Some(_) => show(&format!("{news}; fetching earlier uplinks"))?,
                    None => show(&news)?,
                },
                recv(glances) -> _ => progress.show(self.client.backfill_progress()),
            }
        }
    }

    fn waits_for_backfill(&self) -> bool {
        self.ends_with_backfill && self.since.is_some()
    }

    /// Shows news, or tells them.
    fn note(&self, text: &str, news: &mut String) {
        if self.is_shown {
            *news = escaped(text).into_owned();
        } else {
            output::note(text);
        }
    }

    fn fetch(&self) -> Result<Receiver<ttn::Result<Backfilled>>> {
        let Some(since) = self.since else {
            return Ok(never());
        };
        let backfilling = self.client.backfill(since..SystemTime::now())?;
        threads::spawn("fetch", move || backfilling.wait())
    }
}

/// What a backfill has not fetched.
struct Missing {
    text: String,
    status: Status,
}

fn missing(fetched: ttn::Result<Backfilled>) -> Option<Missing> {
    let (text, has_failed) = match fetched {
        Err(error) => (format!("cannot fetch earlier uplinks: {error}"), true),
        Ok(report) if report.uncovered.is_empty() && report.error.is_none() => return None,
        Ok(report) => (report.to_string(), report.error.is_some()),
    };
    let status = match has_failed {
        true => Status::Failed,
        // The network cannot tell what it does not keep from what was never sent.
        false => Status::Done,
    };
    let text = options::named(&text);
    Some(Missing { text, status })
}
