//! Probes for a diagnosis: every address on its own, and the version of TLS in use.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::unbounded;

use super::{
    destination::Destination,
    dial::{advice, describe},
    opening::Blocking,
};
use crate::{
    error::{Error, ErrorKind},
    process,
};

/// The most addresses to try.
const MAX_TRIED: usize = 8;

/// An address, and how it answers.
#[derive(Debug)]
pub(crate) struct Tried {
    pub(crate) address: SocketAddr,
    pub(crate) answer: Result<Duration, Silence>,
}

/// Why an address does not answer.
#[derive(Debug)]
pub(crate) struct Silence {
    pub(crate) kind: ErrorKind,
    /// A few words, such as `refused`.
    pub(crate) seen: String,
    /// What it means, and what to do.
    pub(crate) advice: &'static str,
}

/// What both sides of a connection with TLS have agreed on.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    pub(crate) version: &'static str,
    /// The certificate of the server; `None` if it cannot be read.
    pub(crate) certificate: Option<Dated>,
}

/// A certificate that was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Dated {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

impl Destination {
    /// The addresses of the host or of the proxy.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the proxy in between, without user and secret.
    pub(crate) fn proxy(&self) -> Option<String> {
        self.proxy.as_ref().map(ToString::to_string)
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.trust.is_some()
    }

    /// Connects to every address at the same time, and closes the connections again.
    pub(crate) fn try_addresses(&self, deadline: Instant) -> Result<Vec<Tried>, Error> {
        let (done, answers) = unbounded();
        let time = deadline.saturating_duration_since(Instant::now());
        let mut addresses = self.addresses.clone();
        addresses.truncate(MAX_TRIED);
        for address in addresses.clone() {
            let done = done.clone();
            process::start_thread("ttn-doctor", move || {
                let start = Instant::now();
                let answer = match TcpStream::connect_timeout(&address, time) {
                    Ok(_) => Ok(start.elapsed()),
                    Err(cause) => Err(Silence::of(&cause)),
                };
                // Nobody waits after the deadline.
                let _ = done.send(Tried { address, answer });
            })
            .map_err(Error::no_thread)?;
        }
        drop(done);
        let mut tried: Vec<Tried> = Vec::with_capacity(addresses.len());
        while let Ok(answer) = answers.recv_deadline(deadline) {
            tried.push(answer);
        }
        addresses.retain(|address| tried.iter().all(|tried| tried.address != *address));
        tried.extend(addresses.into_iter().map(|address| Tried {
            address,
            answer: Err(Silence::of(&io::ErrorKind::TimedOut.into())),
        }));
        tried.sort_by_key(|tried| {
            let place = self.addresses.iter().position(|a| *a == tried.address);
            place.unwrap_or(usize::MAX)
        });
        Ok(tried)
    }
}

impl Silence {
    fn of(cause: &io::Error) -> Self {
        let kind = ErrorKind::of_io(cause).unwrap_or(ErrorKind::Unreachable);
        Self {
            kind,
            seen: describe(cause),
            advice: advice(kind),
        }
    }
}

impl Blocking {
    /// Returns what TLS has agreed on; `None` without TLS.
    pub(crate) fn security(&self) -> Option<Security> {
        self.line().security()
    }
}
