//! What answers that come frame by frame have in common.

use super::error::Refused;
use crate::simulator::{
    http::{Answer, Listed, Request},
    json::Object,
};

/// What ends a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimiter {
    Line,
    /// Two line ends, and the `Content-Type` of an event stream.
    EmptyLine,
}

const EVENT_STREAM: &str = "text/event-stream";

impl Delimiter {
    /// Returns what a client asks for; only the exact type counts.
    pub(super) fn of(request: &Request) -> Self {
        match request.header("accept") {
            Some(EVENT_STREAM) => Self::EmptyLine,
            _ => Self::Line,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Line => "application/json",
            Self::EmptyLine => EVENT_STREAM,
        }
    }

    /// Returns a frame with a result in it, as JSON text.
    pub(super) fn frame(self, result: &str) -> Vec<u8> {
        self.ended(Object::new().member("result", result))
    }

    fn ended(self, object: Object) -> Vec<u8> {
        let mut frame = object.finish();
        frame.push_str(match self {
            Self::Line => "\n",
            Self::EmptyLine => "\n\n",
        });
        frame.into_bytes()
    }

    /// Returns the answer of such a route to a request that it refuses: wrapped, unless it could not be
    /// read.
    pub(super) fn refusal(self, refused: &Refused, random: &mut fastrand::Rng) -> Answer {
        let (status, body) = refused.status_and_body(random);
        self.error(status, &body)
    }

    /// Returns an answer with that error, wrapped.
    pub(super) fn error(self, status: u16, body: &str) -> Answer {
        let frame = self.ended(Object::new().member("error", body));
        Answer::stream(status, Listed::new(vec![frame])).with("Content-Type", self.content_type())
    }
}
