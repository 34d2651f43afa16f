//! How far a program has got with its uplinks.

use std::{
    collections::HashSet,
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::error::Error;

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
/// It is opaque: text for your database, in ASCII and without blanks, which [`Display`](fmt::Display) writes and
/// [`FromStr`] reads. Besides a time of the network's clock, to the nanosecond, it names the uplinks shortly before
/// that time ([`overlap`](crate::Backfill::overlap)) and after it that were handled: 8 characters each, and 1,024 of
/// them at most. So the text has less than 9 kB, and of an application with more than 1,024 uplinks a minute, or with
/// more than that since the start of a gap that is not filled yet, the next run may get some again. A [`SystemTime`] makes a watermark that names none; the time before 1970 is that of 1970, and
/// the time after 2554 that of 2554.
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
    known: Vec<ShortKey>,
}

/// The part of an uplink's key that is in a watermark.
pub(crate) type ShortKey = [u8; KEY];

impl Watermark {
    /// Returns the watermark at a time of the network's clock, with the keys of uplinks after it, or shortly
    /// before it, that were handled.
    pub(crate) fn new(at: SystemTime, known: impl IntoIterator<Item = ShortKey>) -> Self {
        Self {
            known: known.into_iter().collect(),
            ..Self::from(at)
        }
    }

    pub(crate) fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.at)
    }

    /// Returns the keys of the uplinks that were handled.
    pub(crate) fn into_known(self) -> HashSet<ShortKey> {
        self.known.into_iter().collect()
    }
}

/// Returns the part of a key that is in a watermark.
pub(crate) fn short(key: u64) -> ShortKey {
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

    /// Reads the text of a watermark. Blanks and line ends around it do not matter.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for any other text.
    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let (at, known) = match text.split_once('.') {
            Some((at, known)) => (at, Some(known).filter(|known| !known.is_empty())),
            None => (text, Some("")),
        };
        let known = known.and_then(|known| BASE64_URL_SAFE_NO_PAD.decode(known).ok());
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
            _ => Err(not_a_watermark(text)),
        }
    }
}

/// Does not repeat the text, which may be long, or a secret in the wrong place.
fn not_a_watermark(text: &str) -> Error {
    Error::config(format!(
        "this text of {} bytes is not a watermark; pass the whole text that the to_string of an uplink's watermark has \
         returned, which begins with a number",
        text.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::ErrorKind, seeds};

    fn read(text: &str) -> Watermark {
        text.parse().unwrap()
    }

    #[test]
    fn a_watermark_is_the_same_after_it_was_written_and_read() {
        seeds::for_seeds(300, |random| {
            let count = *random.choice(&[0, 0, 1, 2, 3, 100, 1_024]).unwrap();
            let at = match random.u8(..4) {
                0 => 0,
                1 => u64::MAX,
                _ => random.u64(..),
            };
            let at = UNIX_EPOCH + Duration::from_nanos(at);
            let keys: Vec<u64> = (0..count).map(|_| random.u64(..)).collect();
            let watermark = Watermark::new(at, keys.iter().copied().map(short));
            let text = watermark.to_string();
            assert_eq!(read(&text), watermark);
            assert_eq!(read(&format!(" {text}\r\n")), watermark);
            assert_eq!(read(&text).time(), at);
            assert!(text.len() < 9_000, "{}", text.len());
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
            let known = read(&text).into_known();
            assert!(keys.iter().all(|key| known.contains(&short(*key))));
        });
    }

    #[test]
    fn a_watermark_of_any_time_can_be_written_and_read() {
        let year = Duration::from_secs(31_556_952);
        for (time, text) in [
            (UNIX_EPOCH.checked_sub(50 * year), "0"),
            (Some(UNIX_EPOCH), "0"),
            (
                Some(UNIX_EPOCH + Duration::new(1_764_223_200, 325_718_204)),
                "1764223200325718204",
            ),
            (UNIX_EPOCH.checked_add(2_000 * year), "18446744073709551615"),
        ] {
            let watermark = Watermark::from(time.unwrap());
            assert_eq!(watermark.to_string(), text);
            assert_eq!(read(text), watermark);
            assert!(watermark.time() >= UNIX_EPOCH);
        }
    }

    #[test]
    fn what_is_not_a_watermark_is_refused_and_not_repeated() {
        let key = "NNSXS.ABCDEFGHIJKLMNOPQRSTUVWXYZ234567ABCDEFG.SECRET";
        for text in [
            "",
            " ",
            "+5",
            "-5",
            "5x",
            "5 6",
            "5.",
            ".AAAAAAAA",
            "5.AAAAAAA",
            "5.AAAAAAAAA",
            "5.AAAAAAA=",
            "5.AAAA AAAA",
            "5.AAAAAAAA.AAAAAAAA",
            "5.AAAAAAA/",
            "5.AAAA",
            "18446744073709551616",
            "2026-11-27T06:00:00Z",
            "\u{0665}",
            key,
        ] {
            let error = text.parse::<Watermark>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text:?}");
            let message = error.to_string();
            assert!(message.contains("is not a watermark"), "{message}");
            assert!(!message.contains("SECRET"), "{message}");
        }
        // Nothing panics, whatever it is.
        let parts = [
            "5",
            ".",
            "AAAAAAAA",
            "_-",
            "=",
            "\0",
            "ä",
            "\u{1f331}",
            "99999999999",
            " ",
        ];
        seeds::for_seeds(2_000, |random| {
            let text = seeds::text_of(random, &parts, 0..6);
            if let Ok(watermark) = text.parse::<Watermark>() {
                assert_eq!(read(&watermark.to_string()), watermark, "{text:?}");
            }
        });
    }
}
