//! What goes to standard output and standard error. Never panics when nobody reads it.

use std::{
    fmt,
    io::{self, Write},
};

use anyhow::{Context, Result};
use serde::Serialize;
use ttn::serde_json;

use crate::escape::{escaped_json, escaped_lines};

/// Writes a line to standard output at once, so that a reader behind a pipe gets it.
///
/// # Errors
///
/// If it cannot be written; with [`io::ErrorKind::BrokenPipe`] the reader has gone, and the program ends with
/// [`Status::Done`](crate::status::Status::Done).
pub(crate) fn line(text: impl fmt::Display) -> Result<()> {
    let write = || {
        let mut out = io::stdout().lock();
        // In one piece, because a line must not be cut off by a reader that leaves.
        out.write_all(format!("{text}\n").as_bytes())?;
        out.flush()
    };
    write().context("cannot write to standard output")
}

/// Writes something as a line of JSON to standard output at once.
///
/// # Errors
///
/// As [`line`].
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    line(escaped_json(&serde_json::to_string(value)?))
}

/// Tells the user something that is not the output itself, on standard error. Escapes what a terminal obeys.
pub(crate) fn note(text: impl fmt::Display) {
    let text = format!("{}\n", escaped_lines(&text.to_string()));
    // There is nobody to tell if it fails.
    let _ = io::stderr().write_all(text.as_bytes());
}
