//! The Storage Integration of hosted networks.

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{Api, Failure, Frames};
use crate::sync::lock;

/// How long a server without storage is not asked for it again.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// The end of the year 9999, the latest time that can be written, after 1970.
const LATEST: Duration = Duration::from_secs(253_402_300_799);

/// When the server has last said that it has no storage.
#[derive(Clone, Debug, Default)]
pub(super) struct NoStorage(Arc<Mutex<Option<Instant>>>);

/// Which stored uplinks to ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stored<'a> {
    /// The oldest ones later than a time.
    After { after: SystemTime, limit: u32 },
    /// Those that the token of an earlier answer leads to.
    Next(&'a str),
    /// The oldest one of all.
    Oldest,
}

impl Api {
    /// Asks for stored uplinks, the oldest first. Needs `RIGHT_APPLICATION_TRAFFIC_READ`. A server without
    /// storage answers 404.
    pub(crate) fn stored(&self, which: Stored<'_>) -> Result<Frames, Failure> {
        let query = match which {
            Stored::After { after, limit } => {
                let after = after.clamp(UNIX_EPOCH, UNIX_EPOCH + LATEST);
                let after = humantime::format_rfc3339_nanos(after);
                format!("after={after}&order=received_at&limit={limit}")
            }
            Stored::Next(token) => format!("continuation_token={}", in_query(token)),
            Stored::Oldest => "order=received_at&limit=1".to_owned(),
        };
        let path = format!("/packages/storage/uplink_message?{query}");
        self.stream(&self.of_application_server(&path), None)
    }

    /// Notes that the server has no storage.
    pub(crate) fn note_no_storage(&self) {
        *lock(&self.no_storage.0) = Some(Instant::now());
    }

    /// Returns whether the server has lately said that it has no storage.
    pub(crate) fn is_without_storage(&self) -> bool {
        let noted = *lock(&self.no_storage.0);
        noted.is_some_and(|noted| noted.elapsed() < REMEMBERED)
    }
}

/// Writes text as the value of a parameter.
fn in_query(text: &str) -> String {
    let mut query = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                query.push(char::from(byte));
            }
            _ => {
                let _ = write!(query, "%{byte:02X}");
            }
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_written_so_that_it_arrives_as_it_is() {
        assert_eq!(in_query("aZ0-._~"), "aZ0-._~");
        assert_eq!(in_query("a+b/c=&é"), "a%2Bb%2Fc%3D%26%C3%A9");
    }
}
