//! `ttn feed`

use anyhow::Result;
use clap::Args;

use crate::{connection::Connection, status::Status};

/// Publish everything into an MQTT broker of your own
#[derive(Args, Debug)]
pub(crate) struct Feed {
    #[command(flatten)]
    connection: Connection,
}

impl Feed {
    pub(crate) fn run(self) -> Result<Status> {
        let _builder = self.connection.builder()?;
        Ok(Status::Failed)
    }
}
