//! `ttn backfill`

use anyhow::Result;
use clap::Args;

use crate::{connection::Connection, status::Status};

/// Print the uplinks of a time that has passed
#[derive(Args, Debug)]
pub(crate) struct Backfill {
    #[command(flatten)]
    connection: Connection,
}

impl Backfill {
    pub(crate) fn run(self) -> Result<Status> {
        let _builder = self.connection.builder()?;
        Ok(Status::Failed)
    }
}
