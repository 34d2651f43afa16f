//! Prints lines without ever making the network wait for whoever reads them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use humantime::format_rfc3339_millis;
use serde::Serialize;
use ttn::{
    crossbeam_channel::{Receiver, Sender, bounded},
    serde_json::{self, Value, json},
};

use crate::{
    escape::{escaped, escaped_json},
    output,
};

/// How many lines wait for a slow reader.
const WAITING: usize = 10_000;

/// What can be printed.
pub(super) trait Line {
    /// Returns the lines for people.
    fn text(&self) -> Vec<String>;

    /// Returns the object for programs.
    fn json(&self) -> Object;
}

/// An object of JSON that begins with what has happened.
#[derive(Serialize)]
pub(super) struct Object {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(flatten)]
    pub(super) members: Value,
}

impl Object {
    pub(super) fn new(event: &'static str, at: Option<SystemTime>, members: Value) -> Self {
        let time = at.map(|at| format_rfc3339_millis(at).to_string());
        Self {
            event,
            time,
            members,
        }
    }

    fn text(&self) -> String {
        // Text and numbers cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A queue of lines, and the thread that prints them. What does not fit is counted.
#[derive(Clone)]
pub(super) struct Printer {
    as_json: bool,
    /// `None` after the last line.
    lines: Sender<Option<String>>,
    missing: Arc<AtomicU64>,
    ended: Receiver<Result<()>>,
}

impl Printer {
    pub(super) fn start(as_json: bool) -> Result<Self> {
        let (sender, lines) = bounded(WAITING);
        let (end, ended) = bounded(1);
        let printer = Self {
            as_json,
            lines: sender,
            missing: Arc::default(),
            ended,
        };
        let missing = Arc::clone(&printer.missing);
        let thread = thread::Builder::new().name("ttn-printer".into());
        thread
            .spawn(move || {
                let _ = end.send(write(&lines, &missing, as_json));
            })
            .context("cannot start a thread")?;
        Ok(printer)
    }

    pub(super) fn print(&self, line: &dyn Line) {
        if self.as_json {
            self.push(escaped_json(&line.json().text()).into_owned());
            return;
        }
        for line in line.text() {
            self.push(escaped(&line).into_owned());
        }
    }

    fn push(&self, line: String) {
        if self.lines.try_send(Some(line)).is_err() {
            self.missing.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Receives why nothing can be printed any more.
    pub(super) fn ended(&self) -> &Receiver<Result<()>> {
        &self.ended
    }

    /// Waits until everything is printed, at most this long.
    ///
    /// # Errors
    ///
    /// If it could not be printed.
    pub(super) fn finish(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        // It is closed if nothing can be printed any more.
        let _ = self.lines.send_deadline(None, deadline);
        self.ended.recv_deadline(deadline).unwrap_or(Ok(()))
    }
}

/// Writes lines until the last one.
fn write(lines: &Receiver<Option<String>>, missing: &AtomicU64, as_json: bool) -> Result<()> {
    while let Ok(Some(line)) = lines.recv() {
        output::line(line)?;
        let missing = missing.swap(0, Ordering::Relaxed);
        if missing > 0 {
            output::line(gap(missing, as_json))?;
        }
    }
    Ok(())
}

fn gap(missing: u64, as_json: bool) -> String {
    match as_json {
        true => Object::new("lagged", None, json!({"missing": missing})).text(),
        false => format!("{missing} lines are missing here: nobody read them in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_told_in_both_forms() {
        assert_eq!(gap(3, true), r#"{"event":"lagged","missing":3}"#);
        assert!(gap(3, false).starts_with("3 lines are missing"));
    }
}
