//! `ttn clear`

use anyhow::Result;
use clap::Args;
use ttn::{ErrorKind, MqttClient};

use crate::{connecting::connect, connection::Connection, interrupt, output::note, status::Status};

/// Discard the downlinks that wait for a device (v3)
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  ttn clear pump-1")]
pub(crate) struct Clear {
    /// The device id
    device: String,

    #[command(flatten)]
    connection: Connection,
}

impl Clear {
    pub(crate) fn run(self) -> Result<Status> {
        let builder = self.connection.builder()?;
        check(&builder.clone().build()?, &self.device)?;
        let client = builder.build()?;
        let before = look(&client, &self.device)?;
        let signals = interrupt::receive()?;
        if !connect(&client, &signals)? {
            note("interrupted: nothing was discarded");
            return Ok(Status::of_signal(true));
        }
        client.clear_queue(&self.device)?;
        // Ends when the server has processed the request.
        client.close()?;
        let after = look(&client, &self.device)?;
        let may_not_send = client.rights().is_some_and(|rights| !rights.may_send());
        if after != Some(0) && may_not_send {
            note(format_args!(
                "the key may not empty the queue of {}: it lacks RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE",
                self.device
            ));
            return Ok(Status::NotAuthorized);
        }
        Ok(tell(&self.device, before, after))
    }
}

/// Checks whether the network has such a request, before anything is sent.
fn check(client: &MqttClient, dev_id: &str) -> Result<()> {
    match client.clear_queue(dev_id) {
        Err(error) if error.kind() != ErrorKind::NotConnected => Err(error.into()),
        _ => Ok(()),
    }
}

/// Returns how many downlinks wait for the device; `None` if that cannot be known with this key or address.
fn look(client: &MqttClient, dev_id: &str) -> Result<Option<usize>> {
    match client.queue(dev_id) {
        Ok(queue) => Ok(Some(queue.len())),
        Err(error) if error.kind() == ErrorKind::DeviceNotFound => Err(error.into()),
        Err(error) => {
            log::debug!("{error}");
            Ok(None)
        }
    }
}

/// Tells what is known of the queue.
fn tell(dev_id: &str, before: Option<usize>, after: Option<usize>) -> Status {
    match (before, after) {
        (_, None) => {
            note(format_args!(
                "the server has processed the request; whether the queue of {dev_id} is empty cannot be seen"
            ));
            Status::Done
        }
        (Some(0), Some(0)) => {
            note(format_args!("the queue of {dev_id} was empty"));
            Status::Done
        }
        (Some(before), Some(0)) => {
            note(format_args!(
                "the queue of {dev_id} is empty; {before} {} discarded",
                if before == 1 {
                    "downlink was"
                } else {
                    "downlinks were"
                }
            ));
            Status::Done
        }
        (None, Some(0)) => {
            note(format_args!("the queue of {dev_id} is empty"));
            Status::Done
        }
        (_, Some(left)) => {
            note(format_args!(
                "{left} downlinks wait for {dev_id}: the network has not emptied the queue, or another program has filled it since"
            ));
            Status::Unconfirmed
        }
    }
}
