//! Ctrl-C, SIGTERM and SIGHUP, as a channel.

use std::{
    convert::Infallible,
    process,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use console::Term;
use ttn::crossbeam_channel::{Receiver, bounded, never};

/// How long a terminal may take to show its cursor.
const SHOWN: Duration = Duration::from_millis(200);

/// Ends with the first signal.
static QUIET: OnceLock<Receiver<Infallible>> = OnceLock::new();

/// `timeout` and others signal a program and its process group, so that one request arrives as two signals.
const SAME: Duration = Duration::from_millis(500);

/// Receives a message when the program is asked to end. A second request ends it at once, with the status
/// that shells use for it.
pub(crate) fn receive() -> Result<Receiver<()>> {
    let (sender, receiver) = bounded(1);
    let (until_signal, quiet) = bounded(0);
    let mut quiet_until = Some(until_signal);
    let mut requests = Requests::default();
    let on_signal = move || match requests.take(Instant::now()) {
        Request::First => {
            drop(quiet_until.take());
            let _ = sender.try_send(());
        }
        Request::Same => {}
        Request::Second => {
            show_cursor();
            process::exit(130);
        }
    };
    ctrlc::set_handler(on_signal).context("cannot receive signals")?;
    let _ = QUIET.set(quiet);
    Ok(receiver)
}

/// Shows the cursor of a terminal, which a table or a bar has hidden. The terminal may take nothing.
fn show_cursor() {
    let (sender, shown) = bounded::<()>(1);
    let show = move || {
        for term in [Term::stdout(), Term::stderr()] {
            if term.is_term() {
                let _ = term.show_cursor();
            }
        }
        let _ = sender.send(());
    };
    if thread::Builder::new().spawn(show).is_ok() {
        let _ = shown.recv_timeout(SHOWN);
    }
}

/// Returns a channel without messages, which ends with the first signal: every clone sees it.
pub(crate) fn quiet() -> Receiver<Infallible> {
    QUIET.get().cloned().unwrap_or_else(never)
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    First,
    /// It belongs to the first one.
    Same,
    Second,
}

/// When the program was asked to end.
#[derive(Debug, Default)]
struct Requests {
    first: Option<Instant>,
}

impl Requests {
    fn take(&mut self, now: Instant) -> Request {
        match self.first {
            Some(first) if now - first > SAME => Request::Second,
            Some(_) => Request::Same,
            None => {
                self.first = Some(now);
                Request::First
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_signals_at_once_are_one_request_and_a_later_one_is_another() {
        let mut requests = Requests::default();
        let start = Instant::now();
        assert_eq!(requests.take(start), Request::First);
        assert_eq!(requests.take(start), Request::Same);
        assert_eq!(requests.take(start + SAME), Request::Same);
        assert_eq!(requests.take(start + 2 * SAME), Request::Second);
    }
}
