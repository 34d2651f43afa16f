//! Threads of commands, because what they do can block for any time while a signal must end the program.

use std::thread;

use anyhow::{Context, Result};
use ttn::crossbeam_channel::{Receiver, bounded};

/// Runs something on a thread of its own. Receives what comes of it; a panic closes the channel.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Receiver<T>> {
    let (sender, receiver) = bounded(1);
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || sender.send(work()))
        .context("cannot start a thread")?;
    Ok(receiver)
}
