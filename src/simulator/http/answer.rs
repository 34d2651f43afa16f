//! An answer, and how it is written.

use std::io::{self, Write};

/// An answer to a request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let answer = Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        };
        answer.with("Content-Type", content_type)
    }

    /// Returns an answer without a body that sends the client elsewhere.
    pub(crate) fn redirect(status: u16, to: impl Into<String>) -> Self {
        let answer = Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        };
        answer.with("Location", to)
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Writes the answer, to `HEAD` without its body.
    pub(super) fn write(
        &self,
        line: &mut dyn Write,
        to_head: bool,
        keeps_alive: bool,
    ) -> io::Result<()> {
        let mut bytes = self.head(keeps_alive);
        if !to_head {
            bytes.extend(&self.body);
        }
        line.write_all(&bytes)?;
        line.flush()
    }

    /// Writes the head and half of the body.
    pub(super) fn write_half(&self, line: &mut dyn Write) -> io::Result<()> {
        let mut bytes = self.head(false);
        bytes.extend(&self.body[..self.body.len() / 2]);
        line.write_all(&bytes)?;
        line.flush()
    }

    fn head(&self, keeps_alive: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        if !keeps_alive {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
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
