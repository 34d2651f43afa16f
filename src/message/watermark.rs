//! How far a program has got with its uplinks.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{error::Error, sync};

/// The bytes of a key in a watermark.
const KEY: usize = 6;

/// How far a program has got with its uplinks; returned by
/// [`UplinkMessage::watermark`](super::UplinkMessage::watermark).
///
/// Once the program has handled that uplink, it has handled every uplink before the watermark. Store it with the
/// data, in the same transaction, and pass it to
/// [`resume_from`](crate::MqttClientBuilder::resume_from) in the next run: the client then fetches what is
/// missing, and nothing that was handled.
///
/// It is opaque: text for your database. Besides a time of the network's clock, it names the uplinks shortly
/// before it that were handled, in 8 characters each.
///
/// ```
/// use std::time::SystemTime;
/// use ttn::Watermark;
///
/// let watermark = Watermark::from(SystemTime::now());
/// let stored = watermark.to_string();
/// assert_eq!(stored.parse::<Watermark>()?, watermark);
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Nanoseconds since 1970.
    at: u64,
    /// The keys of uplinks that were handled, although they are not long before that time, or after it.
    known: Vec<[u8; KEY]>,
}

impl Watermark {
    /// Returns the watermark at a time of the network's clock, with the keys of uplinks after it, or shortly
    /// before it, that were handled.
    pub(crate) fn new(at: SystemTime, known: impl IntoIterator<Item = u64>) -> Self {
        Self {
            known: known.into_iter().map(short).collect(),
            ..Self::from(at)
        }
    }

    /// Adds what an earlier watermark knows.
    pub(crate) fn add_known(&mut self, earlier: &Self) {
        self.known.extend(&earlier.known);
    }

    pub(crate) fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.at)
    }

    /// Returns whether the uplink with this key was handled.
    pub(crate) fn contains(&self, key: u64) -> bool {
        self.known.contains(&short(key))
    }
}

fn short(key: u64) -> [u8; KEY] {
    let [_, _, rest @ ..] = key.to_be_bytes();
    rest
}

impl From<SystemTime> for Watermark {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            at: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            known: Vec::new(),
        }
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at)?;
        if self.known.is_empty() {
            return Ok(());
        }
        write!(f, ".{}", BASE64_URL_SAFE_NO_PAD.encode(self.known.concat()))
    }
}

impl FromStr for Watermark {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (at, known) = text.split_once('.').unwrap_or((text, ""));
        let known = BASE64_URL_SAFE_NO_PAD.decode(known).ok();
        let known = known.filter(|known| known.len() % KEY == 0);
        let is_number = at.bytes().all(|byte| byte.is_ascii_digit());
        match (at.parse(), known) {
            (Ok(at), Some(known)) if is_number => Ok(Self {
                at,
                known: known
                    .chunks_exact(KEY)
                    .filter_map(|key| key.try_into().ok())
                    .collect(),
            }),
            _ => Err(Error::config(format!("{text:?} is not a watermark"))),
        }
    }
}

/// What knows the watermark of each uplink.
pub(crate) trait Marks: fmt::Debug + Send + Sync {
    /// Returns the watermark after an uplink. Everything before the time `low` was delivered before it.
    fn watermark(&self, uplink: u64, low: SystemTime) -> Watermark;
}

/// The place of an uplink among those that a client has delivered, if the client keeps track of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place(Option<Mark>);

#[derive(Clone, Debug)]
struct Mark {
    /// The number of the uplink.
    number: u64,
    /// Everything before that time was delivered before it.
    low: SystemTime,
    marks: Arc<dyn Marks>,
    /// What the subscriber has lost who gets this one.
    lost: Option<Arc<Losses>>,
}

/// The first uplink that a subscriber has lost: its number, and the time before which everything was delivered
/// before it.
pub(crate) type Lost = Option<(u64, SystemTime)>;

/// What a subscriber has lost. The lock is held while one is taken from the queue, so that
/// the reader of the next one knows of it.
#[derive(Debug, Default)]
pub(crate) struct Losses(pub(crate) Mutex<Lost>);

impl Place {
    pub(crate) fn new(number: u64, low: SystemTime, marks: Arc<dyn Marks>) -> Self {
        Self(Some(Mark {
            number,
            low,
            marks,
            lost: None,
        }))
    }

    pub(crate) fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// Notes who gets the uplink.
    pub(crate) fn goes_to(&mut self, lost: &Arc<Losses>) {
        if let Some(mark) = &mut self.0 {
            mark.lost = Some(Arc::clone(lost));
        }
    }

    /// Notes that the uplink is lost to a subscriber.
    pub(crate) fn is_lost(&self, first: &mut Lost) {
        if let Some(mark) = &self.0 {
            if first.is_none_or(|(number, _)| mark.number < number) {
                *first = Some((mark.number, mark.low));
            }
        }
    }

    /// Returns the watermark once the subscriber has handled this uplink.
    pub(super) fn watermark(&self) -> Option<Watermark> {
        let mark = self.0.as_ref()?;
        let lost = mark.lost.as_ref().and_then(|lost| *sync::lock(&lost.0));
        Some(match lost {
            Some((number, low)) if number <= mark.number => mark
                .marks
                .watermark(number.saturating_sub(1), low.min(mark.low)),
            _ => mark.marks.watermark(mark.number, mark.low),
        })
    }
}

/// An uplink is the same one wherever it is in a stream.
impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
