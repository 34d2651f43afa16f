//! A request, and how it is read.

use std::io::{self, Read, Write};

use super::{Answer, body};

/// The longest head that is read.
const LONGEST_HEAD: usize = 1 << 20;
const MOST_HEADERS: usize = 128;

/// A request that was read.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path with the query, without scheme and host.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(super) keeps_alive: bool,
    /// Whether it is HTTP/1.0.
    pub(super) is_old: bool,
}

/// Why there is no further request.
pub(super) enum End {
    Closed,
    /// It is none, and this is the answer to it.
    Refused(Answer),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

impl Request {
    /// Returns the value of a header, whose name is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Returns whether the client takes an answer in gzip.
    pub(super) fn accepts_gzip(&self) -> bool {
        let accepted = self.header("accept-encoding").unwrap_or_default();
        let mut codings = accepted.split(',');
        codings.any(|coding| coding.split(';').next().unwrap_or_default().trim() == "gzip")
    }

    /// Returns path and query.
    pub(crate) fn split(&self) -> (&str, &str) {
        self.target.split_once('?').unwrap_or((&self.target, ""))
    }

    /// Reads the next request of a connection; `buffer` holds what was read of it before.
    pub(super) fn read(line: &mut (impl Read + Write), buffer: &mut Vec<u8>) -> Result<Self, End> {
        loop {
            // Before the first line is complete, it can be anything.
            if buffer.contains(&b'\n') {
                if let Some((length, request)) = Self::head(buffer)? {
                    buffer.drain(..length);
                    return request.with_body(line, buffer);
                }
            }
            if buffer.len() > LONGEST_HEAD {
                return Err(End::Refused(plain(431)));
            }
            more(line, buffer)?;
        }
    }

    /// Returns the length of the head and the request without its body, once the head is there.
    fn head(buffer: &[u8]) -> Result<Option<(usize, Self)>, End> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        let length = match head.parse(buffer) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(End::Refused(plain(431))),
            Err(_) => return Err(End::Refused(plain(400))),
        };
        let headers: Vec<(String, String)> = head
            .headers
            .iter()
            .map(|header| {
                let value = String::from_utf8_lossy(header.value);
                (header.name.to_ascii_lowercase(), value.into_owned())
            })
            .collect();
        let is_new = head.version == Some(1);
        if is_new && find(&headers, "host").is_none() {
            let text = "400 Bad Request: missing required Host header";
            return Err(End::Refused(Answer::new(400, TEXT, text)));
        }
        let connection = find(&headers, "connection").unwrap_or_default();
        let says = |word: &str| {
            let mut words = connection.split(',');
            words.any(|given| given.trim().eq_ignore_ascii_case(word))
        };
        let keeps_alive = match is_new {
            true => !says("close"),
            false => says("keep-alive"),
        };
        Ok(Some((
            length,
            Self {
                method: head.method.unwrap_or_default().to_owned(),
                target: without_host(head.path.unwrap_or_default()).to_owned(),
                headers,
                body: Vec::new(),
                keeps_alive,
                is_old: !is_new,
            },
        )))
    }

    fn with_body(
        mut self,
        line: &mut (impl Read + Write),
        buffer: &mut Vec<u8>,
    ) -> Result<Self, End> {
        if self.header("expect").is_some() {
            line.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let is_chunked = self.header("transfer-encoding").is_some();
        self.body = match self.header("content-length") {
            _ if is_chunked => body::chunked(line, buffer)?,
            Some(length) => match length.trim().parse() {
                Ok(length) => body::counted(line, buffer, length)?,
                Err(_) => return Err(End::Refused(plain(400))),
            },
            None => Vec::new(),
        };
        Ok(self)
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Returns an answer of the HTTP library itself.
pub(super) fn plain(status: u16) -> Answer {
    let text = format!("{status} {}", super::answer::reason(status));
    Answer::new(status, TEXT, text)
}

/// Reads more of a connection.
pub(super) fn more(line: &mut impl Read, buffer: &mut Vec<u8>) -> Result<(), End> {
    let mut bytes = [0; 4096];
    match line.read(&mut bytes)? {
        0 => Err(End::Closed),
        count => {
            buffer.extend(&bytes[..count]);
            Ok(())
        }
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut headers = headers.iter();
    let found = headers.find(|(known, _)| known == name)?;
    Some(&found.1)
}

/// Returns the target without scheme and host, which a request through a proxy has.
fn without_host(target: &str) -> &str {
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or("/", |start| &rest[start..])
        }
        _ => target,
    }
}
