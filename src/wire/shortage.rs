//! What this process or machine runs out of, and what errors say about it.

use std::{
    fmt, io,
    net::{Ipv4Addr, UdpSocket},
};

use crate::error::{Error, ErrorKind};

/// The cause, as part of errors.
pub(crate) const EXHAUSTED: &str = "this process has too many files and sockets open";

/// Explains that no local socket is available for a connection to `server`.
pub(super) fn out_of(server: &dyn fmt::Display, cause: io::Error) -> Error {
    let kind = ErrorKind::of_io(&cause).unwrap_or(ErrorKind::ResourcesExhausted);
    let what = match kind {
        ErrorKind::ResourcesExhausted => EXHAUSTED,
        _ => "this machine does not allow a socket for it, perhaps on the loopback",
    };
    let context = format!("cannot connect to {server}: {what} ({cause})");
    Error::with_source(kind, context, cause)
}

/// Returns why the process cannot open a few more descriptors, if it cannot. The resolver and the MQTT
/// client need some; without them, they blame the host or give no reason.
pub(crate) fn want_of_descriptors() -> Option<io::Error> {
    let sockets = [(); 4].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
    sockets
        .into_iter()
        .filter_map(io::Result::err)
        .find(|cause| ErrorKind::of_io(cause) == Some(ErrorKind::ResourcesExhausted))
}
