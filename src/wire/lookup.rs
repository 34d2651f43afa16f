//! From a host name to network addresses.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::EXHAUSTED;
use crate::error::{Error, ErrorKind, Result};

/// Lookups that were left behind cannot be cancelled; there are no more of them in the process.
const MAX_LOOKUPS: usize = 16;

static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// Leave to look something up, until it is dropped.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let more = |lookups| (lookups < MAX_LOOKUPS).then_some(lookups + 1);
        let taken = LOOKUPS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then_some(Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The addresses of a host in the order of preference of the resolver. Blocks, at times for long,
/// and cannot be cancelled.
pub(super) fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(|cause| unknown(host, want_of_descriptors().unwrap_or(cause)))?
        .collect();
    if addresses.is_empty() {
        return Err(Error::new(
            ErrorKind::UnknownHost,
            format!("cannot find the host {host:?}: the name has no address"),
        ));
    }
    Ok(addresses)
}

/// The same within a time limit, on a thread that is left behind when the time is over.
pub(super) fn look_up_until(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>> {
    let Some(place) = Place::take() else {
        return Err(Error::new(
            ErrorKind::TimedOut,
            format!(
                "cannot find the host {host:?}: {MAX_LOOKUPS} earlier lookups are still not over"
            ),
        ));
    };
    let (done, found) = bounded(1);
    let name = host.to_owned();
    thread::Builder::new()
        .name("ttn-lookup".to_owned())
        .spawn(move || {
            let _place = place;
            // Whoever asked may have stopped waiting.
            let _ = done.send(look_up(&name, port));
        })
        .map_err(Error::no_thread)?;
    found.recv_deadline(deadline).unwrap_or_else(|error| {
        let why = match error {
            RecvTimeoutError::Timeout => "the name server does not answer in time",
            RecvTimeoutError::Disconnected => "the lookup ended without an answer",
        };
        Err(Error::new(
            ErrorKind::TimedOut,
            format!("cannot find the host {host:?}: {why}"),
        ))
    })
}

fn unknown(host: &str, cause: io::Error) -> Error {
    let (kind, advice) = match ErrorKind::of_io(&cause) {
        Some(ErrorKind::ResourcesExhausted) => (ErrorKind::ResourcesExhausted, EXHAUSTED),
        _ => (ErrorKind::UnknownHost, "check the address and the network"),
    };
    Error::with_source(
        kind,
        format!("cannot find the host {host:?}: {cause}; {advice}"),
        cause,
    )
}

/// Whether a few more descriptors cannot be had. The resolver and the MQTT client need some, and when
/// they cannot have them they blame the host or say nothing.
pub(crate) fn want_of_descriptors() -> Option<io::Error> {
    let sockets = [(); 4].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
    sockets
        .into_iter()
        .filter_map(io::Result::err)
        .find(|cause| ErrorKind::of_io(cause) == Some(ErrorKind::ResourcesExhausted))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_name_that_does_not_exist_is_an_unknown_host() {
        let deadline = Instant::now() + Duration::from_secs(10);
        let error = look_up_until("no-such-host.invalid", 1, deadline).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownHost);
        assert!(error.to_string().contains("no-such-host.invalid"));
    }

    #[test]
    fn an_address_needs_no_name_server() {
        let found = look_up("::1", 8883).unwrap();
        assert_eq!(found, ["[::1]:8883".parse().unwrap()]);
    }
}
