//! `ttn devices`

use anyhow::Result;
use clap::Args;

use crate::{connection::Connection, status::Status};

/// Show each device: when it was last heard, and how well
#[derive(Args, Debug)]
pub(crate) struct Devices {
    #[command(flatten)]
    connection: Connection,
}

impl Devices {
    pub(crate) fn run(self) -> Result<Status> {
        let _builder = self.connection.builder()?;
        Ok(Status::Failed)
    }
}
