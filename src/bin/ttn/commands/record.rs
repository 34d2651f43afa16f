//! `ttn record`

use anyhow::Result;
use clap::Args;

use crate::{connection::Connection, status::Status};

/// Record everything that arrives in a file
#[derive(Args, Debug)]
pub(crate) struct Record {
    #[command(flatten)]
    connection: Connection,
}

impl Record {
    pub(crate) fn run(self) -> Result<Status> {
        let _builder = self.connection.builder()?;
        Ok(Status::Failed)
    }
}
