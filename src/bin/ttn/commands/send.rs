//! `ttn send`

use anyhow::Result;
use clap::Args;

use crate::{connection::Connection, status::Status};

/// Send a downlink to a device, and show what becomes of it
#[derive(Args, Debug)]
pub(crate) struct Send {
    #[command(flatten)]
    connection: Connection,
}

impl Send {
    pub(crate) fn run(self) -> Result<Status> {
        let _builder = self.connection.builder()?;
        Ok(Status::Failed)
    }
}
