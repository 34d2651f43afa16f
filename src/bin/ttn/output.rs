//! What goes to standard output and standard error. Never panics when nobody reads it.

use std::{
    fmt,
    io::{self, Write},
};

/// Writes a line to standard output at once, so that a reader behind a pipe gets it.
///
/// # Errors
///
/// If it cannot be written; with [`io::ErrorKind::BrokenPipe`] the reader has gone, and the program ends with
/// [`Status::Done`](crate::status::Status::Done).
pub(crate) fn line(text: impl fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Tells the user something that is not the output itself, on standard error.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
