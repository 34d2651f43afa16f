//! What can be wrong with an HTTP server.

use std::{collections::VecDeque, time::Duration};

/// How the HTTP server misbehaves; see [`Simulator::http_fault`](super::super::Simulator::http_fault).
///
/// With [`Slow`](Self::Slow), [`CutOff`](Self::CutOff), [`Gzip`](Self::Gzip) and the faults that count
/// frames, the server does what is asked. Frames are those of the answers that come in lines: stored
/// uplinks and events. Faults that count frames leave all other answers alone.
///
/// ```
/// use std::{collections::VecDeque, time::Duration};
/// use ttn::Network;
/// use ttn::simulator::{HttpFault, Simulator};
///
/// let network = Simulator::start(Network::V3)?;
/// network.http_fault(Some(HttpFault::Slow(Duration::from_secs(2))));
/// network.http_fault(None);
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpFault {
    /// It does what is asked at once and answers that much later.
    Slow(Duration),
    /// It reads the request and never answers.
    Silent,
    /// It answers with that status, and with an error that has no details.
    Status(u16),
    /// It answers 429, `rate_limit_exceeded`, and to wait for 4 seconds.
    RateLimited,
    /// It answers with that status and an HTML page, as something in front of a server does.
    Html(u16),
    /// It does what is asked, and closes the connection after half of the answer, or of its first frame.
    CutOff,
    /// It answers 302 with that URL.
    Redirect(String),
    /// It writes a line that is not HTTP, and closes the connection.
    NotHttp,
    /// It closes the connection in the middle of the frame that follows that many.
    CutInFrame(usize),
    /// It closes the connection after that many frames, without the last chunk.
    CutAfter(usize),
    /// It writes an error instead of the frame that follows that many, and ends the answer properly. The
    /// status is 200 all the same.
    ErrorAfter(usize),
    /// It writes a line that is not JSON after that many frames, and goes on.
    GarbageAfter(usize),
    /// It writes an HTML page after that many frames, and closes the connection, as something in front of
    /// a server does.
    HtmlAfter(usize),
    /// It writes nothing more after that many frames, and leaves the connection open.
    SilentAfter(usize),
    /// It writes an empty line after each frame.
    EmptyLines,
    /// It writes each frame twice.
    Doubled,
    /// It waits that long before each frame.
    Drip(Duration),
    /// It answers in gzip if the client accepts that, in blocks that are not compressed. The real server
    /// does so with all streams, and with answers that are long enough.
    Gzip,
}

/// The faults of a server.
#[derive(Default)]
pub(super) struct Faults {
    everywhere: Option<HttpFault>,
    /// With what the path contains; the newest last.
    on_paths: Vec<(String, HttpFault)>,
    /// With what the path contains, those that the next requests meet, one each.
    next: Vec<(String, VecDeque<HttpFault>)>,
}

impl Faults {
    pub(super) fn set(&mut self, fault: Option<HttpFault>) {
        self.everywhere = fault;
    }

    pub(super) fn set_on(&mut self, path: &str, fault: Option<HttpFault>) {
        self.on_paths.retain(|(known, _)| known != path);
        if let Some(fault) = fault {
            self.on_paths.push((path.to_owned(), fault));
        }
    }

    pub(super) fn set_next(&mut self, path: &str, faults: impl IntoIterator<Item = HttpFault>) {
        self.next.retain(|(known, _)| known != path);
        self.next
            .push((path.to_owned(), faults.into_iter().collect()));
    }

    /// Returns the fault of a request for that target: the next of those for one request each, else the
    /// newest on its path, else the one everywhere.
    pub(super) fn of(&mut self, target: &str) -> Option<HttpFault> {
        let mut next = self.next.iter_mut();
        let fitting = next.find(|(path, faults)| target.contains(&**path) && !faults.is_empty());
        if let Some((_, faults)) = fitting {
            return faults.pop_front();
        }
        let mut on_paths = self.on_paths.iter().rev();
        let on_path = on_paths.find(|(path, _)| target.contains(path));
        let on_path = on_path.map(|(_, fault)| fault);
        on_path.or(self.everywhere.as_ref()).cloned()
    }
}
