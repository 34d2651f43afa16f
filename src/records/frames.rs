//! Reading the frames of a text one after the other.

use std::io::{self, BufRead};

use super::lines::{End, Lines, MAX_LINE, Place};
use crate::{
    error::{Error, ErrorKind},
    network::{self, Frame},
};

/// The frames of a v3 network in a text: lines of storage, of an event stream or of an export, and the
/// elements of a JSON list. It asks the reader for no more than the end of the frame that it returns, and holds
/// one line in memory, of at most 4 MiB.
pub(crate) struct Frames<R> {
    lines: Lines<R>,
    /// Whether the last line was one of an HTML page, which is reported once.
    is_in_page: bool,
}

/// Why there is no frame.
#[derive(Debug)]
pub(crate) enum Flaw {
    /// A line is not a frame, and was passed over.
    Unreadable {
        error: Error,
        /// Whether the text ends there, without a newline: it was probably cut off.
        is_cut: bool,
    },
    /// Reading failed. Nothing follows. What was received of a line is lost, unless it was all of it.
    Broken(io::Error),
}

impl<R: BufRead> Frames<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            lines: Lines::new(reader),
            is_in_page: false,
        }
    }

    /// Returns the next frame; `None` at the end, which is not an error. Waits for the reader.
    pub(crate) fn next(&mut self) -> Option<Result<Frame<'_>, Flaw>> {
        let end = match self.next_line()? {
            Ok(end) => end,
            Err(flaw) => return Some(Err(flaw)),
        };
        if end == End::Failed && network::frame(&mut self.line().to_vec()).is_err() {
            return self.next();
        }
        let place = self.place();
        let frame = network::frame(self.line());
        Some(frame.map_err(|cause| {
            let is_cut = end == End::Open;
            let why = match (cause.is_eof(), is_cut) {
                (true, true) => "the text ends in the middle of it".to_owned(),
                (true, false) => format!("{cause}; it must be in one line"),
                (false, _) => cause.to_string(),
            };
            let error = Error::with_source(ErrorKind::Decode, unreadable(place, &why), cause);
            Flaw::Unreadable { error, is_cut }
        }))
    }

    /// Reads the next line with anything in it.
    pub(super) fn next_line(&mut self) -> Option<Result<End, Flaw>> {
        loop {
            let end = match self.lines.next()? {
                Ok(end) => end,
                Err(cause) => return Some(Err(Flaw::Broken(cause))),
            };
            if end == End::TooLong {
                let why = format!("it has more than {} MiB", MAX_LINE >> 20);
                return Some(Err(self.flaw(end, &why)));
            }
            let first = self.line().trim_ascii_start().first().copied();
            match first {
                // Only the end of a list is missing then.
                None if end == End::Open && self.place().is_in_list() => {
                    return Some(Err(self.flaw(end, "the text ends before the list does")));
                }
                None => {}
                Some(b'{') => {
                    self.is_in_page = false;
                    return Some(Ok(end));
                }
                Some(b'<') if !self.is_in_page => {
                    self.is_in_page = true;
                    return Some(Err(self.flaw(end, PAGE)));
                }
                Some(_) if self.is_in_page => {}
                Some(_) => return Some(Ok(end)),
            }
        }
    }

    fn flaw(&self, end: End, why: &str) -> Flaw {
        Flaw::Unreadable {
            error: Error::new(ErrorKind::Decode, unreadable(self.place(), why)),
            is_cut: end == End::Open,
        }
    }

    /// Returns what is in the line that was read last.
    pub(super) fn line(&mut self) -> &mut [u8] {
        let line = self.lines.line();
        let end = line.trim_ascii_end().len();
        let blanks = end - line[..end].trim_ascii_start().len();
        let start = match line[blanks..end].starts_with(PREFIX) {
            true => blanks + PREFIX.len(),
            false => blanks,
        };
        &mut line[start..end]
    }

    /// Returns where that line is.
    pub(super) fn place(&self) -> Place {
        self.lines.place()
    }
}

/// What comes before each message among server-sent events.
const PREFIX: &[u8] = b"data:";

const PAGE: &str =
    "it is HTML, not JSON: something other than The Things Stack has answered, such as a proxy";

fn unreadable(place: Place, why: &str) -> String {
    place.before(&format!("cannot read the message: {why}"))
}
