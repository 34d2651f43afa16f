//! Ctrl-C, SIGTERM and SIGHUP, as a channel.

use std::process;

use anyhow::{Context, Result};
use ttn::crossbeam_channel::{Receiver, bounded};

/// Receives a message when the program is asked to end. A second signal ends it at once, with the status
/// that shells use for it.
pub(crate) fn receive() -> Result<Receiver<()>> {
    let (sender, receiver) = bounded(1);
    let mut asked = false;
    let on_signal = move || {
        if asked {
            process::exit(130);
        }
        asked = true;
        let _ = sender.try_send(());
    };
    ctrlc::set_handler(on_signal).context("cannot receive signals")?;
    Ok(receiver)
}
