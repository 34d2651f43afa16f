//! How the program ends: its exit statuses.

use std::{error::Error, fmt, io, process::ExitCode};

use ttn::ErrorKind;

use crate::{key, options, output};

/// An exit status. The help of `ttn` lists them; a number never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Status {
    /// What was asked for is done, or a closed pipe ended the program, or a signal one that runs until then.
    Done = 0,
    /// It could not go on, for a reason that no other status has.
    Failed = 1,
    /// An argument or a setting is wrong. Nothing was sent.
    Usage = 2,
    /// There is no connection to the network.
    Unreachable = 3,
    /// The network refuses the key, or the key lacks a right.
    NotAuthorized = 4,
    /// The network or a gateway refused the downlink, or it was replaced in the queue.
    DownlinkFailed = 5,
    /// The downlink was sent, and the device has not acknowledged it; the network no longer tries.
    NotAcknowledged = 6,
    /// It is not known what became of the downlink.
    Unconfirmed = 7,
    /// What was waited for has not happened in time, or not before a signal.
    TimedOut = 8,
}

/// The table of the statuses for the help.
pub(crate) const HELP: &str = "\
Exit status:
  0  done; or ended by a signal, where a command runs until one
  1  failed for a reason that no other status has
  2  an argument or a setting is wrong; nothing was sent
  3  no connection to the network
  4  the network refuses the key, or the key lacks a right
  5  the downlink was refused, or replaced in the queue
  6  the device has not acknowledged the downlink; no attempt follows
  7  what became of the downlink is not known
  8  what was waited for has not happened in time, or not before a signal";

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// An error about an argument or a setting.
#[derive(Debug)]
struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Usage {}

/// Makes an error about an argument or a setting; it ends the program with [`Status::Usage`].
pub(crate) fn usage(text: impl Into<String>) -> anyhow::Error {
    Usage(text.into()).into()
}

impl Status {
    /// Returns the status of a command that a signal has ended. A command that waits for something, such as a number
    /// of events, the end of a backfill or a state of a downlink, has not got it; any other one runs until a signal.
    /// A limit of time is nothing to wait for. Where nothing is lost with it, a command leaves a signal to the system.
    pub(crate) fn of_signal(waits: bool) -> Self {
        match waits {
            true => Self::TimedOut,
            false => Self::Done,
        }
    }

    /// Returns the status for an error.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if is_closed_pipe(error) {
            Self::Done
        } else if error.is::<Usage>() {
            Self::Usage
        } else if error.is::<output::Stalled>() {
            Self::TimedOut
        } else if let Some(error) = error.downcast_ref::<ttn::Error>() {
            Self::of_kind(error.kind())
        } else {
            Self::Failed
        }
    }

    /// Returns the status for an error of the library.
    pub(crate) fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Config
            | ErrorKind::Downlink
            | ErrorKind::ApplicationNotFound
            | ErrorKind::DeviceNotFound => Self::Usage,
            ErrorKind::NotAuthorized | ErrorKind::SubscriptionRefused => Self::NotAuthorized,
            ErrorKind::DownlinkFailed | ErrorKind::Expired => Self::DownlinkFailed,
            ErrorKind::Unconfirmed => Self::Unconfirmed,
            ErrorKind::ServerUnavailable
            | ErrorKind::Protocol
            | ErrorKind::UnknownHost
            | ErrorKind::ConnectionRefused
            | ErrorKind::Unreachable
            | ErrorKind::TimedOut
            | ErrorKind::PermissionDenied
            | ErrorKind::Proxy
            | ErrorKind::CertificateAuthority
            | ErrorKind::CertificateExpired
            | ErrorKind::CertificateHostName
            | ErrorKind::Tls
            | ErrorKind::ConnectionLost
            | ErrorKind::NotConnected
            | ErrorKind::DiscoveryAnswer
            | ErrorKind::NoMqttAddress => Self::Unreachable,
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
        output::note(key::conceal(&format!(
            "error: {}",
            options::named(&text(&error))
        )));
    }
    Status::of(&error)
}

/// Returns the error and its causes, without those that it names itself.
fn text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            let separator = if text.is_empty() { "" } else { ": " };
            text += &format!("{separator}{cause}");
        }
    }
    text
}

/// Returns whether the reader of standard output has gone, which is how `ttn listen | head` ends.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn an_error_keeps_its_status_under_a_context() {
        let wrong = Err::<(), _>(usage("a wrong option")).context("in line 3");
        assert_eq!(Status::of(&wrong.unwrap_err()), Status::Usage);
        let error = ttn::MqttClient::new("My App", "NNSXS.ID.SECRET").unwrap_err();
        let error = anyhow::Error::from(error).context("in line 3");
        assert_eq!(Status::of(&error), Status::Usage);
    }

    #[test]
    fn a_cause_is_told_once() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let named = anyhow::Error::from(full).context("cannot write: no storage space");
        let error = named.context("line 3");
        assert_eq!(text(&error), "line 3: cannot write: no storage space");
        let other = anyhow::anyhow!("no room").context("cannot write");
        assert_eq!(text(&other), "cannot write: no room");
    }

    #[test]
    fn a_signal_is_the_end_only_of_what_waits_for_nothing_else() {
        assert_eq!(Status::of_signal(false), Status::Done);
        assert_eq!(Status::of_signal(true), Status::TimedOut);
    }

    #[test]
    fn a_closed_pipe_is_not_a_failure() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Status::of(&closed.into()), Status::Done);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Status::of(&full.into()), Status::Failed);
    }

    #[test]
    fn the_help_names_every_status() {
        let listed = HELP.lines().filter_map(|line| line.trim().split_once("  "));
        let numbers: Vec<u8> = listed
            .filter_map(|(number, _)| number.parse().ok())
            .collect();
        assert_eq!(numbers, (0..=Status::TimedOut as u8).collect::<Vec<_>>());
    }
}
