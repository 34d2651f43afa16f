//! From a host name to network addresses.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::shortage::{EXHAUSTED, want_of_descriptors};
use crate::{
    error::{Error, ErrorKind, Result},
    process,
};

/// Abandoned lookups cannot be cancelled; this limits them in the process.
const MAX_LOOKUPS: usize = 16;

static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// The right to run one lookup.
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

/// Looks up the addresses of a host, in the resolver's order of preference. May block for long, and
/// cannot be cancelled.
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

/// Looks up the addresses of a host before `deadline`, on a thread that is abandoned after it.
pub(super) fn look_up_until(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>> {
    // Waits for no name server, and for no place.
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let Some(place) = Place::take() else {
        return Err(Error::new(
            ErrorKind::TimedOut,
            format!(
                "cannot find the host {host:?}: {MAX_LOOKUPS} earlier lookups are still running; check the name server"
            ),
        ));
    };
    let (done, found) = bounded(1);
    let name = host.to_owned();
    process::start_thread("ttn-lookup", move || {
        let _place = place;
        // The caller may have stopped waiting.
        let _ = done.send(look_up(&name, port));
    })
    .map_err(Error::no_thread)?;
    found.recv_deadline(deadline).unwrap_or_else(|error| {
        let why = match error {
            RecvTimeoutError::Timeout => "the name server did not answer in time",
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
        for (host, found) in [("::1", "[::1]:8883"), ("127.0.0.1", "127.0.0.1:8883")] {
            let too_late = Instant::now();
            let addresses = look_up_until(host, 8883, too_late).unwrap();
            assert_eq!(addresses, [found.parse().unwrap()]);
        }
    }
}
