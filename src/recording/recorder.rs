//! Writing a recording.

use std::{
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{Anonymizer, Note, files::Files, line};
use crate::{
    error::{Error, ErrorKind, Result},
    message::{Event, RawMessage},
    network::Network,
};

/// Writes what a client receives to a file, so that it can be read, sent with a bug report, and replayed with
/// [`Recording`](crate::Recording).
///
/// Each line is a JSON object, which people read and `grep` and `jq` search:
///
/// | line | members |
/// |---|---|
/// | the header, whenever a recorder opens a file | `recording`, the version of this form: 1; `network`: `v2` or `v3` |
/// | a message | `time` at which it was written, RFC 3339 in UTC with nine digits; `topic`; `payload` as text, or `payload_base64` if it is not UTF-8 or consists mostly of control characters. Where they are `true`: `is_retained`, `is_backfilled`, `is_duplicate`, `is_redelivered`, and `is_topic_cut` if the topic is only the readable part of one that is not text. `read_as` is the topic on the network, if a [broker of one's own](crate::MqttClient::own_broker) uses another; empty for a Pub/Sub integration |
/// | a note: an event that is not a message, such as `disconnected`, `lagged`, `counter` | `time`; `note`, the event as [JSON](Event#as-json) |
///
/// Topic and payload come back byte for byte. Later versions may add members and kinds of lines.
///
/// Every line reaches the operating system before [`record`](Self::record) returns, so a program that is killed loses
/// nothing that it has recorded; a loss of power can cost the last seconds. A file that exists is continued. Give each
/// recorder a file of its own; the lines of two recorders on one file stay whole, but both would rename it.
///
/// A recording contains whatever the network sends: positions, ids, session keys. The access key of the client is not
/// in it.
///
/// ```
/// use ttn::{Event, Network, Recorder, Recording};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("run.jsonl");
///
/// let mut recorder = Recorder::open(&path, Network::V3)?;
/// # let events = [Event::decode(Network::V3, "v3/my-app@ttn/devices/dev-1/up", r#"{"uplink_message":{"f_cnt":7}}"#)?];
/// for event in &events {
///     recorder.record(event)?;
/// }
///
/// for recorded in Recording::open(&path)? {
///     let Event::Uplink(uplink) = recorded?.event else { panic!() };
///     assert_eq!((uplink.dev_id.as_str(), uplink.counter), ("dev-1", 7));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Recorder {
    files: Files,
    network: Network,
    anonymizer: Option<Anonymizer>,
}

/// Sets options of a [`Recorder`]; returned by [`Recorder::builder`].
///
/// ```
/// use ttn::{Network, Recorder};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("run.jsonl");
///
/// let recorder = Recorder::builder(path, Network::V3).max_size(10_000_000).keep(3).open()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RecorderBuilder {
    path: PathBuf,
    network: Network,
    max_size: Option<u64>,
    keep: u32,
    anonymizer: Option<Anonymizer>,
}

impl RecorderBuilder {
    /// Sets the size of a file in bytes. A line that does not fit begins a new file: `run.jsonl` becomes `run.jsonl.1`,
    /// which became `run.jsonl.2` before, and so on. A file has at least one line, so a single longer one exceeds the
    /// size.
    ///
    /// Defaults to no limit.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("run.jsonl");
    /// let recorder = ttn::Recorder::builder(path, ttn::Network::V3).max_size(10_000_000).open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_size(self, bytes: u64) -> Self {
        Self {
            max_size: Some(bytes),
            ..self
        }
    }

    /// Sets how many older files stay beside the current one. What is older than that is **deleted**; with 0,
    /// the file begins anew when it is full. Without a [`max_size`](Self::max_size), there are no older files.
    ///
    /// Defaults to 9.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("run.jsonl");
    /// let at_most_40_mb = ttn::Recorder::builder(path, ttn::Network::V3).max_size(10_000_000).keep(3).open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn keep(self, older: u32) -> Self {
        Self {
            keep: older,
            ..self
        }
    }

    /// Writes messages and notes with the replacements of an anonymizer.
    ///
    /// Defaults to none: everything is written as it came.
    ///
    /// ```
    /// use ttn::{Anonymizer, Event, Network, Recorder};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("run.jsonl");
    ///
    /// let mut recorder = Recorder::builder(&path, Network::V2).anonymize(Anonymizer::new()).open()?;
    /// recorder.record(&Event::decode(Network::V2, "greenhouse/devices/bed-07/up/temperature", "21.5")?)?;
    /// assert!(!std::fs::read_to_string(&path)?.contains("greenhouse"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn anonymize(self, anonymizer: Anonymizer) -> Self {
        Self {
            anonymizer: Some(anonymizer),
            ..self
        }
    }

    /// Opens or creates the file, and writes the header.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::File`] if it cannot be opened or written.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// let place = folder.path().join("missing").join("run.jsonl");
    /// let error = ttn::Recorder::builder(place, ttn::Network::V3).open().unwrap_err();
    /// assert_eq!(error.kind(), ttn::ErrorKind::File);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(self) -> Result<Recorder> {
        let files = line::header(self.network)
            .and_then(|header| Files::open(self.path.clone(), self.max_size, self.keep, header))
            .map_err(|cause| cannot_write(&self.path, cause))?;
        Ok(Recorder {
            files,
            network: self.network,
            anonymizer: self.anonymizer,
        })
    }
}

impl Recorder {
    /// Opens or creates a file without a limit to its size. `network` is that of the
    /// [client](crate::MqttClient::network).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::File`] if it cannot be opened or written.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("run.jsonl");
    /// let recorder = ttn::Recorder::open(path, ttn::Network::V3)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: impl Into<PathBuf>, network: Network) -> Result<Self> {
        Self::builder(path, network).open()
    }

    /// Returns a builder, which limits the size.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("run.jsonl");
    /// let recorder = ttn::Recorder::builder(path, ttn::Network::V3).max_size(10_000_000).open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(path: impl Into<PathBuf>, network: Network) -> RecorderBuilder {
        RecorderBuilder {
            path: path.into(),
            network,
            max_size: None,
            keep: 9,
            anonymizer: None,
        }
    }

    /// Writes an event with the current time. Blocks as long as the file does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::File`] if it cannot be written; the event is then not recorded, or cut off in the middle.
    /// The next call tries again, on a new line.
    ///
    /// ```
    /// # use ttn::{Event, MqttClient, Network, Recorder, simulator::Simulator};
    /// # let network = Simulator::start(Network::V3)?;
    /// # let client = MqttClient::builder(network.app_id(), network.access_key())
    /// #     .mqtt_address(network.mqtt_address())
    /// #     .build()?;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("run.jsonl");
    /// let mut recorder = Recorder::open(&path, client.network())?;
    /// let events = client.events();
    /// client.connect()?;
    /// # network.device("bed-07").uplink(2, [1]);
    /// for event in events.iter() {
    ///     recorder.record(&event)?;
    /// #   match event {
    /// #       Event::Uplink(_) => client.close()?,
    /// #       Event::Closed(_) => break,
    /// #       _ => {}
    /// #   }
    /// }
    /// # let text = std::fs::read_to_string(path)?;
    /// # assert_eq!(text.lines().count(), 4, "{text}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record(&mut self, event: &Event) -> Result<()> {
        self.record_at(event, SystemTime::now())
    }

    /// Writes an event with this time instead of the current one; with `None`, without a time.
    ///
    /// # Errors
    ///
    /// As [`record`](Self::record).
    ///
    /// ```
    /// # use std::time::SystemTime;
    /// # use ttn::{Event, Network, Recorder, Recording};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("run.jsonl");
    /// let event = Event::decode(Network::V2, "my-app/devices/dev-1/up/temperature", "21.5")?;
    /// Recorder::open(&path, Network::V2)?.record_at(&event, SystemTime::UNIX_EPOCH)?;
    /// let recorded = Recording::open(&path)?.next().unwrap()?;
    /// assert_eq!(recorded.time, Some(SystemTime::UNIX_EPOCH));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record_at(&mut self, event: &Event, time: impl Into<Option<SystemTime>>) -> Result<()> {
        let time = time.into();
        let line = match (event.raw(), &self.anonymizer) {
            (Some(raw), None) => line::message(event, raw, self.network, time),
            (Some(raw), Some(anonymizer)) => {
                let (topic, payload) = anonymizer.message(raw.topic(), raw.payload());
                let replaced = RawMessage::new(&topic, &payload).retained(raw.is_retained());
                line::message(event, &replaced, self.network, time)
            }
            (None, None) => line::note(event, time),
            (None, Some(anonymizer)) => serde_json::to_value(event)
                .map_err(io::Error::from)
                .and_then(|note| line::note(&anonymizer.note(note), time)),
        };
        self.add(line)
    }

    /// Writes a note of another recording.
    ///
    /// # Errors
    ///
    /// As [`record`](Self::record).
    ///
    /// ```
    /// # use ttn::{Event, Network, Recorder, Recording};
    /// # let folder = tempfile::tempdir()?;
    /// # let [path, copy] = ["run.jsonl", "copy.jsonl"].map(|name| folder.path().join(name));
    /// # Recorder::open(&path, Network::V3)?.record_at(&Event::Lagged(7), None)?;
    /// let mut recorder = Recorder::open(&copy, Network::V3)?;
    /// let mut recording = Recording::open(&path)?.keep_notes(true);
    /// while let Some(recorded) = recording.next() {
    ///     for note in recording.take_notes() {
    ///         recorder.note(&note)?;
    ///     }
    ///     let recorded = recorded?;
    ///     recorder.record_at(&recorded.event, recorded.time)?;
    /// }
    /// for note in recording.take_notes() {
    ///     recorder.note(&note)?;
    /// }
    /// # assert_eq!(std::fs::read(path)?.len(), std::fs::read(copy)?.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn note(&mut self, note: &Note) -> Result<()> {
        let line = match &self.anonymizer {
            None => line::note(&note.event, note.time),
            Some(anonymizer) => line::note(&anonymizer.note(note.event.clone()), note.time),
        };
        self.add(line)
    }

    fn add(&mut self, line: io::Result<Vec<u8>>) -> Result<()> {
        line.and_then(|line| self.files.add(line))
            .map_err(|cause| cannot_write(self.files.path(), cause))
    }

    /// Returns the file that is being written.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("run.jsonl");
    /// let recorder = ttn::Recorder::open(&path, ttn::Network::V3)?;
    /// assert_eq!(recorder.path(), path);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn path(&self) -> &Path {
        self.files.path()
    }
}

fn cannot_write(path: &Path, cause: io::Error) -> Error {
    let advice = match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room, or set a smaller size and fewer older files"
        }
        io::ErrorKind::NotFound => "; create its folder, or name another file",
        io::ErrorKind::PermissionDenied => "; name a file that this user may write",
        _ => "",
    };
    Error::with_source(
        ErrorKind::File,
        format!(
            "cannot write the recording {}: {cause}{advice}",
            path.display()
        ),
        cause,
    )
}
