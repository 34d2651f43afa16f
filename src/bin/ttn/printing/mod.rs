//! A client whose events are printed until there is enough of them, or somebody wants to end.

mod kind;
mod printer;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use anyhow::{Context, Result};
use ttn::{
    MqttClient, Overflow,
    crossbeam_channel::{Receiver, after, never, select, tick},
};

pub(crate) use kind::Kind;
pub(crate) use printer::{End, Printer, tell_lost};

use crate::{interrupt, output, progress::Progress, reader, threads};

/// How many events may wait for standard output. When it takes none for long, the network's server is not read.
const WAITING: usize = 10_000;

/// How long to go on printing what has arrived before the end.
const GRACE: Duration = Duration::from_secs(5);

/// How often the progress bar moves.
const GLANCE: Duration = Duration::from_millis(200);

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) stop: Stop,
    /// Why there was nothing more to print; unknown if standard output does not take what there is.
    pub(crate) end: Option<End>,
    /// How many events were printed.
    pub(crate) printed: u64,
}

/// What made it stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// There was nothing more to print.
    Printed,
    /// A signal.
    Asked,
    /// The reader of standard output has gone.
    Gone,
    TimedOut,
}

/// Prints the events of a client, which is closed in the end. `start` runs on a thread of its own, because it may
/// wait for the network.
///
/// # Errors
///
/// Those of `start`, and of writing.
pub(crate) fn run(
    client: MqttClient,
    mut printer: Printer,
    mut progress: Progress,
    timeout: Option<Duration>,
    start: impl FnOnce(&MqttClient) -> ttn::Result<()> + Send + 'static,
) -> Result<Ended> {
    let signals = interrupt::receive()?;
    let gone = reader::watch();
    let events = client.events_with(WAITING, Overflow::Block);
    // Standard output can block for any time; a signal must end the program nevertheless.
    let printed = threads::spawn("print", move || {
        let end = printer.print(events.receiver());
        (end, printer.printed)
    })?;
    let mut started = threads::spawn("start", {
        let client = client.clone();
        move || start(&client)
    })?;
    let deadline = timeout.map_or_else(never, after);
    let glances = match io::stderr().is_terminal() {
        true => tick(GLANCE),
        false => never(),
    };
    let mut result = None;
    let stop = loop {
        select! {
            recv(printed) -> ended => {
                result = ended.ok();
                break Stop::Printed;
            }
            recv(started) -> outcome => {
                outcome.context("a thread has panicked")??;
                started = never();
            }
            recv(signals) -> _ => break Stop::Asked,
            recv(gone) -> _ => break Stop::Gone,
            recv(deadline) -> _ => break Stop::TimedOut,
            recv(glances) -> _ => progress.show(client.backfill_progress()),
        }
    };
    progress.clear();
    if let Err(error) = client.close() {
        output::note(format_args!("warning: {error}"));
    }
    // The last handle, without which the events end.
    drop(client);
    let result = match result {
        Some(result) => Some(result),
        None => rest(&printed),
    };
    let (end, printed) = result.unzip();
    Ok(Ended {
        stop,
        end: end.transpose()?,
        printed: printed.unwrap_or_default(),
    })
}

/// Waits until what has arrived before the end is printed.
fn rest<T>(printed: &Receiver<T>) -> Option<T> {
    let result = printed.recv_timeout(GRACE).ok();
    if result.is_none() {
        output::note(
            "warning: standard output takes nothing, so that not everything that has arrived is printed",
        );
    }
    result
}
