//! How the program ends: its exit statuses.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use ttn::ErrorKind;

/// An exit status. The README lists them; a number never changes its meaning.
#[allow(dead_code, reason = "the commands are being built")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// What was asked for is done, or a signal or a closed pipe ended the program.
    Done = 0,
    /// It could not go on, for a reason that no other status has.
    Failed = 1,
    /// An argument or a setting is wrong.
    Usage = 2,
    /// There is no connection to the network.
    Unreachable = 3,
    /// The network refuses the key, or the key lacks a right.
    NotAuthorized = 4,
    /// The network or a gateway refused the downlink.
    DownlinkFailed = 5,
    /// The device has not acknowledged the downlink.
    NotAcknowledged = 6,
    /// It is not known what became of the downlink.
    Unconfirmed = 7,
    /// What was waited for has not happened in time.
    TimedOut = 8,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

impl Status {
    /// Returns the status for an error.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if is_closed_pipe(error) {
            return Self::Done;
        }
        let Some(error) = error.downcast_ref::<ttn::Error>() else {
            return Self::Failed;
        };
        match error.kind() {
            ErrorKind::Config => Self::Usage,
            ErrorKind::NotAuthorized => Self::NotAuthorized,
            _ if error.is_transient() => Self::Unreachable,
            _ => Self::Failed,
        }
    }
}

/// Prints the error, if there is one, and returns the exit status.
pub(crate) fn report(ended: anyhow::Result<Status>) -> Status {
    let error = match ended {
        Ok(status) => return status,
        Err(error) => error,
    };
    if !is_closed_pipe(&error) {
        let _ = writeln!(io::stderr(), "error: {error:#}");
    }
    Status::of(&error)
}

/// Returns whether the reader of standard output has gone, which is how `ttn listen | head` ends.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
