//! An answer, and how it is written.

use std::io::{self, Write};

use super::{
    Frames,
    gzip::{self, Gzip},
};

/// An answer to a request.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
}

/// What an answer holds.
pub(super) enum Body {
    Whole(Vec<u8>),
    Stream(Box<dyn Frames>),
}

/// How the client wants an answer.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) keeps_alive: bool,
    /// Whether it cannot read chunks: HTTP/1.0.
    pub(super) is_old: bool,
    pub(super) is_gzip: bool,
}

impl Form {
    /// The form of answers that are not streams, which have a length whatever the client can read.
    fn whole(keeps_alive: bool) -> Self {
        Self {
            keeps_alive,
            is_old: false,
            is_gzip: false,
        }
    }
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let answer = Self {
            status,
            headers: Vec::new(),
            body: Body::Whole(body.into()),
        };
        answer.with("Content-Type", content_type)
    }

    /// Returns an answer that comes frame by frame, without a `Content-Type`.
    pub(crate) fn stream(status: u16, frames: impl Frames + 'static) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Stream(Box::new(frames)),
        }
    }

    /// Returns an answer without a body that sends the client elsewhere.
    pub(crate) fn redirect(status: u16, to: impl Into<String>) -> Self {
        let answer = Self {
            status,
            headers: Vec::new(),
            body: Body::Whole(Vec::new()),
        };
        answer.with("Location", to)
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Returns the whole body in gzip, with the header that says so; streams are left alone.
    pub(super) fn packed(mut self) -> Self {
        match &mut self.body {
            Body::Stream(_) => self,
            Body::Whole(bytes) => {
                *bytes = gzip::packed(bytes);
                self.with("Content-Encoding", "gzip")
            }
        }
    }

    /// Writes a whole answer, to `HEAD` without its body.
    pub(super) fn write(
        &self,
        line: &mut dyn Write,
        to_head: bool,
        keeps_alive: bool,
    ) -> io::Result<()> {
        let mut bytes = self.head(Form::whole(keeps_alive));
        if let (Body::Whole(body), false) = (&self.body, to_head) {
            bytes.extend(body);
        }
        line.write_all(&bytes)?;
        line.flush()
    }

    /// Writes the head and half of a whole body.
    pub(super) fn write_half(&self, line: &mut dyn Write) -> io::Result<()> {
        let mut bytes = self.head(Form::whole(false));
        if let Body::Whole(body) = &self.body {
            bytes.extend(&body[..body.len() / 2]);
        }
        line.write_all(&bytes)?;
        line.flush()
    }

    pub(super) fn head(&self, form: Form) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match &self.body {
            Body::Whole(body) => head.push_str(&format!("Content-Length: {}\r\n", body.len())),
            Body::Stream(_) => {
                if form.is_gzip {
                    head.push_str("Content-Encoding: gzip\r\n");
                }
                if !form.is_old {
                    head.push_str("Transfer-Encoding: chunked\r\n");
                }
            }
        }
        let ends_with_body = form.is_old && matches!(self.body, Body::Stream(_));
        if !form.keeps_alive || ends_with_body {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// Writes pieces of a body, each in a chunk, and in gzip if that is asked for.
pub(super) struct Pieces<'a> {
    line: &'a mut dyn Write,
    buffer: Vec<u8>,
    is_chunked: bool,
    gzip: Option<Gzip>,
}

/// How much is written at once.
const BUFFER: usize = 64 << 10;

impl<'a> Pieces<'a> {
    pub(super) fn new(line: &'a mut dyn Write, head: Vec<u8>, form: Form) -> Self {
        Self {
            line,
            buffer: head,
            is_chunked: !form.is_old,
            gzip: form.is_gzip.then(Gzip::new),
        }
    }

    /// Writes a piece, at the latest with the next [`flush`](Self::flush).
    pub(super) fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.gzip {
            Some(gzip) => {
                let packed = gzip.add(piece);
                self.push(&packed);
            }
            None => self.push(piece),
        }
        match self.buffer.len() < BUFFER {
            true => Ok(()),
            false => self.flush(),
        }
    }

    /// Writes the beginning of a piece, as if the rest of its chunk were still to come.
    pub(super) fn add_part(&mut self, piece: &[u8], length: usize) -> io::Result<()> {
        if self.is_chunked {
            self.buffer.extend(format!("{:x}\r\n", piece.len()).bytes());
        }
        self.buffer.extend(&piece[..length]);
        self.flush()
    }

    fn push(&mut self, bytes: &[u8]) {
        // An empty chunk would be the last one.
        if bytes.is_empty() {
            return;
        }
        if !self.is_chunked {
            self.buffer.extend(bytes);
            return;
        }
        self.buffer.extend(format!("{:x}\r\n", bytes.len()).bytes());
        self.buffer.extend(bytes);
        self.buffer.extend(b"\r\n");
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.line.write_all(&self.buffer)?;
        self.buffer.clear();
        self.line.flush()
    }

    /// Writes what comes after everything.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if let Some(gzip) = self.gzip.take() {
            self.push(&gzip.finish());
        }
        if self.is_chunked {
            self.buffer.extend(b"0\r\n\r\n");
        }
        self.flush()
    }
}

/// Returns the text behind a status.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    }
}
