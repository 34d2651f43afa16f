//! `ttn clear`

use anyhow::Result;
use clap::Args;

use crate::{connection::Connection, status::Status};

/// Discard the downlinks that wait for a device
#[derive(Args, Debug)]
pub(crate) struct Clear {
    #[command(flatten)]
    connection: Connection,
}

impl Clear {
    pub(crate) fn run(self) -> Result<Status> {
        let _builder = self.connection.builder()?;
        Ok(Status::Failed)
    }
}
