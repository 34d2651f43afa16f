//! What goes to standard output and standard error. Never panics when nobody reads it.

use std::{
    error::Error,
    fmt,
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use serde::Serialize;
use ttn::{
    crossbeam_channel::{Receiver, Sender, bounded, select},
    serde_json,
};

use crate::{
    escape::{escaped_json, escaped_lines},
    interrupt,
};

/// How long standard output may take for a line after a signal.
const GRACE: Duration = Duration::from_secs(3);

/// The progress bar at the bottom of the terminal, above which everything is written.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Sets the progress bar above which everything is written from now on.
pub(crate) fn above(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// Writes a line to standard output at once, so that a reader behind a pipe gets it.
///
/// # Errors
///
/// If it cannot be written; with [`io::ErrorKind::BrokenPipe`] the reader has gone, and the program ends with
/// [`Status::Done`](crate::status::Status::Done).
pub(crate) fn line(text: impl fmt::Display) -> Result<()> {
    let write = || {
        let mut out = io::stdout().lock();
        // In one piece, so that what is written beside it does not come in between.
        out.write_all(format!("{text}\n").as_bytes())?;
        out.flush()
    };
    let written = match io::stdout().is_terminal() {
        true => without_bar(write),
        false => write(),
    };
    written.context("cannot write to standard output")
}

/// Writes something as a line of JSON to standard output at once.
///
/// # Errors
///
/// As [`line`].
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    line(escaped_json(&serde_json::to_string(value)?))
}

/// Writes lines on a thread of its own: a signal ends the program although standard output takes nothing.
pub(crate) struct Background {
    lines: Sender<String>,
    written: Receiver<Result<()>>,
    is_stalled: bool,
}

/// Standard output takes nothing, and a signal asks the program to end.
#[derive(Debug)]
pub(crate) struct Stalled;

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output takes nothing, so that not everything is printed")
    }
}

impl Error for Stalled {}

impl Background {
    pub(crate) fn start() -> Result<Self> {
        let (lines, received) = bounded::<String>(1);
        let (report, written) = bounded(1);
        thread::Builder::new()
            .name("print".to_owned())
            .spawn(move || {
                for text in received {
                    if report.send(line(text)).is_err() {
                        return;
                    }
                }
            })
            .context("cannot start a thread")?;
        Ok(Self {
            lines,
            written,
            is_stalled: false,
        })
    }

    /// Writes a line, as [`line`] does.
    ///
    /// # Errors
    ///
    /// Those of [`line`]; and [`Stalled`], after a signal.
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> Result<()> {
        if self.is_stalled {
            return Err(Stalled.into());
        }
        self.lines
            .send(text.to_string())
            .context("the thread that prints has ended")?;
        let outcome = select! {
            recv(self.written) -> outcome => outcome.ok(),
            recv(interrupt::quiet()) -> _ => self.written.recv_timeout(GRACE).ok(),
        };
        self.is_stalled = outcome.is_none();
        outcome.unwrap_or_else(|| Err(Stalled.into()))
    }

    /// Writes something as a line of JSON, as [`json`] does.
    ///
    /// # Errors
    ///
    /// As [`line`](Self::line).
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        self.line(escaped_json(&serde_json::to_string(value)?))
    }
}

/// Tells the user something that is not the output itself, on standard error. Escapes what a terminal obeys.
pub(crate) fn note(text: impl fmt::Display) {
    let text = format!("{}\n", escaped_lines(&text.to_string()));
    // There is nobody to tell if it fails.
    let _ = without_bar(|| io::stderr().write_all(text.as_bytes()));
}

/// Takes the bar away while something is written.
fn without_bar<T>(write: impl FnOnce() -> T) -> T {
    // The lock is free while it writes.
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}
