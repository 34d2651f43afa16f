//! The command-line tool `ttn`.

mod commands;
mod connection;
mod escape;
mod interrupt;
mod key;
mod lines;
mod logging;
mod output;
mod status;
mod times;

use std::process::ExitCode;

use clap::Parser;

use commands::Commands;

/// A client for The Things Network: The Things Stack v3, and V2.
#[derive(Debug, Parser)]
#[command(name = "ttn", version, max_term_width = 80, infer_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Commands,

    /// Log what the library does; twice also what it repeats often
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(arguments.verbose);
    let ended = arguments.command.run();
    status::report(ended).into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
