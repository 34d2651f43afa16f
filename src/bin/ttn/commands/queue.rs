//! `ttn queue`

use anyhow::Result;
use clap::Args;

use crate::{connection::Connection, status::Status};

/// List the downlinks that wait for a device (v3)
#[derive(Args, Debug)]
pub(crate) struct Queue {
    #[command(flatten)]
    connection: Connection,
}

impl Queue {
    pub(crate) fn run(self) -> Result<Status> {
        let _builder = self.connection.builder()?;
        Ok(Status::Failed)
    }
}
