//! `ttn doctor`

use anyhow::Result;
use clap::Args;

use crate::{connection::Connection, status::Status};

/// Find out why a connection does not work
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    #[command(flatten)]
    connection: Connection,
}

impl Doctor {
    pub(crate) fn run(self) -> Result<Status> {
        let _builder = self.connection.builder()?;
        Ok(Status::Failed)
    }
}
