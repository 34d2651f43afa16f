//! `ttn completions`

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{Arguments, output::line, status::Status};

const NAME: &str = "ttn";

/// Print the completions for a shell
#[derive(Args, Debug)]
#[command(after_help = "Example, for the running bash:\n  source <(ttn completions bash)")]
pub(crate) struct Completions {
    /// bash, zsh, fish, powershell or elvish
    #[arg(hide_possible_values = true)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<Status> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), NAME, &mut script);
        line(String::from_utf8_lossy(&script).trim_end())?;
        Ok(Status::Done)
    }
}
