//! Reading a recording.

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    iter::FusedIterator,
    mem,
    path::Path,
    time::SystemTime,
};

use serde_json::Value;

use super::read::{self, Line, unreadable};
use crate::{
    error::{Error, ErrorKind, Result},
    message::{Event, RawMessage},
    network::Network,
};

/// The most bytes of a line. The largest MQTT message is 256 MiB, which base64 makes a third longer.
const MAX_LINE: u64 = 400 << 20;

/// How the lines of a recorder, and those of `mosquitto_sub`, begin.
const STARTS: [&[u8]; 3] = [b"{\"recording\":", b"{\"time\":", b"{\"tst\":"];

/// How other files begin, and what is to be done with them.
const OTHER_FILES: [(&[u8], &str); 4] = [
    (
        b"\x1f\x8b",
        "the file is compressed by gzip; unpack it, as with gunzip",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "the file is compressed by zstd; unpack it, as with unzstd",
    ),
    (b"\xff\xfe", UTF_16),
    (b"\xfe\xff", UTF_16),
];

const UTF_16: &str =
    "the file is in UTF-16, as PowerShell writes what a program prints; convert it to UTF-8";

/// A message of a [`Recording`].
///
/// ```
/// use ttn::Recording;
///
/// let line = r#"{"tst":"2026-03-01T12:00:00.000000Z+0000","topic":"my-app/devices/dev-1/up/temperature","qos":0,"retain":0,"payloadlen":4,"payload":"21.5"}"#;
/// let recorded = Recording::new(line.as_bytes()).next().unwrap()?;
/// assert!(matches!(recorded.event, ttn::Event::UplinkField(_)));
/// assert_eq!(recorded.raw().payload(), b"21.5");
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recorded {
    /// When it was recorded: for a message of storage, when the network received it; `None` if nothing says so.
    pub time: Option<SystemTime>,
    /// The message, as a client reports it: one that cannot be read is [`Event::Malformed`].
    pub event: Event,
    network: Network,
    raw: RawMessage,
}

/// What a [`Recorder`](crate::Recorder) has noted besides messages: that the connection was lost, events were dropped, and
/// so on. Returned by [`Recording::take_notes`].
///
/// ```
/// fn is_outage(note: &ttn::Note) -> bool {
///     note.event["event"] == "disconnected"
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Note {
    /// When it was recorded.
    pub time: Option<SystemTime>,
    /// The event as [JSON](Event#as-json).
    pub event: Value,
}

/// An iterator over the messages of a recording, which a [`Recorder`](crate::Recorder) or another program has written.
///
/// Each line may be one of these:
///
/// | line | from |
/// |---|---|
/// | a message, a header, a note | a [`Recorder`](crate::Recorder). Notes are passed over, or [kept](Self::keep_notes) |
/// | `{"tst":…,"topic":…,"payload":…}` | `mosquitto_sub -F '%j'`. It cuts a payload at its first NUL byte, which is an error here. With `-F '%J'`, payloads that are not JSON are missing, and integers beyond 53 bits are rounded |
/// | `{"result":…}`, a message alone, an event of the event stream | the Storage Integration, or anything else that [`Event::read_all`] reads; one line each |
///
/// The network is that of the [header](crate::Recorder), or [set](Self::network); without both, topics that begin with
/// `v3/` are of v3, and others of V2.
///
/// # What is the same as in the live run
///
/// Every event that is a message has the same [JSON](Event#as-json) as it had when it was recorded, byte for byte,
/// including `is_retained`, `is_backfilled`, `is_duplicate` and `is_redelivered`. It has no
/// [`watermark`](crate::UplinkMessage::watermark), and [`acknowledge`](crate::UplinkMessage::acknowledge) does nothing.
/// Where another client receives the recorded messages, as through the simulated network, these four tell of *that* client: such a
/// network retains nothing, and delivers uplinks that were fetched as if they came now.
///
/// # Errors
///
/// Reading goes on after each of these, except the last two. The sentence names the number of the line.
///
/// | what is wrong | [`ErrorKind`] |
/// |---|---|
/// | a line is cut off, because the program was killed or the disk was full; or it is something else | [`Decode`](ErrorKind::Decode) |
/// | it is an error that storage has answered | as [`Event::read_all`] says |
/// | it is of a later version of this crate | [`Decode`](ErrorKind::Decode) |
/// | it has more than 400 MiB | [`Decode`](ErrorKind::Decode) |
/// | the file is compressed, or in UTF-16; nothing follows | [`Decode`](ErrorKind::Decode) |
/// | the reader has failed; nothing follows | [`File`](ErrorKind::File) |
///
/// ```
/// use ttn::{Event, Recording};
///
/// let text = r#"{"recording":1,"network":"v3"}
/// {"time":"2026-03-01T12:00:00.000000000Z","topic":"v3/my-app@ttn/devices/dev-1/up","payload":"{\"uplink_message\":{\"f_cnt\":7}}"}
/// {"time":"2026-03-01T12:00:01.000000000Z","topic":"v3/my-app@ttn/devi
/// {"time":"2026-03-01T12:00:09.000000000Z","topic":"v3/my-app@ttn/devices/dev-1/up","payload":"{\"uplink_message\":{\"f_cnt\":8}}"}
/// "#;
/// let mut counters = Vec::new();
/// let mut errors = Vec::new();
/// for recorded in Recording::new(text.as_bytes()) {
///     match recorded {
///         Ok(recorded) => if let Event::Uplink(uplink) = recorded.event { counters.push(uplink.counter) },
///         Err(error) => errors.push(error.to_string()),
///     }
/// }
/// assert_eq!(counters, [7, 8]);
/// assert!(errors[0].starts_with("line 3 of the recording cannot be read: it is cut off"), "{errors:?}");
/// ```
pub struct Recording<R> {
    reader: R,
    network: Option<Network>,
    app_id: String,
    line: Vec<u8>,
    /// Of the line.
    number: u64,
    /// What the line has in addition.
    more: VecDeque<Result<Recorded>>,
    keeps_notes: bool,
    notes: Vec<Note>,
    is_over: bool,
}

impl Recording<BufReader<File>> {
    /// Opens a file. Older files of the same recorder are recordings of their own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::File`] if it cannot be opened, or is a folder.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// let missing = folder.path().join("missing.jsonl");
    /// assert_eq!(ttn::Recording::open(missing).unwrap_err().kind(), ttn::ErrorKind::File);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
            true => Err(io::ErrorKind::IsADirectory.into()),
            false => Ok(file),
        });
        let file = file.map_err(|cause| {
            Error::with_source(
                ErrorKind::File,
                format!("cannot open the recording {}: {cause}", path.display()),
                cause,
            )
        })?;
        Ok(Self::new(BufReader::new(file)))
    }
}

impl<R: BufRead> Recording<R> {
    /// Reads a recording from anything, such as a `&[u8]` or locked standard input. Reading blocks as long as the reader does;
    /// one line is in memory at a time.
    ///
    /// ```
    /// assert_eq!(ttn::Recording::new("".as_bytes()).count(), 0);
    /// ```
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            network: None,
            app_id: String::new(),
            line: Vec::new(),
            number: 0,
            more: VecDeque::new(),
            keeps_notes: false,
            notes: Vec::new(),
            is_over: false,
        }
    }

    /// Sets the network of lines that come before any header.
    ///
    /// Defaults to the one that each topic shows.
    ///
    /// ```
    /// use ttn::{Network, Recording};
    ///
    /// let recording = Recording::new("".as_bytes()).network(Network::V2);
    /// ```
    #[must_use]
    pub fn network(self, network: Network) -> Self {
        Self {
            network: Some(network),
            ..self
        }
    }

    /// Sets the application id, with its tenant, of messages of storage, which have no topic: they get the topic that
    /// they have over MQTT.
    ///
    /// Defaults to the id that each message names, which has no tenant.
    ///
    /// ```
    /// use ttn::Recording;
    ///
    /// let line = r#"{"result":{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},"uplink_message":{"f_cnt":7}}}"#;
    /// let recorded = Recording::new(line.as_bytes()).app_id("greenhouse@ttn").next().unwrap()?;
    /// assert_eq!(recorded.raw().topic(), "v3/greenhouse@ttn/devices/bed-07/up");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    #[must_use]
    pub fn app_id(self, app_id: impl Into<String>) -> Self {
        Self {
            app_id: app_id.into(),
            ..self
        }
    }

    /// Sets whether notes are kept for [`take_notes`](Self::take_notes). Memory grows until they are taken.
    ///
    /// Defaults to `false`.
    ///
    /// ```
    /// let recording = ttn::Recording::new("".as_bytes()).keep_notes(true);
    /// ```
    #[must_use]
    pub fn keep_notes(self, keep: bool) -> Self {
        Self {
            keeps_notes: keep,
            ..self
        }
    }

    /// Returns the notes that stand before the message which was returned last, and after those that were taken before.
    ///
    /// ```
    /// use ttn::{Event, Network, Recorder, Recording};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("run.jsonl");
    ///
    /// Recorder::open(&path, Network::V3)?.record(&Event::Lagged(7))?;
    /// let mut recording = Recording::open(&path)?.keep_notes(true);
    /// assert!(recording.next().is_none());
    /// assert_eq!(recording.take_notes()[0].event["dropped"], 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_notes(&mut self) -> Vec<Note> {
        mem::take(&mut self.notes)
    }

    /// Reads the next line. Returns whether there is one.
    fn read_line(&mut self) -> Result<bool> {
        self.line.clear();
        let is_too_long = fill(&mut self.reader, &mut self.line).map_err(|cause| {
            self.is_over = true;
            Error::with_source(
                ErrorKind::File,
                format!(
                    "cannot read the recording beyond line {}: {cause}",
                    self.number
                ),
                cause,
            )
        })?;
        if self.line.is_empty() {
            self.is_over = true;
            return Ok(false);
        }
        self.number += 1;
        if is_too_long {
            self.line = Vec::new();
            let why = format!("it has more than {} MiB", MAX_LINE >> 20);
            return Err(unreadable(self.number, &why));
        }
        Ok(true)
    }

    /// Puts what the line says into the queue.
    fn take_line(&mut self) {
        let line = mem::take(&mut self.line);
        let text = line.trim_ascii();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        if !text.is_empty() {
            self.take(text);
        }
        self.line = line;
    }

    fn take(&mut self, text: &[u8]) {
        if self.number == 1 {
            let other = OTHER_FILES
                .iter()
                .find(|(start, _)| text.starts_with(start));
            if let Some((_, why)) = other {
                self.is_over = true;
                self.more.push_back(Err(unreadable(self.number, why)));
                return;
            }
        }
        match read::line(text) {
            Ok(Line::Header(network)) => self.network = Some(network),
            Ok(Line::Note(note)) if self.keeps_notes => self.notes.push(note),
            Ok(Line::Note(_)) => {}
            Ok(Line::Message(message)) => {
                let time = message.time();
                let (network, event) = message.into_event(self.network);
                self.more.extend(recorded(time, network, event).map(Ok));
            }
            Ok(Line::Records(network)) => self.take_records(network, text),
            Err(why) => {
                self.more.push_back(Err(unreadable(self.number, &why)));
                // Another program may have continued the file without a new line.
                if let Some(rest) = last_start(text) {
                    if let Ok(Line::Header(_) | Line::Note(_) | Line::Message(_)) = read::line(rest)
                    {
                        self.take(rest);
                    }
                }
            }
        }
    }

    fn take_records(&mut self, network: Network, text: &[u8]) {
        for record in Event::read_all(network, text) {
            let item = match record {
                Ok(event) => {
                    let event = match network {
                        Network::V2 => event,
                        Network::V3 => read::with_topic(event, &self.app_id),
                    };
                    recorded(read::time_in(&event), network, event).map(Ok)
                }
                Err(error) => {
                    let what = error.to_string();
                    let what = what.strip_prefix("line 1: ").unwrap_or(&what);
                    let sentence = format!("line {} of the recording: {what}", self.number);
                    Some(Err(Error::with_source(error.kind(), sentence, error)))
                }
            };
            self.more.extend(item);
        }
    }
}

/// Reads a line, or of one that is too long the beginning. Returns whether it is too long.
fn fill(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    reader.by_ref().take(MAX_LINE).read_until(b'\n', line)?;
    let is_too_long = line.len() as u64 == MAX_LINE && !line.ends_with(b"\n");
    if is_too_long {
        reader.skip_until(b'\n')?;
    }
    Ok(is_too_long)
}

fn recorded(time: Option<SystemTime>, network: Network, event: Event) -> Option<Recorded> {
    let raw = event.raw()?.clone();
    Some(Recorded {
        time,
        event,
        network,
        raw,
    })
}

/// Returns the last place within a text where a line begins.
fn last_start(text: &[u8]) -> Option<&[u8]> {
    let starts = |at: &usize| STARTS.iter().any(|start| text[*at..].starts_with(start));
    let at = (1..text.len()).rev().find(starts)?;
    text.get(at..)
}

impl Recorded {
    /// Returns the network of the message: that of the header, the one that was
    /// [set](Recording::network), or the one that the topic shows.
    ///
    /// ```
    /// # let line = r#"{"time":"2026-03-01T12:00:00.000000000Z","topic":"v3/a/devices/d/up","payload":"{}"}"#;
    /// let recorded = ttn::Recording::new(line.as_bytes()).next().unwrap()?;
    /// assert_eq!(recorded.network(), ttn::Network::V3);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn network(&self) -> Network {
        self.network
    }

    /// Returns the message as it arrived: topic and original bytes.
    ///
    /// ```
    /// # let line = r#"{"time":"2026-03-01T12:00:00.000000000Z","topic":"a","payload_base64":"/wA="}"#;
    /// let recorded = ttn::Recording::new(line.as_bytes()).next().unwrap()?;
    /// assert_eq!((recorded.raw().topic(), recorded.raw().payload()), ("a", &[0xff, 0x00][..]));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn raw(&self) -> &RawMessage {
        &self.raw
    }
}

impl<R: BufRead> Iterator for Recording<R> {
    type Item = Result<Recorded>;

    fn next(&mut self) -> Option<Result<Recorded>> {
        loop {
            if let Some(item) = self.more.pop_front() {
                return Some(item);
            }
            if self.is_over {
                return None;
            }
            match self.read_line() {
                Ok(true) => self.take_line(),
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl<R: BufRead> FusedIterator for Recording<R> {}

impl<R> fmt::Debug for Recording<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("network", &self.network)
            .field("app_id", &self.app_id)
            .field("line", &self.number)
            .finish_non_exhaustive()
    }
}
