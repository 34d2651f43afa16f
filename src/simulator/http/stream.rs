//! How an answer is written that comes frame by frame, and what can go wrong in the middle of it.

use std::{
    io::{self, Write},
    time::Duration,
};

use super::{
    Answer, Frame, Frames, HttpFault, Server,
    answer::{Body, Form, Pieces},
    connection::page,
};

/// How long to wait for a frame before the client is looked at again.
const LOOK: Duration = Duration::from_millis(20);

/// What a broken query of the storage looks like.
const ERROR: &str = concat!(
    r#"{"error":{"code":14,"#,
    r#""message":"error:pkg/applicationserver/io/packages/storage:query (query failed)","#,
    r#""details":[{"@type":"type.googleapis.com/ttn.lorawan.v3.ErrorDetails","#,
    r#""namespace":"pkg/applicationserver/io/packages/storage","name":"query","#,
    r#""message_format":"query failed","correlation_id":"5c1d9a60e7f84b3293b6a1f0d27c48e5","code":14}]}}"#
);
const GARBAGE: &str = "{\"result\":{\"end_device_ids\":{\"device_id\":\"bed-0\u{fffd}";

/// What writes the frames of one answer.
pub(super) struct Stream<'a> {
    pub(super) server: &'a Server,
    pub(super) form: Form,
    pub(super) fault: Option<HttpFault>,
    /// Whether the client is still there.
    pub(super) is_open: &'a dyn Fn() -> bool,
}

impl Stream<'_> {
    /// Writes an answer, and returns whether the connection can go on.
    pub(super) fn write(&self, line: &mut dyn Write, answer: Answer) -> io::Result<bool> {
        let head = answer.head(self.form);
        let Body::Stream(mut frames) = answer.body else {
            return Ok(false);
        };
        let mut pieces = Pieces::new(line, head, self.form);
        let mut count = 0;
        loop {
            let Some(frame) = self.next(frames.as_mut(), &mut pieces)? else {
                return Ok(false);
            };
            let is_end = matches!(frame, Frame::End);
            let bytes = match frame {
                Frame::Ready(bytes) => bytes,
                Frame::Waiting | Frame::End => Vec::new(),
            };
            if !self.meets(&mut pieces, &bytes, count)? {
                return Ok(false);
            }
            if is_end || self.ends_after(count) {
                pieces.finish()?;
                return Ok(self.form.keeps_alive && !self.form.is_old);
            }
            pieces.add(&bytes)?;
            self.follow(&mut pieces, &bytes)?;
            count += 1;
        }
    }

    /// Waits for what comes next; `None` once the client has left.
    fn next(&self, frames: &mut dyn Frames, pieces: &mut Pieces<'_>) -> io::Result<Option<Frame>> {
        let mut wait = Duration::ZERO;
        loop {
            let frame = frames.next(wait);
            if !matches!(frame, Frame::Waiting) {
                return Ok(Some(frame));
            }
            pieces.flush()?;
            if !(self.is_open)() {
                return Ok(None);
            }
            wait = LOOK;
        }
    }

    /// Does what goes wrong before the frame with that number, and returns whether the connection is
    /// still there.
    fn meets(&self, pieces: &mut Pieces<'_>, frame: &[u8], number: usize) -> io::Result<bool> {
        match &self.fault {
            Some(HttpFault::CutInFrame(after)) if number == *after => {
                pieces.add_part(frame, frame.len() / 2)?;
                Ok(false)
            }
            Some(HttpFault::CutOff) => {
                pieces.add_part(frame, frame.len() / 2)?;
                Ok(false)
            }
            Some(HttpFault::CutAfter(after)) if number == *after => {
                pieces.flush()?;
                Ok(false)
            }
            Some(HttpFault::SilentAfter(after)) if number == *after => {
                pieces.flush()?;
                while (self.is_open)() && self.server.pause(LOOK) {}
                Ok(false)
            }
            Some(HttpFault::HtmlAfter(after)) if number == *after => {
                pieces.add(page(502).as_bytes())?;
                pieces.flush()?;
                Ok(false)
            }
            Some(HttpFault::ErrorAfter(after)) if number == *after => {
                pieces.add(format!("{ERROR}\n").as_bytes())?;
                Ok(true)
            }
            Some(HttpFault::GarbageAfter(after)) if number == *after => {
                pieces.add(format!("{GARBAGE}\n").as_bytes())?;
                Ok(true)
            }
            Some(HttpFault::Drip(pause)) if !frame.is_empty() => {
                pieces.flush()?;
                Ok(self.server.pause(*pause))
            }
            _ => Ok(true),
        }
    }

    /// Returns whether nothing follows that many frames.
    fn ends_after(&self, count: usize) -> bool {
        matches!(&self.fault, Some(HttpFault::ErrorAfter(after)) if count == *after)
    }

    /// Writes what a fault adds to a frame.
    fn follow(&self, pieces: &mut Pieces<'_>, frame: &[u8]) -> io::Result<()> {
        match &self.fault {
            Some(HttpFault::EmptyLines) => pieces.add(b"\n\r\n"),
            Some(HttpFault::Doubled) => pieces.add(frame),
            _ => Ok(()),
        }
    }
}
