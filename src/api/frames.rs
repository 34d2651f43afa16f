//! Answers that are read frame by frame: of storage, and of the event stream.

use std::{
    cell::Cell,
    io::{self, BufReader, Read},
    rc::Rc,
    time::{Duration, Instant, SystemTime},
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

/// How many times that long to wait for a frame that comes in pieces, or does not come.
const IDLES: u32 = 10;

/// The most bytes to pass over before a frame: two of the longest lines.
const MAX_PASSED: u64 = 8 << 20;

/// The most frames of an answer: five times as many as are ever asked for.
const MAX_FRAMES: u32 = 5_000;

/// The most bytes to take from the connection at a time.
const BUFFER: usize = 32 << 10;

/// An answer with status 200 whose head has arrived.
pub(crate) struct Frames {
    /// What the server says about its rate limit.
    pub(crate) limits: Limits,
    /// What leads to the next page, if the server says so.
    pub(crate) token: Option<String>,
    /// What the server says beside the answer.
    pub(crate) warning: Option<String>,
    /// Whether the answer says where it ends. If not, it may have been cut off there.
    pub(crate) has_end: bool,
    frames: records::Frames<BufReader<Bytes>>,
    /// How many frames came.
    count: u32,
    idle: Idle,
    course: Rc<Course>,
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
        self.course.patience.set(idle.saturating_mul(IDLES));
    }

    /// Returns the next frame; `None` at the end of a complete answer. After an error of another kind than
    /// [`Flaw::Unreadable`], nothing follows.
    pub(crate) fn next(&mut self) -> Option<Result<Frame<'_>, Flaw>> {
        self.course.begin_frame();
        if self.count == MAX_FRAMES {
            return Some(Err(Flaw::Broken(endless())));
        }
        self.count += 1;
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
                        is_in_line: self.course.is_in_line.get(),
                    },
                    _ => Flaw::Broken(Failure::Unanswered(failure)),
                })
            }
        })
    }
}

fn endless() -> Failure {
    Failure::Unreadable {
        why: format!("it has more than {MAX_FRAMES} lines, far more than were asked for"),
        source: None,
    }
}

/// The bytes of a body.
struct Bytes {
    body: Body,
    course: Rc<Course>,
}

/// How reading the bytes goes on.
struct Course {
    /// Whether the last byte was not the end of a line.
    is_in_line: Cell<bool>,
    /// How many bytes have come for the next frame.
    passed: Cell<u64>,
    /// How long it was waited for.
    waited: Cell<Duration>,
    /// How long to wait for it.
    patience: Cell<Duration>,
}

impl Course {
    fn begin_frame(&self) {
        self.passed.set(0);
        self.waited.set(Duration::ZERO);
    }
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let course = &self.course;
        if course.passed.get() > MAX_PASSED {
            let why = format!("it has {} MiB without a message", MAX_PASSED >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        if course.waited.get() > course.patience.get() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let asked = Instant::now();
        let length = self.body.read(buffer)?;
        course.waited.set(course.waited.get() + asked.elapsed());
        course.passed.set(course.passed.get() + length as u64);
        if let Some(last) = buffer[..length].last() {
            course.is_in_line.set(*last != b'\n');
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
        let answer = request.stream(self.stop.as_ref(), self.before_wait.as_ref(), IDLE);
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
        let course = Rc::new(Course {
            is_in_line: Cell::new(false),
            passed: Cell::new(0),
            waited: Cell::new(Duration::ZERO),
            patience: Cell::new(IDLE * IDLES),
        });
        let has = |name| answer.header(name).is_some();
        Ok(Frames {
            limits: Limits::of(&answer),
            token: answer
                .header("x-continuation-token")
                .filter(|token| !token.is_empty()),
            warning: answer.header("x-warning"),
            has_end: has("content-length") || has("transfer-encoding"),
            idle: answer.body.idle(),
            frames: records::Frames::new(BufReader::with_capacity(
                BUFFER,
                Bytes {
                    body: answer.body,
                    course: Rc::clone(&course),
                },
            )),
            count: 0,
            course,
            url,
            key: self.key.clone(),
        })
    }

    /// Returns the server's time when it sent the last answer, if it told.
    pub(crate) fn last_date(&self) -> Option<SystemTime> {
        self.last.date()
    }
}
