//! Answers that are read frame by frame: of storage, and of the event stream.

use std::{
    cell::Cell,
    io::{self, BufReader, Read},
    rc::Rc,
    time::{Duration, SystemTime},
};

use super::{Api, Failure, Limits, Refusal, hosts::Task};
use crate::{
    config::AccessKey,
    error::ErrorKind,
    http::{self, Body, Idle},
    network::Frame,
    records,
};

/// How long the body of an answer may be silent.
const IDLE: Duration = Duration::from_secs(30);

/// The most bytes to take from the connection at a time.
const BUFFER: usize = 32 << 10;

/// An answer with status 200, of which the head is there.
pub(crate) struct Frames {
    /// What the server says about its rate limit.
    pub(crate) limits: Limits,
    /// What leads to the next page, if the server says so.
    pub(crate) token: Option<String>,
    /// What the server says beside the answer.
    pub(crate) warning: Option<String>,
    frames: records::Frames<BufReader<Bytes>>,
    idle: Idle,
    is_in_line: Rc<Cell<bool>>,
    url: String,
    key: AccessKey,
}

/// Why there is no frame.
#[derive(Debug)]
pub(crate) enum Flaw {
    /// A line was passed over because it is not a frame.
    Unreadable,
    /// Nothing has come for as long as was set, in the middle of a line or not.
    Silent { is_in_line: bool },
    /// The answer ends early, or with an error.
    Broken(Failure),
}

impl Frames {
    /// Sets how long the server may be silent.
    pub(crate) fn set_idle(&self, idle: Duration) {
        self.idle.set(idle);
    }

    /// Returns the next frame; `None` at the end of a complete answer. After an error of another kind than
    /// [`Flaw::Unreadable`], nothing follows.
    pub(crate) fn next(&mut self) -> Option<Result<Frame<'_>, Flaw>> {
        Some(match self.frames.next()? {
            Ok(Frame::Failed(error)) => {
                let mut refusal = Refusal::of(200, error, &self.key);
                refusal.url.clone_from(&self.url);
                Err(Flaw::Broken(Failure::Refused(Box::new(refusal))))
            }
            Ok(frame) => Ok(frame),
            Err(records::Flaw::Unreadable { is_cut: true, .. }) => {
                let failure = http::Failure::of_body(io::ErrorKind::UnexpectedEof.into());
                Err(Flaw::Broken(Failure::Unanswered(failure)))
            }
            Err(records::Flaw::Unreadable { .. }) => Err(Flaw::Unreadable),
            Err(records::Flaw::Broken(cause)) => {
                let failure = http::Failure::of_body(cause);
                Err(match failure.kind {
                    Some(ErrorKind::TimedOut) => Flaw::Silent {
                        is_in_line: self.is_in_line.get(),
                    },
                    _ => Flaw::Broken(Failure::Unanswered(failure)),
                })
            }
        })
    }
}

/// The bytes of a body.
struct Bytes {
    body: Body,
    /// Whether the last byte was not the end of a line.
    is_in_line: Rc<Cell<bool>>,
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.body.read(buffer)?;
        if let Some(last) = buffer[..length].last() {
            self.is_in_line.set(*last != b'\n');
        }
        Ok(length)
    }
}

impl Api {
    /// Asks the Application Server for frames: with GET, or with POST if there is a body.
    pub(super) fn stream(&self, path: &str, body: Option<&[u8]>) -> Result<Frames, Failure> {
        let url = format!("{}{path}", self.hosts.of_task(Task::Application));
        self.last.clear();
        let request = self.request(&url, Some(&self.key), body);
        let answer = request.stream(self.stop.as_ref(), IDLE);
        let answer = answer.map_err(Failure::Unanswered)?;
        self.last.note(&answer);
        if answer.status != 200 {
            let refusal = Refusal::read(url, answer, &self.key);
            return Err(Failure::Refused(Box::new(refusal)));
        }
        let media_type = answer.header("content-type").unwrap_or_default();
        if media_type.to_ascii_lowercase().contains("html") {
            return Err(Failure::Unreadable {
                why: "it is HTML; something in front of the server has answered, such as a proxy"
                    .to_owned(),
                source: None,
            });
        }
        let is_in_line = Rc::new(Cell::new(false));
        Ok(Frames {
            limits: Limits::of(&answer),
            token: answer
                .header("x-continuation-token")
                .filter(|token| !token.is_empty()),
            warning: answer.header("x-warning"),
            idle: answer.body.idle(),
            frames: records::Frames::new(BufReader::with_capacity(
                BUFFER,
                Bytes {
                    body: answer.body,
                    is_in_line: Rc::clone(&is_in_line),
                },
            )),
            is_in_line,
            url,
            key: self.key.clone(),
        })
    }

    /// Returns the server's time when it sent the last answer, if it told.
    pub(crate) fn last_date(&self) -> Option<SystemTime> {
        self.last.date()
    }
}
