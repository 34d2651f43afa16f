//! The body of an answer that comes frame by frame.

use std::time::Duration;

/// What comes next.
pub(crate) enum Frame {
    Ready(Vec<u8>),
    /// Nothing yet.
    Waiting,
    End,
}

/// Frames, one after the other, each with its delimiter.
pub(crate) trait Frames: Send {
    /// Returns what comes next, and waits for it at most that long.
    fn next(&mut self, wait: Duration) -> Frame;
}

/// Frames that are there.
pub(crate) struct Listed(std::vec::IntoIter<Vec<u8>>);

impl Listed {
    pub(crate) fn new(frames: Vec<Vec<u8>>) -> Self {
        Self(frames.into_iter())
    }
}

impl Frames for Listed {
    fn next(&mut self, _: Duration) -> Frame {
        self.0.next().map_or(Frame::End, Frame::Ready)
    }
}
