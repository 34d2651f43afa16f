//! Many messages of a v3 network in one text, one in each line: what storage answers, what an event stream
//! sends, what the Console exports.

mod frames;
mod lines;
mod refused;
#[cfg(test)]
mod tests;

use std::{fmt, io::BufRead, iter::FusedIterator, time::SystemTime};

pub(crate) use frames::{Flaw, Frames};
use lines::End;
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
///
/// ```
/// use ttn::{Event, Network, Records};
///
/// let records: Records<&[u8]> = Event::read_all(Network::V3, "".as_bytes());
/// assert_eq!(records.count(), 0);
/// ```
pub struct Records<R> {
    network: Network,
    app_id: String,
    frames: Frames<R>,
}

impl Event {
    /// Reads many messages, one in each line, as they come: an answer of v3's Storage Integration, v3's event
    /// stream, or a file of any of these.
    ///
    /// On [`Network::V3`], a line may be:
    ///
    /// | line | is read as |
    /// |---|---|
    /// | `{"result": …}` with a message: what storage answers | that message |
    /// | a message alone: the body of a webhook, or a message that came over MQTT | that message |
    /// | an event whose `data` is a message, such as `as.up.data.forward`, alone or as a `result`: what the event stream sends, and the Console exports | that message |
    /// | any other event, such as `events.stream.start`, `gs.up.receive` | nothing: it is passed over |
    /// | the event of a message that the server no longer keeps: it says only who has sent it, and when | an error |
    /// | an error of the server, such as `{"error": …}`, in the form of any version | an error |
    ///
    /// Blank lines, `data:` before a line, and a byte-order mark are passed over. A JSON list of such objects, in one
    /// line or in many, is read element by element.
    ///
    /// On [`Network::V2`], each line, or element of a list, is an uplink, as
    /// [`from_json`](Self::from_json) reads it.
    ///
    /// The messages are the same as over MQTT, except that [`raw`](crate::UplinkMessage::raw) has no topic unless
    /// you set the [application id](Records::app_id). What storage does not keep is empty: correlation ids, the
    /// session key id and the JoinEUI. [`is_backfilled`](crate::UplinkMessage::is_backfilled) is `false`: that is
    /// for what a client has fetched itself. Nothing is sorted, and nothing is left out that comes twice, as it may in
    /// storage: the same uplink has the same device, counter and [`Metadata::time`](crate::Metadata::time).
    ///
    /// Reading blocks as the reader does. One line is in memory at a time. `reader` can be a `&[u8]`, or anything in a
    /// [`BufReader`](std::io::BufReader).
    ///
    /// # Errors
    ///
    /// Reading goes on after each of these, except the last. The sentence begins with the number of the line, or of
    /// the element of a list.
    ///
    /// | what is wrong | [`ErrorKind`](crate::ErrorKind) |
    /// |---|---|
    /// | a line is not a message, such as HTML of a proxy (one error for the whole page), or is cut off | [`Decode`](crate::ErrorKind::Decode) |
    /// | a line has more than 4 MiB | [`Decode`](crate::ErrorKind::Decode) |
    /// | a message is no longer kept | [`Decode`](crate::ErrorKind::Decode) |
    /// | the server has sent an error, so messages may be missing; its [`ErrorDetails`](crate::ErrorDetails) are the [source](std::error::Error::source) | [`NotAuthorized`](crate::ErrorKind::NotAuthorized), [`ServerUnavailable`](crate::ErrorKind::ServerUnavailable) (try again later), [`ApplicationNotFound`](crate::ErrorKind::ApplicationNotFound), [`DeviceNotFound`](crate::ErrorKind::DeviceNotFound), otherwise [`DiscoveryAnswer`](crate::ErrorKind::DiscoveryAnswer) |
    /// | `reader` has failed; nothing follows | that of the cause, such as [`ConnectionLost`](crate::ErrorKind::ConnectionLost), otherwise [`Decode`](crate::ErrorKind::Decode) |
    ///
    /// ```
    /// use ttn::{ErrorKind, Event, Network};
    ///
    /// // What `curl` has written to a file.
    /// let answer = r#"
    /// {"result":{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},"uplink_message":{"f_port":2,"f_cnt":117}}}
    /// {"result":{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},"uplink_message":{"f_port":2,"f_cnt":118}}}
    /// {"error":{"code":14,"message":"storage is not available"}}
    /// "#;
    /// let mut counters = Vec::new();
    /// for event in Event::read_all(Network::V3, answer.as_bytes()) {
    ///     match event {
    ///         Ok(Event::Uplink(uplink)) => counters.push(uplink.counter),
    ///         Ok(_) => {}
    ///         Err(error) => {
    ///             assert_eq!(error.kind(), ErrorKind::ServerUnavailable);
    ///             assert!(error.to_string().contains("storage is not available"), "{error}");
    ///         }
    ///     }
    /// }
    /// assert_eq!(counters, [117, 118]);
    /// ```
    pub fn read_all<R: BufRead>(network: Network, reader: R) -> Records<R> {
        Records {
            network,
            app_id: String::new(),
            frames: Frames::new(reader),
        }
    }
}

impl<R> Records<R> {
    /// Sets the application id of v3 messages that lack it, because the request had a field mask. The id of a
    /// message counts more. If they are the same, [`raw`](crate::UplinkMessage::raw) also has the topic that the
    /// message has over MQTT, for which hosted networks need the tenant in the application id:
    /// `greenhouse@ttn`. V2 messages are not changed.
    ///
    /// Defaults to none.
    ///
    /// ```
    /// use ttn::{Event, Network};
    ///
    /// let line = r#"{"result":{"end_device_ids":{"device_id":"bed-07","application_ids":{}},"uplink_message":{"frm_payload":"AQI="}}}"#;
    /// let mut records = Event::read_all(Network::V3, line.as_bytes()).app_id("greenhouse@ttn");
    /// let Some(Ok(Event::Uplink(uplink))) = records.next() else { panic!() };
    /// assert_eq!(uplink.app_id, "greenhouse");
    /// assert_eq!(uplink.raw().topic(), "v3/greenhouse@ttn/devices/bed-07/up");
    /// ```
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
        let end = match self.frames.next_line()? {
            Ok(end) => end,
            Err(flaw) => return Some(Err(flaw.into())),
        };
        let raw = RawMessage::new("", self.frames.line());
        match self.network.event_from_json(raw) {
            // The cause follows.
            Err(_) if end == End::Failed => self.next_of_v2(),
            event => Some(event.map_err(|error| self.located(error))),
        }
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
        let sentence = self.frames.place().before(&error.to_string());
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
