//! `ttn completions`

use anyhow::Result;
use clap::Args;

use crate::status::Status;

/// Print the completions for a shell
#[derive(Args, Debug)]
pub(crate) struct Completions {}

impl Completions {
    pub(crate) fn run(self) -> Result<Status> {
        Ok(Status::Failed)
    }
}
