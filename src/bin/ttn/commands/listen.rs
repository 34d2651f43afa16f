//! `ttn listen`

use anyhow::Result;
use clap::Args;

use crate::{connection::Connection, status::Status};

/// Print uplinks and other events as they arrive
#[derive(Args, Debug)]
pub(crate) struct Listen {
    #[command(flatten)]
    connection: Connection,
}

impl Listen {
    pub(crate) fn run(self) -> Result<Status> {
        let _builder = self.connection.builder()?;
        Ok(Status::Failed)
    }
}
