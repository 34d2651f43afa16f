//! Splitting a text into lines, and a JSON list into its elements.

use std::{
    fmt,
    io::{self, BufRead, ErrorKind, Read},
    mem,
};

/// The most bytes of a line, or of an element of a list. A message with a hundred gateways has a hundredth
/// of that.
pub(super) const MAX_LINE: usize = 4 << 20;

const MARK: [u8; 3] = *b"\xef\xbb\xbf";

/// The lines of a text that are not blank. A JSON list of objects, in one line or in many, counts as one line for
/// each of its elements.
pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    place: Place,
    /// How many lines are behind.
    behind: u64,
    has_begun: bool,
    is_in_list: bool,
    is_over: bool,
    failed: Option<io::Error>,
}

/// Where a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Counted from 1.
    Line(u64),
    /// An element of a list, counted from 1.
    Element(u64),
}

impl Place {
    pub(super) fn is_in_list(self) -> bool {
        matches!(self, Self::Element(_))
    }

    /// Says where an error is. serde_json counts the lines of each message from 1.
    pub(super) fn before(self, sentence: &str) -> String {
        format!(
            "{self}: {}",
            sentence.replace(" at line 1 column ", " at column ")
        )
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Element(number) => write!(f, "element {number} of the list"),
        }
    }
}

/// How a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// The text ends without a newline, or within a list.
    Open,
    /// Reading failed in the middle of it. The error follows.
    Failed,
    /// It is longer than [`MAX_LINE`], and was passed over.
    TooLong,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            line: Vec::new(),
            place: Place::Line(0),
            behind: 0,
            has_begun: false,
            is_in_list: false,
            is_over: false,
            failed: None,
        }
    }

    /// Reads the next line. After an error there is none.
    pub(super) fn next(&mut self) -> Option<io::Result<End>> {
        self.line.clear();
        if self.is_over {
            return self.failed.take().map(Err);
        }
        let read = self.read();
        self.is_over = matches!(read, Ok(None | Some(End::Open)) | Err(_));
        match read {
            Err(cause) if !self.line.is_empty() => {
                self.failed = Some(cause);
                Some(Ok(End::Failed))
            }
            read => read.transpose(),
        }
    }

    /// Returns the line that was read last.
    pub(super) fn line(&mut self) -> &mut [u8] {
        &mut self.line
    }

    /// Returns where that line is.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    fn read(&mut self) -> io::Result<Option<End>> {
        if !mem::replace(&mut self.has_begun, true) {
            self.skip_mark()?;
            if !self.line.is_empty() {
                return self.read_line().map(Some);
            }
        }
        loop {
            let Some(first) = self.first()? else {
                return Ok(self.is_in_list.then_some(End::Open));
            };
            match first {
                b'[' if !self.is_in_list => {
                    self.is_in_list = true;
                    self.place = Place::Element(0);
                    self.reader.consume(1);
                }
                b']' if self.is_in_list => {
                    self.is_in_list = false;
                    self.reader.consume(1);
                }
                b',' if self.is_in_list => self.reader.consume(1),
                b'{' if self.is_in_list => return self.read_element().map(Some),
                _ => return self.read_line().map(Some),
            }
        }
    }

    /// Passes over a byte-order mark. If there is only the beginning of one, that is a part of the line.
    fn skip_mark(&mut self) -> io::Result<()> {
        for (index, byte) in MARK.into_iter().enumerate() {
            if peek(&mut self.reader)?.and_then(|bytes| bytes.first().copied()) != Some(byte) {
                self.line.extend(&MARK[..index]);
                break;
            }
            self.reader.consume(1);
        }
        Ok(())
    }

    /// Passes over blanks, and returns the byte after them.
    fn first(&mut self) -> io::Result<Option<u8>> {
        loop {
            let Some(bytes) = peek(&mut self.reader)? else {
                return Ok(None);
            };
            let is_blank = |byte: &&u8| byte.is_ascii_whitespace();
            let blanks = bytes.iter().take_while(is_blank).count();
            let first = bytes.get(blanks).copied();
            let newlines = newlines(&bytes[..blanks]);
            self.behind += newlines;
            self.reader.consume(blanks);
            if first.is_some() {
                return Ok(first);
            }
        }
    }
}

/// Reading one line, from its first byte.
impl<R: BufRead> Lines<R> {
    fn read_line(&mut self) -> io::Result<End> {
        self.is_in_list = false;
        self.place = Place::Line(self.behind + 1);
        let limit = MAX_LINE as u64 + 1;
        (&mut self.reader)
            .take(limit)
            .read_until(b'\n', &mut self.line)?;
        if self.line.last() == Some(&b'\n') {
            self.behind += 1;
            return Ok(End::Whole);
        }
        match self.line.len() > MAX_LINE {
            true => self.skip_line(),
            false => Ok(End::Open),
        }
    }

    fn read_element(&mut self) -> io::Result<End> {
        if let Place::Element(number) = &mut self.place {
            *number += 1;
        }
        let mut nesting = Nesting::default();
        while let Some(bytes) = peek(&mut self.reader)? {
            let end = bytes.iter().position(|byte| nesting.is_end(*byte));
            let part = &bytes[..end.map_or(bytes.len(), |end| end + 1)];
            let (read, newlines) = (part.len(), newlines(part));
            self.line.extend_from_slice(part);
            self.behind += newlines;
            self.reader.consume(read);
            if self.line.len() > MAX_LINE {
                self.is_in_list = false;
                return self.skip_line();
            }
            if end.is_some() {
                return Ok(End::Whole);
            }
        }
        Ok(End::Open)
    }

    /// Passes over the rest of a line that is too long.
    fn skip_line(&mut self) -> io::Result<End> {
        self.line = Vec::new();
        while let Some(bytes) = peek(&mut self.reader)? {
            let newline = bytes.iter().position(|byte| *byte == b'\n');
            let read = newline.map_or(bytes.len(), |newline| newline + 1);
            self.reader.consume(read);
            if newline.is_some() {
                self.behind += 1;
                break;
            }
        }
        Ok(End::TooLong)
    }
}

/// Returns bytes that were not read; `None` at the end.
fn peek(reader: &mut impl BufRead) -> io::Result<Option<&[u8]>> {
    loop {
        match reader.fill_buf() {
            Ok([]) => return Ok(None),
            Ok(_) => break,
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    reader.fill_buf().map(Some)
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// How deep a place in a JSON document is.
#[derive(Default)]
struct Nesting {
    depth: usize,
    is_text: bool,
    is_escaped: bool,
}

impl Nesting {
    /// Goes on by a byte. Returns whether it ends the value.
    fn is_end(&mut self, byte: u8) -> bool {
        if mem::take(&mut self.is_escaped) {
            return false;
        }
        match byte {
            b'\\' if self.is_text => self.is_escaped = true,
            b'"' => self.is_text = !self.is_text,
            _ if self.is_text => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}
