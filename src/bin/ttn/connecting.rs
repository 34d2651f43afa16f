//! Connecting, which a signal can interrupt.

use anyhow::{Context, Result};
use ttn::{
    MqttClient,
    crossbeam_channel::{Receiver, select},
};

use crate::threads;

/// Connects. Returns `false` if a signal came first; the client is closed then.
pub(crate) fn connect(client: &MqttClient, signals: &Receiver<()>) -> Result<bool> {
    let connecting = client.clone();
    let connected = threads::spawn("connect", move || connecting.connect())?;
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
