//! Connecting, which a signal can interrupt.

use std::thread;

use anyhow::{Context, Result};
use ttn::{
    MqttClient,
    crossbeam_channel::{Receiver, bounded, select},
};

/// Connects. Returns `false` if a signal came first; the client is closed then.
pub(crate) fn connect(client: &MqttClient, signals: &Receiver<()>) -> Result<bool> {
    let (report, connected) = bounded(1);
    thread::Builder::new()
        .name("connect".to_owned())
        .spawn({
            let client = client.clone();
            move || report.send(client.connect())
        })
        .context("cannot start a thread")?;
    select! {
        recv(connected) -> result => {
            result.context("the attempt to connect ended without a result")??;
            Ok(true)
        }
        recv(signals) -> _ => {
            client.close()?;
            Ok(false)
        }
    }
}
