//! `ttn replay`

use anyhow::Result;
use clap::Args;

use crate::status::Status;

/// Print the events of a recording, or make it anonymous
#[derive(Args, Debug)]
pub(crate) struct Replay {}

impl Replay {
    pub(crate) fn run(self) -> Result<Status> {
        Ok(Status::Failed)
    }
}
