//! The command-line tool `ttn`.

mod broker;
mod commands;
mod connecting;
mod connection;
mod escape;
mod interrupt;
mod key;
mod lines;
mod logging;
mod losses;
mod options;
mod output;
mod printing;
mod progress;
mod reader;
mod sizes;
mod status;
mod threads;
mod times;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, error::ErrorKind};

use commands::Commands;
use status::Status;

const EXAMPLES: &str = "\
Examples:
  export TTN_APP_ID=my-app@ttn TTN_CLUSTER=eu1
  ttn listen --key-file my-app.key
  ttn send pump-1 0102 --key-file my-app.key";

/// A client for The Things Network: The Things Stack v3, and V2
#[derive(Debug, Parser)]
#[command(
    name = "ttn",
    version,
    max_term_width = 80,
    infer_subcommands = true,
    after_help = format!("{}\n\n{EXAMPLES}", status::HELP)
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Commands,

    /// Log what the library does; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    logging::start(arguments.verbose);
    let ended = arguments.command.run();
    status::report(ended).into()
}

/// Prints the help, or what is wrong with the arguments, without a key that is among them.
fn refuse(error: &clap::Error) -> ExitCode {
    if let ErrorKind::DisplayHelp | ErrorKind::DisplayVersion = error.kind() {
        let printed = error.print().context("cannot write to standard output");
        return status::report(printed.map(|()| Status::Done)).into();
    }
    let text = error.render().to_string();
    let concealed = key::conceal(&text);
    match concealed == text {
        true => drop(error.print()),
        false => output::note(concealed.trim_end()),
    }
    Status::Usage.into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_examples_of_the_help_are_right() {
        let mut tool = Arguments::command();
        let mut helps = vec![tool.render_help().to_string()];
        helps.extend(
            tool.get_subcommands_mut()
                .filter(|command| command.get_name() != "help")
                .map(|command| command.render_help().to_string()),
        );
        for help in helps {
            let examples: Vec<&str> = help
                .split_once("\nExample")
                .expect("the help has examples")
                .1
                .lines()
                .filter_map(command)
                .collect();
            assert!(!examples.is_empty(), "{help}");
            for example in examples {
                let end = example.find(['|', '>', ')']).unwrap_or(example.len());
                let words = words(&example[..end]);
                if let Err(error) = Arguments::try_parse_from(words) {
                    panic!("{example}: {error}");
                }
            }
        }
    }

    /// Returns a line from the name of the tool on.
    fn command(line: &str) -> Option<&str> {
        let is_command = |start: &usize| line[..*start].ends_with([' ', '(']);
        let mut starts = line.match_indices("ttn ").map(|(start, _)| start);
        starts.find(is_command).map(|start| &line[start..])
    }

    /// Splits as a shell does, as far as examples need it.
    fn words(example: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (index, part) in example.split('\'').enumerate() {
            match index % 2 {
                0 => words.extend(part.split_whitespace().map(str::to_owned)),
                _ => words.push(part.to_owned()),
            }
        }
        words
    }
}
