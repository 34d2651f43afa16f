//! `ttn simulate`

use anyhow::Result;
use clap::Args;

use crate::status::Status;

/// Run a simulated network for clients in any language
#[derive(Args, Debug)]
pub(crate) struct Simulate {}

impl Simulate {
    pub(crate) fn run(self) -> Result<Status> {
        Ok(Status::Failed)
    }
}
