//! Many messages of a v3 network in one text, one in each line: what storage answers, what an event stream
//! sends, what the Console exports.

mod frames;
mod lines;
mod refused;
#[cfg(test)]
mod tests;

use std::{fmt, io::BufRead, iter::FusedIterator, time::SystemTime};

pub(crate) use frames::{Flaw, Frames};
use refused::Refused;

use crate::{
    error::{Error, ErrorKind, Result},
    message::{Event, RawMessage},
    network::{self, Frame, Network},
};

/// Reads the message in a [`Frame::Up`]. Its topic is the one that it has over MQTT; for this and for messages
/// whose application id a field mask has removed, `uid` is the application id with its tenant.
pub(crate) fn message(json: &[u8], uid: &str) -> Result<Event> {
    network::event_of_record(json, uid)
}

/// An iterator over the messages in a text; returned by [`Event::read_all`].
pub struct Records<R> {
    network: Network,
    app_id: String,
    frames: Frames<R>,
}

impl Event {
    /// Reads the messages in a text, one in each line.
    pub fn read_all<R: BufRead>(network: Network, reader: R) -> Records<R> {
        Records {
            network,
            app_id: String::new(),
            frames: Frames::new(reader),
        }
    }
}

impl<R> Records<R> {
    /// Sets the application id.
    #[must_use]
    pub fn app_id(self, app_id: impl Into<String>) -> Self {
        Self {
            app_id: app_id.into(),
            ..self
        }
    }
}

impl<R: BufRead> Records<R> {
    /// Reads a V2 message, which is the whole line.
    fn next_of_v2(&mut self) -> Option<Result<Event>> {
        let flaw = match self.frames.next_line()? {
            Ok(_) => {
                let raw = RawMessage::new("", self.frames.line().trim_ascii());
                let event = self.network.event_from_json(raw);
                return Some(event.map_err(|error| self.located(error)));
            }
            Err(flaw) => flaw,
        };
        Some(Err(flaw.into()))
    }

    fn next_of_v3(&mut self) -> Option<Result<Event>> {
        loop {
            let read = match self.frames.next()? {
                Ok(Frame::Up { json, .. }) => message(json, &self.app_id),
                Ok(Frame::Started(_) | Frame::Other(_)) => continue,
                Ok(Frame::Trace { name, dev_id, at }) => Err(no_longer_kept(&name, &dev_id, at)),
                Ok(Frame::Failed(json)) => {
                    let refused = Refused::read(json);
                    return Some(Err(refused.into_error(self.frames.place())));
                }
                Err(flaw) => return Some(Err(flaw.into())),
            };
            return Some(read.map_err(|error| self.located(error)));
        }
    }

    /// Adds where it is to an error.
    fn located(&self, error: Error) -> Error {
        let sentence = format!("{}: {error}", self.frames.place());
        Error::with_source(error.kind(), sentence, error)
    }
}

fn no_longer_kept(name: &str, dev_id: &str, at: SystemTime) -> Error {
    let at = humantime::format_rfc3339_nanos(at);
    Error::new(
        ErrorKind::Decode,
        format!(
            "the message of {dev_id:?} at {at} is no longer there: the server keeps its event, {name:?}, \
             for longer than the message in it"
        ),
    )
}

impl From<Flaw> for Error {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Unreadable { error, .. } => error,
            Flaw::Broken(cause) => Self::with_source(
                ErrorKind::of_io(&cause).unwrap_or(ErrorKind::Decode),
                format!("cannot read more messages: {cause}"),
                cause,
            ),
        }
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Result<Event>> {
        match self.network {
            Network::V2 => self.next_of_v2(),
            Network::V3 => self.next_of_v3(),
        }
    }
}

impl<R: BufRead> FusedIterator for Records<R> {}

impl<R> fmt::Debug for Records<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("network", &self.network)
            .field("app_id", &self.app_id)
            .finish_non_exhaustive()
    }
}
