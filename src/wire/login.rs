//! Logs the client in to the server, before there is anything to relay.

use std::{io, time::Instant};

use super::{
    line::Line,
    opening::{Failure, wait},
    relay::Login,
    report::End,
    waiter::Waiter,
};
use crate::error::{Error, ErrorKind};

/// The answer of a server that accepts the client (MQTT 3.1.1, section 3.2).
pub(super) type Connack = [u8; 4];

/// The answer for the client, which knows of no earlier session.
pub(super) const CLEAN: Connack = [0x20, 2, 0, 0];

/// Returns whether the server has kept a session.
pub(super) fn session_present(answer: Connack) -> bool {
    answer[2] & 1 == 1
}

/// Sends the login. Returns the server's answer unchanged.
pub(super) fn log_in(
    waiter: &mut Waiter,
    line: &mut Line,
    login: &Login,
    server: &str,
    is_tls: bool,
    deadline: Instant,
) -> Result<Connack, End> {
    let silent = || {
        End::Failed(Error::new(
            ErrorKind::TimedOut,
            format!(
                "{server} accepted the connection and then did not answer; is it an MQTT server, and is it overloaded?"
            ),
        ))
    };
    let mut unsent = login.packet();
    let mut answer = [0; 4];
    let mut length = 0;
    loop {
        let failed = match exchange(line, &mut unsent, &mut answer[length..]) {
            Ok(0) => return Err(End::Failed(closed(server, line, ""))),
            Ok(read) => {
                length += read;
                None
            }
            Err(cause) => Some(cause),
        };
        line.acknowledge_at_once();
        if !b"\x20\x02".starts_with(&answer[..length.min(2)]) {
            let text: String = String::from_utf8_lossy(&answer[..length])
                .escape_debug()
                .collect();
            let what = format!("it sent something else, beginning with \"{text}\"");
            return Err(End::Failed(no_mqtt(server, is_tls, &what)));
        }
        if length == answer.len() {
            return match answer[3] {
                0 => Ok(answer),
                code => Err(End::Refused(code)),
            };
        }
        match failed {
            None => {}
            Some(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                let in_time = wait(waiter, &server, None, deadline).map_err(End::from)?;
                if !in_time {
                    return Err(silent());
                }
            }
            Some(cause) => {
                let error = line.explain(&server, cause);
                return Err(End::Failed(match error.kind() {
                    ErrorKind::ConnectionLost => closed(server, line, " with a reset"),
                    _ => error,
                }));
            }
        }
    }
}

/// Writes what is still unsent, and reads what is there. If both fail, returns the failure to read,
/// which says more.
fn exchange(line: &mut Line, unsent: &mut Vec<u8>, room: &mut [u8]) -> io::Result<usize> {
    while !unsent.is_empty() {
        match line.write(unsent) {
            Ok(length) => drop(unsent.drain(..length)),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
            Err(cause) => {
                return match line.read(room) {
                    Err(other) if other.kind() == io::ErrorKind::WouldBlock => Err(cause),
                    result => result,
                };
            }
        }
    }
    match line.flush() {
        Err(cause) if cause.kind() != io::ErrorKind::WouldBlock => Err(cause),
        _ => line.read(room),
    }
}

/// Explains that the server closed the connection instead of answering, without a TLS alert.
fn closed(server: &str, line: &Line, how: &str) -> Error {
    let request = if line.lacks_client_certificate() {
        " after it had asked for a client certificate; set one with client_certificate_files or client_certificate_pem"
    } else {
        ""
    };
    no_mqtt(
        server,
        line.is_tls(),
        &format!("it closed the connection{how}{request}"),
    )
}

fn no_mqtt(server: &str, is_tls: bool, what: &str) -> Error {
    let port = if is_tls {
        "MQTT with TLS"
    } else {
        "MQTT without TLS"
    };
    Error::new(
        ErrorKind::Protocol,
        format!(
            "{server} did not answer as an MQTT server does: {what}; check that this is the port for {port}, and \
             whether the server limits connections"
        ),
    )
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Cancelled => Self::Closed,
            Failure::Failed(error) => Self::Failed(error),
        }
    }
}
