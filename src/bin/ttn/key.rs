//! Where the access key comes from.

use std::{
    env, fs,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use clap::Args;

const VARIABLE: &str = "TTN_ACCESS_KEY";

#[derive(Args, Debug)]
pub(crate) struct KeyArguments {
    /// Read the access key from this file instead of TTN_ACCESS_KEY
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    key_file: Option<PathBuf>,

    /// The access key; other users can see it in the process list
    #[arg(
        long,
        value_name = "KEY",
        help_heading = "Connection",
        conflicts_with = "key_file"
    )]
    key: Option<String>,
}

impl KeyArguments {
    pub(crate) fn key(&self) -> Result<String> {
        let key = if let Some(file) = &self.key_file {
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
        } else if let Some(key) = &self.key {
            let _ = writeln!(
                io::stderr(),
                "warning: other users can see the key in the process list; set {VARIABLE} or use --key-file instead"
            );
            key.clone()
        } else {
            match env::var(VARIABLE) {
                Ok(key) => key,
                Err(env::VarError::NotPresent) => {
                    bail!("no access key; set {VARIABLE}, or use --key-file")
                }
                Err(env::VarError::NotUnicode(_)) => bail!("{VARIABLE} is not valid text"),
            }
        };
        Ok(key.trim().to_owned())
    }
}
